//! The part of `/metrics` that tells how the node leads or follows.
//!
//! Must stay true: the number of samples is bounded, however many followers have come and gone; what a follower lacks is
//! told of the databases that the caller reaches alone.

use std::sync::atomic::Ordering;

use holdfast_core::limits::REPLICA_FOLLOWERS_MAX;
use holdfast_core::replica::role::Role;

use crate::http::metrics::{Page, seconds};
use crate::replica::GroupCounts;
use crate::replica::status::{FollowerStatus, GroupStatus};
use crate::telemetry::metrics;

/// Writes the numbers of the group.
pub(super) fn put(page: &mut Page, status: &GroupStatus, counts: &GroupCounts, is_reached: &dyn Fn(&str) -> bool) {
    let role = |role: Role| (format!("{{role=\"{}\"}}", role.as_str()), u8::from(role.as_str() == status.role));
    page.family(metrics::REPLICA_ROLE, [Role::Alone, Role::Leader, Role::Follower].map(role));
    page.family(metrics::REPLICA_EPOCH, [(String::new(), status.epoch)]);
    page.family(metrics::REPLICA_READ_ONLY, [(String::new(), u8::from(status.read_only))]);
    put_followers(page, &status.leader.followers, is_reached);
    for (definition, count) in [
        (metrics::REPLICA_APPLIED, &counts.applied),
        (metrics::REPLICA_FAILOVERS, &counts.failovers),
        (metrics::REPLICA_SYNC_TIMEOUTS, &counts.sync_timeouts),
        (metrics::REPLICA_REFUSED, &counts.refused),
    ] {
        page.family(definition, [(String::new(), count.load(Ordering::Relaxed))]);
    }
}

fn put_followers(page: &mut Page, followers: &[FollowerStatus], is_reached: &dyn Fn(&str) -> bool) {
    // Those that are there come first: they are never too many.
    let (there, gone): (Vec<_>, Vec<_>) = followers.iter().partition(|follower| follower.connected_at.is_some());
    let shown: Vec<&FollowerStatus> = there.into_iter().chain(gone).take(REPLICA_FOLLOWERS_MAX).collect();
    // Names of nodes are letters, digits, '.', '_' and '-': they need no escaping in a label.
    let label = |follower: &FollowerStatus| format!("{{follower=\"{}\"}}", follower.node);
    let connected = |follower: &&FollowerStatus| (label(follower), u8::from(follower.connected_at.is_some()));
    page.family(metrics::REPLICA_CONNECTED, shown.iter().map(connected));
    let reached = |follower: &FollowerStatus| {
        let databases = follower.databases.iter().filter(|database| is_reached(&database.database));
        databases.fold((0_u64, 0_u64), |(operations, millis), database| {
            (operations.saturating_add(database.lag_ops), millis.max(database.lag_ms))
        })
    };
    page.family(metrics::REPLICA_LAG_OPERATIONS, shown.iter().map(|follower| (label(follower), reached(follower).0)));
    let lag_seconds = |follower: &&FollowerStatus| (label(follower), seconds(u128::from(reached(follower).1) * 1_000));
    page.family(metrics::REPLICA_LAG_SECONDS, shown.iter().map(lag_seconds));
}
