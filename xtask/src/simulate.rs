//! `cargo xtask simulate`: worlds of nodes under a virtual clock, many of them or one again.
//!
//! ```text
//!   cargo xtask simulate                              the usual run, with its rate
//!   cargo xtask simulate --worlds 1000000 --release   a long one, under a seed of its own
//!   cargo xtask simulate --worlds 1 --seed 8817       one world again, event by event
//!   cargo xtask simulate --of replicas                the same of a leader and its followers
//! ```
//!
//! The worlds themselves are in `tests/simulation`; this only passes the wishes on through the environment.

use std::process::{Command, ExitCode};

/// Which worlds.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Worlds {
    /// Of peers that all write.
    Peers,
    /// Of a leader and its followers.
    Replicas,
}

impl Worlds {
    /// The test that runs them.
    fn test(self) -> &'static str {
        match self {
            Self::Peers => "peers_converge",
            Self::Replicas => "followers_hold",
        }
    }
}

/// What `cargo xtask simulate` takes.
#[derive(clap::Args)]
pub(crate) struct SimulateArgs {
    /// How many worlds to run; as many as in the test command if it is not said. One alone shows its last events.
    #[arg(long)]
    worlds: Option<u64>,
    /// The number that decides all worlds. A failing world names the seed that runs it alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Which worlds.
    #[arg(long, value_enum, default_value = "peers")]
    of: Worlds,
    /// Optimises everything as a release is: slow to build, and more worlds a second.
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
    let wishes = [("HOLDFAST_SIMULATION_WORLDS", args.worlds), ("HOLDFAST_SIMULATION_SEED", args.seed)];
    for (variable, number) in wishes {
        if let Some(number) = number {
            cargo.env(variable, number.to_string());
        }
    }
    // The other tests of that binary run worlds of their own choice.
    match cargo.args([args.of.test(), "--", "--nocapture"]).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("cargo could not be started: {error}");
            ExitCode::FAILURE
        }
    }
}
