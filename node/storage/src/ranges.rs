//! Reading documents for a search for differences: digests of stretches, made from the records themselves.
//!
//! Kept digests say what records should add up to; here the records are read. A record that cannot be read does not end
//! the reading: it is what the search is for.

use std::collections::BTreeMap;
use std::ops::Bound;

use holdfast_core::digest::Digest;
use holdfast_core::document::DocumentState;
use holdfast_core::id::CollectionName;
use holdfast_core::sync::comparison::DocumentKey;
use holdfast_core::sync::ranges::{Ends, Verdict};
use holdfast_core::sync::survey::is_compared;
use holdfast_core::vector::Position;

use crate::database::Database;
use crate::error::StorageError;
use crate::log::LogView;
use crate::record::document::{decode, key, parse_key};
use crate::record::note::Note;
use crate::record::operation::Entry;
use crate::record::progress::CollectionState;
use crate::tables::{CHANGES, DOCUMENTS};
use crate::view::ReadView;

/// Changes of one document that are followed back through the log.
const HISTORY_MAX: usize = 100_000;

/// A stretch of documents with its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSum {
    /// After one document, through another.
    pub ends: Ends,
    /// The sum of the documents' parts.
    pub sum: Digest,
}

/// What a look at every record found.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    /// Records that were read.
    pub records: u64,
    /// Documents whose records cannot be read.
    pub unreadable: Vec<DocumentKey>,
    /// By how much the kept numbers of a collection are off; collections that are right are not in it.
    pub errors: Vec<(CollectionName, SumError)>,
    /// By how much the kept number of conflicted documents is off.
    pub conflicted_error: i64,
}

/// What is kept of a collection, less what its records add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SumError {
    /// In the digest.
    pub digest: Digest,
    /// In the number of documents.
    pub alive: i64,
    /// In the number of tombstones.
    pub tombstones: i64,
}

impl ReadView {
    /// Cuts the documents after one of them into stretches of so many records.
    pub fn range_sums(
        &self,
        after: Option<&DocumentKey>,
        records_each: usize,
        ranges_max: usize,
    ) -> Result<Vec<RangeSum>, StorageError> {
        let mut ranges = Vec::new();
        let mut first = after.cloned();
        let (mut sum, mut records) = (Digest::default(), 0);
        let mut is_cut = false;
        self.walk(after, None, &mut |key, part| {
            sum = sum.plus(part.unwrap_or_default());
            records += 1;
            if records == records_each {
                ranges.push(RangeSum { ends: (first.replace(key.clone()), Some(key)), sum });
                (sum, records) = (Digest::default(), 0);
                is_cut = ranges.len() == ranges_max;
            }
            !is_cut
        })?;
        if !is_cut {
            ranges.push(RangeSum { ends: (first, None), sum });
        }
        Ok(ranges)
    }

    /// The digest of a stretch; `None` when it holds more records than that.
    pub fn range_sum(&self, ends: &Ends, records_max: usize) -> Result<Option<Digest>, StorageError> {
        let (mut sum, mut records) = (Digest::default(), 0);
        self.walk(ends.0.as_ref(), ends.1.as_ref(), &mut |_, part| {
            sum = sum.plus(part.unwrap_or_default());
            records += 1;
            records <= records_max
        })?;
        Ok((records <= records_max).then_some(sum))
    }

    /// The documents of a stretch that show something or cannot be read, with their parts; looks at so many records
    /// and says where to go on.
    #[allow(clippy::type_complexity)]
    pub fn rows(
        &self,
        ends: &Ends,
        records_max: usize,
    ) -> Result<(Vec<(DocumentKey, Option<Digest>)>, Option<DocumentKey>), StorageError> {
        let (mut rows, mut next, mut records) = (Vec::new(), None, 0);
        self.walk(ends.0.as_ref(), ends.1.as_ref(), &mut |key, part| {
            records += 1;
            next = (records == records_max).then(|| key.clone());
            if part != Some(Digest::default()) {
                rows.push((key, part));
            }
            next.is_none()
        })?;
        Ok((rows, next))
    }

    /// A document's state, or that its record cannot be read.
    pub fn readable_state(&self, key: &DocumentKey) -> Result<Readable, StorageError> {
        match self.state_of(&key.0, &key.1) {
            Ok(None) => Ok(Readable::Absent),
            Ok(Some((state, position))) => Ok(Readable::State(Box::new(state), position)),
            Err(StorageError::Damaged { .. }) => Ok(Readable::Damaged),
            Err(error) => Err(error),
        }
    }

    /// Reads every record and compares what they add up to with what is kept.
    pub fn audit(&self) -> Result<Audit, StorageError> {
        let mut audit = Audit::default();
        let mut actual: BTreeMap<CollectionName, CollectionState> = BTreeMap::new();
        let mut conflicted = 0i64;
        let documents = self.transaction().open_table(DOCUMENTS)?;
        for row in documents.range::<&[u8]>(..)? {
            let (raw, bytes) = row?;
            let key = parse_key(raw.value())?;
            audit.records += 1;
            let Ok((state, _)) = decode(bytes.value(), raw.value(), self.origins()) else {
                audit.unreadable.push(key);
                continue;
            };
            let sums = actual.entry(key.0.clone()).or_default();
            sums.digest = sums.digest.plus(Digest::of(&key.0, &key.1, &state));
            sums.alive += u64::from(state.is_alive());
            sums.tombstones += u64::from(!state.is_alive());
            conflicted += i64::from(state.is_conflicted());
        }
        for (name, kept) in self.collections()? {
            let found = actual.remove(&name).unwrap_or_default();
            if found != kept {
                let error = SumError {
                    digest: kept.digest.minus(found.digest),
                    alive: kept.alive.cast_signed().wrapping_sub(found.alive.cast_signed()),
                    tombstones: kept.tombstones.cast_signed().wrapping_sub(found.tombstones.cast_signed()),
                };
                audit.errors.push((name, error));
            }
        }
        audit.conflicted_error = self.state()?.conflicted.cast_signed().wrapping_sub(conflicted);
        Ok(audit)
    }

    /// Calls `each` with the documents after one and through another and their parts, none where a record cannot be
    /// read, until it has enough.
    fn walk(
        &self,
        after: Option<&DocumentKey>,
        through: Option<&DocumentKey>,
        each: &mut dyn FnMut(DocumentKey, Option<Digest>) -> bool,
    ) -> Result<(), StorageError> {
        let raw = |bound: Option<&DocumentKey>| bound.map(|(collection, id)| key(collection, id));
        let (after, through) = (raw(after), raw(through));
        let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let end = through.as_deref().map_or(Bound::Unbounded, Bound::Included);
        if let (Some(after), Some(through)) = (&after, &through)
            && after >= through
        {
            return Ok(());
        }
        let documents = self.transaction().open_table(DOCUMENTS)?;
        for row in documents.range::<&[u8]>((start, end))? {
            let (raw, bytes) = row?;
            let key = parse_key(raw.value())?;
            if !is_compared(&key.0) {
                continue;
            }
            let state = decode(bytes.value(), raw.value(), self.origins()).ok();
            let part = state.map(|(state, _)| Digest::of_versions(&key.0, &key.1, &state));
            if !each(key, part) {
                break;
            }
        }
        Ok(())
    }

    /// The position of a document's last change as the index of changes has it. Reads the whole index.
    fn last_change(&self, wanted: &DocumentKey) -> Result<Option<Position>, StorageError> {
        let wanted = key(&wanted.0, &wanted.1);
        let changes = self.transaction().open_table(CHANGES)?;
        for row in changes.range::<u64>(..)?.rev() {
            let (position, key) = row?;
            if key.value() == wanted.as_slice() {
                return Ok(Some(Position(position.value())));
            }
        }
        Ok(None)
    }
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readable {
    /// There is none.
    Absent,
    /// It cannot be read.
    Damaged,
    /// The state, and the position of its last change.
    State(Box<DocumentState>, Position),
}

impl Database {
    /// Holds a document's record against what the log makes of it. Gives the verdict and, where the log reaches back
    /// far enough, what the document should be.
    pub fn examine(&self, key: &DocumentKey) -> Result<(Verdict, Option<DocumentState>), StorageError> {
        let view = self.view()?;
        let log = self.log()?;
        let readable = view.readable_state(key)?;
        let told = match &readable {
            Readable::State(_, position) => Some(*position),
            Readable::Damaged => view.last_change(key)?,
            Readable::Absent => None,
        };
        let position = match told.filter(|position| is_about(&log, *position, key)) {
            Some(position) => Some(position),
            // The record does not know where it comes from: the log does.
            None => log.last_change(key, view.state()?.position)?,
        };
        let made = position.map(|position| log.state_at(key, position)).transpose()?.flatten();
        let verdict = match (&readable, &made) {
            (Readable::Absent, None) if position.is_none() => Verdict::Absent,
            (Readable::State(state, _), Some(made)) if state.is_same_but_for_names(made) => Verdict::Sound,
            (Readable::State(..), None) => Verdict::Unproven,
            (Readable::Absent, Some(made)) if *made == DocumentState::default() => Verdict::Absent,
            _ => Verdict::Damaged,
        };
        Ok((verdict, made))
    }
}

/// Whether what stands at a position of the log is a change of this document.
fn is_about(log: &LogView, position: Position, key: &DocumentKey) -> bool {
    log.at(position).ok().flatten().is_some_and(|entry| document_of(&entry).is_some_and(|of| of == (&key.0, &key.1)))
}

fn document_of(entry: &Entry) -> Option<(&CollectionName, &holdfast_core::id::DocumentId)> {
    match entry {
        Entry::Operation(logged) => Some((&logged.operation.collection, logged.operation.document.as_ref()?)),
        Entry::Note(logged) => match &logged.note {
            Note::State { collection, document, .. } | Note::Forget { collection, document } => {
                Some((collection, document))
            }
            _ => None,
        },
    }
}

impl LogView {
    /// The last change of a document up to a position. Reads the whole log.
    fn last_change(&self, key: &DocumentKey, through: Position) -> Result<Option<Position>, StorageError> {
        let mut last = None;
        self.scan(Position::START, |entry| {
            if entry.position() <= through && document_of(&entry) == Some((&key.0, &key.1)) {
                last = Some(entry.position());
            }
            Ok(())
        })?;
        Ok(last)
    }

    /// What the log makes of a document up to its change at a position; `None` when it does not reach back far enough.
    fn state_at(&self, key: &DocumentKey, last_change: Position) -> Result<Option<DocumentState>, StorageError> {
        let mut operations = Vec::new();
        let mut next = last_change;
        let mut state = DocumentState::default();
        while next > Position::START {
            let Some(entry) = self.at(next)? else { return Ok(None) };
            if entry.position() != next
                || document_of(&entry) != Some((&key.0, &key.1))
                || operations.len() >= HISTORY_MAX
            {
                return Ok(None);
            }
            let previous = match entry {
                Entry::Operation(logged) => {
                    operations.push(logged.operation);
                    logged.previous
                }
                Entry::Note(logged) => {
                    if let Note::State { state: noted, .. } = logged.note {
                        state = noted;
                    }
                    Position::START
                }
            };
            if previous >= next {
                return Ok(None);
            }
            next = previous;
        }
        for operation in operations.iter().rev() {
            state.apply(operation);
        }
        Ok(Some(state))
    }
}

#[cfg(test)]
mod tests;
