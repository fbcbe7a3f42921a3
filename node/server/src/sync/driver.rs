//! Carries out what a session says: one task per peer and database.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_core::sync::message::{PROTOCOL, PullRequest, Standing, vector_record};
use holdfast_core::sync::session::{Action, Event, Phase, Session};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Position, Vector};
use holdfast_storage::record::progress::Checkpoint;
use holdfast_storage::request::{Answer, Request};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use crate::databases::OpenDatabase;
use crate::sync::exchange;
use crate::sync::peer_client::{POSITION_BEYOND_LOG, PeerError};
use crate::sync::registry::Peer;
use crate::sync::{Sync, Tempo};
use crate::{clock, entropy};

/// Calls that may wait for a session. More say nothing new.
const CALLS_MAX: usize = 16;

/// What is known of a session, for status.
#[derive(Debug, Clone, Default)]
pub struct SessionStatus {
    /// The peer has confirmed our log up to here.
    pub pushed: Position,
    /// We have the peer's log up to here.
    pub pulled: Position,
    /// The peer's newest position, when it last said so.
    pub peer_newest: Position,
    /// What the peer is known to know.
    pub peer_vector: Vector,
    /// When an exchange last succeeded.
    pub last_success: Option<Millis>,
    /// When the last exchange failed, and why.
    pub last_error: Option<(Millis, String)>,
    /// Failures since the last success.
    pub failures: u32,
    /// When the next try is due, after a failure.
    pub waiting_until: Option<Millis>,
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
    events: mpsc::Sender<Event>,
    status: Arc<Mutex<SessionStatus>>,
    _stop: Arc<DropGuard>,
}

impl SessionHandle {
    /// Makes it look at the peer at once.
    pub fn call(&self) {
        // A full queue already holds a call.
        drop(self.events.try_send(Event::Called));
    }

    /// Tells it what the peer is known to know, so that nothing of it is sent there.
    pub fn heard(&self, vector: Vector) {
        // Only saves bandwidth: a lost one costs a repetition.
        drop(self.events.try_send(Event::Heard { vector }));
    }

    /// Where the peer is.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Whether its task is alive.
    pub fn is_running(&self) -> bool {
        !self.events.is_closed()
    }

    /// What is known of it.
    pub fn status(&self) -> SessionStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The task of one session.
pub struct Driver {
    sync: Arc<Sync>,
    peer: Peer,
    database: Arc<OpenDatabase>,
    tempo: Tempo,
    status: Arc<Mutex<SessionStatus>>,
    session: Session,
}

impl Driver {
    /// Starts the session of a peer and a database.
    pub fn start(sync: &Arc<Sync>, peer: &Peer, database: Arc<OpenDatabase>) -> SessionHandle {
        let (events, inbox) = mpsc::channel(CALLS_MAX);
        let stop = sync.stop().child_token();
        let status = Arc::new(Mutex::new(SessionStatus::default()));
        let driver = Self {
            sync: Arc::clone(sync),
            peer: peer.clone(),
            tempo: sync.tempo(),
            status: Arc::clone(&status),
            session: Session::new(checkpoint(&database, peer)),
            database,
        };
        let stopped = stop.clone();
        sync.tasks.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = driver.run(inbox) => {}
            }
        });
        SessionHandle { base_url: peer.base_url.clone(), events, status, _stop: Arc::new(stop.drop_guard()) }
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Event>) {
        let mut newest = self.database.newest();
        let mut sweep = tokio::time::interval(self.tempo.sweep);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut wake_at: Option<Millis> = None;
        let first = Event::Committed { newest: *newest.borrow_and_update() };
        let mut actions: VecDeque<Action> = self.handle(first).into();
        loop {
            while let Some(action) = actions.pop_front() {
                if let Action::WakeAt(then) = action {
                    wake_at = Some(then);
                } else if let Some(event) = self.perform(action).await {
                    actions.extend(self.handle(event));
                }
            }
            let wake = wake_at.map(|then| then.since(Millis(clock::now_millis())));
            let wake = Instant::from_std(clock::monotonic())
                + wake.map_or(Duration::from_secs(3_600), |wait| Duration::from_millis(wait.0));
            let event = tokio::select! {
                changed = newest.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    Event::Committed { newest: *newest.borrow_and_update() }
                }
                event = inbox.recv() => match event {
                    Some(event) => event,
                    None => return,
                },
                _ = sweep.tick() => Event::Sweep,
                () = tokio::time::sleep_until(wake) => {
                    wake_at = None;
                    Event::Woken
                }
            };
            actions.extend(self.handle(event));
        }
    }

    fn handle(&mut self, event: Event) -> Vec<Action> {
        let actions = self.session.handle(Millis(clock::now_millis()), event);
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.pushed = self.session.pushed();
        status.pulled = self.session.pulled();
        status.peer_vector.clone_from(self.session.peer_vector());
        status.failures = self.session.failures();
        status.waiting_until = match self.session.phase() {
            Phase::Waiting { until } => Some(until),
            Phase::Idle | Phase::Pushing | Phase::Pulling => None,
        };
        actions
    }

    async fn perform(&self, action: Action) -> Option<Event> {
        let outcome = match action {
            Action::Push { after, known } => self.push(after, &known).await,
            Action::Pull { after, log_id } => self.pull(after, log_id).await,
            Action::SaveCheckpoint { peer_log_id, pushed, pulled } => {
                let updated = Millis(clock::now_millis());
                let checkpoint = Checkpoint { peer_log_id, pushed, pulled, updated };
                // Losing it costs a repetition: the vectors tell what is known.
                drop(self.database.submit(Request::Checkpoint { peer: self.peer.node.clone(), checkpoint }).await);
                return None;
            }
            Action::WakeAt(_) => return None,
        };
        Some(outcome.unwrap_or_else(|error| {
            self.note_failure(&error);
            Event::Failed { random: entropy::random_u64() }
        }))
    }

    async fn push(&self, after: Position, known: &Vector) -> Result<Event, String> {
        let (stretch, ours) = {
            let ours = exchange::standing(&self.database).map_err(|error| error.to_string())?;
            let read = exchange::read(&self.database, after, known, self.tempo.batch_operations);
            (read.map_err(|error| error.to_string())?, ours)
        };
        if stretch.operations.is_empty() {
            return Ok(Event::Pushed { through: stretch.through, has_gap: false, peer: None, is_peer_ahead: false });
        }
        let request = exchange::push_request(&stretch, after, &ours);
        let sent = clock::monotonic();
        let client = &self.sync.client;
        let response = client.push(&self.peer.base_url, self.database.name(), &request).await;
        let response = response.map_err(|error| error.to_string())?;
        let peer = self.meet(&response.standing, sent.elapsed())?;
        self.note(|status| status.operations_sent += stretch.operations.len() as u64);
        let through = Position(response.last_processed_log_sequence.min(stretch.through.0));
        if through < stretch.through && through <= after && response.gap.is_none() {
            return Err("confirmed nothing of what was sent".to_owned());
        }
        Ok(Event::Pushed {
            through,
            has_gap: response.gap.is_some(),
            is_peer_ahead: !ours.vector.covers_all(&peer.vector),
            peer: Some(peer),
        })
    }

    async fn pull(&self, after: Position, log_id: Option<u64>) -> Result<Event, String> {
        let ours = exchange::standing(&self.database).map_err(|error| error.to_string())?;
        let request = PullRequest {
            protocol: PROTOCOL,
            requesting_node_id: ours.origin.node.to_string(),
            after_log_sequence: after.0,
            log_id: log_id.map(|log_id| format!("{log_id:016x}")),
            batch_size: i64::try_from(self.tempo.batch_operations).ok(),
            vector: vector_record(&ours.vector),
        };
        let sent = clock::monotonic();
        let response = self.sync.client.pull(&self.peer.base_url, self.database.name(), &request).await;
        let response = match response {
            Err(PeerError::Refused { code, .. }) if code == POSITION_BEYOND_LOG => return Ok(Event::LostPlace),
            response => response.map_err(|error| error.to_string())?,
        };
        let peer = self.meet(&response.standing, sent.elapsed())?;
        let has_more = response.has_more;
        let received = exchange::received_pull(response, &peer).map_err(|refusal| refusal.to_string())?;
        self.note(|status| status.operations_received += received.operations.len() as u64);
        match self.database.submit(Request::Receive(received)).await {
            Ok(Answer::Receipt(receipt)) => {
                Ok(Event::Pulled { through: receipt.through, has_more, has_gap: receipt.gap.is_some(), peer })
            }
            Ok(other) => Err(format!("the writer answered something else: {other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Checks who has answered and notes how far it is.
    fn meet(&self, record: &holdfast_core::sync::message::StandingRecord, took: Duration) -> Result<Standing, String> {
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
        self.note(|status| {
            status.peer_newest = peer.newest;
            status.last_success = Some(Millis(now));
            status.last_error = None;
            status.exchanges += 1;
            status.round_trip_millis = round_trip;
            status.skew_millis = signed_difference(peer.now.0.saturating_add(round_trip / 2), now);
        });
        Ok(peer)
    }

    fn note(&self, change: impl FnOnce(&mut SessionStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn note_failure(&self, error: &str) {
        let is_first = self.session.failures() == 0;
        self.note(|status| status.last_error = Some((Millis(clock::now_millis()), error.to_owned())));
        // Said once when it begins; status tells while it lasts.
        if is_first {
            tracing::warn!(peer = %self.peer.node, database = %self.database.name(), error, "sync failed, trying again");
        }
    }
}

/// How far the session got before, in the form that it starts from.
fn checkpoint(database: &OpenDatabase, peer: &Peer) -> Option<(u64, Position, Position)> {
    let saved = database.log().ok()?.checkpoint(peer.node.as_str()).ok()??;
    Some((saved.peer_log_id, saved.pushed, saved.pulled))
}

fn signed_difference(left: u64, right: u64) -> i64 {
    i64::try_from(i128::from(left) - i128::from(right)).unwrap_or(i64::MAX)
}
