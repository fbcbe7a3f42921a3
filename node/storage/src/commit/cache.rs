//! The cache's part of a commit: changes by clients and from peers, what is logged of them, the sweep.

use holdfast_core::cache::{
    CacheCommand, CacheMessage, CacheOutcome, CacheRefusal, CacheRoom, CacheScope, KeyState, Minted, perform,
};
use holdfast_core::time::Millis;
use holdfast_core::vector::Position;
use redb::{Durability, ReadableDatabase, WriteTransaction};

use crate::cache::record::{Change, Logged, encode_cache_block, encode_cache_state, encode_logged};
use crate::cache::superseded::Superseded;
use crate::cache::write::{CacheTables, Found};
use crate::cache::{CacheChange, CacheCheckpoint, CacheState, CacheTaken, carry};
use crate::commit::{Batch, Writer};
use crate::error::StorageError;
use crate::origins::Origins;
use crate::tables::{CACHE_BLOCKS, CACHE_FLOOR_KEY, META};
use crate::view::ReadView;

/// Bytes of unsynced changes after which the log is synced although nobody waits for it.
const RELAXED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Age after which it is.
const RELAXED_AGE_MAX: Millis = Millis(500);

/// What the writer keeps of the cache.
#[derive(Debug, Default)]
pub(super) struct CacheWriter {
    pub(super) state: CacheState,
    /// Counts up with everything that readers see.
    pub(super) revision: u64,
    /// What it was when the log was last synced.
    logged_revision: u64,
    /// Changes that the log does not have yet: those of this commit, and earlier ones that nobody waits for.
    pending: Vec<Vec<u8>>,
    pending_bytes: usize,
    pending_since: Option<Millis>,
    /// What the data file has synced …
    synced_in_data: CacheState,
    /// … and the log has let go of everything up to this.
    let_go: Position,
    superseded: Superseded,
    room: CacheRoom,
}

/// What one commit does to the cache.
pub(super) struct CacheBatch<'t> {
    tables: CacheTables<'t>,
    /// Whether somebody waits for the fsync.
    must_sync: bool,
}

/// What a sweep came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Keys of which something was let go.
    pub keys: u64,
    /// Whether more has ended.
    pub has_more: bool,
}

impl CacheWriter {
    pub(super) fn new(state: CacheState) -> Self {
        let superseded = Superseded::at_open(state.position);
        Self { synced_in_data: state.clone(), state, superseded, ..Self::default() }
    }

    fn log(&mut self, logged: &Logged, now: Millis, origins: &Origins) {
        self.revision += 1;
        self.state.position = self.state.position.next();
        let encoded = encode_logged(logged, origins);
        self.pending_bytes += encoded.len();
        self.pending.push(encoded);
        self.pending_since.get_or_insert(now);
    }

    /// The data file has synced everything that it holds.
    pub(super) fn data_is_synced(&mut self) {
        self.synced_in_data.clone_from(&self.state);
    }

    /// Whether the data file may hold something that the log does not, be it the number of an origin.
    pub(super) fn is_ahead_of_log(&self) -> bool {
        self.revision > self.logged_revision
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) fn is_behind(&self, now: Millis) -> bool {
        self.pending_bytes >= RELAXED_BYTES_MAX
            || self.pending_since.is_some_and(|since| now.since(since) >= RELAXED_AGE_MAX)
    }

    /// Writes what is pending, and lets go of what the data file has synced.
    pub(super) fn write_log(&self, transaction: &WriteTransaction, origins: &Origins) -> Result<(), StorageError> {
        let synced = self.synced_in_data.position;
        if self.pending.is_empty() && self.let_go >= synced {
            return Ok(());
        }
        let mut blocks = transaction.open_table(CACHE_BLOCKS)?;
        if self.let_go < synced {
            blocks.retain_in(..=synced.0, |_, _| false)?;
            let floor = encode_cache_state(&self.synced_in_data, origins);
            transaction.open_table(META)?.insert(CACHE_FLOOR_KEY, floor.as_slice())?;
        }
        if !self.pending.is_empty() {
            let first = self.state.position.0 + 1 - self.pending.len() as u64;
            blocks.insert(first, encode_cache_block(&self.pending).as_slice())?;
        }
        Ok(())
    }

    /// The log is synced.
    pub(super) fn logged(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
        self.pending_since = None;
        self.logged_revision = self.revision;
        self.let_go = self.synced_in_data.position;
    }
}

/// How many bytes of values, and of a key that is new, a change adds. What is noted beside them is little, and stays as
/// little however often a key is written.
fn growth(found: &Found, after: &KeyState) -> u64 {
    let before = found.state.content_bytes();
    after.content_bytes().saturating_sub(before) as u64 + found.bytes_if_new()
}

impl Batch<'_> {
    /// Whether somebody waits for what was done to the cache to be synced.
    pub(super) fn must_sync_cache(&self) -> bool {
        self.cache.as_ref().is_some_and(|cache| cache.must_sync)
    }
}

impl<'t> Batch<'t> {
    fn cache(&mut self) -> Result<&mut CacheBatch<'t>, StorageError> {
        if self.cache.is_none() {
            self.cache = Some(CacheBatch { tables: CacheTables::open(self.transaction)?, must_sync: false });
        }
        self.cache.as_mut().ok_or(StorageError::Stopped)
    }
}

impl Writer {
    /// What the newest commit has made of the cache.
    pub fn cache_state(&self) -> &CacheState {
        &self.cache.state
    }

    /// Counts up with everything that readers of the cache see, sweeps aside.
    pub fn cache_revision(&self) -> u64 {
        self.cache.revision
    }

    /// Whether the cache is full: writes that make it larger are refused.
    pub fn is_cache_full(&mut self) -> bool {
        let bytes = self.cache.state.bytes;
        self.options.cache_bytes_max.is_some_and(|limit| self.cache.room.is_full(bytes, limit))
    }

    /// Whether changes that nobody waits for should be synced now.
    pub fn is_cache_sync_due(&self, now: Millis) -> bool {
        self.cache.is_behind(now)
    }

    /// Whether the log lacks changes that are shown already.
    pub fn has_unsynced_cache(&self) -> bool {
        self.cache.has_pending()
    }

    /// Syncs what nobody waited for.
    pub fn sync_cache(&mut self) -> Result<(), StorageError> {
        if self.has_stopped {
            return Err(StorageError::Stopped);
        }
        let result = self.commit_log(&[], Position::START, false);
        self.has_stopped = self.has_stopped || result.is_err();
        result
    }

    pub(super) fn change_cache(
        &mut self,
        batch: &mut Batch<'_>,
        now: Millis,
        changes: Vec<CacheChange>,
    ) -> Result<Vec<Result<CacheOutcome, CacheRefusal>>, StorageError> {
        changes.into_iter().map(|change| self.change_entry(batch, now, change)).collect()
    }

    fn change_entry(
        &mut self,
        batch: &mut Batch<'_>,
        now: Millis,
        change: CacheChange,
    ) -> Result<Result<CacheOutcome, CacheRefusal>, StorageError> {
        let CacheChange { scope, key, command, when, wants_value, is_relaxed } = change;
        let is_tight = self.may_not_fit(&command);
        let shared = std::sync::Arc::clone(&self.shared);
        let cache = batch.cache()?;
        let found = cache.tables.load(scope, &key, &shared.origins)?;
        let mut state = found.state.clone();
        state.let_go(now);
        let dot = self.cache.state.next_dot(scope, &self.origin);
        let is_touch = matches!(command, CacheCommand::Touch { .. });
        let minted = Minted { now, stamp: self.clock.tick(now), dot: dot.clone() };
        let outcome = match perform(&mut state, command, &when, wants_value, minted) {
            Ok(outcome) => outcome,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if outcome.written.is_none() {
            return Ok(Ok(outcome));
        }
        let growth = if is_tight { growth(&found, &state) } else { 0 };
        if let Err(refusal) = self.find_room(growth) {
            return Ok(Err(refusal));
        }
        let cache = batch.cache()?;
        cache.must_sync |= !is_relaxed;
        let position = self.cache.state.position.next();
        self.cache.state.note(scope, &dot);
        self.cache.state.clock = self.cache.state.clock.max(state.latest_stamp());
        cache.tables.store(&found, &state, Some(position), &mut self.cache.state, &shared.origins)?;
        let change = if is_touch { Change::Touches { touches: state.touches, now } } else { Change::State(state) };
        self.cache.log(&Logged { scope, key, change, written: Some(dot) }, now, &shared.origins);
        Ok(Ok(outcome))
    }

    /// Whether a change must be looked at more closely: deleting makes room, and an end that moves takes none; a peer's
    /// changes are always taken.
    fn may_not_fit(&self, command: &CacheCommand) -> bool {
        let coming = match command {
            CacheCommand::Set { content, .. } => content.bytes.len() as u64,
            CacheCommand::Add { .. } => 0,
            CacheCommand::Touch { .. } | CacheCommand::Delete => return false,
        };
        self.options.cache_bytes_max.is_some_and(|limit| self.cache.state.bytes.saturating_add(coming) > limit)
    }

    fn find_room(&mut self, growth: u64) -> Result<(), CacheRefusal> {
        let bytes = self.cache.state.bytes;
        self.options.cache_bytes_max.map_or(Ok(()), |limit| self.cache.room.find(bytes, growth, limit))
    }

    /// Takes in what changed at a peer.
    ///
    /// Nobody waits for the fsync: the peer has it on disk, and what is lost here with the power is asked for again,
    /// because what is known here is lost with it.
    pub(super) fn take_cache_news(
        &mut self,
        batch: &mut Batch<'_>,
        now: Millis,
        message: CacheMessage,
    ) -> Result<CacheTaken, StorageError> {
        let shared = std::sync::Arc::clone(&self.shared);
        let cache = batch.cache()?;
        let mut changed = 0;
        for (key, mut coming) in message.states {
            self.clock.observe(now, coming.latest_stamp());
            coming.let_go(now);
            let scope = CacheScope::Shared;
            let found = cache.tables.load(scope, &key, &shared.origins)?;
            let mut state = found.state.clone();
            state.merge(coming);
            state.let_go(now);
            if state == found.state || state.is_empty() {
                continue;
            }
            changed += 1;
            let position = self.cache.state.position.next();
            cache.tables.store(&found, &state, Some(position), &mut self.cache.state, &shared.origins)?;
            let change = if state.is_equal_but_for_touches(&found.state) {
                Change::Touches { touches: state.touches, now }
            } else {
                Change::State(state)
            };
            self.cache.log(&Logged { scope, key, change, written: None }, now, &shared.origins);
        }
        let before = cache.tables.checkpoint(&message.source)?;
        let is_same_log = before.log_id == message.log_id;
        let log_id = message.log_id;
        let mut checkpoint =
            if is_same_log { before } else { CacheCheckpoint { log_id, ..CacheCheckpoint::default() } };
        // What was left out must be known here, and what came before must be here: else nothing is proven.
        let is_known = self.cache.state.vector.covers_all(&message.based_on);
        let follows = is_known && message.stretch.is_some_and(|stretch| checkpoint.reach.extend(stretch));
        let vector = message.vector.filter(|_| follows).unwrap_or_default();
        if follows && (checkpoint != before || !self.cache.state.vector.covers_all(&vector)) {
            // Not logged: what of it a crash takes back is asked for again, and is known already.
            self.cache.state.vector.merge(&vector);
            cache.tables.note_peer(&message.source, checkpoint)?;
            self.cache.revision += 1;
        }
        Ok(CacheTaken { changed, vector: self.cache.state.vector.clone(), reach: checkpoint.reach })
    }

    pub(super) fn finish_cache(&mut self, cache: CacheBatch<'_>) -> Result<(), StorageError> {
        cache.tables.finish(&self.cache.state, &mut self.cache.superseded, &self.shared.origins)
    }

    /// Lets go of what has ended at a moment, of at most so many keys. Nobody is told, and nothing is logged: everybody
    /// has a clock.
    pub fn sweep_cache(&mut self, now: Millis, keys_max: usize) -> Result<Swept, StorageError> {
        if self.has_stopped {
            return Err(StorageError::Stopped);
        }
        let result = self.sweep_some(now, keys_max);
        self.has_stopped = result.is_err();
        result
    }

    fn sweep_some(&mut self, now: Millis, keys_max: usize) -> Result<Swept, StorageError> {
        let shared = std::sync::Arc::clone(&self.shared);
        let mut transaction = shared.data.begin_write()?;
        let mut tables = CacheTables::open(&transaction)?;
        let due = tables.due(now, keys_max)?;
        if due.is_empty() && !self.cache.superseded.has_work() {
            drop(tables);
            transaction.abort()?;
            return Ok(Swept::default());
        }
        let (mut keys, is_full) = (0, due.len() == keys_max);
        for (scope, key) in due {
            let found = tables.load(scope, &key, &shared.origins)?;
            let mut state = found.state.clone();
            state.let_go(now);
            keys += u64::from(state != found.state);
            tables.store(&found, &state, None, &mut self.cache.state, &shared.origins)?;
        }
        tables.tidy(&mut self.cache.superseded, &shared.origins)?;
        tables.finish(&self.cache.state, &mut self.cache.superseded, &shared.origins)?;
        transaction.set_durability(Durability::None)?;
        transaction.commit()?;
        self.undurable.operations += 1;
        self.undurable.since.get_or_insert(now);
        Ok(Swept { keys, has_more: is_full || self.cache.superseded.has_unseen() })
    }

    /// Takes the cache of another database along, and syncs it.
    pub(crate) fn carry_cache(&mut self, old: &ReadView, now: Millis) -> Result<(), StorageError> {
        carry(old, &self.shared.data, &self.shared.origins, now)?;
        // Numbers of origins are in records now that the log may not have yet.
        self.commit_log(&[], Position::START, false)?;
        self.cache.state =
            ReadView::new(self.shared.data.begin_read()?, self.shared.origins.snapshot())?.cache_state()?;
        self.make_data_durable()
    }
}
