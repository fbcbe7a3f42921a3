//! Poison between good operations: what is parked, what flows, and what becomes of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use holdfast_core::counter::{Amount, Increment};
use holdfast_core::json::JsonText;
use holdfast_core::members::FenceReason;
use holdfast_core::sync::message::OperationRecord;
use holdfast_core::sync::message::PushRequest;
use redb::backends::InMemoryBackend;
use serde_json::{Map, Value, json};

use super::*;
use crate::database::tests::{ALL, Node};
use crate::integrity::verify;
use crate::request::{Action, Answer, Change, Expect, Receipt, Request};

fn orders() -> CollectionName {
    CollectionName::parse("orders").unwrap()
}

fn change(id: &str, action: Action) -> Change {
    Change { collection: orders(), id: DocumentId::parse(id).unwrap(), action, expect: Expect::Any }
}

fn put(id: &str, value: u64) -> Change {
    change(id, Action::Put(JsonText::parse(&json!({"N": value, "Id": id}).to_string()).unwrap()))
}

fn add(id: &str, count: &str) -> Change {
    let increment = Increment(vec![(vec!["N".to_owned()], Amount::parse(count).unwrap())]);
    change(id, Action::Patch { merge: Map::new(), increment: Some(increment) })
}

/// What a node sends to one that knows this, as it stands in its log.
fn stretch(node: &Node, known: &Vector) -> Received {
    let stretch = node.database.log().unwrap().read(Position::START, known, ALL).unwrap();
    Received {
        source: node.origin().node,
        source_log_id: node.database.log_id(),
        after: Position::START,
        through: stretch.through,
        source_vector: node.state().vector,
        stated: holdfast_core::trail::Stated::new(),
        operations: stretch.operations.into_iter().map(|logged| (logged.position, logged.operation)).collect(),
    }
}

fn receive(node: &mut Node, received: Received) -> Receipt {
    match node.commit(vec![Request::Receive(received)]).pop() {
        Some(Answer::Receipt(receipt)) => receipt,
        other => panic!("{other:?}"),
    }
}

/// Spoils an operation of a stretch as a broken peer would send it.
fn spoil(received: &mut Received, at: usize, name: &str, value: Value) {
    let (position, operation) = &received.operations[at];
    let mut record = serde_json::to_value(OperationRecord::new(operation, *position, &operation.dot.origin)).unwrap();
    record[name] = value;
    let push = json!({"SourceNodeId": "a", "SourceIncarnation": "0", "LogId": "0", "AfterLogSequence": 0,
        "ThroughLogSequence": 0, "Operations": [record]});
    let mut push: PushRequest = serde_json::from_str(&push.to_string()).unwrap();
    received.operations[at] = push.operations.remove(0).into_arrived().unwrap();
}

fn letters(node: &Node) -> Vec<(String, Cause)> {
    node.state().letters.iter().map(|letter| (letter.dot.to_string(), letter.cause)).collect()
}

fn outcome(node: &mut Node, request: Request) -> LetterOutcome {
    match node.commit(vec![request]).pop() {
        Some(Answer::Letters(outcome)) => outcome,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_sound(node: &Node) {
    let report = verify(&node.database, InMemoryBackend::new()).unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
}

#[test]
fn good_operations_flow_around_a_bad_one_which_is_not_acknowledged() {
    let (mut a, mut b) = (Node::new("a"), Node::new("b"));
    for number in 1..=4 {
        a.write(put(&format!("p{number}"), number)).unwrap();
    }
    let mut sent = stretch(&a, &Vector::new());
    spoil(&mut sent, 1, "Payload", json!(7));
    let receipt = receive(&mut b, sent);
    assert_eq!((receipt.accepted, receipt.gap, receipt.through), (4, None, Position(4)));
    assert_eq!((b.shown("p1").is_some(), b.shown("p2"), b.shown("p4").is_some()), (true, None, true));
    assert_eq!(letters(&b), [("a@0000000000000001:2".to_owned(), Cause::Invalid)]);
    let origin = a.origin();
    assert_eq!(b.state().vector.get(&origin).0, 4, "it is not asked for again");
    assert_eq!(b.state().acknowledged().get(&origin).0, 1);
    // It goes on to others as it came, and they judge for themselves.
    let mut c = Node::new("c");
    receive(&mut c, stretch(&b, &Vector::new()));
    assert_eq!(letters(&c), letters(&b));
    for node in [&b, &c] {
        assert_sound(node);
    }
    // What is tried again without anything having changed stays.
    let tried = outcome(&mut b, Request::RetryLetters(Which::All));
    assert_eq!((tried.named, tried.done, tried.failed.len()), (1, 0, 1));
    assert_eq!(b.state().letters.len(), 1);
}

#[test]
fn later_operations_on_the_document_wait_unless_they_take_all_of_it() {
    let (mut a, mut b, mut c) = (Node::new("a"), Node::new("b"), Node::new("c"));
    a.write(put("x", 1)).unwrap();
    c.write(put("x", 9)).unwrap();
    let mut sent = stretch(&a, &Vector::new());
    spoil(&mut sent, 0, "Payload", json!("[]"));
    receive(&mut b, sent);
    // What only adds to it waits. What was made without having seen it does not: it stands beside it, in any order.
    receive(&mut b, stretch(&c, &Vector::new()));
    a.write(add("x", "5")).unwrap();
    let known = b.state().vector;
    receive(&mut b, stretch(&a, &known));
    let causes: Vec<Cause> = letters(&b).into_iter().map(|(_, cause)| cause).collect();
    assert_eq!((causes, b.shown("x")), (vec![Cause::Invalid, Cause::Behind], c.shown("x")));
    assert_sound(&b);
    // A write that has seen all of it makes it void, here as everywhere.
    receive(&mut a, stretch(&c, &Vector::new()));
    a.write(put("x", 3)).unwrap();
    let known = b.state().vector;
    receive(&mut b, stretch(&a, &known));
    assert_eq!((letters(&b).len(), b.shown("x")), (0, a.shown("x")));
    assert_eq!(b.state().acknowledged(), b.state().vector);
    assert_sound(&b);
}

#[test]
fn a_transaction_is_parked_whole_and_settled_whole() {
    let (mut a, mut b) = (Node::new("a"), Node::new("b"));
    b.write(put("y", 7)).unwrap();
    let known = a.state().vector;
    receive(&mut a, stretch(&b, &known));
    a.commit(vec![Request::Together(vec![put("x", 1), put("y", 2), put("z", 3)])]);
    a.write(put("free", 4)).unwrap();
    let mut sent = stretch(&a, &b.state().vector);
    spoil(&mut sent, 2, "Group", json!("?"));
    receive(&mut b, sent);
    let causes: Vec<Cause> = letters(&b).into_iter().map(|(_, cause)| cause).collect();
    assert_eq!(causes, [Cause::Transaction, Cause::Transaction, Cause::Invalid]);
    assert_eq!((b.shown("x"), b.shown("z"), b.shown("free").is_some()), (None, None, true));
    let first = b.state().letters.iter().next().unwrap().id;
    let settled = outcome(&mut b, Request::SettleLetters(Which::Id(first)));
    assert_eq!((settled.named, settled.done), (1, 3));
    assert_sound(&b);
    // Both end with what was shown where it was settled.
    let known = a.state().vector;
    receive(&mut a, stretch(&b, &known));
    for id in ["x", "y", "z", "free"] {
        assert_eq!(a.shown(id), b.shown(id), "{id}");
    }
    assert!(a.shown("y").unwrap().contains('7') && a.shown("x").is_none());
    assert_eq!(a.database.view().unwrap().digest().unwrap(), b.database.view().unwrap().digest().unwrap());
}

#[test]
fn what_holds_by_now_is_taken_up_and_those_behind_it_follow() {
    let (mut a, mut b, mut c) = (Node::new("a"), Node::new("b"), Node::new("c"));
    c.write(put("first", 1)).unwrap();
    receive(&mut a, stretch(&c, &Vector::new()));
    a.write(put("x", 1)).unwrap();
    a.write(add("x", "2")).unwrap();
    // The sender says that it does not know what the operation has seen.
    let mut sent = stretch(&a, &c.state().vector);
    sent.source_vector = [(a.origin(), a.state().vector.get(&a.origin()))].into_iter().collect();
    assert_eq!(receive(&mut b, sent).accepted, 2);
    assert_eq!(letters(&b)[0].1, Cause::ImpossibleContext);
    assert_eq!((letters(&b).len(), b.shown("x")), (2, None));
    let tried = outcome(&mut b, Request::RetryLetters(Which::All));
    assert_eq!((tried.done, tried.failed.len()), (0, 2), "{tried:?}");
    receive(&mut b, stretch(&c, &Vector::new()));
    let first = b.state().letters.iter().next().unwrap().dot.clone();
    let tried = outcome(&mut b, Request::RetryLetters(Which::Dot(first)));
    assert!(tried.done >= 1, "{tried:?}");
    outcome(&mut b, Request::RetryLetters(Which::All));
    assert_eq!((letters(&b).len(), b.shown("x")), (0, a.shown("x")));
    assert_sound(&b);
    assert_eq!(a.database.view().unwrap().digest().unwrap(), b.database.view().unwrap().digest().unwrap());
}

#[test]
fn the_log_keeps_what_is_parked_and_a_write_here_has_not_seen_it() {
    let (mut a, mut b) = (Node::new("a"), Node::new("b"));
    a.write(put("x", 1)).unwrap();
    let mut sent = stretch(&a, &Vector::new());
    spoil(&mut sent, 0, "Kind", json!("hologram"));
    receive(&mut b, sent);
    assert_eq!(letters(&b)[0].1, Cause::UnknownKind);
    let written = b.write(put("x", 2)).unwrap();
    assert!(written.operations[0].operation.context.is_empty(), "{written:?}");
    assert_eq!(b.state().letters.len(), 1, "a write that has not seen it does not make it void");
    let limit = crate::commit::PruneLimit { through: Position(9), older_than: None, entries_max: 100 };
    assert_eq!(b.prune(limit).entries, 0);
}

#[test]
fn a_letter_is_not_taken_up_beside_what_was_forgotten_meanwhile() {
    let (mut a, mut b, mut c) = (Node::new("a"), Node::new("b"), Node::new("c"));
    c.write(put("first", 1)).unwrap();
    receive(&mut a, stretch(&c, &Vector::new()));
    a.write(put("x", 1)).unwrap();
    let mut sent = stretch(&a, &c.state().vector);
    sent.source_vector = [(a.origin(), a.state().vector.get(&a.origin()))].into_iter().collect();
    receive(&mut b, sent);
    assert_eq!(letters(&b)[0].1, Cause::ImpossibleContext);
    // Its writer is counted out, and nobody waits for it any more.
    b.write(put("gone", 1)).unwrap();
    b.write(change("gone", Action::Delete)).unwrap();
    b.commit(vec![Request::Member { member: a.origin(), fence: Some(FenceReason::Forced) }]);
    b.commit(vec![Request::GiveUp { tombstones_before: Millis(u64::MAX), documents_max: 9 }]);
    assert!(!b.state().graves.is_empty());
    let mut first = stretch(&c, &Vector::new());
    first.source_vector.merge(&b.state().vector);
    first.operations[0].1.context = b.state().vector;
    assert_eq!(receive(&mut b, first).accepted, 1);
    let tried = outcome(&mut b, Request::RetryLetters(Which::All));
    assert_eq!((tried.done, letters(&b).len()), (0, 1));
    assert!(tried.failed.values().all(|reason| reason.contains("forgotten meanwhile")), "{tried:?}");
}
