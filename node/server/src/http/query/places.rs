//! Where queries run: a few threads beside those that serve, so that a long scan keeps nobody else waiting.
//!
//! ```text
//!   query ─► a place is free ─► runs ─► deadline passed, or its caller gone? ─► ends
//!              │ none is: waits, at most until its deadline
//!              └ too many wait already: 503 with Retry-After, at once
//! ```
//!
//! **What stays true.** A query that nobody waits for ends within milliseconds, and gives its place back when it has
//! ended. Whoever waits and whoever runs is bounded by the settings. Statements that write have as many places of their
//! own, so that no scan delays a write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use holdfast_core::limits::TRANSACTION_OPERATIONS_MAX;
use holdfast_query::budget::{Budget, Limits, Stop};
use holdfast_query::failure::Failure;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task;

use crate::clock;
use crate::http::error::ApiError;
use crate::http::query::refused::failed;
use crate::settings::sections::QuerySettings;

/// Seconds after which a caller may try again for whom there was no place.
const TRY_AGAIN_SECONDS: u64 = 1;
/// How long a query may hold up the thread that serves, before it goes on in a place of its own: about as long as going
/// there and back takes, a few times over.
const MOMENT_MAX: Duration = Duration::from_micros(500);
/// How often a query looks at the time in a moment at most.
const MOMENT_LOOKS_MAX: u32 = 8;
const MEGABYTE: u64 = 1024 * 1024;

/// What a query needs a place for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It only looks.
    Read,
    /// It looks for what it is to write.
    Write,
}

/// The places in which queries run. One per node.
#[derive(Debug)]
pub struct Places {
    reading: Arc<Semaphore>,
    writing: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
    running_max: usize,
    limits: Limits,
    time_max: Duration,
    unread_max: Duration,
}

impl Places {
    /// As many as the settings say.
    pub fn new(settings: &QuerySettings) -> Self {
        Self {
            reading: Arc::new(Semaphore::new(settings.max_running)),
            writing: Arc::new(Semaphore::new(settings.max_running)),
            waiting: AtomicUsize::new(0),
            waiting_max: settings.max_waiting,
            running_max: settings.max_running,
            limits: Limits {
                examined_max: settings.max_examined_documents,
                bytes_max: settings.max_result_megabytes.saturating_mul(MEGABYTE),
                memory_bytes_max: settings.max_memory_megabytes.saturating_mul(MEGABYTE),
                writes_max: TRANSACTION_OPERATIONS_MAX as u64,
            },
            time_max: Duration::from_secs(settings.timeout_seconds),
            unread_max: Duration::from_secs(settings.unread_seconds),
        }
    }

    /// Queries that run now.
    pub fn running(&self) -> usize {
        let free = self.reading.available_permits() + self.writing.available_permits();
        (2 * self.running_max).saturating_sub(free)
    }

    /// Queries that wait for a place.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// A query begins now: it has so much time, and is given up when the lease is dropped.
    pub fn lease(&self) -> Lease {
        let watch = Watch {
            limits: self.limits,
            unread_max: self.unread_max,
            deadline: clock::monotonic() + self.time_max,
            is_given_up: Arc::default(),
            examined: Arc::default(),
            waited_micros: Arc::default(),
        };
        Lease(watch)
    }

    /// Waits for a place.
    pub async fn place(&self, purpose: Purpose, deadline: Instant) -> Result<Place, ApiError> {
        let places = match purpose {
            Purpose::Read => &self.reading,
            Purpose::Write => &self.writing,
        };
        if let Ok(permit) = Arc::clone(places).try_acquire_owned() {
            return Ok(Place(permit));
        }
        let _waiting = Waiting::begin(&self.waiting, self.waiting_max).ok_or_else(no_place)?;
        let free = tokio::time::timeout_at(deadline.into(), Arc::clone(places).acquire_owned()).await;
        match free {
            Ok(Ok(permit)) => Ok(Place(permit)),
            _ => Err(no_place()),
        }
    }

    /// Runs a piece of a query in a place of its own, and waits for it.
    pub async fn run<T: Send + 'static>(
        &self,
        purpose: Purpose,
        watch: &Watch,
        work: impl FnOnce(&Watch) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, ApiError> {
        let place = self.place(purpose, watch.deadline).await?;
        let watch = watch.clone();
        let running = task::spawn_blocking(move || {
            let _place = place;
            work(&watch)
        });
        match running.await {
            Ok(outcome) => outcome.map_err(failed),
            Err(error) => {
                tracing::error!(%error, "a query broke off");
                Err(ApiError::internal())
            }
        }
    }
}

/// The right to run, given back when dropped.
#[derive(Debug)]
pub struct Place(#[allow(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

/// Counted among those that wait, until dropped.
struct Waiting<'places>(&'places AtomicUsize);

impl<'places> Waiting<'places> {
    fn begin(waiting: &'places AtomicUsize, max: usize) -> Option<Self> {
        let counted = waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Self(waiting);
        (counted < max).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Somebody waits for a query; when it is dropped, nobody does.
#[derive(Debug)]
pub struct Lease(Watch);

impl Lease {
    /// What the query looks at while it runs.
    pub fn watch(&self) -> &Watch {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.is_given_up.store(true, Ordering::Relaxed);
    }
}

/// What a query may use, how long, and whether anybody still wants it.
#[derive(Debug, Clone)]
pub struct Watch {
    /// What it may use.
    pub limits: Limits,
    /// How long its answer may wait without any of it being read.
    pub unread_max: Duration,
    /// Until when, not counting what it waits for its reader.
    pub deadline: Instant,
    is_given_up: Arc<AtomicBool>,
    examined: Arc<AtomicU64>,
    waited_micros: Arc<AtomicU64>,
}

impl Watch {
    /// Why the query should end, if it should.
    pub fn stop(&self) -> Option<Stop> {
        if self.is_given_up.load(Ordering::Relaxed) {
            return Some(Stop::Cancelled);
        }
        (clock::monotonic() >= self.deadline + self.waited()).then_some(Stop::Timeout)
    }

    /// How long the query has waited for whoever reads its answer: that is no time of its own.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_micros.load(Ordering::Relaxed))
    }

    /// Notes that the query has waited so long for whoever reads its answer.
    pub fn note_waited(&self, time: Duration) {
        self.waited_micros.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Documents and index entries that it has looked at.
    pub fn examined(&self) -> u64 {
        self.examined.load(Ordering::Relaxed)
    }

    /// Works with a budget that ends after a moment's work. `None` when that was not enough: nothing
    /// is known then, and the work is to be done in a place of its own.
    pub fn spend_a_moment<T>(
        &self,
        work: impl FnOnce(&mut Budget<'_>) -> Result<T, Failure>,
    ) -> Option<Result<T, Failure>> {
        let (mut looks, mut is_over, began) = (0, false, clock::monotonic());
        // The first look is before anything is done.
        let mut should_stop = || {
            looks += 1;
            is_over = looks > MOMENT_LOOKS_MAX || (looks > 1 && began.elapsed() > MOMENT_MAX);
            is_over.then_some(Stop::Cancelled)
        };
        let mut budget = Budget::new(self.limits, &mut should_stop);
        let outcome = work(&mut budget);
        let examined = budget.examined();
        if is_over {
            return None;
        }
        self.examined.fetch_add(examined, Ordering::Relaxed);
        Some(outcome)
    }

    /// Works with a budget that ends when the watch says so. `at_each_look` is called every few milliseconds.
    pub fn spend<T>(
        &self,
        at_each_look: &mut dyn FnMut(),
        work: impl FnOnce(&mut Budget<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut should_stop = || {
            at_each_look();
            self.stop()
        };
        let mut budget = Budget::new(self.limits, &mut should_stop).telling(&self.examined);
        // What was waited for and has no time left does not begin.
        let outcome = budget.look().and_then(|()| work(&mut budget));
        budget.tell();
        outcome
    }
}

fn no_place() -> ApiError {
    ApiError::unavailable(
        "too-many-queries",
        TRY_AGAIN_SECONDS,
        "As many queries run and wait as this node takes. Try again in a moment; Query:MaxRunning and Query:MaxWaiting \
         set how many.",
    )
}
