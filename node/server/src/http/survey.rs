//! `/api/replication/survey`: peers compare what they hold.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRef, State};
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use holdfast_core::id::NodeName;
use holdfast_core::limits::SURVEY_BYTES_MAX;
use holdfast_core::sync::survey::{SurveyRequest, SurveyResponse};

use crate::http::access::{AccessControl, database_of};
use crate::http::error::ApiError;
use crate::http::extract::JsonBody;
use crate::http::from_peer::{FromPeer, not_switched_off};
use crate::http::refusal::{storage_failed, unavailable};
use crate::http::replication::{check_protocol, is_own_name, own_name};
use crate::sync::Sync;
use crate::sync::survey::{AnswerError, SURVEY_PATH, answer};

/// The routes of this file.
pub fn routes<S>() -> Router<S>
where
    S: Clone + Send + std::marker::Sync + 'static,
    Arc<Sync>: FromRef<S>,
    Arc<AccessControl>: FromRef<S>,
{
    Router::new().route(SURVEY_PATH, post(survey)).layer(DefaultBodyLimit::max(SURVEY_BYTES_MAX))
}

/// Tells a peer what this node holds, in digests, and learns the same of it.
///
/// Both sides leave out the documents that were changed since what both know, so that equal digests prove something
/// while both go on writing. A database that is not here is not created.
#[utoipa::path(post, path = "/api/replication/survey", tag = "Replication", request_body = Object,
    responses((status = 200, description = "What this node holds, in digests", body = Object), (status = 400), (status = 401), (status = 404), (status = 409)))]
pub(crate) async fn survey(
    _from: FromPeer,
    State(sync): State<Arc<Sync>>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<SurveyRequest>,
) -> Result<Json<SurveyResponse>, ApiError> {
    check_protocol(request.protocol)?;
    let source = NodeName::parse(&request.survey.standing.node_id)?;
    if is_own_name(&source, &sync) {
        return Err(own_name(&source));
    }
    not_switched_off(&sync, &source)?;
    sync.contacted(&source);
    let database = sync.databases().get(&database_of(&headers)?).map_err(unavailable)?;
    let answered = tokio::task::block_in_place(|| answer(&sync, &database, request));
    Ok(Json(answered?))
}

impl From<AnswerError> for ApiError {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Refused(refusal) => refusal.into(),
            AnswerError::Storage(error) => storage_failed(&error),
        }
    }
}
