//! Dead letters: operations from peers that could not be taken in, and what is to become of them.
//!
//! A letter is looked at, tried again (it may hold by now: this node is newer, or what it needs has come) or settled:
//! then what is shown here is written once more, covering it, so that every node ends with that.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use holdfast_core::id::MEMBERS_COLLECTION;
use holdfast_core::limits::{
    DEAD_LETTER_LISTED_BYTES_MAX, DEAD_LETTER_SHOWN_BYTES_MAX, PAGE_DOCUMENTS_DEFAULT, PAGE_DOCUMENTS_MAX,
};
use holdfast_core::sync::poison::Parked;
use holdfast_core::time::Millis;
use holdfast_core::vector::{Dot, Position};
use holdfast_storage::error::StorageError;
use holdfast_storage::log::LogView;
use holdfast_storage::record::letter::Letter;
use holdfast_storage::record::operation::Entry;
use holdfast_storage::request::{Answer, Request, Which};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::databases::Asker;
use crate::http::access::{MayOperate, database_of};
use crate::http::app::App;
use crate::http::error::{ApiError, quoted};
use crate::http::extract::PathParts;
use crate::http::parameters::{self, Parameters};
use crate::http::refusal::not_submitted;
use crate::http::wire::{self, Timestamp};
use crate::http::writes::token_of_all;

/// Most of a collection's name that is shown where it cannot be one.
const COLLECTION_SHOWN_CHARS: usize = 128;

/// The routes of this module.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(retry_all))
        .routes(routes!(retry))
        .routes(routes!(settle))
}

/// Parameters of [`list`].
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// Letters in the answer: 100 if absent.
    limit: Option<usize>,
    /// `Next` of the answer before.
    after: Option<u64>,
}

/// Some dead letters, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct LetterList {
    /// The letters.
    dead_letters: Vec<LetterRecord>,
    /// Ask again with `after` = this for more; null at the end.
    next: Option<u64>,
    /// How many there are.
    total: u64,
}

/// An operation that could not be taken in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct LetterRecord {
    /// Which operation: its origin and its number there.
    #[schema(example = "till-1@0123456789abcdef:17")]
    dot: String,
    /// Its id.
    id: String,
    /// `Invalid`, `UnknownKind`, `ImpossibleContext`, `Transaction` or `Behind`.
    cause: &'static str,
    /// The same in words.
    reason: String,
    /// When it came.
    #[schema(value_type = String, format = DateTime)]
    parked_utc: Timestamp,
    /// The peer that sent it.
    source_node_id: String,
    /// The collection that it names, also one that cannot be; null when it names none.
    collection: Option<String>,
    /// Whether settling it here leaves it on other nodes, because it names no document.
    is_settled_here_only: bool,
    /// The document that it names, if it names one.
    entity_id: Option<String>,
    /// The transaction that it is part of.
    transaction_id: Option<String>,
    /// Its position in this node's log.
    log_sequence: u64,
    /// The operation as it came, JSON as text; cut where it is long.
    raw: String,
    /// Whether `raw` is cut.
    is_raw_cut: bool,
}

/// What became of dead letters.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct LetterResult {
    /// How many were meant.
    named: u64,
    /// How many are none any more; those of their transactions and those that waited behind them count too.
    done: u64,
    /// Of these, those that name no document and were given up on this node alone: nothing can be written that other
    /// nodes would take over, so settle them there too.
    done_here_only: u64,
    /// Why others stay, the first of them.
    failed: Vec<LetterFailure>,
}

/// Why a letter stays.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct LetterFailure {
    /// Which operation.
    dot: String,
    /// Why.
    reason: String,
}

/// Lists operations that could not be taken in, the oldest first.
#[utoipa::path(get, path = "/api/replication/dead-letters", tag = "Replication", params(ListParameters),
    responses((status = 200, body = LetterList), (status = 401), (status = 404)))]
pub async fn list(
    _may: MayOperate,
    State(app): State<App>,
    headers: HeaderMap,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Response, ApiError> {
    let database = app.existing(&database_of(&headers)?)?;
    let limit = parameters::page_size(parameters.limit, PAGE_DOCUMENTS_DEFAULT, PAGE_DOCUMENTS_MAX)?;
    let after = Position(parameters.after.unwrap_or_default());
    let list = app.scan(move || {
        let (letters, log) = (database.view()?.state()?.letters, database.log()?);
        let mut rest = letters.iter().filter(|letter| letter.position > after);
        let page = rest.by_ref().take(limit).map(|letter| record(letter, &log, DEAD_LETTER_LISTED_BYTES_MAX));
        let dead_letters = page.collect::<Result<Vec<_>, _>>()?;
        let next = rest.next().and_then(|_| dead_letters.last().map(|letter| letter.log_sequence));
        Ok(LetterList { next, dead_letters, total: letters.len() as u64 })
    });
    Ok(wire::json(&list.await?))
}

/// Shows an operation that could not be taken in.
#[utoipa::path(get, path = "/api/replication/dead-letters/{letter}", tag = "Replication",
    params(("letter" = String, Path, description = "Its `Dot` or its `Id`")),
    responses((status = 200, body = LetterRecord), (status = 401), (status = 404)))]
pub async fn show(
    _may: MayOperate,
    State(app): State<App>,
    headers: HeaderMap,
    PathParts(letter): PathParts<String>,
) -> Result<Response, ApiError> {
    let database = app.existing(&database_of(&headers)?)?;
    let which = which(&letter)?;
    let found = app.scan(move || {
        let (letters, log) = (database.view()?.state()?.letters, database.log()?);
        let named = letters.iter().find(|letter| which.names(letter));
        named.map(|letter| record(letter, &log, DEAD_LETTER_SHOWN_BYTES_MAX)).transpose()
    });
    found.await?.map(|letter| wire::json(&letter)).ok_or_else(|| not_found(&letter))
}

/// Tries all dead letters of a database again. What is none any more at a leader is tried again by its followers too.
#[utoipa::path(post, path = "/api/replication/dead-letters/retry", tag = "Replication",
    responses((status = 200, body = LetterResult), (status = 401), (status = 404), (status = 503)))]
pub async fn retry_all(_may: MayOperate, State(app): State<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    let result = submit(&app, &headers, Request::RetryLetters(Which::All)).await?;
    let database = app.existing(&database_of(&headers)?)?;
    Ok(wire::with_token(wire::json(&result), &token_of_all(&database)?))
}

/// Tries a dead letter again, as if it had come now. Those that waited behind it follow.
#[utoipa::path(post, path = "/api/replication/dead-letters/{letter}/retry", tag = "Replication",
    params(("letter" = String, Path, description = "Its `Dot` or its `Id`")),
    responses((status = 200, body = LetterResult), (status = 401), (status = 404), (status = 503)))]
pub async fn retry(
    _may: MayOperate,
    State(app): State<App>,
    headers: HeaderMap,
    PathParts(letter): PathParts<String>,
) -> Result<Response, ApiError> {
    let which = which(&letter)?;
    let token = match &which {
        Which::Dot(dot) => Some(dot.to_string()),
        Which::Id(_) | Which::All => None,
    };
    let result = submit(&app, &headers, Request::RetryLetters(which)).await?;
    if result.named == 0 {
        return Err(not_found(&letter));
    }
    let database = app.existing(&database_of(&headers)?)?;
    let token = token.map_or_else(|| token_of_all(&database), Ok)?;
    Ok(wire::with_token(wire::json(&result), &token))
}

/// Gives a dead letter up: what is shown here is written again, so that every node ends with it.
///
/// The rest of its transaction goes with it, and whatever waits on the same documents. A letter that names no document,
/// or none that there can be, is given up on this node alone (`DoneHereOnly`): other nodes that hold it settle it themselves.
#[utoipa::path(post, path = "/api/replication/dead-letters/{letter}/settle", tag = "Replication",
    params(("letter" = String, Path, description = "Its `Dot` or its `Id`")),
    responses((status = 200, body = LetterResult), (status = 401), (status = 404), (status = 503)))]
pub async fn settle(
    _may: MayOperate,
    State(app): State<App>,
    headers: HeaderMap,
    PathParts(letter): PathParts<String>,
) -> Result<Response, ApiError> {
    let result = submit(&app, &headers, Request::SettleLetters(which(&letter)?)).await?;
    if result.named == 0 {
        return Err(not_found(&letter));
    }
    let response = wire::json(&result);
    if result.done == result.done_here_only {
        return Ok(response);
    }
    let database = app.existing(&database_of(&headers)?)?;
    Ok(wire::with_token(response, &token_of_all(&database)?))
}

async fn submit(app: &App, headers: &HeaderMap, request: Request) -> Result<LetterResult, ApiError> {
    let database = app.writable(&database_of(headers)?)?;
    match database.submit_for(Asker::Client, request).await.map_err(not_submitted)? {
        Answer::Letters(outcome) => {
            let failure = |(dot, reason): (Dot, String)| LetterFailure { dot: dot.to_string(), reason };
            let failed = outcome.failed.into_iter().map(failure).collect();
            Ok(LetterResult { named: outcome.named, done: outcome.done, done_here_only: outcome.local, failed })
        }
        _ => Err(ApiError::internal()),
    }
}

fn which(text: &str) -> Result<Which, ApiError> {
    if let Ok(dot) = text.parse() {
        return Ok(Which::Dot(dot));
    }
    text.parse().map(Which::Id).map_err(|_| {
        let shown = quoted(text);
        ApiError::bad_request("invalid-dead-letter", format!("{shown} names none. Send the Dot or the Id of a letter."))
    })
}

fn not_found(letter: &str) -> ApiError {
    let detail = format!("There is no dead letter {} in this database: it may be settled by now.", quoted(letter));
    ApiError::not_found("dead-letter-not-found", detail)
}

/// What a letter's record is to show of the collection: a name that cannot be one is not among those of the letter.
fn collection_of(letter: &Letter, raw: &str) -> Option<String> {
    if letter.collection.as_str() != MEMBERS_COLLECTION {
        return Some(letter.collection.to_string());
    }
    let fields: Map<String, Value> = serde_json::from_str(raw).unwrap_or_default();
    let named = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("Collection"))?.1.as_str()?;
    Some(named.chars().take(COLLECTION_SHOWN_CHARS).collect())
}

/// A letter with what the log holds of it.
fn record(letter: &Letter, log: &LogView, bytes_max: usize) -> Result<LetterRecord, StorageError> {
    let parked = match log.at(letter.position)? {
        Some(Entry::Operation(logged)) => Parked::of(&logged.operation.kind),
        _ => None,
    };
    let (reason, since, source, raw) = parked.map_or_else(Default::default, |parked| {
        (parked.reason, parked.since, parked.source, String::from(Box::<str>::from(parked.record)))
    });
    let mut end = raw.len().min(bytes_max);
    while !raw.is_char_boundary(end) {
        end -= 1;
    }
    Ok(LetterRecord {
        dot: letter.dot.to_string(),
        id: letter.id.to_string(),
        cause: letter.cause.name(),
        reason,
        parked_utc: Timestamp(Millis(since.0)),
        source_node_id: source,
        collection: collection_of(letter, &raw),
        is_settled_here_only: !letter.is_covered_when_settled(),
        entity_id: letter.document.as_ref().map(ToString::to_string),
        transaction_id: letter.group.map(|group| group.to_string()),
        log_sequence: letter.position.0,
        is_raw_cut: end < raw.len(),
        raw: raw.get(..end).unwrap_or_default().to_owned(),
    })
}
