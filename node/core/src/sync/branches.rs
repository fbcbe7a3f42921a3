//! Where two branches of one origin part, and whose gives way.
//!
//! ```text
//!   the numbers of an origin that both have ─► ask for ids, some hundred at a time ─► the first that differs
//!     ─► ours gives way:   it is our own origin, or our first differing operation has the greater id
//!        theirs does:      it is the peer's own, or its id is the greater: it takes our states
//! ```
//!
//! Must stay true: of two nodes that compare their branches, exactly one gives way. Where it is certain that there are
//! two, and the logs no longer say where they part, all that is not proven equal counts as different: written twice is
//! better than lost. The first that differs of those that both logs hold is not where they part, unless the chains
//! before it are the same. Where nothing proves it, but this node may have been set back, whatever the peer had not confirmed
//! counts as ours alone.
//!
//! Every origin that both know is looked at, for a node may hold branches of several: what is not proven to be one branch
//! by the chains is asked for. The questions are asked by whoever drives the searches; nothing here waits.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::chain::{Chain, Chains};
use crate::id::OperationId;
use crate::limits::{BRANCH_SEQUENCES_MAX, WAYMARKS_MAX};
use crate::sync::waymarks::Waymarks;
use crate::vector::{Dot, Origin, Position, Sequence, Vector};

/// An operation of the origin in our log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Where it lies in our log.
    pub position: Position,
    /// As which of the origin's.
    pub sequence: Sequence,
    /// Its id.
    pub id: OperationId,
    /// The chain before it, if it is known here.
    pub before: Option<Chain>,
}

/// An operation of the origin in the peer's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Its id.
    pub id: OperationId,
    /// The chain before it, if the peer knows it.
    pub before: Option<Chain>,
}

/// What is known of both sides besides the operations.
#[derive(Debug, Clone)]
pub struct Sides {
    /// Who writes here.
    pub me: Origin,
    /// Who writes at the peer.
    pub peer: Origin,
    /// Which branch is known here, if that was not lost sight of.
    pub chain: Option<Chain>,
    /// Whether the chains have proven that there are two branches.
    pub proof: Option<Proof>,
    /// How many operations of the origin are known here …
    pub ours: Sequence,
    /// … and at the peer.
    pub theirs: Sequence,
    /// The peer's log holds the origin's operations above this.
    pub their_floor: Sequence,
    /// The peer has confirmed our log up to here.
    pub confirmed: Position,
    /// What is written here from this number on was written after some peer was heard to know more of our own origin than
    /// we: whatever peers confirm of it, they mean something else.
    pub behind: Option<Sequence>,
}

/// Since when a node writes what peers know something else by: it was set back to an earlier time, and heard so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Behind(Option<Dot>);

impl Behind {
    /// As a record has it.
    pub fn restored(first: Option<Dot>) -> Self {
        Self(first)
    }

    /// The first operation that means something else here, whoever wrote it then.
    pub fn dot(&self) -> Option<&Dot> {
        self.0.as_ref()
    }

    /// Takes note that a peer knows more of `me` than this node, which knows `ours`. The first number of all counts.
    pub fn note(&mut self, me: &Origin, ours: Sequence) {
        let first = self.of(me).map_or(ours.next(), |noted| noted.min(ours.next()));
        self.0 = Some(Dot { origin: me.clone(), sequence: first });
    }

    /// The first number that means something else here, if this node still writes as who it was then.
    pub fn of(&self, me: &Origin) -> Option<Sequence> {
        self.0.as_ref().filter(|noted| noted.origin == *me).map(|noted| noted.sequence)
    }
}

/// Whose branch gives way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is one branch.
    Same,
    /// Ours, from this operation on.
    Ours(Dot),
    /// The peer's, from this operation on.
    Theirs(Dot),
}

/// Where our branches of origins leave a peer's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forks {
    /// The first operation of each branch.
    pub first: Vec<Dot>,
    /// What the peer has in place of ours, where it could tell.
    pub waymarks: Waymarks,
}

/// That there are two branches, and whose gives way when no log says any more where they part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Ours: it is the longer one, or of two that are equally long the one with the greater chain.
    OursGivesWay,
    /// Theirs.
    TheirsGivesWay,
}

/// What one of the two knows of all origins.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// How much of each.
    pub vector: &'a Vector,
    /// The chain of each, up to there.
    pub chains: &'a Chains,
}

/// The dots of our log whose chain tells whether it goes on where the peer is: each the next after what the peer knows.
pub fn proofs(ours: Known<'_>, theirs: Known<'_>) -> BTreeSet<Dot> {
    let next = |(origin, known): (&Origin, Sequence)| {
        let theirs = theirs.vector.get(origin);
        (theirs > Sequence(0) && known > theirs).then(|| Dot { origin: origin.clone(), sequence: theirs.next() })
    };
    ours.vector.iter().filter_map(next).collect()
}

/// The origins that both know and that may have two branches. `proofs` has the chain before each of [`proofs`] that our
/// log still holds. With the proof that there are two, if that is one.
///
/// Our own origin is among them if the peer alone knows of it: a node that was set back to before its first operation
/// gives out the numbers of its earlier life again.
pub fn suspects(
    me: &Origin,
    ours: Known<'_>,
    theirs: Known<'_>,
    proofs: &BTreeMap<Dot, Chain>,
) -> BTreeMap<Origin, Option<Proof>> {
    let suspect = |(origin, known): (&Origin, Sequence)| {
        let reach = theirs.vector.get(origin);
        let here = if known > reach {
            proofs.get(&Dot { origin: origin.clone(), sequence: reach.next() }).copied()
        } else {
            ours.chains.get(origin).filter(|_| known == reach)
        };
        let proof = match (here, theirs.chains.get(origin)) {
            (Some(here), Some(there)) if here == there => return None,
            (Some(here), Some(there)) if known == reach && here.0 < there.0 => Some(Proof::TheirsGivesWay),
            (Some(_), Some(_)) => Some(Proof::OursGivesWay),
            _ => None,
        };
        (reach > Sequence(0)).then(|| (origin.clone(), proof))
    };
    let mut suspects: BTreeMap<_, _> = ours.vector.iter().filter_map(suspect).collect();
    if theirs.vector.get(me) > Sequence(0) && ours.vector.get(me) == Sequence(0) {
        suspects.insert(me.clone(), None);
    }
    suspects
}

/// An origin of which two branches have come to light, or of which a peer has come to know more than its own node, since
/// it was found out where branches part: `forks` does not have it, and the states must not be taken by it.
pub fn overlooked(
    me: &Origin,
    ours: Known<'_>,
    theirs: Known<'_>,
    proofs: &BTreeMap<Dot, Chain>,
    forks: &[Dot],
) -> Option<Origin> {
    let is_another = |(origin, proof): &(Origin, Option<Proof>)| {
        proof.is_some() || (origin == me && theirs.vector.get(me) > ours.vector.get(me))
    };
    let is_known = |origin: &Origin| forks.iter().any(|fork| fork.origin == *origin);
    let suspects = suspects(me, ours, theirs, proofs).into_iter();
    suspects.filter(is_another).map(|(origin, _)| origin).find(|origin| !is_known(origin))
}

/// What came to light of a peer's branches before, and may be in no log any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The peer has said that it holds another branch of this origin than this node, which is to give way.
    pub told: Option<Origin>,
    /// The peer has brought an operation of this origin that did not follow what is known here, out of this log.
    pub met: Option<(Origin, u64)>,
}

impl Evidence {
    /// What counts when the states of a peer are looked at, out of the log that it has now: one that gave way meanwhile has
    /// another log. What it has said of this node's own origin, `me`, stays true until that gives way; of others it counts
    /// once, for the peer says it again while it is so.
    #[must_use]
    pub fn take(&mut self, me: &Origin, log_id: u64) -> Self {
        self.met.take_if(|(_, log)| *log != log_id);
        let told = self.told.clone();
        self.told.take_if(|told| told != me);
        Self { told, met: self.met.clone() }
    }
}

/// The same for origins of which the trails of both show that there are two branches.
pub fn believe_trails(
    suspects: &mut BTreeMap<Origin, Option<Proof>>,
    (ours, theirs): (&Vector, &Vector),
    parted: BTreeSet<Origin>,
) {
    for origin in parted {
        let met = Evidence { told: None, met: Some((origin, 0)) };
        believe(suspects, (ours, theirs), &met);
    }
}

/// Takes evidence in where the chains say nothing. What was told to us counts before what was met: of two nodes of which
/// one remembers what the other has forgotten, the other believes it.
pub fn believe(
    suspects: &mut BTreeMap<Origin, Option<Proof>>,
    (ours, theirs): (&Vector, &Vector),
    evidence: &Evidence,
) {
    if let Some(proof) = evidence.told.as_ref().and_then(|told| suspects.get_mut(told)) {
        proof.get_or_insert(Proof::OursGivesWay);
    }
    if let Some((met, _)) = &evidence.met
        && let Some(proof) = suspects.get_mut(met)
    {
        let by_length = match ours.get(met).cmp(&theirs.get(met)) {
            Ordering::Greater => Some(Proof::OursGivesWay),
            Ordering::Less => Some(Proof::TheirsGivesWay),
            // The chains tell which, or nothing does.
            Ordering::Equal => None,
        };
        *proof = proof.or(by_length);
    }
}

/// The search for the first operation that differs.
#[derive(Debug)]
pub struct Search {
    origin: Origin,
    sides: Sides,
    shared: Vec<Held>,
    /// All before this agree, as far as the peer's log still says.
    low: usize,
    /// At this one they differ, if there is one.
    high: usize,
    asked: Vec<usize>,
    /// Whether the peer has still to be asked which branch its next operation goes on.
    is_next_open: bool,
    different: Option<(Held, OperationId)>,
    /// An operation of the peer's branch that is none of ours.
    waymark: Option<(Sequence, Told)>,
    /// Up to here both have the same.
    equal: Sequence,
}

impl Search {
    /// A search among the operations of an origin that our log holds.
    pub fn new(origin: Origin, sides: Sides, held: impl IntoIterator<Item = Held>) -> Self {
        let mut shared: Vec<Held> = held.into_iter().filter(|held| held.sequence <= sides.theirs).collect();
        shared.sort_by_key(|held| held.sequence);
        let high = shared.len();
        let is_next_open = sides.chain.is_some() && sides.theirs > sides.ours;
        Self {
            origin,
            sides,
            shared,
            low: 0,
            high,
            asked: Vec::new(),
            is_next_open,
            different: None,
            waymark: None,
            equal: Sequence(0),
        }
    }

    /// Both are proven to have the same up to a number.
    #[must_use]
    pub fn after(mut self, equal: Sequence) -> Self {
        self.equal = equal.min(self.sides.ours).min(self.sides.theirs);
        self
    }

    /// The origin.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The sequences whose ids the peer is to be asked for next; nothing when the search is over.
    pub fn question(&mut self) -> Option<Vec<Sequence>> {
        if self.is_next_open {
            // Its chain tells at once whether there is anything to look for.
            return Some(vec![self.sides.ours.next()]);
        }
        if self.low >= self.high {
            return None;
        }
        let asked_max = BRANCH_SEQUENCES_MAX - WAYMARKS_MAX;
        let step = (self.high - self.low).div_ceil(asked_max).max(1);
        let every = (self.low..self.high).step_by(step);
        self.asked = every.chain([self.high - 1]).take(asked_max).collect();
        Some(self.asked.iter().filter_map(|at| Some(self.shared.get(*at)?.sequence)).collect())
    }

    /// Takes the answer to the last question in: ids by sequence, without those that the peer does not know any more. Its
    /// waymarks are among them, whether they were asked for or not.
    pub fn take(&mut self, answer: &BTreeMap<Sequence, Told>) {
        if std::mem::take(&mut self.is_next_open) {
            let next = self.sides.ours.next();
            match answer.get(&next).and_then(|told| Some((told, told.before?))) {
                Some((_, before)) if Some(before) == self.sides.chain => {
                    self.equal = self.sides.ours;
                    self.low = self.high;
                }
                Some((told, _)) => {
                    self.waymark = Some((next, *told));
                    self.sides.proof = Some(Proof::TheirsGivesWay);
                }
                None => {}
            }
            return;
        }
        let before = self.high;
        let mut told: BTreeSet<usize> = std::mem::take(&mut self.asked).into_iter().collect();
        let place = |sequence: &Sequence| self.shared.binary_search_by_key(sequence, |held| held.sequence).ok();
        told.extend(answer.keys().filter_map(place).filter(|at| (self.low..self.high).contains(at)));
        for at in told {
            let Some(held) = self.shared.get(at) else { continue };
            // Of what its log no longer holds, the chains of later ones tell whether it was the same.
            let Some(theirs) = answer.get(&held.sequence) else { continue };
            if theirs.id == held.id {
                self.low = at + 1;
                self.equal = self.equal.max(held.sequence);
                continue;
            }
            self.different = Some((*held, theirs.id));
            self.waymark = Some((held.sequence, *theirs));
            self.high = at;
            if held.before.is_some() && held.before == theirs.before {
                self.low = at;
                self.equal = self.equal.max(Sequence(held.sequence.0.saturating_sub(1)));
            }
            break;
        }
        if self.high == before {
            // Nothing of what was asked for differs.
            self.low = self.high;
        }
    }

    /// What the answers mean.
    pub fn verdict(&self) -> Verdict {
        let dot = |sequence| Dot { origin: self.origin.clone(), sequence };
        let (is_own, is_theirs) = (self.origin == self.sides.me, self.origin == self.sides.peer);
        match (&self.different, self.sides.proof) {
            (Some((held, theirs)), _) if is_own || (held.id > *theirs && !is_theirs) => {
                Verdict::Ours(dot(self.unproven()))
            }
            (Some(_), _) => Verdict::Theirs(dot(self.unproven())),
            (None, Some(proof)) if is_own || (proof == Proof::OursGivesWay && !is_theirs) => {
                Verdict::Ours(dot(self.unproven()))
            }
            (None, Some(_)) => Verdict::Theirs(dot(self.unproven())),
            (None, None) if is_own && (self.sides.theirs > self.sides.ours || self.sides.behind.is_some()) => {
                // What is written here from now on has numbers that the peer knows for something else.
                let first = self.unconfirmed().unwrap_or(self.sides.ours.next());
                let behind = self.sides.behind.map(|behind| behind.max(self.unproven()));
                Verdict::Ours(dot(behind.map_or(first, |behind| first.min(behind))))
            }
            (None, None) => Verdict::Same,
        }
    }

    /// An operation of the peer's branch that is none of ours, if the peer could tell one: whoever gives way remembers it.
    pub fn waymark(&self) -> Option<(Dot, Told)> {
        let (sequence, told) = self.waymark?;
        Some((Dot { origin: self.origin.clone(), sequence }, told))
    }

    /// Whether there may be two branches all the same, because no log says any more which operations they were.
    pub fn is_undecided(&self) -> bool {
        self.verdict() == Verdict::Same && self.equal < self.sides.ours.min(self.sides.theirs)
    }

    /// The first operation that is not known to be the same at the peer.
    fn unproven(&self) -> Sequence {
        self.equal.next()
    }

    /// The first operation of our own that the peer may only seem to know: it has seen our sequence, its log no longer
    /// says which operation that was, and it had not confirmed ours when we last knew.
    fn unconfirmed(&self) -> Option<Sequence> {
        let is_unsure = |held: &&Held| held.position > self.sides.confirmed && held.sequence <= self.sides.their_floor;
        self.shared.iter().filter(is_unsure).map(|held| held.sequence).min()
    }
}

#[cfg(test)]
mod tests;
