//! Two nodes of one name: who is refused, and what is said of it on either side.
//!
//! ```text
//!   an unknown life of a name that was just heard of ─► who answers at the name's address?
//!       the caller        ─► it goes on under a new incarnation: let in at once
//!       the other         ─► two nodes have one name: refused, and told in status, log and metrics
//!       nobody can tell   ─► refused for now; if the other speaks after that, there are two
//! ```
//!
//! Must stay true: nobody is said to be a second node of a name before the first has been heard beside it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use holdfast_core::id::DatabaseName;
use holdfast_core::vector::Origin;

use crate::clock;
use crate::databases::OpenDatabase;
use crate::sync::Sync;
use crate::sync::membership::{self, Meeting};
use crate::sync::peer_client::DatabaseStanding;

/// How long the node at an address may take to say who it is.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Callers that are kept in mind while it is open who they are; the oldest give way.
const OPEN_MAX: usize = 64;

/// Callers that were refused for their name, and since when.
#[derive(Debug, Default)]
pub struct Namesakes(Mutex<BTreeMap<(DatabaseName, Origin), Instant>>);

impl Namesakes {
    /// When a caller was first refused; now, if it was not yet.
    fn refused_since(&self, database: &DatabaseName, caller: &Origin) -> Instant {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (database.clone(), caller.clone());
        if open.len() >= OPEN_MAX
            && !open.contains_key(&key)
            && let Some(oldest) = open.iter().min_by_key(|(_, since)| **since).map(|(key, _)| key.clone())
        {
            open.remove(&oldest);
        }
        *open.entry(key).or_insert_with(clock::monotonic)
    }
}

/// What came of asking who goes by a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The caller does: it was counted in, in place of whoever went by it before.
    Caller,
    /// Another node does, at this address.
    Other(String),
    /// The name has no address here, or nothing that helps answered there.
    Unknown,
}

/// Asks at the address of a caller's name who it is that answers there.
pub async fn ask(sync: &Sync, database: &OpenDatabase, caller: &Origin) -> Asked {
    let Some(peer) = sync.registry().get(&caller.node).filter(|peer| peer.is_active) else { return Asked::Unknown };
    let answer = tokio::time::timeout(ANSWER_WITHIN, sync.client.databases(&peer.base_url)).await;
    let Ok(Ok(answer)) = answer else { return Asked::Unknown };
    let is_meant = |one: &&DatabaseStanding| one.database_name == database.name().as_str();
    let found = answer.databases.iter().find(is_meant).and_then(|one| one.standing.parse().ok());
    match found.map(|standing| standing.origin) {
        Some(origin) if origin == *caller => {
            // Not written now is written at the next meeting.
            drop(membership::meet(sync, database, caller, Meeting::Dialled).await);
            Asked::Caller
        }
        Some(origin) if origin.node == caller.node => Asked::Other(peer.base_url),
        _ => Asked::Unknown,
    }
}

/// What a caller is told whose name is another's. Where both are known to be there, it is told here as well.
pub fn refusal(sync: &Sync, database: &OpenDatabase, caller: &Origin, rival: &Origin, asked: &Asked) -> String {
    let since = sync.namesakes().refused_since(database.name(), caller);
    let silent = sync.contacts().silent_since(database.name(), rival).unwrap_or_default();
    let has_spoken_since = since.elapsed() > silent;
    let place = match asked {
        Asked::Other(url) => format!(" at {url}"),
        Asked::Caller | Asked::Unknown => String::new(),
    };
    let name = &caller.node;
    if has_spoken_since || matches!(asked, Asked::Other(_)) {
        let what = format!(
            "two nodes are named '{name}': {rival}{place} is a member and speaks; {caller} is refused. Give one of them its \
             own Node:NodeId, or stop it"
        );
        sync.databases().identity().note_once(Some(database.name()), what);
        return format!(
            "Another node named '{name}' is a member, and speaks{place}. If this one is a copy, give it its own \
             Node:NodeId; if it takes the other's place, stop the other."
        );
    }
    let wait = membership::silent_after(sync).saturating_sub(silent).as_secs() + 1;
    format!(
        "A node named '{name}' was heard {} s ago as {rival}, and calls as {caller} now. It is let in within {wait} s, \
         unless the other is heard again: two nodes cannot have one name.",
        silent.as_secs()
    )
}
