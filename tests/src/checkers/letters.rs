//! What cannot be understood is parked: on every node, as it came, with nothing lost of it; and once it is settled, it is
//! gone from every node.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::sync::poison::Parked;
use holdfast_core::vector::{Dot, Position};
use holdfast_storage::database::Database;
use serde_json::Value;

use crate::checkers::{Ending, Finding};

const NAME: &str = "letters";

/// The dead letters of one node: which operations, and their records, but for the place in a log.
pub type Held = BTreeMap<Dot, Value>;

/// Reads the dead letters of a node.
pub fn read(database: &Database) -> Held {
    let state = database.view().and_then(|view| view.state()).expect("a healthy database");
    let parked: BTreeSet<&Dot> = state.letters.iter().map(|letter| &letter.dot).collect();
    let mut held = Held::new();
    let log = database.log().expect("a healthy log");
    log.scan(Position::START, |entry| {
        if let Some(logged) = entry.into_operation()
            && parked.contains(&logged.operation.dot)
            && let Some(letter) = Parked::of(&logged.operation.kind)
        {
            let mut record: Value = serde_json::from_str(letter.record.get()).expect("a record that was read once");
            if let Value::Object(fields) = &mut record {
                fields.remove("LogSequence");
            }
            held.insert(logged.operation.dot, record);
        }
        Ok(())
    })
    .expect("a healthy log");
    held
}

/// Compares the letters of all nodes of a world that has come to rest.
pub fn compare(all: &[Held]) -> Option<Finding> {
    let (first, others) = all.split_first()?;
    let different = others.iter().position(|held| held != first)?;
    let other = others.get(different)?;
    let dots = first.keys().chain(other.keys());
    let dot = dots.into_iter().find(|dot| first.get(*dot) != other.get(*dot))?;
    let (here, there) = (first.get(dot), other.get(dot));
    let what = format!("{dot} is parked as {here:?} at n0, and as {there:?} at n{}", different + 1);
    Some(Finding { checker: NAME, what })
}

/// Reports what was seen on the way, and what is still parked after it was settled.
pub fn check(end: &Ending) -> Result<(), String> {
    end.found_by(NAME)?;
    for node in &end.nodes {
        if let Some(dot) = node.letters.first() {
            return Err(format!("{dot} was settled, and is still parked at {}", node.origin.node));
        }
    }
    Ok(())
}
