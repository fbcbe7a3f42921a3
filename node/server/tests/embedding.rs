//! A node inside a program: what the example shows, and what goes wrong.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../examples/leader_and_follower.rs"]
#[allow(dead_code)]
mod leader_and_follower;

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use holdfast::embedded::{EmbeddedNode, GroupEvent, GroupEvents, NodeOptions, OpenError};
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);

fn options(name: &str, home: &tempfile::TempDir) -> NodeOptions {
    NodeOptions::new(name, home.path().join(name)).set("Replication:Port", "0")
}

async fn until(news: &mut GroupEvents, is: impl Fn(&GroupEvent) -> bool) -> GroupEvent {
    let heard = async {
        loop {
            let event = news.next().await.expect("the node has ended");
            if is(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(SOON, heard).await.expect("it was not heard of")
}

/// A leader and a follower that is connected to it.
async fn pair(home: &tempfile::TempDir) -> (EmbeddedNode, EmbeddedNode) {
    let leading = EmbeddedNode::open(options("a", home)).await.unwrap();
    let port = leading.start_logical_replication_server(0, Some("given")).await.unwrap();
    let following = EmbeddedNode::open(options("b", home)).await.unwrap();
    let mut news = following.events();
    following.start_logical_replication_follower("127.0.0.1", port, Some("given")).unwrap();
    until(&mut news, |event| matches!(event, GroupEvent::Follows { .. })).await;
    (leading, following)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_runs_to_its_end() {
    let home = tempfile::tempdir().unwrap();
    leader_and_follower::run(home.path()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_written_read_and_asked_for_without_a_socket() {
    let home = tempfile::tempdir().unwrap();
    let node = EmbeddedNode::open(options("a", &home)).await.unwrap();
    assert!(node.urls().is_empty() && node.name() == "a");
    let shop = node.database("shop");
    assert_eq!(shop.get("orders", "o-1").await.unwrap(), None, "there is no such database yet");
    let first = shop.put("orders", "o-1", r#"{"Price": 1.10, "Name": "tea / green"}"#).await.unwrap();
    let found = shop.get("orders", "o-1").await.unwrap().unwrap();
    assert_eq!(found.version, first.version);
    assert!(found.json.contains("1.10"), "every digit is kept: {}", found.json);
    shop.patch("orders", "o-1", r#"{"$inc": {"Stock": 4}}"#).await.unwrap();
    let made = shop.insert("orders", r#"{"Name": "no id"}"#).await.unwrap();
    assert_eq!(made.id.len(), 26, "an id was made: {}", made.id);
    let taken = shop.insert("orders", r#"{"Id": "o-1"}"#).await.unwrap_err();
    assert_eq!((taken.status(), taken.is_read_only()), (412, false), "{taken:?}");
    let parameters = json!({"name": "no id"});
    let rows =
        shop.execute_with("SELECT Id FROM orders WHERE Name = @name", parameters.as_object().unwrap()).await.unwrap();
    assert_eq!(rows.rows, [json!({"Id": made.id})]);
    let operations = json!([
        {"op": "put", "collection": "orders", "id": "o-2", "document": {"n": 2}},
        {"op": "delete", "collection": "orders", "id": "o-1"}]);
    let token = shop.transact(&operations).await.unwrap();
    assert_eq!(shop.get_after("orders", "o-1", &token, SOON).await.unwrap(), None);
    assert_eq!(shop.delete("orders", "o-1").await.unwrap_err().code(), "not-found");
    // Whatever has no method of its own, without a key.
    let request = Request::put("/api/cache/k?ttl=5m").header("Database", "shop").body(Body::from("\"v\"")).unwrap();
    let answer = node.request(request).await;
    assert!(answer.status().is_success(), "{answer:?}");
    let answer = node.request(Request::get("/replication/status").body(Body::empty()).unwrap()).await;
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("\"role\":\"none\""), "{body:?}");
    node.close().await;
    assert_eq!(shop.get("orders", "o-2").await.unwrap_err().code(), "node-closed");
    // The directory is free, and holds what was written.
    let again = EmbeddedNode::open(options("a", &home)).await.unwrap();
    assert!(again.database("shop").get("orders", "o-2").await.unwrap().is_some());
    again.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_network_a_key_is_needed_all_the_same() {
    let home = tempfile::tempdir().unwrap();
    let options = options("a", &home).http("http://127.0.0.1:0").root_key("a-root-key-of-the-program");
    assert!(!format!("{options:?}").contains("a-root-key"));
    let node = EmbeddedNode::open(options).await.unwrap();
    node.database("shop").put("orders", "o-1", "{}").await.unwrap();
    let url = format!("{}/api/documents/orders/o-1", node.urls().first().unwrap());
    let client = reqwest::Client::new();
    let asked = |key: Option<&'static str>| {
        let request = client.get(&url).header("Database", "shop");
        key.into_iter().fold(request, |request, key| request.header("ApiKey", key)).send()
    };
    assert_eq!(asked(None).await.unwrap().status(), 401);
    assert_eq!(asked(Some("root")).await.unwrap().status(), 401);
    assert_eq!(asked(Some("a-root-key-of-the-program")).await.unwrap().status(), 200);
    node.close().await;
    assert!(asked(None).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_that_is_not_caught_up_with_in_time_ends_with_writes_taken_again() {
    let home = tempfile::tempdir().unwrap();
    let (leading, following) = pair(&home).await;
    leading.database("shop").put("orders", "o-1", "{}").await.unwrap();
    let refused = leading.begin_planned_handover(|| 0, Duration::from_millis(200)).await.unwrap_err();
    assert!(refused.to_string().contains("did not catch up in time"), "{refused}");
    assert!(!leading.is_read_only());
    leading.database("shop").put("orders", "o-2", "{}").await.unwrap();
    // The same when whoever asked stops waiting.
    let given_up = tokio::time::timeout(Duration::from_millis(200), leading.begin_planned_handover(|| 0, SOON)).await;
    assert!(given_up.is_err());
    leading.database("shop").put("orders", "o-3", "{}").await.unwrap();
    let denied = following.promote_to_leader(0).await.unwrap_err();
    assert!(denied.to_string().contains("the leader was heard"), "{denied}");
    leading.close().await;
    following.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_planned_handover_the_follower_needs_no_force_and_nothing_is_lost() {
    let home = tempfile::tempdir().unwrap();
    let (old, new) = pair(&home).await;
    for n in 0..50 {
        old.database("shop").put("orders", &format!("o-{n}"), "{}").await.unwrap();
    }
    let mut news = old.events();
    let last = old.begin_planned_handover(|| new.follower_last_seq(), SOON).await.unwrap();
    // What the nodes note about each other counts too.
    assert!(last >= 50 && last == old.leader_current_seq(), "{last}");
    let refused = old.database("shop").put("orders", "late", "{}").await.unwrap_err();
    assert!(refused.is_read_only(), "{refused:?}");
    new.promote_to_leader(0).await.unwrap();
    for n in 50..52 {
        new.database("shop").put("orders", &format!("o-{n}"), "{}").await.unwrap();
    }
    until(&mut news, |event| matches!(event, GroupEvent::SteppedDown { .. })).await;
    until(&mut news, |event| matches!(event, GroupEvent::Follows { .. })).await;
    let token = new.database("shop").put("orders", "o-52", "{}").await.unwrap().token;
    assert!(old.database("shop").get_after("orders", "o-52", &token, SOON).await.unwrap().is_some());
    assert_eq!((old.replication_role(), new.replication_role()), ("follower", "leader"));
    assert!(new.leader_current_seq() >= last + 3 && old.follower_last_seq() >= last + 3);
    assert_eq!(old.gaps_detected(), 0);
    assert_eq!(new.logical_follower_count(), 1);
    // That writes were stopped there ended with its lead.
    let mut news = new.events();
    new.hand_over(None, SOON).await.unwrap();
    until(&mut news, |event| matches!(event, GroupEvent::Follows { .. })).await;
    assert!(!old.is_read_only());
    old.database("shop").put("orders", "o-53", "{}").await.unwrap();
    assert!(new.last_leader_message().is_some_and(|ago| ago < SOON));
    old.close().await;
    new.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_tells_how_many_followers_have_it() {
    let home = tempfile::tempdir().unwrap();
    let (leading, following) = pair(&home).await;
    assert_eq!(leading.database("shop").put("orders", "o-1", "{}").await.unwrap().replicas, None);
    leading.set_min_sync_replicas(1, SOON).unwrap();
    let replicas = leading.database("shop").put("orders", "o-2", "{}").await.unwrap().replicas.unwrap();
    assert!(replicas.is_enough() && replicas.achieved == 1);
    following.close().await;
    leading.set_min_sync_replicas(1, Duration::from_millis(50)).unwrap();
    let replicas = leading.database("shop").put("orders", "o-3", "{}").await.unwrap().replicas.unwrap();
    assert!(!replicas.is_enough(), "{replicas:?}");
    leading.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_says_why() {
    let home = tempfile::tempdir().unwrap();
    let wrong = options("a", &home).set("Replication:Prot", "1").set("Replication:Role", "boss");
    let problems = EmbeddedNode::open(wrong).await.unwrap_err().to_string();
    assert!(problems.contains("Replication:Port") && problems.contains("boss"), "{problems}");
    let first = EmbeddedNode::open(options("a", &home)).await.unwrap();
    let second = EmbeddedNode::open(options("a", &home)).await.unwrap_err();
    assert!(matches!(second, OpenError::Start(_)), "{second}");
    let twice = first
        .start_logical_replication_server(0, None)
        .await
        .and(first.start_logical_replication_server(0, None).await);
    assert!(twice.unwrap_err().to_string().contains("leads already"));
    let too_short = first.enable_auto_failover(None, Duration::from_millis(10), |_| {}).unwrap_err();
    assert!(too_short.to_string().contains("a second"), "{too_short}");
    first.disable_auto_failover().unwrap();
    first.close().await;
}

#[tokio::test]
async fn a_runtime_with_one_thread_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let refused = EmbeddedNode::open(options("a", &home)).await.unwrap_err();
    assert!(matches!(refused, OpenError::Runtime) && refused.to_string().contains("several threads"), "{refused}");
}
