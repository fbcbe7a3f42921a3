//! The trail of a database, found again when it is opened ([`holdfast_core::trail`]).
//!
//! It is written when the log is cut, in a quiet moment, and with the states of a peer. What has come since then is read from
//! the newest part of the log; what lies between is missing, and proves nothing.

use holdfast_core::trail::Trail;
use holdfast_core::vector::{Dot, Position};

use crate::error::StorageError;
use crate::log::LogView;
use crate::record::operation::Entry;
use crate::record::progress::DataState;

/// So much of the log's end is looked through: some milliseconds.
const POSITIONS: u64 = 4_096;

/// What a database that is being opened has passed.
pub(crate) fn trodden(log: &LogView, state: &DataState) -> Result<Trail, StorageError> {
    let mut trail = log.saved_trail()?;
    log.scan(Position(state.position.0.saturating_sub(POSITIONS)), |entry| {
        if let Entry::Operation(logged) = entry
            && let Some(before) = logged.operation.chain
        {
            trail.pass(&logged.operation.dot, Some(before), before.then(logged.operation.id));
        }
        Ok(())
    })?;
    for (origin, known) in state.vector.iter() {
        let dot = Dot { origin: origin.clone(), sequence: known };
        match state.chains.get(origin) {
            Some(chain) => drop(trail.pass(&dot, None, chain)),
            None => trail.jump(&dot, None),
        }
    }
    Ok(trail)
}
