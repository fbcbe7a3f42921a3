//! Sync between two nodes on loopback: how fast the second gets what the first has.
//!
//! | line | from | to | asked |
//! |---|---|---|---|
//! | catch-up | the peer's registration | equal digests, 200 k operations later | 40 k operations a second |
//! | bootstrap | the peer's registration | equal digests, from a log that is pruned | 50 k documents a second |
//! | deletes | the peer's registration | equal digests, 20 k deleted documents and 50 k others later | 0.5 of the rate without the deleted |
//! | visible | the answer to a write | the answer to a read of it at the peer, at 500 writes a second | p50 3 ms, p99 15 ms |
//! | nothing to do | a pull that lacks nothing | its answer | 5 ms |
//! | writer's cost | a full write load, nobody to sync with | the same load with a peer that takes it all | 0.75 of the rate |
//!
//! What stays true: both nodes are real ones in processes of their own, registered with each other as an operator would;
//! that a node has everything is read from its digest. The read of a fresh write carries its token, so it waits at the
//! peer instead of asking again and again.
//!
//! What it does not do: give each node a machine. Both and the generator share this one, so the peer's own work is in
//! the writer's cost; the note tells the processor time of each apart from that.

use super::cases::{Bench, Outcome, describe, drive_new, limit, load_documents, median, median_of};
use super::http::{Connection, Template, mark};
use super::load::{Amount, Numbers, Plan, drive, per_second};
use super::process::cpu_time;
use super::servers::{DATABASE, HEADERS_PEER, KEY, Node};
use super::table::{Row, Unit, Wanted};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

/// What is caught up with.
const OPERATIONS: u64 = 200_000;
/// Rounds of what takes seconds each.
const ROUNDS_MAX: usize = 3;
/// Operations a second that a catch-up must reach.
const CATCH_UP_WANTED: f64 = 40_000.0;
/// Documents a second that a bootstrap must reach.
const BOOTSTRAP_WANTED: f64 = 50_000.0;
/// Writes a second while it is measured when they are visible.
pub(super) const WRITES_PER_SECOND: u32 = 500;
/// Writers that share them, so that one slow write delays few others.
const WRITERS: u32 = 20;
/// What their first writes wait for: all connections are open by then.
const BEGIN_AFTER: Duration = Duration::from_millis(100);
/// Document numbers of one round, and of one writer in it.
const ROUND_NUMBERS: u64 = 10_000_000;
const WRITER_NUMBERS: u64 = 100_000;
/// Idle exchanges that are timed.
const IDLE_EXCHANGES: u64 = 500;
/// How long two nodes may take until they are equal.
const EQUAL_WITHIN: Duration = Duration::from_mins(3);
/// The time between two looks at a digest.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);
/// Settings under which a log is pruned to its end.
const PRUNED: [(&str, &str); 2] =
    [("HOLDFAST__Node__OperationLogRetentionDays", "0"), ("HOLDFAST__Node__OperationLogRetainRecentOperations", "0")];

/// Documents that are deleted before a peer comes, and those that are there.
const DELETED: u64 = 20_000;
const LIVE: u64 = 50_000;

/// Latencies in microseconds.
pub(super) type Latencies = Histogram<u64>;

/// All lines of this file.
pub(super) fn sync(bench: &Bench, binary: &Path, directory: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut measure = |name: &str, outcome: &dyn Fn(&Path) -> Outcome| {
        eprintln!("bench: sync: {name}");
        let directory = directory.join(name);
        rows.extend(outcome(&directory).unwrap_or_else(|error| vec![Row::broken(name, error)]));
        let _ = std::fs::remove_dir_all(&directory);
    };
    measure("catch-up", &|directory| {
        fill_a_peer(bench, binary, directory, ("catch-up of a peer, operations", &[], CATCH_UP_WANTED))
    });
    measure("bootstrap", &|directory| {
        fill_a_peer(bench, binary, directory, ("bootstrap from a pruned log, documents", &PRUNED, BOOTSTRAP_WANTED))
    });
    measure("deletes", &|directory| deletes(bench, binary, directory));
    measure("visible", &|directory| visible(bench, binary, directory));
    measure("cost", &|directory| cost(bench, binary, directory));
    rows
}

/// A full node and an empty one, and the time until they are equal.
fn fill_a_peer(bench: &Bench, binary: &Path, directory: &Path, line: (&str, &[(&str, &str)], f64)) -> Outcome {
    let (name, settings, wanted) = line;
    let mut rates = Vec::new();
    let mut notes = Vec::new();
    for round in 0..bench.rounds.min(ROUNDS_MAX) {
        let directory = directory.join(round.to_string());
        let full = start(binary, &directory, "full", settings)?;
        load_documents(&full, 0, OPERATIONS)?;
        if !settings.is_empty() {
            prune(&full)?;
        }
        let empty = start(binary, &directory, "empty", settings)?;
        let cpu = cpu_of([&full, &empty]);
        let from = Instant::now();
        introduce(&full, &empty)?;
        wait_until_equal(&full, &empty)?;
        let elapsed = from.elapsed();
        rates.push(per_second(OPERATIONS, elapsed));
        let [full_used, empty_used] = used_since(cpu, [&full, &empty]);
        notes.push(format!(
            "{:.2} s, CPU of the full node {full_used:.2} s, of the empty one {empty_used:.2} s",
            elapsed.as_secs_f64()
        ));
        // The files of one round must not slow the next.
        let _ = std::fs::remove_dir_all(&directory);
    }
    let rate = median(&mut rates);
    Ok(vec![rate_row(format!("{name} ({OPERATIONS})"), rate, wanted, notes.join("\n"))])
}

/// A rate that must reach another.
pub(super) fn rate_row(name: String, rate: f64, wanted: f64, note: String) -> Row {
    Row {
        name,
        target: format!(">= {}", Unit::PerSecond.show(wanted)),
        measured: Some(rate),
        reference: Some(wanted),
        ratio: Some(rate / wanted),
        unit: Unit::PerSecond,
        wanted: Wanted::AtLeast(1.0),
        note,
        failed: false,
    }
}

/// What documents that were deleted long ago cost a new peer.
fn deletes(bench: &Bench, binary: &Path, directory: &Path) -> Outcome {
    let (mut with, mut without, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..bench.rounds.min(ROUNDS_MAX) {
        let directory = directory.join(round.to_string());
        let first = seconds_with_deleted(binary, &directory.join("without"), 0)?;
        let second = seconds_with_deleted(binary, &directory.join("with"), DELETED)?;
        ratios.push(first / second);
        without.push(first);
        with.push(second);
        let _ = std::fs::remove_dir_all(&directory);
    }
    let (with, without) = (median(&mut with), median(&mut without));
    Ok(vec![Row {
        name: format!("a new peer, {LIVE} documents and {DELETED} deleted ones"),
        target: ">= 0.5 x without the deleted".to_owned(),
        measured: Some(with),
        reference: Some(without),
        ratio: Some(median(&mut ratios)),
        unit: Unit::Seconds,
        wanted: Wanted::AtLeast(0.5),
        note: format!("{:.2} s more for {} operations more", with - without, 2 * DELETED),
        failed: false,
    }])
}

/// How long a new peer takes. What is there is written last, so that equal digests mean that all has come.
fn seconds_with_deleted(binary: &Path, directory: &Path, deleted: u64) -> Result<f64, String> {
    let full = start(binary, directory, "full", &[])?;
    if deleted > 0 {
        load_documents(&full, 0, deleted)?;
        let plan = Plan {
            server: full.server,
            connections: 64,
            template: Node::delete(),
            numbers: Numbers::From(0),
            amount: Amount::Requests(deleted),
        };
        if let Some(error) = drive(&plan)?.first_error {
            return Err(format!("cannot delete documents: {error}"));
        }
    }
    load_documents(&full, ROUND_NUMBERS, LIVE)?;
    let empty = start(binary, directory, "empty", &[])?;
    let from = Instant::now();
    introduce(&full, &empty)?;
    wait_until_equal(&full, &empty)?;
    Ok(from.elapsed().as_secs_f64())
}

/// The processor time that two nodes have used.
fn cpu_of(nodes: [&Node; 2]) -> [Duration; 2] {
    nodes.map(|node| cpu_time(node.server.process).unwrap_or_default())
}

/// The processor seconds that two nodes have used since they had used so much.
fn used_since(before: [Duration; 2], nodes: [&Node; 2]) -> [f64; 2] {
    let [first, second] = cpu_of(nodes);
    let [of_first, of_second] = before;
    [first.saturating_sub(of_first), second.saturating_sub(of_second)].map(|used| used.as_secs_f64())
}

/// When writes of a steady load are visible at the peer, and what an exchange costs once nothing is left to do.
fn visible(bench: &Bench, binary: &Path, directory: &Path) -> Outcome {
    let (here, there) = (start(binary, directory, "here", &[])?, start(binary, directory, "there", &[])?);
    load_documents(&here, 0, 1_000)?;
    introduce(&here, &there)?;
    wait_until_equal(&here, &there)?;
    let (mut p50, mut p99, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..bench.rounds {
        let Steady { written, seen } =
            steadily(WRITES_PER_SECOND, bench.seconds, round as u64, &here, &there, write_and_see)?;
        p50.push(at(&seen, 0.5));
        p99.push(at(&seen, 0.99));
        notes.push(format!(
            "{} writes, visible: {}; the write itself: {}",
            seen.len(),
            quantiles(&seen),
            quantiles(&written)
        ));
    }
    wait_until_equal(&here, &there)?;
    let bare = timed_requests(&there, &Node::get(), IDLE_EXCHANGES)?;
    notes.push(format!("a read without a wait: {}", quantiles(&bare)));
    let row = |name: &str, measured, most, target: &str, note| Row {
        unit: Unit::Seconds,
        ..limit(name, measured, most, target, note)
    };
    let name = format!("visible at the peer, {WRITES_PER_SECOND} writes/s");
    let idle = timed_requests(&here, &idle_exchange(&here, &there)?, IDLE_EXCHANGES)?;
    let idle_note = format!("a pull that lacks nothing: {}", quantiles(&idle));
    Ok(vec![
        row(&format!("{name}, p50"), median(&mut p50), 0.003, "< 3 ms", notes.join("\n")),
        row(&format!("{name}, p99"), median(&mut p99), 0.015, "< 15 ms", String::new()),
        row("an exchange with nothing to do, p99", at(&idle, 0.99), 0.005, "< 5 ms", idle_note),
    ])
}

/// The rate of writes with a peer that takes them all, against the rate without.
fn cost(bench: &Bench, binary: &Path, directory: &Path) -> Outcome {
    let alone = start(binary, directory, "alone", &[])?;
    let (writer, peer) = (start(binary, directory, "writer", &[])?, start(binary, directory, "peer", &[])?);
    load_documents(&writer, 0, 1)?;
    introduce(&writer, &peer)?;
    wait_until_equal(&writer, &peer)?;
    let plan = |node: &Node| Plan {
        server: node.server,
        connections: bench.connections,
        template: Node::put(),
        numbers: Numbers::From(1),
        amount: Amount::Time { warm_up: Duration::from_secs(1), run: Duration::from_secs_f64(bench.seconds) },
    };
    let (mut without, mut with) = (plan(&alone), plan(&writer));
    let (mut reports_without, mut reports_with, mut ratios, mut behind) = (vec![], vec![], vec![], vec![]);
    let mut used = Vec::new();
    for _ in 0..bench.rounds {
        let first = drive_new(&mut without)?;
        let (before, first_number) = (cpu_of([&writer, &peer]), next_number(&with));
        let second = drive_new(&mut with)?;
        ratios.push(second.rate / first.rate);
        reports_without.push(first);
        reports_with.push(second);
        let from = Instant::now();
        wait_until_equal(&writer, &peer)?;
        behind.push(from.elapsed().as_secs_f64());
        let written = next_number(&with) - first_number;
        let [writer, peer] = used_since(before, [&writer, &peer]).map(|seconds| seconds / per_second(written, SECOND));
        used.push(format!("{:.1} + {:.1}", writer * 1e6, peer * 1e6));
    }
    let rate = |reports| median_of(reports).map(|report| report.rate);
    Ok(vec![Row {
        name: format!("durable PUT @{} with a peer in sync", bench.connections),
        target: ">= 0.75 x alone".to_owned(),
        measured: rate(&reports_with),
        reference: rate(&reports_without),
        ratio: Some(median(&mut ratios)),
        unit: Unit::PerSecond,
        wanted: Wanted::AtLeast(0.75),
        note: format!(
            "{}\n{}\nCPU of writer and peer for each write, us: {}\nthe peer was equal {} after the load ended; it shares \
             the machine's cores with the writer",
            describe("with", &reports_with),
            describe("alone", &reports_without),
            used.join(", "),
            Unit::Seconds.show(median(&mut behind))
        ),
        failed: reports_with.iter().chain(&reports_without).any(|report| report.errors > 0),
    }])
}

/// The number of the next document of a plan.
fn next_number(plan: &Plan) -> u64 {
    match plan.numbers {
        Numbers::From(number) | Numbers::Below(number) => number,
    }
}

/// Starts a node that can have peers.
pub(super) fn start(binary: &Path, directory: &Path, name: &str, settings: &[(&str, &str)]) -> Result<Node, String> {
    let own =
        [("HOLDFAST__Node__NodeId", name), ("HOLDFAST__Node__ReplicationApiKey", "the-secret-of-the-bench-cluster")];
    let settings: Vec<_> = own.iter().chain(settings).copied().collect();
    Node::start_with(binary, &directory.join(name), &settings)
}

/// Registers both with each other.
pub(super) fn introduce(full: &Node, empty: &Node) -> Result<(), String> {
    for (at, of) in [(empty, full), (full, empty)] {
        let peer = json!({ "NodeId": node_id(of)?, "BaseUrl": format!("http://{}", of.server.address) });
        at.call("POST", "/api/cluster/peers", &peer.to_string())?;
    }
    Ok(())
}

fn node_id(node: &Node) -> Result<String, String> {
    let status = node.call("GET", "/api/replication/status", "")?;
    text(&status, "NodeId")
}

/// Prunes a log to its end.
fn prune(node: &Node) -> Result<(), String> {
    let from = Instant::now();
    while from.elapsed() < EQUAL_WITHIN {
        let results = node.call("POST", "/api/replication/operation-log/prune", "")?;
        let is_done = results
            .as_array()
            .is_some_and(|all| all.iter().all(|one| text(one, "Status").is_ok_and(|status| status == "Skipped")));
        if is_done {
            return Ok(());
        }
    }
    Err("the log was not pruned to its end".to_owned())
}

/// Waits until both show the same. A database that the other does not have yet is not the same.
pub(super) fn wait_until_equal(full: &Node, empty: &Node) -> Result<(), String> {
    let wanted = digest(full)?.ok_or("the node that was filled tells no digest")?;
    let from = Instant::now();
    while from.elapsed() < EQUAL_WITHIN {
        if digest(empty)?.as_ref() == Some(&wanted) {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let status = empty.call("GET", "/api/replication/status", "")?;
    Err(format!("not equal within {} s; the peer says: {status}", EQUAL_WITHIN.as_secs()))
}

/// The digest of the database, if the node has it.
fn digest(node: &Node) -> Result<Option<String>, String> {
    let status = node.call("GET", "/api/replication/status", "")?;
    Ok(of_database(&status).and_then(|one| text(one, "Digest").ok()))
}

/// What an answer tells of the measured database.
fn of_database(answer: &Value) -> Option<&Value> {
    answer.get("Databases")?.as_array()?.iter().find(|one| text(one, "DatabaseName").is_ok_and(|name| name == DATABASE))
}

fn text(value: &Value, name: &str) -> Result<String, String> {
    let text = value.get(name).and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| format!("{name} is missing in {value}"))
}

/// A pull by somebody who knows all that `here` does.
fn idle_exchange(here: &Node, there: &Node) -> Result<Template, String> {
    let held = here.call("GET", "/api/replication/databases", "")?;
    let standing = of_database(&held).and_then(|one| one.get("Standing"));
    let standing = standing.ok_or_else(|| format!("no standing of {DATABASE} in {held}"))?;
    let question = json!({
        "RequestingNodeId": node_id(there)?,
        "AfterLogSequence": standing.get("NewestLogSequence"),
        "LogId": standing.get("LogId"),
        "Vector": standing.get("Vector"),
    });
    Ok(Template::single("POST", "/api/replication/pull", &HEADERS_PEER, &question.to_string()))
}

/// Requests one after the other on one connection.
fn timed_requests(node: &Node, template: &Template, count: u64) -> Result<Latencies, String> {
    let (address, mut template) = (node.server.address, template.clone());
    on_this_thread(async move {
        let mut connection = Connection::open(address).await?;
        let mut latencies = latencies()?;
        for number in 0..count {
            let sent = Instant::now();
            let (status, body) = connection.exchange(template.fill(number)).await?;
            if !(200..300).contains(&status) {
                return Err(format!("{status}: {}", String::from_utf8_lossy(body)));
            }
            record(&mut latencies, sent.elapsed());
        }
        Ok(latencies)
    })
}

/// What a steady load has measured.
#[derive(Debug, Clone)]
pub(super) struct Steady {
    /// From a write's sending to its answer.
    pub(super) written: Latencies,
    /// From the answer to a write until a read at the peer has given it.
    pub(super) seen: Latencies,
}

/// Writes at a fixed rate, and reads each write at the peer from the moment it is answered; `write_and_see` does both.
pub(super) fn steadily(
    per_second: u32,
    seconds: f64,
    round: u64,
    here: &Node,
    there: &Node,
    write_and_see: impl AsyncFn(&mut Connection, &mut Connection, u64) -> Result<(Duration, Duration), String>
    + Copy
    + 'static,
) -> Result<Steady, String> {
    let (here, there) = (here.server.address, there.server.address);
    let measured = Rc::new(RefCell::new(Steady { written: latencies()?, seen: latencies()? }));
    let apart = Duration::from_secs(1) / per_second;
    on_this_thread(async {
        let start = Instant::now() + BEGIN_AFTER;
        let counted_from = start + Duration::from_secs(1);
        let ends = counted_from + Duration::from_secs_f64(seconds);
        let mut tasks = Vec::new();
        for writer in 0..WRITERS {
            let measured = Rc::clone(&measured);
            tasks.push(tokio::task::spawn_local(async move {
                let (mut near, mut far) = (Connection::open(here).await?, Connection::open(there).await?);
                let mut due = start + apart * writer;
                let mut number = (1 + round) * ROUND_NUMBERS + u64::from(writer) * WRITER_NUMBERS;
                while due < ends {
                    tokio::time::sleep_until(due.into()).await;
                    number += 1;
                    let (written, seen) = write_and_see(&mut near, &mut far, number).await?;
                    if due >= counted_from {
                        record(&mut measured.borrow_mut().written, written);
                        record(&mut measured.borrow_mut().seen, seen);
                    }
                    due += apart * WRITERS;
                }
                Ok::<(), String>(())
            }));
        }
        for task in tasks {
            task.await.map_err(|error| format!("a writer's task failed: {error}"))??;
        }
        Ok(())
    })?;
    let measured = measured.borrow().clone();
    Ok(measured)
}

/// How long a write took, and how long it then took to be seen.
pub(super) async fn write_and_see(
    near: &mut Connection,
    far: &mut Connection,
    number: u64,
) -> Result<(Duration, Duration), String> {
    let sent = Instant::now();
    let (status, body) = near.exchange(Node::put().fill(number)).await?;
    let answered = Instant::now();
    let token = serde_json::from_slice::<Value>(body).ok().and_then(|answer| text(&answer, "Token").ok());
    let token = token.ok_or_else(|| format!("a write: {status}: {}", String::from_utf8_lossy(body)))?;
    let headers = ["Database: bench", &format!("ApiKey: {KEY}"), &format!("Consistency-Token: {token}")];
    let mut read = Template::single("GET", &format!("/api/documents/orders/ord-{}", mark()), &headers, "");
    let (status, body) = far.exchange(read.fill(number)).await?;
    if status != 200 {
        return Err(format!("a read at the peer: {status}: {}", String::from_utf8_lossy(body)));
    }
    Ok((answered - sent, answered.elapsed()))
}

/// Runs the work of one generator.
pub(super) fn on_this_thread<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the load generator: {error}"))?;
    LocalSet::new().block_on(&runtime, work)
}

/// No latencies yet.
pub(super) fn latencies() -> Result<Latencies, String> {
    Histogram::new_with_bounds(1, 60_000_000, 3).map_err(|error| format!("cannot make a histogram: {error}"))
}

/// Adds one.
pub(super) fn record(latencies: &mut Latencies, latency: Duration) {
    latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1));
}

/// How they are spread, for a note.
pub(super) fn quantiles(latencies: &Latencies) -> String {
    let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|quantile| Unit::Seconds.show(at(latencies, quantile)));
    format!("p50 {p50}, p90 {p90}, p99 {p99}, max {max}")
}

/// A quantile in seconds.
pub(super) fn at(latencies: &Latencies, quantile: f64) -> f64 {
    Duration::from_micros(latencies.value_at_quantile(quantile)).as_secs_f64()
}
