//! Decisions of a Holdfast node, and nothing else.
//!
//! Everything in this crate is a plain function or a plain state machine on plain data. It is told the
//! time, handed randomness as numbers, and answers with values that somebody else carries out. That is
//! what lets a simulator drive thousands of worlds a second through the very code that runs in a shop.
//!
//! Read from top to bottom: each module uses only those above it.

pub mod limits;
pub mod error;
pub mod encoding;
pub mod id;
pub mod access;
pub mod time;
pub mod vector;
pub mod stamp;
pub mod path;
pub mod json;
pub mod collation;
pub mod json_reader;
pub mod index;
pub mod counter;
pub mod chain;
pub mod trail;
pub mod operation;
pub mod members;
pub mod leases;
pub mod document;
pub mod conflict;
pub mod digest;
pub mod cache;
pub mod sync;
pub mod replica;
