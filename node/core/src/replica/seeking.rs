//! Who follows whom: where the leader is looked for, and whom a node lets follow it.
//!
//! ```text
//!   the leader's address ─► dial ─► whatever ends it ─► where it was said to be, else each voter, else the address again
//!     ▲                                  │
//!     └── a pause that grows, by chance ◄┘
//! ```
//!
//! Must stay true: no address is lost by failing, so whoever follows tries for ever.

use std::collections::VecDeque;

use thiserror::Error;

use crate::id::NodeName;
use crate::replica::role::Role;
use crate::time::Millis;

/// The first and the longest pause after a connection has ended.
const PAUSE_MIN: Millis = Millis(50);
/// The longest pause between two attempts.
pub const PAUSE_MAX: Millis = Millis(5_000);

/// Where to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `host:port`.
    pub endpoint: String,
    /// Whether the leader is said to be there: then whoever answers is followed, though it should follow another itself.
    pub is_named: bool,
}

/// The search of a follower for its leader.
#[derive(Debug, Clone)]
pub struct Seeking {
    /// To be tried before the leader's address is again.
    others: VecDeque<String>,
    pause: Millis,
}

impl Default for Seeking {
    fn default() -> Self {
        Self { others: VecDeque::new(), pause: PAUSE_MIN }
    }
}

impl Seeking {
    /// Where to dial next, given where the leader is said to be and where voters listen. Nowhere before anybody has said
    /// anything.
    pub fn next(&mut self, leader: Option<&str>, voters: impl IntoIterator<Item = String>) -> Option<Target> {
        if leader.is_none() && self.others.is_empty() {
            self.others.extend(voters);
        }
        let endpoint = self.others.pop_front().or_else(|| leader.map(str::to_owned))?;
        let is_named = leader == Some(endpoint.as_str());
        Some(Target { endpoint, is_named })
    }

    /// A connection to there has ended, or came to nothing. `hint` is where the other side says that the leader is.
    pub fn ended(&mut self, from: &Target, hint: Option<&str>, voters: impl IntoIterator<Item = String>) {
        let is_whole = |leader: &&str| leader.split_once(':').is_some_and(|(host, _)| !host.is_empty());
        if let Some(hint) = hint.filter(is_whole) {
            self.others.retain(|other| other != hint);
            self.others.push_front(hint.to_owned());
        } else if self.others.is_empty() && from.is_named {
            self.others.extend(voters.into_iter().filter(|endpoint| *endpoint != from.endpoint));
        }
    }

    /// How long to wait before the next attempt, after one that lasted so long.
    pub fn pause(&mut self, lasted: Millis, random: u64) -> Millis {
        if lasted > PAUSE_MAX {
            self.pause = PAUSE_MIN;
        }
        let pause = Millis(self.pause.0 / 2 + random % self.pause.0.max(1) / 2);
        self.pause = Millis(self.pause.0 * 2).min(PAUSE_MAX);
        pause
    }

    /// Somebody has said where the leader is: there at once, and nowhere else first.
    pub fn named(&mut self) {
        self.others.clear();
        self.pause = PAUSE_MIN;
    }
}

/// Why a node is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotFollowed {
    /// It takes no part in a group.
    #[error("this node neither leads nor follows")]
    Alone,
    /// It has nothing to pass on.
    #[error("this node follows, and has lost its leader")]
    LeaderLost,
    /// Both would wait for each other.
    #[error("this node follows the one that would follow it")]
    Circle,
}

impl NotFollowed {
    /// The stable word.
    pub fn code(self) -> &'static str {
        match self {
            Self::Alone | Self::LeaderLost => "not-the-leader",
            Self::Circle => "circle",
        }
    }
}

/// Whether a node that follows `followed` at the moment may be followed by `guest`.
pub fn may_be_followed(role: Role, followed: Option<&NodeName>, guest: &NodeName) -> Result<(), NotFollowed> {
    match (role, followed) {
        (Role::Alone, _) => Err(NotFollowed::Alone),
        (Role::Leader, _) => Ok(()),
        (Role::Follower, None) => Err(NotFollowed::LeaderLost),
        (Role::Follower, Some(leader)) if leader == guest => Err(NotFollowed::Circle),
        (Role::Follower, Some(_)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn voters() -> Vec<String> {
        vec!["a:1".to_owned(), "b:1".to_owned(), "c:1".to_owned()]
    }

    #[test]
    fn voters_are_asked_where_the_leader_is_not_found_and_then_it_is_tried_again() {
        let mut seeking = Seeking::default();
        assert_eq!(seeking.next(None, []), None);
        let named = seeking.next(Some("a:1"), voters()).unwrap();
        assert_eq!(named, Target { endpoint: "a:1".to_owned(), is_named: true });
        seeking.ended(&named, None, voters());
        for expected in ["b:1", "c:1"] {
            let next = seeking.next(Some("a:1"), voters()).unwrap();
            assert_eq!((next.endpoint.as_str(), next.is_named), (expected, false));
            seeking.ended(&next, None, voters());
        }
        assert!(seeking.next(Some("a:1"), voters()).unwrap().is_named);
    }

    #[test]
    fn a_hint_goes_first_if_it_names_a_host() {
        let mut seeking = Seeking::default();
        let named = seeking.next(Some("a:1"), voters()).unwrap();
        seeking.ended(&named, Some("c:1"), voters());
        assert_eq!(seeking.next(Some("a:1"), voters()).unwrap().endpoint, "c:1");
        seeking.ended(&named, Some(":1"), voters());
        assert_eq!(seeking.next(Some("a:1"), voters()).unwrap().endpoint, "b:1");
        seeking.named();
        assert!(seeking.next(Some("a:1"), voters()).unwrap().is_named);
    }

    #[test]
    fn the_pause_grows_and_begins_anew_after_a_connection_that_lasted() {
        let mut seeking = Seeking::default();
        assert_eq!(seeking.pause(Millis(0), 49), Millis(49));
        assert_eq!(seeking.pause(Millis(0), 0), Millis(50));
        for _ in 0..20 {
            seeking.pause(Millis(0), 0);
        }
        assert_eq!(seeking.pause(Millis(0), 4_999), Millis(4_999));
        assert_eq!(seeking.pause(Millis(5_001), 0), Millis(25));
    }

    #[test]
    fn nobody_follows_who_has_nothing_to_pass_on() {
        let name = |text: &str| NodeName::parse(text).unwrap();
        let (leader, guest) = (name("a"), name("b"));
        assert_eq!(may_be_followed(Role::Leader, None, &guest), Ok(()));
        assert_eq!(may_be_followed(Role::Follower, Some(&leader), &guest), Ok(()));
        assert_eq!(may_be_followed(Role::Follower, Some(&guest), &guest), Err(NotFollowed::Circle));
        assert_eq!(may_be_followed(Role::Follower, None, &guest), Err(NotFollowed::LeaderLost));
        assert_eq!(may_be_followed(Role::Alone, None, &guest).unwrap_err().code(), "not-the-leader");
    }
}
