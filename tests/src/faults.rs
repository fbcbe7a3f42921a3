//! What goes wrong in a world, drawn from its seed.
//!
//! ```text
//!   FaultOptions   how often each kind of trouble happens; zero for most of them in many worlds
//!   plan           when the larger ones happen: cuts, clogs, crashes, clock jumps, full and rotting disks, slow nodes,
//!                  and what operators do: partings of peers, filters, nodes that join
//! ```
//!
//! A world with every fault on rarely gets far enough to show a subtle mistake, so each kind is off in half of the
//! worlds, and everything is off in some.

use std::ops::Range;

use holdfast_core::conflict::policy::ConflictPolicy;
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
    /// Messages that arrive broken, in percent.
    pub garbled_percent: u64,
    /// Messages that arrive once more when everybody has forgotten them, in percent.
    pub relic_percent: u64,
    /// Nodes that do everything slowly for a while.
    pub slow_nodes: u64,
    /// Disks that fill up for a while.
    pub full_disks: u64,
    /// Data files that rot: the machine stops, bits are turned over, and it starts again.
    pub rots: u64,
    /// Peers that are taken out of each other's settings for a while.
    pub partings: u64,
    /// Times that a node's selection of what goes to or comes from a peer is off for a while.
    pub filters: u64,
    /// Disks that are lost: the node comes back under its name with nothing, if nodes forget.
    pub wipes: u64,
    /// Times that a node is put back to a backup, and knows it.
    pub restores: u64,
    /// Times that an operator counts a member out by force.
    pub fences: u64,
    /// Nodes that join with an empty disk while the others work, of those that there are.
    pub newcomers: u64,
    /// Times that some node gets another policy for conflicts.
    pub policies: u64,
    /// Times that a writer of another make writes what nobody here may understand.
    pub foreign: u64,
    /// Nodes that are away for longer than any lease.
    pub absences: u64,
    /// Nodes that are started a second time under their name, on a disk of their own.
    pub twins: u64,
    /// Times that a node is put back to a backup, and nothing on its disk tells.
    pub rollbacks: u64,
    /// Times that the nodes fall into two parts that do not hear each other for longer than any lease.
    pub partitions: u64,
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
            ..Self::rare(&mut seed.fork())
        }
    }

    /// The faults that most worlds do without.
    fn rare(seed: &mut Seed) -> Self {
        let mut draw = |range: Range<u64>| if seed.chance(20) { seed.range(range) } else { 0 };
        Self {
            garbled_percent: draw(1..15),
            relic_percent: draw(1..10),
            slow_nodes: draw(1..3),
            full_disks: draw(1..3),
            rots: draw(1..3),
            partings: draw(1..4),
            filters: draw(1..4),
            newcomers: draw(1..3),
            wipes: draw(1..2),
            restores: draw(1..3),
            fences: draw(1..3),
            ..Self::default()
        }
    }
}

/// What a second node of a name begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disks {
    /// A copied data directory, which notices that it is one.
    Copied,
    /// A copy of a whole machine: nothing tells.
    Snapshot,
    /// Nothing.
    Empty,
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
    /// A node takes up to so much longer for everything from now on.
    Slow {
        /// Which.
        node: usize,
        /// Nothing when it is quick again.
        by: Millis,
    },
    /// A node's disk takes so many bytes more from now on.
    Fill {
        /// Which.
        node: usize,
        /// How much still fits on it.
        room: u64,
    },
    /// There is room on a node's disk again.
    MakeRoom {
        /// Which.
        node: usize,
    },
    /// A machine stops, bits of its data file turn over, and it starts again.
    Rot {
        /// Which.
        node: usize,
        /// How many bits.
        bits: u64,
    },
    /// One node takes another out of its settings.
    Part {
        /// Who.
        node: usize,
        /// Whom.
        peer: usize,
    },
    /// One node has another in its settings again, or for the first time.
    Meet {
        /// Who.
        node: usize,
        /// Whom.
        peer: usize,
    },
    /// A node's disk is lost, and replaced by an empty one.
    Wipe {
        /// Which.
        node: usize,
    },
    /// A copy is made of a node's disk.
    Backup {
        /// Which.
        node: usize,
    },
    /// A node's disk is put back to the last copy of it.
    Restore {
        /// Which.
        node: usize,
    },
    /// A node's disk is put back to the last copy of it, with everything that could tell.
    RollBack {
        /// Which.
        node: usize,
    },
    /// A second node starts under the name of one that goes on.
    Twin {
        /// Whose name.
        node: usize,
        /// On which disk.
        disks: Disks,
        /// Whether it is reached where the other one was, and the other one elsewhere.
        takes_address: bool,
    },
    /// The second node gets a name of its own.
    PartTwins,
    /// An operator at one node counts another out.
    Fence {
        /// Where.
        node: usize,
        /// Whom.
        member: usize,
    },
    /// A node settles conflicts in another way from now on.
    Policy {
        /// Which.
        node: usize,
        /// How.
        policy: ConflictPolicy,
    },
    /// A node selects what goes to a peer and what is taken from it.
    Select {
        /// Who.
        node: usize,
        /// The peer.
        peer: usize,
        /// Whether the database goes out to it.
        goes_out: bool,
        /// Whether the database comes in from it.
        comes_in: bool,
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
    faults.extend(machines(options, nodes, active, seed));
    faults.extend(operators(options, nodes, active, seed));
    faults.extend(long_absences(options, nodes, active, seed));
    faults.extend(identities(options, nodes, active, seed));
    faults
}

/// Machines that are slow, full or rotting.
fn machines(options: &FaultOptions, nodes: usize, active: Millis, seed: &mut Seed) -> Vec<(Millis, Fault)> {
    let mut faults = Vec::new();
    for _ in 0..options.slow_nodes {
        let ((start, end), node) = (span(active, seed), seed.index(nodes));
        faults.push((start, Fault::Slow { node, by: Millis(seed.range(50..15_000)) }));
        faults.push((end, Fault::Slow { node, by: Millis(0) }));
    }
    for _ in 0..options.full_disks {
        let ((start, end), node) = (span(active, seed), seed.index(nodes));
        faults.push((start, Fault::Fill { node, room: seed.range(0..64 * 1024) }));
        faults.push((end, Fault::MakeRoom { node }));
    }
    for _ in 0..options.rots {
        let (start, _) = span(active, seed);
        faults.push((start, Fault::Rot { node: seed.index(nodes), bits: seed.range(1..40) }));
    }
    faults
}

/// What people do to a cluster that runs.
fn operators(options: &FaultOptions, nodes: usize, active: Millis, seed: &mut Seed) -> Vec<(Millis, Fault)> {
    let mut faults = Vec::new();
    for _ in 0..options.partings {
        let ((start, end), (node, peer)) = (span(active, seed), two_of(nodes, seed));
        faults.push((start, Fault::Part { node, peer }));
        faults.push((end, Fault::Meet { node, peer }));
        if seed.chance(50) {
            faults.push((start, Fault::Part { node: peer, peer: node }));
            faults.push((end, Fault::Meet { node: peer, peer: node }));
        }
    }
    for _ in 0..options.wipes {
        let (start, _) = span(active, seed);
        faults.push((start, Fault::Wipe { node: seed.index(nodes) }));
    }
    for _ in 0..options.restores {
        let ((start, end), node) = (span(active, seed), seed.index(nodes));
        faults.push((start, Fault::Backup { node }));
        faults.push((end, Fault::Restore { node }));
    }
    for _ in 0..options.fences {
        let ((start, _), (node, member)) = (span(active, seed), two_of(nodes, seed));
        faults.push((start, Fault::Fence { node, member }));
        if seed.chance(40) {
            faults.push((start, Fault::Fence { node: member, member: node }));
        }
    }
    for _ in 0..options.filters {
        let ((start, end), (node, peer)) = (span(active, seed), two_of(nodes, seed));
        let (goes_out, comes_in) = *seed.pick(&[(false, false), (true, false), (false, true)]);
        faults.push((start, Fault::Select { node, peer, goes_out, comes_in }));
        faults.push((end, Fault::Select { node, peer, goes_out: true, comes_in: true }));
    }
    for _ in 0..options.policies {
        // Half of them from the start.
        let at = if seed.chance(50) { 0 } else { seed.range(0..active.0) };
        let policy = *seed.pick(&ConflictPolicy::ALL);
        faults.push((Millis(at), Fault::Policy { node: seed.index(nodes), policy }));
    }
    faults
}

/// Nodes that are away, or out of reach, for longer than a lease lasts.
fn long_absences(options: &FaultOptions, nodes: usize, active: Millis, seed: &mut Seed) -> Vec<(Millis, Fault)> {
    let mut faults = Vec::new();
    let long = |seed: &mut Seed| {
        let length = seed.range(active.0 / 2..active.0);
        let start = seed.range(0..active.0 - length + 1);
        (Millis(start), Millis(start + length))
    };
    for _ in 0..options.absences {
        let ((start, end), node) = (long(seed), seed.index(nodes));
        faults.push((start, Fault::Crash { node, is_torn: false, away: end.since(start) }));
    }
    for _ in 0..options.partitions {
        let ((start, end), border) = (long(seed), 1 + seed.index(nodes - 1));
        let pairs = (0..border).flat_map(|one| (border..nodes).flat_map(move |other| [(one, other), (other, one)]));
        for (from, to) in pairs {
            faults.push((start, Fault::Cut { from, to }));
            faults.push((end, Fault::Mend { from, to }));
        }
    }
    faults
}

/// Copies and backups that do not know that they are.
fn identities(options: &FaultOptions, nodes: usize, active: Millis, seed: &mut Seed) -> Vec<(Millis, Fault)> {
    let mut faults = Vec::new();
    if options.twins > 0 {
        // The last node is the one that becomes a twin.
        let ((start, end), node) = (span(active, seed), seed.index(nodes - 1));
        let disks = *seed.pick(&[Disks::Copied, Disks::Snapshot, Disks::Snapshot, Disks::Empty]);
        let takes_address = seed.chance(30);
        faults.push((start, Fault::Twin { node, disks, takes_address }));
        if seed.chance(50) {
            faults.push((end, Fault::PartTwins));
        }
    }
    for _ in 0..options.rollbacks {
        let ((start, end), node) = (span(active, seed), seed.index(nodes));
        faults.push((start, Fault::Backup { node }));
        faults.push((end, Fault::RollBack { node }));
    }
    faults
}

/// When the newcomers among the nodes join; all others are there from the start.
pub fn newcomers(options: &FaultOptions, nodes: usize, active: Millis, seed: &mut Seed) -> Vec<(usize, Millis)> {
    let count = usize::try_from(options.newcomers).unwrap_or(0).min(nodes - 1);
    (nodes - count..nodes).map(|node| (node, Millis(seed.range(1..active.0)))).collect()
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
