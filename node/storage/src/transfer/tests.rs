//! Databases that are made anew from a peer's states.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use holdfast_core::counter::{Amount, Increment};
use holdfast_core::id::{CollectionName, DocumentId, NodeName};
use holdfast_core::json::JsonText;
use holdfast_core::sync::admission::Transfer as Kind;
use holdfast_core::time::Millis;
use holdfast_core::vector::{Dot, Origin, Position, Vector};
use redb::backends::InMemoryBackend;
use serde_json::{Map, Value, json};

use crate::commit::{Moment, PruneLimit};
use crate::database::{Database, Opened, Options};
use crate::integrity::verify;
use crate::log::ReadLimit;
use crate::request::{Action, Answer, Change, Expect, Received, Request};
use crate::transfer::page::{decode_page, encode_page};
use crate::transfer::{Carried, Source, Transfer, adoption_of};

const SMALL: ReadLimit = ReadLimit { operations: 3, bytes: usize::MAX };
const ALL: ReadLimit = ReadLimit { operations: usize::MAX, bytes: usize::MAX };

struct Node {
    opened: Opened,
    clock: u64,
}

fn origin(name: &str, incarnation: u64) -> Origin {
    Origin { node: NodeName::parse(name).unwrap(), incarnation }
}

fn open(name: &str, incarnation: u64) -> Node {
    let files = || InMemoryBackend::new();
    let opened = Database::open("shop", files(), files(), origin(name, incarnation), incarnation, Options::default());
    Node { opened: opened.unwrap(), clock: incarnation * 1_000_000 }
}

fn orders() -> CollectionName {
    CollectionName::parse("orders").unwrap()
}

impl Node {
    fn commit(&mut self, request: Request) -> Answer {
        self.clock += 1;
        let mut state = u128::from(self.clock);
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state
        };
        let mut moment = Moment { now: Millis(self.clock), random: &mut random };
        self.opened.writer.commit(&mut moment, vec![request]).unwrap().pop().unwrap()
    }

    fn change(&mut self, id: &str, action: Action) {
        let id = DocumentId::parse(id).unwrap();
        let change = Change { collection: orders(), id, action, expect: Expect::Any };
        let Answer::Each(results) = self.commit(Request::Each(vec![change])) else { panic!() };
        for result in results {
            result.unwrap();
        }
    }

    fn put(&mut self, id: &str, n: u64) {
        self.change(id, Action::Put(JsonText::parse(&json!({"n": n, "Id": id}).to_string()).unwrap()));
    }

    fn add(&mut self, id: &str, n: i128) {
        let amount = Amount::from_billionths(n * 1_000_000_000);
        let increment = Some(Increment(vec![(vec!["n".to_owned()], amount)]));
        self.change(id, Action::Patch { merge: Map::new(), increment });
    }

    fn shown(&self, id: &str) -> Option<Value> {
        let view = self.opened.database.view().unwrap();
        let document = view.document(&orders(), &DocumentId::parse(id).unwrap()).unwrap()?;
        Some(serde_json::from_slice::<Value>(&document.text?).unwrap()["n"].clone())
    }

    fn vector(&self) -> Vector {
        self.opened.writer.state().vector.clone()
    }

    /// Sends another what it lacks, as operations.
    fn push_to(&self, other: &mut Self) -> crate::request::Receipt {
        let stretch = self.opened.database.log().unwrap().read(Position::START, &other.vector(), ALL).unwrap();
        let received = Received {
            source: self.opened.writer.origin().node.clone(),
            source_log_id: self.opened.database.log_id(),
            after: Position::START,
            through: stretch.through,
            source_vector: self.vector(),
            operations: stretch.operations.into_iter().map(|logged| (logged.position, logged.operation)).collect(),
        };
        match other.commit(Request::Receive(received)) {
            Answer::Receipt(receipt) => receipt,
            answer => panic!("{answer:?}"),
        }
    }

    /// Tombstones that all members know go, whatever their age.
    fn give_up(&mut self) -> u64 {
        match self.commit(Request::GiveUp { tombstones_before: Millis(u64::MAX), documents_max: 1_000 }) {
            Answer::GivenUp(given_up) => given_up.tombstones,
            answer => panic!("{answer:?}"),
        }
    }

    fn prune(&mut self) {
        let limit = PruneLimit { through: Position(u64::MAX), older_than: None, entries_max: u64::MAX };
        self.opened.writer.prune(limit).unwrap();
    }

    /// This node made anew from another's states.
    fn made_anew_from(self, other: &Self, kind: Kind, branches: Vec<Dot>) -> (Self, Carried) {
        let me = self.opened.writer.origin().clone();
        let incarnation = if kind == Kind::Rebase { me.incarnation + 100 } else { me.incarnation };
        let files = (InMemoryBackend::new(), InMemoryBackend::new());
        let source = Source { node: other.opened.writer.origin().node.clone(), log_id: other.opened.database.log_id() };
        let next = origin(me.node.as_str(), incarnation);
        let transfer = Transfer::open("shop", files, me, 1_000 + incarnation, Options::default(), &source);
        let mut transfer = transfer.unwrap().unwrap();
        let mut random = {
            let mut state = u128::from(self.clock) << 64;
            move || {
                state += 7;
                state
            }
        };
        let mut moment = Moment { now: Millis(self.clock), random: &mut random };
        let view = other.opened.database.view().unwrap();
        loop {
            let page = view.states_after(transfer.cursor(), SMALL).unwrap();
            let has_more = page.has_more;
            transfer.take(&mut moment, decode_page(&encode_page(&page)).unwrap()).unwrap();
            if !has_more {
                break;
            }
        }
        let adoption = adoption_of(&view).unwrap();
        let (opened, carried) =
            transfer.finish(&mut moment, adoption, &self.opened.database, &next, kind, branches).unwrap();
        (Node { opened, clock: self.clock }, carried)
    }

    fn assert_sound(&self) {
        let report = verify(&self.opened.database, InMemoryBackend::new()).unwrap();
        assert_eq!(report.findings, Vec::<String>::new());
    }
}

fn assert_equal(a: &Node, b: &Node) {
    let digest = |node: &Node| node.opened.database.view().unwrap().digest().unwrap();
    assert_eq!(a.vector(), b.vector());
    assert_eq!(digest(a), digest(b));
    a.assert_sound();
    b.assert_sound();
}

#[test]
fn a_new_node_begins_from_a_pruned_log() {
    let mut a = open("a", 1);
    (0..10).for_each(|n| a.put(&format!("o-{n}"), n));
    a.change("o-3", Action::Delete);
    a.add("o-4", 5);
    a.prune();
    assert!(!Vector::new().covers_all(&a.opened.database.log().unwrap().floor().unwrap()));
    let (mut b, carried) = open("b", 2).made_anew_from(&a, Kind::Merge, Vec::new());
    assert_eq!(carried, Carried::default());
    assert_equal(&a, &b);
    assert_eq!((b.shown("o-3"), b.shown("o-4")), (None, Some(json!(9))));
    // From here on operations do.
    b.put("o-1", 100);
    a.put("o-2", 200);
    b.push_to(&mut a);
    a.push_to(&mut b);
    assert_equal(&a, &b);
}

#[test]
fn what_a_late_member_wrote_meanwhile_keeps_its_name() {
    let (mut a, mut b) = (open("a", 1), open("b", 2));
    a.put("both", 1);
    a.push_to(&mut b);
    b.put("both", 2);
    b.put("mine", 3);
    b.add("mine", 4);
    a.put("both", 5);
    (0..5).for_each(|n| a.put(&format!("o-{n}"), n));
    a.prune();
    let before = b.vector();
    let (b, carried) = b.made_anew_from(&a, Kind::Merge, Vec::new());
    assert_eq!((carried.kept, carried.reissued), (3, 0));
    assert!(b.vector().covers_all(&before));
    b.push_to(&mut a);
    assert_equal(&a, &b);
    assert_eq!(a.shown("mine"), Some(json!(7)));
}

#[test]
fn a_returned_node_does_not_bring_back_what_was_deleted_and_loses_nothing_it_wrote() {
    let (mut a, mut b) = (open("a", 1), open("b", 2));
    a.put("gone", 1);
    a.put("kept", 1);
    a.push_to(&mut b);
    a.change("gone", Action::Delete);
    assert_eq!(a.give_up(), 1, "nobody else is a member");
    b.put("kept", 2);
    b.put("new", 3);
    b.add("kept", 10);
    let receipt = b.push_to(&mut a);
    assert_eq!(receipt.accepted, 0, "it has not seen what was forgotten");
    assert!(receipt.stranger.is_some());
    let (b, carried) = b.made_anew_from(&a, Kind::Rebase, Vec::new());
    assert_eq!((carried.kept, carried.reissued), (0, 3));
    let receipt = b.push_to(&mut a);
    assert_eq!(receipt.stranger, None);
    assert_equal(&a, &b);
    assert_eq!((a.shown("gone"), a.shown("kept"), a.shown("new")), (None, Some(json!(12)), Some(json!(3))));
}

#[test]
fn an_operation_written_again_by_two_nodes_counts_once() {
    let (mut a, mut b, mut c) = (open("a", 1), open("b", 2), open("c", 3));
    a.put("x", 1);
    a.put("gone", 1);
    a.push_to(&mut b);
    b.push_to(&mut c);
    b.add("x", 10);
    b.push_to(&mut c);
    a.change("gone", Action::Delete);
    a.give_up();
    let (b, _) = b.made_anew_from(&a, Kind::Rebase, Vec::new());
    let (c, _) = c.made_anew_from(&a, Kind::Rebase, Vec::new());
    b.push_to(&mut a);
    c.push_to(&mut a);
    assert_eq!(a.shown("x"), Some(json!(11)));
    let view = a.opened.database.view().unwrap();
    assert_eq!(view.state().unwrap().conflicted, 0);
}

#[test]
fn a_second_branch_of_an_origin_shows_and_is_written_again() {
    // A till is restored from a snapshot without knowing it, and goes on writing under the same numbers.
    let (mut shop, mut till) = (open("shop", 1), open("till", 2));
    till.put("x", 1);
    till.push_to(&mut shop);
    let mut restored = open("till", 2);
    till.push_to(&mut restored);
    till.put("before", 1);
    till.push_to(&mut shop);
    restored.clock += 500;
    (0..3).for_each(|n| restored.put(&format!("after-{n}"), n));
    restored.add("x", 5);
    let receipt = restored.push_to(&mut shop);
    assert_eq!((receipt.accepted, receipt.gap), (0, None));
    let stranger = receipt.stranger.unwrap().dot;
    let fork = Dot { sequence: holdfast_core::vector::Sequence(2), ..stranger };
    let (restored, carried) = restored.made_anew_from(&shop, Kind::Rebase, vec![fork]);
    assert_eq!(carried.reissued, 4);
    restored.push_to(&mut shop);
    assert_equal(&shop, &restored);
    assert_eq!(
        (shop.shown("x"), shop.shown("before"), shop.shown("after-2")),
        (Some(json!(6)), Some(json!(1)), Some(json!(2)))
    );
}
