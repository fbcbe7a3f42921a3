//! Suspicions: what has come to light of branches, kept until this node gives way with what it holds.
//!
//! ```text
//!   a peer says that this node is to give way       ─┐
//!   an operation came that does not follow           ├─► kept, over restarts ─► believed when states are looked at
//!   a peer knows more of our own origin than we do  ─┘
//! ```
//!
//! The logs may tell none of it any more: they are pruned, and the node that told is asked again only when it calls. A node
//! that forgot it would go on as if there were one branch.
//!
//! Must stay true: bounded; of more peers than that, those heard of first go. What is believed once alone is forgotten when
//! it was.

use crate::id::NodeName;
use crate::limits::SUSPECTED_PEERS_MAX;
use crate::sync::branches::{Behind, Evidence};
use crate::vector::{Dot, Origin, Sequence};

/// What one database has heard of branches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Suspicions {
    /// Of peers' branches, those heard of first before the others.
    peers: Vec<(NodeName, Evidence)>,
    /// Since when this node writes what peers know something else by.
    behind: Behind,
}

impl Suspicions {
    /// As a record has them. More peers than are kept are left out.
    pub fn restored(peers: Vec<(NodeName, Evidence)>, behind: Option<Dot>) -> Self {
        let mut suspicions = Self { peers: Vec::new(), behind: Behind::restored(behind) };
        for (peer, evidence) in peers {
            suspicions.note(&peer, |kept| *kept = evidence);
        }
        suspicions
    }

    /// A caller has proven to itself that it holds another branch of an origin than this node, which is to give way.
    pub fn note_told(&mut self, caller: &NodeName, origin: Origin) {
        self.note(caller, |evidence| evidence.told = Some(origin));
    }

    /// A peer has brought, out of a log of its, an operation that does not follow what is known of its origin.
    pub fn note_met(&mut self, peer: &NodeName, (origin, log_id): (Origin, u64)) {
        self.note(peer, |evidence| evidence.met = Some((origin, log_id)));
    }

    /// A peer knows more of `me` than this node, which knows `ours`.
    pub fn note_behind(&mut self, me: &Origin, ours: Sequence) {
        self.behind.note(me, ours);
    }

    /// What is to be believed of a peer's branches, out of the log that it has now. What counts once is gone then.
    pub fn take(&mut self, peer: &NodeName, me: &Origin, log_id: u64) -> Evidence {
        let Some((_, evidence)) = self.peers.iter_mut().find(|(known, _)| known == peer) else {
            return Evidence::default();
        };
        let taken = evidence.take(me, log_id);
        self.peers.retain(|(_, evidence)| *evidence != Evidence::default());
        taken
    }

    /// The first number of `me` that means something else here than at peers.
    pub fn behind(&self, me: &Origin) -> Option<Sequence> {
        self.behind.of(me)
    }

    /// Of peers' branches, those heard of first before the others.
    pub fn peers(&self) -> &[(NodeName, Evidence)] {
        &self.peers
    }

    /// The first operation that means something else here than at peers, of whatever origin that was.
    pub fn behind_from(&self) -> Option<&Dot> {
        self.behind.dot()
    }

    fn note(&mut self, peer: &NodeName, note: impl FnOnce(&mut Evidence)) {
        if let Some((_, evidence)) = self.peers.iter_mut().find(|(known, _)| known == peer) {
            return note(evidence);
        }
        let mut evidence = Evidence::default();
        note(&mut evidence);
        if self.peers.len() >= SUSPECTED_PEERS_MAX {
            self.peers.remove(0);
        }
        self.peers.push((peer.clone(), evidence));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn named(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    fn origin(name: &str) -> Origin {
        Origin { node: named(name), incarnation: 7 }
    }

    #[test]
    fn what_counts_once_is_gone_when_it_was_believed_and_the_rest_stays() {
        let (me, peer) = (origin("a"), named("b"));
        let mut suspicions = Suspicions::default();
        suspicions.note_told(&peer, origin("c"));
        suspicions.note_met(&peer, (origin("d"), 5));
        let told = suspicions.take(&peer, &me, 5);
        assert_eq!((told.told, told.met.clone()), (Some(origin("c")), Some((origin("d"), 5))));
        let again = suspicions.take(&peer, &me, 5);
        assert_eq!((again.told, again.met), (None, told.met));
        assert_eq!(suspicions.take(&peer, &me, 6), Evidence::default());
        assert_eq!(suspicions, Suspicions::default(), "nothing of a peer is kept that says nothing");
    }

    #[test]
    fn of_too_many_peers_those_heard_of_first_are_forgotten() {
        let mut suspicions = Suspicions::default();
        for n in 0..=SUSPECTED_PEERS_MAX {
            suspicions.note_told(&named(&format!("n{n}")), origin("a"));
            suspicions.note_told(&named("n1"), origin("a"));
        }
        assert_eq!(suspicions.peers().len(), SUSPECTED_PEERS_MAX);
        assert_eq!(suspicions.take(&named("n0"), &origin("a"), 0), Evidence::default());
        assert_eq!(suspicions.take(&named("n1"), &origin("a"), 0).told, Some(origin("a")));
    }
}
