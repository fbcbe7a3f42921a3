//! Unique indexes: enforced where a client of this node writes, and watched over for everything else.
//!
//! Peers write at the same time, each unique in what it sees. So what arrives is taken, and documents with the same
//! values are on record as a conflict of their own kind until they differ.

use std::collections::BTreeMap;

use holdfast_core::conflict::ConflictId;
use holdfast_core::counter::Increment;
use holdfast_core::error::Refusal;
use holdfast_core::id::{CollectionName, DocumentId, OperationId};
use holdfast_core::index::definition::IndexDefinition;
use holdfast_core::index::keys::IndexKey;
use holdfast_core::limits::DUPLICATES_LISTED_MAX;
use holdfast_core::time::Millis;
use redb::{ReadableTable, WriteTransaction};
use xxhash_rust::xxh3::Xxh3Default;

use crate::commit::keep_settled_conflict;
use crate::error::StorageError;
use crate::indexes::entries::{Entries, row_key};
use crate::indexes::maintain::{Change, Indexes};
use crate::origins::Origins;
use crate::record::conflict::{Conflict, Standing, Violation, decode, encode};
use crate::tables::{CONFLICTS, VIOLATIONS_OPEN};

/// A key of a unique index.
pub(crate) struct At<'a> {
    pub(crate) number: u32,
    pub(crate) definition: &'a IndexDefinition,
    pub(crate) key: &'a [u8],
}

/// Looks how many documents have a key now, and keeps the record of it.
pub(crate) fn look(
    transaction: &WriteTransaction,
    entries: &mut Entries<'_>,
    at: &At<'_>,
    origins: &Origins,
    (now, by): (Millis, OperationId),
) -> Result<(), StorageError> {
    let documents = entries.documents(at.number, at.key, DUPLICATES_LISTED_MAX)?;
    let id = violation_id(at.definition, at.key);
    let mut open = transaction.open_table(VIOLATIONS_OPEN)?;
    if documents.len() < 2 {
        if open.remove(id.0)?.is_some() {
            drop(open);
            close(transaction, id, origins, (now, by))?;
        }
        return Ok(());
    }
    let documents = documents.iter().filter_map(|id| DocumentId::parse(id).ok()).collect::<Vec<_>>();
    let Some(document) = documents.first().cloned() else { return Ok(()) };
    let mut records = transaction.open_table(CONFLICTS)?;
    let was = records.get(id.0)?.map(|bytes| decode(bytes.value(), id, &origins.snapshot())).transpose()?;
    let arose = was.filter(|was| was.standing == Standing::Open).map_or(now, |was| was.arose);
    let conflict = Conflict {
        id,
        collection: at.definition.collection.clone(),
        document,
        versions: Vec::new(),
        counted: Increment::default(),
        arose,
        is_suspect: false,
        violation: Some(Violation { index: at.definition.name.to_string(), documents }),
        standing: Standing::Open,
    };
    open.insert(id.0, row_key(at.number, at.key, &[]).as_slice())?;
    records.insert(id.0, encode(&conflict, origins).as_slice())?;
    Ok(())
}

/// Closes records of an index that is no longer wanted, at most so many. Answers whether there may be more.
pub(crate) fn forget(
    transaction: &WriteTransaction,
    number: u32,
    take: usize,
    origins: &Origins,
    now: Millis,
) -> Result<bool, StorageError> {
    let mut ids = Vec::new();
    let mut open = transaction.open_table(VIOLATIONS_OPEN)?;
    for row in open.iter()? {
        let (id, key) = row?;
        if key.value().starts_with(&number.to_be_bytes()) {
            ids.push(ConflictId(id.value()));
        }
        if ids.len() == take {
            break;
        }
    }
    for id in &ids {
        open.remove(id.0)?;
    }
    drop(open);
    for id in &ids {
        close(transaction, *id, origins, (now, OperationId(0)))?;
    }
    Ok(ids.len() == take)
}

fn close(
    transaction: &WriteTransaction,
    id: ConflictId,
    origins: &Origins,
    (at, by): (Millis, OperationId),
) -> Result<(), StorageError> {
    let mut records = transaction.open_table(CONFLICTS)?;
    let was = records.get(id.0)?.map(|bytes| decode(bytes.value(), id, &origins.snapshot())).transpose()?;
    let Some(was) = was else { return Ok(()) };
    let closed = Conflict { standing: Standing::Closed { at, by }, ..was };
    let bytes = encode(&closed, origins);
    records.insert(id.0, bytes.as_slice())?;
    keep_settled_conflict(transaction, &mut records, &closed, bytes.len() as u64, at)
}

/// The name of a violation: the same on every node that has the index.
fn violation_id(definition: &IndexDefinition, key: &[u8]) -> ConflictId {
    let mut hash = Xxh3Default::new();
    for part in ["unique", definition.name.as_str(), definition.collection.as_str()] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(key);
    ConflictId(hash.digest128())
}

impl Indexes<'_> {
    /// Judges what the documents of one transaction are about to become, all together. Gives the document that would
    /// have values of another one, and why that is refused.
    pub(crate) fn judge<'a>(
        &mut self,
        changes: &[Change<'a>],
    ) -> Result<Option<(&'a CollectionName, &'a DocumentId, Refusal)>, StorageError> {
        for index in &self.catalog.indexes {
            let mut taken: BTreeMap<Vec<u8>, (&DocumentId, bool)> = BTreeMap::new();
            for change in changes {
                let Some(made) = index.kept_for(change.collection).filter(|made| made.definition.is_unique) else {
                    continue;
                };
                let keys = |text: Option<&str>| text.map(|text| made.reader.keys(text.as_bytes())).unwrap_or_default();
                let (before, after) = (keys(change.before), keys(change.after));
                let refusal = |other: &str| {
                    let refusal = Refusal::NotUnique {
                        collection: change.collection.to_string(),
                        id: change.id.to_string(),
                        index: made.definition.name.to_string(),
                        other: other.to_owned(),
                    };
                    Ok(Some((change.collection, change.id, refusal)))
                };
                for key in after.into_iter().filter(|key: &IndexKey| !key.has_gap) {
                    let is_added = !before.iter().any(|was| was.bytes == key.bytes);
                    if is_added {
                        // Others of this transaction are judged by what they become.
                        let take = changes.len() + 1;
                        let others = self.entries.documents(index.number, &key.bytes, take)?;
                        let is_of_another = |id: &String| !changes.iter().any(|one| one.is_of(change.collection, id));
                        if let Some(other) = others.iter().find(|id| is_of_another(id)) {
                            return refusal(other);
                        }
                    }
                    if let Some((other, was_added)) = taken.insert(key.bytes, (change.id, is_added))
                        && (is_added || was_added)
                    {
                        return refusal(other.as_str());
                    }
                }
            }
        }
        Ok(None)
    }
}

impl Change<'_> {
    fn is_of(&self, collection: &CollectionName, id: &str) -> bool {
        self.collection == collection && self.id.as_str() == id
    }
}
