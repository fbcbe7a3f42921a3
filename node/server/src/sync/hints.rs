//! Hints over WebSocket: "there is something new in this database". They carry no data.
//!
//! A node keeps one connection open to each of its peers. Hints go both ways on it: so a shop behind a
//! router, which nobody can dial, hears at once of what happens at headquarters.
//!
//! ```text
//!   {"type":"health-check","sourceNodeId":"node-1","timestampUtc":"…"}
//!   {"type":"sync-request","sourceNodeId":"node-1","database":"orders","reason":"…","timestampUtc":"…"}
//!   {"type":"cache-request","sourceNodeId":"node-1","database":"orders","timestampUtc":"…"}
//!   {"type":"standing","sourceNodeId":"node-1","database":"orders","logId":"…","vector":{"node-2@…":7}}
//!   {"accepted":true,"error":null}                    the acknowledgement of any
//! ```
//!
//! A standing says what a node has learnt from others, so that nobody passes that on to it a second time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::limits::HINT_BYTES_MAX;
use holdfast_core::sync::message::{parse_hex, parse_vector, vector_record};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Position, Vector};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::databases::OpenDatabase;
use crate::sync::Sync;
use crate::sync::peer_client::PEER_INACTIVE;

/// Hints that may be on their way unacknowledged on one connection.
const UNACKNOWLEDGED_MAX: usize = 8;

/// What an entry of a vector takes in a frame besides its origin, at most.
const VECTOR_ENTRY_BYTES: usize = 26;

/// A frame of any kind, or an acknowledgement; told apart by its fields.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Frame {
    /// `sync-request` or `health-check`; absent in an acknowledgement.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Who sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_node_id: Option<String>,
    /// Where there is something new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_utc: Option<String>,
    /// The sender's log of that database, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_id: Option<String>,
    /// What the sender knows there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<BTreeMap<String, u64>>,
    /// In an acknowledgement: whether the frame was understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<bool>,
    /// In an acknowledgement: why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Frame {
    fn new(kind: &str, source: &NodeName) -> Self {
        Self {
            kind: Some(kind.to_owned()),
            source_node_id: Some(source.to_string()),
            database: None,
            reason: None,
            timestamp_utc: Some(Millis(clock::now_millis()).to_utc_text()),
            log_id: None,
            vector: None,
            accepted: None,
            error: None,
        }
    }

    /// Says how far the sender is, unless that makes the frame too large.
    fn with_standing(mut self, database: &OpenDatabase, vector: &Vector) -> Self {
        let words = vector_record(vector);
        let bytes: usize = words.keys().map(|origin| origin.len() + VECTOR_ENTRY_BYTES).sum();
        if bytes <= HINT_BYTES_MAX / 2 {
            self.log_id = database.log_id().ok().map(|log_id| format!("{log_id:016x}"));
            self.vector = Some(words);
        }
        self
    }

    fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A health check, which also says who is on the line.
pub fn health_check(source: &NodeName) -> String {
    Frame::new("health-check", source).to_text()
}

/// The acknowledgement of a frame.
fn acknowledgement(error: Option<&str>) -> String {
    let error = error.map_or("null".to_owned(), |error| format!("\"{error}\""));
    format!("{{\"accepted\":{},\"error\":{error}}}", error == "null")
}

/// One end of a connection: what was told to the other side, and what it has acknowledged.
#[derive(Debug)]
pub struct Conversation {
    sync: Arc<Sync>,
    /// Who is on the other end, once it has said so.
    remote: Option<NodeName>,
    told: BTreeMap<DatabaseName, Position>,
    /// The same for the caches.
    told_of_cache: BTreeMap<DatabaseName, Position>,
    unacknowledged: VecDeque<()>,
}

impl Conversation {
    /// A conversation with somebody known, or with whoever has called.
    pub fn new(sync: Arc<Sync>, remote: Option<NodeName>) -> Self {
        let mut conversation = Self {
            sync,
            remote,
            told: BTreeMap::new(),
            told_of_cache: BTreeMap::new(),
            unacknowledged: VecDeque::new(),
        };
        // What is there already is found by the first exchange.
        conversation.note_newest();
        conversation
    }

    /// Who is on the other end.
    pub fn remote(&self) -> Option<&NodeName> {
        self.remote.as_ref()
    }

    /// Takes a text frame in; gives the answer to send, if any.
    pub fn receive(&mut self, text: &str) -> Option<String> {
        let Ok(frame) = serde_json::from_str::<Frame>(text) else {
            return Some(acknowledgement(Some("invalid-json")));
        };
        if frame.accepted.is_some() {
            self.unacknowledged.pop_front();
            return None;
        }
        let Some(source) = frame.source_node_id.as_deref().and_then(|source| NodeName::parse(source).ok()) else {
            return Some(acknowledgement(Some("invalid-payload")));
        };
        if source == self.sync.origin().node {
            return Some(acknowledgement(Some("invalid-payload")));
        }
        if self.sync.is_switched_off(&source) {
            return Some(acknowledgement(Some(PEER_INACTIVE)));
        }
        self.sync.contacted(&source);
        let accepted = match frame.kind.as_deref() {
            Some("health-check") => true,
            Some("cache-request") => match frame.database.as_deref().map(DatabaseName::parse) {
                Some(Ok(database)) => {
                    self.sync.cache_called(&source, &database);
                    true
                }
                _ => false,
            },
            Some(kind @ ("sync-request" | "standing")) => match frame.database.as_deref().map(DatabaseName::parse) {
                Some(Ok(database)) => {
                    let is_news = self.hear(&source, &database, &frame);
                    if kind == "sync-request" && is_news {
                        self.sync.called(&source, &database);
                    }
                    true
                }
                _ => false,
            },
            _ => false,
        };
        self.remote = Some(source);
        Some(acknowledgement((!accepted).then_some("invalid-payload")))
    }

    /// Hints about everything that is new since the last call, for a node that gets no pushes from us.
    pub fn news(&mut self) -> Vec<String> {
        let Some(remote) = &self.remote else { return Vec::new() };
        // Registered ones are pushed to, or switched off.
        if self.sync.registry().get(remote).is_some() || self.unacknowledged.len() >= UNACKNOWLEDGED_MAX {
            return Vec::new();
        }
        let mut hints = Vec::new();
        for (database, newest) in newest_positions(&self.sync) {
            if self.told.get(&database).is_none_or(|told| *told < newest) {
                let mut frame = Frame::new("sync-request", &self.sync.origin().node);
                if let Some((open, vector)) = known_here(&self.sync, &database) {
                    frame = frame.with_standing(&open, &vector);
                }
                frame.database = Some(database.to_string());
                frame.reason = Some(format!("log-sequence:{newest}"));
                hints.push(frame.to_text());
                self.told.insert(database, newest);
                self.unacknowledged.push_back(());
            }
        }
        for (database, newest) in newest_in_caches(&self.sync) {
            if self.told_of_cache.get(&database).is_none_or(|told| *told < newest) {
                let mut frame = Frame::new("cache-request", &self.sync.origin().node);
                frame.database = Some(database.to_string());
                hints.push(frame.to_text());
                self.told_of_cache.insert(database, newest);
                self.unacknowledged.push_back(());
            }
        }
        hints
    }

    /// What the other end has to know, so that it does not send us what others have sent already.
    pub fn standings(&self) -> Vec<String> {
        let Some(remote) = &self.remote else { return Vec::new() };
        let mut frames = Vec::new();
        for (database, _) in newest_positions(&self.sync) {
            let Some(session) = self.sync.session(remote, &database) else { continue };
            let Some((open, vector)) = known_here(&self.sync, &database) else { continue };
            if session.mailbox().was_told(&vector, self.sync.origin()) {
                continue;
            }
            session.mailbox().told(&vector);
            let mut frame = Frame::new("standing", &self.sync.origin().node).with_standing(&open, &vector);
            frame.database = Some(database.to_string());
            frames.push(frame.to_text());
        }
        frames
    }

    /// Takes in what the sender knows. Answers whether we lack any of it, or cannot tell.
    fn hear(&self, source: &NodeName, database: &DatabaseName, frame: &Frame) -> bool {
        let Some(Ok(vector)) = frame.vector.as_ref().map(parse_vector) else { return true };
        let Ok(log_id) = frame.log_id.as_deref().map(parse_hex).transpose() else { return true };
        if let Some(session) = self.sync.session(source, database) {
            session.heard(&vector, log_id);
        }
        known_here(&self.sync, database).is_none_or(|(_, ours)| !ours.covers_all(&vector))
    }

    fn note_newest(&mut self) {
        self.told = newest_positions(&self.sync).into_iter().collect();
        self.told_of_cache = newest_in_caches(&self.sync).into_iter().collect();
    }
}

/// A database and what this node knows of it.
fn known_here(sync: &Sync, database: &DatabaseName) -> Option<(Arc<OpenDatabase>, Vector)> {
    let open = sync.databases().get(database).ok()?;
    let vector = open.view().and_then(|view| view.state()).ok()?.vector;
    Some((open, vector))
}

fn newest_positions(sync: &Sync) -> Vec<(DatabaseName, Position)> {
    let databases = sync.databases();
    let open = databases.list().into_iter().filter_map(|one| databases.get(&one.name).ok());
    open.map(|database| (database.name().clone(), *database.newest().borrow())).collect()
}

fn newest_in_caches(sync: &Sync) -> Vec<(DatabaseName, Position)> {
    let databases = sync.databases();
    let open = databases.list().into_iter().filter_map(|one| databases.get(&one.name).ok());
    open.map(|database| (database.name().clone(), *database.newest_in_cache().borrow())).collect()
}

/// The connections that other nodes have opened to this one.
#[derive(Debug, Default)]
pub struct Hub {
    connected: Mutex<BTreeMap<NodeName, usize>>,
}

impl Hub {
    /// Counts a connection of a node in.
    pub fn joined(&self, node: &NodeName) {
        *self.connected.lock().unwrap_or_else(PoisonError::into_inner).entry(node.clone()).or_default() += 1;
    }

    /// Counts it out.
    pub fn left(&self, node: &NodeName) {
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = connected.get_mut(node) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                connected.remove(node);
            }
        }
    }

    /// Names of the nodes that are connected now.
    pub fn nodes(&self) -> Vec<NodeName> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}
