//! Reading conflicts: which there are, one by its name, and what its sides have in common.

use std::fmt;
use std::str::FromStr;

use holdfast_core::conflict::ConflictId;
use holdfast_core::conflict::ancestor::{Ancestor, Search};
use holdfast_core::error::Refusal;
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::limits::{ANCESTOR_OPERATIONS_MAX, PAGE_BYTES_TARGET, PAGE_DOCUMENTS_MAX};
use holdfast_core::vector::{Dot, Position};
use redb::ReadableTableMetadata;

use crate::error::StorageError;
use crate::log::LogView;
use crate::record::conflict::{Conflict, decode};
use crate::record::note::Note;
use crate::record::operation::Entry;
use crate::tables::{CONFLICTS, CONFLICTS_CLOSED, CONFLICTS_OPEN, VIOLATIONS_OPEN};
use crate::view::ReadView;

/// Which conflicts are asked for.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Settled ones rather than open ones.
    pub is_settled: bool,
    /// Those of one collection only.
    pub collection: Option<CollectionName>,
    /// Those of one document id only.
    pub document: Option<DocumentId>,
}

/// Where a list goes on. Written as text for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// After a violation of a unique index; those come before the other open ones.
    Violation(ConflictId),
    /// After the open conflict of a document last changed here.
    Open(Position),
    /// After a settled one.
    Settled(u64, ConflictId),
}

/// Some conflicts, the newest first.
#[derive(Debug, Clone, Default)]
pub struct ConflictPage {
    /// The conflicts.
    pub conflicts: Vec<Conflict>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// How many conflicts a database has on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConflictCounts {
    /// Those that nobody has settled.
    pub open: u64,
    /// Those that are settled, or go on under another name.
    pub settled: u64,
}

impl ReadView {
    /// Conflicts of a selection after a cursor, at most `take`; a page also ends after many bytes or misses.
    pub fn conflicts(
        &self,
        selection: &Selection,
        after: Option<Cursor>,
        take: usize,
    ) -> Result<ConflictPage, StorageError> {
        let is_wanted = |conflict: &Conflict| {
            selection.collection.as_ref().is_none_or(|name| conflict.collection == *name)
                && selection.document.as_ref().is_none_or(|id| conflict.document == *id)
        };
        let records = self.transaction().open_table(CONFLICTS)?;
        let mut page = ConflictPage::default();
        let (mut bytes, mut looked_at) = (0, 0);
        let mut place = None;
        for row in self.conflict_places(selection.is_settled, after)? {
            let (cursor, id) = row?;
            if page.conflicts.len() == take || bytes >= PAGE_BYTES_TARGET || looked_at >= PAGE_DOCUMENTS_MAX {
                page.next = place;
                break;
            }
            looked_at += 1;
            place = Some(cursor);
            let Some(row) = records.get(id.0)? else { continue };
            let conflict = decode(row.value(), id, self.origins())?;
            if is_wanted(&conflict) {
                bytes += row.value().len();
                page.conflicts.push(conflict);
            }
        }
        Ok(page)
    }

    /// A conflict by its name; `None` when there never was one, or its record is gone.
    pub fn conflict(&self, id: ConflictId) -> Result<Option<Conflict>, StorageError> {
        let records = self.transaction().open_table(CONFLICTS)?;
        let row = records.get(id.0)?;
        row.map(|row| decode(row.value(), id, self.origins())).transpose()
    }

    /// Open conflicts of documents that changed after a position, oldest change first.
    pub fn conflicts_since(&self, after: Position, take: usize) -> Result<Vec<(Position, Conflict)>, StorageError> {
        let open = self.transaction().open_table(CONFLICTS_OPEN)?;
        let records = self.transaction().open_table(CONFLICTS)?;
        let mut found = Vec::new();
        for row in open.range(after.next().0..)?.take(take) {
            let (position, id) = row?;
            let id = ConflictId(id.value());
            if let Some(row) = records.get(id.0)? {
                found.push((Position(position.value()), decode(row.value(), id, self.origins())?));
            }
        }
        Ok(found)
    }

    /// How many conflicts there are.
    pub fn conflict_counts(&self) -> Result<ConflictCounts, StorageError> {
        let violations = self.transaction().open_table(VIOLATIONS_OPEN)?.len()?;
        let open = self.transaction().open_table(CONFLICTS_OPEN)?.len()? + violations;
        let settled = self.transaction().open_table(CONFLICTS_CLOSED)?.len()?;
        Ok(ConflictCounts { open, settled })
    }

    /// What a conflict's sides have in common, as far as the log tells.
    pub fn ancestor_of(&self, conflict: &Conflict, log: &LogView) -> Result<Ancestor, StorageError> {
        let document = self.document(&conflict.collection, &conflict.document)?;
        let Some(document) = document else { return Ok(Ancestor::Gone) };
        let dots = conflict.versions.iter().map(|version| version.dot.clone()).collect();
        log.ancestor(dots, document.position)
    }

    #[allow(clippy::type_complexity)]
    fn conflict_places(
        &self,
        is_settled: bool,
        after: Option<Cursor>,
    ) -> Result<Box<dyn Iterator<Item = Result<(Cursor, ConflictId), StorageError>>>, StorageError> {
        if is_settled {
            let before = match after {
                Some(Cursor::Settled(at, id)) => (at, id.0),
                _ => (u64::MAX, u128::MAX),
            };
            let rows = self.transaction().open_table(CONFLICTS_CLOSED)?.range(..before)?.rev();
            return Ok(Box::new(rows.map(|row| {
                let (at, id) = row?.0.value();
                Ok((Cursor::Settled(at, ConflictId(id)), ConflictId(id)))
            })));
        }
        let (before, violations_before) = match after {
            Some(Cursor::Open(position)) => (position.0, 0),
            Some(Cursor::Violation(id)) => (u64::MAX, id.0),
            _ => (u64::MAX, u128::MAX),
        };
        let violations = self.transaction().open_table(VIOLATIONS_OPEN)?.range(..violations_before)?.rev();
        let violations = violations.map(|row| {
            let id = ConflictId(row?.0.value());
            Ok((Cursor::Violation(id), id))
        });
        let rows = self.transaction().open_table(CONFLICTS_OPEN)?.range(..before)?.rev();
        Ok(Box::new(violations.chain(rows.map(|row| {
            let (position, id) = row?;
            Ok((Cursor::Open(Position(position.value())), ConflictId(id.value())))
        }))))
    }
}

impl LogView {
    /// What the versions with these dots have in common: the document as all of their writers had seen it.
    pub fn ancestor(&self, dots: Vec<Dot>, last_change: Position) -> Result<Ancestor, StorageError> {
        let mut search = Search::new(dots);
        let mut next = last_change;
        for _ in 0..ANCESTOR_OPERATIONS_MAX {
            if next == Position::START {
                return Ok(search.end(true));
            }
            let (previous, goes_on) = match self.at(next)? {
                Some(Entry::Operation(logged)) => (logged.previous, search.step(logged.operation)),
                Some(Entry::Note(logged)) => match logged.note {
                    Note::State { state, .. } => (logged.previous, search.step_state(&state)),
                    _ => (logged.previous, true),
                },
                None => break,
            };
            if !goes_on || previous >= next {
                break;
            }
            next = previous;
        }
        Ok(search.end(false))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(id) => write!(f, "v{id}"),
            Self::Open(position) => write!(f, "o{position}"),
            Self::Settled(at, id) => write!(f, "s{at}-{id}"),
        }
    }
}

impl FromStr for Cursor {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refuse = || Refusal::invalid("invalid-cursor", "The cursor is not one that a list gave as its 'Next'.");
        if let Some(id) = text.strip_prefix('v') {
            return id.parse().map(Self::Violation).map_err(|_| refuse());
        }
        if let Some(position) = text.strip_prefix('o') {
            return position.parse().map(|position| Self::Open(Position(position))).map_err(|_| refuse());
        }
        let (at, id) = text.strip_prefix('s').and_then(|rest| rest.split_once('-')).ok_or_else(refuse)?;
        Ok(Self::Settled(at.parse().map_err(|_| refuse())?, id.parse().map_err(|_| refuse())?))
    }
}

#[cfg(test)]
mod tests;
