//! Blocks: the operations of one group commit, as the log keeps them.
//!
//! One row per commit instead of one per operation keeps the log's tree small, which makes commits and the
//! repair after a crash cheap.
//!
//! ```text
//!   block      count varint · length of each operation varint … · operations …
//!   operation  kind varint · flags u8 · id u128 · dot · stamp u64 · previous varint · context
//!              [group id u128 · index varint · count varint] · [chain u64] · [replaced id u128]
//!              collection text · document text, empty for none · payload to the end
//! ```
//!
//! Entries that are no operations are notes ([`crate::record::note`]): they never leave this node.
//!
//! `previous` is the position of the document's change before this one in this log, zero for none: following
//! it gives a document's history without an index.

use std::sync::Arc;

use holdfast_core::chain::Chain;
use holdfast_core::id::{CollectionName, DocumentId, OperationId};
use holdfast_core::json::JsonText;
use holdfast_core::members::FenceReason;
use holdfast_core::operation::{Group, Operation, OperationKind};
use holdfast_core::stamp::Stamp;
use holdfast_core::vector::{Origin, Position};

use crate::encoding::{DecodeError, Encode, Reader};
use crate::error::StorageError;
use crate::origins::{Origins, origin_at};
use crate::record;
use crate::record::document::{put_increment, read_increment};
use crate::record::note::{self, LoggedNote, NOTE_CODES_FROM};

const PUT: u16 = 1;
const PATCH: u16 = 2;
const DELETE: u16 = 3;
const INCREMENT: u16 = 4;
const REGISTER_COLLECTION: u16 = 5;
const JOIN_MEMBER: u16 = 6;
const FENCE_MEMBER: u16 = 7;
const RESOLVE: u16 = 8;

const HAS_GROUP: u8 = 1;
const CREATED: u8 = 2;
const HAS_CHAIN: u8 = 4;
const REPLACES: u8 = 8;

/// An operation at its place in this node's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Its place.
    pub position: Position,
    /// The place of the same document's change before it; [`Position::START`] when there is none.
    pub previous: Position,
    /// The operation.
    pub operation: Operation,
}

/// What stands at a position of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// An operation.
    Operation(Logged),
    /// A note of this node's own.
    Note(LoggedNote),
}

impl Entry {
    /// Its place.
    pub fn position(&self) -> Position {
        match self {
            Self::Operation(logged) => logged.position,
            Self::Note(logged) => logged.position,
        }
    }

    /// The operation, if it is one.
    pub fn into_operation(self) -> Option<Logged> {
        match self {
            Self::Operation(logged) => Some(logged),
            Self::Note(_) => None,
        }
    }
}

/// Writes one operation, without a frame: blocks are framed as a whole.
pub fn encode(operation: &Operation, previous: Position, origins: &Origins) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128 + operation.kind.body_bytes());
    bytes.put_varint(u64::from(code(&operation.kind)));
    let created = matches!(operation.kind, OperationKind::Put { created: true, .. });
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let flags = flag(operation.group.is_some(), HAS_GROUP)
        | flag(created, CREATED)
        | flag(operation.chain.is_some(), HAS_CHAIN)
        | flag(operation.replaces.is_some(), REPLACES);
    bytes.push(flags);
    bytes.extend_from_slice(&operation.id.0.to_le_bytes());
    record::put_dot(&mut bytes, &operation.dot, origins);
    bytes.extend_from_slice(&operation.stamp.0.to_le_bytes());
    bytes.put_varint(previous.0);
    record::put_vector(&mut bytes, &operation.context, origins);
    if let Some(group) = &operation.group {
        bytes.extend_from_slice(&group.id.0.to_le_bytes());
        bytes.put_varint(u64::from(group.index));
        bytes.put_varint(u64::from(group.count));
    }
    if let Some(chain) = operation.chain {
        bytes.extend_from_slice(&chain.0.to_le_bytes());
    }
    if let Some(replaced) = operation.replaces {
        bytes.extend_from_slice(&replaced.0.to_le_bytes());
    }
    bytes.put_bytes(operation.collection.as_str().as_bytes());
    bytes.put_bytes(operation.document.as_ref().map_or("", DocumentId::as_str).as_bytes());
    match &operation.kind {
        OperationKind::Put { body, .. } => bytes.extend_from_slice(body.as_str().as_bytes()),
        OperationKind::Patch { body, patch } => {
            bytes.put_bytes(body.as_str().as_bytes());
            bytes.extend_from_slice(patch.as_str().as_bytes());
        }
        OperationKind::Resolve { body, patch } => {
            // No document has an empty text, so that it stands for a delete.
            bytes.put_bytes(body.as_ref().map_or("", JsonText::as_str).as_bytes());
            bytes.extend_from_slice(patch.as_str().as_bytes());
        }
        OperationKind::Increment(increment) => put_increment(&mut bytes, increment),
        OperationKind::Delete | OperationKind::RegisterCollection => {}
        OperationKind::JoinMember { member } => {
            bytes.put_varint(u64::from(origins.index_of(member)));
        }
        OperationKind::FenceMember { member, reason } => {
            bytes.put_varint(u64::from(origins.index_of(member)));
            bytes.push(fence_code(*reason));
        }
        OperationKind::Unknown { payload, .. } => bytes.extend_from_slice(payload),
    }
    bytes
}

/// What a block takes besides its operations and their lengths, at most.
pub(crate) const BLOCK_FRAME_BYTES: usize = 16;
/// What the length of an operation takes, unless the operation is larger than a block of several may be.
pub(crate) const LENGTH_BYTES_MAX: usize = 3;

/// Writes a block of operations that were encoded one by one.
pub fn encode_block(operations: &[Vec<u8>]) -> Vec<u8> {
    let total: usize = operations.iter().map(|operation| operation.len() + LENGTH_BYTES_MAX).sum();
    let mut bytes = record::begin(total + BLOCK_FRAME_BYTES);
    bytes.put_varint(operations.len() as u64);
    for operation in operations {
        bytes.put_varint(operation.len() as u64);
    }
    for operation in operations {
        bytes.extend_from_slice(operation);
    }
    record::seal(bytes)
}

/// A block whose frame holds, opened for reading.
#[derive(Debug)]
pub struct Block<'a> {
    first: Position,
    operations: Vec<&'a [u8]>,
}

impl<'a> Block<'a> {
    /// Checks the frame and finds the operations.
    pub fn open(bytes: &'a [u8], first: Position) -> Result<Self, StorageError> {
        let place = || format!("log block {first}");
        let (_, mut reader) = record::open(bytes, &place)?;
        let operations = split(&mut reader).map_err(|reason| StorageError::damaged(place(), reason))?;
        Ok(Self { first, operations })
    }

    /// Position of the last operation.
    pub fn last(&self) -> Position {
        Position(self.first.0 + self.operations.len() as u64 - 1)
    }

    /// The entries from a position on.
    pub fn from(
        &self,
        position: Position,
        origins: &'a [Origin],
    ) -> impl Iterator<Item = Result<Entry, StorageError>> + use<'a, '_> {
        let skip = usize::try_from(position.0.saturating_sub(self.first.0)).unwrap_or(usize::MAX);
        let first = self.first;
        let mut usual = None;
        self.operations.iter().enumerate().skip(skip).map(move |(index, bytes)| {
            let position = Position(first.0 + index as u64);
            decode_next(bytes, position, origins, &mut usual)
                .map_err(|reason| StorageError::damaged(format!("log operation {position}"), reason))
        })
    }
}

fn split<'a>(reader: &mut Reader<'a>) -> Result<Vec<&'a [u8]>, DecodeError> {
    let count = reader.count(2)?;
    if count == 0 {
        return Err("it holds no operation");
    }
    let lengths = (0..count).map(|_| reader.varint()).collect::<Result<Vec<_>, _>>()?;
    let slices =
        lengths.into_iter().map(|length| reader.take(usize::try_from(length).map_err(|_| "a length is too large")?));
    let operations = slices.collect::<Result<Vec<_>, _>>()?;
    if reader.is_empty() { Ok(operations) } else { Err("it has bytes after its end") }
}

/// Reads one entry.
pub(crate) fn decode(bytes: &[u8], position: Position, origins: &[Origin]) -> Result<Entry, DecodeError> {
    decode_next(bytes, position, origins, &mut None)
}

/// Reads one entry among others. The collection of the operation before it, if any, is `usual`: most often it is the same, and its
/// name need not be checked and kept again.
fn decode_next(
    bytes: &[u8],
    position: Position,
    origins: &[Origin],
    usual: &mut Option<CollectionName>,
) -> Result<Entry, DecodeError> {
    let mut reader = Reader::new(bytes);
    let code = u16::try_from(reader.varint()?).map_err(|_| "a kind is too large")?;
    if code >= NOTE_CODES_FROM {
        return note::decode(code, &mut reader, position, origins).map(Entry::Note);
    }
    let flags = reader.u8()?;
    let id = OperationId(reader.u128()?);
    let dot = record::read_dot(&mut reader, origins)?;
    let stamp = Stamp(reader.u64()?);
    let previous = Position(reader.varint()?);
    let context = record::read_vector(&mut reader, origins)?;
    let group = if flags & HAS_GROUP == 0 { None } else { Some(read_group(&mut reader)?) };
    let chain = if flags & HAS_CHAIN == 0 { None } else { Some(Chain(reader.u64()?)) };
    let replaces = if flags & REPLACES == 0 { None } else { Some(OperationId(reader.u128()?)) };
    let name = reader.text()?;
    let collection = match usual {
        Some(usual) if usual.as_str() == name => usual.clone(),
        _ => {
            let collection = CollectionName::parse_any(name).map_err(|_| "a collection name is not valid")?;
            usual.insert(collection).clone()
        }
    };
    let document = match reader.text()? {
        "" => None,
        id => Some(DocumentId::parse(id).map_err(|_| "a document id is not valid")?),
    };
    let kind = read_kind(code, flags, &mut reader, origins)?;
    let operation = Operation { id, dot, stamp, collection, document, context, group, chain, replaces, kind };
    Ok(Entry::Operation(Logged { position, previous, operation }))
}

fn read_group(reader: &mut Reader<'_>) -> Result<Group, DecodeError> {
    let id = OperationId(reader.u128()?);
    let index = u32::try_from(reader.varint()?).map_err(|_| "a group index is too large")?;
    let count = u32::try_from(reader.varint()?).map_err(|_| "a group count is too large")?;
    Ok(Group { id, index, count })
}

fn read_kind(code: u16, flags: u8, reader: &mut Reader<'_>, origins: &[Origin]) -> Result<OperationKind, DecodeError> {
    Ok(match code {
        PUT => OperationKind::Put { body: record::text(reader.take_rest())?, created: flags & CREATED != 0 },
        PATCH => {
            OperationKind::Patch { body: record::text(reader.bytes()?)?, patch: record::text(reader.take_rest())? }
        }
        DELETE => OperationKind::Delete,
        RESOLVE => {
            let body = Some(reader.bytes()?).filter(|body| !body.is_empty());
            OperationKind::Resolve {
                body: body.map(record::text).transpose()?,
                patch: record::text(reader.take_rest())?,
            }
        }
        INCREMENT => OperationKind::Increment(read_increment(reader)?),
        REGISTER_COLLECTION => OperationKind::RegisterCollection,
        JOIN_MEMBER => OperationKind::JoinMember { member: origin_at(origins, reader.varint()?)? },
        FENCE_MEMBER => {
            let member = origin_at(origins, reader.varint()?)?;
            OperationKind::FenceMember { member, reason: read_fence(reader.u8()?)? }
        }
        code => OperationKind::Unknown { code, payload: Arc::from(reader.take_rest()) },
    })
}

fn code(kind: &OperationKind) -> u16 {
    match kind {
        OperationKind::Put { .. } => PUT,
        OperationKind::Patch { .. } => PATCH,
        OperationKind::Delete => DELETE,
        OperationKind::Resolve { .. } => RESOLVE,
        OperationKind::Increment(_) => INCREMENT,
        OperationKind::RegisterCollection => REGISTER_COLLECTION,
        OperationKind::JoinMember { .. } => JOIN_MEMBER,
        OperationKind::FenceMember { .. } => FENCE_MEMBER,
        OperationKind::Unknown { code, .. } => *code,
    }
}

/// The number of a reason, in records.
pub(crate) fn fence_code(reason: FenceReason) -> u8 {
    match reason {
        FenceReason::Lapsed => 1,
        FenceReason::Retired => 2,
        FenceReason::Forced => 3,
    }
}

/// The reason behind a number.
pub(crate) fn read_fence(code: u8) -> Result<FenceReason, DecodeError> {
    match code {
        1 => Ok(FenceReason::Lapsed),
        2 => Ok(FenceReason::Retired),
        3 => Ok(FenceReason::Forced),
        _ => Err("a fence has an unknown reason"),
    }
}
