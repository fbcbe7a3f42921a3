//! What peers say to each other, said by hand: stretches that come twice, that come after their operations were pruned,
//! and that speak in somebody else's name.

use holdfast_tests::cluster::{SOON, wait_for};
use serde_json::{Value, json};

use crate::node::{Answer, Node};

const KEY: &str = "I_AM_ONE_OF_YOU";
const TILL: &str = "till@00000000000000ab";

fn write(sequence: u64, id: &str) -> Value {
    json!({
        "Id": format!("01ARZ3NDEKTSV4RRFFQ69G5F{sequence:02}"), "NodeId": "till", "Incarnation": "00000000000000ab",
        "Stamp": format!("1700000000{sequence:03}.0000"), "Collection": "orders", "EntityId": id, "OperationType": 1,
        "Kind": "put", "Payload": json!({"Id": id, "N": sequence}).to_string(),
        "Sequence": sequence, "LogSequence": sequence, "Context": {},
    })
}

async fn push(node: &Node, operations: Vec<Value>) -> Answer {
    let through = operations.len() as u64;
    let body = json!({
        "SourceNodeId": "till", "SourceIncarnation": "00000000000000ab", "LogId": "00000000000000cd",
        "AfterLogSequence": 0, "ThroughLogSequence": through, "Vector": {TILL: through}, "Operations": operations,
    });
    let question = node.ask("POST", "/api/replication/push").header("ReplicationApiKey", KEY);
    question.body(body.to_string()).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_stretch_twice_is_taken_once() {
    let node = Node::start().await;
    let stretch = vec![write(1, "a"), write(2, "b")];
    for accepted in [2, 0, 0] {
        let told = push(&node, stretch.clone()).await.expect(200);
        let counts = (&told["ProcessedCount"], &told["AcceptedCount"], &told["LastProcessedLogSequence"]);
        assert_eq!(counts, (&json!(2), &json!(accepted), &json!(2)), "{told}");
    }
    assert_eq!(node.get("/api/documents/orders?take=10").await.expect(200).as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_that_were_pruned_overwrite_nothing_when_they_come_again() {
    let node = Node::start_with(Vec::new(), |settings| {
        settings.node.operation_log_retention_days = 0;
        settings.node.operation_log_retain_recent_operations = 0;
    })
    .await;
    for id in ["a", "b", "c"] {
        node.put(&format!("/api/documents/orders/{id}"), r#"{"N":"old"}"#).await.expect(200);
    }
    let question = json!({"RequestingNodeId": "till", "AfterLogSequence": 0}).to_string();
    let pull = node.ask("POST", "/api/replication/pull").header("ReplicationApiKey", KEY);
    let stretch = pull.body(question).send().await.expect(200);
    node.put("/api/documents/orders/a", r#"{"N":"newer"}"#).await.expect(200);
    node.ask("DELETE", "/api/documents/orders/b").send().await.expect(200);
    let through = stretch["ThroughLogSequence"].as_u64().unwrap();
    wait_for("the log is pruned", SOON, async || {
        // A write has the data file synced now and then, and what is not synced stays in the log.
        node.put("/api/documents/pulse/now", "{}").await.expect(200);
        let question = node.ask("POST", "/api/replication/operation-log/prune").header("ReplicationApiKey", KEY);
        question.send().await.expect(200);
        let status = node.get("/api/replication/status").await.expect(200);
        let oldest = status["Databases"][0]["OldestAvailableLogSequence"].as_u64();
        if oldest > Some(through) { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    for _ in 0..2 {
        let body = json!({
            "SourceNodeId": "till", "SourceIncarnation": "00000000000000ab", "LogId": "00000000000000cd",
            "AfterLogSequence": 0, "ThroughLogSequence": through, "Vector": stretch["Standing"]["Vector"],
            "Operations": stretch["Operations"],
        });
        let push = node.ask("POST", "/api/replication/push").header("ReplicationApiKey", KEY);
        assert_eq!(push.body(body.to_string()).send().await.expect(200)["AcceptedCount"], 0);
    }
    assert_eq!(node.get("/api/documents/orders/a").await.expect(200)["N"], "newer");
    node.get("/api/documents/orders/b").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_has_a_place_and_a_name_of_its_own_in_the_log() {
    let node = Node::start().await;
    node.put("/api/documents/orders/a", r#"{"N":1}"#).await.expect(200);
    node.put("/api/documents/orders/b", r#"{"N":2}"#).await.expect(200);
    node.ask("DELETE", "/api/documents/orders/a").send().await.expect(200);
    let body = json!({"RequestingNodeId": "till", "AfterLogSequence": 0}).to_string();
    let question = node.ask("POST", "/api/replication/pull").header("ReplicationApiKey", KEY);
    let told = question.body(body).send().await.expect(200);
    let all: Vec<&Value> =
        told["Operations"].as_array().unwrap().iter().filter(|one| one["Collection"] == "orders").collect();
    let kinds: Vec<&str> = all.iter().map(|one| one["Kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["put", "put", "delete"]);
    let places: Vec<u64> = all.iter().map(|one| one["LogSequence"].as_u64().unwrap()).collect();
    assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "{places:?}");
    let mut names: Vec<&str> = all.iter().map(|one| one["Id"].as_str().unwrap()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_speaks_in_this_nodes_name_changes_nothing_of_what_it_wrote() {
    let node = Node::start().await;
    let written = node.put("/api/documents/orders/a", r#"{"N":"ours"}"#).await.expect(200);
    let (origin, sequence) = written["Token"].as_str().unwrap().rsplit_once(':').unwrap();
    let (name, incarnation) = origin.split_once('@').unwrap();
    let sequence: u64 = sequence.parse().unwrap();
    for forged in [sequence, sequence + 1] {
        let mut operation = write(1, "a");
        operation["NodeId"] = json!(name);
        operation["Incarnation"] = json!(incarnation);
        operation["Sequence"] = json!(forged);
        let told = push(&node, vec![operation]).await;
        assert!(!told.status.is_success() || told.expect(200)["AcceptedCount"] == 0, "{}", told.text);
        assert_eq!(node.get("/api/documents/orders/a").await.expect(200)["N"], "ours");
    }
}

#[tokio::test]
async fn an_empty_id_in_the_body_gives_way_to_the_one_in_the_path() {
    let node = Node::start().await;
    node.put("/api/documents/orders/a", r#"{"Id":"","N":1}"#).await.expect(200);
    assert_eq!(node.get("/api/documents/orders/a").await.expect(200)["Id"], "a");
}
