//! `/api/replication/verify`, and what peers ask each other while one of them looks for differences.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRef, State};
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::limits::EXCHANGE_BYTES_MAX;
use holdfast_core::sync::ranges::{
    AuditRecord, AuditRequest, DocumentsRequest, DocumentsResponse, MendRequest, MendResponse, RangesRequest,
    RangesResponse, RowsRequest, RowsResponse,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::databases::OpenDatabase;
use crate::http::access::{AccessControl, MayOperate, database_named, database_of};
use crate::http::error::ApiError;
use crate::http::extract::JsonBody;
use crate::http::from_peer::{BringingPeer, FromPeer};
use crate::http::refusal::{not_submitted, sentence, storage_failed, unavailable};
use crate::http::replication::check_protocol;
use crate::sync::Sync;
use crate::sync::soundness::{self, SoundnessError};
use crate::sync::survey::Key;
use crate::sync::verify::{
    self, AUDIT_PATH, DOCUMENTS_PATH, MEND_PATH, Order, Preference, RANGES_PATH, ROWS_PATH, VerifyError, VerifyReport,
};

/// The routes of this file.
pub fn routes<S>() -> Router<S>
where
    S: Clone + Send + std::marker::Sync + 'static,
    Arc<Sync>: FromRef<S>,
    Arc<AccessControl>: FromRef<S>,
{
    let between_nodes = Router::new()
        .route(RANGES_PATH, post(ranges))
        .route(ROWS_PATH, post(rows))
        .route(DOCUMENTS_PATH, post(documents))
        .route(MEND_PATH, post(mend))
        .route(AUDIT_PATH, post(audit))
        .layer(DefaultBodyLimit::max(EXCHANGE_BYTES_MAX));
    Router::new().route("/api/replication/verify", post(verify)).merge(between_nodes)
}

/// What is to be verified.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct VerifyRequest {
    /// The peer; all active ones when absent.
    #[serde(alias = "peer", default)]
    pub peer: Option<String>,
    /// The database; all when absent.
    #[serde(alias = "database", default)]
    pub database: Option<String>,
    /// Whether differences are settled.
    #[serde(alias = "repair", default)]
    pub repair: bool,
    /// Which side is right where no log can tell; without it, such documents are left for a person.
    #[serde(alias = "prefer", default)]
    pub prefer: Option<Preference>,
}

/// What was found.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct VerifyResponse {
    /// Whether every peer shows the same in every database.
    pub is_equal: bool,
    /// When the search ended.
    pub finished_utc: String,
    /// What was found with each peer in each database.
    pub results: Vec<VerifyReport>,
    /// Where nothing could be said, and why.
    pub failures: Vec<VerifyFailure>,
}

/// A peer and a database that could not be verified.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct VerifyFailure {
    /// The peer.
    pub peer_node_id: String,
    /// The database.
    pub database_name: String,
    /// Why.
    pub error: String,
}

/// Looks for documents that differ between this node and its peers, and settles them if told to.
///
/// A document that is not what its own log makes of it is made again from that log; one that only one side can vouch
/// for is taken from there; sides that each lack operations are joined. What no log can decide is left for a person.
#[utoipa::path(post, path = "/api/replication/verify", tag = "Replication", request_body = VerifyRequest,
    responses((status = 200, body = VerifyResponse), (status = 400), (status = 401), (status = 404)))]
pub(crate) async fn verify(
    _may: MayOperate,
    State(sync): State<Arc<Sync>>,
    JsonBody(request): JsonBody<VerifyRequest>,
) -> Result<Json<VerifyResponse>, ApiError> {
    let keys = chosen(&sync, &request)?;
    let order = Order { repair: request.repair, is_automatic: false, prefer: request.prefer };
    let (mut results, mut failures) = (Vec::new(), Vec::new());
    for key in keys {
        match verify::verify(&sync, &key, order).await {
            Ok(report) => results.push(report),
            Err(VerifyError::Busy) => {
                return Err(ApiError::conflict("verify-running", sentence(&VerifyError::Busy.to_string())));
            }
            Err(error) => failures.push(VerifyFailure {
                peer_node_id: key.0.to_string(),
                database_name: key.1.to_string(),
                error: error.to_string(),
            }),
        }
    }
    let is_equal = failures.is_empty() && results.iter().all(|report| report.is_equal);
    Ok(Json(VerifyResponse { is_equal, finished_utc: verify::now_text(), results, failures }))
}

/// The sessions that are meant.
fn chosen(sync: &Sync, request: &VerifyRequest) -> Result<Vec<Key>, ApiError> {
    let peer = request.peer.as_deref().map(NodeName::parse).transpose()?;
    let database: Option<DatabaseName> = request.database.as_deref().map(database_named).transpose()?;
    let is_meant = |key: &Key| {
        peer.as_ref().is_none_or(|peer| *peer == key.0) && database.as_ref().is_none_or(|database| *database == key.1)
    };
    let keys: Vec<Key> = sync.session_keys().into_iter().filter(is_meant).collect();
    if keys.is_empty() {
        return Err(ApiError::not_found(
            "not-synced",
            "No active peer of this node syncs such a database. GET /api/replication/status lists the peers and databases.",
        ));
    }
    Ok(keys)
}

/// Tells a peer the digests of stretches of documents.
#[utoipa::path(post, path = "/api/replication/ranges", tag = "Replication", request_body = Object,
    responses((status = 200, description = "A digest for each stretch", body = Object), (status = 400), (status = 401), (status = 404)))]
pub(crate) async fn ranges(
    _from: FromPeer,
    State(sync): State<Arc<Sync>>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<RangesRequest>,
) -> Result<Json<RangesResponse>, ApiError> {
    check_protocol(request.protocol)?;
    let open = asked(&sync, &headers)?;
    Ok(Json(tokio::task::block_in_place(|| soundness::answer_ranges(&open, &request))?))
}

/// Tells a peer the documents of a stretch, with their digests.
#[utoipa::path(post, path = "/api/replication/rows", tag = "Replication", request_body = Object,
    responses((status = 200, description = "Documents with their digests", body = Object), (status = 400), (status = 401), (status = 404)))]
pub(crate) async fn rows(
    _from: FromPeer,
    State(sync): State<Arc<Sync>>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<RowsRequest>,
) -> Result<Json<RowsResponse>, ApiError> {
    check_protocol(request.protocol)?;
    let open = asked(&sync, &headers)?;
    Ok(Json(tokio::task::block_in_place(|| soundness::answer_rows(&open, &request))?))
}

/// Tells a peer all that is known of some documents, and whether this node's log bears it out.
#[utoipa::path(post, path = "/api/replication/documents", tag = "Replication", request_body = Object,
    responses((status = 200, description = "The states of documents", body = Object), (status = 400), (status = 401), (status = 404)))]
pub(crate) async fn documents(
    _from: FromPeer,
    State(sync): State<Arc<Sync>>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<DocumentsRequest>,
) -> Result<Json<DocumentsResponse>, ApiError> {
    check_protocol(request.protocol)?;
    let open = asked(&sync, &headers)?;
    Ok(Json(soundness::answer_documents(&open, &request).await?))
}

/// Takes states of documents from a peer that has found a difference.
#[utoipa::path(post, path = "/api/replication/mend", tag = "Replication", request_body = Object,
    responses((status = 200, description = "How many documents changed", body = Object), (status = 400), (status = 401), (status = 404)))]
pub(crate) async fn mend(
    _from: BringingPeer,
    State(sync): State<Arc<Sync>>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<MendRequest>,
) -> Result<Json<MendResponse>, ApiError> {
    check_protocol(request.protocol)?;
    let open = asked(&sync, &headers)?;
    Ok(Json(soundness::answer_mend(&open, &request).await?))
}

/// Reads every document of a database for a peer that looks for differences.
#[utoipa::path(post, path = "/api/replication/audit", tag = "Replication", request_body = Object,
    responses((status = 200, description = "What was found", body = Object), (status = 400), (status = 401), (status = 404)))]
pub(crate) async fn audit(
    _from: FromPeer,
    State(sync): State<Arc<Sync>>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<AuditRequest>,
) -> Result<Json<AuditRecord>, ApiError> {
    check_protocol(request.protocol)?;
    let open = asked(&sync, &headers)?;
    Ok(Json(soundness::audit(&sync, &open, request.repair).await?))
}

/// The database that a peer asks about; one that is not here is not created.
fn asked(sync: &Sync, headers: &HeaderMap) -> Result<Arc<OpenDatabase>, ApiError> {
    sync.databases().get(&database_of(headers)?).map_err(unavailable)
}

impl From<SoundnessError> for ApiError {
    fn from(error: SoundnessError) -> Self {
        match error {
            SoundnessError::Refused(refusal) => refusal.into(),
            SoundnessError::Storage(error) => storage_failed(&error),
            SoundnessError::NotWritten(error) => not_submitted(error),
        }
    }
}
