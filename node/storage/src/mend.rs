//! What a file needs before the store may open it.
//!
//! Two things that the store cannot know by looking at the file:
//!
//! * A data file whose making was cut off has a length and no contents, and the store would refuse it for ever. It
//!   holds nothing, the log has everything: it is emptied and made again.
//! * After a failed sync, Linux counts the pages as written although they are not on the disk. They can still be read,
//!   and later syncs succeed. Going on from there builds durable pages on missing ones, and the next power cut finds a
//!   database that does not open. So the file is written over itself first: then nothing of it is missing.
//!
//! Nothing here knows the store's format beyond the mark at its start.

use std::io;
use std::ops::Bound;

use redb::{BackendError, DatabaseError, StorageBackend};

use crate::error::StorageError;

/// The store writes its mark last when it makes a file; until then the file begins with zeros.
const MARK_BYTES: usize = 9;

/// The store's header and everything that could share a sector with it.
const HEADER_BYTES: u64 = 4096;

/// What is written over itself at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Empties a file whose making was cut off. Only for files that can be made again.
pub(crate) fn clear_unmade(file: &impl StorageBackend) -> Result<(), StorageError> {
    let len = file.len().map_err(redb::Error::Io)?;
    if len == 0 {
        return Ok(());
    }
    let mut mark = [0; MARK_BYTES];
    if len >= MARK_BYTES as u64 {
        file.read(0, &mut mark).map_err(redb::Error::Io)?;
    }
    if mark == [0; MARK_BYTES] {
        tracing::warn!(bytes = len, "making the data file was cut off; it is made again from the log");
        file.set_len(0).map_err(redb::Error::Io)?;
    }
    Ok(())
}

/// Writes a file over itself, so that what a failed sync forgot is on its way to the disk again.
///
/// The header goes last: the last durable state names none of the forgotten pages, so a crash in between harms neither
/// state. Refuses a file that somebody has open.
pub(crate) fn write_again(file: &impl StorageBackend) -> Result<(), StorageError> {
    let is_locked = match file.try_lock_range(Bound::Unbounded, Bound::Unbounded) {
        Ok(true) => true,
        Ok(false) => return Err(DatabaseError::DatabaseAlreadyOpen.into()),
        // A file that cannot be locked has one user only.
        Err(BackendError::Unsupported) => false,
        Err(error) => return Err(redb::Error::Io(io_error(error)).into()),
    };
    let written = write_all_again(file);
    if is_locked {
        let unlocked = file.unlock_range(Bound::Unbounded, Bound::Unbounded);
        unlocked.map_err(|error| redb::Error::Io(io_error(error)))?;
    }
    Ok(written.map_err(redb::Error::Io)?)
}

fn write_all_again(file: &impl StorageBackend) -> io::Result<()> {
    let len = file.len()?;
    let mut piece = vec![0; PIECE_BYTES];
    for offset in (HEADER_BYTES..len).step_by(PIECE_BYTES) {
        piece.truncate(usize::try_from(len - offset).unwrap_or(usize::MAX));
        file.read(offset, &mut piece)?;
        // A piece of zeros is a hole that was never written: filling it would cost the room that it saves.
        if piece.iter().any(|byte| *byte != 0) {
            file.write(offset, &piece)?;
        }
    }
    file.sync_data()?;
    let mut header = vec![0; usize::try_from(len.min(HEADER_BYTES)).unwrap_or_default()];
    file.read(0, &mut header)?;
    file.write(0, &header)?;
    file.sync_data()
}

fn io_error(error: BackendError) -> io::Error {
    match error {
        BackendError::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}
