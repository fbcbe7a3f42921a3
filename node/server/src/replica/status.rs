//! How a group stands, as this node sees it.

use std::sync::atomic::Ordering;
use std::time::Instant;

use holdfast_core::id::DatabaseName;
use holdfast_core::replica::epoch::Epoch;
use holdfast_core::replica::freshness::Part;
use holdfast_core::replica::message::operations_of;
use holdfast_core::replica::role::{Role, Unelected};
use holdfast_core::time::Millis;
use holdfast_storage::error::StorageError;
use holdfast_storage::log::Backlog;
use holdfast_storage::request::Kept;
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock;
use crate::databases::{ClosedReason, Gate, OpenDatabase};
use crate::replica::beat::Staleness;
use crate::replica::{FollowerAt, Reached, ReplicaGroup, operations_in};

/// What `GET /replication/status` answers.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// This node.
    pub node: String,
    /// What it is now: `leader`, `follower` or `none`.
    pub role: &'static str,
    /// Whether clients are refused writes here.
    pub read_only: bool,
    /// Why, when they are: `follower`, `handover`, `operator` or `starting`.
    pub read_only_reason: Option<&'static str>,
    /// Where this node's HTTP API is reached.
    pub http_endpoint: Option<String>,
    /// The group that it belongs to; null before it has led or joined one.
    pub group: Option<String>,
    /// The newest epoch that it knows: its number ...
    pub epoch: u64,
    /// ... and who leads in it.
    pub epoch_leader: Option<String>,
    /// The greatest epoch that it has voted for, `NUMBER@NODE`.
    pub promised: Option<String>,
    /// The port on which followers are awaited; null when there is none.
    pub replication_port: Option<u16>,
    /// Why there is none, while one should be open: it is tried again every second.
    pub replication_port_error: Option<String>,
    /// The nodes that vote on who leads.
    pub voters: Vec<VoterStatus>,
    /// How many followers must have a write before it is answered.
    pub min_sync_replicas: u64,
    /// How long a write waits for them, in seconds.
    pub sync_timeout_seconds: f64,
    /// Writes that were answered before so many followers had them, since the start.
    pub sync_timeouts: u64,
    /// As the leader; zeros when it is none.
    pub leader: LeaderStatus,
    /// As a follower; zeros when it is none.
    pub follower: FollowingStatus,
    /// What this node keeps of each database, and for whom.
    pub databases: Vec<GroupDatabase>,
}

/// What `GET /db/{name}/replication/status` answers: the group as one database sees it. The stream carries all databases of a
/// node, so that the role, the connections and what is counted since the start are the node's.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseGroupStatus {
    /// The database.
    pub database: String,
    /// What this node is now: `leader`, `follower` or `none`.
    pub role: &'static str,
    /// Whether clients are refused writes here.
    pub read_only: bool,
    /// As the leader; zeros when it is none.
    pub leader: DatabaseLeader,
    /// As a follower; zeros when it is none.
    pub follower: FollowingStatus,
    /// What is kept of it here, and for whom.
    pub kept: GroupDatabase,
}

/// How this node stands as leader of one database.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseLeader {
    /// Operations of the database that it knows.
    pub current_seq: u64,
    /// The port on which followers are awaited.
    pub port: Option<u16>,
    /// Followers that are connected.
    pub follower_count: usize,
    /// Every follower since the start, with what it has and lacks of this database.
    pub followers: Vec<FollowerStatus>,
}

/// What a node keeps of a database, and for whom.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupDatabase {
    /// The database.
    pub database: String,
    /// Operations that are known here, those of the cache included.
    pub operations: u64,
    /// The oldest position that the log here still holds ...
    pub oldest_position: u64,
    /// ... and its newest.
    pub position: u64,
    /// Markers of deleted documents that are kept until every member knows of the deletes.
    pub tombstones: u64,
    /// What they wait for.
    pub tombstones_kept: GroupTombstones,
    /// Members that have yet to acknowledge something, and are waited for before anything is given up.
    pub waiting_for: Vec<String>,
}

/// Why markers of deleted documents are kept, as of the last look at all of them.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupTombstones {
    /// Another version or an increment is beside the delete.
    pub for_conflicts: u64,
    /// They came after something that is parked here.
    pub for_dead_letters: u64,
    /// A member has not acknowledged the delete: `waitingFor` names them.
    pub for_members: u64,
    /// They are younger than `Node:TombstoneRetentionMinutes`.
    pub for_retention: u64,
}

impl From<Kept> for GroupTombstones {
    fn from(kept: Kept) -> Self {
        let Kept { for_conflicts, for_letters, for_members, for_time } = kept;
        Self { for_conflicts, for_dead_letters: for_letters, for_members, for_retention: for_time }
    }
}

/// A node that votes.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VoterStatus {
    /// Its name.
    pub node: String,
    /// Where it listens.
    pub endpoint: String,
}

/// How this node stands as leader.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaderStatus {
    /// Operations that it knows, of all databases together.
    pub current_seq: u64,
    /// Followers that are connected.
    pub follower_count: usize,
    /// Every follower since the start, connected or not.
    pub followers: Vec<FollowerStatus>,
}

/// A follower.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FollowerStatus {
    /// Its name.
    pub node: String,
    /// Where it dials from.
    pub endpoint: String,
    /// Its HTTP address.
    pub http_endpoint: Option<String>,
    /// Where it listens for votes and for followers of its own.
    pub replication_endpoint: Option<String>,
    /// Whether it votes.
    pub is_voter: bool,
    /// `streaming`, `catching-up`, `taking-states` or `disconnected`.
    pub state: &'static str,
    /// Since when it is connected.
    pub connected_at: Option<String>,
    /// Milliseconds since it was last heard.
    pub silent_ms: Option<u64>,
    /// Operations that it has confirmed, of all databases together.
    pub acked_seq: u64,
    /// Operations of these databases that it had when it connected.
    pub handshake_seq: u64,
    /// Kept for clients of the predecessor: as `lagOps`.
    pub worst_case_lag_seq: u64,
    /// Operations that it lacks.
    pub lag_ops: u64,
    /// Bytes that these take in the log, roughly.
    pub lag_bytes: u64,
    /// Age of the oldest of them.
    pub lag_ms: u64,
    /// Bytes sent to it since this node started.
    pub bytes_sent: u64,
    /// Operations that only it held, and that were merged.
    pub merged_ops: u64,
    /// Why it was last disconnected.
    pub last_error: Option<String>,
    /// How far it is, by database.
    pub databases: Vec<FollowerDatabase>,
}

/// How far a follower is with a database.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FollowerDatabase {
    /// The database.
    pub database: String,
    /// Our log's newest position ...
    pub position: u64,
    /// ... and up to where the follower has it on disk.
    pub acked_position: u64,
    /// Operations that it lacks.
    pub lag_ops: u64,
    /// Bytes that these take in the log, roughly.
    pub lag_bytes: u64,
    /// Age of the oldest of them.
    pub lag_ms: u64,
}

/// How this node stands as a follower.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FollowingStatus {
    /// Operations that it knows, of all databases together.
    pub last_applied_seq: u64,
    /// Operations taken in from the leader since the start; a transaction counts once.
    pub ops_applied: u64,
    /// Times since the start that operations before one that came were missing. They were asked for again each time.
    pub gaps_detected: u64,
    /// Whether it leads now because an old leader fell silent.
    pub auto_failover_promoted: bool,
    /// `streaming`, `catching-up`, `taking-states`, `disconnected` or `none`.
    pub state: &'static str,
    /// What came of the last ballot of this node, while the leader is missed and nobody was elected.
    pub unelected: Option<UnelectedStatus>,
    /// Operations that the leader has and that are not here; null while nobody knows, for the leader is not heard.
    pub lag_ops: Option<u64>,
    /// Milliseconds since the leader was heard; null before it ever was.
    pub silent_ms: Option<u64>,
    /// How old anything that this node shows is at most, beside its leader, in milliseconds; null while that is not known.
    pub stale_ms: Option<u64>,
    /// After how many seconds of silence this node takes over; null when it does not.
    pub auto_failover_seconds: Option<f64>,
    /// Attempts to connect since the last that succeeded.
    pub attempts: u64,
    /// Why the last connection ended or came to nothing.
    pub last_error: Option<String>,
    /// Whom it follows.
    pub leader: Option<FollowedLeader>,
}

/// A ballot that was not won.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnelectedStatus {
    /// Votes for this node, its own included.
    pub votes: usize,
    /// Voters that are counted, whether they are there or not.
    pub voters: usize,
    /// Votes that would have been enough.
    pub needed: usize,
}

impl From<Unelected> for UnelectedStatus {
    fn from(ballot: Unelected) -> Self {
        Self { votes: ballot.votes, voters: ballot.voters, needed: ballot.needed() }
    }
}

/// The leader as a follower knows it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FollowedLeader {
    /// Where it is followed.
    pub endpoint: String,
    /// Where its HTTP API is reached.
    pub http_endpoint: Option<String>,
    /// Its name, while it is connected.
    pub node: Option<String>,
    /// Since when it is connected.
    pub connected_at: Option<String>,
}

/// What a follower lacks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lag {
    /// Operations.
    pub operations: u64,
    /// Bytes, roughly.
    pub bytes: u64,
    /// Age of the oldest.
    pub millis: u64,
}

impl ReplicaGroup {
    /// How it stands.
    pub fn status(&self) -> GroupStatus {
        let gate = self.databases.gate().get();
        let read_only_reason = match &gate {
            Gate::Open => None,
            Gate::Closed(closed) => Some(match closed.reason {
                ClosedReason::Follower => "follower",
                ClosedReason::Handover => "handover",
                ClosedReason::Operator => "operator",
                ClosedReason::Starting => "starting",
            }),
        };
        let (role, epoch, promised, voters) = {
            let decided = self.decided();
            let kept = decided.replica.kept();
            let voters = decided.remembered.voters.iter();
            let voters = voters.map(|voter| VoterStatus { node: voter.node.clone(), endpoint: voter.endpoint.clone() });
            (kept.role, kept.epoch.clone(), kept.promised.as_ref().map(Epoch::to_string), voters.collect())
        };
        let (min_sync_replicas, sync_timeout) = self.sync_replicas();
        GroupStatus {
            node: self.databases.origin().node.to_string(),
            role: role.as_str(),
            read_only: gate != Gate::Open,
            read_only_reason,
            http_endpoint: self.options.http_endpoint.clone(),
            group: self.group(),
            epoch: epoch.as_ref().map_or(0, |epoch| epoch.number),
            epoch_leader: epoch.map(|epoch| epoch.leader.to_string()),
            promised,
            replication_port: self.listening_port(),
            replication_port_error: self.port_error(),
            voters,
            min_sync_replicas,
            sync_timeout_seconds: sync_timeout.as_secs_f64(),
            sync_timeouts: self.counts.sync_timeouts.load(Ordering::Relaxed),
            leader: self.leader_status(role),
            follower: self.following_status(role),
            databases: self.databases.list().iter().filter_map(|listing| self.kept_of(&listing.name)).collect(),
        }
    }

    /// What is kept of a database; `None` while it is not served.
    fn kept_of(&self, name: &DatabaseName) -> Option<GroupDatabase> {
        let look = |open: &OpenDatabase| -> Result<GroupDatabase, StorageError> {
            let view = open.view()?;
            let state = view.state()?;
            let acknowledgements = open.acknowledgements()?;
            let waiting_for = acknowledgements.waiting_for(&state.members, open.origin(), &state.vector);
            Ok(GroupDatabase {
                database: name.to_string(),
                operations: operations_in(open)?,
                oldest_position: open.log()?.oldest()?.0,
                position: state.position.0,
                tombstones: view.collections()?.iter().map(|(_, collection)| collection.tombstones).sum(),
                tombstones_kept: open.kept()?.into(),
                waiting_for: waiting_for.map(ToString::to_string).collect(),
            })
        };
        look(self.databases.get(name).ok()?.as_ref()).ok()
    }

    fn leader_status(&self, role: Role) -> LeaderStatus {
        let current_seq = if role == Role::Leader { self.operations() } else { 0 };
        self.followers_status(role, current_seq, None)
    }

    /// How followers are, with all databases or with one.
    fn followers_status(&self, role: Role, current_seq: u64, only: Option<&DatabaseName>) -> LeaderStatus {
        let followers = self.followers().clone();
        // Those of a former leader are another's now, and what they lack is not known here any more.
        let shown = followers.iter().filter(|(_, at)| role == Role::Leader || at.connected.is_some());
        let followers: Vec<FollowerStatus> =
            shown.map(|(node, at)| self.follower_status(node.as_str(), at, only)).collect();
        let follower_count = followers.iter().filter(|follower| follower.connected_at.is_some()).count();
        LeaderStatus { current_seq, follower_count, followers }
    }

    /// How one database stands in the group; `None` when it is not served here.
    pub fn database_status(&self, name: &DatabaseName) -> Option<DatabaseGroupStatus> {
        let kept = self.kept_of(name)?;
        let (role, gate) = (self.role(), self.databases.gate().get());
        let current_seq = if role == Role::Leader { kept.operations } else { 0 };
        let leader = self.followers_status(role, current_seq, Some(name));
        let last_applied_seq = if role == Role::Follower { kept.operations } else { 0 };
        let stale_ms = match self.staleness(name, Part::Log) {
            Staleness::None => Some(0),
            Staleness::AtMost(stale) => Some(u64::try_from(stale.as_millis()).unwrap_or(u64::MAX)),
            Staleness::Unknown => None,
        };
        Some(DatabaseGroupStatus {
            database: name.to_string(),
            role: role.as_str(),
            read_only: gate != Gate::Open,
            leader: DatabaseLeader {
                current_seq: leader.current_seq,
                port: self.listening_port().filter(|_| role == Role::Leader),
                follower_count: leader.follower_count,
                followers: leader.followers,
            },
            follower: FollowingStatus { last_applied_seq, stale_ms, ..self.following_status(role) },
            kept,
        })
    }

    fn follower_status(&self, node: &str, at: &FollowerAt, only: Option<&DatabaseName>) -> FollowerStatus {
        let mut databases = Vec::new();
        let mut whole = Lag::default();
        let (mut acked, mut greeted) = (0, 0);
        for listing in self.databases.list().into_iter().filter(|one| only.is_none_or(|only| *only == one.name)) {
            let Ok(open) = self.databases.get(&listing.name) else { continue };
            let lag = lag_of(&open, at, &listing.name);
            let reached = at.reached.get(&listing.name);
            acked += reached.map_or(0, |one| operations_of(&one.vector) + operations_of(&one.cache_vector));
            greeted += reached.and_then(|reached| reached.greeted).unwrap_or_default();
            whole = Lag {
                operations: whole.operations + lag.operations,
                bytes: whole.bytes + lag.bytes,
                millis: whole.millis.max(lag.millis),
            };
            databases.push(FollowerDatabase {
                database: listing.name.to_string(),
                position: open.newest().borrow().0,
                acked_position: reached.map_or(0, |reached| reached.through.0),
                lag_ops: lag.operations,
                lag_bytes: lag.bytes,
                lag_ms: lag.millis,
            });
        }
        let is_taking_states = at.reached.values().any(|reached| reached.is_taking_states);
        let state = match (at.connected.is_some(), is_taking_states, whole.operations) {
            (false, _, _) => "disconnected",
            (true, true, _) => "taking-states",
            (true, false, 0) => "streaming",
            (true, false, _) if whole.millis < STREAMING_WITHIN => "streaming",
            (true, false, _) => "catching-up",
        };
        FollowerStatus {
            node: node.to_owned(),
            endpoint: at.endpoint.clone(),
            http_endpoint: at.http_endpoint.clone(),
            replication_endpoint: at.replication_endpoint.clone(),
            is_voter: at.is_voter,
            state,
            connected_at: at.connected.map(Millis::to_utc_text),
            silent_ms: at.heard.map(millis_since),
            acked_seq: acked,
            handshake_seq: greeted,
            worst_case_lag_seq: whole.operations,
            lag_ops: whole.operations,
            lag_bytes: whole.bytes,
            lag_ms: whole.millis,
            bytes_sent: at.bytes_sent,
            merged_ops: at.merged,
            last_error: at.last_error.clone(),
            databases,
        }
    }

    fn following_status(&self, role: Role) -> FollowingStatus {
        let (was_elected, watched, unelected) = {
            let decided = self.decided();
            (decided.replica.was_elected(), decided.replica.watched(), decided.replica.unelected())
        };
        let at = self.upstream().clone();
        let is_measured = at.connected.is_some() && at.is_measured;
        let lag_ops = match role {
            Role::Follower => is_measured.then(|| self.behind()),
            Role::Alone | Role::Leader => Some(0),
        };
        let state = match (role, &at.connected) {
            (Role::Follower, None) => "disconnected",
            (Role::Follower, Some(_)) if !at.taking_states.is_empty() => "taking-states",
            (Role::Follower, Some(_)) if lag_ops.is_none_or(|lag| lag > STREAMING_OPERATIONS) => "catching-up",
            (Role::Follower, Some(_)) => "streaming",
            _ => "none",
        };
        FollowingStatus {
            last_applied_seq: if role == Role::Follower { self.operations() } else { 0 },
            ops_applied: self.counts.applied.load(Ordering::Relaxed),
            gaps_detected: self.counts.gaps.load(Ordering::Relaxed),
            auto_failover_promoted: was_elected,
            unelected: unelected.map(UnelectedStatus::from),
            state,
            lag_ops,
            silent_ms: at.heard.map(millis_since),
            stale_ms: self.stale_to_tell(),
            #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
            auto_failover_seconds: watched.map(|silence| silence.0 as f64 / 1_000.0),
            attempts: at.attempts,
            last_error: at.last_error.clone(),
            leader: at.endpoint.filter(|_| role == Role::Follower).map(|endpoint| FollowedLeader {
                endpoint,
                http_endpoint: at.http_endpoint,
                node: at.connected.as_ref().map(|(node, _)| node.to_string()),
                connected_at: at.connected.as_ref().map(|(_, since)| since.to_utc_text()),
            }),
        }
    }
}

/// What a follower lacks for less than this is on its way.
const STREAMING_WITHIN: u64 = 1_000;
/// So few operations are on their way: the leader's number is some milliseconds old when it comes.
const STREAMING_OPERATIONS: u64 = 10_000;

/// What a follower lacks of a database, its cache included.
fn lag_of(open: &OpenDatabase, at: &FollowerAt, name: &DatabaseName) -> Lag {
    let is_of_this = |reached: &&Reached| open.log_id().is_ok_and(|log_id| log_id == reached.log_id);
    let reached = at.reached.get(name).filter(is_of_this).cloned().unwrap_or_default();
    let of_log = || open.log()?.backlog(reached.through, &reached.vector, &open.view()?.state()?.vector);
    let of_cache = || open.synced_view()?.cache_backlog(reached.cache_through, &reached.cache_vector);
    let now = clock::now_millis();
    let (log, cache): (Backlog, Backlog) = (of_log().unwrap_or_default(), of_cache().unwrap_or_default());
    let oldest = [log.oldest, cache.oldest].into_iter().flatten().min();
    Lag {
        operations: log.operations.saturating_add(cache.operations),
        bytes: log.bytes.saturating_add(cache.bytes),
        millis: oldest.map_or(0, |oldest| now.saturating_sub(oldest.0)),
    }
}

fn millis_since(moment: Instant) -> u64 {
    u64::try_from(moment.elapsed().as_millis()).unwrap_or(u64::MAX)
}
