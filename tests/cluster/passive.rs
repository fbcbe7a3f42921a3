//! Peers that were never told of this node, and so never call it.

use holdfast_tests::cluster::{Client, Home, Line, SOON, register, wait_for, wait_until_equal};
use serde_json::json;

async fn write(client: &Client, ids: std::ops::Range<u64>) {
    let lines: Vec<String> = ids.map(|id| json!({"Id": format!("o-{id}"), "n": id}).to_string()).collect();
    let done = client.post("/api/documents/orders/bulk", &lines.join("\n")).await.expect(200);
    assert_eq!(done["Failed"], 0, "{done}");
}

async fn prune(client: &Client) {
    let pruned = client.post("/api/replication/operation-log/prune", "").await.expect(200);
    assert_eq!(pruned[0]["Status"], "Pruned", "{pruned}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_calls_gets_what_a_pruned_log_no_longer_holds() {
    let homes = ["teller", "listener"].map(Home::forgetful);
    let teller = homes[0].start();
    let client = teller.client("shop");
    write(&client, 0..12_000).await;
    client.delete("/api/documents/orders/o-7").await.expect(200);
    prune(&client).await;
    let listener = homes[1].start();
    register(&teller, "listener", &listener.url).await;
    wait_until_equal(&[&teller, &listener], "shop").await;
    assert_eq!(listener.client("shop").collection("orders").await.len(), 11_999);
    // From then on both go on as any two nodes.
    client.put("/api/documents/orders/later", r#"{"by":"teller"}"#).await;
    listener.client("shop").put("/api/documents/orders/mine", r#"{"by":"listener"}"#).await;
    wait_until_equal(&[&teller, &listener], "shop").await;
    listener.stop();
    homes[1].assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_calls_and_was_counted_out_brings_what_only_it_holds() {
    let homes = ["teller", "listener"].map(Home::forgetful);
    let (teller, listener) = (homes[0].start(), homes[1].start());
    let to_listener = Line::to(&listener.url).await;
    register(&teller, "listener", &to_listener.url()).await;
    write(&teller.client("shop"), 0..50).await;
    wait_until_equal(&[&teller, &listener], "shop").await;
    to_listener.cut();
    for id in 0..50 {
        teller.client("shop").delete(&format!("/api/documents/orders/o-{id}")).await.expect(200);
    }
    let fence = r#"{"Member":"listener","Force":true}"#;
    teller.client("shop").post("/api/replication/members/fence", fence).await.expect(200);
    wait_for("tombstones are gone", SOON, async || {
        let told = teller.client("shop").get("/api/replication/members").await.expect(200);
        if told["Tombstones"] == 0 { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    prune(&teller.client("shop")).await;
    listener.client("shop").put("/api/documents/orders/offline", r#"{"by":"listener"}"#).await;
    to_listener.heal();
    wait_until_equal(&[&teller, &listener], "shop").await;
    let orders = teller.client("shop").collection("orders").await;
    assert_eq!(orders.keys().collect::<Vec<_>>(), ["offline"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_taken_from_a_caller_that_is_nobody_or_whose_conversation_is_over() {
    let home = Home::forgetful("listener");
    let listener = home.start();
    let client = listener.client("shop");
    write(&client, 0..3).await;
    let over = client.post("/api/replication/turned?node=stranger&conversation=0000000000000007", "nonsense").await;
    over.problem(409, "conversation-over");
    client.post("/api/replication/turned?node=listener", "").await.problem(409, "same-node-id");
    client.post("/api/replication/turned?node=a%2Fb", "").await.expect(400);
    client.post("/api/replication/turned?node=stranger&conversation=x", "").await.expect(400);
    // Whoever begins and then brings nonsense hears so, and nothing was changed.
    let begun = client.post("/api/replication/turned?node=stranger", "").await.expect(200);
    assert_eq!(begun["Question"]["States"]["RequestingNodeId"], "listener", "{begun}");
    let id = begun["Conversation"].as_str().unwrap();
    let other = client.post("/api/replication/turned?node=another", "").await;
    other.problem(409, "transfer-under-way");
    let answered = format!("/api/replication/turned?node=stranger&conversation={id}");
    let told = client.post(&answered, "nonsense").await.expect(200);
    assert!(told["End"]["Error"].as_str().unwrap().contains("answered what it must not"), "{told}");
    client.post(&answered, "nonsense").await.problem(409, "conversation-over");
    assert_eq!(client.collection("orders").await.len(), 3);
}
