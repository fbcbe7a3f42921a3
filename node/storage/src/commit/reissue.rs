//! Writing again what this node holds and a peer, whose states it has taken, does not.
//!
//! Under their own dots these operations would be taken for known, or for another branch. So each is written again as
//! an operation of this node's present incarnation that names the one it stands in for: however many nodes write it
//! again, it counts once. An increment that the peer knows already, under whatever number, is not written again. Its stamp stays, so that an old write does not win over a newer one; its context stays as far
//! as it means anything here.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::document::DocumentState;
use holdfast_core::id::{CollectionName, DocumentId, OperationId};
use holdfast_core::json::JsonText;
use holdfast_core::operation::{Group, Operation, OperationKind};
use holdfast_core::stamp::Stamp;
use holdfast_core::sync::poison::{Cause, Parked, park};
use holdfast_core::vector::{Dot, Origin, Sequence, Vector};

use crate::commit::touched::Touched;
use crate::commit::{Batch, CommitError, Moment, Writer};
use crate::error::StorageError;

/// An operation that is written again.
#[derive(Debug)]
pub struct Surplus {
    /// The operation.
    pub operation: Operation,
    /// What is left here of its document, shown or beside a delete; `None` when nothing is, or there is no document.
    pub shown: Option<JsonText>,
}

/// A delete that nobody remembers, and that is to hold.
#[derive(Debug)]
pub struct Deletion {
    /// Of which collection.
    pub collection: CollectionName,
    /// The document.
    pub document: DocumentId,
    /// What it had seen of it.
    pub context: Vector,
    /// When it was, at the earliest.
    pub stamp: Stamp,
}

/// What a run of reissues has to remember from batch to batch.
#[derive(Debug, Default)]
pub struct Reissue {
    /// The first operation of another branch of its origin: contexts mean the peer's branch only before it.
    branches: Vec<Dot>,
    /// New dots by old ones, per document.
    renamed: BTreeMap<(CollectionName, DocumentId), Vec<(Dot, Dot)>>,
    /// Documents that the peer knows nothing of: what was shown of them is written once, and that is all.
    revived: BTreeSet<(CollectionName, DocumentId)>,
    /// Operations that were written.
    pub written: u64,
}

impl Reissue {
    /// A run; `branches` are the first operations that differ from the peer's of the same origin.
    pub fn new(branches: Vec<Dot>) -> Self {
        Self { branches, ..Self::default() }
    }

    /// A context, short of the branches that are not the peer's.
    fn capped(&self, context: &Vector) -> Vector {
        let cap = |origin: &Origin, sequence: Sequence| {
            let fork = self.branches.iter().find(|dot| dot.origin == *origin);
            fork.map_or(sequence, |dot| sequence.min(Sequence(dot.sequence.0.saturating_sub(1))))
        };
        context.iter().map(|(origin, sequence)| (origin.clone(), cap(origin, sequence))).collect()
    }

    /// The context of an operation as it holds here.
    fn context(&self, operation: &Operation, key: &(CollectionName, DocumentId), known: &Vector) -> Vector {
        let mut context = self.capped(&operation.context).meet(known);
        for (old, new) in self.renamed.get(key).into_iter().flatten() {
            if operation.context.covers(old) {
                context.observe(&new.origin, new.sequence);
            }
        }
        context
    }
}

impl Writer {
    /// Writes operations again as this node's own. What was one transaction is one again, as far as it is written.
    pub fn reissue(
        &mut self,
        moment: &mut Moment<'_>,
        run: &mut Reissue,
        surplus: Vec<Surplus>,
    ) -> Result<(), CommitError> {
        if self.has_stopped {
            return Err(CommitError::NotWritten(StorageError::Stopped));
        }
        let result = self.commit_filled(moment, |writer, batch, moment| {
            let mut touched = Touched::default();
            let mut surplus = surplus.into_iter().peekable();
            while let Some(first) = surplus.next() {
                let group = first.operation.group.map(|group| group.id);
                let is_of_group = |one: &Surplus| group.is_some() && one.operation.group.map(|group| group.id) == group;
                let mut together = vec![first];
                while let Some(next) = surplus.next_if(is_of_group) {
                    together.push(next);
                }
                writer.reissue_together(batch, &mut touched, moment, run, together)?;
            }
            writer.flush(batch, touched)
        });
        self.has_stopped = self.has_stopped || result.is_err();
        result
    }

    /// Writes deletes that were forgotten here anew, as this node's own.
    pub fn delete_again(&mut self, moment: &mut Moment<'_>, deletions: Vec<Deletion>) -> Result<(), CommitError> {
        if self.has_stopped {
            return Err(CommitError::NotWritten(StorageError::Stopped));
        }
        let result = self.commit_filled(moment, |writer, batch, moment| {
            let mut touched = Touched::default();
            let origins = writer.shared.origins.snapshot();
            for Deletion { collection, document, context, stamp } in deletions {
                touched.load(&batch.tables, &origins, &collection, &document)?;
                let sequence = writer.state.vector.get(&writer.origin).next();
                let operation = Operation {
                    id: OperationId::new(moment.now.0, (moment.random)()),
                    dot: Dot { origin: writer.origin.clone(), sequence },
                    stamp,
                    collection,
                    document: Some(document),
                    context,
                    group: None,
                    chain: writer.chain_before(sequence),
                    replaces: None,
                    kind: OperationKind::Delete,
                };
                writer.clock.observe(moment.now, stamp);
                apply(&mut touched, &operation);
                writer.log(batch, &mut touched, operation);
            }
            writer.flush(batch, touched)
        });
        self.has_stopped = self.has_stopped || result.is_err();
        result
    }

    /// Writes the operations of one transaction again, or a single one.
    fn reissue_together(
        &mut self,
        batch: &mut Batch<'_>,
        touched: &mut Touched,
        moment: &mut Moment<'_>,
        run: &mut Reissue,
        together: Vec<Surplus>,
    ) -> Result<(), StorageError> {
        let mut together = judged_again(together);
        let is_held = self.hold_back(batch, touched, run, &mut together)?;
        let mut written: Vec<Operation> = Vec::with_capacity(together.len());
        for one in together {
            if one.operation.kind == OperationKind::RegisterCollection && written.is_empty() {
                self.register(batch, moment, one.operation.collection);
                continue;
            }
            let here = if is_held {
                let context = one.operation.context.clone();
                Some(Here { operation: one.operation, context, is_beside_delete: false })
            } else {
                self.as_it_holds_here(batch, touched, run, one)?
            };
            let Some(Here { operation, context, is_beside_delete }) = here else { continue };
            self.clock.observe(moment.now, operation.stamp);
            if is_beside_delete {
                let delete = Operation { kind: OperationKind::Delete, ..operation.clone() };
                let delete = self.stand_in(moment, written.len(), delete, context.clone(), None);
                apply(touched, &delete);
                written.push(delete);
            }
            let replaced = Some(operation.identity());
            let old = operation.dot.clone();
            let stand_in = self.stand_in(moment, written.len(), operation, context, replaced);
            apply(touched, &stand_in);
            if let Some(id) = &stand_in.document {
                let key = (stand_in.collection.clone(), id.clone());
                run.renamed.entry(key).or_default().push((old, stand_in.dot.clone()));
            }
            written.push(stand_in);
        }
        run.written += written.len() as u64;
        let group = written.first().filter(|_| written.len() > 1).map(|first| first.id);
        let count = u32::try_from(written.len()).unwrap_or(u32::MAX);
        for (index, mut operation) in (0..).zip(written) {
            operation.group = group.map(|id| Group { id, index, count });
            operation.chain = self.chain_before(operation.dot.sequence);
            if let Some(parked) = Parked::of(&operation.kind) {
                operation.kind = parked.under_the_name_of(&operation).unwrap_or(parked).to_kind();
            }
            self.log(batch, touched, operation);
        }
        Ok(())
    }

    /// An operation as this node's own, `ahead` after its newest.
    fn stand_in(
        &self,
        moment: &mut Moment<'_>,
        ahead: usize,
        operation: Operation,
        context: Vector,
        replaces: Option<OperationId>,
    ) -> Operation {
        let sequence = Sequence(self.state.vector.get(&self.origin).0.saturating_add(ahead as u64 + 1));
        Operation {
            id: OperationId::new(moment.now.0, (moment.random)()),
            dot: Dot { origin: self.origin.clone(), sequence },
            context,
            group: None,
            chain: None,
            replaces,
            ..operation
        }
    }

    /// Parks operations that must wait behind another on their document, as they will be parked wherever they come to:
    /// all of a transaction or none. Answers whether they are.
    fn hold_back(
        &self,
        batch: &Batch<'_>,
        touched: &mut Touched,
        run: &Reissue,
        together: &mut [Surplus],
    ) -> Result<bool, StorageError> {
        if self.state.letters.is_empty() {
            return Ok(false);
        }
        let mut here = Vec::with_capacity(together.len());
        for Surplus { operation, .. } in together.iter() {
            let context = self.context_here(batch, touched, run, operation)?;
            // Whatever dot it gets, it comes after all that this node has written.
            let dot = Dot { origin: self.origin.clone(), sequence: Sequence(u64::MAX) };
            let context = context.unwrap_or_else(|| run.capped(&operation.context).meet(&self.state.vector));
            here.push(Operation { context, dot, ..operation.clone() });
        }
        let behind = |operation: &Operation| self.state.letters.before(operation, |_| false);
        if here.iter().all(|operation| behind(operation).is_none()) {
            return Ok(false);
        }
        for (one, here) in together.iter_mut().zip(here) {
            let (cause, reason) = match behind(&here) {
                Some(letter) => (Cause::Behind, format!("Operation {} on the same document is parked.", letter.dot)),
                None => (Cause::Transaction, "Another operation of its transaction is parked.".to_owned()),
            };
            let here = Operation { dot: one.operation.dot.clone(), ..here };
            one.operation = park(here, self.state.position.next(), cause, reason);
        }
        Ok(true)
    }

    /// What an operation on a document has seen of what is known here; `None` for any other.
    fn context_here(
        &self,
        batch: &Batch<'_>,
        touched: &mut Touched,
        run: &Reissue,
        operation: &Operation,
    ) -> Result<Option<Vector>, StorageError> {
        let Some(id) = operation.document.clone().filter(|_| operation.kind.is_of_document() == Some(true)) else {
            return Ok(None);
        };
        let key = (operation.collection.clone(), id);
        let origins = self.shared.origins.snapshot();
        let is_nothing = touched.load(&batch.tables, &origins, &key.0, &key.1)?.state == DocumentState::default();
        // Nothing is known of it there: it never was, or it was deleted and every member has forgotten it. Either way
        // what this node shows of it is written as new, in the knowledge of everything but what is parked.
        let context = || run.context(operation, &key, &self.state.vector);
        Ok(Some(if is_nothing { self.state.seen() } else { context() }))
    }

    /// An operation as it is written here, and what it has seen; `None` if it is not.
    fn as_it_holds_here(
        &self,
        batch: &Batch<'_>,
        touched: &mut Touched,
        run: &mut Reissue,
        surplus: Surplus,
    ) -> Result<Option<Here>, StorageError> {
        let Surplus { operation, shown } = surplus;
        let Some(context) = self.context_here(batch, touched, run, &operation)? else {
            // Who is a member is the peer's to say.
            let is_parked = matches!(operation.kind, OperationKind::Unknown { .. });
            let context = match &operation.document {
                Some(id) => run.context(&operation, &(operation.collection.clone(), id.clone()), &self.state.vector),
                None => run.capped(&operation.context).meet(&self.state.vector),
            };
            return Ok(is_parked.then_some(Here { operation, context, is_beside_delete: false }));
        };
        let Some(id) = operation.document.clone() else { return Ok(None) };
        let key = (operation.collection.clone(), id);
        let origins = self.shared.origins.snapshot();
        let is_nothing = touched.load(&batch.tables, &origins, &key.0, &key.1)?.state == DocumentState::default();
        if run.revived.contains(&key) {
            return Ok(None);
        }
        if !is_nothing {
            let state = &touched.load(&batch.tables, &origins, &key.0, &key.1)?.state;
            return Ok(beside(state, operation, context, run.renamed.entry(key).or_default()));
        }
        let Some(shown) = shown else {
            if matches!(operation.kind, OperationKind::Increment(_)) {
                // It was counted beside a delete that the peer has forgotten: both are written again, so that somebody
                // judges it.
                return Ok(Some(Here { operation, context, is_beside_delete: true }));
            }
            run.revived.insert(key);
            return Ok(None);
        };
        let body = match operation.kind {
            // The write that it begins with is ours: what follows it stands beside it as it did, so that increments
            // still add up with those of others.
            OperationKind::Put { body, .. } | OperationKind::Patch { body, .. } => body,
            _ => {
                run.revived.insert(key);
                shown
            }
        };
        let kind = OperationKind::Put { body, created: true };
        Ok(Some(Here { operation: Operation { kind, ..operation }, context, is_beside_delete: false }))
    }
}

/// An operation as it is written here.
struct Here {
    operation: Operation,
    context: Vector,
    /// A delete is written before it that it has not seen.
    is_beside_delete: bool,
}

/// An operation beside what is known of its document here; none for an increment that is known. What follows it here and has
/// seen it has then seen that.
fn beside(
    state: &DocumentState,
    operation: Operation,
    mut context: Vector,
    renamed: &mut Vec<(Dot, Dot)>,
) -> Option<Here> {
    if matches!(operation.kind, OperationKind::Increment(_)) {
        let before = renamed.len();
        renamed.extend(state.known_as(operation.identity()).map(|dot| (operation.dot.clone(), dot.clone())));
        if renamed.len() > before {
            return None;
        }
        // Whoever still remembers that it was counted learns from this that nothing here said so.
        context.merge(&state.vector);
    }
    Some(Here { operation, context, is_beside_delete: false })
}

fn apply(touched: &mut Touched, operation: &Operation) {
    if let Some(id) = &operation.document {
        touched.apply(operation, id);
    }
}

/// What was parked only because of what it came with or behind is judged anew, transaction by transaction: what was in
/// its way may not be here.
fn judged_again(together: Vec<Surplus>) -> Vec<Surplus> {
    let is_parked = |one: &Surplus| matches!(one.operation.kind, OperationKind::Unknown { .. });
    if !together.iter().any(is_parked) {
        return together;
    }
    let mut meant = Vec::with_capacity(together.len());
    for one in &together {
        let parked = Parked::of(&one.operation.kind).filter(|parked| parked.cause != Cause::ImpossibleContext);
        let Some(Ok(operation)) = parked.map(|parked| parked.judge(&one.operation)) else { return together };
        // Nothing of it is shown while it is parked.
        let shown = match &operation.kind {
            OperationKind::Put { body, .. } | OperationKind::Patch { body, .. } => Some(body.clone()),
            _ => one.shown.clone(),
        };
        meant.push(Surplus { operation, shown });
    }
    meant
}
