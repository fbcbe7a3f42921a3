//! Functions that deal with null and missing: choice, kinds of value, conversion.

use std::cmp::Ordering;

use holdfast_core::collation::Kind as ValueKind;
use holdfast_core::json;
use serde_json::Value;

use super::super::datum::{Datum, size_of_value};
use super::super::decimal::Decimal;
use super::super::evaluate::{Evaluated, compared, kind_name, scalar_text};
use super::super::moment::Moment;
use super::Call;
use crate::language::function::Function;

impl<'a> Call<'_, 'a> {
    pub(super) fn of_kind(&self) -> Evaluated<Option<Datum<'a>>> {
        let value = self.value(0);
        let truth = |truth| Datum::truth(Some(truth));
        let answer = match self.function {
            Function::NullIf => {
                let is_equal = compared(value, self.value(1)) == Some(Ordering::Equal);
                if is_equal { Datum::NULL } else { value.clone() }
            }
            Function::Least => self.extreme(Ordering::Less),
            Function::Greatest => self.extreme(Ordering::Greater),
            Function::TypeOf => Datum::text(kind_name(value.kind())),
            Function::IsNull => truth(value.is_null()),
            Function::IsMissing => truth(value.kind() == ValueKind::Missing),
            Function::IsNumber => truth(value.kind() == ValueKind::Number),
            Function::IsInteger => {
                truth(value.as_number().is_some_and(|number| number.truncated(0).compare(number).is_eq()))
            }
            Function::IsString => truth(value.kind() == ValueKind::String),
            Function::IsBoolean => truth(value.kind() == ValueKind::Bool),
            Function::IsArray => truth(value.kind() == ValueKind::Array),
            Function::IsObject => truth(value.kind() == ValueKind::Object),
            Function::IsDate => truth(value.as_str().is_some_and(|text| Moment::parse(text).is_some())),
            Function::ToNumber => to_number(value),
            Function::ToInteger => match to_number(value).as_number() {
                Some(number) => Datum::Number(number.truncated(0)),
                None => Datum::NULL,
            },
            Function::ToString => self.to_text()?,
            Function::ToBoolean => Datum::truth(to_boolean(value)),
            Function::Json => self.read_json()?,
            Function::Concat => self.concatenated()?,
            Function::Items => self.as_items()?,
            Function::NewId => Datum::text(new_id((self.evaluation.compute.random)())),
            _ => return Ok(None),
        };
        Ok(Some(answer))
    }

    /// The least or greatest value that is not null.
    fn extreme(&self, wanted: Ordering) -> Datum<'a> {
        let known = self.values.iter().filter(|value| !value.is_null());
        let found = known.reduce(|best, next| if next.compare(best) == wanted { next } else { best });
        found.cloned().unwrap_or(Datum::NULL)
    }

    fn to_text(&self) -> Evaluated<Datum<'a>> {
        let value = self.value(0);
        if value.is_null() {
            return Ok(Datum::NULL);
        }
        match scalar_text(value) {
            Some(text) => self.made(text),
            None => self.made(value.value().map(Value::to_string).unwrap_or_default()),
        }
    }

    fn read_json(&self) -> Evaluated<Datum<'a>> {
        if self.value(0).is_null() {
            return Ok(Datum::NULL);
        }
        // The same checks that a document gets.
        let Ok(value) = json::parse_value(self.text(0)?.as_bytes()) else {
            return Ok(Datum::NULL);
        };
        self.evaluation.charge(size_of_value(&value), self.position)?;
        Ok(Datum::Owned(value))
    }

    fn concatenated(&self) -> Evaluated<Datum<'a>> {
        let known: Vec<usize> = (0..self.values.len()).filter(|place| !self.value(*place).is_null()).collect();
        if known.iter().any(|place| self.value(*place).as_array().is_some()) {
            let mut items = Vec::new();
            for place in known {
                items.extend_from_slice(self.array(place)?);
            }
            return self.made_array(items);
        }
        let mut all = String::new();
        for place in known {
            let text = scalar_text(self.value(place));
            all.push_str(&text.ok_or_else(|| self.wrong(place, "text, numbers or arrays", Some("Write STRING(x).")))?);
        }
        self.made(all)
    }

    fn as_items(&self) -> Evaluated<Datum<'a>> {
        let value = self.value(0);
        if value.as_array().is_some() {
            return Ok(value.clone());
        }
        self.made_array(value.clone().into_value().filter(|value| !value.is_null()).into_iter().collect())
    }
}

fn to_number<'a>(value: &Datum<'a>) -> Datum<'a> {
    if value.kind() == ValueKind::Number {
        return value.clone();
    }
    let number = match (value.as_bool(), value.as_str()) {
        (Some(truth), _) => Some(Decimal::whole(truth.into())),
        (None, Some(text)) => read_number(text.trim()),
        (None, None) => None,
    };
    number.map_or(Datum::NULL, Datum::Number)
}

/// A number as people write it: with a `+`, and without a digit on one side of the point.
fn read_number(text: &str) -> Option<Decimal> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.contains(|character: char| character.is_ascii_digit()) {
        return None;
    }
    let zero = if digits.starts_with('.') { "0" } else { "" };
    Decimal::parse(&format!("{sign}{zero}{digits}"))
}

fn to_boolean(value: &Datum<'_>) -> Option<bool> {
    if let Some(truth) = value.as_bool() {
        return Some(truth);
    }
    if let Some(number) = value.as_number() {
        return Some(!number.is_zero());
    }
    match value.as_str()?.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Some(true),
        "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// 128 random bits as a UUID of version 4.
fn new_id(random: u128) -> String {
    let bits = (random & !(0xf000 << 64) & !(0xc000 << 48)) | (0x4000 << 64) | (0x8000 << 48);
    let digits = format!("{bits:032x}");
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}
