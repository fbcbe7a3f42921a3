//! A node's part in its group: what is decided is carried out in order; who is sought, who is heard, what is remembered.

use holdfast::replica::Reached;
use holdfast::replica::kept::Remembered;
use holdfast_core::id::NodeName;
use holdfast_core::replica::epoch::Epoch;
use holdfast_core::replica::handshake::Refused;
use holdfast_core::replica::heritage::Beginnings;
use holdfast_core::replica::lane::Direction;
use holdfast_core::replica::message::{Heartbeat, Voter, operations_by, operations_of};
use holdfast_core::replica::role::{Action, BALLOT_WITHIN, Denied, Rank, Replica, Role};
use holdfast_core::time::Millis;
use holdfast_core::vector::Position;

use crate::node::name_of;
use crate::replicas::lane::shop;
use crate::replicas::line::LineId;
use crate::replicas::node::{Elected, Node, Outbox, Seek, Stimulus, TICK};
use crate::replicas::sabotage::Sabotage;
use crate::replicas::session::Errand;

/// How long a node that starts as leader waits for the others to say that another leads.
const ASKED_WITHIN: Millis = Millis(1_500);
/// The longest pause before a node that was not reached is told again who leads.
pub(super) const TOLD_AGAIN_MAX: Millis = Millis(5_000);
/// The first.
const TOLD_AGAIN_MIN: Millis = Millis(250);
/// A node between says how long ago the leader was heard by it; so long ago counts.
const PASSED_ON_WITHIN: u64 = 1_500;

/// What the group's own timers say.
#[derive(Debug)]
pub enum Told {
    /// Time has passed.
    Tick,
    /// The pause before the next attempt to follow is over.
    Seek(u64),
    /// A line is beaten on, and listened to.
    Beat(LineId),
    /// A line should have come to something by now.
    LineDue(LineId),
    /// A node is to be told again that this one leads.
    TellAgain {
        /// In this epoch.
        epoch: Epoch,
        /// Where it listens.
        endpoint: String,
        /// How long the next pause is.
        pause: Millis,
    },
    /// A handover should have come to something by now.
    HandoverDue(Epoch),
    /// Those who were asked who leads should have answered by now.
    AskedDue,
}

/// A start as leader: nothing is written before the others could say that another leads.
#[derive(Debug)]
pub(super) struct Starting {
    pub(super) asked: Vec<LineId>,
    pub(super) newest: Option<(Epoch, Option<String>)>,
    /// What it knew when it asked.
    before: Option<Epoch>,
}

impl Node {
    /// Takes up the role that it has at the start.
    pub(super) fn resume(&mut self, now: Millis, role: Role, outbox: &mut Outbox) {
        match role {
            Role::Alone => {}
            Role::Follower => {
                let actions = self.decide(now, Replica::follow);
                self.enact(now, actions, outbox);
                self.begin_following(now, outbox);
            }
            Role::Leader => {
                let (voters, before) = (self.voter_endpoints(), self.epoch());
                let asked = voters.iter().filter_map(|at| self.dial(now, at, Errand::WhoLeads, outbox));
                let asked: Vec<LineId> = asked.collect();
                let is_alone = asked.is_empty();
                if let Some(running) = &mut self.running {
                    running.starting = Some(Starting { asked, newest: None, before });
                }
                outbox.later.push((ASKED_WITHIN, Stimulus::Group(Told::AskedDue)));
                if is_alone {
                    self.lead_on(now, outbox);
                }
            }
        }
    }

    /// All have said who leads as far as they know, or had the time to.
    pub(super) fn lead_on(&mut self, now: Millis, outbox: &mut Outbox) {
        let Some(starting) = self.running.as_mut().and_then(|running| running.starting.take()) else { return };
        let known = self.epoch();
        let news = starting.newest.filter(|(epoch, _)| {
            known.as_ref().is_none_or(|known| known < epoch) && epoch.leader != name_of(self.index)
        });
        if news.is_none() && known != starting.before {
            // Somebody has come meanwhile and told of a later one.
            let actions = self.decide(now, Replica::follow);
            self.enact(now, actions, outbox);
            return self.begin_following(now, outbox);
        }
        let Some((epoch, leader)) = news else {
            let actions = self.decide(now, Replica::lead_on);
            return self.enact(now, actions, outbox);
        };
        if let Some(endpoint) = leader {
            self.name_leader(now, endpoint, outbox);
        }
        let actions = self.decide(now, |replica, now| {
            let mut actions = replica.see(now, &epoch);
            actions.extend(replica.follow(now));
            actions
        });
        self.enact(now, actions, outbox);
        self.begin_following(now, outbox);
    }

    pub(super) fn decide<T: Default>(&mut self, now: Millis, decision: impl FnOnce(&mut Replica, Millis) -> T) -> T {
        let Some(running) = &mut self.running else { return T::default() };
        decision(&mut running.replica, now.since(running.started))
    }

    pub(super) fn role(&self) -> Role {
        self.running.as_ref().map_or(Role::Alone, |running| running.replica.role())
    }

    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.running.as_ref().and_then(|running| running.replica.epoch().cloned())
    }

    /// Whether clients' writes are taken.
    pub(super) fn may_write(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.starting.is_none() && running.replica.may_write())
    }

    /// Where this node's epoch began in its log; nowhere unless it leads.
    pub(super) fn began(&self) -> Option<Position> {
        let running = self.running.as_ref().filter(|running| running.replica.role() == Role::Leader)?;
        let (_, began) = running.beginnings.as_ref().filter(|(of, _)| Some(of) == running.replica.epoch())?;
        Some(began.since(&shop()))
    }

    /// Writes down what must be remembered; the file is old or new, never half.
    pub(super) fn keep(&mut self) {
        let Some(running) = &self.running else { return };
        let mut kept = running.replica.kept().clone();
        if self.setup.sabotage == Sabotage::ForgetsPromises {
            kept.promised = None;
        }
        self.kept = Some((kept, running.remembered.clone()));
    }

    /// Carries out what was decided, in order.
    pub(super) fn enact(&mut self, now: Millis, actions: Vec<Action>, outbox: &mut Outbox) {
        for action in actions {
            if outbox.has_failed {
                return;
            }
            outbox.lines.push(format!("{action:?}"));
            match action {
                Action::Keep => {
                    let fails = self.fails_at_promise.take();
                    if fails != Some(true) {
                        self.keep();
                    }
                    if fails.is_some() {
                        outbox.seen.push("crashes at a promise");
                        outbox.has_failed = true;
                        return;
                    }
                    if let Some(running) = &mut self.running {
                        running.number = running.replica.epoch().map_or(0, |epoch| epoch.number);
                    }
                }
                Action::Lead(epoch) => self.begin_leading(now, &epoch, outbox),
                Action::StepDown(_) => {
                    outbox.seen.push("leaders that step down");
                    self.hang_up_on_followers(now, outbox);
                    self.begin_following(now, outbox);
                    self.look_at_waiting(now, outbox);
                }
                Action::Ask { epoch, voters, is_trial } => {
                    for (node, endpoint) in self.endpoints() {
                        if voters.contains(&node) {
                            self.dial(now, &endpoint, Errand::Vote { epoch: epoch.clone(), is_trial }, outbox);
                        }
                    }
                }
                Action::WarnOfSplit { .. } => {}
            }
        }
    }

    fn begin_leading(&mut self, now: Millis, epoch: &Epoch, outbox: &mut Outbox) {
        let voters = self.voters();
        let old_leader = self.leader_endpoint();
        let Some(running) = &mut self.running else { return };
        running.seeking = None;
        let up = running.upstream.connected.take();
        running.upstream = crate::replicas::node::Upstream::default();
        running.remembered.leader = None;
        running.remembered.inherit(epoch);
        let end = running.writer.state().position;
        running.beginnings = Some((epoch.clone(), Beginnings::of([(shop(), end)])));
        let lines: Vec<LineId> = running.followers.values().filter_map(|follower| follower.line).collect();
        for follower in running.followers.values_mut() {
            follower.reached = Reached::default();
        }
        let was_elected = running.replica.was_elected();
        let asked = voters.len() >= 3 && was_elected;
        outbox.leads = Some(Elected { epoch: epoch.clone(), voters: asked.then_some(voters) });
        outbox.seen.push(if was_elected { "leaders elected" } else { "leaders otherwise" });
        // Whoever follows already comes anew, and is told where this epoch begins.
        for line in up.map(|(_, line)| line).into_iter().chain(lines) {
            self.hang_up(now, line, None, outbox);
        }
        self.keep();
        let mut endpoints = self.voter_endpoints();
        endpoints.extend(old_leader);
        if let Some(running) = &self.running {
            endpoints.extend(running.followers.values().filter_map(|follower| follower.endpoint.clone()));
        }
        endpoints.sort();
        endpoints.dedup();
        for endpoint in endpoints {
            self.tell_that_it_leads(now, epoch, endpoint, TOLD_AGAIN_MIN, outbox);
        }
    }

    fn tell_that_it_leads(&mut self, now: Millis, epoch: &Epoch, endpoint: String, pause: Millis, outbox: &mut Outbox) {
        if self.role() != Role::Leader || self.epoch().as_ref() != Some(epoch) {
            return;
        }
        let errand = Errand::Tell { epoch: epoch.clone(), endpoint: endpoint.clone(), pause };
        self.dial(now, &endpoint, errand, outbox);
    }

    pub(super) fn begin_following(&mut self, now: Millis, outbox: &mut Outbox) {
        self.keep();
        let Some(running) = &mut self.running else { return };
        let attempt = running.seeking.as_ref().map_or(0, |seek| seek.attempt) + 1;
        running.seeking = Some(Seek {
            rules: holdfast_core::replica::seeking::Seeking::default(),
            attempt,
            begun: now,
            is_named: false,
        });
        if let Some((_, line)) = running.upstream.connected.take() {
            self.hang_up(now, line, None, outbox);
        }
        outbox.later.push((Millis(1), Stimulus::Group(Told::Seek(attempt))));
    }

    fn seek(&mut self, now: Millis, attempt: u64, outbox: &mut Outbox) {
        let (leader, voters) = (self.leader_endpoint(), self.voter_endpoints());
        let Some(running) = &mut self.running else { return };
        let is_busy = running.upstream.connected.is_some()
            || running.sessions.values().any(|session| session.is_for(&Errand::Follow { is_named: true }));
        let Some(seek) = running.seeking.as_mut().filter(|seek| seek.attempt == attempt && !is_busy) else { return };
        seek.begun = now;
        let Some(target) = seek.rules.next(leader.as_deref(), voters) else {
            outbox.later.push((Millis(5_000), Stimulus::Group(Told::Seek(attempt))));
            return;
        };
        if self.dial(now, &target.endpoint, Errand::Follow { is_named: target.is_named }, outbox).is_none() {
            // It was sent to itself, which the greeting tells.
            self.unfollowed(now, (self.index, target.is_named), None, outbox);
        }
    }

    /// Following has ended, or came to nothing.
    pub(super) fn unfollowed(&mut self, now: Millis, target: (usize, bool), hint: Option<&str>, outbox: &mut Outbox) {
        let (voters, random) = (self.voter_endpoints(), self.seed.next_u64());
        let Some(running) = &mut self.running else { return };
        running.upstream.connected = None;
        let Some(seek) = &mut running.seeking else { return };
        let endpoint = format!("{}:1", name_of(target.0));
        seek.rules.ended(&holdfast_core::replica::seeking::Target { endpoint, is_named: target.1 }, hint, voters);
        let mut pause = seek.rules.pause(now.since(seek.begun), random);
        if std::mem::take(&mut seek.is_named) {
            seek.rules.named();
            pause = Millis(1);
        }
        seek.attempt += 1;
        outbox.later.push((pause.max(Millis(1)), Stimulus::Group(Told::Seek(seek.attempt))));
    }

    fn hang_up_on_followers(&mut self, now: Millis, outbox: &mut Outbox) {
        let Some(running) = &self.running else { return };
        let lines: Vec<LineId> = running.followers.values().filter_map(|follower| follower.line).collect();
        for line in lines {
            let moved = self.refused("moved", "this node leads no more".to_owned(), self.epoch());
            self.hang_up(now, line, Some(moved), outbox);
        }
    }

    pub(super) fn refused(&self, code: &str, reason: String, epoch: Option<Epoch>) -> Refused {
        let leader = if self.role() == Role::Leader { None } else { self.leader_endpoint() };
        Refused { code: code.to_owned(), reason, epoch: epoch.as_ref().map(Epoch::to_string), leader }
    }

    pub(super) fn refusal(&self, denied: &Denied) -> Refused {
        let epoch = match denied {
            Denied::Promised(promised) => Some(promised.clone()),
            _ => self.epoch(),
        };
        self.refused(denied.code(), denied.to_string(), epoch)
    }

    /// Somebody has said where the leader is.
    pub(super) fn name_leader(&mut self, _now: Millis, endpoint: String, outbox: &mut Outbox) {
        let Some(running) = &mut self.running else { return };
        let is_news = running.upstream.endpoint.as_ref() != Some(&endpoint);
        running.remembered.leader = Some(endpoint.clone());
        running.upstream.endpoint = Some(endpoint);
        let is_connected = running.upstream.connected.is_some();
        if is_news && let Some(seek) = &mut running.seeking {
            seek.is_named = true;
            let is_dialling =
                running.sessions.values().any(|session| session.is_for(&Errand::Follow { is_named: true }));
            if !is_connected && !is_dialling {
                seek.is_named = false;
                seek.rules.named();
                seek.attempt += 1;
                outbox.later.push((Millis(1), Stimulus::Group(Told::Seek(seek.attempt))));
            }
        }
        if is_news {
            self.keep();
        }
    }

    pub(super) fn leader_endpoint(&self) -> Option<String> {
        let running = self.running.as_ref()?;
        running.upstream.endpoint.clone().or_else(|| running.remembered.leader.clone())
    }

    /// An epoch was seen, with its leader's address where that was told.
    pub(super) fn see_epoch(&mut self, now: Millis, epoch: &Epoch, leader: Option<String>, outbox: &mut Outbox) {
        let is_newer = self.epoch().is_none_or(|known| known <= *epoch) && epoch.leader != name_of(self.index);
        if let Some(endpoint) = leader.filter(|_| is_newer) {
            self.name_leader(now, endpoint, outbox);
        }
        let actions = self.decide(now, |replica, now| replica.see(now, epoch));
        self.enact(now, actions, outbox);
    }

    /// The leader's epoch was heard.
    pub(super) fn hear_epoch(&mut self, now: Millis, epoch: &Epoch, outbox: &mut Outbox) -> Result<(), Denied> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let actions = running.replica.hear(now.since(running.started), epoch)?;
        self.enact(now, actions, outbox);
        Ok(())
    }

    /// What a heartbeat says.
    pub(super) fn heartbeat(&self, now: Millis, direction: Direction) -> Heartbeat {
        let (now_millis, epoch) = (self.wall(now).0, self.epoch().as_ref().map(Epoch::to_string));
        let Some(running) = self.running.as_ref().filter(|_| direction == Direction::Down) else {
            return Heartbeat { now_millis, epoch, ..Heartbeat::default() };
        };
        let voters = running.remembered.voters.clone();
        let leader_http = None;
        if self.role() == Role::Leader {
            let (leader, operations) = (Some(":1".to_owned()), self.operations());
            return Heartbeat { now_millis, epoch, leader, leader_http, voters, operations, ..Heartbeat::default() };
        }
        let leader = running.remembered.leader.clone();
        let silent_millis = running.upstream.heard.map_or(u64::MAX, |heard| now.since(heard).0);
        let operations = running.upstream.operations;
        Heartbeat { now_millis, epoch, leader, leader_http, voters, silent_millis, operations, ..Heartbeat::default() }
    }

    /// A heartbeat of whom this node follows.
    pub(super) fn heard_upstream(
        &mut self,
        now: Millis,
        from: usize,
        beat: &Heartbeat,
        outbox: &mut Outbox,
    ) -> Result<(), Denied> {
        let Some(epoch) = beat.epoch.as_deref().and_then(|epoch| Epoch::parse(epoch).ok()) else { return Ok(()) };
        if beat.silent_millis <= PASSED_ON_WITHIN {
            self.hear_epoch(now, &epoch, outbox)?;
            if let Some(running) = &mut self.running {
                running.upstream.heard = Some(now);
                running.upstream.operations = beat.operations;
            }
        }
        self.learn_of_group(from, beat);
        Ok(())
    }

    fn learn_of_group(&mut self, from: usize, beat: &Heartbeat) {
        let whole = |endpoint: &str| {
            if endpoint.starts_with(':') { format!("{}{endpoint}", name_of(from)) } else { endpoint.to_owned() }
        };
        let voter = |voter: &Voter| Voter { node: voter.node.clone(), endpoint: whole(&voter.endpoint) };
        let voters: Vec<Voter> = beat.voters.iter().map(voter).collect();
        let leader = beat.leader.as_deref().map(whole);
        let Some(running) = &mut self.running else { return };
        let Remembered { voters: known, leader: named, .. } = &mut running.remembered;
        let is_news = *known != voters || (leader.is_some() && *named != leader);
        *known = voters;
        if leader.is_some() {
            *named = leader;
        }
        if is_news {
            self.know_voters();
            self.keep();
        }
    }

    pub(super) fn know_voters(&mut self) {
        let Some(running) = &mut self.running else { return };
        let names = running.remembered.voters.iter().filter_map(|voter| NodeName::parse(&voter.node).ok());
        running.replica.know_voters(names.collect::<Vec<_>>());
    }

    /// Whoever votes is remembered, whether it is there or not.
    pub(super) fn count_voter(&mut self, guest: &NodeName, endpoint: Option<String>) {
        let me = name_of(self.index).to_string();
        let Some(running) = &mut self.running else { return };
        let before = running.remembered.voters.clone();
        let voters = &mut running.remembered.voters;
        voters.retain(|voter| voter.node != me && voter.node != guest.as_str());
        voters.extend(endpoint.map(|endpoint| Voter { node: guest.to_string(), endpoint }));
        if !voters.is_empty() {
            voters.push(Voter { node: me, endpoint: ":1".to_owned() });
        }
        voters.sort();
        if *voters != before {
            self.know_voters();
            self.keep();
        }
    }

    fn endpoints(&self) -> Vec<(NodeName, String)> {
        let me = name_of(self.index);
        let voters = self.running.iter().flat_map(|running| &running.remembered.voters);
        let parsed = voters.filter_map(|voter| Some((NodeName::parse(&voter.node).ok()?, voter.endpoint.clone())));
        parsed.filter(|(node, _)| *node != me).collect()
    }

    pub(super) fn voter_endpoints(&self) -> Vec<String> {
        self.endpoints().into_iter().map(|(_, endpoint)| endpoint).collect()
    }

    pub(super) fn operations(&self) -> u64 {
        self.running.as_ref().map_or(0, |running| operations_of(&running.writer.state().vector))
    }

    pub(super) fn rank(&self) -> Rank {
        let Some(running) = &self.running else { return Rank::default() };
        let operations = self.operations();
        let last = match running.replica.role() {
            Role::Leader => running.replica.epoch(),
            _ => running.remembered.inherited.as_ref(),
        };
        let Some(last) = last else { return Rank { operations, ..Rank::default() } };
        let led = operations_by(&last.leader, &running.writer.state().vector);
        Rank { epoch: last.number, led, operations, ..Rank::default() }
    }

    pub(super) fn group_told(&mut self, now: Millis, told: Told, outbox: &mut Outbox) {
        match told {
            Told::Tick => {
                let random = self.seed.next_u64();
                let actions = self.decide(now, |replica, now| replica.tick(now, random));
                self.enact(now, actions, outbox);
                outbox.later.push((TICK, Stimulus::Group(Told::Tick)));
            }
            Told::Seek(attempt) => self.seek(now, attempt, outbox),
            Told::Beat(line) => self.beat(now, line, outbox),
            Told::LineDue(line) => self.line_due(now, line, outbox),
            Told::TellAgain { epoch, endpoint, pause } => self.tell_that_it_leads(now, &epoch, endpoint, pause, outbox),
            Told::HandoverDue(epoch) => {
                self.handover_due(now, &epoch, outbox);
            }
            Told::AskedDue => self.lead_on(now, outbox),
        }
    }

    /// How long a line for an errand may take to come to something.
    pub(super) fn patience(errand: &Errand) -> Millis {
        match errand {
            Errand::Vote { .. } => BALLOT_WITHIN,
            Errand::WhoLeads => ASKED_WITHIN,
            _ => Millis(5_000),
        }
    }
}
