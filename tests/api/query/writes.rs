//! INSERT, UPDATE, DELETE and indexes by statement: the same as by the other routes.

use serde_json::{Value, json};

use super::{ask, node_with, query, rows};
use crate::node::Node;

#[tokio::test]
async fn documents_are_inserted_updated_and_deleted_and_each_is_told() {
    let node = Node::start().await;
    let answer = query(&node, "INSERT INTO c VALUES {Id: 'a', n: 1}, {\"_id\": 'b', \"n\": 2.50}").await.expect(200);
    assert_eq!((&answer["MatchedCount"], &answer["AppliedCount"]), (&json!(2), &json!(2)));
    let row = &rows(&answer)[0];
    assert_eq!((&row["operation"], &row["collection"], &row["id"]), (&json!("INSERT"), &json!("c"), &json!("a")));
    assert_eq!((&row["isDeleted"], &answer["Plan"]), (&json!(false), &json!("Insert")));
    let read = node.get("/api/documents/c/b").await;
    assert_eq!(read.text, r#"{"n":2.50,"Id":"b"}"#);
    let answer = query(&node, "UPDATE c SET n = n + 1, seen = true WHERE Id = 'b'").await.expect(200);
    assert_eq!((&answer["AppliedCount"], &answer["Plan"]), (&json!(1), &json!("IdLookup+Filter+Update")));
    let read = node.get("/api/documents/c/b").await;
    assert_eq!(read.text, r#"{"n":3.5,"Id":"b","seen":true}"#);
    assert_eq!(read.header("etag"), format!("\"{}\"", rows(&answer)[0]["version"].as_str().unwrap()));
    let answer = query(&node, "DELETE FROM c WHERE n > 100").await.expect(200);
    assert_eq!((&answer["MatchedCount"], &answer["Rows"], &answer["Token"]), (&json!(0), &json!([]), &Value::Null));
    let answer = query(&node, "DELETE FROM c").await.expect(200);
    assert_eq!((&answer["AppliedCount"], &rows(&answer)[1]["isDeleted"]), (&json!(2), &json!(true)));
    node.get("/api/documents/c/a").await.problem(404, "not-found");
}

#[tokio::test]
async fn an_insert_onto_a_document_that_is_there_is_refused_as_a_whole() {
    let node = Node::start().await;
    query(&node, "INSERT INTO c VALUES {Id: 'a', n: 1}").await.expect(200);
    let refused = query(&node, "INSERT INTO c VALUES {Id: 'new'}, {Id: 'a', n: 2}").await;
    let problem = refused.problem(409, "already-exists");
    assert_eq!(problem["id"], "a");
    assert!(problem["currentVersion"].is_string());
    assert_eq!(query(&node, "SELECT * FROM c").await.expect(200)["Rows"], json!([{"Id": "a", "n": 1}]));
    query(&node, "INSERT INTO c VALUES {Id: 'b'}, {Id: 'b'}").await.problem(409, "already-exists");
    query(&node, "DELETE FROM c").await.expect(200);
    query(&node, "INSERT INTO c VALUES {Id: 'a', n: 3}").await.expect(200);
}

#[tokio::test]
async fn values_never_become_part_of_the_statement() {
    let node = Node::start().await;
    let evil = "x'; DELETE FROM c; --";
    let insert = json!({"query": "INSERT INTO c VALUES @document", "parameters": {"document": {"Id": evil, "n": 1}}});
    ask(&node, insert).await.expect(200);
    let many = json!({"query": "INSERT INTO c VALUES @all", "parameters": {"all": [{"Id": "b"}, {"Id": "d"}]}});
    assert_eq!(ask(&node, many).await.expect(200)["AppliedCount"], 2);
    let read = json!({"query": "SELECT * FROM c WHERE Id = @id", "parameters": {"id": evil}});
    assert_eq!(ask(&node, read).await.expect(200)["Rows"], json!([{"Id": evil, "n": 1}]));
}

#[tokio::test]
async fn take_bounds_what_a_statement_changes_and_all_that_match_are_counted() {
    let node = node_with(40).await;
    let some = json!({"query": "UPDATE things SET done = true WHERE n >= 10", "take": 5});
    let answer = ask(&node, some).await.expect(200);
    assert_eq!((&answer["MatchedCount"], &answer["AppliedCount"]), (&json!(30), &json!(5)));
    assert_eq!(answer["RequestedTake"], 5);
    let answer = query(&node, "UPDATE things SET done = true WHERE n >= 10").await.expect(200);
    assert_eq!((&answer["MatchedCount"], &answer["AppliedCount"]), (&json!(30), &json!(30)));
    ask(&node, json!({"query": "DELETE FROM things", "take": 0})).await.problem(400, "invalid-take");
    ask(&node, json!({"query": "DELETE FROM things", "take": -1})).await.problem(400, "invalid-take");
    assert_eq!(node.get("/api/collections/things/count").await.expect(200)["Count"], 40);
}

#[tokio::test]
async fn two_ids_or_ed_are_updated_and_deleted_and_nothing_else_is() {
    let node = node_with(3).await;
    let update = "UPDATE things SET {kind: 'changed'} WHERE $_id = 't000000' OR $_id = 't000002'";
    let answer = query(&node, update).await.expect(200);
    assert_eq!((&answer["MatchedCount"], &answer["AppliedCount"]), (&json!(2), &json!(2)));
    let kinds = query(&node, "SELECT kind FROM things").await;
    assert_eq!(kinds.expect(200)["Rows"], json!([{"kind": "changed"}, {"kind": "k1"}, {"kind": "changed"}]));
    let delete = "DELETE FROM things WHERE $_id = 't000000' OR $_id = 't000002'";
    assert_eq!(query(&node, delete).await.expect(200)["AppliedCount"], 2);
    assert_eq!(query(&node, "SELECT Id FROM things").await.expect(200)["Rows"], json!([{"Id": "t000001"}]));
}

#[tokio::test]
async fn writers_of_one_document_lose_nothing_of_each_other() {
    let node = Node::start().await;
    query(&node, "INSERT INTO c VALUES {Id: 'a', counted: 0, computed: 0}").await.expect(200);
    let write = async || {
        for _ in 0..20 {
            query(&node, "UPDATE c SET counted = counted + 1 WHERE Id = 'a'").await.expect(200);
            // Not an increment: it is computed from what was looked at, so that it may have to look again.
            loop {
                let answer = query(&node, "UPDATE c SET computed = computed * 1 + 1 WHERE Id = 'a'").await;
                if answer.status == 200 {
                    break;
                }
                answer.problem(409, "query-overtaken");
            }
        }
    };
    tokio::join!(write(), write(), write(), write());
    let read = node.get("/api/documents/c/a").await.expect(200);
    assert_eq!((&read["counted"], &read["computed"]), (&json!(80), &json!(80)));
}

#[tokio::test]
async fn documents_over_the_limit_are_refused_as_by_the_other_routes() {
    let node = Node::start_with(Vec::new(), |settings| settings.limits.document_bytes_max = 2_000).await;
    let insert = |length: usize| json!({"query": "INSERT INTO c VALUES {Id: 'a', text: @text}", "parameters": {"text": "x".repeat(length)}});
    ask(&node, insert(3_000)).await.problem(413, "too-large");
    assert_eq!(node.get("/api/databases").await.text, "[]");
    ask(&node, insert(1_500)).await.expect(200);
    // Nor may a document grow beyond it.
    let text = "x".repeat(3_000);
    for query in ["UPDATE c SET text = @text", "UPDATE c SET {text: @text}", "UPDATE c SET more = @text, n = n + 1"] {
        ask(&node, json!({"query": query, "parameters": {"text": text}})).await.problem(413, "too-large");
    }
    node.patch("/api/documents/c/a", json!({"text": text}).to_string()).await.problem(413, "too-large");
    let patch = json!({"operations": [{"op": "patch", "collection": "c", "id": "a", "patch": {"text": text}}]});
    node.post("/api/transactions", patch.to_string()).await.problem(413, "too-large");
    assert_eq!(node.get("/api/documents/c/a").await.expect(200)["text"], "x".repeat(1_500));
}

#[tokio::test]
async fn collections_that_the_node_keeps_are_written_by_no_statement() {
    let node = node_with(1).await;
    for collection in ["cache", "CACHE", "_indexes", "_conflicts", "_operations", "_collections", "_sys_operations"] {
        for text in [
            format!("INSERT INTO {collection} VALUES {{Id: 'a'}}"),
            format!("UPDATE {collection} SET a = 1"),
            format!("DELETE FROM {collection}"),
            format!("CREATE INDEX i ON {collection} (a)"),
        ] {
            query(&node, &text).await.problem(403, "reserved-collection");
        }
    }
    for collection in ["cache", "_sys_operations", "Cache"] {
        query(&node, &format!("SELECT * FROM {collection}")).await.problem(403, "reserved-collection");
    }
}

#[tokio::test]
async fn indexes_are_made_used_and_dropped_by_statement() {
    let node = node_with(50).await;
    let made = query(&node, "CREATE INDEX by_kind ON things (kind, $.n) CASE INSENSITIVE").await.expect(200);
    assert_eq!(
        rows(&made)[0],
        json!({"operation": "CREATE INDEX", "collection": "things", "index": "by_kind", "isDone": true})
    );
    while node.get("/api/indexes/by_kind").await.expect(200)["State"] == "Building" {
        tokio::task::yield_now().await;
    }
    let index = node.get("/api/indexes/by_kind").await.expect(200);
    assert_eq!((&index["Paths"], &index["IsCaseInsensitive"]), (&json!(["$.kind", "$.n"]), &json!(true)));
    let answer = query(&node, "SELECT n FROM things WHERE kind = 'k3' AND n < 10").await.expect(200);
    assert_eq!((&answer["Rows"], &answer["Plan"]), (&json!([{"n": 3}, {"n": 8}]), &json!("IndexScan+Filter+Project")));
    let again = query(&node, "CREATE INDEX by_kind ON things (kind, n) CASE INSENSITIVE").await.expect(200);
    assert_eq!((&again["AppliedCount"], &rows(&again)[0]["isDone"]), (&json!(0), &json!(false)));
    query(&node, "CREATE INDEX by_kind ON things (n)").await.problem(409, "index-exists");
    let kept = query(&node, "CREATE INDEX IF NOT EXISTS by_kind ON things (n)").await.expect(200);
    assert_eq!(kept["AppliedCount"], 0);
    query(&node, "CREATE UNIQUE INDEX once ON things (kind)").await.problem(409, "duplicate-values");
    query(&node, "DROP INDEX by_kind ON others").await.problem(404, "index-not-found");
    assert_eq!(query(&node, "DROP INDEX by_kind ON things").await.expect(200)["AppliedCount"], 1);
    query(&node, "DROP INDEX by_kind").await.problem(404, "index-not-found");
    assert_eq!(query(&node, "DROP INDEX IF EXISTS by_kind").await.expect(200)["AppliedCount"], 0);
    query(&node, "CREATE UNIQUE INDEX once ON things (n)").await.expect(200);
    let refused = query(&node, "UPDATE things SET n = 7").await.problem(409, "not-unique");
    assert_eq!(refused["index"], "once");
    assert_eq!(
        query(&node, "SELECT COUNT(*) AS c FROM things WHERE n = 7").await.expect(200)["Rows"],
        json!([{"c": 1}])
    );
}
