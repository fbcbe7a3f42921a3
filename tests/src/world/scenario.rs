//! What kind of world it is: how many nodes, who knows whom, what goes wrong, what clients do.

use holdfast_core::time::Millis;

use crate::faults::FaultOptions;
use crate::network::Topology;
use crate::node::form::Forms;
use crate::node::{Forgetting, Sabotage};
use crate::seed::Seed;

/// Longer than any world lasts.
const AN_AGE: Millis = Millis(1_000 * 60 * 60 * 24 * 365);

/// What kind of world it is.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Number of nodes.
    pub nodes: usize,
    /// Who knows whom.
    pub topology: Topology,
    /// What goes wrong.
    pub faults: FaultOptions,
    /// How long clients write and faults strike.
    pub active: Millis,
    /// How many requests clients make.
    pub writes: u64,
    /// Whether writes leave each other time to travel, instead of coming at any moment.
    pub is_spaced: bool,
    /// Most operations in one message.
    pub batch: usize,
    /// How often nodes look at their peers unasked.
    pub sweep: Millis,
    /// How messages cross the network.
    pub forms: Forms,
    /// Whether nodes compare their data, and say what they find.
    pub surveys: bool,
    /// How long a member may be silent before it is counted out.
    pub lease: Option<Millis>,
    /// What the last node does wrong on purpose.
    pub sabotage: Sabotage,
    /// How nodes forget, if they do.
    pub forgets: Option<Forgetting>,
}

impl Scenario {
    /// As the seed wants it.
    pub fn drawn_from(seed: &mut Seed) -> Self {
        let is_small = seed.chance(50);
        let (active, writes) = if is_small { (1_000..8_000, 3..20) } else { (2_000..40_000, 5..60) };
        let forgets = Self::forgetting(&mut seed.fork());
        let topology = *seed.pick(&Topology::ALL);
        Self {
            // A node that nobody can call gives its states to nobody: who has it as a peer must not forget what it lacks.
            forgets: forgets.filter(|_| !topology.is_one_way()),
            topology,
            nodes: *seed.pick(&[2, 2, 3, 3, 3, 4, 5]),
            faults: FaultOptions::drawn_from(seed),
            active: Millis(seed.range(active)),
            writes: seed.range(writes),
            is_spaced: seed.chance(10),
            batch: usize::try_from(*seed.pick(&[1, 3, 10, 1_000])).unwrap_or(1),
            sweep: Millis(seed.range(2_000..20_000)),
            forms: if seed.chance(30) { Forms::Json } else { Forms::Memory },
            surveys: false,
            lease: None,
            sabotage: Sabotage::None,
        }
    }

    /// The same with what was added to worlds later. It is drawn apart, so that seeds of before can still be told without.
    #[must_use]
    pub fn seasoned(mut self, seed: &mut Seed) -> Self {
        self.surveys = seed.chance(40);
        if seed.chance(40) {
            self.forms = Forms::Negotiated(seed.next_u64());
        }
        if seed.chance(30) {
            self.faults.policies = seed.range(1..6);
        }
        if seed.chance(20) {
            self.faults.foreign = seed.range(1..8);
        }
        if self.forgets.is_some() && seed.chance(20) { self.with_leases(seed) } else { self }
    }

    /// The same with nodes that are copied, or set back to an earlier time without knowing it.
    #[must_use]
    pub fn contested(mut self, seed: &mut Seed) -> Self {
        // Where leases run out, who is who is a question of its own.
        if self.forgets.is_none() || self.lease.is_some() {
            return self;
        }
        let has_twin = seed.chance(60);
        self.faults.twins = u64::from(has_twin);
        self.faults.rollbacks = if has_twin && seed.chance(70) { 0 } else { seed.range(1..3) };
        self.nodes = self.nodes.max(3);
        // Equally long branches show in surveys alone.
        self.surveys = true;
        self
    }

    /// Whether two nodes may claim one name.
    pub fn is_contested(&self) -> bool {
        self.faults.twins + self.faults.rollbacks > 0
    }

    /// The same with members that are counted out when they were silent for too long, and some that are.
    fn with_leases(mut self, seed: &mut Seed) -> Self {
        self.lease = Some(Millis(seed.range(4_000..15_000)));
        self.sweep = Millis(seed.range(1_000..3_000));
        // Who is quiet and far away is heard of through others.
        self.surveys = true;
        self.active = self.active + Millis(seed.range(30_000..60_000));
        self.faults.absences = seed.range(1..4);
        self.faults.partitions = seed.range(0..3);
        self
    }

    /// The same, but tombstones stay, nobody is counted out by force, and nothing is parked where states are taken.
    #[must_use]
    pub fn without_hazards(mut self) -> Self {
        if let Some(forgets) = &mut self.forgets {
            forgets.tombstone_age = AN_AGE;
            // Parked operations and states taken from a peer: what is carried over may not follow.
            self.faults.foreign = 0;
        }
        self.faults.fences = 0;
        self
    }

    /// How nodes forget, in half of the worlds.
    fn forgetting(seed: &mut Seed) -> Option<Forgetting> {
        let forgets = Forgetting {
            tombstone_age: Millis(*seed.pick(&[0, 500, 5_000])),
            prune_percent: *seed.pick(&[0, 20, 60]),
            is_ruthless: seed.chance(50),
        };
        seed.chance(50).then_some(forgets)
    }

    /// Two nodes, no trouble, writes one after another.
    pub fn calm_pair() -> Self {
        Self {
            nodes: 2,
            topology: Topology::Mesh,
            faults: FaultOptions::calm(),
            active: Millis(30_000),
            writes: 30,
            is_spaced: true,
            batch: 10,
            sweep: Millis(5_000),
            forms: Forms::Memory,
            surveys: false,
            lease: None,
            sabotage: Sabotage::None,
            forgets: None,
        }
    }

    /// The same with every node a peer of every other.
    pub fn calm_mesh(nodes: usize) -> Self {
        Self { nodes, ..Self::calm_pair() }
    }

    /// Nodes that do nothing but what they are told, by [`crate::world::World::write`].
    pub fn stage(nodes: usize, topology: Topology) -> Self {
        Self { nodes, topology, writes: 0, active: Millis(0), ..Self::calm_pair() }
    }
}
