//! How a node takes part in its group, as the settings say.

use std::time::Duration;

use holdfast_core::replica::role::Role;
use holdfast_core::time::Millis;

use crate::settings::Settings;
use crate::settings::secret::Secret;
use crate::settings::sections::{ReplicationRole, ReplicationTlsSettings};

/// How a node takes part in its group.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// The role that the settings name.
    pub role: Role,
    /// Address that it is bound to.
    pub bind_address: String,
    /// The leader that the settings name, `host:port`.
    pub leader: Option<String>,
    /// What both sides must know.
    pub secret: Secret,
    /// After how long a silence a follower takes over.
    pub silence: Option<Duration>,
    /// The port on which it leads, or would: a follower listens on it too.
    pub lead_port: u16,
    /// How many followers must have a write before it is answered.
    pub min_sync_replicas: u64,
    /// How long a write waits for them.
    pub sync_timeout: Duration,
    /// Where this node's HTTP API is reached.
    pub http_endpoint: Option<String>,
    /// Who is told of a change of leader; it may carry a key.
    pub webhook: Option<Secret>,
    /// Whether connections are encrypted, and by which files.
    pub tls: ReplicationTlsSettings,
    /// Clocks further off than this are suspect.
    pub skew_max: Millis,
}

impl GroupOptions {
    /// As the settings say. `http_endpoint` is where the HTTP API is reached if they do not.
    pub fn from_settings(settings: &Settings, http_endpoint: Option<String>) -> Self {
        let replication = &settings.replication;
        let public = replication.public_base_url.trim_end_matches('/');
        let failover = &replication.auto_failover;
        Self {
            role: match replication.role {
                ReplicationRole::None => Role::Alone,
                ReplicationRole::Leader => Role::Leader,
                ReplicationRole::Follower => Role::Follower,
            },
            bind_address: replication.bind_address.trim_matches(['[', ']']).to_owned(),
            leader: (!replication.leader_host.is_empty())
                .then(|| format!("{}:{}", replication.leader_host, replication.leader_port)),
            secret: replication.secret.clone(),
            silence: (failover.silence_seconds > 0).then(|| Duration::from_secs(failover.silence_seconds)),
            lead_port: replication.port_to_lead().1,
            min_sync_replicas: replication.min_sync_replicas as u64,
            sync_timeout: Duration::from_secs(replication.sync_timeout_seconds),
            http_endpoint: if public.is_empty() { http_endpoint } else { Some(public.to_owned()) },
            webhook: Some(Secret::new(replication.webhook.trim())).filter(|webhook| !webhook.is_blank()),
            tls: replication.tls.clone(),
            skew_max: Millis(settings.node.max_clock_skew_seconds.saturating_mul(1_000)),
        }
    }

    /// What the settings say of the role, as one text: when it changes, it holds against what was remembered.
    pub(super) fn configured(&self) -> String {
        match (&self.role, &self.leader) {
            (Role::Follower, Some(leader)) => format!("follower of {leader}"),
            (role, _) => role.as_str().to_owned(),
        }
    }
}
