//! What is said when a node takes a peer's states: the question for a page, and what comes with it.
//!
//! The page itself is binary; see the storage crate. Everything here is untrusted until it was parsed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::chain::{Chain, Chains};
use crate::error::Refusal;
use crate::id::{CollectionName, OperationId};
use crate::limits::{BRANCH_SEQUENCES_MAX, COLLECTIONS_IN_STATES_MAX, EXCHANGE_BYTES_TARGET, VECTOR_ORIGINS_MAX};
use crate::members::{Members, Membership};
use crate::stamp::Stamp;
use crate::sync::branches::Told;
use crate::sync::message::{
    PROTOCOL, Standing, StandingRecord, WaymarksRecord, parse_hex, parse_vector, vector_record,
};
use crate::sync::stated::{parse_stated, stated_record};
use crate::trail::Stated;
use crate::vector::{Dot, Origin, Position, Sequence, Vector};

/// The question for a page of states.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StatesRequest {
    /// The asker's protocol.
    #[serde(alias = "protocol", default = "protocol")]
    pub protocol: u32,
    /// Who asks.
    #[serde(alias = "requestingNodeId")]
    pub requesting_node_id: String,
    /// Which life of it.
    #[serde(alias = "requestingIncarnation")]
    pub requesting_incarnation: String,
    /// Documents whose last change lies after this position …
    #[serde(alias = "afterLogSequence")]
    pub after_log_sequence: u64,
    /// … of this log; of another, the answer starts from the beginning.
    #[serde(alias = "logId", default)]
    pub log_id: Option<String>,
    /// Bytes of documents after which the page ends, if it holds at least one; none are sent when it is zero. As many as
    /// the answerer likes, when it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u64>,
    /// How the asker reads compressed pages: `zstd`, or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
}

/// A page in an envelope, which says whether it is compressed with zstd.
pub const COMPRESSION: &str = "zstd";

impl StatesRequest {
    /// The size that a page for this asker may have.
    pub fn size(&self) -> usize {
        let bytes_max = self.bytes_max.unwrap_or(u64::MAX);
        usize::try_from(bytes_max).unwrap_or(usize::MAX).min(EXCHANGE_BYTES_TARGET)
    }

    /// Whether the asker reads pages in an envelope.
    pub fn is_compressed(&self) -> bool {
        self.compression.as_deref() == Some(COMPRESSION)
    }

    /// After which position of this log the page begins.
    pub fn after(&self, log_id: u64) -> Result<Position, Refusal> {
        let asked_log = self.log_id.as_deref().map(parse_hex).transpose()?;
        Ok(if asked_log == Some(log_id) { Position(self.after_log_sequence) } else { Position::START })
    }
}

/// What comes with a page: all of the same moment as the page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StatesHead {
    /// Who answers, and what it knows.
    pub standing: StandingRecord,
    /// Its log holds every operation above this.
    pub floor: BTreeMap<String, u64>,
    /// Below this it may have removed tombstones.
    pub graves: BTreeMap<String, u64>,
    /// The chain of each origin, 16 hexadecimal digits.
    pub chains: BTreeMap<String, String>,
    /// Where it has passed the branches of origins: by origin and sequence, the chain up to there. Absent from older nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub waymarks: WaymarksRecord,
    /// Whom it counts with, and whom no longer.
    pub members: Vec<MemberRecord>,
    /// Its collections, empty ones included.
    pub collections: Vec<String>,
    /// `zstd` where the page is in an envelope, which is only done for who reads it; else nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
}

/// How a node stands with a database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MemberRecord {
    /// The node, as name@incarnation.
    pub origin: String,
    /// Why it is no longer counted with: `lapsed`, `retired` or `forced`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fenced: Option<String>,
    /// The stamp of the operation that said so.
    pub stamp: u64,
    /// That operation: who wrote it …
    pub by_origin: String,
    /// … and as which of theirs.
    pub by_sequence: u64,
}

/// The question which operations of an origin a node has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BranchRequest {
    /// The origin.
    pub origin: String,
    /// The sequences that are asked for.
    pub sequences: Vec<u64>,
}

/// Which operations a node has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BranchResponse {
    /// Operation ids by sequence; what the log no longer holds is left out.
    pub operations: BTreeMap<u64, String>,
    /// The chain before each of them that is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub chains_before: BTreeMap<u64, String>,
}

/// A head, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct States {
    /// Who answers, and what it knows.
    pub standing: Standing,
    /// Its log holds every operation above this.
    pub floor: Vector,
    /// Below this it may have removed tombstones.
    pub graves: Vector,
    /// The chain of each origin.
    pub chains: Chains,
    /// Where it has passed the branches of origins.
    pub passed: Stated,
    /// Whom it counts with, and whom no longer.
    pub members: Members,
    /// Its collections.
    pub collections: Vec<CollectionName>,
}

fn protocol() -> u32 {
    PROTOCOL
}

impl From<&States> for StatesHead {
    fn from(states: &States) -> Self {
        Self {
            standing: StandingRecord::from(&states.standing),
            floor: vector_record(&states.floor),
            graves: vector_record(&states.graves),
            chains: chains_record(&states.chains),
            waymarks: stated_record(&states.passed),
            members: members_record(&states.members),
            collections: states.collections.iter().map(ToString::to_string).collect(),
            compression: None,
        }
    }
}

impl StatesHead {
    /// Checks it.
    pub fn parse(&self) -> Result<States, Refusal> {
        if self.collections.len() > COLLECTIONS_IN_STATES_MAX {
            return Err(Refusal::invalid("invalid-states", "The states name too many collections."));
        }
        Ok(States {
            standing: self.standing.parse()?,
            floor: parse_vector(&self.floor)?,
            graves: parse_vector(&self.graves)?,
            chains: parse_chains(&self.chains)?,
            passed: parse_stated(&self.waymarks)?,
            members: parse_members(&self.members)?,
            collections: self
                .collections
                .iter()
                .map(|name| CollectionName::parse_any(name))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl BranchRequest {
    /// Checks it.
    pub fn parse(&self) -> Result<(Origin, Vec<Sequence>), Refusal> {
        if self.sequences.len() > BRANCH_SEQUENCES_MAX {
            let reason = format!("More than {BRANCH_SEQUENCES_MAX} sequences are asked for.");
            return Err(Refusal::invalid("too-many-sequences", reason));
        }
        Ok((self.origin.parse()?, self.sequences.iter().copied().map(Sequence).collect()))
    }
}

impl From<&BTreeMap<Sequence, Told>> for BranchResponse {
    fn from(found: &BTreeMap<Sequence, Told>) -> Self {
        let before = |(of, told): (&Sequence, &Told)| Some((of.0, format!("{:016x}", told.before?.0)));
        Self {
            operations: found.iter().map(|(of, told)| (of.0, told.id.to_string())).collect(),
            chains_before: found.iter().filter_map(before).collect(),
        }
    }
}

impl BranchResponse {
    /// Checks it.
    pub fn parse(&self) -> Result<BTreeMap<Sequence, Told>, Refusal> {
        if self.operations.len() > BRANCH_SEQUENCES_MAX {
            let reason = format!("More than {BRANCH_SEQUENCES_MAX} operations are named.");
            return Err(Refusal::invalid("too-many-sequences", reason));
        }
        let operation = |(sequence, id): (&u64, &String)| {
            let before = self.chains_before.get(sequence).map(|text| parse_hex(text).map(Chain)).transpose()?;
            Ok((Sequence(*sequence), Told { id: id.parse::<OperationId>()?, before }))
        };
        self.operations.iter().map(operation).collect()
    }
}

/// Chains as they cross the wire.
pub fn chains_record(chains: &Chains) -> BTreeMap<String, String> {
    chains.iter().map(|(origin, chain)| (origin.to_string(), format!("{:016x}", chain.0))).collect()
}

/// Reads chains.
pub fn parse_chains(record: &BTreeMap<String, String>) -> Result<Chains, Refusal> {
    if record.len() > VECTOR_ORIGINS_MAX {
        return Err(Refusal::invalid("invalid-chains", "The chains name too many origins."));
    }
    record.iter().map(|(origin, chain)| Ok((origin.parse::<Origin>()?, Chain(parse_hex(chain)?)))).collect()
}

/// Members as they cross the wire.
pub fn members_record(members: &Members) -> Vec<MemberRecord> {
    let record = |(origin, membership): (&Origin, &Membership)| MemberRecord {
        origin: origin.to_string(),
        fenced: membership.fenced.map(|reason| reason.to_string()),
        stamp: membership.stamp.0,
        by_origin: membership.by.origin.to_string(),
        by_sequence: membership.by.sequence.0,
    };
    members.iter().map(record).collect()
}

/// Reads members.
pub fn parse_members(records: &[MemberRecord]) -> Result<Members, Refusal> {
    if records.len() > VECTOR_ORIGINS_MAX {
        return Err(Refusal::invalid("invalid-members", "There are too many members."));
    }
    let mut members = Members::new();
    for record in records {
        let by = Dot { origin: record.by_origin.parse()?, sequence: Sequence(record.by_sequence) };
        let fenced = record.fenced.as_deref().map(str::parse).transpose()?;
        members.set(&record.origin.parse()?, Membership { fenced, stamp: Stamp(record.stamp), by });
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::id::NodeName;
    use crate::members::FenceReason;
    use crate::time::Millis;

    #[test]
    fn a_head_comes_back_as_it_was_sent() {
        let origin = Origin { node: NodeName::parse("a").unwrap(), incarnation: 9 };
        let vector: Vector = [(origin.clone(), Sequence(4))].into_iter().collect();
        let mut members = Members::new();
        let by = Dot { origin: origin.clone(), sequence: Sequence(2) };
        members.set(&origin, Membership { fenced: Some(FenceReason::Lapsed), stamp: Stamp(7), by });
        let standing = Standing {
            origin: origin.clone(),
            log_id: 3,
            newest: Position(8),
            vector: vector.clone(),
            now: Millis(1),
            neighbours: std::collections::BTreeSet::default(),
        };
        let states = States {
            standing,
            floor: vector.clone(),
            graves: vector,
            passed: [(Dot { origin: origin.clone(), sequence: Sequence(2) }, Chain(5))].into_iter().collect(),
            chains: [(origin, Chain(77))].into_iter().collect(),
            members,
            collections: vec![CollectionName::parse("orders").unwrap()],
        };
        let text = serde_json::to_string(&StatesHead::from(&states)).unwrap();
        let read: StatesHead = serde_json::from_str(&text).unwrap();
        assert_eq!(read.parse().unwrap(), states);
    }
}
