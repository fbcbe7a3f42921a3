//! Random worlds of one key on three nodes, against somebody who has heard everything at once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::tests::Node;
use super::{CacheCommand, CacheKey, KeyState, StateFormat, When, decode_state, encode_state};
use crate::encoding::Reader;
use crate::id::NodeName;
use crate::time::Millis;
use crate::vector::{Dot, Origin};
use proptest::prelude::{
    ProptestConfig, Strategy, TestCaseError, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::test_runner::TestRunner;

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

/// A node lets go of what has ended. Answers whether it lets go of something while a touch is on its way to it, or of
/// something that somebody who has heard everything keeps.
fn let_go(node: &mut Node, hoarder: &KeyState, now: Millis) -> bool {
    let before: Vec<Dot> = node.state.dots().cloned().collect();
    node.state.let_go(now);
    let mut kept = hoarder.clone();
    kept.let_go(now);
    let is_gone = |dot: &&Dot| !node.state.dots().any(|known| known == *dot);
    let gone: Vec<&Dot> = before.iter().filter(is_gone).collect();
    let is_on_its_way = kept.touches.iter().any(|touch| !before.contains(&touch.dot));
    (is_on_its_way && !gone.is_empty()) || gone.iter().any(|dot| kept.dots().any(|known| known == *dot))
}

/// Nodes that have told each other everything show the same, now and at every later moment, whichever of them has let go
/// of what ended, and whatever order the news came in. And they show what somebody shows who has heard everything at once
/// and lets go of nothing, unless one has let go while a touch was on its way.
fn check_world(steps: Vec<Step>, skews: [u64; 3]) -> Result<bool, TestCaseError> {
    let mut nodes: Vec<Node> = (1..).zip(skews).map(|(number, skew)| Node::new(number, skew * 10)).collect();
    let mut hoarder = Node::new(9, 0);
    let mut now = 100;
    let mut is_late = false;
    for step in steps {
        if let Step::LetGo(at) = step {
            is_late |= let_go(&mut nodes[at], &hoarder.state, Millis(now));
        } else {
            step.take(&mut nodes, &mut now);
        }
        for node in &nodes {
            hoarder.hear(&node.state);
        }
    }
    let states: Vec<KeyState> = nodes.iter().map(|node| node.state.clone()).collect();
    for (at, node) in nodes.iter_mut().enumerate() {
        // In another order each, and the last more than once.
        let order = [[0, 1, 2, 2], [2, 1, 0, 2], [1, 2, 0, 1]][at];
        for from in order {
            node.hear(&states[from]);
        }
    }
    for later in (now..now + 200).step_by(7) {
        let first = nodes[0].state.shown(Millis(later));
        prop_assert_eq!(&first, &nodes[1].state.shown(Millis(later)));
        prop_assert_eq!(&first, &nodes[2].state.shown(Millis(later)));
        let known = hoarder.state.shown(Millis(later));
        prop_assert!(
            is_late || first == known,
            "letting go changed what is shown at {}: {:?} {:?}",
            later,
            first,
            known
        );
    }
    // Equal knowledge has equal digests of what outlives this moment.
    let key = CacheKey::parse("k").unwrap();
    let digest = |state: &KeyState| {
        let parts = state.digests(&key).filter(|(until, _)| *until > Millis(now));
        parts.fold(0u128, |sum, (_, digest)| sum.wrapping_add(digest.0))
    };
    prop_assert_eq!(digest(&nodes[0].state), digest(&nodes[1].state));
    prop_assert_eq!(digest(&nodes[0].state), digest(&nodes[2].state));
    prop_assert!(is_late || digest(&nodes[0].state) == digest(&hoarder.state));
    Ok(is_late)
}

#[test]
fn nodes_that_have_heard_the_same_show_the_same() {
    let cases = 8_000;
    let config = ProptestConfig { source_file: Some(file!()), ..ProptestConfig::with_cases(cases) };
    let late = std::cell::Cell::new(0);
    let world = (steps(), prop::array::uniform3(0..3u64));
    let outcome = TestRunner::new(config).run(&world, |(steps, skews)| {
        late.set(late.get() + u32::from(check_world(steps, skews)?));
        Ok(())
    });
    outcome.unwrap_or_else(|wrong| panic!("{wrong}"));
    // Many enough to try it, and few enough to hold the others against what somebody knows who has heard everything.
    assert!(late.get() > 0, "no touch came late");
    assert!(late.get() < cases / 5, "in {} of {cases} worlds a touch came late", late.get());
}

/// What three nodes come to.
fn run(steps: Vec<Step>, skews: [u64; 3]) -> Vec<Node> {
    let mut nodes: Vec<Node> = (1..).zip(skews).map(|(number, skew)| Node::new(number, skew * 10)).collect();
    let mut now = 100;
    for step in steps {
        step.take(&mut nodes, &mut now);
    }
    nodes
}

impl Step {
    fn take(self, nodes: &mut [Node], now: &mut u64) {
        match self {
            Self::Set(at, ttl) => nodes[at].set(*now, &now.to_string(), ttl),
            Self::Add(at, amount) => drop(nodes[at].add(*now, amount, 40)),
            Self::Touch(at, ttl) => drop(nodes[at].touch(*now, ttl)),
            Self::Delete(at) => drop(nodes[at].act(*now, CacheCommand::Delete, &When::Always)),
            Self::Hear(from, to) => {
                let state = nodes[from].state.clone();
                nodes[to].hear(&state);
            }
            // The clock that lets go must not run ahead of the one by which entries are compared.
            Self::LetGo(at) => nodes[at].state.let_go(Millis(*now)),
            Self::Wait(span) => *now += span,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// In whatever order and however often news come, and whoever has put some of it together before.
    #[test]
    fn merging_is_commutative_associative_and_repeatable(steps in steps(), skews in prop::array::uniform3(0..3u64)) {
        let nodes = run(steps, skews);
        let [a, b, c] = [0, 1, 2].map(|at: usize| nodes[at].state.clone());
        let merged = |parts: &[&KeyState]| parts.iter().fold(KeyState::default(), |mut state, part| {
            state.merge((*part).clone());
            state
        });
        // Of two resets that say the same either is kept.
        let merged = |parts: &[&KeyState]| {
            let mut state = merged(parts);
            state.resets.iter_mut().for_each(|reset| reset.dot.clone_from(&nodes[0].dot()));
            state
        };
        let all = merged(&[&a, &b, &c]);
        for order in [[&a, &c, &b], [&b, &a, &c], [&b, &c, &a], [&c, &a, &b], [&c, &b, &a]] {
            prop_assert_eq!(&merged(&order), &all);
        }
        prop_assert_eq!(&merged(&[&a, &merged(&[&b, &c])]), &all);
        prop_assert_eq!(&merged(&[&merged(&[&a, &b]), &merged(&[&c, &b]), &a]), &all);
        prop_assert_eq!(&merged(&[&all, &all, &b]), &all);
    }

    #[test]
    fn a_state_comes_back_from_its_bytes(steps in steps()) {
        let nodes = run(steps, [0; 3]);
        let origins: Vec<Origin> = nodes.iter().map(|node| node.origin.clone()).collect();
        let mut bytes = Vec::new();
        let mut number_of = |origin: &Origin| origins.iter().position(|known| known == origin).unwrap() as u64;
        encode_state(&mut bytes, &nodes[0].state, &mut number_of);
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(decode_state(&mut reader, &origins, StateFormat::Touches), Ok(nodes[0].state.clone()));
        prop_assert!(reader.is_empty());
        prop_assert!(nodes[0].state.is_plausible());
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let origin = Origin { node: NodeName::parse("n").unwrap(), incarnation: 1 };
        if let Ok(state) = decode_state(&mut Reader::new(&bytes), &[origin], StateFormat::Touches) {
            let _ = state.is_plausible();
            let _ = state.shown(Millis(1));
        }
    }
}
