//! A write's token, taken to another node: it waits for the write, or says that it has not come.

use holdfast_tests::cluster::{Home, Line, introduce};
use serde_json::Value;

fn token(written: &Value) -> String {
    written["Token"].as_str().expect("a write answers with its token").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_reads_the_write_on_the_other_node_or_nothing() {
    let homes = ["left", "right"].map(Home::new);
    let [left, right] = homes.each_ref().map(Home::start);
    let (to_left, to_right) = (Line::to(&left.url).await, Line::to(&right.url).await);
    introduce((&left, &to_left.url()), (&right, &to_right.url())).await;
    let (at_left, at_right) = (left.client("shop"), right.client("shop"));

    // The database is new on the left and unknown on the right: the very first read waits for both.
    for number in 0..50 {
        let written = at_left.put("/api/documents/orders/1", &format!("{{\"N\":{number}}}")).await.expect(200);
        let path = format!("/api/documents/orders/1?timeout=30s&token={}", token(&written));
        assert_eq!(at_right.get(&path).await.expect(200)["N"], number);
        let wait = format!("/api/replication/wait?timeout=30s&token={}", token(&written));
        let waited = at_left.get(&wait).await.expect(200);
        assert_eq!((&waited["PeersReached"], &waited["Nodes"]), (&1.into(), &serde_json::json!(["right"])));
    }

    to_left.cut();
    to_right.cut();
    let written = at_left.put("/api/documents/orders/1", r#"{"N":"cut"}"#).await.expect(200);
    let token = token(&written);
    let path = format!("/api/documents/orders/1?timeout=200ms&token={token}");
    at_right.get(&path).await.problem(503, "not-here-yet");
    let late = at_left.get(&format!("/api/replication/wait?timeout=200ms&token={token}")).await.expect(202);
    assert_eq!(late["Missing"], serde_json::json!(["right"]));
    to_left.heal();
    to_right.heal();
    let wait = format!("/api/replication/wait?timeout=25s&token={token}");
    let read = format!("/api/documents/orders/1?timeout=25s&token={token}");
    let (healed, read) = tokio::join!(at_left.get(&wait), at_right.get(&read));
    assert_eq!(healed.expect(200)["Reached"], true);
    assert_eq!(read.expect(200)["N"], "cut");
}
