//! What a policy, or a person's rule, makes of a conflict.
//!
//! | policy | answer |
//! |---|---|
//! | `LastWriterWins` | the side with the greatest stamp; nothing is written, it is shown already |
//! | `MergeFields` | field by field against the common ancestor; where that is gone, none: the conflict stays open |
//! | `ApplyIncoming` | of the sides not written here the last writer's, if one was written here |
//! | `KeepLocal` | the side written here, if there is one |
//!
//! A delete beside a change is settled by the last writer, under `MergeFields` too: half a document helps nobody.

use crate::conflict::ancestor::Ancestor;
use crate::conflict::is_counted_while_deleted;
use crate::conflict::merge::merge_fields;
use crate::document::{DocumentState, Version};
use crate::id::{DocumentId, NodeName};
use crate::json::{JsonText, with_id};
use crate::limits::DOCUMENT_BYTES_MAX;

/// How a node settles conflicts by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConflictPolicy {
    /// The write with the latest stamp is shown, and the conflict stays on record until somebody settles it.
    #[default]
    LastWriterWins,
    /// Each field shows its latest change.
    MergeFields,
    /// What arrives from a peer is shown.
    ApplyIncoming,
    /// What this node wrote is shown.
    KeepLocal,
}

/// How a person settles many conflicts at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// The side with the greatest stamp.
    LastWriterWins,
    /// The side with the least stamp.
    FirstWriterWins,
    /// Field by field against the common ancestor.
    MergeFields,
    /// The last writer among the sides that this node wrote.
    PreferNode(NodeName),
}

/// What a policy or rule answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing is to be written: what is shown stands.
    Stands,
    /// There is no answer; the conflict stays open. The sentence says why.
    None(&'static str),
    /// This document is to be written, without the increments beside it; deleted when `None`.
    Write(Option<JsonText>),
}

impl ConflictPolicy {
    /// Every policy.
    pub const ALL: [Self; 4] = [Self::LastWriterWins, Self::MergeFields, Self::ApplyIncoming, Self::KeepLocal];

    /// The policy's word, in settings and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::LastWriterWins => "LastWriterWins",
            Self::MergeFields => "MergeFields",
            Self::ApplyIncoming => "ApplyIncoming",
            Self::KeepLocal => "KeepLocal",
        }
    }

    /// The policy of a word, in any case.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name().eq_ignore_ascii_case(word))
    }

    /// What a node named `here` writes about a document in conflict. The ancestor is asked for only when it matters.
    pub fn answer<E>(
        self,
        state: &DocumentState,
        id: &DocumentId,
        here: &NodeName,
        ancestor: impl FnOnce() -> Result<Ancestor, E>,
    ) -> Result<Answer, E> {
        // Where nobody wrote plainly, every node has had its say. A counter beside a delete is for people to judge.
        let is_settled = state.versions.iter().all(|version| version.is_resolution);
        if is_settled || !state.is_conflicted() {
            return Ok(Answer::Stands);
        }
        let is_local = |version: &&Version| version.dot.origin.node == *here;
        let has_local = state.versions.iter().any(|version| is_local(&version));
        Ok(match self {
            Self::LastWriterWins => Answer::Stands,
            Self::MergeFields => merged(state, id, &ancestor()?),
            Self::ApplyIncoming if has_local => keep(state.versions.iter().find(|version| !is_local(version))),
            Self::KeepLocal if has_local => keep(state.versions.iter().find(is_local)),
            Self::ApplyIncoming | Self::KeepLocal => Answer::Stands,
        })
    }
}

impl Rule {
    /// What a rule makes of a document in conflict.
    pub fn answer<E>(
        &self,
        state: &DocumentState,
        id: &DocumentId,
        ancestor: impl FnOnce() -> Result<Ancestor, E>,
    ) -> Result<Answer, E> {
        Ok(match self {
            Self::LastWriterWins => keep(state.versions.first()),
            Self::FirstWriterWins => keep(state.versions.last()),
            Self::MergeFields if is_counted_while_deleted(state) && state.versions.len() == 1 => {
                Answer::None("A counter was changed beside a delete; choose a version or write a value.")
            }
            Self::MergeFields => merged(state, id, &ancestor()?),
            Self::PreferNode(node) => keep(state.versions.iter().find(|version| version.dot.origin.node == *node)),
        })
    }
}

fn keep(version: Option<&Version>) -> Answer {
    match version {
        Some(version) => Answer::Write(version.body.clone()),
        None => Answer::None("None of the versions was written by that node."),
    }
}

fn merged(state: &DocumentState, id: &DocumentId, ancestor: &Ancestor) -> Answer {
    if state.versions.first().is_some_and(|version| version.body.is_none()) {
        return Answer::Write(None);
    }
    let ancestor = match ancestor {
        Ancestor::Nothing => None,
        Ancestor::Found { body, .. } => body.as_ref(),
        Ancestor::Gone => return Answer::None("The log no longer holds what the versions have in common."),
    };
    let ancestor = ancestor.map(JsonText::to_object).unwrap_or_default();
    let sides: Vec<_> =
        state.versions.iter().filter_map(|version| version.body.as_ref().map(JsonText::to_object)).collect();
    let body = JsonText::from_object(&with_id(merge_fields(&ancestor, &sides.iter().collect::<Vec<_>>()), id));
    if body.as_str().len() > DOCUMENT_BYTES_MAX {
        return Answer::None("The merged document would be larger than a document may be.");
    }
    Answer::Write(Some(body))
}
