//! Routes about the node itself, and what surrounds every route.

use holdfast::settings::secret::Secret;

use crate::node::Node;

#[tokio::test]
async fn health_and_identity_need_no_key_and_tell_nothing_that_does() {
    let node = Node::start().await;
    node.put("/api/documents/orders/a", "{}").await.expect(200);
    let open = async |path: &str| node.ask("GET", path).without_key().without_database().send().await.expect(200);
    assert_eq!(open("/healthz").await["Status"], "ok");
    assert_eq!(open("/readyz").await["Status"], "ok");
    let who = open("/node").await;
    assert!(who["NodeId"].is_string() && who["LogicalDatabaseCount"].is_null());
    assert_eq!(node.get("/node").await.expect(200)["LogicalDatabaseCount"].as_u64(), Some(1));
}

#[tokio::test]
async fn a_dropped_database_is_gone_and_can_be_made_anew() {
    let node = Node::start().await;
    node.put("/api/documents/orders/a", "{}").await.expect(200);
    let listed = node.get("/api/databases").await.expect(200);
    assert_eq!(listed[0]["Contents"]["Documents"].as_u64(), Some(1));
    assert!(listed[0]["Contents"]["LogBytes"].as_u64().unwrap() > 0);
    assert_eq!(node.delete("/api/databases/shop").await.expect(200)["Dropped"], true);
    node.delete("/api/databases/shop").await.problem(404, "database-not-found");
    node.get("/api/documents/orders/a").await.problem(404, "database-not-found");
    node.put("/api/documents/orders/b", "{}").await.expect(200);
    node.get("/api/documents/orders/a").await.problem(404, "not-found");
}

#[tokio::test]
async fn metrics_count_requests_and_writes() {
    let node = Node::start().await;
    node.put("/api/documents/orders/a", "{}").await.expect(200);
    node.put("/api/documents/orders/a", "[").await.problem(400, "malformed-json");
    let metrics = node.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "holdfast_http_requests_total{class=\"write\",status=\"200\"} 1",
        "holdfast_http_requests_total{class=\"write\",status=\"400\"} 1",
        "holdfast_http_request_duration_seconds_count{class=\"write\"} 2",
        "holdfast_commits_total{database=\"shop\"} 1",
        "holdfast_documents{database=\"shop\"} 1",
        "holdfast_log_position{database=\"shop\"} 1",
        "holdfast_database_up{database=\"shop\"} 1",
    ] {
        assert!(metrics.text.lines().any(|there| there == line), "{line} is not in\n{}", metrics.text);
    }
}

#[tokio::test]
async fn the_description_names_every_route_and_its_page_loads_nothing_foreign() {
    let node = Node::start().await;
    let description = node.ask("GET", "/openapi.json").without_key().send().await.expect(200);
    for path in [
        "/api/documents",
        "/api/documents/{collection}",
        "/api/documents/{collection}/{id}",
        "/api/documents/{collection}/register",
        "/api/collections",
        "/api/databases",
        "/metrics",
    ] {
        assert!(description["paths"].get(path).is_some(), "{path}");
    }
    assert!(description["components"]["schemas"]["WriteResult"]["properties"].get("EntityId").is_some());
    let page = node.ask("GET", "/docs").without_key().send().await;
    assert_eq!(page.status.as_u16(), 200);
    assert!(page.text.contains("/openapi.json") && !page.text.contains("http://") && !page.text.contains("https://"));
}

#[tokio::test]
async fn the_description_describes_every_answer_and_refers_to_nothing_that_it_lacks() {
    let node = Node::start().await;
    let description = node.ask("GET", "/openapi.json").without_key().send().await.expect(200);
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(names.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
            for (status, response) in operation["responses"].as_object().into_iter().flatten() {
                let text = response["description"].as_str().unwrap_or_default();
                assert!(!text.is_empty(), "{method} {path} {status}");
            }
        }
    }
    let text = description.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(description.pointer(pointer).is_some(), "{pointer}");
    }
}

#[tokio::test]
async fn peers_are_refused_under_our_own_name_and_at_the_address_of_another() {
    let node = Node::start().await;
    let own = node.ask("GET", "/node").send().await.expect(200)["NodeId"].as_str().unwrap().to_ascii_uppercase();
    let peer =
        |id: &str, url: &str| node.post("/api/cluster/peers", format!(r#"{{"NodeId":"{id}","BaseUrl":"{url}"}}"#));
    peer(&own, "http://localhost:9").await.problem(400, "local-node");
    peer("b", "http://localhost:9").await.expect(200);
    peer("b", "http://localhost:9/").await.expect(200);
    peer("c", "http://LOCALHOST:9").await.problem(409, "same-base-url");
    peer("d", &format!("http://{}", "x".repeat(254))).await.problem(400, "invalid-base-url");
    peer("d", &format!("http://d/{}", "x".repeat(600))).await.problem(400, "invalid-base-url");
    let list = r#"["e","http://localhost:10",true,null,null,null]"#;
    node.post("/api/cluster/peers", list).await.problem(400, "not-an-object");
    let wrong = node.post("/api/cluster/peers", r#"{"NodeId":"e","BaseUrl":5}"#).await.problem(400, "invalid-body");
    assert!(wrong["detail"].as_str().unwrap().starts_with("The field 'BaseUrl' has the wrong type."), "{wrong}");
    let listed = node.get("/api/cluster/peers").await.expect(200);
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
}

#[tokio::test]
async fn a_push_that_is_refused_creates_no_database() {
    let node = Node::start_with(Vec::new(), |settings| {
        settings.node.replication_api_key = Secret::new("replication-key-of-the-tests");
    })
    .await;
    let own = node.get("/node").await.expect(200)["NodeId"].as_str().unwrap().to_ascii_uppercase();
    for (source, incarnation, log, status, code) in [
        (own.as_str(), "0000000000000001", "0000000000000001", 409, "same-node-id"),
        ("till-9", "x", "0000000000000001", 400, "invalid-number"),
        ("till-9", "0000000000000001", "x", 400, "invalid-number"),
    ] {
        let body = serde_json::json!({
            "SourceNodeId": source, "SourceIncarnation": incarnation, "LogId": log,
            "AfterLogSequence": 0, "ThroughLogSequence": 0, "Operations": []
        });
        let push = node.ask("POST", "/api/replication/push").without_key();
        let push = push.header("ReplicationApiKey", "replication-key-of-the-tests").body(body.to_string());
        push.send().await.problem(status, code);
    }
    assert_eq!(node.get("/api/databases").await.text, "[]");
}

#[tokio::test]
async fn pages_of_this_machine_may_call_and_others_may_not() {
    let node = Node::start().await;
    let preflight = |origin: &'static str| {
        node.ask("OPTIONS", "/api/documents/orders/a")
            .without_key()
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "PUT")
            .header("Access-Control-Request-Headers", "apikey,database")
            .send()
    };
    let allowed = preflight("http://localhost:5173").await;
    assert_eq!(allowed.status.as_u16(), 204);
    assert_eq!(allowed.header("access-control-allow-origin"), "http://localhost:5173");
    assert_eq!(allowed.header("access-control-allow-headers"), "apikey,database");
    assert!(allowed.header("access-control-allow-methods").contains("PATCH"));
    let refused = preflight("https://evil.example").await;
    assert_eq!(refused.header("access-control-allow-origin"), "");
    assert_eq!(refused.header("access-control-allow-methods"), "");
    let read = node.ask("GET", "/healthz").header("Origin", "http://localhost:5173").send().await;
    assert_eq!(read.header("access-control-allow-origin"), "http://localhost:5173");
    assert!(read.header("access-control-expose-headers").contains("ETag"));
    assert_eq!(read.header("vary"), "Origin");
}
