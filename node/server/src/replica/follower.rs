//! Following: the connection to the leader, made again for as long as this node follows.
//!
//! ```text
//!   the leader's address ─► dial ─► greet ─► session ─┐
//!     ▲                                               │ whatever ends it
//!     └── a pause that grows, with jitter ◄───────────┘
//!         or another address: where it was said to be, then each voter's
//! ```

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::replica::handshake::Purpose;
use holdfast_core::replica::lane::Direction;
use holdfast_core::replica::seeking::{PAUSE_MAX, Seeking, Target};
use holdfast_core::time::Millis;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::entropy;
use crate::replica::ReplicaGroup;
use crate::replica::greeting::{self, GreetError};
use crate::replica::joining::JoinError;
use crate::replica::session::{Session, SessionError};
use crate::replica::wire::{BoxedReader, BoxedWriter};

/// How long a connection may take to be made.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Why an attempt to follow ended.
#[derive(Debug, Error)]
pub enum FollowError {
    /// Nobody is there.
    #[error("{0} is not reached: {1}")]
    Unreachable(String, String),
    /// It was not greeted.
    #[error("{0}: {1}")]
    Greeting(String, GreetError),
    /// It was greeted, and not let into the group.
    #[error("{0}: {1}")]
    Joining(String, JoinError),
    /// The connection ended.
    #[error("{0}")]
    Session(SessionError),
    /// It follows somebody itself, whom it may have named.
    #[error("{0} does not lead")]
    NoLeader(String, Option<String>),
}

/// Makes a connection.
pub async fn connect(group: &ReplicaGroup, endpoint: &str) -> Result<(BoxedReader, BoxedWriter), FollowError> {
    let failed = |reason: String| FollowError::Unreachable(endpoint.to_owned(), reason);
    let made = timeout(CONNECT_WITHIN, TcpStream::connect(endpoint)).await;
    let stream = made.map_err(|_| failed("no answer".to_owned()))?.map_err(|error| failed(error.to_string()))?;
    // Small frames are waited for by whoever has written.
    stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
    let secured = timeout(CONNECT_WITHIN, group.encryption().connect(endpoint, stream)).await;
    secured.map_err(|_| failed("no answer".to_owned()))?.map_err(|error| failed(error.to_string()))
}

/// Follows until it is told to stop.
pub async fn follow(group: Arc<ReplicaGroup>, stop: CancellationToken) {
    let mut seeking = Seeking::default();
    loop {
        let Some(target) = seeking.next(group.leader_endpoint().as_deref(), group.endpoints_to_ask()) else {
            // Nobody has said yet whom to follow.
            group.note_lost();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(PAUSE_MAX.0)) => continue,
                () = group.leader_is_named() => continue,
            }
        };
        let begun = crate::clock::monotonic();
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = attempt(&group, &target, &stop) => ended,
        };
        if stop.is_cancelled() {
            return;
        }
        group.note_unfollowed(&target.endpoint, &ended);
        seeking.ended(&target, hint(&ended), group.endpoints_to_ask());
        let lasted = Millis(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        let pause = seeking.pause(lasted, entropy::random_u64());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(pause.0)) => {}
            () = group.leader_is_named() => seeking.named(),
        }
    }
}

/// Where the other side says that the leader is.
fn hint(ended: &FollowError) -> Option<&str> {
    let leader = match ended {
        FollowError::Greeting(_, GreetError::Refused(refused)) => &refused.leader,
        FollowError::Session(SessionError::Refused(refused)) => &refused.leader,
        FollowError::NoLeader(_, leader) => leader,
        _ => return None,
    };
    leader.as_deref()
}

async fn attempt(group: &Arc<ReplicaGroup>, to: &Target, stop: &CancellationToken) -> FollowError {
    let target = to.endpoint.as_str();
    group.note_dialling(target);
    let (mut reader, mut writer) = match connect(group, target).await {
        Ok(ends) => ends,
        Err(error) => return error,
    };
    let me = group.introduction();
    let greeted = greeting::dial((&mut reader, &mut writer), &me, Purpose::Follow, &group.secret()).await;
    let host = match greeted {
        Ok(host) => host,
        Err(error) => return FollowError::Greeting(target.to_owned(), error),
    };
    if !host.is_leader && !to.is_named {
        return FollowError::NoLeader(target.to_owned(), host.leader);
    }
    if let Err(error) = group.join((&mut reader, &mut writer), &host).await {
        return FollowError::Joining(target.to_owned(), error);
    }
    if let Some(epoch) = &host.epoch
        && let Err(denied) = group.hear_epoch(epoch)
    {
        let refusal = group.refusal(&denied);
        greeting::refuse(&mut writer, &group.introduction(), &refusal.code, &refusal.reason, refusal.leader).await;
        return FollowError::Session(SessionError::Denied(denied));
    }
    group.note_followed(target, &host);
    let ended = Session::run(Arc::clone(group), host.node, Direction::Up, (reader, writer), stop.clone()).await;
    FollowError::Session(ended)
}
