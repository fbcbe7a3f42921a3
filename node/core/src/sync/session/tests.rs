//! Conversations of a session with its peer, event by event.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::collections::BTreeSet;

use super::*;

fn peer(log_id: u64) -> Standing {
    Standing {
        origin: Origin { node: NodeName::parse("b").unwrap(), incarnation: 1 },
        log_id,
        newest: Position(0),
        vector: Vector::new(),
        now: Millis(0),
        neighbours: BTreeSet::new(),
    }
}

fn session(checkpoint: Option<(u64, Position, Position)>) -> Session {
    Session::new(NodeName::parse("a").unwrap(), checkpoint)
}

fn committed(newest: u64) -> Event {
    let own = Origin { node: NodeName::parse("a").unwrap(), incarnation: 1 };
    Event::Committed { newest: Position(newest), vector: [(own, Sequence(newest))].into_iter().collect(), random: 0 }
}

fn pushed(through: u64, log_id: u64) -> Event {
    let through = Position(through);
    Event::Pushed { through, looked: through, has_gap: false, peer: Some(peer(log_id)) }
}

fn is_push(actions: &[Action], after: u64) -> bool {
    actions.iter().any(|action| matches!(action, Action::Push { after: from, .. } if from.0 == after))
}

fn pulled(log_id: u64) -> Event {
    Event::Pulled { through: Position(0), has_more: false, has_gap: false, peer: peer(log_id) }
}

fn is_pull(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Pull { .. }))
}

#[test]
fn it_asks_first_and_then_pushes_until_the_peer_has_everything() {
    let mut session = session(None);
    assert!(is_pull(&session.handle(Millis(0), committed(5))));
    assert!(session.handle(Millis(1), committed(9)).is_empty(), "one at a time");
    assert!(is_push(&session.handle(Millis(2), pulled(1)), 0));
    assert!(is_push(&session.handle(Millis(3), pushed(5, 1)), 5));
    let actions = session.handle(Millis(4), pushed(9, 1));
    assert!(matches!(actions[..], [Action::SaveCheckpoint { .. }]), "{actions:?}");
}

#[test]
fn what_the_peer_wrote_is_not_sent_to_it_even_when_it_has_not_said_that_it_knows() {
    let mut session = session(None);
    session.handle(Millis(0), committed(1));
    let actions = session.handle(Millis(1), pulled(1));
    let Some(Action::Push { filter, .. }) = actions.last() else { panic!("{actions:?}") };
    let (own, other) = (peer(1).origin, Origin { incarnation: 2, ..peer(1).origin });
    let known = filter.known();
    assert_eq!((known.get(&own), known.get(&other)), (Sequence(u64::MAX), Sequence(0)));
}

#[test]
fn a_peer_that_was_put_back_is_not_asked_for_ever_for_what_it_has_lost() {
    let lost: Vector = [(peer(1).origin, Sequence(3))].into_iter().collect();
    let mut session = session(None);
    session.handle(Millis(0), committed(0));
    session.handle(Millis(1), Event::Heard { vector: lost.clone(), log_id: Some(1) });
    assert!(!is_pull(&session.handle(Millis(2), pulled(1))));
    assert_eq!(*session.peer_vector(), Vector::new());
    let later = Millis(2) + COMES_BY_ITSELF;
    assert!(!is_pull(&session.handle(later, Event::Woken)), "it has said that there is nothing");
}

#[test]
fn positions_of_a_peer_count_for_one_life_of_it() {
    let mut session = session(None);
    session.handle(Millis(0), committed(5));
    session.handle(Millis(1), pulled(1));
    session.handle(Millis(2), pushed(5, 1));
    assert_eq!((session.pushed(), session.confirmed()), (Position(5), Position(5)));
    session.handle(Millis(3), Event::Sweep);
    let origin = Origin { incarnation: 2, ..peer(1).origin };
    let restored = Standing { origin, ..peer(1) };
    let answer = Event::Pulled { through: Position(0), has_more: false, has_gap: false, peer: restored };
    assert!(is_push(&session.handle(Millis(4), answer), 0));
}

#[test]
fn what_a_checkpoint_says_is_not_confirmed_until_the_peer_has_answered() {
    // The peer was wiped while we were down: it has nothing of what it had confirmed.
    let mut session = session(Some((1, Position(5), Position(4))));
    session.handle(Millis(0), committed(5));
    assert_eq!((session.pushed(), session.confirmed()), (Position(5), Position(0)));
    session.handle(Millis(1), pulled(2));
    assert_eq!(session.confirmed(), Position(0));
}

#[test]
fn a_checkpoint_from_before_the_peer_was_put_back_does_not_keep_from_it_what_it_has_lost() {
    // Both were down; the peer came back with a backup, which keeps the id of its log, and nobody writes any more.
    let of_ours = |known: u64| {
        let Event::Committed { vector, .. } = committed(known) else { panic!() };
        let standing = Standing { vector, ..peer(1) };
        Event::Pulled { through: Position(0), has_more: false, has_gap: false, peer: standing }
    };
    let mut put_back = session(Some((1, Position(5), Position(0))));
    put_back.handle(Millis(0), committed(5));
    assert!(is_push(&put_back.handle(Millis(1), of_ours(3)), 0));
    let mut same = session(Some((1, Position(5), Position(0))));
    same.handle(Millis(0), committed(5));
    let actions = same.handle(Millis(1), of_ours(5));
    assert!(matches!(actions[..], [Action::SaveCheckpoint { .. }]), "{actions:?}");
    assert_eq!(same.pushed(), Position(5));
}

#[test]
fn a_failure_waits_longer_each_time_and_a_call_ends_the_wait() {
    let mut session = session(None);
    session.handle(Millis(0), committed(1));
    let mut waits = Vec::new();
    let mut now = Millis(0);
    for _ in 0..7 {
        session.handle(now, Event::Failed { random: 0 });
        let Phase::Waiting { until } = session.phase() else { panic!() };
        waits.push(until.since(now).0);
        assert_eq!((session.handle(now, committed(2)), session.wakes_at()), (Vec::new(), Some(until)));
        now = until;
        assert!(is_pull(&session.handle(now, Event::Woken)));
    }
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    session.handle(now, Event::Failed { random: 0 });
    assert!(is_pull(&session.handle(now, Event::Called)));
}

#[test]
fn an_offer_that_failed_is_followed_by_a_question_and_a_question_by_an_offer() {
    let mut session = session(None);
    session.handle(Millis(0), committed(1));
    assert!(is_push(&session.handle(Millis(0), pulled(1)), 0));
    for _ in 0..2 {
        session.handle(Millis(0), Event::Failed { random: 0 });
        assert!(is_pull(&session.handle(Millis(0), Event::Called)), "what was believed may be wrong");
        session.handle(Millis(0), Event::Failed { random: 0 });
        assert!(is_push(&session.handle(Millis(0), Event::Called), 0), "what they give may be what cannot be taken");
    }
    assert!(is_pull(&session.handle(Millis(0), Event::LostPlace)));
    session.handle(Millis(0), Event::LostPlace);
    assert!(is_pull(&session.handle(Millis(0), Event::Called)), "after a wait, too");
}

#[test]
fn a_peer_with_another_log_gets_everything_again() {
    let mut session = session(Some((1, Position(50), Position(40))));
    session.handle(Millis(0), committed(51));
    session.handle(Millis(1), pulled(1));
    let actions = session.handle(Millis(2), pushed(51, 2));
    assert!(is_push(&actions, 0), "{actions:?}");
    assert_eq!(session.pulled(), Position::START);
}

#[test]
fn a_position_beyond_the_peers_log_is_forgotten() {
    let mut session = session(Some((1, Position(3), Position(u64::MAX))));
    let pull = |after| Action::Pull { after, log_id: Some(1) };
    assert_eq!(session.handle(Millis(0), Event::Sweep), [pull(Position(u64::MAX))]);
    assert_eq!(session.handle(Millis(1), Event::LostPlace), [pull(Position::START)]);
    session.handle(Millis(2), Event::LostPlace);
    assert!(matches!(session.phase(), Phase::Waiting { .. }), "a second time in a row waits");
}

#[test]
fn a_peer_without_the_database_is_sent_everything_and_asked_nothing() {
    let mut session = session(Some((1, Position(5), Position(4))));
    session.handle(Millis(0), committed(5));
    assert!(is_push(&session.handle(Millis(1), Event::Absent), 0));
    session.handle(Millis(2), pushed(5, 9));
    assert_eq!((session.pushed(), session.pulled()), (Position(5), Position(0)));
    let mut empty = Session::new(NodeName::parse("a").unwrap(), None);
    assert!(is_pull(&empty.handle(Millis(0), Event::Sweep)));
    assert_eq!(empty.handle(Millis(1), Event::Absent), [], "there is nothing to make it with");
}

#[test]
fn a_way_that_is_not_selected_rests_and_goes_on_where_it_was() {
    let mut session = session(Some((1, Position(3), Position(4))));
    session.handle(Millis(0), Event::Selected(Selection { push: false, pull: true }));
    session.handle(Millis(0), Event::Pulled { through: Position(4), has_more: false, has_gap: false, peer: peer(1) });
    assert!(!is_push(&session.handle(Millis(1), committed(9)), 3));
    let both = Selection { push: true, pull: true };
    assert!(is_push(&session.handle(Millis(2), Event::Selected(both)), 3), "not from the start");
    session.handle(Millis(3), Event::NotSelectedByPeer);
    assert!(session.refused().is_any() && session.failures() == 0);
    assert!(session.handle(Millis(4), committed(10)).is_empty(), "it is not asked again and again");
    let actions = session.handle(Millis(5), Event::Sweep);
    assert!(is_push(&actions, 3), "{actions:?}");
}

#[test]
fn under_a_full_load_a_push_waits_for_more_and_a_single_write_goes_at_once() {
    let mut session = session(Some((1, Position(0), Position(0))));
    session.handle(Millis(0), committed(100));
    assert!(is_push(&session.handle(Millis(1), pulled(1)), 0));
    session.handle(Millis(4), committed(130));
    let actions = session.handle(Millis(5), pushed(100, 1));
    assert!(matches!(actions[..], [Action::SaveCheckpoint { .. }]), "{actions:?}");
    let then = session.wakes_at().unwrap();
    assert!(session.is_gathering(Millis(6)) && session.handle(Millis(6), committed(140)).is_empty());
    assert!(is_push(&session.handle(then, Event::Woken), 100));
    session.handle(then, pushed(140, 1));
    assert!(is_push(&session.handle(then, committed(141)), 140), "few came last time");
}

#[test]
fn what_the_peer_brings_and_what_came_another_way_is_not_asked_for_again() {
    let mut session = session(Some((1, Position(9), Position(40))));
    session.handle(Millis(0), committed(9));
    let brought =
        |log_id, after, through| Event::Brought { log_id, after: Position(after), through: Position(through) };
    session.handle(Millis(1), brought(2, 40, 50));
    session.handle(Millis(1), brought(1, 41, 50));
    assert_eq!(session.pulled(), Position(40), "of another log, and after a hole");
    session.handle(Millis(1), brought(1, 30, 50));
    assert_eq!(session.pulled(), Position(50));
    let all_here = Standing { newest: Position(70), ..peer(1) };
    let answer = |peer| Event::Pulled { through: Position(50), has_more: false, has_gap: false, peer };
    session.handle(Millis(2), answer(all_here.clone()));
    assert_eq!(session.pulled(), Position(70));
    let vector = [(peer(1).origin, Sequence(3))].into_iter().collect();
    session.handle(Millis(3), Event::Sweep);
    session.handle(Millis(3), answer(Standing { newest: Position(90), vector, ..all_here }));
    assert_eq!(session.pulled(), Position(70), "it has something that is not here");
}

#[test]
fn a_wait_that_ends_early_leaves_no_other_time_forgotten() {
    // The peer takes our log by asking, and an offer waits for that; a question of ours fails meanwhile.
    let mut session = session(Some((1, Position(0), Position(0))));
    session.handle(Millis(0), committed(1));
    session.handle(Millis(1), pulled(1));
    session.handle(Millis(2), pushed(1, 1));
    session.handle(Millis(10), Event::Answered { after: Position(1), has_any: true, has_more: true });
    session.handle(Millis(11), committed(2));
    let offers = Millis(10) + ASKS_AGAIN_WITHIN;
    assert_eq!(session.wakes_at().map(|at| at <= offers), Some(true));
    assert!(is_pull(&session.handle(Millis(12), Event::Sweep)));
    assert_eq!(session.wakes_at(), None, "an exchange ends by itself");
    session.handle(Millis(13), Event::Failed { random: 0 });
    assert_eq!(session.wakes_at(), Some(Millis(13) + BACKOFF_MIN));
    assert!(is_pull(&session.handle(Millis(20), Event::Called)));
    session.handle(Millis(21), pulled(1));
    assert_eq!(session.wakes_at().map(|at| at <= offers), Some(true), "and not when the wait would have ended");
    assert!(is_push(&session.handle(offers, Event::Woken), 1));
}

#[test]
fn what_the_peer_brings_is_not_complete_for_a_node_that_has_forgotten_what_it_wrote() {
    // This node was put back to a backup: the peer, which has not heard of that yet, leaves out what we wrote since.
    let mut session = session(Some((1, Position(9), Position(16))));
    session.handle(Millis(0), committed(3));
    let earlier = Origin { node: NodeName::parse("a").unwrap(), incarnation: 0 };
    let vector = |known| [(earlier.clone(), Sequence(known))].into_iter().collect();
    session.handle(Millis(1), Event::Heard { vector: vector(6), log_id: Some(1) });
    let brought = || Event::Brought { log_id: 1, after: Position(16), through: Position(20) };
    session.handle(Millis(2), brought());
    assert_eq!(session.pulled(), Position(16), "what it left out lies in there");
    session.handle(Millis(3), Event::Committed { newest: Position(6), vector: vector(6), random: 0 });
    session.handle(Millis(4), brought());
    assert_eq!(session.pulled(), Position(20));
}

#[test]
fn a_position_before_which_the_peer_lacks_something_is_not_confirmed() {
    let mut session = session(Some((1, Position(8), Position(0))));
    session.handle(Millis(0), committed(13));
    session.handle(Millis(0), pulled(1));
    assert_eq!(session.confirmed(), Position(8));
    // Something that was left to others, for it seemed to be there.
    let gap = Event::Pushed { through: Position(8), looked: Position(13), has_gap: true, peer: Some(peer(1)) };
    session.handle(Millis(1), gap);
    assert_eq!((session.pushed(), session.confirmed()), (Position(8), Position(0)));
    session.handle(Millis(2), pushed(13, 1));
    assert_eq!(session.confirmed(), Position(13));
}

#[test]
fn a_gap_starts_over_at_once_and_a_second_one_waits() {
    let mut session = session(Some((1, Position(50), Position(40))));
    let (through, looked) = (Position(50), Position(50));
    let gap = || Event::Pushed { through, looked, has_gap: true, peer: Some(peer(1)) };
    session.handle(Millis(0), committed(51));
    session.handle(Millis(0), pulled(1));
    assert!(is_push(&session.handle(Millis(1), gap()), 0));
    session.handle(Millis(2), gap());
    assert!(matches!(session.phase(), Phase::Waiting { .. }));
}
