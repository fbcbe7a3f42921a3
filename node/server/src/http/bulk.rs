//! Many documents in one request, each on its own: a result per item, and a bad one stops no other.
//!
//! ```text
//!   body ─► lines ─► chunk of changes ─► writer's queue (several chunks under way) ─► results, in order
//! ```
//!
//! What stays true:
//! * A body of lines is read as it arrives. Memory is bounded by a few chunks, whatever the body's length;
//!   an array is read whole and is bounded by `Limits:RequestBytesMax`.
//! * Chunks reach the writer in the order of the body, so that a later line wins over an earlier one.
//! * When the writer stops taking chunks, the answer is an error that says how far it came. Every item
//!   before that place was carried out or refused on its own; a request can be repeated as a whole.

mod items;
mod results;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::StreamExt;
use holdfast_core::access::role::Role;
use holdfast_core::error::Refusal;
use holdfast_storage::request::{Answer, Change, Request, Written};
use serde::Deserialize;
use tokio::task;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use self::items::Verb;
pub use self::results::{BulkResult, ItemResult, Told};

use self::items::{Format, Item, Reader};
use self::results::Results;
use crate::databases::{OpenDatabase, SubmitError};
use crate::http::access::Access;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::parameters::Parameters;
use crate::http::place::CollectionPath;
use crate::http::preconditions::Guard;
use crate::http::refusal::not_submitted;
use crate::http::slow_body::broken_off;
use crate::http::{documents, extract, writes};

/// Chunks under way at the writer.
const CHUNKS_UNDER_WAY: usize = 4;
/// How long to wait before a full queue is tried again, and how often.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
const BUSY_TRIES: usize = 1_000;

/// The route of this module. `bulk` is also an id, for every method but POST.
pub fn routes() -> OpenApiRouter<App> {
    use axum::routing::get as on_get;
    OpenApiRouter::new().routes(routes!(bulk)).route(
        "/api/documents/{collection}/bulk",
        on_get(documents::read).put(writes::put).patch(writes::patch).delete(writes::delete),
    )
}

/// Parameters of [`bulk`].
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct BulkParameters {
    /// What to do with each item: `put` (if absent), `insert`, `patch` or `delete`.
    op: Option<Verb>,
    /// `all` (if absent) tells a result for each item, `errors` only for those that failed.
    results: Option<Told>,
}

/// Writes many documents, each on its own.
///
/// The body is one JSON object per line, or an array of objects; each carries its `Id`. An item that fails is
/// told with its place and stops no other.
#[utoipa::path(post, path = "/api/documents/{collection}/bulk", tag = "Documents", params(
        ("collection" = String, Path, description = "The collection"), BulkParameters),
    request_body(content = String, content_type = "application/x-ndjson", description = "Objects, one per line, or an array"),
    responses((status = 200, body = BulkResult, description = "Every item was looked at; see what became of each"),
        (status = 413), (status = 415), (status = 503)))]
pub async fn bulk(
    State(app): State<App>,
    caller: Access,
    CollectionPath(collection): CollectionPath,
    Parameters(parameters): Parameters<BulkParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let verb = parameters.op.unwrap_or(Verb::Put);
    let guard = guard(&caller, verb)?;
    let format = Format::of(&headers)?;
    extract::refuse_compression(&headers)?;
    // Before the body is read: it may be long.
    app.takes_writes()?;
    let mut run = Run {
        database: None,
        results: Results::new(parameters.results.unwrap_or(Told::All)),
        under_way: VecDeque::new(),
        app,
        caller,
        guard,
    };
    let limits = run.app.settings.limits;
    let mut reader = Reader::new(body, format, limits.document_bytes_max, limits.request_bytes_max);
    loop {
        let chunk = match reader.next_chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => return Err(run.broken_off(error).await),
        };
        let expect = run.guard.expect.clone();
        let (collection, app) = (collection.clone(), run.app.clone());
        let parsing = task::spawn_blocking(move || chunk.parse(&app, &collection, verb, &expect));
        let items = parsing.await.map_err(|_| ApiError::internal())?;
        if let Err(error) = run.submit(items).await {
            return Err(run.broken_off(error).await);
        }
    }
    if let Err(error) = run.finish().await {
        return Err(run.broken_off(error).await);
    }
    Ok(run.results.into_response())
}

/// What a key's rights make of a verb.
fn guard(caller: &Access, verb: Verb) -> Result<Guard, ApiError> {
    use holdfast_storage::request::Expect;
    match verb {
        Verb::Put => Guard::for_put(caller, Expect::Any),
        Verb::Insert => Guard::for_insert(caller),
        Verb::Patch => {
            caller.require(Role::UpdateDocument)?;
            // For the items that only increment; the others cannot create anything.
            Ok(Guard::for_patch(caller, Expect::Any, true))
        }
        Verb::Delete => {
            caller.require(Role::DeleteDocument)?;
            Ok(Guard::plain(Expect::Any))
        }
    }
}

type Submitted = Pin<Box<dyn Future<Output = Result<Answer, SubmitError>> + Send>>;

/// A chunk at the writer, and its items' places.
struct UnderWay {
    items: Vec<Result<Item, items::Refused>>,
    submitted: Option<Submitted>,
}

/// One bulk request on its way.
struct Run {
    app: App,
    caller: Access,
    guard: Guard,
    database: Option<Arc<OpenDatabase>>,
    under_way: VecDeque<UnderWay>,
    results: Results,
}

impl Run {
    /// Hands a chunk to the writer, after waiting for an earlier one when enough are under way.
    async fn submit(&mut self, items: Vec<(Result<Item, items::Refused>, Option<Change>)>) -> Result<(), ApiError> {
        let (items, changes): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        let changes: Vec<Change> = changes.into_iter().flatten().collect();
        let submitted = if changes.is_empty() { None } else { self.enqueue(changes).await? };
        self.under_way.push_back(UnderWay { items, submitted });
        while self.under_way.len() >= CHUNKS_UNDER_WAY {
            self.take_answer().await?;
        }
        Ok(())
    }

    /// Puts changes into the writer's queue. Their turn is certain once this returns.
    async fn enqueue(&mut self, changes: Vec<Change>) -> Result<Option<Submitted>, ApiError> {
        let database = self.database(&changes).await?;
        for _ in 0..BUSY_TRIES {
            let (database, request) = (Arc::clone(&database), Request::Each(changes.clone()));
            let mut submitted: Submitted = Box::pin(async move { database.submit(request).await });
            // The first poll puts the request into the queue, or tells that the queue is full.
            match poll_fn(|context| Poll::Ready(submitted.as_mut().poll(context))).await {
                Poll::Ready(Err(SubmitError::Busy)) => {}
                Poll::Ready(done) => return Ok(Some(Box::pin(std::future::ready(done)))),
                Poll::Pending => return Ok(Some(submitted)),
            }
            if self.under_way.is_empty() {
                tokio::time::sleep(BUSY_PAUSE).await;
            } else {
                self.take_answer().await?;
            }
        }
        Err(not_submitted(SubmitError::Busy))
    }

    /// The database; created by the first change that can create.
    async fn database(&mut self, changes: &[Change]) -> Result<Arc<OpenDatabase>, ApiError> {
        if let Some(database) = &self.database {
            return Ok(Arc::clone(database));
        }
        let creates = changes.iter().any(writes::may_create);
        let database =
            if creates { self.app.for_write(&self.caller).await? } else { self.app.writable(&self.caller.database)? };
        self.database = Some(Arc::clone(&database));
        Ok(database)
    }

    /// Waits for the oldest chunk and takes its results down.
    async fn take_answer(&mut self) -> Result<(), ApiError> {
        let Some(UnderWay { items, submitted }) = self.under_way.pop_front() else { return Ok(()) };
        let outcomes = match submitted {
            None => Vec::new(),
            Some(submitted) => match submitted.await.map_err(not_submitted)? {
                Answer::Each(outcomes) => outcomes,
                _ => return Err(ApiError::internal()),
            },
        };
        self.take_down(items, outcomes);
        Ok(())
    }

    fn take_down(&mut self, items: Vec<Result<Item, items::Refused>>, outcomes: Vec<Result<Written, Refusal>>) {
        let mut outcomes = outcomes.into_iter();
        for item in items {
            match item {
                Err(refused) => self.results.failed(&refused.item, &refused.error),
                Ok(item) => match outcomes.next() {
                    Some(Ok(written)) => self.results.succeeded(&item, &written),
                    Some(Err(refusal)) => self.results.failed(&item, &self.guard.explain(&self.caller, refusal)),
                    None => self.results.failed(&item, &ApiError::internal()),
                },
            }
        }
    }

    async fn finish(&mut self) -> Result<(), ApiError> {
        while !self.under_way.is_empty() {
            self.take_answer().await?;
        }
        Ok(())
    }

    /// The error that ends the request early, with how far it came.
    async fn broken_off(mut self, error: ApiError) -> ApiError {
        // What is at the writer already is carried out: its results belong to the count.
        while !self.under_way.is_empty() {
            let _ = self.take_answer().await;
        }
        self.results.onto(error)
    }
}

/// Reads the next piece of a body; an error when the caller breaks off.
async fn next_piece(body: &mut axum::body::BodyDataStream) -> Result<Option<bytes::Bytes>, ApiError> {
    match body.next().await {
        None => Ok(None),
        Some(Ok(piece)) => Ok(Some(piece)),
        Some(Err(error)) => Err(broken_off(&error)),
    }
}
