//! What leader and followers say to each other once they know each other.
//!
//! Small things are JSON. What carries operations, cache entries or states is the message that peers exchange, in its
//! envelope, behind the name of its database. Everything here is untrusted until it was parsed.

use serde::{Deserialize, Serialize};

use crate::error::Refusal;
use crate::id::{DatabaseName, NodeName};
use crate::limits::{DATABASES_MAX, REPLICA_VOTERS_MAX};
use crate::replica::role::Rank;
use crate::sync::turned::Question;
use crate::vector::Vector;
use std::collections::BTreeMap;

/// The sender is there; the leader's has more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// The sender's wall clock, in milliseconds since 1970.
    pub now_millis: u64,
    /// The epoch that it follows or leads.
    pub epoch: Option<String>,
    /// `host:port` where the leader is followed; the host is empty for the one that was dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// The leader's HTTP address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_http: Option<String>,
    /// Who votes, the leader among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub voters: Vec<Voter>,
    /// Milliseconds since the sender heard the leader; 0 from the leader itself.
    #[serde(default)]
    pub silent_millis: u64,
    /// How many followers a write waits for, where an operator has chosen that while the node ran: it goes with the lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_replicas: Option<SyncReplicas>,
    /// How many operations the leader knows, of all databases.
    #[serde(default)]
    pub operations: u64,
    /// A moment of the sender's, which comes back with what the receiver says.
    #[serde(default)]
    pub word: u64,
    /// The newest word of the receiver's that the sender has heard on this connection ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<u64>,
    /// ... and how long ago.
    #[serde(default)]
    pub echo_held_millis: u64,
    /// Where logs end that have grown since the sender told that last: of documents, and of the cache.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub grown: BTreeMap<String, [u64; 2]>,
    /// How old at most what the sender has of the leader is; 0 from the leader itself, absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_millis: Option<u64>,
    /// From a follower: the edition of the leader's databases that it has made its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edition: Option<u64>,
    /// Whether an operator has stopped writes at the leader: it lets a follower that has everything take its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_read_only: bool,
}

/// How many followers a write waits for, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncReplicas {
    /// How many.
    pub min: u64,
    /// For how long, in milliseconds.
    pub timeout_millis: u64,
}

/// A node that votes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Voter {
    /// Its name.
    pub node: String,
    /// Where it listens, `host:port`.
    pub endpoint: String,
}

/// The databases of the leader.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Databases {
    /// Those that it serves.
    pub databases: Vec<DatabaseAt>,
    /// How often databases were dropped, by their names. The greatest count that anybody knows holds.
    #[serde(default)]
    pub dropped: BTreeMap<String, u64>,
    /// Counts up whenever a database comes or goes.
    #[serde(default)]
    pub edition: u64,
}

/// A database, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseAt {
    /// Its name.
    pub name: String,
    /// Its log, 16 hexadecimal digits.
    pub log_id: String,
    /// Its newest position.
    pub newest: u64,
    /// How often a database of this name was dropped before it was made.
    #[serde(default)]
    pub lives: u64,
    /// Where the sender's epoch began in this log; absent where it passes on what another leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
}

/// How far a follower is with a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PositionAt {
    /// The database.
    pub database: String,
    /// The leader's log that `after` counts, 16 hexadecimal digits.
    pub log_id: String,
    /// It has everything up to here.
    pub after: u64,
    /// What it knows.
    pub vector: BTreeMap<String, u64>,
    /// The leader's cache that `cache_after` counts.
    pub cache_log_id: String,
    /// It has everything of the cache up to here.
    pub cache_after: u64,
    /// What it knows of the cache.
    pub cache_vector: BTreeMap<String, u64>,
}

/// What a node that comes from outside the group holds: nothing of it may be news to the group, unless that is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holdings {
    /// Each database, and what is known of it.
    pub databases: BTreeMap<String, HeldDatabase>,
}

/// What a node knows of one database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldDatabase {
    /// Of its documents.
    pub vector: BTreeMap<String, u64>,
    /// Of its cache.
    pub cache_vector: BTreeMap<String, u64>,
}

/// That a node is one of the group now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// The group, 32 hexadecimal digits.
    pub group: String,
    /// How often databases were dropped in it, by their names.
    #[serde(default)]
    pub lives: BTreeMap<String, u64>,
}

/// How far a stretch, or changes of a cache, were taken in. They are on disk then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The database.
    pub database: String,
    /// The log of the sender of the stretch.
    pub log_id: String,
    /// Everything up to here is on disk.
    pub through: u64,
    /// What the receiver knows now.
    pub vector: BTreeMap<String, u64>,
}

/// A database, by its name alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfDatabase {
    /// The name.
    pub database: String,
    /// Whether that is because the sender has forgotten what an operation of the receiver's stands beside.
    #[serde(default)]
    pub is_forgotten: bool,
}

/// A question for states.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// The database.
    pub database: String,
    /// What is asked.
    pub question: Question,
}

/// Something about who leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Control {
    /// A candidate asks for a vote.
    Vote {
        /// The epoch that it would lead.
        epoch: String,
        /// How far it is.
        rank: Rank,
        /// Whether it is only asked if the receiver would: nothing is promised.
        #[serde(default)]
        is_trial: bool,
    },
    /// The leader hands over to the receiver.
    TakeOver {
        /// The epoch that the receiver is to lead.
        epoch: String,
        /// How far the leader was, of all databases together.
        operations: u64,
        /// How many drops of databases it knew of.
        #[serde(default)]
        drops: u64,
    },
    /// The sender takes no part in the group any more, and is not counted with.
    Leave {},
    /// There is another leader.
    Follow {
        /// Its epoch.
        epoch: String,
        /// Where it is followed, `host:port`; the host is empty where the sender is the leader.
        leader: String,
        /// Its HTTP address.
        http: Option<String>,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlAnswer {
    /// Whether it was done, or the vote given.
    pub is_granted: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The greatest epoch that the answerer knows.
    pub epoch: Option<String>,
    /// Where the answerer is followed, when it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
}

/// Reads a JSON message.
pub fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes)
        .map_err(|error| Refusal::invalid("malformed-message", format!("A message cannot be read: {error}.")))
}

/// Writes one. Our messages have no keys other than texts, the one thing that cannot be written.
pub fn write<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}

/// Puts the name of a database before what is about it.
pub fn about(database: &DatabaseName, content: &[u8]) -> Vec<u8> {
    let name = database.as_str().as_bytes();
    let mut bytes = Vec::with_capacity(name.len() + content.len() + 1);
    bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(content);
    bytes
}

/// Takes the two apart again.
pub fn parted(bytes: &[u8]) -> Result<(DatabaseName, &[u8]), Refusal> {
    let refuse = || Refusal::invalid("malformed-message", "A message names no database.");
    let (length, rest) = bytes.split_first().ok_or_else(refuse)?;
    let (name, content) = rest.split_at_checked(usize::from(*length)).ok_or_else(refuse)?;
    let name = std::str::from_utf8(name).map_err(|_| refuse())?;
    let parsed = DatabaseName::parse(name)?;
    if parsed.as_str() != name {
        return Err(refuse());
    }
    Ok((parsed, content))
}

impl Joined {
    /// Refuses more names than a node may remember.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.lives.len() > DATABASES_MAX * 10 {
            return Err(Refusal::invalid(
                "too-many-databases",
                "The leader names more databases than a node remembers.",
            ));
        }
        Ok(())
    }
}

impl Databases {
    /// Refuses more than a node may have.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.databases.len() > DATABASES_MAX || self.dropped.len() > DATABASES_MAX * 10 {
            return Err(Refusal::invalid(
                "too-many-databases",
                "The leader names more databases than a node may have.",
            ));
        }
        Ok(())
    }
}

impl Heartbeat {
    /// Refuses more voters than a group may have, and more databases than a node may.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.grown.len() > DATABASES_MAX {
            return Err(Refusal::invalid(
                "too-many-databases",
                "The leader names more databases than a node may have.",
            ));
        }
        if self.voters.len() > REPLICA_VOTERS_MAX {
            return Err(Refusal::invalid("too-many-voters", "The leader names more voters than a group may have."));
        }
        Ok(())
    }
}

/// How many of a node's own operations, of all its lives, a vector stands for.
pub fn operations_by(node: &NodeName, vector: &Vector) -> u64 {
    let own = vector.iter().filter(|(origin, _)| origin.node == *node);
    own.map(|(_, sequence)| sequence.0).fold(0, u64::saturating_add)
}

/// How many operations a vector stands for.
pub fn operations_of(vector: &Vector) -> u64 {
    vector.iter().map(|(_, sequence)| sequence.0).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_message_is_about_one_database() {
        let name = DatabaseName::parse("shop").unwrap();
        let bytes = about(&name, b"content");
        assert_eq!(parted(&bytes).unwrap(), (name, b"content".as_slice()));
        for bad in [&b""[..], b"\x05shop", b"\x04SHOPx", b"\x00x", b"\x02\xff\xfe"] {
            assert!(parted(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn controls_survive_the_way() {
        let (epoch, leader) = ("2@b".to_owned(), "b:5500".to_owned());
        for sent in [
            Control::Vote {
                epoch: epoch.clone(),
                rank: Rank { epoch: 1, drops: 2, led: 3, operations: 7 },
                is_trial: true,
            },
            Control::TakeOver { epoch: epoch.clone(), operations: 9, drops: 1 },
            Control::Follow { epoch, leader, http: None },
        ] {
            assert_eq!(read::<Control>(&write(&sent)).unwrap(), sent);
        }
        assert!(read::<Control>(b"{\"else\":{}}").is_err());
    }
}
