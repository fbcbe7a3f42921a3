//! Whoever knows the same shows the same, at every moment and not only at the end: so a status that says "in sync" on
//! equal vectors never lies.

use std::collections::BTreeMap;

use holdfast_core::chain::Chains;
use holdfast_core::digest::Digest;
use holdfast_core::vector::{Origin, Vector};

use crate::checkers::{Ending, Finding};

const NAME: &str = "sameness";

/// What nodes have shown, by what they knew.
#[derive(Debug, Default)]
pub struct Sameness {
    shown: BTreeMap<(Vector, BTreeMap<Origin, u64>), (Digest, String)>,
}

impl Sameness {
    /// Takes note of what a node shows now, and compares it with all that was ever shown by those who knew the same: as
    /// much, and where an origin may have two branches, of the same.
    pub fn look(&mut self, node: &str, (knows, chains): (Vector, Chains), shows: Digest) -> Option<Finding> {
        let chains = chains.iter().map(|(origin, chain)| (origin.clone(), chain.0)).collect();
        let knows = (knows, chains);
        let (digest, other) = self.shown.entry(knows).or_insert_with(|| (shows, node.to_owned()));
        let what = || format!("{node} and {other} knew the same, and showed {shows} and {digest}");
        (*digest != shows).then(|| Finding { checker: NAME, what: what() })
    }
}

/// Reports what was seen on the way.
pub fn check(end: &Ending) -> Result<(), String> {
    end.found_by(NAME)
}
