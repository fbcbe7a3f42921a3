//! Statements and expressions as text.
//!
//! **What stays true.** The text of what was parsed parses to the same again. Brackets stand only where they are needed.

use std::fmt::{self, Display, Formatter, Write};

use serde_json::Value;

use super::expression::{Among, Arithmetic, Expression, Kind, PathExpression, PathStep, Quantifier, State};
use super::function::Function;
use super::statement::{
    Assignment, Changes, CreateIndex, Delete, DropIndex, Insert, Item, Join, JoinEquality, JoinKind, Name, Nulls,
    Order, Select, Source, Statement, Update,
};
use super::word::{is_plain, is_reserved};

/// How tightly the parts of an expression hold together, the loosest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Or,
    And,
    Not,
    Predicate,
    Concat,
    Sum,
    Product,
    Negation,
    Primary,
}

impl Display for Expression {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write_at(self, Level::Or, out)
    }
}

fn level(expression: &Expression) -> Level {
    match &expression.kind {
        Kind::Or(_) => Level::Or,
        Kind::And(_) => Level::And,
        Kind::Not(_) => Level::Not,
        Kind::Compare { .. }
        | Kind::Like { .. }
        | Kind::In { .. }
        | Kind::Between { .. }
        | Kind::Is { .. }
        | Kind::Quantified { .. } => Level::Predicate,
        Kind::Concat(_) => Level::Concat,
        Kind::Arithmetic { operator: Arithmetic::Add | Arithmetic::Subtract, .. } => Level::Sum,
        Kind::Arithmetic { .. } => Level::Product,
        Kind::Negate(_) => Level::Negation,
        Kind::Literal(Value::Number(number)) if number.as_str().starts_with('-') => Level::Negation,
        _ => Level::Primary,
    }
}

/// Writes an expression where only those that hold together at least so tightly need no brackets.
fn write_at(expression: &Expression, least: Level, out: &mut Formatter<'_>) -> fmt::Result {
    if level(expression) < least {
        out.write_char('(')?;
        write_bare(expression, out)?;
        return out.write_char(')');
    }
    write_bare(expression, out)
}

fn write_bare(expression: &Expression, out: &mut Formatter<'_>) -> fmt::Result {
    match &expression.kind {
        Kind::Literal(value) => write_literal(value, out),
        Kind::Missing => out.write_str("MISSING"),
        Kind::Parameter(name) => write!(out, "@{name}"),
        Kind::Path(path) => write!(out, "{path}"),
        Kind::Element => out.write_char('@'),
        Kind::Compare { left: value, .. }
        | Kind::Like { value, .. }
        | Kind::In { value, .. }
        | Kind::Between { value, .. }
        | Kind::Is { value, .. } => {
            write_at(value, Level::Concat, out)?;
            write_question(&expression.kind, out)
        }
        Kind::Quantified { quantifier, items, predicate } => {
            out.write_str(match quantifier {
                Quantifier::Any => "ANY ",
                Quantifier::All => "ALL ",
            })?;
            write_at(items, Level::Concat, out)?;
            write_question(&predicate.kind, out)
        }
        Kind::Or(parts) => write_joined(parts, Level::And, " OR ", out),
        Kind::And(parts) => write_joined(parts, Level::Not, " AND ", out),
        Kind::Concat(parts) => write_joined(parts, Level::Sum, " || ", out),
        Kind::Not(part) => {
            out.write_str("NOT ")?;
            write_at(part, Level::Not, out)
        }
        Kind::Arithmetic { operator, left, right } => {
            let (level, tighter) = match operator {
                Arithmetic::Add | Arithmetic::Subtract => (Level::Sum, Level::Product),
                _ => (Level::Product, Level::Negation),
            };
            write_at(left, level, out)?;
            write!(out, " {} ", operator.symbol())?;
            write_at(right, tighter, out)
        }
        Kind::Negate(value) => {
            // A number after the sign would be read as one with it, and a sign as the beginning of a comment.
            match value.kind {
                Kind::Literal(Value::Number(_)) => write!(out, "-({value})"),
                Kind::Negate(_) => write!(out, "- {value}"),
                _ => {
                    out.write_char('-')?;
                    write_at(value, Level::Primary, out)
                }
            }
        }
        Kind::Case { operand, branches, otherwise } => {
            write_case(operand.as_deref(), branches, otherwise.as_deref(), out)
        }
        Kind::Call { function, arguments } => write_call(*function, arguments, out),
        Kind::Aggregate { aggregate, argument, distinct } => {
            write!(out, "{}({}", aggregate.name(), if *distinct { "DISTINCT " } else { "" })?;
            match argument {
                Some(argument) => write!(out, "{argument})"),
                None => out.write_str("*)"),
            }
        }
        Kind::Array(items) => {
            out.write_char('[')?;
            write_joined(items, Level::Or, ", ", out)?;
            out.write_char(']')
        }
        Kind::Object(fields) => {
            out.write_char('{')?;
            for (at, (name, value)) in fields.iter().enumerate() {
                out.write_str(if at > 0 { ", " } else { "" })?;
                write_key(name, out)?;
                write!(out, ": {value}")?;
            }
            out.write_char('}')
        }
    }
}

/// What a predicate asks of its value, without the value.
fn write_question(predicate: &Kind, out: &mut Formatter<'_>) -> fmt::Result {
    let not = |negated: &bool| if *negated { "NOT " } else { "" };
    match predicate {
        Kind::Compare { comparison, right, .. } => {
            write!(out, " {} ", comparison.symbol())?;
            write_at(right, Level::Concat, out)
        }
        Kind::Like { pattern, escape, ignores_case, negated, .. } => {
            write!(out, " {}{} ", not(negated), if *ignores_case { "ILIKE" } else { "LIKE" })?;
            write_at(pattern, Level::Concat, out)?;
            match escape {
                Some(escape) => {
                    out.write_str(" ESCAPE ")?;
                    write_text(escape.encode_utf8(&mut [0; 4]), out)
                }
                None => Ok(()),
            }
        }
        Kind::In { among: Among::Listed(items), negated, .. } => {
            write!(out, " {}IN (", not(negated))?;
            write_joined(items, Level::Or, ", ", out)?;
            out.write_char(')')
        }
        Kind::In { among: Among::ItemsOf(items), negated, .. } => {
            write!(out, " {}IN ", not(negated))?;
            write_at(items, Level::Primary, out)
        }
        Kind::Between { low, high, negated, .. } => {
            write!(out, " {}BETWEEN ", not(negated))?;
            write_at(low, Level::Concat, out)?;
            out.write_str(" AND ")?;
            write_at(high, Level::Concat, out)
        }
        Kind::Is { state, negated, .. } => {
            let state = match state {
                State::Null => "NULL",
                State::Missing => "MISSING",
                State::True => "TRUE",
                State::False => "FALSE",
            };
            write!(out, " IS {}{state}", not(negated))
        }
        _ => Ok(()),
    }
}

fn write_case(
    operand: Option<&Expression>,
    branches: &[(Expression, Expression)],
    otherwise: Option<&Expression>,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    out.write_str("CASE")?;
    if let Some(operand) = operand {
        write!(out, " {operand}")?;
    }
    for (when, then) in branches {
        write!(out, " WHEN {when} THEN {then}")?;
    }
    if let Some(otherwise) = otherwise {
        write!(out, " ELSE {otherwise}")?;
    }
    out.write_str(" END")
}

fn write_call(function: Function, arguments: &[Expression], out: &mut Formatter<'_>) -> fmt::Result {
    if let [value, place] = arguments
        && function == Function::Field
        && is_in_element(value)
    {
        match &place.kind {
            Kind::Literal(Value::String(name)) if is_plain(name) => return write!(out, "{value}.{name}"),
            Kind::Literal(Value::String(name)) => {
                write!(out, "{value}[")?;
                write_json(name, out)?;
                return out.write_char(']');
            }
            Kind::Literal(Value::Number(index)) if index.is_u64() => return write!(out, "{value}[{index}]"),
            _ => {}
        }
    }
    write!(out, "{}(", function.name())?;
    write_joined(arguments, Level::Or, if function.looks_at_items() { " => " } else { ", " }, out)?;
    out.write_char(')')
}

/// Whether an expression is `@`, or a field of a field of it.
fn is_in_element(expression: &Expression) -> bool {
    match &expression.kind {
        Kind::Element => true,
        Kind::Call { function: Function::Field, arguments } => arguments.first().is_some_and(is_in_element),
        _ => false,
    }
}

fn write_joined(parts: &[Expression], least: Level, between: &str, out: &mut Formatter<'_>) -> fmt::Result {
    for (at, part) in parts.iter().enumerate() {
        out.write_str(if at > 0 { between } else { "" })?;
        write_at(part, least, out)?;
    }
    Ok(())
}

fn write_literal(value: &Value, out: &mut Formatter<'_>) -> fmt::Result {
    match value {
        Value::Null => out.write_str("NULL"),
        Value::Bool(true) => out.write_str("TRUE"),
        Value::Bool(false) => out.write_str("FALSE"),
        Value::String(text) => write_text(text, out),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => write!(out, "{value}"),
    }
}

/// Text between single quotes, where a quote is written twice and everything else stands for itself.
fn write_text(text: &str, out: &mut Formatter<'_>) -> fmt::Result {
    write!(out, "'{}'", text.replace('\'', "''"))
}

fn write_key(name: &str, out: &mut Formatter<'_>) -> fmt::Result {
    if is_plain(name) { out.write_str(name) } else { write_json(name, out) }
}

/// Text between double quotes, as in JSON.
fn write_json(text: &str, out: &mut Formatter<'_>) -> fmt::Result {
    write!(out, "{}", Value::from(text))
}

impl Display for PathExpression {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match &self.qualifier {
            Some(name) => write_name(name, out)?,
            None => out.write_char('$')?,
        }
        for step in &self.steps {
            match step {
                PathStep::Member(name) if is_plain(name) => write!(out, ".{name}")?,
                PathStep::Member(name) => {
                    out.write_char('[')?;
                    write_json(name, out)?;
                    out.write_char(']')?;
                }
                PathStep::Index(index) => write!(out, "[{index}]")?,
                PathStep::Each => out.write_str("[*]")?,
            }
        }
        Ok(())
    }
}

/// A name, in backticks where it needs them.
fn write_name(name: &str, out: &mut Formatter<'_>) -> fmt::Result {
    if is_plain(name) && !is_reserved(name) {
        return out.write_str(name);
    }
    write!(out, "`{}`", name.replace('`', "``"))
}

impl Display for Name {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write_name(&self.text, out)
    }
}

impl Display for Statement {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Select(select) => write!(out, "{select}"),
            Self::Insert(insert) => write!(out, "{insert}"),
            Self::Update(update) => write!(out, "{update}"),
            Self::Delete(delete) => write!(out, "{delete}"),
            Self::CreateIndex(create) => write!(out, "{create}"),
            Self::DropIndex(drop) => write!(out, "{drop}"),
            Self::Explain { analyze, statement } => {
                write!(out, "EXPLAIN {}{statement}", if *analyze { "ANALYZE " } else { "" })
            }
        }
    }
}

impl Display for Select {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(if self.distinct { "SELECT DISTINCT " } else { "SELECT " })?;
        write_list(&self.items, out)?;
        if let Some(from) = &self.from {
            write!(out, " FROM {from}")?;
        }
        for join in &self.joins {
            write!(out, " {join}")?;
        }
        write_filter(self.filter.as_ref(), out)?;
        if !self.group_by.is_empty() {
            out.write_str(" GROUP BY ")?;
            write_list(&self.group_by, out)?;
        }
        if let Some(having) = &self.having {
            write!(out, " HAVING {having}")?;
        }
        if !self.order_by.is_empty() {
            out.write_str(" ORDER BY ")?;
            write_list(&self.order_by, out)?;
        }
        if let Some(limit) = &self.limit {
            write!(out, " LIMIT {limit}")?;
        }
        match &self.offset {
            Some(offset) => write!(out, " OFFSET {offset}"),
            None => Ok(()),
        }
    }
}

fn write_list(parts: &[impl Display], out: &mut Formatter<'_>) -> fmt::Result {
    for (at, part) in parts.iter().enumerate() {
        write!(out, "{}{part}", if at > 0 { ", " } else { "" })?;
    }
    Ok(())
}

fn write_filter(filter: Option<&Expression>, out: &mut Formatter<'_>) -> fmt::Result {
    match filter {
        Some(filter) => write!(out, " WHERE {filter}"),
        None => Ok(()),
    }
}

impl Display for Item {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything { qualifier: None, .. } => out.write_str("*"),
            Self::Everything { qualifier: Some(name), .. } => {
                write_name(name, out)?;
                out.write_str(".*")
            }
            Self::Value { expression, alias: None } => write!(out, "{expression}"),
            Self::Value { expression, alias: Some(alias) } => write!(out, "{expression} AS {alias}"),
        }
    }
}

impl Display for Source {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match &self.alias {
            Some(alias) => write!(out, "{} AS {alias}", self.collection),
            None => write!(out, "{}", self.collection),
        }
    }
}

impl Display for Join {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            JoinKind::Inner => "INNER",
            JoinKind::Left => "LEFT",
            JoinKind::Right => "RIGHT",
            JoinKind::Cross => "CROSS",
        };
        write!(out, "{kind} JOIN {}", self.source)?;
        for (at, JoinEquality { earlier, joined }) in self.on.iter().enumerate() {
            out.write_str(if at > 0 { " AND " } else { " ON " })?;
            write_at(earlier, Level::Concat, out)?;
            out.write_str(" = ")?;
            write_at(joined, Level::Concat, out)?;
        }
        Ok(())
    }
}

impl Display for Order {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", self.expression, if self.descending { " DESC" } else { "" })?;
        out.write_str(match self.nulls {
            Some(Nulls::First) => " NULLS FIRST",
            Some(Nulls::Last) => " NULLS LAST",
            None => "",
        })
    }
}

impl Display for Insert {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "INSERT INTO {} VALUES ", self.collection)?;
        write_list(&self.documents, out)
    }
}

impl Display for Update {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "UPDATE {} SET ", self.collection)?;
        match &self.changes {
            Changes::Merge(object) => write!(out, "{object}")?,
            Changes::Assign(assignments) => write_list(assignments, out)?,
        }
        write_filter(self.filter.as_ref(), out)
    }
}

impl Display for Assignment {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{} = {}", self.path, self.value)
    }
}

impl Display for Delete {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "DELETE FROM {}", self.collection)?;
        write_filter(self.filter.as_ref(), out)
    }
}

impl Display for CreateIndex {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(if self.unique { "CREATE UNIQUE INDEX " } else { "CREATE INDEX " })?;
        out.write_str(if self.if_not_exists { "IF NOT EXISTS " } else { "" })?;
        write!(out, "{} ON {} (", self.name, self.collection)?;
        write_list(&self.paths, out)?;
        out.write_str(if self.case_insensitive { ") CASE INSENSITIVE" } else { ")" })
    }
}

impl Display for DropIndex {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "DROP INDEX {}{}", if self.if_exists { "IF EXISTS " } else { "" }, self.name)?;
        match &self.collection {
            Some(collection) => write!(out, " ON {collection}"),
            None => Ok(()),
        }
    }
}
