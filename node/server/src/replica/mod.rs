//! Leader and followers: a node that others follow, or that follows one.
//!
//! ```text
//!   settings, HTTP, CLI ─► control ─► core's Replica ─► actions ─► the gate before the writers, `replica.json`
//!                                        ▲                          listener, follower, election
//!   heartbeats, votes, greetings ────────┘
//!
//!   listener ─► greeting ─► session ◄─ feed   ◄─ the log of each database          (leader)
//!   follower ─► greeting ─► session ─► intake ─► the writer of each database       (follower)
//! ```
//!
//! What follows is the log itself, and a follower keeps it under the names its operations have: it is a peer that writes
//! nothing. So positions are each node's own, what a follower lacks is known by vectors wherever positions do not serve
//! (another leader, a log that was set back), and what an old leader alone holds is merged when it returns.
//!
//! Must stay true:
//! * Whether this node writes is decided by [`holdfast_core::replica::role`] and held by the write gate.
//! * What must be remembered is on disk before it is acted on (`kept`).

pub mod choices;
mod control;
pub mod beat;
mod election;
pub mod encryption;
pub mod events;
pub mod feed;
pub mod follower;
pub mod greeting;
pub mod handover;
mod heritage;
mod hearing;
pub mod intake;
pub mod joining;
pub mod kept;
pub mod kept_secret;
mod listener;
mod listening;
mod lives;
mod notes;
pub mod options;
mod planned;
mod roll;
pub mod session;
pub mod status;
mod waiting;
mod watching;
mod webhook;
pub mod wire;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::replica::epoch::Epoch;
use holdfast_core::replica::freshness::Freshness;
use holdfast_core::replica::heritage::Beginnings;
use holdfast_core::replica::message::{operations_by, operations_of};
use holdfast_core::replica::role::{Action, Denied, Kept, Rank, Replica, Role};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Origin, Position, Vector};
use holdfast_storage::error::StorageError;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::databases::{Closed, ClosedReason, Databases, Gate, OpenDatabase};
use crate::replica::choices::Choices;
use crate::replica::encryption::Encryption;
use crate::replica::events::{GroupEvent, GroupNews};
use crate::replica::greeting::{Introduction, Leads};
use crate::replica::kept::{KeptError, KeptFile, Remembered};
use crate::replica::kept_secret::KeptSecret;
use crate::replica::options::GroupOptions;
use crate::settings::secret::Secret;
use crate::sync::Sync;
use crate::telemetry::seldom::Seldom;
use crate::tls::TlsError;

/// How often something that may happen with every write or connection is logged.
const LOGGED_EVERY: Duration = Duration::from_secs(10);

/// Why something was not done.
#[derive(Debug, Error)]
pub enum GroupError {
    /// The rules of the group.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// What must be remembered could not be.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// The port.
    #[error("port {port} for followers cannot be opened: {reason}")]
    Port {
        /// Which.
        port: u16,
        /// Why not.
        reason: String,
    },
    /// A handover came to nothing.
    #[error("{0}")]
    Handover(String),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It is not there.
    #[error("{0}")]
    Unknown(String),
}

/// How far a follower is with a database.
#[derive(Debug, Clone, Default)]
pub struct Reached {
    /// Our log that this is about: a database that was dropped and made anew is another one.
    pub log_id: u64,
    /// Everything of our log up to here is on its disk.
    pub through: Position,
    /// What it knows.
    pub vector: Vector,
    /// What it knows of the cache.
    pub cache_vector: Vector,
    /// Everything of our cache up to here is there.
    pub cache_through: Position,
    /// Operations that it had when it first said how far it is, on this connection.
    pub greeted: Option<u64>,
    /// Whether it takes our states.
    pub is_taking_states: bool,
    /// As whom the database knows it, once it was let in.
    pub origin: Option<Origin>,
    /// Who follows it in turn, and was let in there.
    pub behind: Vec<Origin>,
}

impl Reached {
    /// It says how far it is with this log of ours; what it had of another one says nothing of that.
    pub fn begin(&mut self, log_id: u64) {
        if self.log_id != log_id {
            *self = Self { log_id, ..Self::default() };
        }
    }

    /// It has the log up to here on disk, and knows this.
    pub fn has(&mut self, through: Position, vector: &Vector) {
        self.through = self.through.max(through);
        self.vector.merge(vector);
    }

    /// It has the cache up to here, and knows this of it.
    pub fn has_of_cache(&mut self, through: Position, vector: &Vector) {
        self.cache_through = self.cache_through.max(through);
        self.cache_vector.merge(vector);
    }
}

/// A follower, there or not.
#[derive(Debug, Clone, Default)]
pub struct FollowerAt {
    /// Its life.
    pub incarnation: u64,
    /// Where it dials from.
    pub endpoint: String,
    /// Its HTTP address.
    pub http_endpoint: Option<String>,
    /// Where it listens itself.
    pub replication_endpoint: Option<String>,
    /// Whether it votes.
    pub is_voter: bool,
    /// Since when it is connected; `None` when it is not.
    pub connected: Option<Millis>,
    /// When it last said anything.
    pub heard: Option<Instant>,
    /// The newest edition of our databases that it has made its own, on this connection.
    pub edition: Option<u64>,
    /// How far it is.
    pub reached: BTreeMap<DatabaseName, Reached>,
    /// Bytes sent to it since this node started.
    pub bytes_sent: u64,
    /// Why it was last disconnected.
    pub last_error: Option<String>,
    /// Operations that only it held, and that were merged.
    pub merged: u64,
    /// Ends its connection.
    stop: Option<CancellationToken>,
}

/// How it stands with the leader.
#[derive(Debug, Clone, Default)]
pub struct UpstreamAt {
    /// Where it is dialled.
    pub endpoint: Option<String>,
    /// Where its HTTP API is reached.
    pub http_endpoint: Option<String>,
    /// Who is followed, and since when, while the connection stands.
    pub connected: Option<(NodeName, Millis)>,
    /// When anything was last heard of the leader.
    pub heard: Option<Instant>,
    /// Why the last connection ended, or came to nothing.
    pub last_error: Option<String>,
    /// Attempts since the last that succeeded.
    pub attempts: u64,
    /// Databases whose states are being taken.
    pub taking_states: Vec<DatabaseName>,
    /// Operations that the leader has said that it knows.
    pub leader_operations: u64,
    /// Whether that was said on the connection that stands.
    pub is_measured: bool,
    /// Whether an operator has stopped writes there.
    pub is_leader_read_only: bool,
}

/// What is decided and what is remembered, always changed together.
#[derive(Debug)]
struct Decided {
    replica: Replica,
    remembered: Remembered,
    file: KeptFile,
}

/// Listening for followers.
#[derive(Debug)]
struct Listening {
    port: u16,
    stop: CancellationToken,
}

/// Numbers since the node started.
#[derive(Debug, Default)]
pub struct GroupCounts {
    /// Operations taken in from the leader; a transaction counts once.
    pub applied: AtomicU64,
    /// Times that operations before one that came were missing.
    pub gaps: AtomicU64,
    /// Connections to the replication port that were refused.
    pub refused: AtomicU64,
    /// Promotions because a leader fell silent.
    pub failovers: AtomicU64,
    /// Writes that were answered before enough followers had them.
    pub sync_timeouts: AtomicU64,
}

/// A node's part in its group of leader and followers.
#[derive(Debug)]
pub struct ReplicaGroup {
    options: GroupOptions,
    /// What both sides must know: the settings', or what an operator has given since.
    secret: Mutex<Secret>,
    kept_secret: KeptSecret,
    encryption: Encryption,
    databases: Arc<Databases>,
    sync: Arc<Sync>,
    decided: Mutex<Decided>,
    /// What this node began with as the leader of an epoch.
    beginnings: Mutex<Option<(Epoch, Beginnings)>>,
    /// The number of the newest epoch; read with every frame.
    number: AtomicU64,
    followers: Mutex<BTreeMap<NodeName, FollowerAt>>,
    upstream: Mutex<UpstreamAt>,
    listening: Mutex<Option<Listening>>,
    /// Why the port for followers is not open, while it should be.
    port_error: Mutex<Option<String>>,
    following: Mutex<Option<CancellationToken>>,
    /// Counts up with every receipt.
    learned: watch::Sender<u64>,
    leader_named: Notify,
    sync_replicas: Mutex<(u64, Duration)>,
    /// The port on which this node would lead.
    lead_port: AtomicU16,
    /// Whether what this node holds is to be merged into the group that it joins.
    joins_by_force: AtomicBool,
    late_writes: Seldom,
    strangers: Seldom,
    counts: GroupCounts,
    lately: Mutex<Lately>,
    freshness: Mutex<Freshness>,
    news: GroupNews,
    started: Instant,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// How many operations were known a moment ago: counted once for all followers.
#[derive(Debug, Default)]
struct Lately {
    at: Option<Instant>,
    /// What had happened to the databases by then: commits, and comings and goings.
    seen: (u64, u64),
    operations: u64,
}

impl ReplicaGroup {
    /// Takes the part that the settings name, or that was taken before the restart.
    pub async fn start(
        options: GroupOptions,
        databases: Arc<Databases>,
        sync: Arc<Sync>,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, GroupError> {
        let encryption = Encryption::load(&options.tls)?;
        let file = KeptFile::of(databases.directory());
        let nothing = Kept { role: Role::Alone, epoch: None, promised: None };
        let (kept, mut remembered) = file.read()?.unwrap_or((nothing, Remembered::default()));
        // What happened while the node ran holds until the operator changes the settings.
        let configured = options.configured();
        let is_same = remembered.configured == configured;
        let role = if is_same { kept.role } else { options.role };
        if !is_same {
            remembered.leader.clone_from(&options.leader);
            remembered.leader_http = None;
            remembered.is_read_only = false;
            remembered.choices = Choices::default();
        }
        remembered.configured = configured;
        remembered.choices = remembered.choices.in_force(&options);
        let kept_secret = KeptSecret::of(databases.directory(), options.secret.clone());
        let secret = if is_same { kept_secret.read()? } else { kept_secret.write(None)? };
        let leader = remembered.leader.clone();
        let number = kept.epoch.as_ref().map_or(0, |epoch| epoch.number);
        let me = databases.origin().node.clone();
        let started = clock::monotonic();
        let replica = Replica::new(me, kept, Millis(0));
        let sync_replicas = Mutex::new(remembered.choices.sync_replicas(&options));
        let lead_port = AtomicU16::new(remembered.choices.lead_port(&options));
        let group = Arc::new(Self {
            lead_port,
            secret: Mutex::new(secret),
            kept_secret,
            options,
            encryption,
            databases,
            sync,
            decided: Mutex::new(Decided { replica, remembered, file }),
            beginnings: Mutex::default(),
            number: AtomicU64::new(number),
            followers: Mutex::default(),
            upstream: Mutex::new(UpstreamAt { endpoint: leader, ..UpstreamAt::default() }),
            listening: Mutex::default(),
            port_error: Mutex::default(),
            following: Mutex::default(),
            learned: watch::Sender::default(),
            leader_named: Notify::new(),
            sync_replicas,
            joins_by_force: AtomicBool::new(false),
            late_writes: Seldom::every(LOGGED_EVERY),
            strangers: Seldom::every(LOGGED_EVERY),
            counts: GroupCounts::default(),
            lately: Mutex::default(),
            freshness: Mutex::default(),
            news: GroupNews::default(),
            started,
            stop,
            tasks: TaskTracker::new(),
        });
        group.know_voters();
        // A leader that steps down watches the next one.
        group.watch_as_chosen();
        let passing = Arc::clone(&group);
        group.spawn(async move { passing.pass_time().await });
        group.resume(role).await?;
        Ok(group)
    }

    /// Takes up the role that it has at the start.
    async fn resume(self: &Arc<Self>, role: Role) -> Result<(), GroupError> {
        match role {
            Role::Alone => {
                let actions = if self.role() == Role::Alone { Vec::new() } else { self.decide(Replica::stop) };
                self.enact(actions)
            }
            Role::Leader => {
                self.databases.gate().set(Gate::Closed(Closed::because(ClosedReason::Starting)));
                self.listen(self.port_to_lead()).await?;
                let before = self.epoch();
                if let Some(epoch) = self.ask_who_leads().await {
                    tracing::warn!(%epoch, "another node leads by now: this one follows it");
                    let actions = self.decide(|replica, now| {
                        let mut actions = replica.see(now, &epoch);
                        actions.extend(replica.follow(now));
                        actions
                    });
                    self.enact(actions)?;
                    return self.begin_following();
                }
                if self.epoch() != before {
                    // Somebody has come meanwhile and told of a later one.
                    let actions = self.decide(Replica::follow);
                    self.enact(actions)?;
                    return self.begin_following();
                }
                let actions = self.decide(Replica::lead_on);
                self.enact(actions)
            }
            Role::Follower => {
                let actions = self.decide(Replica::follow);
                self.enact(actions)?;
                // Before it greets: whether it votes is said there.
                if self.listen(self.port_to_lead()).await.is_err() {
                    self.listen_as_follower();
                }
                self.begin_following()
            }
        }
    }

    /// The databases.
    pub fn databases(&self) -> &Arc<Databases> {
        &self.databases
    }

    /// Sync with peers.
    pub fn sync(&self) -> &Arc<Sync> {
        &self.sync
    }

    /// What both sides must know.
    pub fn secret(&self) -> Secret {
        self.secret.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How connections are encrypted.
    pub fn encryption(&self) -> &Encryption {
        &self.encryption
    }

    /// Numbers since the start.
    pub fn counts(&self) -> &GroupCounts {
        &self.counts
    }

    /// Clocks further off are suspect.
    pub fn skew_max(&self) -> Millis {
        self.options.skew_max
    }

    /// What this node is.
    pub fn role(&self) -> Role {
        self.decided().replica.role()
    }

    /// Whether it leads.
    pub fn is_leader(&self) -> bool {
        self.role() == Role::Leader
    }

    /// Where the leader is, as a guest is told.
    pub fn leads(&self) -> Leads {
        if self.is_leader() { Leads::Here } else { Leads::At(self.leader_endpoint()) }
    }

    /// Whether it leads because an old leader fell silent.
    pub fn was_elected(&self) -> bool {
        self.decided().replica.was_elected()
    }

    /// Followers that are connected.
    pub fn connected_followers(&self) -> usize {
        self.followers().values().filter(|follower| follower.connected.is_some()).count()
    }

    /// How long ago the leader was last heard, by a node that follows.
    pub fn leader_silent_for(&self) -> Option<Duration> {
        self.upstream().heard.map(|heard| heard.elapsed())
    }

    /// The newest epoch that it knows.
    pub fn epoch(&self) -> Option<Epoch> {
        self.decided().replica.epoch().cloned()
    }

    /// Its number, 0 before there is any.
    pub fn epoch_number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// Waits until every task has ended; the token it was started with must be cancelled.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Runs something beside, to its end.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    fn decided(&self) -> MutexGuard<'_, Decided> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn followers(&self) -> MutexGuard<'_, BTreeMap<NodeName, FollowerAt>> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn upstream(&self) -> MutexGuard<'_, UpstreamAt> {
        self.upstream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the node started, by which the group decides.
    pub(super) fn now(&self) -> Millis {
        Millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn decide<T>(&self, decision: impl FnOnce(&mut Replica, Millis) -> T) -> T {
        let now = self.now();
        decision(&mut self.decided().replica, now)
    }

    /// Writes down what must be remembered.
    fn keep(&self) -> Result<(), KeptError> {
        let decided = self.decided();
        decided.file.write(decided.replica.kept(), &decided.remembered)
    }

    /// Carries out what was decided, in order. Where it cannot be written down, nothing else is done, and writes stop.
    fn enact(self: &Arc<Self>, actions: Vec<Action>) -> Result<(), GroupError> {
        for action in actions {
            match action {
                Action::Keep => {
                    if let Err(error) = self.keep() {
                        tracing::error!(%error, "what this node has decided could not be written down: it takes no writes");
                        self.databases.gate().set(Gate::Closed(Closed::because(ClosedReason::Starting)));
                        return Err(error.into());
                    }
                    let number = self.epoch().map_or(0, |epoch| epoch.number);
                    self.number.store(number, Ordering::Relaxed);
                    self.set_gate();
                }
                Action::Lead(epoch) => self.begin_leading(&epoch),
                Action::StepDown(epoch) => {
                    tracing::warn!(%epoch, "another node leads: this one takes no writes any more");
                    self.tell_webhook("follower", &epoch, false);
                    self.news.tell(GroupEvent::SteppedDown { epoch });
                    // That writes were stopped here was said of a lead that is over.
                    self.decided().remembered.is_read_only = false;
                    self.disconnect_followers();
                    self.begin_following()?;
                }
                Action::Ask { epoch, voters, is_trial } => self.ask_for_votes(epoch, voters, is_trial),
                Action::WarnOfSplit { voters } => tracing::warn!(
                    voters,
                    "the leader is silent, and there are too few voters for a majority: this node takes over, and cannot \
                     rule out that the old leader still takes writes; what it takes is merged when it is met again"
                ),
            }
        }
        Ok(())
    }

    /// Opens or closes the gate as the role has it.
    fn set_gate(&self) {
        let (role, may_write, is_read_only, leader_url) = {
            let decided = self.decided();
            let url = decided.remembered.leader_http.clone();
            (decided.replica.role(), decided.replica.may_write(), decided.remembered.is_read_only, url)
        };
        let closed = |reason| Gate::Closed(Closed { reason, leader_url: leader_url.clone() });
        self.databases.gate().set(match (role, may_write, is_read_only) {
            (Role::Follower, _, _) => closed(ClosedReason::Follower),
            (_, false, _) => closed(ClosedReason::Handover),
            (_, true, true) => closed(ClosedReason::Operator),
            (_, true, false) => Gate::Open,
        });
    }

    fn begin_leading(self: &Arc<Self>, epoch: &Epoch) {
        let old_leader = self.leader_endpoint();
        self.end_following();
        *self.upstream() = UpstreamAt::default();
        {
            let mut decided = self.decided();
            decided.remembered.leader = None;
            decided.remembered.leader_http = None;
            decided.remembered.inherit(epoch);
            // Who leads without having followed begins a group.
            decided.remembered.group.get_or_insert_with(joining::new_group);
            decided.remembered.is_whole = true;
        }
        self.note_beginnings(epoch);
        if let Err(error) = self.keep() {
            tracing::warn!(%error, "the end of following could not be written down");
        }
        self.set_gate();
        let was_elected = self.decided().replica.was_elected();
        if was_elected {
            self.counts.failovers.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%epoch, "the leader fell silent: this node leads now");
        } else {
            tracing::info!(%epoch, "this node leads");
        }
        self.tell_webhook("leader", epoch, was_elected);
        self.news.tell(GroupEvent::Leads { epoch: epoch.clone(), port: self.listening_port(), was_elected });
        self.listen_as_follower();
        self.tell_the_others(epoch, old_leader);
    }

    fn begin_following(self: &Arc<Self>) -> Result<(), GroupError> {
        self.set_gate();
        self.keep()?;
        let stop = self.stop.child_token();
        let before = {
            let mut following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
            following.replace(stop.clone())
        };
        if let Some(before) = before {
            before.cancel();
        }
        self.spawn(follower::follow(Arc::clone(self), stop));
        Ok(())
    }

    fn end_following(&self) {
        let following = self.following.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(following) = following {
            following.cancel();
        }
    }

    fn disconnect_followers(&self) {
        for follower in self.followers().values_mut() {
            if let Some(stop) = follower.stop.take() {
                stop.cancel();
            }
        }
    }

    /// How this node introduces itself.
    pub fn introduction(&self) -> Introduction {
        let port = self.listening_port();
        Introduction {
            origin: self.databases.origin().clone(),
            epoch: self.epoch(),
            http_endpoint: self.options.http_endpoint.clone(),
            replication_endpoint: port.map(|port| format!(":{port}")),
            leader: if self.is_leader() { port.map(|port| format!(":{port}")) } else { self.leader_endpoint() },
            is_voter: port.is_some() && self.decided().replica.watched().is_some(),
            group: self.group(),
            merges: self.joins_by_force.load(Ordering::Relaxed),
        }
    }

    /// How far this node is.
    pub fn rank(&self) -> Rank {
        let last = {
            let decided = self.decided();
            match decided.replica.role() {
                Role::Leader => decided.replica.epoch().cloned(),
                _ => decided.remembered.inherited.clone(),
            }
        };
        let Some(last) = last else {
            return Rank { drops: self.drops(), operations: self.operations(), ..Rank::default() };
        };
        let led = self.count(|vector| operations_by(&last.leader, vector));
        Rank { epoch: last.number, drops: self.drops(), led, operations: self.operations() }
    }

    /// How many operations it knows, of all databases, those of their caches included.
    pub fn operations(&self) -> u64 {
        self.count(operations_of)
    }

    fn count(&self, of: impl Fn(&Vector) -> u64) -> u64 {
        let known = |listing: crate::databases::DatabaseListing| {
            let open = self.databases.get(&listing.name).ok()?;
            let documents = open.view().ok()?.state().ok()?.vector;
            let cache = open.synced_view().ok()?.cache_state().ok()?.vector;
            Some(of(&documents).saturating_add(of(&cache)))
        };
        self.databases.list().into_iter().filter_map(known).fold(0, u64::saturating_add)
    }

    /// The same as of a moment ago at most, for what is said again and again: to count all databases takes its time.
    pub fn operations_lately(&self) -> u64 {
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = (*self.databases.activity().borrow(), *self.databases.changed().borrow());
        let is_recent = lately.at.is_some_and(|at| lately.seen == seen || at.elapsed() < session::LEADER_BEATS_EVERY);
        if !is_recent {
            let at = Some(clock::monotonic());
            *lately = Lately { at, seen, operations: self.operations() };
        }
        lately.operations
    }
}

/// How many operations are known of a database, those of its cache included.
fn operations_in(open: &OpenDatabase) -> Result<u64, StorageError> {
    let documents = open.view()?.state()?.vector;
    let cache = open.synced_view()?.cache_state()?.vector;
    Ok(operations_of(&documents).saturating_add(operations_of(&cache)))
}
