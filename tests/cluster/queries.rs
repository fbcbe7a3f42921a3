//! Statements on nodes that are peers, cut off from each other, and killed.

use std::time::{Duration, Instant};

use holdfast_tests::cluster::{Client, Home, Line, Node, SOON, introduce, wait_for, wait_until_equal};
use holdfast_tests::seed::Seed;
use serde_json::{Value, json};

async fn query(client: &Client, text: &str) -> Value {
    client.post("/api/query", &json!({ "query": text }).to_string()).await.expect(200)
}

/// The answer's rows, and how they were found.
async fn rows(client: &Client, text: &str) -> (Value, String) {
    let answer = query(client, text).await;
    (answer["Rows"].clone(), answer["Plan"].as_str().unwrap().to_owned())
}

/// Waits until a node has built an index.
async fn built(client: &Client, index: &str) {
    wait_for("the index is built", SOON, async || {
        let text = format!("SELECT State FROM _indexes WHERE Name = '{index}'");
        let (rows, _) = rows(client, &text).await;
        if rows == json!([{"State": "Ready"}]) { Ok(()) } else { Err(rows.to_string()) }
    })
    .await;
}

async fn two_nodes() -> ([Home; 2], [Node; 2], [Line; 2]) {
    let homes = ["left", "right"].map(Home::new);
    let nodes = [homes[0].start(), homes[1].start()];
    let lines = [Line::to(&nodes[0].url).await, Line::to(&nodes[1].url).await];
    introduce((&nodes[0], &lines[0].url()), (&nodes[1], &lines[1].url())).await;
    (homes, nodes, lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_statement_writes_and_defines_on_one_node_is_used_on_the_other() {
    let (_homes, nodes, _lines) = two_nodes().await;
    let (left, right) = (nodes[0].client("shop"), nodes[1].client("shop"));
    let documents: Vec<Value> = (0..500).map(|n| json!({"Id": format!("o-{n:03}"), "n": n, "stock": 10})).collect();
    let body = json!({"query": "INSERT INTO orders VALUES @all", "parameters": {"all": documents}});
    let written = left.post("/api/query", &body.to_string()).await.expect(200);
    assert_eq!(written["AppliedCount"], 500);
    query(&left, "CREATE INDEX by_n ON orders (n)").await;
    wait_until_equal(&[&nodes[0], &nodes[1]], "shop").await;
    built(&right, "by_n").await;
    let (found, plan) = rows(&right, "SELECT Id FROM orders WHERE n = 17").await;
    assert_eq!((found, plan.as_str()), (json!([{"Id": "o-017"}]), "IndexScan+Filter+Project"));
    // A statement on each side, on the same documents: the counters add up, and each side's index has what both wrote.
    let (here, there) = tokio::join!(
        query(&left, "UPDATE orders SET stock = stock - 1 WHERE n < 100"),
        query(&right, "UPDATE orders SET stock = stock - 2 WHERE n < 100")
    );
    assert_eq!((&here["AppliedCount"], &there["AppliedCount"]), (&json!(100), &json!(100)));
    query(&right, "DELETE FROM orders WHERE n >= 400").await;
    query(&right, "UPDATE orders SET n = 1000 + n WHERE n BETWEEN 300 AND 310").await;
    wait_until_equal(&[&nodes[0], &nodes[1]], "shop").await;
    for client in [&left, &right] {
        let (sums, _) = rows(client, "SELECT COUNT(*) AS c, SUM(stock) AS s FROM orders").await;
        assert_eq!(sums, json!([{"c": 400, "s": 4_000 - 300}]));
        let (moved, plan) = rows(client, "SELECT COUNT(*) AS c FROM orders WHERE n > 1000").await;
        assert_eq!((moved, plan.as_str()), (json!([{"c": 11}]), "IndexCount+Aggregate+Project"));
    }
    // A token of one node's statement makes the other's wait for it.
    let token = query(&left, "INSERT INTO orders VALUES {Id: 'late', n: -1}").await["Token"].clone();
    let path = format!("/api/query?token={}", token.as_str().unwrap());
    let read = right.post(&path, r#"{"query":"SELECT Id FROM orders WHERE n = -1"}"#).await.expect(200);
    assert_eq!(read["Rows"], json!([{"Id": "late"}]));
    query(&left, "DROP INDEX by_n").await;
    wait_for("the index is gone", SOON, async || {
        let (left, _) = rows(&right, "SELECT Name FROM _indexes").await;
        if left == json!([]) { Ok(()) } else { Err(left.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_and_a_delete_of_many_are_the_same_everywhere() {
    let (_homes, nodes, _lines) = two_nodes().await;
    let (left, right) = (nodes[0].client("shop"), nodes[1].client("shop"));
    for n in 0..200 {
        left.put(&format!("/api/documents/c/old-{n}"), "{}").await.expect(200);
    }
    let delete = json!({"query": "DELETE FROM c", "take": 500}).to_string();
    assert_eq!(left.post("/api/query", &delete).await.expect(200)["AppliedCount"], 200);
    for n in 0..10 {
        query(&left, &format!("INSERT INTO c VALUES {{Id: 'new-{n}'}}")).await;
    }
    wait_until_equal(&[&nodes[0], &nodes[1]], "shop").await;
    for client in [&left, &right] {
        let (found, _) = rows(client, "SELECT TOP 100 $ FROM c").await;
        let expected: Vec<Value> = (0..10).map(|n| json!({"Id": format!("new-{n}")})).collect();
        assert_eq!(found, Value::from(expected));
    }
    // Two ids, joined by OR: those two and no third.
    let two = "$_id = 'new-3' OR $_id = 'new-5'";
    assert_eq!(query(&right, &format!("UPDATE c SET {{seen: true}} WHERE {two}")).await["AppliedCount"], 2);
    wait_until_equal(&[&nodes[0], &nodes[1]], "shop").await;
    let (seen, _) = rows(&left, "SELECT Id FROM c WHERE seen = true").await;
    assert_eq!(seen, json!([{"Id": "new-3"}, {"Id": "new-5"}]));
    assert_eq!(query(&left, &format!("DELETE FROM c WHERE {two}")).await["AppliedCount"], 2);
    wait_until_equal(&[&nodes[0], &nodes[1]], "shop").await;
    let (rest, _) = rows(&right, "SELECT COUNT(*) AS c FROM c").await;
    assert_eq!(rest, json!([{"c": 8}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_unique_on_each_side_of_a_cut_become_a_conflict_that_a_query_finds() {
    let (_homes, nodes, lines) = two_nodes().await;
    let (left, right) = (nodes[0].client("shop"), nodes[1].client("shop"));
    query(&left, "INSERT INTO people VALUES {Id: 'first', mail: 'a@x'}").await;
    query(&left, "CREATE UNIQUE INDEX once ON people (mail)").await;
    wait_until_equal(&[&nodes[0], &nodes[1]], "shop").await;
    built(&right, "once").await;
    let taken = json!({"query": "INSERT INTO people VALUES {Id: 'second', mail: 'a@x'}"}).to_string();
    right.post("/api/query", &taken).await.problem(409, "not-unique");
    lines.iter().for_each(Line::cut);
    query(&left, "INSERT INTO people VALUES {Id: 'l', mail: 'b@x'}").await;
    query(&right, "INSERT INTO people VALUES {Id: 'r', mail: 'b@x'}").await;
    lines.iter().for_each(Line::heal);
    wait_until_equal(&[&nodes[0], &nodes[1]], "shop").await;
    for client in [&left, &right] {
        let text =
            "SELECT Collection, Index, Documents FROM _conflicts WHERE State = 'Open' AND Reason = 'UniqueViolation'";
        wait_for("the violation is told", SOON, async || {
            let (found, _) = rows(client, text).await;
            let expected = json!([{"Collection": "people", "Index": "once", "Documents": ["l", "r"]}]);
            if found == expected { Ok(()) } else { Err(found.to_string()) }
        })
        .await;
        let (both, _) = rows(client, "SELECT Id FROM people WHERE mail = 'b@x'").await;
        assert_eq!(both, json!([{"Id": "l"}, {"Id": "r"}]), "nothing that was written is lost");
    }
    query(&left, "UPDATE people SET mail = 'c@x' WHERE Id = 'r'").await;
    wait_until_equal(&[&nodes[0], &nodes[1]], "shop").await;
    for client in [&left, &right] {
        wait_for("the violation is settled", SOON, async || {
            let (open, _) = rows(client, "SELECT COUNT(*) AS c FROM _conflicts WHERE State = 'Open'").await;
            if open == json!([{"c": 0}]) { Ok(()) } else { Err(open.to_string()) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_whose_building_was_killed_answers_as_a_scan_does() {
    const DOCUMENTS: usize = 50_000;
    let home = Home::new("till-1");
    let mut seed = Seed::new(7);
    let mut node = home.start();
    let lines: Vec<String> = (0..DOCUMENTS)
        .map(|n| json!({"Id": format!("d{n:05}"), "n": n % 997, "tags": [n % 3, "all"]}).to_string())
        .collect();
    for chunk in lines.chunks(5_000) {
        node.client("shop").post("/api/documents/things/bulk", &chunk.join("\n")).await.expect(200);
    }
    // How long it takes on this machine, so that kills meet it half way.
    let began = Instant::now();
    query(&node.client("shop"), "CREATE INDEX whole ON things (n, $.tags[*])").await;
    built(&node.client("shop"), "whole").await;
    let whole = u64::try_from(began.elapsed().as_millis()).unwrap();
    query(&node.client("shop"), "DROP INDEX whole").await;
    let mut was_building = 0;
    for round in 0..6 {
        let client = node.client("shop");
        let index = format!("by_n_{round}");
        query(&client, &format!("CREATE INDEX {index} ON things (n, $.tags[*])")).await;
        // Killed at any moment: as it begins, or half way.
        tokio::time::sleep(Duration::from_millis(seed.range(0..whole / 2 + 1))).await;
        query(&client, &format!("UPDATE things SET n = -{round} WHERE Id = 'd{:05}'", round * 31)).await;
        let (state, _) = rows(&client, &format!("SELECT State FROM _indexes WHERE Name = '{index}'")).await;
        was_building += usize::from(state == json!([{"State": "Building"}]));
        node.kill();
        node = home.start();
        let client = node.client("shop");
        built(&client, &index).await;
        for n in [0, 5, 996, -round] {
            let condition = format!("SELECT Id FROM things WHERE n = {n} ORDER BY Id");
            let (by_index, plan) = rows(&client, &condition).await;
            assert!(plan.starts_with("IndexScan"), "{plan}");
            // What is computed no index can answer.
            let (by_scan, plan) = rows(&client, &condition.replace("n =", "n + 0 =")).await;
            assert!(plan.starts_with("FullScan"), "{plan}");
            assert_eq!(by_index, by_scan, "round {round}, n = {n}");
        }
        query(&client, &format!("DROP INDEX {index}")).await;
    }
    assert!(was_building > 0, "no kill met an index that was being built");
    node.stop();
    home.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_query_is_logged_by_its_words_and_without_its_values() {
    let home = Home::new("till-1").with("Query:SlowMilliseconds", "1");
    let node = home.start();
    let client = node.client("shop");
    let documents: Vec<Value> =
        (0..2_000).map(|n| json!({"Id": format!("d{n}"), "n": n, "of": "hidden-document"})).collect();
    let body = json!({"query": "INSERT INTO things VALUES @all", "parameters": {"all": documents}});
    client.post("/api/query", &body.to_string()).await.expect(200);
    let text = "SELECT n FROM things WHERE of = @word OR of = 'hidden-literal' OR n = 4711";
    let body = json!({"query": text, "parameters": {"word": "hidden-parameter"}});
    client.post("/api/query", &body.to_string()).await.expect(200);
    let wrong = json!({"query": "SELECT n / 0 FROM things WHERE of LIKE '%hidden-pattern%' OR n >= 1999"});
    client.post("/api/query", &wrong.to_string()).await.problem(422, "division-by-zero");
    node.stop();
    let lines = home.log_lines("slow query");
    let is_told = |part: &str| lines.iter().any(|line| line.contains(part));
    assert!(is_told("SELECT n FROM things WHERE of = @word OR of = ? OR n = ?"), "{lines:?}");
    assert!(is_told("division-by-zero") && is_told("examined=2000"), "{lines:?}");
    let values = ["hidden-document", "hidden-parameter", "hidden-literal", "hidden-pattern", "4711"];
    home.assert_log_is_without(&values);
}
