//! How far an import or export is: a bar for people, a line every few seconds for everything else.
//!
//! All of it goes to standard error, so that standard output stays free for documents.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::clock;

/// Time between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// How far one run is.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    bytes: Arc<AtomicU64>,
    bytes_total: Option<u64>,
    rows: u64,
    started: Instant,
    line_due: Instant,
}

impl Progress {
    /// Starts to measure; `bytes_total` is the size of the file that is read, where it is known.
    pub(crate) fn start(bytes_total: Option<u64>) -> Self {
        let started = clock::monotonic();
        let bar = io::stderr().is_terminal().then(|| match bytes_total {
            Some(total) => {
                styled(ProgressBar::new(total), "{wide_bar} {binary_bytes} of {binary_total_bytes}, {msg}, {eta} left")
            }
            None => styled(ProgressBar::new_spinner(), "{spinner} {msg}"),
        });
        Self { bar, bytes: Arc::default(), bytes_total, rows: 0, started, line_due: started + LINE_INTERVAL }
    }

    /// A source that counts what is read from it.
    pub(crate) fn counted<R: Read>(&self, source: R) -> Counted<R> {
        Counted { source, bytes: Arc::clone(&self.bytes) }
    }

    /// Some more rows are done.
    pub(crate) fn advance(&mut self, rows: u64) {
        self.rows += rows;
        let said = format!("{} rows, {} rows/s", HumanCount(self.rows), HumanCount(self.rows_per_second()));
        let bytes = self.bytes.load(Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            if self.bytes_total.is_some() {
                bar.set_position(bytes);
            } else {
                bar.tick();
            }
            bar.set_message(said);
        } else if clock::monotonic() >= self.line_due {
            self.line_due = clock::monotonic() + LINE_INTERVAL;
            let part = self.bytes_total.filter(|total| *total > 0).map(|total| bytes.saturating_mul(100) / total);
            self.say(&part.map_or(said.clone(), |percent| format!("{percent} %, {said}")));
        }
    }

    /// Shows a line without spoiling the bar.
    pub(crate) fn say(&self, line: &str) {
        let write = || {
            // Nobody to tell is no reason to stop.
            let _ = writeln!(io::stderr(), "{line}");
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        clock::monotonic().saturating_duration_since(self.started)
    }

    /// Rows done so far, divided by the time they took.
    pub(crate) fn rows_per_second(&self) -> u64 {
        let millis = self.elapsed().as_millis().max(1);
        u64::try_from(u128::from(self.rows) * 1_000 / millis).unwrap_or(u64::MAX)
    }
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A source that counts what is read from it.
pub(crate) struct Counted<R> {
    source: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
