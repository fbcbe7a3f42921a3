//! The shell of Holdfast: whatever touches the network, the clock or the operating system.
//!
//! Modules are listed in reading order; a module may use those above it.

pub mod banner;
pub mod cli;
pub mod clock;
pub mod entropy;
pub mod databases;
pub mod http;
pub mod listener;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
