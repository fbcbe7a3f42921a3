//! Changing expressions: parts that are the same for every row become values, aggregates become fields.
//!
//! An id is text, also where it was given as a number: `Id = 7` asks for the document that `INSERT .. {Id: 7}` wrote.
//!
//! **What stays true.** An expression means the same after it as before. A part that cannot be computed stays as it
//! is, so that its error comes when a row asks for it, and not when no row does.

use serde_json::Value;

use crate::language::expression::{Among, Comparison, Expression, Kind};
use crate::value::Compute;

/// The expression with everything computed that is the same for every row.
pub(crate) fn folded(expression: &Expression, compute: &Compute<'_>) -> Expression {
    rewritten(expression, &mut |part| {
        if let Some(asked) = of_id(part, compute) {
            return Some(asked);
        }
        if matches!(part.kind, Kind::Literal(_) | Kind::Missing) || !part.is_constant() {
            return None;
        }
        let kind = compute.value(part, &[]).ok()?.map_or(Kind::Missing, Kind::Literal);
        Some(Expression::new(kind, part.position))
    })
}

/// `Id = x` or `Id IN ..` with numbers as the ids that they are written as, if the part is one of these.
fn of_id(part: &Expression, compute: &Compute<'_>) -> Option<Expression> {
    let is_id = |side: &Expression| matches!(&side.kind, Kind::Path(path) if path.is_document_id());
    let kind = match &part.kind {
        Kind::Compare { comparison: comparison @ (Comparison::Equal | Comparison::NotEqual), left, right }
            if is_id(left) != is_id(right) =>
        {
            let side = |side: &Expression| Box::new(as_id(folded(side, compute)));
            Kind::Compare { comparison: *comparison, left: side(left), right: side(right) }
        }
        Kind::In { value, among, negated } if is_id(value) => {
            let among = match among {
                Among::Listed(items) => Among::Listed(items.iter().map(|item| folded(item, compute)).collect()),
                Among::ItemsOf(items) => listed(folded(items, compute)),
            };
            let among = match among {
                Among::Listed(items) => Among::Listed(items.into_iter().map(as_id).collect()),
                unknown @ Among::ItemsOf(_) => unknown,
            };
            Kind::In { value: value.clone(), among, negated: *negated }
        }
        _ => return None,
    };
    Some(Expression::new(kind, part.position))
}

/// A number as the text that it is written as; anything else as it is.
fn as_id(value: Expression) -> Expression {
    match value.kind {
        Kind::Literal(Value::Number(number)) => {
            Expression::new(Kind::Literal(Value::String(number.to_string())), value.position)
        }
        _ => value,
    }
}

/// The expression with every part for which `replace` has something else, from the outside inwards.
pub fn rewritten(expression: &Expression, replace: &mut dyn FnMut(&Expression) -> Option<Expression>) -> Expression {
    if let Some(other) = replace(expression) {
        return other;
    }
    Expression::new(rewritten_kind(&expression.kind, replace), expression.position)
}

fn rewritten_kind(kind: &Kind, replace: &mut dyn FnMut(&Expression) -> Option<Expression>) -> Kind {
    let mut one = |part: &Expression| rewritten(part, replace);
    match kind {
        Kind::Literal(_) | Kind::Missing | Kind::Parameter(_) | Kind::Path(_) | Kind::Element => kind.clone(),
        Kind::Compare { comparison, left, right } => {
            Kind::Compare { comparison: *comparison, left: Box::new(one(left)), right: Box::new(one(right)) }
        }
        Kind::Like { value, pattern, escape, ignores_case, negated } => Kind::Like {
            value: Box::new(one(value)),
            pattern: Box::new(one(pattern)),
            escape: *escape,
            ignores_case: *ignores_case,
            negated: *negated,
        },
        Kind::In { value, among, negated } => Kind::In {
            value: Box::new(one(value)),
            among: match among {
                Among::Listed(items) => Among::Listed(items.iter().map(one).collect()),
                Among::ItemsOf(items) => listed(one(items)),
            },
            negated: *negated,
        },
        Kind::Between { value, low, high, negated } => Kind::Between {
            value: Box::new(one(value)),
            low: Box::new(one(low)),
            high: Box::new(one(high)),
            negated: *negated,
        },
        Kind::Is { value, state, negated } => {
            Kind::Is { value: Box::new(one(value)), state: *state, negated: *negated }
        }
        Kind::Quantified { quantifier, items, predicate } => Kind::Quantified {
            quantifier: *quantifier,
            items: Box::new(one(items)),
            predicate: Box::new(one(predicate)),
        },
        Kind::And(parts) => Kind::And(parts.iter().map(one).collect()),
        Kind::Or(parts) => Kind::Or(parts.iter().map(one).collect()),
        Kind::Not(part) => Kind::Not(Box::new(one(part))),
        Kind::Arithmetic { operator, left, right } => {
            Kind::Arithmetic { operator: *operator, left: Box::new(one(left)), right: Box::new(one(right)) }
        }
        Kind::Negate(part) => Kind::Negate(Box::new(one(part))),
        Kind::Concat(parts) => Kind::Concat(parts.iter().map(one).collect()),
        Kind::Case { operand, branches, otherwise } => Kind::Case {
            operand: operand.as_ref().map(|part| Box::new(one(part))),
            branches: branches.iter().map(|(when, then)| (one(when), one(then))).collect(),
            otherwise: otherwise.as_ref().map(|part| Box::new(one(part))),
        },
        Kind::Call { function, arguments } => {
            Kind::Call { function: *function, arguments: arguments.iter().map(one).collect() }
        }
        Kind::Aggregate { aggregate, argument, distinct } => Kind::Aggregate {
            aggregate: *aggregate,
            argument: argument.as_ref().map(|part| Box::new(one(part))),
            distinct: *distinct,
        },
        Kind::Array(items) => Kind::Array(items.iter().map(one).collect()),
        Kind::Object(fields) => Kind::Object(fields.iter().map(|(name, value)| (name.clone(), one(value))).collect()),
    }
}

/// Where `IN` looks: an array that is known is a list of its items, which an index can be asked for.
fn listed(items: Expression) -> Among {
    let position = items.position;
    match items.kind {
        Kind::Literal(Value::Array(items)) => {
            Among::Listed(items.into_iter().map(|item| Expression::new(Kind::Literal(item), position)).collect())
        }
        kind => Among::ItemsOf(Box::new(Expression::new(kind, position))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use holdfast_core::time::Millis;
    use serde_json::{Map, Value, json};

    use super::folded;
    use crate::language::parse_expression;
    use crate::value::Compute;

    #[test]
    fn an_array_that_came_with_the_request_is_a_list_of_its_items() {
        let parameters: Map<String, Value> = [("ids".to_owned(), json!(["a", "b"]))].into_iter().collect();
        let compute = Compute { parameters: &parameters, now: Millis(0), random: &|| 7 };
        for text in ["Id IN @ids", "Id IN (@ids)", "Id IN ('a', 'b')"] {
            let condition = parse_expression(text).unwrap();
            assert_eq!(folded(&condition, &compute).to_string(), "$.Id IN ('a', 'b')");
        }
    }

    #[test]
    fn a_number_is_the_id_that_it_is_written_as() {
        let parameters: Map<String, Value> =
            [("id".to_owned(), json!(7)), ("ids".to_owned(), json!([7, "a", null]))].into_iter().collect();
        let compute = Compute { parameters: &parameters, now: Millis(0), random: &|| 7 };
        for (text, asked) in [
            ("Id = 7", "$.Id = '7'"),
            ("@id <> _id", "'7' <> $._id"),
            ("Id IN (@id, 'b', n)", "$.Id IN ('7', 'b', $.n)"),
            ("Id NOT IN @ids", "$.Id NOT IN ('7', 'a', NULL)"),
            ("NOT (Id = 3 + 4)", "NOT $.Id = '7'"),
            ("Id > 7", "$.Id > 7"),
            ("n = 7", "$.n = 7"),
        ] {
            let condition = parse_expression(text).unwrap();
            assert_eq!(folded(&condition, &compute).to_string(), asked, "{text}");
        }
    }
}
