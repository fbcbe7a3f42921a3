//! Who passes an operation on to a peer, and when: so that a peer gets it once although many could send it.
//!
//! ```text
//!   our own operation ───────────────────────────────────────────────► at once
//!   one whose author does not talk to the peer (chain, star, ring) ──► at once
//!   one whose author talks to the peer itself (mesh) ── ripens a moment ──► only if the peer still lacks it
//! ```
//!
//! While it ripens, the peer most often tells that it has it. The author may have died after it told us alone: then
//! the moment passes, and we pass it on.
//!
//! Must stay true: what ripens is only late, never lost; every operation is ripe after a bounded time.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::id::NodeName;
use crate::time::Millis;
use crate::vector::{Dot, Position, Vector};

/// Shortest time in which an operation ripens: an author's own push, and the word of its arrival, take less.
const RIPENS_IN: Millis = Millis(100);
/// Most that a slow line adds to it.
const ROUND_TRIP_MAX: Millis = Millis(500);
/// A random part is added, below this: of many that could pass an operation on, one comes first.
const JITTER_MAX: u64 = 100;
/// How long an offer keeps an answer to the peer from repeating it.
const OFFER_HOLDS: Millis = Millis(500);

/// What one peer is to be sent now, and what a little later.
#[derive(Debug, Clone, Default)]
pub struct Forwarding {
    /// Nodes that the peer talks to itself, ourselves left out.
    direct: Arc<BTreeSet<NodeName>>,
    newest: Position,
    ripe: Position,
    ripening: Option<(Position, Millis)>,
    ripens_in: Millis,
    offered: Option<(Position, Millis)>,
}

impl Forwarding {
    /// Takes over whom the peer talks to.
    pub fn meet(&mut self, neighbours: &BTreeSet<NodeName>, local: &NodeName) {
        let is_same = self.direct.iter().eq(neighbours.iter().filter(|name| *name != local));
        if !is_same {
            self.direct = Arc::new(neighbours.iter().filter(|name| *name != local).cloned().collect());
        }
    }

    /// Our log has grown.
    pub fn grow(&mut self, now: Millis, newest: Position, round_trip: Millis, random: u64) {
        if newest <= self.newest {
            return;
        }
        self.newest = newest;
        let slow = Millis(round_trip.min(ROUND_TRIP_MAX).0 * 2);
        self.ripens_in = RIPENS_IN + slow + Millis(random % JITTER_MAX);
        self.settle(now);
        self.ripening.get_or_insert((newest, now + self.ripens_in));
    }

    /// Everything that is there may be sent.
    pub fn ripen_all(&mut self) {
        self.ripe = self.newest;
        self.ripening = None;
    }

    /// Takes in that time has passed.
    pub fn settle(&mut self, now: Millis) {
        if let Some((position, at)) = self.ripening
            && now >= at
        {
            self.ripe = position;
            self.ripening = (self.newest > position).then(|| (self.newest, now + self.ripens_in));
        }
    }

    /// Up to here everything may be sent.
    pub fn ripe(&self) -> Position {
        self.ripe
    }

    /// When more may be sent.
    pub fn ripens_at(&self) -> Option<Millis> {
        self.ripening.map(|(_, at)| at)
    }

    /// A push of what comes after a position begins, or has ended well: a question of the peer that arrives about
    /// now may have been asked before the push arrived there.
    pub fn offer(&mut self, now: Millis, after: Position) {
        let held = self.offered.filter(|(_, since)| now.since(*since) < OFFER_HOLDS);
        self.offered = Some((held.map_or(after, |(earlier, _)| earlier.min(after)), now));
    }

    /// What was offered did not arrive.
    pub fn withdraw_offer(&mut self) {
        self.offered = None;
    }

    /// What a push leaves out, for a peer that knows `known`.
    pub fn for_push(&self, known: Vector) -> Filter {
        Filter { known, direct: Arc::clone(&self.direct), ripe: self.ripe, end: Position(u64::MAX) }
    }

    /// What an answer to the peer's own question leaves out: besides, what is being offered to it at this moment.
    pub fn for_answer(mut self, now: Millis, known: Vector) -> Filter {
        self.settle(now);
        let offered = self.offered.filter(|(_, since)| now.since(*since) < OFFER_HOLDS);
        let end = offered.map_or(Position(u64::MAX), |(after, _)| after);
        Filter { end, ..self.for_push(known) }
    }
}

/// What a stretch of the log leaves out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    known: Vector,
    direct: Arc<BTreeSet<NodeName>>,
    ripe: Position,
    end: Position,
}

/// What becomes of an operation in a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent.
    Send,
    /// The peer has it.
    Known,
    /// It is not sent now, and the stretch does not state that it is complete beyond.
    Later,
}

impl Filter {
    /// Leaves out what is known, and nothing else.
    pub fn of(known: Vector) -> Self {
        Self { known, direct: Arc::default(), ripe: Position(u64::MAX), end: Position(u64::MAX) }
    }

    /// The peer knows this as well.
    pub fn learn(&mut self, vector: &Vector) {
        self.known.merge(vector);
    }

    /// What the peer knows.
    pub fn known(&self) -> &Vector {
        &self.known
    }

    /// The same, for a peer that knows something else.
    #[must_use]
    pub fn with_known(self, known: Vector) -> Self {
        Self { known, ..self }
    }

    /// What becomes of the operation at a position of our log.
    pub fn judge(&self, position: Position, dot: &Dot) -> Verdict {
        if self.known.covers(dot) {
            Verdict::Known
        } else if position > self.end || (position > self.ripe && self.direct.contains(&dot.origin.node)) {
            Verdict::Later
        } else {
            Verdict::Send
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::vector::{Origin, Sequence};

    fn name(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    fn dot(node: &str) -> Dot {
        Dot { origin: Origin { node: name(node), incarnation: 1 }, sequence: Sequence(1) }
    }

    fn mesh() -> Forwarding {
        let mut forwarding = Forwarding::default();
        forwarding.meet(&["us", "author"].map(name).into_iter().collect(), &name("us"));
        forwarding
    }

    #[test]
    fn what_the_author_sends_itself_ripens_and_all_else_goes_at_once() {
        let mut forwarding = mesh();
        forwarding.grow(Millis(0), Position(3), Millis(0), 0);
        let judge = |forwarding: &Forwarding, node| forwarding.for_push(Vector::new()).judge(Position(3), &dot(node));
        assert_eq!(judge(&forwarding, "author"), Verdict::Later);
        assert_eq!(judge(&forwarding, "us"), Verdict::Send);
        assert_eq!(judge(&forwarding, "far"), Verdict::Send);
        forwarding.settle(forwarding.ripens_at().unwrap());
        assert_eq!(judge(&forwarding, "author"), Verdict::Send);
    }

    #[test]
    fn everything_is_ripe_after_a_bounded_time_however_much_comes_after_it() {
        let mut forwarding = mesh();
        for now in 0..10_000 {
            forwarding.grow(Millis(now), Position(now + 1), Millis(u64::MAX), u64::MAX);
        }
        assert!(forwarding.ripe() >= Position(10_000 - 2 * 1_200), "{forwarding:?}");
    }

    #[test]
    fn an_answer_repeats_nothing_that_is_just_being_offered() {
        let mut forwarding = mesh();
        forwarding.grow(Millis(0), Position(3), Millis(0), 0);
        forwarding.offer(Millis(10), Position(2));
        let judge = |now| forwarding.clone().for_answer(Millis(now), Vector::new()).judge(Position(3), &dot("us"));
        assert_eq!((judge(11), judge(10 + OFFER_HOLDS.0)), (Verdict::Later, Verdict::Send));
    }
}
