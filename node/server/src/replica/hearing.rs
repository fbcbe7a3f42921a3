//! What is heard of the group: heartbeats, epochs, where the leader is, who votes.

use std::sync::Arc;

use holdfast_core::id::NodeName;
use holdfast_core::replica::epoch::Epoch;
use holdfast_core::replica::handshake::Refused;
use holdfast_core::replica::lane::Direction;
use holdfast_core::replica::message::{Heartbeat, Voter};
use holdfast_core::replica::role::{Denied, Role};

use crate::clock;
use crate::replica::ReplicaGroup;
use crate::replica::session::SessionError;

impl ReplicaGroup {
    /// What a heartbeat says.
    pub fn heartbeat(&self, direction: Direction) -> Heartbeat {
        let decided = self.decided();
        let epoch = decided.replica.epoch().map(Epoch::to_string);
        let now_millis = clock::now_millis();
        if direction == Direction::Up {
            return Heartbeat { now_millis, epoch, ..Heartbeat::default() };
        }
        let is_leader = decided.replica.role() == Role::Leader;
        let voters = decided.remembered.voters.clone();
        let (leader, leader_http) = (decided.remembered.leader.clone(), decided.remembered.leader_http.clone());
        let is_read_only = decided.remembered.is_read_only;
        let sync_replicas = decided.remembered.choices.sync_replicas.as_ref().map(|chosen| chosen.value);
        drop(decided);
        if is_leader {
            let leader = self.listening_port().map(|port| format!(":{port}"));
            let leader_http = self.options.http_endpoint.clone();
            // Whoever is to take the place of a leader that takes no writes counts to the last one.
            let operations = if is_read_only { self.operations() } else { self.operations_lately() };
            let default = Heartbeat { sync_replicas, ..Heartbeat::default() };
            return Heartbeat { now_millis, epoch, leader, leader_http, voters, operations, is_read_only, ..default };
        }
        let silent = self
            .upstream()
            .heard
            .map_or(u64::MAX, |heard| u64::try_from(heard.elapsed().as_millis()).unwrap_or(u64::MAX));
        let (operations, is_read_only) = {
            let upstream = self.upstream();
            (upstream.leader_operations, upstream.is_leader_read_only)
        };
        Heartbeat {
            now_millis,
            epoch,
            leader,
            leader_http,
            voters,
            silent_millis: silent,
            operations,
            is_read_only,
            sync_replicas,
            ..Heartbeat::default()
        }
    }

    /// The other side of a connection was heard.
    pub fn heard(
        self: &Arc<Self>,
        direction: Direction,
        node: &NodeName,
        beat: &Heartbeat,
    ) -> Result<(), SessionError> {
        let epoch = beat.epoch.as_deref().map(Epoch::parse).transpose()?;
        if direction == Direction::Down {
            if let Some(follower) = self.followers().get_mut(node) {
                follower.heard = Some(clock::monotonic());
                follower.edition = follower.edition.max(beat.edition);
            }
            self.learned.send_modify(|count| *count += 1);
            if let Some(epoch) = epoch {
                self.see_epoch(&epoch, None);
            }
            return if self.may_serve() { Ok(()) } else { Err(SessionError::Ended) };
        }
        let Some(epoch) = epoch else { return Ok(()) };
        // A node between says how long ago the leader was heard by it.
        const PASSED_ON_WITHIN: u64 = 1_500;
        if beat.silent_millis <= PASSED_ON_WITHIN {
            self.hear_epoch(&epoch)?;
            let mut upstream = self.upstream();
            upstream.heard = Some(clock::monotonic());
            upstream.leader_operations = beat.operations;
            upstream.is_leader_read_only = beat.is_read_only;
            upstream.is_measured = true;
            drop(upstream);
            self.note_whole();
        }
        self.learn_of_group(beat);
        Ok(())
    }

    /// Whether this node follows, and has heard its leader within this.
    pub fn hears_leader(&self, within: std::time::Duration) -> bool {
        self.role() == Role::Follower && self.upstream().heard.is_some_and(|heard| heard.elapsed() < within)
    }

    /// Whether this node has what its group has, or had it once: what is read here may be old, and is not half of it.
    pub fn is_whole(&self) -> bool {
        self.role() != Role::Follower || self.decided().remembered.is_whole
    }

    /// Looks whether a follower that was never level with its leader is so now.
    fn note_whole(&self) {
        if self.is_whole() || self.behind() > 0 || !self.upstream().taking_states.is_empty() {
            return;
        }
        self.decided().remembered.is_whole = true;
        tracing::info!("this follower has everything that its leader has");
        if let Err(error) = self.keep() {
            tracing::warn!(%error, "that this follower has everything could not be written down");
        }
    }

    /// Whether followers are served: by the leader, and by a follower that others follow.
    pub(super) fn may_serve(&self) -> bool {
        self.role() != Role::Alone
    }

    /// Takes over what the leader says of the group.
    pub(super) fn learn_of_group(&self, beat: &Heartbeat) {
        let dialled = self.upstream().endpoint.clone().unwrap_or_default();
        let host = dialled.rsplit_once(':').map_or("", |(host, _)| host).to_owned();
        let whole = |endpoint: &str| {
            if endpoint.starts_with(':') { format!("{host}{endpoint}") } else { endpoint.to_owned() }
        };
        let voters: Vec<Voter> = beat
            .voters
            .iter()
            .map(|voter| Voter { node: voter.node.clone(), endpoint: whole(&voter.endpoint) })
            .collect();
        // Where it was dialled it is reached, and not always at the port that it knows: there may be a tunnel between.
        let at_dialled = |leader: &str| if leader.starts_with(':') { dialled.clone() } else { leader.to_owned() };
        let leader = beat.leader.as_deref().map(at_dialled);
        let is_news = {
            let mut decided = self.decided();
            let remembered = &mut decided.remembered;
            let is_news = remembered.voters != voters
                || remembered.leader_http != beat.leader_http
                || (leader.is_some() && remembered.leader != leader);
            remembered.voters = voters;
            remembered.leader_http.clone_from(&beat.leader_http);
            if leader.is_some() {
                remembered.leader = leader;
            }
            is_news
        };
        if let Some(chosen) = beat.sync_replicas {
            self.take_sync_replicas(chosen);
        }
        if is_news {
            self.know_voters();
            self.upstream().http_endpoint.clone_from(&beat.leader_http);
            if let Err(error) = self.keep() {
                tracing::warn!(%error, "who votes in this group could not be written down");
            }
            self.set_gate();
        }
    }

    pub(super) fn know_voters(&self) {
        let mut decided = self.decided();
        let voters: Vec<NodeName> =
            decided.remembered.voters.iter().filter_map(|voter| NodeName::parse(&voter.node).ok()).collect();
        decided.replica.know_voters(voters);
    }

    /// The leader's epoch was heard.
    pub fn hear_epoch(self: &Arc<Self>, epoch: &Epoch) -> Result<(), Denied> {
        let actions = self.decide(|replica, now| replica.hear(now, epoch))?;
        if let Err(error) = self.enact(actions) {
            tracing::error!(%error, "the leader's epoch could not be taken over");
        }
        Ok(())
    }

    /// An epoch was seen, with its leader's address where that was told.
    pub fn see_epoch(self: &Arc<Self>, epoch: &Epoch, leader: Option<(String, Option<String>)>) {
        let is_newer = self.epoch().is_none_or(|known| known <= *epoch) && epoch.leader != self.databases.origin().node;
        if let Some((endpoint, http)) = leader.filter(|_| is_newer) {
            self.name_leader(endpoint, http);
        }
        let actions = self.decide(|replica, now| replica.see(now, epoch));
        if let Err(error) = self.enact(actions) {
            tracing::error!(%error, "a newer epoch could not be taken over");
        }
    }

    /// Somebody has said where the leader is.
    pub(super) fn name_leader(&self, endpoint: String, http: Option<String>) {
        let is_news = self.upstream().endpoint.as_ref() != Some(&endpoint);
        {
            let mut decided = self.decided();
            decided.remembered.leader = Some(endpoint.clone());
            decided.remembered.leader_http.clone_from(&http);
        }
        {
            let mut upstream = self.upstream();
            upstream.endpoint = Some(endpoint);
            upstream.http_endpoint = http;
        }
        if is_news {
            if let Err(error) = self.keep() {
                tracing::warn!(%error, "where the leader is could not be written down");
            }
            self.leader_named.notify_one();
        }
        self.set_gate();
    }

    /// Waits until somebody says where the leader is.
    pub async fn leader_is_named(&self) {
        self.leader_named.notified().await;
    }

    /// Where the leader is followed.
    pub fn leader_endpoint(&self) -> Option<String> {
        self.upstream().endpoint.clone().or_else(|| self.decided().remembered.leader.clone())
    }

    /// Where the voters listen.
    pub fn voter_endpoints(&self) -> Vec<String> {
        let me = self.databases.origin().node.clone();
        let decided = self.decided();
        let others = decided.remembered.voters.iter().filter(|voter| voter.node != me.as_str());
        others.map(|voter| voter.endpoint.clone()).collect()
    }

    /// Where the leader is asked for when it is not where it was: the voters, who follow this node or did, and where the
    /// settings say.
    pub fn endpoints_to_ask(&self) -> Vec<String> {
        let mut endpoints = self.voter_endpoints();
        let following = self.followers();
        let following = following.values().filter_map(|follower| follower.replication_endpoint.as_ref());
        for endpoint in following.chain(&self.options.leader) {
            if !endpoints.contains(endpoint) {
                endpoints.push(endpoint.clone());
            }
        }
        endpoints
    }

    /// Why a connection is ended, where the other side should know.
    pub fn farewell(&self, ended: &SessionError) -> Option<Refused> {
        match ended {
            SessionError::Denied(denied) => Some(self.refusal(denied)),
            SessionError::OldEpoch(_) => Some(Refused {
                code: "old-epoch".to_owned(),
                reason: ended.to_string(),
                epoch: self.epoch().as_ref().map(Epoch::to_string),
                leader: self.leader_endpoint(),
            }),
            SessionError::Displaced => Some(Refused {
                code: "displaced".to_owned(),
                reason: ended.to_string(),
                epoch: self.epoch().as_ref().map(Epoch::to_string),
                leader: None,
            }),
            SessionError::Ended if self.role() == Role::Follower => Some(Refused {
                code: "moved".to_owned(),
                reason: "this node leads no more".to_owned(),
                epoch: self.epoch().as_ref().map(Epoch::to_string),
                leader: self.leader_endpoint(),
            }),
            SessionError::Wire(_) | SessionError::Refused(_) | SessionError::Ended => None,
            other => Some(Refused {
                code: "cannot-go-on".to_owned(),
                reason: other.to_string(),
                epoch: self.epoch().as_ref().map(Epoch::to_string),
                leader: None,
            }),
        }
    }

    /// A refusal as it is told to the other side: with what this node knows of the group.
    pub fn refusal(&self, denied: &Denied) -> Refused {
        let epoch = match denied {
            Denied::Promised(promised) => Some(promised.to_string()),
            _ => self.epoch().as_ref().map(Epoch::to_string),
        };
        let leader = if self.is_leader() { None } else { self.leader_endpoint() };
        Refused { code: denied.code().to_owned(), reason: denied.to_string(), epoch, leader }
    }

    /// A follower has hung up on this leader, and said why.
    pub fn refused_by_follower(self: &Arc<Self>, node: &NodeName, refused: &Refused) {
        let Some(epoch) = refused.epoch.as_deref().and_then(|epoch| Epoch::parse(epoch).ok()) else { return };
        if refused.code == "promised" {
            let actions = self.decide(|replica, now| replica.outbid(now, &epoch));
            if let Err(error) = self.enact(actions) {
                tracing::error!(%error, "a vote could not be asked for");
            }
        } else if refused.code == "old-epoch" {
            let leader = refused.leader.clone().map(|leader| (leader, None));
            // The one that hangs up may be the new leader itself: those that are sent away must be told where it is.
            let itself = || {
                let followers = self.followers();
                let follower = followers.get(node).filter(|_| epoch.leader == *node)?;
                Some((follower.replication_endpoint.clone()?, follower.http_endpoint.clone()))
            };
            self.see_epoch(&epoch, leader.or_else(itself));
        }
    }
}
