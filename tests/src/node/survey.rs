//! What a node says of its peers: digests compared while both go on writing, and the word that status shows.
//!
//! ```text
//!   sweep ─► survey ─► the peer looks at its data, and answers ─► compare ─► found ─► "InSync", or another word
//! ```
//!
//! The words are the product's own. Each time that a node would say `InSync`, the world is told, and looks at the truth.

use std::collections::{BTreeMap, BTreeSet};

use holdfast::sync::driver::SessionStatus;
use holdfast::sync::standing::{Evidence, PeerState, state_of};
use holdfast_core::digest::Digest;
use holdfast_core::sync::admission::Cause;
use holdfast_core::sync::comparison::{Comparison, Inconclusive, Outcome, Side, compare};
use holdfast_core::sync::message::PROTOCOL;
use holdfast_core::sync::session::Event;
use holdfast_core::sync::survey::{
    Lacking, Memory, Survey, SurveyRecord, SurveyRequest, SurveyResponse, parse_parts, part_records,
};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Origin, Position, Vector};
use holdfast_storage::view::ReadView;

use crate::checkers::Finding;
use crate::checkers::identity::NOTICED;
use crate::node::wire::Body;
use crate::node::{Link, Node, Outbox, Sabotage, name_of};

/// A node says that a peer and it are in sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The peer.
    pub peer: usize,
    /// What the node knows …
    pub knows: Vector,
    /// … and shows.
    pub shows: Digest,
}

/// A look at our data that waits for the peer's answer.
#[derive(Debug)]
pub(super) struct Look {
    number: u64,
    asked_at: Millis,
    view: ReadView,
    side: Side,
    /// What the peer was known to know.
    known: Vector,
}

impl Node {
    /// Asks every peer how its data compares with ours.
    pub(super) fn survey_peers(&mut self, now: Millis, outbox: &mut Outbox) {
        if !self.setup.surveys {
            return;
        }
        for peer in self.setup.peers.clone() {
            if self.hardship.goes_out(peer) && self.hardship.comes_in(peer) {
                self.survey(now, peer, outbox);
            }
        }
    }

    fn survey(&mut self, now: Millis, peer: usize, outbox: &mut Outbox) {
        self.exchanges += 1;
        let number = self.exchanges;
        let Some(link) = self.link(peer) else { return };
        let (confirmed, known) = (link.session.confirmed(), link.session.peer_vector().clone());
        let (pulled, pulled_log) = (link.session.pulled(), link.session.peer_log_id());
        let word = link.word;
        let Some((view, survey)) = self.account(now, confirmed, &known) else { return };
        let request = SurveyRequest {
            protocol: PROTOCOL,
            survey: SurveyRecord::from(&survey),
            pulled_log_sequence: pulled.0,
            pulled_log_id: pulled_log.map(|log_id| format!("{log_id:016x}")),
            echo_millis: word.map(|word| word.0),
        };
        if let Some(link) = self.link(peer) {
            link.look = Some(Look { number, asked_at: now, view, side: survey.side, known });
        }
        outbox.sends.push((peer, number, Body::Survey(Box::new(request))));
    }

    /// Looks at our data on behalf of a node that has confirmed our log up to a position and knows `known`.
    fn account(&self, now: Millis, confirmed: Position, known: &Vector) -> Option<(ReadView, Survey)> {
        let standing = self.standing(now)?;
        let running = self.running.as_ref()?;
        let view = running.database.view().expect("a healthy database");
        // What lies below the log's floor is confirmed by what is known, and by no position.
        let confirmed = if known.covers_all(running.writer.floor()) { confirmed } else { Position::START };
        let surveyed = view.survey(confirmed, known).expect("a healthy database");
        let memory = self.memory(now)?;
        let survey = Survey {
            standing,
            oldest: Position::START,
            side: surveyed.side,
            counts: surveyed.counts,
            lacking: Lacking::default(),
            memory,
        };
        Some((view, survey))
    }

    /// What this node remembers of the cluster.
    fn memory(&self, now: Millis) -> Option<Memory> {
        let running = self.running.as_ref()?;
        let state = running.writer.state();
        let known = running.database.acknowledgements();
        let newest = |member: &Origin| (member.clone(), known.newest_of(member));
        let mut acknowledged: BTreeMap<Origin, Vector> = state.members.active().map(newest).collect();
        acknowledged.insert(self.origin.clone(), state.acknowledged());
        let members = state.members.active().cloned().collect();
        let floor = running.writer.floor().clone();
        let heard = running.leases.heard(now);
        Some(Memory { acknowledged, heard, members, graves: state.graves.clone(), floor, chains: state.chains.clone() })
    }

    /// Answers a survey.
    pub(super) fn answer_survey(
        &mut self,
        now: Millis,
        from: usize,
        exchange: u64,
        request: SurveyRequest,
        outbox: &mut Outbox,
    ) {
        let Some(log_id) = self.running.as_ref().map(|running| running.database.log_id()) else { return };
        let word = request.echo_millis;
        let (Ok(confirmed), Ok(theirs)) = (request.pulled(log_id), request.survey.parse()) else {
            outbox.findings.push(Finding::refusal(format!("a survey of n{from} was refused")));
            return;
        };
        let Some((view, survey)) = self.account(now, confirmed, &theirs.side.vector) else { return };
        let keys = theirs.side.changed.iter().flatten().map(|(key, _)| key);
        let asked = view.parts(keys).expect("a healthy database");
        let response =
            SurveyResponse { protocol: PROTOCOL, survey: SurveyRecord::from(&survey), asked: part_records(&asked) };
        outbox.sends.push((from, exchange, Body::Surveyed(Box::new(response))));
        if let Some(running) = &mut self.running {
            let asker = &theirs.standing.origin.node;
            let age = word.and_then(|word| running.leases.echoes.age(now, asker, Millis(word)));
            running.leases.echoes.answer(now, asker, survey.standing.now);
            self.take_told(now, &theirs, age);
        }
        let (vector, log_id) = (theirs.side.vector.clone(), Some(theirs.standing.log_id));
        self.handle(now, from, Event::Heard { vector: vector.clone(), log_id }, outbox);
        // At one vector the question alone says it all.
        if survey.side.vector == vector {
            let outcome = compare(&survey.side, &theirs.side);
            let comparison = Comparison { outcome, at: now, ours: vector.clone(), theirs: vector };
            self.conclude(from, comparison, outbox);
        }
    }

    /// Takes the answer to a survey in.
    pub(super) fn take_survey(
        &mut self,
        now: Millis,
        peer: usize,
        exchange: u64,
        response: SurveyResponse,
        outbox: &mut Outbox,
    ) {
        let look = self.link(peer).and_then(|link| link.look.take_if(|look| look.number == exchange));
        let Some(mut look) = look else { return };
        let (Ok(asked), Ok(mut theirs)) = (parse_parts(response.asked), response.survey.parse()) else {
            outbox.findings.push(Finding::refusal(format!("the answer of n{peer} to a survey was refused")));
            return;
        };
        if theirs.standing.origin.node != name_of(peer) {
            return;
        }
        theirs.side.asked = asked;
        let outcome = if theirs.side.vector.covers_all(&look.known) {
            let keys = theirs.side.changed.iter().flatten().map(|(key, _)| key);
            look.side.asked = look.view.parts(keys).expect("a healthy database");
            compare(&look.side, &theirs.side)
        } else {
            Outcome::Inconclusive(Inconclusive::Receded)
        };
        let (ours, vector) = (look.side.vector, theirs.side.vector.clone());
        if let Some(link) = self.link(peer) {
            link.word = Some(theirs.standing.now);
        }
        self.take_told(now, &theirs, Some(now.since(look.asked_at)));
        self.look_at_other_branch(peer, &theirs, outbox);
        let log_id = Some(theirs.standing.log_id);
        self.handle(now, peer, Event::Heard { vector: vector.clone(), log_id }, outbox);
        self.conclude(peer, Comparison { outcome, at: now, ours, theirs: vector }, outbox);
    }

    /// Two branches of an origin that are equally long show in their chains alone.
    fn look_at_other_branch(&mut self, peer: usize, theirs: &Survey, outbox: &mut Outbox) {
        let Some(running) = self.running.as_ref().filter(|_| self.setup.is_contested) else { return };
        let state = running.writer.state();
        if let Some(stranger) = theirs.other_branch(&state.vector, &state.chains) {
            outbox.lines.push(format!("n{peer} holds another branch of {}", stranger.origin));
            outbox.seen.push(NOTICED);
            self.ask_for_states(peer, Cause::Asked, outbox);
        }
    }

    /// Notes what a peer has told of others; whom it heard, if it is known how old the message is at most.
    fn take_told(&mut self, now: Millis, theirs: &Survey, age: Option<Millis>) {
        let Some(running) = &mut self.running else { return };
        if let Some(age) = age {
            let itself = (&theirs.standing.origin, &Millis(0));
            let heard = theirs.memory.heard.iter().chain([itself]).filter(|(origin, _)| **origin != self.origin);
            for (origin, ago) in heard {
                running.leases.hear_of(now, origin, *ago + age);
            }
        }
        for (origin, vector) in theirs.memory.acknowledged.iter().filter(|(origin, _)| **origin != self.origin) {
            running.database.acknowledge(origin, vector);
        }
    }

    /// Takes note of what was found. Two nodes that differ after the same operations are never to be seen: either they
    /// do, or what is on its way between them was taken for a difference. Where one origin may have two branches, the same
    /// vector can mean other operations: there, to say so is right.
    fn conclude(&mut self, peer: usize, comparison: Comparison, outbox: &mut Outbox) {
        if let Outcome::Different(collections) = &comparison.outcome
            && !self.setup.is_contested
        {
            let Comparison { ours, theirs, .. } = &comparison;
            let who = format!("n{}, which knows {ours:?}, says that n{peer}, which knows {theirs:?},", self.index);
            outbox.findings.push(Finding::difference(format!("{who} shows something else in {collections:?}")));
        }
        let Some(link) = self.link(peer) else { return };
        if comparison.is_conclusive() {
            link.found.conclusive = Some(comparison);
        }
    }

    /// The peers of which it says `InSync` now, and did not say so of the same proof before.
    pub(super) fn claim(&mut self, outbox: &mut Outbox) {
        let Some(running) = &mut self.running else { return };
        let knows = &running.writer.state().vector;
        let mut peers = BTreeSet::new();
        for (peer, link) in &mut running.links {
            let is_in_sync = word(&self.setup.sabotage, *peer, link, knows) == PeerState::InSync;
            let said = is_in_sync.then(|| knows.clone());
            if link.said != said {
                link.said = said;
                peers.extend(is_in_sync.then_some(*peer));
            }
        }
        if !peers.is_empty()
            && let Some((knows, shows)) = self.shows()
        {
            let claim = |peer| Claim { peer, knows: knows.clone(), shows };
            outbox.claims.extend(peers.into_iter().map(claim));
        }
    }

    /// The peers of which it does not say `InSync`, with the word that it says.
    pub fn unproven(&self) -> Vec<String> {
        let Some(running) = self.running.as_ref().filter(|_| self.setup.surveys) else { return Vec::new() };
        let knows = &running.writer.state().vector;
        let said = |(peer, link): (&usize, &Link)| {
            let word = word(&self.setup.sabotage, *peer, link, knows);
            let theirs = link.session.peer_vector();
            let what = || format!("n{} says {} of n{peer}, which it says to know {theirs:?}", self.index, word.name());
            (word != PeerState::InSync).then(what)
        };
        running.links.iter().filter_map(said).collect()
    }
}

/// What status says of a peer.
fn word(sabotage: &Sabotage, peer: usize, link: &Link, ours: &Vector) -> PeerState {
    let is_level = link.session.peer_vector() == ours;
    if *sabotage == Sabotage::ClaimsByVectors && is_level {
        return PeerState::InSync;
    }
    // Nothing but a proof makes it `InSync`: without one the sentences need not be made.
    if !link.found.conclusive.as_ref().is_some_and(Comparison::is_conclusive) {
        return PeerState::Ready;
    }
    let peer_vector = link.session.peer_vector().clone();
    let has_failed = link.session.failures() > 0;
    let last_error = has_failed.then(|| (Millis(0), "no answer".to_owned()));
    let session = SessionStatus { peer_vector, last_error, ..SessionStatus::default() };
    let evidence = Evidence {
        peer: &name_of(peer).to_string(),
        database: "shop",
        is_active: true,
        is_selected: true,
        is_sent: true,
        is_taken: true,
        resting: None,
        session: Some(&session),
        found: &link.found,
        ours,
    };
    state_of(&evidence).0
}
