//! `cargo xtask simulate`: worlds of nodes under a virtual clock, many of them or one again.
//!
//! ```text
//!   cargo xtask simulate                the usual run, with its rate
//!   cargo xtask simulate --times 100    a long one
//!   cargo xtask simulate --seed 8817    one world, event by event
//! ```
//!
//! The worlds themselves are in `tests/simulation`; this only passes the wishes on through the environment.

use std::process::{Command, ExitCode};

/// What `cargo xtask simulate` takes.
#[derive(clap::Args)]
pub(crate) struct SimulateArgs {
    /// Runs only the world of this number and shows its last events.
    #[arg(long)]
    seed: Option<u64>,
    /// How many times the usual number of worlds to run.
    #[arg(long, default_value_t = 1, conflicts_with = "seed")]
    times: u64,
    /// Optimises the node as a release is: slow to build, and several times as many worlds a second.
    #[arg(long)]
    release: bool,
}

/// Runs them; fails if one fails.
pub(crate) fn run(args: SimulateArgs) -> ExitCode {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--package", "holdfast-tests", "--test", "simulation"]);
    if args.release {
        cargo.arg("--release");
    }
    match args.seed {
        // The other tests of that binary run worlds of their own choice.
        Some(seed) => cargo.env("HOLDFAST_SEED", seed.to_string()).arg("peers_converge"),
        None => cargo.env("HOLDFAST_WORLDS", args.times.to_string()),
    };
    match cargo.args(["--", "--nocapture"]).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("cargo could not be started: {error}");
            ExitCode::FAILURE
        }
    }
}
