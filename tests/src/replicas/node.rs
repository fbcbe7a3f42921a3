//! A node of a group, without sockets, threads or a clock: the real database, the real decisions, the real frames.
//!
//! ```text
//!   client, stretch ─► inbox ─► commit, one group for all that waits ─► answers, receipts, feeds
//!   frame ─► session ─► the lane of its database; heartbeats and controls ─► Replica ─► actions, in order
//! ```
//!
//! It plays the part of the server's tasks and keeps to their order: what is to be remembered is kept before anything
//! that was decided with it happens, and a receipt goes out after the commit.
//!
//! What must stay true: a node that is down has its disk and what it kept, no more.

use std::collections::BTreeMap;

use holdfast::replica::Reached;
use holdfast::replica::kept::Remembered;
use holdfast_core::digest::Digest;
use holdfast_core::id::NodeName;
use holdfast_core::operation::Operation;
use holdfast_core::replica::epoch::Epoch;
use holdfast_core::replica::frame::Kind;
use holdfast_core::replica::heritage::Beginnings;
use holdfast_core::replica::role::{Kept, Replica, Role};
use holdfast_core::replica::seeking::Seeking;
use holdfast_core::time::Millis;
use holdfast_core::vector::{Dot, Origin, Position, Vector};
use holdfast_storage::commit::{Moment, PruneLimit, Writer};
use holdfast_storage::database::Database;
use holdfast_storage::record::operation::{Entry, Logged};
use holdfast_storage::request::{Answer, Request};

use crate::checkers::Finding;
use crate::disk::{Disk, Survival, SyncLoss};
use crate::node::{empty_image, name_of, options};
use crate::replicas::control::Handover;
use crate::replicas::group::{Starting, Told};
use crate::replicas::line::{Item, LineId};
use crate::replicas::sabotage::Sabotage;
use crate::replicas::session::Session;
use crate::replicas::states::Incoming;
use crate::seed::Seed;

/// What the clocks of a world show when it begins.
const EPOCH: i64 = 1_700_000_000_000;
/// How often the rules are asked what the silence of a leader means.
pub(super) const TICK: Millis = Millis(50);
/// How often a node makes its data durable if that is due.
const SETTLE_EVERY: Millis = Millis(1_500);

/// What a node wants done.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Frames to send: on which line, of which kind, in which epoch, what.
    pub frames: Vec<(LineId, Kind, u64, Vec<u8>)>,
    /// Lines to make, and to whom, before anything is sent.
    pub dials: Vec<(LineId, usize)>,
    /// Lines to hang up, after everything was sent.
    pub closes: Vec<LineId>,
    /// What it wants to be told later, after so long.
    pub later: Vec<(Millis, Stimulus)>,
    /// Writes that were answered.
    pub answered: Vec<Answered>,
    /// What should never be seen.
    pub findings: Vec<Finding>,
    /// Operations that have come into the log, whoever wrote them.
    pub logged: Vec<Operation>,
    /// What the node knows and shows, if that has changed; it is on its disk.
    pub shows: Option<(Vector, Digest)>,
    /// It has taken a client's write, in this epoch as far as it has kept one.
    pub wrote: Option<(Role, Option<Epoch>)>,
    /// It leads from now on.
    pub leads: Option<Elected>,
    /// What it counts a follower to have on its disk.
    pub reached: Vec<(NodeName, Reached)>,
    /// What happened that worlds are made for, to be counted.
    pub seen: Vec<&'static str>,
    /// Lines for the trace.
    pub lines: Vec<String>,
    /// Whether it goes down now, and must be started again.
    pub has_failed: bool,
}

/// A write that a client was told is done.
#[derive(Debug, Clone)]
pub struct Answered {
    /// What it became.
    pub operations: Vec<Logged>,
    /// The voters that its leader knew, if a majority of them was said to have it.
    pub majority_of: Option<Vec<NodeName>>,
}

/// How a node came to lead.
#[derive(Debug, Clone)]
pub struct Elected {
    /// In which epoch.
    pub epoch: Epoch,
    /// The voters of whom a majority elected it; none where nobody was asked.
    pub voters: Option<Vec<NodeName>>,
}

/// Something that a node is told.
#[derive(Debug)]
pub enum Stimulus {
    /// A client asks for something.
    Client(Request),
    /// Something arrives.
    Arrived {
        /// On which line.
        line: LineId,
        /// From whom.
        from: usize,
        /// What.
        item: Item,
    },
    /// A line could not be made.
    NotMade(LineId),
    /// The writer takes what waits in the inbox.
    Commit,
    /// Time to make the data durable, if that is due.
    Settle,
    /// A logged stretch is read for a feed.
    Feed(LineId),
    /// Time to look whether writes were waited for long enough.
    SyncDue,
    /// An operator asks for something.
    Order(Order),
    /// What the group's own timers say.
    Group(Told),
}

/// What operators ask of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Hand over to whoever is furthest.
    HandOver,
    /// Lead.
    Promote {
        /// Whatever the rules say.
        is_forced: bool,
    },
    /// Prune the log, up to this percentage of it.
    Prune(u64),
}

/// How a node is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Whom it follows when it is started for the first time; itself to lead.
    pub leader: usize,
    /// How long a leader may be silent.
    pub silence: Millis,
    /// How many followers must have a write, and for how long it waits for them.
    pub sync: (usize, Millis),
    /// Most operations in one message.
    pub batch: usize,
    /// What it does wrong.
    pub sabotage: Sabotage,
}

/// Who waits for the answer to a request.
#[derive(Debug)]
pub(super) enum Caller {
    Client,
    Stretch { line: LineId, log_id: u64 },
}

/// A write that waits for followers.
#[derive(Debug)]
pub(super) struct Waiting {
    operations: Vec<Logged>,
    dot: Dot,
    until: Millis,
}

/// A follower as its leader sees it.
#[derive(Debug, Clone, Default)]
pub(super) struct FollowerAt {
    pub(super) line: Option<LineId>,
    pub(super) endpoint: Option<String>,
    pub(super) reached: Reached,
}

/// How it stands with the leader.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    pub(super) endpoint: Option<String>,
    pub(super) connected: Option<(NodeName, LineId)>,
    pub(super) heard: Option<Millis>,
    pub(super) operations: u64,
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) database: Database,
    pub(super) writer: Writer,
    pub(super) replica: Replica,
    pub(super) remembered: Remembered,
    /// Number of the newest epoch that was kept; in every frame.
    pub(super) number: u64,
    pub(super) started: Millis,
    pub(super) sessions: BTreeMap<LineId, Session>,
    pub(super) followers: BTreeMap<NodeName, FollowerAt>,
    pub(super) upstream: Upstream,
    pub(super) seeking: Option<Seek>,
    pub(super) starting: Option<Starting>,
    pub(super) handover: Option<Handover>,
    /// What it began with as a leader.
    pub(super) beginnings: Option<(Epoch, Beginnings)>,
    pub(super) incoming: Option<Incoming>,
    pub(super) inbox: Vec<(Request, Caller)>,
    pub(super) waiting: Vec<Waiting>,
}

/// The search for the leader.
#[derive(Debug)]
pub(super) struct Seek {
    pub(super) rules: Seeking,
    /// Which pause is waited out: a later one makes it void.
    pub(super) attempt: u64,
    pub(super) begun: Millis,
    pub(super) is_named: bool,
}

/// One node of a world.
#[derive(Debug)]
pub struct Node {
    pub(super) index: usize,
    pub(super) setup: Setup,
    pub(super) identity: Origin,
    pub(super) origin: Origin,
    pub(super) disk: Disk,
    pub(super) seed: Seed,
    /// What it must remember of its group over a restart.
    pub(super) kept: Option<(Kept, Remembered)>,
    pub(super) running: Option<Running>,
    pub(super) dialled: u64,
    life: u64,
    skew: i64,
    slow_by: Millis,
    is_torn_next: bool,
    /// Whether it goes down at its next promise: before it is kept, or after.
    pub(super) fails_at_promise: Option<bool>,
}

impl Node {
    /// A node on an empty disk, not yet started.
    pub fn new(index: usize, setup: Setup, mut seed: Seed) -> Self {
        let origin = Origin { node: name_of(index), incarnation: seed.next_u64() };
        Self {
            index,
            setup,
            identity: origin.clone(),
            origin,
            disk: Disk::from_image(empty_image()),
            seed,
            kept: None,
            running: None,
            dialled: 0,
            life: 0,
            skew: 0,
            slow_by: Millis(0),
            is_torn_next: false,
            fails_at_promise: None,
        }
    }

    /// Opens the database and takes up the part that it had.
    pub fn start(&mut self, now: Millis, outbox: &mut Outbox) {
        let (log, data) = (self.disk.file("log"), self.disk.file("data"));
        let opened = Database::open("shop", log, data, self.identity.clone(), self.seed.next_u64(), options());
        let opened = opened.unwrap_or_else(|error| panic!("a crashed database opens again: {error}"));
        self.life += 1;
        self.origin = opened.writer.origin().clone();
        let (kept, remembered) = self.kept.clone().unwrap_or_else(|| {
            let leader = (self.setup.leader != self.index).then(|| format!("{}:1", name_of(self.setup.leader)));
            (
                Kept { role: Role::Alone, epoch: None, promised: None },
                Remembered { configured: "as it was".to_owned(), leader, ..Remembered::default() },
            )
        });
        let is_first = self.kept.is_none();
        let role = match (is_first, self.setup.leader == self.index) {
            (true, true) => Role::Leader,
            (true, false) => Role::Follower,
            (false, _) => kept.role,
        };
        outbox.lines.push(format!("starts as {} at {}", role.as_str(), opened.writer.state().position));
        let number = kept.epoch.as_ref().map_or(0, |epoch| epoch.number);
        let upstream = Upstream { endpoint: remembered.leader.clone(), ..Upstream::default() };
        let mut replica = Replica::new(name_of(self.index), kept, Millis(0));
        replica.watch(Some(self.setup.silence), Millis(0));
        self.running = Some(Running {
            database: opened.database,
            writer: opened.writer,
            replica,
            remembered,
            number,
            started: now,
            sessions: BTreeMap::new(),
            followers: BTreeMap::new(),
            upstream,
            seeking: None,
            starting: None,
            handover: None,
            beginnings: None,
            incoming: None,
            inbox: Vec::new(),
            waiting: Vec::new(),
        });
        self.know_voters();
        outbox.shows = self.shows();
        self.tell_logged(Position::START, outbox);
        outbox.later.push((TICK, Stimulus::Group(Told::Tick)));
        outbox.later.push((SETTLE_EVERY, Stimulus::Settle));
        self.resume(now, role, outbox);
    }

    /// The power goes, at once or in the middle of the next commit. Answers whether it went.
    pub fn crash(&mut self, is_torn: bool) -> bool {
        if is_torn && !self.is_torn_next && self.is_up() {
            self.is_torn_next = true;
            return false;
        }
        if !self.is_up() {
            return false;
        }
        let survival = match self.seed.range(0..3) {
            0 => Survival::Synced,
            1 => Survival::Everything,
            _ if is_torn => Survival::Synced,
            _ => Survival::Scattered { kept: self.seed.range(1..100), torn: 20 },
        };
        self.running = None;
        (self.is_torn_next, self.fails_at_promise) = (false, None);
        let image = self.disk.crash_with(survival, &mut self.seed.fork());
        self.disk = Disk::from_image(&image);
        true
    }

    /// Sets how far its wall clock is ahead of the world's, in milliseconds.
    pub fn set_clock(&mut self, skew: i64) {
        self.skew = skew;
    }

    /// From now on its disk takes up to so much longer.
    pub fn slow_down(&mut self, by: Millis) {
        self.slow_by = by;
    }

    /// It goes down at its next promise, before it is written down or right after.
    pub fn fail_at_promise(&mut self) {
        self.fails_at_promise = Some(self.seed.chance(50));
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// How often it was started: what was meant for an earlier life does not reach it.
    pub fn life(&self) -> u64 {
        self.life
    }

    /// Who writes here.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Its disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Its database, while it runs.
    pub fn database(&self) -> Option<&Database> {
        self.running.as_ref().map(|running| &running.database)
    }

    /// What it decides by, while it runs.
    pub fn replica(&self) -> Option<&Replica> {
        self.running.as_ref().map(|running| &running.replica)
    }

    /// The voters that it knows.
    pub fn voters(&self) -> Vec<NodeName> {
        self.running.as_ref().map(|running| running.replica.voters().iter().cloned().collect()).unwrap_or_default()
    }

    /// Whether nothing is under way here.
    pub fn is_quiet(&self) -> bool {
        self.running.as_ref().is_some_and(|running| {
            running.inbox.is_empty()
                && running.incoming.is_none()
                && running.waiting.is_empty()
                && running.handover.is_none()
                && running.starting.is_none()
        })
    }

    /// What it knows and shows.
    pub fn shows(&self) -> Option<(Vector, Digest)> {
        let view = self.running.as_ref()?.database.view().expect("a healthy database");
        Some((view.state().expect("a healthy database").vector, view.digest().expect("a healthy database")))
    }

    /// Takes in what happens.
    pub fn tell(&mut self, now: Millis, stimulus: Stimulus, outbox: &mut Outbox) {
        if self.running.is_none() {
            return;
        }
        match stimulus {
            Stimulus::Client(request) => self.submit(request, Caller::Client, outbox),
            Stimulus::Arrived { line, from, item } => self.arrived(now, line, from, item, outbox),
            Stimulus::NotMade(line) => self.line_ended(now, line, None, outbox),
            Stimulus::Commit => self.commit(now, outbox),
            Stimulus::Settle => {
                let wall = self.wall(now);
                if let Some(running) =
                    self.running.as_mut().filter(|running| running.writer.is_durable_commit_due(wall))
                {
                    outbox.has_failed |= running.writer.make_data_durable().is_err();
                }
                outbox.later.push((SETTLE_EVERY, Stimulus::Settle));
            }
            Stimulus::Feed(line) => self.feed(now, line, outbox),
            Stimulus::SyncDue => self.look_at_waiting(now, outbox),
            Stimulus::Order(order) => self.obey(now, order, outbox),
            Stimulus::Group(told) => self.group_told(now, told, outbox),
        }
    }

    /// The node's own wall clock.
    pub(super) fn wall(&self, now: Millis) -> Millis {
        let millis = EPOCH.saturating_add_unsigned(now.0).saturating_add(self.skew);
        Millis(u64::try_from(millis).unwrap_or(0))
    }

    /// Notes what came into the log after a position.
    pub(super) fn tell_logged(&self, after: Position, outbox: &mut Outbox) {
        let Some(running) = &self.running else { return };
        let log = running.database.log().expect("a healthy log");
        let tell = |entry: Entry| {
            outbox.logged.extend(entry.into_operation().map(|logged| logged.operation));
            Ok(())
        };
        log.scan(after, tell).expect("a healthy log");
    }

    pub(super) fn submit(&mut self, request: Request, caller: Caller, outbox: &mut Outbox) {
        let delay = Millis(self.seed.range(0..6 + self.slow_by.0));
        let Some(running) = &mut self.running else { return };
        if running.inbox.is_empty() {
            outbox.later.push((delay, Stimulus::Commit));
        }
        running.inbox.push((request, caller));
    }

    /// Commits what waits, all of it at once, and answers. Here the gate is looked at.
    fn commit(&mut self, now: Millis, outbox: &mut Outbox) {
        let (wall, is_open) = (self.wall(now), self.may_write());
        let ignores_gate = self.setup.sabotage == Sabotage::WritesWithoutLead;
        let Some(running) = &mut self.running else { return };
        let mut waiting = std::mem::take(&mut running.inbox);
        waiting.retain(|(_, caller)| is_open || ignores_gate || !matches!(caller, Caller::Client));
        if waiting.iter().any(|(_, caller)| matches!(caller, Caller::Client)) {
            outbox.wrote =
                Some(self.kept.as_ref().map_or((Role::Alone, None), |(kept, _)| (kept.role, kept.epoch.clone())));
        }
        let (requests, callers): (Vec<Request>, Vec<Caller>) = waiting.into_iter().unzip();
        let before = running.writer.state().position;
        if self.is_torn_next {
            self.disk.fail_sync_after(0, SyncLoss::Nothing);
        }
        let seed = &mut self.seed;
        let mut random = || u128::from(seed.next_u64()) << 64 | u128::from(seed.next_u64());
        let answers = running.writer.commit(&mut Moment { now: wall, random: &mut random }, requests);
        self.disk.heal();
        let Ok(answers) = answers else {
            outbox.lines.push("the disk failed under a commit".to_owned());
            outbox.has_failed = true;
            return;
        };
        let newest = running.writer.state().position;
        outbox.lines.push(format!("commits ({before}, {newest}] for {} requests", answers.len()));
        if newest > before {
            self.tell_logged(before, outbox);
            outbox.shows = self.shows();
        }
        for (answer, caller) in answers.into_iter().zip(callers) {
            match caller {
                Caller::Client => self.answered(now, answer, outbox),
                Caller::Stretch { line, log_id } => self.taken(now, line, log_id, answer, outbox),
            }
        }
        if newest > before {
            self.feed_all(now, outbox);
        }
    }

    /// A client's write is durable here: it is answered, now or when enough followers have it.
    fn answered(&mut self, now: Millis, answer: Answer, outbox: &mut Outbox) {
        let operations: Vec<Logged> = match answer {
            Answer::Each(results) => results.into_iter().flatten().flat_map(|written| written.operations).collect(),
            Answer::Together(Ok(written)) => written.into_iter().flat_map(|written| written.operations).collect(),
            _ => Vec::new(),
        };
        let Some(dot) = operations.last().map(|logged| logged.operation.dot.clone()) else { return };
        let (_, within) = self.setup.sync;
        let until = now + within;
        outbox.later.push((within, Stimulus::SyncDue));
        let Some(running) = &mut self.running else { return };
        running.waiting.push(Waiting { operations, dot, until });
        self.look_at_waiting(now, outbox);
    }

    /// Answers the writes that enough followers have, or that have waited for long enough.
    pub(super) fn look_at_waiting(&mut self, now: Millis, outbox: &mut Outbox) {
        let (required, _) = self.setup.sync;
        let counts_one_more = self.setup.sabotage == Sabotage::CountsTooFew;
        let voters = self.voters();
        let Some(running) = &mut self.running else { return };
        let is_leader = running.replica.role() == Role::Leader;
        let (followers, epoch) = (&running.followers, running.replica.epoch().cloned());
        let beginnings = running.beginnings.as_ref();
        let mut answered = Vec::new();
        running.waiting.retain_mut(|waiting| {
            let counts = |reached: &Reached| {
                let began = beginnings.filter(|(of, _)| Some(of) == epoch.as_ref());
                began.is_some_and(|(_, began)| began.are_passed(|_| reached.through))
                    && reached.vector.covers(&waiting.dot)
            };
            let has = followers.values().filter(|follower| counts(&follower.reached)).count();
            let achieved = if counts_one_more { required } else { has };
            if achieved < required && is_leader && now < waiting.until {
                return true;
            }
            let is_majority = is_leader && voters.len() >= 3 && achieved + 1 > voters.len() / 2 && achieved >= required;
            let majority_of = is_majority.then(|| voters.clone());
            answered.push(Answered { operations: std::mem::take(&mut waiting.operations), majority_of });
            false
        });
        outbox.answered.extend(answered);
    }

    fn obey(&mut self, now: Millis, order: Order, outbox: &mut Outbox) {
        outbox.lines.push(format!("is told: {order:?}"));
        match order {
            Order::HandOver => self.hand_over(now, outbox),
            Order::Promote { is_forced } => self.promote(now, is_forced, outbox),
            Order::Prune(percent) => {
                let Some(running) = &mut self.running else { return };
                let through = Position(running.writer.state().position.0 * percent / 100);
                let limit = PruneLimit { through, older_than: None, entries_max: 1_000 };
                match running.writer.prune(limit) {
                    Ok(pruned) => outbox.lines.push(format!("prunes its log up to {}", pruned.through)),
                    Err(_) => outbox.has_failed = true,
                }
            }
        }
    }
}
