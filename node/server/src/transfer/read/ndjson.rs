//! One JSON object per line; empty lines are passed over.

use holdfast_core::json::parse_object;

use super::bytes::Bytes;
use super::{BadRow, ROW_BYTES_MAX, Row, RowError};

/// The rows of a file with an object per line.
pub(super) struct NdjsonRows {
    bytes: Bytes,
}

impl NdjsonRows {
    /// Begins to read.
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    fn row(&mut self) -> Result<Option<Row>, RowError> {
        let mut text = Vec::new();
        while self.bytes.peek()?.is_some() {
            let line = self.bytes.line();
            text.clear();
            if !self.bytes.rest_of_line(&mut text, ROW_BYTES_MAX)? {
                return Err(BadRow::new(line, format!("the line has more than {ROW_BYTES_MAX} bytes")).into());
            }
            let text = text.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let object = parse_object(text).map_err(|refusal| BadRow::new(line, refusal.to_string()))?;
            return Ok(Some(Row { line, object }));
        }
        Ok(None)
    }
}

impl Iterator for NdjsonRows {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.row().transpose()
    }
}
