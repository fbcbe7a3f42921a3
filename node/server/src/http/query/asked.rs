//! What a caller sends: the statement, its values, how many rows, where to go on.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::http::request::Parts;
use holdfast_query::query::Query;
use serde_json::{Map, Value};
use std::convert::Infallible;
use utoipa::ToSchema;

use crate::http::error::{ApiError, quoted};
use crate::http::extract::parse_body;
use crate::http::query::refused::failed;
use crate::http::query::statements::Statements;

/// Rows of an answer when nobody says how many.
const ROWS_DEFAULT: u64 = 200;
/// Rows of an answer for those who ask for none, as in lists of documents.
const ROWS_FOR_NONE: u64 = 100;
/// Most rows of an answer that is not streamed.
const ROWS_MAX: u64 = 10_000;

/// The media type of an answer that is streamed.
pub const NDJSON: &str = "application/x-ndjson";

/// A statement to be carried out. Names are matched in any case.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "read by hand, because names come in any case")]
pub struct QueryRequest {
    /// One statement: SELECT, INSERT, UPDATE, DELETE, CREATE INDEX, DROP INDEX, or EXPLAIN and one of them.
    #[schema(example = "SELECT Name, Price FROM products WHERE Price > @least ORDER BY Price DESC")]
    query: String,
    /// Most rows in the answer, at most 10000; if absent, 200, or as many as LIMIT or TOP say. Where the answer is
    /// streamed, as many as there are. For UPDATE and DELETE, the most documents to change: all that match if absent.
    take: Option<i64>,
    /// Values for `@name` in the statement.
    #[schema(value_type = Option<Object>, example = json!({"least": 3}))]
    parameters: Option<Map<String, Value>>,
    /// `NextCursor` of the answer before, with the same statement and parameters.
    cursor: Option<String>,
}

/// What was asked.
#[derive(Debug)]
pub struct Asked {
    /// The statement, without the blanks around it.
    pub query: Query,
    /// How many rows or documents, as it was said.
    take: Option<i64>,
    /// Where to go on.
    pub cursor: Option<String>,
    /// Whether documents show the fields that the node keeps.
    pub shows_reserved_fields: bool,
}

/// In which form the answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON object.
    Whole,
    /// A line for each row, as they come.
    Lines,
}

impl<S: Send + Sync> FromRequestParts<S> for Form {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(if wants_lines(&parts.headers) { Self::Lines } else { Self::Whole })
    }
}

fn wants_lines(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case(NDJSON) || kind.eq_ignore_ascii_case("application/ndjson")
    })
}

impl Asked {
    /// Reads a body. Takes time with its length.
    pub fn read(body: &str, statements: &Statements) -> Result<Self, ApiError> {
        let fields: Map<String, Value> = parse_body(body)?;
        let (mut text, mut take, mut parameters, mut cursor) = (None, None, Map::new(), None);
        for (name, value) in fields {
            match name.to_ascii_lowercase().as_str() {
                "query" => text = string(&name, value)?,
                "cursor" => cursor = string(&name, value)?.filter(|cursor| !cursor.is_empty()),
                "take" => take = number(&name, value)?,
                "parameters" => match value {
                    Value::Object(object) => parameters = object,
                    Value::Null => {}
                    _ => return Err(wrong(&name, "an object such as {\"store\": 17}")),
                },
                _ => {
                    let text = format!(
                        "The field {} is unknown. A query has query, take, parameters and cursor.",
                        quoted(&name)
                    );
                    return Err(ApiError::bad_request("invalid-body", text));
                }
            }
        }
        let prepared = statements.prepare(text.as_deref().unwrap_or_default().trim());
        let query = prepared.and_then(|prepared| Query::of(prepared, parameters)).map_err(failed)?;
        Ok(Self { query, take, cursor, shows_reserved_fields: false })
    }

    /// Most rows to answer with; none for as many as there are. Who writes LIMIT has said how many.
    pub fn rows(&self, form: Form) -> Option<u64> {
        let said = self.take.map(|take| u64::try_from(take).unwrap_or(0));
        match (form, said) {
            (Form::Whole, None) if self.query.has_limit() => Some(ROWS_MAX),
            (Form::Whole, None) => Some(ROWS_DEFAULT),
            (Form::Whole, Some(0)) => Some(ROWS_FOR_NONE),
            (Form::Whole, Some(rows)) => Some(rows.min(ROWS_MAX)),
            (Form::Lines, None | Some(0)) => None,
            (Form::Lines, rows) => rows,
        }
    }

    /// Most documents to change; none for all that match.
    pub fn documents(&self) -> Result<Option<u64>, ApiError> {
        match self.take.map(u64::try_from) {
            None => Ok(None),
            Some(Ok(documents)) if documents > 0 => Ok(Some(documents)),
            Some(_) => Err(ApiError::bad_request(
                "invalid-take",
                "The field 'take' must be at least 1 for a statement that writes. Leave it out to change all that match.",
            )),
        }
    }

    /// Refuses a cursor where there are no pages.
    pub fn refuse_cursor(&self) -> Result<(), ApiError> {
        match self.cursor {
            None => Ok(()),
            Some(_) => {
                Err(ApiError::bad_request("query-cursor-invalid", "Only a SELECT goes on at a cursor. Leave it out."))
            }
        }
    }
}

fn string(name: &str, value: Value) -> Result<Option<String>, ApiError> {
    match value {
        Value::String(text) => Ok(Some(text)),
        Value::Null => Ok(None),
        _ => Err(wrong(name, "a text")),
    }
}

/// A whole number, also as a text, as clients of older nodes send it.
fn number(name: &str, value: Value) -> Result<Option<i64>, ApiError> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text,
        _ => return Err(wrong(name, "a whole number")),
    };
    text.trim().parse().map(Some).map_err(|_| wrong(name, "a whole number"))
}

fn wrong(name: &str, kind: &str) -> ApiError {
    ApiError::bad_request("invalid-body", format!("The field {} must be {kind}.", quoted(name)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(body: &str) -> Result<Asked, ApiError> {
        Asked::read(body, &Statements::default())
    }

    #[test]
    fn lines_are_what_asks_for_them() {
        let wants = |text: &str| wants_lines(&[(ACCEPT, text.parse().unwrap())].into_iter().collect());
        assert!(wants("application/x-ndjson") && wants("application/json;q=0.1, Application/X-NDJSON;q=1"));
        assert!(!wants("*/*") && !wants("application/json"));
    }

    #[test]
    fn names_come_in_any_case_and_numbers_as_text() {
        let asked = read(r#"{"Query":" SELECT * FROM c ","TAKE":"7","Parameters":null,"cursor":""}"#).unwrap();
        assert_eq!((asked.query.text(), asked.rows(Form::Whole), asked.cursor), ("SELECT * FROM c", Some(7), None));
        for (body, code) in [
            (r#"{"query":"SELECT 1","take":1.5}"#, "invalid-body"),
            (r#"{"query":"SELECT 1","take":[]}"#, "invalid-body"),
            (r#"{"query":["SELECT 1"]}"#, "invalid-body"),
            (r#"{"query":"SELECT 1","parameters":[1]}"#, "invalid-body"),
            (r#"{"query":"SELECT 1","limit":1}"#, "invalid-body"),
            ("{}", "query-required"),
            (r#"{"query":"  "}"#, "query-required"),
        ] {
            assert_eq!(read(body).unwrap_err().code(), code, "{body}");
        }
    }

    #[test]
    fn how_many_rows_depends_on_the_form() {
        let asked = |take: &str| read(&format!(r#"{{"query":"SELECT 1","take":{take}}}"#)).unwrap();
        assert_eq!(asked("null").rows(Form::Whole), Some(200));
        assert_eq!(read(r#"{"query":"SELECT TOP 500 * FROM c"}"#).unwrap().rows(Form::Whole), Some(10_000));
        assert_eq!((asked("0").rows(Form::Whole), asked("-5").rows(Form::Whole)), (Some(100), Some(100)));
        assert_eq!(asked("50000").rows(Form::Whole), Some(10_000));
        assert_eq!((asked("null").rows(Form::Lines), asked("50000").rows(Form::Lines)), (None, Some(50_000)));
        assert_eq!(asked("50000").documents().unwrap(), Some(50_000));
        assert_eq!(asked("0").documents().unwrap_err().code(), "invalid-take");
    }
}
