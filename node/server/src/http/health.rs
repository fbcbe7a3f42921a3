//! Whether the node lives, whether it can be used, and who it is. Answered without a key, and telling nothing
//! that needs one.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use holdfast_core::time::Millis;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock;
use crate::databases::Standing;
use crate::http::access::Caller;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::wire::{self, Timestamp};

/// The routes of this module.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(alive)).routes(routes!(ready)).routes(routes!(node))
}

/// A word about the node.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// `ok`; `read-only` while the disk is so full that writes are answered with 507.
    status: &'static str,
}

/// Who this node is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct NodeSummary {
    /// Its name.
    node_id: String,
    /// Its clock.
    #[schema(value_type = String, format = DateTime)]
    timestamp_utc: Timestamp,
    /// Databases that the key reaches; null without a key.
    logical_database_count: Option<usize>,
    /// The version that runs.
    version: &'static str,
}

/// Tells whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "Node", security(()), responses((status = 200, body = Health)))]
pub async fn alive() -> Response {
    wire::json(&Health { status: "ok" })
}

/// Tells whether the node can be used: 503 while it is being stopped, while a database is being opened again, and on a
/// follower that has never had all that its leader has.
///
/// A quarantined database does not count, because the others are served. While the disk is full the answer is 200 with
/// `read-only`, because reads are served.
#[utoipa::path(get, path = "/readyz", tag = "Node", security(()),
    responses((status = 200, body = Health), (status = 503)))]
pub async fn ready(State(app): State<App>) -> Response {
    if app.shutdown.is_begun() {
        return ApiError::unavailable("stopping", 5, "The node is being stopped.").into_response();
    }
    let is_reopening =
        |listing: &crate::databases::DatabaseListing| matches!(listing.standing, Standing::Reopening { .. });
    if app.databases.list().iter().any(is_reopening) {
        return ApiError::unavailable("database-reopening", 1, "A database is being opened again.").into_response();
    }
    if !app.group.is_whole() {
        let detail = "This node follows a leader and does not have everything from there yet; GET /replication/status tells \
                      how far it is.";
        return ApiError::unavailable("catching-up", 1, detail).into_response();
    }
    let is_full = |listing: &crate::databases::DatabaseListing| {
        let open = app.databases.get(&listing.name);
        open.is_ok_and(|open| open.counts().is_out_of_room.load(Ordering::Relaxed))
    };
    let status = if app.databases.list().iter().any(is_full) { "read-only" } else { "ok" };
    (StatusCode::OK, wire::json(&Health { status })).into_response()
}

/// Tells who this node is.
#[utoipa::path(get, path = "/node", tag = "Node", security(()), responses((status = 200, body = NodeSummary)))]
pub async fn node(State(app): State<App>, caller: Result<Caller, ApiError>) -> Response {
    let reached = |caller: &Caller| {
        let listings = app.databases.list();
        listings.iter().filter(|listing| caller.grant().reaches(&listing.name)).count()
    };
    wire::json(&NodeSummary {
        node_id: app.settings.node.node_id.clone(),
        timestamp_utc: Timestamp(Millis(clock::now_millis())),
        logical_database_count: caller.ok().as_ref().map(reached),
        version: env!("CARGO_PKG_VERSION"),
    })
}
