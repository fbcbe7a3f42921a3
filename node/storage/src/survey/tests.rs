//! Two databases in memory compare themselves, before, while and after they exchange.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use holdfast_core::id::{CollectionName, DocumentId, NodeName};
use holdfast_core::json::JsonText;
use holdfast_core::sync::comparison::{Outcome, compare};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Origin, Position, Vector};
use redb::backends::InMemoryBackend;

use crate::commit::Moment;
use crate::database::{Database, Opened, Options};
use crate::log::ReadLimit;
use crate::request::{Action, Change, Expect, Received, Request};

fn open(name: &str) -> Opened {
    let origin = Origin { node: NodeName::parse(name).unwrap(), incarnation: 1 };
    Database::open("shop", InMemoryBackend::new(), InMemoryBackend::new(), origin, 7, Options::default()).unwrap()
}

fn commit(node: &mut Opened, request: Request) {
    let mut bits = 0;
    let mut random = || {
        bits += 1;
        bits
    };
    node.writer.commit(&mut Moment { now: Millis(5), random: &mut random }, vec![request]).unwrap();
}

fn put(node: &mut Opened, id: &str) {
    let action = Action::Put(JsonText::parse(&format!("{{\"_id\":\"{id}\"}}")).unwrap());
    let (collection, id) = (CollectionName::parse("tea").unwrap(), DocumentId::parse(id).unwrap());
    commit(node, Request::Each(vec![Change { collection, id, action, expect: Expect::Any }]));
}

fn send(from: &Opened, to: &mut Opened) {
    let limit = ReadLimit { operations: usize::MAX, bytes: usize::MAX };
    let known = to.writer.state().vector.clone();
    let stretch = from.database.log().unwrap().read(Position::START, &known, limit).unwrap();
    let received = Received {
        source: from.writer.origin().node.clone(),
        source_log_id: 7,
        source_vector: from.writer.state().vector.clone(),
        stated: holdfast_core::trail::Stated::new(),
        after: Position::START,
        through: stretch.through,
        operations: stretch.operations.into_iter().map(|logged| (logged.position, logged.operation)).collect(),
    };
    commit(to, Request::Receive(received));
}

/// What `left` says of `right` when each has confirmed the other's log up to a position.
fn compared(left: &Opened, right: &Opened, confirmed: u64) -> Outcome {
    let known = left.writer.state().vector.meet(&right.writer.state().vector);
    let views = [left, right].map(|node| node.database.view().unwrap());
    let mut sides = views.each_ref().map(|view| view.survey(Position(confirmed), &known).unwrap().side);
    for (view, (ours, theirs)) in views.iter().zip([(0, 1), (1, 0)]) {
        let keys: Vec<_> = sides[theirs].changed.iter().flatten().map(|(key, _)| key.clone()).collect();
        sides[ours].asked = view.parts(keys.iter()).unwrap();
    }
    compare(&sides[0], &sides[1])
}

#[test]
fn databases_that_both_went_on_writing_are_equal_but_for_what_is_on_its_way() {
    let (mut left, mut right) = (open("left"), open("right"));
    for id in ["a", "b", "c"] {
        put(&mut left, id);
    }
    send(&left, &mut right);
    assert_eq!(compared(&left, &right, 3), Outcome::Equal { left_out: 0 });
    put(&mut left, "a");
    put(&mut right, "b");
    put(&mut right, "d");
    assert_eq!(compared(&left, &right, 3), Outcome::Equal { left_out: 3 });
    // Positions that are not known cost time and change nothing.
    assert_eq!(compared(&left, &right, 0), Outcome::Equal { left_out: 3 });
    send(&left, &mut right);
    send(&right, &mut left);
    assert_eq!(compared(&left, &right, 0), Outcome::Equal { left_out: 0 });
}

#[test]
fn what_a_peer_lacks_of_the_log_is_counted_and_dated() {
    let mut left = open("left");
    let nothing = left.database.log().unwrap().backlog(Position::START, &Vector::new(), &Vector::new()).unwrap();
    assert_eq!((nothing.operations, nothing.bytes, nothing.oldest), (0, 0, None));
    for id in ["a", "b", "c", "d"] {
        put(&mut left, id);
    }
    let ours = left.writer.state().vector.clone();
    let half: Vector = ours.iter().map(|(origin, _)| (origin.clone(), holdfast_core::vector::Sequence(2))).collect();
    let log = left.database.log().unwrap();
    let all = log.backlog(Position::START, &Vector::new(), &ours).unwrap();
    let rest = log.backlog(Position(1), &half, &ours).unwrap();
    assert_eq!((all.operations, rest.operations, rest.oldest), (4, 2, Some(Millis(5))));
    assert!(rest.bytes > 0 && rest.bytes < all.bytes, "{rest:?} of {all:?}");
    assert_eq!(log.backlog(Position(4), &ours, &ours).unwrap().operations, 0);
}
