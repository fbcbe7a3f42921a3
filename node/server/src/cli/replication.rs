//! `holdfast replication`: how a running node leads or follows, and changing it.
//!
//! What stays true: a handover is asked for once, however the connection fares, because asking again would hand the lead on.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::running_node::tell;
use super::status::{printable, rows_of, table};
use crate::transfer::place::{NodeClient, Place, PlaceArguments, PlaceError};

/// The port of a leader that is named without one.
const LEADER_PORT_DEFAULT: u16 = 5_500;

/// What is not known when the connection breaks off during a handover.
const HANDOVER_UNKNOWN: &str = "The handover goes on without us, and ends with one of both leading: the follower has the lead, \
    or this node leads on. 'holdfast replication status' at both tells which; do not ask again before, that would hand the \
    lead on";

/// What is shown of a follower, under which name; `--json` has the rest.
const FOLLOWER_COLUMNS: [(&str, &str); 7] = [
    ("node", "Follower"),
    ("state", "State"),
    ("isVoter", "Votes"),
    ("lagOps", "LagOps"),
    ("lagBytes", "LagBytes"),
    ("lagMs", "LagMs"),
    ("silentMs", "SilentMs"),
];

/// Arguments of `holdfast replication`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = false)]
pub(super) struct ReplicationArguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Secret of the cluster, in place of a key
    #[arg(long, global = true, value_name = "KEY", env = "HOLDFAST_REPLICATION_KEY", hide_env_values = true)]
    replication_key: Option<String>,
    /// Print what the node answered, as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    place: PlaceArguments,
}

#[derive(Subcommand)]
enum Action {
    /// Show whether the node leads or follows, and how far everybody is (the default)
    Status,
    /// Lead: others may follow from now on
    StartLeader {
        /// Port on which followers are awaited [default: the settings' Replication:Port]
        #[arg(long, value_name = "PORT")]
        port: Option<u16>,
    },
    /// Follow a leader
    StartFollower {
        /// Where the leader awaits followers, such as office:5500 [default port: 5500]
        #[arg(value_name = "HOST:PORT", value_parser = parse_leader)]
        leader: Leader,
        /// Leave the group that the node belongs to, and merge what it holds into the one that it joins
        #[arg(long)]
        force: bool,
    },
    /// Neither lead nor follow; what is on the node stays, and it takes writes
    Stop,
    /// Take no writes from clients
    ReadOnly,
    /// Take writes from clients again
    ReadWrite,
    /// Make this follower the leader because the old one is gone; a handover is for one that is there
    Promote {
        /// Port on which followers are awaited then [default: the settings']
        #[arg(long, value_name = "PORT")]
        port: Option<u16>,
        /// Even beside a leader that answers, or while behind it
        #[arg(long)]
        force: bool,
    },
    /// Hand the lead of this node over to a follower, which loses nothing
    Handover {
        /// The follower [default: the one that is furthest]
        #[arg(long, value_name = "NAME")]
        to: Option<String>,
        /// Most time that it may take; this node leads on when it takes longer
        #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
        timeout_seconds: f64,
    },
    /// Count no more with a node that is gone for good: its vote is not waited for
    Forget {
        /// Its name
        #[arg(value_name = "NAME")]
        node: String,
    },
    /// Whether this follower stands for the leader's place when the leader is silent
    #[command(subcommand)]
    AutoFailover(AutoFailover),
    /// Set how many followers must have a write before it is answered
    SyncReplicas {
        /// How many; 0 for none
        count: u64,
        /// How long a write waits for them [default: as it was]
        #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
        timeout_seconds: Option<f64>,
    },
}

#[derive(Subcommand)]
enum AutoFailover {
    /// Stand for its place
    Enable {
        /// After so many seconds of silence
        #[arg(value_name = "SECONDS", value_parser = parse_seconds)]
        silence_seconds: f64,
        /// Port on which followers are awaited then [default: the settings']
        #[arg(long, value_name = "PORT")]
        new_leader_port: Option<u16>,
    },
    /// Leave it to others
    Disable,
}

/// Where a leader awaits followers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Leader {
    host: String,
    port: u16,
}

/// Shows or changes how a running node leads or follows.
pub(super) fn run(arguments: &ReplicationArguments) -> ExitCode {
    let secret = arguments.replication_key.as_deref().filter(|secret| !secret.trim().is_empty());
    tell(arguments.place.keyless(secret.is_some()).place(None).and_then(|place| match place {
        Place::Directory { .. } => {
            Err(PlaceError::new("replication asks a running node; leave --data-dir out, and start the node"))
        }
        Place::Node { runtime, client } => {
            let client = secret.map_or_else(|| client.clone(), |secret| client.as_node(secret));
            runtime.block_on(act(&client, arguments))
        }
    }))
}

async fn act(client: &NodeClient, arguments: &ReplicationArguments) -> Result<String, PlaceError> {
    let action = arguments.action.as_ref().unwrap_or(&Action::Status);
    let (answer, text): (Value, fn(&Value) -> String) = match action {
        Action::Status => (client.get("/replication/status").await?, status),
        Action::Handover { to, timeout_seconds } => (hand_over(client, to.as_deref(), *timeout_seconds).await?, handed),
        other => {
            let (verb, body) = order(other);
            (client.post(&format!("/replication/{verb}"), &body).await?, done)
        }
    };
    Ok(if arguments.json { format!("{answer:#}") } else { text(&answer) })
}

/// What is posted where for an action that is done at once.
fn order(action: &Action) -> (&'static str, Value) {
    match action {
        Action::StartLeader { port } => ("start-leader", json!({"port": port})),
        Action::StartFollower { leader, force } => {
            ("start-follower", json!({"host": leader.host, "port": leader.port, "force": force}))
        }
        Action::Stop => ("stop", json!({})),
        Action::ReadOnly => ("read-only", json!({})),
        Action::ReadWrite => ("read-write", json!({})),
        Action::Promote { port, force } => ("promote", json!({"port": port, "force": force})),
        Action::AutoFailover(AutoFailover::Enable { silence_seconds, new_leader_port }) => {
            ("auto-failover/enable", json!({"silenceSeconds": silence_seconds, "newLeaderPort": new_leader_port}))
        }
        Action::Forget { node } => ("forget", json!({"node": node})),
        Action::AutoFailover(AutoFailover::Disable) => ("auto-failover/disable", json!({})),
        Action::SyncReplicas { count, timeout_seconds } => {
            ("sync-replicas", json!({"minSyncReplicas": count, "syncTimeoutSeconds": timeout_seconds}))
        }
        // These have ways of their own.
        Action::Status | Action::Handover { .. } => ("status", json!({})),
    }
}

async fn hand_over(client: &NodeClient, to: Option<&str>, timeout_seconds: f64) -> Result<Value, PlaceError> {
    let body = json!({"to": to, "timeoutSeconds": timeout_seconds});
    let response = client.post_once("/replication/handover", &body, "application/json", HANDOVER_UNKNOWN).await?;
    let text = response.bytes().await.map_err(|error| client.broke_off(&error, HANDOVER_UNKNOWN))?;
    serde_json::from_slice(&text)
        .map_err(|error| PlaceError::new(format!("{} answered something else than a node does: {error}", client.url())))
}

fn handed(answer: &Value) -> String {
    format!(
        "{} leads now, in epoch {}; nothing was lost, and writes were not taken for {} ms",
        text_of(answer, "newLeader"),
        text_of(answer, "epoch"),
        text_of(answer, "writesUnavailableMs")
    )
}

/// What has been done, in a sentence.
fn done(answer: &Value) -> String {
    let is_known = |name: &str| answer.get(name).is_some_and(|value| !value.is_null());
    let mut out = match answer.get("role").and_then(Value::as_str) {
        Some("leader") => format!("leads in epoch {}", text_of(answer, "epoch")),
        Some("follower") if is_known("leader") => format!(
            "follows {}; the connection is made in the background, and 'holdfast replication status' tells how it goes",
            text_of(answer, "leader")
        ),
        Some("follower") => "follows".to_owned(),
        _ => "neither leads nor follows".to_owned(),
    };
    // Writing to a string cannot fail.
    if is_known("port") {
        let _ = write!(out, ", followers connect to port {}", text_of(answer, "port"));
    }
    if is_known("silenceSeconds") {
        let (silence, port) = (text_of(answer, "silenceSeconds"), text_of(answer, "newLeaderPort"));
        let _ = write!(out, "; stands for the leader's place after {silence} s of silence, on port {port}");
    }
    out.push_str(if answer.get("readOnly") == Some(&Value::Bool(true)) {
        "; takes no writes"
    } else {
        "; takes writes"
    });
    out
}

/// The status as a person reads it.
fn status(status: &Value) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "  {name:<15}{text}");
    };
    line("node", &text_of(status, "node"));
    line("role", &text_of(status, "role"));
    let leader = match status.get("epochLeader") {
        Some(Value::String(leader)) => format!(", led by {}", printable(leader)),
        _ => String::new(),
    };
    line("epoch", &format!("{}{leader}", text_of(status, "epoch")));
    line("writes", &writes(status));
    line("port", &port(status));
    let voters = rows_of(status, "voters").into_iter().map(Value::Object);
    let voters: Vec<String> =
        voters.map(|voter| format!("{} ({})", text_of(&voter, "node"), text_of(&voter, "endpoint"))).collect();
    line("voters", &if voters.is_empty() { "none".to_owned() } else { voters.join(", ") });
    line("waits for", &waits_for(status));
    if status.get("role").and_then(Value::as_str) == Some("follower") {
        following(status, &mut line);
    }
    followers(status, &mut out);
    kept(status, &mut out);
    out.trim_end().to_owned()
}

fn writes(status: &Value) -> String {
    if status.get("readOnly") != Some(&Value::Bool(true)) {
        return "taken".to_owned();
    }
    let why = match status.get("readOnlyReason").and_then(Value::as_str) {
        Some("follower") => "it follows, and the leader takes them",
        Some("handover") => "the lead is being handed over",
        Some("operator") => "an operator has made it read-only; 'holdfast replication read-write' ends that",
        Some("starting") => "it does not know yet whether it still leads",
        _ => "no reason is given",
    };
    format!("refused: {why}")
}

fn port(status: &Value) -> String {
    match status.get("replicationPortError") {
        Some(Value::String(error)) => format!("not open, and tried again: {}", printable(error)),
        _ => text_of(status, "replicationPort"),
    }
}

fn waits_for(status: &Value) -> String {
    let sooner = status.get("syncTimeouts").and_then(Value::as_u64).unwrap_or_default();
    let sooner = if sooner == 0 { String::new() } else { format!("; {sooner} writes were answered before that") };
    match status.get("minSyncReplicas").and_then(Value::as_u64).unwrap_or_default() {
        0 => format!("no follower{sooner}"),
        count => {
            let within = text_of(status, "syncTimeoutSeconds");
            format!("{count} {}, for {within} s at most{sooner}", if count == 1 { "follower" } else { "followers" })
        }
    }
}

/// How a follower stands with its leader.
fn following(status: &Value, line: &mut impl FnMut(&str, &str)) {
    let Some(at) = status.get("follower") else { return };
    let endpoint = at.pointer("/leader/endpoint").map_or("-".to_owned(), plain);
    let node = at.pointer("/leader/node").and_then(Value::as_str);
    line("follows", &node.map_or(endpoint.clone(), |node| format!("{} at {endpoint}", printable(node))));
    let silent = text_of(at, "silentMs");
    let behind = match at.get("lagOps").and_then(Value::as_u64) {
        Some(operations) => format!("{operations} operations behind"),
        None => "how far behind is not known".to_owned(),
    };
    line("state", &format!("{}, {behind}, leader heard {silent} ms ago", text_of(at, "state")));
    let failover = match at.get("autoFailoverSeconds") {
        None | Some(Value::Null) => "off".to_owned(),
        Some(seconds) => format!("after {} s of silence", plain(seconds)),
    };
    line("auto-failover", &failover);
    if let Some(ballot) = at.get("unelected").filter(|ballot| !ballot.is_null()) {
        let (votes, voters) = (text_of(ballot, "votes"), text_of(ballot, "voters"));
        line("election", &format!("not won: {votes} of {voters} voters, {} are needed", text_of(ballot, "needed")));
    }
    if let Some(Value::String(error)) = at.get("lastError") {
        line("last error", &printable(error));
    }
}

/// A row for each follower, and below what went wrong.
fn followers(status: &Value, out: &mut String) {
    let leader = status.get("leader").unwrap_or(&Value::Null);
    let followers = rows_of(leader, "followers");
    if followers.is_empty() {
        return;
    }
    let row = |follower: &Map<String, Value>| {
        let cells = FOLLOWER_COLUMNS.iter();
        let cells =
            cells.map(|(field, column)| ((*column).to_owned(), follower.get(*field).cloned().unwrap_or_default()));
        cells.collect::<Map<_, _>>()
    };
    let rows: Vec<_> = followers.iter().map(row).collect();
    out.push('\n');
    out.push_str(&table(&rows));
    for follower in followers.into_iter().map(Value::Object) {
        if let Some(Value::String(error)) = follower.get("lastError") {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "  {}: {}", text_of(&follower, "node"), printable(error));
        }
    }
}

/// What is kept for whom, where anybody is waited for.
fn kept(status: &Value, out: &mut String) {
    for database in rows_of(status, "databases").into_iter().map(Value::Object) {
        let count = database.pointer("/tombstonesKept/forMembers").and_then(Value::as_u64).unwrap_or_default();
        let members: Vec<String> =
            database.get("waitingFor").and_then(Value::as_array).into_iter().flatten().map(plain).collect();
        if count > 0 && !members.is_empty() {
            let name = text_of(&database, "database");
            // Writing to a string cannot fail.
            let _ = writeln!(out, "  {name}: {count} tombstones are kept for {}", members.join(", "));
        }
    }
}

fn text_of(object: &Value, name: &str) -> String {
    object.get(name).map_or("-".to_owned(), plain)
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}

/// `HOST`, `HOST:PORT`, `[IPv6]:PORT`.
fn parse_leader(text: &str) -> Result<Leader, String> {
    let wrong = || "must be HOST:PORT, the leader's port for followers, such as office:5500 or [::1]:5500".to_owned();
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => (text, LEADER_PORT_DEFAULT),
    };
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || host.contains('/') || port == 0 || (host.contains(':') && !is_bracketed) {
        return Err(wrong());
    }
    Ok(Leader { host: host.to_owned(), port })
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds > 0.0 => Ok(seconds),
        _ => Err("must be a number of seconds greater than 0, such as 10 or 0.5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::{Leader, done, handed, parse_leader, parse_seconds, status};

    #[test]
    fn a_leader_is_shown_with_its_followers_and_what_went_wrong_with_them() {
        let shown = status(&json!({
            "node": "office", "role": "leader", "readOnly": false, "readOnlyReason": null, "epoch": 3,
            "epochLeader": "office", "replicationPort": 5500, "minSyncReplicas": 1, "syncTimeoutSeconds": 5.0,
            "syncTimeouts": 2, "voters": [{"node": "office", "endpoint": "127.0.0.1:5500"}],
            "leader": {"followers": [
                {"node": "b", "state": "streaming", "isVoter": true, "lagOps": 0, "lagBytes": 0, "lagMs": 0,
                 "silentMs": 12, "lastError": null},
                {"node": "c", "state": "disconnected", "isVoter": false, "lagOps": 7, "lagBytes": 900, "lagMs": 4000,
                 "silentMs": 4100, "lastError": "it\nwent away"}]},
            "databases": [
                {"database": "shop", "tombstonesKept": {"forMembers": 3}, "waitingFor": ["c@0000000000000007"]},
                {"database": "till", "tombstonesKept": {"forMembers": 0}, "waitingFor": ["c@0000000000000007"]}]
        }));
        let expected = "  \
  node           office
  role           leader
  epoch          3, led by office
  writes         taken
  port           5500
  voters         office (127.0.0.1:5500)
  waits for      1 follower, for 5.0 s at most; 2 writes were answered before that

  Follower  State         Votes  LagOps  LagBytes  LagMs  SilentMs
  b         streaming     true   0       0         0      12
  c         disconnected  false  7       900       4000   4100
  c: it went away
  shop: 3 tombstones are kept for c@0000000000000007";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_follower_is_shown_with_its_leader() {
        let shown = status(&json!({
            "node": "b", "role": "follower", "readOnly": true, "readOnlyReason": "follower", "epoch": 1,
            "follower": {"state": "streaming", "lagOps": 4, "silentMs": 90, "autoFailoverSeconds": 10.0, "lastError": null,
                "leader": {"endpoint": "office:5500", "node": "office"}}
        }));
        for expected in [
            "  writes         refused: it follows, and the leader takes them\n",
            "  follows        office at office:5500\n",
            "  state          streaming, 4 operations behind, leader heard 90 ms ago\n",
            "  auto-failover  after 10.0 s of silence",
        ] {
            assert!(shown.contains(expected), "{expected} in\n{shown}");
        }
    }

    #[test]
    fn what_was_done_is_a_sentence() {
        let leads = json!({"success": true, "role": "leader", "port": 5500, "readOnly": false, "epoch": 2});
        assert_eq!(done(&leads), "leads in epoch 2, followers connect to port 5500; takes writes");
        let stopped = json!({"role": "none", "readOnly": false, "epoch": 2});
        assert_eq!(done(&stopped), "neither leads nor follows; takes writes");
        let watches =
            json!({"role": "follower", "readOnly": true, "epoch": 2, "silenceSeconds": 3.0, "newLeaderPort": 5501});
        let expected = "follows; stands for the leader's place after 3.0 s of silence, on port 5501; takes no writes";
        assert_eq!(done(&watches), expected);
        let over = json!({"newLeader": "b", "epoch": "3@b", "finalSeq": 9, "writesUnavailableMs": 41});
        assert_eq!(handed(&over), "b leads now, in epoch 3@b; nothing was lost, and writes were not taken for 41 ms");
    }

    #[test]
    fn a_leader_is_a_host_and_a_port() {
        let leader = |host: &str, port| Leader { host: host.to_owned(), port };
        assert_eq!(parse_leader("office:5501").unwrap(), leader("office", 5501));
        assert_eq!(parse_leader("office").unwrap(), leader("office", 5500));
        assert_eq!(parse_leader("[::1]:5501").unwrap(), leader("[::1]", 5501));
        assert_eq!(parse_leader("[::1]").unwrap(), leader("[::1]", 5500));
        for wrong in ["", ":5500", "office:0", "office:port", "::1", "http://office", "http://office:5500"] {
            assert!(parse_leader(wrong).unwrap_err().contains("office:5500"), "{wrong}");
        }
        assert_eq!(parse_seconds("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "NaN", "inf", "soon"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
    }
}
