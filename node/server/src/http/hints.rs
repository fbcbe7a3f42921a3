//! `GET /ws/replication`: the WebSocket on which peers send each other hints.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRef, State};
use axum::response::Response;
use axum::routing::get;
use holdfast_core::limits::HINT_BYTES_MAX;

use crate::clock;
use crate::http::access::AccessControl;
use crate::http::error::ApiError;
use crate::http::from_peer::FromPeer;
use crate::sync::Sync;
use crate::sync::hints::Conversation;

/// A connection on which nothing was heard for so long is closed; the other side checks it twice as often.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// Largest frame that is read at all; one over [`HINT_BYTES_MAX`] is answered with a reason, not just cut.
const FRAME_BYTES_MAX: usize = HINT_BYTES_MAX * 4;

/// The route of this file.
pub fn routes<S>() -> Router<S>
where
    S: Clone + Send + std::marker::Sync + 'static,
    Arc<Sync>: FromRef<S>,
    Arc<AccessControl>: FromRef<S>,
{
    Router::new().route("/ws/replication", get(upgrade))
}

async fn upgrade(
    _from: FromPeer,
    State(sync): State<Arc<Sync>>,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let socket = socket.map_err(|_| {
        ApiError::bad_request("websocket-required", "A WebSocket request is required.")
            .with_error("A WebSocket request is required.")
    })?;
    let socket = socket.max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX);
    Ok(socket.on_upgrade(move |socket| serve(sync, socket)))
}

async fn serve(sync: Arc<Sync>, mut socket: WebSocket) {
    let mut conversation = Conversation::new(Arc::clone(&sync), None);
    let mut joined = None;
    let mut activity = sync.databases().activity();
    let mut heard = clock::monotonic();
    loop {
        let left = SILENCE_MAX.saturating_sub(heard.elapsed());
        let outgoing = tokio::select! {
            () = sync.stop().cancelled() => break,
            () = tokio::time::sleep(left) => break,
            changed = activity.changed() => match changed {
                Ok(()) => conversation.news(),
                Err(_) => break,
            },
            frame = socket.recv() => {
                heard = clock::monotonic();
                match frame {
                    Some(Ok(Message::Text(text))) if text.len() > HINT_BYTES_MAX => {
                        let reason = CloseFrame { code: close_code::SIZE, reason: "message-too-big".into() };
                        drop(socket.send(Message::Close(Some(reason))).await);
                        break;
                    }
                    Some(Ok(Message::Text(text))) => {
                        let answer = conversation.receive(&text);
                        // A frame says who is there, or that a hint has arrived: either may free news that waited.
                        answer.into_iter().chain(conversation.news()).collect()
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_))) => Vec::new(),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                }
            }
        };
        if joined.is_none()
            && let Some(remote) = conversation.remote()
        {
            sync.hub().joined(remote);
            joined = Some(remote.clone());
        }
        for text in outgoing {
            if socket.send(Message::text(text)).await.is_err() {
                break;
            }
        }
    }
    if let Some(remote) = joined {
        sync.hub().left(&remote);
    }
}
