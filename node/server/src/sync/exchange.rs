//! Between the log and the wire: stretches become messages, messages become requests to the writer.

use std::cell::RefCell;
use std::collections::BTreeSet;

use holdfast_core::error::Refusal;
use holdfast_core::id::NodeName;
use holdfast_core::json::malformed;
use holdfast_core::limits::{EXCHANGE_BYTES_TARGET, EXCHANGE_OPERATIONS_MAX};
use holdfast_core::operation::Operation;
use holdfast_core::sync::compact::{Encoder, decode};
use holdfast_core::sync::forwarding::Filter;
use holdfast_core::sync::message::{
    OperationRecord, PROTOCOL, PullResponse, PushRequest, Standing, StandingRecord, parse_hex, parse_vector,
    vector_record,
};
use holdfast_core::sync::stated::{parse_stated, stated_record};
use holdfast_core::time::Millis;
use holdfast_core::trail::Stated;
use holdfast_core::vector::{Origin, Position};
use holdfast_storage::error::StorageError;
use holdfast_storage::log::{ReadLimit, Stretch};
use holdfast_storage::record::operation::Logged;
use holdfast_storage::request::Received;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock;
use crate::databases::OpenDatabase;
use crate::sync::envelope;

/// Bytes of a message up to which it is read where it arrives. Handing a thread's other work over for so little would
/// take longer than the work, and with few cores it delays what waits for it.
const SMALL_BYTES: usize = 16 * 1024;
/// Operations up to which a stretch is read and written down where it is asked for, for the same reason.
const SMALL_OPERATIONS: u64 = 16;

/// What an operation takes in a message besides its payload, most often less.
const OPERATION_BYTES: usize = 128;
/// What the names of origins and collections take in one, roughly.
const NAMES_BYTES: usize = 1024;

/// Does what a stretch that ends at `newest` asks for: at once when it is small, else with the thread's other work
/// handed over.
pub fn work_on_stretch<T>(after: Position, newest: Position, work: impl FnOnce() -> T) -> T {
    if newest.0.saturating_sub(after.0) <= SMALL_OPERATIONS { work() } else { tokio::task::block_in_place(work) }
}

/// Does what a message in its envelope asks for, likewise.
pub fn work_on_message<T>(sealed: &[u8], work: impl FnOnce() -> T) -> T {
    if envelope::size_within(sealed) <= SMALL_BYTES { work() } else { tokio::task::block_in_place(work) }
}

/// How far a database's log reaches, for peers.
pub fn standing(database: &OpenDatabase) -> Result<Standing, StorageError> {
    let state = database.view()?.state()?;
    Ok(Standing {
        origin: database.origin().clone(),
        log_id: database.log_id()?,
        newest: state.position,
        vector: state.vector,
        now: Millis(clock::now_millis()),
        neighbours: BTreeSet::new(),
    })
}

/// Reads what goes to a peer now, after a position.
pub fn read(
    database: &OpenDatabase,
    after: Position,
    filter: &Filter,
    operations_max: usize,
) -> Result<Stretch, StorageError> {
    let limit =
        ReadLimit { operations: operations_max.clamp(1, EXCHANGE_OPERATIONS_MAX), bytes: EXCHANGE_BYTES_TARGET };
    database.log()?.read_for(after, filter, limit)
}

/// A stretch up to the first operation that waits: what comes early is for offers alone.
pub fn without_early(mut stretch: Stretch) -> Stretch {
    if stretch.looked > stretch.through {
        stretch.operations.retain(|logged| logged.position <= stretch.through);
        stretch.has_more = false;
    }
    stretch
}

/// A message of either form with its operations apart, checked.
#[derive(Debug)]
pub struct Checked<T> {
    /// The message, without its operations.
    pub head: T,
    /// Its operations, with the sender's positions.
    pub operations: Vec<(Position, Operation)>,
}

/// The offer of a stretch, without its operations.
pub fn push_head(stretch: &Stretch, after: Position, standing: &Standing, stated: &Stated) -> PushRequest {
    PushRequest {
        protocol: PROTOCOL,
        source_node_id: standing.origin.node.to_string(),
        source_incarnation: format!("{:016x}", standing.origin.incarnation),
        log_id: format!("{:016x}", standing.log_id),
        after_log_sequence: after.0,
        through_log_sequence: stretch.through.0,
        vector: vector_record(&standing.vector),
        waymarks: stated_record(stated),
        operations: Vec::new(),
    }
}

/// The answer with a stretch, without its operations.
pub fn pull_head(stretch: &Stretch, after: Position, standing: &Standing, stated: &Stated) -> PullResponse {
    PullResponse {
        protocol: PROTOCOL,
        operations: Vec::new(),
        after_log_sequence: after.0,
        through_log_sequence: stretch.through.0,
        has_more: stretch.has_more,
        waymarks: stated_record(stated),
        standing: StandingRecord::from(standing),
    }
}

/// The operations of a stretch as JSON has them.
pub fn records(stretch: &Stretch, local: &Origin) -> Vec<OperationRecord> {
    let record = |logged: &Logged| OperationRecord::new(&logged.operation, logged.position, local);
    stretch.operations.iter().map(record).collect()
}

thread_local! {
    /// What a message is written into before it goes into its envelope; kept for the reason that the envelope's is.
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A message with the operations of a stretch, in the compact form and its envelope.
pub fn compact<T: Serialize>(head: &T, stretch: &Stretch) -> Vec<u8> {
    // Messages hold no map with other keys than texts, the one thing that cannot be written.
    let head = serde_json::to_vec(head).unwrap_or_default();
    let operations = stretch.operations.iter().map(|logged| logged.operation.kind.body_bytes() + OPERATION_BYTES);
    let mut encoder = Encoder::with_capacity(operations.sum::<usize>() + head.len() + NAMES_BYTES, ROOM.take());
    for logged in &stretch.operations {
        encoder.add(logged.position, &logged.operation);
    }
    let message = encoder.finish(&head);
    let sealed = envelope::seal(&message);
    ROOM.set(envelope::kept(message));
    sealed
}

/// Reads a message in the compact form.
pub fn from_compact<T: DeserializeOwned>(bytes: &[u8]) -> Result<Checked<T>, Refusal> {
    envelope::open(bytes, |message| {
        let decoded = decode(message)?;
        let head = serde_json::from_slice(decoded.head).map_err(|error| malformed(&error))?;
        Ok(Checked { head, operations: decoded.operations })
    })
}

/// Checks a push that came as JSON.
pub fn push_from_json(mut request: PushRequest) -> Result<Checked<PushRequest>, Refusal> {
    let operations = operations(std::mem::take(&mut request.operations))?;
    Ok(Checked { head: request, operations })
}

/// Checks the answer to a pull that came as JSON.
pub fn pull_from_json(mut response: PullResponse) -> Result<Checked<PullResponse>, Refusal> {
    let operations = operations(std::mem::take(&mut response.operations))?;
    Ok(Checked { head: response, operations })
}

/// Makes a push a request to the writer.
pub fn received_push(push: Checked<PushRequest>) -> Result<Received, Refusal> {
    let (after, through) = (push.head.after_log_sequence, push.head.through_log_sequence);
    Ok(Received {
        source: NodeName::parse(&push.head.source_node_id)?,
        source_log_id: parse_hex(&push.head.log_id)?,
        after: Position(after),
        through: Position(through),
        source_vector: parse_vector(&push.head.vector)?,
        stated: parse_stated(&push.head.waymarks)?,
        operations: in_order(push.operations, after, through)?,
    })
}

/// Makes the answer to a pull a request to the writer.
pub fn received_pull(pull: Checked<PullResponse>, peer: &Standing) -> Result<Received, Refusal> {
    let (after, through) = (pull.head.after_log_sequence, pull.head.through_log_sequence);
    Ok(Received {
        source: peer.origin.node.clone(),
        source_log_id: peer.log_id,
        after: Position(after),
        through: Position(through),
        source_vector: peer.vector.clone(),
        stated: parse_stated(&pull.head.waymarks)?,
        operations: in_order(pull.operations, after, through)?,
    })
}

fn operations(records: Vec<OperationRecord>) -> Result<Vec<(Position, Operation)>, Refusal> {
    records.into_iter().map(OperationRecord::into_arrived).collect()
}

/// Checks that the positions of a batch rise. Those beyond the range that the batch states are early: others before
/// them come later.
fn in_order(
    operations: Vec<(Position, Operation)>,
    after: u64,
    through: u64,
) -> Result<Vec<(Position, Operation)>, Refusal> {
    let refuse = |reason: &str| Refusal::invalid("invalid-batch", reason.to_owned());
    if operations.len() > EXCHANGE_OPERATIONS_MAX * 2 {
        return Err(refuse("The batch holds too many operations."));
    }
    if through < after {
        return Err(refuse("The batch ends before it begins."));
    }
    let mut last = after;
    for (position, _) in &operations {
        if position.0 <= last {
            return Err(refuse("LogSequence must rise from operation to operation, from the begin of the batch."));
        }
        last = position.0;
    }
    Ok(operations)
}
