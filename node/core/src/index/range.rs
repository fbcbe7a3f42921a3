//! The stretch of an index that a question asks for.
//!
//! A question fixes the values of some paths from the first one on, and may bound the next one. A stretch holds the keys
//! of all documents that match; where a value is too long for a key it holds more, and says so.

use std::ops::Bound;

use crate::collation::end_of_prefix;
use crate::index::keys::{CUT_BYTES, LOOSE, cut};

/// A stretch of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub start: Vec<u8>,
    /// The first key after it.
    pub end: Vec<u8>,
    /// Whether it holds nothing but what was asked for, apart from keys that are marked inexact.
    pub is_exact: bool,
}

impl KeyRange {
    /// All keys that stand in the order.
    pub fn all() -> Self {
        Self { start: Vec::new(), end: vec![LOOSE], is_exact: true }
    }

    /// Keys that begin with encoded values, or with the beginning of one.
    pub fn starting_with(prefix: &[u8]) -> Self {
        Self::between(prefix, Bound::Unbounded, Bound::Unbounded)
    }

    /// The keys of exactly these values: one for each path of the index, encoded one after the other.
    pub fn of(values: &[u8]) -> Self {
        let start = cut(values.to_vec());
        let end = after(&start);
        Self { start, end, is_exact: true }
    }

    /// Keys that begin with encoded values, and whose next value lies between two encoded ones.
    pub fn between(prefix: &[u8], lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Self {
        let joined = |value: &[u8]| {
            let mut bytes = [prefix, value].concat();
            let is_whole = bytes.len() <= CUT_BYTES;
            bytes.truncate(CUT_BYTES);
            (bytes, is_whole)
        };
        let (start, is_start_exact) = match lower {
            Bound::Unbounded => joined(&[]),
            Bound::Included(value) => joined(value),
            Bound::Excluded(value) => match joined(value) {
                (bytes, true) => (after(&bytes), true),
                cut => cut,
            },
        };
        let (end, is_end_exact) = match upper {
            Bound::Unbounded => {
                let (bytes, is_whole) = joined(&[]);
                (after(&bytes), is_whole)
            }
            Bound::Included(value) => {
                let (bytes, is_whole) = joined(value);
                (after(&bytes), is_whole)
            }
            Bound::Excluded(value) => match joined(value) {
                (bytes, false) => (after(&bytes), false),
                whole => whole,
            },
        };
        Self { start, end, is_exact: is_start_exact && is_end_exact }
    }

    /// Whether nothing can lie in it.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Whether a key lies in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && key < self.end.as_slice()
    }
}

fn after(prefix: &[u8]) -> Vec<u8> {
    end_of_prefix(prefix).filter(|end| end.as_slice() < [LOOSE].as_slice()).unwrap_or_else(|| vec![LOOSE])
}
