//! State transfer: a database made anew from a peer's states, beside the one that goes on serving.
//!
//! ```text
//!   pages of states ─► files beside the database, a log of their own; progress is a checkpoint in there
//!   last page       ─► the peer's vector is adopted
//!   then            ─► what we hold beyond it is carried over: under its own name (merge),
//!                      or written again under a new incarnation (rebase)
//!   then            ─► the files take the place of the old ones, in one step
//! ```
//!
//! Must stay true: until that last step the old database is untouched and serves; whatever cuts a transfer short costs
//! at most the work. After it, nothing that the old database held and the peer did not is missing.

pub mod page;

use std::collections::BTreeMap;

use holdfast_core::document::DocumentState;
use holdfast_core::id::NodeName;
use holdfast_core::json::JsonText;
use holdfast_core::limits::COMMIT_OPERATIONS_MAX;
use holdfast_core::operation::{Operation, OperationKind};
use holdfast_core::sync::admission;
use holdfast_core::vector::{Dot, Origin, Position, Sequence, Vector};
use redb::StorageBackend;

use crate::commit::{CommitError, Moment, Reissue, Surplus, Writer};
use crate::database::{Database, Opened, Options};
use crate::error::StorageError;
use crate::log::ReadLimit;
use crate::record::note::Adoption;
use crate::record::progress::Checkpoint;
use crate::request::{Answer, Received, Request};
use crate::transfer::page::{StateAt, StatePage};
use crate::view::ReadView;

/// Operations carried over in one commit.
const CARRY_OPERATIONS: usize = 2_000;
/// Bytes carried over in one commit.
const CARRY_BYTES: usize = 8 * 1024 * 1024;

/// A database on its way from a peer.
#[derive(Debug)]
pub struct Transfer {
    opened: Opened,
    source: NodeName,
    source_log_id: u64,
    /// What the states that came in this run rest on.
    seen: Vector,
}

/// Whose states are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Which node.
    pub node: NodeName,
    /// The log that its positions count: another one when the node was set back to an earlier time.
    pub log_id: u64,
}

/// What was carried over into a new database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Carried {
    /// Operations that kept their own name.
    pub kept: u64,
    /// Operations that were written again.
    pub reissued: u64,
}

impl Transfer {
    /// Begins on two empty files, or goes on where an earlier attempt with the same peer and log stopped. `None` when
    /// the files belong to another attempt: they must be removed first.
    pub fn open(
        name: &str,
        (log, data): (impl StorageBackend, impl StorageBackend),
        origin: Origin,
        fresh_log_id: u64,
        options: Options,
        source: &Source,
    ) -> Result<Option<Self>, StorageError> {
        let opened = Database::open(name, log, data, origin, fresh_log_id, options)?;
        let transfer = Self { opened, source: source.node.clone(), source_log_id: source.log_id, seen: Vector::new() };
        let is_ours = match transfer.opened.writer.checkpoint(&source.node) {
            // One that was cut while what is ours alone was carried over is not gone on with.
            Some(checkpoint) => {
                checkpoint.peer_log_id == source.log_id && transfer.opened.writer.state().vector.is_empty()
            }
            None => transfer.opened.writer.state().position == Position::START,
        };
        Ok(is_ours.then_some(transfer))
    }

    /// Everything up to here is in: the next page begins after it.
    pub fn cursor(&self) -> Position {
        self.opened.writer.checkpoint(&self.source).map_or(Position::START, |checkpoint| checkpoint.pulled)
    }

    /// Takes a page in. A page that does not follow what is here is left out.
    pub fn take(&mut self, moment: &mut Moment<'_>, page: StatePage) -> Result<(), CommitError> {
        if page.after > self.cursor() {
            return Ok(());
        }
        for one in &page.states {
            self.seen.merge(&one.state.vector);
        }
        let checkpoint = Checkpoint {
            peer_log_id: self.source_log_id,
            pushed: Position::START,
            pulled: page.through,
            updated: moment.now,
        };
        let states = page.states.into_iter().map(|one| (one.collection, one.document, one.state)).collect();
        let progress = Request::Checkpoint { peer: self.source.clone(), checkpoint };
        let states = Request::States(states);
        self.opened.writer.commit(moment, vec![progress, states])?;
        if self.opened.writer.is_durable_commit_due(moment.now) {
            self.opened.writer.make_data_durable().map_err(CommitError::Unknown)?;
        }
        Ok(())
    }

    /// All pages are in: what the peer knew is known here. Then carries over what `old` holds beyond it.
    ///
    /// From then on it writes as `origin`, beside the node's own incarnation. `branches` are the first operations of
    /// ours that differ from the peer's of the same origin.
    pub fn finish(
        mut self,
        moment: &mut Moment<'_>,
        adoption: Adoption,
        old: &Database,
        origin: &Origin,
        kind: admission::Transfer,
        branches: Vec<Dot>,
    ) -> Result<(Opened, Carried), CommitError> {
        let not_written = CommitError::NotWritten;
        let theirs = adoption.vector.clone();
        // Of an origin whose operations are parked there, the vector says less than the states, and there is no chain.
        let is_short = |(of, seen): (&Origin, Sequence)| seen > theirs.get(of) && adoption.chains.get(of).is_some();
        if self.seen.iter().any(is_short) {
            let reason = "it knows less at their end than at their beginning: it was set back meanwhile";
            return Err(not_written(StorageError::damaged("the states of a peer", reason)));
        }
        let writer = &mut self.opened.writer;
        let of_node = writer.origin().incarnation;
        if origin.incarnation != of_node {
            writer.renew(origin.incarnation, of_node);
        }
        writer.commit(moment, vec![Request::Adopt(adoption)])?;
        let old_view = old.view().map_err(not_written)?;
        let old_state = old_view.state().map_err(not_written)?;
        let old_floor = old.log().and_then(|log| log.floor()).map_err(not_written)?;
        let mut carried = Carried::default();
        let is_merge = kind == admission::Transfer::Merge;
        let mut reissue = Reissue::new(branches.clone());
        if !theirs.covers_all(&old_floor) {
            // What our log no longer holds as operations, and the peer lacks, is there as states.
            let run = if is_merge { None } else { Some(&mut reissue) };
            carry_states(writer, moment, &old_view, &theirs, &old_floor, run)?;
        }
        if is_merge {
            let adoption = Adoption {
                vector: old_floor.clone(),
                // Of origins with operations above the floor, those bring their chains along.
                chains: old_state
                    .chains
                    .iter()
                    .filter(|(origin, _)| old_floor.get(origin) == old_state.vector.get(origin))
                    .map(|(origin, chain)| (origin.clone(), chain))
                    .collect(),
                members: old_state.members.clone(),
                graves: old_state.graves.clone(),
                collections: Vec::new(),
            };
            writer.commit(moment, vec![Request::Adopt(adoption)])?;
        }
        let known = writer.state().vector.clone();
        let mut position = Position::START;
        loop {
            let limit = ReadLimit { operations: CARRY_OPERATIONS.min(COMMIT_OPERATIONS_MAX), bytes: CARRY_BYTES };
            let stretch = old.log().and_then(|log| log.read(position, &Vector::new(), limit)).map_err(not_written)?;
            position = stretch.through;
            let (mut keep, mut again) = (Vec::new(), Vec::new());
            for logged in stretch.operations {
                let operation = logged.operation;
                let is_branched = branches.iter().any(|fork| is_after(&operation.dot, fork));
                let is_carried = old_floor.covers(&operation.dot) && !theirs.covers(&operation.dot);
                if (known.covers(&operation.dot) && !is_branched) || is_carried {
                    continue;
                }
                if is_merge {
                    keep.push((logged.position, operation));
                } else {
                    again.push(operation);
                }
            }
            keep_what_stands_beside(writer, moment, &self.opened.database, &old_view, &keep)?;
            carried.kept += keep_as_they_are(writer, moment, keep, &known)?;
            let again = again.into_iter().map(|operation| surplus(&old_view, operation));
            let again = again.collect::<Result<Vec<_>, _>>().map_err(not_written)?;
            if !again.is_empty() {
                writer.reissue(moment, &mut reissue, again)?;
            }
            if !stretch.has_more {
                break;
            }
        }
        carried.reissued = reissue.written;
        writer.settle().map_err(CommitError::Unknown)?;
        Ok((self.opened, carried))
    }
}

/// Whether a dot is of a branch that begins with `fork`.
fn is_after(dot: &Dot, fork: &Dot) -> bool {
    dot.origin == fork.origin && dot.sequence >= fork.sequence
}

fn surplus(old: &ReadView, operation: Operation) -> Result<Surplus, StorageError> {
    let is_of_document = operation.kind.is_of_document() == Some(true);
    let shown = match operation.document.as_ref().filter(|_| is_of_document) {
        Some(id) => old.state_of(&operation.collection, id)?.and_then(|(state, _)| remaining(&state)),
        None => None,
    };
    Ok(Surplus { operation, shown })
}

/// What is left of a document: what is shown of it, or else a write that stands beside the delete which is shown. The
/// peer may have forgotten that delete; the write had not seen it, and nobody else would remember it.
fn remaining(state: &DocumentState) -> Option<JsonText> {
    let beside = || state.versions.iter().find_map(|version| version.body.clone());
    state.shown().map(std::borrow::Cow::into_owned).or_else(beside)
}

/// Operations whose writers had not seen what the peer has forgotten stand beside that, and here it is still known: it
/// goes over with them, as it stands.
fn keep_what_stands_beside(
    writer: &mut Writer,
    moment: &mut Moment<'_>,
    new: &Database,
    old: &ReadView,
    keep: &[(Position, Operation)],
) -> Result<(), CommitError> {
    let graves = writer.state().graves.clone();
    let view = new.view().map_err(CommitError::NotWritten)?;
    let mut states = BTreeMap::new();
    for (_, operation) in keep.iter().filter(|(_, operation)| !operation.context.covers_all(&graves)) {
        let Some(id) = &operation.document else { continue };
        let key = (operation.collection.clone(), id.clone());
        if !states.contains_key(&key)
            && view.state_of(&key.0, id).map_err(CommitError::NotWritten)?.is_none()
            && let Some((state, _)) = old.state_of(&key.0, id).map_err(CommitError::NotWritten)?
        {
            states.insert(key, state);
        }
    }
    if !states.is_empty() {
        let states = states.into_iter().map(|((collection, id), state)| (collection, id, state)).collect();
        writer.commit(moment, vec![Request::States(states)])?;
    }
    Ok(())
}

/// Takes operations over under their own names.
fn keep_as_they_are(
    writer: &mut Writer,
    moment: &mut Moment<'_>,
    operations: Vec<(Position, Operation)>,
    known: &Vector,
) -> Result<u64, CommitError> {
    let Some(through) = operations.last().map(|(position, _)| *position) else { return Ok(0) };
    let mut source_vector = known.clone();
    source_vector.merge(&writer.state().graves);
    let received = Received {
        source: writer.origin().node.clone(),
        source_log_id: 0,
        after: Position::START,
        through,
        source_vector,
        operations,
    };
    let answers = writer.commit(moment, vec![Request::Receive(received)])?;
    match answers.first() {
        Some(Answer::Receipt(receipt)) if receipt.gap.is_none() && receipt.stranger.is_none() => Ok(receipt.accepted),
        other => Err(CommitError::NotWritten(StorageError::damaged(
            "what is carried over from the old log",
            format!("it does not follow: {other:?}"),
        ))),
    }
}

/// Takes over what `old` knows as states only and the peer does not: as states again, or written again in a run.
fn carry_states(
    writer: &mut Writer,
    moment: &mut Moment<'_>,
    old: &ReadView,
    theirs: &Vector,
    old_floor: &Vector,
    mut run: Option<&mut Reissue>,
) -> Result<(), CommitError> {
    let mut after = Position::START;
    loop {
        let limit = ReadLimit { operations: CARRY_OPERATIONS, bytes: CARRY_BYTES };
        let page = old.states_after(after, limit).map_err(CommitError::NotWritten)?;
        after = page.through;
        let is_new = |dot: &Dot| !theirs.covers(dot) && old_floor.covers(dot);
        let has_new = |one: &StateAt| {
            one.state.versions.iter().any(|version| is_new(&version.dot))
                || one.state.increments.iter().any(|applied| is_new(&applied.dot))
        };
        let states = page.states.into_iter().filter(has_new);
        match &mut run {
            None => {
                let states: Vec<_> = states.map(|one| (one.collection, one.document, one.state)).collect();
                if !states.is_empty() {
                    writer.commit(moment, vec![Request::States(states)])?;
                }
            }
            Some(run) => {
                let surplus: Vec<Surplus> = states.flat_map(|one| as_operations(&one, theirs, &is_new)).collect();
                if !surplus.is_empty() {
                    writer.reissue(moment, run, surplus)?;
                }
            }
        }
        if !page.has_more {
            return Ok(());
        }
    }
}

/// What a state consists of, as the operations that it came from.
fn as_operations(one: &StateAt, theirs: &Vector, is_new: &dyn Fn(&Dot) -> bool) -> Vec<Surplus> {
    let shown = remaining(&one.state);
    let context = seen_by_all(&one.state).meet(theirs);
    let operation = |id, dot: &Dot, stamp, kind| Surplus {
        operation: Operation {
            id,
            dot: dot.clone(),
            stamp,
            collection: one.collection.clone(),
            document: Some(one.document.clone()),
            context: context.clone(),
            group: None,
            chain: None,
            replaces: None,
            kind,
        },
        shown: shown.clone(),
    };
    let mut operations = Vec::new();
    for version in one.state.versions.iter().filter(|version| is_new(&version.dot)) {
        let kind = match &version.body {
            Some(body) => OperationKind::Put { body: body.clone(), created: false },
            None => OperationKind::Delete,
        };
        operations.push(operation(version.id, &version.dot, version.stamp, kind));
    }
    for applied in one.state.increments.iter().filter(|applied| is_new(&applied.dot)) {
        let kind = OperationKind::Increment(applied.increment.clone());
        operations.push(operation(applied.replaces.unwrap_or(applied.id), &applied.dot, applied.stamp, kind));
    }
    operations
}

/// What all that stands in a document's state has surely seen: of each origin, what came before the first of its operations
/// that stands. What one version of a state had seen of the others is not kept, and none of them may be taken for covered.
fn seen_by_all(state: &DocumentState) -> Vector {
    let standing = state.versions.iter().map(|version| &version.dot).chain(state.increments.iter().map(|one| &one.dot));
    let mut first: BTreeMap<&Origin, Sequence> = BTreeMap::new();
    for dot in standing {
        let before = Sequence(dot.sequence.0.saturating_sub(1));
        let known = first.entry(&dot.origin).or_insert(before);
        *known = before.min(*known);
    }
    for (origin, _) in state.tally.iter().flat_map(|tally| tally.seen.iter()) {
        first.insert(origin, Sequence(0));
    }
    let cap = |(origin, seen): (&Origin, Sequence)| {
        (origin.clone(), first.get(origin).map_or(seen, |before| seen.min(*before)))
    };
    state.vector.iter().map(cap).collect()
}

/// What a node tells about itself at the end of its states.
pub fn adoption_of(view: &ReadView) -> Result<Adoption, StorageError> {
    let state = view.state()?;
    let collections = view.collections()?.into_iter().map(|(name, _)| name).collect();
    // What is parked is not in the states: whoever takes them asks for it, and for what came after it.
    let vector = state.acknowledged();
    let mut chains = state.chains;
    for letter in state.letters.iter() {
        chains.forget(&letter.dot.origin);
    }
    Ok(Adoption { vector, chains, members: state.members, graves: state.graves, collections })
}

#[cfg(test)]
mod tests;
