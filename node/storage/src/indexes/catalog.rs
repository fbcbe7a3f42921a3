//! The indexes of a database, as one transaction sees and changes them.

use std::sync::Arc;

use holdfast_core::error::Refusal;
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::index::INDEXES_COLLECTION;
use holdfast_core::index::definition::IndexDefinition;
use holdfast_core::index::keys::KeyReader;
use holdfast_core::limits::{INDEXES_PER_COLLECTION_MAX, INDEXES_PER_DATABASE_MAX};
use redb::ReadableTable;

use crate::error::StorageError;
use crate::record::index::{IndexCounts, IndexRecord, IndexStanding, decode};

/// Key of the row that says which position of the log the indexes reflect. Indexes are numbered from one.
pub(crate) const REFLECTED_KEY: u32 = 0;

/// A definition and what reads keys by it.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) definition: IndexDefinition,
    pub(crate) reader: KeyReader,
}

/// One index.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) number: u32,
    pub(crate) record: IndexRecord,
    /// `None` where the definition cannot be used.
    pub(crate) made: Option<Arc<Made>>,
    /// Whether its record is to be written.
    pub(crate) is_changed: bool,
    /// Whether its record is to be removed.
    pub(crate) is_gone: bool,
}

/// All indexes.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) indexes: Vec<Index>,
}

impl Index {
    /// Whether entries of documents that change are kept in it.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.record.standing, IndexStanding::Building { .. } | IndexStanding::Ready)
    }

    pub(crate) fn is_building(&self) -> bool {
        matches!(self.record.standing, IndexStanding::Building { .. })
    }

    fn is_dropping(&self) -> bool {
        self.record.standing == IndexStanding::Dropping
    }

    pub(crate) fn set(&mut self, standing: IndexStanding) {
        self.record.standing = standing;
        self.is_changed = true;
    }

    /// Its definition, while entries of documents of this collection are kept in it.
    pub(crate) fn kept_for(&self, collection: &CollectionName) -> Option<&Arc<Made>> {
        self.made.as_ref().filter(|made| self.is_kept() && made.definition.collection == *collection)
    }
}

impl Catalog {
    /// Reads all indexes.
    pub(crate) fn load(table: &impl ReadableTable<u32, &'static [u8]>) -> Result<Self, StorageError> {
        let mut indexes = Vec::new();
        for row in table.range(REFLECTED_KEY + 1..)? {
            let (number, bytes) = row?;
            let number = number.value();
            let record = decode(bytes.value(), number)?;
            let is_of_use = !matches!(record.standing, IndexStanding::Dropping | IndexStanding::Refused { .. });
            let made = if is_of_use { make(&record).ok() } else { None };
            indexes.push(Index { number, record, made, is_changed: false, is_gone: false });
        }
        Ok(Self { indexes })
    }

    /// Whether a change of a document of this collection changes an index.
    pub(crate) fn covers(&self, collection: &CollectionName) -> bool {
        collection.as_str() == INDEXES_COLLECTION || self.indexes.iter().any(|one| one.kept_for(collection).is_some())
    }

    /// Whether there is something to build or to remove.
    pub(crate) fn has_work(&self) -> bool {
        self.indexes.iter().any(|index| !index.is_gone && (index.is_building() || index.is_dropping()))
    }

    /// The index of a name that is wanted.
    pub(crate) fn wanted(&self, name: &str) -> Option<&Index> {
        self.indexes.iter().find(|index| index.record.name == name && !index.is_dropping())
    }

    /// Why another index is one too many, if it is.
    pub(crate) fn too_many(&self, collection: &CollectionName) -> Option<Refusal> {
        let kept = || self.indexes.iter().filter(|index| index.is_kept());
        let reason = if kept().count() >= INDEXES_PER_DATABASE_MAX {
            format!("The database has {INDEXES_PER_DATABASE_MAX} indexes, the most it may. Drop one first.")
        } else if kept().filter(|one| one.kept_for(collection).is_some()).count() >= INDEXES_PER_COLLECTION_MAX {
            format!("{collection} has {INDEXES_PER_COLLECTION_MAX} indexes, the most it may. Drop one first.")
        } else {
            return None;
        };
        Some(Refusal::invalid("too-many-indexes", reason))
    }

    /// Follows a change of the document that defines an index.
    pub(crate) fn redefine(&mut self, id: &DocumentId, text: Option<&str>) {
        let fresh = text.map(|text| IndexRecord {
            name: id.as_str().to_owned(),
            text: text.to_owned(),
            standing: IndexStanding::Ready,
            counts: IndexCounts::default(),
        });
        let made = fresh.as_ref().map(make);
        let wanted = self.indexes.iter_mut().find(|index| index.record.name == id.as_str() && !index.is_dropping());
        if let Some(index) = wanted {
            let is_same = match (&index.made, &made, &fresh) {
                (Some(old), Some(Ok(new)), Some(fresh)) if old.definition == new.definition => {
                    index.record.text.clone_from(&fresh.text);
                    true
                }
                _ => fresh.as_ref().is_some_and(|fresh| fresh.text == index.record.text),
            };
            if is_same {
                index.is_changed = true;
                return;
            }
            index.set(IndexStanding::Dropping);
            index.made = None;
        }
        if let Some(record) = fresh {
            self.add(record);
        }
        self.admit_waiting();
    }

    /// Makes every index again, under new numbers.
    pub(crate) fn restart(&mut self, is_meant: impl Fn(&Index) -> bool) {
        let mut again = Vec::new();
        for index in self.indexes.iter_mut().filter(|index| index.is_kept()) {
            if is_meant(index) {
                again.push(IndexRecord { counts: IndexCounts::default(), ..index.record.clone() });
                index.set(IndexStanding::Dropping);
                index.made = None;
            }
        }
        for record in again {
            self.add(record);
        }
    }

    /// Adds an index, to be built if its definition can be used.
    fn add(&mut self, mut record: IndexRecord) {
        let made = make(&record);
        let refusal = match &made {
            Ok(made) => self.too_many(&made.definition.collection),
            Err(refusal) => Some(refusal.clone()),
        };
        record.standing = match &refusal {
            None => IndexStanding::Building { after: String::new(), documents: 0 },
            Some(refusal) => IndexStanding::Refused { reason: refusal.to_string() },
        };
        let made = made.ok().filter(|_| refusal.is_none());
        let newest = self.indexes.iter().map(|index| index.number).max().unwrap_or(REFLECTED_KEY);
        self.indexes.push(Index { number: newest + 1, record, made, is_changed: true, is_gone: false });
    }

    /// Takes in what there was no room for.
    fn admit_waiting(&mut self) {
        let mut waiting = Vec::new();
        for index in &mut self.indexes {
            let is_refused = matches!(index.record.standing, IndexStanding::Refused { .. });
            if is_refused && make(&index.record).is_ok() {
                waiting.push(index.record.clone());
                index.set(IndexStanding::Dropping);
            }
        }
        for record in waiting {
            self.add(record);
        }
    }
}

fn make(record: &IndexRecord) -> Result<Arc<Made>, Refusal> {
    let definition = IndexDefinition::from_document(&DocumentId::parse(&record.name)?, &record.text)?;
    Ok(Arc::new(Made { reader: KeyReader::new(&definition), definition }))
}
