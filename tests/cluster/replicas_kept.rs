//! What an operator chooses while a leader or a follower runs: kept over a restart, overtaken by changed settings, shown
//! when it cannot be had.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use holdfast_tests::cluster::{Home, Node, wait_until_equal};
use serde_json::{Value, json};

use crate::replicas::{ask, follower, free_port, group, leader, put, run, until, until_following};

const GIVEN: &str = "Sk-given-with-the-role-4d1c";

/// A node without a role, at a port for followers that its settings name.
fn alone(name: &str) -> Home {
    Home::new(name).with("Replication:Port", &free_port().to_string())
}

async fn port(node: &Node) -> u64 {
    let status = group(node).await;
    status["replicationPort"].as_u64().unwrap_or_else(|| panic!("nobody can follow: {status}"))
}

/// Everything in the files of a data directory that is no database, by name.
fn notes(home: &Home) -> Vec<(String, String)> {
    let entries = fs::read_dir(home.data()).unwrap().map(|entry| entry.unwrap().path());
    let notes = entries.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    notes
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_secrets_failover_and_replicas_that_were_chosen_hold_after_a_restart_until_the_settings_change() {
    let (office_home, branch_home) = (alone("office"), alone("branch"));
    let (office, branch) = (office_home.start(), branch_home.start());
    let (led, taken_over) = (free_port(), free_port());
    let answer = ask(&office, "start-leader", json!({"port": led, "sharedSecret": GIVEN})).await;
    assert_eq!(answer["port"], led, "{answer}");
    ask(&branch, "start-follower", json!({"host": "127.0.0.1", "port": led, "sharedSecret": GIVEN})).await;
    ask(&branch, "auto-failover/enable", json!({"silenceSeconds": 30, "newLeaderPort": taken_over})).await;
    ask(&office, "sync-replicas", json!({"minSyncReplicas": 1, "syncTimeoutSeconds": 20})).await;
    put(&office.client("shop"), "o-1", 1).await;
    until_following(&branch).await;
    office.kill();
    branch.kill();

    let (office, branch) = (office_home.start(), branch_home.start());
    until_following(&branch).await;
    let status = group(&office).await;
    assert_eq!((&status["role"], &status["replicationPort"]), (&json!("leader"), &json!(led)), "{status}");
    assert_eq!((&status["minSyncReplicas"], &status["syncTimeoutSeconds"]), (&json!(1), &json!(20.0)), "{status}");
    let status = group(&branch).await;
    assert_eq!(status["follower"]["autoFailoverSeconds"], json!(30.0), "{status}");
    assert_eq!(status["replicationPort"], json!(taken_over), "{status}");
    put(&office.client("shop"), "o-2", 2).await;
    wait_until_equal(&[&office, &branch], "shop").await;
    for (home, node) in [(&office_home, &office), (&branch_home, &branch)] {
        assert!(!group(node).await.to_string().contains(GIVEN));
        home.assert_log_is_without(&[GIVEN]);
        let holders: Vec<String> =
            notes(home).into_iter().filter(|(_, text)| text.contains(GIVEN)).map(|it| it.0).collect();
        assert_eq!(holders, ["replica-secret.json"]);
    }
    // Switched off is kept too.
    ask(&branch, "auto-failover/disable", json!({})).await;
    office.stop();
    branch.stop();

    // Each setting that is changed holds, and the other choices stay.
    let own = free_port();
    let office_home = office_home.with("Replication:Port", &own.to_string());
    let branch_home = branch_home.with("Replication:MinSyncReplicas", "1");
    let (office, branch) = (office_home.start(), branch_home.start());
    assert_eq!(port(&office).await, u64::from(own));
    assert_eq!(group(&branch).await["follower"]["autoFailoverSeconds"], Value::Null);
    office.stop();
    let office_home = office_home.with("Replication:Secret", "Sk-of-changed-settings");
    let office = office_home.start();
    until("the secret of the settings is asked for", &branch, |status| {
        status["follower"]["lastError"].as_str().is_some_and(|error| error.contains("not reached"))
    })
    .await;
    // What ends the role ends what was chosen for it.
    ask(&branch, "stop", json!({})).await;
    assert!(notes(&branch_home).iter().all(|(_, text)| !text.contains(GIVEN)));
    let told = ask(&branch, "start-follower", json!({"host": "127.0.0.1", "port": own})).await;
    assert_eq!(told["role"], "follower", "{told}");
    until("it does not know the secret of the settings", &branch, |status| {
        status["follower"]["lastError"].as_str().is_some_and(|error| error.contains("secret does not match"))
    })
    .await;
    ask(&branch, "stop", json!({})).await;
    let body = json!({"host": "127.0.0.1", "port": own, "sharedSecret": "Sk-of-changed-settings"});
    ask(&branch, "start-follower", body).await;
    until_following(&branch).await;
    drop(office);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_none_and_a_port_in_use_are_refused_and_nothing_is_kept_of_them() {
    let home = alone("office").with("Replication:BindAddress", "0.0.0.0");
    let node = run(home);
    let client = node.client("none");
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    for (body, status, code) in [
        (json!({"sharedSecret": " "}), 400, "invalid-secret"),
        (json!({"sharedSecret": " blank-around"}), 400, "invalid-secret"),
        (json!({"sharedSecret": "x".repeat(257)}), 400, "invalid-secret"),
        (json!({"port": port, "sharedSecret": GIVEN}), 409, "port-in-use"),
        // Other machines could connect, and would need to know nothing.
        (json!({}), 409, "not-possible"),
        (json!({"port": free_port()}), 409, "not-possible"),
    ] {
        client.post("/replication/start-leader", &body.to_string()).await.problem(status, code);
    }
    client
        .post("/replication/start-follower", r#"{"host": "office", "port": 5500}"#)
        .await
        .problem(409, "not-possible");
    let status = group(&node).await;
    assert_eq!((&status["role"], &status["readOnly"]), (&json!("none"), &json!(false)), "{status}");
    assert!(notes(node.home()).iter().all(|(_, text)| !text.contains(GIVEN)));
    ask(&node, "start-leader", json!({"sharedSecret": GIVEN})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_made_read_only_is_followed_by_a_promotion_without_force() {
    let leading = run(leader("office"));
    let following = run(follower("branch", &leading).await);
    put(&leading.client("shop"), "o-1", 1).await;
    until_following(&following).await;
    let client = following.client("none");
    client.post("/replication/promote", "{}").await.problem(409, "leader-is-there");
    ask(&leading, "read-only", json!({})).await;
    let promoted = ask(&following, "promote", json!({})).await;
    assert_eq!(promoted["newRole"], "leader", "{promoted}");
    until_following(&leading).await;
    put(&following.client("shop"), "o-2", 2).await;
    wait_until_equal(&[&leading, &following], "shop").await;
    // Being read-only ended with the lead that it was said of.
    ask(&following, "handover", json!({"to": "office", "timeoutSeconds": 30})).await;
    put(&leading.client("shop"), "o-3", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_over_while_its_port_is_in_use_says_so_and_opens_it_when_it_is_free() {
    let leading = leader("office");
    let office = leading.start();
    let port = free_port();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let home = follower("branch", &office)
        .await
        .with("Replication:Port", &port.to_string())
        .with("Replication:AutoFailover:NewLeaderPort", &port.to_string())
        .with("Replication:AutoFailover:SilenceSeconds", "1");
    let branch = run(home);
    put(&office.client("shop"), "o-1", 1).await;
    until_following(&branch).await;
    wait_until_equal(&[&office, &branch], "shop").await;
    office.kill();
    let status = until("it leads", &branch, |status| status["role"] == "leader").await;
    assert_eq!(status["replicationPort"], Value::Null, "{status}");
    let error = status["replicationPortError"].as_str().unwrap_or_default();
    assert!(error.contains(&port.to_string()) && error.contains("cannot be opened"), "{status}");
    put(&branch.client("shop"), "o-2", 2).await;
    drop(taken);
    let status = until("the port is open", &branch, |status| status["replicationPort"] == json!(port)).await;
    assert_eq!(status["replicationPortError"], Value::Null, "{status}");
}
