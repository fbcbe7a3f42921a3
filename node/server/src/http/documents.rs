//! Reading documents: one by id, pages of a collection, the names of collections.
//!
//! A read by id answers with the stored bytes as they are. It runs on the request's own thread, because a page
//! that is in memory costs microseconds; whatever walks over many documents goes through [`App::scan`].

use std::fmt::Write;

use axum::body::{Body, Bytes};
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, ETAG, LAST_MODIFIED};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use holdfast_core::id::{CACHE_COLLECTION, CollectionName, DocumentId};
use holdfast_core::limits::{PAGE_DOCUMENTS_DEFAULT, PAGE_DOCUMENTS_MAX};
use holdfast_storage::view::{Document, Page, ReadView};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::access::MayRead;
use crate::http::app::App;
use crate::http::consistency::{Tokens, Wanted};
use crate::http::error::ApiError;
use crate::http::parameters::{self, Parameters};
use crate::http::place::{CollectionPath, DocumentPath};
use crate::http::preconditions::{Conditions, has_version};
use crate::http::refusal::{document_not_found, storage_failed};
use crate::http::wire::{self, Timestamp};

/// Documents that one step of a streamed list reads.
const STEP_DOCUMENTS: usize = 500;

/// The routes of this module.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(names)).routes(routes!(list)).routes(routes!(read))
}

/// Parameters of [`names`].
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct NamesParameters {
    /// Whether to name `cache` too.
    include_system_collections: Option<bool>,
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

/// Parameters of [`read`].
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct ReadParameters {
    /// Whether to add `_id`, `_sys_version` and the other fields that the node keeps.
    include_reserved_fields: Option<bool>,
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

/// Parameters of [`list`].
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// Documents to pass over. Costs as much as reading them; `after` does not.
    skip: Option<i64>,
    /// Documents in the answer, which is then an array: 100 if absent, at most 10000.
    take: Option<i64>,
    /// The last id of the page before; empty for the first page. The answer is then an object with the page and
    /// where to go on.
    #[serde(default, deserialize_with = "parameters::given")]
    after: Option<String>,
    /// Documents in a page: 100 if absent, at most 10000. The answer is then an object.
    limit: Option<i64>,
    /// Whether to add `_id`, `_sys_version` and the other fields that the node keeps.
    include_reserved_fields: Option<bool>,
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

/// Names the collections of a database.
#[utoipa::path(get, path = "/api/documents", tag = "Documents", params(NamesParameters),
    responses((status = 200, description = "Names, sorted without regard to case", body = Vec<String>)))]
pub async fn names(
    State(app): State<App>,
    caller: MayRead,
    Parameters(parameters): Parameters<NamesParameters>,
    tokens: Tokens,
) -> Result<Response, ApiError> {
    let wanted = Wanted::of(&tokens, parameters.token.as_deref(), parameters.timeout.as_deref())?
        .no_older_than(parameters.max_staleness.as_deref())?;
    let database = wanted.database(&app, &caller.database).await?;
    let with_cache = parameters.include_system_collections.unwrap_or(false);
    let looked = app.scan(move || {
        let view = database.view()?;
        Ok((view.collections()?, with_cache && view.cache_state()?.keys > 0))
    });
    let (collections, has_cache) = looked.await?;
    let mut names: Vec<String> = collections
        .into_iter()
        .filter(|(name, _)| !name.is_kept())
        .map(|(name, _)| name.to_string())
        .chain(has_cache.then(|| CACHE_COLLECTION.to_owned()))
        .collect();
    names.sort_by_cached_key(|name| (name.to_lowercase(), name.clone()));
    Ok(wire::json(&names))
}

/// Reads a document.
///
/// The answer is the document as it was stored. Its version is the `ETag`; a reader that names it in
/// `If-None-Match` gets 304 while it is current.
#[utoipa::path(get, path = "/api/documents/{collection}/{id}", tag = "Documents", params(
        ("collection" = String, Path, description = "The collection"),
        ("id" = String, Path, description = "The document's id, percent-encoded"),
        ReadParameters),
    responses((status = 200, description = "The document", body = Object), (status = 304), (status = 404), (status = 503)))]
pub async fn read(
    State(app): State<App>,
    caller: MayRead,
    DocumentPath { collection, id }: DocumentPath,
    Parameters(parameters): Parameters<ReadParameters>,
    Conditions(headers): Conditions,
    tokens: Tokens,
) -> Result<Response, ApiError> {
    let wanted = Wanted::of(&tokens, parameters.token.as_deref(), parameters.timeout.as_deref())?
        .no_older_than(parameters.max_staleness.as_deref())?;
    let view = wanted.database(&app, &caller.database).await?.view().map_err(|error| storage_failed(&error))?;
    let found = view.document(&collection, &id).map_err(|error| storage_failed(&error))?;
    let Some((document, text)) = found.and_then(|mut document| document.text.take().map(|text| (document, text)))
    else {
        return Err(document_not_found(collection.as_str(), id.as_str()));
    };
    let version = document.version.to_string();
    let mut response = if has_version(&headers, &version)? {
        StatusCode::NOT_MODIFIED.into_response()
    } else if parameters.include_reserved_fields.unwrap_or(false) {
        wire::json_text(with_reserved_fields(text, &id, &document))
    } else {
        wire::json_text(text)
    };
    let headers = response.headers_mut();
    headers.extend(wire::etag(&version).map(|tag| (ETAG, tag)));
    headers.extend(wire::http_date(document.stamp.millis()).map(|date| (LAST_MODIFIED, date)));
    Ok(response)
}

/// Lists the documents of a collection, in the order of their ids.
///
/// With `skip` and `take` (or nothing) the answer is an array. With `after` or `limit` it is
/// `{"Documents": [...], "Next": "id"}`; ask again with `after` = `Next` until `Next` is null.
#[utoipa::path(get, path = "/api/documents/{collection}", tag = "Documents", params(
        ("collection" = String, Path, description = "The collection"), ListParameters),
    responses((status = 200, description = "Documents; none for a collection that is not known", body = Vec<Object>),
        (status = 503)))]
pub async fn list(
    State(app): State<App>,
    caller: MayRead,
    CollectionPath(collection): CollectionPath,
    Parameters(parameters): Parameters<ListParameters>,
    tokens: Tokens,
) -> Result<Response, ApiError> {
    let by_key = parameters.after.is_some() || parameters.limit.is_some();
    let by_place = parameters.skip.is_some() || parameters.take.is_some();
    if by_key && by_place {
        return Err(ApiError::bad_request(
            "invalid-parameter",
            "Page either by 'after' and 'limit' or by 'skip' and 'take', not by both.",
        ));
    }
    let wanted = Wanted::of(&tokens, parameters.token.as_deref(), parameters.timeout.as_deref())?
        .no_older_than(parameters.max_staleness.as_deref())?;
    let database = wanted.database(&app, &caller.database).await?;
    let with_reserved = parameters.include_reserved_fields.unwrap_or(false);
    if by_key {
        let after = parameters.after.as_deref().filter(|after| !after.is_empty()).map(DocumentId::parse).transpose()?;
        let take = bounded(parameters.limit);
        let page = app.scan(move || database.view()?.page(&collection, after.as_ref(), 0, take)).await?;
        return Ok(key_page(page, with_reserved));
    }
    let skip = usize::try_from(parameters.skip.unwrap_or(0)).unwrap_or(0);
    let take = bounded(parameters.take);
    let (view, first) = app
        .scan({
            let collection = collection.clone();
            move || {
                let view = database.view()?;
                let first = view.page(&collection, None, skip, take.min(STEP_DOCUMENTS))?;
                Ok((view, first))
            }
        })
        .await?;
    let listing = Listing { app, view: Some(view), collection, left: take, with_reserved };
    Ok(listing.into_response(first))
}

/// How many documents a caller gets who asks for so many.
fn bounded(asked: Option<i64>) -> usize {
    match asked.map(usize::try_from) {
        Some(Ok(asked)) if asked > 0 => asked.min(PAGE_DOCUMENTS_MAX),
        Some(Err(_)) if asked.is_some_and(|asked| asked > 0) => PAGE_DOCUMENTS_MAX,
        _ => PAGE_DOCUMENTS_DEFAULT,
    }
}

fn key_page(page: Page, with_reserved: bool) -> Response {
    let mut text = Vec::with_capacity(64 + page.documents.iter().map(text_len).sum::<usize>());
    text.extend_from_slice(b"{\"Documents\":[");
    put_documents(&mut text, page.documents, with_reserved, true);
    text.extend_from_slice(b"],\"Next\":");
    let next = page.next.as_ref().map(DocumentId::as_str);
    text.extend_from_slice(&serde_json::to_vec(&next).unwrap_or_default());
    text.push(b'}');
    wire::json_text(text)
}

/// An array that is read and sent step by step, from one look at the database.
struct Listing {
    app: App,
    view: Option<Arc<ReadView>>,
    collection: CollectionName,
    left: usize,
    with_reserved: bool,
}

impl Listing {
    fn into_response(mut self, first: Page) -> Response {
        let mut text = vec![b'['];
        let next = self.take_in(first, &mut text, true);
        if next.is_none() {
            text.push(b']');
            return wire::json_text(text);
        }
        let head = Bytes::from(text);
        let rest = stream::unfold((self, next, Some(head)), |(mut listing, next, head)| async move {
            if let Some(head) = head {
                return Some((Ok(head), (listing, next, None)));
            }
            let after = next?;
            match listing.step(after).await {
                Ok((text, next)) => Some((Ok(text), (listing, next, None))),
                // Breaking the connection off tells the caller that the array is not complete.
                Err(error) => Some((Err(error), (listing, None, None))),
            }
        });
        let mut response = Body::from_stream(rest).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    async fn step(&mut self, after: DocumentId) -> Result<(Bytes, Option<DocumentId>), ApiError> {
        let Some(view) = self.view.take() else { return Err(ApiError::internal()) };
        let (collection, take) = (self.collection.clone(), self.left.min(STEP_DOCUMENTS));
        let (view, page) = self
            .app
            .scan(move || {
                let page = view.page(&collection, Some(&after), 0, take)?;
                Ok((view, page))
            })
            .await?;
        self.view = Some(view);
        let mut text = Vec::new();
        let next = self.take_in(page, &mut text, false);
        if next.is_none() {
            text.push(b']');
        }
        Ok((Bytes::from(text), next))
    }

    /// Writes a page; gives the id after which the next one begins, if there is to be one.
    fn take_in(&mut self, page: Page, text: &mut Vec<u8>, is_first: bool) -> Option<DocumentId> {
        self.left = self.left.saturating_sub(page.documents.len());
        let next = page.next.filter(|_| self.left > 0);
        put_documents(text, page.documents, self.with_reserved, is_first);
        next
    }
}

fn text_len((_, document): &(DocumentId, Document)) -> usize {
    document.text.as_ref().map_or(0, Vec::len) + 1
}

fn put_documents(out: &mut Vec<u8>, documents: Vec<(DocumentId, Document)>, with_reserved: bool, mut is_first: bool) {
    for (id, mut document) in documents {
        let Some(text) = document.text.take() else { continue };
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        if with_reserved {
            out.extend_from_slice(&with_reserved_fields(text, &id, &document));
        } else {
            out.extend_from_slice(&text);
        }
    }
}

/// Adds the fields that the node keeps to a document's text.
fn with_reserved_fields(mut text: Vec<u8>, id: &DocumentId, document: &Document) -> Vec<u8> {
    // A stored document is an object with at least its id, and none of these names.
    if text.pop() != Some(b'}') {
        return text;
    }
    let id = serde_json::to_string(id.as_str()).unwrap_or_default();
    let mut fields = String::with_capacity(160);
    let _ = write!(
        fields,
        ",\"_id\":{id},\"_sys_version\":\"{}\",\"_sys_deleted\":false,\"_sys_last_modified_utc\":\"{}\",\
         \"_sys_conflicted\":{}}}",
        document.version,
        Timestamp(document.stamp.millis()),
        document.is_conflicted
    );
    text.extend_from_slice(fields.as_bytes());
    text
}
