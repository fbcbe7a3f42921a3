//! The gate before the writers: whether this node takes writes, and why not.
//!
//! ```text
//!   client ──► Each, Cache, Register, ... ─┐                     ┌─ Open: committed
//!   peer ────► Receive, TakeCacheNews, ... ┼─► queue ─► writer ──┤
//!   node ────► the stream of a leader ─────┘    thread  the gate └─ Closed: SubmitError::ReadOnly, nothing changed
//! ```
//!
//! Must stay true: the writer's thread looks at the gate when it takes a request out of its queue. So once the gate was
//! closed, and a [barrier](super::Databases::barrier) put in after that was answered, nothing that it stops is committed
//! any more. A request that was answered with success before stays committed.
//!
//! | closed for | clients | peers | the node's own |
//! |------------|---------|-------|----------------|
//! | `Follower` | stopped | stopped | pass         |
//! | `Handover` | stopped | stopped | pass         |
//! | `Starting` | stopped | stopped | pass         |
//! | `Operator` | stopped | pass    | pass         |
//!
//! What an operator has closed still takes in what peers wrote: those writes are done, and would only come later. A
//! follower takes nothing but its leader's log, under the leader's positions; and while the lead is handed over the log
//! must stand still.
//!
//! Deliberately absent: why and when it is closed. It is open until somebody closes it, and keeps nothing over a restart.

use holdfast_storage::request::Request;
use tokio::sync::watch;

/// Whether writes are taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Gate {
    /// They are.
    #[default]
    Open,
    /// They are not.
    Closed(Closed),
}

/// Why writes are not taken, and who takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Why.
    pub reason: ClosedReason,
    /// Where the leader answers HTTP, when that is known.
    pub leader_url: Option<String>,
}

/// Why writes are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedReason {
    /// This node follows a leader.
    Follower,
    /// The lead is being handed over: in a moment this node follows, or leads again.
    Handover,
    /// An operator has made this node read-only.
    Operator,
    /// The node does not know yet whether it leads.
    Starting,
}

/// On whose behalf something is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Somebody who uses this node.
    Client,
    /// Another master, which brings what was written there.
    Peer,
    /// The node itself: its own books, and the stream of its leader. Also whoever does not say; then the request tells.
    Node,
}

impl Closed {
    /// Closed for a reason, with no leader known.
    pub fn because(reason: ClosedReason) -> Self {
        Self { reason, leader_url: None }
    }

    /// Whether what peers bring is stopped too.
    pub fn stops_peers(&self) -> bool {
        match self.reason {
            ClosedReason::Follower | ClosedReason::Handover | ClosedReason::Starting => true,
            ClosedReason::Operator => false,
        }
    }

    fn stops(&self, asker: Asker) -> bool {
        match asker {
            Asker::Client => true,
            Asker::Peer => self.stops_peers(),
            Asker::Node => false,
        }
    }
}

impl std::fmt::Display for Closed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.reason, &self.leader_url) {
            (ClosedReason::Follower, Some(url)) => write!(formatter, "this node follows {url}"),
            (ClosedReason::Follower, None) => formatter.write_str("this node follows a leader"),
            (ClosedReason::Handover, _) => formatter.write_str("the lead is being handed over"),
            (ClosedReason::Operator, _) => formatter.write_str("an operator has made this node read-only"),
            (ClosedReason::Starting, _) => formatter.write_str("this node does not know yet whether it leads"),
        }
    }
}

/// The gate of a node, shared by the writers of all its databases. Open at first.
#[derive(Debug, Default)]
pub struct WriteGate(watch::Sender<Gate>);

impl WriteGate {
    /// How it stands.
    pub fn get(&self) -> Gate {
        self.0.borrow().clone()
    }

    /// Why it is closed, if it is.
    pub fn closed(&self) -> Option<Closed> {
        match &*self.0.borrow() {
            Gate::Open => None,
            Gate::Closed(closed) => Some(closed.clone()),
        }
    }

    /// Opens or closes it. What is in the queues is decided by how it stands when its turn comes.
    pub fn set(&self, gate: Gate) {
        self.0.send_if_modified(|present| {
            let is_news = *present != gate;
            if is_news {
                *present = gate;
            }
            is_news
        });
    }

    /// Changes whenever it is opened, closed, or closed for another reason.
    pub fn changed(&self) -> watch::Receiver<Gate> {
        self.0.subscribe()
    }

    /// Waits until it is open.
    pub async fn opened(&self) {
        // It ends with an error only when the gate is gone, and it is borrowed here.
        drop(self.changed().wait_for(|gate| *gate == Gate::Open).await);
    }

    /// Why it stops what somebody wants, if it does.
    pub fn stops(&self, asker: Asker) -> Option<Closed> {
        match &*self.0.borrow() {
            Gate::Open => None,
            Gate::Closed(closed) => closed.stops(asker).then(|| closed.clone()),
        }
    }

    /// Why it stops a request, if it does. What only a client can want is a client's, whoever brings it: the tasks that
    /// write for this node's own reasons write as its users do.
    pub(super) fn stops_request(&self, asker: Asker, request: &Request) -> Option<Closed> {
        self.stops(if request.is_of_client() { Asker::Client } else { asker })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use holdfast_core::id::CollectionName;

    use super::*;

    #[test]
    fn a_closed_gate_stops_clients_always_and_peers_unless_an_operator_has_closed_it() {
        let gate = WriteGate::default();
        let write = Request::Register(CollectionName::parse("tea").unwrap());
        let brought = Request::States(Vec::new());
        let stopped = |gate: &WriteGate| {
            [
                gate.stops_request(Asker::Client, &write).is_some(),
                gate.stops_request(Asker::Node, &write).is_some(),
                gate.stops_request(Asker::Peer, &brought).is_some(),
                gate.stops_request(Asker::Node, &brought).is_some(),
            ]
        };
        assert_eq!(stopped(&gate), [false; 4]);
        for reason in [ClosedReason::Follower, ClosedReason::Handover, ClosedReason::Starting] {
            gate.set(Gate::Closed(Closed::because(reason)));
            assert_eq!(stopped(&gate), [true, true, true, false], "{reason:?}");
        }
        gate.set(Gate::Closed(Closed::because(ClosedReason::Operator)));
        assert_eq!(stopped(&gate), [true, true, false, false]);
        gate.set(Gate::Open);
        assert_eq!(stopped(&gate), [false; 4]);
    }

    #[tokio::test]
    async fn who_waits_for_the_gate_is_woken_by_changes_alone() {
        let gate = WriteGate::default();
        let mut changed = gate.changed();
        gate.set(Gate::Open);
        assert!(!changed.has_changed().unwrap(), "nothing has changed");
        gate.set(Gate::Closed(Closed::because(ClosedReason::Operator)));
        assert!(changed.has_changed().unwrap());
        changed.mark_unchanged();
        let (waited, ()) = tokio::join!(gate.opened(), async { gate.set(Gate::Open) });
        assert_eq!(waited, ());
        assert_eq!(gate.get(), Gate::Open);
    }
}
