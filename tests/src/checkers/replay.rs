//! The data is what the log makes of it, on every node, after all crashes.

use crate::checkers::Ending;

/// Reads what `verify` has found.
pub fn check(end: &Ending) -> Result<(), String> {
    for node in &end.nodes {
        if let Some(finding) = node.verified.findings.first() {
            return Err(format!("{}: {finding}", node.origin.node));
        }
        if !end.has_notes && node.verified.operations != node.log.len() as u64 {
            let (verified, held) = (node.verified.operations, node.log.len());
            return Err(format!("{}: verify saw {verified} of {held} operations", node.origin.node));
        }
    }
    Ok(())
}
