//! Carries out what a session says: one task per peer and database.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_core::limits::EXCHANGE_COMPACT_OPERATIONS;
use holdfast_core::sync::admission::{Admission, Cause, PUSHES_AWAITED};
use holdfast_core::sync::compact::MEDIA_TYPE;
use holdfast_core::sync::forwarding::Filter;
use holdfast_core::sync::message::{PROTOCOL, PullRequest, PullResponse, Standing, vector_record};
use holdfast_core::sync::session::{Action, Event, Phase, Refused, Selection, Session};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Origin, Position, Vector};
use holdfast_storage::log::Stretch;
use holdfast_storage::record::progress::Checkpoint;
use holdfast_storage::request::{Answer, Misfit, Receipt, Request};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;
use tokio_util::task::AbortOnDropHandle;

use crate::databases::{OpenDatabase, TRANSFER_BUSY};
use crate::sync::exchange::{self, Checked};
use crate::sync::giver::{self, Giver};
use crate::sync::mailbox::Mailbox;
use crate::sync::membership::{self, Meeting};
use crate::sync::peer_client::{
    DATABASE_NOT_FOUND, DATABASE_NOT_SELECTED, PEER_INACTIVE, POSITION_BEYOND_LOG, PeerError, SAME_NODE_ID,
};
use crate::sync::registry::Peer;
use crate::sync::states::{self, NAME_TAKEN, REBASE_NEEDED, STATES_NEEDED};
use crate::sync::{Sync, Tempo};
use crate::{clock, entropy};

/// Failures that belong to a join, and are told in status alone, before there is a warning: a new life of this node is
/// let in once the peer has called it, and states are taken from one peer after the other.
const PASSING_FAILURES: u32 = 3;

/// What is known of a session, for status.
#[derive(Debug, Clone, Default)]
pub struct SessionStatus {
    /// The peer's log that the positions count, once it is known.
    pub peer_log_id: Option<u64>,
    /// The peer has confirmed our log up to here.
    pub pushed: Position,
    /// The same, by the peer's word since this session began.
    pub confirmed: Position,
    /// We have the peer's log up to here.
    pub pulled: Position,
    /// The peer's newest position, when it last said so.
    pub peer_newest: Position,
    /// What the peer is known to know.
    pub peer_vector: Vector,
    /// Whether the last exchange with the peer did not fail.
    pub is_in_touch: bool,
    /// The ways that the peer does not let operations of this database go.
    pub refused: Refused,
    /// Whether the peer has switched off sync with this node.
    pub is_paused: bool,
    /// How long the peer is silent, if longer than it should be; status fills it in.
    pub silence: Option<Duration>,
    /// When an exchange last succeeded, by the clock that nobody sets.
    pub exchanged: Option<std::time::Instant>,
    /// When an exchange last succeeded.
    pub last_success: Option<Millis>,
    /// When the last exchange failed, and why.
    pub last_error: Option<(Millis, String)>,
    /// Failures since the last success.
    pub failures: u32,
    /// When the next try is due, after a failure.
    pub waiting_until: Option<Millis>,
    /// Since when the peer's answer is waited for, by the clock that nobody sets.
    pub exchanging_since: Option<std::time::Instant>,
    /// The peer's clock less ours, in milliseconds, without the way there and back.
    pub skew_millis: i64,
    /// The last exchange's way there and back, in milliseconds.
    pub round_trip_millis: u64,
    /// Operations sent since the start.
    pub operations_sent: u64,
    /// Operations received since the start, known ones included.
    pub operations_received: u64,
    /// Exchanges over the network since the start.
    pub exchanges: u64,
}

/// A running session. When the last clone is dropped, it ends.
#[derive(Debug, Clone)]
pub struct SessionHandle {
    base_url: String,
    database: Arc<OpenDatabase>,
    mailbox: Arc<Mailbox>,
    status: Arc<Mutex<SessionStatus>>,
    learned: watch::Sender<u64>,
    has_ended: Arc<AtomicBool>,
    _stop: Arc<DropGuard>,
}

impl SessionHandle {
    /// Whether it syncs this very database, and not one that was made anew since.
    pub fn is_of(&self, database: &Arc<OpenDatabase>) -> bool {
        Arc::ptr_eq(&self.database, database)
    }

    /// Makes it look at the peer at once.
    pub fn call(&self) {
        self.mailbox.call();
    }

    /// What the rest of the node has to say to it.
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// The peer was heard to know this. Who waits for that is told at once, whatever the session is doing.
    pub fn heard(&self, vector: &Vector, log_id: Option<u64>) {
        if self.mailbox.heard(vector, log_id) {
            self.learned.send_modify(|count| *count += 1);
        }
    }

    /// The peer is reached again: an exchange that began before `reached` is given up, and another begun.
    pub fn reached_again(&self, reached: std::time::Instant) {
        let since = self.status.lock().unwrap_or_else(PoisonError::into_inner).exchanging_since;
        if since.is_some_and(|since| since < reached) {
            self.mailbox.give_up();
            self.mailbox.call();
        }
    }

    /// Where the peer is.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Whether its task is alive.
    pub fn is_running(&self) -> bool {
        !self.has_ended.load(Ordering::Relaxed)
    }

    /// Whether the last exchange with the peer did not fail.
    pub fn is_in_touch(&self) -> bool {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).is_in_touch
    }

    /// Whether the peer has switched off sync with this node.
    pub fn is_paused(&self) -> bool {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).is_paused
    }

    /// What is known of it, with what the session itself has not read yet.
    pub fn status(&self) -> SessionStatus {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(heard) = self.mailbox.unread(status.peer_log_id) {
            status.peer_vector.merge(&heard);
        }
        status
    }
}

/// The time by which sessions wait: a clock that somebody sets must not hold one up.
pub fn now() -> Millis {
    Millis(clock::monotonic_millis())
}

/// Says that a task has ended, however it did.
struct Ending(Arc<AtomicBool>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What was logged of the failures since the last success: each kind is said once, status tells while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Logged {
    Nothing,
    /// One that belongs to a join.
    Passing,
    Failure,
}

/// The task of one session.
pub struct Driver {
    sync: Arc<Sync>,
    peer: Peer,
    database: Arc<OpenDatabase>,
    tempo: Tempo,
    mailbox: Arc<Mailbox>,
    status: Arc<Mutex<SessionStatus>>,
    session: Session,
    peer_log_id: Option<u64>,
    /// Whether the peer is sent the compact form; until it says that it does not know it.
    is_compact: bool,
    /// Whether the last failure was that another node has our name: for a moment that is so whenever a node has begun a
    /// new life, until its peer has called it.
    is_name_taken: bool,
    logged: Logged,
    next_push: Option<NextPush>,
    next_pull: Option<NextPull>,
}

/// A stretch of our log as it goes to the peer.
struct Offer {
    through: Position,
    looked: Position,
    has_more: bool,
    operations: usize,
    media_type: &'static str,
    body: Vec<u8>,
    /// What the peer learns that we know.
    ours: Vector,
    /// The peer knows more of our own origin than we do: what it seems to know may be something else of the same number,
    /// and nothing may be counted as sent.
    is_behind_itself: bool,
    /// The peer lacks what our log no longer holds.
    is_below_floor: bool,
}

/// The push after the one that is under way, made ready meanwhile.
struct NextPush {
    after: Position,
    offer: AbortOnDropHandle<Result<Offer, String>>,
}

/// An answer of the peer, and how long it took.
type Fetched = Result<(Checked<PullResponse>, Duration), PeerError>;

/// The pull after the one that is being written, asked meanwhile.
struct NextPull {
    after: Position,
    log_id: u64,
    answer: AbortOnDropHandle<Fetched>,
}

impl Driver {
    /// Starts the session of a peer and a database.
    pub fn start(sync: &Arc<Sync>, peer: &Peer, database: Arc<OpenDatabase>) -> SessionHandle {
        let stop = sync.stop().child_token();
        let (mailbox, status) = (
            Arc::new(Mailbox::default()),
            Arc::new(Mutex::new(SessionStatus { is_in_touch: true, ..SessionStatus::default() })),
        );
        let checkpoint = checkpoint(&database, peer);
        let of = Arc::clone(&database);
        let driver = Self {
            sync: Arc::clone(sync),
            peer: peer.clone(),
            tempo: sync.tempo(),
            mailbox: Arc::clone(&mailbox),
            status: Arc::clone(&status),
            session: Session::new(sync.origin().node.clone(), checkpoint),
            peer_log_id: checkpoint.map(|(log_id, _, _)| log_id),
            is_compact: true,
            is_name_taken: false,
            logged: Logged::Nothing,
            next_push: None,
            next_pull: None,
            database,
        };
        let has_ended = Arc::new(AtomicBool::new(false));
        let (stopped, ending) = (stop.clone(), Ending(Arc::clone(&has_ended)));
        sync.tasks.spawn(async move {
            let _ending = ending;
            tokio::select! {
                () = stopped.cancelled() => {}
                () = driver.run() => {}
            }
        });
        SessionHandle {
            base_url: peer.base_url.clone(),
            database: of,
            mailbox,
            status,
            learned: sync.learned.clone(),
            has_ended,
            _stop: Arc::new(stop.drop_guard()),
        }
    }

    async fn run(mut self) {
        let mut newest = self.database.newest();
        let mut sweep = tokio::time::interval(self.tempo.sweep);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mailbox = Arc::clone(&self.mailbox);
        let mut peers = self.sync.registry().changed();
        let selected = self.selected(&mut peers);
        let first = self.committed(&mut newest);
        let mut actions: VecDeque<Action> = self.handle(selected).into();
        actions.extend(self.handle(first));
        loop {
            while let Some(action) = actions.pop_front() {
                if let Some(event) = self.perform(action).await {
                    // What was sent can be newer than what the session knows of, and so can what the peer then has.
                    actions.extend(self.catch_up(&mut newest));
                    actions.extend(self.handle(event));
                }
                if peers.has_changed().unwrap_or(false) {
                    let selected = self.selected(&mut peers);
                    actions.extend(self.handle(selected));
                }
            }
            let wake = self.session.wakes_at().map(|then| then.since(now()));
            let wake = Instant::from_std(clock::monotonic())
                + wake.map_or(Duration::from_secs(3_600), |wait| Duration::from_millis(wait.0));
            let is_gathering = self.session.is_gathering(now());
            let events = tokio::select! {
                changed = newest.changed(), if !is_gathering => {
                    if changed.is_err() {
                        return;
                    }
                    vec![self.committed(&mut newest)]
                }
                () = mailbox.arrived() => Vec::new(),
                Ok(()) = peers.changed() => vec![self.selected(&mut peers)],
                _ = sweep.tick() => vec![Event::Sweep],
                () = tokio::time::sleep_until(wake) => vec![Event::Woken],
            };
            for event in mailbox.take() {
                actions.extend(self.handle(event));
            }
            actions.extend(self.catch_up(&mut newest));
            for event in events {
                actions.extend(self.handle(event));
            }
        }
    }

    /// Tells the session how far our log reaches, if it has grown meanwhile.
    fn catch_up(&mut self, newest: &mut watch::Receiver<Position>) -> Vec<Action> {
        if !newest.has_changed().unwrap_or(false) {
            return Vec::new();
        }
        let committed = self.committed(newest);
        self.handle(committed)
    }

    /// How far our log reaches now.
    fn committed(&self, newest: &mut watch::Receiver<Position>) -> Event {
        let announced = *newest.borrow_and_update();
        let state = self.database.view().and_then(|view| view.state());
        let (newest, vector) = match state {
            Ok(state) => (announced.max(state.position), state.vector),
            Err(_) => (announced, Vector::new()),
        };
        Event::Committed { newest, vector, random: entropy::random_u64() }
    }

    fn handle(&mut self, event: Event) -> Vec<Action> {
        let (now, failures, lost) = (now(), self.session.failures(), lost_place(&event));
        let actions = self.session.handle(now, event);
        if let Some(lost) = lost.filter(|_| self.session.failures() > failures) {
            self.note_failure(lost);
        }
        if self.session.failures() < failures {
            self.logged = Logged::Nothing;
        }
        self.mailbox.show(self.session.forwarding(), matches!(self.session.phase(), Phase::Waiting { .. }));
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.peer_log_id = self.session.peer_log_id();
        status.pushed = self.session.pushed();
        status.confirmed = self.session.confirmed();
        status.pulled = self.session.pulled();
        status.is_in_touch = self.session.is_in_touch();
        status.refused = self.session.refused();
        let has_learned = status.peer_vector != *self.session.peer_vector();
        if has_learned {
            status.peer_vector.clone_from(self.session.peer_vector());
        }
        status.failures = self.session.failures();
        status.waiting_until = match self.session.phase() {
            Phase::Waiting { until } => Some(Millis(clock::now_millis()) + until.since(now)),
            Phase::Idle | Phase::Pushing | Phase::Pulling => None,
        };
        drop(status);
        if has_learned {
            self.sync.learned.send_modify(|count| *count += 1);
        }
        actions
    }

    async fn perform(&mut self, action: Action) -> Option<Event> {
        let outcome = match action {
            Action::Push { after, filter } => self.push(after, filter).await,
            Action::Pull { after, log_id } => self.pull(after, log_id).await,
            Action::SaveCheckpoint { peer_log_id, pushed, pulled } => {
                let updated = Millis(clock::now_millis());
                self.peer_log_id = Some(peer_log_id);
                let checkpoint = Checkpoint { peer_log_id, pushed, pulled, updated };
                // Losing it costs a repetition: the vectors tell what is known.
                drop(self.database.submit(Request::Checkpoint { peer: self.peer.node.clone(), checkpoint }).await);
                return None;
            }
        };
        Some(outcome.unwrap_or_else(|error| {
            self.note_failure(&error);
            Event::Failed { random: entropy::random_u64() }
        }))
    }

    async fn push(&mut self, after: Position, mut filter: Filter) -> Result<Event, String> {
        let ready = match self.next_push.take() {
            Some(next) if next.after == after => next.offer.await.map_err(|error| error.to_string())?,
            _ => {
                self.mailbox.refresh(&mut filter, self.peer_log_id);
                let (newest, prepare) = (*self.database.newest().borrow(), self.preparation(after, filter.clone()));
                exchange::work_on_stretch(after, newest, prepare)
            }
        };
        let offer = ready?;
        if offer.is_behind_itself {
            return self.look_at_states(Cause::Asked).await;
        }
        if offer.is_below_floor {
            return self.give_states(None).await;
        }
        if offer.operations == 0 {
            return Ok(Event::Pushed { through: offer.through, looked: offer.looked, has_gap: false, peer: None });
        }
        let (through, looked, operations) = (offer.through, offer.looked, offer.operations);
        if offer.has_more {
            // Made ready while the peer writes this one.
            let prepare = self.preparation(through, filter);
            let offer = AbortOnDropHandle::new(tokio::task::spawn_blocking(prepare));
            self.next_push = Some(NextPush { after: through, offer });
        }
        self.mailbox.told(&offer.ours);
        let sent = clock::monotonic();
        let sending = self.sync.client.push(&self.peer.base_url, self.database.name(), offer.media_type, offer.body);
        let response = match self.answered(sending).await {
            Err(PeerError::Refused { status: 415 | 406, .. }) if self.is_compact => {
                // It does not know the compact form: from now on it gets JSON.
                self.is_compact = false;
                self.next_push = None;
                return Ok(Event::Pushed { through: after, looked: after, has_gap: false, peer: None });
            }
            Err(PeerError::Refused { code, .. }) if code == REBASE_NEEDED => {
                return self.look_at_states(Cause::Asked).await;
            }
            Err(PeerError::Refused { code, .. }) if is_choice(&code) => return Ok(self.left_out(&code)),
            Err(error) => return Err(self.why(error).await),
            Ok(response) => response,
        };
        let peer = self.meet(&response.standing, sent.elapsed()).await?;
        if response.stranger.is_some() {
            let cause = if response.is_forgotten { Cause::Forgotten } else { Cause::Asked };
            return self.look_at_states(cause).await;
        }
        self.note(|status| status.operations_sent += operations as u64);
        let confirmed = Position(response.last_processed_log_sequence.min(through.0));
        if confirmed < through && confirmed <= after && response.gap.is_none() {
            return Err("confirmed nothing of what was sent".to_owned());
        }
        // What it did not take up to the end is not looked at either, but for what came early.
        let looked = if confirmed < through && response.gap.is_none() { confirmed } else { looked };
        Ok(Event::Pushed { through: confirmed, looked, has_gap: response.gap.is_some(), peer: Some(peer) })
    }

    /// Reads and writes down what goes to the peer after a position; may run on any thread.
    fn preparation(&self, after: Position, filter: Filter) -> impl FnOnce() -> Result<Offer, String> + Send + use<> {
        let (sync, database) = (Arc::clone(&self.sync), Arc::clone(&self.database));
        let (is_compact, least) = (self.is_compact, self.tempo.batch_operations);
        move || {
            let ours = sync.standing(&database).map_err(|error| error.to_string())?;
            let is_behind_itself = filter.known().get(&ours.origin) > ours.vector.get(&ours.origin);
            let floor = database.log().and_then(|log| log.floor()).map_err(|error| error.to_string())?;
            let is_below_floor = !filter.known().covers_all(&floor);
            if is_below_floor {
                let (media_type, body) = (MEDIA_TYPE, Vec::new());
                let (through, looked, has_more, operations) = (after, after, false, 0);
                let ours = ours.vector;
                return Ok(Offer {
                    through,
                    looked,
                    has_more,
                    operations,
                    media_type,
                    body,
                    ours,
                    is_behind_itself,
                    is_below_floor,
                });
            }
            let wanted = if is_compact { least.max(EXCHANGE_COMPACT_OPERATIONS) } else { least };
            let stretch = exchange::read(&database, after, &filter, wanted).map_err(|error| error.to_string())?;
            let stated = database.stated(&ours.vector, filter.known());
            let stated = stated.map_err(|error| error.to_string())?;
            let mut head = exchange::push_head(&stretch, after, &ours, &stated);
            let (media_type, body) = if stretch.operations.is_empty() {
                (MEDIA_TYPE, Vec::new())
            } else if is_compact {
                (MEDIA_TYPE, exchange::compact(&head, &stretch))
            } else {
                head.operations = exchange::records(&stretch, &ours.origin);
                ("application/json", serde_json::to_vec(&head).map_err(|error| error.to_string())?)
            };
            let Stretch { through, looked, has_more, operations } = stretch;
            let (operations, has_more) = (operations.len(), has_more && looked == through);
            Ok(Offer {
                through,
                looked,
                has_more,
                operations,
                media_type,
                body,
                ours: ours.vector,
                is_behind_itself,
                is_below_floor,
            })
        }
    }

    async fn pull(&mut self, after: Position, log_id: Option<u64>) -> Result<Event, String> {
        let next = self.next_pull.take().filter(|next| next.after == after && Some(next.log_id) == log_id);
        let fetched = match next {
            Some(next) => {
                let answer = async { next.answer.await.unwrap_or_else(|error| Err(ended(&error))) };
                self.answered(answer).await
            }
            None => self.answered(self.question(after, log_id)?).await,
        };
        let (pull, took) = match fetched {
            Err(PeerError::Refused { code, .. }) if code == POSITION_BEYOND_LOG => return Ok(Event::LostPlace),
            Err(PeerError::Refused { code, .. }) if code == STATES_NEEDED => {
                return self.look_at_states(Cause::Asked).await;
            }
            Err(PeerError::Refused { code, .. }) if is_choice(&code) => return Ok(self.left_out(&code)),
            Err(PeerError::Refused { code, .. }) if code == DATABASE_NOT_FOUND => {
                self.note(|status| {
                    status.last_error = None;
                    status.is_paused = false;
                });
                return Ok(Event::Absent);
            }
            Err(error) => return Err(self.why(error).await),
            Ok(fetched) => fetched,
        };
        let peer = self.meet(&pull.head.standing, took).await?;
        if self.forgot_itself(&peer.vector)? {
            return self.look_at_states(Cause::Asked).await;
        }
        let ours = membership::admit(&self.sync, &self.database, &peer.origin, &peer.vector);
        match ours.map_err(|error| error.to_string())? {
            Admission::MustRebase | Admission::NameTaken if !pull.operations.is_empty() => {
                return self.give_states(None).await;
            }
            _ => {}
        }
        let has_more = pull.head.has_more;
        let received = exchange::received_pull(pull, &peer).map_err(|refusal| refusal.to_string())?;
        let through = received.through;
        self.note(|status| status.operations_received += received.operations.len() as u64);
        if has_more {
            // Fetched while this one is being written.
            let answer = AbortOnDropHandle::new(tokio::spawn(self.question(through, Some(peer.log_id))?));
            self.next_pull = Some(NextPull { after: through, log_id: peer.log_id, answer });
        }
        match self.database.submit_from_peer(Request::Receive(received)).await {
            Ok(Answer::Receipt(Receipt { overfull: Some(_), accepted: 0, .. })) => {
                Err("too many operations are parked here: retry or settle dead letters".to_owned())
            }
            Ok(Answer::Receipt(Receipt { stranger: Some(stranger), .. })) => {
                self.next_pull = None;
                membership::note_stranger(&self.sync, &self.database, &self.peer.node, &stranger);
                let is_unjudged = stranger.misfit == Misfit::Writer && self.session.failures() >= PUSHES_AWAITED;
                let cause = if is_unjudged { Cause::Unjudged } else { Cause::Asked };
                self.look_at_states(cause).await
            }
            Ok(Answer::Receipt(receipt)) => {
                membership::note_second(&self.sync, &self.database, &receipt);
                Ok(Event::Pulled { through: receipt.through, has_more, has_gap: receipt.gap.is_some(), peer })
            }
            Ok(other) => Err(format!("the writer answered something else: {other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The peer's answer, unless it is given up.
    async fn answered<T>(&self, asking: impl Future<Output = Result<T, PeerError>>) -> Result<T, PeerError> {
        self.note(|status| status.exchanging_since = Some(clock::monotonic()));
        let answer = tokio::select! {
            answer = asking => answer,
            () = self.mailbox.given_up() => {
                Err(PeerError::Unreachable("no answer came before the connection to it was made anew".to_owned()))
            }
        };
        self.note(|status| status.exchanging_since = None);
        answer
    }

    /// What to tell of a peer that gave no useful answer.
    async fn why(&mut self, error: PeerError) -> String {
        let PeerError::Refused { code, .. } = &error else { return error.to_string() };
        self.is_name_taken = code == NAME_TAKEN;
        if code == SAME_NODE_ID
            && let Ok(found) = self.sync.client.databases(&self.peer.base_url).await
            && found.instance.as_deref() == Some(self.sync.instance())
        {
            return format!(
                "its BaseUrl {} leads to this node itself: give it its own, or run 'holdfast peers remove {}'",
                self.peer.base_url, self.peer.node
            );
        }
        error.to_string()
    }

    /// The peer is well, and does not exchange this database with us.
    fn left_out(&self, code: &str) -> Event {
        self.note(|status| {
            status.last_success = Some(Millis(clock::now_millis()));
            status.exchanged = Some(clock::monotonic());
            status.last_error = None;
            status.is_paused = code == PEER_INACTIVE;
        });
        Event::NotSelectedByPeer
    }

    /// Which ways operations may go now.
    fn selected(&mut self, peers: &mut watch::Receiver<u64>) -> Event {
        peers.mark_unchanged();
        if let Some(peer) = self.sync.registry().get(&self.peer.node) {
            self.peer = peer;
        }
        let database = self.database.name();
        Event::Selected(Selection { push: self.peer.sends(database), pull: self.peer.accepts(database) })
    }

    /// Asks the peer for its log after a position.
    fn question(
        &self,
        after: Position,
        log_id: Option<u64>,
    ) -> Result<impl Future<Output = Fetched> + Send + use<>, String> {
        let ours = self.sync.standing(&self.database).map_err(|error| error.to_string())?;
        self.mailbox.told(&ours.vector);
        let request = PullRequest {
            protocol: PROTOCOL,
            requesting_node_id: ours.origin.node.to_string(),
            after_log_sequence: after.0,
            log_id: log_id.map(|log_id| format!("{log_id:016x}")),
            batch_size: i64::try_from(self.tempo.batch_operations).ok(),
            vector: vector_record(&ours.vector),
            requesting_log_id: Some(format!("{:016x}", ours.log_id)),
        };
        let (client, base_url) = (self.sync.client.clone(), self.peer.base_url.clone());
        let database = self.database.name().clone();
        Ok(async move {
            let sent = clock::monotonic();
            let answer = client.pull(&base_url, &database, &request).await?;
            Ok((answer, sent.elapsed()))
        })
    }

    /// Whether the peer knows more of our own origin than we do: then this node was set back to an earlier time.
    fn forgot_itself(&self, peer: &Vector) -> Result<bool, String> {
        let ours = self.database.view().and_then(|view| view.state()).map_err(|error| error.to_string())?;
        let me = self.database.origin();
        Ok(peer.get(me) > ours.vector.get(me))
    }

    /// Operations alone do not do: looks at the peer's states, and takes them if that is needed.
    async fn look_at_states(&mut self, cause: Cause) -> Result<Event, String> {
        (self.next_push, self.next_pull) = (None, None);
        match states::look(&self.sync, &Giver::from(&self.peer), &self.database, cause).await? {
            states::Outcome::Unneeded => Err("does not fit for now: it was not ready for our operations".to_owned()),
            states::Outcome::TheirBranch(origin) => self.give_states(Some(&origin)).await,
            states::Outcome::TheirTurn => self.give_states(None).await,
            states::Outcome::Done(..) => {
                // The database was made anew; the session with the new one takes over and ends this task.
                std::future::pending().await
            }
        }
    }

    /// The peer cannot catch up by operations: brings it our states, unless it asks for them by itself. It is told of which
    /// origin it holds another branch.
    async fn give_states(&mut self, branch: Option<&Origin>) -> Result<Event, String> {
        (self.next_push, self.next_pull) = (None, None);
        giver::give(&self.sync, &self.peer, &self.database, branch).await?;
        // What it knows now it says itself.
        Ok(Event::LostPlace)
    }

    /// Checks who has answered, notes how far it is, and counts it in.
    async fn meet(
        &self,
        record: &holdfast_core::sync::message::StandingRecord,
        took: Duration,
    ) -> Result<Standing, String> {
        let peer = self.check(record, took)?;
        let met = membership::meet(&self.sync, &self.database, &peer.origin, Meeting::Dialled).await;
        met.map_err(|error| error.to_string())?;
        Ok(peer)
    }

    fn check(&self, record: &holdfast_core::sync::message::StandingRecord, took: Duration) -> Result<Standing, String> {
        let peer = record.parse().map_err(|refusal| refusal.to_string())?;
        if peer.origin.node == self.sync.origin().node {
            return Err(format!(
                "answers as '{}', which is this node's own name: give every node its own Node:NodeId",
                peer.origin.node
            ));
        }
        if peer.origin.node != self.peer.node {
            return Err(format!(
                "answers as '{}': register it under that NodeId, or correct its BaseUrl",
                peer.origin.node
            ));
        }
        let round_trip = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let now = clock::now_millis();
        let skew = signed_difference(peer.now.0.saturating_add(round_trip / 2), now);
        self.note(|status| {
            status.peer_newest = peer.newest;
            status.last_success = Some(Millis(now));
            status.exchanged = Some(clock::monotonic());
            status.last_error = None;
            status.is_paused = false;
            status.exchanges += 1;
            status.round_trip_millis = round_trip;
            status.skew_millis = skew;
        });
        self.sync.skews().note(&self.peer.node, skew);
        Ok(peer)
    }

    fn note(&self, change: impl FnOnce(&mut SessionStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn note_failure(&mut self, error: &str) {
        let is_name_taken = std::mem::take(&mut self.is_name_taken);
        let is_passing = is_name_taken || error == giver::TAKES_BY_ITSELF || error.ends_with(TRANSFER_BUSY);
        let kind = if is_passing { Logged::Passing } else { Logged::Failure };
        let is_due = !is_passing || self.session.failures() >= PASSING_FAILURES;
        self.note(|status| status.last_error = Some((Millis(clock::now_millis()), error.to_owned())));
        if is_due && kind > self.logged {
            self.logged = kind;
            tracing::warn!(peer = %self.peer.node, database = %self.database.name(), error, "sync failed, trying again");
        }
    }
}

/// How far the session got before, in the form that it starts from.
fn checkpoint(database: &OpenDatabase, peer: &Peer) -> Option<(u64, Position, Position)> {
    let saved = database.log().ok()?.checkpoint(peer.node.as_str()).ok()??;
    Some((saved.peer_log_id, saved.pushed, saved.pulled))
}

/// A question that was asked ahead, and ended without an answer.
fn ended(error: &tokio::task::JoinError) -> PeerError {
    PeerError::Unreachable(error.to_string())
}

/// What to tell when an exchange shows that something counted on is not there, and that happens again and again.
fn lost_place(event: &Event) -> Option<&'static str> {
    match event {
        Event::LostPlace => Some("what was counted on is not there: all is looked through anew"),
        Event::Pushed { has_gap: true, .. } => {
            Some("it lacks operations before those that it was sent: all is looked through anew")
        }
        Event::Pulled { has_gap: true, .. } => {
            Some("operations are missing before those that it gave: all is asked for anew")
        }
        _ => None,
    }
}

/// Whether a refusal is what the peer's operator has chosen, and no failure.
fn is_choice(code: &str) -> bool {
    code == DATABASE_NOT_SELECTED || code == PEER_INACTIVE
}

fn signed_difference(left: u64, right: u64) -> i64 {
    i64::try_from(i128::from(left) - i128::from(right)).unwrap_or(i64::MAX)
}
