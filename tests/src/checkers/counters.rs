//! Increments add up: a document that got nothing else shows the sum of all of them, each counted once.

use holdfast_core::counter::Amount;
use holdfast_core::operation::{Operation, OperationKind};
use serde_json::Value;
use std::collections::BTreeMap;

use crate::checkers::Ending;
use crate::checkers::history::story;
use crate::workload;

/// Adds up every counter and compares it with what each node shows.
pub fn check(end: &Ending) -> Result<(), String> {
    let operations = end.operations();
    for (place, operations) in operations.iter().filter(|(place, _)| place.0 == workload::counters()) {
        let mut sum: i128 = 0;
        let may_lack = |operation: &&Operation| {
            end.history.is_losable(operation.identity()) || end.history.is_indistinct(operation)
        };
        if operations.values().any(may_lack) {
            // Which part of it survived is known to nobody.
            continue;
        }
        // Each change once, whatever names it goes by.
        let changes: BTreeMap<_, _> = operations.values().map(|operation| (operation.identity(), operation)).collect();
        for operation in changes.values() {
            // The other operations on a counter are the zeros that it began with, once at each node that began it.
            if let OperationKind::Increment(increment) = &operation.kind {
                sum += increment.0.iter().map(|(_, amount)| amount.billionths()).sum::<i128>();
            }
        }
        let expected = Amount::from_billionths(sum);
        for node in &end.nodes {
            let shown = node.documents.get(place).and_then(|document| document.text.as_deref());
            let number =
                shown.and_then(|text| serde_json::from_str::<Value>(text).ok()?.get("n").map(Value::to_string));
            if number.as_deref().and_then(Amount::parse) != Some(expected) {
                let (id, expected) = (&place.1, expected.to_text());
                let parts = story(operations.values().copied());
                return Err(format!(
                    "{id} adds up to {expected}, and {} shows {shown:?}; all there ever was of it:\n  {parts}",
                    node.origin.node
                ));
            }
        }
    }
    Ok(())
}
