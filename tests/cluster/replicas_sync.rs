//! Every kind of write waits for as many followers as it was told to, and says how many have it.

use std::collections::BTreeSet;

use holdfast_tests::cluster::{CLUSTER_KEY, Node, ROOT_KEY, SOON, wait_for, wait_until_equal};
use serde_json::{Value, json};

use crate::replicas::{ask, follower, group, leader, put, run, until_following};

/// Every route that a client writes with, in an order in which each finds what it needs: method, route, an example, a body.
const WRITES: &[(&str, &str, &str, &str)] = &[
    ("post", "/api/documents/{collection}", "/api/documents/tea", r#"{"Id":"new","N":1}"#),
    ("put", "/api/documents/{collection}/{id}", "/api/documents/tea/one", r#"{"N":2}"#),
    ("patch", "/api/documents/{collection}/{id}", "/api/documents/tea/one", r#"{"$inc":{"N":2}}"#),
    ("delete", "/api/documents/{collection}/{id}", "/api/documents/tea/new", ""),
    ("post", "/api/documents/{collection}/register", "/api/documents/cups/register", ""),
    ("post", "/api/documents/{collection}/bulk", "/api/documents/tea/bulk", "{\"Id\":\"b\"}\n"),
    (
        "post",
        "/api/transactions",
        "/api/transactions",
        r#"{"operations":[{"op":"put","collection":"tea","id":"t","document":{}}]}"#,
    ),
    ("put", "/api/cache/{key}", "/api/cache/basket?ttl=60", r#"{"N":2}"#),
    ("post", "/api/cache/{key}/touch", "/api/cache/basket/touch?ttl=90", ""),
    ("post", "/api/cache/{key}/increment", "/api/cache/count/increment", ""),
    ("put", "/api/cache", "/api/cache", r#"{"Entries":[{"Key":"other","Value":2}]}"#),
    ("delete", "/api/cache/{key}", "/api/cache/basket", ""),
    ("post", "/api/query", "/api/query", r#"{"query":"UPDATE tea SET N = 9 WHERE Id = 'one'"}"#),
    ("post", "/api/query", "/api/query", r#"{"query":"CREATE INDEX by_size ON tea (Size)"}"#),
    ("post", "/api/indexes", "/api/indexes", r#"{"Name":"by_n","Collection":"tea","Paths":["N"]}"#),
    ("delete", "/api/indexes/{name}", "/api/indexes/by_n", ""),
    ("post", "/api/replication/dead-letters/retry", "/api/replication/dead-letters/retry", ""),
    (
        "post",
        "/api/replication/dead-letters/{letter}/retry",
        "/api/replication/dead-letters/till@00000000000000ab:1/retry",
        "",
    ),
    (
        "post",
        "/api/replication/dead-letters/{letter}/settle",
        "/api/replication/dead-letters/till@00000000000000ab:1/settle",
        "",
    ),
    ("post", "/api/replication/members/fence", "/api/replication/members/fence", r#"{"Member":"till","Force":true}"#),
    ("delete", "/api/databases/{name}", "/api/databases/shop", ""),
];

/// What changes nothing that followers have: questions, what peers bring, and what concerns this node alone. What needs two
/// writers at odds is answered with the token of what it has written, like the rest; there are none here.
const OTHERS: &[&str] = &["/api/cluster/", "/replication/", "/db/{name}/replication/", "/api/conflicts/"];
const QUESTIONS: &[&str] = &[
    "audit",
    "branch",
    "documents",
    "mend",
    "operation-log/prune",
    "pull",
    "push",
    "ranges",
    "rows",
    "states",
    "survey",
    "turned",
    "verify",
    "cache/pull",
    "cache/push",
    "cache",
];

async fn write(node: &Node, (method, _, path, body): (&str, &str, &str, &str)) -> reqwest::Response {
    let method = method.to_ascii_uppercase().parse().unwrap();
    let mut request = reqwest::Client::new().request(method, format!("{}{path}", node.url));
    request = request.header("ApiKey", ROOT_KEY).header("Database", "shop").header("ReplicationApiKey", CLUSTER_KEY);
    let kind = if path.contains("/bulk") { "application/x-ndjson" } else { "application/json" };
    if !body.is_empty() {
        request = request.header("Content-Type", kind).body(body.to_owned());
    }
    request.send().await.unwrap()
}

/// A peer that sends what cannot be understood.
async fn park(node: &Node) {
    let till = "till@00000000000000ab";
    let operation = json!({
        "Id": "01ARZ3NDEKTSV4RRFFQ69G5F01", "NodeId": "till", "Incarnation": "00000000000000ab",
        "Stamp": "1700000000001.0000", "Collection": "tea", "EntityId": "one", "OperationType": 1, "Kind": "put",
        "Payload": "poison", "Sequence": 1, "LogSequence": 1, "Context": {till: 0},
    });
    let body = json!({
        "SourceNodeId": "till", "SourceIncarnation": "00000000000000ab", "LogId": "00000000000000cd",
        "AfterLogSequence": 0, "ThroughLogSequence": 1, "Vector": {till: 1}, "Operations": [operation],
    });
    node.client("shop").post("/api/replication/push", &body.to_string()).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_write_says_how_many_followers_have_it() {
    let leading = run(leader("office"));
    let following = run(follower("branch", &leading).await);
    until_following(&following).await;
    let document = leading.client("none").get("/openapi.json").await.expect(200);
    let known: BTreeSet<(&str, &str)> = WRITES.iter().map(|(method, route, _, _)| (*method, *route)).collect();
    for (route, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|method| *method != "get" && *method != "parameters") {
            let is_question = QUESTIONS.iter().any(|name| *route == format!("/api/replication/{name}"))
                || (method, route.as_str()) == (&"post".to_owned(), "/api/cache");
            let is_other = is_question || OTHERS.iter().any(|other| route.starts_with(other));
            assert!(is_other || known.contains(&(method, route)), "say here what {method} {route} waits for");
        }
    }
    ask(&leading, "sync-replicas", json!({"minSyncReplicas": 1, "syncTimeoutSeconds": 30})).await;
    put(&leading.client("shop"), "first", 1).await;
    park(&leading).await;
    for one in WRITES {
        let answer = write(&leading, *one).await;
        let said = answer.headers().get("replication").and_then(|said| said.to_str().ok()).map(str::to_owned);
        let status = answer.status();
        assert!(status.is_success(), "{one:?}: {status} {}", answer.text().await.unwrap());
        assert_eq!(said.as_deref(), Some("replicated; achieved=1; required=1"), "{one:?}");
    }
    // It is not there, and not only soon.
    following.client("shop").get("/api/documents/tea/one").await.problem(404, "database-not-found");
    // A follower that does not answer has nothing.
    put(&leading.client("shop"), "again", 1).await;
    ask(&leading, "sync-replicas", json!({"minSyncReplicas": 1, "syncTimeoutSeconds": 0.3})).await;
    following.pause();
    for one in [
        ("put", "", "/api/documents/tea/late", r#"{"N":2}"#),
        ("post", "", "/api/indexes", r#"{"Name":"by_n","Collection":"tea","Paths":["N"]}"#),
        ("delete", "", "/api/databases/shop", ""),
    ] {
        let answer = write(&leading, one).await;
        assert!(answer.status().is_success());
        let said = answer.headers().get("replication").unwrap().to_str().unwrap();
        assert_eq!(said, "durable; achieved=0; required=1", "{one:?}");
    }
    following.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_parked_is_taken_up_by_followers_when_the_leader_does() {
    let leading = run(leader("office").with("Node:SweepIntervalSeconds", "1"));
    let following = run(follower("branch", &leading).await);
    until_following(&following).await;
    put(&leading.client("shop"), "first", 1).await;
    wait_until_equal(&[&leading, &following], "shop").await;
    park(&leading).await;
    let letters = async |node: &Node| node.client("shop").get("/api/replication/dead-letters").await.expect(200);
    wait_for("it is parked on both", SOON, async || {
        let both: [Value; 2] = [letters(&leading).await, letters(&following).await];
        if both.iter().all(|one| one["Total"] == 1) { Ok(()) } else { Err(format!("{both:?}")) }
    })
    .await;
    // Neither follower nor leader can take it up: it stays, and nothing else stops.
    following.client("shop").post("/api/replication/dead-letters/retry", "").await.problem(421, "not-the-leader");
    let retried = leading.client("shop").post("/api/replication/dead-letters/retry", "").await.expect(200);
    assert_eq!((&retried["Named"], &retried["Done"]), (&json!(1), &json!(0)));
    let letter = "/api/replication/dead-letters/till@00000000000000ab:1/settle";
    leading.client("shop").post(letter, "").await.expect(200);
    wait_for("it is settled on both", SOON, async || {
        let both: [Value; 2] = [letters(&leading).await, letters(&following).await];
        if both.iter().all(|one| one["Total"] == 0) { Ok(()) } else { Err(format!("{both:?}")) }
    })
    .await;
    wait_until_equal(&[&leading, &following], "shop").await;
    assert_eq!(group(&following).await["follower"]["state"], "streaming");
}
