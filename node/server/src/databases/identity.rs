//! What happened to this node's identity since the start: copies, restored backups, incarnations that were given up.

use std::sync::{Mutex, PoisonError};

use holdfast_core::id::DatabaseName;
use holdfast_core::time::Millis;

use crate::clock;

/// Events that are kept; the oldest go first.
const EVENTS_MAX: usize = 100;

/// Something that happened to the identity of this node, or of one of its databases.
#[derive(Debug, Clone)]
pub struct IdentityEvent {
    /// When.
    pub at: Millis,
    /// The database; `None` for the whole node.
    pub database: Option<DatabaseName>,
    /// What, in words.
    pub what: String,
}

/// The newest events.
#[derive(Debug, Default)]
pub struct IdentityEvents(Mutex<Vec<IdentityEvent>>);

impl IdentityEvents {
    /// Keeps an event and says it in the log.
    pub fn note(&self, database: Option<&DatabaseName>, what: String) {
        tracing::warn!(database = database.map(tracing::field::display), what, "identity");
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == EVENTS_MAX {
            events.remove(0);
        }
        events.push(IdentityEvent { at: Millis(clock::now_millis()), database: database.cloned(), what });
    }

    /// The same, unless it was noted before: for what is seen again at every meeting.
    pub fn note_once(&self, database: Option<&DatabaseName>, what: String) {
        let is_known = |event: &IdentityEvent| event.database.as_ref() == database && event.what == what;
        if !self.list().iter().any(is_known) {
            self.note(database, what);
        }
    }

    /// The events, oldest first.
    pub fn list(&self) -> Vec<IdentityEvent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
