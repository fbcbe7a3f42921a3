//! Mistakes made on purpose, one for each checker, to see that it notices.
//!
//! They sit where a node meets the world: what it answers, takes in and sends. The product's code stays as it is.

use std::sync::Arc;

use holdfast_core::operation::{Operation, OperationKind};
use holdfast_core::sync::forwarding::Filter;
use holdfast_core::vector::{Dot, Origin, Position, Sequence, Vector};
use holdfast_storage::record::operation::Logged;
use holdfast_storage::request::{Received, Request};

use crate::node::{Caller, Outbox};

/// What a node does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sabotage {
    /// Nothing.
    #[default]
    None,
    /// It says "saved" to one write that it never wrote.
    AnswersWithoutWriting,
    /// It logs operations of this kind, by its word, from others, and does not apply them.
    LogsWithoutApplying(&'static str),
    /// It logs everything that arrives a second time, as if somebody else had written it.
    TakesTwice,
    /// It forgets what its peers know before each push.
    ForgetsWhatPeersKnow,
    /// It takes the operations of a transaction in one by one.
    CutsTransactions,
    /// It sorts what arrives by its writers, and forgets what they had seen, so that nothing seems to be missing.
    TakesOutOfOrder,
    /// It drops operations from others and says that it has them.
    Drops,
    /// It does not apply what others put, and says that it is in sync with whoever knows the same.
    ClaimsByVectors,
    /// It settles no conflict, whatever its policy is.
    NeverSettles,
    /// It counts out who is silent, whoever else it hears.
    CountsAlone,
    /// All of them count in whoever comes under the name of a member that speaks.
    LetsNamesakesIn,
    /// None of them looks where branches part before it takes a peer's states.
    IgnoresBranches,
    /// It keeps what it does not understand, but not as it came.
    RewritesLetters,
}

impl Sabotage {
    /// Whether one wrong node among sound ones would do no harm, so that all of them are.
    pub fn is_of_all(self) -> bool {
        matches!(self, Self::LetsNamesakesIn | Self::IgnoresBranches)
    }

    /// The groups of requests that are committed in place of one.
    pub(super) fn before_commit(
        self,
        batch: Vec<(Request, Caller)>,
        origin: &Origin,
        outbox: &mut Outbox,
    ) -> Vec<Vec<(Request, Caller)>> {
        match self {
            Self::None | Self::ForgetsWhatPeersKnow | Self::NeverSettles | Self::CountsAlone => vec![batch],
            Self::LetsNamesakesIn | Self::IgnoresBranches => vec![batch],

            Self::RewritesLetters => vec![changed(batch, &|received| {
                let is_parked = |operation: &Operation| matches!(operation.kind, OperationKind::Unknown { .. });
                received.operations.iter_mut().filter(|(_, operation)| is_parked(operation)).for_each(disable);
            })],
            Self::ClaimsByVectors => Self::LogsWithoutApplying("put").before_commit(batch, origin, outbox),
            Self::AnswersWithoutWriting => {
                if batch.iter().any(|(_, caller)| matches!(caller, Caller::Client)) {
                    outbox.acknowledged.push(never_written(origin));
                }
                vec![batch]
            }
            Self::LogsWithoutApplying(name) => {
                vec![changed(batch, &|received| {
                    let applies = |operation: &Operation| operation.kind.name() != name;
                    received.operations.iter_mut().filter(|(_, operation)| !applies(operation)).for_each(disable);
                })]
            }
            Self::TakesTwice => vec![changed(batch, &double)],
            Self::TakesOutOfOrder => vec![changed(batch, &shuffle)],
            Self::Drops => vec![changed(batch, &|received| received.operations.clear())],
            Self::CutsTransactions => cut(batch),
        }
    }

    /// What a peer knows, as a push sees it.
    pub(super) fn filter(self, filter: Filter) -> Filter {
        if self == Self::ForgetsWhatPeersKnow { Filter::of(Vector::new()) } else { filter }
    }

    /// Where a push begins, and how many operations it may hold.
    pub(super) fn range(self, after: Position, batch: usize) -> (Position, usize) {
        if self == Self::ForgetsWhatPeersKnow { (Position::START, usize::MAX) } else { (after, batch) }
    }
}

fn changed(batch: Vec<(Request, Caller)>, change: &dyn Fn(&mut Received)) -> Vec<(Request, Caller)> {
    let each = batch.into_iter().map(|(mut request, caller)| {
        if let Request::Receive(received) = &mut request {
            change(received);
        }
        (request, caller)
    });
    each.collect()
}

fn disable((_, operation): &mut (Position, Operation)) {
    operation.kind = OperationKind::Unknown { code: 999, payload: Arc::from([].as_slice()) };
}

/// Adds to each operation a copy under another origin, with the same id.
fn double(received: &mut Received) {
    let copy = |operation: &Operation| {
        let origin = Origin { incarnation: !operation.dot.origin.incarnation, ..operation.dot.origin.clone() };
        Operation { dot: Dot { origin, ..operation.dot.clone() }, group: None, ..operation.clone() }
    };
    let copies: Vec<_> = received
        .operations
        .iter()
        .filter(|(_, operation)| operation.dot.sequence == Sequence(1) && operation.group.is_none())
        .map(|(position, operation)| (*position, copy(operation)))
        .collect();
    received.operations.extend(copies);
}

/// The last writer's operations first; the positions stay where they were, so that they rise.
fn shuffle(received: &mut Received) {
    let (positions, mut operations): (Vec<Position>, Vec<Operation>) = received.operations.drain(..).unzip();
    operations.sort_by(|left, right| right.dot.origin.cmp(&left.dot.origin));
    for operation in &mut operations {
        operation.context = Vector::new();
        operation.group = None;
    }
    received.operations = positions.into_iter().zip(operations).collect();
}

/// Every operation from others comes alone, and nobody knows any more that it belongs to others.
fn cut(batch: Vec<(Request, Caller)>) -> Vec<Vec<(Request, Caller)>> {
    let mut cut = Vec::new();
    for (request, caller) in batch {
        let Request::Receive(received) = request else {
            cut.push(vec![(request, caller)]);
            continue;
        };
        let part = |operations: Vec<(Position, Operation)>, through: Position| {
            let source = received.source.clone();
            Request::Receive(Received { source, operations, through, ..received_range(&received) })
        };
        for (position, operation) in &received.operations {
            let alone = Operation { group: None, ..operation.clone() };
            cut.push(vec![(part(vec![(*position, alone)], *position), Caller::Nobody)]);
        }
        cut.push(vec![(part(Vec::new(), received.through), caller)]);
    }
    cut
}

fn received_range(received: &Received) -> Received {
    let (source, source_log_id) = (received.source.clone(), received.source_log_id);
    let source_vector = received.source_vector.clone();
    let (after, through) = (received.after, received.through);
    Received {
        source,
        source_log_id,
        after,
        through,
        source_vector,
        stated: received.stated.clone(),
        operations: Vec::new(),
    }
}

fn never_written(origin: &Origin) -> Logged {
    let operation = Operation {
        id: holdfast_core::id::OperationId(1),
        dot: Dot { origin: origin.clone(), sequence: Sequence(1_000_000) },
        stamp: holdfast_core::stamp::Stamp::default(),
        collection: crate::workload::orders(),
        document: Some(crate::workload::document("order-0")),
        context: Vector::new(),
        group: None,
        chain: None,
        replaces: None,
        kind: OperationKind::Delete,
    };
    Logged { position: Position(1), previous: Position::START, operation }
}
