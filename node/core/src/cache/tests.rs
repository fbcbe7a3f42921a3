//! What becomes of one key on a few nodes, told step by step.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::counter::Amount;
use crate::id::NodeName;
use crate::stamp::{HybridClock, Stamp};
use crate::time::Millis;
use crate::vector::{Dot, Origin, Sequence};

/// A node with one key.
pub(super) struct Node {
    pub(super) origin: Origin,
    sequence: u64,
    clock: HybridClock,
    skew: u64,
    pub(super) state: KeyState,
}

impl Node {
    pub(super) fn new(number: u64, skew: u64) -> Self {
        let origin = Origin { node: NodeName::parse(&format!("n{number}")).unwrap(), incarnation: number };
        let clock = HybridClock::new(Stamp::default(), Millis(1_000));
        Self { origin, sequence: 0, clock, skew, state: KeyState::default() }
    }

    pub(super) fn dot(&self) -> Dot {
        Dot { origin: self.origin.clone(), sequence: Sequence(self.sequence) }
    }

    pub(super) fn act(&mut self, now: u64, command: CacheCommand, when: &When) -> Result<CacheOutcome, CacheRefusal> {
        let now = Millis(now + self.skew);
        self.sequence += 1;
        let minted = Minted { now, stamp: self.clock.tick(now), dot: self.dot() };
        perform(&mut self.state, command, when, true, minted)
    }

    pub(super) fn set(&mut self, now: u64, value: &str, ttl: u64) {
        let command = CacheCommand::Set { content: Content::json(value), lifetime: Lifetime::For(Millis(ttl)) };
        self.act(now, command, &When::Always).unwrap();
    }

    pub(super) fn add(&mut self, now: u64, amount: i64, ttl: u64) -> Result<CacheOutcome, CacheRefusal> {
        let amount = Amount::from_billionths(i128::from(amount) * 1_000_000_000);
        self.act(now, CacheCommand::Add { amount, lifetime: Millis(ttl) }, &When::Always)
    }

    pub(super) fn touch(&mut self, now: u64, ttl: u64) -> Result<CacheOutcome, CacheRefusal> {
        self.act(now, CacheCommand::Touch { lifetime: Millis(ttl) }, &When::Always)
    }

    fn shown(&self, now: u64) -> Option<String> {
        let shown = self.state.shown(Millis(now))?;
        Some(String::from_utf8(shown.content.bytes.clone()).unwrap())
    }

    pub(super) fn hear(&mut self, other: &KeyState) {
        self.state.merge(other.clone());
    }
}

#[test]
fn an_entry_ends_by_the_clock_and_what_it_hid_stays_hidden() {
    let mut node = Node::new(1, 0);
    node.set(0, "\"old\"", 1_000);
    node.set(10, "\"new\"", 50);
    assert_eq!(node.shown(59).as_deref(), Some("\"new\""));
    assert_eq!(node.shown(60), None);
    assert_eq!(node.shown(500), None, "what was overwritten came back");
    node.state.let_go(Millis(61));
    assert_eq!(node.shown(61), None);
    assert!(node.state.writes[0].content.is_none(), "its value is still kept");
    // Somebody who has the old write alone brings it late.
    let mut late = Node::new(1, 0);
    late.set(0, "\"old\"", 1_000);
    node.hear(&late.state);
    assert_eq!(node.shown(500), None);
    node.state.let_go(Millis(1_000));
    assert!(node.state.is_empty());
}

#[test]
fn what_was_added_before_an_end_is_not_added_after_it() {
    let mut node = Node::new(1, 0);
    node.set(0, "5", 1_000);
    node.add(1, 10, 1_000).unwrap();
    node.act(2, CacheCommand::Touch { lifetime: Millis(50) }, &When::Always).unwrap();
    assert_eq!((node.shown(51).as_deref(), node.shown(52)), (Some("15"), None));
    for now in [60, 200, 400] {
        node.add(now, 1, 50).unwrap();
        assert_eq!((node.shown(now).as_deref(), node.shown(now + 50)), (Some("1"), None));
    }
    // Another node that goes on with its count of old adds what is new in it, and no more.
    let (mut one, mut two) = (Node::new(1, 0), Node::new(2, 0));
    one.set(0, "0", 1_000);
    two.hear(&one.state);
    two.add(1, 10, 1_000).unwrap();
    one.hear(&two.state);
    one.act(2, CacheCommand::Touch { lifetime: Millis(50) }, &When::Always).unwrap();
    one.add(60, 1, 1_000).unwrap();
    two.add(61, 3, 1_000).unwrap();
    let (of_one, of_two) = (one.state.clone(), two.state.clone());
    one.hear(&of_two);
    two.hear(&of_one);
    assert_eq!((one.shown(70), two.shown(70)), (Some("4".to_owned()), Some("4".to_owned())));
}

#[test]
fn a_fresh_set_that_races_an_expiry_wins_everywhere() {
    let (mut one, mut two) = (Node::new(1, 0), Node::new(2, 0));
    one.set(0, "1", 100);
    two.hear(&one.state);
    // The one that sweeps does so while the other writes.
    one.state.let_go(Millis(100));
    two.set(101, "2", 100);
    one.hear(&two.state);
    two.hear(&one.state);
    assert_eq!(one.shown(150).as_deref(), Some("2"));
    assert_eq!(one.state, two.state);
}

#[test]
fn counters_that_two_nodes_begin_add_up() {
    let (mut one, mut two) = (Node::new(1, 0), Node::new(2, 0));
    one.add(0, 5, 1_000).unwrap();
    two.add(1, 7, 1_000).unwrap();
    one.add(2, 1, 1_000).unwrap();
    let (of_one, of_two) = (one.state.clone(), two.state.clone());
    one.hear(&of_two);
    two.hear(&of_one);
    assert_eq!(one.shown(3).as_deref(), Some("13"));
    assert_eq!(one.state, two.state);
    // A touch takes in what it has seen; what it has not seen goes on being added.
    two.act(4, CacheCommand::Touch { lifetime: Millis(5_000) }, &When::Always).unwrap();
    one.add(4, 2, 1_000).unwrap();
    let (of_one, of_two) = (one.state.clone(), two.state.clone());
    one.hear(&of_two);
    two.hear(&of_one);
    assert_eq!((one.shown(5), two.shown(5)), (Some("15".to_owned()), Some("15".to_owned())));
    // Something else in its place ends the counting.
    one.set(6, "100", 1_000);
    two.hear(&one.state);
    assert_eq!(two.shown(7).as_deref(), Some("100"));
    assert!(two.state.counts.is_empty());
    two.add(8, 1, 1_000).unwrap();
    one.hear(&two.state);
    assert_eq!(one.shown(9).as_deref(), Some("101"));
}

#[test]
fn a_deleted_counter_begins_at_zero_everywhere_and_with_what_its_deletion_did_not_know() {
    let (mut one, mut two, mut three) = (Node::new(1, 0), Node::new(2, 0), Node::new(3, 0));
    one.add(0, 5, 1_000).unwrap();
    two.hear(&one.state);
    two.add(1, 9, 1_000).unwrap();
    // Unseen by two's addition, which it has not seen either: deleted and begun again.
    one.act(5, CacheCommand::Delete, &When::Always).unwrap();
    one.add(6, 1, 1_000).unwrap();
    let (of_one, of_two) = (one.state.clone(), two.state.clone());
    one.hear(&of_two);
    two.hear(&of_one);
    three.hear(&of_two);
    three.hear(&of_one);
    assert_eq!(one.shown(7).as_deref(), Some("10"));
    assert_eq!((one.state.clone(), one.state.clone()), (two.state, three.state));
}

#[test]
fn a_clock_that_runs_ahead_wins_no_argument_with_a_later_write() {
    let (mut ahead, mut right) = (Node::new(1, 3_600_000), Node::new(2, 0));
    ahead.set(0, "\"ahead\"", 1_000);
    right.hear(&ahead.state);
    right.set(5, "\"right\"", 1_000);
    ahead.hear(&right.state);
    assert_eq!((right.shown(6), ahead.shown(6)), (Some("\"right\"".to_owned()), Some("\"right\"".to_owned())));
}

#[test]
fn an_addition_lasts_as_long_as_the_one_that_it_replaces() {
    let (mut adder, mut setter, mut third) = (Node::new(1, 0), Node::new(2, 20), Node::new(3, 0));
    adder.add(100, 5, 40).unwrap();
    third.hear(&adder.state);
    setter.set(101, "7", 1);
    adder.hear(&setter.state);
    // Added to what the other one set, which ends long before the first number.
    adder.add(101, 1, 40).unwrap();
    setter.act(101, CacheCommand::Delete, &When::Always).unwrap();
    let late = third.state.clone();
    for node in [&mut setter, &mut third] {
        node.hear(&adder.state);
    }
    third.hear(&setter.state);
    setter.hear(&late);
    for now in 101..150 {
        assert_eq!(setter.state.shown(Millis(now)), third.state.shown(Millis(now)), "at {now}");
    }
}

#[test]
fn a_write_that_a_crash_took_back_leaves_its_number_to_another_and_not_its_version() {
    let version_of = |now: u64, value: &str, count: bool| {
        let mut node = Node::new(1, 0);
        node.set(now, value, 1_000);
        if count {
            node.add(now, 1, 1_000).unwrap();
        }
        node.state.shown(Millis(now)).unwrap().times.version
    };
    assert_eq!(version_of(0, "1", false), version_of(0, "1", false));
    assert_ne!(version_of(0, "1", false), version_of(5, "1", false));
    assert_ne!(version_of(0, "1", false), version_of(0, "2", false), "the clock was set back meanwhile");
    assert_ne!(version_of(0, "1", true), version_of(5, "1", true));
}

#[test]
fn conditions_hold_or_nothing_is_written() {
    let mut node = Node::new(1, 0);
    let set = |value: &str| CacheCommand::Set { content: Content::json(value), lifetime: Lifetime::For(Millis(100)) };
    assert_eq!(node.act(0, set("1"), &When::Present), Err(CacheRefusal::Absent));
    let first = node.act(0, set("1"), &When::Absent).unwrap();
    let version = first.after.unwrap().version_text();
    assert_eq!(node.act(1, set("2"), &When::Absent), Err(CacheRefusal::Present { current: version.clone() }));
    assert!(node.act(1, set("2"), &When::At(vec![version.clone()])).is_ok());
    assert!(matches!(node.act(1, set("3"), &When::At(vec![version])), Err(CacheRefusal::OtherVersion { .. })));
    assert!(node.act(2, CacheCommand::Touch { lifetime: Millis(9) }, &When::Always).unwrap().written.is_some());
    assert_eq!(node.shown(12), None);
    assert_eq!(node.act(12, CacheCommand::Touch { lifetime: Millis(9) }, &When::Always), Err(CacheRefusal::Absent));
    assert!(node.act(12, CacheCommand::Delete, &When::Always).unwrap().written.is_none());
    assert!(node.act(12, set("1"), &When::Absent).is_ok(), "an ended entry stood in the way");
}

#[test]
fn only_numbers_are_added_to_and_exactly() {
    let mut node = Node::new(1, 0);
    for value in ["\"text\"", "[1]", "null", "1e300", "0.12345678901"] {
        node.set(0, value, 100);
        assert_eq!(node.add(1, 1, 100), Err(CacheRefusal::NotANumber), "{value}");
        assert_eq!(node.shown(1).as_deref(), Some(value));
    }
    node.set(2, "0.1", 100);
    node.add(3, 1, 100).unwrap();
    assert_eq!(node.shown(3).as_deref(), Some("1.1"));
    node.set(4, "9223372036854775807", 100);
    assert_eq!(node.add(5, 1, 100).unwrap().sum.unwrap().bytes, b"9223372036854775808");
}

fn tell_each_other(one: &mut Node, two: &mut Node) {
    let of_one = one.state.clone();
    one.hear(&two.state);
    two.hear(&of_one);
    assert_eq!(one.state, two.state);
}

/// Two nodes that have the same entry, `"1"` for a second.
fn two_with_an_entry() -> (Node, Node) {
    let (mut one, mut two) = (Node::new(1, 0), Node::new(2, 0));
    one.set(0, "1", 1_000);
    two.hear(&one.state);
    (one, two)
}

#[test]
fn a_touch_undoes_no_write_that_it_has_not_seen_now_or_later() {
    // Whichever of them is the later one.
    for (touched, written) in [(20, 10), (10, 20)] {
        let (mut one, mut two) = two_with_an_entry();
        one.touch(touched, 5_000).unwrap();
        two.set(written, "2", 100);
        tell_each_other(&mut one, &mut two);
        assert_eq!((one.shown(50).as_deref(), one.shown(200), one.shown(1_500)), (Some("2"), None, None));
        let (mut one, mut two) = two_with_an_entry();
        one.touch(touched, 5_000).unwrap();
        two.act(written, CacheCommand::Delete, &When::Always).unwrap();
        let late = one.state.clone();
        tell_each_other(&mut one, &mut two);
        for now in [50, 999, 1_001, 4_999] {
            assert_eq!(one.shown(now), None, "what was deleted came back at {now}");
            one.state.let_go(Millis(now));
            one.hear(&late);
            assert_eq!(one.shown(now), None, "it came back by a late message at {now}");
        }
        one.state.let_go(Millis(6_000));
        assert!(one.state.is_empty());
    }
}

#[test]
fn the_latest_touch_decides_and_leaves_the_write_as_it_is() {
    let (mut one, mut two) = two_with_an_entry();
    let write = one.state.writes[0].clone();
    let version = one.state.shown(Millis(1)).unwrap().times.version;
    one.touch(10, 5_000).unwrap();
    one.touch(20, 3_000).unwrap();
    assert_eq!((&one.state.writes, one.state.touches.len()), (&vec![write.clone()], 1), "a touch is kept for nothing");
    let times = one.state.shown(Millis(21)).unwrap().times;
    assert_eq!((times.expires, times.created, times.updated), (Millis(3_020), Millis(0), Millis(20)));
    assert_ne!(times.version, version);
    two.touch(30, 100).unwrap();
    assert_eq!((two.shown(129).as_deref(), two.shown(130)), (Some("1"), None));
    // The other one's reaches further than anything this one knew.
    tell_each_other(&mut one, &mut two);
    assert_eq!((two.shown(3_019).as_deref(), two.shown(3_020)), (Some("1"), None));
    two.touch(40, 10).unwrap();
    tell_each_other(&mut one, &mut two);
    assert_eq!((one.shown(49).as_deref(), one.shown(50), one.shown(3_000)), (Some("1"), None, None));
    assert_eq!((&one.state.writes, one.state.touches.len()), (&vec![write], 1));
    // Something else in its place ends it.
    one.set(45, "3", 10);
    assert!(one.state.touches.is_empty());
}

#[test]
fn a_touch_brings_back_the_value_that_was_let_go_of_before_it_came() {
    let (mut one, mut two) = two_with_an_entry();
    two.touch(10, 50).unwrap();
    one.touch(20, 2_000).unwrap();
    two.state.let_go(Millis(100));
    assert_eq!((two.shown(100), two.state.content_bytes()), (None, 0));
    tell_each_other(&mut one, &mut two);
    assert_eq!(two.shown(100).as_deref(), Some("1"));
}

#[test]
fn a_touch_neither_loses_nor_doubles_what_it_has_not_seen_counted() {
    // Both begin the counter, one of them touches it, both go on.
    for later in [1, 2] {
        let (mut one, mut two) = (Node::new(1, 0), Node::new(2, 0));
        one.add(later, 5, 1_000).unwrap();
        two.add(3 - later, 7, 1_000).unwrap();
        one.touch(3, 5_000).unwrap();
        two.add(4, 1, 1_000).unwrap();
        tell_each_other(&mut one, &mut two);
        for now in [5, 1_500, 5_002] {
            assert_eq!(one.shown(now).as_deref(), Some("13"), "at {now}");
        }
        assert_eq!(one.shown(5_003), None);
        two.state.let_go(Millis(4_000));
        two.add(4_000, 1, 1_000).unwrap();
        one.hear(&two.state);
        assert_eq!((one.shown(5_002).as_deref(), one.shown(5_003)), (Some("14"), None));
    }
    // What was let go of comes back from whoever has kept it.
    let (mut one, mut two, mut three) = (Node::new(1, 0), Node::new(2, 0), Node::new(3, 0));
    one.add(0, 5, 1_000).unwrap();
    two.hear(&one.state);
    two.add(1, 2, 1_000).unwrap();
    three.hear(&two.state);
    one.touch(2, 5_000).unwrap();
    three.hear(&one.state);
    two.state.let_go(Millis(1_500));
    two.hear(&one.state);
    assert_eq!(two.shown(1_500).as_deref(), Some("5"));
    let all = three.state.dots().map(|dot| (dot.origin.clone(), dot.sequence)).collect();
    assert!(!three.state.is_known_to(&all), "it is sent to nobody");
    tell_each_other(&mut two, &mut three);
    assert_eq!(two.shown(1_500).as_deref(), Some("7"));
    // What was over before it was touched stays over.
    let (mut one, mut two) = (Node::new(1, 0), Node::new(2, 0));
    one.add(500, 5, 1_000).unwrap();
    two.add(0, 100, 1_000).unwrap();
    tell_each_other(&mut one, &mut two);
    assert_eq!((one.shown(999).as_deref(), one.shown(1_000).as_deref()), (Some("105"), Some("5")));
    one.touch(1_001, 9_000).unwrap();
    tell_each_other(&mut one, &mut two);
    assert_eq!(two.shown(1_002).as_deref(), Some("5"));
}

#[test]
fn an_addition_that_a_deletion_has_not_seen_is_shown_from_zero() {
    // Whichever of them is the later one, and once more after it.
    for (added, deleted) in [(20, 10), (10, 20)] {
        let (mut one, mut two) = (Node::new(1, 0), Node::new(2, 0));
        one.add(0, 5, 1_000).unwrap();
        two.hear(&one.state);
        two.add(1, 3, 1_000).unwrap();
        one.hear(&two.state);
        two.add(added, 2, 1_000).unwrap();
        one.act(deleted, CacheCommand::Delete, &When::Always).unwrap();
        assert_eq!(one.shown(30), None);
        tell_each_other(&mut one, &mut two);
        assert_eq!((one.shown(30).as_deref(), one.shown(1_000)), (Some("2"), None));
        let sum = one.add(40, 1, 1_000).unwrap().sum.unwrap();
        assert_eq!(sum.bytes, b"3");
        one.touch(50, 5_000).unwrap();
        tell_each_other(&mut one, &mut two);
        assert_eq!((two.shown(5_049).as_deref(), two.shown(5_050)), (Some("3"), None));
        // Whoever has seen all of it deletes it.
        two.act(60, CacheCommand::Delete, &When::Present).unwrap();
        tell_each_other(&mut one, &mut two);
        assert_eq!((one.shown(61), one.shown(4_000)), (None, None));
        two.add(70, 1, 1_000).unwrap();
        tell_each_other(&mut one, &mut two);
        assert_eq!((one.shown(71).as_deref(), one.shown(1_070)), (Some("1"), None));
    }
}

#[test]
fn what_was_added_unseen_outlasts_the_deletion_and_brings_back_nothing_else() {
    let (mut one, mut two) = (Node::new(1, 0), Node::new(2, 0));
    one.set(0, "5", 1_000);
    two.hear(&one.state);
    two.touch(1, 5_000).unwrap();
    two.add(2, 3, 1_000).unwrap();
    one.act(3, CacheCommand::Delete, &When::Always).unwrap();
    let late = two.state.clone();
    tell_each_other(&mut one, &mut two);
    for now in [4, 999, 1_000, 4_999] {
        assert_eq!(one.shown(now).as_deref(), Some("3"), "at {now}");
        one.state.let_go(Millis(now));
        one.hear(&late);
        assert_eq!(one.shown(now).as_deref(), Some("3"), "at {now}");
    }
    assert_eq!(one.shown(5_001), None);
    // An entry that had ended where it was added to does not come back.
    let (mut one, mut two) = two_with_an_entry();
    two.set(1, "2", 50);
    two.add(2, 3, 50).unwrap();
    one.touch(3, 1_000).unwrap();
    one.act(70, CacheCommand::Delete, &When::Always).unwrap();
    tell_each_other(&mut one, &mut two);
    assert_eq!(one.shown(71), None);
}

#[test]
fn a_value_that_is_set_keeps_of_a_count_only_what_it_has_not_seen() {
    let (mut one, mut two) = (Node::new(1, 0), Node::new(2, 0));
    two.add(0, 5, 1_000).unwrap();
    one.hear(&two.state);
    one.set(1, "100", 1_000);
    two.add(2, 1, 1_000).unwrap();
    tell_each_other(&mut one, &mut two);
    assert_eq!(one.shown(3).as_deref(), Some("101"));
}
