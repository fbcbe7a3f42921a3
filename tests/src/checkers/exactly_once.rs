//! No operation is in a log twice, and no log has a hole: in its positions or in the sequences of an origin.

use std::collections::BTreeSet;

use holdfast_core::vector::{Position, Vector};

use crate::checkers::Ending;

/// Goes through every log.
pub fn check(end: &Ending) -> Result<(), String> {
    for node in &end.nodes {
        let mut known = Vector::new();
        let mut ids = BTreeSet::new();
        let mut last = Position::START;
        for logged in &node.log {
            let (dot, place) = (&logged.operation.dot, format!("{}'s log at {}", node.origin.node, logged.position));
            // Between operations lie notes, and the oldest ones are gone, where nodes forget; settled letters leave notes too.
            if logged.position != last.next() && !(end.has_notes && logged.position > last) {
                return Err(format!("{place}: the position before it is {last}"));
            }
            let after = known.get(&dot.origin);
            if dot.sequence != after.next() && !(end.forgets && dot.sequence > after) {
                return Err(format!("{place}: {dot} follows {}", known.get(&dot.origin)));
            }
            if !ids.insert(logged.operation.id) {
                return Err(format!("{place}: {dot} is there a second time, under the same id"));
            }
            known.observe(&dot.origin, dot.sequence);
            last = logged.position;
        }
        if known != node.vector && !(end.forgets && node.vector.covers_all(&known)) {
            return Err(format!("{}'s log holds {known:?}, and it says {:?}", node.origin.node, node.vector));
        }
    }
    Ok(())
}
