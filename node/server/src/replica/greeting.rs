//! Greeting over a connection: who is there, and that both know the secret. See [`holdfast_core::replica::handshake`].

use std::time::Duration;

use holdfast_core::id::NodeName;
use holdfast_core::replica::epoch::Epoch;
use holdfast_core::replica::frame::{Kind, NoFrame};
use holdfast_core::replica::handshake::{
    Challenge, Hello, PROTOCOL, PROTOCOL_OLDEST, Proof, Purpose, Refused, Side, Transcript, Unwelcome, Welcome, agree,
    epoch, of_one_group, other,
};
use holdfast_core::replica::message;
use holdfast_core::vector::Origin;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::AsyncWriteExt;

use crate::entropy;
use crate::replica::wire::{BoxedReader, BoxedWriter, Frame, Outgoing, WireError, read_frame, write_frame};
use crate::settings::secret::Secret;

/// How long each step of a greeting may take.
pub(super) const STEP_WITHIN: Duration = Duration::from_secs(5);
/// What somebody who speaks HTTP to this port is told.
const HTTP_PROBLEM: &str = "{\"status\":400,\"code\":\"replication-port\",\"detail\":\"This is Holdfast's replication port; \
     followers connect to it. The HTTP API listens on another port (Urls).\"}";

/// Why a greeting came to nothing.
#[derive(Debug, Error)]
pub enum GreetError {
    /// It hung up before it had said anything.
    #[error("it hung up at once: its log says why; Replication:Tls must be set on both sides or on neither")]
    HungUp,
    /// The connection failed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// We do not greet the other side.
    #[error("{0}")]
    Unwelcome(#[from] Unwelcome),
    /// The other side does not greet us.
    #[error("it refused: {}", .0.reason)]
    Refused(Box<Refused>),
    /// It said something out of turn.
    #[error("it said something else than a greeting")]
    OutOfTurn,
}

/// How this node introduces itself.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// Who it is.
    pub origin: Origin,
    /// The newest epoch that it knows.
    pub epoch: Option<Epoch>,
    /// Where its HTTP API is reached.
    pub http_endpoint: Option<String>,
    /// Where it listens for followers.
    pub replication_endpoint: Option<String>,
    /// Where the leader is followed, as far as it knows; `:port` where that is this node.
    pub leader: Option<String>,
    /// Whether it votes.
    pub is_voter: bool,
    /// The group that it belongs to.
    pub group: Option<String>,
    /// Whether it joins another with what it holds.
    pub merges: bool,
}

/// A dialler that was greeted.
#[derive(Debug)]
pub struct Guest {
    /// Who it is.
    pub node: NodeName,
    /// Its life.
    pub incarnation: u64,
    /// What it comes for.
    pub purpose: Purpose,
    /// The newest epoch that it knows.
    pub epoch: Option<Epoch>,
    /// Where its HTTP API is reached.
    pub http_endpoint: Option<String>,
    /// Where it listens, as it says.
    pub replication_endpoint: Option<String>,
    /// Where the leader is followed, as far as it knows.
    pub leader: Option<String>,
    /// Whether it votes.
    pub is_voter: bool,
    /// Whether it does not belong to our group yet.
    pub is_joining: bool,
    /// Whether what it holds then is to be merged.
    pub merges: bool,
    transcript: Transcript,
}

/// A listener that has greeted us.
#[derive(Debug)]
pub struct Host {
    /// Who it is.
    pub node: NodeName,
    /// Its epoch.
    pub epoch: Option<Epoch>,
    /// Where its HTTP API is reached.
    pub http_endpoint: Option<String>,
    /// The group that it belongs to.
    pub group: Option<String>,
    /// Whether it leads itself.
    pub is_leader: bool,
    /// Where the leader is followed, when it does not.
    pub leader: Option<String>,
}

/// Longest endpoint that is believed, in bytes.
const ENDPOINT_BYTES_MAX: usize = 512;

/// Greets a listener.
pub async fn dial(
    (reader, writer): (&mut BoxedReader, &mut BoxedWriter),
    me: &Introduction,
    purpose: Purpose,
    secret: &Secret,
) -> Result<Host, GreetError> {
    let number = me.epoch.as_ref().map_or(0, |epoch| epoch.number);
    let hello = Hello {
        protocol: PROTOCOL,
        protocol_oldest: PROTOCOL_OLDEST,
        node: me.origin.node.to_string(),
        incarnation: format!("{:016x}", me.origin.incarnation),
        purpose,
        nonce: format!("{:032x}", entropy::random_u128()),
        epoch: me.epoch.as_ref().map(Epoch::to_string),
        http_endpoint: me.http_endpoint.clone(),
        replication_endpoint: me.replication_endpoint.clone(),
        leader: me.leader.clone(),
        is_voter: me.is_voter,
        group: me.group.clone(),
        merges: me.merges,
    };
    let hello = Outgoing { kind: Kind::Hello, payload: message::write(&hello) };
    write_frame(writer, number, &hello).await?;
    let answer = match read_frame(reader, false, STEP_WITHIN).await {
        Err(error) if error.is_hung_up() => return Err(GreetError::HungUp),
        answer => answer?,
    };
    let challenge: Challenge = expected(&answer, Kind::Challenge)?;
    let node = other(&challenge.node, &challenge.incarnation, (&me.origin.node, me.origin.incarnation))?;
    if !(PROTOCOL_OLDEST..=PROTOCOL).contains(&challenge.protocol) {
        return Err(Unwelcome::Protocol { theirs: challenge.protocol }.into());
    }
    let transcript = Transcript::new(&hello.payload, &answer.payload);
    let secret = secret.expose().as_bytes();
    let proof = Proof { proof: transcript.proof(secret, Side::Dialler) };
    write_frame(writer, number, &Outgoing { kind: Kind::Proof, payload: message::write(&proof) }).await?;
    let answer = read_frame(reader, false, STEP_WITHIN).await?;
    let welcome: Welcome = expected(&answer, Kind::Welcome)?;
    transcript.check(secret, Side::Listener, &welcome.proof)?;
    Ok(Host {
        node,
        epoch: epoch(welcome.epoch.as_deref())?,
        http_endpoint: short(welcome.http_endpoint)?,
        group: short(welcome.group)?,
        is_leader: welcome.is_leader,
        leader: short(welcome.leader)?,
    })
}

/// Hears a dialler out, up to the point where it has proved itself; each step may take `within`. Who is refused is told why.
pub async fn hear(
    (reader, writer): (&mut BoxedReader, &mut BoxedWriter),
    me: &Introduction,
    secret: &Secret,
    within: Duration,
) -> Result<Guest, GreetError> {
    let heard = hear_out((reader, writer), me, secret, within).await;
    match &heard {
        Ok(_) => {}
        Err(GreetError::Wire(WireError::Foreign(NoFrame::Http))) => {
            // Whoever it is should see it in their own tool.
            let length = HTTP_PROBLEM.len();
            let answer = format!(
                "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nConnection: close\r\n\
                 Content-Length: {length}\r\n\r\n{HTTP_PROBLEM}"
            );
            drop(writer.write_all(answer.as_bytes()).await);
            drop(writer.shutdown().await);
        }
        Err(error) => {
            let code = match error {
                GreetError::Unwelcome(unwelcome) => unwelcome.code(),
                _ => "malformed-greeting",
            };
            refuse(writer, me, code, &error.to_string(), None).await;
        }
    }
    heard
}

async fn hear_out(
    (reader, writer): (&mut BoxedReader, &mut BoxedWriter),
    me: &Introduction,
    secret: &Secret,
    within: Duration,
) -> Result<Guest, GreetError> {
    let number = me.epoch.as_ref().map_or(0, |epoch| epoch.number);
    let first = read_frame(reader, false, within).await?;
    let hello: Hello = expected(&first, Kind::Hello)?;
    let protocol = agree(&hello)?;
    let node = other(&hello.node, &hello.incarnation, (&me.origin.node, me.origin.incarnation))?;
    let incarnation = u64::from_str_radix(&hello.incarnation, 16).unwrap_or_default();
    let challenge = Challenge {
        protocol,
        node: me.origin.node.to_string(),
        incarnation: format!("{:016x}", me.origin.incarnation),
        nonce: format!("{:032x}", entropy::random_u128()),
    };
    let challenge = Outgoing { kind: Kind::Challenge, payload: message::write(&challenge) };
    write_frame(writer, number, &challenge).await?;
    let transcript = Transcript::new(&first.payload, &challenge.payload);
    let answer = read_frame(reader, false, within).await?;
    let proof: Proof = expected(&answer, Kind::Proof)?;
    transcript.check(secret.expose().as_bytes(), Side::Dialler, &proof.proof)?;
    of_one_group(me.group.as_deref(), &hello)?;
    let is_joining = hello.group.is_none() || hello.group != me.group;
    Ok(Guest {
        node,
        incarnation,
        purpose: hello.purpose,
        epoch: epoch(hello.epoch.as_deref())?,
        http_endpoint: short(hello.http_endpoint)?,
        replication_endpoint: short(hello.replication_endpoint)?,
        leader: short(hello.leader)?,
        is_voter: hello.is_voter,
        is_joining,
        merges: hello.merges,
        transcript,
    })
}

/// Where the leader is, as a guest is told.
#[derive(Debug)]
pub enum Leads {
    /// This node is it.
    Here,
    /// It is followed there, as far as is known.
    At(Option<String>),
}

/// Bids a guest welcome: from here both know each other.
pub async fn welcome(
    writer: &mut BoxedWriter,
    me: &Introduction,
    guest: &Guest,
    leader: Leads,
    secret: &Secret,
) -> Result<(), WireError> {
    let (is_leader, leader) = match leader {
        Leads::Here => (true, None),
        Leads::At(leader) => (false, leader),
    };
    let welcome = Welcome {
        proof: guest.transcript.proof(secret.expose().as_bytes(), Side::Listener),
        epoch: me.epoch.as_ref().map(Epoch::to_string),
        http_endpoint: me.http_endpoint.clone(),
        group: me.group.clone(),
        is_leader,
        leader,
    };
    let number = me.epoch.as_ref().map_or(0, |epoch| epoch.number);
    write_frame(writer, number, &Outgoing { kind: Kind::Welcome, payload: message::write(&welcome) }).await
}

/// Tells the other side why the connection ends; whether it hears that is its own affair.
pub async fn refuse(writer: &mut BoxedWriter, me: &Introduction, code: &str, reason: &str, leader: Option<String>) {
    let epoch = me.epoch.as_ref().map(Epoch::to_string);
    let refused = Refused { code: code.to_owned(), reason: reason.to_owned(), epoch, leader };
    let number = me.epoch.as_ref().map_or(0, |epoch| epoch.number);
    let frame = Outgoing { kind: Kind::Refused, payload: message::write(&refused) };
    drop(write_frame(writer, number, &frame).await);
    drop(writer.shutdown().await);
}

/// The content of a frame that must be of this kind.
pub fn expected<T: DeserializeOwned>(frame: &Frame, kind: Kind) -> Result<T, GreetError> {
    if frame.kind == Kind::Refused {
        return Err(GreetError::Refused(Box::new(parsed(frame)?)));
    }
    if frame.kind == kind { parsed(frame) } else { Err(GreetError::OutOfTurn) }
}

fn parsed<T: DeserializeOwned>(frame: &Frame) -> Result<T, GreetError> {
    let read = serde_json::from_slice(&frame.payload);
    read.map_err(|error| Unwelcome::Nonsense(error.to_string()).into())
}

fn short(endpoint: Option<String>) -> Result<Option<String>, GreetError> {
    let is_short = |text: &String| text.len() <= ENDPOINT_BYTES_MAX && !text.chars().any(char::is_control);
    match endpoint {
        Some(text) if !is_short(&text) => Err(Unwelcome::Nonsense("an address too long".to_owned()).into()),
        endpoint => Ok(endpoint),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::AsyncReadExt;

    use super::*;

    fn node(name: &str) -> Introduction {
        Introduction {
            origin: Origin { node: NodeName::parse(name).unwrap(), incarnation: 1 },
            epoch: Some(Epoch::parse("3@a").unwrap()),
            http_endpoint: None,
            replication_endpoint: None,
            leader: None,
            is_voter: false,
            group: Some("g".to_owned()),
            merges: false,
        }
    }

    fn ends(stream: tokio::io::DuplexStream) -> (BoxedReader, BoxedWriter) {
        let (reader, writer) = tokio::io::split(stream);
        (Box::new(reader), Box::new(writer))
    }

    async fn greet(
        dialler: (&str, &str),
        listener: (&str, &str),
    ) -> (Result<Host, GreetError>, Result<Guest, GreetError>) {
        let (one, other) = tokio::io::duplex(1 << 16);
        let ((mut r1, mut w1), (mut r2, mut w2)) = (ends(one), ends(other));
        let (d, l) = (node(dialler.0), node(listener.0));
        let (ds, ls) = (Secret::new(dialler.1.to_owned()), Secret::new(listener.1.to_owned()));
        let listening = async {
            let guest = hear((&mut r2, &mut w2), &l, &ls, STEP_WITHIN).await;
            if let Ok(guest) = &guest {
                welcome(&mut w2, &l, guest, Leads::Here, &ls).await.unwrap();
            }
            guest
        };
        tokio::join!(dial((&mut r1, &mut w1), &d, Purpose::Follow, &ds), listening)
    }

    #[tokio::test]
    async fn two_that_know_the_secret_greet_each_other() {
        let (host, guest) = greet(("b", "s"), ("a", "s")).await;
        assert_eq!(host.unwrap().node.as_str(), "a");
        assert_eq!(guest.unwrap().node.as_str(), "b");
    }

    #[tokio::test]
    async fn both_sides_learn_why_they_are_not_greeted() {
        let (host, guest) = greet(("b", "wrong"), ("a", "right")).await;
        assert!(matches!(host, Err(GreetError::Refused(refused)) if refused.code == "wrong-secret"));
        assert!(matches!(guest, Err(GreetError::Unwelcome(Unwelcome::Secret))));
        for (dialler, listener) in [("", "right"), ("right", "")] {
            let (host, _) = greet(("b", dialler), ("a", listener)).await;
            assert!(matches!(host, Err(GreetError::Refused(refused)) if refused.code == "wrong-secret"));
        }
        let (host, guest) = greet(("a", "s"), ("a", "s")).await;
        assert!(matches!(host, Err(GreetError::Refused(refused)) if refused.code == "follower-of-itself"));
        assert!(matches!(guest, Err(GreetError::Unwelcome(Unwelcome::Self_))));
    }

    #[tokio::test]
    async fn a_browser_is_answered_in_its_own_language() {
        let (mut browser, other) = tokio::io::duplex(1 << 16);
        let (mut reader, mut writer) = ends(other);
        browser.write_all(b"GET / HTTP/1.1\r\nHost: localhost:5500\r\n\r\n").await.unwrap();
        let heard = hear((&mut reader, &mut writer), &node("a"), &Secret::new(String::new()), STEP_WITHIN).await;
        assert!(matches!(heard, Err(GreetError::Wire(WireError::Foreign(NoFrame::Http)))));
        drop((reader, writer));
        let mut answer = String::new();
        browser.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 400") && head.contains(&format!("Content-Length: {}", body.len())),
            "{answer}"
        );
        assert!(body.contains("replication-port"));
    }
}
