//! Chains: one number that stands for all operations of an origin, in their order.
//!
//! A node restored from an old backup that goes on writing, or a copy of it, gives out sequences a second
//! time: two branches under one origin. Vectors alone cannot tell them apart. So each origin's operations are
//! hashed one onto the other, and every operation carries the hash of those before it: whoever holds another
//! branch sees that it does not fit.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::id::OperationId;
use crate::vector::Origin;

/// The running hash over an origin's operations up to one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Chain(pub u64);

impl Chain {
    /// Before an origin's first operation.
    pub const START: Self = Self(0);

    /// With one more operation.
    #[must_use]
    pub fn then(self, id: OperationId) -> Self {
        let mut bytes = [0; 24];
        let (head, tail) = bytes.split_at_mut(8);
        head.copy_from_slice(&self.0.to_le_bytes());
        tail.copy_from_slice(&id.0.to_le_bytes());
        Self(xxh3_64(&bytes))
    }
}

/// The chain of each origin up to its newest operation known here. Unknown where operations came from a node that
/// did not keep chains.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chains(BTreeMap<Origin, Chain>);

impl Chains {
    /// Knows none.
    pub fn new() -> Self {
        Self::default()
    }

    /// The chain up to the newest known operation of an origin.
    pub fn get(&self, origin: &Origin) -> Option<Chain> {
        self.0.get(origin).copied()
    }

    /// Notes an origin's chain.
    pub fn set(&mut self, origin: &Origin, chain: Chain) {
        match self.0.get_mut(origin) {
            Some(known) => *known = chain,
            None => {
                self.0.insert(origin.clone(), chain);
            }
        }
    }

    /// Forgets an origin's chain: what is known of the origin has grown without its operations.
    pub fn forget(&mut self, origin: &Origin) {
        self.0.remove(origin);
    }

    /// Whether an operation with this chain before it continues what is known of its origin.
    pub fn fits(&self, origin: &Origin, before: Option<Chain>) -> bool {
        match (self.get(origin), before) {
            (Some(known), Some(before)) => known == before,
            // A first operation has nothing before it; else one of the two does not know.
            _ => true,
        }
    }

    /// Takes an operation in that comes next at its origin.
    pub fn follow(&mut self, origin: &Origin, before: Option<Chain>, id: OperationId) {
        if let Some(before) = before.or_else(|| self.get(origin)) {
            self.set(origin, before.then(id));
        }
    }

    /// Each origin with its chain.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Origin, Chain)> {
        self.0.iter().map(|(origin, chain)| (origin, *chain))
    }
}

impl FromIterator<(Origin, Chain)> for Chains {
    fn from_iter<I: IntoIterator<Item = (Origin, Chain)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::id::NodeName;

    #[test]
    fn two_branches_of_one_origin_do_not_fit_each_other() {
        let origin = Origin { node: NodeName::parse("a").unwrap(), incarnation: 1 };
        let (mut left, mut right) = (Chains::new(), Chains::new());
        for chains in [&mut left, &mut right] {
            chains.follow(&origin, Some(Chain::START), OperationId(1));
        }
        assert_eq!(left, right);
        let before = left.get(&origin);
        assert!(right.fits(&origin, before));
        left.follow(&origin, before, OperationId(2));
        right.follow(&origin, before, OperationId(3));
        assert!(!right.fits(&origin, left.get(&origin)));
        assert!(right.fits(&origin, None), "a node that keeps no chains says nothing against it");
    }
}
