//! The cache: as fast as documents, as fast as Redis, soon on a peer, and no slower for being full.
//!
//! | line | what | against | asked |
//! |---|---|---|---|
//! | get | GET of an entry | GET of a document by id | 0.95 |
//! | relaxed | PUT that is answered before it is on disk | PUT that is answered after | 1.5 |
//! | Redis | PUT that is answered once it is on disk | Redis SET, `appendfsync always` | 1.0 |
//! | visible | the answer to a write to the first answer at the peer that has it, at 500 writes a second | 3 ms, 15 ms | p50, p99 |
//! | many | get, set and sweep with as many entries as `--documents` says | the same with 10 k | 0.8 each |
//! | ends | 100 k entries that end within ten seconds: gone after the last of them, p99 of documents' PUT meanwhile | the time between two sweeps; 1.5 x without | below |
//!
//! What stays true: entries have the size of the documents that they are compared with, and live for an hour where their
//! end is not what is measured. Reads at the peer ask again at once until they have the write, for the cache knows no token
//! to wait with; they are load that the documents' line of `sync` does not have.
//!
//! What it does not do: fill a cache to its limit.

use super::cases::{Bench, Outcome, Sides, limit, load_documents, median};
use super::documents;
use super::http::{Connection, Template, mark};
use super::load::{Amount, Numbers, Plan, drive, per_second};
use super::servers::{HEADERS, HEADERS_JSON, Node, Redis};
use super::sync::{Steady, WRITES_PER_SECOND, at, introduce, quantiles, start, steadily};
use super::table::{Row, Unit, Wanted};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// Entries of the small cache, and documents among which GET chooses.
const FEW: u64 = 10_000;
/// Entries that are swept at once.
const SWEPT: u64 = 50_000;
/// How long those live; they are written in less.
const SWEPT_LIVE: &str = "6s";
/// Entries in one request.
const AT_ONCE: u64 = 1000;
/// Numbers of entries that must not meet others.
const APART: u64 = 2_000_000_000;
/// Entries that end within [`ENDING`].
const ENDING_ENTRIES: u64 = 100_000;
/// From the first end to the last.
const ENDING: Duration = Duration::from_secs(10);
/// From the writing of an entry to the first end.
const BEFORE_ENDING: Duration = Duration::from_secs(5);
/// Time between two sweeps while entries end, and the setting that says so.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
const SWEEP: (&str, &str) = ("HOLDFAST__Node__CacheCleanupIntervalSeconds", "5");
/// A sweep as fast as it can, every second.
const SWEEP_ALL: [(&str, &str); 2] =
    [("HOLDFAST__Node__CacheCleanupIntervalSeconds", "1"), ("HOLDFAST__Node__CacheCleanupMaxScanPages", "100000")];
/// No bound, so that long rounds do not meet it.
const UNBOUNDED: (&str, &str) = ("HOLDFAST__Node__CacheMaxMegabytes", "0");
/// How long what must come may take.
const WITHIN: Duration = Duration::from_mins(3);

/// All lines of this file.
pub(super) fn cache(bench: &Bench, binary: &Path, directory: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut measure = |name: &str, outcome: &dyn Fn(&Path) -> Outcome| {
        if !bench.wants(name) {
            return;
        }
        eprintln!("bench: cache: {name}");
        let directory = directory.join(name);
        rows.extend(outcome(&directory).unwrap_or_else(|error| vec![Row::broken(name, error)]));
        let _ = std::fs::remove_dir_all(&directory);
    };
    measure("get", &|directory| get(bench, binary, directory));
    measure("relaxed", &|directory| relaxed(bench, binary, directory));
    measure("redis", &|directory| redis(bench, binary, directory));
    measure("visible", &|directory| visible(bench, binary, directory));
    measure("many", &|directory| many(bench, binary, directory));
    measure("ends", &|directory| ends(bench, binary, directory));
    rows
}

fn put_entry(durability: &str) -> Template {
    let path = format!("/api/cache/entry-{}?ttl=1h&durability={durability}", mark());
    Template::single("PUT", &path, &HEADERS_JSON, &documents::order())
}

fn get_entry() -> Template {
    Template::single("GET", &format!("/api/cache/entry-{}", mark()), &HEADERS, "")
}

/// Writes entries whose speed does not matter.
fn fill(node: &Node, from: u64, entries: u64, ttl: &str) -> Result<(), String> {
    let open = format!("{{\"Ttl\":\"{ttl}\",\"Durability\":\"relaxed\",\"Entries\":[");
    let item = format!("{{\"Key\":\"entry-{}\",\"Value\":{}}}", mark(), documents::order());
    let plan = Plan {
        server: node.server,
        connections: 4,
        template: Template::list("PUT", "/api/cache", &HEADERS_JSON, [&open, &item, "]}"], AT_ONCE),
        numbers: Numbers::From(from),
        amount: Amount::Requests(entries.div_ceil(AT_ONCE)),
    };
    match drive(&plan)?.first_error {
        Some(error) => Err(format!("cannot fill the cache: {error}")),
        None => Ok(()),
    }
}

/// How many entries the node keeps.
fn entries_of(node: &Node) -> Result<u64, String> {
    let statistics = node.call("GET", "/api/cache-statistics", "")?;
    let entries = statistics.get("Keys").and_then(Value::as_u64);
    entries.ok_or_else(|| format!("no number of entries in {statistics}"))
}

fn get(bench: &Bench, binary: &Path, directory: &Path) -> Outcome {
    let node = Node::start(binary, &directory.join("node"))?;
    load_documents(&node, 0, FEW)?;
    fill(&node, 0, FEW, "1h")?;
    let plan =
        |template| Plan { numbers: Numbers::Below(FEW), ..bench.timed(node.server, bench.connections, template) };
    let (documents, entries) = (plan(Node::get()), plan(get_entry()));
    let mut sides = Sides::default();
    for _ in 0..bench.rounds {
        sides.push_floor(drive(&documents)?);
        sides.node.push(drive(&entries)?);
    }
    Ok(vec![sides.row(&format!("GET of a cache entry @{}", bench.connections), "GET by id", 0.95)])
}

fn relaxed(bench: &Bench, binary: &Path, directory: &Path) -> Outcome {
    let node = Node::start_with(binary, &directory.join("node"), &[UNBOUNDED])?;
    let plan = |durability, from| Plan {
        numbers: Numbers::From(from),
        ..bench.timed(node.server, bench.connections, put_entry(durability))
    };
    let (mut synced, mut relaxed) = (plan("fsync", 0), plan("relaxed", APART));
    let mut sides = Sides::default();
    for _ in 0..bench.rounds {
        sides.push_floor(super::cases::drive_new(&mut synced)?);
        sides.node.push(super::cases::drive_new(&mut relaxed)?);
    }
    Ok(vec![sides.row(&format!("cache PUT relaxed @{}", bench.connections), "cache PUT fsync", 1.5)])
}

fn redis(bench: &Bench, binary: &Path, directory: &Path) -> Outcome {
    let name = format!("cache PUT fsync @{} against Redis", bench.connections);
    let Some(redis) = Redis::start(&directory.join("redis"))? else {
        return Ok(vec![Row::skipped(&name, "redis-server and redis-benchmark are not installed")]);
    };
    let node = Node::start_with(binary, &directory.join("node"), &[UNBOUNDED])?;
    let mut plan = bench.timed(node.server, bench.connections, put_entry("fsync"));
    // `redis-benchmark` counts requests, not seconds, so a short run says how many to ask for.
    let pace = redis.set(bench.connections, 5000)?.rate;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let requests = (pace * bench.seconds).clamp(5000.0, 1e8) as u64;
    let mut sides = Sides::default();
    let mut latencies = Vec::new();
    for _ in 0..bench.rounds {
        let run = redis.set(bench.connections, requests)?;
        sides.against.push(run.rate);
        latencies.push(format!("p50 {:.2} ms p99 {:.2} ms", run.p50_ms, run.p99_ms));
        sides.node.push(super::cases::drive_new(&mut plan)?);
    }
    let mut row = sides.row(&name, "Redis", 1.0);
    row.add_note(&format!("Redis, SET with appendfsync always: {}", latencies.join(", ")));
    Ok(vec![row])
}

/// When entries that are set at a steady rate are visible at the peer.
fn visible(bench: &Bench, binary: &Path, directory: &Path) -> Outcome {
    let (here, there) = (start(binary, directory, "here", &[])?, start(binary, directory, "there", &[])?);
    fill(&here, 0, AT_ONCE, "1h")?;
    introduce(&here, &there)?;
    // The peer has the database once it has an entry of it.
    wait_for("the peer has the entries", || Ok(entries_of(&there).is_ok_and(|entries| entries >= AT_ONCE)))?;
    let (mut p50, mut p99, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..bench.rounds {
        let Steady { written, seen } =
            steadily(WRITES_PER_SECOND, bench.seconds, round as u64, &here, &there, set_and_see)?;
        p50.push(at(&seen, 0.5));
        p99.push(at(&seen, 0.99));
        let (count, seen, written) = (seen.len(), quantiles(&seen), quantiles(&written));
        notes.push(format!("{count} writes, visible: {seen}; the write itself: {written}"));
    }
    let name = format!("cache entry visible at the peer, {WRITES_PER_SECOND} writes/s");
    let row = |quantile: &str, measured, most, target: &str, note| Row {
        unit: Unit::Seconds,
        ..limit(&format!("{name}, {quantile}"), measured, most, target, note)
    };
    Ok(vec![
        row("p50", median(&mut p50), 0.003, "< 3 ms", notes.join("\n")),
        row("p99", median(&mut p99), 0.015, "< 15 ms", String::new()),
    ])
}

/// How long a write took, and how long it then took until a read at the peer had it.
async fn set_and_see(near: &mut Connection, far: &mut Connection, number: u64) -> Result<(Duration, Duration), String> {
    let sent = Instant::now();
    let (status, body) = near.exchange(put_entry("fsync").fill(number)).await?;
    let answered = Instant::now();
    if status != 200 {
        return Err(format!("a write: {status}: {}", String::from_utf8_lossy(body)));
    }
    let mut read = get_entry();
    let read = read.fill(number);
    loop {
        match far.exchange(read).await? {
            (200, _) => return Ok((answered - sent, answered.elapsed())),
            (404, _) if answered.elapsed() < WITHIN => {}
            (status, body) => return Err(format!("a read at the peer: {status}: {}", String::from_utf8_lossy(body))),
        }
    }
}

/// What many entries cost.
fn many(bench: &Bench, binary: &Path, directory: &Path) -> Outcome {
    let settings: Vec<_> = SWEEP_ALL.into_iter().chain([UNBOUNDED]).collect();
    let few = Node::start_with(binary, &directory.join("few"), &settings)?;
    let many = Node::start_with(binary, &directory.join("many"), &settings)?;
    fill(&few, 0, FEW, "1h")?;
    let from = Instant::now();
    fill(&many, 0, bench.documents, "1h")?;
    let filled = format!(
        "filled at {} by lists of {AT_ONCE}; the node then at {} MB RSS",
        Unit::PerSecond.show(per_second(bench.documents, from.elapsed())),
        many.program.memory_bytes("VmRSS").unwrap_or(0) / 1_000_000
    );
    let with = format!("with {} entries", bench.documents);
    let mut rows = Vec::new();
    for (name, template) in [("GET", get_entry()), ("PUT relaxed", put_entry("relaxed"))] {
        let plan = |node: &Node, entries| Plan {
            numbers: Numbers::Below(entries),
            ..bench.timed(node.server, bench.connections, template.clone())
        };
        let (of_few, of_many) = (plan(&few, FEW), plan(&many, bench.documents));
        let mut sides = Sides::default();
        for _ in 0..bench.rounds {
            sides.push_floor(drive(&of_few)?);
            sides.node.push(drive(&of_many)?);
        }
        rows.push(sides.row(&format!("cache {name} @{} {with}", bench.connections), "with 10 k", 0.8));
    }
    let (mut of_few, mut of_many, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds.min(3) {
        of_few.push(sweep_rate(&few)?);
        of_many.push(sweep_rate(&many)?);
        ratios.extend(of_many.last().zip(of_few.last()).map(|(many, few)| many / few));
    }
    rows.push(Row {
        name: format!("sweep of {SWEPT} ended entries {with}"),
        target: ">= 0.8 x with 10 k".to_owned(),
        measured: Some(median(&mut of_many)),
        reference: Some(median(&mut of_few)),
        ratio: Some(median(&mut ratios)),
        unit: Unit::PerSecond,
        wanted: Wanted::AtLeast(0.8),
        note: filled,
        failed: false,
    });
    Ok(rows)
}

/// Entries that a sweep lets go of in a second, from its first step that is seen to its last.
fn sweep_rate(node: &Node) -> Result<f64, String> {
    let before = entries_of(node)?;
    fill(node, APART, SWEPT, SWEPT_LIVE)?;
    let full = entries_of(node)?;
    if full != before + SWEPT {
        return Err(format!("{full} entries instead of {}: writing them took longer than they live", before + SWEPT));
    }
    let mut begun = None;
    let mut rate = None;
    wait_for("ended entries are swept", || {
        let left = entries_of(node)?;
        if left < full && begun.is_none() {
            begun = Some((Instant::now(), left));
        }
        if left > before {
            return Ok(false);
        }
        rate = begun.map(|(since, entries)| per_second(entries.saturating_sub(before), since.elapsed()));
        Ok(true)
    })?;
    rate.filter(|rate| *rate > 0.0).ok_or_else(|| "a sweep was over before it was seen".to_owned())
}

/// What the end of many entries does to others, and when they are gone.
fn ends(bench: &Bench, binary: &Path, directory: &Path) -> Outcome {
    let node = Node::start_with(binary, &directory.join("node"), &[SWEEP])?;
    let whole = BEFORE_ENDING + ENDING + SWEEP_EVERY;
    let mut plan = bench.timed(node.server, bench.connections, Node::put());
    plan.amount = Amount::Time { warm_up: Duration::from_secs(1), run: whole };
    let without = super::cases::drive_new(&mut plan)?;
    let item = format!("{{\"Key\":\"entry-{}\",\"Value\":{}}}", mark(), documents::order());
    let requests = u32::try_from(ENDING_ENTRIES / AT_ONCE).unwrap_or(1);
    let mut last_end = Instant::now();
    for request in 0..requests {
        // Each a little later, however long writing them takes.
        let ttl = BEFORE_ENDING + ENDING * request / requests;
        let open = format!("{{\"Ttl\":\"{}ms\",\"Durability\":\"relaxed\",\"Entries\":[", ttl.as_millis());
        let one = Plan {
            template: Template::list("PUT", "/api/cache", &HEADERS_JSON, [&open, &item, "]}"], AT_ONCE),
            numbers: Numbers::From(u64::from(request) * AT_ONCE),
            connections: 1,
            amount: Amount::Requests(1),
            ..plan.clone()
        };
        if let Some(error) = drive(&one)?.first_error {
            return Err(format!("cannot fill the cache: {error}"));
        }
        last_end = last_end.max(Instant::now() + ttl);
    }
    let load = std::thread::spawn(move || drive(&plan));
    let mut most = 0;
    wait_for("ended entries are gone", || {
        let left = entries_of(&node)?;
        most = left.max(most);
        std::thread::sleep(Duration::from_millis(20));
        Ok(left == 0)
    })?;
    let gone = Instant::now().saturating_duration_since(last_end);
    let with = load.join().map_err(|_| "the load generator failed")??;
    let row = |name: &str, measured: Duration, reference: Duration, target: &str, note| Row {
        unit: Unit::Seconds,
        ..limit(name, measured.as_secs_f64(), reference.as_secs_f64(), target, note)
    };
    let errors = with.errors + without.errors;
    let rates = format!("rate {:.0} /s, without {:.0} /s; {errors} errors", with.rate, without.rate);
    let note = format!("of {most} entries at first; the sweep looks every {} s", SWEEP_EVERY.as_secs());
    Ok(vec![
        row("100 k cache entries gone after the last has ended", gone, SWEEP_EVERY, "< 5 s", note),
        Row {
            failed: errors > 0,
            ..row("p99 of durable PUT while they end", with.p99, without.p99 * 3 / 2, "< 1.5 x without", rates)
        },
    ])
}

/// Asks until it is so.
fn wait_for(what: &str, mut is_so: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    let from = Instant::now();
    while !is_so()? {
        if from.elapsed() > WITHIN {
            return Err(format!("not within {} s: {what}", WITHIN.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
