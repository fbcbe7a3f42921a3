//! What the tests of the whole node stand on.
//!
//! ```text
//!   seed   one number decides a world: repeatable randomness, and how to run a failure again
//!   disk   files that can lose, tear, reorder, flip and refuse what was written to them
//!
//!   faults    what goes wrong in a world, and how often
//!   network   delay, loss, duplication, reordering, cuts, clogs; who knows whom
//!   workload  what clients ask for
//!   checkers  what must be true when a world has come to rest, one file each
//!   node      the real database and the real sync sessions, without sockets, threads or a clock
//!   world     nodes, clients and network under a virtual clock
//!
//!   replicas  the same for a leader and its followers: lines, elections, handovers, and checkers of their own
//!
//!   cluster   real nodes in real processes, and the lines between them
//! ```
//!
//! The tests themselves are in the folders beside `src`, one folder per promise they check.

pub mod disk;
pub mod seed;

pub mod faults;
pub mod network;
pub mod workload;
pub mod checkers;
pub mod node;
pub mod world;
pub mod replicas;

pub mod cluster;
