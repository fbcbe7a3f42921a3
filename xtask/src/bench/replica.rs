//! A leader and its followers on loopback.
//!
//! | line | from | to | asked |
//! |---|---|---|---|
//! | catch-up | the follower's start | equal digests, 100 k operations later | 3 s |
//! | sustained | the first write of a bulk load | all followers equal | 40 k operations a second to one, 30 k to three |
//! | lag | the answer to a write | the answer to a read of it at the follower, at 2,000 writes a second | p99 10 ms |
//! | frozen | the p99 of writes with two followers | the same with one of them stopped (SIGSTOP) | within 10 % |
//! | handover | writes stop at the old leader | the new one leads, under load | 200 ms |
//! | failover | the leader is killed, three voters | the next write is taken elsewhere | the silence and 1 s |
//!
//! What stays true: every node is a process of its own, set up as an operator would; all share this machine's cores with the
//! load, so several followers cost the leader's rate what they take of them.

use super::cases::{Bench, Outcome, drive_new, limit, load_documents, median};
use super::http;
use super::load::{Amount, Numbers, Plan, per_second};
use super::process::free_address;
use super::servers::Node;
use super::sync::{at, quantiles, rate_row, steadily, wait_until_equal, write_and_see};
use super::table::{Row, Unit, Wanted};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const CATCH_UP_OPERATIONS: u64 = 100_000;
const SUSTAINED_OPERATIONS: u64 = 200_000;
const WRITES_PER_SECOND: u32 = 2_000;
const ROUNDS_MAX: usize = 3;
/// After how many seconds of silence followers elect another leader.
const SILENCE_SECONDS: u64 = 2;
/// How long anything may take that is waited for.
const WITHIN: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// All lines of this file.
pub(super) fn replica(bench: &Bench, binary: &Path, directory: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut measure = |name: &str, outcome: &dyn Fn(&Path) -> Outcome| {
        if !bench.wants(name) {
            return;
        }
        eprintln!("bench: replica: {name}");
        let directory = directory.join(name);
        rows.extend(outcome(&directory).unwrap_or_else(|error| vec![Row::broken(name, error)]));
        let _ = std::fs::remove_dir_all(&directory);
    };
    measure("catch-up", &|directory| catch_up(bench, binary, directory));
    measure("one", &|directory| sustained(bench, binary, directory, 1, 40_000.0));
    measure("three", &|directory| sustained(bench, binary, directory, 3, 30_000.0));
    measure("lag", &|directory| lag(bench, binary, directory));
    measure("frozen", &|directory| frozen(bench, binary, directory));
    measure("handover", &|directory| handover(bench, binary, directory));
    measure("failover", &|directory| failover(bench, binary, directory));
    rows
}

/// A node that leads, with the port for its followers.
fn leader(binary: &Path, directory: &Path, settings: &[(&str, &str)]) -> Result<(Node, String), String> {
    let port = free_address()?.port().to_string();
    let own = [
        ("HOLDFAST__Node__NodeId", "leader"),
        ("HOLDFAST__Node__ReplicationApiKey", "the-secret-of-the-bench-cluster"),
        ("HOLDFAST__Replication__Role", "Leader"),
        ("HOLDFAST__Replication__Port", &port),
        ("HOLDFAST__Replication__Secret", "the-secret-of-the-bench-replicas"),
    ];
    let settings: Vec<_> = own.iter().chain(settings).copied().collect();
    let node = Node::start_with(binary, &directory.join("leader"), &settings)?;
    Ok((node, port))
}

fn follower(binary: &Path, directory: &Path, name: &str, of: &str, settings: &[(&str, &str)]) -> Result<Node, String> {
    let port = free_address()?.port().to_string();
    let own = [
        ("HOLDFAST__Node__NodeId", name),
        ("HOLDFAST__Node__ReplicationApiKey", "the-secret-of-the-bench-cluster"),
        ("HOLDFAST__Replication__Role", "Follower"),
        ("HOLDFAST__Replication__LeaderHost", "127.0.0.1"),
        ("HOLDFAST__Replication__LeaderPort", of),
        ("HOLDFAST__Replication__Port", &port),
        ("HOLDFAST__Replication__AutoFailover__NewLeaderPort", &port),
        ("HOLDFAST__Replication__Secret", "the-secret-of-the-bench-replicas"),
    ];
    let settings: Vec<_> = own.iter().chain(settings).copied().collect();
    Node::start_with(binary, &directory.join(name), &settings)
}

fn status(node: &Node) -> Result<Value, String> {
    node.call("GET", "/replication/status", "")
}

/// Waits until a node's status is so.
fn until(what: &str, node: &Node, is: impl Fn(&Value) -> bool) -> Result<(), String> {
    let from = Instant::now();
    loop {
        let status = status(node)?;
        if is(&status) {
            return Ok(());
        }
        if from.elapsed() > WITHIN {
            return Err(format!("{what}: not within {} s: {status}", WITHIN.as_secs()));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn until_following(node: &Node) -> Result<(), String> {
    until("it follows", node, |status| status.pointer("/follower/state").is_some_and(|state| state == "streaming"))
}

fn seconds(name: &str, measured: f64, most: f64, target: &str, note: String) -> Row {
    Row { unit: Unit::Seconds, ..limit(name, measured, most, target, note) }
}

/// How long a new follower takes for a log.
fn catch_up(bench: &Bench, binary: &Path, directory: &Path) -> Outcome {
    let mut times = Vec::new();
    for round in 0..bench.rounds.min(ROUNDS_MAX) {
        let directory = directory.join(round.to_string());
        let (leader, port) = leader(binary, &directory, &[])?;
        load_documents(&leader, 0, CATCH_UP_OPERATIONS)?;
        let from = Instant::now();
        let follower = follower(binary, &directory, "follower", &port, &[])?;
        wait_until_equal(&leader, &follower)?;
        times.push(from.elapsed().as_secs_f64());
        let _ = std::fs::remove_dir_all(&directory);
    }
    let time = median(&mut times);
    let note = format!(
        "{:.0} operations/s, the follower's start included",
        per_second(CATCH_UP_OPERATIONS, Duration::from_secs_f64(time))
    );
    Ok(vec![seconds("catch-up of 100 k operations", time, 3.0, "< 3 s", note)])
}

/// The rate at which operations reach all followers, from the first write to the last follower.
fn sustained(bench: &Bench, binary: &Path, directory: &Path, count: usize, wanted: f64) -> Outcome {
    let (mut rates, mut notes) = (Vec::new(), Vec::new());
    for round in 0..bench.rounds.min(ROUNDS_MAX) {
        let directory = directory.join(round.to_string());
        let (leader, port) = leader(binary, &directory, &[])?;
        let followers: Result<Vec<Node>, String> =
            (0..count).map(|at| follower(binary, &directory, &format!("follower-{at}"), &port, &[])).collect();
        let followers = followers?;
        load_documents(&leader, 0, 1)?;
        for follower in &followers {
            wait_until_equal(&leader, follower)?;
        }
        let from = Instant::now();
        load_documents(&leader, 1, SUSTAINED_OPERATIONS)?;
        let loaded = from.elapsed();
        for follower in &followers {
            wait_until_equal(&leader, follower)?;
        }
        let rate = per_second(SUSTAINED_OPERATIONS, from.elapsed());
        rates.push(rate);
        notes.push(format!("the load alone {:.0}/s", per_second(SUSTAINED_OPERATIONS, loaded)));
        let _ = std::fs::remove_dir_all(&directory);
    }
    let rate = median(&mut rates);
    let name = format!("sustained to {count} follower(s), bulk load of {SUSTAINED_OPERATIONS}");
    Ok(vec![rate_row(name, rate, wanted, notes.join(", "))])
}

/// When writes are visible at the follower.
fn lag(bench: &Bench, binary: &Path, directory: &Path) -> Outcome {
    let (leader, port) = leader(binary, directory, &[])?;
    let follower = follower(binary, directory, "follower", &port, &[])?;
    load_documents(&leader, 0, 1_000)?;
    wait_until_equal(&leader, &follower)?;
    let (mut p99, mut notes) = (Vec::new(), Vec::new());
    for round in 0..bench.rounds {
        let steady = steadily(WRITES_PER_SECOND, bench.seconds, round as u64, &leader, &follower, write_and_see)?;
        p99.push(at(&steady.seen, 0.99));
        notes.push(format!("{} writes, visible: {}", steady.seen.len(), quantiles(&steady.seen)));
    }
    let name = format!("lag at {WRITES_PER_SECOND} writes/s, p99");
    Ok(vec![seconds(&name, median(&mut p99), 0.010, "< 10 ms", notes.join("\n"))])
}

/// What a follower that stands still costs those who write.
fn frozen(bench: &Bench, binary: &Path, directory: &Path) -> Outcome {
    let (leader, port) = leader(binary, directory, &[])?;
    let standing = follower(binary, directory, "standing", &port, &[])?;
    load_documents(&leader, 0, 1)?;
    wait_until_equal(&leader, &standing)?;
    let mut plan = Plan {
        server: leader.server,
        connections: 8,
        template: Node::put(),
        numbers: Numbers::From(1),
        amount: Amount::Time { warm_up: Duration::from_secs(1), run: Duration::from_secs_f64(bench.seconds) },
    };
    let (mut ratios, mut with, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        signal(&standing, "STOP")?;
        let frozen = drive_new(&mut plan)?;
        signal(&standing, "CONT")?;
        wait_until_equal(&leader, &standing)?;
        // Beside one that follows, the follower's own work is in the figure: the fair other side has none at all.
        signal(&standing, "STOP")?;
        std::thread::sleep(Duration::from_secs(11));
        let gone = drive_new(&mut plan)?;
        signal(&standing, "CONT")?;
        wait_until_equal(&leader, &standing)?;
        ratios.push(gone.p99.as_secs_f64() / frozen.p99.as_secs_f64());
        with.push(frozen.p99.as_secs_f64());
        without.push(gone.p99.as_secs_f64());
    }
    Ok(vec![Row {
        name: "p99 of durable PUT @8 with a frozen follower".to_owned(),
        target: ">= 0.9 x once it was given up".to_owned(),
        measured: Some(median(&mut with)),
        reference: Some(median(&mut without)),
        ratio: Some(median(&mut ratios)),
        unit: Unit::Seconds,
        wanted: Wanted::AtLeast(0.9),
        note: "frozen in the last second before, against frozen for longer than a connection is kept".to_owned(),
        failed: false,
    }])
}

fn signal(node: &Node, name: &str) -> Result<(), String> {
    let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", node.program.id())).status();
    if sent.is_ok_and(|status| status.success()) { Ok(()) } else { Err(format!("SIG{name} cannot be sent")) }
}

/// How long nobody takes writes while the lead changes hands.
fn handover(bench: &Bench, binary: &Path, directory: &Path) -> Outcome {
    let (one, port) = leader(binary, directory, &[])?;
    let other = follower(binary, directory, "other", &port, &[])?;
    load_documents(&one, 0, 10_000)?;
    until_following(&other)?;
    let (mut times, mut from, mut next) = (Vec::new(), &one, 10_000);
    for _ in 0..(2 * bench.rounds) {
        let to = if from.server.process == one.server.process { &other } else { &one };
        until_following(to)?;
        let plan = Plan {
            server: from.server,
            connections: 8,
            template: Node::put(),
            numbers: Numbers::From(next),
            amount: Amount::Time { warm_up: Duration::from_millis(500), run: Duration::from_secs(1) },
        };
        // Writes go on when the lead changes; those that are refused then count as errors, which is theirs to tell.
        let handed = std::thread::scope(|scope| {
            let load = scope.spawn(|| drive_new(&mut plan.clone()));
            std::thread::sleep(Duration::from_millis(800));
            let handed = from.call("POST", "/replication/handover", "{}");
            drop(load.join());
            handed
        })?;
        next += 1_000_000;
        times.push(handed.get("writesUnavailableMs").and_then(Value::as_f64).ok_or("no time in the answer")? / 1_000.0);
        from = to;
    }
    let note = times.iter().map(|time| format!("{:.0}", time * 1_000.0)).collect::<Vec<_>>().join(", ") + " ms";
    Ok(vec![seconds("handover, writes unavailable", median(&mut times), 0.2, "< 200 ms", note)])
}

/// How long after the leader's death the next write is taken.
fn failover(bench: &Bench, binary: &Path, directory: &Path) -> Outcome {
    let silence = SILENCE_SECONDS.to_string();
    let settings = [("HOLDFAST__Replication__AutoFailover__SilenceSeconds", silence.as_str())];
    let mut times = Vec::new();
    for round in 0..bench.rounds {
        let directory = directory.join(round.to_string());
        let (mut leader, port) = leader(binary, &directory, &settings)?;
        let two = follower(binary, &directory, "two", &port, &settings)?;
        let three = follower(binary, &directory, "three", &port, &settings)?;
        load_documents(&leader, 0, 1_000)?;
        for follower in [&two, &three] {
            wait_until_equal(&leader, follower)?;
            until("all vote", follower, |status| {
                status.get("voters").and_then(Value::as_array).is_some_and(|all| all.len() == 3)
            })?;
        }
        // Nobody takes over within the grace after its start.
        std::thread::sleep(Duration::from_secs(3));
        leader.program.kill();
        let from = Instant::now();
        loop {
            let is_taken = |node: &Node| {
                let mut put = Node::put();
                put.fill(5_000_000 + round as u64);
                http::ask(node.server.address, &put).is_ok_and(|(status, _)| status == 200)
            };
            if is_taken(&two) || is_taken(&three) {
                break;
            }
            if from.elapsed() > WITHIN {
                return Err("nobody has taken over".to_owned());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        times.push(from.elapsed().as_secs_f64());
        let _ = std::fs::remove_dir_all(&directory);
    }
    let note = times.iter().map(|time| format!("{time:.2}")).collect::<Vec<_>>().join(", ") + " s";
    #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
    let most = SILENCE_SECONDS as f64 + 1.0;
    let name = format!("failover with 3 voters, silence {SILENCE_SECONDS} s");
    Ok(vec![seconds(&name, median(&mut times), most, "< silence + 1 s", note)])
}
