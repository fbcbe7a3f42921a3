//! Putting documents right whose records cannot be believed, and the numbers that are kept of their collections.
//!
//! A record that cannot be read stops every other request that touches it. Here it is passed over: what takes its place
//! is logged as a note, like every state that did not come through an operation, so that the data stays what the log
//! makes of it.

use holdfast_core::document::DocumentState;
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::vector::Vector;

use crate::commit::touched::Touched;
use crate::commit::{Batch, Writer};
use crate::error::StorageError;
use crate::record::note::Note;
use crate::request::Mending;

impl Writer {
    /// Writes states over whatever stands there, and corrects what is kept of collections. Answers how many documents
    /// were written.
    pub(super) fn mend(&mut self, batch: &mut Batch<'_>, mending: Mending) -> Result<u64, StorageError> {
        let mut written = 0;
        for (collection, id, state) in mending.states {
            self.mend_document(batch, collection, id, state)?;
            written += 1;
        }
        for (collection, error) in &mending.errors {
            let state = self.collections.entry(collection.clone()).or_default();
            state.digest = state.digest.minus(error.digest);
            state.alive = state.alive.saturating_add_signed(error.alive.wrapping_neg());
            state.tombstones = state.tombstones.saturating_add_signed(error.tombstones.wrapping_neg());
            if !batch.changed_collections.contains(collection) {
                batch.changed_collections.push(collection.clone());
            }
        }
        let conflicted = mending.conflicted_error.wrapping_neg();
        self.state.conflicted = self.state.conflicted.saturating_add_signed(conflicted);
        if written == 0 && (!mending.errors.is_empty() || conflicted != 0) {
            // Data is committed with an entry of the log or not at all; this one says nothing new.
            self.log_note(batch, &mut Touched::default(), None, &Note::Graves(Vector::new()));
        }
        Ok(written)
    }

    fn mend_document(
        &mut self,
        batch: &mut Batch<'_>,
        collection: CollectionName,
        id: DocumentId,
        state: DocumentState,
    ) -> Result<(), StorageError> {
        let origins = self.shared.origins.snapshot();
        let mut touched = Touched::default();
        batch.tables.remove_unreadable(&origins, &collection, &id)?;
        let document = touched.load(&batch.tables, &origins, &collection, &id)?;
        document.state.clone_from(&state);
        let note = Note::State { collection: collection.clone(), document: id.clone(), state };
        self.log_note(batch, &mut touched, Some((&collection, &id)), &note);
        self.flush(batch, touched)
    }
}
