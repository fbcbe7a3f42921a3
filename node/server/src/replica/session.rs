//! One connection between two nodes of a group, from the greeting to its end.
//!
//! Both sides speak the same frames. What a side knows that the other lacks flows either way: mostly down, from the leader;
//! up, once, what a follower holds that its leader has never seen.
//!
//! ```text
//!   leader                                   follower
//!     databases        ───────────────────►    creates what it lacks, drops what was dropped
//!                      ◄───────────────────  how far it is with each
//!     stretches, cache ───────────────────►    takes them in
//!                      ◄───────────────────  receipts
//!     how far it is    ───────────────────►    gives what only it holds          (only where it has more)
//!     take my states   ───────────────────►    asks for them, page by page       (only where the log ends)
//! ```
//!
//! Must stay true: databases share nothing but the line, and a database that cannot go on ends the connection: it begins
//! anew where the disk is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::replica::frame::Kind;
use holdfast_core::replica::freshness::{Ends, Part};
use holdfast_core::replica::handshake::Refused;
use holdfast_core::replica::heritage::Heritage;
use holdfast_core::replica::lane::{self, Direction, Ours, Remedy, Theirs, Unfit, opening};
use holdfast_core::replica::message::{
    self, Asked, DatabaseAt, Databases, Heartbeat, OfDatabase, PositionAt, Receipt, about, parted,
};
use holdfast_core::sync::admission::Cause;
use holdfast_core::sync::message::{parse_hex, parse_vector, vector_record};
use holdfast_core::vector::{Origin, Position};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::databases::{Asker, OpenDatabase, Standing, Unavailable};
use crate::replica::beat::Pulse;
use crate::replica::feed::{CacheAt, FeedError, feed_cache, feed_log};
use crate::replica::intake::{IntakeError, Taken, WAITING_MAX, take_cache, take_log};
use crate::replica::lives::{announced, told_lives};
use crate::replica::wire::{
    BoxedReader, BoxedWriter, Frame, Outgoing, SILENT_WITHIN, WireError, read_frame, write_all,
};
use crate::replica::{GroupError, ReplicaGroup};
use crate::sync::giver::{Giver, answer_to};
use crate::sync::states;

/// How often the leader says that it is there.
pub const LEADER_BEATS_EVERY: Duration = Duration::from_millis(250);
/// How often a follower does.
const FOLLOWER_BEATS_EVERY: Duration = Duration::from_secs(1);
/// Frames that wait for the line.
const OUT_MAX: usize = 32;
/// Frames that were read and are not looked at yet.
const IN_MAX: usize = 8;
/// How often one database may look at the other side's states on one connection.
const LOOKS_MAX: u32 = 4;

/// Why a connection ended.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The line.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The other side ended it.
    #[error("it ended the connection: {}", .0.reason)]
    Refused(Box<Refused>),
    /// It said what it must not.
    #[error("it said what cannot be believed: {0}")]
    Nonsense(#[from] holdfast_core::error::Refusal),
    /// It said something out of turn.
    #[error("it sent {0:?} out of turn")]
    OutOfTurn(Kind),
    /// A database could not be given.
    #[error("database '{0}' could not be given: {1}")]
    Feed(DatabaseName, FeedError),
    /// A database could not be taken in.
    #[error("database '{0}' could not be taken in: {1}")]
    Intake(DatabaseName, IntakeError),
    /// A database is not there, or not served.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] holdfast_storage::error::StorageError),
    /// States were not taken.
    #[error("the states of database '{0}' were not taken: {1}")]
    States(DatabaseName, String),
    /// What must be remembered before anything is confirmed could not be.
    #[error("{0}")]
    Unconfirmed(String),
    /// The leader's epoch is over.
    #[error("{0}")]
    Denied(#[from] holdfast_core::replica::role::Denied),
    /// The same, told by a frame.
    #[error("it speaks in epoch {0}, and a later one is known here")]
    OldEpoch(u64),
    /// It has come again.
    #[error(
        "another connection has come under its name; if that is another node (a copied data directory?), give each its own \
         Node:NodeId"
    )]
    Displaced,
    /// Another node goes on under its name.
    #[error("another node goes on under the name of {0}: give it its own Node:NodeId, or remove its data directory")]
    NameTaken(Origin),
    /// This node follows or leads otherwise now, or stops.
    #[error("this node has ended it")]
    Ended,
}

/// What a task of a session ends with.
enum Ended {
    Feed(DatabaseName, Result<(), FeedError>),
    Intake(DatabaseName, Result<(), IntakeError>),
    States(DatabaseName, Result<(), String>),
    Writer(Result<(), WireError>),
}

/// One database on a connection.
#[derive(Default)]
pub(super) struct Lane {
    /// The log of the other side, as it last said.
    log_id: String,
    /// As whom the database knows the other side, and its newest word.
    pub(super) other: Option<(Origin, u64)>,
    intake: Option<mpsc::Sender<Vec<u8>>>,
    cache_intake: Option<mpsc::Sender<Vec<u8>>>,
    confirmed: Option<watch::Sender<Position>>,
    cache_confirmed: Option<watch::Sender<Option<CacheAt>>>,
    /// Ends the feeds when another begins.
    feeding: Option<DropGuard>,
    /// Answers to what we ask.
    answers: Option<mpsc::Sender<Vec<u8>>>,
    looks: u32,
}

/// A connection after its greeting.
pub struct Session {
    pub(super) group: Arc<ReplicaGroup>,
    pub(super) other: NodeName,
    pub(super) direction: Direction,
    out: mpsc::Sender<Outgoing>,
    pub(super) lanes: BTreeMap<DatabaseName, Lane>,
    tasks: JoinSet<Ended>,
    announced: Databases,
    pub(super) pulse: Pulse,
    /// What this node has of what its leader began with.
    heritage: Arc<Mutex<Heritage>>,
}

impl Session {
    /// Runs a connection to its end.
    pub async fn run(
        group: Arc<ReplicaGroup>,
        other: NodeName,
        direction: Direction,
        (reader, writer): (BoxedReader, BoxedWriter),
        stop: CancellationToken,
    ) -> SessionError {
        let (out, frames) = mpsc::channel(OUT_MAX);
        let mut session = Self {
            group: Arc::clone(&group),
            other: other.clone(),
            direction,
            out,
            lanes: BTreeMap::new(),
            tasks: JoinSet::new(),
            announced: Databases::default(),
            pulse: Pulse::default(),
            heritage: Arc::default(),
        };
        let (numbered, counted, whom) = (Arc::clone(&group), Arc::clone(&group), other);
        session.tasks.spawn(async move {
            let epoch = move || numbered.epoch_number();
            let written = move |bytes| counted.note_written(&whom, bytes);
            Ended::Writer(write_all(writer, frames, epoch, written).await)
        });
        let (arrived, mut frames) = mpsc::channel(IN_MAX);
        let reading = tokio::spawn(read_all(reader, arrived));
        let ended = tokio::select! {
            ended = session.talk(&mut frames) => ended,
            () = stop.cancelled() => SessionError::Ended,
        };
        let ended = match ended {
            SessionError::Ended if direction == Direction::Down && group.is_displaced(&session.other, &stop) => {
                SessionError::Displaced
            }
            ended => ended,
        };
        reading.abort();
        session.note_end();
        if let Some(refusal) = group.farewell(&ended) {
            // The line may be gone already; the other side learns it from its own reading then.
            drop(session.out.try_send(Outgoing { kind: Kind::Refused, payload: message::write(&refusal) }));
        }
        session.close().await;
        ended
    }

    /// Lets what is under way to the other side go out, for a moment, and ends everything.
    async fn close(self) {
        let Self { out, mut tasks, lanes, .. } = self;
        drop((out, lanes));
        let ending = async { while tasks.join_next().await.is_some() {} };
        drop(tokio::time::timeout(Duration::from_millis(200), ending).await);
        tasks.shutdown().await;
    }

    async fn talk(&mut self, frames: &mut mpsc::Receiver<Result<Frame, WireError>>) -> SessionError {
        let every = if self.direction == Direction::Down { LEADER_BEATS_EVERY } else { FOLLOWER_BEATS_EVERY };
        let mut beat = tokio::time::interval(every);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut roll = tokio::time::interval(self.group.sync().tempo().sweep);
        roll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut databases = self.group.databases().changed();
        let first = match self.direction {
            Direction::Down => self.announce().await,
            Direction::Up => self.tell_drops().await,
        };
        if let Err(error) = first {
            return error;
        }
        loop {
            let done = tokio::select! {
                frame = frames.recv() => match frame {
                    Some(Ok(frame)) => self.take(frame).await,
                    Some(Err(error)) => Err(error.into()),
                    None => Err(SessionError::Ended),
                },
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(ended) => self.after(ended).await,
                    Err(_) => Err(SessionError::Ended),
                },
                _ = beat.tick() => self.beat().await,
                _ = roll.tick(), if self.direction == Direction::Down => self.call_the_roll().await,
                changed = databases.changed(), if self.direction == Direction::Down => match changed {
                    Ok(()) => self.announce().await,
                    Err(_) => Err(SessionError::Ended),
                },
            };
            if let Err(error) = done {
                return error;
            }
        }
    }

    /// A database that is served, or `None` where there is none: it may have been dropped while something was under way.
    pub(super) fn served(&self, name: &DatabaseName) -> Result<Option<Arc<OpenDatabase>>, SessionError> {
        match self.group.databases().get(name) {
            Ok(open) => Ok(Some(open)),
            Err(Unavailable::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn send(&self, kind: Kind, payload: Vec<u8>) -> Result<(), SessionError> {
        self.out.send(Outgoing { kind, payload }).await.map_err(|_| SessionError::Ended)
    }

    /// Tells the leader what was dropped here: it may not know.
    async fn tell_drops(&mut self) -> Result<(), SessionError> {
        let all = Databases { dropped: told_lives(self.group.databases())?, ..Databases::default() };
        self.send(Kind::Databases, message::write(&all)).await
    }

    /// Names the databases to a follower, when they are others than it was told.
    async fn announce(&mut self) -> Result<(), SessionError> {
        // Read first: what comes or goes meanwhile is announced again.
        let edition = *self.group.databases().changed().borrow();
        let mut now = Databases { edition, ..announced(&self.group)? };
        let was_exchanged = |one: &&DatabaseAt| {
            self.announced.databases.iter().any(|before| before.name == one.name && before.log_id != one.log_id)
        };
        let exchanged: Vec<String> = now.databases.iter().filter(was_exchanged).map(|one| one.name.clone()).collect();
        for name in &exchanged {
            self.group.note_exchanged(&DatabaseName::parse(name)?);
        }
        if !exchanged.is_empty() {
            now = Databases { edition, ..announced(&self.group)? };
        }
        let shape = |all: &Databases| -> Vec<(String, String)> {
            all.databases.iter().map(|one| (one.name.clone(), one.log_id.clone())).collect()
        };
        if shape(&now) != shape(&self.announced)
            || now.dropped != self.announced.dropped
            || now.databases.is_empty()
            || now.edition != self.announced.edition
        {
            self.send(Kind::Databases, message::write(&now)).await?;
            self.announced = now;
        }
        Ok(())
    }

    async fn take(&mut self, frame: Frame) -> Result<(), SessionError> {
        let Frame { kind, payload, epoch } = frame;
        // What a leader of an earlier epoch still sends is not taken in, from its first frame on.
        if self.direction == Direction::Up && epoch < self.group.epoch_number() && kind != Kind::Refused {
            return Err(SessionError::OldEpoch(epoch));
        }
        match (kind, self.direction) {
            (Kind::Heartbeat, _) => {
                let beat: Heartbeat = message::read(&payload)?;
                beat.check()?;
                self.group.heard(self.direction, &self.other, &beat)?;
                self.take_beat(&beat)
            }
            (Kind::Refused, _) => Err(SessionError::Refused(Box::new(message::read(&payload)?))),
            (Kind::Databases, Direction::Up) => {
                let all: Databases = message::read(&payload)?;
                all.check()?;
                self.take_databases(all).await
            }
            (Kind::Databases, Direction::Down) => {
                let all: Databases = message::read(&payload)?;
                all.check()?;
                self.take_drops(&all).await
            }
            (Kind::Position, _) => {
                let at: PositionAt = message::read(&payload)?;
                self.begin_feed(&at).await
            }
            (Kind::Stretch | Kind::Cache, _) => {
                let (name, content) = parted(&payload)?;
                let lane = self.lanes.get(&name);
                let intake = lane.and_then(|lane| match kind {
                    Kind::Stretch => lane.intake.as_ref(),
                    _ => lane.cache_intake.as_ref(),
                });
                match intake {
                    Some(intake) => intake.try_send(content.to_vec()).map_err(|_| SessionError::OutOfTurn(kind)),
                    // What was under way when the database began anew.
                    None if lane.is_some() => Ok(()),
                    None => Err(SessionError::OutOfTurn(kind)),
                }
            }
            (Kind::Roll, _) => self.take_roll(message::read(&payload)?).await,
            (Kind::Receipt | Kind::CacheReceipt, _) => self.take_receipt(kind, &message::read(&payload)?),
            (Kind::Question, _) => self.answer(message::read(&payload)?).await,
            (Kind::Answer, _) => {
                let (name, content) = parted(&payload)?;
                let answers = self.lanes.get(&name).and_then(|lane| lane.answers.as_ref());
                if let Some(answers) = answers {
                    drop(answers.try_send(content.to_vec()));
                }
                Ok(())
            }
            (Kind::StatesNeeded, _) => {
                let of: OfDatabase = message::read(&payload)?;
                let cause = if of.is_forgotten { Cause::Forgotten } else { Cause::Asked };
                self.look(&DatabaseName::parse(&of.database)?, cause)
            }
            (kind, _) => Err(SessionError::OutOfTurn(kind)),
        }
    }

    /// What was dropped at the other side is dropped here.
    async fn take_drops(&mut self, all: &Databases) -> Result<(), SessionError> {
        for (name, lives) in &all.dropped {
            let name = DatabaseName::parse(name)?;
            if *lives > self.group.databases().directory().lives(&name)? {
                self.lanes.remove(&name);
            }
            self.group.learn_lives(&self.other, &name, *lives).await?;
        }
        Ok(())
    }

    /// A follower makes its databases those of the leader, and says how far it is with each.
    async fn take_databases(&mut self, all: Databases) -> Result<(), SessionError> {
        self.take_drops(&all).await?;
        let parts = all
            .databases
            .iter()
            .map(|one| Ok((DatabaseName::parse(&one.name)?, one.log_id.clone(), one.since.map(Position))));
        let parts: Vec<_> = parts.collect::<Result<_, holdfast_core::error::Refusal>>()?;
        self.heritage.lock().unwrap_or_else(PoisonError::into_inner).told(parts);
        for one in &all.databases {
            let name = DatabaseName::parse(&one.name)?;
            if self.lanes.get(&name).is_some_and(|lane| lane.log_id == one.log_id) {
                continue;
            }
            if !self.group.make_as_leader(&self.other, one).await? {
                continue;
            }
            self.lanes.entry(name.clone()).or_default().log_id.clone_from(&one.log_id);
            self.tell_position(&name).await?;
        }
        // What only this node has goes up, once it is named.
        for listing in self.group.databases().list() {
            let is_named = self.lanes.contains_key(&listing.name);
            if !is_named && matches!(listing.standing, Standing::Open) {
                self.lanes.entry(listing.name.clone()).or_default();
                self.tell_position(&listing.name).await?;
            }
        }
        self.pulse.edition = Some(all.edition);
        self.beat().await
    }

    /// Says how far this node is with a database, and takes in what comes then.
    async fn tell_position(&mut self, name: &DatabaseName) -> Result<(), SessionError> {
        let open = self.group.databases().get(name)?;
        self.begin_intake(&open);
        self.tell_roll(&open).await?;
        let state = open.view()?.state()?;
        let checkpoint = open.log()?.checkpoint(self.other.as_str())?.unwrap_or_default();
        let view = open.synced_view()?;
        let of_cache = view.cache_checkpoint(&self.other)?;
        let followed = self.lanes.get(name).and_then(|lane| parse_hex(&lane.log_id).ok()).unwrap_or_default();
        let is_same = |log_id: u64, taken: Position| if log_id == followed { taken } else { Position::START };
        let log = is_same(checkpoint.peer_log_id, checkpoint.pulled);
        let taken = Ends { log, cache: is_same(of_cache.log_id, of_cache.reach.all) };
        self.group.note_begun(self.direction, name, followed, taken);
        let log_id = format!("{:016x}", checkpoint.peer_log_id);
        // What it says that it has counts as confirmed.
        confirm(&self.group, self.direction, &self.heritage, (name, &log_id, checkpoint.pulled))
            .map_err(unconfirmed)?;
        let at = PositionAt {
            database: name.to_string(),
            log_id,
            after: checkpoint.pulled.0,
            vector: vector_record(&state.vector),
            cache_log_id: format!("{:016x}", of_cache.log_id),
            cache_after: of_cache.reach.all.0,
            cache_vector: vector_record(&view.cache_state()?.vector),
        };
        self.send(Kind::Position, message::write(&at)).await
    }

    fn begin_intake(&mut self, open: &Arc<OpenDatabase>) {
        let name = open.name().clone();
        let (stretches, sealed) = mpsc::channel(WAITING_MAX);
        let (changes, sealed_cache) = mpsc::channel(WAITING_MAX);
        let lane = self.lanes.entry(name.clone()).or_default();
        lane.intake = Some(stretches);
        lane.cache_intake = Some(changes);
        let (group, direction, other) = (Arc::clone(&self.group), self.direction, self.other.clone());
        let (heritage, of) = (Arc::clone(&self.heritage), name.clone());
        let taken = move |taken: Taken| {
            let (log_id, through) = taken.through;
            if taken.operations > 0 {
                group.note_taken(direction, &other, taken.operations);
            }
            group.note_shown(direction, &of, Part::Log, taken.through);
            confirm(&group, direction, &heritage, (&of, &format!("{log_id:016x}"), through))
        };
        let (database, out, of) = (Arc::clone(open), self.out.clone(), name.clone());
        self.tasks.spawn(async move { Ended::Intake(of, take_log(database, sealed, out, taken).await) });
        let (group, of) = (Arc::clone(&self.group), name.clone());
        let shown = move |through| group.note_shown(direction, &of, Part::Cache, through);
        let (database, out) = (Arc::clone(open), self.out.clone());
        self.tasks.spawn(async move { Ended::Intake(name, take_cache(database, sealed_cache, out, shown).await) });
    }

    /// The other side has said how far it is with a database: gives it what it lacks, or says that it must take states.
    async fn begin_feed(&mut self, at: &PositionAt) -> Result<(), SessionError> {
        let name = DatabaseName::parse(&at.database)?;
        let open = match self.served(&name)? {
            None if self.direction == Direction::Down => {
                // A database that nobody here has seen: it was made where a leader was before.
                match self.group.databases().create(&name, Asker::Peer).await {
                    Err(Unavailable::NotFound(_)) => return Ok(()),
                    made => {
                        tracing::warn!(follower = %self.other, database = %name, "the follower has a database that is not known here: it is taken over");
                        made?
                    }
                }
            }
            // Dropped meanwhile.
            None => return Ok(()),
            Some(open) => open,
        };
        let theirs = parse_vector(&at.vector)?;
        let log_id = open.log_id()?;
        self.group.note_reached(self.direction, &self.other, &name, |reached| reached.begin(log_id));
        if !self.is_let_in(&open, &theirs).await? {
            let of = OfDatabase { database: name.to_string(), is_forgotten: false };
            return self.send(Kind::StatesNeeded, message::write(&of)).await;
        }
        self.pulse.tell_again(&name);
        let state = open.view()?.state()?;
        let cache_vector = parse_vector(&at.cache_vector)?;
        self.group.note_reached(self.direction, &self.other, &name, |reached| {
            let had = message::operations_of(&theirs) + message::operations_of(&cache_vector);
            reached.greeted.get_or_insert(had);
        });
        let floor = open.log()?.floor()?;
        let ours = Ours { log_id: open.log_id()?, newest: state.position, vector: &state.vector, floor: &floor };
        let said = Theirs { log_id: parse_hex(&at.log_id)?, after: Position(at.after), vector: &theirs };
        let opening = opening(self.direction, ours, said);
        if self.direction == Direction::Down {
            let of_cache = open.view()?.cache_state()?.vector.missing_from(&cache_vector);
            let unseen = state.vector.missing_from(&theirs).saturating_add(of_cache);
            if opening.has_more || unseen > 0 {
                self.ask_for_rest(&name, unseen).await?;
            }
        }
        let Some(start) = opening.start else {
            self.group.note_reached(self.direction, &self.other, &name, |reached| reached.is_taking_states = true);
            let of = OfDatabase { database: name.to_string(), is_forgotten: false };
            return self.send(Kind::StatesNeeded, message::write(&of)).await;
        };
        // It may lack nothing, and then nothing is sent that it could confirm.
        self.group.note_reached(self.direction, &self.other, &name, |reached| {
            reached.is_taking_states = false;
            reached.has(start.after, &theirs);
        });
        let (confirmed, confirmations) = watch::channel(Position::START);
        let (cache_confirmed, cache_confirmations) = watch::channel(None);
        let stop = CancellationToken::new();
        let lane = self.lanes.entry(name.clone()).or_default();
        lane.confirmed = Some(confirmed);
        lane.cache_confirmed = Some(cache_confirmed);
        // Ends the one before.
        lane.feeding = Some(stop.clone().drop_guard());
        let (database, out, of, stopped) = (Arc::clone(&open), self.out.clone(), name.clone(), stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                fed = feed_log(database, start, out, confirmations) => Ended::Feed(of, fed),
                () = stopped.cancelled() => Ended::Feed(of, Ok(())),
            }
        });
        let is_same_cache = parse_hex(&at.cache_log_id)? == open.log_id()?;
        let cache_after = Some(Position(at.cache_after)).filter(|_| is_same_cache).unwrap_or_default();
        self.group.note_reached(self.direction, &self.other, &name, |reached| {
            reached.has_of_cache(cache_after, &cache_vector);
        });
        let start = CacheAt { log_id: at.cache_log_id.clone(), after: Position(at.cache_after), vector: cache_vector };
        let until = (self.direction == Direction::Up).then(|| *open.newest_in_cache().borrow());
        let (out, skew_max) = (self.out.clone(), self.group.skew_max());
        self.tasks.spawn(async move {
            tokio::select! {
                fed = feed_cache(open, (start, until), skew_max, out, cache_confirmations) => Ended::Feed(name, fed),
                () = stop.cancelled() => Ended::Feed(name, Ok(())),
            }
        });
        Ok(())
    }

    /// The follower holds what was never seen here: it gives that first, and it is merged as a peer's would be. Asked again
    /// whenever it says how far it is: where it has taken states meanwhile, it gives out of another log.
    async fn ask_for_rest(&mut self, name: &DatabaseName, unseen: u64) -> Result<(), SessionError> {
        tracing::warn!(follower = %self.other, database = %name, unseen, "the follower holds operations that were never seen here: they are merged");
        self.group.note_merging(&self.other, name, unseen);
        self.tell_position(name).await
    }

    fn take_receipt(&mut self, kind: Kind, receipt: &Receipt) -> Result<(), SessionError> {
        let name = DatabaseName::parse(&receipt.database)?;
        let vector = parse_vector(&receipt.vector)?;
        let Some(open) = self.served(&name)? else { return Ok(()) };
        let Some(lane) = self.lanes.get(&name) else { return Ok(()) };
        if parse_hex(&receipt.log_id)? != open.log_id()? {
            // Of a log that was exchanged meanwhile.
            return Ok(());
        }
        let through = Position(receipt.through);
        if kind == Kind::CacheReceipt {
            if let Some(confirmed) = &lane.cache_confirmed {
                let at = CacheAt { log_id: receipt.log_id.clone(), after: through, vector: vector.clone() };
                confirmed.send_replace(Some(at));
            }
            self.group.note_reached(self.direction, &self.other, &name, |reached| {
                reached.has_of_cache(through, &vector);
            });
            return Ok(());
        }
        if let Some(confirmed) = &lane.confirmed {
            confirmed.send_if_modified(|known| {
                let is_further = through > *known;
                *known = through.max(*known);
                is_further
            });
        }
        self.group.note_reached(self.direction, &self.other, &name, |reached| reached.has(through, &vector));
        Ok(())
    }

    /// Answers what the other side asks about our states.
    async fn answer(&mut self, asked: Asked) -> Result<(), SessionError> {
        let name = DatabaseName::parse(&asked.database)?;
        let open = self.group.databases().get(&name)?;
        let standing = self.group.sync().standing(&open)?;
        let answered = tokio::task::block_in_place(|| answer_to(&open, standing, asked.question));
        let answered = answered.map_err(|reason| SessionError::States(name.clone(), reason))?;
        self.send(Kind::Answer, about(&name, &answered)).await
    }

    /// Looks at the other side's states, and takes them if that is needed.
    fn look(&mut self, name: &DatabaseName, cause: Cause) -> Result<(), SessionError> {
        let open = self.group.databases().get(name)?;
        let lane = self.lanes.entry(name.clone()).or_default();
        lane.looks += 1;
        if lane.looks > LOOKS_MAX {
            return Err(SessionError::States(name.clone(), "they did not help, again and again".to_owned()));
        }
        // Nothing is taken in while the database is made anew.
        (lane.intake, lane.cache_intake) = (None, None);
        let (giver, mut asking) = Giver::over(self.other.clone());
        lane.answers = Some(asking.answers.clone());
        let (sync, out, of) = (Arc::clone(self.group.sync()), self.out.clone(), name.clone());
        self.group.note_states(self.direction, &self.other, name, true);
        self.tasks.spawn(async move {
            let forwarding = async {
                while let Some(question) = asking.question().await {
                    let asked = Asked { database: of.to_string(), question };
                    let frame = Outgoing { kind: Kind::Question, payload: message::write(&asked) };
                    if out.send(frame).await.is_err() {
                        break;
                    }
                }
                // Whoever asks learns by its own patience that nobody answers.
                std::future::pending::<()>().await;
            };
            let looked = tokio::select! {
                looked = states::look(&sync, &giver, &open, cause) => looked.map(drop),
                () = forwarding => Ok(()),
            };
            Ended::States(of, looked)
        });
        Ok(())
    }

    async fn after(&mut self, ended: Ended) -> Result<(), SessionError> {
        match ended {
            Ended::Writer(result) => Err(result.err().map_or(SessionError::Ended, SessionError::Wire)),
            Ended::Feed(_, Ok(())) | Ended::Intake(_, Ok(())) => Ok(()),
            Ended::Feed(_, Err(FeedError::Over)) | Ended::Intake(_, Err(IntakeError::Over)) => Ok(()),
            Ended::Feed(name, Err(error)) => {
                if self.is_exchanged(&name) {
                    return Ok(());
                }
                Err(SessionError::Feed(name, error))
            }
            Ended::Intake(name, Err(IntakeError::Misfit(dot, unfit))) => self.misfit(name, dot, unfit).await,
            Ended::Intake(_, Err(IntakeError::Unconfirmed(error))) => Err(unconfirmed(*error)),
            Ended::Intake(name, Err(error)) => {
                if self.is_exchanged(&name) {
                    return Ok(());
                }
                Err(SessionError::Intake(name, error))
            }
            Ended::States(name, Err(reason)) => Err(SessionError::States(name, reason)),
            Ended::States(name, Ok(())) => {
                self.group.note_states(self.direction, &self.other, &name, false);
                if let Some(lane) = self.lanes.get_mut(&name) {
                    lane.answers = None;
                }
                self.tell_position(&name).await
            }
        }
    }

    /// Whether a database is dropped or being made anew, so that what was under way for it ends by itself.
    fn is_exchanged(&self, name: &DatabaseName) -> bool {
        self.lanes.get(name).is_none_or(|lane| lane.intake.is_none())
            || matches!(self.group.databases().get(name), Err(Unavailable::NotFound(_)))
    }

    async fn misfit(&mut self, name: DatabaseName, dot: String, unfit: Unfit) -> Result<(), SessionError> {
        tracing::warn!(node = %self.other, database = %name, operation = dot, ?unfit, "an operation does not fit what is here");
        if unfit == Unfit::Gap {
            self.group.note_gap();
        }
        match lane::remedy(unfit, self.direction) {
            Remedy::Anew => Err(SessionError::Intake(name, IntakeError::Misfit(dot, unfit))),
            Remedy::Take(cause) => self.look(&name, cause),
            Remedy::Give { is_forgotten } => {
                let of = OfDatabase { database: name.to_string(), is_forgotten };
                self.send(Kind::StatesNeeded, message::write(&of)).await
            }
        }
    }
}

/// Something of the other side's is on disk, and is about to be confirmed to it.
fn confirm(
    group: &ReplicaGroup,
    direction: Direction,
    heritage: &Mutex<Heritage>,
    (name, log_id, through): (&DatabaseName, &str, Position),
) -> Result<(), GroupError> {
    if direction == Direction::Down {
        return Ok(());
    }
    let is_whole = {
        let mut heritage = heritage.lock().unwrap_or_else(PoisonError::into_inner);
        heritage.reached(name, log_id, through);
        heritage.is_whole()
    };
    group.may_confirm(is_whole)
}

fn unconfirmed(error: GroupError) -> SessionError {
    match error {
        GroupError::Denied(denied) => SessionError::Denied(denied),
        error => SessionError::Unconfirmed(error.to_string()),
    }
}

async fn read_all(mut reader: BoxedReader, arrived: mpsc::Sender<Result<Frame, WireError>>) {
    loop {
        let frame = read_frame(&mut reader, true, SILENT_WITHIN).await;
        let is_over = frame.is_err();
        if arrived.send(frame).await.is_err() || is_over {
            return;
        }
    }
}
