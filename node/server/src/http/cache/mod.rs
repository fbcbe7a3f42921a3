//! `/api/cache`: values under keys that end by themselves.
//!
//! A handler reads and checks what it was given; what becomes of an entry is decided below HTTP, where other doors to the
//! same cache find it too.

mod answer;
pub mod entry;
pub mod many;
mod value;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use holdfast_core::cache::{CacheKey, CacheOutcome, CacheRefusal, CacheScope, parse_ttl};
use holdfast_core::error::Refusal;
use holdfast_core::id::CACHE_COLLECTION;
use holdfast_core::limits::CACHE_TTL_MILLIS_DEFAULT;
use holdfast_core::time::Millis;
use holdfast_storage::cache::CacheChange;
use holdfast_storage::request::{Answer, Expect, Request};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use crate::databases::OpenDatabase;
use crate::http::access::Access;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::place::decoded;
use crate::http::preconditions::{Guard, NO_VERSION, needs_document};
use crate::http::refusal::not_submitted;
use crate::settings::sections::CacheDurability;

/// The routes of this module.
pub fn routes() -> OpenApiRouter<App> {
    entry::routes().merge(many::routes())
}

/// Who has an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, serde::Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Every node.
    #[default]
    Shared,
    /// This node alone.
    Local,
}

impl From<Scope> for CacheScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Shared => Self::Shared,
            Scope::Local => Self::Local,
        }
    }
}

/// When a write is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Once it is on disk.
    Fsync,
    /// At once; it is on disk within a second.
    Relaxed,
}

impl Durability {
    /// What a request asks for, or the node's setting.
    fn of(asked: Option<Self>, app: &App) -> Self {
        asked.unwrap_or(match app.settings.node.cache_durability {
            CacheDurability::Fsync => Self::Fsync,
            CacheDurability::Relaxed => Self::Relaxed,
        })
    }
}

/// The key of a path such as `/api/cache/{key}`.
#[derive(Debug, Clone)]
pub struct KeyPath(pub CacheKey);

impl<S: Send + Sync> FromRequestParts<S> for KeyPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let segment = parts.uri.path().split('/').nth(3).unwrap_or_default();
        Ok(Self(key_of(&decoded(segment, "key")?)?))
    }
}

/// Checks a key.
fn key_of(text: &str) -> Result<CacheKey, ApiError> {
    CacheKey::parse(text).map_err(|refusal| {
        let text = refusal.to_string();
        ApiError::from(refusal).with_error(text)
    })
}

/// How long an entry is to live; the usual time when nothing is said.
fn ttl_of(text: Option<&str>) -> Result<Millis, ApiError> {
    let Some(text) = text else { return Ok(Millis(CACHE_TTL_MILLIS_DEFAULT)) };
    parse_ttl(text).map_err(|error| ApiError::bad_request(error.code(), error.to_string()))
}

/// A span as answers write it.
fn ttl_text(span: Millis) -> String {
    let mut text = span.0.to_string();
    text.push_str("ms");
    text
}

/// Carries changes out in the caller's database. It is created by what can hold where there is no entry, and by nothing
/// else: what is refused leaves no database behind, here or on peers.
async fn write(
    app: &App,
    caller: &Access,
    guard: &Guard,
    changes: Vec<CacheChange>,
) -> Result<Vec<Result<CacheOutcome, CacheRefusal>>, ApiError> {
    let creates = !changes.is_empty() && !needs_document(&guard.expect);
    if !creates && !app.databases.exists(&caller.database) {
        let refusal = match guard.expect {
            Expect::Exists => CacheRefusal::Absent,
            _ => CacheRefusal::OtherVersion { current: NO_VERSION.to_owned() },
        };
        return Ok(changes.iter().map(|_| Err(refusal.clone())).collect());
    }
    submit(&app.for_write(caller).await?, changes).await
}

/// Carries one change out; see [`write`].
async fn write_one(
    app: &App,
    caller: &Access,
    guard: &Guard,
    change: CacheChange,
) -> Result<Result<CacheOutcome, CacheRefusal>, ApiError> {
    write(app, caller, guard, vec![change]).await?.pop().ok_or_else(ApiError::internal)
}

/// Hands changes to the writer.
async fn submit(
    database: &Arc<OpenDatabase>,
    changes: Vec<CacheChange>,
) -> Result<Vec<Result<CacheOutcome, CacheRefusal>>, ApiError> {
    match database.submit(Request::Cache(changes)).await.map_err(not_submitted)? {
        Answer::Cache(outcomes) => Ok(outcomes),
        _ => Err(ApiError::internal()),
    }
}

/// Hands one change to the writer.
async fn submit_one(
    database: &Arc<OpenDatabase>,
    change: CacheChange,
) -> Result<Result<CacheOutcome, CacheRefusal>, ApiError> {
    submit(database, vec![change]).await?.pop().ok_or_else(ApiError::internal)
}

/// The 404 for a key without an entry.
fn not_found(key: &CacheKey) -> ApiError {
    ApiError::not_found(
        "cache-miss",
        format!("There is no cache entry '{key}': it was never set, was deleted, or has ended."),
    )
}

/// Says why a change was refused, as a refusal of a document of the cache where there is one.
fn precondition(key: &CacheKey, refusal: &CacheRefusal) -> Option<Refusal> {
    let current = match refusal {
        CacheRefusal::Absent => NO_VERSION.to_owned(),
        CacheRefusal::Present { current } | CacheRefusal::OtherVersion { current } => current.clone(),
        CacheRefusal::NotANumber | CacheRefusal::Full { .. } => return None,
    };
    Some(Refusal::PreconditionFailed { collection: CACHE_COLLECTION.to_owned(), id: key.to_string(), current })
}

/// What a refusal means to a caller whose key may do only a part.
fn explained(guard: &Guard, access: &Access, key: &CacheKey, refusal: &CacheRefusal) -> ApiError {
    let Some(precondition) = precondition(key, refusal) else { return refused(key, refusal) };
    let error = guard.explain(access, precondition);
    if error.status() == StatusCode::PRECONDITION_FAILED { not_as_expected(key, refusal) } else { error }
}

/// The 412 for headers that do not hold, in the words of the cache.
fn not_as_expected(key: &CacheKey, refusal: &CacheRefusal) -> ApiError {
    let (current, detail) = match refusal {
        CacheRefusal::Present { current } => (
            current.as_str(),
            format!(
                "There is a cache entry '{key}' already, at version '{current}', and If-None-Match asks for none. To \
                 replace it, leave If-None-Match out."
            ),
        ),
        CacheRefusal::OtherVersion { current } if current != NO_VERSION => (
            current.as_str(),
            format!(
                "The cache entry '{key}' is at version '{current}', which If-Match does not name. Read it again, and \
                 send its new ETag."
            ),
        ),
        _ => (
            NO_VERSION,
            format!("There is no cache entry '{key}', and If-Match asks for one. To set it, leave If-Match out."),
        ),
    };
    ApiError::precondition_failed(detail).with_field("currentVersion", current)
}

/// What a refusal means to the caller.
fn refused(key: &CacheKey, refusal: &CacheRefusal) -> ApiError {
    match refusal {
        CacheRefusal::Present { .. } => ApiError::conflict(
            "cache-key-exists",
            format!("There is a cache entry '{key}' already, and 'nx' asks for none. To replace it, leave 'nx' out."),
        ),
        CacheRefusal::Absent => not_found(key),
        CacheRefusal::OtherVersion { .. } => not_as_expected(key, refusal),
        CacheRefusal::NotANumber => ApiError::conflict(
            "not-a-number",
            format!(
                "The cache entry '{key}' is no number that can be added to exactly: it must be JSON, with at most nine \
                 decimals, and stay within 27 digits."
            ),
        ),
        CacheRefusal::Full { bytes, limit } => ApiError::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "cache-full",
            format!(
                "The cache of this database takes {bytes} bytes and may take {limit} (Node:CacheMaxMegabytes). Delete \
                 entries, wait for some to end, or raise the setting."
            ),
        ),
    }
}
