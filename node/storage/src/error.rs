//! What storage can answer besides success: the disk failed, or what is on it cannot be believed.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// An error of the disk or of what is on it. Requests that the rules refuse are no error here: see
/// [`holdfast_core::error::Refusal`].
#[derive(Debug, Error)]
pub enum StorageError {
    /// The store refused or failed.
    #[error("the store failed: {0}")]
    Store(#[source] Box<redb::Error>),
    /// A file or directory could not be used.
    #[error("{action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A record does not decode or its checksum does not hold.
    #[error("{place} is damaged: {reason}; run 'holdfast verify', then restore it from a peer or a backup")]
    Damaged {
        /// Which record.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A record carries a format number of a newer node.
    #[error(
        "{place} was written by a newer Holdfast (format {format}); start that version, or restore a backup made before"
    )]
    WrittenByNewerNode {
        /// Which record.
        place: String,
        /// Its format number.
        format: u8,
    },
    /// The data reflects a position that the log does not hold.
    #[error(
        "the data reflects log position {data} but the log ends at {log}: the two files are not of one database; restore both together"
    )]
    LogBehindData {
        /// The log's newest position.
        log: u64,
        /// The position that the data names.
        data: u64,
    },
    /// Another process holds the directory.
    #[error("{directory} is in use by {holder}; stop it first, or give this node another --data-dir")]
    Locked {
        /// The data directory.
        directory: PathBuf,
        /// Who holds it, as far as it can be told.
        holder: String,
    },
    /// What is parked is more than goes along with states.
    #[error(
        "more is parked here than goes along with a database's states; look at 'holdfast dead-letters list' on this node, and retry or settle them"
    )]
    TooManyLetters,
    /// An earlier failure made the outcome of writes uncertain; the database must be opened again.
    #[error("the database stopped after a failed write and is being opened again")]
    Stopped,
}

impl StorageError {
    /// A damaged record.
    pub fn damaged(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Damaged { place: place.into(), reason: reason.into() }
    }

    /// Whether the system kept us from looking: no permission, no room, a file in use. Says nothing about what the
    /// files hold.
    pub fn is_of_system(&self) -> bool {
        match self {
            Self::File { .. } | Self::Locked { .. } => true,
            Self::Store(error) => match &**error {
                redb::Error::DatabaseAlreadyOpen => true,
                // A damaged file can make the store read where nothing is: that is damage, and no number of the system.
                redb::Error::Io(error) => error.raw_os_error().is_some() && error.kind() != io::ErrorKind::InvalidInput,
                _ => false,
            },
            _ => self.is_disk_full(),
        }
    }

    /// Whether the disk has no room left.
    pub fn is_disk_full(&self) -> bool {
        let is_full = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
            )
        };
        match self {
            Self::Store(error) => matches!(&**error, redb::Error::Io(error) if is_full(error)),
            Self::File { source, .. } => is_full(source),
            _ => false,
        }
    }
}

macro_rules! from_store_errors {
    ($($error:ty),*) => {
        $(impl From<$error> for StorageError {
            fn from(error: $error) -> Self {
                Self::Store(Box::new(error.into()))
            }
        })*
    };
}

from_store_errors!(
    redb::Error,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::DatabaseError,
    redb::SetDurabilityError,
    redb::CompactionError
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_is_told_from_damage() {
        let store = |error: io::Error| StorageError::from(redb::Error::Io(error));
        // 13 is "permission denied" on every Unix and "the data is invalid" nowhere.
        assert!(store(io::Error::from_raw_os_error(13)).is_of_system());
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let file = StorageError::File { action: "could not open", path: PathBuf::from("x.db"), source: denied };
        assert!(file.is_of_system());
        assert!(!store(io::Error::from(io::ErrorKind::UnexpectedEof)).is_of_system());
        assert!(!StorageError::damaged("a record", "its checksum does not hold").is_of_system());
    }
}
