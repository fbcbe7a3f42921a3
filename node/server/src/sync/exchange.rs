//! Between the log and the wire: stretches become messages, messages become requests to the writer.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::error::Refusal;
use holdfast_core::id::NodeName;
use holdfast_core::limits::{EXCHANGE_BYTES_TARGET, EXCHANGE_OPERATIONS_MAX};
use holdfast_core::operation::Operation;
use holdfast_core::sync::forwarding::Filter;
use holdfast_core::sync::message::{
    OperationRecord, PROTOCOL, PullResponse, PushRequest, Standing, StandingRecord, parse_hex, parse_vector,
    vector_record,
};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Origin, Position};
use holdfast_storage::error::StorageError;
use holdfast_storage::log::{ReadLimit, Stretch};
use holdfast_storage::request::Received;

use crate::clock;
use crate::databases::OpenDatabase;

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

/// The offer of a stretch.
pub fn push_request(stretch: &Stretch, after: Position, standing: &Standing) -> PushRequest {
    PushRequest {
        protocol: PROTOCOL,
        source_node_id: standing.origin.node.to_string(),
        source_incarnation: format!("{:016x}", standing.origin.incarnation),
        log_id: format!("{:016x}", standing.log_id),
        after_log_sequence: after.0,
        through_log_sequence: stretch.through.0,
        vector: vector_record(&standing.vector),
        operations: records(stretch, &standing.origin),
    }
}

/// The answer with a stretch.
pub fn pull_response(stretch: &Stretch, after: Position, standing: &Standing) -> PullResponse {
    PullResponse {
        protocol: PROTOCOL,
        operations: records(stretch, &standing.origin),
        after_log_sequence: after.0,
        through_log_sequence: stretch.through.0,
        has_more: stretch.has_more,
        standing: StandingRecord::from(standing),
    }
}

/// Checks a push and makes it a request to the writer.
pub fn received_push(request: PushRequest) -> Result<(Received, BTreeMap<String, u64>), Refusal> {
    let source = NodeName::parse(&request.source_node_id)?;
    let received = Received {
        source,
        source_log_id: parse_hex(&request.log_id)?,
        after: Position(request.after_log_sequence),
        through: Position(request.through_log_sequence),
        source_vector: parse_vector(&request.vector)?,
        operations: operations(request.operations, request.after_log_sequence, request.through_log_sequence)?,
    };
    Ok((received, request.vector))
}

/// Checks the answer to a pull and makes it a request to the writer.
pub fn received_pull(response: PullResponse, peer: &Standing) -> Result<Received, Refusal> {
    Ok(Received {
        source: peer.origin.node.clone(),
        source_log_id: peer.log_id,
        after: Position(response.after_log_sequence),
        through: Position(response.through_log_sequence),
        source_vector: peer.vector.clone(),
        operations: operations(response.operations, response.after_log_sequence, response.through_log_sequence)?,
    })
}

fn records(stretch: &Stretch, local: &Origin) -> Vec<OperationRecord> {
    let record = |logged: &holdfast_storage::record::operation::Logged| {
        OperationRecord::new(&logged.operation, logged.position, local)
    };
    stretch.operations.iter().map(record).collect()
}

/// Operations of a batch, each checked, their positions rising. Those beyond the range that the batch states are
/// early: others before them come later.
fn operations(records: Vec<OperationRecord>, after: u64, through: u64) -> Result<Vec<(Position, Operation)>, Refusal> {
    let refuse = |reason: &str| Refusal::invalid("invalid-batch", reason.to_owned());
    if records.len() > EXCHANGE_OPERATIONS_MAX * 2 {
        return Err(refuse("The batch holds too many operations."));
    }
    if through < after {
        return Err(refuse("The batch ends before it begins."));
    }
    let mut last = after;
    let mut operations = Vec::with_capacity(records.len());
    for record in records {
        let (position, operation) = record.into_operation()?;
        if position.0 <= last {
            return Err(refuse("LogSequence must rise from operation to operation, from the begin of the batch."));
        }
        last = position.0;
        operations.push((position, operation));
    }
    Ok(operations)
}
