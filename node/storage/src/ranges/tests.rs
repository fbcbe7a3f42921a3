//! Records that are wrong behind the store's back are found, traced in the log, and put right.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use holdfast_core::counter::Increment;
use holdfast_core::digest::Digest;
use holdfast_core::id::{CollectionName, DocumentId, NodeName};
use holdfast_core::json::JsonText;
use holdfast_core::sync::comparison::DocumentKey;
use holdfast_core::sync::ranges::Verdict;
use holdfast_core::time::Millis;
use holdfast_core::vector::Origin;
use redb::ReadableDatabase;
use redb::backends::InMemoryBackend;
use serde_json::{Map, json};

use crate::commit::Moment;
use crate::database::{Database, Opened, Options};
use crate::integrity::verify;
use crate::record::document::{decode, encode, key};
use crate::request::{Action, Change, Expect, Mending, Request};
use crate::tables::DOCUMENTS;

fn open() -> Opened {
    let origin = Origin { node: NodeName::parse("left").unwrap(), incarnation: 1 };
    Database::open("shop", InMemoryBackend::new(), InMemoryBackend::new(), origin, 7, Options::default()).unwrap()
}

fn named(id: &str) -> DocumentKey {
    (CollectionName::parse("tea").unwrap(), DocumentId::parse(id).unwrap())
}

fn commit(node: &mut Opened, request: Request) {
    let mut bits = u128::from(node.writer.state().position.0) << 64;
    let mut random = || {
        bits += 1;
        bits
    };
    node.writer.commit(&mut Moment { now: Millis(5), random: &mut random }, vec![request]).unwrap();
}

fn change(node: &mut Opened, id: &str, action: Action) {
    let (collection, id) = named(id);
    commit(node, Request::Each(vec![Change { collection, id, action, expect: Expect::Any }]));
}

/// Ten documents, one of them with a longer history and one deleted.
fn filled() -> Opened {
    let mut node = open();
    for number in 0..10 {
        change(&mut node, &format!("d{number}"), Action::Put(JsonText::parse(&format!("{{\"n\":{number}}}")).unwrap()));
    }
    let increment = Increment::parse(json!({"n": 5}).as_object().unwrap()).unwrap();
    change(&mut node, "d3", Action::Patch { merge: Map::new(), increment: Some(increment) });
    change(&mut node, "d4", Action::Delete);
    node
}

/// Writes a record behind the writer's back, as a fault of memory or of a program does.
fn overwrite(node: &Opened, id: &str, record: &dyn Fn(&[u8]) -> Vec<u8>) {
    let (collection, id) = named(id);
    let key = key(&collection, &id);
    let data = node.database.data();
    let before = data.begin_read().unwrap().open_table(DOCUMENTS).unwrap().get(key.as_slice()).unwrap().unwrap();
    let after = record(before.value());
    let transaction = data.begin_write().unwrap();
    transaction.open_table(DOCUMENTS).unwrap().insert(key.as_slice(), after.as_slice()).unwrap();
    transaction.commit().unwrap();
}

/// A record that holds in itself and says something else.
fn falsified(node: &Opened, id: &str) {
    overwrite(node, id, &|bytes| {
        let (collection, id) = named(id);
        let origins = node.database.origins().snapshot();
        let (mut state, position) = decode(bytes, &key(&collection, &id), &origins).unwrap();
        state.versions[0].body = Some(JsonText::parse("{\"n\":666}").unwrap());
        encode(&state, position, node.database.origins())
    });
}

fn unreadable(node: &Opened, id: &str) {
    overwrite(node, id, &|bytes| {
        let mut bytes = bytes.to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes
    });
}

/// Puts everything right as a repair does, and proves it.
fn mend(node: &mut Opened, ids: &[&str]) {
    let audit = node.database.view().unwrap().audit().unwrap();
    let state = |id: &&str| {
        let (verdict, made) = node.database.examine(&named(id)).unwrap();
        assert_eq!(verdict, Verdict::Damaged, "{id}");
        let (collection, id) = named(id);
        (collection, id, made.unwrap())
    };
    let states = ids.iter().map(state).collect();
    let (errors, conflicted_error) = (audit.errors, audit.conflicted_error);
    commit(node, Request::Mend(Mending { states, errors, conflicted_error }));
    let audit = node.database.view().unwrap().audit().unwrap();
    assert!(audit.errors.is_empty() && audit.unreadable.is_empty(), "{audit:?}");
    let report = verify(&node.database, InMemoryBackend::new()).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[test]
fn a_record_that_says_something_else_is_found_and_made_again_from_the_log() {
    let mut node = filled();
    let expected = node.database.view().unwrap().digest().unwrap();
    for id in ["d0", "d3", "d4"] {
        assert_eq!(node.database.examine(&named(id)).unwrap().0, Verdict::Sound, "{id}");
    }
    falsified(&node, "d3");
    assert_eq!(node.database.view().unwrap().digest().unwrap(), expected, "what is kept does not know");
    let audit = node.database.view().unwrap().audit().unwrap();
    assert_eq!((audit.records, audit.errors.len()), (10, 1));
    mend(&mut node, &["d3"]);
    assert_eq!(node.database.view().unwrap().digest().unwrap(), expected);
    assert_eq!(node.database.examine(&named("d3")).unwrap().0, Verdict::Sound);
}

#[test]
fn a_record_that_cannot_be_read_is_made_again_and_writing_goes_on() {
    let mut node = filled();
    let expected = node.database.view().unwrap().digest().unwrap();
    unreadable(&node, "d3");
    unreadable(&node, "d4");
    let audit = node.database.view().unwrap().audit().unwrap();
    assert_eq!(audit.unreadable, [named("d3"), named("d4")]);
    mend(&mut node, &["d3", "d4"]);
    assert_eq!(node.database.view().unwrap().digest().unwrap(), expected);
    change(&mut node, "d3", Action::Delete);
    assert!(verify(&node.database, InMemoryBackend::new()).unwrap().is_sound());
}

#[test]
fn a_document_that_is_gone_from_the_data_alone_is_found_in_the_log() {
    let mut node = filled();
    let (collection, id) = named("d7");
    let transaction = node.database.data().begin_write().unwrap();
    transaction.open_table(DOCUMENTS).unwrap().remove(key(&collection, &id).as_slice()).unwrap();
    transaction.open_table(crate::tables::CHANGES).unwrap().remove(8).unwrap();
    transaction.commit().unwrap();
    mend(&mut node, &["d7"]);
    assert_eq!(node.database.examine(&named("nothing")).unwrap(), (Verdict::Absent, None));
}

#[test]
fn numbers_that_are_wrong_by_themselves_are_put_right() {
    let mut node = filled();
    falsified(&node, "d3");
    // Overwritten by its user, the document is right again, and what is kept of its collection stays wrong.
    change(&mut node, "d3", Action::Put(JsonText::parse("{\"n\":3}").unwrap()));
    assert_eq!(node.database.view().unwrap().audit().unwrap().errors.len(), 1);
    mend(&mut node, &[]);
}

#[test]
fn stretches_add_up_to_the_same_however_they_are_cut() {
    let node = filled();
    let view = node.database.view().unwrap();
    let whole = view.range_sum(&(None, None), 100).unwrap().unwrap();
    for each in [1, 3, 10, 100] {
        let (mut sum, mut after) = (Digest::default(), None);
        loop {
            let ranges = view.range_sums(after.as_ref(), each, 2).unwrap();
            for range in &ranges {
                assert_eq!(view.range_sum(&range.ends, each).unwrap(), Some(range.sum));
                sum = sum.plus(range.sum);
            }
            match ranges.last().unwrap().ends.1.clone() {
                Some(through) => after = Some(through),
                None => break,
            }
        }
        assert_eq!(sum, whole, "{each} at a time");
    }
    assert_eq!(view.range_sum(&(None, None), 5).unwrap(), None, "too many to look at");
    let (rows, next) = view.rows(&(Some(named("d1")), Some(named("d5"))), 3).unwrap();
    let ids: Vec<&str> = rows.iter().map(|((_, id), _)| id.as_str()).collect();
    assert_eq!((ids, next), (vec!["d2", "d3"], Some(named("d4"))), "the deleted one is passed over");
}
