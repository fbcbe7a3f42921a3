//! The cache: values under keys that end by themselves, the same on every node, without a trace.
//!
//! Documents are kept for ever and each of their operations counts; a cache entry lives for minutes, is written often,
//! and must leave nothing behind. So the cache does not travel as operations. What a key *is*, its state, is merged
//! with what another node has of it, and a node asks a peer for the keys that changed since it asked last:
//!
//! ```text
//!   write ─► the key's state ─► place in the order of changes ─► peer: "what changed after 41?" ─► merge
//!                    │ overwritten: only the newest state of a key is ever sent
//!                    └ ended: gone by the clock, everywhere, without a word
//! ```
//!
//! Invariant: merging is commutative, associative and repeatable, so that nodes that have merged the same writes hold
//! the same, in whatever order and however often they came. Invariant: what is shown depends on the writes merged and
//! on the time alone; letting go of what has ended changes no answer, then or later, unless a touch is on its way: see
//! `touch`.

mod command;
mod key;
mod lane;
mod message;
mod record;
mod room;
mod session;
mod state;
mod sweep;
#[cfg(test)]
mod tests;
mod touch;
mod ttl;
#[cfg(test)]
mod worlds;

pub use command::{CacheCommand, CacheOutcome, CacheRefusal, Lifetime, Minted, When, perform};
pub use key::{CacheKey, CacheScope};
pub use lane::{CacheChanges, CacheLane, CacheSource, asked};
pub use message::{CacheMessage, CacheReach, CacheStretch};
pub use record::{StateFormat, decode_state, encode_state, put_key, read_key};
pub use room::CacheRoom;
pub use session::{CacheAction, CacheEvent, CacheQuestion, CacheSession, CacheWays};
pub use state::{Content, Count, Folded, KeyState, Media, Reset, Shown, Times, Write};
pub use sweep::{CacheSweep, CacheSweepPlan};
pub use touch::Touch;
pub use ttl::{TtlError, parse_ttl};
