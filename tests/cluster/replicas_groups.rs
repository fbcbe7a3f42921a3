//! Groups of leader and followers are told apart: a node that is pointed at the wrong leader changes nothing there.

use holdfast_tests::cluster::{Home, SOON, wait_for, wait_until_equal};
use serde_json::json;

use crate::replicas::{ask, follower, group, leader, put, run, until, until_following};

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_of_another_group_is_not_let_in_and_fences_nobody() {
    let prod = run(leader("prod"));
    put(&prod.client("shop"), "o-1", 1).await;
    let staging_home = leader("staging");
    let staging = staging_home.start();
    let follower_home = follower("branch", &staging).await;
    let branch = follower_home.start();
    put(&staging.client("scratch"), "s-1", 7).await;
    until_following(&branch).await;
    wait_until_equal(&[&staging, &branch], "scratch").await;
    // Epochs far above those of the other group.
    ask(&branch, "promote", json!({"force": true})).await;
    ask(&branch, "stop", json!({})).await;
    ask(&branch, "start-leader", json!({})).await;
    ask(&branch, "stop", json!({})).await;
    let port = group(&prod).await["replicationPort"].clone();
    let wrong = json!({"host": "127.0.0.1", "port": port});
    ask(&branch, "start-follower", wrong.clone()).await;
    let refused = until("it says why it is not let in", &branch, |status| {
        status["follower"]["lastError"].as_str().is_some_and(|error| error.contains("different groups"))
    })
    .await;
    assert_eq!(refused["follower"]["leader"]["node"], json!(null));
    let status = group(&prod).await;
    assert_eq!((&status["role"], &status["epoch"]), (&json!("leader"), &json!(1)), "{status}");
    assert_eq!(status["leader"]["followerCount"], 0);
    let names = prod.client("none").get("/api/databases").await.expect(200);
    assert!(!names.to_string().contains("scratch"), "{names}");
    // An operator who means it says so.
    ask(&branch, "start-follower", json!({"host": "127.0.0.1", "port": port, "force": true})).await;
    until_following(&branch).await;
    wait_until_equal(&[&prod, &branch], "shop").await;
    wait_until_equal(&[&prod, &branch], "scratch").await;
    assert_eq!(group(&branch).await["group"], group(&prod).await["group"]);
    assert_eq!(group(&prod).await["role"], "leader");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_documents_of_its_own_spills_nothing_into_a_leader_that_it_is_pointed_at() {
    let prod = run(leader("prod"));
    put(&prod.client("shop"), "o-1", 1).await;
    let plain = run(Home::new("plain").with("Replication:Secret", "Sk-81b3-replicas-of-the-tests"));
    put(&plain.client("shop"), "o-1", 99).await;
    put(&plain.client("junk"), "j-1", 5).await;
    let port = group(&prod).await["replicationPort"].clone();
    ask(&plain, "start-follower", json!({"host": "127.0.0.1", "port": port})).await;
    until("it says why it is not let in", &plain, |status| {
        status["follower"]["lastError"].as_str().is_some_and(|error| error.contains("never seen"))
    })
    .await;
    assert_eq!(prod.client("shop").document("orders", "o-1").await.unwrap()["n"], 1);
    assert_eq!(plain.client("shop").document("orders", "o-1").await.unwrap()["n"], 99, "nor the other way");
    let lines = prod.home().log_lines("a node was not let into this group");
    assert!(!lines.is_empty(), "the leader says so too");
    ask(&plain, "start-follower", json!({"host": "127.0.0.1", "port": port, "force": true})).await;
    until_following(&plain).await;
    wait_until_equal(&[&prod, &plain], "junk").await;
    wait_until_equal(&[&prod, &plain], "shop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_is_ready_once_it_has_had_everything_and_stays_so_without_its_leader() {
    let leading_home = leader("office");
    let leading = leading_home.start();
    put(&leading.client("shop"), "o-1", 1).await;
    let stranger = run(follower("stranger", &leading).await.with("Replication:Secret", "another-secret-of-the-tests"));
    until("it is not let in", &stranger, |status| status["follower"]["lastError"].is_string()).await;
    stranger.client("none").get("/readyz").await.problem(503, "catching-up");
    assert_eq!(group(&stranger).await["follower"]["lagOps"], json!(null), "nobody knows");
    let home = follower("branch", &leading).await;
    let following = home.start();
    wait_until_equal(&[&leading, &following], "shop").await;
    wait_for("it is ready", SOON, async || {
        let ready = following.client("none").get("/readyz").await;
        if ready.is_success() { Ok(()) } else { Err(ready.text) }
    })
    .await;
    following.kill();
    leading.kill();
    let following = home.start();
    following.client("none").get("/readyz").await.expect(200);
}
