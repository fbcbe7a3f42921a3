//! Sync in small worlds: real databases and real sessions, a network and clocks that misbehave, clients that conflict.
//!
//! ```text
//!   regressions.txt ─► seeds that once failed, first
//!   peers           ─► some hundred worlds, each checked when it has come to rest
//!   caught          ─► worlds with one mistake in them: does its checker notice?
//! ```
//!
//! | variable | meaning |
//! |---|---|
//! | `HOLDFAST_SEED` | run only this world |
//! | `HOLDFAST_WORLDS` | how many times the usual number of worlds to run; `100` makes a long run |
//!
//! `cargo xtask simulate` sets them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

mod caught;
mod peers;
