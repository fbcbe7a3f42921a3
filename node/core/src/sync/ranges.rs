//! Finding which documents differ between two nodes: what they ask each other when somebody wants to know.
//!
//! ```text
//!   ranges      digests of stretches of documents, in the order of their keys     which stretches differ?
//!   rows        the documents of one stretch with their parts                      which documents?
//!   documents   their states, and whether they are what the log makes of them       which side is right?
//!   mend        states to take in, joined or instead of what is there
//! ```
//!
//! Stretches follow the order of keys, in which both sides store their documents: so each question reads one stretch
//! and no more. All lists are bounded, and nothing is believed before it was checked.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::document::DocumentState;
use crate::error::Refusal;
use crate::id::{CollectionName, DocumentId};
use crate::limits::{VERIFY_DOCUMENTS_MAX, VERIFY_RANGES_MAX};
use crate::sync::comparison::DocumentKey;
use crate::sync::message::{PROTOCOL, StandingRecord};
use crate::sync::survey::parse_digest;

/// A document's name on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyRecord {
    /// Its collection.
    #[serde(alias = "collection")]
    pub collection: String,
    /// Its id.
    #[serde(alias = "id")]
    pub id: String,
}

/// A stretch of documents: after one, through another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RangeRecord {
    /// After this document; from the first one when absent.
    #[serde(alias = "after", default)]
    pub after: Option<KeyRecord>,
    /// Through this document; to the end when absent.
    #[serde(alias = "through", default)]
    pub through: Option<KeyRecord>,
}

/// Asks for the digests of stretches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RangesRequest {
    /// The asker's protocol.
    #[serde(alias = "protocol", default = "protocol")]
    pub protocol: u32,
    /// The stretches.
    #[serde(alias = "ranges")]
    pub ranges: Vec<RangeRecord>,
}

/// The digests, in the order of the question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RangesResponse {
    /// The digest of each stretch; null for one that holds more documents than are looked at at once.
    #[serde(alias = "digests")]
    pub digests: Vec<Option<String>>,
}

/// Asks for the documents of a stretch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RowsRequest {
    /// The asker's protocol.
    #[serde(alias = "protocol", default = "protocol")]
    pub protocol: u32,
    /// The stretch.
    #[serde(alias = "range")]
    pub range: RangeRecord,
}

/// The documents of a stretch that show something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RowsResponse {
    /// The documents, by rising key.
    #[serde(alias = "rows")]
    pub rows: Vec<RowRecord>,
    /// Where to go on, when there are more.
    #[serde(alias = "next", default)]
    pub next: Option<KeyRecord>,
}

/// A document of a stretch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RowRecord {
    /// Which.
    #[serde(alias = "key")]
    pub key: KeyRecord,
    /// Its part; null when its record cannot be read.
    #[serde(alias = "part", default)]
    pub part: Option<String>,
}

/// Asks for the states of documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DocumentsRequest {
    /// The asker's protocol.
    #[serde(alias = "protocol", default = "protocol")]
    pub protocol: u32,
    /// Which documents.
    #[serde(alias = "keys")]
    pub keys: Vec<KeyRecord>,
    /// Whether the answerer shall first put right what its own log shows to be wrong.
    #[serde(alias = "repair", default)]
    pub repair: bool,
}

/// The states of documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DocumentsResponse {
    /// Who answers, and how far it is.
    #[serde(alias = "standing")]
    pub standing: StandingRecord,
    /// How each stands, in the order of the question; fewer than were asked when they are large.
    #[serde(alias = "verdicts")]
    pub verdicts: Vec<Verdict>,
    /// Those that can be read, as a page of states in hexadecimal digits.
    #[serde(alias = "states")]
    pub states: String,
    /// Tombstones below this vector may have been removed there.
    #[serde(alias = "graves", default)]
    pub graves: BTreeMap<String, u64>,
}

/// How a document stands on its own node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It is what the log makes of it.
    Sound,
    /// It can be read; the log no longer reaches back far enough to prove it.
    Unproven,
    /// Its record cannot be read or is not what the log makes of it.
    Damaged,
    /// It was damaged, and was made again from the log.
    Mended,
    /// There is none.
    Absent,
}

/// Hands states over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MendRequest {
    /// The sender's protocol.
    #[serde(alias = "protocol", default = "protocol")]
    pub protocol: u32,
    /// A page of states in hexadecimal digits.
    #[serde(alias = "states")]
    pub states: String,
    /// Whether they take the place of what is there; otherwise they are joined with it.
    #[serde(alias = "replace", default)]
    pub replace: bool,
}

/// What became of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MendResponse {
    /// Documents that changed.
    #[serde(alias = "changed")]
    pub changed: u64,
}

/// What a node's look at its own documents found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AuditRecord {
    /// Records that were read.
    #[serde(alias = "records", default)]
    pub records: u64,
    /// Records that cannot be read.
    #[serde(alias = "unreadable", default)]
    pub unreadable: u64,
    /// Collections whose kept digest is not the sum of their documents.
    #[serde(alias = "wrongSums", default)]
    pub wrong_sums: Vec<String>,
    /// Whether kept digests were put right.
    #[serde(alias = "isCorrected", default)]
    pub is_corrected: bool,
}

/// Asks a node to look at its own documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AuditRequest {
    /// The asker's protocol.
    #[serde(alias = "protocol", default = "protocol")]
    pub protocol: u32,
    /// Whether kept digests shall be put right.
    #[serde(alias = "repair", default)]
    pub repair: bool,
}

fn protocol() -> u32 {
    PROTOCOL
}

impl From<&DocumentKey> for KeyRecord {
    fn from((collection, id): &DocumentKey) -> Self {
        Self { collection: collection.to_string(), id: id.as_str().to_owned() }
    }
}

impl KeyRecord {
    /// Checks it.
    pub fn parse(&self) -> Result<DocumentKey, Refusal> {
        Ok((CollectionName::parse_replicated(&self.collection)?, DocumentId::parse(&self.id)?))
    }
}

/// The ends of a stretch: after the first, through the second.
pub type Ends = (Option<DocumentKey>, Option<DocumentKey>);

/// What is to be done about a document that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// Nothing: what is shown is the same.
    None,
    /// The peer's takes the place of ours.
    TakeTheirs,
    /// Ours takes the place of the peer's.
    GiveOurs,
    /// Both take in what the other has.
    Join,
    /// A person decides.
    Ask,
}

/// Decides about a document that neither side is changing, from how it stands on either.
pub fn settle(
    (our_verdict, ours): (Verdict, Option<&DocumentState>),
    (their_verdict, theirs): (Verdict, Option<&DocumentState>),
) -> Settlement {
    match (our_verdict, their_verdict) {
        (Verdict::Damaged, Verdict::Damaged) => Settlement::Ask,
        (Verdict::Damaged, _) => Settlement::TakeTheirs,
        (_, Verdict::Damaged) => Settlement::GiveOurs,
        _ => match (ours, theirs) {
            (Some(ours), Some(theirs)) if ours == theirs => Settlement::None,
            (Some(ours), Some(theirs)) if ours.is_of_the_same_operations(theirs) => {
                match (our_verdict, their_verdict) {
                    // One is proven by its log, the other can no longer be.
                    (Verdict::Unproven, Verdict::Sound | Verdict::Mended) => Settlement::TakeTheirs,
                    (Verdict::Sound | Verdict::Mended, Verdict::Unproven) => Settlement::GiveOurs,
                    _ => Settlement::Ask,
                }
            }
            (None, None) => Settlement::None,
            _ => Settlement::Join,
        },
    }
}

impl RangeRecord {
    /// Checks it.
    pub fn parse(&self) -> Result<Ends, Refusal> {
        let key = |record: &Option<KeyRecord>| record.as_ref().map(KeyRecord::parse).transpose();
        Ok((key(&self.after)?, key(&self.through)?))
    }
}

impl From<&Ends> for RangeRecord {
    fn from((after, through): &Ends) -> Self {
        Self { after: after.as_ref().map(KeyRecord::from), through: through.as_ref().map(KeyRecord::from) }
    }
}

impl RangesRequest {
    /// Checks the stretches.
    pub fn parse(&self) -> Result<Vec<Ends>, Refusal> {
        if self.ranges.len() > VERIFY_RANGES_MAX {
            return Err(refuse(format!("More than {VERIFY_RANGES_MAX} stretches were asked for at once.")));
        }
        self.ranges.iter().map(RangeRecord::parse).collect()
    }
}

impl RangesResponse {
    /// Checks the digests of so many stretches.
    pub fn parse(&self, asked: usize) -> Result<Vec<Option<Digest>>, Refusal> {
        if self.digests.len() != asked {
            return Err(refuse("There is not one digest for each stretch that was asked for."));
        }
        self.digests.iter().map(|digest| digest.as_deref().map(parse_digest).transpose()).collect()
    }
}

impl RowsResponse {
    /// Checks the documents: they rise, after one and not past `Next`.
    pub fn parse(&self, after: Option<&DocumentKey>) -> Result<Rows, Refusal> {
        if self.rows.len() > VERIFY_DOCUMENTS_MAX {
            return Err(refuse("There are more documents than an answer may have."));
        }
        let mut last = after.cloned();
        let mut rows = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let key = row.key.parse()?;
            if last.as_ref().is_some_and(|last| *last >= key) {
                return Err(refuse("The documents do not rise."));
            }
            last = Some(key.clone());
            rows.push((key, row.part.as_deref().map(parse_digest).transpose()?));
        }
        let next = self.next.as_ref().map(KeyRecord::parse).transpose()?;
        if next.as_ref().is_some_and(|next| after.is_some_and(|after| next <= after) || last.as_ref() > Some(next)) {
            return Err(refuse("The documents do not go on where they end."));
        }
        Ok(Rows { rows, next })
    }
}

/// Documents of a stretch with their parts, checked; no part where a record cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// The documents.
    pub rows: Vec<(DocumentKey, Option<Digest>)>,
    /// Where to go on.
    pub next: Option<DocumentKey>,
}

/// Bytes in hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Bytes from hexadecimal digits.
pub fn from_hex(hex: &str) -> Result<Vec<u8>, Refusal> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(pair).collect();
    bytes.ok_or_else(|| refuse("States are not hexadecimal digits."))
}

/// Checks the names of documents.
pub fn parse_keys(keys: &[KeyRecord], most: usize) -> Result<Vec<DocumentKey>, Refusal> {
    if keys.len() > most {
        return Err(refuse(format!("More than {most} documents were asked for at once.")));
    }
    keys.iter().map(KeyRecord::parse).collect()
}

fn refuse(reason: impl Into<String>) -> Refusal {
    Refusal::invalid("invalid-question", reason)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key(id: &str) -> DocumentKey {
        (CollectionName::parse("c").unwrap(), DocumentId::parse(id).unwrap())
    }

    fn rows(ids: &[&str], next: Option<&str>) -> RowsResponse {
        let row = |id: &&str| RowRecord { key: KeyRecord::from(&key(id)), part: Some("0".repeat(32)) };
        RowsResponse { rows: ids.iter().map(row).collect(), next: next.map(|id| KeyRecord::from(&key(id))) }
    }

    #[test]
    fn rows_that_do_not_rise_or_never_end_are_refused() {
        let after = key("b");
        assert!(rows(&["c", "d"], Some("d")).parse(Some(&after)).is_ok());
        assert!(rows(&["c", "d"], Some("f")).parse(Some(&after)).is_ok(), "what shows nothing is passed over");
        for wrong in [rows(&["b"], None), rows(&["d", "c"], None), rows(&["c", "c"], None), rows(&[], Some("b"))] {
            assert!(wrong.parse(Some(&after)).is_err(), "{wrong:?}");
        }
        assert!(rows(&["c", "d"], Some("c")).parse(Some(&after)).is_err());
    }

    #[test]
    fn bytes_survive_their_digits() {
        assert_eq!(from_hex(&to_hex(&[0, 0x7f, 0xff])).unwrap(), [0, 0x7f, 0xff]);
        assert!(from_hex("0").is_err() && from_hex("0g").is_err() && from_hex("é").is_err());
    }

    #[test]
    fn a_digest_is_expected_for_each_stretch() {
        let answer = RangesResponse { digests: vec![None, Some("f".repeat(32))] };
        assert_eq!(answer.parse(2).unwrap(), [None, Some(Digest(u128::MAX))]);
        assert!(answer.parse(1).is_err());
    }
}
