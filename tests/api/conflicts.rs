//! Conflicts: listed with both versions, settled singly and by rule, refused once they have changed.

use std::collections::BTreeMap;

use holdfast::settings::sections::RoleSettings;
use holdfast_core::id::{CollectionName, DocumentId, NodeName, OperationId};
use holdfast_core::json::JsonText;
use holdfast_core::operation::{Operation, OperationKind};
use holdfast_core::stamp::Stamp;
use holdfast_core::sync::message::{OperationRecord, PushRequest, vector_record};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Dot, Origin, Position, Sequence, Vector};
use serde_json::{Value, json};

use crate::node::{NO_ROLES, Node, key};

/// A peer that writes without having seen anything of this node's.
pub(crate) struct Stranger {
    origin: Origin,
    written: u64,
}

impl Stranger {
    pub(crate) fn new(name: &str) -> Self {
        Self { origin: Origin { node: NodeName::parse(name).unwrap(), incarnation: 3 }, written: 0 }
    }

    /// Writes a document and pushes it; nothing for a delete. `seconds` is its clock.
    pub(crate) async fn write(&mut self, node: &Node, id: &str, document: Option<Value>, seconds: u64) {
        self.written += 1;
        let kind = match document {
            Some(mut document) => {
                document["Id"] = json!(id);
                OperationKind::Put { body: JsonText::parse(&document.to_string()).unwrap(), created: true }
            }
            None => OperationKind::Delete,
        };
        let operation = Operation {
            id: OperationId::new(seconds * 1_000, u128::from(self.written)),
            dot: Dot { origin: self.origin.clone(), sequence: Sequence(self.written) },
            stamp: Stamp::new(Millis(seconds * 1_000), 0),
            collection: CollectionName::parse("stock").unwrap(),
            document: Some(DocumentId::parse(id).unwrap()),
            context: Vector::new(),
            group: None,
            chain: None,
            replaces: None,
            kind,
        };
        let known: Vector = [(self.origin.clone(), Sequence(self.written))].into_iter().collect();
        let push = PushRequest {
            protocol: 1,
            source_node_id: self.origin.node.to_string(),
            source_incarnation: format!("{:016x}", self.origin.incarnation),
            log_id: "00000000000000ab".to_owned(),
            after_log_sequence: self.written - 1,
            through_log_sequence: self.written,
            vector: vector_record(&known),
            waymarks: holdfast_core::sync::message::WaymarksRecord::new(),
            operations: vec![OperationRecord::new(&operation, Position(self.written), &self.origin)],
        };
        let asked = node.ask("POST", "/api/replication/push").header("ReplicationApiKey", "I_AM_ONE_OF_YOU");
        let answer = asked.header("content-type", "application/json").body(serde_json::to_string(&push).unwrap());
        assert_eq!(answer.send().await.expect(200)["AcceptedCount"].as_u64(), Some(1));
    }
}

/// A node on which `till-9` has written the same documents as this node, long ago by its clock.
async fn clashing(ids: &[&str]) -> (Node, Stranger) {
    let node = Node::start_with(
        vec![
            key("reader", &["*"], RoleSettings { read_document: true, ..NO_ROLES }),
            key("changer", &["*"], RoleSettings { read_document: true, update_document: true, ..NO_ROLES }),
        ],
        |_| {},
    )
    .await;
    let mut stranger = Stranger::new("till-9");
    for id in ids {
        node.put(&format!("/api/documents/stock/{id}"), r#"{"here":1,"both":"here"}"#).await.expect(200);
        stranger.write(&node, id, Some(json!({"there": 2, "both": "there"})), 1_000).await;
    }
    (node, stranger)
}

async fn open(node: &Node) -> Vec<Value> {
    node.get("/api/conflicts").await.expect(200)["Conflicts"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_conflict_is_listed_with_both_versions_and_closes_when_a_value_is_written() {
    let (node, _) = clashing(&["tea"]).await;
    let listed = node.get("/api/conflicts?collection=stock&id=tea").await.expect(200);
    assert_eq!((&listed["Open"], &listed["Next"]), (&json!(1), &Value::Null));
    let conflict = &listed["Conflicts"][0];
    assert_eq!(conflict["State"], "Open");
    assert_eq!((&conflict["Collection"], &conflict["EntityId"]), (&json!("stock"), &json!("tea")));
    assert_eq!((&conflict["Policy"], &conflict["AncestorState"]), (&json!("LastWriterWins"), &json!("None")));
    assert_eq!(conflict["LocalPayload"], r#"{"here":1,"both":"here","Id":"tea"}"#);
    assert_eq!(conflict["IncomingPayload"], r#"{"there":2,"both":"there","Id":"tea"}"#);
    let versions: BTreeMap<&str, bool> = conflict["Versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| (version["NodeId"].as_str().unwrap(), version["IsShown"].as_bool().unwrap()))
        .collect();
    assert_eq!(versions, BTreeMap::from([("node-1", true), ("till-9", false)]));
    let path = format!("/api/conflicts/{}", conflict["Id"].as_str().unwrap());
    assert_eq!(node.get(&path).await.expect(200), *conflict);

    let written = node.post(&format!("{path}/resolve"), r#"{"Value":{"both":"agreed"}}"#).await;
    let version = written.expect(200)["Version"].clone();
    assert_eq!(written.header("etag"), format!("\"{}\"", version.as_str().unwrap()));
    assert_eq!(node.get("/api/documents/stock/tea").await.expect(200)["both"], "agreed");
    assert!(open(&node).await.is_empty());
    let closed = node.get(&path).await.expect(200);
    assert_eq!((&closed["State"], &closed["ClosedBy"]), (&json!("Closed"), &version));
    let all = node.get("/api/conflicts?state=closed").await.expect(200);
    assert_eq!(all["Conflicts"].as_array().unwrap().len(), 1);
    node.post(&format!("{path}/resolve"), r#"{"Delete":true}"#).await.problem(409, "conflict-closed");
}

#[tokio::test]
async fn a_version_is_chosen_by_its_id() {
    let (node, _) = clashing(&["tea"]).await;
    let conflict = &open(&node).await[0];
    let path = format!("/api/conflicts/{}/resolve", conflict["Id"].as_str().unwrap());
    let loser = conflict["IncomingOperationId"].as_str().unwrap();
    node.post(&path, json!({"Choose": loser}).to_string()).await.expect(200);
    assert_eq!(node.get("/api/documents/stock/tea").await.expect(200)["both"], "there");
}

#[tokio::test]
async fn a_conflict_that_got_another_version_is_not_settled_unseen() {
    let (node, mut stranger) = clashing(&["tea"]).await;
    let seen = open(&node).await[0].clone();
    let mut other = Stranger::new("till-8");
    other.write(&node, "tea", Some(json!({"both": "third"})), 2_000).await;
    stranger.write(&node, "coffee", Some(json!({})), 1_000).await;
    let path = format!("/api/conflicts/{}", seen["Id"].as_str().unwrap());
    let refused = node.post(&format!("{path}/resolve"), r#"{"Choose":"shown"}"#).await;
    let now = open(&node).await[0].clone();
    assert_eq!(refused.problem(409, "conflict-changed")["ReplacedBy"], now["Id"]);
    assert_eq!(node.get(&path).await.expect(200)["ReplacedBy"], now["Id"]);
    assert_eq!(now["Versions"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn what_cannot_be_done_is_told() {
    let (node, _) = clashing(&["tea"]).await;
    let id = open(&node).await[0]["Id"].as_str().unwrap().to_owned();
    let path = format!("/api/conflicts/{id}/resolve");
    for body in [
        "{}",
        r#"{"Choose":"shown","Delete":true}"#,
        r#"{"Delete":false}"#,
        r#"{"Chose":"shown"}"#,
        r#"{"Value":7}"#,
        r#"{"Choose":7}"#,
    ] {
        node.post(&path, body).await.problem(400, "invalid-resolution");
    }
    node.post(&path, r#"{"Choose":"01ARZ3NDEKTSV4RRFFQ69G5FAV"}"#).await.problem(400, "unknown-version");
    node.get("/api/conflicts/xyz").await.problem(400, "invalid-conflict-id");
    node.get(&format!("/api/conflicts/{:032x}", 7)).await.problem(404, "conflict-not-found");
    node.get("/api/conflicts?state=new").await.problem(400, "invalid-parameter");
    node.get("/api/conflicts?after=x").await.problem(400, "invalid-cursor");
    node.post("/api/conflicts/resolve", r#"{"Rule":"Latest"}"#).await.problem(400, "invalid-rule");
    node.post("/api/conflicts/resolve", r#"{"Rule":"PreferNode"}"#).await.problem(400, "invalid-rule");
    let as_key = |method: &str, path: &str, name: &str, body: &'static str| {
        node.ask(method, path).key(&format!("{name}-key-of-the-tests")).body(body).send()
    };
    as_key("GET", "/api/conflicts", "reader", "").await.expect(200);
    as_key("POST", &path, "reader", r#"{"Choose":"shown"}"#).await.problem(403, "role-missing");
    as_key("POST", &path, "changer", r#"{"Delete":true}"#).await.problem(403, "role-missing");
    as_key("POST", &path, "changer", r#"{"Choose":"shown"}"#).await.expect(200);
}

#[tokio::test]
async fn a_rule_settles_many_after_a_trial() {
    let (node, mut stranger) = clashing(&["1", "2", "3"]).await;
    node.put("/api/documents/stock/4", "{}").await.expect(200);
    stranger.write(&node, "4", None, 1_000).await;
    let ask = async |body: Value| node.post("/api/conflicts/resolve", body.to_string()).await.expect(200);
    let trial = ask(json!({"Collection": "stock", "Rule": "PreferNode", "Node": "till-9", "DryRun": true})).await;
    assert_eq!((&trial["Matched"], &trial["Resolved"], &trial["DryRun"]), (&json!(4), &json!(4), &json!(true)));
    assert_eq!(open(&node).await.len(), 4, "a trial writes nothing");
    let nobody = ask(json!({"Rule": "PreferNode", "Node": "nobody"})).await;
    assert_eq!((&nobody["Resolved"], &nobody["Unresolved"]), (&json!(0), &json!(4)));
    assert_eq!(nobody["NotResolved"].as_array().unwrap().len(), 4);
    assert_eq!(ask(json!({"Collection": "other", "Rule": "LastWriterWins"})).await["Matched"], json!(0));
    let rule = json!({"Collection": "stock", "Rule": "MergeFields", "DryRun": true}).to_string();
    assert_eq!(node.post("/api/conflicts/resolve", rule.clone()).await.header("consistency-token"), "", "a trial");
    let answer = node.post("/api/conflicts/resolve", rule.replace("true", "false")).await;
    let merged = answer.expect(200);
    assert!(answer.header("consistency-token").starts_with("node-1@"), "{answer:?}");
    assert_eq!((&merged["Resolved"], &merged["Next"]), (&json!(4), &Value::Null));
    let document = node.get("/api/documents/stock/2").await.expect(200);
    assert_eq!(document, json!({"here": 1, "both": "here", "there": 2, "Id": "2"}));
    node.get("/api/documents/stock/4").await.expect(200);
    assert!(open(&node).await.is_empty());
    let metrics = node.get("/metrics").await.text;
    assert!(metrics.contains("holdfast_conflicts_settled_total{database=\"shop\"} 4"), "{metrics}");
    assert!(metrics.contains("holdfast_conflicted_documents{database=\"shop\"} 0"), "{metrics}");
}

#[tokio::test]
async fn lists_are_paged_over_open_and_closed_ones() {
    let (node, _) = clashing(&["1", "2", "3", "4", "5"]).await;
    for conflict in open(&node).await.iter().take(2) {
        let path = format!("/api/conflicts/{}/resolve", conflict["Id"].as_str().unwrap());
        node.post(&path, r#"{"Choose":"shown"}"#).await.expect(200);
    }
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = node.get(&format!("/api/conflicts?state=all&limit=2{after}")).await.expect(200);
        let conflicts = page["Conflicts"].as_array().unwrap();
        found.extend(conflicts.iter().map(|conflict| conflict["State"].as_str().unwrap().to_owned()));
        match page["Next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(found, ["Open", "Open", "Open", "Closed", "Closed"]);
    node.get("/api/conflicts?limit=0").await.problem(400, "invalid-parameter");
}
