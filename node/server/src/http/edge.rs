//! Around every route: requests are counted and timed, bodies must arrive in time, and browsers are told what they
//! may call from elsewhere.
//!
//! Browsers may call from the origins of `Studio:CorsOrigins`; where that is empty, from any page of this very
//! machine. Credentials are never allowed, so that a page can use only a key that it holds itself.

use std::convert::Infallible;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tower::{Layer, Service};

use crate::clock;
use crate::http::slow_body::timed;
use crate::telemetry::metrics::{Metrics, RouteClass};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
const EXPOSED: HeaderValue =
    HeaderValue::from_static("ETag, Last-Modified, Retry-After, Consistency-Token, X-Request-Id, WWW-Authenticate");
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Puts [`EdgeService`] around a service.
#[derive(Debug, Clone)]
pub struct EdgeLayer {
    metrics: Arc<Metrics>,
    origins: Arc<[String]>,
    body_time_max: Duration,
}

impl EdgeLayer {
    /// Counts into `metrics`, lets browsers call from `origins`, and gives bodies so long to arrive.
    pub fn new(metrics: Arc<Metrics>, origins: &[String], body_time_max: Duration) -> Self {
        let origins = origins.iter().map(|origin| origin.trim_end_matches('/').to_owned()).collect();
        Self { metrics, origins, body_time_max }
    }

    /// The origin of a request, if browsers may call from there.
    fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        let text = origin.to_str().ok()?;
        let is_allowed = if self.origins.is_empty() {
            is_this_machine(text)
        } else {
            self.origins.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(text))
        };
        is_allowed.then(|| origin.clone())
    }
}

/// Whether a page's origin is this machine, on any port.
fn is_this_machine(origin: &str) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

impl<S> Layer<S> for EdgeLayer {
    type Service = EdgeService<S>;

    fn layer(&self, inner: S) -> EdgeService<S> {
        EdgeService { inner, edge: self.clone() }
    }
}

/// Counts requests and answers browsers' questions around an inner service.
#[derive(Debug, Clone)]
pub struct EdgeService<S> {
    inner: S,
    edge: EdgeLayer,
}

impl<S> Service<Request> for EdgeService<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = EdgeFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> EdgeFuture<S::Future> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let class = RouteClass::of(is_read, request.uri().path());
        let origin = self.edge.allowed_origin(request.headers());
        let is_from_page = request.headers().contains_key(ORIGIN);
        let is_question =
            *request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let answer = (is_question && is_from_page).then(|| preflight(request.headers()));
        let inner = match answer {
            Some(answer) => Inner::Answered(Some(answer)),
            None => {
                let is_read_in_pieces = request.uri().path().ends_with("/bulk");
                let body = mem::take(request.body_mut());
                *request.body_mut() = timed(body, self.edge.body_time_max, is_read_in_pieces);
                Inner::Running(Box::pin(self.inner.call(request)))
            }
        };
        self.edge.metrics.begin();
        let count = Count { metrics: Arc::clone(&self.edge.metrics), class, began: clock::monotonic(), status: None };
        EdgeFuture { inner, origin, is_from_page, count }
    }
}

/// The answer to a browser that asks before it calls. Without an allowed origin it carries no permission.
fn preflight(headers: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let allow = response.headers_mut();
    allow.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    allow.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    if let Some(wanted) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        allow.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}

/// A request on its way.
#[derive(Debug)]
pub struct EdgeFuture<F> {
    inner: Inner<F>,
    origin: Option<HeaderValue>,
    is_from_page: bool,
    count: Count,
}

#[derive(Debug)]
enum Inner<F> {
    Running(Pin<Box<F>>),
    Answered(Option<Response>),
}

/// Counts the request when it is dropped, whichever way it ended.
#[derive(Debug)]
struct Count {
    metrics: Arc<Metrics>,
    class: RouteClass,
    began: Instant,
    status: Option<u16>,
}

impl Drop for Count {
    fn drop(&mut self) {
        self.metrics.end(self.class, self.status, self.began.elapsed());
    }
}

impl<F> Future for EdgeFuture<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut response = match &mut this.inner {
            Inner::Running(inner) => match inner.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(response)) => response,
            },
            Inner::Answered(answer) => answer.take().unwrap_or_default(),
        };
        this.count.status = Some(response.status().as_u16());
        if this.is_from_page {
            let headers = response.headers_mut();
            headers.append(VARY, HeaderValue::from_static("Origin"));
            match this.origin.take() {
                Some(origin) => {
                    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
                }
                None => {
                    headers.remove(ACCESS_CONTROL_ALLOW_METHODS);
                    headers.remove(ACCESS_CONTROL_ALLOW_HEADERS);
                }
            }
        }
        Poll::Ready(Ok(response))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn allows(origins: &[&str], origin: &str) -> bool {
        let origins: Vec<String> = origins.iter().map(|&origin| origin.to_owned()).collect();
        let edge = EdgeLayer::new(Arc::default(), &origins, Duration::from_secs(1));
        let headers: HeaderMap = [(ORIGIN, origin.parse().unwrap())].into_iter().collect();
        edge.allowed_origin(&headers).is_some()
    }

    #[test]
    fn without_settings_only_pages_of_this_machine_may_call() {
        for origin in ["http://localhost:5173", "https://127.0.0.1", "http://[::1]:3000"] {
            assert!(allows(&[], origin), "{origin}");
        }
        for origin in ["https://shop.example", "http://localhost.evil.example", "null", "http://127.0.0.1.evil.example"]
        {
            assert!(!allows(&[], origin), "{origin}");
        }
    }

    #[test]
    fn with_settings_only_the_named_origins_may_call() {
        assert!(allows(&["https://studio.example/"], "https://studio.example"));
        assert!(!allows(&["https://studio.example"], "http://localhost:5173"));
    }
}
