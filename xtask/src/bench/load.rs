//! The load generator: a closed loop of connections, the same for the floor and for the node.
//!
//! ```text
//! Plan ──► one thread, C connections: fill ─► send ─► read ─► record ─► again ──► Report
//! ```
//!
//! What stays true: every connection has exactly one request in flight, every answer other than
//! 2xx is an error that is counted and shown, and [`drive`] returns even if the server hangs.
//!
//! What it does not do: keep a fixed rate. A closed loop measures what a server can carry;
//! its latencies are those at that rate.

use super::http::{Connection, Template};
use super::process;
use hdrhistogram::Histogram;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

/// An answer that takes longer than this ends the run as hung.
const PATIENCE: Duration = Duration::from_mins(1);
/// How much of an error's body is kept.
const ERROR_TEXT_BYTES_MAX: usize = 400;

/// What to send, from how many connections, for how long.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// What is measured.
    pub(super) server: Server,
    /// Requests in flight.
    pub(super) connections: usize,
    /// The request.
    pub(super) template: Template,
    /// Which documents it is about.
    pub(super) numbers: Numbers,
    /// When to stop.
    pub(super) amount: Amount,
}

/// A server under load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Its process.
    pub(super) process: u32,
}

/// Which document numbers requests carry.
#[derive(Clone, Copy, Debug)]
pub(super) enum Numbers {
    /// Each once, from this one on.
    From(u64),
    /// Any below this one, in an order that is the same in every run.
    Below(u64),
}

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Amount {
    /// After this time; requests of the warm-up before it are not counted.
    Time { warm_up: Duration, run: Duration },
    /// After this many requests.
    Requests(u64),
}

/// What a run measured.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// Answered requests a second.
    pub(super) rate: f64,
    /// Answered requests.
    pub(super) requests: u64,
    /// The time they took together.
    pub(super) elapsed: Duration,
    /// Median latency.
    pub(super) p50: Duration,
    /// Latency that one request in a hundred exceeds.
    pub(super) p99: Duration,
    /// The slowest answer.
    pub(super) max: Duration,
    /// Processor time of the server for each good answer, warm-up included; it hardly depends on what else the
    /// machine does. `None` where the system does not tell.
    pub(super) cpu_per_request: Option<Duration>,
    /// Answers other than 2xx, and broken connections.
    pub(super) errors: u64,
    /// What the first of them said.
    pub(super) first_error: Option<String>,
    /// The first good answer's body.
    pub(super) first_body: Vec<u8>,
    /// The lowest document number that was not sent.
    pub(super) next_number: u64,
}

/// Runs the plan to its end on this thread.
pub(super) fn drive(plan: &Plan) -> Result<Report, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the load generator: {error}"))?;
    LocalSet::new().block_on(&runtime, drive_all(plan))
}

/// Shared by the connections of one run; they live on one thread.
struct Run {
    numbers: Cell<Numbers>,
    random: Cell<u64>,
    documents: u64,
    requests_left: Cell<u64>,
    answered: Cell<u32>,
    counted_from: Instant,
    ends: Option<Instant>,
    last: Cell<Instant>,
    latencies: RefCell<Histogram<u64>>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
    first_body: RefCell<Option<Vec<u8>>>,
}

async fn drive_all(plan: &Plan) -> Result<Report, String> {
    let mut connections = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        connections.push(Connection::open(plan.server.address).await?);
    }
    let cpu_before = process::cpu_time(plan.server.process);
    let run = Rc::new(Run::new(plan)?);
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|connection| {
            let run = Rc::clone(&run);
            let template = plan.template.clone();
            tokio::task::spawn_local(async move { run.repeat(connection, template).await })
        })
        .collect();
    let longest = run.ends.map_or(Duration::from_mins(10), |ends| ends.saturating_duration_since(Instant::now()));
    let all = async {
        for task in tasks {
            // A task ends only by returning; a panic in it is a bug that the numbers would hide.
            task.await.map_err(|error| format!("a connection's task failed: {error}"))?;
        }
        Ok::<(), String>(())
    };
    tokio::time::timeout(longest + PATIENCE, all)
        .await
        .map_err(|_| format!("the server has not answered for {} s", PATIENCE.as_secs()))??;
    let cpu =
        process::cpu_time(plan.server.process).zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
    Ok(run.report(cpu))
}

impl Run {
    fn new(plan: &Plan) -> Result<Self, String> {
        // Microseconds up to a minute, to three digits.
        let latencies = Histogram::new_with_bounds(1, 60_000_000, 3)
            .map_err(|error| format!("cannot make a histogram: {error}"))?;
        let now = Instant::now();
        let (requests, counted_from, ends) = match plan.amount {
            Amount::Time { warm_up, run } => (u64::MAX, now + warm_up, Some(now + warm_up + run)),
            Amount::Requests(requests) => (requests, now, None),
        };
        Ok(Self {
            numbers: Cell::new(plan.numbers),
            random: Cell::new(0),
            documents: plan.template.documents,
            requests_left: Cell::new(requests),
            answered: Cell::new(0),
            counted_from,
            ends,
            last: Cell::new(now),
            latencies: RefCell::new(latencies),
            errors: Cell::new(0),
            first_error: RefCell::new(None),
            first_body: RefCell::new(None),
        })
    }

    /// One connection's closed loop.
    async fn repeat(&self, mut connection: Connection, mut template: Template) {
        let mut sent = Instant::now();
        while let Some(number) = self.next_number(sent) {
            match connection.exchange(template.fill(number)).await {
                Ok((status, body)) => {
                    let answered = Instant::now();
                    if (200..300).contains(&status) {
                        self.record(sent, answered, body);
                    } else {
                        self.fail(|| format!("{status}: {}", String::from_utf8_lossy(body)));
                    }
                    sent = answered;
                }
                Err(error) => {
                    self.fail(|| error);
                    return;
                }
            }
        }
    }

    /// The next request's number, or `None` when the run is over.
    fn next_number(&self, now: Instant) -> Option<u64> {
        if self.ends.is_some_and(|ends| now >= ends) {
            return None;
        }
        self.requests_left.set(self.requests_left.get().checked_sub(1)?);
        match self.numbers.get() {
            Numbers::From(number) => {
                self.numbers.set(Numbers::From(number + self.documents));
                Some(number)
            }
            Numbers::Below(bound) => {
                // SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators".
                let state = self.random.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
                self.random.set(state);
                let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                Some((mixed ^ (mixed >> 31)) % bound.max(1))
            }
        }
    }

    fn record(&self, sent: Instant, answered: Instant, body: &[u8]) {
        self.answered.set(self.answered.get().saturating_add(1));
        if answered < self.counted_from || self.ends.is_some_and(|ends| answered > ends) {
            return;
        }
        let micros = u64::try_from((answered - sent).as_micros()).unwrap_or(u64::MAX);
        self.latencies.borrow_mut().saturating_record(micros.max(1));
        self.last.set(answered);
        let mut first = self.first_body.borrow_mut();
        if first.is_none() {
            *first = Some(body.to_vec());
        }
    }

    fn fail(&self, text: impl FnOnce() -> String) {
        self.errors.set(self.errors.get() + 1);
        let mut first = self.first_error.borrow_mut();
        if first.is_none() {
            *first = Some(text().chars().take(ERROR_TEXT_BYTES_MAX).collect());
        }
    }

    /// What was measured; `cpu` is the server's processor time of the whole run.
    fn report(&self, cpu: Option<Duration>) -> Report {
        let latencies = self.latencies.borrow();
        let at = |quantile| Duration::from_micros(latencies.value_at_quantile(quantile));
        let requests = latencies.len();
        let ends = self.ends.unwrap_or(self.last.get());
        let elapsed = ends.saturating_duration_since(self.counted_from);
        Report {
            rate: per_second(requests, elapsed),
            requests,
            elapsed,
            p50: at(0.5),
            p99: at(0.99),
            max: Duration::from_micros(latencies.max()),
            cpu_per_request: cpu.and_then(|cpu| cpu.checked_div(self.answered.get())),
            errors: self.errors.get(),
            first_error: self.first_error.borrow().clone(),
            first_body: self.first_body.borrow().clone().unwrap_or_default(),
            next_number: match self.numbers.get() {
                Numbers::From(number) | Numbers::Below(number) => number,
            },
        }
    }
}

/// A rate, zero for no time at all.
#[expect(clippy::cast_precision_loss, reason = "rates are shown with three digits")]
pub(super) fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() {
        return 0.0;
    }
    count as f64 / elapsed.as_secs_f64()
}
