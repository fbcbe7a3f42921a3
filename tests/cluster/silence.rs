//! Peers that are not heard, and peers that are switched off: what status says of them, and that nothing is lost.

use std::time::{Duration, Instant};

use holdfast_tests::cluster::{Home, Node, SOON, introduce, wait_for, wait_until_equal};
use serde_json::{Value, json};

/// The bound for the settings below: five seconds until the next health check, two for its answer.
const DOUBTED_WITHIN: Duration = Duration::from_secs(8);

async fn state_is(node: &Node, peer: &str, wanted: &str, within: Duration) -> Value {
    wait_for(&format!("{peer} is {wanted}"), within, async || {
        let told = node.client("shop").peer_status(peer).await?;
        if told["State"] == wanted { Ok(told) } else { Err(told.to_string()) }
    })
    .await
}

async fn switch(node: &Node, peer: &Node, is_active: bool) {
    let record = json!({"NodeId": peer.name(), "BaseUrl": peer.url, "IsActive": is_active});
    node.client("shop").post("/api/cluster/peers", &record.to_string()).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_answer_is_doubted_long_before_the_next_sweep() {
    let home = |name| Home::new(name).with("Node:ReplicationSignalAckTimeoutMilliseconds", "2000");
    let homes = ["left", "right"].map(home);
    let [left, right] = homes.each_ref().map(Home::start);
    introduce((&left, &left.url), (&right, &right.url)).await;
    left.client("shop").put("/api/documents/stock/tea", "{}").await.expect(200);
    wait_until_equal(&[&left, &right], "shop").await;
    state_is(&left, "right", "InSync", SOON).await;
    right.pause();
    let told = state_is(&left, "right", "Silent", DOUBTED_WITHIN).await;
    let reason = told["StateReason"].as_str().unwrap();
    assert!(reason.contains("was last heard") && reason.contains("does not answer"), "{reason}");
    right.resume();
    // Not with the next sweep, which is a minute away.
    state_is(&left, "right", "InSync", SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_switched_off_gives_and_takes_nothing_and_loses_nothing() {
    let homes = ["left", "right"].map(Home::new);
    let [left, right] = homes.each_ref().map(Home::start);
    introduce((&left, &left.url), (&right, &right.url)).await;
    left.client("shop").put("/api/documents/stock/tea", r#"{"n":1}"#).await.expect(200);
    wait_until_equal(&[&left, &right], "shop").await;
    switch(&left, &right, false).await;
    state_is(&left, "right", "Inactive", SOON).await;
    left.client("shop").put("/api/documents/stock/salt", r#"{"n":2}"#).await.expect(200);
    right.client("shop").put("/api/documents/stock/rice", r#"{"n":3}"#).await.expect(200);
    // The other side is told why, and does not call it a failure.
    let told = state_is(&right, "left", "Paused", SOON).await;
    assert!(told["LastError"].is_null() && told["CatchUpStatus"] == "Paused", "{told}");
    assert!(told["StateReason"].as_str().unwrap().contains("Nothing is lost"), "{told}");
    // Neither way, nor by those that say their name in the body alone.
    left.client("shop").get("/api/documents/stock/rice").await.problem(404, "not-found");
    right.client("shop").get("/api/documents/stock/salt").await.problem(404, "not-found");
    let pull = json!({"RequestingNodeId": "right", "AfterLogSequence": 0}).to_string();
    left.client("shop").post("/api/replication/pull", &pull).await.problem(403, "peer-inactive");
    let begun = Instant::now();
    switch(&left, &right, true).await;
    wait_until_equal(&[&left, &right], "shop").await;
    for node in [&left, &right] {
        for id in ["tea", "salt", "rice"] {
            node.client("shop").get(&format!("/api/documents/stock/{id}")).await.expect(200);
        }
    }
    state_is(&right, "left", "InSync", SOON).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "it waited for a sweep: {:?}", begun.elapsed());
}
