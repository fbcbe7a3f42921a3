//! `holdfast dead-letters`: operations from peers that could not be taken in, and what is to become of them.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::EXIT_FAILED;
use super::running_node::{OfDatabase, tell};
use super::status::{rows_of, table};
use crate::transfer::place::{PlaceError, encoded};

/// What a list shows of a letter, under which name; `show` has the rest.
const COLUMNS: [(&str, &str); 6] = [
    ("Dot", "Letter"),
    ("Cause", "Cause"),
    ("Collection", "Collection"),
    ("EntityId", "Document"),
    ("SourceNodeId", "From"),
    ("ParkedUtc", "Since"),
];

/// Arguments of `holdfast dead-letters`.
#[derive(Args)]
pub(super) struct DeadLettersArguments {
    #[command(subcommand)]
    command: DeadLetters,
}

#[derive(Subcommand)]
enum DeadLetters {
    /// List them, the oldest first.
    List(ListArguments),
    /// Show one with its cause and as it came, as JSON.
    Show(OneArguments),
    /// Try one again, or all: they may hold by now.
    Retry(RetryArguments),
    /// Give one up: what this node shows is written again, so that every node ends with it.
    Settle(OneArguments),
}

#[derive(Args)]
struct ListArguments {
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
struct OneArguments {
    /// The letter: its origin and number, or the id of its operation
    letter: String,
    #[command(flatten)]
    of: OfDatabase,
}

#[derive(Args)]
struct RetryArguments {
    /// The letter; none with --all
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    letter: Option<String>,
    /// All of the database
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    of: OfDatabase,
}

/// Lists, shows, retries or settles dead letters.
pub(super) fn run(arguments: DeadLettersArguments) -> ExitCode {
    let told = match arguments.command {
        DeadLetters::List(arguments) => list(&arguments).map(|text| (text, false)),
        DeadLetters::Show(arguments) => show(&arguments).map(|text| (text, false)),
        DeadLetters::Retry(arguments) => {
            let path =
                arguments.letter.as_deref().map_or_else(|| "retry".to_owned(), |letter| of_one(letter, "/retry"));
            change(&arguments.of, &path)
        }
        DeadLetters::Settle(arguments) => change(&arguments.of, &of_one(&arguments.letter, "/settle")),
    };
    match told {
        // What was meant is still there.
        Ok((text, has_failed)) if has_failed => {
            tell(Ok(text));
            ExitCode::from(EXIT_FAILED)
        }
        told => tell(told.map(|(text, _)| text)),
    }
}

fn of_one(letter: &str, what: &str) -> String {
    format!("{}{what}", encoded(letter))
}

fn list(arguments: &ListArguments) -> Result<String, PlaceError> {
    let (runtime, client) = arguments.of.node("dead-letters")?;
    let path = format!("/api/replication/dead-letters?limit={}", arguments.limit);
    let answer: Value = runtime.block_on(client.get(&path))?;
    Ok(if arguments.json { format!("{answer:#}") } else { as_text(&answer) })
}

fn show(arguments: &OneArguments) -> Result<String, PlaceError> {
    let (runtime, client) = arguments.of.node("dead-letters")?;
    let path = format!("/api/replication/dead-letters/{}", of_one(&arguments.letter, ""));
    let letter: Value = runtime.block_on(client.get(&path))?;
    Ok(format!("{letter:#}"))
}

/// Tells what came of it, and whether any letter that was meant stays.
fn change(of: &OfDatabase, path: &str) -> Result<(String, bool), PlaceError> {
    let (runtime, client) = of.node("dead-letters")?;
    let path = format!("/api/replication/dead-letters/{path}");
    let answer: Value = runtime.block_on(client.post(&path, &Value::Object(Map::new())))?;
    let count = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
    if count("Named") == 0 {
        return Ok(("there are no dead letters in this database".to_owned(), false));
    }
    let mut out = format!("{} done", count("Done"));
    if count("DoneHereOnly") > 0 {
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            ", {} of them on this node alone: what names no document cannot be settled for other nodes. Settle it on \
             each node that lists it",
            count("DoneHereOnly")
        );
    }
    let failed = rows_of(&answer, "Failed");
    let has_failed = !failed.is_empty();
    for failure in failed {
        let text = |name: &str| failure.get(name).and_then(Value::as_str).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(out, "\n{} stays: {}", text("Dot"), text("Reason"));
    }
    Ok((out, has_failed))
}

fn as_text(answer: &Value) -> String {
    let row = |letter: &Map<String, Value>| {
        let cells =
            COLUMNS.iter().filter_map(|(field, column)| Some(((*column).to_owned(), letter.get(*field)?.clone())));
        cells.collect::<Map<_, _>>()
    };
    let rows: Vec<_> = rows_of(answer, "DeadLetters").iter().map(row).collect();
    let mut out = if rows.is_empty() { String::new() } else { table(&rows) };
    let total = answer.get("Total").and_then(Value::as_u64).unwrap_or_default();
    let _ = write!(out, "{total} dead letters");
    out
}
