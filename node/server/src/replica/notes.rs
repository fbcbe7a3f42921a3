//! What connections tell the group: who came and went, what was sent and taken.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::limits::REPLICA_VOTERS_MAX;
use holdfast_core::replica::epoch::Epoch;
use holdfast_core::replica::handshake::{Refused, Unwelcome};
use holdfast_core::replica::lane::Direction;
use holdfast_core::replica::message::Voter;
use holdfast_core::replica::seeking;
use holdfast_core::time::Millis;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::replica::events::GroupEvent;
use crate::replica::follower::FollowError;
use crate::replica::greeting::{GreetError, Guest, Host};
use crate::replica::joining::JoinError;
use crate::replica::listener::at_host;
use crate::replica::session::SessionError;
use crate::replica::{Reached, ReplicaGroup};

/// A follower that was heard within this is there: its heartbeats come every second.
const ALIVE_WITHIN: Duration = Duration::from_secs(3);

impl ReplicaGroup {
    /// Whether a guest may follow this node.
    pub fn may_be_followed(&self, guest: &Guest) -> Result<(), Refused> {
        let refuse = |code: &str, reason: String| Refused {
            code: code.to_owned(),
            reason,
            epoch: self.epoch().as_ref().map(Epoch::to_string),
            leader: self.leader_endpoint(),
        };
        if let Some(namesake) = self.namesake_of(guest) {
            let why = Unwelcome::Namesake(namesake);
            return Err(refuse(why.code(), why.to_string()));
        }
        let followed = self.upstream().connected.as_ref().map(|(leader, _)| leader.clone());
        let judged = seeking::may_be_followed(self.role(), followed.as_ref(), &guest.node);
        judged.map_err(|why| refuse(why.code(), why.to_string()))
    }

    /// Whether another life under the guest's name is connected, and was heard a moment ago.
    fn namesake_of(&self, guest: &Guest) -> Option<String> {
        let followers = self.followers();
        let at = followers.get(&guest.node)?;
        let is_there = at.connected.is_some() && at.heard.is_some_and(|heard| heard.elapsed() < ALIVE_WITHIN);
        (is_there && at.incarnation != guest.incarnation).then(|| guest.node.to_string())
    }

    /// Whether a follower whose connection was ended has another by now.
    pub fn is_displaced(&self, node: &NodeName, stop: &CancellationToken) -> bool {
        let newer = self.followers().get(node).and_then(|follower| follower.stop.clone());
        stop.is_cancelled() && newer.is_some_and(|newer| !newer.is_cancelled())
    }

    /// A follower has come.
    pub fn note_follower(
        self: &Arc<Self>,
        guest: &Guest,
        address: SocketAddr,
        stop: &CancellationToken,
    ) -> CancellationToken {
        let stop = stop.child_token();
        let endpoint = guest.replication_endpoint.as_ref().map(|endpoint| at_host(endpoint, address.ip()));
        {
            let mut followers = self.followers();
            let follower = followers.entry(guest.node.clone()).or_default();
            if let Some(before) = follower.stop.replace(stop.clone()) {
                // It has lost the connection that it had before we noticed.
                before.cancel();
                if follower.heard.is_some_and(|heard| heard.elapsed() < ALIVE_WITHIN) {
                    tracing::warn!(
                        follower = %guest.node, was = follower.endpoint, %address,
                        "a follower of this name was connected, and has come again: if that goes on, two nodes have one \
                         name (a copied data directory?); give each its own Node:NodeId"
                    );
                }
            }
            follower.endpoint = address.to_string();
            follower.incarnation = guest.incarnation;
            follower.http_endpoint.clone_from(&guest.http_endpoint);
            follower.replication_endpoint.clone_from(&endpoint);
            follower.is_voter = guest.is_voter;
            follower.connected = Some(Millis(clock::now_millis()));
            follower.heard = Some(clock::monotonic());
            follower.last_error = None;
            follower.reached.clear();
            follower.edition = None;
        }
        tracing::info!(follower = %guest.node, %address, "a follower has connected");
        if self.is_leader() {
            self.count_voter(&guest.node, endpoint.filter(|_| guest.is_voter));
        }
        self.news.tell(GroupEvent::FollowerCame { follower: guest.node.clone() });
        stop
    }

    /// Whoever votes is remembered, whether it is there or not: a majority of all is what counts. Without an endpoint it
    /// votes no more.
    pub(super) fn count_voter(&self, node: &NodeName, endpoint: Option<String>) {
        let me = self.databases.origin().node.to_string();
        let own = self.listening_port().map(|port| Voter { node: me.clone(), endpoint: format!(":{port}") });
        let theirs = endpoint.map(|endpoint| Voter { node: node.to_string(), endpoint });
        let is_news = {
            let mut decided = self.decided();
            let before = decided.remembered.voters.clone();
            let voters = &mut decided.remembered.voters;
            voters.retain(|voter| voter.node != me && voter.node != node.as_str());
            voters.extend(theirs);
            if !voters.is_empty() {
                voters.extend(own);
            }
            voters.sort();
            voters.truncate(REPLICA_VOTERS_MAX);
            *voters != before
        };
        if is_news {
            self.know_voters();
            if let Err(error) = self.keep() {
                tracing::warn!(%error, "who votes in this group could not be written down");
            }
        }
    }

    /// A follower's connection has ended.
    pub fn note_follower_gone(&self, node: &NodeName, stop: &CancellationToken, ended: &SessionError) {
        let is_stopped = stop.is_cancelled();
        stop.cancel();
        let mut followers = self.followers();
        let Some(follower) = followers.get_mut(node) else { return };
        // Another connection of the same follower goes on.
        if is_stopped && follower.stop.as_ref().is_some_and(|newer| !newer.is_cancelled()) {
            return;
        }
        follower.connected = None;
        follower.stop = None;
        follower.last_error = Some(ended.to_string());
        drop(followers);
        tracing::info!(follower = %node, reason = %ended, "a follower has gone");
        self.news.tell(GroupEvent::FollowerWent { follower: node.clone(), reason: ended.to_string() });
        self.learned.send_modify(|count| *count += 1);
    }

    /// A connection to the port was refused, or hung up before it had said anything.
    pub fn note_refused(&self, from: SocketAddr, error: &JoinError) {
        if matches!(error, JoinError::Greeting(GreetError::Wire(error)) if error.is_hung_up()) {
            tracing::debug!(%from, %error, "somebody dialled the replication port and hung up");
            return;
        }
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        if let Some(left_out) = self.strangers.is_due(clock::monotonic()) {
            tracing::warn!(%from, %error, left_out, "a connection to the replication port was refused");
        }
    }

    /// A connection to the port found no place.
    pub fn note_crowd(&self, from: SocketAddr) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        if let Some(left_out) = self.strangers.is_due(clock::monotonic()) {
            tracing::warn!(%from, left_out, "too many dial the replication port at once");
        }
    }

    /// Bytes went out to another node.
    pub fn note_written(&self, node: &NodeName, bytes: u64) {
        if let Some(follower) = self.followers().get_mut(node) {
            follower.bytes_sent += bytes;
        }
    }

    /// A follower has said what it has of a database; nobody counts what is said upwards.
    pub fn note_reached(
        &self,
        direction: Direction,
        node: &NodeName,
        database: &DatabaseName,
        learn: impl FnOnce(&mut Reached),
    ) {
        if direction == Direction::Up {
            return;
        }
        if let Some(follower) = self.followers().get_mut(node) {
            learn(follower.reached.entry(database.clone()).or_default());
        }
        self.learned.send_modify(|count| *count += 1);
    }

    /// Operations were taken in.
    pub fn note_taken(&self, direction: Direction, _node: &NodeName, operations: u64) {
        if direction == Direction::Down {
            return;
        }
        self.counts.applied.fetch_add(operations, Ordering::Relaxed);
    }

    /// Operations that only a follower holds are being merged.
    pub fn note_merging(&self, node: &NodeName, _database: &DatabaseName, operations: u64) {
        if let Some(follower) = self.followers().get_mut(node) {
            follower.merged += operations;
        }
    }

    /// States of a database are being taken, or have been.
    pub fn note_states(&self, direction: Direction, _node: &NodeName, database: &DatabaseName, is_begun: bool) {
        if direction == Direction::Up {
            let mut upstream = self.upstream();
            upstream.taking_states.retain(|name| name != database);
            if is_begun {
                upstream.taking_states.push(database.clone());
            }
        }
    }

    /// The leader is being dialled.
    pub fn note_dialling(&self, _target: &str) {
        self.upstream().attempts += 1;
    }

    /// The leader has greeted this node.
    pub fn note_followed(&self, target: &str, host: &Host) {
        tracing::info!(leader = %host.node, endpoint = target, "following");
        self.note_connected();
        self.news.tell(GroupEvent::Follows { leader: host.node.clone(), endpoint: target.to_owned() });
        {
            let mut upstream = self.upstream();
            upstream.connected = Some((host.node.clone(), Millis(clock::now_millis())));
            upstream.attempts = 0;
            upstream.last_error = None;
            upstream.is_measured = false;
        }
        self.name_leader(target.to_owned(), host.http_endpoint.clone());
    }

    /// Nobody has said where the leader is.
    pub fn note_lost(&self) {
        let whom = self.epoch().map_or_else(|| "a leader".to_owned(), |epoch| format!("'{}'", epoch.leader));
        let reason = format!("nobody has said where {whom} is; POST /replication/start-follower says it");
        let is_news = {
            let mut upstream = self.upstream();
            let is_news = upstream.last_error.as_ref() != Some(&reason);
            upstream.last_error = Some(reason.clone());
            is_news
        };
        if is_news {
            tracing::warn!(reason, "this node follows, and does not know whom to dial");
        }
    }

    /// Following has ended, or came to nothing.
    pub fn note_unfollowed(&self, target: &str, ended: &FollowError) {
        let reason = ended.to_string();
        let is_news = {
            let mut upstream = self.upstream();
            let is_news = upstream.connected.take().is_some() || upstream.last_error.as_ref() != Some(&reason);
            upstream.last_error = Some(reason.clone());
            upstream.taking_states.clear();
            is_news
        };
        if is_news {
            self.news.tell(GroupEvent::LeaderLost { endpoint: target.to_owned(), reason: reason.clone() });
            tracing::warn!(
                endpoint = target,
                reason,
                "the leader is not followed at the moment; it is tried again and again"
            );
        }
    }

    /// Operations before one that came are missing.
    pub fn note_gap(&self) {
        self.counts.gaps.fetch_add(1, Ordering::Relaxed);
    }
}
