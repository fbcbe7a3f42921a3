//! When what has ended is let go of: so often, so many keys in a step, and after so many steps others have their turn.
//!
//! ```text
//!   every ──► step step step … nothing left ──► every
//!                       └ all steps used up ──► a pause ──► step step …
//! ```
//!
//! Must stay true: what ends faster than the settings foresee is let go of all the same, and keeps nobody waiting for
//! longer than one step.

use crate::time::Millis;

/// What a sweep that has used up its steps leaves to others.
const PAUSE: Millis = Millis(100);

/// How a cache is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSweepPlan {
    /// Time between two sweeps.
    pub every: Millis,
    /// Keys that one step lets go of.
    pub keys: usize,
    /// Steps of one sweep.
    pub steps: usize,
}

/// Where the sweeps of one database are.
#[derive(Debug, Clone, Copy)]
pub struct CacheSweep {
    plan: CacheSweepPlan,
    at: Millis,
    /// Steps that the present sweep may still take; zero between two sweeps.
    steps_left: usize,
}

impl CacheSweep {
    /// The first sweep comes one interval from now.
    pub fn new(plan: CacheSweepPlan, now: Millis) -> Self {
        Self { plan, at: now + plan.every, steps_left: 0 }
    }

    /// Keys that may be let go of now; `None` when no step is due.
    pub fn due(&mut self, now: Millis) -> Option<usize> {
        if self.steps_left == 0 && now >= self.at {
            self.steps_left = self.plan.steps.max(1);
            self.at = now + self.plan.every;
        }
        (self.steps_left > 0).then_some(self.plan.keys)
    }

    /// A step is done; `has_more` says whether it has let go of all that it was allowed to.
    pub fn swept(&mut self, now: Millis, has_more: bool) {
        self.steps_left = if has_more { self.steps_left.saturating_sub(1) } else { 0 };
        if has_more && self.steps_left == 0 {
            self.at = now + PAUSE.min(self.plan.every);
        }
    }

    /// When the next step is due: at once while a sweep is under way.
    pub fn next(&self, now: Millis) -> Millis {
        if self.steps_left > 0 { now } else { self.at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep() -> CacheSweep {
        CacheSweep::new(CacheSweepPlan { every: Millis(30_000), keys: 500, steps: 2 }, Millis(0))
    }

    #[test]
    fn a_sweep_begins_after_its_interval_and_ends_when_nothing_is_left() {
        let mut sweep = sweep();
        assert_eq!((sweep.due(Millis(29_999)), sweep.next(Millis(0))), (None, Millis(30_000)));
        assert_eq!(sweep.due(Millis(30_001)), Some(500));
        assert_eq!(sweep.next(Millis(30_001)), Millis(30_001), "the next step waits");
        sweep.swept(Millis(30_002), false);
        assert_eq!((sweep.due(Millis(60_000)), sweep.next(Millis(60_000))), (None, Millis(60_001)));
    }

    #[test]
    fn what_ends_faster_than_a_sweep_takes_is_taken_after_a_pause() {
        let mut sweep = sweep();
        for _ in 0..2 {
            assert_eq!(sweep.due(Millis(30_000)), Some(500));
            sweep.swept(Millis(30_000), true);
        }
        assert_eq!((sweep.due(Millis(30_099)), sweep.next(Millis(30_099))), (None, Millis(30_100)));
        assert_eq!(sweep.due(Millis(30_100)), Some(500));
        sweep.swept(Millis(30_100), false);
        assert_eq!(sweep.next(Millis(30_100)), Millis(60_100));
    }
}
