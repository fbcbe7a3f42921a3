//! Taking a peer's states, and giving ours: for nodes that cannot catch up by operations.
//!
//! ```text
//!   refused, or a stranger among the operations ─► look at the peer's states: is a transfer needed, and which?
//!     ─► pages into files beside the database ─► carry over what is ours alone ─► the new files serve
//! ```
//!
//! Must stay true: the decision is made on our own newest knowledge; a transfer that is cut goes on where it was, over a
//! restart too, as long as it is from the same log of the same node. A page is taken whole or not at all, so how large
//! pages are is left to the line: [`Portion`]. The first question asks for no document: where to go on is known after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_core::chain::Chains;
use holdfast_core::id::DatabaseName;
use holdfast_core::limits::EXCHANGE_OPERATIONS_MAX;
use holdfast_core::operation::Operation;
use holdfast_core::sync::admission::{self, Cause, Side};
use holdfast_core::sync::branches::{self, Evidence, Forks, Held, Known, Search, Sides, Verdict};
use holdfast_core::sync::message::{PROTOCOL, Standing};
use holdfast_core::sync::portion::Portion;
use holdfast_core::sync::states::{BranchRequest, COMPRESSION, States, StatesHead, StatesRequest};
use holdfast_core::time::Millis;
use holdfast_core::trail::Stated;
use holdfast_core::vector::{Dot, Origin, Position, Sequence, Vector};
use holdfast_storage::error::StorageError;
use holdfast_storage::log::{LogView, ReadLimit};
use holdfast_storage::record::note::Adoption;
use holdfast_storage::record::operation::Entry;
use holdfast_storage::transfer::page::{StatePage, decode_page, encode_page, letters_of};
use holdfast_storage::transfer::{Carried, Ending, Source, adoption_of};
use holdfast_storage::view::ReadView;

use crate::clock;
use crate::databases::{Asker, Incoming, OpenDatabase};
use crate::sync::giver::Giver;
use crate::sync::peer_client::PeerError;
use crate::sync::{Sync, envelope};

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was to be done.
    Unneeded,
    /// The peer holds another branch of this origin, which gives way: it takes our states.
    TheirBranch(Origin),
    /// Deletes were forgotten here that the peer has not seen: it takes our states first.
    TheirTurn,
    /// The database was made anew.
    Done(admission::Transfer, Carried),
}

/// A page of our states with its head, as it is sent: after a position of our log, and as the request wants it.
pub fn page_for_peer(
    database: &OpenDatabase,
    standing: Standing,
    request: &StatesRequest,
    after: Position,
) -> Result<Vec<u8>, StorageError> {
    let limit = ReadLimit { operations: EXCHANGE_OPERATIONS_MAX, bytes: request.size() };
    page_of((&*database.view()?, &database.log()?), standing, (after, limit), request.is_compressed())
}

/// The same of a moment, with so much on the page.
pub fn page_of(
    (view, log): (&ReadView, &LogView),
    standing: Standing,
    (after, limit): (Position, ReadLimit),
    is_compressed: bool,
) -> Result<Vec<u8>, StorageError> {
    let floor = log.floor()?;
    let mut page = view.states_after(after, limit)?;
    if !page.has_more {
        page.letters = letters_of(view, log)?;
    }
    let Adoption { vector, chains, members, graves, collections } = adoption_of(view)?;
    // Of the same moment as the page: that is what whoever has read to its end knows.
    let standing = Standing { vector, newest: view.state()?.position, ..standing };
    let passed = log.trail().told(&standing.vector);
    let mut head = StatesHead::from(&States { standing, floor, graves, chains, passed, members, collections });
    let mut page = encode_page(&page);
    if is_compressed {
        head.compression = Some(COMPRESSION.to_owned());
        page = envelope::seal(&page);
    }
    let head =
        serde_json::to_vec(&head).map_err(|error| StorageError::damaged("a head of states", error.to_string()))?;
    let mut body = Vec::with_capacity(LENGTH_BYTES + head.len() + page.len());
    body.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes());
    body.extend_from_slice(&head);
    body.extend_from_slice(&page);
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
    let page = match head.compression.as_deref() {
        None => decode_page(page),
        Some(COMPRESSION) => envelope::open(page, decode_page),
        Some(other) => return Err(nonsense(format!("a page compressed with '{other}', which nobody asked for"))),
    };
    Ok((states, page.map_err(|refusal| nonsense(refusal.to_string()))?))
}

/// Looks at a peer's states and takes them if that is needed.
pub async fn look(sync: &Sync, peer: &Giver, database: &Arc<OpenDatabase>, cause: Cause) -> Result<Outcome, String> {
    let name = database.name().clone();
    let (first, page) = ask(sync, peer, &name, (None, Position::START), 0).await?;
    let forks = match forks(sync, peer, database, &first).await? {
        Parting::Ours(forks) => forks,
        Parting::Theirs(fork) => {
            tracing::warn!(peer = %peer.node, database = %name, %fork, "the peer's branch of an origin gives way to ours");
            return Ok(Outcome::TheirBranch(fork.origin));
        }
    };
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
        let cause = if forks.first.is_empty() { cause } else { Cause::Branched };
        admission::transfer((&ours, &state.members), (&theirs, &first.members), cause)
    };
    match kind {
        admission::Transfer::Unneeded => return Ok(Outcome::Unneeded),
        admission::Transfer::TheirTurn => {
            tracing::info!(peer = %peer.node, database = %name, "the peer takes our states first: deletes were forgotten here that it has not seen");
            return Ok(Outcome::TheirTurn);
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
    let incoming = begun.map_err(|error| error.to_string())?;
    if incoming.cursor() > Position::START {
        let (from, newest) = (incoming.cursor(), first.standing.newest);
        tracing::info!(peer = %peer.node, database = %name, %from, %newest, "a transfer that was cut goes on where it was");
    }
    let Gathered { incoming, head, letters } = gather(sync, peer, &name, incoming, (first, page)).await?;
    let adoption = Adoption {
        vector: head.standing.vector,
        chains: head.chains,
        members: head.members,
        graves: head.graves,
        collections: head.collections,
    };
    if let Some(closed) = sync.resting().filter(|_| peer.asker == Asker::Peer) {
        return Err(format!("the states were not taken: {closed}"));
    }
    let ending = Ending { adoption, letters, kind, forks, passed: head.passed };
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

/// A transfer that has all pages.
struct Gathered {
    incoming: Incoming,
    /// What came with the last of them …
    head: States,
    /// … and what is parked there.
    letters: Vec<(Position, Operation)>,
}

/// Takes pages until the peer has no more.
async fn gather(
    sync: &Sync,
    peer: &Giver,
    name: &DatabaseName,
    mut incoming: Incoming,
    (mut head, mut page): (States, StatePage),
) -> Result<Gathered, String> {
    let log_id = head.standing.log_id;
    let mut portion = Portion::default();
    loop {
        let is_head_alone = page.states.is_empty() && page.has_more;
        let next = if page.after != incoming.cursor() || is_head_alone {
            next_page(sync, peer, name, (log_id, incoming.cursor()), &mut portion).await
        } else if page.has_more {
            // Fetched while this one is being written. One that does not follow is left aside above.
            let following = next_page(sync, peer, name, (log_id, page.through), &mut portion);
            let (taken, next) = tokio::join!(incoming.take(page), following);
            incoming = taken.map_err(|error| error.to_string())?;
            next
        } else {
            let letters = std::mem::take(&mut page.letters);
            incoming = incoming.take(page).await.map_err(|error| error.to_string())?;
            return Ok(Gathered { incoming, head, letters });
        };
        (head, page) = next?;
        if head.standing.log_id != log_id {
            return Err("it was made anew or set back while its states were taken; starting over".to_owned());
        }
    }
}

/// Asks for a page of the size that the line bears, and learns from how long it takes.
async fn next_page(
    sync: &Sync,
    peer: &Giver,
    name: &DatabaseName,
    (log_id, after): (u64, Position),
    portion: &mut Portion,
) -> Result<(States, StatePage), String> {
    let asked = clock::monotonic();
    let (head, page) = ask(sync, peer, name, (Some(log_id), after), portion.bytes()).await?;
    portion.came(Millis(u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX)));
    if page.has_more && page.states.is_empty() {
        return Err("it says that there are more documents, and gives none".to_owned());
    }
    Ok((head, page))
}

async fn ask(
    sync: &Sync,
    peer: &Giver,
    database: &DatabaseName,
    (log_id, after): (Option<u64>, Position),
    bytes_max: usize,
) -> Result<(States, StatePage), String> {
    let request = StatesRequest {
        protocol: PROTOCOL,
        requesting_node_id: sync.origin().node.to_string(),
        requesting_incarnation: format!("{:016x}", sync.origin().incarnation),
        after_log_sequence: after.0,
        log_id: log_id.map(|log_id| format!("{log_id:016x}")),
        bytes_max: Some(bytes_max as u64),
        compression: Some(COMPRESSION.to_owned()),
    };
    let body = peer.states(&sync.client, database, &request).await;
    let (states, page) = body.and_then(|body| read_page(&body)).map_err(|error| error.to_string())?;
    if states.standing.origin.node != peer.node {
        return Err(format!("answers as '{}': correct its BaseUrl", states.standing.origin.node));
    }
    Ok((states, page))
}

/// Where branches part.
enum Parting {
    /// Ours give way, if there are any.
    Ours(Forks),
    /// The peer's does.
    Theirs(Dot),
}

/// Where our branches of origins leave the peer's.
async fn forks(sync: &Sync, peer: &Giver, database: &Arc<OpenDatabase>, theirs: &States) -> Result<Parting, String> {
    let (held, of_peer) = (Arc::clone(database), (theirs.standing.vector.clone(), theirs.chains.clone()));
    let (floor, who) = (theirs.floor.clone(), theirs.standing.origin.clone());
    let failed = |error: StorageError| error.to_string();
    let evidence = database.evidence(&peer.node, theirs.standing.log_id).map_err(failed)?;
    let ours = database.view().and_then(|view| view.state()).map_err(failed)?.vector;
    let me = database.origin();
    let behind = database.behind((ours.get(me), theirs.standing.vector.get(me))).map_err(failed)?;
    let passed = theirs.passed.clone();
    let search = move || searches(&held, &who, (&of_peer.0, &of_peer.1, &passed), &floor, (&evidence, behind));
    let found = tokio::task::spawn_blocking(search);
    let found = found.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let (mut forks, mut gives_way, mut stays) = (Forks::default(), false, None);
    for mut search in found {
        while let Some(sequences) = search.question() {
            let sequences = sequences.into_iter().map(|sequence| sequence.0).collect();
            let request = BranchRequest { origin: search.origin().to_string(), sequences };
            let answer = peer.branch(&sync.client, database.name(), &request).await;
            let answer = answer.map_err(|error| error.to_string())?;
            search.take(&answer.parse().map_err(|refusal| refusal.to_string())?);
        }
        match search.verdict() {
            Verdict::Same => {}
            Verdict::Ours(fork) => {
                gives_way = true;
                forks.first.push(fork);
            }
            Verdict::Theirs(fork) => {
                stays = Some(fork.clone());
                forks.first.push(fork);
            }
        }
        if let Some((dot, told)) = search.waymark() {
            forks.waymarks.keep(dot, told);
        }
    }
    // Where one of ours gives way, its states are taken, and then none of ours is known there by its name.
    Ok(if gives_way { Parting::Ours(forks) } else { stays.map_or(Parting::Ours(forks), Parting::Theirs) })
}

/// A search for every origin of which a peer may hold another branch than we.
fn searches(
    database: &OpenDatabase,
    peer: &Origin,
    (vector, chains, passed): (&Vector, &Chains, &Stated),
    their_floor: &Vector,
    (evidence, behind): (&Evidence, Option<Sequence>),
) -> Result<Vec<Search>, StorageError> {
    let (state, log) = (database.view()?.state()?, database.log()?);
    let ours = Known { vector: &state.vector, chains: &state.chains };
    let theirs = Known { vector, chains };
    let wanted = branches::proofs(ours, theirs);
    let proofs = log.chains_before(&wanted)?;
    let mut suspects = branches::suspects(database.origin(), ours, theirs, &proofs);
    branches::believe(&mut suspects, (ours.vector, theirs.vector), evidence);
    let trail = log.trail();
    branches::believe_trails(&mut suspects, (ours.vector, theirs.vector), trail.parted(ours.vector, passed));
    let mut held: BTreeMap<Origin, Vec<Held>> = suspects.keys().map(|origin| (origin.clone(), Vec::new())).collect();
    if held.is_empty() {
        return Ok(Vec::new());
    }
    log.scan(Position::START, |entry| {
        if let Entry::Operation(logged) = entry {
            let Operation { id, dot: Dot { origin, sequence }, chain: before, .. } = logged.operation;
            if let Some(held) = held.get_mut(&origin) {
                held.push(Held { position: logged.position, sequence, id, before });
            }
        }
        Ok(())
    })?;
    for (Dot { origin, sequence }, told) in log.waymarks()?.iter() {
        if let Some(held) = held.get_mut(origin)
            && held.iter().all(|one| one.sequence != *sequence)
        {
            held.push(Held { position: Position::START, sequence: *sequence, id: told.id, before: told.before });
        }
    }
    let confirmed = log.checkpoint(peer.node.as_str())?.map_or(Position::START, |checkpoint| checkpoint.pushed);
    let search = |(origin, held): (Origin, Vec<Held>)| {
        let sides = Sides {
            me: database.origin().clone(),
            peer: peer.clone(),
            chain: state.chains.get(&origin),
            proof: suspects.get(&origin).copied().flatten(),
            ours: state.vector.get(&origin),
            theirs: theirs.vector.get(&origin),
            their_floor: their_floor.get(&origin),
            confirmed,
            behind: behind.filter(|_| origin == *database.origin()),
        };
        let equal = trail.shared_with(passed, &origin);
        Search::new(origin, sides, held).after(equal)
    };
    Ok(held.into_iter().map(search).collect())
}
