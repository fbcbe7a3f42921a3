//! Sync in small worlds: real databases and real sessions, a network and clocks that misbehave, clients that conflict.
//!
//! ```text
//!   regressions.txt ─► seeds that once failed, first
//!   peers           ─► thousands of worlds, each checked when it has come to rest
//!   matrix          ─► every kind of write by one and by all, in every topology, under every kind of clock
//!   forgetting      ─► tombstones that go while nodes write and join, transfers that are cut
//!   cache           ─► caches that lose power, messages and time
//!   cache_day       ─► hours of a busy cache, in files that must not grow
//!   caught          ─► worlds with one mistake in them: does its checker notice?
//!   replicas        ─► a leader and its followers, each mistake that its checkers must notice among them
//!   contested       ─► the same for two nodes under one name, and nodes that are set back without knowing it
//! ```
//!
//! | variable | meaning |
//! |---|---|
//! | `HOLDFAST_SIMULATION_SEED` | the number that decides all worlds; world 0 is that seed itself |
//! | `HOLDFAST_SIMULATION_HAZARDS` | 0 lets no tombstones go while nodes join, nobody be counted out by force, and nothing be parked where states are taken |
//! | `HOLDFAST_SIMULATION_PLAIN` | 1 leaves out what was added to worlds later, as for the kept seeds |
//! | `HOLDFAST_SIMULATION_CONTESTED` | in how many percent of the worlds that allow for it nodes are copied, or set back without knowing it |
//! | `HOLDFAST_SIMULATION_CACHE_MINUTES` | how many minutes of a busy cache; 1440 are a day |
//! | `HOLDFAST_SIMULATION_WORLDS` | how many worlds; with 1, its last events are shown |
//!
//! `cargo xtask simulate` sets them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

mod cache;
mod cache_day;
mod caught;
mod contested;
mod forgetting;
mod matrix;
mod peers;
mod replicas;

/// As in the node itself: worlds are small pieces of memory that come and go.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
