//! Members: the nodes that a database counts with before it forgets anything.
//!
//! Who is a member stands in the log itself, so every node comes to the same list. A *join* counts a node in,
//! a *fence* counts one out: because it was not seen for the length of its lease, because its data directory
//! was wiped or restored and it goes on under a new incarnation, or because an operator said so.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::error::Refusal;
use crate::id::NodeName;
use crate::operation::Operation;
use crate::operation::OperationKind;
use crate::stamp::Stamp;
use crate::vector::{Dot, Origin, Vector};

/// Why a member was counted out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FenceReason {
    /// It was not seen for longer than its lease.
    Lapsed,
    /// The node goes on under another incarnation.
    Retired,
    /// An operator said so.
    Forced,
}

impl fmt::Display for FenceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lapsed => "lapsed",
            Self::Retired => "retired",
            Self::Forced => "forced",
        })
    }
}

impl FromStr for FenceReason {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        match text {
            "lapsed" => Ok(Self::Lapsed),
            "retired" => Ok(Self::Retired),
            "forced" => Ok(Self::Forced),
            _ => Err(Refusal::invalid("invalid-fence", "The reason of a fence is lapsed, retired or forced.")),
        }
    }
}

/// How a node stands with a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// `None` while it is a member, else why not.
    pub fenced: Option<FenceReason>,
    /// The stamp of the operation that said so.
    pub stamp: Stamp,
    /// That operation.
    pub by: Dot,
}

/// Every node that was ever a member of a database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members(BTreeMap<Origin, Membership>);

impl Members {
    /// Nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an operation in; those that are not about members change nothing. The latest by stamp counts, whatever
    /// order they come in.
    pub fn apply(&mut self, operation: &Operation) {
        let (member, fenced) = match &operation.kind {
            OperationKind::JoinMember { member } => (member, None),
            OperationKind::FenceMember { member, reason } => (member, Some(*reason)),
            _ => return,
        };
        let new = Membership { fenced, stamp: operation.stamp, by: operation.dot.clone() };
        self.set(member, new);
    }

    /// Takes one entry in, as [`Self::apply`] does.
    pub fn set(&mut self, member: &Origin, new: Membership) {
        let is_older = |known: &Membership| (known.stamp, &known.by) >= (new.stamp, &new.by);
        if !self.0.get(member).is_some_and(is_older) {
            self.0.insert(member.clone(), new);
        }
    }

    /// How a node stands; `None` when it was never a member.
    pub fn get(&self, origin: &Origin) -> Option<&Membership> {
        self.0.get(origin)
    }

    /// Whether a node is counted with.
    pub fn is_active(&self, origin: &Origin) -> bool {
        self.get(origin).is_some_and(|membership| membership.fenced.is_none())
    }

    /// The nodes that are counted with.
    pub fn active(&self) -> impl Iterator<Item = &Origin> {
        self.0.iter().filter(|(_, membership)| membership.fenced.is_none()).map(|(origin, _)| origin)
    }

    /// The nodes whose word is waited for, `me` left out: members, and whoever has written here and was neither counted in
    /// nor out yet. Earlier lives of this node, and of members, write nothing any more.
    pub fn counted<'a>(&'a self, vector: &'a Vector, me: &'a Origin) -> impl Iterator<Item = &'a Origin> {
        let is_alive = move |name: &NodeName| *name == me.node || self.active().any(|member| member.node == *name);
        let strangers = vector.iter().map(|(origin, _)| origin);
        let strangers = strangers.filter(move |origin| self.get(origin).is_none() && !is_alive(&origin.node));
        self.active().filter(move |member| *member != me).chain(strangers)
    }

    /// All, with how they stand.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Origin, &Membership)> {
        self.0.iter()
    }
}

/// What the other members have said that they know.
///
/// An operation is *stable* when every member has acknowledged it **and** all that those members knew then is known
/// here: after that, no operation can turn up that was made without having seen it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acknowledgements {
    /// Said, and all of it known here.
    taken: BTreeMap<Origin, Vector>,
    /// Said later, and not all known here yet.
    ahead: BTreeMap<Origin, Vector>,
}

impl Acknowledgements {
    /// Notes that a member knows this. What is known of it never shrinks.
    pub fn hear(&mut self, member: &Origin, vector: &Vector) {
        self.ahead.entry(member.clone()).or_default().merge(vector);
    }

    /// Takes over what is covered by our own vector now. Answers whether anything moved.
    pub fn settle(&mut self, own: &Vector) -> bool {
        let covered: Vec<Origin> =
            self.ahead.iter().filter(|(_, vector)| own.covers_all(vector)).map(|(origin, _)| origin.clone()).collect();
        let mut has_moved = false;
        for origin in covered {
            let Some(vector) = self.ahead.remove(&origin) else { continue };
            let taken = self.taken.entry(origin).or_default();
            has_moved |= !taken.covers_all(&vector);
            taken.merge(&vector);
        }
        has_moved
    }

    /// What a member has acknowledged, as far as it counts.
    pub fn of(&self, member: &Origin) -> Option<&Vector> {
        self.taken.get(member)
    }

    /// The newest that a member has said, whether it counts yet or not.
    pub fn newest_of(&self, member: &Origin) -> Vector {
        let mut newest = self.taken.get(member).cloned().unwrap_or_default();
        if let Some(ahead) = self.ahead.get(member) {
            newest.merge(ahead);
        }
        newest
    }

    /// What every member is known to know: `own` for this node, `me`.
    ///
    /// A member that has not yet heard that it is counted holds everything back, and so does one that was counted out
    /// until all others have heard of that: before, somebody might still take its operations in.
    pub fn stable(&self, members: &Members, me: &Origin, own: &Vector) -> Vector {
        let mut stable = own.clone();
        for member in members.counted(own, me) {
            let knows_of_itself = |vector: &&Vector| members.get(member).is_none_or(|its| vector.covers(&its.by));
            match self.of(member).filter(knows_of_itself) {
                Some(vector) => stable = stable.meet(vector),
                None => return Vector::new(),
            }
        }
        let heard_by_all =
            |by: &Dot| members.counted(own, me).all(|member| self.of(member).is_some_and(|vector| vector.covers(by)));
        for (member, membership) in members.iter().filter(|(_, membership)| membership.fenced.is_some()) {
            if !heard_by_all(&membership.by) {
                stable = self.of(member).map_or_else(Vector::new, |vector| stable.meet(vector));
            }
        }
        stable
    }

    /// The members that hold back what is below a vector.
    pub fn waiting_for<'a>(
        &'a self,
        members: &'a Members,
        me: &'a Origin,
        vector: &'a Vector,
    ) -> impl Iterator<Item = &'a Origin> {
        let is_behind = move |member: &&Origin| !self.of(member).is_some_and(|taken| taken.covers_all(vector));
        members.counted(vector, me).filter(is_behind)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::id::NodeName;
    use crate::vector::Sequence;

    fn origin(name: &str) -> Origin {
        Origin { node: NodeName::parse(name).unwrap(), incarnation: 7 }
    }

    fn vector(entries: &[(&str, u64)]) -> Vector {
        entries.iter().map(|(name, sequence)| (origin(name), Sequence(*sequence))).collect()
    }

    fn entry(stamp: u64, fenced: Option<FenceReason>) -> Membership {
        Membership { fenced, stamp: Stamp(stamp), by: Dot { origin: origin("a"), sequence: Sequence(stamp) } }
    }

    #[test]
    fn the_latest_word_on_a_member_counts_in_whatever_order_it_comes() {
        let (join, fence) = (entry(1, None), entry(2, Some(FenceReason::Lapsed)));
        let mut orders = [Members::new(), Members::new()];
        for (members, [first, second]) in orders.iter_mut().zip([[&join, &fence], [&fence, &join]]) {
            members.set(&origin("b"), first.clone());
            members.set(&origin("b"), second.clone());
        }
        assert_eq!(orders[0], orders[1]);
        assert!(!orders[0].is_active(&origin("b")));
    }

    #[test]
    fn nothing_is_stable_before_all_that_its_witnesses_knew_is_known_here() {
        let me = origin("a");
        let mut members = Members::new();
        for name in ["a", "b", "c"] {
            members.set(&origin(name), entry(1, None));
        }
        let mut acknowledgements = Acknowledgements::default();
        let own = vector(&[("a", 5), ("b", 2)]);
        acknowledgements.hear(&origin("b"), &vector(&[("a", 5), ("b", 3)]));
        acknowledgements.settle(&own);
        assert_eq!(acknowledgements.stable(&members, &me, &own), Vector::new(), "b has written what is not here");
        let own = vector(&[("a", 5), ("b", 3)]);
        assert!(acknowledgements.settle(&own));
        assert_eq!(acknowledgements.stable(&members, &me, &own), Vector::new(), "c has said nothing");
        acknowledgements.hear(&origin("c"), &vector(&[("a", 4), ("b", 3)]));
        acknowledgements.settle(&own);
        assert_eq!(acknowledgements.stable(&members, &me, &own), vector(&[("a", 4), ("b", 3)]));
        let waiting: Vec<_> = acknowledgements.waiting_for(&members, &me, &own).cloned().collect();
        assert_eq!(waiting, [origin("c")]);
        members.set(&origin("c"), entry(2, Some(FenceReason::Forced)));
        assert_eq!(acknowledgements.stable(&members, &me, &own), own, "a fenced member holds nothing back");
        members.set(&origin("c"), entry(9, Some(FenceReason::Forced)));
        let held = acknowledgements.stable(&members, &me, &own);
        assert_eq!(held, vector(&[("a", 4), ("b", 3)]), "unless somebody has not heard of it");
    }

    #[test]
    fn whoever_has_written_here_is_waited_for_before_anybody_counts_it_in() {
        let (me, own) = (origin("a"), vector(&[("a", 5), ("b", 2)]));
        let mut members = Members::new();
        let mut acknowledgements = Acknowledgements::default();
        assert_eq!(acknowledgements.stable(&members, &me, &own), Vector::new(), "b has said nothing");
        acknowledgements.hear(&origin("b"), &vector(&[("a", 3), ("b", 2)]));
        acknowledgements.settle(&own);
        assert_eq!(acknowledgements.stable(&members, &me, &own), vector(&[("a", 3), ("b", 2)]));
        members.set(&origin("b"), entry(4, None));
        assert_eq!(acknowledgements.stable(&members, &me, &own), Vector::new(), "it does not know that it counts");
        let later = Origin { incarnation: 8, ..origin("b") };
        members.set(&later, entry(1, None));
        acknowledgements.hear(&later, &own);
        acknowledgements.hear(&origin("b"), &own);
        acknowledgements.settle(&own);
        assert_eq!(acknowledgements.stable(&members, &me, &own), own);
    }
}
