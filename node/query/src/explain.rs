//! Plans as people read them: what is done in which order, with expected and actual numbers of rows.
//!
//! ```text
//!   Limit 10  (rows 10)
//!   └─ Sort $.total DESC
//!      └─ Filter $.city = 'Oslo'  (rows 120)
//!         └─ FullScan orders  (rows 1000, expected 1000)
//! ```

use std::fmt::Write as _;

use holdfast_storage::scan::Direction;
use serde_json::{Map, Value};

use crate::language::expression::Expression;
use crate::language::statement::JoinKind;
use crate::plan::index::WHOLE;
use crate::plan::{Access, Collection, ColumnPlan, Grouping, IdRange, JoinPlan, JoinWay, SelectPlan, SourcePlan};
use crate::run::select::Counts;
use crate::stopwatch::{Lap, Stopwatch};

/// One step of a plan, with the steps that it takes its rows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is done, in a word or two: `FullScan`, `IndexRange`, `Sort`.
    pub operation: &'static str,
    /// With what: the collection, the condition, the keys.
    pub detail: String,
    /// How many rows it is expected to give, where that is known.
    pub estimated_rows: Option<u64>,
    /// How many rows it gave, if the statement was carried out.
    pub actual_rows: Option<u64>,
    /// Microseconds that it took itself, without the steps that it takes its rows from.
    pub actual_micros: Option<u64>,
    /// Where its rows come from.
    pub inputs: Vec<Step>,
}

/// A plan to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The last step.
    pub root: Step,
    /// What carrying it out took, if it was.
    pub actual: Option<Actual>,
}

/// A plan that was carried out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ran<'run> {
    /// Rows at each step.
    pub(crate) counts: &'run Counts,
    /// Time at each step, if it was measured.
    pub(crate) stopwatch: Option<&'run Stopwatch>,
}

/// Microseconds as milliseconds.
fn milliseconds(micros: u64) -> String {
    format!("{}.{:03}", micros / 1_000, micros % 1_000)
}

/// What carrying a plan out took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actual {
    /// Time in microseconds.
    pub micros: u64,
    /// Documents and index entries that were looked at.
    pub examined: u64,
    /// The most memory that was held, in bytes.
    pub memory_bytes: u64,
}

impl Step {
    fn new(operation: &'static str, detail: impl Into<String>) -> Self {
        Self {
            operation,
            detail: detail.into(),
            estimated_rows: None,
            actual_rows: None,
            actual_micros: None,
            inputs: Vec::new(),
        }
    }

    fn over(mut self, input: Self) -> Self {
        self.inputs.push(input);
        self
    }

    pub(crate) fn gave(mut self, rows: Option<u64>) -> Self {
        self.actual_rows = rows;
        self
    }

    /// Some of the time was spent on it, if that was measured.
    fn took(mut self, ran: Option<Ran<'_>>, laps: &[Lap]) -> Self {
        if let Some(stopwatch) = ran.and_then(|ran| ran.stopwatch) {
            let micros: u64 = laps.iter().map(|lap| stopwatch.micros(*lap)).sum();
            self.actual_micros = Some(self.actual_micros.unwrap_or(0) + micros);
        }
        self
    }

    fn expecting(mut self, rows: u64) -> Self {
        self.estimated_rows = Some(rows);
        self
    }

    /// It and what comes before it in one word each, the first one first.
    pub(crate) fn words(&self) -> String {
        let mut words: Vec<String> = self.inputs.iter().map(Self::words).collect();
        words.push(self.operation.to_owned());
        words.join("+")
    }

    fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("Operation".to_owned(), Value::from(self.operation));
        object.insert("Detail".to_owned(), Value::from(self.detail.as_str()));
        object.insert("EstimatedRows".to_owned(), self.estimated_rows.map_or(Value::Null, Value::from));
        object.insert("ActualRows".to_owned(), self.actual_rows.map_or(Value::Null, Value::from));
        object.insert("ActualMicros".to_owned(), self.actual_micros.map_or(Value::Null, Value::from));
        object.insert("Inputs".to_owned(), Value::Array(self.inputs.iter().map(Self::to_json).collect()));
        Value::Object(object)
    }

    /// Its lines: `lead` stands before its own, `indent` before those of its inputs.
    fn write(&self, text: &mut String, lead: &str, indent: &str) {
        let detail = if self.detail.is_empty() { String::new() } else { format!(" {}", self.detail) };
        let mut numbers = Vec::new();
        match (self.estimated_rows, self.actual_rows) {
            (Some(estimated), Some(actual)) => numbers.push(format!("rows {actual}, expected {estimated}")),
            (None, Some(actual)) => numbers.push(format!("rows {actual}")),
            (Some(estimated), None) => numbers.push(format!("expected rows {estimated}")),
            (None, None) => {}
        }
        numbers.extend(self.actual_micros.map(|micros| format!("{} ms", milliseconds(micros))));
        let rows = if numbers.is_empty() { String::new() } else { format!("  ({})", numbers.join(", ")) };
        let _ = writeln!(text, "{lead}{}{detail}{rows}", self.operation);
        for (place, input) in self.inputs.iter().enumerate() {
            let is_last = place + 1 == self.inputs.len();
            let (branch, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            input.write(text, &format!("{indent}{branch}"), &format!("{indent}{below}"));
        }
    }
}

impl Explanation {
    /// The explanation of a `SELECT`, with what happened if it was carried out.
    pub(crate) fn of(plan: &SelectPlan, ran: Option<Ran<'_>>, actual: Option<Actual>) -> Self {
        Self { root: select(plan, ran), actual }
    }

    /// The explanation of a write.
    pub(crate) fn of_write(name: &'static str, detail: String, matching: Option<Step>, actual: Option<Actual>) -> Self {
        let mut root = Step::new(name, detail);
        root.inputs.extend(matching);
        Self { root, actual }
    }

    /// The plan as a tree of lines.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.root.write(&mut text, "", "");
        if let Some(actual) = self.actual {
            let _ = writeln!(
                text,
                "{} ms, {} documents and entries looked at, at most {} bytes held",
                milliseconds(actual.micros),
                actual.examined,
                actual.memory_bytes
            );
        }
        text
    }

    /// The plan for programs.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("Root".to_owned(), self.root.to_json());
        if let Some(actual) = self.actual {
            object.insert("ElapsedMicros".to_owned(), Value::from(actual.micros));
            object.insert("Examined".to_owned(), Value::from(actual.examined));
            object.insert("MemoryBytes".to_owned(), Value::from(actual.memory_bytes));
        }
        Value::Object(object)
    }
}

/// The operations of the steps of a `SELECT`, the first one first: what every answer tells of its plan. Whoever looks up
/// one document would wait longer for the details than for the document.
pub(crate) fn words(plan: &SelectPlan) -> String {
    let mut words = Vec::new();
    if plan.counts_only {
        words.push(count_operation(plan.sources.first()));
    } else if plan.sources.is_empty() {
        words.push(SINGLE_ROW);
    } else {
        for source in &plan.sources {
            words.push(source_operation(source));
            words.extend((!source.filter.is_empty()).then_some(FILTER));
            words.extend(source.join.as_ref().map(join_operation));
        }
    }
    let is_sorted = !plan.order.is_empty() && !plan.is_in_order;
    let is_limited = plan.limit.is_some() || plan.offset > 0;
    words.extend((!plan.filter.is_empty()).then_some(FILTER));
    words.extend(plan.grouping.as_ref().map(group_operation));
    words.extend(plan.having.is_some().then_some(HAVING));
    words.extend(plan.distinct.then_some(DISTINCT));
    words.extend(is_sorted.then_some(SORT));
    words.extend(is_limited.then_some(LIMIT));
    words.extend(is_projected(plan).then_some(PROJECT));
    let words = words.join("+");
    debug_assert_eq!(words, select(plan, None).words(), "both tell the same");
    words
}

const SINGLE_ROW: &str = "SingleRow";
const FILTER: &str = "Filter";
const HAVING: &str = "Having";
const DISTINCT: &str = "Distinct";
const SORT: &str = "Sort";
const LIMIT: &str = "Limit";
const PROJECT: &str = "Project";

fn count_operation(source: Option<&SourcePlan>) -> &'static str {
    match source.map(|source| &source.access) {
        Some(Access::Index(_)) => "IndexCount",
        _ => "CollectionCount",
    }
}

fn source_operation(source: &SourcePlan) -> &'static str {
    match (source.join.as_ref().map(|join| &join.way), &source.access) {
        (Some(JoinWay::ByIndex(..)), _) => "IndexLookup",
        (Some(JoinWay::ById(_)), _) | (_, Access::Ids(..)) => "IdLookup",
        (_, Access::Everything(_)) => "FullScan",
        (_, Access::Index(access)) if access.detail == WHOLE => "IndexOrder",
        (_, Access::Index(_)) => "IndexScan",
        (_, Access::IdRange(..)) => "IdRange",
    }
}

fn join_operation(join: &JoinPlan) -> &'static str {
    match &join.way {
        JoinWay::Table if join.on.is_empty() => "NestedJoin",
        JoinWay::Table => "HashJoin",
        JoinWay::ById(_) | JoinWay::ByIndex(..) => "LookupJoin",
    }
}

fn group_operation(grouping: &Grouping) -> &'static str {
    if grouping.keys.is_empty() { "Aggregate" } else { "Group" }
}

fn is_projected(plan: &SelectPlan) -> bool {
    !matches!(plan.columns.as_slice(), [] | [ColumnPlan::Everything(_)])
}

/// The steps of a `SELECT`, the last one outermost.
pub(crate) fn select(plan: &SelectPlan, ran: Option<Ran<'_>>) -> Step {
    let counts = ran.map(|ran| ran.counts);
    let matched = counts.map(|counts| counts.matched);
    let mut step = if plan.counts_only {
        let first = plan.sources.first();
        let name = first.map(|source| source.name.clone()).unwrap_or_default();
        let detail = match first.map(|source| &source.access) {
            Some(Access::Index(access)) => format!("{name} by {}, {}", access.index.name, access.detail),
            _ => name,
        };
        Step::new(count_operation(first), detail).gave(counts.map(|_| 1)).took(ran, &[Lap::Read(0)])
    } else {
        sources(plan, ran)
    };
    if !plan.filter.is_empty() {
        step = Step::new(FILTER, joined(&plan.filter, " AND ")).gave(matched).took(ran, &[Lap::Filter]).over(step);
    }
    // What is left is spent on rows that go into groups or in order, and on writing them.
    let mut rest = vec![Lap::Gather, Lap::Finish];
    if let Some(grouping) = &plan.grouping {
        rest.remove(0);
        step = group(grouping).gave(counts.map(|counts| counts.groups)).took(ran, &[Lap::Gather]).over(step);
    }
    if let Some(having) = &plan.having {
        step = Step::new(HAVING, in_words(plan, having).to_string()).over(step);
    }
    if plan.distinct {
        step = Step::new(DISTINCT, "").over(step);
    }
    if !plan.order.is_empty() && !plan.is_in_order {
        let keys = plan.order.iter().map(|key| {
            let direction = if key.descending { " DESC" } else { "" };
            format!("{}{direction}", in_words(plan, &key.expression))
        });
        let keys: Vec<String> = keys.collect();
        step = Step::new(SORT, keys.join(", ")).took(ran, &rest).over(step);
        rest.clear();
    }
    if plan.limit.is_some() || plan.offset > 0 {
        let limit = plan.limit.map_or_else(|| "all".to_owned(), |limit| limit.to_string());
        let detail = if plan.offset > 0 { format!("{limit} after {}", plan.offset) } else { limit };
        step = Step::new(LIMIT, detail).over(step);
    }
    if is_projected(plan) {
        step = Step::new(PROJECT, columns(plan)).over(step);
    }
    step.gave(counts.map(|counts| counts.answered)).took(ran.filter(|_| !rest.is_empty()), &rest)
}

/// What is asked of groups, as the statement says it.
fn in_words(plan: &SelectPlan, expression: &Expression) -> Expression {
    plan.grouping.as_ref().map_or_else(|| expression.clone(), |grouping| grouping.in_words(expression))
}

fn columns(plan: &SelectPlan) -> String {
    let column = |column: &ColumnPlan| match column {
        ColumnPlan::Everything(source) => {
            format!("{}.*", plan.sources.get(*source).map(|source| source.name.as_str()).unwrap_or_default())
        }
        ColumnPlan::AllSources => "*".to_owned(),
        ColumnPlan::Fields(expression) => expression.to_string(),
        ColumnPlan::Value { name, .. } => name.clone(),
    };
    plan.columns.iter().map(column).collect::<Vec<_>>().join(", ")
}

fn group(grouping: &Grouping) -> Step {
    let keys: Vec<String> = grouping.keys.iter().map(ToString::to_string).collect();
    Step::new(group_operation(grouping), keys.join(", "))
}

fn sources(plan: &SelectPlan, ran: Option<Ran<'_>>) -> Step {
    let mut joined: Option<Step> = None;
    for (number, source) in plan.sources.iter().enumerate() {
        let step = source_step(source, number, ran);
        joined = Some(match (joined, &source.join) {
            (Some(before), Some(join)) => {
                let kind = match join.kind {
                    JoinKind::Inner => "inner",
                    JoinKind::Left => "left",
                    JoinKind::Right => "right",
                    JoinKind::Cross => "cross",
                };
                let on: Vec<String> = join.on.iter().map(|(left, right)| format!("{left} = {right}")).collect();
                let detail = format!("{kind} {}", on.join(" AND "));
                let mut step_of_join =
                    Step::new(join_operation(join), detail.trim_end()).took(ran, &[Lap::Join(number)]).over(before);
                step_of_join.inputs.push(step);
                step_of_join
            }
            (_, _) => step,
        });
    }
    joined.unwrap_or_else(|| Step::new(SINGLE_ROW, "").gave(ran.map(|_| 1)))
}

fn source_step(source: &SourcePlan, number: usize, ran: Option<Ran<'_>>) -> Step {
    let counts = ran.map(|ran| ran.counts);
    let name = match &source.collection {
        Collection::Documents(collection) => collection.to_string(),
        Collection::System(system) => system.name().to_owned(),
    };
    let name = if name == source.name { name } else { format!("{name} AS {}", source.name) };
    let of = |counts: &[u64]| counts.get(number).copied();
    let way = source.join.as_ref().map(|join| &join.way);
    let is_lookup = matches!(way, Some(JoinWay::ById(_) | JoinWay::ByIndex(..)));
    let detail = match &source.access {
        _ if let Some(JoinWay::ByIndex(index, _)) = way => format!("{name} by {}", index.name),
        _ if is_lookup => name,
        Access::Everything(_) => name,
        Access::Ids(ids, _) => format!("{name}, {} ids", ids.len()),
        Access::Index(access) => {
            let backward = if access.direction == Direction::Backward { ", backwards" } else { "" };
            format!("{name} by {}, {}{backward}", access.index.name, access.detail)
        }
        Access::IdRange(IdRange { start, end }, _) => format!("{name}, {}", range(start, end)),
    };
    let step = Step::new(source_operation(source), detail)
        .gave(counts.and_then(|counts| of(&counts.read)))
        .took(ran, &[Lap::Read(number)]);
    let step = if is_lookup { step } else { step.expecting(source.estimated_rows) };
    if source.filter.is_empty() {
        return step.took(ran, &[Lap::Test(number)]);
    }
    let passed = counts.and_then(|counts| of(&counts.passed));
    Step::new(FILTER, joined(&source.filter, " AND ")).gave(passed).took(ran, &[Lap::Test(number)]).over(step)
}

fn range(start: &std::ops::Bound<Vec<u8>>, end: &std::ops::Bound<Vec<u8>>) -> String {
    let text = |bytes: &[u8]| format!("'{}'", String::from_utf8_lossy(bytes));
    let start = match start {
        std::ops::Bound::Unbounded => String::new(),
        std::ops::Bound::Included(bytes) => format!("from {}", text(bytes)),
        std::ops::Bound::Excluded(bytes) => format!("after {}", text(bytes)),
    };
    let end = match end {
        std::ops::Bound::Unbounded => String::new(),
        std::ops::Bound::Included(bytes) => format!("to {}", text(bytes)),
        std::ops::Bound::Excluded(bytes) => format!("before {}", text(bytes)),
    };
    format!("{start} {end}").trim().to_owned()
}

fn joined(conditions: &[crate::language::expression::Expression], between: &str) -> String {
    conditions.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}
