//! Elections on the wire: asking for votes, telling who has won, and asking at the start who leads by now.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::id::NodeName;
use holdfast_core::replica::epoch::Epoch;
use holdfast_core::replica::handshake::Purpose;
use holdfast_core::replica::message::Control;
use holdfast_core::replica::role::{BALLOT_WITHIN, Denied, MAJORITY_FROM};
use tokio::time::timeout;

use crate::entropy;
use crate::replica::ReplicaGroup;
use crate::replica::follower::connect;
use crate::replica::greeting;
use crate::replica::listener::say;

/// How long a node that starts as leader waits for the others to say that another leads.
const ASKED_WITHIN: Duration = Duration::from_millis(1_500);
/// The first and the longest pause before a node that was not reached is told again who leads.
const TOLD_AGAIN_MIN: Duration = Duration::from_millis(250);
const TOLD_AGAIN_MAX: Duration = Duration::from_secs(5);

impl ReplicaGroup {
    /// Asks the voters, all at once; what they answer counts while the ballot lasts.
    pub(super) fn ask_for_votes(self: &Arc<Self>, epoch: Epoch, voters: BTreeSet<NodeName>, is_trial: bool) {
        let rank = self.rank();
        if !is_trial {
            tracing::warn!(%epoch, operations = rank.operations, "asking for votes");
        }
        for (node, endpoint) in self.endpoints_of(&voters) {
            let (group, epoch) = (Arc::clone(self), epoch.clone());
            self.spawn(async move {
                let control = Control::Vote { epoch: epoch.to_string(), rank, is_trial };
                let within = Duration::from_millis(BALLOT_WITHIN.0);
                let Ok(Ok((answerer, answer))) = timeout(within, say(&group, &endpoint, &control)).await else {
                    return;
                };
                if answerer != node {
                    tracing::warn!(%endpoint, expected = %node, %answerer, "another node listens where a voter should");
                    return;
                }
                if !answer.is_granted {
                    tracing::info!(voter = %node, reason = answer.reason, "a vote was not given");
                    let known = answer.epoch.as_deref().and_then(|known| Epoch::parse(known).ok());
                    if let (Some(known), Some(leader)) = (&known, answer.leader) {
                        // It leads: there is nothing to vote about, but to follow it.
                        let host = endpoint.rsplit_once(':').map_or("", |(host, _)| host);
                        group.see_epoch(known, Some((format!("{host}{leader}"), None)));
                    }
                    let random = entropy::random_u64();
                    group.decide(|replica, now| replica.refused(now, &node, &epoch, known.as_ref(), random));
                    return;
                }
                let actions = group.decide(|replica, now| replica.voted(now, &node, &epoch, is_trial));
                if let Err(error) = group.enact(actions) {
                    tracing::error!(%error, "this node was elected, and cannot lead");
                }
            });
        }
    }

    /// Asks the voters and the old leader whether anything is against this node's leading, before an operator has it do so
    /// without force. Who is not reached is not waited for, but more than half of three or more voters must be.
    pub(super) async fn ask_before_promotion(self: &Arc<Self>, epoch: &Epoch) -> Result<(), Denied> {
        let me = &self.databases.origin().node;
        let voters: BTreeSet<String> = self.voter_endpoints().into_iter().collect();
        let mut asked = voters.clone();
        asked.extend(self.leader_endpoint());
        let control = Control::Vote { epoch: epoch.to_string(), rank: self.rank(), is_trial: true };
        let asking = asked.into_iter().map(async |endpoint| {
            let answered = timeout(ASKED_WITHIN, say(self, &endpoint, &control)).await.ok()?.ok()?;
            Some((endpoint, answered))
        });
        let answers: Vec<_> = futures_util::future::join_all(asking).await.into_iter().flatten().collect();
        for (_, (node, answer)) in &answers {
            if !answer.is_granted && node != me {
                let reason = answer.reason.clone().unwrap_or_default();
                return Err(Denied::Opposed { node: node.clone(), reason });
            }
        }
        let reached = 1 + answers.iter().filter(|(endpoint, _)| voters.contains(endpoint)).count();
        let counted = 1 + voters.len();
        if counted >= MAJORITY_FROM && reached <= counted / 2 {
            return Err(Denied::NoMajority { reached, voters: counted });
        }
        Ok(())
    }

    fn endpoints_of(&self, voters: &BTreeSet<NodeName>) -> Vec<(NodeName, String)> {
        let decided = self.decided();
        let listed = decided.remembered.voters.iter().filter_map(|voter| {
            let node = NodeName::parse(&voter.node).ok().filter(|node| voters.contains(node))?;
            Some((node, voter.endpoint.clone()))
        });
        listed.collect()
    }

    /// Tells the old leader, the voters and who followed this node that it leads: each until it has heard it, for as long
    /// as this node leads in that epoch.
    pub(super) fn tell_the_others(self: &Arc<Self>, epoch: &Epoch, old_leader: Option<String>) {
        let mut endpoints: BTreeSet<String> = self.voter_endpoints().into_iter().collect();
        endpoints.extend(old_leader);
        endpoints.extend(self.followers().values().filter_map(|follower| follower.replication_endpoint.clone()));
        endpoints.retain(|endpoint| endpoint.split_once(':').is_some_and(|(host, _)| !host.is_empty()));
        for endpoint in endpoints {
            let (group, epoch) = (Arc::clone(self), epoch.clone());
            self.spawn(async move { group.tell_until_heard(epoch, endpoint).await });
        }
    }

    async fn tell_until_heard(self: Arc<Self>, epoch: Epoch, endpoint: String) {
        let mut pause = TOLD_AGAIN_MIN;
        loop {
            if !self.is_leader() || self.epoch().as_ref() != Some(&epoch) {
                return;
            }
            // Until the port is open, nobody could follow.
            if let Some(port) = self.listening_port() {
                let http = self.introduction().http_endpoint;
                let control = Control::Follow { epoch: epoch.to_string(), leader: format!(":{port}"), http };
                match say(&self, &endpoint, &control).await {
                    Ok((node, answer)) => {
                        let known = answer.epoch.as_deref().and_then(|known| Epoch::parse(known).ok());
                        if let Some(known) = known {
                            self.see_epoch(&known, None);
                        }
                        tracing::info!(%node, is_granted = answer.is_granted, "told that this node leads");
                        return;
                    }
                    Err(error) => tracing::debug!(endpoint, %error, "not told yet that this node leads"),
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(TOLD_AGAIN_MAX);
        }
    }

    /// Asks those that may have elected another leader meanwhile. Gives its epoch, if there is one.
    pub(super) async fn ask_who_leads(self: &Arc<Self>) -> Option<Epoch> {
        let asking = self.voter_endpoints().into_iter().map(async |endpoint| {
            let ask = async {
                let (mut reader, mut writer) = connect(self, &endpoint).await.ok()?;
                let me = self.introduction();
                greeting::dial((&mut reader, &mut writer), &me, Purpose::Control, &self.secret()).await.ok()
            };
            let host = timeout(ASKED_WITHIN, ask).await.ok().flatten()?;
            let leader = if host.is_leader {
                Some((endpoint, host.http_endpoint))
            } else {
                host.leader.map(|leader| (leader, None))
            };
            Some((host.epoch?, leader))
        });
        let told = futures_util::future::join_all(asking).await.into_iter().flatten();
        let known = self.epoch();
        let newest = told.max_by(|(one, _), (other, _)| one.cmp(other))?;
        let (epoch, leader) = newest;
        if known.is_some_and(|known| known >= epoch) || epoch.leader == self.databases.origin().node {
            return None;
        }
        if let Some((endpoint, http)) = leader {
            self.name_leader(endpoint, http);
        }
        Some(epoch)
    }
}
