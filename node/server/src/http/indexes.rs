//! Indexes: which there are and how far they are built; defining and dropping them.
//!
//! A definition is replicated like a document; what is built from it is each node's own. It is built between writes,
//! which go on, and queries use it once it is ready.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use holdfast_core::collation::Case;
use holdfast_core::error::Refusal;
use holdfast_core::id::CollectionName;
use holdfast_core::index::definition::{IndexDefinition, IndexName};
use holdfast_core::index::path::IndexPath;
use holdfast_core::limits::INDEX_NAME_BYTES_MAX;
use holdfast_storage::error::StorageError;
use holdfast_storage::indexes::IndexState;
use holdfast_storage::record::index::IndexStanding;
use holdfast_storage::request::{Answer, Request};
use holdfast_storage::view::ReadView;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::databases::OpenDatabase;
use crate::http::access::{MayManageIndexes, MayRead};
use crate::http::app::App;
use crate::http::consistency::{TokenParameters, Tokens, Wanted};
use crate::http::error::{ApiError, quoted};
use crate::http::extract::{JsonBody, PathParts};
use crate::http::parameters::{Parameters, given};
use crate::http::refusal::not_submitted;
use crate::http::wire;

/// The routes of this module.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(show, remove))
}

/// Parameters of [`list`].
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// Indexes of this collection only.
    collection: Option<String>,
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

/// An index to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct NewIndex {
    /// Its name, one per database. Made of the collection and the paths if absent.
    #[serde(alias = "name")]
    name: Option<String>,
    /// The collection.
    #[serde(alias = "collection")]
    collection: String,
    /// The paths, such as `$.Customer.Code` or `$.Items[*].Sku`, in the order in which keys are sorted.
    #[serde(default, alias = "paths")]
    paths: Vec<String>,
    /// The path, where there is one only.
    #[serde(alias = "path")]
    path: Option<String>,
    /// Whether no two documents may have the same values; missing and null are no values.
    #[serde(default, alias = "isUnique", alias = "Unique", alias = "unique")]
    is_unique: bool,
    /// Whether case does not count.
    #[serde(default, alias = "isCaseInsensitive")]
    is_case_insensitive: bool,
}

/// An index as this node has it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct IndexRecord {
    /// Its name.
    name: String,
    /// The collection; null where the definition cannot be read.
    collection: Option<String>,
    /// The paths.
    paths: Vec<String>,
    /// Whether no two documents may have the same values.
    is_unique: bool,
    /// Whether case does not count.
    is_case_insensitive: bool,
    /// `Ready`; `Building` while documents are still to be looked through; `Refused` when this node cannot use it.
    state: &'static str,
    /// Why it is refused.
    reason: Option<String>,
    /// Its entries so far: one for each document, and more where paths lead to arrays.
    entries: u64,
    /// Documents that were looked through, while it is being built.
    documents_done: Option<u64>,
    /// Documents of the collection.
    documents: u64,
    /// Values that several documents have, written on several nodes. They are listed as conflicts.
    violations: u64,
}

/// Lists the indexes of a database, by name.
#[utoipa::path(get, path = "/api/indexes", tag = "Indexes", operation_id = "list_indexes", params(ListParameters),
    responses((status = 200, body = Vec<IndexRecord>), (status = 403), (status = 404), (status = 503)))]
pub async fn list(
    State(app): State<App>,
    caller: MayRead,
    Parameters(parameters): Parameters<ListParameters>,
    tokens: Tokens,
) -> Result<Response, ApiError> {
    let wanted = Wanted::of(&tokens, parameters.token.as_deref(), parameters.timeout.as_deref())?
        .no_older_than(parameters.max_staleness.as_deref())?;
    let database = wanted.database(&app, &caller.database).await?;
    let collection = parameters.collection.as_deref().map(CollectionName::parse).transpose()?;
    let records = app.scan(move || {
        let view = database.view()?;
        let is_wanted = |one: &&Arc<IndexState>| {
            let of = one.definition.as_ref().map(|definition| &definition.collection);
            collection.is_none() || of == collection.as_ref()
        };
        let indexes = view.indexes()?;
        indexes.iter().filter(is_wanted).map(|index| IndexRecord::of(&view, index)).collect::<Result<Vec<_>, _>>()
    });
    Ok(wire::json(&records.await?))
}

/// Shows one index and how far it is built.
#[utoipa::path(get, path = "/api/indexes/{name}", tag = "Indexes", operation_id = "show_index",
    params(("name" = String, Path, description = "The index"), TokenParameters),
    responses((status = 200, body = IndexRecord), (status = 403), (status = 404), (status = 503)))]
pub async fn show(
    State(app): State<App>,
    caller: MayRead,
    PathParts(name): PathParts<String>,
    Parameters(parameters): Parameters<TokenParameters>,
    tokens: Tokens,
) -> Result<Response, ApiError> {
    let database = parameters.wanted(&tokens)?.database(&app, &caller.database).await?;
    Ok(wire::json(&record_of(&app, &database, name).await?))
}

/// Makes an index.
///
/// The answer comes at once, 201 with the index as it is then; it is built while writes go on. 200 when there is the very
/// same one already. A unique index over documents with the same values is refused with 409, which names some of them.
#[utoipa::path(post, path = "/api/indexes", tag = "Indexes", operation_id = "create_index", request_body = NewIndex,
    responses((status = 201, body = IndexRecord), (status = 200, body = IndexRecord), (status = 400), (status = 403),
        (status = 404), (status = 409)))]
pub async fn create(
    State(app): State<App>,
    caller: MayManageIndexes,
    JsonBody(body): JsonBody<NewIndex>,
) -> Result<Response, ApiError> {
    let database = app.writable(&caller.database)?;
    let definition = body.into_definition()?;
    let name = definition.name.to_string();
    let token = define(&app, &database, definition).await?;
    let record = wire::json(&record_of(&app, &database, name).await?);
    Ok(match token {
        Some(token) => wire::with_token((StatusCode::CREATED, record).into_response(), &token),
        None => record,
    })
}

/// Drops an index, here and on every peer.
#[utoipa::path(delete, path = "/api/indexes/{name}", tag = "Indexes", operation_id = "drop_index",
    params(("name" = String, Path, description = "The index")),
    responses((status = 204), (status = 403), (status = 404)))]
pub async fn remove(
    State(app): State<App>,
    caller: MayManageIndexes,
    PathParts(name): PathParts<String>,
) -> Result<Response, ApiError> {
    let database = app.writable(&caller.database)?;
    let token = drop_index(&database, &name).await?;
    let response = StatusCode::NO_CONTENT.into_response();
    Ok(token.iter().fold(response, |response, token| wire::with_token(response, token)))
}

/// Defines an index for whoever may; answers with the token of what was logged, none where it is there already. A unique
/// one is refused where documents have the same values already.
pub async fn define(
    app: &App,
    database: &Arc<OpenDatabase>,
    definition: IndexDefinition,
) -> Result<Option<String>, ApiError> {
    if definition.is_unique {
        let (reading, wanted) = (Arc::clone(database), definition.clone());
        let duplicates = app.scan(move || {
            let view = reading.view()?;
            let is_there = |one: &IndexState| one.definition.as_ref() == Some(&wanted);
            if view.indexes()?.iter().any(|index| is_there(index)) { Ok(Vec::new()) } else { view.duplicates(&wanted) }
        });
        let duplicates = duplicates.await?;
        if let Some(first) = duplicates.first() {
            let ids: Vec<String> = first.iter().map(|id| quoted(id)).collect();
            let detail = format!(
                "Documents of '{}' have the same values at these paths, {} for instance. Change or delete all but one of \
                 each, or make an index that is not unique.",
                definition.collection,
                ids.join(", ")
            );
            return Err(ApiError::conflict("duplicate-values", detail).with_field("duplicates", duplicates));
        }
    }
    match database.submit(Request::DefineIndex(definition)).await.map_err(not_submitted)? {
        Answer::Index(written) => Ok(written?.as_ref().and_then(wire::token_of)),
        _ => Err(ApiError::internal()),
    }
}

/// Drops an index for whoever may; answers with the token of what was logged.
pub async fn drop_index(database: &OpenDatabase, name: &str) -> Result<Option<String>, ApiError> {
    let parsed = IndexName::parse(name).map_err(|_| not_found(name))?;
    match database.submit(Request::DropIndex(parsed)).await.map_err(not_submitted)? {
        Answer::Index(Ok(written)) => Ok(written.as_ref().and_then(wire::token_of)),
        Answer::Index(Err(Refusal::NotFound { .. })) => Err(not_found(name)),
        Answer::Index(Err(refusal)) => Err(refusal.into()),
        _ => Err(ApiError::internal()),
    }
}

fn not_found(name: &str) -> ApiError {
    ApiError::not_found(
        "index-not-found",
        format!("There is no index {}. GET /api/indexes lists those that there are.", quoted(name)),
    )
}

async fn record_of(app: &App, database: &Arc<OpenDatabase>, name: String) -> Result<IndexRecord, ApiError> {
    let (reading, wanted) = (Arc::clone(database), name.clone());
    let record = app.scan(move || {
        let view = reading.view()?;
        let indexes = view.indexes()?;
        indexes.iter().find(|index| index.name == wanted).map(|index| IndexRecord::of(&view, index)).transpose()
    });
    record.await?.ok_or_else(|| not_found(&name))
}

impl NewIndex {
    fn into_definition(self) -> Result<IndexDefinition, ApiError> {
        let texts = match (self.path, self.paths.is_empty()) {
            (Some(path), true) => vec![path],
            (Some(_), false) => {
                return Err(ApiError::bad_request("invalid-index", "Give Paths or Path, not both."));
            }
            (None, _) => self.paths,
        };
        let paths = texts.iter().map(|path| IndexPath::parse(path)).collect::<Result<Vec<_>, _>>()?;
        let collection = CollectionName::parse(&self.collection)?;
        let name = self.name.unwrap_or_else(|| default_name(&collection, &paths));
        let definition = IndexDefinition {
            name: IndexName::parse(&name)?,
            collection,
            paths,
            is_unique: self.is_unique,
            is_case_insensitive: self.is_case_insensitive,
        };
        Ok(definition.check()?)
    }
}

/// A name for an index that was given none: its collection and paths, without what a name may not hold.
pub fn default_name(collection: &CollectionName, paths: &[IndexPath]) -> String {
    let mut name = collection.to_string();
    for path in paths {
        let words = path.to_string();
        for word in words.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            name.push('_');
            name.push_str(word);
        }
    }
    while name.len() > INDEX_NAME_BYTES_MAX {
        name.pop();
    }
    name
}

impl IndexRecord {
    fn of(view: &ReadView, index: &IndexState) -> Result<Self, StorageError> {
        let definition = index.definition.as_ref();
        let documents = match definition {
            Some(definition) => view.collection(&definition.collection)?.alive,
            None => 0,
        };
        let (state, reason, documents_done) = match &index.standing {
            IndexStanding::Ready => ("Ready", None, None),
            IndexStanding::Building { documents, .. } => ("Building", None, Some(*documents)),
            IndexStanding::Refused { reason } => ("Refused", Some(reason.clone()), None),
            IndexStanding::Dropping => ("Dropping", None, None),
        };
        Ok(Self {
            name: index.name.clone(),
            collection: definition.map(|definition| definition.collection.to_string()),
            paths: definition.map(|it| it.paths.iter().map(ToString::to_string).collect()).unwrap_or_default(),
            is_unique: definition.is_some_and(|definition| definition.is_unique),
            is_case_insensitive: definition.is_some_and(|definition| definition.case() == Case::Folded),
            state,
            reason,
            entries: index.counts.entries,
            documents_done,
            documents,
            violations: view.index_violations(index)?,
        })
    }
}
