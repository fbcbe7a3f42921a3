//! Keeps the cache of one peer and one database up to date with ours: when it is asked, told, and left alone.
//!
//! ```text
//!                 ask is due ─► LookingUp ─► Asking ⟲ ─► Comparing ─┐
//!   Resting ──────┤                                                 ▼
//!     ▲           └───────────────► Offering ─► Reading ⟲ Telling ──┐
//!     ├──────────────────────────────────────────── all is told ────┤
//!     └── Waiting ◄──────────────────────────────── something failed ┘
//! ```
//!
//! What this node wrote is told at once. What came from others waits a little, for its author most often tells everybody
//! itself; then the peer is asked what it has before it gets the rest. One thing is done at a time: each event but the
//! first answers the action before it, and gives the next.
//!
//! Must stay true: nothing is told before the peer has said, since the start or the last failure, what it has; a failure
//! in asking does not keep the peer from being told; a peer that takes nothing in is given up for a while.

use crate::cache::{CacheChanges, CacheLane, CacheMessage, CacheReach, CacheSource};
use crate::time::Millis;
use crate::vector::{Position, Vector};

/// How long what came from others waits before it is passed on: its author most often tells everybody itself.
const PASS_ON_AFTER: Millis = Millis(200);
/// First and longest wait after a failure.
const RETRY_MIN: Millis = Millis(500);
const RETRY_MAX: Millis = Millis(30_000);
/// A random part is added to each wait, below this.
const JITTER_MAX: u64 = 250;
/// Messages in a row that may bring the peer no further.
const NO_PROGRESS_MAX: u32 = 3;

/// The conversation with one peer about one database's cache.
#[derive(Debug, Clone)]
pub struct CacheSession {
    phase: Phase,
    /// Whether the peer is to have what is here, and we what it has.
    ways: CacheWays,
    /// Time between two questions while all is quiet.
    sweep: Millis,
    /// The newest change here that may leave the node.
    here: Position,
    lane: CacheLane,
    /// Nothing that this node wrote and the peer lacks has changed between what the peer has of it and this position.
    looked: Position,
    /// Whether the peer has said what it has, since the start or the last failure.
    is_lane_known: bool,
    ask_at: Millis,
    /// When what came from others is passed on, if something waits for that.
    pass_on_at: Option<Millis>,
    /// Digests differed: everything is asked for again, whatever is known.
    is_everything_wanted: bool,
    round: Round,
    /// How long to wait after the next failure.
    wait: Millis,
    failures: u32,
}

/// Which ways entries go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheWays {
    /// The peer is told.
    pub tells: bool,
    /// The peer is asked.
    pub asks: bool,
}

/// What has been done since the last rest.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    begun: Millis,
    /// What came from others is passed on in it.
    passes_on: bool,
    /// The peer was asked what it has before it got the rest.
    has_offered: bool,
    /// Messages in a row that have brought the peer no further.
    tries: u32,
    /// The random part of the wait, where asking has failed.
    failed: Option<Millis>,
}

#[derive(Debug, Clone)]
enum Phase {
    /// Nothing to do.
    Resting,
    /// Something failed; the next round begins then.
    Waiting {
        since: Millis,
        until: Millis,
    },
    LookingUp,
    Asking(CacheQuestion),
    Comparing,
    Offering,
    Reading {
        is_own: bool,
    },
    Telling {
        /// How far the peer gets by it.
        sent: CacheReach,
    },
}

/// What the peer is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheQuestion {
    /// What changed after this position …
    pub after: Position,
    /// … of these.
    pub log_id: u64,
    /// What is known here, and is left out.
    pub vector: Vector,
}

/// What has happened.
#[derive(Debug, Clone)]
pub enum CacheEvent {
    /// The newest change here that may leave the node. Comes at rest only, as do the next two.
    Changed(Position),
    /// The peer says that it has something new.
    Called,
    /// The time of [`CacheAction::Rest`] is over.
    Woken,
    /// What was looked up: how far the peer's changes are here, by which of its logs, and what is known.
    LookedUp(CacheQuestion),
    /// The peer's answer was taken in.
    Answered {
        /// What its positions count.
        log_id: u64,
        /// It was complete up to here; nothing when absent.
        through: Option<Position>,
        /// Whether that was all.
        is_end: bool,
    },
    /// The peer does not have the database yet: there is nothing to ask for.
    Absent,
    /// Whether digests are equal; `None` where the two do not know the same, and nothing can be said.
    Compared(Option<bool>),
    /// What was to be read.
    Read(CacheSource, CacheChanges),
    /// The peer was told something, or nothing, and says what it has.
    Heard {
        /// What it knows.
        vector: Vector,
        /// How far it has taken our changes in.
        reach: CacheReach,
    },
    /// It could not be done.
    Failed {
        /// A random number, for jitter.
        random: u64,
    },
}

/// What is to be done. The next event says what it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheAction {
    /// Nothing before this moment, unless something changes or the peer calls.
    Rest {
        /// Then [`CacheEvent::Woken`].
        until: Millis,
    },
    /// Look up what there is to ask.
    LookUp,
    /// Ask the peer, and take in what it answers.
    Ask(CacheQuestion),
    /// Hold the digest of the peer's last answer against ours, where there is one and both know the same.
    Compare,
    /// Tell the peer nothing, to hear what it has.
    Offer,
    /// Read what changed here after a position, but for what the peer knows.
    Read {
        /// The position.
        after: Position,
    },
    /// Tell the peer.
    Tell(CacheMessage),
    /// Nothing gets any further: it has failed.
    GiveUp,
}

impl CacheSession {
    /// Begins at a moment with what is here; at once when it is first [`CacheEvent::Woken`].
    pub fn new(ways: CacheWays, sweep: Millis, here: Position, now: Millis) -> Self {
        Self {
            phase: Phase::Resting,
            ways,
            sweep,
            here,
            lane: CacheLane::default(),
            looked: Position::START,
            is_lane_known: false,
            ask_at: now,
            pass_on_at: None,
            is_everything_wanted: false,
            round: Round::default(),
            wait: RETRY_MIN,
            failures: 0,
        }
    }

    /// What the peer is known to have.
    pub fn lane(&self) -> &CacheLane {
        &self.lane
    }

    /// Rounds that failed since the last that did not.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes in what has happened and says what to do.
    pub fn handle(&mut self, now: Millis, event: CacheEvent) -> CacheAction {
        match (event, std::mem::replace(&mut self.phase, Phase::Resting)) {
            (CacheEvent::Changed(here), phase) => {
                self.here = here;
                self.go_on(now, phase)
            }
            (CacheEvent::Called, phase) => {
                self.ask_at = now;
                self.go_on(now, cut_short(phase))
            }
            (CacheEvent::Woken, phase) => self.go_on(now, phase),
            (CacheEvent::LookedUp(question), Phase::LookingUp) => self.ask(question),
            (CacheEvent::Answered { log_id, through, is_end }, Phase::Asking(asked)) => {
                self.after_answer(asked, log_id, through, is_end)
            }
            (CacheEvent::Absent, Phase::Asking(_)) => self.after_asking(now),
            (CacheEvent::Compared(is_equal), Phase::Comparing) => {
                self.is_everything_wanted = is_equal == Some(false);
                self.after_asking(now)
            }
            (CacheEvent::Read(source, changes), Phase::Reading { is_own }) => self.tell(now, &source, changes, is_own),
            (CacheEvent::Heard { vector, reach }, Phase::Telling { sent }) => {
                let is_further = self.lane.heard(vector, reach, sent);
                self.looked = self.lane.reach.own;
                self.round.tries = if is_further { 0 } else { self.round.tries + 1 };
                if self.round.tries > NO_PROGRESS_MAX { CacheAction::GiveUp } else { self.look(now) }
            }
            (CacheEvent::Heard { vector, reach }, Phase::Offering) => {
                self.lane = CacheLane { vector, reach };
                self.looked = reach.own;
                self.is_lane_known = true;
                self.look(now)
            }
            (CacheEvent::Failed { random }, phase) => self.fail(now, &phase, Millis(random % JITTER_MAX)),
            // An answer to what was not asked: nothing is learnt from it.
            (_, phase) => {
                self.phase = phase;
                CacheAction::GiveUp
            }
        }
    }

    /// At rest, or waiting: begins a round if the wait is over.
    fn go_on(&mut self, now: Millis, phase: Phase) -> CacheAction {
        match phase {
            Phase::Waiting { until, .. } if now < until => {
                self.phase = phase;
                CacheAction::Rest { until }
            }
            _ => self.begin(now),
        }
    }

    fn begin(&mut self, now: Millis) -> CacheAction {
        let passes_on = self.pass_on_at.is_some_and(|at| at <= now);
        self.round = Round { begun: now, passes_on, ..Round::default() };
        if self.ways.asks && self.ask_at <= now {
            self.phase = Phase::LookingUp;
            return CacheAction::LookUp;
        }
        self.look(now)
    }

    fn ask(&mut self, mut question: CacheQuestion) -> CacheAction {
        if std::mem::take(&mut self.is_everything_wanted) {
            question = CacheQuestion { after: Position::START, vector: Vector::new(), ..question };
        }
        self.phase = Phase::Asking(question.clone());
        CacheAction::Ask(question)
    }

    fn after_answer(
        &mut self,
        mut asked: CacheQuestion,
        log_id: u64,
        through: Option<Position>,
        is_end: bool,
    ) -> CacheAction {
        let through = through.unwrap_or(asked.after);
        if is_end {
            self.phase = Phase::Comparing;
            return CacheAction::Compare;
        }
        let is_further = log_id != asked.log_id || through > asked.after;
        (asked.log_id, asked.after) = (log_id, through);
        self.phase = Phase::Asking(asked.clone());
        if is_further { CacheAction::Ask(asked) } else { CacheAction::GiveUp }
    }

    fn after_asking(&mut self, now: Millis) -> CacheAction {
        self.ask_at = now + self.sweep;
        self.look(now)
    }

    /// Whether there is something to tell: what this node wrote at once, the rest when it is due.
    fn look(&mut self, now: Millis) -> CacheAction {
        if !self.ways.tells {
            return self.rest(now);
        }
        if !self.is_lane_known {
            self.phase = Phase::Offering;
            return CacheAction::Offer;
        }
        let is_own = self.looked < self.here;
        let is_rest = self.round.passes_on && self.lane.reach.all < self.here;
        if !is_own && !is_rest {
            return self.rest(now);
        }
        self.phase = Phase::Reading { is_own };
        CacheAction::Read { after: if is_own { self.looked } else { self.lane.reach.all } }
    }

    fn tell(&mut self, now: Millis, source: &CacheSource, changes: CacheChanges, is_own: bool) -> CacheAction {
        let through = changes.through;
        let message = if is_own { self.lane.own(source, changes) } else { self.lane.rest(source, changes) };
        if is_own && !message.is_news() {
            // The peer is not told, so that what it is told next begins where it stands.
            self.looked = through;
            return self.look(now);
        }
        let sent = self.lane.after(&message);
        if !is_own && !message.states.is_empty() && !std::mem::replace(&mut self.round.has_offered, true) {
            // Others may have told it meanwhile.
            self.phase = Phase::Offering;
            return CacheAction::Offer;
        }
        self.phase = Phase::Telling { sent };
        CacheAction::Tell(message)
    }

    /// The round is over.
    fn rest(&mut self, now: Millis) -> CacheAction {
        if let Some(jitter) = self.round.failed {
            return self.back_off(now, jitter);
        }
        (self.wait, self.failures) = (RETRY_MIN, 0);
        if !self.ways.asks {
            self.ask_at = now + self.sweep;
        }
        let is_all_told = !self.ways.tells || self.lane.reach.all >= self.here;
        self.pass_on_at = if is_all_told {
            None
        } else {
            // One that came due while this round went on is the next one's.
            let begun = self.round.begun;
            self.pass_on_at.filter(|at| *at > begun).or(Some(now + PASS_ON_AFTER))
        };
        self.phase = Phase::Resting;
        CacheAction::Rest { until: self.pass_on_at.map_or(self.ask_at, |at| at.min(self.ask_at)) }
    }

    /// A peer that answers nothing may still listen.
    fn fail(&mut self, now: Millis, phase: &Phase, jitter: Millis) -> CacheAction {
        match phase {
            Phase::LookingUp | Phase::Asking(_) | Phase::Comparing => {
                self.round.failed = Some(jitter);
                self.look(now)
            }
            _ => self.back_off(now, jitter),
        }
    }

    fn back_off(&mut self, now: Millis, jitter: Millis) -> CacheAction {
        self.is_lane_known = false;
        self.failures = self.failures.saturating_add(1);
        let until = now + self.wait + jitter;
        self.wait = Millis(self.wait.0 * 2).min(RETRY_MAX);
        self.phase = Phase::Waiting { since: now, until };
        CacheAction::Rest { until }
    }
}

/// A peer that calls is there again: no wait is longer than the shortest, however often it calls.
fn cut_short(phase: Phase) -> Phase {
    match phase {
        Phase::Waiting { since, until } => Phase::Waiting { since, until: until.min(since + RETRY_MIN) },
        phase => phase,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::cache::{CacheCommand, CacheKey, Content, KeyState, Lifetime, Minted, When, perform};
    use crate::id::NodeName;
    use crate::stamp::Stamp;
    use crate::vector::{Dot, Origin, Sequence};

    const BOTH: CacheWays = CacheWays { tells: true, asks: true };
    const SWEEP: Millis = Millis(60_000);

    fn origin(name: &str) -> Origin {
        Origin { node: NodeName::parse(name).unwrap(), incarnation: 1 }
    }

    fn known(name: &str, sequence: u64) -> Vector {
        [(origin(name), Sequence(sequence))].into_iter().collect()
    }

    /// What changed here up to a position: one write of a node.
    fn changed(name: &str, through: u64) -> CacheEvent {
        let mut state = KeyState::default();
        let command = CacheCommand::Set { content: Content::json("1"), lifetime: Lifetime::For(Millis(9_000)) };
        let dot = Dot { origin: origin(name), sequence: Sequence(through) };
        let minted = Minted { now: Millis(1), stamp: Stamp::new(Millis(1), 0), dot };
        perform(&mut state, command, &When::Always, false, minted).unwrap();
        let changes = CacheChanges {
            states: vec![(CacheKey::parse("k").unwrap(), state)],
            through: Position(through),
            vector: Some(known(name, through)),
        };
        CacheEvent::Read(CacheSource { origin: origin("here"), log_id: 1 }, changes)
    }

    fn heard(all: u64, own: u64) -> CacheEvent {
        let reach = CacheReach { all: Position(all), own: Position(own) };
        CacheEvent::Heard { vector: Vector::new(), reach }
    }

    fn question(after: u64) -> CacheQuestion {
        CacheQuestion { after: Position(after), log_id: 5, vector: known("here", 1) }
    }

    /// A session that has asked, and knows that the peer has everything up to `here`.
    fn at_rest(ways: CacheWays, here: u64) -> CacheSession {
        let mut session = CacheSession::new(ways, SWEEP, Position(here), Millis(0));
        let mut action = session.handle(Millis(0), CacheEvent::Woken);
        if ways.asks {
            assert_eq!(action, CacheAction::LookUp);
            assert_eq!(session.handle(Millis(0), CacheEvent::LookedUp(question(3))), CacheAction::Ask(question(3)));
            let answered = CacheEvent::Answered { log_id: 5, through: Some(Position(9)), is_end: true };
            assert_eq!(session.handle(Millis(0), answered), CacheAction::Compare);
            action = session.handle(Millis(0), CacheEvent::Compared(None));
        }
        if ways.tells {
            assert_eq!(action, CacheAction::Offer);
            action = session.handle(Millis(0), heard(here, here));
        }
        assert_eq!(action, CacheAction::Rest { until: SWEEP });
        session
    }

    #[test]
    fn our_own_writes_are_told_at_once_and_others_after_a_pause() {
        let mut session = at_rest(BOTH, 4);
        let at = Millis(1_000);
        assert_eq!(session.handle(at, CacheEvent::Changed(Position(5))), CacheAction::Read { after: Position(4) });
        assert!(matches!(session.handle(at, changed("here", 5)), CacheAction::Tell(message) if message.is_news()));
        // The peer has our own writes; it may lack others' up to there.
        let CacheAction::Rest { until } = session.handle(at, heard(4, 5)) else { panic!() };
        assert_eq!(until, at + PASS_ON_AFTER);
        // What came from somebody else waits for that too.
        assert_eq!(
            session.handle(Millis(1_100), CacheEvent::Changed(Position(6))),
            CacheAction::Read { after: Position(5) }
        );
        assert_eq!(session.handle(Millis(1_100), changed("there", 6)), CacheAction::Rest { until });
        assert_eq!(session.handle(until, CacheEvent::Woken), CacheAction::Read { after: Position(4) });
        assert_eq!(session.handle(until, changed("there", 6)), CacheAction::Offer);
        assert_eq!(session.handle(until, heard(4, 6)), CacheAction::Read { after: Position(4) });
        assert!(matches!(session.handle(until, changed("there", 6)), CacheAction::Tell(_)));
        assert_eq!(session.handle(until, heard(6, 6)), CacheAction::Rest { until: SWEEP });
    }

    #[test]
    fn what_is_told_begins_where_the_peer_stands_however_much_of_others_lies_between() {
        let mut session = at_rest(BOTH, 4);
        let at = Millis(1_000);
        assert_eq!(session.handle(at, CacheEvent::Changed(Position(90))), CacheAction::Read { after: Position(4) });
        for page in [30, 60] {
            assert_eq!(session.handle(at, changed("there", page)), CacheAction::Read { after: Position(page) });
        }
        let CacheAction::Tell(message) = session.handle(at, changed("here", 90)) else { panic!() };
        let stretch = message.stretch.unwrap();
        assert_eq!((stretch.after, stretch.through), (Position(4), Position(90)));
        // A peer that has lost some of it is told from there.
        assert_eq!(session.handle(at, heard(2, 2)), CacheAction::Read { after: Position(2) });
    }

    #[test]
    fn what_waits_to_be_passed_on_is_not_put_off_by_rounds_that_take_long() {
        let mut session = at_rest(BOTH, 4);
        session.handle(Millis(1_000), CacheEvent::Changed(Position(5)));
        session.handle(Millis(1_000), changed("here", 5));
        let due = CacheAction::Rest { until: Millis(1_200) };
        assert_eq!(session.handle(Millis(1_000), heard(4, 5)), due);
        session.handle(Millis(1_100), CacheEvent::Changed(Position(6)));
        session.handle(Millis(1_100), changed("here", 6));
        assert_eq!(session.handle(Millis(1_300), heard(4, 6)), due, "the moment fell into a round, and is lost");
        session.handle(Millis(1_300), CacheEvent::Changed(Position(7)));
        session.handle(Millis(1_300), changed("here", 7));
        assert_eq!(session.handle(Millis(1_500), heard(4, 7)), CacheAction::Read { after: Position(4) });
    }

    #[test]
    fn a_peer_that_answers_no_question_is_told_all_the_same() {
        let mut session = CacheSession::new(BOTH, SWEEP, Position(0), Millis(0));
        assert_eq!(session.handle(Millis(0), CacheEvent::Woken), CacheAction::LookUp);
        session.handle(Millis(0), CacheEvent::LookedUp(question(0)));
        assert_eq!(session.handle(Millis(0), CacheEvent::Failed { random: 7 }), CacheAction::Offer);
        let wait = CacheAction::Rest { until: RETRY_MIN + Millis(7) };
        assert_eq!(session.handle(Millis(0), heard(0, 0)), wait);
        assert_eq!(session.failures(), 1);
        // What is written meanwhile does not end the wait.
        assert_eq!(session.handle(Millis(9), CacheEvent::Changed(Position(1))), wait);
    }

    #[test]
    fn a_peer_that_calls_ends_a_long_wait_and_not_the_shortest() {
        let mut session = CacheSession::new(CacheWays { tells: true, asks: false }, SWEEP, Position(0), Millis(0));
        let mut failed = Millis(0);
        let mut until = Millis(0);
        for _ in 0..9 {
            failed = until;
            assert_eq!(session.handle(failed, CacheEvent::Woken), CacheAction::Offer);
            let CacheAction::Rest { until: next } = session.handle(failed, CacheEvent::Failed { random: 0 }) else {
                panic!("{session:?}")
            };
            until = next;
        }
        assert_eq!(until, failed + RETRY_MAX);
        let soon = CacheAction::Rest { until: failed + RETRY_MIN };
        assert_eq!(session.handle(failed + Millis(9), CacheEvent::Called), soon, "it is tried as often as it calls");
        assert_eq!(session.handle(failed + RETRY_MIN, CacheEvent::Called), CacheAction::Offer);
    }

    #[test]
    fn waits_grow_up_to_a_bound_and_begin_anew_after_a_success() {
        let mut session = CacheSession::new(CacheWays { tells: true, asks: false }, SWEEP, Position(0), Millis(0));
        let mut now = Millis(0);
        for wanted in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            assert_eq!(session.handle(now, CacheEvent::Woken), CacheAction::Offer);
            let rest = session.handle(now, CacheEvent::Failed { random: 0 });
            assert_eq!(rest, CacheAction::Rest { until: now + Millis(wanted) });
            now = now + Millis(wanted);
        }
        assert_eq!(session.failures(), 8);
        assert_eq!(session.handle(now, CacheEvent::Woken), CacheAction::Offer);
        session.handle(now, heard(0, 0));
        assert_eq!(session.failures(), 0);
        session.handle(now, CacheEvent::Changed(Position(1)));
        let rest = session.handle(now, CacheEvent::Failed { random: 0 });
        assert_eq!(rest, CacheAction::Rest { until: now + RETRY_MIN });
    }

    #[test]
    fn a_peer_that_takes_nothing_in_is_given_up_for_a_while() {
        let mut session = at_rest(BOTH, 4);
        let mut action = session.handle(Millis(1), CacheEvent::Changed(Position(5)));
        for _ in 0..=NO_PROGRESS_MAX {
            assert_eq!(action, CacheAction::Read { after: Position(4) });
            assert!(matches!(session.handle(Millis(1), changed("here", 5)), CacheAction::Tell(_)));
            action = session.handle(Millis(1), heard(4, 4));
        }
        assert_eq!(action, CacheAction::GiveUp);
        // One whose answers lead nowhere too.
        let mut session = CacheSession::new(BOTH, SWEEP, Position(0), Millis(0));
        session.handle(Millis(0), CacheEvent::Woken);
        session.handle(Millis(0), CacheEvent::LookedUp(question(3)));
        let nowhere = CacheEvent::Answered { log_id: 5, through: None, is_end: false };
        assert_eq!(session.handle(Millis(0), nowhere), CacheAction::GiveUp);
    }

    #[test]
    fn pages_are_asked_for_until_the_end_and_a_difference_asks_for_everything() {
        let mut session = at_rest(CacheWays { tells: false, asks: true }, 0);
        assert_eq!(session.handle(Millis(5), CacheEvent::Called), CacheAction::LookUp);
        session.handle(Millis(5), CacheEvent::LookedUp(question(3)));
        let page = CacheEvent::Answered { log_id: 6, through: Some(Position(2)), is_end: false };
        let next = CacheQuestion { after: Position(2), log_id: 6, vector: known("here", 1) };
        assert_eq!(session.handle(Millis(5), page), CacheAction::Ask(next));
        let end = CacheEvent::Answered { log_id: 6, through: Some(Position(4)), is_end: true };
        assert_eq!(session.handle(Millis(5), end), CacheAction::Compare);
        let rest = CacheAction::Rest { until: Millis(5) + SWEEP };
        assert_eq!(session.handle(Millis(5), CacheEvent::Compared(Some(false))), rest);
        session.handle(Millis(6), CacheEvent::Called);
        let all = CacheQuestion { after: Position(0), log_id: 5, vector: Vector::new() };
        assert_eq!(session.handle(Millis(6), CacheEvent::LookedUp(question(3))), CacheAction::Ask(all));
    }

    #[test]
    fn a_peer_that_is_not_to_be_told_or_asked_is_not() {
        let mut session = at_rest(CacheWays { tells: false, asks: true }, 0);
        let rest = session.handle(Millis(1), CacheEvent::Changed(Position(9)));
        assert_eq!(rest, CacheAction::Rest { until: SWEEP });
        let mut session = at_rest(CacheWays { tells: true, asks: false }, 0);
        let rest = CacheAction::Rest { until: Millis(7) + SWEEP };
        assert_eq!(session.handle(Millis(7), CacheEvent::Called), rest);
    }
}
