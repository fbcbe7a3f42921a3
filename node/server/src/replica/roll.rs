//! Who is counted with, between leader and followers: a follower is a member of each database like a peer.
//!
//! ```text
//!   leader: at every sweep ── roll ──► follower: notes what members know, gives up what all of them do
//!   leader: counts it in, notes  ◄── roll ── at once, and before it says where it is
//!           what it knows, keeps
//!           the log for it
//! ```
//!
//! A follower that others follow tells of them too, so that whoever leads counts with all. Only a leader counts in and
//! out: that is an operation, and reaches the followers in the log.
//!
//! Must stay true: nothing that a follower has not acknowledged is given up while it is a member. One that was counted out
//! meanwhile and holds what nobody else has takes states before any of that is looked at.

use std::sync::Arc;

use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::replica::frame::Kind;
use holdfast_core::replica::lane::Direction;
use holdfast_core::replica::message;
use holdfast_core::replica::roll::{Roll, Told};
use holdfast_core::sync::admission::{Admission, Side, admit};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Origin, Position, Vector};
use holdfast_storage::error::StorageError;
use holdfast_storage::request::{Request, Which};

use crate::clock;
use crate::databases::OpenDatabase;
use crate::replica::ReplicaGroup;
use crate::replica::session::{Session, SessionError};
use crate::sync::membership::{self, Meeting};
use crate::sync::survey::memory_of;

/// After so long a node that is there and has nothing to confirm is noted as being there all the same.
const CONFIRMED_AGAIN: Millis = Millis(60 * 60 * 1_000);

/// Parked operations that are tried again after one roll; those that wait behind them come along.
const TAKEN_UP_AT_ONCE: usize = 16;

impl Session {
    /// Tells the follower of the members of every database, and asks it the same.
    pub(super) async fn call_the_roll(&mut self) -> Result<(), SessionError> {
        let names: Vec<DatabaseName> =
            self.lanes.iter().filter(|(_, lane)| lane.other.is_some()).map(|(name, _)| name.clone()).collect();
        for name in names {
            if let Some(open) = self.served(&name)? {
                self.tell_roll(&open).await?;
            }
        }
        Ok(())
    }

    /// Tells the other side of the members of a database.
    pub(super) async fn tell_roll(&mut self, open: &Arc<OpenDatabase>) -> Result<(), SessionError> {
        let echo = self.lanes.get(open.name()).and_then(|lane| lane.other.as_ref()).map(|(_, word)| *word);
        let roll = tokio::task::block_in_place(|| self.group.roll(open, self.direction, &self.other, echo))?;
        self.send(Kind::Roll, message::write(&roll)).await
    }

    /// Notes what the other side tells of members. A follower answers.
    pub(super) async fn take_roll(&mut self, roll: Roll) -> Result<(), SessionError> {
        let told = roll.parse()?;
        if told.origin.node != self.other {
            return Err(SessionError::OutOfTurn(Kind::Roll));
        }
        let lane = self.lanes.entry(told.database.clone()).or_default();
        lane.other = Some((told.origin.clone(), told.word));
        // Dropped meanwhile, or not there yet: it is told again.
        let Some(open) = self.served(&told.database)? else { return Ok(()) };
        self.group.take_roll(&open, self.direction, &self.other, told).await?;
        if self.direction == Direction::Up { self.tell_roll(&open).await } else { Ok(()) }
    }

    /// Notes how far the follower was when its connection ended: as much of the logs is kept as it will need.
    pub(super) fn note_end(&self) {
        if self.direction == Direction::Up {
            return;
        }
        for name in self.lanes.keys() {
            let Ok(Some(open)) = self.served(name) else { continue };
            let mut through = Position::START;
            self.group.note_reached(self.direction, &self.other, name, |reached| through = reached.through);
            if let Err(error) = self.group.note_confirmed(&open, &self.other, through) {
                tracing::debug!(database = %name, %error, "how far the follower was is not noted");
            }
        }
    }

    /// Whether a follower may give and take operations as it stands: else it looks at our states first. Whoever may is
    /// counted in, before anything is sent to it.
    pub(super) async fn is_let_in(&self, open: &Arc<OpenDatabase>, theirs: &Vector) -> Result<bool, SessionError> {
        let lane = self.lanes.get(open.name());
        let Some((origin, _)) = lane.and_then(|lane| lane.other.as_ref()).filter(|_| self.direction == Direction::Down)
        else {
            return Ok(true);
        };
        match judged(open, origin, theirs)? {
            Admission::Welcome | Admission::NeedsStates => {}
            Admission::MustRebase => return Ok(false),
            Admission::NameTaken => return Err(SessionError::NameTaken(origin.clone())),
        }
        self.group.note_reached(self.direction, &self.other, open.name(), |reached| {
            reached.origin = Some(origin.clone());
        });
        // It has proved that it knows the secret, and nobody of its name is connected but it.
        membership::meet(self.group.sync(), open, origin, Meeting::Dialled).await?;
        Ok(true)
    }
}

/// Judges a follower as peers are judged.
fn judged(open: &OpenDatabase, origin: &Origin, theirs: &Vector) -> Result<Admission, StorageError> {
    let (state, floor, nothing) = (open.view()?.state()?, open.log()?.floor()?, Vector::new());
    let ours = Side { origin: open.origin(), vector: &state.vector, graves: &state.graves, floor: &floor };
    let theirs = Side { origin, vector: theirs, graves: &nothing, floor: &nothing };
    Ok(admit(&ours, &state.members, &theirs))
}

impl ReplicaGroup {
    /// What this node tells another one of the members of a database.
    fn roll(
        &self,
        open: &OpenDatabase,
        direction: Direction,
        other: &NodeName,
        echo: Option<u64>,
    ) -> Result<Roll, StorageError> {
        let view = open.view()?;
        let memory = memory_of(self.sync(), open, &view, &open.log()?)?;
        let followers = if direction == Direction::Up { self.followers_in(open.name()) } else { Vec::new() };
        let word = clock::now_millis();
        self.sync().contacts().answer(open.name(), other, Millis(word));
        Ok(Roll::new(open.name(), open.origin(), (word, echo), &memory, &followers))
    }

    /// Who follows this node in a database, at once or through others.
    fn followers_in(&self, database: &DatabaseName) -> Vec<Origin> {
        let followers = self.followers();
        let there = followers.values().filter(|follower| follower.connected.is_some());
        let reached = there.filter_map(|follower| follower.reached.get(database));
        reached.flat_map(|reached| reached.origin.iter().chain(&reached.behind).cloned()).collect()
    }

    /// Notes what another node has told of the members of a database.
    async fn take_roll(
        &self,
        open: &Arc<OpenDatabase>,
        direction: Direction,
        other: &NodeName,
        told: Told,
    ) -> Result<(), StorageError> {
        let sync = self.sync();
        let age = sync.contacts().age_of_question(open.name(), other, told.echo);
        membership::told(sync, open, &told.origin, &told.memory, age);
        sync.contacts().heard(open.name(), &told.origin);
        if direction == Direction::Up {
            let state = open.view()?.state()?;
            let Some(leader) = told.memory.acknowledged.get(&told.origin) else { return Ok(()) };
            // What is parked here, and not there any more.
            let taken_up = state.letters.iter().filter(|letter| leader.covers(&letter.dot)).take(TAKEN_UP_AT_ONCE);
            for letter in taken_up.map(|letter| letter.dot.clone()).collect::<Vec<_>>() {
                tracing::info!(database = %open.name(), operation = %letter, "the leader has taken it up: it is tried again");
                drop(open.submit(Request::RetryLetters(Which::Dot(letter))).await);
            }
            if leader.covers_all(&state.acknowledged()) {
                self.note_confirmed(open, other, state.position)?;
            }
            return Ok(());
        }
        let (mut is_let_in, mut through) = (false, Position::START);
        self.note_reached(direction, other, open.name(), |reached| {
            is_let_in = reached.origin.as_ref() == Some(&told.origin);
            through = reached.through;
            reached.behind.clone_from(&told.followers);
        });
        if !is_let_in {
            // It says next where it is, and is judged then.
            return Ok(());
        }
        self.note_confirmed(open, other, through)?;
        membership::count_in(sync, open, &told.origin, Meeting::Dialled).await?;
        for follower in told.followers.iter().filter(|follower| follower.node != open.origin().node) {
            membership::count_in(sync, open, follower, Meeting::Dialled).await?;
        }
        Ok(())
    }

    /// Notes that another node has our log up to a position, so that as much of it is kept as it still needs.
    ///
    /// Written beside: a connection whose heartbeats waited for a busy disk would be taken for a dead leader's.
    fn note_confirmed(&self, open: &Arc<OpenDatabase>, by: &NodeName, through: Position) -> Result<(), StorageError> {
        if through == Position::START {
            // Nothing of the log is there that it would go on from.
            return Ok(());
        }
        let known = open.log()?.checkpoint(by.as_str())?.unwrap_or_default();
        let now = Millis(clock::now_millis());
        if through > known.pushed || now.since(known.updated) > CONFIRMED_AGAIN {
            let (open, by) = (Arc::clone(open), by.clone());
            // Not noted now is noted next time.
            self.spawn(async move { drop(open.submit(Request::Confirmed { by, through }).await) });
        }
        Ok(())
    }
}
