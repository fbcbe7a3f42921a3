//! Taking in what the other side gives: stretches of its log, changes of its cache.
//!
//! ```text
//!   frames ─► read and checked ─► the writer, in their order ─► a receipt, once it is on disk
//! ```
//!
//! A stretch is read while the one before it is being written. Must stay true: a receipt is sent for what is on disk alone.

use std::sync::Arc;

use holdfast_core::error::Refusal;
use holdfast_core::operation::{Operation, OperationKind};
use holdfast_core::replica::frame::Kind;
use holdfast_core::replica::lane::Unfit;
use holdfast_core::replica::message::{self, Receipt};
use holdfast_core::sync::message::{PushRequest, vector_record};
use holdfast_core::vector::Position;
use holdfast_storage::error::StorageError;
use holdfast_storage::request::{Answer, Misfit, Received, Request};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::databases::{Asker, OpenDatabase, SubmitError};
use crate::replica::GroupError;
use crate::replica::wire::Outgoing;
use crate::sync::cache;
use crate::sync::exchange::{self, work_on_message};

/// Stretches that have arrived and are not taken in yet: more than are ever under way.
pub const WAITING_MAX: usize = 16;

/// Why an intake ends.
#[derive(Debug, Error)]
pub enum IntakeError {
    /// What came cannot be believed.
    #[error("what it sent cannot be believed: {0}")]
    Nonsense(#[from] Refusal),
    /// The writer could not take it.
    #[error("{0}")]
    NotTaken(#[from] SubmitError),
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Operations do not fit what is here: states must be looked at.
    #[error("an operation does not fit what is here: {0}")]
    Misfit(String, Unfit),
    /// It may not be confirmed, or what must be remembered before that could not be.
    #[error("{0}")]
    Unconfirmed(Box<GroupError>),
    /// The connection has ended.
    #[error("the connection has ended")]
    Over,
}

/// What was taken in, told to whoever counts.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// Operations that were new; a transaction counts as one.
    pub operations: u64,
    /// Up to where the other side's log, by its id, is here and shown.
    pub through: (u64, Position),
}

/// Takes in the stretches of one database until the connection ends.
pub async fn take_log(
    database: Arc<OpenDatabase>,
    mut sealed: mpsc::Receiver<Vec<u8>>,
    out: mpsc::Sender<Outgoing>,
    taken: impl Fn(Taken) -> Result<(), GroupError> + Send + Sync + 'static,
) -> Result<(), IntakeError> {
    let (ready, mut next) = mpsc::channel::<Result<Received, Refusal>>(1);
    let reading = async move {
        while let Some(bytes) = sealed.recv().await {
            let read = work_on_message(&bytes, || {
                exchange::from_compact::<PushRequest>(&bytes).and_then(exchange::received_push)
            });
            let is_over = read.is_err();
            if ready.send(read).await.is_err() || is_over {
                return;
            }
        }
    };
    let writing = async {
        while let Some(received) = next.recv().await {
            let received = received?;
            let source_log_id = received.source_log_id;
            let operations = whole_operations(&received);
            let through = received.through;
            let Answer::Receipt(receipt) = database.submit(Request::Receive(received)).await? else {
                return Err(IntakeError::Over);
            };
            let taken = taken(Taken {
                operations: operations.min(receipt.accepted),
                through: (source_log_id, receipt.through),
            });
            taken.map_err(|error| IntakeError::Unconfirmed(Box::new(error)))?;
            if let Some((dot, unfit)) = unfit(&receipt) {
                return Err(IntakeError::Misfit(dot, unfit));
            }
            debug_assert!(receipt.through >= through || receipt.processed == 0, "all of it is here");
            let vector = vector_record(&database.view()?.state()?.vector);
            let (name, log_id) = (database.name().to_string(), format!("{source_log_id:016x}"));
            let receipt = Receipt { database: name, log_id, through: receipt.through.0, vector };
            let frame = Outgoing { kind: Kind::Receipt, payload: message::write(&receipt) };
            out.send(frame).await.map_err(|_| IntakeError::Over)?;
        }
        Ok(())
    };
    // The reader ends with the connection, and the writer once it has taken what was read.
    let ((), written) = tokio::join!(reading, writing);
    written
}

/// What of a stretch did not fit, and how, if anything.
pub fn unfit(receipt: &holdfast_storage::request::Receipt) -> Option<(String, Unfit)> {
    if let Some(stranger) = &receipt.stranger {
        let is_forgotten = stranger.misfit == Misfit::Writer;
        return Some((stranger.dot.to_string(), Unfit::States { is_forgotten }));
    }
    if let Some(gap) = &receipt.gap {
        return Some((gap.to_string(), Unfit::Gap));
    }
    receipt.overfull.as_ref().map(|dot| (dot.to_string(), Unfit::Overfull))
}

/// Operations of a stretch, a transaction as one. Who is counted with is nobody's write.
fn whole_operations(received: &Received) -> u64 {
    let is_first = |operation: &Operation| {
        let is_of_members =
            matches!(operation.kind, OperationKind::JoinMember { .. } | OperationKind::FenceMember { .. });
        !is_of_members && operation.group.is_none_or(|group| group.index == 0)
    };
    received.operations.iter().filter(|(_, operation)| is_first(operation)).count() as u64
}

/// Takes in the changes of one cache until the connection ends.
pub async fn take_cache(
    database: Arc<OpenDatabase>,
    mut sealed: mpsc::Receiver<Vec<u8>>,
    out: mpsc::Sender<Outgoing>,
    shown: impl Fn((u64, Position)) + Send + Sync + 'static,
) -> Result<(), IntakeError> {
    while let Some(bytes) = sealed.recv().await {
        let message = work_on_message(&bytes, || cache::read_message(&bytes))?;
        let source_log_id = message.log_id;
        let taken = cache::take(&database, Asker::Node, message).await?;
        let (through, vector): (Position, _) = (taken.reach.all, vector_record(&taken.vector));
        shown((source_log_id, through));
        let (name, log_id) = (database.name().to_string(), format!("{source_log_id:016x}"));
        let receipt = Receipt { database: name, log_id, through: through.0, vector };
        let frame = Outgoing { kind: Kind::CacheReceipt, payload: message::write(&receipt) };
        out.send(frame).await.map_err(|_| IntakeError::Over)?;
    }
    Ok(())
}
