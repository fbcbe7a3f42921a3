//! A handover in two steps: writes stop here until a follower has everything, and then that one is promoted.
//!
//! [`ReplicaGroup::hand_over`] does both at once, and is what should be used where both nodes can reach each other's ports.
//! This is for a program, or an operator, that promotes the other node itself.
//!
//! Must stay true: unless everything was there in time, writes are taken again.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::replica::role::{Denied, Role};
use tokio::time::timeout_at;

use crate::clock;
use crate::replica::session::LEADER_BEATS_EVERY;
use crate::replica::{GroupError, ReplicaGroup};

/// How often the other side is asked how far it is.
const ASKED_EVERY: Duration = Duration::from_millis(20);

impl ReplicaGroup {
    /// Stops writes and waits until `follower_last_seq` says that the follower knows as many operations as this leader.
    /// Gives that number. This leader stays read-only, and the follower may be promoted without force.
    ///
    /// When that takes longer than `within`, or the caller gives up waiting, writes are taken again.
    pub async fn begin_planned_handover(
        self: &Arc<Self>,
        follower_last_seq: impl Fn() -> u64,
        within: Duration,
    ) -> Result<u64, GroupError> {
        if !self.is_leader() {
            return Err(Denied::IsNoLeader.into());
        }
        let deadline = clock::monotonic() + within;
        self.set_read_only(true)?;
        let mut stopped = Stopped { group: self, is_over: false };
        let settled = timeout_at(deadline.into(), self.databases.barrier()).await;
        settled
            .map_err(|_| GroupError::Handover("writes that were under way did not end in time".to_owned()))?
            .map_err(|error| GroupError::Handover(error.to_string()))?;
        let last = self.operations();
        loop {
            let reached = follower_last_seq();
            if reached >= last {
                stopped.is_over = true;
                return Ok(last);
            }
            if clock::monotonic() >= deadline {
                let missing = last - reached;
                return Err(GroupError::Handover(format!(
                    "the follower did not catch up in time: it lacks {missing} operations"
                )));
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
    }

    /// Whether the leader has been made read-only, and this follower has all that it had: then it may take its place while
    /// the leader is there. Only what the leader says from now on counts; that takes one of its heartbeats, or some.
    pub(super) async fn leader_makes_way(&self) -> bool {
        let begun = clock::monotonic();
        let deadline = begun + 3 * LEADER_BEATS_EVERY;
        loop {
            let (is_there, is_read_only) = {
                let upstream = self.upstream();
                let is_news = upstream.heard.is_some_and(|heard| heard > begun);
                (upstream.connected.is_some(), is_news && upstream.is_leader_read_only)
            };
            if self.role() != Role::Follower || !is_there {
                return false;
            }
            if is_read_only && self.behind() == 0 {
                return true;
            }
            if clock::monotonic() >= deadline {
                return false;
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
    }
}

/// Writes have been stopped, and are taken again when this goes before it is over.
struct Stopped<'group> {
    group: &'group ReplicaGroup,
    is_over: bool,
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        if !self.is_over
            && let Err(error) = self.group.set_read_only(false)
        {
            tracing::error!(%error, "a handover came to nothing, and writes are still stopped: 'holdfast replication read-write' allows them");
        }
    }
}
