//! A leader and its followers as others meet them: clients that write to whichever is near, operators that want to be told,
//! lines that nobody may listen to.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use holdfast_tests::cluster::{SOON, wait_for, wait_until_equal};
use serde_json::{Value, json};

use crate::replicas::{ask, follower, leader, put, run, until, until_following};

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_passes_writes_on_where_it_is_told_to_and_the_leader_judges_them() {
    let leading = run(leader("office"));
    let following = run(follower("branch", &leading).await.with("Replication:ForwardWrites", "true"));
    until_following(&following).await;
    let here = following.client("shop");
    let written = here.put("/api/documents/orders/o-1", r#"{"n": 1}"#).await.expect(200);
    assert_eq!(written["Operation"]["NodeId"], "office", "{written}");
    here.patch("/api/documents/orders/o-1", r#"{"$inc": {"n": 2}}"#).await.expect(200);
    here.post("/api/documents/orders/bulk", "{\"Id\": \"b-1\", \"n\": 4}\n").await.expect(200);
    here.post("/api/query", r#"{"Query": "UPDATE orders SET n = 9 WHERE Id = 'b-1'"}"#).await.expect(200);
    wait_until_equal(&[&leading, &following], "shop").await;
    assert_eq!(here.document("orders", "o-1").await.unwrap()["n"], 3);
    assert_eq!(here.document("orders", "b-1").await.unwrap()["n"], 9);
    // What the leader refuses is refused in its words, and a key that is none stays none.
    let parent = here.put("/api/documents/orders/o-1?parentVersion=other", "{}").await;
    parent.problem(409, "version-mismatch");
    let stranger = here.clone().with_key("no-such-key");
    assert_eq!(stranger.put("/api/documents/orders/o-2", "{}").await.status.as_u16(), 401);
    // What operators say to this node is its own affair.
    following.client("none").post("/replication/handover", "{}").await.problem(409, "not-the-leader");
    ask(&leading, "read-only", json!({})).await;
    here.put("/api/documents/orders/o-3", "{}").await.problem(503, "read-only");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_told_who_leads() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/leader", listener.local_addr().unwrap());
    let told = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut text = Vec::new();
        let mut room = [0; 4_096];
        while !String::from_utf8_lossy(&text).contains("nowMillis") {
            let count = stream.read(&mut room).unwrap();
            assert!(count > 0, "it broke off after {}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&room[..count]);
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        let text = String::from_utf8(text).unwrap();
        let body = text.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str::<Value>(body).unwrap()
    });
    let leading = run(leader("office"));
    let following = run(follower("branch", &leading).await.with("Replication:Webhook", &address));
    until_following(&following).await;
    ask(&leading, "handover", json!({})).await;
    let told = tokio::task::spawn_blocking(move || told.join().unwrap()).await.unwrap();
    assert_eq!(
        (&told["event"], &told["node"], &told["epoch"]),
        (&json!("leader"), &json!("branch"), &json!(2)),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_encrypted_where_both_want_it_and_neither_falls_back() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let files = tempfile::tempdir().unwrap();
    let (certificate, key) = (files.path().join("node.pem"), files.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let with_files = |home: holdfast_tests::cluster::Home| {
        home.with("Replication:Tls:Enabled", "true")
            .with("Replication:Tls:CertificatePath", &certificate.to_string_lossy())
            .with("Replication:Tls:KeyPath", &key.to_string_lossy())
            .with("Replication:Tls:CaPath", &certificate.to_string_lossy())
    };
    let leading = run(with_files(leader("office")));
    let following = run(with_files(follower("branch", &leading).await));
    put(&leading.client("shop"), "o-1", 1).await;
    until_following(&following).await;
    wait_until_equal(&[&leading, &following], "shop").await;
    ask(&leading, "handover", json!({})).await;
    until("the old leader follows, over TLS too", &leading, |status| status["follower"]["state"] == "streaming").await;
    // One without it is refused, and learns nothing.
    let plain = run(follower("plain", &following).await);
    until("it is not let in", &plain, |status| status["follower"]["lastError"].is_string()).await;
    assert!(plain.client("shop").everything().await.is_empty());
    wait_for("the leader says why", SOON, async || {
        let lines = following.home().log_lines("a connection to the replication port was refused");
        if lines.is_empty() { Err("no line".to_owned()) } else { Ok(()) }
    })
    .await;
}
