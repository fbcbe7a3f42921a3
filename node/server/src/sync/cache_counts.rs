//! How many keys of the cache went to and came from each peer since the start.
//!
//! Counted is what moved, whichever side began: keys that were told and keys that were asked for. The counts are the
//! peer's, not its task's: a peer that is registered again, with another address say, goes on counting.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::limits::METRIC_SESSIONS_MAX;

/// What was exchanged with a peer of the cache of a database.
#[derive(Debug, Default)]
pub struct CacheCounts {
    sent: AtomicU64,
    received: AtomicU64,
}

impl CacheCounts {
    /// Counts keys that went out.
    pub fn add_sent(&self, keys: u64) {
        self.sent.fetch_add(keys, Ordering::Relaxed);
    }

    /// Counts keys that came in and were new or different here.
    pub fn add_received(&self, keys: u64) {
        self.received.fetch_add(keys, Ordering::Relaxed);
    }

    /// Keys that went out, and keys that came in.
    pub fn totals(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }
}

/// The counts of all peers and databases.
#[derive(Debug, Default)]
pub struct CacheCountsByPeer(Mutex<BTreeMap<(NodeName, DatabaseName), Arc<CacheCounts>>>);

impl CacheCountsByPeer {
    /// The counts of a peer and a database, from zero where there are none.
    pub fn of(&self, peer: &NodeName, database: &DatabaseName) -> Arc<CacheCounts> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (peer.clone(), database.clone());
        if counts.len() >= METRIC_SESSIONS_MAX && !counts.contains_key(&key) {
            // Those that nobody adds to are of peers and databases that are gone.
            counts.retain(|_, one| Arc::strong_count(one) > 1);
        }
        Arc::clone(counts.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_peer_goes_on_counting_and_those_that_are_gone_take_no_room_for_ever() {
        let counts = CacheCountsByPeer::default();
        let database = DatabaseName::parse("shop").unwrap();
        let peer = |number: usize| NodeName::parse(&format!("peer-{number}")).unwrap();
        counts.of(&peer(0), &database).add_sent(3);
        let held = counts.of(&peer(0), &database);
        held.add_received(2);
        assert_eq!(held.totals(), (3, 2));
        for number in 1..=2 * METRIC_SESSIONS_MAX {
            counts.of(&peer(number), &database).add_sent(1);
        }
        assert!(counts.0.lock().unwrap().len() <= METRIC_SESSIONS_MAX);
        assert_eq!(counts.of(&peer(0), &database).totals(), (3, 2));
    }
}
