//! What nodes of a group say to each other about who leads: votes, offers, news; and handovers and promotions, which
//! begin with an operator.

use holdfast_core::id::NodeName;
use holdfast_core::replica::epoch::Epoch;
use holdfast_core::replica::message::{Control, ControlAnswer};
use holdfast_core::replica::role::{Denied, Rank, Replica, Role};
use holdfast_core::time::Millis;
use holdfast_core::vector::Position;

use crate::node::name_of;
use crate::replicas::group::{TOLD_AGAIN_MAX, Told};
use crate::replicas::node::{Node, Outbox, Stimulus};
use crate::replicas::sabotage::Sabotage;
use crate::replicas::session::Errand;

/// How long a handover may take.
const HANDED_OVER_WITHIN: Millis = Millis(3_000);

/// A handover under way.
#[derive(Debug)]
pub(super) struct Handover {
    to: NodeName,
    endpoint: String,
    epoch: Epoch,
    end: Position,
    is_said: bool,
}

impl Node {
    /// What another node says about who leads.
    pub(super) fn control(&mut self, now: Millis, from: usize, control: Control, outbox: &mut Outbox) -> ControlAnswer {
        let done = match control {
            Control::Vote { epoch, rank, is_trial } => self.vote(now, &epoch, rank, is_trial, outbox),
            Control::TakeOver { epoch, operations, .. } => self.take_over(now, &epoch, operations, outbox),
            Control::Leave {} => Err("nobody leaves this group".to_owned()),
            Control::Follow { epoch, leader, .. } => self.follow_another(now, from, &epoch, &leader, outbox),
        };
        let known = self.running.as_ref().and_then(|running| {
            let kept = running.replica.kept();
            let promised = kept.promised.clone().filter(|_| kept.role != Role::Leader);
            kept.epoch.clone().max(promised).as_ref().map(Epoch::to_string)
        });
        let leader = (self.role() == Role::Leader).then(|| ":1".to_owned());
        ControlAnswer { is_granted: done.is_ok(), reason: done.err(), epoch: known, leader }
    }

    fn vote(
        &mut self,
        now: Millis,
        epoch: &str,
        rank: Rank,
        is_trial: bool,
        outbox: &mut Outbox,
    ) -> Result<(), String> {
        let epoch = Epoch::parse(epoch).map_err(|refusal| refusal.to_string())?;
        let ours = if self.setup.sabotage == Sabotage::ElectsAnybody { rank } else { self.rank() };
        if self.setup.sabotage == Sabotage::VotesAgain && self.role() == Role::Follower {
            return Ok(());
        }
        let Some(running) = &mut self.running else { return Err("it is down".to_owned()) };
        let asked = running.replica.asked(now.since(running.started), &epoch, (rank, ours), is_trial);
        let actions = asked.map_err(|denied| denied.to_string())?;
        self.enact(now, actions, outbox);
        Ok(())
    }

    fn take_over(&mut self, now: Millis, epoch: &str, operations: u64, outbox: &mut Outbox) -> Result<(), String> {
        let epoch = Epoch::parse(epoch).map_err(|refusal| refusal.to_string())?;
        let ours = self.operations();
        if ours < operations {
            return Err(Denied::Behind(operations - ours).to_string());
        }
        let Some(running) = &mut self.running else { return Err("it is down".to_owned()) };
        let taken = running.replica.take_over(now.since(running.started), &epoch);
        let actions = taken.map_err(|denied| denied.to_string())?;
        outbox.seen.push("leads taken over");
        self.enact(now, actions, outbox);
        Ok(())
    }

    fn follow_another(
        &mut self,
        now: Millis,
        from: usize,
        epoch: &str,
        leader: &str,
        outbox: &mut Outbox,
    ) -> Result<(), String> {
        let epoch = Epoch::parse(epoch).map_err(|refusal| refusal.to_string())?;
        if let Some(known) = self.epoch().filter(|known| *known > epoch) {
            return Err(Denied::OldEpoch { known, given: epoch }.to_string());
        }
        if self.role() == Role::Alone {
            return Err("this node takes no part in a group".to_owned());
        }
        let endpoint = if leader.starts_with(':') { format!("{}{leader}", name_of(from)) } else { leader.to_owned() };
        self.see_epoch(now, &epoch, Some(endpoint), outbox);
        Ok(())
    }

    /// A control that this node has sent has come to something; to nothing without an answer.
    pub(super) fn said(
        &mut self,
        now: Millis,
        (errand, to): (Errand, usize),
        answer: Option<ControlAnswer>,
        outbox: &mut Outbox,
    ) {
        let known = answer.as_ref().and_then(|answer| answer.epoch.as_deref()).and_then(|text| Epoch::parse(text).ok());
        match (errand, answer) {
            (Errand::Vote { epoch, is_trial }, Some(answer)) if answer.is_granted => {
                let actions = self.decide(now, |replica, now| replica.voted(now, &name_of(to), &epoch, is_trial));
                self.enact(now, actions, outbox);
            }
            (Errand::Vote { epoch, .. }, Some(answer)) => {
                if let (Some(known), Some(leader)) = (&known, answer.leader) {
                    self.see_epoch(now, known, Some(format!("{}{leader}", name_of(to))), outbox);
                }
                let random = self.seed.next_u64();
                let refused = |replica: &mut Replica, now| {
                    replica.refused(now, &name_of(to), &epoch, known.as_ref(), random);
                };
                self.decide(now, refused);
            }
            (Errand::Tell { .. }, Some(_)) => {
                if let Some(known) = known {
                    self.see_epoch(now, &known, None, outbox);
                }
            }
            (Errand::Tell { epoch, endpoint, pause }, None) => {
                let next = Millis(pause.0 * 2).min(TOLD_AGAIN_MAX);
                let again = Told::TellAgain { epoch, endpoint, pause: next };
                outbox.later.push((pause, Stimulus::Group(again)));
            }
            (Errand::TakeOver { epoch }, Some(answer)) if answer.is_granted => {
                let handover = self.running.as_mut().and_then(|running| running.handover.take());
                if let Some(handover) = handover {
                    outbox.seen.push("handovers done");
                    self.see_epoch(now, &epoch, Some(handover.endpoint), outbox);
                }
            }
            (Errand::TakeOver { .. }, _) => self.fail_back(now, outbox),
            (Errand::Vote { .. } | Errand::WhoLeads | Errand::Follow { .. }, _) => {}
        }
    }

    /// Hands the lead over to the follower that is furthest.
    pub(super) fn hand_over(&mut self, now: Millis, outbox: &mut Outbox) {
        let Some(running) = &mut self.running else { return };
        let connected = running.followers.iter().filter(|(_, follower)| follower.line.is_some());
        let listening =
            connected.filter_map(|(node, at)| Some((node.clone(), at.endpoint.clone()?, at.reached.through)));
        let Some((to, endpoint, _)) = listening.max_by_key(|(_, _, through)| *through) else { return };
        if running.starting.is_some() {
            return;
        }
        let Ok((epoch, actions)) = running.replica.offer(&to) else { return };
        let end = running.writer.state().position;
        running.handover = Some(Handover { to, endpoint, epoch: epoch.clone(), end, is_said: false });
        outbox.seen.push("handovers begun");
        outbox.later.push((HANDED_OVER_WITHIN, Stimulus::Group(Told::HandoverDue(epoch))));
        self.enact(now, actions, outbox);
        self.look_at_handover(now, outbox);
    }

    /// With the gate closed: once the follower has everything, it is asked to take over.
    pub(super) fn look_at_handover(&mut self, now: Millis, outbox: &mut Outbox) {
        let operations = self.operations();
        let Some(running) = &mut self.running else { return };
        let Some(handover) = running.handover.as_mut().filter(|handover| !handover.is_said) else { return };
        let at = running.followers.get(&handover.to);
        if at.is_none_or(|at| at.line.is_none()) {
            return self.fail_back(now, outbox);
        }
        if at.is_some_and(|at| at.reached.through >= handover.end) {
            handover.is_said = true;
            let (endpoint, epoch) = (handover.endpoint.clone(), handover.epoch.clone());
            outbox.lines.push(format!("asks to take over {epoch} with {operations}"));
            self.dial(now, &endpoint, Errand::TakeOver { epoch }, outbox);
        }
    }

    fn fail_back(&mut self, now: Millis, outbox: &mut Outbox) {
        if self.running.as_mut().and_then(|running| running.handover.take()).is_none() {
            return;
        }
        outbox.seen.push("handovers that fail back");
        let Some(running) = &mut self.running else { return };
        if let Ok(actions) = running.replica.fail_back(now.since(running.started)) {
            self.enact(now, actions, outbox);
        }
    }

    /// An operator promotes this node.
    pub(super) fn promote(&mut self, now: Millis, is_forced: bool, outbox: &mut Outbox) {
        let behind =
            self.running.as_ref().map_or(0, |running| running.upstream.operations.saturating_sub(self.operations()));
        let Some(running) = &mut self.running else { return };
        if let Ok(actions) = running.replica.promote(now.since(running.started), behind, is_forced) {
            outbox.seen.push("promotions");
            self.enact(now, actions, outbox);
        }
    }

    /// A handover should have come to something by now.
    pub(super) fn handover_due(&mut self, now: Millis, epoch: &Epoch, outbox: &mut Outbox) {
        let is_this = |handover: &Handover| handover.epoch == *epoch;
        if self.running.as_ref().is_some_and(|running| running.handover.as_ref().is_some_and(is_this)) {
            self.fail_back(now, outbox);
        }
    }
}
