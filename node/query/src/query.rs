//! One statement from its text to its answer: the door for whoever runs queries.
//!
//! ```text
//!   Query::prepare(text, parameters) ─► task(): what it is and which collections it touches, to ask for roles
//!     SELECT            rows(world, page, budget, sink)   ─► Answer
//!     INSERT ...        writes(world, take, budget)       ─► Writes, for the database's writer
//!     EXPLAIN ...       explain(world, budget, clock)     ─► Explanation
//! ```
//!
//! **What stays true.** Nothing is asked of the clock, the disk or the network: time and randomness are handed in, and
//! what is read is one view of a database.

use std::ops::ControlFlow;
use std::sync::Arc;

use holdfast_core::encoding::checksum;
use holdfast_core::time::Millis;
use serde_json::{Map, Value};

use crate::budget::Budget;
use crate::explain::{self, Actual, Explanation, Ran};
use crate::failure::Failure;
use crate::language::error::QueryError;
use crate::language::expression::{Expression, Kind};
use crate::language::statement::{Name, Select, Statement};
use crate::plan::select::{columns as columns_written, documents_of, plan};
use crate::plan::{Access, Collection, ColumnPlan, Options, SelectPlan, System};
use crate::run::cursor::{Cursor, Place};
use crate::run::row::Loaded;
use crate::run::select::{Counts, Views, each_match, select};
use crate::run::tail::{Sink, Window};
use crate::stopwatch::Clock;
use crate::value::{Compute, missing_parameter};
use crate::write::{self, Ground, Writes, matching_plan};

/// A statement that was read. It can be carried out many times, with other values each time.
#[derive(Debug)]
pub struct Prepared {
    text: String,
    statement: Statement,
}

impl Prepared {
    /// Reads a statement.
    pub fn read(text: &str) -> Result<Self, Failure> {
        Ok(Self { statement: crate::language::parse(text)?, text: text.to_owned() })
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A statement that was read, with the values that came with it.
#[derive(Debug, Clone)]
pub struct Query {
    prepared: Arc<Prepared>,
    parameters: Map<String, Value>,
}

/// What a statement is, and what it touches.
#[derive(Debug, Clone, PartialEq)]
pub struct Task<'query> {
    /// What it does.
    pub kind: TaskKind,
    /// Names of collections that it reads, as they are written.
    pub reads: Vec<&'query Name>,
    /// The name of the collection that it writes, or whose index it makes or drops.
    pub writes: Option<&'query Name>,
    /// Whether what documents hold can show in the answer, or in which of them are written.
    pub looks_at_documents: bool,
    /// Whether it is only explained, and if so whether it is carried out for that.
    pub explained: Option<Analyze>,
}

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// It reads.
    Select,
    /// It writes new documents.
    Insert,
    /// It changes documents.
    Update,
    /// It deletes documents.
    Delete,
    /// It makes an index.
    CreateIndex,
    /// It drops an index.
    DropIndex,
}

/// Whether a statement that is explained is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Analyze {
    /// The plan is enough.
    No,
    /// It is, so that rows and time can be told. A write is not: its documents are looked for, and nothing is changed.
    Yes,
}

/// What a statement is run in.
#[derive(Clone, Copy)]
pub struct World<'view> {
    /// What is read.
    pub views: Views<'view>,
    /// The time, which is the same for every row.
    pub now: Millis,
    /// Where ids that nobody else gets come from.
    pub random: &'view dyn Fn() -> u128,
    /// How plans are made.
    pub options: Options,
}

/// Which rows of a `SELECT` are answered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Page<'cursor> {
    /// Most rows to answer; none for as many as the statement wants.
    pub take: Option<u64>,
    /// Where an earlier answer ended: its `next_cursor`.
    pub cursor: Option<&'cursor str>,
}

/// What became of a `SELECT`, besides its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Rows that were answered.
    pub returned: u64,
    /// Rows that the condition is true for, as far as they were looked at.
    pub matched: u64,
    /// Whether that is all there are: not so where the answer was complete before everything was looked at.
    pub is_matched_exact: bool,
    /// Where the rest begins; `None` when there is none.
    pub next_cursor: Option<String>,
    /// The names of the columns; `None` where rows are documents.
    pub columns: Option<Vec<String>>,
    /// The plan in one word for each step, as `FullScan+Filter+Sort`.
    pub plan: String,
}

impl Query {
    /// Reads a statement.
    pub fn prepare(text: &str, parameters: Map<String, Value>) -> Result<Self, Failure> {
        Self::of(Arc::new(Prepared::read(text)?), parameters)
    }

    /// A statement with values for all that it names.
    pub fn of(prepared: Arc<Prepared>, parameters: Map<String, Value>) -> Result<Self, Failure> {
        let query = Self { prepared, parameters };
        match missing_parameter(query.statement(), &query.parameters) {
            Some(missing) => query.shown(Err(missing.into())),
            None => Ok(query),
        }
    }

    /// The text of the statement.
    pub fn text(&self) -> &str {
        &self.prepared.text
    }

    /// The statement, without the `EXPLAIN` around it.
    pub fn statement(&self) -> &Statement {
        match &self.prepared.statement {
            Statement::Explain { statement, .. } => statement,
            statement => statement,
        }
    }

    /// Whether it says itself how many rows it wants at most.
    pub fn has_limit(&self) -> bool {
        matches!(self.statement(), Statement::Select(select) if select.limit.is_some())
    }

    /// The names of the columns of a `SELECT`, as far as its text tells them: not where it shows whole documents.
    pub fn columns_of(text: &str) -> Option<Vec<String>> {
        let Ok(Statement::Select(select)) = crate::language::parse(text) else { return None };
        let columns = columns_written(&select);
        let name = |column: ColumnPlan| match column {
            ColumnPlan::Value { name, .. } => Some(name),
            ColumnPlan::AllSources | ColumnPlan::Everything(_) | ColumnPlan::Fields(_) => None,
        };
        columns.into_iter().map(name).collect()
    }

    /// Whether looking at a row takes no more than moments: a `SELECT` of one collection that compares and shows fields.
    /// How many rows it looks at is another matter.
    pub fn is_plain(&self) -> bool {
        const PLAIN_BYTES_MAX: usize = 4_096;
        let Statement::Select(select) = &self.prepared.statement else { return false };
        let is_of_documents =
            select.from.as_ref().is_some_and(|source| System::named(&source.collection.text).is_none());
        let is_one = select.joins.is_empty() && select.group_by.is_empty() && select.having.is_none();
        let mut is_more = |part: &Expression| {
            !matches!(
                part.kind,
                Kind::Literal(_)
                    | Kind::Missing
                    | Kind::Parameter(_)
                    | Kind::Path(_)
                    | Kind::Compare { .. }
                    | Kind::In { .. }
                    | Kind::Between { .. }
                    | Kind::Is { .. }
                    | Kind::And(_)
                    | Kind::Or(_)
                    | Kind::Not(_)
            )
        };
        self.prepared.text.len() <= PLAIN_BYTES_MAX
            && is_of_documents
            && is_one
            && !self.statement().expressions().into_iter().any(|expression| expression.any(&mut is_more))
    }

    /// Its words, with `?` for each value: for logs, which hold no data.
    pub fn shape(&self) -> String {
        crate::language::shape(&self.prepared.text)
    }

    /// What it does, and what to.
    pub fn task(&self) -> Task<'_> {
        let explained = match &self.prepared.statement {
            Statement::Explain { analyze: true, .. } => Some(Analyze::Yes),
            Statement::Explain { analyze: false, .. } => Some(Analyze::No),
            _ => None,
        };
        let (kind, reads, writes) = match self.statement() {
            Statement::Select(select) => {
                let named = select.from.iter().chain(select.joins.iter().map(|join| &join.source));
                (TaskKind::Select, named.map(|source| &source.collection).collect(), None)
            }
            Statement::Insert(insert) => (TaskKind::Insert, Vec::new(), Some(&insert.collection)),
            Statement::Update(update) => (TaskKind::Update, Vec::new(), Some(&update.collection)),
            Statement::Delete(delete) => (TaskKind::Delete, Vec::new(), Some(&delete.collection)),
            Statement::CreateIndex(create) => (TaskKind::CreateIndex, Vec::new(), Some(&create.collection)),
            Statement::DropIndex(drop) => (TaskKind::DropIndex, Vec::new(), drop.collection.as_ref()),
            // The parser takes no EXPLAIN of an EXPLAIN.
            Statement::Explain { .. } => (TaskKind::Select, Vec::new(), None),
        };
        let looks_at_documents = match self.statement() {
            Statement::Select(_) => true,
            Statement::Update(update) => write::shows_documents(Some(update), update.filter.as_ref()),
            Statement::Delete(delete) => write::shows_documents(None, delete.filter.as_ref()),
            _ => false,
        };
        Task { kind, reads, writes, looks_at_documents, explained }
    }

    /// The rows of a `SELECT`, into the sink.
    pub fn rows(
        &self,
        world: World<'_>,
        page: Page<'_>,
        budget: &mut Budget<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<Answer, Failure> {
        let Statement::Select(statement) = self.statement() else { return Err(no_rows()) };
        let compute = self.compute(world);
        let plan = self.shown(plan(statement, world.views.data, &compute, world.options, page.take))?;
        let (counts, window) = self.carried_out(&plan, world, &compute, page, budget, sink)?;
        let next = window.last.filter(|_| window.has_more && window.may_go_on);
        let next_cursor = match next {
            Some(place) => {
                let before = self.cursor(page, &plan)?.map_or(0, |cursor| cursor.answered);
                let (fingerprint, answered) = (self.fingerprint(&plan), before + window.answered);
                Some(Cursor { fingerprint, answered, place }.to_text())
            }
            None => None,
        };
        Ok(Answer {
            returned: window.answered,
            matched: counts.matched,
            is_matched_exact: counts.is_complete && page.cursor.is_none(),
            next_cursor,
            columns: columns(&plan),
            plan: explain::words(&plan),
        })
    }

    /// The changes of an `INSERT`, which looks at no database: it may be the one that makes it.
    pub fn inserts(&self, now: Millis, random: &dyn Fn() -> u128, budget: &mut Budget<'_>) -> Result<Writes, Failure> {
        let compute = Compute { parameters: &self.parameters, now, random };
        self.shown(match self.statement() {
            Statement::Insert(insert) => write::insert::insert(insert, &compute, budget),
            _ => Err(no_rows()),
        })
    }

    /// The changes of an `INSERT`, `UPDATE` or `DELETE`. `take` is the most documents to change.
    pub fn writes(&self, world: World<'_>, take: Option<u64>, budget: &mut Budget<'_>) -> Result<Writes, Failure> {
        let compute = self.compute(world);
        let ground = Ground { views: world.views, compute: &compute, options: world.options, take };
        self.shown(match self.statement() {
            Statement::Insert(insert) => write::insert::insert(insert, &compute, budget),
            Statement::Update(update) => write::update(update, ground, budget),
            Statement::Delete(delete) => write::delete(delete, ground, budget),
            _ => Err(no_rows()),
        })
    }

    /// The plan, and with `EXPLAIN ANALYZE` what carrying it out took. Of a write, its documents are looked for.
    pub fn explain(&self, world: World<'_>, budget: &mut Budget<'_>, clock: Clock) -> Result<Explanation, Failure> {
        let world = World { options: Options { estimates: true, ..world.options }, ..world };
        let compute = self.compute(world);
        match self.statement() {
            Statement::Select(statement) => self.explain_select(statement, world, &compute, budget, clock),
            Statement::Insert(insert) => {
                let detail = format!("into {}, {} documents", insert.collection.text, insert.documents.len());
                Ok(Explanation::of_write("Insert", detail, None, None))
            }
            Statement::Update(update) => {
                let matching = (&update.collection, update.filter.as_ref());
                self.explain_write("Update", matching, world, &compute, budget, clock)
            }
            Statement::Delete(delete) => {
                let matching = (&delete.collection, delete.filter.as_ref());
                self.explain_write("Delete", matching, world, &compute, budget, clock)
            }
            Statement::CreateIndex(create) => {
                Ok(Explanation::of_write("CreateIndex", create.name.text.to_string(), None, None))
            }
            Statement::DropIndex(drop) => {
                Ok(Explanation::of_write("DropIndex", drop.name.text.to_string(), None, None))
            }
            Statement::Explain { .. } => Err(no_rows()),
        }
    }

    fn explain_select(
        &self,
        statement: &Select,
        world: World<'_>,
        compute: &Compute<'_>,
        budget: &mut Budget<'_>,
        clock: Clock,
    ) -> Result<Explanation, Failure> {
        let began = clock();
        let plan = self.shown(plan(statement, world.views.data, compute, world.options, None))?;
        if self.task().explained != Some(Analyze::Yes) {
            return Ok(Explanation::of(&plan, None, None));
        }
        budget.measure(clock);
        budget.answer_nobody();
        let (counts, _) = self.carried_out(&plan, world, compute, Page::default(), budget, &mut |_| Ok(()))?;
        let stopwatch = budget.take_stopwatch();
        let ran = Ran { counts: &counts, stopwatch: stopwatch.as_ref() };
        Ok(Explanation::of(&plan, Some(ran), Some(actual(began, clock, budget))))
    }

    fn explain_write(
        &self,
        name: &'static str,
        (collection, filter): (&Name, Option<&Expression>),
        world: World<'_>,
        compute: &Compute<'_>,
        budget: &mut Budget<'_>,
        clock: Clock,
    ) -> Result<Explanation, Failure> {
        let began = clock();
        let ground = Ground { views: world.views, compute, options: world.options, take: None };
        self.shown(documents_of(collection))?;
        let plan = self.shown(matching_plan(collection, filter, ground))?;
        let detail = collection.text.to_string();
        if self.task().explained != Some(Analyze::Yes) {
            return Ok(Explanation::of_write(name, detail, Some(explain::select(&plan, None)), None));
        }
        budget.measure(clock);
        let looking = &mut |_: &Loaded, _: &mut Budget<'_>| Ok(ControlFlow::Continue(()));
        let counts = self.shown(each_match(&plan, world.views, world.options, compute, budget, looking))?;
        let stopwatch = budget.take_stopwatch();
        let ran = Ran { counts: &counts, stopwatch: stopwatch.as_ref() };
        let matching = explain::select(&plan, Some(ran)).gave(Some(counts.matched));
        Ok(Explanation::of_write(name, detail, Some(matching), Some(actual(began, clock, budget))))
    }

    fn carried_out(
        &self,
        plan: &SelectPlan,
        world: World<'_>,
        compute: &Compute<'_>,
        page: Page<'_>,
        budget: &mut Budget<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(Counts, Window), Failure> {
        let (answered, after) = match self.cursor(page, plan)? {
            Some(cursor) => (cursor.answered, Some(cursor.place)),
            None => (0, None),
        };
        let wanted = plan.limit.map_or(u64::MAX, |limit| limit.saturating_sub(answered));
        let left = page.take.map_or(wanted, |take| take.min(wanted));
        // Such rows have no place of their own to go on from.
        let is_counted = plan.sources.first().is_some_and(|first| match (&first.collection, &first.access) {
            (Collection::System(_), _) => true,
            (Collection::Documents(_), Access::Index(_)) => plan.sources.len() > 1,
            (Collection::Documents(_), _) => false,
        });
        let window = Window {
            skip: match &after {
                None => plan.offset,
                Some(Place::Offset(rows)) => *rows,
                Some(Place::Key(_) | Place::Id(..) | Place::Entry(_)) => 0,
            },
            left,
            may_go_on: left < wanted,
            after,
            is_counted,
            ..Window::default()
        };
        if left == 0 {
            return Ok((Counts::default(), window));
        }
        self.shown(select(plan, world.views, world.options, compute, budget, window, sink))
    }

    /// Where an earlier answer ended, if it is one to this statement.
    fn cursor(&self, page: Page<'_>, plan: &SelectPlan) -> Result<Option<Cursor>, Failure> {
        page.cursor.map(|text| Cursor::parse(text, self.fingerprint(plan))).transpose()
    }

    /// What a cursor is good for: this statement, these parameters, rows that come in this order.
    fn fingerprint(&self, plan: &SelectPlan) -> u32 {
        let parameters = serde_json::to_string(&self.parameters).unwrap_or_default();
        let order = plan.sources.first().filter(|_| plan.is_in_order).map(|source| source.access.order());
        checksum(format!("{}\0{parameters}\0{order:?}", self.statement()).as_bytes())
    }

    fn compute<'run>(&'run self, world: World<'run>) -> Compute<'run> {
        Compute { parameters: &self.parameters, now: world.now, random: world.random }
    }

    /// An error with the line of the text that it is about.
    fn shown<T>(&self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        outcome.map_err(|failure| match failure {
            Failure::Refused(error) if error.excerpt.is_none() => Failure::Refused(error.shown_in(&self.prepared.text)),
            failure => failure,
        })
    }
}

fn actual(began: u64, clock: Clock, budget: &Budget<'_>) -> Actual {
    Actual {
        micros: clock().saturating_sub(began) / 1_000,
        examined: budget.examined(),
        memory_bytes: budget.memory_bytes_peak(),
    }
}

fn no_rows() -> Failure {
    Failure::from(QueryError::meaning(
        "query-wrong-door",
        "This statement is not carried out here",
        crate::language::expression::Position::default(),
    ))
}

/// The names of the columns, if rows have the same ones.
fn columns(plan: &SelectPlan) -> Option<Vec<String>> {
    let names = plan.columns.iter().map(|column| match column {
        ColumnPlan::Value { name, .. } => Some(vec![name.clone()]),
        ColumnPlan::AllSources => Some(plan.sources.iter().map(|source| source.name.clone()).collect()),
        ColumnPlan::Everything(_) | ColumnPlan::Fields(_) => None,
    });
    names.collect::<Option<Vec<_>>>().map(|names| names.concat())
}
