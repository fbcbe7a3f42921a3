//! Nothing that was answered with success is lost by a crash.
//!
//! The store runs on the simulated disk of `holdfast_tests::disk`; the power goes at any write, recovery itself is cut off,
//! and whatever the disk kept is opened again and compared with what had been acknowledged.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod model;
mod storage;
mod two_files;
mod world;
