//! Peers that write at the same time, while the network, the clocks and the power fail, end equal and lose nothing.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use holdfast_tests::checkers::{Ending, transfers};
use holdfast_tests::seed::{self, Seed};
use holdfast_tests::world::{self, Drawing, Scenario};

/// Worlds in a usual run.
const WORLDS: u64 = 2_000;
/// The seed of a usual run: always the same worlds, so that the test command is not a lottery.
const SEED: u64 = 0;
/// Worlds in which nodes are copied, or set back without knowing it, of those that allow for it.
const CONTESTED_PERCENT: u64 = 15;
/// After so many failures a run ends.
const FAILURES_MAX: usize = 5;

const REGRESSIONS: &str = include_str!("regressions.txt");

fn wish(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.trim().parse().unwrap_or_else(|_| panic!("{variable} must be a number, and is '{text}'")))
}

/// How worlds are drawn; on demand without what makes them hard.
fn drawing() -> Drawing {
    let has_hazards = wish("HOLDFAST_SIMULATION_HAZARDS") != Some(0);
    let is_plain = wish("HOLDFAST_SIMULATION_PLAIN").is_some_and(|wish| wish > 0);
    let contested_percent =
        if is_plain { 0 } else { wish("HOLDFAST_SIMULATION_CONTESTED").unwrap_or(CONTESTED_PERCENT) };
    Drawing { has_hazards, is_plain, contested_percent }
}

/// Adds up what worlds have done.
#[derive(Default)]
struct Tally {
    operations: AtomicU64,
    virtual_millis: AtomicU64,
    seen: Mutex<BTreeMap<&'static str, (u64, u64)>>,
    failures: Mutex<Vec<(u64, String)>>,
}

impl Tally {
    /// Runs one world; notes how it went.
    fn run(&self, seed: u64, drawing: Drawing) {
        match outcome(seed, drawing) {
            Ok(end) => {
                let operations: usize = end.nodes.iter().map(|node| node.log.len()).sum();
                self.operations.fetch_add(operations as u64, Ordering::Relaxed);
                self.virtual_millis.fetch_add(end.virtual_time.0, Ordering::Relaxed);
                let mut seen = self.seen.lock().unwrap();
                for (what, times) in end.seen {
                    let (worlds, all) = seen.entry(what).or_default();
                    (*worlds, *all) = (*worlds + 1, *all + times);
                }
            }
            Err(reason) => self.failures.lock().unwrap().push((seed, reason)),
        }
    }

    fn has_failed_enough(&self) -> bool {
        self.failures.lock().unwrap().len() >= FAILURES_MAX
    }

    /// Panics with the first failure in full, and how to see each again.
    fn expect_no_failure(self) {
        let failures = self.failures.into_inner().unwrap();
        let Some((_, first)) = failures.first() else { return };
        let again = |(seed, _): &(u64, String)| format!("cargo xtask simulate --worlds 1 --seed {seed}");
        let again = failures.iter().map(again).collect::<Vec<_>>().join("\n");
        panic!("{first}\n\n{} failed; run again:\n{again}\n", failures.len());
    }
}

/// How a world ended; or what was wrong with it.
fn outcome(seed: u64, drawing: Drawing) -> Result<Ending, String> {
    let run = catch_unwind(AssertUnwindSafe(|| world::run(seed, drawing)));
    let end = run.map_err(|_| "a node panicked; the message is above".to_owned())?;
    let is_alone = wish("HOLDFAST_SIMULATION_WORLDS") == Some(1);
    end.map_err(|failure| if is_alone { format!("{failure:#}") } else { failure.to_string() })
}

/// The seeds that once failed, how their worlds are drawn, and their stories.
fn regressions() -> Vec<(u64, Drawing, &'static str)> {
    let lines = REGRESSIONS.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entry = |line: &'static str| {
        let (seed, story) = line.split_once(char::is_whitespace).expect("a seed and its story");
        let is_contested = seed.starts_with('*');
        let is_full = is_contested || seed.starts_with('+');
        let contested_percent = if is_contested { 100 } else { 0 };
        let drawing = Drawing { has_hazards: is_full, is_plain: !is_full, contested_percent };
        (seed.trim_start_matches(['+', '*']).parse().expect("a seed is a number"), drawing, story.trim())
    };
    lines.map(entry).collect()
}

#[test]
fn peers_converge_and_lose_nothing_after_any_cut_and_crash() {
    let worlds = wish("HOLDFAST_SIMULATION_WORLDS").unwrap_or(WORLDS);
    let base = wish("HOLDFAST_SIMULATION_SEED").unwrap_or(SEED);
    let tally = Tally::default();
    if worlds == 1
        && let Ok(end) = outcome(base, drawing())
    {
        println!("{}\nseed={base} holds", end.recent.join("\n"));
        return;
    }
    for (seed, drawing, story) in regressions() {
        println!("seed={seed}: {story}");
        tally.run(seed, drawing);
    }
    let begin = Instant::now();
    let (next, threads) = (AtomicU64::new(0), std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !tally.has_failed_enough() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= worlds {
                        break;
                    }
                    tally.run(seed::of_world(base, number), drawing());
                }
            });
        }
    });
    tell_rate(&tally, next.into_inner().min(worlds), begin.elapsed().as_secs_f64());
    tally.expect_no_failure();
}

#[allow(clippy::cast_precision_loss, reason = "Rates for people.")]
fn tell_rate(tally: &Tally, worlds: u64, took: f64) {
    let (operations, millis) = (tally.operations.load(Ordering::Relaxed), tally.virtual_millis.load(Ordering::Relaxed));
    let (rate, hours) = (worlds as f64 / took, millis as f64 / 3_600_000.0);
    println!(
        "{worlds} worlds in {took:.1} s, {rate:.0} a second: {hours:.1} simulated hours, {operations} operations logged"
    );
    for (what, (worlds, times)) in tally.seen.lock().unwrap().iter() {
        println!("  {what}: {times} times in {worlds} worlds");
    }
}

#[test]
fn a_seed_gives_the_same_world_event_for_event() {
    for number in 0..40 {
        let seed = seed::of_world(SEED, number);
        let trace = || world::run(seed, drawing()).unwrap_or_else(|failure| panic!("seed={seed}: {failure}")).trace;
        assert_eq!(trace(), trace(), "run again: cargo xtask simulate --worlds 1 --seed {seed}");
    }
}

#[test]
fn in_a_calm_pair_every_operation_crosses_once() {
    for seed in 0..10 {
        let end = world::play(&Scenario::calm_pair(), Seed::new(seed)).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(end.transfers.len() > 10, "seed={seed}: clients wrote something");
        assert_eq!(transfers::check_calm_pair(&end), Ok(()), "seed={seed}\n{}", end.recent.join("\n"));
    }
}

#[test]
fn in_a_calm_mesh_of_five_every_operation_crosses_four_times() {
    for seed in 0..10 {
        let end = world::play(&Scenario::calm_mesh(5), Seed::new(seed)).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(transfers::check_calm_mesh(&end), Ok(()), "seed={seed}\n{}", end.recent.join("\n"));
        let sent: u64 = end.transfers.values().map(|times| times.pushed + times.pulled).sum();
        let written: u64 = end.nodes.first().map_or(0, |node| node.log.len() as u64);
        assert!(written > 20 && sent == written * 4, "seed={seed}: {sent} transfers of {written} operations");
    }
}

#[test]
fn every_kept_seed_has_its_story() {
    for (seed, _, story) in regressions() {
        assert!(story.split_whitespace().count() >= 4, "seed {seed} needs a story that explains it, not '{story}'");
    }
}
