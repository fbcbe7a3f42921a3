//! What changes the data without being an operation: states from a peer, and giving up what every member knows.
//!
//! Must stay true: nothing is given up that some member might not have seen. That is judged here, in the transaction
//! that removes, and not by whoever asked for it.

use std::sync::PoisonError;

use holdfast_core::document::DocumentState;
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Dot, Position, Vector};

use crate::commit::touched::Touched;
use crate::commit::{Batch, Writer};
use crate::error::StorageError;
use crate::record::note::{Adoption, Note, encode};
use crate::request::{GivenUp, Kept};

/// Increments beside a document from which on they are added up. Below, the note would cost more than it saves.
const FOLD_INCREMENTS_MIN: usize = 16;

impl Writer {
    /// What every member is known to know, and this node too.
    pub fn stable(&self) -> Vector {
        let mut acknowledgements = self.shared.lock_acknowledgements();
        let own = self.state.acknowledged();
        acknowledgements.settle(&own);
        acknowledgements.stable(&self.state.members, &self.origin, &own)
    }

    /// Removes tombstones and adds up increments that every member knows, looking at so many documents at most.
    /// Tombstones younger than `tombstones_before` stay, for people who look at what was deleted.
    pub(super) fn give_up(
        &mut self,
        batch: &mut Batch<'_>,
        tombstones_before: Millis,
        documents_max: usize,
    ) -> Result<GivenUp, StorageError> {
        let (stable, own) = (self.stable(), self.state.acknowledged());
        if self.unsettled_cursor == Position::START {
            self.kept = Kept::default();
        }
        let origins = self.shared.origins.snapshot();
        let candidates = batch.tables.unsettled_after(self.unsettled_cursor, documents_max)?;
        let mut given_up = GivenUp { has_more: candidates.len() == documents_max, ..GivenUp::default() };
        self.unsettled_cursor = match candidates.last() {
            Some((position, _, _)) if given_up.has_more => *position,
            _ => Position::START,
        };
        let mut graves = Vector::new();
        for (_, collection, id) in candidates {
            let mut touched = Touched::default();
            let document = touched.load(&batch.tables, &origins, &collection, &id)?;
            let note = if let Some(delete) = stable_tombstone(&document.state, &stable, tombstones_before) {
                graves.merge(&delete);
                given_up.tombstones += 1;
                document.state = DocumentState::default();
                Note::Forget { collection: collection.clone(), document: id.clone() }
            } else if fold(&mut document.state, &stable) {
                given_up.folded += 1;
                let state = document.state.clone();
                Note::State { collection: collection.clone(), document: id.clone(), state }
            } else {
                self.kept.count(&document.state, &stable, &own);
                continue;
            };
            self.log_note(batch, &mut touched, Some((&collection, &id)), &note);
            self.flush(batch, touched)?;
        }
        if !given_up.has_more {
            *self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner) = self.kept;
        }
        if !self.state.graves.covers_all(&graves) {
            self.state.graves.merge(&graves);
            self.log_note(batch, &mut Touched::default(), None, &Note::Graves(graves));
        }
        Ok(given_up)
    }

    /// Joins documents' states with what is here. Answers how many changed.
    pub(super) fn take_states(
        &mut self,
        batch: &mut Batch<'_>,
        states: Vec<(CollectionName, DocumentId, DocumentState)>,
    ) -> Result<u64, StorageError> {
        let origins = self.shared.origins.snapshot();
        let mut touched = Touched::default();
        let mut changed = 0;
        for (collection, id, state) in states {
            let document = touched.load(&batch.tables, &origins, &collection, &id)?;
            let next = document.state.join(&state);
            if next == document.state {
                continue;
            }
            document.state.clone_from(&next);
            changed += 1;
            let stamps = next.versions.iter().map(|version| version.stamp);
            if let Some(latest) = stamps.chain(next.increments.iter().map(|applied| applied.stamp)).max() {
                self.clock.observe(self.now, latest);
            }
            let note = Note::State { collection: collection.clone(), document: id.clone(), state: next };
            self.log_note(batch, &mut touched, Some((&collection, &id)), &note);
        }
        self.flush(batch, touched)?;
        Ok(changed)
    }

    /// The states that were taken in are all that the peer knew: from here on it is known here too.
    pub(super) fn adopt(&mut self, batch: &mut Batch<'_>, adoption: Adoption) {
        self.state.adopt(&adoption);
        for (origin, known) in adoption.vector.iter().filter(|(origin, known)| self.state.vector.get(origin) == *known)
        {
            let dot = Dot { origin: origin.clone(), sequence: known };
            self.shared.lock_trail().jump(&dot, self.state.chains.get(origin));
        }
        self.is_trail_unsaved = true;
        self.floor.merge(&adoption.vector);
        self.is_floor_unsaved = true;
        for collection in &adoption.collections {
            self.collections.entry(collection.clone()).or_default();
            batch.changed_collections.push(collection.clone());
        }
        self.log_note(batch, &mut Touched::default(), None, &Note::Adopt(adoption));
    }

    /// Gives a note its place in the log.
    pub(super) fn log_note(
        &mut self,
        batch: &mut Batch<'_>,
        touched: &mut Touched,
        of: Option<(&CollectionName, &DocumentId)>,
        note: &Note,
    ) {
        let position = self.state.position.next();
        let previous = of.map_or(Position::START, |(collection, id)| touched.moved_to(collection, id, position));
        self.state.position = position;
        batch.encoded.push(encode(note, previous, &self.shared.origins));
    }
}

impl Kept {
    /// Counts a document that stays, if it is a tombstone.
    fn count(&mut self, state: &DocumentState, stable: &Vector, own: &Vector) {
        let Some(first) = state.versions.first() else { return };
        if first.body.is_some() {
            return;
        }
        let is_alone = state.versions.len() == 1 && state.increments.is_empty() && state.tally.is_none();
        let why = if !is_alone {
            &mut self.for_conflicts
        } else if !own.covers(&first.dot) {
            &mut self.for_letters
        } else if !stable.covers(&first.dot) {
            &mut self.for_members
        } else {
            &mut self.for_time
        };
        *why += 1;
    }
}

/// Adds up increments that every member knows, and lets go of names that nobody can bring again. Answers whether it did.
fn fold(state: &mut DocumentState, stable: &Vector) -> bool {
    let has_folded = state.increments.len() >= FOLD_INCREMENTS_MIN && state.fold(stable);
    let has_settled = state.has_names_to_settle() && state.settle_names(stable);
    has_folded || has_settled
}

/// The dot of a delete that every member knows and that is all there is of its document.
fn stable_tombstone(state: &DocumentState, stable: &Vector, before: Millis) -> Option<Vector> {
    let [only] = state.versions.as_slice() else { return None };
    let is_alone = only.body.is_none() && state.increments.is_empty() && state.tally.is_none();
    let is_due = stable.covers(&only.dot) && only.stamp.millis() < before;
    (is_alone && is_due).then(|| [(only.dot.origin.clone(), only.dot.sequence)].into_iter().collect())
}
