//! Waiting until followers have a write.

use std::sync::atomic::Ordering;

use holdfast_core::id::DatabaseName;
use tokio::time::timeout_at;

use crate::clock;
use crate::http::token::Token;
use crate::replica::{FollowerAt, Reached, ReplicaGroup};

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
        let log_id = self.databases.get(database).ok().and_then(|open| open.log_id().ok());
        let has = |reached: &Reached| {
            let covers = match token {
                Token::Operation(dot) => reached.vector.covers(dot),
                Token::Cache(dot) => reached.cache_vector.covers(dot),
            };
            // What it had of a database that was dropped under this name says nothing of this one.
            covers && log_id == Some(reached.log_id)
        };
        self.await_followers(database.as_str(), |follower| follower.reached.get(database).is_some_and(has)).await
    }

    /// Waits until so many followers have made this node's databases theirs as they were at an edition.
    pub async fn await_edition(&self, edition: u64) -> ReplicasReached {
        self.await_followers("one that was dropped", |follower| {
            follower.edition.is_some_and(|theirs| theirs >= edition)
        })
        .await
    }

    async fn await_followers(&self, database: &str, has: impl Fn(&FollowerAt) -> bool) -> ReplicasReached {
        let (required, within) = self.sync_replicas();
        let deadline = clock::monotonic() + within;
        let count = || {
            // Whoever may lack what a majority was said to have before counts no more than who is not there.
            let counts = self.counting();
            self.followers().values().filter(|follower| counts(&follower.reached) && has(follower)).count() as u64
        };
        let mut learned = self.learned.subscribe();
        loop {
            learned.borrow_and_update();
            let reached = ReplicasReached { achieved: count(), required };
            if reached.achieved >= required || !self.is_leader() {
                return reached;
            }
            let changed = timeout_at(deadline.into(), learned.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                let reached = ReplicasReached { achieved: count(), required };
                if reached.achieved < required {
                    self.counts.sync_timeouts.fetch_add(1, Ordering::Relaxed);
                    if let Some(left_out) = self.late_writes.is_due(clock::monotonic()) {
                        tracing::warn!(
                            database,
                            required,
                            achieved = reached.achieved,
                            waited_ms = within.as_millis(),
                            left_out,
                            "a write was answered before enough followers had it; GET /replication/status tells which are behind"
                        );
                    }
                }
                return reached;
            }
        }
    }
}
