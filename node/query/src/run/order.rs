//! The order of rows: bytes that sort as the rows do, and the rows that are kept until all have been seen.
//!
//! ```text
//!   key of a row = for each key of ORDER BY: [where missing and null go] · encoded value, inverted for DESC
//!                  · what tells rows apart that are equal in that: ids, or the group, or the distinct values
//! ```
//!
//! **What stays true.** No two rows have the same key, so the order of a query's rows is always the same, and a cursor
//! that holds a key names a place between rows, whatever is written meanwhile.

use std::collections::BTreeMap;

use holdfast_core::collation::Kind;

use crate::budget::Budget;
use crate::failure::Failure;
use crate::language::statement::Nulls;
use crate::run::row::{Readers, Row, Term};
use crate::value::Compute;

/// One key of `ORDER BY`.
#[derive(Debug)]
pub(crate) struct SortTerm {
    pub(crate) term: Term,
    pub(crate) descending: bool,
    pub(crate) nulls: Option<Nulls>,
}

/// Missing and null before everything else, everything else, missing and null after it.
const FIRST: u8 = 0;
const MIDDLE: u8 = 1;
const LAST: u8 = 2;

impl SortTerm {
    /// Appends this part of a row's key.
    pub(crate) fn encode(
        &self,
        row: &Row,
        readers: &Readers,
        compute: &Compute<'_>,
        key: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let start = key.len();
        if self.nulls.is_some() {
            key.push(MIDDLE);
        }
        let value_start = key.len();
        self.term.encode(row, readers, compute, key)?;
        let value = key.get(value_start..).unwrap_or_default();
        let is_null = matches!(Kind::of_encoded(value), Some(Kind::Missing | Kind::Null));
        if self.descending {
            invert(key, value_start);
        }
        if is_null && let (Some(nulls), Some(place)) = (self.nulls, key.get_mut(start)) {
            *place = if nulls == Nulls::First { FIRST } else { LAST };
        }
        Ok(())
    }
}

/// Turns the order of what stands from `start` on round. No encoding is the beginning of another, so this is exact.
pub(crate) fn invert(key: &mut [u8], start: usize) {
    for byte in key.iter_mut().skip(start) {
        *byte = !*byte;
    }
}

/// Rows in their order, at most so many: when there are more, the last ones go.
#[derive(Debug)]
pub(crate) struct Sorter {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    rows_max: Option<u64>,
}

/// What a row in a tree takes beside its own bytes, roughly.
const ROW_BYTES: usize = 64;

impl Sorter {
    pub(crate) fn new(rows_max: Option<u64>) -> Self {
        Self { rows: BTreeMap::new(), rows_max }
    }

    /// Whether a row with this key would stay.
    pub(crate) fn wants(&self, key: &[u8]) -> bool {
        let Some(rows_max) = self.rows_max else { return true };
        if (self.rows.len() as u64) < rows_max {
            return true;
        }
        self.rows.last_key_value().is_some_and(|(last, _)| key < last.as_slice())
    }

    /// Puts a row where it belongs.
    pub(crate) fn put(&mut self, key: Vec<u8>, row: Vec<u8>, budget: &mut Budget<'_>) -> Result<(), Failure> {
        // An equal row is there: of distinct rows the first one stays.
        if self.rows.contains_key(&key) {
            return Ok(());
        }
        budget.hold(key.len() + row.len() + ROW_BYTES)?;
        self.rows.insert(key, row);
        if self.rows_max.is_some_and(|rows_max| self.rows.len() as u64 > rows_max)
            && let Some((key, row)) = self.rows.pop_last()
        {
            budget.release(key.len() + row.len() + ROW_BYTES);
        }
        Ok(())
    }

    /// The rows in their order.
    pub(crate) fn into_rows(self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.rows.into_iter()
    }
}
