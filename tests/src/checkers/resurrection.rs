//! What was deleted stays deleted: where a delete has seen everything else, nobody shows the document.

use holdfast_core::operation::OperationKind;

use crate::checkers::Ending;

/// Looks at every document that has such a delete.
pub fn check(end: &Ending) -> Result<(), String> {
    for (place, operations) in end.operations() {
        let is_last = |delete: &holdfast_core::operation::Operation| {
            matches!(delete.kind, OperationKind::Delete)
                && operations.keys().all(|dot| *dot == delete.dot || delete.context.covers(dot))
        };
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
