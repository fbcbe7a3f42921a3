//! `replica.json` in the data directory: what a node must remember of its group over a restart.
//!
//! Must stay true: it is on disk before what was decided with it happens; a file that cannot be read stops the node from
//! starting, for without it the node might lead where another does.

use std::path::PathBuf;

use holdfast_core::replica::epoch::Epoch;
use holdfast_core::replica::message::Voter;
use holdfast_core::replica::role::{Kept, Role};
use holdfast_storage::layout::{DataDirectory, write_atomically};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::replica::choices::Choices;

const FILE_NAME: &str = "replica.json";
const FORMAT: u32 = 1;
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What is remembered beyond what the decisions rest on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remembered {
    /// The group that this node belongs to, 32 hexadecimal digits; `None` before it has led or joined one.
    pub group: Option<String>,
    /// The role that the settings named when this was written.
    pub configured: String,
    /// Where the leader is followed, `host:port`.
    pub leader: Option<String>,
    /// The leader's HTTP address.
    pub leader_http: Option<String>,
    /// Who votes.
    pub voters: Vec<Voter>,
    /// The last epoch whose beginning this node has all of.
    pub inherited: Option<Epoch>,
    /// Its number; in files of before, that of the epoch in which the last entry came, by which nobody is ranked any more.
    pub last_epoch: u64,
    /// Whether an operator has stopped writes.
    pub is_read_only: bool,
    /// Whether this node has once had everything that its group has: since then it may be behind, but it is not half empty.
    pub is_whole: bool,
    /// What operators have chosen over the settings.
    pub choices: Choices,
}

/// The file cannot be used.
#[derive(Debug, Error)]
pub enum KeptError {
    /// Reading or writing it failed.
    #[error("{path}: {source}; it holds which leader this node has promised to, and nothing is done without it", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Writing it failed.
    #[error("{0}; what this node has promised to its group cannot be remembered, and nothing is done without that")]
    Write(#[from] holdfast_storage::error::StorageError),
    /// Its content makes no sense.
    #[error("{path} cannot be read: {reason}; restore it, or remove it if this node is to begin anew in its group", path = .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The file.
#[derive(Debug, Clone)]
pub struct KeptFile {
    path: PathBuf,
    /// This life of the node. Another one's promises bind it all the same, its leadership does not.
    origin: String,
}

/// As much as every format has.
#[derive(Debug, Deserialize)]
struct Written {
    format: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    format: u32,
    origin: String,
    #[serde(default)]
    group: Option<String>,
    configured: String,
    role: Role,
    epoch: Option<String>,
    promised: Option<String>,
    leader: Option<String>,
    leader_http: Option<String>,
    voters: Vec<Voter>,
    #[serde(default)]
    inherited: Option<String>,
    #[serde(default)]
    last_epoch: u64,
    is_read_only: bool,
    #[serde(default)]
    is_whole: bool,
    #[serde(default)]
    choices: Choices,
}

impl Remembered {
    /// This node has all that a leader began with. Answers whether that is news.
    pub fn inherit(&mut self, epoch: &Epoch) -> bool {
        let is_news = self.inherited.as_ref().is_none_or(|last| last < epoch);
        if is_news {
            self.inherited = Some(epoch.clone());
            self.last_epoch = epoch.number;
        }
        is_news
    }
}

impl KeptFile {
    /// The file of a data directory.
    pub fn of(directory: &DataDirectory) -> Self {
        Self { path: directory.path().join(FILE_NAME), origin: directory.origin().to_string() }
    }

    /// What was kept; `None` where nothing was yet.
    pub fn read(&self) -> Result<Option<(Kept, Remembered)>, KeptError> {
        let file = |source| KeptError::File { path: self.path.clone(), source };
        match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Ok(about) if about.len() > FILE_BYTES_MAX => {
                return Err(self.content(format!("it has {} bytes", about.len())));
            }
            Ok(_) => {}
            Err(error) => return Err(file(error)),
        }
        let bytes = std::fs::read(&self.path).map_err(file)?;
        let unreadable = |error: serde_json::Error| self.content(error.to_string());
        // First of all: a later format may have other fields.
        let written: Written = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if written.format > FORMAT {
            return Err(self.content(format!(
                "a newer Holdfast has written it, in format {}, and this one reads {FORMAT}: start that one",
                written.format
            )));
        }
        let stored: Stored = serde_json::from_slice(&bytes).map_err(unreadable)?;
        let epoch = |text: Option<String>| {
            let parsed = text.as_deref().map(Epoch::parse).transpose();
            parsed.map_err(|refusal| self.content(refusal.to_string()))
        };
        // A copy of a leader's directory is another node: it must not lead in the first one's epoch.
        let is_another_life = stored.origin != self.origin;
        let role = if is_another_life { Role::Alone } else { stored.role };
        let kept = Kept { role, epoch: epoch(stored.epoch)?, promised: epoch(stored.promised)? };
        let remembered = Remembered {
            group: stored.group,
            configured: if is_another_life { String::new() } else { stored.configured },
            leader: stored.leader,
            leader_http: stored.leader_http,
            voters: stored.voters,
            inherited: epoch(stored.inherited)?,
            last_epoch: stored.last_epoch,
            is_read_only: stored.is_read_only,
            is_whole: stored.is_whole,
            choices: if is_another_life { Choices::default() } else { stored.choices },
        };
        Ok(Some((kept, remembered)))
    }

    /// Writes it, durably.
    pub fn write(&self, kept: &Kept, remembered: &Remembered) -> Result<(), KeptError> {
        let Remembered {
            group,
            configured,
            leader,
            leader_http,
            voters,
            inherited,
            last_epoch,
            is_read_only,
            is_whole,
            choices,
        } = remembered.clone();
        let stored = Stored {
            format: FORMAT,
            origin: self.origin.clone(),
            group,
            configured,
            role: kept.role,
            epoch: kept.epoch.as_ref().map(Epoch::to_string),
            promised: kept.promised.as_ref().map(Epoch::to_string),
            leader,
            leader_http,
            voters,
            inherited: inherited.as_ref().map(Epoch::to_string),
            last_epoch,
            is_read_only,
            is_whole,
            choices,
        };
        let bytes = serde_json::to_vec_pretty(&stored).map_err(|error| self.content(error.to_string()))?;
        write_atomically(&self.path, &bytes).map_err(KeptError::Write)
    }

    fn content(&self, reason: String) -> KeptError {
        KeptError::Content { path: self.path.clone(), reason }
    }
}
