//! Compares this node with its peers, database by database, and remembers what was found.
//!
//! ```text
//!   log has grown, or a sweep ─► quiet, or long enough ─► POST /api/replication/survey ─► compare ─► Found
//! ```
//!
//! One task per session, beside it and independent of it: a peer that does not answer surveys is synced with all the
//! same. What is found decides what status may claim; nothing here changes a document.
//!
//! Must stay true: a task surveys at most once a second, and not at all while a proof younger than a sweep still holds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_core::id::{CollectionName, DatabaseName, NodeName};
use holdfast_core::limits::{SURVEY_ACKNOWLEDGED_MAX, VECTOR_ORIGINS_MAX};
use holdfast_core::sync::admission::Cause;
use holdfast_core::sync::comparison::{Comparison, Inconclusive, Outcome, Side, compare};
use holdfast_core::sync::message::{PROTOCOL, Standing};
use holdfast_core::sync::survey::{
    Lacking, Memory, Pace, Survey, SurveyRecord, SurveyRequest, SurveyResponse, parse_parts, part_records,
};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Position, Vector};
use holdfast_storage::error::StorageError;
use holdfast_storage::log::{Backlog, LogView};
use holdfast_storage::view::ReadView;
use thiserror::Error;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use crate::clock;
use crate::databases::{OpenDatabase, Unavailable};
use crate::sync::Sync;
use crate::sync::driver::{SessionHandle, SessionStatus};
use crate::sync::giver::Giver;
use crate::sync::peer_client::PeerError;
use crate::sync::verify::{self, Order};
use crate::sync::{membership, states};

/// Where peers are asked.
pub const SURVEY_PATH: &str = "/api/replication/survey";
/// Shortest time between two surveys of one peer and database.
const BETWEEN_MIN: Duration = Duration::from_secs(1);
/// How long a peer may take to answer. The look at the data is held meanwhile.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// What was found of a peer in one database.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The last comparison that said something.
    pub conclusive: Option<Comparison>,
    /// Why the last survey said nothing, when it did not.
    pub silent: Option<(Millis, String)>,
    /// When everything was last proven equal.
    pub proven: Option<Millis>,
    /// When the peer last asked us, or answered.
    pub contact: Option<Millis>,
    /// The same by the clock that nobody sets.
    pub heard: Option<std::time::Instant>,
    /// What the peer told of itself.
    pub told: Option<Told>,
    /// Surveys that were answered since the start.
    pub surveys: u64,
    /// Surveys that found a difference since the start.
    pub differences: u64,
    /// Documents that were put right here or there since the start.
    pub settled: u64,
    /// What the peer's clock showed when it last answered: the next question brings it back.
    pub(super) word: Option<Millis>,
    /// What both knew when differences were last settled without being asked to.
    pub(super) settled_at: Option<Vector>,
}

/// What a peer told of itself.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// When.
    pub at: Millis,
    /// The oldest position of its log.
    pub oldest: Position,
    /// The newest position of its log.
    pub newest: Position,
    /// What we lack of its log.
    pub lacking: Lacking,
}

/// Why a survey brought nothing.
#[derive(Debug, Error)]
pub enum SurveyError {
    /// There is no session with this peer about this database.
    #[error("sync with this peer is not running for this database")]
    NoSession,
    /// The database cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The database is not open.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The peer gave no useful answer.
    #[error("the peer {0}")]
    Peer(#[from] PeerError),
    /// The peer took too long.
    #[error("the peer has not answered within {} s", ANSWER_WITHIN.as_secs())]
    TooSlow,
    /// What the peer said cannot be believed.
    #[error("the peer answered what it must not: {0}")]
    Nonsense(String),
}

/// A peer and a database.
pub type Key = (NodeName, DatabaseName);

/// The surveys of a node: one task per session, and what they found.
#[derive(Debug, Default)]
pub struct Surveys {
    found: Mutex<BTreeMap<Key, Found>>,
    tasks: Mutex<BTreeMap<Key, Task>>,
    /// Held while what is kept of a database is corrected: corrected twice, it would be wrong again.
    pub(super) mending: tokio::sync::Mutex<()>,
    /// Held by a search for differences: one at a time.
    pub(super) searching: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Task {
    running: tokio::task::AbortHandle,
    _stop: DropGuard,
}

impl Surveys {
    /// What was found of a peer in a database.
    pub fn found(&self, peer: &NodeName, database: &DatabaseName) -> Found {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.get(&(peer.clone(), database.clone())).cloned().unwrap_or_default()
    }

    /// Begins to survey new sessions and forgets those that have ended.
    pub fn follow(&self, sync: &Arc<Sync>) {
        let sessions = sync.session_keys();
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|key, task| sessions.contains(key) && !task.running.is_finished());
        self.found.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| sessions.contains(key));
        for key in sessions {
            if !tasks.contains_key(&key) {
                tasks.insert(key.clone(), start(sync, key));
            }
        }
    }

    pub(super) fn note(&self, key: &Key, change: impl FnOnce(&mut Found)) {
        change(self.found.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default());
    }

    /// Notes what a comparison said, and says so when it is news.
    fn conclude(&self, key: &Key, comparison: Comparison) {
        let mut was_equal = false;
        let outcome = comparison.outcome.clone();
        self.note(key, |found| {
            let before = found.conclusive.as_ref().map(|before| &before.outcome);
            was_equal = !matches!(before, Some(Outcome::Different(_)));
            match &comparison.outcome {
                Outcome::Inconclusive(why) => found.silent = Some((comparison.at, why.reason().to_owned())),
                Outcome::Equal { .. } | Outcome::Different(_) => {
                    found.silent = None;
                    found.differences += u64::from(matches!(comparison.outcome, Outcome::Different(_)));
                    if comparison.proves_equal(&comparison.ours, &comparison.theirs) {
                        found.proven = Some(comparison.at);
                    }
                    found.conclusive = Some(comparison);
                }
            }
        });
        let (peer, database) = key;
        match outcome {
            Outcome::Different(collections) if was_equal => {
                let collections = names(&collections);
                tracing::error!(%peer, %database, collections, "digests differ although the same operations were exchanged; 'holdfast verify --peer' finds the documents");
            }
            Outcome::Equal { .. } if !was_equal => tracing::info!(%peer, %database, "digests are equal again"),
            _ => {}
        }
    }
}

/// Names of collections in a row, for people.
pub fn names(collections: &[CollectionName]) -> String {
    const SHOWN_MAX: usize = 10;
    let mut names: Vec<&str> = collections.iter().take(SHOWN_MAX).map(CollectionName::as_str).collect();
    if collections.len() > SHOWN_MAX {
        names.push("…");
    }
    names.join(", ")
}

fn start(sync: &Arc<Sync>, key: Key) -> Task {
    let stop = sync.stop().child_token();
    let stopped = stop.clone();
    let surveyed = Arc::clone(sync);
    let running = sync.tasks.spawn(async move {
        tokio::select! {
            () = stopped.cancelled() => {}
            () = keep_comparing(&surveyed, &key) => {}
        }
    });
    Task { running: running.abort_handle(), _stop: stop.drop_guard() }
}

/// Compares whenever something has changed and come to rest, and at every sweep.
async fn keep_comparing(sync: &Sync, key: &Key) {
    let pace = Pace { between_min: millis(BETWEEN_MIN), between_max: millis(sync.tempo().sweep.max(BETWEEN_MIN)) };
    let mut unproven = 0;
    let mut next_try = Instant::from_std(clock::monotonic());
    loop {
        tokio::time::sleep(BETWEEN_MIN).await;
        let Some(mut look) = Look::at(sync, key) else { continue };
        let now = clock::monotonic();
        if let Some(still) = look.proof_holds_for(sync.tempo().sweep) {
            unproven = 0;
            tokio::select! {
                // That a database is no more is no reason to stop: one made anew from states takes its place.
                _ = look.newest.changed() => {}
                () = tokio::time::sleep(still) => {}
            }
            continue;
        }
        // Who does not answer exchanges does not answer surveys.
        if look.session.last_error.is_some() || look.session.is_paused {
            continue;
        }
        if !look.has_come_to_rest() && Instant::from_std(now) < next_try {
            continue;
        }
        match survey(sync, key).await {
            Ok(comparison) if comparison.proves_equal(&comparison.ours, &comparison.theirs) => unproven = 0,
            Ok(comparison) => {
                unproven += 1;
                settle_by_itself(sync, key, &comparison).await;
            }
            Err(error) => {
                unproven += 1;
                let at = Millis(clock::now_millis());
                sync.surveys().note(key, |found| found.silent = Some((at, error.to_string())));
            }
        }
        next_try = Instant::from_std(clock::monotonic()) + Duration::from_millis(pace.wait(unproven).0);
    }
}

/// Settles what needs nobody's decision, once for what both know.
async fn settle_by_itself(sync: &Sync, key: &Key, comparison: &Comparison) {
    let is_different = matches!(comparison.outcome, Outcome::Different(_));
    let found = sync.surveys().found(&key.0, &key.1);
    if !is_different || comparison.ours != comparison.theirs || found.settled_at.as_ref() == Some(&comparison.ours) {
        return;
    }
    sync.surveys().note(key, |found| found.settled_at = Some(comparison.ours.clone()));
    let order = Order { repair: true, is_automatic: true, prefer: None };
    if let Err(error) = verify::verify(sync, key, order).await {
        tracing::warn!(peer = %key.0, database = %key.1, %error, "the difference could not be looked into");
    }
}

/// What is known without asking.
struct Look {
    /// Says when the log grows beyond this look.
    newest: tokio::sync::watch::Receiver<Position>,
    ours: Vector,
    session: SessionStatus,
    found: Found,
}

impl Look {
    fn at(sync: &Sync, (peer, database): &Key) -> Option<Self> {
        let session = sync.session(peer, database)?.status();
        let open = sync.databases().get(database).ok()?;
        let newest = open.newest();
        let ours = open.view().ok()?.state().ok()?.vector;
        Some(Self { newest, ours, session, found: sync.surveys().found(peer, database) })
    }

    /// How long the last proof will do, if it still holds.
    fn proof_holds_for(&self, sweep: Duration) -> Option<Duration> {
        let last = self.found.conclusive.as_ref()?;
        let age = Duration::from_millis(Millis(clock::now_millis()).since(last.at).0);
        let holds = last.proves_equal(&self.ours, &self.session.peer_vector);
        sweep.checked_sub(age).filter(|rest| holds && !rest.is_zero())
    }

    /// Whether everything that is known of was exchanged, and this was not compared yet.
    fn has_come_to_rest(&self) -> bool {
        let is_exchanged = self.session.last_error.is_none() && self.ours == self.session.peer_vector;
        let is_compared = self.found.conclusive.as_ref().is_some_and(|last| last.ours == self.ours)
            || self
                .found
                .silent
                .as_ref()
                .is_some_and(|(at, _)| self.session.last_success.is_none_or(|then| *at >= then));
        is_exchanged && !is_compared
    }
}

/// Asks a peer once and notes what its answer says.
pub async fn survey(sync: &Sync, key: &Key) -> Result<Comparison, SurveyError> {
    let (peer, database) = key;
    let session = sync.session(peer, database).ok_or(SurveyError::NoSession)?;
    let status = session.status();
    let open = sync.databases().get(database)?;
    let begun = clock::monotonic();
    let echo_millis = sync.surveys().found(peer, database).word.map(|word| word.0);
    let account = tokio::task::block_in_place(|| {
        account(sync, &open, status.confirmed, &status.peer_vector).map_err(SurveyError::from)
    })?;
    let request = SurveyRequest {
        echo_millis,
        protocol: PROTOCOL,
        survey: SurveyRecord::from(&account.survey),
        pulled_log_sequence: status.pulled.0,
        pulled_log_id: status.peer_log_id.map(|log_id| format!("{log_id:016x}")),
    };
    let asked = sync.client.ask(session.base_url(), SURVEY_PATH, database, &request);
    let response: SurveyResponse =
        tokio::time::timeout(ANSWER_WITHIN, asked).await.map_err(|_| SurveyError::TooSlow)??;
    let waited = clock::monotonic().saturating_duration_since(begun);
    let nonsense = |refusal: holdfast_core::error::Refusal| SurveyError::Nonsense(refusal.to_string());
    let asked = parse_parts(response.asked).map_err(nonsense)?;
    let mut theirs = response.survey.parse().map_err(nonsense)?;
    if theirs.standing.origin.node != *peer {
        return Err(SurveyError::Nonsense(format!("it calls itself '{}'", theirs.standing.origin.node)));
    }
    theirs.side.asked = asked;
    let comparison = tokio::task::block_in_place(|| account.compare(&theirs.side, &status.peer_vector))?;
    membership::told(sync, &open, &theirs.standing.origin, &theirs.memory, Some(millis(waited)));
    look_at_other_branch(sync, &session, &open, &theirs).await;
    session.heard(&theirs.standing.vector, Some(theirs.standing.log_id));
    let at = comparison.at;
    sync.surveys().note(key, |found| {
        found.contact = Some(at);
        found.heard = Some(clock::monotonic());
        found.surveys += 1;
        found.word = Some(theirs.standing.now);
        found.told = Some(told(&theirs, at));
    });
    sync.surveys().conclude(key, comparison.clone());
    Ok(comparison)
}

/// Two branches of an origin that are equally long show in their chains alone.
async fn look_at_other_branch(sync: &Sync, session: &SessionHandle, open: &Arc<OpenDatabase>, theirs: &Survey) {
    let Ok(ours) = open.view().and_then(|view| view.state()) else { return };
    let Some(stranger) = theirs.other_branch(&ours.vector, &ours.chains) else { return };
    let Some(peer) = sync.registry().get(&theirs.standing.origin.node) else { return };
    membership::note_branch(sync, open, &peer.node, &stranger.origin);
    if let Err(reason) = states::look(sync, &Giver::from(&peer), open, Cause::Asked).await {
        tracing::warn!(peer = %peer.node, database = %open.name(), reason, "the branches stand as they are for now");
    }
    session.call();
}

/// Answers a peer's survey.
pub fn answer(sync: &Sync, open: &OpenDatabase, request: SurveyRequest) -> Result<SurveyResponse, AnswerError> {
    let confirmed = request.pulled(open.log_id()?)?;
    let request_word = request.echo_millis;
    let theirs = request.survey.parse()?;
    let account = account(sync, open, confirmed, &theirs.side.vector)?;
    let asked = account.view.parts(theirs.side.changed.iter().flatten().map(|(key, _)| key))?;
    let asker = &theirs.standing.origin;
    let age = sync.contacts().age_of_question(open.name(), &asker.node, request_word);
    membership::told(sync, open, asker, &theirs.memory, age);
    sync.contacts().answer(open.name(), &asker.node, account.survey.standing.now);
    let ours = account.view.state()?;
    if let Some(stranger) = theirs.other_branch(&ours.vector, &ours.chains) {
        membership::note_branch(sync, open, &theirs.standing.origin.node, &stranger.origin);
    }
    let key = (theirs.standing.origin.node.clone(), open.name().clone());
    if let Some(session) = sync.session(&key.0, &key.1) {
        session.heard(&theirs.standing.vector, Some(theirs.standing.log_id));
        let at = Millis(clock::now_millis());
        sync.surveys().note(&key, |found| {
            found.contact = Some(at);
            found.heard = Some(clock::monotonic());
            found.told = Some(told(&theirs, at));
        });
        // At one vector the question alone says it all; otherwise it takes a question of our own.
        if account.survey.side.vector == theirs.side.vector {
            let outcome = compare(&account.survey.side, &theirs.side);
            let vector = theirs.side.vector.clone();
            sync.surveys().conclude(&key, Comparison { outcome, at, ours: vector.clone(), theirs: vector });
        }
    }
    Ok(SurveyResponse { protocol: PROTOCOL, survey: SurveyRecord::from(&account.survey), asked: part_records(&asked) })
}

/// Why a survey could not be answered.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// It cannot be believed.
    #[error(transparent)]
    Refused(#[from] holdfast_core::error::Refusal),
    /// The database cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What this node tells of a database, and the look at it that the telling comes from.
struct Account {
    view: Arc<ReadView>,
    survey: Survey,
}

/// Looks at a database on behalf of a node that has confirmed our log up to a position and knows `known`.
fn account(sync: &Sync, open: &OpenDatabase, confirmed: Position, known: &Vector) -> Result<Account, StorageError> {
    let now = Millis(clock::now_millis());
    let view = open.view()?;
    let log = open.log()?;
    // What lies below the log's floor is confirmed by what is known, and by no position.
    let confirmed = if known.covers_all(&log.floor()?) { confirmed } else { Position::START };
    let surveyed = view.survey(confirmed, known)?;
    let lacking = lacking(log.backlog(confirmed, known, &surveyed.side.vector)?, now);
    let standing = Standing {
        origin: open.origin().clone(),
        log_id: open.log_id()?,
        newest: surveyed.newest,
        vector: surveyed.side.vector.clone(),
        now,
        // Whom it exchanges with is told with operations, for which it matters.
        neighbours: std::collections::BTreeSet::new(),
    };
    let memory = memory_of(sync, open, &view, &log)?;
    let survey =
        Survey { standing, oldest: log.oldest()?, side: surveyed.side, counts: surveyed.counts, lacking, memory };
    Ok(Account { view, survey })
}

impl Account {
    /// Compares with what a peer answered that was known to know `known`.
    fn compare(mut self, theirs: &Side, known: &Vector) -> Result<Comparison, StorageError> {
        let outcome = if theirs.vector.covers_all(known) {
            let keys = theirs.changed.iter().flatten().map(|(key, _)| key);
            self.survey.side.asked = self.view.parts(keys)?;
            compare(&self.survey.side, theirs)
        } else {
            Outcome::Inconclusive(Inconclusive::Receded)
        };
        let at = Millis(clock::now_millis());
        Ok(Comparison { outcome, at, ours: self.survey.side.vector, theirs: theirs.vector.clone() })
    }
}

/// What this node remembers of the cluster in a database.
pub fn memory_of(sync: &Sync, open: &OpenDatabase, view: &ReadView, log: &LogView) -> Result<Memory, StorageError> {
    let state = view.state()?;
    let mut acknowledged = membership::to_tell(open)?;
    // What a message cannot hold is told by whom it is about.
    let mut room = SURVEY_ACKNOWLEDGED_MAX;
    let own = open.origin();
    acknowledged.retain(|origin, vector| {
        let fits = origin == own || vector.len() < room;
        room -= if fits { vector.len().min(room) } else { 0 };
        fits
    });
    let members = state.members.active().take(VECTOR_ORIGINS_MAX).cloned().collect();
    let heard = sync.contacts().to_tell(open.name()).into_iter().take(VECTOR_ORIGINS_MAX).collect();
    Ok(Memory { acknowledged, heard, members, graves: state.graves, floor: log.floor()?, chains: state.chains })
}

/// What a peer lacks, as it is told.
pub fn lacking(backlog: Backlog, now: Millis) -> Lacking {
    let age_millis = backlog.oldest.map_or(0, |oldest| now.since(oldest).0);
    Lacking { operations: backlog.operations, bytes: backlog.bytes, age_millis }
}

fn told(theirs: &Survey, at: Millis) -> Told {
    Told { at, oldest: theirs.oldest, newest: theirs.standing.newest, lacking: theirs.lacking }
}

fn millis(duration: Duration) -> Millis {
    Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
