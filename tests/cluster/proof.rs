//! Status says "in sync" when digests prove it, and no sooner.

use holdfast_tests::cluster::{Client, Home, Line, SOON, introduce, wait_for, wait_until_equal};
use serde_json::{Value, json};

use crate::falsified::falsify;

async fn product(client: &Client, id: &str, stock: u64) {
    let body = json!({"Name": id, "Stock": stock}).to_string();
    client.put(&format!("/api/documents/products/{id}"), &body).await.expect(200);
}

/// Waits until a node says this of a peer.
async fn wait_for_state(client: &Client, peer: &str, state: &str) -> Value {
    wait_for(&format!("{peer} is {state}"), SOON, async || {
        let status = client.peer_status(peer).await?;
        if status["State"] == state { Ok(status) } else { Err(status.to_string()) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_sync_is_proven_withdrawn_and_proven_again() {
    let homes = ["left", "right"].map(Home::new);
    let (left, right) = (homes[0].start(), homes[1].start());
    let (to_left, to_right) = (Line::to(&left.url).await, Line::to(&right.url).await);
    introduce((&left, &to_left.url()), (&right, &to_right.url())).await;
    let (one, two) = (left.client("shop"), right.client("shop"));
    for number in 0..20 {
        product(&one, &format!("l-{number}"), number).await;
        product(&two, &format!("r-{number}"), number).await;
    }
    for (client, peer) in [(&one, "right"), (&two, "left")] {
        let status = wait_for_state(client, peer, "InSync").await;
        assert_eq!(status["Comparison"]["Outcome"], "Equal", "{status}");
        assert_eq!(status["Comparison"]["LeftOut"], 0, "{status}");
        assert_eq!((&status["ToSend"]["Operations"], &status["ToReceive"]["Operations"]), (&json!(0), &json!(0)));
        assert!(status["LastEqualUtc"].is_string() && status["LastContactUtc"].is_string(), "{status}");
    }

    to_left.cut();
    to_right.cut();
    product(&one, "l-1", 5).await;
    let status = wait_for_state(&one, "right", "Failing").await;
    assert_eq!(status["ToSend"]["Operations"], 1, "{status}");
    assert!(status["ToSend"]["Bytes"].as_u64() > Some(0), "{status}");
    let reason = status["StateReason"].as_str().unwrap();
    assert!(reason.contains("operations wait in the log"), "{reason}");
    let metrics = one.get("/metrics").await.text;
    let labels = r#"{peer="right",database="shop","#;
    assert!(metrics.contains(&format!(r#"holdfast_sync_state{labels}state="Failing"}} 1"#)), "{metrics}");
    assert!(metrics.contains(&format!(r#"holdfast_sync_lag_operations{labels}direction="send"}} 1"#)), "{metrics}");

    to_left.heal();
    to_right.heal();
    wait_until_equal(&[&left, &right], "shop").await;
    wait_for_state(&one, "right", "InSync").await;
    wait_for_state(&two, "left", "InSync").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_never_rest_are_compared_all_the_same() {
    let homes = ["left", "right"].map(|name| Home::new(name).with("Node:SweepIntervalSeconds", "1"));
    let (left, right) = (homes[0].start(), homes[1].start());
    introduce((&left, &left.url), (&right, &right.url)).await;
    let (one, two) = (left.client("shop"), right.client("shop"));
    let mut number = 0;
    wait_for("a comparison under load", SOON, async || {
        number += 1;
        product(&one, &format!("l-{}", number % 50), number).await;
        product(&two, &format!("r-{}", number % 50), number).await;
        let status = one.peer_status("right").await?;
        assert_ne!(status["State"], "Diverged", "{status}");
        if status["Comparisons"].as_u64() >= Some(3) && status["Comparison"]["Outcome"] == "Equal" {
            return Ok(());
        }
        Err(status.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_falsified_document_is_found_and_the_right_side_wins() {
    let homes = ["left", "right"].map(Home::new);
    let (left, right) = (homes[0].start(), homes[1].start());
    introduce((&left, &left.url), (&right, &right.url)).await;
    for number in 0..30 {
        product(&left.client("shop"), &format!("p-{number}"), number).await;
    }
    wait_until_equal(&[&left, &right], "shop").await;
    let expected = left.client("shop").collection("products").await;
    left.stop();
    right.stop();
    falsify(&homes[0], "p-3", true);
    falsify(&homes[0], "p-5", false);
    falsify(&homes[1], "p-7", true);
    falsify(&homes[1], "p-11", false);
    let (left, right) = (homes[0].start(), homes[1].start());
    introduce((&left, &left.url), (&right, &right.url)).await;
    let one = left.client("shop");
    wait_for_state(&one, "right", "InSync").await;

    // Told alone, nothing is changed.
    let order = json!({"Peer": "right", "Database": "shop"}).to_string();
    let told = one.post("/api/replication/verify", &order).await.expect(200);
    let result = &told["Results"][0];
    let of = |result: &Value, field: &str| -> Vec<(String, String)> {
        let differences = result["Differences"].as_array().unwrap();
        let mut named: Vec<(String, String)> = differences
            .iter()
            .map(|one| (one["Id"].as_str().unwrap().to_owned(), one[field].as_str().unwrap().to_owned()))
            .collect();
        named.sort();
        named
    };
    let named = |pairs: [(&str, &str); 4]| pairs.map(|(id, word)| (id.to_owned(), word.to_owned())).to_vec();
    let found = named([("p-11", "Found"), ("p-3", "Found"), ("p-5", "Found"), ("p-7", "Found")]);
    assert_eq!(of(result, "Outcome"), found, "{result}");
    let here = named([("p-11", "Sound"), ("p-3", "Damaged"), ("p-5", "Damaged"), ("p-7", "Sound")]);
    assert_eq!(of(result, "Here"), here, "{result}");
    assert_eq!(
        (&told["IsEqual"], &result["UnreadableHere"], &result["UnreadableThere"]),
        (&json!(false), &json!(1), &json!(1))
    );
    assert_eq!((&result["WrongSumsHere"], &result["WrongSumsThere"]), (&json!(["products"]), &json!(["products"])));

    let order = json!({"Peer": "right", "Database": "shop", "Repair": true}).to_string();
    let told = one.post("/api/replication/verify", &order).await.expect(200);
    assert_eq!(told["IsEqual"], true, "{told}");
    for node in [&left, &right] {
        let found = node.client("shop").collection("products").await;
        assert_eq!(found, expected, "{}", node.name());
    }
    let told = one.post("/api/replication/verify", "{}").await.expect(200);
    assert_eq!(told["Results"][0]["Differences"], json!([]), "{told}");
    wait_until_equal(&[&left, &right], "shop").await;
    wait_for_state(&one, "right", "InSync").await;
    one.post("/api/replication/verify", &json!({"Peer": "nobody"}).to_string()).await.problem(404, "not-synced");
    left.stop();
    right.stop();
    homes.iter().for_each(Home::assert_sound);
}
