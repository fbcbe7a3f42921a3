//! What can be read and still makes no sense: aggregates in the wrong place, fields that a group has many of.

use super::error::QueryError;
use super::expression::{Expression, Kind};
use super::statement::{Assignment, Item, Select};

type Checked = Result<(), QueryError>;

/// Checks a `SELECT` whose names are known.
pub(super) fn select(select: &Select) -> Checked {
    if let Some(filter) = &select.filter {
        without_aggregate(filter, "WHERE")?;
    }
    for key in &select.group_by {
        without_aggregate(key, "GROUP BY")?;
    }
    shown_values(select).try_for_each(without_nested_aggregate)?;
    if is_grouped(select) {
        for item in &select.items {
            if let Item::Everything { at, .. } = item {
                let message = "A group has many documents, so that * is none of them.";
                return Err(QueryError::meaning("not-grouped", message, at.0)
                    .suggesting("Select what is grouped by, and aggregates."));
            }
        }
        shown_values(select).try_for_each(|value| grouped(value, &select.group_by))?;
    }
    if select.distinct { ordered_by_what_is_shown(select) } else { Ok(()) }
}

/// Whether rows are groups of documents: by keys, or all of them as one.
pub(super) fn is_grouped(select: &Select) -> bool {
    !select.group_by.is_empty() || select.having.is_some() || shown_values(select).any(Expression::has_aggregate)
}

/// What is computed for each row that is shown, or was a group.
fn shown_values(select: &Select) -> impl Iterator<Item = &Expression> {
    let items = select.items.iter().filter_map(|item| match item {
        Item::Value { expression, .. } => Some(expression),
        Item::Everything { .. } => None,
    });
    items.chain(&select.having).chain(select.order_by.iter().map(|order| &order.expression))
}

/// Refuses an aggregate where there are no groups yet.
pub(super) fn without_aggregate(expression: &Expression, clause: &str) -> Checked {
    if let Kind::Aggregate { aggregate, .. } = &expression.kind {
        let message = format!("{} cannot stand in {clause}.", aggregate.name());
        let error = QueryError::meaning("misplaced-aggregate", message, expression.position);
        return Err(if clause == "WHERE" { error.suggesting("Conditions on groups stand in HAVING.") } else { error });
    }
    expression.children().into_iter().try_for_each(|child| without_aggregate(child, clause))
}

fn without_nested_aggregate(expression: &Expression) -> Checked {
    if let Kind::Aggregate { argument: Some(argument), aggregate, .. } = &expression.kind {
        return without_aggregate(argument, aggregate.name());
    }
    expression.children().into_iter().try_for_each(without_nested_aggregate)
}

/// Refuses what has many values in a group.
fn grouped(expression: &Expression, keys: &[Expression]) -> Checked {
    if keys.contains(expression) {
        return Ok(());
    }
    match &expression.kind {
        Kind::Aggregate { .. } => Ok(()),
        Kind::Path(path) => {
            let message = format!("{path} has a value for each document of a group.");
            Err(QueryError::meaning("not-grouped", message, expression.position)
                .suggesting(format!("Add it to GROUP BY, or write MAX({path}).")))
        }
        _ => expression.children().into_iter().try_for_each(|child| grouped(child, keys)),
    }
}

/// Refuses to order distinct rows by what they do not show: equal rows could differ in it.
fn ordered_by_what_is_shown(select: &Select) -> Checked {
    let is_shown = |expression: &Expression| {
        expression.is_constant()
            || select.items.iter().any(|item| match item {
                Item::Everything { .. } => true,
                Item::Value { expression: shown, .. } => match &shown.kind {
                    Kind::Object(fields) => fields.iter().any(|(_, value)| value == expression),
                    _ => shown == expression,
                },
            })
    };
    match select.order_by.iter().find(|order| !is_shown(&order.expression)) {
        None => Ok(()),
        Some(order) => Err(QueryError::meaning(
            "order-not-shown",
            "Distinct rows are ordered by what they show.",
            order.expression.position,
        )
        .suggesting("Select what ORDER BY names, or leave DISTINCT out.")),
    }
}

/// Refuses two values for one field, or for a field and a part of it.
pub(super) fn assigned_once(assignments: &[Assignment]) -> Checked {
    for (at, assignment) in assignments.iter().enumerate() {
        let steps = &assignment.path.steps;
        let before = assignments.iter().take(at);
        for other in before.map(|other| &other.path.steps) {
            if steps.starts_with(other) || other.starts_with(steps) {
                let message = format!("{} is assigned twice.", assignment.path);
                return Err(QueryError::meaning("assigned-twice", message, assignment.at.0));
            }
        }
    }
    Ok(())
}
