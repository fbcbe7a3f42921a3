//! Commands that ask a running node about one database: which node is meant, and how its answer is told.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;
use holdfast_core::id::DatabaseName;
use tokio::runtime::Runtime;

use super::EXIT_FAILED;
use super::import::parse_database;
use super::upkeep::say;
use crate::transfer::place::{NodeClient, Place, PlaceArguments, PlaceError};

/// A database of a running node.
#[derive(Args)]
pub(super) struct OfDatabase {
    /// The database
    #[arg(long, short = 'd', value_name = "NAME", value_parser = parse_database)]
    database: DatabaseName,
    #[command(flatten)]
    place: PlaceArguments,
}

impl OfDatabase {
    /// The node that is meant, for a command that a closed directory cannot serve.
    pub(super) fn node(&self, command: &str) -> Result<(Runtime, NodeClient), PlaceError> {
        match self.place.place(Some(&self.database))? {
            Place::Directory { .. } => {
                Err(PlaceError::new(format!("{command} asks a running node; leave --data-dir out, and start the node")))
            }
            Place::Node { runtime, client } => Ok((runtime, client)),
        }
    }
}

/// Tells what came of a command, and ends it.
pub(super) fn tell(told: Result<String, PlaceError>) -> ExitCode {
    match told {
        Ok(text) => {
            say(text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "holdfast: {}", error.0);
            ExitCode::from(EXIT_FAILED)
        }
    }
}
