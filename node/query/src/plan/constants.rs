//! Changing expressions: parts that are the same for every row become values, aggregates become fields.
//!
//! **What stays true.** An expression means the same after it as before. A part that cannot be computed stays as it
//! is, so that its error comes when a row asks for it, and not when no row does.

use serde_json::Value;

use crate::language::expression::{Among, Expression, Kind};
use crate::value::Compute;

/// The expression with everything computed that is the same for every row.
pub(crate) fn folded(expression: &Expression, compute: &Compute<'_>) -> Expression {
    rewritten(expression, &mut |part| {
        if matches!(part.kind, Kind::Literal(_) | Kind::Missing) || !part.is_constant() {
            return None;
        }
        let kind = compute.value(part, &[]).ok()?.map_or(Kind::Missing, Kind::Literal);
        Some(Expression::new(kind, part.position))
    })
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
}
