//! Worlds in which two nodes claim one name, and whether the checkers see it when somebody lets them.

use holdfast_core::chain::Chain;
use holdfast_core::time::Millis;
use holdfast_tests::checkers::{Checker, Ending, durability, identity};
use holdfast_tests::faults::FaultOptions;
use holdfast_tests::node::{Forgetting, Sabotage};
use holdfast_tests::seed::Seed;
use holdfast_tests::world::{self, Scenario};

/// Worlds that a mistake gets to show itself.
const WORLDS: u64 = 8;

/// Four nodes without any other trouble.
fn play(sabotage: Sabotage, faults: FaultOptions, seed: u64) -> Result<Ending, String> {
    let forgets = Forgetting { tombstone_age: Millis(1 << 40), prune_percent: 0, is_ruthless: false };
    let scenario = Scenario {
        nodes: 4,
        sabotage,
        surveys: true,
        is_spaced: false,
        writes: 50,
        forgets: Some(forgets),
        faults,
        ..Scenario::calm_pair()
    };
    world::play(&scenario, Seed::new(seed)).map_err(|failure| format!("seed {seed}: {failure}"))
}

fn ends(sabotage: Sabotage, faults: &FaultOptions) -> impl Iterator<Item = (u64, Ending)> {
    (0..WORLDS).map(move |seed| (seed, play(sabotage, faults.clone(), seed).unwrap()))
}

/// The first complaint about any of the worlds.
fn complaint(ends: impl IntoIterator<Item = (u64, Ending)>, checkers: &[Checker]) -> Option<String> {
    ends.into_iter().find_map(|(seed, end)| {
        checkers.iter().find_map(|(name, check)| Some(format!("seed {seed}, {name}: {}", check(&end).err()?)))
    })
}

const BOTH: [Checker; 2] = [("identity", identity::check), ("durability", durability::check)];

fn twins() -> FaultOptions {
    FaultOptions { twins: 1, ..FaultOptions::calm() }
}

fn rollbacks() -> FaultOptions {
    FaultOptions { rollbacks: 3, ..FaultOptions::calm() }
}

#[test]
fn second_nodes_of_a_name_are_refused_and_lose_nothing() {
    let ends: Vec<(u64, Ending)> = ends(Sabotage::None, &twins()).collect();
    let times = |what: &str| ends.iter().filter(|(_, end)| end.seen.contains_key(what)).count();
    let (started, refused, noticed) = (times("twins started"), times("names refused"), times(identity::NOTICED));
    assert_eq!(complaint(ends, &BOTH), None);
    assert!(started > 4 && refused > 1 && noticed > 0, "{started} started, {refused} refused, {noticed} noticed");
}

#[test]
fn nodes_that_are_set_back_without_knowing_it_are_noticed_and_lose_nothing() {
    let ends: Vec<(u64, Ending)> = ends(Sabotage::None, &rollbacks()).collect();
    let noticed = ends.iter().filter(|(_, end)| end.seen.contains_key(identity::NOTICED)).count();
    assert_eq!(complaint(ends, &BOTH), None);
    assert!(noticed > 2, "{noticed} noticed");
}

#[test]
fn nodes_that_count_two_of_one_name_in_are_noticed() {
    let said = complaint(ends(Sabotage::LetsNamesakesIn, &twins()), &[("identity", identity::check)]);
    assert!(said.as_ref().is_some_and(|said| said.contains("counts with")), "{said:?}");
}

#[test]
fn nodes_that_do_not_look_where_branches_part_are_noticed() {
    // Some of them never come to rest.
    let ends =
        (0..2 * WORLDS).filter_map(|seed| Some((seed, play(Sabotage::IgnoresBranches, rollbacks(), seed).ok()?)));
    let said = complaint(ends, &[("durability", durability::check)]);
    assert!(said.as_ref().is_some_and(|said| said.contains("was acknowledged")), "{said:?}");
}

#[test]
fn two_writers_of_one_origin_and_two_meanings_of_one_number_are_noticed() {
    let mut end = play(Sabotage::None, rollbacks(), 0).unwrap();
    assert_eq!(identity::check(&end), Ok(()));
    let (origin, chain) = end.nodes[0].chains.iter().map(|(origin, chain)| (origin.clone(), chain)).last().unwrap();
    end.nodes[0].chains.set(&origin, Chain(!chain.0));
    assert!(identity::check(&end).is_err_and(|said| said.contains("mean different operations")));
    end.nodes[0].chains.set(&origin, chain);
    end.nodes[0].origin = end.nodes[1].origin.clone();
    assert!(identity::check(&end).is_err_and(|said| said.contains("both write as")));
}
