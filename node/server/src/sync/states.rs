//! Taking a peer's states, and giving ours: for nodes that cannot catch up by operations.
//!
//! ```text
//!   refused, or a stranger among the operations ─► look at the peer's states: is a transfer needed, and which?
//!     ─► pages into files beside the database ─► carry over what is ours alone ─► the new files serve
//! ```
//!
//! Must stay true: the decision is made on our own newest knowledge; a transfer that is cut goes on where it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_core::id::{DatabaseName, OperationId};
use holdfast_core::limits::{BRANCH_SEQUENCES_MAX, EXCHANGE_BYTES_TARGET, EXCHANGE_OPERATIONS_MAX};
use holdfast_core::sync::admission::{self, Cause, Side};
use holdfast_core::sync::message::{PROTOCOL, Standing};
use holdfast_core::sync::states::{BranchRequest, States, StatesHead, StatesRequest};
use holdfast_core::vector::{Dot, Origin, Position, Sequence};
use holdfast_storage::error::StorageError;
use holdfast_storage::log::ReadLimit;
use holdfast_storage::record::note::Adoption;
use holdfast_storage::record::operation::Entry;
use holdfast_storage::transfer::page::{StatePage, decode_page, encode_page, letters_of};
use holdfast_storage::transfer::{Carried, Ending, Source, adoption_of};

use crate::databases::OpenDatabase;
use crate::sync::Sync;
use crate::sync::giver::Giver;
use crate::sync::peer_client::PeerError;

/// What a page of states is sent as.
pub const STATES_CONTENT_TYPE: &str = "application/x-holdfast-states";
/// The problem of a pull whose asker knows less than our log still holds.
pub const STATES_NEEDED: &str = "states-needed";
/// The problem of a push that does not fit what is here.
pub const REBASE_NEEDED: &str = "rebase-needed";
/// The problem of a node whose name another node goes on under.
pub const NAME_TAKEN: &str = "node-name-taken";

/// Bytes of the length before a head.
const LENGTH_BYTES: usize = 4;
/// Largest head that is read.
const HEAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What became of looking at a peer's states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was to be done.
    Unneeded,
    /// The database was made anew.
    Done(admission::Transfer, Carried),
}

/// A page of our states with its head, as it is sent.
pub fn page_for_peer(database: &OpenDatabase, standing: Standing, after: Position) -> Result<Vec<u8>, StorageError> {
    let view = database.view()?;
    let floor = database.log()?.floor()?;
    let limit = ReadLimit { operations: EXCHANGE_OPERATIONS_MAX, bytes: EXCHANGE_BYTES_TARGET };
    let mut page = view.states_after(after, limit)?;
    if !page.has_more {
        page.letters = letters_of(&view, &database.log()?)?;
    }
    let Adoption { vector, chains, members, graves, collections } = adoption_of(&view)?;
    // Of the same moment as the page: that is what whoever has read to its end knows.
    let standing = Standing { vector, newest: view.state()?.position, ..standing };
    let head = StatesHead::from(&States { standing, floor, graves, chains, members, collections });
    let head =
        serde_json::to_vec(&head).map_err(|error| StorageError::damaged("a head of states", error.to_string()))?;
    let mut body = Vec::with_capacity(head.len() + EXCHANGE_BYTES_TARGET / 4);
    body.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes());
    body.extend_from_slice(&head);
    body.extend_from_slice(&encode_page(&page));
    Ok(body)
}

/// Reads what [`page_for_peer`] wrote, believing nothing.
pub fn read_page(body: &[u8]) -> Result<(States, StatePage), PeerError> {
    let nonsense = |reason: String| PeerError::Nonsense(reason);
    let (length, rest) = body.split_at_checked(LENGTH_BYTES).ok_or_else(|| nonsense("a page without a head".into()))?;
    let length = <[u8; LENGTH_BYTES]>::try_from(length).map_err(|_| nonsense("a page without a head".into()))?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > HEAD_BYTES_MAX {
        return Err(nonsense(format!("a head of {length} bytes")));
    }
    let (head, page) = rest.split_at_checked(length).ok_or_else(|| nonsense("a head that is cut off".into()))?;
    let head: StatesHead = serde_json::from_slice(head).map_err(|error| nonsense(error.to_string()))?;
    let states = head.parse().map_err(|refusal| nonsense(refusal.to_string()))?;
    let page = decode_page(page).map_err(|refusal| nonsense(refusal.to_string()))?;
    Ok((states, page))
}

/// The operations of an origin that the log holds: those asked for, or all.
pub fn ids_of_origin(
    database: &OpenDatabase,
    origin: &Origin,
    asked: Option<&[Sequence]>,
) -> Result<BTreeMap<Sequence, OperationId>, StorageError> {
    let mut found = BTreeMap::new();
    database.log()?.scan(Position::START, |entry| {
        if let Entry::Operation(logged) = entry
            && logged.operation.dot.origin == *origin
            && asked.is_none_or(|asked| asked.contains(&logged.operation.dot.sequence))
        {
            found.insert(logged.operation.dot.sequence, logged.operation.id);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Looks at a peer's states and takes them if that is needed. `stranger` is an operation that did not fit; for
/// [`Cause::Forgotten`] one of ours, that the peer could not judge.
pub async fn look(
    sync: &Sync,
    peer: &Giver,
    database: &Arc<OpenDatabase>,
    stranger: Option<&Dot>,
    cause: Cause,
) -> Result<Outcome, String> {
    let name = database.name().clone();
    let (first, page) = ask(sync, peer, &name, None, Position::START).await?;
    let me = database.origin();
    let before = database.view().and_then(|view| view.state()).map_err(|error| error.to_string())?.vector.get(me);
    // A node that was set back may have gone on under numbers that were given out before.
    let suspect =
        stranger.map(|dot| &dot.origin).or_else(|| (first.standing.vector.get(me) > Sequence(0)).then_some(me));
    let mut forks = match suspect {
        Some(origin) => forks(sync, peer, database, &first, origin).await?,
        None => Vec::new(),
    };
    if first.standing.vector.get(me) > before && !forks.iter().any(|fork| fork.origin == *me) {
        // What is written here from now on, while the states come in, has numbers that the peer knows for something else.
        forks.push(Dot { origin: me.clone(), sequence: before.next() });
    }
    let kind = {
        let log = database.log().map_err(|error| error.to_string())?;
        let state = database.view().and_then(|view| view.state()).map_err(|error| error.to_string())?;
        let floor = log.floor().map_err(|error| error.to_string())?;
        let ours = Side { origin: database.origin(), vector: &state.vector, graves: &state.graves, floor: &floor };
        let theirs = Side {
            origin: &first.standing.origin,
            vector: &first.standing.vector,
            graves: &first.graves,
            floor: &first.floor,
        };
        let cause = if forks.is_empty() { cause } else { Cause::Branched };
        admission::transfer((&ours, &state.members), (&theirs, &first.members), cause)
    };
    match kind {
        admission::Transfer::Unneeded => return Ok(Outcome::Unneeded),
        admission::Transfer::TheirTurn => {
            return Err(format!(
                "both nodes have forgotten what the other has not seen: {} takes our states first",
                peer.node
            ));
        }
        admission::Transfer::Merge | admission::Transfer::Rebase => {}
    }
    let is_plain = kind == admission::Transfer::Merge;
    if is_plain {
        tracing::info!(peer = %peer.node, database = %name, "taking the peer's states: the log does not reach back");
    } else {
        tracing::warn!(peer = %peer.node, database = %name, ?kind, "taking the peer's states");
    }
    let log_id = first.standing.log_id;
    let source = Source { node: peer.node.clone(), log_id };
    let begun = sync.databases().begin_transfer(&name, &source).await;
    let mut incoming = begun.map_err(|error| error.to_string())?;
    let (mut head, mut page) = (first, page);
    let letters = loop {
        let next = if page.after != incoming.cursor() {
            ask(sync, peer, &name, Some(log_id), incoming.cursor()).await
        } else if page.has_more {
            // Fetched while this one is being written. One that does not follow is left aside above.
            let following = ask(sync, peer, &name, Some(log_id), page.through);
            let (taken, next) = tokio::join!(incoming.take(page), following);
            incoming = taken.map_err(|error| error.to_string())?;
            next
        } else {
            let letters = std::mem::take(&mut page.letters);
            incoming = incoming.take(page).await.map_err(|error| error.to_string())?;
            break letters;
        };
        (head, page) = next?;
        if head.standing.log_id != log_id {
            return Err("it was made anew or set back while its states were taken; starting over".to_owned());
        }
    };
    let adoption = Adoption {
        vector: head.standing.vector,
        chains: head.chains,
        members: head.members,
        graves: head.graves,
        collections: head.collections,
    };
    let ending = Ending { adoption, letters, kind, branches: forks };
    let carried = sync.databases().finish_transfer(incoming, ending).await.map_err(|error| error.to_string())?;
    if is_plain && carried.reissued == 0 {
        tracing::info!(peer = %peer.node, database = %name, kept = carried.kept, "the peer's states are here");
    } else {
        tracing::warn!(
            peer = %peer.node, database = %name, ?kind, kept = carried.kept, reissued = carried.reissued,
            "the peer's states are here, and what was ours alone with them"
        );
    }
    Ok(Outcome::Done(kind, carried))
}

async fn ask(
    sync: &Sync,
    peer: &Giver,
    database: &DatabaseName,
    log_id: Option<u64>,
    after: Position,
) -> Result<(States, StatePage), String> {
    let request = StatesRequest {
        protocol: PROTOCOL,
        requesting_node_id: sync.origin().node.to_string(),
        requesting_incarnation: format!("{:016x}", sync.origin().incarnation),
        after_log_sequence: after.0,
        log_id: log_id.map(|log_id| format!("{log_id:016x}")),
    };
    let body = peer.states(&sync.client, database, &request).await;
    let (states, page) = body.and_then(|body| read_page(&body)).map_err(|error| error.to_string())?;
    if states.standing.origin.node != peer.node {
        return Err(format!("answers as '{}': correct its BaseUrl", states.standing.origin.node));
    }
    Ok((states, page))
}

/// Where our branch of an origin leaves the peer's, if it does and it is ours that gives way: always when the origin is
/// our own, else when our first differing operation has the greater id.
async fn forks(
    sync: &Sync,
    peer: &Giver,
    database: &Arc<OpenDatabase>,
    theirs: &States,
    origin: &Origin,
) -> Result<Vec<Dot>, String> {
    let (held, of) = (Arc::clone(database), origin.clone());
    let ours = tokio::task::spawn_blocking(move || ids_of_origin(&held, &of, None));
    let ours = ours.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let reach = theirs.standing.vector.get(origin);
    let shared: Vec<(Sequence, OperationId)> = ours.into_iter().filter(|(sequence, _)| *sequence <= reach).collect();
    // Invariant of the search: all before `low` agree; at `high`, if there is one, they differ.
    let (mut low, mut high) = (0, shared.len());
    let mut different = None;
    while low < high {
        let step = (high - low).div_ceil(BRANCH_SEQUENCES_MAX).max(1);
        let asked: Vec<usize> = (low..high).step_by(step).chain([high - 1]).take(BRANCH_SEQUENCES_MAX).collect();
        let sequences = asked.iter().filter_map(|at| Some(shared.get(*at)?.0.0)).collect();
        let request = BranchRequest { origin: origin.to_string(), sequences };
        let answer = peer.branch(&sync.client, database.name(), &request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let mut next_low = high;
        for at in asked {
            let Some((sequence, id)) = shared.get(at) else { continue };
            // What its log no longer holds was settled long ago.
            let Some(theirs) = answer.operations.get(&sequence.0) else { continue };
            let theirs: OperationId = theirs.parse().map_err(|_| "answers with an id that is none".to_owned())?;
            if theirs == *id {
                low = at + 1;
            } else {
                different = Some((Dot { origin: origin.clone(), sequence: *sequence }, *id, theirs));
                next_low = at;
                break;
            }
        }
        if next_low >= high {
            break;
        }
        high = next_low;
    }
    if different.is_none() && *origin == *database.origin() {
        return Ok(unconfirmed(database, peer, &shared, theirs)?.into_iter().collect());
    }
    match different {
        Some((fork, ours, theirs)) if *origin == *database.origin() || ours > theirs => Ok(vec![fork]),
        Some((fork, ..)) => {
            Err(format!("holds another branch of {origin} from {fork} on; it takes our states when it next calls us"))
        }
        None => Ok(Vec::new()),
    }
}

/// The first operation of our own that the peer may only seem to know: it has seen our sequence, its log no longer says
/// which operation that was, and it had not confirmed ours when we last knew.
fn unconfirmed(
    database: &OpenDatabase,
    peer: &Giver,
    shared: &[(Sequence, OperationId)],
    theirs: &States,
) -> Result<Option<Dot>, String> {
    let me = database.origin();
    let forgotten = theirs.floor.get(me);
    let is_behind_itself = {
        let state = database.view().and_then(|view| view.state()).map_err(|error| error.to_string())?;
        theirs.standing.vector.get(me) > state.vector.get(me)
    };
    if !is_behind_itself {
        return Ok(None);
    }
    let log = database.log().map_err(|error| error.to_string())?;
    let confirmed = log.checkpoint(peer.node.as_str()).map_err(|error| error.to_string())?;
    let confirmed = confirmed.map_or(Position::START, |checkpoint| checkpoint.pushed);
    let mut first = None;
    log.scan(confirmed, |entry| {
        if let Entry::Operation(logged) = entry
            && first.is_none()
            && logged.operation.dot.origin == *me
            && logged.operation.dot.sequence <= forgotten
            && shared.iter().any(|(sequence, _)| *sequence == logged.operation.dot.sequence)
        {
            first = Some(logged.operation.dot);
        }
        Ok(())
    })
    .map_err(|error| error.to_string())?;
    Ok(first)
}
