//! Messages that arrive broken: one thing in them is not what it must be, and all of it has to be refused.

use holdfast_core::sync::message::{OperationRecord, StandingRecord, parse_vector};

use crate::node::wire::{Body, received_pull, received_push};
use crate::seed::Seed;

/// Breaks one thing in a message, in a way that its receiver can see. Gives nothing when there is nothing to break.
pub fn broken(body: &Body, number: u64) -> Option<Body> {
    let mut seed = Seed::new(number);
    let mut body = body.clone();
    match &mut body {
        Body::Push(push) => match push.operations.len() {
            0 => push.log_id.push('x'),
            count if seed.chance(80) => break_operation(push.operations.get_mut(seed.index(count))?, &mut seed),
            _ => drop(push.vector.insert("nobody".to_owned(), 1)),
        },
        Body::Pulled(answer) => match answer.operations.len() {
            0 => break_standing(&mut answer.standing, &mut seed),
            count if seed.chance(80) => break_operation(answer.operations.get_mut(seed.index(count))?, &mut seed),
            _ => break_standing(&mut answer.standing, &mut seed),
        },
        Body::Pushed(answer) => break_standing(&mut answer.standing, &mut seed),
        Body::Pull(question) => drop(question.vector.insert("n0@xyz".to_owned(), 1)),
        Body::Standing(standing) => break_standing(standing, &mut seed),
        _ => return None,
    }
    Some(body)
}

/// Whether a receiver would take the message for a good one. An operation that does not hold would be parked, and stay: a
/// line that breaks messages has them refused and sent again.
pub fn is_taken(body: Body) -> bool {
    if body.operations().iter().any(|record| record.clone().into_operation().is_err()) {
        return false;
    }
    match body {
        Body::Push(push) => parse_vector(&push.vector).is_ok() && received_push(push).is_ok(),
        Body::Pulled(answer) => answer.standing.parse().is_ok_and(|standing| received_pull(answer, &standing).is_ok()),
        Body::Pushed(answer) => answer.standing.parse().is_ok(),
        Body::Pull(question) => parse_vector(&question.vector).is_ok(),
        Body::Standing(standing) => standing.parse().is_ok(),
        _ => false,
    }
}

fn break_operation(record: &mut OperationRecord, seed: &mut Seed) {
    match seed.range(0..7) {
        0 => record.id.push('!'),
        1 => record.sequence = 0,
        2 => "no-kind".clone_into(&mut record.kind),
        3 => record.incarnation.truncate(7),
        4 => record.stamp.clear(),
        5 => "_sys_operations".clone_into(&mut record.collection),
        _ => drop(record.context.insert(String::new(), 1)),
    }
}

fn break_standing(standing: &mut StandingRecord, seed: &mut Seed) {
    match seed.range(0..3) {
        0 => standing.node_id.push(' '),
        1 => standing.log_id.clear(),
        _ => drop(standing.vector.insert("@".to_owned(), 3)),
    }
}
