//! Followers as members of each database: what is kept for one that is away, and what becomes of one that is not kept for.

use holdfast_tests::cluster::{Client, Home, Node, SOON, wait_for, wait_until_equal};
use serde_json::{Value, json};

use crate::replicas::{ask, follower, group, leader, put, until, until_following};

/// A home whose node keeps nothing longer than it must.
fn forgetful(home: Home) -> Home {
    home.with("Node:SweepIntervalSeconds", "1")
        .with("Node:TombstoneRetentionMinutes", "0")
        .with("Node:OperationLogRetentionDays", "0")
        .with("Node:OperationLogRetainRecentOperations", "0")
}

/// What a node says of the database of these tests.
async fn shop(node: &Node) -> Value {
    let status = node.client("shop").get("/api/replication/status").await.expect(200);
    let databases = status["Databases"].as_array().cloned().unwrap_or_default();
    databases.into_iter().find(|one| one["DatabaseName"] == "shop").unwrap_or_default()
}

async fn prune(client: &Client) -> Value {
    let pruned = client.post("/api/replication/operation-log/prune", "").await.expect(200);
    let of_shop = pruned.as_array().and_then(|all| all.iter().find(|one| one["DatabaseName"] == "shop").cloned());
    of_shop.unwrap_or_default()
}

/// Waits until a node holds so many markers of deleted documents.
async fn until_tombstones(node: &Node, wanted: u64) {
    wait_for(&format!("{} holds {wanted} tombstones", node.name()), SOON, async || {
        let told = shop(node).await;
        if told["Tombstones"] == wanted { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
}

/// How the members of a database stand, by name.
async fn standing(node: &Node, of: &str) -> Vec<String> {
    let told = node.client("shop").get("/api/replication/members").await.expect(200);
    let members = told["Members"].as_array().cloned().unwrap_or_default();
    let of = members.iter().filter(|member| member["NodeId"] == of);
    of.map(|member| member["Standing"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn fill(client: &Client, count: u64) {
    let lines: Vec<String> = (0..count).map(|n| json!({"Id": format!("o-{n}"), "n": n}).to_string()).collect();
    client.post("/api/documents/orders/bulk", &lines.join("\n")).await.expect(200);
}

async fn delete(client: &Client, ids: std::ops::Range<u64>) {
    let ids: Vec<String> = ids.map(|n| format!("'o-{n}'")).collect();
    for some in ids.chunks(200) {
        let query = format!("DELETE FROM orders WHERE Id IN ({})", some.join(", "));
        client.post("/api/query", &json!({"Query": query}).to_string()).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_are_remembered_for_a_follower_that_is_away_until_it_is_counted_out_and_stay_deleted_when_it_returns() {
    let leading_home = forgetful(leader("office"));
    let leading = leading_home.start();
    let there = leading.client("shop");
    fill(&there, 1_500).await;
    let home = forgetful(follower("replica", &leading).await);
    let following = home.start();
    wait_until_equal(&[&leading, &following], "shop").await;
    wait_for("it is a member", SOON, async || {
        let standing = standing(&leading, "replica").await;
        if standing == ["Member"] { Ok(()) } else { Err(format!("{standing:?}")) }
    })
    .await;
    following.kill();
    delete(&there, 0..1_000).await;
    let told = wait_for("the deletes wait for it", SOON, async || {
        let told = shop(&leading).await;
        if told["TombstonesKept"]["ForMembers"] == 1_000 { Ok(told) } else { Err(told.to_string()) }
    })
    .await;
    let waits_for_it =
        |told: &Value| told.as_array().is_some_and(|of| of.len() == 1 && of[0].to_string().contains("replica@"));
    assert!(waits_for_it(&told["WaitingFor"]), "{told}");
    let grouped = group(&leading).await;
    let of_shop = grouped["databases"].as_array().unwrap().iter().find(|one| one["database"] == "shop").unwrap();
    assert_eq!((&of_shop["tombstones"], &of_shop["tombstonesKept"]["forMembers"]), (&json!(1_000), &json!(1_000)));
    assert!(waits_for_it(&of_shop["waitingFor"]), "{of_shop}");
    // The log is kept for it as well: what it has not confirmed stays.
    let (newest, kept) = (told["LocalMaxLogSequence"].as_u64().unwrap(), prune(&there).await);
    assert!(kept["PruneThroughLogSequence"].as_u64().unwrap() <= newest - 1_000, "{kept}");
    // Counted out, nothing is kept for it any more.
    there.post("/api/replication/members/fence", r#"{"Member": "replica", "Force": true}"#).await.expect(200);
    until_tombstones(&leading, 0).await;
    let pruned = prune(&there).await;
    assert_eq!(pruned["Status"], "Pruned", "{pruned}");
    assert!(pruned["MaxPrunedLogSequence"].as_u64().unwrap() > newest - 500, "{pruned}");
    let following = home.start();
    wait_until_equal(&[&leading, &following], "shop").await;
    assert_eq!(following.client("shop").collection("orders").await.len(), 500);
    wait_for("it is a member again", SOON, async || {
        let standing = standing(&leading, "replica").await;
        if standing == ["Member"] { Ok(()) } else { Err(format!("{standing:?}")) }
    })
    .await;
    delete(&there, 1_000..1_010).await;
    wait_until_equal(&[&leading, &following], "shop").await;
    until_tombstones(&leading, 0).await;
    until_tombstones(&following, 0).await;
    following.stop();
    home.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_give_up_what_all_of_them_know_and_their_logs_do_not_grow_for_ever() {
    let homes = [forgetful(leader("office"))];
    let leading = homes[0].start();
    let there = leading.client("shop");
    let second_home = forgetful(follower("two", &leading).await);
    let second = second_home.start();
    until_following(&second).await;
    let third_home = forgetful(follower("three", &second).await);
    let third = third_home.start();
    until_following(&third).await;
    fill(&there, 2_000).await;
    delete(&there, 0..500).await;
    let nodes = [&leading, &second, &third];
    wait_until_equal(&nodes, "shop").await;
    for node in nodes {
        until_tombstones(node, 0).await;
        wait_for(&format!("the log of {} is cut", node.name()), SOON, async || {
            let pruned = prune(&node.client("shop")).await;
            let told = shop(node).await;
            let (oldest, newest) = (&told["OldestAvailableLogSequence"], &told["LocalMaxLogSequence"]);
            let left = newest.as_u64().unwrap_or(0).saturating_sub(oldest.as_u64().unwrap_or(0));
            if oldest.as_u64() > Some(1_900) { Ok(()) } else { Err(format!("{left} are left: {pruned} {told}")) }
        })
        .await;
    }
    for name in ["two", "three"] {
        assert_eq!(standing(&leading, name).await, ["Member"], "who follows a follower counts too");
    }
    // One behind another is waited for by all.
    third.pause();
    delete(&there, 500..510).await;
    for node in [&leading, &second] {
        wait_for("it is told who is waited for", SOON, async || {
            let told = shop(node).await;
            let names = told["WaitingFor"].to_string();
            let is_told = names.contains("three@") && told["TombstonesKept"]["ForMembers"] == 10;
            if is_told { Ok(()) } else { Err(told.to_string()) }
        })
        .await;
    }
    third.resume();
    for node in nodes {
        until_tombstones(node, 0).await;
    }
    wait_until_equal(&nodes, "shop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_leader_that_was_counted_out_brings_what_it_alone_has_and_no_deleted_document() {
    let first_home = forgetful(leader("one"));
    let first = first_home.start();
    fill(&first.client("shop"), 100).await;
    let second_home = forgetful(follower("two", &first).await);
    let second = second_home.start();
    wait_until_equal(&[&first, &second], "shop").await;
    second.kill();
    put(&first.client("shop"), "unseen", 7).await;
    first.kill();
    let second = second_home.start();
    wait_for("it is promoted", SOON, async || {
        let answer = second.client("none").post("/replication/promote", "{}").await;
        if answer.is_success() { Ok(()) } else { Err(answer.text) }
    })
    .await;
    let here = second.client("shop");
    delete(&here, 0..60).await;
    here.post("/api/replication/members/fence", r#"{"Member": "one", "Force": true}"#).await.expect(200);
    until_tombstones(&second, 0).await;
    prune(&here).await;
    let first = first_home.start();
    until("the old leader follows", &first, |status| status["follower"]["state"] == "streaming").await;
    wait_until_equal(&[&first, &second], "shop").await;
    let held = second.client("shop").collection("orders").await;
    assert_eq!(held.len(), 41, "{:?}", held.keys());
    assert_eq!(held.get("unseen").map(|document| document["n"].clone()), Some(json!(7)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_disk_was_wiped_is_another_one_and_nobody_waits_for_the_one_before() {
    let leading_home = forgetful(leader("office"));
    let leading = leading_home.start();
    fill(&leading.client("shop"), 20).await;
    let home = forgetful(follower("replica", &leading).await);
    let following = home.start();
    wait_until_equal(&[&leading, &following], "shop").await;
    following.kill();
    std::fs::remove_dir_all(home.data()).unwrap();
    let following = home.start();
    wait_until_equal(&[&leading, &following], "shop").await;
    wait_for("the life before is retired", SOON, async || {
        let mut standing = standing(&leading, "replica").await;
        standing.sort();
        if standing == ["Member", "Retired"] { Ok(()) } else { Err(format!("{standing:?}")) }
    })
    .await;
    delete(&leading.client("shop"), 0..10).await;
    until_tombstones(&leading, 0).await;
    // Two of one name at once is another matter.
    let namesake = forgetful(follower("replica", &leading).await).start();
    let status = until("it is told why", &namesake, |status| status["follower"]["lastError"].is_string()).await;
    assert!(status["follower"]["lastError"].as_str().unwrap().contains("same name"), "{status}");
    ask(&leading, "read-write", json!({})).await;
    assert_eq!(group(&leading).await["leader"]["followerCount"], 1);
}
