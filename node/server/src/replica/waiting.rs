//! Waiting until followers have a write.

use std::sync::atomic::Ordering;

use holdfast_core::id::DatabaseName;
use tokio::time::timeout_at;

use crate::clock;
use crate::http::token::Token;
use crate::replica::ReplicaGroup;

/// How far a write has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicasReached {
    /// Followers that have it on disk.
    pub achieved: u64,
    /// How many were asked for.
    pub required: u64,
}

impl ReplicaGroup {
    /// How many followers a write waits for now: none where this node has no followers by its role.
    pub fn wanted_replicas(&self) -> u64 {
        let (min, _) = self.sync_replicas();
        if min == 0 || !self.is_leader() { 0 } else { min }
    }

    /// Waits until so many followers have a write on disk, or the time is over.
    pub async fn await_replicas(&self, database: &DatabaseName, token: &Token) -> ReplicasReached {
        let (required, within) = self.sync_replicas();
        let deadline = clock::monotonic() + within;
        let mut learned = self.learned.subscribe();
        loop {
            learned.borrow_and_update();
            let reached = ReplicasReached { achieved: self.count_with(database, token), required };
            if reached.achieved >= required || !self.is_leader() {
                return reached;
            }
            let changed = timeout_at(deadline.into(), learned.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                let reached = ReplicasReached { achieved: self.count_with(database, token), required };
                if reached.achieved < required {
                    self.counts.sync_timeouts.fetch_add(1, Ordering::Relaxed);
                    if let Some(left_out) = self.late_writes.is_due(clock::monotonic()) {
                        tracing::warn!(
                            %database, required, achieved = reached.achieved, waited_ms = within.as_millis(), left_out,
                            "a write was answered before enough followers had it; GET /replication/status tells which are behind"
                        );
                    }
                }
                return reached;
            }
        }
    }

    fn count_with(&self, database: &DatabaseName, token: &Token) -> u64 {
        let has = |reached: &super::Reached| match token {
            Token::Operation(dot) => reached.vector.covers(dot),
            Token::Cache(dot) => reached.cache_vector.covers(dot),
        };
        let followers = self.followers();
        followers.values().filter(|follower| follower.reached.get(database).is_some_and(has)).count() as u64
    }
}
