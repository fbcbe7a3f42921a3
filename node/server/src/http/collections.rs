//! Collections as a whole: their names with what they hold, and counts.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::access::MayRead;
use crate::http::app::App;
use crate::http::consistency::{TokenParameters, Tokens, Wanted};
use crate::http::error::ApiError;
use crate::http::parameters::{Parameters, given};
use crate::http::place::CollectionPath;
use crate::http::wire;

/// The routes of this module.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(count))
}

/// Parameters of [`list`].
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// Whether to list the collections that the node keeps for itself too.
    include_system_collections: Option<bool>,
    /// A write's token: wait until this node has it. The header `Consistency-Token` says the same.
    #[serde(default, deserialize_with = "given")]
    token: Option<String>,
    /// How long to wait for it.
    timeout: Option<String>,
    /// How old what this node shows may be at most, beside its leader: `500ms`, or `30s`. The header `Max-Staleness` says the
    /// same; a node that leads, or is alone, always meets it.
    #[serde(default, deserialize_with = "given")]
    max_staleness: Option<String>,
}

/// What a collection holds.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct CollectionSummary {
    /// Its name.
    name: String,
    /// Documents that are shown.
    count: u64,
    /// Records of deleted documents.
    tombstones: u64,
    /// A number that is equal on two nodes when what they show is equal, as 32 hexadecimal digits.
    digest: String,
}

/// How many documents a collection holds.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct CollectionCount {
    /// Its name.
    collection: String,
    /// Documents that are shown; 0 for a collection that is not known.
    count: u64,
}

/// Lists the collections of a database with what they hold.
#[utoipa::path(get, path = "/api/collections", tag = "Collections", params(ListParameters),
    responses((status = 200, body = Vec<CollectionSummary>), (status = 503)))]
pub async fn list(
    State(app): State<App>,
    caller: MayRead,
    Parameters(parameters): Parameters<ListParameters>,
    tokens: Tokens,
) -> Result<Response, ApiError> {
    let wanted = Wanted::of(&tokens, parameters.token.as_deref(), parameters.timeout.as_deref())?
        .no_older_than(parameters.max_staleness.as_deref())?;
    let database = wanted.database(&app, &caller.database).await?;
    let collections = app.scan(move || database.view()?.collections()).await?;
    let with_cache = parameters.include_system_collections.unwrap_or(false);
    let summaries: Vec<CollectionSummary> = collections
        .into_iter()
        .filter(|(name, _)| with_cache || !name.is_kept())
        .map(|(name, state)| CollectionSummary {
            name: name.to_string(),
            count: state.alive,
            tombstones: state.tombstones,
            digest: state.digest.to_string(),
        })
        .collect();
    Ok(wire::json(&summaries))
}

/// Counts the documents of a collection, without reading them.
#[utoipa::path(get, path = "/api/collections/{collection}/count", tag = "Collections", params(
        ("collection" = String, Path, description = "The collection"),
        TokenParameters),
    responses((status = 200, body = CollectionCount), (status = 503)))]
pub async fn count(
    State(app): State<App>,
    caller: MayRead,
    CollectionPath(collection): CollectionPath,
    Parameters(parameters): Parameters<TokenParameters>,
    tokens: Tokens,
) -> Result<Response, ApiError> {
    let wanted = parameters.wanted(&tokens)?;
    let database = wanted.database(&app, &caller.database).await?;
    let name = collection.to_string();
    let state = app.scan(move || database.view()?.collection(&collection)).await?;
    Ok(wire::json(&CollectionCount { collection: name, count: state.alive }))
}
