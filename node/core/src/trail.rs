//! Trails: which branch of each origin was passed, at some of its numbers.
//!
//! ```text
//!   operations of c   1 ─ 2 ─ 3 ─ … ─ 64 ─ … ─ 128 ─ … ─ 250 ─ 251 ─ 252
//!   kept               ·   ·   ·       ×         ×         ×     ×     ×     the newest close together, older far apart
//! ```
//!
//! Two nodes that know an origin to different numbers cannot compare its chains there: that of the lower number is needed
//! from the one that has gone on. Its log may hold the operation there, and finding it costs a walk through all of it; or
//! it was pruned. A trail has the chains of the newest numbers and of some older ones, in a few kilobytes for each origin,
//! and outlives the log. What a node says of its own trail are *stated waymarks*.
//!
//! Must stay true: whatever a trail has of an origin up to the number that is known of it lies on the branch that is known.
//! Beyond that number it may have what was known once and was given up: that is how a number is noticed that comes a second
//! time, for something else.

use std::collections::{BTreeMap, BTreeSet};

use crate::chain::Chain;
use crate::limits::{TRAIL_ORIGINS_MAX, TRAIL_POINTS_MAX, WAYMARKS_STATED_MAX};
use crate::vector::{Dot, Origin, Sequence, Vector};

/// So many of the newest numbers of an origin are all kept.
const RECENT: u64 = 128;
/// The same of what is written to disk.
const RECENT_SAVED: u64 = 16;
/// What is stated of a peer that is far away is rounded down to multiples of these: one of them is on both trails.
const ROUND: [u64; 3] = [1 << 6, 1 << 12, 1 << 16];

/// Chains at numbers of origins.
pub type Stated = BTreeMap<Dot, Chain>;

/// Which branch of each origin was passed, at some of its numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trail(BTreeMap<Origin, Vec<(Sequence, Chain)>>);

impl Trail {
    /// The chain up to and with an operation, if that is kept.
    pub fn at(&self, dot: &Dot) -> Option<Chain> {
        let points = self.0.get(&dot.origin)?;
        let place = points.binary_search_by_key(&dot.sequence, |(sequence, _)| *sequence).ok()?;
        points.get(place).map(|(_, chain)| *chain)
    }

    /// An operation has come in that is the next of its origin: `before` is its chain, `chain` the one with it. Answers
    /// whether its number had meant another operation here.
    pub fn pass(&mut self, dot: &Dot, before: Option<Chain>, chain: Chain) -> bool {
        let Some(points) = self.points_of(&dot.origin) else { return false };
        let place = points.partition_point(|(sequence, _)| *sequence < dot.sequence);
        let last = place.checked_sub(1).and_then(|last| points.get(last));
        let is_apart = |(sequence, passed): &(Sequence, Chain)| {
            sequence.next() == dot.sequence && before.is_some_and(|before| before != *passed)
        };
        if last.is_some_and(is_apart) {
            // What is known of it was known on some other way.
            points.clear();
            points.push((dot.sequence, chain));
            return false;
        }
        let is_second = match points.get(place) {
            Some((sequence, known)) if *sequence == dot.sequence => {
                if *known == chain {
                    return false;
                }
                points.truncate(place);
                true
            }
            _ => false,
        };
        points.insert(place.min(points.len()), (dot.sequence, chain));
        if points.len() > TRAIL_POINTS_MAX {
            thin(points, RECENT);
        }
        is_second
    }

    /// An origin is known up to a number, without the operations up to there. What is kept of it and not proven to lie on
    /// the same branch goes.
    pub fn jump(&mut self, dot: &Dot, chain: Option<Chain>) {
        if chain.is_some() && self.at(dot) == chain {
            return;
        }
        let Some(points) = self.points_of(&dot.origin) else { return };
        points.clear();
        points.extend(chain.map(|chain| (dot.sequence, chain)));
    }

    /// A branch that begins with `fork` was given up.
    pub fn leave(&mut self, fork: &Dot) {
        if let Some(points) = self.0.get_mut(&fork.origin) {
            points.retain(|(sequence, _)| *sequence < fork.sequence);
        }
    }

    /// What is said to a peer that was heard to know `theirs`, by a node that knows `ours`: the chains where both are, or
    /// the next ones before that.
    pub fn stated(&self, ours: &Vector, theirs: &Vector) -> Stated {
        let mut stated = Stated::new();
        for (origin, known) in ours.iter() {
            let mut say = |sequence: Sequence| {
                let dot = Dot { origin: origin.clone(), sequence };
                stated.extend(self.at(&dot).map(|chain| (dot, chain)));
            };
            say(known);
            let meet = known.min(theirs.get(origin));
            if meet == Sequence(0) {
                continue;
            }
            say(meet);
            if known.0.max(theirs.get(origin).0) - meet.0 > RECENT && theirs.get(origin) < Sequence(u64::MAX) {
                let rounded = ROUND.iter().map(|round| Sequence(meet.0 - meet.0 % round));
                rounded.chain([Sequence(coarse(meet.0))]).for_each(say);
            }
        }
        stated
    }

    /// The first thing that a peer has stated and that means something else here, where `ours` is known.
    pub fn parts_from(&self, ours: &Vector, stated: &Stated) -> Option<Dot> {
        let is_other =
            |(dot, chain): &(&Dot, &Chain)| ours.covers(dot) && self.at(dot).is_some_and(|passed| passed != **chain);
        stated.iter().find(is_other).map(|(dot, _)| dot.clone())
    }

    /// The origins of which a peer that has stated this holds another branch than is known here up to `ours`.
    pub fn parted(&self, ours: &Vector, stated: &Stated) -> BTreeSet<Origin> {
        let marks = stated.iter().filter(|(dot, _)| ours.covers(dot));
        let is_other = |(dot, chain): &(&Dot, &Chain)| self.at(dot).is_some_and(|passed| passed != **chain);
        marks.filter(is_other).map(|(dot, _)| dot.origin.clone()).collect()
    }

    /// Up to which number of an origin both are proven to be on one branch.
    pub fn shared_with(&self, stated: &Stated, origin: &Origin) -> Sequence {
        let marks = stated.iter().filter(|(dot, chain)| dot.origin == *origin && self.at(dot) == Some(**chain));
        marks.map(|(dot, _)| dot.sequence).max().unwrap_or(Sequence(0))
    }

    /// Takes in what a peer has passed, up to `theirs`: its branches are known here now.
    pub fn follow(&mut self, theirs: &Vector, stated: &Stated) {
        for (dot, chain) in stated.iter().filter(|(dot, _)| theirs.covers(dot)) {
            let Some(points) = self.points_of(&dot.origin) else { continue };
            match points.binary_search_by_key(&dot.sequence, |(sequence, _)| *sequence) {
                Ok(place) => {
                    if let Some(point) = points.get_mut(place) {
                        point.1 = *chain;
                    }
                }
                Err(place) => points.insert(place, (dot.sequence, *chain)),
            }
            if points.len() > TRAIL_POINTS_MAX {
                thin(points, RECENT);
            }
        }
    }

    /// All that a peer is told which takes this node's states, or looks at them; bounded.
    pub fn told(&self, ours: &Vector) -> Stated {
        let saved = self.saved();
        saved.iter().filter(|(dot, _)| ours.covers(dot)).take(WAYMARKS_STATED_MAX).collect()
    }

    /// What of it goes to the disk.
    #[must_use]
    pub fn saved(&self) -> Self {
        let mut saved = self.clone();
        saved.0.values_mut().for_each(|points| thin(points, RECENT_SAVED));
        saved
    }

    /// All of it, by origin and rising number.
    pub fn iter(&self) -> impl Iterator<Item = (Dot, Chain)> + '_ {
        self.0.iter().flat_map(|(origin, points)| {
            let dot = |sequence| Dot { origin: origin.clone(), sequence };
            points.iter().map(move |(sequence, chain)| (dot(*sequence), *chain))
        })
    }

    fn points_of(&mut self, origin: &Origin) -> Option<&mut Vec<(Sequence, Chain)>> {
        if !self.0.contains_key(origin) {
            if self.0.len() >= TRAIL_ORIGINS_MAX {
                return None;
            }
            self.0.insert(origin.clone(), Vec::new());
        }
        self.0.get_mut(origin)
    }
}

/// Keeps the newest ones, and of the older ones the fewer the older they are: multiples of rising powers of two, and those
/// that every trail has, however far it has gone.
fn thin(points: &mut Vec<(Sequence, Chain)>, recent: u64) {
    let Some((newest, _)) = points.last().copied() else { return };
    points.retain(|(sequence, _)| {
        let behind = newest.0 - sequence.0;
        let step = (behind / (recent / 8)).checked_next_power_of_two().unwrap_or(1 << 63);
        behind < recent || sequence.0.is_multiple_of(step) || coarse(sequence.0) == sequence.0
    });
}

/// A number rounded down to its three highest binary digits.
fn coarse(number: u64) -> u64 {
    let digits = u64::BITS - number.leading_zeros();
    let lost = digits.saturating_sub(3);
    number >> lost << lost
}

impl FromIterator<(Dot, Chain)> for Trail {
    fn from_iter<I: IntoIterator<Item = (Dot, Chain)>>(entries: I) -> Self {
        let mut trail = Self::default();
        for (dot, chain) in entries {
            if let Some(points) = trail.points_of(&dot.origin)
                && points.last().is_none_or(|(last, _)| *last < dot.sequence)
            {
                points.push((dot.sequence, chain));
            }
        }
        trail
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::id::{NodeName, OperationId};

    fn dot(sequence: u64) -> Dot {
        Dot { origin: Origin { node: NodeName::parse("c").unwrap(), incarnation: 7 }, sequence: Sequence(sequence) }
    }

    fn vector(sequence: u64) -> Vector {
        [(dot(1).origin, Sequence(sequence))].into_iter().collect()
    }

    /// A trail that has passed so many operations, of one branch up to `fork` and of another from there.
    fn passed(count: u64, fork: u64) -> Trail {
        let (mut trail, mut before) = (Trail::default(), Chain::START);
        for sequence in 1..=count {
            let id = u128::from(sequence) + if sequence >= fork { 1 << 64 } else { 0 };
            let chain = before.then(OperationId(id));
            assert!(!trail.pass(&dot(sequence), Some(before), chain));
            before = chain;
        }
        trail
    }

    #[test]
    fn branches_show_wherever_two_nodes_stand_and_one_branch_never_does() {
        for (ours, theirs) in [(5, 5), (14, 8), (8, 14), (100_000, 99_950), (300_000, 4_100), (4_100, 300_000), (2, 1)]
        {
            let (here, same) = (passed(ours, u64::MAX), passed(theirs, u64::MAX));
            for known in [vector(theirs), Vector::new()] {
                let stated = here.stated(&vector(ours), &known);
                assert_eq!(same.parts_from(&vector(theirs), &stated), None, "{ours} {theirs}");
            }
            let other = passed(theirs, 1);
            let stated = here.stated(&vector(ours), &vector(theirs));
            let back = other.stated(&vector(theirs), &vector(ours));
            assert!(other.parts_from(&vector(theirs), &stated).is_some(), "{ours} {theirs}: {stated:?}");
            assert!(here.parts_from(&vector(ours), &back).is_some(), "{ours} {theirs}: {back:?}");
        }
    }

    #[test]
    fn a_trail_stays_small_and_survives_the_disk() {
        let trail = passed(300_000, u64::MAX);
        assert!(trail.iter().count() <= TRAIL_POINTS_MAX);
        let saved = trail.saved();
        assert!(saved.iter().count() < 200, "{}", saved.iter().count());
        assert_eq!(saved.iter().collect::<Trail>(), saved);
        assert!(saved.iter().all(|(dot, chain)| trail.at(&dot) == Some(chain)));
    }

    #[test]
    fn a_number_that_comes_a_second_time_for_something_else_is_noticed_once() {
        let (mut trail, other) = (passed(12, u64::MAX), passed(12, 9));
        let mut noticed = Vec::new();
        for sequence in 9..=12 {
            let (before, chain) = (other.at(&dot(sequence - 1)), other.at(&dot(sequence)).unwrap());
            noticed.extend(trail.pass(&dot(sequence), before, chain).then_some(sequence));
        }
        assert_eq!((noticed, &trail), (vec![9], &other));
        // With a peer's states comes where it has passed; what differs from it is told apart wherever both have a mark.
        let (mut new, told) = (Trail::default(), other.told(&vector(11)));
        new.jump(&dot(11), other.at(&dot(11)));
        new.follow(&vector(11), &told);
        assert_eq!((new.at(&dot(10)), new.at(&dot(12))), (other.at(&dot(10)), None));
        let here = passed(12, u64::MAX);
        assert_eq!(new.parted(&vector(11), &here.told(&vector(12))).len(), 1);
        assert_eq!(new.shared_with(&here.told(&vector(12)), &dot(1).origin), Sequence(8));
        // What is known without its operations proves itself, or what was kept goes.
        trail.jump(&dot(12), other.at(&dot(12)));
        assert_eq!(trail, other);
        trail.jump(&dot(20), Some(Chain(1)));
        assert_eq!(trail.iter().collect::<Vec<_>>(), [(dot(20), Chain(1))]);
        trail.jump(&dot(30), None);
        assert_eq!(trail.iter().count(), 0);
    }
}
