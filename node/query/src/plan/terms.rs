//! What a condition says of one path: the values between which it must lie for the condition to be true.
//!
//! ```text
//!   Total >= 10 AND Total < 20 AND Note IS NULL      Total: 10 ..< 20     Note: no restriction that an index knows
//!   Id = 'a' OR Id = 'b'                             Id: one of 'a', 'b'
//!   Name LIKE 'Ada%'                                 Name: begins with 'Ada'
//!   Name ILIKE 'ada%', LOWER(Name) = 'ada'           the same for Name where case does not count
//! ```
//!
//! **What stays true.** A document for which the condition is true has its value within the restriction. The reverse
//! need not hold: the condition is asked again.

use std::ops::Bound;

use holdfast_core::collation::{compare, fold};
use serde_json::Value;

use crate::language::expression::{Among, Comparison, Expression, Kind, PathExpression, Quantifier};
use crate::language::function::Function;

/// Where a value must lie.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Restriction {
    /// It is one of these.
    OneOf(Vec<Value>),
    /// It lies between these, of which at least one is there.
    Between(Bound<Value>, Bound<Value>),
    /// It is a text that begins so.
    StartsWith(String),
}

/// The parts of a condition that must all be true.
pub(crate) fn conjuncts(condition: Expression, into: &mut Vec<Expression>) {
    match condition.kind {
        Kind::And(parts) => parts.into_iter().for_each(|part| conjuncts(part, into)),
        _ => into.push(condition),
    }
}

/// The sources that an expression reads.
pub(crate) fn sources_of(expression: &Expression) -> Vec<usize> {
    let mut sources = Vec::new();
    expression.any(&mut |part| {
        if let Kind::Path(path) = &part.kind
            && !sources.contains(&path.source)
        {
            sources.push(path.source);
        }
        false
    });
    sources
}

/// Whether asking a condition of any row gives true, false or unknown, and never an error.
pub(crate) fn cannot_fail(condition: &Expression) -> bool {
    let is_value =
        |part: &Expression| matches!(part.kind, Kind::Path(_) | Kind::Literal(_) | Kind::Missing | Kind::Element);
    match &condition.kind {
        Kind::And(parts) | Kind::Or(parts) => parts.iter().all(cannot_fail),
        Kind::Not(part) => cannot_fail(part),
        Kind::Quantified { items, predicate, .. } => is_value(items) && cannot_fail(predicate),
        Kind::Compare { .. } | Kind::Between { .. } | Kind::In { .. } | Kind::Is { .. } => {
            condition.children().into_iter().all(is_value)
        }
        Kind::Literal(Value::Bool(_) | Value::Null) => true,
        _ => false,
    }
}

/// What a condition says of a path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Saying<'e> {
    pub(crate) path: &'e PathExpression,
    pub(crate) restriction: Restriction,
    /// Whether it is said of one of the items there: `ANY path = 1`. Another condition may be true of another item.
    pub(crate) is_of_items: bool,
    /// Whether it is said of what a text is where case does not count.
    pub(crate) ignores_case: bool,
}

/// What is said, and of which path.
struct About<'e> {
    path: &'e PathExpression,
    restriction: Restriction,
    ignores_case: bool,
}

impl<'e> About<'e> {
    fn exactly(path: &'e PathExpression, restriction: Restriction) -> Self {
        Self { path, restriction, ignores_case: false }
    }
}

/// What a condition says of a path, if it is about one.
pub(crate) fn saying(condition: &Expression) -> Option<Saying<'_>> {
    let (about, is_of_items) = match &condition.kind {
        Kind::Quantified { quantifier: Quantifier::Any, items, predicate } => match &items.kind {
            Kind::Path(path) => (about(predicate, Some(path))?, true),
            _ => return None,
        },
        Kind::In { value, among: Among::ItemsOf(items), negated: false } => match (&value.kind, &items.kind) {
            (Kind::Literal(value), Kind::Path(path)) if !value.is_null() => {
                (About::exactly(path, Restriction::OneOf(vec![value.clone()])), true)
            }
            _ => (about(condition, None)?, false),
        },
        _ => (about(condition, None)?, false),
    };
    let About { path, restriction, ignores_case } = about;
    Some(Saying { path, restriction, is_of_items, ignores_case })
}

/// What a condition says of a path, or of the items at a path when it is asked of them.
fn about<'e>(condition: &'e Expression, items: Option<&'e PathExpression>) -> Option<About<'e>> {
    let subject = |expression: &'e Expression| subject(expression, items);
    let exactly = |value: &'e Expression, restriction| Some(About::exactly(subject(value)?, restriction));
    match &condition.kind {
        Kind::Compare { comparison, left, right } => {
            let (comparison, value, constant) = match (&left.kind, &right.kind) {
                (_, Kind::Literal(constant)) => (*comparison, left, constant),
                (Kind::Literal(constant), _) => (comparison.flipped(), right, constant),
                _ => return None,
            };
            match lowered(value).filter(|_| comparison == Comparison::Equal) {
                Some(value) => one_of_lowered(subject(value)?, vec![constant.clone()]),
                None => exactly(value, compared(comparison, constant)?),
            }
        }
        Kind::Between { value, low, high, negated: false } => match (&low.kind, &high.kind) {
            (Kind::Literal(low), Kind::Literal(high)) if !low.is_null() && !high.is_null() => {
                exactly(value, Restriction::Between(Bound::Included(low.clone()), Bound::Included(high.clone())))
            }
            _ => None,
        },
        Kind::In { value, among: Among::Listed(listed), negated: false } => match lowered(value) {
            Some(value) => one_of_lowered(subject(value)?, constants(listed)?),
            None => exactly(value, Restriction::OneOf(constants(listed)?)),
        },
        Kind::Like { value, pattern, escape, ignores_case, negated: false } => match &pattern.kind {
            Kind::Literal(Value::String(pattern)) => {
                let prefix =
                    if *ignores_case { folded_prefix_of(pattern, *escape) } else { prefix_of(pattern, *escape) };
                let restriction = Restriction::StartsWith(prefix?);
                Some(About { path: subject(value)?, restriction, ignores_case: *ignores_case })
            }
            _ => None,
        },
        Kind::Call { function: Function::StartsWith, arguments } => match arguments.as_slice() {
            [value, Expression { kind: Kind::Literal(Value::String(prefix)), .. }] if !prefix.is_empty() => {
                exactly(value, Restriction::StartsWith(prefix.clone()))
            }
            _ => None,
        },
        Kind::Or(parts) => one_of_several(parts, items),
        _ => None,
    }
}

/// The path that an expression is, or stands for.
fn subject<'e>(expression: &'e Expression, items: Option<&'e PathExpression>) -> Option<&'e PathExpression> {
    match (&expression.kind, items) {
        (Kind::Path(path), None) if !path.names_many() => Some(path),
        (Kind::Element, Some(path)) => Some(path),
        _ => None,
    }
}

/// What stands in `LOWER(..)`.
fn lowered(expression: &Expression) -> Option<&Expression> {
    match &expression.kind {
        Kind::Call { function: Function::Lower, arguments } => match arguments.as_slice() {
            [value] => Some(value),
            _ => None,
        },
        _ => None,
    }
}

/// `LOWER(path)` is one of these. It makes of a sigma at the end of a word what no comparison without case does, so of
/// that nothing is said.
fn one_of_lowered(path: &PathExpression, values: Vec<Value>) -> Option<About<'_>> {
    let is_safe = values.iter().all(|value| value.as_str().is_some_and(|text| !text.contains('ς')));
    is_safe.then_some(About { path, restriction: Restriction::OneOf(values), ignores_case: true })
}

/// The constants of a list, without null: nothing is equal to it.
fn constants(listed: &[Expression]) -> Option<Vec<Value>> {
    let known = listed.iter().filter(|item| !matches!(item.kind, Kind::Literal(Value::Null) | Kind::Missing));
    let each = known.map(|item| match &item.kind {
        Kind::Literal(value) => Some(value.clone()),
        _ => None,
    });
    each.collect()
}

/// `a = 1 OR a = 2 OR a IN (3, 4)`
fn one_of_several<'e>(parts: &'e [Expression], items: Option<&'e PathExpression>) -> Option<About<'e>> {
    let mut all: Option<(&PathExpression, Vec<Value>, bool)> = None;
    for part in parts {
        let About { path, restriction: Restriction::OneOf(values), ignores_case } = about(part, items)? else {
            return None;
        };
        match &mut all {
            None => all = Some((path, values, ignores_case)),
            Some((known, all, is_any)) if *known == path => {
                all.extend(values);
                *is_any |= ignores_case;
            }
            Some(_) => return None,
        }
    }
    all.map(|(path, values, ignores_case)| About { path, restriction: Restriction::OneOf(values), ignores_case })
}

fn compared(comparison: Comparison, value: &Value) -> Option<Restriction> {
    // A comparison with null is never true.
    if value.is_null() {
        return None;
    }
    let value = value.clone();
    Some(match comparison {
        Comparison::Equal => Restriction::OneOf(vec![value]),
        Comparison::Less => Restriction::Between(Bound::Unbounded, Bound::Excluded(value)),
        Comparison::LessOrEqual => Restriction::Between(Bound::Unbounded, Bound::Included(value)),
        Comparison::Greater => Restriction::Between(Bound::Excluded(value), Bound::Unbounded),
        Comparison::GreaterOrEqual => Restriction::Between(Bound::Included(value), Bound::Unbounded),
        Comparison::NotEqual => return None,
    })
}

/// What every text begins with that is like a pattern; `None` if that is nothing.
fn prefix_of(pattern: &str, escape: Option<char>) -> Option<String> {
    let mut prefix = String::new();
    let mut rest = pattern.chars();
    while let Some(next) = rest.next() {
        match next {
            _ if Some(next) == escape => prefix.push(rest.next()?),
            '%' | '_' => break,
            _ => prefix.push(next),
        }
    }
    (!prefix.is_empty()).then_some(prefix)
}

/// The same where case does not count: there, the sign that escapes is the same in either case too.
fn folded_prefix_of(pattern: &str, escape: Option<char>) -> Option<String> {
    prefix_of(&fold(pattern), escape.map(|escape| escape.to_lowercase().next().unwrap_or(escape)))
}

impl Restriction {
    /// What must hold if both hold, and whether that says all of both: there are not always words for it.
    pub(crate) fn and(self, other: Self) -> (Self, bool) {
        match (self, other) {
            (Self::OneOf(left), Self::OneOf(right)) => {
                let both = left.into_iter().filter(|value| right.iter().any(|other| compare(value, other).is_eq()));
                (Self::OneOf(both.collect()), true)
            }
            (Self::Between(low, high), Self::Between(other_low, other_high)) => {
                (Self::Between(narrower(low, other_low, true), narrower(high, other_high, false)), true)
            }
            (Self::OneOf(values), _) | (_, Self::OneOf(values)) => (Self::OneOf(values), false),
            (first, _) => (first, false),
        }
    }

    /// As people read it.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::OneOf(values) => match values.as_slice() {
                [value] => format!("= {value}"),
                values => format!("in {} values", values.len()),
            },
            Self::Between(low, high) => {
                let low = match low {
                    Bound::Unbounded => String::new(),
                    Bound::Included(value) => format!(">= {value}"),
                    Bound::Excluded(value) => format!("> {value}"),
                };
                let high = match high {
                    Bound::Unbounded => String::new(),
                    Bound::Included(value) => format!("<= {value}"),
                    Bound::Excluded(value) => format!("< {value}"),
                };
                [low, high].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" and ")
            }
            Self::StartsWith(prefix) => format!("begins with '{prefix}'"),
        }
    }
}

/// The narrower of two lower bounds, or of two upper ones.
fn narrower(left: Bound<Value>, right: Bound<Value>, is_lower: bool) -> Bound<Value> {
    let order = match (&left, &right) {
        (Bound::Unbounded, _) => return right,
        (_, Bound::Unbounded) => return left,
        (Bound::Included(one) | Bound::Excluded(one), Bound::Included(other) | Bound::Excluded(other)) => {
            compare(one, other)
        }
    };
    let right_is_narrower = if is_lower { order.is_lt() } else { order.is_gt() };
    if right_is_narrower || (order.is_eq() && matches!(right, Bound::Excluded(_))) { right } else { left }
}
