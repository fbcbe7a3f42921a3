//! Documents in and out of files.
//!
//! ```text
//!   FILE ─► bytes ─► rows (csv, json, ndjson) ─► documents with ids ─► a running node | a data directory
//!   a running node | a data directory ─► documents ─► csv, json, ndjson ─► FILE
//! ```
//!
//! What stays true: memory does not grow with the file, but for a few bytes per row that has no id of its own.
//! A row that cannot be used is reported with its line number and stops nothing else. The same file imported
//! again makes the same ids, so no duplicates.
//!
//! What this does not do: guess. A format that the file's name does not tell must be given, and a value whose
//! text would change as a number stays text.

pub(crate) mod format;
pub(crate) mod csv_cell;
pub(crate) mod read;
pub(crate) mod document_id;
pub(crate) mod bad_rows;
pub(crate) mod progress;
pub(crate) mod place;
pub(crate) mod write;
