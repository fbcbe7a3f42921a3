//! Grouping: what a statement shows of a group, as expressions over one document per group.
//!
//! ```text
//!   SELECT City, COUNT(*) FROM c GROUP BY City HAVING COUNT(*) > 1
//!   group document {"k0": City, "a0": COUNT(*)}      SELECT $.k0, $.a0 ... HAVING $.a0 > 1
//! ```
//!
//! **What stays true.** Equal aggregates are computed once. What is neither an aggregate nor built of the keys has no
//! one value in a group, and is refused.

use crate::failure::Failure;
use crate::language::error::QueryError;
use crate::language::expression::{Expression, Kind, PathExpression, PathStep};
use crate::plan::constants::rewritten;
use crate::plan::{AggregateCall, Grouping};

/// The name of the field of a group's document that holds a key.
pub fn key_field(number: usize) -> String {
    format!("k{number}")
}

/// The name of the field of a group's document that holds an aggregate.
pub fn aggregate_field(number: usize) -> String {
    format!("a{number}")
}

impl Grouping {
    /// An expression over the rows of a group as one over the group's document; its aggregates are noted.
    pub fn over_group(&mut self, expression: &Expression) -> Result<Expression, Failure> {
        let mut wrong = None;
        let over_group = rewritten(expression, &mut |part| {
            if let Some(number) = self.keys.iter().position(|key| key == part) {
                return Some(field(&key_field(number), part));
            }
            match &part.kind {
                Kind::Aggregate { aggregate, argument, distinct } => {
                    let argument = argument.as_deref().cloned();
                    let call = AggregateCall { aggregate: *aggregate, argument, distinct: *distinct };
                    let known = self.aggregates.iter().position(|known| *known == call);
                    let number = known.unwrap_or_else(|| {
                        self.aggregates.push(call);
                        self.aggregates.len() - 1
                    });
                    Some(field(&aggregate_field(number), part))
                }
                Kind::Path(path) => {
                    wrong.get_or_insert_with(|| {
                        QueryError::meaning(
                            "query-not-grouped",
                            format!("{path} has many values in a group"),
                            part.position,
                        )
                        .suggesting("Name it in GROUP BY, or put it into COUNT, SUM, AVG, MIN or MAX.")
                    });
                    Some(part.clone())
                }
                _ => None,
            }
        });
        wrong.map_or(Ok(over_group), |wrong| Err(Failure::from(wrong)))
    }

    /// An expression over a group's document in the words of the statement, for people.
    pub fn in_words(&self, over_group: &Expression) -> Expression {
        rewritten(over_group, &mut |part| {
            let Kind::Path(path) = &part.kind else { return None };
            let [PathStep::Member(name)] = path.steps.as_slice() else { return None };
            let number = |prefix: char| name.strip_prefix(prefix)?.parse::<usize>().ok();
            let key = number('k').and_then(|number| self.keys.get(number).cloned());
            let aggregate = number('a').and_then(|number| self.aggregates.get(number)).map(|call| {
                let argument = call.argument.clone().map(Box::new);
                let kind = Kind::Aggregate { aggregate: call.aggregate, argument, distinct: call.distinct };
                Expression::new(kind, part.position)
            });
            key.or(aggregate)
        })
    }
}

fn field(name: &str, part: &Expression) -> Expression {
    let path = PathExpression { source: 0, qualifier: None, steps: vec![PathStep::Member(name.into())] };
    Expression::new(Kind::Path(path), part.position)
}
