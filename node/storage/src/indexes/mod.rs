//! Secondary indexes: entries beside the documents, in the same file and the same transactions.
//!
//! ```text
//!   a document of `_indexes` is written ─► a new index, with a number: its entries begin to be kept
//!   any other document changes          ─► what was shown and what is shown decide which entries go and come
//!   between writes                      ─► what was there before is looked through in small steps: build
//!   all looked through                  ─► ready: readers may use it
//! ```
//!
//! **What stays true.** From its first moment on, every entry of an index is one of its document as it is now: what is
//! written keeps them so, and building only adds what is missing. So building can stop, be repeated, and go on after a
//! crash. An index that is ready has all of them. A changed definition is another index under another number.
//! The indexes say which position of the log they reflect; a file that a node without indexes has written to is
//! noticed by that, and its indexes are built anew.
//!
//! **What it does not do.** Nothing here is logged: entries are each node's own, and made again from documents whenever
//! they are in doubt. Only the definitions travel.

pub(crate) mod catalog;
pub(crate) mod entries;
pub(crate) mod maintain;
pub(crate) mod unique;
pub(crate) mod build;
pub mod read;
pub(crate) mod verify;

#[cfg(test)]
mod tests;

pub use self::build::{IndexLimit, IndexStep};
pub use self::read::{IndexEntry, IndexScan, IndexState};
