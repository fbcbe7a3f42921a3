//! Writes that a follower passes on to its leader: `Replication:ForwardWrites`.
//!
//! ```text
//!   write ─► this node ─► 421 with the leader's address ─► the same request there ─► its answer, as it is
//!                    └─ anything else: the answer
//! ```
//!
//! What stays true: the leader judges the request with the key that came with it; a request is passed on once; what peers and
//! operators say to this very node is never passed on. A request whose answer is lost on the way is not sent again: the
//! caller is told that it does not know.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tower::{Layer, Service, ServiceExt};

use crate::http::error::ApiError;
use crate::replica::ReplicaGroup;

/// Names the nodes that a request was passed on by; whoever finds it there answers by itself.
const FORWARDED: HeaderName = HeaderName::from_static("holdfast-forwarded");
/// How long a leader may take to be reached, and to answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// A leader that was not heard for so long is not waited for: it is heard several times a second.
const HEARD_WITHIN: Duration = Duration::from_secs(3);
/// How often that is looked at while an answer is waited for.
const LOOKS_EVERY: Duration = Duration::from_millis(250);
/// What is said to this node and no other.
const OWN_PATHS: [&str; 3] = ["/replication/", "/api/replication/", "/api/cluster/"];

/// Passes on what is for the leader, where the settings say so.
#[derive(Clone, Debug)]
pub struct ForwardingLayer {
    client: Option<reqwest::Client>,
    group: Arc<ReplicaGroup>,
    node: String,
    body_bytes_max: usize,
}

impl ForwardingLayer {
    /// With `is_wanted` false, nothing is passed on.
    pub fn new(is_wanted: bool, group: &Arc<ReplicaGroup>, node: &str, body_bytes_max: usize) -> Self {
        let client = || {
            let made = reqwest::Client::builder()
                .connect_timeout(CONNECT_WITHIN)
                .timeout(ANSWER_WITHIN)
                .redirect(reqwest::redirect::Policy::none())
                .build();
            made.inspect_err(|error| tracing::error!(%error, "writes cannot be passed on: they are answered with 421"))
                .ok()
        };
        Self {
            client: if is_wanted { client() } else { None },
            group: Arc::clone(group),
            node: node.to_owned(),
            body_bytes_max,
        }
    }
}

impl<S> Layer<S> for ForwardingLayer {
    type Service = Forwarding<S>;

    fn layer(&self, inner: S) -> Forwarding<S> {
        Forwarding { inner, with: self.clone() }
    }
}

/// What [`ForwardingLayer`] makes of a service.
#[derive(Clone, Debug)]
pub struct Forwarding<S> {
    inner: S,
    with: ForwardingLayer,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl<S> Service<Request> for Forwarding<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Passing<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let is_write = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let is_own = OWN_PATHS.iter().any(|path| request.uri().path().starts_with(path));
        let client =
            self.with.client.clone().filter(|_| is_write && !is_own && !request.headers().contains_key(FORWARDED));
        let Some(client) = client else { return Passing::Here(Box::pin(self.inner.call(request))) };
        let (inner, with) = (self.inner.clone(), self.with.clone());
        Passing::On(Box::pin(async move { Ok(pass(inner, request, &client, &with).await) }))
    }
}

/// An answer on its way, from here or from the leader.
#[allow(missing_debug_implementations)]
pub enum Passing<F> {
    /// From here.
    Here(Pin<Box<F>>),
    /// From here or from the leader.
    On(Answer),
}

impl<F> Future for Passing<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Here(answer) => answer.as_mut().poll(context),
            Self::On(answer) => answer.as_mut().poll(context),
        }
    }
}

async fn pass<S>(inner: S, request: Request, client: &reqwest::Client, with: &ForwardingLayer) -> Response
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let (parts, body) = request.into_parts();
    // Kept, for it may be needed twice.
    let Ok(body) = to_bytes(body, with.body_bytes_max).await else {
        return ApiError::too_large(format!("The body has more than {} bytes. Split it.", with.body_bytes_max))
            .into_response();
    };
    let again = Request::from_parts(parts.clone(), Body::from(body.clone()));
    let answer = match inner.oneshot(again).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    };
    let leader = answer.headers().get("leader").and_then(|leader| leader.to_str().ok()).map(str::to_owned);
    match leader {
        Some(leader) if answer.status() == StatusCode::MISDIRECTED_REQUEST => {
            if !with.group.hears_leader(HEARD_WITHIN) {
                return leader_not_reached();
            }
            tokio::select! {
                answer = ask_leader(client, &leader, parts, body, &with.node) => answer,
                () = until_lost(&with.group) => outcome_unknown("the leader fell silent"),
            }
        }
        _ => answer,
    }
}

async fn ask_leader(client: &reqwest::Client, leader: &str, parts: Parts, body: Bytes, node: &str) -> Response {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = without_own(parts.headers);
    if let Ok(node) = HeaderValue::from_str(node) {
        headers.insert(FORWARDED, node);
    }
    let url = format!("{}{path}", leader.trim_end_matches('/'));
    let sent = client.request(parts.method, url).headers(headers).body(body).send().await;
    match sent {
        Ok(answer) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = answer.status();
            *response.headers_mut() = without_own(answer.headers().clone());
            *response.body_mut() = Body::from_stream(answer.bytes_stream());
            response
        }
        Err(error) if error.is_connect() => leader_not_reached(),
        Err(error) => outcome_unknown(&error.to_string()),
    }
}

/// Waits until the leader is heard no more, or is this node.
async fn until_lost(group: &ReplicaGroup) {
    while group.hears_leader(HEARD_WITHIN) {
        tokio::time::sleep(LOOKS_EVERY).await;
    }
}

fn leader_not_reached() -> Response {
    ApiError::unavailable(
        "leader-not-reached",
        1,
        "This node follows, and its leader is not reached. Nothing was changed; try again in a moment.",
    )
    .into_response()
}

fn outcome_unknown(error: &str) -> Response {
    tracing::warn!(error, "the leader's answer to a write that was passed on is lost");
    ApiError::unavailable(
        "outcome-unknown",
        1,
        "The leader's answer was lost on the way. Whether it is stored is unknown: read it before trying again.",
    )
    .into_response()
}

/// Without what concerns one connection alone.
fn without_own(mut headers: HeaderMap) -> HeaderMap {
    for name in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
}
