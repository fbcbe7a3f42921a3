//! Who is counted with in a group of leader and followers: voters that leave or are gone, databases that were dropped, a
//! leader that was frozen.

use holdfast_tests::cluster::{Home, Node, SOON, wait_for, wait_until_equal};
use serde_json::{Value, json};

use crate::replicas::{ask, follower, group, leader, put, run, until, until_following};

fn voting(home: Home) -> Home {
    home.with("Replication:AutoFailover:SilenceSeconds", "1")
}

fn voters(status: &Value) -> Vec<String> {
    let voters = status["voters"].as_array().into_iter().flatten();
    voters.filter_map(|voter| voter["node"].as_str().map(str::to_owned)).collect()
}

async fn until_all_vote(nodes: &[&Node], count: usize) {
    for node in nodes {
        until("all vote", node, |status| voters(status).len() == count).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_is_counted_no_more_and_who_is_gone_can_be_forgotten() {
    let leading = run(voting(leader("a")));
    let second = run(voting(follower("b", &leading).await));
    let third_home = voting(follower("c", &leading).await);
    let third = third_home.start();
    let fourth = run(voting(follower("d", &leading).await));
    until_all_vote(&[&leading, &second, &third, &fourth], 4).await;
    // It says goodbye.
    ask(&fourth, "stop", json!({})).await;
    until("it is counted no more", &second, |status| voters(status) == ["a", "b", "c"]).await;
    let connected = leading.client("none").post("/replication/forget", r#"{"node": "c"}"#).await;
    connected.problem(409, "not-possible");
    let follower_asked = second.client("none").post("/replication/forget", r#"{"node": "c"}"#).await;
    follower_asked.problem(409, "not-the-leader");
    third.kill();
    wait_for("it can be forgotten", SOON, async || {
        let answer = leading.client("none").post("/replication/forget", r#"{"node": "c"}"#).await;
        if answer.is_success() { Ok(()) } else { Err(answer.text) }
    })
    .await;
    until("it is counted no more", &second, |status| voters(status) == ["a", "b"]).await;
    leading.client("none").post("/replication/forget", r#"{"node": "c"}"#).await.problem(409, "not-possible");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nobody_is_elected_and_promotion_asks_for_force() {
    let leader_home = voting(leader("a"));
    let leading = leader_home.start();
    let second_home = voting(follower("b", &leading).await);
    let second = second_home.start();
    let third = run(voting(follower("c", &leading).await));
    until_all_vote(&[&leading, &second, &third], 3).await;
    put(&leading.client("shop"), "o-1", 1).await;
    wait_until_equal(&[&leading, &third], "shop").await;
    // Beside others that are there it is refused, whatever this node believes.
    let opposed = third.client("none").post("/replication/promote", "{}").await;
    opposed.problem(409, "leader-is-there");
    second.kill();
    leading.kill();
    let status = until("a ballot was lost", &third, |status| !status["follower"]["unelected"].is_null()).await;
    assert_eq!(status["follower"]["unelected"], json!({"votes": 1, "voters": 3, "needed": 2}));
    assert_eq!(status["follower"]["lagOps"], Value::Null, "nobody knows what the leader has written since");
    assert!(!third.home().log_lines("was not elected in its place").is_empty());
    wait_for("the leader was silent for long", SOON, async || {
        let refused = third.client("none").post("/replication/promote", "{}").await;
        if refused.text.contains("no-majority") { Ok(()) } else { Err(refused.text) }
    })
    .await;
    ask(&third, "promote", json!({"force": true})).await;
    put(&third.client("shop"), "o-2", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_dropped_stays_dropped_whoever_was_away_and_wherever_the_lead_goes() {
    let first_home = leader("a");
    let first = first_home.start();
    let second = run(follower("b", &first).await);
    until_following(&second).await;
    for n in 0..20 {
        put(&first.client("gone"), &format!("o-{n}"), n).await;
    }
    put(&first.client("shop"), "o-1", 1).await;
    wait_until_equal(&[&first, &second], "gone").await;
    first.kill();
    ask(&second, "promote", json!({"force": true})).await;
    second.client("none").delete("/api/databases/gone").await.expect(200);
    let first = first_home.start();
    until_following(&first).await;
    wait_for("it is dropped there too", SOON, async || {
        let names = first.client("none").get("/api/databases").await.text;
        if names.contains("gone") { Err(names) } else { Ok(()) }
    })
    .await;
    ask(&second, "handover", json!({})).await;
    until_following(&second).await;
    wait_until_equal(&[&first, &second], "shop").await;
    for node in [&*second, &first] {
        let names = node.client("none").get("/api/databases").await.text;
        assert!(!names.contains("gone"), "{}: {names}", node.name());
    }
    // Made anew it is another one.
    put(&first.client("gone"), "new", 7).await;
    wait_until_equal(&[&first, &second], "gone").await;
    assert_eq!(second.client("gone").collection("orders").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_frozen_asks_who_leads_before_it_writes_again() {
    let leading = run(voting(leader("a")));
    let second = run(voting(follower("b", &leading).await));
    let third = run(voting(follower("c", &leading).await));
    until_all_vote(&[&leading, &second, &third], 3).await;
    leading.pause();
    wait_for("another leads", SOON, async || {
        let (second, third) = (group(&second).await, group(&third).await);
        let is_led = |status: &Value| status["role"] == "leader";
        if is_led(&second) || is_led(&third) { Ok(()) } else { Err(format!("{second} {third}")) }
    })
    .await;
    leading.resume();
    until("it follows", &leading, |status| status["role"] == "follower").await;
    assert!(!leading.home().log_lines("this node was frozen while it led").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn how_many_followers_a_write_waits_for_goes_with_the_lead() {
    let leading = run(leader("a"));
    let second = run(follower("b", &leading).await);
    until_following(&second).await;
    ask(&leading, "sync-replicas", json!({"minSyncReplicas": 1, "syncTimeoutSeconds": 20})).await;
    until("the follower knows", &second, |status| status["minSyncReplicas"] == 1).await;
    ask(&leading, "handover", json!({})).await;
    let status = until("it leads", &second, |status| status["role"] == "leader").await;
    assert_eq!((&status["minSyncReplicas"], &status["syncTimeoutSeconds"]), (&json!(1), &json!(20.0)), "{status}");
}
