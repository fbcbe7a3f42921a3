//! Which index finds a source's documents, and in which stretches of it they lie.
//!
//! ```text
//!   index (city, total)     WHERE city = 'Oslo' AND total > 10     one stretch: 'Oslo' · numbers from 10 on
//!                           WHERE city IN ('Oslo', 'Rome')         two stretches
//!                           WHERE city = 'Oslo' ORDER BY total     one stretch, in order
//! ```
//!
//! **What stays true.** A stretch holds an entry of every document for which the conditions are true. Rows come in the
//! order of an index only where each document has one entry whose key says exactly which values it has, and where the
//! index's paths are all that the rows are ordered by, so that equal rows come by their ids as they do everywhere.

use std::ops::Bound;
use std::sync::Arc;

use holdfast_core::collation::{Case, Kind as ValueKind, encode, encode_string_prefix};
use holdfast_core::index::definition::IndexDefinition;
use holdfast_core::index::path::IndexPath;
use holdfast_core::index::range::KeyRange;
use holdfast_core::path::{Path, Step};
use holdfast_storage::indexes::IndexState;
use holdfast_storage::scan::Direction;
use holdfast_storage::view::ReadView;
use serde_json::Value;

use crate::failure::Failure;
use crate::language::expression::{Expression, Kind, PathExpression, PathStep};
use crate::plan::terms::{Restriction, Saying, saying};
use crate::plan::{Options, OrderKey};

/// Documents by way of an index.
#[derive(Debug, Clone)]
pub struct IndexAccess {
    /// The index.
    pub index: Arc<IndexState>,
    /// Stretches of it, sorted; no entry lies in two.
    pub ranges: Vec<KeyRange>,
    /// Which way it is walked.
    pub direction: Direction,
    /// How many of its paths the stretches fix to one value each.
    pub fixed_paths: usize,
    /// What the stretches say, for people: only where the plan is explained.
    pub detail: String,
    /// The conditions that an entry answers by itself, by their places in the source's filter.
    pub answered: Vec<usize>,
}

/// The detail of a walk through all of an index.
pub(crate) const WHOLE: &str = "whole";
/// Stretches that one way through an index may have.
const RANGES_MAX: usize = 1_000;
/// Entries that are counted to find out which index is best.
const COUNT_MAX: u64 = 200;

/// What the conditions say of one path of an index.
struct Said {
    restriction: Restriction,
    /// The conditions that say it.
    conditions: Vec<usize>,
    /// Whether it is said of one of the items there.
    is_of_items: bool,
}

/// The best way to a source's documents by an index, and how many it gives, if its conditions speak of one. Without a
/// choice, and where nobody needs the number, nothing is counted.
pub(crate) fn best(
    view: &ReadView,
    indexes: &[Arc<IndexState>],
    filter: &[Expression],
    needs_number: bool,
    options: Options,
) -> Result<Option<(IndexAccess, u64)>, Failure> {
    let mut ways: Vec<IndexAccess> =
        indexes.iter().filter_map(|index| access(index, filter, options.estimates)).collect();
    if ways.len() == 1 && !needs_number {
        return Ok(ways.pop().map(|only| (only, u64::MAX)));
    }
    let mut best: Option<(IndexAccess, u64)> = None;
    for access in ways {
        let mut count = 0;
        for range in &access.ranges {
            count += view.index_count(&access.index, range, COUNT_MAX.saturating_sub(count))?;
            if count >= COUNT_MAX {
                break;
            }
        }
        let is_better = best.as_ref().is_none_or(|(other, other_count)| {
            count < *other_count || (count == *other_count && access.fixed_paths > other.fixed_paths)
        });
        if is_better {
            best = Some((access, count));
        }
    }
    Ok(best)
}

/// The way through one index.
fn access(index: &Arc<IndexState>, filter: &[Expression], is_explained: bool) -> Option<IndexAccess> {
    let definition = index.definition.as_ref()?;
    let case = definition.case();
    let mut prefixes: Vec<Vec<u8>> = vec![Vec::new()];
    let mut ranges: Option<Vec<KeyRange>> = None;
    let (mut fixed_paths, mut answered, mut details) = (0, Vec::new(), Vec::new());
    for path in &definition.paths {
        let Some(said) = said(path, filter, case) else { break };
        // Nobody reads it but those who ask for an explanation.
        details.push(if is_explained { format!("{path} {}", said.restriction.to_text()) } else { String::new() });
        // What every text begins with that is like a pattern need not be all there is to the pattern.
        if !matches!(said.restriction, Restriction::StartsWith(_)) {
            answered.extend(said.conditions);
        }
        match said.restriction {
            Restriction::OneOf(values) => {
                let mut values: Vec<Vec<u8>> = values.iter().map(|value| encoded(value, case)).collect();
                values.sort_unstable();
                values.dedup();
                if prefixes.len().saturating_mul(values.len()) > RANGES_MAX {
                    return None;
                }
                if values.len() == 1 && fixed_paths + 1 == details.len() {
                    fixed_paths += 1;
                }
                let each =
                    prefixes.iter().flat_map(|prefix| values.iter().map(|value| [prefix.as_slice(), value].concat()));
                prefixes = each.collect();
            }
            Restriction::Between(low, high) => {
                ranges = Some(prefixes.iter().map(|prefix| between(prefix, &low, &high, case)).collect());
            }
            Restriction::StartsWith(start) => {
                let range = |prefix: &Vec<u8>| {
                    let mut bytes = prefix.clone();
                    encode_string_prefix(&start, case, &mut bytes);
                    KeyRange::starting_with(&bytes)
                };
                ranges = Some(prefixes.iter().map(range).collect());
            }
        }
        if ranges.is_some() {
            break;
        }
    }
    if details.is_empty() {
        return None;
    }
    let is_whole = details.len() == definition.paths.len();
    let ranges = ranges.unwrap_or_else(|| {
        let range = |prefix: &Vec<u8>| if is_whole { KeyRange::of(prefix) } else { KeyRange::starting_with(prefix) };
        prefixes.iter().map(range).collect()
    });
    let ranges: Vec<KeyRange> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
    if case != Case::Exact || ranges.iter().any(|range| !range.is_exact) {
        answered.clear();
    }
    let direction = Direction::Forward;
    Some(IndexAccess { index: Arc::clone(index), ranges, direction, fixed_paths, detail: details.join(", "), answered })
}

fn encoded(value: &Value, case: Case) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(value, case, &mut bytes);
    bytes
}

/// The keys between two values. Missing and null are less than nothing: no comparison with them is true.
fn between(prefix: &[u8], low: &Bound<Value>, high: &Bound<Value>, case: Case) -> KeyRange {
    let bytes = |bound: &Bound<Value>| bound.as_ref().map(|value| encoded(value, case));
    let (first, _) = ValueKind::Bool.bounds();
    let low = match bytes(low) {
        Bound::Unbounded => Bound::Included(first.to_vec()),
        bound => bound,
    };
    let high = bytes(high);
    KeyRange::between(prefix, low.as_ref().map(Vec::as_slice), high.as_ref().map(Vec::as_slice))
}

/// What the conditions say of a path of an index.
fn said(path: &IndexPath, filter: &[Expression], case: Case) -> Option<Said> {
    let mut said: Option<Said> = None;
    for (place, condition) in filter.iter().enumerate() {
        let Some(saying) = saying(condition) else { continue };
        let Saying { path: about, restriction, is_of_items, ignores_case } = saying;
        let is_order = matches!(restriction, Restriction::Between(..));
        // Where case does not count, order is another one; where it does, it counts for every condition.
        if !leads_to(about, path) || (is_order && case != Case::Exact) || (ignores_case && case == Case::Exact) {
            continue;
        }
        said = Some(match said {
            None => Said { restriction, conditions: vec![place], is_of_items },
            // One item may answer one condition and another item the other.
            Some(said) if path.has_items() || is_of_items || said.is_of_items => said,
            // 'Ada' and 'ada' are one key and two values: what both conditions hold for is not to be told from values.
            Some(said) if case != Case::Exact => said,
            Some(said) => {
                let (restriction, says_both) = said.restriction.and(restriction);
                // Where the stretch answers one of the two, both are asked again.
                let conditions = if says_both { [said.conditions, vec![place]].concat() } else { Vec::new() };
                Said { restriction, conditions, is_of_items: false }
            }
        });
    }
    said
}

/// Whether an index on `path` has the values that a condition about a path asks of.
fn leads_to(about: &PathExpression, path: &IndexPath) -> bool {
    // The id has a name in any case, and no index is better than the documents' own order.
    let Some(mut segments) = segments_of(about).filter(|_| !about.is_document_id()) else { return false };
    if segments == path.segments() {
        return true;
    }
    // The items of an array are among the keys of the array.
    let is_of_items = segments.len() > 1 && segments.last().is_some_and(|last| last.steps().is_empty());
    is_of_items && segments.pop().is_some() && segments == path.segments()
}

/// A path cut at each `[*]`.
fn segments_of(path: &PathExpression) -> Option<Vec<Path>> {
    let mut segments = vec![Vec::new()];
    for step in &path.steps {
        match step {
            PathStep::Each => segments.push(Vec::new()),
            PathStep::Member(name) => segments.last_mut()?.push(Step::Member(name.clone())),
            PathStep::Index(index) => segments.last_mut()?.push(Step::Index(usize::try_from(*index).ok()?)),
        }
    }
    Some(segments.into_iter().map(Path::of_steps).collect())
}

/// An index that has a joined source's documents by one of the expressions that have to be equal: the index, and which.
pub(crate) fn for_join<'index>(
    indexes: &'index [Arc<IndexState>],
    joined: &[&Expression],
) -> Option<(&'index Arc<IndexState>, usize)> {
    indexes.iter().find_map(|index| {
        let definition = index.definition.as_ref().filter(|definition| definition.case() == Case::Exact)?;
        let first = definition.paths.first()?;
        let place = joined.iter().position(|expression| match &expression.kind {
            Kind::Path(path) => !path.names_many() && leads_to(path, first),
            _ => false,
        })?;
        Some((index, place))
    })
}

impl IndexAccess {
    /// All entries of an index.
    pub(crate) fn whole(index: &Arc<IndexState>) -> Self {
        Self {
            index: Arc::clone(index),
            ranges: vec![KeyRange::all()],
            direction: Direction::Forward,
            fixed_paths: 0,
            detail: WHOLE.to_owned(),
            answered: Vec::new(),
        }
    }

    /// Whether each document has one entry, which says exactly which values it has.
    pub(crate) fn is_plain(&self) -> bool {
        self.index.is_plain()
    }

    /// Walks it so that rows come in an order, if it can.
    pub(crate) fn in_order(mut self, order: &[OrderKey]) -> Option<Self> {
        let definition: &IndexDefinition = self.index.definition.as_ref()?;
        let first = order.first()?;
        let rest = definition.paths.get(self.fixed_paths..)?;
        let is_of = |(key, path): (&OrderKey, &IndexPath)| match &key.expression.kind {
            Kind::Path(about) => !path.has_items() && !about.names_many() && leads_to(about, path),
            _ => false,
        };
        let fits = self.is_plain()
            && self.ranges.len() <= 1
            && definition.case() == Case::Exact
            && order.iter().all(|key| key.nulls.is_none() && key.descending == first.descending)
            && rest.len() == order.len()
            && order.iter().zip(rest).all(is_of);
        if !fits {
            return None;
        }
        self.direction = if first.descending { Direction::Backward } else { Direction::Forward };
        Some(self)
    }
}
