//! The laws of a document's state, on hand-made histories and on generated ones.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::{any, prop, prop_assert_eq, proptest};
use serde_json::{Value, json};

use crate::counter::Increment;
use crate::document::{DocumentState, Effect};
use crate::id::{CollectionName, DocumentId, NodeName, OperationId};
use crate::json::JsonText;
use crate::operation::{Operation, OperationKind};
use crate::stamp::Stamp;
use crate::vector::{Dot, Origin, Sequence};

fn origin(node: usize) -> Origin {
    Origin { node: NodeName::parse(&format!("n{node}")).unwrap(), incarnation: 1 }
}

/// A node that writes one document and takes in what others wrote.
#[derive(Clone)]
struct Writer {
    node: usize,
    sequence: u64,
    state: DocumentState,
    seen: Vec<Operation>,
}

impl Writer {
    fn new(node: usize) -> Self {
        Self { node, sequence: 0, state: DocumentState::default(), seen: Vec::new() }
    }

    fn write(&mut self, stamp: u64, kind: OperationKind) -> Operation {
        self.sequence += 1;
        let operation = Operation {
            id: OperationId((self.node as u128) << 64 | u128::from(self.sequence)),
            dot: Dot { origin: origin(self.node), sequence: Sequence(self.sequence) },
            stamp: Stamp(stamp),
            collection: CollectionName::parse("c").unwrap(),
            document: Some(DocumentId::parse("d").unwrap()),
            context: self.state.vector.clone(),
            group: None,
            chain: None,
            replaces: None,
            kind,
        };
        self.take(&operation);
        operation
    }

    fn take(&mut self, operation: &Operation) -> Effect {
        if self.seen.iter().any(|known| known.dot == operation.dot) {
            return Effect::Known;
        }
        self.seen.push(operation.clone());
        self.state.apply(operation)
    }

    fn take_all(&mut self, other: &Self) {
        for operation in &other.seen {
            self.take(operation);
        }
    }
}

fn put(value: Value) -> OperationKind {
    OperationKind::Put { body: JsonText::parse(&value.to_string()).unwrap(), created: false }
}

fn add(amount: i64) -> OperationKind {
    OperationKind::Increment(Increment::parse(json!({"n": amount}).as_object().unwrap()).unwrap())
}

#[test]
fn a_later_write_wins_by_what_it_saw_even_with_a_smaller_stamp() {
    let (mut a, mut b) = (Writer::new(1), Writer::new(2));
    a.write(1_000, put(json!({"x": "from the future"})));
    b.take_all(&a);
    b.write(5, put(json!({"x": "later"})));
    a.take_all(&b);
    assert_eq!(a.state, b.state);
    assert_eq!(a.state.shown().unwrap().as_str(), r#"{"x":"later"}"#);
    assert!(!a.state.is_conflicted());
}

#[test]
fn an_operation_that_covers_the_winner_brings_the_loser_back_into_play() {
    let (mut a, mut b, mut c) = (Writer::new(1), Writer::new(2), Writer::new(3));
    let loser = a.write(10, put(json!({"x": "a"})));
    b.write(20, put(json!({"x": "b"})));
    // c has seen b's write only, and replaces it with an older stamp than a's.
    c.take_all(&b);
    let over_b = c.write(5, put(json!({"x": "c"})));
    let mut all = Writer::new(4);
    all.take_all(&b);
    assert_eq!(all.take(&loser), Effect::Conflict);
    assert_eq!(all.take(&over_b), Effect::Conflict);
    assert_eq!(all.state.shown().unwrap().as_str(), r#"{"x":"a"}"#);
}

#[test]
fn increments_add_up_whatever_is_written_beside_them() {
    let (mut a, mut b) = (Writer::new(1), Writer::new(2));
    a.write(1, put(json!({"n": 10})));
    b.take_all(&a);
    a.write(2, add(-3));
    b.write(3, add(-4));
    let before = b.state.version();
    b.take_all(&a);
    a.take_all(&b);
    assert_eq!(a.state, b.state);
    assert_eq!(a.state.shown().unwrap().as_str(), r#"{"n":3}"#);
    assert_ne!(before, b.state.version(), "the version changes with what is shown");
    // A put removes the increments it has seen and leaves one that it has not.
    let late = a.write(4, add(100));
    b.write(5, put(json!({"n": 3})));
    b.take(&late);
    assert_eq!(b.state.shown().unwrap().as_str(), r#"{"n":103}"#);
}

#[test]
fn a_patch_leaves_increments_of_other_fields_alone() {
    let (mut a, mut b) = (Writer::new(1), Writer::new(2));
    a.write(1, put(json!({"n": 10, "price": 1})));
    a.write(2, add(-3));
    b.take_all(&a);
    let patch = |body: Value, patch: Value| OperationKind::Patch {
        body: JsonText::parse(&body.to_string()).unwrap(),
        patch: JsonText::parse(&patch.to_string()).unwrap(),
    };
    // Both change the price at once; whoever wins, the stock that was counted stays counted.
    a.write(3, patch(json!({"n": 10, "price": 2}), json!({"price": 2})));
    b.write(4, patch(json!({"n": 10, "price": 3}), json!({"price": 3})));
    a.take_all(&b);
    b.take_all(&a);
    assert_eq!(a.state, b.state);
    assert_eq!(a.state.shown().unwrap().as_str(), r#"{"n":7,"price":3}"#);
    // A patch of the counted field itself sets it.
    a.write(9, patch(json!({"n": 100, "price": 3}), json!({"n": 100})));
    assert_eq!(a.state.shown().unwrap().as_str(), r#"{"n":100,"price":3}"#);
}

#[test]
fn a_delete_that_saw_everything_leaves_nothing_and_a_concurrent_write_stands_beside_it() {
    let (mut a, mut b) = (Writer::new(1), Writer::new(2));
    a.write(1, put(json!({"n": 1})));
    b.take_all(&a);
    a.write(9, OperationKind::Delete);
    b.write(5, put(json!({"n": 2})));
    a.take_all(&b);
    b.take_all(&a);
    assert_eq!(a.state, b.state);
    assert!(!a.state.is_alive() && a.state.is_conflicted());
}

proptest! {
    /// Random writers that gossip at random end equal once everybody has heard everything.
    #[test]
    fn every_order_of_arrival_ends_in_the_same_state(
        steps in prop::collection::vec((0usize..4, 0u8..8, any::<u8>(), 0usize..4), 1..60)
    ) {
        let mut writers: Vec<Writer> = (0..4).map(Writer::new).collect();
        let mut total = 0i64;
        for (who, what, stamp, other) in steps {
            match what {
                0..=2 => { writers[who].write(u64::from(stamp % 8), put(json!({"n": 0, "by": stamp}))); }
                3 => { writers[who].write(u64::from(stamp % 8), OperationKind::Delete); }
                4 => { total += 1; writers[who].write(u64::from(stamp), add(1)); }
                _ => { let from = writers[other].clone(); writers[who].take_all(&from); }
            }
        }
        let everything = {
            let mut all = Writer::new(9);
            for writer in &writers { all.take_all(writer); }
            all
        };
        for writer in &mut writers {
            writer.take_all(&everything);
            prop_assert_eq!(&writer.state, &everything.state);
        }
        let counted: i128 = everything.state.increments.len() as i128;
        assert!(counted <= i128::from(total));
    }
}
