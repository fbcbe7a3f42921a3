//! Panics, on one line.
//!
//! A damaged file can make the store panic; that is caught where it is called and becomes an error that says what to
//! do. What is printed of the panic itself is for whoever looks for the cause: a line, and the way there only when
//! `RUST_BACKTRACE` asks for it.

use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};

/// Replaces the printing of panics in this process; call once, at the start.
pub fn log_on_one_line() {
    let wordy = panic::take_hook();
    let is_wordy = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    panic::set_hook(Box::new(move |info| {
        let (message, place) = told(info);
        if tracing::dispatcher::has_been_set() {
            tracing::error!(place, "panicked: {message}");
        } else {
            // Commands run without a log.
            let _ = writeln!(io::stderr(), "holdfast: panicked at {place}: {message}");
        }
        if is_wordy {
            wordy(info);
        }
    }));
}

/// The message without line breaks, and where it is from.
fn told(info: &PanicHookInfo<'_>) -> (String, String) {
    let message = info.payload_as_str().unwrap_or("without a message");
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    (message, info.location().map(ToString::to_string).unwrap_or_default())
}
