//! Nobody ever sees a part of a transaction: not in the data, not at the end of a log, not anywhere in it.

use holdfast_core::operation::Group;
use holdfast_storage::database::Database;
use holdfast_storage::record::operation::Entry;
use serde_json::Value;

use crate::checkers::{Ending, Finding};
use crate::workload::{PAIRS, document, pairs};

const NAME: &str = "groups";

/// A look at one node right after a commit: what is seen there is what any reader could see.
pub fn look(database: &Database) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |what| findings.push(Finding { checker: NAME, what });
    let view = database.view().expect("healthy data");
    let value = |id: &str| {
        let text = view.document(&pairs(), &document(id)).expect("healthy data")?.text?;
        let value = serde_json::from_slice::<Value>(&text).ok()?;
        value.get("value").map(Value::to_string)
    };
    for (left, right) in PAIRS {
        if value(left) != value(right) {
            find(format!("{left} shows {:?} and {right} shows {:?}", value(left), value(right)));
        }
    }
    let log = database.log().expect("a healthy log");
    let newest = log.newest().and_then(|newest| log.at(newest)).expect("a healthy log");
    let newest = newest.and_then(Entry::into_operation);
    if let Some(group) = newest.and_then(|logged| logged.operation.group).filter(|group| !is_last(*group)) {
        find(format!("the log ends inside transaction {}: {} of {}", group.id, group.index, group.count));
    }
    findings
}

fn is_last(group: Group) -> bool {
    group.index + 1 >= group.count
}

/// Looks for a transaction that does not lie in one piece, in any log, and reports what was seen on the way.
pub fn check(end: &Ending) -> Result<(), String> {
    end.found_by(NAME)?;
    for node in end.nodes.iter().filter(|_| !end.forgets) {
        let mut expected: Option<Group> = None;
        for logged in &node.log {
            let group = logged.operation.group;
            let is_next = match (expected, group) {
                (Some(expected), Some(group)) => expected == group,
                (None, Some(group)) => group.index == 0,
                (expected, None) => expected.is_none(),
            };
            if !is_next {
                let place = format!("{}'s log at {}", node.origin.node, logged.position);
                return Err(format!("{place}: {group:?} where {expected:?} should follow"));
            }
            let goes_on = group.filter(|group| !is_last(*group));
            expected = goes_on.map(|group| Group { index: group.index + 1, ..group });
        }
    }
    Ok(())
}
