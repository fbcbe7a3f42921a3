//! `CREATE INDEX` and `DROP INDEX`: the same as `/api/indexes` does.

use holdfast_core::error::Refusal;
use holdfast_core::id::CollectionName;
use holdfast_core::index::definition::{IndexDefinition, IndexName};
use holdfast_core::index::path::IndexPath;
use holdfast_query::language::expression::PathExpression;
use holdfast_query::language::statement::{CreateIndex, DropIndex};
use serde_json::json;

use crate::http::access::Access;
use crate::http::app::App;
use crate::http::error::{ApiError, quoted};
use crate::http::indexes::{define, drop_index};
use crate::http::query::answer::{Outcome, Rows};
use crate::http::query::asked::Form;

/// Defines an index. It is built while writes go on.
pub async fn create(app: &App, caller: &Access, create: &CreateIndex, form: Form) -> Result<(Outcome, Rows), ApiError> {
    let database = app.existing(&caller.database)?;
    let definition = definition(create)?;
    let (name, collection) = (definition.name.to_string(), definition.collection.to_string());
    if create.if_not_exists {
        let (reading, wanted) = (database.clone(), name.clone());
        let is_there = app.scan(move || Ok(reading.view()?.indexes()?.iter().any(|index| index.name == wanted)));
        if is_there.await? {
            return Ok(told("CREATE INDEX", &name, &collection, false, form));
        }
    }
    let token = define(app, &database, definition).await?;
    let (outcome, rows) = told("CREATE INDEX", &name, &collection, token.is_some(), form);
    Ok((Outcome { token, ..outcome }, rows))
}

/// Drops an index, here and on every peer.
pub async fn drop(app: &App, caller: &Access, drop: &DropIndex, form: Form) -> Result<(Outcome, Rows), ApiError> {
    let database = app.existing(&caller.database)?;
    let name = drop.name.text.to_string();
    let (reading, wanted) = (database.clone(), name.clone());
    let found = app.scan(move || {
        let indexes = reading.view()?.indexes()?;
        let found = indexes.iter().find(|index| index.name == wanted);
        Ok(found.map(|index| index.definition.as_ref().map(|definition| definition.collection.to_string())))
    });
    let found = found.await?;
    if found.is_none() && drop.if_exists {
        return Ok(told("DROP INDEX", &name, "", false, form));
    }
    let collection = found.flatten().unwrap_or_default();
    if let Some(named) = &drop.collection
        && !collection.is_empty()
        && *named.text != collection
    {
        let detail = format!(
            "The index {} is one of '{collection}', not of {}. Leave ON out, or name its collection.",
            quoted(&name),
            quoted(&named.text)
        );
        return Err(ApiError::not_found("index-not-found", detail));
    }
    let token = drop_index(&database, &name).await?;
    let (outcome, rows) = told("DROP INDEX", &name, &collection, true, form);
    Ok((Outcome { token, ..outcome }, rows))
}

fn definition(create: &CreateIndex) -> Result<IndexDefinition, Refusal> {
    // Without the collection's name before it, a path is written as /api/indexes reads it.
    let path =
        |path: &PathExpression| IndexPath::parse(&PathExpression { qualifier: None, ..path.clone() }.to_string());
    IndexDefinition {
        name: IndexName::parse(&create.name.text)?,
        collection: CollectionName::parse(&create.collection.text)?,
        paths: create.paths.iter().map(path).collect::<Result<_, _>>()?,
        is_unique: create.unique,
        is_case_insensitive: create.case_insensitive,
    }
    .check()
}

fn told(operation: &str, name: &str, collection: &str, is_done: bool, form: Form) -> (Outcome, Rows) {
    let mut rows = Rows::new(form);
    rows.push_value(&json!({ "operation": operation, "collection": collection, "index": name, "isDone": is_done }));
    let count = u64::from(is_done);
    let outcome = Outcome {
        requested_take: Some(1),
        matched: count,
        is_matched_exact: true,
        applied: count,
        returned: 1,
        plan: operation.split(' ').map(capitalised).collect(),
        columns: Some(["operation", "collection", "index", "isDone"].map(str::to_owned).to_vec()),
        ..Outcome::default()
    };
    (outcome, rows)
}

/// `CREATE` as `Create`.
fn capitalised(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    format!("{first}{}", rest.to_ascii_lowercase())
}
