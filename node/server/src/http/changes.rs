//! What happened in a database, in the order in which this node learnt of it: once, as a long poll, or as a feed.
//!
//! ```text
//!   GET /api/changes?since=17             what the log holds after position 17, and where to go on (`Next`)
//!   ... &wait=30s                         the same; when there is nothing yet, waits for it
//!   ... Accept: text/event-stream         every change as an event, for as long as the caller listens
//! ```
//!
//! What stays true:
//! * A reader that goes on from `Next` (or from the id of the last event it saw) misses nothing and sees nothing
//!   twice, however often it comes back.
//! * Nothing is read ahead of the reader: a slow one costs the node one page of memory.
//! * Entries of the cache are not told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use holdfast_core::access::role::Role;
use holdfast_core::id::{CollectionName, DatabaseName};
use holdfast_core::vector::{Position, Vector};
use holdfast_storage::error::StorageError;
use holdfast_storage::log::ReadLimit;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock;
use crate::databases::OpenDatabase;
use crate::http::access::{Caller, MayRead};
use crate::http::app::App;
use crate::http::consistency::{Tokens, Wanted};
use crate::http::error::ApiError;
use crate::http::parameters::{self, Parameters};
use crate::http::wire::{self, OperationRecord};

/// Changes in an answer when nothing is asked, and at most.
const CHANGES_DEFAULT: usize = 100;
const CHANGES_MAX: usize = 10_000;
/// Changes that a feed reads at once.
const FEED_CHANGES: usize = 256;
/// Bytes of payload after which an answer is cut and continued by `Next`.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// How often a feed says that it is alive while nothing happens.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often a feed looks whether its key still holds while nothing happens.
const KEY_LOOKED_AT_EVERY: Duration = Duration::from_secs(5);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The route of this module.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(changes))
}

/// Parameters of [`changes`].
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct ChangesParameters {
    /// The position after which to begin: `Next` of the answer before, 0 for everything, or `now`.
    since: Option<String>,
    /// The log that `since` counts, as `LogId` of the answer before: 410 when the database has another by now.
    log_id: Option<String>,
    /// Changes in the answer: 100 if absent, at most 10000. A transaction is never cut.
    limit: Option<usize>,
    /// How long to wait when there is nothing yet: milliseconds, or `30s`; at most one minute.
    wait: Option<String>,
    /// Tell changes of this collection alone.
    collection: Option<String>,
    /// Whether to tell the documents; true if absent.
    include_documents: Option<bool>,
    /// A write's token: wait until this node has it.
    #[serde(default, deserialize_with = "parameters::given")]
    token: Option<String>,
    /// How long to wait for it: milliseconds, or `30s`; 5 s if absent, at most one minute.
    timeout: Option<String>,
    /// How old what this node shows may be at most, beside its leader: `500ms`, or `30s`. The header `Max-Staleness` says the
    /// same; a node that leads, or is alone, always meets it.
    #[serde(default, deserialize_with = "parameters::given")]
    max_staleness: Option<String>,
}

/// A stretch of what happened.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ChangePage {
    /// The operations, in the order in which this node learnt of them.
    changes: Vec<OperationRecord>,
    /// Ask again with `since` = this.
    next: u64,
    /// Whether there is more already.
    has_more: bool,
    /// The log that the positions count.
    log_id: String,
}

/// Tells what happened after a position, waits for it, or tells it as it happens.
///
/// With `Accept: text/event-stream` the answer is a feed of events, each an operation with its position as id;
/// `Last-Event-ID` resumes it. An event named `position` tells how far the feed is when nothing passed the filter.
#[utoipa::path(get, path = "/api/changes", tag = "Changes", params(ChangesParameters,
        ("Last-Event-ID" = Option<u64>, Header, description = "For a feed: the id of the last event that was seen")),
    responses((status = 200, body = ChangePage, description = "What happened, as JSON or as a feed"),
        (status = 410, description = "The log no longer holds what follows `since`: read the documents anew"),
        (status = 503)))]
pub async fn changes(
    State(app): State<App>,
    caller: MayRead,
    Parameters(parameters): Parameters<ChangesParameters>,
    headers: HeaderMap,
    tokens: Tokens,
) -> Result<Response, ApiError> {
    let wanted = Wanted::of(&tokens, parameters.token.as_deref(), parameters.timeout.as_deref())?
        .no_older_than(parameters.max_staleness.as_deref())?;
    let database = wanted.database(&app, &caller.database).await?;
    let mut newest = database.newest();
    let is_feed = wants_feed(&headers);
    let last_seen = if is_feed { headers.get(LAST_EVENT_ID).map(position_of_event).transpose()? } else { None };
    let begin = match last_seen {
        Some(position) => Begin::After(position),
        None => since(parameters.since.as_deref())?,
    };
    let filter = Filter {
        collection: parameters.collection.as_deref().map(CollectionName::parse).transpose()?,
        with_documents: parameters.include_documents.unwrap_or(true),
    };
    let look = Arc::clone(&database);
    let (after, log_id) = app.scan(move || start(&look, begin)).await??;
    if parameters.log_id.is_some_and(|known| known != log_id) {
        return Err(gone("log-replaced", "The database was restored or made anew: its positions count another log."));
    }
    if is_feed {
        let feed = Feed {
            database_name: caller.database.clone(),
            caller: caller.caller().clone(),
            app,
            database,
            newest,
            filter,
            after,
            ready: VecDeque::new(),
        };
        return Ok(feed.into_response());
    }
    let limit = parameters.limit.filter(|limit| *limit > 0).unwrap_or(CHANGES_DEFAULT).min(CHANGES_MAX);
    let deadline = clock::monotonic() + parameters::wait("wait", parameters.wait.as_deref())?.unwrap_or_default();
    let stretch = wait_for(&app, &database, &mut newest, after, &filter, limit, deadline).await?;
    Ok(wire::json(&ChangePage {
        changes: stretch.changes,
        next: stretch.through.0,
        has_more: stretch.has_more,
        log_id,
    }))
}

/// Which changes are told, and how much of them.
#[derive(Debug, Clone)]
struct Filter {
    collection: Option<CollectionName>,
    with_documents: bool,
}

/// What was read of the log.
#[derive(Debug)]
struct Stretch {
    changes: Vec<OperationRecord>,
    through: Position,
    has_more: bool,
}

/// Reads until something passes the filter, the log's end stays quiet past the deadline, or the node stops.
async fn wait_for(
    app: &App,
    database: &Arc<OpenDatabase>,
    newest: &mut watch::Receiver<Position>,
    mut after: Position,
    filter: &Filter,
    limit: usize,
    deadline: Instant,
) -> Result<Stretch, ApiError> {
    loop {
        newest.borrow_and_update();
        let stretch = read(app, database, after, filter.clone(), limit).await?;
        let is_late = clock::monotonic() >= deadline || app.shutdown.is_begun();
        if !stretch.changes.is_empty() || is_late {
            return Ok(stretch);
        }
        after = stretch.through;
        if stretch.has_more {
            continue;
        }
        tokio::select! {
            changed = newest.changed() => {
                if changed.is_err() {
                    return Ok(stretch);
                }
            }
            () = tokio::time::sleep_until(deadline.into()) => return Ok(stretch),
            () = app.shutdown.wait() => return Ok(stretch),
        }
    }
}

async fn read(
    app: &App,
    database: &Arc<OpenDatabase>,
    after: Position,
    filter: Filter,
    limit: usize,
) -> Result<Stretch, ApiError> {
    let database = Arc::clone(database);
    app.scan(move || {
        let limit = ReadLimit { operations: limit, bytes: PAGE_BYTES };
        let stretch = database.log()?.read(after, &Vector::new(), limit)?;
        let passes = |collection: &CollectionName| match &filter.collection {
            Some(wanted) => wanted == collection,
            None => !collection.is_cache(),
        };
        let changes = stretch.operations.into_iter().filter(|logged| passes(&logged.operation.collection));
        let changes = changes.map(|logged| {
            let mut record = OperationRecord::of(logged, database.origin());
            if !filter.with_documents {
                record.payload = None;
            }
            record
        });
        Ok(Stretch { changes: changes.collect(), through: stretch.through, has_more: stretch.has_more })
    })
    .await
}

/// Where a reader wants to begin.
#[derive(Debug, Clone, Copy)]
enum Begin {
    /// After a position.
    After(Position),
    /// After everything that the log holds.
    Now,
}

/// The position after which a reader begins, if the log goes on from there, and the log's id.
fn start(database: &OpenDatabase, begin: Begin) -> Result<Result<(Position, String), ApiError>, StorageError> {
    let log = database.log()?;
    let (oldest, newest) = (log.oldest()?, log.newest()?);
    let after = match begin {
        Begin::After(position) => position,
        Begin::Now => newest,
    };
    if after > newest {
        return Ok(Err(gone(
            "position-unknown",
            format!("The log ends at position {newest}: the database was restored or made anew, or 'since' is wrong."),
        )));
    }
    if oldest > after.next() {
        return Ok(Err(gone(
            "position-pruned",
            format!("The log begins at position {oldest}; what came before is no longer told."),
        )
        .with_field("OldestAvailableLogSequence", oldest.0)));
    }
    Ok(Ok((after, format!("{:016x}", database.log_id()?))))
}

fn gone(code: &'static str, what: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        StatusCode::GONE,
        code,
        format!("{what} Ask with since=now, read the documents anew, and follow from there."),
    )
}

fn since(text: Option<&str>) -> Result<Begin, ApiError> {
    match text {
        None => Ok(Begin::After(Position::START)),
        Some(text) if text.eq_ignore_ascii_case("now") => Ok(Begin::Now),
        Some(text) => text.parse().map(Position).map(Begin::After).map_err(|_| {
            ApiError::bad_request("invalid-parameter", "The parameter 'since' must be a position such as 17, or 'now'.")
        }),
    }
}

fn wants_feed(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream")))
}

fn position_of_event(value: &HeaderValue) -> Result<Position, ApiError> {
    value.to_str().ok().and_then(|text| text.trim().parse().ok()).map(Position).ok_or_else(|| {
        ApiError::bad_request("invalid-header", "Last-Event-ID must be the id of an event of this feed, a position.")
    })
}

/// A feed on its way to one reader.
struct Feed {
    app: App,
    caller: Caller,
    database_name: DatabaseName,
    database: Arc<OpenDatabase>,
    newest: watch::Receiver<Position>,
    filter: Filter,
    after: Position,
    ready: VecDeque<Event>,
}

impl Feed {
    fn into_response(self) -> Response {
        let events = Sse::new(self.into_events()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
        ([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], events).into_response()
    }

    fn into_events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut feed| async move {
            let event = feed.next_event().await?;
            Some((Ok(event), feed))
        })
    }

    /// The next event; `None` when the node stops, the database goes, or the key no longer holds.
    async fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.app.shutdown.is_begun() || !self.may_go_on() {
                return None;
            }
            self.newest.borrow_and_update();
            let read = read(&self.app, &self.database, self.after, self.filter.clone(), FEED_CHANGES);
            let stretch = read.await.ok()?;
            let has_moved = stretch.through > self.after;
            self.after = stretch.through;
            self.ready.extend(stretch.changes.iter().filter_map(event));
            if self.ready.is_empty() && has_moved {
                return Some(
                    Event::default().event("position").id(self.after.to_string()).data(self.after.to_string()),
                );
            }
            if self.ready.is_empty() && !stretch.has_more {
                self.wait().await?;
            }
        }
    }

    async fn wait(&mut self) -> Option<()> {
        let mut databases = self.app.databases.changed();
        tokio::select! {
            changed = self.newest.changed() => changed.ok(),
            changed = databases.changed() => changed.ok(),
            () = tokio::time::sleep(KEY_LOOKED_AT_EVERY) => Some(()),
            () = self.app.shutdown.wait() => None,
        }
    }

    fn may_go_on(&self) -> bool {
        let caller = self.app.access.renew(&self.caller);
        caller.is_some_and(|caller| caller.grant().may(Role::ReadDocument, &self.database_name).is_allowed())
            && self.app.databases.get(&self.database_name).is_ok_and(|open| Arc::ptr_eq(&open, &self.database))
    }
}

fn event(record: &OperationRecord) -> Option<Event> {
    let text = serde_json::to_string(record).ok()?;
    Some(Event::default().id(record.log_sequence.to_string()).data(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_feed_is_what_asks_for_one() {
        let accept = |text: &str| wants_feed(&[(ACCEPT, text.parse().unwrap())].into_iter().collect());
        assert!(accept("text/event-stream") && accept("application/json;q=0.5, Text/Event-Stream; q=1"));
        assert!(!accept("*/*") && !accept("application/json"));
    }
}
