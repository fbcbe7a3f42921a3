//! From a decision to the operation that carries it: a resolution covers all sides and leaves counters beside it.

use crate::conflict::merge::{beneath, difference};
use crate::document::DocumentState;
use crate::error::Refusal;
use crate::id::{DocumentId, OperationId};
use crate::json::{JsonText, with_id};
use crate::limits::DOCUMENT_BYTES_MAX;
use crate::operation::OperationKind;

/// How a conflict is to be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// With one of its versions, a delete among them.
    Keep(OperationId),
    /// With a document as a policy made it, without the increments beside it: those stay.
    Body(JsonText),
    /// With a document as a person wants to see it, increments included.
    Seen(JsonText),
    /// With a delete.
    Delete,
}

impl Settlement {
    /// Whether the document is deleted by it; `None` when it names a version that is not there.
    pub fn is_delete(&self, state: &DocumentState) -> Option<bool> {
        match self {
            Self::Keep(id) => state.versions.iter().find(|version| version.id == *id).map(|kept| kept.body.is_none()),
            Self::Body(_) | Self::Seen(_) => Some(false),
            Self::Delete => Some(true),
        }
    }

    /// The operation that does it.
    pub fn to_kind(&self, state: &DocumentState, id: &DocumentId) -> Result<OperationKind, Refusal> {
        let (body, patch) = match self {
            Self::Keep(kept) => {
                let version = state.versions.iter().find(|version| version.id == *kept);
                let version = version.ok_or_else(|| {
                    Refusal::invalid("unknown-version", "The conflict has no such version. Choose one that it lists.")
                })?;
                (version.body.clone(), JsonText::empty())
            }
            Self::Body(body) => (Some(body.clone()), JsonText::empty()),
            Self::Seen(wanted) => {
                let wanted = with_id(wanted.to_object(), id);
                let base = state.versions.first().and_then(|version| version.body.as_ref());
                let base = base.map(JsonText::to_object).unwrap_or_default();
                let shown = state.shown().map(|shown| shown.to_object()).unwrap_or_default();
                let body = if state.has_increments() { beneath(&wanted, &shown, &base) } else { wanted.clone() };
                (Some(JsonText::from_object(&body)), JsonText::from_object(&difference(&shown, &wanted)))
            }
            Self::Delete => (None, JsonText::empty()),
        };
        let bytes = body.as_ref().map_or(0, |body| body.as_str().len());
        if bytes > DOCUMENT_BYTES_MAX {
            return Err(Refusal::TooLarge { what: "document", bytes, limit: DOCUMENT_BYTES_MAX });
        }
        Ok(OperationKind::Resolve { body, patch })
    }
}
