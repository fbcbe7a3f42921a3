//! What two peers tell each other at every sweep: how far each is, what it holds in digests, what it remembers.
//!
//! The exchange is symmetric: whoever asks tells as much as whoever answers. It carries no operations and changes no
//! document, so losing or repeating it costs nothing.
//!
//! Everything here is untrusted until [`SurveyRecord::parse`] has accepted it: lists are bounded, names are checked,
//! and no document is named twice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::chain::Chains;
use crate::digest::Digest;
use crate::error::Refusal;
use crate::id::{CACHE_COLLECTION, CollectionName, DocumentId};
use crate::limits::{SURVEY_ACKNOWLEDGED_MAX, SURVEY_COLLECTIONS_MAX, SURVEY_DOCUMENTS_MAX, VECTOR_ORIGINS_MAX};
use crate::sync::comparison::{DocumentKey, Side};
use crate::sync::message::{PROTOCOL, Standing, StandingRecord, parse_hex, parse_vector, vector_record};
use crate::sync::states::{chains_record, parse_chains};
use crate::time::Millis;
use crate::vector::{Dot, Origin, Position, Sequence, Vector};

/// A question and what its asker tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SurveyRequest {
    /// The asker's protocol.
    #[serde(alias = "protocol", default = "protocol")]
    pub protocol: u32,
    /// The asker.
    #[serde(alias = "survey")]
    pub survey: SurveyRecord,
    /// The position of the answerer's log up to which the asker has everything …
    #[serde(alias = "pulledLogSequence", default)]
    pub pulled_log_sequence: u64,
    /// … and the log that it counts, hexadecimal.
    #[serde(alias = "pulledLogId", default, skip_serializing_if = "Option::is_none")]
    pub pulled_log_id: Option<String>,
    /// `NowMillis` of an answer that the asker had from the answerer before: the question was made after it.
    #[serde(alias = "echoMillis", default, skip_serializing_if = "Option::is_none")]
    pub echo_millis: Option<u64>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SurveyResponse {
    /// The answerer's protocol.
    #[serde(alias = "protocol", default = "protocol")]
    pub protocol: u32,
    /// The answerer.
    #[serde(alias = "survey")]
    pub survey: SurveyRecord,
    /// The answerer's parts of the documents that the asker has changed.
    #[serde(alias = "asked", default)]
    pub asked: Vec<PartRecord>,
}

/// What a node tells about one database, from one look at it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SurveyRecord {
    /// Who it is, and how far it is.
    #[serde(alias = "standing")]
    pub standing: StandingRecord,
    /// The oldest position that its log still holds.
    #[serde(alias = "oldestLogSequence", default)]
    pub oldest_log_sequence: u64,
    /// The digest of everything that it shows, 32 hexadecimal digits.
    #[serde(alias = "digest")]
    pub digest: String,
    /// The digest of each collection; absent when there are too many to name.
    #[serde(alias = "collections", default, skip_serializing_if = "Option::is_none")]
    pub collections: Option<Vec<CollectionRecord>>,
    /// The documents that it has changed since what the other is known to know; absent when they are too many.
    #[serde(alias = "changed", default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Vec<PartRecord>>,
    /// What the other lacks of its log.
    #[serde(alias = "lacking", default)]
    pub lacking: Lacking,
    /// What it knows other members to have: a vector by origin.
    #[serde(alias = "acknowledged", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub acknowledged: BTreeMap<String, BTreeMap<String, u64>>,
    /// How long ago it heard members, in milliseconds: by itself, or through others.
    #[serde(alias = "heardMillisAgo", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub heard_millis_ago: BTreeMap<String, u64>,
    /// The members of the database that it knows, as origins.
    #[serde(alias = "members", default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// Tombstones below this vector may have been removed.
    #[serde(alias = "graves", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub graves: BTreeMap<String, u64>,
    /// Its log holds every operation above this vector.
    #[serde(alias = "floor", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub floor: BTreeMap<String, u64>,
    /// The running hash of each origin's operations up to its newest that it knows, 16 hexadecimal digits.
    #[serde(alias = "chains", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub chains: BTreeMap<String, String>,
}

/// A collection's digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CollectionRecord {
    /// Its name.
    #[serde(alias = "name")]
    pub name: String,
    /// Its digest, 32 hexadecimal digits.
    #[serde(alias = "digest")]
    pub digest: String,
    /// Documents that are shown, for people.
    #[serde(alias = "count", default)]
    pub count: u64,
}

/// A document's part of its collection's digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PartRecord {
    /// Its collection.
    #[serde(alias = "collection")]
    pub collection: String,
    /// Its id.
    #[serde(alias = "id")]
    pub id: String,
    /// Its part, 32 hexadecimal digits; zeros when nothing is shown.
    #[serde(alias = "part")]
    pub part: String,
}

/// What one node knows that another lacks of its log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Lacking {
    /// Operations.
    #[serde(alias = "operations", default)]
    pub operations: u64,
    /// Their bytes in the log, roughly.
    #[serde(alias = "bytes", default)]
    pub bytes: u64,
    /// How long the oldest of them has been there, in milliseconds.
    #[serde(alias = "ageMillis", default)]
    pub age_millis: u64,
}

/// What a node tells, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Who it is, and how far it is.
    pub standing: Standing,
    /// The oldest position that its log still holds.
    pub oldest: Position,
    /// Its side of the comparison; what it was asked for is not there yet.
    pub side: Side,
    /// Documents that it shows, by collection, for people.
    pub counts: BTreeMap<CollectionName, u64>,
    /// What the other lacks of its log.
    pub lacking: Lacking,
    /// What it remembers of the cluster.
    pub memory: Memory,
}

/// What a node remembers of the cluster: what decides when deletes may be forgotten and logs be cut.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// What it knows other members to have.
    pub acknowledged: BTreeMap<Origin, Vector>,
    /// How long ago it heard members, by itself or through others.
    pub heard: BTreeMap<Origin, Millis>,
    /// The members that it knows.
    pub members: Vec<Origin>,
    /// Tombstones below this vector may have been removed.
    pub graves: Vector,
    /// Its log holds every operation above this vector.
    pub floor: Vector,
    /// The running hash of each origin's operations up to its newest that it knows.
    pub chains: Chains,
}

fn protocol() -> u32 {
    PROTOCOL
}

/// Whether peers compare a collection: documents and definitions of indexes, and nothing that belongs to each node itself. Cache entries
/// expire on each node by its own clock, so they are no part of the proof.
pub fn is_compared(collection: &CollectionName) -> bool {
    CollectionName::parse_replicated(collection.as_str()).is_ok()
}

impl SurveyRecord {
    /// Checks it.
    pub fn parse(self) -> Result<Survey, Refusal> {
        let standing = self.standing.parse()?;
        let mut counts = BTreeMap::new();
        let collections = self.collections.map(|records| parse_collections(records, &mut counts)).transpose()?;
        let side = Side {
            vector: standing.vector.clone(),
            graves: parse_vector(&self.graves)?,
            collections,
            whole: parse_digest(&self.digest)?,
            changed: self.changed.map(parse_parts).transpose()?,
            asked: BTreeMap::new(),
        };
        let memory = Memory {
            acknowledged: parse_acknowledged(&self.acknowledged)?,
            heard: parse_heard(&self.heard_millis_ago)?,
            members: parse_members(&self.members)?,
            graves: parse_vector(&self.graves)?,
            floor: parse_vector(&self.floor)?,
            chains: parse_chains(&self.chains)?,
        };
        let oldest = Position(self.oldest_log_sequence);
        Ok(Survey { standing, oldest, side, counts, lacking: self.lacking, memory })
    }
}

impl From<&Survey> for SurveyRecord {
    fn from(survey: &Survey) -> Self {
        let collection = |(name, digest): (&CollectionName, &Digest)| CollectionRecord {
            name: name.to_string(),
            digest: digest.to_string(),
            count: survey.counts.get(name).copied().unwrap_or_default(),
        };
        let memory = &survey.memory;
        let acknowledged = memory.acknowledged.iter();
        Self {
            standing: StandingRecord::from(&survey.standing),
            oldest_log_sequence: survey.oldest.0,
            digest: survey.side.whole.to_string(),
            collections: survey.side.collections.as_ref().map(|all| all.iter().map(collection).collect()),
            changed: survey.side.changed.as_ref().map(part_records),
            lacking: survey.lacking,
            acknowledged: acknowledged.map(|(origin, vector)| (origin.to_string(), vector_record(vector))).collect(),
            heard_millis_ago: memory.heard.iter().map(|(origin, ago)| (origin.to_string(), ago.0)).collect(),
            members: memory.members.iter().map(ToString::to_string).collect(),
            graves: vector_record(&memory.graves),
            floor: vector_record(&memory.floor),
            chains: chains_record(&memory.chains),
        }
    }
}

impl Survey {
    /// An origin of which both know equally many operations, and not the same: two branches of it.
    pub fn other_branch<'a>(&self, vector: &'a Vector, chains: &Chains) -> Option<Dot> {
        let is_other = |(origin, sequence): &(&'a Origin, Sequence)| {
            let is_level = self.side.vector.get(origin) == *sequence;
            is_level && matches!((chains.get(origin), self.memory.chains.get(origin)), (Some(a), Some(b)) if a != b)
        };
        let (origin, sequence) = vector.iter().find(is_other)?;
        Some(Dot { origin: origin.clone(), sequence })
    }
}

impl SurveyRequest {
    /// The position of our log up to which the asker has everything, if it counts this log.
    pub fn pulled(&self, log_id: u64) -> Result<Position, Refusal> {
        let counted = self.pulled_log_id.as_deref().map(parse_hex).transpose()?;
        Ok(if counted == Some(log_id) { Position(self.pulled_log_sequence) } else { Position::START })
    }
}

/// Parts as they are sent.
pub fn part_records(parts: &BTreeMap<DocumentKey, Digest>) -> Vec<PartRecord> {
    let record = |((collection, id), part): (&DocumentKey, &Digest)| PartRecord {
        collection: collection.to_string(),
        id: id.as_str().to_owned(),
        part: part.to_string(),
    };
    parts.iter().map(record).collect()
}

/// Checks parts.
pub fn parse_parts(records: Vec<PartRecord>) -> Result<BTreeMap<DocumentKey, Digest>, Refusal> {
    let count = records.len();
    if count > SURVEY_DOCUMENTS_MAX {
        return Err(refuse(format!("A survey names more than {SURVEY_DOCUMENTS_MAX} documents.")));
    }
    let part = |record: PartRecord| {
        let key = (CollectionName::parse_replicated(&record.collection)?, DocumentId::parse(&record.id)?);
        Ok((key, parse_digest(&record.part)?))
    };
    let parts: BTreeMap<DocumentKey, Digest> = records.into_iter().map(part).collect::<Result<_, Refusal>>()?;
    // A document that is subtracted twice would make unequal digests equal.
    if parts.len() != count {
        return Err(refuse("A survey names a document twice."));
    }
    Ok(parts)
}

/// Reads a digest of 32 hexadecimal digits.
pub fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    let is_sound = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let digits = is_sound.then(|| u128::from_str_radix(text, 16).ok()).flatten();
    digits.map(Digest).ok_or_else(|| refuse("A digest is not 32 hexadecimal digits."))
}

fn parse_collections(
    records: Vec<CollectionRecord>,
    counts: &mut BTreeMap<CollectionName, u64>,
) -> Result<BTreeMap<CollectionName, Digest>, Refusal> {
    if records.len() > SURVEY_COLLECTIONS_MAX {
        return Err(refuse(format!("A survey names more than {SURVEY_COLLECTIONS_MAX} collections.")));
    }
    let mut collections = BTreeMap::new();
    for record in records {
        if record.name.eq_ignore_ascii_case(CACHE_COLLECTION) {
            continue;
        }
        let name = CollectionName::parse_replicated(&record.name)?;
        counts.insert(name.clone(), record.count);
        if collections.insert(name, parse_digest(&record.digest)?).is_some() {
            return Err(refuse("A survey names a collection twice."));
        }
    }
    Ok(collections)
}

pub(crate) fn parse_acknowledged(
    records: &BTreeMap<String, BTreeMap<String, u64>>,
) -> Result<BTreeMap<Origin, Vector>, Refusal> {
    let entries: usize = records.values().map(BTreeMap::len).sum();
    if records.len() > VECTOR_ORIGINS_MAX || entries > SURVEY_ACKNOWLEDGED_MAX {
        return Err(refuse(format!("A survey acknowledges more than {SURVEY_ACKNOWLEDGED_MAX} sequences.")));
    }
    records.iter().map(|(origin, vector)| Ok((origin.parse()?, parse_vector(vector)?))).collect()
}

pub(crate) fn parse_heard(records: &BTreeMap<String, u64>) -> Result<BTreeMap<Origin, Millis>, Refusal> {
    if records.len() > VECTOR_ORIGINS_MAX {
        return Err(refuse(format!("A survey names more than {VECTOR_ORIGINS_MAX} members.")));
    }
    records.iter().map(|(origin, ago)| Ok((origin.parse()?, Millis(*ago)))).collect()
}

fn parse_members(records: &[String]) -> Result<Vec<Origin>, Refusal> {
    if records.len() > VECTOR_ORIGINS_MAX {
        return Err(refuse(format!("A survey names more than {VECTOR_ORIGINS_MAX} members.")));
    }
    records.iter().map(|origin| origin.parse()).collect()
}

fn refuse(reason: impl Into<String>) -> Refusal {
    Refusal::invalid("invalid-survey", reason)
}

/// When a session is surveyed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// At most this often.
    pub between_min: Millis,
    /// At least this often.
    pub between_max: Millis,
}

impl Pace {
    /// How long to wait after a survey: not at all longer than a sweep, and longer each time that nothing was proven.
    pub fn wait(self, unproven_in_a_row: u32) -> Millis {
        let doubled = self.between_min.0.saturating_mul(1 << unproven_in_a_row.min(16));
        Millis(doubled.min(self.between_max.0.max(self.between_min.0)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use serde_json::{Value, json};

    use super::*;

    fn record() -> Value {
        json!({
            "Standing": {"NodeId": "b", "Incarnation": "0000000000000001", "LogId": "0000000000000002",
                         "NewestLogSequence": 9, "Vector": {"b@0000000000000001": 9}, "NowMillis": 5},
            "Digest": "0".repeat(32),
            "Collections": [{"Name": "c", "Digest": "f".repeat(32), "Count": 3}],
            "Changed": [{"Collection": "c", "Id": "1", "Part": "0".repeat(31) + "1"}],
        })
    }

    fn parse(record: &Value) -> Result<Survey, Refusal> {
        serde_json::from_value::<SurveyRecord>(record.clone()).unwrap().parse()
    }

    #[test]
    fn a_survey_survives_the_way_and_may_be_written_in_either_case() {
        let survey = parse(&record()).unwrap();
        let sent = serde_json::to_value(SurveyRecord::from(&survey)).unwrap();
        assert_eq!(parse(&sent).unwrap(), survey);
        assert!(sent.get("Acknowledged").is_none(), "nothing is sent where nothing is known");
        let lower = json!({"standing": record()["Standing"], "digest": "0".repeat(32)});
        assert_eq!(parse(&lower).unwrap().side.changed, None);
    }

    #[test]
    fn what_cannot_be_believed_is_refused() {
        let twice = json!([record()["Changed"][0], record()["Changed"][0]]);
        let collections = json!([record()["Collections"][0], record()["Collections"][0]]);
        let too_many: Vec<Value> = (0..=SURVEY_DOCUMENTS_MAX)
            .map(|id| json!({"Collection": "c", "Id": id.to_string(), "Part": "0".repeat(32)}))
            .collect();
        for (field, value) in [
            ("Digest", json!("0")),
            ("Digest", json!("+".to_owned() + &"0".repeat(31))),
            ("Changed", twice),
            ("Changed", json!(too_many)),
            ("Changed", json!([{"Collection": "_sys_x", "Id": "1", "Part": "0".repeat(32)}])),
            ("Collections", collections),
            ("Collections", json!([{"Name": "c", "Digest": "x".repeat(32)}])),
            ("Graves", json!({"nobody": 1})),
            ("Members", json!(["nobody"])),
            ("Acknowledged", json!({"b@0000000000000001": {"x": 1}})),
        ] {
            let mut record = record();
            record[field] = value;
            assert!(parse(&record).is_err(), "{field}");
        }
    }

    #[test]
    fn a_position_of_another_log_counts_nothing() {
        let survey = serde_json::from_value(record()).unwrap();
        let mut request =
            SurveyRequest { protocol: 1, survey, pulled_log_sequence: 7, pulled_log_id: None, echo_millis: None };
        request.pulled_log_id = Some("0".repeat(15) + "4");
        assert_eq!(request.pulled(4), Ok(Position(7)));
        assert_eq!(request.pulled(5), Ok(Position::START));
        request.pulled_log_id = None;
        assert_eq!(request.pulled(4), Ok(Position::START));
    }

    #[test]
    fn surveys_that_prove_nothing_become_rarer_up_to_a_sweep() {
        let pace = Pace { between_min: Millis(1_000), between_max: Millis(60_000) };
        let waits: Vec<u64> = [0, 1, 2, 5, 6, 99].map(|times| pace.wait(times).0).to_vec();
        assert_eq!(waits, [1_000, 2_000, 4_000, 32_000, 60_000, 60_000]);
    }
}
