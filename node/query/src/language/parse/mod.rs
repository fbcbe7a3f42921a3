//! The grammar: from tokens to a statement.
//!
//! ```text
//!   text ──token──► tokens ──parse──► statement as written ──resolve──► statement that says which source is meant
//!
//!   statement   SELECT (select.rs) · INSERT UPDATE DELETE (write.rs) · CREATE INDEX, DROP INDEX (index.rs) · EXPLAIN
//!   expression  operators by how tightly they hold (expression.rs) · what stands between them (primary.rs)
//! ```
//!
//! sqlparser cuts the text into tokens, by our dialect. The grammar above them is our own: it has to read paths, JSON and
//! `ANY`, it can say what was expected and which word was meant, it bounds depth by counting, and it admits
//! nothing that it does not know: there is no `INTO`, no function that is a table, and no file.
//!
//! **What stays true.** It never goes back, so its time is proportional to the text.

mod expression;
mod index;
mod primary;
mod select;
mod write;

use holdfast_core::limits::QUERY_DEPTH_MAX;

use super::error::QueryError;
use super::expression::Position;
use super::resolve;
use super::statement::{Name, Statement};
use super::suggest::nearest;
use super::token::{Placed, Token, tokens};
use super::word::is_reserved;

/// Words that a statement may begin with.
const COMMANDS: [&str; 7] = ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "EXPLAIN"];

/// Reads the one statement that a text holds. A `;` may end it.
pub(super) fn statement(text: &str) -> Result<Statement, QueryError> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, tallest: 0, double_quoted: None, items: 0 };
    if *parser.peek() == Token::End || parser.is_symbol(";") {
        return Err(QueryError::syntax("Query is required.", parser.position()).with_code("query-required"));
    }
    let statement = parser.statement()?;
    let ends = parser.symbol(";");
    match parser.peek() {
        Token::End => Ok(statement),
        _ if ends => Err(QueryError::syntax("Only one query statement is allowed.", parser.position())
            .with_code("query-one-statement")
            .suggesting("Send each statement in a request of its own.")),
        _ => Err(parser.expected("the end of the statement", &[])),
    }
}

/// Reads an expression that stands alone.
pub(super) fn lone_expression(text: &str) -> Result<super::expression::Expression, QueryError> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, tallest: 0, double_quoted: None, items: 0 };
    let mut expression = parser.expression()?;
    match parser.peek() {
        Token::End => {
            resolve::of_one_document(&mut expression)?;
            Ok(expression)
        }
        _ => Err(parser.expected("the end of the expression", &[])),
    }
}

/// Walks over the tokens from left to right.
struct Parser {
    /// The last one is [`Token::End`].
    tokens: Vec<Placed>,
    at: usize,
    /// How many expressions surround the one that is being read.
    depth: usize,
    /// How many levels the tallest part has of the expression that is being read.
    tallest: usize,
    /// Where the last text in double quotes stands, which may have been meant as a name.
    double_quoted: Option<Position>,
    /// How many functions around look at items, so that `@` is one.
    items: usize,
}

type Parsed<T> = Result<T, QueryError>;

impl Parser {
    fn statement(&mut self) -> Parsed<Statement> {
        if self.word("EXPLAIN") {
            let analyze = self.word("ANALYZE");
            if self.is_word("EXPLAIN") {
                return Err(QueryError::syntax("EXPLAIN stands once.", self.position()));
            }
            return Ok(Statement::Explain { analyze, statement: Box::new(self.statement()?) });
        }
        let (command, position) = match self.peek() {
            Token::Word(word) => (word.to_ascii_uppercase(), self.position()),
            _ => return Err(self.unable()),
        };
        self.at += 1;
        match command.as_str() {
            "SELECT" => self.select().map(Box::new).map(Statement::Select),
            "INSERT" => self.insert().map(Statement::Insert),
            "UPDATE" => self.update().map(Statement::Update),
            "DELETE" => self.delete().map(Statement::Delete),
            "CREATE" => self.create_index().map(Statement::CreateIndex),
            "DROP" => self.drop_index().map(Statement::DropIndex),
            _ => Err(unknown_command(&command, position)),
        }
    }

    fn unable(&self) -> QueryError {
        QueryError::syntax("Unable to determine query command.", self.position())
            .with_code("unknown-command")
            .suggesting("A query begins with SELECT, INSERT, UPDATE, DELETE, CREATE INDEX, DROP INDEX or EXPLAIN.")
    }

    fn peek(&self) -> &Token {
        self.peek_after(0)
    }

    fn peek_after(&self, skipped: usize) -> &Token {
        self.tokens.get(self.at + skipped).map_or(&Token::End, |placed| &placed.token)
    }

    /// Where the next token begins.
    fn position(&self) -> Position {
        self.tokens.get(self.at).or(self.tokens.last()).map_or_else(Position::default, |placed| placed.position)
    }

    /// Whether the next token begins where the one before ends.
    fn is_adjacent(&self) -> bool {
        self.tokens.get(self.at).is_some_and(|placed| placed.is_adjacent)
    }

    fn is_word(&self, word: &str) -> bool {
        self.is_word_after(0, word)
    }

    fn is_word_after(&self, skipped: usize, word: &str) -> bool {
        matches!(self.peek_after(skipped), Token::Word(found) if found.eq_ignore_ascii_case(word))
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        self.is_symbol_after(0, symbol)
    }

    fn is_symbol_after(&self, skipped: usize, symbol: &str) -> bool {
        matches!(self.peek_after(skipped), Token::Symbol(found) if *found == symbol)
    }

    /// Passes a word if it comes next.
    fn word(&mut self, word: &str) -> bool {
        let is_next = self.is_word(word);
        self.at += usize::from(is_next);
        is_next
    }

    /// Passes a symbol if it comes next.
    fn symbol(&mut self, symbol: &str) -> bool {
        let is_next = self.is_symbol(symbol);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect_word(&mut self, word: &'static str) -> Parsed<()> {
        if self.word(word) { Ok(()) } else { Err(self.expected(word, &[word])) }
    }

    fn expect_symbol(&mut self, symbol: &str) -> Parsed<()> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.expected(&format!("'{symbol}'"), &[])) }
    }

    /// One or more, with commas between them.
    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut all = vec![one(self)?];
        while self.symbol(",") {
            all.push(one(self)?);
        }
        Ok(all)
    }

    /// One or more, with commas between them, and at most so many.
    fn list_within<T>(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut count = 0;
        self.list(|parser| {
            count += 1;
            if count > most {
                let message = format!("There are more than {most} here.");
                return Err(QueryError::syntax(message, parser.position()).with_code("query-too-long"));
            }
            one(parser)
        })
    }

    /// A name that is declared here: bare, in backticks or in double quotes.
    fn name(&mut self) -> Option<Name> {
        let position = self.position();
        let text = match self.peek() {
            Token::Word(word) if !is_reserved(word) => word.as_str().into(),
            Token::Name(name) | Token::Text { text: name, is_double: true } if !name.is_empty() => name.as_str().into(),
            _ => return None,
        };
        self.at += 1;
        Some(Name { text, position })
    }

    /// A collection's name; `problem` says which one is missing.
    fn collection(&mut self, problem: &str) -> Parsed<Name> {
        let Some(name) = self.name() else {
            let found = self.peek();
            let error = QueryError::syntax(format!("{problem} Found {found}."), self.position());
            return Err(match found {
                Token::Word(word) if is_reserved(word) => error.suggesting(format!("Write `{word}` if it is a name.")),
                Token::Dollar(_) => error.suggesting("Only collections can be read and written."),
                Token::Text { text, .. } | Token::Number(text) => error.suggesting(format!("Write `{text}`.")),
                _ => error,
            });
        };
        if self.is_adjacent() && (self.is_symbol("-") || self.is_symbol(".")) {
            return Err(QueryError::syntax(format!("{problem} '{}' ends here.", name.text), self.position())
                .suggesting("Write a name with other signs than letters, digits and _ in backticks: `order-items`."));
        }
        Ok(name)
    }

    /// What was expected, what was found instead, and which of the words was probably meant.
    fn expected(&self, what: &str, words: &[&str]) -> QueryError {
        let error = QueryError::syntax(format!("Expected {what}, found {}.", self.peek()), self.position());
        if let Token::Word(found) = self.peek()
            && let Some(meant) = nearest(found, words.iter().copied())
        {
            return error.suggesting(format!("Did you mean {meant}?"));
        }
        // A misspelt word is often taken for a name, and only what follows it makes no sense.
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        if let Some(Placed { token: Token::Word(before), .. }) = before
            && !is_reserved(before)
            && let Some(meant) = nearest(before, words.iter().copied())
        {
            return error.suggesting(format!("Did you mean {meant} instead of {before}?"));
        }
        match self.peek() {
            Token::Symbol("==") => error.suggesting("Write = to compare."),
            Token::Symbol("?") => error.suggesting("Write a parameter by name: @store."),
            Token::Text { is_double: true, .. } => {
                error.suggesting("Double quotes are around text; write a name in backticks: `Customer Name`.")
            }
            Token::Word(word) if is_reserved(word) => error.suggesting(format!(
                "{} is a word of the language; write a field of that name as $.{word} or `{word}`.",
                word.to_ascii_uppercase()
            )),
            _ => error,
        }
    }
}

fn too_deep(position: Position) -> QueryError {
    QueryError::syntax(format!("The query is nested deeper than {QUERY_DEPTH_MAX} levels."), position)
        .with_code("query-too-deep")
        .suggesting("Use IN (...) for many values, and parameters for nested ones.")
}

fn unknown_command(command: &str, position: Position) -> QueryError {
    let error = QueryError::syntax("Only SELECT, INSERT, UPDATE, DELETE are supported in safe query mode.", position)
        .with_code("unknown-command");
    match nearest(command, COMMANDS) {
        Some(meant) => error.suggesting(format!("Did you mean {meant}?")),
        None => error.suggesting("There are also CREATE INDEX, DROP INDEX and EXPLAIN."),
    }
}
