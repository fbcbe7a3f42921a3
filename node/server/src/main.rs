//! The `holdfast` program: reads the command line, runs it, reports how it ended.

use std::process::ExitCode;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // The one provider of cryptography in this program. A second call cannot happen, and a
    // provider that is there already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    holdfast::telemetry::panics::log_on_one_line();
    holdfast::cli::run(std::env::args_os())
}
