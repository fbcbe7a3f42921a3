//! How it stands with a peer in one database: one word, and the sentence that an operator acts on.
//!
//! | state        | means                                                                                     |
//! |--------------|-------------------------------------------------------------------------------------------|
//! | `Inactive`   | sync with it is switched off, or this database is not among those that are synced           |
//! | `Resting`    | this node follows a leader, or the lead is being handed over: it exchanges nothing        |
//! | `Paused`     | the peer's operator has switched off sync with this node                                  |
//! | `Failing`    | the last exchange failed; it is tried again                                               |
//! | `Diverged`   | the same operations were exchanged and the digests differ                                 |
//! | `Silent`     | nothing is known to be missing, and the peer is not heard: see [`crate::sync::hearing`]   |
//! | `CatchingUp` | operations are on their way                                                               |
//! | `Ready`      | everything known was exchanged, and nothing proves yet that both hold the same            |
//! | `InSync`     | everything was exchanged, and equal digests have proven it; neither has changed since     |
//!
//! Must stay true: `InSync` is claimed for nothing but a proof that still holds, of a peer that is heard.

use std::time::Duration;

use holdfast_core::sync::comparison::{Comparison, Outcome};
use holdfast_core::time::Millis;
use holdfast_core::vector::Vector;
use serde::Serialize;
use utoipa::ToSchema;

use crate::databases::Closed;
use crate::sync::driver::SessionStatus;
use crate::sync::survey::{Found, names};

/// An exchange that has taken so long is told of.
const SLOW_EXCHANGE: Duration = Duration::from_secs(5);

/// How it stands with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub enum PeerState {
    /// Not synced with.
    Inactive,
    /// This node exchanges nothing with any peer, because it follows a leader.
    Resting,
    /// The peer's operator has switched off sync with this node.
    Paused,
    /// The last exchange failed.
    Failing,
    /// Both have the same operations and show something else.
    Diverged,
    /// The peer is not heard, and may have changed or gone.
    Silent,
    /// Operations are on their way.
    CatchingUp,
    /// Everything known was exchanged; not proven.
    Ready,
    /// Proven equal.
    InSync,
}

impl PeerState {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Inactive,
        Self::Resting,
        Self::Paused,
        Self::Failing,
        Self::Diverged,
        Self::Silent,
        Self::CatchingUp,
        Self::Ready,
        Self::InSync,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inactive => "Inactive",
            Self::Resting => "Resting",
            Self::Paused => "Paused",
            Self::Failing => "Failing",
            Self::Diverged => "Diverged",
            Self::Silent => "Silent",
            Self::CatchingUp => "CatchingUp",
            Self::Ready => "Ready",
            Self::InSync => "InSync",
        }
    }
}

/// What a state follows from.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The peer, for the advice.
    pub peer: &'a str,
    /// The database, for the advice.
    pub database: &'a str,
    /// Whether the peer is switched on.
    pub is_active: bool,
    /// Whether this database is synced with it.
    pub is_selected: bool,
    /// Whether this database goes out to it.
    pub is_sent: bool,
    /// Whether it comes in from it.
    pub is_taken: bool,
    /// Why sync with all peers rests, if it does.
    pub resting: Option<&'a Closed>,
    /// Its session, when there is one.
    pub session: Option<&'a SessionStatus>,
    /// What surveys found.
    pub found: &'a Found,
    /// What we know.
    pub ours: &'a Vector,
}

/// The state and the reason for it in words.
pub fn state_of(evidence: &Evidence<'_>) -> (PeerState, String) {
    let Evidence { peer, database, found, ours, .. } = evidence;
    if !evidence.is_active {
        return (
            PeerState::Inactive,
            format!(
                "Sync with {peer} is switched off, both ways. 'holdfast peers add {peer} URL' switches it on, and \
                 everything that was written meanwhile follows."
            ),
        );
    }
    if !evidence.is_selected {
        return (
            PeerState::Inactive,
            format!("Database {database} is not among those that are synced with {peer}; others may be."),
        );
    }
    if let Some(closed) = evidence.resting {
        return (
            PeerState::Resting,
            format!(
                "Nothing is exchanged with {peer}: {closed}. Nothing is lost: operations wait in the logs, and go on when \
                 this node takes writes again."
            ),
        );
    }
    let Some(session) = evidence.session else {
        return (PeerState::CatchingUp, "Sync with this peer is about to start.".to_owned());
    };
    if session.is_paused {
        return (
            PeerState::Paused,
            format!(
                "{peer} has switched off sync with this node: ask its operator. Nothing is lost: operations wait in the \
                 logs until it is switched on again."
            ),
        );
    }
    if let Some((since, error)) = &session.last_error {
        return (PeerState::Failing, failing(*since, error, session));
    }
    let (is_sent, is_taken) = (evidence.is_sent && !session.refused.push, evidence.is_taken && !session.refused.pull);
    if !is_sent && !is_taken {
        return (PeerState::Inactive, left_out(evidence, session));
    }
    let to_send = if is_sent { session.peer_vector.missing_from(ours) } else { 0 };
    let to_receive = if is_taken { ours.missing_from(&session.peer_vector) } else { 0 };
    let last = found.conclusive.as_ref();
    if let Some(Comparison { outcome: Outcome::Different(collections), at, .. }) = last {
        return (PeerState::Diverged, diverged(evidence, &names(collections), *at));
    }
    if let Some(silence) = session.silence {
        return (PeerState::Silent, silent(evidence, silence, to_send, to_receive));
    }
    if let Some(proof) = last.filter(|last| last.proves_equal(ours, &session.peer_vector)) {
        let at = proof.at.to_utc_text();
        return (PeerState::InSync, format!("Everything was exchanged, and digests were equal at {at}."));
    }
    if to_send > 0 || to_receive > 0 {
        let slow = session.exchanging_since.map(|since| since.elapsed()).filter(|taken| *taken >= SLOW_EXCHANGE);
        let slow = slow.map(|taken| format!(" The exchange under way has taken {} s so far.", taken.as_secs()));
        let reason = catching_up(to_send, to_receive, last) + &slow.unwrap_or_default();
        return (PeerState::CatchingUp, reason);
    }
    if !(is_sent && is_taken) {
        let way = if is_sent { "goes out to" } else { "comes in from" };
        let (who, how) = if session.refused.is_any() { (*peer, "has chosen") } else { ("this node", "is told") };
        return (
            PeerState::Ready,
            format!("Database {database} only {way} {peer}, as {who} {how}, and everything that way was exchanged."),
        );
    }
    (PeerState::Ready, ready(session, found))
}

/// Why nothing of a database goes either way although this node would let it.
fn left_out(evidence: &Evidence<'_>, session: &SessionStatus) -> String {
    let Evidence { peer, database, .. } = evidence;
    match (session.refused.push, session.refused.pull) {
        (true, true) => format!(
            "{peer} leaves database {database} out of what it exchanges with this node: ask its operator if not so meant."
        ),
        (true, false) => format!(
            "Database {database} only goes out to {peer}, as this node is told, and {peer} does not take it: change what \
             either selects."
        ),
        (false, _) => format!(
            "Database {database} only comes in from {peer}, as this node is told, and {peer} does not give it: change what \
             either selects."
        ),
    }
}

fn silent(evidence: &Evidence<'_>, silence: Duration, to_send: u64, to_receive: u64) -> String {
    let known = if to_send == 0 && to_receive == 0 {
        "Everything known until then was exchanged; what was written there since is not known".to_owned()
    } else {
        format!("{to_send} operations are to be sent and {to_receive} to be received, as far as is known")
    };
    format!(
        "{} was last heard {} s ago and does not answer. {known}. It is asked again by itself.",
        evidence.peer,
        silence.as_secs()
    )
}

fn failing(since: Millis, error: &str, session: &SessionStatus) -> String {
    let again = session.waiting_until.map(|until| format!(" Tried again at {}.", until.to_utc_text()));
    let last = match session.last_success {
        Some(at) => format!("last success {}", at.to_utc_text()),
        None => "no success since this node started".to_owned(),
    };
    format!(
        "The exchange at {} failed ({last}): {}.{} Nothing is lost: operations wait in the log.",
        since.to_utc_text(),
        error.trim_end_matches('.'),
        again.unwrap_or_default()
    )
}

fn diverged(evidence: &Evidence<'_>, collections: &str, at: Millis) -> String {
    let place = if collections.is_empty() { "the database".to_owned() } else { collections.to_owned() };
    let Evidence { peer, database, .. } = evidence;
    format!(
        "At {} the same operations were on both nodes and {place} differed. 'holdfast verify --peer {peer} --database \
         {database}' names the documents, with --repair it settles them.",
        at.to_utc_text()
    )
}

fn catching_up(to_send: u64, to_receive: u64, last: Option<&Comparison>) -> String {
    let proven = match last {
        Some(Comparison { outcome: Outcome::Equal { left_out: 0 }, at, .. }) => {
            format!(" Everything was equal at {}.", at.to_utc_text())
        }
        Some(Comparison { outcome: Outcome::Equal { left_out }, at, .. }) => {
            format!(" At {} everything but {left_out} documents on their way was equal.", at.to_utc_text())
        }
        _ => String::new(),
    };
    format!("{to_send} operations are to be sent, {to_receive} to be received.{proven}")
}

fn ready(session: &SessionStatus, found: &Found) -> String {
    if session.last_success.is_none() {
        return "The peer has not answered yet.".to_owned();
    }
    match &found.silent {
        Some((at, why)) => {
            format!("Everything known was exchanged, but nothing proves it: at {} {why}.", at.to_utc_text())
        }
        None => "Everything known was exchanged; digests are compared next.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use holdfast_core::id::{CollectionName, NodeName};
    use holdfast_core::sync::session::Refused;
    use holdfast_core::vector::{Origin, Sequence};

    use super::*;

    fn vector(sequence: u64) -> Vector {
        let origin = Origin { node: NodeName::parse("a").unwrap(), incarnation: 1 };
        [(origin, Sequence(sequence))].into_iter().collect()
    }

    fn session(knows: u64) -> SessionStatus {
        SessionStatus { peer_vector: vector(knows), last_success: Some(Millis(1)), ..SessionStatus::default() }
    }

    fn found(outcome: Outcome, at: u64) -> Found {
        let comparison = Comparison { outcome, at: Millis(9), ours: vector(at), theirs: vector(at) };
        Found { conclusive: Some(comparison), ..Found::default() }
    }

    fn state(session: Option<&SessionStatus>, found: &Found, ours: u64) -> (PeerState, String) {
        let ours = vector(ours);
        let evidence = Evidence {
            peer: "b",
            database: "shop",
            is_active: true,
            is_selected: true,
            is_sent: true,
            is_taken: true,
            resting: None,
            session,
            found,
            ours: &ours,
        };
        state_of(&evidence)
    }

    #[test]
    fn in_sync_is_claimed_for_a_proof_that_still_holds_and_nothing_else() {
        let proven = found(Outcome::Equal { left_out: 0 }, 5);
        assert_eq!(state(Some(&session(5)), &proven, 5).0, PeerState::InSync);
        assert_eq!(state(Some(&session(5)), &Found::default(), 5).0, PeerState::Ready);
        assert_eq!(state(Some(&session(5)), &proven, 6).0, PeerState::CatchingUp);
        assert_eq!(state(Some(&session(6)), &proven, 5).0, PeerState::CatchingUp);
        assert_eq!(state(Some(&session(6)), &proven, 6).0, PeerState::Ready);
        assert_eq!(state(Some(&session(5)), &found(Outcome::Equal { left_out: 1 }, 5), 5).0, PeerState::Ready);
        assert_eq!(state(None, &proven, 5).0, PeerState::CatchingUp);
        let silent = SessionStatus { silence: Some(Duration::from_secs(16)), ..session(5) };
        let (word, reason) = state(Some(&silent), &proven, 5);
        assert!(word == PeerState::Silent && reason.contains("last heard 16 s ago"), "{reason}");
        let paused = SessionStatus { is_paused: true, ..session(5) };
        assert_eq!(state(Some(&paused), &proven, 5).0, PeerState::Paused);
        let failing = SessionStatus { last_error: Some((Millis(2), "not reached".to_owned())), ..session(5) };
        assert_eq!(state(Some(&failing), &proven, 5).0, PeerState::Failing);
    }

    #[test]
    fn a_peer_that_refuses_one_way_is_not_said_to_leave_the_database_out() {
        let one_way = |push, pull| SessionStatus { refused: Refused { push, pull }, ..session(6) };
        let (word, reason) = state(Some(&one_way(true, false)), &Found::default(), 7);
        assert_eq!(word, PeerState::Ready);
        assert!(reason.contains("only comes in from b, as b has chosen"), "{reason}");
        let (word, reason) = state(Some(&one_way(false, true)), &Found::default(), 5);
        assert!(word == PeerState::Ready && reason.contains("only goes out to b"), "{reason}");
        assert_eq!(state(Some(&one_way(false, true)), &Found::default(), 7).0, PeerState::CatchingUp);
        let (word, reason) = state(Some(&one_way(true, true)), &Found::default(), 6);
        assert!(word == PeerState::Inactive && reason.contains("leaves database shop out"), "{reason}");
    }

    #[test]
    fn a_difference_is_told_until_equality_is_proven_and_says_what_to_do() {
        let different = found(Outcome::Different(vec![CollectionName::parse("tea").unwrap()]), 5);
        for (knows, ours) in [(5, 5), (5, 6), (7, 6)] {
            let (state, reason) = state(Some(&session(knows)), &different, ours);
            assert_eq!(state, PeerState::Diverged);
            assert!(reason.contains("tea") && reason.contains("holdfast verify --peer b --database shop"), "{reason}");
        }
    }
}
