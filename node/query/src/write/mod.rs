//! `INSERT`, `UPDATE` and `DELETE`: from a statement to the changes that the database's writer carries out, all or none.
//!
//! ```text
//!   matches of one view ─► a change each, with what must still hold ─► writer ─► done, or: somebody else was faster
//!                                                                             └► the statement runs again on a new view
//! ```
//!
//! **What stays true.** No write of anybody else is lost: a change holds for the very version that was looked at, or adds
//! to whatever stands there. What is not assigned is not written: a patch where that says the same, a counter operation for
//! `stock = stock - 1`, the whole document otherwise. No reserved collection is written.
//!
//! **What it does not do.** It commits nothing and asks for no role.

pub mod insert;
pub mod change;

use std::ops::ControlFlow;

use holdfast_core::error::Refusal;
use holdfast_core::id::CollectionName;
use holdfast_storage::request::{Action, Change, Expect, Written};
use serde_json::{Map, Value};

use crate::budget::Budget;
use crate::explain;
use crate::failure::Failure;
use crate::language::expression::{Expression, Kind};
use crate::language::statement::{Changes, Delete, Name, Select, Source, Update};
use crate::plan::Options;
use crate::plan::SelectPlan;
use crate::plan::select::{documents_of, plan};
use crate::run::row::{Body, Loaded};
use crate::run::select::{Views, each_match};
use crate::value::Compute;
use crate::write::change::Updating;

/// What a statement does to documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// New ones are written.
    Insert,
    /// Some are changed.
    Update,
    /// Some are deleted.
    Delete,
}

impl Verb {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }

    /// As the last step of a plan.
    pub(crate) fn step(self) -> &'static str {
        match self {
            Self::Insert => "Insert",
            Self::Update => "Update",
            Self::Delete => "Delete",
        }
    }
}

/// The changes of a statement, for one transaction of the writer.
#[derive(Debug, Clone)]
pub struct Writes {
    /// What is done.
    pub verb: Verb,
    /// To documents of this collection.
    pub collection: CollectionName,
    /// The changes: one for each document.
    pub changes: Vec<Change>,
    /// Documents that the condition is true for, those beyond `take` included; what is inserted, for an insert.
    pub matched: u64,
    /// How they were found, in one word for each step, and what is done with them.
    pub plan: String,
}

impl Writes {
    /// Whether a refusal of the writer means that somebody else was faster, so that the statement is to be run again on a
    /// new view. An insert is not: its document is there.
    pub fn was_overtaken(&self, refusal: &Refusal) -> bool {
        let is_overtaken = matches!(
            refusal,
            Refusal::VersionMismatch { .. } | Refusal::PreconditionFailed { .. } | Refusal::NotFound { .. }
        );
        is_overtaken && self.verb != Verb::Insert
    }

    /// The rows that are answered for documents that were written, in the order of the changes.
    pub fn rows(&self, written: &[Written]) -> Vec<Value> {
        let row = |(change, written): (&Change, &Written)| {
            let mut row = Map::new();
            row.insert("operation".to_owned(), Value::from(self.verb.name()));
            row.insert("collection".to_owned(), Value::from(change.collection.as_str()));
            row.insert("id".to_owned(), Value::from(change.id.as_str()));
            row.insert("version".to_owned(), Value::from(written.version.to_string()));
            row.insert("isDeleted".to_owned(), Value::from(self.verb == Verb::Delete));
            Value::Object(row)
        };
        self.changes.iter().zip(written).map(row).collect()
    }
}

/// What a statement is run with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground<'run, 'compute> {
    pub(crate) views: Views<'run>,
    pub(crate) compute: &'run Compute<'compute>,
    pub(crate) options: Options,
    /// Most documents to change; none when all matches are to be.
    pub(crate) take: Option<u64>,
}

/// The changes of an `UPDATE`.
pub(crate) fn update(update: &Update, ground: Ground<'_, '_>, budget: &mut Budget<'_>) -> Result<Writes, Failure> {
    let updating = Updating::new(update, ground.compute);
    let mut change = |loaded: &Loaded| updating.change(loaded, ground.compute);
    matches(Verb::Update, &update.collection, update.filter.as_ref(), ground, budget, &mut change)
}

/// The changes of a `DELETE`.
pub(crate) fn delete(delete: &Delete, ground: Ground<'_, '_>, budget: &mut Budget<'_>) -> Result<Writes, Failure> {
    let mut change = |loaded: &Loaded| Ok((Action::Delete, Expect::Parent(version_of(loaded)?)));
    matches(Verb::Delete, &delete.collection, delete.filter.as_ref(), ground, budget, &mut change)
}

/// The plan by which the documents of an `UPDATE` or `DELETE` are found.
pub(crate) fn matching_plan(
    collection: &Name,
    filter: Option<&Expression>,
    ground: Ground<'_, '_>,
) -> Result<SelectPlan, Failure> {
    let source = Source { collection: collection.clone(), alias: None };
    let select = Select {
        distinct: false,
        items: Vec::new(),
        from: Some(source),
        joins: Vec::new(),
        filter: filter.cloned(),
        group_by: Vec::new(),
        having: None,
        order_by: Vec::new(),
        limit: None,
        offset: None,
    };
    plan(&select, ground.views.data, ground.compute, ground.options, None)
}

/// What is done to a document that matches, and what must still hold then.
type ChangeOf<'of> = dyn FnMut(&Loaded) -> Result<(Action, Expect), Failure> + 'of;

fn matches(
    verb: Verb,
    name: &Name,
    filter: Option<&Expression>,
    ground: Ground<'_, '_>,
    budget: &mut Budget<'_>,
    change: &mut ChangeOf<'_>,
) -> Result<Writes, Failure> {
    let collection = documents_of(name)?;
    let plan = matching_plan(name, filter, ground)?;
    let words = format!("{}+{}", explain::words(&plan), verb.step());
    let mut writes = Writes { verb, collection: collection.clone(), changes: Vec::new(), matched: 0, plan: words };
    let take = ground.take.unwrap_or(u64::MAX);
    each_match(&plan, ground.views, ground.options, ground.compute, budget, &mut |loaded, budget| {
        writes.matched += 1;
        if writes.changes.len() as u64 >= take {
            return Ok(ControlFlow::Continue(()));
        }
        let (action, expect) = change(loaded)?;
        hold(&action, writes.changes.len() as u64, budget)?;
        let id = loaded.body.document_id()?;
        writes.changes.push(Change { collection: collection.clone(), id, action, expect });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(writes)
}

/// Counts a change against the limits before it is kept.
pub(crate) fn hold(action: &Action, before: u64, budget: &mut Budget<'_>) -> Result<(), Failure> {
    let writes_max = budget.limits().writes_max;
    if before >= writes_max {
        return Err(Failure::refused(
            "query-too-many-writes",
            format!("The statement changes more than {writes_max} documents, which cannot be one transaction"),
            "Narrow it with WHERE, or repeat it with take until nothing is left.",
        ));
    }
    let bytes = match action {
        Action::Put(body) => body.as_str().len(),
        _ => 0,
    };
    budget.hold(bytes + CHANGE_BYTES).map_err(|_| {
        Failure::refused(
            "query-memory-exceeded",
            format!("What the statement writes needs more than {} bytes of memory", budget.limits().memory_bytes_max),
            "Write fewer documents at a time, narrow it with WHERE or take, or raise Query:MaxMemoryMB.",
        )
    })
}

/// What a change takes beside its document, roughly.
const CHANGE_BYTES: usize = 512;

/// The version of a document that was looked at.
pub(crate) fn version_of(loaded: &Loaded) -> Result<String, Failure> {
    match &loaded.body {
        Body::Stored(document) => Ok(document.version.to_string()),
        Body::Made { .. } => Err(Failure::refused(
            "reserved-collection",
            "What the node tells about itself cannot be written",
            "Name a collection of documents.",
        )),
    }
}

/// Whether a condition looks at nothing but ids, so that it stays true whatever is written.
pub(crate) fn reads_ids_alone(condition: &Expression) -> bool {
    !condition.any(&mut |part| matches!(&part.kind, Kind::Path(path) if !path.is_document_id()))
}

/// Whether a write tells something of what documents hold: by which of them it changes, or by what it writes. Ids tell
/// nothing that is not in the statement, and adding to a field looks at no other.
pub(crate) fn shows_documents(update: Option<&Update>, filter: Option<&Expression>) -> bool {
    let reads = |value: &Expression| value.any(&mut |part| matches!(part.kind, Kind::Path(_)));
    let copies = update.is_some_and(|update| match &update.changes {
        Changes::Merge(object) => reads(object),
        Changes::Assign(assignments) => {
            assignments.iter().any(|assignment| assignment.increment().is_none() && reads(&assignment.value))
        }
    });
    copies || filter.is_some_and(|condition| !reads_ids_alone(condition))
}

/// A refusal of the rules for documents, as one of a statement.
pub(crate) fn refused(refusal: &Refusal) -> Failure {
    Failure::refused(refusal.code(), refusal.to_string(), "Nothing was written.")
}
