//! The part of `/metrics` that tells how sync with each peer is doing, database by database.
//!
//! Must stay true: the number of samples is bounded, however many peers and databases there are.

use std::fmt::Display;

use holdfast_core::limits::METRIC_SESSIONS_MAX;
use holdfast_core::time::Millis;

use crate::http::metrics::{Page, seconds};
use crate::sync::standing::PeerState;
use crate::sync::status::{LagStatus, PeerStatus, ReplicationStatus};
use crate::telemetry::metrics::{self, Definition};

/// A peer in a database.
struct Session {
    labels: String,
    status: PeerStatus,
}

/// Writes the numbers of every peer in the databases that the caller reaches.
pub(super) fn put(page: &mut Page, status: ReplicationStatus, is_reached: &dyn Fn(&str) -> bool) {
    let now = Millis(crate::clock::now_millis());
    let mut sessions = Vec::new();
    for database in status.databases.into_iter().filter(|database| is_reached(&database.database_name)) {
        for peer in database.peers {
            // Names of nodes and databases are letters, digits, '.', '_' and '-': they need no escaping in a label.
            let labels = format!("peer=\"{}\",database=\"{}\"", peer.peer_node_id, database.database_name);
            sessions.push(Session { labels, status: peer });
        }
    }
    page.family(
        metrics::SYNC_SESSIONS,
        PeerState::ALL.map(|state| {
            let count = sessions.iter().filter(|session| session.status.state == state).count();
            (format!("{{state=\"{}\"}}", state.name()), count)
        }),
    );
    sessions.truncate(METRIC_SESSIONS_MAX);
    let state = |session: &Session| (session.with(&format!("state=\"{}\"", session.status.state.name())), 1);
    page.family(metrics::SYNC_STATE, sessions.iter().map(state));
    put_lag(page, &sessions);
    put_counts(page, &sessions);
    put_ages(page, &sessions, now);
}

fn put_lag(page: &mut Page, sessions: &[Session]) {
    type Read = fn(&LagStatus) -> u64;
    let lags: [(Definition, Read); 3] = [
        (metrics::SYNC_LAG_OPERATIONS, |lag| lag.operations),
        (metrics::SYNC_LAG_BYTES, |lag| lag.bytes),
        (metrics::SYNC_LAG_SECONDS, |lag| lag.seconds),
    ];
    for (definition, read) in lags {
        let both = |session: &Session| {
            let (send, receive) = (&session.status.to_send, &session.status.to_receive);
            [(session.with("direction=\"send\""), read(send)), (session.with("direction=\"receive\""), read(receive))]
        };
        page.family(definition, sessions.iter().flat_map(both));
    }
}

fn put_counts(page: &mut Page, sessions: &[Session]) {
    type Read = fn(&PeerStatus) -> u64;
    let counts: [(Definition, Read); 6] = [
        (metrics::SYNC_FAILURES, |status| u64::from(status.failures)),
        (metrics::SYNC_SENT, |status| status.operations_sent),
        (metrics::SYNC_RECEIVED, |status| status.operations_received),
        (metrics::SYNC_EXCHANGES, |status| status.exchanges),
        (metrics::SYNC_COMPARISONS, |status| status.comparisons),
        (metrics::SYNC_DIFFERENCES, |status| status.differences),
    ];
    for (definition, read) in counts {
        page.family(definition, sessions.iter().map(|session| (session.with(""), read(&session.status))));
    }
}

fn put_ages(page: &mut Page, sessions: &[Session], now: Millis) {
    let thousandths = |millis: u64| seconds(u128::from(millis) * 1_000);
    let age = |moment: Option<Millis>| moment.map(|then| thousandths(now.since(then).0));
    put_known(page, metrics::SYNC_SUCCESS_AGE, sessions, &|status| age(status.last_success));
    put_known(page, metrics::SYNC_PROOF_AGE, sessions, &|status| age(status.last_equal));
    put_known(page, metrics::SYNC_DIGEST_EQUAL, sessions, &|status| {
        status.comparison.as_ref().map(|last| u8::from(last.outcome == "Equal"))
    });
    put_known(page, metrics::CACHE_SENT, sessions, &|status| status.cache.as_ref().map(|cache| cache.keys_sent));
    put_known(page, metrics::CACHE_RECEIVED, sessions, &|status| {
        status.cache.as_ref().map(|cache| cache.keys_received)
    });
    put_known(page, metrics::CACHE_LAG, sessions, &|status| status.cache.as_ref().and_then(|cache| cache.to_send));
    put_known(page, metrics::CACHE_FAILURES, sessions, &|status| status.cache.as_ref().map(|cache| cache.failures));
    put_known(page, metrics::CACHE_EQUAL, sessions, &|status| {
        status.cache.as_ref().and_then(|cache| cache.is_equal).map(u8::from)
    });
    put_known(page, metrics::SYNC_ROUND_TRIP, sessions, &|status| {
        status.last_success.map(|_| thousandths(status.round_trip_milliseconds))
    });
    put_known(page, metrics::SYNC_CLOCK_SUSPECT, sessions, &|status| {
        status.last_success.map(|_| u8::from(status.is_clock_suspect))
    });
    put_known(page, metrics::SYNC_SKEW, sessions, &|status| {
        let sign = if status.clock_skew_milliseconds < 0 { "-" } else { "" };
        status.last_success.map(|_| format!("{sign}{}", thousandths(status.clock_skew_milliseconds.unsigned_abs())))
    });
}

/// A family with a sample for each session of which it is known.
fn put_known<V: Display>(
    page: &mut Page,
    definition: Definition,
    sessions: &[Session],
    read: &dyn Fn(&PeerStatus) -> Option<V>,
) {
    page.family(definition, sessions.iter().filter_map(|session| Some((session.with(""), read(&session.status)?))));
}

impl Session {
    /// Its labels, and one more.
    fn with(&self, label: &str) -> String {
        let comma = if label.is_empty() { "" } else { "," };
        format!("{{{}{comma}{label}}}", self.labels)
    }
}
