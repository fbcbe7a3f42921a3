//! Why a query ends without its answer: it asks for what cannot be, it passes a limit, or the store failed.
//!
//! **What stays true.** A code keeps its meaning for ever. Whatever a person can put right is a [`QueryError`]; a
//! failure of the store is none.

use holdfast_storage::error::StorageError;

use crate::language::error::QueryError;
use crate::language::expression::Position;

/// Why a query ends without its answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The statement, a value or the limits do not allow it.
    #[error("{0}")]
    Refused(#[from] QueryError),
    /// The store failed, or what is in it cannot be believed.
    #[error("{0}")]
    Storage(#[from] StorageError),
}

impl Failure {
    /// A refusal that has no place in the text, with what to do.
    pub fn refused(code: &'static str, message: impl Into<String>, suggestion: impl Into<String>) -> Self {
        Self::Refused(QueryError::meaning(code, message, Position::default()).suggesting(suggestion))
    }

    /// The stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(error) => error.code,
            Self::Storage(_) => "storage-failed",
        }
    }
}
