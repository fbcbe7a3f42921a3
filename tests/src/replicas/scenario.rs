//! What kind of world of leader and followers it is: how many, who follows whom, what goes wrong, what clients and
//! operators do.

use holdfast_core::time::Millis;

use crate::replicas::sabotage::Sabotage;
use crate::seed::Seed;

/// Who follows whom when the world begins. The first node leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// All follow the leader.
    Star,
    /// The last one follows the one before it.
    Tail,
    /// Each follows the one before it.
    Chain,
}

impl Shape {
    /// Whom a node follows.
    pub fn leader_of(self, node: usize, nodes: usize) -> usize {
        match self {
            Self::Chain => node.saturating_sub(1),
            Self::Tail if node + 1 == nodes => node.saturating_sub(1),
            Self::Star | Self::Tail => 0,
        }
    }
}

/// What goes wrong, and how often.
#[derive(Debug, Clone, Default)]
pub struct Troubles {
    /// Longest time that a frame is under way.
    pub delay_max: Millis,
    /// Frames that arrive changed, in percent.
    pub garbled_percent: u64,
    /// Ways between two nodes that are cut for a while, one or both directions.
    pub cuts: u64,
    /// Times that a leader hears nobody and is heard by nobody for a while.
    pub isolations: u64,
    /// Nodes that lose power and come back.
    pub crashes: u64,
    /// Leaders among them, in percent: failover storms.
    pub leader_crashes_percent: u64,
    /// Crashes in the middle of a commit, in percent.
    pub torn_percent: u64,
    /// Crashes while it is written down who leads, in percent.
    pub at_promise_percent: u64,
    /// How far a node's wall clock may be off, either way.
    pub skew_max: Millis,
    /// Nodes that write slowly for a while.
    pub slow_disks: u64,
    /// Times that a log is pruned, whoever lacks it.
    pub prunings: u64,
    /// Handovers that an operator asks for.
    pub handovers: u64,
    /// Followers that an operator promotes, by force or not.
    pub promotions: u64,
    /// Whether the disk of one node is lost for ever.
    pub has_lost_disk: bool,
}

/// What kind of world it is.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Number of nodes.
    pub nodes: usize,
    /// Who follows whom.
    pub shape: Shape,
    /// How long a leader may be silent.
    pub silence: Millis,
    /// How long clients write and trouble happens.
    pub active: Millis,
    /// How many requests clients make.
    pub writes: u64,
    /// How many followers must have a write before it is answered.
    pub min_sync: usize,
    /// How long it waits for them.
    pub sync_timeout: Millis,
    /// Most operations in one message.
    pub batch: usize,
    /// What goes wrong.
    pub troubles: Troubles,
    /// What nodes do wrong on purpose.
    pub sabotage: Sabotage,
}

impl Scenario {
    /// As the seed wants it.
    pub fn drawn_from(seed: &mut Seed) -> Self {
        let nodes = *seed.pick(&[2, 3, 3, 3, 4, 5]);
        Self {
            nodes,
            shape: *seed.pick(&[Shape::Star, Shape::Star, Shape::Star, Shape::Tail, Shape::Chain]),
            silence: Millis(*seed.pick(&[1_000, 2_000, 4_000])),
            active: Millis(seed.range(5_000..45_000)),
            writes: seed.range(5..80),
            min_sync: if seed.chance(70) { nodes / 2 } else { seed.index(nodes) },
            sync_timeout: Millis(*seed.pick(&[300, 2_000, 10_000])),
            batch: usize::try_from(*seed.pick(&[1, 3, 10, 1_000])).unwrap_or(1),
            troubles: Troubles::drawn_from(seed),
            sabotage: Sabotage::None,
        }
    }

    /// A leader and two followers, without trouble.
    pub fn calm() -> Self {
        Self {
            nodes: 3,
            shape: Shape::Star,
            silence: Millis(2_000),
            active: Millis(10_000),
            writes: 40,
            min_sync: 1,
            sync_timeout: Millis(5_000),
            batch: 10,
            troubles: Troubles::calm(),
            sabotage: Sabotage::None,
        }
    }

    /// A leader and four followers: leaders fall again and again.
    pub fn storm() -> Self {
        let troubles = Troubles {
            delay_max: Millis(40),
            cuts: 6,
            isolations: 3,
            crashes: 6,
            leader_crashes_percent: 70,
            torn_percent: 30,
            at_promise_percent: 20,
            ..Troubles::default()
        };
        Self { nodes: 5, min_sync: 2, active: Millis(40_000), writes: 80, troubles, ..Self::calm() }
    }
}

impl Troubles {
    /// None, on a quick network.
    pub fn calm() -> Self {
        Self { delay_max: Millis(10), ..Self::default() }
    }

    /// As the seed wants them; each kind is off in half of the worlds, and all of them in some.
    pub fn drawn_from(seed: &mut Seed) -> Self {
        if seed.chance(5) {
            return Self::calm();
        }
        let mut draw = |range: std::ops::Range<u64>| if seed.chance(50) { seed.range(range) } else { 0 };
        let troubles = Self {
            delay_max: Millis(5 + draw(1..400)),
            garbled_percent: u64::from(draw(1..3) > 1),
            cuts: draw(1..7),
            isolations: draw(1..4),
            crashes: draw(1..7),
            leader_crashes_percent: draw(1..100),
            torn_percent: draw(1..100),
            at_promise_percent: draw(1..60),
            skew_max: Millis(draw(1..300_000)),
            slow_disks: draw(1..4),
            prunings: draw(1..5),
            handovers: draw(1..4),
            ..Self::default()
        };
        Self {
            promotions: if seed.chance(15) { seed.range(1..3) } else { 0 },
            has_lost_disk: seed.chance(15),
            ..troubles
        }
    }
}
