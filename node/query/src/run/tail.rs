//! The last part of a query: rows that passed everything are put in order, counted off and answered.
//!
//! ```text
//!   in the order of the access    each row at once; ends when there are enough
//!   otherwise                     rows are kept in order, no more of them than can be answered, and answered at the end
//! ```

use std::ops::ControlFlow;

use holdfast_core::collation::{Case, encode_missing, encode_string};

use crate::budget::Budget;
use crate::failure::Failure;
use crate::run::cursor::{PLACE_BYTES_MAX, Place};
use crate::run::order::{SortTerm, Sorter, invert};
use crate::run::output::Output;
use crate::run::row::{Readers, Row};
use crate::value::Compute;

/// Where answered rows go: JSON text, one object each.
pub type Sink<'sink> = dyn FnMut(&[u8]) -> Result<(), Failure> + 'sink;

/// What becomes of rows.
pub(crate) struct Tail<'sink> {
    pub(crate) output: Output,
    pub(crate) order: Vec<SortTerm>,
    pub(crate) distinct: bool,
    pub(crate) sink: &'sink mut Sink<'sink>,
    pub(crate) window: Window,
    /// `None` when rows come in order.
    pub(crate) sorter: Option<Sorter>,
    /// The first source's document that rows are of now, and how many of its rows were passed.
    current: (Vec<u8>, u64),
    text: Vec<u8>,
}

/// Which rows are answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Window {
    /// Rows that are still to be left out.
    pub(crate) skip: u64,
    /// Rows that may still be answered.
    pub(crate) left: u64,
    /// Whether rows after that are asked for by the statement, so that a cursor leads to them.
    pub(crate) may_go_on: bool,
    /// Where the answer goes on from.
    pub(crate) after: Option<Place>,
    /// Whether places are told by counting rows, for their order has no key.
    pub(crate) is_counted: bool,
    /// Rows that were passed, those left out included.
    pub(crate) passed: u64,
    /// Rows that were answered.
    pub(crate) answered: u64,
    /// Where the last answered row was.
    pub(crate) last: Option<Place>,
    /// Whether there was a row that did not fit.
    pub(crate) has_more: bool,
}

impl<'sink> Tail<'sink> {
    pub(crate) fn new(
        output: Output,
        order: Vec<SortTerm>,
        distinct: bool,
        is_in_order: bool,
        window: Window,
        sink: &'sink mut Sink<'sink>,
    ) -> Self {
        let kept = window.skip.saturating_add(window.left).saturating_add(1);
        let sorter = (!is_in_order).then(|| Sorter::new(Some(kept)));
        Self { output, order, distinct, sink, window, sorter, current: (Vec::new(), 0), text: Vec::new() }
    }

    /// Takes a row. `group` is the key of the group that it is of.
    pub(crate) fn take(
        &mut self,
        row: &Row,
        group: Option<&[u8]>,
        readers: &Readers,
        compute: &Compute<'_>,
        budget: &mut Budget<'_>,
    ) -> Result<ControlFlow<()>, Failure> {
        if self.sorter.is_some() {
            return self.keep(row, group, readers, compute, budget);
        }
        if !self.is_due(row)? {
            return Ok(ControlFlow::Continue(()));
        }
        if self.window.left == 0 {
            self.window.has_more = true;
            return Ok(ControlFlow::Break(()));
        }
        self.text.clear();
        self.output.write(row, readers, compute, &mut self.text)?;
        budget.answer(self.text.len())?;
        (self.sink)(&self.text)?;
        self.window.left -= 1;
        self.window.answered += 1;
        let (id, rows) = (&self.current.0, self.current.1);
        match &mut self.window.last {
            last if self.window.is_counted || id.is_empty() => *last = Some(Place::Offset(self.window.passed)),
            // Most rows are not the last one: what the one before took is taken again.
            Some(Place::Id(last_id, last_rows)) => {
                last_id.clone_from(id);
                *last_rows = rows;
            }
            last => *last = Some(Place::Id(id.clone(), rows)),
        }
        // Whether there is another row is of no interest if nobody may ask for it.
        let is_done = self.window.left == 0 && !self.window.may_go_on;
        Ok(if is_done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// Whether a row that comes in order is among those that are answered, or after them.
    fn is_due(&mut self, row: &Row) -> Result<bool, Failure> {
        let id = match row.first().and_then(Option::as_ref) {
            Some(loaded) => loaded.body.id()?.as_bytes(),
            None => &[],
        };
        if self.current.0 != id || id.is_empty() {
            self.current.0.clear();
            self.current.0.extend_from_slice(id);
            self.current.1 = 0;
        }
        self.current.1 += 1;
        if let Some(Place::Id(after, rows)) = &self.window.after
            && after == id
            && self.current.1 <= *rows
        {
            return Ok(false);
        }
        self.window.passed += 1;
        if self.window.skip > 0 {
            self.window.skip -= 1;
            return Ok(false);
        }
        Ok(true)
    }

    fn keep(
        &mut self,
        row: &Row,
        group: Option<&[u8]>,
        readers: &Readers,
        compute: &Compute<'_>,
        budget: &mut Budget<'_>,
    ) -> Result<ControlFlow<()>, Failure> {
        let mut key = Vec::new();
        for term in &self.order {
            term.encode(row, readers, compute, &mut key)?;
        }
        let start = key.len();
        match group {
            // Equal rows have equal keys, for they are ordered by what they show: one stays.
            _ if self.distinct => self.output.encode(row, readers, compute, &mut key)?,
            Some(group) => key.extend_from_slice(group),
            None => encode_ids(row, &mut key)?,
        }
        if is_backward(&self.order) {
            invert(&mut key, start);
        }
        if let Some(Place::Key(after)) = &self.window.after
            && key <= *after
        {
            return Ok(ControlFlow::Continue(()));
        }
        let Some(sorter) = &mut self.sorter else { return Ok(ControlFlow::Continue(())) };
        if sorter.wants(&key) {
            let mut text = Vec::new();
            self.output.write(row, readers, compute, &mut text)?;
            sorter.put(key, text, budget)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Answers the rows that were kept.
    pub(crate) fn finish(&mut self, budget: &mut Budget<'_>) -> Result<(), Failure> {
        let Some(sorter) = self.sorter.take() else { return Ok(()) };
        for (key, text) in sorter.into_rows() {
            self.window.passed += 1;
            if self.window.skip > 0 {
                self.window.skip -= 1;
                continue;
            }
            if self.window.left == 0 {
                self.window.has_more = true;
                break;
            }
            budget.answer(text.len())?;
            (self.sink)(&text)?;
            self.window.left -= 1;
            self.window.answered += 1;
            let is_short = key.len() <= PLACE_BYTES_MAX;
            self.window.last = Some(if is_short { Place::Key(key) } else { Place::Offset(self.window.passed) });
        }
        Ok(())
    }
}

/// Whether rows that are equal in all else come by falling ids, as they do on the way back through an index.
pub(crate) fn is_backward(order: &[SortTerm]) -> bool {
    !order.is_empty() && order.iter().all(|key| key.descending)
}

/// What tells rows apart that are equal in all else.
fn encode_ids(row: &Row, key: &mut Vec<u8>) -> Result<(), Failure> {
    for loaded in row {
        match loaded {
            Some(loaded) => encode_string(loaded.body.id()?, Case::Exact, key),
            None => encode_missing(key),
        }
    }
    Ok(())
}
