//! Where a query goes on: `NextCursor`, as text that only this module reads.
//!
//! ```text
//!   hex of: format u8 · checksum u32 · fingerprint u32 · rows answered so far varint · place
//!   place:  0 · rows to pass over varint        1 · the last row's key        2 · the last row's id · rows after it
//!           3 · the index entry at which the next row is
//! ```
//!
//! **What stays true.** A cursor is bounded, checked before it is believed, and good for the statement, the parameters
//! and the order that it was made for alone. It names a place, not a look at the data: rows that are written behind
//! that place show up, rows before it do not.

use holdfast_core::encoding::{Encode, Reader, checksum};

use crate::failure::Failure;

/// Where a query goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// What it was made for.
    pub(crate) fingerprint: u32,
    /// Rows that were answered before.
    pub(crate) answered: u64,
    /// Where the next row is.
    pub(crate) place: Place,
}

/// Where the next row is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// After so many rows.
    Offset(u64),
    /// After the row with this key.
    Key(Vec<u8>),
    /// After so many rows of the first source's document with this id.
    Id(Vec<u8>, u64),
    /// At this entry of an index.
    Entry(Vec<u8>),
}

const FORMAT: u8 = 1;
/// Longest place that a cursor carries; a longer one is told by counting rows.
pub(crate) const PLACE_BYTES_MAX: usize = 2_048;
/// Longest text that is taken for a cursor.
const TEXT_BYTES_MAX: usize = 2 * (PLACE_BYTES_MAX + 64);

impl Cursor {
    pub(crate) fn to_text(&self) -> String {
        let mut body = Vec::new();
        body.extend_from_slice(&self.fingerprint.to_le_bytes());
        body.put_varint(self.answered);
        match &self.place {
            Place::Offset(rows) => {
                body.push(0);
                body.put_varint(*rows);
            }
            Place::Key(key) => {
                body.push(1);
                body.put_bytes(key);
            }
            Place::Id(id, rows) => {
                body.push(2);
                body.put_bytes(id);
                body.put_varint(*rows);
            }
            Place::Entry(entry) => {
                body.push(3);
                body.put_bytes(entry);
            }
        }
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&checksum(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn parse(text: &str, fingerprint: u32) -> Result<Self, Failure> {
        let invalid = |reason: &str| {
            Failure::refused(
                "query-cursor-invalid",
                format!("The cursor cannot be used: {reason}"),
                "Send NextCursor of an answer unchanged, or leave the cursor out to begin anew.",
            )
        };
        if text.len() > TEXT_BYTES_MAX {
            return Err(invalid("it is too long"));
        }
        let bytes = from_hex(text).ok_or_else(|| invalid("it is no cursor"))?;
        let cursor = Self::read(&bytes).map_err(invalid)?;
        if cursor.fingerprint != fingerprint {
            return Err(Failure::refused(
                "query-cursor-stale",
                "The cursor belongs to another query, other parameters, or an order that no longer is",
                "Leave the cursor out to begin anew.",
            ));
        }
        Ok(cursor)
    }

    fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != FORMAT {
            return Err("it was made by another version");
        }
        let sum = reader.u32()?;
        let mut body = Reader::new(reader.take_rest());
        if checksum(body.clone().take_rest()) != sum {
            return Err("it was changed");
        }
        let fingerprint = body.u32()?;
        let answered = body.varint()?;
        let place = match body.u8()? {
            0 => Place::Offset(body.varint()?),
            1 => Place::Key(body.bytes()?.to_vec()),
            2 => Place::Id(body.bytes()?.to_vec(), body.varint()?),
            3 => Place::Entry(body.bytes()?.to_vec()),
            _ => return Err("it was made by another version"),
        };
        if body.is_empty() { Ok(Self { fingerprint, answered, place }) } else { Err("it is too long") }
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_and_no_other_text_is_one() {
        for place in
            [Place::Offset(7), Place::Key(vec![1, 2, 255]), Place::Id(b"o-1".to_vec(), 3), Place::Entry(vec![0])]
        {
            let cursor = Cursor { fingerprint: 5, answered: 100, place };
            let text = cursor.to_text();
            assert_eq!(Cursor::parse(&text, 5).unwrap(), cursor);
            assert_eq!(Cursor::parse(&text, 6).unwrap_err().code(), "query-cursor-stale");
            for at in 0..text.len() {
                let mut changed = text.clone();
                let other = if changed.as_bytes().get(at) == Some(&b'7') { "8" } else { "7" };
                changed.replace_range(at..=at, other);
                assert_eq!(Cursor::parse(&changed, 5).unwrap_err().code(), "query-cursor-invalid", "{changed}");
            }
        }
        for text in ["", "0", "zz", "01", &"0".repeat(100_000), "ü"] {
            assert_eq!(Cursor::parse(text, 5).unwrap_err().code(), "query-cursor-invalid");
        }
    }
}
