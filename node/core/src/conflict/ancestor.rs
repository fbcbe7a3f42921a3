//! The common ancestor of a conflict's sides: the document as all of their writers had seen it.
//!
//! It is found by going back through the document's history: first the sides themselves, then the newest whole
//! version that all of them had seen. Logs are causally ordered, so whatever all sides saw lies behind all sides.

use crate::document::DocumentState;
use crate::id::OperationId;
use crate::json::JsonText;
use crate::operation::Operation;
use crate::vector::{Dot, Vector};

/// What the sides of a conflict started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ancestor {
    /// Nothing had been written: each side created the document.
    Nothing,
    /// A version; `None` inside when it was deleted then.
    Found {
        /// The version's operation.
        id: OperationId,
        /// The document, without the increments that stand beside it.
        body: Option<JsonText>,
    },
    /// The log no longer reaches back so far.
    Gone,
}

/// The way back through a document's history.
#[derive(Debug, Clone)]
pub struct Search {
    missing: Vec<Dot>,
    seen_by_all: Option<Vector>,
    /// What all sides saw, newest first.
    shared: Vec<Operation>,
    /// What they stand upon.
    state: DocumentState,
}

impl Search {
    /// Starts from the sides.
    pub fn new(missing: Vec<Dot>) -> Self {
        Self { missing, seen_by_all: None, shared: Vec::new(), state: DocumentState::default() }
    }

    /// Takes the next older operation on the document. Answers whether the search goes on.
    pub fn step(&mut self, operation: Operation) -> bool {
        if let Some(place) = self.missing.iter().position(|dot| *dot == operation.dot) {
            self.missing.swap_remove(place);
            self.seen_by_all = Some(match &self.seen_by_all {
                None => operation.context,
                Some(seen) => seen.meet(&operation.context),
            });
            return true;
        }
        let is_shared =
            self.missing.is_empty() && self.seen_by_all.as_ref().is_some_and(|seen| seen.covers(&operation.dot));
        if !is_shared {
            return true;
        }
        // Versions beside the newest one count too, for they may rank higher; below one that it covers nothing does.
        let newest = self.shared.iter().find(|newer| newer.kind.is_whole());
        if newest.is_some_and(|newer| operation.kind.is_whole() && newer.context.covers(&operation.dot)) {
            return false;
        }
        self.shared.push(operation);
        true
    }

    /// Takes a document's whole state that stands in for operations before it. Answers whether the search goes on.
    pub fn step_state(&mut self, state: &DocumentState) -> bool {
        let Some(seen) = self.seen_by_all.as_ref().filter(|_| self.missing.is_empty()) else { return true };
        let is_shared = state.versions.iter().all(|version| seen.covers(&version.dot));
        let has_newer = self.shared.iter().any(|operation| operation.kind.is_whole());
        if !is_shared || has_newer || state.versions.is_empty() {
            return true;
        }
        self.state = state.clone();
        false
    }

    /// What was found. `is_all` says that the history was read to its beginning.
    pub fn end(self, is_all: bool) -> Ancestor {
        if !self.missing.is_empty() {
            return Ancestor::Gone;
        }
        let mut state = self.state;
        for operation in self.shared.iter().rev() {
            state.apply(operation);
        }
        match state.versions.into_iter().next() {
            Some(version) => Ancestor::Found { id: version.id, body: version.body },
            None if is_all => Ancestor::Nothing,
            None => Ancestor::Gone,
        }
    }
}
