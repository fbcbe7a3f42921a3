//! `/api/replication/states` and `/api/replication/branch`: for peers that cannot catch up by operations.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRef, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use holdfast_core::id::NodeName;
use holdfast_core::sync::states::{BranchRequest, BranchResponse, StatesRequest};

use crate::http::access::{AccessControl, database_of};
use crate::http::error::ApiError;
use crate::http::extract::JsonBody;
use crate::http::from_peer::{FromPeer, not_switched_off};
use crate::http::refusal::{storage_failed, unavailable};
use crate::http::replication::check_protocol;
use crate::sync::Sync;
use crate::sync::states::{STATES_CONTENT_TYPE, page_for_peer};

/// The routes of this file.
pub fn routes<S>() -> Router<S>
where
    S: Clone + Send + std::marker::Sync + 'static,
    Arc<Sync>: FromRef<S>,
    Arc<AccessControl>: FromRef<S>,
{
    Router::new().route("/api/replication/states", post(states)).route("/api/replication/branch", post(branch))
}

/// Gives a peer a page of documents as they stand, by their last change, for when the log does not reach back.
#[utoipa::path(post, path = "/api/replication/states", tag = "Replication", request_body = Object,
    responses((status = 200, description = "A head as JSON, its length before it as four bytes, and a binary page", content_type = "application/x-holdfast-states", body = Vec<u8>), (status = 400), (status = 401), (status = 404)))]
pub(crate) async fn states(
    _from: FromPeer,
    State(sync): State<Arc<Sync>>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<StatesRequest>,
) -> Result<Response, ApiError> {
    check_protocol(request.protocol)?;
    if let Ok(source) = NodeName::parse(&request.requesting_node_id) {
        not_switched_off(&sync, &source)?;
    }
    let database = sync.databases().get(&database_of(&headers)?).map_err(unavailable)?;
    let standing = sync.standing(&database).map_err(|error| storage_failed(&error))?;
    let after = request.after(standing.log_id)?;
    let page = tokio::task::block_in_place(|| page_for_peer(&database, standing, &request, after));
    let body = page.map_err(|error| storage_failed(&error))?;
    Ok(([(header::CONTENT_TYPE, STATES_CONTENT_TYPE)], Bytes::from(body)).into_response())
}

/// Tells which operations of an origin this node's log holds, so that two branches of it are told apart.
#[utoipa::path(post, path = "/api/replication/branch", tag = "Replication", request_body = Object,
    responses((status = 200, description = "Operation ids by sequence", body = Object), (status = 400), (status = 401), (status = 404)))]
pub(crate) async fn branch(
    _from: FromPeer,
    State(sync): State<Arc<Sync>>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<BranchRequest>,
) -> Result<Json<BranchResponse>, ApiError> {
    let (origin, sequences) = request.parse()?;
    let database = sync.databases().get(&database_of(&headers)?).map_err(unavailable)?;
    let found = tokio::task::block_in_place(|| database.log()?.told_of(&origin, &sequences));
    let found = found.map_err(|error| storage_failed(&error))?;
    Ok(Json(BranchResponse::from(&found)))
}
