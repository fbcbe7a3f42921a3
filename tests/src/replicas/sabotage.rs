//! Rules that nodes break on purpose, to see that it is noticed.

use holdfast_core::json::JsonText;
use holdfast_core::operation::OperationKind;
use holdfast_storage::request::Received;

/// What all nodes of a world do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Nothing.
    None,
    /// A voter votes for anybody, as often as it is asked.
    VotesAgain,
    /// What was promised is not written down.
    ForgetsPromises,
    /// A voter does not look how far a candidate is.
    ElectsAnybody,
    /// A node that does not lead takes writes all the same.
    WritesWithoutLead,
    /// A receipt is given for what is not on the disk yet.
    ConfirmsUnwritten,
    /// What only an old leader holds is not given when it returns.
    KeepsSurplus,
    /// A follower alters a write that it takes in.
    AltersWrites,
    /// A write is called replicated when fewer followers have it than were asked for.
    CountsTooFew,
    /// A follower ranks as one of an epoch before it has what that began with.
    RanksEarly,
    /// What arrives is not held against its checksum.
    BelievesAnything,
}

/// Another text in the place of each that was put.
pub(super) fn alter(received: &mut Received) {
    for (_, operation) in &mut received.operations {
        if let OperationKind::Put { body, .. } = &mut operation.kind {
            let mut fields = body.to_object();
            fields.insert("altered".to_owned(), true.into());
            *body = JsonText::from_object(&fields);
        }
    }
}
