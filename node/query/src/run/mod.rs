//! Carrying a plan out: rows stream from the sources through joins, conditions and groups to whoever asked.
//!
//! ```text
//!   Rows ─► Reader ─► joins ─► filter ─┬─► Tail ─► sink
//!                                      └─► Groups ─► having ─► Tail ─► sink
//! ```
//!
//! **What stays true.** Everything is of one view of the database. Memory is taken from the budget before it is
//! filled, and the budget is asked between documents whether to go on. A query that fails may have answered rows
//! before: whoever streams them says so.
//!
//! **What it does not do.** It writes nothing, waits for nothing and knows no clock. A view keeps pages of the store
//! from being used again, so whoever runs a query bounds its time.

pub(crate) mod test;
pub(crate) mod row;
pub(crate) mod source;
pub(crate) mod group;
pub(crate) mod join;
pub(crate) mod order;
pub(crate) mod output;
pub(crate) mod cursor;
pub mod tail;
pub(crate) mod system;
pub mod select;
