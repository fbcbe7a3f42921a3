//! Looking after the databases of a directory while no node runs: checking, compacting, making data again.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use holdfast_core::id::DatabaseName;
use holdfast_core::time::Millis;

use super::{DataDirectory, VERIFYING_SUFFIX, backend, file_error, remove_if_there};
use crate::compaction::compact_file;
use crate::database::{Database, Options};
use crate::error::StorageError;
use crate::integrity::{Report, check_file, verify};

/// Which of a database's two files something is said about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseFile {
    /// `{db}.db.metadata`, the truth.
    Log,
    /// `{db}.db`, which the log can make again.
    Data,
}

impl fmt::Display for DatabaseFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "log file",
            Self::Data => "data file",
        })
    }
}

/// How large the files of a database are, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileSizes {
    /// The log.
    pub log: u64,
    /// The data.
    pub data: u64,
}

impl FileSizes {
    /// Both together.
    pub fn total(self) -> u64 {
        self.log + self.data
    }
}

impl DataDirectory {
    /// How large a database's files are; one that is not there has no bytes.
    pub fn file_sizes(&self, name: &DatabaseName) -> FileSizes {
        let size = |path: &Path| fs::metadata(path).map_or(0, |about| about.len());
        FileSizes { log: size(&self.log_path(name)), data: size(&self.data_path(name)) }
    }

    /// Has the store check one file of a closed database; see [`check_file`]. A data file that is missing is
    /// sound: opening makes it again.
    pub fn check_file(&self, name: &DatabaseName, file: DatabaseFile) -> Result<bool, StorageError> {
        let path = self.path_of(name, file);
        if !path.exists() {
            return Ok(true);
        }
        check_file(backend(&path)?)
    }

    /// Opens a closed database and proves that its data is what its log makes of it; see [`verify`].
    pub fn verify_database(&self, name: &DatabaseName, options: Options) -> Result<Report, StorageError> {
        let opened = self.open_database(name, options)?;
        let scratch = self.path().join(format!("{name}{VERIFYING_SUFFIX}"));
        remove_if_there(&scratch)?;
        let report = backend(&scratch).and_then(|room| verify(&opened.database, room));
        remove_if_there(&scratch)?;
        report
    }

    /// Replays the log of a closed database into an empty file, to see whether the log alone holds. Answers with
    /// the number of its operations.
    pub fn try_log(&self, name: &DatabaseName, options: Options) -> Result<u64, StorageError> {
        let scratch = self.path().join(format!("{name}{VERIFYING_SUFFIX}"));
        remove_if_there(&scratch)?;
        let log = backend(&self.log_path(name))?;
        let opened = backend(&scratch)
            .and_then(|room| Database::open(name.as_str(), log, room, self.origin().clone(), 0, options));
        let replayed = opened.map(|opened| opened.replayed);
        remove_if_there(&scratch)?;
        replayed
    }

    /// Compacts both files of a closed database; see [`compact_file`].
    pub fn compact_database(&self, name: &DatabaseName) -> Result<(), StorageError> {
        for file in [DatabaseFile::Log, DatabaseFile::Data] {
            let path = self.path_of(name, file);
            if path.exists() {
                compact_file(backend(&path)?)?;
            }
        }
        Ok(())
    }

    /// Makes the data file of a closed database again from its log. The old one is set aside under the name
    /// that is answered; when the log cannot make another, it is put back.
    pub fn remake_data(&self, name: &DatabaseName, now: Millis, options: Options) -> Result<PathBuf, StorageError> {
        let data = self.data_path(name);
        let aside = self.path().join(format!("{name}.db.damaged-{}", now.0));
        let was_there = data.exists();
        if was_there {
            fs::rename(&data, &aside).map_err(|source| file_error("could not set aside", &data, source))?;
            self.sync()?;
        }
        let made = self.open_database(name, options).and_then(|mut opened| opened.writer.settle());
        if let Err(error) = made {
            if was_there {
                fs::rename(&aside, &data).map_err(|source| file_error("could not put back", &data, source))?;
            }
            return Err(error);
        }
        // The new file is durable before anybody may think of removing the old one.
        File::options()
            .write(true)
            .open(&data)
            .and_then(|file| file.sync_all())
            .map_err(|source| file_error("could not sync", &data, source))?;
        self.sync()?;
        Ok(aside)
    }

    fn path_of(&self, name: &DatabaseName, file: DatabaseFile) -> PathBuf {
        match file {
            DatabaseFile::Log => self.log_path(name),
            DatabaseFile::Data => self.data_path(name),
        }
    }
}
