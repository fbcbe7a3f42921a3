//! Nobody goes on as somebody else: when all has come to rest, no two nodes write as one origin, all mean the same
//! operations by the same dots, nobody counts with two members of one name, and whoever met another branch of an origin
//! has said so.

use std::collections::BTreeMap;

use holdfast_core::id::{NodeName, OperationId};
use holdfast_core::vector::{Dot, Origin};

use crate::checkers::{Ending, NodeEnding};

/// Compares who everybody is, and what everybody means.
pub fn check(end: &Ending) -> Result<(), String> {
    let mut writers: BTreeMap<&Origin, usize> = BTreeMap::new();
    for (index, node) in end.nodes.iter().enumerate() {
        if let Some(other) = writers.insert(&node.origin, index) {
            return Err(format!("n{other} and n{index} both write as {}", node.origin));
        }
        has_one_of_a_name(index, node)?;
    }
    let Some((first, others)) = end.nodes.split_first() else { return Ok(()) };
    for node in others {
        for (origin, known) in first.vector.iter() {
            let (left, right) = (first.chains.get(origin), node.chains.get(origin));
            let is_other = matches!((left, right), (Some(left), Some(right)) if left != right);
            if is_other && node.vector.get(origin) == known {
                let (left, right) = (&first.origin, &node.origin);
                return Err(format!("{left} and {right} mean different operations by {origin}:{known}"));
            }
        }
    }
    match second_branch(end).filter(|_| !end.seen.contains_key(NOTICED)) {
        Some(dot) => Err(format!("{dot} was given to two operations that may not be lost, and nobody has noticed")),
        None => Ok(()),
    }
}

/// A dot that two operations were acknowledged under, none of which only a destroyed disk held, and that still means
/// something to somebody. A node may have written its branch again, under another name and for another reason, before it
/// met the other one, and so may the other: then nobody has met two branches, and nobody is misled.
fn second_branch(end: &Ending) -> Option<&Dot> {
    let mut named: BTreeMap<&Dot, OperationId> = BTreeMap::new();
    let is_meant = |dot: &Dot| end.nodes.iter().any(|node| node.vector.covers(dot));
    let written = end.acknowledged.iter().map(|logged| &logged.operation);
    for operation in written.filter(|operation| {
        let may_lack = end.history.is_losable(operation.identity()) || end.history.is_indistinct(operation);
        !may_lack && is_meant(&operation.dot)
    }) {
        if *named.entry(&operation.dot).or_insert(operation.id) != operation.id {
            return Some(&operation.dot);
        }
    }
    None
}

/// What nodes say when they meet another branch of an origin than theirs.
pub const NOTICED: &str = "branches noticed";

fn has_one_of_a_name(index: usize, node: &NodeEnding) -> Result<(), String> {
    let mut names: BTreeMap<&NodeName, &Origin> = BTreeMap::new();
    for member in node.members.active() {
        if let Some(other) = names.insert(&member.node, member) {
            return Err(format!("n{index} counts with {other} and with {member}"));
        }
    }
    Ok(())
}
