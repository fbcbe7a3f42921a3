//! The change feed: once, as a long poll, as events.

use std::time::{Duration, Instant};

use crate::node::{Node, ROOT};

#[tokio::test]
async fn a_reader_that_follows_next_sees_everything_once() {
    let node = Node::start().await;
    for n in 0..25 {
        let collection = if n % 2 == 0 { "even" } else { "odd" };
        node.put(&format!("/api/documents/{collection}/{n}"), format!("{{\"n\":{n}}}")).await.expect(200);
    }
    node.delete("/api/documents/even/0").await.expect(200);
    let (mut seen, mut next) = (Vec::new(), 0);
    loop {
        let page = node.get(&format!("/api/changes?since={next}&limit=4")).await.expect(200);
        seen.extend(page["Changes"].as_array().unwrap().iter().map(|change| change["LogSequence"].as_u64().unwrap()));
        next = page["Next"].as_u64().unwrap();
        if page["HasMore"] == false {
            break;
        }
    }
    assert_eq!(seen, (1..=26).collect::<Vec<u64>>());
    let odd = node.get("/api/changes?collection=odd&limit=1000&includeDocuments=false").await.expect(200);
    assert_eq!(odd["Changes"].as_array().unwrap().len(), 12);
    assert!(odd["Changes"].as_array().unwrap().iter().all(|change| change["Payload"].is_null()));
    assert_eq!(odd["Next"].as_u64(), Some(26));
    assert_eq!(node.get("/api/changes?since=now").await.expect(200)["Next"].as_u64(), Some(26));
}

#[tokio::test]
async fn a_long_poll_waits_for_a_change_and_no_longer() {
    let node = Node::start().await;
    node.put("/api/documents/orders/a", "{}").await.expect(200);
    let began = Instant::now();
    let poll = node.get("/api/changes?since=now&wait=10s&collection=orders");
    let write = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        node.put("/api/documents/other/b", "{}").await.expect(200);
        tokio::time::sleep(Duration::from_millis(100)).await;
        node.put("/api/documents/orders/b", "{}").await.expect(200);
    };
    let (polled, ()) = tokio::join!(poll, write);
    let polled = polled.expect(200);
    assert_eq!(polled["Changes"][0]["EntityId"], "b");
    assert_eq!(polled["Changes"].as_array().unwrap().len(), 1);
    assert!(began.elapsed() < Duration::from_secs(5));
    let began = Instant::now();
    let empty = node.get("/api/changes?since=now&wait=150").await.expect(200);
    assert_eq!(empty["Changes"].as_array().unwrap().len(), 0);
    assert!((Duration::from_millis(150)..Duration::from_secs(3)).contains(&began.elapsed()));
}

#[tokio::test]
async fn a_feed_tells_what_was_and_what_comes_and_resumes_after_the_last_event() {
    let node = Node::start().await;
    node.put("/api/documents/orders/a", "{}").await.expect(200);
    let listen = async |last: Option<&str>, until: &str| {
        let mut question = node.ask("GET", "/api/changes").header("Accept", "text/event-stream");
        if let Some(last) = last {
            question = question.header("Last-Event-ID", last);
        }
        let mut answer = question.request().send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut text = String::new();
        while !text.contains(until) {
            text.push_str(std::str::from_utf8(&answer.chunk().await.unwrap().unwrap()).unwrap());
        }
        text
    };
    let write = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        node.put("/api/documents/orders/b", "{}").await.expect(200);
    };
    let (heard, ()) = tokio::join!(listen(None, "\"EntityId\":\"b\""), write);
    assert!(heard.contains("id: 1\n") && heard.contains("id: 2\n"), "{heard}");
    let resumed = listen(Some("1"), "\"EntityId\":\"b\"").await;
    assert!(!resumed.contains("\"EntityId\":\"a\""), "{resumed}");
    let bad = node.ask("GET", "/api/changes").header("Accept", "text/event-stream").header("Last-Event-ID", "x");
    bad.send().await.problem(400, "invalid-header");
}

#[tokio::test]
async fn a_feed_ends_when_the_database_is_dropped_or_the_node_stops() {
    let node = Node::start().await;
    for ending in ["drop", "stop"] {
        node.put("/api/documents/orders/a", "{}").await.expect(200);
        let question = node.ask("GET", "/api/changes?since=now").header("Accept", "text/event-stream");
        let mut answer = question.request().send().await.unwrap();
        match ending {
            "drop" => drop(node.delete("/api/databases/shop").await.expect(200)),
            _ => node.stop(),
        }
        let end = async { while answer.chunk().await.is_ok_and(|chunk| chunk.is_some()) {} };
        assert!(tokio::time::timeout(Duration::from_secs(10), end).await.is_ok(), "{ending}");
    }
}

#[tokio::test]
async fn positions_that_the_log_does_not_hold_are_410_and_nonsense_is_400() {
    let node = Node::start().await;
    node.put("/api/documents/orders/a", "{}").await.expect(200);
    node.get("/api/changes?since=99").await.problem(410, "position-unknown");
    node.get("/api/changes?logId=0000").await.problem(410, "log-replaced");
    let log_id = node.get("/api/changes").await.expect(200)["LogId"].as_str().unwrap().to_owned();
    node.get(&format!("/api/changes?logId={log_id}")).await.expect(200);
    for query in ["since=x", "since=-1", "wait=soon", "limit=x", "collection=cache"] {
        let status = node.get(&format!("/api/changes?{query}")).await.status.as_u16();
        assert!(matches!(status, 400 | 403), "{query}: {status}");
    }
    node.ask("GET", "/api/changes")
        .header("Database", "none")
        .key(ROOT)
        .send()
        .await
        .problem(404, "database-not-found");
}
