//! A write's token, taken to another node: it waits for the write, or says that it has not come.

use std::time::Duration;

use holdfast_tests::cluster::{Client, Home, Line, Node, Weather, introduce, register, times};
use holdfast_tests::seed::Seed;
use serde_json::Value;

/// Two nodes with a line to each, which can be cut.
struct Pair {
    left: Node,
    right: Node,
    to_left: Line,
    to_right: Line,
    at_left: Client,
    at_right: Client,
    _homes: [Home; 2],
}

impl Pair {
    async fn of_strangers() -> Self {
        let homes = ["left", "right"].map(Home::new);
        let [left, right] = homes.each_ref().map(Home::start);
        let (to_left, to_right) = (Line::to(&left.url).await, Line::to(&right.url).await);
        let (at_left, at_right) = (left.client("shop"), right.client("shop"));
        Self { left, right, to_left, to_right, at_left, at_right, _homes: homes }
    }

    /// They know each other by their lines.
    async fn introduced() -> Self {
        let pair = Self::of_strangers().await;
        introduce((&pair.left, &pair.to_left.url()), (&pair.right, &pair.to_right.url())).await;
        pair
    }
}

fn token(written: &Value) -> String {
    written["Token"].as_str().expect("a write answers with its token").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_reads_the_write_on_the_other_node_or_nothing() {
    let pair = Pair::introduced().await;
    let Pair { to_left, to_right, at_left, at_right, .. } = &pair;

    // The database is new on the left and unknown on the right: the very first read waits for both.
    for number in 0..50 {
        let written = at_left.put("/api/documents/orders/1", &format!("{{\"N\":{number}}}")).await.expect(200);
        let path = format!("/api/documents/orders/1?timeout=30s&token={}", token(&written));
        assert_eq!(at_right.get(&path).await.expect(200)["N"], number);
        let wait = format!("/api/replication/wait?timeout=30s&token={}", token(&written));
        let waited = at_left.get(&wait).await.expect(200);
        assert_eq!((&waited["PeersReached"], &waited["Nodes"]), (&1.into(), &serde_json::json!(["right"])));
    }

    to_left.cut();
    to_right.cut();
    let written = at_left.put("/api/documents/orders/1", r#"{"N":"cut"}"#).await.expect(200);
    let token = token(&written);
    let path = format!("/api/documents/orders/1?timeout=200ms&token={token}");
    at_right.get(&path).await.problem(503, "not-here-yet");
    let late = at_left.get(&format!("/api/replication/wait?timeout=200ms&token={token}")).await.expect(202);
    assert_eq!(late["Missing"], serde_json::json!(["right"]));
    to_left.heal();
    to_right.heal();
    expect_on_both(at_left, at_right, &token, "cut").await;
}

/// Both lines are cut for moments of any length, most of them shorter than it takes to notice, and what is written
/// meanwhile is soon on the other side, which the writer hears.
#[tokio::test(flavor = "multi_thread")]
async fn lines_that_break_again_and_again_for_a_moment_hold_no_write_up() {
    let pair = Pair::introduced().await;
    let Pair { to_left, to_right, at_left, at_right, .. } = &pair;
    let mut seed = Seed::new(7);
    for round in 0..times(8) {
        let text = format!("round {round}");
        at_left.put("/api/documents/orders/2", "{}").await.expect(200);
        to_left.cut();
        to_right.cut();
        let written = at_left.put("/api/documents/orders/1", &format!("{{\"N\":\"{text}\"}}")).await.expect(200);
        // The length of the break is what is tried here.
        tokio::time::sleep(Duration::from_millis(if seed.chance(30) { 0 } else { seed.range(0..600) })).await;
        to_left.heal();
        to_right.heal();
        expect_on_both(at_left, at_right, &token(&written), &text).await;
    }
}

/// A router forgets a connection while a question is on it, and no answer ever comes. Once the peer is reached again, nobody
/// goes on waiting for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_on_a_connection_that_leads_nowhere_is_asked_again_once_the_peer_is_reached() {
    let pair = Pair::of_strangers().await;
    let Pair { left, to_right, at_left, at_right, .. } = &pair;
    // The left alone calls.
    register(left, "right", &to_right.url()).await;
    let written = at_left.put("/api/documents/orders/1", r#"{"N":"first"}"#).await.expect(200);
    expect_on_both(at_left, at_right, &token(&written), "first").await;
    to_right.set(Weather { strands: true, ..Weather::default() });
    let written = at_left.put("/api/documents/orders/1", r#"{"N":"stranded"}"#).await.expect(200);
    let token = token(&written);
    let late = at_left.get(&format!("/api/replication/wait?timeout=500ms&token={token}")).await.expect(202);
    assert_eq!(late["Missing"], serde_json::json!(["right"]));
    to_right.heal();
    expect_on_both(at_left, at_right, &token, "stranded").await;
}

/// Waits until the right has a write, and the left knows that it has. Tells what each says of the other if not.
async fn expect_on_both(at_left: &Client, at_right: &Client, token: &str, text: &str) {
    let wait = format!("/api/replication/wait?timeout=25s&token={token}");
    let read = format!("/api/documents/orders/1?timeout=25s&token={token}");
    let (known, read) = tokio::join!(at_left.get(&wait), at_right.get(&read));
    if known.json()["Reached"] != true || !read.is_success() {
        let (of_left, of_right) = (at_left.status().await, at_right.status().await);
        panic!("{text}: {known:?}\n{read:?}\nleft: {of_left:?}\nright: {of_right:?}");
    }
    assert_eq!(read.expect(200)["N"], text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_cache_reads_the_entry_on_the_other_node_or_nothing() {
    let pair = Pair::introduced().await;
    let Pair { to_left, to_right, at_left, at_right, .. } = &pair;

    for number in 0..50 {
        let written = at_left.put("/api/cache/k", &number.to_string()).await.expect(200);
        let path = format!("/api/cache/k?timeout=30s&token={}", token(&written));
        assert_eq!(at_right.get(&path).await.expect(200)["Value"], number);
        let wait = format!("/api/replication/wait?timeout=30s&token={}", token(&written));
        let waited = at_left.get(&wait).await.expect(200);
        assert_eq!((&waited["PeersReached"], &waited["Nodes"]), (&1.into(), &serde_json::json!(["right"])));
    }
    // What is counted, deleted and read in bulk is never older either.
    let added = at_left.post("/api/cache/n/increment?by=3", "").await.expect(200);
    let path = format!("/api/cache/n?timeout=30s&token={}", token(&added));
    assert_eq!(at_right.get(&path).await.expect(200)["Value"], 3);
    let deleted = at_left.delete("/api/cache/k").await.expect(200);
    let path = format!("/api/cache/k?timeout=30s&token={}", token(&deleted));
    at_right.get(&path).await.problem(404, "cache-miss");
    let several = r#"{"Entries":[{"Key":"a","Value":1},{"Key":"b","Value":2}]}"#;
    let several = at_left.put("/api/cache", several).await.expect(200);
    let path = format!("/api/cache?prefix=b&timeout=30s&token={}", token(&several));
    assert_eq!(at_right.get(&path).await.expect(200)["Entries"][0]["Key"], "b");
    let path = format!("/api/cache?timeout=30s&token={}", token(&several));
    let both = at_right.post(&path, r#"{"Keys":["a","b"]}"#).await.expect(200);
    assert_eq!((&both["Entries"][0]["Value"], &both["Entries"][1]["Value"]), (&1.into(), &2.into()));

    to_left.cut();
    to_right.cut();
    let written = at_left.put("/api/cache/k", r#""cut""#).await.expect(200);
    let token = token(&written);
    let path = format!("/api/cache/k?timeout=200ms&token={token}");
    at_right.get(&path).await.problem(503, "not-here-yet");
    let late = at_left.get(&format!("/api/replication/wait?timeout=200ms&token={token}")).await.expect(202);
    assert_eq!((&late["Missing"], &late["IsHere"]), (&serde_json::json!(["right"]), &true.into()));
    to_left.heal();
    to_right.heal();
    let wait = format!("/api/replication/wait?timeout=40s&token={token}");
    let read = format!("/api/cache/k?timeout=40s&token={token}");
    let (healed, read) = tokio::join!(at_left.get(&wait), at_right.get(&read));
    assert_eq!(healed.expect(200)["Reached"], true);
    assert_eq!(read.expect(200)["Value"], "cut");
}
