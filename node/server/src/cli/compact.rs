//! `holdfast compact`: gives unused room of the files back, while no node runs.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use holdfast_storage::layout::FileSizes;
use indicatif::BinaryBytes;

use super::EXIT_FAILED;
use super::upkeep::{UpkeepArguments, guarded, say, silence_panics};

/// Arguments of `holdfast compact`.
#[derive(Args)]
pub(super) struct CompactArguments {
    #[command(flatten)]
    upkeep: UpkeepArguments,
}

/// Compacts databases.
pub(super) fn run(arguments: CompactArguments) -> ExitCode {
    let (directory, names) = match arguments.upkeep.open("compact") {
        Ok(found) => found,
        Err(error) => {
            let _ = writeln!(io::stderr(), "holdfast: {}", error.0);
            return ExitCode::from(EXIT_FAILED);
        }
    };
    silence_panics();
    let mut is_done = true;
    for name in &names {
        let before = directory.file_sizes(name);
        match guarded(|| directory.compact_database(name)) {
            Ok(()) => say(&format!("{name}: {}", change(before, directory.file_sizes(name)))),
            Err(failure) => {
                is_done = false;
                // Permissions or room: nothing that a verification could tell more about.
                let advice = if failure.is_of_system { "" } else { "; run 'holdfast verify'" };
                say(&format!("{name}: not compacted: {}{advice}", failure.reason));
            }
        }
    }
    if names.is_empty() {
        say(&format!("{} holds no database", directory.path().display()));
    }
    if is_done { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
}

fn change(before: FileSizes, after: FileSizes) -> String {
    format!(
        "{} before, {} after (data {} to {}, log {} to {})",
        BinaryBytes(before.total()),
        BinaryBytes(after.total()),
        BinaryBytes(before.data),
        BinaryBytes(after.data),
        BinaryBytes(before.log),
        BinaryBytes(after.log),
    )
}
