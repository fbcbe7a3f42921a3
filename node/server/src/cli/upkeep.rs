//! What `verify` and `compact` share: the data directory of a stopped node, and the databases that are meant.

use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use clap::Args;
use holdfast_core::id::DatabaseName;
use holdfast_storage::error::StorageError;
use holdfast_storage::layout::DataDirectory;

use super::import::parse_database;
use crate::settings::{self, CommandLineOverrides};
use crate::transfer::place::{PlaceError, open_directory, recorded_or};

/// Which databases of which directory.
#[derive(Args)]
pub(super) struct UpkeepArguments {
    /// Database [default: all]
    #[arg(long, short = 'd', value_name = "NAME", value_parser = parse_database)]
    pub(super) database: Option<DatabaseName>,
    /// Data directory, which no node may have open [default: the one of the settings]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Settings file, or the directory that holds appsettings.json [default: the working directory]
    #[arg(long, value_name = "DIR/FILE")]
    pub(super) settings: Option<PathBuf>,
}

impl UpkeepArguments {
    /// Whether a database is among those that are meant.
    pub(super) fn means(&self, name: &DatabaseName) -> bool {
        self.database.as_ref().is_none_or(|meant| meant == name)
    }

    /// Takes hold of the directory and finds the databases.
    pub(super) fn open(&self, command: &str) -> Result<(DataDirectory, Vec<DatabaseName>), PlaceError> {
        let overrides =
            CommandLineOverrides { settings_path: self.settings.clone(), ..CommandLineOverrides::default() };
        let loaded = settings::load(&overrides).map(|loaded| loaded.settings);
        let (path, node) = match (&self.data_dir, loaded) {
            (Some(path), loaded) => (path.clone(), loaded.unwrap_or_default().node.node_id),
            (None, Ok(settings)) => (settings.node.data_directory, settings.node.node_id),
            (None, Err(problems)) => return Err(PlaceError::new(problems)),
        };
        if !path.is_dir() {
            return Err(PlaceError::new(format!(
                "there is no data directory {}; name it with --data-dir",
                path.display()
            )));
        }
        refuse_other_directories(&path)?;
        let directory = open_directory(&path, &recorded_or(&path, &node)?, command)?;
        let names = directory.databases().map_err(PlaceError::new)?;
        let names = match &self.database {
            None => names,
            Some(name) if names.contains(name) => vec![name.clone()],
            Some(name) => {
                let others: Vec<&str> = names.iter().map(DatabaseName::as_str).collect();
                return Err(PlaceError::new(format!(
                    "{} has no database '{name}'; there are: {}",
                    directory.path().display(),
                    others.join(", ")
                )));
            }
        };
        Ok((directory, names))
    }
}

/// Refuses a directory that no node has used, before anything is written there.
fn refuse_other_directories(path: &Path) -> Result<(), PlaceError> {
    if DataDirectory::is_used(path).map_err(PlaceError::new)? {
        return Ok(());
    }
    Err(PlaceError::new(format!(
        "{} is not the data directory of a node: it holds no node.json; name the right one with --data-dir",
        path.display()
    )))
}

/// Why something on the files of a database could not be done.
pub(super) struct Failure {
    /// What is wrong, in a sentence without advice.
    pub(super) reason: String,
    /// The data knows operations that the log has lost: making the data again from the log would lose them too.
    pub(super) is_log_short: bool,
    /// The system kept us from looking; what the files hold is not known.
    pub(super) is_of_system: bool,
}

/// Runs something on files that may hold anything. A panic below is one more way to say that they are damaged.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, StorageError>) -> Result<T, Failure> {
    let failure = |reason: String| Failure { reason, is_log_short: false, is_of_system: false };
    match panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| match error {
            // The advice that goes with this error is to run the very command that is running.
            StorageError::Damaged { place, reason } => failure(format!("{place} is damaged: {reason}")),
            StorageError::LogBehindData { .. } => Failure { is_log_short: true, ..failure(error.to_string()) },
            other => Failure { is_of_system: other.is_of_system(), ..failure(other.to_string()) },
        }),
        Err(_) => Err(failure("the store gave up on it: its structure is damaged".to_owned())),
    }
}

/// Keeps panics that [`guarded`] turns into findings from being printed as well.
pub(super) fn silence_panics() {
    panic::set_hook(Box::new(|_| {}));
}

/// Prints a line for whoever asked.
pub(super) fn say(line: &str) {
    // A reader that has seen enough, such as `head`, is no failure.
    let _ = writeln!(io::stdout(), "{line}");
}
