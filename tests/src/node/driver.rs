//! Between the sessions of a node and the world: what the server's driver, exchange and hints do.

use holdfast_core::sync::admission::{Admission, Cause, PUSHES_AWAITED};
use holdfast_core::sync::forwarding::Filter;
use holdfast_core::sync::message::{
    PullRequest, PullResponse, PushRequest, PushResponse, Standing, StandingRecord, parse_hex, parse_vector,
};
use holdfast_core::sync::session::{Action, Event};
use holdfast_core::time::Millis;
use holdfast_core::trail::Stated;
use holdfast_core::vector::{Position, Vector};
use holdfast_storage::log::{ReadLimit, Stretch};
use holdfast_storage::record::progress::Checkpoint;
use holdfast_storage::request::{Answer, Misfit, Receipt, Request};

use crate::checkers::Finding;
use crate::checkers::identity::NOTICED;
use crate::node::wire::{self, Body, Side};
use crate::node::{Caller, Exchange, Link, Node, Outbox, Sabotage, Stimulus, name_of};

/// How long a driver waits for a reply.
const REPLY_WAIT_MAX: Millis = Millis(10_000);

impl Node {
    /// Tells a session what has happened and carries out what it says.
    pub(super) fn handle(&mut self, now: Millis, peer: usize, event: Event, outbox: &mut Outbox) {
        let Some(link) = self.running.as_mut().and_then(|running| running.links.get_mut(&peer)) else { return };
        if matches!(event, Event::Woken) {
            link.wakes_at = None;
        }
        let actions = link.session.handle(now, event);
        let wakes_at = link.session.wakes_at();
        if let Some(then) = wakes_at.filter(|_| wakes_at != link.wakes_at) {
            outbox.later.push((then.since(now), Stimulus::Woken { peer }));
        }
        link.wakes_at = wakes_at;
        for action in actions {
            self.perform(now, peer, action, outbox);
        }
    }

    fn perform(&mut self, now: Millis, peer: usize, action: Action, outbox: &mut Outbox) {
        let is_selected = match action {
            Action::Push { .. } => self.hardship.goes_out(peer),
            Action::Pull { .. } => self.hardship.comes_in(peer),
            Action::SaveCheckpoint { .. } => true,
        };
        if !is_selected {
            let exchange = self.begin(peer);
            outbox.later.push((Millis(1), Stimulus::TimedOut { peer, exchange }));
            return;
        }
        match action {
            Action::Push { after, filter } => {
                let exchange = self.begin(peer);
                let delay = self.delay(4);
                outbox.later.push((delay, Stimulus::ReadLog { peer, exchange, after, filter }));
                outbox.later.push((REPLY_WAIT_MAX, Stimulus::TimedOut { peer, exchange }));
            }
            Action::Pull { after, log_id } => {
                let exchange = self.begin(peer);
                let Some(ours) = self.standing(now) else { return };
                self.tell_standing(peer, &ours);
                let request = wire::pull_request(after, log_id, self.setup.batch, &ours);
                outbox.sends.push((peer, exchange, Body::Pull(request)));
                outbox.later.push((REPLY_WAIT_MAX, Stimulus::TimedOut { peer, exchange }));
            }
            Action::SaveCheckpoint { peer_log_id, pushed, pulled } => {
                let checkpoint = Checkpoint { peer_log_id, pushed, pulled, updated: self.wall(now) };
                self.submit(Request::Checkpoint { peer: name_of(peer), checkpoint }, Caller::Nobody, outbox);
            }
        }
    }

    /// Notes a new exchange with a peer.
    fn begin(&mut self, peer: usize) -> u64 {
        self.exchanges += 1;
        let number = self.exchanges;
        if let Some(link) = self.link(peer) {
            let (after, through, looked) = (Position::START, Position::START, Position::START);
            link.under_way = Some(Exchange { number, after, through, looked });
        }
        number
    }

    pub(super) fn link(&mut self, peer: usize) -> Option<&mut Link> {
        self.running.as_mut().and_then(|running| running.links.get_mut(&peer))
    }

    /// Remembers that a peer learns how far we are.
    fn tell_standing(&mut self, peer: usize, ours: &Standing) {
        if let Some(link) = self.link(peer) {
            link.told.merge(&ours.vector);
        }
    }

    /// Ends an exchange, unless it was given up before.
    pub(super) fn end(&mut self, peer: usize, exchange: u64) -> Option<Exchange> {
        let link = self.running.as_mut()?.links.get_mut(&peer)?;
        link.under_way.take_if(|under_way| under_way.number == exchange)
    }

    pub(super) fn fail(&mut self, now: Millis, peer: usize, exchange: u64, outbox: &mut Outbox) {
        if self.end(peer, exchange).is_some() {
            outbox.lines.push(format!("gives up exchange {exchange} with n{peer}"));
            let random = self.seed.next_u64();
            self.handle(now, peer, Event::Failed { random }, outbox);
        }
    }

    fn read(&self, after: Position, filter: &Filter, operations: usize) -> Option<Stretch> {
        let log = self.running.as_ref()?.database.log().expect("a healthy log");
        let limit = ReadLimit { operations, bytes: usize::MAX };
        Some(log.read_for(after, filter, limit).expect("a healthy log"))
    }

    /// Which branches a peer that knows `theirs` is told.
    fn stated(&self, ours: &Vector, theirs: &Vector) -> Stated {
        // A node that ignores branches says nothing of them either: what is stated would save it.
        let running = self.running.as_ref().filter(|_| self.setup.sabotage != Sabotage::IgnoresBranches);
        running.map(|running| running.database.stated(ours, theirs)).unwrap_or_default()
    }

    /// Reads the log and sends what the peer lacks.
    pub(super) fn push(
        &mut self,
        now: Millis,
        peer: usize,
        exchange: u64,
        after: Position,
        mut filter: Filter,
        outbox: &mut Outbox,
    ) {
        if let Some(link) = self.link(peer) {
            // Read at the last moment: it may have said more since the push was decided.
            filter.learn(link.session.peer_vector());
        }
        if self.forgot_itself(filter.known()) {
            self.fail(now, peer, exchange, outbox);
            return self.ask_for_states(peer, Cause::Asked, outbox);
        }
        if self.has_forgotten_what_is_lacked(filter.known()) {
            // What it holds below its floor is letters alone, which mean nothing without the rest.
            outbox.sends.push((peer, 0, Body::TakeStates(None)));
            return self.fail(now, peer, exchange, outbox);
        }
        let filter = self.setup.sabotage.filter(filter);
        let (after, batch) = self.setup.sabotage.range(after, self.setup.batch);
        let Some(ours) = self.standing(now) else { return };
        let Some(stretch) = self.read(after, &filter, batch) else { return };
        let Some(mut under_way) = self.end(peer, exchange) else { return };
        let (through, looked) = (stretch.through, stretch.looked);
        if stretch.operations.is_empty() {
            let pushed = Event::Pushed { through, looked, has_gap: false, peer: None };
            self.handle(now, peer, pushed, outbox);
            return;
        }
        let stated = self.stated(&ours.vector, filter.known());
        let request = wire::push_request(&stretch, after, &ours, &stated);
        under_way = Exchange { after, through, looked, ..under_way };
        if let Some(link) = self.link(peer) {
            link.under_way = Some(under_way);
        }
        self.tell_standing(peer, &ours);
        outbox.sends.push((peer, exchange, Body::Push(request)));
    }

    /// Takes a message in.
    pub(super) fn receive(
        &mut self,
        now: Millis,
        from: usize,
        exchange: u64,
        body: Body,
        side: Option<&Side>,
        outbox: &mut Outbox,
    ) {
        let is_wanted = match &body {
            Body::Push(_) => self.hardship.comes_in(from),
            Body::Pull(_) | Body::Survey(_) => self.hardship.goes_out(from),
            _ => true,
        };
        if !is_wanted {
            return;
        }
        if let (Body::Push(_) | Body::Pull(_), Some(side)) = (&body, side) {
            let is_welcome = match &body {
                Body::Push(_) if self.setup.is_contested => self.is_let_in(now, from, exchange, side, outbox),
                _ if self.setup.is_contested => self.reaches_back(from, exchange, &side.vector, outbox),
                _ => self.is_admitted(from, exchange, side, outbox),
            };
            if !is_welcome {
                return;
            }
        }
        if let (Body::Push(_) | Body::Pushed(_) | Body::Pulled(_), Some(side)) = (&body, side) {
            let is_dialled = !matches!(body, Body::Push(_));
            if is_dialled && self.setup.is_contested && side.origin.node != name_of(from) {
                outbox.lines.push(format!("n{from} answers as {}", side.origin));
                return self.fail(now, from, exchange, outbox);
            }
            self.meet_member(now, &side.origin, is_dialled, outbox);
        }
        match body {
            Body::Push(request) => self.receive_push(now, from, exchange, request, outbox),
            Body::Pushed(response) => self.receive_confirmation(now, from, exchange, &response, outbox),
            Body::Pull(request) => self.receive_question(now, from, exchange, &request, outbox),
            Body::Pulled(response) => self.receive_answer(now, from, exchange, response, outbox),
            Body::Hint => self.handle(now, from, Event::Called, outbox),
            Body::Turned(admission, cause) => self.turned_away(now, from, exchange, (admission, cause), outbox),
            Body::TakeStates(branch) => {
                if let Some(branch) = branch {
                    self.note_told(from, branch);
                }
                self.ask_for_states(from, Cause::Asked, outbox);
            }
            Body::Beyond => self.lose_place(now, from, exchange, outbox),
            Body::AskStates { after, log_id } => self.serve_states(from, exchange, after, log_id, outbox),
            Body::States { page, adoption } => {
                if let Some(side) = side {
                    self.take_states(now, exchange, (&page, adoption.map(|adoption| *adoption)), side, outbox);
                }
            }
            Body::AskBranch { origin, sequences } => self.answer_branch(from, exchange, &origin, &sequences, outbox),
            Body::Branch(found) => self.look_on(now, exchange, Some(&found), outbox),
            Body::Survey(request) => self.answer_survey(now, from, exchange, *request, outbox),
            Body::Surveyed(response) => self.take_survey(now, from, exchange, *response, outbox),
            Body::Standing(standing) => match standing.parse() {
                Ok(Standing { vector, log_id, .. }) => {
                    self.handle(now, from, Event::Heard { vector, log_id: Some(log_id) }, outbox);
                }
                Err(refusal) => {
                    outbox.findings.push(Finding::refusal(format!("a standing of n{from} was refused: {refusal}")));
                }
            },
        }
    }

    fn receive_push(&mut self, now: Millis, from: usize, exchange: u64, request: PushRequest, outbox: &mut Outbox) {
        let vector = parse_vector(&request.vector);
        match (wire::received_push(request), vector) {
            (Ok(received), Ok(vector)) => {
                let log_id = Some(received.source_log_id);
                self.handle(now, from, Event::Heard { vector, log_id }, outbox);
                let (log_id, after) = (received.source_log_id, received.after);
                let caller = Caller::Push { from, exchange, log_id, after };
                self.submit(Request::Receive(received), caller, outbox);
            }
            (Err(refusal), _) | (_, Err(refusal)) => {
                outbox.findings.push(Finding::refusal(format!("a push from n{from} was refused: {refusal}")));
            }
        }
    }

    fn receive_question(
        &mut self,
        now: Millis,
        from: usize,
        exchange: u64,
        request: &PullRequest,
        outbox: &mut Outbox,
    ) {
        let (Some(ours), Ok(known)) = (self.standing(now), parse_vector(&request.vector)) else { return };
        let is_our_log = request.log_id.as_ref().is_none_or(|id| *id == format!("{:016x}", ours.log_id));
        let after = if is_our_log { Position(request.after_log_sequence) } else { Position::START };
        if after > ours.newest {
            outbox.sends.push((from, exchange, Body::Beyond));
            return;
        }
        let wanted = request.batch_size.and_then(|size| usize::try_from(size).ok()).unwrap_or(1);
        let stated = self.stated(&ours.vector, &known);
        let filter = match self.link(from) {
            Some(link) => link.session.forwarding().clone().for_answer(now, known.clone()),
            None => Filter::of(known.clone()),
        };
        let Some(mut stretch) = self.read(after, &filter, wanted.min(self.setup.batch)) else { return };
        if stretch.looked > stretch.through {
            stretch.operations.retain(|logged| logged.position <= stretch.through);
            stretch.has_more = false;
        }
        outbox.sends.push((from, exchange, Body::Pulled(wire::pull_response(&stretch, after, &ours, &stated))));
        let log_id = request.requesting_log_id.as_deref().and_then(|log_id| parse_hex(log_id).ok());
        self.handle(now, from, Event::Heard { vector: known, log_id }, outbox);
        let confirmed = if is_our_log && request.log_id.is_some() { after } else { Position::START };
        let (has_any, has_more) = (!stretch.operations.is_empty(), stretch.has_more);
        self.handle(now, from, Event::Answered { after: confirmed, has_any, has_more }, outbox);
    }

    fn receive_confirmation(
        &mut self,
        now: Millis,
        peer: usize,
        exchange: u64,
        response: &PushResponse,
        outbox: &mut Outbox,
    ) {
        let Some(under_way) = self.end(peer, exchange) else { return };
        let Ok(standing) = response.standing.parse() else {
            outbox.findings.push(Finding::refusal(format!("a standing of n{peer} was refused")));
            return;
        };
        if response.stranger.is_some() {
            let cause = if response.is_forgotten { Cause::Forgotten } else { Cause::Asked };
            let random = self.seed.next_u64();
            self.handle(now, peer, Event::Failed { random }, outbox);
            return self.ask_for_states(peer, cause, outbox);
        }
        let through = Position(response.last_processed_log_sequence).min(under_way.through);
        let has_gap = response.gap.is_some();
        if through < under_way.through && through <= under_way.after && !has_gap {
            let random = self.seed.next_u64();
            self.handle(now, peer, Event::Failed { random }, outbox);
            return;
        }
        if has_gap && self.has_forgotten_what_is_lacked(&standing.vector) {
            outbox.sends.push((peer, 0, Body::TakeStates(None)));
        }
        let is_short = through < under_way.through && !has_gap;
        let looked = if is_short { through } else { under_way.looked };
        self.handle(now, peer, Event::Pushed { through, looked, has_gap, peer: Some(standing) }, outbox);
    }

    fn receive_answer(&mut self, now: Millis, peer: usize, exchange: u64, response: PullResponse, outbox: &mut Outbox) {
        let is_awaited = self
            .running
            .as_ref()
            .and_then(|running| running.links.get(&peer))
            .is_some_and(|link| link.under_way.as_ref().is_some_and(|under_way| under_way.number == exchange));
        if !is_awaited {
            return;
        }
        let has_more = response.has_more;
        let received = response.standing.parse().and_then(|standing| {
            let received = wire::received_pull(response, &standing)?;
            Ok((received, standing))
        });
        match received {
            Ok((_, standing)) if self.forgot_itself(&standing.vector) => {
                self.fail(now, peer, exchange, outbox);
                self.ask_for_states(peer, Cause::Asked, outbox);
            }
            Ok((received, standing)) if !received.operations.is_empty() && !self.may_be_believed(&standing) => {
                outbox.lines.push(format!("takes nothing from n{peer}: it must take our states first"));
                if self.setup.is_contested {
                    outbox.sends.push((peer, 0, Body::TakeStates(None)));
                }
                self.end(peer, exchange);
                let random = self.seed.next_u64();
                self.handle(now, peer, Event::Failed { random }, outbox);
            }
            Ok((received, standing)) => {
                let caller = Caller::Pull { peer, exchange, has_more, standing };
                self.submit(Request::Receive(received), caller, outbox);
            }
            Err(refusal) => {
                outbox.findings.push(Finding::refusal(format!("an answer from n{peer} was refused: {refusal}")));
            }
        }
    }

    /// Gives the answer to a request to whoever waits for it.
    pub(super) fn answer(&mut self, now: Millis, answer: Answer, caller: Caller, outbox: &mut Outbox) {
        if let Answer::Receipt(Receipt { second: Some(second), .. }) = &answer {
            outbox.lines.push(format!("had known something else as {second}"));
            outbox.seen.push(NOTICED);
        }
        match (answer, caller) {
            (Answer::Each(results), Caller::Client) => {
                let written = results.into_iter().flatten();
                outbox.acknowledged.extend(written.flat_map(|written| written.operations));
            }
            (Answer::Together(Ok(written)), Caller::Client) => {
                outbox.acknowledged.extend(written.into_iter().flat_map(|written| written.operations));
            }
            (Answer::Receipt(receipt @ Receipt { stranger: Some(_), .. }), Caller::Push { from, exchange, .. }) => {
                let Some(stranger) = &receipt.stranger else { return };
                outbox.lines.push(format!("cannot take {}: {:?}", stranger.dot, stranger.misfit));
                if self.setup.is_contested {
                    Self::note_stranger(stranger, outbox);
                    let Some(ours) = self.standing(now) else { return };
                    outbox.sends.push((from, exchange, Body::Pushed(wire::push_response(&receipt, &ours))));
                    return;
                }
                let cause = if stranger.misfit == Misfit::Writer { Cause::Forgotten } else { Cause::Asked };
                outbox.sends.push((from, exchange, Body::Turned(Admission::MustRebase, cause)));
                if stranger.dot.origin == self.origin {
                    self.ask_for_states(from, Cause::Asked, outbox);
                }
            }
            (Answer::Receipt(Receipt { stranger: Some(stranger), .. }), Caller::Pull { peer, exchange, .. }) => {
                outbox.lines.push(format!("cannot take {}: {:?}", stranger.dot, stranger.misfit));
                let failures = self.link(peer).map_or(0, |link| link.session.failures());
                self.fail(now, peer, exchange, outbox);
                if self.setup.is_contested {
                    Self::note_stranger(&stranger, outbox);
                    let is_unjudged = stranger.misfit == Misfit::Writer && failures >= PUSHES_AWAITED;
                    let cause = if is_unjudged { Cause::Unjudged } else { Cause::Asked };
                    self.ask_for_states(peer, cause, outbox);
                } else if stranger.misfit == Misfit::Writer && failures >= PUSHES_AWAITED {
                    self.ask_for_states(peer, Cause::Unjudged, outbox);
                }
            }
            (Answer::Receipt(receipt), Caller::Push { from, exchange, log_id, after }) => {
                let through = receipt.through;
                self.handle(now, from, Event::Brought { log_id, after, through }, outbox);
                let Some(ours) = self.standing(now) else { return };
                self.tell_standing(from, &ours);
                outbox.sends.push((from, exchange, Body::Pushed(wire::push_response(&receipt, &ours))));
            }
            (Answer::Receipt(receipt), Caller::Pull { peer, exchange, has_more, standing }) => {
                self.finish_pull(now, peer, exchange, &receipt, has_more, standing, outbox);
            }
            (Answer::GivenUp(given_up), _) => {
                let tombstones = usize::try_from(given_up.tombstones).unwrap_or(usize::MAX);
                outbox.seen.extend(std::iter::repeat_n("tombstones removed", tombstones));
            }
            _ => {}
        }
    }

    #[allow(clippy::too_many_arguments, reason = "An answer, and everything that was remembered for it.")]
    fn finish_pull(
        &mut self,
        now: Millis,
        peer: usize,
        exchange: u64,
        receipt: &Receipt,
        has_more: bool,
        standing: Standing,
        outbox: &mut Outbox,
    ) {
        if self.end(peer, exchange).is_none() {
            return;
        }
        let (through, has_gap) = (receipt.through, receipt.gap.is_some());
        self.handle(now, peer, Event::Pulled { through, has_more, has_gap, peer: standing }, outbox);
    }

    /// Tells the sessions that the log has grown, peers what others have brought, and those who only call us that
    /// there is something.
    pub(super) fn announce(&mut self, now: Millis, newest: Position, outbox: &mut Outbox) {
        let Some(ours) = self.standing(now) else { return };
        for peer in self.setup.peers.clone() {
            let (vector, random) = (ours.vector.clone(), self.seed.next_u64());
            self.handle(now, peer, Event::Committed { newest, vector, random }, outbox);
            let Some(link) = self.link(peer) else { continue };
            let told = &link.told;
            if !ours.vector.iter().all(|(origin, seen)| *origin == ours.origin || told.get(origin) >= seen) {
                link.told.merge(&ours.vector);
                outbox.sends.push((peer, 0, Body::Standing(StandingRecord::from(&ours))));
            }
        }
        outbox.sends.extend(self.setup.callers.iter().map(|caller| (*caller, 0, Body::Hint)));
    }
}
