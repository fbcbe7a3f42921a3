//! Do two nodes show the same? Decided from digests, while both go on writing.
//!
//! ```text
//!   one node                        the other
//!   digest of everything            digest of everything
//!   less what was changed since ────────── less what was changed since
//!        the meet of both vectors               the meet of both vectors
//!               └───────── the same documents on both sides: equal, or not ─┘
//! ```
//!
//! Two nodes that both write are never at one vector, so their digests differ all the time and prove nothing. But
//! both know everything up to the *meet* of their vectors, and each can name the documents that it has changed
//! since. Those are left out on both sides; what remains was made by the same operations and must be equal.
//!
//! Must stay true: never [`Outcome::Equal`] for documents that differ (short of a collision of 128 bits), and never
//! [`Outcome::Different`] only because one side lags behind. Where neither can be said, nothing is.
//!
//! What it does not do: it looks at nothing but digests that others have summed up. That a sum still is the sum of
//! what is on the disk is for `verify` to prove.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::id::{CollectionName, DocumentId};
use crate::time::Millis;
use crate::vector::Vector;

/// A document within a database.
pub type DocumentKey = (CollectionName, DocumentId);

/// One side of a comparison. All of it comes from one look at the database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Side {
    /// What this side knows.
    pub vector: Vector,
    /// Documents whose deletes lie below this may be forgotten on this side, and are named nowhere.
    pub graves: Vector,
    /// The digest of each collection; `None` when there are too many to name, then [`Self::whole`] alone counts.
    pub collections: Option<BTreeMap<CollectionName, Digest>>,
    /// The digest of everything.
    pub whole: Digest,
    /// The documents that were changed since what the other side is known to know, or more, each with its part of
    /// the digest; `None` when they are too many.
    pub changed: Option<BTreeMap<DocumentKey, Digest>>,
    /// This side's parts of the documents that the other side has changed.
    pub asked: BTreeMap<DocumentKey, Digest>,
}

/// What a comparison says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that was compared is equal.
    Equal {
        /// How many documents were left out because they are on their way.
        left_out: usize,
    },
    /// These collections differ; none is named when there are too many to name.
    Different(Vec<CollectionName>),
    /// Nothing can be said.
    Inconclusive(Inconclusive),
}

/// Why nothing can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inconclusive {
    /// Too many documents are on their way.
    TooManyChanged,
    /// One side did not give what the other has asked for.
    Incomplete,
    /// The other side knows less than it was known to know: it may have been restored.
    Receded,
    /// One side has forgotten deletes that the other has not seen.
    Forgotten,
}

impl Inconclusive {
    /// The reason in words.
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooManyChanged => "too many documents are on their way to compare the rest",
            Self::Incomplete => "the peer did not name all that was asked",
            Self::Receded => "the peer knows less than it did; it may have been restored",
            Self::Forgotten => "one of both has forgotten deletes that the other has not seen",
        }
    }
}

/// A comparison that was made, for status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// What it says.
    pub outcome: Outcome,
    /// When it was made.
    pub at: Millis,
    /// What we knew then.
    pub ours: Vector,
    /// What the peer knew then.
    pub theirs: Vector,
}

/// Compares both sides.
pub fn compare(ours: &Side, theirs: &Side) -> Outcome {
    let is_one_vector = ours.vector == theirs.vector;
    // A document that is forgotten has no record that could be left out, and is still shown where its delete is unknown.
    if !ours.vector.covers_all(&theirs.graves) || !theirs.vector.covers_all(&ours.graves) {
        return Outcome::Inconclusive(Inconclusive::Forgotten);
    }
    let left_out = if is_one_vector {
        BTreeSet::new()
    } else {
        let (Some(our_changed), Some(their_changed)) = (&ours.changed, &theirs.changed) else {
            return Outcome::Inconclusive(Inconclusive::TooManyChanged);
        };
        our_changed.keys().chain(their_changed.keys()).collect()
    };
    let (Some(our_parts), Some(their_parts)) = (parts(ours, &left_out), parts(theirs, &left_out)) else {
        return Outcome::Inconclusive(Inconclusive::Incomplete);
    };
    let (Some(our_collections), Some(their_collections)) = (&ours.collections, &theirs.collections) else {
        let rest = |whole: Digest, parts: &[(&DocumentKey, Digest)]| {
            parts.iter().fold(whole, |rest, (_, part)| rest.minus(*part))
        };
        return if rest(ours.whole, &our_parts) == rest(theirs.whole, &their_parts) {
            Outcome::Equal { left_out: left_out.len() }
        } else {
            Outcome::Different(Vec::new())
        };
    };
    let (ours, theirs) = (rest(our_collections, &our_parts), rest(their_collections, &their_parts));
    let names: BTreeSet<&CollectionName> = ours.keys().chain(theirs.keys()).copied().collect();
    // An empty collection may be known on one side alone.
    let differs = |name: &&CollectionName| {
        ours.get(*name).copied().unwrap_or_default() != theirs.get(*name).copied().unwrap_or_default()
    };
    let different: Vec<CollectionName> = names.into_iter().filter(differs).cloned().collect();
    if different.is_empty() { Outcome::Equal { left_out: left_out.len() } } else { Outcome::Different(different) }
}

/// A side's parts of the documents that are left out; `None` when it has not named one of them.
fn parts<'a>(side: &Side, left_out: &BTreeSet<&'a DocumentKey>) -> Option<Vec<(&'a DocumentKey, Digest)>> {
    let part = |key: &'a DocumentKey| {
        let changed = side.changed.as_ref().and_then(|changed| changed.get(key));
        Some((key, *changed.or_else(|| side.asked.get(key))?))
    };
    left_out.iter().map(|key| part(key)).collect()
}

/// Each collection's digest without the parts that are left out.
fn rest<'a>(
    collections: &'a BTreeMap<CollectionName, Digest>,
    parts: &[(&'a DocumentKey, Digest)],
) -> BTreeMap<&'a CollectionName, Digest> {
    let mut rest: BTreeMap<&CollectionName, Digest> =
        collections.iter().map(|(name, digest)| (name, *digest)).collect();
    for ((collection, _), part) in parts {
        let digest = rest.entry(collection).or_default();
        *digest = digest.minus(*part);
    }
    rest
}

impl Comparison {
    /// Whether it proves that both sides show the same now, as far as is known: everything was compared and found
    /// equal, and neither side has learnt anything since.
    pub fn proves_equal(&self, ours: &Vector, theirs: &Vector) -> bool {
        self.outcome == Outcome::Equal { left_out: 0 }
            && self.ours == self.theirs
            && self.ours == *ours
            && self.theirs.covers_all(theirs)
    }

    /// Whether something was said at all.
    pub fn is_conclusive(&self) -> bool {
        !matches!(self.outcome, Outcome::Inconclusive(_))
    }
}

#[cfg(test)]
mod tests;
