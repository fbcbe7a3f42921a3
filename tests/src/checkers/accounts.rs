//! Nothing that was answered with success is lost where logs are pruned, tombstones go and nodes change their names: every
//! change is known everywhere, under its own name or another, or gave way to something that is.

use std::collections::BTreeSet;

use holdfast_core::id::OperationId;
use holdfast_core::operation::{Operation, OperationKind};
use holdfast_core::vector::Dot;

use crate::checkers::history::story;
use crate::checkers::{Ending, Place};

/// Looks for every acknowledged change, and at what is shown of every document.
pub fn check(end: &Ending) -> Result<(), String> {
    for written in end.acknowledged.iter().map(|logged| &logged.operation) {
        if !is_accounted_for(end, written, &mut BTreeSet::new()) {
            let Operation { dot, kind, document, .. } = written;
            let of_document = end
                .history
                .operations
                .values()
                .filter(|other| (&other.collection, &other.document) == (&written.collection, document));
            return Err(format!(
                "{dot} ({} of {document:?}) was acknowledged, and nobody knows what became of it; all there was of \
                 it:\n  {}",
                kind.name(),
                story(of_document)
            ));
        }
    }
    let operations = end.operations();
    for (place, operations) in &operations {
        let known: Vec<&Operation> = operations.values().copied().filter(|operation| end.is_known(operation)).collect();
        shows_the_last(end, place, &known)?;
    }
    Ok(())
}

/// Whether a change is known everywhere, or may be lost, or gave way to one that is accounted for.
fn is_accounted_for(end: &Ending, written: &Operation, asked: &mut BTreeSet<OperationId>) -> bool {
    let identity = written.identity();
    let is_elsewhere =
        written.document.is_none() || end.history.is_losable(identity) || end.history.is_indistinct(written);
    if !asked.insert(identity) {
        return false;
    }
    if is_elsewhere || end.history.names(identity).any(|name| end.is_known(name)) {
        return true;
    }
    let same_document =
        |other: &&Operation| (&other.collection, &other.document) == (&written.collection, &written.document);
    let took_its_place = |other: &&Operation| {
        end.history.names(identity).any(|name| end.has_seen(other, name)) && other.identity() != identity
    };
    let others: Vec<&Operation> = end.history.operations.values().filter(same_document).collect();
    if others.iter().filter(|other| took_its_place(other)).any(|other| is_accounted_for(end, other, asked)) {
        return true;
    }
    // A node that took a peer's states, in which the document was not, has written what it showed of it as new.
    end.history.rebases.iter().filter(|rebase| rebase.vector.covers(&written.dot)).any(|rebase| {
        let is_as_new = |other: &&&Operation| {
            other.replaces.is_some() && other.dot.origin.node == rebase.origin.node && end.is_known(other)
        };
        is_delete(written) || others.iter().any(|other| is_as_new(&other))
    })
}

fn is_delete(operation: &Operation) -> bool {
    matches!(operation.kind, OperationKind::Delete | OperationKind::Resolve { body: None, .. })
}

/// Whether some node shows an operation of a document by a dot that two of them have, and that nobody told apart.
fn shows_indistinct(end: &Ending, place: &Place) -> bool {
    let shown = end.nodes.iter().filter_map(|node| node.documents.get(place)?.state.versions.first());
    let dots: BTreeSet<&Dot> = shown.map(|version| &version.dot).collect();
    let of_place =
        |other: &&Operation| (Some(&other.collection), other.document.as_ref()) == (Some(&place.0), Some(&place.1));
    let mut operations = end.history.operations.values().filter(of_place);
    operations.any(|operation| dots.contains(&operation.dot) && end.history.is_indistinct(operation))
}

/// Whether every node shows the last writer among what nothing covers. Of a document on which a dot may mean two operations
/// that nobody could tell apart any more, nobody can say which of them is shown by it. Where the last writer deleted it and the tombstone
/// is gone, a write that had not seen the delete may be shown in its place.
fn shows_the_last(end: &Ending, place: &Place, known: &[&Operation]) -> Result<(), String> {
    if known.iter().any(|operation| end.history.is_indistinct(operation)) || shows_indistinct(end, place) {
        return Ok(());
    }
    let is_covered =
        |operation: &Operation| known.iter().any(|other| other.kind.is_whole() && end.has_seen(other, operation));
    let standing = || known.iter().filter(|operation| operation.kind.is_whole() && !is_covered(operation));
    let last = standing().max_by_key(|operation| (operation.stamp, &operation.dot));
    let writes: BTreeSet<OperationId> =
        standing().filter(|operation| !is_delete(operation)).map(|operation| operation.identity()).collect();
    for node in &end.nodes {
        let shown = node.documents.get(place).filter(|document| document.text.is_some());
        let shown = shown.and_then(|document| document.state.versions.first()).map(|version| &version.dot);
        let identity =
            |dot: &Dot| known.iter().find(|operation| operation.dot == *dot).map(|operation| operation.identity());
        let is_right = match (shown.and_then(identity), last) {
            (Some(shown), Some(last)) if is_delete(last) => writes.contains(&shown),
            (Some(shown), Some(last)) => shown == last.identity(),
            (None, last) => shown.is_none() && last.is_none_or(|last| is_delete(last)),
            (Some(_), None) => false,
        };
        if !is_right {
            let what = format!("{}/{} at {}", place.0, place.1, node.origin.node);
            let (last, all) = (last.map(|last| &last.dot), story(known.iter().copied()));
            return Err(format!(
                "{what} shows {shown:?}, and the last writer is {last:?}; all there is of it:\n  {all}"
            ));
        }
    }
    Ok(())
}
