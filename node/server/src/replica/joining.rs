//! Joining a group: between the greeting and the stream, once.
//!
//! ```text
//!   leader                                   who comes from outside
//!                      ◄───────────────────  what it holds
//!     nothing of it is news, or that is wanted:
//!     you are one of us  ─────────────────►  writes that down, and follows
//!     or: why not        ─────────────────►  keeps what it has, and says so
//! ```
//!
//! A follower's own operations are merged into its leader's, so a node that was pointed at the wrong leader would spill its
//! documents there. Must stay true: what comes from outside a group changes nothing there, its epoch included, before it was
//! let in.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use holdfast_core::error::Refusal;
use holdfast_core::id::DatabaseName;
use holdfast_core::limits::DATABASES_MAX;
use holdfast_core::replica::frame::Kind;
use holdfast_core::replica::handshake::Refused;
use holdfast_core::replica::message::{self, HeldDatabase, Holdings, Joined};
use holdfast_core::sync::message::{parse_vector, vector_record};
use holdfast_core::vector::Vector;
use holdfast_storage::error::StorageError;
use thiserror::Error;

use crate::entropy;
use crate::replica::ReplicaGroup;
use crate::replica::greeting::{GreetError, Guest, Host, STEP_WITHIN, expected};
use crate::replica::lives::told_lives;
use crate::replica::wire::{BoxedReader, BoxedWriter, Outgoing, WireError, read_frame, write_frame};

/// Longest name of a group that is believed, in bytes.
const GROUP_BYTES_MAX: usize = 64;

/// Why a node did not join.
#[derive(Debug, Error)]
pub enum JoinError {
    /// The line, or what was said on it.
    #[error(transparent)]
    Greeting(#[from] GreetError),
    /// It said what cannot be believed.
    #[error("it said what cannot be believed: {0}")]
    Nonsense(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It cannot be written down.
    #[error("{0}")]
    Kept(String),
}

impl From<WireError> for JoinError {
    fn from(error: WireError) -> Self {
        Self::Greeting(error.into())
    }
}

/// A new name for a group.
pub(super) fn new_group() -> String {
    format!("{:032x}", entropy::random_u128())
}

impl ReplicaGroup {
    /// The group that this node belongs to.
    pub fn group(&self) -> Option<String> {
        self.decided().remembered.group.clone()
    }

    /// Joins the group of a leader that has greeted this node, unless it belongs there already.
    pub(super) async fn join(
        self: &Arc<Self>,
        (reader, writer): (&mut BoxedReader, &mut BoxedWriter),
        host: &Host,
    ) -> Result<(), JoinError> {
        if host.group.is_some() && host.group == self.group() {
            return Ok(());
        }
        let holdings = tokio::task::block_in_place(|| self.holdings())?;
        let frame = Outgoing { kind: Kind::Holdings, payload: message::write(&holdings) };
        write_frame(writer, self.epoch_number(), &frame).await?;
        let answer = read_frame(reader, true, STEP_WITHIN).await?;
        let joined: Joined = expected(&answer, Kind::Joined)?;
        if joined.group.is_empty() || joined.group.len() > GROUP_BYTES_MAX || Some(&joined.group) != host.group.as_ref()
        {
            return Err(Refusal::invalid("malformed-message", "A group has another name now.").into());
        }
        joined.check()?;
        self.take_lives(&joined.lives).map_err(|error| JoinError::Kept(error.to_string()))?;
        let before = self.group();
        let actions = self.decide(|replica, _| replica.join());
        {
            let mut decided = self.decided();
            decided.remembered.group = Some(joined.group);
            decided.remembered.voters.clear();
            decided.remembered.inherited = None;
            decided.remembered.is_whole = false;
        }
        self.enact(actions).map_err(|error| JoinError::Kept(error.to_string()))?;
        self.joins_by_force.store(false, Ordering::Relaxed);
        tracing::info!(leader = %host.node, left = before, "this node has joined a group of leader and followers");
        Ok(())
    }

    /// Lets a guest that has been greeted into the group, or tells it why not.
    pub(super) async fn let_join(
        &self,
        (reader, writer): (&mut BoxedReader, &mut BoxedWriter),
        guest: &Guest,
    ) -> Result<Result<(), Refused>, JoinError> {
        let frame = read_frame(reader, true, STEP_WITHIN).await?;
        let holdings: Holdings = expected(&frame, Kind::Holdings)?;
        let news = if guest.merges { None } else { tokio::task::block_in_place(|| self.news_in(&holdings))? };
        if let Some((database, operations)) = news {
            return Ok(Err(Refused {
                code: "holds-other-data".to_owned(),
                reason: format!(
                    "it is not of this group, and holds {operations} operations of database '{database}' that the group has \
                     never seen: start it with an empty data directory, or POST /replication/start-follower there with \
                     force to merge them"
                ),
                epoch: None,
                leader: None,
            }));
        }
        let joined = Joined { group: self.group().unwrap_or_default(), lives: told_lives(self.databases())? };
        let frame = Outgoing { kind: Kind::Joined, payload: message::write(&joined) };
        write_frame(writer, self.epoch_number(), &frame).await?;
        tracing::info!(node = %guest.node, merges = guest.merges, "a node has joined this group");
        Ok(Ok(()))
    }

    fn holdings(&self) -> Result<Holdings, StorageError> {
        let mut holdings = Holdings::default();
        for listing in self.databases.list() {
            let Ok(open) = self.databases.get(&listing.name) else { continue };
            let held = HeldDatabase {
                vector: vector_record(&open.view()?.state()?.vector),
                cache_vector: vector_record(&open.view()?.cache_state()?.vector),
            };
            holdings.databases.insert(listing.name.to_string(), held);
        }
        Ok(holdings)
    }

    /// The first database in which somebody from outside knows what nobody here does, and how many operations.
    fn news_in(&self, holdings: &Holdings) -> Result<Option<(DatabaseName, u64)>, JoinError> {
        if holdings.databases.len() > DATABASES_MAX {
            return Err(Refusal::invalid("malformed-message", "A node holds too many databases.").into());
        }
        for (name, held) in &holdings.databases {
            let name = DatabaseName::parse(name)?;
            let (documents, cache) = match self.databases.get(&name) {
                Ok(open) => (open.view()?.state()?.vector, open.view()?.cache_state()?.vector),
                Err(_) => (Vector::new(), Vector::new()),
            };
            let unseen = documents.missing_from(&parse_vector(&held.vector)?);
            let unseen = unseen.saturating_add(cache.missing_from(&parse_vector(&held.cache_vector)?));
            if unseen > 0 {
                return Ok(Some((name, unseen)));
            }
        }
        Ok(None)
    }
}
