//! A writer of another make: what it writes is partly of kinds that nobody here knows, and partly does not hold.
//!
//! ```text
//!   now and then it writes some more ─► all that is not confirmed goes to its gateway, one of the nodes, as JSON
//!                                   ◄─ how far the gateway knows it: from there on next time
//!                                   ◄─ or that it has forgotten deletes that the writer has not seen: then that begins
//!                                      a new life, and writes what is not confirmed again
//! ```
//!
//! What must stay true: none of it stops anything but itself. It is parked everywhere, as it came, and once somebody
//! settles it, it is gone everywhere.

use holdfast_core::id::{NodeName, OperationId};
use holdfast_core::stamp::Stamp;
use holdfast_core::sync::message::{PROTOCOL, PushRequest, vector_record};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Origin, Sequence, Vector};
use holdfast_storage::request::{Request, Which};
use serde_json::{Value, json};

use crate::checkers::{Finding, letters};
use crate::node::wire::{Body, Message, Side};
use crate::node::{Node, Stimulus};
use crate::seed::Seed;
use crate::world::{Failure, Occurrence, World};

/// Where it stands among the nodes.
pub(super) const FOREIGN: usize = usize::MAX;
/// How often it sends what is not confirmed.
pub(super) const AGAIN: Millis = Millis(1_500);
/// What its clock shows when the world begins.
const EPOCH: u64 = 1_700_000_000_000;
/// The collection that it writes to, and nobody else.
const COLLECTION: &str = "imports";

/// The writer.
#[derive(Debug)]
pub(super) struct Foreign {
    origin: Origin,
    /// The node that it sends to.
    pub(super) gateway: usize,
    /// All that it has written: sequence by sequence, which are its positions too.
    records: Vec<Value>,
    confirmed: u64,
    /// What its gateway told it when it had to begin anew.
    known: Vector,
    exchange: u64,
    seed: Seed,
}

impl Foreign {
    /// One that has written nothing.
    pub(super) fn new(gateway: usize, mut seed: Seed) -> Self {
        let origin = Origin { node: NodeName::parse("import").expect("a sound name"), incarnation: seed.next_u64() };
        Self { origin, gateway, records: Vec::new(), confirmed: 0, known: Vector::new(), exchange: 0, seed }
    }

    /// Whether its gateway has all.
    pub(super) fn is_quiet(&self) -> bool {
        self.confirmed == self.records.len() as u64
    }

    /// Writes some more.
    pub(super) fn write(&mut self, now: Millis) {
        for _ in 0..self.seed.range(1..4) {
            if self.seed.chance(25) {
                let (id, count) = (self.id(now), self.seed.range(2..4));
                let wrong = self.seed.range(0..count + 1);
                for index in 0..count {
                    let mut record = self.record(now, index == wrong);
                    set(&mut record, "Group", json!({ "Id": id, "Index": index, "Count": count }));
                    self.records.push(record);
                }
            } else {
                let is_wrong = self.seed.chance(40);
                let record = self.record(now, is_wrong);
                self.records.push(record);
            }
        }
    }

    /// What it sends now.
    pub(super) fn push(&mut self) -> Option<(u64, Body)> {
        if self.is_quiet() {
            return None;
        }
        self.exchange += 1;
        let from = usize::try_from(self.confirmed).unwrap_or(usize::MAX);
        let records = self.records.get(from..).unwrap_or_default();
        let last = Sequence(self.records.len() as u64);
        let mut vector = self.known.clone();
        vector.observe(&self.origin, last);
        let request = json!({
            "Protocol": PROTOCOL,
            "SourceNodeId": self.origin.node.to_string(),
            "SourceIncarnation": format!("{:016x}", self.origin.incarnation),
            "LogId": format!("{:016x}", self.origin.incarnation),
            "AfterLogSequence": self.confirmed,
            "ThroughLogSequence": last.0,
            "Vector": vector_record(&vector),
            "Operations": records,
        });
        let request: PushRequest = serde_json::from_value(request).expect("a push whose operations alone are wrong");
        Some((self.exchange, Body::Push(request)))
    }

    /// Its gateway says how far it is; or that it has forgotten what the writer has not seen.
    pub(super) fn take(&mut self, exchange: u64, body: &Body, gateway: Option<&Side>) {
        let is_turned = match body {
            Body::Turned(..) => true,
            Body::Pushed(answer) => answer.stranger.is_some(),
            _ => false,
        };
        if let Some(gateway) = gateway.filter(|_| is_turned && exchange == self.exchange) {
            self.begin_anew(&gateway.vector);
        } else if let Body::Pushed(answer) = body
            && let Ok(standing) = answer.standing.parse()
        {
            // A gateway that was put back has forgotten some of it.
            self.confirmed = standing.vector.get(&self.origin).0;
            // What it was told once, its gateway may have had to give up in favour of another's states.
            if answer.gap.is_some() && !standing.vector.covers_all(&self.known) {
                self.begin_anew(&standing.vector);
            }
        }
    }

    /// Has nothing to take states into: it goes on under a new incarnation, and writes what is not confirmed again, in
    /// the knowledge of all that its gateway knows.
    fn begin_anew(&mut self, known: &Vector) {
        self.origin.incarnation = self.seed.next_u64();
        let kept = usize::try_from(self.confirmed).unwrap_or(usize::MAX).min(self.records.len());
        self.records.drain(..kept);
        self.confirmed = 0;
        self.known.clone_from(known);
        let (now, incarnation) = (Millis(0), format!("{:016x}", self.origin.incarnation));
        for index in 0..self.records.len() {
            let id = self.id(now);
            let Some(record) = self.records.get_mut(index) else { continue };
            let of_old = record.get("Replaces").or_else(|| record.get("Id")).cloned().unwrap_or_default();
            set(record, "Replaces", of_old);
            set(record, "Id", json!(id));
            set(record, "Incarnation", json!(incarnation));
            set(record, "Sequence", json!(index + 1));
            set(record, "LogSequence", json!(index + 1));
            if record.get("Context") != Some(&impossible()) {
                set(record, "Context", json!(vector_record(known)));
            }
        }
    }

    /// A record, which holds or does not.
    fn record(&mut self, now: Millis, is_wrong: bool) -> Value {
        let sequence = self.records.len() as u64 + 1;
        let document = format!("import-{}", self.seed.range(0..3));
        let before: Vector = [(self.origin.clone(), Sequence(sequence - 1))].into_iter().collect();
        let mut record = json!({
            "Id": self.id(now),
            "NodeId": self.origin.node.to_string(),
            "Incarnation": format!("{:016x}", self.origin.incarnation),
            "Stamp": Stamp::new(Millis(EPOCH + now.0), 0).to_string(),
            "Collection": COLLECTION,
            "EntityId": document,
            "OperationType": 2,
            "Kind": "put",
            "Payload": json!({ "Id": document, "n": sequence }).to_string(),
            "Sequence": sequence,
            "LogSequence": sequence,
            "Context": if self.seed.chance(50) && sequence > 1 { json!(vector_record(&before)) } else { json!({}) },
        });
        if is_wrong {
            self.spoil(&mut record);
        }
        record
    }

    fn spoil(&mut self, record: &mut Value) {
        match self.seed.range(0..8) {
            0 => set(record, "Kind", json!("teleport")),
            1 => set(record, "Kind", json!("kind-900")),
            2 => set(record, "Payload", json!("{\"no")),
            3 => set(record, "Payload", Value::Null),
            4 => set(record, "EntityId", json!("")),
            5 => set(record, "Stamp", json!("yesterday")),
            6 => set(record, "Context", impossible()),
            _ => set(record, "Payload", json!(17)),
        }
    }

    fn id(&mut self, now: Millis) -> String {
        let random = u128::from(self.seed.next_u64()) << 64 | u128::from(self.seed.next_u64());
        OperationId::new(EPOCH + now.0, random).to_string()
    }
}

/// What it says that it has seen, and nobody has.
fn impossible() -> Value {
    json!({ "n0@0000000000000001": 7 })
}

fn set(record: &mut Value, name: &str, value: Value) {
    if let Value::Object(fields) = record {
        fields.insert(name.to_owned(), value);
    }
}

impl World {
    /// The writer of another make writes, or only sends again what is not confirmed.
    pub(super) fn play_foreign(&mut self, writes: bool) {
        let Some(foreign) = &mut self.foreign else { return };
        if writes {
            foreign.write(self.now);
        } else {
            self.at(self.now + AGAIN, Occurrence::Foreign { writes: false });
        }
        let Some(foreign) = &mut self.foreign else { return };
        let to = foreign.gateway;
        let Some((exchange, body)) = foreign.push() else { return };
        for (arrival, garbled) in self.network.arrivals(self.now, FOREIGN, to) {
            let body = body.clone();
            self.at(arrival, Occurrence::Arrives(Message { from: FOREIGN, to, exchange, body, side: None, garbled }));
        }
    }

    /// Operators settle what is parked: first one of them for all, then each what is left at his node.
    pub(super) fn settle_letters(&mut self) -> Result<(), Failure> {
        let held: Vec<letters::Held> = self.nodes.iter().filter_map(Node::database).map(letters::read).collect();
        let parked = held.first().map_or(0, |held| held.len() as u64);
        *self.seen.entry("operations parked").or_default() += parked;
        if let Some(Finding { checker, what }) = letters::compare(&held) {
            self.find(checker, what);
        }
        for nodes in [0..1, 1..self.nodes.len()] {
            let lives = self.order_to_settle(nodes.map(|node| (node, None)).collect());
            self.rest()?;
            // Whoever was not answered, because the disk failed under his order, gives it again.
            let unanswered = lives.into_iter().filter(|(node, life)| self.nodes.get(*node).map(Node::life) != *life);
            self.order_to_settle(unanswered.collect());
            self.rest()?;
        }
        Ok(())
    }

    /// Orders nodes to settle what is parked. Gives the life that each is in.
    fn order_to_settle(&mut self, nodes: Vec<(usize, Option<u64>)>) -> Vec<(usize, Option<u64>)> {
        let mut lives = Vec::new();
        for (node, _) in nodes {
            lives.push((node, self.nodes.get(node).map(Node::life)));
            self.tell(node, Stimulus::Order(Request::SettleLetters(Which::All)));
        }
        lives
    }
}
