//! Thousands of small worlds: two to five nodes with any policies and skewed clocks write one document, hear of each
//! other in any causal order, and settle conflicts whenever they get to it. All must end equal and come to rest.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::convert::Infallible;

use serde_json::{Value, json};

use crate::conflict::ancestor::Search;
use crate::conflict::policy::{Answer, ConflictPolicy};
use crate::conflict::settle::Settlement;
use crate::conflict::{is_in_conflict, sides};
use crate::document::DocumentState;
use crate::id::{CollectionName, DocumentId, NodeName, OperationId};
use crate::json::JsonText;
use crate::operation::{Operation, OperationKind};
use crate::stamp::Stamp;
use crate::vector::{Dot, Origin, Sequence, Vector};

const WORLDS: u64 = 6_000;

/// Numbers that look random and are the same in every run.
struct Luck(u64);

impl Luck {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}

struct Node {
    origin: Origin,
    policy: ConflictPolicy,
    skew: u64,
    state: DocumentState,
    vector: Vector,
    log: Vec<Operation>,
    /// How far it has read each other node's log.
    read: Vec<usize>,
}

impl Node {
    fn write(&mut self, now: u64, kind: OperationKind) {
        let sequence = self.vector.get(&self.origin).next();
        let stamp = now + self.skew;
        let context = if self.state.vector.is_empty() { self.vector.clone() } else { self.state.vector.clone() };
        let operation = Operation {
            id: OperationId(u128::from(stamp) << 64 | u128::from(now)),
            dot: Dot { origin: self.origin.clone(), sequence },
            stamp: Stamp(stamp),
            collection: CollectionName::parse("c").unwrap(),
            document: Some(DocumentId::parse("d").unwrap()),
            context,
            group: None,
            chain: None,
            replaces: None,
            kind,
        };
        self.take(operation);
    }

    fn take(&mut self, operation: Operation) {
        if operation.dot.sequence != self.vector.get(&operation.dot.origin).next() {
            return;
        }
        self.state.apply(&operation);
        self.vector.observe(&operation.dot.origin, Sequence(operation.dot.sequence.0));
        self.log.push(operation);
    }

    /// Settles the conflict that it is in, if its policy has an answer. Answers whether it wrote.
    fn settle(&mut self, now: u64) -> bool {
        if !is_in_conflict(&self.state) {
            return false;
        }
        let id = DocumentId::parse("d").unwrap();
        let ancestor = || {
            let mut search = Search::new(sides(&self.state));
            let goes_on = self.log.iter().rev().all(|operation| search.step(operation.clone()));
            Ok::<_, Infallible>(search.end(goes_on))
        };
        let Answer::Write(body) = self.policy.answer(&self.state, &id, &self.origin.node, ancestor).unwrap() else {
            return false;
        };
        let settlement = body.map_or(Settlement::Delete, Settlement::Body);
        let kind = settlement.to_kind(&self.state, &id).unwrap();
        self.write(now, kind);
        assert!(!is_in_conflict(&self.state), "a resolution covers all sides");
        true
    }
}

fn random_write(node: &mut Node, now: u64, luck: &mut Luck) {
    let kind = match luck.below(6) {
        0 if node.state.is_alive() => OperationKind::Delete,
        _ => {
            let mut object = node.state.shown().map(|shown| shown.to_object()).unwrap_or_default();
            let field = ["a", "b", "c"][luck.below(3)].to_owned();
            let value =
                if luck.below(4) == 0 { json!({"x": luck.below(3)}) } else { Value::from(luck.below(4) as u64) };
            object.insert(field, value);
            object.insert("Id".to_owned(), json!("d"));
            OperationKind::Put { body: JsonText::from_object(&object), created: false }
        }
    };
    node.write(now, kind);
}

/// One node reads the next operation of another's log.
fn deliver(nodes: &mut [Node], from: usize, to: usize) -> bool {
    let place = nodes[to].read[from];
    let Some(operation) = nodes[from].log.get(place).cloned() else { return false };
    nodes[to].read[from] += 1;
    nodes[to].take(operation);
    true
}

fn world(seed: u64) -> (usize, usize) {
    let mut luck = Luck(seed);
    let count = 2 + luck.below(4);
    let clocks = luck.below(3);
    let mut nodes: Vec<Node> = (0..count)
        .map(|place| Node {
            origin: Origin { node: NodeName::parse(&format!("n{place}")).unwrap(), incarnation: 1 },
            policy: ConflictPolicy::ALL[luck.below(4)],
            // Equal clocks, skewed ones, and ones that stand nearly still.
            skew: if clocks == 0 { 0 } else { luck.below(1_000 * clocks) as u64 },
            state: DocumentState::default(),
            vector: Vector::new(),
            log: Vec::new(),
            read: vec![0; count],
        })
        .collect();
    let mut resolutions = 0;
    let mut now = 1;
    for _ in 0..10 + luck.below(60) {
        now += luck.below(3) as u64;
        let (one, other) = (luck.below(count), luck.below(count));
        match luck.below(8) {
            0 | 1 => random_write(&mut nodes[one], now, &mut luck),
            2 => resolutions += usize::from(nodes[one].settle(now)),
            _ if one != other => drop(deliver(&mut nodes, one, other)),
            _ => {}
        }
    }
    let written: usize =
        nodes.iter().map(|node| node.log.iter().filter(|one| one.dot.origin == node.origin).count()).sum::<usize>()
            - resolutions;
    // Nobody writes plainly any more. In any order of hearing and settling, there is an end.
    loop {
        let mut has_heard = false;
        for _ in 0..count * count * 4 {
            let (one, other) = (luck.below(count), luck.below(count));
            has_heard |= one != other && deliver(&mut nodes, one, other);
            if luck.below(6) == 0 {
                now += 1;
                resolutions += usize::from(nodes[other].settle(now));
            }
        }
        let is_all_read =
            (0..count).all(|to| (0..count).all(|from| from == to || nodes[to].read[from] == nodes[from].log.len()));
        if !has_heard && is_all_read {
            now += 1;
            if !nodes.iter_mut().any(|node| node.settle(now)) {
                break;
            }
            resolutions += 1;
        }
        assert!(resolutions <= written * count, "seed {seed}: {resolutions} resolutions of {written} writes");
    }
    for node in &nodes {
        assert_eq!(node.vector, nodes[0].vector, "seed {seed}: not everything has arrived");
        assert_eq!(node.state, nodes[0].state, "seed {seed}: {:?} differs", node.policy);
        let has_merger = nodes.iter().any(|node| node.policy == ConflictPolicy::MergeFields);
        let is_settled = node.state.versions.iter().all(|version| version.is_resolution);
        assert!(!node.state.is_conflicted() || is_settled || !has_merger, "seed {seed}: nobody merged");
    }
    (resolutions, usize::from(nodes[0].state.is_conflicted()))
}

#[test]
fn any_mixture_of_policies_ends_equal_and_comes_to_rest() {
    let (mut resolutions, mut open) = (0, 0);
    for seed in 0..WORLDS {
        let (written, left) = world(seed);
        resolutions += written;
        open += left;
    }
    assert!(resolutions > 1_000, "only {resolutions} conflicts were settled: the worlds are too tame");
    assert!(open > 0, "no world ended with a conflict on record");
}
