//! Entries: one row for each key of each document.
//!
//! ```text
//!   key    index number u32, highest byte first · key · document id
//!   value  u16: length of the key in the low bits, marks in the high ones
//! ```
//!
//! No key is the beginning of another one, so rows sort by index, then by key, then by document.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use holdfast_core::index::keys::{IndexKey, Marks};
use holdfast_core::limits::INDEX_KEY_BYTES_MAX;
use redb::{ReadableTable, Table, WriteTransaction};

use crate::error::StorageError;
use crate::record::index::IndexCounts;
use crate::tables::INDEX_ENTRIES;

/// Bytes of the number at the beginning of a row's key.
pub(crate) const NUMBER_BYTES: usize = 4;
const LENGTH_MASK: u16 = 0x07ff;
const INEXACT: u16 = 0x8000;
const SPREAD: u16 = 0x4000;

const _: () = assert!(INDEX_KEY_BYTES_MAX <= LENGTH_MASK as usize, "the length of a key fits its bits");

/// The key of a row, or its beginning.
pub(crate) fn row_key(number: u32, key: &[u8], id: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(NUMBER_BYTES + key.len() + id.len());
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(id);
    bytes
}

/// The value of a row.
pub(crate) fn row_value(key: &IndexKey) -> u16 {
    let length = u16::try_from(key.bytes.len()).unwrap_or(LENGTH_MASK) & LENGTH_MASK;
    length | if key.marks.is_inexact { INEXACT } else { 0 } | if key.marks.is_spread { SPREAD } else { 0 }
}

/// Where in a row's key the key of the index stands; the document's id follows.
pub(crate) fn key_place(value: u16) -> Range<usize> {
    NUMBER_BYTES..NUMBER_BYTES + usize::from(value & LENGTH_MASK)
}

/// The marks in a row's value.
pub(crate) fn marks(value: u16) -> Marks {
    Marks { is_inexact: value & INEXACT != 0, is_spread: value & SPREAD != 0 }
}

/// The table of entries in a transaction, opened when it is first needed.
///
/// Changes wait to the end of the transaction and are made in the order of the table: documents come in any order, and
/// in order each page of the table is met once.
pub(crate) struct Entries<'t> {
    transaction: &'t WriteTransaction,
    table: Option<Table<'t, &'static [u8], u16>>,
    /// Rows with what they become; nothing where they go.
    waiting: BTreeMap<Vec<u8>, Option<u16>>,
}

impl<'t> Entries<'t> {
    pub(crate) fn new(transaction: &'t WriteTransaction) -> Self {
        Self { transaction, table: None, waiting: BTreeMap::new() }
    }

    pub(crate) fn table(&mut self) -> Result<&mut Table<'t, &'static [u8], u16>, StorageError> {
        if self.table.is_none() {
            self.table = Some(self.transaction.open_table(INDEX_ENTRIES)?);
        }
        self.table.as_mut().ok_or(StorageError::Stopped)
    }

    /// Adds a row, or changes its marks.
    pub(crate) fn insert(&mut self, row: &[u8], value: u16, counts: &mut IndexCounts) -> Result<(), StorageError> {
        let was = self.table()?.insert(row, value)?.map(|was| was.value());
        counts.count(was, Some(value));
        Ok(())
    }

    /// Has a row added, changed or removed at the end.
    pub(crate) fn change(&mut self, row: Vec<u8>, value: Option<u16>) {
        self.waiting.insert(row, value);
    }

    /// Makes the changes that wait, and counts them for each index.
    pub(crate) fn apply(&mut self, counts: &mut BTreeMap<u32, IndexCounts>) -> Result<(), StorageError> {
        for (row, value) in std::mem::take(&mut self.waiting) {
            let table = self.table()?;
            let was = match value {
                Some(value) => table.insert(row.as_slice(), value)?.map(|was| was.value()),
                None => table.remove(row.as_slice())?.map(|was| was.value()),
            };
            let number = row.first_chunk().map_or(0, |number| u32::from_be_bytes(*number));
            if let Some(counts) = counts.get_mut(&number) {
                counts.count(was, value);
            }
        }
        Ok(())
    }

    /// The ids of documents with a key, at most `take`, what waits included.
    pub(crate) fn documents(&mut self, number: u32, key: &[u8], take: usize) -> Result<Vec<String>, StorageError> {
        let start = row_key(number, key, &[]);
        let text = |id: &[u8]| String::from_utf8_lossy(id).into_owned();
        let of_key = |row: &Vec<u8>| row.starts_with(&start);
        let waiting: BTreeMap<Vec<u8>, Option<u16>> = self
            .waiting
            .range(start.clone()..)
            .take_while(|(row, _)| of_key(row))
            .map(|(r, v)| (r.clone(), *v))
            .collect();
        let added = waiting.iter().filter(|(_, value)| value.is_some()).take(take);
        let mut ids: BTreeSet<String> =
            added.filter_map(|(row, _)| row.strip_prefix(start.as_slice())).map(text).collect();
        for row in self.table()?.range(start.as_slice()..)? {
            let (row, _) = row?;
            let Some(id) = row.value().strip_prefix(start.as_slice()) else { break };
            if ids.len() >= take {
                break;
            }
            if !waiting.contains_key(row.value()) {
                ids.insert(text(id));
            }
        }
        Ok(ids.into_iter().collect())
    }
}

impl IndexCounts {
    fn count(&mut self, was: Option<u16>, is: Option<u16>) {
        let part = |value: Option<u16>, counts: fn(Marks) -> bool| i64::from(value.is_some_and(|it| counts(marks(it))));
        let change = |counts: fn(Marks) -> bool| part(is, counts) - part(was, counts);
        self.entries = self.entries.saturating_add_signed(change(|_| true));
        self.inexact = self.inexact.saturating_add_signed(change(|marks| marks.is_inexact));
        self.spread = self.spread.saturating_add_signed(change(|marks| marks.is_spread));
    }
}
