//! What became of one document: its operations from this node's log, newest first.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::limits::PAGE_BYTES_TARGET;
use holdfast_core::vector::Position;
use holdfast_storage::error::StorageError;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::databases::OpenDatabase;
use crate::http::access::MayRead;
use crate::http::app::App;
use crate::http::consistency::{Tokens, Wanted};
use crate::http::error::ApiError;
use crate::http::parameters::{self, Parameters};
use crate::http::place::DocumentPath;
use crate::http::refusal::document_not_found;
use crate::http::wire::{self, OperationRecord};

/// Operations in an answer when nothing is asked, and at most.
const OPERATIONS_DEFAULT: usize = 100;
const OPERATIONS_MAX: usize = 1_000;

/// The route of this module.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(history))
}

/// Parameters of [`history`].
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct HistoryParameters {
    /// Operations in the answer: 100 if absent, at most 1000.
    limit: Option<usize>,
    /// `Next` of the answer before: continue with this operation.
    from: Option<u64>,
    /// A write's token: wait until this node has it. The header `Consistency-Token` says the same.
    #[serde(default, deserialize_with = "parameters::given")]
    token: Option<String>,
    /// How long to wait for it: milliseconds, or `30s`; 5 s if absent, at most one minute.
    timeout: Option<String>,
    /// How old what this node shows may be at most, beside its leader: `500ms`, or `30s`. The header `Max-Staleness` says the
    /// same; a node that leads, or is alone, always meets it.
    #[serde(default, deserialize_with = "parameters::given")]
    max_staleness: Option<String>,
}

/// The operations on one document.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct History {
    /// The collection.
    #[schema(value_type = String)]
    collection: CollectionName,
    /// The document.
    #[schema(value_type = String)]
    entity_id: DocumentId,
    /// The operations, newest first, in the order of this node's log.
    operations: Vec<OperationRecord>,
    /// Ask again with `from` = this for older ones; null when the log holds none.
    next: Option<u64>,
}

/// Tells what became of a document, newest first, as far back as the log goes.
#[utoipa::path(get, path = "/api/documents/{collection}/{id}/history", tag = "Documents", params(
        ("collection" = String, Path, description = "The collection"),
        ("id" = String, Path, description = "The document's id, percent-encoded"), HistoryParameters),
    responses((status = 200, body = History), (status = 404, description = "Nothing was ever written under this id"),
        (status = 503)))]
pub async fn history(
    State(app): State<App>,
    caller: MayRead,
    DocumentPath { collection, id }: DocumentPath,
    Parameters(parameters): Parameters<HistoryParameters>,
    tokens: Tokens,
) -> Result<Response, ApiError> {
    let wanted = Wanted::of(&tokens, parameters.token.as_deref(), parameters.timeout.as_deref())?
        .no_older_than(parameters.max_staleness.as_deref())?;
    let database = wanted.database(&app, &caller.database).await?;
    let limit = parameters.limit.filter(|limit| *limit > 0).unwrap_or(OPERATIONS_DEFAULT).min(OPERATIONS_MAX);
    let place = DocumentPath { collection: collection.clone(), id: id.clone() };
    let read = app.scan(move || read(&database, &place, parameters.from.map(Position), limit)).await?;
    match read {
        Read::Found { operations, next } => Ok(wire::json(&History { collection, entity_id: id, operations, next })),
        Read::NeverWritten => Err(document_not_found(collection.as_str(), id.as_str())),
        Read::OfAnother => Err(ApiError::bad_request(
            "invalid-parameter",
            "The parameter 'from' does not name an operation on this document. Take it from 'Next' of an answer.",
        )),
    }
}

enum Read {
    Found { operations: Vec<OperationRecord>, next: Option<u64> },
    NeverWritten,
    OfAnother,
}

fn read(
    database: &Arc<OpenDatabase>,
    place: &DocumentPath,
    from: Option<Position>,
    limit: usize,
) -> Result<Read, StorageError> {
    let Some(document) = database.view()?.document(&place.collection, &place.id)? else {
        return Ok(Read::NeverWritten);
    };
    let log = database.log()?;
    let mut next = from.unwrap_or(document.position);
    let (mut operations, mut bytes) = (Vec::new(), 0);
    while next > Position::START && operations.len() < limit && bytes < PAGE_BYTES_TARGET {
        let Some(logged) = log.history(next, 1)?.pop() else { break };
        let is_of_this =
            logged.operation.collection == place.collection && logged.operation.document.as_ref() == Some(&place.id);
        if !is_of_this {
            return Ok(Read::OfAnother);
        }
        next = logged.previous;
        let record = OperationRecord::of(logged, database.origin());
        bytes += record.payload.as_ref().map_or(0, String::len);
        operations.push(record);
    }
    let is_there = next > Position::START && log.at(next)?.is_some();
    Ok(Read::Found { operations, next: is_there.then_some(next.0) })
}
