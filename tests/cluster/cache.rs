//! The cache of several nodes: told at once, passed on, added up, ended everywhere; after a cut, a kill, a lost disk.

use holdfast_tests::cluster::{Client, Home, Line, Node, SOON, introduce, register, wait_for};
use serde_json::{Value, json};

/// Nodes that look at each other rarely, so that what a test sees was told at once.
fn home(name: &str) -> Home {
    Home::new(name).with("Node:SweepIntervalSeconds", "3600").with("Node:CacheCleanupIntervalSeconds", "1")
}

async fn value(client: &Client, key: &str) -> Option<Value> {
    let answer = client.get(&format!("/api/cache/{key}")).await;
    answer.is_success().then(|| answer.json()["Value"].clone())
}

async fn shows(client: &Client, key: &str, wanted: &Value) {
    wait_for(&format!("{key} = {wanted}"), SOON, async || {
        let value = value(client, key).await;
        if value.as_ref() == Some(wanted) { Ok(()) } else { Err(format!("it is {value:?}")) }
    })
    .await;
}

async fn is_gone(client: &Client, key: &str) {
    wait_for(&format!("{key} is gone"), SOON, async || match value(client, key).await {
        None => Ok(()),
        Some(value) => Err(format!("it is {value}")),
    })
    .await;
}

async fn set(client: &Client, key: &str, value: &Value) {
    client.put(&format!("/api/cache/{key}?ttl=1h"), &value.to_string()).await.expect(200);
}

async fn add(client: &Client, key: &str, by: i64) {
    client.post(&format!("/api/cache/{key}/increment?by={by}&ttl=1h"), "").await.expect(200);
}

/// Two nodes that know each other.
async fn pair() -> ([Home; 2], Node, Node) {
    let homes = ["left", "right"].map(home);
    let (left, right) = (homes[0].start(), homes[1].start());
    introduce((&left, &left.url), (&right, &right.url)).await;
    (homes, left, right)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_sets_the_other_shows_and_what_ends_ends_on_both() {
    let (_homes, left, right) = pair().await;
    let (a, b) = (left.client("shop"), right.client("shop"));
    set(&a, "k", &json!({"n": 1})).await;
    shows(&b, "k", &json!({"n": 1})).await;
    set(&b, "k", &json!("other")).await;
    shows(&a, "k", &json!("other")).await;
    a.delete("/api/cache/k").await.expect(200);
    is_gone(&b, "k").await;
    a.put("/api/cache/brief?ttl=1s", "1").await.expect(200);
    shows(&b, "brief", &json!(1)).await;
    is_gone(&b, "brief").await;
    assert_eq!(value(&a, "brief").await, None, "it ended on one node alone");
    // The sweep leaves nothing of it, on either.
    for client in [&a, &b] {
        wait_for("an empty cache", SOON, async || {
            let statistics = client.get("/api/cache-statistics").await.expect(200);
            // A deletion hides what it deleted for as long as that would have lived.
            if statistics["Keys"] == 1 { Ok(()) } else { Err(statistics.to_string()) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_go_on_while_the_line_is_cut_and_end_alike() {
    let homes = ["left", "right"].map(home);
    let (left, right) = (homes[0].start(), homes[1].start());
    let (to_left, to_right) = (Line::to(&left.url).await, Line::to(&right.url).await);
    introduce((&left, &to_left.url()), (&right, &to_right.url())).await;
    let (a, b) = (left.client("shop"), right.client("shop"));
    set(&a, "seen", &json!(0)).await;
    shows(&b, "seen", &json!(0)).await;
    to_left.cut();
    to_right.cut();
    for step in 1..=20 {
        add(&a, "count", step).await;
        add(&b, "count", 100 * step).await;
        set(&a, &format!("a{step}"), &json!(step)).await;
        set(&b, &format!("b{step}"), &json!(step)).await;
        set(&a, "both", &json!(format!("a{step}"))).await;
        set(&b, "both", &json!(format!("b{step}"))).await;
    }
    assert_eq!(value(&a, "count").await, Some(json!(210)));
    to_left.heal();
    to_right.heal();
    for client in [&a, &b] {
        shows(client, "count", &json!(21_210)).await;
        shows(client, "a20", &json!(20)).await;
        shows(client, "b20", &json!(20)).await;
    }
    // One of the two writes that met, and the same on both.
    wait_for("the same on both", SOON, async || {
        let both = (value(&a, "both").await, value(&b, "both").await);
        if both.0 == both.1 { Ok(()) } else { Err(format!("{both:?}")) }
    })
    .await;
    assert!(["a20", "b20"].contains(&value(&a, "both").await.unwrap().as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_passes_on_and_a_new_node_gets_what_lives() {
    let homes = ["one", "two", "three"].map(home);
    let nodes = homes.each_ref().map(Home::start);
    introduce((&nodes[0], &nodes[0].url), (&nodes[1], &nodes[1].url)).await;
    let clients = nodes.each_ref().map(|node| node.client("shop"));
    for step in 0..50 {
        set(&clients[0], "hot", &json!(step)).await;
    }
    clients[0].put("/api/cache/brief?ttl=1ms", "1").await.expect(200);
    shows(&clients[1], "hot", &json!(49)).await;
    introduce((&nodes[1], &nodes[1].url), (&nodes[2], &nodes[2].url)).await;
    shows(&clients[2], "hot", &json!(49)).await;
    assert_eq!(clients[2].get("/api/cache-statistics").await.expect(200)["Keys"], 1, "what was over travelled");
    add(&clients[2], "n", 5).await;
    add(&clients[0], "n", 2).await;
    for client in &clients {
        shows(client, "n", &json!(7)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_nobody_dials_hears_all_the_same() {
    let (shop_home, till_home) = (home("shop"), home("till"));
    let (shop, till) = (shop_home.start(), till_home.start());
    // The till calls the shop; the shop does not know where the till is.
    register(&till, "shop", &shop.url).await;
    let (a, b) = (shop.client("db"), till.client("db"));
    set(&b, "from-till", &json!(1)).await;
    shows(&a, "from-till", &json!(1)).await;
    set(&a, "from-shop", &json!(2)).await;
    shows(&b, "from-shop", &json!(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_as_synced_outlives_a_kill_and_what_was_not_leaves_no_gap() {
    let ([left_home, _right_home], left, right) = pair().await;
    let b = right.client("shop");
    let a = left.client("shop");
    for step in 0..30 {
        set(&a, &format!("k{step}"), &json!(step)).await;
        a.put(&format!("/api/cache/r{step}?ttl=1h&durability=relaxed"), "1").await.expect(200);
        a.put(&format!("/api/cache/here{step}?ttl=1h&scope=local"), "1").await.expect(200);
    }
    left.kill();
    let left = left_home.start();
    let a = left.client("shop");
    for step in 0..30 {
        assert_eq!(value(&a, &format!("k{step}")).await, Some(json!(step)));
        a.get(&format!("/api/cache/here{step}?scope=local")).await.expect(200);
        a.get(&format!("/api/cache/here{step}")).await.problem(404, "cache-miss");
    }
    // The peer finds the node again by itself; what is written from now on gets there.
    set(&a, "after", &json!(1)).await;
    introduce((&left, &left.url), (&right, &right.url)).await;
    shows(&b, "after", &json!(1)).await;
    shows(&b, "k29", &json!(29)).await;
    assert_eq!(b.get("/api/cache/here1?scope=local").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_disk_gets_the_cache_back() {
    let (homes, left, right) = pair().await;
    let (a, b) = (left.client("shop"), right.client("shop"));
    set(&a, "mine", &json!(1)).await;
    set(&b, "yours", &json!(2)).await;
    shows(&b, "mine", &json!(1)).await;
    shows(&a, "yours", &json!(2)).await;
    left.stop();
    std::fs::remove_dir_all(homes[0].data()).unwrap();
    let left = homes[0].start();
    introduce((&left, &left.url), (&right, &right.url)).await;
    let a = left.client("shop");
    wait_for("the database", SOON, async || {
        let answer = a.get("/api/cache-statistics").await;
        if answer.is_success() { Ok(()) } else { Err(answer.text.clone()) }
    })
    .await;
    shows(&a, "mine", &json!(1)).await;
    shows(&a, "yours", &json!(2)).await;
    add(&a, "n", 1).await;
    shows(&b, "n", &json!(1)).await;
}
