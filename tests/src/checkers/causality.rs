//! No log tells the story of a document backwards: what an operation had seen of it comes before it.

use std::collections::BTreeSet;

use holdfast_core::vector::Dot;

use crate::checkers::Ending;

/// Goes through every log with the contexts that the operations were written with.
pub fn check(end: &Ending) -> Result<(), String> {
    let operations = end.operations();
    for node in &end.nodes {
        let mut told: BTreeSet<&Dot> = BTreeSet::new();
        for logged in &node.log {
            let operation = &logged.operation;
            told.insert(&operation.dot);
            let Some(id) = &operation.document else { continue };
            let Some(others) = operations.get(&(operation.collection.clone(), id.clone())) else { continue };
            // As its author wrote it: what a node has made of it on the way is another checker's matter.
            let written = end.as_written(&operation.dot).unwrap_or(operation);
            let missing = others.keys().find(|dot| written.context.covers(dot) && !told.contains(dot));
            if let Some(missing) = missing {
                let (dot, name, at) = (&operation.dot, &node.origin.node, logged.position);
                return Err(format!("{dot} has seen {missing}, which is not before it in the log of {name} at {at}"));
            }
        }
    }
    Ok(())
}
