//! Waymarks: which operation of an origin is meant here, kept from where branches of it were found to part.
//!
//! ```text
//!   two branches of c part at c:5 ─► this node gives way and takes the peer's states: its log begins after c:9
//!     ─► somebody who holds c up to 5 asks which c:5 is meant here ─► the waymark tells, where the log does not
//! ```
//!
//! A node that gives way has a log that says nothing any more of where it did, and nor have those that take its states after
//! it. To them, others of the given-up branch look like nodes that are merely behind, and the numbers that those have seen
//! would be taken for the operations of the branch that stays. One waymark for each place where a branch was given up is
//! enough to tell them apart.
//!
//! Must stay true: what a waymark says is of the branch that is known here; of an origin that gives way once more, those of
//! the branch that it leaves go. Bounded: the oldest go first.

use crate::limits::WAYMARKS_MAX;
use crate::sync::branches::Told;
use crate::vector::{Dot, Origin, Sequence};

/// What is remembered of where branches parted, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waymarks(Vec<(Dot, Told)>);

impl Waymarks {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A branch that begins with `fork` was given up: what is remembered of it is of no use any more.
    pub fn leave(&mut self, fork: &Dot) {
        self.0.retain(|(known, _)| known.origin != fork.origin || known.sequence < fork.sequence);
    }

    /// Remembers the operation that a dot means from now on. What was remembered of the branch that it does not belong to
    /// is forgotten.
    pub fn keep(&mut self, dot: Dot, told: Told) {
        self.leave(&dot);
        self.0.push((dot, told));
        if self.0.len() > WAYMARKS_MAX {
            self.0.remove(0);
        }
    }

    /// Those of an origin.
    pub fn of<'a>(&'a self, origin: &'a Origin) -> impl Iterator<Item = (Sequence, Told)> + 'a {
        self.iter().filter(move |(dot, _)| dot.origin == *origin).map(|(dot, told)| (dot.sequence, *told))
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &(Dot, Told)> {
        self.0.iter()
    }
}

impl FromIterator<(Dot, Told)> for Waymarks {
    fn from_iter<I: IntoIterator<Item = (Dot, Told)>>(entries: I) -> Self {
        let mut waymarks = Self::default();
        for (dot, told) in entries {
            waymarks.keep(dot, told);
        }
        waymarks
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::id::{NodeName, OperationId};

    fn told(id: u128) -> Told {
        Told { id: OperationId(id), before: None }
    }

    #[test]
    fn of_an_origin_that_gives_way_again_nothing_of_the_branch_that_it_leaves_stays() {
        let origin = |name: &str| Origin { node: NodeName::parse(name).unwrap(), incarnation: 7 };
        let at = |name: &str, sequence| Dot { origin: origin(name), sequence: Sequence(sequence) };
        let mut waymarks: Waymarks =
            [(at("c", 3), told(1)), (at("d", 9), told(2)), (at("c", 8), told(3))].into_iter().collect();
        waymarks.keep(at("c", 5), told(4));
        let of_c: Vec<_> = waymarks.of(&origin("c")).collect();
        assert_eq!(of_c, [(Sequence(3), told(1)), (Sequence(5), told(4))]);
        for sequence in 10..=WAYMARKS_MAX as u64 + 10 {
            waymarks.keep(at("e", sequence), told(5));
        }
        assert_eq!(waymarks.iter().len(), WAYMARKS_MAX);
        assert_eq!(waymarks.of(&origin("c")).count(), 0, "the oldest go first");
    }
}
