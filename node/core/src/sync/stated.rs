//! Stated waymarks on the wire: which branches of origins a node knows, said with every stretch of its log.
//!
//! ```text
//!   push, answer to a pull:   vector      c: 12          everything up to there, whatever it means
//!                             waymarks    c: 12 = f3…    which branch that is; c: 9 = 0a… where the receiver was heard to be
//! ```
//!
//! What an operation has seen is said in numbers. Where the receiver knows another branch by those numbers, the operation
//! would take the place of others that it has not seen. So whoever receives a stretch compares first, and takes nothing of
//! it where branches differ ([`crate::trail`]). Nodes that state nothing are taken from as before.

use std::collections::BTreeMap;

use crate::chain::Chain;
use crate::error::Refusal;
use crate::limits::WAYMARKS_STATED_MAX;
use crate::sync::message::{WaymarksRecord, parse_hex};
use crate::trail::Stated;
use crate::vector::{Dot, Origin, Sequence};

/// What a message says.
pub fn stated_record(stated: &Stated) -> WaymarksRecord {
    let mut record = WaymarksRecord::new();
    for (Dot { origin, sequence }, chain) in stated {
        record.entry(origin.to_string()).or_default().insert(sequence.0, format!("{:016x}", chain.0));
    }
    record
}

/// Checks what a message says.
pub fn parse_stated(record: &WaymarksRecord) -> Result<Stated, Refusal> {
    if record.values().map(BTreeMap::len).sum::<usize>() > WAYMARKS_STATED_MAX {
        let reason = format!("A message states at most {WAYMARKS_STATED_MAX} waymarks.");
        return Err(Refusal::invalid("too-many-waymarks", reason));
    }
    let mut stated = Stated::new();
    for (origin, marks) in record {
        let origin: Origin = origin.parse()?;
        for (sequence, chain) in marks {
            let dot = Dot { origin: origin.clone(), sequence: Sequence(*sequence) };
            stated.insert(dot, Chain(parse_hex(chain)?));
        }
    }
    Ok(stated)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::id::NodeName;
    use crate::sync::message::PushRequest;

    #[test]
    fn stated_waymarks_survive_the_way_and_older_nodes_state_none() {
        let origin = Origin { node: NodeName::parse("c").unwrap(), incarnation: 7 };
        let dot = |sequence| Dot { origin: origin.clone(), sequence: Sequence(sequence) };
        let stated: Stated = [(dot(9), Chain(5)), (dot(12), Chain(u64::MAX))].into_iter().collect();
        let text = r#"{"SourceNodeId":"c","SourceIncarnation":"0000000000000007","LogId":"0000000000000001",
            "AfterLogSequence":0,"ThroughLogSequence":0,"Operations":[]}"#;
        let mut push: PushRequest = serde_json::from_str(text).unwrap();
        assert_eq!(parse_stated(&push.waymarks).unwrap(), Stated::new());
        assert!(!serde_json::to_string(&push).unwrap().contains("Waymarks"));
        push.waymarks = stated_record(&stated);
        let read: PushRequest = serde_json::from_str(&serde_json::to_string(&push).unwrap()).unwrap();
        assert_eq!(parse_stated(&read.waymarks).unwrap(), stated);
    }

    #[test]
    fn waymarks_that_are_none_are_refused() {
        let record = |origin: &str, sequence, chain: &str| -> WaymarksRecord {
            [(origin.to_owned(), [(sequence, chain.to_owned())].into_iter().collect())].into_iter().collect()
        };
        let good = "c@0000000000000007";
        assert!(parse_stated(&record(good, 1, "00000000000000ff")).is_ok());
        assert!(parse_stated(&record("c", 1, "00000000000000ff")).is_err());
        assert!(parse_stated(&record(good, 1, "ff")).is_err());
        let many = (0..=WAYMARKS_STATED_MAX as u64).map(|sequence| (sequence, "00000000000000ff".to_owned()));
        assert!(parse_stated(&[(good.to_owned(), many.collect())].into_iter().collect()).is_err());
    }
}
