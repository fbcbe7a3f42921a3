//! `holdfast query`: statements to a running node, one by one from the command line or a file, or typed in.
//!
//! ```text
//!   STATEMENT, -, a pipe ─► script: statements ─┬► carry ─► sheet: table, json, ndjson, csv ─► standard output
//!   a terminal ─► prompt ─► session ────────────┘    └► answer: the node's lines
//! ```
//!
//! **What stays true.** Standard output holds rows alone, but for the line under a table; everything else goes to
//! standard error. A statement that fails ends a script, and the exit code says so.

mod cell;
mod table;
mod sheet;
mod answer;
mod carry;
mod command;
mod completion;
mod fields;
mod session;
mod prompt;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use console::Term;
use holdfast_core::id::DatabaseName;
use holdfast_core::limits::QUERY_SCRIPT_BYTES_MAX;
use holdfast_query::language::script::statements;
use serde_json::Value;
use tokio::runtime::Runtime;

use self::answer::Ask;
use self::carry::{Ended, carry, remark};
use self::cell::screened;
use self::session::{Interrupt, Session};
use self::sheet::{Shown, Target};
use super::import::parse_database;
use super::status::rows_of;
use super::{EXIT_FAILED, EXIT_USAGE};
use crate::transfer::place::{NodeClient, Place, PlaceArguments, PlaceError};

/// Bytes of rows that are written together.
const BUFFER_BYTES: usize = 64 * 1024;

/// Arguments of `holdfast query`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct QueryArguments {
    /// What to carry out, or several with ; between them; - is standard input
    #[arg(value_name = "STATEMENT")]
    statement: Option<String>,
    /// The database [default: the node's only one]
    #[arg(long, short = 'd', value_name = "NAME", value_parser = parse_database)]
    database: Option<DatabaseName>,
    /// A value for @NAME in the statement: JSON, or else text; can be repeated
    #[arg(long, short = 'p', value_name = "NAME=VALUE", value_parser = parse_parameter)]
    parameter: Vec<(String, Value)>,
    /// Most rows of a SELECT, most documents to change of an UPDATE or DELETE [default: all]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    take: Option<u64>,
    /// How rows are shown
    #[arg(long, value_enum, default_value_t = Shown::Table)]
    format: Shown,
    /// Read the statements from this file; - is standard input
    #[arg(long, short = 'f', value_name = "FILE", conflicts_with = "statement")]
    file: Option<std::path::PathBuf>,
    #[command(flatten)]
    place: PlaceArguments,
}

const AFTER_HELP: &str = "\
Without a statement, at a terminal, statements are typed in, with history and completion; \\help there tells more. What was \
typed is kept in the file that HOLDFAST_HISTORY names, or else in the user's state directory.

Rows come as the node finds them and are all there, however many; --take stops earlier. Text that reads as a number is \
given as --parameter code='\"17\"'.

Exit codes: 0 done, 1 could not be done, 2 the command line is wrong.";

/// Carries out what was said, or asks what to do.
pub(super) fn run(arguments: QueryArguments) -> ExitCode {
    let text = match text_of(&arguments) {
        Ok(Some(text)) => text,
        Ok(None) if io::stdout().is_terminal() => {
            return match node(&arguments).and_then(|(runtime, client)| converse(&arguments, &runtime, client)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error),
            };
        }
        Ok(None) => {
            remark("say what to carry out: holdfast query \"SELECT * FROM products\"");
            return ExitCode::from(EXIT_USAGE);
        }
        Err(error) => return failed(&error),
    };
    if statements(&text).is_empty() {
        remark("there is no statement in what was given");
        return ExitCode::from(EXIT_USAGE);
    }
    match node(&arguments).and_then(|(runtime, client)| script(&arguments, &runtime, &client, &text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &PlaceError) -> ExitCode {
    remark(&screened(error.0.trim_end()));
    ExitCode::from(EXIT_FAILED)
}

/// The statements that were given; none where they are to be typed in.
fn text_of(arguments: &QueryArguments) -> Result<Option<String>, PlaceError> {
    let is_dash = |path: &Path| path == Path::new("-");
    match (&arguments.statement, &arguments.file) {
        (Some(statement), _) if statement == "-" => read(io::stdin(), "standard input").map(Some),
        (Some(statement), _) => Ok(Some(statement.clone())),
        (None, Some(path)) if is_dash(path) => read(io::stdin(), "standard input").map(Some),
        (None, Some(path)) => {
            let name = path.display().to_string();
            let file = File::open(path).map_err(|error| PlaceError::new(format!("{name} cannot be read: {error}")))?;
            read(file, &name).map(Some)
        }
        (None, None) if !io::stdin().is_terminal() => read(io::stdin(), "standard input").map(Some),
        (None, None) => Ok(None),
    }
}

fn read(from: impl Read, name: &str) -> Result<String, PlaceError> {
    let mut text = String::new();
    from.take(QUERY_SCRIPT_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|error| PlaceError::new(format!("{name} cannot be read: {error}")))?;
    if text.len() > QUERY_SCRIPT_BYTES_MAX {
        return Err(PlaceError::new(format!(
            "{name} has more than {QUERY_SCRIPT_BYTES_MAX} bytes; write documents with 'holdfast import'"
        )));
    }
    Ok(text)
}

/// The node that is meant, asked about the database that is meant.
fn node(arguments: &QueryArguments) -> Result<(Runtime, NodeClient), PlaceError> {
    let (runtime, client) = match arguments.place.place(arguments.database.as_ref())? {
        Place::Directory { .. } => {
            return Err(PlaceError::new("query asks a running node; leave --data-dir out, and start the node"));
        }
        Place::Node { runtime, client } => (runtime, client),
    };
    if arguments.database.is_some() {
        return Ok((runtime, client));
    }
    let answer: Value = runtime.block_on(client.get("/api/databases"))?;
    let names: Vec<String> =
        rows_of(&answer, "Databases").iter().filter_map(|row| Some(row.get("Name")?.as_str()?.to_owned())).collect();
    match names.as_slice() {
        [only] => {
            let client = client.with_database(only);
            Ok((runtime, client))
        }
        [] => {
            Err(PlaceError::new("the node has no database yet; name one with --database, and the first write makes it"))
        }
        several => Err(PlaceError::new(format!("say which database with --database: {}", several.join(", ")))),
    }
}

/// Carries out what is typed in.
fn converse(arguments: &QueryArguments, runtime: &Runtime, client: NodeClient) -> Result<(), PlaceError> {
    let interrupt: Interrupt = Box::new(|| {
        Box::pin(async {
            // Without a handler the key ends the program, which stops the statement too.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    });
    let handle = runtime.handle().clone();
    let session = Session::new(handle.clone(), client, arguments.format, interrupt);
    prompt::converse(session.with(&arguments.parameter, arguments.take), handle)
}

/// Carries out one statement after the other, until one fails.
fn script(arguments: &QueryArguments, runtime: &Runtime, client: &NodeClient, text: &str) -> Result<(), PlaceError> {
    let is_terminal = io::stdout().is_terminal();
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout());
    let pieces = statements(text);
    for piece in &pieces {
        let asked = Ask {
            statement: piece.text.to_owned(),
            parameters: arguments.parameter.iter().cloned().collect(),
            take: arguments.take,
            cursor: None,
        };
        let target = Target { out: &mut out, is_terminal, room: room(is_terminal) };
        let ended = runtime.block_on(carry(client, &asked, arguments.format, target)).map_err(|error| {
            let place = format!("in the statement that begins on line {}: ", piece.line);
            PlaceError::new(format!("{}{}", if pieces.len() > 1 { place.as_str() } else { "" }, error.0))
        })?;
        let Ended::Done(told) = ended else { return Ok(()) };
        if arguments.format == Shown::Table {
            // Nobody reads any more: that is no failure.
            let _ = writeln!(out, "{}", told.footer());
            let _ = out.flush();
        }
        told.warnings("--take", "leave it out for all of them").iter().for_each(|line| remark(line));
    }
    Ok(())
}

/// Columns of the terminal, if there is one.
fn room(is_terminal: bool) -> Option<usize> {
    is_terminal.then(|| usize::from(Term::stdout().size().1)).filter(|columns| *columns > 0)
}

fn parse_parameter(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            let name = name.trim().trim_start_matches(['@', ':']).to_owned();
            Ok((name, serde_json::from_str(value).unwrap_or_else(|_| Value::from(value))))
        }
        _ => Err("must be NAME=VALUE, such as store=17".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::parse_parameter;

    #[test]
    fn a_parameter_is_json_or_else_text() {
        for (text, name, value) in [
            ("store=17", "store", json!(17)),
            ("@a=x=y", "a", json!("x=y")),
            ("code=007", "code", json!("007")),
            ("code=\"17\"", "code", json!("17")),
            ("none=null", "none", json!(null)),
            ("list=[1,2]", "list", json!([1, 2])),
            ("empty=", "empty", json!("")),
        ] {
            assert_eq!(parse_parameter(text), Ok((name.to_owned(), value)));
        }
        assert!(parse_parameter("17").is_err() && parse_parameter("=17").is_err());
    }
}
