//! The record of an index: what it is made from, how far it is made, how many entries it has.
//!
//! ```text
//!   standing u8 · [built: after text · documents varint] · [reason text]
//!   entries varint · inexact varint · spread varint · name text · definition text
//! ```

use holdfast_core::vector::Position;

use crate::encoding::{DecodeError, Encode, Reader};
use crate::error::StorageError;
use crate::record;

const BUILDING: u8 = 0;
const READY: u8 = 1;
const REFUSED: u8 = 2;
const DROPPING: u8 = 3;

/// What is kept of an index besides its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexRecord {
    /// The id of the document that defines it.
    pub name: String,
    /// That document's text.
    pub text: String,
    /// How it stands.
    pub standing: IndexStanding,
    /// How many entries it has.
    pub counts: IndexCounts,
}

/// How an index stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexStanding {
    /// Documents that were there before it are still being looked through. What is written has its entries already.
    Building {
        /// Documents up to this id were looked at; none when empty.
        after: String,
        /// How many those were.
        documents: u64,
    },
    /// It has the entries of all documents.
    Ready,
    /// Its definition cannot be used here.
    Refused {
        /// Why.
        reason: String,
    },
    /// It is no longer wanted, and its entries are being removed.
    Dropping,
}

/// Numbers of an index's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexCounts {
    /// All of them.
    pub entries: u64,
    /// Those whose key alone does not say which values its document has.
    pub inexact: u64,
    /// Those of documents with more entries than one.
    pub spread: u64,
}

/// Writes an index.
pub(crate) fn encode(index: &IndexRecord) -> Vec<u8> {
    let mut bytes = record::begin(64 + index.name.len() + index.text.len());
    match &index.standing {
        IndexStanding::Building { after, documents } => {
            bytes.push(BUILDING);
            bytes.put_bytes(after.as_bytes());
            bytes.put_varint(*documents);
        }
        IndexStanding::Ready => bytes.push(READY),
        IndexStanding::Refused { reason } => {
            bytes.push(REFUSED);
            bytes.put_bytes(reason.as_bytes());
        }
        IndexStanding::Dropping => bytes.push(DROPPING),
    }
    bytes.put_varint(index.counts.entries);
    bytes.put_varint(index.counts.inexact);
    bytes.put_varint(index.counts.spread);
    bytes.put_bytes(index.name.as_bytes());
    bytes.put_bytes(index.text.as_bytes());
    record::seal(bytes)
}

/// Reads an index.
pub(crate) fn decode(bytes: &[u8], number: u32) -> Result<IndexRecord, StorageError> {
    let place = || format!("index number {number}");
    let (_, mut reader) = record::open(bytes, &place)?;
    read(&mut reader).map_err(|reason| StorageError::damaged(place(), reason))
}

fn read(reader: &mut Reader<'_>) -> Result<IndexRecord, DecodeError> {
    let standing = match reader.u8()? {
        BUILDING => IndexStanding::Building { after: reader.text()?.to_owned(), documents: reader.varint()? },
        READY => IndexStanding::Ready,
        REFUSED => IndexStanding::Refused { reason: reader.text()?.to_owned() },
        DROPPING => IndexStanding::Dropping,
        _ => return Err("its standing is unknown"),
    };
    let counts = IndexCounts { entries: reader.varint()?, inexact: reader.varint()?, spread: reader.varint()? };
    let (name, text) = (reader.text()?.to_owned(), reader.text()?.to_owned());
    if !reader.is_empty() {
        return Err("it has bytes after its end");
    }
    Ok(IndexRecord { name, text, standing, counts })
}

/// Writes up to where of the log the indexes reflect the documents.
pub(crate) fn encode_reflected(position: Position) -> Vec<u8> {
    let mut bytes = record::begin(10);
    bytes.put_varint(position.0);
    record::seal(bytes)
}

/// Reads it.
pub(crate) fn decode_reflected(bytes: &[u8]) -> Result<Position, StorageError> {
    let place = || "what the indexes reflect".to_owned();
    let (_, mut reader) = record::open(bytes, &place)?;
    reader.varint().map(Position).map_err(|reason| StorageError::damaged(place(), reason))
}
