//! One statement from asking to its last row, and what is told besides.
//!
//! **What stays true.** Whatever is not shown is told: rows that `take` kept back, fields without a column, documents that
//! match and were left alone. Rows appear as soon as they come, whatever is still to follow.

use std::io::{self, Write};

use holdfast_query::language::statement::Statement;
use holdfast_query::query::Query;
use indicatif::HumanCount;

use super::answer::{Answer, Ask, Line, Summary, ask};
use super::sheet::{Sheet, Shown, Target, Unshown};
use crate::transfer::place::{NodeClient, PlaceError};

/// Of what a statement wrote, a table names so many.
const WRITTEN_ROWS_MAX: u64 = 20;

/// How it ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// With all its rows.
    Done(Box<Told>),
    /// Whoever reads has seen enough.
    NobodyReads,
}

/// What is told of a statement besides its rows.
#[derive(Debug)]
pub(super) struct Told {
    /// What the node told.
    pub(super) summary: Summary,
    /// How many of its rows were shown.
    pub(super) shown_rows: u64,
    kind: Kind,
    unshown: Unshown,
}

/// What is known of a statement before it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It answers with rows.
    Rows,
    /// It answers with the lines of a plan.
    Plan,
    /// It writes documents.
    Write,
    /// It does something else, or this program cannot read it; the node may.
    Other,
}

impl Kind {
    /// Of a text with one statement.
    pub(super) fn of(text: &str) -> Self {
        match holdfast_query::language::parse(text) {
            Ok(Statement::Select(_)) => Self::Rows,
            Ok(Statement::Explain { .. }) => Self::Plan,
            Ok(Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_)) => Self::Write,
            Ok(_) | Err(_) => Self::Other,
        }
    }
}

/// Asks a node, and writes what it answers.
pub(super) async fn carry(
    client: &NodeClient,
    asked: &Ask,
    shown: Shown,
    target: Target<'_>,
) -> Result<Ended, PlaceError> {
    let kind = Kind::of(&asked.statement);
    let mut answer = ask(client, asked).await?;
    let mut sheet = Sheet::new(target, shown, Query::columns_of(&asked.statement), kind == Kind::Plan);
    let rows_max = if kind == Kind::Write && shown == Shown::Table { WRITTEN_ROWS_MAX } else { u64::MAX };
    let mut counted = 0;
    let ended = rows(&mut answer, &mut sheet, rows_max, &mut counted).await;
    let finished = match &ended {
        Ok(summary) => sheet.finish(summary.columns.as_deref()),
        // Rows that came before the answer broke off are shown; they are true.
        Err(Stopped::Asked(_)) => sheet.break_off(),
        Err(Stopped::Written(_)) => Ok(Unshown::default()),
    };
    let written = |error: io::Error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(Ended::NobodyReads),
        _ => Err(PlaceError::new(format!("the rows cannot be written: {error}"))),
    };
    match (ended, finished) {
        (Err(Stopped::Asked(error)), _) => Err(error),
        (Err(Stopped::Written(error)), _) | (_, Err(error)) => written(error),
        (Ok(summary), Ok(unshown)) => {
            Ok(Ended::Done(Box::new(Told { summary, shown_rows: counted.min(rows_max), kind, unshown })))
        }
    }
}

enum Stopped {
    Asked(PlaceError),
    Written(io::Error),
}

async fn rows(
    answer: &mut Answer,
    sheet: &mut Sheet<'_>,
    rows_max: u64,
    counted: &mut u64,
) -> Result<Summary, Stopped> {
    loop {
        if answer.is_waiting() {
            sheet.flush().map_err(Stopped::Written)?;
            // However fast rows come, whoever waits for an interrupt has a look in between.
            tokio::task::yield_now().await;
        }
        match answer.next().await.map_err(Stopped::Asked)? {
            Line::End(summary) => return Ok(summary),
            Line::Row(row) => {
                *counted += 1;
                if *counted <= rows_max {
                    sheet.row(&row).map_err(Stopped::Written)?;
                }
            }
        }
    }
}

impl Told {
    /// The line under a table.
    pub(super) fn footer(&self) -> String {
        let time = self.summary.elapsed_ms.as_ref().map_or_else(String::new, |time| format!(" in {time} ms"));
        let counted =
            |count: u64, noun: &str| format!("{} {noun}{}", HumanCount(count), if count == 1 { "" } else { "s" });
        match self.kind {
            Kind::Write => {
                let hidden = self.summary.returned_rows.saturating_sub(self.shown_rows);
                let hidden = if hidden > 0 { format!("and {} more\n", HumanCount(hidden)) } else { String::new() };
                format!("{hidden}{} written{time}", counted(self.summary.applied_count, "document"))
            }
            Kind::Rows | Kind::Other => format!("{}{time}", counted(self.summary.returned_rows, "row")),
            Kind::Plan => String::new(),
        }
    }

    /// What whoever reads should know of what is not shown. `take` and `more` name what cuts, and how to go on.
    pub(super) fn warnings(&self, take: &str, more: &str) -> Vec<String> {
        let mut lines = Vec::new();
        if self.summary.next_cursor.is_some() {
            lines.push(format!("there are more rows than {take} asks for; {more}"));
        }
        if self.kind == Kind::Write && self.summary.applied_count < self.summary.matched_count {
            let left = self.summary.matched_count - self.summary.applied_count;
            lines.push(format!("{} documents more match than {take} asks for; {more}", HumanCount(left)));
        }
        if self.unshown.nested > 0 {
            let nested = HumanCount(self.unshown.nested);
            lines.push(format!("{nested} objects and lists became JSON text; json and ndjson keep them as they are"));
        }
        if self.unshown.beyond_columns > 0 {
            let rows = HumanCount(self.unshown.beyond_columns);
            lines.push(format!(
                "{rows} rows have fields without a column; name the columns after SELECT, or take ndjson"
            ));
        }
        lines
    }
}

/// Writes a line for whoever watches; what was asked for goes elsewhere.
pub(super) fn remark(line: &str) {
    let _ = writeln!(io::stderr(), "holdfast: {line}");
}
