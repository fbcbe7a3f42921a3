//! The database of a line: how far both sides are, stretches of the log, receipts. What the server's feeds and intakes do.

use holdfast::replica::intake::unfit;
use holdfast::sync::exchange::{compact, from_compact, push_head, received_push};
use holdfast_core::error::Refusal;
use holdfast_core::id::DatabaseName;
use holdfast_core::replica::feed::{LogFeed, Step};
use holdfast_core::replica::frame::Kind;
use holdfast_core::replica::heritage::Heritage;
use holdfast_core::replica::lane::{Direction, Ours, Remedy, Theirs, opening, remedy};
use holdfast_core::replica::message::{self, DatabaseAt, Databases, OfDatabase, PositionAt, Receipt, about};
use holdfast_core::sync::admission::Cause;
use holdfast_core::sync::forwarding::Filter;
use holdfast_core::sync::message::{PushRequest, Standing, parse_hex, parse_vector, vector_record};
use holdfast_core::time::Millis;
use holdfast_core::trail::Stated;
use holdfast_core::vector::{Position, Vector};
use holdfast_storage::log::ReadLimit;
use holdfast_storage::request::{Answer, Request};

use crate::node::name_of;
use crate::replicas::line::LineId;
use crate::replicas::node::{Caller, Node, Outbox, Stimulus};
use crate::replicas::sabotage::{Sabotage, alter};

/// The database on a line.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// The log of the other side, as it last said.
    pub(super) log_id: Option<String>,
    pub(super) is_taken_in: bool,
    pub(super) feed: Option<(LogFeed, Filter)>,
    confirmed: Position,
    /// What this node has of what its leader began with.
    heritage: Heritage,
}

pub(super) fn shop() -> DatabaseName {
    DatabaseName::parse("shop").expect("a sound name")
}

impl Node {
    /// Names the database to a follower.
    pub(super) fn announce(&self, line: LineId, outbox: &mut Outbox) {
        let Some(running) = &self.running else { return };
        let (newest, log_id) = (running.writer.state().position.0, format!("{:016x}", running.database.log_id()));
        let since = self.began().map(|since| since.0.min(newest));
        let databases = vec![DatabaseAt { name: "shop".to_owned(), log_id, newest, lives: 0, since }];
        self.send(line, Kind::Databases, message::write(&Databases { databases, ..Databases::default() }), outbox);
    }

    pub(super) fn take_databases(&mut self, now: Millis, line: LineId, all: &Databases, outbox: &mut Outbox) {
        let Some(one) = all.databases.first() else { return };
        let Some(session) = self.running.as_mut().and_then(|running| running.sessions.get_mut(&line)) else { return };
        session.lane.heritage.told([(shop(), one.log_id.clone(), one.since.map(Position))]);
        if session.lane.log_id.as_ref() != Some(&one.log_id) {
            session.lane.log_id = Some(one.log_id.clone());
            self.tell_position(now, line, outbox);
        }
    }

    /// Says how far this node is, and takes in what comes then.
    pub(super) fn tell_position(&mut self, now: Millis, line: LineId, outbox: &mut Outbox) {
        let Some(running) = &mut self.running else { return };
        let Some(session) = running.sessions.get_mut(&line) else { return };
        session.lane.is_taken_in = true;
        let checkpoint = running.writer.checkpoint(&name_of(session.peer)).cloned().unwrap_or_default();
        let log_id = format!("{:016x}", checkpoint.peer_log_id);
        // What it says that it has counts as confirmed.
        if !self.may_confirm(now, line, (&log_id, checkpoint.pulled), outbox) {
            return;
        }
        let Some(running) = &self.running else { return };
        let at = PositionAt {
            database: "shop".to_owned(),
            log_id,
            after: checkpoint.pulled.0,
            vector: vector_record(&running.writer.state().vector),
            cache_log_id: format!("{:016x}", 0),
            cache_after: 0,
            cache_vector: std::collections::BTreeMap::default(),
        };
        self.send(line, Kind::Position, message::write(&at), outbox);
    }

    /// The other side has said how far it is: it is given what it lacks, or told to take states.
    pub(super) fn begin_feed(
        &mut self,
        now: Millis,
        line: LineId,
        direction: Direction,
        at: &PositionAt,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        let (vector, log_id) = (parse_vector(&at.vector)?, parse_hex(&at.log_id)?);
        let Some(running) = &mut self.running else { return Ok(()) };
        let state = running.writer.state();
        let (newest, known, floor) = (state.position, state.vector.clone(), running.writer.floor().clone());
        let ours = Ours { log_id: running.database.log_id(), newest, vector: &known, floor: &floor };
        let our_log = ours.log_id;
        let opening = opening(direction, ours, Theirs { log_id, after: Position(at.after), vector: &vector });
        let Some(session) = running.sessions.get_mut(&line) else { return Ok(()) };
        let peer = session.peer;
        if opening.has_more && self.setup.sabotage != Sabotage::KeepsSurplus {
            outbox.seen.push("surplus asked for");
            self.tell_position(now, line, outbox);
        }
        let Some(start) = opening.start else {
            let of = OfDatabase { database: "shop".to_owned(), is_forgotten: false };
            self.send(line, Kind::StatesNeeded, message::write(&of), outbox);
            return Ok(());
        };
        outbox.lines.push(format!("n{peer} has up to {} of {log_id:x} and knows {vector:?}", start.after));
        if let Some(at) = self.running.as_mut().and_then(|running| running.followers.get_mut(&name_of(peer)))
            && direction == Direction::Down
        {
            at.reached.begin(our_log);
        }
        self.note_reached(now, direction, peer, (start.after, &vector), outbox);
        if let Some(session) = self.running.as_mut().and_then(|running| running.sessions.get_mut(&line)) {
            session.lane.confirmed = Position::START;
            session.lane.feed = Some((LogFeed::new(&start), Filter::of(start.known)));
        }
        self.feed(now, line, outbox);
        Ok(())
    }

    fn note_reached(
        &mut self,
        now: Millis,
        direction: Direction,
        peer: usize,
        (through, vector): (Position, &Vector),
        outbox: &mut Outbox,
    ) {
        let Some(running) = self.running.as_mut().filter(|_| direction == Direction::Down) else { return };
        let at = running.followers.entry(name_of(peer)).or_default();
        at.reached.has(through, vector);
        outbox.reached.push((name_of(peer), at.reached.clone()));
        self.look_at_waiting(now, outbox);
        self.look_at_handover(now, outbox);
    }

    /// How far this node's log reaches.
    pub(super) fn standing(&self, now: Millis) -> Option<Standing> {
        let running = self.running.as_ref()?;
        let state = running.writer.state();
        let (origin, log_id, now) = (self.origin.clone(), running.database.log_id(), self.wall(now));
        let (newest, vector) = (state.position, state.vector.clone());
        Some(Standing { origin, log_id, newest, vector, now, neighbours: std::collections::BTreeSet::default() })
    }

    /// Something came into the log: every feed looks whether it has anything to do, a moment later.
    pub(super) fn feed_all(&mut self, _now: Millis, outbox: &mut Outbox) {
        let Some(running) = &self.running else { return };
        for (line, session) in &running.sessions {
            if session.lane.feed.is_some() {
                outbox.later.push((Millis(self.seed.range(0..3)), Stimulus::Feed(*line)));
            }
        }
    }

    /// Sends what there is room for.
    pub(super) fn feed(&mut self, now: Millis, line: LineId, outbox: &mut Outbox) {
        let Some(standing) = self.standing(now) else { return };
        loop {
            let Some(running) = &mut self.running else { return };
            let newest = running.writer.state().position;
            let Some(session) = running.sessions.get_mut(&line) else { return };
            let Some((feed, filter)) = &mut session.lane.feed else { return };
            let after = match feed.next(newest, session.lane.confirmed) {
                Step::Read { after, .. } => after,
                Step::Done => {
                    session.lane.feed = None;
                    return;
                }
                Step::Rest { .. } => return,
            };
            let log = running.database.log().expect("a healthy log");
            let limit = ReadLimit { operations: self.setup.batch, bytes: usize::MAX };
            let stretch = log.read_for(after, filter, limit).expect("a healthy log");
            if !feed.read(stretch.through) {
                return;
            }
            let (through, count) = (stretch.through, stretch.operations.len());
            outbox.lines.push(format!("gives n{} ({after}, {through}], {count} operations", session.peer));
            let message = compact(&push_head(&stretch, after, &standing, &Stated::new()), &stretch);
            self.send(line, Kind::Stretch, about(&shop(), &message), outbox);
        }
    }

    pub(super) fn take_stretch(&mut self, line: LineId, sealed: &[u8], outbox: &mut Outbox) -> Result<(), Refusal> {
        let session = self.running.as_ref().and_then(|running| running.sessions.get(&line));
        if !session.is_some_and(|session| session.lane.is_taken_in) {
            return Ok(());
        }
        let mut received = from_compact::<PushRequest>(sealed).and_then(received_push)?;
        let log_id = received.source_log_id;
        if self.setup.sabotage == Sabotage::AltersWrites {
            alter(&mut received);
        }
        if self.setup.sabotage == Sabotage::ConfirmsUnwritten {
            self.confirm(line, log_id, (received.through, &received.source_vector), outbox);
        }
        self.submit(Request::Receive(received), Caller::Stretch { line, log_id }, outbox);
        Ok(())
    }

    fn confirm(&self, line: LineId, log_id: u64, (through, vector): (Position, &Vector), outbox: &mut Outbox) {
        let log_id = format!("{log_id:016x}");
        let receipt =
            Receipt { database: "shop".to_owned(), log_id, through: through.0, vector: vector_record(vector) };
        self.send(line, Kind::Receipt, message::write(&receipt), outbox);
    }

    /// A stretch was committed, or could not be.
    pub(super) fn taken(&mut self, now: Millis, line: LineId, log_id: u64, answer: Answer, outbox: &mut Outbox) {
        let Answer::Receipt(receipt) = answer else { return };
        let session = self.running.as_ref().and_then(|running| running.sessions.get(&line));
        let Some(session) = session.filter(|session| session.lane.is_taken_in) else { return };
        let Some(direction) = session.direction() else { return };
        if !self.may_confirm(now, line, (&format!("{log_id:016x}"), receipt.through), outbox) {
            return;
        }
        if let Some((dot, unfit)) = unfit(&receipt) {
            outbox.lines.push(format!("cannot take {dot}: {unfit:?}"));
            match remedy(unfit, direction) {
                Remedy::Anew => self.hang_up(now, line, None, outbox),
                Remedy::Take(cause) => {
                    self.look(line, cause == Cause::Forgotten, outbox);
                }
                Remedy::Give { is_forgotten } => {
                    let of = OfDatabase { database: "shop".to_owned(), is_forgotten };
                    self.send(line, Kind::StatesNeeded, message::write(&of), outbox);
                }
            }
            return;
        }
        if let Some(running) = &self.running {
            outbox.lines.push(format!("has up to {} of {log_id:x}", receipt.through));
            self.confirm(line, log_id, (receipt.through, &running.writer.state().vector), outbox);
        }
    }

    /// Something of the other side's is on disk, and is about to be confirmed to it.
    fn may_confirm(
        &mut self,
        now: Millis,
        line: LineId,
        (log_id, through): (&str, Position),
        outbox: &mut Outbox,
    ) -> bool {
        let Some(running) = &mut self.running else { return false };
        let Some(session) = running.sessions.get_mut(&line) else { return false };
        if session.direction() != Some(Direction::Up) {
            return true;
        }
        session.lane.heritage.reached(&shop(), log_id, through);
        let has_heritage = session.lane.heritage.is_whole() || self.setup.sabotage == Sabotage::RanksEarly;
        if let Err(denied) = running.replica.may_confirm() {
            let refusal = self.refusal(&denied);
            self.hang_up(now, line, Some(refusal), outbox);
            return false;
        }
        if let Some(epoch) = running.replica.epoch().cloned().filter(|_| has_heritage)
            && running.remembered.inherit(&epoch)
        {
            self.keep();
        }
        true
    }

    pub(super) fn take_receipt(
        &mut self,
        now: Millis,
        line: LineId,
        receipt: &Receipt,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        let (vector, log_id) = (parse_vector(&receipt.vector)?, parse_hex(&receipt.log_id)?);
        let Some(running) = &mut self.running else { return Ok(()) };
        if log_id != running.database.log_id() {
            return Ok(());
        }
        let Some(session) = running.sessions.get_mut(&line) else { return Ok(()) };
        let through = Position(receipt.through);
        session.lane.confirmed = session.lane.confirmed.max(through);
        let (direction, peer) = (session.direction(), session.peer);
        if let Some(direction) = direction {
            self.note_reached(now, direction, peer, (through, &vector), outbox);
        }
        self.feed(now, line, outbox);
        Ok(())
    }
}
