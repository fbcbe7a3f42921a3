//! Greeting: both sides prove that they know the secret, and neither says it.
//!
//! Each proof is an HMAC (RFC 2104, with SHA-256) over who says it and all that was said before: a proof of one
//! conversation serves in no other, and one side's never for the other's. The dialler proves itself first, so that
//! nobody who merely dials is given anything to guess the secret by.
//!
//! Not done here: hiding what follows. Where the line is not trusted, `Replication:Tls` is for that.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use thiserror::Error;

use crate::id::NodeName;
use crate::replica::epoch::Epoch;

/// The protocol that this node speaks.
pub const PROTOCOL: u32 = 1;
/// The oldest that it understands.
pub const PROTOCOL_OLDEST: u32 = 1;

/// Tells one secret from another later on, without keeping it: an HMAC with the secret as its key.
pub fn fingerprint(secret: &[u8]) -> String {
    let code = Hmac::<Sha256>::new_from_slice(secret).map(|mut code| {
        code.update(b"holdfast replica which secret");
        code.finalize().into_bytes()
    });
    code.map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect()).unwrap_or_default()
}

/// What a node dials for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Purpose {
    /// To follow.
    Follow,
    /// To say or ask something about who leads, and then to go.
    Control,
}

/// What the dialler says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The newest protocol that it speaks.
    pub protocol: u32,
    /// The oldest that it understands.
    pub protocol_oldest: u32,
    /// Who dials.
    pub node: String,
    /// Its life, 16 hexadecimal digits.
    pub incarnation: String,
    /// What for.
    pub purpose: Purpose,
    /// 32 hexadecimal digits, random.
    pub nonce: String,
    /// The newest epoch that it knows.
    pub epoch: Option<String>,
    /// Where its HTTP API is reached.
    pub http_endpoint: Option<String>,
    /// `host:port` where it would listen for followers, or does; the host may be empty for the one that it dials from.
    pub replication_endpoint: Option<String>,
    /// Whether it takes part in elections.
    pub is_voter: bool,
    /// `host:port` where the leader is followed, as far as it knows; the host is empty where that is the dialler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// The group that it belongs to; absent before it has joined one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whether it comes from outside with documents of its own that are to be merged, because an operator said so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merges: bool,
}

/// What the listener answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Challenge {
    /// The protocol that is spoken from here.
    pub protocol: u32,
    /// Who listens.
    pub node: String,
    /// Its life.
    pub incarnation: String,
    /// 32 hexadecimal digits, random.
    pub nonce: String,
}

/// That a side knows the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// The HMAC, 64 hexadecimal digits.
    pub proof: String,
}

/// What the listener says once it knows the dialler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Welcome {
    /// The listener's proof.
    pub proof: String,
    /// Its epoch.
    pub epoch: Option<String>,
    /// Where its HTTP API is reached.
    pub http_endpoint: Option<String>,
    /// The group that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whether it leads; else it passes on what it gets from the leader.
    pub is_leader: bool,
    /// Where the leader is followed, when it does not lead and knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
}

/// Why a connection ends, said to the other side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// A stable word.
    pub code: String,
    /// A sentence.
    pub reason: String,
    /// The epoch that the sender knows.
    pub epoch: Option<String>,
    /// Where the leader is, as far as the sender knows.
    pub leader: Option<String>,
}

/// Why the other side is not greeted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unwelcome {
    /// It does not know the secret.
    #[error("the replication secret does not match; Replication:Secret must be the same on both nodes")]
    Secret,
    /// No common protocol.
    #[error("it speaks protocol {theirs}, this node {PROTOCOL_OLDEST} to {PROTOCOL}; bring both nodes to one version")]
    Protocol {
        /// Its newest.
        theirs: u32,
    },
    /// It is this node.
    #[error("a node cannot follow itself; correct the leader's host and port")]
    Self_,
    /// Another node has this name.
    #[error("another node goes by the same name '{0}'; give each its own Node:NodeId")]
    Namesake(String),
    /// It belongs to another group.
    #[error(
        "the two nodes belong to different groups of leader and followers; if that is no mistake, POST \
         /replication/start-follower with force has the one that follows leave its group and merges what it holds"
    )]
    Group,
    /// What it says cannot be read.
    #[error("its greeting cannot be read: {0}")]
    Nonsense(String),
}

impl Unwelcome {
    /// The stable word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Secret => "wrong-secret",
            Self::Protocol { .. } => "unknown-protocol",
            Self::Self_ => "follower-of-itself",
            Self::Namesake(_) => "node-name-taken",
            Self::Group => "other-group",
            Self::Nonsense(_) => "malformed-greeting",
        }
    }
}

/// Whose proof it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who has dialled.
    Dialler,
    /// Who was.
    Listener,
}

/// What was said so far: the bytes of the hello and of the challenge.
#[derive(Debug, Clone)]
pub struct Transcript {
    hello: Vec<u8>,
    challenge: Vec<u8>,
}

impl Transcript {
    /// Of one conversation.
    pub fn new(hello: &[u8], challenge: &[u8]) -> Self {
        Self { hello: hello.to_vec(), challenge: challenge.to_vec() }
    }

    /// A side's proof.
    pub fn proof(&self, secret: &[u8], side: Side) -> String {
        let code = self.code(secret, side).map(|code| code.finalize().into_bytes());
        code.map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect()).unwrap_or_default()
    }

    /// Whether a proof is that side's; takes the same time wherever it differs.
    pub fn check(&self, secret: &[u8], side: Side, proof: &str) -> Result<(), Unwelcome> {
        let bytes = from_hex(proof).ok_or(Unwelcome::Secret)?;
        let code = self.code(secret, side).ok_or(Unwelcome::Secret)?;
        code.verify_slice(&bytes).map_err(|_| Unwelcome::Secret)
    }

    fn code(&self, secret: &[u8], side: Side) -> Option<Hmac<Sha256>> {
        let mut code = Hmac::<Sha256>::new_from_slice(secret).ok()?;
        code.update(match side {
            Side::Dialler => b"holdfast replica dialler",
            Side::Listener => b"holdfast replica listener",
        });
        for part in [&self.hello, &self.challenge] {
            // With its length, so that no byte can move from one part to the other.
            code.update(&(part.len() as u64).to_le_bytes());
            code.update(part);
        }
        Some(code)
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}

/// The protocol that both understand.
pub fn agree(hello: &Hello) -> Result<u32, Unwelcome> {
    let newest = hello.protocol.min(PROTOCOL);
    if hello.protocol < PROTOCOL_OLDEST || hello.protocol_oldest > PROTOCOL {
        return Err(Unwelcome::Protocol { theirs: hello.protocol });
    }
    Ok(newest)
}

/// Who somebody says to be, unless it is this node or a namesake of it.
pub fn other(node: &str, incarnation: &str, me: (&NodeName, u64)) -> Result<NodeName, Unwelcome> {
    let name = NodeName::parse(node).map_err(|refusal| Unwelcome::Nonsense(refusal.to_string()))?;
    let life = u64::from_str_radix(incarnation, 16).map_err(|_| Unwelcome::Nonsense("its incarnation".to_owned()))?;
    if name != *me.0 {
        return Ok(name);
    }
    Err(if life == me.1 { Unwelcome::Self_ } else { Unwelcome::Namesake(node.to_owned()) })
}

/// Whether a dialler may be talked to by a node of this group. It comes to join, or it belongs there already.
pub fn of_one_group(ours: Option<&str>, hello: &Hello) -> Result<(), Unwelcome> {
    let is_joining = hello.purpose == Purpose::Follow && (hello.group.is_none() || hello.merges);
    let is_member = ours.is_some() && hello.group.as_deref() == ours;
    if is_member || is_joining { Ok(()) } else { Err(Unwelcome::Group) }
}

/// An epoch as it was sent, if any was.
pub fn epoch(sent: Option<&str>) -> Result<Option<Epoch>, Unwelcome> {
    let parsed = sent.map(Epoch::parse).transpose();
    parsed.map_err(|refusal| Unwelcome::Nonsense(refusal.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_proof_serves_its_side_its_secret_and_its_conversation_alone() {
        let here = Transcript::new(b"hello", b"challenge");
        let proof = here.proof(b"secret", Side::Dialler);
        here.check(b"secret", Side::Dialler, &proof).unwrap();
        assert_eq!(here.check(b"secret", Side::Listener, &proof), Err(Unwelcome::Secret));
        assert_eq!(here.check(b"other", Side::Dialler, &proof), Err(Unwelcome::Secret));
        assert_eq!(here.check(b"", Side::Dialler, &proof), Err(Unwelcome::Secret));
        let moved = Transcript::new(b"hello c", b"hallenge");
        assert_eq!(moved.check(b"secret", Side::Dialler, &proof), Err(Unwelcome::Secret));
        for wrong in ["", "zz", &proof[1..], &format!("{proof}00"), "é".repeat(32).as_str()] {
            assert_eq!(here.check(b"secret", Side::Dialler, wrong), Err(Unwelcome::Secret));
        }
    }

    #[test]
    fn a_member_of_another_group_is_let_in_only_where_an_operator_says_so() {
        let from = |group: Option<&str>, purpose, merges| {
            let text = r#"{"protocol":1,"protocolOldest":1,"node":"b","incarnation":"01","purpose":"follow","nonce":"",
                "epoch":null,"httpEndpoint":null,"replicationEndpoint":null,"isVoter":false}"#;
            let hello: Hello = serde_json::from_str(text).unwrap();
            Hello { group: group.map(str::to_owned), purpose, merges, ..hello }
        };
        let is_let_in = |ours, hello: &Hello| of_one_group(ours, hello).is_ok();
        for purpose in [Purpose::Follow, Purpose::Control] {
            assert!(is_let_in(Some("g"), &from(Some("g"), purpose, false)));
            assert!(!is_let_in(Some("g"), &from(Some("h"), purpose, false)));
            assert!(!is_let_in(None, &from(Some("h"), purpose, false)));
            let is_follow = purpose == Purpose::Follow;
            assert_eq!(is_let_in(Some("g"), &from(None, purpose, false)), is_follow, "to join");
            assert_eq!(is_let_in(Some("g"), &from(Some("h"), purpose, true)), is_follow, "by force");
        }
    }

    #[test]
    fn the_newest_protocol_of_both_is_spoken() {
        let hello = |protocol, protocol_oldest| Hello {
            protocol,
            protocol_oldest,
            node: "a".to_owned(),
            incarnation: String::new(),
            purpose: Purpose::Follow,
            nonce: String::new(),
            epoch: None,
            http_endpoint: None,
            replication_endpoint: None,
            is_voter: false,
            leader: None,
            group: None,
            merges: false,
        };
        assert_eq!(agree(&hello(9, 1)), Ok(PROTOCOL));
        assert_eq!(agree(&hello(0, 0)), Err(Unwelcome::Protocol { theirs: 0 }));
        assert_eq!(agree(&hello(9, 9)), Err(Unwelcome::Protocol { theirs: 9 }));
    }

    #[test]
    fn a_node_meets_neither_itself_nor_a_namesake() {
        let me = NodeName::parse("a").unwrap();
        assert_eq!(other("b", "1", (&me, 1)).unwrap().as_str(), "b");
        assert_eq!(other("a", "1", (&me, 1)), Err(Unwelcome::Self_));
        assert_eq!(other("a", "2", (&me, 1)), Err(Unwelcome::Namesake("a".to_owned())));
        assert!(matches!(other("b", "x", (&me, 1)), Err(Unwelcome::Nonsense(_))));
    }
}
