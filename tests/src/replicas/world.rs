//! Nodes, clients, operators and trouble under one clock.
//!
//! ```text
//!   all start ─► they find each other ─► clients write, trouble strikes ─► all is healed ─► one leads, all have everything
//! ```
//!
//! What must stay true: the same seed gives the same world, event for event.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use holdfast_core::chain::Chains;
use holdfast_core::replica::role::Role;
use holdfast_core::time::Millis;
use holdfast_core::vector::Vector;

use crate::checkers::history::History;
use crate::checkers::sameness::Sameness;
use crate::checkers::{
    self, Checker, Ending, Finding, NodeEnding, causality, convergence, counters, digests, durability, exactly_once,
    replay, resurrection,
};
use crate::node::name_of;
use crate::replicas::line::{Arrival, Item, Lines};
use crate::replicas::node::{Answered, Node, Order, Outbox, Setup, Stimulus};
use crate::replicas::scenario::Scenario;
use crate::replicas::watch::Watch;
use crate::seed::Seed;
use crate::workload::Workload;

/// Events that are kept, and that a failure shows.
const RECENT_MAX: usize = 100_000;
const SHOWN_MAX: usize = 80;
/// How long nodes have to find each other before trouble begins, in most worlds.
const CALM: Millis = Millis(3_000);
/// How long a healed world may take to come to rest.
const REST_WITHIN: Millis = Millis(5 * 60 * 1_000);
/// How long a machine takes to start again after it failed by itself.
const RESTART: Millis = Millis(500);
/// How long it takes to learn that nobody is there, and that no answer comes.
const REFUSED_AFTER: Millis = Millis(5);
const UNREACHED_AFTER: Millis = Millis(3_000);

/// What is looked at in the end.
pub const CHECKERS: [Checker; 10] = [
    ("findings", checkers::findings),
    ("exactly_once", exactly_once::check),
    ("durability", durability::check),
    ("convergence", convergence::check),
    ("counters", counters::check),
    ("resurrection", resurrection::check),
    ("replay", replay::check),
    ("causality", causality::check),
    ("digests", digests::check),
    ("sameness", checkers::sameness::check),
];

/// Why a world has failed, with what happened before.
#[derive(Debug)]
pub struct Failure {
    /// What should have been and was not.
    pub reason: String,
    /// What kind of world it was.
    pub scenario: Box<Scenario>,
    /// The last events, oldest first.
    pub recent: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:#?}", self.scenario)?;
        let skipped = if f.alternate() { 0 } else { self.recent.len().saturating_sub(SHOWN_MAX) };
        self.recent.iter().skip(skipped).try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "{}", self.reason)
    }
}

/// Runs the world of a seed and checks it.
pub fn run(number: u64) -> Result<Ending, Failure> {
    let mut seed = Seed::new(number);
    let scenario = Scenario::drawn_from(&mut seed);
    let end = play(&scenario, seed)?;
    match checked(&end) {
        Ok(()) => Ok(end),
        Err(reason) => Err(Failure { reason, scenario: Box::new(scenario), recent: end.recent }),
    }
}

/// What any checker has to say.
pub fn checked(end: &Ending) -> Result<(), String> {
    let failed = CHECKERS.iter().filter_map(|(name, check)| Some(format!("{name}: {}", check(end).err()?)));
    let reason = failed.collect::<Vec<_>>().join("\n");
    if reason.is_empty() { Ok(()) } else { Err(reason) }
}

/// Plays a scenario to its end, unchecked but for what was seen on the way.
pub fn play(scenario: &Scenario, seed: Seed) -> Result<Ending, Failure> {
    World::new(scenario.clone(), seed).play()
}

/// Something that will happen.
#[derive(Debug)]
enum Occurrence {
    Told { node: usize, life: u64, stimulus: Stimulus },
    Arrives(Arrival),
    Client,
    Strikes(Trouble),
    Starts(usize),
}

/// One piece of trouble, or its end.
#[derive(Debug, Clone)]
enum Trouble {
    Cut { ways: Vec<(usize, usize)> },
    Mend { ways: Vec<(usize, usize)> },
    Isolate { until: Millis },
    Crash { of_leader: bool, is_torn: bool, at_promise: bool, away: Millis },
    Clock { node: usize, skew: i64 },
    Slow { node: usize, by: Millis },
    Order { of_leader: bool, order: Order },
    LoseDisk,
}

struct World {
    scenario: Scenario,
    now: Millis,
    events: BTreeMap<(Millis, u64), Occurrence>,
    planned: u64,
    nodes: Vec<Node>,
    lines: Lines,
    workload: Workload,
    seed: Seed,
    watch: Watch,
    sameness: Sameness,
    history: History,
    answered: Vec<Answered>,
    findings: Vec<Finding>,
    seen: BTreeMap<&'static str, u64>,
    /// The node whose disk is gone.
    lost: Option<usize>,
    hasher: DefaultHasher,
    recent: VecDeque<String>,
}

impl World {
    fn new(scenario: Scenario, mut seed: Seed) -> Self {
        let setup = |node: usize| Setup {
            leader: scenario.shape.leader_of(node, scenario.nodes),
            silence: scenario.silence,
            sync: (scenario.min_sync, scenario.sync_timeout),
            batch: scenario.batch,
            sabotage: scenario.sabotage,
        };
        let nodes = (0..scenario.nodes).map(|index| Node::new(index, setup(index), seed.fork())).collect();
        let troubles = &scenario.troubles;
        let mut world = Self {
            now: Millis(0),
            events: BTreeMap::new(),
            planned: 0,
            nodes,
            lines: Lines::new(troubles.delay_max, troubles.garbled_percent, seed.fork()),
            workload: Workload::new(seed.fork()),
            watch: Watch::new(seed.fork()),
            seed: seed.fork(),
            sameness: Sameness::default(),
            history: History::default(),
            answered: Vec::new(),
            findings: Vec::new(),
            seen: BTreeMap::new(),
            lost: None,
            hasher: DefaultHasher::new(),
            recent: VecDeque::new(),
            scenario,
        };
        world.plan(&mut seed);
        world
    }

    fn plan(&mut self, seed: &mut Seed) {
        // Whoever is promoted before it has met anybody leads a group of its own for ever.
        let calm = if seed.chance(80) || self.scenario.troubles.promotions > 0 { CALM } else { Millis(0) };
        let Scenario { nodes, writes, active, troubles, .. } = self.scenario.clone();
        for node in 0..nodes {
            self.at(Millis(0), Occurrence::Starts(node));
        }
        for _ in 0..writes {
            self.at(Millis(500 + seed.range(0..active.0 + calm.0)), Occurrence::Client);
        }
        let strikes = planned(&troubles, nodes, active, seed);
        for (at, trouble) in strikes {
            self.at(calm + at, Occurrence::Strikes(trouble));
        }
    }

    fn play(mut self) -> Result<Ending, Failure> {
        self.run_until(CALM + self.scenario.active + Millis(500));
        self.heal();
        self.rest()?;
        for request in self.workload.delete_all().into_iter().take(1) {
            if let Some(leader) = self.leader() {
                self.tell(leader, Stimulus::Client(request));
            }
        }
        self.rest()?;
        if let Some(found) = self.watch.prefixes() {
            self.find(found);
        }
        Ok(self.end())
    }

    fn run_until(&mut self, end: Millis) {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), occurrence) = entry.remove_entry();
            self.now = at;
            self.happen(occurrence);
        }
        self.now = self.now.max(end);
    }

    /// All that was cut is whole, all that is down starts, but for a disk that is gone.
    fn heal(&mut self) {
        self.trace("all is healed".to_owned());
        self.events.retain(|_, occurrence| !matches!(occurrence, Occurrence::Strikes(_) | Occurrence::Starts(_)));
        for arrival in self.lines.heal(self.now) {
            self.at(arrival.at, Occurrence::Arrives(arrival));
        }
        for node in 0..self.nodes.len() {
            if let Some(one) = self.nodes.get_mut(node) {
                one.slow_down(Millis(0));
            }
            self.start(node);
        }
    }

    /// Runs until one leads, the others follow, and all have everything.
    fn rest(&mut self) -> Result<(), Failure> {
        let give_up = self.now + REST_WITHIN;
        let mut since = None;
        loop {
            self.run_until(self.now + Millis(500));
            let is_at_rest = self.is_at_rest();
            since = if is_at_rest { since.or(Some(self.now)) } else { None };
            if since.is_some_and(|since| self.now.since(since) >= Millis(2_000)) {
                return Ok(());
            }
            if self.now > give_up {
                let stands = |node: &Node| {
                    let role = node.replica().map(|replica| (replica.role(), replica.epoch().cloned()));
                    format!("{}: {role:?}, voters {:?}, {:?}", node.origin(), node.voters(), node.shows())
                };
                let stands = self.nodes.iter().map(stands).collect::<Vec<_>>().join("\n");
                return Err(self.fail(format!("the group does not come to rest:\n{stands}")));
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        let left =
            || self.nodes.iter().enumerate().filter(|(index, _)| Some(*index) != self.lost).map(|(_, node)| node);
        let leaders = left().filter(|node| node.replica().is_some_and(|one| one.role() == Role::Leader)).count();
        let epochs: Vec<_> = left().map(|node| node.replica().and_then(|one| one.epoch().cloned())).collect();
        let vectors: Vec<Option<Vector>> = left().map(|node| node.shows().map(|(vector, _)| vector)).collect();
        let is_one = |all: &[Option<Vector>]| all.iter().all(|one| one.is_some() && Some(one) == all.first());
        leaders == 1
            && left().all(Node::is_quiet)
            && epochs.iter().all(|one| one.is_some() && Some(one) == epochs.first())
            && is_one(&vectors)
    }

    /// Who leads in the greatest epoch, of those who run.
    fn leader(&self) -> Option<usize> {
        let leading = self.nodes.iter().enumerate().filter_map(|(index, node)| {
            let replica = node.replica().filter(|replica| replica.role() == Role::Leader)?;
            Some((replica.epoch().cloned(), index))
        });
        leading.max().map(|(_, index)| index)
    }

    fn at(&mut self, at: Millis, occurrence: Occurrence) {
        self.planned += 1;
        self.events.insert((at, self.planned), occurrence);
    }

    fn happen(&mut self, occurrence: Occurrence) {
        match occurrence {
            Occurrence::Told { node, life, stimulus } => {
                if self.nodes.get(node).is_some_and(|node| node.life() == life) {
                    self.tell(node, stimulus);
                }
            }
            Occurrence::Arrives(arrival) => self.deliver(arrival),
            Occurrence::Client => {
                let anybody = self.seed.index(self.nodes.len());
                let leaders = self
                    .nodes
                    .iter()
                    .enumerate()
                    .filter(|(_, node)| node.replica().is_some_and(|replica| replica.role() == Role::Leader));
                let leaders: Vec<usize> = leaders.map(|(index, _)| index).collect();
                let to = if leaders.is_empty() || self.seed.chance(10) { anybody } else { *self.seed.pick(&leaders) };
                let request = self.workload.draw();
                self.tell(to, Stimulus::Client(request));
            }
            Occurrence::Strikes(trouble) => self.suffer(trouble),
            Occurrence::Starts(node) => self.start(node),
        }
    }

    fn deliver(&mut self, Arrival { line, from, to, item, .. }: Arrival) {
        let is_up = self.nodes.get(to).is_some_and(Node::is_up);
        self.trace(format!("n{from} ─► n{to} #{line:x} {}", told(&item)));
        if is_up {
            return self.tell(to, Stimulus::Arrived { line, from, item });
        }
        // Nobody is there: the sender learns it, unless it is cut off.
        if !matches!(item, Item::End)
            && let Some(arrival) = self.lines.send(self.now, line, to, Item::End)
        {
            self.at(arrival.at, Occurrence::Arrives(arrival));
        }
    }

    fn start(&mut self, index: usize) {
        let mut outbox = Outbox::default();
        if self.lost == Some(index) {
            return;
        }
        if let Some(node) = self.nodes.get_mut(index).filter(|node| !node.is_up()) {
            node.start(self.now, &mut outbox);
        }
        self.carry_out(index, outbox);
    }

    fn tell(&mut self, index: usize, stimulus: Stimulus) {
        let mut outbox = Outbox::default();
        if let Some(node) = self.nodes.get_mut(index) {
            node.tell(self.now, stimulus, &mut outbox);
        }
        self.carry_out(index, outbox);
    }

    fn carry_out(&mut self, index: usize, outbox: Outbox) {
        for line in &outbox.lines {
            self.trace(format!("n{index} {line}"));
        }
        self.look_at(index, &outbox);
        self.answered.extend(outbox.answered);
        for seen in outbox.seen {
            *self.seen.entry(seen).or_default() += 1;
        }
        for (line, to) in outbox.dials {
            self.dial(index, line, to);
        }
        for (line, kind, epoch, payload) in outbox.frames {
            let bytes = Node::pack(kind, epoch, &payload);
            self.send(line, index, Item::Frame { bytes, is_garbled: false });
        }
        for line in outbox.closes {
            self.send(line, index, Item::End);
        }
        let life = self.nodes.get(index).map_or(0, Node::life);
        for (after, stimulus) in outbox.later {
            self.at(self.now + after, Occurrence::Told { node: index, life, stimulus });
        }
        if outbox.has_failed {
            self.crash(index, false);
            self.at(self.now + RESTART, Occurrence::Starts(index));
        }
    }

    /// Holds what a node has done against what must be true.
    fn look_at(&mut self, index: usize, outbox: &Outbox) {
        self.findings.extend(outbox.findings.iter().cloned());
        self.watch.logged(&outbox.logged);
        self.history.take_note(index, outbox.logged.clone(), None, &Chains::new());
        let mut found = Vec::new();
        if let Some((vector, digest)) = &outbox.shows {
            let replica = self.nodes.get(index).and_then(Node::replica);
            let is_follower = replica.is_some_and(|replica| replica.role() == Role::Follower);
            found.extend(self.watch.shows(index, vector, *digest, is_follower));
            found.extend(self.sameness.look(&format!("n{index}"), (vector.clone(), Chains::new()), *digest));
        }
        found.extend(outbox.wrote.clone().and_then(|wrote| Watch::wrote(index, wrote)));
        if let Some(elected) = &outbox.leads {
            let knows = self.nodes.get(index).and_then(Node::shows).map(|(vector, _)| vector).unwrap_or_default();
            let is_offered = outbox.seen.contains(&"leads taken over");
            found.extend(self.watch.leads(elected, &knows, is_offered));
        }
        for (follower, reached) in &outbox.reached {
            let node = (0..self.nodes.len()).find(|node| name_of(*node) == *follower);
            if let (Some(node), Some(database)) = (node, self.nodes.get(index).and_then(Node::database)) {
                found.extend(self.watch.reached(node, reached, database));
            }
        }
        for answered in &outbox.answered {
            self.watch.answered(answered);
        }
        for found in found {
            self.find(found);
        }
    }

    fn dial(&mut self, from: usize, line: u64, to: usize) {
        let is_up = self.nodes.get(to).is_some_and(Node::is_up);
        let life = self.nodes.get(from).map_or(0, Node::life);
        let fails_after = match (self.lines.dial(line, from, to), is_up) {
            (true, true) => return,
            (true, false) => REFUSED_AFTER,
            (false, _) => UNREACHED_AFTER,
        };
        self.lines.forget(line);
        let stimulus = Stimulus::NotMade(line);
        self.at(self.now + fails_after, Occurrence::Told { node: from, life, stimulus });
    }

    fn send(&mut self, line: u64, from: usize, item: Item) {
        if let Some(arrival) = self.lines.send(self.now, line, from, item) {
            self.at(arrival.at, Occurrence::Arrives(arrival));
        }
    }

    fn crash(&mut self, index: usize, is_torn: bool) -> bool {
        if !self.nodes.get_mut(index).is_some_and(|node| node.crash(is_torn)) {
            return false;
        }
        self.trace(format!("n{index} goes down"));
        // Now and then its system lives on, and tells the others.
        if self.seed.chance(60) {
            for (line, _) in self.lines.of(index) {
                self.send(line, index, Item::End);
            }
        }
        true
    }

    fn suffer(&mut self, trouble: Trouble) {
        self.trace(format!("{trouble:?}"));
        match trouble {
            Trouble::Cut { ways } => ways.iter().for_each(|(from, to)| self.lines.cut(*from, *to)),
            Trouble::Mend { ways } => {
                for (from, to) in ways {
                    for arrival in self.lines.mend(self.now, from, to) {
                        self.at(arrival.at, Occurrence::Arrives(arrival));
                    }
                }
            }
            Trouble::Isolate { until } => {
                let node = self.leader().unwrap_or_default();
                let others = (0..self.nodes.len()).filter(|other| *other != node);
                let ways: Vec<_> = others.flat_map(|other| [(node, other), (other, node)]).collect();
                for (from, to) in &ways {
                    self.lines.cut(*from, *to);
                }
                self.at(until.max(self.now), Occurrence::Strikes(Trouble::Mend { ways }));
            }
            Trouble::Crash { of_leader, is_torn, at_promise, away } => {
                let node = self.whom(of_leader);
                if at_promise {
                    if let Some(node) = self.nodes.get_mut(node) {
                        node.fail_at_promise();
                    }
                } else if self.crash(node, is_torn) {
                    self.at(self.now + away, Occurrence::Starts(node));
                }
            }
            Trouble::Clock { node, skew } => {
                if let Some(node) = self.nodes.get_mut(node) {
                    node.set_clock(skew);
                }
            }
            Trouble::Slow { node, by } => {
                if let Some(node) = self.nodes.get_mut(node) {
                    node.slow_down(by);
                }
            }
            Trouble::Order { of_leader, order } => {
                let node = self.whom(of_leader);
                self.tell(node, Stimulus::Order(order));
            }
            Trouble::LoseDisk => {
                let node = self.seed.index(self.nodes.len());
                self.crash(node, false);
                self.lost = Some(node);
            }
        }
    }

    fn whom(&mut self, is_leader: bool) -> usize {
        let anybody = self.seed.index(self.nodes.len());
        if is_leader { self.leader().unwrap_or(anybody) } else { anybody }
    }

    fn trace(&mut self, line: String) {
        let line = format!("{} {line}", self.now);
        line.hash(&mut self.hasher);
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(line);
    }

    fn find(&mut self, Finding { checker, what }: Finding) {
        let what = format!("{} {what}", self.now);
        self.trace(format!("{checker}: {what}"));
        self.findings.push(Finding { checker, what });
    }

    fn fail(&self, reason: String) -> Failure {
        let found = self.findings.iter().map(|found| format!("\n{}: {}", found.checker, found.what));
        let reason = format!("{reason}{}", found.collect::<String>());
        Failure { reason, scenario: Box::new(self.scenario.clone()), recent: self.recent.iter().cloned().collect() }
    }

    /// What it holds, at the end.
    fn end(mut self) -> Ending {
        let left = self.nodes.iter().enumerate().filter(|(index, _)| Some(*index) != self.lost);
        let nodes: Vec<NodeEnding> =
            left.filter_map(|(_, node)| Some(NodeEnding::read(node.database()?, node.origin().clone()))).collect();
        for node in &nodes {
            self.trace(format!("{} ends with {:?} and {}", node.origin, node.vector, node.digest));
        }
        // What only a disk held that is gone is gone, unless a majority was said to have it.
        let is_left = |dot: &holdfast_core::vector::Dot| nodes.iter().any(|node| node.vector.covers(dot));
        let is_owed = |answered: &Answered| {
            self.lost.is_none()
                || answered.majority_of.is_some()
                || answered.operations.iter().all(|logged| is_left(&logged.operation.dot))
        };
        let owed: Vec<_> = self.answered.iter().filter(|answered| is_owed(answered)).collect();
        let acknowledged: Vec<_> = owed.into_iter().flat_map(|answered| answered.operations.clone()).collect();
        let mut history = self.history;
        if self.lost.is_some() {
            history.operations.retain(|_, operation| is_left(&operation.dot));
        }
        let majority = self.answered.iter().filter(|answered| answered.majority_of.is_some()).count();
        self.seen.insert("writes that a majority had", majority as u64);
        self.seen.insert("writes answered", self.answered.len() as u64);
        let forgets = self.scenario.troubles.prunings > 0;
        Ending {
            images: self.nodes.iter().map(|node| node.disk().image()).collect(),
            nodes,
            acknowledged,
            transfers: BTreeMap::new(),
            history,
            forgets,
            has_notes: forgets,
            findings: self.findings,
            unproven: Vec::new(),
            unsettled: Vec::new(),
            seen: self.seen,
            trace: self.hasher.finish(),
            recent: self.recent.into(),
            virtual_time: self.now,
        }
    }
}

fn told(item: &Item) -> String {
    match item {
        Item::End => "is over".to_owned(),
        Item::Frame { bytes, is_garbled } => {
            let kind = bytes.get(4).copied().unwrap_or_default();
            format!("kind {kind}, {} bytes{}", bytes.len(), if *is_garbled { ", broken" } else { "" })
        }
    }
}

/// What strikes when, within the active part.
fn planned(
    troubles: &crate::replicas::scenario::Troubles,
    nodes: usize,
    active: Millis,
    seed: &mut Seed,
) -> Vec<(Millis, Trouble)> {
    let mut strikes = Vec::new();
    for _ in 0..troubles.cuts {
        let ((start, end), from) = (span(active, seed), seed.index(nodes));
        let to = (from + 1 + seed.index(nodes - 1)) % nodes;
        let ways = if seed.chance(50) { vec![(from, to), (to, from)] } else { vec![(from, to)] };
        strikes.push((start, Trouble::Cut { ways: ways.clone() }));
        strikes.push((end, Trouble::Mend { ways }));
    }
    for _ in 0..troubles.isolations {
        let (start, end) = span(active, seed);
        strikes.push((start, Trouble::Isolate { until: CALM + end }));
    }
    for _ in 0..troubles.crashes {
        let (start, end) = span(active, seed);
        let of_leader = seed.chance(troubles.leader_crashes_percent);
        let (is_torn, at_promise) = (seed.chance(troubles.torn_percent), seed.chance(troubles.at_promise_percent));
        let away = if seed.chance(50) { Millis(seed.range(50..1_500)) } else { end.since(start) };
        strikes.push((start, Trouble::Crash { of_leader, is_torn, at_promise, away }));
    }
    if troubles.skew_max > Millis(0) {
        for node in 0..nodes {
            let width = troubles.skew_max.0;
            let skew = i64::try_from(seed.range(0..2 * width)).unwrap_or(0) - i64::try_from(width).unwrap_or(0);
            let at = if seed.chance(60) { 0 } else { seed.range(0..active.0) };
            strikes.push((Millis(at), Trouble::Clock { node, skew }));
        }
    }
    for _ in 0..troubles.slow_disks {
        let ((start, end), node) = (span(active, seed), seed.index(nodes));
        strikes.push((start, Trouble::Slow { node, by: Millis(seed.range(20..4_000)) }));
        strikes.push((end, Trouble::Slow { node, by: Millis(0) }));
    }
    let mut order = |times: u64, of_leader: bool, order: fn(&mut Seed) -> Order| {
        for _ in 0..times {
            let (start, _) = span(active, seed);
            strikes.push((start, Trouble::Order { of_leader, order: order(seed) }));
        }
    };
    order(troubles.prunings, true, |seed| Order::Prune(seed.range(20..101)));
    order(troubles.prunings, false, |seed| Order::Prune(seed.range(20..101)));
    order(troubles.handovers, true, |_| Order::HandOver);
    order(troubles.promotions, false, |seed| Order::Promote { is_forced: seed.chance(50) });
    if troubles.has_lost_disk && nodes > 2 {
        strikes.push((Millis(seed.range(0..active.0)), Trouble::LoseDisk));
    }
    strikes
}

fn span(active: Millis, seed: &mut Seed) -> (Millis, Millis) {
    let (one, other) = (seed.range(0..active.0), seed.range(0..active.0));
    (Millis(one.min(other)), Millis(one.max(other) + 1))
}
