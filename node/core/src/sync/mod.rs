//! Multi-master sync between peers. Read top to bottom.
//!
//! ```text
//!   node 1                                              node 2
//!     commit ─► session ── push (after, through] ops ──►  apply what is new, log it, confirm `through`
//!               session ◄── confirmed, vector, newest ──  (its own sessions forward it to others)
//!     hint ───► session ── pull after, vector ─────────►  read the log past `after`, leave out what is known
//!               session ◄── (after, through] ops ───────
//! ```
//!
//! There is one session per peer and database, each on its own: a peer that hangs delays itself alone. An
//! exchange goes on until both sides are empty.
//!
//! Must stay true: a checkpoint never passes what the other side has confirmed, so a lost or repeated message
//! costs bandwidth and never an operation. A batch *states* the range of the sender's log that it completes;
//! what is missing from it was left out because the receiver is known to have it.
//!
//! Deliberately absent: sockets, clocks and retries by themselves. A session is told what happened and when,
//! and answers with what to do.

pub mod admission;
pub mod message;
pub mod poison;
pub mod compact;
pub mod forwarding;
pub mod gathering;
pub mod session;
pub mod states;
pub mod portion;
pub mod branches;
pub mod waymarks;
pub mod stated;
pub mod suspicions;
pub mod turned;
pub mod comparison;
pub mod survey;
pub mod echo;
pub mod ranges;
