//! Conditions that are asked of a document's text, without making a value of any part of it.
//!
//! A condition on one source whose parts compare plain paths with constants becomes a [`Test`]. Others stay expressions.
//!
//! **What stays true.** A test gives what its condition would give on the whole document: true, false or unknown.

use std::cmp::Ordering;

use holdfast_core::collation::{Case, Kind as ValueKind, compare, compare_numbers, encode, encode_string, encode_text};
use serde_json::Value;

use crate::language::expression::{Among, Comparison, Expression, Kind, State};
use crate::run::row::{Reader, plain_path};

/// A condition on the text of a document.
#[derive(Debug)]
pub(crate) enum Test {
    /// A value compared with a constant.
    Compare(Subject, Comparison, Constant),
    /// A value that is one of several constants.
    OneOf(Subject, Vec<Vec<u8>>),
    /// A value that is null or missing.
    IsNull(Subject),
    /// A value that is missing.
    IsMissing(Subject),
    /// All of these.
    And(Vec<Test>),
    /// One of these.
    Or(Vec<Test>),
    /// The opposite.
    Not(Box<Test>),
}

/// What a test looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject {
    /// The document's id.
    Id,
    /// What stands at a path of the reader.
    Slot(usize),
}

/// What a value is compared with.
#[derive(Debug)]
pub(crate) struct Constant {
    value: Value,
    kind: ValueKind,
    encoded: Vec<u8>,
}

impl Constant {
    fn new(value: &Value) -> Self {
        let mut encoded = Vec::new();
        encode(value, Case::Exact, &mut encoded);
        Self { value: value.clone(), kind: ValueKind::of(value), encoded }
    }
}

impl Test {
    /// The test for a condition on one source, if there is one. The paths that it looks at are noted with the reader.
    pub(crate) fn of(condition: &Expression, source: usize, reader: &mut Reader) -> Option<Self> {
        let mut tests = |parts: &[Expression]| -> Option<Vec<Self>> {
            parts.iter().map(|part| Self::of(part, source, reader)).collect()
        };
        match &condition.kind {
            Kind::And(parts) => Some(Self::And(tests(parts)?)),
            Kind::Or(parts) => Some(Self::Or(tests(parts)?)),
            Kind::Not(part) => Some(Self::Not(Box::new(Self::of(part, source, reader)?))),
            Kind::Compare { comparison, left, right } => match (&left.kind, &right.kind) {
                (_, Kind::Literal(value)) => {
                    Some(Self::Compare(subject(left, source, reader)?, *comparison, comparable(value)?))
                }
                (Kind::Literal(value), _) => {
                    Some(Self::Compare(subject(right, source, reader)?, comparison.flipped(), comparable(value)?))
                }
                _ => None,
            },
            Kind::Between { value, low, high, negated } => {
                let (Kind::Literal(low), Kind::Literal(high)) = (&low.kind, &high.kind) else { return None };
                let subject = subject(value, source, reader)?;
                let within = Self::And(vec![
                    Self::Compare(subject, Comparison::GreaterOrEqual, comparable(low)?),
                    Self::Compare(subject, Comparison::LessOrEqual, comparable(high)?),
                ]);
                Some(within.negated_if(*negated))
            }
            Kind::In { value, among: Among::Listed(items), negated } => {
                let constants = items.iter().map(|item| match &item.kind {
                    Kind::Literal(value) => comparable(value).map(|constant| constant.encoded),
                    _ => None,
                });
                let mut constants: Vec<Vec<u8>> = constants.collect::<Option<_>>()?;
                constants.sort_unstable();
                if constants.is_empty() {
                    return None;
                }
                Some(Self::OneOf(subject(value, source, reader)?, constants).negated_if(*negated))
            }
            Kind::In { value, among: Among::ItemsOf(list), negated } => {
                let Kind::Literal(Value::Array(list)) = &list.kind else { return None };
                let mut constants: Vec<Vec<u8>> =
                    list.iter().map(|item| comparable(item).map(|item| item.encoded)).collect::<Option<_>>()?;
                constants.sort_unstable();
                if constants.is_empty() {
                    return None;
                }
                Some(Self::OneOf(subject(value, source, reader)?, constants).negated_if(*negated))
            }
            Kind::Is { value, state: State::Null, negated } => {
                Some(Self::IsNull(subject(value, source, reader)?).negated_if(*negated))
            }
            Kind::Is { value, state: State::Missing, negated } => {
                Some(Self::IsMissing(subject(value, source, reader)?).negated_if(*negated))
            }
            _ => None,
        }
    }

    fn negated_if(self, negated: bool) -> Self {
        if negated { Self::Not(Box::new(self)) } else { self }
    }

    /// Whether it holds; `None` is unknown.
    pub(crate) fn holds(&self, found: &[Option<&[u8]>], id: &str) -> Option<bool> {
        match self {
            Self::Compare(subject, comparison, constant) => {
                subject.compared(found, id, constant).map(|order| answers(*comparison, order))
            }
            Self::OneOf(subject, constants) => {
                let mut encoded = Vec::new();
                match subject.text(found) {
                    _ if subject.is_id() => encode_string(id, Case::Exact, &mut encoded),
                    None | Some(b"null") => return None,
                    Some(text) => drop(encode_text(text, Case::Exact, &mut encoded)),
                }
                Some(constants.binary_search(&encoded).is_ok())
            }
            Self::IsNull(subject) => Some(!subject.is_id() && subject.text(found).is_none_or(|text| text == b"null")),
            Self::IsMissing(subject) => Some(!subject.is_id() && subject.text(found).is_none()),
            Self::And(tests) => all(tests.iter().map(|test| test.holds(found, id))),
            Self::Or(tests) => {
                all(tests.iter().map(|test| test.holds(found, id).map(|holds| !holds))).map(|none| !none)
            }
            Self::Not(test) => test.holds(found, id).map(|holds| !holds),
        }
    }
}

/// Whether all are true: false if one is false, else unknown if one is unknown.
fn all(mut each: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut outcome = Some(true);
    each.try_for_each(|holds| match holds {
        Some(true) => Ok(()),
        Some(false) => Err(()),
        None => {
            outcome = None;
            Ok(())
        }
    })
    .map_or(Some(false), |()| outcome)
}

fn subject(expression: &Expression, source: usize, reader: &mut Reader) -> Option<Subject> {
    let Kind::Path(path) = &expression.kind else { return None };
    if path.source != source {
        return None;
    }
    if path.is_document_id() {
        return Some(Subject::Id);
    }
    plain_path(path).map(|path| Subject::Slot(reader.slot(path)))
}

/// A constant that tests know to compare with.
fn comparable(value: &Value) -> Option<Constant> {
    (!value.is_null()).then(|| Constant::new(value))
}

fn answers(comparison: Comparison, order: Ordering) -> bool {
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

impl Subject {
    fn is_id(self) -> bool {
        matches!(self, Self::Id)
    }

    /// The text of a slot; `None` where nothing stands, and for the id.
    fn text<'text>(self, found: &[Option<&'text [u8]>]) -> Option<&'text [u8]> {
        match self {
            Self::Id => None,
            Self::Slot(slot) => found.get(slot).copied().flatten(),
        }
    }

    /// How the value stands to a constant, in the order of all values; `None` when it is null or missing.
    fn compared(self, found: &[Option<&[u8]>], id: &str, constant: &Constant) -> Option<Ordering> {
        if self.is_id() {
            return Some(match &constant.value {
                Value::String(other) => id.cmp(other),
                _ => ValueKind::String.cmp(&constant.kind),
            });
        }
        let text = self.text(found)?;
        let kind = match text.first()? {
            b'n' => return None,
            b't' | b'f' => ValueKind::Bool,
            b'"' => ValueKind::String,
            b'[' => ValueKind::Array,
            b'{' => ValueKind::Object,
            _ => ValueKind::Number,
        };
        if kind != constant.kind {
            return Some(kind.cmp(&constant.kind));
        }
        Some(match (&constant.value, text) {
            (Value::Number(other), _) => compare_numbers(std::str::from_utf8(text).ok()?, other.as_str()),
            (Value::String(other), [b'"', inner @ .., b'"']) if !inner.contains(&b'\\') => inner.cmp(other.as_bytes()),
            (other, _) => compare(&serde_json::from_slice(text).ok()?, other),
        })
    }
}
