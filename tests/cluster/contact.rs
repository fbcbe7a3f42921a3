//! What a node makes of hearing its peers, of not hearing them, and of hearing itself.

use std::time::Duration;

use holdfast_tests::cluster::{Home, SOON, introduce, register, wait_for, wait_until_equal};
use serde_json::Value;

/// Far less than the wait after many failures.
const AT_ONCE: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_back_and_calls_is_not_called_failing_until_the_wait_is_over() {
    // Its address stays the same, so that nobody has to be told of it.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let homes = [Home::new("left"), Home::new("right").with("Urls", &format!("http://127.0.0.1:{port}"))];
    let (left, right) = (homes[0].start(), homes[1].start());
    introduce((&left, &left.url), (&right, &right.url)).await;
    left.client("shop").put("/api/documents/stock/tea", "{}").await.expect(200);
    wait_until_equal(&[&left, &right], "shop").await;
    right.kill();
    left.client("shop").put("/api/documents/stock/salt", "{}").await.expect(200);
    // Failures so many that the next wait is 16 seconds or longer.
    wait_for("it has waited long", SOON, async || {
        let told = left.client("shop").peer_status("right").await?;
        if told["Failures"].as_u64() >= Some(5) { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    let right = homes[1].start();
    wait_for("it is not called failing", AT_ONCE, async || {
        let told = left.client("shop").peer_status("right").await?;
        if told["State"] == "Failing" { Err(told.to_string()) } else { Ok(()) }
    })
    .await;
    wait_until_equal(&[&left, &right], "shop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_a_member_is_silent_is_kept_over_a_restart() {
    let homes = ["first", "second", "third"].map(|name| Home::new(name).with("Node:SweepIntervalSeconds", "1"));
    let [first, second, third] = homes.each_ref().map(Home::start);
    introduce((&first, &first.url), (&second, &second.url)).await;
    introduce((&first, &first.url), (&third, &third.url)).await;
    let client = first.client("shop");
    for node in [&first, &second, &third] {
        node.client("shop").put(&format!("/api/documents/stock/{}", node.name()), "{}").await.expect(200);
    }
    wait_until_equal(&[&first, &second, &third], "shop").await;
    third.pause();
    let silence = async |client: &holdfast_tests::cluster::Client| -> u64 {
        let told = client.get("/api/replication/members").await.expect(200);
        let members = told["Members"].as_array().unwrap().clone();
        let of_third = members.iter().find(|one| one["NodeId"] == "third").unwrap();
        of_third["LeaseSilenceSeconds"].as_u64().unwrap_or_else(|| panic!("{told}"))
    };
    wait_for("its silence counts, for two of three are in contact", SOON, async || {
        let silent = silence(&client).await;
        if silent >= 3 { Ok(()) } else { Err(format!("{silent} s")) }
    })
    .await;
    let before = silence(&client).await;
    first.stop();
    let first = homes[0].start();
    assert!(silence(&first.client("shop")).await >= before);
    // And is over once it has spoken.
    third.resume();
    register(&first, "third", &third.url).await;
    register(&third, "first", &first.url).await;
    wait_for("it has spoken", SOON, async || {
        let silent = silence(&first.client("shop")).await;
        if silent == 0 { Ok(()) } else { Err(format!("{silent} s")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_told_its_own_address_as_a_peers_says_so() {
    let home = Home::new("alone");
    let alone = home.start();
    alone.client("shop").put("/api/documents/stock/tea", "{}").await.expect(200);
    register(&alone, "somebody", &alone.url).await;
    wait_for("it says what is wrong", SOON, async || {
        let told = alone.client("shop").peer_status("somebody").await?;
        let reason = told["StateReason"].as_str().unwrap_or_default();
        let is_told = reason.contains("leads to this node itself") && reason.contains("peers remove somebody");
        if told["State"] == "Failing" && is_told { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_is_among_what_happened_to_a_nodes_identity() {
    let home = Home::new("before");
    let node = home.start();
    node.client("shop").put("/api/documents/stock/tea", "{}").await.expect(200);
    node.stop();
    let renamed = Home::new("after").with_data_in(home.data());
    let node = renamed.start();
    let status: Value = node.client("shop").get("/api/replication/status").await.expect(200);
    let events = status["IdentityEvents"].as_array().unwrap();
    let is_told = |event: &Value| event["What"].as_str().is_some_and(|what| what.contains("renamed, it was 'before'"));
    assert!(events.iter().any(is_told), "{status}");
}
