//! Queries over HTTP, against SQLite in this process on the same documents, stored as JSON text with the same indexes.
//!
//! | line | node | against | asked |
//! |---|---|---|---|
//! | lookup | a query for one value of an index, many connections | GET by id | 0.7 |
//! | range | 100 documents in the order of an index, many connections | SQLite, one thread | 0.5 |
//! | scan | a filter that no index helps with | 500 k documents a second | 1 |
//! | groups | a sum for each city | SQLite | 0.5 |
//! | index | building one while writes go on | 15 s | below |
//! | writes | bulk writes with an index on them | the same without | 0.65 |
//!
//! What stays true: SQLite is given its best: no sync, a large cache, statements prepared once, no wire between. Both sides
//! return the same number of rows, or the line is broken.
//!
//! What it does not do: compare results in full; tests do that.

use super::cases::{Bench, Outcome, describe, median, median_of};
use super::http::{Template, ask, mark};
use super::load::{Amount, Numbers, Plan, Report, drive, per_second};
use super::servers::{DATABASE, KEY, Node};
use super::table::{Row, Unit, Wanted};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Documents in one bulk request.
const BULK: u64 = 2_000;
/// Documents of a round that measures what an index costs writes.
const COST_DOCUMENTS: u64 = 100_000;
/// Rows of a range.
const RANGE_ROWS: u64 = 100;
/// Documents a second that a scan must look at.
const SCAN_WANTED: f64 = 500_000.0;
/// How long an index may take.
const BUILD_WANTED: f64 = 15.0;
/// How long the benchmark waits for one.
const BUILD_WITHIN: Duration = Duration::from_mins(3);
/// The time between two looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Whole-collection queries are measured so often at most: each takes seconds.
const ROUNDS_MAX: usize = 3;

/// All lines of this file.
pub(super) fn query(bench: &Bench, binary: &Path, directory: &Path) -> Outcome {
    let node = Node::start(binary, &directory.join("node"))?;
    let sqlite = Connection::open(directory.join("sqlite.db")).map_err(sqlite_failed)?;
    fill(&node, &sqlite, bench.documents)?;
    define(&node, "serial", "serial")?;
    wait_until_built(&node, "serial", Instant::now())?;
    sqlite
        .execute_batch("CREATE INDEX serial ON sales(json_extract(body,'$.serial')); ANALYZE")
        .map_err(sqlite_failed)?;
    let mut rows = Vec::new();
    let mut measure = |name: &str, outcome: &dyn Fn() -> Outcome| {
        if bench.wants(name) {
            eprintln!("bench: query: {name}");
            rows.extend(outcome().unwrap_or_else(|error| vec![Row::broken(name, error)]));
        }
    };
    measure("lookup", &|| lookup(bench, &node));
    measure("range", &|| range(bench, &node, &sqlite));
    measure("scan", &|| scan(bench, &node, &sqlite));
    measure("groups", &|| groups(bench, &node, &sqlite));
    measure("index", &|| build(bench, &node));
    drop(node);
    measure("writes", &|| cost(bench, binary, directory));
    Ok(rows)
}

/// The document with this number: about 400 bytes, with a list in it.
fn sale(number: u64) -> String {
    // SplitMix64, as in the load generator: every run has the same documents.
    let mixed = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let random = mixed ^ (mixed >> 27);
    let status = ["new", "paid", "sent"].get(usize::try_from(random % 3).unwrap_or(0)).copied().unwrap_or("new");
    format!(
        "{{\"Id\":\"s{number:010}\",\"serial\":\"{:010}\",\"customer\":{{\"name\":\"Customer {}\",\"city\":\"City {}\"}},\
         \"items\":[{{\"sku\":\"A-{}\",\"qty\":{},\"price\":12.50}},{{\"sku\":\"B-1\",\"qty\":2,\"price\":3.25}}],\
         \"total\":{}.{:02},\"status\":\"{status}\",\"note\":\"some words about the order\",\
         \"placed\":\"2026-01-{:02}T10:00:00Z\"}}",
        number,
        (random >> 8) % 50_000,
        (random >> 20) % 500,
        (random >> 30) % 1_000,
        1 + (random >> 33) % 9,
        (random >> 16) % 1_000,
        (random >> 10) % 100,
        1 + (random >> 44) % 28
    )
}

fn bulk_request(numbers: std::ops::Range<u64>, collection: &str) -> Template {
    let mut body = String::new();
    for number in numbers {
        let _ = writeln!(body, "{}", sale(number));
    }
    let path = format!("/api/documents/{collection}/bulk");
    let (database, key) = (format!("Database: {DATABASE}"), format!("ApiKey: {KEY}"));
    Template::single("POST", &path, &[&database, &key, "Content-Type: application/x-ndjson"], &body)
}

fn write(node: &Node, numbers: std::ops::Range<u64>, collection: &str) -> Result<(), String> {
    let (status, body) = ask(node.server.address, &bulk_request(numbers, collection))?;
    if status == 200 { Ok(()) } else { Err(format!("cannot load: {status}: {}", String::from_utf8_lossy(&body))) }
}

/// The same documents on both sides.
fn fill(node: &Node, sqlite: &Connection, documents: u64) -> Result<(), String> {
    let begun = Instant::now();
    sqlite
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA cache_size=-262144; \
             CREATE TABLE sales(id TEXT PRIMARY KEY, body TEXT) WITHOUT ROWID",
        )
        .map_err(sqlite_failed)?;
    let mut from = 0;
    while from < documents {
        let numbers = from..(from + BULK).min(documents);
        write(node, numbers.clone(), "sales")?;
        sqlite.execute_batch("BEGIN").map_err(sqlite_failed)?;
        let mut insert = sqlite.prepare_cached("INSERT INTO sales VALUES(?1, ?2)").map_err(sqlite_failed)?;
        for number in numbers.clone() {
            insert.execute((format!("s{number:010}"), sale(number))).map_err(sqlite_failed)?;
        }
        sqlite.execute_batch("COMMIT").map_err(sqlite_failed)?;
        from = numbers.end;
    }
    eprintln!("bench: query: {documents} documents on both sides in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

fn define(node: &Node, name: &str, path: &str) -> Result<(), String> {
    let index = json!({ "Name": name, "Collection": "sales", "Path": path });
    node.call("POST", "/api/indexes", &index.to_string()).map(|_| ())
}

/// How long it took until the index was ready.
fn wait_until_built(node: &Node, name: &str, begun: Instant) -> Result<Duration, String> {
    while begun.elapsed() < BUILD_WITHIN {
        let index = node.call("GET", &format!("/api/indexes/{name}"), "")?;
        match index.get("State").and_then(Value::as_str) {
            Some("Ready") => return Ok(begun.elapsed()),
            Some("Building") => std::thread::sleep(LOOK_EVERY),
            _ => return Err(format!("the index is {index}")),
        }
    }
    Err(format!("the index was not ready after {} s", BUILD_WITHIN.as_secs()))
}

fn question(text: &str, parameters: &Value) -> Template {
    let body = json!({ "query": text, "parameters": parameters }).to_string();
    let (database, key) = (format!("Database: {DATABASE}"), format!("ApiKey: {KEY}"));
    Template::single("POST", "/api/query", &[&database, &key, "Content-Type: application/json"], &body)
}

/// Answers to one question from many connections.
fn plan(bench: &Bench, node: &Node, template: Template) -> Plan {
    Plan {
        server: node.server,
        connections: bench.connections,
        template,
        numbers: Numbers::Below(bench.documents),
        amount: Amount::Time { warm_up: Duration::from_secs(1), run: Duration::from_secs_f64(bench.seconds) },
    }
}

fn has_failed(reports: &[Report]) -> bool {
    reports.iter().any(|report| report.errors > 0)
}

fn lookup(bench: &Bench, node: &Node) -> Outcome {
    let by_index = question("SELECT * FROM sales WHERE serial = @serial", &json!({ "serial": mark() }));
    let (database, key) = (format!("Database: {DATABASE}"), format!("ApiKey: {KEY}"));
    let by_id = Template::single("GET", &format!("/api/documents/sales/s{}", mark()), &[&database, &key], "");
    let (by_index, by_id) = (plan(bench, node, by_index), plan(bench, node, by_id));
    let (mut queries, mut gets, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let (get, query) = (drive(&by_id)?, drive(&by_index)?);
        ratios.push(query.rate / get.rate);
        gets.push(get);
        queries.push(query);
    }
    let returned = queries.iter().find_map(|report| rows_of(&report.first_body));
    if returned != Some(1) {
        return Err(format!("one document was to be found, and {returned:?} were"));
    }
    Ok(vec![Row {
        name: format!("query for one value of an index @{}", bench.connections),
        target: ">= 0.7 x GET by id".to_owned(),
        measured: median_of(&queries).map(|report| report.rate),
        reference: median_of(&gets).map(|report| report.rate),
        ratio: Some(median(&mut ratios)),
        unit: Unit::PerSecond,
        wanted: Wanted::AtLeast(0.7),
        note: format!("{}\n{}", describe("query", &queries), describe("GET", &gets)),
        failed: has_failed(&queries) || has_failed(&gets),
    }])
}

fn range(bench: &Bench, node: &Node, sqlite: &Connection) -> Outcome {
    let text = format!("SELECT * FROM sales WHERE serial >= @serial ORDER BY serial LIMIT {RANGE_ROWS}");
    let plan = plan(bench, node, question(&text, &json!({ "serial": mark() })));
    let theirs = format!(
        "SELECT body FROM sales WHERE json_extract(body,'$.serial') >= ?1 \
         ORDER BY json_extract(body,'$.serial') LIMIT {RANGE_ROWS}"
    );
    let (mut reports, mut rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let rate = sqlite_rate(bench, sqlite, &theirs)?;
        let report = drive(&plan)?;
        ratios.push(report.rate / rate);
        rates.push(rate);
        reports.push(report);
    }
    Ok(vec![Row {
        name: format!("query for {RANGE_ROWS} documents in the order of an index @{}", bench.connections),
        target: ">= 0.5 x SQLite in process".to_owned(),
        measured: median_of(&reports).map(|report| report.rate),
        reference: Some(median(&mut rates)),
        ratio: Some(median(&mut ratios)),
        unit: Unit::PerSecond,
        wanted: Wanted::AtLeast(0.5),
        note: describe("query", &reports),
        failed: has_failed(&reports),
    }])
}

/// How often a second SQLite answers a range that begins at any of the documents.
fn sqlite_rate(bench: &Bench, sqlite: &Connection, text: &str) -> Result<f64, String> {
    let mut statement = sqlite.prepare(text).map_err(sqlite_failed)?;
    let (begun, mut answered, mut number) = (Instant::now(), 0_u64, 1_u64);
    while begun.elapsed().as_secs_f64() < bench.seconds {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let from = format!("{:010}", (number >> 16) % bench.documents.max(1));
        let mut rows = statement.query([from]).map_err(sqlite_failed)?;
        while let Some(row) = rows.next().map_err(sqlite_failed)? {
            std::hint::black_box(row.get_ref(0).map_err(sqlite_failed)?);
        }
        answered += 1;
    }
    Ok(per_second(answered, begun.elapsed()))
}

/// The rows that an answer says it returns.
fn rows_of(answer: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(answer).ok()?.get("ReturnedRows")?.as_u64()
}

/// Seconds and rows of one query over HTTP, and of one in SQLite.
fn both(node: &Node, ours: &str, sqlite: &Connection, theirs: &str) -> Result<[(f64, u64); 2], String> {
    let begun = Instant::now();
    let (status, answer) = ask(node.server.address, &question(ours, &json!({})))?;
    let mine = begun.elapsed().as_secs_f64();
    let returned = rows_of(&answer).filter(|_| status == 200);
    let returned = returned.ok_or_else(|| format!("{status}: {}", String::from_utf8_lossy(&answer)))?;
    let begun = Instant::now();
    let mut statement = sqlite.prepare(theirs).map_err(sqlite_failed)?;
    let mut rows = statement.query([]).map_err(sqlite_failed)?;
    let mut count = 0;
    while let Some(row) = rows.next().map_err(sqlite_failed)? {
        std::hint::black_box(row.get_ref(0).map_err(sqlite_failed)?);
        count += 1;
    }
    if count != returned {
        return Err(format!("the node returned {returned} rows and SQLite {count}"));
    }
    Ok([(mine, returned), (begun.elapsed().as_secs_f64(), count)])
}

fn scan(bench: &Bench, node: &Node, sqlite: &Connection) -> Outcome {
    let ours = "SELECT COUNT(*) AS n FROM sales WHERE status = 'paid' AND placed > '2026-01-27'";
    let theirs = "SELECT COUNT(*) FROM sales WHERE json_extract(body,'$.status') = 'paid' \
                  AND json_extract(body,'$.placed') > '2026-01-27'";
    let (mut mine, mut its) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds.min(ROUNDS_MAX) {
        let [(one, _), (other, _)] = both(node, ours, sqlite, theirs)?;
        mine.push(one);
        its.push(other);
    }
    let rate = per_second(bench.documents, Duration::from_secs_f64(median(&mut mine)));
    let of_sqlite = per_second(bench.documents, Duration::from_secs_f64(median(&mut its)));
    Ok(vec![Row {
        name: format!("scan of {} documents with a filter", bench.documents),
        target: ">= 500 k/s".to_owned(),
        measured: Some(rate),
        reference: Some(SCAN_WANTED),
        ratio: Some(rate / SCAN_WANTED),
        unit: Unit::PerSecond,
        wanted: Wanted::AtLeast(1.0),
        note: format!("SQLite: {}", Unit::PerSecond.show(of_sqlite)),
        failed: false,
    }])
}

fn groups(bench: &Bench, node: &Node, sqlite: &Connection) -> Outcome {
    let ours = "SELECT customer.city, COUNT(*) AS n, SUM(total) AS s FROM sales GROUP BY customer.city LIMIT 1000";
    let theirs = "SELECT json_extract(body,'$.customer.city'), COUNT(*), SUM(json_extract(body,'$.total')) \
                  FROM sales GROUP BY 1 LIMIT 1000";
    let (mut mine, mut its, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds.min(ROUNDS_MAX) {
        let [(one, _), (other, _)] = both(node, ours, sqlite, theirs)?;
        ratios.push(other / one);
        mine.push(one);
        its.push(other);
    }
    let rate = |seconds: &mut [f64]| per_second(bench.documents, Duration::from_secs_f64(median(seconds)));
    Ok(vec![Row {
        name: format!("sums of {} documents in groups", bench.documents),
        target: ">= 0.5 x SQLite".to_owned(),
        measured: Some(rate(&mut mine)),
        reference: Some(rate(&mut its)),
        ratio: Some(median(&mut ratios)),
        unit: Unit::PerSecond,
        wanted: Wanted::AtLeast(0.5),
        note: String::new(),
        failed: false,
    }])
}

/// An index over all documents while one connection writes more of them.
fn build(bench: &Bench, node: &Node) -> Outcome {
    let begun = Instant::now();
    define(node, "total", "total")?;
    let (mut written, mut slowest) = (0, Duration::ZERO);
    let built = loop {
        let from = Instant::now();
        let next = bench.documents + written;
        write(node, next..next + 100, "sales")?;
        written += 100;
        slowest = slowest.max(from.elapsed());
        let index = node.call("GET", "/api/indexes/total", "")?;
        match index.get("State").and_then(Value::as_str) {
            Some("Ready") => break begun.elapsed(),
            Some("Building") if begun.elapsed() < BUILD_WITHIN => {}
            _ => return Err(format!("the index is {index}")),
        }
    };
    Ok(vec![Row {
        name: format!("index over {} documents while writes go on", bench.documents),
        target: "< 15 s".to_owned(),
        measured: Some(built.as_secs_f64()),
        reference: Some(BUILD_WANTED),
        ratio: Some(built.as_secs_f64() / BUILD_WANTED),
        unit: Unit::Seconds,
        wanted: Wanted::Below,
        note: format!(
            "{written} documents were written meanwhile, by a hundred; the slowest took {}",
            Unit::Seconds.show(slowest.as_secs_f64())
        ),
        failed: false,
    }])
}

/// What an index takes from bulk writes: one on a path, one over a list, one that is unique.
fn cost(bench: &Bench, binary: &Path, directory: &Path) -> Outcome {
    let kinds =
        [("a path", "customer.name", false), ("a list", "items[*].sku", false), ("a unique path", "serial", true)];
    let plain = Node::start(binary, &directory.join("plain"))?;
    let mut rows = Vec::new();
    let mut next = 0;
    for (kind, path, is_unique) in kinds {
        let node = Node::start(binary, &directory.join(path.replace(['[', ']', '*', '.'], "")))?;
        write(&node, 0..1, "sales")?;
        let index = json!({ "Name": "one", "Collection": "sales", "Path": path, "IsUnique": is_unique });
        node.call("POST", "/api/indexes", &index.to_string())?;
        wait_until_built(&node, "one", Instant::now())?;
        let (mut with, mut without, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..bench.rounds.min(ROUNDS_MAX) {
            let [one, other] = [&plain, &node].map(|node| seconds_to_write(node, next));
            let (one, other) = (one?, other?);
            next += COST_DOCUMENTS;
            ratios.push(one / other);
            without.push(per_second(COST_DOCUMENTS, Duration::from_secs_f64(one)));
            with.push(per_second(COST_DOCUMENTS, Duration::from_secs_f64(other)));
        }
        rows.push(Row {
            name: format!("bulk writes with an index on {kind}"),
            target: ">= 0.65 x without".to_owned(),
            measured: Some(median(&mut with)),
            reference: Some(median(&mut without)),
            ratio: Some(median(&mut ratios)),
            unit: Unit::PerSecond,
            wanted: Wanted::AtLeast(0.65),
            note: String::new(),
            failed: false,
        });
    }
    Ok(rows)
}

fn seconds_to_write(node: &Node, from: u64) -> Result<f64, String> {
    // Made before the clock runs.
    let requests: Vec<Template> = (from..from + COST_DOCUMENTS)
        .step_by(usize::try_from(BULK).unwrap_or(1))
        .map(|from| bulk_request(from..from + BULK, "sales"))
        .collect();
    let begun = Instant::now();
    for request in &requests {
        let (status, body) = ask(node.server.address, request)?;
        if status != 200 {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)));
        }
    }
    Ok(begun.elapsed().as_secs_f64())
}

fn sqlite_failed(error: rusqlite::Error) -> String {
    format!("SQLite: {error}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn sales_are_json_and_differ() {
        let of = |number| serde_json::from_str::<Value>(&sale(number)).unwrap();
        assert_eq!(of(7)["serial"], "0000000007");
        assert_eq!(of(7)["items"].as_array().map(Vec::len), Some(2));
        let cities: std::collections::BTreeSet<String> =
            (0..5_000).map(|n| of(n)["customer"]["city"].to_string()).collect();
        assert!(cities.len() > 400, "{}", cities.len());
    }
}
