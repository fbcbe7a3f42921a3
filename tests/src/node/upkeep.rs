//! What a node does now and then to stay small: it counts itself in, gives up what every member knows, and prunes its log.

use std::ops::Range;

use holdfast_core::chain::Chains;
use holdfast_core::members::FenceReason;
use holdfast_core::time::Millis;
use holdfast_core::trail::Stated;
use holdfast_core::vector::{Origin, Position};
use holdfast_storage::commit::PruneLimit;
use holdfast_storage::request::Request;

use crate::node::wire::Side;
use crate::node::{Caller, Node, Outbox, Running, Stimulus, position};

/// How often it is done, in milliseconds.
const EVERY: Range<u64> = 1_000..4_000;
/// Most documents that are looked at in one go.
const DOCUMENTS_MAX: usize = 50;
/// Most entries of the log that go in one go.
const ENTRIES_MAX: u64 = 1_000;

/// How a node forgets.
#[derive(Debug, Clone, Copy)]
pub struct Forgetting {
    /// Tombstones younger than this stay.
    pub tombstone_age: Millis,
    /// How often the log is pruned, in percent of the times at which it could be.
    pub prune_percent: u64,
    /// Whether the log may lose what some member still lacks.
    pub is_ruthless: bool,
}

impl Node {
    /// How it stands; nothing while it is down, or where nobody counts members.
    pub fn side(&self) -> Option<Side> {
        self.setup.forgets?;
        let running = self.running.as_ref()?;
        let state = running.writer.state();
        Some(Side {
            origin: self.origin.clone(),
            log_id: running.database.log_id(),
            vector: state.vector.clone(),
            chains: if self.setup.is_contested { state.chains.clone() } else { Chains::new() },
            passed: self.passed(),
            graves: state.graves.clone(),
            floor: running.writer.floor().clone(),
            members: state.members.clone(),
        })
    }

    /// Where it has passed the branches of origins, where there may be several.
    fn passed(&self) -> Stated {
        let running = self.running.as_ref().filter(|_| self.setup.is_contested);
        let told = |running: &Running| {
            running.database.log().expect("a healthy log").trail().told(&running.writer.state().vector)
        };
        running.map(told).unwrap_or_default()
    }

    /// The next time at which it looks after itself.
    pub(super) fn plan_upkeep(&mut self, outbox: &mut Outbox) {
        if self.setup.forgets.is_some() {
            outbox.later.push((Millis(self.seed.range(EVERY)), Stimulus::Upkeep));
        }
    }

    /// Looks after itself.
    pub(super) fn keep_up(&mut self, now: Millis, outbox: &mut Outbox) {
        self.plan_upkeep(outbox);
        let (Some(side), Some(forgets)) = (self.side(), self.setup.forgets) else { return };
        // Where names are contested, who it is is for others to say.
        if !self.setup.is_contested {
            self.count_itself(&side, outbox);
        }
        let tombstones_before = Millis(self.wall(now).0.saturating_sub(forgets.tombstone_age.0));
        outbox.lines.push(format!("counts with {:?}", side.members.active().collect::<Vec<_>>()));
        self.submit(Request::GiveUp { tombstones_before, documents_max: DOCUMENTS_MAX }, Caller::Nobody, outbox);
        if self.seed.chance(forgets.prune_percent) {
            outbox.has_failed = !self.prune(forgets, outbox);
        }
    }

    fn count_itself(&mut self, side: &Side, outbox: &mut Outbox) {
        if side.members.get(&self.origin).is_none() {
            let member = self.origin.clone();
            self.submit(Request::Member { member, fence: None }, Caller::Nobody, outbox);
        }
        let former = |member: &&Origin| member.node == self.origin.node && **member != self.origin;
        let formers: Vec<Origin> = side.members.active().filter(former).cloned().collect();
        for member in formers {
            let fence = Some(FenceReason::Retired);
            self.submit(Request::Member { member, fence }, Caller::Nobody, outbox);
        }
    }

    /// Prunes the log. Answers whether the disk took it.
    fn prune(&mut self, forgets: Forgetting, outbox: &mut Outbox) -> bool {
        let part = self.seed.range(1..101);
        let Some(running) = &mut self.running else { return true };
        let newest = position(&running.writer);
        let through = if forgets.is_ruthless { Position(newest.0 * part / 100) } else { self.needed_by_nobody() };
        let Some(running) = &mut self.running else { return true };
        let limit = PruneLimit { through, older_than: None, entries_max: ENTRIES_MAX };
        let Ok(pruned) = running.writer.prune(limit) else { return false };
        outbox.lines.push(format!("prunes its log up to {}, {} entries", pruned.through, pruned.entries));
        true
    }

    /// The position up to which every member has acknowledged the log.
    fn needed_by_nobody(&self) -> Position {
        let Some(running) = &self.running else { return Position::START };
        let stable = running.writer.stable();
        let log = running.database.log().expect("a healthy log");
        let mut through = Position::START;
        let mut is_needed = false;
        log.scan(Position::START, |entry| {
            let position = entry.position();
            is_needed |= entry.into_operation().is_some_and(|logged| !stable.covers(&logged.operation.dot));
            through = if is_needed { through } else { position };
            Ok(())
        })
        .expect("a healthy log");
        through
    }

    /// An operator counts a member out.
    pub fn fence(&mut self, member: Origin, outbox: &mut Outbox) {
        self.submit(Request::Member { member, fence: Some(FenceReason::Forced) }, Caller::Nobody, outbox);
    }
}
