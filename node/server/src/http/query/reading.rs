//! `SELECT` and `EXPLAIN`: what only looks.

use std::sync::Arc;

use holdfast_core::time::Millis;
use holdfast_query::budget::Budget;
use holdfast_query::failure::Failure;
use holdfast_query::plan::{Options, System};
use holdfast_query::query::{Answer, Page, Query, World};
use holdfast_query::run::select::Views;
use holdfast_storage::log::LogView;
use holdfast_storage::view::ReadView;
use serde_json::json;

use crate::databases::OpenDatabase;
use crate::http::query::answer::{Outcome, Rows};
use crate::http::query::asked::{Asked, Form};
use crate::http::query::places::Watch;
use crate::{clock, entropy};

/// One look at a database: what a statement reads.
pub struct Look {
    data: Arc<ReadView>,
    log: Option<LogView>,
}

impl Look {
    /// The database as it is now; its log too if the statement names it.
    pub fn at(database: &OpenDatabase, query: &Query) -> Result<Self, Failure> {
        let is_log = |name: &str| System::named(name) == Some(System::Operations);
        let reads_log = query.task().reads.iter().any(|name| is_log(&name.text));
        let log = if reads_log { Some(database.log()?) } else { None };
        Ok(Self { data: database.view()?, log })
    }

    /// What a statement is run in.
    pub fn world<'look>(&'look self, asked: &Asked, random: &'look dyn Fn() -> u128) -> World<'look> {
        World {
            views: Views { data: &self.data, log: self.log.as_ref() },
            now: Millis(clock::now_millis()),
            random,
            options: Options { shows_reserved_fields: asked.shows_reserved_fields, ..Options::default() },
        }
    }
}

/// Carries a `SELECT` out, into one answer.
pub fn select(database: &OpenDatabase, asked: &Asked, form: Form, watch: &Watch) -> Result<(Outcome, Rows), Failure> {
    watch.spend(&mut || {}, |budget| select_within(database, asked, form, budget))
}

/// Carries a `SELECT` out if a moment is enough, as it is for one that finds a few documents by id or index: going to
/// another thread and back would take longer. `None` if it is not.
pub fn select_in_a_moment(
    database: &OpenDatabase,
    asked: &Asked,
    form: Form,
    watch: &Watch,
) -> Option<Result<(Outcome, Rows), Failure>> {
    if !asked.query.is_plain() {
        return None;
    }
    watch.spend_a_moment(|budget| select_within(database, asked, form, budget))
}

fn select_within(
    database: &OpenDatabase,
    asked: &Asked,
    form: Form,
    budget: &mut Budget<'_>,
) -> Result<(Outcome, Rows), Failure> {
    let look = Look::at(database, &asked.query)?;
    let take = asked.rows(form);
    let page = Page { take, cursor: asked.cursor.as_deref() };
    let mut rows = Rows::new(form);
    let answer = asked.query.rows(look.world(asked, &entropy::random_u128), page, budget, &mut |row| {
        rows.push(row);
        Ok(())
    })?;
    Ok((outcome_of(answer, take), rows))
}

/// The outcome of a `SELECT`.
pub fn outcome_of(answer: Answer, take: Option<u64>) -> Outcome {
    Outcome {
        requested_take: take,
        matched: answer.matched,
        is_matched_exact: answer.is_matched_exact,
        returned: answer.returned,
        plan: answer.plan,
        columns: answer.columns,
        next_cursor: answer.next_cursor,
        ..Outcome::default()
    }
}

/// Tells how a statement would be carried out, or was: a row for each line of the plan.
pub fn explain(database: &OpenDatabase, asked: &Asked, form: Form, watch: &Watch) -> Result<(Outcome, Rows), Failure> {
    let look = Look::at(database, &asked.query)?;
    let world = look.world(asked, &entropy::random_u128);
    let explanation = watch.spend(&mut || {}, |budget| asked.query.explain(world, budget, clock::monotonic_nanos))?;
    let text = explanation.to_text();
    let mut rows = Rows::new(form);
    text.lines().for_each(|line| rows.push_value(&json!({ "Plan": line })));
    let lines = text.lines().count() as u64;
    let outcome = Outcome {
        matched: lines,
        is_matched_exact: true,
        returned: lines,
        explanation: Some(explanation.to_json()),
        columns: Some(vec!["Plan".to_owned()]),
        plan: text,
        ..Outcome::default()
    };
    Ok((outcome, rows))
}
