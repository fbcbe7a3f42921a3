//! A follower below the pruned log takes its leader's states: pages, files beside the database, and the change over. What
//! is cut short goes on where it was.

use holdfast::sync::states::{page_of, read_page};
use holdfast_core::error::Refusal;
use holdfast_core::replica::frame::Kind;
use holdfast_core::replica::lane::Direction;
use holdfast_core::replica::message::{self, Asked, about};
use holdfast_core::sync::admission::{self, Cause, Side};
use holdfast_core::sync::branches::Forks;
use holdfast_core::sync::message::{PROTOCOL, parse_hex};
use holdfast_core::sync::states::{States, StatesRequest};
use holdfast_core::sync::turned::Question;
use holdfast_core::time::Millis;
use holdfast_core::vector::{Origin, Position};
use holdfast_storage::commit::Moment;
use holdfast_storage::database::Opened;
use holdfast_storage::error::StorageError;
use holdfast_storage::log::ReadLimit;
use holdfast_storage::record::note::Adoption;
use holdfast_storage::transfer::page::StatePage;
use holdfast_storage::transfer::{Ending, Source, Transfer};

use crate::checkers::Finding;
use crate::node::{name_of, options};
use crate::replicas::lane::shop;
use crate::replicas::line::LineId;
use crate::replicas::node::{Caller, Node, Outbox};
use crate::seed::Seed;

/// The files of a transfer under way, which survive a crash.
const FILES: [&str; 2] = ["states-log", "states-data"];

/// A transfer under way.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) line: LineId,
    cause: Cause,
    under_way: Option<(Transfer, admission::Transfer, u64)>,
}

impl Node {
    /// Looks at the states of the other side, and takes them if that is needed.
    pub(super) fn look(&mut self, line: LineId, is_forgotten: bool, outbox: &mut Outbox) {
        let Some(running) = &mut self.running else { return };
        let Some(session) = running.sessions.get_mut(&line) else { return };
        // Nothing is taken in while the database is made anew.
        session.lane.is_taken_in = false;
        let cause = if is_forgotten { Cause::Forgotten } else { Cause::Asked };
        running.incoming = Some(Incoming { line, cause, under_way: None });
        self.ask_for_page(line, Position::START, None, outbox);
    }

    fn ask_for_page(&self, line: LineId, after: Position, log_id: Option<u64>, outbox: &mut Outbox) {
        let request = StatesRequest {
            protocol: PROTOCOL,
            requesting_node_id: name_of(self.index).to_string(),
            requesting_incarnation: format!("{:016x}", self.identity.incarnation),
            after_log_sequence: after.0,
            log_id: log_id.map(|log_id| format!("{log_id:016x}")),
            bytes_max: None,
            compression: None,
        };
        let asked = Asked { database: "shop".to_owned(), question: Question::States(request) };
        self.send(line, Kind::Question, message::write(&asked), outbox);
    }

    /// Answers a question for states.
    pub(super) fn answer_states(
        &mut self,
        now: Millis,
        line: LineId,
        asked: &Asked,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        let Question::States(request) = &asked.question else { return Ok(()) };
        let Some(standing) = self.standing(now) else { return Ok(()) };
        let is_ours = match &request.log_id {
            Some(log_id) => parse_hex(log_id)? == standing.log_id,
            None => true,
        };
        let after = if is_ours { Position(request.after_log_sequence) } else { Position::START };
        let Some(running) = &self.running else { return Ok(()) };
        let (view, log) =
            (running.database.view().expect("a healthy view"), running.database.log().expect("a healthy log"));
        let limit = ReadLimit { operations: self.setup.batch, bytes: usize::MAX };
        let page = page_of((&view, &log), standing, (after, limit), false).expect("healthy data");
        self.send(line, Kind::Answer, about(&shop(), &page), outbox);
        Ok(())
    }

    /// Takes a page in; with the last one, the files change places.
    pub(super) fn take_states(&mut self, now: Millis, line: LineId, body: &[u8], outbox: &mut Outbox) {
        let Some(running) = &mut self.running else { return };
        let Some(mut incoming) = running.incoming.take_if(|incoming| incoming.line == line) else { return };
        let (head, page) = match read_page(body) {
            Ok(read) => read,
            Err(error) => {
                outbox.findings.push(Finding::refusal(format!("a page of states was refused: {error}")));
                return;
            }
        };
        let log_id = head.standing.log_id;
        let begun = match incoming.under_way.take().filter(|(_, _, of)| *of == log_id) {
            Some(under_way) => Ok(under_way),
            None => match self.kind_of(&head, incoming.cause) {
                kind @ (admission::Transfer::Merge | admission::Transfer::Rebase) => {
                    self.open_transfer(&head, outbox).map(|transfer| (transfer, kind, log_id))
                }
                _ => {
                    outbox.lines.push("needs no states".to_owned());
                    return self.tell_position(now, line, outbox);
                }
            },
        };
        let wall = self.wall(now);
        let StatePage { has_more, letters, .. } = &page;
        let (has_more, letters) = (*has_more, letters.clone());
        let begins = page.after;
        let is_next = |transfer: &Transfer| begins == transfer.cursor();
        let taken = begun.map_err(|error| error.to_string()).and_then(|mut under_way| {
            if !is_next(&under_way.0) {
                return Ok((under_way, false));
            }
            let mut random = random_of(&mut self.seed);
            let mut moment = Moment { now: wall, random: &mut random };
            under_way.0.take(&mut moment, page).map_err(|error| error.to_string())?;
            Ok((under_way, true))
        });
        match taken {
            Ok(((transfer, kind, _), true)) if !has_more => {
                self.change_over(now, line, (transfer, kind), (head, letters), outbox);
            }
            Ok((under_way, _)) => {
                let after = under_way.0.cursor();
                incoming.under_way = Some(under_way);
                if let Some(running) = &mut self.running {
                    running.incoming = Some(incoming);
                }
                self.ask_for_page(line, after, Some(log_id), outbox);
            }
            Err(error) => {
                outbox.lines.push(format!("cannot take a page in: {error}"));
                outbox.has_failed = true;
            }
        }
    }

    fn kind_of(&self, head: &States, cause: Cause) -> admission::Transfer {
        let Some(running) = &self.running else { return admission::Transfer::Unneeded };
        let (state, floor) = (running.writer.state(), running.writer.floor());
        let ours = Side { origin: &self.origin, vector: &state.vector, graves: &state.graves, floor };
        let standing = &head.standing;
        let theirs =
            Side { origin: &standing.origin, vector: &standing.vector, graves: &head.graves, floor: &head.floor };
        admission::transfer((&ours, &state.members), (&theirs, &head.members), cause)
    }

    fn open_transfer(&mut self, head: &States, outbox: &mut Outbox) -> Result<Transfer, StorageError> {
        let source = Source { node: head.standing.origin.node.clone(), log_id: head.standing.log_id };
        let attempt = |node: &mut Self| {
            let files = (node.disk.file(FILES[0]), node.disk.file(FILES[1]));
            Transfer::open("shop", files, node.identity.clone(), node.seed.next_u64(), options(), &source)
        };
        if let Ok(Some(transfer)) = attempt(self) {
            if transfer.cursor() > Position::START {
                outbox.seen.push("transfers gone on with");
            }
            return Ok(transfer);
        }
        // Of another attempt, or cut short in their making.
        self.discard_transfer();
        attempt(self)?.ok_or_else(|| StorageError::damaged("the files of a transfer", "they are not empty"))
    }

    /// Carries over what it holds beyond the states, and goes on with the files that it has made.
    fn change_over(
        &mut self,
        now: Millis,
        line: LineId,
        (transfer, kind): (Transfer, admission::Transfer),
        (head, letters): (States, Vec<(Position, holdfast_core::operation::Operation)>),
        outbox: &mut Outbox,
    ) {
        let is_rebase = kind == admission::Transfer::Rebase;
        let fresh = Origin { incarnation: self.seed.next_u64(), ..self.origin.clone() };
        let origin = if is_rebase { fresh } else { self.origin.clone() };
        let wall = self.wall(now);
        let States { standing, chains, passed, members, graves, collections, .. } = head;
        let adoption = Adoption { vector: standing.vector.clone(), chains, members, graves, collections };
        let ending = Ending { adoption, letters, kind, forks: Forks::default(), passed };
        let Some(running) = &mut self.running else { return };
        let finished = {
            let mut random = random_of(&mut self.seed);
            let mut moment = Moment { now: wall, random: &mut random };
            transfer.finish(&mut moment, ending, &running.database, &origin)
        };
        let (Opened { database, writer, .. }, carried) = match finished {
            Ok(finished) => finished,
            Err(error) => {
                // What is half carried over must not be gone on with.
                self.discard_transfer();
                outbox.lines.push(format!("cannot take the states: {error}"));
                outbox.has_failed = true;
                return;
            }
        };
        drop((database, writer));
        outbox.lines.push(format!("takes the states of {}: {kind:?}, {carried:?}", standing.origin));
        outbox.seen.push("states taken");
        self.go_on_with_new_files(outbox);
        self.tell_position(now, line, outbox);
    }

    fn go_on_with_new_files(&mut self, outbox: &mut Outbox) {
        let Some(running) = self.running.take() else { return };
        drop((running.database, running.writer));
        self.disk.replace("log", FILES[0]);
        self.disk.replace("data", FILES[1]);
        let (log, data) = (self.disk.file("log"), self.disk.file("data"));
        let opened = holdfast_storage::database::Database::open("shop", log, data, self.identity.clone(), 0, options());
        let Opened { database, writer, .. } = opened.expect("what was just made opens");
        self.origin = writer.origin().clone();
        let crate::replicas::node::Running {
            replica,
            remembered,
            number,
            started,
            mut sessions,
            followers,
            upstream,
            seeking,
            starting,
            handover,
            beginnings,
            mut inbox,
            waiting,
            ..
        } = running;
        // Positions of the old log mean nothing now: who follows this node is told of the new one.
        inbox.retain(|(_, caller)| matches!(caller, Caller::Client));
        let mut told = Vec::new();
        for (line, session) in &mut sessions {
            session.lane.feed = None;
            if session.direction() == Some(Direction::Down) {
                told.push(*line);
            }
        }
        self.running = Some(crate::replicas::node::Running {
            database,
            writer,
            replica,
            remembered,
            number,
            started,
            sessions,
            followers,
            upstream,
            seeking,
            starting,
            handover,
            beginnings,
            incoming: None,
            inbox,
            waiting,
        });
        if let Some(running) = &mut self.running {
            for follower in running.followers.values_mut() {
                follower.reached.through = Position::START;
            }
            let newest = running.writer.state().position;
            if let Some((_, beginnings)) = &mut running.beginnings {
                beginnings.begin_anew(&shop(), newest);
            }
        }
        for line in told {
            self.announce(line, outbox);
        }
        outbox.shows = self.shows();
        self.tell_logged(Position::START, outbox);
    }

    fn discard_transfer(&self) {
        for file in FILES {
            self.disk.remove(file);
        }
    }
}

fn random_of(seed: &mut Seed) -> impl FnMut() -> u128 + '_ {
    || u128::from(seed.next_u64()) << 64 | u128::from(seed.next_u64())
}
