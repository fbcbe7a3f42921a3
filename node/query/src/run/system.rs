//! What the node tells about itself as rows: collections, indexes, conflicts, the log.
//!
//! Rows are made a stretch at a time, so that a long log is never held as a whole. Names of fields are those of the
//! HTTP interface; documents inside of rows are JSON, so that a path leads into them.
//!
//! **What it does not do.** It asks for no role: whoever runs a query has asked before.

use holdfast_core::document::Version;
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::json::JsonText;
use holdfast_core::operation::OperationKind;
use holdfast_core::time::Millis;
use holdfast_core::vector::Position;
use holdfast_storage::conflicts::{Cursor, Selection};
use holdfast_storage::indexes::IndexState;
use holdfast_storage::log::{LogView, ReadLimit};
use holdfast_storage::record::conflict::{Conflict, Standing};
use holdfast_storage::record::index::IndexStanding;
use holdfast_storage::record::operation::{Entry, Logged};
use holdfast_storage::view::ReadView;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::plan::System;
use crate::run::row::write_value;
use crate::run::select::Views;

/// A made row: its id among its like, and its JSON text.
pub(crate) type MadeRow = (String, Vec<u8>);

/// Rows, conflicts or operations that are read at once.
const STRETCH_ROWS: usize = 500;
/// Bytes of operations that are read at once.
const STRETCH_BYTES: usize = 4 * 1024 * 1024;

/// What is made into rows, and how far that is.
#[derive(Debug)]
pub(crate) enum Stretches<'view> {
    /// Conflicts, the open ones first.
    Conflicts { view: &'view ReadView, is_settled: bool, after: Option<Cursor> },
    /// The log.
    Operations { log: &'view LogView, after: Position },
    /// A list that is short.
    List(Vec<MadeRow>),
    /// Everything was read.
    Done,
}

impl<'view> Stretches<'view> {
    pub(crate) fn new(system: System, views: Views<'view>) -> Result<Self, Failure> {
        match (system, views.log) {
            (System::Conflicts, _) => Ok(Self::Conflicts { view: views.data, is_settled: false, after: None }),
            (System::Collections, _) => Ok(Self::List(collections(views.data)?)),
            (System::Indexes, _) => Ok(Self::List(indexes(views.data)?)),
            (System::Operations, Some(log)) => Ok(Self::Operations { log, after: Position::START }),
            (System::Operations, None) => Err(Failure::refused(
                "query-log-absent",
                "The log cannot be read here",
                "Ask for the history of a document instead.",
            )),
        }
    }

    /// The next rows; none at the end.
    pub(crate) fn next(&mut self) -> Result<Vec<MadeRow>, Failure> {
        loop {
            let (rows, then) = match std::mem::replace(self, Self::Done) {
                Self::Done => return Ok(Vec::new()),
                Self::List(rows) => (rows, Self::Done),
                Self::Operations { log, after } => {
                    let limit = ReadLimit { operations: STRETCH_ROWS, bytes: STRETCH_BYTES };
                    let (entries, goes_on) = log.entries(after, limit)?;
                    let last = entries.last().map_or(after, Entry::position);
                    let rows = entries.into_iter().filter_map(Entry::into_operation).map(operation).collect();
                    (rows, if goes_on && last > after { Self::Operations { log, after: last } } else { Self::Done })
                }
                Self::Conflicts { view, is_settled, after } => {
                    let selection = Selection { is_settled, ..Selection::default() };
                    let page = view.conflicts(&selection, after, STRETCH_ROWS)?;
                    let rows = page.conflicts.into_iter().map(conflict).collect();
                    let then = match (page.next, is_settled) {
                        (Some(next), _) => Self::Conflicts { view, is_settled, after: Some(next) },
                        (None, false) => Self::Conflicts { view, is_settled: true, after: None },
                        (None, true) => Self::Done,
                    };
                    (rows, then)
                }
            };
            *self = then;
            if !rows.is_empty() {
                return Ok(rows);
            }
        }
    }
}

fn made(id: String, row: &Value) -> MadeRow {
    let mut text = Vec::new();
    write_value(row, &mut text);
    (id, text)
}

fn collections(view: &ReadView) -> Result<Vec<MadeRow>, Failure> {
    let each = view.collections()?.into_iter().filter_map(|(name, state)| {
        // The node's own are not told.
        CollectionName::parse(name.as_str()).ok()?;
        let row = json!({
            "Id": name.as_str(),
            "Collection": name.as_str(),
            "Count": state.alive,
            "Tombstones": state.tombstones,
            "Digest": state.digest.to_string(),
        });
        Some(made(name.to_string(), &row))
    });
    Ok(each.collect())
}

fn document(text: Option<&JsonText>) -> Value {
    text.map_or(Value::Null, |text| Value::Object(text.to_object()))
}

fn operation(logged: Logged) -> MadeRow {
    let operation = logged.operation;
    let payload = match &operation.kind {
        OperationKind::Put { body, .. } | OperationKind::Patch { body, .. } => document(Some(body)),
        OperationKind::Resolve { body, .. } => document(body.as_ref()),
        OperationKind::Increment(increment) => {
            let mut counted = Map::new();
            increment.add_to(&mut counted);
            json!({ "$inc": counted })
        }
        OperationKind::Delete
        | OperationKind::RegisterCollection
        | OperationKind::JoinMember { .. }
        | OperationKind::FenceMember { .. }
        | OperationKind::Unknown { .. } => Value::Null,
    };
    let is_tombstone = matches!(operation.kind, OperationKind::Delete | OperationKind::Resolve { body: None, .. });
    let row = json!({
        "Id": operation.id.to_string(),
        "NodeId": operation.dot.origin.node.as_str(),
        "TimestampUtc": operation.stamp.millis().to_utc_text(),
        "Collection": operation.collection.as_str(),
        "EntityId": operation.document.as_ref().map(DocumentId::as_str),
        "Kind": operation.kind.name(),
        "Payload": payload,
        "Sequence": operation.dot.sequence.0,
        "LogSequence": logged.position.0,
        "IsTombstone": is_tombstone,
        "Origin": operation.dot.origin.to_string(),
        "TransactionId": operation.group.map(|group| group.id.to_string()),
    });
    made(operation.id.to_string(), &row)
}

fn conflict(conflict: Conflict) -> MadeRow {
    let (state, closed, by) = match conflict.standing {
        Standing::Open => ("Open", None, None),
        Standing::Closed { at, by } => ("Closed", Some(at), Some(by.to_string())),
        Standing::Replaced { at, by } => ("Replaced", Some(at), Some(by.to_string())),
    };
    let version = |version: &Version| {
        json!({
            "VersionId": version.id.to_string(),
            "NodeId": version.dot.origin.node.as_str(),
            "Origin": version.dot.origin.to_string(),
            "Sequence": version.dot.sequence.0,
            "TimestampUtc": version.stamp.millis().to_utc_text(),
            "IsDeleted": version.body.is_none(),
            "Payload": document(version.body.as_ref()),
        })
    };
    let violation = conflict.violation.as_ref();
    let documents = violation.map_or(&[][..], |violation| &violation.documents);
    let row = json!({
        "Id": conflict.id.to_string(),
        "Collection": conflict.collection.as_str(),
        "EntityId": conflict.document.as_str(),
        "State": state,
        "Reason": if violation.is_some() { "UniqueViolation" } else { "ConcurrentWrites" },
        "Index": violation.map(|violation| violation.index.as_str()),
        "Documents": documents.iter().map(DocumentId::as_str).collect::<Vec<_>>(),
        "CreatedUtc": conflict.arose.to_utc_text(),
        "IsDecidedBySuspectStamp": conflict.is_suspect,
        "Versions": conflict.versions.iter().map(version).collect::<Vec<_>>(),
        "ClosedUtc": closed.map(Millis::to_utc_text),
        "ClosedBy": by,
    });
    made(conflict.id.to_string(), &row)
}

fn indexes(view: &ReadView) -> Result<Vec<MadeRow>, Failure> {
    let row = |index: &IndexState| {
        let mut row = match serde_json::from_str(&index.text) {
            Ok(Value::Object(definition)) => definition,
            _ => Map::new(),
        };
        let state = match &index.standing {
            IndexStanding::Building { .. } => "Building",
            IndexStanding::Ready => "Ready",
            IndexStanding::Refused { .. } => "Refused",
            IndexStanding::Dropping => "Dropping",
        };
        row.insert("Name".to_owned(), Value::from(index.name.as_str()));
        row.insert("State".to_owned(), Value::from(state));
        row.insert("Entries".to_owned(), Value::from(index.counts.entries));
        made(index.name.clone(), &Value::Object(row))
    };
    Ok(view.indexes()?.iter().map(|index| row(index)).collect())
}
