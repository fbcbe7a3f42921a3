//! Indexes over HTTP: made, listed, built, violated, dropped.

use serde_json::{Value, json};

use crate::node::Node;

async fn node() -> Node {
    let node = Node::start_with(Vec::new(), |_| {}).await;
    for n in 0..50 {
        let body = json!({"n": n % 7, "mail": format!("M{n}@x"), "tags": ["a", n]}).to_string();
        node.put(&format!("/api/documents/people/{n}"), body).await.expect(200);
    }
    node
}

/// An index, once it is built.
async fn ready(node: &Node, name: &str) -> Value {
    loop {
        let index = node.get(&format!("/api/indexes/{name}")).await.expect(200);
        if index["State"] != "Building" {
            return index;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_index_is_made_built_listed_and_dropped() {
    let node = node().await;
    let body = json!({"Name": "by_n", "Collection": "people", "Paths": ["$.n", "tags[*]"]}).to_string();
    let made = node.post("/api/indexes", body.clone()).await.expect(201);
    assert_eq!(made["Paths"], json!(["$.n", "$.tags[*]"]));
    node.post("/api/indexes", body).await.expect(200);
    let index = ready(&node, "by_n").await;
    assert_eq!((&index["State"], &index["Entries"], &index["Documents"]), (&json!("Ready"), &json!(100), &json!(50)));
    let other = r#"{"Name":"by_n","Collection":"people","Path":"$.m"}"#;
    node.post("/api/indexes", other).await.problem(409, "index-exists");
    let unnamed = node.post("/api/indexes", r#"{"Collection":"people","Path":"$.Home.Town"}"#).await.expect(201);
    assert_eq!(unnamed["Name"], "people_Home_Town");
    let names = |list: Value| list.as_array().unwrap().iter().map(|it| it["Name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(node.get("/api/indexes").await.expect(200)), ["by_n", "people_Home_Town"]);
    assert_eq!(names(node.get("/api/indexes?collection=other").await.expect(200)), [""; 0]);
    node.delete("/api/indexes/by_n").await.expect(204);
    node.delete("/api/indexes/by_n").await.problem(404, "index-not-found");
    node.get("/api/indexes/by_n").await.problem(404, "index-not-found");
    let shown = node.get("/api/collections").await.expect(200);
    assert_eq!(names(shown), ["people"], "definitions are no collection of documents");
    let shown = node.get("/api/documents?includeSystemCollections=true").await.expect(200);
    assert_eq!(shown, json!(["people"]));
}

#[tokio::test]
async fn definitions_are_written_by_no_other_route() {
    let node = node().await;
    let definition = r#"{"Collection":"people","Paths":["$.n"]}"#;
    node.put("/api/documents/_indexes/x", definition).await.problem(403, "reserved-collection");
    node.post("/api/documents/_indexes/bulk", r#"{"Id":"x"}"#).await.problem(403, "reserved-collection");
    let operations = json!({"operations": [{"op": "put", "collection": "_indexes", "id": "x", "document": {}}]});
    node.post("/api/transactions", operations.to_string()).await.problem(403, "reserved-collection");
    for (body, code) in [
        (r#"{"Collection":"people","Paths":[]}"#, "invalid-index"),
        (r#"{"Collection":"people","Paths":["$.a","a"]}"#, "invalid-index"),
        (r#"{"Collection":"people","Path":"$.a[?(@.b)]"}"#, "invalid-index-path"),
        (r#"{"Collection":"people","Path":"$"}"#, "invalid-index-path"),
        (r#"{"Name":"a b","Collection":"people","Path":"$.a"}"#, "invalid-index-name"),
        (r#"{"Collection":"people","Path":"$.a","Paths":["$.b"]}"#, "invalid-index"),
    ] {
        node.post("/api/indexes", body).await.problem(400, code);
    }
    node.post("/api/indexes", r#"{"Collection":"_indexes","Path":"$.a"}"#).await.problem(403, "reserved-collection");
}

#[tokio::test]
async fn a_unique_index_refuses_duplicates_when_it_is_made_and_afterwards() {
    let node = node().await;
    let duplicated =
        node.post("/api/indexes", r#"{"Name":"u","Collection":"people","Path":"$.n","IsUnique":true}"#).await;
    let problem = duplicated.problem(409, "duplicate-values");
    assert_eq!(problem["duplicates"][0], json!(["0", "14", "21", "28", "35", "42", "49", "7"]));
    node.get("/api/indexes/u").await.problem(404, "index-not-found");
    let body = r#"{"Name":"mail","Collection":"people","Path":"$.mail","IsUnique":true,"IsCaseInsensitive":true}"#;
    node.post("/api/indexes", body).await.expect(201);
    ready(&node, "mail").await;
    let refused = node.put("/api/documents/people/new", r#"{"mail":"m7@X"}"#).await.problem(409, "not-unique");
    assert_eq!((&refused["index"], &refused["otherId"]), (&json!("mail"), &json!("7")));
    node.get("/api/documents/people/new").await.problem(404, "not-found");
    node.delete("/api/documents/people/7").await.expect(200);
    node.put("/api/documents/people/new", r#"{"mail":"m7@X"}"#).await.expect(200);
}
