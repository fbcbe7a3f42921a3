//! What happens to nodes and between them, carried out.

use holdfast_core::time::Millis;

use crate::faults::Fault;
use crate::node::{Node, Outbox};
use crate::world::{Occurrence, World};

/// How long a machine takes to start again after its disk was looked at.
const RESTART: Millis = Millis(500);

impl World {
    /// Carries a fault, or its end, out.
    pub(super) fn suffer(&mut self, fault: Fault) {
        self.trace.add(format!("{} {fault:?}", self.now));
        match fault {
            Fault::Cut { .. } | Fault::Mend { .. } | Fault::Clog { .. } => self.network.suffer(fault),
            Fault::Crash { node, is_torn, away } => {
                if self.at_node(node, |node| node.crash(is_torn)) == Some(true) {
                    self.at(self.now + away, Occurrence::Starts { node });
                }
            }
            Fault::Rot { node, bits } => {
                if self.at_node(node, |node| node.rot(bits)) == Some(true) {
                    self.lose_disk(node, Node::wipe);
                } else {
                    self.at(self.now + RESTART, Occurrence::Starts { node });
                }
            }
            Fault::SetClock { node, skew } => self.change(node, |node| node.set_clock(skew)),
            Fault::Slow { node, by } => self.change(node, |node| node.slow_down(by)),
            Fault::Fill { node, room } => self.change(node, |node| node.limit_disk(Some(room))),
            Fault::MakeRoom { node } => self.change(node, |node| node.limit_disk(None)),
            Fault::Part { node, peer } => self.change(node, |node| node.part_from(peer)),
            Fault::Meet { node, peer } => {
                let is_neighbour = self.scenario.topology.peers_of(node, self.nodes.len()).contains(&peer);
                if is_neighbour {
                    self.meet(node, peer);
                }
            }
            Fault::Select { node, peer, goes_out, comes_in } => {
                self.change(node, |node| node.select(peer, goes_out, comes_in));
            }
            Fault::Policy { node, policy } => {
                let mut outbox = Outbox::default();
                self.at_node(node, |node| node.adopt_policy(policy, &mut outbox));
                self.carry_out(node, outbox);
            }
            // Where nobody counts members, nobody could tell a new life from an old one.
            _ if self.scenario.forgets.is_none() => {}
            Fault::Backup { node } => self.change(node, Node::back_up),
            Fault::Wipe { node } => self.lose_disk(node, Node::wipe),
            Fault::Restore { node } => self.lose_disk(node, Node::restore),
            Fault::RollBack { node } => self.lose_disk(node, Node::roll_back),
            Fault::Twin { node, disks, takes_address } => self.start_twin(node, disks, takes_address),
            Fault::PartTwins => self.part_twins(),
            Fault::Fence { node, member } => {
                let member = self.nodes.get(member).map(|member| member.origin().clone());
                let mut outbox = Outbox::default();
                self.at_node(node, |node| member.map(|member| node.fence(member, &mut outbox)));
                self.carry_out(node, outbox);
            }
        }
    }

    /// Everything works again: the network, every node that is down, and what operators have changed.
    pub(super) fn heal(&mut self) {
        self.trace.add(format!("{} all is healed", self.now));
        self.network.heal();
        self.part_twins();
        for node in 0..self.nodes.len() {
            self.at_node(node, |node| {
                node.slow_down(Millis(0));
                node.limit_disk(None);
                node.select_all();
            });
            self.start(node);
            for peer in self.scenario.topology.peers_of(node, self.nodes.len()) {
                self.meet(node, peer);
            }
        }
    }

    fn lose_disk(&mut self, node: usize, lose: impl FnOnce(&mut Node) -> bool) {
        if self.at_node(node, lose) == Some(true) {
            self.history.lose(node, &self.acknowledged);
            self.at(self.now + RESTART, Occurrence::Starts { node });
        }
    }

    fn meet(&mut self, node: usize, peer: usize) {
        let (now, mut outbox) = (self.now, Outbox::default());
        self.at_node(node, |node| node.meet(now, peer, &mut outbox));
        self.carry_out(node, outbox);
    }

    fn change(&mut self, node: usize, change: impl FnOnce(&mut Node)) {
        self.at_node(node, change);
    }

    fn at_node<T>(&mut self, node: usize, act: impl FnOnce(&mut Node) -> T) -> Option<T> {
        self.nodes.get_mut(node).map(act)
    }
}
