//! Whatever a caller gets wrong is told with the right status, changes nothing and is never a 500.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::node::{Node, ROOT};

#[tokio::test]
async fn bodies_that_are_no_document_are_refused_with_their_mistake() {
    let node = Node::start().await;
    let deep = format!("{}1{}", "{\"a\":".repeat(101), "}".repeat(101));
    let very_deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let long_number = format!("{{\"a\":{}}}", "9".repeat(100));
    for (body, code) in [
        ("", "body-required"),
        ("  \n", "body-required"),
        ("{", "malformed-json"),
        ("{\"a\":1,}", "malformed-json"),
        ("{\"a\":1} x", "malformed-json"),
        ("nonsense", "malformed-json"),
        ("[1]", "not-an-object"),
        ("\"text\"", "not-an-object"),
        ("null", "not-an-object"),
        ("{\"a\":1e999}", "number-out-of-range"),
        (long_number.as_str(), "number-out-of-range"),
        (deep.as_str(), "nested-too-deep"),
        (very_deep.as_str(), "nested-too-deep"),
    ] {
        for method in ["PUT", "PATCH"] {
            node.ask(method, "/api/documents/orders/a").body(body.to_owned()).send().await.problem(400, code);
        }
    }
    let put = || node.ask("PUT", "/api/documents/orders/a");
    put().body(b"{\"a\":\"\xff\"}".to_vec()).send().await.problem(400, "invalid-utf8");
    put().header("Content-Type", "text/plain").body("{}").send().await.problem(415, "unsupported-media-type");
    put().header("Content-Encoding", "gzip").body("{}").send().await.problem(415, "unsupported-media-type");
    let json_patch = node.ask("PATCH", "/api/documents/orders/a").header("Content-Type", "application/json-patch+json");
    json_patch.body("[]").send().await.problem(415, "unsupported-media-type");
    // Nothing of all that has created the database.
    node.get("/api/documents/orders/a").await.problem(404, "database-not-found");
    assert_eq!(node.get("/api/databases").await.text, "[]");
}

#[tokio::test]
async fn bodies_and_documents_over_the_limit_are_413() {
    let node = Node::start_with(Vec::new(), |settings| {
        settings.limits.request_bytes_max = 20_000;
        settings.limits.document_bytes_max = 2_000;
    })
    .await;
    let document = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length));
    node.put("/api/documents/orders/a", document(1_900)).await.expect(200);
    node.put("/api/documents/orders/a", document(3_000)).await.problem(413, "too-large");
    node.put("/api/documents/orders/a", document(30_000)).await.problem(413, "too-large");
    assert_eq!(node.get("/api/documents/orders/a").await.text.len(), 1_900 + 8 + 9);
}

#[tokio::test]
async fn names_and_ids_that_cannot_be_are_refused() {
    let node = Node::start().await;
    let long = "x".repeat(600);
    for (path, status, code) in [
        ("/api/documents/cache/a", 403, "reserved-collection"),
        ("/api/documents/CACHE/a", 403, "reserved-collection"),
        ("/api/documents/_sys_operations/a", 403, "reserved-collection"),
        ("/api/documents/_SYS_x/a", 403, "reserved-collection"),
        ("/api/documents/$dump/a", 403, "reserved-collection"),
        ("/api/documents/a%20b/a", 400, "invalid-collection-name"),
        ("/api/documents/a%2Fb/a", 400, "invalid-collection-name"),
        ("/api/documents/orders/%FF", 400, "invalid-path"),
        ("/api/documents/%FF/a", 400, "invalid-path"),
        (format!("/api/documents/orders/{long}").as_str(), 400, "invalid-id"),
        (format!("/api/documents/{long}/a").as_str(), 400, "invalid-collection-name"),
    ] {
        node.get(path).await.problem(status, code);
        node.put(path, "{}").await.problem(status, code);
        node.delete(path).await.problem(status, code);
    }
    let problem = node.put("/api/documents/cache/a", "{}").await.json();
    assert_eq!(problem["Error"], "Collection 'cache' is reserved. Use '/api/cache' endpoints.");
}

#[tokio::test]
async fn unknown_routes_methods_and_parameters_are_told() {
    let node = Node::start().await;
    for path in ["/nowhere", "/api", "/api/documents/orders/a/b/c", "/api/documents/orders/", "/API/documents"] {
        node.get(path).await.problem(404, "unknown-route");
    }
    let refused = node.ask("POST", "/api/documents/orders/a").body("{}").send().await;
    refused.problem(405, "method-not-allowed");
    assert!(refused.header("allow").contains("PUT"));
    node.ask("BREW", "/api/documents/orders/a").send().await.problem(405, "method-not-allowed");
    for query in ["tkae=1", "take=ten", "take=1&take=2", "includeReservedFields=maybe", "after=%FF"] {
        node.get(&format!("/api/documents/orders?{query}")).await.problem(400, "invalid-parameter");
    }
    node.put("/api/documents/orders/a?parentVersoin=1", "{}").await.problem(400, "invalid-parameter");
}

#[tokio::test]
async fn preconditions_that_make_no_sense_are_400() {
    let node = Node::start().await;
    node.put("/api/documents/orders/a", "{}").await.expect(200);
    let put =
        |name: &str, value: &str| node.ask("PUT", "/api/documents/orders/a").header(name, value).body("{}").send();
    put("If-Match", "abc").await.problem(400, "invalid-precondition");
    put("If-None-Match", "\"abc\"").await.problem(400, "unsupported-precondition");
    let both = node.ask("PUT", "/api/documents/orders/a?parentVersion=x").header("If-Match", "*").body("{}");
    both.send().await.problem(400, "contradictory-preconditions");
}

#[tokio::test]
async fn database_names_that_cannot_be_are_refused() {
    let node = Node::start().await;
    node.ask("GET", "/api/documents").without_database().send().await.problem(400, "database-required");
    for name in ["a/b", "../x", "-a", "a b", &"x".repeat(64)] {
        node.ask("PUT", "/api/documents/orders/a")
            .header("Database", name)
            .body("{}")
            .send()
            .await
            .problem(400, "invalid-database-name");
    }
    assert_eq!(node.get("/api/databases").await.text, "[]");
}

#[tokio::test]
async fn every_error_names_its_request() {
    let node = Node::start().await;
    let answer = node.ask("GET", "/nowhere").header("X-Request-Id", "till-7").send().await;
    assert_eq!(answer.header("x-request-id"), "till-7");
    assert_eq!(answer.json()["instance"], "till-7");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408_and_changes_nothing() {
    let node = Node::start_with(Vec::new(), |settings| settings.limits.body_read_timeout_seconds = 1).await;
    for path in ["/api/documents/orders/a", "/api/documents/orders/bulk"] {
        let method = if path.ends_with("bulk") { "POST" } else { "PUT" };
        let mut socket = TcpStream::connect(node.url.trim_start_matches("http://")).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nApiKey: {ROOT}\r\nDatabase: shop\r\nContent-Length: 50\r\n\r\n{{\"Id\""
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"body-too-slow\""), "{answer}");
    }
    assert_eq!(node.get("/api/databases").await.text, "[]");
}
