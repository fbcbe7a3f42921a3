//! What must be true of a group at every moment.
//!
//! | finding | what it says |
//! |---|---|
//! | `lead` | clients' writes are taken in an epoch that the node leads, and has kept that it does |
//! | `votes` | of those whom the same voters elect, each number has one |
//! | `elected` | whoever is elected by a majority has what a majority had when it was answered |
//! | `durable` | what was on a node's disk is there when it comes back |
//! | `acked` | a leader counts nothing as reached that is not on its follower's disk |
//! | `prefix` | a follower shows what the operations that it knows make, and nothing else |

use std::collections::{BTreeMap, BTreeSet};

use holdfast::replica::Reached;
use holdfast_core::digest::Digest;
use holdfast_core::id::{NodeName, OperationId};
use holdfast_core::operation::Operation;
use holdfast_core::replica::epoch::Epoch;
use holdfast_core::replica::role::Role;
use holdfast_core::time::Millis;
use holdfast_core::trail::Stated;
use holdfast_core::vector::{Dot, Origin, Position, Vector};
use holdfast_storage::commit::Moment;
use holdfast_storage::database::{Database, Opened};
use holdfast_storage::request::{Received, Request};

use crate::checkers::Finding;
use crate::disk::Disk;
use crate::node::{empty_image, name_of, options};
use crate::replicas::node::{Answered, Elected};
use crate::seed::Seed;

/// States of followers that are made again from operations, per world.
const SAMPLES_MAX: usize = 3;

/// What was seen of a world so far.
#[derive(Debug)]
pub(super) struct Watch {
    seed: Seed,
    /// What is on each node's disk, as its own commits say.
    durable: BTreeMap<usize, Vector>,
    /// Who was elected, by number and voters.
    elected: BTreeMap<(u64, Vec<NodeName>), NodeName>,
    /// Who has led in which epoch.
    led: BTreeSet<Epoch>,
    /// What a majority of these voters had when it was answered.
    safe: Vec<(Vec<NodeName>, Dot)>,
    /// All operations, in an order in which each comes after what it has seen.
    order: Vec<Operation>,
    known: BTreeSet<OperationId>,
    samples: Vec<(usize, Vector, Digest)>,
}

impl Watch {
    pub(super) fn new(seed: Seed) -> Self {
        Self {
            seed,
            durable: BTreeMap::new(),
            elected: BTreeMap::new(),
            led: BTreeSet::new(),
            safe: Vec::new(),
            order: Vec::new(),
            known: BTreeSet::new(),
            samples: Vec::new(),
        }
    }

    /// Operations have come into some log.
    pub(super) fn logged(&mut self, operations: &[Operation]) {
        for operation in operations {
            if self.known.insert(operation.id) {
                self.order.push(operation.clone());
            }
        }
    }

    /// A node has taken a client's write, having kept this of its role.
    pub(super) fn wrote(node: usize, (role, epoch): (Role, Option<Epoch>)) -> Option<Finding> {
        let me = name_of(node);
        let leads = role == Role::Leader && epoch.as_ref().is_some_and(|epoch| epoch.leader == me);
        (!leads).then(|| finding("lead", format!("{me} took a write as {} in {epoch:?}", role.as_str())))
    }

    /// A node leads from now on. `is_offered` when the leader before it has handed over.
    pub(super) fn leads(&mut self, elected: &Elected, knows: &Vector, is_offered: bool) -> Option<Finding> {
        let Elected { epoch, voters } = elected;
        let is_again = !self.led.insert(epoch.clone());
        let Some(voters) = voters.as_ref().filter(|voters| voters.contains(&epoch.leader)) else {
            if !is_again && !is_offered {
                // Nobody was asked: what others were answered may be unknown to it until it meets them.
                self.safe.clear();
            }
            return None;
        };
        let other = self.elected.entry((epoch.number, voters.clone())).or_insert_with(|| epoch.leader.clone());
        if *other != epoch.leader {
            return Some(finding(
                "votes",
                format!("{} and {other} were elected with number {}", epoch.leader, epoch.number),
            ));
        }
        let lacks = self.safe.iter().find(|(of, dot)| of == voters && !knows.covers(dot));
        lacks.map(|(_, dot)| finding("elected", format!("{epoch} lacks {dot}, which a majority had")))
    }

    /// A client was answered.
    pub(super) fn answered(&mut self, answered: &Answered) {
        if let Some(voters) = &answered.majority_of {
            let dots = answered.operations.iter().map(|logged| (voters.clone(), logged.operation.dot.clone()));
            self.safe.extend(dots);
        }
    }

    /// This is on a node's disk, as its last commit or its opening says, and it shows this.
    pub(super) fn shows(&mut self, node: usize, vector: &Vector, digest: Digest, is_follower: bool) -> Option<Finding> {
        let before = self.durable.insert(node, vector.clone()).unwrap_or_default();
        if is_follower && self.samples.len() < SAMPLES_MAX && self.seed.chance(4) {
            self.samples.push((node, vector.clone(), digest));
        }
        let is_there = vector.covers_all(&before);
        (!is_there).then(|| finding("durable", format!("{} had {before:?} and has {vector:?}", name_of(node))))
    }

    /// A leader counts this as reached by a follower.
    pub(super) fn reached(&mut self, node: usize, reached: &Reached, leader: &Database) -> Option<Finding> {
        let nothing = Vector::new();
        let durable = self.durable.get(&node).unwrap_or(&nothing);
        let what = |what: String| Some(finding("acked", format!("{} is counted to {what}", name_of(node))));
        if !durable.covers_all(&reached.vector) {
            return what(format!("know {:?}, and has {durable:?} on its disk", reached.vector));
        }
        if !self.seed.chance(5) {
            return None;
        }
        let mut lacking = None;
        let look = |entry: holdfast_storage::record::operation::Entry| {
            if let Some(logged) = entry.into_operation()
                && logged.position <= reached.through
                && !durable.covers(&logged.operation.dot)
            {
                lacking = Some((logged.position, logged.operation.dot));
            }
            Ok(())
        };
        leader.log().and_then(|log| log.scan(Position::START, look)).expect("a healthy log");
        lacking.and_then(|(position, dot)| {
            what(format!("have all up to {}, and lacks {dot} at {position}", reached.through))
        })
    }

    /// Makes what followers have shown again, from the operations that they knew.
    pub(super) fn prefixes(&self) -> Option<Finding> {
        let differs = |(node, vector, digest): &(usize, Vector, Digest)| {
            let (knows, shows) = self.made_of(vector);
            let what =
                format!("{} knew {vector:?} and showed {digest}; they make {shows} of {knows:?}", name_of(*node));
            (shows != *digest || knows != *vector).then(|| finding("prefix", what))
        };
        self.samples.iter().find_map(differs)
    }

    fn made_of(&self, vector: &Vector) -> (Vector, Digest) {
        let disk = Disk::from_image(empty_image());
        let origin = Origin { node: NodeName::parse("judge").expect("a sound name"), incarnation: 1 };
        let opened = Database::open("shop", disk.file("log"), disk.file("data"), origin, 1, options());
        let Opened { database, mut writer, .. } = opened.expect("an empty database opens");
        let known = self.order.iter().filter(|operation| vector.covers(&operation.dot)).cloned();
        let operations: Vec<_> = (1..).map(Position).zip(known).collect();
        let received = Received {
            source: name_of(0),
            source_log_id: 1,
            after: Position::START,
            through: Position(operations.len() as u64),
            source_vector: vector.clone(),
            stated: Stated::new(),
            operations,
        };
        let mut random = || 0;
        let mut moment = Moment { now: Millis(1_700_000_000_000), random: &mut random };
        writer.commit(&mut moment, vec![Request::Receive(received)]).expect("a healthy disk");
        let view = database.view().expect("a healthy database");
        (view.state().expect("a healthy database").vector, view.digest().expect("a healthy database"))
    }
}

fn finding(checker: &'static str, what: String) -> Finding {
    Finding { checker, what }
}
