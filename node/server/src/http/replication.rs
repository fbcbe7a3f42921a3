//! `/api/replication/*`: what peers say to each other, and how sync is doing.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequest, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::limits::{EXCHANGE_BYTES_MAX, EXCHANGE_COMPACT_OPERATIONS, EXCHANGE_OPERATIONS_MAX};
use holdfast_core::sync::admission::Admission;
use holdfast_core::sync::compact::MEDIA_TYPE;
use holdfast_core::sync::forwarding::Filter;
use holdfast_core::sync::message::{
    PROTOCOL, PullRequest, PushRequest, PushResponse, StandingRecord, parse_hex, parse_vector,
};
use holdfast_core::vector::{Origin, Position, Vector};
use holdfast_storage::request::{Answer, Misfit, Request as WriterRequest};

use crate::databases::{Asker, OpenDatabase, Unavailable};
use crate::http::access::{AccessControl, MayOperate, database_of};
use crate::http::error::ApiError;
use crate::http::exchange_shapes::{PullAnswer, PullQuestion, PushAnswer, PushQuestion};
use crate::http::extract::{JsonBody, RawBody};
use crate::http::from_peer::{BringingPeer, FromPeer, not_switched_off};
use crate::http::refusal::{not_submitted, storage_failed, unavailable};
use crate::sync::exchange::Checked;
use crate::sync::membership::{self, Meeting};
use crate::sync::namesakes::{self, Asked};
use crate::sync::peer_client::{
    DATABASE_NOT_SELECTED, DatabaseStanding, DatabasesResponse, POSITION_BEYOND_LOG, SAME_NODE_ID,
};
use crate::sync::states::{NAME_TAKEN, REBASE_NEEDED, STATES_NEEDED};
use crate::sync::{Sync, driver, exchange, status};

/// The routes of this file.
pub fn routes<S>() -> Router<S>
where
    S: Clone + Send + std::marker::Sync + 'static,
    Arc<Sync>: FromRef<S>,
    Arc<AccessControl>: FromRef<S>,
{
    let exchanges = Router::new()
        .route("/api/replication/push", post(push))
        .route("/api/replication/pull", post(pull))
        .layer(axum::extract::DefaultBodyLimit::max(EXCHANGE_BYTES_MAX));
    Router::new()
        .route("/api/replication/status", get(replication_status))
        .route("/api/replication/databases", get(databases))
        .merge(exchanges)
}

/// What is said when no further operation can be parked.
const TOO_MANY_DEAD_LETTERS: &str =
    "Too many operations are parked. Look at 'holdfast dead-letters list' here, and retry or settle them.";

/// Takes a stretch of a peer's log.
#[utoipa::path(post, path = "/api/replication/push", tag = "Replication", request_body = PushQuestion,
    responses((status = 200, description = "How far the stretch was taken", body = PushAnswer), (status = 400), (status = 401), (status = 409)))]
pub(crate) async fn push(
    _from: BringingPeer,
    State(sync): State<Arc<Sync>>,
    headers: HeaderMap,
    PushBody(push): PushBody,
) -> Result<Json<PushResponse>, ApiError> {
    check_protocol(push.head.protocol)?;
    let incarnation = parse_hex(&push.head.source_incarnation)?;
    let vector = parse_vector(&push.head.vector)?;
    let received = exchange::received_push(push)?;
    let source = received.source.clone();
    if is_own_name(&source, &sync) {
        return Err(own_name(&source));
    }
    not_switched_off(&sync, &source)?;
    let name = database_of(&headers)?;
    if sync.registry().get(&source).is_some_and(|peer| !peer.accepts(&name)) {
        return Err(not_selected(&source, &name, "taken from"));
    }
    sync.contacted(&source);
    let database = database_for_peer(&sync, &headers).await?;
    // Before it is applied, so that nothing of it goes back to where it comes from.
    let session = sync.session(&source, database.name());
    if let Some(session) = &session {
        session.heard(&vector, Some(received.source_log_id));
    }
    let origin = Origin { node: source, incarnation };
    admitted(&sync, &database, &origin, &vector).await?;
    let (source_log_id, after) = (received.source_log_id, received.after);
    let answer = database.submit_from_peer(WriterRequest::Receive(received)).await.map_err(not_submitted)?;
    let Answer::Receipt(receipt) = answer else { return Err(ApiError::internal()) };
    if let Some(session) = &session {
        session.mailbox().brought(source_log_id, after, receipt.through);
    }
    if receipt.overfull.is_some() && receipt.accepted == 0 {
        return Err(ApiError::conflict("too-many-dead-letters", TOO_MANY_DEAD_LETTERS));
    }
    membership::note_second(&sync, &database, &receipt);
    if let Some(stranger) = &receipt.stranger {
        membership::note_stranger(&sync, &database, &origin.node, stranger);
    } else {
        let met = membership::meet(&sync, &database, &origin, Meeting::Came).await;
        met.map_err(|error| storage_failed(&error))?;
    }
    let standing = sync.standing(&database).map_err(|error| storage_failed(&error))?;
    if let Some(session) = &session {
        session.mailbox().told(&standing.vector);
    }
    Ok(Json(PushResponse {
        protocol: PROTOCOL,
        processed_count: receipt.processed,
        accepted_count: receipt.accepted,
        last_processed_log_sequence: receipt.through.0,
        gap: receipt.gap.map(|dot| dot.to_string()),
        is_forgotten: receipt.stranger.as_ref().is_some_and(|stranger| stranger.misfit == Misfit::Writer),
        stranger: receipt.stranger.map(|stranger| stranger.dot.to_string()),
        standing: StandingRecord::from(&standing),
    }))
}

/// Gives a peer what it lacks of our log.
#[utoipa::path(post, path = "/api/replication/pull", tag = "Replication", request_body = PullQuestion,
    responses((status = 200, description = "A stretch of this node's log", body = PullAnswer), (status = 400), (status = 401), (status = 409)))]
pub(crate) async fn pull(
    _from: FromPeer,
    State(sync): State<Arc<Sync>>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<PullRequest>,
) -> Result<Response, ApiError> {
    check_protocol(request.protocol)?;
    let source = NodeName::parse(&request.requesting_node_id)?;
    if is_own_name(&source, &sync) {
        return Err(own_name(&source));
    }
    not_switched_off(&sync, &source)?;
    let is_compact = speaks_compact(&headers);
    let asked = batch_size(request.batch_size)?;
    let batch = if is_compact { asked.max(EXCHANGE_COMPACT_OPERATIONS) } else { asked };
    let known = parse_vector(&request.vector)?;
    let asked_log = request.log_id.as_deref().map(parse_hex).transpose()?;
    let name = database_of(&headers)?;
    if sync.registry().get(&source).is_some_and(|peer| !peer.sends(&name)) {
        return Err(not_selected(&source, &name, "given to"));
    }
    sync.contacted(&source);
    let database = database_that_is_there(&sync, &name)?;
    let asker_log = request.requesting_log_id.as_deref().map(parse_hex).transpose()?;
    let session = sync.session(&source, database.name());
    if let Some(session) = &session {
        session.heard(&known, asker_log);
    }
    // The standing is read first: it must not promise more than the stretch can hold.
    let standing = sync.standing(&database).map_err(|error| storage_failed(&error))?;
    let is_ours = asked_log.is_none_or(|log_id| log_id == standing.log_id);
    let after = if is_ours { Position(request.after_log_sequence) } else { Position::START };
    if after > standing.newest {
        return Err(ApiError::conflict(
            POSITION_BEYOND_LOG,
            format!("AfterLogSequence is {after}, but this log ends at {}. Start from 0.", standing.newest),
        ));
    }
    let floor = database.log().and_then(|log| log.floor()).map_err(|error| storage_failed(&error))?;
    if !known.covers_all(&floor) {
        return Err(ApiError::conflict(
            STATES_NEEDED,
            "This log was pruned beyond what the asker knows. It takes the states of documents instead, with \
             /api/replication/states.",
        ));
    }
    let stated = database.stated(&standing.vector, &known).map_err(|error| storage_failed(&error))?;
    let filter = match &session {
        Some(session) => session.mailbox().filter_for_answer(driver::now(), known),
        None => Filter::of(known),
    };
    let newest = standing.newest;
    let stretch = exchange::work_on_stretch(after, newest, || exchange::read(&database, after, &filter, batch));
    let stretch = exchange::without_early(stretch.map_err(|error| storage_failed(&error))?);
    if let Some(session) = &session {
        let confirmed = if is_ours && asked_log.is_some() { after } else { Position::START };
        session.mailbox().answered(confirmed, !stretch.operations.is_empty(), stretch.has_more);
    }
    let mut answer = exchange::pull_head(&stretch, after, &standing, &stated);
    if is_compact {
        let bytes = exchange::work_on_stretch(after, newest, || exchange::compact(&answer, &stretch));
        return Ok(([(CONTENT_TYPE, MEDIA_TYPE)], bytes).into_response());
    }
    answer.operations = exchange::records(&stretch, &standing.origin);
    Ok(Json(answer).into_response())
}

/// Tells peers which databases this node holds and how far they reach.
#[utoipa::path(get, path = "/api/replication/databases", tag = "Replication",
    responses((status = 200, description = "The databases and how far their logs reach", body = Object), (status = 401)))]
pub(crate) async fn databases(
    _from: FromPeer,
    State(sync): State<Arc<Sync>>,
) -> Result<Json<DatabasesResponse>, ApiError> {
    let held = sync.databases();
    let mut databases = Vec::new();
    for listing in held.list() {
        let Ok(open) = held.get(&listing.name) else { continue };
        let Ok(standing) = exchange::standing(&open) else { continue };
        databases.push(DatabaseStanding {
            database_name: listing.name.to_string(),
            standing: StandingRecord::from(&standing),
        });
    }
    let instance = Some(sync.instance().to_owned());
    Ok(Json(DatabasesResponse { node_id: sync.origin().node.to_string(), instance, databases }))
}

/// Shows how sync with every peer is doing, in every database.
#[utoipa::path(get, path = "/api/replication/status", tag = "Replication",
    responses((status = 200, description = "Each peer and each database that is synced with it", body = status::ReplicationStatus), (status = 401)))]
pub(crate) async fn replication_status(
    _may: MayOperate,
    State(sync): State<Arc<Sync>>,
) -> Json<status::ReplicationStatus> {
    Json(status::of(&sync))
}

/// A push in either form.
pub(crate) struct PushBody(Checked<PushRequest>);

impl<S: Send + std::marker::Sync> FromRequest<S> for PushBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == MEDIA_TYPE) {
            let RawBody(bytes) = RawBody::from_request(request, state).await?;
            let push = exchange::work_on_message(&bytes, || exchange::from_compact(&bytes))?;
            return Ok(Self(push));
        }
        let JsonBody(push) = <JsonBody<PushRequest> as FromRequest<S>>::from_request(request, state).await?;
        Ok(Self(exchange::push_from_json(push)?))
    }
}

/// Whether the caller wants the compact form; people and others get JSON.
fn speaks_compact(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| kind.trim() == MEDIA_TYPE)
}

pub(crate) fn check_protocol(protocol: u32) -> Result<(), ApiError> {
    if protocol == PROTOCOL {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "unknown-protocol",
        format!("This node speaks sync protocol {PROTOCOL}, not {protocol}. Bring both nodes to one version."),
    ))
}

/// Whether a node may give us operations as it stands.
async fn admitted(sync: &Sync, database: &OpenDatabase, origin: &Origin, vector: &Vector) -> Result<(), ApiError> {
    let admit = || membership::admit(sync, database, origin, vector).map_err(|error| storage_failed(&error));
    let (mut admission, mut asked) = (admit()?, Asked::Unknown);
    if admission == Admission::NameTaken {
        asked = namesakes::ask(sync, database, origin).await;
        admission = admit()?;
    }
    match admission {
        Admission::Welcome | Admission::NeedsStates => Ok(()),
        Admission::MustRebase => Err(ApiError::conflict(
            REBASE_NEEDED,
            "This node was counted out, or has not seen deletes that were forgotten here since. It takes the states of \
             documents first, and then brings what only it holds.",
        )),
        Admission::NameTaken => {
            let state = database.view().and_then(|view| view.state()).map_err(|error| storage_failed(&error))?;
            // It can have fallen silent in this very moment: then the caller is let in when it comes again.
            let rival = membership::rival(sync, database.name(), &state.members, origin).unwrap_or(origin);
            Err(ApiError::conflict(NAME_TAKEN, namesakes::refusal(sync, database, origin, rival, &asked)))
        }
    }
}

/// Names that differ only in case would be one name to people and to some file systems.
pub(super) fn is_own_name(source: &NodeName, sync: &Sync) -> bool {
    source.as_str().eq_ignore_ascii_case(sync.origin().node.as_str())
}

pub(super) fn own_name(source: &NodeName) -> ApiError {
    ApiError::conflict(SAME_NODE_ID, format!("Both nodes are named '{source}'. Give every node its own Node:NodeId."))
}

fn batch_size(asked: Option<i64>) -> Result<usize, ApiError> {
    match asked {
        None => Ok(200),
        Some(size) if size <= 0 => {
            Err(ApiError::bad_request("invalid-batch-size", "BatchSize must be greater than zero.")
                .with_error("BatchSize must be greater than zero."))
        }
        Some(size) => Ok(usize::try_from(size).unwrap_or(usize::MAX).min(EXCHANGE_OPERATIONS_MAX)),
    }
}

pub(super) fn not_selected(source: &NodeName, name: &DatabaseName, how: &str) -> ApiError {
    ApiError::forbidden(
        DATABASE_NOT_SELECTED,
        format!(
            "Database '{name}' is not {how} '{source}' by this node. Add it to PushDatabases or PullDatabases of that peer here."
        ),
    )
}

/// A database that a question is about: it is never created by one.
fn database_that_is_there(sync: &Sync, name: &DatabaseName) -> Result<Arc<OpenDatabase>, ApiError> {
    let databases = sync.databases();
    match databases.get(name) {
        Err(Unavailable::NotFound(_)) if databases.was_dropped(name) => Err(dropped(name)),
        there => there.map_err(unavailable),
    }
}

fn dropped(name: &DatabaseName) -> ApiError {
    ApiError::conflict(
        "database-dropped",
        format!("Database '{name}' was dropped on this node. Create it here again to sync it."),
    )
}

/// The database of a peer's offer; created when it is new here, unless it was dropped here.
pub(super) async fn database_for_peer(sync: &Sync, headers: &HeaderMap) -> Result<Arc<OpenDatabase>, ApiError> {
    let name = database_of(headers)?;
    let databases = sync.databases();
    match databases.get(&name) {
        Err(Unavailable::NotFound(_)) if !databases.was_dropped(&name) => {
            databases.create(&name, Asker::Peer).await.map_err(unavailable)
        }
        _ => database_that_is_there(sync, &name),
    }
}
