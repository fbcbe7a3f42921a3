//! Status never lies: whenever a node says `InSync` of a peer, the peer shows the same, or did when it last spoke; and in a
//! world that has come to rest everybody says so of everybody.

use std::collections::BTreeMap;

use holdfast_core::digest::Digest;
use holdfast_core::vector::Vector;

use crate::checkers::{Ending, Finding};
use crate::node::survey::Claim;

const NAME: &str = "status";

/// What each node has shown, by what it knew.
#[derive(Debug, Default)]
pub struct Truth {
    shown: BTreeMap<(usize, Vector), Digest>,
}

impl Truth {
    /// Takes note of what a node shows.
    pub fn note(&mut self, node: usize, knows: &Vector, shows: Digest) {
        self.shown.insert((node, knows.clone()), shows);
    }

    /// Holds what a node says against what its peer shows: now, if it knows the same, and else when it did.
    pub fn judge(&self, node: usize, claim: &Claim, now: Option<(Vector, Digest)>) -> Option<Finding> {
        let Claim { peer, knows, shows } = claim;
        let now = now.filter(|(vector, _)| vector == knows).map(|(_, digest)| digest);
        let truth = now.or_else(|| self.shown.get(&(*peer, knows.clone())).copied());
        let what = match truth {
            Some(digest) if digest == *shows => return None,
            Some(digest) => format!("it shows {digest}, and the node itself {shows}"),
            None => "it has never known the same".to_owned(),
        };
        Some(Finding { checker: NAME, what: format!("n{node} says InSync of n{peer}, and {what}") })
    }
}

/// Reports what was seen on the way, and who says something else at the end.
pub fn check(end: &Ending) -> Result<(), String> {
    end.found_by(NAME)?;
    match end.unproven.first() {
        Some(unproven) => Err(format!("all is exchanged and equal, and {unproven}")),
        None => Ok(()),
    }
}
