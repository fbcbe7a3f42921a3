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
//! A session asks before it offers: until the peer has answered once in this life, nothing is known of what it has. It
//! asks, too, once an offer has failed: what is believed of the peer may be what was wrong.
//! What others may be sending to the peer at this moment waits a little, as [`crate::sync::forwarding`] says, and so
//! does asking for what a peer was seen to have and we lack: most often it is on its way to us. While the peer takes
//! our log by asking for it, nothing is offered. Under a full load offers wait for more, as [`crate::sync::gathering`]
//! says.
//!
//! Invariant: `pushed` never passes what the peer has confirmed of our log, and `pulled` never passes what we
//! have taken of the peer's. Positions are forgotten when the other side's log is not the one they count.

use crate::id::NodeName;
use crate::sync::forwarding::{Filter, Forwarding};
use crate::sync::gathering::Gathering;
use crate::sync::message::Standing;
use crate::time::Millis;
use crate::vector::{Origin, Position, Sequence, Vector};

/// Shortest and longest wait after a failure.
const BACKOFF_MIN: Millis = Millis(1_000);
const BACKOFF_MAX: Millis = Millis(30_000);
/// A random part is added to each wait, below this.
const JITTER_MAX: u64 = 250;
/// How long to wait for what the peer has and we lack, before asking for it.
const COMES_BY_ITSELF: Millis = Millis(150);
/// How long the peer, having taken something by a question, may take to ask again before it is offered the rest.
const ASKS_AGAIN_WITHIN: Millis = Millis(1_000);
/// The same when there was no more to ask for: time for the word of its arrival.
const ACKNOWLEDGES_WITHIN: Millis = Millis(100);

/// The conversation with one peer about one database.
#[derive(Debug, Clone)]
pub struct Session {
    local: NodeName,
    phase: Phase,
    newest: Position,
    /// What we know.
    ours: Vector,
    pushed: Position,
    /// Everything up to here was sent, or left for later.
    looked: Position,
    pulled: Position,
    peer_log_id: Option<u64>,
    /// Who the peer is, once it has answered: its own operations are never sent to it.
    peer_origin: Option<Origin>,
    peer_vector: Vector,
    forwarding: Forwarding,
    gathering: Gathering,
    begun: Millis,
    round_trip: Millis,
    is_pull_wanted: bool,
    /// The last offer failed: the next exchange is a question, if it may be.
    asks_first: bool,
    /// When to ask for what the peer has and we lack, if it has not come by then.
    asks_at: Option<Millis>,
    /// The peer takes our log by asking; nothing is offered before this.
    offers_from: Millis,
    /// When something may be due without anything happening before.
    wakes_at: Option<Millis>,
    failures: u32,
    has_lost_place: bool,
    /// The peer does not have the database: a push makes it there.
    is_absent: bool,
    selection: Selection,
    /// Directions that the peer has refused; tried again at the next sweep or call.
    refused: Refused,
}

/// Which ways operations may go, as far as we decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// From us to the peer.
    pub push: bool,
    /// From the peer to us.
    pub pull: bool,
}

/// Ways that the peer does not let operations go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refused {
    /// From us to the peer.
    pub push: bool,
    /// From the peer to us.
    pub pull: bool,
}

impl Refused {
    /// Whether any way is refused.
    pub fn is_any(self) -> bool {
        self.push || self.pull
    }
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
        /// What we know with it.
        vector: Vector,
        /// A random number, for jitter.
        random: u64,
    },
    /// The peer says that it has something, or somebody asks for an exchange. Ends a wait.
    Called,
    /// Time for a look although all seems quiet.
    Sweep,
    /// Time has passed; sent when [`Session::wakes_at`] has come.
    Woken,
    /// The peer was heard to know this, on whatever way.
    Heard {
        /// What it knows.
        vector: Vector,
        /// The log of the peer that says so, if it is told.
        log_id: Option<u64>,
    },
    /// The peer has brought a stretch of its log by itself, and it was taken in.
    Brought {
        /// The peer's log.
        log_id: u64,
        /// The stretch begins after this position of it …
        after: Position,
        /// … and was taken up to here.
        through: Position,
    },
    /// The peer has asked for our log and was answered.
    Answered {
        /// It says that it has our log up to here.
        after: Position,
        /// Whether it got something.
        has_any: bool,
        /// Whether it will ask on.
        has_more: bool,
    },
    /// A push came back, or had nothing to send up to `looked`.
    Pushed {
        /// The position up to which the peer has our log.
        through: Position,
        /// The position up to which our log was looked through; what lies between waits.
        looked: Position,
        /// Whether the peer misses operations before those that were sent.
        has_gap: bool,
        /// The peer, if it was asked.
        peer: Option<Standing>,
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
    /// The peer does not have the database.
    Absent,
    /// Which ways operations may go was changed here. Nothing that is known of the peer is forgotten.
    Selected(Selection),
    /// The peer does not let operations of this database go the way that was just tried.
    NotSelectedByPeer,
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
        /// What is left out.
        filter: Filter,
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
}

impl Session {
    /// Goes on from a checkpoint; from nothing when there is none.
    pub fn new(local: NodeName, checkpoint: Option<(u64, Position, Position)>) -> Self {
        let (peer_log_id, pushed, pulled) = match checkpoint {
            Some((log_id, pushed, pulled)) => (Some(log_id), pushed, pulled),
            None => (None, Position::START, Position::START),
        };
        Self {
            local,
            phase: Phase::Idle,
            newest: Position::START,
            ours: Vector::new(),
            pushed,
            looked: pushed,
            pulled,
            peer_log_id,
            peer_origin: None,
            peer_vector: Vector::new(),
            forwarding: Forwarding::default(),
            gathering: Gathering::default(),
            begun: Millis(0),
            round_trip: Millis(0),
            is_pull_wanted: true,
            asks_first: false,
            asks_at: None,
            offers_from: Millis(0),
            wakes_at: None,
            failures: 0,
            has_lost_place: false,
            is_absent: false,
            selection: Selection { push: true, pull: true },
            refused: Refused::default(),
        }
    }

    /// Takes in what has happened and says what to do.
    pub fn handle(&mut self, now: Millis, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Committed { newest, vector, random } => self.grow(now, newest, &vector, random),
            Event::Heard { vector, log_id } => self.hear(&vector, log_id),
            Event::Brought { log_id, after, through } => {
                if self.peer_log_id == Some(log_id) && after <= self.pulled && !self.has_forgotten_itself() {
                    self.pulled = self.pulled.max(through);
                }
            }
            Event::Answered { after, has_any, has_more } => self.note_answer(now, after, has_any, has_more),
            Event::Called => {
                self.is_pull_wanted = true;
                self.refused = Refused::default();
                self.end_wait();
            }
            Event::Sweep => {
                self.is_pull_wanted = true;
                self.refused = Refused::default();
            }
            Event::Woken => {
                if matches!(self.phase, Phase::Waiting { until } if now >= until) {
                    self.phase = Phase::Idle;
                }
            }
            Event::Pushed { through, looked, has_gap, peer } => {
                self.phase = Phase::Idle;
                self.after_push(now, through, looked, has_gap, peer, &mut actions);
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
                self.asks_first = true;
            }
            Event::Absent => self.start_at_nothing(),
            Event::Selected(selection) => {
                self.is_pull_wanted = self.is_pull_wanted || (selection.pull && !self.selection.pull);
                self.selection = selection;
                self.refused = Refused::default();
            }
            Event::NotSelectedByPeer => {
                match self.phase {
                    Phase::Pushing => self.refused.push = true,
                    Phase::Pulling | Phase::Idle | Phase::Waiting { .. } => self.refused.pull = true,
                }
                self.forwarding.withdraw_offer();
                self.phase = Phase::Idle;
            }
            Event::Failed { random } => self.back_off(now, random),
        }
        actions.extend(self.next(now));
        actions
    }

    /// What the session is doing.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The peer's log, once it is known.
    pub fn peer_log_id(&self) -> Option<u64> {
        self.peer_log_id
    }

    /// The peer has confirmed our log up to here.
    pub fn pushed(&self) -> Position {
        self.pushed
    }

    /// The same, by the peer's own word: what was confirmed before this life of the session was perhaps confirmed by an
    /// earlier life of the peer, which it has forgotten. Once the peer says that it lacks something before a position, that
    /// position says nothing.
    pub fn confirmed(&self) -> Position {
        if self.peer_origin.is_some() && !self.has_lost_place { self.pushed } else { Position::START }
    }

    /// We have the peer's log up to here.
    pub fn pulled(&self) -> Position {
        self.pulled
    }

    /// What the peer is known to know.
    pub fn peer_vector(&self) -> &Vector {
        &self.peer_vector
    }

    /// What the peer is sent now, and what later.
    pub fn forwarding(&self) -> &Forwarding {
        &self.forwarding
    }

    /// Whether the last exchange with the peer did not fail.
    pub fn is_in_touch(&self) -> bool {
        self.failures == 0
    }

    /// Which ways that we would let operations go the peer refuses.
    pub fn refused(&self) -> Refused {
        self.refused
    }

    /// Whether the next push waits for more: until that time has come, word of more changes nothing.
    pub fn is_gathering(&self, now: Millis) -> bool {
        self.phase == Phase::Idle && self.has_offer() && self.gathers_until(now).is_some()
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// When [`Event::Woken`] is to be sent, unless something else happens before; each event may change it.
    pub fn wakes_at(&self) -> Option<Millis> {
        self.wakes_at
    }

    fn next(&mut self, now: Millis) -> Option<Action> {
        let action = if self.phase == Phase::Idle { self.begin(now) } else { None };
        self.wakes_at = match self.phase {
            Phase::Pushing | Phase::Pulling => None,
            Phase::Waiting { until } => Some(until),
            Phase::Idle => self.due(now),
        };
        action
    }

    /// The next exchange, if one is due.
    fn begin(&mut self, now: Millis) -> Option<Action> {
        self.forwarding.settle(now);
        if self.asks_at.is_some_and(|at| now >= at) {
            self.asks_at = None;
            self.is_pull_wanted = self.is_pull_wanted || self.is_peer_ahead();
        }
        let (may_push, may_pull) = (self.may_push(), self.selection.pull && !self.refused.pull);
        let has_met = self.peer_origin.is_some() || self.is_absent || !may_pull;
        if self.has_offer() && has_met && self.known_to_peer().covers_all(&self.ours) {
            self.pushed = self.newest;
            self.looked = self.newest;
        }
        let asks_first = self.asks_first && may_pull;
        let may_offer = may_push && !asks_first && has_met && now >= self.offers_from;
        if may_offer && self.has_offer() && self.gathers_until(now).is_none() {
            self.phase = Phase::Pushing;
            self.begun = now;
            if self.is_in_touch() {
                self.forwarding.offer(now, self.pushed);
            }
            return Some(Action::Push { after: self.pushed, filter: self.forwarding.for_push(self.known_to_peer()) });
        }
        if may_pull && (self.is_pull_wanted || (may_push && self.has_offer() && !has_met)) {
            self.phase = Phase::Pulling;
            self.begun = now;
            self.is_pull_wanted = false;
            self.asks_first = false;
            return Some(Action::Pull { after: self.pulled, log_id: self.peer_log_id });
        }
        None
    }

    /// The next time at which something may be due.
    fn due(&self, now: Millis) -> Option<Millis> {
        let may_push = self.may_push();
        let ripens = self.forwarding.ripens_at().filter(|_| may_push && self.newest > self.pushed);
        let has_offer = may_push && self.has_offer();
        let offers = (has_offer && now < self.offers_from).then_some(self.offers_from);
        let gathers = self.gathers_until(now).filter(|_| has_offer);
        [ripens, offers, gathers, self.asks_at].into_iter().flatten().min()
    }

    /// Whether there is something that was not looked at for the peer, or that has ripened since.
    fn has_offer(&self) -> bool {
        self.newest > self.looked || self.forwarding.ripe().min(self.newest) > self.pushed
    }

    fn gathers_until(&self, now: Millis) -> Option<Millis> {
        self.gathering.until(now, self.newest.0.saturating_sub(self.pushed.0))
    }

    fn may_push(&self) -> bool {
        self.selection.push && !self.refused.push
    }

    /// The peer has no such database: it is as empty as a new one, and gets everything.
    fn start_at_nothing(&mut self) {
        self.phase = Phase::Idle;
        self.is_absent = true;
        self.pushed = Position::START;
        self.looked = Position::START;
        self.pulled = Position::START;
        self.peer_log_id = None;
        self.peer_origin = None;
        self.peer_vector = Vector::new();
        self.succeed();
    }

    fn is_peer_ahead(&self) -> bool {
        !self.ours.covers_all(&self.peer_vector)
    }

    /// Whether the peer knows more than we of what this node has written, in any of its lives: a backup of it was put
    /// back. What the peer brings leaves that out, for it is ours.
    fn has_forgotten_itself(&self) -> bool {
        self.peer_vector.iter().any(|(origin, known)| origin.node == self.local && known > self.ours.get(origin))
    }

    fn grow(&mut self, now: Millis, newest: Position, vector: &Vector, random: u64) {
        let is_first = self.newest == Position::START && self.ours.is_empty();
        self.newest = self.newest.max(newest);
        self.ours.merge(vector);
        self.forwarding.grow(now, newest, self.round_trip, random);
        if is_first && self.peer_origin.is_none() {
            // What was there before this life: others have had their time to pass it on.
            self.forwarding.ripen_all();
        }
    }

    fn hear(&mut self, vector: &Vector, log_id: Option<u64>) {
        // Word of another log than the one that we count is older or newer than what we know of the peer.
        if log_id.is_none() || self.peer_log_id.is_none() || log_id == self.peer_log_id {
            self.peer_vector.merge(vector);
        }
    }

    /// The peer takes our log by asking for it: what it says that it has is as good as a confirmation.
    fn note_answer(&mut self, now: Millis, after: Position, has_any: bool, has_more: bool) {
        if self.peer_origin.is_some() && !self.has_lost_place {
            self.pushed = self.pushed.max(after.min(self.newest));
            self.looked = self.looked.max(self.pushed);
        }
        if has_more {
            self.offers_from = now + ASKS_AGAIN_WITHIN;
        } else {
            self.offers_from = if has_any { now + ACKNOWLEDGES_WITHIN } else { now };
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
        looked: Position,
        has_gap: bool,
        peer: Option<Standing>,
        actions: &mut Vec<Action>,
    ) {
        let Some(peer) = peer else {
            // Nothing had to be sent: the peer is known to have it all.
            self.pushed = self.pushed.max(through);
            self.looked = self.looked.max(looked);
            return;
        };
        let is_same_log = self.meet(now, &peer);
        if has_gap {
            self.forwarding.withdraw_offer();
            // It was believed to have what it lacks, as after a backup was put back: what it says itself counts.
            self.peer_vector.clone_from(&peer.vector);
        } else {
            self.forwarding.offer(now, self.pushed);
        }
        if has_gap && looked > through && !self.has_lost_place {
            // The peer lacks something that was left for later: it gets it now. If that is not it, wait before more.
            self.has_lost_place = true;
            self.forwarding.ripen_all();
            self.looked = self.pushed;
            return;
        }
        if has_gap {
            self.lose_place(now);
            return;
        }
        self.succeed();
        if is_same_log {
            self.gathering.pushed(self.begun, through.0.saturating_sub(self.pushed.0));
            self.pushed = self.pushed.max(through);
            self.looked = self.looked.max(looked);
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
        let is_same_log = self.meet(now, peer);
        if has_gap {
            self.pulled = Position::START;
            self.is_pull_wanted = true;
            self.lose_place(now);
            return;
        }
        self.succeed();
        self.pulled = if is_same_log { self.pulled.max(through) } else { through };
        self.is_pull_wanted = self.is_pull_wanted || has_more;
        if !has_more {
            self.disbelieve(&peer.vector);
        }
        actions.push(self.checkpoint(peer.log_id));
    }

    /// Learns who answered. Answers whether it is the log that our positions count.
    fn meet(&mut self, now: Millis, peer: &Standing) -> bool {
        self.round_trip = now.since(self.begun);
        // A log that was put back keeps its id, and its author goes on as somebody else.
        let is_same_life = self.peer_origin.as_ref().is_none_or(|origin| *origin == peer.origin);
        let is_same_log = is_same_life && self.peer_log_id.is_none_or(|log_id| log_id == peer.log_id);
        if !is_same_log {
            // The peer was restored or began anew: what it confirmed is void, and so is what we know of it.
            self.pushed = Position::START;
            self.looked = Position::START;
            self.pulled = Position::START;
            self.peer_vector = Vector::new();
            self.is_pull_wanted = true;
        }
        let is_first = self.peer_origin.is_none();
        let is_all_confirmed = self.pushed > Position::START && self.pushed >= self.newest;
        if is_first && is_all_confirmed && !peer.vector.covers_all(&self.ours) {
            // A backup was put back there while this node was down: what the checkpoint says is from before that.
            self.pushed = Position::START;
            self.looked = Position::START;
            self.forwarding.ripen_all();
        }
        self.is_absent = false;
        self.peer_log_id = Some(peer.log_id);
        self.peer_origin = Some(peer.origin.clone());
        self.peer_vector.merge(&peer.vector);
        self.forwarding.meet(&peer.neighbours, &self.local);
        if self.is_peer_ahead() {
            self.asks_at.get_or_insert(now + COMES_BY_ITSELF);
        } else {
            // Whatever its log holds up to there is here, on whatever way it has come.
            self.pulled = self.pulled.max(peer.newest);
        }
        is_same_log
    }

    /// What the peer was heard to know, and has neither given nor says that it knows, it has lost, as after a backup was
    /// put back: to ask for it again and again would bring nothing.
    fn disbelieve(&mut self, says: &Vector) {
        let mut possible = self.ours.clone();
        possible.merge(says);
        if !possible.covers_all(&self.peer_vector) {
            self.peer_vector = self.peer_vector.meet(&possible);
        }
    }

    /// Somebody misses operations that were counted on: start from the beginning, where vectors leave out
    /// what is known. If that happens again before a success, wait as after a failure.
    fn lose_place(&mut self, now: Millis) {
        self.pushed = Position::START;
        self.looked = Position::START;
        self.forwarding.ripen_all();
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
        self.forwarding.withdraw_offer();
        self.is_pull_wanted = true;
        // After a question an offer has its turn, whatever became of the question.
        self.asks_first = self.phase == Phase::Pushing;
        self.phase = Phase::Waiting { until: now + wait };
    }
}

#[cfg(test)]
mod tests;
