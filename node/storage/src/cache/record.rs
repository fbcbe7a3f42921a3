//! Records of the cache, byte by byte.

use holdfast_core::cache::{
    CacheKey, CacheReach, CacheScope, KeyState, StateFormat, Touch, decode_state as decode_key_state,
    encode_state as encode_key_state,
};
use holdfast_core::encoding::Encode;
use holdfast_core::stamp::Stamp;
use holdfast_core::time::Millis;
use holdfast_core::vector::{Dot, Origin, Position};

use super::{CacheCheckpoint, CacheState};
use crate::encoding::DecodeError;
use crate::error::StorageError;
use crate::origins::Origins;
use crate::record::{FORMAT_CACHE, begin, begin_as, open, put_dot, put_vector, read_dot, read_vector, seal};

const SHARED: u8 = 0;
const LOCAL: u8 = 1;

/// A change that this node was asked for …
const OWN: u8 = 1;
/// … and one of touches alone.
const TOUCHES: u8 = 2;

/// Where a key stands in the tables.
pub(crate) fn row_key(scope: CacheScope, key: &CacheKey) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + key.as_str().len());
    bytes.push(match scope {
        CacheScope::Shared => SHARED,
        CacheScope::Local => LOCAL,
    });
    bytes.extend_from_slice(key.as_str().as_bytes());
    bytes
}

/// The key of a row.
pub(crate) fn parse_row_key(bytes: &[u8]) -> Result<(CacheScope, CacheKey), StorageError> {
    let damaged = || StorageError::damaged("a row of the cache", "its key is not valid");
    let (scope, key) = bytes.split_first().ok_or_else(damaged)?;
    let scope = match *scope {
        SHARED => CacheScope::Shared,
        LOCAL => CacheScope::Local,
        _ => return Err(damaged()),
    };
    let key = std::str::from_utf8(key).ok().and_then(|key| CacheKey::parse(key).ok()).ok_or_else(damaged)?;
    Ok((scope, key))
}

/// Where else a key stands in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// The position of its last change.
    pub(crate) changed: Position,
    /// When the sweep looks at it: not after the next end of something of it. Zero for never.
    pub(crate) due: Millis,
}

/// What is known of a key, and where else it stands. Most are due when something of them ends, and do not say it.
pub(crate) fn encode_record(place: Place, state: &KeyState, origins: &Origins) -> Vec<u8> {
    let mut bytes = begin_as(FORMAT_CACHE, 64 + state.content_bytes());
    bytes.put_varint(place.changed.0);
    encode_key_state(&mut bytes, state, &mut |origin| u64::from(origins.index_of(origin)));
    if Some(place.due) != state.next_end() {
        bytes.put_varint(place.due.0);
    }
    seal(bytes)
}

/// See [`encode_record`].
pub(crate) fn decode_record(bytes: &[u8], key: &[u8], origins: &[Origin]) -> Result<(Place, KeyState), StorageError> {
    let place = || format!("cache entry '{}'", String::from_utf8_lossy(key.get(1..).unwrap_or_default()));
    let (format, mut reader) = open(bytes, &place)?;
    let mut read = || -> Result<_, DecodeError> {
        let changed = Position(reader.varint()?);
        let state = decode_key_state(&mut reader, origins, state_format(format))?;
        let due = if reader.is_empty() { state.next_end().unwrap_or_default() } else { Millis(reader.varint()?) };
        Ok((Place { changed, due }, state))
    };
    read().map_err(|reason| StorageError::damaged(place(), reason))
}

fn state_format(format: u8) -> StateFormat {
    if format < FORMAT_CACHE { StateFormat::First } else { StateFormat::Touches }
}

/// What a change makes of a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// What is known of it from here on.
    State(KeyState),
    /// New ends alone. The value, which may be large, stands in the log or the data already.
    Touches {
        /// All that are known.
        touches: Vec<Touch>,
        /// What had ended by then was let go of.
        now: Millis,
    },
}

impl Change {
    /// What a key comes to that was known like this before.
    pub(crate) fn repeat(&self, found: &KeyState) -> KeyState {
        match self {
            Self::State(state) => state.clone(),
            // The data file with what was touched is lost: what is not known has no end.
            Self::Touches { .. } if found.is_empty() => KeyState::default(),
            Self::Touches { touches, now } => {
                let mut state = found.clone();
                state.retouch(touches.clone(), *now);
                state
            }
        }
    }
}

/// One change of the cache in the log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Logged {
    pub(crate) scope: CacheScope,
    pub(crate) key: CacheKey,
    pub(crate) change: Change,
    /// The write of this node that made it so; `None` when it came from a peer.
    pub(crate) written: Option<Dot>,
}

pub(crate) fn encode_logged(logged: &Logged, origins: &Origins) -> Vec<u8> {
    let Logged { scope, key, change, written } = logged;
    // What has no value but touches is a state too, as bytes.
    let touched;
    let (state, let_go) = match change {
        Change::State(state) => (state, None),
        Change::Touches { touches, now } => {
            touched = KeyState { touches: touches.clone(), ..KeyState::default() };
            (&touched, Some(*now))
        }
    };
    let mut bytes = begin_as(FORMAT_CACHE, 64 + state.content_bytes());
    bytes.push(if written.is_some() { OWN } else { 0 } | if let_go.is_some() { TOUCHES } else { 0 });
    if let Some(dot) = written {
        put_dot(&mut bytes, dot, origins);
    }
    bytes.put_bytes(&row_key(*scope, key));
    if let Some(now) = let_go {
        bytes.put_varint(now.0);
    }
    encode_key_state(&mut bytes, state, &mut |origin| u64::from(origins.index_of(origin)));
    seal(bytes)
}

fn decode_logged(bytes: &[u8], origins: &[Origin]) -> Result<Logged, StorageError> {
    let place = || "the cache's part of the log".to_owned();
    let (format, mut reader) = open(bytes, &place)?;
    let damaged = |reason: DecodeError| StorageError::damaged(place(), reason);
    let kind = reader.u8().map_err(damaged)?;
    let written = (kind & OWN != 0).then(|| read_dot(&mut reader, origins)).transpose().map_err(damaged)?;
    let (scope, key) = parse_row_key(reader.bytes().map_err(damaged)?)?;
    let now = (kind & TOUCHES != 0).then(|| reader.varint()).transpose().map_err(damaged)?;
    let state = decode_key_state(&mut reader, origins, state_format(format)).map_err(damaged)?;
    let change = match now {
        Some(now) => Change::Touches { touches: state.touches, now: Millis(now) },
        None => Change::State(state),
    };
    Ok(Logged { scope, key, change, written })
}

/// Changes that were synced together.
pub(crate) fn encode_cache_block(changes: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = begin(changes.iter().map(|change| change.len() + 5).sum());
    bytes.put_varint(changes.len() as u64);
    for change in changes {
        bytes.put_bytes(change);
    }
    seal(bytes)
}

pub(crate) fn decode_cache_block(bytes: &[u8], origins: &[Origin]) -> Result<Vec<Logged>, StorageError> {
    let place = || "the cache's part of the log".to_owned();
    let (_, mut reader) = open(bytes, &place)?;
    let damaged = |reason: DecodeError| StorageError::damaged(place(), reason);
    let count = reader.count(2).map_err(damaged)?;
    (0..count).map(|_| decode_logged(reader.bytes().map_err(damaged)?, origins)).collect()
}

pub(crate) fn encode_cache_state(state: &CacheState, origins: &Origins) -> Vec<u8> {
    let mut bytes = begin(64);
    for number in [state.position.0, state.clock.0, state.local, state.keys, state.bytes] {
        bytes.put_varint(number);
    }
    put_vector(&mut bytes, &state.vector, origins);
    seal(bytes)
}

pub(crate) fn decode_cache_state(bytes: &[u8], origins: &[Origin]) -> Result<CacheState, StorageError> {
    let place = || "the state of the cache".to_owned();
    let (_, mut reader) = open(bytes, &place)?;
    let mut read = || -> Result<_, DecodeError> {
        let (position, clock) = (Position(reader.varint()?), Stamp(reader.varint()?));
        let (local, keys, bytes) = (reader.varint()?, reader.varint()?, reader.varint()?);
        Ok(CacheState { position, clock, local, keys, bytes, vector: read_vector(&mut reader, origins)? })
    };
    read().map_err(|reason| StorageError::damaged(place(), reason))
}

pub(crate) fn encode_cache_checkpoint(checkpoint: CacheCheckpoint) -> Vec<u8> {
    let mut bytes = begin(16);
    bytes.extend_from_slice(&checkpoint.log_id.to_le_bytes());
    bytes.put_varint(checkpoint.reach.all.0);
    bytes.put_varint(checkpoint.reach.own.0);
    seal(bytes)
}

pub(crate) fn decode_cache_checkpoint(bytes: &[u8]) -> Result<CacheCheckpoint, StorageError> {
    let place = || "a checkpoint of the cache".to_owned();
    let (_, mut reader) = open(bytes, &place)?;
    let mut read = || -> Result<_, DecodeError> {
        let log_id = reader.u64()?;
        let reach = CacheReach { all: Position(reader.varint()?), own: Position(reader.varint()?) };
        Ok(CacheCheckpoint { log_id, reach })
    };
    read().map_err(|reason| StorageError::damaged(place(), reason))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_bit_that_turned_is_noticed() {
        let origins = Origins::default();
        let key = CacheKey::parse("k").unwrap();
        let change =
            Logged { scope: CacheScope::Local, key, change: Change::State(KeyState::default()), written: None };
        let block = encode_cache_block(&[encode_logged(&change, &origins)]);
        assert_eq!(decode_cache_block(&block, &[]).unwrap(), vec![change]);
        for at in 0..block.len() {
            let mut turned = block.clone();
            *turned.get_mut(at).unwrap() ^= 4;
            assert!(decode_cache_block(&turned, &[]).is_err(), "byte {at}");
        }
    }
}
