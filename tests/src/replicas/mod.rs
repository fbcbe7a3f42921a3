//! Small worlds of a leader and its followers, in one thread and under a virtual clock: the real database on a disk that
//! tears and forgets, the decisions of `core::replica`, the frames that cross the wire, and all that goes wrong between
//! nodes. One number decides a world.
//!
//! ```text
//!   scenario   what kind of world: how many, who follows whom, what goes wrong
//!   line       connections: in order or not at all, cut, broken, heard of late
//!   node       one node: the database, the inbox, clients that wait for followers
//!   group      what is decided, in order: who is sought, who is heard, what is remembered
//!   control    votes, handovers, promotions
//!   session    greetings, heartbeats, whatever comes over a line
//!   lane       how far both sides are, stretches, receipts
//!   states     a follower below the pruned log
//!   watch      what must be true at every moment
//!   world      nodes, clients, operators and trouble under one clock
//!   sabotage   rules broken on purpose
//! ```
//!
//! Not in here: proofs of the secret, databases that come and go, caches, encryption. Real processes try those.

pub mod line;
pub mod sabotage;
pub mod scenario;
mod session;
mod lane;
mod states;
mod group;
mod control;
pub mod node;
mod watch;
pub mod world;

pub use self::sabotage::Sabotage;
pub use self::scenario::{Scenario, Shape, Troubles};
pub use self::world::{Failure, play, run};
