//! Settling many conflicts by a rule, or seeing beforehand what the rule would do.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::response::Response;
use holdfast_core::access::role::Role;
use holdfast_core::conflict::policy::{Answer as RuleAnswer, Rule};
use holdfast_core::conflict::settle::Settlement;
use holdfast_core::conflict::{ConflictId, sides};
use holdfast_core::id::{CollectionName, NodeName};
use holdfast_core::index::INDEXES_COLLECTION;
use holdfast_core::limits::CONFLICTS_RESOLVED_MAX;
use holdfast_storage::conflicts::{Cursor, Selection};
use holdfast_storage::error::StorageError;
use holdfast_storage::record::conflict::Conflict;
use holdfast_storage::request::{Action, Answer, Change, Expect, Request};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::databases::OpenDatabase;
use crate::http::access::MayUpdate;
use crate::http::app::App;
use crate::http::error::{ApiError, quoted};
use crate::http::extract::JsonBody;
use crate::http::refusal::not_submitted;
use crate::http::wire;

/// Conflicts that are judged and written at once.
const PIECE: usize = 128;
/// Unsettled conflicts that an answer names; the others are counted.
const NAMED_MAX: usize = 100;

/// A rule for many conflicts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct BulkResolution {
    /// Conflicts of this collection; of all if absent.
    #[serde(default, alias = "collection")]
    collection: Option<String>,
    /// `LastWriterWins`, `FirstWriterWins`, `MergeFields` or `PreferNode`.
    #[serde(alias = "rule")]
    rule: String,
    /// The node whose versions are taken, for `PreferNode`.
    #[serde(default, alias = "node")]
    node: Option<String>,
    /// Only says what would happen.
    #[serde(default, alias = "dryRun")]
    dry_run: bool,
    /// `Next` of the answer before.
    #[serde(default, alias = "after")]
    after: Option<String>,
}

/// What a rule has settled.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct BulkResolutionResult {
    /// Whether nothing was written.
    dry_run: bool,
    /// Conflicts that were looked at.
    matched: u64,
    /// Those that are settled, or would be.
    resolved: u64,
    /// Those that are not.
    unresolved: u64,
    /// Some of those, each with its reason.
    not_resolved: Vec<NotResolved>,
    /// Ask again with `After` = this for the next ones; null when all were looked at.
    next: Option<String>,
}

/// A conflict that a rule did not settle.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct NotResolved {
    /// The conflict.
    id: String,
    /// The collection.
    collection: String,
    /// The document.
    entity_id: String,
    /// Why.
    reason: String,
}

/// A conflict and what the rule makes of it.
struct Judged {
    id: ConflictId,
    place: (String, String),
    outcome: Result<Change, String>,
}

/// Settles many conflicts by a rule, at most 10,000 in one request.
///
/// Each is settled for itself; what the rule cannot settle stays open and is named in the answer.
#[utoipa::path(post, path = "/api/conflicts/resolve", tag = "Conflicts", operation_id = "resolve_conflicts",
    request_body = BulkResolution,
    responses((status = 200, body = BulkResolutionResult), (status = 400), (status = 403), (status = 404)))]
pub async fn resolve_many(
    State(app): State<App>,
    caller: MayUpdate,
    JsonBody(body): JsonBody<BulkResolution>,
) -> Result<Response, ApiError> {
    // A trial writes nothing.
    let database = if body.dry_run { app.existing(&caller.database)? } else { app.writable(&caller.database)? };
    let rule = Arc::new(rule(&body)?);
    let collection = body.collection.as_deref().map(CollectionName::parse).transpose()?;
    let selection = Selection { collection, ..Selection::default() };
    let may_delete = caller.holds(Role::DeleteDocument);
    let mut result = BulkResolutionResult { dry_run: body.dry_run, ..BulkResolutionResult::default() };
    let mut after = body.after.as_deref().map(Cursor::from_str).transpose()?;
    let (mut looked_at, mut token) = (0, None);
    loop {
        let (database_there, rule, selection) = (Arc::clone(&database), Arc::clone(&rule), selection.clone());
        let judged = app.scan(move || judge(&database_there, &rule, &selection, after, may_delete)).await?;
        let (judged, next) = judged;
        looked_at += judged.len();
        token = carry_out(&database, judged, &mut result).await?.or(token);
        after = next;
        if after.is_none() || looked_at >= CONFLICTS_RESOLVED_MAX {
            break;
        }
    }
    result.next = after.map(|after| after.to_string());
    let response = wire::json(&result);
    Ok(token.iter().fold(response, |response, token| wire::with_token(response, token)))
}

fn rule(body: &BulkResolution) -> Result<Rule, ApiError> {
    let wrong = |detail: String| ApiError::bad_request("invalid-rule", detail);
    let rule = match body.rule.to_ascii_lowercase().as_str() {
        "lastwriterwins" => Rule::LastWriterWins,
        "firstwriterwins" => Rule::FirstWriterWins,
        "mergefields" => Rule::MergeFields,
        "prefernode" => {
            let node = body.node.as_deref().ok_or_else(|| {
                wrong("The rule PreferNode needs 'Node': the name of the node whose versions are taken.".to_owned())
            })?;
            return Ok(Rule::PreferNode(NodeName::parse(node)?));
        }
        _ => {
            return Err(wrong(format!(
                "The rule {} is unknown. Use LastWriterWins, FirstWriterWins, MergeFields or PreferNode.",
                quoted(&body.rule)
            )));
        }
    };
    if body.node.is_some() {
        return Err(wrong("'Node' goes with the rule PreferNode only.".to_owned()));
    }
    Ok(rule)
}

/// Judges the next conflicts of the list.
fn judge(
    database: &OpenDatabase,
    rule: &Rule,
    selection: &Selection,
    after: Option<Cursor>,
    may_delete: bool,
) -> Result<(Vec<Judged>, Option<Cursor>), StorageError> {
    let page = database.view()?.conflicts(selection, after, PIECE)?;
    let judged = page.conflicts.into_iter().map(|conflict| {
        let outcome = judge_one(database, rule, &conflict, may_delete)?;
        let place = (conflict.collection.to_string(), conflict.document.to_string());
        Ok(Judged { id: conflict.id, place, outcome })
    });
    Ok((judged.collect::<Result<Vec<_>, StorageError>>()?, page.next))
}

fn judge_one(
    database: &OpenDatabase,
    rule: &Rule,
    conflict: &Conflict,
    may_delete: bool,
) -> Result<Result<Change, String>, StorageError> {
    if conflict.violation.is_some() {
        return Ok(
            Err("Documents have values that are to be unique: change or delete all but one of them.".to_owned()),
        );
    }
    if conflict.collection.as_str() == INDEXES_COLLECTION {
        return Ok(Err("It is about the definition of an index: settle it by itself, or drop the index.".to_owned()));
    }
    let state = database.view()?.state_of(&conflict.collection, &conflict.document)?;
    let Some((state, position)) = state.filter(|(state, _)| ConflictId::of(state) == Some(conflict.id)) else {
        return Ok(Err("It has changed meanwhile; list the conflicts again.".to_owned()));
    };
    let ancestor = || database.log()?.ancestor(sides(&state), position);
    let settlement = match rule.answer(&state, &conflict.document, ancestor)? {
        RuleAnswer::Write(Some(body)) => Settlement::Body(body),
        RuleAnswer::Write(None) if may_delete => Settlement::Delete,
        RuleAnswer::Write(None) => return Ok(Err("It would delete the document, which this key may not.".to_owned())),
        RuleAnswer::None(reason) => return Ok(Err(reason.to_owned())),
        RuleAnswer::Stands => return Ok(Err("The rule has no answer.".to_owned())),
    };
    Ok(Ok(Change {
        collection: conflict.collection.clone(),
        id: conflict.document.clone(),
        action: Action::Resolve(settlement),
        expect: Expect::Conflict(conflict.id),
    }))
}

/// Writes what was judged, unless it is a trial, and counts; answers with the token of the last that was written.
async fn carry_out(
    database: &OpenDatabase,
    judged: Vec<Judged>,
    result: &mut BulkResolutionResult,
) -> Result<Option<String>, ApiError> {
    let mut changes = Vec::new();
    let mut places = Vec::new();
    for Judged { id, place, outcome } in judged {
        result.matched += 1;
        match outcome {
            Ok(change) => {
                changes.push(change);
                places.push((id, place));
            }
            Err(reason) => result.leave(id, place, reason),
        }
    }
    if result.dry_run || changes.is_empty() {
        result.resolved += changes.len() as u64;
        return Ok(None);
    }
    let Answer::Each(written) = database.submit(Request::Each(changes)).await.map_err(not_submitted)? else {
        return Err(ApiError::internal());
    };
    let mut token = None;
    for (written, (id, place)) in written.into_iter().zip(places) {
        match written {
            Ok(written) => {
                token = wire::token_of(&written).or(token);
                result.resolved += 1;
                database.counts().conflicts_settled.fetch_add(1, Ordering::Relaxed);
            }
            Err(refusal) => result.leave(id, place, refusal.to_string()),
        }
    }
    Ok(token)
}

impl BulkResolutionResult {
    fn leave(&mut self, id: ConflictId, (collection, entity_id): (String, String), reason: String) {
        self.unresolved += 1;
        if self.not_resolved.len() < NAMED_MAX {
            self.not_resolved.push(NotResolved { id: id.to_string(), collection, entity_id, reason });
        }
    }
}
