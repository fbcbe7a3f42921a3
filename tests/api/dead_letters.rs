//! What a peer sends and this node cannot take in: it stops nothing else, is listed, retried and settled.

use serde_json::{Value, json};

use crate::node::{Answer, Node};

const TILL: &str = "till@00000000000000ab";

/// An operation of a till as it is sent, a plain write of a document.
fn operation(sequence: u64, id: &str) -> Value {
    json!({
        "Id": format!("01ARZ3NDEKTSV4RRFFQ69G5F{sequence:02}"), "NodeId": "till", "Incarnation": "00000000000000ab",
        "Stamp": format!("1700000000{sequence:03}.0000"), "Collection": "orders", "EntityId": id, "OperationType": 1,
        "Kind": "put", "Payload": json!({"Id": id, "By": "till", "N": sequence}).to_string(),
        "Sequence": sequence, "LogSequence": sequence, "Context": {TILL: sequence - 1},
    })
}

fn with(mut operation: Value, name: &str, value: Value) -> Value {
    operation[name] = value;
    operation
}

fn in_group(operation: Value, index: u64) -> Value {
    with(operation, "Group", json!({"Id": "01ARZ3NDEKTSV4RRFFQ69G5FZZ", "Index": index, "Count": 2}))
}

async fn push(node: &Node, after: u64, operations: Vec<Value>) -> Answer {
    let through = after + operations.len() as u64;
    let body = json!({
        "SourceNodeId": "till", "SourceIncarnation": "00000000000000ab", "LogId": "00000000000000cd",
        "AfterLogSequence": after, "ThroughLogSequence": through, "Vector": {TILL: through}, "Operations": operations,
    });
    let question = node.ask("POST", "/api/replication/push").header("ReplicationApiKey", "I_AM_ONE_OF_YOU");
    question.body(body.to_string()).send().await
}

async fn letters(node: &Node) -> Vec<Value> {
    let list = node.get("/api/replication/dead-letters").await.expect(200);
    let letters = list["DeadLetters"].as_array().unwrap().clone();
    assert_eq!(list["Total"].as_u64().unwrap(), letters.len() as u64);
    letters
}

fn causes(letters: &[Value]) -> Vec<&str> {
    letters.iter().map(|letter| letter["Cause"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_operation_stops_nothing_but_itself() {
    let node = Node::start().await;
    let bad = with(operation(2, "b"), "Payload", json!("not json"));
    let told = push(&node, 0, vec![operation(1, "a"), bad.clone(), operation(3, "c")]).await.expect(200);
    assert_eq!((&told["AcceptedCount"], &told["LastProcessedLogSequence"]), (&json!(3), &json!(3)));
    for (id, status) in [("a", 200), ("b", 404), ("c", 200)] {
        node.get(&format!("/api/documents/orders/{id}")).await.expect(status);
    }
    let all = letters(&node).await;
    assert_eq!(causes(&all), ["Invalid"]);
    let letter = &all[0];
    assert_eq!((&letter["Dot"], &letter["SourceNodeId"]), (&json!(format!("{TILL}:2")), &json!("till")));
    assert_eq!((&letter["Collection"], &letter["EntityId"]), (&json!("orders"), &json!("b")));
    assert!(letter["Reason"].as_str().unwrap().contains("JSON"), "{letter}");
    let raw: Value = serde_json::from_str(letter["Raw"].as_str().unwrap()).unwrap();
    assert_eq!(raw, bad);
    // By its dot as by its id.
    for name in [letter["Dot"].as_str().unwrap(), letter["Id"].as_str().unwrap()] {
        let shown = node.get(&format!("/api/replication/dead-letters/{name}")).await.expect(200);
        assert_eq!(shown["Dot"], letter["Dot"]);
    }
    // It goes on to other peers as it came.
    let pull = json!({"RequestingNodeId": "other", "AfterLogSequence": 0}).to_string();
    let question = node.ask("POST", "/api/replication/pull").header("ReplicationApiKey", "I_AM_ONE_OF_YOU");
    assert_eq!(question.body(pull).send().await.expect(200)["Operations"][1], bad);
    // Status and metrics say so.
    let status = node.get("/api/replication/status").await.expect(200);
    assert_eq!(status["Databases"][0]["DeadLetters"], 1);
    assert!(node.get("/metrics").await.text.contains("holdfast_dead_letters{database=\"shop\"} 1"));
    // Sent again, it is known.
    assert_eq!(push(&node, 1, vec![bad]).await.expect(200)["AcceptedCount"], 0);
}

#[tokio::test]
async fn later_writes_to_the_document_wait_and_a_transaction_is_parked_whole() {
    let node = Node::start().await;
    let unknown = with(operation(1, "x"), "Kind", json!("hologram"));
    let increment = with(
        with(operation(2, "x"), "Kind", json!("increment")),
        "Increments",
        json!([{"Path": ["N"], "Amount": "1"}]),
    );
    let sound = in_group(operation(3, "y"), 0);
    let broken = in_group(with(operation(4, "z"), "Collection", json!("no/where")), 1);
    push(&node, 0, vec![unknown, increment, sound, broken, operation(5, "free")]).await.expect(200);
    let all = letters(&node).await;
    assert_eq!(causes(&all), ["UnknownKind", "Behind", "Transaction", "Invalid"]);
    node.get("/api/documents/orders/free").await.expect(200);
    for id in ["x", "y", "z"] {
        node.get(&format!("/api/documents/orders/{id}")).await.expect(404);
    }
    node.get("/api/replication/dead-letters?limit=0").await.problem(400, "invalid-parameter");
    let page = node.get("/api/replication/dead-letters?limit=3").await.expect(200);
    let next = node.get(&format!("/api/replication/dead-letters?after={}", page["Next"])).await.expect(200);
    assert_eq!((&next["DeadLetters"][0]["Dot"], &next["Next"]), (&all[3]["Dot"], &Value::Null));

    // Nothing has changed: they stay, and say why.
    let tried = node.post("/api/replication/dead-letters/retry", "").await.expect(200);
    assert_eq!((&tried["Named"], &tried["Done"]), (&json!(4), &json!(0)));
    assert_eq!(tried["Failed"].as_array().unwrap().len(), 4, "{tried}");
    // A write here has not seen them and leaves them; settling keeps what is shown here.
    node.put("/api/documents/orders/x", r#"{"By":"here"}"#).await.expect(200);
    assert_eq!(letters(&node).await.len(), 4);
    let path = format!("/api/replication/dead-letters/{}/settle", all[0]["Dot"].as_str().unwrap());
    assert_eq!(node.post(&path, "").await.expect(200)["Done"], 2);
    assert_eq!(node.get("/api/documents/orders/x").await.expect(200)["By"], "here");
    let path = format!("/api/replication/dead-letters/{}/settle", all[3]["Id"].as_str().unwrap());
    assert_eq!(node.post(&path, "").await.expect(200)["Done"], 2);
    assert!(letters(&node).await.is_empty());
    // A write that covers all that was parked goes out, so that every node ends with what is shown here.
    let changes = node.get("/api/changes?since=5").await.expect(200);
    assert!(changes["Changes"].as_array().unwrap().iter().any(|change| change["EntityId"] == "y"), "{changes}");
    node.post(&path, "").await.problem(404, "dead-letter-not-found");
}

#[tokio::test]
async fn what_holds_by_now_is_applied_when_it_is_tried_again() {
    let node = Node::start().await;
    // It has seen what its sender does not know.
    let early = with(operation(1, "x"), "Context", json!({"far@00000000000000ef": 1}));
    push(&node, 0, vec![early]).await.expect(200);
    let all = letters(&node).await;
    assert_eq!(causes(&all), ["ImpossibleContext"]);
    let path = format!("/api/replication/dead-letters/{}/retry", all[0]["Id"].as_str().unwrap());
    let tried = node.post(&path, "").await.expect(200);
    assert_eq!((&tried["Done"], &tried["Failed"][0]["Dot"]), (&json!(0), &all[0]["Dot"]));
    // What it has seen comes after all.
    let seen = with(with(operation(2, "y"), "NodeId", json!("far")), "Incarnation", json!("00000000000000ef"));
    push(&node, 1, vec![with(with(seen, "Sequence", json!(1)), "Context", json!({}))]).await.expect(200);
    assert_eq!(node.post(&path, "").await.expect(200)["Done"], 1);
    assert_eq!(node.get("/api/documents/orders/x").await.expect(200)["By"], "till");
    assert!(letters(&node).await.is_empty());
}

#[tokio::test]
async fn a_letter_that_names_no_document_is_shown_as_it_came_and_settled_here_alone() {
    let node = Node::start().await;
    let nowhere = with(operation(1, "a"), "Collection", json!("../../etc"));
    let nothing = with(operation(2, "b"), "EntityId", json!("e".repeat(2_000)));
    push(&node, 0, vec![nowhere, nothing, with(operation(3, "c"), "Payload", json!("{bad"))]).await.expect(200);
    let all = letters(&node).await;
    assert_eq!((&all[0]["Collection"], &all[1]["Collection"]), (&json!("../../etc"), &json!("orders")));
    let is_local: Vec<&Value> = all.iter().map(|letter| &letter["IsSettledHereOnly"]).collect();
    assert_eq!(is_local, [&json!(true), &json!(true), &json!(false)]);
    for (letter, here_only) in all.iter().zip([1, 1, 0]) {
        let path = format!("/api/replication/dead-letters/{}/settle", letter["Dot"].as_str().unwrap());
        let answer = node.post(&path, "").await;
        let settled = answer.expect(200);
        assert_eq!((&settled["Done"], &settled["DoneHereOnly"]), (&json!(1), &json!(here_only)), "{settled}");
        // A token names what other nodes are to have; what is given up here alone is nothing to them.
        assert_eq!(answer.header("consistency-token").is_empty(), here_only == 1, "{settled}");
    }
    assert!(letters(&node).await.is_empty());
}

#[tokio::test]
async fn an_operation_without_a_readable_id_is_parked_alone_and_known_when_it_comes_again() {
    let node = Node::start().await;
    let bad = with(operation(2, "b"), "Id", json!(7));
    let told = push(&node, 0, vec![operation(1, "a"), bad.clone(), operation(3, "c")]).await.expect(200);
    assert_eq!((&told["AcceptedCount"], &told["LastProcessedLogSequence"]), (&json!(3), &json!(3)));
    for (id, status) in [("a", 200), ("b", 404), ("c", 200)] {
        node.get(&format!("/api/documents/orders/{id}")).await.expect(status);
    }
    let all = letters(&node).await;
    assert_eq!(causes(&all), ["Invalid"]);
    assert_eq!(push(&node, 1, vec![bad.clone()]).await.expect(200)["AcceptedCount"], 0);
    // Another node that is given it as it came parks it under the same name.
    let other = Node::start().await;
    push(&other, 0, vec![operation(1, "a"), bad]).await.expect(200);
    assert_eq!(letters(&other).await[0]["Id"], all[0]["Id"]);
}

#[tokio::test]
async fn garbage_and_wrong_callers_are_refused() {
    let node = Node::start().await;
    node.put("/api/documents/orders/1", "{}").await.expect(200);
    for nameless in
        [with(operation(1, "a"), "Sequence", json!(0)), with(operation(1, "a"), "NodeId", json!("no name")), json!(5)]
    {
        push(&node, 0, vec![nameless]).await.problem(400, "invalid-batch");
    }
    assert!(letters(&node).await.is_empty());
    node.get("/api/replication/dead-letters/x").await.problem(400, "invalid-dead-letter");
    node.get(&format!("/api/replication/dead-letters/{TILL}:9")).await.problem(404, "dead-letter-not-found");
    let asked = node.ask("GET", "/api/replication/dead-letters").without_key().send().await;
    assert_eq!(asked.status.as_u16(), 401);
    let nowhere = node.ask("GET", "/api/replication/dead-letters").header("Database", "none").send().await;
    nowhere.problem(404, "database-not-found");
}
