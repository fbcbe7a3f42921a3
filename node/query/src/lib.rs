//! The query layer: from text to rows, or to changes for the writer.
//!
//! ```text
//!   text ─► language ─► Statement ─► plan ─► SelectPlan ─► run ─► rows, as JSON text
//!                           │                  └► explain         value: what expressions are worth
//!                           └► write ─► changes                   budget: what it all may use
//! ```
//!
//! [`query`] is the door: it takes a statement from its text to its answer.
//!
//! **What stays true.** Text comes from people and from the network: its length and depth are bounded before
//! anything is built from it, and what cannot be read is answered with the place where reading stopped. A query ends
//! at the first limit that it passes.
//!
//! **What it does not do.** No clock, no threads, no disk of its own: it is given a view of a database, the time and
//! randomness, and gives back rows or changes.

pub use holdfast_core::path;
pub mod language;
pub mod value;
pub mod failure;
pub mod stopwatch;
pub mod budget;
pub mod plan;
pub mod run;
pub mod write;
pub mod explain;
pub mod query;
