//! Two nodes of one name, and one node that goes on as another: who is told what.

use std::fs;

use holdfast_tests::cluster::{Client, Home, Node, SOON, introduce, register, wait_for, wait_until_equal};
use serde_json::Value;

async fn status(client: &Client) -> Value {
    client.get("/api/replication/status").await.expect(200)
}

/// What happened to identities, as a node tells it.
async fn events(node: &Node) -> Vec<String> {
    let told = status(&node.client("shop")).await;
    let events = told["IdentityEvents"].as_array().unwrap();
    events.iter().map(|event| event["What"].as_str().unwrap().to_owned()).collect()
}

/// Waits until a node tells of two nodes of one name, once in status, log and metrics.
async fn tells_of_two(home: &Home, node: &Node, name: &str) {
    let wanted = format!("two nodes are named '{name}'");
    wait_for("it tells of both", SOON, async || {
        let told = events(node).await;
        if told.iter().any(|what| what.contains(&wanted)) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    let metrics = node.client("shop").get("/metrics").await.text;
    assert!(metrics.contains("holdfast_identity_events 1\n"), "{metrics}");
    assert_eq!(home.log_lines(&wanted).len(), 1, "{:?}", home.log_lines(&wanted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_of_a_name_is_told_of_by_the_one_that_refuses_it() {
    let [office, till, twin] =
        ["office", "till", "till"].map(|name| Home::new(name).with("Node:SweepIntervalSeconds", "1"));
    let (homes, [office, till, twin]) = ([&office, &till], [office.start(), till.start(), twin.start()]);
    introduce((&office, &office.url), (&till, &till.url)).await;
    till.client("shop").put("/api/documents/stock/tea", "{}").await.expect(200);
    wait_until_equal(&[&office, &till], "shop").await;
    register(&twin, "office", &office.url).await;
    twin.client("shop").put("/api/documents/stock/salt", "{}").await.expect(200);
    tells_of_two(homes[0], &office, "till").await;
    let told = twin.client("shop").peer_status("office").await.unwrap();
    let words = told["LastError"].as_str().unwrap_or_default();
    assert!(words.contains("Another node named 'till'") && words.contains(&till.url), "{told}");
    office.client("shop").get("/api/documents/stock/salt").await.problem(404, "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_of_a_name_without_an_address_is_told_of_once_the_first_has_spoken_again() {
    let [office, till, twin] =
        ["office", "till", "till"].map(|name| Home::new(name).with("Node:SweepIntervalSeconds", "1"));
    let (home, [office, till, twin]) = (&office, [office.start(), till.start(), twin.start()]);
    register(&till, "office", &office.url).await;
    till.client("shop").put("/api/documents/stock/tea", "{}").await.expect(200);
    wait_until_equal(&[&office, &till], "shop").await;
    register(&twin, "office", &office.url).await;
    twin.client("shop").put("/api/documents/stock/salt", "{}").await.expect(200);
    tells_of_two(home, &office, "till").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_on_as_another_is_not_accused_of_being_two() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let homes = [Home::new("office"), Home::new("till").with("Urls", &format!("http://127.0.0.1:{port}"))];
    let [office, till] = homes.each_ref().map(Home::start);
    introduce((&office, &office.url), (&till, &till.url)).await;
    till.client("shop").put("/api/documents/stock/tea", "{}").await.expect(200);
    wait_until_equal(&[&office, &till], "shop").await;
    till.stop();
    fs::remove_dir_all(homes[1].data()).unwrap();
    let till = homes[1].start();
    let client = till.client("shop");
    client.put("/api/documents/stock/salt", "{}").await.expect(200);
    register(&till, "office", &office.url).await;
    wait_for("both are equal, without a failure on the way", SOON, async || {
        let told = client.peer_status("office").await?;
        assert_ne!(told["State"], "Failing", "{told}");
        if told["State"] == "InSync" { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    let told = status(&office.client("shop")).await;
    let database = &told["Databases"][0];
    assert_eq!(database["FencedMembers"].as_array().map(Vec::len), Some(0), "nobody is waited to return: {told}");
    assert_eq!(database["RetiredIncarnations"], 1, "{told}");
    assert!(!events(&office).await.iter().any(|what| what.contains("two nodes")), "{told}");
}
