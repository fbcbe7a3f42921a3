//! A last look at branches, when all states of a peer are here: both nodes went on while they were taken.
//!
//! Where branches part was found out before the first page. Since then this node may have written, or a copy of it may
//! have, and peers may have brought more of either branch. What the peer's vector covers by then is taken for known; an
//! operation of another branch would be lost by that.
//!
//! Must stay true: no operation of the old log is taken for known because of a number that the peer knows for another.

use holdfast_core::sync::branches::{self, Known};
use holdfast_core::vector::{Dot, Origin};

use crate::error::StorageError;
use crate::record::note::Adoption;
use crate::transfer::Before;

/// An origin whose branches must be looked at again before the states take the place of what is here. `me` has written
/// here until now.
pub(super) fn overlooked(
    before: &Before,
    me: &Origin,
    adoption: &Adoption,
    forks: &[Dot],
) -> Result<Option<Origin>, StorageError> {
    let ours = Known { vector: &before.state.vector, chains: &before.state.chains };
    let theirs = Known { vector: &adoption.vector, chains: &adoption.chains };
    let wanted = branches::proofs(ours, theirs);
    let proofs = before.log.chains_before(&wanted)?;
    Ok(branches::overlooked(me, ours, theirs, &proofs, forks))
}
