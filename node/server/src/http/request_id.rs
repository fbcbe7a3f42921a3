//! The outermost layer: names each request, and answers for those that break.
//!
//! * Every answer carries `X-Request-Id`; every error carries the same id as `instance`, and so does the log.
//!   A caller's own id is kept when it is at most 64 visible ASCII characters; else a ULID is minted.
//! * A handler that panics costs its caller a 500 and the log one line; the connection and the node go on.
//!
//! It costs about one allocation for the id, one for the future, and a span only where debug logs are on.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use tower::{Layer, Service};
use tracing::Span;
use ulid::{ULID_LEN, Ulid};

use crate::http::error::{self, ApiError};
use crate::{clock, entropy};

/// The header that carries a request's id, in both directions.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a caller, in bytes.
pub const MAX_REQUEST_ID_BYTES: usize = 64;

/// The id of one request.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        // Only visible ASCII gets in, so this never falls back.
        self.0.to_str().unwrap_or_default()
    }

    fn of(request: &Request) -> RequestId {
        request
            .headers()
            .get(X_REQUEST_ID)
            .filter(|given| is_sane(given.as_bytes()))
            .map_or_else(RequestId::mint, |given| RequestId(given.clone()))
    }

    fn mint() -> RequestId {
        let mut buffer = [0; ULID_LEN];
        let text = Ulid::from_parts(clock::now_millis(), entropy::random_u128()).array_to_str(&mut buffer);
        RequestId(HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("-")))
    }
}

fn is_sane(id: &[u8]) -> bool {
    !id.is_empty() && id.len() <= MAX_REQUEST_ID_BYTES && id.iter().all(u8::is_ascii_graphic)
}

/// Puts [`RequestIdService`] around a service; add it last, so that it is outermost.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestIdLayer;

impl<S> Layer<S> for RequestIdLayer {
    type Service = RequestIdService<S>;

    fn layer(&self, inner: S) -> RequestIdService<S> {
        RequestIdService { inner }
    }
}

/// Names requests and catches panics around an inner service.
#[derive(Clone, Debug)]
pub struct RequestIdService<S> {
    inner: S,
}

impl<S> Service<Request> for RequestIdService<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = NamedRequest<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> NamedRequest<S::Future> {
        let id = RequestId::of(&request);
        let span = tracing::debug_span!(
            "request",
            id = id.as_str(),
            method = %request.method(),
            path = request.uri().path()
        );
        NamedRequest { inner: Box::pin(self.inner.call(request)), id, span }
    }
}

/// A request on its way, under its name.
#[derive(Debug)]
pub struct NamedRequest<F> {
    inner: Pin<Box<F>>,
    id: RequestId,
    span: Span,
}

impl<F> Future for NamedRequest<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let _entered = this.span.enter();
        let inner = this.inner.as_mut();
        // After a panic the inner future is dropped with its request; nothing of it is looked at again.
        let polled = catch_unwind(AssertUnwindSafe(|| inner.poll(context)));
        let response = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(response))) => response,
            Err(panic) => {
                tracing::error!(
                    request_id = this.id.as_str(),
                    cause = panic_text(&*panic),
                    "a request broke its handler; the caller got a 500"
                );
                axum::response::IntoResponse::into_response(ApiError::internal())
            }
        };
        let mut response = error::with_instance(response, this.id.as_str());
        response.headers_mut().insert(X_REQUEST_ID, this.id.0.clone());
        Poll::Ready(Ok(response))
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use serde_json::Value;
    use tower::ServiceExt;

    async fn broken() -> &'static str {
        panic!("a bug")
    }

    async fn ask(method: &str, path: &str, id: Option<&str>) -> (StatusCode, Response<()>, Value) {
        let app = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/broken", get(broken))
            .fallback(error::unknown_route)
            .method_not_allowed_fallback(error::unknown_method);
        let mut request = Request::builder().method(method).uri(path);
        if let Some(id) = id {
            request = request.header(X_REQUEST_ID, id);
        }
        let service = RequestIdLayer.layer(app);
        let response = service.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        (parts.status, Response::from_parts(parts, ()), json)
    }

    #[tokio::test]
    async fn a_sane_id_is_kept_and_any_other_is_replaced() {
        let (_, response, _) = ask("GET", "/", Some("till-7")).await;
        assert_eq!(response.headers()[X_REQUEST_ID], "till-7");
        let long = "x".repeat(MAX_REQUEST_ID_BYTES + 1);
        for given in [None, Some("two words"), Some(""), Some(long.as_str())] {
            let (status, response, _) = ask("GET", "/", given).await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(response.headers()[X_REQUEST_ID].len(), ULID_LEN);
        }
    }

    #[tokio::test]
    async fn an_unknown_route_is_a_problem_that_names_the_request() {
        let (status, response, body) = ask("GET", "/nowhere", Some("r-1")).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(response.headers()["content-type"], error::PROBLEM_JSON);
        assert_eq!(body["code"], "unknown-route");
        assert_eq!(body["instance"], "r-1");
    }

    #[tokio::test]
    async fn an_unknown_method_is_answered_with_those_that_exist() {
        let (status, response, body) = ask("PATCH", "/", Some("r-2")).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()["allow"], "GET,HEAD");
        assert_eq!(body["code"], "method-not-allowed");
        assert_eq!(body["instance"], "r-2");
    }

    #[tokio::test]
    async fn a_panic_becomes_a_500_that_tells_nothing() {
        let (status, response, body) = ask("GET", "/broken", Some("r-3")).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[X_REQUEST_ID], "r-3");
        assert_eq!(body["instance"], "r-3");
        assert!(!body.to_string().contains("a bug"));
    }
}
