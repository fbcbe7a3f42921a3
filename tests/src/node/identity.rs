//! Copies, nodes that were set back, and names that two of them claim: what the server does about them in its membership
//! and when it looks at a peer's states. Only worlds in which such things happen ask for it.
//!
//! ```text
//!   push ─► somebody of that name is a member, and speaks ─► refused, with the reason
//!   an operation that does not fit, a chain that differs, more of our own than we know
//!        ─► the peer's states ─► where do our branches part? ─► ours gives way: rebase · theirs does: wait
//! ```

use std::collections::BTreeMap;

use holdfast_core::leases::SILENT_SWEEPS;
use holdfast_core::members::FenceReason;
use holdfast_core::operation::Operation;
use holdfast_core::sync::admission::{Admission, Cause, admit};
use holdfast_core::sync::branches::{self, Forks, Held, Known, Proof, Search, Sides, Told, Verdict};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Dot, Origin, Position, Sequence, Vector};
use holdfast_storage::record::note::Adoption;
use holdfast_storage::record::operation::Entry;
use holdfast_storage::request::{Misfit, Request, Stranger};

use crate::checkers::identity::NOTICED;
use crate::disk::{Disk, DiskImage};
use crate::node::wire::{Body, Side};
use crate::node::{Caller, Node, Outbox, Sabotage, name_of};

/// A copy of a data directory.
#[derive(Debug, Clone)]
pub struct Copy {
    /// What is on the disk.
    pub image: DiskImage,
    /// Who it says that it is.
    pub identity: Origin,
}

/// A look at a peer's states that asks where branches part, before anything is taken.
#[derive(Debug)]
pub(super) struct Looking {
    searches: Vec<Search>,
    forks: Forks,
    gives_way: bool,
    stays: Option<Dot>,
    /// The first page, kept until it is known what to make of it.
    page: Vec<u8>,
    adoption: Option<Adoption>,
    side: Side,
}

impl Node {
    /// Its data directory as it is now.
    pub fn copy(&self) -> Copy {
        Copy { image: self.disk.image(), identity: self.identity.clone() }
    }

    /// An empty directory of its name.
    pub fn empty_copy(&self) -> Copy {
        Copy { image: super::empty_image().clone(), identity: self.identity.clone() }
    }

    /// Takes a copy of another node's directory for its own. What notices that it is a copy begins another life.
    pub fn become_copy(&mut self, copy: Copy, peers: impl IntoIterator<Item = usize>, is_noticed: bool) {
        self.crash(false);
        self.put_in_place(copy, is_noticed);
        self.setup.peers = peers.into_iter().filter(|peer| *peer != self.index).collect();
    }

    /// Puts the disk back to its copy, and nothing on it tells. Answers whether it has to be started again.
    pub fn roll_back(&mut self) -> bool {
        let Some(backup) = self.hardship.backup.clone() else { return false };
        self.crash(false);
        self.put_in_place(backup, false);
        true
    }

    fn put_in_place(&mut self, copy: Copy, is_noticed: bool) {
        self.disk = Disk::from_image(&copy.image);
        self.apply_room();
        self.identity = copy.identity;
        if is_noticed {
            self.identity.incarnation = self.seed.next_u64();
        }
        self.origin = self.identity.clone();
    }

    /// An operator gives it its own name. Answers whether it has to be started again.
    pub fn take_own_name(&mut self, peers: impl IntoIterator<Item = usize>) -> bool {
        if self.identity.node == name_of(self.index) {
            return false;
        }
        self.crash(false);
        self.identity = Origin { node: name_of(self.index), incarnation: self.seed.next_u64() };
        self.origin = self.identity.clone();
        self.setup.peers = peers.into_iter().collect();
        true
    }

    /// The nodes that it has as peers.
    pub fn peers(&self) -> impl Iterator<Item = usize> {
        self.setup.peers.iter().copied()
    }

    /// Whether whoever pushes may do so. If not, it is told why.
    pub(super) fn is_let_in(
        &mut self,
        now: Millis,
        from: usize,
        exchange: u64,
        theirs: &Side,
        outbox: &mut Outbox,
    ) -> bool {
        let admission = self.judge_side(now, theirs, outbox);
        if matches!(admission, Admission::Welcome | Admission::NeedsStates) {
            return true;
        }
        outbox.sends.push((from, exchange, Body::Turned(admission, Cause::Asked)));
        false
    }

    fn judge_side(&mut self, now: Millis, theirs: &Side, outbox: &mut Outbox) -> Admission {
        let Some(ours) = self.side() else { return Admission::Welcome };
        if theirs.origin.node == self.identity.node {
            outbox.seen.push("names refused");
            return Admission::NameTaken;
        }
        if ours.members.is_active(&theirs.origin) {
            if let Some(running) = &self.running {
                running.database.acknowledge(&theirs.origin, &theirs.vector);
            }
        } else if self.speaks_another_of(now, &theirs.origin) && self.setup.sabotage != Sabotage::LetsNamesakesIn {
            outbox.seen.push("names refused");
            return Admission::NameTaken;
        }
        let nothing = Vector::new();
        let theirs = holdfast_core::sync::admission::Side {
            origin: &theirs.origin,
            vector: &theirs.vector,
            graves: &nothing,
            floor: &nothing,
        };
        admit(&ours.as_admission(), &ours.members, &theirs)
    }

    /// Whether another member of that name was heard a short while ago.
    fn speaks_another_of(&self, now: Millis, origin: &Origin) -> bool {
        let (Some(side), Some(running)) = (self.side(), &self.running) else { return false };
        let sweep = self.setup.sweep.0;
        side.members.active().any(|member| {
            member.node == origin.node
                && member != origin
                && running
                    .leases
                    .silent_since(now, member)
                    .is_some_and(|silent| silent.0 <= sweep * u64::from(SILENT_SWEEPS))
        })
    }

    /// Whether our log reaches back to what an asker knows. If not, it is told so.
    pub(super) fn reaches_back(&mut self, from: usize, exchange: u64, knows: &Vector, outbox: &mut Outbox) -> bool {
        let reaches = self.running.as_ref().is_some_and(|running| knows.covers_all(running.writer.floor()));
        if !reaches {
            outbox.sends.push((from, exchange, Body::Turned(Admission::NeedsStates, Cause::Asked)));
        }
        reaches
    }

    /// Counts in who exchanges operations with us, and out whoever had its name before.
    pub(super) fn meet_by_name(&mut self, now: Millis, origin: &Origin, is_dialled: bool, outbox: &mut Outbox) {
        self.hear_of(now, origin);
        let Some(side) = self.side() else { return };
        if side.members.get(origin).is_some_and(|known| known.fenced == Some(FenceReason::Retired)) {
            return;
        }
        let rivals = side.members.active().filter(|rival| rival.node == origin.node && *rival != origin);
        let rivals: Vec<Origin> = rivals.cloned().collect();
        if self.setup.sabotage != Sabotage::LetsNamesakesIn {
            if !is_dialled && self.speaks_another_of(now, origin) {
                return;
            }
            for member in rivals {
                outbox.lines.push(format!("{member} goes on as {origin}"));
                self.submit(Request::Member { member, fence: Some(FenceReason::Retired) }, Caller::Nobody, outbox);
            }
        }
        if !side.members.is_active(origin) {
            outbox.lines.push(format!("counts {origin} in"));
            self.submit(Request::Member { member: origin.clone(), fence: None }, Caller::Nobody, outbox);
        }
    }

    /// Whether a peer knows more of our own origin than we do.
    pub(super) fn forgot_itself(&mut self, peer: &Vector) -> bool {
        let Some(running) = &self.running else { return false };
        let ours = running.writer.state().vector.get(&self.origin);
        let has_forgotten = self.setup.is_contested && peer.get(&self.origin) > ours;
        if has_forgotten {
            running.database.behind(&self.origin, (ours, peer.get(&self.origin)));
        }
        has_forgotten
    }

    /// A peer says that we hold another branch of an origin than it, and are to give way.
    pub(super) fn note_told(&self, peer: usize, origin: Origin) {
        if let Some(running) = &self.running {
            running.database.note_told(&name_of(peer), origin);
        }
    }

    /// Notes an operation that does not fit, if that is because there are two branches of its origin.
    pub(super) fn note_stranger(stranger: &Stranger, outbox: &mut Outbox) {
        if stranger.misfit == Misfit::Branch {
            outbox.seen.push(NOTICED);
        }
    }

    /// Begins to ask where our branches leave a peer's, with the first page of its states.
    pub(super) fn look(&mut self, page: Vec<u8>, adoption: Option<Adoption>, side: &Side, peer: usize) -> Looking {
        let searches = self.searches(side, peer);
        let (forks, gives_way, stays, side) = (Forks::default(), false, None, side.clone());
        Looking { searches, forks, gives_way, stays, page, adoption, side }
    }

    /// What a node says that ignores branches: they part behind everything, so that the last look at them finds nothing new.
    pub(super) fn forks_behind_all(&self) -> Forks {
        let state = self.running.iter().flat_map(|running| running.writer.state().vector.iter());
        let first = state.map(|(origin, _)| Dot { origin: origin.clone(), sequence: Sequence(u64::MAX) }).collect();
        Forks { first, ..Forks::default() }
    }

    fn searches(&mut self, theirs: &Side, peer: usize) -> Vec<Search> {
        let is_blind = self.setup.sabotage == Sabotage::IgnoresBranches;
        let Some(running) = self.running.as_ref().filter(|_| !is_blind) else { return Vec::new() };
        let state = running.writer.state();
        let (ours, known) = (
            Known { vector: &state.vector, chains: &state.chains },
            Known { vector: &theirs.vector, chains: &theirs.chains },
        );
        let wanted = branches::proofs(ours, known);
        let log = running.database.log().expect("a healthy log");
        let proofs = log.chains_before(&wanted).expect("a healthy log");
        let trail = log.trail();
        let parted = trail.parted(&state.vector, &theirs.passed);
        let mut held = BTreeMap::<Origin, Vec<Held>>::new();
        log.scan(Position::START, |entry| {
            if let Entry::Operation(logged) = entry {
                let Operation { id, dot, chain, .. } = logged.operation;
                let one = Held { position: logged.position, sequence: dot.sequence, id, before: chain };
                held.entry(dot.origin).or_default().push(one);
            }
            Ok(())
        })
        .expect("a healthy log");
        for (dot, told) in log.waymarks().expect("a healthy log").iter() {
            let (sequence, id, before) = (dot.sequence, told.id, told.before);
            let held = held.entry(dot.origin.clone()).or_default();
            if held.iter().all(|one| one.sequence != sequence) {
                held.push(Held { position: Position::START, sequence, id, before });
            }
        }
        let confirmed = running.writer.checkpoint(&name_of(peer)).map_or(Position::START, |saved| saved.pushed);
        let behind = running.database.behind(&self.origin, Default::default());
        let search = |(origin, proof): (Origin, Option<Proof>)| {
            let sides = Sides {
                me: self.origin.clone(),
                peer: theirs.origin.clone(),
                chain: state.chains.get(&origin),
                proof,
                ours: state.vector.get(&origin),
                theirs: theirs.vector.get(&origin),
                their_floor: theirs.floor.get(&origin),
                confirmed,
                behind: behind.filter(|_| origin == self.origin),
            };
            let (held, equal) = (held.remove(&origin).unwrap_or_default(), trail.shared_with(&theirs.passed, &origin));
            Search::new(origin, sides, held).after(equal)
        };
        let mut suspects = branches::suspects(&self.origin, ours, known, &proofs);
        let evidence = running.database.evidence(&name_of(peer), &self.origin, theirs.log_id);
        branches::believe(&mut suspects, (&state.vector, &theirs.vector), &evidence);
        branches::believe_trails(&mut suspects, (&state.vector, &theirs.vector), parted);
        suspects.into_iter().map(search).collect()
    }

    /// The ids of an origin's operations, of those asked for.
    pub(super) fn answer_branch(
        &self,
        from: usize,
        exchange: u64,
        origin: &Origin,
        asked: &[Sequence],
        outbox: &mut Outbox,
    ) {
        let Some(running) = &self.running else { return };
        let told = running.database.log().and_then(|log| log.told_of(origin, asked)).expect("a healthy log");
        outbox.sends.push((from, exchange, Body::Branch(told)));
    }

    /// Goes on with a look at a peer's states: the next question, or what is to be made of the first page.
    pub(super) fn look_on(
        &mut self,
        now: Millis,
        exchange: u64,
        answer: Option<&BTreeMap<Sequence, Told>>,
        outbox: &mut Outbox,
    ) {
        let Some(running) = &mut self.running else { return };
        let Some(mut incoming) = running.incoming.take_if(|incoming| incoming.number == exchange) else { return };
        let Some(mut looking) = incoming.looking.take() else {
            running.incoming = Some(incoming);
            return;
        };
        if let (Some(answer), Some(search)) = (answer, looking.searches.last_mut()) {
            search.take(answer);
        }
        while let Some(search) = looking.searches.last_mut() {
            if let Some(asked) = search.question() {
                let (peer, origin) = (incoming.peer, search.origin().clone());
                incoming.looking = Some(looking);
                running.incoming = Some(incoming);
                return self.ask_for_branch(peer, origin, asked, outbox);
            }
            if search.is_undecided() {
                outbox.undecided.push(search.origin().clone());
            }
            match search.verdict() {
                Verdict::Same => {}
                Verdict::Ours(fork) => {
                    looking.gives_way = true;
                    looking.forks.first.push(fork);
                }
                Verdict::Theirs(fork) => {
                    looking.stays = Some(fork.clone());
                    looking.forks.first.push(fork);
                }
            }
            if let Some((dot, told)) = search.waymark() {
                looking.forks.waymarks.keep(dot, told);
            }
            looking.searches.pop();
        }
        if !looking.forks.first.is_empty() {
            outbox.seen.push(NOTICED);
            outbox.lines.push(format!("its branches leave those of n{} at {:?}", incoming.peer, looking.forks.first));
        }
        if let Some(fork) = looking.stays.filter(|_| !looking.gives_way) {
            outbox.lines.push(format!("waits for n{} to give way with {fork}", incoming.peer));
            outbox.sends.push((incoming.peer, 0, Body::TakeStates(Some(fork.origin))));
            return;
        }
        incoming.forks = Some(looking.forks);
        running.incoming = Some(incoming);
        self.take_states(now, exchange, (&looking.page, looking.adoption), &looking.side, outbox);
    }
}
