//! What was answered with success is on every node, as it was written, and stands unless something covers it.

use std::collections::BTreeMap;

use holdfast_core::operation::Operation;
use holdfast_core::vector::Dot;

use crate::checkers::{Ending, NodeEnding, accounts};

/// Looks for every acknowledged operation everywhere.
pub fn check(end: &Ending) -> Result<(), String> {
    if end.forgets {
        return accounts::check(end);
    }
    let operations = end.operations();
    for node in &end.nodes {
        let logged: BTreeMap<&Dot, &Operation> =
            node.log.iter().map(|logged| (&logged.operation.dot, &logged.operation)).collect();
        for written in end.acknowledged.iter().map(|logged| &logged.operation) {
            let what = format!("{} ({} of {:?})", written.dot, written.kind.name(), written.document);
            if !node.vector.covers(&written.dot) {
                return Err(format!("{what} was acknowledged, and {} does not know it", node.origin.node));
            }
            match logged.get(&written.dot) {
                None => return Err(format!("{what} was acknowledged, and is not in the log of {}", node.origin.node)),
                Some(held) if *held != written => {
                    return Err(format!("{what} was altered on its way to {}: {held:?}", node.origin.node));
                }
                Some(_) => {}
            }
        }
        for (place, operations) in &operations {
            stands(node, place, &Ending::standing(operations))?;
        }
    }
    Ok(())
}

/// Whether a node's document consists of exactly the operations that nothing covers, the latest of them shown.
fn stands(node: &NodeEnding, place: &crate::checkers::Place, standing: &[&Operation]) -> Result<(), String> {
    let what = format!("{}/{} at {}", place.0, place.1, node.origin.node);
    let Some(document) = node.documents.get(place) else { return Err(format!("{what} is missing")) };
    let versions = document.state.versions.iter().map(|version| &version.dot);
    let increments = document.state.increments.iter().map(|applied| &applied.dot);
    let mut held: Vec<&Dot> = versions.chain(increments).collect();
    let mut expected: Vec<&Dot> = standing.iter().map(|operation| &operation.dot).collect();
    held.sort();
    expected.sort();
    if held != expected {
        return Err(format!("{what} holds {held:?}, and nothing covers {expected:?}"));
    }
    let whole = standing.iter().filter(|operation| operation.kind.is_whole());
    let latest = whole.max_by_key(|operation| (operation.stamp, &operation.dot)).map(|operation| &operation.dot);
    let shown = document.state.versions.first().map(|version| &version.dot);
    if shown != latest {
        return Err(format!("{what} shows {shown:?}, and the last writer is {latest:?}"));
    }
    Ok(())
}
