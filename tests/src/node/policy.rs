//! Settling conflicts as the node's policy says: what the server's resolver does.
//!
//! ```text
//!   a commit ─► conflicts since the last look ─► wait for this node's turn ─► judge what is there then ─► write
//! ```
//!
//! A policy is one collection's, [`orders`]: transactions are judged document by document, and pairs would part.

use holdfast_core::conflict::policy::{Answer, ConflictPolicy};
use holdfast_core::conflict::settle::Settlement;
use holdfast_core::conflict::turn::wait_before_turn;
use holdfast_core::conflict::{ConflictId, sides};
use holdfast_core::id::DocumentId;
use holdfast_core::vector::Position;
use holdfast_storage::request::{Action, Change, Expect, Request};

use crate::node::{Caller, Node, Outbox, Sabotage, Stimulus};
use crate::workload::orders;

impl Node {
    /// An operator gives it another policy; it looks at all that is open.
    pub fn adopt_policy(&mut self, policy: ConflictPolicy, outbox: &mut Outbox) {
        self.setup.policy = policy;
        if let Some(running) = &mut self.running {
            running.looked = Position::START;
        }
        self.look_for_conflicts(outbox);
    }

    /// Finds the conflicts that came up since the last look.
    pub(super) fn look_for_conflicts(&mut self, outbox: &mut Outbox) {
        if self.setup.policy == ConflictPolicy::LastWriterWins || self.setup.sabotage == Sabotage::NeverSettles {
            return;
        }
        let Some(running) = &mut self.running else { return };
        let view = running.database.view().expect("a healthy database");
        let found = view.conflicts_since(running.looked, usize::MAX).expect("a healthy database");
        running.looked = found.last().map_or(running.looked, |(position, _)| *position);
        let here = self.identity.node.clone();
        for (_, conflict) in found.into_iter().filter(|(_, conflict)| conflict.collection == orders()) {
            let wait = wait_before_turn(&conflict.versions, &here, self.seed.next_u64());
            outbox.later.push((wait, Stimulus::Judge { document: conflict.document, conflict: conflict.id }));
        }
    }

    /// Writes what its policy says of a conflict that is still there.
    pub(super) fn judge(&mut self, document: DocumentId, conflict: ConflictId, outbox: &mut Outbox) {
        let Some((id, Answer::Write(body))) = self.answer_to(&document) else { return };
        if id != conflict {
            return;
        }
        outbox.lines.push(format!("settles {document} as {} says", self.setup.policy.name()));
        outbox.seen.push("conflicts settled by policy");
        let action = Action::Resolve(body.map_or(Settlement::Delete, Settlement::Body));
        let change = Change { collection: orders(), id: document, action, expect: Expect::Conflict(conflict) };
        self.submit(Request::Each(vec![change]), Caller::Client, outbox);
    }

    /// What its policy says of a document, if that is in conflict.
    fn answer_to(&self, document: &DocumentId) -> Option<(ConflictId, Answer)> {
        let running = self.running.as_ref()?;
        let view = running.database.view().expect("a healthy database");
        let (state, position) = view.state_of(&orders(), document).expect("a healthy database")?;
        let ancestor = || running.database.log()?.ancestor(sides(&state), position);
        let answer = self.setup.policy.answer(&state, document, &self.identity.node, ancestor);
        Some((ConflictId::of(&state)?, answer.expect("a healthy log")))
    }

    /// The documents on which its policy would still write.
    pub fn unsettled(&self) -> Vec<String> {
        let Some(running) = &self.running else { return Vec::new() };
        let view = running.database.view().expect("a healthy database");
        let open = view.conflicts_since(Position::START, usize::MAX).expect("a healthy database");
        let is_unsettled = |document: &DocumentId| matches!(self.answer_to(document), Some((_, Answer::Write(_))));
        let documents = open.into_iter().map(|(_, conflict)| conflict).filter(|one| one.collection == orders());
        let unsettled = documents.filter(|conflict| is_unsettled(&conflict.document));
        unsettled
            .map(|one| format!("n{} would settle {} by {}", self.index, one.document, self.setup.policy.name()))
            .collect()
    }
}
