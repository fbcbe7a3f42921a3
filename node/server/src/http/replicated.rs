//! Writes that wait for followers: `Replication:MinSyncReplicas`.
//!
//! ```text
//!   write ─► durable here, its token in the answer ─► so many followers have it ─► Replication: replicated; …
//!                                                  └─ not in time ───────────────► Replication: durable; …
//! ```
//!
//! Every kind of write is waited for alike, because every one is answered with the token that names it; that a database is
//! dropped is none, and is waited for until followers have dropped it. What stays true:
//! the answer's status is the write's own; the header says how many followers had it, no more and no less. A write to the
//! cache that was answered before it was on disk has no token, and waits for nobody.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method};
use axum::response::Response;
use holdfast_core::id::DatabaseName;
use tower::{Layer, Service};

use crate::http::access::database_of;
use crate::http::token::Token;
use crate::http::wire::CONSISTENCY_TOKEN;
use crate::replica::ReplicaGroup;

/// How far a write has come when it is answered.
pub const REPLICATION: HeaderName = HeaderName::from_static("replication");

/// Left with the answer to what makes a database come or go: it has happened by this edition of the databases.
#[derive(Clone, Copy, Debug)]
pub struct DatabasesChanged(pub u64);

/// Makes writes wait for followers, while that is asked for.
#[derive(Clone, Debug)]
pub struct ReplicatedLayer {
    group: Arc<ReplicaGroup>,
}

impl ReplicatedLayer {
    /// For the followers of this group.
    pub fn new(group: Arc<ReplicaGroup>) -> Self {
        Self { group }
    }
}

impl<S> Layer<S> for ReplicatedLayer {
    type Service = Replicated<S>;

    fn layer(&self, inner: S) -> Replicated<S> {
        Replicated { inner, group: Arc::clone(&self.group) }
    }
}

/// What [`ReplicatedLayer`] makes of a service.
#[derive(Clone, Debug)]
pub struct Replicated<S> {
    inner: S,
    group: Arc<ReplicaGroup>,
}

impl<S> Service<Request> for Replicated<S>
where
    S: Service<Request, Response = Response>,
    S::Future: Send + 'static,
    S::Error: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Answering<S::Future, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let is_write = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if !is_write || self.group.wanted_replicas() == 0 {
            return Answering::AtOnce(Box::pin(self.inner.call(request)));
        }
        let database = database_of(request.headers()).ok();
        let answering = self.inner.call(request);
        let group = Arc::clone(&self.group);
        Answering::Replicated(Box::pin(async move { Ok(replicated(&group, database, answering.await?).await) }))
    }
}

/// An answer on its way.
#[allow(missing_debug_implementations)]
pub enum Answering<F, E> {
    /// Nobody is waited for.
    AtOnce(Pin<Box<F>>),
    /// Followers are.
    Replicated(Pin<Box<dyn Future<Output = Result<Response, E>> + Send>>),
}

impl<F, E> Future for Answering<F, E>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::AtOnce(answering) => answering.as_mut().poll(context),
            Self::Replicated(answering) => answering.as_mut().poll(context),
        }
    }
}

async fn replicated(group: &ReplicaGroup, database: Option<DatabaseName>, mut response: Response) -> Response {
    if !response.status().is_success() {
        return response;
    }
    let token = response.headers().get(CONSISTENCY_TOKEN).and_then(|token| token.to_str().ok()?.parse::<Token>().ok());
    let changed = response.extensions_mut().remove::<DatabasesChanged>();
    let reached = match (token, database, changed) {
        (_, _, Some(DatabasesChanged(edition))) => group.await_edition(edition).await,
        (Some(token), Some(database), None) => group.await_replicas(&database, &token).await,
        _ => return response,
    };
    let word = if reached.achieved >= reached.required { "replicated" } else { "durable" };
    let text = format!("{word}; achieved={}; required={}", reached.achieved, reached.required);
    if let Ok(value) = HeaderValue::try_from(text) {
        response.headers_mut().insert(REPLICATION, value);
    }
    response
}
