//! The cache in small worlds: real stores on disks that lose power, messages that are lost, late and repeated, clocks that
//! differ, entries that end; and one that knows everything which was ever on a disk, to hold the others against.
//!
//! What a world must end with: every node shows what that one shows, at every later moment; digests agree; nobody sends
//! anything to somebody who knows it; and when everything has ended, nothing is left. What somebody has overwritten or
//! deleted, having seen it, is shown nowhere, whoever touched it meanwhile.
//!
//! Whoever knows everything lets go of nothing. A node does when something has ended; where a touch was on its way to all
//! of them then, they may show what that one does not: the same on all of them, and seldom.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use holdfast_core::cache::{
    CacheAction, CacheChanges, CacheCommand, CacheEvent, CacheKey, CacheMessage, CacheQuestion, CacheScope,
    CacheSession, CacheSource, CacheWays, Content, KeyState, Lifetime, When, asked,
};
use holdfast_core::counter::Amount;
use holdfast_core::id::NodeName;
use holdfast_core::time::Millis;
use holdfast_core::vector::{Origin, Position, Vector};
use holdfast_storage::cache::{CacheChange, CacheTaken};
use holdfast_storage::commit::{Moment, Writer};
use holdfast_storage::database::{Database, Options};
use holdfast_storage::request::{Answer, Request};
use holdfast_tests::disk::{Disk, DiskImage};
use holdfast_tests::network::Topology;
use holdfast_tests::seed::{self, Seed};

/// Worlds in a usual run.
const WORLDS: u64 = 300;
/// Steps of a world before it is left to rest.
const STEPS: u64 = 120;
/// Keys that everybody writes.
const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// How far a clock may be off, either way.
const SKEW_MAX: u64 = 2_000;
/// Rounds in which everybody tells everybody; far more than a chain needs.
const ROUNDS_MAX: usize = 24;
/// Things that a session does in a row; far more than there are keys.
const ACTIONS_MAX: usize = 2_000;
/// Time between two looks at a peer that nothing calls for.
const SWEEP: Millis = Millis(60_000);
/// How long what came from others waits at most before it is passed on.
const PASSED_ON_WITHIN: u64 = 1_000;
const ALL_KEYS: usize = 1_000;
const DAY: u64 = 24 * 60 * 60 * 1_000;

/// A mistake that a world is given on purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// Messages claim what they do not bring.
    ClaimsWithoutStates,
    /// What has not ended is let go of.
    SweepsTooEarly,
    /// What was counted is not told.
    ForgetsOnePart,
    /// New ends are not told.
    ForgetsTouches,
    /// A touch is told as a later write of the same value.
    TouchesWriteAgain,
}

struct Node {
    name: NodeName,
    incarnation: u64,
    disk: Disk,
    database: Database,
    writer: Writer,
    skew: u64,
    /// With each peer, since the start of the node.
    sessions: BTreeMap<usize, CacheSession>,
    backup: Option<DiskImage>,
    /// What was overwritten here and is not synced yet.
    overwritten: Vec<(CacheKey, String)>,
}

struct World {
    seed: Seed,
    now: u64,
    nodes: Vec<Node>,
    peers: Vec<Vec<usize>>,
    late: Vec<(usize, CacheMessage)>,
    /// All that was ever synced by anybody.
    known: BTreeMap<CacheKey, KeyState>,
    /// What was overwritten or deleted by somebody who had seen it, synced.
    overwritten: BTreeSet<(CacheKey, String)>,
    /// Looks at a key at a moment, and those of which a touch was on its way when its end came.
    looks: [u64; 2],
    sent: u64,
    random: u64,
    mistake: Mistake,
}

fn key(name: &str) -> CacheKey {
    CacheKey::parse(name).unwrap()
}

fn open(disk: &Disk, name: &NodeName, incarnation: u64) -> (Database, Writer) {
    let origin = Origin { node: name.clone(), incarnation };
    let options = Options { undurable_age_max: Millis(1_000), ..Options::default() };
    let opened = Database::open("shop", disk.file("log"), disk.file("data"), origin, 7, options).unwrap();
    (opened.database, opened.writer)
}

impl Node {
    fn new(number: usize, skew: u64) -> Self {
        let (name, disk) = (NodeName::parse(&format!("n{number}")).unwrap(), Disk::new());
        let (database, writer) = open(&disk, &name, 1);
        let (sessions, backup, overwritten) = (BTreeMap::new(), None, Vec::new());
        Self { name, incarnation: 1, disk, database, writer, skew, sessions, backup, overwritten }
    }

    /// Goes on with a disk as it is now.
    fn restart(&mut self, disk: Disk, is_another_life: bool) {
        self.incarnation += u64::from(is_another_life);
        (self.database, self.writer) = open(&disk, &self.name, self.incarnation);
        self.disk = disk;
        self.sessions.clear();
        self.overwritten.clear();
    }

    fn source(&self) -> CacheSource {
        CacheSource { origin: self.writer.origin().clone(), log_id: self.database.log_id() }
    }

    fn position(&self) -> Position {
        self.writer.cache_state().position
    }

    fn states(&self) -> Vec<(CacheKey, KeyState)> {
        let view = self.database.view().unwrap();
        view.cache_changes(Position::START, &Vector::new(), ALL_KEYS, usize::MAX).unwrap().states
    }

    fn shown(&self, key: &CacheKey, at: u64) -> Option<String> {
        let view = self.database.view().unwrap();
        let shown = view.cache_entry(CacheScope::Shared, key, Millis(at)).unwrap()?;
        Some(String::from_utf8(shown.content.bytes.clone()).unwrap())
    }
}

impl World {
    fn new(mut seed: Seed, mistake: Mistake) -> Self {
        let count = 2 + seed.index(3);
        let topology = *seed.pick(&[Topology::Chain, Topology::Ring, Topology::Star, Topology::Mesh]);
        let is_skewed = seed.chance(50);
        let nodes: Vec<Node> = (0..count)
            .map(|number| Node::new(number, if is_skewed { seed.range(0..2 * SKEW_MAX) } else { SKEW_MAX }))
            .collect();
        let peers = (0..count).map(|node| topology.peers_of(node, count).into_iter().collect()).collect();
        let (late, known) = (Vec::new(), BTreeMap::new());
        let now = 1_700_000_000_000;
        let overwritten = BTreeSet::new();
        Self { seed, now, nodes, peers, late, known, overwritten, looks: [0; 2], sent: 0, random: 0, mistake }
    }

    fn clock(&self, node: usize) -> Millis {
        Millis(self.now + self.nodes[node].skew - SKEW_MAX)
    }

    fn commit(&mut self, node: usize, request: Request) -> Answer {
        let now = self.clock(node);
        self.random += 1;
        let random = u128::from(self.random);
        let mut moment = Moment { now, random: &mut || random };
        let answer = self.nodes[node].writer.commit(&mut moment, vec![request]).unwrap().pop().unwrap();
        self.remember(node);
        answer
    }

    /// Whoever knows everything learns what this node has on its disk.
    fn remember(&mut self, node: usize) {
        if self.nodes[node].writer.has_unsynced_cache() {
            return;
        }
        self.overwritten.extend(std::mem::take(&mut self.nodes[node].overwritten));
        for (key, state) in self.nodes[node].states() {
            self.known.entry(key).or_default().merge(state);
        }
    }

    fn write(&mut self, node: usize) {
        let ttl = Millis(*self.seed.pick(&[20, 500, 5_000, 60_000, 900_000]));
        let command = match self.seed.range(0..10) {
            0..=3 => CacheCommand::Set {
                content: Content::json(format!("\"{}\"", self.random)),
                lifetime: if self.seed.chance(20) { Lifetime::KeepOr(ttl) } else { Lifetime::For(ttl) },
            },
            4..=6 => {
                let amount = Amount::from_billionths(i128::from(self.seed.range(1..9)) * 1_000_000_000);
                CacheCommand::Add { amount, lifetime: ttl }
            }
            7 => CacheCommand::Set { content: Content::json("100"), lifetime: Lifetime::For(ttl) },
            8 => CacheCommand::Touch { lifetime: ttl },
            _ => CacheCommand::Delete,
        };
        let overwrites = matches!(command, CacheCommand::Set { .. } | CacheCommand::Delete);
        let change = CacheChange {
            scope: CacheScope::Shared,
            key: key(KEYS[self.seed.index(KEYS.len())]),
            command,
            when: When::Always,
            wants_value: false,
            is_relaxed: self.seed.chance(30),
        };
        // Texts are set once each.
        let before = self.nodes[node].shown(&change.key, self.clock(node).0).filter(|text| text.starts_with('"'));
        if let Some(text) = before.filter(|_| overwrites) {
            self.nodes[node].overwritten.push((change.key.clone(), text));
        }
        self.commit(node, Request::Cache(vec![change]));
    }

    /// A message arrives; gives what its receiver answers.
    fn deliver(&mut self, to: usize, mut message: CacheMessage) -> CacheTaken {
        self.sent += message.states.len() as u64;
        match self.mistake {
            Mistake::ClaimsWithoutStates => message.states.truncate(1),
            Mistake::ForgetsOnePart => message.states.iter_mut().for_each(|(_, state)| state.counts.clear()),
            Mistake::ForgetsTouches => message.states.iter_mut().for_each(|(_, state)| state.touches.clear()),
            Mistake::TouchesWriteAgain => message.states.iter_mut().for_each(|(_, state)| write_again(state)),
            Mistake::None | Mistake::SweepsTooEarly => {}
        }
        // As it goes over the wire.
        let message = CacheMessage::decode(&message.encode()).unwrap();
        assert!(message.states.iter().all(|(_, state)| state.is_plausible()), "a good node sends what cannot be");
        match self.commit(to, Request::TakeCacheNews(message)) {
            Answer::CacheNewsTaken(taken) => taken,
            answer => panic!("{answer:?}"),
        }
    }

    /// Sends a message; the answer, if both get through. What is sent may come once more, later.
    fn send(&mut self, to: usize, message: CacheMessage, is_reliable: bool) -> Option<CacheTaken> {
        if is_reliable {
            return Some(self.deliver(to, message));
        }
        if self.seed.chance(20) {
            self.late.push((to, message.clone()));
        }
        let is_lost = self.seed.chance(15);
        let is_answer_lost = self.seed.chance(15);
        if is_lost {
            return None;
        }
        let taken = self.deliver(to, message);
        (!is_answer_lost).then_some(taken)
    }

    /// What has changed at a node and may leave it.
    fn changes(&mut self, node: usize, after: Position, vector: &Vector) -> CacheChanges {
        self.sync(node);
        let few = 1 + self.seed.index(5);
        self.nodes[node].database.view().unwrap().cache_changes(after, vector, few, usize::MAX).unwrap()
    }

    fn sync(&mut self, node: usize) {
        if self.nodes[node].writer.has_unsynced_cache() {
            self.nodes[node].writer.sync_cache().unwrap();
            self.remember(node);
        }
    }

    /// Something happens at a node that concerns a peer: its session does what is to be done, until it rests.
    fn drive(&mut self, node: usize, peer: usize, event: CacheEvent, is_reliable: bool) {
        let now = Millis(self.now);
        let here = self.nodes[node].position();
        let ways = CacheWays { tells: true, asks: true };
        let begin = || CacheSession::new(ways, SWEEP, here, now);
        let mut session = self.nodes[node].sessions.remove(&peer).unwrap_or_else(begin);
        let mut action = session.handle(now, event);
        for _ in 0..ACTIONS_MAX {
            if matches!(action, CacheAction::Rest { .. }) {
                self.nodes[node].sessions.insert(peer, session);
                return;
            }
            let done = self.carry_out(node, peer, &session, action, is_reliable);
            let event = done.unwrap_or(CacheEvent::Failed { random: self.seed.range(0..1_000) });
            action = session.handle(now, event);
        }
        panic!("a story that never ends");
    }

    /// Does what a session says, as the server does; `None` when it fails.
    fn carry_out(
        &mut self,
        node: usize,
        peer: usize,
        session: &CacheSession,
        action: CacheAction,
        is_reliable: bool,
    ) -> Option<CacheEvent> {
        let source = self.nodes[node].source();
        let told = |taken: CacheTaken| CacheEvent::Heard { vector: taken.vector, reach: taken.reach };
        match action {
            CacheAction::Rest { .. } => Some(CacheEvent::Woken),
            CacheAction::LookUp => {
                let view = self.nodes[node].database.view().unwrap();
                let checkpoint = view.cache_checkpoint(&self.nodes[peer].name).unwrap();
                let (after, log_id) = (checkpoint.reach.all, checkpoint.log_id);
                let vector = view.cache_state().unwrap().vector;
                Some(CacheEvent::LookedUp(CacheQuestion { after, log_id, vector }))
            }
            CacheAction::Ask(question) => self.ask(node, peer, question, is_reliable),
            CacheAction::Compare => Some(CacheEvent::Compared(None)),
            CacheAction::Read { after } => {
                let changes = self.changes(node, after, &session.lane().vector);
                Some(CacheEvent::Read(source, changes))
            }
            CacheAction::Offer => self.send(peer, source.empty(), is_reliable).map(told),
            CacheAction::Tell(message) => self.send(peer, message, is_reliable).map(told),
            CacheAction::GiveUp => panic!("a session gives up: {session:?}"),
        }
    }

    /// One node asks another what has changed there.
    fn ask(&mut self, node: usize, peer: usize, question: CacheQuestion, is_reliable: bool) -> Option<CacheEvent> {
        let CacheQuestion { after, log_id, vector } = question;
        let source = self.nodes[peer].source();
        let is_same_log = log_id == source.log_id && after <= self.nodes[peer].position();
        let after = if is_same_log { after } else { Position::START };
        let changes = self.changes(peer, after, &vector);
        let (through, is_end) = (Some(changes.through), changes.vector.is_some());
        self.send(node, asked(&source, after, vector, changes), is_reliable)?;
        Some(CacheEvent::Answered { log_id: source.log_id, through, is_end })
    }

    fn step(&mut self) {
        self.now += *self.seed.pick(&[0, 1, 10, 100, 1_000, 20_000]);
        let node = self.seed.index(self.nodes.len());
        let peers = self.peers[node].clone();
        match self.seed.range(0..100) {
            0..=39 => self.write(node),
            40..=59 => {
                let peer = *self.seed.pick(&peers);
                self.sync(node);
                let here = self.nodes[node].position();
                self.drive(node, peer, CacheEvent::Changed(here), false);
            }
            60..=63 => {
                let peer = *self.seed.pick(&peers);
                self.drive(node, peer, CacheEvent::Woken, false);
            }
            64..=67 => {
                let peer = *self.seed.pick(&peers);
                self.drive(node, peer, CacheEvent::Called, false);
            }
            68..=74 => {
                if !self.late.is_empty() {
                    let at = self.seed.index(self.late.len());
                    let (to, message) = self.late.remove(at);
                    self.deliver(to, message);
                }
            }
            75..=82 => {
                let early = if self.mistake == Mistake::SweepsTooEarly { 600_000 } else { 0 };
                let now = self.clock(node) + Millis(early);
                self.nodes[node].writer.sweep_cache(now, 3).unwrap();
            }
            83..=87 => {
                let _ = self.nodes[node].writer.make_data_durable();
                self.remember(node);
            }
            88..=94 => {
                let image = self.nodes[node].disk.crash(&mut self.seed);
                self.nodes[node].restart(Disk::from_image(&image), false);
                self.remember(node);
            }
            95..=96 => {
                self.nodes[node].writer.settle().unwrap();
                self.remember(node);
                self.nodes[node].backup = Some(self.nodes[node].disk.image());
            }
            // What only this disk held would be lost with it: first everybody hears everything.
            97..=98 => {
                self.settle();
                if let Some(backup) = self.nodes[node].backup.take() {
                    self.nodes[node].restart(Disk::from_image(&backup), true);
                }
            }
            _ => {
                self.settle();
                self.nodes[node].restart(Disk::new(), true);
            }
        }
    }

    /// Everybody tells and asks everybody, until nothing changes any more.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let stands =
                |nodes: &[Node]| nodes.iter().map(|node| node.writer.cache_state().clone()).collect::<Vec<_>>();
            let before = stands(&self.nodes);
            for node in 0..self.nodes.len() {
                self.sync(node);
                let here = self.nodes[node].position();
                for peer in self.peers[node].clone() {
                    self.drive(node, peer, CacheEvent::Called, true);
                    self.drive(node, peer, CacheEvent::Changed(here), true);
                }
            }
            // What waits to be passed on, or to be tried again, is due.
            self.now += PASSED_ON_WITHIN;
            for node in 0..self.nodes.len() {
                for peer in self.peers[node].clone() {
                    self.drive(node, peer, CacheEvent::Woken, true);
                }
            }
            if before == stands(&self.nodes) {
                return;
            }
        }
        panic!("{ROUNDS_MAX} rounds, and still something changes");
    }

    /// What is shown under a key at a moment is what it should be.
    fn look(&mut self, name: &CacheKey, at: u64) -> Result<(), String> {
        let mut state = self.known.get(name).cloned().unwrap_or_default();
        state.let_go(Millis(at));
        let known = state.shown(Millis(at)).map(|shown| String::from_utf8(shown.content.bytes.clone()).unwrap());
        self.looks[0] += 1;
        let first = self.nodes[0].shown(name, at);
        let is_late = first != known && state.holds_more_than_its_parts();
        self.looks[1] += u64::from(is_late);
        let wanted = if is_late { &first } else { &known };
        for node in &self.nodes {
            let shown = node.shown(name, at);
            if shown != *wanted {
                return Err(format!("{} shows {shown:?} under {name}, and it should be {wanted:?}", node.name));
            }
        }
        let is_overwritten = first.is_some_and(|text| self.overwritten.contains(&(name.clone(), text)));
        if is_overwritten && !is_late { Err(format!("what was overwritten under {name} is shown")) } else { Ok(()) }
    }

    fn check(&mut self) -> Result<(), String> {
        self.settle();
        let from = self.now + 2 * SKEW_MAX;
        for at in [0, 1, 700, 6_000, 70_000, 500_000, 1_000_000].map(|later| from + later) {
            for name in KEYS.map(key) {
                self.look(&name, at)?;
            }
        }
        let digest = |node: &Node| node.database.view().unwrap().cache_digest(Millis(from + 60_000)).unwrap();
        let vector = |node: &Node| node.writer.cache_state().vector.clone();
        for node in &self.nodes[1..] {
            if vector(node) != vector(&self.nodes[0]) || digest(node) != digest(&self.nodes[0]) {
                let first = &self.nodes[0];
                let what = |node: &Node| format!("{} knows {:?}: {:#?}", node.name, vector(node), node.states());
                return Err(format!("these differ: {}\n{}", what(first), what(node)));
            }
        }
        let sent = self.sent;
        self.settle();
        if self.sent != sent {
            return Err(format!("{} keys were sent although everybody knew everything", self.sent - sent));
        }
        self.now += 31 * DAY;
        for node in 0..self.nodes.len() {
            let now = self.clock(node);
            self.nodes[node].writer.sweep_cache(now, ALL_KEYS).unwrap();
            let state = self.nodes[node].writer.cache_state();
            if (state.keys, state.bytes) != (0, 0) {
                return Err(format!("{} keys are left after everything has ended", state.keys));
            }
        }
        Ok(())
    }
}

/// As if touching an entry were to set it again.
fn write_again(state: &mut KeyState) {
    for touch in std::mem::take(&mut state.touches) {
        if let Some(write) = state.writes.iter_mut().find(|write| write.dot == touch.of) {
            (write.dot, write.stamp, write.expires, write.until) = (touch.dot, touch.stamp, touch.expires, touch.until);
        }
    }
}

/// How many keys were sent, and the looks; see [`World::looks`].
fn run(seed: Seed, mistake: Mistake) -> Result<(u64, [u64; 2]), String> {
    let mut world = World::new(seed, mistake);
    for _ in 0..STEPS {
        world.step();
    }
    world.check()?;
    Ok((world.sent, world.looks))
}

#[test]
fn caches_end_equal_whatever_is_lost_late_repeated_or_over() {
    let begun = Instant::now();
    let (mut sent, mut looks) = (0, [0; 2]);
    seed::worlds("cache::caches_end_equal_whatever_is_lost_late_repeated_or_over", WORLDS, |seed| {
        let (keys, [all, late]) = run(seed, Mistake::None).unwrap_or_else(|wrong| panic!("{wrong}"));
        sent += keys;
        looks = [looks[0] + all, looks[1] + late];
    });
    assert!(sent > WORLDS * 20, "worlds in which next to nothing is told: {sent} keys");
    let [all, late] = looks;
    assert!(late * 100 <= all, "too much of what is shown is not known: {late} of {all}");
    println!("{WORLDS} worlds of the cache, {sent} keys sent, {:.1} s", begun.elapsed().as_secs_f64());
    println!("of {late} of {all} keys and moments a touch was on its way when the end came");
}

#[test]
fn a_mistake_in_how_caches_are_told_is_noticed() {
    for mistake in [
        Mistake::ClaimsWithoutStates,
        Mistake::SweepsTooEarly,
        Mistake::ForgetsOnePart,
        Mistake::ForgetsTouches,
        Mistake::TouchesWriteAgain,
    ] {
        let mut base = Seed::new(1);
        let is_noticed = (0..20).any(|_| {
            let seed = base.fork();
            // What does not come to rest is noticed too.
            std::panic::catch_unwind(|| run(seed, mistake)).map_or(true, |outcome| outcome.is_err())
        });
        assert!(is_noticed, "nobody notices mistake {}", mistake as u8);
    }
}
