//! The pieces of a conflict's settling, each on its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::convert::Infallible;

use serde_json::{Map, Value, json};

use crate::conflict::ancestor::{Ancestor, Search};
use crate::conflict::merge::{difference, merge_fields};
use crate::conflict::policy::{Answer, ConflictPolicy, Rule};
use crate::conflict::settle::Settlement;
use crate::conflict::{ConflictId, sides};
use crate::counter::Increment;
use crate::document::DocumentState;
use crate::id::{CollectionName, DocumentId, NodeName, OperationId};
use crate::json::{JsonText, merge_patch};
use crate::operation::{Operation, OperationKind};
use crate::stamp::Stamp;
use crate::vector::{Dot, Origin, Sequence, Vector};

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn text(value: Value) -> JsonText {
    JsonText::from_object(&object(value))
}

fn name(node: &str) -> NodeName {
    NodeName::parse(node).unwrap()
}

fn id() -> DocumentId {
    DocumentId::parse("d").unwrap()
}

fn put(value: Value) -> OperationKind {
    OperationKind::Put { body: text(value), created: false }
}

fn operation(node: &str, sequence: u64, stamp: u64, context: &Vector, kind: OperationKind) -> Operation {
    let origin = Origin { node: name(node), incarnation: 1 };
    Operation {
        id: OperationId(u128::from(stamp) << 64 | u128::from(sequence)),
        dot: Dot { origin, sequence: Sequence(sequence) },
        stamp: Stamp(stamp),
        collection: CollectionName::parse("c").unwrap(),
        document: Some(id()),
        context: context.clone(),
        group: None,
        chain: None,
        replaces: None,
        kind,
    }
}

/// A document that `a` made, and that `a` and `b` then changed without seeing each other; `b` wrote last.
fn clash(made: Value, by_a: OperationKind, by_b: OperationKind) -> (DocumentState, Vec<Operation>) {
    let first = operation("a", 1, 10, &Vector::new(), put(made));
    let mut state = DocumentState::default();
    state.apply(&first);
    let seen = state.vector.clone();
    let left = operation("a", 2, 20, &seen, by_a);
    let right = operation("b", 1, 30, &seen, by_b);
    state.apply(&left);
    state.apply(&right);
    (state, vec![first, left, right])
}

fn ancestor(state: &DocumentState, log: &[Operation], is_all: bool) -> Ancestor {
    let mut search = Search::new(sides(state));
    let goes_on = log.iter().rev().all(|operation| search.step(operation.clone()));
    search.end(is_all || !goes_on)
}

fn answer(policy: ConflictPolicy, state: &DocumentState, here: &str, log: &[Operation]) -> Answer {
    policy.answer(state, &id(), &name(here), || Ok::<_, Infallible>(ancestor(state, log, true))).unwrap()
}

fn settle(state: &mut DocumentState, settlement: &Settlement) {
    let kind = settlement.to_kind(state, &id()).unwrap();
    let resolution = operation("c", 1, 1, &state.vector.clone(), kind);
    state.apply(&resolution);
}

#[test]
fn a_field_changed_by_one_side_is_taken_and_by_both_from_the_last_writer() {
    let ancestor = object(json!({"price": 1, "name": "tea", "at": {"x": 1, "y": 1}, "gone": 1, "list": [1]}));
    let last = object(json!({"price": 2, "name": "tea", "at": {"x": 2, "y": 1}, "gone": 1, "list": [1, 2], "new": 1}));
    let other = object(json!({"price": 3, "name": "chai", "at": {"x": 1, "y": 3}, "list": [3]}));
    let merged = merge_fields(&ancestor, &[&last, &other]);
    let expected = json!({"price": 2, "name": "chai", "at": {"x": 2, "y": 3}, "list": [1, 2], "new": 1});
    assert_eq!(Value::Object(merged), expected);
}

#[test]
fn documents_created_apart_are_united_field_by_field() {
    let (left, right) = (object(json!({"a": {"x": 1}, "b": 1})), object(json!({"a": {"y": 2}, "b": 2, "c": 3})));
    let merged = merge_fields(&Map::new(), &[&left, &right]);
    assert_eq!(Value::Object(merged), json!({"a": {"x": 1, "y": 2}, "b": 1, "c": 3}));
}

#[test]
fn a_difference_applied_as_a_merge_patch_gives_the_other_document() {
    let (before, after) = (object(json!({"a": 1, "b": {"x": 1, "y": 2}})), object(json!({"b": {"x": 1, "z": [1]}})));
    let mut patched = before.clone();
    merge_patch(&mut patched, &difference(&before, &after));
    assert_eq!(patched, after);
}

#[test]
fn the_ancestor_is_what_both_sides_had_seen() {
    let (state, log) = clash(json!({"x": 1}), put(json!({"x": 2})), put(json!({"x": 3})));
    assert_eq!(ancestor(&state, &log, true), Ancestor::Found { id: log[0].id, body: Some(text(json!({"x": 1}))) });
    assert_eq!(ancestor(&state, &log[1..], false), Ancestor::Gone, "the log was cut before it");
    assert_eq!(ancestor(&state, &log[2..], true), Ancestor::Gone, "one of the sides is not there any more");
}

#[test]
fn sides_that_were_created_apart_have_no_ancestor() {
    let log = [
        operation("a", 1, 10, &Vector::new(), put(json!({"x": 1}))),
        operation("b", 1, 20, &Vector::new(), put(json!({"y": 1}))),
    ];
    let mut state = DocumentState::default();
    for operation in &log {
        state.apply(operation);
    }
    assert_eq!(ancestor(&state, &log, true), Ancestor::Nothing);
    let merged = answer(ConflictPolicy::MergeFields, &state, "a", &log);
    assert_eq!(merged, Answer::Write(Some(text(json!({"y": 1, "x": 1, "Id": "d"})))));
}

#[test]
fn apply_incoming_shows_what_the_peer_wrote_even_if_it_is_older() {
    let (state, log) = clash(json!({"x": 1}), put(json!({"x": "a"})), put(json!({"x": "b"})));
    let incoming = answer(ConflictPolicy::ApplyIncoming, &state, "b", &log);
    assert_eq!(incoming, Answer::Write(Some(text(json!({"x": "a"})))));
    assert_eq!(answer(ConflictPolicy::ApplyIncoming, &state, "c", &log), Answer::Stands, "it has no side in this");
}

#[test]
fn keep_local_with_a_local_side_keeps_it() {
    let (state, log) = clash(json!({"x": 1}), put(json!({"x": "a"})), put(json!({"x": "b"})));
    let kept = answer(ConflictPolicy::KeepLocal, &state, "a", &log);
    assert_eq!(kept, Answer::Write(Some(text(json!({"x": "a"})))));
}

#[test]
fn keep_local_without_a_local_side_takes_what_arrives() {
    let (state, log) = clash(json!({"x": 1}), put(json!({"x": "a"})), put(json!({"x": "b"})));
    assert_eq!(answer(ConflictPolicy::KeepLocal, &state, "c", &log), Answer::Stands);
    let mut alone = DocumentState::default();
    alone.apply(&operation("b", 1, 1, &Vector::new(), put(json!({"x": "b"}))));
    assert_eq!(answer(ConflictPolicy::KeepLocal, &alone, "a", &[]), Answer::Stands);
    assert_eq!(alone.shown().unwrap().as_str(), r#"{"x":"b"}"#);
}

#[test]
fn an_unknown_policy_word_is_none() {
    assert_eq!(ConflictPolicy::parse("keeplocal"), Some(ConflictPolicy::KeepLocal));
    assert_eq!(ConflictPolicy::parse("Latest"), None);
}

#[test]
fn a_delete_beside_a_change_goes_to_the_last_writer_when_fields_are_merged() {
    let (state, log) = clash(json!({"x": 1}), put(json!({"x": 2})), OperationKind::Delete);
    assert_eq!(answer(ConflictPolicy::MergeFields, &state, "a", &log), Answer::Write(None));
    let (state, log) = clash(json!({"x": 1}), OperationKind::Delete, put(json!({"x": 2})));
    let merged = answer(ConflictPolicy::MergeFields, &state, "a", &log);
    assert_eq!(merged, Answer::Write(Some(text(json!({"x": 2, "Id": "d"})))));
}

#[test]
fn where_the_ancestor_is_gone_fields_are_not_merged() {
    let (state, log) = clash(json!({"x": 1}), put(json!({"x": 2})), put(json!({"y": 2})));
    let gone = || Ok::<_, Infallible>(ancestor(&state, &log[1..], false));
    let answer = ConflictPolicy::MergeFields.answer(&state, &id(), &name("a"), gone).unwrap();
    assert!(matches!(answer, Answer::None(_)), "{answer:?}");
}

#[test]
fn equal_values_are_no_conflict_and_other_values_have_the_same_name_everywhere() {
    let (state, _) = clash(json!({"x": 1}), put(json!({"x": 2})), put(json!({"x": 2})));
    assert_eq!(ConflictId::of(&state), None);
    let (state, log) = clash(json!({"x": 1}), put(json!({"x": 2})), put(json!({"x": 3})));
    let mut elsewhere = DocumentState::default();
    for place in [0, 2, 1] {
        elsewhere.apply(&log[place]);
    }
    let name = ConflictId::of(&state).unwrap();
    assert_eq!(ConflictId::of(&elsewhere), Some(name));
    assert_eq!(name.to_string().parse::<ConflictId>().unwrap(), name);
}

#[test]
fn a_counter_beside_a_delete_is_a_conflict_that_only_people_settle() {
    let count = Increment::parse(&object(json!({"n": 3}))).unwrap();
    let (mut state, log) = clash(json!({"n": 1}), OperationKind::Increment(count), OperationKind::Delete);
    assert!(ConflictId::of(&state).is_some());
    for policy in ConflictPolicy::ALL {
        assert_eq!(answer(policy, &state, "a", &log), Answer::Stands);
    }
    settle(&mut state, &Settlement::Delete);
    assert_eq!(ConflictId::of(&state), None);
}

#[test]
fn settling_leaves_counters_that_stand_beside_the_sides() {
    let count = Increment::parse(&object(json!({"n": 3}))).unwrap();
    let (mut state, log) = clash(json!({"n": 1, "x": 1}), put(json!({"n": 1, "x": 2})), put(json!({"n": 1, "x": 3})));
    state.apply(&operation("c", 1, 5, &log[0].context, OperationKind::Increment(count)));
    let (mut kept, mut seen) = (state.clone(), state);
    kept.versions.iter().for_each(|version| assert!(!version.is_resolution));
    let loser = kept.versions[1].id;
    let resolve = |state: &mut DocumentState, settlement: Settlement| {
        let kind = settlement.to_kind(state, &id()).unwrap();
        let resolution = operation("c", 2, 1, &state.vector.clone(), kind);
        state.apply(&resolution);
        state.shown().unwrap().to_object()
    };
    assert_eq!(Value::Object(resolve(&mut kept, Settlement::Keep(loser))), json!({"n": 4, "x": 2}));
    assert_eq!(kept.increments.len(), 1);
    let wanted = Settlement::Seen(text(json!({"n": 4, "x": 9, "Id": "d"})));
    assert_eq!(Value::Object(resolve(&mut seen, wanted)), json!({"n": 4, "x": 9, "Id": "d"}));
    assert_eq!(seen.increments.len(), 1, "the field was left as it was shown");
    let wanted = Settlement::Seen(text(json!({"n": 7, "Id": "d"})));
    let kind = wanted.to_kind(&seen, &id()).unwrap();
    let resolution = operation("c", 3, 2, &seen.vector.clone(), kind);
    seen.apply(&resolution);
    assert_eq!(seen.shown().unwrap().as_str(), r#"{"n":7,"Id":"d"}"#);
    assert!(seen.increments.is_empty(), "the field was written over");
}

#[test]
fn rules_of_people_choose_the_side_that_they_name() {
    let (state, log) = clash(json!({"x": 1}), put(json!({"x": "a"})), put(json!({"x": "b"})));
    let choose = |rule: Rule| rule.answer(&state, &id(), || Ok::<_, Infallible>(ancestor(&state, &log, true))).unwrap();
    assert_eq!(choose(Rule::LastWriterWins), Answer::Write(Some(text(json!({"x": "b"})))));
    assert_eq!(choose(Rule::FirstWriterWins), Answer::Write(Some(text(json!({"x": "a"})))));
    assert_eq!(choose(Rule::PreferNode(name("a"))), Answer::Write(Some(text(json!({"x": "a"})))));
    assert!(matches!(choose(Rule::PreferNode(name("z"))), Answer::None(_)));
    assert_eq!(choose(Rule::MergeFields), Answer::Write(Some(text(json!({"x": "b", "Id": "d"})))));
}
