//! Every key there is: its kind, bounds, default and an explanation.
//!
//! This table is the only place of defaults and bounds. Layers are matched against it without
//! regard to case, `appsettings.json` is tested to equal it, and `config show --explain` prints it.
//! `#` in a path stands for an index into a list.

/// One key of the settings.
#[derive(Debug)]
pub struct Key {
    /// Sections and name, separated by `:`; `#` is an index.
    pub path: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// Its value when nobody sets it.
    pub default: Initial,
    /// What it does, for the reader of `config show --explain`.
    pub explanation: &'static str,
}

/// What values a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text.
    Text,
    /// A text that is never shown.
    Secret,
    /// `true` or `false`.
    Switch,
    /// A whole number within bounds, both included.
    Number {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    /// A list, whose elements are described by the paths that continue with `#`.
    List,
}

/// The value of a key that nobody sets.
#[derive(Debug, Clone, Copy)]
pub enum Initial {
    /// A text.
    Text(&'static str),
    /// A switch.
    Switch(bool),
    /// A number.
    Number(u64),
    /// A list without elements.
    EmptyList,
    /// No value; also for what every element of a list must be given.
    Absent,
}

/// Most elements in a list, so that an index cannot ask for memory.
pub const LIST_ELEMENTS_MAX: usize = 1_000;

/// Finds a key by its exact path.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

const fn text(path: &'static str, default: &'static str, explanation: &'static str) -> Key {
    Key { path, kind: Kind::Text, default: Initial::Text(default), explanation }
}

const fn optional_text(path: &'static str, explanation: &'static str) -> Key {
    Key { path, kind: Kind::Text, default: Initial::Absent, explanation }
}

const fn required_text(path: &'static str, explanation: &'static str) -> Key {
    text(path, "", explanation)
}

const fn secret(path: &'static str, default: &'static str, explanation: &'static str) -> Key {
    Key { path, kind: Kind::Secret, default: Initial::Text(default), explanation }
}

const fn switch(path: &'static str, default: bool, explanation: &'static str) -> Key {
    Key { path, kind: Kind::Switch, default: Initial::Switch(default), explanation }
}

const fn number(path: &'static str, default: u64, bounds: (u64, u64), explanation: &'static str) -> Key {
    let (min, max) = bounds;
    Key { path, kind: Kind::Number { min, max }, default: Initial::Number(default), explanation }
}

const fn optional_number(path: &'static str, bounds: (u64, u64), explanation: &'static str) -> Key {
    let (min, max) = bounds;
    Key { path, kind: Kind::Number { min, max }, default: Initial::Absent, explanation }
}

const fn choice(
    path: &'static str,
    default: &'static str,
    words: &'static [&'static str],
    explanation: &'static str,
) -> Key {
    Key { path, kind: Kind::Choice(words), default: Initial::Text(default), explanation }
}

const fn list(path: &'static str, explanation: &'static str) -> Key {
    Key { path, kind: Kind::List, default: Initial::EmptyList, explanation }
}

const fn optional_list(path: &'static str, explanation: &'static str) -> Key {
    Key { path, kind: Kind::List, default: Initial::Absent, explanation }
}

/// Every key, in the order of `appsettings.json`.
pub static KEYS: &[Key] = &[
    text(
        "Urls",
        "http://localhost:1446",
        "Addresses to listen on, separated by `;`: http:// or https:// and `localhost`, an IP address, or `*` for every address of this machine. Port 0 takes a free port.",
    ),
    text(
        "Node:NodeId",
        "node-1",
        "Name of this node; every node of a cluster needs its own. 1 to 64 letters, digits, `-`, `_` or `.`.",
    ),
    secret(
        "Node:ReplicationApiKey",
        "I_AM_ONE_OF_YOU",
        "Secret shared by all nodes of a cluster; peers send it in the ReplicationApiKey header.",
    ),
    text(
        "Node:DataDirectory",
        "./data",
        "Directory of the databases, relative to the working directory. One node at a time may use it.",
    ),
    choice(
        "Node:ConflictResolutionPolicy",
        "LastWriterWins",
        &["LastWriterWins", "MergeFields", "ApplyIncoming", "KeepLocal"],
        "How concurrent writes to one document are settled; every choice brings all nodes to the same state.",
    ),
    list(
        "Node:CollectionConflictPolicies",
        "Collections whose conflicts are settled in another way than Node:ConflictResolutionPolicy says.",
    ),
    required_text("Node:CollectionConflictPolicies:#:Collection", "The collection's name. Required."),
    optional_text(
        "Node:CollectionConflictPolicies:#:Database",
        "The database that it is in; every database when absent. One with a database goes before one without.",
    ),
    choice(
        "Node:CollectionConflictPolicies:#:Policy",
        "LastWriterWins",
        &["LastWriterWins", "MergeFields", "ApplyIncoming", "KeepLocal"],
        "How its conflicts are settled.",
    ),
    number(
        "Node:MaxClockSkewSeconds",
        60,
        (1, 86_400),
        "A stamp further ahead of this node's clock is called suspect and never drags the clock along.",
    ),
    number(
        "Node:PeerLeaseDays",
        30,
        (1, 3_650),
        "A member unseen for longer can be fenced, so that it no longer keeps deleted documents' markers alive.",
    ),
    number(
        "Node:SweepIntervalSeconds",
        60,
        (1, 3_600),
        "Seconds between two looks at every peer, for when a hint was lost.",
    ),
    number("Node:ReplicationBatchSize", 1_000, (1, 10_000), "Most operations in one push or pull."),
    number("Node:ReplicationPeerConcurrency", 4, (1, 32), "Peers that are exchanged with in parallel."),
    number(
        "Node:ReplicationSignalAckTimeoutMilliseconds",
        10_000,
        (1_000, 120_000),
        "Budget for connecting to a peer, sending it a hint and hearing back.",
    ),
    number(
        "Node:CacheCleanupIntervalSeconds",
        30,
        (1, 86_400),
        "Seconds between two sweeps of expired cache entries; expired entries are invisible at once, whatever this says.",
    ),
    number("Node:CacheCleanupBatchSize", 500, (1, 100_000), "Most expired entries removed in one step of a sweep."),
    number("Node:CacheCleanupMaxScanPages", 20, (1, 100_000), "Most steps of one sweep in one database."),
    choice(
        "Node:CacheDurability",
        "Fsync",
        &["Fsync", "Relaxed"],
        "Fsync: a write of the cache is answered once it is on disk. Relaxed: at once, and on disk within a second.",
    ),
    number(
        "Node:CacheMaxMegabytes",
        1_024,
        (0, 10_000_000),
        "Most that the cache of a database may take; beyond it new values are refused until others end. 0: no bound.",
    ),
    switch("Node:OperationLogPruningEnabled", true, "Whether operations that everyone has are removed from the log."),
    number("Node:OperationLogRetentionDays", 7, (0, 3_650), "Operations younger than this stay in the log."),
    number(
        "Node:OperationLogMaxMegabytes",
        0,
        (0, 10_000_000),
        "With a larger log, age and slow peers no longer keep operations; peers that need them get states. 0: no bound.",
    ),
    number(
        "Node:TombstoneRetentionMinutes",
        1_440,
        (0, 5_256_000),
        "Minutes for which the marker of a deleted document stays after every member knows of it.",
    ),
    number(
        "Node:OperationLogRetainRecentOperations",
        10_000,
        (0, 1_000_000),
        "Operations that stay in the log behind the slowest peer's checkpoint.",
    ),
    number("Node:OperationLogPruningIntervalMinutes", 60, (1, 1_440), "Minutes between two prunings."),
    number(
        "Node:OperationLogPruningBatchSize",
        1_000,
        (1, 10_000),
        "Most operations pruned in one step, between writes.",
    ),
    number(
        "Node:OperationReceiptRetentionDays",
        90,
        (1, 3_650),
        "Days for which a pruned operation is still recognised when it arrives again.",
    ),
    number("Node:OperationReceiptPruningBatchSize", 1_000, (1, 10_000), "Most receipts removed per database and run."),
    list(
        "Node:SeedPeers",
        "Peers known from the start; this node's own entry is skipped, so that all nodes can share one list.",
    ),
    required_text("Node:SeedPeers:#:NodeId", "The peer's name. Required."),
    required_text("Node:SeedPeers:#:BaseUrl", "Where the peer answers, such as http://10.0.0.2:1446. Required."),
    switch("Node:SeedPeers:#:IsActive", true, "Whether to exchange with this peer."),
    optional_list("Node:SeedPeers:#:Databases", "Databases exchanged with this peer; all of them when absent."),
    required_text("Node:SeedPeers:#:Databases:#", "A database's name, or `*`."),
    optional_text("Node:SeedPeers:#:UpdatedUtc", "Accepted so that older files stay valid; not used."),
    choice(
        "Replication:Role",
        "none",
        &["none", "leader", "follower"],
        "What this node is to others beside the mesh of peers: a leader feeds followers, a follower takes no writes of its own.",
    ),
    number(
        "Replication:Port",
        5_500,
        (0, 65_535),
        "Port on which this node feeds followers; it speaks no HTTP. 0 takes a free port.",
    ),
    text(
        "Replication:BindAddress",
        "127.0.0.1",
        "Where that port is open: an IP address of this machine, `localhost`, or `*` for every address.",
    ),
    text("Replication:LeaderHost", "", "Name or address of the leader's machine; for a follower, and needed by it."),
    number("Replication:LeaderPort", 5_500, (1, 65_535), "The leader's Replication:Port."),
    secret(
        "Replication:Secret",
        "",
        "Secret that leader and followers prove to each other without sending it. Empty: none is asked for.",
    ),
    number(
        "Replication:AutoFailover:SilenceSeconds",
        0,
        (0, 86_400),
        "A follower that hears nothing of its leader for so long stands for its place. 0: it waits for an operator.",
    ),
    number(
        "Replication:AutoFailover:NewLeaderPort",
        0,
        (0, 65_535),
        "Port on which it then feeds followers. 0: the one that the leader had, Replication:LeaderPort.",
    ),
    number(
        "Replication:MinSyncReplicas",
        0,
        (0, 16),
        "Followers that must have a write on disk before it is answered as replicated. 0: none is waited for.",
    ),
    number(
        "Replication:SyncTimeoutSeconds",
        5,
        (1, 600),
        "Longest wait for them; then the answer says that the write is durable here and not replicated.",
    ),
    switch(
        "Replication:ForwardWrites",
        false,
        "Whether a follower passes writes on to its leader, in place of answering 421 with the leader's address.",
    ),
    text(
        "Replication:Webhook",
        "",
        "Address that is told of a change of leader by POST, http:// or https://. Empty: none.",
    ),
    text(
        "Replication:PublicBaseUrl",
        "",
        "Where clients reach this node's HTTP, told to followers and by them to clients. Empty: the first of Urls.",
    ),
    switch("Replication:Tls:Enabled", false, "Whether the stream between leader and followers is encrypted."),
    optional_text(
        "Replication:Tls:CertificatePath",
        "PEM file with the certificate chain that this node shows to its followers.",
    ),
    optional_text("Replication:Tls:KeyPath", "PEM file with that certificate's private key."),
    optional_text(
        "Replication:Tls:CaPath",
        "PEM file with the certificates that a leader's may be signed by, or that may be a leader's themselves.",
    ),
    secret("Auth:RootApiKey", "root", "The key with every right, as text or as a hash from `holdfast keys hash`."),
    list("Auth:ApiKeys", "Keys with chosen rights; changes are taken up without a restart."),
    required_text("Auth:ApiKeys:#:Name", "Name shown in logs and metrics in place of the key. Required."),
    secret("Auth:ApiKeys:#:Key", "", "The key, as text or as a hash from `holdfast keys hash`. Required."),
    list("Auth:ApiKeys:#:Databases", "Databases the key may touch; `*` is all of them, none is none."),
    required_text("Auth:ApiKeys:#:Databases:#", "A database's name, or `*`."),
    switch("Auth:ApiKeys:#:Roles:ADD_DB", false, "May create a database."),
    switch("Auth:ApiKeys:#:Roles:DELETE_DB", false, "May drop a database."),
    switch("Auth:ApiKeys:#:Roles:READ_DOCUMENT", false, "May read documents."),
    switch("Auth:ApiKeys:#:Roles:WRITE_DOCUMENT", false, "May create documents."),
    switch("Auth:ApiKeys:#:Roles:UPDATE_DOCUMENT", false, "May change documents."),
    switch("Auth:ApiKeys:#:Roles:DELETE_DOCUMENT", false, "May delete documents."),
    switch("Auth:ApiKeys:#:Roles:MANAGE_INDEX", false, "May make and drop indexes."),
    optional_number(
        "Auth:ApiKeys:#:RateLimit:RequestsPerSecond",
        (1, 1_000_000),
        "This key's own RateLimit:RequestsPerSecond.",
    ),
    optional_number("Auth:ApiKeys:#:RateLimit:Burst", (1, 10_000_000), "This key's own RateLimit:Burst."),
    switch(
        "Auth:AllowInsecureDefaults",
        false,
        "Lets the default keys be used on addresses that other machines can reach. For trials only.",
    ),
    switch(
        "RateLimit:Enabled",
        false,
        "Whether requests are limited per key; too many are answered with 429 and Retry-After.",
    ),
    number(
        "RateLimit:RequestsPerSecond",
        1_000,
        (1, 1_000_000),
        "Requests per second that each key may make in the long run.",
    ),
    number("RateLimit:Burst", 2_000, (1, 10_000_000), "Requests that each key may make at once."),
    optional_text(
        "Tls:CertificateFile",
        "PEM file with the certificate chain of https:// addresses, the node's own certificate first.",
    ),
    optional_text("Tls:PrivateKeyFile", "PEM file with the certificate's private key."),
    list(
        "Studio:CorsOrigins",
        "Origins from which browsers may call; when empty, pages served by localhost or 127.0.0.1 may.",
    ),
    required_text("Studio:CorsOrigins:#", "An origin, such as https://studio.example.org, or `*`."),
    choice(
        "Logging:Format",
        "text",
        &["text", "json"],
        "Log lines for people or, as JSON, for machines; they go to standard error.",
    ),
    text(
        "Logging:Level",
        "info",
        "Least level that is logged: error, warn, info, debug, trace or off; or directives such as `info,holdfast=debug`.",
    ),
    number(
        "Limits:RequestBytesMax",
        30_000_000,
        (1_024, 1_073_741_824),
        "Largest request body in bytes; larger ones are answered with 413.",
    ),
    number("Limits:DocumentBytesMax", 8_388_608, (1_024, 8_388_608), "Largest document in bytes of its JSON text."),
    number(
        "Limits:QueueWritesMax",
        4_096,
        (1, 1_000_000),
        "Writes that may wait in one database; more are answered with 503 and Retry-After.",
    ),
    number("Limits:BodyReadTimeoutSeconds", 30, (1, 3_600), "Seconds within which a request body must have arrived."),
    number(
        "Limits:ConnectionsMax",
        10_000,
        (1, 1_000_000),
        "Connections open at once over all addresses; further ones wait to be accepted.",
    ),
    number(
        "Limits:ConnectionIdleSeconds",
        120,
        (1, 86_400),
        "A connection that sends no complete request head for this long is closed.",
    ),
    number(
        "Query:MaxExaminedDocuments",
        10_000_000,
        (1, 1_000_000_000_000),
        "Documents and index entries that one query may look at; a query that passes a limit is answered with 422.",
    ),
    number(
        "Query:TimeoutSeconds",
        30,
        (1, 86_400),
        "Seconds that one query may take, waiting for a place included, but not waiting for whoever reads its answer.",
    ),
    number(
        "Query:UnreadSeconds",
        30,
        (1, 3_600),
        "Seconds that the answer of a query in lines may wait without any of it being read; then the query ends.",
    ),
    number(
        "Query:MaxMemoryMB",
        128,
        (1, 65_536),
        "Megabytes that one query may hold for sorting, grouping, joining and for what it writes.",
    ),
    number(
        "Query:MaxResultMB",
        64,
        (1, 4_096),
        "Megabytes of rows in one answer; answers that stream (application/x-ndjson) have no such bound.",
    ),
    number(
        "Query:MaxRunning",
        4,
        (1, 512),
        "Queries that run at once; further ones wait. Those that end at once by id or index take no place, and those that \
         write have as many of their own.",
    ),
    number(
        "Query:MaxWaiting",
        64,
        (0, 100_000),
        "Queries that wait for a place; more are answered with 503 and Retry-After.",
    ),
    number(
        "Query:SlowMilliseconds",
        1_000,
        (0, 86_400_000),
        "A query that takes at least so long is logged, without its values. 0: none is.",
    ),
    number("Storage:DataCacheMegabytes", 64, (1, 65_536), "Memory for pages of documents and indexes, per database."),
    number("Storage:LogCacheMegabytes", 8, (1, 65_536), "Memory for pages of the operation log, per database."),
    number(
        "Storage:DurableDataSeconds",
        2,
        (1, 3_600),
        "Longest time between two durable commits of the data file. Writes are safe in the log before; this bounds the replay after a crash.",
    ),
    number(
        "Storage:DurableDataMegabytes",
        16,
        (1, 4_096),
        "Most logged megabytes between two durable commits of the data file.",
    ),
    number(
        "Shutdown:DeadlineSeconds",
        20,
        (1, 600),
        "Seconds that running requests get to finish when the node stops.",
    ),
];
