//! Heartbeats of a connection, and what a follower learns from them: as of which moment it has all that its leader had.
//!
//! ```text
//!   follower ── beat: my moment is 17 300 ──────────────────────────────────► leader
//!   follower ◄── beat: I heard 17 300 some 80 ms ago; 'shop' ends at 120 ──── leader
//!     so at 17 380 at the earliest 'shop' ended there: whoever has it up to 120 is fresh as of 17 380
//! ```
//!
//! Must stay true: a beat costs little, however many databases and followers there are: what has not grown is not looked at.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use holdfast_core::id::DatabaseName;
use holdfast_core::replica::frame::Kind;
use holdfast_core::replica::freshness::{Ends, Freshness, Part};
use holdfast_core::replica::lane::Direction;
use holdfast_core::replica::message::{self, Heartbeat};
use holdfast_core::replica::role::Role;
use holdfast_core::time::Millis;
use holdfast_core::vector::Position;

use crate::clock;
use crate::replica::ReplicaGroup;
use crate::replica::session::{Session, SessionError};

/// A commit is announced within this time after its write was answered.
const ANNOUNCED_WITHIN: Millis = Millis(10);

/// What one side of a connection has told and heard with heartbeats.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// The other side's newest word, and when it came.
    heard: Option<(u64, Instant)>,
    /// Where databases ended when that was last told.
    told: BTreeMap<DatabaseName, Ends>,
    /// What had happened to the databases by then.
    seen: Option<(u64, u64)>,
    /// The edition of the leader's databases that this follower has made its own.
    pub(super) edition: Option<u64>,
}

impl Pulse {
    /// The follower begins anew with a database: where it ends is told again.
    pub(super) fn tell_again(&mut self, database: &DatabaseName) {
        self.told.remove(database);
        self.seen = None;
    }

    /// Where databases end that have grown since that was told last.
    fn grown(&mut self, group: &ReplicaGroup) -> BTreeMap<String, [u64; 2]> {
        let databases = group.databases();
        let seen = (*databases.activity().borrow(), *databases.changed().borrow());
        if self.seen == Some(seen) {
            return BTreeMap::new();
        }
        self.seen = Some(seen);
        let mut grown = BTreeMap::new();
        for listing in databases.list() {
            let Ok(open) = databases.get(&listing.name) else { continue };
            let ends = Ends { log: *open.newest().borrow(), cache: *open.shown_in_cache().borrow() };
            if self.told.get(&listing.name) != Some(&ends) {
                grown.insert(listing.name.to_string(), [ends.log.0, ends.cache.0]);
                self.told.insert(listing.name, ends);
            }
        }
        grown
    }
}

impl Session {
    /// Says that this node is there.
    pub(super) async fn beat(&mut self) -> Result<(), SessionError> {
        let mut beat = self.group.heartbeat(self.direction);
        beat.word = self.group.now().0;
        if let Some((word, at)) = self.pulse.heard {
            // Before the ends are read: they are of this moment or later.
            beat.echo = Some(word);
            beat.echo_held_millis = millis(at.elapsed());
        }
        if self.direction == Direction::Down {
            beat.stale_millis = self.group.stale_to_tell();
            beat.grown = self.pulse.grown(&self.group);
        } else {
            beat.edition = self.pulse.edition;
        }
        self.send(Kind::Heartbeat, message::write(&beat)).await
    }

    /// Learns from the other side's.
    pub(super) fn take_beat(&mut self, beat: &Heartbeat) -> Result<(), SessionError> {
        self.pulse.heard = Some((beat.word, clock::monotonic()));
        if self.direction == Direction::Up { self.group.note_beat(beat) } else { Ok(()) }
    }
}

/// How old what a node shows is, beside its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staleness {
    /// It leads, or is alone: nothing is newer anywhere that it knows of.
    None,
    /// So old at most.
    AtMost(Duration),
    /// Nothing is known of the leader yet.
    Unknown,
}

impl ReplicaGroup {
    /// How old what this node shows of a database is at most.
    pub fn staleness(&self, database: &DatabaseName, part: Part) -> Staleness {
        if self.role() != Role::Follower {
            return Staleness::None;
        }
        let now = self.now();
        let stale = self.freshness(|freshness| freshness.stale_for(now, database, part));
        stale.map_or(Staleness::Unknown, |stale| Staleness::AtMost(Duration::from_millis(stale.0)))
    }

    /// How old anything that this node shows is at most, in milliseconds; `None` while that is not known.
    pub(super) fn stale_to_tell(&self) -> Option<u64> {
        if self.role() != Role::Follower {
            return Some(0);
        }
        let now = self.now();
        self.freshness(|freshness| freshness.stale_at_most(now)).map(|stale| stale.0)
    }

    /// A database is followed from here on.
    pub(super) fn note_begun(&self, direction: Direction, database: &DatabaseName, log_id: u64, taken: Ends) {
        if direction == Direction::Up {
            self.freshness(|freshness| freshness.begin(database, log_id, taken));
        }
    }

    /// A connection to the leader stands: what was told on the one before says nothing of now.
    pub(super) fn note_connected(&self) {
        self.freshness(Freshness::hang_up);
    }

    /// Everything of the leader's log up to here is shown to readers.
    pub(super) fn note_shown(
        &self,
        direction: Direction,
        database: &DatabaseName,
        part: Part,
        (log_id, through): (u64, Position),
    ) {
        if direction == Direction::Up {
            self.freshness(|freshness| freshness.took(database, log_id, part, through));
        }
    }

    /// A database is not followed any more.
    pub(super) fn forget_freshness(&self, database: &DatabaseName) {
        self.freshness(|freshness| freshness.forget(database));
    }

    /// The leader, or a follower between, has said where its logs ended.
    fn note_beat(&self, beat: &Heartbeat) -> Result<(), SessionError> {
        let mut grown = Vec::with_capacity(beat.grown.len());
        for (database, [log, cache]) in &beat.grown {
            grown.push((DatabaseName::parse(database)?, Ends { log: Position(*log), cache: Position(*cache) }));
        }
        let now = self.now();
        let said = beat.echo.zip(beat.stale_millis).map(|(echo, stale)| {
            let said = Millis(echo.saturating_add(beat.echo_held_millis)).min(now);
            said.before(Millis(stale)).before(ANNOUNCED_WITHIN)
        });
        // Without an echo it may have been on its way for ever; that logs have grown is true all the same.
        self.freshness(|freshness| freshness.told(said, grown));
        Ok(())
    }

    fn freshness<T>(&self, work: impl FnOnce(&mut Freshness) -> T) -> T {
        work(&mut self.freshness.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
