//! What the tests of the whole node stand on.
//!
//! ```text
//!   seed   one number decides a world: repeatable randomness, and how to run a failure again
//!   disk   files that can lose, tear, reorder, flip and refuse what was written to them
//! ```
//!
//! The tests themselves are in the folders beside `src`, one folder per promise they check.

pub mod disk;
pub mod seed;
