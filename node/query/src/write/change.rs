//! What an `UPDATE` makes of one document: a counter operation, a patch, or the whole document.

use holdfast_core::counter::{Amount, Increment};
use holdfast_core::json::{ID_FIELD, is_kept_name, merge_patch, with_id};
use holdfast_storage::error::StorageError;
use holdfast_storage::request::{Action, Expect};
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::language::error::QueryError;
use crate::language::expression::{Expression, PathStep};
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
        let mut counted = Vec::new();
        match &self.changes {
            Changes::Merge(expression) => {
                for (name, value) in merged_fields(expression, &before, compute)? {
                    after.insert(name.clone(), value.clone());
                    patch.insert(name, value);
                }
            }
            Changes::Assign(assignments) => {
                for assignment in assignments {
                    if let Some(amount) = amount_of(assignment, object, compute)? {
                        counted.push(amount);
                        continue;
                    }
                    let value = compute.value(&assignment.value, &[Some(&before)])?;
                    assign(&mut after, &mut patch, assignment, value)?;
                }
            }
        }
        let increment = (!counted.is_empty()).then_some(Increment(counted));
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
    compute: &Compute<'_>,
) -> Result<Vec<(String, Value)>, Failure> {
    let Some(Value::Object(fields)) = compute.value(expression, &[Some(before)])? else {
        let message = "UPDATE requires a JSON object after SET.";
        return Err(QueryError::meaning("update-not-an-object", message, expression.position).into());
    };
    let is_free = |(name, _): &(String, Value)| !name.eq_ignore_ascii_case(ID_FIELD) && !is_kept_name(name);
    Ok(fields.into_iter().filter(is_free).collect())
}

/// The amount that is added to a field, if that is all that an assignment does.
fn amount_of(
    assignment: &Assignment,
    before: &Map<String, Value>,
    compute: &Compute<'_>,
) -> Result<Option<(Vec<String>, Amount)>, Failure> {
    let Some((is_subtracted, amount)) = assignment.increment() else { return Ok(None) };
    let Some(Value::Number(amount)) = compute.value(amount, &[])? else { return Ok(None) };
    let Some(amount) = Amount::parse(amount.as_str()) else { return Ok(None) };
    let amount = if is_subtracted { -amount } else { amount };
    let Some(path) = names_of(assignment) else { return Ok(None) };
    let is_number = value_at(before, &path).is_some_and(Value::is_number);
    let increment = Increment(vec![(path, amount)]);
    // A field that cannot be counted exactly is written like any other.
    if !is_number || increment.misfit(before).is_some() {
        return Ok(None);
    }
    Ok(increment.0.into_iter().next())
}

/// The names on the way to a field, if there is nothing but names.
fn names_of(assignment: &Assignment) -> Option<Vec<String>> {
    let name = |step: &PathStep| match step {
        PathStep::Member(name) => Some(name.to_string()),
        PathStep::Index(_) | PathStep::Each => None,
    };
    assignment.path.steps.iter().map(name).collect()
}

fn value_at<'value>(object: &'value Map<String, Value>, path: &[String]) -> Option<&'value Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(object.get(first)?, |value, name| value.as_object()?.get(name))
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
