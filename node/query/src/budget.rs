//! What one query may use: documents looked at, bytes answered, memory held, time.
//!
//! A query never waits for anything, so a limit is a count that is looked at now and then. Time and the question
//! whether anybody still wants the answer come from outside, as a closure.
//!
//! **What stays true.** A query ends at the first limit that it passes, with a refusal that names the limit and what
//! to do; nothing was changed by it. Memory is counted before it is taken.
//!
//! **What it does not do.** It measures no memory: what holds rows says how much they take, roughly.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::failure::Failure;
use crate::stopwatch::{Clock, Lap, Stopwatch};

/// What a query may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Documents and index entries that it may look at.
    pub examined_max: u64,
    /// Bytes of rows that it may answer with.
    pub bytes_max: u64,
    /// Bytes that it may hold for sorting, grouping and joining.
    pub memory_bytes_max: u64,
    /// Documents that it may change; they are changed all or none.
    pub writes_max: u64,
}

/// Why a query should end now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its time is over.
    Timeout,
    /// Nobody wants the answer any more.
    Cancelled,
}

/// How much of its limits a query has used.
pub struct Budget<'stop> {
    limits: Limits,
    should_stop: &'stop mut dyn FnMut() -> Option<Stop>,
    examined: u64,
    bytes: u64,
    memory_bytes: u64,
    memory_bytes_peak: u64,
    /// Work left until the next look at the time.
    until_look: u64,
    /// Where what was looked at is told while the query runs, and how much of it was.
    told: Option<(&'stop AtomicU64, u64)>,
    /// Where time goes, if anybody wants to know.
    stopwatch: Option<Stopwatch>,
}

/// Units of work between two looks at the time: a document or an entry is one, and so is each kilobyte of text.
const WORK_BETWEEN_LOOKS: u64 = 128;

impl<'stop> Budget<'stop> {
    /// Nothing is used yet. `should_stop` is asked every few microseconds to milliseconds.
    pub fn new(limits: Limits, should_stop: &'stop mut dyn FnMut() -> Option<Stop>) -> Self {
        Self {
            limits,
            should_stop,
            examined: 0,
            bytes: 0,
            memory_bytes: 0,
            memory_bytes_peak: 0,
            until_look: WORK_BETWEEN_LOOKS,
            told: None,
            stopwatch: None,
        }
    }

    /// Adds to a counter what is looked at from now on: at each look at the time, and when
    /// [`Self::tell`] is called.
    #[must_use]
    pub fn telling(mut self, counter: &'stop AtomicU64) -> Self {
        self.told = Some((counter, self.examined));
        self
    }

    /// Adds to that counter what it does not know yet.
    pub fn tell(&mut self) {
        if let Some((counter, told)) = &mut self.told {
            counter.fetch_add(self.examined - *told, Ordering::Relaxed);
            *told = self.examined;
        }
    }

    /// Measures where time goes from now on.
    pub(crate) fn measure(&mut self, clock: Clock) {
        self.stopwatch = Some(Stopwatch::new(clock));
    }

    /// What was measured.
    pub(crate) fn take_stopwatch(&mut self) -> Option<Stopwatch> {
        self.stopwatch.take()
    }

    /// The time since the lap before was spent on this.
    #[inline]
    pub(crate) fn lap(&mut self, lap: Lap) {
        if let Some(stopwatch) = &mut self.stopwatch {
            stopwatch.lap(lap);
        }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Documents and index entries looked at so far.
    pub fn examined(&self) -> u64 {
        self.examined
    }

    /// The most bytes that were held at once so far.
    pub fn memory_bytes_peak(&self) -> u64 {
        self.memory_bytes_peak
    }

    /// Bytes answered so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// One more document or entry of so many bytes is looked at.
    #[inline]
    pub fn examine(&mut self, bytes: usize) -> Result<(), Failure> {
        self.examined += 1;
        if self.examined > self.limits.examined_max {
            return Err(Failure::refused(
                "query-too-large",
                format!("The query looks at more than {} documents", self.limits.examined_max),
                "Narrow it with WHERE on an indexed field, or raise Query:MaxExaminedDocuments.",
            ));
        }
        self.work(1 + bytes as u64 / 1024)
    }

    /// So much work was done; now and then this asks whether to go on.
    #[inline]
    pub fn work(&mut self, units: u64) -> Result<(), Failure> {
        if units < self.until_look {
            self.until_look -= units;
            return Ok(());
        }
        self.until_look = WORK_BETWEEN_LOOKS;
        self.look()
    }

    /// Asks whether to go on.
    pub fn look(&mut self) -> Result<(), Failure> {
        self.tell();
        match (self.should_stop)() {
            None => Ok(()),
            Some(Stop::Timeout) => Err(Failure::refused(
                "query-timeout",
                format!("The query took too long; it had looked at {} documents", self.examined),
                "Narrow it with WHERE on an indexed field, see EXPLAIN, or raise Query:TimeoutSeconds.",
            )),
            Some(Stop::Cancelled) => Err(Failure::refused(
                "query-cancelled",
                "The query was ended because nobody waits for its answer",
                "Send it again.",
            )),
        }
    }

    /// So many bytes more are held.
    #[inline]
    pub fn hold(&mut self, bytes: usize) -> Result<(), Failure> {
        self.memory_bytes = self.memory_bytes.saturating_add(bytes as u64);
        self.memory_bytes_peak = self.memory_bytes_peak.max(self.memory_bytes);
        if self.memory_bytes <= self.limits.memory_bytes_max {
            return Ok(());
        }
        Err(Failure::refused(
            "query-memory-exceeded",
            format!("Sorting, grouping or joining needs more than {} bytes of memory", self.limits.memory_bytes_max),
            "Narrow the query with WHERE or LIMIT, create an index on what it orders by, or raise Query:MaxMemoryMB.",
        ))
    }

    /// So many bytes are held no longer.
    #[inline]
    pub fn release(&mut self, bytes: usize) {
        self.memory_bytes = self.memory_bytes.saturating_sub(bytes as u64);
    }

    /// Rows go nowhere from now on, as where a statement is only explained: however many bytes they have, they are not too
    /// many.
    pub(crate) fn answer_nobody(&mut self) {
        self.limits.bytes_max = u64::MAX;
    }

    /// A row of so many bytes is answered.
    pub fn answer(&mut self, bytes: usize) -> Result<(), Failure> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.bytes > self.limits.bytes_max {
            return Err(Failure::refused(
                "query-too-large",
                format!("The answer has more than {} bytes", self.limits.bytes_max),
                "Select fewer fields, ask for fewer rows and go on with NextCursor, or raise Query:MaxResultMB.",
            ));
        }
        self.work(1 + bytes as u64 / 1024)
    }
}

impl std::fmt::Debug for Budget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget").field("limits", &self.limits).field("examined", &self.examined).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIMITS: Limits = Limits { examined_max: 1_000, bytes_max: 100, memory_bytes_max: 100, writes_max: 10 };

    #[test]
    fn each_limit_ends_the_query_with_its_code() {
        let mut go_on = || None;
        let mut budget = Budget::new(LIMITS, &mut go_on);
        assert!(budget.hold(100).is_ok());
        assert_eq!(budget.hold(1).unwrap_err().code(), "query-memory-exceeded");
        assert!(budget.answer(100).is_ok());
        assert_eq!(budget.answer(1).unwrap_err().code(), "query-too-large");
        let outcome = (0..1_001).try_for_each(|_| budget.examine(10));
        assert_eq!(outcome.unwrap_err().code(), "query-too-large");
        assert_eq!(budget.examined(), 1_001);
    }

    #[test]
    fn memory_that_is_given_back_can_be_taken_again() {
        let mut go_on = || None;
        let mut budget = Budget::new(LIMITS, &mut go_on);
        for _ in 0..10 {
            budget.hold(90).unwrap();
            budget.release(90);
        }
        assert_eq!(budget.memory_bytes_peak(), 90);
    }

    #[test]
    fn what_was_looked_at_is_told_while_the_query_runs_and_once() {
        let (counter, mut go_on) = (AtomicU64::new(7), || None);
        let mut budget = Budget::new(LIMITS, &mut go_on).telling(&counter);
        (0..300).try_for_each(|_| budget.examine(10)).unwrap();
        assert_eq!(counter.load(Ordering::Relaxed), 7 + 256);
        budget.tell();
        assert_eq!(counter.load(Ordering::Relaxed), 7 + 300);
    }

    #[test]
    fn whoever_says_stop_is_heard_soon() {
        for (stop, code) in [(Stop::Timeout, "query-timeout"), (Stop::Cancelled, "query-cancelled")] {
            let mut looks = 0;
            let mut should_stop = || {
                looks += 1;
                (looks == 2).then_some(stop)
            };
            let mut budget = Budget::new(LIMITS, &mut should_stop);
            let outcome = (0..1_000).try_for_each(|_| budget.examine(10));
            assert_eq!(outcome.unwrap_err().code(), code);
            assert_eq!(budget.examined(), 256);
        }
    }
}
