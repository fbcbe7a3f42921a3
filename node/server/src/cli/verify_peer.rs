//! `holdfast verify --peer`: do a running node and a peer hold the same, and what is to be done if not?

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::EXIT_FAILED;
use super::status::{printable, rows_of, table};
use super::upkeep::{UpkeepArguments, say};
use crate::transfer::place::{Place, PlaceArguments, PlaceError};

/// Differences that are printed; `--json` has all.
const SHOWN_MAX: usize = 50;

/// Arguments of `holdfast verify --peer`.
#[derive(Args)]
#[command(next_help_heading = "Against a peer, while the node runs")]
pub(super) struct PeerVerifyArguments {
    /// Compare with this peer, document by document
    #[arg(long, value_name = "NAME", conflicts_with = "data_dir")]
    pub(super) peer: Option<String>,
    /// Settle what differs: from each side's own log, else from the side that is sound
    #[arg(long, requires = "peer")]
    repair: bool,
    /// Which side is right where no log can tell
    #[arg(long, value_name = "SIDE", requires = "repair")]
    prefer: Option<PreferredSide>,
    /// Print what the node answered, as JSON
    #[arg(long, requires = "peer")]
    json: bool,
    /// Address of the running node [default: the one that the settings describe]
    #[arg(long, value_name = "URL", requires = "peer")]
    url: Option<String>,
    /// Its root key [default: the settings' root key, for the node that they describe]
    #[arg(long, value_name = "KEY", env = "HOLDFAST_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Secret of the cluster [default: the settings' Node:ReplicationApiKey]
    #[arg(long, value_name = "KEY", env = "HOLDFAST_REPLICATION_KEY", hide_env_values = true)]
    replication_key: Option<String>,
}

/// A side of a comparison.
#[derive(Clone, Copy, ValueEnum)]
enum PreferredSide {
    /// The node that is asked.
    Local,
    /// The peer.
    Peer,
}

/// Compares a running node with a peer.
pub(super) fn run(peer: &str, arguments: &PeerVerifyArguments, upkeep: &UpkeepArguments) -> ExitCode {
    match ask(peer, arguments, upkeep) {
        Ok(answer) => {
            say(&if arguments.json { format!("{answer:#}") } else { told(&answer) });
            let is_equal = answer.get("IsEqual").and_then(Value::as_bool).unwrap_or_default();
            if is_equal { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "holdfast: {}", error.0);
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn ask(peer: &str, arguments: &PeerVerifyArguments, upkeep: &UpkeepArguments) -> Result<Value, PlaceError> {
    let place = PlaceArguments::of_node(arguments.url.clone(), arguments.key.clone(), upkeep.settings.clone());
    let secret = place.cluster_secret(arguments.replication_key.as_deref())?;
    let Place::Node { runtime, client } = place.place(None)? else {
        return Err(PlaceError::new("a peer is compared with a running node; leave --data-dir out"));
    };
    let mut order = json!({"Peer": peer, "Repair": arguments.repair});
    if let (Some(database), Some(order)) = (&upkeep.database, order.as_object_mut()) {
        order.insert("Database".to_owned(), database.to_string().into());
    }
    if let (Some(side), Some(order)) = (arguments.prefer, order.as_object_mut()) {
        let side = match side {
            PreferredSide::Local => "Local",
            PreferredSide::Peer => "Peer",
        };
        order.insert("Prefer".to_owned(), side.into());
    }
    runtime.block_on(client.tell_as_node(Method::POST, "/api/replication/verify", Some(&order), &secret))
}

/// What was found, for people.
fn told(answer: &Value) -> String {
    let mut lines = Vec::new();
    let text = |value: &Value, field: &str| printable(value.get(field).and_then(Value::as_str).unwrap_or_default());
    for result in rows_of(answer, "Results") {
        let result = Value::Object(result);
        let records = result.get("Records").and_then(Value::as_u64).unwrap_or_default();
        lines.push(format!(
            "{} with {}: {} ({records} records read here)",
            text(&result, "DatabaseName"),
            text(&result, "PeerNodeId"),
            text(&result, "Summary")
        ));
        let differences = rows_of(&result, "Differences");
        if !differences.is_empty() {
            lines.push(table(differences.get(..SHOWN_MAX).unwrap_or(&differences)).trim_end().to_owned());
        }
        if differences.len() > SHOWN_MAX {
            lines.push(format!("  … and {} more; --json has them all", differences.len() - SHOWN_MAX));
        }
    }
    for failure in rows_of(answer, "Failures") {
        let failure = Value::Object(failure);
        lines.push(format!(
            "{} with {}: NOT COMPARED: {}",
            text(&failure, "DatabaseName"),
            text(&failure, "PeerNodeId"),
            text(&failure, "Error")
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::told;

    #[test]
    fn what_was_found_is_told_document_by_document() {
        let answer = json!({"IsEqual": false, "Results": [{
            "DatabaseName": "shop", "PeerNodeId": "b", "Summary": "1 documents differ.", "Records": 7,
            "Differences": [{"Collection": "tea", "Id": "x\u{1b}", "What": "it is missing here", "Outcome": "Found"}],
        }], "Failures": [{"DatabaseName": "shop", "PeerNodeId": "c", "Error": "not reached"}]});
        let expected = "shop with b: 1 documents differ. (7 records read here)\n  Collection  Id  What                Outcome\n  \
                        tea         x   it is missing here  Found\nshop with c: NOT COMPARED: not reached";
        assert_eq!(told(&answer), expected);
    }
}
