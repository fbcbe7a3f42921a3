//! One database between two nodes of a group: where giving it begins, and what is done where something does not fit.
//!
//! ```text
//!   "I am this far" ─► it has what is unknown here? ─► it gives that first        (to a leader alone)
//!                   ─► our log reaches back to it?  ─► operations from its position on
//!                                            no     ─► it takes our states
//! ```
//!
//! Must stay true: a position is believed with the log that it counts alone, and never beyond that log's end; wherever it
//! is not believed, vectors keep what is known from being sent again.

use crate::replica::feed::Start;
use crate::sync::admission::Cause;
use crate::vector::{Position, Vector};

/// Which way a connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To whom this node follows.
    Up,
    /// To a follower.
    Down,
}

/// How far this node is with a database.
#[derive(Debug, Clone, Copy)]
pub struct Ours<'a> {
    /// Its log.
    pub log_id: u64,
    /// Where that ends.
    pub newest: Position,
    /// What it knows.
    pub vector: &'a Vector,
    /// Its log holds every operation above this.
    pub floor: &'a Vector,
}

/// How far the other side says that it is.
#[derive(Debug, Clone, Copy)]
pub struct Theirs<'a> {
    /// The log of ours that its position counts.
    pub log_id: u64,
    /// It has everything up to here.
    pub after: Position,
    /// What it knows.
    pub vector: &'a Vector,
}

/// What follows from what the other side says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// It holds what was never seen here, and is asked for it.
    pub has_more: bool,
    /// Where giving begins; nowhere where the log does not reach back, and states must be taken.
    pub start: Option<Start>,
}

/// Judges how far the other side says that it is.
pub fn opening(direction: Direction, ours: Ours<'_>, theirs: Theirs<'_>) -> Opening {
    let has_more = direction == Direction::Down && !ours.vector.covers_all(theirs.vector);
    if !theirs.vector.covers_all(ours.floor) {
        return Opening { has_more, start: None };
    }
    let is_of_our_log = theirs.log_id == ours.log_id && theirs.after <= ours.newest;
    let after = if is_of_our_log { theirs.after } else { Position::START };
    let until = (direction == Direction::Up).then_some(ours.newest);
    Opening { has_more, start: Some(Start { after, known: theirs.vector.clone(), until }) }
}

/// Why operations do not fit what is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Earlier ones are missing.
    Gap,
    /// One of the two takes the other's states.
    States {
        /// Because what an operation stands beside was forgotten here.
        is_forgotten: bool,
    },
    /// Too many are parked: an operator must look.
    Overfull,
}

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The connection ends, and begins anew where the disks are.
    Anew,
    /// This node takes the other side's states.
    Take(Cause),
    /// The other side takes ours.
    Give {
        /// Because what an operation of it stands beside was forgotten here.
        is_forgotten: bool,
    },
}

/// A leader's states stand: the follower takes them, and what it holds beyond them comes again.
pub fn remedy(unfit: Unfit, direction: Direction) -> Remedy {
    match (unfit, direction) {
        (Unfit::Overfull | Unfit::Gap, _) => Remedy::Anew,
        (Unfit::States { is_forgotten }, Direction::Up) => {
            Remedy::Take(if is_forgotten { Cause::Forgotten } else { Cause::Asked })
        }
        (Unfit::States { is_forgotten }, Direction::Down) => Remedy::Give { is_forgotten },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::id::NodeName;
    use crate::vector::{Origin, Sequence};

    fn knows(known: &[(&str, u64)]) -> Vector {
        let origin = |name: &str| Origin { node: NodeName::parse(name).unwrap(), incarnation: 1 };
        known.iter().map(|(name, sequence)| (origin(name), Sequence(*sequence))).collect()
    }

    fn open(direction: Direction, ours: &[(&str, u64)], floor: &[(&str, u64)], theirs: (u64, u64)) -> Opening {
        let (vector, floor, known) = (knows(ours), knows(floor), knows(&[("a", 5)]));
        let ours = Ours { log_id: 7, newest: Position(9), vector: &vector, floor: &floor };
        opening(direction, ours, Theirs { log_id: theirs.0, after: Position(theirs.1), vector: &known })
    }

    #[test]
    fn a_position_is_believed_of_this_log_and_up_to_its_end_alone() {
        let after = |theirs| open(Direction::Down, &[("a", 8)], &[], theirs).start.unwrap().after;
        assert_eq!(after((7, 4)), Position(4));
        assert_eq!(after((7, 9)), Position(9));
        assert_eq!(after((7, 10)), Position::START, "beyond our log's end");
        assert_eq!(after((8, 4)), Position::START, "another log's");
    }

    #[test]
    fn who_lacks_what_the_log_no_longer_holds_takes_states() {
        assert_eq!(open(Direction::Down, &[("a", 8)], &[("a", 6)], (7, 4)).start, None);
        assert!(open(Direction::Down, &[("a", 8)], &[("a", 5)], (7, 4)).start.is_some());
        assert_eq!(open(Direction::Up, &[("a", 8)], &[("b", 1)], (7, 4)).start, None);
    }

    #[test]
    fn a_leader_asks_for_what_it_has_never_seen_and_a_follower_gives_up_to_an_end() {
        let down = open(Direction::Down, &[("a", 3)], &[], (7, 4));
        assert!(down.has_more);
        assert_eq!(down.start.unwrap().until, None);
        let up = open(Direction::Up, &[("a", 3)], &[], (7, 4));
        assert!(!up.has_more, "it comes by itself");
        assert_eq!(up.start.unwrap().until, Some(Position(9)));
    }

    #[test]
    fn a_leaders_states_stand() {
        let states = Unfit::States { is_forgotten: true };
        assert_eq!(remedy(states, Direction::Up), Remedy::Take(Cause::Forgotten));
        assert_eq!(remedy(states, Direction::Down), Remedy::Give { is_forgotten: true });
        assert_eq!(remedy(Unfit::Gap, Direction::Down), Remedy::Anew);
    }
}
