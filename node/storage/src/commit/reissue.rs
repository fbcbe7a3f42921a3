//! Writing again what this node holds and a peer, whose states it has taken, does not.
//!
//! Under their own dots these operations would be taken for known, or for another branch. So each is written again as
//! an operation of this node's present incarnation that names the one it stands in for: however many nodes write it
//! again, it counts once. Its stamp stays, so that an old write does not win over a newer one; its context stays as far
//! as it means anything here.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::document::DocumentState;
use holdfast_core::id::{CollectionName, DocumentId, OperationId};
use holdfast_core::json::JsonText;
use holdfast_core::operation::{Operation, OperationKind};
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

    /// The context of an operation as it holds here.
    fn context(&self, operation: &Operation, key: &(CollectionName, DocumentId), known: &Vector) -> Vector {
        let cap = |origin: &Origin, sequence: Sequence| {
            let fork = self.branches.iter().find(|dot| dot.origin == *origin);
            fork.map_or(sequence, |dot| sequence.min(Sequence(dot.sequence.0.saturating_sub(1))))
        };
        let capped: Vector =
            operation.context.iter().map(|(origin, sequence)| (origin.clone(), cap(origin, sequence))).collect();
        let mut context = capped.meet(known);
        for (old, new) in self.renamed.get(key).into_iter().flatten() {
            if operation.context.covers(old) {
                context.observe(&new.origin, new.sequence);
            }
        }
        context
    }
}

impl Writer {
    /// Writes operations again as this node's own.
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
            for one in surplus {
                writer.reissue_one(batch, &mut touched, moment, run, one)?;
            }
            writer.flush(batch, touched)
        });
        self.has_stopped = self.has_stopped || result.is_err();
        result
    }

    fn reissue_one(
        &mut self,
        batch: &mut Batch<'_>,
        touched: &mut Touched,
        moment: &mut Moment<'_>,
        run: &mut Reissue,
        surplus: Surplus,
    ) -> Result<(), StorageError> {
        let Surplus { operation, shown } = surplus;
        let Some(id) = operation.document.clone().filter(|_| operation.kind.is_of_document() == Some(true)) else {
            match operation.kind {
                OperationKind::RegisterCollection => self.register(batch, moment, operation.collection),
                OperationKind::Unknown { .. } => {
                    let context = operation.context.meet(&self.state.vector);
                    self.write_again(batch, touched, moment, operation, context);
                    run.written += 1;
                }
                // Who is a member is the peer's to say.
                _ => {}
            }
            return Ok(());
        };
        let key = (operation.collection.clone(), id);
        let origins = self.shared.origins.snapshot();
        let is_nothing = touched.load(&batch.tables, &origins, &key.0, &key.1)?.state == DocumentState::default();
        if run.revived.contains(&key) {
            return Ok(());
        }
        let (operation, context) = if is_nothing {
            // Nothing is known of it there: it never was, or it was deleted and every member has forgotten it. Either
            // way what this node shows of it is written as new, in the knowledge of everything.
            let Some(shown) = shown else {
                run.revived.insert(key.clone());
                return Ok(());
            };
            let body = match operation.kind {
                // The write that it begins with is ours: what follows it stands beside it as it did, so that increments
                // still add up with those of others.
                OperationKind::Put { body, .. } | OperationKind::Patch { body, .. } => body,
                _ => {
                    run.revived.insert(key.clone());
                    shown
                }
            };
            let kind = OperationKind::Put { body, created: true };
            (Operation { kind, ..operation }, self.state.vector.clone())
        } else {
            let context = run.context(&operation, &key, &self.state.vector);
            (operation, context)
        };
        let old = operation.dot.clone();
        let new = self.write_again(batch, touched, moment, operation, context);
        run.renamed.entry(key).or_default().push((old, new));
        run.written += 1;
        Ok(())
    }

    /// Logs and applies a stand-in. Gives its dot.
    fn write_again(
        &mut self,
        batch: &mut Batch<'_>,
        touched: &mut Touched,
        moment: &mut Moment<'_>,
        original: Operation,
        context: Vector,
    ) -> Dot {
        self.clock.observe(moment.now, original.stamp);
        let dot = Dot { origin: self.origin.clone(), sequence: self.state.vector.get(&self.origin).next() };
        let operation = Operation {
            id: OperationId::new(moment.now.0, (moment.random)()),
            dot: dot.clone(),
            context,
            group: None,
            chain: None,
            replaces: Some(original.identity()),
            ..original
        };
        if let Some(id) = &operation.document {
            touched.apply(&operation, id);
        }
        self.log(batch, touched, operation);
        dot
    }
}
