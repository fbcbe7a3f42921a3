//! Conflicts: which there are, what was written, what the sides started from. Settling them is in [`resolve`].

pub mod bulk;
pub mod resolve;

use std::str::FromStr;

use axum::extract::State;
use axum::response::Response;
use holdfast_core::conflict::ConflictId;
use holdfast_core::conflict::ancestor::Ancestor;
use holdfast_core::document::Version;
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::json::JsonText;
use holdfast_core::limits::{PAGE_DOCUMENTS_DEFAULT, PAGE_DOCUMENTS_MAX};
use holdfast_core::vector::Origin;
use holdfast_storage::conflicts::{Cursor, Selection};
use holdfast_storage::error::StorageError;
use holdfast_storage::record::conflict::{Conflict, Standing};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::conflicts::policies::Policies;
use crate::databases::OpenDatabase;
use crate::http::access::MayRead;
use crate::http::app::App;
use crate::http::consistency::{TokenParameters, Tokens, Wanted};
use crate::http::error::ApiError;
use crate::http::extract::PathParts;
use crate::http::parameters::{self, Parameters};
use crate::http::wire::{self, Timestamp, increment_text};

/// The routes of this folder.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(resolve::resolve))
        .routes(routes!(bulk::resolve_many))
}

/// Parameters of [`list`].
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// Conflicts of this collection only.
    collection: Option<String>,
    /// Conflicts of documents with this id only.
    id: Option<String>,
    /// `open` if absent, `closed` or `all`.
    state: Option<String>,
    /// Conflicts in the answer: 100 if absent.
    limit: Option<usize>,
    /// `Next` of the answer before.
    after: Option<String>,
    /// A write's token: wait until this node has it. The header `Consistency-Token` says the same.
    #[serde(default, deserialize_with = "parameters::given")]
    token: Option<String>,
    /// How long to wait for it.
    timeout: Option<String>,
    /// How old what this node shows may be at most, beside its leader: `500ms`, or `30s`. The header `Max-Staleness` says the
    /// same; a node that leads, or is alone, always meets it.
    #[serde(default, deserialize_with = "parameters::given")]
    max_staleness: Option<String>,
}

/// Some conflicts, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ConflictList {
    /// The conflicts.
    conflicts: Vec<ConflictRecord>,
    /// Ask again with `after` = this for more; null at the end.
    next: Option<String>,
    /// Open conflicts of the database.
    open: u64,
    /// Settled conflicts that are still on record.
    closed: u64,
}

/// A conflict: what several writers wrote who did not know of each other.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ConflictRecord {
    /// Its name: the same on every node that knows the same versions.
    id: String,
    /// The node that tells this.
    node_id: String,
    /// The collection.
    #[schema(value_type = String)]
    collection: CollectionName,
    /// The document.
    #[schema(value_type = String)]
    entity_id: DocumentId,
    /// `Open`, `Closed`, or `Replaced` when it goes on under another name.
    state: &'static str,
    /// What it is, in words.
    reason: &'static str,
    /// How this node settles conflicts of this collection.
    policy: &'static str,
    /// When this node met it.
    #[schema(value_type = String, format = DateTime)]
    created_utc: Timestamp,
    /// Whether the shown version may have won by a clock that was wrong.
    is_decided_by_suspect_stamp: bool,
    /// The version that this node wrote, or shows if it wrote none.
    local_version: Option<String>,
    /// Its document as JSON text; null when it deleted it.
    local_payload: Option<String>,
    /// The other side's operation.
    incoming_operation_id: Option<String>,
    /// Its document as JSON text; null when it deleted it.
    incoming_payload: Option<String>,
    /// All versions, the shown one first; none when it goes on under another name.
    versions: Vec<ConflictVersion>,
    /// The unique index whose values several documents have, if it is that: then change or delete all but one of them.
    index: Option<String>,
    /// Those documents, the first of them.
    #[schema(value_type = Vec<String>)]
    documents: Vec<DocumentId>,
    /// What was counted in the deleted document, as a patch.
    counted: Option<String>,
    /// `Found`, `None` when the document was created on each side, `Gone` when the log no longer tells.
    ancestor_state: &'static str,
    /// What all sides had seen, if it was found.
    ancestor: Option<ConflictAncestor>,
    /// When this node learnt that it was settled or replaced.
    #[schema(value_type = Option<String>, format = DateTime)]
    closed_utc: Option<Timestamp>,
    /// The operation that settled it.
    closed_by: Option<String>,
    /// The conflict as which it goes on.
    replaced_by: Option<String>,
}

/// One version of a conflict.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ConflictVersion {
    /// Its operation's id: what to choose it by.
    version_id: String,
    /// The node that wrote it.
    node_id: String,
    /// That node with its incarnation.
    origin: String,
    /// Its number at its origin.
    sequence: u64,
    /// When it was written, by that node's clock.
    #[schema(value_type = String, format = DateTime)]
    timestamp_utc: Timestamp,
    /// Whether this node wrote it.
    is_local: bool,
    /// Whether it is what the document showed.
    is_shown: bool,
    /// Whether it deleted the document.
    is_deleted: bool,
    /// Whether it settled an earlier conflict.
    is_resolution: bool,
    /// The document as JSON text; null when it was deleted.
    payload: Option<String>,
}

/// What the sides of a conflict started from.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ConflictAncestor {
    /// The version.
    version_id: String,
    /// The document as JSON text; null when it was deleted then.
    payload: Option<String>,
}

/// Lists the conflicts of a database, the newest first.
#[utoipa::path(get, path = "/api/conflicts", tag = "Conflicts", operation_id = "list_conflicts", params(ListParameters),
    responses((status = 200, body = ConflictList), (status = 400), (status = 404), (status = 503)))]
pub async fn list(
    State(app): State<App>,
    caller: MayRead,
    Parameters(parameters): Parameters<ListParameters>,
    tokens: Tokens,
) -> Result<Response, ApiError> {
    let wanted = Wanted::of(&tokens, parameters.token.as_deref(), parameters.timeout.as_deref())?
        .no_older_than(parameters.max_staleness.as_deref())?;
    let database = wanted.database(&app, &caller.database).await?;
    let after = parameters.after.as_deref().map(Cursor::from_str).transpose()?;
    let (is_settled, is_all) = match parameters.state.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("open") => (false, false),
        Some("closed") => (true, false),
        Some("all") => (matches!(after, Some(Cursor::Settled(..))), true),
        Some(_) => {
            return Err(ApiError::bad_request(
                "invalid-parameter",
                "The parameter 'state' is one of open, closed and all.",
            ));
        }
    };
    let selection = Selection {
        is_settled,
        collection: parameters.collection.as_deref().map(CollectionName::parse).transpose()?,
        document: parameters.id.as_deref().map(DocumentId::parse).transpose()?,
    };
    let limit = parameters::page_size(parameters.limit, PAGE_DOCUMENTS_DEFAULT, PAGE_DOCUMENTS_MAX)?;
    let policies = Policies::from_settings(&app.settings.node);
    let listed = app.scan(move || {
        let view = database.view()?;
        let page = view.conflicts(&selection, after, limit)?;
        let counts = view.conflict_counts()?;
        let told = page.conflicts.into_iter().map(|conflict| tell(&database, &policies, conflict));
        let conflicts = told.collect::<Result<Vec<_>, StorageError>>()?;
        let settled = || (is_all && !is_settled).then_some(Cursor::Settled(u64::MAX, ConflictId(u128::MAX)));
        let next = page.next.or_else(settled).map(|next| next.to_string());
        Ok(ConflictList { conflicts, next, open: counts.open, closed: counts.settled })
    });
    Ok(wire::json(&listed.await?))
}

/// Shows one conflict with all its versions.
#[utoipa::path(get, path = "/api/conflicts/{id}", tag = "Conflicts", operation_id = "show_conflict", params(
        ("id" = String, Path, description = "The conflict's id"), TokenParameters),
    responses((status = 200, body = ConflictRecord), (status = 404), (status = 503)))]
pub async fn show(
    State(app): State<App>,
    caller: MayRead,
    PathParts(id): PathParts<String>,
    Parameters(parameters): Parameters<TokenParameters>,
    tokens: Tokens,
) -> Result<Response, ApiError> {
    let database = parameters.wanted(&tokens)?.database(&app, &caller.database).await?;
    let id = ConflictId::from_str(&id)?;
    let policies = Policies::from_settings(&app.settings.node);
    let found = app.scan(move || {
        let conflict = database.view()?.conflict(id)?;
        conflict.map(|conflict| tell(&database, &policies, conflict)).transpose()
    });
    found.await?.map_or_else(|| Err(not_found(id)), |record| Ok(wire::json(&record)))
}

/// The answer for a conflict that is not on record.
pub(super) fn not_found(id: ConflictId) -> ApiError {
    ApiError::not_found(
        "conflict-not-found",
        format!("There is no conflict {id} on record. List the conflicts: it may have been settled long ago."),
    )
}

fn tell(database: &OpenDatabase, policies: &Policies, conflict: Conflict) -> Result<ConflictRecord, StorageError> {
    let ancestor = match conflict.standing {
        Standing::Replaced { .. } => Ancestor::Gone,
        _ if conflict.violation.is_some() => Ancestor::Nothing,
        _ => database.view()?.ancestor_of(&conflict, &database.log()?)?,
    };
    let policy = policies.of(database.name(), &conflict.collection).name();
    Ok(ConflictRecord::of(conflict, ancestor, policy, database.origin()))
}

impl ConflictRecord {
    fn of(conflict: Conflict, ancestor: Ancestor, policy: &'static str, here: &Origin) -> Self {
        let is_local = |version: &&Version| version.dot.origin.node == here.node;
        let local = conflict.versions.iter().find(is_local).or(conflict.versions.first());
        let other = |version: &&Version| local.is_some_and(|local| local.dot != version.dot);
        let incoming = conflict.versions.iter().find(|version| other(version) && !is_local(version));
        let incoming = incoming.or_else(|| conflict.versions.iter().find(other));
        let text = |version: &Version| version.body.as_ref().map(|body| body.as_str().to_owned());
        let (state, closed_utc, closed_by, replaced_by) = match conflict.standing {
            Standing::Open => ("Open", None, None, None),
            Standing::Closed { at, by } => ("Closed", Some(at), Some(by.to_string()), None),
            Standing::Replaced { at, by } => ("Replaced", Some(at), None, Some(by.to_string())),
        };
        let (ancestor_state, ancestor) = match ancestor {
            Ancestor::Nothing => ("None", None),
            Ancestor::Gone => ("Gone", None),
            Ancestor::Found { id, body } => {
                let payload = body.map(JsonText::into_string);
                ("Found", Some(ConflictAncestor { version_id: id.to_string(), payload }))
            }
        };
        let is_counted = !conflict.counted.0.is_empty();
        let reason = match &conflict.violation {
            Some(_) => "UniqueViolation",
            None if is_counted => "CountedWhileDeleted",
            None => "ConcurrentWrites",
        };
        let (index, documents) = conflict.violation.map(|it| (it.index, it.documents)).unzip();
        Self {
            id: conflict.id.to_string(),
            node_id: here.node.to_string(),
            state,
            reason,
            index,
            documents: documents.unwrap_or_default(),
            policy,
            created_utc: Timestamp(conflict.arose),
            is_decided_by_suspect_stamp: conflict.is_suspect,
            local_version: local.map(|version| version.id.to_string()),
            local_payload: local.and_then(text),
            incoming_operation_id: incoming.map(|version| version.id.to_string()),
            incoming_payload: incoming.and_then(text),
            counted: is_counted.then(|| increment_text(&conflict.counted)),
            ancestor_state,
            ancestor,
            closed_utc: closed_utc.map(Timestamp),
            closed_by,
            replaced_by,
            collection: conflict.collection,
            entity_id: conflict.document,
            versions: conflict
                .versions
                .into_iter()
                .enumerate()
                .map(|(place, version)| ConflictVersion::of(version, place == 0, here))
                .collect(),
        }
    }
}

impl ConflictVersion {
    fn of(version: Version, is_shown: bool, here: &Origin) -> Self {
        Self {
            version_id: version.id.to_string(),
            node_id: version.dot.origin.node.to_string(),
            origin: version.dot.origin.to_string(),
            sequence: version.dot.sequence.0,
            timestamp_utc: Timestamp(version.stamp.millis()),
            is_local: version.dot.origin.node == here.node,
            is_shown,
            is_deleted: version.body.is_none(),
            is_resolution: version.is_resolution,
            payload: version.body.map(JsonText::into_string),
        }
    }
}
