//! What is told to a peer of what changed here: decisions, without a wire.
//!
//! ```text
//!   own    the keys that this node wrote, at once; the peer then knows all of our own writes, and nothing more of others'
//!   rest   everything that changed after what the peer has, but for what it knows; at the end it knows all that we know
//!   asked  the same, for a peer that asks
//! ```
//!
//! Must stay true: a peer is said to know what it was sent or has said that it knows. What a message leaves out because
//! the peer was believed to know it stands in the message, so that a peer which has lost it takes nothing for granted.

use crate::cache::{CacheKey, CacheMessage, CacheReach, CacheStretch, KeyState};
use crate::id::NodeName;
use crate::vector::{Dot, Origin, Position, Sequence, Vector};

/// Keys that changed after a position, as the store reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheChanges {
    /// The keys, with what is known of them, in the order in which they changed.
    pub states: Vec<(CacheKey, KeyState)>,
    /// Everything up to this position is in it, but for what the asker knows.
    pub through: Position,
    /// What is known here, if these are all the keys that have changed.
    pub vector: Option<Vector>,
}

/// Whose changes are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSource {
    /// This node, as it writes.
    pub origin: Origin,
    /// What its positions count.
    pub log_id: u64,
}

/// What a peer is known to have of this node's changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CacheLane {
    /// What it knows.
    pub vector: Vector,
    /// How far it has taken our changes in.
    pub reach: CacheReach,
}

impl CacheLane {
    /// What the peer has said after it was told something, up to `sent`. Answers whether that brought it further.
    pub fn heard(&mut self, vector: Vector, reach: CacheReach, sent: CacheReach) -> bool {
        let before = self.reach;
        // A peer that has lost some of it says so, and is told from there.
        self.reach = CacheReach { all: reach.all.min(sent.all), own: reach.own.min(sent.own) };
        self.vector = vector;
        self.reach.all > before.all || self.reach.own > before.own
    }

    /// Tells of our own writes. `changes` are those after the peer's reach of them.
    pub fn own(&self, source: &CacheSource, changes: CacheChanges) -> CacheMessage {
        let is_new = |dot: &Dot| dot.origin == source.origin && !self.vector.covers(dot);
        let states: Vec<_> = changes.states.into_iter().filter(|(_, state)| state.dots().any(is_new)).collect();
        let known = changes.vector.map_or(Sequence(0), |vector| vector.get(&source.origin));
        let is_claim = known > self.vector.get(&source.origin);
        let vector = is_claim.then(|| [(source.origin.clone(), known)].into_iter().collect());
        let stretch = CacheStretch { after: self.reach.own, through: changes.through, is_own: true };
        CacheMessage { stretch: Some(stretch), based_on: self.vector.clone(), vector, states, ..source.empty() }
    }

    /// Tells of whatever the peer lacks. `changes` are those after its reach of all.
    pub fn rest(&self, source: &CacheSource, changes: CacheChanges) -> CacheMessage {
        asked(source, self.reach.all, self.vector.clone(), changes)
    }

    /// How far the peer gets by a message.
    pub fn after(&self, message: &CacheMessage) -> CacheReach {
        let mut reach = self.reach;
        if let Some(stretch) = message.stretch {
            reach.extend(stretch);
        }
        reach
    }
}

impl CacheMessage {
    /// Whether the peer learns anything by it.
    pub fn is_news(&self) -> bool {
        !self.states.is_empty() || self.vector.is_some()
    }
}

impl CacheSource {
    /// A message that tells nothing, to hear what the peer has.
    pub fn empty(&self) -> CacheMessage {
        CacheMessage {
            source: self.node().clone(),
            log_id: self.log_id,
            stretch: None,
            based_on: Vector::new(),
            vector: None,
            digest: None,
            states: Vec::new(),
        }
    }

    fn node(&self) -> &NodeName {
        &self.origin.node
    }
}

/// Tells a peer that has everything up to `after` and knows `vector` what changed since.
pub fn asked(source: &CacheSource, after: Position, vector: Vector, changes: CacheChanges) -> CacheMessage {
    CacheMessage {
        stretch: Some(CacheStretch { after, through: changes.through, is_own: false }),
        based_on: vector,
        vector: changes.vector,
        states: changes.states,
        ..source.empty()
    }
}
