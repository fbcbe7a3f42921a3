//! Handing the lead over: planned, to a follower that has everything, and back if that does not work.
//!
//! ```text
//!   the follower is nearly there ─► no writes any more ─► it has all of it ─► "take over" ─► it leads, we follow
//!                                        └── too late, refused, or no answer ─► we lead again, in a later epoch
//! ```
//!
//! Must stay true: whichever way it ends, one of the two leads in the greatest epoch, and the other gives way when it hears
//! of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::replica::message::{Control, operations_of};
use holdfast_core::replica::role::{Denied, Replica};
use holdfast_core::vector::Position;
use tokio::time::timeout;

use crate::clock;
use crate::replica::listener::say;
use crate::replica::{GroupError, ReplicaGroup};

/// Operations that a follower may still lack when writes are stopped for it.
const NEARLY_THERE: u64 = 2_000;
/// Writes are not stopped for a follower that was silent for longer.
const HEARD_WITHIN: Duration = Duration::from_millis(2_500);
/// Longest time for which writes are stopped before this node leads on.
const STOPPED_FOR: Duration = Duration::from_secs(5);

/// What a handover came to.
#[derive(Debug, Clone)]
pub struct HandedOver {
    /// Who leads now.
    pub to: NodeName,
    /// In which epoch.
    pub epoch: String,
    /// Operations that both had when the lead changed.
    pub operations: u64,
    /// How long nobody took writes.
    pub unavailable: Duration,
}

impl ReplicaGroup {
    /// Hands the lead over to a follower; to the one that is furthest, if none is named.
    pub async fn hand_over(self: &Arc<Self>, to: Option<NodeName>, within: Duration) -> Result<HandedOver, GroupError> {
        let deadline = clock::monotonic() + within;
        if !self.is_leader() {
            return Err(Denied::IsNoLeader.into());
        }
        let (to, endpoint) = self.successor(to)?;
        self.until_reached(&to, deadline, |missing| missing <= NEARLY_THERE).await?;
        let (epoch, actions) = self.decide(|replica, _| replica.offer(&to))?;
        let begun = clock::monotonic();
        let deadline = deadline.min(begun + STOPPED_FOR);
        // From here every way out opens the gate again, here or there.
        let offered = match self.enact(actions) {
            Ok(()) => {
                // However the end of this lead is heard of, those who followed are told where it went.
                self.upstream().endpoint = Some(endpoint.clone());
                self.offer(&to, &endpoint, &epoch.to_string(), deadline).await
            }
            Err(error) => Err(error),
        };
        match offered {
            Ok((operations, leader, http)) => {
                self.see_epoch(&epoch, Some((leader, http)));
                let unavailable = begun.elapsed();
                tracing::info!(%to, %epoch, unavailable_ms = unavailable.as_millis(), "the lead was handed over");
                Ok(HandedOver { to, epoch: epoch.to_string(), operations, unavailable })
            }
            Err(error) => {
                tracing::warn!(%to, %error, "the handover came to nothing: this node leads on");
                let actions = self.decide(Replica::fail_back)?;
                self.enact(actions)?;
                Err(error)
            }
        }
    }

    /// With the gate closed: waits until the follower has everything, and lets it take over.
    async fn offer(
        self: &Arc<Self>,
        to: &NodeName,
        endpoint: &str,
        epoch: &str,
        deadline: Instant,
    ) -> Result<(u64, String, Option<String>), GroupError> {
        let failed = |reason: String| GroupError::Handover(reason);
        let ends = self.databases.barrier().await.map_err(|error| failed(error.to_string()))?;
        self.until_all_reached(to, &ends, deadline).await?;
        let operations = self.operations();
        let control = Control::TakeOver { epoch: epoch.to_owned(), operations, drops: self.drops() };
        let left = deadline.saturating_duration_since(clock::monotonic());
        let said = timeout(left, say(self, endpoint, &control)).await;
        let (node, answer) = said
            .map_err(|_| failed(format!("the follower '{to}' did not say in time whether it leads")))?
            .map_err(|error| failed(format!("the follower '{to}' could not be asked to take over: {error}")))?;
        if node != *to {
            return Err(failed(format!("the node '{node}' listens at {endpoint}, and not '{to}'")));
        }
        if !answer.is_granted {
            return Err(failed(format!(
                "the follower '{to}' does not take over: {}",
                answer.reason.unwrap_or_default()
            )));
        }
        let http = self.followers().get(to).and_then(|follower| follower.http_endpoint.clone());
        let leader = match answer.leader {
            Some(port) if port.starts_with(':') => {
                let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
                format!("{host}{port}")
            }
            Some(leader) => leader,
            None => endpoint.to_owned(),
        };
        Ok((operations, leader, http))
    }

    /// Who takes over, and where it is asked to.
    fn successor(&self, to: Option<NodeName>) -> Result<(NodeName, String), GroupError> {
        let followers = self.followers();
        let connected = followers.iter().filter(|(_, follower)| follower.connected.is_some());
        let listening: Vec<_> = connected
            .filter_map(|(node, follower)| Some((node, follower.replication_endpoint.clone()?, follower)))
            .collect();
        let unknown = |reason: String| GroupError::Unknown(reason);
        match to {
            Some(to) => {
                let found = listening.into_iter().find(|(node, _, _)| **node == to);
                let (node, endpoint, _) = found.ok_or_else(|| {
                    unknown(format!(
                        "'{to}' is no connected follower that listens for others; see GET /replication/status"
                    ))
                })?;
                Ok((node.clone(), endpoint))
            }
            None => {
                let reached = |reached: &BTreeMap<DatabaseName, super::Reached>| -> u64 {
                    reached.values().map(|one| one.through.0).sum()
                };
                let best = listening.into_iter().max_by_key(|(_, _, follower)| reached(&follower.reached));
                let (node, endpoint, _) = best.ok_or_else(|| {
                    unknown(
                        "no connected follower listens for others: start one with a free --replication-port".to_owned(),
                    )
                })?;
                Ok((node.clone(), endpoint))
            }
        }
    }

    /// Waits until a follower lacks so few operations.
    async fn until_reached(
        &self,
        node: &NodeName,
        deadline: Instant,
        is_enough: impl Fn(u64) -> bool,
    ) -> Result<(), GroupError> {
        let mut learned = self.learned.subscribe();
        loop {
            learned.borrow_and_update();
            let ends: BTreeMap<DatabaseName, Position> = self
                .databases
                .list()
                .into_iter()
                .filter_map(|listing| {
                    let open = self.databases.get(&listing.name).ok()?;
                    let newest = *open.newest().borrow();
                    Some((listing.name, newest))
                })
                .collect();
            let missing = self.missing(node, &ends)?;
            if is_enough(missing) && self.is_heard(node) {
                return Ok(());
            }
            self.wait(&mut learned, deadline, node, missing).await?;
        }
    }

    /// Waits until a follower has everything up to these positions, and of the caches.
    async fn until_all_reached(
        &self,
        node: &NodeName,
        ends: &BTreeMap<DatabaseName, Position>,
        deadline: Instant,
    ) -> Result<(), GroupError> {
        let mut learned = self.learned.subscribe();
        loop {
            learned.borrow_and_update();
            let missing = self.missing(node, ends)?;
            if missing == 0 {
                return Ok(());
            }
            self.wait(&mut learned, deadline, node, missing).await?;
        }
    }

    async fn wait(
        &self,
        learned: &mut tokio::sync::watch::Receiver<u64>,
        deadline: Instant,
        node: &NodeName,
        missing: u64,
    ) -> Result<(), GroupError> {
        let late = || {
            GroupError::Handover(format!(
                "the follower '{node}' did not catch up in time: it lacks {missing} operations"
            ))
        };
        let left = deadline.saturating_duration_since(clock::monotonic());
        let changed = timeout(left, learned.changed()).await.map_err(|_| late())?;
        changed.map_err(|_| late())
    }

    fn is_heard(&self, node: &NodeName) -> bool {
        let heard = self.followers().get(node).and_then(|follower| follower.heard);
        heard.is_some_and(|heard| heard.elapsed() < HEARD_WITHIN)
    }

    /// How many log entries up to these positions a follower lacks, and changes of the caches; an error when it is gone.
    fn missing(&self, node: &NodeName, ends: &BTreeMap<DatabaseName, Position>) -> Result<u64, GroupError> {
        let followers = self.followers();
        let follower = followers.get(node).filter(|follower| follower.connected.is_some());
        let follower = follower.ok_or_else(|| GroupError::Handover(format!("the follower '{node}' has gone")))?;
        let of = |(name, end): (&DatabaseName, &Position)| {
            let through = follower.reached.get(name).map_or(Position::START, |reached| reached.through);
            let of_cache = self.databases.get(name).ok().map_or(0, |open| {
                let ours = open.synced_view().and_then(|view| view.cache_state()).unwrap_or_default().vector;
                follower
                    .reached
                    .get(name)
                    .map_or_else(|| operations_of(&ours), |at| at.cache_vector.missing_from(&ours))
            });
            end.0.saturating_sub(through.0).saturating_add(of_cache)
        };
        Ok(ends.iter().map(of).fold(0, u64::saturating_add))
    }
}
