//! Small worlds of one key: writes on several nodes, merged in any order, at any time, with and without letting go.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::counter::Amount;
use crate::encoding::Reader;
use crate::id::NodeName;
use crate::stamp::{HybridClock, Stamp};
use crate::time::Millis;
use crate::vector::{Dot, Origin, Sequence};
use proptest::prelude::{ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

/// A node with one key.
struct Node {
    origin: Origin,
    sequence: u64,
    clock: HybridClock,
    skew: u64,
    state: KeyState,
}

impl Node {
    fn new(number: u64, skew: u64) -> Self {
        let origin = Origin { node: NodeName::parse(&format!("n{number}")).unwrap(), incarnation: number };
        let clock = HybridClock::new(Stamp::default(), Millis(1_000));
        Self { origin, sequence: 0, clock, skew, state: KeyState::default() }
    }

    fn act(&mut self, now: u64, command: CacheCommand, when: &When) -> Result<CacheOutcome, CacheRefusal> {
        let now = Millis(now + self.skew);
        self.sequence += 1;
        let dot = Dot { origin: self.origin.clone(), sequence: Sequence(self.sequence) };
        let minted = Minted { now, stamp: self.clock.tick(now), dot };
        perform(&mut self.state, command, when, true, minted)
    }

    fn set(&mut self, now: u64, value: &str, ttl: u64) {
        let command = CacheCommand::Set { content: Content::json(value), lifetime: Lifetime::For(Millis(ttl)) };
        self.act(now, command, &When::Always).unwrap();
    }

    fn add(&mut self, now: u64, amount: i64, ttl: u64) -> Result<CacheOutcome, CacheRefusal> {
        let amount = Amount::from_billionths(i128::from(amount) * 1_000_000_000);
        self.act(now, CacheCommand::Add { amount, lifetime: Millis(ttl) }, &When::Always)
    }

    fn shown(&self, now: u64) -> Option<String> {
        let shown = self.state.shown(Millis(now))?;
        Some(String::from_utf8(shown.content.bytes.clone()).unwrap())
    }

    fn hear(&mut self, other: &KeyState) {
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
fn an_addition_on_a_deleted_counter_begins_at_zero_everywhere() {
    let (mut one, mut two, mut three) = (Node::new(1, 0), Node::new(2, 0), Node::new(3, 0));
    one.add(0, 5, 1_000).unwrap();
    two.hear(&one.state);
    two.add(1, 9, 1_000).unwrap();
    // Unseen by two's addition: deleted and begun again.
    one.act(5, CacheCommand::Delete, &When::Always).unwrap();
    one.add(6, 1, 1_000).unwrap();
    let (of_one, of_two) = (one.state.clone(), two.state.clone());
    one.hear(&of_two);
    two.hear(&of_one);
    three.hear(&of_two);
    three.hear(&of_one);
    assert_eq!(one.shown(7).as_deref(), Some("1"));
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

#[derive(Debug, Clone)]
enum Step {
    Set(usize, u64),
    Add(usize, i64),
    Touch(usize, u64),
    Delete(usize),
    Hear(usize, usize),
    LetGo(usize),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = 0..3usize;
    let step = prop_oneof![
        (node.clone(), 1..60u64).prop_map(|(node, ttl)| Step::Set(node, ttl)),
        (node.clone(), -5..9i64).prop_map(|(node, amount)| Step::Add(node, amount)),
        (node.clone(), 1..60u64).prop_map(|(node, ttl)| Step::Touch(node, ttl)),
        node.clone().prop_map(Step::Delete),
        (node.clone(), node.clone()).prop_map(|(from, to)| Step::Hear(from, to)),
        node.prop_map(Step::LetGo),
        (0..20u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Nodes that have told each other everything show the same, now and at every later moment, whichever of them has
    /// let go of what ended, and whatever order the news came in.
    #[test]
    fn nodes_that_have_heard_the_same_show_the_same(steps in steps(), skews in prop::array::uniform3(0..3u64)) {
        let mut nodes: Vec<Node> = (1..).zip(skews).map(|(number, skew)| Node::new(number, skew * 10)).collect();
        let mut hoarder = Node::new(9, 0);
        let mut now = 100;
        for step in steps {
            match step {
                Step::Set(at, ttl) => nodes[at].set(now, &now.to_string(), ttl),
                Step::Add(at, amount) => drop(nodes[at].add(now, amount, 40)),
                Step::Touch(at, ttl) => drop(nodes[at].act(now, CacheCommand::Touch { lifetime: Millis(ttl) }, &When::Always)),
                Step::Delete(at) => drop(nodes[at].act(now, CacheCommand::Delete, &When::Always)),
                Step::Hear(from, to) => {
                    let state = nodes[from].state.clone();
                    nodes[to].hear(&state);
                }
                // The clock that lets go must not run ahead of the one by which entries are compared.
                Step::LetGo(at) => nodes[at].state.let_go(Millis(now)),
                Step::Wait(span) => now += span,
            }
            for node in &nodes {
                hoarder.hear(&node.state);
            }
        }
        let states: Vec<KeyState> = nodes.iter().map(|node| node.state.clone()).collect();
        for (at, node) in nodes.iter_mut().enumerate() {
            for turn in 0..3 {
                node.hear(&states[(at + turn) % 3]);
            }
        }
        for later in (now..now + 200).step_by(7) {
            let first = nodes[0].state.shown(Millis(later));
            prop_assert_eq!(&first, &nodes[1].state.shown(Millis(later)));
            prop_assert_eq!(&first, &nodes[2].state.shown(Millis(later)));
            prop_assert_eq!(&first, &hoarder.state.shown(Millis(later)), "letting go changed what is shown at {}", later);
        }
        // Equal knowledge has equal digests of what outlives this moment.
        let key = CacheKey::parse("k").unwrap();
        let digest = |state: &KeyState| {
            let parts = state.digests(&key).filter(|(until, _)| *until > Millis(now));
            parts.fold(0u128, |sum, (_, digest)| sum.wrapping_add(digest.0))
        };
        prop_assert_eq!(digest(&nodes[0].state), digest(&nodes[1].state));
        prop_assert_eq!(digest(&nodes[0].state), digest(&hoarder.state));
    }

    #[test]
    fn a_state_comes_back_from_its_bytes(steps in steps()) {
        let mut nodes: Vec<Node> = (0..3).map(|number| Node::new(number + 1, 0)).collect();
        let mut now = 100;
        for step in steps {
            match step {
                Step::Set(at, ttl) => nodes[at].set(now, "[1,2]", ttl),
                Step::Add(at, amount) => drop(nodes[at].add(now, amount, 40)),
                Step::Hear(from, to) => {
                    let state = nodes[from].state.clone();
                    nodes[to].hear(&state);
                }
                Step::Wait(span) => now += span,
                _ => {}
            }
        }
        let origins: Vec<Origin> = nodes.iter().map(|node| node.origin.clone()).collect();
        let mut bytes = Vec::new();
        let mut number_of = |origin: &Origin| origins.iter().position(|known| known == origin).unwrap() as u64;
        encode_state(&mut bytes, &nodes[0].state, &mut number_of);
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(decode_state(&mut reader, &origins), Ok(nodes[0].state.clone()));
        prop_assert!(reader.is_empty());
        prop_assert!(nodes[0].state.is_plausible());
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let origin = Origin { node: NodeName::parse("n").unwrap(), incarnation: 1 };
        if let Ok(state) = decode_state(&mut Reader::new(&bytes), &[origin]) {
            let _ = state.is_plausible();
            let _ = state.shown(Millis(1));
        }
    }
}
