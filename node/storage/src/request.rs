//! What the writer of a database is asked, and what it answers.

use std::collections::BTreeMap;

use holdfast_core::cache::{CacheMessage, CacheOutcome, CacheRefusal};
use holdfast_core::conflict::ConflictId;
use holdfast_core::conflict::settle::Settlement;
use holdfast_core::counter::Increment;
use holdfast_core::document::{DocumentState, DocumentVersion};
use holdfast_core::error::Refusal;
use holdfast_core::id::{CollectionName, DocumentId, NodeName, OperationId};
use holdfast_core::index::definition::{IndexDefinition, IndexName};
use holdfast_core::json::JsonText;
use holdfast_core::limits::DEAD_LETTERS_MAX;
use holdfast_core::members::FenceReason;
use holdfast_core::operation::Operation;
use holdfast_core::time::Millis;
use holdfast_core::trail::Stated;
use holdfast_core::vector::{Dot, Origin, Position, Vector};
use serde_json::{Map, Value};

use crate::cache::{CacheChange, CacheTaken};
use crate::ranges::SumError;
use crate::record::letter::Letter;
use crate::record::note::Adoption;
use crate::record::operation::Logged;
use crate::record::progress::Checkpoint;

/// One piece of work for the writer.
#[derive(Debug)]
pub enum Request {
    /// Changes that stand or fall each on its own. A plain write is one of them.
    Each(Vec<Change>),
    /// Changes that all happen or none: one transaction.
    Together(Vec<Change>),
    /// Makes an empty collection known.
    Register(CollectionName),
    /// Operations from a peer.
    Receive(Received),
    /// Counts a node in, or out for a reason.
    Member {
        /// The node.
        member: Origin,
        /// `None` to count it in.
        fence: Option<FenceReason>,
    },
    /// Removes tombstones and adds up increments that every member knows.
    GiveUp {
        /// Tombstones younger than this stay.
        tombstones_before: Millis,
        /// Most documents to look at.
        documents_max: usize,
    },
    /// States of documents, not through operations: joined with what is here.
    States(Vec<(CollectionName, DocumentId, DocumentState)>),
    /// Puts right what cannot be believed.
    Mend(Mending),
    /// All states of a peer were taken in: what it knew is known here.
    Adopt(Adoption),
    /// Defines an index.
    DefineIndex(IndexDefinition),
    /// Drops an index.
    DropIndex(IndexName),
    /// Changes of cache entries, each on its own.
    Cache(Vec<CacheChange>),
    /// Keys of the cache that changed at a peer; each of their states is plausible.
    TakeCacheNews(CacheMessage),
    /// Tries parked operations again.
    RetryLetters(Which),
    /// Gives parked operations up, keeping what is shown here.
    SettleLetters(Which),
    /// Progress with a peer; kept with the next commit.
    Checkpoint {
        /// The peer.
        peer: NodeName,
        /// The progress.
        checkpoint: Checkpoint,
    },
    /// A node has everything of our log up to a position; kept with the next commit.
    Confirmed {
        /// The node.
        by: NodeName,
        /// Up to here.
        through: Position,
    },
}

impl Request {
    /// How many operations it may log, at least one.
    pub fn weight(&self) -> usize {
        match self {
            Self::Each(changes) | Self::Together(changes) => changes.len().max(1),
            Self::Receive(received) => received.operations.len().max(1),
            Self::Cache(changes) => changes.len().max(1),
            Self::TakeCacheNews(news) => news.states.len().max(1),
            Self::States(states) => states.len().max(1),
            Self::Mend(mending) => mending.states.len().max(1),
            Self::GiveUp { documents_max, .. } => (*documents_max).max(1),
            Self::RetryLetters(_) | Self::SettleLetters(_) => DEAD_LETTERS_MAX,
            Self::Register(_)
            | Self::Checkpoint { .. }
            | Self::Confirmed { .. }
            | Self::Member { .. }
            | Self::Adopt(_)
            | Self::DefineIndex(_)
            | Self::DropIndex(_) => 1,
        }
    }
}

impl Request {
    /// Whether it means the same in a database that was made anew meanwhile: what names positions of a log, or rests on
    /// what was known of it, does not.
    pub fn outlives_its_log(&self) -> bool {
        match self {
            Self::Each(_)
            | Self::Together(_)
            | Self::Register(_)
            | Self::Cache(_)
            | Self::TakeCacheNews(_)
            | Self::DefineIndex(_)
            | Self::DropIndex(_) => true,
            Self::Receive(_)
            | Self::Member { .. }
            | Self::GiveUp { .. }
            | Self::States(_)
            | Self::Mend(_)
            | Self::Adopt(_)
            | Self::RetryLetters(_)
            | Self::SettleLetters(_)
            | Self::Checkpoint { .. }
            | Self::Confirmed { .. } => false,
        }
    }

    /// Whether it writes what somebody who uses this node wants written: a node that takes no writes refuses it.
    ///
    /// What only brings here what was written elsewhere is none of it: a follower lives by that, and a peer may be let in
    /// while clients are not. Progress notes take no position of the log. Mending makes again what the log says. Whoever
    /// keeps others out looks at who brings a request, too. What is tried again was written elsewhere, and a follower tries what
    /// its leader has taken up.
    ///
    /// Giving up is nobody's wish, but it does log notes under positions of this log: it counts as a write.
    pub fn is_of_client(&self) -> bool {
        match self {
            Self::Each(_)
            | Self::Together(_)
            | Self::Register(_)
            | Self::DefineIndex(_)
            | Self::DropIndex(_)
            | Self::Cache(_)
            | Self::Member { .. }
            | Self::SettleLetters(_)
            | Self::GiveUp { .. } => true,
            Self::Receive(_)
            | Self::RetryLetters(_)
            | Self::States(_)
            | Self::Adopt(_)
            | Self::Mend(_)
            | Self::TakeCacheNews(_)
            | Self::Checkpoint { .. }
            | Self::Confirmed { .. } => false,
        }
    }

    /// Bytes of documents that it brings, roughly: what a commit is bounded by besides its operations.
    pub fn bytes(&self) -> usize {
        let of_change = |change: &Change| match &change.action {
            Action::Put(body) => body.as_str().len(),
            Action::Resolve(Settlement::Body(body) | Settlement::Seen(body)) => body.as_str().len(),
            Action::Patch { .. } | Action::Delete | Action::Resolve(_) => 0,
        };
        match self {
            Self::Each(changes) | Self::Together(changes) => changes.iter().map(of_change).sum(),
            Self::Receive(received) => {
                received.operations.iter().map(|(_, operation)| operation.kind.body_bytes()).sum()
            }
            Self::States(states) => states.iter().map(|(_, _, state)| state.body_bytes()).sum(),
            Self::Mend(mending) => mending.states.iter().map(|(_, _, state)| state.body_bytes()).sum(),
            Self::Cache(changes) => changes.iter().map(CacheChange::content_bytes).sum(),
            Self::TakeCacheNews(news) => news.states.iter().map(|(_, state)| state.content_bytes()).sum(),
            Self::Register(_)
            | Self::Checkpoint { .. }
            | Self::Confirmed { .. }
            | Self::Member { .. }
            | Self::GiveUp { .. }
            | Self::RetryLetters(_)
            | Self::SettleLetters(_)
            | Self::DefineIndex(_)
            | Self::DropIndex(_)
            | Self::Adopt(_) => 0,
        }
    }
}

/// What is known to be wrong with the data, and what is right.
#[derive(Debug, Default)]
pub struct Mending {
    /// States that take the place of whatever stands there, readable or not.
    pub states: Vec<(CollectionName, DocumentId, DocumentState)>,
    /// By how much what is kept of collections is off, apart from these documents.
    pub errors: Vec<(CollectionName, SumError)>,
    /// By how much the kept number of conflicted documents is off.
    pub conflicted_error: i64,
}

/// One change that a client asks for.
#[derive(Debug, Clone)]
pub struct Change {
    /// The collection.
    pub collection: CollectionName,
    /// The document.
    pub id: DocumentId,
    /// What to do.
    pub action: Action,
    /// What must hold for it.
    pub expect: Expect,
}

/// What to do with a document.
#[derive(Debug, Clone)]
pub enum Action {
    /// Write the whole document, which carries its id already.
    Put(JsonText),
    /// Change some of it.
    Patch {
        /// A merge patch (RFC 7396), without `$inc`.
        merge: Map<String, Value>,
        /// Amounts to add. With an empty `merge`, this creates what does not exist.
        increment: Option<Increment>,
    },
    /// Delete it.
    Delete,
    /// Settle the conflict that it is in.
    Resolve(Settlement),
}

/// What must hold of a document before it is changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Expect {
    /// Nothing.
    #[default]
    Any,
    /// `parentVersion`: the current version is this one, a deleted document's included.
    Parent(String),
    /// `If-Match`: it exists at one of these versions.
    Match(Vec<String>),
    /// `If-Match: *`: it exists.
    Exists,
    /// `If-None-Match: *`: it does not exist.
    Absent,
    /// It is in this very conflict still.
    Conflict(ConflictId),
}

/// A stretch of a peer's log, as it arrives.
#[derive(Debug)]
pub struct Received {
    /// Who sent it.
    pub source: NodeName,
    /// The log that its positions count.
    pub source_log_id: u64,
    /// The stretch begins after this position of that log …
    pub after: Position,
    /// … and is complete up to this one, what was left out on purpose included.
    pub through: Position,
    /// What the sender said that it knows.
    pub source_vector: Vector,
    /// Which branches of origins it said that it knows; nothing from nodes that do not say.
    pub stated: Stated,
    /// The operations with their positions there, ascending. Some may lie beyond the stretch, ahead of others that
    /// come later.
    pub operations: Vec<(Position, Operation)>,
}

/// What became of a [`Request`].
#[derive(Debug)]
pub enum Answer {
    /// A result for each change, in their order.
    Each(Vec<Result<Written, Refusal>>),
    /// All results, or the first change that was refused and why.
    Together(Result<Vec<Written>, (usize, Refusal)>),
    /// The collection is known.
    Registered,
    /// What became of a peer's stretch.
    Receipt(Receipt),
    /// Whether the node did not stand like that before.
    Member(bool),
    /// What was given up.
    GivenUp(GivenUp),
    /// How many documents changed.
    StatesTaken(u64),
    /// What became of dead letters.
    Letters(LetterOutcome),
    /// What was written of an index, if anything had to be; or why it was refused.
    Index(Result<Option<Written>, Refusal>),
    /// A result for each change of the cache, in their order.
    Cache(Vec<Result<CacheOutcome, CacheRefusal>>),
    /// What a peer's changes came to.
    CacheNewsTaken(CacheTaken),
    /// The progress is noted.
    Noted,
}

/// Which dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// The one of this operation.
    Dot(Dot),
    /// The one of the operation with this id.
    Id(OperationId),
}

impl Which {
    /// Whether it means a letter.
    pub fn names(&self, letter: &Letter) -> bool {
        match self {
            Self::All => true,
            Self::Dot(dot) => letter.dot == *dot,
            Self::Id(id) => letter.id == *id,
        }
    }
}

/// What became of dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LetterOutcome {
    /// How many were meant.
    pub named: u64,
    /// How many are none any more, those that followed included.
    pub done: u64,
    /// Of these, those that name no document: nothing was written that could settle them on other nodes.
    pub local: u64,
    /// Why others stay, the first of them.
    pub failed: BTreeMap<Dot, String>,
}

impl LetterOutcome {
    /// Most reasons that are told.
    pub const FAILED_MAX: usize = 100;
}

/// Tombstones that stay for now, by what each of them waits for first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// Other versions or increments are beside the delete: an open conflict, with which it goes.
    pub for_conflicts: u64,
    /// The delete came after something of its author that is parked here, and is not acknowledged.
    pub for_letters: u64,
    /// Not every member has acknowledged the delete.
    pub for_members: u64,
    /// They are not old enough.
    pub for_time: u64,
}

/// What every member knew, and was therefore given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GivenUp {
    /// Tombstones that were removed.
    pub tombstones: u64,
    /// Documents whose increments were added up.
    pub folded: u64,
    /// Whether there are more documents to look at.
    pub has_more: bool,
}

/// A change that is logged.
#[derive(Debug, Clone)]
pub struct Written {
    /// The operations that it became: one, or two for a patch that also increments.
    pub operations: Vec<Logged>,
    /// The document's version after it.
    pub version: DocumentVersion,
    /// Whether a document was shown before it.
    pub existed: bool,
}

/// An operation that does not fit what is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// Which.
    pub dot: Dot,
    /// Why it does not.
    pub misfit: Misfit,
}

/// Why an operation does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// It is of another branch of its origin, or of our own origin and not known here.
    Branch,
    /// Its sender has not seen all that was forgotten here.
    Sender,
    /// Its writer had not, and nothing is known here any more of what it stands beside.
    Writer,
}

/// What became of a stretch from a peer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receipt {
    /// Operations that were looked at, known ones included.
    pub processed: u64,
    /// Operations that were new.
    pub accepted: u64,
    /// The sender's position up to which everything is here.
    pub through: Position,
    /// The first operation that could not be taken because operations before it are missing: earlier ones of its
    /// origin, or ones that its writer had seen.
    pub gap: Option<Dot>,
    /// The first operation that was taken under a number that had meant another one here, before that was given up: its
    /// node was set back.
    pub second: Option<Dot>,
    /// The first operation that was refused because it does not fit what is here. The nodes must look at each other's
    /// states.
    pub stranger: Option<Stranger>,
    /// The first operation that would have to be parked, and too many are.
    pub overfull: Option<Dot>,
    /// Operations that stood beside others that had not seen them.
    pub conflicts: u64,
    /// Operations whose stamp was too far ahead of our clock.
    pub suspect_stamps: u64,
}
