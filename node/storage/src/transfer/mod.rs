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
mod forgotten;
mod parting;

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::digest::Digest;
use holdfast_core::document::DocumentState;
use holdfast_core::id::NodeName;
use holdfast_core::json::JsonText;
use holdfast_core::limits::COMMIT_OPERATIONS_MAX;
use holdfast_core::operation::{Operation, OperationKind};
use holdfast_core::sync::admission;
use holdfast_core::sync::branches::Forks;
use holdfast_core::trail::Stated;
use holdfast_core::vector::{Dot, Origin, Position, Sequence, Vector};
use redb::StorageBackend;

use crate::commit::{CommitError, Moment, Reissue, Surplus, Writer};
use crate::database::{Database, Opened, Options};
use crate::error::StorageError;
use crate::log::{LogView, ReadLimit};
use crate::record::note::{Adoption, LoggedNote, Note};
use crate::record::operation::Entry;
use crate::record::progress::{Checkpoint, DataState};
use crate::request::{Answer, Received, Request};
use crate::transfer::page::{StateAt, StatePage, letters_of};
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
    /// What all that the peer shows adds up to, once its last page is here.
    digest: Option<Digest>,
}

/// Whose states are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Which node.
    pub node: NodeName,
    /// The log that its positions count: another one when the node was set back to an earlier time.
    pub log_id: u64,
}

/// How a transfer ends.
#[derive(Debug)]
pub struct Ending {
    /// What the peer knew.
    pub adoption: Adoption,
    /// What of it is parked there, and not in its states.
    pub letters: Vec<(Position, Operation)>,
    /// Merge or rebase.
    pub kind: admission::Transfer,
    /// Where our branches of origins leave the peer's.
    pub forks: Forks,
    /// Where the peer has passed the branches of origins.
    pub passed: Stated,
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
        let transfer = Self {
            opened,
            source: source.node.clone(),
            source_log_id: source.log_id,
            seen: Vector::new(),
            digest: None,
        };
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
        self.digest = page.digest;
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
    /// From then on it writes as `origin`, beside the node's own incarnation.
    pub fn finish(
        mut self,
        moment: &mut Moment<'_>,
        ending: Ending,
        old: &Database,
        origin: &Origin,
    ) -> Result<(Opened, Carried), CommitError> {
        let not_written = CommitError::NotWritten;
        let Ending { adoption, letters, kind, forks: Forks { first: branches, waymarks }, passed } = ending;
        let is_merge = kind == admission::Transfer::Merge;
        let theirs = adoption.vector.clone();
        if !theirs.covers_all(&self.seen) || letters.iter().any(|(_, letter)| !theirs.covers(&letter.dot)) {
            let reason = "it knows less at their end than at their beginning: it was set back meanwhile";
            return Err(not_written(StorageError::damaged("the states of a peer", reason)));
        }
        let shown = self.opened.database.view().and_then(|view| view.digest()).map_err(not_written)?;
        if self.digest.is_some_and(|digest| digest != shown) {
            let reason = "it deleted and forgot some of what it had given; its states are taken from the beginning";
            return Err(not_written(StorageError::damaged("the states of a peer", reason)));
        }
        let before = Before::look(old).map_err(not_written)?;
        let me = Origin { incarnation: old.incarnation(), ..origin.clone() };
        if let Some(origin) = parting::overlooked(&before, &me, &adoption, &branches).map_err(not_written)? {
            let reason =
                format!("meanwhile two branches of {origin} came to light; it is looked again where they part");
            return Err(not_written(StorageError::damaged("the states of a peer", reason)));
        }
        let writer = &mut self.opened.writer;
        let of_node = writer.origin().incarnation;
        if origin.incarnation != of_node {
            writer.renew(origin.incarnation, of_node);
        }
        let mut remembered = before.log.waymarks().map_err(not_written)?;
        for fork in &branches {
            remembered.leave(fork);
        }
        for (dot, told) in waymarks.iter() {
            remembered.keep(dot.clone(), *told);
        }
        writer.keep_waymarks(remembered);
        writer.keep_trail(before.log.trail(), &branches);
        writer.commit(moment, vec![Request::Adopt(adoption)])?;
        writer.follow_trail(&theirs, &passed);
        let mut reissue = Reissue::new(branches.clone());
        if is_merge {
            // Whoever writes everything again goes on as somebody else, and what branches it holds is another question.
            writer.keep_suspicions(old.suspicions().note(|suspicions| suspicions.clone()));
            // What is parked there may be in force here, below the floor of our log; what is parked here too stays so.
            let is_in_force = |letter: &Dot| before.floor.covers(letter) && !before.has_parked(letter);
            let (there, in_force): (Vec<_>, Vec<_>) =
                letters.into_iter().map(|(_, letter)| letter).partition(|letter| !is_in_force(&letter.dot));
            let held = short_of(&theirs, in_force.iter().map(|letter| &letter.dot));
            if !held.covers_all(&before.floor) {
                carry_states(writer, moment, &before, (&held, &branches), None)?;
            }
            writer.commit(moment, vec![Request::Adopt(before.adoption())])?;
            let ours =
                letters_of(&before.view, &before.log).map_err(not_written)?.into_iter().map(|(_, letter)| letter);
            let is_ours_alone = |letter: &Operation| before.floor.covers(&letter.dot) && !theirs.covers(&letter.dot);
            writer.take_letters(moment, there.into_iter().chain(ours.filter(is_ours_alone)).collect())?;
        } else {
            writer.take_letters(moment, letters.into_iter().map(|(_, letter)| letter).collect())?;
            let is_below_floor = |fork: &Dot| before.floor.covers(fork);
            if !theirs.covers_all(&before.floor) || branches.iter().any(is_below_floor) {
                carry_states(writer, moment, &before, (&theirs, &branches), Some(&mut reissue))?;
            }
        }
        let kept = self.carry_log(moment, &before, &theirs, is_merge, &branches, &mut reissue)?;
        if !is_merge {
            let Opened { database, writer, .. } = &mut self.opened;
            reissue.written += forgotten::delete_again((writer, database), moment, &before, (&theirs, &branches))?;
        }
        self.opened.writer.dismiss_again(moment, &before.dismissed)?;
        self.opened.writer.carry_cache(&before.view, moment.now).map_err(CommitError::Unknown)?;
        self.opened.writer.settle().map_err(CommitError::Unknown)?;
        Ok((self.opened, Carried { kept, reissued: reissue.written }))
    }

    /// Carries over the operations of our log that the peer lacks. Answers how many kept their name.
    fn carry_log(
        &mut self,
        moment: &mut Moment<'_>,
        before: &Before,
        theirs: &Vector,
        is_merge: bool,
        branches: &[Dot],
        reissue: &mut Reissue,
    ) -> Result<u64, CommitError> {
        let writer = &mut self.opened.writer;
        let known = writer.state().vector.clone();
        let mut kept = 0;
        let mut position = Position::START;
        loop {
            let limit = ReadLimit { operations: CARRY_OPERATIONS.min(COMMIT_OPERATIONS_MAX), bytes: CARRY_BYTES };
            let stretch = before.log.read(position, &Vector::new(), limit).map_err(CommitError::NotWritten)?;
            position = stretch.through;
            let (mut keep, mut again) = (Vec::new(), Vec::new());
            for logged in stretch.operations {
                let dot = &logged.operation.dot;
                let is_branched = branches.iter().any(|fork| is_after(dot, fork));
                // What is parked is in no state.
                let is_lacked = !theirs.covers(dot) || is_branched;
                let is_in_states = before.floor.covers(dot) && is_lacked && !before.has_parked(dot);
                // What was given up here is not written again, to come back under a name that nobody has given up.
                let is_given_up = !is_merge && before.dismissed.contains(dot);
                if (known.covers(dot) && !is_branched) || is_in_states || is_given_up {
                    continue;
                }
                if is_merge {
                    keep.push((logged.position, logged.operation));
                } else {
                    again.push(surplus(&before.view, logged.operation).map_err(CommitError::NotWritten)?);
                }
            }
            keep_what_stands_beside(writer, moment, &self.opened.database, &before.view, &keep)?;
            kept += keep_as_they_are(writer, moment, keep, &before.state.vector)?;
            if !again.is_empty() {
                writer.reissue(moment, reissue, again)?;
            }
            if !stretch.has_more {
                return Ok(kept);
            }
        }
    }
}

/// The database that served until now, at one moment.
struct Before {
    view: ReadView,
    log: LogView,
    state: DataState,
    floor: Vector,
    /// Parked operations that were given up there, as far as its log says so.
    dismissed: BTreeSet<Dot>,
}

impl Before {
    fn look(database: &Database) -> Result<Self, StorageError> {
        let (view, log) = (database.view()?, database.log()?);
        Ok(Self { state: view.state()?, floor: log.floor()?, dismissed: dismissed_in(&log)?, view, log })
    }

    fn has_parked(&self, dot: &Dot) -> bool {
        self.state.letters.iter().any(|letter| letter.dot == *dot)
    }

    /// What its log no longer holds as operations is known in the new one too, once it is there as states.
    fn adoption(&self) -> Adoption {
        // Of origins with operations above the floor, those bring their chains along.
        let is_at_floor = |origin: &Origin| self.floor.get(origin) == self.state.vector.get(origin);
        let chains = self.state.chains.iter().filter(|(origin, _)| is_at_floor(origin));
        Adoption {
            vector: self.floor.clone(),
            chains: chains.map(|(origin, chain)| (origin.clone(), chain)).collect(),
            members: self.state.members.clone(),
            graves: self.state.graves.clone(),
            collections: Vec::new(),
        }
    }
}

/// The parked operations that were given up on this node alone, and whose records the log still holds.
fn dismissed_in(log: &LogView) -> Result<BTreeSet<Dot>, StorageError> {
    let mut dismissed = BTreeSet::new();
    log.scan(Position::START, |entry| {
        if let Entry::Note(LoggedNote { note: Note::Dismissed { letter }, .. }) = entry
            && let Some(Entry::Operation(logged)) = log.at(letter)?
        {
            dismissed.insert(logged.operation.dot);
        }
        Ok(())
    })?;
    Ok(dismissed)
}

/// A vector that ends, at their origins, before some operations.
fn short_of<'a>(vector: &Vector, operations: impl Iterator<Item = &'a Dot> + Clone) -> Vector {
    let cap = |(origin, known): (&Origin, Sequence)| {
        let first = operations.clone().filter(|dot| dot.origin == *origin).map(|dot| dot.sequence.0).min();
        (origin.clone(), first.map_or(known, |first| known.min(Sequence(first.saturating_sub(1)))))
    };
    vector.iter().map(cap).collect()
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

/// Takes operations over under their own names. `old` is what their log knew: an operation that was parked because it
/// had seen more than that is parked again, and does not wait for what nobody has.
fn keep_as_they_are(
    writer: &mut Writer,
    moment: &mut Moment<'_>,
    operations: Vec<(Position, Operation)>,
    old: &Vector,
) -> Result<u64, CommitError> {
    let Some(through) = operations.last().map(|(position, _)| *position) else { return Ok(0) };
    let mut source_vector = old.clone();
    source_vector.merge(&writer.state().vector);
    source_vector.merge(&writer.state().graves);
    let received = Received {
        source: writer.origin().node.clone(),
        source_log_id: 0,
        after: Position::START,
        through,
        source_vector,
        stated: Stated::new(),
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
    before: &Before,
    (theirs, branches): (&Vector, &[Dot]),
    mut run: Option<&mut Reissue>,
) -> Result<(), CommitError> {
    let mut after = Position::START;
    loop {
        let limit = ReadLimit { operations: CARRY_OPERATIONS, bytes: CARRY_BYTES };
        let page = before.view.states_after(after, limit).map_err(CommitError::NotWritten)?;
        after = page.through;
        let is_branched = |dot: &Dot| branches.iter().any(|fork| is_after(dot, fork));
        let is_new = |dot: &Dot| before.floor.covers(dot) && (!theirs.covers(dot) || is_branched(dot));
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
    let DataState { vector, chains, members, graves, .. } = state;
    Ok(Adoption { vector, chains, members, graves, collections })
}

#[cfg(test)]
mod tests;
