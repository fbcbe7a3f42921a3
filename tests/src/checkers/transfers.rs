//! No operation is pushed to the node that wrote it. In a calm pair, each is sent exactly once.
//!
//! An answer to a pull is no such offer: it goes by what the asker said it knows, and the question may be an old one
//! that the network has kept.

use std::collections::BTreeSet;

use holdfast_core::vector::Dot;

use crate::checkers::Ending;

/// Looks for operations that went to their author.
pub fn check(end: &Ending) -> Result<(), String> {
    for ((dot, to), times) in &end.transfers {
        // That a node goes on under another incarnation, its peers learn only when they meet it.
        let is_author = end.nodes.get(*to).is_some_and(|node| node.origin == dot.origin);
        if times.pushed > 0 && is_author && !end.forgets {
            return Err(format!("{dot} was pushed to its author, {} times", times.pushed));
        }
    }
    Ok(())
}

/// For a mesh without trouble, in which writes leave time for each other: each node is sent each operation once, but
/// for its author.
pub fn check_calm_mesh(end: &Ending) -> Result<(), String> {
    check(end)?;
    let written: BTreeSet<&Dot> = end.transfers.keys().map(|(dot, _)| dot).collect();
    for dot in written {
        for (index, node) in end.nodes.iter().enumerate() {
            let times = end.transfers.get(&(dot.clone(), index)).map_or(0, |times| times.pushed + times.pulled);
            if times != u64::from(node.origin != dot.origin) {
                return Err(format!("{dot} was sent to {} {times} times", node.origin));
            }
        }
    }
    Ok(())
}

/// For a world of two nodes without trouble, in which writes leave time for each other.
pub fn check_calm_pair(end: &Ending) -> Result<(), String> {
    check(end)?;
    match end.transfers.iter().find(|(_, times)| times.pushed + times.pulled != 1) {
        Some(((dot, _), times)) => Err(format!("{dot} was sent more than once: {times:?}")),
        None => Ok(()),
    }
}
