//! No log tells the story of a document backwards: what an operation had seen of it comes before it.

use std::collections::BTreeSet;

use holdfast_core::vector::Dot;

use crate::checkers::Ending;

/// Goes through every log with the contexts that the operations were written with.
pub fn check(end: &Ending) -> Result<(), String> {
    let operations = end.operations();
    for node in &end.nodes {
        let mut told: BTreeSet<&Dot> = BTreeSet::new();
        let held: BTreeSet<&Dot> = node.log.iter().map(|logged| &logged.operation.dot).collect();
        for logged in &node.log {
            let operation = &logged.operation;
            told.insert(&operation.dot);
            let Some(id) = &operation.document else { continue };
            let Some(others) = operations.get(&(operation.collection.clone(), id.clone())) else { continue };
            // As its author wrote it: what a node has made of it on the way is another checker's matter.
            let written = end.as_written(operation).unwrap_or(operation);
            let is_missing = |dot: &&Dot| {
                let is_here = !end.forgets || held.contains(*dot);
                written.context.covers(dot) && is_here && !told.contains(*dot)
            };
            let missing = others.keys().map(|(dot, _)| dot).find(is_missing);
            if let Some(missing) = missing {
                let (dot, name, at) = (&operation.dot, &node.origin.node, logged.position);
                return Err(format!("{dot} has seen {missing}, which is not before it in the log of {name} at {at}"));
            }
        }
    }
    Ok(())
}
