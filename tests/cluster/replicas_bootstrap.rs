//! A follower that begins below the leader's log, over lines that break: what has come is not sent again.

use std::time::Duration;

use holdfast_tests::cluster::{Home, Line, Node, SOON, Weather, wait_for, wait_until_equal};
use serde_json::json;

use crate::replicas::{Running, follower, group, leader, put, run};

/// Documents that are bootstrapped from.
const DOCUMENTS: u64 = 6_000;
/// Characters of each, which hardly compress.
const CHARACTERS: usize = 1_000;
/// What all of them take on the line, roughly.
const WHOLE_BYTES: u64 = DOCUMENTS * CHARACTERS as u64;
/// What a line carries before it is cut. Less than the largest page of states, whatever the machine.
const BETWEEN_CUTS_BYTES: u64 = 1_200_000;

/// As fast as a link between two sites: fast enough for a test, slow enough to be cut in the middle.
fn slow() -> Weather {
    Weather { delay: Duration::from_millis(20), ..Weather::default() }
}

/// A text that no compression makes much shorter, the same for the same seed.
fn noise(seed: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(LETTERS[(state >> 58) as usize])
    };
    (0..CHARACTERS).map(letter).collect()
}

/// Lets a node forget its log.
fn forgetful(home: Home) -> Home {
    home.with("Node:OperationLogRetentionDays", "0").with("Node:OperationLogRetainRecentOperations", "0")
}

async fn prune(node: &Node) {
    let pruned = node.client("shop").post("/api/replication/operation-log/prune", "").await.expect(200);
    assert!(pruned[0]["PrunedCount"].as_u64().unwrap() > DOCUMENTS * 9 / 10, "{pruned}");
}

/// A leader with many documents and a log that holds none of them.
async fn pruned_leader() -> Running {
    let leading = run(forgetful(leader("office")));
    let client = leading.client("shop");
    for begin in (0..DOCUMENTS).step_by(500) {
        let document = |n: u64| json!({"Id": format!("d-{n}"), "n": n, "text": noise(n)}).to_string() + "\n";
        let lines: String = (begin..begin + 500).map(document).collect();
        client.post("/api/documents/orders/bulk", &lines).await.expect(200);
    }
    prune(&leading).await;
    leading
}

/// A line to the port where a leader is followed.
async fn line_to(leading: &Node) -> Line {
    let port = group(leading).await["replicationPort"].as_u64().unwrap();
    let line = Line::to(&format!("http://127.0.0.1:{port}")).await;
    line.set(slow());
    line
}

async fn follower_over(line: &Line, leading: &Node) -> Home {
    follower("replica", leading).await.with("Replication:LeaderPort", &line.port().to_string())
}

async fn until_carried(line: &Line, more: u64) {
    let before = line.carried_back();
    wait_for("more has come over the line", SOON, async || {
        let carried = line.carried_back() - before;
        if carried >= more { Ok(()) } else { Err(format!("{carried} of {more} bytes")) }
    })
    .await;
}

/// Bytes that a leader has sent to the follower, over all connections.
async fn sent(leading: &Node) -> u64 {
    let status = group(leading).await;
    status["leader"]["followers"][0]["bytesSent"].as_u64().unwrap_or_else(|| panic!("nobody follows: {status}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn states_that_came_before_a_cut_are_not_sent_again() {
    let leading = pruned_leader().await;
    let line = line_to(&leading).await;
    let following = run(follower_over(&line, &leading).await);
    for cut in 0..4 {
        until_carried(&line, BETWEEN_CUTS_BYTES).await;
        line.cut();
        put(&leading.client("shop"), &format!("d-{cut}"), cut).await;
        line.set(slow());
    }
    wait_until_equal(&[&leading, &following], "shop").await;
    let carried = line.carried_back();
    assert!(carried < WHOLE_BYTES * 3 / 2, "{carried} bytes came over the line, for {WHOLE_BYTES}");
}

#[tokio::test(flavor = "multi_thread")]
async fn states_that_came_before_the_follower_was_killed_are_not_sent_again() {
    let leading = pruned_leader().await;
    let line = line_to(&leading).await;
    let home = follower_over(&line, &leading).await;
    for _ in 0..3 {
        let following = home.start();
        until_carried(&line, BETWEEN_CUTS_BYTES).await;
        following.kill();
    }
    let following = home.start();
    wait_until_equal(&[&leading, &following], "shop").await;
    let sent = sent(&leading).await;
    assert!(sent < WHOLE_BYTES * 3 / 2, "{sent} bytes were sent, for {WHOLE_BYTES}");
    following.kill();
    home.assert_sound();
}
