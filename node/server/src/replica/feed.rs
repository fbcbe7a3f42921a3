//! Giving a database to the other side: its log from a position on, and the changes of its cache.
//!
//! ```text
//!   commit ─► newest ─► read a stretch, without what the other side knows ─► frame ─► receipt ─► the next
//! ```
//!
//! When what is read is decided by [`holdfast_core::replica::feed`]: a few stretches are under way at once, and where writes
//! come faster than that, they gather in the log and go as larger stretches.
//!
//! Must stay true: a commit never waits for a feed.

use std::sync::Arc;

use holdfast_core::limits::EXCHANGE_COMPACT_OPERATIONS;
use holdfast_core::replica::feed::{LogFeed, Start, Step};
use holdfast_core::replica::frame::Kind;
use holdfast_core::replica::message::about;
use holdfast_core::sync::forwarding::Filter;
use holdfast_core::sync::message::vector_record;
use holdfast_core::time::Millis;
use holdfast_core::trail::Stated;
use holdfast_core::vector::{Position, Vector};
use holdfast_storage::error::StorageError;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use crate::databases::OpenDatabase;
use crate::replica::wire::Outgoing;
use crate::sync::cache::{AnswerError, CachePull};
use crate::sync::exchange::{self, work_on_stretch};
use crate::sync::{cache, envelope};

/// Why a feed ends.
#[derive(Debug, Error)]
pub enum FeedError {
    /// The store failed, or was exchanged.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What the other side says of its cache makes no sense.
    #[error("its cache's position cannot be read")]
    Nonsense,
    /// The connection has ended.
    #[error("the connection has ended")]
    Over,
}

/// Sends a log until it is told to stop, or has come to its end.
pub async fn feed_log(
    database: Arc<OpenDatabase>,
    start: Start,
    out: mpsc::Sender<Outgoing>,
    mut confirmed: watch::Receiver<Position>,
) -> Result<(), FeedError> {
    let mut feed = LogFeed::new(&start);
    let filter = Filter::of(start.known);
    let mut newest = database.newest();
    loop {
        let (here, through) = (*newest.borrow_and_update(), *confirmed.borrow_and_update());
        let (after, goal) = match feed.next(here, through) {
            Step::Done => return Ok(()),
            Step::Read { after, goal } => (after, goal),
            Step::Rest { has_room } => {
                tokio::select! {
                    changed = newest.changed(), if has_room => changed.map_err(|_| FeedError::Over)?,
                    changed = confirmed.changed() => changed.map_err(|_| FeedError::Over)?,
                }
                continue;
            }
        };
        let stretched = work_on_stretch(after, goal, || -> Result<_, StorageError> {
            let standing = exchange::standing(&database)?;
            let stretch = exchange::read(&database, after, &filter, EXCHANGE_COMPACT_OPERATIONS)?;
            // A follower was found to be on its leader's branch when they met; no other is told to it.
            let head = exchange::push_head(&stretch, after, &standing, &Stated::new());
            let message = exchange::compact(&head, &stretch);
            Ok((stretch.through, message))
        });
        let (through, message) = stretched?;
        if !feed.read(through) {
            newest.changed().await.map_err(|_| FeedError::Over)?;
            continue;
        }
        let frame = Outgoing { kind: Kind::Stretch, payload: about(database.name(), &message) };
        out.send(frame).await.map_err(|_| FeedError::Over)?;
    }
}

/// How far the other side is with a cache.
#[derive(Debug, Clone, Default)]
pub struct CacheAt {
    /// Our log that the position counts, as it was said.
    pub log_id: String,
    /// Everything up to here is there.
    pub after: Position,
    /// What is known there.
    pub vector: Vector,
}

/// Sends the changes of a cache, one message after the other, until it is told to stop or has come to a position of ours.
pub async fn feed_cache(
    database: Arc<OpenDatabase>,
    (start, until): (CacheAt, Option<Position>),
    skew_max: Millis,
    out: mpsc::Sender<Outgoing>,
    mut confirmed: watch::Receiver<Option<CacheAt>>,
) -> Result<(), FeedError> {
    let mut newest = database.newest_in_cache();
    let mut at = start;
    let mut is_first = true;
    loop {
        let here = *newest.borrow_and_update();
        if !is_first && until.is_some_and(|until| at.after >= until) {
            return Ok(());
        }
        if at.after >= here && !is_first {
            newest.changed().await.map_err(|_| FeedError::Over)?;
            continue;
        }
        is_first = false;
        let question = CachePull {
            source_node_id: String::new(),
            after: at.after.0,
            log_id: at.log_id.clone(),
            vector: vector_record(&at.vector),
        };
        let answered = tokio::task::block_in_place(|| {
            cache::answer(&database, &question, skew_max).map(|message| envelope::seal(&message.encode()))
        });
        let message = answered.map_err(|error| match error {
            AnswerError::Storage(error) => FeedError::Storage(error),
            AnswerError::Refused(_) => FeedError::Nonsense,
        })?;
        confirmed.borrow_and_update();
        let frame = Outgoing { kind: Kind::Cache, payload: about(database.name(), &message) };
        out.send(frame).await.map_err(|_| FeedError::Over)?;
        confirmed.changed().await.map_err(|_| FeedError::Over)?;
        if let Some(confirmed) = confirmed.borrow_and_update().clone() {
            at = confirmed;
        }
    }
}
