//! Watching the leader: time passes, and the rules say when it has been silent for too long.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::time::Millis;

use crate::databases::{Closed, ClosedReason, Gate};
use crate::replica::ReplicaGroup;
use crate::telemetry::seldom::Seldom;
use crate::{clock, entropy};

/// How often the rules are asked while something is watched, and while nothing is.
const LOOKS_EVERY: Duration = Duration::from_millis(50);
const RESTS_FOR: Duration = Duration::from_millis(500);

/// A process whose tasks slept for so long over their time was frozen, or its machine slept.
const FROZEN_FROM: Duration = Duration::from_secs(2);

impl ReplicaGroup {
    /// Takes over when the leader is silent for so long; never, with `None`.
    pub fn watch(self: &Arc<Self>, silence: Option<Duration>) {
        let silence = silence.map(|silence| Millis(u64::try_from(silence.as_millis()).unwrap_or(u64::MAX)));
        self.decide(|replica, now| replica.watch(silence, now));
    }

    /// As the settings say, or as an operator has chosen since.
    pub(super) fn watch_as_chosen(self: &Arc<Self>) {
        let silence = self.decided().remembered.choices.silence(&self.options);
        self.watch(silence);
    }

    /// Lets time pass, until the node stops.
    pub(super) async fn pass_time(self: Arc<Self>) {
        let unelected = Seldom::every(Duration::from_secs(30));
        loop {
            let is_watching = self.decided().replica.is_watching();
            let slept_at = clock::monotonic();
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(if is_watching { LOOKS_EVERY } else { RESTS_FOR }) => {}
            }
            if slept_at.elapsed() > FROZEN_FROM && self.is_leader() {
                self.look_around().await;
            }
            let actions = self.decide(|replica, now| replica.tick(now, entropy::random_u64()));
            if let Err(error) = self.enact(actions) {
                tracing::error!(%error, "what the silence of the leader asks for could not be done");
            }
            let lost = self.decided().replica.unelected();
            if let Some(lost) = lost
                && unelected.is_due(clock::monotonic()).is_some()
            {
                tracing::warn!(
                    votes = lost.votes,
                    voters = lost.voters,
                    needed = lost.needed(),
                    "the leader is silent, and this node was not elected in its place; it is tried again. Voters that are gone \
                     for good are forgotten by a leader ('/replication/forget'); without one, promote a node by force"
                );
            }
        }
    }

    /// A leader that was frozen may have a successor: it takes no writes until it has asked.
    async fn look_around(self: &Arc<Self>) {
        self.databases.gate().set(Gate::Closed(Closed::because(ClosedReason::Starting)));
        tracing::warn!(
            "this node was frozen while it led: it asks whether another leads by now before it takes writes again"
        );
        if let Some(epoch) = self.ask_who_leads().await {
            self.see_epoch(&epoch, None);
        }
        self.set_gate();
    }
}
