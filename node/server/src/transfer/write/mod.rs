//! Documents into a file.
//!
//! A file is written beside its place and put there at the end, so that an export that was cut short is never
//! taken for a whole one.

mod csv;
mod file;

use std::io::{self, Write};

use serde_json::value::RawValue;

use super::format::Format;

pub(crate) use file::Output;

/// Writes documents in one of the formats.
pub(crate) enum DocumentWriter<W: Write> {
    /// See [`csv`].
    Csv(csv::CsvWriter<W>),
    /// An array with an object per line.
    Json {
        /// Where to.
        out: W,
        /// Whether an object was written.
        has_begun: bool,
    },
    /// An object per line.
    Ndjson(W),
}

/// What could not be said in the format.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Objects and lists that became text.
    pub(crate) nested: u64,
    /// Documents with fields that have no column.
    pub(crate) beyond_columns: u64,
}

impl<W: Write> DocumentWriter<W> {
    /// Prepares to write. `columns` are those of CSV; without them the first documents decide.
    pub(crate) fn new(out: W, format: Format, columns: Option<Vec<String>>, delimiter: u8) -> Self {
        match format {
            Format::Csv => Self::Csv(csv::CsvWriter::new(out, columns, delimiter)),
            Format::Json => Self::Json { out, has_begun: false },
            Format::Ndjson => Self::Ndjson(out),
        }
    }

    /// Writes one document.
    pub(crate) fn write(&mut self, document: &RawValue) -> io::Result<()> {
        match self {
            Self::Csv(csv) => csv.write(document),
            Self::Json { out, has_begun } => {
                out.write_all(if *has_begun { b",\n" } else { b"[\n" })?;
                *has_begun = true;
                out.write_all(document.get().as_bytes())
            }
            Self::Ndjson(out) => {
                out.write_all(document.get().as_bytes())?;
                out.write_all(b"\n")
            }
        }
    }

    /// Sends on what was written so far.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Csv(csv) => csv.flush(),
            Self::Json { out, .. } | Self::Ndjson(out) => out.flush(),
        }
    }

    /// Writes what must stand at the end; answers with the output and what was lost.
    pub(crate) fn finish(self) -> io::Result<(W, Losses)> {
        match self {
            Self::Csv(csv) => csv.finish(),
            Self::Json { mut out, has_begun } => {
                out.write_all(if has_begun { b"\n]\n" } else { b"[]\n" })?;
                Ok((out, Losses::default()))
            }
            Self::Ndjson(out) => Ok((out, Losses::default())),
        }
    }
}
