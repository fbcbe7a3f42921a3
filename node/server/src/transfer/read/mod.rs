//! Rows out of a file, one at a time, each with the line that it begins on.
//!
//! What stays true: a row is read only up to the limit of a document, whatever the file holds; what is beyond
//! it is passed over and reported.

mod bytes;
mod csv;
mod json;
mod ndjson;
#[cfg(test)]
mod tests;

use std::io::{self, Read};

use holdfast_core::limits::DOCUMENT_BYTES_MAX;
use serde_json::{Map, Value};
use thiserror::Error;

use super::format::Format;
use bytes::Bytes;

/// The longest row that is read, in bytes.
const ROW_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;

/// One row: a document that has no checked id yet.
#[derive(Debug)]
pub(crate) struct Row {
    /// The line of the file that it begins on, from 1.
    pub(crate) line: u64,
    /// Its fields.
    pub(crate) object: Map<String, Value>,
}

/// A row that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub(crate) struct BadRow {
    /// The line of the file that it begins on, from 1.
    pub(crate) line: u64,
    /// What is wrong with it.
    pub(crate) reason: String,
}

impl BadRow {
    /// A row that cannot be used.
    pub(crate) fn new(line: u64, reason: impl Into<String>) -> Self {
        Self { line, reason: reason.into() }
    }
}

/// Why there is no row.
#[derive(Debug, Error)]
pub(crate) enum RowError {
    /// This one cannot be used; the next one may.
    #[error(transparent)]
    Bad(#[from] BadRow),
    /// The file cannot be read on.
    #[error("the file cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The file as a whole is not what it should be.
    #[error("{0}")]
    NotRows(String),
}

/// How CSV is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CsvOptions {
    /// The character between two values.
    pub(crate) delimiter: u8,
    /// Whether every value stays text.
    pub(crate) is_all_text: bool,
}

/// The rows of a file.
pub(crate) type Rows = Box<dyn Iterator<Item = Result<Row, RowError>>>;

/// Begins to read.
pub(crate) fn rows(source: impl Read + 'static, format: Format, csv: CsvOptions) -> Result<Rows, RowError> {
    let bytes = Bytes::open(Box::new(source))?;
    Ok(match format {
        Format::Csv => Box::new(csv::CsvRows::open(bytes, csv)?),
        Format::Json => Box::new(json::JsonRows::new(bytes)),
        Format::Ndjson => Box::new(ndjson::NdjsonRows::new(bytes)),
    })
}
