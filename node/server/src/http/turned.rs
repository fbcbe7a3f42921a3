//! `/api/replication/turned`: a caller brings its states to a node that has no address of it.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRef, State};
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use holdfast_core::id::NodeName;
use holdfast_core::limits::EXCHANGE_BYTES_MAX;
use holdfast_core::sync::message::parse_hex;
use holdfast_core::sync::turned::TurnedAnswer;
use holdfast_core::vector::Origin;
use serde::Deserialize;

use crate::http::access::{AccessControl, database_of};
use crate::http::error::ApiError;
use crate::http::extract::RawBody;
use crate::http::from_peer::{BringingPeer, not_switched_off};
use crate::http::parameters::Parameters;
use crate::http::replication::{database_for_peer, is_own_name, not_selected, own_name};
use crate::sync::Sync;
use crate::sync::giver::{ASKS_BY_ITSELF, CONVERSATION_OVER, TURNED_PATH, TurnedError};

/// The routes of this file.
pub fn routes<S>() -> Router<S>
where
    S: Clone + Send + std::marker::Sync + 'static,
    Arc<Sync>: FromRef<S>,
    Arc<AccessControl>: FromRef<S>,
{
    Router::new().route(TURNED_PATH, post(turned)).layer(DefaultBodyLimit::max(EXCHANGE_BYTES_MAX))
}

/// Who brings its states, and where the conversation is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Caller {
    node: String,
    #[serde(default)]
    conversation: Option<String>,
    #[serde(default)]
    branch: Option<String>,
}

/// Takes the states of a node that this one cannot call, by asking for them in the answers to its requests.
///
/// Without a conversation one begins. The body is the answer to the last question; it is empty at the beginning, and
/// when the last answer was that this node is at work.
#[utoipa::path(post, path = "/api/replication/turned", tag = "Replication",
    params(("node" = String, Query, description = "The caller"), ("conversation" = Option<String>, Query, description = "The conversation, from the last answer"),
        ("branch" = Option<String>, Query, description = "The origin of which the called node holds another branch than the caller")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, description = "The next question, or how it ended", body = Object), (status = 400), (status = 401), (status = 403), (status = 409)))]
pub(crate) async fn turned(
    _from: BringingPeer,
    State(sync): State<Arc<Sync>>,
    headers: HeaderMap,
    Parameters(caller): Parameters<Caller>,
    RawBody(answer): RawBody,
) -> Result<Json<TurnedAnswer>, ApiError> {
    let source = NodeName::parse(&caller.node)?;
    if is_own_name(&source, &sync) {
        return Err(own_name(&source));
    }
    not_switched_off(&sync, &source)?;
    let name = database_of(&headers)?;
    if let Some(branch) = caller.branch.as_deref().map(str::parse::<Origin>).transpose()?
        && let Ok(database) = sync.databases().get(&name)
    {
        database.note_told(&source, branch);
    }
    let conversation = match caller.conversation.as_deref().map(parse_hex).transpose()? {
        Some(conversation) => conversation,
        None => begin(&sync, &headers, &source).await?,
    };
    Ok(Json(sync.turned().next(&name, &source, conversation, answer.into()).await?))
}

async fn begin(sync: &Arc<Sync>, headers: &HeaderMap, source: &NodeName) -> Result<u64, ApiError> {
    let name = database_of(headers)?;
    if sync.registry().get(source).is_some_and(|peer| !peer.accepts(&name)) {
        return Err(not_selected(source, &name, "taken from"));
    }
    let database = database_for_peer(sync, headers).await?;
    if sync.session(source, &name).is_some_and(|session| session.is_in_touch()) {
        return Err(ApiError::conflict(
            ASKS_BY_ITSELF,
            format!("This node calls '{source}' by itself, and takes its states when it next does."),
        ));
    }
    Ok(sync.turned().begin(sync, &database, source)?)
}

impl From<TurnedError> for ApiError {
    fn from(error: TurnedError) -> Self {
        match error {
            TurnedError::Over => ApiError::conflict(CONVERSATION_OVER, format!("Nothing is taken: {error}.")),
            TurnedError::Busy => ApiError::conflict("transfer-under-way", format!("Nothing is taken: {error}.")),
        }
    }
}
