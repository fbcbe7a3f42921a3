//! What crosses the wire between peers, as JSON: PascalCase as it is written, camelCase accepted as well.
//!
//! Everything here is untrusted until [`OperationRecord::into_operation`] has accepted it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::chain::Chain;
use crate::counter::{Amount, Increment};
use crate::error::Refusal;
use crate::id::{CACHE_COLLECTION, CollectionName, DocumentId, MEMBERS_COLLECTION, NodeName, OperationId};
use crate::json::{ID_FIELD, JsonText, is_kept_name};
use crate::limits::{
    DOCUMENT_DEPTH_MAX, INCREMENT_FIELDS_MAX, PEERS_MAX, TRANSACTION_OPERATIONS_MAX, VECTOR_ORIGINS_MAX,
};
use crate::operation::{Group, Operation, OperationKind};
use crate::stamp::Stamp;
use crate::sync::poison::{self, PARKED_KIND, Parked};
use crate::time::Millis;
use crate::vector::{Dot, Origin, Position, Sequence, Vector};

/// Number of the protocol that this node speaks.
pub const PROTOCOL: u32 = 1;

/// An operation as peers and people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OperationRecord {
    /// Operation id, a ULID.
    #[serde(alias = "id")]
    pub id: String,
    /// Name of the node that wrote it.
    #[serde(alias = "nodeId")]
    pub node_id: String,
    /// Which life of that node, 16 hexadecimal digits.
    #[serde(alias = "incarnation")]
    pub incarnation: String,
    /// The writer's clock, for people. `Stamp` is what counts.
    #[serde(alias = "timestampUtc", default)]
    pub timestamp_utc: String,
    /// The writer's hybrid logical clock: milliseconds, a dot, four hexadecimal digits.
    #[serde(alias = "stamp")]
    pub stamp: String,
    /// Collection.
    #[serde(alias = "collection")]
    pub collection: String,
    /// Document id; empty for an operation on the collection itself.
    #[serde(alias = "entityId")]
    pub entity_id: String,
    /// 1 insert, 2 update, 3 delete; 0 for what is none of them.
    #[serde(alias = "operationType")]
    pub operation_type: u8,
    /// `put`, `patch`, `delete`, `resolve`, `increment`, `collection-register`, `member-join`, `member-fence`; or `kind-N`
    /// for one not known here.
    #[serde(alias = "kind")]
    pub kind: String,
    /// The document after the operation, as JSON text; a member's origin, and why it is fenced; for a kind not known
    /// here, hexadecimal bytes.
    #[serde(alias = "payload", default)]
    pub payload: Option<String>,
    /// The merge patch that was sent, as JSON text.
    #[serde(alias = "patch", default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    /// What an increment adds.
    #[serde(alias = "increments", default, skip_serializing_if = "Option::is_none")]
    pub increments: Option<Vec<IncrementRecord>>,
    /// The operation's number at its writer.
    #[serde(alias = "sequence")]
    pub sequence: u64,
    /// Its position in the log of the node that sends it.
    #[serde(alias = "logSequence", default)]
    pub log_sequence: u64,
    /// What the writer had seen: sequence by origin.
    #[serde(alias = "context", default)]
    pub context: BTreeMap<String, u64>,
    /// Its place in a transaction.
    #[serde(alias = "group", default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupRecord>,
    /// The running hash over its origin's operations before it, 16 hexadecimal digits.
    #[serde(alias = "chain", default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// Id of the operation that it stands in for.
    #[serde(alias = "replaces", default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// Always null; kept for clients that expect it.
    #[serde(alias = "parentVersion", default)]
    pub parent_version: Option<String>,
    /// Always null; kept for clients that expect it.
    #[serde(alias = "globalSequence", default)]
    pub global_sequence: Option<u64>,
    /// Whether it came from another node.
    #[serde(alias = "isSynced", default)]
    pub is_synced: bool,
    /// Whether it deletes the document.
    #[serde(alias = "isTombstone", default)]
    pub is_tombstone: bool,
    /// The record's text, where its fields cannot say all that was sent.
    #[serde(skip)]
    pub raw: Option<String>,
}

/// One field of an increment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IncrementRecord {
    /// Keys from the top of the document.
    #[serde(alias = "path")]
    pub path: Vec<String>,
    /// The amount, as decimal text.
    #[serde(alias = "amount")]
    pub amount: String,
}

/// An operation's place in its transaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GroupRecord {
    /// Id of the transaction's first operation.
    #[serde(alias = "id")]
    pub id: String,
    /// From 0.
    #[serde(alias = "index")]
    pub index: u32,
    /// How many operations the transaction has.
    #[serde(alias = "count")]
    pub count: u32,
}

/// A stretch of the sender's log, offered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PushRequest {
    /// The sender's protocol.
    #[serde(alias = "protocol", default = "protocol")]
    pub protocol: u32,
    /// Who sends.
    #[serde(alias = "sourceNodeId")]
    pub source_node_id: String,
    /// Which life of the sender.
    #[serde(alias = "sourceIncarnation")]
    pub source_incarnation: String,
    /// The log that the positions count, hexadecimal.
    #[serde(alias = "logId")]
    pub log_id: String,
    /// The stretch begins after this position …
    #[serde(alias = "afterLogSequence")]
    pub after_log_sequence: u64,
    /// … and is complete up to this one.
    #[serde(alias = "throughLogSequence")]
    pub through_log_sequence: u64,
    /// What the sender knows, so that nothing of it is sent back.
    #[serde(alias = "vector", default)]
    pub vector: BTreeMap<String, u64>,
    /// Which branches of origins the sender knows: by origin and sequence, the running hash over its operations up to
    /// there, 16 hexadecimal digits. Whoever knows another there takes nothing. Absent from older nodes.
    #[serde(alias = "waymarks", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub waymarks: WaymarksRecord,
    /// The operations, by rising position.
    #[serde(alias = "operations", with = "poison::sent")]
    pub operations: Vec<OperationRecord>,
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PushResponse {
    /// The answerer's protocol.
    #[serde(alias = "protocol", default = "protocol")]
    pub protocol: u32,
    /// Operations that were looked at.
    #[serde(alias = "processedCount")]
    pub processed_count: u64,
    /// Operations that were new.
    #[serde(alias = "acceptedCount")]
    pub accepted_count: u64,
    /// The sender's position up to which the answerer has everything.
    #[serde(alias = "lastProcessedLogSequence")]
    pub last_processed_log_sequence: u64,
    /// The first operation that could not be taken because earlier ones of its origin are missing.
    #[serde(alias = "gap", default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<String>,
    /// The first operation that was refused because it does not fit what the answerer has: another branch of its origin,
    /// or written without having seen what the answerer has forgotten. The sender looks at the answerer's states.
    #[serde(alias = "stranger", default, skip_serializing_if = "Option::is_none")]
    pub stranger: Option<String>,
    /// Whether that is because the answerer has forgotten what the operation stands beside, and its writer had not seen
    /// it: whoever holds it takes the answerer's states and writes it again.
    #[serde(alias = "isForgotten", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_forgotten: bool,
    /// Who answers, and how far it is.
    #[serde(alias = "standing")]
    pub standing: StandingRecord,
}

/// A question for what the asker lacks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PullRequest {
    /// The asker's protocol.
    #[serde(alias = "protocol", default = "protocol")]
    pub protocol: u32,
    /// Who asks.
    #[serde(alias = "requestingNodeId")]
    pub requesting_node_id: String,
    /// The position of the answerer's log up to which the asker has everything.
    #[serde(alias = "afterLogSequence")]
    pub after_log_sequence: u64,
    /// The log that this position counts, hexadecimal; of another log, the answer starts from its beginning.
    #[serde(alias = "logId", default, skip_serializing_if = "Option::is_none")]
    pub log_id: Option<String>,
    /// Most operations that the asker wants.
    #[serde(alias = "batchSize", default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<i64>,
    /// What the asker knows already.
    #[serde(alias = "vector", default)]
    pub vector: BTreeMap<String, u64>,
    /// The asker's own log, hexadecimal: what is known of it counts for that log alone.
    #[serde(alias = "requestingLogId", default, skip_serializing_if = "Option::is_none")]
    pub requesting_log_id: Option<String>,
}

/// A stretch of the answerer's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PullResponse {
    /// The answerer's protocol.
    #[serde(alias = "protocol", default = "protocol")]
    pub protocol: u32,
    /// The operations, by rising position.
    #[serde(alias = "operations", with = "poison::sent")]
    pub operations: Vec<OperationRecord>,
    /// The stretch begins after this position …
    #[serde(alias = "afterLogSequence")]
    pub after_log_sequence: u64,
    /// … and is complete up to this one.
    #[serde(alias = "throughLogSequence")]
    pub through_log_sequence: u64,
    /// Whether the log goes on.
    #[serde(alias = "hasMore")]
    pub has_more: bool,
    /// Which branches of origins the answerer knows: by origin and sequence, the running hash over its operations up to
    /// there, 16 hexadecimal digits. Whoever knows another there takes nothing. Absent from older nodes.
    #[serde(alias = "waymarks", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub waymarks: WaymarksRecord,
    /// Who answers, and how far it is.
    #[serde(alias = "standing")]
    pub standing: StandingRecord,
}

/// Who a node is and how far its log of one database reaches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StandingRecord {
    /// Its name.
    #[serde(alias = "nodeId")]
    pub node_id: String,
    /// Which life of it.
    #[serde(alias = "incarnation")]
    pub incarnation: String,
    /// Its log, hexadecimal.
    #[serde(alias = "logId")]
    pub log_id: String,
    /// Its newest position.
    #[serde(alias = "newestLogSequence")]
    pub newest_log_sequence: u64,
    /// What it knows.
    #[serde(alias = "vector", default)]
    pub vector: BTreeMap<String, u64>,
    /// Its wall clock, in milliseconds since the Unix epoch.
    #[serde(alias = "nowMillis", default)]
    pub now_millis: u64,
    /// The nodes that it exchanges operations with itself, and that need nobody to pass theirs on to it.
    #[serde(alias = "neighbours", default, skip_serializing_if = "Vec::is_empty")]
    pub neighbours: Vec<String>,
}

/// Waymarks as a message has them.
pub type WaymarksRecord = BTreeMap<String, BTreeMap<u64, String>>;

/// The same, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Who it is.
    pub origin: Origin,
    /// Its log.
    pub log_id: u64,
    /// Its newest position.
    pub newest: Position,
    /// What it knows.
    pub vector: Vector,
    /// Its wall clock.
    pub now: Millis,
    /// The nodes that it exchanges operations with itself.
    pub neighbours: BTreeSet<NodeName>,
}

fn protocol() -> u32 {
    PROTOCOL
}

impl OperationRecord {
    /// An operation at its position in the log of the node `local`.
    pub fn new(operation: &Operation, position: Position, local: &Origin) -> Self {
        let (kind, payload, patch, increments) = contents(&operation.kind);
        // What is parked goes out as it came.
        let raw = Parked::of(&operation.kind).and_then(|parked| parked.record_at(position));
        Self {
            raw: raw.map(|record| record.get().to_owned()),
            id: operation.id.to_string(),
            node_id: operation.dot.origin.node.to_string(),
            incarnation: format!("{:016x}", operation.dot.origin.incarnation),
            timestamp_utc: operation.stamp.millis().to_utc_text(),
            stamp: operation.stamp.to_string(),
            collection: operation.collection.to_string(),
            entity_id: operation.document.as_ref().map_or("", DocumentId::as_str).to_owned(),
            operation_type: operation_type(&operation.kind),
            kind,
            payload,
            patch,
            increments,
            sequence: operation.dot.sequence.0,
            log_sequence: position.0,
            context: vector_record(&operation.context),
            group: operation.group.as_ref().map(GroupRecord::of),
            chain: operation.chain.map(|chain| format!("{:016x}", chain.0)),
            replaces: operation.replaces.map(|id| id.to_string()),
            parent_version: None,
            global_sequence: None,
            is_synced: operation.dot.origin != *local,
            is_tombstone: matches!(operation.kind, OperationKind::Delete | OperationKind::Resolve { body: None, .. }),
        }
    }

    /// A record as a message has it.
    pub(super) fn sent(text: &str) -> Self {
        let read: Result<Self, _> = serde_json::from_str(text);
        read.map_or_else(|_| Self::unreadable(text), |record| Self { raw: Some(text.to_owned()), ..record })
    }

    fn unreadable(text: &str) -> Self {
        Self {
            id: String::new(),
            node_id: String::new(),
            incarnation: String::new(),
            timestamp_utc: String::new(),
            stamp: String::new(),
            collection: String::new(),
            entity_id: String::new(),
            operation_type: 0,
            kind: String::new(),
            payload: None,
            patch: None,
            increments: None,
            sequence: 0,
            log_sequence: 0,
            context: BTreeMap::new(),
            group: None,
            chain: None,
            replaces: None,
            parent_version: None,
            global_sequence: None,
            is_synced: false,
            is_tombstone: false,
            raw: Some(text.to_owned()),
        }
    }

    /// Checks everything and gives the operation with the sender's position. What does not hold is parked, as long as
    /// it says which operation it is.
    pub fn into_arrived(self) -> Result<(Position, Operation), Refusal> {
        match self.check() {
            Ok((_, Operation { kind: OperationKind::Unknown { .. }, .. })) => {
                let refusal = poison::unknown_kind(self.kind.clone());
                self.into_parked(&refusal)
            }
            Ok(arrived) => Ok(arrived),
            Err(refusal) => self.into_parked(&refusal),
        }
    }

    /// Parks it, for this reason.
    pub(super) fn into_parked(mut self, refusal: &Refusal) -> Result<(Position, Operation), Refusal> {
        let text = self.raw.take().or_else(|| serde_json::to_string(&self).ok());
        poison::park_record(text.unwrap_or_default(), refusal)
    }

    /// Checks everything and gives the operation with the sender's position.
    pub fn into_operation(self) -> Result<(Position, Operation), Refusal> {
        self.check()
    }

    fn check(&self) -> Result<(Position, Operation), Refusal> {
        let place = format!("operation {}", self.id);
        let say = |code: &'static str, what: &str| Refusal::invalid(code, format!("{place}: {what}"));
        let fail = |what: &str| say("invalid-operation", what);
        let origin = Origin { node: NodeName::parse(&self.node_id)?, incarnation: parse_hex(&self.incarnation)? };
        if self.kind == format!("kind-{PARKED_KIND}") {
            return Err(fail("its kind's number is reserved"));
        }
        let document = match self.entity_id.as_str() {
            "" => None,
            id => Some(DocumentId::parse(id)?),
        };
        let group = self.group.as_ref().map(GroupRecord::to_group).transpose()?;
        let kind = self.parse_kind(document.as_ref());
        let kind = kind.map_err(|refusal| say(refusal.code(), &refusal.to_string()))?;
        let operation = Operation {
            id: self.id.parse()?,
            dot: Dot { origin, sequence: Sequence(self.sequence) },
            stamp: parse_stamp(&self.stamp).ok_or_else(|| fail("its stamp is not valid"))?,
            collection: parse_collection(&self.collection, &kind)?,
            document,
            context: parse_vector(&self.context)?,
            group,
            chain: self.chain.as_deref().map(parse_hex).transpose()?.map(Chain),
            replaces: self.replaces.as_deref().map(str::parse).transpose()?,
            kind,
        };
        check_shape(&operation)?;
        Ok((Position(self.log_sequence), operation))
    }

    fn parse_kind(&self, document: Option<&DocumentId>) -> Result<OperationKind, Refusal> {
        let missing = |what: &str| Refusal::invalid("invalid-operation", format!("{what} is missing"));
        let payload = || self.payload.as_deref().ok_or_else(|| missing("Payload"));
        let body = || JsonText::parse_document(payload()?, document.ok_or_else(|| missing("EntityId"))?);
        Ok(match self.kind.as_str() {
            "put" => OperationKind::Put { body: body()?, created: self.operation_type == 1 },
            "patch" => OperationKind::Patch {
                body: body()?,
                patch: JsonText::parse(self.patch.as_deref().ok_or_else(|| missing("Patch"))?)?,
            },
            "delete" => OperationKind::Delete,
            "resolve" => OperationKind::Resolve {
                body: self.payload.is_some().then(body).transpose()?,
                patch: JsonText::parse(self.patch.as_deref().ok_or_else(|| missing("Patch"))?)?,
            },
            "increment" => {
                let fields = self.increments.as_ref().ok_or_else(|| missing("Increments"))?;
                OperationKind::Increment(parse_increments(fields)?)
            }
            "collection-register" => OperationKind::RegisterCollection,
            "member-join" => OperationKind::JoinMember { member: payload()?.parse()? },
            "member-fence" => {
                let (member, reason) = payload()?.split_once(' ').ok_or_else(|| missing("the reason of a fence"))?;
                OperationKind::FenceMember { member: member.parse()?, reason: reason.parse()? }
            }
            other => {
                let code = other.strip_prefix("kind-").and_then(|code| code.parse().ok());
                let code = code.ok_or_else(|| poison::unknown_kind(other.chars().take(40).collect()))?;
                OperationKind::Unknown { code, payload: parse_bytes(payload()?)? }
            }
        })
    }
}

impl GroupRecord {
    pub(super) fn of(group: &Group) -> Self {
        Self { id: group.id.to_string(), index: group.index, count: group.count }
    }

    pub(super) fn to_group(&self) -> Result<Group, Refusal> {
        Ok(Group { id: self.id.parse()?, index: self.index, count: self.count })
    }
}

/// Checks what the parts of an operation say about each other.
pub(super) fn check_shape(operation: &Operation) -> Result<(), Refusal> {
    let Operation { id, dot, group, document, kind, .. } = operation;
    check_parts(*id, dot.sequence, group.as_ref(), document.is_some(), kind)
}

/// The same, for one that is not put together yet.
pub(super) fn check_parts(
    id: OperationId,
    sequence: Sequence,
    group: Option<&Group>,
    has_document: bool,
    kind: &OperationKind,
) -> Result<(), Refusal> {
    let fail = |what: &str| Refusal::invalid("invalid-operation", format!("operation {id}: {what}"));
    if sequence == Sequence(0) {
        return Err(fail("its sequence must be at least 1"));
    }
    if kind.is_of_document().is_some_and(|is| is != has_document) {
        return Err(fail("its kind and its document id do not go together"));
    }
    if !group.is_none_or(check_group) {
        return Err(fail("its transaction's index or count is not valid"));
    }
    Ok(())
}

/// Whether a place in a transaction can be one.
pub fn check_group(group: &Group) -> bool {
    group.index < group.count && group.count as usize <= TRANSACTION_OPERATIONS_MAX
}

impl StandingRecord {
    /// Checks it.
    pub fn parse(&self) -> Result<Standing, Refusal> {
        if self.neighbours.len() > PEERS_MAX {
            return Err(Refusal::invalid("invalid-standing", format!("A node has at most {PEERS_MAX} neighbours.")));
        }
        Ok(Standing {
            origin: Origin { node: NodeName::parse(&self.node_id)?, incarnation: parse_hex(&self.incarnation)? },
            log_id: parse_hex(&self.log_id)?,
            newest: Position(self.newest_log_sequence),
            vector: parse_vector(&self.vector)?,
            now: Millis(self.now_millis),
            neighbours: self.neighbours.iter().map(|name| NodeName::parse(name)).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&Standing> for StandingRecord {
    fn from(standing: &Standing) -> Self {
        Self {
            node_id: standing.origin.node.to_string(),
            incarnation: format!("{:016x}", standing.origin.incarnation),
            log_id: format!("{:016x}", standing.log_id),
            newest_log_sequence: standing.newest.0,
            vector: vector_record(&standing.vector),
            now_millis: standing.now.0,
            neighbours: standing.neighbours.iter().map(ToString::to_string).collect(),
        }
    }
}

/// A vector as JSON shows it.
pub fn vector_record(vector: &Vector) -> BTreeMap<String, u64> {
    vector.iter().map(|(origin, sequence)| (origin.to_string(), sequence.0)).collect()
}

/// Checks a vector from the wire.
pub fn parse_vector(record: &BTreeMap<String, u64>) -> Result<Vector, Refusal> {
    if record.len() > VECTOR_ORIGINS_MAX {
        return Err(Refusal::invalid(
            "invalid-vector",
            format!("A vector names more than {VECTOR_ORIGINS_MAX} origins."),
        ));
    }
    record.iter().map(|(origin, sequence)| Ok((origin.parse::<Origin>()?, Sequence(*sequence)))).collect()
}

/// Reads a number of 16 hexadecimal digits.
pub fn parse_hex(text: &str) -> Result<u64, Refusal> {
    let refuse = || Refusal::invalid("invalid-number", "Expected 16 hexadecimal digits.");
    if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(refuse());
    }
    u64::from_str_radix(text, 16).map_err(|_| refuse())
}

/// The number that clients know an operation's kind by.
pub fn operation_type(kind: &OperationKind) -> u8 {
    match kind {
        OperationKind::Put { created: true, .. } => 1,
        OperationKind::Put { .. } | OperationKind::Patch { .. } | OperationKind::Increment(_) => 2,
        OperationKind::Resolve { body: Some(_), .. } => 2,
        OperationKind::Delete | OperationKind::Resolve { body: None, .. } => 3,
        OperationKind::RegisterCollection
        | OperationKind::JoinMember { .. }
        | OperationKind::FenceMember { .. }
        | OperationKind::Unknown { .. } => 0,
    }
}

type Contents = (String, Option<String>, Option<String>, Option<Vec<IncrementRecord>>);

fn contents(kind: &OperationKind) -> Contents {
    let name = kind.name().to_owned();
    match kind {
        OperationKind::Put { body, .. } => (name, Some(body.as_str().to_owned()), None, None),
        OperationKind::Patch { body, patch } => {
            (name, Some(body.as_str().to_owned()), Some(patch.as_str().to_owned()), None)
        }
        OperationKind::Resolve { body, patch } => {
            (name, body.as_ref().map(|body| body.as_str().to_owned()), Some(patch.as_str().to_owned()), None)
        }
        OperationKind::Increment(increment) => {
            let field = |(path, amount): &(Vec<String>, Amount)| IncrementRecord {
                path: path.clone(),
                amount: amount.to_text(),
            };
            (name, None, None, Some(increment.0.iter().map(field).collect()))
        }
        OperationKind::Delete | OperationKind::RegisterCollection => (name, None, None, None),
        OperationKind::JoinMember { member } => (name, Some(member.to_string()), None, None),
        OperationKind::FenceMember { member, reason } => (name, Some(format!("{member} {reason}")), None, None),
        OperationKind::Unknown { code, payload } => (format!("kind-{code}"), Some(to_hex(payload)), None, None),
    }
}

pub(super) fn parse_increments(fields: &[IncrementRecord]) -> Result<Increment, Refusal> {
    let refuse = || Refusal::invalid("invalid-increment", "An increment's fields are not valid.");
    if fields.is_empty() || fields.len() > INCREMENT_FIELDS_MAX {
        return Err(refuse());
    }
    let field = |field: &IncrementRecord| {
        let is_free = |name: &String| !name.eq_ignore_ascii_case(ID_FIELD) && !is_kept_name(name);
        let is_sound = field.path.first().is_some_and(is_free) && field.path.len() <= DOCUMENT_DEPTH_MAX;
        let amount = Amount::parse(&field.amount).filter(|_| is_sound).ok_or_else(refuse)?;
        Ok((field.path.clone(), amount))
    };
    fields.iter().map(field).collect::<Result<Vec<_>, _>>().map(Increment)
}

/// Peers exchange documents, definitions of indexes, cache entries and who is a member; what else is reserved belongs to each node itself.
pub(super) fn parse_collection(name: &str, kind: &OperationKind) -> Result<CollectionName, Refusal> {
    let is_of_members = matches!(kind, OperationKind::JoinMember { .. } | OperationKind::FenceMember { .. });
    // What is parked may name anything: it is not applied.
    let is_parked = matches!(kind, OperationKind::Unknown { code: PARKED_KIND, .. });
    if is_parked || name == CACHE_COLLECTION || (is_of_members && name == MEMBERS_COLLECTION) {
        return CollectionName::parse_any(name);
    }
    CollectionName::parse_replicated(name)
}

pub(super) fn parse_stamp(text: &str) -> Option<Stamp> {
    let (millis, counter) = text.split_once('.')?;
    Some(Stamp::new(Millis(millis.parse().ok()?), u16::from_str_radix(counter, 16).ok()?))
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn parse_bytes(hex: &str) -> Result<Arc<[u8]>, Refusal> {
    let refuse = || Refusal::invalid("invalid-operation", "A payload is not hexadecimal.");
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).map_err(|_| refuse())?;
        u8::from_str_radix(text, 16).map_err(|_| refuse())
    };
    if !hex.len().is_multiple_of(2) {
        return Err(refuse());
    }
    hex.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn operation(kind: OperationKind) -> Operation {
        let origin = Origin { node: NodeName::parse("till-1").unwrap(), incarnation: 0xab };
        let document = kind.is_of_document().unwrap_or(true).then(|| DocumentId::parse("ä/1").unwrap());
        Operation {
            id: crate::id::OperationId(7),
            dot: Dot { origin: origin.clone(), sequence: Sequence(3) },
            stamp: Stamp::new(Millis(1_700_000_000_123), 0x1f),
            collection: CollectionName::parse("orders").unwrap(),
            document,
            context: [(origin, Sequence(2))].into_iter().collect(),
            group: Some(Group { id: crate::id::OperationId(7), index: 0, count: 2 }),
            chain: Some(Chain(0xfeed)),
            replaces: Some(crate::id::OperationId(6)),
            kind,
        }
    }

    #[test]
    fn every_kind_of_operation_survives_the_wire() {
        let body = || JsonText::parse(r#"{"a":1.50,"Id":"ä/1"}"#).unwrap();
        let increment = Increment(vec![(vec!["a".to_owned(), "b".to_owned()], Amount::parse("-0.5").unwrap())]);
        for kind in [
            OperationKind::Put { body: body(), created: true },
            OperationKind::Put { body: body(), created: false },
            OperationKind::Patch { body: body(), patch: body() },
            OperationKind::Delete,
            OperationKind::Resolve { body: Some(body()), patch: body() },
            OperationKind::Resolve { body: None, patch: body() },
            OperationKind::Increment(increment),
            OperationKind::RegisterCollection,
            OperationKind::JoinMember { member: operation(OperationKind::Delete).dot.origin },
            OperationKind::FenceMember {
                member: operation(OperationKind::Delete).dot.origin,
                reason: crate::members::FenceReason::Retired,
            },
            OperationKind::Unknown { code: 99, payload: Arc::from([1u8, 2, 255].as_slice()) },
        ] {
            let sent = operation(kind);
            let record = OperationRecord::new(&sent, Position(9), &sent.dot.origin);
            let text = serde_json::to_string(&record).unwrap();
            let read: OperationRecord = serde_json::from_str(&text).unwrap();
            assert_eq!(read.into_operation().unwrap(), (Position(9), sent), "{text}");
        }
    }

    #[test]
    fn a_camel_case_message_is_understood() {
        let text = r#"{"requestingNodeId":"node-2","afterLogSequence":5,"batchSize":10}"#;
        let request: PullRequest = serde_json::from_str(text).unwrap();
        assert_eq!((request.after_log_sequence, request.batch_size, request.protocol), (5, Some(10), PROTOCOL));
    }

    #[test]
    fn what_a_peer_must_not_send_is_refused() {
        let origin = operation(OperationKind::Delete).dot.origin;
        let good = || OperationRecord::new(&operation(OperationKind::Delete), Position(1), &origin);
        let broken: Vec<OperationRecord> = vec![
            OperationRecord { id: "x".into(), ..good() },
            OperationRecord { sequence: 0, ..good() },
            OperationRecord { entity_id: String::new(), ..good() },
            OperationRecord { collection: "a/b".into(), ..good() },
            OperationRecord { collection: "_sys_operations".into(), ..good() },
            OperationRecord { kind: "put".into(), ..good() },
            OperationRecord { kind: "put".into(), payload: Some("[1]".into()), ..good() },
            OperationRecord { kind: "put".into(), payload: Some(r#"{"a":1}"#.into()), ..good() },
            OperationRecord { kind: "put".into(), payload: Some(r#"{"_id":5,"Id":"ä/1"}"#.into()), ..good() },
            OperationRecord { incarnation: "+1".into(), ..good() },
            OperationRecord { group: Some(GroupRecord { id: "x".into(), index: 2, count: 2 }), ..good() },
        ];
        for record in broken {
            assert!(record.clone().into_operation().is_err(), "{record:?}");
        }
    }
}
