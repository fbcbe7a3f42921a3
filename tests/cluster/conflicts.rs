//! Two nodes write the same documents while the line between them is cut, each with its own way to settle conflicts.

use holdfast_tests::cluster::{Client, Home, Line, Node, ROOT_KEY, SOON, introduce, wait_for, wait_until_equal};
use serde_json::{Value, json};

/// Collections with a policy of their own; all others follow the last writer.
const AT_LEFT: [(&str, &str); 3] = [("merged", "MergeFields"), ("kept", "KeepLocal"), ("incoming", "ApplyIncoming")];
const AT_RIGHT: [(&str, &str); 1] = [("merged", "MergeFields")];

fn home(name: &str, policies: &[(&str, &str)]) -> Home {
    policies.iter().enumerate().fold(Home::new(name), |home, (place, (collection, policy))| {
        home.with(&format!("Node:CollectionConflictPolicies:{place}:Collection"), collection)
            .with(&format!("Node:CollectionConflictPolicies:{place}:Policy"), policy)
    })
}

/// Runs a command that must succeed, and gives what it prints.
fn told(home: &Home, arguments: &[&str]) -> String {
    let output = tokio::task::block_in_place(|| home.run(arguments));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {out}{err}");
    out.into_owned()
}

async fn put(client: &Client, collection: &str, document: Value) {
    client.put(&format!("/api/documents/{collection}/1"), &document.to_string()).await.expect(200);
}

async fn conflicts(client: &Client, state: &str) -> Vec<Value> {
    let listed = client.get(&format!("/api/conflicts?state={state}")).await.expect(200);
    listed["Conflicts"].as_array().unwrap().clone()
}

fn in_collection<'a>(conflicts: &'a [Value], collection: &str) -> &'a Value {
    let found = conflicts.iter().find(|conflict| conflict["Collection"] == collection);
    found.unwrap_or_else(|| panic!("no conflict of '{collection}' in {conflicts:?}"))
}

async fn wait_until_shown(client: &Client, collection: &str, price: u64, name: &str) {
    let look = async || {
        let shown = client.document(collection, "1").await.unwrap_or_default();
        let is_expected = shown["Price"] == price && shown["Name"] == name;
        if is_expected { Ok(()) } else { Err(format!("{collection} shows {shown}")) }
    };
    wait_for(&format!("{collection} shows what its policy says"), SOON, look).await;
}

/// Waits until only the conflict of `collection` is open at a node, or none.
async fn wait_until_open(client: &Client, collections: &[&str]) {
    let look = async || {
        let open = conflicts(client, "open").await;
        let named: Vec<&str> = open.iter().filter_map(|conflict| conflict["Collection"].as_str()).collect();
        if named == collections { Ok(()) } else { Err(format!("open: {named:?}")) }
    };
    wait_for(&format!("{collections:?} are in conflict"), SOON, look).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_both_sides_of_a_cut_are_settled_as_each_policy_says_and_end_equal() {
    let homes = [home("left", &AT_LEFT), home("right", &AT_RIGHT)];
    let (left, right) = (homes[0].start(), homes[1].start());
    let (to_left, to_right) = (Line::to(&left.url).await, Line::to(&right.url).await);
    introduce((&left, &to_left.url()), (&right, &to_right.url())).await;
    let (at_left, at_right) = (left.client("shop"), right.client("shop"));
    let all = ["plain", "merged", "kept", "incoming"];
    for collection in all {
        put(&at_left, collection, json!({"Price": 1, "Name": "tea"})).await;
    }
    wait_until_equal(&[&left, &right], "shop").await;

    to_left.cut();
    to_right.cut();
    for collection in ["plain", "merged", "kept"] {
        put(&at_left, collection, json!({"Price": 2, "Name": "tea"})).await;
        put(&at_right, collection, json!({"Price": 1, "Name": "chai"})).await;
    }
    // The one that the last writer would lose.
    put(&at_right, "incoming", json!({"Price": 1, "Name": "chai"})).await;
    put(&at_left, "incoming", json!({"Price": 2, "Name": "tea"})).await;
    to_left.heal();
    to_right.heal();

    let expected = [("plain", 1, "chai"), ("merged", 2, "chai"), ("kept", 2, "tea"), ("incoming", 1, "chai")];
    for client in [&at_left, &at_right] {
        for (collection, price, name) in expected {
            wait_until_shown(client, collection, price, name).await;
        }
        wait_until_open(client, &["plain"]).await;
    }
    wait_until_equal(&[&left, &right], "shop").await;
    let closed = conflicts(&at_left, "closed").await;
    let merged = in_collection(&closed, "merged");
    assert_eq!((&merged["Policy"], &merged["AncestorState"]), (&json!("MergeFields"), &json!("Found")));
    assert_eq!(merged["LocalPayload"], r#"{"Price":2,"Name":"tea","Id":"1"}"#);

    let open = conflicts(&at_right, "open").await;
    let plain = in_collection(&open, "plain");
    assert_eq!(conflicts(&at_left, "open").await[0]["Id"], plain["Id"], "both know it by one name");
    let id = plain["Id"].as_str().unwrap();
    let path = format!("/api/conflicts/{id}");
    // At the command line, as a person does it.
    let of_right = ["-d", "shop", "--url", &right.url, "--key", ROOT_KEY];
    let listed = told(&homes[1], &[&["conflicts", "list"], of_right.as_slice()].concat());
    assert!(listed.contains(id) && listed.contains("1 open"), "{listed}");
    let choose = ["conflicts", "resolve", id, "--choose", plain["IncomingOperationId"].as_str().unwrap()];
    let settled = told(&homes[1], &[&choose, of_right.as_slice()].concat());
    assert!(settled.contains("settled"), "{settled}");
    for client in [&at_left, &at_right] {
        wait_until_open(client, &[]).await;
        assert_eq!(client.get(&path).await.expect(200)["State"], "Closed");
    }
    wait_until_equal(&[&left, &right], "shop").await;
    assert_eq!(at_left.document("plain", "1").await.unwrap()["Price"], 2);
    [left, right].into_iter().for_each(Node::stop);
    homes.iter().for_each(Home::assert_sound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_nobody_knows_is_refused_at_the_start() {
    let home = home("left", &[("stock", "Latest")]);
    let refused = home.run(&["serve"]);
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("Node:CollectionConflictPolicies:0:Policy") && told.contains("MergeFields"), "{told}");
}
