//! Settling conflicts by policy, on nodes whose settings ask for more than the last writer.
//!
//! ```text
//!   a commit ─► conflicts since the last look ─► their policy ─► wait for this node's turn ─► look again ─► write
//! ```
//!
//! Must stay true: what is written covers exactly the sides that the policy judged, or nothing is written; a node whose
//! collections all follow the last writer has no task here at all.
//!
//! Deliberately absent: a memory across restarts. What is open is on record, so a start looks at all of it.

pub mod policies;
pub mod resolver;
