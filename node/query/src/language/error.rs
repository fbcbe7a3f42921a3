//! What is wrong with a statement: in words that say what to write instead, and with a finger on the place.
//!
//! ```text
//!   Expected the end of the statement, found 'FORM' at line 1 column 10. Did you mean FROM?
//!   SELECT * FORM orders
//!            ^
//! ```
//!
//! **What stays true.** A code keeps its meaning for ever. No value of a document stands in a message.

use std::fmt;

use super::expression::Position;

/// Characters of a line that are shown on either side of the place.
const EXCERPT_SIDE_CHARS: usize = 60;

/// Why a statement is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryError {
    /// What is wrong, for programs: `query-syntax`, `unknown-function` and so on.
    pub code: &'static str,
    /// Whether the text could not be read at all; otherwise it could, and makes no sense.
    pub is_syntax: bool,
    /// What is wrong, for people, as a sentence.
    pub message: String,
    /// Where in the text.
    pub position: Option<Position>,
    /// What to do, as a sentence.
    pub suggestion: Option<String>,
    /// The line with a caret under the place.
    pub excerpt: Option<String>,
}

impl QueryError {
    /// Text that cannot be read as a statement.
    pub fn syntax(message: impl Into<String>, position: Position) -> Self {
        Self { is_syntax: true, ..Self::meaning("query-syntax", message, position) }
    }

    /// A statement that can be read and makes no sense.
    pub fn meaning(code: &'static str, message: impl Into<String>, position: Position) -> Self {
        // What was not read from text has no place in it.
        let position = (position.line > 0).then_some(position);
        Self { code, is_syntax: false, message: message.into(), position, suggestion: None, excerpt: None }
    }

    /// Text that cannot be taken, by another code than the general one.
    #[must_use]
    pub fn with_code(self, code: &'static str) -> Self {
        Self { code, ..self }
    }

    /// Says what to do.
    #[must_use]
    pub fn suggesting(self, suggestion: impl Into<String>) -> Self {
        Self { suggestion: Some(suggestion.into()), ..self }
    }

    /// Shows the place in the text that the statement was read from.
    #[must_use]
    pub fn shown_in(self, text: &str) -> Self {
        let excerpt = self.position.and_then(|position| excerpt(text, position));
        Self { excerpt, ..self }
    }
}

/// One line, for an answer in which the excerpt has a place of its own.
impl fmt::Display for QueryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.message.trim_end_matches('.'))?;
        if let Some(position) = self.position {
            write!(out, ", at {position}")?;
        }
        out.write_str(".")?;
        match &self.suggestion {
            Some(suggestion) => write!(out, " {suggestion}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for QueryError {}

fn excerpt(text: &str, position: Position) -> Option<String> {
    let line = text.split('\n').nth(usize::try_from(position.line).ok()?.checked_sub(1)?)?.trim_end_matches('\r');
    let at = usize::try_from(position.column).ok()?.checked_sub(1)?;
    let skipped = at.saturating_sub(EXCERPT_SIDE_CHARS);
    let shown: String = line.chars().skip(skipped).take(2 * EXCERPT_SIDE_CHARS).collect();
    // A tab stays a tab, so that the caret stands below its character however wide tabs are.
    let pad = shown.chars().chain(std::iter::repeat(' ')).take(at - skipped);
    let pad: String = pad.map(|character| if character == '\t' { '\t' } else { ' ' }).collect();
    Some(format!("{shown}\n{pad}^"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_place_in_the_line() {
        let error = QueryError::syntax("Expected FROM.", Position { line: 2, column: 3 }).suggesting("Write FROM.");
        let error = error.shown_in("SELECT *\r\n\tßFORM c\r\n");
        assert_eq!(error.to_string(), "Expected FROM, at line 2 column 3. Write FROM.");
        assert_eq!(error.excerpt.as_deref(), Some("\tßFORM c\n\t ^"));
    }

    #[test]
    fn of_a_long_line_the_part_around_the_place_is_shown() {
        let text = format!("{}!{}", "a".repeat(500), "b".repeat(500));
        let error = QueryError::syntax("x", Position { line: 1, column: 501 }).shown_in(&text);
        assert_eq!(error.excerpt, Some(format!("{}!{}\n{}^", "a".repeat(60), "b".repeat(59), " ".repeat(60))));
    }
}
