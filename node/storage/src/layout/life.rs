//! Whether this directory is still the one that it was: a copy or a restored backup must not go on as the same origin.
//!
//! ```text
//!   holdfast.life   its time of birth is what a copy cannot have; inside, how far each database has got
//! ```
//!
//! `node.json` records when `holdfast.life` was born. A copied or restored directory has another birth. Where only the
//! files of one database were put back, it is not as far as `holdfast.life` says. Snapshots of a whole disk are not
//! seen here; peers see those.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use holdfast_core::id::DatabaseName;
use holdfast_core::vector::Position;
use serde::{Deserialize, Serialize};

const LIFE_FILE: &str = "holdfast.life";

/// How far a database has got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mark {
    log_id: String,
    position: u64,
}

/// The marks of a directory.
#[derive(Debug)]
pub(super) struct Life {
    path: PathBuf,
    marks: Mutex<BTreeMap<String, Mark>>,
}

/// The birth of a directory's life file, making it when it is not there; `None` where the system does not tell.
pub(super) fn birth(directory: &Path) -> Option<String> {
    let path = directory.join(LIFE_FILE);
    if !path.exists() {
        drop(File::create(&path).ok()?);
    }
    let born = fs::metadata(&path).ok()?.created().ok()?;
    Some(born.duration_since(UNIX_EPOCH).ok()?.as_nanos().to_string())
}

/// Whether the life file is there at all.
pub(super) fn is_there(directory: &Path) -> bool {
    directory.join(LIFE_FILE).exists()
}

impl Life {
    /// Reads the marks. A file that was cut by a crash says nothing, which is safe: peers see what it would have said.
    pub(super) fn read(directory: &Path) -> Self {
        let path = directory.join(LIFE_FILE);
        let marks = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { path, marks: Mutex::new(marks) }
    }

    /// Whether a database was further than this, or had another log.
    pub(super) fn was_further(&self, name: &DatabaseName, log_id: u64, position: Position) -> bool {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.get(name.as_str()).is_some_and(|mark| mark.log_id != hex(log_id) || mark.position > position.0)
    }

    /// Notes how far a database has got. Written in place: replacing the file would give it another birth.
    pub(super) fn mark(&self, name: &DatabaseName, log_id: u64, position: Position) {
        let mark = Mark { log_id: hex(log_id), position: position.0 };
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.get(name.as_str()) == Some(&mark) {
            return;
        }
        marks.insert(name.to_string(), mark);
        self.write(&marks);
    }

    /// A database is gone, or begins anew.
    pub(super) fn forget(&self, name: &DatabaseName) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.remove(name.as_str()).is_some() {
            self.write(&marks);
        }
    }

    fn write(&self, marks: &BTreeMap<String, Mark>) {
        let written = serde_json::to_vec(marks).map_err(std::io::Error::other).and_then(|text| {
            let mut file = File::options().write(true).truncate(true).open(&self.path)?;
            file.write_all(&text)
        });
        if let Err(error) = written {
            tracing::warn!(%error, "how far the databases have got could not be noted");
        }
    }
}

fn hex(log_id: u64) -> String {
    format!("{log_id:016x}")
}
