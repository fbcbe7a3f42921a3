//! Settling one conflict: a person chooses a version, writes another value, or deletes the document.

use std::str::FromStr;

use axum::extract::State;
use axum::response::Response;
use holdfast_core::access::role::Role;
use holdfast_core::conflict::ConflictId;
use holdfast_core::conflict::settle::Settlement;
use holdfast_core::id::OperationId;
use holdfast_core::index::INDEXES_COLLECTION;
use holdfast_core::json::parse_object;
use holdfast_storage::record::conflict::{Conflict, Standing};
use holdfast_storage::request::{Action, Change, Expect};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::http::access::MayUpdate;
use crate::http::app::App;
use crate::http::conflicts::not_found;
use crate::http::error::{ApiError, quoted};
use crate::http::extract::{JsonText, PathParts};
use crate::http::wire::WriteResult;
use crate::http::writes::{answer, document_text, submit};

/// How a conflict is to be settled: exactly one of the three.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "PascalCase")]
#[allow(dead_code, reason = "read by hand, so that a mistake is told in the fields' own words")]
pub struct Resolution {
    /// `shown`, or the `VersionId` of one of the conflict's versions.
    choose: Option<String>,
    /// The document as it is to be.
    #[schema(value_type = Option<Object>)]
    value: Option<Map<String, Value>>,
    /// `true`: the document is to be deleted.
    delete: Option<bool>,
}

/// Settles a conflict.
///
/// What is written here settles it on every node. 409 when the conflict is no longer as it was listed.
#[utoipa::path(post, path = "/api/conflicts/{id}/resolve", tag = "Conflicts", operation_id = "resolve_conflict",
    request_body = Resolution, params(("id" = String, Path, description = "The conflict's id")),
    responses((status = 200, body = WriteResult), (status = 400), (status = 403), (status = 404), (status = 409)))]
pub async fn resolve(
    State(app): State<App>,
    caller: MayUpdate,
    PathParts(id): PathParts<String>,
    JsonText(body): JsonText,
) -> Result<Response, ApiError> {
    let database = app.writable(&caller.database)?;
    let id = ConflictId::from_str(&id)?;
    let wanted = parse_object(body.as_bytes())?;
    let reading = database.clone();
    let conflict = app.scan(move || reading.view()?.conflict(id)).await?.ok_or_else(|| not_found(id))?;
    refuse_settled(&conflict)?;
    let settlement = read(&app, wanted, &conflict)?;
    if conflict.collection.as_str() == INDEXES_COLLECTION {
        caller.require(Role::ManageIndex)?;
    }
    if is_delete(&settlement, &conflict) {
        caller.require(Role::DeleteDocument)?;
    }
    let change = Change {
        collection: conflict.collection,
        id: conflict.document,
        action: Action::Resolve(settlement),
        expect: Expect::Conflict(id),
    };
    let written = submit(&database, change).await??;
    Ok(answer(written, &database, None))
}

fn refuse_settled(conflict: &Conflict) -> Result<(), ApiError> {
    match conflict.standing {
        Standing::Open if conflict.violation.is_some() => Err(ApiError::conflict(
            "unique-violation",
            "Several documents have values that are to be unique: it ends when all but one of them are changed or \
             deleted, or the index is dropped.",
        )),
        Standing::Open => Ok(()),
        Standing::Closed { by, .. } => Err(ApiError::conflict(
            "conflict-closed",
            format!("The conflict was settled by operation {by}. Change the document if another value is wanted."),
        )
        .with_field("ClosedBy", by.to_string())),
        Standing::Replaced { by, .. } => Err(ApiError::conflict(
            "conflict-changed",
            format!("The conflict has got other versions and goes on as {by}. Read that one and settle it."),
        )
        .with_field("ReplacedBy", by.to_string())),
    }
}

fn is_delete(settlement: &Settlement, conflict: &Conflict) -> bool {
    match settlement {
        Settlement::Keep(id) => conflict.versions.iter().any(|version| version.id == *id && version.body.is_none()),
        Settlement::Delete => true,
        Settlement::Body(_) | Settlement::Seen(_) => false,
    }
}

/// Reads what is wanted; every mistake is told.
fn read(app: &App, wanted: Map<String, Value>, conflict: &Conflict) -> Result<Settlement, ApiError> {
    let mut found = None;
    for (name, value) in wanted {
        let settlement = match (name.to_ascii_lowercase().as_str(), value) {
            ("choose", Value::String(word)) => chosen(&word, conflict)?,
            ("value", Value::Object(object)) => Settlement::Seen(document_text(app, object, &conflict.document)?),
            ("delete", Value::Bool(true)) => Settlement::Delete,
            ("choose", _) => return Err(shape("'Choose' is a text: `shown` or the VersionId of a version.")),
            ("value", _) => return Err(shape("'Value' is the document as it is to be: a JSON object.")),
            ("delete", _) => return Err(shape("'Delete' can only be true.")),
            _ => return Err(shape(&format!("The field {} is unknown. Use Choose, Value or Delete.", quoted(&name)))),
        };
        if found.replace(settlement).is_some() {
            return Err(shape("Exactly one of Choose, Value and Delete is needed."));
        }
    }
    found.ok_or_else(|| shape("Exactly one of Choose, Value and Delete is needed."))
}

fn chosen(word: &str, conflict: &Conflict) -> Result<Settlement, ApiError> {
    let version = if word.eq_ignore_ascii_case("shown") {
        conflict.versions.first()
    } else {
        let id = OperationId::from_str(word).ok();
        conflict.versions.iter().find(|version| Some(version.id) == id)
    };
    version.map(|version| Settlement::Keep(version.id)).ok_or_else(|| {
        ApiError::bad_request(
            "unknown-version",
            format!("The conflict has no version {}. Choose `shown` or a VersionId that it lists.", quoted(word)),
        )
    })
}

fn shape(detail: &str) -> ApiError {
    ApiError::bad_request("invalid-resolution", detail.to_owned())
}
