//! Names of increments that stand here no more, kept while the same change can still come again.
//!
//! A node that was counted out and returns writes again what it holds and the others lack, and names what that stands in for.
//! Two that return write the same again, and neither knows of the other's:
//!
//! ```text
//!   +1 of p ─► held by a and b alone ─► written again by a ─► overwritten by a put, which has seen a's
//!                                    └► written again by b ─► arrives now: the put holds it already
//! ```
//!
//! So what counts is the change, not who brings it. Of one change, all that stand for it lose together what a write that has
//! seen any of them takes the place of; afterwards their names stay, and whatever comes under one of them changes nothing.
//!
//! Must stay true: the state is the same in whatever order they come, and when states are joined.
//!
//! Names go when nobody can bring the change without having heard that it is known. Of the change itself that is so when every
//! member knows it: whoever returns later finds its number known. What was written again has another number than that, and
//! whoever returns later looks for the name: those stay, bounded, the oldest going first. Whoever does not find one writes the
//! change anew having seen that, and then it counts anew, everywhere.

use std::collections::BTreeSet;

use crate::document::{AppliedIncrement, DocumentState};
use crate::id::OperationId;
use crate::limits::{COUNTED_NAMES_SETTLED_MIN, STAND_IN_NAMES_MAX};
use crate::operation::Operation;
use crate::vector::{Dot, Vector};

/// The name of a change that was counted here, and counts no more by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedName {
    /// The first operation that said it, whoever wrote it again.
    pub of: OperationId,
    /// Under which number it came here.
    pub dot: Dot,
    /// Whether it stood in for another.
    pub is_stand_in: bool,
}

impl AppliedIncrement {
    /// What tells it from every other change: it and one that stands in for it are the same.
    pub fn name(&self) -> OperationId {
        self.replaces.unwrap_or(self.id)
    }

    fn to_name(&self) -> CountedName {
        CountedName { of: self.name(), dot: self.dot.clone(), is_stand_in: self.replaces.is_some() }
    }
}

impl DocumentState {
    /// Under which numbers an increment is known here, whoever wrote it; none if it is not.
    pub fn known_as(&self, name: OperationId) -> impl Iterator<Item = &Dot> {
        let standing = self.increments.iter().filter(move |applied| applied.name() == name).map(|applied| &applied.dot);
        standing.chain(self.names.iter().filter(move |kept| kept.of == name).map(|kept| &kept.dot))
    }

    /// Whether both are the same but for the names that they keep: what an earlier version wrote has none.
    pub fn is_same_but_for_names(&self, other: &Self) -> bool {
        let Self { versions, increments, tally, names: _, vector } = self;
        (versions, increments, tally, vector) == (&other.versions, &other.increments, &other.tally, &other.vector)
    }

    /// Whether there are names that can go once every member knows them.
    pub fn has_names_to_settle(&self) -> bool {
        let stand_ins = self.names.iter().filter(|kept| kept.is_stand_in).count();
        stand_ins > STAND_IN_NAMES_MAX || self.names.len() - stand_ins >= COUNTED_NAMES_SETTLED_MIN
    }

    /// Lets go of names that nobody can bring again unheard: every member knows what `stable` covers. Answers whether there
    /// was one.
    pub fn settle_names(&mut self, stable: &Vector) -> bool {
        let before = self.names.len();
        self.names.retain(|kept| kept.is_stand_in || !stable.covers(&kept.dot));
        let mut oldest: Vec<OperationId> =
            self.names.iter().filter(|kept| kept.is_stand_in && stable.covers(&kept.dot)).map(|kept| kept.of).collect();
        oldest.sort_unstable();
        let stand_ins = self.names.iter().filter(|kept| kept.is_stand_in).count();
        oldest.truncate(stand_ins.saturating_sub(STAND_IN_NAMES_MAX));
        self.names.retain(|kept| !(kept.is_stand_in && stable.covers(&kept.dot) && oldest.contains(&kept.of)));
        self.names.len() < before
    }

    /// Whether a change of this name counts no more by itself.
    pub(super) fn is_named(&self, name: OperationId) -> bool {
        self.names.iter().any(|kept| kept.of == name)
    }

    /// Keeps the name of an increment that does not come to stand here.
    pub(super) fn keep_name(&mut self, name: CountedName) {
        let place = self.names.partition_point(|kept| kept.dot < name.dot);
        if self.names.get(place).is_none_or(|kept| kept.dot != name.dot) {
            self.names.insert(place, name);
        }
    }

    /// Takes away all that stands for these changes.
    pub(super) fn retire(&mut self, names: &BTreeSet<OperationId>) {
        if names.is_empty() {
            return;
        }
        let all = std::mem::take(&mut self.increments).into_iter();
        let (gone, stay) = all.partition::<Vec<_>, _>(|applied| names.contains(&applied.name()));
        self.increments = stay;
        for applied in &gone {
            self.keep_name(applied.to_name());
        }
    }

    /// Of one change, all that stand for it say the same: what was taken from one is taken from all.
    pub(super) fn level(&mut self, name: OperationId) {
        let twins = || self.increments.iter().filter(|applied| applied.name() == name);
        if twins().count() < 2 {
            return;
        }
        let mut common = twins().next().map(|first| first.increment.0.clone()).unwrap_or_default();
        for twin in twins() {
            common.retain(|(path, _)| twin.increment.0.iter().any(|(other, _)| other == path));
        }
        for twin in self.increments.iter_mut().filter(|applied| applied.name() == name) {
            twin.increment.0.retain(|(path, _)| common.iter().any(|(kept, _)| kept == path));
        }
        if common.is_empty() {
            self.retire(&BTreeSet::from([name]));
        }
    }

    /// Whether an increment that comes is another's change again, which counts here no more. Its name is kept, if so.
    ///
    /// Where its writer had seen that one and wrote it all the same, nothing said there that it was known, and it counts anew.
    pub(super) fn is_counted_already(&mut self, operation: &Operation) -> bool {
        let name = operation.identity();
        let is_stand_in = operation.replaces.is_some();
        if is_stand_in {
            self.names.retain(|kept| kept.of != name || !operation.context.covers(&kept.dot));
            let is_seen = |applied: &&AppliedIncrement| applied.id == name && operation.context.covers(&applied.dot);
            let seen = self.increments.iter().find(is_seen).map(|applied| applied.dot.clone());
            if let Some(Dot { origin, sequence }) = seen {
                // There it was added up.
                self.fold(&[(origin, sequence)].into_iter().collect());
            }
        }
        let is_counted = self.is_named(name);
        if is_counted {
            self.keep_name(CountedName { of: name, dot: operation.dot.clone(), is_stand_in });
        }
        is_counted
    }
}

#[cfg(test)]
mod tests;
