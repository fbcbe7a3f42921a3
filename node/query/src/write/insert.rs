//! `INSERT`: documents that are written as they are given.

use holdfast_core::id::DocumentId;
use holdfast_core::json::{ID_FIELD, JsonText, check, with_id};
use holdfast_core::limits::DOCUMENT_BYTES_MAX;
use holdfast_storage::request::{Action, Change, Expect};
use serde_json::{Map, Value};

use crate::budget::Budget;
use crate::failure::Failure;
use crate::language::error::QueryError;
use crate::language::expression::Expression;
use crate::language::statement::Insert;
use crate::plan::select::documents_of;
use crate::value::Compute;
use crate::write::{Verb, Writes, hold, refused};

/// The changes of an `INSERT`. No document may be there yet.
pub(crate) fn insert(insert: &Insert, compute: &Compute<'_>, budget: &mut Budget<'_>) -> Result<Writes, Failure> {
    let collection = documents_of(&insert.collection)?;
    let mut changes = Vec::new();
    for expression in &insert.documents {
        budget.work(1)?;
        for object in objects(expression, compute)? {
            let (id, body) = document(object, expression)?;
            let action = Action::Put(body);
            hold(&action, changes.len() as u64, budget)?;
            changes.push(Change { collection: collection.clone(), id, action, expect: Expect::Absent });
        }
    }
    let matched = changes.len() as u64;
    Ok(Writes { verb: Verb::Insert, collection, changes, matched, plan: Verb::Insert.step().to_owned() })
}

/// The documents of one value: an object, or a parameter that is an array of them.
fn objects(expression: &Expression, compute: &Compute<'_>) -> Result<Vec<Map<String, Value>>, Failure> {
    let object = |value| match value {
        Some(Value::Object(object)) => Ok(object),
        _ => Err(Failure::from(
            QueryError::meaning("insert-not-an-object", "Payload must be a JSON object.", expression.position)
                .suggesting("Write INSERT INTO orders VALUES {Id: 'o-1', total: 12.5}."),
        )),
    };
    match compute.value(expression, &[])? {
        Some(Value::Array(items)) => items.into_iter().map(|item| object(Some(item))).collect(),
        value => Ok(vec![object(value)?]),
    }
}

fn document(object: Map<String, Value>, expression: &Expression) -> Result<(DocumentId, JsonText), Failure> {
    let value = |name: &str| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let id = match value(ID_FIELD).or_else(|| value("_id")) {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => {
            let message = "INSERT VALUES payload must include 'Id' (or '_id').";
            return Err(QueryError::meaning("id-required", message, expression.position)
                .suggesting("Write Id: 'o-1', or Id: NEWID().")
                .into());
        }
    };
    let id = DocumentId::parse(&id).map_err(|refusal| refused(&refusal))?;
    Ok((id.clone(), text(with_id(object, &id))?))
}

/// An object as it is stored, if it is within the limits of documents.
pub(crate) fn text(object: Map<String, Value>) -> Result<JsonText, Failure> {
    let value = Value::Object(object);
    check(&value, 1).map_err(|refusal| refused(&refusal))?;
    let Value::Object(object) = value else { return Ok(JsonText::empty()) };
    let text = JsonText::from_object(&object);
    if text.as_str().len() > DOCUMENT_BYTES_MAX {
        return Err(Failure::refused(
            "too-large",
            format!("A document would have more than {DOCUMENT_BYTES_MAX} bytes"),
            "Nothing was written.",
        ));
    }
    Ok(text)
}
