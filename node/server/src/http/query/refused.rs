//! Why a query has no answer, as an error of the one shape.
//!
//! | status | what                                                                      |
//! |--------|---------------------------------------------------------------------------|
//! | 400    | the text cannot be read: `line`, `column`, `excerpt` with a caret          |
//! | 403    | it names a collection that the node keeps for itself                      |
//! | 413    | a document that it would write is too large                               |
//! | 422    | it can be read and makes no sense, or passes a limit                      |
//! | 503    | the store failed; or nobody waits for it, which nobody sees               |

use axum::http::StatusCode;
use holdfast_query::failure::Failure;
use holdfast_query::language::error::QueryError;

use crate::http::error::ApiError;
use crate::http::refusal::storage_failed;

/// A failure as its caller reads it.
pub fn failed(failure: Failure) -> ApiError {
    match failure {
        Failure::Refused(error) => refused(error),
        Failure::Storage(error) => storage_failed(&error),
    }
}

fn refused(error: QueryError) -> ApiError {
    let status = match error.code {
        _ if error.is_syntax => StatusCode::BAD_REQUEST,
        "query-cursor-invalid" | "query-cursor-stale" => StatusCode::BAD_REQUEST,
        "reserved-collection" => StatusCode::FORBIDDEN,
        "too-large" => StatusCode::PAYLOAD_TOO_LARGE,
        "query-cancelled" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let mut told = ApiError::new(status, error.code, error.to_string()).with_error(error.message);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        told = told.with_retry_after(1);
    }
    if let Some(position) = error.position {
        told = told.with_field("line", position.line).with_field("column", position.column);
    }
    if let Some(suggestion) = error.suggestion {
        told = told.with_field("suggestion", suggestion);
    }
    match error.excerpt {
        Some(excerpt) => told.with_field("excerpt", excerpt),
        None => told,
    }
}
