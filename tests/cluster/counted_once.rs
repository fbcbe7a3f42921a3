//! What two nodes hold that the others lack, and both write again when they return, counts once.

use holdfast_tests::cluster::{Client, Home, Node, SOON, introduce, register, wait_for, wait_until_equal};
use serde_json::{Value, json};

async fn stock(node: &Node) -> Value {
    node.client("db").document("stock", "tea").await.unwrap_or_default()["n"].clone()
}

async fn shows(node: &Node, expected: u64) {
    wait_for("it shows what is expected", SOON, async || {
        let shown = stock(node).await;
        if shown == json!(expected) { Ok(()) } else { Err(format!("{}: {shown}", node.name())) }
    })
    .await;
}

/// Forgets a delete that whoever is away has not seen, and prunes the log that could tell it of that.
async fn forget_and_prune(client: &Client) {
    client.delete("/api/documents/stock/gone").await.expect(200);
    wait_for("the delete is forgotten", SOON, async || {
        let told = client.get("/api/replication/members").await.expect(200);
        if told["Tombstones"] == 0 { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    for round in 0..3 {
        let large = json!({"round": round, "padding": "p".repeat(700_000)}).to_string();
        client.put("/api/documents/stock/large", &large).await.expect(200);
    }
    client.put("/api/documents/stock/large", "{}").await.expect(200);
    let pruned = client.post("/api/replication/operation-log/prune", "").await.expect(200);
    assert_eq!(pruned[0]["Status"], "Pruned", "{pruned}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_increment_that_two_nodes_bring_when_they_return_counts_once_though_it_was_written_over_between() {
    let homes = ["shop", "till", "van"].map(|name| Home::forgetful(name).with("Node:OperationLogMaxMegabytes", "1"));
    let [shop, till, van] = homes.each_ref().map(Home::start);
    for (left, right) in [(&shop, &till), (&shop, &van), (&till, &van)] {
        introduce((left, &left.url), (right, &right.url)).await;
    }
    shop.client("db").put("/api/documents/stock/tea", r#"{"n":10}"#).await.expect(200);
    shop.client("db").put("/api/documents/stock/gone", "{}").await.expect(200);
    wait_until_equal(&[&shop, &till, &van], "db").await;
    shop.stop();
    till.client("db").patch("/api/documents/stock/tea", r#"{"$inc":{"n":3}}"#).await.expect(200);
    shows(&van, 13).await;
    till.stop();
    van.stop();
    let shop = homes[0].start();
    let client = shop.client("db");
    for member in ["till", "van"] {
        let fence = json!({"Member": member, "Force": true}).to_string();
        client.post("/api/replication/members/fence", &fence).await.expect(200);
    }
    forget_and_prune(&client).await;
    let till = homes[1].start();
    register(&till, "shop", &shop.url).await;
    shows(&shop, 13).await;
    // The put has seen it, under the name under which the till wrote it again.
    client.put("/api/documents/stock/tea", r#"{"n":50}"#).await.expect(200);
    client.patch("/api/documents/stock/tea", r#"{"$inc":{"n":1}}"#).await.expect(200);
    let van = homes[2].start();
    register(&van, "shop", &shop.url).await;
    wait_until_equal(&[&shop, &till, &van], "db").await;
    for node in [&shop, &till, &van] {
        assert_eq!(stock(node).await, json!(51), "{}", node.name());
    }
    for node in [shop, till, van] {
        node.stop();
    }
    for home in &homes {
        home.assert_sound();
    }
}
