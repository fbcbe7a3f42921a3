//! How old a question may be at most, so that what it tells can be counted from.
//!
//! ```text
//!   asker                                answerer
//!     │ ────────── question ─────────────► │
//!     │ ◄──── answer, with a word ──────── │  notes when the word was given
//!     │ ── next question, with the word ─► │  it was written after that
//! ```
//!
//! An answer is no older than its question. A question that comes by itself may have been on its way for ever; one that
//! brings the word of an answer was made after that answer. Clocks of different machines are never compared.
//!
//! Must stay true: the age that is given is never less than the truth. A word of another life is unknown.

use std::collections::{BTreeMap, VecDeque};

use crate::id::NodeName;
use crate::limits::VECTOR_ORIGINS_MAX;
use crate::time::Millis;

/// Words that are remembered of those that one asker was given: some answers are lost.
const WORDS_MAX: usize = 4;

/// The words that were given with answers.
#[derive(Debug, Clone, Default)]
pub struct Echoes {
    given: BTreeMap<NodeName, VecDeque<(Millis, Millis)>>,
}

impl Echoes {
    /// Notes that an asker is answered with a word: what our wall clock shows, which is sent anyway.
    pub fn answer(&mut self, now: Millis, asker: &NodeName, word: Millis) {
        if self.given.len() >= VECTOR_ORIGINS_MAX && !self.given.contains_key(asker) {
            return;
        }
        let given = self.given.entry(asker.clone()).or_default();
        // Of two answers with one word the first counts.
        if given.iter().any(|(known, _)| *known == word) {
            return;
        }
        given.push_back((word, now));
        if given.len() > WORDS_MAX {
            given.pop_front();
        }
    }

    /// How old a question with this word may be at most; `None` when the word was not given to its asker.
    pub fn age(&self, now: Millis, asker: &NodeName, word: Millis) -> Option<Millis> {
        let (_, at) = self.given.get(asker)?.iter().find(|(known, _)| *known == word)?;
        Some(now.since(*at))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_question_is_as_old_as_the_answer_whose_word_it_brings() {
        let (asker, other) = (NodeName::parse("a").unwrap(), NodeName::parse("b").unwrap());
        let mut echoes = Echoes::default();
        echoes.answer(Millis(100), &asker, Millis(7));
        echoes.answer(Millis(150), &asker, Millis(7));
        assert_eq!(echoes.age(Millis(180), &asker, Millis(7)), Some(Millis(80)), "never less than the truth");
        assert_eq!(echoes.age(Millis(180), &asker, Millis(8)), None);
        assert_eq!(echoes.age(Millis(180), &other, Millis(7)), None, "given to another");
        for word in 8..12 {
            echoes.answer(Millis(200), &asker, Millis(word));
        }
        assert_eq!(echoes.age(Millis(200), &asker, Millis(7)), None, "only a few are remembered");
    }
}
