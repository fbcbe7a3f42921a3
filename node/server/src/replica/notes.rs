//! What connections tell the group: who came and went, what was sent and taken.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::limits::REPLICA_VOTERS_MAX;
use holdfast_core::replica::epoch::Epoch;
use holdfast_core::replica::handshake::Refused;
use holdfast_core::replica::lane::Direction;
use holdfast_core::replica::message::Voter;
use holdfast_core::replica::seeking;
use holdfast_core::time::Millis;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::databases::{Asker, Unavailable};
use crate::replica::follower::FollowError;
use crate::replica::greeting::{GreetError, Guest, Host};
use crate::replica::session::SessionError;
use crate::replica::{Reached, ReplicaGroup};

impl ReplicaGroup {
    /// Whether a guest may follow this node.
    pub fn may_be_followed(&self, guest: &Guest) -> Result<(), Refused> {
        let followed = self.upstream().connected.as_ref().map(|(leader, _)| leader.clone());
        seeking::may_be_followed(self.role(), followed.as_ref(), &guest.node).map_err(|why| Refused {
            code: why.code().to_owned(),
            reason: why.to_string(),
            epoch: self.epoch().as_ref().map(Epoch::to_string),
            leader: self.leader_endpoint(),
        })
    }

    /// A follower has come.
    pub fn note_follower(
        self: &Arc<Self>,
        guest: &Guest,
        address: SocketAddr,
        stop: &CancellationToken,
    ) -> CancellationToken {
        let stop = stop.child_token();
        let endpoint = guest.replication_endpoint.as_ref().map(|endpoint| {
            if endpoint.starts_with(':') { format!("{}{endpoint}", bracketed(address)) } else { endpoint.clone() }
        });
        {
            let mut followers = self.followers();
            let follower = followers.entry(guest.node.clone()).or_default();
            if let Some(before) = follower.stop.replace(stop.clone()) {
                // It has lost the connection that it had before we noticed.
                before.cancel();
            }
            follower.endpoint = address.to_string();
            follower.http_endpoint.clone_from(&guest.http_endpoint);
            follower.replication_endpoint.clone_from(&endpoint);
            follower.is_voter = guest.is_voter;
            follower.connected = Some(Millis(clock::now_millis()));
            follower.heard = Some(clock::monotonic());
            follower.last_error = None;
            follower.reached.clear();
        }
        tracing::info!(follower = %guest.node, %address, "a follower has connected");
        if self.is_leader() {
            self.count_voter(guest, endpoint);
        }
        stop
    }

    /// Whoever votes is remembered, whether it is there or not: a majority of all is what counts.
    pub(super) fn count_voter(&self, guest: &Guest, endpoint: Option<String>) {
        let me = self.databases.origin().node.to_string();
        let own = self.listening_port().map(|port| Voter { node: me.clone(), endpoint: format!(":{port}") });
        let theirs =
            endpoint.filter(|_| guest.is_voter).map(|endpoint| Voter { node: guest.node.to_string(), endpoint });
        let is_news = {
            let mut decided = self.decided();
            let before = decided.remembered.voters.clone();
            let voters = &mut decided.remembered.voters;
            voters.retain(|voter| voter.node != me && voter.node != guest.node.as_str());
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
        self.learned.send_modify(|count| *count += 1);
    }

    /// A connection to the port was refused.
    pub fn note_refused(&self, _error: &GreetError) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
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
        let is_news = {
            let mut decided = self.decided();
            let number = decided.replica.epoch().map_or(0, |epoch| epoch.number);
            let is_news = decided.remembered.last_epoch < number;
            decided.remembered.last_epoch = decided.remembered.last_epoch.max(number);
            is_news
        };
        if is_news && let Err(error) = self.keep() {
            tracing::warn!(%error, "in which epoch the newest entry came could not be written down");
        }
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
        {
            let mut upstream = self.upstream();
            upstream.connected = Some((host.node.clone(), Millis(clock::now_millis())));
            upstream.attempts = 0;
            upstream.last_error = None;
        }
        self.name_leader(target.to_owned(), host.http_endpoint.clone());
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

    /// The leader has this database. One that was dropped there since this node was last told is dropped here first: what
    /// it held must not come back under the name.
    pub async fn make_as_leader(
        &self,
        leader: &NodeName,
        database: &DatabaseName,
        lives: u64,
    ) -> Result<(), SessionError> {
        let directory = self.databases.directory();
        let ours = directory.lives(database)?;
        if self.databases.exists(database) && lives > ours {
            tracing::warn!(%database, %leader, "dropped, and made anew, as at the leader");
            self.databases.drop_database(database, Asker::Node).await?;
        }
        if lives > ours {
            directory.set_lives(database, lives)?;
        }
        self.databases.create(database, Asker::Node).await?;
        Ok(())
    }

    /// The leader has dropped a database. This node drops it too, if it had it from there.
    pub async fn drop_as_leader(&self, leader: &NodeName, database: &DatabaseName) -> Result<(), SessionError> {
        let Ok(open) = self.databases.get(database) else { return Ok(()) };
        if open.log()?.checkpoint(leader.as_str())?.is_none() {
            let mut upstream = self.upstream();
            if !upstream.kept_aside.contains(database) {
                tracing::warn!(%database, %leader, "the leader has dropped this database, and this node did not have it from there: it stays, and is not sent");
                upstream.kept_aside.push(database.clone());
            }
            return Ok(());
        }
        drop(open);
        tracing::warn!(%database, %leader, "dropped, as at the leader");
        match self.databases.drop_database(database, Asker::Node).await {
            Ok(()) | Err(Unavailable::NotFound(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn bracketed(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}
