//! `INSERT`, `UPDATE`, `DELETE`: what matches becomes one transaction of the database's writer.
//!
//! ```text
//!   look ─► changes, each for the version that was looked at ─► writer ─► all done
//!    ▲                                                            └► somebody else was faster: nothing was done
//!    └────────────────────────── look again, a bounded number of times ◄┘
//! ```

use std::sync::Arc;

use holdfast_core::error::Refusal;
use holdfast_core::time::Millis;
use holdfast_query::query::TaskKind;
use holdfast_query::write::{Verb, Writes};
use holdfast_storage::request::{Action, Answer, Request, Written};

use crate::databases::OpenDatabase;
use crate::http::access::Access;
use crate::http::app::App;
use crate::http::error::{ApiError, quoted};
use crate::http::query::answer::{Outcome, Rows};
use crate::http::query::asked::{Asked, Form};
use crate::http::query::places::{Purpose, Watch};
use crate::http::query::reading::Look;
use crate::http::refusal::not_submitted;
use crate::{clock, entropy};

/// How often a statement is run again because others changed what it matched.
const TRIES_MAX: usize = 64;

/// Carries a statement out that writes documents.
pub async fn write(
    app: &App,
    caller: &Access,
    asked: &Arc<Asked>,
    form: Form,
    watch: &Watch,
) -> Result<(Outcome, Rows), ApiError> {
    let take = asked.documents()?;
    let is_insert = asked.query.task().kind == TaskKind::Insert;
    let database = if is_insert { None } else { Some(app.existing(&caller.database)?) };
    for _ in 0..TRIES_MAX {
        let (reading, said) = (database.clone(), Arc::clone(asked));
        let writes = app.queries().run(Purpose::Write, watch, move |watch| {
            watch.spend(&mut || {}, |budget| match &reading {
                None => said.query.inserts(Millis(clock::now_millis()), &entropy::random_u128, budget),
                Some(database) => {
                    let look = Look::at(database, &said.query)?;
                    said.query.writes(look.world(&said, &entropy::random_u128), take, budget)
                }
            })
        });
        let writes = writes.await?;
        refuse_too_large(app, &writes)?;
        // A statement that is refused before it reaches the writer makes no database either.
        let database = match &database {
            Some(database) => Arc::clone(database),
            None => app.for_write(caller).await?,
        };
        match submit(&database, &writes).await? {
            Ok(written) => return Ok(outcome_of(&writes, written, take, form)),
            Err(refusal) if writes.was_overtaken(&refusal) => {}
            Err(refusal) => return Err(explained(&writes, refusal)),
        }
    }
    Err(ApiError::conflict(
        "query-overtaken",
        format!(
            "Others changed what the statement matches {TRIES_MAX} times while it ran. Nothing was written; try again."
        ),
    ))
}

async fn submit(database: &OpenDatabase, writes: &Writes) -> Result<Result<Vec<Written>, Refusal>, ApiError> {
    if writes.changes.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    match database.submit(Request::Together(writes.changes.clone())).await.map_err(not_submitted)? {
        Answer::Together(outcome) => Ok(outcome.map_err(|(_, refusal)| refusal)),
        _ => Err(ApiError::internal()),
    }
}

/// Holds documents against the setting, as every route does that writes.
fn refuse_too_large(app: &App, writes: &Writes) -> Result<(), Refusal> {
    let limit = app.settings.limits.document_bytes_max;
    let bytes = writes.changes.iter().filter_map(|change| match &change.action {
        Action::Put(body) => Some(body.as_str().len()),
        _ => None,
    });
    match bytes.max() {
        Some(bytes) if bytes > limit => Err(Refusal::TooLarge { what: "document", bytes, limit }),
        _ => Ok(()),
    }
}

/// What a refusal of the writer means to who wrote the statement.
fn explained(writes: &Writes, refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::PreconditionFailed { collection, id, current } if writes.verb == Verb::Insert => {
            let detail = format!(
                "There is a document {} in '{collection}' already. Nothing was written; to change it, use UPDATE.",
                quoted(&id)
            );
            ApiError::conflict("already-exists", detail).with_field("id", id).with_field("currentVersion", current)
        }
        refusal => refusal.into(),
    }
}

fn outcome_of(writes: &Writes, written: Vec<Written>, take: Option<u64>, form: Form) -> (Outcome, Rows) {
    let mut rows = Rows::new(form);
    writes.rows(&written).iter().for_each(|row| rows.push_value(row));
    let applied = written.len() as u64;
    let token = written.last().and_then(|last| last.operations.last()).map(|last| last.operation.dot.to_string());
    let outcome = Outcome {
        requested_take: if writes.verb == Verb::Insert { Some(applied) } else { take },
        matched: writes.matched,
        is_matched_exact: true,
        applied,
        returned: applied,
        plan: writes.plan.clone(),
        columns: Some(["operation", "collection", "id", "version", "isDeleted"].map(str::to_owned).to_vec()),
        token,
        ..Outcome::default()
    };
    (outcome, rows)
}
