//! Text with several statements in it: where each of them ends, and whether the last one does.
//!
//! ```text
//!   SELECT ';' -- one; two
//!     FROM c;   SELECT 1
//!           ▲            ▲
//!           ends here    has not ended
//! ```
//!
//! **What stays true.** A `;` in quotes or in a comment ends nothing, by the rules of the language: in double quotes a
//! backslash escapes, in single quotes and backticks the quote itself is written twice.

use super::inside::{Inside, Walk};

/// One statement of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece<'text> {
    /// The statement, without the `;` and the blanks around it.
    pub text: &'text str,
    /// The line that it begins on; the first one is 1.
    pub line: usize,
    /// Whether a `;` ends it.
    pub is_ended: bool,
}

/// The statements of a text; what holds only blanks and comments is none.
pub fn statements(text: &str) -> Vec<Piece<'_>> {
    scanned(text).0.finish()
}

/// What stands behind the last `;` of a text; none where the text ends in quotes or in a comment.
pub fn begun(text: &str) -> Option<&str> {
    let (cutter, inside) = scanned(text);
    (inside == Inside::Nothing).then(|| text.get(cutter.start..).unwrap_or_default())
}

fn scanned(text: &str) -> (Cutter<'_>, Inside) {
    let mut cutter = Cutter { text, pieces: Vec::new(), start: 0, start_line: 1, line: 1, has_words: false };
    let mut walk = Walk::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, character)) = rest.next() {
        let inside = walk.inside();
        walk.pass(character, rest.peek().map_or(' ', |(_, next)| *next));
        match (inside, walk.inside()) {
            (Inside::Nothing, Inside::Nothing) if character == ';' => cutter.cut(at, true),
            (Inside::Nothing, Inside::Nothing | Inside::Quotes(_)) if !character.is_whitespace() => {
                cutter.has_words = true;
            }
            _ => {}
        }
        if character == '\n' {
            cutter.line += 1;
        }
    }
    (cutter, walk.inside())
}

/// Whether nothing more has to be typed: all that was begun has ended.
pub fn is_complete(text: &str) -> bool {
    statements(text).last().is_none_or(|last| last.is_ended)
}

struct Cutter<'text> {
    text: &'text str,
    pieces: Vec<Piece<'text>>,
    start: usize,
    start_line: usize,
    line: usize,
    /// Whether there is more than blanks and comments since the start.
    has_words: bool,
}

impl<'text> Cutter<'text> {
    fn cut(&mut self, at: usize, is_ended: bool) {
        let whole = self.text.get(self.start..at).unwrap_or_default();
        let blank = whole.len() - whole.trim_start().len();
        let line = self.start_line + whole.get(..blank).unwrap_or_default().matches('\n').count();
        if self.has_words {
            self.pieces.push(Piece { text: whole.trim(), line, is_ended });
        }
        (self.start, self.start_line, self.has_words) = (at + 1, self.line, false);
    }

    fn finish(mut self) -> Vec<Piece<'text>> {
        self.cut(self.text.len(), false);
        self.pieces
    }
}

#[cfg(test)]
mod tests {
    use super::{begun, is_complete, statements};

    fn texts(text: &str) -> Vec<(&str, usize, bool)> {
        statements(text).into_iter().map(|piece| (piece.text, piece.line, piece.is_ended)).collect()
    }

    #[test]
    fn a_semicolon_ends_a_statement_unless_it_is_quoted_or_in_a_comment() {
        assert_eq!(texts("SELECT 1; SELECT 2 ;\n"), [("SELECT 1", 1, true), ("SELECT 2", 1, true)]);
        assert_eq!(texts("SELECT ';''', \";\\\";\", `;`"), [("SELECT ';''', \";\\\";\", `;`", 1, false)]);
        assert_eq!(texts("a -- ; '\n b; c /* ; \" */;"), [("a -- ; '\n b", 1, true), ("c /* ; \" */", 2, true)]);
        assert_eq!(texts("a /*/ ; */ b;"), [("a /*/ ; */ b", 1, true)]);
        assert_eq!(texts("'C:\\'; b"), [("'C:\\'", 1, true), ("b", 1, false)]);
    }

    #[test]
    fn blanks_and_comments_are_no_statement() {
        assert_eq!(texts(" ;; \n -- nothing; \n /* nothing */ ;"), []);
        assert_eq!(texts("\n\n SELECT 1"), [("SELECT 1", 3, false)]);
        assert_eq!(texts("a;\n-- about b\nb\n"), [("a", 1, true), ("-- about b\nb", 2, false)]);
    }

    #[test]
    fn what_was_begun_is_known_unless_it_is_quoted() {
        assert_eq!(begun("SELECT ';'; SELECT a"), Some(" SELECT a"));
        assert_eq!([begun("SELECT 'a"), begun("SELECT 1 -- a"), begun("SELECT `a")], [None; 3]);
    }

    #[test]
    fn what_has_not_ended_is_not_complete() {
        for text in ["", "  ", "-- x", "SELECT 1;", "SELECT 1; -- done", "a; b;"] {
            assert!(is_complete(text), "{text}");
        }
        for text in ["SELECT 1", "SELECT ';", "SELECT 1 -- ;", "a; b", "SELECT \"\\\";"] {
            assert!(!is_complete(text), "{text}");
        }
    }
}
