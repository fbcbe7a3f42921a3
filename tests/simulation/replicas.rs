//! A leader and its followers, while lines, disks, clocks and leaders fail: one leads, and nothing that was answered is lost.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use holdfast_core::time::Millis;
use holdfast_tests::checkers::Ending;
use holdfast_tests::replicas::world::checked;
use holdfast_tests::replicas::{self, Sabotage, Scenario, Troubles};
use holdfast_tests::seed::{self, Seed};

/// Worlds in a usual run.
const WORLDS: u64 = 300;
/// After so many failures a run ends.
const FAILURES_MAX: usize = 20;
/// Seeds that once failed, and why.
const REGRESSIONS: &[(u64, &str)] = &[];

fn wish(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.trim().parse().unwrap_or_else(|_| panic!("{variable} must be a number, and is '{text}'")))
}

fn outcome(seed: u64) -> Result<Ending, String> {
    let run = catch_unwind(AssertUnwindSafe(|| replicas::run(seed)));
    let end = run.map_err(|_| "a node panicked; the message is above".to_owned())?;
    let is_alone = wish("HOLDFAST_SIMULATION_WORLDS") == Some(1);
    end.map_err(|failure| if is_alone { format!("{failure:#}") } else { failure.to_string() })
}

#[test]
fn followers_hold_what_their_leaders_held_through_any_storm() {
    let worlds = wish("HOLDFAST_SIMULATION_WORLDS").unwrap_or(WORLDS);
    let base = wish("HOLDFAST_SIMULATION_SEED").unwrap_or(0);
    if worlds == 1
        && let Ok(end) = outcome(base)
    {
        println!("{}\nseed={base} holds", end.recent.join("\n"));
        return;
    }
    let seen: Mutex<BTreeMap<&'static str, (u64, u64)>> = Mutex::default();
    let failures: Mutex<Vec<(u64, String)>> = Mutex::default();
    let run = |seed: u64| match outcome(seed) {
        Ok(end) => {
            let mut seen = seen.lock().unwrap();
            for (what, times) in end.seen {
                let (worlds, all) = seen.entry(what).or_default();
                (*worlds, *all) = (*worlds + u64::from(times > 0), *all + times);
            }
        }
        Err(reason) => failures.lock().unwrap().push((seed, reason)),
    };
    for (seed, story) in REGRESSIONS {
        println!("seed={seed}: {story}");
        run(*seed);
    }
    let begin = Instant::now();
    let (next, threads) = (AtomicU64::new(0), std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while failures.lock().unwrap().len() < FAILURES_MAX {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= worlds {
                        break;
                    }
                    run(seed::of_world(base, number));
                }
            });
        }
    });
    let run = next.into_inner().min(worlds);
    #[allow(clippy::cast_precision_loss, reason = "Rates for people.")]
    let rate = run as f64 / begin.elapsed().as_secs_f64();
    println!("{run} worlds of leader and followers, {rate:.0} a second");
    for (what, (worlds, times)) in seen.into_inner().unwrap() {
        println!("  {what}: {times} in {worlds} worlds");
    }
    let failures = failures.into_inner().unwrap();
    let Some((_, first)) = failures.first() else { return };
    let again = |(seed, said): &(u64, String)| {
        let last = said.lines().last().unwrap_or_default();
        format!("cargo xtask simulate --of replicas --worlds 1 --seed {seed}\n    {last}")
    };
    let again = failures.iter().map(again).collect::<Vec<_>>().join("\n");
    panic!("{first}\n\n{} failed; run again:\n{again}\n", failures.len());
}

#[test]
fn a_seed_makes_the_same_group_twice() {
    for seed in [3, 4, 5] {
        let (one, other) = (replicas::run(seed), replicas::run(seed));
        let trace = |end: Result<Ending, replicas::Failure>| {
            end.map_or_else(|failure| failure.reason, |end| end.trace.to_string())
        };
        assert_eq!(trace(one), trace(other), "seed {seed}");
    }
}

#[test]
fn a_calm_group_has_everything_and_says_so() {
    let end = replicas::play(&Scenario::calm(), Seed::new(1)).unwrap_or_else(|failure| panic!("{failure}"));
    checked(&end).unwrap();
    assert!(end.seen["writes that a majority had"] > 20, "{:?}", end.seen);
    assert_eq!(end.seen["writes that a majority had"], end.seen["writes answered"]);
    assert_eq!(end.seen.get("leaders elected"), None);
}

/// Whether a mistake is noticed by this checker in some of so many worlds, which without it are sound.
fn catches(sabotage: Sabotage, scenario: &Scenario, worlds: u64, checker: &str) {
    let says = |sabotage, seed| {
        let scenario = Scenario { sabotage, ..scenario.clone() };
        match catch_unwind(AssertUnwindSafe(|| replicas::play(&scenario, Seed::new(seed)))) {
            Ok(Ok(end)) => {
                let all = end.findings.iter().map(|found| format!("{}: {}\n", found.checker, found.what));
                checked(&end).err().map(|said| all.collect::<String>() + &said)
            }
            Ok(Err(failure)) => Some(failure.reason),
            Err(_) => Some("panicked".to_owned()),
        }
    };
    let is_caught = |seed| says(sabotage, seed).is_some_and(|said| said.contains(checker));
    let caught = (0..worlds).find(|seed| is_caught(*seed));
    let caught = caught.unwrap_or_else(|| panic!("{sabotage:?} was not noticed by '{checker}' in {worlds} worlds"));
    assert_eq!(says(Sabotage::None, caught), None, "the same world without the mistake");
}

#[test]
fn a_vote_that_is_given_twice_is_noticed() {
    catches(Sabotage::VotesAgain, &Scenario::storm(), 60, "votes:");
}

#[test]
fn a_promise_that_is_forgotten_over_a_restart_is_noticed() {
    let troubles = Troubles { at_promise_percent: 90, crashes: 20, ..Scenario::storm().troubles };
    catches(Sabotage::ForgetsPromises, &Scenario { troubles, ..Scenario::storm() }, 300, "votes:");
}

#[test]
fn an_election_of_somebody_who_lacks_what_was_answered_is_noticed() {
    catches(Sabotage::ElectsAnybody, &Scenario::storm(), 60, "elected:");
}

#[test]
fn a_rank_that_is_claimed_too_early_is_noticed() {
    catches(Sabotage::RanksEarly, &Scenario::storm(), 400, "elected:");
}

#[test]
fn a_write_where_nobody_leads_is_noticed() {
    catches(Sabotage::WritesWithoutLead, &Scenario::storm(), 10, "lead:");
}

#[test]
fn a_receipt_for_what_is_not_on_the_disk_is_noticed() {
    catches(Sabotage::ConfirmsUnwritten, &Scenario::calm(), 5, "acked:");
}

#[test]
fn a_write_that_only_an_old_leader_held_and_that_is_not_merged_is_noticed() {
    catches(Sabotage::KeepsSurplus, &Scenario::storm(), 30, "does not come to rest");
}

#[test]
fn a_follower_that_alters_a_write_is_noticed() {
    catches(Sabotage::AltersWrites, &Scenario::calm(), 5, "sameness:");
    catches(Sabotage::AltersWrites, &Scenario::calm(), 30, "prefix:");
}

#[test]
fn a_write_that_too_few_have_and_whose_disk_is_lost_is_noticed() {
    let troubles = Troubles { has_lost_disk: true, isolations: 4, ..Troubles::calm() };
    catches(
        Sabotage::CountsTooFew,
        &Scenario { troubles, active: Millis(20_000), ..Scenario::calm() },
        200,
        "durability:",
    );
}

#[test]
fn a_frame_that_is_believed_without_its_checksum_is_noticed() {
    let troubles = Troubles { garbled_percent: 3, ..Troubles::calm() };
    catches(Sabotage::BelievesAnything, &Scenario { troubles, ..Scenario::calm() }, 10, "frames:");
}
