//! The shapes of pushes and pulls, for the API's description alone.
//!
//! What is read and written is [`holdfast_core::sync::message`], which knows nothing of descriptions. A test holds that
//! both name the same fields.

#![allow(dead_code, reason = "described, never made")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// A stretch of the sender's log, offered.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "PascalCase")]
pub struct PushQuestion {
    /// The sender's protocol; 1 if absent.
    protocol: Option<u32>,
    /// Who sends.
    source_node_id: String,
    /// Which life of the sender, 16 hexadecimal digits.
    source_incarnation: String,
    /// The log that the positions count, 16 hexadecimal digits.
    log_id: String,
    /// The stretch begins after this position …
    after_log_sequence: u64,
    /// … and is complete up to this one: what is missing from it, the answerer is known to have.
    through_log_sequence: u64,
    /// What the sender knows: sequence by origin.
    vector: BTreeMap<String, u64>,
    /// Which branches of origins the sender knows: by origin and sequence, the running hash over its operations up to
    /// there, 16 hexadecimal digits. Who knows another one there takes nothing. Absent if there are none, or from nodes
    /// that do not say.
    waymarks: BTreeMap<String, BTreeMap<String, String>>,
    /// The operations, by rising position.
    operations: Vec<SentOperation>,
}

/// What became of a push.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "PascalCase")]
pub struct PushAnswer {
    /// The answerer's protocol.
    protocol: u32,
    /// Operations that were looked at.
    processed_count: u64,
    /// Operations that were new.
    accepted_count: u64,
    /// The sender's position up to which the answerer has everything.
    last_processed_log_sequence: u64,
    /// The first operation that could not be taken because earlier ones of its origin are missing; absent if none was.
    gap: Option<String>,
    /// The first operation that does not fit what the answerer has, or waymark that differs; absent if all did.
    stranger: Option<String>,
    /// Whether that is because the answerer has forgotten what its writer had not seen; absent if not.
    is_forgotten: bool,
    /// Who answers, and how far it is.
    standing: SentStanding,
}

/// A question for what the asker lacks.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "PascalCase")]
pub struct PullQuestion {
    /// The asker's protocol; 1 if absent.
    protocol: Option<u32>,
    /// Who asks.
    requesting_node_id: String,
    /// The position of the answerer's log up to which the asker has everything.
    after_log_sequence: u64,
    /// The log that this position counts; of another log, the answer starts from its beginning.
    log_id: Option<String>,
    /// Most operations that the asker wants.
    batch_size: Option<i64>,
    /// What the asker knows: sequence by origin. None of it is sent.
    vector: BTreeMap<String, u64>,
    /// The asker's own log.
    requesting_log_id: Option<String>,
}

/// A stretch of the answerer's log.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "PascalCase")]
pub struct PullAnswer {
    /// The answerer's protocol.
    protocol: u32,
    /// The operations, by rising position.
    operations: Vec<SentOperation>,
    /// The stretch begins after this position …
    after_log_sequence: u64,
    /// … and is complete up to this one.
    through_log_sequence: u64,
    /// Whether the log goes on.
    has_more: bool,
    /// Which branches of origins the answerer knows: by origin and sequence, the running hash over its operations up to
    /// there, 16 hexadecimal digits. Who knows another one there takes nothing. Absent if there are none, or from nodes
    /// that do not say.
    waymarks: BTreeMap<String, BTreeMap<String, String>>,
    /// Who answers, and how far it is.
    standing: SentStanding,
}

/// Who a node is and how far its log of one database reaches.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "PascalCase")]
pub struct SentStanding {
    /// Its name.
    node_id: String,
    /// Which life of it, 16 hexadecimal digits.
    incarnation: String,
    /// Its log, 16 hexadecimal digits.
    log_id: String,
    /// Its newest position.
    newest_log_sequence: u64,
    /// What it knows: sequence by origin.
    vector: BTreeMap<String, u64>,
    /// Its wall clock, in milliseconds since the Unix epoch.
    now_millis: u64,
    /// The nodes that it exchanges operations with itself; absent if there are none.
    neighbours: Vec<String>,
}

/// An operation on its way between nodes.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "PascalCase")]
pub struct SentOperation {
    /// Its id, a ULID.
    id: String,
    /// The node that wrote it.
    node_id: String,
    /// Which life of that node, 16 hexadecimal digits.
    incarnation: String,
    /// The writer's clock, for people. `Stamp` is what counts.
    timestamp_utc: String,
    /// The writer's hybrid logical clock: milliseconds, a dot, four hexadecimal digits.
    stamp: String,
    /// The collection.
    collection: String,
    /// The document; empty for an operation on the collection itself.
    entity_id: String,
    /// 1 insert, 2 update, 3 delete; 0 for what is none of them.
    operation_type: u8,
    /// `put`, `patch`, `delete`, `resolve`, `increment`, `collection-register`, `member-join`, `member-fence`, or another.
    kind: String,
    /// The document after it, as JSON text.
    payload: Option<String>,
    /// The merge patch that was sent, as JSON text.
    patch: Option<String>,
    /// What an increment adds.
    increments: Option<Vec<SentIncrement>>,
    /// Its number at its writer.
    sequence: u64,
    /// Its position in the log of the node that sends it.
    log_sequence: u64,
    /// What the writer had seen of the document: sequence by origin.
    context: BTreeMap<String, u64>,
    /// Its place in a transaction.
    group: Option<SentGroup>,
    /// The running hash over its origin's operations before it, 16 hexadecimal digits.
    chain: Option<String>,
    /// The operation that it stands in for.
    replaces: Option<String>,
    /// Always null.
    parent_version: Option<String>,
    /// Always null.
    global_sequence: Option<u64>,
    /// Whether it came to the sender from another node.
    is_synced: bool,
    /// Whether it deletes the document.
    is_tombstone: bool,
}

/// One field of an increment.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "PascalCase")]
pub struct SentIncrement {
    /// Keys from the top of the document.
    path: Vec<String>,
    /// The amount, as decimal text.
    amount: String,
}

/// An operation's place in its transaction.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "PascalCase")]
pub struct SentGroup {
    /// Id of the transaction's first operation.
    id: String,
    /// From 0.
    index: u32,
    /// How many operations the transaction has.
    count: u32,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use holdfast_core::sync::message;
    use serde::Serialize;
    use serde_json::Value;
    use utoipa::PartialSchema;

    use super::*;

    fn keys(value: &Value) -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    }

    /// A message with every field there names what its shape names.
    #[track_caller]
    fn is_described<Shape: PartialSchema>(message: impl Serialize) {
        let shape = serde_json::to_value(Shape::schema()).unwrap();
        assert_eq!(keys(&serde_json::to_value(message).unwrap()), keys(shape.get("properties").unwrap()));
    }

    fn operation() -> message::OperationRecord {
        let text = || Some(String::new());
        let group = message::GroupRecord { id: String::new(), index: 0, count: 1 };
        let increment = message::IncrementRecord { path: Vec::new(), amount: String::new() };
        is_described::<SentGroup>(&group);
        is_described::<SentIncrement>(&increment);
        message::OperationRecord {
            id: String::new(),
            node_id: String::new(),
            incarnation: String::new(),
            timestamp_utc: String::new(),
            stamp: String::new(),
            collection: String::new(),
            entity_id: String::new(),
            operation_type: 0,
            kind: String::new(),
            payload: text(),
            patch: text(),
            increments: Some(vec![increment]),
            sequence: 1,
            log_sequence: 1,
            context: BTreeMap::new(),
            group: Some(group),
            chain: text(),
            replaces: text(),
            parent_version: None,
            global_sequence: None,
            is_synced: false,
            is_tombstone: false,
            raw: None,
        }
    }

    #[test]
    fn what_is_described_is_what_is_sent() {
        let text = String::new;
        let waymarks = || -> message::WaymarksRecord { [(text(), BTreeMap::new())].into_iter().collect() };
        let standing = message::StandingRecord {
            node_id: text(),
            incarnation: text(),
            log_id: text(),
            newest_log_sequence: 0,
            vector: BTreeMap::new(),
            now_millis: 0,
            neighbours: vec![text()],
        };
        is_described::<SentOperation>(operation());
        is_described::<SentStanding>(&standing);
        is_described::<PushQuestion>(message::PushRequest {
            protocol: 1,
            source_node_id: text(),
            source_incarnation: text(),
            log_id: text(),
            after_log_sequence: 0,
            through_log_sequence: 0,
            vector: BTreeMap::new(),
            waymarks: waymarks(),
            operations: Vec::new(),
        });
        is_described::<PushAnswer>(message::PushResponse {
            protocol: 1,
            processed_count: 0,
            accepted_count: 0,
            last_processed_log_sequence: 0,
            gap: Some(text()),
            stranger: Some(text()),
            is_forgotten: true,
            standing: standing.clone(),
        });
        is_described::<PullQuestion>(message::PullRequest {
            protocol: 1,
            requesting_node_id: text(),
            after_log_sequence: 0,
            log_id: Some(text()),
            batch_size: Some(1),
            vector: BTreeMap::new(),
            requesting_log_id: Some(text()),
        });
        is_described::<PullAnswer>(message::PullResponse {
            protocol: 1,
            operations: Vec::new(),
            after_log_sequence: 0,
            through_log_sequence: 0,
            has_more: false,
            waymarks: waymarks(),
            standing,
        });
    }
}
