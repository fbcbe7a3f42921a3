//! From text to tokens, each with its place. sqlparser's tokenizer does the cutting, by a dialect of our own.
//!
//! ```text
//!   text ──mask──► text of the same shape ──sqlparser──► where tokens begin ──► tokens, made of the first text
//! ```
//!
//! Text in double quotes is JSON, as in every document: `"say \"hi\""`. In single quotes it is SQL's: a backslash is
//! a backslash, and `''` a quote. sqlparser knows one rule for both, so what stands in double quotes is masked before it
//! looks. The mask has a character for each character of the text; hence places stay right.
//!
//! **What stays true.** Text is bounded before it is looked at, and tokens before they are made.

use std::fmt;

use holdfast_core::limits::{NUMBER_BYTES_MAX, QUERY_BYTES_MAX, QUERY_TOKENS_MAX};
use sqlparser::dialect::Dialect;
use sqlparser::tokenizer::{Token as Cut, TokenWithSpan, Tokenizer};

use super::error::QueryError;
use super::expression::Position;
use super::inside::{Inside, Walk};
use super::word::{begins_name, continues_name};

/// What a statement is made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A bare word: part of the language, or a name.
    Word(String),
    /// A name in backticks.
    Name(String),
    /// Text in quotes, without them.
    Text {
        /// What stands between them, its escapes resolved.
        text: String,
        /// Whether they are double ones.
        is_double: bool,
    },
    /// A number, as JSON writes it.
    Number(String),
    /// `$`, or `$name`.
    Dollar(String),
    /// Anything else.
    Symbol(&'static str),
    /// After all others.
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) | Self::Number(text) => write!(out, "'{}'", shortened(text)),
            Self::Name(text) => write!(out, "`{}`", shortened(text)),
            Self::Text { text, is_double: true } => write!(out, "\"{}\"", shortened(text)),
            Self::Text { text, is_double: false } => write!(out, "the text '{}'", shortened(text)),
            Self::Dollar(name) => write!(out, "'${}'", shortened(name)),
            Self::Symbol(symbol) => write!(out, "'{symbol}'"),
            Self::End => out.write_str("the end"),
        }
    }
}

/// So much of a text as a message needs; what cannot be seen, or is an order to a terminal, is spelt out.
fn shortened(text: &str) -> String {
    let mut characters = text.chars();
    let mut short = String::new();
    for character in characters.by_ref().take(40) {
        match character {
            '\'' | '"' | '\\' => short.push(character),
            _ => short.extend(character.escape_debug()),
        }
    }
    if characters.next().is_some() {
        short.push('…');
    }
    short
}

/// A token and where it begins.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) position: Position,
    /// Whether nothing stands between it and the token before.
    pub(super) is_adjacent: bool,
}

/// What sqlparser has to know about our words.
#[derive(Debug)]
struct DocumentDialect;

impl Dialect for DocumentDialect {
    fn is_identifier_start(&self, character: char) -> bool {
        begins_name(character)
    }

    fn is_identifier_part(&self, character: char) -> bool {
        continues_name(character)
    }

    fn is_delimited_identifier_start(&self, character: char) -> bool {
        character == '`'
    }

    /// So that `$` begins no quoted text, as it does in PostgreSQL.
    fn supports_dollar_placeholder(&self) -> bool {
        true
    }
}

/// Cuts text into tokens; the last one is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, QueryError> {
    if text.len() > QUERY_BYTES_MAX {
        let message = format!("The query has {} bytes; at most {QUERY_BYTES_MAX} are taken.", text.len());
        return Err(QueryError::syntax(message, Position::default())
            .with_code("query-too-long")
            .suggesting("Send values as parameters, or many documents in bulk."));
    }
    let mask = Mask::of(text)?;
    let cuts = Tokenizer::new(&DocumentDialect, &mask.text)
        .with_unescape(false)
        .tokenize_with_location()
        .map_err(|error| QueryError::syntax(error.message, place(error.location.line, error.location.column)))?;
    let mut originals = Originals { rest: text.chars(), line: 1, column: 1 };
    let mut placed = Vec::with_capacity(cuts.len() / 2 + 1);
    let mut is_adjacent = false;
    for cut in &cuts {
        let original = originals.of(cut);
        if matches!(cut.token, Cut::Whitespace(_)) {
            is_adjacent = false;
            continue;
        }
        let position = place(cut.span.start.line, cut.span.start.column);
        if is_adjacent && let Some(before) = placed.last() {
            refuse_run_on(before, &cut.token, original)?;
        }
        placed.push(Placed { token: token(&cut.token, original, position)?, position, is_adjacent });
        is_adjacent = true;
    }
    let end = place(originals.line, originals.column);
    placed.push(Placed { token: Token::End, position: end, is_adjacent: false });
    Ok(placed)
}

/// Refuses a word that begins where a number ends: `1_000` is not 1 by the name of _000.
fn refuse_run_on(before: &Placed, cut: &Cut, original: &str) -> Result<(), QueryError> {
    let (Token::Number(_), Cut::Word(word)) = (&before.token, cut) else { return Ok(()) };
    if word.quote_style.is_some() {
        return Ok(());
    }
    let message = format!("A number does not end in '{}'.", shortened(original));
    Err(QueryError::syntax(message, before.position).suggesting(
        "Write 1000 for a thousand, and a blank before a word; a name that begins with a digit stands in backticks.",
    ))
}

fn place(line: u64, column: u64) -> Position {
    Position { line: u32::try_from(line).unwrap_or(u32::MAX), column: u32::try_from(column).unwrap_or(u32::MAX) }
}

/// Walks along the text, and hands out what each token was made of.
struct Originals<'text> {
    rest: std::str::Chars<'text>,
    line: u64,
    column: u64,
}

impl<'text> Originals<'text> {
    fn of(&mut self, cut: &TokenWithSpan) -> &'text str {
        let start = self.rest.as_str();
        let end = cut.span.end;
        while (self.line, self.column) < (end.line, end.column) {
            match self.rest.next() {
                Some('\n') => (self.line, self.column) = (self.line + 1, 1),
                Some(_) => self.column += 1,
                None => break,
            }
        }
        let length = start.len() - self.rest.as_str().len();
        start.get(..length).unwrap_or_default()
    }
}

fn token(cut: &Cut, original: &str, position: Position) -> Result<Token, QueryError> {
    let inside = |quote: char| {
        let body = original.trim_start_matches(['n', 'N']);
        body.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)).unwrap_or_default()
    };
    let symbol = match cut {
        Cut::Word(word) if word.quote_style.is_some() => {
            let name = inside('`').replace("``", "`");
            if name.is_empty() {
                return Err(QueryError::syntax("A name in backticks cannot be empty.", position));
            }
            return Ok(Token::Name(name));
        }
        Cut::Word(_) => return Ok(Token::Word(original.to_owned())),
        Cut::Number(_, false) => return number(original, position).map(Token::Number),
        Cut::SingleQuotedString(_) | Cut::NationalStringLiteral(_) => {
            return Ok(Token::Text { text: inside('\'').replace("''", "'"), is_double: false });
        }
        Cut::DoubleQuotedString(_) => {
            let text = json_text(original, position)?;
            return Ok(Token::Text { text, is_double: true });
        }
        Cut::Placeholder(_) => match original.strip_prefix('$') {
            Some(name) => return Ok(Token::Dollar(name.to_owned())),
            None => "?",
        },
        Cut::Comma => ",",
        Cut::Period => ".",
        Cut::Colon => ":",
        Cut::SemiColon => ";",
        Cut::LParen => "(",
        Cut::RParen => ")",
        Cut::LBracket => "[",
        Cut::RBracket => "]",
        Cut::LBrace => "{",
        Cut::RBrace => "}",
        Cut::AtSign => "@",
        Cut::RArrow => "=>",
        Cut::Eq => "=",
        Cut::DoubleEq => "==",
        Cut::Neq => "<>",
        Cut::Lt => "<",
        Cut::LtEq => "<=",
        Cut::Gt => ">",
        Cut::GtEq => ">=",
        Cut::Plus => "+",
        Cut::Minus => "-",
        Cut::Mul => "*",
        Cut::Div => "/",
        Cut::Mod => "%",
        Cut::StringConcat => "||",
        _ => return Err(unknown(original, position)),
    };
    Ok(Token::Symbol(symbol))
}

fn unknown(original: &str, position: Position) -> QueryError {
    let error = QueryError::syntax(format!("'{}' is not part of the language.", shortened(original)), position);
    match original {
        "&&" => error.suggesting("Write AND."),
        "!" => error.suggesting("Write NOT, or <> for what is not equal."),
        "->" | "->>" => error.suggesting("Write a path: Customer.Name."),
        "::" => error.suggesting("Write a function: NUMBER(x), STRING(x)."),
        "’" | "‘" | "´" => error.suggesting("Write the plain quote: '."),
        "“" | "”" | "„" => error.suggesting("Write the plain quote: \"."),
        _ => error,
    }
}

/// A number as JSON writes it: `.5` becomes `0.5`, `5.` becomes `5`, `007` becomes `7`.
fn number(original: &str, position: Position) -> Result<String, QueryError> {
    let (mantissa, exponent) = original.find(['e', 'E']).map_or((original, ""), |at| original.split_at(at));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let point = if fraction.is_empty() { "" } else { "." };
    let text = format!("{whole}{point}{fraction}{exponent}");
    let is_finite = text.parse::<f64>().is_ok_and(f64::is_finite);
    if text.len() > NUMBER_BYTES_MAX || !is_finite {
        let message = format!("The number is too large, or longer than {NUMBER_BYTES_MAX} characters.");
        return Err(QueryError::syntax(message, position).with_code("number-out-of-range"));
    }
    Ok(text)
}

fn json_text(original: &str, position: Position) -> Result<String, QueryError> {
    serde_json::from_str(original).map_err(|_| {
        QueryError::syntax("The text in double quotes is not as JSON writes it.", position)
            .suggesting("In double quotes a backslash is written \\\\, and a line break \\n.")
    })
}

/// The text with what stands in double quotes, and what else sqlparser takes offence at, replaced character by character.
struct Mask {
    text: String,
}

impl Mask {
    fn of(text: &str) -> Result<Self, QueryError> {
        let mut mask = Self { text: String::with_capacity(text.len()) };
        let mut walk = Walk::new();
        let mut opened = Position::default();
        let mut position = Position { line: 1, column: 1 };
        let mut pieces = 0_usize;
        let mut rest = text.chars().peekable();
        while let Some(character) = rest.next() {
            let (inside, before) = (walk.inside(), walk.before());
            walk.pass(character, rest.peek().copied().unwrap_or(' '));
            let written = match inside {
                Inside::Nothing => {
                    let continues = continues_name(character) && continues_name(before);
                    pieces += usize::from(!continues);
                    if walk.inside() != Inside::Nothing {
                        opened = position;
                    }
                    // sqlparser wants no name to begin with _ after the path that it knows nothing of.
                    match character {
                        '_' if before == '.' => 'x',
                        // What some editors put before the first line of a file.
                        '\u{feff}' => ' ',
                        _ => character,
                    }
                }
                Inside::Quotes('"') if walk.inside() == inside && character != '\n' => '_',
                _ => character,
            };
            mask.text.push(written);
            match character {
                '\n' => position = Position { line: position.line + 1, column: 1 },
                _ => position.column += 1,
            }
        }
        if pieces > QUERY_TOKENS_MAX {
            let message = format!("The query has more than {QUERY_TOKENS_MAX} words and signs.");
            return Err(QueryError::syntax(message, Position::default())
                .with_code("query-too-long")
                .suggesting("Send values as parameters, or many documents in bulk."));
        }
        match walk.inside() {
            Inside::Quotes(quote) => Err(open_quote(quote, opened)),
            Inside::Block => Err(QueryError::syntax("The comment does not end.", opened).suggesting("Write */.")),
            Inside::Nothing | Inside::Line => Ok(mask),
        }
    }
}

fn open_quote(quote: char, opened: Position) -> QueryError {
    let error = QueryError::syntax(format!("A quote is missing: what begins with {quote} does not end."), opened);
    match quote {
        '\'' => error.suggesting("A quote inside of text is written twice: 'it''s'."),
        '"' => error.suggesting("A quote inside of text is written \\\"."),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn cut(text: &str) -> Vec<Token> {
        tokens(text).unwrap().into_iter().map(|placed| placed.token).collect()
    }

    fn text(text: &str, is_double: bool) -> Token {
        Token::Text { text: text.to_owned(), is_double }
    }

    #[test]
    fn double_quotes_hold_json_and_single_quotes_hold_sql() {
        assert_eq!(
            cut(r#"{"a\"b": "x\\", c: 'C:\', d: 'it''s'}"#),
            [
                Token::Symbol("{"),
                text("a\"b", true),
                Token::Symbol(":"),
                text("x\\", true),
                Token::Symbol(","),
                Token::Word("c".into()),
                Token::Symbol(":"),
                text("C:\\", false),
                Token::Symbol(","),
                Token::Word("d".into()),
                Token::Symbol(":"),
                text("it's", false),
                Token::Symbol("}"),
                Token::End,
            ]
        );
    }

    #[test]
    fn a_path_may_name_any_field() {
        assert_eq!(
            cut("$._id $_id a.b[0]._x[*] `a``b`.名前"),
            [
                Token::Dollar(String::new()),
                Token::Symbol("."),
                Token::Word("_id".into()),
                Token::Dollar("_id".into()),
                Token::Word("a".into()),
                Token::Symbol("."),
                Token::Word("b".into()),
                Token::Symbol("["),
                Token::Number("0".into()),
                Token::Symbol("]"),
                Token::Symbol("."),
                Token::Word("_x".into()),
                Token::Symbol("["),
                Token::Symbol("*"),
                Token::Symbol("]"),
                Token::Name("a`b".into()),
                Token::Symbol("."),
                Token::Word("名前".into()),
                Token::End,
            ]
        );
    }

    #[test]
    fn places_are_lines_and_characters() {
        let placed = tokens("a -- \"x\n /* ' */ \"ö\nö\\n\" b").unwrap_err();
        assert_eq!(placed.position, Some(Position { line: 2, column: 10 }), "a raw line break is no JSON: {placed}");
        let placed = tokens("a -- \"x\n /*/ ' */ \"öö\\n\" b").unwrap();
        let places: Vec<_> = placed.iter().map(|placed| (placed.position.line, placed.position.column)).collect();
        assert_eq!(places, [(1, 1), (2, 11), (2, 18), (2, 19)]);
        assert_eq!(placed[1].token, text("öö\n", true));
    }

    #[test]
    fn numbers_become_json() {
        let numbers = ["0.5", "5", "7", "1e5", "1.50E-3"].map(|number| Token::Number(number.into()));
        assert_eq!(cut(".5 5. 007 1e5 1.50E-3")[..5], numbers);
        assert_eq!(tokens(&"9".repeat(400)).unwrap_err().code, "number-out-of-range");
        assert_eq!(tokens("1e999").unwrap_err().code, "number-out-of-range");
    }

    #[test]
    fn a_number_that_runs_on_is_no_number_with_a_name() {
        for text in ["1_000", "1e", "LIMIT 10OFFSET", "5._a"] {
            let message = tokens(text).unwrap_err().message;
            assert!(message.starts_with("A number does not end in"), "{text}: {message}");
        }
        assert_eq!(cut("1 e")[..2], [Token::Number("1".into()), Token::Word("e".into())]);
    }

    #[test]
    fn what_cannot_be_seen_is_passed_before_a_statement_and_spelt_out_in_errors() {
        assert_eq!(cut("\u{feff}a"), [Token::Word("a".into()), Token::End]);
        for (text, shown) in [("\u{1b}", "\\u{1b}"), ("\0", "\\0"), ("\u{202e}", "\\u{202e}")] {
            let error = tokens(text).unwrap_err();
            assert_eq!(error.message, format!("'{shown}' is not part of the language."));
        }
    }

    #[test]
    fn what_does_not_end_is_told_from_where_it_begins() {
        for (text, column) in [("a 'b", 3), ("a \"b\\\"", 3), ("a /* b", 3), ("`", 1), ("'it's'", 6), ("/*/", 1)] {
            let error = tokens(text).unwrap_err();
            assert_eq!(error.position, Some(Position { line: 1, column }), "{text}");
        }
    }

    #[test]
    fn length_is_bounded() {
        assert_eq!(tokens(&" ".repeat(QUERY_BYTES_MAX + 1)).unwrap_err().code, "query-too-long");
        assert_eq!(tokens(&"+".repeat(QUERY_TOKENS_MAX + 1)).unwrap_err().code, "query-too-long");
        assert!(tokens(&format!("'{}'", "+".repeat(QUERY_TOKENS_MAX + 1))).is_ok());
    }
}
