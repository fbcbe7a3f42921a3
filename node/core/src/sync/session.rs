//! Keeps one peer and one database up to date with each other.
//!
//! ```text
//!            newer operations              confirmed, more to send
//!   Idle ───────────────────────► Pushing ────────┐
//!    ▲ ▲                             │ ▲──────────┘
//!    │ └──────── nothing left ───────┤ no answer
//!    │                               ▼
//!    ├──── nothing left ── Pulling ─► Waiting ── time is up, or the peer calls ─► Pushing or Pulling
//!    └──────────────────────────────┘
//! ```
//!
//! A session asks before it offers: until the peer has answered once in this life, nothing is known of what it has.
//!
//! Invariant: `pushed` never passes what the peer has confirmed of our log, and `pulled` never passes what we
//! have taken of the peer's. Positions are forgotten when the other side's log is not the one they count.

use crate::sync::message::Standing;
use crate::time::Millis;
use crate::vector::{Origin, Position, Sequence, Vector};

/// Shortest and longest wait after a failure.
const BACKOFF_MIN: Millis = Millis(1_000);
const BACKOFF_MAX: Millis = Millis(30_000);
/// A random part is added to each wait, below this.
const JITTER_MAX: u64 = 250;

/// The conversation with one peer about one database.
#[derive(Debug, Clone)]
pub struct Session {
    phase: Phase,
    newest: Position,
    pushed: Position,
    pulled: Position,
    peer_log_id: Option<u64>,
    /// Who the peer is, once it has answered: its own operations are never sent to it.
    peer_origin: Option<Origin>,
    peer_vector: Vector,
    is_pull_wanted: bool,
    failures: u32,
    has_lost_place: bool,
}

/// What the session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing to do.
    Idle,
    /// A push is under way.
    Pushing,
    /// A pull is under way.
    Pulling,
    /// The last exchange failed; the next is tried then.
    Waiting {
        /// When.
        until: Millis,
    },
}

/// What has happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Our log has grown.
    Committed {
        /// Its newest position.
        newest: Position,
    },
    /// The peer says that it has something, or somebody asks for an exchange. Ends a wait.
    Called,
    /// Time for a look although all seems quiet.
    Sweep,
    /// Time has passed; sent when the wait that was asked for is over.
    Woken,
    /// The peer was heard to know this, on whatever way.
    Heard {
        /// What it knows.
        vector: Vector,
    },
    /// A push came back, or had nothing to send up to `through`.
    Pushed {
        /// The position up to which the peer has our log.
        through: Position,
        /// Whether the peer misses operations before those that were sent.
        has_gap: bool,
        /// The peer, if it was asked.
        peer: Option<Standing>,
        /// Whether the peer knows something that we do not.
        is_peer_ahead: bool,
    },
    /// A pull came back and was taken in.
    Pulled {
        /// The position of the peer's log up to which we have it.
        through: Position,
        /// Whether the peer's log goes on.
        has_more: bool,
        /// Whether we miss operations before those that came.
        has_gap: bool,
        /// The peer.
        peer: Standing,
    },
    /// The peer's log ends before the position that we count: that count was wrong, and begins anew.
    LostPlace,
    /// An exchange failed.
    Failed {
        /// A random number, for jitter.
        random: u64,
    },
}

/// What is to be done. At most one exchange is under way at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the log after a position, leave out what the peer knows, send it.
    Push {
        /// After this position.
        after: Position,
        /// What the peer knows.
        known: Vector,
    },
    /// Ask the peer for its log after a position.
    Pull {
        /// After this position …
        after: Position,
        /// … of this log; `None` when the peer's log is not known yet.
        log_id: Option<u64>,
    },
    /// Note how far either side is.
    SaveCheckpoint {
        /// The peer's log.
        peer_log_id: u64,
        /// The peer has our log up to here.
        pushed: Position,
        /// We have the peer's log up to here.
        pulled: Position,
    },
    /// Send [`Event::Woken`] then.
    WakeAt(Millis),
}

impl Session {
    /// Goes on from a checkpoint; from nothing when there is none.
    pub fn new(checkpoint: Option<(u64, Position, Position)>) -> Self {
        let (peer_log_id, pushed, pulled) = match checkpoint {
            Some((log_id, pushed, pulled)) => (Some(log_id), pushed, pulled),
            None => (None, Position::START, Position::START),
        };
        Self {
            phase: Phase::Idle,
            newest: Position::START,
            pushed,
            pulled,
            peer_log_id,
            peer_origin: None,
            peer_vector: Vector::new(),
            is_pull_wanted: true,
            failures: 0,
            has_lost_place: false,
        }
    }

    /// Takes in what has happened and says what to do.
    pub fn handle(&mut self, now: Millis, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Committed { newest } => self.newest = self.newest.max(newest),
            Event::Heard { vector } => self.peer_vector.merge(&vector),
            Event::Called => {
                self.is_pull_wanted = true;
                self.end_wait();
            }
            Event::Sweep => self.is_pull_wanted = true,
            Event::Woken => {
                if matches!(self.phase, Phase::Waiting { until } if now >= until) {
                    self.phase = Phase::Idle;
                }
            }
            Event::Pushed { through, has_gap, peer, is_peer_ahead } => {
                self.phase = Phase::Idle;
                self.after_push(now, through, has_gap, peer, is_peer_ahead, &mut actions);
            }
            Event::Pulled { through, has_more, has_gap, peer } => {
                self.phase = Phase::Idle;
                self.after_pull(now, through, has_more, has_gap, &peer, &mut actions);
            }
            Event::LostPlace => {
                self.phase = Phase::Idle;
                self.pulled = Position::START;
                self.is_pull_wanted = true;
                self.lose_place(now);
            }
            Event::Failed { random } => self.back_off(now, random),
        }
        actions.extend(self.next());
        actions
    }

    /// What the session is doing.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The peer has confirmed our log up to here.
    pub fn pushed(&self) -> Position {
        self.pushed
    }

    /// We have the peer's log up to here.
    pub fn pulled(&self) -> Position {
        self.pulled
    }

    /// What the peer is known to know.
    pub fn peer_vector(&self) -> &Vector {
        &self.peer_vector
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    fn next(&mut self) -> Option<Action> {
        match self.phase {
            Phase::Pushing | Phase::Pulling => None,
            Phase::Waiting { until } => Some(Action::WakeAt(until)),
            Phase::Idle if self.newest > self.pushed && self.peer_origin.is_some() => {
                self.phase = Phase::Pushing;
                Some(Action::Push { after: self.pushed, known: self.known_to_peer() })
            }
            Phase::Idle if self.is_pull_wanted || self.newest > self.pushed => {
                self.phase = Phase::Pulling;
                self.is_pull_wanted = false;
                Some(Action::Pull { after: self.pulled, log_id: self.peer_log_id })
            }
            Phase::Idle => None,
        }
    }

    /// What need not be sent: what the peer was heard to know, and all that it wrote in its present life.
    fn known_to_peer(&self) -> Vector {
        let mut known = self.peer_vector.clone();
        if let Some(origin) = &self.peer_origin {
            known.observe(origin, Sequence(u64::MAX));
        }
        known
    }

    fn after_push(
        &mut self,
        now: Millis,
        through: Position,
        has_gap: bool,
        peer: Option<Standing>,
        is_peer_ahead: bool,
        actions: &mut Vec<Action>,
    ) {
        let Some(peer) = peer else {
            // Nothing had to be sent: the peer is known to have it all.
            self.pushed = self.pushed.max(through);
            return;
        };
        let is_same_log = self.meet(&peer);
        self.is_pull_wanted = self.is_pull_wanted || is_peer_ahead;
        if has_gap {
            self.lose_place(now);
            return;
        }
        self.succeed();
        if is_same_log {
            self.pushed = self.pushed.max(through);
        }
        actions.push(self.checkpoint(peer.log_id));
    }

    fn after_pull(
        &mut self,
        now: Millis,
        through: Position,
        has_more: bool,
        has_gap: bool,
        peer: &Standing,
        actions: &mut Vec<Action>,
    ) {
        let is_same_log = self.meet(peer);
        if has_gap {
            self.pulled = Position::START;
            self.is_pull_wanted = true;
            self.lose_place(now);
            return;
        }
        self.succeed();
        self.pulled = if is_same_log { self.pulled.max(through) } else { through };
        self.is_pull_wanted = self.is_pull_wanted || has_more;
        actions.push(self.checkpoint(peer.log_id));
    }

    /// Learns who answered. Answers whether it is the log that our positions count.
    fn meet(&mut self, peer: &Standing) -> bool {
        let is_same_log = self.peer_log_id.is_none_or(|log_id| log_id == peer.log_id);
        if !is_same_log {
            // The peer was restored or began anew: what it confirmed is void, and so is what we know of it.
            self.pushed = Position::START;
            self.pulled = Position::START;
            self.peer_vector = Vector::new();
            self.is_pull_wanted = true;
        }
        self.peer_log_id = Some(peer.log_id);
        self.peer_origin = Some(peer.origin.clone());
        self.peer_vector.merge(&peer.vector);
        is_same_log
    }

    /// Somebody misses operations that were counted on: start from the beginning, where vectors leave out
    /// what is known. If that happens again before a success, wait as after a failure.
    fn lose_place(&mut self, now: Millis) {
        self.pushed = Position::START;
        if self.has_lost_place {
            self.back_off(now, 0);
        }
        self.has_lost_place = true;
    }

    fn checkpoint(&self, peer_log_id: u64) -> Action {
        Action::SaveCheckpoint { peer_log_id, pushed: self.pushed, pulled: self.pulled }
    }

    fn succeed(&mut self) {
        self.failures = 0;
        self.has_lost_place = false;
    }

    fn end_wait(&mut self) {
        if matches!(self.phase, Phase::Waiting { .. }) {
            self.phase = Phase::Idle;
        }
    }

    fn back_off(&mut self, now: Millis, random: u64) {
        let doubled = BACKOFF_MIN.0.saturating_mul(1 << self.failures.min(16));
        let wait = Millis(doubled.min(BACKOFF_MAX.0) + random % JITTER_MAX);
        self.failures = self.failures.saturating_add(1);
        self.is_pull_wanted = true;
        self.phase = Phase::Waiting { until: now + wait };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::id::NodeName;

    fn peer(log_id: u64) -> Standing {
        Standing {
            origin: Origin { node: NodeName::parse("b").unwrap(), incarnation: 1 },
            log_id,
            newest: Position(0),
            vector: Vector::new(),
            now: Millis(0),
        }
    }

    fn pushed(through: u64, log_id: u64) -> Event {
        Event::Pushed { through: Position(through), has_gap: false, peer: Some(peer(log_id)), is_peer_ahead: false }
    }

    fn is_push(actions: &[Action], after: u64) -> bool {
        actions.iter().any(|action| matches!(action, Action::Push { after: from, .. } if from.0 == after))
    }

    fn pulled(log_id: u64) -> Event {
        Event::Pulled { through: Position(0), has_more: false, has_gap: false, peer: peer(log_id) }
    }

    fn is_pull(actions: &[Action]) -> bool {
        actions.iter().any(|action| matches!(action, Action::Pull { .. }))
    }

    #[test]
    fn it_asks_first_and_then_pushes_until_the_peer_has_everything() {
        let mut session = Session::new(None);
        assert!(is_pull(&session.handle(Millis(0), Event::Committed { newest: Position(5) })));
        assert!(session.handle(Millis(1), Event::Committed { newest: Position(9) }).is_empty(), "one at a time");
        assert!(is_push(&session.handle(Millis(2), pulled(1)), 0));
        assert!(is_push(&session.handle(Millis(3), pushed(5, 1)), 5));
        let actions = session.handle(Millis(4), pushed(9, 1));
        assert!(matches!(actions[..], [Action::SaveCheckpoint { .. }]), "{actions:?}");
    }

    #[test]
    fn what_the_peer_wrote_is_not_sent_to_it_even_when_it_has_not_said_that_it_knows() {
        let mut session = Session::new(None);
        session.handle(Millis(0), Event::Committed { newest: Position(1) });
        let actions = session.handle(Millis(1), pulled(1));
        let Some(Action::Push { known, .. }) = actions.last() else { panic!("{actions:?}") };
        let (own, other) = (peer(1).origin, Origin { incarnation: 2, ..peer(1).origin });
        assert_eq!((known.get(&own), known.get(&other)), (Sequence(u64::MAX), Sequence(0)));
    }

    #[test]
    fn a_failure_waits_longer_each_time_and_a_call_ends_the_wait() {
        let mut session = Session::new(None);
        session.handle(Millis(0), Event::Committed { newest: Position(1) });
        let mut waits = Vec::new();
        let mut now = Millis(0);
        for _ in 0..7 {
            session.handle(now, Event::Failed { random: 0 });
            let Phase::Waiting { until } = session.phase() else { panic!() };
            waits.push(until.since(now).0);
            assert_eq!(session.handle(now, Event::Committed { newest: Position(2) }), [Action::WakeAt(until)]);
            now = until;
            assert!(is_pull(&session.handle(now, Event::Woken)));
        }
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        session.handle(now, Event::Failed { random: 0 });
        assert!(is_pull(&session.handle(now, Event::Called)));
    }

    #[test]
    fn a_peer_with_another_log_gets_everything_again() {
        let mut session = Session::new(Some((1, Position(50), Position(40))));
        session.handle(Millis(0), Event::Committed { newest: Position(51) });
        session.handle(Millis(1), pulled(1));
        let actions = session.handle(Millis(2), pushed(51, 2));
        assert!(is_push(&actions, 0), "{actions:?}");
        assert_eq!(session.pulled(), Position::START);
    }

    #[test]
    fn a_position_beyond_the_peers_log_is_forgotten() {
        let mut session = Session::new(Some((1, Position(3), Position(u64::MAX))));
        let pull = |after| Action::Pull { after, log_id: Some(1) };
        assert_eq!(session.handle(Millis(0), Event::Sweep), [pull(Position(u64::MAX))]);
        assert_eq!(session.handle(Millis(1), Event::LostPlace), [pull(Position::START)]);
        session.handle(Millis(2), Event::LostPlace);
        assert!(matches!(session.phase(), Phase::Waiting { .. }), "a second time in a row waits");
    }

    #[test]
    fn a_gap_starts_over_at_once_and_a_second_one_waits() {
        let mut session = Session::new(Some((1, Position(50), Position(40))));
        let gap = || Event::Pushed { through: Position(50), has_gap: true, peer: Some(peer(1)), is_peer_ahead: false };
        session.handle(Millis(0), Event::Committed { newest: Position(51) });
        session.handle(Millis(0), pulled(1));
        assert!(is_push(&session.handle(Millis(1), gap()), 0));
        session.handle(Millis(2), gap());
        assert!(matches!(session.phase(), Phase::Waiting { .. }));
    }
}
