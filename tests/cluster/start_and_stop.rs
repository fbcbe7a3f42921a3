//! Starting and stopping: who may start where, and what a stop leaves behind.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use holdfast_tests::cluster::{Home, SOON, wait_for};
use holdfast_tests::seed::Seed;

use crate::ledger::{End, Ledger};

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_ends_well_and_leaves_nothing_to_replay() {
    let home = Home::new("till-1");
    let ledger = Arc::new(Ledger::default());
    let mut seed = Seed::new(2);
    for _ in 0..3 {
        let node = home.start();
        let client = node.client("shop");
        let before = ledger.count();
        let writers = ledger.start_writers(&client, 16, &mut seed, &Arc::new(AtomicBool::new(false)));
        wait_for("writers have written", SOON, async || {
            if ledger.count() > before + 200 { Ok(()) } else { Err(format!("{} documents", ledger.count())) }
        })
        .await;
        // Blocks this thread alone; the writers have others.
        tokio::task::block_in_place(|| node.stop());
        for writer in writers {
            let end = writer.await.unwrap();
            assert!(end == End::Lost || end == End::Refused(503, "stopping".to_owned()), "{end:?}");
        }
        let node = home.start();
        let opened = home.log_lines("replayed=");
        assert!(opened.iter().all(|line| line.contains("replayed=0")), "{opened:?}");
        ledger.check(&node.client("shop")).await;
        node.stop();
    }
    home.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_directory_is_refused_and_told_who_holds_it() {
    let home = Home::new("till-1");
    let node = home.start();
    node.client("shop").put("/api/documents/products/tea", "{}").await.expect(200);
    let second = home.run(&["serve"]);
    let told = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("process {}", node.id())) && told.contains("till-1"), "{told}");
    // The first one has not noticed.
    node.client("shop").get("/api/documents/products/tea").await.expect(200);
    node.stop();
    home.start().stop();
}

#[test]
fn default_keys_on_an_address_that_others_reach_are_refused() {
    for (key, setting) in [("Auth:RootApiKey", "Auth:RootApiKey"), ("Node:ReplicationApiKey", "Node:ReplicationApiKey")]
    {
        let home = Home::new("till-1").without(key);
        let refused = home.run(&["serve", "--urls", "http://0.0.0.0:0"]);
        let told = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{told}");
        assert!(told.contains(setting), "{told}");
        assert!(!home.data().exists(), "a refused start leaves nothing behind");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_answered_before_the_node_stops() {
    let home = Home::new("till-1");
    let node = home.start();
    let client = node.client("shop");
    client.put("/api/documents/products/tea", r#"{"N":1}"#).await.expect(200);
    // A request that has begun to arrive when the signal comes.
    let address = node.url.trim_start_matches("http://").to_owned();
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    let body = r#"{"N":2}"#;
    let head = format!(
        "PUT /api/documents/products/tea HTTP/1.1\r\nHost: {address}\r\nDatabase: shop\r\nApiKey: {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        holdfast_tests::cluster::ROOT_KEY,
        body.len()
    );
    std::io::Write::write_all(&mut stream, format!("{head}{}", &body[..3]).as_bytes()).unwrap();
    // The head has arrived when a later connection has been answered.
    client.get("/healthz").await.expect(200);
    let stopping = std::thread::spawn(move || node.stop());
    wait_for("the node stops listening", SOON, async || match std::net::TcpStream::connect(&address) {
        Ok(_) => Err("it still listens".to_owned()),
        Err(_) => Ok(()),
    })
    .await;
    std::io::Write::write_all(&mut stream, &body.as_bytes()[3..]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut answer = String::new();
    let _ = std::io::Read::read_to_string(&mut stream, &mut answer);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stopping.join().unwrap();
    let node = home.start();
    assert_eq!(node.client("shop").document("products", "tea").await.unwrap()["N"], 2);
}
