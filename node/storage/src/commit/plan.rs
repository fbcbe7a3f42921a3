//! From a client's change to operations: preconditions, patches, increments, causal context.

use holdfast_core::conflict::ConflictId;
use holdfast_core::document::{DocumentState, DocumentVersion};
use holdfast_core::error::Refusal;
use holdfast_core::id::OperationId;
use holdfast_core::json::{JsonText, check, merge_patch, with_id};
use holdfast_core::limits::DOCUMENT_BYTES_MAX;
use holdfast_core::operation::{Operation, OperationKind};
use holdfast_core::stamp::Stamp;
use holdfast_core::vector::{Dot, Origin, Sequence, Vector};
use serde_json::Value;

use crate::commit::after;
use crate::commit::touched::TouchedDocument;
use crate::request::{Action, Change, Expect};

/// The operations that a change becomes.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) operations: Vec<Operation>,
    pub(crate) version: Option<DocumentVersion>,
    pub(crate) existed: bool,
}

impl Draft {
    /// Bytes of the largest document that it writes.
    pub(crate) fn document_bytes(&self) -> usize {
        let body = |operation: &Operation| match &operation.kind {
            OperationKind::Put { body, .. } | OperationKind::Patch { body, .. } => body.as_str().len(),
            _ => 0,
        };
        self.operations.iter().map(body).max().unwrap_or(0)
    }
}

/// Judges a change against the document as it stands and drafts its operations, or refuses it.
pub(crate) fn draft(
    change: Change,
    document: &TouchedDocument,
    origin: &Origin,
    newest: Sequence,
    stamp: Stamp,
    knows: &Vector,
    mint: &mut dyn FnMut() -> OperationId,
) -> Result<Draft, Refusal> {
    let state = &document.state;
    expect(&change, state)?;
    let existed = state.is_alive();
    let kinds = kinds(&change, state)?;
    // Where nothing is shown, all that is known here counts as seen: what others have forgotten of the document is
    // among it, so that they can tell this write from one that came before.
    let mut seen = state.vector.clone();
    if !state.is_alive() {
        seen.merge(knows);
    }
    let mut operations = Vec::with_capacity(kinds.len());
    for (kind, steps) in kinds.into_iter().zip(1..) {
        let dot = Dot { origin: origin.clone(), sequence: after(newest, steps) };
        let context = seen.clone();
        seen.observe(&dot.origin, dot.sequence);
        operations.push(Operation {
            id: mint(),
            dot,
            stamp,
            collection: change.collection.clone(),
            document: Some(change.id.clone()),
            context,
            group: None,
            chain: None,
            replaces: None,
            kind,
        });
    }
    Ok(Draft { operations, version: None, existed })
}

/// Whether what the caller expects holds.
fn expect(change: &Change, state: &DocumentState) -> Result<(), Refusal> {
    let current = || state.version().map_or_else(|| "<null>".to_owned(), |version| version.to_string());
    let (collection, id) = (change.collection.to_string(), change.id.to_string());
    let holds = match &change.expect {
        Expect::Any => true,
        Expect::Parent(expected) => {
            let current = current();
            if *expected != current {
                return Err(Refusal::VersionMismatch { collection, id, expected: expected.clone(), current });
            }
            true
        }
        Expect::Match(versions) => state.is_alive() && versions.contains(&current()),
        Expect::Exists => state.is_alive(),
        Expect::Absent => !state.is_alive(),
        Expect::Conflict(expected) => {
            if ConflictId::of(state) != Some(*expected) {
                return Err(Refusal::ConflictChanged { collection, id });
            }
            true
        }
    };
    if holds {
        return Ok(());
    }
    let current = if state.is_alive() { current() } else { "<null>".to_owned() };
    Err(Refusal::PreconditionFailed { collection, id, current })
}

/// The kinds of operation that a change becomes.
fn kinds(change: &Change, state: &DocumentState) -> Result<Vec<OperationKind>, Refusal> {
    let missing = || Refusal::NotFound { collection: change.collection.to_string(), id: change.id.to_string() };
    match &change.action {
        Action::Put(body) => Ok(vec![OperationKind::Put { body: body.clone(), created: !state.is_alive() }]),
        Action::Delete if state.is_alive() => Ok(vec![OperationKind::Delete]),
        Action::Delete => Err(missing()),
        Action::Resolve(settlement) => Ok(vec![settlement.to_kind(state, &change.id)?]),
        Action::Patch { merge, increment } => {
            let mut kinds = Vec::with_capacity(2);
            // Increments stay beside the patched document; they are not written into it.
            let base = state.versions.first().and_then(|version| version.body.as_ref());
            let mut object = match (base, increment) {
                (Some(base), _) => base.to_object(),
                (None, Some(increment)) if merge.is_empty() => {
                    let zeros = with_id(increment.zeros(), &change.id);
                    kinds.push(OperationKind::Put { body: JsonText::from_object(&zeros), created: true });
                    zeros
                }
                (None, _) => return Err(missing()),
            };
            if !merge.is_empty() || increment.is_none() {
                merge_patch(&mut object, merge);
                object = with_id(object, &change.id);
                let value = Value::Object(object);
                check(&value, 1)?;
                let Value::Object(merged) = value else { return Err(missing()) };
                object = merged;
                let body = JsonText::from_object(&object);
                if body.as_str().len() > DOCUMENT_BYTES_MAX {
                    let bytes = body.as_str().len();
                    return Err(Refusal::TooLarge { what: "document", bytes, limit: DOCUMENT_BYTES_MAX });
                }
                kinds.push(OperationKind::Patch { body, patch: JsonText::from_object(merge) });
            }
            if let Some(increment) = increment {
                if let Some(field) = increment.misfit(&object) {
                    return Err(Refusal::invalid(
                        "not-a-number",
                        format!(
                            "$inc of '{field}' is not possible: the field holds no number, or one with more digits than can be counted exactly."
                        ),
                    ));
                }
                kinds.push(OperationKind::Increment(increment.clone()));
            }
            Ok(kinds)
        }
    }
}
