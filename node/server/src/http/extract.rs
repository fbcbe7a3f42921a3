//! Bodies and path segments, read so that every mistake becomes a helpful 4xx.
//!
//! | extractor        | gives                                                        |
//! |------------------|--------------------------------------------------------------|
//! | [`RawBody`]      | the bytes, of any media type                                 |
//! | [`JsonText`]     | UTF-8 text sent as JSON, not yet parsed                      |
//! | [`JsonBody`]     | parsed JSON; `Option<JsonBody<T>>` where it may be missing   |
//! | [`PathParts`]    | percent-decoded segments of the path                         |
//!
//! Bodies are bounded before they are read, by axum's `DefaultBodyLimit` on the route or router.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Path, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use bytes::Bytes;
use holdfast_core::json::{keys, refuse_private_keys};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;

use crate::http::error::{ApiError, quoted};
use crate::http::percent;
use crate::http::slow_body::broken_off;

/// What some editors and shells put before UTF-8 text. It is no part of the JSON.
pub(in crate::http) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A body of any media type, within the route's limit.
#[derive(Debug, Clone)]
pub struct RawBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<RawBody, ApiError> {
        refuse_compression(request.headers())?;
        read(request).await.map(RawBody)
    }
}

/// A body sent as JSON, as text; whoever takes it does the parsing.
#[derive(Debug, Clone)]
pub struct JsonText(pub String);

impl<S: Send + Sync> FromRequest<S> for JsonText {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<JsonText, ApiError> {
        read_json_text(request).await?.map(JsonText).ok_or_else(body_missing)
    }
}

/// A body sent as JSON, parsed.
#[derive(Debug, Clone, Copy)]
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<JsonBody<T>, ApiError> {
        let text = read_json_text(request).await?.ok_or_else(body_missing)?;
        parse_body(&text).map(JsonBody)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    /// None if nothing but blanks was sent.
    async fn from_request(request: Request, _state: &S) -> Result<Option<JsonBody<T>>, ApiError> {
        match read_json_text(request).await? {
            Some(text) => parse_body(&text).map(|value| Some(JsonBody(value))),
            None => Ok(None),
        }
    }
}

/// The segments of the path that a route names, percent-decoded, as a tuple or struct.
#[derive(Debug, Clone, Copy)]
pub struct PathParts<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathParts<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<PathParts<T>, ApiError> {
        if !percent::is_encoded(parts.uri.path()) {
            return Err(ApiError::bad_request(
                "invalid-path",
                "The path has a % that no two hexadecimal digits follow. A % itself is written %25.",
            ));
        }
        Path::<T>::from_request_parts(parts, state).await.map(|Path(segments)| PathParts(segments)).map_err(path_error)
    }
}

/// Parses a body, which must be an object: a list of values in the order of a struct's fields is none.
pub(super) fn parse_body<T: DeserializeOwned>(text: &str) -> Result<T, ApiError> {
    refuse_private_keys(text.as_bytes())?;
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| body_error(text, &error));
    }
    // What is no JSON at all is told as that.
    parse_json::<IgnoredAny>(text)?;
    Err(ApiError::bad_request("not-an-object", "The body must be a JSON object."))
}

/// Parses JSON, with the place of the first mistake in the error.
pub fn parse_json<T: DeserializeOwned>(text: &str) -> Result<T, ApiError> {
    serde_json::from_str(text).map_err(|error| json_error(&error))
}

/// Says what is wrong with a JSON text, for those who parse it themselves.
pub fn json_error(error: &serde_json::Error) -> ApiError {
    let (line, column) = (error.line(), error.column());
    // The message may repeat what was sent, so it is cut like any other quotation.
    let message = quoted(&error.to_string());
    let message = message.trim_matches('\'');
    let error = match error.classify() {
        Category::Data => {
            ApiError::bad_request("invalid-body", format!("The JSON body does not have the right shape: {message}."))
        }
        Category::Eof => ApiError::bad_request(
            "malformed-json",
            format!("The JSON body ends too early, at line {line}, column {column}: {message}."),
        ),
        Category::Syntax | Category::Io => ApiError::bad_request(
            "malformed-json",
            format!("The body is not JSON from line {line}, column {column}: {message}."),
        ),
    };
    error.with_field("line", line).with_field("column", column)
}

/// Says what is wrong with a body, in the words of its fields rather than of this program's types.
fn body_error(text: &str, error: &serde_json::Error) -> ApiError {
    if error.classify() != Category::Data {
        return json_error(error);
    }
    let message = error.to_string();
    let named = |prefix: &str| message.strip_prefix(prefix)?.split('`').next().map(quoted);
    let detail = if let Some(field) = named("missing field `") {
        format!("The field {field} is missing.")
    } else if let Some(field) = named("unknown field `") {
        format!("The field {field} is unknown. Check its spelling against /docs, or leave it out.")
    } else if let Some(field) = named("duplicate field `") {
        format!("The field {field} is given twice. Send it once.")
    } else if let Some(field) = field_before(text, error) {
        format!("The field {} has the wrong type. Its type is listed at /docs.", quoted(&field))
    } else {
        "The body does not have the shape that this route reads. Its shape is listed at /docs.".to_owned()
    };
    ApiError::bad_request("invalid-body", detail).with_field("line", error.line()).with_field("column", error.column())
}

/// The last key before the place of an error.
fn field_before(text: &str, error: &serde_json::Error) -> Option<String> {
    let line_start: usize = text.split_inclusive('\n').take(error.line().checked_sub(1)?).map(str::len).sum();
    let place = line_start + error.column();
    let (_, key) = keys(text.as_bytes()).take_while(|(start, _)| *start < place).last()?;
    serde_json::from_slice(key).ok()
}

async fn read(request: Request) -> Result<Bytes, ApiError> {
    match Bytes::from_request(request, &()).await {
        Ok(bytes) => Ok(bytes),
        Err(BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_))) => Err(ApiError::too_large(
            "The body has more bytes than Limits:RequestBytesMax of this node allows. Send it in smaller parts.",
        )),
        Err(rejection) => Err(broken_off(&rejection)),
    }
}

async fn read_json_text(request: Request) -> Result<Option<String>, ApiError> {
    refuse_compression(request.headers())?;
    let media_type = media_type(request.headers())?;
    let mut bytes = read(request).await?;
    if bytes.starts_with(BYTE_ORDER_MARK) {
        let _ = bytes.split_to(BYTE_ORDER_MARK.len());
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    if !media_type.is_none_or(|media_type| is_json(&media_type)) {
        return Err(ApiError::unsupported_media_type(
            "This route reads JSON. Send it with the header Content-Type: application/json \
             (curl: -H 'Content-Type: application/json').",
        ));
    }
    String::from_utf8(Vec::from(bytes)).map(Some).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        ApiError::bad_request(
            "invalid-utf8",
            format!("The body is not valid UTF-8 from byte {place} on. Send JSON in UTF-8."),
        )
        .with_field("byte", place)
    })
}

/// Returns the Content-Type header as it was sent. Of two nobody knows which one is meant.
pub(in crate::http) fn content_type(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::bad_request(
            "repeated-header",
            "The request has several Content-Type headers. Send the one that says what the body is.",
        ));
    }
    first.to_str().map(Some).map_err(|_| {
        ApiError::unsupported_media_type(
            "The Content-Type header is not readable. Use printable ASCII, as in text/plain.",
        )
    })
}

/// Returns the media type in lower case, without its options.
fn media_type(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(text) = content_type(headers)? else {
        return Ok(None);
    };
    let mut pieces = text.split(';').map(str::trim);
    let kind = pieces.next().unwrap_or_default().to_ascii_lowercase();
    let other_charset = pieces.any(|option| {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let charset = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("charset")
            && !["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known))
    });
    if other_charset {
        return Err(ApiError::unsupported_media_type("Only UTF-8 is read. Send the body in UTF-8."));
    }
    Ok(Some(kind).filter(|kind| !kind.is_empty()))
}

fn is_json(media_type: &str) -> bool {
    matches!(media_type, "application/json" | "text/json") || media_type.ends_with("+json")
}

pub(super) fn refuse_compression(headers: &HeaderMap) -> Result<(), ApiError> {
    let plain =
        headers.get_all(CONTENT_ENCODING).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if plain {
        Ok(())
    } else {
        Err(ApiError::unsupported_media_type(
            "Compressed bodies are not read here. Send the body without Content-Encoding.",
        ))
    }
}

fn body_missing() -> ApiError {
    ApiError::bad_request("body-required", "Send a JSON body with this request.")
}

fn path_error(rejection: PathRejection) -> ApiError {
    let PathRejection::FailedToDeserializePathParams(failed) = rejection else {
        return route_mismatch();
    };
    match failed.into_kind() {
        ErrorKind::InvalidUtf8InPathParam { key } => ApiError::bad_request(
            "invalid-path",
            format!("The part '{key}' of the path is not valid UTF-8 once its % signs are decoded."),
        ),
        ErrorKind::ParseErrorAtKey { key, value, expected_type } => ApiError::bad_request(
            "invalid-path",
            format!("The part '{key}' of the path cannot be {}: {expected_type} is expected.", quoted(&value)),
        ),
        ErrorKind::ParseErrorAtIndex { value, expected_type, .. } | ErrorKind::ParseError { value, expected_type } => {
            ApiError::bad_request(
                "invalid-path",
                format!("The path cannot hold {}: {expected_type} is expected.", quoted(&value)),
            )
        }
        ErrorKind::DeserializeError { key, value, .. } => {
            ApiError::bad_request("invalid-path", format!("The part '{key}' of the path cannot be {}.", quoted(&value)))
        }
        _ => route_mismatch(),
    }
}

/// A route and its handler disagree about the path; a fault of this program, not of the caller.
fn route_mismatch() -> ApiError {
    tracing::error!("a handler asks for path segments that its route does not have");
    ApiError::internal()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::extract::DefaultBodyLimit;
    use axum::http::StatusCode;
    use axum::routing::{get, post};
    use http_body_util::BodyExt;
    use serde::Deserialize;
    use serde_json::Value;
    use tower::ServiceExt;

    #[derive(Deserialize)]
    struct Query {
        query: String,
    }

    async fn send(request: Request) -> (StatusCode, Value) {
        let app = Router::new()
            .route("/json", post(|JsonBody(body): JsonBody<Query>| async move { body.query }))
            .route("/maybe", post(|body: Option<JsonBody<Query>>| async move { body.is_some().to_string() }))
            .route("/text", post(|JsonText(text): JsonText| async move { text }))
            .route("/raw", post(|RawBody(bytes): RawBody| async move { bytes.len().to_string() }))
            .route("/ids/{id}", get(|PathParts(id): PathParts<String>| async move { id }))
            .route("/numbers/{number}", get(|PathParts(n): PathParts<u8>| async move { n.to_string() }))
            .layer(DefaultBodyLimit::max(1_000));
        let response = app.oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn post_as(path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> (StatusCode, Value) {
        let mut request = Request::builder().method("POST").uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(request.body(body.into()).unwrap()).await
    }

    async fn get_from(path: &str) -> (StatusCode, Value) {
        send(Request::builder().uri(path).body(Body::empty()).unwrap()).await
    }

    #[tokio::test]
    async fn json_is_read_with_and_without_a_content_type() {
        for headers in [
            &[][..],
            &[("content-type", "application/json")],
            &[("content-type", "Application/JSON; charset=UTF-8")],
            &[("content-type", "application/merge-patch+json")],
        ] {
            let (status, body) = post_as("/json", headers, r#"{"query":"q"}"#).await;
            assert_eq!((status, body), (StatusCode::OK, "q".into()), "{headers:?}");
        }
    }

    #[tokio::test]
    async fn a_byte_order_mark_before_the_body_is_passed_over() {
        assert_eq!(post_as("/json", &[], "\u{feff}{\"query\":\"q\"}").await, (StatusCode::OK, "q".into()));
        assert_eq!(post_as("/json", &[], "\u{feff} ").await.1["code"], "body-required");
    }

    #[tokio::test]
    async fn another_kind_of_body_is_415_with_the_header_to_send() {
        for headers in [
            ("content-type", "application/x-www-form-urlencoded"),
            ("content-type", "text/plain"),
            ("content-type", "application/json; charset=utf-16"),
            ("content-encoding", "gzip"),
        ] {
            let (status, body) = post_as("/json", &[headers], r#"{"query":"q"}"#).await;
            assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{headers:?}");
            assert_eq!(body["code"], "unsupported-media-type");
        }
    }

    #[tokio::test]
    async fn a_mistake_in_the_json_is_400_with_its_place() {
        let (status, body) = post_as("/json", &[], "{\"query\":\n  oops}").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(body["code"], "malformed-json");
        assert_eq!(body["line"].as_u64(), Some(2));
        assert_eq!(body["column"].as_u64(), Some(3));
        let (_, body) = post_as("/json", &[], "{\"query\":").await;
        assert!(body["detail"].as_str().unwrap().contains("ends too early"));
    }

    #[tokio::test]
    async fn the_wrong_shape_a_missing_field_and_deep_nesting_are_400() {
        let deep = "[".repeat(400) + &"]".repeat(400);
        for (text, code) in [
            ("[1]", "not-an-object"),
            (r#"["q"]"#, "not-an-object"),
            (r#"{"query":{"$serde_json::private::RawValue":"1"}}"#, "reserved-key"),
            (r#"{"query":5}"#, "invalid-body"),
            ("{}", "invalid-body"),
            (r#"{"query":"q"} x"#, "malformed-json"),
        ] {
            let (status, body) = post_as("/json", &[], text).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
            assert_eq!(body["code"], code, "{text}");
        }
        assert_eq!(parse_json::<Value>(&deep).unwrap_err().code(), "malformed-json");
    }

    #[tokio::test]
    async fn a_body_of_the_wrong_shape_names_its_field_and_no_type_of_this_program() {
        for (text, expected) in [
            ("{}", "The field 'query' is missing."),
            (r#"{"query":5}"#, "The field 'query' has the wrong type."),
            ("{\n\"a\":1,\n\"query\":[]}", "The field 'query' has the wrong type."),
        ] {
            let (_, body) = post_as("/json", &[], text).await;
            assert!(body["detail"].as_str().unwrap().starts_with(expected), "{text}: {body}");
        }
    }

    #[tokio::test]
    async fn a_missing_body_is_told_apart_from_a_bad_one() {
        for body in ["", " \n"] {
            let (status, answer) = post_as("/json", &[("content-type", "application/json")], body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert_eq!(answer["code"], "body-required");
            assert_eq!(post_as("/maybe", &[], body).await.1, Value::Bool(false));
        }
        assert_eq!(post_as("/maybe", &[], r#"{"query":"q"}"#).await.1, Value::Bool(true));
    }

    #[tokio::test]
    async fn bytes_that_are_no_utf8_are_400_with_their_place() {
        let (status, body) = post_as("/text", &[], b"{\"a\":\"\xff\"}".to_vec()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(body["code"], "invalid-utf8");
        assert_eq!(body["byte"].as_u64(), Some(6));
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_413() {
        for path in ["/json", "/text", "/raw"] {
            let (status, body) = post_as(path, &[], "x".repeat(1_001)).await;
            assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
            assert_eq!(body["code"], "too-large");
        }
        assert_eq!(post_as("/raw", &[], "x".repeat(1_000)).await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn path_segments_are_decoded_and_bad_ones_are_400() {
        assert_eq!(get_from("/ids/a%2Fb%20%C3%A9").await.1, "a/b é");
        for path in ["/ids/%FF", "/ids/%zz", "/ids/100%"] {
            let (status, body) = get_from(path).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
            assert_eq!(body["code"], "invalid-path", "{path}");
        }
        let (status, body) = get_from("/numbers/300").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body["detail"].as_str().unwrap().contains("'300'"));
    }
}
