//! The replication port: opened, moved, closed.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use holdfast_core::replica::role::Role;

use crate::replica::events::GroupEvent;
use crate::replica::{GroupError, Listening, ReplicaGroup, listener};
use crate::settings::url::{self, ListenHost};
use crate::sockets;

impl ReplicaGroup {
    /// Opens the port for followers.
    pub(super) async fn listen(self: &Arc<Self>, port: u16) -> Result<(), GroupError> {
        // Port 0 is any that is free.
        if self.listening_port().is_some_and(|open| open == port || port == 0) {
            return Ok(());
        }
        self.refuse_open_port()?;
        let failed = |reason: String| GroupError::Port { port, reason };
        let host = url::parse_host(&self.options.bind_address).map_err(failed)?;
        let listeners = sockets::open(host, port).await.map_err(|error| failed(error.to_string()))?;
        let chosen = listeners.first().and_then(|listener| listener.local_addr().ok());
        let port = chosen.map_or(port, |address| address.port());
        let stop = self.stop.child_token();
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = listening.replace(Listening { port, stop: stop.clone() }) {
            before.stop.cancel();
        }
        drop(listening);
        *self.port_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
        tracing::info!(port, "followers connect here");
        self.news.tell(GroupEvent::Listens { port });
        for listener in listeners {
            self.spawn(listener::listen(Arc::clone(self), listener, stop.clone()));
        }
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
        *self.port_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listening) = listening {
            listening.stop.cancel();
        }
    }

    /// Why the port for followers is not open, while it should be and is tried again and again.
    pub fn port_error(&self) -> Option<String> {
        self.port_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell_of_port(&self, reason: String) {
        if self.is_leader() {
            tracing::error!(
                reason,
                "this node leads, and nobody can follow it until the port is free; it is tried again"
            );
        } else {
            tracing::warn!(reason, "nobody can follow this node, and it does not vote, until the port is free");
        }
        self.news.tell(GroupEvent::PortTaken { port: self.port_to_lead(), reason });
    }

    /// Refuses a port that other machines can reach without a secret.
    pub(super) fn refuse_open_port(&self) -> Result<(), GroupError> {
        let is_loopback = url::parse_host(&self.options.bind_address).is_ok_and(ListenHost::is_loopback);
        if is_loopback || !self.secret().is_blank() {
            return Ok(());
        }
        Err(GroupError::Unknown(
            "other machines can reach Replication:BindAddress, and there is no secret: whoever connects would get every \
             document; give one as sharedSecret or in Replication:Secret"
                .to_owned(),
        ))
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
                Err(error) => {
                    let reason = error.to_string();
                    if self.listening_port().is_some() {
                        return;
                    }
                    *self.port_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.clone());
                    if !is_told {
                        is_told = true;
                        self.tell_of_port(reason);
                    }
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(AGAIN_AFTER) => {}
            }
        }
    }
}
