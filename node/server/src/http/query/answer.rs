//! The answer to a query: one object with its rows, or a line for each row and a last one for the rest.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use serde_json::{Number, Value};
use utoipa::ToSchema;

use crate::http::query::asked::{Form, NDJSON};
use crate::http::wire;

/// Answers above this are sent in the pieces that they are made of, and not copied into one.
const COPIED_BYTES_MAX: usize = 64 * 1024;
/// The key of the last line of an answer in lines.
const SUMMARY: &str = "$summary";

/// What became of a statement.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = QueryAnswer)]
pub struct Summary<'answer> {
    /// The statement.
    pub query: &'answer str,
    /// Most rows in the answer, or most documents to change; null where there was no bound.
    pub requested_take: Option<u64>,
    /// Rows or documents that the condition is true for.
    pub matched_count: u64,
    /// Documents that were written.
    pub applied_count: u64,
    /// Rows in this answer.
    pub returned_rows: u64,
    /// The rows, which are text already. Absent in the last line of an answer in lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    rows: Option<NotHere>,
    /// The steps of the plan, the first one first; for EXPLAIN the plan as a tree of lines.
    #[schema(example = "IndexScan+Filter+Limit+Project")]
    pub plan: &'answer str,
    /// Milliseconds that it took.
    #[schema(value_type = f64)]
    pub elapsed_ms: Number,
    /// Names of the columns; null where rows are documents.
    pub columns: Option<&'answer [String]>,
    /// Send this as `cursor` for the rows that follow; null when there are none.
    pub next_cursor: Option<&'answer str>,
    /// Whether `MatchedCount` is all that match: not so where the answer was complete before all were looked at.
    pub is_matched_count_exact: bool,
    /// Names the last write for those who want to read it elsewhere.
    pub token: Option<&'answer str>,
    /// For EXPLAIN, the plan for programs.
    pub explanation: Option<&'answer Value>,
}

/// Rows are put between the fields before and behind them, and never made into values.
#[derive(Debug, Serialize)]
enum NotHere {}

/// What became of a statement, besides its rows.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Most rows in the answer, or most documents to change.
    pub requested_take: Option<u64>,
    /// Rows or documents that match.
    pub matched: u64,
    /// Whether those are all.
    pub is_matched_exact: bool,
    /// Documents that were written.
    pub applied: u64,
    /// Rows that were answered.
    pub returned: u64,
    /// The plan.
    pub plan: String,
    /// Names of the columns.
    pub columns: Option<Vec<String>>,
    /// Where the rest begins.
    pub next_cursor: Option<String>,
    /// Names the last write.
    pub token: Option<String>,
    /// The plan for programs.
    pub explanation: Option<Value>,
}

/// Rows as they are put together.
#[derive(Debug)]
pub struct Rows {
    form: Form,
    text: Vec<u8>,
}

impl Rows {
    /// No rows yet.
    pub fn new(form: Form) -> Self {
        Self { form, text: Vec::new() }
    }

    /// One more, which is JSON text.
    pub fn push(&mut self, row: &[u8]) {
        if self.form == Form::Whole && !self.text.is_empty() {
            self.text.push(b',');
        }
        self.text.extend_from_slice(row);
        if self.form == Form::Lines {
            self.text.push(b'\n');
        }
    }

    /// One more.
    pub fn push_value(&mut self, row: &Value) {
        self.push(&serde_json::to_vec(row).unwrap_or_default());
    }

    /// How much there is.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Takes what there is.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.text)
    }
}

impl Outcome {
    /// It and what is known besides.
    pub fn summary<'answer>(&'answer self, query: &'answer str, micros: u128) -> Summary<'answer> {
        Summary {
            query,
            requested_take: self.requested_take,
            matched_count: self.matched,
            applied_count: self.applied,
            returned_rows: self.returned,
            rows: None,
            plan: &self.plan,
            elapsed_ms: milliseconds(micros),
            columns: self.columns.as_deref(),
            next_cursor: self.next_cursor.as_deref(),
            is_matched_count_exact: self.is_matched_exact,
            token: self.token.as_deref(),
            explanation: self.explanation.as_ref(),
        }
    }

    /// The answer with all rows.
    pub fn respond(&self, query: &str, micros: u128, rows: Rows) -> Response {
        let summary = self.summary(query, micros);
        let (pieces, kind) = match rows.form {
            Form::Whole => {
                let (head, tail) = around_rows(&summary);
                ([head, rows.text, tail], "application/json")
            }
            Form::Lines => ([rows.text, last_line(SUMMARY, &summary), Vec::new()], NDJSON),
        };
        let mut response = body(pieces).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        match &self.token {
            Some(token) => wire::with_token(response, token),
            None => response,
        }
    }
}

impl Summary<'_> {
    /// As the last line of an answer in lines.
    pub fn to_line(&self) -> Vec<u8> {
        last_line(SUMMARY, self)
    }
}

/// A line that is no row: an object with this one key.
pub fn last_line(key: &str, value: &impl Serialize) -> Vec<u8> {
    let mut line = format!("{{\"{key}\":").into_bytes();
    line.extend_from_slice(&serde_json::to_vec(value).unwrap_or_default());
    line.extend_from_slice(b"}\n");
    line
}

/// What stands before the rows of an answer and behind them: the fields of a [`Summary`], in their order.
fn around_rows(summary: &Summary<'_>) -> (Vec<u8>, Vec<u8>) {
    let mut before = Vec::with_capacity(256);
    put(&mut before, b"{\"Query\":", &summary.query);
    put(&mut before, b",\"RequestedTake\":", &summary.requested_take);
    put(&mut before, b",\"MatchedCount\":", &summary.matched_count);
    put(&mut before, b",\"AppliedCount\":", &summary.applied_count);
    put(&mut before, b",\"ReturnedRows\":", &summary.returned_rows);
    before.extend_from_slice(b",\"Rows\":[");
    let mut after = Vec::with_capacity(256);
    put(&mut after, b"],\"Plan\":", &summary.plan);
    put(&mut after, b",\"ElapsedMs\":", &summary.elapsed_ms);
    put(&mut after, b",\"Columns\":", &summary.columns);
    put(&mut after, b",\"NextCursor\":", &summary.next_cursor);
    put(&mut after, b",\"IsMatchedCountExact\":", &summary.is_matched_count_exact);
    put(&mut after, b",\"Token\":", &summary.token);
    put(&mut after, b",\"Explanation\":", &summary.explanation);
    after.push(b'}');
    (before, after)
}

fn put(out: &mut Vec<u8>, name: &[u8], value: &impl Serialize) {
    out.extend_from_slice(name);
    // Writing into memory cannot fail.
    let _ = serde_json::to_writer(out, value);
}

fn body(pieces: [Vec<u8>; 3]) -> Body {
    let bytes: usize = pieces.iter().map(Vec::len).sum();
    if bytes <= COPIED_BYTES_MAX {
        return Body::from(pieces.concat());
    }
    Body::from_stream(stream::iter(pieces.map(|piece| Ok::<_, Infallible>(Bytes::from(piece)))))
}

/// Microseconds as milliseconds, exactly.
fn milliseconds(micros: u128) -> Number {
    let text = format!("{}.{:03}", micros / 1_000, micros % 1_000);
    text.parse().unwrap_or_else(|_| Number::from(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn rows_stand_where_older_clients_look_for_them() {
        let outcome = Outcome { returned: 2, plan: "FullScan".to_owned(), ..Outcome::default() };
        let (before, after) = around_rows(&outcome.summary("SELECT \"}\"", 1_234_005));
        let text = String::from_utf8([before, b"{\"a\":1},{}".to_vec(), after].concat()).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let first = ["Query", "RequestedTake", "MatchedCount", "AppliedCount", "ReturnedRows", "Rows", "Plan"];
        assert_eq!(names[..7], first);
        // The last line of an answer in lines has the same fields, but for the rows.
        let line: Value = serde_json::from_slice(&outcome.summary("SELECT 1", 7).to_line()).unwrap();
        let in_line: Vec<&str> = line["$summary"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!([&names[..5], &names[6..]].concat(), in_line);
        assert_eq!(value["Rows"].as_array().unwrap().len(), 2);
        assert!(text.contains("\"ElapsedMs\":1234.005,"), "{text}");
    }
}
