//! Compaction: gives the room of what was overwritten and deleted back to the file system.

use redb::{Builder, StorageBackend};

use crate::error::StorageError;

/// How often a file is gone over at most; each time may free room for the next.
const ROUNDS_MAX: usize = 8;

/// Compacts one file, the log or the data, that nothing else has open.
pub fn compact_file(file: impl StorageBackend) -> Result<(), StorageError> {
    let mut store = Builder::new().create_with_backend(file)?;
    for _ in 0..ROUNDS_MAX {
        if !store.compact()? {
            break;
        }
    }
    Ok(())
}
