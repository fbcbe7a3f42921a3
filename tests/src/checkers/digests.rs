//! Digests and counts are those of the documents that are there: added up again from what is shown.

use std::collections::BTreeMap;

use holdfast_core::digest::Digest;
use holdfast_core::id::CollectionName;

use crate::checkers::Ending;

/// Adds up every collection of every node.
pub fn check(end: &Ending) -> Result<(), String> {
    for node in &end.nodes {
        let mut sums: BTreeMap<&CollectionName, (u64, Digest)> = BTreeMap::new();
        for ((collection, id), document) in node.documents.iter().filter(|(_, document)| document.text.is_some()) {
            let (alive, digest) = sums.entry(collection).or_default();
            *alive += 1;
            *digest = digest.plus(Digest::of(collection, id, &document.state));
        }
        for (collection, says) in &node.collections {
            let (alive, digest) = sums.remove(collection).unwrap_or_default();
            if (says.alive, says.digest) != (alive, digest) {
                let (name, says, digests) = (&node.origin.node, says.alive, says.digest);
                return Err(format!(
                    "{collection} at {name} shows {alive} documents of {digest}, and is said to show {says} of {digests}"
                ));
            }
        }
        if let Some((collection, _)) = sums.first_key_value() {
            return Err(format!("{collection} shows documents at {}, which does not know it", node.origin.node));
        }
        let whole = node.collections.values().fold(Digest::default(), |sum, state| sum.plus(state.digest));
        if whole != node.digest {
            return Err(format!("the digest of {} is not the sum of its collections", node.origin.node));
        }
    }
    Ok(())
}
