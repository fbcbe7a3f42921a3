//! What happens around tombstones and states that worlds meet too seldom by chance: a write after its tombstone was
//! removed, nodes that join while tombstones go, a transfer that is cut and goes on elsewhere.

use std::collections::BTreeMap;

use holdfast_core::json::JsonText;
use holdfast_core::time::Millis;
use holdfast_storage::request::{Action, Change, Expect, Request};
use holdfast_tests::checkers::{self, Ending, NodeEnding};
use holdfast_tests::faults::{Fault, FaultOptions};
use holdfast_tests::network::Topology;
use holdfast_tests::node::Forgetting;
use holdfast_tests::seed::Seed;
use holdfast_tests::workload::{document, orders};
use holdfast_tests::world::{self, Scenario, World};

/// Enough for everybody to hear what everybody knows, and to look after itself.
const A_WHILE: Millis = Millis(40_000);
/// Longer than any world lasts.
const NEVER: Millis = Millis(1_000 * 60 * 60 * 24 * 365);
const TOPOLOGIES: [Topology; 4] = [Topology::Chain, Topology::Ring, Topology::Star, Topology::Mesh];

fn put(by: &str) -> Action {
    Action::Put(JsonText::parse(&format!(r#"{{"Id":"it","by":"{by}"}}"#)).unwrap())
}

fn request(action: Action) -> Request {
    Request::Each(vec![Change { collection: orders(), id: document("it"), action, expect: Expect::Any }])
}

fn stage(topology: Topology) -> World {
    let forgets = Some(Forgetting { tombstone_age: Millis(0), prune_percent: 0, is_ruthless: false });
    let mut world = World::new(Scenario { forgets, surveys: true, ..Scenario::stage(4, topology) }, Seed::new(11));
    world.wait(A_WHILE);
    world
}

/// How many nodes still have a record of it, and what each shows.
fn records(nodes: &[NodeEnding]) -> (usize, Vec<Option<String>>) {
    let records = nodes.iter().map(|node| node.documents.get(&(orders(), document("it"))));
    let shown = records.clone().map(|record| record.and_then(|record| record.text.clone()));
    (records.flatten().count(), shown.collect())
}

fn settled(world: &mut World) -> (usize, Vec<Option<String>>) {
    records(&world.settle().unwrap_or_else(|failure| panic!("{failure}")))
}

fn everywhere(text: Option<&str>) -> Vec<Option<String>> {
    vec![text.map(|by| format!(r#"{{"Id":"it","by":"{by}"}}"#)); 4]
}

fn expect_sound(world: World) {
    let end = world.end().unwrap_or_else(|failure| panic!("{failure}"));
    for (name, check) in checkers::ALL {
        assert_eq!(check(&end), Ok(()), "{name}");
    }
}

#[test]
fn a_write_after_its_tombstone_was_removed_is_shown_everywhere() {
    for topology in TOPOLOGIES {
        let mut world = stage(topology);
        assert_eq!(world.write(0, request(put("the first"))).len(), 1);
        world.wait(A_WHILE);
        assert_eq!(settled(&mut world), (4, everywhere(Some("the first"))), "{topology:?}");
        assert_eq!(world.write(3, request(Action::Delete)).len(), 1);
        world.wait(A_WHILE);
        assert_eq!(settled(&mut world), (0, everywhere(None)), "{topology:?}: the tombstone is gone");
        // Its clock is far behind that of the delete: that it knows of it has to be enough.
        world.strike(Fault::SetClock { node: 2, skew: -600_000 });
        assert_eq!(world.write(2, request(put("the second"))).len(), 1);
        assert_eq!(settled(&mut world), (4, everywhere(Some("the second"))), "{topology:?}");
        expect_sound(world);
    }
}

#[test]
fn a_tombstone_waits_for_the_member_that_has_not_seen_it() {
    let mut world = stage(Topology::Mesh);
    assert_eq!(world.write(0, request(put("the first"))).len(), 1);
    world.wait(A_WHILE);
    for other in 0..3 {
        world.strike(Fault::Cut { from: 3, to: other });
        world.strike(Fault::Cut { from: other, to: 3 });
    }
    assert_eq!(world.write(0, request(Action::Delete)).len(), 1);
    world.wait(A_WHILE);
    let nodes = world.look().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(records(&nodes).0, 4, "three keep the tombstone, one has the document still");
    world.join();
    world.wait(A_WHILE);
    assert_eq!(settled(&mut world), (0, everywhere(None)));
    expect_sound(world);
}

/// Plays worlds, checks each, and adds up what was seen in them.
fn play(scenario: &Scenario, worlds: u64) -> BTreeMap<&'static str, u64> {
    let mut seen = BTreeMap::new();
    for number in 0..worlds {
        let mut seed = Seed::new(number);
        let nodes = *seed.pick(&[3, 4, 5]);
        let scenario = Scenario { nodes, topology: *seed.pick(&TOPOLOGIES), ..scenario.clone() };
        let end: Ending = world::play(&scenario, seed).unwrap_or_else(|failure| panic!("seed {number}: {failure}"));
        for (name, check) in checkers::ALL {
            if let Err(reason) = check(&end) {
                panic!("seed {number}: {scenario:#?}\n{}\n{name}: {reason}", end.recent.join("\n"));
            }
        }
        for (what, times) in end.seen {
            *seen.entry(what).or_default() += times;
        }
    }
    println!("{seen:?}");
    seen
}

#[test]
fn nodes_join_while_tombstones_go() {
    let forgets = Some(Forgetting { tombstone_age: Millis(0), prune_percent: 40, is_ruthless: false });
    let faults = FaultOptions { newcomers: 2, cuts: 2, ..FaultOptions::calm() };
    let scenario = Scenario { writes: 50, is_spaced: false, forgets, faults, surveys: true, ..Scenario::calm_pair() };
    let seen = play(&scenario, 60);
    assert!(seen["tombstones removed"] > 30, "{seen:?}");
}

#[test]
fn a_transfer_that_is_cut_goes_on_where_it_was_or_begins_again_elsewhere() {
    let forgets = Some(Forgetting { tombstone_age: NEVER, prune_percent: 80, is_ruthless: true });
    let faults = FaultOptions { newcomers: 2, cuts: 6, crashes: 8, delay_max: Millis(600), ..FaultOptions::calm() };
    let base = Scenario { writes: 60, is_spaced: false, batch: 1, forgets, faults, ..Scenario::calm_pair() };
    let seen = play(&Scenario { active: Millis(40_000), sweep: Millis(3_000), ..base }, 60);
    assert!(seen["transfers gone on with"] > 0 && seen["transfers begun again elsewhere"] > 0, "{seen:?}");
}

#[test]
fn who_is_quiet_behind_others_keeps_its_lease() {
    // A shop that is closed for longer than the lease: nobody has news, and all of them are there.
    for topology in TOPOLOGIES {
        let forgets = Some(Forgetting { tombstone_age: NEVER, prune_percent: 0, is_ruthless: false });
        let lease = Some(Millis(30_000));
        let quiet = Scenario { forgets, lease, surveys: true, sweep: Millis(2_000), ..Scenario::stage(4, topology) };
        let mut world = World::new(quiet, Seed::new(11));
        world.wait(A_WHILE);
        world.write(0, request(put("the last of the day")));
        world.wait(Millis(10 * 60 * 1_000));
        let end = world.end().unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(end.seen.get("leases ran out"), None, "{topology:?}");
    }
}
