//! What happens in a group, told to whoever listens: a program that holds the node, a metric, a person's screen.
//!
//! What it does not do: wait for listeners, or keep what nobody heard. How things stand is in
//! [`status`](super::status::GroupStatus); these only say that it has changed.

use holdfast_core::id::NodeName;
use holdfast_core::replica::epoch::Epoch;
use tokio::sync::broadcast;

use crate::replica::ReplicaGroup;

/// Events that a listener may be behind before the oldest are lost to it.
const BEHIND_MAX: usize = 256;

/// Something that happened in a node's group of leader and followers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupEvent {
    /// This node leads from now on.
    Leads {
        /// In which epoch.
        epoch: Epoch,
        /// Where followers connect; `None` while the port cannot be opened.
        port: Option<u16>,
        /// Whether that is because the old leader fell silent.
        was_elected: bool,
    },
    /// Another node leads: this one takes no writes any more, and follows.
    SteppedDown {
        /// The other's epoch.
        epoch: Epoch,
    },
    /// This node follows a leader: the connection stands.
    Follows {
        /// The node that it is connected to.
        leader: NodeName,
        /// Where that one is.
        endpoint: String,
    },
    /// The leader is not followed at the moment; it is tried again and again.
    LeaderLost {
        /// Where it was.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// A follower has connected.
    FollowerCame {
        /// Which.
        follower: NodeName,
    },
    /// A follower has gone; it may come back.
    FollowerWent {
        /// Which.
        follower: NodeName,
        /// Why.
        reason: String,
    },
    /// Followers connect here from now on.
    Listens {
        /// The port.
        port: u16,
    },
    /// The port for followers cannot be opened; it is tried again until it can.
    PortTaken {
        /// The port.
        port: u16,
        /// Why not.
        reason: String,
    },
}

/// Where events are told.
#[derive(Debug)]
pub(super) struct GroupNews(broadcast::Sender<GroupEvent>);

impl Default for GroupNews {
    fn default() -> Self {
        Self(broadcast::Sender::new(BEHIND_MAX))
    }
}

impl GroupNews {
    pub(super) fn tell(&self, event: GroupEvent) {
        // Nobody need listen.
        drop(self.0.send(event));
    }
}

/// Events from the moment at which it was asked for.
#[derive(Debug)]
pub struct GroupEvents(broadcast::Receiver<GroupEvent>);

impl GroupEvents {
    /// The next one; `None` once the node has ended. Whoever is more than 256 behind misses the oldest.
    pub async fn next(&mut self) -> Option<GroupEvent> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl ReplicaGroup {
    /// What happens in the group from now on.
    pub fn events(&self) -> GroupEvents {
        GroupEvents(self.news.0.subscribe())
    }
}
