//! The shell of Holdfast: whatever touches the network, the clock or the operating system.
//!
//! Modules are listed in reading order; a module may use those above it.

pub mod clock;
pub mod entropy;
pub mod settings;
pub mod telemetry;
pub mod shutdown;
pub mod databases;
pub mod conflicts;
pub mod sync;
pub mod tls;
pub mod sockets;
pub mod replica;
pub mod http;
pub mod listener;
pub mod banner;
pub mod node;
pub mod embedded;
mod transfer;
pub mod cli;
