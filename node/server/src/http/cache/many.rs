//! Many entries at once: listed, read, written; and how the cache is doing.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use holdfast_core::cache::{CacheCommand, CacheKey, Lifetime, When};
use holdfast_core::limits::{CACHE_ANSWER_BYTES_MAX, CACHE_ENTRIES_PER_REQUEST_MAX, PAGE_DOCUMENTS_DEFAULT};
use holdfast_core::time::Millis;
use holdfast_storage::cache::{CacheBytesMax, CacheChange};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Asked, Entry, Written};
use super::value::{Nothing, json_of};
use super::{Durability, Scope, explained, key_of, ttl_of};
use crate::clock;
use crate::http::access::{MayRead, MayWrite};
use crate::http::app::App;
use crate::http::consistency::{TokenParameters, Tokens, Wanted};
use crate::http::error::ApiError;
use crate::http::extract::JsonBody;
use crate::http::parameters::{self, Parameters};
use crate::http::preconditions::Guard;
use crate::http::refusal::storage_failed;
use crate::http::wire;
use holdfast_storage::request::Expect;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, read, write)).routes(routes!(statistics))
}

/// Parameters of [`list`].
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// What the keys begin with; nothing for all.
    prefix: Option<String>,
    /// `Next` of the page before; absent for the first one.
    #[serde(default, deserialize_with = "parameters::given")]
    after: Option<String>,
    /// Entries in a page: 100 if absent, at most 1000. With values a page ends once they take 16 MiB.
    #[serde(default, deserialize_with = "parameters::given")]
    limit: Option<usize>,
    /// Whether to give values too.
    #[serde(default, deserialize_with = "parameters::given")]
    values: Option<bool>,
    /// Which entries: every node's (`shared`, the default) or this node's (`local`).
    #[serde(default, deserialize_with = "parameters::given")]
    scope: Option<Scope>,
    /// A write's token: wait until this node has it. The header `Consistency-Token` says the same.
    #[serde(default, deserialize_with = "parameters::given")]
    token: Option<String>,
    /// How long to wait for it.
    #[serde(default, deserialize_with = "parameters::given")]
    timeout: Option<String>,
    /// How old what this node shows may be at most, beside its leader: `500ms`, or `30s`. The header `Max-Staleness` says the
    /// same; a node that leads, or is alone, always meets it.
    #[serde(default, deserialize_with = "parameters::given")]
    max_staleness: Option<String>,
}

/// A page of entries.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct EntryPage {
    /// The entries, by key.
    entries: Vec<Entry>,
    /// Ask again with `after` = this; null at the end.
    next: Option<String>,
}

/// Lists entries by key.
#[utoipa::path(get, path = "/api/cache", tag = "Cache", params(ListParameters),
    responses((status = 200, body = EntryPage), (status = 503)))]
pub async fn list(
    State(app): State<App>,
    caller: MayRead,
    Parameters(parameters): Parameters<ListParameters>,
    tokens: Tokens,
    _body: Nothing,
) -> Result<Response, ApiError> {
    let wanted = Wanted::of(&tokens, parameters.token.as_deref(), parameters.timeout.as_deref())?
        .no_older_than(parameters.max_staleness.as_deref())?
        .of_cache();
    let limit = parameters::page_size(parameters.limit, PAGE_DOCUMENTS_DEFAULT, CACHE_ENTRIES_PER_REQUEST_MAX)?;
    let after = parameters.after.as_deref().map(key_of).transpose()?;
    let prefix = parameters.prefix.unwrap_or_default();
    let scope = parameters.scope.unwrap_or_default();
    let with_values = parameters.values.unwrap_or(false);
    let values = with_values.then_some(CacheBytesMax(CACHE_ANSWER_BYTES_MAX));
    let database = wanted.database(&app, &caller.database).await?;
    let now = Millis(clock::now_millis());
    let page = app
        .scan(move || database.view()?.cache_page(scope.into(), &prefix, after.as_ref(), limit, values, now))
        .await?;
    let entries = page.entries.into_iter().map(|entry| Entry::of(&entry.key, entry.shown, with_values, now)).collect();
    Ok(wire::json(&EntryPage { entries, next: page.next.map(|key| key.to_string()) }))
}

/// Which entries to read.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ReadBody {
    /// Their keys, at most 1000; 413 if their values take more than 16 MiB together.
    keys: Vec<String>,
    /// Every node's entries (`shared`, the default), or this node's (`local`).
    scope: Option<Scope>,
}

/// Entries in the order of the keys.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct Entries {
    /// For each key its entry; null where there is none.
    entries: Vec<Option<Entry>>,
}

/// Reads several entries, at one moment.
#[utoipa::path(post, path = "/api/cache", tag = "Cache", request_body = ReadBody,
    params(TokenParameters), responses((status = 200, body = Entries), (status = 400), (status = 413), (status = 503)))]
pub async fn read(
    State(app): State<App>,
    caller: MayRead,
    Parameters(parameters): Parameters<TokenParameters>,
    tokens: Tokens,
    JsonBody(body): JsonBody<ReadBody>,
) -> Result<Response, ApiError> {
    let wanted = parameters.wanted(&tokens)?.of_cache();
    bounded(body.keys.len())?;
    let keys = body.keys.iter().map(|key| key_of(key)).collect::<Result<Vec<CacheKey>, _>>()?;
    let scope = body.scope.unwrap_or_default();
    let database = wanted.database(&app, &caller.database).await?;
    let now = Millis(clock::now_millis());
    let view = database.view().map_err(|error| storage_failed(&error))?;
    let found = app.scan(move || {
        let (mut entries, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        for key in &keys {
            let shown = view.cache_entry(scope.into(), key, now)?;
            bytes += shown.as_ref().map_or(0, |shown| shown.content.bytes.len());
            if bytes > CACHE_ANSWER_BYTES_MAX {
                return Ok(None);
            }
            entries.push(shown.map(|shown| Entry::of(key, shown, true, now)));
        }
        Ok(Some(entries))
    });
    let Some(entries) = found.await? else {
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "answer-too-large",
            format!("The values of these keys take more than {CACHE_ANSWER_BYTES_MAX} bytes. Ask for fewer at a time."),
        ));
    };
    Ok(wire::json(&Entries { entries }))
}

/// What is said in the body cannot be said in the address as well.
#[derive(Debug, Deserialize)]
pub struct NoParameters {}

/// What to write.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct WriteBody {
    /// The entries, at most 1000.
    entries: Vec<WriteEntry>,
    /// How long those live that do not say: 5 minutes if absent.
    ttl: Option<String>,
    /// Every node's entries (`shared`, the default), or this node's (`local`).
    scope: Option<Scope>,
    /// `fsync` or `relaxed`; the node's setting if absent.
    durability: Option<Durability>,
}

/// One entry to write.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct WriteEntry {
    /// Its key.
    key: String,
    /// Its value: any JSON value.
    #[schema(value_type = Object)]
    value: Box<RawValue>,
    /// How long it lives.
    ttl: Option<String>,
}

/// What became of each.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct WrittenEntries {
    /// For each entry what became of it, in their order: as of a single write, or a problem.
    #[schema(value_type = Vec<Written>)]
    entries: Vec<EntryResult>,
    /// How many were written.
    written_count: usize,
    /// How many were refused.
    refused_count: usize,
    /// Names the last of them that was written, and all before it; null where a single write has none.
    token: Option<String>,
}

/// What became of one.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum EntryResult {
    /// It was written.
    Written(Box<Written>),
    /// It was refused, as this problem says.
    Refused(serde_json::Value),
}

/// Sets several entries, in one commit.
///
/// A mistake in the request refuses all of it, and `Index` of the problem says in which entry it is. A key that comes twice is written twice.
#[utoipa::path(put, path = "/api/cache", tag = "Cache", request_body = WriteBody,
    responses((status = 200, body = WrittenEntries), (status = 400)))]
pub async fn write(
    State(app): State<App>,
    caller: MayWrite,
    Parameters(NoParameters {}): Parameters<NoParameters>,
    JsonBody(body): JsonBody<WriteBody>,
) -> Result<Response, ApiError> {
    bounded(body.entries.len())?;
    let guard = Guard::for_put(&caller, Expect::Any)?;
    let when = match guard.expect {
        Expect::Absent => When::Absent,
        Expect::Exists => When::Present,
        _ => When::Always,
    };
    let asked = Asked::of(&app, body.scope, body.durability);
    let mut changes = Vec::with_capacity(body.entries.len());
    for (index, entry) in body.entries.iter().enumerate() {
        let of_entry = |error: ApiError| error.with_field("Index", index);
        let lifetime = Lifetime::For(ttl_of(entry.ttl.as_deref().or(body.ttl.as_deref())).map_err(of_entry)?);
        changes.push(CacheChange {
            scope: asked.scope.into(),
            key: key_of(&entry.key).map_err(of_entry)?,
            command: CacheCommand::Set { content: json_of(entry.value.get().as_bytes()).map_err(of_entry)?, lifetime },
            when: when.clone(),
            wants_value: false,
            is_relaxed: asked.durability == Durability::Relaxed,
        });
    }
    let keys: Vec<CacheKey> = changes.iter().map(|change| change.key.clone()).collect();
    let outcomes = super::write(&app, &caller, &guard, changes).await?;
    let written_count = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let refused_count = outcomes.len() - written_count;
    let last = outcomes.iter().rev().find_map(|outcome| outcome.as_ref().ok()?.written.clone());
    let token = asked.token_of(last);
    let result = |(key, outcome): (&CacheKey, Result<_, _>)| match outcome {
        Ok(outcome) => EntryResult::Written(Box::new(Written::of(key, outcome, asked))),
        Err(refusal) => EntryResult::Refused(explained(&guard, &caller, key, &refusal).to_json(None)),
    };
    let entries = keys.iter().zip(outcomes).map(result).collect();
    let response = wire::json(&WrittenEntries { entries, written_count, refused_count, token: token.clone() });
    Ok(token.iter().fold(response, |response, token| wire::with_token(response, token)))
}

fn bounded(count: usize) -> Result<(), ApiError> {
    if count > CACHE_ENTRIES_PER_REQUEST_MAX {
        return Err(ApiError::bad_request(
            "too-many-entries",
            format!(
                "A request may name at most {CACHE_ENTRIES_PER_REQUEST_MAX} entries; this one names {count}. Send several."
            ),
        ));
    }
    Ok(())
}

/// How the cache of a database is doing.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct Statistics {
    /// Keys of which something is kept: entries, and ended ones until the next sweep or as long as they hide another.
    keys: u64,
    /// Bytes of keys and records.
    bytes: u64,
    /// Most bytes that it may take; null for no bound.
    bytes_max: Option<u64>,
    /// Whether it is full: writes that make it larger are refused, others are taken.
    is_full: bool,
    /// Changes since the node's start, peers' included.
    changes: u64,
    /// The newest change, in this node's own count.
    position: u64,
    /// How far the log has synced.
    synced_position: u64,
    /// How writes are answered that do not say.
    durability: Durability,
}

/// Tells how the cache of a database is doing.
#[utoipa::path(get, path = "/api/cache-statistics", tag = "Cache", responses((status = 200, body = Statistics)))]
pub async fn statistics(
    State(app): State<App>,
    caller: MayRead,
    Parameters(NoParameters {}): Parameters<NoParameters>,
    _body: Nothing,
) -> Result<Response, ApiError> {
    let database = app.existing(&caller.database)?;
    let view = database.view().map_err(|error| storage_failed(&error))?;
    let state = view.cache_state().map_err(|error| storage_failed(&error))?;
    let synced = *database.newest_in_cache().borrow();
    let megabytes = app.settings.node.cache_max_megabytes;
    Ok(wire::json(&Statistics {
        keys: state.keys,
        bytes: state.bytes,
        bytes_max: (megabytes > 0).then_some(megabytes.saturating_mul(1024 * 1024)),
        is_full: database.counts().is_cache_full.load(Ordering::Relaxed),
        changes: database.counts().cache_changes.load(Ordering::Relaxed),
        position: state.position.0,
        synced_position: synced.0,
        durability: Durability::of(None, &app),
    }))
}
