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
                self.equal = held.sequence;
                continue;
            }
            self.different = Some((*held, theirs.id));
            self.waymark = Some((held.sequence, *theirs));
            self.high = at;
            if held.before.is_some() && held.before == theirs.before {
                self.low = at;
                self.equal = Sequence(held.sequence.0.saturating_sub(1));
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
            (None, None) if is_own && self.sides.theirs > self.sides.ours => {
                // What is written here from now on has numbers that the peer knows for something else.
                Verdict::Ours(dot(self.unconfirmed().unwrap_or(self.sides.ours.next())))
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::id::NodeName;

    fn origin(name: &str) -> Origin {
        Origin { node: NodeName::parse(name).unwrap(), incarnation: 7 }
    }

    fn chain(ids: &[u128]) -> Chain {
        ids.iter().fold(Chain::START, |chain, id| chain.then(OperationId(*id)))
    }

    /// Each operation, and the chain before it.
    fn links(ids: &[u128]) -> impl Iterator<Item = (OperationId, Option<Chain>)> {
        ids.iter().scan(Chain::START, |chain, id| {
            let id = OperationId(*id);
            let before = std::mem::replace(chain, chain.then(id));
            Some((id, Some(before)))
        })
    }

    fn search(me: &str, of: &str, ids: &[u128], theirs: u64, their_floor: u64, confirmed: u64) -> Search {
        let held = (1..).zip(links(ids)).map(|(number, (id, before))| Held {
            position: Position(number),
            sequence: Sequence(number),
            id,
            before,
        });
        let sides = Sides {
            me: origin(me),
            peer: origin("peer"),
            chain: None,
            proof: None,
            ours: Sequence(ids.len() as u64),
            theirs: Sequence(theirs),
            their_floor: Sequence(their_floor),
            confirmed: Position(confirmed),
        };
        Search::new(origin(of), sides, held.collect::<Vec<_>>())
    }

    /// Runs the search against a peer with these ids, the first `forgotten` of which its log no longer holds.
    fn run(search: Search, theirs: &[u128], forgotten: u64) -> (Verdict, usize) {
        let mut questions = 0;
        let search = ask(search, theirs, forgotten, &mut questions);
        (search.verdict(), questions)
    }

    fn run_to_end(search: Search, theirs: &[u128], forgotten: u64) -> Search {
        ask(search, theirs, forgotten, &mut 0)
    }

    fn ask(mut search: Search, theirs: &[u128], forgotten: u64, questions: &mut usize) -> Search {
        let theirs: Vec<Told> = links(theirs).map(|(id, before)| Told { id, before }).collect();
        while let Some(asked) = search.question() {
            *questions += 1;
            assert!(asked.len() <= BRANCH_SEQUENCES_MAX);
            let id = |sequence: &Sequence| Some((*sequence, *theirs.get(usize::try_from(sequence.0).unwrap() - 1)?));
            let answer = asked.iter().filter(|sequence| sequence.0 > forgotten).filter_map(id).collect();
            search.take(&answer);
        }
        search
    }

    fn at(of: &str, sequence: u64) -> Dot {
        Dot { origin: origin(of), sequence: Sequence(sequence) }
    }

    #[test]
    fn of_two_that_compare_a_third_ones_branches_exactly_one_gives_way() {
        let (left, right) = ([1, 2, 30, 40], [1, 2, 31, 39, 50]);
        let of_left = run(search("a", "c", &left, 5, 0, 0), &right, 0).0;
        let of_right = run(search("b", "c", &right, 4, 0, 0), &left, 0).0;
        assert_eq!((of_left, of_right), (Verdict::Theirs(at("c", 3)), Verdict::Ours(at("c", 3))));
        assert_eq!(run(search("a", "c", &left, 4, 0, 0), &left, 0).0, Verdict::Same);
    }

    #[test]
    fn a_node_always_gives_way_with_its_own_origin() {
        assert_eq!(run(search("a", "a", &[1, 2, 3], 3, 0, 0), &[1, 2, 9], 0).0, Verdict::Ours(at("a", 3)));
        assert_eq!(run(search("a", "a", &[1, 2, 3], 3, 0, 0), &[1, 2, 3], 0).0, Verdict::Same);
    }

    #[test]
    fn a_node_that_was_set_back_gives_way_with_all_that_the_peer_may_only_seem_to_know() {
        // It wrote two again, of five that the peer has seen.
        let again = [1, 2, 13, 14];
        assert_eq!(run(search("a", "a", &again, 5, 0, 0), &[1, 2, 3, 4, 5], 0).0, Verdict::Ours(at("a", 3)));
        assert_eq!(run(search("a", "a", &again, 5, 5, 2), &[1, 2, 3, 4, 5], 5).0, Verdict::Ours(at("a", 3)));
        // What it had confirmed is the same; nothing was written again yet.
        assert_eq!(run(search("a", "a", &[1, 2], 5, 5, 2), &[1, 2, 3, 4, 5], 5).0, Verdict::Ours(at("a", 3)));
    }

    #[test]
    fn one_branch_is_proven_by_its_chains_and_all_else_is_looked_at() {
        let known = |entries: &[(&str, &[u128])]| {
            let vector: Vector = entries.iter().map(|(of, ids)| (origin(of), Sequence(ids.len() as u64))).collect();
            let chains: Chains = entries.iter().map(|(of, ids)| (origin(of), chain(ids))).collect();
            (vector, chains)
        };
        let ours =
            known(&[("level", &[1, 2]), ("ahead", &[1, 2, 3]), ("behind", &[1]), ("other", &[1, 2]), ("new", &[1])]);
        let theirs = known(&[("level", &[1, 2]), ("ahead", &[1, 2]), ("behind", &[1, 2]), ("other", &[1, 3])]);
        let ours = Known { vector: &ours.0, chains: &ours.1 };
        let theirs = Known { vector: &theirs.0, chains: &theirs.1 };
        let me = origin("me");
        assert_eq!(proofs(ours, theirs), [at("ahead", 3)].into());
        let proof = BTreeMap::from([(at("ahead", 3), chain(&[1, 2]))]);
        let is_greater = chain(&[1, 2]).0 > chain(&[1, 3]).0;
        let level = if is_greater { Proof::OursGivesWay } else { Proof::TheirsGivesWay };
        let expected = |all: &[(&str, Option<Proof>)]| -> BTreeMap<Origin, Option<Proof>> {
            all.iter().map(|(of, proof)| (origin(of), *proof)).collect()
        };
        assert_eq!(suspects(&me, ours, theirs, &proof), expected(&[("behind", None), ("other", Some(level))]));
        let other = BTreeMap::from([(at("ahead", 3), chain(&[1, 9]))]);
        assert_eq!(suspects(&me, ours, theirs, &other).get(&origin("ahead")), Some(&Some(Proof::OursGivesWay)));
        let forgotten = suspects(&me, ours, theirs, &BTreeMap::new());
        assert_eq!(forgotten.get(&origin("ahead")), Some(&None), "not in the log any more");
    }

    #[test]
    fn a_node_that_was_set_back_to_before_its_first_operation_gives_way_with_all_that_it_writes() {
        let (me, nothing) = (origin("a"), (Vector::new(), Chains::new()));
        let theirs: (Vector, Chains) =
            ([(me.clone(), Sequence(2))].into_iter().collect(), [(me.clone(), chain(&[1, 2]))].into_iter().collect());
        let known = |of: &(Vector, Chains)| (of.0.clone(), of.1.clone());
        let (ours, theirs) = (known(&nothing), known(&theirs));
        let ours = Known { vector: &ours.0, chains: &ours.1 };
        let theirs = Known { vector: &theirs.0, chains: &theirs.1 };
        assert_eq!(suspects(&me, ours, theirs, &BTreeMap::new()), [(me.clone(), None)].into());
        assert_eq!(suspects(&origin("b"), ours, theirs, &BTreeMap::new()), BTreeMap::new());
        assert_eq!(run(search("a", "a", &[], 2, 2, 0), &[1, 2], 2).0, Verdict::Ours(at("a", 1)));
    }

    #[test]
    fn what_comes_to_light_after_branches_were_looked_for_is_not_overlooked() {
        let of = |entries: &[(&str, &[u128])]| -> (Vector, Chains) {
            let vector = entries.iter().map(|(of, ids)| (origin(of), Sequence(ids.len() as u64))).collect();
            (vector, entries.iter().map(|(of, ids)| (origin(of), chain(ids))).collect())
        };
        let look = |me: &str, left: &(Vector, Chains), right: &(Vector, Chains), forks: &[Dot]| {
            let ours = Known { vector: &left.0, chains: &left.1 };
            let theirs = Known { vector: &right.0, chains: &right.1 };
            overlooked(&origin(me), ours, theirs, &BTreeMap::new(), forks)
        };
        let (ours, same) = (of(&[("a", &[1, 2]), ("c", &[5])]), of(&[("a", &[1, 2]), ("c", &[5, 6])]));
        assert_eq!(look("a", &ours, &same, &[]), None, "the longer one may be the same");
        let other = of(&[("a", &[1, 3]), ("c", &[5])]);
        assert_eq!(look("a", &ours, &other, &[]), Some(origin("a")));
        assert_eq!(look("a", &ours, &other, &[at("a", 2)]), None, "that one is known");
        let longer = of(&[("a", &[1, 2, 3]), ("c", &[5])]);
        assert_eq!(look("a", &ours, &longer, &[]), Some(origin("a")), "what comes next here has its number");
        assert_eq!(look("b", &ours, &longer, &[]), None);
    }

    #[test]
    fn where_no_log_says_where_branches_part_all_that_is_not_proven_equal_is_different() {
        let mut apart = search("a", "c", &[1, 2, 3, 4], 4, 2, 0);
        apart.sides.proof = Some(Proof::OursGivesWay);
        assert_eq!(run(apart, &[], 0).0, Verdict::Ours(at("c", 1)));
        let mut known = search("a", "c", &[1, 2, 3, 4], 3, 3, 0);
        known.sides.proof = Some(Proof::TheirsGivesWay);
        assert_eq!(run(known, &[1, 2], 0).0, Verdict::Theirs(at("c", 3)));
    }

    #[test]
    fn the_first_difference_that_both_logs_still_hold_is_not_where_branches_part_unless_the_chains_say_so() {
        // A copy of a node goes on beside it, and the peer's log no longer holds the copy's first operations: what this
        // node wrote as the third and fourth is not there.
        let (ours, theirs) = ([1, 2, 13, 14, 15, 16], [1, 2, 3, 4, 5, 6]);
        let verdict = |forgotten| run(search("a", "a", &ours, 6, forgotten, 0), &theirs, forgotten).0;
        assert_eq!(verdict(4), Verdict::Ours(at("a", 1)), "nothing says where they part");
        assert_eq!(verdict(2), Verdict::Ours(at("a", 3)), "the chains before the third are the same");
        assert_eq!(verdict(1), Verdict::Ours(at("a", 3)));
        let theirs_gives_way = run(search("b", "a", &theirs, 6, 4, 0), &ours, 4).0;
        assert_eq!(theirs_gives_way, Verdict::Theirs(at("a", 1)), "the other one says the same");
        let mut blind = search("a", "a", &ours, 6, 2, 0);
        blind.shared.iter_mut().for_each(|held| held.before = None);
        assert_eq!(run(blind, &theirs, 2).0, Verdict::Ours(at("a", 1)), "no chain, no proof");
    }

    #[test]
    fn what_a_peer_has_said_and_what_did_not_follow_count_where_nothing_says_that_there_is_one_branch() {
        let (me, other) = (origin("a"), origin("c"));
        let doubts = || BTreeMap::from([(me.clone(), None), (other.clone(), None)]);
        let knows = |sequence: u64| -> Vector { [(other.clone(), Sequence(sequence))].into_iter().collect() };
        let (few, many) = (knows(3), knows(7));
        let after = |told: Option<&Origin>, met: Option<&Origin>, knows: (&Vector, &Vector)| {
            let mut suspects = doubts();
            let met = met.map(|met| (met.clone(), 5));
            let mut evidence = Evidence { told: told.cloned(), met };
            believe(&mut suspects, knows, &evidence.take(&me, 5));
            let later = Evidence { told: told.filter(|told| **told == me).cloned(), met: None };
            assert_eq!((evidence.take(&me, 6), evidence.take(&me, 5)), (later.clone(), later), "of one log alone");
            (suspects.get(&me).copied().flatten(), suspects.get(&other).copied().flatten(), suspects.len())
        };
        assert_eq!(after(None, None, (&few, &many)), (None, None, 2));
        assert_eq!(after(Some(&me), None, (&few, &many)), (Some(Proof::OursGivesWay), None, 2));
        let of_new = after(Some(&origin("new")), Some(&origin("new")), (&few, &many));
        assert_eq!(of_new, (None, None, 2), "of that one it is proven that there is one branch");
        // Both have met the other's, and come to the same.
        assert_eq!(after(None, Some(&other), (&few, &many)).1, Some(Proof::TheirsGivesWay));
        assert_eq!(after(None, Some(&other), (&many, &few)).1, Some(Proof::OursGivesWay));
        assert_eq!(after(None, Some(&other), (&few, &few)).1, None);
        assert_eq!(
            after(Some(&other), Some(&other), (&few, &many)).1,
            Some(Proof::OursGivesWay),
            "one has forgotten it"
        );
    }

    #[test]
    fn the_next_operation_of_the_longer_branch_tells_whether_it_is_another() {
        let with = |before: Chain| {
            let mut search = search("a", "c", &[1, 2], 3, 0, 0);
            search.sides.chain = Some(chain(&[1, 2]));
            search.is_next_open = true;
            assert_eq!(search.question(), Some(vec![Sequence(3)]));
            search.take(&[(Sequence(3), Told { id: OperationId(9), before: Some(before) })].into());
            run(search, &[], 0)
        };
        assert_eq!(with(chain(&[1, 2])), (Verdict::Same, 0));
        assert!(run_to_end(search("a", "c", &[1, 2], 3, 3, 0), &[1, 2, 3], 3).is_undecided());
        assert!(!run_to_end(search("a", "c", &[1, 2], 3, 0, 0), &[1, 2, 3], 0).is_undecided());
        assert_eq!(with(chain(&[1, 7])).0, Verdict::Theirs(at("c", 1)));
    }

    #[test]
    fn a_waymark_tells_branches_apart_where_the_peers_log_says_nothing_any_more() {
        // The peer has given way at the third of c, and its log begins after that.
        let theirs = Told { id: OperationId(31), before: Some(chain(&[1, 2])) };
        let ask = |ids: &[u128]| {
            let mut search = search("a", "c", ids, 9, 9, 0);
            search.sides.chain = Some(chain(ids));
            search.is_next_open = true;
            while search.question().is_some() {
                search.take(&[(Sequence(3), theirs)].into());
            }
            search
        };
        let other = ask(&[1, 2, 40, 41]);
        assert_eq!((other.verdict(), other.waymark()), (Verdict::Ours(at("c", 3)), Some((at("c", 3), theirs))));
        assert_eq!(ask(&[1, 2, 30, 41]).verdict(), Verdict::Theirs(at("c", 3)), "the greater id gives way");
        let same = ask(&[1, 2, 31]);
        assert_eq!((same.verdict(), same.waymark(), same.is_undecided()), (Verdict::Same, None, false));
        // Among very many it is found without being asked for.
        let many: Vec<u128> = [1, 2].into_iter().chain(1_000..100_000).collect();
        let mut search = search("a", "c", &many, 200_000, 200_000, 0);
        while search.question().is_some() {
            search.take(&[(Sequence(3), theirs)].into());
        }
        assert_eq!(search.verdict(), Verdict::Ours(at("c", 3)));
    }

    #[test]
    fn among_many_operations_the_first_that_differs_is_found_with_few_questions() {
        let ours: Vec<u128> = (1..=200_000).collect();
        let mut theirs = ours.clone();
        theirs.iter_mut().skip(123_456).for_each(|id| *id += 1_000_000);
        let (verdict, questions) = run(search("a", "a", &ours, 200_000, 0, 0), &theirs, 0);
        assert_eq!(verdict, Verdict::Ours(at("a", 123_457)));
        assert!(questions <= 3, "{questions}");
    }
}
