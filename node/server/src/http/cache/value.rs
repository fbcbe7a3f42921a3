//! Values as they come in and go out: JSON by default, anything else under the content type that its writer named.

use axum::body::HttpBody;
use axum::extract::{FromRequest, Request};
use holdfast_core::cache::{Content, Media};
use holdfast_core::error::Refusal;
use holdfast_core::json::parse_value;
use holdfast_core::limits::CACHE_VALUE_BYTES_MAX;

use crate::http::error::ApiError;
use crate::http::extract::{BYTE_ORDER_MARK, RawBody, content_type};

/// What curl says when nobody tells it what it sends; every such body that is not a form is meant as JSON.
const FORM: &str = "application/x-www-form-urlencoded";

/// A body that is to be kept.
#[derive(Debug)]
pub struct Value(pub Content);

impl<S: Send + Sync> FromRequest<S> for Value {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let name = content_type(request.headers())?.map(str::to_owned);
        let RawBody(body) = RawBody::from_request(request, state).await?;
        bounded(body.len())?;
        match name.as_deref().map(str::trim).filter(|name| !is_json(name)) {
            None => json_of(body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&body)).map(Self),
            Some(name) => {
                let media = Media::of_content_type(name).ok_or_else(|| {
                    ApiError::unsupported_media_type("The Content-Type must have 1 to 255 printable ASCII characters.")
                })?;
                Ok(Self(Content { media, bytes: body.into() }))
            }
        }
    }
}

/// No body: what is asked for stands in the address. One that says otherwise is refused rather than passed over.
#[derive(Debug)]
pub struct Nothing;

impl<S: Send + Sync> FromRequest<S> for Nothing {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        // Most requests end with their head, and cost no look for more.
        if request.body().is_end_stream() {
            return Ok(Self);
        }
        let RawBody(body) = RawBody::from_request(request, state).await?;
        if body.is_empty() {
            return Ok(Self);
        }
        Err(ApiError::bad_request(
            "unexpected-body",
            "This route takes no body with this method. Say what is wanted in the address, as in ?by=5 or ?ttl=1h.",
        ))
    }
}

/// Reads a JSON value.
pub(super) fn json_of(body: &[u8]) -> Result<Content, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::bad_request(
            "value-required",
            "Send the value as the body: any JSON value, or other bytes with their Content-Type.",
        ));
    }
    let value = parse_value(body)?;
    let text = serde_json::to_vec(&value).map_err(|_| ApiError::internal())?;
    bounded(text.len())?;
    Ok(Content::json(text))
}

fn bounded(bytes: usize) -> Result<(), ApiError> {
    if bytes > CACHE_VALUE_BYTES_MAX {
        return Err(Refusal::TooLarge { what: "value", bytes, limit: CACHE_VALUE_BYTES_MAX }.into());
    }
    Ok(())
}

fn is_json(name: &str) -> bool {
    let name = name.split(';').next().unwrap_or_default().trim();
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    is("application/json") || is("text/json") || is(FORM) || name.to_ascii_lowercase().ends_with("+json")
}
