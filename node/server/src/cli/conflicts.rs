//! `holdfast conflicts`: what several writers wrote who did not know of each other, and settling it.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use holdfast_core::id::CollectionName;
use serde_json::{Map, Value, json};

use super::import::parse_collection;
use super::running_node::{OfDatabase, tell};
use super::status::{rows_of, table};
use crate::transfer::place::{PlaceError, encoded};

/// What a list shows of a conflict, under which name; `show` has the rest.
const COLUMNS: [(&str, &str); 6] = [
    ("Id", "Id"),
    ("Collection", "Collection"),
    ("EntityId", "Document"),
    ("State", "State"),
    ("CreatedUtc", "Since"),
    ("Reason", "Reason"),
];

/// Arguments of `holdfast conflicts`.
#[derive(Args)]
pub(super) struct ConflictsArguments {
    #[command(subcommand)]
    command: Conflicts,
}

#[derive(Subcommand)]
enum Conflicts {
    /// List conflicts, the newest first.
    List(ListArguments),
    /// Show one with all its versions and what they started from, as JSON.
    Show(ShowArguments),
    /// Settle one, or many by a rule.
    Resolve(Box<ResolveArguments>),
}

#[derive(Args)]
struct ListArguments {
    /// Conflicts of this collection only
    #[arg(long, short = 'c', value_name = "NAME", value_parser = parse_collection)]
    collection: Option<CollectionName>,
    /// Settled ones too
    #[arg(long)]
    all: bool,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    /// Print what the node answered, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    of: OfDatabase,
}

#[derive(Args)]
struct ShowArguments {
    /// The conflict's id
    id: String,
    #[command(flatten)]
    of: OfDatabase,
}

#[derive(Args)]
struct ResolveArguments {
    /// The conflict's id; none with --rule
    #[arg(required_unless_present = "rule", conflicts_with = "rule")]
    id: Option<String>,
    /// Keep this version: `shown`, or a VersionId
    #[arg(long, value_name = "VERSION", group = "how")]
    choose: Option<String>,
    /// Write the document in this file; - is standard input
    #[arg(long, value_name = "FILE", group = "how")]
    value: Option<PathBuf>,
    /// Delete the document
    #[arg(long, group = "how")]
    delete: bool,
    /// Settle all by a rule: `LastWriterWins`, `FirstWriterWins`, `MergeFields` or `PreferNode`
    #[arg(long, value_name = "RULE", group = "how")]
    rule: Option<String>,
    /// The node whose versions are kept, with --rule `PreferNode`
    #[arg(long, value_name = "NAME", requires = "rule")]
    node: Option<String>,
    /// Conflicts of this collection only, with --rule
    #[arg(long, short = 'c', value_name = "NAME", value_parser = parse_collection, requires = "rule")]
    collection: Option<CollectionName>,
    /// Only tell what would happen, with --rule
    #[arg(long, requires = "rule")]
    dry_run: bool,
    #[command(flatten)]
    of: OfDatabase,
}

/// Lists, shows or settles conflicts.
pub(super) fn run(arguments: ConflictsArguments) -> ExitCode {
    let told = match arguments.command {
        Conflicts::List(arguments) => list(&arguments),
        Conflicts::Show(arguments) => show(&arguments),
        Conflicts::Resolve(arguments) => resolve(&arguments),
    };
    tell(told)
}

fn list(arguments: &ListArguments) -> Result<String, PlaceError> {
    let mut path =
        format!("/api/conflicts?limit={}&state={}", arguments.limit, if arguments.all { "all" } else { "open" });
    if let Some(collection) = &arguments.collection {
        let _ = write!(path, "&collection={}", encoded(collection.as_str()));
    }
    let (runtime, client) = arguments.of.node("conflicts")?;
    let answer: Value = runtime.block_on(client.get(&path))?;
    Ok(if arguments.json { format!("{answer:#}") } else { as_text(&answer) })
}

fn show(arguments: &ShowArguments) -> Result<String, PlaceError> {
    let (runtime, client) = arguments.of.node("conflicts")?;
    let path = format!("/api/conflicts/{}", encoded(&arguments.id));
    let conflict: Value = runtime.block_on(client.get(&path))?;
    Ok(format!("{conflict:#}"))
}

fn as_text(answer: &Value) -> String {
    let row = |conflict: &Map<String, Value>| {
        let cells =
            COLUMNS.iter().filter_map(|(field, column)| Some(((*column).to_owned(), conflict.get(*field)?.clone())));
        cells.collect::<Map<_, _>>()
    };
    let rows: Vec<_> = rows_of(answer, "Conflicts").iter().map(row).collect();
    let count = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
    let mut out = if rows.is_empty() { String::new() } else { table(&rows) };
    let _ = write!(out, "{} open, {} settled on record", count("Open"), count("Closed"));
    if answer.get("Next").is_some_and(Value::is_string) {
        out.push_str("; there are more: raise --limit");
    }
    out
}

fn resolve(arguments: &ResolveArguments) -> Result<String, PlaceError> {
    let (path, body) = match (&arguments.id, &arguments.rule) {
        (Some(id), _) => (format!("/api/conflicts/{}/resolve", encoded(id)), resolution(arguments)?),
        (None, rule) => {
            let body = json!({
                "Rule": rule, "Node": arguments.node, "Collection": arguments.collection.as_ref().map(CollectionName::as_str),
                "DryRun": arguments.dry_run,
            });
            ("/api/conflicts/resolve".to_owned(), body)
        }
    };
    let (runtime, client) = arguments.of.node("conflicts")?;
    let answer: Value = runtime.block_on(client.post(&path, &body))?;
    Ok(match answer.get("Version").and_then(Value::as_str) {
        Some(version) => format!("settled; the document is at version {version}"),
        None => format!("{answer:#}"),
    })
}

fn resolution(arguments: &ResolveArguments) -> Result<Value, PlaceError> {
    if let Some(version) = &arguments.choose {
        return Ok(json!({"Choose": version}));
    }
    if arguments.delete {
        return Ok(json!({"Delete": true}));
    }
    let Some(path) = &arguments.value else {
        return Err(PlaceError::new(
            "say how to settle it: --choose shown, --choose VERSION, --value FILE or --delete",
        ));
    };
    let text = if path.as_os_str() == "-" { io::read_to_string(io::stdin()) } else { fs::read_to_string(path) };
    let text = text.map_err(|error| PlaceError::new(format!("{} cannot be read: {error}", path.display())))?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| PlaceError::new(format!("{} is not JSON: {error}", path.display())))?;
    Ok(json!({"Value": value}))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::as_text;

    #[test]
    fn a_list_is_a_table_and_the_counts() {
        let answer = json!({"Open": 1, "Closed": 2, "Next": null, "Conflicts": [
            {"Id": "ab", "Collection": "stock", "EntityId": "tea", "State": "Open", "Versions": [{}]}]});
        let expected =
            "  Id  Collection  Document  State\n  ab  stock       tea       Open\n1 open, 2 settled on record";
        assert_eq!(as_text(&answer), expected);
        assert_eq!(as_text(&json!({"Open": 0, "Closed": 0})), "0 open, 0 settled on record");
    }
}
