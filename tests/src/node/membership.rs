//! Who is counted with: whom a node meets joins, who goes on under a new incarnation retires, who was silent for the
//! length of its lease is counted out. What the server's membership does.

use std::collections::BTreeSet;

use holdfast_core::id::NodeName;
use holdfast_core::leases::Terms;
use holdfast_core::members::FenceReason;
use holdfast_core::time::Millis;
use holdfast_core::vector::Origin;
use holdfast_storage::request::Request;

use crate::node::{Caller, Node, Outbox, Sabotage};

impl Node {
    /// Notes that somebody was heard.
    pub(super) fn hear_of(&mut self, now: Millis, member: &Origin) {
        if let Some(running) = &mut self.running {
            running.leases.hear(now, member);
        }
    }

    /// Counts in who exchanges operations with us. Where leases are kept, who was counted out by one comes back so.
    pub(super) fn meet_member(&mut self, now: Millis, origin: &Origin, is_dialled: bool, outbox: &mut Outbox) {
        if self.setup.is_contested {
            return self.meet_by_name(now, origin, is_dialled, outbox);
        }
        self.hear_of(now, origin);
        let (Some(side), Some(_)) = (self.side(), self.setup.lease) else { return };
        let is_retired = side.members.get(origin).is_some_and(|known| known.fenced == Some(FenceReason::Retired));
        if is_retired || side.members.is_active(origin) {
            return;
        }
        if side.members.get(origin).is_some_and(|known| known.fenced == Some(FenceReason::Lapsed)) {
            outbox.seen.push("members came back after their lease");
        }
        outbox.lines.push(format!("counts {origin} in"));
        self.submit(Request::Member { member: origin.clone(), fence: None }, Caller::Nobody, outbox);
    }

    /// Counts leases, and out whose has run out.
    pub(super) fn keep_leases(&mut self, now: Millis, outbox: &mut Outbox) {
        let (Some(side), Some(lease)) = (self.side(), self.setup.lease) else { return };
        let sweep = self.setup.sweep;
        let terms = Terms { sweep, lease };
        let Some(running) = &mut self.running else { return };
        let lapsed = if self.setup.sabotage == Sabotage::CountsAlone {
            let is_silent = |member: &&Origin| {
                **member != self.origin && running.leases.silent_since(now, member).is_some_and(|silent| silent > lease)
            };
            side.members.active().filter(is_silent).cloned().collect()
        } else {
            running.leases.count((now, sweep), (&side.members, &side.vector), &self.origin, terms)
        };
        let names: BTreeSet<&NodeName> = side.members.active().map(|member| &member.node).collect();
        for lapsed in lapsed {
            outbox.lapsed.push(names.len());
            outbox.lines.push(format!("counts {lapsed} out: its lease has run out"));
            outbox.seen.push("leases ran out");
            let fence = Some(FenceReason::Lapsed);
            self.submit(Request::Member { member: lapsed, fence }, Caller::Nobody, outbox);
        }
    }
}
