//! Which databases go out to a peer and come in from it, chosen on either side and changed while both run.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use holdfast_tests::cluster::{Home, Node, SOON, introduce, register, wait_for, wait_until_equal};
use serde_json::{Value, json};

async fn select(node: &Node, peer: &Node, selection: Value) {
    let mut record = json!({"NodeId": peer.name(), "BaseUrl": peer.url});
    for (name, value) in selection.as_object().unwrap() {
        record[name] = value.clone();
    }
    node.client("shop").post("/api/cluster/peers", &record.to_string()).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_selected_databases_travel_and_a_change_goes_on_where_it_was() {
    let homes = ["left", "right"].map(|name| Home::new(name).with("Node:SweepIntervalSeconds", "1"));
    let [left, right] = homes.each_ref().map(Home::start);
    select(&left, &right, json!({"PushDatabases": ["shop"]})).await;
    select(&right, &left, json!({"Databases": ["shop"], "PushDatabases": ["shop", "own"]})).await;
    for database in ["shop", "private"] {
        left.client(database).put("/api/documents/products/tea", r#"{"N":1}"#).await.expect(200);
    }
    wait_until_equal(&[&left, &right], "shop").await;
    right.client("private").get("/api/documents/products/tea").await.problem(404, "database-not-found");

    // The sender sends more now, and the receiver does not take it: told as that, not as a failure.
    select(&left, &right, json!({"PushDatabases": ["shop", "private"]})).await;
    wait_for("the sender is told", SOON, async || {
        let status = left.client("private").peer_status("right").await?;
        if status["CatchUpStatus"] == "NotSelected" && status["LastError"].is_null() {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    right.client("private").get("/api/documents/products/tea").await.problem(404, "database-not-found");

    let sent = left.client("shop").peer_status("right").await.unwrap()["OperationsSent"].clone();
    select(&right, &left, json!({"PullDatabases": ["shop", "private"]})).await;
    wait_until_equal(&[&left, &right], "private").await;
    left.client("shop").put("/api/documents/products/salt", "{}").await.expect(200);
    wait_until_equal(&[&left, &right], "shop").await;
    let after = left.client("shop").peer_status("right").await.unwrap()["OperationsSent"].clone();
    assert_eq!(after.as_u64(), sent.as_u64().map(|sent| sent + 1), "nothing was sent a second time");

    // A database that is there already is not changed by a peer either that it is not taken from.
    select(&right, &left, json!({"PullDatabases": ["private"]})).await;
    left.client("shop").put("/api/documents/products/pepper", "{}").await.expect(200);
    wait_for("the sender is told again", SOON, async || {
        let status = left.client("shop").peer_status("right").await?;
        if status["CatchUpStatus"] == "NotSelected" { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    right.client("shop").get("/api/documents/products/pepper").await.problem(404, "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_about_a_database_does_not_make_it_and_an_offer_does() {
    let homes = ["left", "right"].map(Home::new);
    let [left, right] = homes.each_ref().map(Home::start);
    let pull = json!({"RequestingNodeId": "somebody", "AfterLogSequence": 0}).to_string();
    right.client("ghost").post("/api/replication/pull", &pull).await.problem(404, "database-not-found");
    let listed = right.client("ghost").get("/api/databases").await.text;
    assert!(!listed.contains("ghost"), "{listed}");
    introduce((&left, &left.url), (&right, &right.url)).await;
    left.client("ghost").put("/api/documents/products/tea", "{}").await.expect(200);
    wait_until_equal(&[&left, &right], "ghost").await;
}

/// Answers every request with one byte a second, for ever.
fn trickle(listener: TcpListener) {
    for connection in listener.incoming() {
        std::thread::spawn(move || -> std::io::Result<()> {
            let mut connection = connection?;
            let _ = connection.read(&mut [0; 1_024])?;
            connection
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")?;
            loop {
                connection.write_all(b" ")?;
                std::thread::sleep(Duration::from_secs(1));
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_answers_a_byte_at_a_time_delays_nobody_else() {
    let homes = ["writer", "healthy"].map(Home::new);
    let [writer, healthy] = homes.each_ref().map(Home::start);
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    register(&writer, "slow", &format!("http://{}", slow.local_addr().unwrap())).await;
    std::thread::spawn(move || trickle(slow));
    introduce((&writer, &writer.url), (&healthy, &healthy.url)).await;
    let client = writer.client("shop");
    client.put("/api/documents/products/tea", r#"{"N":0}"#).await.expect(200);
    wait_until_equal(&[&writer, &healthy], "shop").await;
    for number in 1..=20 {
        let begun = Instant::now();
        client.put("/api/documents/products/tea", &json!({"N": number}).to_string()).await.expect(200);
        wait_for("the healthy peer has it", SOON, async || {
            let found = healthy.client("shop").document("products", "tea").await;
            if found.as_ref().is_some_and(|tea| tea["N"] == number) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    }
}
