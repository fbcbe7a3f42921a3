//! `/db/{name}/replication/*`: leader and followers as one database sees them, for the predecessor's clients.
//!
//! A node leads or follows with all its databases at once: one log of who leads, one port, one stream. So the status is told
//! of each, and what changes a role is refused with the route that does it for the node. What stays true: nothing is changed
//! here; a caller who meant one database never moves the others.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use holdfast_core::id::DatabaseName;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::databases::Unavailable;
use crate::http::access::MayOperate;
use crate::http::app::App;
use crate::http::error::{ApiError, quoted};
use crate::http::extract::PathParts;
use crate::http::refusal::unavailable;
use crate::replica::ReplicaGroup;
use crate::replica::status::DatabaseGroupStatus;

/// What changes the role of a node, by its name in both tables of routes.
const VERBS: [&str; 7] = ["start-leader", "start-follower", "stop", "promote", "handover", "read-only", "read-write"];

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(database_status)).routes(routes!(refuse_verb))
}

/// Tells how this node leads or follows with one database, and how far everybody is with it.
#[utoipa::path(get, path = "/db/{name}/replication/status", tag = "Leader and followers",
    params(("name" = String, Path, description = "The database")),
    responses((status = 200, body = DatabaseGroupStatus), (status = 401), (status = 404)))]
pub(crate) async fn database_status(
    _may: MayOperate,
    State(group): State<Arc<ReplicaGroup>>,
    PathParts(name): PathParts<String>,
) -> Result<Json<DatabaseGroupStatus>, ApiError> {
    let name = DatabaseName::parse(&name)?;
    // It measures what followers lack, in the log.
    let told = tokio::task::block_in_place(|| group.database_status(&name));
    told.map(Json).ok_or_else(|| unavailable(Unavailable::NotFound(name)))
}

/// Refuses to change the role of one database: a node leads or follows with all of them. The answer names the route of the
/// node that does it.
#[utoipa::path(post, path = "/db/{name}/replication/{verb}", tag = "Leader and followers",
    params(("name" = String, Path, description = "The database"), ("verb" = String, Path, description = "What is to be done")),
    responses((status = 401), (status = 404), (status = 409, description = "It is done for the whole node")))]
pub(crate) async fn refuse_verb(
    _may: MayOperate,
    State(app): State<App>,
    PathParts((name, verb)): PathParts<(String, String)>,
) -> Result<Json<DatabaseGroupStatus>, ApiError> {
    let name = DatabaseName::parse(&name)?;
    app.existing(&name)?;
    if !VERBS.contains(&verb.as_str()) {
        return Err(ApiError::not_found("unknown-route", format!("There is nothing like {} here.", quoted(&verb))));
    }
    Err(ApiError::conflict(
        "whole-node",
        format!(
            "A node leads or follows with all its databases at once: POST /replication/{verb} does it for the node. Nothing \
             was changed."
        ),
    ))
}
