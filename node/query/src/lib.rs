//! The query layer: from text to values.
//!
//! ```text
//!   text ──► Path ──► the value it names in a document
//! ```
//!
//! What is here is the ground that a query language stands on: [`path`], the way to name one value inside a
//! document. Import uses it to find a row's id (`--id-field Customer.Code`); statements build upon it.
//!
//! **What stays true.** Text comes from people and from the network: its length and depth are bounded before
//! anything is built from it, and what cannot be read is answered with the column where reading stopped.
//!
//! **What it does not do.** No input and output of its own, no clock, no threads: it is given documents and gives
//! back parts of them.

pub use holdfast_core::path;
pub mod language;
pub mod value;
