//! The record of a conflict: a copy of everything that its writers wrote, for as long as somebody may ask.
//!
//! ```text
//!   standing u8 · [when u64 · by u128] · flags u8 · arose u64 · collection · document
//!   versions: count, each dot · id u128 · stamp u64 · flags u8 · [text] · counted amounts
//!   [index text · documents: count, each text]
//! ```

use holdfast_core::conflict::ConflictId;
use holdfast_core::counter::Increment;
use holdfast_core::document::Version;
use holdfast_core::id::{CollectionName, DocumentId, OperationId};
use holdfast_core::stamp::Stamp;
use holdfast_core::time::Millis;
use holdfast_core::vector::Origin;

use crate::encoding::{DecodeError, Encode, Reader};
use crate::error::StorageError;
use crate::origins::Origins;
use crate::record;
use crate::record::document::{put_increment, read_increment};

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const REPLACED: u8 = 2;

const SUSPECT: u8 = 1;
const VIOLATES: u8 = 2;

const HAS_BODY: u8 = 1;
const RESOLUTION: u8 = 2;

/// A conflict and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Its name: the same on every node that knows the same sides.
    pub id: ConflictId,
    /// The collection.
    pub collection: CollectionName,
    /// The document.
    pub document: DocumentId,
    /// What was written, the shown one first. Empty once another conflict has taken this one's place.
    pub versions: Vec<Version>,
    /// What was counted by writers who had not seen the delete that is shown.
    pub counted: Increment,
    /// When this node met it.
    pub arose: Millis,
    /// Whether the shown version's stamp was too far ahead of this node's clock, so that it may have won wrongly.
    pub is_suspect: bool,
    /// Several documents have values that are to be unique: then no document stands in conflict with itself.
    pub violation: Option<Violation>,
    /// What became of it.
    pub standing: Standing,
}

/// Several documents with values that a unique index has once only, because they were written on several nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The index.
    pub index: String,
    /// The first of the documents.
    pub documents: Vec<DocumentId>,
}

/// What became of a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has settled it.
    Open,
    /// Somebody has.
    Closed {
        /// When this node learnt of it.
        at: Millis,
        /// The operation that settled it.
        by: OperationId,
    },
    /// A side was added or gave way: it goes on under another name.
    Replaced {
        /// When.
        at: Millis,
        /// As which.
        by: ConflictId,
    },
}

/// Writes a conflict.
pub(crate) fn encode(conflict: &Conflict, origins: &Origins) -> Vec<u8> {
    let texts = conflict.versions.iter().filter_map(|version| version.body.as_ref());
    let mut bytes = record::begin(256 + texts.map(|text| text.as_str().len()).sum::<usize>());
    let (standing, at, by) = match conflict.standing {
        Standing::Open => (OPEN, Millis(0), 0),
        Standing::Closed { at, by } => (CLOSED, at, by.0),
        Standing::Replaced { at, by } => (REPLACED, at, by.0),
    };
    bytes.push(standing);
    if standing != OPEN {
        bytes.extend_from_slice(&at.0.to_le_bytes());
        bytes.extend_from_slice(&by.to_le_bytes());
    }
    let violates = if conflict.violation.is_some() { VIOLATES } else { 0 };
    bytes.push(violates | if conflict.is_suspect { SUSPECT } else { 0 });
    bytes.extend_from_slice(&conflict.arose.0.to_le_bytes());
    bytes.put_bytes(conflict.collection.as_str().as_bytes());
    bytes.put_bytes(conflict.document.as_str().as_bytes());
    bytes.put_varint(conflict.versions.len() as u64);
    for version in &conflict.versions {
        record::put_dot(&mut bytes, &version.dot, origins);
        bytes.extend_from_slice(&version.id.0.to_le_bytes());
        bytes.extend_from_slice(&version.stamp.0.to_le_bytes());
        let body = if version.body.is_some() { HAS_BODY } else { 0 };
        bytes.push(body | if version.is_resolution { RESOLUTION } else { 0 });
        if let Some(body) = &version.body {
            bytes.put_bytes(body.as_str().as_bytes());
        }
    }
    put_increment(&mut bytes, &conflict.counted);
    if let Some(violation) = &conflict.violation {
        bytes.put_bytes(violation.index.as_bytes());
        bytes.put_varint(violation.documents.len() as u64);
        for document in &violation.documents {
            bytes.put_bytes(document.as_str().as_bytes());
        }
    }
    record::seal(bytes)
}

/// Reads a conflict.
pub(crate) fn decode(bytes: &[u8], id: ConflictId, origins: &[Origin]) -> Result<Conflict, StorageError> {
    let place = || format!("conflict {id}");
    let (_, mut reader) = record::open(bytes, &place)?;
    read(&mut reader, id, origins).map_err(|reason| StorageError::damaged(place(), reason))
}

fn read(reader: &mut Reader<'_>, id: ConflictId, origins: &[Origin]) -> Result<Conflict, DecodeError> {
    let standing = match reader.u8()? {
        OPEN => Standing::Open,
        CLOSED => Standing::Closed { at: Millis(reader.u64()?), by: OperationId(reader.u128()?) },
        REPLACED => Standing::Replaced { at: Millis(reader.u64()?), by: ConflictId(reader.u128()?) },
        _ => return Err("its standing is unknown"),
    };
    let flags = reader.u8()?;
    let is_suspect = flags & SUSPECT != 0;
    let arose = Millis(reader.u64()?);
    let collection = CollectionName::parse_any(reader.text()?).map_err(|_| "its collection name is not valid")?;
    let document = DocumentId::parse(reader.text()?).map_err(|_| "its document id is not valid")?;
    let count = reader.count(27)?;
    let mut versions = Vec::with_capacity(count);
    for _ in 0..count {
        let dot = record::read_dot(reader, origins)?;
        let id = OperationId(reader.u128()?);
        let stamp = Stamp(reader.u64()?);
        let flags = reader.u8()?;
        let body = if flags & HAS_BODY == 0 { None } else { Some(record::text(reader.bytes()?)?) };
        versions.push(Version { dot, id, stamp, body, is_resolution: flags & RESOLUTION != 0 });
    }
    let counted = read_increment(reader)?;
    let violation = if flags & VIOLATES == 0 { None } else { Some(read_violation(reader)?) };
    if !reader.is_empty() {
        return Err("it has bytes after its end");
    }
    Ok(Conflict { id, collection, document, versions, counted, arose, is_suspect, violation, standing })
}

fn read_violation(reader: &mut Reader<'_>) -> Result<Violation, DecodeError> {
    let index = reader.text()?.to_owned();
    let mut documents = Vec::new();
    for _ in 0..reader.count(1)? {
        documents.push(DocumentId::parse(reader.text()?).map_err(|_| "a document id is not valid")?);
    }
    Ok(Violation { index, documents })
}

/// Writes how many bytes the settled conflicts take.
pub(crate) fn encode_bytes(total: u64) -> Vec<u8> {
    let mut bytes = record::begin(10);
    bytes.put_varint(total);
    record::seal(bytes)
}

/// Reads how many bytes the settled conflicts take.
pub(crate) fn decode_bytes(bytes: &[u8]) -> Result<u64, StorageError> {
    let place = || "the size of the settled conflicts".to_owned();
    let (_, mut reader) = record::open(bytes, &place)?;
    reader.varint().map_err(|reason| StorageError::damaged(place(), reason))
}
