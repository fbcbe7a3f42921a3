//! The whole command line in one place; each command has a file of its own.
//!
//! Exit codes: 0 done, 1 could not be done, 2 the command line or the settings are wrong.

mod arguments;
mod compact;
mod conflicts;
mod dead_letters;
mod running_node;
mod export;
mod import;
mod keys;
mod peers;
mod query;
mod replication;
mod serve;
mod settings;
mod status;
mod upkeep;
mod verify;
mod verify_peer;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::settings::SettingsProblems;

/// The exit code for a command line or settings that must be corrected.
pub(crate) const EXIT_USAGE: u8 = 2;

/// The exit code for what could not be done.
pub(crate) const EXIT_FAILED: u8 = 1;

#[derive(Parser)]
#[command(name = "holdfast", version, about, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node.
    Serve(serve::ServeArguments),
    /// Check the settings or show them.
    Config(settings::ConfigArguments),
    /// Make keys and hashes for the settings.
    Keys(keys::KeysArguments),
    /// Write the documents of a CSV, JSON or NDJSON file into a collection.
    Import(Box<import::ImportArguments>),
    /// Write the documents of a collection into a CSV, JSON or NDJSON file.
    Export(Box<export::ExportArguments>),
    /// Carry out statements on a running node: one, a script, or what is typed in.
    Query(Box<query::QueryArguments>),
    /// Check a stopped node's databases, or with --peer what a running node and a peer hold.
    Verify(verify::VerifyArguments),
    /// Give unused room of a stopped node's files back.
    Compact(compact::CompactArguments),
    /// List, retry or settle what peers sent and a running node could not take in.
    DeadLetters(dead_letters::DeadLettersArguments),
    /// Show how a running node and its peers are doing.
    Status(status::StatusArguments),
    /// List, show and settle what was written on several nodes at once.
    Conflicts(conflicts::ConflictsArguments),
    /// List, add or remove the peers of a running node.
    Peers(peers::PeersArguments),
    /// Show or change how a running node leads or follows: status, handover, promote and more.
    Replication(Box<replication::ReplicationArguments>),
}

/// Runs a command line and returns the process's exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = arguments::with_dotnet_settings(arguments);
    let line = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => error.exit(),
    };
    match line.command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Config(arguments) => settings::run(arguments),
        Command::Keys(arguments) => keys::run(arguments),
        Command::Import(arguments) => import::run(*arguments),
        Command::Export(arguments) => export::run(*arguments),
        Command::Query(arguments) => query::run(*arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Compact(arguments) => compact::run(arguments),
        Command::DeadLetters(arguments) => dead_letters::run(arguments),
        Command::Status(arguments) => status::run(arguments),
        Command::Conflicts(arguments) => conflicts::run(arguments),
        Command::Peers(arguments) => peers::run(&arguments),
        Command::Replication(arguments) => replication::run(&arguments),
    }
}

/// Shows what is wrong with the settings and returns the exit code for it.
pub(crate) fn refuse_settings(problems: &SettingsProblems) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{problems}");
    ExitCode::from(EXIT_USAGE)
}

/// Shows why a command could not be done and returns the exit code for it.
pub(crate) fn fail(error: &dyn std::error::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "holdfast: {error}");
    ExitCode::from(EXIT_FAILED)
}
