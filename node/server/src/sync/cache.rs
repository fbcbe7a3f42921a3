//! The cache between nodes: one task per peer and database, beside the session for documents.
//!
//! ```text
//!   a write of ours is synced ─► at once: the keys that we wrote, with what they are now
//!   something of others came  ─► after a pause: whatever the peer still lacks; most often its author has told it
//!   sweep, hint, start        ─► ask for what changed there; compare digests where both know the same
//! ```
//!
//! Must stay true: a peer is told only what this node has on disk; it is said to know only what it was sent or had said
//! that it knows; where digests differ although both know the same, everything is told again, and that is logged.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use holdfast_core::cache::{CacheChanges, CacheLane, CacheMessage, CacheReach, CacheSource, asked};
use holdfast_core::error::Refusal;
use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::limits::{CACHE_KEYS_PER_MESSAGE, EXCHANGE_BYTES_TARGET};
use holdfast_core::sync::message::{parse_vector, vector_record};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Position, Vector};
use holdfast_storage::error::StorageError;
use holdfast_storage::request::{Answer, Request};
use holdfast_storage::view::ReadView;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::databases::OpenDatabase;
use crate::sync::peer_client::{DATABASE_NOT_FOUND, PeerError};
use crate::sync::registry::Peer;
use crate::sync::{Sync, envelope};
use crate::{clock, entropy};

/// The media type of a message, in its envelope.
pub const MEDIA_TYPE: &str = "application/x-holdfast-cache";
/// How long what came from others waits before it is passed on: its author most often tells everybody itself.
const PASS_ON_AFTER: Duration = Duration::from_millis(200);
/// First and longest wait after a failure.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Messages in a row that may bring the peer no further.
const NO_PROGRESS_MAX: u32 = 3;
/// What ends sooner than this, beyond what clocks may be off, is not compared.
const COMPARED_FROM: Millis = Millis(60_000);

/// What an asker of changes says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CachePull {
    /// Who asks.
    pub source_node_id: String,
    /// It has everything up to this position of …
    pub after: u64,
    /// … what positions of the answerer count, hexadecimal.
    pub log_id: String,
    /// What it knows.
    pub vector: BTreeMap<String, u64>,
}

/// What a node says after it was told of changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CachePushed {
    /// Keys that were new or different there.
    pub changed: u64,
    /// What it knows now.
    pub vector: BTreeMap<String, u64>,
    /// It has everything of the teller's up to this position …
    pub through: u64,
    /// … and what the teller wrote itself up to this one.
    pub own_through: u64,
}

impl CachePushed {
    fn reach(&self) -> CacheReach {
        CacheReach { all: Position(self.through), own: Position(self.own_through) }
    }
}

/// How it stands with a peer.
#[derive(Debug, Clone, Default)]
pub struct CacheSyncStatus {
    /// The peer has everything up to this position of ours.
    pub told_through: Position,
    /// Whether digests were equal when both knew the same; `None` before that was ever so.
    pub is_equal: Option<bool>,
    /// When an exchange last succeeded.
    pub last_success: Option<Millis>,
    /// Failures since then.
    pub failures: u32,
    /// The last failure.
    pub last_error: Option<String>,
    /// Keys sent.
    pub sent: u64,
    /// Keys received that were new or different.
    pub received: u64,
}

/// Why an exchange came to nothing.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("its answer cannot be believed: {0}")]
    Nonsense(#[from] Refusal),
    #[error("it takes nothing in")]
    NoProgress,
    #[error("{0}")]
    NotTaken(#[from] crate::databases::SubmitError),
}

/// The task of a peer and a database. Ends when this is dropped.
#[derive(Debug)]
pub struct CacheTask {
    peer: Peer,
    database: Arc<OpenDatabase>,
    called: Arc<Notify>,
    status: Arc<Mutex<CacheSyncStatus>>,
    _stop: DropGuard,
}

impl CacheTask {
    /// Starts exchanging a database's cache with a peer.
    pub fn start(sync: &Arc<Sync>, peer: &Peer, database: Arc<OpenDatabase>) -> Self {
        let stop: CancellationToken = sync.stop().child_token();
        let (called, status) = (Arc::new(Notify::new()), Arc::new(Mutex::default()));
        let mut task = Task {
            sync: Arc::clone(sync),
            peer: peer.node.clone(),
            base_url: peer.base_url.clone(),
            database: Arc::clone(&database),
            status: Arc::clone(&status),
            lane: CacheLane::default(),
            is_lane_known: false,
            may_tell: peer.sends(database.name()),
            may_ask: peer.accepts(database.name()),
            is_to_tell_all: false,
        };
        let (stopped, notified) = (stop.clone(), Arc::clone(&called));
        sync.tasks.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = task.run(&notified) => {}
            }
        });
        Self { peer: peer.clone(), database, called, status, _stop: stop.drop_guard() }
    }

    /// Whether it is of this database as it is open now, with the peer as it is registered.
    pub fn is_of(&self, database: &Arc<OpenDatabase>, peer: &Peer) -> bool {
        Arc::ptr_eq(&self.database, database) && self.peer == *peer
    }

    /// The peer has something new.
    pub fn call(&self) {
        self.called.notify_one();
    }

    /// How it stands.
    pub fn status(&self) -> CacheSyncStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Task {
    sync: Arc<Sync>,
    peer: NodeName,
    base_url: String,
    database: Arc<OpenDatabase>,
    status: Arc<Mutex<CacheSyncStatus>>,
    lane: CacheLane,
    /// Whether the peer has said what it has, since the start or the last failure.
    is_lane_known: bool,
    /// Whether the peer is to have what is here, and we what it has.
    may_tell: bool,
    may_ask: bool,
    /// Digests differed: everything is asked for again, whatever is known.
    is_to_tell_all: bool,
}

impl Task {
    async fn run(&mut self, called: &Notify) {
        let mut newest = self.database.newest_in_cache();
        let sweep = self.sync.tempo().sweep;
        let (mut ask_at, mut pass_on_at): (Instant, Option<Instant>) = (clock::monotonic(), None);
        let mut wait = RETRY_MIN;
        loop {
            let now = clock::monotonic();
            let here = *newest.borrow_and_update();
            let is_due = |at: Instant| at <= now;
            let mut done = Ok(());
            if self.may_ask && is_due(ask_at) {
                done = self.ask().await;
                if done.is_ok() {
                    ask_at = clock::monotonic() + sweep;
                }
            }
            if self.may_tell {
                // A peer that answers nothing may still listen.
                done = done.and(self.tell(here, pass_on_at.is_some_and(is_due)).await);
            }
            match done {
                Ok(()) => {
                    wait = RETRY_MIN;
                    if !self.may_ask {
                        ask_at = clock::monotonic() + sweep;
                    }
                    pass_on_at = if !self.may_tell || self.lane.reach.all >= here {
                        None
                    } else {
                        pass_on_at.filter(|at| !is_due(*at)).or(Some(clock::monotonic() + PASS_ON_AFTER))
                    };
                    self.note(|status| (status.failures, status.last_error) = (0, None));
                }
                Err(failure) => {
                    self.failed(&failure);
                    self.is_lane_known = false;
                    let jitter = Duration::from_millis(entropy::random_u64() % 250);
                    tokio::time::sleep(wait + jitter).await;
                    wait = (wait * 2).min(RETRY_MAX);
                    continue;
                }
            }
            let until = pass_on_at.map_or(ask_at, |at| at.min(ask_at));
            tokio::select! {
                changed = newest.changed() => if changed.is_err() { return },
                () = called.notified() => ask_at = clock::monotonic(),
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }

    /// Tells the peer what is new: what this node wrote at once, the rest when it is due.
    async fn tell(&mut self, here: Position, is_rest_due: bool) -> Result<(), Failure> {
        if !self.is_lane_known {
            self.offer().await?;
        }
        let (mut has_offered, mut tries) = (false, 0);
        loop {
            let is_own_due = self.lane.reach.own < here;
            let is_done = !is_rest_due || self.lane.reach.all >= here;
            if !is_own_due && is_done {
                return Ok(());
            }
            let source = self.source()?;
            let message = if is_own_due {
                self.lane.own(&source, self.changes(self.lane.reach.own)?)
            } else {
                self.lane.rest(&source, self.changes(self.lane.reach.all)?)
            };
            if is_own_due && !message.is_news() {
                self.lane.reach = self.lane.after(&message);
                continue;
            }
            if !is_own_due && !message.states.is_empty() && !std::mem::replace(&mut has_offered, true) {
                // Others may have told it meanwhile.
                self.offer().await?;
                continue;
            }
            let sent = self.lane.after(&message);
            let pushed = self.push(message).await?;
            let is_further = self.lane.heard(parse_vector(&pushed.vector)?, pushed.reach(), sent);
            self.note(|status| status.told_through = Position(pushed.through));
            tries = if is_further { 0 } else { tries + 1 };
            if tries > NO_PROGRESS_MAX {
                return Err(Failure::NoProgress);
            }
        }
    }

    /// Learns what the peer has.
    async fn offer(&mut self) -> Result<(), Failure> {
        let pushed = self.push(self.source()?.empty()).await?;
        self.lane = CacheLane { vector: parse_vector(&pushed.vector)?, reach: pushed.reach() };
        self.is_lane_known = true;
        Ok(())
    }

    fn source(&self) -> Result<CacheSource, StorageError> {
        Ok(CacheSource { origin: self.database.origin().clone(), log_id: self.database.log_id()? })
    }

    fn changes(&self, after: Position) -> Result<CacheChanges, StorageError> {
        let view = self.database.synced_view()?;
        view.cache_changes(after, &self.lane.vector, CACHE_KEYS_PER_MESSAGE, EXCHANGE_BYTES_TARGET)
    }

    async fn push(&mut self, message: CacheMessage) -> Result<CachePushed, Failure> {
        let keys = message.states.len() as u64;
        let body = envelope::seal(&message.encode());
        let path = "/api/replication/cache/push";
        let pushed: CachePushed =
            self.sync.client.send(&self.base_url, path, self.database.name(), MEDIA_TYPE, body).await?;
        self.note(|status| {
            status.sent += keys;
            status.last_success = Some(Millis(clock::now_millis()));
        });
        Ok(pushed)
    }

    /// Asks for what changed at the peer, and compares when all of it is here.
    async fn ask(&mut self) -> Result<(), Failure> {
        let is_all = std::mem::take(&mut self.is_to_tell_all);
        let view = self.database.synced_view()?;
        let checkpoint = view.cache_checkpoint(&self.peer)?;
        let vector = if is_all { Vector::new() } else { view.cache_state()?.vector };
        drop(view);
        let (mut after, mut log_id) = (checkpoint.reach.all, checkpoint.log_id);
        if is_all {
            after = Position::START;
        }
        loop {
            let question = CachePull {
                source_node_id: self.sync.origin().node.to_string(),
                after: after.0,
                log_id: format!("{log_id:016x}"),
                vector: vector_record(&vector),
            };
            let path = "/api/replication/cache/pull";
            let body = match self.sync.client.fetch(&self.base_url, path, self.database.name(), &question).await {
                // It comes into being when something is told.
                Err(PeerError::Refused { code, .. }) if code == DATABASE_NOT_FOUND => return Ok(()),
                body => body?,
            };
            let message = read_message(&body)?;
            let (end, digest, is_same_log) = (message.vector.clone(), message.digest, message.log_id == log_id);
            let through = message.stretch.map_or(after, |stretch| stretch.through);
            if end.is_none() && is_same_log && through <= after {
                return Err(Failure::NoProgress);
            }
            (after, log_id) = (through, message.log_id);
            let taken = take(&self.database, message).await?;
            self.note(|status| {
                status.received += taken.changed;
                status.last_success = Some(Millis(clock::now_millis()));
            });
            let Some(end) = end else { continue };
            return match digest {
                Some((from, theirs)) => self.compare(&end, from, theirs),
                None => Ok(()),
            };
        }
    }

    /// Holds the peer's digest against ours, where both know the same.
    fn compare(&mut self, end: &Vector, from: Millis, theirs: holdfast_core::digest::Digest) -> Result<(), Failure> {
        let view = self.database.view()?;
        if view.cache_state()?.vector != *end {
            return Ok(());
        }
        let is_equal = view.cache_digest(from)? == theirs;
        if !is_equal {
            tracing::warn!(
                peer = %self.peer, database = %self.database.name(),
                "caches differ although the same was exchanged: everything is exchanged again"
            );
            self.is_to_tell_all = true;
        }
        self.note(|status| status.is_equal = Some(is_equal));
        Ok(())
    }

    fn failed(&self, failure: &Failure) {
        let is_first = self.note(|status| {
            status.failures += 1;
            status.last_error = Some(failure.to_string());
            status.failures == 1
        });
        let (peer, database) = (&self.peer, self.database.name());
        if is_first {
            tracing::debug!(%peer, %database, error = %failure, "the cache was not exchanged");
        }
    }

    fn note<T>(&self, change: impl FnOnce(&mut CacheSyncStatus) -> T) -> T {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads a message in its envelope.
pub fn read_message(sealed: &[u8]) -> Result<CacheMessage, Refusal> {
    envelope::open(sealed, |bytes| {
        CacheMessage::decode(bytes)
            .map_err(|reason| Refusal::invalid("malformed-message", format!("The message cannot be read: {reason}.")))
    })
}

/// Takes in what a peer has told. What no node that keeps the rules may have made is left out, and said.
pub async fn take(
    database: &OpenDatabase,
    mut message: CacheMessage,
) -> Result<holdfast_storage::cache::CacheTaken, crate::databases::SubmitError> {
    let before = message.states.len();
    message.states.retain(|(_, state)| state.is_plausible());
    let left_out = before - message.states.len();
    if left_out > 0 {
        tracing::warn!(peer = %message.source, database = %database.name(), left_out, "cache entries that cannot be right were left out");
    }
    match database.submit(Request::TakeCacheNews(message)).await? {
        Answer::CacheNewsTaken(taken) => Ok(taken),
        _ => Err(crate::databases::SubmitError::Stopping),
    }
}

/// The answer to a peer that asks for changes.
pub fn answer(database: &OpenDatabase, question: &CachePull, skew_max: Millis) -> Result<CacheMessage, AnswerError> {
    let vector = parse_vector(&question.vector)?;
    let log_id = database.log_id()?;
    let is_same_log = format!("{log_id:016x}") == question.log_id;
    let view: Arc<ReadView> = database.synced_view()?;
    // A position beyond ours is of files that were set back.
    let newest = view.cache_state()?.position;
    let after = Some(Position(question.after)).filter(|after| is_same_log && *after <= newest).unwrap_or_default();
    let changes = view.cache_changes(after, &vector, CACHE_KEYS_PER_MESSAGE, EXCHANGE_BYTES_TARGET)?;
    let from = Millis(clock::now_millis()) + skew_max + COMPARED_FROM;
    let digest = match changes.vector {
        Some(_) => Some((from, view.cache_digest(from)?)),
        None => None,
    };
    let source = CacheSource { origin: database.origin().clone(), log_id };
    Ok(CacheMessage { digest, ..asked(&source, after, vector, changes) })
}

/// Why a question cannot be answered.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// It says what cannot be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The tasks of a node, by peer and database.
pub type CacheTasks = BTreeMap<(NodeName, DatabaseName), CacheTask>;
