//! The databases of this node: opened at the start, created and dropped while it runs.
//!
//! Databases share nothing but the machine. One that is damaged is set aside (*quarantined*) with the reason,
//! and the others are served.

mod gate;
mod identity;
mod open_database;
mod transfer;
mod upkeep;
mod writer;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use holdfast_core::id::DatabaseName;
use holdfast_core::limits::DATABASES_MAX;
use holdfast_core::vector::{Origin, Position};
use holdfast_storage::database::{Opened, Options};
use holdfast_storage::error::StorageError;
use holdfast_storage::layout::{DataDirectory, Rebirth};
use thiserror::Error;
use tokio::sync::watch;

pub use self::gate::{Asker, Closed, ClosedReason, Gate, WriteGate};
pub use self::identity::{IdentityEvent, IdentityEvents};
pub use self::open_database::{OpenDatabase, SubmitError};
pub use self::transfer::Incoming;
pub(crate) use self::transfer::TRANSFER_BUSY;
pub use self::upkeep::{PruneReport, Upkeep};
pub use self::writer::WriterCounts;

use self::open_database::Handle;
use self::upkeep::Caretaker;
use self::writer::{Job, WriterThread};
use crate::entropy;

/// How a database is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is served.
    Open,
    /// A write failed and it is being opened again.
    Reopening {
        /// Whether it waits for room on the disk.
        is_disk_full: bool,
    },
    /// It cannot be believed, and is left alone until somebody repairs it.
    Quarantined {
        /// What is wrong.
        reason: String,
    },
}

/// A database and how it is doing.
#[derive(Debug, Clone)]
pub struct DatabaseListing {
    /// Its name.
    pub name: DatabaseName,
    /// How it is doing.
    pub standing: Standing,
}

/// Why a database cannot be used now.
#[derive(Debug, Error)]
pub enum Unavailable {
    /// There is none of this name.
    #[error("database '{0}' does not exist")]
    NotFound(DatabaseName),
    /// It is damaged and set aside.
    #[error("database '{name}' is quarantined: {reason}")]
    Quarantined {
        /// The database.
        name: DatabaseName,
        /// What is wrong with it.
        reason: String,
    },
    /// Creating, opening or dropping it failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Taking a peer's states failed.
    #[error("the states of a peer could not be taken in: {reason}")]
    Transfer {
        /// Why.
        reason: String,
    },
    /// The node holds as many databases as it may.
    #[error("this node holds {DATABASES_MAX} databases, the most it may; drop one first")]
    TooMany,
    /// This node takes no writes now, and creates and drops nothing.
    #[error("nothing was changed: {0}")]
    ReadOnly(Closed),
    /// The node is being stopped.
    #[error("the node is being stopped")]
    Stopping,
}

#[derive(Debug, Clone)]
enum Entry {
    Open(Arc<OpenDatabase>),
    Quarantined { reason: String },
}

/// All databases of a node.
#[derive(Debug)]
pub struct Databases {
    directory: Arc<DataDirectory>,
    options: Options,
    upkeep: Upkeep,
    queue_writes_max: usize,
    gate: Arc<WriteGate>,
    entries: ArcSwap<BTreeMap<DatabaseName, Entry>>,
    /// Held while databases come or go; readers never wait for it.
    changing: Mutex<BTreeMap<DatabaseName, JoinHandle<()>>>,
    changed: watch::Sender<u64>,
    activity: watch::Sender<u64>,
    identity: IdentityEvents,
    /// Databases that are being made anew from a peer's states.
    transfers: Mutex<BTreeSet<DatabaseName>>,
    is_stopping: AtomicBool,
}

impl Databases {
    /// Opens every database of the directory. A damaged one is quarantined, not fatal.
    pub fn open(
        directory: DataDirectory,
        options: Options,
        upkeep: Upkeep,
        queue_writes_max: usize,
    ) -> Result<Arc<Self>, StorageError> {
        let names = directory.databases()?;
        let orphans = directory.orphans()?;
        let databases = Arc::new(Self {
            directory: Arc::new(directory),
            options,
            upkeep,
            queue_writes_max,
            gate: Arc::default(),
            entries: ArcSwap::default(),
            changing: Mutex::default(),
            changed: watch::Sender::new(0),
            activity: watch::Sender::new(0),
            identity: IdentityEvents::default(),
            transfers: Mutex::default(),
            is_stopping: AtomicBool::new(false),
        });
        if let Some(rebirth) = databases.directory.rebirth() {
            let origin = databases.directory.origin();
            let why = match rebirth {
                Rebirth::Copied => "the data directory was copied or restored from a backup".to_owned(),
                Rebirth::Renamed { was } => format!("the node was renamed, it was '{was}'"),
            };
            databases.identity.note(None, format!("{why}; this node goes on as {origin}"));
        }
        let mut threads = databases.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = BTreeMap::new();
        for name in names {
            let entry = match open_believably(&databases.directory, &name, options) {
                Ok(mut opened) => {
                    tracing::info!(database = %name, replayed = opened.replayed, "open");
                    databases.renew_if_restored(&name, &mut opened)?;
                    let (open, thread) = databases.start(&name, opened)?;
                    threads.insert(name.clone(), thread);
                    Entry::Open(open)
                }
                Err(error) => {
                    let reason = quarantine_reason(&name, &error);
                    tracing::error!(database = %name, reason, "quarantined; the other databases are served");
                    Entry::Quarantined { reason }
                }
            };
            entries.insert(name, entry);
        }
        for name in orphans {
            let reason = "its log file is missing: restore it from a backup, or move the .db file away".to_owned();
            tracing::error!(database = %name, reason, "quarantined; the other databases are served");
            entries.insert(name, Entry::Quarantined { reason });
        }
        databases.entries.store(Arc::new(entries));
        drop(threads);
        Ok(databases)
    }

    /// Who writes on this node.
    pub fn origin(&self) -> &Origin {
        self.directory.origin()
    }

    /// What happened to this node's identity since the start.
    pub fn identity(&self) -> &IdentityEvents {
        &self.identity
    }

    /// Files that are older than what this directory has seen of them come from a backup: their origin's later
    /// sequences may be known elsewhere.
    fn renew_if_restored(&self, name: &DatabaseName, opened: &mut Opened) -> Result<(), StorageError> {
        let (file_id, position) = (opened.writer.file_id(), opened.writer.state().position);
        if self.directory.is_older_than_marked(name, file_id, position) {
            opened.writer.renew(entropy::random_u64(), self.directory.origin().incarnation);
            opened.writer.settle()?;
            let what = format!(
                "the files are older than this node has seen them: restored from a backup; it goes on as {}",
                opened.writer.origin()
            );
            self.identity.note(Some(name), what);
        }
        self.directory.mark(name, file_id, position);
        Ok(())
    }

    /// The data directory.
    pub fn directory(&self) -> &DataDirectory {
        &self.directory
    }

    /// A database that is served.
    pub fn get(&self, name: &DatabaseName) -> Result<Arc<OpenDatabase>, Unavailable> {
        match self.entries.load().get(name) {
            Some(Entry::Open(open)) => Ok(Arc::clone(open)),
            Some(Entry::Quarantined { reason }) => {
                Err(Unavailable::Quarantined { name: name.clone(), reason: reason.clone() })
            }
            None => Err(Unavailable::NotFound(name.clone())),
        }
    }

    /// Whether there is a database of this name, served or quarantined.
    pub fn exists(&self, name: &DatabaseName) -> bool {
        self.entries.load().contains_key(name)
    }

    /// All databases, by name.
    pub fn list(&self) -> Vec<DatabaseListing> {
        let listing = |(name, entry): (&DatabaseName, &Entry)| DatabaseListing {
            name: name.clone(),
            standing: match entry {
                Entry::Open(open) => open.standing(),
                Entry::Quarantined { reason } => Standing::Quarantined { reason: reason.clone() },
            },
        };
        self.entries.load().iter().map(listing).collect()
    }

    /// Changes whenever a database comes or goes.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Changes whenever a database has grown.
    pub fn activity(&self) -> watch::Receiver<u64> {
        self.activity.subscribe()
    }

    /// Whether this node takes writes.
    pub fn gate(&self) -> &WriteGate {
        &self.gate
    }

    /// Waits until every writer has decided what came to it before, and until databases that are being created or dropped
    /// are: see [`OpenDatabase::barrier`]. Gives the end of each log; one that is quarantined has none.
    ///
    /// After the gate was closed, nothing that it stops happens any more once this was answered.
    pub async fn barrier(self: &Arc<Self>) -> Result<BTreeMap<DatabaseName, Position>, SubmitError> {
        let databases = Arc::clone(self);
        let open = blocking(move || {
            // Whoever creates or drops looks at the gate while it holds this.
            let _settled = databases.changing.lock().unwrap_or_else(PoisonError::into_inner);
            let open = |entry: &Entry| match entry {
                Entry::Open(open) => Some(Arc::clone(open)),
                Entry::Quarantined { .. } => None,
            };
            Ok(databases.entries.load().values().filter_map(open).collect::<Vec<_>>())
        });
        let open = open.await.map_err(|_| SubmitError::Stopping)?;
        let ends = open.iter().map(async |one| Ok((one.name().clone(), one.barrier().await?)));
        futures_util::future::try_join_all(ends).await.map(BTreeMap::from_iter)
    }

    /// Creates a database, or gives the one that is there. One that is not there is created only if the gate lets `asker`
    /// write.
    pub async fn create(self: &Arc<Self>, name: &DatabaseName, asker: Asker) -> Result<Arc<OpenDatabase>, Unavailable> {
        match self.get(name) {
            Err(Unavailable::NotFound(_)) => {
                let (databases, name) = (Arc::clone(self), name.clone());
                blocking(move || databases.create_now(&name, asker)).await
            }
            there => there,
        }
    }

    /// Removes a database of this node for good, if the gate lets `asker` write. Peers keep theirs, and do not bring it
    /// back here.
    pub async fn drop_database(self: &Arc<Self>, name: &DatabaseName, asker: Asker) -> Result<(), Unavailable> {
        let (databases, name) = (Arc::clone(self), name.clone());
        blocking(move || databases.drop_now(&name, asker)).await
    }

    /// Refuses what the gate stops.
    pub fn at_gate(&self, asker: Asker) -> Result<(), Unavailable> {
        self.gate.stops(asker).map_or(Ok(()), |closed| Err(Unavailable::ReadOnly(closed)))
    }

    /// Whether sync must not bring a database of this name back.
    pub fn was_dropped(&self, name: &DatabaseName) -> bool {
        self.directory.was_dropped(name)
    }

    /// The databases that were dropped here and not created again since.
    pub fn dropped(&self) -> Vec<DatabaseName> {
        self.directory.dropped().unwrap_or_else(|error| {
            tracing::warn!(%error, "what was dropped could not be read");
            Vec::new()
        })
    }

    /// Closes every database: waiting writes are committed, files are left quick to open.
    pub async fn close(self: &Arc<Self>) {
        let databases = Arc::clone(self);
        let closed = blocking(move || {
            databases.is_stopping.store(true, Ordering::SeqCst);
            let mut threads = databases.changing.lock().unwrap_or_else(PoisonError::into_inner);
            for entry in databases.entries.load().values() {
                if let Entry::Open(open) = entry {
                    // A full queue still drains: the request to close waits its turn.
                    drop(open.queue.send(Job::Close));
                }
            }
            while let Some((_, thread)) = threads.pop_first() {
                drop(thread.join());
            }
            Ok(())
        });
        drop(closed.await);
    }

    fn create_now(&self, name: &DatabaseName, asker: Asker) -> Result<Arc<OpenDatabase>, Unavailable> {
        let mut threads = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.at_gate(asker)?;
        if self.is_stopping.load(Ordering::SeqCst) {
            return Err(Unavailable::Stopping);
        }
        match self.get(name) {
            Err(Unavailable::NotFound(_)) => {}
            there => return there,
        }
        // Looked at while nobody can drop it: what was dropped here does not come back from elsewhere.
        if asker == Asker::Peer && self.was_dropped(name) {
            return Err(Unavailable::NotFound(name.clone()));
        }
        if self.entries.load().len() >= DATABASES_MAX {
            return Err(Unavailable::TooMany);
        }
        let opened = self.directory.create_database(name, entropy::random_u64(), self.options)?;
        let (open, thread) = self.start(name, opened)?;
        threads.insert(name.clone(), thread);
        self.change_entries(|entries| drop(entries.insert(name.clone(), Entry::Open(Arc::clone(&open)))));
        tracing::info!(database = %name, "created");
        Ok(open)
    }

    fn drop_now(&self, name: &DatabaseName, asker: Asker) -> Result<(), Unavailable> {
        let mut threads = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.at_gate(asker)?;
        let open = self.get(name)?;
        drop(open.queue.send(Job::Close));
        if let Some(thread) = threads.remove(name) {
            drop(thread.join());
        }
        self.change_entries(|entries| drop(entries.remove(name)));
        self.directory.drop_database(name)?;
        // Now it is also among those that were dropped.
        self.changed.send_modify(|version| *version += 1);
        tracing::warn!(database = %name, "dropped");
        Ok(())
    }

    fn change_entries(&self, change: impl Fn(&mut BTreeMap<DatabaseName, Entry>)) {
        let mut entries = BTreeMap::clone(&self.entries.load());
        change(&mut entries);
        self.entries.store(Arc::new(entries));
        self.changed.send_modify(|version| *version += 1);
    }

    fn start(&self, name: &DatabaseName, opened: Opened) -> Result<(Arc<OpenDatabase>, JoinHandle<()>), StorageError> {
        let (queue, jobs) = mpsc::sync_channel(self.queue_writes_max);
        let handle = Arc::new(Handle::new(name.clone(), self.activity.clone()));
        let origin = opened.writer.origin().clone();
        let writer = handle.take_in(opened);
        let (directory, options, again) = (Arc::clone(&self.directory), self.options, name.clone());
        let (probed, measured) = (Arc::clone(&self.directory), Arc::clone(&self.directory));
        let (marked, of) = (Arc::clone(&self.directory), name.clone());
        let thread = WriterThread {
            handle: Arc::clone(&handle),
            queue: jobs,
            gate: Arc::clone(&self.gate),
            runtime: tokio::runtime::Handle::try_current().ok(),
            // Only ever opened again because an error of the disk has stopped it.
            open: Box::new(move || open_believably(&directory, &again, Options { is_after_failure: true, ..options })),
            probe: Box::new(move |bytes| probe_room(&probed, bytes)),
            room: Box::new(move || measured.room_bytes()),
            mark: Box::new(move |log_id, position| marked.mark(&of, log_id, position)),
            room_bytes_min: room_bytes_min(self.options),
            is_short_of_room: Cell::new(false),
            caretaker: RefCell::new(Caretaker::new(self.upkeep)),
        };
        let spawned = std::thread::Builder::new()
            .name(format!("writer {name}"))
            .spawn(move || thread.run(writer))
            .map_err(|source| StorageError::File {
                action: "could not start the writer of",
                path: self.directory.data_path(name),
                source,
            })?;
        Ok((Arc::new(OpenDatabase { handle, queue, origin }), spawned))
    }
}

/// Why a database is set aside, and what helps. Which of its files is at fault is for `verify` to tell: trying the
/// whole log here would keep the other databases waiting.
fn quarantine_reason(name: &DatabaseName, error: &StorageError) -> String {
    let wrong = match error {
        StorageError::LogBehindData { .. } | StorageError::WrittenByNewerNode { .. } => return error.to_string(),
        error if error.is_of_system() => return error.to_string(),
        StorageError::Damaged { place, reason } => format!("{place} is damaged: {reason}"),
        other => other.to_string(),
    };
    format!(
        "{wrong}; stop the node and run 'holdfast verify --database {name}': where its log is sound, 'holdfast verify \
         --database {name} --repair-data' makes the data again from it, else restore it from a peer or a backup"
    )
}

/// Opens a database; a panic of the store, which a damaged file can cause, is an error like any other.
fn open_believably(directory: &DataDirectory, name: &DatabaseName, options: Options) -> Result<Opened, StorageError> {
    let open = std::panic::AssertUnwindSafe(|| directory.open_database(name, options));
    std::panic::catch_unwind(open).unwrap_or_else(|_| {
        Err(StorageError::damaged(format!("a file of database '{name}'"), "the store gave up on it"))
    })
}

/// Room that must be left on the disk before anything is written: what was acknowledged and is in the log alone must
/// still find its way into the data, whose pages are written anew before the old ones are free.
fn room_bytes_min(options: Options) -> u64 {
    const ROOM_BYTES_BASE: u64 = 16 * 1024 * 1024;
    ROOM_BYTES_BASE.saturating_add(2 * options.undurable_bytes_max as u64)
}

/// Whether so many bytes find room in the directory.
fn probe_room(directory: &DataDirectory, bytes: usize) -> Result<(), StorageError> {
    let path = directory.path().join("holdfast.probe");
    let write = || {
        let mut file = std::fs::File::create(&path)?;
        file.write_all(&vec![1; bytes])?;
        file.sync_all()
    };
    let written = write();
    let removed = std::fs::remove_file(&path);
    written.and(removed).map_err(|source| StorageError::File { action: "no room to write", path: path.clone(), source })
}

/// Runs work that waits for the disk where it holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Unavailable> + Send + 'static,
) -> Result<T, Unavailable> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Unavailable::Stopping))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_quarantined_database_says_how_its_data_is_made_again() {
        let name = DatabaseName::parse("shop").unwrap();
        let reason = quarantine_reason(&name, &StorageError::damaged("a file of database 'shop'", "it is"));
        assert!(reason.contains("holdfast verify --database shop --repair-data"), "{reason}");
        let behind = StorageError::LogBehindData { log: 1, data: 2 };
        assert!(!quarantine_reason(&name, &behind).contains("--repair-data"), "the data is all there is");
    }
}
