//! Secondary indexes: what they are, which keys a document has in one, which keys a question asks for.
//!
//! ```text
//!   definition ─► key reader ─► document's text ─► keys: values at the paths, encoded to sort (collation), bounded
//!   question   ─► key range  ─► the stretch of keys in which all documents that match lie
//! ```
//!
//! An index is defined by a document of the reserved collection [`INDEXES_COLLECTION`], whose id is its name. So a
//! definition travels, is transferred and conflicts as any document does. What is built from it is each node's own.
//!
//! **What stays true.** Every document that is shown has at least one key in every index of its collection: a path that
//! leads nowhere gives the key "missing", and a document with more keys than the limit one *loose* key that stands
//! outside the order and belongs to every question. So no document is missing from an answer because of an index.
//! A key that was cut short because it is too long carries a hash of what it was: different values have different
//! keys all the same, and order is kept up to the cut.
//!
//! **What it does not do.** No storing; see the storage layer. No choosing between indexes; see the query layer.

pub mod path;
pub mod definition;
pub mod keys;
pub mod range;

#[cfg(test)]
mod tests;

/// The collection whose documents define the indexes of a database.
pub const INDEXES_COLLECTION: &str = "_indexes";
