//! `silence.json` in the data directory: how much silence counts against each member's lease, kept over a restart.
//!
//! Must stay true: nothing in this file lets a member be fenced that has spoken since; a file that is lost or cannot be
//! read makes leases longer, never shorter, and so does one that comes from a backup: it belongs to an earlier life of the
//! node. Time while the node does not run is not counted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use holdfast_core::id::DatabaseName;
use holdfast_core::vector::Origin;
use holdfast_storage::layout::{DataDirectory, write_atomically};
use serde::{Deserialize, Serialize};

const FILE_NAME: &str = "silence.json";
const FORMAT: u32 = 1;
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Counted silence by database and member.
pub type Silences = BTreeMap<(DatabaseName, Origin), Duration>;

/// The file, and what it holds.
#[derive(Debug)]
pub struct SilenceFile {
    path: PathBuf,
    /// This life of the node.
    origin: String,
    kept: Silences,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stored {
    format: u32,
    /// The life of the node that has counted.
    origin: String,
    members: Vec<StoredMember>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredMember {
    database: String,
    member: String,
    silent_seconds: u64,
}

impl SilenceFile {
    /// The file of a data directory.
    pub fn of(directory: &DataDirectory) -> Self {
        let (path, origin) = (directory.path().join(FILE_NAME), directory.origin().to_string());
        let mut file = Self { path, origin, kept: Silences::new() };
        file.kept = file.read();
        file
    }

    /// What was kept. Nothing, with a warning, when the file cannot be used.
    pub fn read(&self) -> Silences {
        let read = || -> Result<Silences, String> {
            match std::fs::metadata(&self.path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Silences::new()),
                Ok(about) if about.len() > FILE_BYTES_MAX => return Err(format!("it has {} bytes", about.len())),
                Ok(_) | Err(_) => {}
            }
            let bytes = std::fs::read(&self.path).map_err(|error| error.to_string())?;
            let stored: Stored = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
            if stored.format != FORMAT {
                return Err(format!("it is of format {}", stored.format));
            }
            if stored.origin != self.origin {
                return Ok(Silences::new());
            }
            let one = |one: StoredMember| {
                let database = DatabaseName::parse(&one.database).map_err(|refusal| refusal.to_string())?;
                let member: Origin = one.member.parse().map_err(|_| format!("'{}' is no member", one.member))?;
                Ok(((database, member), Duration::from_secs(one.silent_seconds)))
            };
            stored.members.into_iter().map(one).collect()
        };
        read().unwrap_or_else(|reason| {
            tracing::warn!(file = FILE_NAME, reason, "how long members were silent is counted anew");
            Silences::new()
        })
    }

    /// Keeps what has changed by `step` or more; at once who has spoken, for that must not be forgotten.
    pub fn keep(&mut self, silences: &Silences, step: Duration) {
        let has_spoken = self.kept.iter().any(|(key, kept)| silences.get(key).is_none_or(|now| now < kept));
        let has_grown = silences.iter().any(|(key, now)| {
            let kept = self.kept.get(key).copied().unwrap_or_default();
            *now > kept && now.saturating_sub(kept) >= step
        });
        if !has_spoken && !has_grown {
            return;
        }
        let member = |((database, member), silent): (&(DatabaseName, Origin), &Duration)| StoredMember {
            database: database.to_string(),
            member: member.to_string(),
            silent_seconds: silent.as_secs(),
        };
        let (format, origin) = (FORMAT, self.origin.clone());
        let stored = Stored { format, origin, members: silences.iter().map(member).collect() };
        let written = serde_json::to_vec_pretty(&stored)
            .map_err(|error| error.to_string())
            .and_then(|bytes| write_atomically(&self.path, &bytes).map_err(|error| error.to_string()));
        match written {
            Ok(()) => self.kept.clone_from(silences),
            Err(reason) => tracing::warn!(file = FILE_NAME, reason, "how long members are silent could not be kept"),
        }
    }
}
