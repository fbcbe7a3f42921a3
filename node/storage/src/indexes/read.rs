//! Reading indexes: which there are, and the entries of a stretch of keys, one after the other.
//!
//! A scan hands out the ids of documents that may match. Whoever asks looks at the document itself, unless the entry is
//! exact and the question was; and meets a document several times where the index says that its entries are spread.
//! Documents with a loose key come at the end of every scan, whichever way it goes.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::index::definition::IndexDefinition;
use holdfast_core::index::keys::{KeyReader, LOOSE, Marks};
use holdfast_core::index::range::KeyRange;
use holdfast_core::limits::DUPLICATES_LISTED_MAX;
use redb::{AccessGuard, ReadOnlyTable, ReadableTable};
use xxhash_rust::xxh3::xxh3_128;

use crate::error::StorageError;
use crate::indexes::catalog::Catalog;
use crate::indexes::entries::{NUMBER_BYTES, key_place, marks, row_key};
use crate::record::index::{IndexCounts, IndexStanding};
use crate::scan::Direction;
use crate::tables::{INDEX_ENTRIES, INDEXES, VIOLATIONS_OPEN};
use crate::view::ReadView;

/// An index as a view shows it.
#[derive(Debug, Clone)]
pub struct IndexState {
    /// Names its entries within this database and view; another node has another number.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// The text of the document that defines it.
    pub text: String,
    /// What it is; `None` when this node cannot use it.
    pub definition: Option<IndexDefinition>,
    /// How it stands.
    pub standing: IndexStanding,
    /// How many entries it has.
    pub counts: IndexCounts,
}

/// What a view has looked up about indexes, kept for all who share it.
#[derive(Debug, Default)]
pub(crate) struct IndexCache {
    states: OnceLock<Arc<Vec<Arc<IndexState>>>>,
    entries: OnceLock<ReadOnlyTable<&'static [u8], u16>>,
}

/// Entries of a stretch on their way past.
pub struct IndexScan {
    rows: redb::Range<'static, &'static [u8], u16>,
    /// Documents that stand outside the order.
    loose: Option<redb::Range<'static, &'static [u8], u16>>,
    direction: Direction,
}

/// One entry. It holds on to its page of the store.
pub struct IndexEntry {
    row: AccessGuard<'static, &'static [u8]>,
    value: u16,
}

impl IndexState {
    /// Whether readers may use it.
    pub fn is_ready(&self) -> bool {
        self.standing == IndexStanding::Ready && self.definition.is_some()
    }

    /// Whether each document has exactly one entry, and its key says exactly which values it has. Then the order of
    /// entries is the order of documents, and counting entries counts documents.
    pub fn is_plain(&self) -> bool {
        self.counts.inexact == 0 && self.counts.spread == 0
    }
}

impl ReadView {
    /// All indexes of the database that are wanted, by name.
    pub fn indexes(&self) -> Result<Arc<Vec<Arc<IndexState>>>, StorageError> {
        if let Some(states) = self.index_cache().states.get() {
            return Ok(Arc::clone(states));
        }
        let catalog = Catalog::load(&self.transaction().open_table(INDEXES)?)?;
        let wanted = catalog.indexes.into_iter().filter(|index| index.record.standing != IndexStanding::Dropping);
        let mut states: Vec<IndexState> = wanted
            .map(|index| IndexState {
                number: index.number,
                name: index.record.name,
                text: index.record.text,
                definition: index.made.map(|made| made.definition.clone()),
                standing: index.record.standing,
                counts: index.record.counts,
            })
            .collect();
        states.sort_by(|left, right| left.name.cmp(&right.name));
        let states = Arc::new(states.into_iter().map(Arc::new).collect());
        // Somebody else may have been faster; what they found is the same.
        drop(self.index_cache().states.set(Arc::clone(&states)));
        Ok(states)
    }

    /// The indexes of a collection that may be used now.
    pub fn ready_indexes(&self, collection: &CollectionName) -> Result<Vec<Arc<IndexState>>, StorageError> {
        let indexes = self.indexes()?;
        let is_of = |one: &&Arc<IndexState>| one.definition.as_ref().is_some_and(|it| it.collection == *collection);
        Ok(indexes.iter().filter(|one| one.is_ready()).filter(is_of).cloned().collect())
    }

    /// Documents with the same values, for an index that is to be unique: the ids of some, for some values.
    pub fn duplicates(&self, definition: &IndexDefinition) -> Result<Vec<Vec<String>>, StorageError> {
        let reader = KeyReader::new(definition);
        let everything = (Bound::Unbounded, Bound::Unbounded);
        let keys = |text: &[u8]| reader.keys(text).into_iter().filter(|key| !key.has_gap);
        let (mut met, mut twice) = (HashSet::new(), HashSet::new());
        let mut scan = self.scan(&definition.collection, everything, Direction::Forward)?;
        while let Some(document) = scan.next_document()? {
            for key in keys(document.text()) {
                let hash = xxh3_128(&key.bytes);
                if !met.insert(hash) && twice.len() < DUPLICATES_LISTED_MAX {
                    twice.insert(hash);
                }
            }
        }
        if twice.is_empty() {
            return Ok(Vec::new());
        }
        drop(met);
        let mut found: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
        let mut scan = self.scan(&definition.collection, everything, Direction::Forward)?;
        while let Some(document) = scan.next_document()? {
            for key in keys(document.text()).filter(|key| twice.contains(&xxh3_128(&key.bytes))) {
                let ids = found.entry(key.bytes).or_default();
                if ids.len() < DUPLICATES_LISTED_MAX {
                    ids.push(document.id()?.to_owned());
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// Walks over the entries of a stretch, from its beginning or from its end. `after` is the cursor of an entry that a
    /// scan of the same stretch gave; it goes on behind that.
    pub fn index_scan(
        &self,
        index: &IndexState,
        range: &KeyRange,
        direction: Direction,
        after: Option<&[u8]>,
    ) -> Result<IndexScan, StorageError> {
        let (mut start, mut end) = (row_key(index.number, &range.start, &[]), row_key(index.number, &range.end, &[]));
        let mut loose = row_key(index.number, &[LOOSE], &[]);
        // The first key behind another one is that key and a zero byte.
        let behind = |cursor: &[u8]| row_key(index.number, cursor, &[0]);
        match (after, direction) {
            (Some(cursor), _) if cursor.first() == Some(&LOOSE) => {
                loose = loose.max(behind(cursor));
                end.clone_from(&start);
            }
            (Some(cursor), Direction::Forward) => start = start.max(behind(cursor)),
            (Some(cursor), Direction::Backward) => end = end.min(row_key(index.number, cursor, &[])),
            (None, _) => {}
        }
        // The store has no opinion on a range that ends before it starts.
        let end = end.max(start.clone());
        let table = self.index_entries()?;
        let rows = table.range(start.as_slice()..end.as_slice())?;
        let loose = if index.counts.inexact == 0 {
            None
        } else {
            let end = index.number.saturating_add(1).to_be_bytes();
            Some(table.range(loose.as_slice()..end.as_slice())?)
        };
        Ok(IndexScan { rows, loose, direction })
    }

    /// Counts the entries of a stretch without looking at documents, up to a limit.
    pub fn index_count(&self, index: &IndexState, range: &KeyRange, limit: u64) -> Result<u64, StorageError> {
        let mut scan = self.index_scan(index, range, Direction::Forward, None)?;
        let mut count = 0;
        while count < limit && scan.next_entry()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// How many values of a unique index several documents have.
    pub fn index_violations(&self, index: &IndexState) -> Result<u64, StorageError> {
        if index.definition.as_ref().is_some_and(|definition| !definition.is_unique) {
            return Ok(0);
        }
        let mut count = 0;
        for row in self.transaction().open_table(VIOLATIONS_OPEN)?.iter()? {
            count += u64::from(row?.1.value().starts_with(&index.number.to_be_bytes()));
        }
        Ok(count)
    }

    fn index_entries(&self) -> Result<&ReadOnlyTable<&'static [u8], u16>, StorageError> {
        let cache = self.index_cache();
        if cache.entries.get().is_none() {
            drop(cache.entries.set(self.transaction().open_table(INDEX_ENTRIES)?));
        }
        cache.entries.get().ok_or(StorageError::Stopped)
    }
}

impl IndexScan {
    /// The next entry; `None` after the last one.
    pub fn next_entry(&mut self) -> Result<Option<IndexEntry>, StorageError> {
        let row = match self.direction {
            Direction::Forward => self.rows.next(),
            Direction::Backward => self.rows.next_back(),
        };
        let row = row.or_else(|| self.loose.as_mut().and_then(Iterator::next)).transpose()?;
        Ok(row.map(|(row, value)| IndexEntry { row, value: value.value() }))
    }
}

impl IndexEntry {
    /// The document's id.
    pub fn id(&self) -> Result<&str, StorageError> {
        let id = self.row.value().get(key_place(self.value).end..).unwrap_or_default();
        std::str::from_utf8(id).map_err(|_| StorageError::damaged("an index entry", "its document id is not UTF-8"))
    }

    /// The document's id, checked.
    pub fn document_id(&self) -> Result<DocumentId, StorageError> {
        DocumentId::parse(self.id()?)
            .map_err(|_| StorageError::damaged("an index entry", "its document id is not valid"))
    }

    /// The key: the document's values at the index's paths, encoded one after the other; cut where too long.
    pub fn key(&self) -> &[u8] {
        self.row.value().get(key_place(self.value)).unwrap_or_default()
    }

    /// What is to be known of it.
    pub fn marks(&self) -> Marks {
        marks(self.value)
    }

    /// Names the entry, so that another scan of the same index can go on behind it.
    pub fn cursor(&self) -> &[u8] {
        self.row.value().get(NUMBER_BYTES..).unwrap_or_default()
    }
}

impl fmt::Debug for IndexScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexScan").field("direction", &self.direction).finish_non_exhaustive()
    }
}

impl fmt::Debug for IndexEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexEntry").field("marks", &self.marks()).finish_non_exhaustive()
    }
}
