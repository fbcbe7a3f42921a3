//! What a SELECT and an EXPLAIN answer.

use serde_json::{Value, json};

use super::{ask, node_with, query, rows};
use crate::node::Node;

#[tokio::test]
async fn an_answer_has_the_fields_that_older_clients_read_and_more() {
    let node = node_with(10).await;
    let answer = ask(
        &node,
        json!({"Query": "  SELECT n, kind FROM things WHERE n >= @least ORDER BY n DESC ", "Take": 3,
        "parameters": {"least": 4}}),
    )
    .await
    .expect(200);
    assert_eq!(answer["Query"], "SELECT n, kind FROM things WHERE n >= @least ORDER BY n DESC");
    assert_eq!((&answer["RequestedTake"], &answer["ReturnedRows"]), (&json!(3), &json!(3)));
    assert_eq!((&answer["MatchedCount"], &answer["AppliedCount"]), (&json!(6), &json!(0)));
    assert_eq!(answer["Rows"], json!([{"n": 9, "kind": "k4"}, {"n": 8, "kind": "k3"}, {"n": 7, "kind": "k2"}]));
    assert_eq!(answer["Columns"], json!(["n", "kind"]));
    assert_eq!(answer["Plan"], "FullScan+Filter+Sort+Project");
    assert!(answer["ElapsedMs"].as_f64().is_some_and(|time| time > 0.0));
    assert!(answer["NextCursor"].is_string());
}

#[tokio::test]
async fn a_cursor_leads_through_all_rows_once() {
    let node = node_with(25).await;
    for text in ["SELECT Id FROM things", "SELECT Id FROM things ORDER BY kind, n", "SELECT TOP 22 Id FROM things"] {
        let (mut seen, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let answer = ask(&node, json!({"query": text, "take": 4, "cursor": cursor})).await.expect(200);
            seen.extend(rows(&answer).iter().map(|row| row["Id"].as_str().unwrap().to_owned()));
            cursor = answer["NextCursor"].clone();
            if cursor.is_null() {
                break;
            }
        }
        assert_eq!(seen.len(), if text.contains("TOP") { 22 } else { 25 }, "{text}");
        seen.sort();
        seen.dedup();
        assert!(seen.len() >= 22, "{text}: a row came twice");
    }
    let first = ask(&node, json!({"query": "SELECT Id FROM things", "take": 4})).await.expect(200);
    let other = json!({"query": "SELECT n FROM things", "take": 4, "cursor": first["NextCursor"]});
    ask(&node, other).await.problem(400, "query-cursor-stale");
    ask(&node, json!({"query": "SELECT Id FROM things", "cursor": "00"})).await.problem(400, "query-cursor-invalid");
    ask(&node, json!({"query": "DELETE FROM things", "cursor": "00"})).await.problem(400, "query-cursor-invalid");
}

#[tokio::test]
async fn without_take_two_hundred_rows_come_or_as_many_as_the_statement_says() {
    let node = node_with(300).await;
    let count = |answer: Value| (rows(&answer).len(), answer["NextCursor"].is_string());
    assert_eq!(count(query(&node, "SELECT Id FROM things").await.expect(200)), (200, true));
    assert_eq!(count(query(&node, "SELECT Id FROM things LIMIT 250").await.expect(200)), (250, false));
    assert_eq!(count(query(&node, "SELECT TOP 260 Id FROM things").await.expect(200)), (260, false));
    let none = json!({"query": "SELECT Id FROM things", "take": 0});
    assert_eq!(count(ask(&node, none).await.expect(200)), (100, true));
    let all = json!({"query": "SELECT Id FROM things", "take": 1_000_000});
    assert_eq!(count(ask(&node, all).await.expect(200)), (300, false));
}

/// The time of each step that tells one.
fn micros(step: &Value) -> Vec<u64> {
    let inputs = step["Inputs"].as_array().unwrap().iter().flat_map(micros);
    step["ActualMicros"].as_u64().into_iter().chain(inputs).collect()
}

#[tokio::test]
async fn a_plan_is_told_as_a_tree_and_for_programs() {
    let node = node_with(50).await;
    let text = "SELECT kind, COUNT(*) AS c FROM things WHERE n < 20 GROUP BY kind ORDER BY c";
    let told = query(&node, &format!("EXPLAIN {text}")).await.expect(200);
    assert_eq!(told["Columns"], json!(["Plan"]));
    assert!(told["Plan"].as_str().unwrap().contains("└─ FullScan things"), "{told}");
    assert_eq!(rows(&told).len(), told["Plan"].as_str().unwrap().lines().count());
    assert_eq!(told["Explanation"]["Root"]["ActualRows"], Value::Null);
    let told = query(&node, &format!("EXPLAIN ANALYZE {text}")).await.expect(200);
    assert_eq!(told["Explanation"]["Root"]["ActualRows"], 5);
    assert_eq!(told["Explanation"]["Examined"], 50);
    let elapsed = told["Explanation"]["ElapsedMicros"].as_u64().unwrap();
    let each = micros(&told["Explanation"]["Root"]);
    assert!(elapsed > 0 && each.iter().sum::<u64>() <= elapsed, "{each:?} of {elapsed}");
    assert_eq!(each.len(), 4, "sort, group, filter and scan tell their time: {told}");
    assert!(told["Plan"].as_str().unwrap().contains("└─ Sort COUNT(*)"), "{told}");
    let told = query(&node, "EXPLAIN ANALYZE DELETE FROM things WHERE n < 20").await.expect(200);
    let delete = &told["Explanation"]["Root"];
    assert_eq!((&delete["Operation"], &delete["Inputs"][0]["ActualRows"]), (&json!("Delete"), &json!(20)));
    assert_eq!(node.get("/api/collections/things/count").await.expect(200)["Count"], 50, "nothing was deleted");
}

#[tokio::test]
async fn what_the_node_tells_of_itself_can_be_asked() {
    let node = node_with(5).await;
    query(&node, "CREATE INDEX by_n ON things (n)").await.expect(200);
    query(&node, "DELETE FROM things WHERE n = 3").await.expect(200);
    let answer = query(&node, "SELECT Collection, Count FROM _collections").await.expect(200);
    assert_eq!(answer["Rows"], json!([{"Collection": "things", "Count": 4}]));
    let answer = query(&node, "SELECT Name, Paths FROM _indexes WHERE Collection = 'things'").await.expect(200);
    assert_eq!(answer["Rows"], json!([{"Name": "by_n", "Paths": ["$.n"]}]));
    let text = "SELECT EntityId FROM _operations WHERE IsTombstone = true AND Collection = 'things'";
    assert_eq!(query(&node, text).await.expect(200)["Rows"], json!([{"EntityId": "t000003"}]));
    assert_eq!(query(&node, "SELECT * FROM _conflicts").await.expect(200)["Rows"], json!([]));
}

#[tokio::test]
async fn a_database_that_is_not_there_is_made_by_an_insert_alone() {
    let node = Node::start().await;
    for text in ["SELECT * FROM c", "UPDATE c SET a = 1", "DELETE FROM c", "CREATE INDEX i ON c (a)", "DROP INDEX i"] {
        query(&node, text).await.problem(404, "database-not-found");
    }
    query(&node, "EXPLAIN INSERT INTO c VALUES {Id: 'a'}").await.problem(404, "database-not-found");
    query(&node, "INSERT INTO c VALUES {a: 1}").await.problem(422, "id-required");
    assert_eq!(node.get("/api/databases").await.text, "[]");
    query(&node, "INSERT INTO c VALUES {Id: 'a'}").await.expect(200);
    assert_eq!(query(&node, "SELECT * FROM c").await.expect(200)["Rows"], json!([{"Id": "a"}]));
}

#[tokio::test]
async fn a_read_with_a_token_is_never_older_than_that_write() {
    let node = node_with(1).await;
    let written = query(&node, "UPDATE things SET n = 7").await;
    let token = written.header("consistency-token").to_owned();
    assert_eq!(written.expect(200)["Token"], token.as_str());
    let read = node.ask("POST", "/api/query").header("Consistency-Token", &token);
    let answer = read.body(r#"{"query":"SELECT n FROM things"}"#).send().await.expect(200);
    assert_eq!(answer["Rows"], json!([{"n": 7}]));
    let ahead = node.post("/api/query?token=node-1%400000000000000007:999&timeout=10", r#"{"query":"SELECT 1"}"#).await;
    ahead.problem(503, "not-here-yet");
}

#[tokio::test]
async fn documents_show_what_the_node_keeps_of_them_where_it_is_asked_for() {
    let node = node_with(2).await;
    let ask = async |text: &str| {
        let body = json!({ "query": text }).to_string();
        node.post("/api/query?includeReservedFields=true", body).await.expect(200)["Rows"].clone()
    };
    for text in ["SELECT * FROM things WHERE n = 1", "SELECT $ FROM things ORDER BY n DESC LIMIT 1"] {
        let row = ask(text).await[0].clone();
        let read = node.get("/api/documents/things/t000001?includeReservedFields=true").await.expect(200);
        assert_eq!(row, read, "{text}");
        assert!(row["_sys_version"].is_string());
    }
    assert_eq!(ask("SELECT n FROM things WHERE n = 1").await, json!([{"n": 1}]));
    assert_eq!(ask("SELECT Collection FROM _collections").await, json!([{"Collection": "things"}]));
    assert_eq!(ask("SELECT * FROM _collections").await[0]["_id"], Value::Null);
}

#[tokio::test]
async fn what_queries_do_is_counted() {
    let node = node_with(30).await;
    query(&node, "SELECT * FROM things").await.expect(200);
    query(&node, "SELECT * FROM things WHERE n / 0 = 1").await.problem(422, "division-by-zero");
    query(&node, "SELEC").await.problem(400, "unknown-command");
    query(&node, "UPDATE things SET seen = true").await.expect(200);
    let metrics = node.get("/metrics").await.text;
    for line in [
        "holdfast_queries_total{kind=\"select\",outcome=\"done\"} 1",
        "holdfast_queries_total{kind=\"select\",outcome=\"division-by-zero\"} 1",
        "holdfast_queries_total{kind=\"update\",outcome=\"done\"} 1",
        "holdfast_queries_total{kind=\"unread\",outcome=\"other\"} 1",
        "holdfast_query_duration_seconds_count{kind=\"select\"} 2",
        "holdfast_query_examined_total 61",
        "holdfast_query_rows_total 60",
        "holdfast_queries_running 0",
    ] {
        assert!(metrics.lines().any(|told| told == line), "{line} is not among\n{metrics}");
    }
}
