//! The record of a document: what is shown first, so that a read by id decodes nothing else.
//!
//! ```text
//!   flags u8 · last change varint · shown id u128 · stamp u64 · [increments' mark u64]
//!   [shown text: length, bytes] · versions · increments · [tally] · [names] · vector
//! ```

use std::ops::Range;

use holdfast_core::counter::{Amount, Increment};
use holdfast_core::document::names::CountedName;
use holdfast_core::document::{AppliedIncrement, DocumentState, DocumentVersion, Tally, Version};
use holdfast_core::id::{CollectionName, DocumentId, OperationId};
use holdfast_core::stamp::Stamp;
use holdfast_core::vector::{Origin, Position};

use crate::encoding::{DecodeError, Encode, Reader};
use crate::error::StorageError;
use crate::origins::Origins;
use crate::record;

const ALIVE: u8 = 1;
const HAS_INCREMENTS: u8 = 2;
const CONFLICTED: u8 = 4;
const HAS_TALLY: u8 = 8;
const HAS_NAMES: u8 = 16;

const BODY_NONE: u8 = 0;
const BODY_SHOWN: u8 = 1;
const BODY_OWN: u8 = 2;
/// Beside the body's kind: the version settled a conflict.
const RESOLUTION: u8 = 8;

/// The key of a document: collection, a zero byte, id. Collection names hold no zero byte.
pub fn key(collection: &CollectionName, id: &DocumentId) -> Vec<u8> {
    let mut key = Vec::with_capacity(collection.as_str().len() + 1 + id.as_str().len());
    key.extend_from_slice(collection.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(id.as_str().as_bytes());
    key
}

/// The collection and id of a key.
pub fn parse_key(key: &[u8]) -> Result<(CollectionName, DocumentId), StorageError> {
    let damaged = |reason: &str| StorageError::damaged("a document key", reason);
    let text = std::str::from_utf8(key).map_err(|_| damaged("it is not UTF-8"))?;
    let (collection, id) = text.split_once('\0').ok_or_else(|| damaged("it has no separator"))?;
    let collection = CollectionName::parse_any(collection).map_err(|_| damaged("its collection name is not valid"))?;
    let id = DocumentId::parse(id).map_err(|_| damaged("its id is not valid"))?;
    Ok((collection, id))
}

/// What a record says without decoding the rest.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The shown document's text; `None` when it is deleted.
    pub text: Option<&'a [u8]>,
    /// Its version.
    pub version: DocumentVersion,
    /// The latest stamp of what is shown.
    pub stamp: Stamp,
    /// The position of the document's last change.
    pub position: Position,
    /// Whether concurrent versions stand beside the shown one.
    pub is_conflicted: bool,
    has_tally: bool,
    has_names: bool,
}

/// Writes a document's state.
pub fn encode(state: &DocumentState, position: Position, origins: &Origins) -> Vec<u8> {
    let shown = state.shown();
    let format = if state.names.is_empty() { record::FORMAT } else { record::FORMAT_NAMES };
    let mut bytes = record::begin_as(format, 128 + shown.as_ref().map_or(0, |text| text.as_str().len()));
    let mut flags = 0;
    if shown.is_some() {
        flags |= ALIVE;
    }
    let version = state.version();
    let mark = version.and_then(DocumentVersion::mark);
    if mark.is_some() {
        flags |= HAS_INCREMENTS;
    }
    if state.is_conflicted() {
        flags |= CONFLICTED;
    }
    if state.tally.is_some() {
        flags |= HAS_TALLY;
    }
    if !state.names.is_empty() {
        flags |= HAS_NAMES;
    }
    bytes.push(flags);
    bytes.put_varint(position.0);
    bytes.extend_from_slice(&version.map_or(0, |version| version.shown().0).to_le_bytes());
    bytes.extend_from_slice(&state.stamp().0.to_le_bytes());
    if let Some(mark) = mark {
        bytes.extend_from_slice(&mark.to_le_bytes());
    }
    if let Some(shown) = &shown {
        bytes.put_bytes(shown.as_str().as_bytes());
    }
    put_parts(&mut bytes, state, mark.is_none(), origins);
    record::seal(bytes)
}

/// Writes what a state is made of. The shown version's text need not stand twice, unless increments alter it.
fn put_parts(bytes: &mut Vec<u8>, state: &DocumentState, is_shown_as_written: bool, origins: &Origins) {
    bytes.put_varint(state.versions.len() as u64);
    for (place, version) in state.versions.iter().enumerate() {
        record::put_dot(bytes, &version.dot, origins);
        bytes.extend_from_slice(&version.id.0.to_le_bytes());
        bytes.extend_from_slice(&version.stamp.0.to_le_bytes());
        let resolution = if version.is_resolution { RESOLUTION } else { 0 };
        match &version.body {
            None => bytes.push(BODY_NONE | resolution),
            Some(_) if place == 0 && is_shown_as_written => bytes.push(BODY_SHOWN | resolution),
            Some(body) => {
                bytes.push(BODY_OWN | resolution);
                bytes.put_bytes(body.as_str().as_bytes());
            }
        }
    }
    bytes.put_varint(state.increments.len() as u64);
    for applied in &state.increments {
        record::put_dot(bytes, &applied.dot, origins);
        bytes.extend_from_slice(&applied.id.0.to_le_bytes());
        bytes.extend_from_slice(&applied.stamp.0.to_le_bytes());
        bytes.push(u8::from(applied.replaces.is_some()));
        if let Some(replaced) = applied.replaces {
            bytes.extend_from_slice(&replaced.0.to_le_bytes());
        }
        put_increment(bytes, &applied.increment);
    }
    if let Some(tally) = &state.tally {
        bytes.extend_from_slice(&tally.mark.to_le_bytes());
        bytes.extend_from_slice(&tally.stamp.0.to_le_bytes());
        put_increment(bytes, &tally.sum);
        record::put_vector(bytes, &tally.seen, origins);
    }
    if !state.names.is_empty() {
        bytes.put_varint(state.names.len() as u64);
        for name in &state.names {
            bytes.extend_from_slice(&name.of.0.to_le_bytes());
            record::put_dot(bytes, &name.dot, origins);
            bytes.push(u8::from(name.is_stand_in));
        }
    }
    record::put_vector(bytes, &state.vector, origins);
}

/// Reads what is shown.
pub fn decode_shown<'a>(bytes: &'a [u8], key: &[u8]) -> Result<Shown<'a>, StorageError> {
    let place = || place_of(key);
    let (_, mut reader) = record::open(bytes, &place)?;
    read_shown(&mut reader).map_err(|reason| StorageError::damaged(place(), reason))
}

/// Reads what is shown, and where in the record its text stands, for whoever keeps the record rather than the text.
pub fn decode_shown_at<'a>(bytes: &'a [u8], key: &[u8]) -> Result<(Shown<'a>, Range<usize>), StorageError> {
    let place = || place_of(key);
    let (_, mut reader) = record::open(bytes, &place)?;
    let shown = read_shown(&mut reader).map_err(|reason| StorageError::damaged(place(), reason))?;
    // The text is the last thing that was read.
    let end = bytes.len() - reader.len();
    Ok((shown, end - shown.text.map_or(0, <[u8]>::len)..end))
}

/// Reads the whole state, and the position of its last change.
pub fn decode(bytes: &[u8], key: &[u8], origins: &[Origin]) -> Result<(DocumentState, Position), StorageError> {
    let place = || place_of(key);
    let (format, mut reader) = record::open(bytes, &place)?;
    read_state(&mut reader, format, origins).map_err(|reason| StorageError::damaged(place(), reason))
}

fn place_of(key: &[u8]) -> String {
    format!("document {}", String::from_utf8_lossy(key).replacen('\0', "/", 1))
}

fn read_shown<'a>(reader: &mut Reader<'a>) -> Result<Shown<'a>, DecodeError> {
    let flags = reader.u8()?;
    let position = Position(reader.varint()?);
    let id = OperationId(reader.u128()?);
    let stamp = Stamp(reader.u64()?);
    let mark = if flags & HAS_INCREMENTS == 0 { None } else { Some(reader.u64()?) };
    let text = if flags & ALIVE == 0 { None } else { Some(reader.bytes()?) };
    let version = DocumentVersion::new(id, mark);
    let is_conflicted = flags & CONFLICTED != 0;
    let (has_tally, has_names) = (flags & HAS_TALLY != 0, flags & HAS_NAMES != 0);
    Ok(Shown { text, version, stamp, position, is_conflicted, has_tally, has_names })
}

fn read_state(
    reader: &mut Reader<'_>,
    format: u8,
    origins: &[Origin],
) -> Result<(DocumentState, Position), DecodeError> {
    let shown = read_shown(reader)?;
    let count = reader.count(27)?;
    let mut versions = Vec::with_capacity(count);
    for _ in 0..count {
        let dot = record::read_dot(reader, origins)?;
        let id = OperationId(reader.u128()?);
        let stamp = Stamp(reader.u64()?);
        let kind = reader.u8()?;
        let body = match kind & !RESOLUTION {
            BODY_NONE => None,
            BODY_SHOWN => Some(record::text(shown.text.ok_or("a version shows a text that is not there")?)?),
            BODY_OWN => Some(record::text(reader.bytes()?)?),
            _ => return Err("a version has an unknown kind of body"),
        };
        versions.push(Version { dot, id, stamp, body, is_resolution: kind & RESOLUTION != 0 });
    }
    let count = reader.count(27)?;
    let mut increments = Vec::with_capacity(count);
    for _ in 0..count {
        let dot = record::read_dot(reader, origins)?;
        let id = OperationId(reader.u128()?);
        let stamp = Stamp(reader.u64()?);
        let replaces = if format > 1 && reader.u8()? != 0 { Some(OperationId(reader.u128()?)) } else { None };
        increments.push(AppliedIncrement { dot, id, stamp, increment: read_increment(reader)?, replaces });
    }
    let tally = if shown.has_tally {
        let (mark, stamp) = (reader.u64()?, Stamp(reader.u64()?));
        let sum = read_increment(reader)?;
        Some(Tally { sum, seen: record::read_vector(reader, origins)?, stamp, mark })
    } else {
        None
    };
    let names = if shown.has_names { read_names(reader, origins)? } else { Vec::new() };
    let vector = record::read_vector(reader, origins)?;
    if !reader.is_empty() {
        return Err("it has bytes after its end");
    }
    Ok((DocumentState { versions, increments, tally, names, vector }, shown.position))
}

fn read_names(reader: &mut Reader<'_>, origins: &[Origin]) -> Result<Vec<CountedName>, DecodeError> {
    let count = reader.count(19)?;
    let name = |reader: &mut Reader<'_>| {
        let of = OperationId(reader.u128()?);
        Ok(CountedName { of, dot: record::read_dot(reader, origins)?, is_stand_in: reader.u8()? != 0 })
    };
    (0..count).map(|_| name(reader)).collect()
}

/// Writes the amounts of an increment.
pub(crate) fn put_increment(bytes: &mut Vec<u8>, increment: &Increment) {
    bytes.put_varint(increment.0.len() as u64);
    for (path, amount) in &increment.0 {
        bytes.put_varint(path.len() as u64);
        for key in path {
            bytes.put_bytes(key.as_bytes());
        }
        bytes.extend_from_slice(&amount.billionths().to_le_bytes());
    }
}

/// Reads the amounts of an increment.
pub(crate) fn read_increment(reader: &mut Reader<'_>) -> Result<Increment, DecodeError> {
    let count = reader.count(18)?;
    let mut fields = Vec::with_capacity(count);
    for _ in 0..count {
        let depth = reader.count(1)?;
        let path = (0..depth).map(|_| reader.text().map(str::to_owned)).collect::<Result<Vec<_>, _>>()?;
        let amount = Amount::from_billionths(i128::from_le_bytes(reader.u128()?.to_le_bytes()));
        fields.push((path, amount));
    }
    Ok(Increment(fields))
}
