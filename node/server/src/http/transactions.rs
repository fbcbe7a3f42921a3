//! Several changes that all happen or none, across collections of one database.
//!
//! A transaction is one entry of the writer's queue, one group in the log, and one group on the way to peers.

use axum::extract::State;
use axum::response::Response;
use holdfast_core::access::role::Role;
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::json::check;
use holdfast_core::limits::TRANSACTION_OPERATIONS_MAX;
use holdfast_storage::request::{Action, Answer, Change, Expect, Request};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::access::Access;
use crate::http::app::App;
use crate::http::error::{ApiError, quoted};
use crate::http::extract::JsonBody;
use crate::http::preconditions::Guard;
use crate::http::refusal::not_submitted;
use crate::http::wire::{self, Timestamp};
use crate::http::writes::{document_text, is_increment_only, may_create, read_patch};

/// The route of this module.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(transact))
}

/// Changes that all happen or none. Names are matched in any case.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "PascalCase")]
#[allow(dead_code, reason = "read by hand, so that every mistake names its operation")]
pub struct Transaction {
    /// The changes, carried out in this order; 1 to 10000.
    operations: Vec<TransactionOperation>,
}

/// One change of a transaction.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "PascalCase")]
#[allow(dead_code, reason = "read by hand, so that every mistake names its operation")]
pub struct TransactionOperation {
    /// `put`, `insert` (the document must not exist), `patch` or `delete`.
    op: String,
    /// The collection.
    collection: String,
    /// The document.
    id: String,
    /// The whole document, for `put` and `insert`.
    document: Option<Object>,
    /// A merge patch (RFC 7396) with or without `$inc`, for `patch`.
    patch: Option<Object>,
    /// The version that the document must be at; 409 if it is not.
    parent_version: Option<String>,
    /// The same with 412; `*`: the document must exist.
    if_match: Option<String>,
}

/// Stands for any JSON object in the description.
type Object = Map<String, Value>;

/// What became of a transaction.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct TransactionResult {
    /// Its id; null when it is a single operation.
    transaction_id: Option<String>,
    /// When this node wrote it.
    #[schema(value_type = String, format = DateTime)]
    committed_utc: Timestamp,
    /// Names its last operation for those who want to read it elsewhere.
    token: String,
    /// A result for each change, in their order.
    results: Vec<ChangeResult>,
}

/// What became of one change.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ChangeResult {
    /// The collection.
    #[schema(value_type = String)]
    collection: CollectionName,
    /// The document.
    #[schema(value_type = String)]
    entity_id: DocumentId,
    /// Its version now.
    version: String,
    /// Whether it is deleted now.
    is_deleted: bool,
    /// 1 insert, 2 update, 3 delete.
    operation_type: u8,
}

/// Changes several documents, all or none.
///
/// A refusal names the change that it is about in `OperationIndex`, from 0; nothing has happened then.
#[utoipa::path(post, path = "/api/transactions", tag = "Documents", request_body = Transaction,
    responses((status = 200, body = TransactionResult), (status = 400), (status = 403), (status = 404), (status = 409),
        (status = 412)))]
pub async fn transact(
    State(app): State<App>,
    caller: Access,
    JsonBody(body): JsonBody<Value>,
) -> Result<Response, ApiError> {
    let mut changes = Vec::new();
    let mut guards = Vec::new();
    for (index, operation) in operations(body)?.into_iter().enumerate() {
        let (change, guard) = read_change(&app, &caller, operation).map_err(|error| at(index, error))?;
        changes.push(change);
        guards.push(guard);
    }
    let creates = changes.iter().any(may_create);
    let database = if creates { app.for_write(&caller).await? } else { app.writable(&caller.database)? };
    let answer = database.submit(Request::Together(changes)).await.map_err(not_submitted)?;
    let written = match answer {
        Answer::Together(Ok(written)) => written,
        Answer::Together(Err((index, refusal))) => {
            let error = guards.get(index).map_or_else(ApiError::internal, |guard| guard.explain(&caller, refusal));
            return Err(at(index, error));
        }
        _ => return Err(ApiError::internal()),
    };
    let mut result = TransactionResult {
        transaction_id: None,
        committed_utc: Timestamp(holdfast_core::time::Millis(0)),
        token: String::new(),
        results: Vec::with_capacity(written.len()),
    };
    for written in written {
        let Some(one) = wire::WriteResult::of(written, database.origin(), None) else { continue };
        result.transaction_id = one.operation.transaction_id;
        result.committed_utc = one.committed_utc;
        result.token = one.token;
        result.results.push(ChangeResult {
            collection: one.collection,
            entity_id: one.entity_id,
            version: one.version,
            is_deleted: one.is_deleted,
            operation_type: one.operation.operation_type,
        });
    }
    Ok(wire::with_token(wire::json(&result), &result.token))
}

/// An error with the place of the change that it is about.
fn at(index: usize, error: ApiError) -> ApiError {
    error.with_field("OperationIndex", index)
}

/// The changes of a body, each as an object.
fn operations(body: Value) -> Result<Vec<Map<String, Value>>, ApiError> {
    let shape = || {
        ApiError::bad_request(
            "invalid-body",
            "Send {\"Operations\": [{\"Op\": \"put\", \"Collection\": \"…\", \"Id\": \"…\", \"Document\": {…}}, …]}.",
        )
    };
    let Value::Object(body) = body else { return Err(shape()) };
    let mut fields = body.into_iter();
    let (Some((name, Value::Array(items))), None) = (fields.next(), fields.next()) else { return Err(shape()) };
    if !name.eq_ignore_ascii_case("Operations") {
        return Err(shape());
    }
    if items.is_empty() || items.len() > TRANSACTION_OPERATIONS_MAX {
        return Err(ApiError::bad_request(
            "invalid-body",
            format!("A transaction has 1 to {TRANSACTION_OPERATIONS_MAX} operations; this one has {}.", items.len()),
        ));
    }
    let object = |(index, item)| match item {
        Value::Object(object) => Ok(object),
        _ => Err(at(index, ApiError::bad_request("invalid-body", "Each operation must be an object."))),
    };
    items.into_iter().enumerate().map(object).collect()
}

/// The fields of one operation as they were sent.
#[derive(Default)]
struct Fields {
    op: Option<String>,
    collection: Option<String>,
    id: Option<String>,
    document: Option<Map<String, Value>>,
    patch: Option<Map<String, Value>>,
    parent_version: Option<String>,
    if_match: Option<String>,
}

impl Fields {
    fn read(operation: Map<String, Value>) -> Result<Self, ApiError> {
        let mut fields = Self::default();
        for (name, value) in operation {
            match name.to_ascii_lowercase().as_str() {
                "op" => fields.op = text(&name, value)?,
                "collection" => fields.collection = text(&name, value)?,
                "id" => fields.id = text(&name, value)?,
                "parentversion" => fields.parent_version = text(&name, value)?,
                "ifmatch" => fields.if_match = text(&name, value)?,
                "document" => fields.document = object(&name, value)?,
                "patch" => fields.patch = object(&name, value)?,
                _ => {
                    return Err(ApiError::bad_request(
                        "invalid-body",
                        format!(
                            "The field {} is unknown. An operation has Op, Collection, Id, Document or Patch, \
                             ParentVersion, IfMatch.",
                            quoted(&name)
                        ),
                    ));
                }
            }
        }
        Ok(fields)
    }
}

fn text(name: &str, value: Value) -> Result<Option<String>, ApiError> {
    match value {
        Value::String(text) => Ok(Some(text)),
        Value::Null => Ok(None),
        _ => Err(ApiError::bad_request("invalid-body", format!("The field {} must be a string.", quoted(name)))),
    }
}

fn object(name: &str, value: Value) -> Result<Option<Map<String, Value>>, ApiError> {
    check(&value, 1)?;
    match value {
        Value::Object(object) => Ok(Some(object)),
        Value::Null => Ok(None),
        _ => Err(ApiError::bad_request("invalid-body", format!("The field {} must be an object.", quoted(name)))),
    }
}

/// One operation as a change for the writer, if the key may ask for it.
fn read_change(app: &App, caller: &Access, operation: Map<String, Value>) -> Result<(Change, Guard), ApiError> {
    let fields = Fields::read(operation)?;
    let op = fields.op.as_deref().unwrap_or_default().to_ascii_lowercase();
    let collection = CollectionName::parse(fields.collection.as_deref().unwrap_or_default())?;
    let id = DocumentId::parse(fields.id.as_deref().unwrap_or_default())?;
    let expect = expected(fields.parent_version, fields.if_match)?;
    let needed = |field: &str| ApiError::bad_request("invalid-body", format!("An operation '{op}' needs {field}."));
    let (action, guard) = match (op.as_str(), fields.document, fields.patch) {
        ("put", Some(document), None) => {
            (Action::Put(document_text(app, document, &id)?), Guard::for_put(caller, expect)?)
        }
        ("insert", Some(document), None) if expect == Expect::Any => {
            (Action::Put(document_text(app, document, &id)?), Guard::for_insert(caller)?)
        }
        ("insert", Some(_), None) => {
            let text = "An operation 'insert' takes neither ParentVersion nor IfMatch: the document must not exist.";
            return Err(ApiError::bad_request("contradictory-preconditions", text));
        }
        ("patch", None, Some(patch)) => {
            caller.require(Role::UpdateDocument)?;
            let action = read_patch(patch)?;
            let guard = Guard::for_patch(caller, expect, is_increment_only(&action));
            (action, guard)
        }
        ("delete", None, None) => {
            caller.require(Role::DeleteDocument)?;
            (Action::Delete, Guard::plain(expect))
        }
        ("put" | "insert", ..) => return Err(needed("a Document and nothing else to write")),
        ("patch", ..) => return Err(needed("a Patch and nothing else to write")),
        ("delete", ..) => return Err(needed("no Document and no Patch")),
        _ => {
            let text = "The field 'Op' must be 'put', 'insert', 'patch' or 'delete'.";
            return Err(ApiError::bad_request("invalid-body", text));
        }
    };
    Ok((Change { collection, id, action, expect: guard.expect.clone() }, guard))
}

fn expected(parent_version: Option<String>, if_match: Option<String>) -> Result<Expect, ApiError> {
    match (parent_version, if_match) {
        (None, None) => Ok(Expect::Any),
        (Some(version), None) => Ok(Expect::Parent(version)),
        (None, Some(tag)) if tag == "*" => Ok(Expect::Exists),
        // With or without the quotes that an ETag has in a header.
        (None, Some(tag)) => Ok(Expect::Match(vec![tag.trim_matches('"').to_owned()])),
        (Some(_), Some(_)) => Err(ApiError::bad_request(
            "contradictory-preconditions",
            "Send one of ParentVersion and IfMatch, not both.",
        )),
    }
}
