//! How it stands with a peer in one database: one word, and the sentence that an operator acts on.
//!
//! | state        | means                                                                                     |
//! |--------------|-------------------------------------------------------------------------------------------|
//! | `Inactive`   | sync with it is switched off, or this database is not among those that are synced           |
//! | `Failing`    | the last exchange failed; it is tried again                                               |
//! | `Diverged`   | the same operations were exchanged and the digests differ                                 |
//! | `CatchingUp` | operations are on their way                                                               |
//! | `Ready`      | everything known was exchanged, and nothing proves yet that both hold the same            |
//! | `InSync`     | everything was exchanged, and equal digests have proven it; neither has changed since     |
//!
//! Must stay true: `InSync` is claimed for nothing but a proof that still holds.

use holdfast_core::sync::comparison::{Comparison, Outcome};
use holdfast_core::time::Millis;
use holdfast_core::vector::Vector;
use serde::Serialize;
use utoipa::ToSchema;

use crate::sync::driver::SessionStatus;
use crate::sync::survey::{Found, names};

/// How it stands with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub enum PeerState {
    /// Not synced with.
    Inactive,
    /// The last exchange failed.
    Failing,
    /// Both have the same operations and show something else.
    Diverged,
    /// Operations are on their way.
    CatchingUp,
    /// Everything known was exchanged; not proven.
    Ready,
    /// Proven equal.
    InSync,
}

impl PeerState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Inactive, Self::Failing, Self::Diverged, Self::CatchingUp, Self::Ready, Self::InSync];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inactive => "Inactive",
            Self::Failing => "Failing",
            Self::Diverged => "Diverged",
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
            format!("Sync with {peer} is switched off. 'holdfast peers add {peer} URL' switches it on."),
        );
    }
    if !evidence.is_selected {
        return (
            PeerState::Inactive,
            format!("Database {database} is not among those that are synced with {peer}; others may be."),
        );
    }
    let Some(session) = evidence.session else {
        return (PeerState::CatchingUp, "Sync with this peer is about to start.".to_owned());
    };
    if let Some((since, error)) = &session.last_error {
        return (PeerState::Failing, failing(*since, error, session));
    }
    if session.is_left_out {
        return (
            PeerState::Inactive,
            format!(
                "{peer} leaves database {database} out of what it exchanges with this node: ask its operator if not so meant."
            ),
        );
    }
    let to_send = if evidence.is_sent { session.peer_vector.missing_from(ours) } else { 0 };
    let to_receive = if evidence.is_taken { ours.missing_from(&session.peer_vector) } else { 0 };
    let last = found.conclusive.as_ref();
    if let Some(Comparison { outcome: Outcome::Different(collections), at, .. }) = last {
        return (PeerState::Diverged, diverged(evidence, &names(collections), *at));
    }
    if let Some(proof) = last.filter(|last| last.proves_equal(ours, &session.peer_vector)) {
        let at = proof.at.to_utc_text();
        return (PeerState::InSync, format!("Everything was exchanged, and digests were equal at {at}."));
    }
    if to_send > 0 || to_receive > 0 {
        return (PeerState::CatchingUp, catching_up(to_send, to_receive, last));
    }
    if !(evidence.is_sent && evidence.is_taken) {
        let way = if evidence.is_sent { "goes out to" } else { "comes in from" };
        return (
            PeerState::Ready,
            format!(
                "Database {database} only {way} {peer}, as this node is told, and everything that way was exchanged."
            ),
        );
    }
    (PeerState::Ready, ready(session, found))
}

fn failing(since: Millis, error: &str, session: &SessionStatus) -> String {
    let again = session.waiting_until.map(|until| format!(" Tried again at {}.", until.to_utc_text()));
    let last = match session.last_success {
        Some(at) => format!("last success {}", at.to_utc_text()),
        None => "no success since this node started".to_owned(),
    };
    format!(
        "The exchange at {} failed ({last}): {error}.{} Nothing is lost: operations wait in the log.",
        since.to_utc_text(),
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
        let failing = SessionStatus { last_error: Some((Millis(2), "not reached".to_owned())), ..session(5) };
        assert_eq!(state(Some(&failing), &proven, 5).0, PeerState::Failing);
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
