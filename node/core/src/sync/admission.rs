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
//! | the peer has forgotten what an operation of ours stands beside, and cannot judge it | *rebase* |
//! | we removed tombstones that the peer has not seen, and it holds what we lack | nothing: the peer rebases |
//!
//! Where both would have to rebase on the other, the one that brings less does, and then they are one.
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
        return Admission::MustRebase;
    }
    if theirs.vector.covers_all(ours.floor) { Admission::Welcome } else { Admission::NeedsStates }
}

/// How a node takes a peer's states in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// Nothing is to be done: what looked like it has passed.
    Unneeded,
    /// Nothing for now: the other one takes our states first.
    TheirTurn,
    /// The states, and all that we have beside them, under its own name.
    Merge,
    /// The states in place of ours; what we have beside them is written again.
    Rebase,
}

/// Why a node looks at a peer's states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It was told to, or lacks what the peer's log no longer holds.
    Asked,
    /// It holds another branch of an origin than the peer.
    Branched,
    /// The peer cannot judge an operation that this node holds: it has forgotten what stood there.
    Forgotten,
    /// This node cannot judge an operation of the peer's, and the peer does not come to be told so.
    Unjudged,
}

/// After so many pulls that brought an operation which cannot be judged here, its holder is not waited for any more: it
/// would have been told when it pushed.
pub const PUSHES_AWAITED: u32 = 3;

/// Decides on our own newest knowledge what `theirs`, read just now, asks of us. Each side comes with its members.
pub fn transfer(
    (ours, our_members): (&Side<'_>, &Members),
    (theirs, their_members): (&Side<'_>, &Members),
    cause: Cause,
) -> Transfer {
    let is_fenced = |of: &Side<'_>, members: &Members| members.get(of.origin).is_some_and(|one| one.fenced.is_some());
    let is_endangered = |left: &Side<'_>, right: &Side<'_>, members: &Members| {
        let has_surplus = !right.vector.covers_all(left.vector);
        has_surplus && (is_fenced(left, members) || !left.vector.covers_all(right.graves))
    };
    let is_behind_itself = theirs.vector.get(ours.origin) > ours.vector.get(ours.origin);
    if cause == Cause::Branched || is_behind_itself {
        return Transfer::Rebase;
    }
    let has_surplus = !theirs.vector.covers_all(ours.vector);
    let have_they_surplus = !ours.vector.covers_all(theirs.vector);
    let is_apart =
        (cause == Cause::Forgotten && has_surplus) || (cause == Cause::Unjudged && has_surplus && have_they_surplus);
    if is_apart || is_endangered(ours, theirs, their_members) {
        let are_they = is_endangered(theirs, ours, our_members);
        return if are_they && brings_less(theirs, ours) { Transfer::TheirTurn } else { Transfer::Rebase };
    }
    if is_endangered(theirs, ours, our_members) {
        // Their states would bring back what was deleted and forgotten here: they take ours, and bring the rest.
        return Transfer::TheirTurn;
    }
    let is_unjudged = cause == Cause::Unjudged && have_they_surplus;
    let is_enough = ours.vector.covers_all(theirs.floor) && !is_fenced(ours, their_members) && !is_unjudged;
    if is_enough { Transfer::Unneeded } else { Transfer::Merge }
}

/// Whether `left` holds less that `right` lacks than the other way round; among equals the smaller origin does.
fn brings_less(left: &Side<'_>, right: &Side<'_>) -> bool {
    (right.vector.missing_from(left.vector), left.origin) < (left.vector.missing_from(right.vector), right.origin)
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
        assert_eq!(
            transfer((&b.side(), &Members::new()), (&a.side(), &Members::new()), Cause::Asked),
            Transfer::Unneeded
        );
    }

    #[test]
    fn who_is_below_the_floor_takes_states_and_keeps_its_own() {
        let (a, b) = (node("a", &[("a", 5)], &[], &[("a", 4)]), node("b", &[("b", 3)], &[], &[]));
        assert_eq!(admit(&a.side(), &Members::new(), &b.side()), Admission::NeedsStates);
        assert_eq!(transfer((&b.side(), &Members::new()), (&a.side(), &Members::new()), Cause::Asked), Transfer::Merge);
    }

    #[test]
    fn who_has_not_seen_removed_deletes_and_brings_something_rebases() {
        let (a, b) = (node("a", &[("a", 5)], &[("a", 4)], &[]), node("b", &[("a", 2), ("b", 3)], &[], &[]));
        assert_eq!(admit(&a.side(), &Members::new(), &b.side()), Admission::MustRebase);
        assert_eq!(
            transfer((&b.side(), &Members::new()), (&a.side(), &Members::new()), Cause::Asked),
            Transfer::Rebase
        );
        let nothing_new = node("b", &[("a", 2)], &[], &[]);
        assert_eq!(admit(&a.side(), &Members::new(), &nothing_new.side()), Admission::Welcome);
    }

    #[test]
    fn states_that_bring_back_what_was_forgotten_are_not_taken() {
        // The peer's log does not reach back, and it shows documents that were deleted here and forgotten.
        let (a, b) = (node("a", &[("a", 5)], &[("a", 4)], &[]), node("b", &[("a", 2), ("b", 3)], &[], &[("b", 2)]));
        let nobody = Members::new();
        let of = |left: &Node, right: &Node| transfer((&left.side(), &nobody), (&right.side(), &nobody), Cause::Asked);
        assert_eq!((of(&a, &b), of(&b, &a)), (Transfer::TheirTurn, Transfer::Rebase));
        let seen = node("b", &[("a", 4), ("b", 3)], &[], &[("b", 2)]);
        assert_eq!(of(&a, &seen), Transfer::Merge);
    }

    #[test]
    fn of_two_that_endanger_each_other_the_one_that_brings_less_goes_first() {
        let (a, b) = (node("a", &[("a", 5)], &[("a", 4)], &[]), node("b", &[("b", 3)], &[("b", 2)], &[]));
        let nobody = Members::new();
        assert_eq!(admit(&a.side(), &nobody, &b.side()), Admission::MustRebase);
        assert_eq!(admit(&b.side(), &nobody, &a.side()), Admission::MustRebase);
        let of = |left: &Node, right: &Node| transfer((&left.side(), &nobody), (&right.side(), &nobody), Cause::Asked);
        assert_eq!((of(&a, &b), of(&b, &a)), (Transfer::TheirTurn, Transfer::Rebase));
        let level = node("b", &[("b", 5)], &[("b", 2)], &[]);
        assert_eq!((of(&a, &level), of(&level, &a)), (Transfer::Rebase, Transfer::TheirTurn));
    }

    #[test]
    fn who_holds_what_the_peer_cannot_judge_rebases() {
        let (a, b) = (node("a", &[("a", 5)], &[("a", 4)], &[]), node("b", &[("a", 5), ("b", 1)], &[], &[]));
        let nobody = Members::new();
        let of = |cause| transfer((&b.side(), &nobody), (&a.side(), &nobody), cause);
        assert_eq!(of(Cause::Asked), Transfer::Unneeded);
        assert_eq!(of(Cause::Forgotten), Transfer::Rebase);
        let told = node("a", &[("a", 5), ("b", 1)], &[("a", 4)], &[]);
        let after = transfer((&b.side(), &nobody), (&told.side(), &nobody), Cause::Forgotten);
        assert_eq!(after, Transfer::Unneeded, "another has brought it meanwhile");
    }

    #[test]
    fn a_fenced_node_rebases_only_if_it_brings_something_and_a_retired_one_is_turned_away() {
        let (a, b) = (node("a", &[("a", 5)], &[], &[]), node("b", &[("a", 5), ("b", 3)], &[], &[]));
        assert_eq!(admit(&a.side(), &fenced("b", FenceReason::Lapsed), &b.side()), Admission::MustRebase);
        assert_eq!(
            transfer((&b.side(), &Members::new()), (&a.side(), &fenced("b", FenceReason::Lapsed)), Cause::Asked),
            Transfer::Rebase
        );
        let quiet = node("b", &[("a", 5)], &[], &[]);
        assert_eq!(admit(&a.side(), &fenced("b", FenceReason::Lapsed), &quiet.side()), Admission::Welcome);
        assert_eq!(admit(&a.side(), &fenced("b", FenceReason::Retired), &quiet.side()), Admission::NameTaken);
    }

    #[test]
    fn who_hears_more_of_itself_than_it_knows_was_restored() {
        let (a, b) = (node("a", &[("a", 5), ("b", 9)], &[], &[]), node("b", &[("b", 3)], &[], &[]));
        assert_eq!(
            transfer((&b.side(), &Members::new()), (&a.side(), &Members::new()), Cause::Asked),
            Transfer::Rebase
        );
        let level = node("b", &[("a", 5), ("b", 9)], &[], &[]);
        assert_eq!(
            transfer((&level.side(), &Members::new()), (&a.side(), &Members::new()), Cause::Asked),
            Transfer::Unneeded
        );
        assert_eq!(
            transfer((&level.side(), &Members::new()), (&a.side(), &Members::new()), Cause::Branched),
            Transfer::Rebase,
            "another branch"
        );
    }
}
