//! May these two exchange operations, or must one of them take the other's states first?
//!
//! Operations are enough while both logs reach back far enough and nothing was forgotten that the other side might
//! not have seen. Else:
//!
//! | what is the case | what is done |
//! |---|---|
//! | the peer's log no longer holds what we lack | *merge*: its states, and all that we have beside them |
//! | the peer removed tombstones that we have not seen, and we hold what it lacks | *rebase* |
//! | the peer no longer counts us as a member, and we hold what it lacks | *rebase* |
//! | the peer knows more of our own origin than we do, or another branch of it | *rebase* |
//!
//! A rebase takes the peer's states in place of ours, and what we hold beyond them is written again under a new
//! incarnation: visibly, with nothing lost, and with contexts that cannot bring back what was deleted.
//!
//! Only the node itself may decide that it must rebase, on its own newest vector: what a peer heard of us is older than
//! what we know, and would look like a restored backup.

use crate::members::{FenceReason, Members};
use crate::vector::{Origin, Vector};

/// One side, as it knows itself or has said of itself.
#[derive(Debug, Clone)]
pub struct Side<'a> {
    /// Who it is.
    pub origin: &'a Origin,
    /// What it knows.
    pub vector: &'a Vector,
    /// Below this it may have removed tombstones.
    pub graves: &'a Vector,
    /// Its log holds every operation above this.
    pub floor: &'a Vector,
}

/// What the serving side answers to whoever wants to exchange operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Go on.
    Welcome,
    /// Our log does not reach back: take our states.
    NeedsStates,
    /// It must look at our states and see whether it has to rebase.
    MustRebase,
    /// We must rebase on it first; it shall come again later.
    WeMustRebase,
    /// Another node goes on under its name.
    NameTaken,
}

/// Judges whoever comes. `theirs` may be older than what is true by now: that delays, and harms nothing.
pub fn admit(ours: &Side<'_>, members: &Members, theirs: &Side<'_>) -> Admission {
    let fenced = members.get(theirs.origin).and_then(|membership| membership.fenced);
    if fenced == Some(FenceReason::Retired) {
        return Admission::NameTaken;
    }
    let has_surplus = !ours.vector.covers_all(theirs.vector);
    let is_endangered = fenced.is_some() || !theirs.vector.covers_all(ours.graves);
    if has_surplus && is_endangered {
        let are_we = !theirs.vector.covers_all(ours.vector) && !ours.vector.covers_all(theirs.graves);
        return if are_we && theirs.origin < ours.origin { Admission::WeMustRebase } else { Admission::MustRebase };
    }
    if theirs.vector.covers_all(ours.floor) { Admission::Welcome } else { Admission::NeedsStates }
}

/// How a node takes a peer's states in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// Nothing is to be done: what looked like it has passed.
    Unneeded,
    /// The states, and all that we have beside them, under its own name.
    Merge,
    /// The states in place of ours; what we have beside them is written again.
    Rebase,
}

/// Decides on our own newest knowledge what `theirs`, read just now, asks of us. `members` are the peer's.
pub fn transfer(ours: &Side<'_>, members: &Members, theirs: &Side<'_>, is_branched: bool) -> Transfer {
    let fenced = members.get(ours.origin).is_some_and(|membership| membership.fenced.is_some());
    let has_surplus = !theirs.vector.covers_all(ours.vector);
    let is_behind_itself = theirs.vector.get(ours.origin) > ours.vector.get(ours.origin);
    let is_endangered = fenced || !ours.vector.covers_all(theirs.graves);
    if is_branched || is_behind_itself || (has_surplus && is_endangered) {
        return Transfer::Rebase;
    }
    if ours.vector.covers_all(theirs.floor) && !fenced { Transfer::Unneeded } else { Transfer::Merge }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::id::NodeName;
    use crate::members::Membership;
    use crate::stamp::Stamp;
    use crate::vector::{Dot, Sequence};

    fn origin(name: &str) -> Origin {
        Origin { node: NodeName::parse(name).unwrap(), incarnation: 7 }
    }

    fn vector(entries: &[(&str, u64)]) -> Vector {
        entries.iter().map(|(name, sequence)| (origin(name), Sequence(*sequence))).collect()
    }

    /// Name, vector, graves, floor.
    struct Node(Origin, Vector, Vector, Vector);

    impl Node {
        fn side(&self) -> Side<'_> {
            Side { origin: &self.0, vector: &self.1, graves: &self.2, floor: &self.3 }
        }
    }

    fn node(name: &str, knows: &[(&str, u64)], graves: &[(&str, u64)], floor: &[(&str, u64)]) -> Node {
        Node(origin(name), vector(knows), vector(graves), vector(floor))
    }

    fn fenced(name: &str, reason: FenceReason) -> Members {
        let by = Dot { origin: origin("z"), sequence: Sequence(1) };
        let mut members = Members::new();
        members.set(&origin(name), Membership { fenced: Some(reason), stamp: Stamp(1), by });
        members
    }

    #[test]
    fn logs_that_reach_back_exchange_operations() {
        let (a, b) = (node("a", &[("a", 5)], &[], &[]), node("b", &[("b", 3)], &[], &[]));
        assert_eq!(admit(&a.side(), &Members::new(), &b.side()), Admission::Welcome);
        assert_eq!(transfer(&b.side(), &Members::new(), &a.side(), false), Transfer::Unneeded);
    }

    #[test]
    fn who_is_below_the_floor_takes_states_and_keeps_its_own() {
        let (a, b) = (node("a", &[("a", 5)], &[], &[("a", 4)]), node("b", &[("b", 3)], &[], &[]));
        assert_eq!(admit(&a.side(), &Members::new(), &b.side()), Admission::NeedsStates);
        assert_eq!(transfer(&b.side(), &Members::new(), &a.side(), false), Transfer::Merge);
    }

    #[test]
    fn who_has_not_seen_removed_deletes_and_brings_something_rebases() {
        let (a, b) = (node("a", &[("a", 5)], &[("a", 4)], &[]), node("b", &[("a", 2), ("b", 3)], &[], &[]));
        assert_eq!(admit(&a.side(), &Members::new(), &b.side()), Admission::MustRebase);
        assert_eq!(transfer(&b.side(), &Members::new(), &a.side(), false), Transfer::Rebase);
        let nothing_new = node("b", &[("a", 2)], &[], &[]);
        assert_eq!(admit(&a.side(), &Members::new(), &nothing_new.side()), Admission::Welcome);
    }

    #[test]
    fn of_two_that_endanger_each_other_the_smaller_name_serves() {
        let a = node("a", &[("a", 5)], &[("a", 4)], &[]);
        let b = node("b", &[("b", 5)], &[("b", 4)], &[]);
        assert_eq!(admit(&a.side(), &Members::new(), &b.side()), Admission::MustRebase);
        assert_eq!(admit(&b.side(), &Members::new(), &a.side()), Admission::WeMustRebase);
    }

    #[test]
    fn a_fenced_node_rebases_only_if_it_brings_something_and_a_retired_one_is_turned_away() {
        let (a, b) = (node("a", &[("a", 5)], &[], &[]), node("b", &[("a", 5), ("b", 3)], &[], &[]));
        assert_eq!(admit(&a.side(), &fenced("b", FenceReason::Lapsed), &b.side()), Admission::MustRebase);
        assert_eq!(transfer(&b.side(), &fenced("b", FenceReason::Lapsed), &a.side(), false), Transfer::Rebase);
        let quiet = node("b", &[("a", 5)], &[], &[]);
        assert_eq!(admit(&a.side(), &fenced("b", FenceReason::Lapsed), &quiet.side()), Admission::Welcome);
        assert_eq!(admit(&a.side(), &fenced("b", FenceReason::Retired), &quiet.side()), Admission::NameTaken);
    }

    #[test]
    fn who_hears_more_of_itself_than_it_knows_was_restored() {
        let (a, b) = (node("a", &[("a", 5), ("b", 9)], &[], &[]), node("b", &[("b", 3)], &[], &[]));
        assert_eq!(transfer(&b.side(), &Members::new(), &a.side(), false), Transfer::Rebase);
        let level = node("b", &[("a", 5), ("b", 9)], &[], &[]);
        assert_eq!(transfer(&level.side(), &Members::new(), &a.side(), false), Transfer::Unneeded);
        assert_eq!(transfer(&level.side(), &Members::new(), &a.side(), true), Transfer::Rebase, "another branch");
    }
}
