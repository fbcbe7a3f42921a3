//! One entry: set, get, delete, add to, touch.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use holdfast_core::cache::{CacheCommand, CacheKey, CacheRefusal, Lifetime, When};
use holdfast_core::counter::Amount;
use holdfast_core::limits::CACHE_TTL_MILLIS_DEFAULT;
use holdfast_core::time::Millis;
use holdfast_storage::cache::CacheChange;
use holdfast_storage::request::Expect;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Asked, Entry, Written};
use super::value::{Nothing, Value};
use super::{Durability, KeyPath, Scope, explained, not_found, refused, submit_one, ttl_of, write_one};
use crate::clock;
use crate::http::access::{MayDelete, MayRead, MayUpdate, MayWrite};
use crate::http::app::App;
use crate::http::consistency::{Tokens, Wanted};
use crate::http::error::ApiError;
use crate::http::parameters::{Parameters, given};
use crate::http::preconditions::{Conditions, Guard, expected, has_version};
use crate::http::refusal::storage_failed;
use crate::http::wire;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get, put, delete)).routes(routes!(increment)).routes(routes!(touch))
}

/// Parameters of [`get`].
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct GetParameters {
    /// Which of the two entries of the key: every node's (`shared`, the default) or this node's (`local`).
    #[serde(default, deserialize_with = "given")]
    scope: Option<Scope>,
    /// Whether a JSON value is to be the whole answer, without what is known about it.
    #[serde(default, deserialize_with = "given")]
    raw: Option<bool>,
    /// A write's token: wait until this node has it. The header `Consistency-Token` says the same.
    #[serde(default, deserialize_with = "given")]
    token: Option<String>,
    /// How long to wait for it: milliseconds, or `30s`; 5 s if absent, at most one minute.
    #[serde(default, deserialize_with = "given")]
    timeout: Option<String>,
    /// How old what this node shows may be at most, beside its leader: `500ms`, or `30s`. The header `Max-Staleness` says the
    /// same; a node that leads, or is alone, always meets it.
    #[serde(default, deserialize_with = "given")]
    max_staleness: Option<String>,
}

/// Parameters of [`put`].
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct PutParameters {
    /// How long it lives: `500ms`, `30s`, `5m`, `2h`, `1d`, or seconds; 5 minutes if absent, at most 30 days.
    #[serde(default, deserialize_with = "given")]
    ttl: Option<String>,
    /// Whether an entry that is there keeps its end; `ttl` then counts for one that is not.
    #[serde(default, deserialize_with = "given")]
    keep_ttl: Option<bool>,
    /// Only if there is no entry; 409 if there is.
    #[serde(default, deserialize_with = "given")]
    nx: Option<bool>,
    /// Only if there is an entry; 404 if there is none.
    #[serde(default, deserialize_with = "given")]
    xx: Option<bool>,
    /// Whether to give the value that was there before, in `Previous`.
    #[serde(default, deserialize_with = "given")]
    get: Option<bool>,
    /// Every node's entry (`shared`, the default), or one of this node alone (`local`).
    #[serde(default, deserialize_with = "given")]
    scope: Option<Scope>,
    /// `fsync`: answered once it is on disk. `relaxed`: at once, on disk within a second.
    #[serde(default, deserialize_with = "given")]
    durability: Option<Durability>,
}

/// Parameters of [`delete`].
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct DeleteParameters {
    /// Whether to give the value that was there, in `Previous`.
    #[serde(default, deserialize_with = "given")]
    get: Option<bool>,
    /// Which of the two entries of the key.
    #[serde(default, deserialize_with = "given")]
    scope: Option<Scope>,
    /// `fsync` or `relaxed`; see PUT.
    #[serde(default, deserialize_with = "given")]
    durability: Option<Durability>,
}

/// Parameters of [`increment`].
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct IncrementParameters {
    /// How much to add: a number with at most nine decimals; 1 if absent.
    #[serde(default, deserialize_with = "given")]
    by: Option<String>,
    /// How long an entry lives that is not there yet; one that is there keeps its end.
    #[serde(default, deserialize_with = "given")]
    ttl: Option<String>,
    /// Which of the two entries of the key.
    #[serde(default, deserialize_with = "given")]
    scope: Option<Scope>,
    /// `fsync` or `relaxed`; see PUT.
    #[serde(default, deserialize_with = "given")]
    durability: Option<Durability>,
}

/// Parameters of [`touch`].
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct TouchParameters {
    /// How long it lives from now on; 5 minutes if absent.
    #[serde(default, deserialize_with = "given")]
    ttl: Option<String>,
    /// Which of the two entries of the key.
    #[serde(default, deserialize_with = "given")]
    scope: Option<Scope>,
    /// `fsync` or `relaxed`; see PUT.
    #[serde(default, deserialize_with = "given")]
    durability: Option<Durability>,
}

/// Reads an entry.
///
/// A JSON value comes inside of an object that says when it was made and ends; any other value comes as it was sent,
/// with its content type, and the headers `Cache-Expires-At` and `Cache-Remaining-Ttl`.
#[utoipa::path(get, path = "/api/cache/{key}", tag = "Cache", params(
        ("key" = String, Path, description = "The key, percent-encoded: 1 to 256 characters"), GetParameters,
        ("If-None-Match" = Option<String>, Header, description = "Versions that the caller has; 304 if one is current")),
    responses((status = 200, body = Entry), (status = 304), (status = 400), (status = 404, description = "There is none, or it has ended"),
        (status = 503, description = "The write of the token is not here yet")))]
pub async fn get(
    State(app): State<App>,
    caller: MayRead,
    KeyPath(key): KeyPath,
    Parameters(parameters): Parameters<GetParameters>,
    Conditions(headers): Conditions,
    tokens: Tokens,
    _body: Nothing,
) -> Result<Response, ApiError> {
    let wanted = Wanted::of(&tokens, parameters.token.as_deref(), parameters.timeout.as_deref())?
        .no_older_than(parameters.max_staleness.as_deref())?
        .of_cache();
    let database = wanted.database(&app, &caller.database).await?;
    let now = Millis(clock::now_millis());
    let view = database.view().map_err(|error| storage_failed(&error))?;
    let found = view.cache_entry(parameters.scope.unwrap_or_default().into(), &key, now);
    let Some(shown) = found.map_err(|error| storage_failed(&error))? else { return Err(not_found(&key)) };
    let version = shown.times.version_text();
    if has_version(&headers, &version)? {
        return Ok(wire::with_etag(StatusCode::NOT_MODIFIED.into_response(), &version));
    }
    Ok(answer::read(&key, shown, &version, parameters.raw.unwrap_or(false), now))
}

/// Sets an entry.
///
/// The body is any JSON value, or anything else with its content type.
#[utoipa::path(put, path = "/api/cache/{key}", tag = "Cache", request_body = Object, params(
        ("key" = String, Path, description = "The key, percent-encoded: 1 to 256 characters"), PutParameters,
        ("If-Match" = Option<String>, Header, description = "Versions, one of which must be current; 412 if not"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: there must be no entry; 412 if there is")),
    responses((status = 200, body = Written), (status = 400), (status = 404), (status = 409), (status = 412),
        (status = 413), (status = 507, description = "The cache is full")))]
pub async fn put(
    State(app): State<App>,
    caller: MayWrite,
    KeyPath(key): KeyPath,
    Parameters(parameters): Parameters<PutParameters>,
    Conditions(headers): Conditions,
    Value(content): Value,
) -> Result<Response, ApiError> {
    let ttl = ttl_of(parameters.ttl.as_deref())?;
    let lifetime = if parameters.keep_ttl.unwrap_or(false) { Lifetime::KeepOr(ttl) } else { Lifetime::For(ttl) };
    let expect = match (parameters.nx.unwrap_or(false), parameters.xx.unwrap_or(false), expected(&headers, None)?) {
        (false, false, expect) => expect,
        (true, false, Expect::Any) => Expect::Absent,
        (false, true, Expect::Any) => Expect::Exists,
        _ => {
            return Err(ApiError::bad_request(
                "contradictory-preconditions",
                "Send one of 'nx', 'xx', If-Match and If-None-Match, not several.",
            ));
        }
    };
    let is_asked_by_word = parameters.nx.unwrap_or(false) || parameters.xx.unwrap_or(false);
    let guard = Guard::for_put(&caller, expect)?;
    let asked = Asked::of(&app, parameters.scope, parameters.durability).with_value(parameters.get, &caller)?;
    let change = change(&key, CacheCommand::Set { content, lifetime }, when(&guard.expect), asked);
    match write_one(&app, &caller, &guard, change).await? {
        Ok(outcome) => Ok(Written::of(&key, outcome, asked).into_response()),
        Err(refusal) if is_asked_by_word => Err(refused(&key, &refusal)),
        Err(refusal) => Err(explained(&guard, &caller, &key, &refusal)),
    }
}

/// Deletes an entry. One that is not there is no mistake.
#[utoipa::path(delete, path = "/api/cache/{key}", tag = "Cache", params(
        ("key" = String, Path, description = "The key, percent-encoded"), DeleteParameters,
        ("If-Match" = Option<String>, Header, description = "Versions, one of which must be current; 412 if not")),
    responses((status = 200, body = Written), (status = 400), (status = 412)))]
pub async fn delete(
    State(app): State<App>,
    caller: MayDelete,
    KeyPath(key): KeyPath,
    Parameters(parameters): Parameters<DeleteParameters>,
    Conditions(headers): Conditions,
    _body: Nothing,
) -> Result<Response, ApiError> {
    let guard = Guard::plain(expected(&headers, None)?);
    let asked = Asked::of(&app, parameters.scope, parameters.durability).with_value(parameters.get, &caller)?;
    let database = app.writable(&caller.database)?;
    let change = change(&key, CacheCommand::Delete, when(&guard.expect), asked);
    match submit_one(&database, change).await? {
        Ok(outcome) => Ok(Written::of(&key, outcome, asked).into_response()),
        Err(refusal) => Err(explained(&guard, &caller, &key, &refusal)),
    }
}

/// Adds to a number.
///
/// An entry that is not there begins at zero. What several nodes add at the same time adds up.
#[utoipa::path(post, path = "/api/cache/{key}/increment", tag = "Cache", params(
        ("key" = String, Path, description = "The key, percent-encoded"), IncrementParameters,
        ("If-Match" = Option<String>, Header, description = "Versions, one of which must be current; 412 if not")),
    responses((status = 200, body = Written), (status = 400), (status = 409, description = "It is no number"),
        (status = 412)))]
pub async fn increment(
    State(app): State<App>,
    caller: MayWrite,
    KeyPath(key): KeyPath,
    Parameters(parameters): Parameters<IncrementParameters>,
    Conditions(headers): Conditions,
    _body: Nothing,
) -> Result<Response, ApiError> {
    let by = parameters.by.as_deref().unwrap_or("1");
    // A plus sign of an address stands for a space.
    let amount = Amount::parse(by.trim()).ok_or_else(|| {
        ApiError::bad_request(
            "invalid-increment",
            "'by' must be a number within ±10^18 with at most nine decimals, as in by=1 or by=-0.5.",
        )
    })?;
    let lifetime = ttl_of(parameters.ttl.as_deref())?;
    let guard = Guard::for_put(&caller, expected(&headers, None)?)?;
    let asked = Asked::of(&app, parameters.scope, parameters.durability);
    let change = change(&key, CacheCommand::Add { amount, lifetime }, when(&guard.expect), asked);
    match write_one(&app, &caller, &guard, change).await? {
        Ok(outcome) => Ok(Written::of(&key, outcome, asked).into_response()),
        Err(refusal) => Err(explained(&guard, &caller, &key, &refusal)),
    }
}

/// Lets an entry end at another time.
#[utoipa::path(post, path = "/api/cache/{key}/touch", tag = "Cache", params(
        ("key" = String, Path, description = "The key, percent-encoded"), TouchParameters,
        ("If-Match" = Option<String>, Header, description = "Versions, one of which must be current; 412 if not")),
    responses((status = 200, body = Written), (status = 400), (status = 404), (status = 412)))]
pub async fn touch(
    State(app): State<App>,
    caller: MayUpdate,
    KeyPath(key): KeyPath,
    Parameters(parameters): Parameters<TouchParameters>,
    Conditions(headers): Conditions,
    _body: Nothing,
) -> Result<Response, ApiError> {
    let lifetime = ttl_of(parameters.ttl.as_deref())?;
    let guard = Guard::plain(expected(&headers, None)?);
    let database = app.writable(&caller.database)?;
    let asked = Asked::of(&app, parameters.scope, parameters.durability);
    let change = change(&key, CacheCommand::Touch { lifetime }, when(&guard.expect), asked);
    match submit_one(&database, change).await? {
        Ok(outcome) => Ok(Written::of(&key, outcome, asked).into_response()),
        Err(CacheRefusal::Absent) => Err(not_found(&key)),
        Err(refusal) => Err(explained(&guard, &caller, &key, &refusal)),
    }
}

/// What must hold of an entry, in the words of the cache.
fn when(expect: &Expect) -> When {
    match expect {
        Expect::Any | Expect::Conflict(_) => When::Always,
        Expect::Exists => When::Present,
        Expect::Absent => When::Absent,
        Expect::Parent(version) => When::At(vec![version.clone()]),
        Expect::Match(versions) => When::At(versions.clone()),
    }
}

fn change(key: &CacheKey, command: CacheCommand, when: When, asked: Asked) -> CacheChange {
    CacheChange {
        scope: asked.scope.into(),
        key: key.clone(),
        command,
        when,
        wants_value: asked.wants_value,
        is_relaxed: asked.durability == Durability::Relaxed,
    }
}

const _: () = assert!(CACHE_TTL_MILLIS_DEFAULT == 300_000, "what is written above of the usual time");
