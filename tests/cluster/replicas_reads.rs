//! Reads from followers: how old what they show may be, and what one database sees of its group.

use std::time::{Duration, Instant};

use holdfast_tests::cluster::{CLUSTER_KEY, Client, SOON, wait_for, wait_until_equal};
use serde_json::{Value, json};

use crate::replicas::{follower, group, leader, put, run, until, until_following};

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_has_lost_its_leader_says_how_old_what_it_shows_is() {
    let leading = run(leader("office"));
    let following = run(follower("branch", &leading).await);
    put(&leading.client("shop"), "o-1", 1).await;
    leading.client("till").put("/api/cache/k?ttl=5m", "1").await.expect(200);
    wait_until_equal(&[&leading, &following], "shop").await;
    let here = following.client("shop");
    let reads = [
        ("shop", "/api/documents/orders/o-1?maxStaleness=20s"),
        ("shop", "/api/documents/orders?maxStaleness=20s"),
        ("shop", "/api/collections?maxStaleness=20s"),
        ("till", "/api/cache/k?maxStaleness=20s"),
    ];
    wait_for("it is fresh", SOON, async || {
        for (database, path) in reads {
            let answer = following.client(database).try_ask("GET", path, None).await?;
            if !answer.is_success() {
                return Err(answer.text);
            }
        }
        Ok(())
    })
    .await;
    let fresh = until("it says so", &following, |status| {
        status["follower"]["staleMs"].as_u64().is_some_and(|stale| stale < 5_000)
    })
    .await;
    assert_eq!(fresh["follower"]["state"], "streaming", "{fresh}");
    // That there is no such database is as old as anything else.
    let absent = following.client("absent").get("/api/documents/orders/o-1?maxStaleness=20s").await;
    absent.problem(404, "database-not-found");
    leading.pause();
    let told = wait_for("it is too old", SOON, async || {
        let answer = here.get("/api/documents/orders/o-1?maxStaleness=900ms").await;
        if answer.status.as_u16() == 503 { Ok(answer.problem(503, "too-stale")) } else { Err(answer.text) }
    })
    .await;
    assert!(told["StaleMilliseconds"].as_u64().unwrap() > 900, "{told}");
    assert!(told["detail"].as_str().unwrap().contains("900 ms"), "{told}");
    for (database, path) in
        [("till", "/api/cache/k"), ("absent", "/api/documents/orders/o-1"), ("shop", "/api/documents/orders")]
    {
        let answer = following.client(database).get(&format!("{path}?maxStaleness=900ms")).await;
        answer.problem(503, "too-stale");
    }
    let query = here.post("/api/query?maxStaleness=900ms", r#"{"Query": "SELECT n FROM orders"}"#).await;
    query.problem(503, "too-stale");
    assert_eq!(here.get("/api/documents/orders/o-1").await.expect(200)["n"], 1, "who does not ask is answered");
    assert_eq!(here.get("/api/documents/orders/o-1?maxStaleness=60m").await.expect(200)["n"], 1);
    for wrong in ["", "soon", "-1s", "1.5s"] {
        here.get(&format!("/api/documents/orders/o-1?maxStaleness={wrong}")).await.problem(400, "invalid-parameter");
    }
    leading.resume();
    wait_for("it is fresh again", SOON, async || {
        let answer = here.get("/api/documents/orders/o-1?maxStaleness=900ms").await;
        if answer.is_success() { Ok(()) } else { Err(answer.text) }
    })
    .await;
    // Who leads, or is alone, always meets it.
    assert_eq!(leading.client("shop").get("/api/documents/orders/o-1?maxStaleness=0").await.expect(200)["n"], 1);
}

/// Writes a number that rises, for so long, and notes when each was answered.
async fn write_for(client: &Client, span: Duration, answered: &mut Vec<Instant>) {
    let begun = Instant::now();
    while begun.elapsed() < span {
        put(client, "o", answered.len() as u64).await;
        answered.push(Instant::now());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_called_fresh_holds_all_that_was_answered_so_long_before() {
    const BOUND: Duration = Duration::from_millis(700);
    let leading = run(leader("office"));
    let following = run(follower("branch", &leading).await);
    let behind = run(follower("shed", &following).await);
    let there = leading.client("shop");
    let (mut answered, mut fresh) = (Vec::new(), [0, 0]);
    write_for(&there, Duration::from_millis(50), &mut answered).await;
    wait_until_equal(&[&leading, &following, &behind], "shop").await;
    let begun = Instant::now();
    while fresh.iter().any(|count| *count < 20) {
        assert!(begun.elapsed() < SOON, "fresh reads: {fresh:?}");
        // Held back while much is written: what it shows then is not fresh before it has caught up.
        following.pause();
        write_for(&there, BOUND * 2, &mut answered).await;
        following.resume();
        for _ in 0..10 {
            for (at, node) in [&following, &behind].into_iter().enumerate() {
                let asked = Instant::now();
                let answer = node.client("shop").get("/api/documents/orders/o?maxStaleness=700ms").await;
                if !answer.is_success() {
                    answer.problem(503, "too-stale");
                    continue;
                }
                fresh[at] += 1;
                let least = answered.iter().take_while(|answered| **answered + BOUND <= asked).count();
                let shown = answer.json()["n"].as_u64().unwrap();
                assert!(shown + 1 >= least as u64, "{} shows {shown}, and {least} were answered", node.name());
            }
            write_for(&there, Duration::from_millis(40), &mut answered).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_database_is_told_how_its_group_stands_and_moves_no_other() {
    let leading = run(leader("office"));
    let following = run(follower("branch", &leading).await);
    until_following(&following).await;
    for n in 0..5 {
        put(&leading.client("shop"), &format!("o-{n}"), n).await;
    }
    put(&leading.client("till"), "t-1", 1).await;
    wait_until_equal(&[&leading, &following], "shop").await;
    wait_until_equal(&[&leading, &following], "till").await;
    let of = async |database: &str| leading.client("none").get(&format!("/db/{database}/replication/status")).await;
    let told = wait_for("the follower has all of it", SOON, async || {
        let told = of("shop").await.expect(200);
        let follower = &told["leader"]["followers"][0];
        let has_all = follower["ackedSeq"] == told["leader"]["currentSeq"] && follower["lagOps"] == 0;
        if has_all { Ok(told) } else { Err(told.to_string()) }
    })
    .await;
    let till = of("till").await.expect(200);
    assert_eq!(
        (&told["database"], &told["role"], &told["readOnly"]),
        (&json!("shop"), &json!("leader"), &json!(false))
    );
    let seq = |told: &Value| told["leader"]["currentSeq"].as_u64().unwrap();
    assert_eq!(seq(&told), seq(&till) + 4, "{told} {till}");
    assert_eq!(seq(&told) + seq(&till), group(&leading).await["leader"]["currentSeq"].as_u64().unwrap());
    let followers = told["leader"]["followers"].as_array().unwrap();
    assert_eq!(followers[0]["databases"].as_array().unwrap().len(), 1, "{told}");
    let here = following.client("none").get("/db/shop/replication/status").await.expect(200);
    assert_eq!(
        (&here["role"], &here["follower"]["lastAppliedSeq"]),
        (&json!("follower"), &told["leader"]["currentSeq"])
    );
    assert_eq!(here["readOnly"], true);
    // What it had when it connected is another matter than what it has by now.
    assert!(followers[0]["handshakeSeq"].as_u64() < followers[0]["ackedSeq"].as_u64(), "{told}");
    of("absent").await.problem(404, "database-not-found");
    let refused = following.client("none").post("/db/shop/replication/promote", r#"{"port": 1}"#).await;
    let refused = refused.problem(409, "whole-node");
    assert!(refused["detail"].as_str().unwrap().contains("POST /replication/promote"), "{refused}");
    following.client("none").post("/db/absent/replication/promote", "{}").await.problem(404, "database-not-found");
    following.client("none").post("/db/shop/replication/dance", "{}").await.problem(404, "unknown-route");
    assert_eq!(group(&following).await["role"], "follower");
    let stranger = leading.client("none").with_key(CLUSTER_KEY);
    assert_eq!(stranger.get("/db/shop/replication/status").await.status.as_u16(), 401);
}
