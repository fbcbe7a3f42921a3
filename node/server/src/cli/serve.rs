//! `holdfast serve`: settings, log, sockets, banner, then the node until it is told to stop.

use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use clap::Args;
use tokio::runtime;
use tracing::{info, warn};

use super::arguments::SettingsArguments;
use super::{fail, refuse_settings};
use crate::banner::Banner;
use crate::listener::{self, ListenError};
use crate::settings::{self, Loaded};
use crate::shutdown::Shutdown;
use crate::telemetry::logging;

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
    let loaded = match settings::load(&arguments.settings.overrides()) {
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
    let served = runtime.block_on(serve(loaded));
    runtime.shutdown_timeout(RUNTIME_END_TIME_MAX);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn serve(loaded: Loaded) -> Result<(), ListenError> {
    let settings = loaded.settings;
    let listeners = listener::bind(&settings).await?;
    let shutdown = Shutdown::new(Duration::from_secs(settings.shutdown.deadline_seconds));
    shutdown.listen_for_signals();
    let urls = listeners.urls();
    Banner { settings: &settings, urls: &urls, role: "peer" }.print();
    info!(node = settings.node.node_id, environment = loaded.environment, "started");

    let routes = Router::new().route("/healthz", get(|| async { "ok" }));
    let served = listeners.serve(routes, shutdown).await;
    if served.cut_off > 0 {
        warn!(connections = served.cut_off, "requests were cut off at Shutdown:DeadlineSeconds");
    }
    info!("stopped");
    Ok(())
}
