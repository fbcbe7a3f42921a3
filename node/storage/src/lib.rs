//! What is on disk. Two redb files per database: the log is the truth, the data is its image.
//!
//! ```text
//!   requests ─► data transaction filled, refusals answered
//!            ─► log committed          one fsync for the whole group: from here on it is a success
//!            ─► data committed         not synced; it names the log position that it reflects
//!            ─► answers
//!   open     ─► replay the log from the position that the data names
//! ```
//!
//! Invariant: the two files cannot disagree. The data is never ahead of the log's last synced commit, and
//! whatever it lacks is replayed when the database is opened. Replay mints nothing.
//!
//! This crate is synchronous and knows no clock: whoever commits hands in the time and the randomness.
//! Read from top to bottom: each module uses only those above it.

pub mod error;
pub use holdfast_core::encoding;
pub mod origins;
pub mod record;
pub mod tables;
pub mod log;
pub mod request;
pub mod view;
pub mod scan;
pub mod finder;
pub mod cache;
pub mod conflicts;
pub mod survey;
pub mod indexes;
pub mod commit;
mod mend;
mod upgrade;
mod trail;
pub mod database;
mod suspicions;
pub mod transfer;
pub mod ranges;
pub mod integrity;
pub mod compaction;
pub mod layout;
