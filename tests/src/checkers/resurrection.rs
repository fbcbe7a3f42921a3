//! What was deleted stays deleted: where a delete has seen everything else, nobody shows the document.

use holdfast_core::operation::{Operation, OperationKind};
use holdfast_core::vector::Dot;

use crate::checkers::Ending;

/// Looks at every document that has such a delete; and at every document that is shown, whether somebody deleted it who
/// had seen what is shown.
pub fn check(end: &Ending) -> Result<(), String> {
    for (place, operations) in end.operations() {
        let is_last = |delete: &Operation| {
            matches!(delete.kind, OperationKind::Delete)
                && end.is_known(delete)
                && operations.values().all(|other| other.id == delete.id || end.has_seen(delete, other))
        };
        let is_over = |shown: &Dot| {
            let is_shown = |other: &&&Operation| other.dot == *shown && end.is_known(other);
            let shown = operations.values().find(is_shown)?;
            operations.values().find(|operation| {
                matches!(operation.kind, OperationKind::Delete)
                    && end.is_known(operation)
                    && end.has_seen(operation, shown)
            })
        };
        for node in &end.nodes {
            let shown = node.documents.get(&place).filter(|document| document.text.is_some());
            let shown = shown.and_then(|document| document.state.versions.first());
            if let Some((version, delete)) = shown.and_then(|version| Some((version, is_over(&version.dot)?))) {
                let (what, shown) = (format!("{}/{} at {}", place.0, place.1, node.origin.node), &version.dot);
                return Err(format!("{what} shows {shown}, which {} had seen and deleted", delete.dot));
            }
        }
        let Some(delete) = operations.values().find(|operation| is_last(operation)) else { continue };
        for node in &end.nodes {
            if let Some(text) = node.documents.get(&place).and_then(|document| document.text.as_ref()) {
                let (what, dot) = (format!("{}/{}", place.0, place.1), &delete.dot);
                return Err(format!(
                    "{what} was deleted by {dot} after everything else, and {} shows {text}",
                    node.origin.node
                ));
            }
        }
    }
    Ok(())
}
