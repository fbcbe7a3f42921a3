//! Which operation a node means by a dot, where an origin may have two branches: as after a node was copied, or set back to
//! an earlier time without knowing it.
//!
//! A vector says how many operations of an origin are known, and the origin's chain which ones. Walking back from a
//! chain through all that was ever logged, each dot of a branch is one operation.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::chain::Chains;
use holdfast_core::id::OperationId;
use holdfast_core::operation::Operation;
use holdfast_core::vector::{Dot, Origin, Vector};

/// What somebody knew at a moment.
#[derive(Debug, Clone, Default)]
pub struct Knowledge {
    /// How much of each origin.
    pub vector: Vector,
    /// Which branch of it.
    pub chains: Chains,
}

/// All operations that ever were, by their place in the branches of their origins.
#[derive(Debug, Default)]
pub struct Lineage {
    /// The operation that each chain ends with: its number, its id, and the chain before it.
    ends: BTreeMap<(Origin, u64), (Dot, OperationId, Option<u64>)>,
    ids: BTreeMap<Dot, OperationId>,
    /// Dots that name more than one operation.
    ambiguous: BTreeSet<Dot>,
}

impl Lineage {
    /// Takes note of an operation.
    pub fn note(&mut self, operation: &Operation) {
        let Operation { dot, id, chain, .. } = operation;
        let known = self.ids.entry(dot.clone()).or_insert(*id);
        if known != id {
            self.ambiguous.insert(dot.clone());
        }
        if let Some(before) = chain {
            let end = (dot.origin.clone(), before.then(*id).0);
            self.ends.insert(end, (dot.clone(), *id, Some(before.0)));
        }
    }

    /// Whether there is any origin with two branches.
    pub fn is_branched(&self) -> bool {
        !self.ambiguous.is_empty()
    }

    /// Whether a dot names more than one operation.
    pub fn is_ambiguous(&self, dot: &Dot) -> bool {
        self.ambiguous.contains(dot)
    }

    /// Whether an operation is among what somebody knew.
    pub fn is_among(&self, known: &Knowledge, operation: &Operation) -> bool {
        known.vector.covers(&operation.dot) && self.is_meant(&known.chains, operation)
    }

    /// Whether an operation had another in its context; `seen` is what its author knew when it wrote it.
    pub fn has_seen(&self, by: &Operation, seen: Option<&Chains>, operation: &Operation) -> bool {
        by.context.covers(&operation.dot) && seen.is_none_or(|chains| self.is_meant(chains, operation))
    }

    /// Whether an operation is the one of its dot in the branch that a chain ends.
    fn is_meant(&self, chains: &Chains, operation: &Operation) -> bool {
        let Operation { dot, id, .. } = operation;
        if !self.ambiguous.contains(dot) {
            return true;
        }
        // Where a chain was lost sight of, which branch it is cannot be said.
        let Some(chain) = chains.get(&dot.origin) else { return true };
        let mut chain = chain.0;
        while let Some((at, found, before)) = self.ends.get(&(dot.origin.clone(), chain)) {
            if at.sequence <= dot.sequence {
                return at == dot && found == id;
            }
            let Some(before) = before else { break };
            chain = *before;
        }
        true
    }
}
