//! Indexes at the writer: defining and dropping them, and the work on them between writes.

use holdfast_core::error::Refusal;
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::index::INDEXES_COLLECTION;
use holdfast_core::index::definition::{IndexDefinition, IndexName};
use holdfast_core::time::Millis;
use redb::{Durability, ReadableDatabase};

use crate::commit::{Batch, Moment, Writer};
use crate::error::StorageError;
use crate::indexes::build::{self, Work};
use crate::indexes::{IndexLimit, IndexStep};
use crate::request::{Action, Change, Expect, Written};

impl Writer {
    /// Defines an index, unless there is the very same one. Gives what was written.
    pub(super) fn define_index(
        &mut self,
        batch: &mut Batch<'_>,
        moment: &mut Moment<'_>,
        definition: &IndexDefinition,
    ) -> Result<Result<Option<Written>, Refusal>, StorageError> {
        let catalog = &batch.tables.indexes.catalog;
        if let Some(index) = catalog.wanted(definition.name.as_str()) {
            if index.made.as_ref().is_some_and(|made| made.definition == *definition) {
                return Ok(Ok(None));
            }
            let name = definition.name.to_string();
            return Ok(Err(Refusal::IndexExists { name, definition: index.record.text.clone() }));
        }
        if let Some(refusal) = catalog.too_many(&definition.collection) {
            return Ok(Err(refusal));
        }
        self.write_definition(batch, moment, &definition.name, Action::Put(definition.to_document()))
    }

    /// Drops an index. Gives what was written.
    pub(super) fn drop_index(
        &mut self,
        batch: &mut Batch<'_>,
        moment: &mut Moment<'_>,
        name: &IndexName,
    ) -> Result<Result<Option<Written>, Refusal>, StorageError> {
        self.write_definition(batch, moment, name, Action::Delete)
    }

    fn write_definition(
        &mut self,
        batch: &mut Batch<'_>,
        moment: &mut Moment<'_>,
        name: &IndexName,
        action: Action,
    ) -> Result<Result<Option<Written>, Refusal>, StorageError> {
        let names = CollectionName::parse_any(INDEXES_COLLECTION).and_then(|of| Ok((of, name.to_document_id()?)));
        let (collection, id): (CollectionName, DocumentId) = match names {
            Ok(names) => names,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let change = Change { collection, id, action, expect: Expect::Any };
        let written = self.write(batch, moment, vec![change])?;
        Ok(written.map(|mut written| written.pop()).map_err(|(_, refusal)| refusal))
    }

    /// Writes what a batch has changed of the indexes, and notes what is to be built.
    pub(super) fn save_indexes(&mut self, batch: &mut Batch<'_>) -> Result<(), StorageError> {
        let indexes = &mut batch.tables.indexes;
        indexes.save(Some(self.state.position))?;
        self.has_index_work |= indexes.catalog.has_work();
        let changed = indexes.take_changed();
        if let Some(run) = &mut self.index_run {
            for (collection, id) in changed {
                run.note_changed(&collection, id);
            }
        }
        Ok(())
    }

    /// Whether an index is to be built or removed.
    pub fn has_index_work(&self) -> bool {
        self.has_index_work && !self.has_stopped
    }

    /// Does a bounded piece of the work on indexes: builds them, or removes what is left of dropped ones. Other requests
    /// may come in between; they see every index as it then is.
    pub fn work_on_indexes(&mut self, now: Millis, limit: IndexLimit) -> Result<IndexStep, StorageError> {
        if self.has_stopped {
            return Err(StorageError::Stopped);
        }
        let result = self.try_work_on_indexes(now, limit);
        self.has_stopped = self.has_stopped || result.is_err();
        result
    }

    fn try_work_on_indexes(&mut self, now: Millis, limit: IndexLimit) -> Result<IndexStep, StorageError> {
        let shared = std::sync::Arc::clone(&self.shared);
        let work = match self.index_run.take() {
            Some(run) => Some(Work::Build(run)),
            None => build::next_work(&shared.data.begin_read()?)?,
        };
        let mut step = IndexStep { has_more: true, ..IndexStep::default() };
        match work {
            None => {
                self.has_index_work = false;
                step.has_more = false;
            }
            Some(Work::Build(mut run)) if run.is_collecting() => {
                run.collect(&shared.data.begin_read()?, limit.documents)?;
                self.index_run = Some(run);
            }
            Some(Work::Build(mut run)) => {
                let mut transaction = shared.data.begin_write()?;
                transaction.set_durability(Durability::None)?;
                let (is_done, is_ready) = run.insert(&transaction, limit.entries, &shared.origins, now)?;
                transaction.commit()?;
                step.is_visible = is_ready;
                step.entries = limit.entries;
                if !is_done {
                    self.index_run = Some(run);
                }
            }
            Some(Work::Remove(number)) => {
                let mut transaction = shared.data.begin_write()?;
                transaction.set_durability(Durability::None)?;
                let (is_gone, entries) = build::remove(&transaction, number, limit.entries, &shared.origins, now)?;
                transaction.commit()?;
                step.is_visible = is_gone;
                step.entries = entries.max(1);
            }
        }
        if step.entries > 0 {
            // It counts towards syncing the data, which lets the store free pages.
            self.undurable.operations += step.entries;
            self.undurable.since.get_or_insert(now);
        }
        Ok(step)
    }
}
