//! What has come to light of branches outlasts the process that heard of it.
#![allow(clippy::unwrap_used)]

use std::fs::File;

use holdfast_core::chain::Chain;
use holdfast_core::id::NodeName;
use holdfast_core::vector::{Dot, Origin, Position, Sequence, Vector};
use redb::backends::FileBackend;
use serde_json::json;
use tempfile::TempDir;

use crate::database::tests::{Node, put};
use crate::database::{Database, Options};
use crate::request::{Answer, Misfit, Received, Request};

fn origin(name: &str) -> Origin {
    Origin { node: NodeName::parse(name).unwrap(), incarnation: 1 }
}

fn open(directory: &TempDir) -> Node {
    let file = |name: &str| {
        let options = || File::options().read(true).write(true).create(true).truncate(false).clone();
        FileBackend::new(options().open(directory.path().join(name)).unwrap()).unwrap()
    };
    Node::with(Database::open("shop", file("log"), file("data"), origin("a"), 7, Options::default()).unwrap())
}

#[test]
fn what_came_to_light_of_branches_is_on_disk_with_the_next_write_and_gone_when_it_was_believed() {
    let directory = tempfile::tempdir().unwrap();
    let (me, peer) = (origin("a"), NodeName::parse("b").unwrap());
    let mut node = open(&directory);
    node.write(put("1", json!({}))).unwrap();
    // Nobody has written anything of these origins yet: their numbers are new, too.
    node.database.note_told(&peer, origin("c"));
    assert_eq!(node.database.behind(&me, (Sequence(1), Sequence(4))), Some(Sequence(2)));
    node.write(put("2", json!({}))).unwrap();
    drop(node);
    let mut node = open(&directory);
    assert_eq!(node.database.behind(&me, (Sequence(2), Sequence(2))), Some(Sequence(2)));
    assert_eq!(node.database.evidence(&peer, &me, 5).told, Some(origin("c")));
    node.settle_files();
    drop(node);
    let node = open(&directory);
    assert_eq!(node.database.evidence(&peer, &me, 5).told, None, "it counts once");
    assert_eq!(node.database.behind(&me, (Sequence(2), Sequence(2))), Some(Sequence(2)), "and this for ever");
}

#[test]
fn an_operation_of_another_branch_is_remembered_after_a_restart_though_nothing_of_it_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let mut twin = Node::new("c");
    twin.write(put("1", json!({"by": "one branch"}))).unwrap();
    let mut node = open(&directory);
    assert_eq!(twin.push_to(&mut node).accepted, 1);
    twin.write(put("2", json!({}))).unwrap();
    let log = twin.database.log().unwrap();
    let mut stretch = log.read(Position(1), &Vector::new(), crate::database::tests::ALL).unwrap();
    for one in &mut stretch.operations {
        one.operation.chain = Some(Chain(77));
    }
    let operations = stretch.operations.into_iter().map(|one| (one.position, one.operation)).collect();
    let (source, source_vector) = (NodeName::parse("b").unwrap(), twin.state().vector);
    let after = Position(1);
    let received = Received {
        source: source.clone(),
        source_log_id: 9,
        after,
        through: stretch.through,
        source_vector,
        stated: holdfast_core::trail::Stated::new(),
        operations,
    };
    match node.commit(vec![Request::Receive(received)]).as_slice() {
        [Answer::Receipt(receipt)] => {
            let stranger = receipt.stranger.as_ref().unwrap();
            let expected = Dot { origin: origin("c"), sequence: Sequence(2) };
            assert_eq!((&stranger.dot, stranger.misfit), (&expected, Misfit::Branch));
        }
        other => panic!("{other:?}"),
    }
    node.settle_files();
    drop(node);
    let node = open(&directory);
    assert_eq!(node.database.evidence(&source, &origin("a"), 9).met, Some((origin("c"), 9)));
    assert_eq!(node.database.evidence(&source, &origin("a"), 10).met, None, "that log is no more");
}
