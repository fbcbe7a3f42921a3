//! All nodes that have exchanged everything hold and show the same.

use std::collections::BTreeMap;

use crate::checkers::history::story;
use crate::checkers::{Ending, NodeEnding, Place, Shown};

/// Compares every node with the first.
pub fn check(end: &Ending) -> Result<(), String> {
    let Some((first, others)) = end.nodes.split_first() else { return Ok(()) };
    for node in others {
        let names = format!("{} and {}", first.origin.node, node.origin.node);
        if node.vector != first.vector {
            return Err(format!("{names} know different things: {:?} and {:?}", first.vector, node.vector));
        }
        if end.forgets {
            show_the_same(end, first, node)?;
            continue;
        }
        for (place, shown) in &first.documents {
            let other = node.documents.get(place);
            let what = format!("{}/{}", place.0, place.1);
            let other = other.ok_or_else(|| format!("{}: {what} is missing", node.origin.node))?;
            if other.text != shown.text {
                return Err(format!("{names} show different {what}: {:?} and {:?}", shown.text, other.text));
            }
            if other.state != shown.state {
                return Err(format!("{names} hold different {what}: {:?} and {:?}", shown.state, other.state));
            }
        }
        if node.documents.len() != first.documents.len() {
            let (left, right) = (first.documents.len(), node.documents.len());
            return Err(format!("{names} have {left} and {right} documents"));
        }
        if node.collections != first.collections {
            return Err(format!("{names} count differently: {:?} and {:?}", first.collections, node.collections));
        }
        if node.digest != first.digest {
            return Err(format!("{names} have different digests of equal documents"));
        }
    }
    Ok(())
}

/// Where tombstones go and increments are added up, each node in its own time, what is shown is still the same.
fn show_the_same(end: &Ending, first: &NodeEnding, node: &NodeEnding) -> Result<(), String> {
    let names = format!("{} and {}", first.origin.node, node.origin.node);
    let shown = |node: &NodeEnding| -> BTreeMap<Place, String> {
        let text = |(place, document): (&Place, &Shown)| Some((place.clone(), document.text.clone()?));
        node.documents.iter().filter_map(text).collect()
    };
    let (left, right) = (shown(first), shown(node));
    let differs = left.keys().chain(right.keys()).find(|place| left.get(*place) != right.get(*place));
    if let Some(place) = differs {
        let (what, left, right) = (format!("{}/{}", place.0, place.1), left.get(place), right.get(place));
        let all = end.operations().remove(place).unwrap_or_default();
        let all = story(all.values().copied());
        return Err(format!(
            "{names} show different {what}: {left:?} and {right:?}; all there ever was of it:\n  {all}"
        ));
    }
    if node.digest != first.digest {
        return Err(format!("{names} have different digests of equal documents"));
    }
    Ok(())
}
