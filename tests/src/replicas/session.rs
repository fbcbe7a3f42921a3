//! The lines of a node: greetings, heartbeats, and the database that each of them gives or takes.
//!
//! It answers frame by frame what the server's sessions answer. Of the greeting everything is said but the proofs, which
//! have no part in what is decided.

use holdfast::replica::Reached;
use holdfast_core::error::Refusal;
use holdfast_core::replica::epoch::Epoch;
use holdfast_core::replica::frame::{HEADER_BYTES, Header, Kind, header};
use holdfast_core::replica::handshake::{Hello, PROTOCOL, PROTOCOL_OLDEST, Purpose, Refused, Welcome, agree};
use holdfast_core::replica::lane::Direction;
use holdfast_core::replica::message::{self, Control, ControlAnswer, Databases, Heartbeat, OfDatabase, parted};
use holdfast_core::replica::role::Role;
use holdfast_core::replica::seeking::may_be_followed;
use holdfast_core::time::Millis;

use crate::checkers::Finding;
use crate::node::name_of;
use crate::replicas::group::Told;
use crate::replicas::lane::Lane;
use crate::replicas::line::{Item, LineId, Lines};
use crate::replicas::node::{Node, Outbox, Stimulus};
use crate::replicas::sabotage::Sabotage;

/// How often a leader says that it is there, and how often a follower does.
const LEADER_BEATS_EVERY: Millis = Millis(250);
const FOLLOWER_BEATS_EVERY: Millis = Millis(1_000);
/// How long the other side may be silent.
const SILENT_WITHIN: Millis = Millis(10_000);

/// What a line was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Errand {
    /// To follow.
    Follow {
        /// Whether the leader is said to be there.
        is_named: bool,
    },
    /// To ask who leads.
    WhoLeads,
    /// To ask for a vote.
    Vote {
        /// For this epoch.
        epoch: Epoch,
        /// Whether it is only asked if it would be given.
        is_trial: bool,
    },
    /// To say that this node leads.
    Tell {
        /// In this epoch.
        epoch: Epoch,
        /// Where.
        endpoint: String,
        /// How long to wait before it is said again.
        pause: Millis,
    },
    /// To let the other side lead.
    TakeOver {
        /// In this epoch.
        epoch: Epoch,
    },
}

/// How far a line has come.
#[derive(Debug)]
pub(super) enum State {
    /// A greeting was sent.
    Dialled(Errand),
    /// The other side has greeted, and was asked something.
    Asked(Errand),
    /// The other side has dialled to say something.
    Called,
    /// This node follows the other side.
    Up { is_named: bool },
    /// The other side follows.
    Down,
}

/// One end of a line.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: usize,
    pub(super) state: State,
    heard: Millis,
    pub(super) lane: Lane,
}

impl Session {
    /// Whether it was made for such an errand, and has not come to anything yet.
    pub(super) fn is_for(&self, errand: &Errand) -> bool {
        match &self.state {
            State::Dialled(mine) | State::Asked(mine) => std::mem::discriminant(mine) == std::mem::discriminant(errand),
            _ => false,
        }
    }

    pub(super) fn direction(&self) -> Option<Direction> {
        match self.state {
            State::Up { .. } => Some(Direction::Up),
            State::Down => Some(Direction::Down),
            _ => None,
        }
    }
}

impl Node {
    /// Makes a line to where somebody listens.
    pub(super) fn dial(&mut self, now: Millis, endpoint: &str, errand: Errand, outbox: &mut Outbox) -> Option<LineId> {
        let to: usize = endpoint.strip_prefix('n')?.split_once(':')?.0.parse().ok()?;
        if to == self.index {
            return None;
        }
        self.dialled += 1;
        let line = Lines::id(self.index, self.dialled);
        let purpose = if matches!(errand, Errand::Follow { .. }) { Purpose::Follow } else { Purpose::Control };
        let hello = Hello {
            protocol: PROTOCOL,
            protocol_oldest: PROTOCOL_OLDEST,
            node: name_of(self.index).to_string(),
            incarnation: format!("{:016x}", self.identity.incarnation),
            purpose,
            nonce: String::new(),
            epoch: self.epoch().as_ref().map(Epoch::to_string),
            http_endpoint: None,
            replication_endpoint: Some(":1".to_owned()),
            is_voter: true,
            leader: None,
            group: Some("g".to_owned()),
            merges: false,
        };
        outbox.later.push((Self::patience(&errand), Stimulus::Group(Told::LineDue(line))));
        let session = Session { peer: to, state: State::Dialled(errand), heard: now, lane: Lane::default() };
        self.running.as_mut()?.sessions.insert(line, session);
        outbox.dials.push((line, to));
        self.send(line, Kind::Hello, message::write(&hello), outbox);
        Some(line)
    }

    pub(super) fn send(&self, line: LineId, kind: Kind, payload: Vec<u8>, outbox: &mut Outbox) {
        let number = self.running.as_ref().map_or(0, |running| running.number);
        outbox.frames.push((line, kind, number, payload));
    }

    /// Ends a line from this side, with a word to the other if there is one.
    pub(super) fn hang_up(&mut self, now: Millis, line: LineId, word: Option<Refused>, outbox: &mut Outbox) {
        if let Some(refused) = word {
            self.send(line, Kind::Refused, message::write(&refused), outbox);
        }
        outbox.closes.push(line);
        self.line_ended(now, line, None, outbox);
    }

    /// A line is over, whoever has ended it.
    pub(super) fn line_ended(&mut self, now: Millis, line: LineId, refused: Option<&Refused>, outbox: &mut Outbox) {
        let Some(running) = &mut self.running else { return };
        let Some(session) = running.sessions.remove(&line) else { return };
        if running.incoming.as_ref().is_some_and(|incoming| incoming.line == line) {
            running.incoming = None;
        }
        if let Some(starting) = &mut running.starting {
            starting.asked.retain(|asked| *asked != line);
            if starting.asked.is_empty() {
                self.lead_on(now, outbox);
            }
        }
        match session.state {
            State::Up { is_named } => {
                let hint = refused.and_then(|refused| refused.leader.as_deref());
                self.unfollowed(now, (session.peer, is_named), hint, outbox);
            }
            State::Dialled(Errand::Follow { is_named }) => {
                let hint = refused.and_then(|refused| refused.leader.as_deref());
                self.unfollowed(now, (session.peer, is_named), hint, outbox);
            }
            State::Dialled(errand) | State::Asked(errand) => self.said(now, (errand, session.peer), None, outbox),
            State::Called => {}
            State::Down => {
                if let Some(at) =
                    self.running.as_mut().and_then(|running| running.followers.get_mut(&name_of(session.peer)))
                    && at.line == Some(line)
                {
                    at.line = None;
                }
                if let Some(refused) = refused {
                    self.refused_by_follower(now, refused, outbox);
                }
                self.look_at_handover(now, outbox);
            }
        }
    }

    /// A follower has hung up on this leader, and said why.
    fn refused_by_follower(&mut self, now: Millis, refused: &Refused, outbox: &mut Outbox) {
        let Some(epoch) = refused.epoch.as_deref().and_then(|epoch| Epoch::parse(epoch).ok()) else { return };
        if refused.code == "promised" {
            outbox.seen.push("leaders that are told of a promise");
            let actions = self.decide(now, |replica, now| replica.outbid(now, &epoch));
            self.enact(now, actions, outbox);
        } else if refused.code == "old-epoch" {
            self.see_epoch(now, &epoch, refused.leader.clone(), outbox);
        }
    }

    pub(super) fn line_due(&mut self, now: Millis, line: LineId, outbox: &mut Outbox) {
        let session = self.running.as_ref().and_then(|running| running.sessions.get(&line));
        if session.is_some_and(|session| session.direction().is_none()) {
            self.hang_up(now, line, None, outbox);
        }
    }

    /// Says that this node is there, and looks whether the other one is.
    pub(super) fn beat(&mut self, now: Millis, line: LineId, outbox: &mut Outbox) {
        let Some(session) = self.running.as_ref().and_then(|running| running.sessions.get(&line)) else { return };
        let Some(direction) = session.direction() else { return };
        if now.since(session.heard) > SILENT_WITHIN {
            outbox.lines.push(format!("hears nothing of n{}", session.peer));
            return self.hang_up(now, line, None, outbox);
        }
        let every = if direction == Direction::Down { LEADER_BEATS_EVERY } else { FOLLOWER_BEATS_EVERY };
        outbox.later.push((every, Stimulus::Group(Told::Beat(line))));
        let beat = self.heartbeat(now, direction);
        self.send(line, Kind::Heartbeat, message::write(&beat), outbox);
    }

    /// Something has come over a line.
    pub(super) fn arrived(&mut self, now: Millis, line: LineId, from: usize, item: Item, outbox: &mut Outbox) {
        let (bytes, is_garbled) = match item {
            Item::End => return self.line_ended(now, line, None, outbox),
            Item::Frame { bytes, is_garbled } => (bytes, is_garbled),
        };
        let is_known = {
            let Some(running) = &mut self.running else { return };
            let session = running.sessions.get_mut(&line);
            session.map(|session| session.heard = now).is_some()
        };
        let Ok((head, payload)) = self.frame(&bytes, is_known) else {
            outbox.seen.push("frames that arrive broken");
            return self.hang_up(now, line, None, outbox);
        };
        if is_garbled {
            outbox.findings.push(Finding { checker: "frames", what: format!("a broken {:?} was believed", head.kind) });
        }
        let done = if is_known {
            self.take(now, line, from, (head.kind, head.epoch, payload), outbox)
        } else {
            self.greet(now, line, from, (head.kind, payload), outbox)
        };
        if let Err(refusal) = done {
            outbox.findings.push(Finding::refusal(format!("{:?} of n{from} was refused: {refusal}", head.kind)));
            self.hang_up(now, line, None, outbox);
        }
    }

    fn frame<'a>(&self, bytes: &'a [u8], is_known: bool) -> Result<(Header, &'a [u8]), ()> {
        let (head, payload) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(())?;
        let head = Header::read(head, is_known).map_err(|_| ())?;
        let payload = payload.get(..head.length).ok_or(())?;
        if self.setup.sabotage != Sabotage::BelievesAnything {
            head.check(payload).map_err(|_| ())?;
        }
        Ok((head, payload))
    }

    /// Somebody dials.
    fn greet(
        &mut self,
        now: Millis,
        line: LineId,
        from: usize,
        (kind, payload): (Kind, &[u8]),
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        if kind != Kind::Hello {
            // Of a line that was hung up here.
            outbox.closes.push(line);
            return Ok(());
        }
        let hello: Hello = message::read(payload)?;
        let guest = name_of(from);
        let unwelcome =
            |error: holdfast_core::replica::handshake::Unwelcome| Refusal::invalid("greeting", error.to_string());
        agree(&hello).map_err(unwelcome)?;
        let state = if hello.purpose == Purpose::Control { State::Called } else { State::Down };
        let is_down = matches!(state, State::Down);
        if is_down {
            if let Some(epoch) = hello.epoch.as_deref().map(Epoch::parse).transpose()? {
                self.see_epoch(now, &epoch, None, outbox);
            }
            let followed = self.running.as_ref().and_then(|running| running.upstream.connected.clone());
            if let Err(why) = may_be_followed(self.role(), followed.as_ref().map(|(leader, _)| leader), &guest) {
                let refused = self.refused(why.code(), why.to_string(), self.epoch());
                self.send(line, Kind::Refused, message::write(&refused), outbox);
                outbox.closes.push(line);
                return Ok(());
            }
        }
        let welcome = Welcome {
            proof: String::new(),
            epoch: self.epoch().as_ref().map(Epoch::to_string),
            http_endpoint: None,
            group: Some("g".to_owned()),
            is_leader: self.role() == Role::Leader,
            leader: if self.role() == Role::Leader { None } else { self.leader_endpoint() },
        };
        self.send(line, Kind::Welcome, message::write(&welcome), outbox);
        let Some(running) = &mut self.running else { return Ok(()) };
        running.sessions.insert(line, Session { peer: from, state, heard: now, lane: Lane::default() });
        if is_down {
            self.note_follower(now, line, from, outbox);
        } else {
            outbox.later.push((Millis(5_000), Stimulus::Group(Told::LineDue(line))));
        }
        Ok(())
    }

    fn note_follower(&mut self, now: Millis, line: LineId, from: usize, outbox: &mut Outbox) {
        let (guest, endpoint) = (name_of(from), format!("n{from}:1"));
        let Some(running) = &mut self.running else { return };
        let at = running.followers.entry(guest.clone()).or_default();
        let before = at.line.replace(line);
        at.endpoint = Some(endpoint.clone());
        at.reached = Reached::default();
        if let Some(before) = before {
            self.hang_up(now, before, None, outbox);
        }
        if self.role() == Role::Leader {
            self.count_voter(&guest, Some(endpoint));
        }
        self.announce(line, outbox);
        outbox.later.push((Millis(0), Stimulus::Group(Told::Beat(line))));
    }

    /// Takes a frame of a line that was greeted, or greets.
    fn take(
        &mut self,
        now: Millis,
        line: LineId,
        from: usize,
        (kind, epoch, payload): (Kind, u64, &[u8]),
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        let Some(running) = &self.running else { return Ok(()) };
        let Some(session) = running.sessions.get(&line) else { return Ok(()) };
        let direction = session.direction();
        if direction == Some(Direction::Up) && epoch < running.number && kind != Kind::Refused {
            let word = self.refused("old-epoch", "a later epoch is known here".to_owned(), self.epoch());
            self.hang_up(now, line, Some(word), outbox);
            return Ok(());
        }
        match (kind, direction) {
            (Kind::Refused, _) => {
                let refused: Refused = message::read(payload)?;
                outbox.lines.push(format!("is refused by n{from}: {}", refused.code));
                outbox.closes.push(line);
                self.line_ended(now, line, Some(&refused), outbox);
                Ok(())
            }
            (Kind::Welcome, None) => self.welcomed(now, line, from, &message::read(payload)?, outbox),
            (Kind::Control, None) => {
                let answer = self.control(now, from, message::read(payload)?, outbox);
                self.send(line, Kind::ControlAnswer, message::write(&answer), outbox);
                self.hang_up(now, line, None, outbox);
                Ok(())
            }
            (Kind::ControlAnswer, None) => {
                let answer: ControlAnswer = message::read(payload)?;
                outbox.closes.push(line);
                let session = self.running.as_mut().and_then(|running| running.sessions.remove(&line));
                if let Some(Session { state: State::Asked(errand), peer, .. }) = session {
                    self.said(now, (errand, peer), Some(answer), outbox);
                }
                Ok(())
            }
            (Kind::Heartbeat, Some(direction)) => {
                self.heard(now, line, from, direction, &message::read(payload)?, outbox)
            }
            (Kind::Databases, Some(Direction::Up)) => {
                let all: Databases = message::read(payload)?;
                all.check()?;
                self.take_databases(now, line, &all, outbox);
                Ok(())
            }
            (Kind::Position, Some(direction)) => {
                self.begin_feed(now, line, direction, &message::read(payload)?, outbox)
            }
            (Kind::Stretch, Some(_)) => self.take_stretch(line, parted(payload)?.1, outbox),
            (Kind::Receipt, Some(_)) => self.take_receipt(now, line, &message::read(payload)?, outbox),
            (Kind::Question, Some(_)) => self.answer_states(now, line, &message::read(payload)?, outbox),
            (Kind::Answer, Some(_)) => {
                self.take_states(now, line, parted(payload)?.1, outbox);
                Ok(())
            }
            (Kind::StatesNeeded, Some(_)) => {
                let of: OfDatabase = message::read(payload)?;
                self.look(line, of.is_forgotten, outbox);
                Ok(())
            }
            (kind, _) => Err(Refusal::invalid("out-of-turn", format!("{kind:?} was not expected"))),
        }
    }

    /// The listener has greeted this node.
    fn welcomed(
        &mut self,
        now: Millis,
        line: LineId,
        from: usize,
        welcome: &Welcome,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        let epoch = welcome.epoch.as_deref().map(Epoch::parse).transpose()?;
        let rank = self.rank();
        let operations = self.operations();
        let Some(session) = self.running.as_mut().and_then(|running| running.sessions.get_mut(&line)) else {
            return Ok(());
        };
        let State::Dialled(errand) = &session.state else {
            return Err(Refusal::invalid("out-of-turn", "a second welcome"));
        };
        let errand = errand.clone();
        let control = match &errand {
            Errand::Follow { is_named } => {
                let is_named = *is_named;
                self.follow(now, line, from, (welcome, epoch, is_named), outbox);
                return Ok(());
            }
            Errand::WhoLeads => {
                let leader = if welcome.is_leader { Some(format!("n{from}:1")) } else { welcome.leader.clone() };
                if let (Some(running), Some(epoch)) = (&mut self.running, epoch)
                    && let Some(starting) = &mut running.starting
                    && starting.newest.as_ref().is_none_or(|(known, _)| *known <= epoch)
                {
                    starting.newest = Some((epoch, leader));
                }
                self.hang_up(now, line, None, outbox);
                return Ok(());
            }
            Errand::Vote { epoch, is_trial } => Control::Vote { epoch: epoch.to_string(), rank, is_trial: *is_trial },
            Errand::Tell { epoch, .. } => {
                Control::Follow { epoch: epoch.to_string(), leader: ":1".to_owned(), http: None }
            }
            Errand::TakeOver { epoch } => Control::TakeOver { epoch: epoch.to_string(), operations, drops: 0 },
        };
        session.state = State::Asked(errand);
        self.send(line, Kind::Control, message::write(&control), outbox);
        Ok(())
    }

    fn follow(
        &mut self,
        now: Millis,
        line: LineId,
        from: usize,
        (welcome, epoch, is_named): (&Welcome, Option<Epoch>, bool),
        outbox: &mut Outbox,
    ) {
        if !welcome.is_leader && !is_named {
            let hint = self.refused("no-leader", "it does not lead".to_owned(), None);
            outbox.closes.push(line);
            self.line_ended(now, line, Some(&Refused { leader: welcome.leader.clone(), ..hint }), outbox);
            return;
        }
        if let Some(epoch) = epoch
            && let Err(denied) = self.hear_epoch(now, &epoch, outbox)
        {
            let refusal = self.refusal(&denied);
            self.hang_up(now, line, Some(refusal), outbox);
            return;
        }
        let Some(running) = &mut self.running else { return };
        // Whoever leads by now, or looks elsewhere, follows nobody here.
        if running.replica.role() != Role::Follower || running.seeking.is_none() {
            self.hang_up(now, line, None, outbox);
            return;
        }
        let Some(session) = running.sessions.get_mut(&line) else { return };
        session.state = State::Up { is_named };
        running.upstream.connected = Some((name_of(from), line));
        self.name_leader(now, format!("n{from}:1"), outbox);
        if let Some(seek) = self.running.as_mut().and_then(|running| running.seeking.as_mut()) {
            seek.is_named = false;
        }
        outbox.lines.push(format!("follows n{from}"));
        outbox.later.push((Millis(0), Stimulus::Group(Told::Beat(line))));
    }

    fn heard(
        &mut self,
        now: Millis,
        line: LineId,
        from: usize,
        direction: Direction,
        beat: &Heartbeat,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        beat.check()?;
        if direction == Direction::Down {
            if let Some(epoch) = beat.epoch.as_deref().map(Epoch::parse).transpose()? {
                self.see_epoch(now, &epoch, None, outbox);
            }
            return Ok(());
        }
        if let Err(denied) = self.heard_upstream(now, from, beat, outbox) {
            let refusal = self.refusal(&denied);
            self.hang_up(now, line, Some(refusal), outbox);
        }
        Ok(())
    }

    /// Frames as they go over the wire.
    pub fn pack(kind: Kind, epoch: u64, payload: &[u8]) -> Vec<u8> {
        let head = header(kind, epoch, payload).expect("nodes send no frames that are too long");
        [&head[..], payload].concat()
    }
}
