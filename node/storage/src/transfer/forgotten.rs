//! Deletes that were forgotten here, and that the peer whose states were taken has not seen.
//!
//! ```text
//!   here: put, delete, forgotten and pruned        the peer, counted out meanwhile: put
//!   its states take the place of ours              the document stands there again
//!     ─► whatever of it was known here and is here no more was deleted: it is deleted again
//! ```
//!
//! Each of two halves may have counted the other out by force. Then both forget what the other has not seen, and one of them
//! takes the other's states. What the other one has forgotten is not brought back by that; what this one has must be said
//! again, for neither its tombstones nor its log know of it.
//!
//! Must stay true: a write that this node had not seen stays, shown or as a side of a conflict: the delete that is written
//! has seen no more than the forgotten one, and ranks right above what that had seen.

use holdfast_core::document::DocumentState;
use holdfast_core::stamp::Stamp;
use holdfast_core::vector::{Dot, Position, Vector};

use crate::commit::{CommitError, Deletion, Moment, Writer};
use crate::database::Database;
use crate::error::StorageError;
use crate::log::ReadLimit;
use crate::transfer::page::StateAt;
use crate::transfer::{Before, CARRY_BYTES, CARRY_OPERATIONS, is_after};

/// Deletes again what was deleted and forgotten here and stands in the states of a peer that knew `theirs`. Answers how many
/// documents that were.
pub(super) fn delete_again(
    (writer, new): (&mut Writer, &Database),
    moment: &mut Moment<'_>,
    before: &Before,
    (theirs, branches): (&Vector, &[Dot]),
) -> Result<u64, CommitError> {
    if theirs.covers_all(&before.state.graves) {
        // It has seen every delete that was forgotten here.
        return Ok(0);
    }
    let view = new.view().map_err(CommitError::NotWritten)?;
    let (mut after, mut deleted) = (Position::START, 0);
    loop {
        let limit = ReadLimit { operations: CARRY_OPERATIONS, bytes: CARRY_BYTES };
        let page = view.states_after(after, limit).map_err(CommitError::NotWritten)?;
        after = page.through;
        let mut deletions = Vec::new();
        for one in page.states {
            deletions.extend(deletion(one, before, branches).map_err(CommitError::NotWritten)?);
        }
        if !deletions.is_empty() {
            deleted += deletions.len() as u64;
            writer.delete_again(moment, deletions)?;
        }
        if !page.has_more {
            return Ok(deleted);
        }
    }
}

/// The delete of a document, if it was deleted and forgotten in the old database.
fn deletion(one: StateAt, before: &Before, branches: &[Dot]) -> Result<Option<Deletion>, StorageError> {
    let is_seen = |dot: &Dot| {
        before.state.vector.covers(dot) && !before.has_parked(dot) && !branches.iter().any(|fork| is_after(dot, fork))
    };
    let Some((context, latest)) = seen(&one.state, &is_seen) else { return Ok(None) };
    if before.view.state_of(&one.collection, &one.document)?.is_some() {
        return Ok(None);
    }
    let stamp = Stamp(latest.0.saturating_add(1));
    Ok(Some(Deletion { collection: one.collection, document: one.document, context, stamp }))
}

/// What stands of a document and was seen, and the latest stamp of it; `None` if no write of it is among that.
fn seen(state: &DocumentState, is_seen: &dyn Fn(&Dot) -> bool) -> Option<(Vector, Stamp)> {
    let versions = || state.versions.iter().filter(|version| is_seen(&version.dot));
    versions().find(|version| version.body.is_some())?;
    let increments = state.increments.iter().filter(|applied| is_seen(&applied.dot));
    let increments = increments.map(|applied| (&applied.dot, applied.stamp));
    let mut context = Vector::new();
    let mut latest = Stamp::default();
    for (dot, stamp) in versions().map(|version| (&version.dot, version.stamp)).chain(increments) {
        context.observe(&dot.origin, dot.sequence);
        latest = latest.max(stamp);
    }
    if let Some(tally) = state
        .tally
        .as_ref()
        .filter(|tally| tally.seen.iter().all(|(origin, sequence)| is_seen(&Dot { origin: origin.clone(), sequence })))
    {
        context.merge(&tally.seen);
        latest = latest.max(tally.stamp);
    }
    Some((context, latest))
}
