//! What this node begins with when it leads, and what it has of that when it follows. See
//! [`holdfast_core::replica::heritage`].

use std::collections::BTreeMap;
use std::sync::PoisonError;

use holdfast_core::id::DatabaseName;
use holdfast_core::replica::epoch::Epoch;
use holdfast_core::replica::heritage::Beginnings;
use holdfast_core::vector::Position;

use crate::replica::{GroupError, Reached, ReplicaGroup};

impl ReplicaGroup {
    /// An epoch of this node begins: whoever follows already is told so by having to come anew.
    pub(super) fn note_beginnings(&self, epoch: &Epoch) {
        let ends = self.databases.list().into_iter().filter_map(|listing| {
            let open = self.databases.get(&listing.name).ok()?;
            let newest = *open.newest().borrow();
            Some((listing.name, newest))
        });
        let beginnings = Beginnings::of(ends);
        *self.beginnings.lock().unwrap_or_else(PoisonError::into_inner) = Some((epoch.clone(), beginnings));
        self.disconnect_followers();
        for follower in self.followers().values_mut() {
            follower.reached.clear();
        }
    }

    /// Where this node's epoch began in the log of a database; nowhere unless it leads.
    pub(super) fn began(&self, database: &DatabaseName) -> Option<Position> {
        let epoch = self.epoch().filter(|_| self.is_leader())?;
        let beginnings = self.beginnings.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, beginnings) = beginnings.as_ref().filter(|(of, _)| *of == epoch)?;
        Some(beginnings.since(database))
    }

    /// The log of a database was exchanged: whoever has it up to here has what there was.
    pub(super) fn note_exchanged(&self, database: &DatabaseName) {
        let Ok(open) = self.databases.get(database) else { return };
        let newest = *open.newest().borrow();
        let mut beginnings = self.beginnings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, beginnings)) = beginnings.as_mut() {
            beginnings.begin_anew(database, newest);
        }
    }

    /// Tells which followers count, where a write waits for them: those that have what this leader began with.
    pub(super) fn counting(&self) -> impl Fn(&BTreeMap<DatabaseName, Reached>) -> bool {
        let epoch = self.epoch();
        let beginnings = self.beginnings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let beginnings = beginnings.filter(|(of, _)| Some(of) == epoch.as_ref()).map(|(_, beginnings)| beginnings);
        let listed = self.databases.list().into_iter().filter_map(|listing| {
            let log_id = self.databases.get(&listing.name).ok()?.log_id().ok()?;
            Some((listing.name, log_id))
        });
        let log_ids: BTreeMap<DatabaseName, u64> = listed.collect();
        move |reached| {
            beginnings.as_ref().is_some_and(|beginnings| {
                beginnings.are_passed(|database| match (log_ids.get(database), reached.get(database)) {
                    // One that was dropped meanwhile is lacked by nobody.
                    (None, _) => Position(u64::MAX),
                    (Some(log_id), Some(reached)) if reached.log_id == *log_id => reached.through,
                    (Some(_), _) => Position::START,
                })
            })
        }
    }

    /// What came from the leader is on disk, and is about to be confirmed to it: that is refused to one that this node has
    /// voted against. With all of its heritage here, this node first remembers that.
    pub(super) fn may_confirm(&self, has_heritage: bool) -> Result<(), GroupError> {
        let is_news = {
            let mut decided = self.decided();
            decided.replica.may_confirm()?;
            match decided.replica.epoch().cloned().filter(|_| has_heritage) {
                Some(epoch) => decided.remembered.inherit(&epoch),
                None => false,
            }
        };
        if is_news {
            self.keep()?;
        }
        Ok(())
    }
}
