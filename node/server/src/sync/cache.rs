//! The cache between nodes: one task per peer and database, beside the session for documents.
//!
//! ```text
//!   a write is synced, a hint, time ─► CacheSession ─► read, tell, ask, compare ─► its next event
//! ```
//!
//! When what is told and asked, the session decides: see [`holdfast_core::cache::CacheSession`].
//!
//! Must stay true: a peer is told only what this node has on disk; where digests differ although both know the same,
//! that is logged.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_core::cache::{
    CacheAction, CacheEvent, CacheMessage, CacheQuestion, CacheReach, CacheSession, CacheSource, CacheWays, asked,
};
use holdfast_core::digest::Digest;
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

use crate::databases::{Asker, OpenDatabase};
use crate::sync::cache_counts::CacheCounts;
use crate::sync::peer_client::{DATABASE_NOT_FOUND, PeerError};
use crate::sync::registry::Peer;
use crate::sync::{Sync, envelope};
use crate::{clock, entropy};

/// The media type of a message, in its envelope.
pub const MEDIA_TYPE: &str = "application/x-holdfast-cache";
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
    /// The peer has everything up to this position of ours; `None` before it has said so since the start.
    pub told_through: Option<Position>,
    /// Whether digests were equal when both knew the same; `None` before that was ever so.
    pub is_equal: Option<bool>,
    /// When an exchange last succeeded.
    pub last_success: Option<Millis>,
    /// Failures since then.
    pub failures: u32,
    /// The last failure.
    pub last_error: Option<String>,
    /// What it has last said that it knows.
    pub peer_vector: Vector,
    /// Keys sent since the start.
    pub sent: u64,
    /// Keys received since the start that were new or different.
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
    counts: Arc<CacheCounts>,
    _stop: DropGuard,
}

impl CacheTask {
    /// Starts exchanging a database's cache with a peer.
    pub fn start(sync: &Arc<Sync>, peer: &Peer, database: Arc<OpenDatabase>) -> Self {
        let stop: CancellationToken = sync.stop().child_token();
        let (called, status) = (Arc::new(Notify::new()), Arc::new(Mutex::default()));
        let counts = sync.cache_counts().of(&peer.node, database.name());
        let ways = CacheWays { tells: peer.sends(database.name()), asks: peer.accepts(database.name()) };
        let mut task = Task {
            sync: Arc::clone(sync),
            peer: peer.node.clone(),
            base_url: peer.base_url.clone(),
            database: Arc::clone(&database),
            status: Arc::clone(&status),
            counts: Arc::clone(&counts),
            end: None,
            is_told: ways.tells,
        };
        let (stopped, notified) = (stop.clone(), Arc::clone(&called));
        sync.tasks.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = task.run(ways, &notified) => {}
            }
        });
        Self { peer: peer.clone(), database, called, status, counts, _stop: stop.drop_guard() }
    }

    /// Whether it is of this database as it is open now, with the peer as it is registered.
    pub fn is_of(&self, database: &Arc<OpenDatabase>, peer: &Peer) -> bool {
        Arc::ptr_eq(&self.database, database) && self.peer == *peer
    }

    /// The peer has something new.
    pub fn call(&self) {
        self.called.notify_one();
    }

    /// The peer was heard: if the last exchange failed, the next need not wait longer.
    pub fn contacted(&self) {
        if self.status.lock().unwrap_or_else(PoisonError::into_inner).failures > 0 {
            self.call();
        }
    }

    /// How it stands.
    pub fn status(&self) -> CacheSyncStatus {
        let (sent, received) = self.counts.totals();
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        CacheSyncStatus { sent, received, ..status }
    }
}

struct Task {
    sync: Arc<Sync>,
    peer: NodeName,
    base_url: String,
    database: Arc<OpenDatabase>,
    status: Arc<Mutex<CacheSyncStatus>>,
    counts: Arc<CacheCounts>,
    /// What the peer's last answer says that it knows, and its digest, where that was all that changed there.
    end: Option<(Vector, Option<(Millis, Digest)>)>,
    /// Whether the peer is told: then it says what it knows whenever that happens.
    is_told: bool,
}

impl Task {
    /// Does what the session says, one thing after the other.
    async fn run(&mut self, ways: CacheWays, called: &Notify) {
        let mut newest = self.database.newest_in_cache();
        let begun = clock::monotonic();
        let sweep = Millis(u64::try_from(self.sync.tempo().sweep.as_millis()).unwrap_or(u64::MAX));
        let here = *newest.borrow_and_update();
        let mut session = CacheSession::new(ways, sweep, here, Millis(0));
        let mut event = CacheEvent::Woken;
        loop {
            let now = Millis(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
            let action = session.handle(now, event);
            event = if let CacheAction::Rest { until } = action {
                self.rested(session.failures());
                tokio::select! {
                    changed = newest.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        CacheEvent::Changed(*newest.borrow_and_update())
                    }
                    () = called.notified() => CacheEvent::Called,
                    () = tokio::time::sleep_until((begun + Duration::from_millis(until.0)).into()) => CacheEvent::Woken,
                }
            } else {
                let done = self.carry_out(&session, action).await;
                done.unwrap_or_else(|failure| {
                    self.failed(&failure);
                    CacheEvent::Failed { random: entropy::random_u64() }
                })
            };
        }
    }

    async fn carry_out(&mut self, session: &CacheSession, action: CacheAction) -> Result<CacheEvent, Failure> {
        match action {
            CacheAction::Rest { .. } => Ok(CacheEvent::Woken),
            CacheAction::LookUp => self.look_up(),
            CacheAction::Ask(question) => self.ask(question).await,
            CacheAction::Compare => self.compare().map(CacheEvent::Compared),
            CacheAction::Offer => self.push(self.source()?.empty()).await,
            CacheAction::Read { after } => {
                let view = self.database.synced_view()?;
                let known = &session.lane().vector;
                let changes = view.cache_changes(after, known, CACHE_KEYS_PER_MESSAGE, EXCHANGE_BYTES_TARGET)?;
                Ok(CacheEvent::Read(self.source()?, changes))
            }
            CacheAction::Tell(message) => self.push(message).await,
            CacheAction::GiveUp => Err(Failure::NoProgress),
        }
    }

    fn source(&self) -> Result<CacheSource, StorageError> {
        Ok(CacheSource { origin: self.database.origin().clone(), log_id: self.database.log_id()? })
    }

    /// Tells the peer, and hears what it has.
    async fn push(&self, message: CacheMessage) -> Result<CacheEvent, Failure> {
        let keys = message.states.len() as u64;
        let body = envelope::seal(&message.encode());
        let path = "/api/replication/cache/push";
        let pushed: CachePushed =
            self.sync.client.send(&self.base_url, path, self.database.name(), MEDIA_TYPE, body).await?;
        let (vector, reach) = (parse_vector(&pushed.vector)?, pushed.reach());
        self.counts.add_sent(keys);
        self.note(|status| {
            status.told_through = Some(reach.all);
            status.last_success = Some(Millis(clock::now_millis()));
        });
        self.learned(&vector);
        Ok(CacheEvent::Heard { vector, reach })
    }

    fn look_up(&self) -> Result<CacheEvent, Failure> {
        let view = self.database.synced_view()?;
        let checkpoint = view.cache_checkpoint(&self.peer)?;
        let (after, log_id) = (checkpoint.reach.all, checkpoint.log_id);
        Ok(CacheEvent::LookedUp(CacheQuestion { after, log_id, vector: view.cache_state()?.vector }))
    }

    /// Asks for what changed at the peer, and takes in what comes.
    async fn ask(&mut self, question: CacheQuestion) -> Result<CacheEvent, Failure> {
        let question = CachePull {
            source_node_id: self.sync.origin().node.to_string(),
            after: question.after.0,
            log_id: format!("{:016x}", question.log_id),
            vector: vector_record(&question.vector),
        };
        let path = "/api/replication/cache/pull";
        let body = match self.sync.client.fetch(&self.base_url, path, self.database.name(), &question).await {
            // It comes into being when something is told.
            Err(PeerError::Refused { code, .. }) if code == DATABASE_NOT_FOUND => return Ok(CacheEvent::Absent),
            body => body?,
        };
        let message = read_message(&body)?;
        let (log_id, through) = (message.log_id, message.stretch.map(|stretch| stretch.through));
        self.end = message.vector.clone().map(|vector| (vector, message.digest));
        let taken = take(&self.database, Asker::Peer, message).await?;
        self.counts.add_received(taken.changed);
        self.note(|status| status.last_success = Some(Millis(clock::now_millis())));
        if let Some((vector, _)) = self.end.as_ref().filter(|_| !self.is_told) {
            self.learned(vector);
        }
        Ok(CacheEvent::Answered { log_id, through, is_end: self.end.is_some() })
    }

    /// Holds the peer's digest against ours, where both know the same.
    fn compare(&mut self) -> Result<Option<bool>, Failure> {
        let Some((end, Some((from, theirs)))) = self.end.take() else { return Ok(None) };
        let view = self.database.view()?;
        if view.cache_state()?.vector != end {
            return Ok(None);
        }
        let is_equal = view.cache_digest(from)? == theirs;
        if !is_equal {
            tracing::warn!(
                peer = %self.peer, database = %self.database.name(),
                "caches differ although the same was exchanged: everything is exchanged again"
            );
        }
        self.note(|status| status.is_equal = Some(is_equal));
        Ok(Some(is_equal))
    }

    /// The peer has said what it knows: whoever waits for it to have a write looks again.
    fn learned(&self, vector: &Vector) {
        let is_new = self.note(|status| {
            let is_new = status.peer_vector != *vector;
            if is_new {
                status.peer_vector.clone_from(vector);
            }
            is_new
        });
        if is_new {
            self.sync.learned.send_modify(|count| *count += 1);
        }
    }

    /// A round is over.
    fn rested(&self, failures: u32) {
        self.note(|status| {
            status.failures = failures;
            if failures == 0 {
                status.last_error = None;
            }
        });
    }

    fn failed(&self, failure: &Failure) {
        let is_first = self.note(|status| {
            let is_first = status.last_error.is_none();
            status.last_error = Some(failure.to_string());
            is_first
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
    asker: Asker,
    mut message: CacheMessage,
) -> Result<holdfast_storage::cache::CacheTaken, crate::databases::SubmitError> {
    let before = message.states.len();
    message.states.retain(|(_, state)| state.is_plausible());
    let left_out = before - message.states.len();
    if left_out > 0 {
        tracing::warn!(peer = %message.source, database = %database.name(), left_out, "cache entries that cannot be right were left out");
    }
    match database.submit_for(asker, Request::TakeCacheNews(message)).await? {
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
