//! Poison: operations that this node cannot take in, and must neither lose nor stumble over.
//!
//! ```text
//!   a record that does not hold ─┐
//!   a kind not known here        ├─► parked: logged under its own dot, forwarded as it came, not applied
//!   what waits behind one        │         └─► retried (it is judged again) or settled (a write covers it)
//!   its transaction's others    ─┘
//! ```
//!
//! A parked operation is an [`OperationKind::Unknown`] of the reserved number [`PARKED_KIND`]. Its payload says why it
//! was parked and holds its record as it came; peers judge that record for themselves.
//!
//! Must stay true: an operation is parked only if it can be told which one it is: its dot and its place. Without a readable
//! id it goes by one that is made of its dot, the same on every node. Whoever sends less than that sends garbage, and the
//! batch is refused.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_128;

use crate::chain::Chain;
use crate::error::Refusal;
use crate::id::{CollectionName, DocumentId, MEMBERS_COLLECTION, NodeName, OperationId};
use crate::operation::{Group, Operation, OperationKind};
use crate::stamp::Stamp;
use crate::sync::message::{
    GroupRecord, OperationRecord, check_group, parse_hex, parse_stamp, parse_vector, vector_record,
};
use crate::time::Millis;
use crate::vector::{Dot, Origin, Position, Sequence, Vector};

/// The kind's number of parked operations; the last that is no note of storage.
pub const PARKED_KIND: u16 = 0x7fff;

/// Why an operation is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cause {
    /// Its record does not hold.
    Invalid,
    /// Its kind is not known here.
    UnknownKind,
    /// It says that it has seen what its sender does not know.
    ImpossibleContext,
    /// Another operation of its transaction is parked.
    Transaction,
    /// An earlier operation on the same document is parked.
    Behind,
}

impl Cause {
    /// All, in the order of their numbers in records.
    pub const ALL: [Self; 5] =
        [Self::Invalid, Self::UnknownKind, Self::ImpossibleContext, Self::Transaction, Self::Behind];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "Invalid",
            Self::UnknownKind => "UnknownKind",
            Self::ImpossibleContext => "ImpossibleContext",
            Self::Transaction => "Transaction",
            Self::Behind => "Behind",
        }
    }
}

/// What the payload of a parked operation holds.
#[derive(Debug, Clone)]
pub struct Parked {
    /// Why.
    pub cause: Cause,
    /// The same for people, and what is wrong exactly.
    pub reason: String,
    /// When it came; zero until the writer has noted it.
    pub since: Millis,
    /// Who sent it; empty until the writer has noted it.
    pub source: String,
    /// The operation's record, JSON as it came.
    pub record: Box<RawValue>,
}

/// The same as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ParkedText {
    cause: Cause,
    reason: String,
    since: u64,
    source: String,
    record: Box<RawValue>,
}

impl Parked {
    /// As the payload of an operation.
    pub fn to_kind(&self) -> OperationKind {
        let text = ParkedText {
            cause: self.cause,
            reason: self.reason.clone(),
            since: self.since.0,
            source: self.source.clone(),
            record: self.record.clone(),
        };
        // Texts and numbers: there is nothing that could not be written.
        let payload = serde_json::to_vec(&text).unwrap_or_default();
        OperationKind::Unknown { code: PARKED_KIND, payload: Arc::from(payload) }
    }

    /// From a payload; `None` if it is something else.
    pub fn of(kind: &OperationKind) -> Option<Self> {
        let OperationKind::Unknown { code: PARKED_KIND, payload } = kind else { return None };
        let text: ParkedText = serde_json::from_slice(payload).ok()?;
        let ParkedText { cause, reason, since, source, record } = text;
        Some(Self { cause, reason, since: Millis(since), source, record })
    }

    /// The operation that is meant, if its record holds by now and is the one under this dot and id.
    pub fn judge(&self, operation: &Operation) -> Result<Operation, Refusal> {
        let record: OperationRecord = serde_json::from_str(self.record.get())
            .map_err(|error| Refusal::invalid("invalid-operation", format!("The record cannot be read: {error}.")))?;
        let (_, meant) = record.into_operation()?;
        if meant.dot != operation.dot || meant.id != operation.id {
            return Err(Refusal::invalid("invalid-operation", "The record is of another operation."));
        }
        match meant.kind {
            OperationKind::Unknown { .. } => Err(unknown_kind(record_kind(self.record.get()))),
            _ => Ok(meant),
        }
    }

    /// Whether its record says that it is this operation.
    pub fn is_of(&self, operation: &Operation) -> bool {
        let loose: Option<Loose> = serde_json::from_str(self.record.get()).ok();
        let is_of = |loose: Loose| {
            let dot = loose.dot()?;
            Some(dot == operation.dot && loose.operation_id(&dot) == operation.id)
        };
        loose.and_then(is_of).unwrap_or(false)
    }

    /// Whether it stands for a whole document, as far as it says.
    pub fn is_whole(&self) -> bool {
        matches!(record_kind(self.record.get()).as_str(), "put" | "patch" | "delete" | "resolve")
    }

    /// The same under the dot and id of a stand-in: what its record says of itself is what `stand_in` says, so that
    /// whoever is sent the record finds the operation that it is. What it says that it had seen stays where that is
    /// why it was parked. `None` if the record cannot be read at all.
    pub fn under_the_name_of(&self, stand_in: &Operation) -> Option<Self> {
        let mut fields: Map<String, Value> = serde_json::from_str(self.record.get()).ok()?;
        let mut set = |name: &str, value: Option<Value>| {
            fields.retain(|field, _| !field.eq_ignore_ascii_case(name));
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        };
        let Dot { origin, sequence } = &stand_in.dot;
        set("Id", Some(stand_in.id.to_string().into()));
        set("NodeId", Some(origin.node.to_string().into()));
        set("Incarnation", Some(format!("{:016x}", origin.incarnation).into()));
        set("Sequence", Some(sequence.0.into()));
        set("Chain", stand_in.chain.map(|chain| format!("{:016x}", chain.0).into()));
        set("Replaces", stand_in.replaces.map(|id| id.to_string().into()));
        let group = stand_in.group.as_ref().map(GroupRecord::of);
        set("Group", group.and_then(|group| serde_json::to_value(group).ok()));
        if self.cause != Cause::ImpossibleContext {
            set("Context", Some(serde_json::to_value(vector_record(&stand_in.context)).ok()?));
        }
        Some(Self { record: serde_json::value::to_raw_value(&fields).ok()?, ..self.clone() })
    }

    /// The record as it goes out, with this node's position.
    pub fn record_at(&self, position: Position) -> Option<Box<RawValue>> {
        let mut fields: Map<String, Value> = serde_json::from_str(self.record.get()).ok()?;
        let name = fields.keys().find(|name| name.eq_ignore_ascii_case("LogSequence")).cloned();
        fields.insert(name.unwrap_or_else(|| "LogSequence".to_owned()), position.0.into());
        serde_json::value::to_raw_value(&fields).ok()
    }
}

/// Parks an operation that holds, for a reason that lies outside of it.
pub fn park(operation: Operation, position: Position, cause: Cause, reason: impl Into<String>) -> Operation {
    if Parked::of(&operation.kind).is_some() {
        return operation;
    }
    let record = OperationRecord::new(&operation, position, &operation.dot.origin);
    let Ok(record) = serde_json::value::to_raw_value(&record) else { return operation };
    let parked = Parked { cause, reason: reason.into(), since: Millis(0), source: String::new(), record };
    Operation { kind: parked.to_kind(), ..operation }
}

/// Judges an operation of a kind that is not known here, or that a peer has parked: what holds for this node is taken
/// for what it is, everything else is parked.
pub fn judge(operation: Operation, position: Position) -> Operation {
    if !matches!(operation.kind, OperationKind::Unknown { .. }) {
        return operation;
    }
    let Some(parked) = Parked::of(&operation.kind) else {
        let refusal = unknown_kind(OperationRecord::new(&operation, position, &operation.dot.origin).kind);
        return park(operation, position, Cause::UnknownKind, refusal.to_string());
    };
    match parked.judge(&operation) {
        Ok(meant) => meant,
        Err(refusal) => {
            let (cause, reason) = (cause_of(&refusal), refusal.to_string());
            let parked = Parked { cause, reason, since: Millis(0), source: String::new(), ..parked };
            Operation { kind: parked.to_kind(), ..operation }
        }
    }
}

/// Parks a record that does not hold, as far as it says which operation it is.
pub(super) fn park_record(text: String, refusal: &Refusal) -> Result<(Position, Operation), Refusal> {
    let garbage = |what: &str| {
        let reason = format!("The batch holds an operation without a readable {what} ({refusal}).");
        Refusal::invalid("invalid-batch", reason)
    };
    let loose: Loose = serde_json::from_str(&text).map_err(|_| garbage("form"))?;
    let fields: Result<Map<String, Value>, _> = serde_json::from_str(&text);
    fields.map_err(|_| garbage("form"))?;
    let dot = loose.dot().ok_or_else(|| garbage("NodeId, Incarnation and Sequence"))?;
    let id = loose.operation_id(&dot);
    let position = loose.log_sequence.as_u64().ok_or_else(|| garbage("LogSequence"))?;
    let record = RawValue::from_string(text).map_err(|_| garbage("form"))?;
    let parked = Parked {
        cause: cause_of(refusal),
        reason: refusal.to_string(),
        since: Millis(0),
        source: String::new(),
        record,
    };
    let operation = Operation {
        id,
        dot,
        stamp: loose.stamp.as_str().and_then(parse_stamp).unwrap_or(Stamp(0)),
        collection: loose.collection().map_or_else(nowhere, Ok)?,
        document: loose.entity_id.as_str().and_then(|id| DocumentId::parse(id).ok()),
        context: loose.context().unwrap_or_default(),
        group: loose.group(),
        chain: loose.chain.as_str().and_then(|chain| parse_hex(chain).ok()).map(Chain),
        replaces: loose.replaces.as_str().and_then(|id| id.parse().ok()),
        kind: parked.to_kind(),
    };
    Ok((Position(position), operation))
}

/// The collection of operations that name none that could be one.
fn nowhere() -> Result<CollectionName, Refusal> {
    CollectionName::parse_any(MEMBERS_COLLECTION)
}

/// The word that a refusal carries when only the kind is the matter.
pub(super) const UNKNOWN_KIND: &str = "unknown-kind";

pub(super) fn unknown_kind(kind: String) -> Refusal {
    Refusal::invalid(UNKNOWN_KIND, format!("The kind '{kind}' is not known to this version."))
}

fn cause_of(refusal: &Refusal) -> Cause {
    if refusal.code() == UNKNOWN_KIND { Cause::UnknownKind } else { Cause::Invalid }
}

/// The word of a record's kind, for people.
fn record_kind(text: &str) -> String {
    let loose: Option<Loose> = serde_json::from_str(text).ok();
    loose.and_then(|loose| Some(loose.kind.as_str()?.chars().take(40).collect())).unwrap_or_default()
}

/// What may be known of a record that does not hold.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Loose {
    #[serde(alias = "id")]
    id: Value,
    #[serde(alias = "nodeId")]
    node_id: Value,
    #[serde(alias = "incarnation")]
    incarnation: Value,
    #[serde(alias = "sequence")]
    sequence: Value,
    #[serde(alias = "logSequence")]
    log_sequence: Value,
    #[serde(alias = "stamp")]
    stamp: Value,
    #[serde(alias = "collection")]
    collection: Value,
    #[serde(alias = "entityId")]
    entity_id: Value,
    #[serde(alias = "kind")]
    kind: Value,
    #[serde(alias = "context")]
    context: Value,
    #[serde(alias = "group")]
    group: Value,
    #[serde(alias = "chain")]
    chain: Value,
    #[serde(alias = "replaces")]
    replaces: Value,
}

impl Loose {
    fn dot(&self) -> Option<Dot> {
        let node = NodeName::parse(self.node_id.as_str()?).ok()?;
        let origin = Origin { node, incarnation: parse_hex(self.incarnation.as_str()?).ok()? };
        let sequence = self.sequence.as_u64().filter(|sequence| *sequence > 0)?;
        Some(Dot { origin, sequence: Sequence(sequence) })
    }

    /// Its id; made of its dot where it has none that can be read.
    fn operation_id(&self, dot: &Dot) -> OperationId {
        let said = self.id.as_str().and_then(|id| id.parse().ok());
        said.unwrap_or_else(|| OperationId::new(0, xxh3_128(dot.to_string().as_bytes())))
    }

    fn collection(&self) -> Option<CollectionName> {
        CollectionName::parse_any(self.collection.as_str()?).ok()
    }

    fn context(&self) -> Option<Vector> {
        parse_vector(&serde_json::from_value(self.context.clone()).ok()?).ok()
    }

    fn group(&self) -> Option<Group> {
        let record: GroupRecord = serde_json::from_value(self.group.clone()).ok()?;
        let group = record.to_group().ok()?;
        check_group(&group).then_some(group)
    }
}

/// Operations of a message: what does not read as a record is kept as text, to be parked.
pub(super) mod sent {
    use serde::Deserialize;
    use serde::de::Deserializer;
    use serde::ser::{SerializeSeq, Serializer};
    use serde_json::value::RawValue;

    use crate::sync::message::OperationRecord;

    pub(crate) fn serialize<S: Serializer>(records: &[OperationRecord], serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(records.len()))?;
        for record in records {
            match record.raw.as_deref().and_then(|text| RawValue::from_string(text.to_owned()).ok()) {
                Some(raw) => list.serialize_element(&raw)?,
                None => list.serialize_element(record)?,
            }
        }
        list.end()
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OperationRecord>, D::Error> {
        let texts: Vec<Box<RawValue>> = Deserialize::deserialize(deserializer)?;
        Ok(texts.into_iter().map(|text| OperationRecord::sent(text.get())).collect())
    }
}

#[cfg(test)]
mod tests;
