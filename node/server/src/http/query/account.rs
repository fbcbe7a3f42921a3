//! What is counted and logged of a statement, however it ends.

use std::sync::Arc;
use std::time::Instant;

use holdfast_core::id::DatabaseName;
use holdfast_query::query::{Task, TaskKind};

use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::query::answer::Outcome;
use crate::http::query::asked::Asked;
use crate::http::query::places::Watch;
use crate::telemetry::query_metrics::{Ended, StatementKind};

/// One statement on its way. Dropped without a word, it counts as given up by its caller.
#[derive(Debug)]
pub struct Account {
    app: App,
    database: DatabaseName,
    asked: Arc<Asked>,
    watch: Watch,
    began: Instant,
    is_closed: bool,
}

impl Account {
    /// A statement that began at this moment.
    pub fn open(app: App, database: DatabaseName, asked: Arc<Asked>, watch: Watch, began: Instant) -> Self {
        Self { app, database, asked, watch, began, is_closed: false }
    }

    /// Microseconds since it began.
    pub fn micros(&self) -> u128 {
        self.began.elapsed().as_micros()
    }

    /// It was carried out.
    pub fn done(&mut self, outcome: &Outcome) {
        self.close("done", &outcome.plan, outcome.returned);
    }

    /// It was refused.
    pub fn refused(&mut self, error: &ApiError) {
        self.close(error.code(), "", 0);
    }

    fn close(&mut self, outcome: &str, plan: &str, returned: u64) {
        self.is_closed = true;
        let ended = Ended { outcome, time: self.began.elapsed(), examined: self.watch.examined(), returned };
        self.app.metrics.queries.count(kind_of(&self.asked.query.task()), &ended);
        let slow = u128::from(self.app.settings.query.slow_milliseconds);
        let elapsed = self.began.elapsed();
        if slow > 0 && elapsed.as_millis() >= slow {
            // The plan's words and the statement's shape hold no value of a document or of the statement.
            tracing::warn!(
                database = %self.database,
                statement = self.asked.query.shape(),
                outcome,
                plan,
                elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
                examined = self.watch.examined(),
                returned,
                "slow query"
            );
        }
    }
}

/// How a statement is counted.
pub fn kind_of(task: &Task<'_>) -> StatementKind {
    match task.kind {
        _ if task.explained.is_some() => StatementKind::Explain,
        TaskKind::Select => StatementKind::Select,
        TaskKind::Insert => StatementKind::Insert,
        TaskKind::Update => StatementKind::Update,
        TaskKind::Delete => StatementKind::Delete,
        TaskKind::CreateIndex | TaskKind::DropIndex => StatementKind::Index,
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !self.is_closed {
            self.close("cancelled", "", 0);
        }
    }
}
