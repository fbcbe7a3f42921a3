//! Keeping indexes what the documents make them, in the transaction that changes a document.

use holdfast_core::id::{CollectionName, DocumentId, OperationId};
use holdfast_core::index::INDEXES_COLLECTION;
use holdfast_core::index::keys::IndexKey;
use holdfast_core::vector::{Origin, Position};
use redb::{Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, WriteTransaction};

use crate::commit::Noted;
use crate::error::StorageError;
use crate::indexes::catalog::{Catalog, Index, REFLECTED_KEY};
use crate::indexes::entries::{Entries, row_key, row_value};
use crate::indexes::unique;
use crate::origins::Origins;
use crate::record::document::{decode_shown, parse_key};
use crate::record::index::{decode_reflected, encode, encode_reflected};
use crate::record::progress::decode_state;
use crate::tables::{DOCUMENTS, INDEX_ENTRIES, INDEXES, STATE, STATE_KEY, VIOLATIONS_OPEN};

/// The indexes in a transaction.
pub(crate) struct Indexes<'t> {
    pub(crate) transaction: &'t WriteTransaction,
    pub(crate) catalog: Catalog,
    pub(crate) entries: Entries<'t>,
    /// Documents that changed in collections of which an index is being built.
    changed: Vec<(CollectionName, DocumentId)>,
    /// Whether what is being written was judged by unique indexes already.
    pub(crate) is_judged: bool,
    /// Whether there are violations, once somebody has looked.
    pub(crate) violations: Option<bool>,
}

/// A document that has changed.
pub(crate) struct Change<'a> {
    pub(crate) collection: &'a CollectionName,
    pub(crate) id: &'a DocumentId,
    /// What was shown, where an index asked for it when the document was read.
    pub(crate) before: Option<&'a str>,
    /// What is shown.
    pub(crate) after: Option<&'a str>,
    /// The operation that is shown now.
    pub(crate) by: OperationId,
}

impl<'t> Indexes<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, StorageError> {
        let catalog = Catalog::load(&transaction.open_table(INDEXES)?)?;
        Ok(Self {
            transaction,
            catalog,
            entries: Entries::new(transaction),
            changed: Vec::new(),
            is_judged: false,
            violations: None,
        })
    }

    /// Whether a change of a document of this collection is to be followed.
    pub(crate) fn covers(&self, collection: &CollectionName) -> bool {
        self.catalog.covers(collection)
    }

    /// Whether any index asks for unique values.
    pub(crate) fn has_unique(&self) -> bool {
        let is_unique = |index: &Index| index.made.as_ref().is_some_and(|made| made.definition.is_unique);
        self.catalog.indexes.iter().any(is_unique)
    }

    /// Whether values of a unique index may be in several documents.
    fn has_violations(&mut self) -> Result<bool, StorageError> {
        if let Some(known) = self.violations {
            return Ok(known);
        }
        let has_violations = !self.transaction.open_table(VIOLATIONS_OPEN)?.is_empty()?;
        self.violations = Some(has_violations);
        Ok(has_violations)
    }

    /// Follows the change of a document.
    pub(crate) fn follow(&mut self, change: &Change<'_>, origins: &Origins, noted: Noted) -> Result<(), StorageError> {
        if change.collection.as_str() == INDEXES_COLLECTION {
            self.catalog.redefine(change.id, change.after);
            return Ok(());
        }
        let mut is_being_built = false;
        // Where there are no violations and what is written was judged, there is none to find.
        let is_watched = self.has_unique() && (!self.is_judged || self.has_violations()?);
        for index in &mut self.catalog.indexes {
            let Some(made) = index.kept_for(change.collection).cloned() else { continue };
            let is_building = index.is_building();
            is_being_built |= is_building;
            let keys = |text: Option<&str>| text.map(|text| made.reader.keys(text.as_bytes())).unwrap_or_default();
            let (before, after) = (keys(change.before), keys(change.after));
            if before == after && !is_building {
                continue;
            }
            let id = change.id.as_str().as_bytes();
            let mut changed = Vec::new();
            for key in before.iter().filter(|key| !has(&after, key)) {
                self.entries.change(row_key(index.number, &key.bytes, id), None);
                changed.push(key);
            }
            for key in &after {
                let is_new = !has(&before, key);
                // While it is built, an entry that should be there already may not be yet, and what is built from now on
                // leaves this document out.
                if is_new || is_building || !before.contains(key) {
                    self.entries.change(row_key(index.number, &key.bytes, id), Some(row_value(key)));
                }
                if is_new || is_building {
                    changed.push(key);
                }
            }
            index.is_changed = true;
            // While it is built, what is written was judged by the entries there are, which are not all.
            if made.definition.is_unique && (is_watched || is_building) {
                self.violations = None;
                for key in changed.into_iter().filter(|key| !key.has_gap) {
                    let at = unique::At { number: index.number, definition: &made.definition, key: &key.bytes };
                    unique::look(self.transaction, &mut self.entries, &at, origins, (noted.now, change.by))?;
                }
            }
        }
        if is_being_built {
            self.changed.push((change.collection.clone(), change.id.clone()));
        }
        Ok(())
    }

    /// A document whose record could not be read was removed: nothing says which entries it had.
    pub(crate) fn lose_track(&mut self, collection: &CollectionName) {
        self.catalog.restart(|index| index.kept_for(collection).is_some());
    }

    /// Documents that changed in collections of which an index is being built, since this was asked last.
    pub(crate) fn take_changed(&mut self) -> Vec<(CollectionName, DocumentId)> {
        std::mem::take(&mut self.changed)
    }

    /// Writes what has changed of the indexes themselves. `position` is what the documents reflect now.
    pub(crate) fn save(&mut self, position: Option<Position>) -> Result<(), StorageError> {
        if self.catalog.indexes.is_empty() {
            return Ok(());
        }
        let mut counts = self.catalog.indexes.iter().map(|index| (index.number, index.record.counts)).collect();
        self.entries.apply(&mut counts)?;
        for index in &mut self.catalog.indexes {
            let counted = counts.remove(&index.number).unwrap_or_default();
            index.is_changed |= counted != index.record.counts;
            index.record.counts = counted;
        }
        let mut table = self.transaction.open_table(INDEXES)?;
        for index in self.catalog.indexes.iter_mut().filter(|index| index.is_changed) {
            if index.is_gone {
                table.remove(index.number)?;
            } else {
                table.insert(index.number, encode(&index.record).as_slice())?;
            }
            index.is_changed = false;
        }
        self.catalog.indexes.retain(|index| !index.is_gone);
        if let Some(position) = position {
            table.insert(REFLECTED_KEY, encode_reflected(position).as_slice())?;
        }
        Ok(())
    }
}

/// Whether one of some keys has the same bytes.
fn has(keys: &[IndexKey], key: &IndexKey) -> bool {
    keys.binary_search_by(|one| one.bytes.cmp(&key.bytes)).is_ok()
}

/// Makes the tables in a data file that has none; has the indexes made again where the documents were changed without
/// them.
pub(crate) fn open_tables(data: &redb::Database, origins: &[Origin]) -> Result<(), StorageError> {
    let has_tables = match data.begin_read()?.open_table(INDEXES) {
        Ok(_) => true,
        Err(redb::TableError::TableDoesNotExist(_)) => false,
        Err(error) => return Err(error.into()),
    };
    let position = match data.begin_read()?.open_table(STATE)?.get(STATE_KEY)? {
        Some(bytes) => decode_state(bytes.value(), origins)?.position,
        None => Position::START,
    };
    if has_tables {
        let table = data.begin_read()?.open_table(INDEXES)?;
        let has_indexes = table.range(REFLECTED_KEY + 1..)?.next().is_some();
        let reflected = table.get(REFLECTED_KEY)?.map(|bytes| decode_reflected(bytes.value())).transpose()?;
        if !has_indexes || reflected == Some(position) {
            return Ok(());
        }
        tracing::warn!("the indexes do not reflect what the documents do: they are built anew");
    }
    let mut transaction = data.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        transaction.open_table(INDEX_ENTRIES)?;
        transaction.open_table(VIOLATIONS_OPEN)?;
        let mut indexes = Indexes::open(&transaction)?;
        if has_tables {
            indexes.catalog.restart(|_| true);
        } else {
            let first = [INDEXES_COLLECTION.as_bytes(), &[0]].concat();
            let end = [INDEXES_COLLECTION.as_bytes(), &[1]].concat();
            for row in transaction.open_table(DOCUMENTS)?.range(first.as_slice()..end.as_slice())? {
                let (key, bytes) = row?;
                let (_, id) = parse_key(key.value())?;
                let text = decode_shown(bytes.value(), key.value())?.text.map(String::from_utf8_lossy);
                indexes.catalog.redefine(&id, text.as_deref());
            }
        }
        indexes.save(Some(position))?;
    }
    transaction.commit()?;
    Ok(())
}
