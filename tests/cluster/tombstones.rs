//! What becomes of the markers of deleted documents, and what status says that they wait for.

use holdfast_tests::cluster::{Client, Home, SOON, register, wait_for};
use serde_json::{Value, json};

async fn database(client: &Client) -> Value {
    client.get("/api/replication/status").await.expect(200)["Databases"][0].clone()
}

async fn delete(client: &Client, ids: std::ops::Range<u64>) {
    for id in ids {
        client.delete(&format!("/api/documents/orders/o-{id}")).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_began_from_states_goes_on_comparing_and_deletes_are_forgotten_on_both() {
    let homes = ["office", "till"].map(Home::forgetful);
    let [office, till] = homes.each_ref().map(Home::start);
    let client = office.client("shop");
    let lines: Vec<String> = (0..3_000).map(|id| json!({"Id": format!("o-{id}")}).to_string()).collect();
    client.post("/api/documents/orders/bulk", &lines.join("\n")).await.expect(200);
    let pruned = client.post("/api/replication/operation-log/prune", "").await.expect(200);
    assert_eq!(pruned[0]["Status"], "Pruned", "{pruned}");
    // The till alone calls: nobody compares but it.
    register(&till, "office", &office.url).await;
    let is_in_sync = async || {
        let told = till.client("shop").peer_status("office").await?;
        if told["State"] == "InSync" { Ok(()) } else { Err(told.to_string()) }
    };
    wait_for("the till is in sync", SOON, is_in_sync).await;
    // An ordinary join is nothing to warn of.
    for (home, node) in homes.iter().zip([&office, &till]) {
        assert_eq!(home.log_lines(" WARN "), Vec::<String>::new());
        let told = node.client("shop").get("/api/replication/status").await.expect(200);
        assert_eq!(told["IdentityEvents"], json!([]));
    }
    delete(&client, 0..10).await;
    for node in [&office, &till] {
        wait_for("the markers are gone", SOON, async || {
            let told = database(&node.client("shop")).await;
            if told["Tombstones"] == 0 { Ok(()) } else { Err(told.to_string()) }
        })
        .await;
    }
    wait_for("the till is in sync again", SOON, is_in_sync).await;
    till.pause();
    delete(&client, 10..15).await;
    wait_for("it is told whom the markers wait for", SOON, async || {
        let told = database(&client).await;
        let names_till = told["WaitingFor"].as_array().is_some_and(|of| of.len() == 1);
        if names_till && told["TombstonesKept"]["ForMembers"] == 5 { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
}
