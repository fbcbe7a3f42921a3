//! Keys and roles, on the routes of documents and databases.

use holdfast::settings::sections::RoleSettings;

use crate::node::{NO_ROLES, Node, key};

async fn node() -> Node {
    let keys = vec![
        key("reader", &["shop"], RoleSettings { read_document: true, ..NO_ROLES }),
        key("creator", &["shop"], RoleSettings { write_document: true, ..NO_ROLES }),
        key("updater", &["shop"], RoleSettings { update_document: true, ..NO_ROLES }),
        key("deleter", &["shop"], RoleSettings { delete_document: true, ..NO_ROLES }),
        key("founder", &["*"], RoleSettings { add_db: true, write_document: true, update_document: true, ..NO_ROLES }),
        key("indexer", &["shop"], RoleSettings { manage_index: true, ..NO_ROLES }),
        key("dropper", &["shop"], RoleSettings { delete_db: true, ..NO_ROLES }),
        key("elsewhere", &["bar"], RoleSettings { read_document: true, write_document: true, ..NO_ROLES }),
    ];
    let node = Node::start_with(keys, |_| {}).await;
    node.put("/api/documents/orders/a", r#"{"n":1}"#).await.expect(200);
    node
}

#[tokio::test]
async fn every_route_needs_its_own_role() {
    let node = node().await;
    only_with_its_role(
        &node,
        &[
            ("GET", "/api/documents", "", "reader"),
            ("GET", "/api/documents/orders", "", "reader"),
            ("GET", "/api/documents/orders/a", "", "reader"),
            ("GET", "/api/documents/orders/a/history", "", "reader"),
            ("GET", "/api/changes", "", "reader"),
            ("GET", "/api/collections", "", "reader"),
            ("GET", "/api/collections/orders/count", "", "reader"),
            ("GET", "/api/indexes", "", "reader"),
            ("POST", "/api/indexes", r#"{"Name":"i","Collection":"orders","Path":"$.n"}"#, "indexer"),
            ("GET", "/api/indexes/i", "", "reader"),
            ("PUT", "/api/documents/orders/new", "{}", "creator"),
            ("POST", "/api/documents/empty/register", "", "creator"),
            ("POST", "/api/documents/orders/bulk?op=insert", "{\"Id\":\"i\"}", "creator"),
            ("PUT", "/api/documents/orders/a", "{}", "updater"),
            ("PATCH", "/api/documents/orders/a", "{}", "updater"),
            ("POST", "/api/documents/orders/bulk?op=patch", "{\"Id\":\"a\"}", "updater"),
            ("POST", "/api/documents/orders/bulk?op=delete", "\"i\"", "deleter"),
            ("DELETE", "/api/documents/orders/a", "", "deleter"),
            ("DELETE", "/api/databases/shop", "", "dropper"),
        ],
    )
    .await;
}

#[tokio::test]
async fn every_route_of_the_cache_needs_its_own_role() {
    let node = node().await;
    only_with_its_role(
        &node,
        &[
            ("GET", "/api/cache", "", "reader"),
            ("GET", "/api/cache-statistics", "", "reader"),
            ("POST", "/api/cache", r#"{"Keys":[]}"#, "reader"),
            ("PUT", "/api/cache/k", "1", "creator"),
            ("POST", "/api/cache/k/touch", "", "updater"),
            ("DELETE", "/api/cache/k", "", "deleter"),
        ],
    )
    .await;
}

/// Asks each route with every key but the one that may, with that one, and with none that is known.
async fn only_with_its_role(node: &Node, routes: &[(&str, &str, &'static str, &str)]) {
    let names = ["reader", "creator", "updater", "deleter", "indexer", "dropper", "elsewhere"];
    for (method, path, body, allowed) in routes.iter().copied() {
        for name in names.into_iter().filter(|name| *name != allowed) {
            let answer = node.ask(method, path).key(&format!("{name}-key-of-the-tests")).body(body).send().await;
            assert_eq!(answer.status.as_u16(), 403, "{name} {method} {path}: {}", answer.text);
        }
        node.ask(method, path).without_key().body(body).send().await.problem(401, "key-required");
        node.ask(method, path).key("wrong").body(body).send().await.problem(401, "unknown-key");
        let answer = node.ask(method, path).key(&format!("{allowed}-key-of-the-tests")).body(body).send().await;
        let expected = if path == "/api/indexes" && method == "POST" { 201 } else { 200 };
        assert_eq!(answer.status.as_u16(), expected, "{allowed} {method} {path}: {}", answer.text);
    }
}

#[tokio::test]
async fn only_a_write_creates_a_database_and_only_with_the_right_to() {
    let node = node().await;
    let creator = "creator-key-of-the-tests";
    node.ask("DELETE", "/api/databases/shop").send().await.expect(200);
    node.ask("PUT", "/api/documents/orders/a").key(creator).body("{}").send().await.problem(403, "role-missing");
    for (method, body) in [("GET", ""), ("DELETE", ""), ("PATCH", "{}")] {
        node.ask(method, "/api/documents/orders/a").body(body).send().await.problem(404, "database-not-found");
    }
    let founder = "founder-key-of-the-tests";
    let matching = node.ask("PUT", "/api/documents/orders/a").key(founder).header("If-Match", "*").body("{}");
    matching.send().await.problem(404, "database-not-found");
    node.ask("PUT", "/api/documents/orders/a").key(founder).body("{}").send().await.expect(200);
    node.ask("PUT", "/api/documents/orders/b").key(creator).body("{}").send().await.expect(200);
}

#[tokio::test]
async fn a_key_sees_only_the_databases_that_it_reaches() {
    let node = node().await;
    node.ask("PUT", "/api/documents/c/a").header("Database", "bar").body("{}").send().await.expect(200);
    let seen = async |key: &str| {
        let answer = node.ask("GET", "/api/databases").key(key).send().await.expect(200);
        let names = answer.as_array().unwrap().iter().map(|it| it["Name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(seen("elsewhere-key-of-the-tests").await, ["bar"]);
    assert_eq!(seen("reader-key-of-the-tests").await, ["shop"]);
    assert_eq!(seen(crate::node::ROOT).await, ["bar", "shop"]);
    let metrics = node.ask("GET", "/metrics").key("reader-key-of-the-tests").send().await;
    assert!(metrics.text.contains("database=\"shop\"") && !metrics.text.contains("database=\"bar\""));
    node.ask("GET", "/metrics").without_key().send().await.problem(401, "key-required");
}
