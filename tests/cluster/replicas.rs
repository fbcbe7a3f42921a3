//! A leader and its followers: what is written at one is read at the others, whatever happens to any of them.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use holdfast_tests::cluster::{Client, Home, Node, SOON, times, wait_for, wait_until_equal};
use serde_json::{Value, json};

pub(crate) const SECRET: &str = "Sk-81b3-replicas-of-the-tests";

/// A port that nobody uses at the moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A node that runs in a home of its own to the end of the test.
pub(crate) struct Running {
    node: Node,
    home: Home,
}

impl Running {
    /// Where it lives.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }
}

impl Deref for Running {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

pub(crate) fn run(home: Home) -> Running {
    Running { node: home.start(), home }
}

pub(crate) fn leader(name: &str) -> Home {
    let port = free_port().to_string();
    Home::new(name)
        .with("Replication:Role", "Leader")
        .with("Replication:Port", &port)
        .with("Replication:Secret", SECRET)
        .with("Replication:AutoFailover:NewLeaderPort", &port)
}

pub(crate) async fn port_of(node: &Node) -> String {
    let status = group(node).await;
    status["replicationPort"].as_u64().unwrap_or_else(|| panic!("nobody can follow: {status}")).to_string()
}

pub(crate) async fn follower(name: &str, of: &Node) -> Home {
    let port = free_port().to_string();
    Home::new(name)
        .with("Replication:Role", "Follower")
        .with("Replication:LeaderHost", "127.0.0.1")
        .with("Replication:LeaderPort", &port_of(of).await)
        .with("Replication:Port", &port)
        .with("Replication:AutoFailover:NewLeaderPort", &port)
        .with("Replication:Secret", SECRET)
}

/// How a node sees its group.
pub(crate) async fn group(node: &Node) -> Value {
    node.client("none").get("/replication/status").await.expect(200)
}

pub(crate) async fn ask(node: &Node, verb: &str, body: Value) -> Value {
    node.client("none").post(&format!("/replication/{verb}"), &body.to_string()).await.expect(200)
}

/// Waits until a node sees its group so.
#[track_caller]
pub(crate) fn until<'a>(
    what: &'a str,
    node: &'a Node,
    is: impl Fn(&Value) -> bool + 'a,
) -> impl Future<Output = Value> + 'a {
    wait_for(what, SOON, async move || {
        let answer = node.client("none").try_ask("GET", "/replication/status", None).await?;
        let status: Value = serde_json::from_str(&answer.text).map_err(|error| error.to_string())?;
        if is(&status) { Ok(status) } else { Err(status.to_string()) }
    })
}

pub(crate) async fn until_following(node: &Node) {
    until("it follows", node, |status| status["follower"]["state"] == "streaming").await;
}

/// Waits until a follower has taken in so many operations more.
async fn until_taken(node: &Node, more: u64) {
    let before = group(node).await["follower"]["lastAppliedSeq"].as_u64().unwrap();
    until("more is written", node, |status| {
        status["follower"]["lastAppliedSeq"].as_u64().is_some_and(|now| now >= before + more)
    })
    .await;
}

/// Stores a document with a number.
pub(crate) async fn put(client: &Client, id: &str, n: u64) {
    client.put(&format!("/api/documents/orders/{id}"), &json!({"n": n}).to_string()).await.expect(200);
}

/// Every document's number.
async fn numbers(node: &Node) -> BTreeSet<u64> {
    let documents = node.client("shop").collection("orders").await;
    documents.values().filter_map(|document| document["n"].as_u64()).collect()
}

/// Writes until it is told to stop, wherever writes are taken, and gives what was answered with success.
fn writer(nodes: &[&Node], stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<BTreeSet<u64>> {
    let clients: Vec<Client> = nodes.iter().map(|node| node.client("shop")).collect();
    let stop = Arc::clone(stop);
    tokio::spawn(async move {
        let (mut acknowledged, mut next, mut at) = (BTreeSet::new(), 0, 0);
        while !stop.load(Ordering::Relaxed) {
            next += 1;
            let path = format!("/api/documents/orders/w-{next}");
            let body = json!({"n": next}).to_string();
            match clients[at].try_ask("PUT", &path, Some(&body)).await {
                Ok(answer) if answer.is_success() => {
                    acknowledged.insert(next);
                }
                _ => at = (at + 1) % clients.len(),
            }
        }
        acknowledged
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_serves_all_kinds_of_writes_with_live_indexes_and_takes_none_itself() {
    let leading = run(leader("office"));
    let following = run(follower("replica", &leading).await);
    let (there, here) = (leading.client("shop"), following.client("shop"));
    put(&there, "o-1", 1).await;
    there.put("/api/documents/orders/o-2", r#"{"n": 2, "pnr": "ABC"}"#).await.expect(200);
    there.post("/api/indexes", r#"{"Collection": "orders", "Name": "by_pnr", "Paths": ["pnr"]}"#).await.expect(201);
    there.put("/api/documents/orders/o-3", r#"{"n": 3, "pnr": "ABC"}"#).await.expect(200);
    there.put("/api/documents/orders/o-1", r#"{"n": 10, "pnr": "XYZ"}"#).await.expect(200);
    there.post("/api/query", r#"{"Query": "UPDATE orders SET n = 30 WHERE pnr = 'ABC' AND n = 3"}"#).await.expect(200);
    there
        .post("/api/documents/orders/bulk", "{\"Id\": \"b-1\", \"n\": 4}\n{\"Id\": \"b-2\", \"n\": 5}\n")
        .await
        .expect(200);
    there.delete("/api/documents/orders/b-2").await.expect(200);
    leading.client("till").put("/api/cache/k?ttl=5m", r#""cached""#).await.expect(200);
    wait_until_equal(&[&leading, &following], "shop").await;
    wait_for("the cache follows", SOON, async || {
        let answer = following.client("till").get("/api/cache/k").await;
        if answer.is_success() { Ok(()) } else { Err(answer.text) }
    })
    .await;
    let found = wait_for("the index is ready", SOON, async || {
        let query = r#"{"Query": "SELECT n FROM orders WHERE pnr = 'ABC' ORDER BY n"}"#;
        let answer = here.post("/api/query", query).await.expect(200);
        if answer["Plan"].as_str().unwrap_or_default().contains("Index") { Ok(answer) } else { Err(answer.to_string()) }
    })
    .await;
    assert_eq!(found["Rows"], json!([{"n": 2}, {"n": 30}]));
    // Neither a write nor a new database gets in here.
    let refused = here.put("/api/documents/orders/mine", r#"{"n": 1}"#).await.problem(421, "not-the-leader");
    assert!(refused["leader"].as_str().unwrap().starts_with("http://"), "{refused}");
    following.client("other").put("/api/documents/x/y", "{}").await.problem(421, "not-the-leader");
    // A dropped database goes, and one that is made comes.
    leading.client("spare").put("/api/documents/x/y", "{}").await.expect(200);
    wait_until_equal(&[&leading, &following], "spare").await;
    there.delete("/api/databases/spare").await;
    wait_for("the dropped database is gone", SOON, async || {
        let answer = following.client("spare").get("/api/documents/x/y").await;
        if answer.json()["code"] == "database-not-found" { Ok(()) } else { Err(answer.text) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_may_start_again_and_nothing_is_missing_or_taken_twice() {
    let (leader_home, mut n) = (leader("office"), 0);
    let mut leading = leader_home.start();
    let follower_home = follower("replica", &leading).await;
    let mut following = follower_home.start();
    for round in 0..4 {
        for _ in 0..5 {
            n += 1;
            put(&leading.client("shop"), &format!("o-{n}"), n).await;
        }
        leading.client("shop").post("/api/query", r#"{"Query": "UPDATE counters SET n = n + 1 WHERE Id = 'c'"}"#).await;
        leading.client("shop").patch("/api/documents/counters/c", r#"{"$inc": {"n": 1}}"#).await.expect(200);
        if round % 2 == 0 {
            following.kill();
            n += 1;
            put(&leading.client("shop"), &format!("o-{n}"), n).await;
            following = follower_home.start();
        } else {
            leading.kill();
            leading = leader_home.start();
        }
        wait_until_equal(&[&leading, &following], "shop").await;
    }
    assert_eq!(numbers(&following).await, (1..=n).collect());
    let status = group(&following).await;
    assert_eq!(status["follower"]["gapsDetected"], 0, "{status}");
    following.stop();
    follower_home.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_dropped_and_made_anew_while_a_follower_was_away_is_another_one() {
    let leading = run(leader("office"));
    let follower_home = follower("replica", &leading).await;
    let following = follower_home.start();
    for n in 1..=10 {
        put(&leading.client("shop"), &format!("old-{n}"), n).await;
    }
    wait_until_equal(&[&leading, &following], "shop").await;
    following.kill();
    leading.client("shop").delete("/api/databases/shop").await.expect(200);
    put(&leading.client("shop"), "new", 100).await;
    let following = follower_home.start();
    wait_until_equal(&[&leading, &following], "shop").await;
    assert_eq!(numbers(&leading).await, BTreeSet::from([100]), "what was dropped came back");
    assert_eq!(numbers(&following).await, BTreeSet::from([100]));
    // Twice in a row is not once.
    following.kill();
    for n in 200..202 {
        leading.client("shop").delete("/api/databases/shop").await.expect(200);
        put(&leading.client("shop"), &format!("o-{n}"), n).await;
    }
    let following = follower_home.start();
    wait_until_equal(&[&leading, &following], "shop").await;
    assert_eq!(numbers(&following).await, BTreeSet::from([201]));
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_are_killed_again_and_again_and_nothing_that_was_answered_is_lost() {
    let voting = |home: Home| home.with("Replication:AutoFailover:SilenceSeconds", "1");
    let homes = {
        let one = voting(leader("one"));
        let first = one.start();
        let (two, three) = (voting(follower("two", &first).await), voting(follower("three", &first).await));
        first.stop();
        [one, two, three]
    };
    let mut nodes: Vec<Option<Node>> = homes.iter().map(|home| Some(home.start())).collect();
    let mut acknowledged = BTreeSet::new();
    let mut next = 0;
    for round in 0..times(3) {
        let running: Vec<&Node> = nodes.iter().flatten().collect();
        let at = leading_among(&running).await;
        for node in &running {
            until("all three vote", node, |status| status["voters"].as_array().is_some_and(|all| all.len() == 3)).await;
        }
        let client = running[at].client("shop");
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, from) = (Arc::clone(&stop), next);
        let writing = tokio::spawn(async move {
            let mut taken = BTreeSet::new();
            for n in from.. {
                let body = json!({"n": n}).to_string();
                let answer = client.try_ask("PUT", &format!("/api/documents/orders/k-{n}"), Some(&body)).await;
                if !answer.is_ok_and(|answer| answer.is_success()) || stopped.load(Ordering::Relaxed) {
                    break;
                }
                taken.insert(n);
            }
            taken
        });
        let other = nodes.iter().enumerate().find(|(of, _)| *of != at).and_then(|(_, node)| node.as_ref()).unwrap();
        until_taken(other, 20 + 7 * round).await;
        nodes[at].take().unwrap().kill();
        stop.store(true, Ordering::Relaxed);
        acknowledged.extend(writing.await.unwrap());
        next += 1_000_000;
        let left: Vec<&Node> = nodes.iter().flatten().collect();
        leading_among(&left).await;
        nodes[at] = Some(homes[at].start());
        until_following(nodes[at].as_ref().unwrap()).await;
    }
    let running: Vec<&Node> = nodes.iter().flatten().collect();
    wait_until_equal(&running, "shop").await;
    let held = numbers(running[0]).await;
    assert!(!acknowledged.is_empty(), "nothing was written");
    assert!(acknowledged.is_subset(&held), "lost: {:?}", acknowledged.difference(&held));
}

/// Which of these leads; the others follow it.
async fn leading_among(nodes: &[&Node]) -> usize {
    wait_for("one leads and the others follow it", SOON, async || {
        let mut statuses = Vec::new();
        for node in nodes {
            statuses.push(group(node).await);
        }
        let leaders: Vec<usize> = (0..nodes.len()).filter(|at| statuses[*at]["role"] == "leader").collect();
        let [leader] = leaders[..] else { return Err(format!("{statuses:?}")) };
        let name = nodes[leader].name();
        let follow = |status: &Value| status["role"] == "leader" || status["follower"]["leader"]["node"] == name;
        if statuses.iter().all(follow) { Ok(leader) } else { Err(format!("{statuses:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_comes_back_and_lacks_nothing_counts_at_once() {
    let leading = run(leader("office"));
    let follower_home = follower("replica", &leading).await;
    let following = follower_home.start();
    put(&leading.client("shop"), "o-1", 1).await;
    wait_until_equal(&[&leading, &following], "shop").await;
    following.kill();
    let following = follower_home.start();
    // Nothing is written meanwhile that it could confirm.
    until("it is known to have everything", &leading, |status| {
        let follower = &status["leader"]["followers"][0];
        let (acked, known) = (&follower["ackedSeq"], &status["leader"]["currentSeq"]);
        follower["state"] == "streaming" && follower["lagOps"] == 0 && acked == known && *known != 0
    })
    .await;
    ask(&leading, "handover", json!({"to": following.name()})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_one_operation_for_a_follower() {
    let leading = run(leader("office"));
    let following = run(follower("replica", &leading).await);
    until_following(&following).await;
    let operations: Vec<Value> = (0..3)
        .map(|n| json!({"Op": "put", "Collection": "orders", "Id": format!("t-{n}"), "Document": {"n": n}}))
        .collect();
    let body = json!({"Operations": operations}).to_string();
    leading.client("shop").post("/api/transactions", &body).await.expect(200);
    wait_until_equal(&[&leading, &following], "shop").await;
    assert_eq!(numbers(&following).await.len(), 3);
    assert_eq!(group(&following).await["follower"]["opsApplied"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_below_the_pruned_log_takes_states_while_it_goes_on_serving() {
    let leader_home = Home::forgetful("office")
        .with("Replication:Role", "Leader")
        .with("Replication:Port", &free_port().to_string())
        .with("Replication:Secret", SECRET);
    let leading = leader_home.start();
    let there = leading.client("shop");
    for n in 1..=50 {
        put(&there, &format!("o-{n}"), n).await;
    }
    let follower_home = follower("replica", &leading).await;
    let following = follower_home.start();
    wait_until_equal(&[&leading, &following], "shop").await;
    following.kill();
    for n in 51..=120 {
        put(&there, &format!("o-{n}"), n).await;
    }
    there.delete("/api/documents/orders/o-1").await.expect(200);
    // Else the log is kept for it.
    there.post("/api/replication/members/fence", r#"{"Member": "replica", "Force": true}"#).await.expect(200);
    let pruned = there.post("/api/replication/operation-log/prune", "").await.expect(200);
    assert!(pruned[0]["MaxPrunedLogSequence"].as_u64() > Some(60), "{pruned}");
    let following = follower_home.start();
    assert_eq!(numbers(&following).await.len(), 50, "it serves what it had");
    wait_until_equal(&[&leading, &following], "shop").await;
    assert_eq!(numbers(&following).await, (2..=120).collect());
    put(&there, "after", 1_000).await;
    wait_until_equal(&[&leading, &following], "shop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_the_secret_is_told_so_on_both_sides_and_gets_nothing() {
    let leader_home = leader("office");
    let leading = leader_home.start();
    put(&leading.client("shop"), "o-1", 1).await;
    let stranger = run(follower("stranger", &leading).await.with("Replication:Secret", "another"));
    let status = until("it is told why", &stranger, |status| status["follower"]["lastError"].is_string()).await;
    assert!(status["follower"]["lastError"].as_str().unwrap().contains("secret"), "{status}");
    wait_for("the leader tells it too", SOON, async || {
        let lines = leader_home.log_lines("the replication secret does not match");
        if lines.is_empty() { Err("no line".to_owned()) } else { Ok(()) }
    })
    .await;
    assert_eq!(group(&leading).await["leader"]["followerCount"], 0);
    assert!(stranger.client("shop").everything().await.is_empty());
    leader_home.assert_log_is_without(&[SECRET]);
    // Somebody who speaks HTTP to the port is answered in HTTP.
    let port = port_of(&leading).await;
    let answer = stranger_http(&port).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("replication-port"), "{answer}");
}

async fn stranger_http(port: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_waits_for_so_many_followers_and_says_how_many_had_it() {
    let leading = run(leader("office"));
    let following = run(follower("replica", &leading).await);
    until_following(&following).await;
    ask(&leading, "sync-replicas", json!({"minSyncReplicas": 1, "syncTimeoutSeconds": 20})).await;
    let there = leading.client("shop");
    for n in 1..=20 {
        put(&there, &format!("o-{n}"), n).await;
        // No waiting: it is there when the answer is.
        assert_eq!(following.client("shop").document("orders", &format!("o-{n}")).await.unwrap()["n"], n);
    }
    ask(&leading, "sync-replicas", json!({"minSyncReplicas": 2, "syncTimeoutSeconds": 0.2})).await;
    let answered = there.put("/api/documents/orders/late", r#"{"n": 99}"#).await;
    answered.expect(200);
    let status = group(&leading).await;
    assert_eq!(status["syncTimeouts"], 1, "{status}");
    assert_eq!(there.document("orders", "late").await.unwrap()["n"], 99, "it is durable here");
    // Nobody waits where there is nobody to wait for.
    ask(&leading, "stop", json!({})).await;
    put(&there, "alone", 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lead_is_handed_over_under_load_and_back_and_nothing_is_lost() {
    let leading = run(leader("office"));
    let following = run(follower("replica", &leading).await);
    let third = run(follower("third", &leading).await);
    until_following(&following).await;
    until_following(&third).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = writer(&[&leading, &following, &third], &stop);
    for (from, to) in [(&leading, &following), (&following, &leading)] {
        until_taken(&third, 20).await;
        let handed = ask(from, "handover", json!({"to": to.name(), "timeoutSeconds": 40})).await;
        assert_eq!(handed["newLeader"], to.name(), "{handed}");
        until("the new one leads", to, |status| status["role"] == "leader").await;
        until("the old one follows", from, |status| status["follower"]["state"] == "streaming").await;
        until("the third follows the new one", &third, |status| {
            status["follower"]["leader"]["node"] == to.name() && status["follower"]["state"] == "streaming"
        })
        .await;
        from.client("shop").put("/api/documents/x/y", "{}").await.problem(421, "not-the-leader");
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writing.await.unwrap();
    assert!(acknowledged.len() > 20, "only {} writes were taken", acknowledged.len());
    wait_until_equal(&[&leading, &following, &third], "shop").await;
    let held = numbers(&third).await;
    assert!(acknowledged.is_subset(&held), "lost: {:?}", acknowledged.difference(&held));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_that_cannot_be_done_leaves_the_leader_as_it_was() {
    let leading = run(leader("office"));
    let following = run(follower("replica", &leading).await);
    until_following(&following).await;
    put(&leading.client("shop"), "o-1", 1).await;
    let nobody = leading.client("none").post("/replication/handover", r#"{"to": "nobody"}"#).await;
    nobody.problem(409, "not-possible");
    following.pause();
    let late =
        leading.client("none").post("/replication/handover", r#"{"to": "replica", "timeoutSeconds": 0.5}"#).await;
    late.problem(504, "handover-failed");
    put(&leading.client("shop"), "o-2", 2).await;
    following.resume();
    until("one of them leads alone", &following, |status| {
        status["role"] == "follower" && status["follower"]["state"] == "streaming"
    })
    .await;
    wait_until_equal(&[&leading, &following], "shop").await;
    assert_eq!(group(&leading).await["role"], "leader");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_is_killed_a_majority_elects_another_and_the_old_one_returns_as_a_follower() {
    let voting = |home: Home| home.with("Replication:AutoFailover:SilenceSeconds", "1");
    let homes_leader = voting(leader("one"));
    let first = homes_leader.start();
    let second = run(voting(follower("two", &first).await));
    let third = run(voting(follower("three", &first).await));
    until("all three vote", &third, |status| status["voters"].as_array().is_some_and(|voters| voters.len() == 3)).await;
    until("all three vote", &second, |status| status["voters"].as_array().is_some_and(|voters| voters.len() == 3))
        .await;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = writer(&[&first, &second, &third], &stop);
    until_taken(&third, 50).await;
    first.kill();
    let leads = wait_for("another leads", SOON, async || {
        let (second, third) = (group(&second).await, group(&third).await);
        match (second["role"] == "leader", third["role"] == "leader") {
            (true, false) => Ok("two"),
            (false, true) => Ok("three"),
            _ => Err(format!("{second} {third}")),
        }
    })
    .await;
    let (leading, other) = if leads == "two" { (&second, &third) } else { (&third, &second) };
    until("the other one follows it", other, |status| status["follower"]["leader"]["node"] == leads).await;
    assert_eq!(group(leading).await["follower"]["autoFailoverPromoted"], true);
    until_taken(other, 20).await;
    let first = homes_leader.start();
    until("the old leader follows", &first, |status| {
        status["role"] == "follower" && status["follower"]["leader"]["node"] == leads
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writing.await.unwrap();
    wait_until_equal(&[&first, &second, &third], "shop").await;
    let held = numbers(&first).await;
    assert!(acknowledged.len() > 20, "only {} writes were taken", acknowledged.len());
    assert!(acknowledged.is_subset(&held), "lost: {:?}", acknowledged.difference(&held));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_old_leader_alone_holds_is_merged_when_it_returns() {
    let leader_home = leader("one");
    let first = leader_home.start();
    let second_home = follower("two", &first).await;
    let second = second_home.start();
    until_following(&second).await;
    put(&first.client("shop"), "both", 1).await;
    wait_until_equal(&[&first, &second], "shop").await;
    second.kill();
    put(&first.client("shop"), "unseen", 2).await;
    first.kill();
    let second = second_home.start();
    until("the leader is missed", &second, |status| status["follower"]["state"] == "disconnected").await;
    // Beside a leader that was heard a moment ago this is refused; that one is dead.
    wait_for("it is promoted", SOON, async || {
        let answer = second.client("none").post("/replication/promote", "{}").await;
        if answer.is_success() { Ok(()) } else { Err(answer.text) }
    })
    .await;
    put(&second.client("shop"), "later", 3).await;
    let first = leader_home.start();
    // It leads in its old epoch until it hears of the new one, which tells it.
    until("the old leader follows", &first, |status| status["follower"]["state"] == "streaming").await;
    wait_until_equal(&[&first, &second], "shop").await;
    assert_eq!(numbers(&second).await, BTreeSet::from([1, 2, 3]));
    let status = group(&second).await;
    assert_eq!(status["leader"]["followers"][0]["mergedOps"], 1, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn promotion_beside_a_leader_that_is_there_is_refused_unless_it_is_forced() {
    let leading = run(leader("one"));
    let following = run(follower("two", &leading).await);
    until_following(&following).await;
    put(&leading.client("shop"), "o-1", 1).await;
    wait_until_equal(&[&leading, &following], "shop").await;
    let refused = following.client("none").post("/replication/promote", "{}").await;
    refused.problem(409, "leader-is-there");
    assert_eq!(group(&following).await["role"], "follower");
    ask(&following, "promote", json!({"force": true})).await;
    // The old leader hears of the greater epoch, and follows: never two for long.
    until("the old leader follows", &leading, |status| status["follower"]["state"] == "streaming").await;
    put(&following.client("shop"), "o-2", 2).await;
    wait_until_equal(&[&leading, &following], "shop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_has_followers_of_its_own() {
    let leading = run(leader("one"));
    let second = run(follower("two", &leading).await);
    until_following(&second).await;
    let third = run(follower("three", &second).await);
    until_following(&third).await;
    for n in 1..=30 {
        put(&leading.client("shop"), &format!("o-{n}"), n).await;
    }
    wait_until_equal(&[&leading, &second, &third], "shop").await;
    let refused = third.client("shop").put("/api/documents/x/y", "{}").await.problem(421, "not-the-leader");
    assert_eq!(refused["leader"], group(&leading).await["httpEndpoint"], "it names the leader, not the one between");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_taken_at_run_time_is_kept_over_a_restart_and_settings_that_change_win() {
    let home = Home::new("one").with("Replication:Secret", SECRET).with("Replication:Port", &free_port().to_string());
    let node = home.start();
    assert_eq!(group(&node).await["role"], "none");
    ask(&node, "start-leader", json!({"port": free_port()})).await;
    ask(&node, "read-only", json!({})).await;
    node.client("shop").put("/api/documents/x/y", "{}").await.problem(503, "read-only");
    node.stop();
    let node = home.start();
    let status = group(&node).await;
    assert_eq!((&status["role"], &status["readOnlyReason"]), (&json!("leader"), &json!("operator")), "{status}");
    ask(&node, "read-write", json!({})).await;
    put(&node.client("shop"), "o-1", 1).await;
    node.stop();
    let node = home.with("Replication:Role", "Leader").start();
    assert_eq!(group(&node).await["readOnly"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_follower_holds_nobody_up() {
    let leading = run(leader("one"));
    let frozen = run(follower("two", &leading).await);
    let other = run(follower("three", &leading).await);
    until_following(&frozen).await;
    until_following(&other).await;
    frozen.pause();
    let body = "x".repeat(20_000);
    for n in 0..300 {
        let document = json!({"n": n, "body": body}).to_string();
        leading.client("shop").put(&format!("/api/documents/orders/o-{n}"), &document).await.expect(200);
    }
    wait_until_equal(&[&leading, &other], "shop").await;
    frozen.resume();
    wait_until_equal(&[&leading, &frozen, &other], "shop").await;
}
