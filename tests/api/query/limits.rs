//! How a query ends that asks for too much, or that nobody waits for.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::timeout;

use super::{ask, fill, query};
use crate::node::Node;

/// Looks at so many pairs that nobody waits for its end.
const ENDLESS: &str = "SELECT COUNT(*) FROM things a CROSS JOIN things b WHERE a.n + b.n < 0";

/// Waits until so many queries run.
async fn running(node: &Node, count: usize) {
    let wanted = format!("\nholdfast_queries_running {count}\n");
    while !node.get("/metrics").await.text.contains(&wanted) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn each_limit_is_a_422_with_a_code_of_its_own() {
    let node = Node::start_with(Vec::new(), |settings| {
        settings.query.max_examined_documents = 5_000;
        settings.query.max_memory_megabytes = 1;
        settings.query.max_result_megabytes = 1;
        settings.query.timeout_seconds = 1;
    })
    .await;
    fill(&node, 4_000).await;
    query(&node, "SELECT COUNT(n) FROM things").await.expect(200);
    let wide = json!({"query": "SELECT a.pad, @wide AS wide FROM things a", "take": 5_000,
        "parameters": {"wide": "x".repeat(1_000)}});
    ask(&node, wide).await.problem(422, "query-too-large");
    let sorted = json!({"query": "SELECT *, @wide AS wide FROM things ORDER BY n", "take": 5_000,
        "parameters": {"wide": "x".repeat(1_000)}});
    ask(&node, sorted).await.problem(422, "query-memory-exceeded");
    fill(&node, 12_000).await;
    query(&node, "SELECT COUNT(n) FROM things").await.problem(422, "query-too-large");
    assert_eq!(query(&node, "SELECT COUNT(*) AS c FROM things").await.expect(200)["Rows"], json!([{"c": 12_000}]));
}

#[tokio::test]
async fn a_query_ends_at_its_deadline() {
    let node = Node::start_with(Vec::new(), |settings| settings.query.timeout_seconds = 1).await;
    fill(&node, 10_000).await;
    let began = Instant::now();
    query(&node, ENDLESS).await.problem(422, "query-timeout");
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn more_documents_than_one_transaction_holds_are_not_written() {
    let node = Node::start().await;
    fill(&node, 10_001).await;
    query(&node, "UPDATE things SET seen = true").await.problem(422, "query-too-many-writes");
    let some = ask(&node, json!({"query": "UPDATE things SET seen = true", "take": 10_000})).await.expect(200);
    assert_eq!((&some["MatchedCount"], &some["AppliedCount"]), (&json!(10_001), &json!(10_000)));
    let rest = query(&node, "UPDATE things SET seen = true WHERE seen IS NULL").await.expect(200);
    assert_eq!(rest["AppliedCount"], 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_its_query_and_frees_its_place() {
    let node = Node::start_with(Vec::new(), |settings| {
        settings.query.max_running = 1;
        settings.query.max_waiting = 0;
        settings.query.timeout_seconds = 3_600;
    })
    .await;
    fill(&node, 20_000).await;
    for accept in ["application/json", "application/x-ndjson"] {
        let body = json!({ "query": ENDLESS }).to_string();
        let endless = node.ask("POST", "/api/query").header("Accept", accept).body(body).request();
        let asking = tokio::spawn(endless.send());
        timeout(Duration::from_secs(30), running(&node, 1)).await.expect("the endless query runs");
        query(&node, "SELECT COUNT(n) FROM things").await.problem(503, "too-many-queries");
        asking.abort();
        timeout(Duration::from_secs(30), running(&node, 0)).await.expect("the endless query has ended");
        query(&node, "SELECT COUNT(n) FROM things").await.expect(200);
    }
    let metrics = node.get("/metrics").await.text;
    assert!(metrics.contains("holdfast_queries_total{kind=\"select\",outcome=\"cancelled\"} 2\n"), "{metrics}");
}

#[tokio::test]
async fn long_scans_keep_neither_writers_nor_readers_waiting() {
    let node = Node::start_with(Vec::new(), |settings| settings.query.timeout_seconds = 3_600).await;
    fill(&node, 20_000).await;
    let ask_endlessly = || {
        let body = json!({ "query": ENDLESS }).to_string();
        tokio::spawn(node.ask("POST", "/api/query").body(body).request().send())
    };
    let running: Vec<_> = (0..20).map(|_| ask_endlessly()).collect();
    let others = async {
        for n in 0..50 {
            node.put(&format!("/api/documents/others/{n}"), "{}").await.expect(200);
            node.get(&format!("/api/documents/things/t{n:06}")).await.expect(200);
        }
        for text in [
            "INSERT INTO others VALUES {Id: 'by-query', n: 1}",
            "UPDATE others SET n = n + 1 WHERE Id = 'by-query'",
            "UPDATE others SET name = UPPER('a') WHERE n = 2",
            "DELETE FROM others WHERE name = 'A'",
        ] {
            assert_eq!(query(&node, text).await.expect(200)["AppliedCount"], 1, "{text}");
        }
    };
    timeout(Duration::from_secs(60), others).await.expect("reads and writes go on");
    assert!(running.iter().all(|query| !query.is_finished()), "the scans were still going on");
    running.iter().for_each(tokio::task::JoinHandle::abort);
}
