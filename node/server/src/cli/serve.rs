//! `holdfast serve`: settings, log, then the node until it is told to stop.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::runtime;

use super::arguments::SettingsArguments;
use super::{fail, refuse_settings};
use crate::telemetry::logging;
use crate::{node, settings};

/// Time that blocking work gets after everything else has ended.
const RUNTIME_END_TIME_MAX: Duration = Duration::from_secs(1);

/// Arguments of `holdfast serve`.
#[derive(Args)]
pub(super) struct ServeArguments {
    #[command(flatten)]
    settings: SettingsArguments,
}

/// Runs a node until it is told to stop.
pub(super) fn run(arguments: ServeArguments) -> ExitCode {
    let overrides = arguments.settings.overrides();
    let loaded = match settings::load(&overrides) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse_settings(&problems),
    };
    if let Err(error) = logging::start(&loaded.settings.logging) {
        return fail(&error);
    }
    let runtime = match runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let served = runtime.block_on(node::run(loaded, overrides));
    runtime.shutdown_timeout(RUNTIME_END_TIME_MAX);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(node::StartError::Keys(problems)) => refuse_settings(&problems),
        Err(error) => fail(&error),
    }
}
