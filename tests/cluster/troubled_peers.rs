//! A peer that hangs or may not come in delays nobody else, and is told of in the status.

use std::time::{Duration, Instant};

use holdfast_tests::cluster::{CLUSTER_KEY, Home, SOON, introduce, register, wait_for, wait_until_equal};
use serde_json::json;

/// Far less than any timeout that a hanging peer runs into, far more than a write takes.
const PROMPTLY: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_hangs_delays_nobody_else() {
    let homes = ["writer", "hanging", "healthy"].map(Home::new);
    let [writer, hanging, healthy] = homes.each_ref().map(Home::start);
    introduce((&writer, &writer.url), (&hanging, &hanging.url)).await;
    introduce((&writer, &writer.url), (&healthy, &healthy.url)).await;
    let client = writer.client("shop");
    client.put("/api/documents/products/tea", r#"{"N":0}"#).await.expect(200);
    wait_until_equal(&[&writer, &hanging, &healthy], "shop").await;

    hanging.pause();
    for number in 1..=30 {
        let begun = Instant::now();
        client.put("/api/documents/products/tea", &json!({"N": number}).to_string()).await.expect(200);
        assert!(begun.elapsed() < PROMPTLY, "a write took {:?}", begun.elapsed());
        wait_for("the healthy peer has it", PROMPTLY, async || {
            let found = healthy.client("shop").document("products", "tea").await;
            if found.as_ref().is_some_and(|tea| tea["N"] == number) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
    // A new database reaches the healthy one too, and status answers.
    writer.client("archive").put("/api/documents/years/2025", "{}").await.expect(200);
    wait_until_equal(&[&writer, &healthy], "archive").await;
    let status = client.peer_status("hanging").await.unwrap();
    assert!(status["EstimatedPendingPushOperations"].as_u64() > Some(0), "{status}");
    assert_eq!(client.peer_status("healthy").await.unwrap()["EstimatedPendingPushOperations"], 0);
    assert_ne!(status["CatchUpStatus"], "Ready", "{status}");

    hanging.resume();
    for database in ["shop", "archive"] {
        wait_until_equal(&[&writer, &hanging, &healthy], database).await;
    }
    // A hanging peer does not hold up the end either.
    hanging.pause();
    client.put("/api/documents/products/tea", r#"{"N":99}"#).await.expect(200);
    let begun = Instant::now();
    tokio::task::block_in_place(|| writer.stop());
    assert!(begun.elapsed() < Duration::from_secs(15), "stopping took {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_another_key_gets_nothing_and_is_told_of() {
    const OTHER_KEY: &str = "Ck-e1f004-of-somebody-else";
    let ours = Home::new("ours");
    let theirs = Home::new("theirs").with("Node:ReplicationApiKey", OTHER_KEY);
    let (node, other) = (ours.start(), theirs.start());
    node.client("shop").put("/api/documents/products/tea", "{}").await.expect(200);
    register(&node, "theirs", &other.url).await;
    wait_for("the refusal is told", SOON, async || {
        let status = node.client("shop").peer_status("theirs").await?;
        let error = status["LastError"].as_str().unwrap_or_default();
        if status["CatchUpStatus"] == "Failing" && error.contains("401") { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let text = node.client("shop").get("/api/replication/status").await.text;
    assert!(!text.contains(CLUSTER_KEY) && !text.contains(OTHER_KEY), "{text}");
    other.client("shop").get("/api/documents/products").await.expect(404);
    node.client("shop").put("/api/documents/products/sugar", "{}").await.expect(200);
    node.stop();
    other.kill();
    for home in [&ours, &theirs] {
        home.assert_log_is_without(&[CLUSTER_KEY, OTHER_KEY]);
    }
}
