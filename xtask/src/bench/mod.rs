//! `cargo xtask bench`: how fast the node is, against a floor and against Redis, in one run.
//!
//! ```text
//!             ┌─ floor: bare axum and two redb files     (this program, as a child process)
//! generator ──┼─ node:  target/release/holdfast serve    (defaults, its own directory)
//!             └─ Redis: appendfsync always               (where it is installed)
//! ```
//!
//! What stays true: what is compared runs in turns (A B A B) on the same disk, from the same
//! generator, with the same documents, and each round is compared with the one before it; so
//! the ratios mean something on any machine, while the rates belong to one. Every child ends with the benchmark,
//! files stay in `target/bench` and go at its end, and nothing listens beyond loopback.
//!
//! What it does not do: judge correctness. An answer other than 2xx makes a row fail, no more.

mod documents;
mod http;
mod load;
mod floor;
mod process;
mod servers;
mod table;
mod cases;
mod sync;
mod replica;
mod cache;
mod query;

use cases::{Bench, Case};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What to measure and for how long.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArgs {
    /// The cases to run, separated by commas; all of them without this.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Case>,
    /// Of the cases `query`, `cache` and `replica`, the lines whose names hold this.
    #[arg(long)]
    line: Option<String>,
    /// Seconds of each measured round, after one of warm-up.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Rounds of each side; each is compared with the other side's, and the median is told.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Connections of the cases that have a target at 64.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Documents of the case that opens a large database, and entries of a large cache.
    #[arg(long, default_value_t = 1_000_000)]
    documents: u64,
    /// A directory with real data (`cdnow-purchases.csv`); without it a file of the same shape is made.
    #[arg(long, env = "HOLDFAST_REAL_DATA")]
    real_data: Option<PathBuf>,
    /// A node binary to measure instead of building one.
    #[arg(long)]
    node: Option<PathBuf>,
    /// Measure the floor and Redis alone, to judge a machine.
    #[arg(long)]
    floor_only: bool,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// End with a failure when a target is missed, not only when something breaks.
    #[arg(long)]
    strict: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What the benchmark starts itself as.
#[derive(Debug, clap::Subcommand)]
enum Part {
    /// The floor program; started by the benchmark.
    #[command(hide = true)]
    Floor(floor::FloorArgs),
}

/// Runs the benchmark, or the part of it that this process is.
pub(crate) fn run(args: BenchArgs) -> ExitCode {
    let outcome = match &args.part {
        Some(Part::Floor(args)) => {
            floor::serve(args).map(|()| ExitCode::SUCCESS).map_err(|error| format!("floor: {error}"))
        }
        None if cfg!(debug_assertions) => run_optimised(),
        None => measure(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("bench: {error}");
        ExitCode::FAILURE
    })
}

/// Builds this program with optimisation and runs that; a floor built without would be too low.
fn run_optimised() -> Result<ExitCode, String> {
    build("xtask")?;
    let status = Command::new(built_binary("xtask")?)
        .args(std::env::args_os().skip(1))
        .status()
        .map_err(|error| format!("cannot run the optimised benchmark: {error}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

fn measure(args: &BenchArgs) -> Result<ExitCode, String> {
    if args.seconds <= 0.0 || args.rounds == 0 || args.connections == 0 {
        return Err("--seconds, --rounds and --connections must be more than zero".to_owned());
    }
    let node = match (&args.node, args.floor_only) {
        (_, true) => None,
        (Some(path), false) => {
            let path =
                std::fs::canonicalize(path).map_err(|error| format!("cannot find {}: {error}", path.display()))?;
            Some(path)
        }
        (None, false) => {
            build("holdfast")?;
            Some(built_binary("holdfast")?)
        }
    };
    let directory = target()?.join("bench");
    let _lock = lock(&directory)?;
    let bench = Bench {
        node,
        directory: directory.clone(),
        real_data: real_data(args),
        seconds: args.seconds,
        rounds: args.rounds,
        connections: args.connections,
        documents: args.documents,
        line: args.line.clone(),
    };
    let mut rows = Vec::new();
    for case in cases::chosen(&args.only) {
        rows.extend(bench.run(case));
    }
    let removed = std::fs::remove_dir_all(&directory);
    let printed = if args.json {
        table::print_json(&rows, &machine())
    } else {
        let heading = format!(
            "{} on {}, {} cores; {} rounds of {} s a side, medians; ratios are medians of paired rounds",
            std::env::consts::OS,
            std::env::consts::ARCH,
            cores(),
            args.rounds,
            args.seconds
        );
        table::print(&heading, &rows)
    };
    printed.map_err(|error| format!("cannot print the result: {error}"))?;
    removed.map_err(|error| format!("cannot remove {}: {error}", directory.display()))?;
    let missed = args.strict && rows.iter().any(|row| row.met() == Some(false));
    if missed || rows.iter().any(|row| row.failed) {
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Empties the directory and holds it for this run; two benchmarks at once measure neither.
fn lock(directory: &Path) -> Result<File, String> {
    let failed = |error: std::io::Error| format!("cannot use {}: {error}", directory.display());
    let file = File::create(directory.with_extension("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err("another benchmark is running; wait for its end".to_owned());
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    // What a killed run has left behind.
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    std::fs::create_dir_all(directory).map_err(failed)?;
    Ok(file)
}

fn build(package: &str) -> Result<(), String> {
    eprintln!("bench: building {package} with optimisation");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--package", package])
        .current_dir(root())
        .status()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{package} does not build; see above"))
}

/// An optimised binary of this workspace.
fn built_binary(name: &str) -> Result<PathBuf, String> {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    Ok(target()?.join("release").join(file))
}

/// The target directory, which holds the running program: `target/{profile}/xtask`.
fn target() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find this program's own file: {error}"))?;
    own.parent()
        .and_then(Path::parent)
        .map(Path::to_path_buf)
        .ok_or_else(|| "this program is not in a target directory; run it as `cargo xtask bench`".to_owned())
}

/// Where the real data is: as told, or beside the project.
fn real_data(args: &BenchArgs) -> Option<PathBuf> {
    let beside = || root().join("../shared/data");
    let path = args.real_data.clone().unwrap_or_else(beside);
    path.is_dir().then_some(path)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, std::num::NonZero::get)
}

/// What the numbers depend on.
fn machine() -> serde_json::Value {
    serde_json::json!({
        "system": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "cores": cores(),
    })
}
