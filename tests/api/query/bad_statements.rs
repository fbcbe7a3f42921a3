//! Whatever is wrong with a statement is a 400 or 422 with a stable code, soon, and changes nothing.

use serde_json::json;

use super::{ask, node_with, query};

#[tokio::test]
async fn text_that_cannot_be_read_is_400_with_its_place() {
    let node = node_with(1).await;
    let problem = query(&node, "SELECT *\nFORM things").await.problem(400, "query-syntax");
    assert_eq!((problem["line"].as_u64(), problem["column"].as_u64()), (Some(2), Some(1)));
    assert_eq!(problem["excerpt"], "FORM things\n^");
    assert_eq!(problem["suggestion"], "Did you mean FROM?");
    for (text, code) in [
        ("", "query-required"),
        (";", "query-required"),
        ("hello", "unknown-command"),
        ("DROP TABLE things", "query-syntax"),
        ("SELECT * FROM things; DELETE FROM things", "query-one-statement"),
        ("SELECT * INTO other FROM things", "not-supported"),
        ("SELECT * FROM $file('/etc/passwd')", "query-syntax"),
        ("SELECT 'open", "query-syntax"),
        ("INSERT INTO things", "query-syntax"),
        ("UPDATE things SET", "query-syntax"),
    ] {
        query(&node, text).await.problem(400, code);
    }
}

#[tokio::test]
async fn statements_that_make_no_sense_are_422() {
    let node = node_with(3).await;
    let mut wrong = Vec::new();
    for (text, code) in [
        ("SELECT FROBNICATE(n) FROM things", "unknown-function"),
        ("SELECT LOWER() FROM things", "wrong-argument-count"),
        ("SELECT n / 0 FROM things", "division-by-zero"),
        ("SELECT kind + 1 FROM things", "type-mismatch"),
        ("SELECT * FROM things WHERE COUNT(*) > 1", "misplaced-aggregate"),
        ("SELECT n, COUNT(*) FROM things", "not-grouped"),
        ("SELECT * FROM things t JOIN things u ON t.n = u.n WHERE n = 1", "unqualified-path"),
        ("SELECT * FROM things LIMIT 1.5", "query-syntax"),
        ("SELECT * FROM things WHERE n = @absent", "missing-parameter"),
        ("INSERT INTO things VALUES 5", "query-syntax"),
        ("INSERT INTO things VALUES {a: 1}", "id-required"),
        ("UPDATE things SET 5", "query-syntax"),
        ("UPDATE things SET Id = 'other'", "id-not-writable"),
        ("UPDATE things SET n = 1 / 0", "division-by-zero"),
        ("DELETE FROM things WHERE 1 / 0 = 1", "division-by-zero"),
    ] {
        let answer = query(&node, text).await;
        let is_told = matches!(answer.status.as_u16(), 400 | 422) && answer.json()["code"] == code;
        if !is_told {
            wrong.push(format!("{text}: not {code}, but {}", answer.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let sum = query(&node, "SELECT COUNT(*) AS c, SUM(n) AS s FROM things").await.expect(200);
    assert_eq!(sum["Rows"], json!([{"c": 3, "s": 3}]));
}

#[tokio::test]
async fn text_that_was_made_to_hurt_is_refused_soon() {
    let node = node_with(1).await;
    let deep = |open: &str, close: &str| format!("SELECT {}1{} FROM things", open.repeat(10_000), close.repeat(10_000));
    let long = "x".repeat(2 * 1024 * 1024);
    let digits = "9".repeat(5_000);
    let many = vec!["n"; 200_000].join(" OR ");
    for text in [
        deep("(", ")"),
        deep("[", "]"),
        deep("{a: ", "}"),
        deep("NOT ", ""),
        deep("LOWER(", ")"),
        deep("-", ""),
        deep("CASE WHEN 1 = 1 THEN ", " END"),
        format!("SELECT * FROM things WHERE {}", "(".repeat(10_000)),
        format!("SELECT '{long}'"),
        format!("SELECT {digits}"),
        format!("SELECT 1e{digits}"),
        format!("SELECT * FROM things WHERE kind LIKE '{}'", "%a".repeat(5_000)),
        format!("SELECT {} FROM things", vec!["n"; 20_000].join(", ")),
        format!("SELECT * FROM things WHERE {many} OR ("),
        format!("SELECT $.{} FROM things", vec!["a"; 20_000].join(".")),
        "SELECT $[-1][99999999999999999999] FROM things".to_owned(),
    ] {
        let started = std::time::Instant::now();
        let answer = query(&node, &text).await;
        let beginning: String = text.chars().take(60).collect();
        assert!(matches!(answer.status.as_u16(), 400 | 422), "{beginning}: {}", answer.text);
        assert!(answer.json()["code"].is_string(), "{beginning}");
        assert!(started.elapsed().as_secs() < 20, "{beginning}: took {:?}", started.elapsed());
        assert!(answer.text.len() < 4_000, "{beginning}: an error repeats what was sent");
    }
    query(&node, "SELECT * FROM things").await.expect(200);
}

#[tokio::test]
async fn bodies_of_another_shape_are_refused() {
    let node = node_with(1).await;
    for (body, status, code) in [
        ("", 400, "body-required"),
        ("nonsense", 400, "malformed-json"),
        ("[\"SELECT 1\"]", 400, "not-an-object"),
        ("{}", 400, "query-required"),
        (r#"{"query":5}"#, 400, "invalid-body"),
        (r#"{"query":"SELECT 1","take":"many"}"#, 400, "invalid-body"),
        (r#"{"query":"SELECT 1","parameters":[1]}"#, 400, "invalid-body"),
        (r#"{"query":"SELECT 1","cursor":7}"#, 400, "invalid-body"),
        (r#"{"query":"SELECT 1","sql":"x"}"#, 400, "invalid-body"),
    ] {
        node.post("/api/query", body).await.problem(status, code);
    }
    let text = node.ask("POST", "/api/query").header("Content-Type", "text/plain").body("SELECT 1").send().await;
    text.problem(415, "unsupported-media-type");
    node.get("/api/query").await.problem(405, "method-not-allowed");
    let deep =
        format!("{{\"query\":\"SELECT 1\",\"parameters\":{{\"a\":{}{}}}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(node.post("/api/query", deep).await.status, 400);
    let large = json!({"query": "SELECT 1", "parameters": {"a": "x".repeat(31_000_000)}});
    ask(&node, large).await.problem(413, "too-large");
}
