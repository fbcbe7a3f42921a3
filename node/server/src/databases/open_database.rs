//! A database as the rest of the node uses it: read at once, write through its writer's queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError};

use arc_swap::{ArcSwap, ArcSwapOption};
use holdfast_core::document::DocumentState;
use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::members::Acknowledgements;
use holdfast_core::sync::branches::Evidence;
use holdfast_core::sync::comparison::DocumentKey;
use holdfast_core::sync::ranges::Verdict;
use holdfast_core::trail::Stated;
use holdfast_core::vector::{Origin, Position, Sequence, Vector};
use holdfast_storage::commit::CommitError;
use holdfast_storage::database::Database;
use holdfast_storage::error::StorageError;
use holdfast_storage::log::LogView;
use holdfast_storage::request::{Answer, Kept, Request};
use holdfast_storage::view::ReadView;
use thiserror::Error;
use tokio::sync::{oneshot, watch};

use super::Standing;
use super::gate::{Asker, Closed};
use super::upkeep::PruneReport;
use super::writer::{Job, Waiting, WriterCounts};

/// Why a request was not carried out by the writer.
#[derive(Debug, Clone, Error)]
pub enum SubmitError {
    /// More requests are waiting than the queue holds.
    #[error("too many writes are waiting; try again in a moment")]
    Busy,
    /// Nothing was written.
    #[error("nothing was written: {reason}")]
    NotWritten {
        /// Why.
        reason: String,
        /// Whether the disk has no room left.
        is_disk_full: bool,
    },
    /// The outcome is not known.
    #[error("whether the write is on disk is unknown: {reason}; read the document before trying again")]
    Unknown {
        /// Why.
        reason: String,
    },
    /// This node takes no writes of this kind now. Nothing was written.
    #[error("nothing was written: {0}")]
    ReadOnly(Closed),
    /// The node or the database is being closed.
    #[error("the database is being closed")]
    Stopping,
}

impl From<&CommitError> for SubmitError {
    fn from(error: &CommitError) -> Self {
        match error {
            CommitError::NotWritten(source) => {
                Self::NotWritten { reason: source.to_string(), is_disk_full: source.is_disk_full() }
            }
            CommitError::Unknown(source) => Self::Unknown { reason: source.to_string() },
        }
    }
}

/// What the writer's thread and everybody else share.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) name: DatabaseName,
    /// Shared with the handle that takes this one's place.
    pub(super) counts: Arc<WriterCounts>,
    /// Tells this one from those before it.
    pub(super) life: u64,
    database: ArcSwapOption<Database>,
    /// What the newest commit shows. Readers share it: opening a look of their own costs more than a read.
    view: ArcSwapOption<ReadView>,
    /// What it showed when the log had last synced everything: what may leave the node.
    synced_view: ArcSwapOption<ReadView>,
    /// The newest change of the cache that may leave the node.
    newest_in_cache: watch::Sender<Position>,
    /// The newest change of the cache that readers see.
    shown_in_cache: watch::Sender<Position>,
    standing: ArcSwap<Standing>,
    newest: watch::Sender<Position>,
    /// Shared by all databases: one of them has grown.
    activity: watch::Sender<u64>,
}

impl Handle {
    pub(super) fn new(name: DatabaseName, activity: watch::Sender<u64>) -> Self {
        Self {
            name,
            counts: Arc::default(),
            life: 0,
            database: ArcSwapOption::empty(),
            view: ArcSwapOption::empty(),
            synced_view: ArcSwapOption::empty(),
            newest_in_cache: watch::Sender::new(Position::START),
            shown_in_cache: watch::Sender::new(Position::START),
            standing: ArcSwap::from_pointee(Standing::Open),
            newest: watch::Sender::new(Position::START),
            activity,
        }
    }

    /// The handle of the database that takes this one's place, whose writer goes on with the same queue.
    pub(super) fn successor(&self) -> Self {
        let fresh = Self::new(self.name.clone(), self.activity.clone());
        Self { counts: Arc::clone(&self.counts), life: self.life + 1, ..fresh }
    }

    /// Another has taken its place. Whoever still holds this one can end what it reads, and no more.
    pub(super) fn retire(&self) {
        self.database.store(None);
    }

    pub(super) fn database(&self) -> Option<Arc<Database>> {
        self.database.load_full()
    }

    pub(super) fn set_database(&self, database: Option<Arc<Database>>) {
        self.view.store(None);
        self.synced_view.store(None);
        self.database.store(database);
    }

    /// Shows readers what the newest commit has made. Comes before the answers: who was answered reads it.
    pub(super) fn refresh_view(&self) {
        let database = self.database.load();
        let view = database.as_ref().and_then(|database| database.view().ok());
        self.view.store(view.map(Arc::new));
    }

    /// What is shown now has been synced: it may leave the node.
    pub(super) fn cache_is_synced(&self, newest: Position) {
        self.synced_view.store(self.view.load_full());
        if *self.newest_in_cache.borrow() != newest {
            self.newest_in_cache.send_replace(newest);
            self.activity.send_modify(|count| *count += 1);
        }
    }

    /// Readers of the cache see something new, be it only how much is known here.
    pub(super) fn cache_is_shown(&self, newest: Position) {
        self.shown_in_cache.send_replace(newest);
    }

    pub(super) fn set_standing(&self, standing: Standing) {
        self.standing.store(Arc::new(standing));
    }

    pub(super) fn announce(&self, newest: Position) {
        self.newest.send_replace(newest);
        self.activity.send_modify(|count| *count += 1);
    }
}

/// A database that is being served.
#[derive(Debug)]
pub struct OpenDatabase {
    pub(super) handle: Arc<Handle>,
    pub(super) queue: SyncSender<Job>,
    pub(super) origin: Origin,
}

impl OpenDatabase {
    /// Its name.
    pub fn name(&self) -> &DatabaseName {
        &self.handle.name
    }

    /// Who writes here.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The log's own id; positions mean nothing in another log.
    pub fn log_id(&self) -> Result<u64, StorageError> {
        Ok(self.database()?.log_id())
    }

    /// A consistent look at the documents, as the newest commit has made them.
    pub fn view(&self) -> Result<Arc<ReadView>, StorageError> {
        match self.handle.view.load_full() {
            Some(view) => Ok(view),
            None => self.database()?.view().map(Arc::new),
        }
    }

    /// A consistent look at the cache as it may leave the node: what is not synced yet is not in it.
    pub fn synced_view(&self) -> Result<Arc<ReadView>, StorageError> {
        match self.handle.synced_view.load_full() {
            Some(view) => Ok(view),
            None => self.view(),
        }
    }

    /// The newest position of the cache that may leave the node; changes after every sync.
    pub fn newest_in_cache(&self) -> watch::Receiver<Position> {
        self.handle.newest_in_cache.subscribe()
    }

    /// The newest position of the cache; changes whenever readers see more of it.
    pub fn shown_in_cache(&self) -> watch::Receiver<Position> {
        self.handle.shown_in_cache.subscribe()
    }

    /// A consistent look at the log.
    pub fn log(&self) -> Result<LogView, StorageError> {
        self.database()?.log()
    }

    /// Which branches of origins a node that knows `ours` tells one that was heard to know `theirs`.
    pub fn stated(&self, ours: &Vector, theirs: &Vector) -> Result<Stated, StorageError> {
        Ok(self.database()?.stated(ours, theirs))
    }

    /// Holds a document's record against what the log makes of it; see [`Database::examine`].
    pub fn examine(&self, key: &DocumentKey) -> Result<(Verdict, Option<DocumentState>), StorageError> {
        self.database()?.examine(key)
    }

    /// Whether it is open, or being opened again.
    pub fn standing(&self) -> Standing {
        Standing::clone(&self.handle.standing.load())
    }

    /// The newest position of the log; changes after every commit.
    pub fn newest(&self) -> watch::Receiver<Position> {
        self.handle.newest.subscribe()
    }

    /// Numbers of its writer.
    pub fn counts(&self) -> &WriterCounts {
        &self.handle.counts
    }

    /// Hands a request to the writer and waits for its answer, which comes after the fsync.
    ///
    /// When the caller goes away meanwhile, the request is carried out all the same.
    ///
    /// What only a client can want is stopped by a closed [gate](super::WriteGate), everything else passes it.
    pub async fn submit(&self, request: Request) -> Result<Answer, SubmitError> {
        self.submit_for(Asker::Node, request).await
    }

    /// Hands over what a peer has brought: like [`Self::submit`], but a gate that is closed to peers stops it.
    pub async fn submit_from_peer(&self, request: Request) -> Result<Answer, SubmitError> {
        self.submit_for(Asker::Peer, request).await
    }

    /// Hands over what somebody wants written: the gate may stop it.
    pub async fn submit_for(&self, asker: Asker, request: Request) -> Result<Answer, SubmitError> {
        let (reply, answer) = oneshot::channel();
        self.handle.counts.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting { request, asker, reply, life: self.handle.life };
        if let Err(error) = self.queue.try_send(Job::Request(waiting)) {
            self.handle.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(match error {
                TrySendError::Full(_) => SubmitError::Busy,
                TrySendError::Disconnected(_) => SubmitError::Stopping,
            });
        }
        answer.await.unwrap_or(Err(SubmitError::Stopping))
    }

    /// Waits until everything that was handed to the writer before is decided, committed and synced, the cache included.
    /// Gives the newest position of the log then.
    ///
    /// After the gate was closed, nothing that it stops is committed once this was answered. It waits for room in a full
    /// queue. An error says nothing: the database is being opened again or closed, or its disk has failed.
    pub async fn barrier(&self) -> Result<Position, SubmitError> {
        let (reply, answer) = oneshot::channel();
        match self.queue.try_send(Job::Barrier(reply)) {
            Ok(()) => {}
            Err(TrySendError::Disconnected(_)) => return Err(SubmitError::Stopping),
            Err(TrySendError::Full(job)) => {
                let queue = self.queue.clone();
                let sent = tokio::task::spawn_blocking(move || queue.send(job).is_ok()).await;
                if !sent.unwrap_or(false) {
                    return Err(SubmitError::Stopping);
                }
            }
        }
        let broken_off = || SubmitError::NotWritten {
            reason: "the database stopped before everything was written".to_owned(),
            is_disk_full: false,
        };
        answer.await.unwrap_or_else(|_| Err(broken_off()))
    }

    /// Prunes the log now, as far as the settings allow.
    pub async fn prune(&self) -> Result<PruneReport, SubmitError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Job::Prune(reply)).map_err(|error| match error {
            TrySendError::Full(_) => SubmitError::Busy,
            TrySendError::Disconnected(_) => SubmitError::Stopping,
        })?;
        answer.await.unwrap_or(Err(SubmitError::Stopping))
    }

    /// Notes that a member has said that it knows this.
    pub fn acknowledge(&self, member: &Origin, vector: &Vector) {
        if let Ok(database) = self.database() {
            database.acknowledge(member, vector);
        }
    }

    /// What the other members have said that they know.
    pub fn acknowledgements(&self) -> Result<Acknowledgements, StorageError> {
        Ok(self.database()?.acknowledgements())
    }

    /// A caller has proven to itself that it holds another branch of an origin than this node, which is to give way.
    pub fn note_told(&self, caller: &NodeName, origin: Origin) {
        if let Ok(database) = self.database() {
            database.note_told(caller, origin);
        }
    }

    /// What is to be believed of a peer's branches, as far as it counts for the log that it has now.
    pub fn evidence(&self, peer: &NodeName, log_id: u64) -> Result<Evidence, StorageError> {
        Ok(self.database()?.evidence(peer, &self.origin, log_id))
    }

    /// Since when this node writes what peers know something else by; see [`Database::behind`].
    pub fn behind(&self, known: (Sequence, Sequence)) -> Result<Option<Sequence>, StorageError> {
        Ok(self.database()?.behind(&self.origin, known))
    }

    /// Why tombstones stay, as of the last full look at them.
    pub fn kept(&self) -> Result<Kept, StorageError> {
        Ok(self.database()?.kept())
    }

    fn database(&self) -> Result<Arc<Database>, StorageError> {
        self.handle.database().ok_or(StorageError::Stopped)
    }
}
