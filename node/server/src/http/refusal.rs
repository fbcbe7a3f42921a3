//! What databases and their files answer besides success, as errors that a caller can act on.
//!
//! What the disk or the store says belongs in the log, because it can name files; a caller is told what to do.
//! Refusals by the rules carry the caller's own words and become errors in [`crate::http::error`].

use holdfast_storage::error::StorageError;

use crate::databases::{Closed, ClosedReason, SubmitError, Unavailable};
use crate::http::error::{ApiError, quoted};

/// Seconds after which a caller may try again while a database is being opened again.
const REOPENING_SECONDS: u64 = 1;
/// Seconds after which a caller may ask again for a database that somebody must repair first.
const QUARANTINE_SECONDS: u64 = 60;

/// Seconds after which a caller may try again while the lead changes hands, or is looked for at the start.
const HANDOVER_SECONDS: u64 = 1;
/// Seconds after which a caller may ask a node again that an operator has made read-only.
const READ_ONLY_SECONDS: u64 = 30;

/// 404: no such document.
pub fn document_not_found(collection: &str, id: &str) -> ApiError {
    ApiError::not_found(
        "not-found",
        format!("There is no document {} in collection {}.", quoted(id), quoted(collection)),
    )
}

/// Why a database cannot be used, as an error.
pub fn unavailable(reason: Unavailable) -> ApiError {
    match reason {
        Unavailable::NotFound(name) => ApiError::not_found(
            "database-not-found",
            format!("Database '{name}' does not exist on this node. Storing a document in it creates it."),
        ),
        Unavailable::Quarantined { name, .. } => ApiError::unavailable(
            "database-quarantined",
            QUARANTINE_SECONDS,
            format!(
                "Database '{name}' is damaged and set aside until its operator repairs it; the others are served. \
                 'holdfast verify' tells what is wrong."
            ),
        ),
        Unavailable::Storage(error) => storage_failed(&error),
        Unavailable::TooMany => ApiError::conflict("too-many-databases", sentence(&Unavailable::TooMany.to_string())),
        Unavailable::Transfer { reason } => {
            tracing::error!(reason, "a state transfer failed");
            reopening()
        }
        Unavailable::ReadOnly(closed) => read_only(&closed),
        Unavailable::Stopping => stopping(),
    }
}

/// A failure of the disk, or of what is on it. It is logged here; the caller learns what to do.
pub fn storage_failed(error: &StorageError) -> ApiError {
    if error.is_disk_full() {
        return ApiError::disk_full();
    }
    if matches!(error, StorageError::Stopped) {
        return reopening();
    }
    if matches!(error, StorageError::TooManyLetters) {
        return ApiError::conflict("too-many-dead-letters", error.to_string());
    }
    tracing::error!(%error, "reading failed");
    ApiError::unavailable(
        "storage-failed",
        QUARANTINE_SECONDS,
        "The node could not read what it has stored. Its operator finds the cause in the log; 'holdfast verify' checks the files.",
    )
}

/// Why a write was not carried out, as an error.
pub fn not_submitted(error: SubmitError) -> ApiError {
    match error {
        SubmitError::Busy => ApiError::unavailable(
            "too-many-writes-waiting",
            1,
            "More writes are waiting than the node takes. Nothing was changed; try again in a moment.",
        ),
        SubmitError::NotWritten { is_disk_full: true, .. } => ApiError::disk_full(),
        SubmitError::NotWritten { .. } => reopening(),
        SubmitError::Unknown { .. } => ApiError::unavailable(
            "outcome-unknown",
            REOPENING_SECONDS,
            "The disk failed while this was written. Whether it is stored is unknown: read it before trying again.",
        ),
        SubmitError::ReadOnly(closed) => read_only(&closed),
        SubmitError::Stopping => stopping(),
    }
}

/// Why this node takes no writes, as an error: 421 when another node does, 503 when none does for now.
pub fn read_only(closed: &Closed) -> ApiError {
    let unavailable = |seconds, detail| ApiError::unavailable("read-only", seconds, detail);
    match closed.reason {
        ClosedReason::Follower => ApiError::not_the_leader(closed.leader_url.as_deref()),
        ClosedReason::Handover => unavailable(
            HANDOVER_SECONDS,
            "The lead is being handed over, and no node takes writes for a moment. Nothing was changed; try again.",
        ),
        ClosedReason::Starting => unavailable(
            HANDOVER_SECONDS,
            "This node has just started and does not know yet whether it leads. Nothing was changed; try again in a moment.",
        ),
        ClosedReason::Operator => unavailable(
            READ_ONLY_SECONDS,
            "An operator has made this node read-only. Nothing was changed; POST /replication/read-write ends it.",
        ),
    }
}

fn reopening() -> ApiError {
    ApiError::unavailable(
        "database-reopening",
        REOPENING_SECONDS,
        "The database is being opened again, or closed. Nothing was changed; try again in a moment.",
    )
}

fn stopping() -> ApiError {
    ApiError::unavailable(
        "stopping",
        5,
        "The node is being stopped, or the database is being closed. Nothing was changed; try again in a moment.",
    )
}

/// A message as a sentence: with a capital and a full stop.
pub(super) fn sentence(message: &str) -> String {
    let mut characters = message.chars();
    let first = characters.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
    format!("{first}{}.", characters.as_str())
}
