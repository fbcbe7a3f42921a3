//! Bulk writes: a result per item, whatever the others do.

use serde_json::{Value, json};

use crate::node::Node;

#[tokio::test]
async fn a_byte_order_mark_before_lines_or_an_array_is_passed_over() {
    let node = Node::start().await;
    for body in ["\u{feff}{\"Id\":\"a\"}\n{\"Id\":\"b\"}", "\u{feff}[{\"Id\":\"a\"},{\"Id\":\"b\"}]"] {
        let done = node.post("/api/documents/items/bulk", body).await.expect(200);
        assert_eq!(done["Succeeded"].as_u64(), Some(2), "{done}");
    }
}

#[tokio::test]
async fn a_bad_line_is_told_with_its_number_and_the_rest_goes_on() {
    let node = Node::start().await;
    let lines =
        "{\"Id\":\"a\",\"n\":1}\n\n{\"Id\":\"b\"\n  \r\n[1]\n{\"n\":2}\n{\"Id\":\"c\",\"n\":3}\r\n{\"Id\":\"d\"}";
    let done = node.ask("POST", "/api/documents/items/bulk").header("Content-Type", "application/x-ndjson").body(lines);
    let done = done.send().await.expect(200);
    let counts = ["Total", "Succeeded", "Failed"].map(|name| done[name].as_u64().unwrap());
    assert_eq!(counts, [6, 3, 3]);
    let results = done["Results"].as_array().unwrap();
    assert_eq!(results[0]["Id"], "a");
    assert_eq!(results[0]["Version"].as_str().unwrap().len(), 26);
    let failures: Vec<(u64, u64, &str)> = results
        .iter()
        .filter(|result| result["Status"].as_u64() != Some(200))
        .map(|result| {
            assert_eq!(result["Status"].as_u64(), Some(400));
            assert!(!result["Error"].as_str().unwrap().contains(" line 1"), "{result}");
            (result["Index"].as_u64().unwrap(), result["Line"].as_u64().unwrap(), result["Code"].as_str().unwrap())
        })
        .collect();
    assert_eq!(failures, [(1, 3, "malformed-json"), (2, 5, "not-an-object"), (3, 6, "id-required")]);
    assert_eq!(node.get("/api/collections/items/count").await.expect(200)["Count"].as_u64(), Some(3));
}

#[tokio::test]
async fn an_array_is_as_good_as_lines() {
    let node = Node::start().await;
    let done = node.post("/api/documents/items/bulk", r#" [ {"Id":"a","n":1}, 5, {"Id":"b"} ] "#).await.expect(200);
    assert_eq!((done["Succeeded"].as_u64(), done["Failed"].as_u64()), (Some(2), Some(1)));
    assert_eq!(done["Results"][1]["Index"].as_u64(), Some(1));
    assert!(done["Results"][1]["Line"].is_null());
    node.post("/api/documents/items/bulk", "[{\"Id\":\"x\"},").await.problem(400, "malformed-json");
    assert_eq!(node.post("/api/documents/items/bulk", "[]").await.expect(200)["Total"].as_u64(), Some(0));
}

#[tokio::test]
async fn each_verb_does_its_own() {
    let node = Node::start().await;
    let bulk = async |verb: &str, lines: &str| {
        node.post(&format!("/api/documents/items/bulk?op={verb}&results=errors"), lines).await.expect(200)
    };
    bulk("put", "{\"Id\":\"a\",\"n\":1}\n{\"Id\":\"b\",\"n\":1}").await;
    let inserted = bulk("insert", "{\"Id\":\"a\"}\n{\"Id\":\"c\",\"n\":1}").await;
    assert_eq!(inserted["Results"].as_array().unwrap().len(), 1);
    assert_eq!(inserted["Results"][0]["Status"].as_u64(), Some(409));
    assert_eq!(inserted["Results"][0]["Code"], "already-exists");
    let patched = bulk("patch", "{\"Id\":\"a\",\"m\":2,\"$inc\":{\"n\":4}}\n{\"Id\":\"none\",\"m\":2}").await;
    assert_eq!(patched["Results"][0]["Status"].as_u64(), Some(404));
    assert_eq!(node.get("/api/documents/items/a").await.text, r#"{"Id":"a","n":5,"m":2}"#);
    let deleted = bulk("delete", "{\"Id\":\"a\"}\n\"b\"\n\"none\"").await;
    assert_eq!((deleted["Succeeded"].as_u64(), deleted["Results"][0]["Id"].as_str()), (Some(2), Some("none")));
    node.post("/api/documents/items/bulk?op=upsert", "{}").await.problem(400, "invalid-parameter");
}

#[tokio::test]
async fn a_later_line_wins_over_an_earlier_one_across_chunks() {
    let node = Node::start().await;
    let lines: Vec<String> = (0..10_000).map(|n| format!("{{\"Id\":\"{}\",\"n\":{n}}}", n % 7)).collect();
    let done = node.post("/api/documents/items/bulk", lines.join("\n")).await.expect(200);
    assert_eq!(done["Succeeded"].as_u64(), Some(10_000));
    assert_eq!(done["Results"].as_array().unwrap().len(), 10_000);
    for id in 0..7_u64 {
        let last = (0..10_000).rev().find(|n| n % 7 == id);
        assert_eq!(node.get(&format!("/api/documents/items/{id}")).await.expect(200)["n"].as_u64(), last);
    }
}

#[tokio::test]
async fn a_body_of_lines_may_be_longer_than_any_other_and_a_line_may_not() {
    let node = Node::start_with(Vec::new(), |settings| {
        settings.limits.request_bytes_max = 10_000;
        settings.limits.document_bytes_max = 1_000;
    })
    .await;
    let mut lines: Vec<String> =
        (0..1_000).map(|n| json!({"Id": n.to_string(), "text": "x".repeat(100)}).to_string()).collect();
    lines[500] = json!({"Id": "500", "text": "x".repeat(5_000)}).to_string();
    let done = node.post("/api/documents/items/bulk?results=errors", lines.join("\n")).await.expect(200);
    assert_eq!(done["Succeeded"].as_u64(), Some(999));
    let failure = &done["Results"][0];
    assert_eq!((failure["Status"].as_u64(), failure["Line"].as_u64()), (Some(413), Some(501)));
    let array = format!("[{}]", lines.join(","));
    node.post("/api/documents/items/bulk", array).await.problem(413, "too-large");
}

#[tokio::test]
async fn bodies_that_are_no_items_are_refused() {
    let node = Node::start().await;
    let bulk = || node.ask("POST", "/api/documents/items/bulk");
    bulk().send().await.problem(400, "body-required");
    bulk().body(" \n\n ").send().await.problem(400, "body-required");
    bulk().header("Content-Type", "text/csv").body("a,b").send().await.problem(415, "unsupported-media-type");
    bulk().header("Content-Encoding", "gzip").body("{}").send().await.problem(415, "unsupported-media-type");
    let done: Value = bulk().body(b"{\"Id\":\"a\",\"t\":\"\xff\"}\nnonsense".to_vec()).send().await.expect(200);
    assert_eq!(done["Results"][0]["Code"], "invalid-utf8");
    assert_eq!(done["Results"][1]["Code"], "malformed-json");
    assert_eq!(node.get("/api/databases").await.text, "[]");
}
