//! Peers that write at the same time, while the network, the clocks and the power fail, end equal and lose nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use holdfast_tests::checkers::{self, transfers};
use holdfast_tests::seed::Seed;
use holdfast_tests::world::{self, Scenario};

/// Worlds in a usual run: a few seconds.
const WORLDS: u64 = 120;

const REGRESSIONS: &str = include_str!("regressions.txt");

fn number_from_environment(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.trim().parse().unwrap_or_else(|_| panic!("{variable} must be a number, and is '{text}'")))
}

fn run(seed: u64) -> checkers::Ending {
    match world::run(seed) {
        Ok(end) => end,
        Err(failure) => panic!("{failure}\n\nseed={seed} — run again: cargo xtask simulate --seed {seed}\n"),
    }
}

/// The seeds that once failed, with their stories.
fn regressions() -> Vec<(u64, &'static str)> {
    let lines = REGRESSIONS.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entry = |line: &'static str| {
        let (seed, story) = line.split_once(char::is_whitespace).expect("a seed and its story");
        (seed.parse().expect("a seed is a number"), story.trim())
    };
    lines.map(entry).collect()
}

#[test]
fn peers_converge_and_lose_nothing_after_any_cut_and_crash() {
    if let Some(seed) = number_from_environment("HOLDFAST_SEED") {
        let end = run(seed);
        println!("{}\nseed={seed} holds", end.recent.join("\n"));
        return;
    }
    for (seed, story) in regressions() {
        println!("seed={seed}: {story}");
        run(seed);
    }
    let worlds = WORLDS * number_from_environment("HOLDFAST_WORLDS").unwrap_or(1);
    let begin = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let operations = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for first in 0..threads {
            let operations = &operations;
            scope.spawn(move || {
                for seed in (0..worlds).skip(first).step_by(threads) {
                    let logged: usize = run(seed).nodes.iter().map(|node| node.log.len()).sum();
                    operations.fetch_add(logged, Ordering::Relaxed);
                }
            });
        }
    });
    let (took, operations) = (begin.elapsed().as_secs_f64(), operations.into_inner());
    #[allow(clippy::cast_precision_loss)]
    let rate = worlds as f64 / took;
    println!("{worlds} worlds in {took:.1} s, {rate:.0} a second: {operations} operations logged");
}

#[test]
fn a_seed_gives_the_same_world_event_for_event() {
    for seed in (0..WORLDS).step_by(12) {
        assert_eq!(run(seed).trace, run(seed).trace, "seed={seed} — run again: cargo xtask simulate --seed {seed}");
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
fn every_kept_seed_has_its_story() {
    for (seed, story) in regressions() {
        assert!(story.split_whitespace().count() >= 4, "seed {seed} needs a story that explains it, not '{story}'");
    }
}
