//! The query language: from text to a [`Statement`] that says what is wanted, and nothing of how.
//!
//! ```text
//!   text ──token──► tokens ──parse──► as written ──resolve, check──► Statement ──print──► text that says the same
//! ```
//!
//! ```text
//!   SELECT [DISTINCT] [TOP n] item, ...  FROM c [AS o] [[INNER | LEFT | RIGHT | CROSS] JOIN d AS e ON o.a = e.b]
//!     [WHERE condition] [GROUP BY a, ...] [HAVING condition] [ORDER BY a [DESC] [NULLS LAST], ...]
//!     [LIMIT n] [OFFSET n]
//!   INSERT INTO c VALUES {..}, {..}            INSERT INTO c (a, b) VALUES (1, 'x'), (2, 'y')
//!   UPDATE c SET {..} [WHERE condition]        UPDATE c SET stock = stock - 1, seen = NOW() [WHERE condition]
//!   DELETE FROM c [WHERE condition]
//!   CREATE [UNIQUE] INDEX [IF NOT EXISTS] n ON c (path, ...) [CASE INSENSITIVE]      DROP INDEX [IF EXISTS] n [ON c]
//!   EXPLAIN [ANALYZE] statement
//! ```
//!
//! * A field is a path: `Customer.Name`, `$.Customer.Name`, `$.Items[0].Sku`, `$["order-id"]`. `$` is the document.
//!   `Id` in any case, and `_id`, is its id. `$.Items[*].Sku` is the array of what all items have there.
//! * Text stands in single quotes as in SQL (`'it''s'`) or in double quotes as in JSON (`"say \"hi\""`). A name with other
//!   signs than letters, digits and `_` stands in backticks.
//! * `ANY $.Items[*].Sku = 'x'`, `$.Items[*].Sku ANY = 'x'`, `'x' = ANY $.Items[*].Sku` and `'x' IN $.Items[*].Sku` ask the
//!   same. `ALL` asks it of every item.
//! * `@name` and `:name` are values that come with the request.
//! * `COUNT SUM AVG MIN MAX` are of many rows, and of one array if they are given one: `SUM($.Items[*].Price)`.
//! * `MAP($.Items => @.Price * @.Qty)` and `FILTER($.Items => @.Qty > 2)` look at items, each called `@`;
//!   `$.Items[@.Qty > 2].Sku` says both in one.
//!
//! **What stays true.** Text is bounded before it is read, and depth before anything is built. Every part of a statement
//! knows where it stood, so that whoever finds something wrong with it later can still point at it. Two
//! statements are equal if they say the same, wherever it stands.
//!
//! **What it does not do.** It knows no collection, index or document: a statement that parses may still name things
//! that are not there.

mod word;
pub mod function;
pub mod expression;
pub mod statement;
mod print;
pub mod error;
mod suggest;
mod inside;
pub mod script;
mod token;
mod check;
mod resolve;
mod parse;
mod shape;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod hostile;

pub use error::QueryError;
pub use expression::{Expression, Kind, PathExpression, PathStep};
pub use statement::{Select, Statement};
pub use word::KEYWORDS;

/// Reads the one statement that a text holds.
pub fn parse(text: &str) -> Result<Statement, QueryError> {
    parse::statement(text).map_err(|error| error.shown_in(text))
}

/// Reads an expression over one document, as a condition without `WHERE` is one.
pub fn parse_expression(text: &str) -> Result<Expression, QueryError> {
    parse::lone_expression(text).map_err(|error| error.shown_in(text))
}

/// The words of a statement, with `?` for each value that stands in it.
pub fn shape(text: &str) -> String {
    shape::shape(text)
}
