//! Branches that are told apart, by logs, chains, waymarks and what was said.

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
        behind: None,
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
fn what_a_node_writes_that_has_heard_that_it_was_set_back_is_its_own_whatever_peers_confirm() {
    // Three operations, two more that it had forgotten, and what it wrote in their place, which the peer took for known.
    let mut back = search("a", "a", &[1, 2, 13, 14], 5, 5, 4);
    assert_eq!(back.verdict(), Verdict::Ours(at("a", 5)), "all is confirmed");
    let mut behind = Behind::default();
    behind.note(&origin("a"), Sequence(2));
    behind.note(&origin("a"), Sequence(4));
    back.sides.behind = behind.of(&origin("a"));
    assert_eq!(run(back, &[1, 2, 3, 4, 5], 5).0, Verdict::Ours(at("a", 3)));
    let mut longer = search("a", "a", &[1, 2, 13, 14, 15], 4, 4, 5);
    longer.sides.behind = behind.of(&origin("a"));
    assert_eq!(run(longer, &[1, 2, 3, 4], 4).0, Verdict::Ours(at("a", 3)), "though it has overtaken itself");
    let new = Origin { incarnation: 8, ..origin("a") };
    assert_eq!(behind.of(&new), None);
    behind.note(&new, Sequence(0));
    assert_eq!(behind.of(&new), Some(Sequence(1)));
}

#[test]
fn one_branch_is_proven_by_its_chains_and_all_else_is_looked_at() {
    let known = |entries: &[(&str, &[u128])]| {
        let vector: Vector = entries.iter().map(|(of, ids)| (origin(of), Sequence(ids.len() as u64))).collect();
        let chains: Chains = entries.iter().map(|(of, ids)| (origin(of), chain(ids))).collect();
        (vector, chains)
    };
    let ours = known(&[("level", &[1, 2]), ("ahead", &[1, 2, 3]), ("behind", &[1]), ("other", &[1, 2]), ("new", &[1])]);
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
    assert_eq!(after(Some(&other), Some(&other), (&few, &many)).1, Some(Proof::OursGivesWay), "one has forgotten it");
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
