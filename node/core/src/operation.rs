//! Operations: one change each, as it is logged and shipped. Never altered after it was written.

use std::sync::Arc;

use crate::chain::Chain;
use crate::counter::Increment;
use crate::id::{CollectionName, DocumentId, OperationId};
use crate::json::JsonText;
use crate::members::FenceReason;
use crate::stamp::Stamp;
use crate::sync::poison::PARKED_KIND;
use crate::vector::{Dot, Origin, Vector};

/// One change to one document (or to a collection), as its writer logged it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its id; as a document's version it is the ETag.
    pub id: OperationId,
    /// Who wrote it and as which of theirs. Stays the same on every node that forwards it.
    pub dot: Dot,
    /// The writer's hybrid logical clock.
    pub stamp: Stamp,
    /// The collection that it changes.
    pub collection: CollectionName,
    /// The document that it changes; `None` for a change to the collection itself.
    pub document: Option<DocumentId>,
    /// What the writer had seen of the document; the whole of what it knew where there was none.
    pub context: Vector,
    /// The transaction that it is part of, if any.
    pub group: Option<Group>,
    /// The running hash over its origin's operations before it; `None` when its writer kept none.
    pub chain: Option<Chain>,
    /// The operation that it stands in for: one that its writer held, and could not bring in under its own name.
    pub replaces: Option<OperationId>,
    /// The change.
    pub kind: OperationKind,
}

/// Place of an operation in its transaction. Members of one transaction lie side by side in every log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Id of the transaction's first operation.
    pub id: OperationId,
    /// From 0.
    pub index: u32,
    /// How many operations the transaction has.
    pub count: u32,
}

/// What an operation does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationKind {
    /// The whole document was written.
    Put {
        /// The document.
        body: JsonText,
        /// Whether nothing was shown under this id before, as far as the writer knew.
        created: bool,
    },
    /// Some fields were written. Carries the whole resulting document all the same.
    Patch {
        /// The document after the patch, without the increments that stand beside it.
        body: JsonText,
        /// The merge patch (RFC 7396): which fields were meant, for merging.
        patch: JsonText,
    },
    /// The document was deleted.
    Delete,
    /// A conflict was settled: what stands here is shown from now on, whatever the sides' stamps say.
    Resolve {
        /// The document, without the increments that stand beside it; `None` when it is deleted.
        body: Option<JsonText>,
        /// The fields that differ from what was shown before, as a merge patch: increments of others stay.
        patch: JsonText,
    },
    /// Numbers in the document were raised or lowered.
    Increment(Increment),
    /// A collection was made known before its first document.
    RegisterCollection,
    /// A node is counted with from now on.
    JoinMember {
        /// The node.
        member: Origin,
    },
    /// A node is no longer counted with.
    FenceMember {
        /// The node.
        member: Origin,
        /// Why.
        reason: FenceReason,
    },
    /// A kind that a newer node wrote. Kept and forwarded as it came, never applied.
    Unknown {
        /// The kind's number.
        code: u16,
        /// Its payload, as it came.
        payload: Arc<[u8]>,
    },
}

impl Operation {
    /// What tells it from every other change: an operation and one that stands in for it are the same change.
    pub fn identity(&self) -> OperationId {
        self.replaces.unwrap_or(self.id)
    }
}

impl OperationKind {
    /// The kind's word, as peers and people read it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Put { .. } => "put",
            Self::Patch { .. } => "patch",
            Self::Delete => "delete",
            Self::Resolve { .. } => "resolve",
            Self::Increment(_) => "increment",
            Self::RegisterCollection => "collection-register",
            Self::JoinMember { .. } => "member-join",
            Self::FenceMember { .. } => "member-fence",
            Self::Unknown { code: PARKED_KIND, .. } => "parked",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// Bytes of the documents and payloads that it carries.
    pub fn body_bytes(&self) -> usize {
        match self {
            Self::Put { body, .. } => body.as_str().len(),
            Self::Patch { body, patch } => body.as_str().len() + patch.as_str().len(),
            Self::Resolve { body, patch } => body.as_ref().map_or(0, |body| body.as_str().len()) + patch.as_str().len(),
            Self::Unknown { payload, .. } => payload.len(),
            Self::Delete
            | Self::Increment(_)
            | Self::RegisterCollection
            | Self::JoinMember { .. }
            | Self::FenceMember { .. } => 0,
        }
    }

    /// Whether it is about a document, or about something else; `None` for a kind not known here, which may be either.
    pub fn is_of_document(&self) -> Option<bool> {
        match self {
            Self::Put { .. } | Self::Patch { .. } | Self::Delete | Self::Resolve { .. } | Self::Increment(_) => {
                Some(true)
            }
            Self::RegisterCollection | Self::JoinMember { .. } | Self::FenceMember { .. } => Some(false),
            Self::Unknown { .. } => None,
        }
    }

    /// Whether it stands for the whole document, and so takes the place of what it covers.
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Put { .. } | Self::Patch { .. } | Self::Delete | Self::Resolve { .. })
    }
}
