//! Whose turn it is to settle a conflict: the sides' authors first, the shown one's before the others'.
//!
//! Every node could answer, and all answers would converge. Taking turns saves the others the write.

use xxhash_rust::xxh3::xxh3_64;

use crate::document::Version;
use crate::id::NodeName;
use crate::limits::{CONFLICT_TURN_MILLIS, CONFLICT_TURNS_OF_OTHERS};
use crate::time::Millis;

/// How long a node waits before it settles a conflict. `jitter` is random.
pub fn wait_before_turn(versions: &[Version], here: &NodeName, jitter: u64) -> Millis {
    let author = versions.iter().position(|version| version.dot.origin.node == *here);
    let turn = match author {
        Some(place) => place as u64,
        // Nodes that wrote none of the sides are spread by their names.
        None => versions.len() as u64 + xxh3_64(here.as_str().as_bytes()) % CONFLICT_TURNS_OF_OTHERS,
    };
    Millis(turn.saturating_mul(CONFLICT_TURN_MILLIS) + jitter % (CONFLICT_TURN_MILLIS / 2))
}
