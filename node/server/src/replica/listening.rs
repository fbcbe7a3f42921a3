//! The replication port: opened, moved, closed.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use holdfast_core::replica::role::Role;
use tokio::net::TcpListener;

use crate::replica::{GroupError, Listening, ReplicaGroup, listener};

impl ReplicaGroup {
    /// Opens the port for followers.
    pub(super) async fn listen(self: &Arc<Self>, port: u16) -> Result<(), GroupError> {
        if self.listening.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|open| open.port == port)
        {
            return Ok(());
        }
        let bound = TcpListener::bind((self.options.bind_address.as_str(), port)).await;
        let listener = bound.map_err(|error| GroupError::Port { port, reason: error.to_string() })?;
        // Port 0 is for tests: the system chooses.
        let port = listener.local_addr().map_or(port, |address| address.port());
        let stop = self.stop.child_token();
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = listening.replace(Listening { port, stop: stop.clone() }) {
            before.stop.cancel();
        }
        drop(listening);
        tracing::info!(port, "followers connect here");
        self.spawn(listener::listen(Arc::clone(self), listener, stop));
        Ok(())
    }

    /// The port on which followers are awaited.
    pub fn listening_port(&self) -> Option<u16> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|listening| listening.port)
    }

    /// The port on which this node would lead.
    pub fn port_to_lead(&self) -> u16 {
        self.lead_port.load(Ordering::Relaxed)
    }

    /// A follower listens too: for votes, for a handover, and for followers of its own. It does without where the port is
    /// taken, which on one machine the leader has done.
    pub(super) fn listen_as_follower(self: &Arc<Self>) {
        let group = Arc::clone(self);
        self.spawn(async move { group.listen_until_it_works().await });
    }

    pub(super) fn stop_listening(&self) {
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listening) = listening {
            listening.stop.cancel();
        }
    }

    pub(super) async fn listen_until_it_works(self: Arc<Self>) {
        const AGAIN_AFTER: Duration = Duration::from_secs(1);
        let mut is_told = false;
        while self.listening_port().is_none() && self.role() != Role::Alone {
            match self.listen(self.port_to_lead()).await {
                Ok(()) => {
                    // That it listens, and votes, is said in the greeting: it greets anew.
                    if self.role() == Role::Follower
                        && let Err(error) = self.begin_following()
                    {
                        tracing::error!(%error, "the leader could not be told that this node listens");
                    }
                    return;
                }
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::warn!(%error, "nobody can follow this node, and it does not vote, until the port is free");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(AGAIN_AFTER) => {}
            }
        }
    }
}
