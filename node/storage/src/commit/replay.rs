//! Replay: the log's operations into the data, as opening and verifying do. Mints nothing.

use std::collections::BTreeMap;

use holdfast_core::document::DocumentState;
use holdfast_core::id::CollectionName;
use holdfast_core::operation::OperationKind;
use holdfast_core::sync::poison::Parked;

use crate::commit::conflicts::Noted;
use crate::commit::touched::{DataTables, Touched};
use crate::error::StorageError;
use crate::origins::Origins;
use crate::record::note::{LoggedNote, Note};
use crate::record::operation::{Entry, Logged};
use crate::record::progress::{CollectionState, DataState, encode_collection, encode_state};
use crate::tables::{COLLECTIONS, STATE, STATE_KEY};

/// Replays one operation into the data, as opening does. Mints nothing.
pub(crate) struct Replay<'t> {
    tables: DataTables<'t>,
    pub(crate) state: DataState,
    pub(crate) collections: BTreeMap<CollectionName, CollectionState>,
}

impl<'t> Replay<'t> {
    /// Starts on a data transaction from what the data reflects.
    pub(crate) fn begin(
        transaction: &'t redb::WriteTransaction,
        state: DataState,
        collections: BTreeMap<CollectionName, CollectionState>,
    ) -> Result<Self, StorageError> {
        Ok(Self { tables: DataTables::open(transaction)?, state, collections })
    }

    /// Applies one entry of the log.
    pub(crate) fn apply(&mut self, entry: &Entry, origins: &Origins) -> Result<(), StorageError> {
        let position = entry.position();
        if position != self.state.position.next() {
            return Err(StorageError::damaged(
                format!("log operation {position}"),
                format!("it stands where {} should follow", self.state.position.next()),
            ));
        }
        let mut touched = Touched::default();
        match entry {
            Entry::Operation(logged) => self.apply_operation(logged, &mut touched, origins)?,
            Entry::Note(logged) => self.apply_note(logged, &mut touched, origins)?,
        }
        let noted = Noted { now: self.state.clock.millis(), trusted_until: None };
        let (collections, state) = (&mut self.collections, &mut self.state);
        touched.flush(&mut self.tables, origins, noted, &mut |collection, difference| {
            difference.apply_to(collections.entry(collection.clone()).or_default());
            state.conflicted = state.conflicted.saturating_add_signed(difference.conflicted);
        })?;
        state.position = position;
        Ok(())
    }

    fn apply_operation(
        &mut self,
        logged: &Logged,
        touched: &mut Touched,
        origins: &Origins,
    ) -> Result<(), StorageError> {
        let operation = &logged.operation;
        let expected = self.state.vector.get(&operation.dot.origin).next();
        let came_with_states = Parked::of(&operation.kind).is_some() && self.state.vector.covers(&operation.dot);
        if came_with_states {
            self.state.take_note_of(operation, logged.position);
            return Ok(());
        }
        if operation.dot.sequence != expected {
            return Err(StorageError::damaged(
                format!("log operation {}", logged.position),
                format!("it is {} where {}:{expected} should follow", operation.dot, operation.dot.origin),
            ));
        }
        match (&operation.document, &operation.kind) {
            (Some(id), kind) if !matches!(kind, OperationKind::Unknown { .. }) => {
                let document = touched.load(&self.tables, &origins.snapshot(), &operation.collection, id)?;
                document.state.apply(operation);
                touched.moved_to(&operation.collection, id, logged.position);
            }
            (None, OperationKind::RegisterCollection) => {
                self.collections.entry(operation.collection.clone()).or_default();
            }
            _ => {}
        }
        self.state.take_note_of(operation, logged.position);
        self.state.clock = self.state.clock.max(operation.stamp);
        Ok(())
    }

    fn apply_note(
        &mut self,
        logged: &LoggedNote,
        touched: &mut Touched,
        origins: &Origins,
    ) -> Result<(), StorageError> {
        match &logged.note {
            Note::State { collection, document, state } => {
                // It may stand for a record that cannot be read.
                self.tables.remove_unreadable(&origins.snapshot(), collection, document)?;
                let entry = touched.load(&self.tables, &origins.snapshot(), collection, document)?;
                entry.state.clone_from(state);
                touched.moved_to(collection, document, logged.position);
            }
            Note::Forget { collection, document } => {
                let entry = touched.load(&self.tables, &origins.snapshot(), collection, document)?;
                entry.state = DocumentState::default();
                touched.moved_to(collection, document, logged.position);
            }
            Note::Adopt(adoption) => {
                self.state.adopt(adoption);
                for collection in &adoption.collections {
                    self.collections.entry(collection.clone()).or_default();
                }
            }
            Note::Graves(vector) => self.state.graves.merge(vector),
            Note::Retried { letter, operation } => {
                self.state.letters.remove(*letter);
                self.state.members.apply(operation);
                self.state.clock = self.state.clock.max(operation.stamp);
                match (&operation.document, &operation.kind) {
                    (Some(id), _) => {
                        let document = touched.load(&self.tables, &origins.snapshot(), &operation.collection, id)?;
                        document.state.apply(operation);
                        touched.moved_to(&operation.collection, id, logged.position);
                    }
                    (None, OperationKind::RegisterCollection) => {
                        self.collections.entry(operation.collection.clone()).or_default();
                    }
                    _ => {}
                }
            }
            Note::Dismissed { letter } => self.state.letters.remove(*letter),
        }
        Ok(())
    }

    /// Writes what the data reflects now.
    pub(crate) fn finish(
        mut self,
        transaction: &redb::WriteTransaction,
        origins: &Origins,
    ) -> Result<(DataState, BTreeMap<CollectionName, CollectionState>), StorageError> {
        transaction.open_table(STATE)?.insert(STATE_KEY, encode_state(&self.state, origins).as_slice())?;
        let mut table = transaction.open_table(COLLECTIONS)?;
        for (name, state) in &self.collections {
            table.insert(name.as_str(), encode_collection(state).as_slice())?;
        }
        self.tables.indexes.save(Some(self.state.position))?;
        Ok((self.state, self.collections))
    }
}
