//! Conflicts: what they are, what each policy makes of them, and how people's rules settle many at once.
//!
//! ```text
//!   concurrent writes ─► sides (maximal versions) ─► LastWriterWins shows one, on every node the same
//!                                                └─► another policy answers ─► a *resolution*: an ordinary operation
//!                                                    of this node that covers all sides, so it travels and settles them
//! ```
//!
//! Must stay true: whatever policies the nodes of a cluster have, all end with the same document and come to rest. Two
//! rules give that. A resolution covers the sides that it settles, so a plain write is settled once per node at most.
//! And where all sides are resolutions, nobody resolves any more: the last writer stands.
//!
//! Deliberately absent: clocks and waiting. Whoever carries an answer out waits for its [`turn`] first, so that not
//! every node answers at once, and looks again.

pub mod ancestor;
pub mod merge;
pub mod policy;
pub mod settle;
pub mod turn;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::Xxh3Default;

use crate::document::DocumentState;
use crate::error::Refusal;
use crate::vector::Dot;

/// Names a conflict: a hash of the dots of its sides, and so the same on every node that knows the same sides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConflictId(pub u128);

impl ConflictId {
    /// The conflict that a document is in; `None` when it is in none.
    pub fn of(state: &DocumentState) -> Option<Self> {
        if !is_in_conflict(state) {
            return None;
        }
        let mut dots: Vec<_> = state.versions.iter().map(|version| &version.dot).collect();
        dots.sort_unstable();
        let mut hash = Xxh3Default::new();
        // A counter beside a delete is another conflict than that delete beside a put.
        hash.update(&[u8::from(is_counted_while_deleted(state))]);
        for dot in dots {
            let node = dot.origin.node.as_str().as_bytes();
            hash.update(&(node.len() as u64).to_le_bytes());
            hash.update(node);
            hash.update(&dot.origin.incarnation.to_le_bytes());
            hash.update(&dot.sequence.0.to_le_bytes());
        }
        Some(Self(hash.digest128()))
    }
}

impl fmt::Display for ConflictId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ConflictId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ConflictId {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refuse =
            || Refusal::invalid("invalid-conflict-id", "A conflict's id is 32 hexadecimal digits, as lists show it.");
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refuse());
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| refuse())
    }
}

/// The sides of a conflict, by dot.
pub fn sides(state: &DocumentState) -> Vec<Dot> {
    state.versions.iter().map(|version| version.dot.clone()).collect()
}

/// Whether somebody's write is not part of what the document shows, although nobody decided so.
pub fn is_in_conflict(state: &DocumentState) -> bool {
    state.is_conflicted() || is_counted_while_deleted(state)
}

/// Whether a counter was changed by somebody who had not seen the delete that is shown.
pub fn is_counted_while_deleted(state: &DocumentState) -> bool {
    state.versions.first().is_some_and(|version| version.body.is_none()) && state.has_increments()
}
