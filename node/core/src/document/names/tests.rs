//! An increment that several nodes write again counts once, in every order in which they and others come.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::{any, prop, prop_assert_eq, proptest};
use serde_json::{Value, json};

use crate::counter::Increment;
use crate::document::DocumentState;
use crate::id::{CollectionName, DocumentId, NodeName, OperationId};
use crate::json::JsonText;
use crate::limits::{COUNTED_NAMES_SETTLED_MIN, STAND_IN_NAMES_MAX};
use crate::operation::{Operation, OperationKind};
use crate::stamp::Stamp;
use crate::vector::{Dot, Origin, Sequence, Vector};

fn dot(name: &str, sequence: u64) -> Dot {
    let origin = Origin { node: NodeName::parse(name).unwrap(), incarnation: 1 };
    Dot { origin, sequence: Sequence(sequence) }
}

fn operation(name: &str, sequence: u64, context: &[&Operation], kind: OperationKind) -> Operation {
    let mut seen = Vector::new();
    for one in context {
        seen.merge(&one.context);
        seen.observe(&one.dot.origin, one.dot.sequence);
    }
    let id = name.bytes().fold(u128::from(sequence), |id, byte| (id << 8) | u128::from(byte));
    Operation {
        id: OperationId(id),
        dot: dot(name, sequence),
        stamp: Stamp(sequence),
        collection: CollectionName::parse("c").unwrap(),
        document: Some(DocumentId::parse("d").unwrap()),
        context: seen,
        group: None,
        chain: None,
        replaces: None,
        kind,
    }
}

fn text(value: &Value) -> JsonText {
    JsonText::parse(&value.to_string()).unwrap()
}

fn put(value: &Value) -> OperationKind {
    OperationKind::Put { body: text(value), created: false }
}

fn add(value: &Value) -> OperationKind {
    OperationKind::Increment(Increment::parse(value.as_object().unwrap()).unwrap())
}

fn again(name: &str, context: &[&Operation], original: &Operation) -> Operation {
    let stand_in = operation(name, 1, context, original.kind.clone());
    Operation { replaces: Some(original.identity()), ..stand_in }
}

/// What a write over some of the increments may be.
fn overwrites() -> Vec<OperationKind> {
    let n = json!({"n": 100});
    vec![
        put(&n),
        OperationKind::Delete,
        OperationKind::Patch { body: text(&json!({"n": 100, "m": 0})), patch: text(&n) },
        OperationKind::Resolve { body: Some(text(&json!({"n": 100, "m": 0}))), patch: text(&n) },
    ]
}

fn applied(operations: &[&Operation]) -> DocumentState {
    let mut state = DocumentState::default();
    for operation in operations {
        state.apply(operation);
    }
    state
}

/// All orders of some operations in which what one has seen comes before it.
fn orders<'a>(operations: &[&'a Operation]) -> Vec<Vec<&'a Operation>> {
    if operations.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (place, last) in operations.iter().enumerate() {
        let others: Vec<&Operation> =
            operations.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, one)| *one).collect();
        if others.iter().any(|other| other.context.covers(&last.dot)) {
            continue;
        }
        all.extend(orders(&others).into_iter().map(|mut order| {
            order.push(last);
            order
        }));
    }
    all
}

/// All sets of operations of which each has with it what it has seen.
fn closed_sets<'a>(operations: &[&'a Operation]) -> Vec<Vec<&'a Operation>> {
    let of = |mask: usize| -> Vec<&'a Operation> {
        operations.iter().enumerate().filter(|(at, _)| mask & (1 << at) != 0).map(|(_, one)| *one).collect()
    };
    let is_closed = |set: &Vec<&Operation>| {
        let has = |dot: &Dot| set.iter().any(|one| one.dot == *dot);
        let lacks =
            |one: &&&Operation| operations.iter().any(|other| one.context.covers(&other.dot) && !has(&other.dot));
        set.iter().find(lacks).is_none()
    };
    (0..1 << operations.len()).map(of).filter(is_closed).collect()
}

fn shown(state: &DocumentState) -> Value {
    state.shown().map_or(Value::Null, |text| serde_json::from_str(text.as_str()).unwrap())
}

#[test]
fn whoever_writes_an_increment_again_and_whatever_is_written_over_any_of_them_it_counts_once_in_every_order() {
    let base = operation("o", 1, &[], put(&json!({"n": 10, "m": 0})));
    let original = operation("p", 1, &[&base], add(&json!({"n": 1, "m": 1})));
    let (a, b) = (again("a", &[&base], &original), again("b", &[&base], &original));
    let of_one = [&original, &a, &b];
    assert_eq!(shown(&applied(&[&base, &original, &a, &b])), json!({"n": 11, "m": 1}));
    for kind in overwrites() {
        for seen in 0..8 {
            let mut context = vec![&base];
            context.extend(of_one.iter().enumerate().filter(|(at, _)| seen & (1 << at) != 0).map(|(_, one)| *one));
            let over = operation("y", 1, &context, kind.clone());
            let all = [&base, &original, &a, &b, &over];
            let expected = applied(&all);
            match (&kind, seen) {
                (OperationKind::Delete, _) => assert_eq!(shown(&expected), Value::Null),
                (OperationKind::Put { .. }, 0) => assert_eq!(shown(&expected), json!({"n": 101, "m": 1})),
                (OperationKind::Put { .. }, _) => assert_eq!(shown(&expected), json!({"n": 100})),
                (_, 0) => assert_eq!(shown(&expected), json!({"n": 101, "m": 1})),
                (_, _) => assert_eq!(shown(&expected), json!({"n": 100, "m": 1})),
            }
            for order in orders(&all) {
                assert_eq!(applied(&order), expected, "{seen:03b} {kind:?} in the order {order:?}");
            }
            let sets = closed_sets(&all);
            for (left, right) in sets.iter().flat_map(|left| sets.iter().map(move |right| (left, right))) {
                let mut joined = applied(left).join(&applied(right));
                assert_eq!(joined, applied(right).join(&applied(left)));
                for one in all.iter().filter(|one| !joined.vector.covers(&one.dot)).copied().collect::<Vec<_>>() {
                    joined.apply(one);
                }
                assert_eq!(joined, expected, "{seen:03b} {kind:?}, {left:?} joined with {right:?}");
            }
        }
    }
}

#[test]
fn an_increment_that_is_added_up_takes_those_with_it_that_stand_in_for_it_and_one_that_comes_later_changes_nothing() {
    let base = operation("o", 1, &[], put(&json!({"n": 10})));
    let original = operation("p", 1, &[&base], add(&json!({"n": 1})));
    let [a, b, c] = ["a", "b", "c"].map(|name| again(name, &[&base], &original));
    let stable: Vector = [&base, &original].iter().map(|one| (one.dot.origin.clone(), one.dot.sequence)).collect();
    let mut folded = applied(&[&base, &original, &a]);
    let beside = applied(&[&base, &a, &b]);
    assert!(folded.fold(&stable));
    assert!(folded.increments.is_empty() && folded.tally.is_some());
    let mut late = folded.clone();
    late.apply(&b);
    late.apply(&c);
    let single = applied(&[&base, &original, &a, &b, &c]);
    assert_eq!((shown(&late), late.version()), (json!({"n": 11}), single.version()));
    for joined in [folded.join(&beside), beside.join(&folded), late.join(&single), single.join(&late)] {
        assert_eq!((shown(&joined), joined.increments.len()), (json!({"n": 11}), 0));
    }
    assert!(late.is_of_the_same_operations(&single) && single.is_of_the_same_operations(&late));
    // What takes the place of the sum takes that of all of them.
    let over = operation("y", 1, &[&base, &original], put(&json!({"n": 50})));
    for mut state in [late, single] {
        state.apply(&over);
        assert_eq!(shown(&state), json!({"n": 50}));
    }
}

#[test]
fn whoever_had_seen_that_it_was_known_and_writes_it_again_counts_whether_that_is_remembered_or_not() {
    let base = operation("o", 1, &[], put(&json!({"n": 10})));
    let original = operation("p", 1, &[&base], add(&json!({"n": 1})));
    let over = operation("y", 1, &[&base, &original], put(&json!({"n": 50})));
    let everything = |known: &[&Operation]| -> Vector {
        known.iter().map(|one| (one.dot.origin.clone(), one.dot.sequence)).collect()
    };
    let (b, c) = (again("b", &[&over], &original), again("c", &[&over], &original));
    let remembers = applied(&[&base, &original, &over]);
    let mut forgot = remembers.clone();
    assert!(forgot.settle_names(&everything(&[&base, &original, &over])));
    for mut state in [remembers.clone(), forgot.clone(), remembers.join(&forgot), forgot.join(&remembers)] {
        state.apply(&b);
        state.apply(&c);
        assert_eq!(shown(&state), json!({"n": 51}));
    }
    let mut served = forgot.clone();
    served.apply(&b);
    assert_eq!(shown(&served.join(&remembers)), json!({"n": 51}));
    assert_eq!(shown(&remembers.join(&served)), json!({"n": 51}));
    // Where it was added up, nothing tells it from what is in the sum; where it was not yet, it is now.
    let sees_the_sum = again("d", &[&base, &original], &original);
    let mut single = applied(&[&base, &original]);
    let mut summed = single.clone();
    assert!(summed.fold(&everything(&[&base, &original])));
    single.apply(&sees_the_sum);
    summed.apply(&sees_the_sum);
    assert_eq!((single, shown(&summed)), (summed.clone(), json!({"n": 12})));
}

#[test]
fn of_two_sums_of_which_neither_has_all_nothing_is_lost_and_what_was_written_again_is_in_neither() {
    let base = operation("o", 1, &[], put(&json!({"n": 10})));
    let adds: Vec<Operation> =
        ["p", "q"].iter().map(|name| operation(name, 1, &[&base], add(&json!({"n": 1})))).collect();
    // One that stands in for another, with a number below one of its origin that is in a sum.
    let lost = operation("x", 9, &[&base], add(&json!({"n": 5})));
    let stand_in = again("p", &[&base], &lost);
    let mut all = applied(&[&base, &stand_in, &adds[1]]);
    let later = operation("p", 2, &[&base, &stand_in], add(&json!({"n": 1})));
    all.apply(&later);
    let (mut left, mut right) = (all.clone(), all.clone());
    assert!(left.fold(&[(later.dot.origin.clone(), Sequence(2))].into_iter().collect()));
    assert!(right.fold(&[(adds[1].dot.origin.clone(), Sequence(1))].into_iter().collect()));
    assert_eq!(shown(&all), json!({"n": 17}));
    for joined in [left.join(&right), right.join(&left), left.join(&all), all.join(&left)] {
        assert_eq!(shown(&joined), json!({"n": 17}));
    }
}

#[test]
fn names_go_when_every_member_knows_them_and_of_what_was_written_again_the_oldest_beyond_a_bound() {
    let base = operation("o", 1, &[], put(&json!({"n": 10})));
    let mut state = applied(&[&base]);
    let count = STAND_IN_NAMES_MAX as u64 + 5;
    for sequence in 1..=count {
        let one = Operation {
            replaces: Some(OperationId(u128::from(sequence))),
            ..operation("a", sequence, &[&base], add(&json!({"n": 1})))
        };
        state.apply(&one);
    }
    let newest = dot("a", count);
    let mut over = operation("y", 1, &[&base], put(&json!({"n": 0})));
    over.context.observe(&newest.origin, newest.sequence);
    state.apply(&over);
    assert_eq!(state.names.len() as u64, count);
    assert!(state.has_names_to_settle());
    assert!(!state.settle_names(&Vector::new()), "nobody else knows them");
    assert!(state.settle_names(&[(newest.origin, newest.sequence)].into_iter().collect()));
    assert!(!state.has_names_to_settle());
    assert_eq!((state.names.len(), state.names[0].of), (STAND_IN_NAMES_MAX, OperationId(6)));
    let few = (1..COUNTED_NAMES_SETTLED_MIN as u64).map(|n| operation("p", n, &[&base], add(&json!({"n": 1}))));
    let few: Vec<Operation> = few.collect();
    let mut state = applied(&[&base]);
    for one in &few {
        state.apply(one);
    }
    state.apply(&operation("y", 1, &few.iter().collect::<Vec<_>>(), put(&json!({"n": 0}))));
    assert!(!state.has_names_to_settle(), "they are not worth a note");
}

/// A node that holds the document, and what it has heard of in the order in which it has.
#[derive(Clone, Default)]
struct Node {
    state: DocumentState,
    log: Vec<Operation>,
}

impl Node {
    fn take(&mut self, operation: &Operation) {
        if !self.state.vector.covers(&operation.dot) && !self.log.iter().any(|known| known.dot == operation.dot) {
            self.state.apply(operation);
            self.log.push(operation.clone());
        }
    }

    fn take_all(&mut self, other: &Self) {
        for operation in &other.log {
            self.take(operation);
        }
    }

    /// Takes the other's state, and its log as known.
    fn join(&mut self, other: &Self) {
        self.state = self.state.join(&other.state);
        for operation in &other.log {
            if !self.log.iter().any(|known| known.dot == operation.dot) {
                self.log.push(operation.clone());
            }
        }
    }

    fn sequence(&self, name: &str) -> u64 {
        self.log.iter().filter(|one| one.dot.origin.node.as_str() == name).count() as u64 + 1
    }

    fn write(&mut self, name: &str, kind: OperationKind) {
        let next = operation(name, self.sequence(name), &[], kind);
        let operation = Operation { context: self.state.vector.clone(), ..next };
        self.take(&operation);
    }
}

proptest! {
    /// Members write, returning nodes write again what a lost one had counted unless they hear that it is known, and all
    /// gossip at random, by operations and by states: they end equal.
    #[test]
    fn members_and_returning_nodes_that_gossip_at_random_end_equal(
        steps in prop::collection::vec((0usize..4, 0u8..9, any::<u8>(), 0usize..4), 1..70)
    ) {
        let names = ["a", "b", "c", "d"];
        let base = operation("o", 1, &[], put(&json!({"n": 0})));
        let lost: Vec<Operation> = (1..4).map(|n| operation("p", n, &[&base], add(&json!({"n": 1 << (8 * n)})))).collect();
        let mut nodes = vec![Node::default(); 4];
        for node in &mut nodes {
            node.take(&base);
        }
        for (who, what, by, other) in steps {
            match what {
                0 => nodes[who].write(names[who], put(&json!({"n": 0}))),
                1 => nodes[who].write(names[who], OperationKind::Patch { body: text(&json!({"n": 0})), patch: text(&json!({"n": 0})) }),
                2 => nodes[who].write(names[who], OperationKind::Delete),
                3 => nodes[who].write(names[who], add(&json!({"n": 1}))),
                4 | 5 => {
                    let of = &lost[usize::from(by) % lost.len()];
                    if nodes[who].state.known_as(of.id).next().is_none() {
                        let next = operation(names[who], nodes[who].sequence(names[who]), &[], of.kind.clone());
                        let context = nodes[who].state.vector.clone();
                        nodes[who].take(&Operation { context, replaces: Some(of.id), ..next });
                    }
                }
                6 => { let from = nodes[other].clone(); nodes[who].join(&from); }
                _ => { let from = nodes[other].clone(); nodes[who].take_all(&from); }
            }
        }
        let mut all = Node::default();
        for node in &nodes {
            all.take_all(node);
        }
        for node in &mut nodes {
            let mut joined = node.clone();
            joined.join(&all);
            node.take_all(&all);
            prop_assert_eq!(&node.state, &all.state);
            prop_assert_eq!(&joined.state, &all.state);
        }
        // Each of them is there once or not at all.
        for of in &lost {
            let standing = all.state.increments.iter().filter(|applied| applied.name() == of.id).count();
            assert!(standing == 0 || all.state.names.iter().all(|name| name.of != of.id));
        }
    }
}
