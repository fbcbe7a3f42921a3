//! Thousands of small worlds of one leader and its followers, with cuts, crashes and clocks that differ: who leads, and
//! what becomes of what was written.
//!
//! What is checked in each:
//! * no two nodes lead with one number while a majority is asked for;
//! * what a majority held when it was answered, whoever is elected has;
//! * once all is well again, one node leads, all others know it, and all hold everything.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};

use crate::id::NodeName;
use crate::replica::epoch::Epoch;
use crate::replica::role::{Action, Denied, Kept, Rank, Replica, Role};
use crate::time::Millis;

const WORLDS: u64 = 800;
const SILENCE: Millis = Millis(2_000);
const STEP: u64 = 50;

struct Luck(u64);

impl Luck {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn is(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// A write: the epoch it was made in, and a number of its own.
type Write = (u64, u64);

struct Node {
    name: NodeName,
    replica: Replica,
    /// What its disk holds.
    held: BTreeSet<Write>,
    /// The epoch in which its last write came.
    last_epoch: u64,
    is_up: bool,
    /// How far its clock is off.
    skew: u64,
}

impl Node {
    fn rank(&self) -> Rank {
        let led = self.held.iter().filter(|(epoch, _)| *epoch == self.last_epoch).count() as u64;
        Rank { epoch: self.last_epoch, drops: 0, led, operations: self.held.len() as u64 }
    }

    fn take<'a>(&mut self, writes: impl IntoIterator<Item = &'a Write>) {
        for write in writes {
            self.held.insert(*write);
            self.last_epoch = self.last_epoch.max(write.0);
        }
    }
}

struct World {
    seed: u64,
    luck: Luck,
    now: u64,
    nodes: Vec<Node>,
    cut: BTreeSet<(usize, usize)>,
    /// Who has led with which number.
    led: BTreeMap<u64, NodeName>,
    /// What a majority held when it was answered.
    safe: Vec<Write>,
    next_write: u64,
    /// A rule to break, to see it caught.
    broken: Option<Rule>,
}

#[derive(Clone, Copy, PartialEq)]
enum Rule {
    /// A voter votes for anybody, as often as it is asked.
    OneVote,
    /// A voter does not look how far a candidate is.
    BestWins,
}

impl World {
    fn new(seed: u64, broken: Option<Rule>) -> Self {
        let mut luck = Luck(seed);
        let count = 3 + luck.below(3);
        let names: Vec<NodeName> = (0..count).map(|at| NodeName::parse(&format!("n{at}")).unwrap()).collect();
        let nodes = names.iter().map(|name| {
            let kept = Kept { role: Role::Alone, epoch: None, promised: None };
            let mut replica = Replica::new(name.clone(), kept, Millis(0));
            replica.know_voters(names.iter().cloned());
            let skew = luck.below(100_000) as u64;
            Node { name: name.clone(), replica, held: BTreeSet::new(), last_epoch: 0, is_up: true, skew }
        });
        let nodes: Vec<Node> = nodes.collect();
        let (cut, led) = (BTreeSet::new(), BTreeMap::new());
        let mut world = Self { seed, luck, now: 0, nodes, cut, led, safe: Vec::new(), next_write: 0, broken };
        let clock = world.clock(0);
        let first = world.nodes[0].replica.lead(clock).unwrap();
        world.carry_out(0, first);
        for at in 1..world.nodes.len() {
            let clock = world.clock(at);
            world.nodes[at].replica.follow(clock);
            world.nodes[at].replica.watch(Some(SILENCE), clock);
        }
        world
    }

    fn clock(&self, at: usize) -> Millis {
        Millis(self.now + self.nodes[at].skew)
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        self.nodes[from].is_up
            && self.nodes[to].is_up
            && !self.cut.contains(&(from, to))
            && !self.cut.contains(&(to, from))
    }

    fn carry_out(&mut self, at: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Keep | Action::WarnOfSplit { .. } | Action::StepDown(_) => {}
                Action::Lead(epoch) => self.leads(at, &epoch),
                Action::Ask { epoch, voters, is_trial } => {
                    let rank = self.nodes[at].rank();
                    for voter in 0..self.nodes.len() {
                        if !voters.contains(&self.nodes[voter].name) || !self.reaches(at, voter) || self.luck.is(10) {
                            continue;
                        }
                        let is_granted = self.vote(voter, &epoch, rank, is_trial);
                        if !self.reaches(voter, at) {
                            continue;
                        }
                        if is_granted {
                            let (clock, name) = (self.clock(at), self.nodes[voter].name.clone());
                            let won = self.nodes[at].replica.voted(clock, &name, &epoch, is_trial);
                            self.carry_out(at, won);
                        } else {
                            let (clock, random) = (self.clock(at), self.luck.next());
                            let known = self.nodes[voter].replica.kept().promised.clone();
                            let name = self.nodes[voter].name.clone();
                            self.nodes[at].replica.refused(clock, &name, &epoch, known.as_ref(), random);
                        }
                    }
                }
            }
        }
    }

    fn vote(&mut self, voter: usize, epoch: &Epoch, theirs: Rank, is_trial: bool) -> bool {
        let (clock, ours) = (self.clock(voter), self.nodes[voter].rank());
        let replica = &mut self.nodes[voter].replica;
        match self.broken {
            Some(Rule::OneVote) => replica.role() != Role::Leader,
            Some(Rule::BestWins) => replica.asked(clock, epoch, (ours, ours), is_trial).is_ok(),
            None => replica.asked(clock, epoch, (theirs, ours), is_trial).is_ok(),
        }
    }

    fn leads(&mut self, at: usize, epoch: &Epoch) {
        let other = self.led.insert(epoch.number, epoch.leader.clone());
        let seed = self.seed;
        assert!(other.is_none_or(|other| other == epoch.leader), "world {seed}: two led with number {}", epoch.number);
        if self.nodes[at].replica.was_elected() {
            for write in &self.safe {
                assert!(
                    self.nodes[at].held.contains(write),
                    "world {seed}: {epoch} lacks {write:?}, which was answered"
                );
            }
        }
    }

    /// A leader writes, its followers take it, and it is answered when a majority has it.
    fn write(&mut self, at: usize) {
        let node = &self.nodes[at];
        if !node.is_up || node.replica.role() != Role::Leader || !node.replica.may_write() {
            return;
        }
        let epoch = node.replica.epoch().unwrap().number;
        self.next_write += 1;
        let write = (epoch, self.next_write);
        self.nodes[at].take([&write]);
        self.stream(at);
        let holders = self.nodes.iter().filter(|node| node.held.contains(&write)).count();
        // The leader itself must still be one: who was told of a greater epoch meanwhile answers nobody.
        if holders > self.nodes.len() / 2 && self.nodes[at].replica.may_write() {
            self.safe.push(write);
        }
    }

    /// What a leader sends to everybody that follows it.
    fn stream(&mut self, leader: usize) {
        let Some(epoch) = self.nodes[leader].replica.epoch().cloned() else { return };
        if epoch.leader != self.nodes[leader].name || !self.nodes[leader].is_up {
            return;
        }
        for to in 0..self.nodes.len() {
            if to == leader || !self.reaches(leader, to) {
                continue;
            }
            let clock = self.clock(to);
            let newest = self.nodes[to].replica.epoch().cloned();
            if newest.as_ref().is_some_and(|newest| *newest > epoch) {
                // It is told that it leads no more.
                let clock = self.clock(leader);
                let actions = self.nodes[leader].replica.see(clock, &newest.unwrap());
                self.carry_out(leader, actions);
                return;
            }
            match self.nodes[to].replica.hear(clock, &epoch) {
                Ok(actions) => self.carry_out(to, actions),
                Err(Denied::Promised(promised)) => {
                    let clock = self.clock(leader);
                    let actions = self.nodes[leader].replica.outbid(clock, &promised);
                    self.carry_out(leader, actions);
                    continue;
                }
                Err(denied) => panic!("world {}: {denied}", self.seed),
            }
            if self.nodes[to].replica.role() != Role::Follower {
                continue;
            }
            let mine: Vec<Write> = self.nodes[leader].held.difference(&self.nodes[to].held).copied().collect();
            let theirs: Vec<Write> = self.nodes[to].held.difference(&self.nodes[leader].held).copied().collect();
            self.nodes[to].take(&mine);
            self.nodes[leader].take(&theirs);
        }
    }

    fn step(&mut self, is_healing: bool) {
        self.now += STEP;
        for at in 0..self.nodes.len() {
            if !self.nodes[at].is_up {
                continue;
            }
            if self.luck.is(30) {
                self.write(at);
            }
            self.stream(at);
            let (clock, random) = (self.clock(at), self.luck.next());
            let actions = self.nodes[at].replica.tick(clock, random);
            self.carry_out(at, actions);
        }
        if is_healing {
            return;
        }
        let (one, other) = (self.luck.below(self.nodes.len()), self.luck.below(self.nodes.len()));
        if self.luck.is(3) {
            self.cut.insert((one, other));
        }
        if self.luck.is(2) {
            self.cut.clear();
        }
        if self.luck.is(2) {
            self.nodes[one].is_up = false;
        }
        if self.luck.is(6) && !self.nodes[other].is_up {
            self.restart(other);
        }
    }

    fn restart(&mut self, at: usize) {
        let clock = self.clock(at);
        let names: Vec<NodeName> = self.nodes.iter().map(|node| node.name.clone()).collect();
        let node = &mut self.nodes[at];
        let kept = node.replica.kept().clone();
        node.replica = Replica::new(node.name.clone(), kept, clock);
        node.replica.know_voters(names);
        node.is_up = true;
        node.replica.watch(Some(SILENCE), clock);
        if node.replica.role() == Role::Leader {
            let actions = node.replica.lead_on(clock);
            self.carry_out(at, actions);
        }
    }

    fn run(mut self) {
        for _ in 0..400 {
            self.step(false);
        }
        self.cut.clear();
        for at in 0..self.nodes.len() {
            if !self.nodes[at].is_up {
                self.restart(at);
            }
        }
        for _ in 0..400 {
            self.step(true);
        }
        let seed = self.seed;
        let leaders: Vec<&NodeName> =
            self.nodes.iter().filter(|node| node.replica.role() == Role::Leader).map(|node| &node.name).collect();
        assert_eq!(leaders.len(), 1, "world {seed}: {leaders:?} lead");
        let known: BTreeSet<_> = self.nodes.iter().map(|node| node.replica.epoch().cloned()).collect();
        assert_eq!(known.len(), 1, "world {seed}: {known:?} are known");
        let held: BTreeSet<&BTreeSet<Write>> = self.nodes.iter().map(|node| &node.held).collect();
        assert_eq!(held.len(), 1, "world {seed}: not all hold the same");
        for write in &self.safe {
            assert!(self.nodes[0].held.contains(write), "world {seed}: {write:?} is lost");
        }
    }
}

#[test]
fn one_node_leads_per_number_and_whoever_is_elected_has_what_was_answered() {
    for seed in 0..WORLDS {
        World::new(seed, None).run();
    }
}

#[test]
fn the_model_catches_voters_that_vote_twice() {
    assert!(is_caught(Rule::OneVote), "two leaders with one number were not seen");
}

#[test]
fn the_model_catches_voters_that_do_not_look_who_knows_more() {
    assert!(is_caught(Rule::BestWins), "an elected leader that lacks what was answered was not seen");
}

fn is_caught(rule: Rule) -> bool {
    (0..WORLDS).any(|seed| std::panic::catch_unwind(|| World::new(seed, Some(rule)).run()).is_err())
}
