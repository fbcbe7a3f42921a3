//! Queries over HTTP: what is answered, who may ask, what is refused, and how a query ends.

mod answers;
mod bad_statements;
mod figures;
mod limits;
mod lines;
mod roles;
mod writes;

use serde_json::{Value, json};

use crate::node::{Answer, Node};

/// Asks for one statement.
pub(crate) async fn query(node: &Node, text: &str) -> Answer {
    ask(node, json!({ "query": text })).await
}

/// Sends a body to the route.
pub(crate) async fn ask(node: &Node, body: Value) -> Answer {
    node.post("/api/query", body.to_string()).await
}

/// The rows of a statement that is answered.
#[track_caller]
pub(crate) fn rows(answer: &Value) -> &Vec<Value> {
    answer["Rows"].as_array().unwrap()
}

/// A node with so many numbered documents in `things`.
pub(crate) async fn node_with(count: usize) -> Node {
    let node = Node::start().await;
    fill(&node, count).await;
    node
}

/// Writes so many numbered documents into `things`.
pub(crate) async fn fill(node: &Node, count: usize) {
    let documents: Vec<Value> = (0..count)
        .map(|n| json!({"Id": format!("t{n:06}"), "n": n, "kind": format!("k{}", n % 5), "pad": "x".repeat(40)}))
        .collect();
    for chunk in documents.chunks(5_000) {
        node.post("/api/documents/things/bulk", Value::from(chunk).to_string()).await.expect(200);
    }
}
