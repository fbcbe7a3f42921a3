//! Parking what cannot be taken in, and what becomes of it: tried again, or settled.
//!
//! Must stay true: a transaction is parked whole and taken up whole; nothing on a document overtakes a parked
//! operation on it unless it makes that one void; what is parked is not acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdfast_core::id::{CollectionName, DocumentId, OperationId};
use holdfast_core::operation::{Group, Operation, OperationKind};
use holdfast_core::sync::poison::{Cause, Parked, judge, park};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Dot, Position, Vector};
use redb::ReadableDatabase;

use crate::commit::touched::Touched;
use crate::commit::{Batch, CommitError, Moment, Writer};
use crate::error::StorageError;
use crate::log::LogView;
use crate::record;
use crate::record::letter::Letter;
use crate::record::note::Note;
use crate::record::operation::Entry;
use crate::request::{LetterOutcome, Received, Which};

/// What a stretch from a peer is screened by.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// A copy of the stretch where something in it is parked, or was before.
    operations: Vec<Operation>,
    /// Transactions of which something is parked.
    groups: BTreeMap<OperationId, bool>,
}

/// Judges what cannot be taken as it came, before anything of the stretch is looked at.
pub(super) fn screen(received: &mut Received) {
    for (position, operation) in &mut received.operations {
        let is_impossible = has_seen_the_impossible(operation, &received.source_vector);
        if !is_impossible && !matches!(operation.kind, OperationKind::Unknown { .. }) {
            continue;
        }
        let mut judged = judge(operation.clone(), *position);
        if has_seen_the_impossible(&judged, &received.source_vector) {
            let reason = "It says that it has seen operations that its sender does not know.";
            judged = park(judged, *position, Cause::ImpossibleContext, reason);
            judged.context = Vector::new();
        }
        *operation = judged;
    }
    let groups: Vec<Option<Group>> = received.operations.iter().map(|(_, operation)| operation.group).collect();
    for (index, (_, operation)) in received.operations.iter_mut().enumerate() {
        if operation.group.is_none() && matches!(operation.kind, OperationKind::Unknown { .. }) {
            operation.group = group_between(&groups, index);
        }
    }
}

/// Whether an operation's context cannot be: logs are causally closed, so who knows an operation knows all that it has
/// seen; and none has seen what its own origin wrote after it.
fn has_seen_the_impossible(operation: &Operation, source: &Vector) -> bool {
    operation.context.get(&operation.dot.origin) >= operation.dot.sequence
        || (source.covers(&operation.dot) && !source.covers_all(&operation.context))
}

/// The place in a transaction of an operation whose own word on that is not readable.
fn group_between(groups: &[Option<Group>], index: usize) -> Option<Group> {
    let before = index.checked_sub(1).and_then(|before| groups.get(before).copied().flatten());
    if let Some(group) = before.filter(|group| group.index + 1 < group.count) {
        return Some(Group { index: group.index + 1, ..group });
    }
    let after = groups.get(index + 1).copied().flatten();
    after.filter(|group| group.index == 1).map(|group| Group { index: 0, ..group })
}

impl Writer {
    /// Makes ready to screen a stretch; costs nothing where nothing is parked.
    pub(super) fn screen_for(&self, operations: &[(Position, Operation)]) -> Screen {
        let is_parked = |operation: &Operation| matches!(operation.kind, OperationKind::Unknown { .. });
        let is_watched = !self.state.letters.is_empty() || operations.iter().any(|(_, one)| is_parked(one));
        let operations = if is_watched { operations.iter().map(|(_, one)| one.clone()).collect() } else { Vec::new() };
        Screen { operations, groups: BTreeMap::new() }
    }

    /// Parks an operation that must wait: with its transaction, or behind another on its document.
    pub(super) fn screened(
        &self,
        screen: &mut Screen,
        index: usize,
        operation: Operation,
        (source, now): (&str, Millis),
    ) -> Operation {
        if screen.operations.is_empty() {
            return operation;
        }
        let mut operation = operation;
        let position = self.state.position.next();
        if self.is_of_parked_group(screen, index) {
            let reason = "Another operation of its transaction is parked.";
            operation = park(operation, position, Cause::Transaction, reason);
        } else if let Some(letter) = self.state.letters.before(&operation, |_| false) {
            let reason = format!("Operation {} on the same document is parked.", letter.dot);
            operation = park(operation, position, Cause::Behind, reason);
        }
        if let Some(parked) = Parked::of(&operation.kind) {
            let parked = Parked { source: source.to_owned(), since: now, ..parked };
            tracing::warn!(
                database = %self.shared.name,
                dot = %operation.dot,
                collection = %operation.collection,
                document = operation.document.as_ref().map_or("", DocumentId::as_str),
                cause = parked.cause.name(),
                source,
                "an operation is parked: see the dead letters"
            );
            operation.kind = parked.to_kind();
        }
        operation
    }

    /// Whether the transaction of an operation is parked: decided at the first of its members that is looked at.
    fn is_of_parked_group(&self, screen: &mut Screen, index: usize) -> bool {
        let group = |operation: &Operation| operation.group.map(|group| group.id);
        let Some(id) = screen.operations.get(index).and_then(group) else { return false };
        if let Some(known) = screen.groups.get(&id) {
            return *known;
        }
        let members = screen.operations.iter().skip(index).take_while(|one| group(one) == Some(id));
        let is_held = |one: &Operation| {
            matches!(one.kind, OperationKind::Unknown { .. }) || self.state.letters.before(one, |_| false).is_some()
        };
        let is_parked = members.into_iter().any(is_held);
        screen.groups.insert(id, is_parked);
        is_parked
    }

    /// Parks what is parked at a peer whose states were taken: what they know of it is nothing but its name.
    pub(crate) fn take_letters(&mut self, moment: &mut Moment<'_>, letters: Vec<Operation>) -> Result<(), CommitError> {
        if letters.is_empty() {
            return Ok(());
        }
        self.commit_filled(moment, |writer, batch, _| {
            for letter in letters {
                writer.state.position = writer.state.position.next();
                writer.state.take_note_of(&letter, writer.state.position);
                batch.encoded.push(record::operation::encode(&letter, Position::START, &writer.shared.origins));
            }
            Ok(())
        })
    }

    /// Tries parked operations again, as if they had come now. Those that waited behind them follow.
    pub(super) fn retry(&mut self, batch: &mut Batch<'_>, which: &Which) -> Result<LetterOutcome, StorageError> {
        let log = LogView::new(
            self.shared.log.begin_read()?,
            self.shared.origins.snapshot(),
            Arc::clone(&self.shared.trail),
        )?;
        let asked: BTreeSet<Position> =
            self.state.letters.iter().filter(|letter| which.names(letter)).map(|letter| letter.position).collect();
        let mut outcome = LetterOutcome { named: asked.len() as u64, ..LetterOutcome::default() };
        loop {
            let mut has_moved = false;
            for letter in self.state.letters.clone().iter() {
                let waited = outcome.done > 0 && matches!(letter.cause, Cause::Behind | Cause::Transaction);
                if !(waited || asked.contains(&letter.position)) || self.state.letters.at(letter.position).is_none() {
                    continue;
                }
                match self.revived(batch, &log, letter)? {
                    Ok(revived) => {
                        outcome.done += revived.len() as u64;
                        has_moved = true;
                        self.take_up(batch, revived)?;
                    }
                    Err(reason) if outcome.failed.len() < LetterOutcome::FAILED_MAX => {
                        outcome.failed.insert(letter.dot.clone(), reason);
                    }
                    Err(_) => {}
                }
            }
            if !has_moved {
                break;
            }
        }
        outcome.failed.retain(|dot, _| self.state.letters.iter().any(|letter| letter.dot == *dot));
        Ok(outcome)
    }

    /// The operation of a letter, with the rest of its transaction, if all of them hold now; else why not.
    #[allow(clippy::type_complexity)]
    fn revived(
        &self,
        batch: &Batch<'_>,
        log: &LogView,
        letter: &Letter,
    ) -> Result<Result<Vec<(Position, Operation)>, String>, StorageError> {
        let is_together =
            |one: &Letter| one.position == letter.position || (one.group.is_some() && one.group == letter.group);
        let mut revived = Vec::new();
        for one in self.state.letters.iter().filter(|one| is_together(one)) {
            let Some(Entry::Operation(logged)) = log.at(one.position)? else {
                return Ok(Err("It has only just come. Try again.".to_owned()));
            };
            let Some(parked) = Parked::of(&logged.operation.kind) else {
                return Ok(Err("Its record is of a kind that this version does not know.".to_owned()));
            };
            let meant = match parked.judge(&logged.operation) {
                Ok(meant) => meant,
                Err(refusal) => return Ok(Err(refusal.to_string())),
            };
            if self.is_ahead(&meant) {
                return Ok(Err("It has seen operations that are not here.".to_owned()));
            }
            // Nothing that a letter stands beside is given up while its writer is counted with.
            if self.is_unjudgeable(batch, &meant)? {
                let reason = "What it stands beside was deleted or added up, and forgotten meanwhile. Settle it, and \
                              write again what should be there.";
                return Ok(Err(reason.to_owned()));
            }
            let is_later = |other: &Letter| other.position >= one.position || is_together(other);
            if let Some(before) = self.state.letters.before(&meant, is_later) {
                return Ok(Err(format!("Operation {} on the same document is parked before it.", before.dot)));
            }
            revived.push((one.position, meant));
        }
        Ok(Ok(revived))
    }

    /// Applies operations that were parked, and notes it in the log.
    fn take_up(&mut self, batch: &mut Batch<'_>, revived: Vec<(Position, Operation)>) -> Result<(), StorageError> {
        let origins = self.shared.origins.snapshot();
        let mut touched = Touched::default();
        for (letter, operation) in revived {
            self.clock.observe(self.now, operation.stamp);
            self.state.letters.remove(letter);
            let of = match (&operation.document, &operation.kind) {
                (Some(id), _) => {
                    let document = touched.load(&batch.tables, &origins, &operation.collection, id)?;
                    document.state.apply(&operation);
                    Some((operation.collection.clone(), id.clone()))
                }
                (None, OperationKind::RegisterCollection) => {
                    self.collections.entry(operation.collection.clone()).or_default();
                    batch.changed_collections.push(operation.collection.clone());
                    None
                }
                _ => None,
            };
            self.state.members.apply(&operation);
            let of = of.as_ref().map(|(collection, id)| (collection, id));
            self.log_note(batch, &mut touched, of, &Note::Retried { letter, operation: Box::new(operation.clone()) });
        }
        self.flush(batch, touched)
    }

    /// Gives parked operations up: a write of what is shown here covers them, so that every node ends with that.
    pub(super) fn settle_letters(
        &mut self,
        batch: &mut Batch<'_>,
        moment: &mut Moment<'_>,
        which: &Which,
    ) -> Result<LetterOutcome, StorageError> {
        let named: Vec<Letter> = self.state.letters.iter().filter(|letter| which.names(letter)).cloned().collect();
        let groups: BTreeSet<OperationId> = named.iter().filter_map(|letter| letter.group).collect();
        let is_meant =
            |letter: &Letter| which.names(letter) || letter.group.is_some_and(|group| groups.contains(&group));
        let mut outcome = LetterOutcome { named: named.len() as u64, ..LetterOutcome::default() };
        let before = self.state.letters.len();
        for letter in self.state.letters.clone().iter().filter(|letter| is_meant(letter)) {
            if self.state.letters.at(letter.position).is_none() {
                continue;
            }
            match &letter.document {
                Some(id) if letter.is_covered_when_settled() => self.cover(batch, moment, &letter.collection, id)?,
                // It names no document: nothing is shown that could be kept.
                _ => {
                    outcome.local += 1;
                    self.dismiss(batch, letter.position);
                }
            }
        }
        outcome.done = before.saturating_sub(self.state.letters.len()) as u64;
        Ok(outcome)
    }

    /// Gives a letter up on this node alone.
    fn dismiss(&mut self, batch: &mut Batch<'_>, letter: Position) {
        self.state.letters.remove(letter);
        self.log_note(batch, &mut Touched::default(), None, &Note::Dismissed { letter });
    }

    /// Gives up again what was given up in the log whose place this one takes: nobody else knows of that.
    pub(crate) fn dismiss_again(
        &mut self,
        moment: &mut Moment<'_>,
        dismissed: &BTreeSet<Dot>,
    ) -> Result<(), CommitError> {
        let is_back = |letter: &&Letter| dismissed.contains(&letter.dot);
        let back: Vec<Position> = self.state.letters.iter().filter(is_back).map(|letter| letter.position).collect();
        if back.is_empty() {
            return Ok(());
        }
        self.commit_filled(moment, |writer, batch, _| {
            for letter in back {
                writer.dismiss(batch, letter);
            }
            Ok(())
        })
    }

    /// Writes what is shown of a document once more, in the knowledge of all that is parked on it.
    fn cover(
        &mut self,
        batch: &mut Batch<'_>,
        moment: &mut Moment<'_>,
        collection: &CollectionName,
        id: &DocumentId,
    ) -> Result<(), StorageError> {
        let mut touched = Touched::default();
        let origins = self.shared.origins.snapshot();
        let known = self.state.seen();
        let document = touched.load(&batch.tables, &origins, collection, id)?;
        let mut context = if document.state.vector.is_empty() { known } else { document.state.vector.clone() };
        for letter in self.state.letters.about(collection, id) {
            context.observe(&letter.dot.origin, letter.dot.sequence);
        }
        let kind = match document.state.shown() {
            Some(shown) => OperationKind::Put { body: shown.into_owned(), created: false },
            None => OperationKind::Delete,
        };
        let stamp = self.clock.tick(moment.now);
        let operation = Operation {
            id: OperationId::new(stamp.millis().0, (moment.random)()),
            dot: Dot { origin: self.origin.clone(), sequence: self.state.vector.get(&self.origin).next() },
            stamp,
            collection: collection.clone(),
            document: Some(id.clone()),
            context,
            group: None,
            chain: None,
            replaces: None,
            kind,
        };
        document.state.apply(&operation);
        self.log(batch, &mut touched, operation);
        self.flush(batch, touched)
    }
}

#[cfg(test)]
mod tests;
