//! Files of a state transfer: made beside a database, and put in its place in one step.
//!
//! ```text
//!   {db}.db.transfer, {db}.db.metadata.transfer   a database on its way from a peer; kept over a restart
//!   {db}.transferred                              it is whole: from here on it is the database
//! ```

use std::path::PathBuf;

use holdfast_core::id::DatabaseName;

use super::{DataDirectory, backend, file_error, remove_if_there};
use crate::database::Options;
use crate::error::StorageError;
use crate::transfer::{Source, Transfer};

pub(super) const TRANSFERRED_SUFFIX: &str = ".transferred";
const LOG_SUFFIX: &str = ".db.metadata.transfer";
const DATA_SUFFIX: &str = ".db.transfer";

impl DataDirectory {
    /// Goes on with a transfer from this log of this peer, or begins it; another that was under way is given up.
    pub fn open_transfer(
        &self,
        name: &DatabaseName,
        source: &Source,
        fresh_log_id: u64,
        options: Options,
    ) -> Result<Transfer, StorageError> {
        match self.try_transfer(name, source, fresh_log_id, options) {
            Ok(Some(transfer)) => return Ok(transfer),
            Ok(None) => {}
            // A making that was cut short, by a full disk or a crash: there is nothing in there that the peer has not.
            Err(error) => {
                tracing::warn!(database = %name, %error, "a transfer that cannot be gone on with begins anew");
            }
        }
        self.discard_transfer(name)?;
        let fresh = self.try_transfer(name, source, fresh_log_id, options)?;
        fresh.ok_or_else(|| StorageError::damaged("the files of a transfer", "they are not empty after removing them"))
    }

    /// Removes what was transferred so far.
    pub fn discard_transfer(&self, name: &DatabaseName) -> Result<(), StorageError> {
        let (log, data) = self.transfer_paths(name);
        remove_if_there(&log)?;
        remove_if_there(&data)
    }

    /// Puts a finished, closed transfer in the place of a database that nobody writes to. Whenever this is cut short, the
    /// database is the old one or the new one; which, [`Self::is_in_place`] tells.
    pub fn put_in_place(&self, name: &DatabaseName) -> Result<(), StorageError> {
        let marker = format!("{name}{TRANSFERRED_SUFFIX}");
        if let Err(error) = self.write_file(&marker, b"{\"Format\":1}\n") {
            remove_if_there(&self.path().join(marker))?;
            return Err(error);
        }
        self.finish_transfer(name)
    }

    /// Whether a transfer that could not be put in place wholly is the database at the next start all the same.
    pub fn is_in_place(&self, name: &DatabaseName) -> bool {
        self.path().join(format!("{name}{TRANSFERRED_SUFFIX}")).exists()
    }

    /// The second half of [`Self::put_in_place`], also after a crash.
    pub(super) fn finish_transfer(&self, name: &DatabaseName) -> Result<(), StorageError> {
        let (log, data) = self.transfer_paths(name);
        for (from, to) in [(data, self.data_path(name)), (log, self.log_path(name))] {
            if from.exists() {
                std::fs::rename(&from, &to).map_err(|source| file_error("could not rename to", &to, source))?;
            }
        }
        self.sync()?;
        remove_if_there(&self.path().join(format!("{name}{TRANSFERRED_SUFFIX}")))?;
        self.sync()
    }

    fn try_transfer(
        &self,
        name: &DatabaseName,
        source: &Source,
        fresh_log_id: u64,
        options: Options,
    ) -> Result<Option<Transfer>, StorageError> {
        let (log, data) = self.transfer_paths(name);
        let files = (backend(&log)?, backend(&data)?);
        Transfer::open(name.as_str(), files, self.origin().clone(), fresh_log_id, options, source)
    }

    fn transfer_paths(&self, name: &DatabaseName) -> (PathBuf, PathBuf) {
        (self.path().join(format!("{name}{LOG_SUFFIX}")), self.path().join(format!("{name}{DATA_SUFFIX}")))
    }
}
