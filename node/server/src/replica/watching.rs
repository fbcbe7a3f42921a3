//! Watching the leader: time passes, and the rules say when it has been silent for too long.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::time::Millis;

use crate::entropy;
use crate::replica::ReplicaGroup;

/// How often the rules are asked while something is watched, and while nothing is.
const LOOKS_EVERY: Duration = Duration::from_millis(50);
const RESTS_FOR: Duration = Duration::from_millis(500);

impl ReplicaGroup {
    /// Takes over when the leader is silent for so long; never, with `None`.
    pub fn watch(self: &Arc<Self>, silence: Option<Duration>) {
        let silence = silence.map(|silence| Millis(u64::try_from(silence.as_millis()).unwrap_or(u64::MAX)));
        self.decide(|replica, now| replica.watch(silence, now));
    }

    /// Lets time pass, until the node stops.
    pub(super) async fn pass_time(self: Arc<Self>) {
        loop {
            let is_watching = self.decided().replica.is_watching();
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(if is_watching { LOOKS_EVERY } else { RESTS_FOR }) => {}
            }
            let actions = self.decide(|replica, now| replica.tick(now, entropy::random_u64()));
            if let Err(error) = self.enact(actions) {
                tracing::error!(%error, "what the silence of the leader asks for could not be done");
            }
        }
    }
}
