//! The HTTP interface as its users meet it: every route, every way to get it wrong.
//!
//! Each test starts a node of its own on a free port, with a data directory that goes when the test ends.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod node;

mod bad_input;
mod bulk;
mod cache;
mod cache_mistakes;
mod cache_redis;
mod changes;
mod conflicts;
mod consistency;
mod dead_letters;
mod documents;
mod exchange;
mod gate;
mod indexes;
mod keys;
mod node_routes;
mod query;
mod redis;
mod studio;
mod transactions;
