//! Leader and followers by the command line, as an operator moves the lead.

use std::io::Read;
use std::net::TcpListener;

use holdfast_tests::cluster::{CLUSTER_KEY, Home, Node, ROOT_KEY, SOON, wait_for, wait_until_equal};
use serde_json::Value;

/// A port that nobody uses at the moment.
fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

/// Runs `holdfast replication` against a node: its exit code, and what it says to whom.
fn replication(home: &Home, node: &Node, arguments: &[&str]) -> (Option<i32>, String, String) {
    let of_node = ["--url", &node.url, "--key", ROOT_KEY];
    let output = tokio::task::block_in_place(|| home.run(&[&["replication"], arguments, &of_node].concat()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The same for what must succeed.
fn told(home: &Home, node: &Node, arguments: &[&str]) -> String {
    let (code, out, err) = replication(home, node, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {out}{err}");
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_starts_a_group_hands_the_lead_over_and_is_refused_with_reasons() {
    let ports = [free_port(), free_port()];
    let home = |name: &str, port: &String| {
        Home::new(name).with("Replication:Secret", "Sk-of-the-command-line").with("Replication:Port", port)
    };
    let homes = [home("office", &ports[0]), home("branch", &ports[1])];
    let (office, branch) = (homes[0].start(), homes[1].start());
    let (at_office, at_branch) = ((&homes[0], &office), (&homes[1], &branch));
    let ask = |(home, node): (&Home, &Node), arguments: &[&str]| told(home, node, arguments);
    assert!(ask(at_office, &[]).contains("role           none\n"), "the status is what is shown");

    let led = ask(at_office, &["start-leader", "--port", &ports[0]]);
    assert!(led.contains(&format!("followers connect to port {}; takes writes", ports[0])), "{led}");
    let followed = ask(at_branch, &["start-follower", &format!("127.0.0.1:{}", ports[0])]);
    assert!(followed.contains(&ports[0]) && followed.contains("takes no writes"), "{followed}");
    office.client("shop").put("/api/documents/orders/o-1", r#"{"n": 1}"#).await.expect(200);
    wait_until_equal(&[&office, &branch], "shop").await;
    wait_for("the follower is shown", SOON, async || {
        let shown = ask(at_office, &["status"]);
        let row = shown.lines().find(|line| line.trim_start().starts_with("branch ")).unwrap_or_default();
        if shown.contains("  Follower  ") && row.contains("streaming") { Ok(()) } else { Err(shown) }
    })
    .await;
    let watches = ask(at_branch, &["auto-failover", "enable", "30"]);
    assert!(watches.contains("after 30") && ask(at_branch, &[]).contains("s of silence"), "{watches}");
    assert!(ask(at_branch, &["auto-failover", "disable"]).contains("follows"));
    assert!(ask(at_office, &["sync-replicas", "1", "--timeout-seconds", "20"]).contains("leads"));
    assert!(ask(at_office, &[]).contains("1 follower, for 20"));
    ask(at_office, &["sync-replicas", "0"]);
    let expected = [
        "holdfast_replica_role{role=\"leader\"} 1",
        "holdfast_replica_role{role=\"follower\"} 0",
        "holdfast_replica_epoch 1",
        "holdfast_replica_connected{follower=\"branch\"} 1",
        "holdfast_replica_lag_operations{follower=\"branch\"} 0",
        "holdfast_replica_lag_seconds{follower=\"branch\"} 0",
        "holdfast_replica_sync_timeouts_total 0",
        "holdfast_replica_failovers_total 0",
    ];
    // What a follower has is known when it has said so.
    wait_for("metrics tell it", SOON, async || {
        let metrics = office.client("shop").get("/metrics").await.text;
        let missing: Vec<_> = expected.iter().filter(|line| !metrics.lines().any(|it| it == **line)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} are not in\n{metrics}")) }
    })
    .await;

    // What cannot be is refused by the node with its reason, what cannot be meant by the command line.
    let (code, _, err) = replication(&homes[1], &branch, &["promote"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("409") && err.contains("force"), "{err}");
    let (code, _, err) = replication(&homes[0], &office, &["handover", "--to", "nobody"]);
    assert_eq!(code, Some(1), "{err}");
    assert_eq!(replication(&homes[0], &office, &["start-follower", "http://branch"]).0, Some(2));
    assert_eq!(replication(&homes[0], &office, &["handover", "--timeout-seconds", "0"]).0, Some(2));

    let handed = ask(at_office, &["handover", "--to", "branch", "--timeout-seconds", "40"]);
    assert!(handed.contains("branch leads now") && handed.contains("nothing was lost"), "{handed}");
    wait_for("the old leader follows", SOON, async || {
        let status: Value = serde_json::from_str(&ask(at_office, &["status", "--json"])).unwrap();
        let follows = status["role"] == "follower" && status["follower"]["leader"]["node"] == "branch";
        if follows { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    branch.client("shop").put("/api/documents/orders/o-2", r#"{"n": 2}"#).await.expect(200);
    wait_until_equal(&[&office, &branch], "shop").await;
    let shown = ask(at_office, &[]);
    assert!(shown.contains("it follows, and the leader takes them") && shown.contains("branch at "), "{shown}");

    assert!(ask(at_branch, &["read-only"]).contains("takes no writes"));
    branch.client("shop").put("/api/documents/orders/o-3", "{}").await.problem(503, "read-only");
    assert!(ask(at_branch, &["read-write"]).contains("takes writes"));
    assert!(ask(at_office, &["stop"]).contains("neither leads nor follows; takes writes"));
    // A role that was taken while the node ran holds after a restart, and the banner tells it.
    branch.stop();
    let again = homes[1].start();
    assert!(told(&homes[1], &again, &[]).contains("role           leader\n"));
    let banner = homes[1].log_lines("changed while it ran (settings: none)");
    assert!(banner.iter().any(|line| line.contains("LEADER listening on")), "{banner:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_the_cluster_opens_what_the_root_key_does() {
    let home = Home::new("office").with("Replication:Port", &free_port());
    let node = home.start();
    let run = |arguments: &[&str]| {
        let output =
            tokio::task::block_in_place(|| home.run(&[&["replication", "--url", &node.url], arguments].concat()));
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run(&["start-leader", "--replication-key", CLUSTER_KEY]);
    assert!(code == Some(0) && said.contains("leads in epoch 1"), "{said}");
    let (code, said) = run(&["--replication-key", "another", "status"]);
    assert!(code == Some(1) && said.contains("401") && said.contains("HOLDFAST_REPLICATION_KEY"), "{said}");
}

#[test]
fn a_handover_whose_connection_breaks_says_what_becomes_of_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // It hangs up in the middle of the request's way back.
        stream.read_exact(&mut [0; 16]).unwrap();
    });
    let home = Home::new("office");
    let output = home.run(&["replication", "handover", "--url", &url, "--key", ROOT_KEY]);
    answering.join().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("handover") && said.contains("status") && !said.contains("statement"), "{said}");
}
