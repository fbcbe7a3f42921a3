//! The one shape of every error: RFC 9457 `application/problem+json`.
//!
//! ```json
//! {"type":"urn:holdfast:problem:forbidden","title":"Forbidden","status":403,"code":"forbidden",
//!  "detail":"Use a key that holds READ_DOCUMENT ...","instance":"01JD...",
//!  "Error":"ApiKey is not allowed to read documents.","error":"ApiKey is not allowed to read documents."}
//! ```
//!
//! * `code` is stable: programs branch on it. `detail` tells a person what to do. `instance` is the request's
//!   id, filled in by [`request_id`](crate::http::request_id), which sees every answer on its way out.
//! * `Error` and `error` hold the short text that clients of older nodes look for.
//! * No text here ever holds a key, a file path or a message from inside the node.

use std::borrow::Cow;
use std::fmt;

use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use holdfast_core::error::Refusal;
use serde_json::{Map, Value};

/// The content type of every error.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The longest piece of a caller's own input that an error repeats, in characters.
const MAX_QUOTED_CHARACTERS: usize = 200;

/// An error on its way to the caller.
#[derive(Clone)]
pub struct ApiError(Box<Problem>);

#[derive(Clone, Debug)]
struct Problem {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: Cow<'static, str>,
    error: Option<Cow<'static, str>>,
    retry_after_seconds: Option<u64>,
    fields: Map<String, Value>,
}

/// What an error is built from, in reading order of the statuses.
impl ApiError {
    /// Builds an error of any status. Prefer the named constructors below.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> ApiError {
        ApiError(Box::new(Problem {
            status,
            code: code.into(),
            detail: detail.into(),
            error: None,
            retry_after_seconds: None,
            fields: Map::new(),
        }))
    }

    /// 400: the request cannot be understood as it stands.
    pub fn bad_request(code: &'static str, detail: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 401: no key, or none that this node knows.
    pub fn unauthorized(code: &'static str, detail: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::UNAUTHORIZED, code, detail)
    }

    /// 403: a known key that may not do this.
    pub fn forbidden(code: &'static str, detail: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// 404: nothing is there.
    pub fn not_found(code: &'static str, detail: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// 405: the path exists, the method does not.
    pub fn method_not_allowed(method: &Method, path: &str) -> ApiError {
        ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            format!(
                "{} is not possible on {}. The Allow header lists the methods that are.",
                quoted(method.as_str()),
                quoted(path)
            ),
        )
    }

    /// 409: somebody else was there first.
    pub fn conflict(code: &'static str, detail: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::CONFLICT, code, detail)
    }

    /// 412: `If-Match` or `If-None-Match` does not hold.
    pub fn precondition_failed(detail: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", detail)
    }

    /// 413: the body is larger than this node takes.
    pub fn too_large(detail: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
    }

    /// 415: the body is of a kind that this route does not read.
    pub fn unsupported_media_type(detail: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail)
    }

    /// 421: this node follows another, which takes the writes.
    pub fn not_the_leader(leader_url: Option<&str>) -> ApiError {
        let detail = match leader_url {
            Some(url) => format!(
                "This node follows a leader and takes no writes. Send this to {url}, where the leader was last."
            ),
            None => {
                "This node follows a leader and takes no writes, and nobody has said where the leader answers; GET \
                     /replication/status tells what it knows."
                    .to_owned()
            }
        };
        let error = ApiError::new(StatusCode::MISDIRECTED_REQUEST, "not-the-leader", detail);
        match leader_url {
            Some(url) => error.with_field("leader", url),
            None => error,
        }
    }

    /// 422: the query can be read and makes no sense.
    pub fn invalid_query(detail: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-query", detail)
    }

    /// 429: too often.
    pub fn too_many_requests(retry_after_seconds: u64, detail: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", detail).with_retry_after(retry_after_seconds)
    }

    /// 500: a fault of this node. The cause belongs in the log, where the caller's operator finds it by the
    /// request's id; it is not told here.
    pub fn internal() -> ApiError {
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal-error",
            "The node failed to answer. The operator finds the cause in the log under this request's id.",
        )
    }

    /// 503: not now.
    pub fn unavailable(code: &'static str, retry_after_seconds: u64, detail: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).with_retry_after(retry_after_seconds)
    }

    /// 507: the disk is full.
    pub fn disk_full() -> ApiError {
        ApiError::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "disk-full",
            "The node's disk is full and nothing was changed. Free space on the node; reads go on meanwhile.",
        )
    }

    /// Sets the short text that clients of older nodes read from `Error`; without it they get the detail.
    #[must_use]
    pub fn with_error(mut self, text: impl Into<Cow<'static, str>>) -> ApiError {
        self.0.error = Some(text.into());
        self
    }

    /// Adds a field of its own to the body.
    #[must_use]
    pub fn with_field(mut self, name: &str, value: impl Into<Value>) -> ApiError {
        self.0.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Says after how many seconds another try may succeed; at least one.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u64) -> ApiError {
        self.0.retry_after_seconds = Some(seconds.max(1));
        self
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Where the leader is, for the header of that name.
    fn leader(&self) -> Option<HeaderValue> {
        let is_misdirected = self.0.status == StatusCode::MISDIRECTED_REQUEST;
        let url = self.0.fields.get("leader").filter(|_| is_misdirected)?.as_str()?;
        HeaderValue::from_str(url).ok()
    }

    /// Returns the stable code.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// Returns what tells the caller what to do.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Writes the body, with the request's id where it is known.
    pub fn to_json(&self, instance: Option<&str>) -> Value {
        let problem = &*self.0;
        let text = problem.error.as_deref().unwrap_or(&problem.detail);
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| {
            body.insert(name.to_owned(), value);
        };
        put("type", format!("urn:holdfast:problem:{}", problem.code).into());
        let title = problem.status.canonical_reason().unwrap_or("Error");
        put("title", title.into());
        put("status", problem.status.as_u16().into());
        put("code", problem.code.as_ref().into());
        put("detail", problem.detail.as_ref().into());
        if let Some(id) = instance {
            put("instance", id.into());
        }
        put("Error", text.into());
        put("error", text.into());
        for (name, value) in &problem.fields {
            // A field of its own never replaces one that the shape promises.
            body.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Value::Object(body)
    }

    /// Makes the answer, with the request's id in its body.
    pub fn into_response_for(self, instance: Option<&str>) -> Response {
        let body = self.to_json(instance).to_string();
        let mut response = (self.0.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.0.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(leader) = self.leader() {
            headers.insert("leader", leader);
        }
        if self.0.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"holdfast\""));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponse for ApiError {
    /// The error travels along as an extension, so that the outermost layer can add the request's id.
    fn into_response(self) -> Response {
        self.into_response_for(None)
    }
}

impl From<Refusal> for ApiError {
    /// A refusal by the rules: the request's own fault, in the words that older clients know.
    fn from(refusal: Refusal) -> ApiError {
        let code = refusal.code();
        match refusal {
            Refusal::Invalid { reason, .. } => ApiError::bad_request(code, reason),
            Refusal::Reserved { name } => ApiError::forbidden(
                code,
                "The node keeps this collection for itself. Choose another name; cache entries have /api/cache.",
            )
            .with_error(format!(
                "Collection {} is reserved. Use '/api/cache' endpoints.",
                quoted(&name)
            )),
            Refusal::TooLarge { what, bytes, limit } => ApiError::too_large(format!(
                "The {what} has {bytes} bytes and at most {limit} are taken. Split it."
            ))
            .with_field("limit", limit),
            Refusal::VersionMismatch {
                collection,
                id,
                expected,
                current,
            } => ApiError::conflict(
                code,
                format!(
                    "Expected version {}, but {}. Read it again, apply the change to what is there now, and retry with its version.",
                    quoted(&expected),
                    what_is_there(&current)
                ),
            )
            .with_error(format!(
                "Version mismatch for {collection}/{id}. Expected {}, current is '{current}'.",
                quoted(&expected)
            ))
            .with_field("currentVersion", current),
            Refusal::PreconditionFailed {
                collection,
                id,
                current,
            } => ApiError::precondition_failed(format!(
                "If-Match or If-None-Match does not hold for {collection}/{id}: {}. Read it again and retry with its ETag.",
                what_is_there(&current)
            ))
            .with_field("currentVersion", current),
            Refusal::ConflictChanged { collection, id } => ApiError::conflict(
                code,
                format!(
                    "The conflict of {collection}/{id} is not as it was: somebody settled it, or another version came. List the conflicts again."
                ),
            ),
            Refusal::NotUnique { collection, id, index, other } => ApiError::conflict(
                code,
                format!(
                    "{collection}/{id} would have the values of {} in the unique index {}. Change one of the two documents.",
                    quoted(&other),
                    quoted(&index)
                ),
            )
            .with_field("index", index)
            .with_field("otherId", other),
            Refusal::IndexExists { name, definition } => ApiError::conflict(
                code,
                format!(
                    "There is an index {} already, and it is another one: {definition}. Drop it first, or choose another name.",
                    quoted(&name)
                ),
            ),
            Refusal::NotFound { collection, id } => ApiError::not_found(
                code,
                format!("There is no document {} in collection '{collection}'.", quoted(&id)),
            ),
        }
    }
}

/// A document's version in words.
fn what_is_there(current: &str) -> String {
    if current == "<null>" {
        "the document does not exist".to_owned()
    } else {
        format!("the document exists at version '{current}'")
    }
}

impl fmt::Debug for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.detail)
    }
}

impl std::error::Error for ApiError {}

/// Puts the request's id into an answer that is an error.
pub(crate) fn with_instance(mut response: Response, instance: &str) -> Response {
    let Some(error) = response.extensions_mut().remove::<ApiError>() else {
        return response;
    };
    let allow = response.headers_mut().remove(ALLOW);
    let mut named = error.into_response_for(Some(instance));
    if let Some(allow) = allow {
        named.headers_mut().insert(ALLOW, allow);
    }
    named
}

/// Answers a path that no route has; for `Router::fallback`.
#[allow(clippy::unused_async, reason = "axum calls handlers as futures")]
pub async fn unknown_route(uri: Uri) -> ApiError {
    ApiError::not_found(
        "unknown-route",
        format!("There is nothing at {}. The routes of this node are listed at /docs.", quoted(uri.path())),
    )
}

/// Answers a method that a route lacks; for `Router::method_not_allowed_fallback`.
#[allow(clippy::unused_async, reason = "axum calls handlers as futures")]
pub async fn unknown_method(method: Method, uri: Uri) -> ApiError {
    ApiError::method_not_allowed(&method, uri.path())
}

/// Quotes a caller's own input, cut to a length that fits an error, without control characters.
pub fn quoted(input: &str) -> String {
    let mut shown: String =
        input.chars().take(MAX_QUOTED_CHARACTERS).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if input.chars().nth(MAX_QUOTED_CHARACTERS).is_some() {
        shown.push('…');
    }
    format!("'{shown}'")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn every_error_carries_the_whole_shape() {
        let body = ApiError::conflict("version-mismatch", "Read it again.")
            .with_error("Version mismatch.")
            .with_field("current", "abc")
            .with_field("status", 1)
            .to_json(Some("id-1"));
        assert_eq!(body["type"], "urn:holdfast:problem:version-mismatch");
        assert_eq!(body["title"], "Conflict");
        assert_eq!(body["status"].as_u64(), Some(409));
        assert_eq!(body["code"], "version-mismatch");
        assert_eq!(body["detail"], "Read it again.");
        assert_eq!(body["instance"], "id-1");
        assert_eq!(body["Error"], "Version mismatch.");
        assert_eq!(body["error"], "Version mismatch.");
        assert_eq!(body["current"], "abc");
    }

    #[test]
    fn headers_follow_the_status() {
        let response = ApiError::too_many_requests(0, "Slow down.").into_response();
        assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        let response = ApiError::unauthorized("unknown-key", "No.").into_response();
        assert!(response.headers().contains_key(WWW_AUTHENTICATE));
    }

    #[test]
    fn refusals_keep_the_words_that_older_clients_know() {
        let (collection, id) = ("orders".to_owned(), "ord-1".to_owned());
        let mismatch = ApiError::from(Refusal::VersionMismatch {
            collection: collection.clone(),
            id: id.clone(),
            expected: "a".to_owned(),
            current: "<null>".to_owned(),
        });
        assert_eq!(mismatch.status(), StatusCode::CONFLICT);
        assert_eq!(
            mismatch.to_json(None)["Error"],
            "Version mismatch for orders/ord-1. Expected 'a', current is '<null>'."
        );
        assert!(mismatch.detail().starts_with("Expected version 'a', but the document does not exist."));
        let failed = ApiError::from(Refusal::PreconditionFailed {
            collection: collection.clone(),
            id: id.clone(),
            current: "v2".to_owned(),
        });
        assert!(failed.detail().contains("exists at version 'v2'"), "{failed}");
        let reserved = ApiError::from(Refusal::Reserved { name: "Cache".to_owned() });
        assert_eq!(reserved.status(), StatusCode::FORBIDDEN);
        assert_eq!(reserved.to_json(None)["Error"], "Collection 'Cache' is reserved. Use '/api/cache' endpoints.");
        let missing = ApiError::from(Refusal::NotFound { collection, id });
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn quoted_input_is_bounded_and_printable() {
        let shown = quoted(&"\u{7}é".repeat(5_000));
        assert!(shown.chars().count() <= MAX_QUOTED_CHARACTERS + 3);
        assert!(!shown.contains('\u{7}'));
    }
}
