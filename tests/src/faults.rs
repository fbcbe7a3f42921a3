//! What goes wrong in a world, drawn from its seed.
//!
//! ```text
//!   FaultOptions   how often each kind of trouble happens; zero for most of them in many worlds
//!   Plan           when the larger ones happen: cuts, clogs, crashes, clock jumps
//! ```
//!
//! A world with every fault on rarely gets far enough to show a subtle mistake, so each kind is off in half of the
//! worlds, and everything is off in some.

use std::ops::Range;

use holdfast_core::time::Millis;

use crate::seed::Seed;

/// How much trouble a world has.
#[derive(Debug, Clone, Default)]
pub struct FaultOptions {
    /// Messages that never arrive, in percent; requests and replies alike.
    pub loss_percent: u64,
    /// Messages that arrive twice, in percent.
    pub duplication_percent: u64,
    /// Longest time that a message is under way. Unequal times are what reorders messages.
    pub delay_max: Millis,
    /// Links that are cut for a while, one or both ways.
    pub cuts: u64,
    /// Links on which everything waits for a while.
    pub clogs: u64,
    /// Nodes that lose power and come back.
    pub crashes: u64,
    /// Crashes among them that hit in the middle of a commit, in percent.
    pub torn_commit_percent: u64,
    /// How far a node's clock may be off, either way.
    pub clock_skew_max: Millis,
    /// Times that some node's clock jumps.
    pub clock_jumps: u64,
}

impl FaultOptions {
    /// No trouble at all, and a quick network.
    pub fn calm() -> Self {
        Self { delay_max: Millis(20), ..Self::default() }
    }

    /// As the seed wants it.
    pub fn drawn_from(seed: &mut Seed) -> Self {
        if seed.chance(10) {
            return Self::calm();
        }
        let mut draw = |range: Range<u64>| if seed.chance(50) { seed.range(range) } else { 0 };
        Self {
            loss_percent: draw(1..30),
            duplication_percent: draw(1..30),
            delay_max: Millis(20 + draw(1..3_000)),
            cuts: draw(1..5),
            clogs: draw(1..4),
            crashes: draw(1..5),
            torn_commit_percent: draw(1..100),
            clock_skew_max: Millis(draw(1..300_000)),
            clock_jumps: draw(1..4),
        }
    }
}

/// One piece of trouble, or its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing sent from one node reaches the other from now on, until [`Fault::Mend`].
    Cut {
        /// The sender.
        from: usize,
        /// The one who hears nothing.
        to: usize,
    },
    /// The end of a cut.
    Mend {
        /// The sender.
        from: usize,
        /// The one who hears again.
        to: usize,
    },
    /// Everything between two nodes waits until then.
    Clog {
        /// The sender.
        from: usize,
        /// The one who waits.
        to: usize,
        /// When it flows again.
        until: Millis,
    },
    /// A node loses power.
    Crash {
        /// Which.
        node: usize,
        /// Whether it hits in the middle of its next commit.
        is_torn: bool,
        /// For how long it is away.
        away: Millis,
    },
    /// A node's clock is off by so much from now on.
    SetClock {
        /// Which.
        node: usize,
        /// Ahead when positive, in milliseconds.
        skew: i64,
    },
}

/// The larger faults of one world with their times, within its active part.
pub fn plan(options: &FaultOptions, nodes: usize, active: Millis, seed: &mut Seed) -> Vec<(Millis, Fault)> {
    let mut faults = Vec::new();
    for _ in 0..options.cuts {
        let (from, to) = two_of(nodes, seed);
        let (start, end) = span(active, seed);
        let both_ways = seed.chance(50);
        faults.push((start, Fault::Cut { from, to }));
        faults.push((end, Fault::Mend { from, to }));
        if both_ways {
            faults.push((start, Fault::Cut { from: to, to: from }));
            faults.push((end, Fault::Mend { from: to, to: from }));
        }
    }
    for _ in 0..options.clogs {
        let (from, to) = two_of(nodes, seed);
        let (start, until) = span(active, seed);
        faults.push((start, Fault::Clog { from, to, until }));
    }
    for _ in 0..options.crashes {
        let (start, end) = span(active, seed);
        let is_torn = seed.chance(options.torn_commit_percent);
        faults.push((start, Fault::Crash { node: seed.index(nodes), is_torn, away: end.since(start) }));
    }
    if options.clock_skew_max > Millis(0) {
        let starts = (0..nodes).map(|node| (Millis(0), node)).collect::<Vec<_>>();
        let jumps = (0..options.clock_jumps).map(|_| (Millis(seed.range(0..active.0)), seed.index(nodes)));
        for (at, node) in starts.into_iter().chain(jumps.collect::<Vec<_>>()) {
            let width = options.clock_skew_max.0;
            let skew = i64::try_from(seed.range(0..2 * width)).unwrap_or(0) - i64::try_from(width).unwrap_or(0);
            faults.push((at, Fault::SetClock { node, skew }));
        }
    }
    faults
}

fn two_of(nodes: usize, seed: &mut Seed) -> (usize, usize) {
    let from = seed.index(nodes);
    let to = (from + 1 + seed.index(nodes - 1)) % nodes;
    (from, to)
}

fn span(active: Millis, seed: &mut Seed) -> (Millis, Millis) {
    let start = seed.range(0..active.0);
    (Millis(start), Millis(seed.range(start + 1..active.0 + 2)))
}
