//! Putting a database that was made anew from a peer in the place of the one that served meanwhile.

use std::sync::{Arc, PoisonError};

use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::sync::admission;
use holdfast_core::time::Millis;
use holdfast_core::vector::{Dot, Origin};
use holdfast_storage::commit::Moment;
use holdfast_storage::database::Opened;
use holdfast_storage::error::StorageError;
use holdfast_storage::record::note::Adoption;
use holdfast_storage::transfer::page::StatePage;
use holdfast_storage::transfer::{Carried, Transfer};

use super::{Databases, Entry, Job, Unavailable, blocking, open_believably, quarantine_reason};
use crate::{clock, entropy};

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
            return Err(Unavailable::Transfer { reason: "another peer's are being taken right now".to_owned() });
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
    pub fn cursor(&self) -> holdfast_core::vector::Position {
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

/// How a transfer ends.
#[derive(Debug)]
pub struct Ending {
    /// What the peer knew.
    pub adoption: Adoption,
    /// Merge or rebase.
    pub kind: admission::Transfer,
    /// The first operations of ours that differ from the peer's of the same origin.
    pub branches: Vec<Dot>,
}

impl Databases {
    /// Begins to take a database's states from a peer, or goes on where it was cut.
    pub async fn begin_transfer(
        self: &Arc<Self>,
        name: &DatabaseName,
        source: &NodeName,
        source_log_id: u64,
    ) -> Result<Incoming, Unavailable> {
        let (databases, name, source) = (Arc::clone(self), name.clone(), source.clone());
        blocking(move || {
            let turn = Turn::take(&databases, &name)?;
            let source = (&source, source_log_id);
            let opened = databases.directory.open_transfer(&name, source, entropy::random_u64(), databases.options);
            Ok(Incoming { transfer: opened?, turn })
        })
        .await
    }

    /// Carries over what the present database holds beyond the transfer, and serves the new one from then on. Requests
    /// are refused for the moment that this takes.
    pub async fn finish_transfer(self: &Arc<Self>, incoming: Incoming, ending: Ending) -> Result<Carried, Unavailable> {
        let databases = Arc::clone(self);
        blocking(move || databases.finish_transfer_now(incoming, ending)).await
    }

    fn finish_transfer_now(&self, incoming: Incoming, ending: Ending) -> Result<Carried, Unavailable> {
        let Incoming { transfer, turn } = incoming;
        let name = turn.name.clone();
        let mut threads = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let present = self.get(&name)?;
        drop(present.queue.send(Job::Close));
        if let Some(thread) = threads.remove(&name) {
            drop(thread.join());
        }
        let kind = ending.kind;
        let carried = self.put_transfer_in_place(&name, transfer, ending);
        // Whatever came of it, the database that is there now is served.
        match open_believably(&self.directory, &name, self.options).and_then(|opened| self.start(&name, opened)) {
            Ok((open, thread)) => {
                if let Ok(Carried { kept, reissued }) = &carried {
                    let what = format!(
                        "made anew from the states of a peer ({kind:?}): {kept} operations of our own kept their name, \
                         {reissued} were written again; it goes on as {}",
                        open.origin()
                    );
                    self.identity.note(Some(&name), what);
                }
                threads.insert(name.clone(), thread);
                self.change_entries(|entries| drop(entries.insert(name.clone(), Entry::Open(Arc::clone(&open)))));
            }
            Err(error) => {
                let reason = quarantine_reason(&name, &error);
                tracing::error!(database = %name, reason, "quarantined after a state transfer");
                let entry = Entry::Quarantined { reason };
                self.change_entries(|entries| drop(entries.insert(name.clone(), entry.clone())));
            }
        }
        carried
    }

    /// With no writer left: what it held goes over, and the files change places.
    fn put_transfer_in_place(
        &self,
        name: &DatabaseName,
        transfer: Transfer,
        ending: Ending,
    ) -> Result<Carried, Unavailable> {
        let old: Opened = open_believably(&self.directory, name, self.options)?;
        let of_old = old.writer.origin().clone();
        let origin = match ending.kind {
            admission::Transfer::Rebase => Origin { incarnation: entropy::random_u64(), ..of_old },
            _ => of_old,
        };
        let mut moment = Moment { now: Millis(clock::now_millis()), random: &mut entropy::random_u128 };
        let finished =
            transfer.finish(&mut moment, ending.adoption, &old.database, &origin, ending.kind, ending.branches);
        drop(old);
        let (new, carried) = finished.map_err(|error| {
            // What is half carried over must not be gone on with.
            if let Err(error) = self.directory.discard_transfer(name) {
                tracing::warn!(database = %name, %error, "the files of a failed transfer stay behind");
            }
            failed(error.source())
        })?;
        let (log_id, position) = (new.database.log_id(), new.writer.state().position);
        drop(new);
        self.directory.put_in_place(name)?;
        self.directory.mark(name, log_id, position);
        Ok(carried)
    }
}

fn failed(error: &StorageError) -> Unavailable {
    Unavailable::Transfer { reason: error.to_string() }
}
