//! The cache in a group of leader and followers: what was answered is as safe as a document, whoever leads next.

use std::time::Duration;

use holdfast_tests::cluster::{Home, Line, Node, SOON, Weather, wait_for};
use serde_json::{Value, json};

use crate::replicas::{ask, follower, group, leader, run, until, until_following};

/// Sets so many entries, and gives their keys.
async fn set(node: &Node, entries: u32) -> Vec<String> {
    let mut keys = Vec::new();
    for n in 0..entries {
        let key = format!("price-{n}");
        node.client("shop").put(&format!("/api/cache/{key}?ttl=1h"), &n.to_string()).await.expect(200);
        keys.push(key);
    }
    keys
}

async fn missing(node: &Node, keys: &[String]) -> Vec<String> {
    let mut missing = Vec::new();
    for key in keys {
        if !node.client("shop").get(&format!("/api/cache/{key}")).await.is_success() {
            missing.push(key.clone());
        }
    }
    missing
}

/// A follower that dials its leader through a line.
async fn follower_behind(line: &Line, name: &str, of: &Node) -> Home {
    let port = line.url().rsplit_once(':').unwrap().1.to_owned();
    follower(name, of).await.with("Replication:LeaderPort", &port)
}

async fn line_to(node: &Node) -> Line {
    Line::to(&format!("http://127.0.0.1:{}", group(node).await["replicationPort"])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_over_has_the_entries_that_were_on_their_way() {
    let leading = run(leader("office"));
    let line = line_to(&leading).await;
    let following = run(follower_behind(&line, "branch", &leading).await);
    until_following(&following).await;
    set(&leading, 1).await;
    wait_for("the first entry is there", SOON, async || {
        if missing(&following, &["price-0".to_owned()]).await.is_empty() { Ok(()) } else { Err(String::new()) }
    })
    .await;
    line.set(Weather { delay: Duration::from_millis(300), ..Weather::default() });
    let keys = set(&leading, 40).await;
    ask(&leading, "handover", json!({"timeoutSeconds": 40})).await;
    assert_eq!(missing(&following, &keys).await, Vec::<String>::new(), "the new leader lacks what was answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_an_old_leader_alone_holds_are_merged_when_it_returns() {
    let leader_home = leader("one");
    let first = leader_home.start();
    let second_home = follower("two", &first).await;
    let second = second_home.start();
    until_following(&second).await;
    set(&first, 1).await;
    wait_for("the first entry is there", SOON, async || {
        if missing(&second, &["price-0".to_owned()]).await.is_empty() { Ok(()) } else { Err(String::new()) }
    })
    .await;
    second.kill();
    let keys = set(&first, 9).await;
    first.kill();
    let second = second_home.start();
    until("the leader is missed", &second, |status| status["follower"]["state"] == "disconnected").await;
    ask(&second, "promote", json!({"force": true})).await;
    let first = leader_home.start();
    until("the old leader follows", &first, |status| status["follower"]["state"] == "streaming").await;
    wait_for("the entries have come", SOON, async || {
        let missing = missing(&second, &keys).await;
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
    })
    .await;
    let status = group(&second).await;
    assert!(status["leader"]["followers"][0]["mergedOps"].as_u64() >= Some(8), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_the_entries_is_elected_and_who_lacks_them_is_shown_to() {
    let voting = |home: Home| home.with("Replication:AutoFailover:SilenceSeconds", "1");
    let first_home = voting(leader("one"));
    let first = first_home.start();
    let line = line_to(&first).await;
    let behind = run(voting(follower_behind(&line, "behind", &first).await));
    let there = run(voting(follower("there", &first).await));
    let all_vote = |status: &Value| status["voters"].as_array().is_some_and(|voters| voters.len() == 3);
    until("all three vote", &behind, all_vote).await;
    until("all three vote", &there, all_vote).await;
    set(&first, 1).await;
    ask(&first, "sync-replicas", json!({"minSyncReplicas": 1, "syncTimeoutSeconds": 20})).await;
    line.set(Weather { swallows_answers: true, ..Weather::default() });
    let keys = set(&first, 30).await;
    let lag = |status: &Value| -> Option<u64> {
        let followers = status["leader"]["followers"].as_array()?;
        followers.iter().find(|follower| follower["node"] == "behind")?["lagOps"].as_u64()
    };
    until("the leader says what one lacks", &first, |status| lag(status) >= Some(29)).await;
    first.kill();
    let elected = until("one leads", &there, |status| status["epoch"].as_u64() >= Some(2)).await;
    assert_eq!(elected["epochLeader"], "there", "{elected}");
    assert_eq!(missing(&there, &keys).await, Vec::<String>::new());
}
