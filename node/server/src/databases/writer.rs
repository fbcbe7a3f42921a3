//! The thread that owns a database's one writer.
//!
//! ```text
//!   requests ─► bounded queue ─► drain ─► group commit ─► answers ─► newest position announced
//!                                  │ quiet for a second
//!                                  └► settle: sync the data, leave both files quick to open
//!   the disk failed ─► close ─► wait ─► open again (replays the log) ─► go on
//!   made anew ─► what is ours alone is carried over ─► the new database takes its place ─► go on with the same queue
//! ```
//!
//! Must stay true: nobody is answered before the fsync; a full queue refuses at once instead of growing;
//! after an error of the disk nothing is written until the database has been opened again; a disk that fills up
//! refuses writes and loses no reader; a write that waits while the database is made anew is carried out in the new one.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use holdfast_core::limits::{COMMIT_BYTES_MAX, COMMIT_OPERATIONS_MAX};
use holdfast_core::time::Millis;
use holdfast_core::vector::Position;
use holdfast_storage::commit::{CommitError, Moment, Writer};
use holdfast_storage::database::{Database, Opened};
use holdfast_storage::error::StorageError;
use holdfast_storage::request::{Answer, Request};
use tokio::sync::oneshot;

use super::Standing;
use super::gate::{Asker, ClosedReason, WriteGate};
use super::open_database::{Handle, SubmitError};
use super::transfer::{Exchange, NotExchanged};
use super::upkeep::{Caretaker, PruneReport};
use crate::{clock, entropy};

/// How long the queue must be quiet before the files are settled.
const QUIET: Duration = Duration::from_secs(1);
/// How long the queue must be quiet before changes of the cache that nobody waits for are synced.
const CACHE_SYNC_WITHIN: Duration = Duration::from_millis(100);
/// First and longest wait before a failed database is opened again.
const REOPEN_WAIT: Duration = Duration::from_millis(50);
const REOPEN_WAIT_MAX: Duration = Duration::from_secs(5);
/// Bytes that must find room on a disk that was full before anything is written again.
const PROBE_BYTES: usize = 4 * 1024 * 1024;

/// Where an answer goes.
type Reply = oneshot::Sender<Result<Answer, SubmitError>>;

/// A request and who waits for its answer.
pub(super) struct Waiting {
    pub(super) request: Request,
    pub(super) asker: Asker,
    pub(super) reply: Reply,
    /// The life of the database that it was meant for.
    pub(super) life: u64,
}

/// One request on its way to the writer.
pub(super) enum Job {
    /// A request and who waits for its answer.
    Request(Waiting),
    /// Another database takes the place of this one.
    Exchange(Box<Exchange>),
    /// Prune the log now, and tell what went.
    Prune(oneshot::Sender<Result<PruneReport, SubmitError>>),
    /// Tell when everything before it is committed and synced, and where the log ends then.
    Barrier(oneshot::Sender<Result<Position, SubmitError>>),
    /// The last one: the database is being closed.
    Close,
}

/// Numbers of one database's writer, for status and metrics.
#[derive(Debug, Default)]
pub struct WriterCounts {
    /// Group commits since the start.
    pub commits: AtomicU64,
    /// Operations logged since the start.
    pub operations: AtomicU64,
    /// Changes of the cache since the start.
    pub cache_changes: AtomicU64,
    /// Whether the cache is so full that writes which make it larger are refused.
    pub is_cache_full: AtomicBool,
    /// Requests waiting now.
    pub waiting: AtomicU64,
    /// Conflicts that were settled by a policy or a rule since the start.
    pub conflicts_settled: AtomicU64,
    /// Times the database had to be opened again.
    pub reopened: AtomicU64,
    /// Whether the disk is so full that writes are refused.
    pub is_out_of_room: AtomicBool,
}

/// Opens the database, and opens it again after a failure.
pub(super) type Open = Box<dyn Fn() -> Result<Opened, StorageError> + Send>;

/// What the thread works with.
pub(super) struct WriterThread {
    pub(super) handle: Arc<Handle>,
    pub(super) queue: Receiver<Job>,
    /// Whether writes are taken.
    pub(super) gate: Arc<WriteGate>,
    /// Where requests wait for their answers.
    pub(super) runtime: Option<tokio::runtime::Handle>,
    pub(super) open: Open,
    /// Writes a few bytes beside the database, to see whether a full disk has room again.
    pub(super) probe: Box<dyn Fn(usize) -> Result<(), StorageError> + Send>,
    /// Bytes that the disk has left, where the system tells.
    pub(super) room: Box<dyn Fn() -> Option<u64> + Send>,
    /// Notes how far the database has got, so that older files of it are noticed.
    pub(super) mark: Box<dyn Fn(u64, Position) + Send>,
    /// With less room than this nothing is written.
    pub(super) room_bytes_min: u64,
    /// Whether the disk was so short of room at the last look.
    pub(super) is_short_of_room: Cell<bool>,
    /// What is done between writes.
    pub(super) caretaker: RefCell<Caretaker>,
}

/// What comes after a group commit.
enum After {
    Nothing,
    /// Somebody waits for the log to be pruned.
    Prune(oneshot::Sender<Result<PruneReport, SubmitError>>),
    /// Somebody waits for what came before.
    Barrier(oneshot::Sender<Result<Position, SubmitError>>),
    /// The run of the writer ends.
    End(End),
}

/// Why a run of the writer ended.
enum End {
    Closed,
    Exchanged(Box<Exchange>),
    Failed { is_disk_full: bool },
}

impl WriterThread {
    /// Runs until the database is closed.
    pub(super) fn run(mut self, mut writer: Writer) {
        loop {
            let end = match self.serve(&mut writer) {
                End::Exchanged(exchange) => {
                    if let Some(next) = self.exchange(writer, *exchange) {
                        writer = next;
                        continue;
                    }
                    End::Closed
                }
                end => {
                    drop(writer);
                    end
                }
            };
            self.handle.set_database(None);
            let End::Failed { is_disk_full } = end else { return };
            match self.reopen(is_disk_full) {
                Some(again) => writer = again,
                None => return,
            }
        }
    }

    /// Puts another database in the place of this one; readers are served by either, writes wait. `None` when neither
    /// can be.
    fn exchange(&mut self, writer: Writer, exchange: Exchange) -> Option<Writer> {
        let present = self.handle.database()?;
        let made = exchange.make(&present, writer.origin());
        drop(present);
        match made {
            Ok((opened, exchanged)) => {
                let next = Arc::new(self.handle.successor());
                let origin = opened.writer.origin().clone();
                let writer = next.take_in(opened);
                // Before the first write to it is answered: whoever was answered finds its write.
                exchanged.publish(Arc::clone(&next), origin);
                std::mem::replace(&mut self.handle, next).retire();
                Some(writer)
            }
            Err(NotExchanged::Untouched) => Some(writer),
            Err(NotExchanged::SetAside) => None,
        }
    }

    /// Commits what arrives until the database is closed or fails.
    fn serve(&self, writer: &mut Writer) -> End {
        loop {
            // An index that is being built, or a sweep under way, does not wait for quiet; whoever writes comes in between
            // its steps.
            let has_work = writer.has_index_work() || self.caretaker.borrow().is_at_work();
            let is_building = has_work && !self.is_short_of_room.get();
            let patience = match (is_building, writer.has_unsynced_cache()) {
                (true, _) => Duration::ZERO,
                (false, true) => CACHE_SYNC_WITHIN,
                (false, false) => QUIET,
            };
            let first = match self.queue.recv_timeout(patience) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) if is_building => {
                    if let Some(end) = self.sync_if_due(writer).or_else(|| self.look_after(writer)) {
                        return end;
                    }
                    continue;
                }
                Err(RecvTimeoutError::Timeout) if writer.has_unsynced_cache() => {
                    if let Err(error) = writer.sync_cache() {
                        return self.failed(&error);
                    }
                    self.cache_is_synced(writer);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {
                    if writer.is_unsettled()
                        && let Err(error) = writer.settle()
                    {
                        return self.failed(&error);
                    }
                    (self.mark)(writer.file_id(), writer.state().position);
                    if let Some(end) = self.look_after(writer) {
                        return end;
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => Job::Close,
            };
            let (jobs, after) = self.drain(first);
            if !jobs.is_empty()
                && let Some(end) = self.commit(writer, jobs)
            {
                return end;
            }
            if let After::End(last) = after {
                // What cannot be settled now is replayed from the log when the database is opened next.
                if let Err(error) = writer.settle() {
                    tracing::warn!(database = %self.handle.name, %error, "not settled before closing");
                }
                (self.mark)(writer.file_id(), writer.state().position);
                return last;
            }
            let end = match after {
                After::Prune(reply) => self.prune(writer, reply),
                After::Barrier(reply) => self.pass_barrier(writer, reply),
                After::Nothing | After::End(_) => None,
            };
            if let Some(end) = end {
                return end;
            }
            if let Some(end) = self.sync_if_due(writer).or_else(|| self.look_after(writer)) {
                return end;
            }
        }
    }

    fn sync_if_due(&self, writer: &mut Writer) -> Option<End> {
        let now = Millis(clock::now_millis());
        let synced = if writer.is_durable_commit_due(now) {
            writer.make_data_durable()
        } else if writer.is_cache_sync_due(now) {
            writer.sync_cache()
        } else {
            return None;
        };
        self.cache_is_synced(writer);
        synced.err().map(|error| self.failed(&error))
    }

    /// Tells whoever takes the cache elsewhere what is synced now.
    fn cache_is_synced(&self, writer: &Writer) {
        if !writer.has_unsynced_cache() {
            self.handle.cache_is_synced(writer.cache_state().position);
        }
    }

    /// What is to be done between writes; nothing while the disk is nearly full.
    fn look_after(&self, writer: &mut Writer) -> Option<End> {
        match self.is_out_of_room(writer) {
            Ok(false) => {}
            Ok(true) => return None,
            Err(error) => return Some(self.failed(&error)),
        }
        let before = writer.state().position;
        // What is given up is noted in the log, which must stand still while the lead is handed over. A follower's log is
        // its own, and it gives up what its leader does.
        let may_log = self.gate.closed().is_none_or(|closed| closed.reason == ClosedReason::Follower);
        let looked = self.caretaker.borrow_mut().look(writer, may_log);
        self.look_at_cache_room(writer);
        let looked = looked.and_then(|has_swept| Ok(Caretaker::work_on_indexes(writer)? || has_swept));
        if writer.state().position > before || matches!(looked, Ok(true)) {
            self.handle.refresh_view();
            self.handle.announce(writer.state().position);
        }
        looked.err().map(|error| self.failed(&error))
    }

    /// Prunes when somebody asks for it.
    fn prune(&self, writer: &mut Writer, reply: oneshot::Sender<Result<PruneReport, SubmitError>>) -> Option<End> {
        let pruned = self.caretaker.borrow_mut().prune_now(writer);
        let (answer, end) = match pruned {
            Ok(report) => (Ok(report), None),
            Err(error) => {
                let reason = error.to_string();
                (Err(SubmitError::NotWritten { reason, is_disk_full: error.is_disk_full() }), Some(self.failed(&error)))
            }
        };
        drop(reply.send(answer));
        end
    }

    /// Everything before the barrier is committed; what the cache has not synced yet is synced now.
    fn pass_barrier(&self, writer: &mut Writer, reply: oneshot::Sender<Result<Position, SubmitError>>) -> Option<End> {
        let synced = if writer.has_unsynced_cache() { writer.sync_cache() } else { Ok(()) };
        let (answer, end) = match synced {
            Ok(()) => {
                self.cache_is_synced(writer);
                (Ok(writer.state().position), None)
            }
            Err(error) => {
                let reason = error.to_string();
                (Err(SubmitError::NotWritten { reason, is_disk_full: error.is_disk_full() }), Some(self.failed(&error)))
            }
        };
        drop(reply.send(answer));
        end
    }

    /// Takes what is waiting, up to the size of one group commit, and what comes after it.
    fn drain(&self, first: Job) -> (Vec<(Request, Reply)>, After) {
        let mut jobs = Vec::new();
        let (mut weight, mut bytes) = (0, 0);
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Request(Waiting { request, asker, reply, life }) => {
                    let is_stale = life != self.handle.life && !request.outlives_its_log();
                    let refused = if is_stale {
                        Some(SubmitError::Stopping)
                    } else {
                        self.gate.stops_request(asker, &request).map(SubmitError::ReadOnly)
                    };
                    // One that is refused counts too: many of them must not hold up what goes with them.
                    weight += request.weight();
                    bytes += request.bytes();
                    if let Some(refused) = refused {
                        self.handle.counts.waiting.fetch_sub(1, Ordering::Relaxed);
                        drop(reply.send(Err(refused)));
                    } else {
                        jobs.push((request, reply));
                    }
                }
                Job::Prune(reply) => return (jobs, After::Prune(reply)),
                Job::Barrier(reply) => return (jobs, After::Barrier(reply)),
                Job::Exchange(exchange) => return (jobs, After::End(End::Exchanged(exchange))),
                Job::Close => return (jobs, After::End(End::Closed)),
            }
            next = if weight < COMMIT_OPERATIONS_MAX && bytes < COMMIT_BYTES_MAX {
                self.queue.try_recv().ok()
            } else {
                None
            };
        }
        (jobs, After::Nothing)
    }

    fn commit(&self, writer: &mut Writer, jobs: Vec<(Request, Reply)>) -> Option<End> {
        let counts = &self.handle.counts;
        let (requests, replies): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
        counts.waiting.fetch_sub(requests.len() as u64, Ordering::Relaxed);
        let is_out_of_room = self.is_out_of_room(writer);
        if !matches!(is_out_of_room, Ok(false)) {
            let refusal = SubmitError::NotWritten { reason: "the disk is nearly full".to_owned(), is_disk_full: true };
            for reply in replies {
                drop(reply.send(Err(refusal.clone())));
            }
            return is_out_of_room.err().map(|error| self.failed(&error));
        }
        let before = writer.state().position;
        let (cache_before, revision_before) = (writer.cache_state().position, writer.cache_revision());
        let mut moment = Moment { now: Millis(clock::now_millis()), random: &mut entropy::random_u128 };
        match writer.commit(&mut moment, requests) {
            Ok(answers) => {
                let after = writer.state().position;
                let cache_after = writer.cache_state().position;
                if after > before || writer.cache_revision() > revision_before {
                    // Before the answers: who was answered reads its write, and finds it counted.
                    self.handle.refresh_view();
                    counts.commits.fetch_add(1, Ordering::Relaxed);
                    counts.operations.fetch_add(after.0 - before.0, Ordering::Relaxed);
                    counts.cache_changes.fetch_add(cache_after.0 - cache_before.0, Ordering::Relaxed);
                }
                self.look_at_cache_room(writer);
                self.answer(replies, answers);
                if writer.cache_revision() > revision_before {
                    self.handle.cache_is_shown(cache_after);
                }
                self.cache_is_synced(writer);
                if after > before {
                    self.handle.announce(after);
                }
                writer.has_stopped().then_some(End::Failed { is_disk_full: false })
            }
            Err(error) => {
                let refusal = SubmitError::from(&error);
                for reply in replies {
                    drop(reply.send(Err(refusal.clone())));
                }
                let end = self.failed(error.source());
                if matches!(error, CommitError::Unknown(_)) {
                    tracing::error!(database = %self.handle.name, "a sync of the log failed: what it held is known only after opening again");
                }
                Some(end)
            }
        }
    }

    /// Says when the cache has become full, and when there is room in it again.
    fn look_at_cache_room(&self, writer: &mut Writer) {
        let is_full = writer.is_cache_full();
        if self.handle.counts.is_cache_full.swap(is_full, Ordering::Relaxed) == is_full {
            return;
        }
        let (database, bytes) = (&self.handle.name, writer.cache_state().bytes);
        if is_full {
            tracing::warn!(%database, bytes, "the cache is full: writes that make it larger are refused until entries end, are deleted, or Node:CacheMaxMegabytes is raised");
        } else {
            tracing::warn!(%database, bytes, "there is room in the cache again");
        }
    }

    /// Whether the disk has too little room to write. A store that meets the end of its disk must be opened again, which needs room
    /// too: so writing stops before that, and reading never does.
    ///
    /// What the data file has not synced yet is synced when room first runs short: somebody else may take the rest.
    fn is_out_of_room(&self, writer: &mut Writer) -> Result<bool, StorageError> {
        let is_short = (self.room)().is_some_and(|room| room < self.room_bytes_min);
        if self.is_short_of_room.replace(is_short) != is_short {
            self.handle.counts.is_out_of_room.store(is_short, Ordering::Relaxed);
            let (database, room_bytes_min) = (&self.handle.name, self.room_bytes_min);
            if is_short {
                tracing::error!(%database, room_bytes_min, "the disk is nearly full: writes are refused, reads go on");
                writer.settle()?;
            } else {
                tracing::warn!(%database, "there is room on the disk again");
            }
        }
        Ok(is_short)
    }

    /// Gives everybody their answer. Done on a thread of the runtime, where waking a waiting request costs no
    /// system call: from here each would cost one.
    fn answer(&self, replies: Vec<Reply>, answers: Vec<Answer>) {
        // A receiver that has gone away has lost interest, not the write.
        let is_one = replies.len() == 1;
        let send = move || replies.into_iter().zip(answers).for_each(|(reply, answer)| drop(reply.send(Ok(answer))));
        match &self.runtime {
            Some(runtime) if !is_one => drop(runtime.spawn(async move { send() })),
            _ => send(),
        }
    }

    fn failed(&self, error: &StorageError) -> End {
        let is_disk_full = error.is_disk_full();
        tracing::error!(database = %self.handle.name, %error, is_disk_full, "the database stops and is opened again");
        End::Failed { is_disk_full }
    }

    /// Opens the database again, as often as it takes; requests are refused meanwhile. `None` when it is
    /// being closed.
    fn reopen(&self, mut is_disk_full: bool) -> Option<Writer> {
        let mut wait = REOPEN_WAIT;
        loop {
            self.handle.set_standing(Standing::Reopening { is_disk_full });
            if self.refuse_for(wait, is_disk_full) {
                return None;
            }
            wait = (wait * 2).min(REOPEN_WAIT_MAX);
            match (self.probe)(PROBE_BYTES).and_then(|()| (self.open)()) {
                Ok(opened) => {
                    tracing::warn!(database = %self.handle.name, replayed = opened.replayed, "open again");
                    self.handle.counts.reopened.fetch_add(1, Ordering::Relaxed);
                    return Some(self.handle.take_in(opened));
                }
                Err(error) => {
                    is_disk_full = error.is_disk_full();
                    tracing::warn!(database = %self.handle.name, %error, wait_ms = wait.as_millis(), "not open yet");
                }
            }
        }
    }

    /// Refuses what arrives for a while. Answers whether the database is being closed.
    fn refuse_for(&self, wait: Duration, is_disk_full: bool) -> bool {
        let end = clock::monotonic() + wait;
        loop {
            let left = end.saturating_duration_since(clock::monotonic());
            match self.queue.recv_timeout(left) {
                Ok(Job::Request(Waiting { reply, .. })) => {
                    self.handle.counts.waiting.fetch_sub(1, Ordering::Relaxed);
                    drop(reply.send(Err(SubmitError::NotWritten {
                        reason: "the database is being opened again".to_owned(),
                        is_disk_full,
                    })));
                }
                Ok(Job::Prune(reply)) => drop(reply.send(Err(SubmitError::Busy))),
                Ok(Job::Barrier(reply)) => drop(reply.send(Err(SubmitError::NotWritten {
                    reason: "the database is being opened again".to_owned(),
                    is_disk_full,
                }))),
                // Whoever waits for it learns that it was dropped.
                Ok(Job::Exchange(_)) => {}
                Ok(Job::Close) | Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }
}

impl Handle {
    /// Starts serving an opened database; gives its writer.
    pub(super) fn take_in(&self, opened: Opened) -> Writer {
        let position = opened.writer.state().position;
        let cache = opened.writer.cache_state().position;
        self.set_database(Some(Arc::new(Database::clone(&opened.database))));
        self.refresh_view();
        self.set_standing(Standing::Open);
        self.announce(position);
        self.cache_is_synced(cache);
        opened.writer
    }
}
