//! Conflicts on record: opened, renamed, settled and let go together with their documents.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::atomic::Ordering;

use holdfast_core::conflict::ConflictId;
use holdfast_core::conflict::ancestor::Ancestor;
use holdfast_core::conflict::settle::Settlement;
use holdfast_core::error::Refusal;
use holdfast_core::json::JsonText;
use holdfast_core::limits::CONFLICTS_CLOSED_MILLIS_MAX;
use serde_json::json;

use crate::conflicts::{ConflictCounts, Cursor, Selection};
use crate::database::tests::{Node, change, patch, put};
use crate::record::conflict::{Conflict, Standing};
use crate::request::{Action, Change, Expect};

impl Node {
    fn conflicts(&self, is_settled: bool) -> Vec<Conflict> {
        let selection = Selection { is_settled, ..Selection::default() };
        self.database.view().unwrap().conflicts(&selection, None, 100).unwrap().conflicts
    }

    fn open_conflict(&self) -> Conflict {
        let mut open = self.conflicts(false);
        assert_eq!(open.len(), 1, "{open:?}");
        open.remove(0)
    }

    fn counts(&self) -> (u64, u64) {
        let ConflictCounts { open, settled } = self.database.view().unwrap().conflict_counts().unwrap();
        (open, settled)
    }
}

fn resolve(id: &str, conflict: ConflictId, settlement: Settlement) -> Change {
    Change { expect: Expect::Conflict(conflict), ..change(id, Action::Resolve(settlement)) }
}

/// Two nodes that know one document and then change it apart: `b` is the last writer.
fn apart() -> (Node, Node) {
    let (mut a, mut b) = (Node::new("a"), Node::new("b"));
    b.now.store(5_000, Ordering::Relaxed);
    a.write(put("1", json!({"Id": "1", "x": 0}))).unwrap();
    a.push_to(&mut b);
    a.write(put("1", json!({"Id": "1", "x": "a"}))).unwrap();
    b.write(put("1", json!({"Id": "1", "x": "b"}))).unwrap();
    (a, b)
}

fn meet(a: &mut Node, b: &mut Node) {
    a.push_to(b);
    b.push_to(a);
}

fn texts(conflict: &Conflict) -> Vec<Option<&str>> {
    conflict.versions.iter().map(|version| version.body.as_ref().map(JsonText::as_str)).collect()
}

#[test]
fn a_conflict_is_on_record_with_both_versions_and_what_they_started_from() {
    let (mut a, mut b) = apart();
    meet(&mut a, &mut b);
    let (on_a, on_b) = (a.open_conflict(), b.open_conflict());
    assert_eq!(on_a.id, on_b.id, "both know it by one name");
    assert_eq!(texts(&on_a), [Some(r#"{"Id":"1","x":"b"}"#), Some(r#"{"Id":"1","x":"a"}"#)]);
    assert_eq!(on_a.standing, Standing::Open);
    let view = a.database.view().unwrap();
    let ancestor = view.ancestor_of(&on_a, &a.database.log().unwrap()).unwrap();
    assert!(matches!(ancestor, Ancestor::Found { body: Some(body), .. } if body.as_str() == r#"{"Id":"1","x":0}"#));
    assert_eq!(view.conflict(on_a.id).unwrap(), Some(on_a));
    a.assert_sound();
}

#[test]
fn a_resolution_on_one_node_closes_the_conflict_on_both() {
    let (mut a, mut b) = apart();
    meet(&mut a, &mut b);
    let open = a.open_conflict();
    let written = a.write(resolve("1", open.id, Settlement::Keep(open.versions[1].id))).unwrap();
    meet(&mut a, &mut b);
    for node in [&a, &b] {
        assert_eq!(node.shown("1").unwrap(), r#"{"Id":"1","x":"a"}"#);
        assert_eq!(node.counts(), (0, 1));
        let closed = node.conflicts(true).remove(0);
        assert_eq!(closed.versions, open.versions, "what was written is still to be read");
        let by = written.operations[0].operation.id;
        assert!(matches!(closed.standing, Standing::Closed { by: closer, .. } if closer == by));
        node.assert_sound();
    }
}

#[test]
fn a_plain_write_that_saw_all_sides_closes_the_conflict_too() {
    let (mut a, mut b) = apart();
    meet(&mut a, &mut b);
    a.write(put("1", json!({"Id": "1", "x": "new"}))).unwrap();
    assert_eq!(a.counts(), (0, 1));
}

#[test]
fn a_conflict_that_got_another_side_is_not_settled_by_its_old_name() {
    let (mut a, mut b) = apart();
    meet(&mut a, &mut b);
    let old = a.open_conflict();
    let mut c = Node::new("c");
    c.write(put("1", json!({"Id": "1", "x": "c"}))).unwrap();
    c.push_to(&mut a);
    let new = a.open_conflict();
    assert_eq!((new.versions.len(), new.arose), (3, old.arose));
    let refused = a.write(resolve("1", old.id, Settlement::Delete)).unwrap_err();
    assert!(matches!(refused, Refusal::ConflictChanged { .. }), "{refused}");
    let replaced = a.database.view().unwrap().conflict(old.id).unwrap().unwrap();
    assert!(matches!(replaced.standing, Standing::Replaced { by, .. } if by == new.id));
    a.write(resolve("1", new.id, Settlement::Delete)).unwrap();
    assert_eq!(a.shown("1"), None);
    assert_eq!(a.counts(), (0, 2));
    let refused = a.write(resolve("1", new.id, Settlement::Delete)).unwrap_err();
    assert!(matches!(refused, Refusal::ConflictChanged { .. }), "it is settled already: {refused}");
}

#[test]
fn equal_values_leave_no_record() {
    let (mut a, mut b) = (Node::new("a"), Node::new("b"));
    a.write(put("1", json!({"Id": "1", "x": 1}))).unwrap();
    b.write(put("1", json!({"Id": "1", "x": 1}))).unwrap();
    meet(&mut a, &mut b);
    assert_eq!((a.counts(), b.counts()), ((0, 0), (0, 0)));
    a.assert_sound();
}

#[test]
fn a_count_beside_a_delete_is_on_record_until_somebody_judges_it() {
    let (mut a, mut b) = (Node::new("a"), Node::new("b"));
    a.write(put("1", json!({"Id": "1", "n": 1}))).unwrap();
    a.push_to(&mut b);
    a.write(patch("1", json!({}), Some(json!({"n": 4})))).unwrap();
    b.write(change("1", Action::Delete)).unwrap();
    meet(&mut a, &mut b);
    let open = a.open_conflict();
    assert_eq!((texts(&open), open.counted.0.len()), (vec![None], 1));
    a.write(patch("1", json!({}), Some(json!({"n": 1})))).unwrap();
    assert_eq!(a.counts().0, 0, "somebody created it again");
    b.write(resolve("1", b.open_conflict().id, Settlement::Delete)).unwrap();
    assert_eq!(b.counts(), (0, 1));
}

#[test]
fn a_conflict_that_a_wrong_clock_decided_is_marked() {
    let (mut a, mut b) = apart();
    b.now.store(10_000_000, Ordering::Relaxed);
    b.write(put("1", json!({"Id": "1", "x": "late"}))).unwrap();
    b.push_to(&mut a);
    let marked = a.open_conflict();
    assert!(marked.is_suspect);
    assert_eq!(texts(&marked)[0], Some(r#"{"Id":"1","x":"late"}"#), "it is marked and wins all the same");
    a.push_to(&mut b);
    assert!(!b.open_conflict().is_suspect, "by b's own clock all is well");
}

#[test]
fn settled_conflicts_are_let_go_when_they_are_old() {
    let (mut a, mut b) = apart();
    meet(&mut a, &mut b);
    let first = a.open_conflict();
    a.write(resolve("1", first.id, Settlement::Delete)).unwrap();
    meet(&mut a, &mut b);
    a.now.fetch_add(CONFLICTS_CLOSED_MILLIS_MAX + 1, Ordering::Relaxed);
    a.write(put("2", json!({"Id": "2", "x": "a"}))).unwrap();
    b.write(put("2", json!({"Id": "2", "x": "b"}))).unwrap();
    b.push_to(&mut a);
    let second = a.open_conflict();
    a.write(resolve("2", second.id, Settlement::Delete)).unwrap();
    assert_eq!(a.counts(), (0, 1));
    assert_eq!(a.database.view().unwrap().conflict(first.id).unwrap(), None);
}

#[test]
fn lists_go_on_where_they_were_cut() {
    let (mut a, mut b) = (Node::new("a"), Node::new("b"));
    for id in ["1", "2", "3", "4", "5"] {
        a.write(put(id, json!({"Id": id, "x": "a"}))).unwrap();
        b.write(put(id, json!({"Id": id, "x": "b"}))).unwrap();
    }
    b.push_to(&mut a);
    for conflict in a.conflicts(false).iter().skip(2) {
        a.write(resolve(conflict.document.as_str(), conflict.id, Settlement::Delete)).unwrap();
    }
    for (is_settled, expected) in [(false, 2), (true, 3)] {
        let selection = Selection { is_settled, ..Selection::default() };
        let (mut after, mut found) = (None, Vec::new());
        loop {
            let page = a.database.view().unwrap().conflicts(&selection, after, 1).unwrap();
            found.extend(page.conflicts.into_iter().map(|conflict| conflict.document));
            // As clients send it.
            after = page.next.map(|next| next.to_string().parse::<Cursor>().unwrap());
            if after.is_none() {
                break;
            }
        }
        found.sort();
        found.dedup();
        assert_eq!(found.len(), expected);
    }
    let one = Selection { document: Some(a.conflicts(false)[0].document.clone()), ..Selection::default() };
    assert_eq!(a.database.view().unwrap().conflicts(&one, None, 10).unwrap().conflicts.len(), 1);
}
