//! The forms in which messages cross the network: JSON for everybody, the compact one between nodes that both know it.
//!
//! What must stay true: whatever the form, the receiver gets what the sender meant, parked operations included.

use holdfast::sync::exchange::{compact, from_compact};
use holdfast_core::sync::message::{OperationRecord, PullResponse, PushRequest};
use holdfast_core::vector::Position;
use holdfast_storage::log::Stretch;
use holdfast_storage::record::operation::Logged;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::node::wire::Body;
use crate::seed::Seed;

/// How the messages of a world cross its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forms {
    /// As they are in memory, which is quick.
    Memory,
    /// As JSON text.
    Json,
    /// As each pair of nodes has agreed, by chance.
    Negotiated(u64),
}

/// How a message crosses the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Memory,
    Json,
    Compact,
}

impl Forms {
    fn between(self, one: usize, other: usize) -> Form {
        match self {
            Self::Memory => Form::Memory,
            Self::Json => Form::Json,
            Self::Negotiated(number) => {
                let pair = (one.min(other) * 64 + one.max(other)) as u64;
                *Seed::new(number ^ pair).pick(&[Form::Json, Form::Compact])
            }
        }
    }

    /// A message after its way from one node to another.
    pub fn carry(self, from: usize, to: usize, body: Body) -> Body {
        let form = match self.between(from, to) {
            // What is parked goes out as it came: as text.
            Form::Memory if body.operations().iter().any(|record| record.raw.is_some()) => Form::Json,
            form => form,
        };
        match (form, body) {
            (Form::Memory, body) => body,
            (Form::Compact, Body::Push(push)) => Body::Push(compacted(push)),
            (Form::Compact, Body::Pulled(answer)) => Body::Pulled(compacted(answer)),
            (_, body) => through_text(body),
        }
    }
}

/// The same after a way as JSON text, as between real nodes.
fn through_text(body: Body) -> Body {
    match body {
        Body::Push(push) => Body::Push(read_again(&push)),
        Body::Pushed(done) => Body::Pushed(read_again(&done)),
        Body::Pull(pull) => Body::Pull(read_again(&pull)),
        Body::Pulled(answer) => Body::Pulled(read_again(&answer)),
        Body::Survey(survey) => Body::Survey(read_again(&survey)),
        Body::Surveyed(answer) => Body::Surveyed(read_again(&answer)),
        other => other,
    }
}

fn read_again<T: Serialize + DeserializeOwned>(message: &T) -> T {
    let text = serde_json::to_string(message).expect("a message can be written");
    serde_json::from_str(&text).expect("a message can be read")
}

/// A message with its operations apart.
trait Carrier: Serialize + DeserializeOwned {
    fn operations(&mut self) -> &mut Vec<OperationRecord>;
}

impl Carrier for PushRequest {
    fn operations(&mut self) -> &mut Vec<OperationRecord> {
        &mut self.operations
    }
}

impl Carrier for PullResponse {
    fn operations(&mut self) -> &mut Vec<OperationRecord> {
        &mut self.operations
    }
}

/// The same after a way in the compact form and its envelope.
fn compacted<T: Carrier>(mut message: T) -> T {
    let logged = |record: OperationRecord| {
        let (position, operation) = record.into_arrived().expect("what a log holds says which operation it is");
        Logged { position, previous: Position::START, operation }
    };
    let operations: Vec<Logged> = std::mem::take(message.operations()).into_iter().map(logged).collect();
    let nowhere = Position::START;
    let stretch = Stretch { operations, through: nowhere, looked: nowhere, has_more: false };
    let bytes = compact(&message, &stretch);
    let read = from_compact::<T>(&bytes).expect("a message can be read");
    let mut message = read.head;
    let record = |(position, operation): &(Position, holdfast_core::operation::Operation)| {
        OperationRecord::new(operation, *position, &operation.dot.origin)
    };
    *message.operations() = read.operations.iter().map(record).collect();
    // What is parked crosses as text once more, which makes it a record again.
    if message.operations().iter().any(|record| record.raw.is_some()) { read_again(&message) } else { message }
}
