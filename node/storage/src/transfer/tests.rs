//! Databases that are made anew from a peer's states.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use holdfast_core::conflict::is_counted_while_deleted;
use holdfast_core::counter::{Amount, Increment};
use holdfast_core::id::{CollectionName, DocumentId, NodeName};
use holdfast_core::json::JsonText;
use holdfast_core::members::FenceReason;
use holdfast_core::sync::admission::Transfer as Kind;
use holdfast_core::sync::branches::Forks;
use holdfast_core::sync::message::{OperationRecord, PushRequest};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Dot, Origin, Position, Vector};
use redb::backends::InMemoryBackend;
use serde_json::{Map, Value, json};

use crate::commit::{CommitError, Moment, PruneLimit};
use crate::database::{Database, Opened, Options};
use crate::integrity::verify;
use crate::log::ReadLimit;
use crate::request::{Action, Answer, Change, Expect, Kept, Misfit, Received, Request, Which};
use crate::transfer::page::{StatePage, decode_page, encode_page, letters_of};
use crate::transfer::{Carried, Ending, Source, Transfer, adoption_of};

const SMALL: ReadLimit = ReadLimit { operations: 3, bytes: usize::MAX };
const ALL: ReadLimit = ReadLimit { operations: usize::MAX, bytes: usize::MAX };

#[derive(Debug)]
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
            stated: holdfast_core::trail::Stated::new(),
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
        self.try_made_anew_from(other, kind, Forks { first: branches, ..Forks::default() }).unwrap()
    }

    fn try_made_anew_from(&self, other: &Self, kind: Kind, forks: Forks) -> Result<(Self, Carried), CommitError> {
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
        let letters = letters_of(&view, &other.opened.database.log().unwrap()).unwrap();
        let page = StatePage { letters, ..StatePage::default() };
        let letters = decode_page(&encode_page(&page)).unwrap().letters;
        let passed = other.opened.database.log().unwrap().trail().told(&adoption.vector);
        let ending = Ending { adoption, letters, kind, forks, passed };
        let (opened, carried) = transfer.finish(&mut moment, ending, &self.opened.database, &next)?;
        Ok((Node { opened, clock: self.clock }, carried))
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
fn a_delete_that_was_forgotten_by_whoever_takes_the_states_of_one_that_has_not_seen_it_holds() {
    // Two halves have counted each other out by force: neither waits for the other before it forgets.
    let (mut a, mut b) = (open("a", 1), open("b", 2));
    for id in ["gone", "overwritten", "counted", "gone there"] {
        a.put(id, 1);
    }
    a.push_to(&mut b);
    for id in ["gone", "overwritten", "counted"] {
        a.change(id, Action::Delete);
    }
    assert_eq!(a.give_up(), 3, "the other half is not counted with");
    a.put("kept", 1);
    a.prune();
    b.commit(Request::Member { member: origin("a", 1), fence: Some(FenceReason::Forced) });
    b.change("gone there", Action::Delete);
    assert_eq!(b.give_up(), 1);
    b.put("overwritten", 2);
    b.add("counted", 4);
    b.put("new", 3);
    b.prune();
    let (mut a, carried) = a.made_anew_from(&b, Kind::Rebase, Vec::new());
    assert_eq!((carried.kept, carried.reissued), (0, 3), "what was kept, and two deletes that had seen all there is");
    let receipt = a.push_to(&mut b);
    assert_eq!((receipt.accepted, receipt.stranger), (3, None));
    assert_equal(&a, &b);
    for node in [&a, &b] {
        assert_eq!((node.shown("gone"), node.shown("gone there")), (None, None), "what was deleted stays deleted");
        assert_eq!(node.shown("overwritten"), Some(json!(2)), "it was written after all that the delete had seen");
        assert_eq!((node.shown("kept"), node.shown("new")), (Some(json!(1)), Some(json!(3))));
        node.assert_sound();
    }
    let again = a.give_up();
    a.put("gone", 9);
    assert_eq!((again, a.shown("gone")), (0, Some(json!(9))), "the other half has not acknowledged it yet");
}

#[test]
fn nothing_is_taken_of_a_stretch_that_shows_another_branch() {
    // A copy of a till goes on beside it. The desk has the copy's branch, and has written with all of that before it.
    let (mut shop, mut desk, mut till) = (open("shop", 1), open("desk", 3), open("till", 2));
    till.put("x", 1);
    till.push_to(&mut shop);
    till.push_to(&mut desk);
    let mut copy = open("till", 2);
    till.push_to(&mut copy);
    copy.clock += 500;
    till.put("of the till", 1);
    till.push_to(&mut shop);
    copy.put("of the copy", 1);
    copy.push_to(&mut desk);
    desk.put("of the till", 9);
    copy.put("more", 1);
    copy.push_to(&mut desk);
    let receipt = desk.push_to(&mut shop);
    assert_eq!((receipt.accepted, receipt.stranger.map(|stranger| stranger.misfit)), (0, Some(Misfit::Branch)));
    assert_eq!(shop.shown("of the till"), Some(json!(1)), "the desk has never seen that one");
}

#[test]
fn what_was_written_here_while_a_peers_states_were_taken_is_not_taken_for_what_has_its_number_there() {
    // A node was set back to its beginning, and writes once more before the last page.
    let (mut shop, mut till) = (open("shop", 1), open("till", 2));
    till.put("before", 1);
    till.push_to(&mut shop);
    let mut back = open("till", 2);
    back.clock += 500;
    back.put("meanwhile", 5);
    let first = Dot { origin: origin("till", 2), sequence: holdfast_core::vector::Sequence(1) };
    let error = back.try_made_anew_from(&shop, Kind::Rebase, Forks::default()).unwrap_err().to_string();
    assert!(error.contains("two branches of till@"), "{error}");
    let (back, carried) = back.made_anew_from(&shop, Kind::Rebase, vec![first]);
    assert_eq!(carried.reissued, 1);
    back.push_to(&mut shop);
    assert_equal(&shop, &back);
    assert_eq!((shop.shown("before"), shop.shown("meanwhile")), (Some(json!(1)), Some(json!(5))));
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
fn an_increment_written_again_by_two_nodes_counts_once_though_the_first_was_written_over_before_the_second_came() {
    // The put held the first, and the second was counted beside it.
    for has_heard in [false, true] {
        let (mut a, mut b, mut c) = (open("a", 1), open("b", 2), open("c", 3));
        a.put("x", 1);
        a.put("gone", 1);
        a.push_to(&mut b);
        b.push_to(&mut c);
        b.add("x", 10);
        b.push_to(&mut c);
        a.change("gone", Action::Delete);
        a.give_up();
        let come_back =
            |node: &Node, from: &Node| node.try_made_anew_from(from, Kind::Rebase, Forks::default()).unwrap();
        let early = (!has_heard).then(|| come_back(&c, &a));
        let (b, _) = come_back(&b, &a);
        assert_eq!((b.push_to(&mut a).accepted, a.shown("x")), (1, Some(json!(11))));
        a.put("x", 50);
        a.add("x", 1);
        let (mut c, carried) = early.unwrap_or_else(|| come_back(&c, &a));
        assert_eq!(carried.reissued, u64::from(!has_heard), "what the peer knows is not written again");
        // Through states as well: nothing else tells a new node that it was counted.
        let (mut d, _) = open("d", 4).made_anew_from(&a, Kind::Merge, Vec::new());
        for _ in 0..2 {
            c.push_to(&mut a);
            c.push_to(&mut d);
            a.push_to(&mut c);
            assert_eq!([a.shown("x"), c.shown("x"), d.shown("x")], [51, 51, 51].map(|n| Some(json!(n))), "{has_heard}");
        }
        assert_equal(&a, &c);
        assert_equal(&a, &d);
        for node in [a, c, d] {
            node.assert_sound();
        }
    }
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
    let of_shop = shop.opened.database.log().unwrap().told_of(&fork.origin, &[fork.sequence]).unwrap();
    let waymarks = of_shop.values().map(|told| (fork.clone(), *told)).collect();
    let forks = Forks { first: vec![fork.clone()], waymarks };
    let (restored, carried) = restored.try_made_anew_from(&shop, Kind::Rebase, forks).unwrap();
    assert_eq!(carried.reissued, 4);
    let told = |node: &Node| node.opened.database.log().unwrap().told_of(&fork.origin, &[]).unwrap();
    assert_eq!(told(&restored), of_shop, "its log begins after that, and it tells all the same which one is meant");
    let (restored, _) = restored.made_anew_from(&shop, Kind::Merge, Vec::new());
    assert_eq!((told(&restored), of_shop.len()), (of_shop, 1), "and it does when it is made anew once more");
    restored.push_to(&mut shop);
    assert_equal(&shop, &restored);
    assert_eq!(
        (shop.shown("x"), shop.shown("before"), shop.shown("after-2")),
        (Some(json!(6)), Some(json!(1)), Some(json!(2)))
    );
}

/// Sends what `to` lacks over the wire, as JSON that `spoil` may have its way with.
fn send(from: &Node, to: &mut Node, spoil: impl Fn(&mut Value)) -> crate::request::Receipt {
    let stretch = from.opened.database.log().unwrap().read(Position::START, &to.vector(), ALL).unwrap();
    let mut records = Vec::new();
    for logged in stretch.operations {
        let record = OperationRecord::new(&logged.operation, logged.position, &logged.operation.dot.origin);
        let mut record = match &record.raw {
            Some(raw) => serde_json::from_str(raw).unwrap(),
            None => serde_json::to_value(record).unwrap(),
        };
        spoil(&mut record);
        records.push(record);
    }
    let push = json!({"SourceNodeId": "a", "SourceIncarnation": "0", "LogId": "0", "AfterLogSequence": 0,
        "ThroughLogSequence": 0, "Operations": records});
    let push: PushRequest = serde_json::from_str(&push.to_string()).unwrap();
    let received = Received {
        source: from.opened.writer.origin().node.clone(),
        source_log_id: from.opened.database.log_id(),
        after: Position::START,
        through: stretch.through,
        source_vector: from.vector(),
        stated: holdfast_core::trail::Stated::new(),
        operations: push.operations.into_iter().map(|record| record.into_arrived().unwrap()).collect(),
    };
    match to.commit(Request::Receive(received)) {
        Answer::Receipt(receipt) => receipt,
        answer => panic!("{answer:?}"),
    }
}

fn is_about(record: &Value, id: &str) -> bool {
    record["EntityId"] == id
}

fn letters(node: &Node) -> Vec<String> {
    node.opened.writer.state().letters.iter().map(|letter| letter.dot.to_string()).collect()
}

#[test]
fn what_is_parked_here_is_carried_over_and_stays_parked() {
    // It was parked because it has seen what nobody has: carried over, it was taken for one that came too early.
    let (mut a, mut b, mut c) = (open("a", 1), open("b", 2), open("c", 3));
    for id in ["x", "odd", "y"] {
        c.put(id, 1);
    }
    let impossible = |record: &mut Value| {
        if is_about(record, "odd") {
            record["Context"]["c@0000000000000003"] = json!(99);
        }
    };
    assert_eq!((send(&c, &mut b, impossible).accepted, letters(&b).len()), (3, 1));
    b.put("mine", 1);
    a.put("theirs", 1);
    let (b, carried) = b.made_anew_from(&a, Kind::Merge, Vec::new());
    assert_eq!((carried.kept, letters(&b).len()), (4, 1));
    b.push_to(&mut a);
    assert_eq!(letters(&a), letters(&b));
    assert_equal(&a, &b);
}

#[test]
fn what_is_parked_at_a_peer_is_parked_where_its_states_go() {
    // Of a transaction that was parked, all but the last was overwritten: that alone, asked for by itself, is none.
    let (mut a, mut b, mut c) = (open("a", 1), open("b", 2), open("c", 3));
    let put = |id: &str| {
        let action = Action::Put(JsonText::parse(&json!({"n": 1, "Id": id}).to_string()).unwrap());
        Change { collection: orders(), id: DocumentId::parse(id).unwrap(), action, expect: Expect::Any }
    };
    c.commit(Request::Together(vec![put("odd"), put("x"), put("y")]));
    let unknown = |record: &mut Value| {
        if is_about(record, "odd") {
            record["Kind"] = json!("hologram");
        }
    };
    assert_eq!((send(&c, &mut a, unknown).accepted, letters(&a).len()), (3, 3));
    for id in ["odd", "x"] {
        c.put(id, 2);
    }
    assert_eq!((send(&c, &mut a, |_| ()).accepted, letters(&a).len()), (2, 1));
    a.prune();
    b.put("mine", 1);
    let (mut b, _) = b.made_anew_from(&a, Kind::Merge, Vec::new());
    assert_eq!((letters(&b), b.shown("y"), b.shown("x")), (letters(&a), None, Some(json!(2))));
    send(&b, &mut a, |_| ());
    assert_equal(&a, &b);
    // From then on the origin goes on as it does everywhere, and a third node gets all of it.
    c.put("later", 3);
    assert_eq!((send(&c, &mut b, |_| ()).gap, b.shown("later")), (None, Some(json!(3))));
    let (third, _) = open("d", 4).made_anew_from(&b, Kind::Merge, Vec::new());
    assert_eq!(letters(&third), letters(&a));
    assert_equal(&b, &third);
    // Taken a second time, it is still what is parked there and here; and what is parked here alone goes along.
    let (third, _) = third.made_anew_from(&b, Kind::Merge, Vec::new());
    let (third, _) = third.made_anew_from(&open("e", 5), Kind::Merge, Vec::new());
    assert_eq!(letters(&third), letters(&a));
    let mut other = open("f", 6);
    other.put("gone", 1);
    other.change("gone", Action::Delete);
    other.give_up();
    let (third, _) = third.made_anew_from(&other, Kind::Rebase, Vec::new());
    // Written again it stands alone, and holds: what it came with was overwritten.
    assert_eq!((letters(&third), third.shown("y")), (vec![], Some(json!(1))));
    let settled = b.commit(Request::SettleLetters(Which::All));
    assert!(matches!(settled, Answer::Letters(outcome) if outcome.done == 1), "all of its transaction that is left");
}

#[test]
fn what_is_parked_is_written_again_under_a_name_that_its_record_says() {
    // Its record named the operation that it stood in for: nobody found this node's first operation in its stretch.
    let (mut a, mut b, mut c) = (open("a", 1), open("b", 2), open("c", 3));
    a.put("gone", 1);
    a.push_to(&mut b);
    c.put("odd", 1);
    let unknown = |record: &mut Value| record["Kind"] = json!("hologram");
    assert_eq!(send(&c, &mut b, unknown).accepted, 1);
    b.put("mine", 1);
    a.change("gone", Action::Delete);
    assert_eq!(a.give_up(), 1);
    let (mut b, carried) = b.made_anew_from(&a, Kind::Rebase, Vec::new());
    assert_eq!((carried.reissued, letters(&b)), (2, vec!["b@0000000000000066:1".to_owned()]));
    b.put("later", 1);
    let receipt = send(&b, &mut a, |_| ());
    assert_eq!((receipt.gap, receipt.stranger, receipt.accepted), (None, None, 3));
    assert_eq!(letters(&a), letters(&b));
    b.put("latest", 1);
    assert_eq!(send(&b, &mut a, |_| ()).accepted, 1, "the chain goes on after it");
    assert_equal(&a, &b);
    // A write on the document itself comes after what is parked under the same name, and makes that void.
    b.put("odd", 2);
    assert_eq!(send(&b, &mut a, |_| ()).accepted, 1);
    assert_eq!((letters(&a), letters(&b)), (vec![], vec![]));
    assert_equal(&a, &b);
    assert_eq!(a.shown("odd"), Some(json!(2)));
}

#[test]
fn what_a_peer_forgets_between_two_pages_is_not_taken_over() {
    // A till was cut off in the middle; when it went on, a document of the first page was deleted and forgotten there.
    let (mut a, b) = (open("a", 1), open("b", 2));
    (0..5).for_each(|n| a.put(&format!("o-{n}"), n));
    let source = Source { node: a.opened.writer.origin().node.clone(), log_id: a.opened.database.log_id() };
    let files = (InMemoryBackend::new(), InMemoryBackend::new());
    let transfer = Transfer::open("shop", files, origin("b", 2), 9, Options::default(), &source);
    let mut transfer = transfer.unwrap().unwrap();
    let mut random = || 1;
    let mut moment = Moment { now: Millis(9_000_000), random: &mut random };
    let page = |node: &Node, after| node.opened.database.view().unwrap().states_after(after, SMALL).unwrap();
    transfer.take(&mut moment, page(&a, Position::START)).unwrap();
    a.change("o-1", Action::Delete);
    assert_eq!(a.give_up(), 1);
    loop {
        let next = page(&a, transfer.cursor());
        let has_more = next.has_more;
        transfer.take(&mut moment, decode_page(&encode_page(&next)).unwrap()).unwrap();
        if !has_more {
            break;
        }
    }
    let adoption = adoption_of(&a.opened.database.view().unwrap()).unwrap();
    let ending = Ending {
        adoption,
        letters: Vec::new(),
        kind: Kind::Merge,
        forks: Forks::default(),
        passed: holdfast_core::trail::Stated::new(),
    };
    let refused = transfer.finish(&mut moment, ending, &b.opened.database, &origin("b", 2)).unwrap_err();
    assert!(refused.to_string().contains("forgot"), "{refused}");
    let (b, _) = b.made_anew_from(&a, Kind::Merge, Vec::new());
    assert_equal(&a, &b);
}

#[test]
fn every_tombstone_that_stays_is_counted_under_what_it_waits_for() {
    let (mut a, mut b) = (open("a", 3), open("b", 2));
    a.put("beside", 1);
    a.put("unknown", 1);
    a.push_to(&mut b);
    b.put("beside", 2);
    a.change("beside", Action::Delete);
    a.change("unknown", Action::Delete);
    a.push_to(&mut b);
    assert_eq!((b.shown("beside"), b.shown("unknown")), (None, None));
    assert_eq!(b.give_up(), 0);
    let kept = |node: &Node| node.opened.database.kept();
    assert_eq!(kept(&b), Kept { for_conflicts: 1, for_members: 1, ..Kept::default() }, "a has acknowledged nothing");
    a.commit(Request::GiveUp { tombstones_before: Millis(0), documents_max: 1_000 });
    assert_eq!(kept(&a), Kept { for_time: 2, ..Kept::default() });
    assert_eq!(a.give_up(), 2);
    assert_eq!(kept(&a), Kept::default());
    b.put("beside", 3);
    b.opened.database.acknowledge(&origin("a", 3), &b.opened.writer.state().vector);
    assert_eq!((b.give_up(), kept(&b)), (1, Kept::default()));
}

#[test]
fn an_increment_beside_a_delete_that_is_forgotten_stays_on_record() {
    // A till counted while the shop deleted; when it was back the shop had forgotten the delete, and the count was gone.
    let (mut a, mut b) = (open("a", 1), open("b", 2));
    a.put("x", 1);
    a.push_to(&mut b);
    b.add("x", 5);
    b.add("x", 6);
    a.change("x", Action::Delete);
    a.push_to(&mut b);
    assert_eq!(b.shown("x"), None);
    assert_eq!(a.give_up(), 1);
    let (b, carried) = b.made_anew_from(&a, Kind::Rebase, Vec::new());
    assert_eq!((carried.reissued, b.shown("x")), (3, None));
    assert_eq!(b.push_to(&mut a).stranger, None);
    assert_equal(&a, &b);
    for node in [&a, &b] {
        let state = node.opened.database.view().unwrap().state_of(&orders(), &DocumentId::parse("x").unwrap());
        let (state, _) = state.unwrap().unwrap();
        assert!(is_counted_while_deleted(&state), "{state:?}");
        assert_eq!(state.increments.len(), 2);
    }
}

#[test]
fn a_delete_that_has_not_seen_a_forgotten_one_is_judged_nowhere_either() {
    // Two nodes that knew the same showed different: where the first delete was forgotten, a write over the second was
    // shown; where it was still known, it hid that write.
    let (mut a, mut b, mut c) = (open("a", 1), open("b", 2), open("c", 3));
    a.put("x", 1);
    a.push_to(&mut b);
    a.change("x", Action::Delete);
    a.push_to(&mut c);
    b.change("x", Action::Delete);
    b.put("x", 2);
    b.push_to(&mut c);
    assert_eq!(a.give_up(), 1);
    let receipt = c.push_to(&mut a);
    let stranger = receipt.stranger.map(|stranger| (stranger.dot.to_string(), stranger.misfit));
    assert_eq!(stranger, Some(("b@0000000000000002:1".to_owned(), Misfit::Writer)));
    let (c, _) = c.made_anew_from(&a, Kind::Rebase, Vec::new());
    assert_eq!(c.push_to(&mut a).stranger, None);
    assert_equal(&a, &c);
}

#[test]
fn what_waits_behind_a_letter_of_the_same_stretch_is_carried_over_with_it() {
    // It was judged before its turn, on a document that the peer knew nothing of, and the transfer failed for ever.
    let (mut a, mut b, mut c) = (open("a", 1), open("b", 2), open("c", 3));
    c.put("x", 1);
    c.put("x", 2);
    let spoil = |record: &mut Value| match record["Sequence"].as_u64() {
        Some(1) => record["Kind"] = json!("hologram"),
        _ => record["Context"] = json!({}),
    };
    assert_eq!((send(&c, &mut b, spoil).accepted, letters(&b).len()), (2, 2));
    a.put("gone", 1);
    a.change("gone", Action::Delete);
    assert_eq!(a.give_up(), 1);
    let before = letters(&b);
    let (b, _) = b.made_anew_from(&a, Kind::Merge, Vec::new());
    assert_eq!(letters(&b), before);
    b.assert_sound();
}

#[test]
fn what_was_given_up_here_does_not_come_back_when_the_log_is_carried_over() {
    // It was parked again, and where it was written again every other node parked it too.
    let about_nothing = |record: &mut Value| {
        if is_about(record, "odd") {
            record["Kind"] = json!("hologram");
            record.as_object_mut().unwrap().remove("EntityId");
        }
    };
    for (kind, carried_over) in [(Kind::Merge, (3, 0)), (Kind::Rebase, (0, 2))] {
        let (mut a, mut b, mut c) = (open("a", 1), open("b", 2), open("c", 3));
        c.put("odd", 1);
        c.put("x", 1);
        assert_eq!((send(&c, &mut b, about_nothing).accepted, letters(&b).len()), (2, 1));
        let settled = b.commit(Request::SettleLetters(Which::All));
        assert!(matches!(settled, Answer::Letters(outcome) if (outcome.done, outcome.local) == (1, 1)));
        b.put("mine", 1);
        a.put("theirs", 1);
        if kind == Kind::Rebase {
            a.put("gone", 1);
            a.change("gone", Action::Delete);
            assert_eq!(a.give_up(), 1);
        }
        let (b, carried) = b.made_anew_from(&a, kind, Vec::new());
        assert_eq!(((carried.kept, carried.reissued), letters(&b)), (carried_over, vec![]), "{kind:?}");
        assert_eq!((b.shown("x"), b.shown("mine")), (Some(json!(1)), Some(json!(1))), "{kind:?}");
        b.assert_sound();
        if kind == Kind::Rebase {
            send(&b, &mut a, |_| ());
            assert_eq!((letters(&a), a.shown("x")), (vec![], Some(json!(1))), "it went on to others");
            continue;
        }
        // A peer that has it parked keeps it to itself, however this node is made anew from it.
        assert_eq!((send(&c, &mut a, about_nothing).accepted, letters(&a).len()), (2, 1));
        let (b, _) = b.made_anew_from(&a, Kind::Merge, Vec::new());
        assert_eq!(letters(&b), Vec::<String>::new());
        let (b, _) = b.made_anew_from(&a, Kind::Rebase, Vec::new());
        assert_eq!(letters(&b), Vec::<String>::new());
        b.assert_sound();
    }
}
