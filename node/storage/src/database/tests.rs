//! A database as its users see it: written, read, reopened, synced with another.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_core::counter::Increment;
use holdfast_core::error::Refusal;
use holdfast_core::id::{CollectionName, DocumentId, NodeName};
use holdfast_core::json::JsonText;
use holdfast_core::sync::forwarding::Forwarding;
use holdfast_core::time::Millis;
use holdfast_core::vector::{Origin, Position, Vector};
use redb::backends::{FileBackend, InMemoryBackend};
use serde_json::{Value, json};

use crate::commit::{Moment, Writer};
use crate::database::{Database, Opened, Options};
use crate::integrity::verify;
use crate::log::ReadLimit;
use crate::request::{Action, Answer, Change, Expect, Received, Request, Written};

pub(crate) const ALL: ReadLimit = ReadLimit { operations: usize::MAX, bytes: usize::MAX };

pub(crate) struct Node {
    pub(crate) database: Database,
    writer: Writer,
    pub(crate) now: Arc<AtomicU64>,
}

impl Node {
    pub(crate) fn new(name: &str) -> Self {
        let origin = Origin { node: NodeName::parse(name).unwrap(), incarnation: 1 };
        let opened =
            Database::open("shop", InMemoryBackend::new(), InMemoryBackend::new(), origin, 7, Options::default());
        Self::with(opened.unwrap())
    }

    pub(crate) fn with(opened: Opened) -> Self {
        Self { database: opened.database, writer: opened.writer, now: Arc::new(AtomicU64::new(1_000)) }
    }

    pub(crate) fn commit(&mut self, requests: Vec<Request>) -> Vec<Answer> {
        let now = Millis(self.now.fetch_add(1, Ordering::Relaxed));
        let mut random = {
            let mut state = u128::from(now.0);
            move || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state
            }
        };
        self.writer.commit(&mut Moment { now, random: &mut random }, requests).unwrap()
    }

    pub(crate) fn state(&self) -> crate::record::progress::DataState {
        self.writer.state().clone()
    }

    pub(crate) fn origin(&self) -> Origin {
        self.writer.origin().clone()
    }

    pub(crate) fn prune(&mut self, limit: crate::commit::PruneLimit) -> crate::commit::Pruned {
        self.writer.prune(limit).unwrap()
    }

    pub(crate) fn write(&mut self, change: Change) -> Result<Written, Refusal> {
        match self.commit(vec![Request::Each(vec![change])]).pop() {
            Some(Answer::Each(mut results)) => results.pop().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn shown(&self, id: &str) -> Option<String> {
        let document = self.database.view().unwrap().document(&collection(), &DocumentId::parse(id).unwrap());
        document.unwrap().and_then(|document| document.text).map(|text| String::from_utf8(text).unwrap())
    }

    /// Sends everything the other lacks, as a push does.
    pub(crate) fn push_to(&self, other: &mut Self) -> crate::request::Receipt {
        let known = other.writer.state().vector.clone();
        let stretch = self.database.log().unwrap().read(Position::START, &known, ALL).unwrap();
        let received = Received {
            source: self.writer.origin().node.clone(),
            source_log_id: self.database.log_id(),
            after: Position::START,
            through: stretch.through,
            source_vector: Vector::new(),
            stated: holdfast_core::trail::Stated::new(),
            operations: stretch.operations.into_iter().map(|logged| (logged.position, logged.operation)).collect(),
        };
        match other.commit(vec![Request::Receive(received)]).pop() {
            Some(Answer::Receipt(receipt)) => receipt,
            answer => panic!("{answer:?}"),
        }
    }

    /// Does one piece of the work on indexes.
    pub(crate) fn work(&mut self, limit: crate::indexes::IndexLimit) -> crate::indexes::IndexStep {
        self.writer.work_on_indexes(Millis(self.now.load(Ordering::Relaxed)), limit).unwrap()
    }

    /// Syncs everything, as in a quiet moment.
    pub(crate) fn settle_files(&mut self) {
        self.writer.settle().unwrap();
    }

    pub(crate) fn assert_sound(&self) {
        let report = verify(&self.database, InMemoryBackend::new()).unwrap();
        assert_eq!(report.findings, Vec::<String>::new());
    }
}

fn collection() -> CollectionName {
    CollectionName::parse("orders").unwrap()
}

pub(crate) fn change(id: &str, action: Action) -> Change {
    Change { collection: collection(), id: DocumentId::parse(id).unwrap(), action, expect: Expect::Any }
}

pub(crate) fn put(id: &str, value: Value) -> Change {
    change(id, Action::Put(JsonText::parse(&value.to_string()).unwrap()))
}

pub(crate) fn patch(id: &str, merge: Value, increment: Option<Value>) -> Change {
    let increment = increment.map(|value| Increment::parse(value.as_object().unwrap()).unwrap());
    change(id, Action::Patch { merge: merge.as_object().unwrap().clone(), increment })
}

#[test]
fn a_document_is_written_patched_counted_and_deleted() {
    let mut node = Node::new("a");
    let first = node.write(put("1", json!({"Id": "1", "stock": 5}))).unwrap();
    assert!(!first.existed);
    node.write(patch("1", json!({"name": "tea"}), Some(json!({"stock": -2})))).unwrap();
    assert_eq!(node.shown("1").unwrap(), r#"{"Id":"1","stock":3,"name":"tea"}"#);
    node.write(patch("2", json!({}), Some(json!({"sold": 1})))).unwrap();
    assert_eq!(node.shown("2").unwrap(), r#"{"sold":1,"Id":"2"}"#);
    node.write(change("1", Action::Delete)).unwrap();
    assert_eq!(node.shown("1"), None);
    assert!(matches!(node.write(change("1", Action::Delete)), Err(Refusal::NotFound { .. })));
    let state = node.database.view().unwrap().collection(&collection()).unwrap();
    assert_eq!((state.alive, state.tombstones), (1, 1));
    node.assert_sound();
}

#[test]
fn expectations_are_judged_against_the_batch_so_far() {
    let mut node = Node::new("a");
    let written = node.write(put("1", json!({"n": 1}))).unwrap();
    let parent = |version: &str| Change { expect: Expect::Parent(version.to_owned()), ..put("1", json!({"n": 2})) };
    let version = written.version.to_string();
    let answers = node.commit(vec![Request::Each(vec![parent(&version), parent(&version)])]);
    let Some(Answer::Each(results)) = answers.into_iter().next() else { panic!() };
    assert!(results[0].is_ok(), "the first of two equal expectations holds");
    assert!(matches!(results[1], Err(Refusal::VersionMismatch { .. })), "the second finds another version");
    let absent = Change { expect: Expect::Absent, ..put("1", json!({})) };
    assert!(matches!(node.write(absent), Err(Refusal::PreconditionFailed { .. })));
}

#[test]
fn a_refused_transaction_leaves_no_trace() {
    let mut node = Node::new("a");
    node.write(put("1", json!({"n": 1}))).unwrap();
    let position = node.writer.state().position;
    let answers = node.commit(vec![Request::Together(vec![put("2", json!({})), change("9", Action::Delete)])]);
    assert!(matches!(answers[0], Answer::Together(Err((1, Refusal::NotFound { .. })))));
    assert_eq!(node.writer.state().position, position);
    assert_eq!(node.shown("2"), None);
    let answers = node.commit(vec![Request::Together(vec![put("2", json!({"a": 1})), change("1", Action::Delete)])]);
    let Answer::Together(Ok(written)) = &answers[0] else { panic!() };
    let groups: Vec<_> = written.iter().map(|one| one.operations[0].operation.group.unwrap()).collect();
    assert_eq!((groups[0].index, groups[1].index, groups[1].count), (0, 1, 2));
    assert_eq!(groups[0].id, groups[1].id);
    node.assert_sound();
}

#[test]
fn a_document_may_not_grow_beyond_the_limit_by_whatever_way_it_is_written() {
    let origin = Origin { node: NodeName::parse("a").unwrap(), incarnation: 1 };
    let options = Options { document_bytes_max: 100, ..Options::default() };
    let opened = Database::open("shop", InMemoryBackend::new(), InMemoryBackend::new(), origin, 7, options).unwrap();
    let mut node = Node::with(opened);
    let long = "x".repeat(100);
    node.write(put("d", json!({"n": 1}))).unwrap();
    for change in [
        put("d", json!({"t": long})),
        patch("d", json!({"t": long}), None),
        patch("d", json!({"t": long}), Some(json!({"n": 1}))),
    ] {
        assert!(matches!(node.write(change), Err(Refusal::TooLarge { limit: 100, .. })));
    }
    let together = vec![put("e", json!({})), patch("d", json!({"t": long}), None)];
    let answer = node.commit(vec![Request::Together(together)]).pop();
    assert!(matches!(answer, Some(Answer::Together(Err((1, Refusal::TooLarge { .. }))))), "{answer:?}");
    node.write(patch("d", json!({}), Some(json!({"n": 1})))).unwrap();
    assert_eq!((node.shown("d").as_deref(), node.shown("e")), (Some(r#"{"n":2}"#), None));
    // What a peer wrote is larger than what may be written here, and is taken all the same.
    let mut other = Node::new("b");
    other.write(put("f", json!({"t": long}))).unwrap();
    other.push_to(&mut node);
    assert!(node.shown("f").is_some_and(|text| text.len() > 100));
}

#[test]
fn two_nodes_that_exchange_everything_hold_the_same() {
    let (mut a, mut b) = (Node::new("a"), Node::new("b"));
    a.write(put("1", json!({"Id": "1", "n": 10}))).unwrap();
    assert_eq!(a.push_to(&mut b).accepted, 1);
    a.write(patch("1", json!({}), Some(json!({"n": 1})))).unwrap();
    b.write(patch("1", json!({}), Some(json!({"n": 2})))).unwrap();
    b.write(put("2", json!({"by": "b"}))).unwrap();
    a.write(put("2", json!({"by": "a"}))).unwrap();
    a.write(change("2", Action::Delete)).unwrap();
    a.push_to(&mut b);
    let receipt = b.push_to(&mut a);
    assert_eq!(b.push_to(&mut a).accepted, 0, "a second push changes nothing");
    assert_eq!((receipt.accepted, receipt.conflicts), (2, 1));
    assert_eq!(a.shown("1").unwrap(), r#"{"Id":"1","n":13}"#);
    let digest = |node: &Node| node.database.view().unwrap().digest().unwrap();
    assert_eq!(digest(&a), digest(&b));
    assert_eq!(a.writer.state().vector, b.writer.state().vector);
    assert_eq!(a.writer.state().conflicted, 1);
    a.assert_sound();
    b.assert_sound();
}

#[test]
fn a_gap_and_a_cut_transaction_are_not_taken() {
    let (mut a, mut b) = (Node::new("a"), Node::new("b"));
    for n in 0..3 {
        a.write(put(&n.to_string(), json!({"n": n}))).unwrap();
    }
    a.commit(vec![Request::Together(vec![put("x", json!({})), put("y", json!({}))])]);
    let stretch = a.database.log().unwrap().read(Position::START, &Vector::new(), ALL).unwrap();
    let all: Vec<_> = stretch.operations.into_iter().map(|logged| (logged.position, logged.operation)).collect();
    let send = |b: &mut Node, operations: &[(Position, _)]| {
        let received = Received {
            source: NodeName::parse("a").unwrap(),
            source_log_id: 7,
            after: Position::START,
            through: Position(99),
            source_vector: Vector::new(),
            stated: holdfast_core::trail::Stated::new(),
            operations: operations.to_vec(),
        };
        match b.commit(vec![Request::Receive(received)]).pop() {
            Some(Answer::Receipt(receipt)) => receipt,
            answer => panic!("{answer:?}"),
        }
    };
    let receipt = send(&mut b, &all[1..]);
    assert_eq!((receipt.accepted, receipt.through), (0, Position(0)));
    assert!(receipt.gap.is_some());
    let receipt = send(&mut b, &all[..4]);
    assert_eq!((receipt.accepted, receipt.through), (3, Position(3)), "the cut transaction waits for its rest");
}

#[test]
fn a_context_that_claims_the_future_is_not_taken() {
    // An operation that claims to have seen writes which this node has yet to make would make them void.
    let (mut a, mut b) = (Node::new("a"), Node::new("b"));
    a.write(put("1", json!({"by": "a"}))).unwrap();
    let stretch = a.database.log().unwrap().read(Position::START, &Vector::new(), ALL).unwrap();
    let mut operation = stretch.operations[0].operation.clone();
    operation.context.observe(b.writer.origin(), holdfast_core::vector::Sequence(1_000));
    let received = Received {
        source: NodeName::parse("a").unwrap(),
        source_log_id: 7,
        after: Position::START,
        through: Position(1),
        source_vector: Vector::new(),
        stated: holdfast_core::trail::Stated::new(),
        operations: vec![(Position(1), operation)],
    };
    let Some(Answer::Receipt(receipt)) = b.commit(vec![Request::Receive(received)]).pop() else { panic!() };
    assert_eq!((receipt.accepted, receipt.through), (0, Position::START));
    assert!(receipt.gap.is_some());
    b.write(put("1", json!({"by": "b"}))).unwrap();
    assert_eq!(b.shown("1").unwrap(), r#"{"by":"b"}"#);
}

#[test]
fn history_follows_a_document_back() {
    let mut node = Node::new("a");
    for n in 0..4 {
        node.write(put("1", json!({"n": n}))).unwrap();
        node.write(put("other", json!({"n": n}))).unwrap();
    }
    let view = node.database.view().unwrap();
    let document = view.document(&collection(), &DocumentId::parse("1").unwrap()).unwrap().unwrap();
    let history = node.database.log().unwrap().history(document.position, 100).unwrap();
    let positions: Vec<u64> = history.iter().map(|logged| logged.position.0).collect();
    assert_eq!(positions, [7, 5, 3, 1]);
}

#[test]
fn pages_follow_each_other_and_pass_over_the_deleted() {
    let mut node = Node::new("a");
    for n in 0..10 {
        node.write(put(&format!("d{n}"), json!({"n": n}))).unwrap();
    }
    node.write(change("d4", Action::Delete)).unwrap();
    let view = node.database.view().unwrap();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = view.page(&collection(), after.as_ref(), 0, 4).unwrap();
        seen.extend(page.documents.iter().map(|(id, _)| id.to_string()));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, ["d0", "d1", "d2", "d3", "d5", "d6", "d7", "d8", "d9"]);
    assert_eq!(view.page(&collection(), None, 8, 5).unwrap().documents.len(), 1);
}

#[test]
fn a_lost_data_file_is_made_again_from_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let origin = Origin { node: NodeName::parse("a").unwrap(), incarnation: 1 };
    let file = |name: &str| {
        let path = directory.path().join(name);
        let file = std::fs::File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        FileBackend::new(file).unwrap()
    };
    let open =
        |data: &str| Database::open("shop", file("log"), file(data), origin.clone(), 7, Options::default()).unwrap();
    let mut node = Node::with(open("data"));
    for n in 0..300 {
        node.write(put(&n.to_string(), json!({"n": n}))).unwrap();
    }
    node.write(patch("7", json!({}), Some(json!({"n": 5})))).unwrap();
    let digest = node.database.view().unwrap().digest().unwrap();
    drop(node);
    let opened = open("another");
    assert_eq!(opened.replayed, 301);
    let node = Node::with(opened);
    assert_eq!(node.database.view().unwrap().digest().unwrap(), digest);
    node.assert_sound();
}

#[test]
fn a_note_does_not_complete_a_stretch_in_which_an_operation_waits() {
    // An operation that its author was to bring itself waited before a note: the peer was told that nothing was left
    // out up to the note, and was never sent it when its author died.
    let (mut a, mut far) = (Node::new("a"), Node::new("far"));
    far.write(put("waits", json!({}))).unwrap();
    far.push_to(&mut a);
    let view = far.database.view().unwrap();
    let (orders, id) = (CollectionName::parse("orders").unwrap(), DocumentId::parse("waits").unwrap());
    let (state, _) = view.state_of(&orders, &id).unwrap().unwrap();
    a.commit(vec![Request::States(vec![(orders, DocumentId::parse("noted").unwrap(), state)])]);
    a.write(put("own", json!({}))).unwrap();
    let mut forwarding = Forwarding::default();
    let peer: Vector = Vector::new();
    forwarding.meet(&[far.origin().node].into_iter().collect(), &a.origin().node);
    forwarding.grow(Millis(0), a.state().position, Millis(0), 0);
    let log = a.database.log().unwrap();
    let stretch = log.read_for(Position::START, &forwarding.for_push(peer.clone()), ALL).unwrap();
    assert_eq!((stretch.through, stretch.looked, stretch.operations.len()), (Position::START, Position(3), 1));
    forwarding.ripen_all();
    let stretch = log.read_for(Position::START, &forwarding.for_push(peer), ALL).unwrap();
    assert_eq!((stretch.through, stretch.operations.len()), (Position(3), 2));
}
