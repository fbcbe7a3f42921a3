//! `holdfast peers`: whom a running node syncs with.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::EXIT_FAILED;
use super::status::{reasons, rows_of, table};
use super::upkeep::say;
use crate::settings::secret::Secret;
use crate::transfer::place::{NodeClient, Place, PlaceArguments, PlaceError};

const PEERS_PATH: &str = "/api/cluster/peers";

/// Arguments of `holdfast peers`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = false)]
pub(super) struct PeersArguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Secret of the cluster [default: the settings' Node:ReplicationApiKey]
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
    /// Show every peer and how it stands with it (the default)
    List,
    /// Register a peer, or change what is known of it; sync begins at once
    Add {
        /// Its Node:NodeId
        name: String,
        /// Where it listens, such as http://branch-2:1446
        // Not `url`: that is the address of the node that is asked.
        #[arg(value_name = "URL")]
        address: String,
        /// A database to sync with it; repeat for more [default: all]
        #[arg(long = "database", short = 'd', value_name = "NAME")]
        databases: Vec<String>,
        /// Register it without syncing
        #[arg(long)]
        inactive: bool,
    },
    /// Forget a peer; its data and ours stay as they are
    Remove {
        /// Its Node:NodeId
        name: String,
    },
}

/// Lists or changes the peers of a running node.
pub(super) fn run(arguments: &PeersArguments) -> ExitCode {
    let done = arguments.place.cluster_secret(arguments.replication_key.as_deref()).and_then(|secret| match arguments
        .place
        .place(None)?
    {
        Place::Directory { .. } => Err(PlaceError::new("peers asks a running node; leave --data-dir out")),
        Place::Node { runtime, client } => runtime.block_on(act(&client, &secret, arguments)),
    });
    match done {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "holdfast: {}", error.0);
            ExitCode::from(EXIT_FAILED)
        }
    }
}

async fn act(client: &NodeClient, secret: &Secret, arguments: &PeersArguments) -> Result<String, PlaceError> {
    match &arguments.action {
        None | Some(Action::List) => list(client, secret, arguments.json).await,
        Some(Action::Add { name, address, databases, inactive }) => {
            let mut peer = json!({"NodeId": name, "BaseUrl": address, "IsActive": !inactive});
            if let (false, Some(peer)) = (databases.is_empty(), peer.as_object_mut()) {
                peer.insert("Databases".to_owned(), json!(databases));
            }
            let answer = client.tell_as_node(Method::POST, PEERS_PATH, Some(&peer), secret).await?;
            let verb = if *inactive { "registered, and not synced with" } else { "registered; sync begins" };
            Ok(if arguments.json { format!("{answer:#}") } else { format!("{name} at {address}: {verb}") })
        }
        Some(Action::Remove { name }) => {
            let path = format!("{PEERS_PATH}/{}", utf8_percent_encode(name, NON_ALPHANUMERIC));
            client.tell_as_node(Method::DELETE, &path, None, secret).await?;
            Ok(if arguments.json { "null".to_owned() } else { format!("{name}: forgotten; its data and ours stay") })
        }
    }
}

async fn list(client: &NodeClient, secret: &Secret, is_json: bool) -> Result<String, PlaceError> {
    let peers: Value = client.get_as_node(PEERS_PATH, secret).await?;
    let status: Value = client.get_as_node("/api/replication/status", secret).await?;
    if is_json {
        return Ok(format!("{:#}", json!({"Peers": peers, "Replication": status})));
    }
    let rows: Vec<Map<String, Value>> = rows_of(&peers, "Peers").iter().map(|peer| row(peer, &status)).collect();
    if rows.is_empty() {
        return Ok("This node has no peers. 'holdfast peers add NAME URL' registers one.".to_owned());
    }
    let mut out = table(&rows);
    out.push_str(&reasons(&Ok(status)));
    Ok(out.trim_end().to_owned())
}

/// A peer, and in how many databases it stands how.
fn row(peer: &Map<String, Value>, status: &Value) -> Map<String, Value> {
    let name = peer.get("NodeId").cloned().unwrap_or_default();
    let mut states: Vec<(String, usize)> = Vec::new();
    let mut cache_to_send = None;
    for database in rows_of(status, "Databases") {
        for session in rows_of(&Value::Object(database), "Peers") {
            if session.get("PeerNodeId") != Some(&name) {
                continue;
            }
            if let Some(changes) = session.get("Cache").and_then(|cache| cache.get("ToSend")?.as_u64()) {
                cache_to_send = Some(cache_to_send.unwrap_or(0_u64).saturating_add(changes));
            }
            let state = session.get("State").and_then(Value::as_str).unwrap_or("?").to_owned();
            match states.iter_mut().find(|(known, _)| *known == state) {
                Some((_, count)) => *count += 1,
                None => states.push((state, 1)),
            }
        }
    }
    let states: Vec<String> = states.iter().map(|(state, count)| format!("{state} {count}")).collect();
    let databases = match peer.get("Databases").and_then(Value::as_array) {
        Some(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        None => "all".to_owned(),
    };
    Map::from_iter([
        ("Peer".to_owned(), name),
        ("BaseUrl".to_owned(), peer.get("BaseUrl").cloned().unwrap_or_default()),
        ("Active".to_owned(), peer.get("IsActive").cloned().unwrap_or_default()),
        ("Seed".to_owned(), peer.get("IsSeed").cloned().unwrap_or_default()),
        ("Databases".to_owned(), databases.into()),
        ("States".to_owned(), states.join(", ").into()),
        ("CacheToSend".to_owned(), cache_to_send.into()),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::status::table;
    use super::row;

    #[test]
    fn a_peer_is_told_with_its_states_over_all_databases() {
        let peer =
            json!({"NodeId": "b", "BaseUrl": "http://b:1", "IsActive": true, "IsSeed": false, "Databases": null});
        let session = |state: &str| {
            let (b, c) = (json!({"ToSend": 2}), json!({"ToSend": 900}));
            json!({"Peers": [{"PeerNodeId": "b", "State": state, "Cache": b}, {"PeerNodeId": "c", "State": "Ready", "Cache": c}]})
        };
        let status = json!({"Databases": [session("InSync"), session("Failing"), session("InSync")]});
        let rows = [row(peer.as_object().cloned().as_ref().unwrap_or(&serde_json::Map::new()), &status)];
        assert_eq!(
            table(&rows),
            "  Peer  BaseUrl     Active  Seed   Databases  States               CacheToSend\n  b     http://b:1  true    false  all        \
             InSync 2, Failing 1  6\n"
        );
    }
}
