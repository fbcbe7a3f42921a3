//! What an `UPDATE` makes of one document: a counter operation, a patch, or the whole document.
//!
//! `stock = stock - 1` does what `{"$inc": {"stock": -1}}` does: where nothing or null is, it counts from zero, and what is
//! no number is refused. `SET {..}` takes the fields that a patch takes: those that the node keeps are left out, so that a
//! row that was read with them can be set, and an id in it has to be that of the document.

use holdfast_core::counter::{Amount, Increment};
use holdfast_core::id::DocumentId;
use holdfast_core::json::{ID_FIELD, is_kept_name, merge_patch, with_id};
use holdfast_storage::error::StorageError;
use holdfast_storage::request::{Action, Expect};
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::language::error::QueryError;
use crate::language::expression::{Arithmetic, Expression, Kind, PathStep};
use crate::language::statement::{Assignment, Changes, Update};
use crate::plan::constants::folded;
use crate::run::row::Loaded;
use crate::value::Compute;
use crate::write::insert::text;
use crate::write::{reads_ids_alone, version_of};

/// An `UPDATE`, ready for its documents.
pub(crate) struct Updating {
    changes: Changes,
    /// Whether the condition stays true whatever is written, so that adding to a document needs no version.
    is_by_id: bool,
}

impl Updating {
    pub(crate) fn new(update: &Update, compute: &Compute<'_>) -> Self {
        let changes = match &update.changes {
            Changes::Merge(object) => Changes::Merge(folded(object, compute)),
            Changes::Assign(assignments) => Changes::Assign(assignments.clone()),
        };
        Self { changes, is_by_id: update.filter.as_ref().is_none_or(reads_ids_alone) }
    }

    /// What is done to a document, and what must still hold when it is done.
    pub(crate) fn change(&self, loaded: &Loaded, compute: &Compute<'_>) -> Result<(Action, Expect), Failure> {
        let before: Value = serde_json::from_slice(loaded.body.text())
            .map_err(|_| StorageError::damaged("a document", "its text is no JSON"))?;
        let Value::Object(object) = &before else {
            return Err(StorageError::damaged("a document", "it is no object").into());
        };
        let mut after = object.clone();
        let mut patch = Map::new();
        let mut increments = Vec::new();
        match &self.changes {
            Changes::Merge(expression) => {
                let id = loaded.body.document_id()?;
                for (name, value) in merged_fields(expression, &before, &id, compute)? {
                    after.insert(name.clone(), value.clone());
                    patch.insert(name, value);
                }
            }
            Changes::Assign(assignments) => {
                for assignment in assignments {
                    let value = match counted(assignment, &before, object, compute)? {
                        Some(Counted::By(path, amount)) => {
                            increments.push((path, amount));
                            continue;
                        }
                        Some(Counted::To(value)) => Some(value),
                        None => compute.value(&assignment.value, &[Some(&before)])?,
                    };
                    assign(&mut after, &mut patch, assignment, value)?;
                }
            }
        }
        let increment = (!increments.is_empty()).then_some(Increment(increments));
        if patch.is_empty()
            && let Some(increment) = increment
        {
            let expect = if self.is_by_id { Expect::Exists } else { Expect::Parent(version_of(loaded)?) };
            return Ok((Action::Patch { merge: Map::new(), increment: Some(increment) }, expect));
        }
        let expect = Expect::Parent(version_of(loaded)?);
        // A patch says what was meant, so it is taken wherever it comes to the same.
        let mut patched = object.clone();
        merge_patch(&mut patched, &patch);
        if patched == after {
            text(after)?;
            return Ok((Action::Patch { merge: patch, increment }, expect));
        }
        if let Some(increment) = increment {
            increment.add_to(&mut after);
        }
        let id = loaded.body.document_id()?;
        Ok((Action::Put(text(with_id(after, &id))?), expect))
    }
}

/// The top-level fields that `SET {..}` writes; the id stays what it is.
fn merged_fields(
    expression: &Expression,
    before: &Value,
    id: &DocumentId,
    compute: &Compute<'_>,
) -> Result<Vec<(String, Value)>, Failure> {
    let Some(Value::Object(fields)) = compute.value(expression, &[Some(before)])? else {
        let message = "UPDATE requires a JSON object after SET.";
        return Err(QueryError::meaning("update-not-an-object", message, expression.position).into());
    };
    let names_id = |name: &str| name.eq_ignore_ascii_case(ID_FIELD) || name.eq_ignore_ascii_case("_id");
    let is_own_id = |value: &Value| match value {
        Value::String(text) => text == id.as_str(),
        Value::Number(number) => number.as_str() == id.as_str(),
        _ => false,
    };
    if fields.iter().any(|(name, value)| names_id(name) && !is_own_id(value)) {
        return Err(QueryError::meaning("id-not-writable", "A document keeps its id.", expression.position)
            .suggesting("Leave the id out, or insert a document under the other id and delete this one.")
            .into());
    }
    Ok(fields.into_iter().filter(|(name, _)| !names_id(name) && !is_kept_name(name)).collect())
}

/// What `field = field + amount` comes to.
enum Counted {
    /// The amount is added to the field at a path, whatever stands there by then.
    By(Vec<String>, Amount),
    /// The field is written: it cannot be counted, as an item of an array or a number with too many digits.
    To(Value),
}

/// The amount that is added to a field, if that is all that an assignment does.
fn counted(
    assignment: &Assignment,
    before: &Value,
    object: &Map<String, Value>,
    compute: &Compute<'_>,
) -> Result<Option<Counted>, Failure> {
    let Some((is_subtracted, expression)) = assignment.increment() else { return Ok(None) };
    let Some(Value::Number(number)) = compute.value(expression, &[])? else {
        // A sum with null is null, and would wipe what was counted.
        let message = format!("What is added to {} is no number.", assignment.path);
        return Err(QueryError::meaning("type-mismatch", message, expression.position)
            .suggesting("Send a number. To empty the field, write SET field = NULL.")
            .into());
    };
    if let (Some(path), Some(amount)) = (names_of(assignment), Amount::parse(number.as_str())) {
        let amount = if is_subtracted { -amount } else { amount };
        let increment = Increment(vec![(path.clone(), amount)]);
        if increment.misfit(object).is_none() {
            return Ok(Some(Counted::By(path, amount)));
        }
    }
    let sum = compute.value(&assignment.value, &[Some(before)])?.filter(|sum| !sum.is_null());
    Ok(sum.or(from_zero(is_subtracted, expression, compute)?).map(Counted::To))
}

/// An amount that is added to nothing.
fn from_zero(is_subtracted: bool, amount: &Expression, compute: &Compute<'_>) -> Result<Option<Value>, Failure> {
    let zero = Expression::new(Kind::Literal(Value::from(0)), amount.position);
    let sum = Kind::Arithmetic {
        operator: if is_subtracted { Arithmetic::Subtract } else { Arithmetic::Add },
        left: Box::new(zero),
        right: Box::new(amount.clone()),
    };
    Ok(compute.value(&Expression::new(sum, amount.position), &[])?)
}

/// The names on the way to a field, if there is nothing but names.
fn names_of(assignment: &Assignment) -> Option<Vec<String>> {
    let name = |step: &PathStep| match step {
        PathStep::Member(name) => Some(name.to_string()),
        PathStep::Index(_) | PathStep::Each => None,
    };
    assignment.path.steps.iter().map(name).collect()
}

/// Puts a value where an assignment says, and notes in the patch what that writes.
fn assign(
    after: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    assignment: &Assignment,
    value: Option<Value>,
) -> Result<(), Failure> {
    let refuse = |message: &str| {
        Failure::from(
            QueryError::meaning("update-path-invalid", format!("{} {message}", assignment.path), assignment.at.0)
                .suggesting("Name a field of the document."),
        )
    };
    let Some((PathStep::Member(top), rest)) = assignment.path.steps.split_first() else {
        return Err(refuse("is no field"));
    };
    if top.eq_ignore_ascii_case(ID_FIELD) || is_kept_name(top) {
        return Err(refuse("cannot be assigned: the node keeps that field itself"));
    }
    put(after, top, rest, value.clone()).ok_or_else(|| refuse("leads through a value that has no such place"))?;
    if names_of(assignment).is_some() {
        // In a patch, null takes a field away.
        put(patch, top, rest, Some(value.unwrap_or(Value::Null)));
    } else {
        patch.insert(top.to_string(), after.get(&**top).cloned().unwrap_or(Value::Null));
    }
    Ok(())
}

/// Writes or removes a value; objects on the way are made where there is nothing. `None` when the way is barred.
fn put(object: &mut Map<String, Value>, name: &str, rest: &[PathStep], value: Option<Value>) -> Option<()> {
    if rest.is_empty() {
        match value {
            Some(value) => drop(object.insert(name.to_owned(), value)),
            None => drop(object.shift_remove(name)),
        }
        return Some(());
    }
    if value.is_none() && !object.contains_key(name) {
        return Some(());
    }
    let slot = object.entry(name.to_owned()).or_insert(Value::Null);
    put_below(slot, rest, value)
}

fn put_below(slot: &mut Value, steps: &[PathStep], value: Option<Value>) -> Option<()> {
    let (step, rest) = steps.split_first()?;
    match step {
        PathStep::Member(name) => {
            if slot.is_null() {
                *slot = Value::Object(Map::new());
            }
            put(slot.as_object_mut()?, name, rest, value)
        }
        PathStep::Index(index) => {
            let items = slot.as_array_mut()?;
            let index = usize::try_from(*index).ok()?;
            if !rest.is_empty() {
                return put_below(items.get_mut(index)?, rest, value);
            }
            match value {
                Some(value) if index == items.len() => items.push(value),
                Some(value) => *items.get_mut(index)? = value,
                None if index < items.len() => drop(items.remove(index)),
                None => {}
            }
            Some(())
        }
        PathStep::Each => None,
    }
}
