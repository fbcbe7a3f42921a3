//! `/api/cluster/peers`: who this node syncs with.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Router, response::IntoResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::access::{AccessControl, MayOperate};
use crate::http::error::ApiError;
use crate::http::extract::{JsonBody, PathParts};
use crate::http::refusal::{sentence, storage_failed};
use crate::sync::Sync;
use crate::sync::registry::{Peer, RegistryError, Selected};

/// The routes of this file.
pub fn routes<S>() -> Router<S>
where
    S: Clone + Send + std::marker::Sync + 'static,
    Arc<Sync>: FromRef<S>,
    Arc<AccessControl>: FromRef<S>,
{
    Router::new()
        .route("/api/cluster/peers", get(list_peers).post(register_peer))
        .route("/api/cluster/peers/{node}", delete(remove_peer))
}

/// A peer to register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PeerRequest {
    /// The peer's `Node:NodeId`.
    #[serde(alias = "nodeId")]
    pub node_id: String,
    /// Where it listens, such as `http://branch-2:1446`.
    #[serde(alias = "baseUrl")]
    pub base_url: String,
    /// Whether to sync with it now.
    #[serde(alias = "isActive", default = "yes")]
    pub is_active: bool,
    /// The databases to sync with it, both ways; all when absent.
    #[serde(alias = "databases", default)]
    pub databases: Option<Vec<String>>,
    /// The databases that go out to it; those of `Databases` when absent.
    #[serde(alias = "pushDatabases", default)]
    pub push_databases: Option<Vec<String>>,
    /// The databases that come in from it; those of `Databases` when absent.
    #[serde(alias = "pullDatabases", default)]
    pub pull_databases: Option<Vec<String>>,
    /// Ignored; accepted because answers hold it.
    #[serde(alias = "updatedUtc", default)]
    pub updated_utc: Option<String>,
    /// Ignored; accepted because answers hold it.
    #[serde(alias = "isSeed", default)]
    pub is_seed: Option<bool>,
}

/// A peer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct PeerResponse {
    /// Its name.
    pub node_id: String,
    /// Where it listens.
    pub base_url: String,
    /// Whether it is synced with.
    pub is_active: bool,
    /// When it was last changed.
    pub updated_utc: String,
    /// The databases that are synced with it, both ways; null for all.
    pub databases: Option<Vec<String>>,
    /// The databases that go out to it; null for those of `Databases`.
    pub push_databases: Option<Vec<String>>,
    /// The databases that come in from it; null for those of `Databases`.
    pub pull_databases: Option<Vec<String>>,
    /// Whether it comes from `Node:SeedPeers`.
    pub is_seed: bool,
}

fn yes() -> bool {
    true
}

impl From<Peer> for PeerResponse {
    fn from(peer: Peer) -> Self {
        let texts = |names: Option<Vec<holdfast_core::id::DatabaseName>>| {
            names.map(|names| names.iter().map(ToString::to_string).collect())
        };
        Self {
            node_id: peer.node.to_string(),
            base_url: peer.base_url,
            is_active: peer.is_active,
            updated_utc: peer.updated.to_utc_text(),
            databases: texts(peer.databases),
            push_databases: texts(peer.push_databases),
            pull_databases: texts(peer.pull_databases),
            is_seed: peer.is_seed,
        }
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Refused(refusal) => refusal.into(),
            RegistryError::NotFound(_) => ApiError::not_found("peer-not-found", error.to_string()),
            RegistryError::SameUrl(_) => ApiError::conflict("same-base-url", sentence(&error.to_string())),
            RegistryError::Seed(_) => ApiError::conflict("seed-peer", error.to_string()),
            RegistryError::Storage(storage) => storage_failed(&storage),
            RegistryError::Client(_) => ApiError::internal(),
        }
    }
}

/// Lists the peers of this node.
#[utoipa::path(get, path = "/api/cluster/peers", tag = "Cluster", responses((status = 200, body = [PeerResponse])))]
pub(crate) async fn list_peers(_may: MayOperate, State(sync): State<Arc<Sync>>) -> Json<Vec<PeerResponse>> {
    Json(sync.registry().list().into_iter().map(PeerResponse::from).collect())
}

/// Registers a peer, or changes what is known of it. Sync with it begins at once.
#[utoipa::path(post, path = "/api/cluster/peers", tag = "Cluster", request_body = PeerRequest,
    responses((status = 200, body = PeerResponse)))]
pub(crate) async fn register_peer(
    _may: MayOperate,
    State(sync): State<Arc<Sync>>,
    JsonBody(peer): JsonBody<PeerRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let registry = sync.registry();
    let selected = Selected {
        both: peer.databases.as_deref(),
        push: peer.push_databases.as_deref(),
        pull: peer.pull_databases.as_deref(),
    };
    registry.register(&peer.node_id, &peer.base_url, peer.is_active, selected)?;
    let node = holdfast_core::id::NodeName::parse(&peer.node_id)?;
    let registered = registry.get(&node).ok_or_else(ApiError::internal)?;
    Ok(Json(PeerResponse::from(registered)))
}

/// Forgets a peer. Its data and ours stay as they are.
#[utoipa::path(delete, path = "/api/cluster/peers/{node}", tag = "Cluster", params(("node" = String, Path)),
    responses((status = 204), (status = 404)))]
pub(crate) async fn remove_peer(
    _may: MayOperate,
    State(sync): State<Arc<Sync>>,
    PathParts(node): PathParts<String>,
) -> Result<StatusCode, ApiError> {
    sync.registry().remove(&node)?;
    Ok(StatusCode::NO_CONTENT)
}
