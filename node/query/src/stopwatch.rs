//! Where the time of a query goes, step by step: for `EXPLAIN ANALYZE` alone.
//!
//! Whoever has done a piece of work says what it was, and the time since the piece before is put down to that. So every
//! nanosecond is put down once, and one look at the clock is enough for each piece.

/// A clock that only goes forward, in nanoseconds.
pub type Clock = fn() -> u64;

/// What a piece of work was. Sources are numbered as in the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lap {
    /// A source handed out a document.
    Read(usize),
    /// A source's own conditions were asked.
    Test(usize),
    /// Partners were found in a source.
    Join(usize),
    /// The last conditions were asked.
    Filter,
    /// A row was put into a group, in order, or into the answer.
    Gather,
    /// What was gathered was answered.
    Finish,
}

/// How long each kind of work took.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    clock: Clock,
    last: u64,
    spent: Vec<u64>,
}

impl Stopwatch {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, last: clock(), spent: Vec::new() }
    }

    pub(crate) fn lap(&mut self, lap: Lap) {
        let now = (self.clock)();
        let slot = lap.slot();
        if self.spent.len() <= slot {
            self.spent.resize(slot + 1, 0);
        }
        if let Some(spent) = self.spent.get_mut(slot) {
            *spent += now.saturating_sub(self.last);
        }
        self.last = now;
    }

    /// Microseconds that were spent on it.
    pub(crate) fn micros(&self, lap: Lap) -> u64 {
        self.spent.get(lap.slot()).map_or(0, |nanos| nanos / 1_000)
    }
}

impl Lap {
    fn slot(self) -> usize {
        match self {
            Self::Filter => 0,
            Self::Gather => 1,
            Self::Finish => 2,
            Self::Read(source) => 3 + 3 * source,
            Self::Test(source) => 4 + 3 * source,
            Self::Join(source) => 5 + 3 * source,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static NOW: Cell<u64> = const { Cell::new(0) };
    }

    #[test]
    fn all_time_is_put_down_once() {
        let mut stopwatch = Stopwatch::new(|| NOW.with(|now| now.replace(now.get() + 1_000)));
        for _ in 0..10 {
            stopwatch.lap(Lap::Read(0));
            stopwatch.lap(Lap::Test(0));
            stopwatch.lap(Lap::Join(1));
        }
        stopwatch.lap(Lap::Finish);
        let each = [Lap::Read(0), Lap::Test(0), Lap::Join(1), Lap::Finish, Lap::Read(1)];
        assert_eq!(each.map(|lap| stopwatch.micros(lap)), [10, 10, 10, 1, 0]);
    }
}
