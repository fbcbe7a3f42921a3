//! What an expression is worth for a row of documents.
//!
//! ```text
//!   Expression + a document per source + parameters, time, randomness ──► a value, missing, or an error with its place
//! ```
//!
//! | Asked of | Answer |
//! | --- | --- |
//! | a comparison, `LIKE`, `IN`, `BETWEEN` with null or missing | unknown, which is null |
//! | a comparison of two kinds of value | by the order of kinds: null < false < true < numbers < text < arrays < objects |
//! | `LIKE` of what is no text | false |
//! | `AND`, `OR`, `NOT` with unknown | unknown, where the other side does not decide |
//! | a condition (`WHERE`, `HAVING`, `WHEN`) that is unknown | as false |
//! | a condition that is a number, text, array or object | error `type-mismatch` |
//! | arithmetic, or a function of text, numbers or dates, with null or missing | null |
//! | the same with another kind of value | error `type-mismatch` |
//! | division by zero | error `division-by-zero` |
//! | `7 / 2` | 3.5, for JSON knows one kind of number; `TRUNC(7 / 2)` is 3 |
//! | a path that leads nowhere | missing; `IS NULL` is true of it, `IS MISSING` tells it from a stored null |
//! | a path with `[*]` | an array of what is there; an empty one where there is no array |
//! | `ANY`, `ALL` of a value that is no array | as of an array of that one; unknown of null and missing |
//!
//! `AND`, `OR`, `CASE`, `IIF` and `COALESCE` look at their parts from left to right and no further than needed, so
//! `IS_NUMBER(a) AND a * 2 > 4` is safe.
//!
//! **What stays true.** The same row, parameters, time and randomness give the same value. No double takes part in
//! arithmetic. What one expression builds is bounded, and so is how long it can take on a document.
//!
//! **What it does not do.** It reads no document but those that it is handed. Aggregates are computed by whoever
//! has all the rows; of one row they are null.

pub mod decimal;
pub mod sum;
mod datum;
mod like;
mod moment;
mod functions;
mod evaluate;
#[cfg(test)]
mod tests;

use std::fmt;

use holdfast_core::time::Millis;
use serde_json::{Map, Value};

use crate::language::error::QueryError;
use crate::language::expression::{Expression, Kind};
use crate::language::statement::Statement;

use self::evaluate::Evaluation;

/// What expressions know beside documents.
pub struct Compute<'query> {
    /// Values that came with the request, by name.
    pub parameters: &'query Map<String, Value>,
    /// When the statement began.
    pub now: Millis,
    /// Gives numbers that nobody can foretell.
    pub random: &'query dyn Fn() -> u128,
}

impl fmt::Debug for Compute<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Parameters are somebody's data.
        out.debug_struct("Compute").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Compute<'_> {
    /// The value of an expression; `None` where it is missing. There is a document for each source, in their order;
    /// `None` where a join found none.
    pub fn value(&self, expression: &Expression, documents: &[Option<&Value>]) -> Result<Option<Value>, QueryError> {
        Evaluation::new(self, documents).datum(expression, None).map(datum::Datum::into_value)
    }

    /// Whether a condition is true; unknown is not.
    pub fn holds(&self, condition: &Expression, documents: &[Option<&Value>]) -> Result<bool, QueryError> {
        Ok(Evaluation::new(self, documents).truth(condition, None)? == Some(true))
    }
}

/// The first parameter of a statement that the request does not have, as the error that it is. To be asked before
/// a statement is carried out: one that finds no document would not notice.
pub fn missing_parameter(statement: &Statement, parameters: &Map<String, Value>) -> Option<QueryError> {
    let mut missing = None;
    let mut is_missing = |part: &Expression| match &part.kind {
        Kind::Parameter(name) if !parameters.contains_key(&**name) => {
            missing = Some(evaluate::no_such_parameter(name, parameters, part));
            true
        }
        _ => false,
    };
    statement.expressions().into_iter().any(|expression| expression.any(&mut is_missing));
    missing
}
