//! The promise of a comparison, on hand-made sides and on random worlds of two nodes that both write.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{Comparison, DocumentKey, Inconclusive, Outcome, Side, compare};
use crate::digest::Digest;
use crate::document::DocumentState;
use crate::id::{CollectionName, DocumentId, NodeName, OperationId};
use crate::json::JsonText;
use crate::operation::{Operation, OperationKind};
use crate::stamp::Stamp;
use crate::time::Millis;
use crate::vector::{Dot, Origin, Sequence, Vector};

fn key(id: usize) -> DocumentKey {
    (CollectionName::parse(["a", "b"][id % 2]).unwrap(), DocumentId::parse(&id.to_string()).unwrap())
}

/// A node with its log in the order in which it learnt the operations.
#[derive(Default, Clone)]
struct Node {
    log: Vec<Operation>,
    vector: Vector,
    documents: BTreeMap<DocumentKey, (DocumentState, usize)>,
    /// How much of its log the other node has.
    confirmed: usize,
}

impl Node {
    fn write(&mut self, origin: &Origin, id: usize, stamp: u64, is_delete: bool) {
        let (collection, document) = key(id);
        let sequence = self.vector.get(origin).next();
        let context = self.documents.get(&key(id)).map_or(self.vector.clone(), |(state, _)| state.vector.clone());
        let body = JsonText::parse(&format!("{{\"by\":\"{origin}\",\"n\":{sequence}}}")).unwrap();
        self.take(Operation {
            id: OperationId(u128::from(sequence.0) << 64 | u128::from(origin.incarnation)),
            dot: Dot { origin: origin.clone(), sequence },
            stamp: Stamp(stamp),
            collection,
            document: Some(document),
            context,
            group: None,
            chain: None,
            replaces: None,
            kind: if is_delete { OperationKind::Delete } else { OperationKind::Put { body, created: false } },
        });
    }

    fn take(&mut self, operation: Operation) {
        if self.vector.covers(&operation.dot) {
            return;
        }
        self.log.push(operation.clone());
        let place = self.log.len();
        let key = (operation.collection.clone(), operation.document.clone().unwrap());
        let document = self.documents.entry(key).or_default();
        document.0.apply(&operation);
        document.1 = place;
        self.vector.observe(&operation.dot.origin, operation.dot.sequence);
    }

    /// Sends up to `count` operations of its log, as a session does.
    fn send(&mut self, other: &mut Node, count: usize) {
        let until = (self.confirmed + count).min(self.log.len());
        for operation in &self.log[self.confirmed..until] {
            other.take(operation.clone());
        }
        self.confirmed = until;
    }

    fn part(&self, key: &DocumentKey) -> Digest {
        self.documents.get(key).map_or(Digest::default(), |(state, _)| Digest::of(&key.0, &key.1, state))
    }

    /// What it tells a node that is known to know `known`.
    fn side(&self, known: &Vector) -> Side {
        let mut collections: BTreeMap<CollectionName, Digest> = BTreeMap::new();
        for key in self.documents.keys() {
            let digest = collections.entry(key.0.clone()).or_default();
            *digest = digest.plus(self.part(key));
        }
        let changed = self
            .documents
            .iter()
            .filter(|(_, (state, place))| *place > self.confirmed && !known.covers_all(&state.vector));
        Side {
            graves: Vector::new(),
            vector: self.vector.clone(),
            whole: collections.values().fold(Digest::default(), |sum, digest| sum.plus(*digest)),
            collections: Some(collections),
            changed: Some(changed.map(|(key, _)| (key.clone(), self.part(key))).collect()),
            asked: BTreeMap::new(),
        }
    }
}

/// What `left` concludes when it asks `right`, and last heard of it when it knew `heard`.
fn survey(left: &Node, right: &Node, heard: &Vector) -> (Outcome, Side, Side) {
    let mut ours = left.side(heard);
    let mut theirs = right.side(&left.vector.meet(&right.vector));
    theirs.asked = ours.changed.iter().flatten().map(|(key, _)| (key.clone(), right.part(key))).collect();
    ours.asked = theirs.changed.iter().flatten().map(|(key, _)| (key.clone(), left.part(key))).collect();
    (compare(&ours, &theirs), ours, theirs)
}

fn origin(node: u64) -> Origin {
    Origin { node: NodeName::parse(&format!("n{node}")).unwrap(), incarnation: node }
}

#[derive(Debug, Clone)]
enum Step {
    Write { node: usize, id: usize, stamp: u64, is_delete: bool },
    Send { from: usize, count: usize },
    Hear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2usize, 0..8usize, 0..50u64, any::<bool>())
            .prop_map(|(node, id, stamp, is_delete)| Step::Write { node, id, stamp, is_delete }),
        3 => (0..2usize, 1..6usize).prop_map(|(from, count)| Step::Send { from, count }),
        1 => Just(Step::Hear),
    ]
}

/// Two nodes after some steps, and what the first last heard that the second knows.
fn world(steps: Vec<Step>) -> ([Node; 2], Vector) {
    let [mut left, mut right] = [Node::default(), Node::default()];
    let mut heard = Vector::new();
    for step in steps {
        match step {
            Step::Write { node: 0, id, stamp, is_delete } => left.write(&origin(1), id, stamp, is_delete),
            Step::Write { id, stamp, is_delete, .. } => right.write(&origin(2), id, stamp, is_delete),
            Step::Send { from: 0, count } => left.send(&mut right, count),
            Step::Send { count, .. } => right.send(&mut left, count),
            Step::Hear => heard = right.vector.clone(),
        }
    }
    ([left, right], heard)
}

proptest! {
    #[test]
    fn nodes_that_merely_lag_are_never_called_different(steps in prop::collection::vec(step(), 0..60)) {
        let ([left, right], heard) = world(steps);
        let (outcome, _, _) = survey(&left, &right, &heard);
        prop_assert!(matches!(outcome, Outcome::Equal { .. }), "{:?}", outcome);
        if left.vector == right.vector {
            prop_assert_eq!(outcome, Outcome::Equal { left_out: 0 });
        }
    }

    #[test]
    fn a_document_that_differs_is_found_or_was_left_out(
        steps in prop::collection::vec(step(), 1..60), which in any::<prop::sample::Index>(), on_left in any::<bool>(),
    ) {
        let ([mut left, mut right], heard) = world(steps);
        let broken = if on_left { &mut left } else { &mut right };
        let alive: Vec<DocumentKey> =
            broken.documents.iter().filter(|(_, (state, _))| state.is_alive()).map(|(key, _)| key.clone()).collect();
        if !alive.is_empty() {
            let key = which.get(&alive).clone();
            let state = &mut broken.documents.get_mut(&key).unwrap().0;
            state.versions[0].body = Some(JsonText::parse("{\"x\":1}").unwrap());
            let (outcome, ours, theirs) = survey(&left, &right, &heard);
            let is_left_out = ours.vector != theirs.vector
                && (ours.changed.unwrap().contains_key(&key) || theirs.changed.unwrap().contains_key(&key));
            match outcome {
                Outcome::Equal { left_out } => prop_assert!(is_left_out && left_out > 0),
                Outcome::Different(collections) => prop_assert!(!is_left_out && collections == [key.0]),
                Outcome::Inconclusive(_) => prop_assert!(false),
            }
        }
    }
}

#[test]
fn without_the_documents_on_their_way_nothing_is_said() {
    let ([left, right], heard) = world(vec![
        Step::Write { node: 0, id: 1, stamp: 1, is_delete: false },
        Step::Write { node: 1, id: 2, stamp: 1, is_delete: false },
    ]);
    let (_, ours, theirs) = survey(&left, &right, &heard);
    let too_many = Side { changed: None, ..theirs.clone() };
    assert_eq!(compare(&ours, &too_many), Outcome::Inconclusive(Inconclusive::TooManyChanged));
    let forgetful = Side {
        graves: [(Origin { node: NodeName::parse("far").unwrap(), incarnation: 1 }, Sequence(1))].into_iter().collect(),
        ..theirs.clone()
    };
    assert_eq!(compare(&ours, &forgetful), Outcome::Inconclusive(Inconclusive::Forgotten));
    let silent = Side { asked: BTreeMap::new(), ..theirs.clone() };
    assert_eq!(compare(&ours, &silent), Outcome::Inconclusive(Inconclusive::Incomplete));
    let many_collections = Side { collections: None, ..theirs };
    assert_eq!(compare(&ours, &many_collections), Outcome::Equal { left_out: 2 });
}

#[test]
fn a_proof_ends_when_either_side_learns_something() {
    let ([mut left, right], _) =
        world(vec![Step::Write { node: 0, id: 1, stamp: 1, is_delete: false }, Step::Send { from: 0, count: 1 }]);
    let (outcome, ours, theirs) = survey(&left, &right, &Vector::new());
    let comparison = Comparison { outcome, at: Millis(1), ours: ours.vector, theirs: theirs.vector };
    assert!(comparison.proves_equal(&left.vector, &right.vector));
    assert!(comparison.proves_equal(&left.vector, &Vector::new()), "what was heard before is older");
    let before = left.vector.clone();
    left.write(&origin(1), 1, 2, false);
    assert!(!comparison.proves_equal(&left.vector, &before));
    assert!(!comparison.proves_equal(&before, &left.vector));
    assert_eq!(before.get(&origin(1)), Sequence(1));
}
