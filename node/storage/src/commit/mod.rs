//! The writer of a database: group commit.
//!
//! There is one writer per database. It is handed a batch of requests, fills the data transaction (where every
//! refusal happens), commits the log with one fsync, commits the data without one, and answers.
//!
//! Must stay true: an answer of success is given only for what the log has synced; a refused request leaves
//! no trace; after any error of the disk the writer stops for good, because what is on disk is then known
//! only to whoever opens it again.

mod plan;
mod touched;

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_core::error::Refusal;
use holdfast_core::id::{CollectionName, NodeName, OperationId};
use holdfast_core::operation::{Group, Operation, OperationKind};
use holdfast_core::stamp::HybridClock;
use holdfast_core::time::Millis;
use holdfast_core::vector::{Origin, Position, Sequence, Vector};
use redb::Durability;
use thiserror::Error;

use crate::commit::plan::{Draft, draft};
use crate::commit::touched::{DataTables, Touched};
use crate::database::{Options, Shared};
use crate::error::StorageError;
use crate::origins::Origins;
use crate::record::operation::{Logged, encode, encode_block};
use crate::record::progress::{
    Checkpoint, CollectionState, DataState, encode_checkpoint, encode_collection, encode_origin, encode_state,
};
use crate::request::{Answer, Change, Receipt, Received, Request, Written};
use crate::tables::{BLOCKS, CHECKPOINTS, COLLECTIONS, ORIGINS, STATE, STATE_KEY};

/// Bytes after which a block is closed and another begun: large values cost the store contiguous pages.
const BLOCK_BYTES_TARGET: usize = 128 * 1024;

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
    tables: DataTables<'t>,
    encoded: Vec<Vec<u8>>,
    changed_collections: Vec<CollectionName>,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        origin: Origin,
        options: Options,
        state: DataState,
        collections: BTreeMap<CollectionName, CollectionState>,
        checkpoints: BTreeMap<NodeName, Checkpoint>,
    ) -> Self {
        Self {
            clock: HybridClock::new(state.clock, options.clock_skew_max),
            undurable: Undurable { log_needs_scan: true, ..Undurable::default() },
            shared,
            origin,
            options,
            state,
            collections,
            checkpoints,
            unsaved_checkpoints: Vec::new(),
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

    /// Whether the data file should be synced now, because much or old is unsynced.
    pub fn is_durable_commit_due(&self, now: Millis) -> bool {
        let undurable = &self.undurable;
        undurable.operations >= self.options.undurable_operations_max
            || undurable.bytes >= self.options.undurable_bytes_max
            || undurable.since.is_some_and(|since| now.since(since) >= self.options.undurable_age_max)
    }

    /// Whether [`Self::settle`] has something to do.
    pub fn is_unsettled(&self) -> bool {
        self.undurable.operations > 0 || self.undurable.log_needs_scan || !self.unsaved_checkpoints.is_empty()
    }

    /// Syncs the data file, with what a quick opening needs. The log keeps what is not yet synced, so this is
    /// never needed for safety; it bounds the replay at the next opening and lets the store free pages.
    pub fn make_data_durable(&mut self) -> Result<(), StorageError> {
        if self.has_stopped {
            return Err(StorageError::Stopped);
        }
        let result = self.shared.commit_data_durably();
        self.has_stopped = result.is_err();
        self.undurable = Undurable { log_needs_scan: self.undurable.log_needs_scan, ..Undurable::default() };
        result
    }

    /// For a quiet moment: syncs the data and leaves both files so that opening them needs no scan, even
    /// after a crash.
    pub fn settle(&mut self) -> Result<(), StorageError> {
        if self.undurable.operations > 0 {
            self.make_data_durable()?;
        }
        if self.undurable.log_needs_scan || !self.unsaved_checkpoints.is_empty() {
            let result = self.commit_log(&[], Position::START, true);
            self.has_stopped = self.has_stopped || result.is_err();
            result?;
        }
        Ok(())
    }

    fn commit_batch(&mut self, moment: &mut Moment<'_>, requests: Vec<Request>) -> Result<Vec<Answer>, CommitError> {
        let first = self.state.position.next();
        let shared = Arc::clone(&self.shared);
        let mut transaction = shared.data.begin_write().map_err(|error| CommitError::NotWritten(error.into()))?;
        let filled = self.fill(&transaction, moment, requests);
        let (answers, encoded) = filled.map_err(CommitError::NotWritten)?;
        if encoded.is_empty() {
            // Nothing changed; progress notes wait for the next commit or a quiet moment.
            transaction.abort().map_err(|error| CommitError::NotWritten(error.into()))?;
            return Ok(answers);
        }
        self.commit_log(&encoded, first, false).map_err(CommitError::Unknown)?;
        // From here on the batch is a success, whatever becomes of the data file: opening replays it.
        let committed = transaction
            .set_durability(Durability::None)
            .map_err(StorageError::from)
            .and_then(|()| transaction.commit().map_err(StorageError::from));
        if let Err(error) = committed {
            tracing::error!(database = %self.shared.name, %error, "the data file failed after its log was written; opening again replays it");
            self.has_stopped = true;
        }
        self.undurable.operations += encoded.len();
        self.undurable.bytes += encoded.iter().map(Vec::len).sum::<usize>();
        self.undurable.since.get_or_insert(moment.now);
        Ok(answers)
    }

    /// Works through the requests on the data transaction. Gives the answers and the operations to log.
    fn fill(
        &mut self,
        transaction: &redb::WriteTransaction,
        moment: &mut Moment<'_>,
        requests: Vec<Request>,
    ) -> Result<(Vec<Answer>, Vec<Vec<u8>>), StorageError> {
        let mut batch = Batch {
            tables: DataTables::open(transaction)?,
            encoded: Vec::with_capacity(requests.iter().map(Request::weight).sum()),
            changed_collections: Vec::new(),
        };
        let answers = requests
            .into_iter()
            .map(|request| self.perform(&mut batch, moment, request))
            .collect::<Result<Vec<_>, _>>()?;
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
        }
        Ok((answers, batch.encoded))
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
            Request::Checkpoint { peer, checkpoint } => {
                self.note_checkpoint(peer, checkpoint);
                Ok(Answer::Noted)
            }
        }
    }

    /// Writes the changes of one transaction, or none of them.
    #[allow(clippy::type_complexity)]
    fn write(
        &mut self,
        batch: &mut Batch<'_>,
        moment: &mut Moment<'_>,
        changes: Vec<Change>,
    ) -> Result<Result<Vec<Written>, (usize, Refusal)>, StorageError> {
        let mut touched = Touched::default();
        let mut knows = self.state.vector.clone();
        let mut drafts: Vec<Draft> = Vec::with_capacity(changes.len());
        let origins = self.shared.origins.snapshot();
        for (index, change) in changes.into_iter().enumerate() {
            let document = touched.load(&batch.tables, &origins, &change.collection, &change.id)?;
            let sequence = knows.get(&self.origin);
            let stamp = self.clock.tick(moment.now);
            let mut mint = || OperationId::new(stamp.millis().0, (moment.random)());
            match draft(change, document, &self.origin, sequence, stamp, &knows, &mut mint) {
                Ok(draft) => {
                    for operation in &draft.operations {
                        document.state.apply(operation);
                        knows.observe(&self.origin, operation.dot.sequence);
                    }
                    drafts.push(Draft { version: document.state.version(), ..draft });
                }
                Err(refusal) => return Ok(Err((index, refusal))),
            }
        }
        let total: usize = drafts.iter().map(|draft| draft.operations.len()).sum();
        let group_id = drafts.first().and_then(|draft| draft.operations.first()).map(|operation| operation.id);
        let mut index = 0;
        let mut written = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let mut operations = Vec::with_capacity(draft.operations.len());
            for mut operation in draft.operations {
                if total > 1 {
                    let count = u32::try_from(total).unwrap_or(u32::MAX);
                    operation.group = group_id.map(|id| Group { id, index, count });
                    index += 1;
                }
                operations.push(self.log(batch, &mut touched, operation));
            }
            let Some(version) = draft.version else { continue };
            written.push(Written { operations, version, existed: draft.existed });
        }
        self.flush(batch, touched)?;
        Ok(Ok(written))
    }

    /// Makes a collection known, unless it is.
    fn register(&mut self, batch: &mut Batch<'_>, moment: &mut Moment<'_>, collection: CollectionName) {
        if self.collections.contains_key(&collection) {
            return;
        }
        let stamp = self.clock.tick(moment.now);
        let sequence = self.state.vector.get(&self.origin).next();
        let operation = Operation {
            id: OperationId::new(stamp.millis().0, (moment.random)()),
            dot: holdfast_core::vector::Dot { origin: self.origin.clone(), sequence },
            stamp,
            collection: collection.clone(),
            document: None,
            context: Vector::new(),
            group: None,
            kind: OperationKind::RegisterCollection,
        };
        self.log(batch, &mut Touched::default(), operation);
        self.collections.entry(collection.clone()).or_default();
        batch.changed_collections.push(collection);
    }

    /// Takes a stretch of a peer's log in, as far as it has no gap.
    fn receive(&mut self, batch: &mut Batch<'_>, now: Millis, received: Received) -> Result<Receipt, StorageError> {
        let mut touched = Touched::default();
        let mut receipt = Receipt { through: received.after, ..Receipt::default() };
        let whole_groups = complete_prefix(&received.operations);
        let is_whole = whole_groups == received.operations.len();
        for (position, operation) in received.operations.into_iter().take(whole_groups) {
            receipt.processed += 1;
            let known = self.state.vector.get(&operation.dot.origin);
            // Logs are causally closed, so whatever an operation has seen is here before it. A context beyond that
            // would cover operations that are yet to be written, and make them void.
            let is_ahead = !self.state.vector.covers_all(&operation.context);
            if operation.dot.sequence > known.next() || (operation.dot.sequence == known.next() && is_ahead) {
                receipt.gap = Some(operation.dot);
                break;
            }
            if operation.dot.sequence == known.next() {
                receipt.accepted += 1;
                receipt.suspect_stamps += u64::from(self.clock.observe(now, operation.stamp));
                receipt.conflicts += u64::from(self.take(batch, &mut touched, operation)?);
            }
            receipt.through = position;
        }
        if receipt.gap.is_none() && is_whole {
            receipt.through = received.through;
        }
        self.flush(batch, touched)?;
        self.note_received(&received.source, received.source_log_id, received.after, receipt.through, now);
        Ok(receipt)
    }

    /// Applies and logs one operation that was minted elsewhere. Answers whether it met a conflict.
    fn take(
        &mut self,
        batch: &mut Batch<'_>,
        touched: &mut Touched,
        operation: Operation,
    ) -> Result<bool, StorageError> {
        let mut is_conflict = false;
        match (&operation.document, &operation.kind) {
            (Some(id), kind) if !matches!(kind, OperationKind::Unknown { .. }) => {
                let origins = self.shared.origins.snapshot();
                let document = touched.load(&batch.tables, &origins, &operation.collection, id)?;
                is_conflict = document.state.apply(&operation) == holdfast_core::document::Effect::Conflict;
            }
            (None, OperationKind::RegisterCollection) if !self.collections.contains_key(&operation.collection) => {
                self.collections.insert(operation.collection.clone(), CollectionState::default());
                batch.changed_collections.push(operation.collection.clone());
            }
            _ => {}
        }
        self.log(batch, touched, operation);
        Ok(is_conflict)
    }

    /// Gives an operation its place in the log.
    fn log(&mut self, batch: &mut Batch<'_>, touched: &mut Touched, operation: Operation) -> Logged {
        let position = self.state.position.next();
        let previous = touched.moved_to(&operation, position);
        self.state.position = position;
        self.state.vector.observe(&operation.dot.origin, operation.dot.sequence);
        batch.encoded.push(encode(&operation, previous, &self.shared.origins));
        Logged { position, previous, operation }
    }

    /// Writes the documents that were touched, and what their collections show now.
    fn flush(&mut self, batch: &mut Batch<'_>, touched: Touched) -> Result<(), StorageError> {
        touched.flush(&mut batch.tables, &self.shared.origins, &mut |collection, difference| {
            let state = self.collections.entry(collection.clone()).or_default();
            difference.apply_to(state);
            self.state.conflicted = self.state.conflicted.saturating_add_signed(difference.conflicted);
            if !batch.changed_collections.contains(collection) {
                batch.changed_collections.push(collection.clone());
            }
        })
    }

    fn commit_log(&mut self, encoded: &[Vec<u8>], first: Position, is_quick_to_open: bool) -> Result<(), StorageError> {
        let mut transaction = self.shared.log.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_quick_repair(is_quick_to_open);
        {
            let mut blocks = transaction.open_table(BLOCKS)?;
            let mut position = first.0;
            for operations in split_into_blocks(encoded) {
                blocks.insert(position, encode_block(operations).as_slice())?;
                position += operations.len() as u64;
            }
            save_new_origins(&transaction, &self.shared.origins)?;
            if !self.unsaved_checkpoints.is_empty() {
                let mut table = transaction.open_table(CHECKPOINTS)?;
                for peer in &self.unsaved_checkpoints {
                    if let Some(checkpoint) = self.checkpoints.get(peer) {
                        table.insert(peer.as_str(), encode_checkpoint(checkpoint).as_slice())?;
                    }
                }
            }
        }
        transaction.commit()?;
        self.unsaved_checkpoints.clear();
        self.undurable.log_needs_scan = !is_quick_to_open;
        Ok(())
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

    /// A stretch that continues what we have of the sender's log moves the checkpoint forward.
    fn note_received(&mut self, source: &NodeName, log_id: u64, after: Position, through: Position, now: Millis) {
        let mut checkpoint = self.checkpoints.get(source).cloned().unwrap_or_default();
        if checkpoint.peer_log_id != log_id {
            checkpoint = Checkpoint { peer_log_id: log_id, ..Checkpoint::default() };
        }
        if after <= checkpoint.pulled && through > checkpoint.pulled {
            checkpoint.pulled = through;
            checkpoint.updated = now;
            self.note_checkpoint(source.clone(), checkpoint);
        }
    }
}

/// Replays one operation into the data, as opening does. Mints nothing.
pub(crate) struct Replay<'t> {
    tables: DataTables<'t>,
    pub(crate) state: DataState,
    pub(crate) collections: BTreeMap<CollectionName, CollectionState>,
}

impl<'t> Replay<'t> {
    /// Starts on a data transaction from what the data reflects.
    pub(crate) fn begin(
        transaction: &'t redb::WriteTransaction,
        state: DataState,
        collections: BTreeMap<CollectionName, CollectionState>,
    ) -> Result<Self, StorageError> {
        Ok(Self { tables: DataTables::open(transaction)?, state, collections })
    }

    /// Applies one logged operation.
    pub(crate) fn apply(&mut self, logged: &Logged, origins: &Origins) -> Result<(), StorageError> {
        let operation = &logged.operation;
        let expected = self.state.vector.get(&operation.dot.origin).next();
        if operation.dot.sequence != expected || logged.position != self.state.position.next() {
            return Err(StorageError::damaged(
                format!("log operation {}", logged.position),
                format!("it is {} where {}:{expected} should follow", operation.dot, operation.dot.origin),
            ));
        }
        let mut touched = Touched::default();
        match (&operation.document, &operation.kind) {
            (Some(id), kind) if !matches!(kind, OperationKind::Unknown { .. }) => {
                let document = touched.load(&self.tables, &origins.snapshot(), &operation.collection, id)?;
                document.state.apply(operation);
                touched.moved_to(operation, logged.position);
            }
            (None, OperationKind::RegisterCollection) => {
                self.collections.entry(operation.collection.clone()).or_default();
            }
            _ => {}
        }
        let (collections, state) = (&mut self.collections, &mut self.state);
        touched.flush(&mut self.tables, origins, &mut |collection, difference| {
            difference.apply_to(collections.entry(collection.clone()).or_default());
            state.conflicted = state.conflicted.saturating_add_signed(difference.conflicted);
        })?;
        state.position = logged.position;
        state.vector.observe(&operation.dot.origin, operation.dot.sequence);
        state.clock = state.clock.max(operation.stamp);
        Ok(())
    }

    /// Writes what the data reflects now.
    pub(crate) fn finish(
        self,
        transaction: &redb::WriteTransaction,
        origins: &Origins,
    ) -> Result<(DataState, BTreeMap<CollectionName, CollectionState>), StorageError> {
        transaction.open_table(STATE)?.insert(STATE_KEY, encode_state(&self.state, origins).as_slice())?;
        let mut table = transaction.open_table(COLLECTIONS)?;
        for (name, state) in &self.collections {
            table.insert(name.as_str(), encode_collection(state).as_slice())?;
        }
        Ok((self.state, self.collections))
    }
}

/// How many of the operations can be taken without cutting a transaction at the end.
fn complete_prefix(operations: &[(Position, Operation)]) -> usize {
    let mut complete = 0;
    for (index, (_, operation)) in operations.iter().enumerate() {
        if operation.group.is_none_or(|group| group.index + 1 >= group.count) {
            complete = index + 1;
        }
    }
    complete
}

/// Cuts the operations of a commit into blocks of bounded size.
fn split_into_blocks(encoded: &[Vec<u8>]) -> Vec<&[Vec<u8>]> {
    let mut blocks = Vec::new();
    let mut rest = encoded;
    while !rest.is_empty() {
        let mut bytes = 0;
        let full = rest.iter().position(|operation| {
            bytes += operation.len();
            bytes >= BLOCK_BYTES_TARGET
        });
        let (block, after) = rest.split_at(full.map_or(rest.len(), |index| index + 1));
        blocks.push(block);
        rest = after;
    }
    blocks
}

/// Writes the origins that were met since the last commit, before anything that uses their numbers is read.
fn save_new_origins(transaction: &redb::WriteTransaction, origins: &Origins) -> Result<(), StorageError> {
    use redb::ReadableTableMetadata;
    let list = origins.snapshot();
    let mut table = transaction.open_table(ORIGINS)?;
    let saved = usize::try_from(table.len()?).unwrap_or(usize::MAX);
    for (index, origin) in list.iter().enumerate().skip(saved) {
        table.insert(u32::try_from(index).unwrap_or(u32::MAX), encode_origin(origin).as_slice())?;
    }
    Ok(())
}

/// The next sequence of an origin after one.
pub(crate) fn after(sequence: Sequence, steps: u64) -> Sequence {
    Sequence(sequence.0 + steps)
}
