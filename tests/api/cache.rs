//! `/api/cache`: what users send, what they get, and every way to get it wrong.

use std::time::Duration;

use holdfast::settings::sections::{CacheDurability, RoleSettings};
use serde_json::{Value, json};

use crate::node::{Node, key};

async fn node() -> Node {
    Node::start().await
}

#[tokio::test]
async fn an_entry_is_set_read_and_deleted_in_the_shapes_that_older_clients_know() {
    let node = node().await;
    let written = node.put("/api/cache/greet?ttl=5m", r#" { "hello" : "world" } "#).await.expect(200);
    assert_eq!((&written["Key"], &written["Ttl"]), (&json!("greet"), &json!("300000ms")));
    assert_eq!((&written["Created"], &written["Durability"]), (&json!(true), &json!("fsync")));
    let read = node.get("/api/cache/greet").await;
    let entry = read.expect(200);
    assert_eq!((&entry["Key"], &entry["Value"]), (&json!("greet"), &json!({"hello": "world"})));
    assert_eq!((&entry["ExpiresAtUtc"], &entry["Version"]), (&written["ExpiresAtUtc"], &written["Version"]));
    let left: u64 = entry["RemainingTtl"].as_str().unwrap().strip_suffix("ms").unwrap().parse().unwrap();
    assert!(left > 200_000 && left <= 300_000, "{left}");
    assert_eq!(read.header("etag"), format!("\"{}\"", written["Version"].as_str().unwrap()));
    let again = node.put("/api/cache/greet", "1").await.expect(200);
    assert_eq!((&again["Created"], &again["Ttl"]), (&json!(false), &json!("300000ms")));
    assert_eq!(node.get("/api/cache/greet").await.expect(200)["CreatedUtc"], entry["CreatedUtc"]);
    let deleted = node.delete("/api/cache/greet").await.expect(200);
    assert_eq!((&deleted["Collection"], &deleted["EntityId"]), (&json!("cache"), &json!("greet")));
    assert_eq!((&deleted["IsDeleted"], &deleted["Version"]), (&json!(true), &Value::Null));
    node.get("/api/cache/greet").await.problem(404, "cache-miss");
    assert_eq!(node.delete("/api/cache/greet").await.expect(200)["IsDeleted"], true);
}

#[tokio::test]
async fn what_has_ended_is_gone_at_once() {
    let node = node().await;
    node.put("/api/cache/brief?ttl=1ms", "1").await.expect(200);
    tokio::time::sleep(Duration::from_millis(5)).await;
    node.get("/api/cache/brief").await.problem(404, "cache-miss");
    assert_eq!(node.get("/api/cache").await.expect(200)["Entries"], json!([]));
    node.put("/api/cache/brief?nx=true&ttl=1h", "2").await.expect(200);
}

#[tokio::test]
async fn a_bad_ttl_or_key_is_told_in_the_words_of_older_nodes() {
    let node = node().await;
    for (path, code, text) in [
        ("/api/cache/k?ttl=soon", "invalid-ttl", "Invalid ttl format. Use values like '30s', '5m', '2h', or '1d'."),
        ("/api/cache/k?ttl=NaNs", "invalid-ttl", "Invalid ttl format. Use values like '30s', '5m', '2h', or '1d'."),
        ("/api/cache/k?ttl=0", "ttl-not-positive", "ttl must be greater than zero."),
        ("/api/cache/k?ttl=31d", "ttl-too-long", "ttl cannot exceed 2592000000ms."),
        ("/api/cache/%20", "cache-key-required", "Cache key is required."),
        ("/api/cache/a%00b", "invalid-cache-key", "Cache key cannot contain control characters."),
        ("/api/cache/%0Ak%09", "invalid-cache-key", "Cache key cannot contain control characters."),
        (&format!("/api/cache/{}", "ä".repeat(257)), "cache-key-too-long", "Cache key cannot exceed 256 characters."),
    ] {
        let problem = node.put(path, "1").await.problem(400, code);
        assert_eq!(problem["Error"], text, "{path}");
    }
    // Thirty seconds, not thirty days.
    assert_eq!(node.put("/api/cache/k?ttl=30", "1").await.expect(200)["Ttl"], "30000ms");
    node.put(&format!("/api/cache/{}", "ä".repeat(256)), "1").await.expect(200);
    for (body, code) in [("", "value-required"), ("{bad", "malformed-json"), ("1 2", "malformed-json")] {
        node.put("/api/cache/k", body).await.problem(400, code);
    }
    node.put("/api/cache/k?tll=5m", "1").await.problem(400, "invalid-parameter");
    node.put("/api/cache/k?nx=true&xx=true", "1").await.problem(400, "contradictory-preconditions");
}

#[tokio::test]
async fn other_bodies_than_json_come_back_as_they_were_sent() {
    let node = node().await;
    let sent =
        node.ask("PUT", "/api/cache/page").header("content-type", "text/html; charset=utf-8").body("<p>1").send().await;
    sent.expect(200);
    let read = node.get("/api/cache/page").await;
    assert_eq!((read.status.as_u16(), read.text.as_str()), (200, "<p>1"));
    assert_eq!(read.header("content-type"), "text/html; charset=utf-8");
    assert!(read.header("content-security-policy").contains("sandbox"), "a stored page runs as this node's");
    assert!(read.header("cache-remaining-ttl").ends_with("ms"));
    let listed = node.get("/api/cache?values=true").await.expect(200);
    assert_eq!(listed["Entries"][0]["Value"], "PHA+MQ==");
    node.ask("POST", "/api/cache/page/increment").send().await.problem(409, "not-a-number");
    node.put("/api/cache/page?get=true", "1").await.expect(200);
}

#[tokio::test]
async fn conditions_hold_or_nothing_changes() {
    let node = node().await;
    node.put("/api/cache/lock?xx=true", "1").await.problem(404, "cache-miss");
    let first = node.put("/api/cache/lock?nx=true", "\"me\"").await.expect(200);
    node.put("/api/cache/lock?nx=true", "\"you\"").await.problem(409, "cache-key-exists");
    let version = first["Version"].as_str().unwrap().to_owned();
    let with = |tag: &str| node.ask("PUT", "/api/cache/lock").header("if-match", format!("\"{tag}\""));
    with("nothing").body("2").send().await.problem(412, "precondition-failed");
    with(&version).body("2").send().await.expect(200);
    with(&version).body("3").send().await.problem(412, "precondition-failed");
    let swapped = node.put("/api/cache/lock?get=true&keepTtl=true&ttl=1s", "3").await.expect(200);
    assert_eq!(swapped["Previous"], 2);
    let remaining = node.get("/api/cache/lock").await.expect(200)["RemainingTtl"].as_str().unwrap().len();
    assert!(remaining >= "200000ms".len(), "the end moved");
    let gone = node.ask("DELETE", "/api/cache/lock?get=true").send().await.expect(200);
    assert_eq!(gone["Previous"], 3);
    assert_eq!(node.put("/api/cache/lock?get=true", "4").await.expect(200)["Previous"], Value::Null);
    let current = node.get("/api/cache/lock").await;
    let unchanged = node.ask("GET", "/api/cache/lock").header("if-none-match", current.header("etag")).send().await;
    assert_eq!(unchanged.status.as_u16(), 304);
}

#[tokio::test]
async fn numbers_are_added_to_exactly_and_keep_their_end() {
    let node = node().await;
    let add = |query: &str| node.ask("POST", &format!("/api/cache/n/increment{query}")).send();
    assert_eq!(add("?ttl=1h").await.expect(200)["Value"], 1);
    let sum = add("?by=-2.5&ttl=1s").await.expect(200);
    assert_eq!(sum["Value"].to_string(), "-1.5");
    assert!(sum["Ttl"].as_str().unwrap().len() >= "3000000ms".len(), "{sum}");
    node.put("/api/cache/n", "9223372036854775807").await.expect(200);
    assert_eq!(add("").await.expect(200)["Value"].to_string(), "9223372036854775808");
    add("?by=1e-10").await.problem(400, "invalid-increment");
    node.put("/api/cache/n", "\"7\"").await.expect(200);
    add("").await.problem(409, "not-a-number");
    let touched = node.ask("POST", "/api/cache/n/touch?ttl=10s").send().await.expect(200);
    assert_eq!(touched["Ttl"], "10000ms");
    node.ask("POST", "/api/cache/none/touch").send().await.problem(404, "cache-miss");
}

#[tokio::test]
async fn several_are_written_read_and_listed() {
    let node = node().await;
    let entries: Vec<Value> = (0..5).map(|n| json!({"Key": format!("cart:{n}"), "Value": n, "Ttl": "1h"})).collect();
    let body = json!({"Entries": entries, "Durability": "relaxed"}).to_string();
    let written = node.put("/api/cache", &body).await.expect(200);
    assert_eq!((&written["WrittenCount"], &written["RefusedCount"]), (&json!(5), &json!(0)));
    assert_eq!(written["Entries"][0]["Durability"], "relaxed");
    node.put("/api/cache/other", "1").await.expect(200);
    let read = node.post("/api/cache", r#"{"Keys":["cart:1","none","cart:3"]}"#).await.expect(200);
    assert_eq!(
        (&read["Entries"][0]["Value"], &read["Entries"][1], &read["Entries"][2]["Value"]),
        (&json!(1), &Value::Null, &json!(3))
    );
    let page = node.get("/api/cache?prefix=cart:&limit=2").await.expect(200);
    assert_eq!((&page["Entries"][1]["Key"], &page["Next"]), (&json!("cart:1"), &json!("cart:1")));
    assert!(page["Entries"][0].get("Value").is_none(), "values were not asked for");
    let rest = node.get("/api/cache?prefix=cart:&after=cart:1").await.expect(200);
    assert_eq!((rest["Entries"].as_array().unwrap().len(), &rest["Next"]), (3, &Value::Null));
    let statistics = node.get("/api/cache-statistics").await.expect(200);
    assert_eq!(statistics["Keys"], 6);
    for body in [r#"{"Entries":[{"Key":"a","Value":1,"Ttl":"x"}]}"#, r#"{"Entries":[{"Key":"","Value":1}]}"#, "{}"] {
        assert_eq!(node.put("/api/cache", body).await.status.as_u16(), 400, "{body}");
    }
    let many: Vec<String> = (0..1_001).map(|n| n.to_string()).collect();
    node.post("/api/cache", &json!({"Keys": many}).to_string()).await.problem(400, "too-many-entries");
    assert_eq!(node.get("/api/cache-statistics").await.expect(200)["Keys"], 6, "a refused request wrote something");
}

#[tokio::test]
async fn the_cache_is_closed_to_every_other_door() {
    let node = node().await;
    node.put("/api/cache/k", r#"{"n":1}"#).await.expect(200);
    node.get("/api/documents/cache/k").await.problem(403, "reserved-collection");
    node.put("/api/documents/cache/k", "{}").await.problem(403, "reserved-collection");
    let query = |text: &str| node.post("/api/query", json!({"Query": text}).to_string());
    for text in [
        "INSERT INTO cache VALUES {\"Id\":\"k\"}",
        "UPDATE cache SET n = 2",
        "DELETE FROM cache",
        "SELECT $ FROM cache",
    ] {
        let answer = query(text).await;
        assert!(matches!(answer.status.as_u16(), 400 | 403 | 422), "{text}: {}", answer.text);
    }
    assert_eq!(node.get("/api/cache/k").await.expect(200)["Value"], json!({"n": 1}));
}

#[tokio::test]
async fn a_full_cache_says_so_and_a_key_does_what_its_roles_allow() {
    let nothing = RoleSettings::default();
    let keys = vec![
        key("creator", &["shop"], RoleSettings { write_document: true, ..nothing }),
        key("reader", &["shop"], RoleSettings { read_document: true, ..nothing }),
    ];
    let node = Node::start_with(keys, |settings| {
        settings.node.cache_max_megabytes = 1;
        settings.node.cache_durability = CacheDurability::Relaxed;
    })
    .await;
    let large = format!("\"{}\"", "x".repeat(600_000));
    assert_eq!(node.put("/api/cache/a", &large).await.expect(200)["Durability"], "relaxed");
    node.put("/api/cache/b", &large).await.problem(507, "cache-full");
    node.delete("/api/cache/a").await.expect(200);
    assert_eq!(node.put("/api/cache/b?durability=fsync", &large).await.expect(200)["Durability"], "fsync");
    let as_key = |name: &str, method: &str, path: &str| node.ask(method, path).key(&format!("{name}-key-of-the-tests"));
    as_key("reader", "PUT", "/api/cache/c").body("1").send().await.expect(403);
    as_key("creator", "PUT", "/api/cache/c").body("1").send().await.expect(200);
    assert_eq!(as_key("creator", "PUT", "/api/cache/c").body("2").send().await.status.as_u16(), 403);
    assert_eq!(as_key("creator", "PUT", "/api/cache/d?get=true").body("2").send().await.status.as_u16(), 403);
    as_key("reader", "GET", "/api/cache/c").send().await.expect(200);
}

#[tokio::test]
async fn a_guard_that_is_misspelt_or_misplaced_is_never_passed_over() {
    let node = node().await;
    let written = node.put("/api/cache/k", "1").await.expect(200);
    for guard in ["nx=", "nx", "xx=", "xx", "nx=maybe"] {
        node.put(&format!("/api/cache/k?{guard}"), "2").await.problem(400, "invalid-parameter");
    }
    let asked = |method: &'static str, path: &'static str, version: &str| {
        node.ask(method, path).header("If-Match", format!("\"{version}\""))
    };
    for path in ["/api/cache/k/increment", "/api/cache/k/touch"] {
        asked("POST", path, "0").send().await.problem(412, "precondition-failed");
        node.ask("POST", path).body(r#"{"By":5,"Ttl":"1h"}"#).send().await.problem(400, "unexpected-body");
    }
    let version = written["Version"].as_str().unwrap();
    let added = asked("POST", "/api/cache/k/increment", version).send().await.expect(200);
    assert_eq!(added["Value"], 2);
    asked("POST", "/api/cache/k/touch", added["Version"].as_str().unwrap()).send().await.expect(200);
    let refused = node.ask("PUT", "/api/cache/k").header("If-None-Match", "*").body("3").send().await;
    let problem = refused.problem(412, "precondition-failed");
    let now = node.get("/api/cache/k").await.expect(200);
    assert!(problem["detail"].as_str().unwrap().contains(now["Version"].as_str().unwrap()), "{problem}");
    assert_eq!(now["Value"], 2);
}

#[tokio::test]
async fn a_mistake_among_many_says_where_it_is_and_the_cache_is_named_when_asked_for() {
    let node = node().await;
    node.put("/api/documents/orders/1", "{}").await.expect(200);
    let none = node.get("/api/documents?includeSystemCollections=true").await.expect(200);
    assert_eq!(none, json!(["orders"]));
    for entry in [r#"{"Key":"","Value":1}"#, r#"{"Key":"k","Value":1,"Ttl":"soon"}"#] {
        let body = format!(r#"{{"Entries":[{{"Key":"a","Value":1}},{entry}]}}"#);
        let problem = node.put("/api/cache", body).await;
        assert_eq!((problem.status.as_u16(), &problem.expect(400)["Index"]), (400, &json!(1)));
    }
    node.get("/api/cache/a").await.problem(404, "cache-miss");
    // What some editors put before UTF-8 is no part of the value.
    node.put("/api/cache/a", "\u{feff}[1]").await.expect(200);
    assert_eq!(node.get("/api/cache/a").await.expect(200)["Value"], json!([1]));
    let names = node.get("/api/documents?includeSystemCollections=true").await.expect(200);
    assert_eq!((names, node.get("/api/documents").await.expect(200)), (json!(["cache", "orders"]), json!(["orders"])));
}

#[tokio::test]
async fn an_answer_with_several_entries_is_bounded_whatever_they_hold() {
    let node = node().await;
    let value = format!("\"{}\"", "x".repeat(5 * 1024 * 1024));
    for key in ["a", "b", "c", "d", "e"] {
        node.put(&format!("/api/cache/{key}"), &value).await.expect(200);
    }
    let few = node.post("/api/cache", r#"{"Keys":["a","b","c"]}"#).await.expect(200);
    assert_eq!(few["Entries"].as_array().map(Vec::len), Some(3));
    node.post("/api/cache", r#"{"Keys":["a","a","a","a"]}"#).await.problem(413, "answer-too-large");
    let keys = node.get("/api/cache").await.expect(200);
    assert_eq!((keys["Entries"].as_array().map(Vec::len), &keys["Next"]), (Some(5), &Value::Null));
    let page = node.get("/api/cache?values=true").await.expect(200);
    assert_eq!((page["Entries"].as_array().map(Vec::len), &page["Next"]), (Some(4), &json!("d")));
    let rest = node.get("/api/cache?values=true&after=d").await.expect(200);
    assert_eq!((rest["Entries"].as_array().map(Vec::len), &rest["Next"]), (Some(1), &Value::Null));
}

#[tokio::test]
async fn what_a_list_says_in_its_body_is_not_passed_over_in_its_address() {
    let node = node().await;
    let body = r#"{"Entries":[{"Key":"k","Value":1}]}"#;
    node.put("/api/cache?scope=local&ttl=1h", body).await.problem(400, "invalid-parameter");
    node.get("/api/cache/k").await.problem(404, "database-not-found");
    node.put("/api/cache", body).await.expect(200);
    node.get("/api/cache-statistics?x=1").await.problem(400, "invalid-parameter");
}
