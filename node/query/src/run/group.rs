//! Grouping: rows that have their keys in common become one, with what is computed of them.
//!
//! **What stays true.** Groups come out in the order of their keys, whatever the order of the rows. Values that are
//! equal are of one group, however they are written: 1 and 1.0; the group shows the one of its first row. Missing goes
//! with null. Sums are exact.
//!
//! **What it does not do.** A sum passes over what is no number, as it passes over null: one document that holds a text
//! where others hold numbers does not spoil the answer of all.

use std::collections::{HashMap, HashSet};

use holdfast_core::collation::{Case, encode_text};
use serde_json::Value;

use crate::budget::Budget;
use crate::failure::Failure;
use crate::language::expression::{Aggregate, Expression};
use crate::plan::groups::{aggregate_field, key_field};
use crate::plan::{AggregateCall, Grouping};
use crate::run::row::{Readers, Row, Term, write_value};
use crate::value::Compute;
use crate::value::decimal::{Decimal, OutOfRange};
use crate::value::sum::Sum;

/// Groups as they grow.
#[derive(Debug)]
pub(crate) struct Groups {
    keys: Vec<Term>,
    calls: Vec<Call>,
    found: HashMap<Box<[u8]>, Group>,
    /// Where a row's key is put together.
    key: Vec<u8>,
}

/// An aggregate to compute.
#[derive(Debug)]
struct Call {
    aggregate: Aggregate,
    argument: Option<Term>,
    distinct: bool,
}

/// The key of a group, and its document as JSON text.
pub(crate) type GroupDocument = (Box<[u8]>, Vec<u8>);

#[derive(Debug)]
struct Group {
    /// The keys' fields as JSON text, comma behind each.
    shown: Vec<u8>,
    results: Vec<Accumulator>,
}

/// An aggregate on its way.
#[derive(Debug)]
struct Accumulator {
    count: u64,
    sum: Sum,
    /// The least or greatest value so far: encoded, and as it is written.
    extreme: Option<(Vec<u8>, Vec<u8>)>,
    seen: HashSet<Box<[u8]>>,
}

/// What a group and an aggregate take beside their own bytes, roughly.
const GROUP_BYTES: usize = 160;
const SEEN_BYTES: usize = 48;

impl Groups {
    pub(crate) fn new(grouping: &Grouping, readers: &mut Readers, optimises: bool) -> Self {
        let mut term = |expression: &Expression| Term::of(expression, readers, optimises);
        let keys = grouping.keys.iter().map(&mut term).collect();
        let calls = grouping.aggregates.iter().map(|call| Call::new(call, &mut term)).collect();
        let mut groups = Self { keys, calls, found: HashMap::new(), key: Vec::new() };
        if groups.keys.is_empty() {
            // All rows are one group, even if there are none.
            let results = groups.empty_results();
            groups.found.insert(Box::default(), Group { shown: Vec::new(), results });
        }
        groups
    }

    fn empty_results(&self) -> Vec<Accumulator> {
        self.calls.iter().map(|_| Accumulator::new()).collect()
    }

    /// Adds a row to its group.
    pub(crate) fn add(
        &mut self,
        row: &Row,
        readers: &Readers,
        compute: &Compute<'_>,
        budget: &mut Budget<'_>,
    ) -> Result<(), Failure> {
        self.key.clear();
        for term in &self.keys {
            term.encode_shown(row, readers, compute, &mut self.key)?;
        }
        if !self.found.contains_key(self.key.as_slice()) {
            let mut shown = Vec::new();
            for (number, term) in self.keys.iter().enumerate() {
                write_name(&key_field(number), &mut shown);
                if !term.write(row, readers, compute, &mut shown)? {
                    shown.extend_from_slice(b"null");
                }
                shown.push(b',');
            }
            let results = self.empty_results();
            let bytes = self.key.len() + shown.len() + GROUP_BYTES + results.len() * size_of::<Accumulator>();
            budget.hold(bytes)?;
            self.found.insert(self.key.as_slice().into(), Group { shown, results });
        }
        let Some(group) = self.found.get_mut(self.key.as_slice()) else { return Ok(()) };
        for (call, result) in self.calls.iter().zip(&mut group.results) {
            call.add(row, readers, compute, result, budget)?;
        }
        Ok(())
    }

    /// A number of rows that were counted elsewhere: the result of `COUNT(*)` without keys.
    pub(crate) fn add_counted(&mut self, rows: u64) {
        for group in self.found.values_mut() {
            for result in &mut group.results {
                result.count += rows;
            }
        }
    }

    /// The groups in the order of their keys: key, and the document of the group.
    pub(crate) fn into_documents(self) -> Result<Vec<GroupDocument>, Failure> {
        let mut groups: Vec<(Box<[u8]>, Group)> = self.found.into_iter().collect();
        groups.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        let calls = self.calls;
        let document = |(key, group): (Box<[u8]>, Group)| {
            let mut text = vec![b'{'];
            text.extend_from_slice(&group.shown);
            for (number, (call, result)) in calls.iter().zip(group.results).enumerate() {
                write_name(&aggregate_field(number), &mut text);
                result.write(call.aggregate, &mut text)?;
                text.push(b',');
            }
            if text.last() == Some(&b',') {
                text.pop();
            }
            text.push(b'}');
            Ok((key, text))
        };
        groups.into_iter().map(document).collect()
    }
}

fn write_name(name: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

impl Call {
    fn new(call: &AggregateCall, term: &mut dyn FnMut(&Expression) -> Term) -> Self {
        Self { aggregate: call.aggregate, argument: call.argument.as_ref().map(term), distinct: call.distinct }
    }

    fn add(
        &self,
        row: &Row,
        readers: &Readers,
        compute: &Compute<'_>,
        result: &mut Accumulator,
        budget: &mut Budget<'_>,
    ) -> Result<(), Failure> {
        let Some(argument) = &self.argument else {
            result.count += 1;
            return Ok(());
        };
        let mut made = Vec::new();
        let text = match argument.text(row) {
            Some(text) => text,
            None if matches!(argument, Term::Slot(..)) => return Ok(()),
            None => {
                if !argument.write(row, readers, compute, &mut made)? {
                    return Ok(());
                }
                made.as_slice()
            }
        };
        self.add_value(text, result, budget)
    }

    /// Adds one value, as JSON text.
    fn add_value(&self, text: &[u8], result: &mut Accumulator, budget: &mut Budget<'_>) -> Result<(), Failure> {
        if text == b"null" {
            return Ok(());
        }
        let needs_encoding = self.distinct || matches!(self.aggregate, Aggregate::Min | Aggregate::Max);
        let encoded = if needs_encoding { encoded(text) } else { Vec::new() };
        if self.distinct && !result.see(&encoded, budget)? {
            return Ok(());
        }
        match self.aggregate {
            Aggregate::Count => result.count += 1,
            Aggregate::Sum | Aggregate::Avg => {
                let is_number = matches!(text.first(), Some(b'-' | b'0'..=b'9'));
                if is_number && std::str::from_utf8(text).is_ok_and(|text| result.sum.add_text(text)) {
                    result.count += 1;
                }
            }
            Aggregate::Min => result.keep_if(encoded, text, |new, old| new < old, budget)?,
            Aggregate::Max => result.keep_if(encoded, text, |new, old| new > old, budget)?,
        }
        Ok(())
    }
}

fn encoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 2);
    encode_text(text, Case::Exact, &mut bytes);
    bytes
}

impl Accumulator {
    fn new() -> Self {
        Self { count: 0, sum: Sum::default(), extreme: None, seen: HashSet::new() }
    }

    /// Whether a value is met for the first time.
    fn see(&mut self, encoded: &[u8], budget: &mut Budget<'_>) -> Result<bool, Failure> {
        if self.seen.contains(encoded) {
            return Ok(false);
        }
        budget.hold(encoded.len() + SEEN_BYTES)?;
        Ok(self.seen.insert(encoded.into()))
    }

    fn keep_if(
        &mut self,
        encoded: Vec<u8>,
        text: &[u8],
        is_better: impl Fn(&[u8], &[u8]) -> bool,
        budget: &mut Budget<'_>,
    ) -> Result<(), Failure> {
        let held = self.extreme.as_ref().map_or(0, |(encoded, text)| encoded.len() + text.len());
        if self.extreme.as_ref().is_none_or(|(old, _)| is_better(&encoded, old)) {
            budget.release(held);
            budget.hold(encoded.len() + text.len())?;
            self.extreme = Some((encoded, text.to_vec()));
        }
        Ok(())
    }

    /// Appends the result's JSON text.
    fn write(self, aggregate: Aggregate, out: &mut Vec<u8>) -> Result<(), Failure> {
        let value = match aggregate {
            Aggregate::Count => Value::from(self.count),
            Aggregate::Sum if self.count == 0 => Value::Null,
            Aggregate::Avg if self.count == 0 => Value::Null,
            Aggregate::Sum => self.sum.total().map_err(too_large)?.to_value(),
            Aggregate::Avg => {
                let count = Decimal::whole(i64::try_from(self.count).unwrap_or(i64::MAX));
                let average = self.sum.total().and_then(|sum| sum.divided_by(count));
                average.map_err(too_large)?.to_value()
            }
            Aggregate::Min | Aggregate::Max => {
                out.extend_from_slice(self.extreme.as_ref().map_or(b"null", |(_, text)| text));
                return Ok(());
            }
        };
        write_value(&value, out);
        Ok(())
    }
}

fn too_large(_: OutOfRange) -> Failure {
    Failure::refused("number-out-of-range", "A sum is larger than numbers go", "Sum fewer rows, or smaller numbers.")
}
