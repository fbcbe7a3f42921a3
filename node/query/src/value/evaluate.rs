//! The walk over an expression.

use std::cell::Cell;
use std::cmp::Ordering;

use holdfast_core::collation::{Kind as ValueKind, fold};
use holdfast_core::limits::{QUERY_PATTERN_CHARS_MAX, QUERY_ROW_WORK_MAX, QUERY_VALUE_BYTES_MAX};
use serde_json::{Map, Value};

use super::Compute;
use super::datum::{Datum, size_of_value};
use super::decimal::{Decimal, OutOfRange};
use super::functions::{Call, is_lazy};
use super::like::is_like;
use crate::language::error::QueryError;
use crate::language::expression::{
    Among, Arithmetic, Comparison, Expression, Kind, PathExpression, PathStep, Position, Quantifier, State,
};
use crate::language::function::Function;

pub(super) type Evaluated<T> = Result<T, QueryError>;

/// One expression, one row.
pub(super) struct Evaluation<'a> {
    pub(super) compute: &'a Compute<'a>,
    documents: &'a [Option<&'a Value>],
    /// Bytes of values that were built so far.
    built: Cell<usize>,
    /// Characters and items that were looked at so far.
    worked: Cell<usize>,
}

/// The item that `ANY` or `ALL` looks at.
pub(super) type Element<'e, 'a> = Option<&'e Datum<'a>>;

impl<'a> Evaluation<'a> {
    pub(super) fn new(compute: &'a Compute<'a>, documents: &'a [Option<&'a Value>]) -> Self {
        Self { compute, documents, built: Cell::new(0), worked: Cell::new(0) }
    }

    pub(super) fn datum(&self, expression: &'a Expression, element: Element<'_, 'a>) -> Evaluated<Datum<'a>> {
        match &expression.kind {
            Kind::Literal(value) => Ok(Datum::Borrowed(value)),
            Kind::Missing => Ok(Datum::Missing),
            Kind::Parameter(name) => match self.compute.parameters.get(&**name) {
                Some(value) => Ok(Datum::Borrowed(value)),
                None => Err(no_such_parameter(name, self.compute.parameters, expression)),
            },
            Kind::Path(path) => self.path(path, expression.position),
            Kind::Element => Ok(element.cloned().unwrap_or(Datum::Missing)),
            Kind::Compare { .. }
            | Kind::Like { .. }
            | Kind::In { .. }
            | Kind::Between { .. }
            | Kind::Is { .. }
            | Kind::Quantified { .. }
            | Kind::And(_)
            | Kind::Or(_)
            | Kind::Not(_) => self.truth(expression, element).map(Datum::truth),
            Kind::Arithmetic { operator, left, right } => {
                self.arithmetic(*operator, left, right, expression.position, element)
            }
            Kind::Negate(operand) => {
                let number = self.number(operand, "-", element)?;
                Ok(number.map_or(Datum::NULL, |number| Datum::Number(number.negated())))
            }
            Kind::Concat(parts) => self.concat(parts, expression.position, element),
            Kind::Case { operand, branches, otherwise } => {
                self.case(operand.as_deref(), branches, otherwise.as_deref(), element)
            }
            Kind::Call { function, arguments } => self.call(*function, arguments, expression.position, element),
            // Of many rows; computed elsewhere.
            Kind::Aggregate { .. } => Ok(Datum::NULL),
            Kind::Array(items) => {
                let each = items.iter().map(|item| {
                    let value = self.datum(item, element)?;
                    self.own(value, item.position).map(|value| value.unwrap_or(Value::Null))
                });
                each.collect::<Evaluated<Vec<Value>>>().map(|items| Datum::Owned(Value::Array(items)))
            }
            Kind::Object(fields) => {
                let mut object = Map::new();
                for (name, field) in fields {
                    let value = self.datum(field, element)?;
                    if let Some(value) = self.own(value, field.position)? {
                        object.insert(name.to_string(), value);
                    }
                }
                Ok(Datum::Owned(Value::Object(object)))
            }
        }
    }

    /// Whether an expression is true; `None` for unknown.
    pub(super) fn truth(&self, expression: &'a Expression, element: Element<'_, 'a>) -> Evaluated<Option<bool>> {
        match &expression.kind {
            Kind::And(parts) => self.all(parts, element, true),
            Kind::Or(parts) => self.all(parts, element, false),
            Kind::Not(operand) => Ok(self.truth(operand, element)?.map(|truth| !truth)),
            Kind::Compare { comparison, left, right } => {
                let (left, right) = (self.datum(left, element)?, self.datum(right, element)?);
                self.work(left.length().min(right.length()), expression.position)?;
                Ok(compared(&left, &right).map(|order| answers(*comparison, order)))
            }
            Kind::Between { value, low, high, negated } => {
                let value = self.datum(value, element)?;
                let (low, high) = (self.datum(low, element)?, self.datum(high, element)?);
                let above = compared(&value, &low).map(Ordering::is_ge);
                let below = compared(&value, &high).map(Ordering::is_le);
                Ok(both(above, below).map(|within| within != *negated))
            }
            Kind::Is { value, state, negated } => {
                let value = self.datum(value, element)?;
                let is_so = match state {
                    State::Null => value.is_null(),
                    State::Missing => value.kind() == ValueKind::Missing,
                    State::True => value.as_bool() == Some(true),
                    State::False => value.as_bool() == Some(false),
                };
                Ok(Some(is_so != *negated))
            }
            Kind::Like { value, pattern, escape, ignores_case, negated } => {
                let (value, found) = (self.datum(value, element)?, self.datum(pattern, element)?);
                // With a _ in it, a pattern may be compared at every place of the text.
                let is_slow = found.as_str().is_some_and(|text| text.contains('_'));
                let times = if is_slow { found.length() } else { 1 };
                self.work(value.length().saturating_mul(times), expression.position)?;
                let looks = looks_like(&value, &found, *escape, *ignores_case, pattern)?;
                Ok(looks.map(|looks| looks != *negated))
            }
            Kind::In { value, among, negated } => {
                let found = self.is_among(value, among, element)?;
                Ok(found.map(|found| found != *negated))
            }
            Kind::Quantified { quantifier, items, predicate } => {
                self.quantified(*quantifier, items, predicate, element)
            }
            _ => {
                let value = self.datum(expression, element)?;
                match value.as_bool() {
                    Some(truth) => Ok(Some(truth)),
                    None if value.is_null() => Ok(None),
                    None => Err(mismatch(expression, &value, "a condition is true or false", None)),
                }
            }
        }
    }

    /// Whether all parts are `wanted`, from left to right; the first that is the opposite decides.
    fn all(&self, parts: &'a [Expression], element: Element<'_, 'a>, wanted: bool) -> Evaluated<Option<bool>> {
        let mut outcome = Some(wanted);
        for part in parts {
            match self.truth(part, element)? {
                Some(truth) if truth != wanted => return Ok(Some(truth)),
                Some(_) => {}
                None => outcome = None,
            }
        }
        Ok(outcome)
    }

    fn is_among(&self, value: &'a Expression, among: &'a Among, element: Element<'_, 'a>) -> Evaluated<Option<bool>> {
        let value = self.datum(value, element)?;
        let mut has_null = false;
        let mut is_empty = true;
        let mut look = |item: &Datum<'_>| {
            is_empty = false;
            has_null = has_null || item.is_null();
            compared(&value, item) == Some(Ordering::Equal)
        };
        match among {
            Among::Listed(items) => {
                for item in items {
                    if look(&self.datum(item, element)?) {
                        return Ok(Some(true));
                    }
                }
            }
            Among::ItemsOf(items) => match self.items(items, element)? {
                None => return Ok(None),
                Some(items) => {
                    if items.iter().any(&mut look) {
                        return Ok(Some(true));
                    }
                }
            },
        }
        // Nothing is in an empty list, not even something unknown.
        Ok(if is_empty || !(has_null || value.is_null()) { Some(false) } else { None })
    }

    fn quantified(
        &self,
        quantifier: Quantifier,
        items: &'a Expression,
        predicate: &'a Expression,
        element: Element<'_, 'a>,
    ) -> Evaluated<Option<bool>> {
        let Some(items) = self.items(items, element)? else {
            return Ok(None);
        };
        let wanted = quantifier == Quantifier::All;
        let mut outcome = Some(wanted);
        for item in &items {
            match self.truth(predicate, Some(item))? {
                Some(truth) if truth != wanted => return Ok(Some(truth)),
                Some(_) => {}
                None => outcome = None,
            }
        }
        Ok(outcome)
    }

    /// The items of an array, or a value as the only item; `None` for null and missing.
    fn items(&self, expression: &'a Expression, element: Element<'_, 'a>) -> Evaluated<Option<Vec<Datum<'a>>>> {
        if let Kind::Path(path) = &expression.kind
            && path.names_many()
        {
            let found = self.named(path, expression.position)?;
            return Ok(Some(found.into_iter().map(Datum::Borrowed).collect()));
        }
        Ok(match self.datum(expression, element)? {
            Datum::Borrowed(Value::Array(items)) => {
                self.work(items.len(), expression.position)?;
                Some(items.iter().map(Datum::Borrowed).collect())
            }
            Datum::Owned(Value::Array(items)) => Some(items.into_iter().map(Datum::Owned).collect()),
            other if other.is_null() => None,
            other => Some(vec![other]),
        })
    }

    fn path(&self, path: &'a PathExpression, position: Position) -> Evaluated<Datum<'a>> {
        if path.names_many() {
            let mut items = Vec::new();
            for value in self.named(path, position)? {
                self.charge(size_of_value(value), position)?;
                items.push(value.clone());
            }
            return Ok(Datum::Owned(Value::Array(items)));
        }
        let Some(document) = self.document(path) else {
            return Ok(Datum::Missing);
        };
        if path.is_document_id() {
            return Ok(Datum::of(document_id(document)));
        }
        Ok(Datum::of(path.steps.iter().try_fold(document, step_into)))
    }

    fn document(&self, path: &PathExpression) -> Option<&'a Value> {
        self.documents.get(path.source).copied().flatten()
    }

    /// Everything that a path with `[*]` names.
    fn named(&self, path: &PathExpression, position: Position) -> Evaluated<Vec<&'a Value>> {
        let mut found: Vec<&'a Value> = self.document(path).into_iter().collect();
        for step in &path.steps {
            found = match step {
                PathStep::Each => found.into_iter().filter_map(Value::as_array).flatten().collect(),
                _ => found.into_iter().filter_map(|value| step_into(value, step)).collect(),
            };
            self.work(found.len(), position)?;
        }
        Ok(found)
    }

    fn arithmetic(
        &self,
        operator: Arithmetic,
        left: &'a Expression,
        right: &'a Expression,
        position: Position,
        element: Element<'_, 'a>,
    ) -> Evaluated<Datum<'a>> {
        let symbol = operator.symbol();
        let (left_number, right_number) = (self.number(left, symbol, element)?, self.number(right, symbol, element)?);
        let (Some(left_number), Some(right_number)) = (left_number, right_number) else {
            return Ok(Datum::NULL);
        };
        if matches!(operator, Arithmetic::Divide | Arithmetic::Remainder) && right_number.is_zero() {
            return Err(division_by_zero(right, position));
        }
        let result = match operator {
            Arithmetic::Add => left_number.plus(right_number),
            Arithmetic::Subtract => left_number.plus(right_number.negated()),
            Arithmetic::Multiply => left_number.times(right_number),
            Arithmetic::Divide => left_number.divided_by(right_number),
            Arithmetic::Remainder => Ok(left_number.remainder(right_number)),
        };
        result.map(Datum::Number).map_err(|OutOfRange| out_of_range(position))
    }

    /// A number; `None` for null and missing.
    fn number(&self, operand: &'a Expression, symbol: &str, element: Element<'_, 'a>) -> Evaluated<Option<Decimal>> {
        let value = self.datum(operand, element)?;
        match value.as_number() {
            Some(number) => Ok(Some(number)),
            None if value.is_null() => Ok(None),
            None if value.kind() == ValueKind::Number => Err(not_computable(operand)),
            None => Err(not_a_number(operand, &value, &format!("{symbol} takes numbers"))),
        }
    }

    fn concat(&self, parts: &'a [Expression], position: Position, element: Element<'_, 'a>) -> Evaluated<Datum<'a>> {
        let mut text = String::new();
        let mut is_null = false;
        for part in parts {
            let value = self.datum(part, element)?;
            if value.is_null() {
                is_null = true;
                continue;
            }
            let Some(written) = scalar_text(&value) else {
                return Err(mismatch(part, &value, "|| takes text", Some("Write STRING(x).")));
            };
            self.charge(written.len(), position)?;
            text.push_str(&written);
        }
        Ok(if is_null { Datum::NULL } else { Datum::text(text) })
    }

    fn case(
        &self,
        operand: Option<&'a Expression>,
        branches: &'a [(Expression, Expression)],
        otherwise: Option<&'a Expression>,
        element: Element<'_, 'a>,
    ) -> Evaluated<Datum<'a>> {
        let operand = operand.map(|operand| self.datum(operand, element)).transpose()?;
        for (when, then) in branches {
            let is_taken = match &operand {
                None => self.truth(when, element)? == Some(true),
                Some(operand) => compared(operand, &self.datum(when, element)?) == Some(Ordering::Equal),
            };
            if is_taken {
                return self.datum(then, element);
            }
        }
        otherwise.map_or(Ok(Datum::NULL), |otherwise| self.datum(otherwise, element))
    }

    fn call(
        &self,
        function: Function,
        arguments: &'a [Expression],
        position: Position,
        element: Element<'_, 'a>,
    ) -> Evaluated<Datum<'a>> {
        if is_lazy(function) {
            return self.lazy(function, arguments, position, element);
        }
        let values = arguments.iter().map(|argument| self.datum(argument, element));
        let values = values.collect::<Evaluated<Vec<_>>>()?;
        self.work(values.iter().map(Datum::length).sum(), position)?;
        Call { function, arguments, values, position, evaluation: self }.answer()
    }

    /// Functions that do not look at all that they are given, or look at items.
    fn lazy(
        &self,
        function: Function,
        arguments: &'a [Expression],
        position: Position,
        element: Element<'_, 'a>,
    ) -> Evaluated<Datum<'a>> {
        match (function, arguments) {
            (Function::Field, [value, place]) => self.field(value, place, position, element),
            (Function::Map | Function::Filter, [items, asked]) => {
                let Some(items) = self.items(items, element)? else {
                    return Ok(Datum::NULL);
                };
                let mut chosen = Vec::new();
                for item in items {
                    let value = if function == Function::Map {
                        self.datum(asked, Some(&item))?
                    } else if self.truth(asked, Some(&item))? == Some(true) {
                        item
                    } else {
                        continue;
                    };
                    chosen.extend(self.own(value, position)?);
                }
                Ok(Datum::Owned(Value::Array(chosen)))
            }
            (Function::If, [condition, then, otherwise]) => {
                let is_taken = self.truth(condition, element)? == Some(true);
                self.datum(if is_taken { then } else { otherwise }, element)
            }
            _ => {
                for argument in arguments {
                    let value = self.datum(argument, element)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Ok(Datum::NULL)
            }
        }
    }

    /// What stands in an object under a name, or in an array at an index.
    fn field(
        &self,
        value: &'a Expression,
        place: &'a Expression,
        position: Position,
        element: Element<'_, 'a>,
    ) -> Evaluated<Datum<'a>> {
        let (value, place) = (self.datum(value, element)?, self.datum(place, element)?);
        let index = place.as_number().and_then(Decimal::to_i64).and_then(|index| usize::try_from(index).ok());
        match value {
            Datum::Borrowed(value) => Ok(Datum::of(within(value, place.as_str(), index))),
            Datum::Owned(value) => {
                let found = within(&value, place.as_str(), index);
                found.map_or(Ok(()), |found| self.charge(size_of_value(found), position))?;
                Ok(found.cloned().map_or(Datum::Missing, Datum::Owned))
            }
            Datum::Missing | Datum::Number(_) => Ok(Datum::Missing),
        }
    }

    /// A value for itself, its size counted; `None` where it is missing.
    fn own(&self, datum: Datum<'a>, position: Position) -> Evaluated<Option<Value>> {
        if let Datum::Borrowed(value) = &datum {
            self.charge(size_of_value(value), position)?;
        }
        Ok(datum.into_value())
    }

    /// Counts what is looked at. A statement that looks at a large value a thousand times would hold up everything else.
    fn work(&self, steps: usize, position: Position) -> Evaluated<()> {
        let worked = self.worked.get().saturating_add(steps);
        self.worked.set(worked);
        if worked > QUERY_ROW_WORK_MAX {
            let message = "The expression looks at more than can be looked at for one row.";
            return Err(QueryError::meaning("query-too-much-work", message, position));
        }
        Ok(())
    }

    /// Counts what is built, before it is.
    pub(super) fn charge(&self, bytes: usize, position: Position) -> Evaluated<()> {
        let built = self.built.get().saturating_add(bytes);
        self.built.set(built);
        if built > QUERY_VALUE_BYTES_MAX {
            let message = format!("What is computed for one row has more than {QUERY_VALUE_BYTES_MAX} bytes.");
            return Err(QueryError::meaning("value-too-large", message, position));
        }
        Ok(())
    }
}

/// The id that a document carries: the one field at its top that is called so, in any case.
fn document_id(document: &Value) -> Option<&Value> {
    let fields = document.as_object()?;
    let by_name = fields.get("Id").or_else(|| fields.get("id"));
    by_name.or_else(|| fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("Id")).map(|(_, id)| id))
}

fn within<'a>(value: &'a Value, name: Option<&str>, index: Option<usize>) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => fields.get(name?),
        Value::Array(items) => items.get(index?),
        _ => None,
    }
}

fn step_into<'a>(value: &'a Value, step: &PathStep) -> Option<&'a Value> {
    match step {
        PathStep::Member(name) => value.as_object()?.get(&**name),
        PathStep::Index(index) => value.as_array()?.get(usize::try_from(*index).ok()?),
        PathStep::Each => None,
    }
}

/// How two values stand to each other; `None` where one of them is null or missing.
pub(super) fn compared(left: &Datum<'_>, right: &Datum<'_>) -> Option<Ordering> {
    if left.is_null() || right.is_null() { None } else { Some(left.compare(right)) }
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

fn both(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn looks_like(
    value: &Datum<'_>,
    found: &Datum<'_>,
    escape: Option<char>,
    ignores_case: bool,
    pattern: &Expression,
) -> Evaluated<Option<bool>> {
    if value.is_null() || found.is_null() {
        return Ok(None);
    }
    let Some(text) = found.as_str() else {
        return Err(mismatch(pattern, found, "LIKE takes a text to compare with", None));
    };
    if text.len() > QUERY_PATTERN_CHARS_MAX && text.chars().count() > QUERY_PATTERN_CHARS_MAX {
        let message = format!("The pattern is longer than {QUERY_PATTERN_CHARS_MAX} characters.");
        return Err(QueryError::meaning("pattern-too-long", message, pattern.position));
    }
    let Some(value) = value.as_str() else {
        return Ok(Some(false));
    };
    Ok(Some(if ignores_case {
        let escape = escape.map(|escape| escape.to_lowercase().next().unwrap_or(escape));
        is_like(&fold(value), &fold(text), escape)
    } else {
        is_like(value, text, escape)
    }))
}

/// Text, a number or a truth as text.
pub(super) fn scalar_text(value: &Datum<'_>) -> Option<String> {
    match value.kind() {
        ValueKind::String => value.as_str().map(str::to_owned),
        ValueKind::Number => Some(value.number_text()),
        ValueKind::Bool => value.as_bool().map(|truth| truth.to_string()),
        _ => None,
    }
}

/// What a kind of value is called.
pub(super) fn kind_name(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Missing => "missing",
        ValueKind::Null => "null",
        ValueKind::Bool => "boolean",
        ValueKind::Number => "number",
        ValueKind::String => "string",
        ValueKind::Array => "array",
        ValueKind::Object => "object",
    }
}

/// So much of an expression as a message needs.
fn shortened(expression: &Expression) -> String {
    let text = expression.to_string();
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// A value is not of the kind that is needed.
pub(super) fn mismatch(
    expression: &Expression,
    value: &Datum<'_>,
    needed: &str,
    suggestion: Option<&str>,
) -> QueryError {
    let message = format!("{} is of kind {}, and {needed}.", shortened(expression), kind_name(value.kind()));
    let error = QueryError::meaning("type-mismatch", message, expression.position);
    match suggestion {
        Some(suggestion) => error.suggesting(suggestion),
        None => error,
    }
}

pub(super) fn not_a_number(expression: &Expression, value: &Datum<'_>, needed: &str) -> QueryError {
    let name = shortened(expression);
    let suggestion = format!("Write NUMBER({name}), or leave such documents out: WHERE IS_NUMBER({name}).");
    mismatch(expression, value, needed, Some(&suggestion))
}

/// A number that came with the request, and that no document may hold.
fn not_computable(expression: &Expression) -> QueryError {
    let message = format!("{} is too large a number to compute with, or has too many digits.", shortened(expression));
    QueryError::meaning("number-out-of-range", message, expression.position)
}

pub(super) fn division_by_zero(divisor: &Expression, position: Position) -> QueryError {
    let name = shortened(divisor);
    QueryError::meaning("division-by-zero", format!("{name} is zero, and nothing can be divided by it."), position)
        .suggesting(format!("Write NULLIF({name}, 0), so that the result is null there."))
}

pub(super) fn out_of_range(position: Position) -> QueryError {
    QueryError::meaning("number-out-of-range", "The result is greater than 10^308, or not a number.", position)
}

pub(super) fn no_such_parameter(name: &str, parameters: &Map<String, Value>, at: &Expression) -> QueryError {
    let message = format!("The request has no parameter {name}.");
    let error = QueryError::meaning("missing-parameter", message, at.position);
    let alike = parameters.keys().find(|known| {
        known.eq_ignore_ascii_case(name) || known.trim_start_matches(['@', ':', '$']).eq_ignore_ascii_case(name)
    });
    match alike {
        Some(known) => error.suggesting(format!("There is one called {known}.")),
        None => error.suggesting(format!("Send it beside the query: \"parameters\": {{\"{name}\": 17}}.")),
    }
}
