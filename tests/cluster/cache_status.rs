//! What a node tells of its cache: how full it is, what is on its way to a peer, what was exchanged.

use std::process::Output;

use holdfast_tests::cluster::{Client, Home, Line, ROOT_KEY, SOON, introduce, register, wait_for};
use serde_json::{Value, json};

fn home(name: &str) -> Home {
    Home::new(name).with("Node:SweepIntervalSeconds", "3600").with("Node:CacheCleanupIntervalSeconds", "1")
}

async fn put(client: &Client, key: &str, bytes: usize) -> u16 {
    let value = format!("\"{}\"", "x".repeat(bytes));
    client.put(&format!("/api/cache/{key}?ttl=1h"), &value).await.status.as_u16()
}

async fn wait_for_room(client: &Client, is_full: bool) {
    wait_for(&format!("is full: {is_full}"), SOON, async || {
        let statistics = client.get("/api/cache-statistics").await.expect(200);
        if statistics["IsFull"] == is_full { Ok(()) } else { Err(statistics.to_string()) }
    })
    .await;
}

/// Waits until a node says this of the cache and a peer.
async fn wait_for_cache(client: &Client, peer: &str, holds: impl Fn(&Value) -> bool) -> Value {
    wait_for("the cache is as it should be", SOON, async || {
        let cache = client.peer_status(peer).await?["Cache"].clone();
        if holds(&cache) { Ok(cache) } else { Err(cache.to_string()) }
    })
    .await
}

/// Waits until a node's log has a line, and fails if it has more.
async fn is_said_once(home: &Home, text: &str) {
    let count = wait_for(text, SOON, async || match home.log_lines(text).len() {
        0 => Err("nothing is said".to_owned()),
        count => Ok(count),
    });
    assert_eq!(count.await, 1, "{text}");
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_a_peer_has_overfilled_takes_what_does_not_grow_it_and_says_so() {
    let homes = [home("large"), home("small").with("Node:CacheMaxMegabytes", "1")];
    let (large, small) = (homes[0].start(), homes[1].start());
    introduce((&large, &large.url), (&small, &small.url)).await;
    let (a, b) = (large.client("shop"), small.client("shop"));
    assert_eq!(put(&b, "k", 100_000).await, 200);
    b.post("/api/cache/n/increment?ttl=1h", "").await.expect(200);
    for key in ["p", "q"] {
        assert_eq!(put(&a, key, 600_000).await, 200);
    }
    wait_for_room(&b, true).await;
    let metrics = b.get("/metrics").await.text;
    assert!(metrics.contains("\nholdfast_cache_full{database=\"shop\"} 1\n"), "{metrics}");
    let databases = b.get("/api/databases").await.expect(200);
    assert_eq!(databases[0]["Contents"]["CacheIsFull"], true, "{databases}");
    let told = text(&homes[1].run(&["status", "--url", &small.url, "--key", ROOT_KEY]));
    assert!(told.contains("shop: the cache is full"), "{told}");

    assert_eq!(b.post("/api/cache/n/increment?by=5", "").await.expect(200)["Value"], 6);
    assert_eq!((put(&b, "k", 100_000).await, put(&b, "k", 50_000).await), (200, 200));
    b.post("/api/cache/k/touch?ttl=2h", "").await.expect(200);
    assert_eq!((put(&b, "k", 50_001).await, put(&b, "new", 1).await), (507, 507));
    b.post("/api/cache/other/increment", "").await.problem(507, "cache-full");
    is_said_once(&homes[1], "the cache is full").await;

    for key in ["p", "q"] {
        a.delete(&format!("/api/cache/{key}")).await.expect(200);
    }
    wait_for_room(&b, false).await;
    assert_eq!(put(&b, "new", 1).await, 200);
    let metrics = b.get("/metrics").await.text;
    assert!(metrics.contains("\nholdfast_cache_full{database=\"shop\"} 0\n"), "{metrics}");
    is_said_once(&homes[1], "there is room in the cache again").await;
    assert_eq!(homes[1].log_lines("the cache is full").len(), 1, "said with every refusal");
    assert!(homes[0].log_lines("the cache is full").is_empty(), "it has no such bound");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exchanged_is_counted_whoever_began_and_what_is_to_be_told_is_a_number() {
    let homes = ["left", "right"].map(home);
    let (left, right) = (homes[0].start(), homes[1].start());
    let to_right = Line::to(&right.url).await;
    introduce((&left, &left.url), (&right, &to_right.url())).await;
    let (a, b) = (left.client("shop"), right.client("shop"));
    for number in 0..10 {
        assert_eq!(put(&a, &format!("k{number}"), 5).await, 200);
    }
    let count = |cache: &Value, field: &str| cache[field].as_u64().unwrap_or_default();
    // Left tells, and right, which never asked for them, counts them all the same.
    wait_for_cache(&b, "left", |cache| count(cache, "KeysReceived") == 10).await;
    let sent = wait_for_cache(&a, "right", |cache| cache["ToSend"] == 0 && count(cache, "KeysSent") >= 10).await;

    // Registered again, it goes on counting.
    register(&left, "right", &to_right.url()).await;
    assert_eq!(put(&a, "k10", 5).await, 200);
    wait_for_cache(&a, "right", |cache| count(cache, "KeysSent") > count(&sent, "KeysSent")).await;
    wait_for_cache(&b, "left", |cache| count(cache, "KeysReceived") == 11).await;
    wait_for_cache(&a, "right", |cache| cache["ToSend"] == 0).await;

    to_right.cut();
    for number in 0..3 {
        assert_eq!(put(&a, &format!("later{number}"), 5).await, 200);
    }
    let cache = wait_for_cache(&a, "right", |cache| count(cache, "ToSend") >= 3).await;
    assert_eq!(cache["ToSend"], json!(count(&cache, "Position") - count(&cache, "ToldThrough")), "{cache}");
    let metrics = a.get("/metrics").await.text;
    let sample = format!("\nholdfast_cache_lag_changes{{peer=\"right\",database=\"shop\"}} {}\n", cache["ToSend"]);
    assert!(metrics.contains(&sample), "{sample}: {metrics}");
    for command in ["status", "peers"] {
        let told = text(&homes[0].run(&[command, "--url", &left.url, "--key", ROOT_KEY]));
        assert!(told.contains("CacheToSend"), "{command}: {told}");
    }
    to_right.heal();
    wait_for_cache(&a, "right", |cache| cache["ToSend"] == 0).await;
    wait_for_cache(&b, "left", |cache| count(cache, "KeysReceived") == 14).await;
}
