//! Answers in lines: rows as they are found, the rest in the last line.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{ask, fill, node_with, query};
use crate::node::{Answer, Node};

const NDJSON: &str = "application/x-ndjson";

async fn lines(node: &Node, body: Value) -> Answer {
    node.ask("POST", "/api/query").header("Accept", NDJSON).body(body.to_string()).send().await
}

fn split(answer: &Answer) -> (Vec<Value>, Value) {
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, NDJSON), "{}", answer.text);
    let mut lines: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.pop().unwrap();
    (lines, last)
}

#[tokio::test]
async fn each_row_is_a_line_and_the_last_line_is_the_rest() {
    let node = node_with(3_000).await;
    let body = json!({"query": "SELECT n, pad FROM things WHERE n < @most", "parameters": {"most": 2_500}});
    let (rows, last) = split(&lines(&node, body.clone()).await);
    assert_eq!(rows.len(), 2_500);
    assert_eq!(rows[17]["n"], 17);
    let summary = &last["$summary"];
    assert_eq!((&summary["ReturnedRows"], &summary["MatchedCount"]), (&json!(2_500), &json!(2_500)));
    assert_eq!((&summary["Columns"], &summary["RequestedTake"]), (&json!(["n", "pad"]), &Value::Null));
    assert_eq!((summary.get("Rows"), &summary["NextCursor"]), (None, &Value::Null));
    let whole = ask(&node, json!({"query": body["query"], "parameters": body["parameters"], "take": 10_000})).await;
    assert_eq!(whole.expect(200)["Rows"], Value::from(rows));
    let page = lines(&node, json!({"query": "SELECT n FROM things", "take": 10})).await;
    let (rows, last) = split(&page);
    assert_eq!(rows.len(), 10);
    let next = lines(&node, json!({"query": "SELECT n FROM things", "cursor": last["$summary"]["NextCursor"]})).await;
    let (rest, last) = split(&next);
    assert_eq!((rest.len(), &rest[0]["n"], &last["$summary"]["NextCursor"]), (2_990, &json!(10), &Value::Null));
}

#[tokio::test]
async fn other_statements_and_empty_answers_come_in_lines_too() {
    let node = node_with(3).await;
    let (rows, last) = split(&lines(&node, json!({"query": "SELECT * FROM nothing"})).await);
    assert_eq!((rows.len(), &last["$summary"]["ReturnedRows"]), (0, &json!(0)));
    let (rows, last) = split(&lines(&node, json!({"query": "UPDATE things SET n = 1 WHERE Id = 't000001'"})).await);
    assert_eq!((&rows[0]["id"], &last["$summary"]["AppliedCount"]), (&json!("t000001"), &json!(1)));
    let (rows, _) = split(&lines(&node, json!({"query": "EXPLAIN SELECT * FROM things"})).await);
    assert_eq!(rows, [json!({"Plan": "FullScan things  (expected rows 3)"})]);
}

#[tokio::test]
async fn what_fails_before_the_first_row_has_its_status_and_what_fails_later_is_the_last_line() {
    let node = node_with(3_000).await;
    lines(&node, json!({"query": "SELECT * FORM things"})).await.problem(400, "query-syntax");
    lines(&node, json!({"query": "SELECT 1 / n FROM things"})).await.problem(422, "division-by-zero");
    let (rows, last) = split(&lines(&node, json!({"query": "SELECT n, pad, 1 / (2000 - n) AS x FROM things"})).await);
    assert!((1..=2_000).contains(&rows.len()), "{}", rows.len());
    assert_eq!((&last["$error"]["code"], &last["$error"]["status"]), (&json!("division-by-zero"), &json!(422)));
}

#[tokio::test]
async fn a_reader_that_stands_still_holds_up_nobody_and_takes_bounded_room() {
    let node = Node::start_with(Vec::new(), |settings| {
        settings.query.max_running = 1;
        settings.query.max_waiting = 0;
        settings.query.timeout_seconds = 3_600;
        settings.query.unread_seconds = 1;
    })
    .await;
    // Far more than the buffers of a connection hold.
    fill(&node, 20_000).await;
    let every_pair = json!({"query": "SELECT a.pad, b.pad AS other FROM things a CROSS JOIN things b"}).to_string();
    let question = node.ask("POST", "/api/query").header("Accept", NDJSON).body(every_pair);
    let mut response = question.request().send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.chunk().await.unwrap().is_some());
    // The only place is taken while nobody reads; other routes and writers go on.
    query(&node, "SELECT COUNT(n) FROM things").await.problem(503, "too-many-queries");
    node.put("/api/documents/things/one-more", "{}").await.expect(200);
    // When nothing was read for too long, the query gives its place back, whatever time it has left.
    let freed = async {
        while query(&node, "SELECT COUNT(n) FROM things").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), freed).await.expect("the place is given back");
    let mut last = Vec::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        last.extend_from_slice(&chunk);
    }
    let text = String::from_utf8(last).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["$error"]["code"], "query-unread");
}

#[tokio::test]
async fn waiting_for_a_slow_reader_is_no_time_of_the_query() {
    let node = Node::start_with(Vec::new(), |settings| {
        settings.query.timeout_seconds = 8;
        settings.query.unread_seconds = 60;
    })
    .await;
    // More than the buffers of a connection hold, so that the query waits.
    fill(&node, 400).await;
    let body = json!({"query": "SELECT a.pad, b.pad AS other FROM things a CROSS JOIN things b"}).to_string();
    let question = node.ask("POST", "/api/query").header("Accept", NDJSON).body(body);
    let began = std::time::Instant::now();
    let mut response = question.request().send().await.unwrap();
    let mut text = Vec::new();
    text.extend_from_slice(&response.chunk().await.unwrap().unwrap());
    // A pause that is longer than the query may take.
    tokio::time::sleep(Duration::from_secs(9)).await;
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.extend_from_slice(&chunk);
    }
    assert!(began.elapsed() > Duration::from_secs(9));
    let text = String::from_utf8(text).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["$summary"]["ReturnedRows"], 160_000, "{last}");
}
