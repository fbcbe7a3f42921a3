//! States in place of operations: whom a node turns away, and how it takes a peer's states in beside what it has.
//!
//! ```text
//!   push, pull ─► may these two exchange operations? ─► no: turned away ─► the other one asks for states, page by page
//!   last page  ─► what it holds beyond them is carried over ─► the files change places ─► it starts anew
//! ```

use holdfast_core::operation::Operation;
use holdfast_core::sync::admission::{self, Admission, Cause, admit};
use holdfast_core::sync::branches::Forks;
use holdfast_core::sync::message::Standing;
use holdfast_core::sync::session::Event;
use holdfast_core::time::Millis;
use holdfast_core::vector::{Origin, Position, Sequence, Vector};
use holdfast_storage::commit::{CommitError, Moment};
use holdfast_storage::error::StorageError;
use holdfast_storage::log::ReadLimit;
use holdfast_storage::record::note::Adoption;
use holdfast_storage::transfer::page::{decode_page, encode_page, letters_of};
use holdfast_storage::transfer::{Ending, Source, Transfer, adoption_of};

use crate::checkers::Finding;
use crate::node::identity::Looking;
use crate::node::wire::{Body, Side};
use crate::node::{Node, Outbox, Sabotage, Stimulus, name_of, options};
use crate::seed::Seed;

/// How long a page may take before the transfer is given up, to be gone on with later.
const PAGE_WAIT_MAX: Millis = Millis(10_000);
/// The files of a transfer under way, which survive a crash.
const FILES: [&str; 2] = ["states-log", "states-data"];

/// A transfer under way.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) peer: usize,
    /// Why they are asked for.
    cause: Cause,
    /// The question that waits for its answer.
    pub(super) number: u64,
    under_way: Option<UnderWay>,
    /// Where our branches leave the peer's, once that was looked for.
    pub(super) forks: Option<Forks>,
    /// The search for that.
    pub(super) looking: Option<Looking>,
}

/// What of it is on the disk, and how it will end.
#[derive(Debug)]
struct UnderWay {
    transfer: Transfer,
    source: Source,
    kind: admission::Transfer,
    forks: Forks,
}

impl Incoming {
    fn cause_by_branches(&self) -> Cause {
        if self.forks.as_ref().is_some_and(|forks| !forks.first.is_empty()) { Cause::Branched } else { self.cause }
    }
}

impl Node {
    /// Whether operations may be exchanged with whoever sends this. If not, it is told so.
    pub(super) fn is_admitted(&mut self, from: usize, exchange: u64, theirs: &Side, outbox: &mut Outbox) -> bool {
        let Some(ours) = self.side() else { return true };
        if ours.members.is_active(&theirs.origin)
            && let Some(running) = &self.running
        {
            running.database.acknowledge(&theirs.origin, &theirs.vector);
        }
        let admission = admit(&ours.as_admission(), &ours.members, &theirs.as_admission());
        if admission == Admission::Welcome {
            return true;
        }
        outbox.sends.push((from, exchange, Body::Turned(admission, Cause::Asked)));
        false
    }

    /// Whether operations may be taken from a peer that was asked for them, as from one that brings them.
    pub(super) fn may_be_believed(&self, peer: &Standing) -> bool {
        let Some(ours) = self.side() else { return true };
        let nothing = Vector::new();
        let theirs = admission::Side { origin: &peer.origin, vector: &peer.vector, graves: &nothing, floor: &nothing };
        !matches!(admit(&ours.as_admission(), &ours.members, &theirs), Admission::MustRebase | Admission::NameTaken)
    }

    /// Whether somebody lacks operations that the log no longer holds.
    pub(super) fn has_forgotten_what_is_lacked(&self, knows: &Vector) -> bool {
        self.running.as_ref().is_some_and(|running| !knows.covers_all(running.writer.floor()))
    }

    /// An exchange of ours was turned away.
    pub(super) fn turned_away(
        &mut self,
        now: Millis,
        peer: usize,
        exchange: u64,
        (admission, cause): (Admission, Cause),
        outbox: &mut Outbox,
    ) {
        if self.end(peer, exchange).is_none() {
            return;
        }
        let random = self.seed.next_u64();
        self.handle(now, peer, Event::Failed { random }, outbox);
        if admission == Admission::NameTaken && self.setup.is_contested {
            outbox.lines.push(format!("is told by n{peer} that another node goes on under its name"));
            return;
        }
        match admission {
            Admission::NeedsStates | Admission::MustRebase | Admission::NameTaken => {
                self.ask_for_states(peer, cause, outbox);
            }
            Admission::Welcome => {}
        }
    }

    /// Asks a peer for its states, unless a transfer is under way.
    pub(super) fn ask_for_states(&mut self, peer: usize, cause: Cause, outbox: &mut Outbox) {
        let Some(running) = &mut self.running else { return };
        if running.incoming.is_some() {
            return;
        }
        running.incoming = Some(Incoming { peer, cause, number: 0, under_way: None, forks: None, looking: None });
        self.ask_for_page(peer, Position::START, None, outbox);
    }

    fn ask_for_page(&mut self, peer: usize, after: Position, log_id: Option<u64>, outbox: &mut Outbox) {
        self.ask(peer, Body::AskStates { after, log_id }, outbox);
    }

    pub(super) fn ask_for_branch(
        &mut self,
        peer: usize,
        origin: Origin,
        sequences: Vec<Sequence>,
        outbox: &mut Outbox,
    ) {
        self.ask(peer, Body::AskBranch { origin, sequences }, outbox);
    }

    /// Asks for the next thing that a transfer needs.
    fn ask(&mut self, peer: usize, question: Body, outbox: &mut Outbox) {
        self.exchanges += 1;
        let number = self.exchanges;
        let Some(incoming) = self.running.as_mut().and_then(|running| running.incoming.as_mut()) else { return };
        incoming.number = number;
        outbox.sends.push((peer, number, question));
        outbox.later.push((PAGE_WAIT_MAX, Stimulus::StatesTimedOut { number }));
    }

    /// No page has come in time.
    pub(super) fn give_states_up(&mut self, number: u64, outbox: &mut Outbox) {
        let Some(running) = &mut self.running else { return };
        if running.incoming.take_if(|incoming| incoming.number == number).is_some() {
            outbox.lines.push("gives up on states".to_owned());
        }
    }

    /// Answers a question for states.
    pub(super) fn serve_states(
        &mut self,
        from: usize,
        exchange: u64,
        after: Position,
        log_id: Option<u64>,
        outbox: &mut Outbox,
    ) {
        let Some(running) = &self.running else { return };
        let after = if log_id == Some(running.database.log_id()) { after } else { Position::START };
        let view = running.database.view().expect("a healthy database");
        let limit = ReadLimit { operations: self.setup.batch, bytes: usize::MAX };
        let mut page = view.states_after(after, limit).expect("a healthy database");
        if !page.has_more {
            let log = running.database.log().expect("a healthy log");
            page.letters = letters_of(&view, &log).expect("a healthy database");
        }
        let adoption = (!page.has_more).then(|| Box::new(adoption_of(&view).expect("a healthy database")));
        outbox.sends.push((from, exchange, Body::States { page: encode_page(&page), adoption }));
    }

    /// Takes a page in; with the last one, the files change places.
    pub(super) fn take_states(
        &mut self,
        now: Millis,
        exchange: u64,
        (page, adoption): (&[u8], Option<Adoption>),
        theirs: &Side,
        outbox: &mut Outbox,
    ) {
        let Some(running) = &mut self.running else { return };
        let Some(mut incoming) = running.incoming.take_if(|incoming| incoming.number == exchange) else { return };
        let is_first = incoming.under_way.as_ref().is_none_or(|under_way| under_way.source != source_of(theirs));
        if self.setup.is_contested && is_first && incoming.forks.is_none() {
            let peer = incoming.peer;
            let looking = self.look(page.to_vec(), adoption, theirs, peer);
            incoming.looking = Some(looking);
            if let Some(running) = &mut self.running {
                running.incoming = Some(incoming);
            }
            return self.look_on(now, exchange, None, outbox);
        }
        let Ok(page) = decode_page(page) else {
            outbox.findings.push(Finding::refusal(format!("states of {} were refused", theirs.origin)));
            return;
        };
        let begun = match incoming.under_way.take().filter(|under_way| under_way.source == source_of(theirs)) {
            Some(under_way) => Ok(under_way),
            None => match self.kind_of_transfer(theirs, incoming.cause_by_branches()) {
                Some(kind @ (admission::Transfer::Merge | admission::Transfer::Rebase)) => {
                    self.open_transfer(theirs, (kind, incoming.forks.clone().unwrap_or_default()), outbox)
                }
                Some(admission::Transfer::TheirTurn) => {
                    outbox.lines.push(format!("leaves it to n{} to take our states first", incoming.peer));
                    outbox.sends.push((incoming.peer, 0, Body::TakeStates(None)));
                    return;
                }
                _ => {
                    outbox.lines.push("needs no states".to_owned());
                    return;
                }
            },
        };
        let letters = page.letters.clone();
        let taken = begun.map_err(CommitError::NotWritten).and_then(|mut under_way| {
            let now = self.wall(now);
            let mut random = random_of(&mut self.seed);
            under_way.transfer.take(&mut Moment { now, random: &mut random }, page)?;
            Ok(under_way)
        });
        match (taken, adoption) {
            (Ok(under_way), Some(adoption)) => self.change_over(now, theirs, under_way, (adoption, letters), outbox),
            (Ok(under_way), None) => {
                let (peer, after) = (incoming.peer, under_way.transfer.cursor());
                incoming.under_way = Some(under_way);
                if let Some(running) = &mut self.running {
                    running.incoming = Some(incoming);
                }
                self.ask_for_page(peer, after, Some(theirs.log_id), outbox);
            }
            (Err(error), _) => {
                outbox.lines.push(format!("cannot take a page in: {error}"));
                outbox.has_failed = true;
            }
        }
    }

    /// How a peer's states are taken in, if at all.
    fn kind_of_transfer(&self, theirs: &Side, cause: Cause) -> Option<admission::Transfer> {
        let ours = self.side()?;
        let (our_side, their_side) = (ours.as_admission(), theirs.as_admission());
        Some(admission::transfer((&our_side, &ours.members), (&their_side, &theirs.members), cause))
    }

    /// Opens the files of a transfer, those of an earlier attempt if they belong to this one.
    fn open_transfer(
        &mut self,
        theirs: &Side,
        (kind, forks): (admission::Transfer, Forks),
        outbox: &mut Outbox,
    ) -> Result<UnderWay, StorageError> {
        let attempt = |node: &mut Self| {
            let files = (node.disk.file(FILES[0]), node.disk.file(FILES[1]));
            let fresh = node.seed.next_u64();
            Transfer::open("shop", files, node.identity.clone(), fresh, options(), &source_of(theirs))
        };
        let transfer = match attempt(self) {
            Ok(Some(transfer)) => {
                if transfer.cursor() > Position::START {
                    outbox.seen.push("transfers gone on with");
                }
                transfer
            }
            // Of another attempt, or cut short in their making.
            Ok(None) | Err(_) => {
                outbox.seen.push("transfers begun again elsewhere");
                self.discard_transfer();
                let fresh = attempt(self)?;
                fresh.ok_or_else(|| StorageError::damaged("the files of a transfer", "they are not empty"))?
            }
        };
        let forks = if self.setup.sabotage == Sabotage::IgnoresBranches { self.forks_behind_all() } else { forks };
        Ok(UnderWay { transfer, source: source_of(theirs), kind, forks })
    }

    /// Carries over what it holds beyond the peer's states, and starts anew on the files that it has made.
    fn change_over(
        &mut self,
        now: Millis,
        theirs: &Side,
        under_way: UnderWay,
        (adoption, letters): (Adoption, Vec<(Position, Operation)>),
        outbox: &mut Outbox,
    ) {
        let kind = under_way.kind;
        let is_rebase = kind == admission::Transfer::Rebase;
        let fresh = Origin { incarnation: self.seed.next_u64(), ..self.origin.clone() };
        let origin = if is_rebase { fresh } else { self.origin.clone() };
        let wall = self.wall(now);
        let Some(running) = &self.running else { return };
        let finished = {
            let mut random = random_of(&mut self.seed);
            let mut moment = Moment { now: wall, random: &mut random };
            let passed = theirs.passed.clone();
            let ending = Ending { adoption, letters, kind, forks: under_way.forks, passed };
            under_way.transfer.finish(&mut moment, ending, &running.database, &origin)
        };
        match finished {
            Ok((opened, carried)) => {
                drop(opened);
                outbox.lines.push(format!("takes the states of {}: {kind:?}, {carried:?}", theirs.origin));
                outbox.rebased = is_rebase.then(|| self.side()).flatten().map(|side| (side.origin, side.vector));
                self.running = None;
                self.disk.replace("log", FILES[0]);
                self.disk.replace("data", FILES[1]);
                self.start(now, outbox);
                outbox.has_grown = true;
            }
            Err(error) => {
                // What is half carried over must not be gone on with.
                self.discard_transfer();
                outbox.lines.push(format!("cannot take the states of {}: {error}", theirs.origin));
                outbox.has_failed = true;
            }
        }
    }

    fn discard_transfer(&self) {
        for file in FILES {
            self.disk.remove(file);
        }
    }

    /// The checkpoint of a peer whose log ends before it is void.
    pub(super) fn lose_place(&mut self, now: Millis, peer: usize, exchange: u64, outbox: &mut Outbox) {
        if self.end(peer, exchange).is_some() {
            outbox.lines.push(format!("{} has lost what was counted on", name_of(peer)));
            self.handle(now, peer, Event::LostPlace, outbox);
        }
    }
}

fn source_of(theirs: &Side) -> Source {
    Source { node: theirs.origin.node.clone(), log_id: theirs.log_id }
}

/// Random bits for a commit.
fn random_of(seed: &mut Seed) -> impl FnMut() -> u128 {
    || u128::from(seed.next_u64()) << 64 | u128::from(seed.next_u64())
}
