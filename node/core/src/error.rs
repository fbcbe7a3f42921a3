//! What went wrong with a request, in the few kinds that its sender can act on.

use thiserror::Error;

/// A request that the rules refuse. Nothing was changed by it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A name, id, document or option is not acceptable as it stands.
    #[error("{reason}")]
    Invalid {
        /// Stable word for programs, such as `invalid-id`.
        code: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The name belongs to the node itself.
    #[error("collection '{name}' is reserved")]
    Reserved {
        /// The name as it was given.
        name: String,
    },
    /// A document or body is larger than the limit.
    #[error("{what} has {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// What was measured.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// `parentVersion` was given and the document is at another version.
    #[error("version mismatch for {collection}/{id}: expected '{expected}', current is '{current}'")]
    VersionMismatch {
        /// Collection of the document.
        collection: String,
        /// Its id.
        id: String,
        /// What the caller expected.
        expected: String,
        /// What is there; `<null>` where nothing is.
        current: String,
    },
    /// `If-Match` or `If-None-Match` does not hold.
    #[error("precondition failed for {collection}/{id}: current version is '{current}'")]
    PreconditionFailed {
        /// Collection of the document.
        collection: String,
        /// Its id.
        id: String,
        /// What is there; `<null>` where nothing is.
        current: String,
    },
    /// The conflict to settle is not as the caller saw it: settled by somebody, or with other sides.
    #[error("the conflict of {collection}/{id} has changed")]
    ConflictChanged {
        /// Collection of the document.
        collection: String,
        /// Its id.
        id: String,
    },
    /// Another document has the values that a unique index has once only.
    #[error("{collection}/{id} would have the values of {other} in the unique index '{index}'")]
    NotUnique {
        /// Collection of the document.
        collection: String,
        /// Its id.
        id: String,
        /// The index.
        index: String,
        /// The id of the document that has the values.
        other: String,
    },
    /// There is another index of the name.
    #[error("there is an index '{name}' already, and it is another one: {definition}")]
    IndexExists {
        /// The name.
        name: String,
        /// The definition of the one that is there.
        definition: String,
    },
    /// The document to change does not exist.
    #[error("document {collection}/{id} does not exist")]
    NotFound {
        /// Collection of the document.
        collection: String,
        /// Its id.
        id: String,
    },
}

impl Refusal {
    /// An unacceptable value, with its stable word and what would be right.
    pub fn invalid(code: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { code, reason: reason.into() }
    }

    /// The stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { code, .. } => code,
            Self::Reserved { .. } => "reserved-collection",
            Self::TooLarge { .. } => "too-large",
            Self::VersionMismatch { .. } => "version-mismatch",
            Self::PreconditionFailed { .. } => "precondition-failed",
            Self::ConflictChanged { .. } => "conflict-changed",
            Self::NotUnique { .. } => "not-unique",
            Self::IndexExists { .. } => "index-exists",
            Self::NotFound { .. } => "not-found",
        }
    }
}
