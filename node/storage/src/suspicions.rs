//! What has come to light of branches, in memory and in the log file.
//!
//! It is noted at once, and kept with the next commit of the log or in a quiet moment, whichever comes first. So whatever is
//! written after it was noted is on disk only together with it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use holdfast_core::id::NodeName;
use holdfast_core::sync::branches::Evidence;
use holdfast_core::sync::suspicions::Suspicions;
use holdfast_core::vector::{Origin, Sequence};

use crate::database::Database;

/// The suspicions of a database, and whether its log file has them.
#[derive(Debug, Default)]
pub(crate) struct KeptSuspicions(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    now: Suspicions,
    saved: Suspicions,
}

impl KeptSuspicions {
    /// As the log file has them.
    pub(crate) fn new(saved: Suspicions) -> Self {
        Self(Mutex::new(Kept { now: saved.clone(), saved }))
    }

    /// What the log file is to have now, if that is something else than it has.
    pub(crate) fn unsaved(&self) -> Option<Suspicions> {
        let kept = self.lock();
        (kept.now != kept.saved).then(|| kept.now.clone())
    }

    /// The log file has these.
    pub(crate) fn saved(&self, suspicions: Suspicions) {
        self.lock().saved = suspicions;
    }

    /// Takes something in.
    pub(crate) fn note<T>(&self, note: impl FnOnce(&mut Suspicions) -> T) -> T {
        note(&mut self.lock().now)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Database {
    /// A caller has proven to itself that it holds another branch of an origin than this node, which is to give way.
    pub fn note_told(&self, caller: &NodeName, origin: Origin) {
        self.suspicions().note(|suspicions| suspicions.note_told(caller, origin));
    }

    /// What is to be believed of a peer's branches, as far as it counts for the log that it has now.
    pub fn evidence(&self, peer: &NodeName, me: &Origin, log_id: u64) -> Evidence {
        self.suspicions().note(|suspicions| suspicions.take(peer, me, log_id))
    }

    /// Since when this node writes what peers know something else by, if it was ever heard that they know more of its own
    /// origin: now a peer knows `theirs` of it, and it knows `ours`.
    pub fn behind(&self, me: &Origin, (ours, theirs): (Sequence, Sequence)) -> Option<Sequence> {
        self.suspicions().note(|suspicions| {
            if theirs > ours {
                suspicions.note_behind(me, ours);
            }
            suspicions.behind(me)
        })
    }
}

#[cfg(test)]
mod tests;
