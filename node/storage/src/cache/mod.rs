//! The cache on disk: what is known of each key, when it ends, and in which order keys changed.
//!
//! ```text
//!   cache          scope, key  ─► what is known of it, the position of its last change, when the sweep looks at it
//!   cache-changes  position    ─► key              a peer asks for what changed after a position; see `superseded`
//!   cache-ends     when, key                       the sweep looks at what is due, and at nothing else
//!   cache-digests  minute      ─► digest           of everything that ends in that minute
//!   cache-blocks   position    ─► changes          in the log file: what the data file has not synced yet
//! ```
//!
//! Positions of the cache are its own, apart from those of the log. Its part of the log is let go of as soon as the data
//! file is synced, so that it is as long as what is written in a few seconds, however much is written in a year.
//!
//! Must stay true: a peer is shown nothing that the log has not synced; the tables change in one transaction.

pub(crate) mod record;
pub(crate) mod write;
mod carry;
mod read;
pub(crate) mod superseded;
#[cfg(test)]
mod tests;

use holdfast_core::cache::{CacheCommand, CacheKey, CacheReach, CacheScope, When};
use holdfast_core::stamp::Stamp;
use holdfast_core::vector::{Dot, Origin, Position, Sequence, Vector};

pub(crate) use carry::carry;
pub use read::{CacheBytesMax, CacheEntry, CachePage};

/// One change of a cache entry that a client asks for.
#[derive(Debug, Clone)]
pub struct CacheChange {
    /// Who has the entry.
    pub scope: CacheScope,
    /// Its name.
    pub key: CacheKey,
    /// What to do.
    pub command: CacheCommand,
    /// What must hold for it.
    pub when: When,
    /// Whether the value that was there before is to be given.
    pub wants_value: bool,
    /// Whether to answer before the fsync, which then comes within a second.
    pub is_relaxed: bool,
}

impl CacheChange {
    /// Bytes of the value that it brings.
    pub fn content_bytes(&self) -> usize {
        match &self.command {
            CacheCommand::Set { content, .. } => content.bytes.len(),
            CacheCommand::Add { .. } | CacheCommand::Touch { .. } | CacheCommand::Delete => 0,
        }
    }
}

/// What a peer's changes came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTaken {
    /// Keys that were new or different here.
    pub changed: u64,
    /// What is known here now.
    pub vector: Vector,
    /// How far the peer's changes are here.
    pub reach: CacheReach,
}

/// How far a peer's changes have been taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheCheckpoint {
    /// What its positions count.
    pub log_id: u64,
    /// How far they are here.
    pub reach: CacheReach,
}

/// What the cache of a database has come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CacheState {
    /// The newest change.
    pub position: Position,
    /// The latest stamp issued or followed.
    pub clock: Stamp,
    /// Of each origin, the newest write that is known, with all before it.
    pub vector: Vector,
    /// Names given out for entries of this node alone.
    pub local: u64,
    /// Keys of which something is kept, ended ones that still hide something included.
    pub keys: u64,
    /// Bytes of keys and records.
    pub bytes: u64,
}

impl CacheState {
    /// Notes a write of this node.
    pub(crate) fn note(&mut self, scope: CacheScope, dot: &Dot) {
        match scope {
            CacheScope::Shared => self.vector.observe(&dot.origin, dot.sequence),
            CacheScope::Local => self.local = self.local.max(dot.sequence.0),
        }
    }

    /// Goes on at least after what was once known, by an origin's own numbers: what others wrote is asked for again.
    pub(crate) fn go_on_after(&mut self, floor: &Self, origin: &Origin) {
        if self.position < floor.position {
            self.position = floor.position;
            self.clock = self.clock.max(floor.clock);
            self.local = self.local.max(floor.local);
            self.vector.observe(origin, floor.vector.get(origin));
        }
    }

    /// The name of the next write of an origin.
    pub(crate) fn next_dot(&self, scope: CacheScope, origin: &Origin) -> Dot {
        let sequence = match scope {
            CacheScope::Shared => self.vector.get(origin).next(),
            CacheScope::Local => Sequence(self.local + 1),
        };
        Dot { origin: origin.clone(), sequence }
    }
}
