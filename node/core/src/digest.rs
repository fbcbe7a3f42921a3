//! Digests: one number that two nodes can compare instead of their documents.
//!
//! A collection's digest is the sum, modulo 2^128, of one hash per document that is shown alive, over its
//! id, the dot of the shown operation and the shown text. Sums do not depend on order and can be kept up
//! to date by subtracting what was and adding what is.

use std::fmt;

use xxhash_rust::xxh3::Xxh3Default;

use crate::document::DocumentState;
use crate::id::{CollectionName, DocumentId};

/// An order-independent digest of a set of documents. Equal sets have equal digests.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Digest(pub u128);

impl Digest {
    /// The part of one document; zero when nothing is shown.
    pub fn of(collection: &CollectionName, id: &DocumentId, state: &DocumentState) -> Self {
        let (Some(version), Some(shown)) = (state.versions.first(), state.shown()) else {
            return Self::default();
        };
        let mut hash = Xxh3Default::new();
        let part = |hash: &mut Xxh3Default, bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(&mut hash, collection.as_str().as_bytes());
        part(&mut hash, id.as_str().as_bytes());
        part(&mut hash, version.dot.origin.node.as_str().as_bytes());
        hash.update(&version.dot.origin.incarnation.to_le_bytes());
        hash.update(&version.dot.sequence.0.to_le_bytes());
        part(&mut hash, shown.as_str().as_bytes());
        Self(hash.digest128())
    }

    /// The part of one document in a search for differences: what is shown, and which versions stand beside it.
    ///
    /// Increments count as far as they are shown, and tombstones that stand alone do not, because nodes give both up
    /// at times of their own.
    pub fn of_versions(collection: &CollectionName, id: &DocumentId, state: &DocumentState) -> Self {
        if !state.is_alive() && state.versions.len() < 2 {
            return Self::default();
        }
        let mut hash = Xxh3Default::new();
        hash.update(&Self::of(collection, id, state).0.to_le_bytes());
        for version in state.versions.iter().skip(1) {
            hash.update(&(version.dot.origin.node.as_str().len() as u64).to_le_bytes());
            hash.update(version.dot.origin.node.as_str().as_bytes());
            hash.update(&version.dot.origin.incarnation.to_le_bytes());
            hash.update(&version.dot.sequence.0.to_le_bytes());
            hash.update(version.body.as_ref().map_or("", |body| body.as_str()).as_bytes());
        }
        Self(hash.digest128())
    }

    /// With a document's part added.
    #[must_use]
    pub fn plus(self, part: Self) -> Self {
        Self(self.0.wrapping_add(part.0))
    }

    /// With a document's part taken away.
    #[must_use]
    pub fn minus(self, part: Self) -> Self {
        Self(self.0.wrapping_sub(part.0))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
