//! Changing the cache's tables: each key's record, and what refers to it, in one transaction.

use std::collections::BTreeMap;

use holdfast_core::cache::{CacheKey, CacheScope, KeyState};
use holdfast_core::digest::Digest;
use holdfast_core::id::NodeName;
use holdfast_core::time::Millis;
use holdfast_core::vector::Position;
use redb::{ReadableTable, Table, WriteTransaction};

use super::record::{
    Logged, Place, decode_cache_checkpoint, decode_record, encode_cache_checkpoint, encode_cache_state, encode_record,
    parse_row_key, row_key,
};
use super::superseded::Superseded;
use super::{CacheCheckpoint, CacheState};
use crate::error::StorageError;
use crate::origins::Origins;
use crate::tables::{CACHE, CACHE_CHANGES, CACHE_DIGESTS, CACHE_ENDS, CACHE_PEERS, CACHE_STATE_KEY, STATE};

/// Milliseconds of a bucket of digests.
pub(crate) const BUCKET_MILLIS: u64 = 60_000;

/// The cache's tables of the data file, open for writing.
pub(crate) struct CacheTables<'t> {
    records: Table<'t, &'static [u8], &'static [u8]>,
    changes: Table<'t, u64, &'static [u8]>,
    ends: Table<'t, (u64, &'static [u8]), ()>,
    transaction: &'t WriteTransaction,
    /// What is to be added to the digests of the minutes.
    digests: BTreeMap<u64, Digest>,
    /// Positions at which keys stood that stand elsewhere now.
    left: Vec<Position>,
}

/// What is known of a key before it is changed.
pub(crate) struct Found {
    row: Vec<u8>,
    place: Place,
    bytes: usize,
    is_new: bool,
    pub(crate) state: KeyState,
}

impl Found {
    /// Bytes of a key of which nothing was known.
    pub(crate) fn bytes_if_new(&self) -> u64 {
        if self.is_new { self.row.len() as u64 } else { 0 }
    }
}

/// Creates the tables of the data file where they are missing: it may be from before there was a cache.
pub(crate) fn create_cache_tables(data: &redb::Database, log: &redb::Database) -> Result<(), StorageError> {
    use redb::ReadableDatabase;
    let is_there = match data.begin_read()?.open_table(CACHE) {
        Ok(_) => true,
        Err(redb::TableError::TableDoesNotExist(_)) => false,
        Err(error) => return Err(error.into()),
    };
    if !is_there {
        let transaction = data.begin_write()?;
        transaction.open_table(CACHE_CHANGES)?;
        transaction.open_table(CACHE_ENDS)?;
        transaction.open_table(CACHE_DIGESTS)?;
        transaction.open_table(CACHE_PEERS)?;
        transaction.open_table(CACHE)?;
        transaction.commit()?;
    }
    let is_there = match log.begin_read()?.open_table(crate::tables::CACHE_BLOCKS) {
        Ok(_) => true,
        Err(redb::TableError::TableDoesNotExist(_)) => false,
        Err(error) => return Err(error.into()),
    };
    if !is_there {
        let transaction = log.begin_write()?;
        transaction.open_table(crate::tables::CACHE_BLOCKS)?;
        transaction.commit()?;
    }
    Ok(())
}

impl<'t> CacheTables<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, StorageError> {
        Ok(Self {
            records: transaction.open_table(CACHE)?,
            changes: transaction.open_table(CACHE_CHANGES)?,
            ends: transaction.open_table(CACHE_ENDS)?,
            transaction,
            digests: BTreeMap::new(),
            left: Vec::new(),
        })
    }

    /// What is known of a key. A record that cannot be read counts as nothing: a cache may forget.
    pub(crate) fn load(&self, scope: CacheScope, key: &CacheKey, origins: &Origins) -> Result<Found, StorageError> {
        let row = row_key(scope, key);
        let record = self.records.get(row.as_slice())?;
        let Some(record) = record else {
            let (place, state) = Default::default();
            return Ok(Found { row, place, bytes: 0, is_new: true, state });
        };
        let bytes = record.value().len();
        let (place, state) = decode_record(record.value(), &row, &origins.snapshot())?;
        drop(record);
        Ok(Found { row, place, bytes, is_new: false, state })
    }

    /// Puts a state in the place of what was found. `position` is that of the change; `None` when the sweep has only let
    /// go of something, which is no change to anybody else.
    pub(crate) fn store(
        &mut self,
        found: &Found,
        after: &KeyState,
        position: Option<Position>,
        totals: &mut CacheState,
        origins: &Origins,
    ) -> Result<(), StorageError> {
        let (scope, key) = parse_row_key(&found.row)?;
        let row = found.row.as_slice();
        let is_shared = scope == CacheScope::Shared;
        if is_shared {
            self.count_digests(&key, &found.state, Digest::minus);
            self.count_digests(&key, after, Digest::plus);
        }
        let due = match after.next_end() {
            // A later end is found out when the sweep comes by: whoever writes a key again and again moves no row for it.
            Some(end) if position.is_some() && (Millis(1)..=end).contains(&found.place.due) => found.place.due,
            end => end.unwrap_or_default(),
        };
        if due != found.place.due {
            if found.place.due > Millis(0) {
                self.ends.remove((found.place.due.0, row))?;
            }
            if due > Millis(0) {
                self.ends.insert((due.0, row), ())?;
            }
        }
        let place = Place { changed: position.unwrap_or(found.place.changed), due };
        let is_kept = !after.is_empty();
        if is_shared && !is_kept {
            self.changes.remove(found.place.changed.0)?;
        } else if is_shared && place.changed != found.place.changed {
            self.changes.insert(place.changed.0, row)?;
            if !found.is_new {
                self.left.push(found.place.changed);
            }
        }
        if !found.is_new {
            totals.keys = totals.keys.saturating_sub(1);
            totals.bytes = totals.bytes.saturating_sub((row.len() + found.bytes) as u64);
        }
        if is_kept {
            let record = encode_record(place, after, origins);
            totals.keys += 1;
            totals.bytes += (row.len() + record.len()) as u64;
            self.records.insert(row, record.as_slice())?;
        } else if !found.is_new {
            self.records.remove(row)?;
        }
        Ok(())
    }

    fn count_digests(&mut self, key: &CacheKey, state: &KeyState, count: fn(Digest, Digest) -> Digest) {
        for (until, digest) in state.digests(key) {
            let sum = self.digests.entry(until.0 / BUCKET_MILLIS).or_default();
            *sum = count(*sum, digest);
        }
    }

    /// Notes how far a peer's changes are here.
    pub(crate) fn note_peer(&self, peer: &NodeName, checkpoint: CacheCheckpoint) -> Result<(), StorageError> {
        let mut peers = self.transaction.open_table(CACHE_PEERS)?;
        peers.insert(peer.as_str(), encode_cache_checkpoint(checkpoint).as_slice())?;
        Ok(())
    }

    /// How far a peer's changes are here.
    pub(crate) fn checkpoint(&self, peer: &NodeName) -> Result<CacheCheckpoint, StorageError> {
        let peers = self.transaction.open_table(CACHE_PEERS)?;
        let row = peers.get(peer.as_str())?;
        row.map_or_else(|| Ok(CacheCheckpoint::default()), |bytes| decode_cache_checkpoint(bytes.value()))
    }

    /// Keys that are due at a moment, the longest ago first: something of them has ended, or would have, had they not been
    /// written again.
    pub(crate) fn due(&self, now: Millis, limit: usize) -> Result<Vec<(CacheScope, CacheKey)>, StorageError> {
        let after = (now.0.saturating_add(1), &[][..]);
        let rows = self.ends.range(..after)?.take(limit);
        rows.map(|row| {
            let (end, ()) = row.map(|(end, none)| (end, none.value()))?;
            parse_row_key(end.value().1)
        })
        .collect()
    }

    /// Does one step of what can wait.
    pub(crate) fn tidy(&mut self, superseded: &mut Superseded, origins: &Origins) -> Result<(), StorageError> {
        superseded.tidy(&mut self.changes, &self.records, origins)
    }

    /// Writes the sums, and leaves the table of changes with no more rows than it may have.
    pub(crate) fn finish(
        mut self,
        totals: &CacheState,
        superseded: &mut Superseded,
        origins: &Origins,
    ) -> Result<(), StorageError> {
        self.left.iter().for_each(|position| superseded.note(*position));
        superseded.take_out(&mut self.changes, totals.keys)?;
        let mut digests = self.transaction.open_table(CACHE_DIGESTS)?;
        for (minute, difference) in self.digests {
            if difference == Digest::default() {
                continue;
            }
            let sum = Digest(digests.get(minute)?.map_or(0, |sum| sum.value())).plus(difference);
            if sum == Digest::default() {
                digests.remove(minute)?;
            } else {
                digests.insert(minute, sum.0)?;
            }
        }
        let state = encode_cache_state(totals, origins);
        self.transaction.open_table(STATE)?.insert(CACHE_STATE_KEY, state.as_slice())?;
        Ok(())
    }

    /// Repeats one change of the log.
    pub(crate) fn replay(
        &mut self,
        logged: &Logged,
        position: Position,
        totals: &mut CacheState,
        origins: &Origins,
    ) -> Result<(), StorageError> {
        let Logged { scope, key, change, written } = logged;
        let found = self.load(*scope, key, origins)?;
        let state = change.repeat(&found.state);
        self.store(&found, &state, Some(position), totals, origins)?;
        if let Some(dot) = written {
            totals.note(*scope, dot);
        }
        totals.clock = totals.clock.max(state.latest_stamp());
        totals.position = position;
        Ok(())
    }
}
