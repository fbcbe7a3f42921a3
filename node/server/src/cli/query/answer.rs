//! A node's answer to a statement, line by line as it comes.
//!
//! ```text
//!   {"Name":"tea"}              a row
//!   {"Name":"coffee"}           a row
//!   {"$summary":{...}}          the last line: all is told        {"$error":{...}}  it broke off
//! ```
//!
//! **What stays true.** One line is held at a time, and a long one only up to a limit. An answer is whole only when its
//! last line has said so. A row may look like a last line; only the last line is one.

use holdfast_core::limits::QUERY_LINE_BYTES_MAX;
use reqwest::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value, json};

use crate::transfer::place::{NodeClient, PlaceError, told};

const PATH: &str = "/api/query";
const LINES: &str = "application/x-ndjson";
const SUMMARY: &str = "$summary";
const ERROR: &str = "$error";
/// What is not known when the connection breaks off.
const UNKNOWN: &str = "What a statement was to write may be written or not; look before it is sent again";

/// What is asked of a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Ask {
    /// The statement.
    pub(super) statement: String,
    /// Values for it.
    pub(super) parameters: Map<String, Value>,
    /// Most rows, or most documents to change.
    pub(super) take: Option<u64>,
    /// Where an earlier answer ended.
    pub(super) cursor: Option<String>,
}

/// What is told after the last row.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Summary {
    pub(super) matched_count: u64,
    pub(super) applied_count: u64,
    pub(super) returned_rows: u64,
    pub(super) elapsed_ms: Option<Number>,
    pub(super) columns: Option<Vec<String>>,
    pub(super) next_cursor: Option<String>,
}

/// The next that an answer holds.
#[derive(Debug)]
pub(super) enum Line {
    /// A row.
    Row(Box<RawValue>),
    /// The end.
    End(Summary),
}

/// An answer on its way. Dropped, the connection closes, and the node stops.
pub(super) struct Answer {
    client: NodeClient,
    response: Response,
    buffer: Vec<u8>,
    /// Where the next line begins.
    start: usize,
}

/// Asks once. What a statement writes is not written twice because an answer was lost.
pub(super) async fn ask(client: &NodeClient, ask: &Ask) -> Result<Answer, PlaceError> {
    let mut body = Map::from_iter([("query".to_owned(), json!(ask.statement))]);
    if let Some(take) = ask.take {
        body.insert("take".to_owned(), json!(take));
    }
    if let Some(cursor) = &ask.cursor {
        body.insert("cursor".to_owned(), json!(cursor));
    }
    if !ask.parameters.is_empty() {
        body.insert("parameters".to_owned(), Value::Object(ask.parameters.clone()));
    }
    let response = client.post_once(PATH, &Value::Object(body), LINES, UNKNOWN).await?;
    Ok(Answer { client: client.clone(), response, buffer: Vec::new(), start: 0 })
}

impl Answer {
    /// The next row, or what is told after the last one.
    pub(super) async fn next(&mut self) -> Result<Line, PlaceError> {
        let Some(line) = self.line().await? else {
            return Err(PlaceError::new("the answer broke off: the rows are not all there are. Ask again"));
        };
        let row = String::from_utf8(line).ok().and_then(|text| RawValue::from_string(text).ok());
        let row = row.ok_or_else(|| {
            PlaceError::new(format!("{} answered something else than a node does", self.client.url()))
        })?;
        if may_be_last(row.get()) && !self.has_more().await? {
            return last(&row, &self.client);
        }
        Ok(Line::Row(row))
    }

    /// Whether the next line has not come yet.
    pub(super) fn is_waiting(&self) -> bool {
        !self.buffer.get(self.start..).unwrap_or_default().contains(&b'\n')
    }

    /// The bytes up to the next line break; none at the end.
    async fn line(&mut self) -> Result<Option<Vec<u8>>, PlaceError> {
        let mut looked_at = self.start;
        loop {
            let rest = self.buffer.get(looked_at..).unwrap_or_default();
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.get(self.start..looked_at + length).unwrap_or_default().to_vec();
                self.start = looked_at + length + 1;
                return Ok(Some(line));
            }
            looked_at = self.buffer.len() - self.start;
            if !self.fill().await? {
                let line = self.buffer.split_off(self.start);
                self.start = self.buffer.len();
                return Ok((!line.is_empty()).then_some(line));
            }
        }
    }

    async fn has_more(&mut self) -> Result<bool, PlaceError> {
        Ok(self.start < self.buffer.len() || self.fill().await?)
    }

    /// Puts what comes next behind what is left. False at the end.
    async fn fill(&mut self) -> Result<bool, PlaceError> {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.len() > QUERY_LINE_BYTES_MAX {
            return Err(PlaceError::new(format!(
                "a row has more than {QUERY_LINE_BYTES_MAX} bytes; ask for parts of it"
            )));
        }
        loop {
            match self.response.chunk().await.map_err(|error| self.client.broke_off(&error, UNKNOWN))? {
                None => return Ok(false),
                Some(part) if part.is_empty() => {}
                Some(part) => {
                    self.buffer.extend_from_slice(&part);
                    return Ok(true);
                }
            }
        }
    }
}

fn may_be_last(row: &str) -> bool {
    [SUMMARY, ERROR].iter().any(|key| row.strip_prefix("{\"").is_some_and(|rest| rest.starts_with(key)))
}

fn last(line: &RawValue, client: &NodeClient) -> Result<Line, PlaceError> {
    let strange = || PlaceError::new(format!("{} ended its answer otherwise than a node does", client.url()));
    let mut fields: Map<String, Value> = serde_json::from_str(line.get()).map_err(|_| strange())?;
    if let Some(problem) = fields.get(ERROR) {
        return Err(told(problem).unwrap_or_else(strange));
    }
    let summary = fields.remove(SUMMARY).filter(Value::is_object).ok_or_else(strange)?;
    serde_json::from_value(summary).map(Line::End).map_err(|_| strange())
}
