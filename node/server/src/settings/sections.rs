//! The settings as plain data: one struct per section of `appsettings.json`.
//!
//! There are no handles, clocks or channels in here, and no defaults either: those, with an
//! explanation of every key, are in [`super::keys`], and [`Settings::default`] is built from them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::secret::Secret;

/// Everything the node can be told before it starts.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Settings {
    /// Addresses to listen on, separated by `;`.
    pub urls: String,
    /// Identity, storage place, peers and background work.
    pub node: NodeSettings,
    /// Leader, follower or neither.
    pub replication: ReplicationSettings,
    /// Who may call.
    pub auth: AuthSettings,
    /// How fast each key may call.
    pub rate_limit: RateLimitSettings,
    /// Certificate of `https://` addresses.
    pub tls: TlsSettings,
    /// What browsers may call from elsewhere.
    pub studio: StudioSettings,
    /// What is logged, and how.
    pub logging: LoggingSettings,
    /// Upper bounds on what a caller can ask for.
    pub limits: LimitSettings,
    /// What one query may use, and how many run.
    pub query: QuerySettings,
    /// Memory and durability trade-offs of the store.
    pub storage: StorageSettings,
    /// How the node stops.
    pub shutdown: ShutdownSettings,
}

/// The `Node` section.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct NodeSettings {
    /// Name of this node among its peers.
    pub node_id: String,
    /// Secret shared by the nodes of a cluster.
    pub replication_api_key: Secret,
    /// Where databases are kept; relative to the working directory.
    pub data_directory: PathBuf,
    /// How concurrent writes to a document are settled.
    pub conflict_resolution_policy: ConflictResolutionPolicy,
    /// Collections that settle them in another way.
    pub collection_conflict_policies: Vec<CollectionConflictPolicy>,
    /// How far ahead a stamp may be before it is called suspect, in seconds.
    pub max_clock_skew_seconds: u64,
    /// Days after which an unseen member can be fenced.
    pub peer_lease_days: u64,
    /// Seconds between two looks at every peer.
    pub sweep_interval_seconds: u64,
    /// Operations per push and per pull.
    pub replication_batch_size: usize,
    /// Peers served in parallel.
    pub replication_peer_concurrency: usize,
    /// Budget for connecting, sending and hearing back about a hint, in milliseconds.
    pub replication_signal_ack_timeout_milliseconds: u64,
    /// Seconds between two cache sweeps.
    pub cache_cleanup_interval_seconds: u64,
    /// Expired entries removed per sweep step.
    pub cache_cleanup_batch_size: usize,
    /// Sweep steps per sweep and database.
    pub cache_cleanup_max_scan_pages: usize,
    /// When a write of the cache is answered if it does not say itself.
    pub cache_durability: CacheDurability,
    /// Most that the cache of a database may take, in megabytes; 0 for no bound.
    pub cache_max_megabytes: u64,
    /// Whether old operations are removed from the log.
    pub operation_log_pruning_enabled: bool,
    /// Youngest age of a pruned operation, in days.
    pub operation_log_retention_days: u64,
    /// Operations always kept behind the slowest peer.
    pub operation_log_retain_recent_operations: u64,
    /// Most megabytes of the log before age and peers no longer count; zero for no bound.
    pub operation_log_max_megabytes: u64,
    /// Minutes for which the marker of a deleted document stays after every member knows of it.
    pub tombstone_retention_minutes: u64,
    /// Minutes between two prunings.
    pub operation_log_pruning_interval_minutes: u64,
    /// Operations pruned per database and run.
    pub operation_log_pruning_batch_size: usize,
    /// Days for which a pruned operation is still recognised.
    pub operation_receipt_retention_days: u64,
    /// Receipts removed per database and run.
    pub operation_receipt_pruning_batch_size: usize,
    /// Peers known from the start.
    pub seed_peers: Vec<SeedPeer>,
}

/// When a write of the cache is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum CacheDurability {
    /// Once it is on disk.
    Fsync,
    /// At once; it is on disk within a second.
    Relaxed,
}

/// How concurrent writes to one document are settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum ConflictResolutionPolicy {
    /// The write with the latest stamp is shown.
    LastWriterWins,
    /// Each field shows its latest change.
    MergeFields,
    /// What arrives from a peer is shown.
    ApplyIncoming,
    /// What this node had is shown.
    KeepLocal,
}

/// A collection that settles conflicts in its own way.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CollectionConflictPolicy {
    /// The collection.
    pub collection: String,
    /// The database that it is in; every one when absent.
    pub database: Option<String>,
    /// How.
    pub policy: ConflictResolutionPolicy,
}

/// A peer named in the settings.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SeedPeer {
    /// The peer's name.
    pub node_id: String,
    /// Where it answers.
    pub base_url: String,
    /// Whether to exchange with it.
    pub is_active: bool,
    /// Databases exchanged with it; absent means all.
    pub databases: Option<Vec<String>>,
    /// Accepted from older files, not used.
    pub updated_utc: Option<String>,
}

/// The `Replication` section.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ReplicationSettings {
    /// What this node is when it starts for the first time.
    pub role: ReplicationRole,
    /// Port for followers; 0 takes a free one.
    pub port: u16,
    /// Where that port is open, as [`super::url::parse_host`] reads it.
    pub bind_address: String,
    /// The leader's machine; empty when this node follows nobody.
    pub leader_host: String,
    /// The leader's port for followers.
    pub leader_port: u16,
    /// What leader and followers prove to know; empty for nothing.
    pub secret: Secret,
    /// When a follower stands for the leader's place.
    pub auto_failover: AutoFailoverSettings,
    /// Followers that must have a write before it is answered as replicated.
    pub min_sync_replicas: usize,
    /// Longest wait for them, in seconds.
    pub sync_timeout_seconds: u64,
    /// Whether a follower passes writes on to its leader.
    pub forward_writes: bool,
    /// Who is told of a change of leader; empty for nobody.
    pub webhook: String,
    /// Where clients reach this node; empty for the first of its addresses.
    pub public_base_url: String,
    /// Encryption of the stream.
    pub tls: ReplicationTlsSettings,
}

/// What a node is beside the mesh of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicationRole {
    /// Neither of the others.
    None,
    /// It feeds followers.
    Leader,
    /// It follows a leader.
    Follower,
}

/// The `Replication:AutoFailover` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AutoFailoverSettings {
    /// Seconds without a word of the leader; 0 for never.
    pub silence_seconds: u64,
    /// The port to feed followers on from then on; 0 for the leader's.
    pub new_leader_port: u16,
}

/// The `Replication:Tls` section.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ReplicationTlsSettings {
    /// Whether the stream is encrypted.
    pub enabled: bool,
    /// PEM file with the certificate chain that followers are shown.
    pub certificate_path: Option<PathBuf>,
    /// PEM file with its private key.
    pub key_path: Option<PathBuf>,
    /// PEM file with the certificates that a leader's is checked against.
    pub ca_path: Option<PathBuf>,
}

impl ReplicationSettings {
    /// The port on which this node feeds followers once it has taken the leader's place by itself.
    pub fn port_after_failover(&self) -> u16 {
        match self.auto_failover.new_leader_port {
            0 => self.leader_port,
            port => port,
        }
    }

    /// The port on which others connect to this node, and the key that names it: a follower listens where it would lead.
    pub fn port_to_lead(&self) -> (&'static str, u16) {
        const LATER: &str = "AutoFailover:NewLeaderPort";
        match self.role {
            ReplicationRole::Follower if self.auto_failover.new_leader_port != 0 || self.is_auto_failover() => {
                (LATER, self.port_after_failover())
            }
            ReplicationRole::None | ReplicationRole::Leader | ReplicationRole::Follower => ("Port", self.port),
        }
    }

    /// Whether the leader's place is taken without an operator.
    pub fn is_auto_failover(&self) -> bool {
        self.role == ReplicationRole::Follower && self.auto_failover.silence_seconds > 0
    }
}

/// The `Auth` section.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AuthSettings {
    /// The key with every right.
    pub root_api_key: Secret,
    /// Keys with chosen rights.
    pub api_keys: Vec<ApiKeySettings>,
    /// Whether default keys may be used on addresses that other machines can reach.
    pub allow_insecure_defaults: bool,
}

/// One key with chosen rights.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ApiKeySettings {
    /// Name shown in logs and metrics instead of the key.
    pub name: String,
    /// The key itself, or its hash.
    pub key: Secret,
    /// Databases it may touch; `*` is all.
    pub databases: Vec<String>,
    /// What it may do there.
    pub roles: RoleSettings,
    /// A rate of its own.
    pub rate_limit: RateLimitOverride,
}

/// The roles of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub struct RoleSettings {
    /// May create a database.
    pub add_db: bool,
    /// May drop a database.
    pub delete_db: bool,
    /// May read documents.
    pub read_document: bool,
    /// May create documents.
    pub write_document: bool,
    /// May change documents.
    pub update_document: bool,
    /// May delete documents.
    pub delete_document: bool,
    /// May make and drop indexes.
    pub manage_index: bool,
}

/// A key's own rate, where it differs from `RateLimit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RateLimitOverride {
    /// Requests per second in the long run.
    pub requests_per_second: Option<u32>,
    /// Requests that may come at once.
    pub burst: Option<u32>,
}

/// The `RateLimit` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RateLimitSettings {
    /// Whether requests are counted at all.
    pub enabled: bool,
    /// Requests per second of each key in the long run.
    pub requests_per_second: u32,
    /// Requests of each key that may come at once.
    pub burst: u32,
}

/// The `Tls` section.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TlsSettings {
    /// PEM file with the certificate chain, the node's own first.
    pub certificate_file: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    pub private_key_file: Option<PathBuf>,
}

/// The `Studio` section.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct StudioSettings {
    /// Origins that browsers may call from; empty means this machine's.
    pub cors_origins: Vec<String>,
}

/// The `Logging` section.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct LoggingSettings {
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// A level, or filter directives such as `info,holdfast=debug`.
    pub level: String,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line, for machines.
    Json,
}

/// The `Limits` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct LimitSettings {
    /// Largest request body, in bytes.
    pub request_bytes_max: usize,
    /// Largest document, in bytes of its JSON text.
    pub document_bytes_max: usize,
    /// Writes that may wait for the writer of one database.
    pub queue_writes_max: usize,
    /// Seconds within which a request body must have arrived.
    pub body_read_timeout_seconds: u64,
    /// Connections open at once, over all addresses.
    pub connections_max: usize,
    /// Seconds a connection may stay without sending a complete request head.
    pub connection_idle_seconds: u64,
}

/// The `Query` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct QuerySettings {
    /// Documents and index entries that one query may look at.
    pub max_examined_documents: u64,
    /// Seconds that one query may take.
    pub timeout_seconds: u64,
    /// Seconds that an answer in lines may wait for its reader.
    pub unread_seconds: u64,
    /// Megabytes that one query may hold.
    #[serde(rename = "MaxMemoryMB")]
    pub max_memory_megabytes: u64,
    /// Megabytes of rows in one answer.
    #[serde(rename = "MaxResultMB")]
    pub max_result_megabytes: u64,
    /// Queries that run at once.
    pub max_running: usize,
    /// Queries that wait for a place.
    pub max_waiting: usize,
    /// Milliseconds from which on a query is logged; zero for none.
    pub slow_milliseconds: u64,
}

/// The `Storage` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct StorageSettings {
    /// Page cache of each database's data file, in megabytes.
    pub data_cache_megabytes: usize,
    /// Page cache of each database's log file, in megabytes.
    pub log_cache_megabytes: usize,
    /// Longest time between two durable commits of the data file, in seconds.
    pub durable_data_seconds: u64,
    /// Most logged megabytes between two durable commits of the data file.
    pub durable_data_megabytes: u64,
}

/// The `Shutdown` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ShutdownSettings {
    /// Seconds that running work gets to finish.
    pub deadline_seconds: u64,
}
