//! Each checker sees the mistake that it is there for: worlds with one wrong node in them.

use holdfast_core::time::Millis;
use holdfast_core::vector::Origin;
use holdfast_storage::database::{Database, Options};
use holdfast_tests::checkers::{
    self, Ending, NodeEnding, accounts, causality, convergence, counters, digests, durability, exactly_once, groups,
    leases, letters, policies, replay, resurrection, sameness, status, transfers,
};
use holdfast_tests::disk::Disk;
use holdfast_tests::faults::FaultOptions;
use holdfast_tests::node::{Forgetting, Sabotage};
use holdfast_tests::seed::Seed;
use holdfast_tests::world::{self, Scenario};
use redb::ReadableTable;

/// A calm world of three in which the last node is wrong.
fn wrong(sabotage: Sabotage, seed: u64) -> Ending {
    let scenario = Scenario { nodes: 3, sabotage, ..Scenario::calm_pair() };
    world::play(&scenario, Seed::new(seed)).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"))
}

/// Whether the checker finds something in most worlds with the mistake, and nothing in any without it.
fn catches(sabotage: Sabotage, check: fn(&Ending) -> Result<(), String>) {
    for seed in 0..4 {
        assert_eq!(check(&wrong(Sabotage::None, seed)), Ok(()), "a world without a mistake");
    }
    let caught = (0..4).filter(|seed| check(&wrong(sabotage, *seed)).is_err()).count();
    assert!(caught >= 2, "{sabotage:?} was noticed in {caught} of 4 worlds");
}

#[test]
fn a_node_that_logs_without_applying_does_not_converge() {
    catches(Sabotage::LogsWithoutApplying("put"), convergence::check);
}

#[test]
fn an_answer_without_a_write_is_noticed() {
    catches(Sabotage::AnswersWithoutWriting, durability::check);
}

#[test]
fn an_answer_without_a_write_is_noticed_where_nodes_forget_too() {
    let forgets = Forgetting { tombstone_age: Millis(500), prune_percent: 60, is_ruthless: true };
    let play = |sabotage| {
        let scenario = Scenario { nodes: 3, sabotage, forgets: Some(forgets), ..Scenario::calm_pair() };
        let end = world::play(&scenario, Seed::new(3)).unwrap_or_else(|failure| panic!("{failure}"));
        accounts::check(&end)
    };
    assert_eq!(play(Sabotage::None), Ok(()));
    assert!(play(Sabotage::AnswersWithoutWriting).is_err());
}

#[test]
fn an_operation_that_is_altered_on_its_way_is_noticed() {
    catches(Sabotage::LogsWithoutApplying("patch"), durability::check);
}

#[test]
fn an_operation_that_is_taken_twice_is_noticed() {
    catches(Sabotage::TakesTwice, exactly_once::check);
}

#[test]
fn an_increment_that_is_not_added_is_noticed() {
    catches(Sabotage::LogsWithoutApplying("increment"), counters::check);
}

#[test]
fn a_delete_that_is_not_applied_is_noticed() {
    catches(Sabotage::LogsWithoutApplying("delete"), resurrection::check);
}

#[test]
fn an_operation_sent_to_its_author_is_noticed() {
    catches(Sabotage::ForgetsWhatPeersKnow, transfers::check);
}

#[test]
fn a_transaction_that_is_taken_in_parts_is_noticed() {
    catches(Sabotage::CutsTransactions, groups::check);
}

#[test]
fn a_node_that_shows_something_else_than_others_who_know_the_same_is_noticed() {
    catches(Sabotage::LogsWithoutApplying("put"), sameness::check);
}

#[test]
fn a_node_that_says_in_sync_without_a_proof_is_noticed() {
    let play = |sabotage| {
        let scenario = Scenario { sabotage, surveys: true, ..Scenario::calm_pair() };
        world::play(&scenario, Seed::new(4)).unwrap_or_else(|failure| panic!("{failure}"))
    };
    let sound = play(Sabotage::None);
    assert_eq!(status::check(&sound), Ok(()));
    assert!(sound.seen["said InSync"] > 10, "{:?}", sound.seen);
    let said = status::check(&play(Sabotage::ClaimsByVectors)).unwrap_err();
    assert!(said.contains("says InSync"), "{said}");
    assert_eq!(sound.found_by("difference"), Ok(()));
    let different = play(Sabotage::LogsWithoutApplying("put"));
    assert!(different.found_by("difference").is_err(), "they differ, and nobody says so");
    let silent = status::check(&different).unwrap_err();
    assert!(silent.contains("says Diverged"), "{silent}");
}

#[test]
fn a_node_that_does_not_do_as_its_policy_says_is_noticed() {
    let play = |sabotage, seed| {
        let faults = FaultOptions { policies: 5, cuts: 4, ..FaultOptions::calm() };
        let scenario = Scenario { sabotage, writes: 60, is_spaced: false, faults, ..Scenario::calm_pair() };
        let end = world::play(&scenario, Seed::new(seed)).unwrap_or_else(|failure| panic!("{failure}"));
        policies::check(&end)
    };
    assert!((0..8).all(|seed| play(Sabotage::None, seed).is_ok()));
    assert!((0..8).any(|seed| play(Sabotage::NeverSettles, seed).is_err()));
}

#[test]
fn a_node_that_counts_members_out_alone_is_noticed() {
    let play = |sabotage, seed| {
        let forgets = Forgetting { tombstone_age: Millis(1 << 40), prune_percent: 0, is_ruthless: false };
        let faults = FaultOptions { partitions: 1, ..FaultOptions::calm() };
        let lone = Scenario {
            nodes: 3,
            sabotage,
            lease: Some(Millis(15_000)),
            sweep: Millis(1_000),
            surveys: true,
            faults,
            ..Scenario::calm_pair()
        };
        let scenario = Scenario { forgets: Some(forgets), is_spaced: false, active: Millis(60_000), ..lone };
        leases::check(&world::play(&scenario, Seed::new(seed)).unwrap_or_else(|failure| panic!("{failure}")))
    };
    assert!((0..6).all(|seed| play(Sabotage::None, seed).is_ok()));
    assert!((0..6).any(|seed| play(Sabotage::CountsAlone, seed).is_err()));
}

#[test]
fn a_node_that_does_not_keep_letters_as_they_came_is_noticed() {
    let play = |sabotage| {
        let faults = FaultOptions { foreign: 10, ..FaultOptions::calm() };
        let scenario = Scenario { nodes: 3, sabotage, faults, ..Scenario::calm_pair() };
        letters::check(&world::play(&scenario, Seed::new(2)).unwrap_or_else(|failure| panic!("{failure}")))
    };
    assert_eq!(play(Sabotage::None), Ok(()));
    assert!(play(Sabotage::RewritesLetters).is_err());
}

#[test]
fn a_log_that_tells_a_story_backwards_is_noticed() {
    // Whoever comes late gets everything in one batch.
    let late = |sabotage| {
        let faults = FaultOptions { newcomers: 1, ..FaultOptions::calm() };
        let scenario =
            Scenario { nodes: 3, writes: 60, is_spaced: false, batch: 1_000, faults, ..Scenario::calm_pair() };
        let end = world::play(&Scenario { sabotage, ..scenario }, Seed::new(5));
        causality::check(&end.unwrap_or_else(|failure| panic!("{failure}")))
    };
    assert_eq!(late(Sabotage::None), Ok(()));
    assert!(late(Sabotage::TakesOutOfOrder).is_err());
}

#[test]
fn a_digest_that_is_not_that_of_the_documents_is_noticed() {
    let mut end = wrong(Sabotage::None, 2);
    assert_eq!(digests::check(&end), Ok(()));
    let disk = Disk::from_image(&end.images[0]);
    {
        // The store's own tables, written past the product: the counts of one collection under the name of another.
        let table = redb::TableDefinition::<&str, &[u8]>::new("collections");
        let data = redb::Builder::new().create_with_backend(disk.file("data")).unwrap();
        let transaction = data.begin_write().unwrap();
        {
            let mut collections = transaction.open_table(table).unwrap();
            let counters = collections.get("counters").unwrap().unwrap().value().to_vec();
            collections.insert("pairs", counters.as_slice()).unwrap();
        }
        transaction.commit().unwrap();
    }
    end.nodes[0] = reopened(&disk, end.nodes[0].origin.clone());
    assert!(digests::check(&end).is_err());
}

#[test]
fn a_world_in_which_operations_are_dropped_never_rests_or_is_noticed() {
    let scenario = Scenario { sabotage: Sabotage::Drops, ..Scenario::calm_pair() };
    let Ok(end) = world::play(&scenario, Seed::new(1)) else { return };
    assert!(checkers::ALL.iter().any(|(_, check)| check(&end).is_err()));
}

/// The same ending, but the first node's data comes from the second node's disk.
fn with_mixed_files(mut end: Ending) -> Ending {
    let mut mixed = end.images[0].clone();
    mixed.put("data", &end.images[1].bytes_of("data").unwrap());
    end.nodes[0] = reopened(&Disk::from_image(&mixed), end.nodes[0].origin.clone());
    end
}

fn reopened(disk: &Disk, origin: Origin) -> NodeEnding {
    let (log, data) = (disk.file("log"), disk.file("data"));
    let opened = Database::open("shop", log, data, origin.clone(), 1, Options::default()).unwrap();
    NodeEnding::read(&opened.database, origin)
}

#[test]
fn data_that_another_log_has_made_is_noticed() {
    // Both logs hold the same operations. Where two nodes write at once, each in an order of its own.
    let scenario = Scenario { is_spaced: false, writes: 100, ..Scenario::calm_pair() };
    let play = |seed| world::play(&scenario, Seed::new(seed)).unwrap_or_else(|failure| panic!("{failure}"));
    let is_sound = |seed| {
        let end = play(seed);
        assert_eq!(replay::check(&end), Ok(()));
        replay::check(&with_mixed_files(end)).is_ok()
    };
    assert!((0..8).any(|seed| !is_sound(seed)));
}
