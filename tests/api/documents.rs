//! Documents, one by one and in pages.

use serde_json::json;

use crate::node::Node;

#[tokio::test]
async fn a_document_comes_back_byte_for_byte_with_its_version_as_etag() {
    let node = Node::start().await;
    let put = node
        .put("/api/documents/orders/ord-1", r#"{ "total": 12.00, "big": 12345678901234567890, "Id": "ord-1" }"#)
        .await;
    let result = put.expect(200);
    assert_eq!(result["Collection"], "orders");
    assert_eq!(result["EntityId"], "ord-1");
    assert_eq!(result["IsDeleted"], false);
    assert_eq!(result["Operation"]["OperationType"].as_u64(), Some(1));
    assert_eq!(result["Operation"]["Id"], result["Version"]);
    assert_eq!(result["Operation"]["Payload"], r#"{"total":12.00,"big":12345678901234567890,"Id":"ord-1"}"#);
    assert!(result["CommittedUtc"].as_str().unwrap().ends_with('Z'));
    assert!(result["Token"].as_str().unwrap().ends_with(":1"));
    let version = result["Version"].as_str().unwrap().to_owned();
    assert_eq!(put.header("etag"), format!("\"{version}\""));

    let got = node.get("/api/documents/orders/ord-1").await;
    got.expect(200);
    assert_eq!(got.text, r#"{"total":12.00,"big":12345678901234567890,"Id":"ord-1"}"#);
    assert_eq!(got.header("etag"), format!("\"{version}\""));
    assert_eq!(got.header("content-type"), "application/json");
    assert!(got.header("last-modified").ends_with(" GMT"));

    let again =
        node.ask("GET", "/api/documents/orders/ord-1").header("If-None-Match", format!("W/\"{version}\"")).send().await;
    assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""));
    assert_eq!(again.header("etag"), format!("\"{version}\""));
}

#[tokio::test]
async fn a_second_write_replaces_and_a_delete_removes() {
    let node = Node::start().await;
    node.put("/api/documents/orders/a", r#"{"n":1}"#).await.expect(200);
    let second = node.put("/api/documents/orders/a", r#"{"n":2}"#).await.expect(200);
    assert_eq!(second["Operation"]["OperationType"].as_u64(), Some(2));
    let deleted = node.delete("/api/documents/orders/a").await.expect(200);
    assert_eq!(deleted["IsDeleted"], true);
    assert_eq!(deleted["Operation"]["OperationType"].as_u64(), Some(3));
    assert_eq!(deleted["Operation"]["IsTombstone"], true);
    node.get("/api/documents/orders/a").await.problem(404, "not-found");
    node.delete("/api/documents/orders/a").await.problem(404, "not-found");
}

#[tokio::test]
async fn a_post_takes_the_id_from_the_document() {
    let node = Node::start().await;
    node.post("/api/documents/orders", r#"{"Id":"x/y","n":1}"#).await.expect(200);
    assert_eq!(node.get("/api/documents/orders/x%2Fy").await.expect(200), json!({"Id": "x/y", "n": 1}));
    for body in [r#"{"n":1}"#, r#"{"Id":" "}"#, r#"{"Id":7}"#, r#"{"id":"x"}"#] {
        let problem = node.post("/api/documents/orders", body).await.problem(400, "id-required");
        assert_eq!(problem["Error"], "POST body must include an 'Id' string field.");
    }
}

#[tokio::test]
async fn parent_version_refuses_with_409_and_if_match_with_412() {
    let node = Node::start().await;
    let first = node.put("/api/documents/orders/a", r#"{"n":1}"#).await.expect(200);
    let first = first["Version"].as_str().unwrap().to_owned();
    let second = node.put(&format!("/api/documents/orders/a?parentVersion={first}"), r#"{"n":2}"#).await.expect(200);
    let second = second["Version"].as_str().unwrap().to_owned();
    let problem = node.put(&format!("/api/documents/orders/a?parentVersion={first}"), r#"{"n":3}"#).await;
    let problem = problem.problem(409, "version-mismatch");
    assert_eq!(problem["Error"], format!("Version mismatch for orders/a. Expected '{first}', current is '{second}'."));
    let matched =
        |tag: String| node.ask("PUT", "/api/documents/orders/a").header("If-Match", tag).body(r#"{"n":4}"#).send();
    matched(format!("\"{first}\"")).await.problem(412, "precondition-failed");
    matched(format!("W/\"{second}\"")).await.problem(412, "precondition-failed");
    matched(format!("\"nonsense\", \"{second}\"")).await.expect(200);
    matched("*".to_owned()).await.expect(200);
    let create = |id: &str| {
        node.ask("PUT", &format!("/api/documents/orders/{id}")).header("If-None-Match", "*").body(r#"{"n":5}"#).send()
    };
    create("a").await.problem(412, "precondition-failed");
    create("b").await.expect(200);
    node.ask("DELETE", "/api/documents/orders/b")
        .header("If-Match", "\"x\"")
        .send()
        .await
        .problem(412, "precondition-failed");
    assert_eq!(node.get("/api/documents/orders/b").await.expect(200)["n"].as_u64(), Some(5));
}

#[tokio::test]
async fn a_merge_patch_changes_fields_and_an_increment_adds_exactly() {
    let node = Node::start().await;
    node.put("/api/documents/stock/a", r#"{"name":"Tea","stock":0.1,"old":1}"#).await.expect(200);
    let patched = node.patch("/api/documents/stock/a", r#"{"old":null,"name":"Green tea","$inc":{"stock":0.2}}"#).await;
    let version = patched.expect(200)["Version"].as_str().unwrap().to_owned();
    let got = node.get("/api/documents/stock/a").await;
    assert_eq!(got.text, r#"{"name":"Green tea","stock":0.3,"Id":"a"}"#);
    assert_eq!(got.header("etag"), format!("\"{version}\""));
    node.patch("/api/documents/stock/a", r#"{"$inc":{"name":1}}"#).await.problem(400, "not-a-number");
    node.patch("/api/documents/stock/a", r#"{"$inc":5}"#).await.problem(400, "invalid-increment");
    node.patch("/api/documents/stock/new", r#"{"name":"x"}"#).await.problem(404, "not-found");
    node.patch("/api/documents/stock/new", r#"{"$inc":{"stock":-2}}"#).await.expect(200);
    assert_eq!(node.get("/api/documents/stock/new").await.text, r#"{"stock":-2,"Id":"new"}"#);
}

#[tokio::test]
async fn lists_page_by_place_and_by_key() {
    let node = Node::start().await;
    for index in 0..25 {
        node.put(&format!("/api/documents/items/{index:03}"), format!(r#"{{"n":{index}}}"#)).await.expect(200);
    }
    node.delete("/api/documents/items/003").await.expect(200);
    let list = async |query: &str| node.get(&format!("/api/documents/items{query}")).await.expect(200);
    assert_eq!(list("").await.as_array().unwrap().len(), 24);
    assert_eq!(list("?skip=-5&take=0").await.as_array().unwrap().len(), 24);
    let page = list("?skip=2&take=2").await;
    assert_eq!(page, json!([{"n": 2, "Id": "002"}, {"n": 4, "Id": "004"}]));
    assert_eq!(list("?skip=23&take=99999").await, json!([{"n": 24, "Id": "024"}]));
    assert_eq!(list("?skip=24").await, json!([]));
    let page = list("?limit=10").await;
    assert_eq!(page["Documents"].as_array().unwrap().len(), 10);
    assert_eq!(page["Next"], "010");
    let page = list("?after=010&limit=100").await;
    assert_eq!((page["Documents"].as_array().unwrap().len(), &page["Next"]), (14, &json!(null)));
    assert_eq!(node.get("/api/documents/nothing").await.expect(200), json!([]));
    node.get("/api/documents/items?after=a&skip=1").await.problem(400, "invalid-parameter");
    let reserved = list("?take=1&includeReservedFields=true").await;
    assert_eq!(reserved[0]["_id"], "000");
    assert_eq!(reserved[0]["_sys_deleted"], false);
    assert_eq!(reserved[0]["_sys_version"].as_str().unwrap().len(), 26);
}

#[tokio::test]
async fn a_long_list_is_streamed_whole() {
    let node = Node::start().await;
    let lines: Vec<String> = (0..1_234).map(|index| format!("{{\"Id\":\"{index:05}\"}}")).collect();
    node.post("/api/documents/items/bulk", lines.join("\n")).await.expect(200);
    let all = node.get("/api/documents/items?take=10000").await.expect(200);
    let ids: Vec<&str> = all.as_array().unwrap().iter().map(|item| item["Id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 1_234);
    assert!(ids.is_sorted());
    assert_eq!(node.get("/api/documents/items?skip=100&take=1001").await.expect(200).as_array().unwrap().len(), 1_001);
}

#[tokio::test]
async fn collections_are_named_counted_and_registered() {
    let node = Node::start().await;
    node.ask("POST", "/api/documents/Empty/register").send().await.expect(200);
    node.put("/api/documents/apples/a", "{}").await.expect(200);
    node.put("/api/documents/apples/b", "{}").await.expect(200);
    node.delete("/api/documents/apples/b").await.expect(200);
    assert_eq!(node.get("/api/documents").await.expect(200), json!(["apples", "Empty"]));
    let summaries = node.get("/api/collections").await.expect(200);
    let apples = summaries.as_array().unwrap().iter().find(|summary| summary["Name"] == "apples").unwrap();
    assert_eq!((apples["Count"].as_u64(), apples["Tombstones"].as_u64()), (Some(1), Some(1)));
    assert_eq!(node.get("/api/collections/apples/count").await.expect(200)["Count"].as_u64(), Some(1));
    assert_eq!(node.get("/api/collections/none/count").await.expect(200)["Count"].as_u64(), Some(0));
}

#[tokio::test]
async fn register_and_bulk_are_ids_like_any_other() {
    let node = Node::start().await;
    for id in ["register", "bulk"] {
        let path = format!("/api/documents/orders/{id}");
        node.put(&path, r#"{"n":1}"#).await.expect(200);
        node.patch(&path, r#"{"m":2}"#).await.expect(200);
        assert_eq!(node.get(&path).await.expect(200), json!({"n": 1, "Id": id, "m": 2}));
        node.delete(&path).await.expect(200);
    }
}

#[tokio::test]
async fn ids_are_any_text_and_their_case_counts() {
    let node = Node::start().await;
    for (path, id) in [("A", "A"), ("a", "a"), ("%20", " "), ("%C3%A9%2F%3F%25", "é/?%"), ("..%2F..", "../..")] {
        node.put(&format!("/api/documents/orders/{path}"), json!({"is": id}).to_string()).await.expect(200);
    }
    for (path, id) in [("A", "A"), ("a", "a"), ("%20", " "), ("%C3%A9%2F%3F%25", "é/?%"), ("..%2F..", "../..")] {
        let got = node.get(&format!("/api/documents/orders/{path}")).await.expect(200);
        assert_eq!((&got["is"], &got["Id"]), (&json!(id), &json!(id)));
    }
}

#[tokio::test]
async fn a_history_goes_back_to_the_first_write_page_by_page() {
    let node = Node::start().await;
    for n in 1..=4 {
        node.put("/api/documents/orders/a", json!({"n": n}).to_string()).await.expect(200);
        node.put("/api/documents/orders/other", "{}").await.expect(200);
    }
    node.delete("/api/documents/orders/a").await.expect(200);
    let history = node.get("/api/documents/orders/a/history").await.expect(200);
    let kinds: Vec<&str> =
        history["Operations"].as_array().unwrap().iter().map(|it| it["Kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["delete", "put", "put", "put", "put"]);
    assert_eq!(history["Operations"][1]["Payload"], r#"{"n":4,"Id":"a"}"#);
    assert!(history["Next"].is_null());
    let page = node.get("/api/documents/orders/a/history?limit=2").await.expect(200);
    let next = page["Next"].as_u64().unwrap();
    let rest = node.get(&format!("/api/documents/orders/a/history?from={next}")).await.expect(200);
    assert_eq!(rest["Operations"].as_array().unwrap().len(), 3);
    node.get(&format!("/api/documents/orders/a/history?from={}", next + 1)).await.problem(400, "invalid-parameter");
    node.get("/api/documents/orders/never/history").await.problem(404, "not-found");
}

#[tokio::test]
async fn an_empty_parent_version_is_refused_and_an_empty_after_is_the_first_page() {
    let node = Node::start().await;
    node.put("/api/documents/orders/a", "{}").await.expect(200);
    node.put("/api/documents/orders/a?parentVersion=", "{\"x\":1}").await.problem(400, "invalid-parameter");
    node.delete("/api/documents/orders/a?parentVersion=").await.problem(400, "invalid-parameter");
    assert_eq!(node.get("/api/documents/orders?after=").await.text, r#"{"Documents":[{"Id":"a"}],"Next":null}"#);
}

#[tokio::test]
async fn a_patch_neither_stores_operators_nor_changes_what_the_node_keeps() {
    let node = Node::start().await;
    node.put("/api/documents/orders/a", r#"{"n":1,"$set":1}"#).await.expect(200);
    let before = node.get("/api/documents/orders/a").await.text;
    for (patch, code, hint) in [
        (r#"{"$inc":{"_id":1,"_sys_version":2}}"#, "invalid-increment", "'_id'"),
        (r#"{"$Inc":{"n":1}}"#, "unknown-operator", "Did you mean '$inc'?"),
        (r#"{"$set":{"n":1}}"#, "unknown-operator", "PUT"),
        (r#"{"n":{"$inc":1}}"#, "misplaced-operator", r#"{"$inc": {"n": 1}}"#),
        (r#"{"m":{"n":{"$inc":1}}}"#, "misplaced-operator", "top of a patch"),
        (r#"{"n":{"$serde_json::private::Number":"12"}}"#, "reserved-key", "Rename"),
    ] {
        let problem = node.patch("/api/documents/orders/a", patch).await.problem(400, code);
        assert!(problem["detail"].as_str().unwrap().contains(hint), "{problem}");
    }
    assert_eq!(node.get("/api/documents/orders/a").await.text, before);
    let inner = r#"{"Id":"b","a":{"$serde_json::private::Number":"12"}}"#;
    let change = format!(r#"{{"Operations":[{{"Op":"put","Collection":"orders","Id":"b","Document":{inner}}}]}}"#);
    node.post("/api/transactions", change).await.problem(400, "reserved-key");
    let told = node.post("/api/documents/orders/bulk", inner).await.expect(200);
    assert_eq!(told["Results"][0]["Code"], "reserved-key");
}
