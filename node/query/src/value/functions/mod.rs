//! Functions of values of one row, by kind.
//!
//! **What stays true.** A function that is given null or missing gives null, unless it is there to deal with them: those
//! in `kind.rs`, `CONCAT`, `LEAST`, `GREATEST`. Every other kind than the one it takes is an error that names the argument.

mod array;
mod date;
mod kind;
mod number;
mod text;

use serde_json::Value;

use super::datum::Datum;
use super::decimal::{Decimal, OutOfRange};
use super::evaluate::{Evaluated, Evaluation, mismatch, not_a_number, out_of_range};
use super::moment::{Moment, Unit};
use crate::language::error::QueryError;
use crate::language::expression::{Expression, Position};
use crate::language::function::Function;

/// Whether a function is more than what its values make of each other.
pub(super) fn is_lazy(function: Function) -> bool {
    matches!(function, Function::If | Function::Coalesce | Function::Map | Function::Filter | Function::Field)
}

/// A function and what it is given.
pub(super) struct Call<'c, 'a> {
    pub(super) function: Function,
    pub(super) arguments: &'a [Expression],
    pub(super) values: Vec<Datum<'a>>,
    pub(super) position: Position,
    pub(super) evaluation: &'c Evaluation<'a>,
}

impl<'a> Call<'_, 'a> {
    /// What the function gives.
    pub(super) fn answer(&self) -> Evaluated<Datum<'a>> {
        if let Some(answer) = self.of_kind()? {
            return Ok(answer);
        }
        if self.values.iter().any(Datum::is_null) {
            return Ok(Datum::NULL);
        }
        for of_kind in [Self::of_text, Self::of_number, Self::of_date, Self::of_array] {
            if let Some(answer) = of_kind(self)? {
                return Ok(answer);
            }
        }
        Ok(Datum::NULL)
    }

    fn value(&self, place: usize) -> &Datum<'a> {
        self.values.get(place).unwrap_or(&Datum::Missing)
    }

    /// Whether so many values are given, or more.
    fn has(&self, count: usize) -> bool {
        self.values.len() >= count
    }

    /// The argument is of a kind that the function does not take.
    fn wrong(&self, place: usize, needed: &str, suggestion: Option<&str>) -> QueryError {
        let needed = format!("{} takes {needed}", self.function.name());
        match self.arguments.get(place) {
            Some(argument) => mismatch(argument, self.value(place), &needed, suggestion),
            None => QueryError::meaning("type-mismatch", needed, self.position),
        }
    }

    fn text(&self, place: usize) -> Evaluated<&str> {
        self.value(place).as_str().ok_or_else(|| self.wrong(place, "text", Some("Write STRING(x).")))
    }

    fn number(&self, place: usize) -> Evaluated<Decimal> {
        self.value(place).as_number().ok_or_else(|| match self.arguments.get(place) {
            Some(argument) => {
                not_a_number(argument, self.value(place), &format!("{} takes a number", self.function.name()))
            }
            None => self.wrong(place, "a number", None),
        })
    }

    /// A whole number.
    fn whole(&self, place: usize) -> Evaluated<i64> {
        let number = self.number(place)?;
        number.to_i64().ok_or_else(|| self.wrong(place, "a whole number of at most 64 bits", None))
    }

    fn array(&self, place: usize) -> Evaluated<&[Value]> {
        self.value(place).as_array().ok_or_else(|| self.wrong(place, "an array", Some("Write ITEMS(x).")))
    }

    fn moment(&self, place: usize) -> Evaluated<Moment> {
        let moment = self.value(place).as_str().and_then(Moment::parse);
        moment.ok_or_else(|| {
            self.wrong(place, "a date such as '2026-07-30' or '2026-07-30T10:00:00Z'", Some("See IS_DATE(x)."))
        })
    }

    fn unit(&self, place: usize) -> Evaluated<Unit> {
        Unit::parse(self.text(place)?).ok_or_else(|| {
            self.wrong(place, "'year', 'quarter', 'month', 'week', 'day', 'hour', 'minute', 'second'", None)
        })
    }

    fn computed(&self, result: Result<Decimal, OutOfRange>) -> Evaluated<Datum<'a>> {
        result.map(Datum::Number).map_err(|OutOfRange| out_of_range(self.position))
    }

    /// Text that was made, its size counted.
    fn made(&self, text: String) -> Evaluated<Datum<'a>> {
        self.evaluation.charge(text.len(), self.position)?;
        Ok(Datum::Owned(Value::String(text)))
    }

    /// An array that was made, its size counted.
    fn made_array(&self, items: Vec<Value>) -> Evaluated<Datum<'a>> {
        let size = items.iter().map(super::datum::size_of_value).sum();
        self.evaluation.charge(size, self.position)?;
        Ok(Datum::Owned(Value::Array(items)))
    }
}
