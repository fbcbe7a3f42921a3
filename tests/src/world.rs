//! A small world in one thread: nodes, clients and a network under a virtual clock, all decided by one number.
//!
//! ```text
//!   seed ─► Scenario ─► events by time ─► nodes ─► messages, timers ─► events
//!                          active part: clients write, faults strike
//!                          then all is healed, and everything must come to rest
//!                          then the checkers look
//! ```
//!
//! What must stay true: the same seed gives the same world, event for event (its trace has the same hash), so that a
//! failure can be run again. Nothing here reads a clock or asks for randomness.

mod scenario;
mod foreign;
mod stage;
mod operators;
mod twins;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use holdfast_core::conflict::policy::ConflictPolicy;
use holdfast_core::operation::Operation;
use holdfast_core::time::Millis;
use holdfast_core::vector::Dot;

use crate::checkers::history::History;
use crate::checkers::leases::Heard;
use crate::checkers::sameness::Sameness;
use crate::checkers::status::Truth;
use crate::checkers::{self, Ending, Finding, Times};
use crate::faults::{self, Fault};
use crate::network::Network;
use crate::node::wire::{Body, Message};
use crate::node::{Node, Outbox, Sabotage, Setup, Stimulus, garble};
use crate::seed::Seed;
use crate::workload::Workload;

use self::foreign::{AGAIN, FOREIGN, Foreign};
pub use self::scenario::Scenario;
use self::twins::Twins;

/// Events that are kept.
const RECENT_MAX: usize = 100_000;
/// Events that a failure shows, unless all are asked for.
const SHOWN_MAX: usize = 60;
/// How long a healed world may take to come to rest.
const REST_WITHIN: Millis = Millis(30 * 60 * 1_000);
/// Beyond one sweep, in which every node asks every peer: time for the answers to come in.
const QUIET_MARGIN: Millis = Millis(2_000);

/// What the seed of a world is changed by for whatever contests names, so that nothing else is drawn otherwise for it.
const CONTESTED: u64 = 0x7477_696e_7321_7477;

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

/// What worlds are drawn with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawing {
    /// Members may be counted out by force, and tombstones go while nodes join.
    pub has_hazards: bool,
    /// Nothing that was added to worlds later: what kept seeds of before were drawn with.
    pub is_plain: bool,
    /// In how many percent of the worlds that allow for it nodes are copied, or set back without knowing it.
    pub contested_percent: u64,
}

/// Runs the world of a seed and checks it.
pub fn run(number: u64, drawing: Drawing) -> Result<Ending, Failure> {
    let mut seed = Seed::new(number);
    let mut scenario = Scenario::drawn_from(&mut seed);
    if !drawing.is_plain {
        scenario = scenario.seasoned(&mut Seed::new(!number));
    }
    let mut beside = Seed::new(number ^ CONTESTED);
    if beside.chance(drawing.contested_percent) {
        scenario = scenario.contested(&mut beside);
    }
    if !drawing.has_hazards {
        scenario = scenario.without_hazards();
    }
    let end = play(&scenario, seed)?;
    let failed = checkers::ALL.iter().filter_map(|(name, check)| Some(format!("{name}: {}", check(&end).err()?)));
    let reason = failed.collect::<Vec<_>>().join("\n");
    if reason.is_empty() {
        return Ok(end);
    }
    Err(Failure { reason, scenario: Box::new(scenario), recent: end.recent })
}

/// Plays a scenario to its end, unchecked.
pub fn play(scenario: &Scenario, seed: Seed) -> Result<Ending, Failure> {
    World::new(scenario.clone(), seed).play()
}

/// Something that will happen.
#[derive(Debug)]
enum Occurrence {
    /// A node is told something, if it still lives the same life.
    Told { node: usize, life: u64, stimulus: Stimulus },
    /// A message arrives.
    Arrives(Message),
    /// Some client writes somewhere.
    Client { node: usize },
    /// The writer of another make writes some more, or sends again what is not confirmed.
    Foreign { writes: bool },
    /// Something goes wrong, or ends to.
    Strikes(Fault),
    /// A node is switched on.
    Starts { node: usize },
}

/// Nodes, clients and a network under one clock.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    now: Millis,
    /// Events by time; those of one moment in the order in which they were planned.
    events: BTreeMap<(Millis, u64), Occurrence>,
    planned: u64,
    under_way: usize,
    nodes: Vec<Node>,
    network: Network,
    workload: Workload,
    foreign: Option<Foreign>,
    acknowledged: Vec<holdfast_storage::record::operation::Logged>,
    transfers: BTreeMap<(Dot, usize), Times>,
    findings: Vec<Finding>,
    sameness: Sameness,
    truth: Truth,
    heard: Heard,
    seen: BTreeMap<&'static str, u64>,
    history: History,
    twins: Twins,
    last_growth: Millis,
    trace: Trace,
}

#[derive(Debug, Default)]
struct Trace {
    hasher: DefaultHasher,
    recent: VecDeque<String>,
}

impl Trace {
    fn add(&mut self, line: String) {
        line.hash(&mut self.hasher);
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(line);
    }
}

impl World {
    /// A world in which everything is about to begin.
    pub fn new(scenario: Scenario, mut seed: Seed) -> Self {
        let sleeper = (scenario.faults.twins > 0).then(|| scenario.nodes - 1);
        let peers = |node| {
            let mut peers = scenario.topology.peers_of(node, scenario.nodes);
            peers.retain(|peer| Some(*peer) != sleeper);
            peers
        };
        // The last one, but for a twin.
        let wrong = sleeper.unwrap_or(scenario.nodes).saturating_sub(1);
        let mut nodes = Vec::with_capacity(scenario.nodes);
        for index in 0..scenario.nodes {
            let mine = peers(index);
            let calls = |other: &usize| peers(*other).contains(&index) && !mine.contains(other);
            let setup = Setup {
                callers: (0..scenario.nodes).filter(calls).collect(),
                peers: mine.clone(),
                batch: scenario.batch,
                sweep: scenario.sweep,
                sabotage: if index == wrong || scenario.sabotage.is_of_all() {
                    scenario.sabotage
                } else {
                    Sabotage::None
                },
                forgets: scenario.forgets,
                surveys: scenario.surveys,
                policy: ConflictPolicy::LastWriterWins,
                lease: scenario.lease,
                is_contested: scenario.is_contested(),
            };
            nodes.push(Node::new(index, setup, seed.fork()));
        }
        let mut world = Self {
            now: Millis(0),
            events: BTreeMap::new(),
            planned: 0,
            under_way: 0,
            nodes,
            network: Network::new(scenario.faults.clone(), seed.fork()),
            workload: Workload::new(seed.fork()),
            foreign: None,
            acknowledged: Vec::new(),
            transfers: BTreeMap::new(),
            findings: Vec::new(),
            sameness: Sameness::default(),
            truth: Truth::default(),
            heard: Heard::default(),
            seen: BTreeMap::new(),
            history: History::default(),
            twins: Twins::sleeping(sleeper),
            last_growth: Millis(0),
            trace: Trace::default(),
            scenario,
        };
        world.plan(&mut seed);
        world
    }

    fn plan(&mut self, seed: &mut Seed) {
        let Scenario { nodes, writes, active, is_spaced, .. } = self.scenario;
        let late = faults::newcomers(&self.scenario.faults, nodes, active, seed);
        for node in 0..nodes {
            let at = late.iter().find(|(newcomer, _)| *newcomer == node).map_or(Millis(0), |(_, at)| *at);
            self.at(at, Occurrence::Starts { node });
        }
        for number in 0..writes {
            let anywhen = seed.range(0..active.0);
            let at = if is_spaced { 1_000 + number * 1_000 } else { anywhen };
            self.at(Millis(at), Occurrence::Client { node: seed.index(nodes) });
        }
        if self.scenario.faults.foreign > 0 {
            self.foreign = Some(Foreign::new(seed.index(nodes), seed.fork()));
            self.at(AGAIN, Occurrence::Foreign { writes: false });
            for _ in 0..self.scenario.faults.foreign {
                self.at(Millis(seed.range(0..active.0)), Occurrence::Foreign { writes: true });
            }
        }
        for (at, fault) in faults::plan(&self.scenario.faults, nodes, active, seed) {
            self.at(at, Occurrence::Strikes(fault));
        }
    }

    fn play(mut self) -> Result<Ending, Failure> {
        let written = self.scenario.active.max(Millis(1_000 + self.scenario.writes * 1_000));
        let end = if self.scenario.is_spaced { written } else { self.scenario.active };
        self.run_until(end);
        self.heal();
        self.rest()?;
        if self.foreign.is_some() {
            self.settle_letters()?;
        }
        // When all know everything, a delete covers everything: what it deletes has to stay away.
        let last = self.nodes.len() - 1;
        for request in self.workload.delete_all().into_iter().take(1) {
            self.tell(last, Stimulus::Client(request));
        }
        self.rest()?;
        self.end()
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

    /// Runs until nothing happens any more except that nodes look at each other and find nothing.
    fn rest(&mut self) -> Result<(), Failure> {
        let patience = self.scenario.sweep + QUIET_MARGIN;
        let give_up = self.now + REST_WITHIN;
        self.last_growth = self.now;
        loop {
            self.run_until(self.now + Millis(500));
            let is_foreign_quiet = self.foreign.as_ref().is_none_or(Foreign::is_quiet);
            let is_quiet = self.under_way == 0 && is_foreign_quiet && self.nodes.iter().all(Node::is_quiet);
            if is_quiet && self.now.since(self.last_growth) > patience {
                return Ok(());
            }
            if self.now > give_up {
                return Err(self.fail("the world does not come to rest".to_owned()));
            }
        }
    }

    /// What it holds, at the end.
    pub fn end(mut self) -> Result<Ending, Failure> {
        let nodes = self.look()?;
        for node in &nodes {
            self.trace.add(format!("{} ends with {:?} and {}", node.origin, node.vector, node.digest));
        }
        let unproven = self.nodes.iter().flat_map(Node::unproven).collect();
        let unsettled = self.nodes.iter().flat_map(Node::unsettled).collect();
        Ok(Ending {
            unproven,
            unsettled,
            seen: self.seen,
            images: self.nodes.iter_mut().map(Node::image).collect(),
            nodes,
            acknowledged: self.acknowledged,
            transfers: self.transfers,
            findings: self.findings,
            history: self.history,
            forgets: self.scenario.forgets.is_some(),
            has_notes: self.scenario.forgets.is_some() || self.foreign.is_some(),
            trace: self.trace.hasher.finish(),
            recent: self.trace.recent.into(),
            virtual_time: self.now,
        })
    }

    fn fail(&self, reason: String) -> Failure {
        Failure {
            reason,
            scenario: Box::new(self.scenario.clone()),
            recent: self.trace.recent.iter().cloned().collect(),
        }
    }

    fn at(&mut self, at: Millis, occurrence: Occurrence) {
        self.under_way += usize::from(matches!(occurrence, Occurrence::Arrives(_)));
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
            Occurrence::Arrives(message) => self.deliver(message),
            Occurrence::Client { node } => {
                let request = self.workload.draw();
                self.tell(node, Stimulus::Client(request));
            }
            Occurrence::Foreign { writes } => self.play_foreign(writes),
            Occurrence::Strikes(fault) => self.suffer(fault),
            Occurrence::Starts { node } => self.start(node),
        }
    }

    fn deliver(&mut self, Message { from, to, exchange, body, side, garbled }: Message) {
        self.under_way -= 1;
        let way = format!("{} n{from} ─► n{to} #{exchange}", self.now);
        let Some(number) = garbled else {
            self.trace.add(format!("{way} {}", body.line()));
            self.heard.note(self.now, self.twins.at_address_of(from), to);
            if let Some(foreign) = self.foreign.as_mut().filter(|_| to == FOREIGN) {
                return foreign.take(exchange, &body, side.as_deref());
            }
            return self.tell(to, Stimulus::Arrived { from, exchange, body, side });
        };
        self.trace.add(format!("{way} garbled: {}", body.line()));
        if let Some(broken) = garble::broken(&body, number)
            && garble::is_taken(broken)
        {
            self.find("garbled", format!("n{to} took a broken message from n{from}: {}", body.line()));
        }
    }

    fn find(&mut self, checker: &'static str, what: String) {
        self.trace.add(format!("{} {what}", self.now));
        self.findings.push(Finding { checker, what: format!("{} {what}", self.now) });
    }

    fn start(&mut self, index: usize) {
        let mut outbox = Outbox::default();
        if self.twins.sleeper == Some(index) {
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
        for line in outbox.lines {
            self.trace.add(format!("{} n{index} {line}", self.now));
        }
        for Finding { checker, what } in outbox.findings {
            self.find(checker, format!("n{index}: {what}"));
        }
        if let Some((knows, shows)) = outbox.shows {
            self.history.note_knowledge(index, &knows, &outbox.chains);
            if self.scenario.surveys {
                self.truth.note(index, &knows, shows);
            }
            let known = (knows, outbox.chains.clone());
            if let Some(Finding { checker, what }) = self.sameness.look(&format!("n{index}"), known, shows) {
                self.find(checker, what);
            }
        }
        for claim in outbox.claims {
            *self.seen.entry("said InSync").or_default() += 1;
            if let Some(Finding { checker, what }) = self.judge_claim(index, &claim) {
                self.find(checker, what);
            }
        }
        for members in outbox.lapsed {
            let window = Millis(self.scenario.sweep.0 * (2 + self.nodes.len() as u64));
            if let Some(Finding { checker, what }) = self.heard.judge(self.now, index, members, window) {
                self.find(checker, what);
            }
        }
        for seen in outbox.seen {
            *self.seen.entry(seen).or_default() += 1;
        }
        if outbox.has_grown {
            self.last_growth = self.now;
        }
        self.acknowledged.extend(outbox.acknowledged);
        self.history.undecided.extend(outbox.undecided);
        self.history.take_note(index, outbox.logged, outbox.rebased, &outbox.chains);
        let life = self.nodes.get(index).map_or(0, Node::life);
        for (after, stimulus) in outbox.later {
            self.at(self.now + after, Occurrence::Told { node: index, life, stimulus });
        }
        let side = self.nodes.get(index).and_then(Node::side).map(Box::new);
        for (to, exchange, body) in outbox.sends {
            let (to, from) = (self.twins.at_address_of(to), self.twins.at_address_of(index));
            for record in body.operations() {
                let dot = record.clone().into_operation().map(|(_, Operation { dot, .. })| dot);
                if let Ok(dot) = dot {
                    let times = self.transfers.entry((dot, to)).or_default();
                    times.pushed += u64::from(matches!(body, Body::Push(_)));
                    times.pulled += u64::from(matches!(body, Body::Pulled(_)));
                }
            }
            let body = if to == FOREIGN { body } else { self.scenario.forms.carry(index, to, body) };
            for (arrival, garbled) in self.network.arrivals(self.now, index, to) {
                let (body, side) = (body.clone(), side.clone());
                let message = Message { from, to, exchange, body, side, garbled };
                self.at(arrival, Occurrence::Arrives(message));
            }
        }
        if outbox.has_failed {
            if let Some(node) = self.nodes.get_mut(index) {
                node.fail_with_its_disk();
            }
            self.at(self.now + Millis(500), Occurrence::Starts { node: index });
        }
    }
}
