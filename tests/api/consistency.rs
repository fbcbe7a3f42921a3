//! Tokens: every write names itself, a read with the name is never older, and one can wait for peers.

use std::time::{Duration, Instant};

use holdfast::settings::sections::RoleSettings;
use serde_json::json;

use crate::node::{Answer, NO_ROLES, Node, key};

fn token(answer: &Answer) -> String {
    let body = answer.expect(200);
    let token = answer.header("consistency-token").to_owned();
    assert!(!token.is_empty() && (body.is_null() || body["Token"] == token.as_str()), "{answer:?}");
    token
}

fn after(token: &str, steps: u64) -> String {
    let (origin, sequence) = token.rsplit_once(':').unwrap();
    format!("{origin}:{}", sequence.parse::<u64>().unwrap() + steps)
}

#[tokio::test]
async fn every_kind_of_write_answers_with_its_token() {
    let node = Node::start().await;
    let mut tokens = vec![
        token(&node.put("/api/documents/orders/1", r#"{"n":1}"#).await),
        token(&node.post("/api/documents/orders", r#"{"Id":"2"}"#).await),
        token(&node.patch("/api/documents/orders/1", r#"{"a":1,"$inc":{"n":1}}"#).await),
        token(&node.delete("/api/documents/orders/2").await),
        token(&node.post("/api/documents/empty/register", "").await),
        token(&node.post("/api/documents/orders/bulk", "[{\"Id\":\"3\"},{\"Id\":\"\"},{\"Id\":\"4\"}]").await),
    ];
    let change = r#"{"Operations":[{"Op":"put","Collection":"orders","Id":"5","Document":{}},
        {"Op":"put","Collection":"orders","Id":"6","Document":{}}]}"#;
    tokens.push(token(&node.post("/api/transactions", change).await));
    let sequences: Vec<u64> = tokens.iter().map(|token| token.rsplit_once(':').unwrap().1.parse().unwrap()).collect();
    assert_eq!(sequences, [1, 2, 4, 5, 6, 8, 10], "{tokens:?}");
    // Nothing was written: there is nothing to name.
    let nothing = node.post("/api/documents/orders/bulk", "[{\"Id\":\"\"}]").await;
    assert!(nothing.expect(200)["Token"].is_null() && nothing.header("consistency-token").is_empty());
}

#[tokio::test]
async fn lists_of_indexes_and_conflicts_are_never_older_than_a_token_either() {
    let node = Node::start().await;
    let here = token(&node.put("/api/documents/orders/1", r#"{"n":1}"#).await);
    node.post("/api/indexes", r#"{"Name":"by_n","Collection":"orders","Paths":["$.n"]}"#).await.expect(201);
    let far = after(&here, 100);
    for path in ["/api/indexes", "/api/indexes/by_n", "/api/conflicts"] {
        node.get(&format!("{path}?token={here}")).await.expect(200);
        node.get(&format!("{path}?timeout=50ms&token={far}")).await.problem(503, "not-here-yet");
        let asked = node.ask("GET", &format!("{path}?timeout=50ms")).header("Consistency-Token", &far);
        asked.send().await.problem(503, "not-here-yet");
        node.get(&format!("{path}?token=none")).await.problem(400, "invalid-token");
    }
    let none = "/api/conflicts/00000000000000000000000000000000";
    node.get(&format!("{none}?timeout=50ms&token={far}")).await.problem(503, "not-here-yet");
}

#[tokio::test]
async fn a_read_with_a_token_waits_for_the_write_and_is_never_older() {
    let node = Node::start().await;
    let first = token(&node.put("/api/documents/orders/1", r#"{"n":1}"#).await);
    let next = after(&first, 1);
    for path in ["/api/documents/orders/1", "/api/documents/orders", "/api/documents", "/api/changes"] {
        node.get(&format!("{path}?token={first}")).await.expect(200);
        let early = node.get(&format!("{path}?token={next}&timeout=50ms")).await;
        early.problem(503, "not-here-yet");
        assert_eq!(early.header("retry-after"), "1");
    }
    node.get(&format!("/api/documents/orders/1/history?token={next}&timeout=0")).await.problem(503, "not-here-yet");
    let began = Instant::now();
    let read = node.ask("GET", "/api/documents/orders/1?timeout=20s").header("Consistency-Token", &next).send();
    let write = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        node.put("/api/documents/orders/1", r#"{"n":2}"#).await.expect(200);
    };
    let (read, ()) = tokio::join!(read, write);
    assert_eq!(read.expect(200)["n"], 2);
    assert!(began.elapsed() < Duration::from_secs(10), "it is woken by the commit");
    // The database itself may be on its way.
    let elsewhere = node.ask("GET", "/api/documents/orders/1?timeout=50").header("Database", "new");
    elsewhere.header("Consistency-Token", &next).send().await.problem(503, "not-here-yet");
    for bad in ["x", "node@7:1", "node-1@0000000000000007:0", "node-1@0000000000000007:-1", ""] {
        node.get(&format!("/api/documents/orders/1?token={bad}")).await.problem(400, "invalid-token");
    }
    let both = node.ask("GET", &format!("/api/documents/orders/1?token={first}")).header("Consistency-Token", &next);
    both.send().await.problem(400, "invalid-token");
}

#[tokio::test]
async fn waiting_for_peers_says_who_has_a_write() {
    let reader = key("reader", &["shop"], RoleSettings { read_document: true, ..NO_ROLES });
    let other = key("other", &["archive"], RoleSettings { read_document: true, ..NO_ROLES });
    let node = Node::start_with(vec![reader, other], |_| {}).await;
    let token = token(&node.put("/api/documents/orders/1", "{}").await);
    let at_once = node.get(&format!("/api/replication/wait?token={token}&peers=0")).await.expect(200);
    assert_eq!((&at_once["Reached"], &at_once["IsHere"]), (&true.into(), &true.into()));
    let late = node.get(&format!("/api/replication/wait?token={token}&timeout=50ms")).await.expect(202);
    assert_eq!((&late["Reached"], &late["PeersWanted"]), (&false.into(), &1.into()));
    assert!(late["WaitedMilliseconds"].as_u64().unwrap() >= 50);
    let unknown = node.get("/api/replication/wait?token=other@00000000000000ab:1&peers=0").await;
    unknown.problem(503, "unknown-origin");
    assert_eq!(unknown.header("retry-after"), "1");
    node.get("/api/replication/wait").await.problem(400, "invalid-parameter");
    node.get(&format!("/api/replication/wait?token={token}&peers=5000")).await.problem(400, "invalid-parameter");
    let path = format!("/api/replication/wait?token={token}&peers=0");
    node.ask("GET", &path).key("reader-key-of-the-tests").send().await.expect(200);
    assert_eq!(node.ask("GET", &path).key("other-key-of-the-tests").send().await.status.as_u16(), 403);
    assert_eq!(node.ask("GET", &path).without_key().send().await.status.as_u16(), 401);
}

#[tokio::test]
async fn a_write_to_the_cache_has_a_token_once_it_cannot_be_lost() {
    let node = Node::start().await;
    let tokens = [
        token(&node.put("/api/cache/k", "1").await),
        token(&node.post("/api/cache/k/increment", "").await),
        token(&node.post("/api/cache/k/touch", "").await),
        token(&node.delete("/api/cache/k").await),
        token(&node.put("/api/cache", r#"{"Entries":[{"Key":"a","Value":1},{"Key":"b","Value":2}]}"#).await),
    ];
    let sequences: Vec<u64> = tokens.iter().map(|token| token.rsplit_once(':').unwrap().1.parse().unwrap()).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 6], "{tokens:?}");
    assert!(tokens.iter().all(|token| token.starts_with("cache:")), "{tokens:?}");
    for (method, path) in
        [("PUT", "/api/cache/k?durability=relaxed"), ("PUT", "/api/cache/k?scope=local"), ("DELETE", "/api/cache/none")]
    {
        let answer = node.ask(method, path).body(if method == "PUT" { "1" } else { "" }).send().await;
        assert!(answer.expect(200)["Token"].is_null() && answer.header("consistency-token").is_empty(), "{path}");
    }
    // One that nobody has yet; one of the log, which counts apart; and what is none.
    let (here, far) = (&tokens[4], after(&tokens[4], 100));
    let of_log = far.strip_prefix("cache:").unwrap();
    for path in ["/api/cache/a", "/api/cache", "/api/documents"] {
        node.get(&format!("{path}?token={here}")).await.expect(200);
        node.get(&format!("{path}?timeout=50ms&token={far}")).await.problem(503, "not-here-yet");
        node.get(&format!("{path}?timeout=50ms&token={of_log}")).await.problem(503, "not-here-yet");
        let asked = node.ask("GET", &format!("{path}?timeout=50ms")).header("Consistency-Token", &far);
        asked.send().await.problem(503, "not-here-yet");
        node.get(&format!("{path}?token=cache:none")).await.problem(400, "invalid-token");
    }
    let path = format!("/api/cache?timeout=50ms&token={far}");
    node.post(&path, r#"{"Keys":["a"]}"#).await.problem(503, "not-here-yet");
    let elsewhere = "/api/replication/wait?timeout=50ms&token=cache:elsewhere@00000000000000ff:1";
    node.get(elsewhere).await.problem(503, "unknown-origin");
    let waited = node.get(&format!("/api/replication/wait?timeout=50ms&peers=0&token={here}")).await.expect(200);
    assert_eq!((&waited["IsHere"], &waited["Token"]), (&true.into(), &here.as_str().into()));
}

#[tokio::test]
async fn an_index_that_is_made_or_dropped_has_a_token_and_one_that_is_there_has_none() {
    let node = Node::start().await;
    node.put("/api/documents/orders/1", r#"{"n": 1}"#).await.expect(200);
    let body = r#"{"Name": "by_n", "Collection": "orders", "Paths": ["n"]}"#;
    let sequence = |token: &str| token.rsplit_once(':').unwrap().1.parse::<u64>().unwrap();
    let made = node.post("/api/indexes", body).await;
    made.expect(201);
    let first = made.header("consistency-token").to_owned();
    // Whoever has it waits for nothing.
    node.ask("GET", "/api/indexes/by_n?timeout=50ms").header("Consistency-Token", &first).send().await.expect(200);
    let again = node.post("/api/indexes", body).await;
    again.expect(200);
    assert_eq!(again.header("consistency-token"), "", "nothing was logged");
    let dropped = node.delete("/api/indexes/by_n").await;
    dropped.expect(204);
    assert!(sequence(dropped.header("consistency-token")) > sequence(&first));
    // A statement says it in its answer too.
    for (text, is_logged) in [
        ("CREATE INDEX by_m ON orders (m)", true),
        ("CREATE INDEX IF NOT EXISTS by_m ON orders (m)", false),
        ("DROP INDEX by_m", true),
    ] {
        let answer = node.post("/api/query", json!({"Query": text}).to_string()).await;
        let token = answer.expect(200)["Token"].as_str().unwrap_or_default().to_owned();
        assert_eq!((token.as_str(), !token.is_empty()), (answer.header("consistency-token"), is_logged), "{text}");
    }
}
