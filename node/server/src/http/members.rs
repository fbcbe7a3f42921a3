//! `/api/replication/members` and pruning: whom a database counts with, and what it keeps for them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use holdfast_core::members::{FenceReason, Members};
use holdfast_core::vector::{Origin, Vector};
use holdfast_storage::error::StorageError;
use holdfast_storage::request::{Answer, Request};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::databases::{Asker, OpenDatabase};
use crate::http::access::{MayOperate, database_of};
use crate::http::app::App;
use crate::http::error::{ApiError, quoted};
use crate::http::extract::JsonBody;
use crate::http::refusal::{not_submitted, storage_failed, unavailable};
use crate::http::wire;
use crate::http::writes::token_of_all;
use crate::sync::Sync;
use crate::sync::status::TombstonesKept;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(members)).routes(routes!(fence)).routes(routes!(prune))
}

/// Whom a database counts with.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct MembersResponse {
    /// The database.
    pub database_name: String,
    /// This node, as the database knows it.
    pub origin: String,
    /// Markers of deleted documents that are kept until every member knows of them.
    pub tombstones: u64,
    /// What these wait for.
    pub tombstones_kept: TombstonesKept,
    /// Members, fenced ones included.
    pub members: Vec<MemberStatus>,
}

/// How a node stands with a database.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct MemberStatus {
    /// The node.
    pub node_id: String,
    /// Which life of it.
    pub origin: String,
    /// `Member`, or why it is no longer counted with: `Lapsed`, `Retired`, `Forced`.
    pub standing: &'static str,
    /// Operations known here that it has not acknowledged.
    pub unacknowledged_operations: u64,
    /// Whether anything is kept because of it.
    pub is_waited_for: bool,
    /// Seconds since it was last heard, directly or through others; null when it was not since this node started.
    pub silent_seconds: Option<u64>,
    /// Seconds of silence that count against its lease: only while this node was in contact with a majority.
    pub lease_silence_seconds: u64,
}

/// A member to count out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct FenceRequest {
    /// The member: its name, or name@incarnation.
    #[serde(alias = "member")]
    pub member: String,
    /// Must be true: what a fenced member holds and nobody else has comes back only when it returns.
    #[serde(alias = "force", default)]
    pub force: bool,
}

/// What pruning one database came to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct PruneResult {
    /// The database.
    pub database_name: String,
    /// `Pruned`, `Skipped` or `Error`.
    pub status: &'static str,
    /// Why.
    pub reason: String,
    /// Up to here entries might have gone.
    pub prune_through_log_sequence: u64,
    /// Entries that went.
    pub pruned_count: u64,
    /// The newest that went; null when none did.
    pub max_pruned_log_sequence: Option<u64>,
    /// Always 0: what was pruned is recognised by vectors, without receipts.
    pub pruned_receipt_count: u64,
}

/// How the members of a database stand.
pub fn members_of(sync: &Sync, database: &OpenDatabase) -> Result<Vec<MemberStatus>, StorageError> {
    let state = database.view()?.state()?;
    let acknowledgements = database.acknowledgements()?;
    let me = database.origin();
    let waited: Vec<&Origin> = acknowledgements.waiting_for(&state.members, me, &state.vector).collect();
    let status = |(origin, fenced): (&Origin, Option<FenceReason>)| {
        let known = if origin == me { state.vector.clone() } else { acknowledgements.newest_of(origin) };
        MemberStatus {
            node_id: origin.node.to_string(),
            origin: origin.to_string(),
            standing: match fenced {
                None => "Member",
                Some(FenceReason::Lapsed) => "Lapsed",
                Some(FenceReason::Retired) => "Retired",
                Some(FenceReason::Forced) => "Forced",
            },
            unacknowledged_operations: known.missing_from(&state.vector),
            is_waited_for: waited.contains(&origin),
            silent_seconds: sync.contacts().silent_since(database.name(), origin).map(|silent| silent.as_secs()),
            lease_silence_seconds: sync.contacts().silent_for(database.name(), origin).as_secs(),
        }
    };
    Ok(state.members.iter().map(|(origin, membership)| status((origin, membership.fenced))).collect())
}

/// Lists the nodes that a database counts with, how far each has acknowledged it, and who is waited for.
#[utoipa::path(get, path = "/api/replication/members", tag = "Replication",
    responses((status = 200, body = MembersResponse), (status = 401), (status = 404)))]
pub(crate) async fn members(
    _may: MayOperate,
    State(sync): State<Arc<Sync>>,
    headers: HeaderMap,
) -> Result<Json<MembersResponse>, ApiError> {
    let database = sync.databases().get(&database_of(&headers)?).map_err(unavailable)?;
    let look = || -> Result<MembersResponse, StorageError> {
        let tombstones = database.view()?.collections()?.iter().map(|(_, state)| state.tombstones).sum();
        Ok(MembersResponse {
            database_name: database.name().to_string(),
            origin: database.origin().to_string(),
            tombstones,
            tombstones_kept: database.kept()?.into(),
            members: members_of(&sync, &database)?,
        })
    };
    look().map(Json).map_err(|error| storage_failed(&error))
}

/// Counts a member out by an operator's decision: nothing is kept for it any more. When it returns, it takes the
/// others' states first and writes again whatever only it holds.
#[utoipa::path(post, path = "/api/replication/members/fence", tag = "Replication", request_body = FenceRequest,
    responses((status = 200, body = MembersResponse), (status = 400), (status = 401), (status = 404)))]
pub(crate) async fn fence(
    may: MayOperate,
    State(sync): State<Arc<Sync>>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<FenceRequest>,
) -> Result<Response, ApiError> {
    if !request.force {
        return Err(ApiError::bad_request(
            "force-required",
            "Fencing by hand can split a cluster: send \"Force\": true if the member is gone for good or long.",
        ));
    }
    sync.databases().at_gate(Asker::Client).map_err(unavailable)?;
    let database = sync.databases().get(&database_of(&headers)?).map_err(unavailable)?;
    let state = database.view().and_then(|view| view.state()).map_err(|error| storage_failed(&error))?;
    let member = find(&state.members, &state.vector, &request.member)?;
    if member == *database.origin() {
        return Err(ApiError::conflict("own-node", "A node cannot fence itself."));
    }
    tracing::warn!(database = %database.name(), member = %member, "fenced by an operator");
    let fence = Some(FenceReason::Forced);
    let answer = database.submit(Request::Member { member, fence }).await.map_err(not_submitted)?;
    if !matches!(answer, Answer::Member(_)) {
        return Err(ApiError::internal());
    }
    let token = token_of_all(&database)?;
    let told = members(may, State(sync), headers).await?;
    Ok(wire::with_token(told.into_response(), &token))
}

fn find(members: &Members, writers: &Vector, name: &str) -> Result<Origin, ApiError> {
    let is_meant = |origin: &&Origin| origin.to_string() == name || origin.node.as_str() == name;
    let others = members.iter().map(|(origin, _)| origin).chain(writers.iter().map(|(origin, _)| origin));
    let found = members.active().chain(others).find(is_meant);
    found.cloned().ok_or_else(|| {
        ApiError::not_found("member-not-found", format!("There is no member {} in this database.", quoted(name)))
    })
}

/// Prunes the logs of all databases now, as far as the settings allow.
#[utoipa::path(post, path = "/api/replication/operation-log/prune", tag = "Replication",
    responses((status = 200, body = [PruneResult]), (status = 401)))]
pub(crate) async fn prune(_may: MayOperate, State(sync): State<Arc<Sync>>) -> Result<Json<Vec<PruneResult>>, ApiError> {
    let mut results = Vec::new();
    for listing in sync.databases().list() {
        let database_name = listing.name.to_string();
        let empty = |status, reason: String| PruneResult {
            database_name: database_name.clone(),
            status,
            reason,
            prune_through_log_sequence: 0,
            pruned_count: 0,
            max_pruned_log_sequence: None,
            pruned_receipt_count: 0,
        };
        let report = match sync.databases().get(&listing.name) {
            Ok(database) => database.prune().await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        results.push(match report {
            Err(reason) => empty("Error", reason),
            Ok(report) if !report.is_enabled => continue,
            Ok(report) if report.pruned.entries == 0 => PruneResult {
                prune_through_log_sequence: report.through.0,
                ..empty(
                    "Skipped",
                    "Nothing is old enough, confirmed by all live peers and beyond the retained window.".to_owned(),
                )
            },
            Ok(report) => PruneResult {
                prune_through_log_sequence: report.through.0,
                pruned_count: report.pruned.entries,
                max_pruned_log_sequence: Some(report.pruned.through.0),
                ..empty("Pruned", "Peers that need what went get states instead.".to_owned())
            },
        });
    }
    Ok(Json(results))
}
