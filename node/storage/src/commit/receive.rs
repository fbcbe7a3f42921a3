//! What peers bring: operations that were minted elsewhere.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::document::DocumentState;
use holdfast_core::id::{NodeName, OperationId};
use holdfast_core::limits::DEAD_LETTERS_MAX;
use holdfast_core::operation::{Operation, OperationKind};
use holdfast_core::sync::poison::{Cause, park};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Dot, Origin, Position, Sequence, Vector};

use crate::commit::letters::screen;
use crate::commit::touched::Touched;
use crate::commit::{Batch, Writer};
use crate::error::StorageError;
use crate::record::progress::{Checkpoint, CollectionState};
use crate::request::{Misfit, Receipt, Received, Stranger};

impl Writer {
    /// Takes a stretch of a peer's log in, as far as it has no gap.
    pub(super) fn receive(
        &mut self,
        batch: &mut Batch<'_>,
        now: Millis,
        mut received: Received,
    ) -> Result<Receipt, StorageError> {
        screen(&mut received);
        let mut screen = self.screen_for(&received.operations);
        let mut touched = Touched::default();
        let mut receipt = Receipt { through: received.after, ..Receipt::default() };
        let parted = self.shared.lock_trail().parts_from(&self.state.vector, &received.stated);
        if let Some(dot) = parted {
            // All that has come from there has seen another branch, though it may not be of it.
            let stranger = Stranger { dot, misfit: Misfit::Branch };
            self.note_stranger(&received.source, received.source_log_id, &stranger);
            receipt.stranger = Some(stranger);
            return Ok(receipt);
        }
        self.second = None;
        if let Some((_, apart)) = received.operations.iter().find(|(_, one)| self.is_apart(&received.source, one)) {
            // What comes before it may have seen the other branch, and would take the place of operations that it has not.
            receipt.processed = 1;
            let stranger = Stranger { dot: apart.dot.clone(), misfit: Misfit::Branch };
            self.note_stranger(&received.source, received.source_log_id, &stranger);
            receipt.stranger = Some(stranger);
            return Ok(receipt);
        }
        let whole_groups = complete_prefix(&received.operations);
        let is_whole = whole_groups == received.operations.len();
        let unready = self.unready_groups(&received.operations);
        let is_endangered = !received.source_vector.covers_all(&self.state.graves);
        let unjudged = self.unjudged(batch, &mut touched, &received.operations)?;
        for (index, (position, operation)) in received.operations.into_iter().take(whole_groups).enumerate() {
            receipt.processed += 1;
            let known = self.state.vector.get(&operation.dot.origin);
            // Logs are causally closed, so whatever an operation has seen is here before it. A context beyond that
            // would cover operations that are yet to be written, and make them void.
            let is_unready = unready.contains(&index) || self.is_ahead(&operation);
            let misfit = if operation.dot.sequence < known {
                None
            } else if operation.dot.sequence == known {
                self.is_another_last(&operation).then_some(Misfit::Branch)
            } else if self.is_of_another_branch(&received.source, &operation) {
                Some(Misfit::Branch)
            } else if is_endangered {
                Some(Misfit::Sender)
            } else {
                unjudged.contains(&index).then_some(Misfit::Writer)
            };
            if let Some(misfit) = misfit {
                let stranger = Stranger { dot: operation.dot, misfit };
                self.note_stranger(&received.source, received.source_log_id, &stranger);
                receipt.stranger = Some(stranger);
                break;
            }
            if operation.dot.sequence > known.next() || (operation.dot.sequence == known.next() && is_unready) {
                receipt.gap = Some(operation.dot);
                break;
            }
            if operation.dot.sequence == known.next() {
                let operation = self.screened(&mut screen, index, operation, (received.source.as_str(), now));
                if self.state.letters.len() >= DEAD_LETTERS_MAX
                    && matches!(operation.kind, OperationKind::Unknown { .. })
                {
                    receipt.overfull = Some(operation.dot);
                    break;
                }
                receipt.accepted += 1;
                receipt.suspect_stamps += u64::from(self.clock.observe(now, operation.stamp));
                receipt.conflicts += u64::from(self.take(batch, &mut touched, operation)?);
            }
            // What lies beyond the stretch came early: it says nothing of what lies before it.
            receipt.through = position.min(received.through);
        }
        if receipt.gap.is_none() && receipt.stranger.is_none() && receipt.overfull.is_none() && is_whole {
            receipt.through = received.through;
        }
        self.flush(batch, touched)?;
        receipt.second = self.second.take();
        self.note_received(&received.source, received.source_log_id, received.after, receipt.through, now);
        Ok(receipt)
    }

    /// Remembers that a peer has brought what does not follow, if that is because there are two branches of its origin: its
    /// log may not say so any more when it is looked at where they part.
    fn note_stranger(&self, source: &NodeName, log_id: u64, stranger: &Stranger) {
        if stranger.misfit == Misfit::Branch {
            let met = (stranger.dot.origin.clone(), log_id);
            self.shared.suspicions.note(|suspicions| suspicions.note_met(source, met));
        }
    }

    /// Whether an operation continues another branch of its origin than the one that is known here; or is of our own
    /// origin, and not known here: then this node has forgotten it.
    fn is_of_another_branch(&self, source: &NodeName, operation: &Operation) -> bool {
        let Dot { origin, sequence } = &operation.dot;
        let comes_next = *sequence == self.state.vector.get(origin).next();
        (*origin == self.origin && *source != self.origin.node)
            || (comes_next && !self.state.chains.fits(origin, operation.chain))
    }

    /// Whether an operation shows that its origin has another branch than the one that is known here.
    fn is_apart(&self, source: &NodeName, operation: &Operation) -> bool {
        match operation.dot.sequence.cmp(&self.state.vector.get(&operation.dot.origin)) {
            Ordering::Less => false,
            Ordering::Equal => self.is_another_last(operation),
            Ordering::Greater => self.is_of_another_branch(source, operation),
        }
    }

    /// Whether an operation has the number of the newest that is known of its origin, and is another one.
    fn is_another_last(&self, operation: &Operation) -> bool {
        let ends = operation.chain.map(|before| before.then(operation.id));
        matches!((self.state.chains.get(&operation.dot.origin), ends), (Some(known), Some(ends)) if known != ends)
    }

    /// Whether an operation has seen others that are not here, besides those of its own origin before it.
    pub(super) fn is_ahead(&self, operation: &Operation) -> bool {
        let Dot { origin, sequence } = &operation.dot;
        operation.context.iter().any(
            |(of, seen)| {
                if of == origin { seen >= *sequence } else { seen > self.state.vector.get(of) }
            },
        )
    }

    /// Operations that cannot be judged here, because what they stand beside was given up and their writers had not seen
    /// it: a delete that is forgotten, or increments that are added up. Members are not among them: nothing is given up
    /// that one of them has not seen; nor is what will be parked, for it is not judged now. Of a transaction, the first
    /// member stands for all.
    fn unjudged(
        &self,
        batch: &Batch<'_>,
        touched: &mut Touched,
        operations: &[(Position, Operation)],
    ) -> Result<BTreeSet<usize>, StorageError> {
        let mut unjudged = BTreeSet::new();
        // Where nothing was ever forgotten, everybody has seen all that was.
        let has_forgotten = !self.state.graves.is_empty();
        // Documents that operations before it in the stretch write: something is known of those.
        let mut arriving = BTreeSet::new();
        let origins = self.shared.origins.snapshot();
        let parked = self.parked_in_turn(operations);
        let mut first = 0;
        for (index, (_, operation)) in operations.iter().enumerate() {
            if operation.group.is_none_or(|group| group.index == 0) {
                first = index;
            }
            let Some(id) = operation.document.as_ref().filter(|_| operation.kind.is_of_document() == Some(true)) else {
                continue;
            };
            if parked.contains(&index) || self.state.vector.covers(&operation.dot) {
                continue;
            }
            let state = &touched.load(&batch.tables, &origins, &operation.collection, id)?.state;
            let is_written = arriving.contains(&(&operation.collection, id));
            if self.is_blind(state, operation) && !is_written || is_cut(state, operation) {
                unjudged.insert(first);
            }
            if has_forgotten {
                arriving.insert((&operation.collection, id));
            }
        }
        Ok(unjudged)
    }

    /// Whether an operation is on a document of which nothing is known here, and its writer had not seen all that was
    /// forgotten. Deletes too: a write that has seen that one and not the forgotten one would be shown here and hidden
    /// elsewhere.
    fn is_blind(&self, state: &DocumentState, operation: &Operation) -> bool {
        let graves = &self.state.graves;
        !graves.is_empty() && *state == DocumentState::default() && !operation.context.covers_all(graves)
    }

    /// Whether an operation cannot be judged here any more, because of what was forgotten or added up.
    pub(super) fn is_unjudgeable(&self, batch: &Batch<'_>, operation: &Operation) -> Result<bool, StorageError> {
        let is_of_document = operation.kind.is_of_document() == Some(true);
        let Some(id) = operation.document.as_ref().filter(|_| is_of_document) else { return Ok(false) };
        let (mut touched, origins) = (Touched::default(), self.shared.origins.snapshot());
        let state = &touched.load(&batch.tables, &origins, &operation.collection, id)?.state;
        Ok(self.is_blind(state, operation) || is_cut(state, operation))
    }

    /// Operations of a stretch that will be parked when their turn comes, by what is parked and what comes before them.
    fn parked_in_turn(&self, operations: &[(Position, Operation)]) -> BTreeSet<usize> {
        let mut parked = BTreeSet::new();
        let is_poison = |one: &Operation| matches!(one.kind, OperationKind::Unknown { .. });
        if self.state.letters.is_empty() && !operations.iter().any(|(_, one)| is_poison(one)) {
            return parked;
        }
        let mut letters = self.state.letters.clone();
        let mut groups: BTreeMap<OperationId, bool> = BTreeMap::new();
        for (index, (position, operation)) in operations.iter().enumerate() {
            if self.state.vector.covers(&operation.dot) {
                continue;
            }
            let is_held = |one: &Operation| is_poison(one) || letters.before(one, |_| false).is_some();
            let is_parked = match operation.group.map(|group| group.id) {
                None => is_held(operation),
                Some(id) => *groups.entry(id).or_insert_with(|| {
                    let following = operations.iter().skip(index).map(|(_, one)| one);
                    let is_member = |one: &&Operation| one.group.is_some_and(|group| group.id == id);
                    following.take_while(is_member).any(is_held)
                }),
            };
            if is_parked {
                parked.insert(index);
                letters.follow(&park(operation.clone(), *position, Cause::Behind, ""), *position);
            } else {
                letters.follow(operation, *position);
            }
        }
        parked
    }

    /// The first members of transactions of which any member has seen what neither is here nor comes before them in
    /// the batch: a transaction is taken whole or not at all.
    fn unready_groups(&self, operations: &[(Position, Operation)]) -> BTreeSet<usize> {
        let mut unready = BTreeSet::new();
        if operations.iter().all(|(_, operation)| operation.group.is_none()) {
            return unready;
        }
        let mut arriving = Vector::new();
        let mut first = 0;
        for (index, (_, operation)) in operations.iter().enumerate() {
            let Dot { origin, .. } = &operation.dot;
            match operation.group {
                Some(group) if group.index == 0 => first = index,
                Some(_) => {
                    let is_here = |(of, seen): (&Origin, Sequence)| {
                        of == origin || seen <= self.state.vector.get(of).max(arriving.get(of))
                    };
                    if !operation.context.iter().all(is_here) {
                        unready.insert(first);
                    }
                }
                None => {}
            }
            arriving.observe(origin, operation.dot.sequence);
        }
        unready
    }

    /// Applies and logs one operation that was minted elsewhere. Answers whether it met a conflict.
    fn take(
        &mut self,
        batch: &mut Batch<'_>,
        touched: &mut Touched,
        operation: Operation,
    ) -> Result<bool, StorageError> {
        let mut is_conflict = false;
        match (&operation.document, &operation.kind) {
            (Some(id), kind) if !matches!(kind, OperationKind::Unknown { .. }) => {
                let origins = self.shared.origins.snapshot();
                let document = touched.load(&batch.tables, &origins, &operation.collection, id)?;
                is_conflict = document.state.apply(&operation) == holdfast_core::document::Effect::Conflict;
            }
            (None, OperationKind::RegisterCollection) if !self.collections.contains_key(&operation.collection) => {
                self.collections.insert(operation.collection.clone(), CollectionState::default());
                batch.changed_collections.push(operation.collection.clone());
            }
            _ => {}
        }
        self.log(batch, touched, operation);
        Ok(is_conflict)
    }

    /// A stretch that continues what we have of the sender's log moves the checkpoint forward.
    fn note_received(&mut self, source: &NodeName, log_id: u64, after: Position, through: Position, now: Millis) {
        let mut checkpoint = self.checkpoints.get(source).cloned().unwrap_or_default();
        if checkpoint.peer_log_id != log_id {
            checkpoint = Checkpoint { peer_log_id: log_id, ..Checkpoint::default() };
        }
        if after <= checkpoint.pulled && through > checkpoint.pulled {
            checkpoint.pulled = through;
            checkpoint.updated = now;
            self.note_checkpoint(source.clone(), checkpoint);
        }
    }
}

/// Whether an operation takes the place of some of the increments that were added up, and not of all.
fn is_cut(state: &DocumentState, operation: &Operation) -> bool {
    state.tally.as_ref().is_some_and(|tally| tally.is_cut_by(operation))
}

/// How many of the operations can be taken without cutting a transaction at the end.
fn complete_prefix(operations: &[(Position, Operation)]) -> usize {
    let mut complete = 0;
    for (index, (_, operation)) in operations.iter().enumerate() {
        if operation.group.is_none_or(|group| group.index + 1 >= group.count) {
            complete = index + 1;
        }
    }
    complete
}
