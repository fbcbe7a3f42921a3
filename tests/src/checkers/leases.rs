//! Nobody is counted out by a node that hears no majority of the members, directly or through others.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::time::Millis;

use crate::checkers::{Ending, Finding};

const NAME: &str = "leases";

/// Who has heard whom, and when.
#[derive(Debug, Default)]
pub struct Heard {
    last: BTreeMap<(usize, usize), Millis>,
}

impl Heard {
    /// Takes note of a message that has arrived.
    pub fn note(&mut self, now: Millis, from: usize, to: usize) {
        self.last.insert((to, from), now);
    }

    /// Judges a node that counts somebody out, of so many members. Word of others may have taken as long as `window`.
    pub fn judge(&self, now: Millis, node: usize, members: usize, window: Millis) -> Option<Finding> {
        let mut heard = BTreeSet::from([node]);
        loop {
            let is_recent = |at: &Millis| now.since(*at) <= window;
            let further = self.last.iter().filter(|((to, _), at)| heard.contains(to) && is_recent(at));
            let further: BTreeSet<usize> = further.map(|((_, from), _)| *from).collect();
            if further.is_subset(&heard) {
                break;
            }
            heard.extend(further);
        }
        let is_majority = heard.len() * 2 > members;
        let what = || format!("n{node} counts a member out, hearing {} of {members}", heard.len());
        (!is_majority).then(|| Finding { checker: NAME, what: what() })
    }
}

/// Reports what was seen on the way.
pub fn check(end: &Ending) -> Result<(), String> {
    end.found_by(NAME)
}
