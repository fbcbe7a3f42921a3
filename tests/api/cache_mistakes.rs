//! `/api/cache`: what cannot be meant is refused with a sentence that helps, and leaves nothing behind.

use std::time::Instant;

use holdfast::settings::sections::RoleSettings;
use serde_json::{Value, json};

use crate::node::{NO_ROLES, Node, key};

#[tokio::test]
async fn a_write_that_its_condition_refuses_creates_no_database() {
    let may = |name: &str, roles| key(name, &["shop"], roles);
    let keys = vec![
        may("updater", RoleSettings { add_db: true, update_document: true, ..NO_ROLES }),
        may("writer", RoleSettings { add_db: true, write_document: true, update_document: true, ..NO_ROLES }),
    ];
    let node = Node::start_with(keys, |_| {}).await;
    node.put("/api/cache/k?xx=true", "1").await.problem(404, "cache-miss");
    for tag in ["*", "\"v1\""] {
        for (method, path) in [("PUT", "/api/cache/k"), ("POST", "/api/cache/k/increment")] {
            let refused = node.ask(method, path).header("if-match", tag).body(if method == "PUT" { "1" } else { "" });
            assert_eq!(refused.send().await.problem(412, "precondition-failed")["currentVersion"], "<null>");
        }
    }
    let as_key = |name: &str, path: &str| node.ask("PUT", path).key(&format!("{name}-key-of-the-tests")).body("1");
    assert_eq!(as_key("updater", "/api/cache/k").send().await.status.as_u16(), 403);
    assert_eq!(as_key("writer", "/api/cache/k?get=true").send().await.status.as_u16(), 403);
    assert_eq!(node.put("/api/cache", r#"{"Entries":[]}"#).await.expect(200)["WrittenCount"], 0);
    assert_eq!(node.get("/api/databases").await.expect(200), json!([]), "a refused write created a database");
    node.put("/api/cache/k?nx=true", "1").await.expect(200);
    assert_eq!(node.get("/api/databases").await.expect(200)[0]["Name"], "shop");
}

#[tokio::test]
async fn a_percent_sign_that_encodes_nothing_is_refused_wherever_it_stands() {
    let node = Node::start().await;
    for path in ["/api/cache/100%", "/api/cache/%zz", "/api/cache/a%2", "/api/documents/orders/%zz"] {
        node.put(path, "{}").await.problem(400, "invalid-path");
    }
    node.put("/api/cache/100%25", "{}").await.expect(200);
    assert_eq!(node.get("/api/cache?prefix=100%25").await.expect(200)["Entries"][0]["Key"], "100%");
    node.get("/api/cache?prefix=100%").await.problem(400, "invalid-parameter");
}

#[tokio::test]
async fn a_body_that_would_be_passed_over_and_a_second_content_type_are_refused() {
    let node = Node::start().await;
    node.put("/api/cache/k", "1").await.expect(200);
    for (method, path) in
        [("DELETE", "/api/cache/k"), ("GET", "/api/cache/k"), ("GET", "/api/cache"), ("GET", "/api/cache-statistics")]
    {
        let problem = node.ask(method, path).body(r#"{"Keys":["other"]}"#).send().await;
        problem.problem(400, "unexpected-body");
    }
    assert_eq!(node.get("/api/cache/k").await.expect(200)["Value"], 1, "the refused request deleted it");
    for path in ["/api/cache/k", "/api/documents/orders/1"] {
        let two = node.ask("PUT", path).header("content-type", "application/json");
        two.header("content-type", "text/plain").body("{}").send().await.problem(400, "repeated-header");
    }
}

#[tokio::test]
async fn an_empty_value_is_never_taken_for_the_default() {
    let node = Node::start().await;
    node.put("/api/cache/k", "1").await.expect(200);
    for (method, path, code) in [
        ("PUT", "/api/cache/k?ttl=", "invalid-ttl"),
        ("PUT", "/api/cache/k?keepTtl=", "invalid-parameter"),
        ("PUT", "/api/cache/k?get=", "invalid-parameter"),
        ("PUT", "/api/cache/k?scope=", "invalid-parameter"),
        ("PUT", "/api/cache/k?durability=", "invalid-parameter"),
        ("DELETE", "/api/cache/k?scope=", "invalid-parameter"),
        ("POST", "/api/cache/k/increment?by=", "invalid-increment"),
        ("POST", "/api/cache/k/increment?by=-", "invalid-increment"),
        ("POST", "/api/cache/k/increment?ttl=", "invalid-ttl"),
        ("POST", "/api/cache/k/touch?ttl", "invalid-ttl"),
        ("GET", "/api/cache/k?token=", "invalid-token"),
        ("GET", "/api/cache/k?raw=", "invalid-parameter"),
        ("GET", "/api/cache/k?timeout=", "invalid-parameter"),
        ("GET", "/api/cache?token=", "invalid-token"),
        ("GET", "/api/cache?after=", "cache-key-required"),
        ("GET", "/api/cache?limit=", "invalid-parameter"),
        ("GET", "/api/collections?token=", "invalid-token"),
        ("GET", "/api/indexes?token=", "invalid-token"),
        ("GET", "/api/conflicts?token=", "invalid-token"),
    ] {
        let body = if method == "PUT" { "2" } else { "" };
        node.ask(method, path).body(body).send().await.problem(400, code);
    }
    node.post("/api/cache?token=", r#"{"Keys":["k"]}"#).await.problem(400, "invalid-token");
    let now = node.get("/api/cache/k").await.expect(200);
    assert_eq!(now["Value"], 1, "a refused request wrote something");
    assert_eq!(node.get("/api/cache?prefix=").await.expect(200)["Entries"][0]["Key"], "k", "no prefix means all");
}

#[tokio::test]
async fn a_timeout_longer_than_a_read_may_wait_is_refused_at_once_with_the_bound() {
    let node = Node::start().await;
    let token = node.put("/api/cache/k", "1").await.expect(200)["Token"].as_str().unwrap().to_owned();
    let (name, _) = token.rsplit_once(':').unwrap();
    let later = format!("{name}:999");
    let begun = Instant::now();
    for path in ["/api/cache/k?", "/api/cache?", "/api/replication/wait?"] {
        let problem = node.get(&format!("{path}token={later}&timeout=2m")).await.problem(400, "invalid-parameter");
        assert!(problem["detail"].as_str().unwrap().contains("at most 60s"), "{problem}");
    }
    assert!(begun.elapsed().as_secs() < 30, "it waited before it refused");
    node.get(&format!("/api/cache/k?token={token}&timeout=1m")).await.expect(200);
}

#[tokio::test]
async fn a_condition_that_fails_is_told_in_the_words_of_the_cache() {
    let node = Node::start().await;
    let version = node.put("/api/cache/k", "1").await.expect(200)["Version"].as_str().unwrap().to_owned();
    let refused = async |method: &str, path: &str, name: &str, tag: &str| {
        let body = if method == "PUT" { "2" } else { "" };
        let answer = node.ask(method, path).header(name, tag).body(body).send().await;
        let problem = answer.problem(412, "precondition-failed");
        let detail = problem["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("cache entry") && !detail.contains("document"), "{detail}");
        (detail, problem["currentVersion"].clone())
    };
    let (detail, current) = refused("PUT", "/api/cache/k", "if-none-match", "*").await;
    assert!(detail.contains("If-None-Match asks for none") && current == json!(version), "{detail}");
    let (detail, current) = refused("PUT", "/api/cache/k", "if-match", "\"other\"").await;
    assert!(detail.contains(&version) && current == json!(version), "{detail}");
    let (detail, current) = refused("DELETE", "/api/cache/none", "if-match", "*").await;
    assert!(detail.contains("no cache entry 'none'") && current == json!("<null>"), "{detail}");
    refused("POST", "/api/cache/none/increment", "if-match", "\"other\"").await;
    let bare = node.ask("PUT", "/api/cache/k").header("if-match", &version).body("2").send().await;
    let detail = bare.problem(400, "invalid-precondition")["detail"].clone();
    assert!(detail.as_str().unwrap().contains("If-Match: \"v1\", \"v2\""), "{detail}");
}

#[tokio::test]
async fn what_has_not_changed_is_told_with_its_version_and_the_papers_show_how_to_ask() {
    let node = Node::start().await;
    node.put("/api/cache/k", "1").await.expect(200);
    let read = node.get("/api/cache/k").await;
    let again = node.ask("GET", "/api/cache/k").header("if-none-match", read.header("etag")).send().await;
    assert_eq!((again.status.as_u16(), again.header("etag")), (304, read.header("etag")));
    let papers = node.get("/openapi.json").await.expect(200);
    let operation = |path: &str, method: &str| papers["paths"][path][method]["parameters"].clone();
    for (path, method, name) in [
        ("/api/cache/{key}", "get", "If-None-Match"),
        ("/api/cache/{key}", "put", "If-Match"),
        ("/api/cache/{key}", "delete", "If-Match"),
        ("/api/documents/{collection}/{id}", "put", "If-Match"),
    ] {
        let parameters = operation(path, method);
        let is_named = |parameter: &&Value| parameter["name"] == name;
        let parameter = parameters.as_array().unwrap().iter().find(is_named).unwrap_or_else(|| panic!("{path} {name}"));
        let example = parameter["example"].as_str().unwrap_or_else(|| panic!("{parameter}"));
        assert!(example.starts_with('"') && example.ends_with('"'), "{example}");
    }
}
