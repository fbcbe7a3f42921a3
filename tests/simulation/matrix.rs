//! {create, update, delete, resurrect} × {1, n actors} × {pair, ring, star, mesh} × {clocks equal, skewed, tied}: each
//! cell with what every node must hold afterwards.
//!
//! ```text
//!   the stage is set ─► nobody hears anybody, the actors act ─► all hear each other: who has won?
//!                                                            ─► the node whose clock is furthest behind acts once
//!                                                               more, knowing everything: it must win
//! ```
//!
//! | clocks | what decides among those who did not know of each other |
//! |---|---|
//! | equal | they act one after another, and the last one wins |
//! | skewed | each clock is ten minutes behind the one before it: the first node wins, although it acted first |
//! | tied | all act in the same millisecond: the greatest name wins, everywhere the same |

use holdfast_core::json::JsonText;
use holdfast_core::time::Millis;
use holdfast_storage::record::operation::Logged;
use holdfast_storage::request::{Action, Change, Expect, Request};
use holdfast_tests::checkers::{self, NodeEnding};
use holdfast_tests::faults::Fault;
use holdfast_tests::network::Topology;
use holdfast_tests::seed::Seed;
use holdfast_tests::workload::{document, orders};
use holdfast_tests::world::{Scenario, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// The document was never there.
    Create,
    /// It is there and everybody knows it.
    Update,
    /// It is there and everybody knows it.
    Delete,
    /// It was there, was deleted, and everybody knows that.
    Resurrect,
    /// Everybody changes what it knows; only the one who wins deletes it.
    DeleteAgainstUpdates,
    /// The one who wins changes it; all the others delete it.
    UpdateAgainstDeletes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clocks {
    Equal,
    Skewed,
    Tied,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    deed: Deed,
    is_alone: bool,
    nodes: usize,
    topology: Topology,
    clocks: Clocks,
}

/// Far more than what a clock follows.
const SKEW: i64 = 600_000;
/// Between two acts, where they do not fall into one moment.
const BETWEEN: Millis = Millis(50);

/// Every cell of the matrix. To be in conflict with others takes others.
fn cells() -> Vec<Cell> {
    let places = [(2, Topology::Mesh), (4, Topology::Ring), (4, Topology::Star), (4, Topology::Mesh)];
    let alone = [Deed::Create, Deed::Update, Deed::Delete, Deed::Resurrect];
    let together = [Deed::DeleteAgainstUpdates, Deed::UpdateAgainstDeletes];
    let deeds = alone.iter().map(|deed| (*deed, true)).chain(alone.iter().chain(&together).map(|deed| (*deed, false)));
    let mut cells = Vec::new();
    for (deed, is_alone) in deeds {
        for (nodes, topology) in places {
            for clocks in [Clocks::Equal, Clocks::Skewed, Clocks::Tied] {
                cells.push(Cell { deed, is_alone, nodes, topology, clocks });
            }
        }
    }
    cells
}

impl Cell {
    /// Who acts. A single actor is the one with the slowest clock: what it writes over has the greater stamp.
    fn actors(self) -> Vec<usize> {
        if self.is_alone { vec![self.nodes - 1] } else { (0..self.nodes).collect() }
    }

    /// Whose write is shown.
    fn winner(self) -> usize {
        match self.clocks {
            Clocks::Skewed if !self.is_alone => 0,
            _ => self.nodes - 1,
        }
    }

    /// Whether the document is shown afterwards.
    fn is_shown(self) -> bool {
        !matches!(self.deed, Deed::Delete | Deed::DeleteAgainstUpdates)
    }

    fn act_of(self, actor: usize) -> Action {
        let deletes = match self.deed {
            Deed::Create | Deed::Update | Deed::Resurrect => false,
            Deed::Delete => true,
            Deed::DeleteAgainstUpdates => actor == self.winner(),
            Deed::UpdateAgainstDeletes => actor != self.winner(),
        };
        if deletes { Action::Delete } else { put(&format!("n{actor}")) }
    }
}

fn body(by: &str) -> String {
    format!(r#"{{"Id":"it","by":"{by}"}}"#)
}

fn put(by: &str) -> Action {
    Action::Put(JsonText::parse(&body(by)).unwrap())
}

fn request(action: Action) -> Request {
    Request::Each(vec![Change { collection: orders(), id: document("it"), action, expect: Expect::Any }])
}

/// A stage of which everybody knows everything.
fn set(cell: Cell) -> World {
    let mut world = World::new(Scenario::stage(cell.nodes, cell.topology), Seed::new(7));
    if cell.clocks == Clocks::Skewed {
        for node in 0..cell.nodes {
            let behind = i64::try_from(node).unwrap() * SKEW;
            world.strike(Fault::SetClock { node, skew: -behind });
        }
    }
    world.wait(Millis(100));
    if cell.deed != Deed::Create {
        // By the fastest clock, so that what follows has the smaller stamp and wins all the same.
        assert_eq!(world.write(0, request(put("the stage"))).len(), 1);
        world.settle().unwrap_or_else(|failure| panic!("{failure}"));
    }
    if cell.deed == Deed::Resurrect {
        assert_eq!(world.write(0, request(Action::Delete)).len(), 1);
        world.settle().unwrap_or_else(|failure| panic!("{failure}"));
    }
    world
}

/// The actors act without hearing of each other.
fn act(world: &mut World, cell: Cell) -> Vec<Logged> {
    world.isolate();
    let mut written = Vec::new();
    for actor in cell.actors() {
        written.extend(world.write(actor, request(cell.act_of(actor))));
        if cell.clocks != Clocks::Tied {
            world.wait(BETWEEN);
        }
    }
    assert_eq!(written.len(), cell.actors().len(), "{cell:?}: every act was answered with success");
    let is_tied = written.iter().all(|logged| logged.operation.stamp == written[0].operation.stamp);
    assert!(is_tied || cell.clocks != Clocks::Tied, "{cell:?}: {written:?}");
    world.join();
    written
}

/// Every node shows this, holds so many versions, and the checkers find nothing.
fn expect(nodes: &[NodeEnding], shown: Option<&str>, versions: usize, what: &str) {
    for node in nodes {
        let name = &node.origin.node;
        let document =
            node.documents.get(&(orders(), document("it"))).unwrap_or_else(|| panic!("{what}: not at {name}"));
        assert_eq!(document.text, shown.map(body), "{what}, at {name}");
        assert_eq!(document.state.versions.len(), versions, "{what}, at {name}: {:?}", document.state);
        assert_eq!(node.digest, nodes[0].digest, "{what}: digests");
        assert_eq!(node.vector, nodes[0].vector, "{what}: vectors");
    }
}

fn play(cell: Cell) {
    let mut world = set(cell);
    act(&mut world, cell);
    let nodes = world.settle().unwrap_or_else(|failure| panic!("{cell:?}: {failure}"));
    let winner = format!("n{}", cell.winner());
    expect(&nodes, cell.is_shown().then_some(&winner), cell.actors().len(), &format!("{cell:?}"));

    // Whoever has seen everything decides, whatever its clock shows, and ends the conflict.
    let slowest = cell.nodes - 1;
    let (last, shown) = if cell.is_shown() { (Action::Delete, None) } else { (put("the last"), Some("the last")) };
    assert_eq!(world.write(slowest, request(last)).len(), 1, "{cell:?}");
    let nodes = world.settle().unwrap_or_else(|failure| panic!("{cell:?}: {failure}"));
    expect(&nodes, shown, 1, &format!("{cell:?}, then the last word"));

    // And it stays, over a restart and another round of everybody asking everybody.
    world.strike(Fault::Crash { node: 0, is_torn: false, away: Millis(1_000) });
    world.wait(Millis(2_000));
    let nodes = world.settle().unwrap_or_else(|failure| panic!("{cell:?}: {failure}"));
    expect(&nodes, shown, 1, &format!("{cell:?}, then the last word, then a restart"));
    let end = world.end().unwrap_or_else(|failure| panic!("{cell:?}: {failure}"));
    for (name, check) in checkers::ALL {
        assert_eq!(check(&end), Ok(()), "{cell:?}: {name}");
    }
}

#[test]
fn whoever_wins_every_node_shows_it_and_whoever_has_seen_all_decides() {
    let cells = cells();
    assert_eq!(cells.len(), (4 + 6) * 4 * 3);
    cells.into_iter().for_each(play);
}
