//! The project's chores: `cargo xtask test` runs every check and every test there is.
//!
//! ```text
//!   main      the command line
//!   test      every step, in order of cost; all of them run, the first failure is told again at the end
//!   simulate  worlds of nodes under a virtual clock, many of them or one again
//!   bench     the node's speed against a floor program and Redis, in one run
//! ```
//!
//! A chore is a subcommand and a module of the same name. It needs nothing beyond the Rust toolchain; what else
//! happens to be installed (cargo-nextest, cargo-deny) is used, and said so where it is absent.

#![allow(clippy::print_stdout, reason = "A chore talks to the person who started it.")]

mod bench;
mod simulate;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The whole command line.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Holdfast's chores.", disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Runs every check and every test; exits with 1 if any failed.
    Test(test::TestArgs),
    /// Runs worlds of simulated nodes; a failing one names its seed.
    Simulate(simulate::SimulateArgs),
    /// Measures the node against a bare floor program and against Redis.
    Bench(bench::BenchArgs),
}

fn main() -> ExitCode {
    match CommandLine::parse().chore {
        Chore::Test(args) => test::run(args),
        Chore::Simulate(args) => simulate::run(args),
        Chore::Bench(args) => bench::run(args),
    }
}
