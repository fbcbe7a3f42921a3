//! One task per peer: finds its databases and keeps a WebSocket to it open.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderValue;
use futures_util::{SinkExt, StreamExt};
use holdfast_core::id::DatabaseName;
use holdfast_core::limits::HINT_BYTES_MAX;
use holdfast_core::time::Millis;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::sync::DropGuard;

use crate::databases::Asker;
use crate::sync::Sync;
use crate::sync::hints::{Conversation, health_check};
use crate::sync::peer_client::{CALLER_HEADER, PEER_INACTIVE, PeerError, cause};
use crate::sync::registry::Peer;
use crate::{clock, entropy};

/// A connection on which nothing was heard for so long is made anew.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long news of what others have sent us may wait for more of it.
const TELL_WITHIN: Duration = Duration::from_millis(15);
/// First and longest wait before a lost connection is made again.
const RECONNECT_MIN: Duration = Duration::from_secs(1);
const RECONNECT_MAX: Duration = Duration::from_secs(30);

/// How the connection to a peer is doing.
#[derive(Debug, Clone, Default)]
pub struct LinkStatus {
    /// Whether the WebSocket is open.
    pub is_connected: bool,
    /// When anything last came over it.
    pub heard: Option<std::time::Instant>,
    /// When it was last lost, or left without an answer for too long.
    pub doubted: Option<std::time::Instant>,
    /// When it was last opened or lost.
    pub changed: Option<Millis>,
    /// Why it was lost or could not be opened.
    pub last_error: Option<String>,
    /// Why the peer's databases could not be looked up.
    pub discovery_error: Option<String>,
}

/// The connection to one peer. Dropping it ends its task.
#[derive(Debug)]
pub struct Link {
    peer: Peer,
    look: Arc<Notify>,
    status: Arc<Mutex<LinkStatus>>,
    _stop: DropGuard,
}

impl Link {
    /// Starts the task.
    pub fn start(sync: &Arc<Sync>, peer: Peer) -> Self {
        let stop = sync.stop().child_token();
        let (look, status) = (Arc::new(Notify::new()), Arc::new(Mutex::new(LinkStatus::default())));
        let task = LinkTask {
            sync: Arc::clone(sync),
            peer: peer.clone(),
            look: Arc::clone(&look),
            status: Arc::clone(&status),
        };
        let stopped = stop.clone();
        sync.tasks.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = task.discover_for_ever() => {}
                () = task.stay_connected() => {}
            }
        });
        Self { peer, look, status, _stop: stop.drop_guard() }
    }

    /// Whether it still leads to this peer as it is registered.
    pub fn is_to(&self, peer: &Peer) -> bool {
        self.peer == *peer
    }

    /// Makes it look at the peer's databases at once.
    pub fn look_for_databases(&self) {
        self.look.notify_one();
    }

    /// How it is doing.
    pub fn status(&self) -> LinkStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct LinkTask {
    sync: Arc<Sync>,
    peer: Peer,
    look: Arc<Notify>,
    status: Arc<Mutex<LinkStatus>>,
}

impl LinkTask {
    /// Creates the databases that the peer has and this node lacks, now and at every sweep.
    async fn discover_for_ever(&self) {
        loop {
            let failed = self.discover().await.err();
            // A peer that cannot be reached is asked again sooner than a quiet one.
            let wait =
                if failed.is_some() { RECONNECT_MAX.min(self.sync.tempo().sweep) } else { self.sync.tempo().sweep };
            self.note(|status| status.discovery_error = failed);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.look.notified() => {}
            }
        }
    }

    async fn discover(&self) -> Result<(), String> {
        let found = match self.sync.client.databases(&self.peer.base_url).await {
            // Its operator wants it so.
            Err(PeerError::Refused { code, .. }) if code == PEER_INACTIVE => return Ok(()),
            found => found.map_err(|error| error.to_string())?,
        };
        for one in found.databases {
            let Ok(name) = DatabaseName::parse(&one.database_name) else { continue };
            let databases = self.sync.databases();
            if databases.exists(&name) || databases.was_dropped(&name) || !self.peer.accepts(&name) {
                continue;
            }
            databases.create(&name, Asker::Peer).await.map_err(|error| error.to_string())?;
            tracing::info!(database = %name, peer = %self.peer.node, "created, to be filled by the peer");
        }
        Ok(())
    }

    async fn stay_connected(&self) {
        let mut wait = RECONNECT_MIN;
        loop {
            let connected = clock::monotonic();
            let error = self.converse().await.err().unwrap_or_else(|| "closed by the peer".to_owned());
            let had_worked = self.note(|status| {
                if status.is_connected {
                    status.doubted = Some(clock::monotonic());
                }
                status.changed = Some(Millis(clock::now_millis()));
                status.last_error = Some(error);
                std::mem::take(&mut status.is_connected)
            });
            if had_worked {
                // An exchange tells whether it was the connection alone.
                self.sync.look_at(&self.peer.node);
            }
            wait = if had_worked && connected.elapsed() > RECONNECT_MAX {
                RECONNECT_MIN
            } else {
                (wait * 2).min(RECONNECT_MAX)
            };
            tokio::time::sleep(wait + Duration::from_millis(entropy::random_u64() % 250)).await;
        }
    }

    /// One connection, from its opening to its loss.
    async fn converse(&self) -> Result<(), String> {
        let connecting = clock::monotonic();
        let mut socket = self.connect().await?;
        self.sync.reached_again(&self.peer.node, connecting);
        self.note(|status| {
            status.heard = Some(clock::monotonic());
            status.is_connected = true;
            status.changed = Some(Millis(clock::now_millis()));
            status.last_error = None;
        });
        let mut conversation = Conversation::new(Arc::clone(&self.sync), Some(self.peer.node.clone()));
        let local = &self.sync.origin().node;
        send(&mut socket, health_check(local)).await?;
        // The peer may have written while there was no connection to say so.
        self.look.notify_one();
        let mut activity = self.sync.databases().activity();
        // What was learnt while there was no connection has been told to nobody.
        let mut tell_at = Some(Instant::from_std(clock::monotonic()));
        let mut heard = clock::monotonic();
        // Since when an answer is waited for, and whether it has not come in time.
        let (mut asked, mut is_silent) = (Some(heard), false);
        let mut health = tokio::time::interval(self.sync.tempo().patience().health_check_every());
        health.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                frame = socket.next() => {
                    heard = clock::monotonic();
                    asked = None;
                    self.note(|status| status.heard = Some(heard));
                    if std::mem::take(&mut is_silent) {
                        self.sync.look_at(&self.peer.node);
                    }
                    match frame {
                        None => return Ok(()),
                        Some(Err(error)) => return Err(cause(&error)),
                        Some(Ok(Message::Text(text))) => {
                            if let Some(answer) = conversation.receive(&text) {
                                send(&mut socket, answer).await?;
                            }
                        }
                        Some(Ok(Message::Close(_))) => return Ok(()),
                        Some(Ok(_)) => {}
                    }
                }
                Ok(()) = activity.changed(), if tell_at.is_none() => {
                    tell_at = Some(Instant::from_std(clock::monotonic() + TELL_WITHIN));
                }
                () = sleep_until(tell_at), if tell_at.is_some() => {
                    tell_at = None;
                    for frame in conversation.standings() {
                        send(&mut socket, frame).await?;
                    }
                }
                () = sleep_until(self.answer_due(asked)), if asked.is_some() && !is_silent => {
                    is_silent = true;
                    self.note(|status| status.doubted = Some(clock::monotonic()));
                    self.sync.look_at(&self.peer.node);
                }
                _ = health.tick() => {
                    if heard.elapsed() > SILENCE_MAX + self.sync.tempo().acknowledge_within {
                        return Err("silent for too long".to_owned());
                    }
                    asked.get_or_insert_with(clock::monotonic);
                    send(&mut socket, health_check(local)).await?;
                }
            }
        }
    }

    /// When an answer to what was asked then is late.
    fn answer_due(&self, asked: Option<std::time::Instant>) -> Option<Instant> {
        asked.map(|asked| Instant::from_std(asked + self.sync.tempo().acknowledge_within))
    }

    async fn connect(&self) -> Result<Socket, String> {
        let url = format!("{}/ws/replication", self.peer.base_url.replacen("http", "ws", 1));
        let mut request = url.into_client_request().map_err(|error| cause(&error))?;
        let secret = self.sync.client.secret();
        request.headers_mut().insert("ReplicationApiKey", HeaderValue::clone(secret));
        request.headers_mut().insert(CALLER_HEADER, HeaderValue::clone(self.sync.client.caller()));
        let config =
            WebSocketConfig::default().max_message_size(Some(HINT_BYTES_MAX)).max_frame_size(Some(HINT_BYTES_MAX));
        let connecting = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
        let connected = tokio::time::timeout(self.sync.tempo().acknowledge_within, connecting).await;
        let (socket, _) = connected.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
        Ok(socket)
    }

    fn note<T>(&self, change: impl FnOnce(&mut LinkStatus) -> T) -> T {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// Waits until then, if there is a then.
async fn sleep_until(then: Option<Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then).await,
        None => std::future::pending().await,
    }
}

async fn send(socket: &mut Socket, text: String) -> Result<(), String> {
    socket.send(Message::text(text)).await.map_err(|error| cause(&error))
}
