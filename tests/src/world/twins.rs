//! Two nodes under one name: a copy of a node's data directory, or a second empty one, that somebody starts beside it.
//!
//! The last node of such a world sleeps until then. In some worlds it also gets the address of the one whose name it has,
//! so that whoever dials that one reaches the other. In the end an operator gives it a name of its own.

use crate::checkers::Finding;
use crate::faults::Disks;
use crate::node::identity::Copy;
use crate::node::survey::Claim;
use crate::node::{Node, Outbox};
use crate::world::World;

/// What a world with a twin has to remember.
#[derive(Debug, Default)]
pub(super) struct Twins {
    /// The node that sleeps until it becomes a twin.
    pub(super) sleeper: Option<usize>,
    /// The node whose name the other has, and that one, from when it started.
    of: Option<(usize, usize)>,
    /// Whether they have each other's addresses.
    has_exchanged: bool,
}

impl Twins {
    /// A world whose last node becomes a twin, or none does.
    pub(super) fn sleeping(sleeper: Option<usize>) -> Self {
        Self { sleeper, ..Self::default() }
    }

    /// Who is reached under the address of a node; and under whose address a node sends.
    pub(super) fn at_address_of(&self, node: usize) -> usize {
        match self.of.filter(|_| self.has_exchanged) {
            Some((one, other)) if one == node => other,
            Some((one, other)) if other == node => one,
            _ => node,
        }
    }
}

impl World {
    /// A second node starts under the name of one that goes on.
    pub(super) fn start_twin(&mut self, of: usize, disks: Disks, takes_address: bool) {
        let Some(twin) = self.twins.sleeper.take_if(|twin| *twin != of) else { return };
        let Some(original) = self.nodes.get(of) else { return };
        let (copy, is_noticed): (Copy, bool) = match disks {
            Disks::Copied => (original.copy(), true),
            Disks::Snapshot => (original.copy(), false),
            Disks::Empty => (original.empty_copy(), true),
        };
        let peers: Vec<usize> = original.peers().collect();
        *self.seen.entry("twins started").or_default() += 1;
        if let Some(node) = self.nodes.get_mut(twin) {
            node.become_copy(copy, peers, is_noticed);
        }
        (self.twins.of, self.twins.has_exchanged) = (Some((of, twin)), takes_address);
        self.start(twin);
    }

    /// Holds a claim against the truth: that of the node itself, or that of whoever has had its address.
    pub(super) fn judge_claim(&self, by: usize, claim: &Claim) -> Option<Finding> {
        let twins = self.twins.of.filter(|(one, other)| [*one, *other].contains(&claim.peer));
        let (one, other) = twins.unwrap_or((claim.peer, claim.peer));
        let judge = |peer: usize| {
            let claim = Claim { peer, ..claim.clone() };
            self.truth.judge(by, &claim, self.nodes.get(peer).and_then(Node::shows))
        };
        let found = judge(claim.peer)?;
        [one, other].into_iter().all(|peer| judge(peer).is_some()).then_some(found)
    }

    /// An operator gives a twin its own name and address.
    pub(super) fn part_twins(&mut self) {
        self.twins.sleeper = None;
        self.twins.has_exchanged = false;
        for index in 0..self.nodes.len() {
            let peers = self.scenario.topology.peers_of(index, self.nodes.len());
            if self.nodes.get_mut(index).is_some_and(|node| node.take_own_name(peers)) {
                let mut outbox = Outbox::default();
                outbox.lines.push("gets its own name".to_owned());
                self.carry_out(index, outbox);
                self.start(index);
            }
        }
    }
}
