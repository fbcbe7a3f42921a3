//! Two nodes write while the line between them is good, bad and gone, and end equal.

use std::time::Duration;

use holdfast_tests::cluster::{
    Client, Home, Line, Node, SOON, Weather, introduce, register, times, wait_for, wait_until_equal,
};
use holdfast_tests::seed::Seed;
use serde_json::json;

/// Two nodes that reach each other through lines.
struct Pair {
    homes: [Home; 2],
    left: Node,
    right: Node,
    to_left: Line,
    to_right: Line,
}

impl Pair {
    async fn start() -> Self {
        let homes = ["left", "right"].map(Home::new);
        let (left, right) = (homes[0].start(), homes[1].start());
        let (to_left, to_right) = (Line::to(&left.url).await, Line::to(&right.url).await);
        introduce((&left, &to_left.url()), (&right, &to_right.url())).await;
        Self { homes, left, right, to_left, to_right }
    }

    fn nodes(&self) -> [&Node; 2] {
        [&self.left, &self.right]
    }

    fn clients(&self, database: &str) -> (Client, Client) {
        (self.left.client(database), self.right.client(database))
    }

    fn cut(&self) {
        self.to_left.cut();
        self.to_right.cut();
    }

    fn heal(&self) {
        self.to_left.heal();
        self.to_right.heal();
    }
}

async fn product(client: &Client, id: &str, by: &str, stock: i64) {
    let body = json!({"Name": id, "By": by, "Stock": stock}).to_string();
    client.put(&format!("/api/documents/products/{id}"), &body).await.expect(200);
}

async fn sell(client: &Client, id: &str, count: i64) {
    let body = json!({"$inc": {"Stock": -count}}).to_string();
    client.patch(&format!("/api/documents/products/{id}"), &body).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_write_and_both_hold_the_same() {
    let pair = Pair::start().await;
    for database in ["shop", "archive"] {
        let (left, right) = pair.clients(database);
        for number in 0..50 {
            product(&left, &format!("l-{number}"), "left", number).await;
            product(&right, &format!("r-{number}"), "right", number).await;
        }
        left.post("/api/documents/empty/register", "").await.expect(200);
    }
    for database in ["shop", "archive"] {
        wait_until_equal(&pair.nodes(), database).await;
        assert_eq!(pair.right.client(database).collection("products").await.len(), 100);
    }
    // A version that one node has given is a version at the other.
    let version = pair.left.client("shop").collection("products").await["r-7"]["_sys_version"].clone();
    let path = format!("/api/documents/products/r-7?parentVersion={}", version.as_str().unwrap());
    pair.left.client("shop").put(&path, r#"{"Name":"r-7","By":"left"}"#).await.expect(200);
    pair.right.client("shop").put(&path, "{}").await;
    wait_until_equal(&pair.nodes(), "shop").await;
    // Both say of each other that nothing is left to do.
    for (node, peer) in [(&pair.left, "right"), (&pair.right, "left")] {
        wait_for("status says so", SOON, async || {
            let status = node.client("shop").peer_status(peer).await?;
            // What the peer has pushed stays among the estimated pulls until the next sweep.
            let is_done = status["CatchUpStatus"] == "Ready" && status["EstimatedPendingPushOperations"] == 0;
            if is_done { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    }
    pair.left.stop();
    pair.right.stop();
    pair.homes.iter().for_each(Home::assert_sound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_both_wrote_while_the_line_was_cut_is_one_after_it() {
    let pair = Pair::start().await;
    let (left, right) = pair.clients("shop");
    for (id, stock) in [("tea", 100), ("sugar", 50), ("salt", 10), ("milk", 5), ("rye", 5)] {
        product(&left, id, "left", stock).await;
    }
    wait_until_equal(&pair.nodes(), "shop").await;

    pair.cut();
    // The same document written on both, more than once.
    for round in 0..3 {
        product(&left, "sugar", &format!("left {round}"), 50).await;
        product(&right, "sugar", &format!("right {round}"), 50).await;
    }
    // The same stock sold on both.
    for _ in 0..7 {
        sell(&left, "tea", 3).await;
        sell(&right, "tea", 2).await;
    }
    // Deleted here and untouched there; deleted on both; deleted here and written there; counted on nothing.
    left.delete("/api/documents/products/salt").await.expect(200);
    left.delete("/api/documents/products/milk").await.expect(200);
    right.delete("/api/documents/products/milk").await.expect(200);
    left.delete("/api/documents/products/rye").await.expect(200);
    product(&right, "rye", "right", 8).await;
    for client in [&left, &right] {
        client.patch("/api/documents/counters/visits", r#"{"$inc":{"N":4}}"#).await.expect(200);
    }
    let transaction = json!({"operations": [
        {"op": "put", "collection": "orders", "id": "o-1", "document": {"Product": "tea", "Count": 1}},
        {"op": "patch", "collection": "products", "id": "tea", "patch": {"$inc": {"Stock": -1}}},
    ]});
    right.post("/api/transactions", &transaction.to_string()).await.expect(200);
    // While it is cut, nobody claims that all is well.
    wait_for("the cut is told", SOON, async || {
        let status = left.peer_status("right").await?;
        let is_told = status["CatchUpStatus"] == "Failing" && status["LastError"].is_string();
        if is_told { Ok(()) } else { Err(status.to_string()) }
    })
    .await;

    pair.heal();
    wait_until_equal(&pair.nodes(), "shop").await;
    for client in [&left, &right] {
        assert_eq!(client.document("products", "tea").await.unwrap()["Stock"], 100 - 21 - 14 - 1);
        assert_eq!(client.document("counters", "visits").await.unwrap()["N"], 8);
        assert_eq!(client.document("products", "salt").await, None, "deleted stays deleted");
        assert_eq!(client.document("products", "milk").await, None, "deleted stays deleted");
        let sugar = client.document("products", "sugar").await.unwrap();
        assert!(sugar["By"].as_str().unwrap().ends_with(" 2"), "an early write has won: {sugar}");
        assert!(client.document("orders", "o-1").await.is_some());
    }
    // A later write settles what was written at the same time, wherever it is done.
    product(&right, "sugar", "after", 50).await;
    wait_until_equal(&pair.nodes(), "shop").await;
    assert_eq!(left.document("products", "sugar").await.unwrap()["By"], "after");
    // And after a restart of both, all is as it was.
    let before = left.everything().await;
    pair.left.stop();
    pair.right.kill();
    let (again_left, again_right) = (pair.homes[0].start(), pair.homes[1].start());
    pair.to_left.lead_to(&again_left.url);
    pair.to_right.lead_to(&again_right.url);
    assert_eq!(again_left.client("shop").everything().await, before);
    wait_until_equal(&[&again_left, &again_right], "shop").await;
    assert_eq!(again_right.client("shop").everything().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_lines_lose_nothing_and_repeat_nothing() {
    let pair = Pair::start().await;
    let (left, right) = pair.clients("shop");
    let mut seed = Seed::new(5);
    let mut total = 0;
    product(&left, "tea", "left", 0).await;
    wait_until_equal(&pair.nodes(), "shop").await;
    for round in 0..times(6) {
        for line in [&pair.to_left, &pair.to_right] {
            line.set(Weather {
                is_cut: seed.chance(25),
                swallows_requests: seed.chance(25),
                // The worst one: what was sent has been taken in, and the sender must find out.
                swallows_answers: seed.chance(25),
                delay: Duration::from_millis(seed.range(0..40)),
                strands: false,
            });
        }
        for number in 0..10 {
            let client = if seed.chance(50) { &left } else { &right };
            let count = i64::try_from(seed.range(1..9)).unwrap();
            sell(client, "tea", count).await;
            total -= count;
            product(client, &format!("p-{round}-{number}"), "somebody", 1).await;
            product(client, "sugar", &format!("{round}-{number}"), 1).await;
        }
        if seed.chance(50) {
            pair.heal();
            wait_until_equal(&pair.nodes(), "shop").await;
        }
    }
    pair.heal();
    wait_until_equal(&pair.nodes(), "shop").await;
    for client in [&left, &right] {
        assert_eq!(client.document("products", "tea").await.unwrap()["Stock"], total);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_address_or_name_is_not_mixed_up() {
    let [home, namesake, stranger] = ["left", "left", "right"].map(Home::new);
    let (node, same_name, other) = (home.start(), namesake.start(), stranger.start());
    node.client("shop").put("/api/documents/products/tea", "{}").await.expect(200);
    same_name.client("shop").put("/api/documents/products/sugar", "{}").await.expect(200);
    other.client("shop").put("/api/documents/products/salt", "{}").await.expect(200);
    // Its own name, and an address where somebody else answers.
    let own = json!({"NodeId": "left", "BaseUrl": other.url}).to_string();
    node.client("shop").post("/api/cluster/peers", &own).await.expect(400);
    register(&node, "branch", &other.url).await;
    register(&other, "left-2", &same_name.url).await;
    for (node, peer) in [(&node, "branch"), (&other, "left-2")] {
        wait_for("the mistake is told", SOON, async || {
            let status = node.client("shop").peer_status(peer).await?;
            let error = status["LastError"].as_str().unwrap_or_default();
            if error.contains("answers as") { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn catching_up_takes_as_many_exchanges_as_it_needs_and_waits_for_no_sweep() {
    let homes = ["left", "right"].map(|name| Home::new(name).with("Node:ReplicationBatchSize", "50"));
    let (left, right) = (homes[0].start(), homes[1].start());
    let one = left.client("shop");
    // A collection that holds nothing is somebody's wish, too.
    assert!(one.post("/api/documents/empty/register", "").await.is_success());
    let lines: Vec<String> = (0..6_000).map(|n| json!({"Id": format!("o-{n}"), "n": n}).to_string()).collect();
    one.post("/api/documents/orders/bulk", &lines.join("\n")).await.expect(200);
    right.pause();
    register(&left, "right", &right.url).await;
    wait_for("status tells what waits", SOON, async || {
        let told = one.peer_status("right").await?;
        let is_waiting = told["LastPushedLocalLogSequence"] == 0 && told["CatchUpStatus"] == "CatchingUp";
        let is_counted = told["EstimatedPendingPushOperations"].as_u64() >= Some(6_000);
        if is_waiting && is_counted { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    right.resume();
    wait_until_equal(&[&left, &right], "shop").await;
    wait_for("everything is confirmed", SOON, async || {
        let told = one.peer_status("right").await?;
        let is_ready = told["EstimatedPendingPushOperations"] == 0 && told["CatchUpStatus"] == "Ready";
        if is_ready { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    let names = right.client("shop").get("/api/documents").await.expect(200);
    assert!(names.as_array().unwrap().contains(&json!("empty")), "{names}");
}
