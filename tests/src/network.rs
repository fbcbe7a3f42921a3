//! The network between the nodes: it delays, loses, doubles, reorders, garbles, cuts and clogs.
//!
//! ```text
//!   send ─► cut or lost? ─► nothing arrives
//!        └► a random time under way ─► clogged? wait for its end ─► arrives, now and then broken, a second time,
//!                                                                   or once more when nobody waits for it
//! ```
//!
//! Messages overtake each other because each is under way for a time of its own. A reply is a message like any other:
//! a request can arrive and be acted on while its sender never learns of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use holdfast_core::time::Millis;

use crate::faults::{Fault, FaultOptions};
use crate::seed::Seed;

/// When a relic arrives, in milliseconds: long after its exchange was given up.
const RELIC_AFTER: Range<u64> = 15_000..90_000;

/// The ways between all nodes.
#[derive(Debug)]
pub struct Network {
    options: FaultOptions,
    /// How many cuts lie on a way; they may overlap.
    cuts: BTreeMap<(usize, usize), u32>,
    clogged: BTreeMap<(usize, usize), Millis>,
    seed: Seed,
    is_healed: bool,
}

impl Network {
    /// A network with these faults.
    pub fn new(options: FaultOptions, seed: Seed) -> Self {
        Self { options, cuts: BTreeMap::new(), clogged: BTreeMap::new(), seed, is_healed: false }
    }

    /// When a message sent now arrives: never, once or more often; and for a message that arrives
    /// broken, the number that decides how.
    pub fn arrivals(&mut self, now: Millis, from: usize, to: usize) -> Vec<(Millis, Option<u64>)> {
        let is_lost = self.draw(self.options.loss_percent);
        let copies = 1 + usize::from(self.draw(self.options.duplication_percent));
        // Drawn in any case, so that a cut does not change what happens to later messages.
        let mut delays: Vec<u64> = (0..copies).map(|_| self.seed.range(1..self.options.delay_max.0 + 2)).collect();
        if self.draw(self.options.relic_percent) {
            delays.push(self.seed.range(RELIC_AFTER));
        }
        let is_garbled = self.draw(self.options.garbled_percent);
        let garbled = is_garbled.then(|| self.seed.next_u64());
        if is_lost || self.is_cut(from, to) {
            return Vec::new();
        }
        let free = self.clogged.get(&(from, to)).copied().unwrap_or_default().max(now);
        delays.into_iter().map(|delay| (free + Millis(delay), garbled)).collect()
    }

    /// Whether nothing gets through now.
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|cuts| *cuts > 0)
    }

    /// Takes in a fault that concerns it.
    pub fn suffer(&mut self, fault: Fault) {
        match fault {
            Fault::Cut { from, to } => *self.cuts.entry((from, to)).or_default() += 1,
            Fault::Mend { from, to } => {
                let cuts = self.cuts.entry((from, to)).or_default();
                *cuts = cuts.saturating_sub(1);
            }
            Fault::Clog { from, to, until } => {
                self.clogged.insert((from, to), until);
            }
            _ => {}
        }
    }

    /// From now on everything arrives, and soon.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.clogged.clear();
        self.options = FaultOptions::calm();
        self.is_healed = true;
    }

    fn draw(&mut self, percent: u64) -> bool {
        !self.is_healed && self.seed.chance(percent)
    }
}

/// Who has whom as a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// Each knows the one before and the one after it.
    Chain,
    /// A chain whose ends know each other.
    Ring,
    /// All know the first one, and it knows all.
    Star,
    /// Everybody knows everybody.
    Mesh,
    /// A chain in which only the later one knows the earlier one, as from behind a router.
    OneWayChain,
    /// All know the first one, which knows nobody.
    OneWayStar,
}

impl Topology {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Chain, Self::Ring, Self::Star, Self::Mesh, Self::OneWayChain, Self::OneWayStar];

    /// Whether some are called and call nobody back.
    pub fn is_one_way(self) -> bool {
        matches!(self, Self::OneWayChain | Self::OneWayStar)
    }

    /// The peers that a node is configured with.
    pub fn peers_of(self, node: usize, nodes: usize) -> BTreeSet<usize> {
        let others = (0..nodes).filter(|other| *other != node);
        let knows = |other: usize| match self {
            Self::Chain => other.abs_diff(node) == 1,
            Self::Ring => other.abs_diff(node) == 1 || other.abs_diff(node) == nodes - 1,
            Self::Star => other == 0 || node == 0,
            Self::Mesh => true,
            Self::OneWayChain => other + 1 == node,
            Self::OneWayStar => other == 0,
        };
        others.filter(|other| knows(*other)).collect()
    }
}
