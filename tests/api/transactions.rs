//! Transactions: all or nothing, across collections.

use serde_json::{Value, json};

use crate::node::{Answer, Node};

async fn transact(node: &Node, operations: Value) -> Answer {
    node.post("/api/transactions", json!({"operations": operations}).to_string()).await
}

#[tokio::test]
async fn all_changes_of_a_transaction_happen() {
    let node = Node::start().await;
    node.put("/api/documents/stock/tea", r#"{"left":5}"#).await.expect(200);
    let done = transact(
        &node,
        json!([
            {"op": "insert", "collection": "orders", "id": "1", "document": {"total": 12}},
            {"Op": "patch", "Collection": "stock", "Id": "tea", "Patch": {"$inc": {"left": -1}}},
            {"Op": "put", "Collection": "orders", "Id": "2", "Document": {"total": 3}},
            {"Op": "delete", "Collection": "orders", "Id": "2"},
        ]),
    )
    .await
    .expect(200);
    assert_eq!(done["Results"].as_array().unwrap().len(), 4);
    assert_eq!(done["Results"][3]["IsDeleted"], true);
    assert!(done["TransactionId"].is_string() && done["Token"].is_string());
    assert_eq!(node.get("/api/documents/stock/tea").await.expect(200)["left"].as_u64(), Some(4));
    assert_eq!(node.get("/api/documents/orders/1").await.expect(200)["total"].as_u64(), Some(12));
    node.get("/api/documents/orders/2").await.problem(404, "not-found");
}

#[tokio::test]
async fn one_refusal_undoes_all_and_names_its_place() {
    let node = Node::start().await;
    node.put("/api/documents/stock/tea", r#"{"left":5}"#).await.expect(200);
    let first = json!({"Op": "put", "Collection": "orders", "Id": "1", "Document": {}});
    for (second, status, code) in [
        (json!({"Op": "insert", "Collection": "stock", "Id": "tea", "Document": {}}), 409, "already-exists"),
        (
            json!({"Op": "put", "Collection": "stock", "Id": "tea", "Document": {}, "ParentVersion": "x"}),
            409,
            "version-mismatch",
        ),
        (
            json!({"Op": "patch", "Collection": "stock", "Id": "tea", "Patch": {}, "IfMatch": "x"}),
            412,
            "precondition-failed",
        ),
        (json!({"Op": "patch", "Collection": "stock", "Id": "none", "Patch": {"a": 1}}), 404, "not-found"),
        (json!({"Op": "delete", "Collection": "stock", "Id": "none"}), 404, "not-found"),
        (json!({"Op": "put", "Collection": "cache", "Id": "1", "Document": {}}), 403, "reserved-collection"),
        (json!({"Op": "put", "Collection": "stock", "Id": "", "Document": {}}), 400, "invalid-id"),
        (json!({"Op": "put", "Collection": "stock", "Id": "1"}), 400, "invalid-body"),
        (json!({"Op": "put", "Collection": "stock", "Id": "1", "Document": []}), 400, "invalid-body"),
        (json!({"Op": "upsert", "Collection": "stock", "Id": "1", "Document": {}}), 400, "invalid-body"),
        (json!({"Op": "delete", "Collection": "stock", "Id": "tea", "Version": "x"}), 400, "invalid-body"),
        (json!("text"), 400, "invalid-body"),
    ] {
        let refused = transact(&node, json!([first, second])).await;
        assert_eq!(refused.problem(status, code)["OperationIndex"].as_u64(), Some(1), "{second}");
    }
    node.get("/api/documents/orders/1").await.problem(404, "not-found");
    assert_eq!(node.get("/api/documents/stock/tea").await.text, r#"{"left":5,"Id":"tea"}"#);
}

#[tokio::test]
async fn a_body_that_is_no_transaction_is_refused() {
    let node = Node::start().await;
    for body in ["[]", "{}", r#"{"Operations":5}"#, r#"{"Operations":[]}"#, r#"{"Operations":[],"x":1}"#, "{"] {
        assert_eq!(node.post("/api/transactions", body).await.status.as_u16(), 400, "{body}");
    }
    node.post("/api/transactions", "").await.problem(400, "body-required");
    assert_eq!(node.get("/api/databases").await.text, "[]");
}
