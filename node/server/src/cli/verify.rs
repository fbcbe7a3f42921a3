//! `holdfast verify`: does everything on disk hold, and is the data what the log makes of it?

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use holdfast_core::id::DatabaseName;
use holdfast_core::time::Millis;
use holdfast_storage::database::Options;
use holdfast_storage::layout::{DataDirectory, DatabaseFile};
use indicatif::HumanCount;

use super::EXIT_FAILED;
use super::upkeep::{UpkeepArguments, guarded, say, silence_panics};
use super::verify_peer::{self, PeerVerifyArguments};
use crate::clock;

/// Arguments of `holdfast verify`.
#[derive(Args)]
pub(super) struct VerifyArguments {
    #[command(flatten)]
    upkeep: UpkeepArguments,
    /// Make a data file that does not hold again from the log; the old one is kept beside it
    #[arg(long, conflicts_with = "peer")]
    repair_data: bool,
    #[command(flatten)]
    peer: PeerVerifyArguments,
}

/// Verifies databases while no node runs, or a running node against a peer.
pub(super) fn run(arguments: VerifyArguments) -> ExitCode {
    if let Some(peer) = &arguments.peer.peer {
        return verify_peer::run(peer, &arguments.peer, &arguments.upkeep);
    }
    let (directory, names) = match arguments.upkeep.open("verify") {
        Ok(found) => found,
        Err(error) => {
            let _ = writeln!(io::stderr(), "holdfast: {}", error.0);
            return ExitCode::from(EXIT_FAILED);
        }
    };
    silence_panics();
    let mut is_sound = true;
    for name in &names {
        is_sound &= verify(&directory, name, arguments.repair_data);
    }
    let orphans = match directory.orphans() {
        Ok(orphans) => orphans,
        Err(error) => {
            is_sound = false;
            say(&format!("could not look for data files without a log: {error}"));
            Vec::new()
        }
    };
    for name in orphans.into_iter().filter(|name| arguments.upkeep.means(name)) {
        is_sound = false;
        say(&format!("{name}: its log file is missing; restore it from a backup, or move {name}.db away"));
    }
    if names.is_empty() && is_sound {
        say(&format!("{} holds no database", directory.path().display()));
    }
    if is_sound { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
}

/// What was found about one database.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Everything holds.
    Sound {
        /// Operations that were replayed.
        operations: u64,
        /// Documents that were compared.
        documents: u64,
        /// Markers of deleted documents that were.
        deleted: u64,
    },
    /// The system kept us from looking: nothing is known.
    Unchecked(String),
    /// The log cannot be believed: nothing here can make it again.
    LogDamaged(String),
    /// The data is not what the log makes of it; the log can make it again.
    DataDamaged(Vec<String>),
}

fn verify(directory: &DataDirectory, name: &DatabaseName, is_repairing: bool) -> bool {
    let verdict = examine(directory, name);
    print(name, &verdict);
    match verdict {
        Verdict::Sound { .. } => true,
        Verdict::LogDamaged(_) => {
            advise_keeping(directory, name);
            false
        }
        Verdict::Unchecked(_) => {
            say(
                "  Nothing was found wrong. What to do: put the cause right (permissions, room on the disk, who has the \
                 file open) and verify again; a copy must be writable.",
            );
            false
        }
        Verdict::DataDamaged(_) if is_repairing => repair(directory, name),
        Verdict::DataDamaged(_) => {
            say("  What to do: 'holdfast verify --repair-data' makes the data again from the log, which holds it all.");
            false
        }
    }
}

/// Looks at both files of a closed database.
pub(super) fn examine(directory: &DataDirectory, name: &DatabaseName) -> Verdict {
    let mut findings = Vec::new();
    match guarded(|| directory.check_file(name, DatabaseFile::Log)) {
        Ok(true) => {}
        Ok(false) => say(&format!("{name}: the log file's list of free pages was wrong and is right again")),
        Err(failure) if failure.is_of_system => return Verdict::Unchecked(failure.reason),
        Err(failure) => return Verdict::LogDamaged(failure.reason),
    }
    match guarded(|| directory.check_file(name, DatabaseFile::Data)) {
        Ok(true) => {}
        Ok(false) => say(&format!("{name}: the data file's list of free pages was wrong and is right again")),
        Err(failure) if failure.is_of_system => return Verdict::Unchecked(failure.reason),
        Err(failure) => findings.push(format!("the data file cannot be read: {}", failure.reason)),
    }
    if !findings.is_empty() {
        return Verdict::DataDamaged(findings);
    }
    match guarded(|| directory.verify_database(name, Options::default())) {
        Ok(report) if report.is_sound() => {
            let deleted = report.records.saturating_sub(report.documents);
            Verdict::Sound { operations: report.operations, documents: report.documents, deleted }
        }
        Ok(report) => Verdict::DataDamaged(report.findings),
        Err(failure) if failure.is_of_system => Verdict::Unchecked(failure.reason),
        // What the data alone still knows must not be thrown away.
        Err(failure) if failure.is_log_short => Verdict::LogDamaged(failure.reason),
        // Pages that hold and records that do not: the log is asked once more, alone.
        Err(found) => match guarded(|| directory.try_log(name, Options::default())) {
            Ok(_) => Verdict::DataDamaged(vec![found.reason]),
            Err(failure) if failure.is_of_system => Verdict::Unchecked(failure.reason),
            Err(failure) => Verdict::LogDamaged(failure.reason),
        },
    }
}

fn repair(directory: &DataDirectory, name: &DatabaseName) -> bool {
    let now = Millis(clock::now_millis());
    match guarded(|| directory.remake_data(name, now, Options::default())) {
        Ok(aside) => {
            say(&format!("  The data is made again from the log; the old file is {}.", aside.display()));
            let verdict = examine(directory, name);
            print(name, &verdict);
            matches!(verdict, Verdict::Sound { .. })
        }
        Err(failure) => {
            say(&format!("  It could not be made again from the log, and stays as it was: {}", failure.reason));
            if failure.is_of_system {
                say("  What to do: put the cause right (permissions, room on the disk) and try again.");
            } else {
                advise_keeping(directory, name);
            }
            false
        }
    }
}

/// What to do about a log that cannot be believed. Never advises to remove anything: the data file may hold what no
/// log has any more.
fn advise_keeping(directory: &DataDirectory, name: &DatabaseName) {
    let files = format!("{name}.db and {name}.db.metadata");
    let (log, data) = (directory.log_path(name), directory.data_path(name));
    say(&format!("  What to do: stop here and keep {files}: copy both to a safe place first, and delete neither."));
    if data.exists() {
        say(&format!("  {} may still hold documents that nothing else does.", data.display()));
    }
    say(&format!(
        "  Then restore both files together from a backup, or, with a peer that has this database, move both away ({} is \
         the damaged one), start the node and let the peer bring the database back. The other databases are not affected.",
        log.display()
    ));
}

fn print(name: &DatabaseName, verdict: &Verdict) {
    match verdict {
        Verdict::Sound { operations, documents, deleted } => {
            let (operations, documents) = (HumanCount(*operations), HumanCount(*documents));
            let markers = match deleted {
                0 => String::new(),
                deleted => format!(" and {} markers of deleted ones", HumanCount(*deleted)),
            };
            say(&format!("{name}: sound; {operations} operations make its {documents} documents{markers}"));
        }
        Verdict::Unchecked(reason) => say(&format!("{name}: could not check: {reason}")),
        Verdict::LogDamaged(reason) => say(&format!("{name}: THE LOG IS DAMAGED: {reason}")),
        Verdict::DataDamaged(findings) => {
            say(&format!("{name}: THE DATA DOES NOT HOLD, {} findings:", findings.len()));
            for finding in findings {
                say(&format!("  - {finding}"));
            }
        }
    }
}
