//! The state of a document: the operations that no other one covers, and what they show.
//!
//! ```text
//!   put a ──► put b          b's context covers a: a gives way, whatever the stamps say
//!        └──► put c          b and c saw a, not each other: both stand, a conflict;
//!                            the greater stamp is shown, the other is kept beside it
//!        inc +1 (by dot)     stands beside them and adds to whichever is shown, until a put or delete
//!                            that saw it takes its place, or a patch that saw it writes its field
//! ```
//!
//! Invariant: the state is a pure function of the *set* of operations. Any order of arrival that delivers
//! each origin's operations in sequence, and causes before effects, ends in the same state. Keeping only
//! the winner would break this: an operation that covers the winner but not a loser must bring the loser
//! back into play.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use crate::counter::Increment;
use crate::id::OperationId;
use crate::json::JsonText;
use crate::operation::{Operation, OperationKind};
use crate::stamp::Stamp;
use crate::vector::{Dot, Vector};

/// All that is known of one document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DocumentState {
    /// The maximal operations, the shown one first, the others by falling rank.
    pub versions: Vec<Version>,
    /// Increments that no version covers, by dot.
    pub increments: Vec<AppliedIncrement>,
    /// Every operation on this document that has been seen, directly or through a context.
    pub vector: Vector,
}

/// One maximal operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Who wrote it and as which of theirs.
    pub dot: Dot,
    /// The operation's id.
    pub id: OperationId,
    /// Its stamp, which ranks it among concurrent ones.
    pub stamp: Stamp,
    /// The document it wrote; `None` when it deleted it.
    pub body: Option<JsonText>,
}

/// One increment beside the versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedIncrement {
    /// Who wrote it and as which of theirs.
    pub dot: Dot,
    /// The operation's id.
    pub id: OperationId,
    /// Its stamp.
    pub stamp: Stamp,
    /// What it adds.
    pub increment: Increment,
}

/// What an operation did to a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It was seen before, directly or through a context: nothing changed.
    Known,
    /// It took the place of everything that stood, or added to it.
    Applied,
    /// It stands beside others that had not seen it, nor it them.
    Conflict,
}

/// The version of a document as clients see it: it changes whenever what is shown changes.
///
/// Without increments it is the id of the shown operation; with them, that id, a dot and 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentVersion {
    shown: OperationId,
    increments: Option<u64>,
}

impl DocumentVersion {
    /// The version from its parts, as a record keeps them.
    pub fn new(shown: OperationId, increments: Option<u64>) -> Self {
        Self { shown, increments }
    }

    /// The operation that is shown.
    pub fn shown(self) -> OperationId {
        self.shown
    }

    /// What tells one set of increments from another; `None` when there are none.
    pub fn mark(self) -> Option<u64> {
        self.increments
    }
}

impl fmt::Display for DocumentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.increments {
            None => fmt::Display::fmt(&self.shown, f),
            Some(mark) => write!(f, "{}.{mark:016x}", self.shown),
        }
    }
}

impl Version {
    /// Rank among concurrent versions: last writer wins, and the origin settles a tie.
    fn rank(&self) -> (Stamp, &Dot) {
        (self.stamp, &self.dot)
    }
}

impl DocumentState {
    /// Takes one operation in. Kinds that are not about a document's content change nothing.
    pub fn apply(&mut self, operation: &Operation) -> Effect {
        if self.vector.covers(&operation.dot) {
            return Effect::Known;
        }
        match &operation.kind {
            OperationKind::Put { body, .. } => {
                self.increments.retain(|applied| !operation.context.covers(&applied.dot));
                self.apply_whole(operation, Some(body.clone()))
            }
            OperationKind::Patch { body, patch } => {
                self.write_over_increments(operation, &patch.to_object());
                self.apply_whole(operation, Some(body.clone()))
            }
            OperationKind::Delete => {
                self.increments.retain(|applied| !operation.context.covers(&applied.dot));
                self.apply_whole(operation, None)
            }
            OperationKind::Increment(increment) => self.apply_increment(operation, increment.clone()),
            OperationKind::RegisterCollection | OperationKind::Unknown { .. } => Effect::Known,
        }
    }

    /// The document as it is shown: the first version with all increments added. `None` when deleted.
    pub fn shown(&self) -> Option<Cow<'_, JsonText>> {
        let body = self.versions.first()?.body.as_ref()?;
        if self.increments.is_empty() {
            return Some(Cow::Borrowed(body));
        }
        let mut object = body.to_object();
        for applied in &self.increments {
            applied.increment.add_to(&mut object);
        }
        Some(Cow::Owned(JsonText::from_object(&object)))
    }

    /// Whether a document is shown.
    pub fn is_alive(&self) -> bool {
        self.versions.first().is_some_and(|version| version.body.is_some())
    }

    /// Whether several writers did not know of each other.
    pub fn is_conflicted(&self) -> bool {
        self.versions.len() > 1
    }

    /// The version that clients see; `None` when nothing was ever written.
    pub fn version(&self) -> Option<DocumentVersion> {
        let shown = self.versions.first()?.id;
        let marks = self.increments.iter().map(|applied| xxh3_64(&applied.id.0.to_le_bytes()));
        let increments = marks.reduce(u64::wrapping_add);
        Some(DocumentVersion { shown, increments })
    }

    /// The latest stamp among what is shown.
    pub fn stamp(&self) -> Stamp {
        let shown = self.versions.first().map(|version| version.stamp);
        shown.into_iter().chain(self.increments.iter().map(|applied| applied.stamp)).max().unwrap_or_default()
    }

    fn apply_whole(&mut self, operation: &Operation, body: Option<JsonText>) -> Effect {
        self.versions.retain(|version| !operation.context.covers(&version.dot));
        let version = Version { dot: operation.dot.clone(), id: operation.id, stamp: operation.stamp, body };
        let place = self.versions.partition_point(|other| other.rank() > version.rank());
        self.versions.insert(place, version);
        self.vector.merge(&operation.context);
        self.vector.observe(&operation.dot.origin, operation.dot.sequence);
        if self.is_conflicted() { Effect::Conflict } else { Effect::Applied }
    }

    /// A patch takes the place of the increments it saw in the fields that it writes, and of no others: so
    /// changing a price does not meddle with the counting of the stock.
    fn write_over_increments(&mut self, operation: &Operation, patch: &Map<String, Value>) {
        if self.increments.is_empty() {
            return;
        }
        for applied in self.increments.iter_mut().filter(|applied| operation.context.covers(&applied.dot)) {
            applied.increment.0.retain(|(path, _)| !writes(patch, path));
        }
        self.increments.retain(|applied| !applied.increment.0.is_empty());
    }

    fn apply_increment(&mut self, operation: &Operation, increment: Increment) -> Effect {
        let applied =
            AppliedIncrement { dot: operation.dot.clone(), id: operation.id, stamp: operation.stamp, increment };
        let place = self.increments.partition_point(|other| other.dot < applied.dot);
        self.increments.insert(place, applied);
        // The context is not merged: an increment takes the place of nothing.
        self.vector.observe(&operation.dot.origin, operation.dot.sequence);
        if self.is_alive() { Effect::Applied } else { Effect::Conflict }
    }
}

/// Whether a merge patch writes the field at a path, or something above it.
fn writes(patch: &Map<String, Value>, path: &[String]) -> bool {
    let mut object = patch;
    for key in path {
        match object.get(key) {
            None => return false,
            Some(Value::Object(inner)) => object = inner,
            Some(_) => return true,
        }
    }
    true
}

#[cfg(test)]
mod tests;
