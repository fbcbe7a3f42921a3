//! Giving a log: from where, how much is under way at once, and when it is done.
//!
//! ```text
//!   newest ─► read after what was sent ─► a stretch under way ─► its receipt makes room for the next
//! ```
//!
//! Nothing is kept here of what was not sent yet: it is in the log, however long the other side takes.
//!
//! Must stay true: no more than [`STRETCHES_MAX`] stretches are under way, and none goes beyond the goal.

use std::collections::VecDeque;

use crate::vector::{Position, Vector};

/// Stretches of one database that are under way at once, so that the wire and both disks work together.
pub const STRETCHES_MAX: usize = 3;

/// Where a feed begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// After this position of our log.
    pub after: Position,
    /// What the other side knows, and is not sent.
    pub known: Vector,
    /// Up to this position; for ever when absent.
    pub until: Option<Position>,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read a stretch after this position; as of now the log ends at `goal`.
    Read {
        /// What was sent so far.
        after: Position,
        /// How far there is anything to send.
        goal: Position,
    },
    /// Wait for a receipt; for a commit too, where there is room for another stretch.
    Rest {
        /// Whether a commit would make something to do.
        has_room: bool,
    },
    /// All that was to be given was given and confirmed.
    Done,
}

/// The giving of one log.
#[derive(Debug, Clone)]
pub struct LogFeed {
    until: Option<Position>,
    sent: Position,
    under_way: VecDeque<Position>,
}

impl LogFeed {
    /// One that has sent nothing.
    pub fn new(start: &Start) -> Self {
        Self { until: start.until, sent: start.after, under_way: VecDeque::new() }
    }

    /// What to do, now that the log ends at `newest` and everything up to `confirmed` is on the other side's disk.
    pub fn next(&mut self, newest: Position, confirmed: Position) -> Step {
        while self.under_way.front().is_some_and(|oldest| *oldest <= confirmed) {
            self.under_way.pop_front();
        }
        let goal = self.until.map_or(newest, |until| until.min(newest));
        let has_room = self.under_way.len() < STRETCHES_MAX;
        if self.sent < goal && has_room {
            return Step::Read { after: self.sent, goal };
        }
        if self.sent >= goal && self.until.is_some() && self.under_way.is_empty() {
            return Step::Done;
        }
        Step::Rest { has_room }
    }

    /// A stretch that ends here was read. Answers whether it goes out: where it ends where it began, the log was
    /// announced before it could be read, and the next commit is waited for.
    pub fn read(&mut self, through: Position) -> bool {
        if through <= self.sent {
            return false;
        }
        self.sent = through;
        self.under_way.push_back(through);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(after: u64, until: Option<u64>) -> LogFeed {
        LogFeed::new(&Start { after: Position(after), known: Vector::new(), until: until.map(Position) })
    }

    #[test]
    fn a_few_stretches_are_under_way_and_a_receipt_makes_room() {
        let mut feed = feed(10, None);
        assert_eq!(feed.next(Position(10), Position(0)), Step::Rest { has_room: true });
        for end in [11, 12, 13] {
            assert!(matches!(feed.next(Position(20), Position(0)), Step::Read { goal: Position(20), .. }));
            assert!(feed.read(Position(end)));
        }
        assert_eq!(feed.next(Position(20), Position(10)), Step::Rest { has_room: false });
        assert_eq!(feed.next(Position(20), Position(11)), Step::Read { after: Position(13), goal: Position(20) });
        assert!(!feed.read(Position(13)), "it could not be read yet");
        assert_eq!(feed.next(Position(20), Position(13)), Step::Read { after: Position(13), goal: Position(20) });
    }

    #[test]
    fn one_with_an_end_is_done_when_all_of_it_is_confirmed() {
        let mut feed = feed(0, Some(5));
        assert_eq!(feed.next(Position(9), Position(0)), Step::Read { after: Position(0), goal: Position(5) });
        assert!(feed.read(Position(7)), "a transaction is not cut");
        assert_eq!(feed.next(Position(9), Position(4)), Step::Rest { has_room: true });
        assert_eq!(feed.next(Position(9), Position(7)), Step::Done);
    }
}
