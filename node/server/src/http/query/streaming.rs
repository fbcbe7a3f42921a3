//! `SELECT` in lines: rows leave as they are found, and no faster than their reader takes them.
//!
//! ```text
//!   query thread ─► rows ─► a piece is full, or a moment has passed ─► a few pieces wait ─► body ─► $summary or $error
//!                                                                      └ none is free: the query waits
//! ```
//!
//! **What stays true.** Memory is bounded whatever the number of rows. A reader that goes away ends the query. Waiting for a
//! slow reader is no time of the query's own; one that takes nothing for long ends it, and so does one that takes for ever,
//! because a query that waits holds a place and its view of the database. What fails before the first row is an answer with the status of its error; what
//! fails later is the last line.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use holdfast_core::limits::QUERY_READER_WAIT_SECONDS_MAX;
use holdfast_query::failure::Failure;
use holdfast_query::query::Page;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task;

use crate::databases::OpenDatabase;
use crate::http::access::Access;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::query::account::Account;
use crate::http::query::answer::{Outcome, Rows, last_line};
use crate::http::query::asked::{Asked, Form, NDJSON};
use crate::http::query::places::{Lease, Purpose, Watch};
use crate::http::query::reading::{Look, outcome_of};
use crate::http::query::refused::failed;
use crate::{clock, entropy};

/// Bytes of rows that leave together.
const PIECE_BYTES: usize = 32 * 1024;
/// Pieces that wait for their reader.
const PIECES_WAITING_MAX: usize = 4;
/// Rows wait no longer than this for others to leave with them.
const PIECE_AGE_MAX: Duration = Duration::from_millis(50);
/// The key of the last line of an answer that broke off.
const ERROR: &str = "$error";

/// Answers a `SELECT` in lines.
pub async fn stream(
    app: &App,
    caller: &Access,
    asked: Arc<Asked>,
    lease: Lease,
    mut account: Account,
) -> Result<Response, ApiError> {
    let mut answer = match begin(app, caller, &asked, lease.watch().clone()).await {
        Ok((pieces, end)) => Answer { first: None, pieces, end: Some(end), asked, account: None, lease },
        Err(error) => {
            account.refused(&error);
            return Err(error);
        }
    };
    match answer.pieces.recv().await {
        Some(first) => answer.first = Some(first),
        None => {
            if let Some(end) = answer.end.take() {
                match ended(end).await {
                    Ok(outcome) => {
                        account.done(&outcome);
                        return Ok(outcome.respond(
                            answer.asked.query.text(),
                            account.micros(),
                            Rows::new(Form::Lines),
                        ));
                    }
                    Err(error) => {
                        account.refused(&error);
                        return Err(error);
                    }
                }
            }
        }
    }
    answer.account = Some(account);
    let pieces = stream::unfold(answer, |mut answer| async move {
        let piece = answer.next().await?;
        Some((Ok::<_, Infallible>(piece), answer))
    });
    let mut response = Body::from_stream(pieces).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    Ok(response)
}

type Ended = Result<Outcome, ApiError>;

/// Starts the query in a place of its own.
async fn begin(
    app: &App,
    caller: &Access,
    asked: &Arc<Asked>,
    watch: Watch,
) -> Result<(mpsc::Receiver<Bytes>, oneshot::Receiver<Ended>), ApiError> {
    let database = app.existing(&caller.database)?;
    let place = app.queries().place(Purpose::Read, watch.deadline).await?;
    let (sender, pieces) = mpsc::channel(PIECES_WAITING_MAX);
    let (told, end) = oneshot::channel();
    let (asked, runtime) = (Arc::clone(asked), Handle::current());
    task::spawn_blocking(move || {
        let _place = place;
        let source = Source {
            rows: RefCell::new(Rows::new(Form::Lines)),
            left: Cell::new(clock::monotonic()),
            sender,
            runtime,
            watch,
        };
        let outcome = source.run(&database, &asked).map_err(failed);
        drop(source);
        drop(told.send(outcome));
    });
    Ok((pieces, end))
}

async fn ended(end: oneshot::Receiver<Ended>) -> Ended {
    // Nobody tells only where the thread broke off.
    end.await.unwrap_or_else(|_| Err(ApiError::internal()))
}

/// The query's side: rows become pieces.
struct Source {
    rows: RefCell<Rows>,
    /// When a piece left last.
    left: Cell<Instant>,
    sender: mpsc::Sender<Bytes>,
    runtime: Handle,
    watch: Watch,
}

impl Source {
    fn run(&self, database: &OpenDatabase, asked: &Asked) -> Result<Outcome, Failure> {
        let look = Look::at(database, &asked.query)?;
        let take = asked.rows(Form::Lines);
        let page = Page { take, cursor: asked.cursor.as_deref() };
        let mut watch = self.watch.clone();
        // Rows that have left take no room here.
        watch.limits.bytes_max = u64::MAX;
        let answer = watch.spend(&mut || self.send_what_is_old(), |budget| {
            asked.query.rows(look.world(asked, &entropy::random_u128), page, budget, &mut |row| {
                let mut rows = self.rows.borrow_mut();
                rows.push(row);
                if rows.len() < PIECE_BYTES {
                    return Ok(());
                }
                let piece = rows.take();
                drop(rows);
                self.send(piece)
            })
        })?;
        let last = self.rows.borrow_mut().take();
        // Without a row there is nothing to send yet: an answer that fails now still has a status of its own.
        if !last.is_empty() {
            self.send(last)?;
        }
        Ok(outcome_of(answer, take))
    }

    /// Sends a piece, waiting until there is room for it.
    fn send(&self, piece: Vec<u8>) -> Result<(), Failure> {
        self.left.set(clock::monotonic());
        let piece = match self.sender.try_send(Bytes::from(piece)) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(piece) | TrySendError::Closed(piece)) => piece,
        };
        let left = Duration::from_secs(QUERY_READER_WAIT_SECONDS_MAX).saturating_sub(self.watch.waited());
        let patience = self.watch.unread_max.min(left);
        let began = clock::monotonic();
        let sent = self.runtime.block_on(async { tokio::time::timeout(patience, self.sender.send(piece)).await });
        self.watch.note_waited(began.elapsed());
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Failure::refused("query-cancelled", "Nobody reads the answer", "Send it again.")),
            Err(_) => Err(Failure::refused(
                "query-unread",
                "The answer was not read in time",
                "Read it faster, ask for fewer rows and go on with NextCursor, or raise Query:UnreadSeconds.",
            )),
        }
    }

    /// Rows do not wait for others that are long in coming.
    fn send_what_is_old(&self) {
        // Whoever is adding a row now sends by itself.
        let Ok(mut rows) = self.rows.try_borrow_mut() else { return };
        if rows.is_empty() || self.left.get().elapsed() < PIECE_AGE_MAX {
            return;
        }
        if let Ok(room) = self.sender.try_reserve() {
            self.left.set(clock::monotonic());
            room.send(Bytes::from(rows.take()));
        }
    }
}

/// The reader's side. Dropped, it ends the query.
struct Answer {
    first: Option<Bytes>,
    pieces: mpsc::Receiver<Bytes>,
    end: Option<oneshot::Receiver<Ended>>,
    asked: Arc<Asked>,
    account: Option<Account>,
    #[allow(dead_code, reason = "held, not read")]
    lease: Lease,
}

impl Answer {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if let Some(piece) = self.pieces.recv().await {
            return Some(piece);
        }
        let end = ended(self.end.take()?).await;
        let mut account = self.account.take()?;
        Some(Bytes::from(match end {
            Ok(outcome) => {
                account.done(&outcome);
                outcome.summary(self.asked.query.text(), account.micros()).to_line()
            }
            Err(error) => {
                account.refused(&error);
                last_line(ERROR, &error.to_json(None))
            }
        }))
    }
}
