//! Leading and following by calls. What each decides, and refuses, is what the routes of `/replication` do.

use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use holdfast_core::id::NodeName;
use holdfast_core::replica::role::Role;
use tokio_util::sync::CancellationToken;

use super::EmbeddedNode;
use crate::replica::GroupError;
use crate::replica::events::{GroupEvent, GroupEvents};
use crate::replica::handover::HandedOver;
use crate::replica::status::GroupStatus;
use crate::settings::secret::Secret;

/// Numbers of operations (`..._seq`) count what a node knows, of all its databases together.
impl EmbeddedNode {
    /// Leads from now on: followers may connect to this port, 0 for one that is free. Gives the port.
    ///
    /// `shared_secret` takes the place of `Replication:Secret`, if given.
    ///
    /// # Errors
    ///
    /// When the node leads or follows already, the port cannot be opened, or other machines could reach it without a secret.
    pub async fn start_logical_replication_server(
        &self,
        port: u16,
        shared_secret: Option<&str>,
    ) -> Result<u16, GroupError> {
        self.group.start_leader(Some(port), shared_secret.map(Secret::new)).await
    }

    /// Follows the leader at this host and port from now on: takes no writes, and has what the leader has. The connection is
    /// made in the background, again and again; [`Self::events`] and [`Self::replication_status`] tell how it goes.
    ///
    /// A node that follows already follows the named leader from now on. One that belongs to another group, or holds what the
    /// leader's group has never seen, is not let in: see [`Self::force_logical_replication_follower`].
    ///
    /// # Errors
    ///
    /// When the node leads, or other machines could reach it without a secret.
    pub fn start_logical_replication_follower(
        &self,
        host: &str,
        port: u16,
        shared_secret: Option<&str>,
    ) -> Result<(), GroupError> {
        self.group.start_follower(host, port, shared_secret.map(Secret::new), false)
    }

    /// The same for a node of another group: it leaves that one, and what it holds is merged into the leader's.
    ///
    /// # Errors
    ///
    /// As [`Self::start_logical_replication_follower`].
    pub fn force_logical_replication_follower(
        &self,
        host: &str,
        port: u16,
        shared_secret: Option<&str>,
    ) -> Result<(), GroupError> {
        self.group.start_follower(host, port, shared_secret.map(Secret::new), true)
    }

    /// Neither leads nor follows any more. What is here stays, and writes are taken.
    ///
    /// # Errors
    ///
    /// When that cannot be written down; nothing has changed then.
    pub async fn stop_logical_replication(&self) -> Result<(), GroupError> {
        self.group.stop_role().await
    }

    /// What this node is: `leader`, `follower` or `none`.
    pub fn replication_role(&self) -> &'static str {
        self.group.role().as_str()
    }

    /// Everything about how this node leads or follows. It looks into the logs, for what followers lack.
    pub fn replication_status(&self) -> GroupStatus {
        tokio::task::block_in_place(|| self.group.status())
    }

    /// What happens in the group from now on.
    pub fn events(&self) -> GroupEvents {
        self.group.events()
    }

    /// Operations that this leader knows; 0 unless it leads.
    pub fn leader_current_seq(&self) -> u64 {
        if self.group.is_leader() { self.group.operations() } else { 0 }
    }

    /// Followers that are connected.
    pub fn logical_follower_count(&self) -> usize {
        self.group.connected_followers()
    }

    /// Operations that this follower knows; 0 unless it follows.
    pub fn follower_last_seq(&self) -> u64 {
        if self.group.role() == Role::Follower { self.group.operations() } else { 0 }
    }

    /// Operations taken in from a leader since the node was opened; a transaction counts once.
    pub fn logically_replicated_ops(&self) -> u64 {
        self.group.counts().applied.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Times since the node was opened that operations before one that came were missing. They were asked for again each
    /// time: nothing was lost by it.
    pub fn gaps_detected(&self) -> u64 {
        self.group.counts().gaps.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// How long ago the leader was last heard; `None` if it never was, or this node does not follow.
    pub fn last_leader_message(&self) -> Option<Duration> {
        self.group.leader_silent_for()
    }

    /// The number of the newest epoch: each change of leader has a greater one, kept over restarts. 0 before there is any.
    pub fn leader_term(&self) -> u64 {
        self.group.epoch_number()
    }

    /// Stops or allows writes of clients on a node that would take them; kept over restarts.
    ///
    /// # Errors
    ///
    /// When a follower is to take writes, or the choice cannot be written down.
    pub fn set_read_only(&self, is_read_only: bool) -> Result<(), GroupError> {
        self.group.set_read_only(is_read_only)
    }

    /// Whether clients are refused writes now, for whatever reason.
    pub fn is_read_only(&self) -> bool {
        self.group.databases().gate().closed().is_some()
    }

    /// The first step of a handover by hand: stops writes here, and waits until `follower_last_seq` says that the new leader
    /// knows as much as this one. Gives that number. Now [`Self::promote_to_leader`] on the other node takes the lead, and
    /// this one follows it.
    ///
    /// # Errors
    ///
    /// When it takes longer than `within`. Writes are taken again then, and also when the caller stops waiting.
    pub async fn begin_planned_handover(
        &self,
        follower_last_seq: impl Fn() -> u64,
        within: Duration,
    ) -> Result<u64, GroupError> {
        self.group.begin_planned_handover(follower_last_seq, within).await
    }

    /// The whole handover in one call: to the follower of that name, or to the one that is furthest.
    ///
    /// # Errors
    ///
    /// When it does not work within that time. This node leads on then.
    pub async fn hand_over(&self, to: Option<&str>, within: Duration) -> Result<HandedOver, GroupError> {
        let to = to.map(NodeName::parse).transpose().map_err(|refusal| GroupError::Unknown(refusal.to_string()))?;
        // It goes on when the caller goes away: half of it must not stay.
        let group = Arc::clone(&self.group);
        let handing = tokio::spawn(async move { group.hand_over(to, within).await });
        handing.await.unwrap_or_else(|_| Err(GroupError::Handover("the handover broke off".to_owned())))
    }

    /// Makes this node the leader, at this port, 0 for one that is free. Gives the port. Other followers are told.
    ///
    /// # Errors
    ///
    /// While the leader is there and takes writes, this node lacks what it had, or other voters are against it; see
    /// [`Self::force_promote_to_leader`].
    pub async fn promote_to_leader(&self, port: u16) -> Result<u16, GroupError> {
        self.group.promote(Some(port), false).await
    }

    /// Makes this node the leader even beside one that is there, or while behind it. What the other took meanwhile is merged
    /// when both meet.
    ///
    /// # Errors
    ///
    /// When it leads already, or the port cannot be opened.
    pub async fn force_promote_to_leader(&self, port: u16) -> Result<u16, GroupError> {
        self.group.promote(Some(port), true).await
    }

    /// Has this follower stand for the leader's place when it has been silent for so long, at least a second; `new_port` is
    /// where it then leads, the one of the settings if `None`. `on_promoted` is called with the port, once, if that happens
    /// before [`Self::disable_auto_failover`].
    ///
    /// # Errors
    ///
    /// When the node does not follow.
    pub fn enable_auto_failover(
        &self,
        new_port: Option<u16>,
        silence: Duration,
        on_promoted: impl FnOnce(u16) + Send + 'static,
    ) -> Result<(), GroupError> {
        const SILENCE_MIN: Duration = Duration::from_secs(1);
        if silence < SILENCE_MIN {
            return Err(GroupError::Unknown(
                "a leader may be silent for a second at least: its heartbeats need it".to_owned(),
            ));
        }
        let promoted = self.await_promotion(on_promoted);
        self.group.enable_failover(silence, new_port)?;
        self.group.spawn(promoted);
        Ok(())
    }

    /// Leaves taking over to others. Safe to call at any time.
    ///
    /// # Errors
    ///
    /// When that cannot be written down.
    pub fn disable_auto_failover(&self) -> Result<(), GroupError> {
        self.stop_awaiting_promotion();
        self.group.disable_failover()
    }

    /// Whether this node leads because its leader fell silent.
    pub fn was_auto_failover_promoted(&self) -> bool {
        self.group.was_elected()
    }

    /// How many followers a write waits for, and for how long.
    pub fn min_sync_replicas(&self) -> (u64, Duration) {
        self.group.sync_replicas()
    }

    /// Sets how many followers must have a write before it is answered, and how long it waits for them.
    ///
    /// # Errors
    ///
    /// When the choice cannot be written down.
    pub fn set_min_sync_replicas(&self, count: u64, within: Duration) -> Result<(), GroupError> {
        self.group.set_sync_replicas(count, within)
    }

    fn await_promotion(
        &self,
        on_promoted: impl FnOnce(u16) + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let stop = CancellationToken::new();
        let before = {
            let mut awaiting = self.awaiting_promotion.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *awaiting, stop.clone())
        };
        before.cancel();
        let (mut events, group) = (self.group.events(), Arc::downgrade(&self.group));
        async move {
            let promoted = async {
                while let Some(event) = events.next().await {
                    if let GroupEvent::Leads { was_elected: true, port, .. } = event {
                        return Some(port);
                    }
                }
                None
            };
            let port = tokio::select! {
                () = stop.cancelled() => None,
                promoted = promoted => promoted,
            };
            if let (Some(port), Some(group)) = (port, group.upgrade()) {
                on_promoted(port.unwrap_or_else(|| group.port_to_lead()));
            }
        }
    }

    pub(super) fn stop_awaiting_promotion(&self) {
        self.awaiting_promotion.lock().unwrap_or_else(PoisonError::into_inner).cancel();
    }
}
