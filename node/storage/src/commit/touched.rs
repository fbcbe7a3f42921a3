//! The documents that a request touches: read once, changed in memory, written once.

use std::borrow::Cow;
use std::collections::BTreeMap;

use holdfast_core::conflict::is_in_conflict;
use holdfast_core::digest::Digest;
use holdfast_core::document::DocumentState;
use holdfast_core::error::Refusal;
use holdfast_core::id::{CollectionName, DocumentId, OperationId};
use holdfast_core::json::JsonText;
use holdfast_core::operation::Operation;
use holdfast_core::vector::{Origin, Position};
use redb::{ReadableTable, Table, WriteTransaction};

use crate::commit::conflicts::{self, Changed, Noted};
use crate::error::StorageError;
use crate::indexes::maintain::{Change, Indexes};
use crate::origins::Origins;
use crate::record::document::{decode, encode, key, parse_key};
use crate::record::progress::CollectionState;
use crate::tables::{CHANGES, DOCUMENTS, UNSETTLED};

/// The tables of the data file that documents live in, open for writing.
pub(crate) struct DataTables<'t> {
    documents: Table<'t, &'static [u8], &'static [u8]>,
    changes: Table<'t, u64, &'static [u8]>,
    unsettled: Table<'t, u64, &'static [u8]>,
    /// For tables that few commits need.
    transaction: &'t WriteTransaction,
    pub(crate) indexes: Indexes<'t>,
}

impl<'t> DataTables<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, StorageError> {
        Ok(Self {
            documents: transaction.open_table(DOCUMENTS)?,
            changes: transaction.open_table(CHANGES)?,
            unsettled: transaction.open_table(UNSETTLED)?,
            transaction,
            indexes: Indexes::open(transaction)?,
        })
    }
}

impl DataTables<'_> {
    /// Documents after a position that may have something to give up, with the position of their last change.
    pub(crate) fn unsettled_after(
        &self,
        after: Position,
        limit: usize,
    ) -> Result<Vec<(Position, CollectionName, DocumentId)>, StorageError> {
        let mut found = Vec::new();
        for row in self.unsettled.range(after.next().0..)?.take(limit) {
            let (position, key) = row?;
            let (collection, id) = parse_key(key.value())?;
            found.push((Position(position.value()), collection, id));
        }
        Ok(found)
    }
}

impl DataTables<'_> {
    /// Removes the record of a document if it cannot be read, and what refers to it: the whole indexes are searched,
    /// for nothing says any more where it stands in them.
    pub(crate) fn remove_unreadable(
        &mut self,
        origins: &[Origin],
        collection: &CollectionName,
        id: &DocumentId,
    ) -> Result<(), StorageError> {
        let key = key(collection, id);
        let is_readable =
            self.documents.get(key.as_slice())?.is_none_or(|row| decode(row.value(), &key, origins).is_ok());
        if is_readable {
            return Ok(());
        }
        self.documents.remove(key.as_slice())?;
        self.indexes.lose_track(collection);
        for index in [&mut self.changes, &mut self.unsettled] {
            index.retain(|_, of| of != key.as_slice())?;
        }
        Ok(())
    }
}

/// A document as a request sees and changes it.
#[derive(Debug)]
pub(crate) struct TouchedDocument {
    /// Its state, changes of this request included.
    pub(crate) state: DocumentState,
    /// Position of its last change, changes of this request included.
    position: Position,
    before: Option<Before>,
}

/// What a document was when the request met it.
#[derive(Debug)]
struct Before {
    position: Position,
    part: Digest,
    is_alive: bool,
    is_conflicted: bool,
    is_unsettled: bool,
    /// Whether there is an open record of a conflict.
    is_in_conflict: bool,
    /// What was shown, where an index asks for it.
    shown: Option<JsonText>,
}

/// By how much a collection changes.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    alive: i64,
    tombstones: i64,
    added: Digest,
    removed: Digest,
    /// Documents with concurrent versions, more or fewer.
    pub(crate) conflicted: i64,
}

impl Difference {
    pub(crate) fn apply_to(&self, state: &mut CollectionState) {
        state.alive = state.alive.saturating_add_signed(self.alive);
        state.tombstones = state.tombstones.saturating_add_signed(self.tombstones);
        state.digest = state.digest.plus(self.added).minus(self.removed);
    }
}

/// All documents that a request has touched.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    documents: BTreeMap<(CollectionName, DocumentId), TouchedDocument>,
}

impl Touched {
    /// The document, read from the table when the request meets it first.
    pub(crate) fn load(
        &mut self,
        tables: &DataTables<'_>,
        origins: &[Origin],
        collection: &CollectionName,
        id: &DocumentId,
    ) -> Result<&mut TouchedDocument, StorageError> {
        match self.documents.entry((collection.clone(), id.clone())) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let key = key(collection, id);
                let row = tables.documents.get(key.as_slice())?;
                let stored = row.map(|bytes| decode(bytes.value(), &key, origins)).transpose()?;
                let (state, position) = stored.unwrap_or_default();
                let before = (position > Position::START).then(|| Before {
                    position,
                    part: Digest::of(collection, id, &state),
                    is_alive: state.is_alive(),
                    is_conflicted: state.is_conflicted(),
                    is_unsettled: is_unsettled(&state),
                    is_in_conflict: is_in_conflict(&state),
                    shown: if tables.indexes.covers(collection) { state.shown().map(Cow::into_owned) } else { None },
                });
                Ok(entry.insert(TouchedDocument { state, position, before }))
            }
        }
    }

    /// Applies an operation to a document that was loaded before.
    pub(crate) fn apply(&mut self, operation: &Operation, id: &DocumentId) {
        if let Some(document) = self.documents.get_mut(&(operation.collection.clone(), id.clone())) {
            document.state.apply(operation);
        }
    }

    /// Notes that an entry of the log is the last change of a document. Gives the one before.
    pub(crate) fn moved_to(&mut self, collection: &CollectionName, id: &DocumentId, position: Position) -> Position {
        match self.documents.get_mut(&(collection.clone(), id.clone())) {
            Some(document) => std::mem::replace(&mut document.position, position),
            None => Position::START,
        }
    }

    /// Judges the documents by unique indexes, all together. Gives one that may not be as it is about to be, and why.
    #[allow(clippy::type_complexity)]
    pub(crate) fn judge(
        &self,
        tables: &mut DataTables<'_>,
        is_judged: &dyn Fn(&(CollectionName, DocumentId)) -> bool,
    ) -> Result<Option<((CollectionName, DocumentId), Refusal)>, StorageError> {
        let judged = || self.documents.iter().filter(|(key, _)| is_judged(key));
        let shown: Vec<_> = judged().map(|(_, document)| document.state.shown()).collect();
        let changes: Vec<Change<'_>> = judged()
            .zip(&shown)
            .map(|(((collection, id), document), shown)| document.change(collection, id, shown.as_deref()))
            .collect();
        let refused = tables.indexes.judge(&changes)?;
        Ok(refused.map(|(collection, id, refusal)| ((collection.clone(), id.clone()), refusal)))
    }

    /// Writes every document that changed and reports the difference to its collection.
    pub(crate) fn flush(
        self,
        tables: &mut DataTables<'_>,
        origins: &Origins,
        noted: Noted,
        report: &mut dyn FnMut(&CollectionName, &Difference),
    ) -> Result<(), StorageError> {
        for ((collection, id), document) in self.documents {
            let was = document.before.as_ref();
            if was.map_or(Position::START, |before| before.position) == document.position {
                continue;
            }
            let key = key(&collection, &id);
            if let Some(before) = was {
                tables.changes.remove(before.position.0)?;
                if before.is_unsettled {
                    tables.unsettled.remove(before.position.0)?;
                }
            }
            if is_nothing(&document.state) {
                // Forgotten: every member knows that it is gone.
                tables.documents.remove(key.as_slice())?;
            } else {
                let record = encode(&document.state, document.position, origins);
                tables.documents.insert(key.as_slice(), record.as_slice())?;
                tables.changes.insert(document.position.0, key.as_slice())?;
                if is_unsettled(&document.state) {
                    tables.unsettled.insert(document.position.0, key.as_slice())?;
                }
            }
            let changed = Changed {
                collection: &collection,
                id: &id,
                state: &document.state,
                was_open_at: was.filter(|before| before.is_in_conflict).map(|before| before.position),
                position: document.position,
            };
            conflicts::note(tables.transaction, origins, &changed, noted)?;
            if tables.indexes.covers(&collection) {
                let shown = document.state.shown();
                tables.indexes.follow(&document.change(&collection, &id, shown.as_deref()), origins, noted)?;
            }
            report(&collection, &difference(was, &collection, &id, &document.state));
        }
        Ok(())
    }
}

impl TouchedDocument {
    /// What an index is to know of its change.
    fn change<'a>(
        &'a self,
        collection: &'a CollectionName,
        id: &'a DocumentId,
        shown: Option<&'a JsonText>,
    ) -> Change<'a> {
        let before = self.before.as_ref().and_then(|before| before.shown.as_ref());
        let by = self.state.versions.first().map_or(OperationId(0), |version| version.id);
        Change { collection, id, before: before.map(JsonText::as_str), after: shown.map(JsonText::as_str), by }
    }
}

/// Whether nothing is known of a document.
fn is_nothing(state: &DocumentState) -> bool {
    state.versions.is_empty() && state.increments.is_empty() && state.tally.is_none()
}

/// Whether a document has something to give up once every member knows it: its tombstone, single increments, or names of
/// such as were counted.
pub(crate) fn is_unsettled(state: &DocumentState) -> bool {
    !state.increments.is_empty() || state.has_names_to_settle() || (!state.is_alive() && !is_nothing(state))
}

fn difference(
    before: Option<&Before>,
    collection: &CollectionName,
    id: &DocumentId,
    state: &DocumentState,
) -> Difference {
    let was_alive = before.is_some_and(|before| before.is_alive);
    let was_tombstone = before.is_some_and(|before| !before.is_alive);
    let is_alive = state.is_alive();
    let is_tombstone = !is_alive && !is_nothing(state);
    Difference {
        alive: i64::from(is_alive) - i64::from(was_alive),
        tombstones: i64::from(is_tombstone) - i64::from(was_tombstone),
        added: Digest::of(collection, id, state),
        removed: before.map(|before| before.part).unwrap_or_default(),
        conflicted: i64::from(state.is_conflicted()) - i64::from(before.is_some_and(|before| before.is_conflicted)),
    }
}
