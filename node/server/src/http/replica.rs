//! `/replication/*`: leader and followers, as the predecessor's clients know them, with more fields.
//!
//! What stays true: only whoever runs the cluster is let in; a refusal changes nothing and says why.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRef, State};
use holdfast_core::id::NodeName;
use holdfast_core::limits::REPLICA_SECRET_BYTES_MAX;
use holdfast_core::replica::role::Denied;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::access::MayOperate;
use crate::http::app::App;
use crate::http::error::{ApiError, quoted};
use crate::http::extract::JsonBody;
use crate::http::refusal::sentence;
use crate::replica::status::GroupStatus;
use crate::replica::{GroupError, ReplicaGroup};
use crate::settings::secret::Secret;

/// How long a handover may take when nothing is said.
const HANDOVER_WITHIN_SECONDS: f64 = 30.0;
/// Longest time that may be asked for.
const SECONDS_MAX: f64 = 3_600.0;
/// Shortest silence after which a follower may take over: several heartbeats.
const SILENCE_SECONDS_MIN: f64 = 1.0;

/// The routes of this module.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(start_leader))
        .routes(routes!(start_follower))
        .routes(routes!(stop))
        .routes(routes!(read_only))
        .routes(routes!(read_write))
        .routes(routes!(promote))
        .routes(routes!(handover))
        .routes(routes!(enable_failover))
        .routes(routes!(disable_failover))
        .routes(routes!(set_sync_replicas))
        .routes(routes!(forget))
}

impl FromRef<App> for Arc<ReplicaGroup> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.group)
    }
}

/// Where followers are to connect.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortRequest {
    /// The port; the one of the settings if absent.
    #[serde(default)]
    port: Option<u16>,
    /// Whether to promote a node that is behind, or beside a leader that is there.
    #[serde(default)]
    force: bool,
}

/// Where followers are to connect, and how they prove themselves.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeadRequest {
    /// The port; the one of the settings if absent.
    #[serde(default)]
    port: Option<u16>,
    /// The secret that followers must know, in place of `Replication:Secret`; kept until the node stops leading.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    shared_secret: Option<Secret>,
}

/// Whom to follow.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FollowRequest {
    /// The leader's host.
    host: String,
    /// The leader's replication port.
    port: u16,
    /// Whether this node leaves the group that it belongs to, and what it holds is merged into the one that it joins.
    #[serde(default)]
    force: bool,
    /// The secret that the leader knows, in place of `Replication:Secret`; kept until the node stops following.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    shared_secret: Option<Secret>,
}

/// To whom the lead goes.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HandoverRequest {
    /// The follower; the one that is furthest if absent.
    #[serde(default)]
    to: Option<String>,
    /// Most time that it may take, in seconds; 30 if absent.
    #[serde(default)]
    timeout_seconds: Option<f64>,
}

/// When a follower takes over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailoverRequest {
    /// After so many seconds of silence, at least 1.
    silence_seconds: f64,
    /// On this port; the one of the settings if absent.
    #[serde(default)]
    new_leader_port: Option<u16>,
}

/// A node that is gone for good.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForgetRequest {
    /// Its name.
    node: String,
}

/// How many followers a write waits for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SyncReplicasRequest {
    /// How many must have it before it is answered; 0 for none.
    min_sync_replicas: u64,
    /// How long it waits for them, in seconds; as it was if absent.
    #[serde(default)]
    sync_timeout_seconds: Option<f64>,
}

/// What has been done.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// Always true: what fails is an error.
    success: bool,
    /// What the node is now.
    role: &'static str,
    /// Kept for clients of the predecessor: as `role`, after a promotion.
    #[serde(skip_serializing_if = "Option::is_none")]
    new_role: Option<&'static str>,
    /// The port on which followers are awaited.
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// Whom it follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<String>,
    /// Whether clients are refused writes.
    read_only: bool,
    /// Number of the newest epoch.
    epoch: u64,
    /// Seconds of silence after which it takes over.
    #[serde(skip_serializing_if = "Option::is_none")]
    silence_seconds: Option<f64>,
    /// The port on which it then leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    new_leader_port: Option<u16>,
}

/// How a handover went.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HandoverResult {
    /// Always true: what fails is an error.
    success: bool,
    /// Who leads now.
    new_leader: String,
    /// In which epoch.
    epoch: String,
    /// Operations that both had when the lead changed.
    final_seq: u64,
    /// For how long nobody took writes, in milliseconds.
    writes_unavailable_ms: u64,
}

/// Tells how this node leads or follows, and how far everybody is.
#[utoipa::path(get, path = "/replication/status", tag = "Leader and followers",
    responses((status = 200, body = GroupStatus), (status = 401)))]
pub(crate) async fn status(_may: MayOperate, State(group): State<Arc<ReplicaGroup>>) -> Json<GroupStatus> {
    // It measures what followers lack, in the log.
    Json(tokio::task::block_in_place(|| group.status()))
}

/// Leads from now on.
#[utoipa::path(post, path = "/replication/start-leader", tag = "Leader and followers", request_body = LeadRequest,
    responses((status = 200, body = Done), (status = 400), (status = 401), (status = 409)))]
pub(crate) async fn start_leader(
    _may: MayOperate,
    State(group): State<Arc<ReplicaGroup>>,
    JsonBody(request): JsonBody<LeadRequest>,
) -> Result<Json<Done>, ApiError> {
    let secret = shared_secret(request.shared_secret)?;
    let port = group.start_leader(request.port, secret).await.map_err(refused)?;
    Ok(Json(Done { port: Some(port), ..done(&group) }))
}

/// Follows from now on. The connection is made in the background: `GET /replication/status` tells how it goes.
#[utoipa::path(post, path = "/replication/start-follower", tag = "Leader and followers", request_body = FollowRequest,
    responses((status = 200, body = Done), (status = 400), (status = 401), (status = 409)))]
pub(crate) async fn start_follower(
    _may: MayOperate,
    State(group): State<Arc<ReplicaGroup>>,
    JsonBody(request): JsonBody<FollowRequest>,
) -> Result<Json<Done>, ApiError> {
    let host = request.host.trim();
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') || request.port == 0 {
        return Err(ApiError::bad_request(
            "invalid-leader",
            "Name the leader's host, without http://, and its replication port.",
        ));
    }
    let secret = shared_secret(request.shared_secret)?;
    group.start_follower(host, request.port, secret, request.force).map_err(refused)?;
    let leader = Some(format!("{host}:{}", request.port));
    Ok(Json(Done { leader, ..done(&group) }))
}

/// Neither leads nor follows any more. What is here stays, and this node takes writes.
#[utoipa::path(post, path = "/replication/stop", tag = "Leader and followers",
    responses((status = 200, body = Done), (status = 401)))]
pub(crate) async fn stop(_may: MayOperate, State(group): State<Arc<ReplicaGroup>>) -> Result<Json<Done>, ApiError> {
    group.stop_role().await.map_err(refused)?;
    Ok(Json(done(&group)))
}

/// Takes no writes from clients until it is told otherwise.
#[utoipa::path(post, path = "/replication/read-only", tag = "Leader and followers",
    responses((status = 200, body = Done), (status = 401)))]
pub(crate) async fn read_only(
    _may: MayOperate,
    State(group): State<Arc<ReplicaGroup>>,
) -> Result<Json<Done>, ApiError> {
    group.set_read_only(true).map_err(refused)?;
    // Writes that were on their way are done when this is answered.
    group.databases().barrier().await.map_err(crate::http::refusal::not_submitted)?;
    Ok(Json(done(&group)))
}

/// Takes writes again.
#[utoipa::path(post, path = "/replication/read-write", tag = "Leader and followers",
    responses((status = 200, body = Done), (status = 401), (status = 409, description = "It follows")))]
pub(crate) async fn read_write(
    _may: MayOperate,
    State(group): State<Arc<ReplicaGroup>>,
) -> Result<Json<Done>, ApiError> {
    group.set_read_only(false).map_err(refused)?;
    Ok(Json(done(&group)))
}

/// Makes this node the leader. Refused while its leader is there and takes writes, or while it is behind, unless `force` says
/// so: a handover loses nothing and needs no force, nor does a leader that was made read-only.
#[utoipa::path(post, path = "/replication/promote", tag = "Leader and followers", request_body = PortRequest,
    responses((status = 200, body = Done), (status = 400), (status = 401), (status = 409)))]
pub(crate) async fn promote(
    _may: MayOperate,
    State(group): State<Arc<ReplicaGroup>>,
    request: Option<JsonBody<PortRequest>>,
) -> Result<Json<Done>, ApiError> {
    let request = request.map(|JsonBody(request)| request).unwrap_or_default();
    let port = group.promote(request.port, request.force).await.map_err(refused)?;
    Ok(Json(Done { port: Some(port), new_role: Some("leader"), ..done(&group) }))
}

/// Hands the lead over to a follower, once it has everything; fails back to this node if that does not work in time.
#[utoipa::path(post, path = "/replication/handover", tag = "Leader and followers", request_body = HandoverRequest,
    responses((status = 200, body = HandoverResult), (status = 400), (status = 401), (status = 409),
        (status = 504, description = "Not in time: this node leads on")))]
pub(crate) async fn handover(
    _may: MayOperate,
    State(group): State<Arc<ReplicaGroup>>,
    request: Option<JsonBody<HandoverRequest>>,
) -> Result<Json<HandoverResult>, ApiError> {
    let request = request.map(|JsonBody(request)| request).unwrap_or_default();
    let to = request.to.as_deref().map(NodeName::parse).transpose()?;
    let within = seconds("timeoutSeconds", request.timeout_seconds.unwrap_or(HANDOVER_WITHIN_SECONDS), 0.1)?;
    // It goes on when the caller goes away: half of it must not stay.
    let handing = tokio::spawn(async move { group.hand_over(to, within).await });
    let handed = handing.await.map_err(|_| ApiError::internal())?.map_err(refused)?;
    Ok(Json(HandoverResult {
        success: true,
        new_leader: handed.to.to_string(),
        epoch: handed.epoch,
        final_seq: handed.operations,
        writes_unavailable_ms: u64::try_from(handed.unavailable.as_millis()).unwrap_or(u64::MAX),
    }))
}

/// Takes over when the leader is silent for so long.
#[utoipa::path(post, path = "/replication/auto-failover/enable", tag = "Leader and followers",
    request_body = FailoverRequest,
    responses((status = 200, body = Done), (status = 400), (status = 401), (status = 409)))]
pub(crate) async fn enable_failover(
    _may: MayOperate,
    State(group): State<Arc<ReplicaGroup>>,
    JsonBody(request): JsonBody<FailoverRequest>,
) -> Result<Json<Done>, ApiError> {
    let silence = seconds("silenceSeconds", request.silence_seconds, SILENCE_SECONDS_MIN)?;
    group.enable_failover(silence, request.new_leader_port).map_err(refused)?;
    let new_leader_port = Some(group.port_to_lead());
    Ok(Json(Done { silence_seconds: Some(request.silence_seconds), new_leader_port, ..done(&group) }))
}

/// Counts no more with a node that is gone for good: its vote is not waited for. The leader alone does that.
#[utoipa::path(post, path = "/replication/forget", tag = "Leader and followers", request_body = ForgetRequest,
    responses((status = 200, body = Done), (status = 400), (status = 401), (status = 409)))]
pub(crate) async fn forget(
    _may: MayOperate,
    State(group): State<Arc<ReplicaGroup>>,
    JsonBody(request): JsonBody<ForgetRequest>,
) -> Result<Json<Done>, ApiError> {
    group.forget(&NodeName::parse(&request.node)?).map_err(refused)?;
    Ok(Json(done(&group)))
}

/// Leaves taking over to others.
#[utoipa::path(post, path = "/replication/auto-failover/disable", tag = "Leader and followers",
    responses((status = 200, body = Done), (status = 401)))]
pub(crate) async fn disable_failover(
    _may: MayOperate,
    State(group): State<Arc<ReplicaGroup>>,
) -> Result<Json<Done>, ApiError> {
    group.disable_failover().map_err(refused)?;
    Ok(Json(done(&group)))
}

/// Sets how many followers must have a write before it is answered, while the node runs.
#[utoipa::path(post, path = "/replication/sync-replicas", tag = "Leader and followers",
    request_body = SyncReplicasRequest, responses((status = 200, body = Done), (status = 400), (status = 401)))]
pub(crate) async fn set_sync_replicas(
    _may: MayOperate,
    State(group): State<Arc<ReplicaGroup>>,
    JsonBody(request): JsonBody<SyncReplicasRequest>,
) -> Result<Json<Done>, ApiError> {
    let most = holdfast_core::limits::REPLICA_FOLLOWERS_MAX as u64;
    if request.min_sync_replicas > most {
        return Err(ApiError::bad_request(
            "invalid-parameter",
            format!("minSyncReplicas must be at most {most}, the most followers that a leader has."),
        ));
    }
    let within = match request.sync_timeout_seconds {
        Some(given) => seconds("syncTimeoutSeconds", given, 0.01)?,
        None => group.sync_replicas().1,
    };
    group.set_sync_replicas(request.min_sync_replicas, within).map_err(refused)?;
    Ok(Json(done(&group)))
}

fn done(group: &ReplicaGroup) -> Done {
    Done {
        success: true,
        role: group.role().as_str(),
        new_role: None,
        port: None,
        leader: None,
        read_only: group.databases().gate().closed().is_some(),
        epoch: group.epoch_number(),
        silence_seconds: None,
        new_leader_port: None,
    }
}

fn seconds(name: &str, given: f64, least: f64) -> Result<Duration, ApiError> {
    if !(least..=SECONDS_MAX).contains(&given) {
        return Err(ApiError::bad_request(
            "invalid-parameter",
            format!("{name} must be between {least} and {SECONDS_MAX} seconds."),
        ));
    }
    Ok(Duration::from_secs_f64(given))
}

/// Refuses a secret that would not be one, without telling it.
fn shared_secret(given: Option<Secret>) -> Result<Option<Secret>, ApiError> {
    let refuse = |what| Err(ApiError::bad_request("invalid-secret", format!("The field 'sharedSecret' {what}")));
    match given {
        Some(secret) if secret.is_blank() => refuse("is empty. Leave it out to use Replication:Secret."),
        Some(secret) if secret.expose().trim() != secret.expose() => refuse("has blanks around it. Remove them."),
        Some(secret) if secret.expose().len() > REPLICA_SECRET_BYTES_MAX => {
            refuse(&format!("has more than {REPLICA_SECRET_BYTES_MAX} bytes. `holdfast keys new` makes a good one."))
        }
        given => Ok(given),
    }
}

fn refused(error: GroupError) -> ApiError {
    let detail = sentence(&error.to_string());
    match error {
        GroupError::Denied(Denied::IsLeader) => {
            ApiError::bad_request("is-leader", detail).with_error("Logical replication server already running.")
        }
        GroupError::Denied(denied) => ApiError::conflict(denied.code(), detail),
        GroupError::Kept(error) => {
            tracing::error!(%error, "what this node has decided could not be written down");
            ApiError::unavailable(
                "not-remembered",
                5,
                "The disk failed while this was written down; nothing was changed. Free space on the node and try again.",
            )
        }
        GroupError::Port { port, reason } => ApiError::conflict(
            "port-in-use",
            format!("Port {port} for followers cannot be opened: {}. Choose another.", quoted(&reason)),
        ),
        GroupError::Handover(_) => ApiError::new(
            axum::http::StatusCode::GATEWAY_TIMEOUT,
            "handover-failed",
            format!("{detail} This node leads on."),
        ),
        GroupError::Unknown(_) | GroupError::Tls(_) => ApiError::conflict("not-possible", detail),
    }
}
