//! How fresh a follower is: as of which moment it has everything that its leader had.
//!
//! ```text
//!   leader:   at this moment my log of 'shop' ended at 120     ─► told(as_of, 120)
//!   follower: I have it up to 118 … 120                        ─► took(118), took(120): fresh as of that moment
//! ```
//!
//! Moments are the follower's own, and never later than the truth: its word comes back with what it is told, with the
//! time that it lay at the leader, so no clocks are compared.
//!
//! Must stay true: what is called fresh as of a moment holds everything that the leader had answered by then.

use std::collections::{BTreeMap, VecDeque};

use crate::id::DatabaseName;
use crate::time::Millis;
use crate::vector::Position;

/// Ends that were told and are not reached yet, of one log. Of more, those between are forgotten, which errs to the old side.
const WAITING_MAX: usize = 16;

/// The two logs of a database: each is read on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Documents.
    Log,
    /// The cache.
    Cache,
}

/// Where both end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ends {
    /// The log.
    pub log: Position,
    /// The cache.
    pub cache: Position,
}

/// How fresh the databases of a follower are.
#[derive(Debug, Clone, Default)]
pub struct Freshness {
    /// When the leader last told anything.
    as_of: Option<Millis>,
    databases: BTreeMap<DatabaseName, Shares>,
}

#[derive(Debug, Clone, Default)]
struct Shares {
    /// The leader's log whose positions count.
    log_id: u64,
    log: Share,
    cache: Share,
}

#[derive(Debug, Clone, Default)]
struct Share {
    taken: Position,
    /// Moments, and where the leader's log ended then.
    waiting: VecDeque<(Millis, Position)>,
    /// The newest moment as of which it was fresh, as far as it was noted.
    fresh: Option<Millis>,
    /// Whether the leader has told where this log ends, on this connection.
    is_told: bool,
}

impl Freshness {
    /// A database is followed from here on, by the positions of this log of the leader's.
    pub fn begin(&mut self, database: &DatabaseName, log_id: u64, taken: Ends) {
        let as_of = self.as_of;
        let shares = self.databases.entry(database.clone()).or_default();
        shares.log_id = log_id;
        shares.log.begin(as_of, taken.log);
        shares.cache.begin(as_of, taken.cache);
    }

    /// The connection has ended: on the next one it is told anew where logs end.
    pub fn hang_up(&mut self) {
        let as_of = self.as_of;
        for shares in self.databases.values_mut() {
            for share in [&mut shares.log, &mut shares.cache] {
                share.begin(as_of, share.taken);
            }
        }
    }

    /// Everything of a log up to here is shown to readers.
    pub fn took(&mut self, database: &DatabaseName, log_id: u64, part: Part, through: Position) {
        if let Some(shares) = self.databases.get_mut(database).filter(|shares| shares.log_id == log_id) {
            let share = match part {
                Part::Log => &mut shares.log,
                Part::Cache => &mut shares.cache,
            };
            share.taken = share.taken.max(through);
            share.settle();
        }
    }

    /// The leader has told, at a moment if that is known, where logs end that have grown since it told that last; the others
    /// end where they did.
    pub fn told(&mut self, as_of: Option<Millis>, grown: impl IntoIterator<Item = (DatabaseName, Ends)>) {
        let before = self.as_of;
        self.as_of = before.max(as_of);
        let as_of = self.as_of.unwrap_or_default();
        for (database, ends) in grown {
            let shares = self.databases.entry(database).or_default();
            shares.log.grown(before, as_of, ends.log);
            shares.cache.grown(before, as_of, ends.cache);
        }
    }

    /// The database is not followed any more.
    pub fn forget(&mut self, database: &DatabaseName) {
        self.databases.remove(database);
    }

    /// How old at most what is here of a log is; `None` while nothing is known of that. Of a database that the leader has
    /// never named, that it is not there is as old as the leader's last word.
    pub fn stale_for(&self, now: Millis, database: &DatabaseName, part: Part) -> Option<Millis> {
        let as_of = match (self.databases.get(database), part) {
            (None, _) => self.as_of,
            (Some(shares), Part::Log) => shares.log.as_of(self.as_of),
            (Some(shares), Part::Cache) => shares.cache.as_of(self.as_of),
        };
        as_of.map(|as_of| now.since(as_of))
    }

    /// How old at most anything here is.
    pub fn stale_at_most(&self, now: Millis) -> Option<Millis> {
        let mut oldest = self.as_of?;
        for shares in self.databases.values() {
            for share in [&shares.log, &shares.cache] {
                oldest = oldest.min(share.as_of(self.as_of)?);
            }
        }
        Some(now.since(oldest))
    }
}

impl Share {
    fn begin(&mut self, as_of: Option<Millis>, taken: Position) {
        self.fresh = self.as_of(as_of);
        self.waiting.clear();
        self.taken = taken;
        self.is_told = false;
    }

    fn grown(&mut self, before: Option<Millis>, as_of: Millis, end: Position) {
        self.fresh = self.as_of(before);
        self.is_told = true;
        if end <= self.taken && self.waiting.is_empty() {
            return;
        }
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_back();
        }
        self.waiting.push_back((as_of, end));
        self.settle();
    }

    fn settle(&mut self) {
        while let Some((as_of, _)) = self.waiting.front().filter(|(_, end)| *end <= self.taken) {
            self.fresh = Some(*as_of);
            self.waiting.pop_front();
        }
    }

    /// The newest moment as of which it is fresh, when the leader last told anything at `told`.
    fn as_of(&self, told: Option<Millis>) -> Option<Millis> {
        if self.is_told && self.waiting.is_empty() { told.max(self.fresh) } else { self.fresh }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shop() -> DatabaseName {
        DatabaseName::parse("shop").unwrap()
    }

    fn ends(log: u64) -> Ends {
        Ends { log: Position(log), cache: Position(0) }
    }

    #[test]
    fn a_follower_is_as_fresh_as_the_last_end_that_it_has_reached() {
        let mut freshness = Freshness::default();
        let stale = |of: &Freshness, now| of.stale_for(Millis(now), &shop(), Part::Log).map(|stale| stale.0);
        assert_eq!(stale(&freshness, 1_000), None, "nothing was ever heard");
        freshness.begin(&shop(), 1, ends(5));
        freshness.told(Some(Millis(1_000)), [(shop(), ends(5))]);
        assert_eq!(stale(&freshness, 1_100), Some(100));
        freshness.told(Some(Millis(1_250)), []);
        assert_eq!(stale(&freshness, 1_300), Some(50), "it has not grown");
        freshness.told(Some(Millis(1_500)), [(shop(), ends(9))]);
        assert_eq!(stale(&freshness, 1_600), Some(350), "as of when it had not grown yet");
        freshness.told(Some(Millis(1_750)), [(shop(), ends(12))]);
        freshness.took(&shop(), 1, Part::Log, Position(9));
        assert_eq!(stale(&freshness, 1_800), Some(300));
        freshness.told(Some(Millis(2_000)), []);
        assert_eq!(stale(&freshness, 2_000), Some(500), "the end is where it was, and not reached");
        freshness.took(&shop(), 1, Part::Log, Position(12));
        assert_eq!(stale(&freshness, 2_050), Some(50));
        assert_eq!(freshness.stale_for(Millis(2_050), &shop(), Part::Cache), Some(Millis(50)));
        assert_eq!(freshness.stale_at_most(Millis(2_050)), Some(Millis(50)));
    }

    #[test]
    fn another_log_is_fresh_once_the_leader_has_told_where_it_ends() {
        let mut freshness = Freshness::default();
        freshness.begin(&shop(), 1, ends(5));
        freshness.told(Some(Millis(1_000)), [(shop(), ends(5))]);
        freshness.begin(&shop(), 2, ends(0));
        // What was under way of the log before counts no more.
        freshness.took(&shop(), 1, Part::Log, Position(9));
        freshness.told(Some(Millis(2_000)), []);
        assert_eq!(freshness.stale_for(Millis(2_000), &shop(), Part::Log), Some(Millis(1_000)));
        freshness.told(Some(Millis(2_250)), [(shop(), ends(3))]);
        assert_eq!(freshness.stale_for(Millis(2_250), &shop(), Part::Log), Some(Millis(1_250)));
        freshness.took(&shop(), 2, Part::Log, Position(3));
        assert_eq!(freshness.stale_for(Millis(2_250), &shop(), Part::Log), Some(Millis(0)));
        freshness.hang_up();
        freshness.told(Some(Millis(3_000)), []);
        assert_eq!(freshness.stale_for(Millis(3_000), &shop(), Part::Log), Some(Millis(750)), "not told yet");
    }

    #[test]
    fn a_database_that_was_just_made_is_not_called_absent_by_a_fresh_follower() {
        let mut freshness = Freshness::default();
        freshness.told(Some(Millis(1_000)), []);
        assert_eq!(freshness.stale_for(Millis(1_010), &shop(), Part::Log), Some(Millis(10)), "the leader has none");
        freshness.told(Some(Millis(1_250)), [(shop(), ends(1))]);
        assert_eq!(freshness.stale_for(Millis(1_250), &shop(), Part::Log), None, "it has one, and it is not here");
        freshness.forget(&shop());
        assert_eq!(freshness.stale_for(Millis(1_250), &shop(), Part::Log), Some(Millis(0)));
    }

    #[test]
    fn whoever_is_far_behind_errs_to_the_old_side() {
        let mut freshness = Freshness::default();
        freshness.begin(&shop(), 1, ends(0));
        for beat in 1..=100 {
            freshness.told(Some(Millis(beat * 250)), [(shop(), ends(beat))]);
        }
        for reached in 1..=100 {
            freshness.took(&shop(), 1, Part::Log, Position(reached));
            let stale = freshness.stale_for(Millis(25_000), &shop(), Part::Log).unwrap();
            assert!(stale >= Millis((100 - reached) * 250), "{reached} is called too fresh: {stale:?}");
        }
        assert_eq!(freshness.stale_at_most(Millis(25_000)), Some(Millis(0)));
    }
}
