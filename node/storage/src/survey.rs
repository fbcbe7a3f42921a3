//! What a database tells of itself when two nodes compare what they show: digests, and the documents that were
//! changed since what the other node knows.
//!
//! All of it comes from one look at the data, so that digests, vector and changed documents belong together. Work is
//! bounded: where too many documents were changed, none is named, and nobody is kept waiting.

use std::collections::BTreeMap;

use holdfast_core::digest::Digest;
use holdfast_core::id::CollectionName;
use holdfast_core::limits::{SURVEY_COLLECTIONS_MAX, SURVEY_DOCUMENTS_MAX};
use holdfast_core::sync::comparison::{DocumentKey, Side};
use holdfast_core::sync::survey::is_compared;
use holdfast_core::vector::{Position, Vector};
use redb::ReadableTableMetadata;

use crate::error::StorageError;
use crate::record::document::{decode, parse_key};
use crate::tables::{CHANGES, DOCUMENTS};
use crate::view::ReadView;

/// Records that are looked at to find what was changed; most that lie after a confirmed position are found.
const LOOKED_AT_MAX: usize = 4 * SURVEY_DOCUMENTS_MAX;

/// A database's side of a comparison, and what people want to see of it.
#[derive(Debug, Clone, Default)]
pub struct SurveyedSide {
    /// The side itself.
    pub side: Side,
    /// Documents that are shown, by collection.
    pub counts: BTreeMap<CollectionName, u64>,
    /// The newest position that it reflects.
    pub newest: Position,
}

impl ReadView {
    /// This database's side of a comparison with a node that has confirmed our log up to `confirmed` and is known to
    /// know `known`.
    pub fn survey(&self, confirmed: Position, known: &Vector) -> Result<SurveyedSide, StorageError> {
        let state = self.state()?;
        let mut collections = BTreeMap::new();
        let mut counts = BTreeMap::new();
        let mut whole = Digest::default();
        for (name, collection) in self.collections()? {
            if is_compared(&name) {
                whole = whole.plus(collection.digest);
                counts.insert(name.clone(), collection.alive);
                collections.insert(name, collection.digest);
            }
        }
        let changed =
            if known.covers_all(&state.vector) { Some(BTreeMap::new()) } else { self.changed_since(confirmed, known)? };
        let collections = (collections.len() <= SURVEY_COLLECTIONS_MAX).then_some(collections);
        if collections.is_none() {
            counts.clear();
        }
        let (vector, graves) = (state.vector, state.graves);
        let side = Side { vector, graves, collections, whole, changed, asked: BTreeMap::new() };
        Ok(SurveyedSide { side, counts, newest: state.position })
    }

    /// The parts of these documents, zero where nothing is shown.
    pub fn parts<'a>(
        &self,
        keys: impl Iterator<Item = &'a DocumentKey>,
    ) -> Result<BTreeMap<DocumentKey, Digest>, StorageError> {
        keys.map(|key| {
            let state = self.state_of(&key.0, &key.1)?;
            let part = state.map(|(state, _)| Digest::of(&key.0, &key.1, &state)).unwrap_or_default();
            Ok((key.clone(), part))
        })
        .collect()
    }

    /// The documents whose last change lies after a position and of which something is beyond `known`; `None` when
    /// they are too many.
    fn changed_since(
        &self,
        confirmed: Position,
        known: &Vector,
    ) -> Result<Option<BTreeMap<DocumentKey, Digest>>, StorageError> {
        let changes = self.transaction().open_table(CHANGES)?;
        let documents = self.transaction().open_table(DOCUMENTS)?;
        let mut changed = BTreeMap::new();
        for (looked_at, row) in changes.range(confirmed.0.saturating_add(1)..)?.enumerate() {
            let (_, key) = row?;
            let Some(bytes) = documents.get(key.value())? else { continue };
            let (state, _) = decode(bytes.value(), key.value(), self.origins())?;
            if !known.covers_all(&state.vector) {
                let key = parse_key(key.value())?;
                if is_compared(&key.0) {
                    let part = Digest::of(&key.0, &key.1, &state);
                    changed.insert(key, part);
                }
            }
            if changed.len() > SURVEY_DOCUMENTS_MAX || looked_at >= LOOKED_AT_MAX {
                return Ok(None);
            }
        }
        Ok(Some(changed))
    }

    /// How many documents there are records of, deleted ones included.
    pub fn records(&self) -> Result<u64, StorageError> {
        Ok(self.transaction().open_table(DOCUMENTS)?.len()?)
    }
}

#[cfg(test)]
mod tests;
