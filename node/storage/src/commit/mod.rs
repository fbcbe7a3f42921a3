//! The writer of a database: group commit.
//!
//! There is one writer per database. It is handed a batch of requests, fills the data transaction (where every
//! refusal happens), commits the log with one fsync, commits the data without one, and answers.
//!
//! Must stay true: an answer of success is given only for what the log has synced; a refused request leaves
//! no trace; after any error of the disk the writer stops for good, because what is on disk is then known
//! only to whoever opens it again.

mod plan;
mod conflicts;
mod indexes;
mod touched;
mod blocks;
mod cache;
mod letters;
mod local;
mod notes;
mod mend;
mod prune;
mod receive;
mod reissue;
mod replay;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use holdfast_core::chain::Chain;
use holdfast_core::error::Refusal;
use holdfast_core::id::{CollectionName, NodeName};
use holdfast_core::operation::{Operation, OperationKind};
use holdfast_core::stamp::HybridClock;
use holdfast_core::sync::suspicions::Suspicions;
use holdfast_core::sync::waymarks::Waymarks;
use holdfast_core::time::Millis;
use holdfast_core::trail::{Stated, Trail};
use holdfast_core::vector::{Dot, Origin, Position, Sequence, Vector};
use redb::Durability;
use thiserror::Error;

use crate::cache::CacheState;
use crate::commit::cache::{CacheBatch, CacheWriter};
use crate::commit::touched::{DataTables, Touched};
use crate::database::{Options, Shared};
use crate::error::StorageError;
use crate::indexes::build::Run;
use crate::record::operation::{Logged, encode};
use crate::record::progress::{Checkpoint, CollectionState, DataState, encode_collection, encode_state};
use crate::request::{Answer, Kept, Request};
use crate::tables::{COLLECTIONS, STATE, STATE_KEY};

pub use crate::commit::cache::Swept;
pub(crate) use crate::commit::conflicts::{
    Noted, create_tables as create_conflict_tables, keep_settled as keep_settled_conflict,
};
pub use crate::commit::prune::{PruneLimit, Pruned};
pub use crate::commit::reissue::{Deletion, Reissue, Surplus};
pub(crate) use crate::commit::replay::Replay;
pub(crate) use crate::commit::touched::is_unsettled;

/// A batch that could not be committed. The writer has stopped; the database must be opened again.
#[derive(Debug, Error)]
pub enum CommitError {
    /// Nothing of the batch is on disk.
    #[error("nothing was written: {0}")]
    NotWritten(#[source] StorageError),
    /// The log's sync failed: whether the batch is on disk is known only after opening again.
    #[error("whether the write is on disk is unknown: {0}")]
    Unknown(#[source] StorageError),
}

impl CommitError {
    /// What failed, alone.
    pub fn into_source(self) -> StorageError {
        match self {
            Self::NotWritten(error) | Self::Unknown(error) => error,
        }
    }

    /// What failed.
    pub fn source(&self) -> &StorageError {
        match self {
            Self::NotWritten(error) | Self::Unknown(error) => error,
        }
    }
}

/// Time and randomness for one batch, from whoever owns them.
pub struct Moment<'a> {
    /// The wall clock.
    pub now: Millis,
    /// Fresh random bits at each call.
    pub random: &'a mut dyn FnMut() -> u128,
}

/// The one writer of a database.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    origin: Origin,
    options: Options,
    clock: HybridClock,
    state: DataState,
    collections: BTreeMap<CollectionName, CollectionState>,
    checkpoints: BTreeMap<NodeName, Checkpoint>,
    unsaved_checkpoints: Vec<NodeName>,
    undurable: Undurable,
    cache: CacheWriter,
    /// The log holds every operation above this.
    floor: Vector,
    is_floor_unsaved: bool,
    /// The incarnation of the node, while this database goes on under its own, unsaved one.
    unsaved_life_beside: Option<u64>,
    /// Which operations are meant where branches parted, while the log file does not have it yet.
    unsaved_waymarks: Option<Waymarks>,
    /// The trail is that of another file, or leads on from a peer's states.
    is_trail_unsaved: bool,
    /// The first operation of the batch under way whose number had meant another one here.
    second: Option<Dot>,
    /// How far the documents that may have something to give up were looked at.
    unsettled_cursor: Position,
    /// Why tombstones stay, as far as this look at them has come.
    kept: Kept,
    /// Documents on their way into an index.
    index_run: Option<Box<Run>>,
    has_index_work: bool,
    /// The wall clock of the batch under way.
    now: Millis,
    has_stopped: bool,
}

/// What the data file would lose if the power went now; the log has it all.
#[derive(Debug, Default)]
struct Undurable {
    operations: usize,
    bytes: usize,
    since: Option<Millis>,
    /// The log's newest commit carries no allocator state: opening after a crash would scan the file.
    log_needs_scan: bool,
}

/// Everything that one batch is about to write.
struct Batch<'t> {
    transaction: &'t redb::WriteTransaction,
    tables: DataTables<'t>,
    /// Open once something of the cache is asked for.
    cache: Option<CacheBatch<'t>>,
    encoded: Vec<Vec<u8>>,
    changed_collections: Vec<CollectionName>,
    noted: Noted,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        origin: Origin,
        options: Options,
        (state, cache): (DataState, CacheState),
        collections: BTreeMap<CollectionName, CollectionState>,
        checkpoints: BTreeMap<NodeName, Checkpoint>,
        floor: Vector,
    ) -> Self {
        Self {
            clock: HybridClock::new(state.clock.max(cache.clock), options.clock_skew_max),
            cache: CacheWriter::new(cache),
            undurable: Undurable { log_needs_scan: true, ..Undurable::default() },
            shared,
            origin,
            options,
            state,
            collections,
            checkpoints,
            unsaved_checkpoints: Vec::new(),
            floor,
            is_floor_unsaved: false,
            unsaved_life_beside: None,
            unsaved_waymarks: None,
            is_trail_unsaved: false,
            second: None,
            unsettled_cursor: Position::START,
            kept: Kept::default(),
            index_run: None,
            has_index_work: true,
            now: Millis(0),
            has_stopped: false,
        }
    }

    /// Commits a batch: one fsync for all of it. Answers stand in the order of the requests.
    pub fn commit(&mut self, moment: &mut Moment<'_>, requests: Vec<Request>) -> Result<Vec<Answer>, CommitError> {
        if self.has_stopped {
            return Err(CommitError::NotWritten(StorageError::Stopped));
        }
        let result = self.commit_batch(moment, requests);
        self.has_stopped = self.has_stopped || result.is_err();
        result
    }

    /// Whether an error has stopped the writer: even after a success, the database must then be opened again.
    pub fn has_stopped(&self) -> bool {
        self.has_stopped
    }

    /// What the newest commit has made of the database.
    pub fn state(&self) -> &DataState {
        &self.state
    }

    /// Who writes here.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What the log file says that it is; the same for every copy of the file, unlike the log's id.
    pub fn file_id(&self) -> u64 {
        self.shared.file_id
    }

    /// Goes on under another incarnation from the next write on: what was written under the present one may be known
    /// elsewhere, and not here. `of_node` is the node's own; when that changes, it holds again.
    pub fn renew(&mut self, incarnation: u64, of_node: u64) {
        self.origin.incarnation = incarnation;
        self.shared.life.store(incarnation, Ordering::Relaxed);
        self.unsaved_life_beside = Some(of_node);
    }

    /// Remembers which operations are meant where branches parted, from the next commit on.
    pub(crate) fn keep_waymarks(&mut self, waymarks: Waymarks) {
        self.unsaved_waymarks = (!waymarks.is_empty()).then_some(waymarks);
    }

    /// Takes over what had come to light of branches where another database stood.
    pub(crate) fn keep_suspicions(&mut self, suspicions: Suspicions) {
        self.shared.suspicions.note(|kept| *kept = suspicions);
    }

    /// Goes on from a trail, without the branches that were given up.
    pub(crate) fn keep_trail(&mut self, mut trail: Trail, given_up: &[Dot]) {
        for fork in given_up {
            trail.leave(fork);
        }
        *self.shared.lock_trail() = trail;
        self.is_trail_unsaved = true;
    }

    /// Takes in where a peer has passed the branches of origins, whose states are here now.
    pub(crate) fn follow_trail(&mut self, theirs: &Vector, passed: &Stated) {
        self.shared.lock_trail().follow(theirs, passed);
        self.is_trail_unsaved = true;
    }

    /// Whether the data file should be synced now, because much or old is unsynced.
    pub fn is_durable_commit_due(&self, now: Millis) -> bool {
        let undurable = &self.undurable;
        undurable.operations >= self.options.undurable_operations_max
            || undurable.bytes >= self.options.undurable_bytes_max
            || undurable.since.is_some_and(|since| now.since(since) >= self.options.undurable_age_max)
    }

    /// Whether [`Self::settle`] has something to do.
    pub fn is_unsettled(&self) -> bool {
        self.undurable.operations > 0
            || self.cache.has_pending()
            || self.undurable.log_needs_scan
            || self.unsaved_life_beside.is_some()
            || self.unsaved_waymarks.is_some()
            || self.shared.suspicions.unsaved().is_some()
            || self.is_trail_unsaved
            || !self.unsaved_checkpoints.is_empty()
    }

    /// Syncs the data file, with what a quick opening needs. The log keeps what is not yet synced, so this is
    /// never needed for safety; it bounds the replay at the next opening and lets the store free pages.
    pub fn make_data_durable(&mut self) -> Result<(), StorageError> {
        if self.has_stopped {
            return Err(StorageError::Stopped);
        }
        // The data never runs ahead of what the log has synced.
        let result = if self.cache.is_ahead_of_log() { self.commit_log(&[], Position::START, false) } else { Ok(()) };
        let result = result.and_then(|()| self.shared.commit_data_durably());
        self.has_stopped = result.is_err();
        if result.is_ok() {
            self.cache.data_is_synced();
        }
        self.undurable = Undurable { log_needs_scan: self.undurable.log_needs_scan, ..Undurable::default() };
        result
    }

    /// For a quiet moment: syncs the data and leaves both files so that opening them needs no scan, even
    /// after a crash.
    pub fn settle(&mut self) -> Result<(), StorageError> {
        if self.undurable.operations > 0 {
            self.make_data_durable()?;
        }
        if self.is_unsettled() {
            let result = self.commit_log(&[], Position::START, true);
            self.has_stopped = self.has_stopped || result.is_err();
            result?;
        }
        Ok(())
    }

    fn commit_batch(&mut self, moment: &mut Moment<'_>, requests: Vec<Request>) -> Result<Vec<Answer>, CommitError> {
        self.commit_filled(moment, |writer, batch, moment| {
            batch.encoded.reserve(requests.iter().map(Request::weight).sum());
            requests.into_iter().map(|request| writer.perform(batch, moment, request)).collect()
        })
    }

    /// Commits what `fill` makes of the batch: the log first, then the data.
    fn commit_filled<T>(
        &mut self,
        moment: &mut Moment<'_>,
        fill: impl FnOnce(&mut Self, &mut Batch<'_>, &mut Moment<'_>) -> Result<T, StorageError>,
    ) -> Result<T, CommitError> {
        self.now = moment.now;
        let first = self.state.position.next();
        let shared = Arc::clone(&self.shared);
        let mut transaction = shared.data.begin_write().map_err(|error| CommitError::NotWritten(error.into()))?;
        let (cache_before, revision_before) = (self.cache.state.position, self.cache.revision);
        let filled = self.fill(&transaction, moment, fill);
        let (filled, encoded, must_sync) = filled.map_err(CommitError::NotWritten)?;
        let cache_changes = self.cache.state.position.0 - cache_before.0;
        if encoded.is_empty() && self.cache.revision == revision_before {
            // Nothing changed; progress notes wait for the next commit or a quiet moment.
            transaction.abort().map_err(|error| CommitError::NotWritten(error.into()))?;
            return Ok(filled);
        }
        if must_sync {
            self.commit_log(&encoded, first, false).map_err(CommitError::Unknown)?;
        }
        // From here on the batch is a success, whatever becomes of the data file: opening replays it.
        let committed = transaction
            .set_durability(Durability::None)
            .map_err(StorageError::from)
            .and_then(|()| transaction.commit().map_err(StorageError::from));
        if let Err(error) = committed {
            tracing::error!(database = %self.shared.name, %error, "the data file failed after its log was written; opening again replays it");
            self.has_stopped = true;
        }
        self.undurable.operations += encoded.len() + usize::try_from(cache_changes).unwrap_or(usize::MAX);
        self.undurable.bytes += encoded.iter().map(Vec::len).sum::<usize>();
        self.undurable.since.get_or_insert(moment.now);
        Ok(filled)
    }

    /// Fills the data transaction. Gives what `fill` gives, the entries to log, and whether somebody waits for the log.
    fn fill<T>(
        &mut self,
        transaction: &redb::WriteTransaction,
        moment: &mut Moment<'_>,
        fill: impl FnOnce(&mut Self, &mut Batch<'_>, &mut Moment<'_>) -> Result<T, StorageError>,
    ) -> Result<(T, Vec<Vec<u8>>, bool), StorageError> {
        let mut batch = Batch {
            transaction,
            cache: None,
            tables: DataTables::open(transaction)?,
            encoded: Vec::new(),
            changed_collections: Vec::new(),
            noted: Noted { now: moment.now, trusted_until: Some(moment.now + self.options.clock_skew_max) },
        };
        let filled = fill(self, &mut batch, moment)?;
        if !batch.encoded.is_empty() {
            self.state.clock = self.clock.latest();
            transaction
                .open_table(STATE)?
                .insert(STATE_KEY, encode_state(&self.state, &self.shared.origins).as_slice())?;
            let mut table = transaction.open_table(COLLECTIONS)?;
            for name in &batch.changed_collections {
                let state = self.collections.get(name).copied().unwrap_or_default();
                table.insert(name.as_str(), encode_collection(&state).as_slice())?;
            }
            self.save_indexes(&mut batch)?;
        }
        let must_sync = !batch.encoded.is_empty() || batch.must_sync_cache();
        if let Some(cache) = batch.cache.take() {
            self.finish_cache(cache)?;
        }
        Ok((filled, batch.encoded, must_sync))
    }

    fn perform(
        &mut self,
        batch: &mut Batch<'_>,
        moment: &mut Moment<'_>,
        request: Request,
    ) -> Result<Answer, StorageError> {
        match request {
            Request::Each(changes) => {
                let each = changes.into_iter().map(|change| {
                    let together = self.write(batch, moment, vec![change])?;
                    Ok(together.map_err(|(_, refusal)| refusal).and_then(|mut written| {
                        written.pop().ok_or_else(|| Refusal::invalid("empty-change", "Nothing to write."))
                    }))
                });
                Ok(Answer::Each(each.collect::<Result<Vec<_>, StorageError>>()?))
            }
            Request::Together(changes) => Ok(Answer::Together(self.write(batch, moment, changes)?)),
            Request::Register(collection) => {
                self.register(batch, moment, collection);
                Ok(Answer::Registered)
            }
            Request::Receive(received) => Ok(Answer::Receipt(self.receive(batch, moment.now, received)?)),
            Request::Member { member, fence } => Ok(Answer::Member(self.count_member(batch, moment, member, fence))),
            Request::GiveUp { tombstones_before, documents_max } => {
                Ok(Answer::GivenUp(self.give_up(batch, tombstones_before, documents_max)?))
            }
            Request::States(states) => Ok(Answer::StatesTaken(self.take_states(batch, states)?)),
            Request::Mend(mending) => Ok(Answer::StatesTaken(self.mend(batch, mending)?)),
            Request::DefineIndex(definition) => Ok(Answer::Index(self.define_index(batch, moment, &definition)?)),
            Request::DropIndex(name) => Ok(Answer::Index(self.drop_index(batch, moment, &name)?)),
            Request::RetryLetters(which) => Ok(Answer::Letters(self.retry(batch, &which)?)),
            Request::SettleLetters(which) => Ok(Answer::Letters(self.settle_letters(batch, moment, &which)?)),
            Request::Cache(changes) => Ok(Answer::Cache(self.change_cache(batch, moment.now, changes)?)),
            Request::TakeCacheNews(news) => Ok(Answer::CacheNewsTaken(self.take_cache_news(batch, moment.now, news)?)),
            Request::Adopt(adoption) => {
                self.adopt(batch, adoption);
                Ok(Answer::Noted)
            }
            Request::Checkpoint { peer, checkpoint } => {
                self.note_checkpoint(peer, checkpoint);
                Ok(Answer::Noted)
            }
            Request::Confirmed { by, through } => {
                let known = self.checkpoints.get(&by).cloned().unwrap_or_default();
                let pushed = known.pushed.max(through.min(self.state.position));
                self.note_checkpoint(by, Checkpoint { pushed, updated: self.now, ..known });
                Ok(Answer::Noted)
            }
        }
    }

    /// Gives an operation its place in the log.
    fn log(&mut self, batch: &mut Batch<'_>, touched: &mut Touched, mut operation: Operation) -> Logged {
        let position = self.state.position.next();
        if operation.dot.origin == self.origin && operation.chain.is_none() {
            operation.chain = self.chain_before(operation.dot.sequence);
        }
        let previous = match &operation.document {
            // What is not applied is no change of its document.
            Some(id) if !matches!(operation.kind, OperationKind::Unknown { .. }) => {
                touched.moved_to(&operation.collection, id, position)
            }
            _ => Position::START,
        };
        self.state.position = position;
        self.state.take_note_of(&operation, position);
        self.leave_trail(&operation);
        batch.encoded.push(encode(&operation, previous, &self.shared.origins));
        Logged { position, previous, operation }
    }

    /// Remembers that an operation was passed.
    fn leave_trail(&mut self, operation: &Operation) {
        let Dot { origin, sequence } = &operation.dot;
        if let Some(chain) = self.state.chains.get(origin).filter(|_| self.state.vector.get(origin) == *sequence)
            && self.shared.lock_trail().pass(&operation.dot, operation.chain, chain)
        {
            self.second.get_or_insert_with(|| operation.dot.clone());
        }
    }

    /// The chain that this node's operation of a sequence, its next one, carries.
    fn chain_before(&self, sequence: Sequence) -> Option<Chain> {
        // Where it was lost sight of, nothing is claimed: a wrong chain would look like another branch.
        self.state.chains.get(&self.origin).or((sequence == Sequence(1)).then_some(Chain::START))
    }

    /// Writes the documents that were touched, and what their collections show now.
    fn flush(&mut self, batch: &mut Batch<'_>, touched: Touched) -> Result<(), StorageError> {
        touched.flush(&mut batch.tables, &self.shared.origins, batch.noted, &mut |collection, difference| {
            let state = self.collections.entry(collection.clone()).or_default();
            difference.apply_to(state);
            self.state.conflicted = self.state.conflicted.saturating_add_signed(difference.conflicted);
            if !batch.changed_collections.contains(collection) {
                batch.changed_collections.push(collection.clone());
            }
        })
    }

    /// What is known of a peer's progress, saved or not.
    pub fn checkpoint(&self, peer: &NodeName) -> Option<&Checkpoint> {
        self.checkpoints.get(peer)
    }

    fn note_checkpoint(&mut self, peer: NodeName, checkpoint: Checkpoint) {
        if self.checkpoints.get(&peer) != Some(&checkpoint) {
            self.checkpoints.insert(peer.clone(), checkpoint);
            if !self.unsaved_checkpoints.contains(&peer) {
                self.unsaved_checkpoints.push(peer);
            }
        }
    }
}

/// The next sequence of an origin after one.
pub(crate) fn after(sequence: Sequence, steps: u64) -> Sequence {
    Sequence(sequence.0 + steps)
}
