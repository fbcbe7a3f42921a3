//! The counters of queries: how many of which kind ended how, what they looked at, how long they took.
//!
//! **What stays true.** The outcomes that are counted apart are a fixed list, so that nobody can make it long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::histogram::Histogram;

/// What a statement is, as far as it is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementKind {
    /// It reads.
    Select,
    /// It writes new documents.
    Insert,
    /// It changes documents.
    Update,
    /// It deletes documents.
    Delete,
    /// It makes or drops an index.
    Index,
    /// It is explained.
    Explain,
    /// It could not be read.
    Unread,
}

impl StatementKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Select, Self::Insert, Self::Update, Self::Delete, Self::Index, Self::Explain, Self::Unread];

    /// Its name as a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Index => "index",
            Self::Explain => "explain",
            Self::Unread => "unread",
        }
    }
}

/// How statements end, where it is counted apart: codes of errors, and two more. Any other code is `other`.
pub const OUTCOMES: [&str; 17] = [
    "done",
    "cancelled",
    "query-syntax",
    "query-timeout",
    "query-unread",
    "query-too-large",
    "query-memory-exceeded",
    "query-too-many-writes",
    "query-overtaken",
    "too-many-queries",
    "type-mismatch",
    "division-by-zero",
    "already-exists",
    "not-unique",
    "database-not-found",
    "storage-failed",
    "other",
];

/// How a statement ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'outcome> {
    /// One of [`OUTCOMES`], or any other code.
    pub outcome: &'outcome str,
    /// How long it took.
    pub time: Duration,
    /// Documents and index entries that it looked at.
    pub examined: u64,
    /// Rows of its answer.
    pub returned: u64,
}

/// The counters of a node's queries.
#[derive(Debug, Default)]
pub struct QueryMetrics {
    kinds: [KindMetrics; StatementKind::ALL.len()],
    examined: AtomicU64,
    rows: AtomicU64,
}

/// The counters of one kind of statements.
#[derive(Debug, Default)]
pub struct KindMetrics {
    outcomes: [AtomicU64; OUTCOMES.len()],
    times: Histogram,
}

impl QueryMetrics {
    /// Counts a statement that has ended.
    pub fn count(&self, kind: StatementKind, ended: &Ended<'_>) {
        self.examined.fetch_add(ended.examined, Ordering::Relaxed);
        self.rows.fetch_add(ended.returned, Ordering::Relaxed);
        if let Some(metrics) = self.kinds.get(kind as usize) {
            metrics.count(ended);
        }
    }

    /// Counts a text that could not be read as a statement.
    pub fn count_unread(&self, outcome: &str) {
        self.count(StatementKind::Unread, &Ended { outcome, time: Duration::ZERO, examined: 0, returned: 0 });
    }

    /// Documents and index entries looked at.
    pub fn examined(&self) -> u64 {
        self.examined.load(Ordering::Relaxed)
    }

    /// Rows answered.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Each kind with its counters.
    pub fn kinds(&self) -> impl Iterator<Item = (StatementKind, &KindMetrics)> {
        StatementKind::ALL.into_iter().zip(&self.kinds)
    }
}

impl KindMetrics {
    fn count(&self, ended: &Ended<'_>) {
        let place = OUTCOMES.iter().position(|known| *known == ended.outcome).unwrap_or(OUTCOMES.len() - 1);
        if let Some(counter) = self.outcomes.get(place) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.times.add(ended.time);
    }

    /// Each outcome with how many statements had it.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        OUTCOMES.into_iter().zip(self.outcomes.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// How long statements took.
    pub fn times(&self) -> &Histogram {
        &self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_counted_once_by_kind_and_outcome() {
        let metrics = QueryMetrics::default();
        for outcome in ["done", "query-timeout", "whatever"] {
            let ended = Ended { outcome, time: Duration::from_micros(300), examined: 7, returned: 2 };
            metrics.count(StatementKind::Update, &ended);
        }
        metrics.count_unread("query-syntax");
        assert_eq!((metrics.examined(), metrics.rows()), (21, 6));
        for (kind, counts) in metrics.kinds() {
            let told: Vec<(&str, u64)> = counts.outcomes().filter(|(_, count)| *count > 0).collect();
            match kind {
                StatementKind::Update => assert_eq!(told, [("done", 1), ("query-timeout", 1), ("other", 1)]),
                StatementKind::Unread => assert_eq!(told, [("query-syntax", 1)]),
                _ => assert!(told.is_empty()),
            }
        }
    }
}
