//! `holdfast status`: how a running node, its databases and its peers are doing.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value};

use super::EXIT_FAILED;
use super::upkeep::say;
use crate::transfer::place::{NodeClient, Place, PlaceArguments, PlaceError};

/// Widest column that is printed; longer values are cut.
const COLUMN_CHARACTERS_MAX: usize = 60;

/// Widest line of a table, so that it stands in a terminal unbroken.
const LINE_CHARACTERS_MAX: usize = 120;

/// What is shown of a peer, under which name; `--json` has the rest.
const PEER_COLUMNS: [(&str, &str); 9] = [
    ("/PeerNodeId", "Peer"),
    ("/State", "State"),
    ("/ToSend/Operations", "ToSend"),
    ("/ToReceive/Operations", "ToReceive"),
    ("/ToSend/Seconds", "LagSeconds"),
    ("/Cache/ToSend", "CacheToSend"),
    ("/RoundTripMilliseconds", "RoundTripMs"),
    ("/ClockSkewMilliseconds", "SkewMs"),
    ("/LastContactUtc", "LastContact"),
];

/// Whether the cache of a database is full, as a database's contents say it.
const CACHE_IS_FULL: &str = "CacheIsFull";

/// Arguments of `holdfast status`.
#[derive(Args)]
pub(super) struct StatusArguments {
    /// Secret of the cluster, for what peers are doing [default: the settings' Node:ReplicationApiKey]
    #[arg(long, value_name = "KEY", env = "HOLDFAST_REPLICATION_KEY", hide_env_values = true)]
    replication_key: Option<String>,
    /// Print what the node answered, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArguments,
}

/// Shows a node's status.
pub(super) fn run(arguments: StatusArguments) -> ExitCode {
    let told = match arguments.place.place(None) {
        Ok(Place::Directory { .. }) => {
            Err(PlaceError::new("status asks a running node; 'holdfast verify' looks at a data directory"))
        }
        Ok(Place::Node { runtime, client }) => runtime.block_on(ask(&client, &arguments)),
        Err(error) => Err(error),
    };
    match told {
        Ok(answers) => {
            say(&if arguments.json { format!("{:#}", answers.as_json()) } else { answers.as_text() });
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "holdfast: {}", error.0);
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// What the node answered, or why it did not.
struct Answers {
    url: String,
    node: Result<Value, PlaceError>,
    databases: Result<Value, PlaceError>,
    replication: Result<Value, PlaceError>,
}

async fn ask(client: &NodeClient, arguments: &StatusArguments) -> Result<Answers, PlaceError> {
    let node: Result<Value, PlaceError> = client.get("/node").await;
    let databases: Result<Value, PlaceError> = client.get("/api/databases").await;
    let (node, databases) = match (node, databases) {
        (Err(error), Err(_)) => return Err(error),
        answers => answers,
    };
    let secret = arguments.place.cluster_secret(arguments.replication_key.as_deref())?;
    let replication = client.get_as_node("/api/replication/status", &secret).await;
    Ok(Answers { url: client.url().to_owned(), node, databases, replication })
}

impl Answers {
    fn as_json(&self) -> Value {
        let mut whole = Map::new();
        for (name, answer) in [("Node", &self.node), ("Databases", &self.databases), ("Replication", &self.replication)]
        {
            let value = answer.as_ref().map_or_else(|error| Value::from(error.0.clone()), Value::clone);
            whole.insert(name.to_owned(), value);
        }
        Value::Object(whole)
    }

    fn as_text(&self) -> String {
        let mut out = format!("{}\n", self.url);
        match &self.node {
            Ok(node) => {
                let pairs = node.as_object().into_iter().flatten().filter(|(_, value)| is_plain(value));
                for (name, value) in pairs {
                    let _ = writeln!(out, "  {name}: {}", shown(value));
                }
            }
            Err(error) => {
                let _ = writeln!(out, "  {}", error.0);
            }
        }
        section(&mut out, "Databases", &self.databases, databases);
        out.push_str(&full_caches(&self.databases));
        section(&mut out, "Peers", &self.replication, peers);
        out.push_str(&reasons(&self.replication));
        out.trim_end().to_owned()
    }
}

/// A sentence for each database whose cache takes no more.
fn full_caches(answer: &Result<Value, PlaceError>) -> String {
    let mut out = String::new();
    let is_full = |row: &Map<String, Value>| row.get("Contents").is_some_and(|held| held[CACHE_IS_FULL] == true);
    for row in answer.iter().flat_map(|answer| rows_of(answer, "Databases")).filter(is_full) {
        let name = row.get("Name").map(shown).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "  {name}: the cache is full, and writes that make it larger are refused until entries end. Delete some, or \
             raise Node:CacheMaxMegabytes."
        );
    }
    out
}

/// A sentence for each peer that is not proven equal: what is so, and what to do.
pub(super) fn reasons(answer: &Result<Value, PlaceError>) -> String {
    let mut out = String::new();
    let Ok(answer) = answer else { return out };
    for database in rows_of(answer, "Databases") {
        let name = database.get("DatabaseName").map(shown).unwrap_or_default();
        for peer in rows_of(&Value::Object(database), "Peers") {
            let text = |field: &str| peer.get(field).map(|value| printable(value.as_str().unwrap_or_default()));
            if let (Some(node), Some(state), Some(reason)) = (text("PeerNodeId"), text("State"), text("StateReason"))
                && (state != "InSync" || peer.get("IsClockSuspect") == Some(&Value::Bool(true)))
            {
                // Writing to a string cannot fail.
                let _ = writeln!(out, "  {name} with {node}: {reason}");
            }
        }
    }
    out
}

fn section(
    out: &mut String,
    title: &str,
    answer: &Result<Value, PlaceError>,
    rows: impl FnOnce(&Value) -> Vec<Map<String, Value>>,
) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "\n{title}");
    match answer.as_ref().map(rows) {
        Ok(rows) if rows.is_empty() => out.push_str("  none\n"),
        Ok(rows) => out.push_str(&table(&rows)),
        Err(error) => {
            let _ = writeln!(out, "  not known: {}", error.0);
        }
    }
}

/// The objects of a list, or of the list that an object holds under a name; a text counts as a name.
pub(super) fn rows_of(answer: &Value, name: &str) -> Vec<Map<String, Value>> {
    let list = answer.as_array().or_else(|| answer.get(name)?.as_array());
    let row = |value: &Value| match value {
        Value::Object(object) => object.clone(),
        other => Map::from_iter([("Name".to_owned(), other.clone())]),
    };
    list.into_iter().flatten().map(row).collect()
}

/// One row for each database, with what it holds beside its name.
fn databases(answer: &Value) -> Vec<Map<String, Value>> {
    let mut rows = rows_of(answer, "Databases");
    for row in &mut rows {
        if let Some(Value::Object(contents)) = row.shift_remove("Contents") {
            // Long numbers that mean something to programs only, and what is told in a sentence.
            row.extend(
                contents.into_iter().filter(|(name, _)| !["LogId", "Digest", CACHE_IS_FULL].contains(&name.as_str())),
            );
        }
    }
    rows
}

/// One row for each peer of each database, with the columns that say whether data moves.
fn peers(answer: &Value) -> Vec<Map<String, Value>> {
    let mut rows = Vec::new();
    for database in rows_of(answer, "Databases") {
        let name = database.get("DatabaseName").cloned().unwrap_or_default();
        let database = Value::Object(database);
        for peer in rows_of(&database, "Peers") {
            let peer = Value::Object(peer);
            let mut row = Map::from_iter([("Database".to_owned(), name.clone())]);
            for (field, column) in PEER_COLUMNS {
                if let Some(value) = peer.pointer(field) {
                    row.insert(column.to_owned(), value.clone());
                }
            }
            rows.push(row);
        }
    }
    rows
}

/// Rows under their names, as wide as their widest value.
pub(super) fn table(rows: &[Map<String, Value>]) -> String {
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in rows.iter().flatten().filter(|(_, value)| is_plain(value)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut columns: Vec<Vec<String>> = Vec::with_capacity(names.len());
    for name in names {
        let values = rows.iter().map(|row| row.get(name).filter(|value| is_plain(value)).map(shown));
        columns.push(std::iter::once(name.clone()).chain(values.map(Option::unwrap_or_default)).collect());
    }
    let width = |column: &Vec<String>| column.iter().map(|text| text.chars().count()).max().unwrap_or_default();
    // The widest columns give way until a line fits, and what they are called goes last.
    let named = |column: &Vec<String>| column.first().map_or(0, |name| name.chars().count());
    let names: Vec<usize> = columns.iter().map(named).collect();
    let mut widths: Vec<usize> = columns.iter().map(width).collect();
    let room = LINE_CHARACTERS_MAX.saturating_sub(2 * columns.len());
    for cuts_names in [false, true] {
        let least = |name: usize| if cuts_names { 1 } else { name };
        while widths.iter().sum::<usize>() > room
            && let Some((widest, _)) = widths
                .iter_mut()
                .zip(&names)
                .filter(|(width, name)| **width > least(**name))
                .max_by_key(|(width, _)| **width)
        {
            *widest -= 1;
        }
    }
    let mut out = String::new();
    for line in 0..=rows.len() {
        let cells = columns.iter().zip(&widths).map(|(column, &width)| {
            let text = cut(column.get(line).map(String::as_str).unwrap_or_default(), width);
            format!("{text:<width$}")
        });
        out.push_str(format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end());
        out.push('\n');
    }
    out
}

fn is_plain(value: &Value) -> bool {
    !value.is_object() && !value.is_array()
}

/// A value on one line, cut where it is long; what a node sends must not move a terminal's cursor.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    cut(&printable(&text), COLUMN_CHARACTERS_MAX)
}

/// A text that cannot move a terminal's cursor.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// A text that fits, with a sign where it was cut.
fn cut(text: &str, characters_max: usize) -> String {
    if text.chars().count() <= characters_max {
        return text.to_owned();
    }
    text.chars().take(characters_max.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{databases, full_caches, peers, table};

    #[test]
    fn a_full_cache_is_told_in_a_sentence() {
        let of = |name: &str, is_full: bool| json!({"Name": name, "Contents": {"CacheIsFull": is_full}});
        let answer = json!([of("a", false), of("b", true), {"Name": "c", "Contents": null}]);
        assert_eq!(table(&databases(&answer)), "  Name\n  a\n  b\n  c\n");
        let told = full_caches(&Ok(answer));
        assert!(told.starts_with("  b: the cache is full") && told.lines().count() == 1, "{told}");
    }

    #[test]
    fn a_table_stands_in_columns() {
        let answer =
            json!([{"Name": "a", "Contents": {"Documents": 10, "LogId": "f"}}, {"Name": "long", "Error": "x\u{1b}y"}]);
        assert_eq!(table(&databases(&answer)), "  Name  Documents  Error\n  a     10\n  long             x y\n");
    }

    #[test]
    fn each_peer_of_each_database_is_a_row() {
        let answer = json!({"Databases": [
            {"DatabaseName": "shop", "Peers": [{"PeerNodeId": "node-2", "CatchUpReason": "because", "Cache": {"ToSend": 5}}]},
            {"DatabaseName": "empty", "Peers": []}
        ]});
        assert_eq!(table(&peers(&answer)), "  Database  Peer    CacheToSend\n  shop      node-2  5\n");
    }

    #[test]
    fn a_line_of_the_peers_stays_within_a_terminal() {
        let peer = json!({
            "PeerNodeId": "n".repeat(64), "BaseUrl": "http://10.0.0.2:1446", "State": "CatchingUp",
            "ToSend": {"Operations": u64::MAX, "Seconds": u64::MAX}, "ToReceive": {"Operations": u64::MAX},
            "Cache": {"ToSend": u64::MAX},
            "RoundTripMilliseconds": u64::MAX, "ClockSkewMilliseconds": i64::MIN,
            "LastContactUtc": "2026-01-01T00:00:00.000Z", "OperationsSent": 1,
        });
        let answer = json!({"Databases": [{"DatabaseName": "d".repeat(63), "Peers": [peer]}]});
        let shown = table(&peers(&answer));
        assert!(shown.lines().all(|line| line.chars().count() <= 120), "{shown}");
        assert!(shown.contains("LastContact") && shown.contains("…"), "{shown}");
        let names = shown.lines().next().unwrap_or_default();
        assert!(names.contains("CacheToSend") && !names.contains('…'), "{shown}");
    }
}
