//! The state of a document: the operations that no other one covers, and what they show.
//!
//! ```text
//!   put a ──► put b          b's context covers a: a gives way, whatever the stamps say
//!        └──► put c          b and c saw a, not each other: both stand, a conflict;
//!                            the greater stamp is shown, the other is kept beside it
//!        inc +1 (by dot)     stands beside them and adds to whichever is shown, until a put or delete
//!                            that saw it takes its place, or a patch that saw it writes its field
//!        inc +1 again        written again by a node that returned: the same change, which counts once
//! ```
//!
//! Invariant: the state is a pure function of the *set* of operations. Any order of arrival that delivers
//! each origin's operations in sequence, and causes before effects, ends in the same state. Keeping only
//! the winner would break this: an operation that covers the winner but not a loser must bring the loser
//! back into play.

pub mod names;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use crate::counter::Increment;
use crate::document::names::CountedName;
use crate::id::OperationId;
use crate::json::JsonText;
use crate::operation::{Operation, OperationKind};
use crate::stamp::Stamp;
use crate::vector::{Dot, Sequence, Vector};

/// All that is known of one document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DocumentState {
    /// The maximal operations, the shown one first, the others by falling rank.
    pub versions: Vec<Version>,
    /// Increments that no version covers, by dot.
    pub increments: Vec<AppliedIncrement>,
    /// The sum of increments that every member knows; it stands beside the versions as they did.
    pub tally: Option<Tally>,
    /// Names of increments that stand here no more, while the same change can come again; by dot.
    pub names: Vec<CountedName>,
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
    /// Whether it settled a conflict, by a policy or a person. Where all sides of a conflict did, no policy answers.
    pub is_resolution: bool,
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
    /// The operation that it stands in for: however many stand in for one, it counts once.
    pub replaces: Option<OperationId>,
}

/// Increments added up once every member knew them all. An operation that had not seen them cannot turn up any more,
/// so that which of them it was no longer matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// What they add, by path in its order.
    pub sum: Increment,
    /// The newest of each origin.
    pub seen: Vector,
    /// The latest of their stamps.
    pub stamp: Stamp,
    /// What they add to the document's version.
    pub mark: u64,
}

impl Tally {
    /// Whether an operation takes the place of some of the increments that are in it, and not of all: their sum cannot
    /// be taken apart any more.
    pub fn is_cut_by(&self, operation: &Operation) -> bool {
        let takes_place = !matches!(operation.kind, OperationKind::Increment(_));
        let has_seen_any = self.seen.iter().any(|(origin, _)| operation.context.get(origin) > Sequence(0));
        takes_place && has_seen_any && !operation.context.covers_all(&self.seen)
    }
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
                self.take_increments_away(operation);
                self.apply_whole(operation, Some(body.clone()))
            }
            OperationKind::Patch { body, patch } => {
                self.write_over_increments(operation, &patch.to_object());
                self.apply_whole(operation, Some(body.clone()))
            }
            OperationKind::Delete => {
                self.take_increments_away(operation);
                self.apply_whole(operation, None)
            }
            OperationKind::Resolve { body: Some(body), patch } => {
                self.write_over_increments(operation, &patch.to_object());
                self.apply_whole(operation, Some(body.clone()))
            }
            OperationKind::Resolve { body: None, .. } => {
                self.take_increments_away(operation);
                self.apply_whole(operation, None)
            }
            OperationKind::Increment(increment) => self.apply_increment(operation, increment.clone()),
            OperationKind::RegisterCollection
            | OperationKind::JoinMember { .. }
            | OperationKind::FenceMember { .. }
            | OperationKind::Unknown { .. } => Effect::Known,
        }
    }

    /// The document as it is shown: the first version with all increments added. `None` when deleted.
    pub fn shown(&self) -> Option<Cow<'_, JsonText>> {
        let body = self.versions.first()?.body.as_ref()?;
        if self.increments.is_empty() && self.tally.is_none() {
            return Some(Cow::Borrowed(body));
        }
        // Added up first, by path, and then to the document once: which of them are in the tally changes nothing.
        let mut object = body.to_object();
        let each = self.distinct_increments().map(|applied| &applied.increment);
        Increment::sum(self.tally.iter().map(|tally| &tally.sum).chain(each)).add_to(&mut object);
        Some(Cow::Owned(JsonText::from_object(&object)))
    }

    /// Whether a document is shown.
    pub fn is_alive(&self) -> bool {
        self.versions.first().is_some_and(|version| version.body.is_some())
    }

    /// Whether several writers did not know of each other, and did not mean the same.
    pub fn is_conflicted(&self) -> bool {
        self.versions.windows(2).any(|pair| matches!(pair, [left, right] if left.body != right.body))
    }

    /// The increments, without those that stand in for one that is there already.
    fn distinct_increments(&self) -> impl Iterator<Item = &AppliedIncrement> {
        // Stand-ins are rare: without one, nothing is compared.
        let stand_ins: Vec<(OperationId, usize)> = (self.increments.iter().enumerate())
            .filter_map(|(place, applied)| Some((applied.replaces?, place)))
            .collect();
        let counts = move |(place, applied): &(usize, &AppliedIncrement)| {
            let original = applied.name();
            let first = stand_ins.iter().find(|(replaced, _)| *replaced == original);
            first.is_none_or(|(_, first)| applied.replaces.is_some() && first == place)
        };
        self.increments.iter().enumerate().filter(counts).map(|(_, applied)| applied)
    }

    /// What two nodes know of a document, put together: an operation stays unless one of them has seen it and no longer
    /// has it, because something took its place.
    ///
    /// Of two tallies the one that has seen more stays; single increments that it has seen are in it.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        let mut joined = Self { tally: self.joined_tally(other), ..Self::default() };
        for (mine, theirs) in [(self, other), (other, self)] {
            for version in &mine.versions {
                let is_here = joined.versions.iter().any(|kept| kept.dot == version.dot);
                let stays =
                    !theirs.vector.covers(&version.dot) || theirs.versions.iter().any(|kept| kept.dot == version.dot);
                if stays && !is_here {
                    let place = joined.versions.partition_point(|kept| kept.rank() > version.rank());
                    joined.versions.insert(place, version.clone());
                }
            }
            // A name that one of them knew and has let go of may go.
            let is_known = |dot: &Dot| {
                !theirs.vector.covers(dot)
                    || theirs.names.iter().any(|kept| kept.dot == *dot)
                    || theirs.increments.iter().any(|kept| kept.dot == *dot)
            };
            for name in mine.names.iter().filter(|name| is_known(&name.dot)) {
                joined.keep_name(name.clone());
            }
            joined.vector.merge(&mine.vector);
        }
        for (mine, theirs) in [(self, other), (other, self)] {
            for applied in &mine.increments {
                joined.join_increment(applied, theirs);
            }
        }
        joined
    }

    /// Joins a single increment with what another state knows of it; its versions, names and tally are there.
    fn join_increment(&mut self, applied: &AppliedIncrement, theirs: &Self) {
        let is_in = |tally: &Option<Tally>| {
            applied.replaces.is_none() && tally.as_ref().is_some_and(|tally| tally.seen.covers(&applied.dot))
        };
        // A patch may have taken some of its fields away: whoever has fewer has seen more.
        let twin = theirs.increments.iter().find(|kept| kept.dot == applied.dot);
        let is_here = self.increments.iter().any(|kept| kept.dot == applied.dot);
        // Who has added it up still has it, though that sum may not be the one that stays.
        let stays = twin.map_or(!theirs.vector.covers(&applied.dot) || is_in(&theirs.tally), |twin| {
            twin.increment.0.len() >= applied.increment.0.len()
        });
        if !stays || is_here || is_in(&self.tally) {
            return;
        }
        let name = applied.name();
        if self.is_named(name) {
            let is_stand_in = applied.replaces.is_some();
            self.keep_name(CountedName { of: name, dot: applied.dot.clone(), is_stand_in });
            return;
        }
        let place = self.increments.partition_point(|kept| kept.dot < applied.dot);
        self.increments.insert(place, applied.clone());
        self.level(name);
    }

    fn joined_tally(&self, other: &Self) -> Option<Tally> {
        match (&self.tally, &other.tally) {
            (Some(mine), Some(theirs)) => {
                let is_newer = theirs.seen.covers_all(&mine.seen)
                    && (theirs.seen != mine.seen || theirs.sum.0.len() < mine.sum.0.len());
                Some(if is_newer { theirs.clone() } else { mine.clone() })
            }
            (Some(tally), None) | (None, Some(tally)) => {
                let without = if self.tally.is_some() { other } else { self };
                // Who has seen all of it and has none of it any more has seen something take its place.
                let is_gone = without.vector.covers_all(&tally.seen)
                    && !without.increments.iter().any(|applied| tally.seen.covers(&applied.dot));
                (!is_gone).then(|| tally.clone())
            }
            (None, None) => None,
        }
    }

    /// Whether the same operations made both, whatever they show.
    pub fn is_of_the_same_operations(&self, other: &Self) -> bool {
        let dots = |state: &Self| {
            let mut dots: Vec<Dot> = state.versions.iter().map(|version| version.dot.clone()).collect();
            dots.sort_unstable();
            dots
        };
        let increments = |state: &Self| -> Vec<Dot> {
            let seen = |dot: &Dot| [self, other].iter().any(|one| one.tally.iter().any(|tally| tally.seen.covers(dot)));
            let single = state.increments.iter().map(|applied| applied.dot.clone());
            let named = |dot: &Dot| [self, other].iter().any(|one| one.names.iter().any(|name| name.dot == *dot));
            // Whoever has added some up has them as well.
            single.filter(|dot| !seen(dot) && !named(dot)).collect()
        };
        self.vector == other.vector && dots(self) == dots(other) && increments(self) == increments(other)
    }

    /// Bytes of the documents that it holds.
    pub fn body_bytes(&self) -> usize {
        self.versions.iter().filter_map(|version| version.body.as_ref()).map(|body| body.as_str().len()).sum()
    }

    /// Adds up the increments that every member knows: those that `stable` covers. Changes nothing that is shown.
    /// Answers whether there was one.
    pub fn fold(&mut self, stable: &Vector) -> bool {
        let is_stable = |applied: &AppliedIncrement| applied.replaces.is_none() && stable.covers(&applied.dot);
        if self.versions.is_empty() || !self.increments.iter().any(is_stable) {
            return false;
        }
        let counted: Vec<AppliedIncrement> =
            self.increments.iter().filter(|applied| is_stable(applied)).cloned().collect();
        let tally = self.tally.take();
        let mut folded = tally.clone().unwrap_or(Tally {
            sum: Increment::default(),
            seen: Vector::new(),
            stamp: Stamp::default(),
            mark: 0,
        });
        let sums = tally.iter().map(|tally| &tally.sum).chain(counted.iter().map(|applied| &applied.increment));
        folded.sum = Increment::sum(sums);
        for applied in &counted {
            folded.seen.observe(&applied.dot.origin, applied.dot.sequence);
            folded.stamp = folded.stamp.max(applied.stamp);
            folded.mark = folded.mark.wrapping_add(mark_of(applied));
        }
        self.increments.retain(|applied| !is_stable(applied));
        self.tally = Some(folded);
        // What was written again for one of them is counted with it.
        let counted: BTreeSet<OperationId> = counted.iter().map(|applied| applied.id).collect();
        let again = self.increments.iter().filter_map(|applied| applied.replaces);
        let again: BTreeSet<OperationId> = again.filter(|name| counted.contains(name)).collect();
        self.retire(&again);
        true
    }

    /// What is counted beside the versions.
    pub fn counted(&self) -> Increment {
        let each = self.distinct_increments().map(|applied| &applied.increment);
        Increment::sum(self.tally.iter().map(|tally| &tally.sum).chain(each))
    }

    /// Whether increments stand beside the versions.
    pub fn has_increments(&self) -> bool {
        !self.increments.is_empty() || self.tally.is_some()
    }

    /// The version that clients see; `None` when nothing was ever written.
    pub fn version(&self) -> Option<DocumentVersion> {
        let shown = self.versions.first()?.id;
        let marks = self.distinct_increments().map(mark_of).chain(self.tally.iter().map(|tally| tally.mark));
        let increments = marks.reduce(u64::wrapping_add);
        Some(DocumentVersion { shown, increments })
    }

    /// The latest stamp among what is shown.
    pub fn stamp(&self) -> Stamp {
        let shown = self.versions.first().map(|version| version.stamp);
        let increments = self.increments.iter().map(|applied| applied.stamp);
        let tally = self.tally.iter().map(|tally| tally.stamp);
        shown.into_iter().chain(increments).chain(tally).max().unwrap_or_default()
    }

    fn apply_whole(&mut self, operation: &Operation, body: Option<JsonText>) -> Effect {
        self.versions.retain(|version| !operation.context.covers(&version.dot));
        let version = Version {
            dot: operation.dot.clone(),
            id: operation.id,
            stamp: operation.stamp,
            body,
            is_resolution: matches!(operation.kind, OperationKind::Resolve { .. }),
        };
        let place = self.versions.partition_point(|other| other.rank() > version.rank());
        self.versions.insert(place, version);
        self.vector.merge(&operation.context);
        self.vector.observe(&operation.dot.origin, operation.dot.sequence);
        if self.is_conflicted() { Effect::Conflict } else { Effect::Applied }
    }

    /// A put or delete takes the place of the increments that it saw.
    fn take_increments_away(&mut self, operation: &Operation) {
        let seen: BTreeSet<OperationId> = self.seen_by(operation).map(AppliedIncrement::name).collect();
        self.retire(&seen);
        self.tally = self.tally.take().filter(|tally| !operation.context.covers_all(&tally.seen));
    }

    /// A patch takes the place of the increments it saw in the fields that it writes, and of no others: so
    /// changing a price does not meddle with the counting of the stock.
    fn write_over_increments(&mut self, operation: &Operation, patch: &Map<String, Value>) {
        if let Some(tally) = self.tally.as_mut().filter(|tally| operation.context.covers_all(&tally.seen)) {
            tally.sum.0.retain(|(path, _)| !writes(patch, path));
        }
        self.tally = self.tally.take().filter(|tally| !tally.sum.0.is_empty());
        let seen: BTreeSet<OperationId> = self.seen_by(operation).map(AppliedIncrement::name).collect();
        if seen.is_empty() {
            return;
        }
        for applied in self.increments.iter_mut().filter(|applied| seen.contains(&applied.name())) {
            applied.increment.0.retain(|(path, _)| !writes(patch, path));
        }
        let is_empty = |applied: &&AppliedIncrement| applied.increment.0.is_empty();
        let gone: BTreeSet<OperationId> = self.increments.iter().filter(is_empty).map(AppliedIncrement::name).collect();
        self.retire(&gone);
    }

    /// The single increments that an operation has seen.
    fn seen_by<'a>(&'a self, operation: &'a Operation) -> impl Iterator<Item = &'a AppliedIncrement> {
        self.increments.iter().filter(|applied| operation.context.covers(&applied.dot))
    }

    fn apply_increment(&mut self, operation: &Operation, increment: Increment) -> Effect {
        let applied = AppliedIncrement {
            dot: operation.dot.clone(),
            id: operation.id,
            stamp: operation.stamp,
            increment,
            replaces: operation.replaces,
        };
        // The context is not merged: an increment takes the place of nothing.
        self.vector.observe(&operation.dot.origin, operation.dot.sequence);
        if self.is_counted_already(operation) {
            return Effect::Known;
        }
        let place = self.increments.partition_point(|other| other.dot < applied.dot);
        self.increments.insert(place, applied);
        self.level(operation.identity());
        if self.is_alive() { Effect::Applied } else { Effect::Conflict }
    }
}

/// What an increment adds to the version of its document.
fn mark_of(applied: &AppliedIncrement) -> u64 {
    xxh3_64(&applied.name().0.to_le_bytes())
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
