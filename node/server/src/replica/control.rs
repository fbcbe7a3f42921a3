//! What operators and other nodes ask of a node's role.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use holdfast_core::id::NodeName;
use holdfast_core::replica::epoch::Epoch;
use holdfast_core::replica::message::{Control, ControlAnswer, SyncReplicas};
use holdfast_core::replica::role::{Action, Denied, Rank, Replica, Role};
use tokio::time::timeout;

use crate::replica::listener::{at_host, say};
use crate::replica::{GroupError, ReplicaGroup, UpstreamAt};
use crate::settings::secret::Secret;

/// Longest time that a write waits for followers, whoever says so.
const SYNC_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// How long a leader is waited for that is told goodbye.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);
/// How long a database that was dropped at the leader may still be there when the lead is handed over.
const DROPPED_WITHIN: Duration = Duration::from_secs(2);

impl ReplicaGroup {
    /// Leads from now on, as an operator asks: on this port, or on the settings', with this secret, or the settings'. Gives
    /// the port.
    pub async fn start_leader(self: &Arc<Self>, port: Option<u16>, secret: Option<Secret>) -> Result<u16, GroupError> {
        if self.is_leader() {
            return Err(Denied::IsLeader.into());
        }
        if self.role() == Role::Follower {
            return Err(GroupError::Unknown(
                "this node follows: promote it ('/replication/promote'), or stop that first ('/replication/stop')"
                    .to_owned(),
            ));
        }
        self.take_fit_secret(secret)?;
        if let Err(error) = self.listen(port.unwrap_or_else(|| self.port_to_lead())).await {
            // A refusal changes nothing.
            self.take_secret(None)?;
            return Err(error);
        }
        self.choose_port(port);
        let actions = self.decide(Replica::lead)?;
        self.enact(actions)?;
        self.watch_as_chosen();
        Ok(self.listening_port().unwrap_or_else(|| self.port_to_lead()))
    }

    /// Follows from now on, as an operator asks. The connection is made in the background, and status tells how it goes.
    ///
    /// A node that follows already follows the named leader from now on. By force it leaves the group that it belongs to,
    /// and what it holds is merged into the one that it joins.
    pub fn start_follower(
        self: &Arc<Self>,
        host: &str,
        port: u16,
        secret: Option<Secret>,
        is_forced: bool,
    ) -> Result<(), GroupError> {
        match self.role() {
            Role::Leader => {
                return Err(GroupError::Unknown(
                    "this node leads: hand over ('/replication/handover'), or stop that first".to_owned(),
                ));
            }
            Role::Alone | Role::Follower => {}
        }
        // Whoever follows another from now on goes on with the secret that it has, unless one is given.
        if secret.is_some() || self.role() == Role::Alone {
            self.take_fit_secret(secret)?;
        }
        self.joins_by_force.store(is_forced, Ordering::Relaxed);
        let endpoint = format!("{host}:{port}");
        *self.upstream() = UpstreamAt { endpoint: Some(endpoint.clone()), ..UpstreamAt::default() };
        self.decided().remembered.leader = Some(endpoint);
        let actions = self.decide(Replica::follow);
        self.enact(actions)?;
        self.watch_as_chosen();
        self.listen_as_follower();
        self.begin_following()
    }

    /// Counts no more with a node that is gone for good: it votes no more, and is no follower.
    pub fn forget(&self, node: &NodeName) -> Result<(), GroupError> {
        if !self.is_leader() {
            return Err(Denied::IsNoLeader.into());
        }
        if self.followers().get(node).is_some_and(|follower| follower.connected.is_some()) {
            let stop = format!("'{node}' is connected: stop it there first ('/replication/stop')");
            return Err(GroupError::Unknown(stop));
        }
        self.let_go(node)
    }

    /// The same for a node that says so itself; its connection may still be ending.
    fn let_go(&self, node: &NodeName) -> Result<(), GroupError> {
        if !self.is_leader() {
            return Err(Denied::IsNoLeader.into());
        }
        let known = self.followers().remove(node);
        if let Some(stop) = known.as_ref().and_then(|follower| follower.stop.as_ref()) {
            stop.cancel();
        }
        let is_voter = self.decided().remembered.voters.iter().any(|voter| voter.node == node.as_str());
        if known.is_none() && !is_voter {
            return Err(GroupError::Unknown(format!("'{node}' is neither a voter nor a follower of this leader")));
        }
        if is_voter {
            self.count_voter(node, None);
        }
        tracing::info!(%node, "not counted with any more");
        Ok(())
    }

    /// Tells the leader that this node takes no part any more, so that nobody waits for its vote.
    async fn say_goodbye(&self) {
        let Some(leader) = self.leader_endpoint().filter(|_| self.role() == Role::Follower) else { return };
        let said = timeout(GOODBYE_WITHIN, say(self, &leader, &Control::Leave {})).await;
        let is_heard = matches!(said, Ok(Ok((_, ControlAnswer { is_granted: true, .. }))));
        if !is_heard && self.introduction().is_voter {
            tracing::warn!(
                leader,
                "the leader was not told that this node takes no part any more: have it forgotten there \
                 ('/replication/forget'), or its vote is waited for"
            );
        }
    }

    /// Neither leads nor follows any more: what was chosen for that is over too.
    pub async fn stop_role(self: &Arc<Self>) -> Result<(), GroupError> {
        self.end_following();
        self.say_goodbye().await;
        self.disconnect_followers();
        self.stop_listening();
        self.followers().clear();
        *self.upstream() = UpstreamAt::default();
        {
            let mut decided = self.decided();
            decided.remembered.leader = None;
            decided.remembered.leader_http = None;
            decided.remembered.voters.clear();
            decided.remembered.choices.port = None;
            decided.remembered.choices.silence = None;
        }
        self.lead_port.store(self.options.lead_port, Ordering::Relaxed);
        let actions = self.decide(Replica::stop);
        self.enact(actions)?;
        self.take_secret(None)
    }

    /// With which secret others are greeted from now on: the settings', if none is given. On disk before it is used.
    fn take_secret(&self, secret: Option<Secret>) -> Result<(), GroupError> {
        let secret = self.kept_secret.write(secret)?;
        *self.secret.lock().unwrap_or_else(PoisonError::into_inner) = secret;
        Ok(())
    }

    /// The same, unless anybody could connect with it.
    fn take_fit_secret(&self, secret: Option<Secret>) -> Result<(), GroupError> {
        self.take_secret(secret)?;
        let fit = self.refuse_open_port();
        if fit.is_err() {
            self.take_secret(None)?;
        }
        fit
    }

    /// The port on which it leads from now on; what is decided next writes it down.
    fn choose_port(&self, port: Option<u16>) {
        // Port 0 is for tests: each start has its own.
        let Some(port) = port.filter(|port| *port != 0) else { return };
        self.decided().remembered.choices.choose_port(Some(port), &self.options);
        self.lead_port.store(port, Ordering::Relaxed);
    }

    /// Stops or allows writes on a node that would take them.
    pub fn set_read_only(&self, is_read_only: bool) -> Result<(), GroupError> {
        if self.role() == Role::Follower {
            return if is_read_only { Ok(()) } else { Err(Denied::IsNoLeader.into()) };
        }
        self.decided().remembered.is_read_only = is_read_only;
        self.keep()?;
        self.set_gate();
        Ok(())
    }

    /// Promotes this node.
    pub async fn promote(self: &Arc<Self>, port: Option<u16>, is_forced: bool) -> Result<u16, GroupError> {
        if self.is_leader() {
            return Err(Denied::IsLeader.into());
        }
        // Looked at first, so that a refusal changes nothing; the port next, so that a port in use does not either.
        let mut would = self.decided().replica.clone();
        let (wanted, is_forced) = match would.promote(self.now(), self.behind(), is_forced) {
            Ok(wanted) => (wanted, is_forced),
            Err(Denied::LeaderIsThere(_) | Denied::Behind(_)) if self.leader_makes_way().await => (Vec::new(), true),
            Err(denied) => return Err(denied.into()),
        };
        let epoch = wanted.iter().find_map(|action| if let Action::Lead(epoch) = action { Some(epoch) } else { None });
        if let Some(epoch) = epoch.filter(|_| !is_forced && self.role() == Role::Follower) {
            self.ask_before_promotion(epoch).await?;
        }
        let behind = self.behind();
        self.listen(port.unwrap_or_else(|| self.port_to_lead())).await?;
        let actions = self.decide(|replica, now| replica.promote(now, behind, is_forced))?;
        self.choose_port(port);
        self.enact(actions)?;
        Ok(self.listening_port().unwrap_or_default())
    }

    /// How many operations this node is known to lack of its leader.
    pub fn behind(&self) -> u64 {
        self.upstream().leader_operations.saturating_sub(self.operations())
    }

    /// Takes over when the leader is silent for so long, on this port if one is named.
    pub fn enable_failover(self: &Arc<Self>, silence: Duration, port: Option<u16>) -> Result<(), GroupError> {
        if self.role() != Role::Follower {
            return Err(GroupError::Unknown(
                "Auto-failover requires the node to be a logical replication follower".to_owned(),
            ));
        }
        let is_another_port = port.is_some_and(|port| port != self.port_to_lead());
        self.choose_port(port);
        self.decided().remembered.choices.choose_silence(Some(silence), &self.options);
        self.keep()?;
        if is_another_port {
            self.stop_listening();
            self.listen_as_follower();
        }
        self.watch(Some(silence));
        // Whether it votes is said in the greeting: it greets anew.
        self.begin_following()
    }

    /// Leaves that to others.
    pub fn disable_failover(self: &Arc<Self>) -> Result<(), GroupError> {
        self.decided().remembered.choices.choose_silence(None, &self.options);
        self.keep()?;
        self.watch(None);
        if self.role() == Role::Follower { self.begin_following() } else { Ok(()) }
    }

    /// What another node says about who leads.
    pub async fn control(self: &Arc<Self>, control: Control, from: (&NodeName, IpAddr)) -> ControlAnswer {
        let done = match control {
            Control::Vote { epoch, rank, is_trial } => self.vote(&epoch, rank, is_trial),
            Control::TakeOver { epoch, operations, drops } => self.take_over(&epoch, operations, drops).await,
            Control::Leave {} => self.let_go(from.0).map_err(|error| error.to_string()),
            Control::Follow { epoch, leader, http } => self.follow_another(&epoch, &leader, http, from.1),
        };
        let known = {
            let decided = self.decided();
            let kept = decided.replica.kept();
            let promised = kept.promised.clone().filter(|_| kept.role != Role::Leader);
            kept.epoch.clone().max(promised).as_ref().map(Epoch::to_string)
        };
        let leader = self.listening_port().filter(|_| self.is_leader()).map(|port| format!(":{port}"));
        match done {
            Ok(()) => ControlAnswer { is_granted: true, reason: None, epoch: known, leader },
            Err(reason) => ControlAnswer { is_granted: false, reason: Some(reason), epoch: known, leader },
        }
    }

    fn vote(self: &Arc<Self>, epoch: &str, rank: Rank, is_trial: bool) -> Result<(), String> {
        let epoch = Epoch::parse(epoch).map_err(|refusal| refusal.to_string())?;
        let ours = self.rank();
        let asked = self.decide(|replica, now| replica.asked(now, &epoch, (rank, ours), is_trial));
        let actions = asked.map_err(|denied| denied.to_string())?;
        // On disk before it is said.
        self.enact(actions).map_err(|error| error.to_string())?;
        // What was confirmed to the leader while this was decided counts too; from now on nothing is.
        if rank < self.rank() {
            return Err(Denied::CandidateBehind.to_string());
        }
        if !is_trial {
            tracing::warn!(%epoch, "voted");
        }
        Ok(())
    }

    async fn take_over(self: &Arc<Self>, epoch: &str, operations: u64, drops: u64) -> Result<(), String> {
        let epoch = Epoch::parse(epoch).map_err(|refusal| refusal.to_string())?;
        let ours = self.operations();
        if ours < operations {
            return Err(Denied::Behind(operations - ours).to_string());
        }
        // A drop is not confirmed as operations are: it is under way.
        let mut changed = self.databases.changed();
        let told = async { while self.drops() < drops && changed.changed().await.is_ok() {} };
        if timeout(DROPPED_WITHIN, told).await.is_err() {
            return Err("this node has not dropped yet what the leader has".to_owned());
        }
        if self.listening_port().is_none() {
            self.listen(self.port_to_lead()).await.map_err(|error| error.to_string())?;
        }
        let actions =
            self.decide(|replica, now| replica.take_over(now, &epoch)).map_err(|denied| denied.to_string())?;
        self.enact(actions).map_err(|error| error.to_string())
    }

    fn follow_another(
        self: &Arc<Self>,
        epoch: &str,
        leader: &str,
        http: Option<String>,
        from: IpAddr,
    ) -> Result<(), String> {
        let epoch = Epoch::parse(epoch).map_err(|refusal| refusal.to_string())?;
        if let Some(known) = self.epoch().filter(|known| *known > epoch) {
            return Err(Denied::OldEpoch { known, given: epoch }.to_string());
        }
        let endpoint = at_host(leader, from);
        if self.role() == Role::Alone {
            return Err("this node takes no part in a group".to_owned());
        }
        self.see_epoch(&epoch, Some((endpoint, http)));
        Ok(())
    }

    /// How many followers must have a write before it is answered, and how long it waits for them.
    pub fn sync_replicas(&self) -> (u64, Duration) {
        *self.sync_replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an operator has chosen at the leader holds here too, should this node lead.
    pub(super) fn take_sync_replicas(&self, chosen: SyncReplicas) {
        let within = Duration::from_millis(chosen.timeout_millis).min(SYNC_TIMEOUT_MAX);
        if self.sync_replicas() == (chosen.min, within) {
            return;
        }
        if let Err(error) = self.set_sync_replicas(chosen.min, within) {
            tracing::warn!(%error, "how many followers a write waits for could not be written down");
        }
    }

    /// Changes that, until the settings are changed.
    pub fn set_sync_replicas(&self, min: u64, within: Duration) -> Result<(), GroupError> {
        self.decided().remembered.choices.choose_sync_replicas(min, within, &self.options);
        self.keep()?;
        *self.sync_replicas.lock().unwrap_or_else(PoisonError::into_inner) = (min, within);
        Ok(())
    }
}
