//! The keys of a document in an index.
//!
//! ```text
//!   path leads to        values
//!   nothing              missing
//!   a value              that value
//!   an array             the array, and each of its items
//!   through [*]          what the rest of the path finds in each item; missing where there are none
//! ```
//!
//! With several paths, every value of one goes with every value of the others.

use xxhash_rust::xxh3::xxh3_128;

use crate::collation::{Case, Kind, encode_missing, encode_text};
use crate::index::definition::IndexDefinition;
use crate::json_reader::{Places, items};
use crate::limits::{INDEX_ENTRIES_PER_DOCUMENT_MAX, INDEX_KEY_BYTES_MAX};

/// The hash that stands at the end of a key that was cut.
const HASH_BYTES: usize = 16;
/// What is kept of an encoding that is too long.
pub(crate) const CUT_BYTES: usize = INDEX_KEY_BYTES_MAX - HASH_BYTES;
/// The one byte of a loose key; no encoding begins with it.
pub const LOOSE: u8 = 0xff;

/// One key of a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexKey {
    /// What it is sorted by.
    pub bytes: Vec<u8>,
    /// What is to be known when it is found.
    pub marks: Marks,
    /// Whether one of its values is missing or null. Such keys are no reason to call a document a duplicate.
    pub has_gap: bool,
}

/// What is to be known of a key without looking at its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Marks {
    /// It is a cut or loose key: its bytes alone do not say which values the document has.
    pub is_inexact: bool,
    /// Its document has other keys too.
    pub is_spread: bool,
}

/// Reads the keys of documents in one index.
#[derive(Debug, Clone)]
pub struct KeyReader {
    /// Of each path the part up to the first array.
    heads: Places,
    /// Of each path the parts from an item on.
    rests: Vec<Vec<Places>>,
    case: Case,
}

/// The values that a path finds in a document, encoded, and whether each is missing or null.
type Values = Vec<(Vec<u8>, bool)>;

/// More values or keys than an index takes, or text that is no JSON.
struct TooMany;

impl KeyReader {
    /// The reader for an index.
    pub fn new(definition: &IndexDefinition) -> Self {
        let heads = definition.paths.iter().filter_map(|path| path.segments().first());
        let rests = definition
            .paths
            .iter()
            .map(|path| path.segments().iter().skip(1).map(|segment| Places::new(std::iter::once(segment))).collect());
        Self { heads: Places::new(heads), rests: rests.collect(), case: definition.case() }
    }

    /// The keys of a document, sorted, each once; at least one.
    pub fn keys(&self, text: &[u8]) -> Vec<IndexKey> {
        self.try_keys(text).unwrap_or_else(|TooMany| vec![IndexKey::loose()])
    }

    fn try_keys(&self, text: &[u8]) -> Result<Vec<IndexKey>, TooMany> {
        let mut found = Vec::new();
        self.heads.find(text, &mut found).map_err(|_| TooMany)?;
        let mut keys: Values = vec![(Vec::new(), false)];
        for (value, rests) in found.into_iter().zip(&self.rests) {
            let mut values = Values::new();
            self.collect(value, rests, &mut values)?;
            if values.is_empty() {
                push_missing(&mut values);
            }
            if let ([only], [(key, has_gap)]) = (values.as_slice(), keys.as_mut_slice()) {
                key.extend_from_slice(&only.0);
                *has_gap |= only.1;
                continue;
            }
            values.sort_unstable();
            values.dedup();
            if keys.len() * values.len() > INDEX_ENTRIES_PER_DOCUMENT_MAX {
                return Err(TooMany);
            }
            let each = keys.iter().flat_map(|(key, has_gap)| {
                values.iter().map(move |(value, is_gap)| ([key.as_slice(), value].concat(), *has_gap || *is_gap))
            });
            keys = each.collect();
        }
        let is_spread = keys.len() > 1;
        let mut keys: Vec<IndexKey> =
            keys.into_iter().map(|(key, has_gap)| IndexKey::of(key, is_spread, has_gap)).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// The values at the end of a path that goes on from `value`.
    fn collect(&self, value: Option<&[u8]>, rests: &[Places], values: &mut Values) -> Result<(), TooMany> {
        if values.len() > INDEX_ENTRIES_PER_DOCUMENT_MAX {
            return Err(TooMany);
        }
        match (value, rests.split_first()) {
            (Some(array), Some((rest, rests))) => {
                let mut found = Vec::new();
                for item in items(array) {
                    rest.find(item, &mut found).map_err(|_| TooMany)?;
                    self.collect(found.first().copied().flatten(), rests, values)?;
                }
            }
            // There is no array, so it has no items.
            (None, Some(_)) => {}
            (None, None) => push_missing(values),
            (Some(value), None) => {
                self.push(value, values)?;
                if value.first() == Some(&b'[') {
                    for item in items(value) {
                        self.push(item, values)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn push(&self, value: &[u8], values: &mut Values) -> Result<(), TooMany> {
        let mut bytes = Vec::with_capacity(value.len() + 2);
        if values.len() > INDEX_ENTRIES_PER_DOCUMENT_MAX || !encode_text(value, self.case, &mut bytes) {
            return Err(TooMany);
        }
        let is_null = Kind::of_encoded(&bytes) == Some(Kind::Null);
        values.push((bytes, is_null));
        Ok(())
    }
}

fn push_missing(values: &mut Values) {
    let mut bytes = Vec::with_capacity(1);
    encode_missing(&mut bytes);
    values.push((bytes, true));
}

impl IndexKey {
    /// The key of encoded values, cut if it is too long.
    pub fn of(values: Vec<u8>, is_spread: bool, has_gap: bool) -> Self {
        let is_inexact = values.len() > CUT_BYTES;
        Self { bytes: cut(values), marks: Marks { is_inexact, is_spread }, has_gap }
    }

    /// The key of a document that has too many, or whose text cannot be read.
    pub fn loose() -> Self {
        Self { bytes: vec![LOOSE], marks: Marks { is_inexact: true, is_spread: true }, has_gap: true }
    }

    /// Whether it stands outside the order, for its document may belong to any question.
    pub fn is_loose(&self) -> bool {
        self.bytes.first() == Some(&LOOSE)
    }
}

/// Encoded values as they stand in a key: with a hash in place of what is too long.
pub(crate) fn cut(mut values: Vec<u8>) -> Vec<u8> {
    if values.len() > CUT_BYTES {
        let hash = xxh3_128(&values);
        values.truncate(CUT_BYTES);
        values.extend_from_slice(&hash.to_be_bytes());
    }
    values
}
