//! The log: lines for people or JSON for machines, on standard error.
//!
//! Standard output stays free for what a command was asked to print. Secrets never reach the log,
//! since [`crate::settings::secret::Secret`] prints as a placeholder.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::sections::{LogFormat, LoggingSettings};

/// The log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `Logging:Level` is not a filter; settings that loaded have passed this check.
    #[error("Logging:Level cannot be understood: {0}; write for example info or `info,holdfast=debug`")]
    Level(String),
    /// Another log is running in this process.
    #[error("a log is running already in this process")]
    Running,
}

/// Starts the log of this process; call once, before anything is logged.
pub fn start(settings: &LoggingSettings) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(&settings.level).map_err(|error| LoggingError::Level(error.to_string()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match settings.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|_| LoggingError::Running)
}
