//! Messages between nodes of this kind, in fewer bytes than JSON and read in less time.
//!
//! ```text
//!   message    format u8 · head: length varint, JSON · origins: count, (name text, incarnation u64) …
//!              collections: count, text … · operations: count, operation …
//!   operation  kind varint · flags u8 · id u128 · origin varint · sequence varint · stamp u64
//!              position, as the step from the one before, varint · context: count, (origin varint, sequence varint) …
//!              [group id u128, index varint, count varint] · [chain u64] · [replaced id u128]
//!              collection varint · document text, empty for none · payload with its length, each part with its own
//! ```
//!
//! Origins and collections are named once and then by their number. The head is the JSON message without its
//! operations; so a field that is added to a message needs no change here. A message travels as
//! [`MEDIA_TYPE`], put into an envelope that says whether it is compressed; peers that do not know it are sent JSON.
//!
//! Must stay true: what is decoded has passed the very checks that the same operation passes as JSON, or is parked
//! ([`crate::sync::poison`]); bytes that were altered are refused with a reason and cost no more memory than they have
//! bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::chain::Chain;
use crate::encoding::{DecodeError, Encode, Reader};
use crate::error::Refusal;
use crate::id::{CollectionName, DocumentId, MEMBERS_COLLECTION, NodeName, OperationId};
use crate::json::JsonText;
use crate::limits::{
    DOCUMENT_DEPTH_MAX, EXCHANGE_OPERATIONS_MAX, INCREMENT_FIELDS_MAX, TRANSACTION_OPERATIONS_MAX, VECTOR_ORIGINS_MAX,
};
use crate::operation::{Group, Operation, OperationKind};
use crate::stamp::Stamp;
use crate::sync::message::{IncrementRecord, OperationRecord, check_parts, parse_collection, parse_increments, to_hex};
use crate::sync::poison::unknown_kind;
use crate::vector::{Dot, Origin, Position, Sequence, Vector};

/// What `Content-Type` and `Accept` call such messages.
pub const MEDIA_TYPE: &str = "application/x-holdfast-sync";

const FORMAT: u8 = 1;

const PUT: u64 = 1;
const PATCH: u64 = 2;
const DELETE: u64 = 3;
const INCREMENT: u64 = 4;
const REGISTER_COLLECTION: u64 = 5;
const JOIN_MEMBER: u64 = 6;
const FENCE_MEMBER: u64 = 7;
const RESOLVE: u64 = 8;
const RESOLVE_DELETED: u64 = 9;
/// Kinds not known here come after this, by the number that their writer gave them.
const UNKNOWN: u64 = 1 << 16;

const HAS_GROUP: u8 = 1;
const CREATED: u8 = 2;
const HAS_CHAIN: u8 = 4;
const REPLACES: u8 = 8;

/// The least that an operation takes.
const OPERATION_BYTES_MIN: usize = 32;

/// A message being written.
#[derive(Debug, Default)]
pub struct Encoder<'a> {
    origins: Numbers<&'a Origin>,
    collections: Numbers<&'a str>,
    count: u64,
    position: Position,
    operations: Vec<u8>,
    /// The payload of one operation, while it is written.
    payload: Vec<u8>,
}

/// Things by the order in which they were met.
#[derive(Debug)]
struct Numbers<T> {
    numbers: BTreeMap<T, u64>,
    last: Option<(T, u64)>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { numbers: BTreeMap::new(), last: None }
    }
}

impl<T: Copy + Ord> Numbers<T> {
    fn of(&mut self, thing: T) -> u64 {
        if let Some((last, number)) = self.last
            && last == thing
        {
            return number;
        }
        let next = self.numbers.len() as u64;
        let number = *self.numbers.entry(thing).or_insert(next);
        self.last = Some((thing, number));
        number
    }

    fn in_order(&self) -> Vec<T> {
        let mut all: Vec<(u64, T)> = self.numbers.iter().map(|(thing, number)| (*number, *thing)).collect();
        all.sort_unstable_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, thing)| thing).collect()
    }
}

impl<'a> Encoder<'a> {
    /// A message whose operations take about so many bytes: what grows step by step is copied at each. It is written
    /// into `room`, whose content goes: memory that was in use a moment ago costs nothing to get.
    pub fn with_capacity(bytes: usize, mut room: Vec<u8>) -> Self {
        room.clear();
        room.reserve(bytes);
        Self { operations: room, ..Self::default() }
    }

    /// Adds an operation; positions rise.
    pub fn add(&mut self, position: Position, operation: &'a Operation) {
        let origin = self.origins.of(&operation.dot.origin);
        let collection = self.collections.of(operation.collection.as_str());
        let bytes = &mut self.operations;
        bytes.put_varint(code(&operation.kind));
        bytes.push(flags(operation));
        bytes.extend_from_slice(&operation.id.0.to_le_bytes());
        bytes.put_varint(origin);
        bytes.put_varint(operation.dot.sequence.0);
        bytes.extend_from_slice(&operation.stamp.0.to_le_bytes());
        bytes.put_varint(position.0.saturating_sub(self.position.0));
        bytes.put_varint(operation.context.len() as u64);
        for (origin, sequence) in operation.context.iter() {
            bytes.put_varint(self.origins.of(origin));
            bytes.put_varint(sequence.0);
        }
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
        bytes.put_varint(collection);
        bytes.put_bytes(operation.document.as_ref().map_or("", DocumentId::as_str).as_bytes());
        self.put_payload(&operation.kind);
        self.position = position;
        self.count += 1;
    }

    fn put_payload(&mut self, kind: &'a OperationKind) {
        self.payload.clear();
        let bytes = &mut self.payload;
        match kind {
            OperationKind::Put { body, .. } => bytes.put_bytes(body.as_str().as_bytes()),
            OperationKind::Patch { body, patch } => {
                bytes.put_bytes(body.as_str().as_bytes());
                bytes.put_bytes(patch.as_str().as_bytes());
            }
            OperationKind::Resolve { body, patch } => {
                if let Some(body) = body {
                    bytes.put_bytes(body.as_str().as_bytes());
                }
                bytes.put_bytes(patch.as_str().as_bytes());
            }
            OperationKind::Increment(increment) => {
                bytes.put_varint(increment.0.len() as u64);
                for (path, amount) in &increment.0 {
                    bytes.put_varint(path.len() as u64);
                    for name in path {
                        bytes.put_bytes(name.as_bytes());
                    }
                    bytes.put_bytes(amount.to_text().as_bytes());
                }
            }
            OperationKind::Delete | OperationKind::RegisterCollection => {}
            OperationKind::JoinMember { member } => bytes.put_varint(self.origins.of(member)),
            OperationKind::FenceMember { member, reason } => {
                bytes.put_varint(self.origins.of(member));
                bytes.put_bytes(reason.to_string().as_bytes());
            }
            OperationKind::Unknown { payload, .. } => bytes.put_bytes(payload),
        }
        self.operations.put_bytes(&self.payload);
    }

    /// The whole message, with its head, in the room of its operations.
    pub fn finish(self, head: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(head.len() + 256);
        bytes.push(FORMAT);
        bytes.put_bytes(head);
        bytes.put_varint(self.origins.numbers.len() as u64);
        for origin in self.origins.in_order() {
            bytes.put_bytes(origin.node.as_str().as_bytes());
            bytes.extend_from_slice(&origin.incarnation.to_le_bytes());
        }
        bytes.put_varint(self.collections.numbers.len() as u64);
        for collection in self.collections.in_order() {
            bytes.put_bytes(collection.as_bytes());
        }
        bytes.put_varint(self.count);
        // What the operations name is known only after them; moving them on by a little takes no other memory.
        let mut message = self.operations;
        message.splice(..0, bytes);
        message
    }
}

/// A message that was read and checked.
#[derive(Debug)]
pub struct Decoded<'a> {
    /// The JSON message without its operations, not yet parsed.
    pub head: &'a [u8],
    /// Its operations with the sender's positions.
    pub operations: Vec<(Position, Operation)>,
}

/// Reads a message; anything that JSON would not have been taken for is refused.
pub fn decode(bytes: &[u8]) -> Result<Decoded<'_>, Refusal> {
    let mut reader = Reader::new(bytes);
    let format = reader.u8().map_err(malformed)?;
    if format != FORMAT {
        return Err(Refusal::invalid(
            "unknown-format",
            format!("The message has format {format}; this node reads {FORMAT}. Bring both nodes to one version."),
        ));
    }
    let head = reader.bytes().map_err(malformed)?;
    let mut names = Names { origins: Vec::new(), collections: Vec::new(), usual: None };
    let count = at_most(reader.count(9).map_err(malformed)?, VECTOR_ORIGINS_MAX * 2)?;
    for _ in 0..count {
        let node = NodeName::parse(reader.text().map_err(malformed)?)?;
        names.origins.push(Origin { node, incarnation: reader.u64().map_err(malformed)? });
    }
    let count = at_most(reader.count(1).map_err(malformed)?, EXCHANGE_OPERATIONS_MAX * 2)?;
    for _ in 0..count {
        names.collections.push(reader.text().map_err(malformed)?);
    }
    let count = at_most(reader.count(OPERATION_BYTES_MIN).map_err(malformed)?, EXCHANGE_OPERATIONS_MAX * 2)?;
    let mut operations = Vec::with_capacity(count);
    let mut position = Position::START;
    for _ in 0..count {
        operations.push(names.operation(&mut reader, &mut position)?);
    }
    if reader.is_empty() { Ok(Decoded { head, operations }) } else { Err(malformed("it has bytes after its end")) }
}

fn malformed(what: DecodeError) -> Refusal {
    Refusal::invalid("malformed-message", format!("The message is damaged: {what}."))
}

fn at_most(count: usize, limit: usize) -> Result<usize, Refusal> {
    if count <= limit { Ok(count) } else { Err(malformed("it names too many things")) }
}

struct Names<'a> {
    origins: Vec<Origin>,
    collections: Vec<&'a str>,
    /// The collection of the last operation on a document: most often the next one is of it too.
    usual: Option<CollectionName>,
}

impl<'a> Names<'a> {
    fn origin(&self, reader: &mut Reader<'_>) -> Result<&Origin, Refusal> {
        let number = usize::try_from(reader.varint().map_err(malformed)?).unwrap_or(usize::MAX);
        self.origins.get(number).ok_or_else(|| malformed("it names an origin that it does not hold"))
    }

    fn operation(
        &mut self,
        reader: &mut Reader<'a>,
        position: &mut Position,
    ) -> Result<(Position, Operation), Refusal> {
        let code = reader.varint().map_err(malformed)?;
        let flags = reader.u8().map_err(malformed)?;
        let id = OperationId(reader.u128().map_err(malformed)?);
        let origin = self.origin(reader)?.clone();
        let sequence = Sequence(reader.varint().map_err(malformed)?);
        let stamp = Stamp(reader.u64().map_err(malformed)?);
        let step = reader.varint().map_err(malformed)?;
        *position = Position(position.0.checked_add(step).ok_or_else(|| malformed("a position is too large"))?);
        let context = self.context(reader)?;
        let group = if flags & HAS_GROUP == 0 { None } else { Some(group(reader).map_err(malformed)?) };
        let chain = if flags & HAS_CHAIN == 0 { None } else { Some(Chain(reader.u64().map_err(malformed)?)) };
        let has_replaced = flags & REPLACES != 0;
        let replaces = if has_replaced { Some(OperationId(reader.u128().map_err(malformed)?)) } else { None };
        let number = usize::try_from(reader.varint().map_err(malformed)?).unwrap_or(usize::MAX);
        let collection = *self.collections.get(number).ok_or_else(|| malformed("it names no collection"))?;
        let document = reader.text().map_err(malformed)?;
        let payload = reader.bytes().map_err(malformed)?;
        let dot = Dot { origin, sequence };
        let bare = Bare { id, dot, stamp, context, group, chain, replaces, code, flags, collection, document, payload };
        let operation = match self.check(&bare) {
            Ok((collection, document, kind)) => {
                let Bare { id, dot, stamp, context, group, chain, replaces, .. } = bare;
                Operation { id, dot, stamp, collection, document, context, group, chain, replaces, kind }
            }
            Err(refusal) => bare.park(*position, &refusal)?,
        };
        Ok((*position, operation))
    }

    /// Checks an operation as JSON is checked. Gives the parts of it that are not as they were sent.
    fn check(&mut self, bare: &Bare<'_>) -> Result<(CollectionName, Option<DocumentId>, OperationKind), Refusal> {
        let document = match bare.document {
            "" => None,
            id => Some(DocumentId::parse(id)?),
        };
        let mut payload = Reader::new(bare.payload);
        let kind = self.kind(bare.code, bare.flags, document.as_ref(), &mut payload)?;
        if !payload.is_empty() {
            return Err(malformed("a payload has bytes after its end"));
        }
        let collection = self.collection(bare.collection, &kind)?;
        check_parts(bare.id, bare.dot.sequence, bare.group.as_ref(), document.is_some(), &kind)?;
        Ok((collection, document, kind))
    }

    /// The collection of an operation. That of the operation before it was checked there, if both are about documents.
    fn collection(&mut self, name: &str, kind: &OperationKind) -> Result<CollectionName, Refusal> {
        let is_of_document = kind.is_of_document() == Some(true);
        match &self.usual {
            Some(usual) if is_of_document && usual.as_str() == name => Ok(usual.clone()),
            _ => {
                let collection = parse_collection(name, kind)?;
                if is_of_document {
                    self.usual = Some(collection.clone());
                }
                Ok(collection)
            }
        }
    }

    fn context(&self, reader: &mut Reader<'_>) -> Result<Vector, Refusal> {
        let count = at_most(reader.count(2).map_err(malformed)?, VECTOR_ORIGINS_MAX)?;
        let mut context = Vector::new();
        for _ in 0..count {
            let origin = self.origin(reader)?;
            context.observe(origin, Sequence(reader.varint().map_err(malformed)?));
        }
        Ok(context)
    }

    fn kind(
        &self,
        code: u64,
        flags: u8,
        document: Option<&DocumentId>,
        reader: &mut Reader<'_>,
    ) -> Result<OperationKind, Refusal> {
        let body = |reader: &mut Reader<'_>| {
            let text = reader.text().map_err(malformed)?;
            let id = document.ok_or_else(|| malformed("a document has no id"))?;
            JsonText::parse_document(text, id)
        };
        let patch = |reader: &mut Reader<'_>| JsonText::parse(reader.text().map_err(malformed)?);
        Ok(match code {
            PUT => OperationKind::Put { body: body(reader)?, created: flags & CREATED != 0 },
            PATCH => OperationKind::Patch { body: body(reader)?, patch: patch(reader)? },
            DELETE => OperationKind::Delete,
            RESOLVE => OperationKind::Resolve { body: Some(body(reader)?), patch: patch(reader)? },
            RESOLVE_DELETED => OperationKind::Resolve { body: None, patch: patch(reader)? },
            INCREMENT => OperationKind::Increment(parse_increments(&increments(reader)?)?),
            REGISTER_COLLECTION => OperationKind::RegisterCollection,
            JOIN_MEMBER => OperationKind::JoinMember { member: self.origin(reader)?.clone() },
            FENCE_MEMBER => OperationKind::FenceMember {
                member: self.origin(reader)?.clone(),
                reason: reader.text().map_err(malformed)?.parse()?,
            },
            code => {
                let number = code.checked_sub(UNKNOWN).and_then(|code| u16::try_from(code).ok());
                let code = number.ok_or_else(|| unknown_kind(format!("kind-{code}")))?;
                OperationKind::Unknown { code, payload: Arc::from(reader.bytes().map_err(malformed)?) }
            }
        })
    }
}

/// An operation as it was sent, not yet checked.
struct Bare<'a> {
    id: OperationId,
    dot: Dot,
    stamp: Stamp,
    context: Vector,
    group: Option<Group>,
    chain: Option<Chain>,
    replaces: Option<OperationId>,
    code: u64,
    flags: u8,
    collection: &'a str,
    document: &'a str,
    payload: &'a [u8],
}

impl Bare<'_> {
    /// Parks it, in the form that it would have had as JSON.
    fn park(self, position: Position, refusal: &Refusal) -> Result<Operation, Refusal> {
        if self.dot.sequence == Sequence(0) {
            return Err(malformed("an operation has no sequence"));
        }
        let mut record = OperationRecord::new(&self.stand_in()?, position, &self.dot.origin);
        self.collection.clone_into(&mut record.collection);
        self.document.clone_into(&mut record.entity_id);
        let mut payload = Reader::new(self.payload);
        let mut text = || payload.text().ok().map(str::to_owned);
        (record.kind, record.payload, record.patch) = match self.code {
            PUT => ("put".to_owned(), text(), None),
            PATCH => ("patch".to_owned(), text(), text()),
            DELETE => ("delete".to_owned(), None, None),
            code => (format!("kind-{}", code.checked_sub(UNKNOWN).unwrap_or(code)), Some(to_hex(self.payload)), None),
        };
        record.into_parked(refusal).map(|(_, operation)| operation)
    }

    /// An operation with the parts that hold in any case.
    fn stand_in(&self) -> Result<Operation, Refusal> {
        Ok(Operation {
            id: self.id,
            dot: self.dot.clone(),
            stamp: self.stamp,
            collection: CollectionName::parse_any(MEMBERS_COLLECTION)?,
            document: None,
            context: self.context.clone(),
            group: self.group,
            chain: self.chain,
            replaces: self.replaces,
            kind: OperationKind::Delete,
        })
    }
}

fn group(reader: &mut Reader<'_>) -> Result<Group, DecodeError> {
    let id = OperationId(reader.u128()?);
    let index = u32::try_from(reader.varint()?).map_err(|_| "a group index is too large")?;
    let count = u32::try_from(reader.varint()?).map_err(|_| "a group count is too large")?;
    if count as usize > TRANSACTION_OPERATIONS_MAX {
        return Err("a group count is too large");
    }
    Ok(Group { id, index, count })
}

fn increments(reader: &mut Reader<'_>) -> Result<Vec<IncrementRecord>, Refusal> {
    let count = at_most(reader.count(2).map_err(malformed)?, INCREMENT_FIELDS_MAX)?;
    let mut fields = Vec::with_capacity(count);
    for _ in 0..count {
        let depth = at_most(reader.count(1).map_err(malformed)?, DOCUMENT_DEPTH_MAX)?;
        let path = (0..depth).map(|_| reader.text().map(str::to_owned)).collect::<Result<_, _>>().map_err(malformed)?;
        fields.push(IncrementRecord { path, amount: reader.text().map_err(malformed)?.to_owned() });
    }
    Ok(fields)
}

fn flags(operation: &Operation) -> u8 {
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    flag(operation.group.is_some(), HAS_GROUP)
        | flag(matches!(operation.kind, OperationKind::Put { created: true, .. }), CREATED)
        | flag(operation.chain.is_some(), HAS_CHAIN)
        | flag(operation.replaces.is_some(), REPLACES)
}

fn code(kind: &OperationKind) -> u64 {
    match kind {
        OperationKind::Put { .. } => PUT,
        OperationKind::Patch { .. } => PATCH,
        OperationKind::Delete => DELETE,
        OperationKind::Increment(_) => INCREMENT,
        OperationKind::Resolve { body: Some(_), .. } => RESOLVE,
        OperationKind::Resolve { body: None, .. } => RESOLVE_DELETED,
        OperationKind::RegisterCollection => REGISTER_COLLECTION,
        OperationKind::JoinMember { .. } => JOIN_MEMBER,
        OperationKind::FenceMember { .. } => FENCE_MEMBER,
        OperationKind::Unknown { code, .. } => UNKNOWN + u64::from(*code),
    }
}

#[cfg(test)]
mod tests;
