//! Putting a database that was made anew from a peer in the place of the one that served meanwhile.

use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, PoisonError};

use holdfast_core::id::DatabaseName;
use holdfast_core::sync::admission;
use holdfast_core::time::Millis;
use holdfast_core::vector::{Origin, Position};
use holdfast_storage::commit::Moment;
use holdfast_storage::database::{Database, Opened};
use holdfast_storage::error::StorageError;
use holdfast_storage::transfer::page::StatePage;
use holdfast_storage::transfer::{Carried, Ending, Source, Transfer};

use super::open_database::Handle;
use super::writer::Job;
use super::{Databases, Entry, OpenDatabase, Unavailable, blocking, open_believably, quarantine_reason};
use crate::{clock, entropy};

/// Why a transfer waits for another.
pub(crate) const TRANSFER_BUSY: &str = "another peer's are being taken right now";

/// A transfer of a database's states that is under way; dropping it keeps what it has for later.
#[derive(Debug)]
pub struct Incoming {
    transfer: Transfer,
    // After the transfer: its files are closed before another may begin.
    turn: Turn,
}

/// The right to transfer a database: one at a time, for there is one place where it is made.
#[derive(Debug)]
struct Turn {
    databases: Arc<Databases>,
    name: DatabaseName,
}

impl Turn {
    fn take(databases: &Arc<Databases>, name: &DatabaseName) -> Result<Self, Unavailable> {
        let mut under_way = databases.transfers.lock().unwrap_or_else(PoisonError::into_inner);
        if !under_way.insert(name.clone()) {
            return Err(Unavailable::Transfer { reason: TRANSFER_BUSY.to_owned() });
        }
        Ok(Self { databases: Arc::clone(databases), name: name.clone() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.databases.transfers.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

impl Incoming {
    /// Everything up to here is in.
    pub fn cursor(&self) -> Position {
        self.transfer.cursor()
    }

    /// Takes a page in, off the runtime's threads.
    pub async fn take(mut self, page: StatePage) -> Result<Self, Unavailable> {
        blocking(move || {
            let mut moment = Moment { now: Millis(clock::now_millis()), random: &mut entropy::random_u128 };
            self.transfer.take(&mut moment, page).map_err(|error| failed(error.source()))?;
            Ok(self)
        })
        .await
    }
}

impl Databases {
    /// Begins to take a database's states from a peer, or goes on where it was cut.
    pub async fn begin_transfer(
        self: &Arc<Self>,
        name: &DatabaseName,
        source: &Source,
    ) -> Result<Incoming, Unavailable> {
        let (databases, name, source) = (Arc::clone(self), name.clone(), source.clone());
        blocking(move || {
            let turn = Turn::take(&databases, &name)?;
            let opened = databases.directory.open_transfer(&name, &source, entropy::random_u64(), databases.options);
            Ok(Incoming { transfer: opened?, turn })
        })
        .await
    }

    /// Carries over what the present database holds beyond the transfer, and serves the new one from then on. Reads go on
    /// meanwhile, and writes wait until they can go to the new one.
    pub async fn finish_transfer(self: &Arc<Self>, incoming: Incoming, ending: Ending) -> Result<Carried, Unavailable> {
        let databases = Arc::clone(self);
        blocking(move || databases.finish_transfer_now(incoming, ending)).await
    }

    fn finish_transfer_now(self: &Arc<Self>, incoming: Incoming, ending: Ending) -> Result<Carried, Unavailable> {
        let Incoming { transfer, turn } = incoming;
        let name = turn.name.clone();
        // Held to the end, so that nobody drops the database or closes it meanwhile.
        let _threads = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let present = self.get(&name)?;
        let before = present.origin().clone();
        let (told, outcome) = mpsc::channel();
        let kind = ending.kind;
        let queue = present.queue.clone();
        let exchange = Exchange { databases: Arc::clone(self), name: name.clone(), transfer, ending, queue, told };
        present.queue.send(Job::Exchange(Box::new(exchange))).map_err(|_| Unavailable::Stopping)?;
        let carried = outcome.recv().unwrap_or(Err(Unavailable::Stopping))?;
        let after = self.get(&name)?.origin().clone();
        if after == before && carried.reissued == 0 {
            // It is who it was: nothing has happened to anybody's identity.
            drop(turn);
            return Ok(carried);
        }
        let what = format!(
            "made anew from the states of a peer ({kind:?}): {} operations of our own kept their name, {} were written \
             again; it goes on as {}",
            carried.kept, carried.reissued, after
        );
        self.identity.note(Some(&name), what);
        drop(turn);
        Ok(carried)
    }

    /// Carries over what the old database holds beyond the transfer. The transfer's files are complete and closed then.
    fn carry_over(
        &self,
        name: &DatabaseName,
        transfer: Transfer,
        ending: Ending,
        (old, of_old): (&Database, &Origin),
    ) -> Result<(Carried, (u64, Position)), Unavailable> {
        let origin = match ending.kind {
            admission::Transfer::Rebase => Origin { incarnation: entropy::random_u64(), node: of_old.node.clone() },
            _ => of_old.clone(),
        };
        let mut moment = Moment { now: Millis(clock::now_millis()), random: &mut entropy::random_u128 };
        let finished = transfer.finish(&mut moment, ending, old, &origin);
        let (new, carried) = finished.map_err(|error| {
            // What is half carried over must not be gone on with.
            if let Err(error) = self.directory.discard_transfer(name) {
                tracing::warn!(database = %name, %error, "the files of a failed transfer stay behind");
            }
            failed(error.source())
        })?;
        Ok((carried, (new.writer.file_id(), new.writer.state().position)))
    }

    fn set_aside(
        &self,
        name: &DatabaseName,
        error: &StorageError,
        told: &mpsc::Sender<Result<Carried, Unavailable>>,
    ) -> NotExchanged {
        let reason = quarantine_reason(name, error);
        tracing::error!(database = %name, reason, "quarantined after a state transfer; a restart tries again");
        let entry = Entry::Quarantined { reason };
        self.change_entries(|entries| drop(entries.insert(name.clone(), entry.clone())));
        drop(told.send(Err(failed(error))));
        NotExchanged::SetAside
    }
}

/// A database that takes the place of the one that is served. The writer's thread does it, between two commits.
pub(super) struct Exchange {
    databases: Arc<Databases>,
    name: DatabaseName,
    transfer: Transfer,
    ending: Ending,
    queue: SyncSender<Job>,
    told: mpsc::Sender<Result<Carried, Unavailable>>,
}

/// A database that has taken the place of another, and that nobody has seen yet.
pub(super) struct Exchanged {
    databases: Arc<Databases>,
    queue: SyncSender<Job>,
    told: mpsc::Sender<Result<Carried, Unavailable>>,
    carried: Carried,
}

/// Why a database was not exchanged.
pub(super) enum NotExchanged {
    /// The present one is as it was.
    Untouched,
    /// The files have changed places, wholly or in part, and what is there now is for the next start to open.
    SetAside,
}

impl Exchange {
    /// What the old database holds goes over, and the files change places.
    pub(super) fn make(self, old: &Database, of_old: &Origin) -> Result<(Opened, Exchanged), NotExchanged> {
        let Self { databases, name, transfer, ending, queue, told } = self;
        let (carried, (file_id, position)) = match databases.carry_over(&name, transfer, ending, (old, of_old)) {
            Ok(carried) => carried,
            Err(error) => {
                drop(told.send(Err(error)));
                return Err(NotExchanged::Untouched);
            }
        };
        if let Err(error) = databases.directory.put_in_place(&name) {
            return Err(if databases.directory.is_in_place(&name) {
                databases.set_aside(&name, &error, &told)
            } else {
                drop(told.send(Err(failed(&error))));
                NotExchanged::Untouched
            });
        }
        databases.directory.mark(&name, file_id, position);
        match open_believably(&databases.directory, &name, databases.options) {
            Ok(opened) => Ok((opened, Exchanged { databases, queue, told, carried })),
            Err(error) => Err(databases.set_aside(&name, &error, &told)),
        }
    }
}

impl Exchanged {
    /// Shows it to everybody.
    pub(super) fn publish(self, handle: Arc<Handle>, origin: Origin) {
        let name = handle.name.clone();
        let open = Arc::new(OpenDatabase { handle, queue: self.queue, origin });
        self.databases.change_entries(|entries| drop(entries.insert(name.clone(), Entry::Open(Arc::clone(&open)))));
        drop(self.told.send(Ok(self.carried)));
    }
}

fn failed(error: &StorageError) -> Unavailable {
    Unavailable::Transfer { reason: error.to_string() }
}
