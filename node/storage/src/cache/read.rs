//! Reading the cache: one entry, entries by prefix, what changed after a position.

use std::ops::Bound;

use holdfast_core::cache::{CacheChanges, CacheKey, CacheScope, Shown};
use holdfast_core::digest::Digest;
use holdfast_core::id::NodeName;
use holdfast_core::time::Millis;
use holdfast_core::vector::{Position, Vector};

use super::record::{decode_cache_checkpoint, decode_cache_state, decode_record, parse_row_key, row_key};
use super::write::BUCKET_MILLIS;
use super::{CacheCheckpoint, CacheState};
use crate::error::StorageError;
use crate::log::Backlog;
use crate::tables::{CACHE_CHANGES, CACHE_DIGESTS, CACHE_PEERS, CACHE_STATE_KEY, STATE};
use crate::view::ReadView;

/// Rows that one page looks at for each entry that it may hold: more of them may have ended, or changed again.
const LOOKED_AT_PER_ENTRY: usize = 16;

/// An entry as it is shown.
#[derive(Debug, Clone)]
pub struct CacheEntry {
    /// Its name.
    pub key: CacheKey,
    /// What is shown.
    pub shown: Shown<'static>,
}

/// Bytes of values after which a page holds no further entry.
#[derive(Debug, Clone, Copy)]
pub struct CacheBytesMax(pub usize);

/// Some entries, in the order of their keys.
#[derive(Debug, Clone, Default)]
pub struct CachePage {
    /// The entries.
    pub entries: Vec<CacheEntry>,
    /// Continue after this key; `None` at the end.
    pub next: Option<CacheKey>,
}

impl ReadView {
    /// An entry as it is shown at a moment.
    pub fn cache_entry(
        &self,
        scope: CacheScope,
        key: &CacheKey,
        now: Millis,
    ) -> Result<Option<Shown<'static>>, StorageError> {
        let row = row_key(scope, key);
        let Some(record) = self.cache().get(row.as_slice())? else { return Ok(None) };
        let (_, state) = decode_record(record.value(), &row, self.origins())?;
        Ok(state.into_shown(now))
    }

    /// Entries whose keys begin with `prefix`, after a key (from the first one when `None`).
    ///
    /// A page may end early where many have ended, and once its values take `bytes_max`; `next` then says where to go on.
    /// Without values, entries come with none of their bytes.
    pub fn cache_page(
        &self,
        scope: CacheScope,
        prefix: &str,
        after: Option<&CacheKey>,
        take: usize,
        values: Option<CacheBytesMax>,
        now: Millis,
    ) -> Result<CachePage, StorageError> {
        let empty = row_prefix(scope, prefix);
        let start = match after.map(|key| row_key(scope, key)).filter(|row| *row >= empty) {
            Some(row) => Bound::Excluded(row),
            None => Bound::Included(empty.clone()),
        };
        let mut page = CachePage::default();
        let mut bytes = 0;
        let rows = self.cache().range::<&[u8]>((start.as_ref().map(Vec::as_slice), Bound::Unbounded))?;
        for (looked_at, row) in rows.enumerate() {
            let (row, record) = row?;
            if !row.value().starts_with(&empty) {
                break;
            }
            let (_, key) = parse_row_key(row.value())?;
            let is_full = page.entries.len() == take || values.is_some_and(|max| bytes >= max.0);
            if is_full || looked_at >= take.saturating_mul(LOOKED_AT_PER_ENTRY) {
                page.next = page.next.or_else(|| page.entries.last().map(|entry| entry.key.clone()));
                return Ok(page);
            }
            let (_, state) = decode_record(record.value(), row.value(), self.origins())?;
            page.next = Some(key.clone());
            if let Some(mut shown) = state.into_shown(now) {
                if values.is_none() {
                    shown.content.to_mut().bytes = Vec::new();
                }
                bytes += shown.content.bytes.len();
                page.entries.push(CacheEntry { key, shown });
            }
        }
        page.next = None;
        Ok(page)
    }

    /// What the cache has come to.
    pub fn cache_state(&self) -> Result<CacheState, StorageError> {
        let table = self.transaction().open_table(STATE)?;
        let row = table.get(CACHE_STATE_KEY)?;
        row.map_or_else(|| Ok(CacheState::default()), |bytes| decode_cache_state(bytes.value(), self.origins()))
    }

    /// How far a peer's changes are here.
    pub fn cache_checkpoint(&self, peer: &NodeName) -> Result<CacheCheckpoint, StorageError> {
        let table = self.transaction().open_table(CACHE_PEERS)?;
        let row = table.get(peer.as_str())?;
        row.map_or_else(|| Ok(CacheCheckpoint::default()), |bytes| decode_cache_checkpoint(bytes.value()))
    }

    /// Keys that changed after a position and that somebody who knows `vector` may not have merged.
    ///
    /// Ends after so many keys or bytes of values, or once so many rows were looked at.
    pub fn cache_changes(
        &self,
        after: Position,
        vector: &Vector,
        keys_max: usize,
        bytes_max: usize,
    ) -> Result<CacheChanges, StorageError> {
        let here = self.cache_state()?;
        let mut changes = CacheChanges { states: Vec::new(), through: after, vector: None };
        let mut bytes = 0;
        let rows = self.transaction().open_table(CACHE_CHANGES)?.range(after.next().0..)?;
        for (looked_at, row) in rows.enumerate() {
            let (position, row) = row?;
            let is_far = looked_at >= keys_max.saturating_mul(LOOKED_AT_PER_ENTRY);
            if changes.states.len() >= keys_max || bytes >= bytes_max || is_far {
                return Ok(changes);
            }
            changes.through = Position(position.value());
            // What has changed again stands further on, or is gone.
            let Some(record) = self.cache().get(row.value())? else { continue };
            let (place, state) = decode_record(record.value(), row.value(), self.origins())?;
            if place.changed == changes.through && !state.is_known_to(vector) {
                bytes += state.content_bytes();
                changes.states.push((parse_row_key(row.value())?.1, state));
            }
        }
        changes.through = here.position.max(after);
        changes.vector = Some(here.vector);
        Ok(changes)
    }

    /// What somebody lacks who has all changes up to a position, and knows `known`. What was overwritten since counts too,
    /// and is never sent.
    pub fn cache_backlog(&self, confirmed: Position, known: &Vector) -> Result<Backlog, StorageError> {
        let here = self.cache_state()?;
        let operations = known.missing_from(&here.vector);
        if operations == 0 {
            return Ok(Backlog::default());
        }
        let first = self.cache_changes(confirmed, known, 1, 1)?;
        let oldest = first.states.first().and_then(|(_, state)| state.changed());
        let bytes = u128::from(here.bytes) * u128::from(operations.min(here.keys)) / u128::from(here.keys.max(1));
        Ok(Backlog { operations, bytes: u64::try_from(bytes).unwrap_or(u64::MAX), oldest })
    }

    /// The digest of everything that ends in the minute of a moment or later.
    pub fn cache_digest(&self, from: Millis) -> Result<Digest, StorageError> {
        let mut sum = Digest::default();
        for row in self.transaction().open_table(CACHE_DIGESTS)?.range(from.0 / BUCKET_MILLIS..)? {
            sum = sum.plus(Digest(row?.1.value()));
        }
        Ok(sum)
    }
}

fn row_prefix(scope: CacheScope, prefix: &str) -> Vec<u8> {
    let mut row = vec![u8::from(scope == CacheScope::Local)];
    row.extend_from_slice(prefix.as_bytes());
    row
}
