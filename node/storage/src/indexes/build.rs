//! Building an index over documents that are there already, a few at a time.
//!
//! ```text
//!   run:  look through some documents ─► sort their keys ─► insert them, a few per transaction ─► next run
//! ```
//!
//! A run takes as many documents as fit its memory; sorted, their entries touch each page of the index once. A document
//! that changes while a run is under way has its entries from that change, and what the run knows of it is left out.
//! Progress is kept with the last entries of each run, so a crash costs one run.

use std::collections::BTreeSet;
use std::ops::Bound;

use holdfast_core::id::{CollectionName, DocumentId, OperationId};
use holdfast_core::index::keys::IndexKey;
use holdfast_core::time::Millis;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use crate::error::StorageError;
use crate::indexes::catalog::{Catalog, Made};
use crate::indexes::entries::{NUMBER_BYTES, key_place, row_key, row_value};
use crate::indexes::maintain::Indexes;
use crate::indexes::unique;
use crate::origins::Origins;
use crate::record::document::{decode_shown, key};
use crate::record::index::IndexStanding;
use crate::tables::{DOCUMENTS, INDEX_ENTRIES, INDEXES};

/// Entries that a run collects before it inserts them, and their bytes.
const RUN_ENTRIES_MAX: usize = 100_000;
const RUN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Beside the marks of a row, while it is in a run: one of its values is missing or null.
const HAS_GAP: u16 = 0x1000;

/// How much one step does.
#[derive(Debug, Clone, Copy)]
pub struct IndexLimit {
    /// Documents that are looked at.
    pub documents: usize,
    /// Entries that are inserted or removed.
    pub entries: usize,
}

impl Default for IndexLimit {
    fn default() -> Self {
        Self { documents: 2_000, entries: 4_000 }
    }
}

/// What a step has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexStep {
    /// Whether there is more to do.
    pub has_more: bool,
    /// Whether readers see a change: an index is ready, or gone.
    pub is_visible: bool,
    /// Entries that were inserted or removed.
    pub entries: usize,
}

/// What is to be done next.
pub(crate) enum Work {
    /// The rest of an index that is no longer wanted.
    Remove(u32),
    /// A run over the next documents of an index.
    Build(Box<Run>),
}

/// A stretch of documents on their way into an index.
#[derive(Debug)]
pub(crate) struct Run {
    number: u32,
    made: std::sync::Arc<Made>,
    /// Documents up to this id were looked at.
    after: String,
    documents: u64,
    /// Whether that was all of them.
    is_last: bool,
    /// The keys of rows, one after the other, and where each is, with its value.
    bytes: Vec<u8>,
    rows: Vec<(u32, u32, u16)>,
    is_sorted: bool,
    /// How many rows were inserted.
    inserted: usize,
    /// Documents that changed meanwhile.
    changed: BTreeSet<DocumentId>,
}

/// Finds what is to be done next.
pub(crate) fn next_work(transaction: &ReadTransaction) -> Result<Option<Work>, StorageError> {
    let catalog = Catalog::load(&transaction.open_table(INDEXES)?)?;
    if let Some(index) = catalog.indexes.iter().find(|index| index.record.standing == IndexStanding::Dropping) {
        return Ok(Some(Work::Remove(index.number)));
    }
    Ok(catalog.indexes.into_iter().find_map(|index| match (&index.record.standing, index.made) {
        (IndexStanding::Building { after, documents }, Some(made)) => Some(Work::Build(Box::new(Run {
            number: index.number,
            made,
            after: after.clone(),
            documents: *documents,
            is_last: false,
            bytes: Vec::new(),
            rows: Vec::new(),
            is_sorted: false,
            inserted: 0,
            changed: BTreeSet::new(),
        }))),
        _ => None,
    }))
}

impl Run {
    /// Whether documents are still to be looked at before anything is inserted.
    pub(crate) fn is_collecting(&self) -> bool {
        !self.is_sorted
    }

    /// Leaves out what the run knows of a document.
    pub(crate) fn note_changed(&mut self, collection: &CollectionName, id: DocumentId) {
        if *collection == self.made.definition.collection {
            self.changed.insert(id);
        }
    }

    /// Looks at some documents.
    pub(crate) fn collect(&mut self, transaction: &ReadTransaction, take: usize) -> Result<(), StorageError> {
        let collection = self.made.definition.collection.clone();
        let name = collection.as_str().as_bytes();
        let first = [name, &[0]].concat();
        let end = [name, &[1]].concat();
        let start = match DocumentId::parse(&self.after) {
            Ok(id) => Bound::Excluded(key(&collection, &id)),
            Err(_) => Bound::Included(first.clone()),
        };
        let documents = transaction.open_table(DOCUMENTS)?;
        let range = (start.as_ref().map(Vec::as_slice), Bound::Excluded(end.as_slice()));
        let mut looked_at = 0;
        let mut rows = documents.range::<&[u8]>(range)?;
        while looked_at < take && self.rows.len() < RUN_ENTRIES_MAX && self.bytes.len() < RUN_BYTES_MAX {
            let Some(row) = rows.next() else {
                self.is_last = true;
                break;
            };
            let (place, record) = row?;
            let id = place.value().get(first.len()..).unwrap_or_default();
            looked_at += 1;
            self.documents += 1;
            String::from_utf8_lossy(id).as_ref().clone_into(&mut self.after);
            match decode_shown(record.value(), place.value()) {
                Ok(shown) => {
                    for key in shown.text.map(|text| self.made.reader.keys(text)).unwrap_or_default() {
                        self.push(&key, id);
                    }
                }
                // Whoever asks the index meets it, as whoever reads all documents does.
                Err(_) => self.push(&IndexKey::loose(), id),
            }
        }
        if self.is_last || self.rows.len() >= RUN_ENTRIES_MAX || self.bytes.len() >= RUN_BYTES_MAX {
            self.sort();
        }
        Ok(())
    }

    fn push(&mut self, key: &IndexKey, id: &[u8]) {
        let row = row_key(self.number, &key.bytes, id);
        // A run is far smaller than four gigabytes: its bytes are bounded, and so are the keys of one document.
        let start = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&row);
        let end = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.rows.push((start, end, row_value(key) | if key.has_gap { HAS_GAP } else { 0 }));
    }

    fn sort(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let of = |row: &(u32, u32, u16)| bytes.get(row.0 as usize..row.1 as usize).unwrap_or_default();
        self.rows.sort_unstable_by(|left, right| of(left).cmp(of(right)));
        self.bytes = bytes;
        self.is_sorted = true;
    }

    /// Inserts some rows. Answers whether the run is done; and whether the index is ready.
    pub(crate) fn insert(
        &mut self,
        transaction: &WriteTransaction,
        take: usize,
        origins: &Origins,
        now: Millis,
    ) -> Result<(bool, bool), StorageError> {
        let mut indexes = Indexes::open(transaction)?;
        let index = indexes.catalog.indexes.iter_mut().find(|index| index.number == self.number && index.is_building());
        // Dropped meanwhile, or defined otherwise.
        let Some(index) = index else { return Ok((true, false)) };
        let rows = self.rows.get(self.inserted..).unwrap_or_default();
        for (start, end, value) in rows.iter().take(take) {
            let row = self.bytes.get(*start as usize..*end as usize).unwrap_or_default();
            let (value, has_gap) = (value & !HAS_GAP, value & HAS_GAP != 0);
            let place = key_place(value);
            if !self.changed.is_empty() {
                let id = std::str::from_utf8(row.get(place.end..).unwrap_or_default()).unwrap_or_default();
                if DocumentId::parse(id).is_ok_and(|id| self.changed.contains(&id)) {
                    continue;
                }
            }
            indexes.entries.insert(row, value, &mut index.record.counts)?;
            if self.made.definition.is_unique && !has_gap {
                let key = row.get(place).unwrap_or_default();
                let at = unique::At { number: self.number, definition: &self.made.definition, key };
                let table = indexes.entries.table()?;
                if is_shared(table, row, NUMBER_BYTES + key.len())? {
                    unique::look(transaction, &mut indexes.entries, &at, origins, (now, OperationId(0)))?;
                }
            }
        }
        self.inserted = (self.inserted + take).min(self.rows.len());
        let is_done = self.inserted == self.rows.len();
        if is_done {
            index.set(if self.is_last {
                IndexStanding::Ready
            } else {
                IndexStanding::Building { after: self.after.clone(), documents: self.documents }
            });
        }
        index.is_changed = true;
        indexes.save(None)?;
        Ok((is_done, is_done && self.is_last))
    }
}

/// Whether the row before or after one has the same key: the first bytes, up to a length.
fn is_shared(table: &impl ReadableTable<&'static [u8], u16>, row: &[u8], length: usize) -> Result<bool, StorageError> {
    let key = row.get(..length).unwrap_or_default();
    let mut before = table.range::<&[u8]>(..row)?;
    if let Some(other) = before.next_back()
        && other?.0.value().starts_with(key)
    {
        return Ok(true);
    }
    let mut after = table.range::<&[u8]>((Bound::Excluded(row), Bound::Unbounded))?;
    Ok(match after.next() {
        Some(other) => other?.0.value().starts_with(key),
        None => false,
    })
}

/// Removes some of the rest of an index that is no longer wanted. Answers whether it is gone, and how many entries went.
pub(crate) fn remove(
    transaction: &WriteTransaction,
    number: u32,
    take: usize,
    origins: &Origins,
    now: Millis,
) -> Result<(bool, usize), StorageError> {
    if unique::forget(transaction, number, take, origins, now)? {
        return Ok((false, 0));
    }
    let rows = {
        let mut table = transaction.open_table(INDEX_ENTRIES)?;
        let (start, end) = (number.to_be_bytes(), (number + 1).to_be_bytes());
        let mut rows = Vec::new();
        for row in table.range(start.as_slice()..end.as_slice())?.take(take) {
            rows.push(row?.0.value().to_vec());
        }
        for row in &rows {
            table.remove(row.as_slice())?;
        }
        rows.len()
    };
    let is_gone = rows < take;
    if is_gone {
        let mut indexes = Indexes::open(transaction)?;
        for index in indexes.catalog.indexes.iter_mut().filter(|index| index.number == number) {
            index.is_gone = true;
            index.is_changed = true;
        }
        indexes.save(None)?;
    }
    Ok((is_gone, rows))
}
