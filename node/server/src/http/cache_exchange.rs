//! `/api/replication/cache/*`: what nodes tell each other of their caches.

use std::sync::Arc;

use axum::extract::{FromRef, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use holdfast_core::id::NodeName;
use holdfast_core::limits::EXCHANGE_BYTES_MAX;
use holdfast_core::sync::message::vector_record;
use holdfast_core::time::Millis;

use crate::databases::Asker;
use crate::http::access::{AccessControl, database_of};
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extract::{JsonBody, RawBody};
use crate::http::from_peer::{BringingPeer, FromPeer, not_switched_off};
use crate::http::refusal::{not_submitted, storage_failed, unavailable};
use crate::http::replication::{database_for_peer, is_own_name, not_selected, own_name};
use crate::sync::cache::{self, AnswerError, CachePull, CachePushed, MEDIA_TYPE};
use crate::sync::{Sync, envelope};

/// The routes of this file.
pub fn routes<S>() -> Router<S>
where
    S: Clone + Send + std::marker::Sync + 'static,
    App: FromRef<S>,
    Arc<Sync>: FromRef<S>,
    Arc<AccessControl>: FromRef<S>,
{
    Router::new()
        .route("/api/replication/cache/push", post(push))
        .route("/api/replication/cache/pull", post(pull))
        .layer(axum::extract::DefaultBodyLimit::max(EXCHANGE_BYTES_MAX))
}

/// Takes in what changed in a peer's cache.
async fn push(
    _from: BringingPeer,
    State(sync): State<Arc<Sync>>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Json<CachePushed>, ApiError> {
    let message = cache::read_message(&body)?;
    check(&sync, &message.source)?;
    let name = database_of(&headers)?;
    if sync.registry().get(&message.source).is_some_and(|peer| !peer.accepts(&name)) {
        return Err(not_selected(&message.source, &name, "taken from"));
    }
    let database = database_for_peer(&sync, &headers).await?;
    let source = message.source.clone();
    let taken = cache::take(&database, Asker::Peer, message).await.map_err(not_submitted)?;
    // Of others nobody asks how it stands with them, and there may be any number of names.
    if sync.registry().get(&source).is_some() {
        sync.cache_counts().of(&source, &name).add_received(taken.changed);
    }
    let (all, own) = (taken.reach.all, taken.reach.own);
    let vector = vector_record(&taken.vector);
    Ok(Json(CachePushed { changed: taken.changed, vector, through: all.0, own_through: own.0 }))
}

/// Tells a peer what changed in the cache here.
async fn pull(
    _from: FromPeer,
    State(app): State<App>,
    headers: HeaderMap,
    JsonBody(question): JsonBody<CachePull>,
) -> Result<Response, ApiError> {
    let sync = &app.sync;
    let source = NodeName::parse(&question.source_node_id)?;
    check(sync, &source)?;
    let name = database_of(&headers)?;
    if sync.registry().get(&source).is_some_and(|peer| !peer.sends(&name)) {
        return Err(not_selected(&source, &name, "given to"));
    }
    let database = sync.databases().get(&name).map_err(unavailable)?;
    let skew_max = Millis(app.settings.node.max_clock_skew_seconds.saturating_mul(1_000));
    let sealed = tokio::task::block_in_place(|| {
        let answer = cache::answer(&database, &question, skew_max);
        answer.map(|message| (message.states.len() as u64, envelope::seal(&message.encode())))
    });
    let (keys, sealed) = sealed.map_err(|error| match error {
        AnswerError::Refused(refusal) => ApiError::from(refusal),
        AnswerError::Storage(error) => storage_failed(&error),
    })?;
    if sync.registry().get(&source).is_some() {
        sync.cache_counts().of(&source, &name).add_sent(keys);
    }
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], sealed).into_response())
}

fn check(sync: &Sync, source: &NodeName) -> Result<(), ApiError> {
    if is_own_name(source, sync) {
        return Err(own_name(source));
    }
    not_switched_off(sync, source)?;
    sync.contacted(source);
    Ok(())
}
