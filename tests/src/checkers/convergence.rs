//! All nodes that have exchanged everything hold and show the same.

use crate::checkers::Ending;

/// Compares every node with the first.
pub fn check(end: &Ending) -> Result<(), String> {
    let Some((first, others)) = end.nodes.split_first() else { return Ok(()) };
    for node in others {
        let names = format!("{} and {}", first.origin.node, node.origin.node);
        if node.vector != first.vector {
            return Err(format!("{names} know different things: {:?} and {:?}", first.vector, node.vector));
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
