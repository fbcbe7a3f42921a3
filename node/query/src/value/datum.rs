//! A value on its way through an expression: borrowed from a document where that is possible.

use std::cmp::Ordering;

use holdfast_core::collation::{Kind, compare, compare_numbers};
use holdfast_core::limits::QUERY_DIGITS_MAX;
use serde_json::Value;

use super::decimal::Decimal;

/// What an expression gives.
#[derive(Debug, Clone)]
pub(super) enum Datum<'a> {
    /// No value at all.
    Missing,
    /// A value that stands in a document or in the statement.
    Borrowed(&'a Value),
    /// A value that was made.
    Owned(Value),
    /// A number that was computed.
    Number(Decimal),
}

impl<'a> Datum<'a> {
    pub(super) const NULL: Self = Self::Owned(Value::Null);

    /// True, false, or null for unknown.
    pub(super) fn truth(truth: Option<bool>) -> Self {
        Self::Owned(truth.map_or(Value::Null, Value::Bool))
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Owned(Value::String(text.into()))
    }

    pub(super) fn whole(number: i64) -> Self {
        Self::Number(Decimal::whole(number))
    }

    /// A count of things in memory.
    pub(super) fn count(count: usize) -> Self {
        Self::whole(i64::try_from(count).unwrap_or(i64::MAX))
    }

    pub(super) fn of(value: Option<&'a Value>) -> Self {
        value.map_or(Self::Missing, Self::Borrowed)
    }

    /// The value, unless it is missing or a number that was computed.
    pub(super) fn value(&self) -> Option<&Value> {
        match self {
            Self::Missing | Self::Number(_) => None,
            Self::Borrowed(value) => Some(value),
            Self::Owned(value) => Some(value),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Missing => Kind::Missing,
            Self::Number(_) => Kind::Number,
            Self::Borrowed(value) => Kind::of(value),
            Self::Owned(value) => Kind::of(value),
        }
    }

    /// Whether it is null or missing.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.kind(), Kind::Missing | Kind::Null)
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        self.value().and_then(Value::as_str)
    }

    pub(super) fn as_array(&self) -> Option<&[Value]> {
        self.value().and_then(Value::as_array).map(Vec::as_slice)
    }

    /// About how long it takes to look at it: bytes of a text, items of an array, fields of an object.
    pub(super) fn length(&self) -> usize {
        match self.value() {
            Some(Value::String(text)) => text.len(),
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(fields)) => fields.len(),
            _ => 1,
        }
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        self.value().and_then(Value::as_bool)
    }

    pub(super) fn as_number(&self) -> Option<Decimal> {
        match self {
            Self::Number(number) => Some(*number),
            _ => self.value().and_then(Value::as_number).and_then(|number| Decimal::parse(number.as_str())),
        }
    }

    /// Compares in the one order of all values.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        match (self.value(), other.value()) {
            (Some(left), Some(right)) => compare(left, right),
            _ => match self.kind().cmp(&other.kind()) {
                Ordering::Equal if self.kind() == Kind::Number => self.compare_number(other),
                order => order,
            },
        }
    }

    fn compare_number(&self, other: &Self) -> Ordering {
        if let (Some(left), Some(right)) = (self.as_exact_number(), other.as_exact_number()) {
            return left.compare(right);
        }
        compare_numbers(&self.number_text(), &other.number_text())
    }

    /// The number, where no digit of it is lost in being read.
    fn as_exact_number(&self) -> Option<Decimal> {
        match self {
            Self::Number(number) => Some(*number),
            _ => {
                let text = self.value().and_then(Value::as_number)?.as_str();
                let is_short = text.len() <= QUERY_DIGITS_MAX as usize && !text.contains(['e', 'E']);
                if is_short { Decimal::parse(text) } else { None }
            }
        }
    }

    /// The number as text, exactly.
    pub(super) fn number_text(&self) -> String {
        match self {
            Self::Number(number) => number.to_text(),
            _ => self.value().and_then(Value::as_number).map_or_else(String::new, |number| number.as_str().to_owned()),
        }
    }

    /// The value for itself; `None` where it is missing.
    pub(super) fn into_value(self) -> Option<Value> {
        match self {
            Self::Missing => None,
            Self::Borrowed(value) => Some(value.clone()),
            Self::Owned(value) => Some(value),
            Self::Number(number) => Some(number.to_value()),
        }
    }
}

/// About how many bytes a value takes.
pub(super) fn size_of_value(value: &Value) -> usize {
    let inside = match value {
        Value::Null | Value::Bool(_) => 0,
        Value::Number(number) => number.as_str().len(),
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size_of_value).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| 2 * name.len() + size_of_value(value)).sum(),
    };
    size_of::<Value>() + inside
}
