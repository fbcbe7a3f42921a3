//! The cases: what is measured, and what it must reach.
//!
//! | case | node | against | wanted |
//! |---|---|---|---|
//! | `put` | durable PUT, 64 connections | the floor's PUT | 0.7 |
//! | `put-one` | durable PUT, one connection | the floor's PUT | - |
//! | `get` | GET by id, 64 connections | the floor's constant | 0.65 |
//! | `redis` | durable PUT, 64 connections | Redis SET, `appendfsync always` | 1.0 |
//! | `bulk` | bulk write of NDJSON | 50 k documents a second | 1.0 |
//! | `import` | import of the purchases file | 3 s | below |
//! | `idle` | memory of an idle node | 30 MB | below |
//! | `size` | the stripped binary | 25 MB | below |
//! | `open` | opening 1 M documents | 100 ms clean, 2 s after a kill | below |
//! | `query` | queries and indexes over HTTP; see `query` | SQLite in process, GET by id, fixed numbers | as there |
//! | `sync` | two nodes in sync; see `sync` | fixed numbers, and itself alone | as there |
//! | `cache` | cache entries; see `cache` | documents, Redis, fixed numbers, and itself | as there |

use super::load::{Amount, Numbers, Plan, Report, Server, drive, per_second};
use super::servers::{Floor, Node, Redis, directory_bytes, file_bytes, import_directly, purchases};
use super::table::{Row, Unit, Wanted};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Documents in one bulk request.
const BULK_DOCUMENTS: u64 = 1000;
/// Connections that send bulk requests.
const BULK_CONNECTIONS: usize = 4;
/// Documents of one bulk round.
const BULK_ROUND_DOCUMENTS: u64 = 200_000;
/// Documents a second that bulk writes must reach.
const BULK_WANTED: f64 = 50_000.0;
/// Documents among which GET chooses.
const GET_DOCUMENTS: u64 = 10_000;
/// How long an idle node is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(2);
/// Restarts of each kind in the case that opens a large database.
const OPEN_ROUNDS: usize = 3;

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Case {
    /// Durable PUT from many connections, against the floor.
    Put,
    /// Durable PUT from one connection, against the floor.
    PutOne,
    /// GET by id, against a route that returns a constant.
    Get,
    /// Durable PUT against Redis.
    Redis,
    /// Bulk write.
    Bulk,
    /// Import of the purchases file.
    Import,
    /// Memory of an idle node.
    Idle,
    /// Size of the binary.
    Size,
    /// Opening a large database after a clean stop and after a kill.
    Open,
    /// Catch-up, bootstrap, visibility and cost of sync between two nodes.
    Sync,
    /// Catch-up, rates, lag, handover and failover of a leader and its followers.
    Replica,
    /// Queries and indexes, against SQLite on the same documents.
    Query,
    /// Cache entries: get, set, sight at a peer, many of them, and their end.
    Cache,
}

/// The chosen cases in their usual order; all of them if none is chosen.
pub(super) fn chosen(only: &[Case]) -> impl Iterator<Item = Case> {
    let all = <Case as clap::ValueEnum>::value_variants();
    all.iter().copied().filter(|case| only.is_empty() || only.contains(case))
}

/// Everything a case needs to know.
#[derive(Debug)]
pub(super) struct Bench {
    /// The node's binary; `None` to measure the references alone.
    pub(super) node: Option<PathBuf>,
    /// Where all files of this run go.
    pub(super) directory: PathBuf,
    /// Where the real data is, if it is there.
    pub(super) real_data: Option<PathBuf>,
    /// Seconds of a round.
    pub(super) seconds: f64,
    /// Rounds of each side.
    pub(super) rounds: usize,
    /// Connections.
    pub(super) connections: usize,
    /// Documents of the large database.
    pub(super) documents: u64,
    /// Lines that are wanted of cases that can leave some out; all without this.
    pub(super) line: Option<String>,
}

/// The lines of a case, or why there are none.
pub(super) type Outcome = Result<Vec<Row>, String>;

impl Bench {
    /// Whether a line is to be measured.
    pub(super) fn wants(&self, line: &str) -> bool {
        self.line.as_deref().is_none_or(|wanted| line.contains(wanted))
    }

    /// Runs one case; a failure becomes a row, so that the others still run.
    pub(super) fn run(&self, case: Case) -> Vec<Row> {
        let name =
            clap::ValueEnum::to_possible_value(&case).map_or_else(String::new, |value| value.get_name().to_owned());
        eprintln!("bench: {name}");
        let directory = self.directory.join(&name);
        let outcome = match case {
            Case::Put => self.put(&directory, "durable PUT", self.connections, 0.7),
            Case::PutOne => self.put(&directory, "durable PUT", 1, 0.0),
            Case::Get => self.get(&directory),
            Case::Redis => self.redis(&directory),
            Case::Bulk => self.with_node(&name, |binary| self.bulk(binary, &directory)),
            Case::Import => self.with_node(&name, |binary| self.import(binary, &directory)),
            Case::Idle => self.with_node(&name, |binary| idle(binary, &directory)),
            Case::Size => self.with_node(&name, size),
            Case::Open => self.with_node(&name, |binary| self.open(binary, &directory)),
            Case::Query => self.with_node(&name, |binary| super::query::query(self, binary, &directory)),
            Case::Cache => self.with_node(&name, |binary| Ok(super::cache::cache(self, binary, &directory))),
            Case::Replica => self.with_node(&name, |binary| Ok(super::replica::replica(self, binary, &directory))),
            Case::Sync => self.with_node(&name, |binary| Ok(super::sync::sync(self, binary, &directory))),
        };
        // Gigabytes of one case must not slow the next; what cannot be removed goes at the end.
        let _ = std::fs::remove_dir_all(&directory);
        outcome.unwrap_or_else(|error| vec![Row::broken(&name, error)])
    }

    fn with_node(&self, name: &str, measure: impl FnOnce(&Path) -> Outcome) -> Outcome {
        match &self.node {
            Some(binary) => measure(binary),
            None => Ok(vec![Row::skipped(name, "needs the node")]),
        }
    }

    fn start_node(&self, directory: &Path) -> Result<Option<Node>, String> {
        let binary = self.node.as_deref();
        binary.map(|binary| Node::start(binary, &directory.join("node"))).transpose()
    }

    fn put(&self, directory: &Path, name: &str, connections: usize, least: f64) -> Outcome {
        let floor = Floor::start(&directory.join("floor"))?;
        let node = self.start_node(directory)?;
        let mut floor_plan = self.timed(floor.server, connections, Floor::put());
        let mut node_plan = node.as_ref().map(|node| self.timed(node.server, connections, Node::put()));
        let mut sides = Sides::default();
        for _ in 0..self.rounds {
            sides.push_floor(drive_new(&mut floor_plan)?);
            if let Some(plan) = &mut node_plan {
                sides.node.push(drive_new(plan)?);
            }
        }
        let mut row = sides.row(&format!("{name} @{connections}"), "floor", least);
        if let Some(bytes) = node.and_then(|node| node.program.memory_bytes("VmRSS")) {
            row.add_note(&format!("node after it: {} MB RSS", bytes / 1_000_000));
        }
        Ok(vec![row])
    }

    fn get(&self, directory: &Path) -> Outcome {
        let floor = Floor::start(&directory.join("floor"))?;
        let node = self.start_node(directory)?;
        let numbers = Numbers::Below(GET_DOCUMENTS);
        let floor_plan = Plan { numbers, ..self.timed(floor.server, self.connections, Floor::get()) };
        let node_plan = match &node {
            Some(node) => {
                load_documents(node, 0, GET_DOCUMENTS)?;
                Some(Plan { numbers, ..self.timed(node.server, self.connections, Node::get()) })
            }
            None => None,
        };
        let mut sides = Sides::default();
        for _ in 0..self.rounds {
            sides.push_floor(drive(&floor_plan)?);
            if let Some(plan) = &node_plan {
                sides.node.push(drive(plan)?);
            }
        }
        let name = format!("GET by id @{}", self.connections);
        Ok(vec![sides.row(&name, "constant", 0.65)])
    }

    fn redis(&self, directory: &Path) -> Outcome {
        let name = format!("durable PUT @{} against Redis", self.connections);
        let Some(redis) = Redis::start(&directory.join("redis"))? else {
            let why = "redis-server and redis-benchmark are not installed";
            return Ok(vec![Row::skipped(&name, why)]);
        };
        let node = self.start_node(directory)?;
        let mut node_plan = node.as_ref().map(|node| self.timed(node.server, self.connections, Node::put()));
        // `redis-benchmark` counts requests, not seconds, so a short run says how many to ask for.
        let pace = redis.set(self.connections, 5000)?.rate;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let requests = (pace * self.seconds).clamp(5000.0, 1e8) as u64;
        let mut runs = Vec::new();
        let mut sides = Sides::default();
        for _ in 0..self.rounds {
            let run = redis.set(self.connections, requests)?;
            runs.push(run);
            sides.against.push(run.rate);
            if let Some(plan) = &mut node_plan {
                sides.node.push(drive_new(plan)?);
            }
        }
        runs.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let median = runs.get(runs.len() / 2).ok_or("no round was run")?;
        let mut row = sides.row(&name, "Redis", 1.0);
        row.add_note(&format!(
            "Redis: p50 {:.2} ms, p99 {:.2} ms (redis-benchmark, no pipelining, appendfsync always)",
            median.p50_ms, median.p99_ms
        ));
        Ok(vec![row])
    }

    fn bulk(&self, binary: &Path, directory: &Path) -> Outcome {
        let mut node = Node::start(binary, &directory.join("node"))?;
        let mut next = 0;
        let mut rows = Vec::new();
        for (connections, wanted) in [(BULK_CONNECTIONS, Wanted::AtLeast(1.0)), (1, Wanted::Nothing)] {
            let mut reports = Vec::new();
            for _ in 0..self.rounds {
                let report = drive(&bulk_plan(&node, connections, next, BULK_ROUND_DOCUMENTS))?;
                next = report.next_number;
                reports.push(report);
            }
            // An answer of 200 proves little if nobody reads what was written.
            node.first_read_after(next.saturating_sub(1))?;
            let median = median_of(&reports).ok_or("no round was run")?;
            let rate = per_second(median.requests * BULK_DOCUMENTS, median.elapsed);
            let target = if matches!(wanted, Wanted::Nothing) { String::new() } else { ">= 50 k/s".to_owned() };
            rows.push(Row {
                name: format!("bulk write of documents @{connections}, {BULK_DOCUMENTS} each"),
                target,
                measured: Some(rate),
                reference: Some(BULK_WANTED),
                ratio: Some(rate / BULK_WANTED),
                unit: Unit::PerSecond,
                wanted,
                note: describe("node", &reports) + &refused_items(&reports),
                failed: failed(&reports) || !refused_items(&reports).is_empty(),
            });
        }
        Ok(rows)
    }

    fn import(&self, binary: &Path, directory: &Path) -> Outcome {
        let (file, real) = purchases(self.real_data.as_deref(), directory)?;
        let which = if real { "real data" } else { "a made file of the same shape; no real data found" };
        let (mut through, mut direct) = (Vec::new(), Vec::new());
        for round in 0..self.rounds {
            let node = Node::start(binary, &directory.join(format!("node-{round}")))?;
            through.push(seconds_of(&mut node.import(binary, &file))?);
            drop(node);
            let data_directory = directory.join(format!("data-{round}"));
            direct.push(seconds_of(&mut import_directly(binary, &file, &data_directory))?);
        }
        let row = |how: &str, mut seconds: Vec<f64>| Row {
            unit: Unit::Seconds,
            ..limit(
                &format!("import of 69,659 rows {how}"),
                median(&mut seconds),
                3.0,
                "< 3 s",
                format!("{which}; process start included"),
            )
        };
        Ok(vec![row("through a node", through), row("into a directory", direct)])
    }

    fn open(&self, binary: &Path, directory: &Path) -> Outcome {
        if !cfg!(unix) {
            return Ok(vec![Row::skipped("open", "needs signals to stop the node")]);
        }
        let directory = directory.join("node");
        let last = self.documents.saturating_sub(1);
        let mut node = Node::start(binary, &directory)?;
        let from = Instant::now();
        let mut next = load_documents(&node, 0, self.documents)?;
        eprintln!(
            "bench: loaded {} documents in {:.1} s, node at {} MB RSS",
            self.documents,
            from.elapsed().as_secs_f64(),
            node.program.memory_bytes("VmRSS").unwrap_or(0) / 1_000_000
        );
        let mut after_kill = Openings::default();
        for _ in 0..OPEN_ROUNDS {
            next = kill_under_load(&mut node, next)?;
            node = Node::start(binary, &directory)?;
            after_kill.add(&mut node, last)?;
        }
        let mut after_stop = Openings::default();
        for _ in 0..OPEN_ROUNDS {
            node.program.stop()?;
            node = Node::start(binary, &directory)?;
            after_stop.add(&mut node, last)?;
        }
        let count = self.documents;
        let name = |how: &str| format!("opening {count} documents after {how}");
        let mut rows = vec![
            after_stop.row(&name("a clean stop"), 0.1, "< 100 ms"),
            after_kill.row(&name("SIGKILL under load"), 2.0, "< 2 s"),
        ];
        if let Some(row) = rows.last_mut() {
            let bytes = directory_bytes(&directory);
            row.add_note(&format!("files of {:.0} MB by then", megabytes(bytes)));
        }
        Ok(rows)
    }

    /// A plan of as many seconds as a round takes.
    pub(super) fn timed(&self, server: Server, connections: usize, template: super::http::Template) -> Plan {
        Plan {
            server,
            connections,
            template,
            numbers: Numbers::From(0),
            amount: Amount::Time { warm_up: Duration::from_secs(1), run: Duration::from_secs_f64(self.seconds) },
        }
    }
}

/// Runs the plan on documents that no earlier round has written.
pub(super) fn drive_new(plan: &mut Plan) -> Result<Report, String> {
    let report = drive(plan)?;
    plan.numbers = Numbers::From(report.next_number);
    Ok(report)
}

fn bulk_plan(node: &Node, connections: usize, from: u64, documents: u64) -> Plan {
    let per_request = BULK_DOCUMENTS.min(documents.max(1));
    Plan {
        server: node.server,
        connections,
        template: Node::bulk(per_request),
        numbers: Numbers::From(from),
        amount: Amount::Requests(documents.div_ceil(per_request)),
    }
}

/// Writes documents whose speed does not matter; returns the next number.
pub(super) fn load_documents(node: &Node, from: u64, documents: u64) -> Result<u64, String> {
    let report = drive(&bulk_plan(node, BULK_CONNECTIONS, from, documents))?;
    match report.first_error {
        Some(error) => Err(format!("cannot load documents: {error}")),
        None => Ok(report.next_number),
    }
}

/// Kills the node while 64 connections write; returns the next number.
fn kill_under_load(node: &mut Node, next: u64) -> Result<u64, String> {
    let plan = Plan {
        server: node.server,
        connections: 64,
        template: Node::put(),
        numbers: Numbers::From(next),
        amount: Amount::Time { warm_up: Duration::ZERO, run: Duration::from_secs(5) },
    };
    let load = std::thread::spawn(move || drive(&plan));
    std::thread::sleep(Duration::from_secs(2));
    node.program.kill();
    let report = load.join().map_err(|_| "the load generator failed")??;
    Ok(report.next_number)
}

fn idle(binary: &Path, directory: &Path) -> Outcome {
    let node = Node::start(binary, &directory.join("node"))?;
    std::thread::sleep(IDLE);
    let read = |field| node.program.memory_bytes(field);
    let Some(resident) = read("VmRSS") else {
        return Ok(vec![Row::skipped("idle memory", "needs /proc")]);
    };
    let note = format!(
        "of it {:.1} MB anonymous; start to /readyz {} ms",
        megabytes(read("RssAnon").unwrap_or(0)),
        node.ready_after.as_millis()
    );
    Ok(vec![limit("idle memory (RSS)", megabytes(resident) * 1e6, 30e6, "< 30 MB", note)])
}

fn size(binary: &Path) -> Outcome {
    let bytes = file_bytes(binary)?;
    let note = "as built by the release profile, which strips".to_owned();
    Ok(vec![limit("release binary", megabytes(bytes) * 1e6, 25e6, "< 25 MB", note)])
}

/// A row of bytes that must stay below a fixed number.
pub(super) fn limit(name: &str, measured: f64, reference: f64, target: &str, note: String) -> Row {
    Row {
        name: name.to_owned(),
        target: target.to_owned(),
        measured: Some(measured),
        reference: Some(reference),
        ratio: Some(measured / reference),
        unit: Unit::Bytes,
        wanted: Wanted::Below,
        note,
        failed: false,
    }
}

/// How long restarts took, in seconds.
#[derive(Debug, Default)]
struct Openings {
    ready: Vec<f64>,
    first_read: Vec<f64>,
}

impl Openings {
    fn add(&mut self, node: &mut Node, number: u64) -> Result<(), String> {
        let first_read = node.first_read_after(number)?;
        self.ready.push(node.ready_after.as_secs_f64());
        self.first_read.push(first_read.as_secs_f64());
        Ok(())
    }

    /// The slowest restart counts, up to the first document read: a node may say it is ready
    /// before it has opened a database that nobody has asked for.
    fn row(mut self, name: &str, limit_seconds: f64, target: &str) -> Row {
        let slowest = self.first_read.iter().copied().fold(0.0, f64::max);
        let note = format!(
            "slowest of {} restarts, process start to first document; medians: /readyz {}, first document {}",
            self.ready.len(),
            Unit::Seconds.show(median(&mut self.ready)),
            Unit::Seconds.show(median(&mut self.first_read)),
        );
        Row { unit: Unit::Seconds, ..limit(name, slowest, limit_seconds, target, note) }
    }
}

/// The rounds of both sides.
#[derive(Debug, Default)]
pub(super) struct Sides {
    /// The reports of what the node is compared with, where it reports so.
    pub(super) floor: Vec<Report>,
    /// The rates of what the node is compared with.
    pub(super) against: Vec<f64>,
    /// The node's.
    pub(super) node: Vec<Report>,
}

impl Sides {
    /// Adds a round of what the node is compared with.
    pub(super) fn push_floor(&mut self, report: Report) {
        self.against.push(report.rate);
        self.floor.push(report);
    }

    /// The median of each node round by the round before it: what else the machine does
    /// changes slowly, so it weighs on both of a pair and leaves their ratio alone.
    fn ratio(&self) -> Option<f64> {
        let pairs = self.node.iter().zip(&self.against);
        let mut ratios: Vec<f64> = pairs.map(|(node, against)| node.rate / against).collect();
        (!ratios.is_empty()).then(|| median(&mut ratios))
    }

    /// `least` is the wanted ratio, zero for none.
    pub(super) fn row(&self, name: &str, against: &str, least: f64) -> Row {
        let notes = [describe("node", &self.node), describe(against, &self.floor)];
        let wanted = least > 0.0;
        Row {
            name: name.to_owned(),
            target: if wanted { format!(">= {least} x {against}") } else { String::new() },
            measured: median_of(&self.node).map(|report| report.rate),
            reference: Some(median(&mut self.against.clone())),
            ratio: self.ratio(),
            unit: Unit::PerSecond,
            wanted: if wanted { Wanted::AtLeast(least) } else { Wanted::Nothing },
            note: notes.join("\n").trim().to_owned(),
            failed: failed(&self.node) || failed(&self.floor),
        }
    }
}

/// The round with the median rate.
pub(super) fn median_of(reports: &[Report]) -> Option<&Report> {
    let mut sorted: Vec<&Report> = reports.iter().collect();
    sorted.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    sorted.get(sorted.len() / 2).copied()
}

pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn failed(reports: &[Report]) -> bool {
    reports.iter().any(|report| report.errors > 0)
}

/// Latencies of the median round, every round's rate, and the first error if there was one.
pub(super) fn describe(side: &str, reports: &[Report]) -> String {
    let Some(median) = median_of(reports) else {
        return String::new();
    };
    let rates: Vec<String> = reports.iter().map(|report| format!("{:.0}", report.rate)).collect();
    let cpu =
        median.cpu_per_request.map_or(String::new(), |cpu| format!("{:.1} us CPU each; ", milliseconds(cpu) * 1000.0));
    let text = format!(
        "{side}: p50 {:.2} ms, p99 {:.2} ms, max {:.1} ms; {cpu}rounds {}",
        milliseconds(median.p50),
        milliseconds(median.p99),
        milliseconds(median.max),
        rates.join(" ")
    );
    let errors: u64 = reports.iter().map(|report| report.errors).sum();
    let first = reports.iter().find_map(|report| report.first_error.as_ref());
    match first {
        Some(first) => format!("{text}\n{side}: {errors} errors, the first: {first}"),
        None => text,
    }
}

/// What the first bulk answer of each round says about items that were not written; empty if all were.
fn refused_items(reports: &[Report]) -> String {
    let refused = reports.iter().find_map(|report| {
        let answer: serde_json::Value = serde_json::from_slice(&report.first_body).ok()?;
        let failed = answer.get("Failed")?.as_u64().filter(|failed| *failed > 0)?;
        let errors = answer.get("Results")?.as_array()?.iter();
        let first = errors.filter_map(|item| item.get("Error")).find(|error| !error.is_null());
        Some(format!("\nnode: {failed} items of one request were refused, the first: {first:?}"))
    });
    refused.unwrap_or_default()
}

/// Runs a command to its successful end.
fn seconds_of(command: &mut Command) -> Result<f64, String> {
    let from = Instant::now();
    let output = command.output().map_err(|error| format!("cannot run the import: {error}"))?;
    if output.status.success() {
        return Ok(from.elapsed().as_secs_f64());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("the import ended with {}:\n{said}", output.status))
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
