//! Who is counted with, database by database: whom we meet joins, who goes on under a new incarnation retires, who was
//! not seen for the length of its lease is fenced.
//!
//! Must stay true: time counts against a member only while this node is in contact with a majority of the members, so
//! that of two halves that cannot see each other at most one fences the other. Two nodes of one name are never both let
//! in: whoever is heard of at the address that we dial, or was there first and still speaks, keeps it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::leases::{Leases, SILENT_SWEEPS, Terms};
use holdfast_core::members::{FenceReason, Members};
use holdfast_core::sync::admission::{self, Admission, Side};
use holdfast_core::sync::survey::Memory;
use holdfast_core::time::Millis;
use holdfast_core::vector::{Dot, Origin, Vector};
use holdfast_storage::error::StorageError;
use holdfast_storage::request::{Misfit, Receipt, Request, Stranger};

use crate::clock;
use crate::databases::{Asker, OpenDatabase};
use crate::sync::Sync;
use crate::sync::silence::{SilenceFile, Silences};

/// How much silence may be forgotten when the node is killed; when it is stopped, none is.
const KEPT_EVERY: Duration = Duration::from_secs(60);

/// How a peer comes to be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// We asked at its address, and it answered.
    Dialled,
    /// It came to us.
    Came,
}

/// When members were last heard, and how long they have been silent for the purposes of their lease.
#[derive(Debug)]
pub struct Contacts {
    leases: Mutex<BTreeMap<DatabaseName, Leases>>,
    /// What time is counted from.
    begun: Instant,
}

impl Contacts {
    /// Goes on from the silence that was counted before this node was stopped.
    pub fn restored(silences: Silences) -> Self {
        let mut leases: BTreeMap<DatabaseName, Leases> = BTreeMap::new();
        for ((database, member), silent) in silences {
            leases.entry(database).or_default().restore(&member, millis(silent));
        }
        Self { leases: Mutex::new(leases), begun: clock::monotonic() }
    }

    /// Notes that a member was heard, by whatever way.
    pub fn heard(&self, database: &DatabaseName, origin: &Origin) {
        let now = self.now();
        self.lock().entry(database.clone()).or_default().hear(now, origin);
    }

    /// Notes that another node heard a member so long ago.
    fn heard_of(&self, database: &DatabaseName, origin: &Origin, ago: Millis) {
        let now = self.now();
        self.lock().entry(database.clone()).or_default().hear_of(now, origin, ago);
    }

    /// Notes that an asker is answered with a word.
    pub fn answer(&self, database: &DatabaseName, asker: &NodeName, word: Millis) {
        let now = self.now();
        self.lock().entry(database.clone()).or_default().echoes.answer(now, asker, word);
    }

    /// How old a question may be at most that brings a word.
    pub fn age_of_question(&self, database: &DatabaseName, asker: &NodeName, word: Option<u64>) -> Option<Millis> {
        self.lock().get(database)?.echoes.age(self.now(), asker, Millis(word?))
    }

    /// How long ago members were heard, to tell others.
    pub fn to_tell(&self, database: &DatabaseName) -> BTreeMap<Origin, Millis> {
        self.lock().get(database).map(|leases| leases.heard(self.now())).unwrap_or_default()
    }

    /// How much silence counts against a member's lease.
    pub fn silent_for(&self, database: &DatabaseName, origin: &Origin) -> Duration {
        let silent = self.lock().get(database).map(|leases| leases.silent_for(origin));
        Duration::from_millis(silent.unwrap_or_default().0)
    }

    /// How long ago a member was heard; `None` when it was not since the start.
    pub fn silent_since(&self, database: &DatabaseName, origin: &Origin) -> Option<Duration> {
        let silent = self.lock().get(database)?.silent_since(self.now(), origin)?;
        Some(Duration::from_millis(silent.0))
    }

    /// Counts the silence of those that are silent, if we are in contact with a majority. Gives those whose lease has
    /// run out.
    fn count(
        &self,
        database: &DatabaseName,
        known: (&Members, &Vector),
        me: &Origin,
        elapsed: Duration,
        terms: Terms,
    ) -> Vec<Origin> {
        let now = self.now();
        self.lock().entry(database.clone()).or_default().count((now, millis(elapsed)), known, me, terms)
    }

    /// Never near zero, so that there is a time before the start.
    fn now(&self) -> Millis {
        millis(clock::monotonic().saturating_duration_since(self.begun)) + Millis(u64::from(u32::MAX))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<DatabaseName, Leases>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(duration: Duration) -> Millis {
    Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Judges a node that wants to give us operations.
pub fn admit(
    sync: &Sync,
    database: &OpenDatabase,
    origin: &Origin,
    vector: &Vector,
) -> Result<Admission, StorageError> {
    let state = database.view()?.state()?;
    let (floor, nothing) = (database.log()?.floor()?, Vector::new());
    let ours = Side { origin: database.origin(), vector: &state.vector, graves: &state.graves, floor: &floor };
    let theirs = Side { origin, vector, graves: &nothing, floor: &nothing };
    let name = database.name();
    if rival(sync, name, &state.members, origin).is_some() {
        // Whoever answers at its address is the one; look there before letting anybody else in.
        if let Some(session) = sync.session(&origin.node, name) {
            session.call();
        }
        return Ok(Admission::NameTaken);
    }
    Ok(admission::admit(&ours, &state.members, &theirs))
}

/// Whoever goes by the name of a node that is no member, and was heard of late.
pub fn rival<'a>(sync: &Sync, database: &DatabaseName, members: &'a Members, origin: &Origin) -> Option<&'a Origin> {
    let is_heard = |rival: &&Origin| {
        let silent = sync.contacts().silent_since(database, rival);
        silent.is_some_and(|silent| silent <= silent_after(sync))
    };
    namesake(members, origin).filter(is_heard).filter(|_| !members.is_active(origin))
}

/// After how long without a word a node counts as silent.
pub fn silent_after(sync: &Sync) -> Duration {
    sync.tempo().sweep * SILENT_SWEEPS
}

/// Counts a node in that exchanges operations with us, and out whoever had its name before.
pub async fn meet(sync: &Sync, database: &OpenDatabase, origin: &Origin, meeting: Meeting) -> Result<(), StorageError> {
    sync.contacts().heard(database.name(), origin);
    count_in(sync, database, origin, meeting).await
}

/// The same for a node that was not heard itself: another one, which it follows, says that it is there.
pub async fn count_in(
    sync: &Sync,
    database: &OpenDatabase,
    origin: &Origin,
    meeting: Meeting,
) -> Result<(), StorageError> {
    if sync.databases().at_gate(Asker::Client).is_err() {
        // Counting somebody in is a write of this node's own: it is made when they next meet.
        return Ok(());
    }
    let members = database.view()?.state()?.members;
    if members.is_active(origin) && namesake(&members, origin).is_none() {
        return Ok(());
    }
    if members.get(origin).is_some_and(|known| known.fenced == Some(FenceReason::Retired)) {
        return Ok(());
    }
    let mut requests = Vec::new();
    for rival in members.active().filter(|rival| rival.node == origin.node && *rival != origin) {
        let is_silent =
            sync.contacts().silent_since(database.name(), rival).is_none_or(|silent| silent > silent_after(sync));
        if meeting == Meeting::Came && !is_silent {
            return Ok(());
        }
        let what = format!("member {rival} goes on as {origin}: it was restored, wiped or made anew");
        sync.databases().identity().note_once(Some(database.name()), what);
        requests.push(Request::Member { member: rival.clone(), fence: Some(FenceReason::Retired) });
    }
    if !members.is_active(origin) {
        tracing::info!(database = %database.name(), member = %origin, "counted in");
        requests.push(Request::Member { member: origin.clone(), fence: None });
    }
    for request in requests {
        // Not written now is written at the next meeting.
        drop(database.submit(request).await);
    }
    Ok(())
}

/// Notes what a peer has told of itself and of others. Whom it heard counts only where it is known how old the message
/// may be at most.
pub fn told(sync: &Sync, database: &OpenDatabase, teller: &Origin, memory: &Memory, age: Option<Millis>) {
    if let Some(age) = age {
        let itself = (teller, &Millis(0));
        let heard = memory.heard.iter().chain([itself]).filter(|(origin, _)| *origin != database.origin());
        for (origin, ago) in heard {
            sync.contacts().heard_of(database.name(), origin, *ago + age);
        }
    }
    for (origin, vector) in memory.acknowledged.iter().filter(|(origin, _)| *origin != database.origin()) {
        database.acknowledge(origin, vector);
    }
}

/// Notes that a peer holds another branch of an origin than this node: one of the two was restored or copied.
pub fn note_branch(sync: &Sync, database: &OpenDatabase, peer: &NodeName, origin: &Origin) {
    let what = format!("{peer} holds another branch of {origin} than this node: somebody was restored or copied");
    sync.databases().identity().note_once(Some(database.name()), what);
}

/// Notes an operation of a peer that does not fit, if that is because there are two branches of its origin: else the
/// writer has not seen what was forgotten here, which is nothing of anybody's identity.
pub fn note_stranger(sync: &Sync, database: &OpenDatabase, peer: &NodeName, stranger: &Stranger) {
    if stranger.misfit == Misfit::Branch {
        note_branch(sync, database, peer, &stranger.dot.origin);
    }
}

/// Notes that a peer's operation has the number of another one that was known here and given up since: whoever gave it out
/// was set back and has not noticed. Nothing is lost by it, for what was given up was written again.
pub fn note_second(sync: &Sync, database: &OpenDatabase, receipt: &Receipt) {
    let Some(Dot { origin, sequence }) = &receipt.second else { return };
    let what = format!("{origin} has given out number {sequence} a second time: it was restored or copied");
    sync.databases().identity().note_once(Some(database.name()), what);
}

/// What this node tells peers of what everybody knows who is waited for, itself included.
pub fn to_tell(database: &OpenDatabase) -> Result<BTreeMap<Origin, Vector>, StorageError> {
    let (state, me) = (database.view()?.state()?, database.origin());
    let known = database.acknowledgements()?;
    let others = state.members.counted(&state.vector, me);
    let mut told: BTreeMap<Origin, Vector> = others.map(|member| (member.clone(), known.newest_of(member))).collect();
    told.insert(me.clone(), state.acknowledged());
    Ok(told)
}

/// Counts leases, sweep after sweep, and fences whose lease has run out.
pub async fn keep_leases(sync: Arc<Sync>, lease: Duration) {
    let sweep = sync.tempo().sweep;
    let mut last = clock::monotonic();
    let mut file = SilenceFile::of(sync.databases().directory());
    loop {
        tokio::select! {
            () = tokio::time::sleep(sweep) => {}
            () = sync.stop().cancelled() => {
                file.keep(&counted_silences(&sync), Duration::ZERO);
                return;
            }
        }
        let now = clock::monotonic();
        // A machine that slept has heard nobody, which says nothing of them.
        let elapsed = now.saturating_duration_since(last).min(sweep * SILENT_SWEEPS);
        last = now;
        if sync.databases().at_gate(Asker::Client).is_err() {
            // Nobody can be fenced. A follower also hears nobody, and that is its own doing.
            continue;
        }
        for listing in sync.databases().list() {
            let Ok(database) = sync.databases().get(&listing.name) else { continue };
            let Ok(state) = database.view().and_then(|view| view.state()) else { continue };
            let terms = Terms { sweep: millis(sweep), lease: millis(lease) };
            for lapsed in
                sync.contacts().count(&listing.name, (&state.members, &state.vector), database.origin(), elapsed, terms)
            {
                tracing::warn!(
                    database = %listing.name, member = %lapsed,
                    "a member was not seen for the length of its lease: it is no longer waited for"
                );
                let fence = Some(FenceReason::Lapsed);
                drop(database.submit(Request::Member { member: lapsed, fence }).await);
            }
        }
        file.keep(&counted_silences(&sync), KEPT_EVERY);
    }
}

/// The silence of all members that are counted with.
fn counted_silences(sync: &Sync) -> Silences {
    let mut silences = Silences::new();
    for listing in sync.databases().list() {
        let Ok(database) = sync.databases().get(&listing.name) else { continue };
        let Ok(state) = database.view().and_then(|view| view.state()) else { continue };
        for member in state.members.counted(&state.vector, database.origin()) {
            let silent = sync.contacts().silent_for(&listing.name, member);
            if !silent.is_zero() {
                silences.insert((listing.name.clone(), member.clone()), silent);
            }
        }
    }
    silences
}

/// Another member of the same name.
fn namesake<'a>(members: &'a Members, origin: &Origin) -> Option<&'a Origin> {
    members.active().find(|member| member.node == origin.node && *member != origin)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn silence_of_before_the_start_is_remembered_until_its_member_is_heard() {
        let shop = DatabaseName::parse("shop").unwrap();
        let of = |name| Origin { node: NodeName::parse(name).unwrap(), incarnation: 1 };
        let before = Duration::from_secs(29);
        let silences = Silences::from([((shop.clone(), of("c")), before), ((shop.clone(), of("b")), before)]);
        let contacts = Contacts::restored(silences);
        contacts.heard(&shop, &of("b"));
        assert_eq!(contacts.silent_for(&shop, &of("c")), before);
        assert_eq!(contacts.silent_for(&shop, &of("b")), Duration::ZERO);
        assert!(contacts.silent_since(&shop, &of("b")).is_some());
        assert_eq!(contacts.silent_since(&shop, &of("c")), None, "not since the start");
    }
}
