//! What each character of a text stands in: nothing, quotes or a comment.
//!
//! **What stays true.** In double quotes a backslash escapes, as in JSON. In single quotes and backticks the quote itself is
//! written twice, which comes to the same as ending and beginning again. `/*/` opens a comment and does not end it.

/// What a character stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inside {
    /// Nothing: it is part of a statement.
    Nothing,
    /// Text or a name in these quotes.
    Quotes(char),
    /// A comment to the end of the line.
    Line,
    /// A comment to `*/`.
    Block,
}

/// Walks along a text.
#[derive(Debug)]
pub(super) struct Walk {
    inside: Inside,
    is_escaped: bool,
    before: char,
    /// Characters since a comment was opened.
    since_opened: usize,
}

impl Walk {
    pub(super) fn new() -> Self {
        Self { inside: Inside::Nothing, is_escaped: false, before: ' ', since_opened: 0 }
    }

    /// What the next character stands in.
    pub(super) fn inside(&self) -> Inside {
        self.inside
    }

    /// The character that was passed last; a blank before the first one.
    pub(super) fn before(&self) -> char {
        self.before
    }

    /// Passes a character, behind which `next` stands. A mark that opens something stands in what was before it, one that
    /// ends something in what it ends.
    pub(super) fn pass(&mut self, character: char, next: char) {
        self.since_opened += 1;
        self.inside = match self.inside {
            Inside::Nothing => {
                self.since_opened = 0;
                match (character, next) {
                    ('\'' | '"' | '`', _) => Inside::Quotes(character),
                    ('-', '-') => Inside::Line,
                    ('/', '*') => Inside::Block,
                    _ => Inside::Nothing,
                }
            }
            Inside::Quotes('"') if self.is_escaped => {
                self.is_escaped = false;
                self.inside
            }
            Inside::Quotes(quote) if character == quote => Inside::Nothing,
            Inside::Quotes('"') => {
                self.is_escaped = character == '\\';
                self.inside
            }
            Inside::Line if character == '\n' => Inside::Nothing,
            Inside::Block if self.before == '*' && character == '/' && self.since_opened > 2 => Inside::Nothing,
            unchanged => unchanged,
        };
        self.before = character;
    }
}
