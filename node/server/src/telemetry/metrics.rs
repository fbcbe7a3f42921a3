//! What the node counts about itself: every metric's name, unit and meaning, and the counters of requests.
//!
//! | who counts                   | what                                      | read by                    |
//! |------------------------------|-------------------------------------------|----------------------------|
//! | [`Metrics`], one per node    | requests by class and status, their times | `http::metrics`            |
//! | [`QueryMetrics`] in it       | statements by kind and outcome, their work | `http::query_metrics`     |
//! | the writer of each database  | commits, operations, waiting requests     | `http::metrics`            |
//! | the database itself          | documents, tombstones, positions, bytes   | `http::metrics`, when asked |
//!
//! Counting costs a few relaxed atomic additions and takes no lock.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::histogram::Histogram;
use super::query_metrics::QueryMetrics;

/// How a metric behaves, in Prometheus' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the node starts again.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets.
    Histogram,
}

/// One metric as it is shown.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// Its name, the unit at its end.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What it says.
    pub help: &'static str,
}

macro_rules! definitions {
    ($($(#[$doc:meta])* $constant:ident = $kind:ident $name:literal $help:literal;)*) => {
        $($(#[$doc])* pub const $constant: Definition =
            Definition { name: $name, kind: Kind::$kind, help: $help };)*
        /// Every metric there is.
        pub const ALL: &[Definition] = &[$($constant),*];
    };
}

definitions! {
    /// The running version.
    BUILD_INFO = Gauge "holdfast_build_info" "Always 1; the label says which version runs.";
    /// When the node started.
    START_TIME = Gauge "holdfast_start_time_seconds" "When the node started, in seconds since 1970.";
    /// Requests by class and status.
    REQUESTS = Counter "holdfast_http_requests_total" "Requests that were answered, by class of route and status; 'aborted' when the caller went away first.";
    /// Requests in progress.
    REQUESTS_RUNNING = Gauge "holdfast_http_requests_running" "Requests that are being answered now, open change feeds not included.";
    /// Time to the first byte of an answer.
    REQUEST_SECONDS = Histogram "holdfast_http_request_duration_seconds" "Time from a request's head to its answer's head, in seconds, by class of route.";
    /// Queries by kind and outcome.
    QUERIES = Counter "holdfast_queries_total" "Statements that ended, by kind and outcome: done, cancelled when their caller went away, or why they were refused.";
    /// Time of queries.
    QUERY_SECONDS = Histogram "holdfast_query_duration_seconds" "Time from a statement's arrival to the last of its answer, in seconds, by kind.";
    /// Documents looked at.
    QUERY_EXAMINED = Counter "holdfast_query_examined_total" "Documents and index entries that queries have looked at.";
    /// Rows answered.
    QUERY_ROWS = Counter "holdfast_query_rows_total" "Rows that queries have answered with.";
    /// Queries that run.
    QUERIES_RUNNING = Gauge "holdfast_queries_running" "Queries that hold one of the places of Query:MaxRunning now, those for writing included.";
    /// Queries that wait.
    QUERIES_WAITING = Gauge "holdfast_queries_waiting" "Queries that wait for a place now.";
    /// Group commits.
    COMMITS = Counter "holdfast_commits_total" "Group commits of a database; each is one fsync of its log.";
    /// Operations logged.
    OPERATIONS = Counter "holdfast_operations_total" "Operations logged, own and received; divided by the commits it is the size of a group.";
    /// Changes of the cache.
    CACHE_CHANGES = Counter "holdfast_cache_changes_total" "Changes of cache entries, own and received.";
    /// Keys of the cache.
    CACHE_KEYS = Gauge "holdfast_cache_keys" "Keys of which the cache keeps something: entries, and what has ended until it is swept or as long as it hides another.";
    /// Bytes of the cache.
    CACHE_BYTES = Gauge "holdfast_cache_bytes" "Bytes of keys and records of the cache; see Node:CacheMaxMegabytes.";
    /// Whether the cache is full.
    CACHE_FULL = Gauge "holdfast_cache_full" "1 while the cache of a database is so full that writes which make it larger are refused, else 0; see Node:CacheMaxMegabytes.";
    /// Keys sent.
    CACHE_SENT = Counter "holdfast_cache_keys_sent_total" "Keys of the cache sent to a peer.";
    /// Keys received.
    CACHE_RECEIVED = Counter "holdfast_cache_keys_received_total" "Keys of the cache received from a peer that were new or different.";
    /// Changes on their way.
    CACHE_LAG = Gauge "holdfast_cache_lag_changes" "Changes of the cache that a peer is not known to have, those of one key counted each; absent before it has said what it has.";
    /// Failures in a row.
    CACHE_FAILURES = Gauge "holdfast_cache_exchange_failures" "Exchanges of the cache with a peer that have failed since the last success.";
    /// Whether the caches are equal.
    CACHE_EQUAL = Gauge "holdfast_cache_digest_equal" "1 when the caches were equal when both nodes last knew of the same writes, 0 when they differed; absent before the first.";
    /// Requests in the writer's queue.
    WRITES_WAITING = Gauge "holdfast_writes_waiting" "Requests that wait for the writer of a database.";
    /// Databases opened again.
    REOPENED = Counter "holdfast_database_reopened_total" "Times a database was opened again after a failed write.";
    /// Changes of identity.
    IDENTITY_EVENTS = Gauge "holdfast_identity_events" "Copies, restored backups, second nodes of one name and incarnations given up that were noticed since the start, the newest hundred.";
    /// Whether a database is served.
    DATABASE_UP = Gauge "holdfast_database_up" "1 when the database is served, 0 when it is being opened again or is quarantined.";
    /// Whether a database refuses writes for want of room.
    OUT_OF_ROOM = Gauge "holdfast_database_out_of_room" "1 while the disk is so full that a database refuses writes, else 0.";
    /// Documents.
    DOCUMENTS = Gauge "holdfast_documents" "Documents that a database shows.";
    /// Tombstones.
    TOMBSTONES = Gauge "holdfast_tombstones" "Records of deleted documents that a database keeps.";
    /// Open conflicts.
    CONFLICTED = Gauge "holdfast_conflicted_documents" "Documents with versions that did not know of each other.";
    /// Parked operations.
    DEAD_LETTERS = Gauge "holdfast_dead_letters" "Operations from peers that a database could not take in.";
    /// Conflicts by policy.
    CONFLICTS_SETTLED = Counter "holdfast_conflicts_settled_total" "Conflicts that a policy or a rule of this node has settled.";
    /// Newest position.
    LOG_POSITION = Gauge "holdfast_log_position" "Newest position of a database's log.";
    /// Oldest position.
    LOG_OLDEST = Gauge "holdfast_log_oldest_position" "Oldest position that a database's log still holds.";
    /// File sizes.
    FILE_BYTES = Gauge "holdfast_file_bytes" "Size of a database's files in bytes, by file.";
    /// How it stands with a peer.
    SYNC_STATE = Gauge "holdfast_sync_state" "Always 1; the label says how it stands with a peer in a database: Inactive, Paused, Failing, Diverged, Silent, CatchingUp, Ready or InSync.";
    /// Sessions by state.
    SYNC_SESSIONS = Gauge "holdfast_sync_sessions" "Pairs of peer and database by state, those included that are too many to be shown one by one.";
    /// Operations on their way.
    SYNC_LAG_OPERATIONS = Gauge "holdfast_sync_lag_operations" "Operations that a peer lacks (send) and that this node lacks (receive).";
    /// Bytes on their way.
    SYNC_LAG_BYTES = Gauge "holdfast_sync_lag_bytes" "Bytes in the log of the operations that are on their way, roughly.";
    /// Age of what is on its way.
    SYNC_LAG_SECONDS = Gauge "holdfast_sync_lag_seconds" "Age in seconds of the oldest operation that is on its way.";
    /// Age of the last success.
    SYNC_SUCCESS_AGE = Gauge "holdfast_sync_last_success_age_seconds" "Seconds since an exchange with a peer last succeeded; absent when none has since the start.";
    /// Age of the last proof.
    SYNC_PROOF_AGE = Gauge "holdfast_sync_last_equal_age_seconds" "Seconds since digests last proved that a peer holds the same; absent when they never have since the start.";
    /// Failures in a row.
    SYNC_FAILURES = Gauge "holdfast_sync_failures" "Exchanges with a peer that have failed since the last success.";
    /// Operations sent.
    SYNC_SENT = Counter "holdfast_sync_operations_sent_total" "Operations sent to a peer.";
    /// Operations received.
    SYNC_RECEIVED = Counter "holdfast_sync_operations_received_total" "Operations received from a peer, known ones included.";
    /// Exchanges.
    SYNC_EXCHANGES = Counter "holdfast_sync_exchanges_total" "Exchanges with a peer over the network.";
    /// Comparisons.
    SYNC_COMPARISONS = Counter "holdfast_sync_comparisons_total" "Comparisons of digests with a peer that were answered.";
    /// Differences.
    SYNC_DIFFERENCES = Counter "holdfast_sync_differences_total" "Comparisons of digests that found a difference.";
    /// Whether digests are equal.
    SYNC_DIGEST_EQUAL = Gauge "holdfast_sync_digest_equal" "1 when the last comparison with a peer found equal digests, 0 when it found a difference; absent before the first.";
    /// Round trip.
    SYNC_ROUND_TRIP = Gauge "holdfast_sync_round_trip_seconds" "The last exchange's way there and back, in seconds.";
    /// Clock skew.
    SYNC_SKEW = Gauge "holdfast_sync_clock_skew_seconds" "A peer's clock less this node's, in seconds.";
    /// Whether a clock is suspect.
    SYNC_CLOCK_SUSPECT = Gauge "holdfast_sync_clock_suspect" "1 when a peer's clock is further from this node's than Node:MaxClockSkewSeconds, else 0.";
    /// The role in a group of replicas.
    REPLICA_ROLE = Gauge "holdfast_replica_role" "1 for the role that the node has now: none, leader or follower; 0 for the others.";
    /// The epoch.
    REPLICA_EPOCH = Gauge "holdfast_replica_epoch" "Number of the newest epoch of leader and followers that the node knows; 0 before the first.";
    /// Whether clients may write.
    REPLICA_READ_ONLY = Gauge "holdfast_replica_read_only" "1 while clients are refused writes: the node follows, hands over, starts, or was made read-only; else 0.";
    /// Whether a follower is connected.
    REPLICA_CONNECTED = Gauge "holdfast_replica_connected" "1 while a follower is connected to this node, else 0; absent before it ever was since the start.";
    /// Operations that a follower lacks.
    REPLICA_LAG_OPERATIONS = Gauge "holdfast_replica_lag_operations" "Operations that a follower lacks.";
    /// Age of what a follower lacks.
    REPLICA_LAG_SECONDS = Gauge "holdfast_replica_lag_seconds" "Age in seconds of the oldest operation that a follower lacks.";
    /// Operations from the leader.
    REPLICA_APPLIED = Counter "holdfast_replica_applied_total" "Operations taken in from a leader; a transaction counts once.";
    /// Promotions.
    REPLICA_FAILOVERS = Counter "holdfast_replica_failovers_total" "Times that this node became the leader because the old one fell silent.";
    /// Writes answered too early.
    REPLICA_SYNC_TIMEOUTS = Counter "holdfast_replica_sync_timeouts_total" "Writes that were answered before Replication:MinSyncReplicas followers had them.";
    /// Refused connections.
    REPLICA_REFUSED = Counter "holdfast_replica_refused_total" "Connections to the port for followers that were refused: a wrong secret, another protocol, a stale epoch.";
}

/// Statuses that are counted apart; the others count as 0.
pub const STATUSES: [u16; 22] =
    [200, 101, 204, 304, 400, 401, 403, 404, 405, 408, 409, 410, 412, 413, 415, 421, 422, 429, 500, 503, 507, 0];

/// What a request is about, as far as it matters for how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteClass {
    /// Reading one document or several.
    Read,
    /// Writing one document.
    Write,
    /// Writing many: bulk and transactions.
    Batch,
    /// Following changes: long polls, feeds, WebSockets.
    Follow,
    /// Queries.
    Query,
    /// The cache.
    Cache,
    /// Between nodes.
    Cluster,
    /// Health, metrics and other questions about the node.
    Node,
    /// Anything else.
    Other,
}

impl RouteClass {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Read,
        Self::Write,
        Self::Batch,
        Self::Follow,
        Self::Query,
        Self::Cache,
        Self::Cluster,
        Self::Node,
        Self::Other,
    ];

    /// Its name as a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Batch => "batch",
            Self::Follow => "follow",
            Self::Query => "query",
            Self::Cache => "cache",
            Self::Cluster => "cluster",
            Self::Node => "node",
            Self::Other => "other",
        }
    }

    /// The class of a request, by what its address begins with.
    pub fn of(is_read: bool, path: &str) -> Self {
        let Some(api) = path.strip_prefix("/api/") else {
            return match path {
                "/healthz" | "/readyz" | "/metrics" | "/node" | "/openapi.json" | "/docs" => Self::Node,
                path if path.starts_with("/ws/") => Self::Follow,
                _ => Self::Other,
            };
        };
        match api.split('/').next().unwrap_or_default() {
            "documents" if is_read => Self::Read,
            "documents" if api.ends_with("/bulk") => Self::Batch,
            "documents" => Self::Write,
            "transactions" => Self::Batch,
            "collections" => Self::Read,
            "changes" => Self::Follow,
            "query" => Self::Query,
            "cache" => Self::Cache,
            "cluster" | "replication" => Self::Cluster,
            "databases" => Self::Node,
            _ => Self::Other,
        }
    }
}

/// The counters of a node's requests.
#[derive(Debug, Default)]
pub struct Metrics {
    classes: [ClassMetrics; RouteClass::ALL.len()],
    running: AtomicI64,
    /// What queries do.
    pub queries: QueryMetrics,
}

/// The counters of one class of requests.
#[derive(Debug, Default)]
pub struct ClassMetrics {
    statuses: [AtomicU64; STATUSES.len()],
    aborted: AtomicU64,
    times: Histogram,
}

impl Metrics {
    /// Counts a request that begins.
    pub fn begin(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that ends with a status, or without one when its caller went away.
    pub fn end(&self, class: RouteClass, status: Option<u16>, time: Duration) {
        self.running.fetch_sub(1, Ordering::Relaxed);
        if let Some(metrics) = self.classes.get(class as usize) {
            metrics.count(status, time);
        }
    }

    /// Requests in progress.
    pub fn running(&self) -> i64 {
        self.running.load(Ordering::Relaxed)
    }

    /// Each class with its counters.
    pub fn classes(&self) -> impl Iterator<Item = (RouteClass, &ClassMetrics)> {
        RouteClass::ALL.into_iter().zip(&self.classes)
    }
}

impl ClassMetrics {
    fn count(&self, status: Option<u16>, time: Duration) {
        let Some(status) = status else {
            self.aborted.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let place = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len() - 1);
        if let Some(counter) = self.statuses.get(place) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.times.add(time);
    }

    /// Each status with how many requests got it; status 0 stands for any that is not listed.
    pub fn statuses(&self) -> impl Iterator<Item = (u16, u64)> {
        STATUSES.into_iter().zip(self.statuses.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Requests whose callers went away.
    pub fn aborted(&self) -> u64 {
        self.aborted.load(Ordering::Relaxed)
    }

    /// How long requests took that were answered.
    pub fn times(&self) -> &Histogram {
        &self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_once_by_class_and_status() {
        let metrics = Metrics::default();
        for (status, micros) in [(Some(200), 50), (Some(200), 300), (Some(299), 99_000_000), (None, 1)] {
            metrics.begin();
            metrics.end(RouteClass::Write, status, Duration::from_micros(micros));
        }
        assert_eq!(metrics.running(), 0);
        for (class, counts) in metrics.classes() {
            let total: u64 = counts.statuses().map(|(_, count)| count).sum();
            let expected = if class == RouteClass::Write { (3, 1, 2) } else { (0, 0, 0) };
            let in_buckets = counts.times().buckets().last().map_or(0, |(_, count)| count);
            assert_eq!((total, counts.aborted(), in_buckets), expected);
        }
    }

    #[test]
    fn every_metric_has_a_name_of_its_own_that_prometheus_takes() {
        for (index, definition) in ALL.iter().enumerate() {
            assert!(definition.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", definition.name);
            assert!(ALL.iter().skip(index + 1).all(|other| other.name != definition.name), "{}", definition.name);
            assert_eq!(definition.name.ends_with("_total"), definition.kind == Kind::Counter, "{}", definition.name);
        }
    }
}
