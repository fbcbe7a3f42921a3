//! What differs between operating systems.

use std::io;
use std::path::Path;

/// Makes created, renamed and removed entries of a directory survive a power cut.
#[cfg(unix)]
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    std::fs::File::open(directory)?.sync_all()
}

/// Windows orders directory entries itself and does not let a directory be synced.
#[cfg(not(unix))]
pub(crate) fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}
