//! The replication port: who dials is greeted, and then follows, asks, or goes.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::error::Refusal;
use holdfast_core::id::NodeName;
use holdfast_core::replica::epoch::Epoch;
use holdfast_core::replica::frame::Kind;
use holdfast_core::replica::handshake::Purpose;
use holdfast_core::replica::lane::Direction;
use holdfast_core::replica::message::{self, Control, ControlAnswer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::replica::ReplicaGroup;
use crate::replica::follower::{FollowError, connect};
use crate::replica::greeting::{self, GreetError, STEP_WITHIN};
use crate::replica::joining::JoinError;
use crate::replica::session::{Session, SessionError};
use crate::replica::wire::{Outgoing, WireError, read_frame, write_frame};

/// A task.
type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Connections that are greeted at once.
const GREETED_AT_ONCE: usize = 256;
/// When fewer places than this are left, whoever is slow to greet loses theirs soon.
const CROWDED_BELOW: usize = GREETED_AT_ONCE / 2;
/// How soon.
const CROWDED_WITHIN: Duration = Duration::from_secs(1);
/// Pause after the system could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a control message may take, end to end.
const CONTROL_WITHIN: Duration = Duration::from_secs(5);

/// Listens until it is told to stop. Boxed, for what is heard here may lead to listening elsewhere.
pub(super) fn listen(group: Arc<ReplicaGroup>, listener: TcpListener, stop: CancellationToken) -> BoxFuture {
    Box::pin(accept(group, listener, stop))
}

async fn accept(group: Arc<ReplicaGroup>, listener: TcpListener, stop: CancellationToken) {
    let greeted = Arc::new(Semaphore::new(GREETED_AT_ONCE));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection to the replication port was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&greeted).try_acquire_owned() else {
            group.note_crowd(address);
            continue;
        };
        let within = if greeted.available_permits() < CROWDED_BELOW { CROWDED_WITHIN } else { STEP_WITHIN };
        let (group, stop) = (Arc::clone(&group), stop.clone());
        group.clone().spawn(async move {
            if let Err(error) = serve(&group, stream, (address, within), place, stop).await {
                group.note_refused(address, &error);
            }
        });
    }
}

async fn serve(
    group: &Arc<ReplicaGroup>,
    stream: TcpStream,
    (address, within): (SocketAddr, Duration),
    place: tokio::sync::OwnedSemaphorePermit,
    stop: CancellationToken,
) -> Result<(), JoinError> {
    stream.set_nodelay(true).map_err(WireError::from)?;
    let secured = tokio::time::timeout(CONTROL_WITHIN, group.encryption().accept(stream)).await;
    let (mut reader, mut writer) =
        secured.map_err(|_| WireError::Silent("TLS was not agreed on in time"))?.map_err(WireError::from)?;
    let me = group.introduction();
    let guest = greeting::hear((&mut reader, &mut writer), &me, &group.secret(), within).await?;
    drop(place);
    match guest.purpose {
        Purpose::Control => {
            greeting::welcome(&mut writer, &me, &guest, group.leads(), &group.secret()).await?;
            let frame = match read_frame(&mut reader, true, CONTROL_WITHIN).await {
                // It wanted to know who leads, and was told.
                Err(error) if error.is_hung_up() => return Ok(()),
                frame => frame?,
            };
            if frame.kind != Kind::Control {
                return Err(GreetError::OutOfTurn.into());
            }
            let control: Result<Control, Refusal> = message::read(&frame.payload);
            let answer = match control {
                Ok(control) => group.control(control, (&guest.node, address.ip())).await,
                Err(refusal) => ControlAnswer {
                    is_granted: false,
                    reason: Some(refusal.to_string()),
                    epoch: group.epoch().as_ref().map(Epoch::to_string),
                    leader: None,
                },
            };
            let answer = Outgoing { kind: Kind::ControlAnswer, payload: message::write(&answer) };
            write_frame(&mut writer, group.epoch_number(), &answer).await?;
            Ok(())
        }
        Purpose::Follow => {
            if let Some(epoch) = guest.epoch.as_ref().filter(|_| !guest.is_joining) {
                // Whoever comes with a greater epoch tells an old leader that it is one.
                let leader = guest.leader.as_ref().map(|leader| (at_host(leader, address.ip()), None));
                group.see_epoch(epoch, leader);
            }
            if let Err(refusal) = group.may_be_followed(&guest) {
                let me = group.introduction();
                greeting::refuse(&mut writer, &me, &refusal.code, &refusal.reason, refusal.leader).await;
                tracing::info!(from = %guest.node, reason = refusal.reason, "a follower was refused");
                return Ok(());
            }
            let me = group.introduction();
            greeting::welcome(&mut writer, &me, &guest, group.leads(), &group.secret()).await?;
            if guest.is_joining
                && let Err(refusal) = group.let_join((&mut reader, &mut writer), &guest).await?
            {
                greeting::refuse(&mut writer, &me, &refusal.code, &refusal.reason, refusal.leader).await;
                tracing::warn!(from = %guest.node, %address, reason = refusal.reason, "a node was not let into this group");
                return Ok(());
            }
            let stop = group.note_follower(&guest, address, &stop);
            let node = guest.node;
            let ended =
                Session::run(Arc::clone(group), node.clone(), Direction::Down, (reader, writer), stop.clone()).await;
            group.note_follower_gone(&node, &stop, &ended);
            if let SessionError::Refused(refused) = &ended {
                group.refused_by_follower(&node, refused);
            }
            Ok(())
        }
    }
}

/// Says something about who leads to another node, and gives its answer.
pub(super) async fn say(
    group: &ReplicaGroup,
    endpoint: &str,
    control: &Control,
) -> Result<(NodeName, ControlAnswer), FollowError> {
    let greet = |error| FollowError::Greeting(endpoint.to_owned(), error);
    let (mut reader, mut writer) = connect(group, endpoint).await?;
    let me = group.introduction();
    let dialled = greeting::dial((&mut reader, &mut writer), &me, Purpose::Control, &group.secret()).await;
    let host = dialled.map_err(greet)?;
    let number = me.epoch.as_ref().map_or(0, |epoch| epoch.number);
    let frame = Outgoing { kind: Kind::Control, payload: message::write(control) };
    write_frame(&mut writer, number, &frame).await.map_err(|error| greet(error.into()))?;
    let answer = read_frame(&mut reader, true, CONTROL_WITHIN).await.map_err(|error| greet(error.into()))?;
    if answer.kind != Kind::ControlAnswer {
        return Err(greet(GreetError::OutOfTurn));
    }
    let answer = message::read(&answer.payload);
    answer.map(|answer| (host.node, answer)).map_err(|refusal| FollowError::Session(SessionError::Nonsense(refusal)))
}

/// An endpoint as somebody at this address has told it: without a host it is theirs.
pub(super) fn at_host(endpoint: &str, from: IpAddr) -> String {
    match (endpoint.starts_with(':'), from) {
        (false, _) => endpoint.to_owned(),
        (true, IpAddr::V4(from)) => format!("{from}{endpoint}"),
        (true, IpAddr::V6(from)) => format!("[{from}]{endpoint}"),
    }
}
