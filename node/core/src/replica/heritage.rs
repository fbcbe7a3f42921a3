//! What a leader begins with, and who of its followers has that.
//!
//! ```text
//!   an epoch begins ─► the leader notes where each log ends ─► names that with each database
//!   follower: everything up to there, of all databases, is on its disk ─► from now on it ranks as one of this epoch
//!   leader:   whoever has confirmed that counts, where a write waits for followers
//! ```
//!
//! Whoever ranks as one of an epoch is elected before all who do not, so it must have what a majority was said to have
//! before: all that is in what the leader began with. And whoever counts for a majority must rank as one of the epoch by
//! then, or it would vote for somebody who lacks what it has confirmed.
//!
//! Must stay true: a follower ranks as one of an epoch before it confirms anything that would count in it.

use std::collections::BTreeMap;

use crate::id::DatabaseName;
use crate::vector::Position;

/// Where the logs of a leader ended when its epoch began. A database that came later begins with nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beginnings(BTreeMap<DatabaseName, Position>);

impl Beginnings {
    /// Those of a leader whose logs end there.
    pub fn of(ends: impl IntoIterator<Item = (DatabaseName, Position)>) -> Self {
        Self(ends.into_iter().collect())
    }

    /// Where a database's begins.
    pub fn since(&self, database: &DatabaseName) -> Position {
        self.0.get(database).copied().unwrap_or(Position::START)
    }

    /// The log of a database was exchanged, and ends here now: whoever has it up to here has what there was.
    pub fn begin_anew(&mut self, database: &DatabaseName, end: Position) {
        self.0.insert(database.clone(), end);
    }

    /// Whether a follower that has confirmed so much has what this leader began with.
    pub fn are_passed(&self, confirmed: impl Fn(&DatabaseName) -> Position) -> bool {
        self.0.iter().all(|(database, since)| confirmed(database) >= *since)
    }
}

/// What a follower has of what its leader began with, on one connection.
#[derive(Debug, Clone, Default)]
pub struct Heritage {
    databases: BTreeMap<DatabaseName, Part>,
    is_told: bool,
}

#[derive(Debug, Clone, Default)]
struct Part {
    log_id: String,
    /// Unknown where the other side passes on what another leads.
    since: Option<Position>,
    through: Position,
}

impl Heritage {
    /// The other side has named its databases: the log of each, and where its epoch begins in it, if it leads.
    pub fn told(&mut self, all: impl IntoIterator<Item = (DatabaseName, String, Option<Position>)>) {
        let mut before = std::mem::take(&mut self.databases);
        for (database, log_id, since) in all {
            let known = before.remove(&database).filter(|part| part.log_id == log_id);
            let through = known.map_or(Position::START, |part| part.through);
            self.databases.insert(database, Part { log_id, since, through });
        }
        self.is_told = true;
    }

    /// Everything of a database's log up to here is on this node's disk.
    pub fn reached(&mut self, database: &DatabaseName, log_id: &str, through: Position) {
        if let Some(part) = self.databases.get_mut(database).filter(|part| part.log_id == log_id) {
            part.through = part.through.max(through);
        }
    }

    /// Whether this node has all that the leader began with.
    pub fn is_whole(&self) -> bool {
        let has = |part: &Part| part.since.is_some_and(|since| part.through >= since);
        self.is_told && self.databases.values().all(has)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(text: &str) -> DatabaseName {
        DatabaseName::parse(text).unwrap()
    }

    #[test]
    fn a_follower_has_its_heritage_when_it_has_all_of_it() {
        let mut heritage = Heritage::default();
        assert!(!heritage.is_whole(), "nobody has said what it is");
        let told = [(name("a"), "1".to_owned(), Some(Position(5))), (name("b"), "2".to_owned(), Some(Position(0)))];
        heritage.told(told.clone());
        heritage.reached(&name("a"), "1", Position(4));
        assert!(!heritage.is_whole());
        heritage.reached(&name("a"), "another log", Position(9));
        assert!(!heritage.is_whole());
        heritage.reached(&name("a"), "1", Position(5));
        assert!(heritage.is_whole());
        heritage.told(told);
        assert!(heritage.is_whole(), "told again");
        heritage.told([(name("a"), "made anew".to_owned(), Some(Position(5)))]);
        assert!(!heritage.is_whole());
    }

    #[test]
    fn whoever_passes_on_has_no_heritage_to_give() {
        let mut heritage = Heritage::default();
        heritage.told([(name("a"), "1".to_owned(), None)]);
        heritage.reached(&name("a"), "1", Position(5));
        assert!(!heritage.is_whole());
        heritage.told([]);
        assert!(heritage.is_whole(), "there is none");
    }

    #[test]
    fn a_follower_counts_once_it_has_confirmed_all_that_its_leader_began_with() {
        let beginnings = Beginnings::of([(name("a"), Position(5)), (name("b"), Position(2))]);
        assert_eq!(beginnings.since(&name("a")), Position(5));
        assert_eq!(beginnings.since(&name("later")), Position::START);
        let confirmed = |b: u64| move |of: &DatabaseName| Position(if of.as_str() == "b" { b } else { 7 });
        assert!(!beginnings.are_passed(confirmed(1)));
        assert!(beginnings.are_passed(confirmed(2)));
    }
}
