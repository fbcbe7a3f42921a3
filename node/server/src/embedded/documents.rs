//! Documents of a node inside a program: read, written, asked for.
//!
//! What stays true: a write that was answered with success is on disk; what is refused has changed nothing.

use std::sync::Weak;
use std::time::Duration;

use axum::http::header::IF_NONE_MATCH;
use axum::http::{HeaderMap, HeaderName, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use ulid::Ulid;

use super::door::{Ask, Door, Told};
use super::error::RequestError;
use crate::http::replicated::REPLICATION;
use crate::http::wire::CONSISTENCY_TOKEN;
use crate::{clock, entropy};

/// The field that holds a document's id.
const ID_FIELD: &str = "Id";

/// A database of an [`EmbeddedNode`](super::EmbeddedNode).
#[derive(Debug, Clone)]
pub struct EmbeddedDatabase {
    door: Weak<Door>,
    name: String,
}

/// What became of a write. It is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The document's id.
    pub id: String,
    /// Its version now.
    pub version: String,
    /// Names this write for [`EmbeddedDatabase::get_after`], on whatever node.
    pub token: String,
    /// How many followers had it when it was answered; `None` unless `Replication:MinSyncReplicas` asks for any.
    pub replicas: Option<Replicas>,
}

/// How far a write had come when it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicas {
    /// Followers that had it on disk.
    pub achieved: u64,
    /// How many were asked for.
    pub required: u64,
}

impl Replicas {
    /// Whether as many as were asked for had it. If not, it is on this node's disk, and on its way.
    pub fn is_enough(self) -> bool {
        self.achieved >= self.required
    }
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// It, as it was written.
    pub json: String,
    /// Its version.
    pub version: String,
}

/// What a statement came to.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryAnswer {
    /// The rows.
    pub rows: Vec<Value>,
    /// Documents that were written.
    pub applied: u64,
    /// The steps of the plan, such as `IndexScan+Filter+Project`.
    pub plan: String,
    /// Where the rows go on that did not fit.
    pub next_cursor: Option<String>,
    /// Names the last write.
    pub token: Option<String>,
}

impl EmbeddedDatabase {
    pub(super) fn new(door: Weak<Door>, name: &str) -> Self {
        Self { door, name: name.to_owned() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes a document that must not be there yet: under its `Id`, or under one that is made.
    ///
    /// # Errors
    ///
    /// `precondition-failed` when it is there; `not-the-leader` on a follower; and whatever else stops a write.
    pub async fn insert(&self, collection: &str, json: &str) -> Result<Written, RequestError> {
        let object: Map<String, Value> = serde_json::from_str(json)
            .map_err(|error| RequestError::malformed(&format!("A document must be a JSON object: {error}.")))?;
        let own = object.get(ID_FIELD).and_then(Value::as_str).filter(|id| !id.trim().is_empty());
        let made = || Ulid::from_parts(clock::now_millis(), entropy::random_u128()).to_string();
        let id = own.map_or_else(made, str::to_owned);
        self.write(Method::PUT, collection, &id, vec![(IF_NONE_MATCH, "*".to_owned())], Some(json)).await
    }

    /// Writes a document, whether it is there or not.
    ///
    /// # Errors
    ///
    /// As every write: `not-the-leader`, `read-only`, `disk-full`, and whatever is wrong with the names or the text.
    pub async fn put(&self, collection: &str, id: &str, json: &str) -> Result<Written, RequestError> {
        self.write(Method::PUT, collection, id, Vec::new(), Some(json)).await
    }

    /// Changes some fields of a document: a merge patch (RFC 7396), in which `$inc` adds to numbers.
    ///
    /// # Errors
    ///
    /// `not-found`, and as every write.
    pub async fn patch(&self, collection: &str, id: &str, json: &str) -> Result<Written, RequestError> {
        self.write(Method::PATCH, collection, id, Vec::new(), Some(json)).await
    }

    /// Deletes a document.
    ///
    /// # Errors
    ///
    /// `not-found`, and as every write.
    pub async fn delete(&self, collection: &str, id: &str) -> Result<Written, RequestError> {
        self.write(Method::DELETE, collection, id, Vec::new(), None).await
    }

    /// Several writes, all or none, in the form of `POST /api/transactions`:
    /// `[{"op": "put", "collection": "orders", "id": "o-1", "document": {..}}, ..]`. Gives a token for all of them.
    ///
    /// # Errors
    ///
    /// As every write; which operation is at fault is in the text.
    pub async fn transact(&self, operations: &Value) -> Result<String, RequestError> {
        let told = self.ask(Method::POST, "/api/transactions".to_owned(), &json!({"operations": operations})).await?;
        Ok(header(&told.headers, &CONSISTENCY_TOKEN).unwrap_or_default())
    }

    /// Reads a document as it is on this node; `None` when it, or the database, is not there.
    ///
    /// # Errors
    ///
    /// When a name cannot be one, or the database is quarantined.
    pub async fn get(&self, collection: &str, id: &str) -> Result<Option<Found>, RequestError> {
        self.read(collection, id, Vec::new()).await
    }

    /// Reads a document once this node has the write of that token, or whatever came after it.
    ///
    /// # Errors
    ///
    /// `not-here-yet` when the write has not come within that time, at most one minute: what is here is older then.
    pub async fn get_after(
        &self,
        collection: &str,
        id: &str,
        token: &str,
        within: Duration,
    ) -> Result<Option<Found>, RequestError> {
        self.read(collection, id, vec![("token", token.to_owned()), ("timeout", within.as_millis().to_string())]).await
    }

    /// Carries out one SQL statement: `SELECT`, `INSERT`, `UPDATE`, `DELETE`, `CREATE INDEX`, `DROP INDEX`, `EXPLAIN`. A
    /// `SELECT` without `LIMIT` gives 200 rows.
    ///
    /// # Errors
    ///
    /// When the text cannot be read, makes no sense, or passes a limit; and as every write.
    pub async fn execute(&self, statement: &str) -> Result<QueryAnswer, RequestError> {
        self.execute_with(statement, &Map::new()).await
    }

    /// The same with values for `@name` in the statement, which need no escaping then.
    ///
    /// # Errors
    ///
    /// As [`Self::execute`].
    pub async fn execute_with(
        &self,
        statement: &str,
        parameters: &Map<String, Value>,
    ) -> Result<QueryAnswer, RequestError> {
        let body = json!({"query": statement, "parameters": parameters});
        let told = self.ask(Method::POST, "/api/query".to_owned(), &body).await?;
        let mut answer: Map<String, Value> = serde_json::from_slice(&told.body).unwrap_or_default();
        let text =
            |answer: &Map<String, Value>, name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(QueryAnswer {
            applied: answer.get("AppliedCount").and_then(Value::as_u64).unwrap_or_default(),
            plan: text(&answer, "Plan").unwrap_or_default(),
            next_cursor: text(&answer, "NextCursor"),
            token: text(&answer, "Token"),
            rows: match answer.remove("Rows") {
                Some(Value::Array(rows)) => rows,
                _ => Vec::new(),
            },
        })
    }

    async fn write(
        &self,
        method: Method,
        collection: &str,
        id: &str,
        headers: Vec<(HeaderName, String)>,
        json: Option<&str>,
    ) -> Result<Written, RequestError> {
        let body = json.map(str::to_owned);
        let door = self.door.upgrade().ok_or_else(RequestError::closed)?;
        let ask = Ask { method, path: document(collection, id), database: &self.name, headers, body };
        written(&door.ask(ask).await?)
    }

    async fn read(
        &self,
        collection: &str,
        id: &str,
        parameters: Vec<(&str, String)>,
    ) -> Result<Option<Found>, RequestError> {
        let parameters: Vec<String> =
            parameters.into_iter().map(|(name, value)| format!("{name}={}", encoded(&value))).collect();
        let path = format!("{}?{}", document(collection, id), parameters.join("&"));
        let door = self.door.upgrade().ok_or_else(RequestError::closed)?;
        let ask = Ask { method: Method::GET, path, database: &self.name, headers: Vec::new(), body: None };
        match door.ask(ask).await {
            Ok(told) => {
                let version = header(&told.headers, &axum::http::header::ETAG).unwrap_or_default();
                let json =
                    String::from_utf8(told.body).map_err(|_| RequestError::malformed("The document is no text."))?;
                Ok(Some(Found { json, version: version.trim_matches('"').to_owned() }))
            }
            Err(error) if matches!(error.code(), "not-found" | "database-not-found") => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn ask(&self, method: Method, path: String, body: &Value) -> Result<Told, RequestError> {
        let door = self.door.upgrade().ok_or_else(RequestError::closed)?;
        let body = Some(body.to_string());
        door.ask(Ask { method, path, database: &self.name, headers: Vec::new(), body }).await
    }
}

fn document(collection: &str, id: &str) -> String {
    format!("/api/documents/{}/{}", encoded(collection), encoded(id))
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn written(told: &Told) -> Result<Written, RequestError> {
    let answer: Value = serde_json::from_slice(&told.body).unwrap_or_default();
    let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
    let (Some(id), Some(version), Some(token)) = (text("EntityId"), text("Version"), text("Token")) else {
        let status = told.status;
        return Err(RequestError::malformed(&format!("The write was answered with {status} and something else.")));
    };
    let replicas = header(&told.headers, &REPLICATION).and_then(|text| replicas(&text));
    Ok(Written { id, version, token, replicas })
}

/// Reads `replicated; achieved=1; required=1`.
fn replicas(text: &str) -> Option<Replicas> {
    let number = |name: &str| {
        let value = text.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))?;
        value.parse().ok()
    };
    Some(Replicas { achieved: number("achieved")?, required: number("required")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_write_has_come_is_read_from_its_header() {
        let read = replicas("durable; achieved=1; required=2");
        assert_eq!(read, Some(Replicas { achieved: 1, required: 2 }));
        assert!(!read.is_some_and(Replicas::is_enough));
        assert_eq!(replicas("durable"), None);
    }

    #[test]
    fn names_with_any_signs_stay_one_part_of_the_path() {
        assert_eq!(document("a/b", "x?y z#1"), "/api/documents/a%2Fb/x%3Fy%20z%231");
    }
}
