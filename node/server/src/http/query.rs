//! `POST /api/query`: SQL over documents.
//!
//! ```text
//!   body ─► statement ─► which roles does it take? ─► SELECT, EXPLAIN       reading, a few at once     ─┐
//!                                                     SELECT in lines       streaming, row by row       ├► answer
//!                                                     INSERT UPDATE DELETE  writing, by the one writer  │
//!                                                     CREATE / DROP INDEX   defining, as /api/indexes  ─┘
//! ```
//!
//! **What stays true.** What a statement may do is what its key may do by the other routes; nothing is looked at before
//! that is known. A query ends at the first limit that it passes, with a 4xx, and soon after its caller has gone.
//!
//! **What it does not do.** A statement knows one database, the one of the header; no file, no other node, no
//! collection that the node keeps for itself but the four that it tells of itself.

pub mod account;
pub mod answer;
pub mod asked;
pub mod defining;
pub mod places;
pub mod reading;
pub mod refused;
pub mod statements;
pub mod streaming;
pub mod writing;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use holdfast_core::access::role::Role;
use holdfast_query::language::statement::Statement;
use holdfast_query::query::{Task, TaskKind};
use serde::Deserialize;
use tokio::task;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock;
use crate::http::access::Access;
use crate::http::app::App;
use crate::http::consistency::{Tokens, Wanted};
use crate::http::error::ApiError;
use crate::http::extract::JsonText;
use crate::http::parameters::{self, Parameters};
use crate::http::query::account::Account;
use crate::http::query::answer::{Outcome, Rows, Summary};
use crate::http::query::asked::{Asked, Form, QueryRequest};
use crate::http::query::places::{Purpose, Watch};
use crate::http::query::refused::failed;

/// Bodies above this are read where they hold up nobody.
const READ_APART_BYTES: usize = 16 * 1024;

/// The route of this module.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(query))
}

/// Parameters of [`query`].
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct QueryParameters {
    /// Whether rows that are documents show `_id`, `_sys_version` and the other fields that the node keeps.
    include_reserved_fields: Option<bool>,
    /// A write's token: wait until this node has it. The header `Consistency-Token` says the same.
    #[serde(default, deserialize_with = "parameters::given")]
    token: Option<String>,
    /// How long to wait for it: milliseconds, or `30s`; 5 s if absent, at most one minute.
    timeout: Option<String>,
    /// How old what this node shows may be at most, beside its leader: `500ms`, or `30s`. The header `Max-Staleness` says the
    /// same; a node that leads, or is alone, always meets it.
    #[serde(default, deserialize_with = "parameters::given")]
    max_staleness: Option<String>,
}

/// Carries out one statement.
///
/// SELECT and EXPLAIN need READ_DOCUMENT, INSERT WRITE_DOCUMENT, UPDATE and DELETE theirs, and READ_DOCUMENT too where they
/// look at more than ids; CREATE INDEX and DROP INDEX need MANAGE_INDEX. With `Accept: application/x-ndjson` each row is a
/// line of its own, sent as it is found; the last line is `{"$summary": {...}}`, or `{"$error": {...}}` with a problem.
#[utoipa::path(post, path = "/api/query", tag = "Query", request_body = QueryRequest, params(QueryParameters,
        ("Accept" = Option<String>, Header, description = "`application/x-ndjson` for rows in lines, as they come")),
    responses(
        (status = 200, content((Summary = "application/json"), (String = "application/x-ndjson"))),
        (status = 400, description = "The text cannot be read; `line`, `column` and `excerpt` show where"),
        (status = 403), (status = 404), (status = 409), (status = 413), (status = 415),
        (status = 422, description = "The statement makes no sense, or passes a limit"), (status = 503)))]
pub async fn query(
    State(app): State<App>,
    caller: Access,
    Parameters(parameters): Parameters<QueryParameters>,
    tokens: Tokens,
    form: Form,
    JsonText(body): JsonText,
) -> Result<Response, ApiError> {
    let began = clock::monotonic();
    let wanted = Wanted::of(&tokens, parameters.token.as_deref(), parameters.timeout.as_deref())?
        .no_older_than(parameters.max_staleness.as_deref())?;
    let mut asked = read(&app, body).await.inspect_err(|error| app.metrics.queries.count_unread(error.code()))?;
    asked.shows_reserved_fields = parameters.include_reserved_fields.unwrap_or(false);
    let asked = Arc::new(asked);
    require_roles(&caller, &asked.query.task())?;
    if writes(&asked.query.task()) {
        app.takes_writes()?;
    }
    wanted.database(&app, &caller.database).await.map(drop).or_else(|error| absent_is_fine(&asked, error))?;
    let lease = app.queries().lease();
    let mut account =
        Account::open(app.clone(), caller.database.clone(), Arc::clone(&asked), lease.watch().clone(), began);
    if form == Form::Lines && is_plain_select(&asked.query.task()) {
        return streaming::stream(&app, &caller, asked, lease, account).await;
    }
    match carry_out(&app, &caller, &asked, form, lease.watch()).await {
        Ok((outcome, rows)) => {
            account.done(&outcome);
            Ok(outcome.respond(asked.query.text(), account.micros(), rows))
        }
        Err(error) => {
            account.refused(&error);
            Err(error)
        }
    }
}

async fn read(app: &App, body: String) -> Result<Asked, ApiError> {
    if body.len() <= READ_APART_BYTES {
        return Asked::read(&body, app.statements());
    }
    let app = app.clone();
    task::spawn_blocking(move || Asked::read(&body, app.statements())).await.map_err(|_| ApiError::internal())?
}

/// An INSERT may be what makes the database.
fn absent_is_fine(asked: &Asked, error: ApiError) -> Result<(), ApiError> {
    let task = asked.query.task();
    let may_make_it = task.kind == TaskKind::Insert && task.explained.is_none();
    if may_make_it && error.code() == "database-not-found" { Ok(()) } else { Err(error) }
}

fn writes(task: &Task<'_>) -> bool {
    task.kind != TaskKind::Select && task.explained.is_none()
}

fn is_plain_select(task: &Task<'_>) -> bool {
    task.kind == TaskKind::Select && task.explained.is_none()
}

/// Refuses with 403 unless the key may do by other routes what the statement does.
fn require_roles(caller: &Access, task: &Task<'_>) -> Result<(), ApiError> {
    if task.explained.is_some() || task.looks_at_documents {
        caller.require(Role::ReadDocument)?;
    }
    if task.explained.is_some() {
        return Ok(());
    }
    match task.kind {
        TaskKind::Select => Ok(()),
        TaskKind::Insert => caller.require(Role::WriteDocument),
        TaskKind::Update => caller.require(Role::UpdateDocument),
        TaskKind::Delete => caller.require(Role::DeleteDocument),
        TaskKind::CreateIndex | TaskKind::DropIndex => caller.require(Role::ManageIndex),
    }
}

async fn carry_out(
    app: &App,
    caller: &Access,
    asked: &Arc<Asked>,
    form: Form,
    watch: &Watch,
) -> Result<(Outcome, Rows), ApiError> {
    let task = asked.query.task();
    if is_plain_select(&task) {
        let (database, asked) = (app.existing(&caller.database)?, Arc::clone(asked));
        if let Some(outcome) = reading::select_in_a_moment(&database, &asked, form, watch) {
            return outcome.map_err(failed);
        }
        return app
            .queries()
            .run(Purpose::Read, watch, move |watch| reading::select(&database, &asked, form, watch))
            .await;
    }
    asked.refuse_cursor()?;
    if task.explained.is_some() {
        let (database, asked) = (app.existing(&caller.database)?, Arc::clone(asked));
        return app
            .queries()
            .run(Purpose::Read, watch, move |watch| reading::explain(&database, &asked, form, watch))
            .await;
    }
    match asked.query.statement() {
        Statement::CreateIndex(create) => defining::create(app, caller, create, form).await,
        Statement::DropIndex(drop) => defining::drop(app, caller, drop, form).await,
        _ => writing::write(app, caller, asked, form, watch).await,
    }
}
