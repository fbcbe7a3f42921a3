//! What clients of this node ask for: changes become operations of this node's own.

use std::collections::BTreeSet;

use holdfast_core::error::Refusal;
use holdfast_core::id::{CollectionName, MEMBERS_COLLECTION, OperationId};
use holdfast_core::members::FenceReason;
use holdfast_core::operation::{Group, Operation, OperationKind};
use holdfast_core::stamp::Stamp;
use holdfast_core::vector::{Dot, Origin, Vector};

use crate::commit::plan::{Draft, draft};
use crate::commit::touched::Touched;
use crate::commit::{Batch, Moment, Writer};
use crate::error::StorageError;
use crate::request::{Action, Change, Written};

impl Writer {
    /// Writes the changes of one transaction, or none of them.
    #[allow(clippy::type_complexity)]
    pub(super) fn write(
        &mut self,
        batch: &mut Batch<'_>,
        moment: &mut Moment<'_>,
        changes: Vec<Change>,
    ) -> Result<Result<Vec<Written>, (usize, Refusal)>, StorageError> {
        let mut touched = Touched::default();
        // Short of what is parked: that was not seen. Of this node's own, what it wrote again may be parked.
        let mut knows = self.state.seen();
        let mut newest = self.state.vector.get(&self.origin);
        let is_short = knows.get(&self.origin) < newest;
        let mut drafts: Vec<Draft> = Vec::with_capacity(changes.len());
        let origins = self.shared.origins.snapshot();
        for (index, change) in changes.into_iter().enumerate() {
            let document = touched.load(&batch.tables, &origins, &change.collection, &change.id)?;
            // A later operation of one origin on a document cannot stand beside an earlier one: it makes that void.
            for letter in self.state.letters.about(&change.collection, &change.id) {
                if letter.dot.origin == self.origin {
                    document.state.vector.observe(&self.origin, letter.dot.sequence);
                }
            }
            let stamp = self.clock.tick(moment.now);
            let mut mint = || OperationId::new(stamp.millis().0, (moment.random)());
            // What settles a conflict may be a peer's document, however large that is.
            let limit = match change.action {
                Action::Resolve(_) => usize::MAX,
                _ => self.options.document_bytes_max,
            };
            match draft(change, document, &self.origin, newest, stamp, &knows, &mut mint) {
                Ok(draft) if draft.document_bytes() > limit => {
                    let bytes = draft.document_bytes();
                    return Ok(Err((index, Refusal::TooLarge { what: "document", bytes, limit })));
                }
                Ok(draft) => {
                    for operation in &draft.operations {
                        document.state.apply(operation);
                        newest = operation.dot.sequence;
                        if !is_short {
                            knows.observe(&self.origin, newest);
                        }
                    }
                    drafts.push(Draft { version: document.state.version(), ..draft });
                }
                Err(refusal) => return Ok(Err((index, refusal))),
            }
        }
        if let Some(refused) = judge(batch, &touched, &drafts)? {
            return Ok(Err(refused));
        }
        let has_settled = drafts.iter().any(settles);
        let total: usize = drafts.iter().map(|draft| draft.operations.len()).sum();
        let group_id = drafts.first().and_then(|draft| draft.operations.first()).map(|operation| operation.id);
        let mut index = 0;
        let mut written = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let mut operations = Vec::with_capacity(draft.operations.len());
            for mut operation in draft.operations {
                if total > 1 {
                    let count = u32::try_from(total).unwrap_or(u32::MAX);
                    operation.group = group_id.map(|id| Group { id, index, count });
                    index += 1;
                }
                operations.push(self.log(batch, &mut touched, operation));
            }
            let Some(version) = draft.version else { continue };
            written.push(Written { operations, version, existed: draft.existed });
        }
        // What settles a conflict is not judged, and looked at like what comes from peers.
        batch.tables.indexes.is_judged = !has_settled;
        let flushed = self.flush(batch, touched);
        batch.tables.indexes.is_judged = false;
        flushed?;
        Ok(Ok(written))
    }

    /// Makes a collection known, unless it is.
    pub(super) fn register(&mut self, batch: &mut Batch<'_>, moment: &mut Moment<'_>, collection: CollectionName) {
        if self.collections.contains_key(&collection) {
            return;
        }
        let kind = OperationKind::RegisterCollection;
        self.write_beside_documents(batch, moment, collection.clone(), kind, Stamp::default());
        self.collections.entry(collection.clone()).or_default();
        batch.changed_collections.push(collection);
    }

    /// Counts a node in, or out for a reason, unless that is how it stands. Answers whether it was written.
    pub(super) fn count_member(
        &mut self,
        batch: &mut Batch<'_>,
        moment: &mut Moment<'_>,
        member: Origin,
        fence: Option<FenceReason>,
    ) -> bool {
        let known = self.state.members.get(&member);
        // The latest word counts: this one comes after the one that is known, whatever clock that was written by.
        let after = known.map(|membership| membership.stamp).unwrap_or_default();
        let known = known.map(|membership| membership.fenced);
        let Ok(collection) = CollectionName::parse_any(MEMBERS_COLLECTION) else { return false };
        // Who has never been heard of cannot be counted out; who has written here can.
        let is_unknown = known.is_none() && !self.state.vector.iter().any(|(origin, _)| *origin == member);
        if known == Some(fence) || (is_unknown && fence.is_some()) {
            return false;
        }
        let kind = match fence {
            None => OperationKind::JoinMember { member },
            Some(reason) => OperationKind::FenceMember { member, reason },
        };
        self.write_beside_documents(batch, moment, collection, kind, after);
        true
    }

    /// Logs an operation of this node's own that is about no document, with a stamp after this one.
    fn write_beside_documents(
        &mut self,
        batch: &mut Batch<'_>,
        moment: &mut Moment<'_>,
        collection: CollectionName,
        kind: OperationKind,
        after: Stamp,
    ) {
        let stamp = self.clock.tick(moment.now).max(Stamp(after.0.saturating_add(1)));
        let sequence = self.state.vector.get(&self.origin).next();
        let operation = Operation {
            id: OperationId::new(stamp.millis().0, (moment.random)()),
            dot: Dot { origin: self.origin.clone(), sequence },
            stamp,
            collection,
            document: None,
            context: Vector::new(),
            group: None,
            chain: None,
            replaces: None,
            kind,
        };
        self.log(batch, &mut Touched::default(), operation);
    }
}

fn settles(draft: &Draft) -> bool {
    draft.operations.iter().any(|one| matches!(one.kind, OperationKind::Resolve { .. }))
}

/// Judges what a transaction makes of its documents by unique indexes. Gives the first change that is refused.
///
/// A settled conflict is not judged: what stands in it was written before, here or elsewhere, and has to end somehow.
fn judge(batch: &mut Batch<'_>, touched: &Touched, drafts: &[Draft]) -> Result<Option<(usize, Refusal)>, StorageError> {
    if !batch.tables.indexes.has_unique() {
        return Ok(None);
    }
    let of = |draft: &Draft| {
        let first = draft.operations.first()?;
        Some((first.collection.clone(), first.document.clone()?))
    };
    let settled: BTreeSet<_> = drafts.iter().filter(|draft| settles(draft)).filter_map(of).collect();
    let refused = touched.judge(&mut batch.tables, &|key| !settled.contains(key))?;
    Ok(refused.map(|(key, refusal)| {
        (drafts.iter().rposition(|draft| of(draft).as_ref() == Some(&key)).unwrap_or_default(), refusal)
    }))
}
