//! Writing one document: POST, PUT, PATCH, DELETE, and registering a collection.
//!
//! A handler reads and checks the document; the database's writer judges preconditions and answers after the
//! fsync. A request that is refused before it reaches the writer does not create a database either.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use holdfast_core::counter::Increment;
use holdfast_core::error::Refusal;
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::json::{ID_FIELD, JsonText, parse_object, with_id};
use holdfast_core::vector::Dot;
use holdfast_storage::request::{Action, Answer, Change, Request, Written};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::task;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::databases::OpenDatabase;
use crate::http::access::{Access, MayCreate, MayDelete, MayUpdate, MayWrite};
use crate::http::app::App;
use crate::http::documents;
use crate::http::error::{ApiError, quoted};
use crate::http::extract;
use crate::http::parameters::{self, Parameters};
use crate::http::place::{CollectionPath, DocumentPath};
use crate::http::preconditions::{Conditions, Guard, expected, needs_document};
use crate::http::refusal::{not_submitted, storage_failed};
use crate::http::wire::{self, WriteResult};

/// The operator of a patch that adds to numbers.
const INCREMENT_FIELD: &str = "$inc";

/// Bodies above this are parsed where they hold up nobody.
const PARSE_APART_BYTES: usize = 256 * 1024;

/// The routes of this module. `register` is also an id, for every method but POST.
pub fn routes() -> OpenApiRouter<App> {
    use axum::routing::{delete as on_delete, get as on_get};
    OpenApiRouter::new().routes(routes!(post)).routes(routes!(put, patch, delete)).routes(routes!(register)).route(
        "/api/documents/{collection}/register",
        on_get(documents::read).put(put).patch(patch).merge(on_delete(delete)),
    )
}

/// Parameters of every write.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct WriteParameters {
    /// The version that the document must be at; 409 if it is not.
    #[serde(default, deserialize_with = "parameters::version")]
    parent_version: Option<String>,
}

/// Stores a document under the id that it carries.
///
/// Creates it or replaces what is there.
#[utoipa::path(post, path = "/api/documents/{collection}", tag = "Documents", request_body = Object, params(
        ("collection" = String, Path, description = "The collection"), WriteParameters,
        ("If-Match" = Option<String>, Header, description = "Versions, one of which must be current; 412 if not"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: the document must not exist; 412 if it does")),
    responses((status = 200, body = WriteResult), (status = 400), (status = 403), (status = 409), (status = 412)))]
pub async fn post(
    State(app): State<App>,
    caller: MayWrite,
    CollectionPath(collection): CollectionPath,
    Parameters(parameters): Parameters<WriteParameters>,
    Conditions(headers): Conditions,
    extract::JsonText(body): extract::JsonText,
) -> Result<Response, ApiError> {
    let object = parse(body, "POST").await?;
    let id = own_id(&object).ok_or_else(|| {
        let text = "POST body must include an 'Id' string field.";
        ApiError::bad_request("id-required", format!("{text} To choose the id in the path, use PUT.")).with_error(text)
    })??;
    store(&app, &caller, Place { collection, id }, &headers, parameters, object).await
}

/// Stores a document under an id.
///
/// Creates it or replaces what is there. The document carries its id in a field `Id`, which is added if it is
/// missing or different.
#[utoipa::path(put, path = "/api/documents/{collection}/{id}", tag = "Documents", request_body = Object, params(
        ("collection" = String, Path, description = "The collection"),
        ("id" = String, Path, description = "The document's id, percent-encoded"), WriteParameters,
        ("If-Match" = Option<String>, Header, description = "Versions, one of which must be current; 412 if not"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: the document must not exist; 412 if it does")),
    responses((status = 200, body = WriteResult), (status = 400), (status = 403), (status = 409), (status = 412)))]
pub async fn put(
    State(app): State<App>,
    caller: MayWrite,
    DocumentPath { collection, id }: DocumentPath,
    Parameters(parameters): Parameters<WriteParameters>,
    Conditions(headers): Conditions,
    extract::JsonText(body): extract::JsonText,
) -> Result<Response, ApiError> {
    let object = parse(body, "PUT").await?;
    store(&app, &caller, Place { collection, id }, &headers, parameters, object).await
}

/// Changes some fields of a document.
///
/// The body is a merge patch (RFC 7396). `$inc` at its top adds to numbers, exactly and without conflicts
/// between nodes; alone, it creates a document that does not exist from zero.
#[utoipa::path(patch, path = "/api/documents/{collection}/{id}", tag = "Documents", params(
        ("collection" = String, Path, description = "The collection"),
        ("id" = String, Path, description = "The document's id, percent-encoded"), WriteParameters,
        ("If-Match" = Option<String>, Header, description = "Versions, one of which must be current; 412 if not")),
    request_body(content = Object, content_type = "application/merge-patch+json", example = json!({"name": "Ada", "$inc": {"stock": -1}})),
    responses((status = 200, body = WriteResult), (status = 400), (status = 404), (status = 409), (status = 412)))]
pub async fn patch(
    State(app): State<App>,
    caller: MayUpdate,
    DocumentPath { collection, id }: DocumentPath,
    Parameters(parameters): Parameters<WriteParameters>,
    headers: HeaderMap,
    extract::JsonText(body): extract::JsonText,
) -> Result<Response, ApiError> {
    refuse_json_patch(&headers)?;
    let action = read_patch(parse(body, "PATCH").await?)?;
    let is_increment_only = is_increment_only(&action);
    let expect = expected(&headers, parameters.parent_version.clone())?;
    let database = if is_increment_only && !needs_document(&expect) {
        app.for_write(&caller).await?
    } else {
        app.writable(&caller.database)?
    };
    let guard = Guard::for_patch(&caller, expect, is_increment_only);
    let change = Change { collection, id, action, expect: guard.expect.clone() };
    let written = submit(&database, change).await?.map_err(|refusal| guard.explain(&caller, refusal))?;
    Ok(answer(written, &database, parameters.parent_version))
}

/// Deletes a document.
#[utoipa::path(delete, path = "/api/documents/{collection}/{id}", tag = "Documents", params(
        ("collection" = String, Path, description = "The collection"),
        ("id" = String, Path, description = "The document's id, percent-encoded"), WriteParameters,
        ("If-Match" = Option<String>, Header, description = "Versions, one of which must be current; 412 if not")),
    responses((status = 200, body = WriteResult), (status = 404), (status = 409), (status = 412)))]
pub async fn delete(
    State(app): State<App>,
    caller: MayDelete,
    DocumentPath { collection, id }: DocumentPath,
    Parameters(parameters): Parameters<WriteParameters>,
    Conditions(headers): Conditions,
) -> Result<Response, ApiError> {
    let expect = expected(&headers, parameters.parent_version.clone())?;
    let database = app.writable(&caller.database)?;
    let change = Change { collection, id, action: Action::Delete, expect };
    let written = submit(&database, change).await?.map_err(ApiError::from)?;
    Ok(answer(written, &database, parameters.parent_version))
}

/// Makes an empty collection known, here and to the peers.
#[utoipa::path(post, path = "/api/documents/{collection}/register", tag = "Documents", params(
        ("collection" = String, Path, description = "The collection")),
    responses((status = 200, description = "It is known, whether it was before or not"), (status = 403)))]
pub async fn register(
    State(app): State<App>,
    caller: MayCreate,
    CollectionPath(collection): CollectionPath,
) -> Result<Response, ApiError> {
    let database = app.for_write(&caller).await?;
    database.submit(Request::Register(collection)).await.map_err(not_submitted)?;
    Ok(wire::with_token(StatusCode::OK.into_response(), &token_of_all(&database)?))
}

/// The token of all that this node has written so far, for an answer that does not know its own part of it.
pub(super) fn token_of_all(database: &OpenDatabase) -> Result<String, ApiError> {
    let state = database.view().and_then(|view| view.state()).map_err(|error| storage_failed(&error))?;
    let origin = database.origin().clone();
    Ok(Dot { sequence: state.vector.get(&origin), origin }.to_string())
}

/// Which document a write is about.
struct Place {
    collection: CollectionName,
    id: DocumentId,
}

async fn store(
    app: &App,
    caller: &Access,
    place: Place,
    headers: &HeaderMap,
    parameters: WriteParameters,
    object: Map<String, Value>,
) -> Result<Response, ApiError> {
    let Place { collection, id } = place;
    let text = document_text(app, object, &id)?;
    let guard = Guard::for_put(caller, expected(headers, parameters.parent_version.clone())?)?;
    let database =
        if needs_document(&guard.expect) { app.writable(&caller.database)? } else { app.for_write(caller).await? };
    let change = Change { collection, id, action: Action::Put(text), expect: guard.expect.clone() };
    let written = submit(&database, change).await?.map_err(|refusal| guard.explain(caller, refusal))?;
    Ok(answer(written, &database, parameters.parent_version))
}

/// Parses a body that must be one JSON object.
async fn parse(body: String, method: &'static str) -> Result<Map<String, Value>, ApiError> {
    let parsed = if body.len() > PARSE_APART_BYTES {
        let parsing = task::spawn_blocking(move || parse_object(body.as_bytes()));
        parsing.await.map_err(|_| ApiError::internal())?
    } else {
        parse_object(body.as_bytes())
    };
    parsed.map_err(|refusal| match refusal {
        Refusal::Invalid { code: "not-an-object", .. } => {
            ApiError::bad_request("not-an-object", format!("{method} body must be a JSON object."))
        }
        refusal => refusal.into(),
    })
}

/// The id that a document carries in its `Id` field; `None` when it carries no usable one.
pub(super) fn own_id(object: &Map<String, Value>) -> Option<Result<DocumentId, Refusal>> {
    let id = object.get(ID_FIELD)?.as_str()?;
    (!id.trim().is_empty()).then(|| DocumentId::parse(id))
}

/// The text under which a document is stored.
pub(super) fn document_text(app: &App, object: Map<String, Value>, id: &DocumentId) -> Result<JsonText, Refusal> {
    let text = JsonText::from_object(&with_id(object, id));
    let (bytes, limit) = (text.as_str().len(), app.settings.limits.document_bytes_max);
    if bytes > limit {
        return Err(Refusal::TooLarge { what: "document", bytes, limit });
    }
    Ok(text)
}

/// Splits a patch into what it merges and what it adds.
pub(super) fn read_patch(mut object: Map<String, Value>) -> Result<Action, Refusal> {
    let increment = match object.shift_remove(INCREMENT_FIELD) {
        None => None,
        Some(Value::Object(amounts)) => Some(Increment::parse(&amounts)?),
        Some(_) => {
            return Err(Refusal::invalid(
                "invalid-increment",
                "$inc must be an object of numbers, as in {\"$inc\": {\"stock\": -1}}.",
            ));
        }
    };
    refuse_other_operators(&object)?;
    Ok(Action::Patch { merge: object, increment })
}

/// Refuses what looks like an operator in the part of a patch that is merged: a typing mistake must not
/// become a field. Only a PUT stores such names.
fn refuse_other_operators(merge: &Map<String, Value>) -> Result<(), Refusal> {
    if let Some(name) = merge.keys().find(|name| name.starts_with('$')) {
        let meant = if strsim::damerau_levenshtein(&name.to_ascii_lowercase(), INCREMENT_FIELD) <= 2 {
            "Did you mean '$inc'?"
        } else {
            "A patch knows only '$inc'; a field of that name is stored by PUT."
        };
        return Err(Refusal::invalid("unknown-operator", format!("The operator {} is unknown. {meant}", quoted(name))));
    }
    if let Some(path) = nested_increment(merge) {
        return Err(Refusal::invalid(
            "misplaced-operator",
            format!(
                "$inc belongs at the top of a patch. Write {{\"$inc\": {{\"{path}\": 1}}}}, nested as the document is."
            ),
        ));
    }
    Ok(())
}

/// The field under which an object to merge holds `$inc`.
fn nested_increment(object: &Map<String, Value>) -> Option<String> {
    object.iter().find_map(|(name, value)| {
        let inner = value.as_object()?;
        if inner.contains_key(INCREMENT_FIELD) {
            Some(name.chars().take(100).collect())
        } else {
            nested_increment(inner)
        }
    })
}

/// Whether a change creates a missing document although it is a patch.
pub(super) fn is_increment_only(action: &Action) -> bool {
    matches!(action, Action::Patch { merge, increment: Some(_) } if merge.is_empty())
}

/// Whether a change can happen in a database that does not exist.
pub(super) fn may_create(change: &Change) -> bool {
    let creates = matches!(change.action, Action::Put(_)) || is_increment_only(&change.action);
    creates && !needs_document(&change.expect)
}

fn refuse_json_patch(headers: &HeaderMap) -> Result<(), ApiError> {
    let is_json_patch =
        headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json-patch+json"));
    if is_json_patch {
        return Err(ApiError::unsupported_media_type(
            "JSON Patch is not read here. Send a merge patch (RFC 7396) as application/merge-patch+json.",
        ));
    }
    Ok(())
}

/// Hands one change to the writer.
pub(super) async fn submit(database: &Arc<OpenDatabase>, change: Change) -> Result<Result<Written, Refusal>, ApiError> {
    match database.submit(Request::Each(vec![change])).await.map_err(not_submitted)? {
        Answer::Each(mut results) if results.len() == 1 => results.pop().ok_or_else(ApiError::internal),
        _ => Err(ApiError::internal()),
    }
}

/// The answer to a write: what became of the document, with its new version as ETag.
pub(super) fn answer(written: Written, database: &OpenDatabase, parent_version: Option<String>) -> Response {
    match WriteResult::of(written, database.origin(), parent_version) {
        Some(result) => wire::with_token(wire::with_etag(wire::json(&result), &result.version), &result.token),
        None => ApiError::internal().into_response(),
    }
}
