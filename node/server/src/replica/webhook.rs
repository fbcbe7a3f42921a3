//! Telling somebody of a change of leader: `Replication:Webhook`.
//!
//! What it does not do: try for ever. An operator's tool that is away for longer than the attempts last finds the same in
//! `GET /replication/status`, the metrics and the log.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::replica::epoch::Epoch;
use serde_json::json;

use crate::clock;
use crate::replica::ReplicaGroup;

/// Attempts, and the pause after the first of them; each is twice as long as the one before.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

impl ReplicaGroup {
    /// Tells the address of the settings that this node has begun to lead, or to follow, in an epoch.
    pub(super) fn tell_webhook(self: &Arc<Self>, event: &'static str, epoch: &Epoch, was_elected: bool) {
        let Some(address) = self.options.webhook.clone() else { return };
        let body = json!({
            "event": event,
            "node": self.databases.origin().node.as_str(),
            "epoch": epoch.number,
            "leader": epoch.leader.as_str(),
            "autoFailover": was_elected,
            "httpEndpoint": self.options.http_endpoint,
            "replicationPort": self.listening_port(),
            "nowMillis": clock::now_millis(),
        })
        .to_string();
        let group = Arc::clone(self);
        self.spawn(async move {
            tokio::select! {
                () = group.stop.cancelled() => {}
                () = tell(address.expose(), &body) => {}
            }
        });
    }
}

async fn tell(address: &str, body: &str) {
    let client = match reqwest::Client::builder().timeout(ANSWER_WITHIN).build() {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "Replication:Webhook cannot be called");
            return;
        }
    };
    let mut pause = PAUSE;
    for attempt in 1..=ATTEMPTS {
        let request = client.post(address).header("Content-Type", "application/json").body(body.to_owned());
        let answered = request.send().await.and_then(reqwest::Response::error_for_status);
        match answered {
            Ok(_) => return,
            // The address itself is not told: it may carry a key.
            Err(error) => tracing::warn!(attempt, error = %error.without_url(), "Replication:Webhook was not told"),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}
