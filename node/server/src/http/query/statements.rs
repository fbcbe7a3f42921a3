//! Statements that were read lately, so that one that comes again is not read again.
//!
//! Callers that send values as parameters send few texts many times.
//!
//! **What stays true.** What is kept is bounded: short texts, and no more of them than two generations hold. A statement is
//! the same whether it was read or known; no value of a request is kept.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_query::failure::Failure;
use holdfast_query::query::Prepared;

/// Statements of one generation.
const GENERATION_MAX: usize = 256;
/// Longest text that is kept, in bytes.
const TEXT_BYTES_MAX: usize = 1_024;

type Generation = HashMap<Box<str>, Arc<Prepared>>;

/// The statements that were read lately. One per node.
#[derive(Debug, Default)]
pub struct Statements(Mutex<(Generation, Generation)>);

impl Statements {
    /// Reads a statement, or knows it.
    pub fn prepare(&self, text: &str) -> Result<Arc<Prepared>, Failure> {
        if text.len() > TEXT_BYTES_MAX {
            return Prepared::read(text).map(Arc::new);
        }
        if let Some(known) = self.known(text) {
            return Ok(known);
        }
        let read = Arc::new(Prepared::read(text)?);
        self.keep(text, &read);
        Ok(read)
    }

    fn known(&self, text: &str) -> Option<Arc<Prepared>> {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = generations.0.get(text) {
            return Some(Arc::clone(known));
        }
        let (text, known) = generations.1.remove_entry(text)?;
        generations.0.insert(text, Arc::clone(&known));
        Some(known)
    }

    fn keep(&self, text: &str, read: &Arc<Prepared>) {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.0.len() >= GENERATION_MAX {
            // What nobody has asked for since the last change goes.
            generations.1 = mem::take(&mut generations.0);
        }
        generations.0.insert(text.into(), Arc::clone(read));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_text_that_comes_again_is_known_and_no_more_are_kept_than_may_be() {
        let statements = Statements::default();
        let often = statements.prepare("SELECT 1").unwrap();
        for number in 0..10 * GENERATION_MAX {
            statements.prepare(&format!("SELECT {number} AS n")).unwrap();
            assert!(Arc::ptr_eq(&often, &statements.prepare("SELECT 1").unwrap()));
        }
        let generations = statements.0.lock().unwrap();
        assert!(generations.0.len() <= GENERATION_MAX + 1 && generations.1.len() <= GENERATION_MAX + 1);
    }

    #[test]
    fn long_texts_and_wrong_ones_are_not_kept() {
        let statements = Statements::default();
        statements.prepare(&format!("SELECT '{}'", "x".repeat(TEXT_BYTES_MAX))).unwrap();
        assert!(statements.prepare("SELEC 1").is_err());
        assert!(statements.0.lock().unwrap().0.is_empty());
    }
}
