//! When writes come thick, a push waits a moment for more of them.
//!
//! Whatever it carries, a push costs both sides a message and the receiver a sync of its disk. Under a full load, pushes
//! one right after the other would take from the writer what many small ones cost and a few large ones do not.
//!
//! | the push before carried | and now there wait  | the next begins                            |
//! |-------------------------|---------------------|--------------------------------------------|
//! | few operations          | any                 | at once                                    |
//! | many                    | few                 | `GATHERS_FOR` after that one began       |
//! | many                    | as many as fill one | at once: a peer that catches up never waits |
//!
//! Must stay true: an operation is held back by no more than `GATHERS_FOR`, and only while writes come so thick that
//! they wait longer for each other.

use crate::time::Millis;

/// How long after a push that carried many operations the next one begins.
const GATHERS_FOR: Millis = Millis(20);
/// Operations of a push from which on more are expected right after it.
const MANY: u64 = 48;
/// Operations that are worth a push by themselves.
const ENOUGH: u64 = 1_024;

/// Whether more is on its way to the push that comes next.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gathering {
    until: Option<Millis>,
}

impl Gathering {
    /// A push that began then has brought so much of the log to the peer.
    pub fn pushed(&mut self, began: Millis, positions: u64) {
        self.until = (positions >= MANY).then(|| began + GATHERS_FOR);
    }

    /// When the next push begins, if it is to wait; `waiting` is what the log holds for it.
    pub fn until(&self, now: Millis, waiting: u64) -> Option<Millis> {
        // A clock that was set back must not hold anything up.
        self.until.filter(|until| now < *until && until.since(now) <= GATHERS_FOR && waiting < ENOUGH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_waits_only_after_one_that_carried_many_and_only_until_there_is_enough_for_it() {
        let mut gathering = Gathering::default();
        assert_eq!(gathering.until(Millis(100), 1), None, "the first");
        gathering.pushed(Millis(100), MANY - 1);
        assert_eq!(gathering.until(Millis(101), 1), None, "few operations");
        gathering.pushed(Millis(100), MANY);
        assert_eq!(gathering.until(Millis(101), 1), Some(Millis(120)));
        assert_eq!(gathering.until(Millis(101), ENOUGH), None, "enough for a push");
        assert_eq!(gathering.until(Millis(120), 1), None, "time is up");
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_up() {
        let mut gathering = Gathering::default();
        gathering.pushed(Millis(1_000_000), MANY);
        assert_eq!(gathering.until(Millis(1), 1), None);
    }
}
