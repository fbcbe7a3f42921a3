//! A peer that sends poison: the two others go on, hold the same, and end the same when somebody settles it.

use holdfast_tests::cluster::{CLUSTER_KEY, Home, Node, SOON, introduce, wait_for, wait_until_equal};
use serde_json::{Value, json};

const TILL: &str = "till@00000000000000ab";

fn operation(sequence: u64, id: &str, payload: &str) -> Value {
    json!({
        "Id": format!("01ARZ3NDEKTSV4RRFFQ69G5F{sequence:02}"), "NodeId": "till", "Incarnation": "00000000000000ab",
        "Stamp": format!("1700000000{sequence:03}.0000"), "Collection": "orders", "EntityId": id, "OperationType": 1,
        "Kind": "put", "Payload": payload, "Sequence": sequence, "LogSequence": sequence,
        "Context": {TILL: sequence - 1},
    })
}

async fn push(node: &Node, operations: Vec<Value>) {
    let body = json!({
        "SourceNodeId": "till", "SourceIncarnation": "00000000000000ab", "LogId": "00000000000000cd",
        "AfterLogSequence": 0, "ThroughLogSequence": operations.len(), "Vector": {TILL: operations.len()},
        "Operations": operations,
    });
    node.client("shop").post("/api/replication/push", &body.to_string()).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_from_a_third_peer_stops_neither_node_and_is_settled_for_both() {
    let homes = ["left", "right"].map(Home::new);
    let [left, right] = homes.each_ref().map(Home::start);
    introduce((&left, &left.url), (&right, &right.url)).await;
    left.client("shop").put("/api/documents/orders/b", r#"{"By":"left"}"#).await.expect(200);
    wait_until_equal(&[&left, &right], "shop").await;

    let sound = |id: &str| json!({"Id": id, "By": "till"}).to_string();
    push(&left, vec![operation(1, "a", &sound("a")), operation(2, "b", "poison"), operation(3, "c", &sound("c"))])
        .await;
    right.client("shop").put("/api/documents/orders/d", r#"{"By":"right"}"#).await.expect(200);
    for node in [&left, &right] {
        wait_for("the letter is there and everything else flows", SOON, async || {
            let client = node.client("shop");
            let status = client.status().await?;
            let everything = client.collection("orders").await;
            let ids: Vec<&str> = everything.keys().map(String::as_str).collect();
            let is_so = status["DeadLetters"] == 1 && ids == ["a", "b", "c", "d"];
            if is_so { Ok(()) } else { Err(format!("{ids:?} {status}")) }
        })
        .await;
    }
    wait_until_equal(&[&left, &right], "shop").await;

    // It outlives a restart, and the stopped directory is sound.
    right.stop();
    homes[1].assert_sound();
    let right = homes[1].start();
    holdfast_tests::cluster::register(&left, "right", &right.url).await;
    let client = right.client("shop");
    let letters = client.get("/api/replication/dead-letters").await.expect(200);
    assert_eq!((&letters["Total"], &letters["DeadLetters"][0]["SourceNodeId"]), (&json!(1), &json!("left")));

    let letter = format!("{TILL}:2");
    // What is still there after a retry was not done; nothing to retry is.
    let command = |arguments: &[&str]| {
        let whole = [arguments, &["-d", "shop", "--url", right.url.as_str()]].concat();
        homes[1].command(&whole).env("HOLDFAST_KEY", holdfast_tests::cluster::ROOT_KEY).output().unwrap()
    };
    for arguments in [["dead-letters", "retry", letter.as_str()], ["dead-letters", "retry", "--all"]] {
        let told = command(&arguments);
        assert_eq!(told.status.code(), Some(1), "{told:?}");
        assert!(String::from_utf8_lossy(&told.stdout).contains("stays"), "{told:?}");
    }
    let settle = ["dead-letters", "settle", letter.as_str(), "-d", "shop", "--url", right.url.as_str()];
    let told = homes[1].command(&settle).env("HOLDFAST_KEY", holdfast_tests::cluster::ROOT_KEY).output().unwrap();
    assert!(told.status.success(), "{told:?}");
    for node in [&left, &right] {
        wait_for("nothing is parked any more", SOON, async || {
            let status = node.client("shop").status().await?;
            if status["DeadLetters"] == 0 { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    }
    let told = command(&["dead-letters", "retry", "--all"]);
    assert!(told.status.success() && String::from_utf8_lossy(&told.stdout).contains("no dead letters"), "{told:?}");
    wait_until_equal(&[&left, &right], "shop").await;
    assert_eq!(left.client("shop").document("orders", "b").await.unwrap()["By"], "left");
    [left, right].into_iter().for_each(Node::stop);
    homes.iter().for_each(Home::assert_sound);
    for home in &homes {
        home.assert_log_is_without(&[CLUSTER_KEY]);
    }
}
