//! How sync is doing, as `/api/replication/status` shows it.

use holdfast_core::members::FenceReason;
use holdfast_core::sync::comparison::{Comparison, Outcome};
use holdfast_core::sync::message::vector_record;
use holdfast_core::time::Millis;
use holdfast_core::vector::{Position, Vector};
use holdfast_storage::request::Kept;
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock;
use crate::databases::{IdentityEvent, OpenDatabase, Standing};
use crate::sync::Sync;
use crate::sync::cache::CacheSyncStatus;
use crate::sync::driver::SessionStatus;
use crate::sync::registry::Peer;
use crate::sync::standing::{self, Evidence, PeerState};
use crate::sync::survey::{self, Found};

/// All databases and peers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ReplicationStatus {
    /// This node.
    pub node_id: String,
    /// Which life of it.
    pub incarnation: String,
    /// When this was looked at.
    pub timestamp_utc: String,
    /// Nodes that have opened a WebSocket to this one.
    pub connected_nodes: Vec<String>,
    /// What happened to its identity since the start: copies, restored backups, incarnations that were given up.
    pub identity_events: Vec<IdentityEventStatus>,
    /// Its databases.
    pub databases: Vec<DatabaseStatus>,
}

/// Something that happened to the identity of a node.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct IdentityEventStatus {
    /// When.
    pub timestamp_utc: String,
    /// The database; null for the whole node.
    pub database_name: Option<String>,
    /// What.
    pub what: String,
}

/// One database.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct DatabaseStatus {
    /// Its name.
    pub database_name: String,
    /// `Healthy` or `Error`.
    pub status: &'static str,
    /// What is wrong.
    pub error: Option<String>,
    /// Oldest position of the log.
    pub oldest_available_log_sequence: u64,
    /// Newest position of the log.
    pub local_max_log_sequence: u64,
    /// Peers that are synced with.
    pub active_peer_count: usize,
    /// Operations that peers have not confirmed, over all active peers.
    pub total_estimated_pending_push_operations: u64,
    /// Digest of everything that is shown: equal on nodes that hold the same.
    pub digest: Option<String>,
    /// Documents with concurrent versions.
    pub conflicted_documents: u64,
    /// Records of deleted documents that wait until every member knows of the deletes.
    pub tombstones: u64,
    /// What they wait for.
    pub tombstones_kept: TombstonesKept,
    /// Members that have yet to acknowledge something, and are waited for before anything is given up.
    pub waiting_for: Vec<String>,
    /// Members that are counted out until they return: their lease ran out, or an operator said so.
    pub fenced_members: Vec<String>,
    /// Earlier lives of nodes that go on under another incarnation. They never return, and nobody waits for them.
    pub retired_incarnations: usize,
    /// Operations from peers that could not be taken in: see `/api/replication/dead-letters`.
    pub dead_letters: u64,
    /// Its peers.
    pub peers: Vec<PeerStatus>,
}

/// Why records of deleted documents are kept: each counts under what it waits for first. As of the last look at all of
/// them, which comes every second, and takes one for every thousand.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct TombstonesKept {
    /// Another version or an increment is beside the delete: they go once the conflict is settled, see `/api/conflicts`.
    pub for_conflicts: u64,
    /// They came after something that is parked here: see `/api/replication/dead-letters`.
    pub for_dead_letters: u64,
    /// A member has not acknowledged the delete: `WaitingFor` names them.
    pub for_members: u64,
    /// They are younger than `Node:TombstoneRetentionMinutes`.
    pub for_retention: u64,
}

impl From<Kept> for TombstonesKept {
    fn from(kept: Kept) -> Self {
        let Kept { for_conflicts, for_letters, for_members, for_time } = kept;
        Self { for_conflicts, for_dead_letters: for_letters, for_members, for_retention: for_time }
    }
}

/// One peer of a database.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct PeerStatus {
    /// The peer.
    pub peer_node_id: String,
    /// Where it listens.
    pub base_url: String,
    /// Whether it is synced with.
    pub is_active: bool,
    /// `InSync` when equal digests prove that both hold the same and neither has changed since; `Ready` when everything
    /// known was exchanged and nothing proves it yet; `Silent` when the peer is not heard, so that it
    /// may have changed; `CatchingUp`, `Diverged`, `Failing`, `Paused` when the peer has switched sync with this node
    /// off, or `Inactive`.
    pub state: PeerState,
    /// Why, and what to do about it.
    pub state_reason: String,
    /// What the peer lacks.
    pub to_send: LagStatus,
    /// What we lack, as far as the peer has told.
    pub to_receive: LagStatus,
    /// When the peer was last heard of, on whatever way.
    pub last_contact_utc: Option<String>,
    /// The last comparison of digests that said something.
    pub comparison: Option<ComparisonStatus>,
    /// When everything was last proven equal.
    pub last_equal_utc: Option<String>,
    /// The same as a number, for metrics.
    #[serde(skip)]
    pub last_equal: Option<Millis>,
    /// When an exchange last succeeded, as a number.
    #[serde(skip)]
    pub last_success: Option<Millis>,
    /// Why the last comparison said nothing, when it did not.
    pub comparison_error: Option<String>,
    /// Comparisons since the start.
    pub comparisons: u64,
    /// Comparisons that found a difference since the start.
    pub differences: u64,
    /// Exchanges over the network since the start.
    pub exchanges: u64,
    /// The oldest position of the peer's log, when it last said so.
    pub peer_oldest_log_sequence: Option<u64>,
    /// Where the exchange stands: `Inactive`, `Paused`, `NotSelected`, `Silent`, `Ready`, `CatchingUp` or `Failing`. `State` says more.
    pub catch_up_status: &'static str,
    /// Why.
    pub catch_up_reason: String,
    /// Oldest position of our log.
    pub oldest_available_log_sequence: u64,
    /// The peer has confirmed our log up to here.
    pub last_pushed_local_log_sequence: u64,
    /// We have the peer's log up to here.
    pub last_pulled_peer_log_sequence: u64,
    /// The peer's newest position, when it last said so.
    pub peer_max_log_sequence: u64,
    /// Our newest position.
    pub local_max_log_sequence: u64,
    /// Operations that the peer has not confirmed.
    pub estimated_pending_push_operations: u64,
    /// Operations that the peer is known to have and we have not.
    pub estimated_pending_pull_operations: u64,
    /// When an exchange last succeeded.
    pub last_success_utc: Option<String>,
    /// Why the last exchange failed, while it does.
    pub last_error: Option<String>,
    /// Failures since the last success.
    pub failures: u32,
    /// When the next try is due, after a failure.
    pub next_try_utc: Option<String>,
    /// The peer's clock less ours.
    pub clock_skew_milliseconds: i64,
    /// Whether that is more than `Node:MaxClockSkewSeconds`; `StateReason` says what to do then.
    pub is_clock_suspect: bool,
    /// The last exchange's way there and back.
    pub round_trip_milliseconds: u64,
    /// Operations sent since the start.
    pub operations_sent: u64,
    /// Operations received since the start.
    pub operations_received: u64,
    /// How the cache is exchanged with it; null while it is not.
    pub cache: Option<CacheStatus>,
    /// Whether our WebSocket to it is open.
    pub is_web_socket_open: bool,
    /// When this was looked at.
    pub updated_utc: String,
}

/// How the cache is exchanged with a peer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct CacheStatus {
    /// The newest change here that may leave the node, in this node's own count.
    pub position: u64,
    /// The peer has everything up to this one; 0 before it has said so since the start.
    pub told_through: u64,
    /// Changes here that the peer is not known to have, those of one key counted each: `Position` less `ToldThrough`. 0
    /// where the database does not go out to it; null before it has said what it has.
    pub to_send: Option<u64>,
    /// Whether both held the same when both last knew of the same writes; null before that was ever so.
    pub is_equal: Option<bool>,
    /// When an exchange last succeeded.
    pub last_success_utc: Option<String>,
    /// Exchanges that have failed since then, and why the last one did.
    pub failures: u32,
    /// See `Failures`.
    pub last_error: Option<String>,
    /// Keys sent since the start, those included that the peer asked for.
    pub keys_sent: u64,
    /// Keys received since the start that were new or different here, those included that the peer sent by itself.
    pub keys_received: u64,
}

/// What is on its way in one direction.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct LagStatus {
    /// Operations.
    pub operations: u64,
    /// Their bytes in the log, roughly.
    pub bytes: u64,
    /// Age of the oldest of them, in seconds.
    pub seconds: u64,
}

/// A comparison of digests.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ComparisonStatus {
    /// `Equal` or `Different`.
    pub outcome: &'static str,
    /// When it was made.
    pub at_utc: String,
    /// Documents that were left out because they were on their way.
    pub left_out: usize,
    /// Collections that differ.
    pub different_collections: Vec<String>,
    /// What this node knew then: sequence by origin.
    pub vector: std::collections::BTreeMap<String, u64>,
}

/// Looks at everything.
pub fn of(sync: &Sync) -> ReplicationStatus {
    let now = Millis(clock::now_millis());
    let peers = sync.registry().list();
    let databases = sync.databases();
    let database = |listing: crate::databases::DatabaseListing| {
        let looked = match (&listing.standing, databases.get(&listing.name)) {
            (Standing::Quarantined { reason }, _) => Err(reason.clone()),
            (_, Ok(open)) => healthy(sync, &open, &peers, now).map_err(|error| error.to_string()),
            (_, Err(error)) => Err(error.to_string()),
        };
        looked.unwrap_or_else(|error| DatabaseStatus {
            database_name: listing.name.to_string(),
            status: "Error",
            error: Some(error),
            oldest_available_log_sequence: 0,
            local_max_log_sequence: 0,
            active_peer_count: 0,
            total_estimated_pending_push_operations: 0,
            digest: None,
            conflicted_documents: 0,
            tombstones: 0,
            tombstones_kept: TombstonesKept::default(),
            waiting_for: Vec::new(),
            fenced_members: Vec::new(),
            retired_incarnations: 0,
            dead_letters: 0,
            peers: Vec::new(),
        })
    };
    ReplicationStatus {
        node_id: sync.origin().node.to_string(),
        incarnation: format!("{:016x}", sync.origin().incarnation),
        timestamp_utc: now.to_utc_text(),
        connected_nodes: sync.hub().nodes().iter().map(ToString::to_string).collect(),
        identity_events: databases.identity().list().into_iter().map(identity_event).collect(),
        databases: databases.list().into_iter().map(database).collect(),
    }
}

fn identity_event(event: IdentityEvent) -> IdentityEventStatus {
    IdentityEventStatus {
        timestamp_utc: event.at.to_utc_text(),
        database_name: event.database.map(|name| name.to_string()),
        what: event.what,
    }
}

fn healthy(
    sync: &Sync,
    database: &OpenDatabase,
    peers: &[Peer],
    now: Millis,
) -> Result<DatabaseStatus, holdfast_storage::error::StorageError> {
    let view = database.view()?;
    let state = view.state()?;
    let oldest = database.log()?.oldest()?;
    let tombstones = view.collections()?.iter().map(|(_, collection)| collection.tombstones).sum();
    let acknowledgements = database.acknowledgements()?;
    let waiting_for = acknowledgements.waiting_for(&state.members, database.origin(), &state.vector);
    let waiting_for = waiting_for.map(ToString::to_string).collect();
    let fenced = state.members.iter().filter_map(|(origin, membership)| Some((origin, membership.fenced?)));
    let (retired, fenced): (Vec<_>, Vec<_>) = fenced.partition(|(_, reason)| *reason == FenceReason::Retired);
    let retired_incarnations = retired.len();
    let fenced_members = fenced.into_iter().map(|(origin, _)| origin.to_string()).collect();
    let here = Here { oldest, newest: state.position, vector: state.vector, now };
    let peers: Vec<PeerStatus> = peers.iter().map(|peer| peer_status(sync, database, peer, &here)).collect();
    Ok(DatabaseStatus {
        database_name: database.name().to_string(),
        status: "Healthy",
        error: None,
        oldest_available_log_sequence: oldest.0,
        local_max_log_sequence: state.position.0,
        active_peer_count: peers.iter().filter(|peer| peer.is_active).count(),
        total_estimated_pending_push_operations: peers.iter().map(|peer| peer.estimated_pending_push_operations).sum(),
        digest: Some(view.digest()?.to_string()),
        conflicted_documents: state.conflicted,
        tombstones,
        tombstones_kept: database.kept()?.into(),
        waiting_for,
        fenced_members,
        retired_incarnations,
        dead_letters: state.letters.len() as u64,
        peers,
    })
}

/// Our side of a peer's status.
struct Here {
    oldest: Position,
    newest: Position,
    vector: Vector,
    now: Millis,
}

fn peer_status(sync: &Sync, database: &OpenDatabase, peer: &Peer, here: &Here) -> PeerStatus {
    let mut session = sync.session(&peer.node, database.name()).map(|session| session.status());
    let heard = sync.heard(&peer.node, database.name());
    if let Some(session) = &mut session {
        session.silence = heard.silence(clock::monotonic(), sync.tempo().patience());
    }
    let is_active = peer.is_active && peer.syncs(database.name());
    let known = session.clone().unwrap_or_default();
    let resting = sync.resting();
    let (catch_up_status, catch_up_reason) = match &resting {
        Some(closed) if is_active => ("Resting", format!("Nothing is exchanged with peers: {closed}.")),
        _ => catch_up(is_active, session.as_ref(), here),
    };
    let found = sync.surveys().found(&peer.node, database.name());
    let (state, mut state_reason) = standing::state_of(&Evidence {
        peer: peer.node.as_str(),
        database: database.name().as_str(),
        is_active: peer.is_active,
        is_selected: peer.syncs(database.name()),
        is_sent: peer.sends(database.name()),
        is_taken: peer.accepts(database.name()),
        resting: resting.as_ref(),
        session: session.as_ref(),
        found: &found,
        ours: &here.vector,
    });
    let clock = sync.skews().reason(&peer.node).filter(|_| session.is_some());
    if let Some(clock) = &clock {
        state_reason = format!("{state_reason} But {clock}.");
    }
    let cache = sync.cache_status(&peer.node, database.name());
    let cache = cache.map(|status| cache_status(database, status, peer.sends(database.name())));
    if cache.as_ref().is_some_and(|cache| cache.is_equal == Some(false)) {
        state_reason = format!("{state_reason} But the caches differ; they are exchanged anew.");
    }
    let to_send =
        if is_active && peer.sends(database.name()) { to_send(database, &known, here) } else { LagStatus::default() };
    let to_receive = if is_active && peer.accepts(database.name()) {
        to_receive(&known, &found, here)
    } else {
        LagStatus::default()
    };
    PeerStatus {
        state,
        state_reason,
        to_send,
        to_receive,
        last_contact_utc: heard.last().map(|then| Millis(here.now.0.saturating_sub(age(then).0)).to_utc_text()),
        comparison: found.conclusive.as_ref().map(comparison),
        last_equal_utc: found.proven.map(Millis::to_utc_text),
        last_equal: found.proven,
        last_success: known.last_success,
        comparison_error: found.silent.map(|(_, why)| why),
        comparisons: found.surveys,
        differences: found.differences,
        exchanges: known.exchanges,
        peer_oldest_log_sequence: found.told.map(|told| told.oldest.0),
        peer_node_id: peer.node.to_string(),
        base_url: peer.base_url.clone(),
        is_active,
        catch_up_status,
        catch_up_reason,
        oldest_available_log_sequence: here.oldest.0,
        last_pushed_local_log_sequence: known.pushed.0,
        last_pulled_peer_log_sequence: known.pulled.0,
        peer_max_log_sequence: known.peer_newest.0,
        local_max_log_sequence: here.newest.0,
        estimated_pending_push_operations: if is_active { here.newest.0.saturating_sub(known.pushed.0) } else { 0 },
        estimated_pending_pull_operations: if is_active { here.vector.missing_from(&known.peer_vector) } else { 0 },
        last_success_utc: known.last_success.map(Millis::to_utc_text),
        last_error: known.last_error.map(|(_, error)| error),
        failures: known.failures,
        next_try_utc: known.waiting_until.map(Millis::to_utc_text),
        clock_skew_milliseconds: known.skew_millis,
        is_clock_suspect: clock.is_some(),
        round_trip_milliseconds: known.round_trip_millis,
        operations_sent: known.operations_sent,
        operations_received: known.operations_received,
        cache,
        is_web_socket_open: sync.link_status(&peer.node).is_some_and(|link| link.is_connected),
        updated_utc: here.now.to_utc_text(),
    }
}

fn cache_status(database: &OpenDatabase, status: CacheSyncStatus, is_sent: bool) -> CacheStatus {
    let position = database.newest_in_cache().borrow().0;
    let untold = status.told_through.map(|told| position.saturating_sub(told.0));
    CacheStatus {
        position,
        told_through: status.told_through.unwrap_or_default().0,
        to_send: if is_sent { untold } else { Some(0) },
        is_equal: status.is_equal,
        last_success_utc: status.last_success.map(Millis::to_utc_text),
        failures: status.failures,
        last_error: status.last_error,
        keys_sent: status.sent,
        keys_received: status.received,
    }
}

/// How long ago something was.
fn age(then: std::time::Instant) -> Millis {
    let age = clock::monotonic().saturating_duration_since(then);
    Millis(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

/// What the peer lacks of our log.
fn to_send(database: &OpenDatabase, known: &SessionStatus, here: &Here) -> LagStatus {
    let log = database.log();
    let backlog = log.and_then(|log| log.backlog(known.pushed, &known.peer_vector, &here.vector));
    let lacking = backlog.map(|backlog| survey::lacking(backlog, here.now)).unwrap_or_default();
    LagStatus { operations: lacking.operations, bytes: lacking.bytes, seconds: lacking.age_millis / 1_000 }
}

/// What we lack of the peer's log. How many operations follows from the vectors; how large and how old they are is what
/// the peer has told, carried on.
fn to_receive(known: &SessionStatus, found: &Found, here: &Here) -> LagStatus {
    let operations = here.vector.missing_from(&known.peer_vector);
    let Some(told) = found.told.filter(|_| operations > 0) else {
        return LagStatus { operations, ..LagStatus::default() };
    };
    let lacking = told.lacking;
    let bytes = u128::from(lacking.bytes) * u128::from(operations) / u128::from(lacking.operations.max(1));
    let seconds = (lacking.age_millis + here.now.since(told.at).0) / 1_000;
    LagStatus { operations, bytes: u64::try_from(bytes).unwrap_or(u64::MAX), seconds }
}

fn comparison(last: &Comparison) -> ComparisonStatus {
    let (outcome, left_out, different) = match &last.outcome {
        Outcome::Equal { left_out } => ("Equal", *left_out, Vec::new()),
        Outcome::Different(collections) => ("Different", 0, collections.iter().map(ToString::to_string).collect()),
        Outcome::Inconclusive(_) => ("Inconclusive", 0, Vec::new()),
    };
    ComparisonStatus {
        outcome,
        at_utc: last.at.to_utc_text(),
        left_out,
        different_collections: different,
        vector: vector_record(&last.ours),
    }
}

fn catch_up(is_active: bool, session: Option<&SessionStatus>, here: &Here) -> (&'static str, String) {
    let Some(session) = session.filter(|_| is_active) else {
        return ("Inactive", "Peer is inactive.".to_owned());
    };
    if session.is_paused {
        return ("Paused", "The peer has switched off sync with this node.".to_owned());
    }
    if session.refused.is_any() {
        let way = match (session.refused.push, session.refused.pull) {
            (true, false) => "to be taken from",
            (false, true) => "to be given to",
            _ => "for exchange with",
        };
        return ("NotSelected", format!("This database is not selected by the peer {way} this node."));
    }
    if let Some(silence) = session.silence.filter(|_| session.last_error.is_none()) {
        return ("Silent", format!("The peer was last heard {} s ago and does not answer.", silence.as_secs()));
    }
    match &session.last_error {
        Some((_, error)) => ("Failing", format!("The last exchange failed: {error}")),
        None if here.newest == Position::START => ("Ready", "No local operations are available.".to_owned()),
        None if session.pushed >= here.newest => ("Ready", "Peer push checkpoint is current.".to_owned()),
        None => ("CatchingUp", "Peer can catch up from the local operation log.".to_owned()),
    }
}
