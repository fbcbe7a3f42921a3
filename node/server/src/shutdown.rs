//! One way to stop: a signal, or a call, becomes a token that everything running watches.
//!
//! ```text
//! Ctrl-C, SIGTERM, closed console ─► token cancelled ─► work ends ─► deadline: what is left is cut off
//!                      a second one ─► the process ends at once
//! ```
//!
//! The deadline counts from the moment of the first signal, however many steps share it. Ending
//! the process at once is safe: what was answered with success is on disk.

use std::future::Future;
use std::process;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock;

/// Exit code after a second signal, as shells use for an interrupted program.
const INTERRUPTED_EXIT_CODE: i32 = 130;

/// The request to stop, shared by everything that must hear of it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    token: CancellationToken,
    begun: Arc<OnceLock<Instant>>,
    deadline: Duration,
}

/// Work did not end before the deadline and was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not finished within Shutdown:DeadlineSeconds")]
pub struct DeadlinePassed;

impl Shutdown {
    /// Prepares a stop that leaves `deadline` to running work.
    pub fn new(deadline: Duration) -> Self {
        Self { token: CancellationToken::new(), begun: Arc::new(OnceLock::new()), deadline }
    }

    /// Returns the token to watch: it is cancelled when the node begins to stop.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Begins to stop; calling it again changes nothing.
    pub fn begin(&self) {
        self.begun.get_or_init(clock::monotonic);
        self.token.cancel();
    }

    /// Tells whether the node is stopping.
    pub fn is_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until the node begins to stop.
    pub async fn wait(&self) {
        self.token.cancelled().await;
    }

    /// Returns how long work may still take; all of the deadline as long as nobody asked to stop.
    pub fn remaining(&self) -> Duration {
        self.begun.get().map_or(self.deadline, |begun| self.deadline.saturating_sub(begun.elapsed()))
    }

    /// Waits for work to end until the deadline, which starts when the node begins to stop.
    pub async fn within_deadline<T>(&self, work: impl Future<Output = T>) -> Result<T, DeadlinePassed> {
        let cut_off = async {
            self.wait().await;
            tokio::time::sleep(self.remaining()).await;
        };
        tokio::select! {
            // Work that is done in the last moment counts as done.
            biased;
            value = work => Ok(value),
            () = cut_off => Err(DeadlinePassed),
        }
    }

    /// Turns the operating system's signals into a stop; call within the runtime, once.
    pub fn listen_for_signals(&self) {
        let shutdown = self.clone();
        tokio::spawn(async move {
            let name = signal().await;
            info!(signal = name, deadline_seconds = shutdown.deadline.as_secs(), "stopping");
            shutdown.begin();
            let name = signal().await;
            warn!(signal = name, "second signal, ending at once");
            process::exit(INTERRUPTED_EXIT_CODE);
        });
    }
}

/// Waits for a signal to stop and returns its name.
#[cfg(unix)]
async fn signal() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        warn!("signals cannot be received; stop the process with SIGKILL");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}

/// Waits for a signal to stop and returns its name.
#[cfg(windows)]
async fn signal() -> &'static str {
    use tokio::signal::windows;
    let (Ok(mut interrupt), Ok(mut r#break), Ok(mut close), Ok(mut off)) =
        (windows::ctrl_c(), windows::ctrl_break(), windows::ctrl_close(), windows::ctrl_shutdown())
    else {
        warn!("console events cannot be received; end the process in the task manager");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => "Ctrl-C",
        _ = r#break.recv() => "Ctrl-Break",
        _ = close.recv() => "closed console",
        _ = off.recv() => "system shutdown",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{DeadlinePassed, Shutdown};

    #[tokio::test]
    async fn work_that_ends_in_time_is_not_cut_off() {
        let shutdown = Shutdown::new(Duration::from_secs(5));
        shutdown.begin();
        assert!(shutdown.is_begun());
        assert_eq!(shutdown.within_deadline(async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn the_deadline_counts_from_the_stop_and_is_shared() {
        let shutdown = Shutdown::new(Duration::from_millis(60));
        let waiting = shutdown.clone();
        let work = tokio::spawn(async move { waiting.within_deadline(std::future::pending::<()>()).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!work.is_finished(), "nobody asked to stop yet");
        shutdown.begin();
        assert!(work.await.is_ok_and(|outcome| outcome == Err(DeadlinePassed)));
        assert_eq!(shutdown.remaining(), Duration::ZERO);
    }
}
