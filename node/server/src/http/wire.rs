//! What goes over the wire: the answers' shapes, and times as text.
//!
//! Names are PascalCase, nulls are written out, times are ISO 8601 in UTC with milliseconds.

use std::fmt;

use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use holdfast_core::counter::Increment;
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::json::JsonText;
use holdfast_core::operation::OperationKind;
use holdfast_core::sync::message::operation_type;
use holdfast_core::time::{Millis, push_digits};
use holdfast_core::vector::Origin;
use holdfast_storage::record::operation::Logged;
use holdfast_storage::request::Written;
use serde::{Serialize, Serializer};
use serde_json::{Map, Number, Value};
use utoipa::ToSchema;

/// The header that carries a write's token: in its answer, and in a read that must not be older.
pub const CONSISTENCY_TOKEN: HeaderName = HeaderName::from_static("consistency-token");

/// The header that says how old what a follower shows may be at most.
pub const MAX_STALENESS: HeaderName = HeaderName::from_static("max-staleness");

/// What became of a write.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct WriteResult {
    /// The collection.
    #[schema(value_type = String, example = "orders")]
    pub collection: CollectionName,
    /// The document.
    #[schema(value_type = String, example = "ord-1")]
    pub entity_id: DocumentId,
    /// Its version now, which is also its ETag and the next `parentVersion`.
    pub version: String,
    /// When this node wrote it.
    #[schema(value_type = String, format = DateTime)]
    pub committed_utc: Timestamp,
    /// Whether it is deleted now.
    pub is_deleted: bool,
    /// The operation as it stands in the log; the last one when the write became several.
    pub operation: OperationRecord,
    /// Names this write for those who want to read it elsewhere: origin and sequence.
    #[schema(example = "node-1@0123456789abcdef:17")]
    pub token: String,
}

/// One operation of the log.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct OperationRecord {
    /// Its id, a ULID.
    pub id: String,
    /// The node that wrote it.
    pub node_id: String,
    /// When that node wrote it, by its own clock.
    #[schema(value_type = String, format = DateTime)]
    pub timestamp_utc: Timestamp,
    /// The collection.
    #[schema(value_type = String)]
    pub collection: CollectionName,
    /// The document; null for a change to the collection itself.
    #[schema(value_type = Option<String>)]
    pub entity_id: Option<DocumentId>,
    /// 1 insert, 2 update, 3 delete; 0 for anything else.
    pub operation_type: u8,
    /// JSON text: the document after it, `{}` for a delete, `{"$inc": …}` for an increment; null when it was
    /// not asked for.
    pub payload: Option<String>,
    /// Its number at its origin.
    pub sequence: u64,
    /// Its position in this node's log.
    pub log_sequence: u64,
    /// The version that the caller expected; known only in the answer to that caller.
    pub parent_version: Option<String>,
    /// Always null.
    pub global_sequence: Option<u64>,
    /// Whether it came from a peer.
    pub is_synced: bool,
    /// Whether it deleted the document.
    pub is_tombstone: bool,
    /// The kind: put, merge patch, delete, increment and so on.
    #[schema(example = "put")]
    pub kind: &'static str,
    /// The node that wrote it and its incarnation.
    #[schema(example = "node-1@0123456789abcdef")]
    pub origin: String,
    /// The transaction that it is part of.
    pub transaction_id: Option<String>,
}

/// A moment, written as `2026-07-30T10:00:00.123Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp(pub Millis);

impl OperationRecord {
    /// An operation as this node, writing as `here`, tells of it.
    pub fn of(logged: Logged, here: &Origin) -> Self {
        let operation = logged.operation;
        let (kind, operation_type) = (operation.kind.name(), operation_type(&operation.kind));
        let is_tombstone = matches!(operation.kind, OperationKind::Delete | OperationKind::Resolve { body: None, .. });
        Self {
            id: operation.id.to_string(),
            node_id: operation.dot.origin.node.to_string(),
            timestamp_utc: Timestamp(operation.stamp.millis()),
            collection: operation.collection,
            entity_id: operation.document,
            operation_type,
            payload: payload(operation.kind),
            sequence: operation.dot.sequence.0,
            log_sequence: logged.position.0,
            parent_version: None,
            global_sequence: None,
            is_synced: operation.dot.origin != *here,
            is_tombstone,
            kind,
            origin: operation.dot.origin.to_string(),
            transaction_id: operation.group.map(|group| group.id.to_string()),
        }
    }
}

impl WriteResult {
    /// The result of a write; `None` if it logged nothing, which no write does.
    pub fn of(written: Written, here: &Origin, parent_version: Option<String>) -> Option<Self> {
        let mut operations = written.operations;
        let last = operations.pop()?;
        let token = last.operation.dot.to_string();
        let mut operation = OperationRecord::of(last, here);
        operation.parent_version = parent_version;
        Some(Self {
            collection: operation.collection.clone(),
            entity_id: operation.entity_id.clone()?,
            version: written.version.to_string(),
            committed_utc: operation.timestamp_utc,
            is_deleted: operation.is_tombstone,
            operation,
            token,
        })
    }
}

fn payload(kind: OperationKind) -> Option<String> {
    match kind {
        OperationKind::Put { body, .. } | OperationKind::Patch { body, .. } => Some(body.into_string()),
        OperationKind::Resolve { body: Some(body), .. } => Some(body.into_string()),
        OperationKind::Delete | OperationKind::Resolve { body: None, .. } => Some("{}".to_owned()),
        OperationKind::Increment(increment) => Some(increment_text(&increment)),
        OperationKind::RegisterCollection
        | OperationKind::JoinMember { .. }
        | OperationKind::FenceMember { .. }
        | OperationKind::Unknown { .. } => None,
    }
}

/// An increment as the patch that asked for it.
pub(super) fn increment_text(increment: &Increment) -> String {
    let mut amounts = Map::new();
    for (path, amount) in &increment.0 {
        if let Ok(number) = amount.to_text().parse::<Number>() {
            put_at(&mut amounts, path, Value::Number(number));
        }
    }
    let mut patch = Map::new();
    patch.insert("$inc".to_owned(), Value::Object(amounts));
    JsonText::from_object(&patch).into_string()
}

fn put_at(object: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => drop(object.insert(key.clone(), value)),
        [key, rest @ ..] => {
            let inner = object.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put_at(inner, rest, value);
            }
        }
    }
}

/// The answer 200 with a value as JSON.
pub fn json(value: &impl Serialize) -> Response {
    json_text(serde_json::to_vec(value).unwrap_or_default())
}

/// The answer 200 with text that is JSON already.
pub fn json_text(text: Vec<u8>) -> Response {
    let mut response = text.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer with the version that it is about as its ETag.
#[must_use]
pub fn with_etag(mut response: Response, version: &str) -> Response {
    if let Some(tag) = etag(version) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// The token that names what was written: whoever has its last operation has those before it.
pub fn token_of(written: &Written) -> Option<String> {
    written.operations.last().map(|logged| logged.operation.dot.to_string())
}

/// An answer to a write with the token that names it, for reading it elsewhere.
#[must_use]
pub fn with_token(mut response: Response, token: &str) -> Response {
    if let Ok(value) = HeaderValue::try_from(token) {
        response.headers_mut().insert(CONSISTENCY_TOKEN, value);
    }
    response
}

/// A version as the value of an ETag header.
pub fn etag(version: &str) -> Option<HeaderValue> {
    let mut tag = String::with_capacity(version.len() + 2);
    tag.push('"');
    tag.push_str(version);
    tag.push('"');
    HeaderValue::try_from(tag).ok()
}

/// A moment as HTTP headers write it.
pub fn http_date(moment: Millis) -> Option<HeaderValue> {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let civil = moment.to_civil();
    let weekday = DAYS.get(usize::try_from(civil.weekday).ok()?)?;
    let month = MONTHS.get(usize::try_from(civil.month).ok()?.checked_sub(1)?)?;
    let mut text = String::with_capacity(29);
    text.push_str(weekday);
    text.push_str(", ");
    push_digits(&mut text, civil.day, 2);
    text.push(' ');
    text.push_str(month);
    text.push(' ');
    push_digits(&mut text, civil.year, 4);
    for (separator, number) in [(' ', civil.hour), (':', civil.minute), (':', civil.second)] {
        text.push(separator);
        push_digits(&mut text, number, 2);
    }
    text.push_str(" GMT");
    HeaderValue::try_from(text).ok()
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_utc_text())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn moments_are_written_as_people_and_headers_expect_them() {
        for (millis, iso, http) in [
            (0, "1970-01-01T00:00:00.000Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_827_696_789, "2000-02-29T12:34:56.789Z", "Tue, 29 Feb 2000 12:34:56 GMT"),
            (1_785_405_600_123, "2026-07-30T10:00:00.123Z", "Thu, 30 Jul 2026 10:00:00 GMT"),
            (4_102_444_799_999, "2099-12-31T23:59:59.999Z", "Thu, 31 Dec 2099 23:59:59 GMT"),
        ] {
            assert_eq!(Timestamp(Millis(millis)).to_string(), iso);
            assert_eq!(http_date(Millis(millis)).unwrap(), http);
        }
    }

    #[test]
    fn an_increment_is_told_as_the_patch_that_asked_for_it() {
        let patch: Value = serde_json::from_str(r#"{"stock":{"main":-1},"sold":0.5}"#).unwrap();
        let increment = Increment::parse(patch.as_object().unwrap()).unwrap();
        assert_eq!(increment_text(&increment), r#"{"$inc":{"stock":{"main":-1},"sold":0.5}}"#);
    }
}
