//! A node without sockets, threads or a clock: the real database and the real sync sessions, told what happens.
//!
//! ```text
//!   client, message ─► inbox ─► commit, one group for all that waits ─► answers, replies, news for the sessions
//!   session ─► push: read the log, a moment later send it · pull: ask · checkpoint · wake me
//! ```
//!
//! [`Node::tell`] plays the part of the server's driver: it hands events to the sessions and carries out what they say.
//! What it wants done elsewhere or later it puts into an [`Outbox`]; the world does it.
//!
//! What must stay true: a node that is down has nothing but its disk, and a reply to an exchange that was given up, or
//! was begun in an earlier life, is ignored.

mod driver;
pub mod form;
pub mod garble;
mod hardship;
pub mod identity;
mod membership;
mod policy;
mod sabotage;
mod states;
pub mod survey;
mod upkeep;
pub mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use holdfast::sync::survey::Found;
use holdfast_core::chain::Chains;
use holdfast_core::conflict::ConflictId;
use holdfast_core::conflict::policy::ConflictPolicy;
use holdfast_core::digest::Digest;
use holdfast_core::id::{DocumentId, NodeName};
use holdfast_core::leases::Leases;
use holdfast_core::operation::Operation;
use holdfast_core::sync::forwarding::Filter;
use holdfast_core::sync::message::Standing;
use holdfast_core::sync::session::{Event, Phase, Session};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Origin, Position, Vector};
use holdfast_storage::commit::{Moment, Writer};
use holdfast_storage::database::{Database, Opened, Options};
use holdfast_storage::record::operation::{Entry, Logged};
use holdfast_storage::request::{Answer, Request};

use self::hardship::Hardship;
pub use self::sabotage::Sabotage;
use self::states::Incoming;
use self::survey::{Claim, Look};
pub use self::upkeep::Forgetting;
use self::wire::{Body, Side};
use crate::checkers::{Finding, groups};
use crate::disk::{Disk, DiskImage, Survival, SyncLoss};
use crate::seed::Seed;

/// What the clocks of a world show when it begins.
const EPOCH: i64 = 1_700_000_000_000;
/// How often a node makes its data durable if that is due.
const SETTLE_EVERY: Millis = Millis(1_500);

/// Something that a node is told.
#[derive(Debug)]
pub enum Stimulus {
    /// A client asks for something.
    Client(Request),
    /// A message arrives.
    Arrived {
        /// From this node.
        from: usize,
        /// The exchange that it belongs to.
        exchange: u64,
        /// What it says.
        body: Body,
        /// How its sender stood when it was sent.
        side: Option<Box<Side>>,
    },
    /// The writer takes what waits in the inbox.
    Commit,
    /// The log is read for a push.
    ReadLog {
        /// To this peer.
        peer: usize,
        /// The exchange.
        exchange: u64,
        /// After this position.
        after: Position,
        /// What is left out, as it was known when the read was asked for.
        filter: Filter,
    },
    /// No reply has come in time.
    TimedOut {
        /// From this peer.
        peer: usize,
        /// In this exchange.
        exchange: u64,
    },
    /// A session's wait is over.
    Woken {
        /// The session with this peer.
        peer: usize,
    },
    /// An operator orders something.
    Order(Request),
    /// Time to look at every peer.
    Sweep,
    /// Time to make the data durable, if that is due.
    Settle,
    /// Time to forget what can be forgotten.
    Upkeep,
    /// It is this node's turn to settle a conflict, if that is still there.
    Judge {
        /// The document.
        document: DocumentId,
        /// The conflict.
        conflict: ConflictId,
    },
    /// No page of states has come in time.
    StatesTimedOut {
        /// The question for it.
        number: u64,
    },
}

/// What a node wants done.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Messages to send: to whom, in which exchange, what.
    pub sends: Vec<(usize, u64, Body)>,
    /// What it wants to be told later, after so long.
    pub later: Vec<(Millis, Stimulus)>,
    /// Operations whose writers were answered with success.
    pub acknowledged: Vec<Logged>,
    /// What should never be seen.
    pub findings: Vec<Finding>,
    /// Peers of which it says that they are in sync with it, from now on.
    pub claims: Vec<Claim>,
    /// A member was counted out by its lease, of so many.
    pub lapsed: Vec<usize>,
    /// What happened that worlds are made for, to be counted.
    pub seen: Vec<&'static str>,
    /// What the node knows and shows, if that has changed.
    pub shows: Option<(Vector, Digest)>,
    /// Which branches it knows, where there may be several.
    pub chains: Chains,
    /// Origins of which it and a peer may know two branches, which no log tells apart any more.
    pub undecided: Vec<Origin>,
    /// Operations that have come into the log, whoever wrote them.
    pub logged: Vec<Operation>,
    /// Who it was and what it knew, if it goes on under another incarnation.
    pub rebased: Option<(Origin, Vector)>,
    /// Lines for the trace.
    pub lines: Vec<String>,
    /// Whether the log has grown.
    pub has_grown: bool,
    /// Whether the disk has failed and the node must be started again.
    pub has_failed: bool,
}

/// How a node is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The nodes that it has as peers.
    pub peers: BTreeSet<usize>,
    /// The nodes that have it as a peer while it does not have them: they need hints.
    pub callers: BTreeSet<usize>,
    /// Most operations in one message.
    pub batch: usize,
    /// How often it looks at every peer.
    pub sweep: Millis,
    /// What it does wrong on purpose.
    pub sabotage: Sabotage,
    /// How it forgets, if it does; where nobody forgets, nobody counts members either.
    pub forgets: Option<Forgetting>,
    /// Whether it compares its data with that of its peers.
    pub surveys: bool,
    /// How it settles conflicts.
    pub policy: ConflictPolicy,
    /// How long a member may be silent before it is counted out.
    pub lease: Option<Millis>,
    /// Whether nodes may be copied, or set back without knowing it.
    pub is_contested: bool,
}

/// One node of a world.
#[derive(Debug)]
pub struct Node {
    index: usize,
    setup: Setup,
    /// Who its data directory says that it is.
    identity: Origin,
    /// Who writes in its database: another incarnation, once it was made anew from a peer's states.
    origin: Origin,
    disk: Disk,
    seed: Seed,
    running: Option<Running>,
    life: u64,
    skew: i64,
    exchanges: u64,
    is_torn_next: bool,
    hardship: Hardship,
}

#[derive(Debug)]
struct Running {
    database: Database,
    writer: Writer,
    links: BTreeMap<usize, Link>,
    inbox: Vec<(Request, Caller)>,
    incoming: Option<Incoming>,
    /// Up to here the log was looked through for conflicts.
    looked: Position,
    /// Who was heard, and how long the others are silent.
    leases: Leases,
}

#[derive(Debug)]
struct Link {
    session: Session,
    /// When it is woken next, as it was last told.
    wakes_at: Option<Millis>,
    under_way: Option<Exchange>,
    /// What the peer was told that we know.
    told: Vector,
    /// The survey that waits for its answer.
    look: Option<Look>,
    /// What the peer's clock showed when it last answered one.
    word: Option<Millis>,
    /// What surveys found.
    found: Found,
    /// What we knew when we said that the peer is in sync, if we say so.
    said: Option<Vector>,
}

/// An exchange that waits for its reply.
#[derive(Debug)]
struct Exchange {
    number: u64,
    /// What was sent, for a push.
    after: Position,
    through: Position,
    /// Our log was looked through up to here.
    looked: Position,
}

/// Who waits for the answer to a request.
#[derive(Debug)]
enum Caller {
    Client,
    Push { from: usize, exchange: u64, log_id: u64, after: Position },
    Pull { peer: usize, exchange: u64, has_more: bool, standing: Standing },
    Nobody,
}

/// The name of a node.
pub fn name_of(node: usize) -> NodeName {
    NodeName::parse(&format!("n{node}")).expect("a sound name")
}

/// An empty data file and an empty log file: copying them is faster than creating them for every node.
pub(crate) fn empty_image() -> &'static DiskImage {
    static EMPTY: OnceLock<DiskImage> = OnceLock::new();
    EMPTY.get_or_init(|| {
        let disk = Disk::new();
        for file in ["log", "data"] {
            drop(redb::Builder::new().create_with_backend(disk.file(file)).expect("an empty file becomes a store"));
        }
        disk.image()
    })
}

impl Node {
    /// A node on an empty disk, not yet started.
    pub fn new(index: usize, setup: Setup, mut seed: Seed) -> Self {
        let origin = Origin { node: name_of(index), incarnation: seed.next_u64() };
        let disk = Disk::from_image(empty_image());
        Self {
            index,
            setup,
            identity: origin.clone(),
            origin,
            disk,
            seed,
            running: None,
            life: 0,
            skew: 0,
            exchanges: 0,
            is_torn_next: false,
            hardship: Hardship::default(),
        }
    }

    /// Opens the database and begins a session with every peer.
    pub fn start(&mut self, now: Millis, outbox: &mut Outbox) {
        let opened = match self.open() {
            Ok(opened) => opened,
            // A full disk may not even have room for opening; it is tried again.
            Err(_) if self.hardship.is_disk_limited() => {
                outbox.lines.push("finds no room to start".to_owned());
                outbox.has_failed = true;
                return;
            }
            Err(error) => panic!("a crashed database opens again: {error}"),
        };
        outbox.lines.push(format!("starts at position {}, {} replayed", position(&opened.writer), opened.replayed));
        self.life += 1;
        self.origin = opened.writer.origin().clone();
        let (links, inbox) = (BTreeMap::new(), Vec::new());
        let (database, writer) = (opened.database, opened.writer);
        let (looked, leases) = (Position::START, Leases::default());
        self.running = Some(Running { database, writer, links, inbox, incoming: None, looked, leases });
        for peer in self.setup.peers.clone() {
            self.open_link(now, peer, outbox);
        }
        outbox.shows = self.shows();
        outbox.chains = self.chains();
        outbox.later.push((Millis(self.seed.range(1..self.setup.sweep.0 + 1)), Stimulus::Sweep));
        outbox.later.push((SETTLE_EVERY, Stimulus::Settle));
        self.plan_upkeep(outbox);
        self.look_for_conflicts(outbox);
        self.tell_logged(Position::START, outbox);
    }

    /// Begins a session with a peer, where the last one has left off.
    fn open_link(&mut self, now: Millis, peer: usize, outbox: &mut Outbox) {
        let (local, random) = (self.identity.node.clone(), self.seed.next_u64());
        let Some(running) = &mut self.running else { return };
        let saved = running.writer.checkpoint(&name_of(peer));
        let saved = saved.map(|saved| (saved.peer_log_id, saved.pushed, saved.pulled));
        let session = Session::new(local, saved);
        let found = Found::default();
        let (under_way, told, look, word, said) = (None, Vector::new(), None, None, None);
        let link = Link { session, wakes_at: None, under_way, told, look, word, found, said };
        running.links.insert(peer, link);
        let (newest, vector) = (position(&running.writer), running.writer.state().vector.clone());
        self.handle(now, peer, Event::Committed { newest, vector, random }, outbox);
    }

    fn open(&mut self) -> Result<Opened, holdfast_storage::error::StorageError> {
        let (log, data) = (self.disk.file("log"), self.disk.file("data"));
        Database::open("shop", log, data, self.identity.clone(), self.seed.next_u64(), options())
    }

    /// The power goes, at once or in the middle of the next commit.
    pub fn crash(&mut self, is_torn: bool) -> bool {
        if is_torn && !self.is_torn_next && self.is_up() {
            self.is_torn_next = true;
            return false;
        }
        let survival = match self.seed.range(0..3) {
            0 => Survival::Synced,
            1 => Survival::Everything,
            // Which commit a torn one leaves behind must not depend on the order of its writes.
            _ if is_torn => Survival::Synced,
            _ => Survival::Scattered { kept: self.seed.range(1..100), torn: 20 },
        };
        self.running = None;
        self.is_torn_next = false;
        let image = self.disk.crash_with(survival, &mut self.seed.fork());
        self.disk = Disk::from_image(&image);
        self.apply_room();
        true
    }

    /// The disk has failed under it. What a writer that stopped still remembers may be in no file: nothing goes on from that,
    /// and the database is opened again before anybody is told anything.
    pub fn fail_with_its_disk(&mut self) {
        if self.is_up() {
            self.is_torn_next = true;
            self.crash(true);
        }
    }

    /// Sets how far its clock is ahead of the world's, in milliseconds.
    pub fn set_clock(&mut self, skew: i64) {
        self.skew = skew;
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

    /// Its database, while it runs.
    pub fn database(&self) -> Option<&Database> {
        self.running.as_ref().map(|running| &running.database)
    }

    /// What is on its disk, stopped in peace.
    pub fn image(&mut self) -> DiskImage {
        if let Some(mut running) = self.running.take() {
            running.writer.settle().expect("a healthy disk");
        }
        self.disk.image()
    }

    /// Whether it has nothing to do until it is told something.
    pub fn is_quiet(&self) -> bool {
        self.running.as_ref().is_some_and(|running| {
            let is_idle = |link: &Link| link.session.phase() == Phase::Idle;
            running.inbox.is_empty() && running.incoming.is_none() && running.links.values().all(is_idle)
        })
    }

    /// Takes in what happens.
    pub fn tell(&mut self, now: Millis, stimulus: Stimulus, outbox: &mut Outbox) {
        if self.running.is_none() {
            return;
        }
        self.take(now, stimulus, outbox);
        self.claim(outbox);
    }

    fn take(&mut self, now: Millis, stimulus: Stimulus, outbox: &mut Outbox) {
        match stimulus {
            Stimulus::Client(request) => self.submit(request, Caller::Client, outbox),
            Stimulus::Arrived { from, exchange, body, side } => {
                self.receive(now, from, exchange, body, side.as_deref(), outbox);
            }
            Stimulus::Upkeep => self.keep_up(now, outbox),
            Stimulus::Judge { document, conflict } => self.judge(document, conflict, outbox),
            Stimulus::StatesTimedOut { number } => self.give_states_up(number, outbox),
            Stimulus::Order(request) => self.submit(request, Caller::Nobody, outbox),
            Stimulus::Commit => self.commit(now, outbox),
            Stimulus::ReadLog { peer, exchange, after, filter } => {
                self.push(now, peer, exchange, after, filter, outbox);
            }
            Stimulus::TimedOut { peer, exchange } => self.fail(now, peer, exchange, outbox),
            Stimulus::Woken { peer } => self.handle(now, peer, Event::Woken, outbox),
            Stimulus::Sweep => {
                for peer in self.setup.peers.clone() {
                    self.handle(now, peer, Event::Sweep, outbox);
                }
                self.survey_peers(now, outbox);
                self.keep_leases(now, outbox);
                outbox.later.push((self.setup.sweep, Stimulus::Sweep));
            }
            Stimulus::Settle => {
                outbox.has_failed = !self.settle(now);
                outbox.later.push((SETTLE_EVERY, Stimulus::Settle));
            }
        }
    }

    /// Makes the data durable if that is due. Answers whether the disk took it.
    fn settle(&mut self, now: Millis) -> bool {
        let (wall, is_thorough) = (self.wall(now), self.seed.chance(30));
        let Some(running) = &mut self.running else { return true };
        if is_thorough {
            running.writer.settle().is_ok()
        } else if running.writer.is_durable_commit_due(wall) {
            running.writer.make_data_durable().is_ok()
        } else {
            true
        }
    }

    /// What it knows and shows.
    pub fn shows(&self) -> Option<(Vector, Digest)> {
        let view = self.running.as_ref()?.database.view().expect("a healthy database");
        Some((view.state().expect("a healthy database").vector, view.digest().expect("a healthy database")))
    }

    /// Which branch of each origin it knows, where there may be several.
    fn chains(&self) -> Chains {
        let running = self.running.as_ref().filter(|_| self.setup.is_contested);
        running.map(|running| running.writer.state().chains.clone()).unwrap_or_default()
    }

    /// Tells of the operations that came into the log after a position.
    fn tell_logged(&self, after: Position, outbox: &mut Outbox) {
        let Some(running) = &self.running else { return };
        let log = running.database.log().expect("a healthy log");
        let tell = |entry: Entry| {
            outbox.logged.extend(entry.into_operation().map(|logged| logged.operation));
            Ok(())
        };
        log.scan(after, tell).expect("a healthy log");
    }

    /// The node's own clock.
    fn wall(&self, now: Millis) -> Millis {
        let millis = EPOCH.saturating_add_unsigned(now.0).saturating_add(self.skew);
        Millis(u64::try_from(millis).unwrap_or(0))
    }

    fn standing(&self, now: Millis) -> Option<Standing> {
        let running = self.running.as_ref()?;
        let state = running.database.view().and_then(|view| view.state()).expect("a healthy database");
        let log_id = running.database.log_id();
        let origin = self.origin.clone();
        let met = running.links.iter().filter(|(_, link)| link.session.is_in_touch()).map(|(peer, _)| *peer);
        let neighbours = met.chain(self.setup.callers.iter().copied()).map(name_of).collect();
        let (newest, vector) = (state.position, state.vector);
        Some(Standing { origin, log_id, newest, vector, now: self.wall(now), neighbours })
    }

    fn submit(&mut self, request: Request, caller: Caller, outbox: &mut Outbox) {
        let delay = self.delay(8);
        let Some(running) = &mut self.running else { return };
        if running.inbox.is_empty() {
            outbox.later.push((delay, Stimulus::Commit));
        }
        running.inbox.push((request, caller));
    }

    /// Commits what waits, all of it at once, and answers.
    fn commit(&mut self, now: Millis, outbox: &mut Outbox) {
        let wall = self.wall(now);
        let Some(running) = &mut self.running else { return };
        let waiting = std::mem::take(&mut running.inbox);
        for batch in self.setup.sabotage.before_commit(waiting, &self.origin, outbox) {
            let (requests, callers): (Vec<Request>, Vec<Caller>) = batch.into_iter().unzip();
            let Some(running) = &mut self.running else { return };
            let before = position(&running.writer);
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
            let newest = position(&running.writer);
            // What came through states, or was written again, comes in its parts.
            if newest > before && self.setup.forgets.is_none() {
                outbox.findings.extend(groups::look(&running.database));
            }
            outbox.lines.push(format!("commits ({before}, {newest}] for {} requests", answers.len()));
            for answer in &answers {
                if let Answer::Receipt(receipt) = answer
                    && (receipt.gap.is_some() || receipt.stranger.is_some() || receipt.overfull.is_some())
                {
                    outbox.lines.push(format!("takes a stretch only in part: {receipt:?}"));
                }
            }
            for (answer, caller) in answers.into_iter().zip(callers) {
                self.answer(now, answer, caller, outbox);
            }
            if newest > before {
                outbox.has_grown = true;
                self.tell_logged(before, outbox);
                outbox.shows = self.shows();
                outbox.chains = self.chains();
                self.announce(now, newest, outbox);
                self.look_for_conflicts(outbox);
            }
        }
    }
}

/// How the databases of a world use the machine.
pub(crate) fn options() -> Options {
    Options {
        data_cache_bytes: 1024 * 1024,
        log_cache_bytes: 1024 * 1024,
        undurable_operations_max: 20,
        ..Options::default()
    }
}

fn position(writer: &Writer) -> Position {
    writer.state().position
}
