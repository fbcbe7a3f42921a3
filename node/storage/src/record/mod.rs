//! Records: how documents, operations and progress are written, byte by byte.
//!
//! Every record is framed alike: a format number, a checksum of what follows, the body. A format number is
//! never reused; a reader knows all older ones. Origins stand as numbers of [`crate::origins`].
//!
//! ```text
//!   0        1            5
//!   format   checksum     body …
//! ```

pub mod document;
pub mod letter;
pub mod conflict;
pub mod index;
pub mod note;
pub mod operation;
pub mod progress;

use holdfast_core::json::JsonText;
use holdfast_core::vector::{Dot, Origin, Sequence, Vector};

use crate::encoding::{DecodeError, Encode, Reader, checksum};
use crate::error::StorageError;
use crate::origins::{OriginIndex, Origins, origin_at};

/// The format of every record that is written now, but for those of the cache.
///
/// | format | what it brought |
/// |---|---|
/// | 1 | the first |
/// | 2 | chains and stand-ins of operations, tallies of documents, members and graves of the data's state, notes |
/// | 4 | touches of cache entries; nothing but these, and what the log says of them, is written in it |
/// | 7 | names of increments that count no more by themselves; documents that have some are written in it, no others |
pub(crate) const FORMAT: u8 = 2;
/// That of cache entries. One bit that turns makes no format of it that is known, nor it of another.
pub(crate) const FORMAT_CACHE: u8 = 4;
/// That of documents with names of increments; of such bits, too, that one that turns makes no other format of it.
pub(crate) const FORMAT_NAMES: u8 = 7;
/// The oldest format that is still read.
const FORMAT_OLDEST: u8 = 1;
const HEADER_BYTES: usize = 5;

/// Starts a record; [`seal`] fills in the checksum.
pub(crate) fn begin(capacity: usize) -> Vec<u8> {
    begin_as(FORMAT, capacity)
}

/// Starts a record of a format.
pub(crate) fn begin_as(format: u8, capacity: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + capacity);
    bytes.push(format);
    bytes.extend_from_slice(&[0; 4]);
    bytes
}

/// The format that a record says it has; zero for no bytes.
pub(crate) fn format_of(bytes: &[u8]) -> u8 {
    bytes.first().copied().unwrap_or_default()
}

/// Ends a record.
pub(crate) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = bytes.get(HEADER_BYTES..).map(checksum).unwrap_or_default();
    if let Some(place) = bytes.get_mut(1..HEADER_BYTES) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    bytes
}

/// Checks a record's frame and gives its format and its body.
pub(crate) fn open<'a>(bytes: &'a [u8], place: &dyn Fn() -> String) -> Result<(u8, Reader<'a>), StorageError> {
    let damaged = |reason: DecodeError| StorageError::damaged(place(), reason);
    let mut reader = Reader::new(bytes);
    let format = reader.u8().map_err(damaged)?;
    if !(FORMAT_OLDEST..=FORMAT).contains(&format) && ![FORMAT_CACHE, FORMAT_NAMES].contains(&format) {
        return Err(StorageError::WrittenByNewerNode { place: place(), format });
    }
    let expected = reader.u32().map_err(damaged)?;
    let body = reader.take_rest();
    if checksum(body) != expected {
        return Err(damaged("its checksum does not hold"));
    }
    Ok((format, Reader::new(body)))
}

pub(crate) fn put_dot(bytes: &mut Vec<u8>, dot: &Dot, origins: &Origins) {
    bytes.put_varint(u64::from(origins.index_of(&dot.origin)));
    bytes.put_varint(dot.sequence.0);
}

pub(crate) fn read_dot(reader: &mut Reader<'_>, origins: &[Origin]) -> Result<Dot, DecodeError> {
    let origin = origin_at(origins, reader.varint()?)?;
    Ok(Dot { origin, sequence: Sequence(reader.varint()?) })
}

pub(crate) fn put_vector(bytes: &mut Vec<u8>, vector: &Vector, origins: &Origins) {
    bytes.put_varint(vector.len() as u64);
    for (origin, sequence) in vector.iter() {
        let index: OriginIndex = origins.index_of(origin);
        bytes.put_varint(u64::from(index));
        bytes.put_varint(sequence.0);
    }
}

pub(crate) fn read_vector(reader: &mut Reader<'_>, origins: &[Origin]) -> Result<Vector, DecodeError> {
    let count = reader.count(2)?;
    let mut vector = Vector::new();
    for _ in 0..count {
        let dot = read_dot(reader, origins)?;
        vector.observe(&dot.origin, dot.sequence);
    }
    Ok(vector)
}

/// A document's text, back from a record.
fn text(bytes: &[u8]) -> Result<JsonText, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| "a document is not UTF-8")?;
    Ok(JsonText::from_stored(text.to_owned()))
}

#[cfg(test)]
mod tests;
