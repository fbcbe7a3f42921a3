//! The data directory: which files there are, who holds it, and how databases come and go.
//!
//! ```text
//!   node.json                     this node's name and incarnation
//!   peers.json                    the peers that were registered (the server's business)
//!   replica.json                  role, epoch and promises in a group of leader and followers (the server's business)
//!   replica-secret.json           its secret, when an operator gave one (the same)
//!   holdfast.lock, holdfast.pid   held while a process uses the directory, and which
//!   holdfast.life                 how old the directory is and how far its databases have got
//!   {db}.db                       documents
//!   {db}.db.metadata              operation log; a database exists when this file does
//!   {db}.db.metadata.creating     a creation that was cut short: removed at the next start
//!   {db}.db.metadata.dropped      a drop that was cut short: finished at the next start
//!   {db}.db[.metadata].transfer   a database on its way from a peer
//!   {db}.transferred              that one is whole: finished at the next start
//!   {db}.dropped                  the name was dropped here; sync does not bring it back
//!   {db}.verifying                room for a verification; removed at the next start
//!   {db}.db.damaged-{millis}      a data file that was set aside when it was made again from the log
//! ```
//!
//! The directory is the catalog: there is no list that could disagree with it.

mod life;
mod platform;
mod transfer;
mod upkeep;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::vector::{Origin, Position};
use redb::backends::FileBackend;
use serde::{Deserialize, Serialize};

use crate::database::{Database, Opened, Options};
use crate::error::StorageError;
use crate::layout::life::Life;
use crate::layout::platform::sync_directory;
use crate::layout::transfer::TRANSFERRED_SUFFIX;

pub use crate::layout::upkeep::{DatabaseFile, FileSizes};

const LOG_SUFFIX: &str = ".db.metadata";
const DATA_SUFFIX: &str = ".db";
const CREATING_SUFFIX: &str = ".db.metadata.creating";
const DROPPED_LOG_SUFFIX: &str = ".db.metadata.dropped";
const DROPPED_SUFFIX: &str = ".dropped";
const LIVES_SUFFIX: &str = ".lives";
const VERIFYING_SUFFIX: &str = ".verifying";

/// This node's name and incarnation.
const IDENTITY_FILE: &str = "node.json";

/// Format of `node.json`.
const IDENTITY_FORMAT: u32 = 1;

/// A data directory that this process holds.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    origin: Origin,
    life: Life,
    rebirth: Option<Rebirth>,
    // Held for as long as the directory is in use; the operating system lets go when the process ends.
    _lock: File,
}

/// Fresh numbers for what may have to be created, and words for who holds the directory.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The incarnation, if the directory is new.
    pub incarnation: u64,
    /// Who is opening it, for the message that others get.
    pub holder: &'a str,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Identity {
    format: u32,
    node_id: String,
    incarnation: String,
    /// When `holdfast.life` was born: a copy of the directory has another.
    #[serde(default)]
    birth: Option<String>,
}

impl DataDirectory {
    /// Takes hold of a directory, creating it when it is not there, and clears what a crash left half done.
    ///
    /// A directory whose node name differs from `node` gets a new incarnation: its operations so far keep
    /// the old origin.
    pub fn open(path: &Path, node: &NodeName, arrival: Arrival<'_>) -> Result<Self, StorageError> {
        fs::create_dir_all(path).map_err(|source| file_error("could not create", path, source))?;
        let lock = take_lock(path, arrival.holder)?;
        let (origin, rebirth) = identity(path, node, arrival.incarnation)?;
        let life = Life::read(path);
        let directory = Self { path: path.to_owned(), origin, life, rebirth, _lock: lock };
        directory.clear_leftovers()?;
        Ok(directory)
    }

    /// The node that a directory belongs to, without taking hold of it; `None` when it is new.
    ///
    /// Whoever opens the directory for a while only, such as an import, opens it under this name.
    pub fn recorded_node(path: &Path) -> Result<Option<NodeName>, StorageError> {
        let Some(identity) = read_identity(&path.join(IDENTITY_FILE))? else { return Ok(None) };
        let damaged = |_| StorageError::damaged(IDENTITY_FILE, "its node name is not valid");
        NodeName::parse(&identity.node_id).map(Some).map_err(damaged)
    }

    /// Whether a node has used a directory, without taking hold of it: it has a name, or a file of a database.
    pub fn is_used(path: &Path) -> Result<bool, StorageError> {
        let read = |source| file_error("could not list", path, source);
        for entry in fs::read_dir(path).map_err(read)? {
            let name = entry.map_err(read)?.file_name();
            let name = name.to_string_lossy();
            let is_database = [LOG_SUFFIX, DATA_SUFFIX].iter().any(|suffix| database_of(&name, suffix).is_some());
            if name == IDENTITY_FILE || is_database {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that the disk has left for us; `None` where the system does not tell.
    pub fn room_bytes(&self) -> Option<u64> {
        fs4::available_space(&self.path).ok()
    }

    /// Who writes here.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Why the directory goes on under a new incarnation, if it does.
    pub fn rebirth(&self) -> Option<&Rebirth> {
        self.rebirth.as_ref()
    }

    /// Notes how far a database has got, so that an older copy of its files is noticed.
    pub fn mark(&self, name: &DatabaseName, log_id: u64, position: Position) {
        self.life.mark(name, log_id, position);
    }

    /// Whether the files of a database are older than what this directory has seen of it: they come from a backup.
    pub fn is_older_than_marked(&self, name: &DatabaseName, log_id: u64, position: Position) -> bool {
        self.life.was_further(name, log_id, position)
    }

    /// The databases that exist, by name.
    pub fn databases(&self) -> Result<Vec<DatabaseName>, StorageError> {
        let mut names: Vec<DatabaseName> =
            self.file_names()?.iter().filter_map(|file| database_of(file, LOG_SUFFIX)).collect();
        names.sort();
        Ok(names)
    }

    /// Names with a data file whose log is missing: nothing opens them, nothing removes them.
    pub fn orphans(&self) -> Result<Vec<DatabaseName>, StorageError> {
        let files = self.file_names()?;
        let has_log = |name: &DatabaseName| files.contains(&format!("{name}{LOG_SUFFIX}"));
        Ok(files.iter().filter_map(|file| database_of(file, DATA_SUFFIX)).filter(|name| !has_log(name)).collect())
    }

    /// Whether a database exists.
    pub fn exists(&self, name: &DatabaseName) -> bool {
        self.log_path(name).exists()
    }

    /// Opens a database that exists.
    pub fn open_database(&self, name: &DatabaseName, options: Options) -> Result<Opened, StorageError> {
        if !self.data_path(name).exists() {
            // The data is only an image: a missing one is made again from the log.
            tracing::warn!(database = %name, "the data file is missing and is made again from the log");
        }
        self.open_files(name, &self.log_path(name), 0, options)
    }

    /// Creates a database. Whenever this is cut short, the database either exists whole or not at all.
    pub fn create_database(
        &self,
        name: &DatabaseName,
        fresh_log_id: u64,
        options: Options,
    ) -> Result<Opened, StorageError> {
        let creating = self.path.join(format!("{name}{CREATING_SUFFIX}"));
        if creating.exists() {
            // An earlier attempt of this process failed half way, for want of room perhaps.
            remove_if_there(&self.data_path(name))?;
            remove_if_there(&creating)?;
        }
        self.life.forget(name);
        drop(self.open_files(name, &creating, fresh_log_id, options)?);
        let log = self.log_path(name);
        fs::rename(&creating, &log).map_err(|source| file_error("could not rename to", &log, source))?;
        remove_if_there(&self.path.join(format!("{name}{DROPPED_SUFFIX}")))?;
        self.sync()?;
        self.open_database(name, options)
    }

    /// Removes a closed database for good and leaves a note that sync does not bring it back.
    pub fn drop_database(&self, name: &DatabaseName) -> Result<(), StorageError> {
        self.life.forget(name);
        self.set_lives(name, self.lives(name)?.saturating_add(1))?;
        self.write_file(&format!("{name}{DROPPED_SUFFIX}"), b"{\"Format\":1}\n")?;
        let (log, dropped) = (self.log_path(name), self.path.join(format!("{name}{DROPPED_LOG_SUFFIX}")));
        fs::rename(&log, &dropped).map_err(|source| file_error("could not rename", &log, source))?;
        self.sync()?;
        remove_if_there(&self.data_path(name))?;
        remove_if_there(&dropped)?;
        self.sync()
    }

    /// Whether a database of this name was dropped here and not created again since.
    pub fn was_dropped(&self, name: &DatabaseName) -> bool {
        self.path.join(format!("{name}{DROPPED_SUFFIX}")).exists()
    }

    /// How often a database of this name has been dropped: which of those that had the name one after the other it is.
    pub fn lives(&self, name: &DatabaseName) -> Result<u64, StorageError> {
        let path = self.path.join(format!("{name}{LIVES_SUFFIX}"));
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Ok(text) => text.trim().parse().map_err(|_| {
                StorageError::damaged(
                    format!("{}", path.display()),
                    "it holds no number: a newer Holdfast may have written it; start that one, or write how often the \
                     database was dropped",
                )
            }),
            Err(source) => Err(file_error("could not read", &path, source)),
        }
    }

    /// The same of every name of which a database was ever dropped here.
    pub fn all_lives(&self) -> Result<BTreeMap<DatabaseName, u64>, StorageError> {
        let files = self.file_names()?;
        let names = files.iter().filter_map(|file| database_of(file, LIVES_SUFFIX));
        names.map(|name| self.lives(&name).map(|lives| (name, lives))).collect()
    }

    /// Says which of those that had the name it is: for a node that makes its databases another's.
    pub fn set_lives(&self, name: &DatabaseName, lives: u64) -> Result<(), StorageError> {
        if self.lives(name)? == lives {
            return Ok(());
        }
        self.write_file(&format!("{name}{LIVES_SUFFIX}"), format!("{lives}\n").as_bytes())
    }

    /// The databases that were dropped here and not created again since.
    pub fn dropped(&self) -> Result<Vec<DatabaseName>, StorageError> {
        let mut names: Vec<DatabaseName> =
            self.file_names()?.iter().filter_map(|file| database_of(file, DROPPED_SUFFIX)).collect();
        names.sort();
        Ok(names)
    }

    /// Path of a database's data file.
    pub fn data_path(&self, name: &DatabaseName) -> PathBuf {
        self.path.join(format!("{name}{DATA_SUFFIX}"))
    }

    /// Path of a database's log file.
    pub fn log_path(&self, name: &DatabaseName) -> PathBuf {
        self.path.join(format!("{name}{LOG_SUFFIX}"))
    }

    /// Replaces a small file of the directory so that a crash leaves the old or the new one, never a part.
    pub fn write_file(&self, file_name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        write_atomically(&self.path.join(file_name), bytes)
    }

    fn open_files(
        &self,
        name: &DatabaseName,
        log: &Path,
        fresh_log_id: u64,
        options: Options,
    ) -> Result<Opened, StorageError> {
        let data = backend(&self.data_path(name))?;
        Database::open(name.as_str(), backend(log)?, data, self.origin.clone(), fresh_log_id, options)
    }

    fn clear_leftovers(&self) -> Result<(), StorageError> {
        for file in self.file_names()? {
            if let Some(name) = database_of(&file, CREATING_SUFFIX) {
                // Never answered as created: no client has written to it.
                remove_if_there(&self.data_path(&name))?;
                remove_if_there(&self.path.join(&file))?;
            } else if let Some(name) = database_of(&file, DROPPED_LOG_SUFFIX) {
                remove_if_there(&self.data_path(&name))?;
                remove_if_there(&self.path.join(&file))?;
            } else if let Some(name) = database_of(&file, TRANSFERRED_SUFFIX) {
                self.finish_transfer(&name)?;
            } else if database_of(&file, VERIFYING_SUFFIX).is_some() {
                remove_if_there(&self.path.join(&file))?;
            }
        }
        self.sync()
    }

    fn file_names(&self) -> Result<Vec<String>, StorageError> {
        let read = |source| file_error("could not list", &self.path, source);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(read)? {
            if let Ok(name) = entry.map_err(read)?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn sync(&self) -> Result<(), StorageError> {
        sync_directory(&self.path).map_err(|source| file_error("could not sync", &self.path, source))
    }
}

/// The database that a file of the directory belongs to, when it ends like this.
fn database_of(file: &str, suffix: &str) -> Option<DatabaseName> {
    let stem = file.strip_suffix(suffix)?;
    DatabaseName::parse(stem).ok().filter(|name| name.as_str() == stem)
}

fn take_lock(directory: &Path, holder: &str) -> Result<File, StorageError> {
    let path = directory.join("holdfast.lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| file_error("could not open", &path, source))?;
    let note = directory.join("holdfast.pid");
    match lock.try_lock() {
        Ok(()) => {
            fs::write(&note, holder).map_err(|source| file_error("could not write", &note, source))?;
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&note).unwrap_or_default();
            let holder = holder.lines().next().filter(|line| !line.is_empty()).unwrap_or("another process");
            Err(StorageError::Locked { directory: directory.to_owned(), holder: holder.to_owned() })
        }
        Err(TryLockError::Error(source)) => Err(file_error("could not lock", &path, source)),
    }
}

/// Why a directory goes on under a new incarnation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rebirth {
    /// It is a copy, or a restored backup.
    Copied,
    /// Its node got another name.
    Renamed {
        /// The name until then.
        was: String,
    },
}

/// The origin that the directory belongs to; minted when it is new, the node was renamed, or the directory is a copy.
/// Answers also which of the latter is so.
fn identity(directory: &Path, node: &NodeName, fresh: u64) -> Result<(Origin, Option<Rebirth>), StorageError> {
    let path = directory.join(IDENTITY_FILE);
    let had_life = life::is_there(directory);
    let birth = life::birth(directory);
    let mut rebirth = None;
    let mut incarnation = fresh;
    if let Some(identity) = read_identity(&path)? {
        // A directory from before births were recorded gets one now.
        let is_copy = identity.birth.is_some() && (!had_life || (birth.is_some() && identity.birth != birth));
        if identity.node_id != node.as_str() {
            tracing::warn!(was = identity.node_id, now = %node, "the node was renamed: a new incarnation begins");
            rebirth = Some(Rebirth::Renamed { was: identity.node_id });
        } else if is_copy {
            tracing::warn!(
                node = %node, was = identity.incarnation, now = format!("{fresh:016x}"),
                "the data directory was copied or restored from a backup: a new incarnation begins"
            );
            rebirth = Some(Rebirth::Copied);
        } else {
            incarnation = u64::from_str_radix(&identity.incarnation, 16)
                .map_err(|_| StorageError::damaged(path.display().to_string(), "its incarnation is not hexadecimal"))?;
            if identity.birth == birth {
                return Ok((Origin { node: node.clone(), incarnation }, None));
            }
        }
    }
    let (node_id, incarnation_text) = (node.to_string(), format!("{incarnation:016x}"));
    let identity = Identity { format: IDENTITY_FORMAT, node_id, incarnation: incarnation_text, birth };
    let text = serde_json::to_vec_pretty(&identity)
        .map_err(|error| StorageError::damaged(path.display().to_string(), error.to_string()))?;
    write_atomically(&path, &text)?;
    Ok((Origin { node: node.clone(), incarnation }, rebirth))
}

/// What `node.json` says; `None` when it is not there.
fn read_identity(path: &Path) -> Result<Option<Identity>, StorageError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(file_error("could not read", path, source)),
    };
    let place = path.display().to_string();
    let identity: Identity =
        serde_json::from_slice(&bytes).map_err(|error| StorageError::damaged(&*place, error.to_string()))?;
    if identity.format != IDENTITY_FORMAT {
        let format = u8::try_from(identity.format).unwrap_or(u8::MAX);
        return Err(StorageError::WrittenByNewerNode { place, format });
    }
    Ok(Some(identity))
}

/// Replaces a small file: writes beside it, syncs, renames over it, syncs the directory. A crash leaves the old
/// one or the new one, never a part.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    replace(path, bytes, |beside| File::create(beside))
}

/// The same for a file that holds a secret: nobody but the node's own user may read it, where the system knows of users.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    replace(path, bytes, |beside| {
        // One that a crash has left might have been made with other rights.
        let removed = fs::remove_file(beside);
        removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
        platform::private().write(true).create_new(true).open(beside)
    })
}

fn replace(path: &Path, bytes: &[u8], create: impl Fn(&Path) -> io::Result<File>) -> Result<(), StorageError> {
    let beside = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        path.parent().map_or(Ok(()), sync_directory)
    };
    write().map_err(|source| file_error("could not write", path, source))
}

fn backend(path: &Path) -> Result<FileBackend, StorageError> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|source| file_error("could not open", path, source))?;
    FileBackend::new(file).map_err(StorageError::from)
}

fn remove_if_there(path: &Path) -> Result<(), StorageError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(file_error("could not remove", path, source)),
        _ => Ok(()),
    }
}

fn file_error(action: &'static str, path: &Path, source: io::Error) -> StorageError {
    StorageError::File { action, path: path.to_owned(), source }
}
