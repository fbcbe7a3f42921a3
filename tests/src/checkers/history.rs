//! All that ever happened in a world: every operation that was ever in a log, what operators have knowingly destroyed, and
//! who went on under another name. What a checker needs when logs no longer hold everything.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::chain::Chains;
use holdfast_core::id::OperationId;
use holdfast_core::operation::{Operation, OperationKind};
use holdfast_core::vector::{Origin, Vector};
use holdfast_storage::record::operation::Logged;

use crate::checkers::lineage::{Knowledge, Lineage};

/// A node that went on under another incarnation.
#[derive(Debug, Clone)]
pub struct Rebase {
    /// Which node.
    pub node: usize,
    /// Who it was.
    pub origin: Origin,
    /// What it knew then.
    pub vector: Vector,
}

/// All that ever happened.
#[derive(Debug, Default)]
pub struct History {
    /// Every operation that was ever in a log.
    pub operations: BTreeMap<OperationId, Operation>,
    /// Nodes that went on under another incarnation.
    pub rebases: Vec<Rebase>,
    /// Changes that only a destroyed disk held: they may be lost, and need not be.
    losable: BTreeSet<OperationId>,
    /// Which operation is meant by a dot.
    pub lineage: Lineage,
    /// Origins of which two nodes may have known two branches when no log told them apart any more.
    pub undecided: BTreeSet<Origin>,
    /// What each node knew last.
    known: BTreeMap<usize, Knowledge>,
    /// Which branches the author of an operation knew, where there may be several.
    seen: BTreeMap<OperationId, Chains>,
}

impl History {
    /// Takes note of what came into a node's log, and of a change of its name.
    pub fn take_note(
        &mut self,
        node: usize,
        logged: Vec<Operation>,
        rebased: Option<(Origin, Vector)>,
        chains: &Chains,
    ) {
        for operation in &logged {
            self.lineage.note(operation);
            // Whoever has it first has written it.
            if chains.iter().len() > 0 && !self.operations.contains_key(&operation.id) {
                self.seen.entry(operation.id).or_insert_with(|| chains.clone());
            }
        }
        self.operations.extend(logged.into_iter().map(|operation| (operation.id, operation)));
        self.rebases.extend(rebased.map(|(origin, vector)| Rebase { node, origin, vector }));
    }

    /// Takes note of what a node knows.
    pub fn note_knowledge(&mut self, node: usize, knows: &Vector, chains: &Chains) {
        self.known.insert(node, Knowledge { vector: knows.clone(), chains: chains.clone() });
    }

    /// A node's disk is destroyed, wholly or back to an older state: what nobody else holds may be gone.
    pub fn lose(&mut self, node: usize, acknowledged: &[Logged]) {
        self.known.remove(&node);
        // Also what was never answered and came into a log all the same, as after a failed sync.
        let unanswered = self.operations.values().map(Operation::identity);
        let answered = acknowledged.iter().map(|logged| logged.operation.identity());
        let lost: BTreeSet<OperationId> = answered
            .chain(unanswered)
            .filter(|identity| {
                !self.names(*identity).any(|name| self.known.values().any(|known| self.lineage.is_among(known, name)))
            })
            .collect();
        self.losable.extend(lost);
    }

    /// Whether a change may be lost.
    pub fn is_losable(&self, identity: OperationId) -> bool {
        self.losable.contains(&identity)
    }

    /// Whether an operation shares its dot with another, and two nodes met when no log told any more which was whose. Of
    /// two states that name a dot each, nobody can see then that they mean different operations.
    pub fn is_indistinct(&self, operation: &Operation) -> bool {
        self.undecided.contains(&operation.dot.origin) && self.lineage.is_ambiguous(&operation.dot)
    }

    /// Whether an operation has another in its context.
    pub fn has_seen(&self, by: &Operation, operation: &Operation) -> bool {
        self.lineage.has_seen(by, self.seen.get(&by.id), operation)
    }

    /// Whether anything may be lost.
    pub fn has_losses(&self) -> bool {
        !self.losable.is_empty()
    }

    /// The operation of a change, and those that stand in for it.
    pub fn names(&self, identity: OperationId) -> impl Iterator<Item = &Operation> {
        self.operations.values().filter(move |operation| operation.identity() == identity)
    }
}

/// All operations on a document, a line each, for a failure.
pub fn story<'a>(operations: impl Iterator<Item = &'a Operation>) -> String {
    operations.map(told).collect::<Vec<_>>().join("\n  ")
}

/// One line about an operation.
fn told(operation: &Operation) -> String {
    let what = match &operation.kind {
        OperationKind::Increment(increment) => {
            increment.0.iter().map(|(_, amount)| amount.to_text()).collect::<Vec<_>>().join(", ")
        }
        OperationKind::Put { body, .. } => body.as_str().to_owned(),
        other => other.name().to_owned(),
    };
    let stands_in = operation.replaces.map_or(String::new(), |id| format!(" for {id}"));
    let Operation { dot, id, stamp, context, .. } = operation;
    format!("{dot} {id} at {stamp}{stands_in}: {what}, seen {context:?}")
}
