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

/// How a file is made that nobody else may read.
#[cfg(unix)]
pub(crate) fn private() -> std::fs::OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.mode(0o600);
    options
}

/// On Windows a file has the rights of its directory.
#[cfg(not(unix))]
pub(crate) fn private() -> std::fs::OpenOptions {
    std::fs::OpenOptions::new()
}
