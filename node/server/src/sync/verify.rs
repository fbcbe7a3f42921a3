//! Looks for documents that differ between this node and a peer, and settles what can be settled.
//!
//! ```text
//!   both nodes read all their records                        unreadable ones, sums that do not hold
//!   stretches of documents are compared by digest            which stretches differ?
//!   their documents are compared one by one                  which documents?
//!   each is held against both logs, until it is at rest      which side is right?
//!   with repair: made again from its own log ─► taken from the side that is sound ─► joined ─► or a person decides
//! ```
//!
//! Must stay true: without being told to, nothing is changed; a document that is on its way is no difference; a side
//! whose own log proves it right is never overwritten unless a person has chosen the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::digest::Digest;
use holdfast_core::document::DocumentState;
use holdfast_core::error::Refusal;
use holdfast_core::limits::{VERIFY_DIFFERENCES_MAX, VERIFY_DOCUMENTS_MAX, VERIFY_RANGES_MAX, VERIFY_STATES_MAX};
use holdfast_core::sync::comparison::DocumentKey;
use holdfast_core::sync::message::{PROTOCOL, parse_vector};
use holdfast_core::sync::ranges::{
    AuditRecord, AuditRequest, DocumentsRequest, DocumentsResponse, Ends, KeyRecord, MendRequest, MendResponse,
    RangeRecord, RangesRequest, RangesResponse, RowsRequest, RowsResponse, Settlement, Verdict, settle,
};
use holdfast_core::time::Millis;
use holdfast_core::vector::Vector;
use holdfast_storage::error::StorageError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use crate::clock;
use crate::databases::{OpenDatabase, Unavailable};
use crate::sync::Sync;
use crate::sync::peer_client::PeerError;
use crate::sync::soundness::{self, Examined, SoundnessError};
use crate::sync::survey::{self, Key};

/// Where peers are asked for digests of stretches.
pub const RANGES_PATH: &str = "/api/replication/ranges";
/// Where they are asked for the documents of a stretch.
pub const ROWS_PATH: &str = "/api/replication/rows";
/// Where they are asked for states of documents.
pub const DOCUMENTS_PATH: &str = "/api/replication/documents";
/// Where they are asked to take states in.
pub const MEND_PATH: &str = "/api/replication/mend";
/// Where they are asked to look at their own documents.
pub const AUDIT_PATH: &str = "/api/replication/audit";

/// Records in one stretch.
const RANGE_RECORDS: usize = VERIFY_DOCUMENTS_MAX / 4;
/// How often documents on their way are looked at again, and how long between.
const MOVING_TRIES: usize = 10;
const MOVING_WAIT: Duration = Duration::from_millis(300);

/// Which side is right where no log can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Preference {
    /// This node.
    Local,
    /// The peer.
    Peer,
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// Whether differences are settled, or told alone.
    pub repair: bool,
    /// Whether nobody has asked: then only what cannot be wrong is done.
    pub is_automatic: bool,
    /// Which side is right where no log can tell.
    pub prefer: Option<Preference>,
}

/// What a search found.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct VerifyReport {
    /// The peer.
    pub peer_node_id: String,
    /// The database.
    pub database_name: String,
    /// Whether both show the same now, as far as was looked.
    pub is_equal: bool,
    /// The outcome in a sentence.
    pub summary: String,
    /// Records that this node has read.
    pub records: u64,
    /// Records that cannot be read here.
    pub unreadable_here: u64,
    /// Records that the peer cannot read.
    pub unreadable_there: u64,
    /// Collections whose kept digests did not hold here.
    pub wrong_sums_here: Vec<String>,
    /// Collections whose kept digests did not hold at the peer.
    pub wrong_sums_there: Vec<String>,
    /// The documents that differ, or did.
    pub differences: Vec<Difference>,
    /// Whether there are more differences than one search lists.
    pub has_more: bool,
    /// Documents that were on their way all the time and could not be compared.
    pub still_moving: usize,
    /// How long it took.
    pub milliseconds: u64,
}

/// A document that differs, or did.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Difference {
    /// Its collection.
    pub collection: String,
    /// Its id.
    pub id: String,
    /// What differs, in words.
    pub what: String,
    /// How it stood here: `Sound`, `Unproven`, `Damaged`, `Mended` or `Absent`.
    pub here: String,
    /// How it stood there.
    pub there: String,
    /// What was done: `Found` (nothing), `MendedHere`, `MendedThere`, `TakenFromPeer`, `GivenToPeer`, `Joined` or
    /// `NeedsDecision`.
    pub outcome: &'static str,
}

/// Why a search could not be made.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// There is no session with this peer about this database.
    #[error("sync with this peer is not running for this database")]
    NoSession,
    /// Another search is under way.
    #[error("another search for differences is under way; try again when it is done")]
    Busy,
    /// The database is not open.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// This node's own documents could not be looked at.
    #[error(transparent)]
    Own(#[from] SoundnessError),
    /// The peer gave no useful answer.
    #[error("the peer {0}")]
    Peer(#[from] PeerError),
    /// What the peer said cannot be believed.
    #[error("the peer answered what it must not: {0}")]
    Nonsense(#[from] Refusal),
}

impl From<StorageError> for VerifyError {
    fn from(error: StorageError) -> Self {
        Self::Own(error.into())
    }
}

/// A search under way.
struct Search<'a> {
    sync: &'a Sync,
    base_url: String,
    key: &'a Key,
    open: Arc<OpenDatabase>,
    order: Order,
}

/// Looks for differences with a peer in a database.
pub async fn verify(sync: &Sync, key: &Key, order: Order) -> Result<VerifyReport, VerifyError> {
    let _turn = sync.surveys().searching.try_lock().map_err(|_| VerifyError::Busy)?;
    let begun = clock::monotonic();
    let session = sync.session(&key.0, &key.1).ok_or(VerifyError::NoSession)?;
    let open = sync.databases().get(&key.1)?;
    let search = Search { sync, base_url: session.base_url().to_owned(), key, open, order };
    let ours = soundness::audit(sync, &search.open, order.repair).await?;
    // A peer is not made to put itself right because somebody else noticed something.
    let repair = order.repair && !order.is_automatic;
    let theirs: AuditRecord = search.ask(AUDIT_PATH, &AuditRequest { protocol: PROTOCOL, repair }).await?;
    let (candidates, has_more) = search.candidates().await?;
    let (differences, still_moving) = search.look_into(candidates).await?;
    let mut ours = ours;
    if order.repair && !differences.is_empty() {
        // What was put right counts too.
        ours.records = soundness::audit(sync, &search.open, false).await?.records;
    }
    let report = report(key, ours, theirs, differences, has_more, still_moving, begun.elapsed());
    if order.repair {
        note_settled(sync, key, &report);
        // Status shall tell at once what has become of it; the next sweep would too.
        drop(survey::survey(sync, key).await);
    }
    Ok(report)
}

fn note_settled(sync: &Sync, key: &Key, report: &VerifyReport) {
    let settled = report.differences.iter().filter(|one| !matches!(one.outcome, "Found" | "NeedsDecision")).count();
    if settled > 0 {
        tracing::warn!(peer = %key.0, database = %key.1, documents = settled, "documents that differed from the peer's were settled");
        sync.surveys().note(key, |found| found.settled += settled as u64);
    }
}

fn report(
    (peer, database): &Key,
    ours: AuditRecord,
    theirs: AuditRecord,
    differences: Vec<Difference>,
    has_more: bool,
    still_moving: usize,
    took: Duration,
) -> VerifyReport {
    let is_open = |one: &&Difference| matches!(one.outcome, "Found" | "NeedsDecision");
    let open = differences.iter().filter(is_open).count();
    let undecided = differences.iter().filter(|one| one.outcome == "NeedsDecision").count();
    let is_sound = |audit: &AuditRecord| audit.is_corrected || (audit.unreadable == 0 && audit.wrong_sums.is_empty());
    let is_equal = open == 0 && !has_more && still_moving == 0 && is_sound(&ours) && is_sound(&theirs);
    let mut summary = match (open, differences.len()) {
        (0, 0) if still_moving > 0 => "No document that both hold at rest differs.".to_owned(),
        (0, 0) => "No document differs.".to_owned(),
        (0, settled) => format!("{settled} documents differed and are settled."),
        (open, _) if undecided > 0 => format!(
            "{open} documents differ, and no log can tell which side is right for {undecided}: choose with --prefer local \
             or --prefer peer."
        ),
        (open, _) => format!("{open} documents differ; nothing was changed. --repair settles them."),
    };
    if open > 0 && differences.len() > open {
        // Writing to a string cannot fail.
        let _ = write!(summary, " {} others differed and are settled.", differences.len() - open);
    }
    if has_more {
        summary.push_str(" There are more: run it again.");
    }
    if still_moving > 0 {
        // Writing to a string cannot fail.
        let _ = write!(
            summary,
            " {still_moving} could not be compared: they are being written, or one side lacks operations on them. If sync is \
             failing, 'holdfast status' tells why."
        );
    }
    if !is_sound(&ours) || !is_sound(&theirs) {
        summary.push_str(" Sums or records on one side do not hold; --repair makes them again from that side's log.");
    }
    VerifyReport {
        peer_node_id: peer.to_string(),
        database_name: database.to_string(),
        is_equal,
        summary,
        records: ours.records,
        unreadable_here: ours.unreadable,
        unreadable_there: theirs.unreadable,
        wrong_sums_here: ours.wrong_sums,
        wrong_sums_there: theirs.wrong_sums,
        differences,
        has_more,
        still_moving,
        milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }
}

impl Search<'_> {
    async fn ask<Question: Serialize, Answer: DeserializeOwned>(
        &self,
        path: &str,
        question: &Question,
    ) -> Result<Answer, VerifyError> {
        Ok(self.sync.client.ask(&self.base_url, path, &self.key.1, question).await?)
    }

    /// The documents of all stretches whose digests differ that differ themselves, and whether there are more.
    async fn candidates(&self) -> Result<(BTreeSet<DocumentKey>, bool), VerifyError> {
        let mut candidates = BTreeSet::new();
        let mut after: Option<DocumentKey> = None;
        loop {
            let view = self.open.view()?;
            let ranges =
                tokio::task::block_in_place(|| view.range_sums(after.as_ref(), RANGE_RECORDS, VERIFY_RANGES_MAX))?;
            drop(view);
            let records = ranges.iter().map(|range| RangeRecord::from(&range.ends)).collect();
            let answer: RangesResponse =
                self.ask(RANGES_PATH, &RangesRequest { protocol: PROTOCOL, ranges: records }).await?;
            let theirs = answer.parse(ranges.len())?;
            for (range, theirs) in ranges.iter().zip(theirs) {
                if theirs != Some(range.sum) {
                    self.compare_rows(range.ends.clone(), &mut candidates).await?;
                }
                if candidates.len() > VERIFY_DIFFERENCES_MAX {
                    let first = candidates.into_iter().take(VERIFY_DIFFERENCES_MAX).collect();
                    return Ok((first, true));
                }
            }
            match ranges.into_iter().next_back().and_then(|range| range.ends.1) {
                Some(through) => after = Some(through),
                None => return Ok((candidates, false)),
            }
        }
    }

    /// Compares the documents of a stretch one by one.
    async fn compare_rows(&self, mut ends: Ends, candidates: &mut BTreeSet<DocumentKey>) -> Result<(), VerifyError> {
        while candidates.len() <= VERIFY_DIFFERENCES_MAX {
            let question = RowsRequest { protocol: PROTOCOL, range: RangeRecord::from(&ends) };
            let answer: RowsResponse = self.ask(ROWS_PATH, &question).await?;
            let theirs = answer.parse(ends.0.as_ref())?;
            let through = theirs.next.clone().or_else(|| ends.1.clone());
            let theirs_by_key: BTreeMap<DocumentKey, Option<Digest>> = theirs.rows.into_iter().collect();
            let ours = tokio::task::block_in_place(|| self.own_rows((ends.0.clone(), through)))?;
            for (key, part) in &ours {
                if theirs_by_key.get(key) != Some(part) || part.is_none() {
                    candidates.insert(key.clone());
                }
            }
            candidates.extend(theirs_by_key.into_keys().filter(|key| !ours.contains_key(key)));
            match theirs.next {
                Some(next) => ends.0 = Some(next),
                None => break,
            }
        }
        Ok(())
    }

    fn own_rows(&self, mut ends: Ends) -> Result<BTreeMap<DocumentKey, Option<Digest>>, StorageError> {
        let view = self.open.view()?;
        let mut all = BTreeMap::new();
        loop {
            let (rows, next) = view.rows(&ends, VERIFY_DOCUMENTS_MAX)?;
            all.extend(rows);
            match next {
                Some(next) if all.len() <= VERIFY_DOCUMENTS_MAX + VERIFY_DIFFERENCES_MAX => ends.0 = Some(next),
                _ => return Ok(all),
            }
        }
    }

    /// Holds documents against both logs, again and again while they are on their way, and settles them.
    async fn look_into(&self, mut keys: BTreeSet<DocumentKey>) -> Result<(Vec<Difference>, usize), VerifyError> {
        let mut differences = Vec::new();
        for attempt in 0..MOVING_TRIES {
            if keys.is_empty() {
                break;
            }
            if attempt > 0 {
                tokio::time::sleep(MOVING_WAIT).await;
            }
            let mut waiting: Vec<DocumentKey> = std::mem::take(&mut keys).into_iter().collect();
            while !waiting.is_empty() {
                let rest = waiting.split_off(waiting.len().min(VERIFY_STATES_MAX));
                let (done, moving) = self.look_into_some(&waiting, &mut differences).await?;
                keys.extend(moving);
                waiting.drain(..done.min(waiting.len()));
                waiting.extend(rest);
                if done == 0 {
                    break;
                }
            }
        }
        Ok((differences, keys.len()))
    }

    /// Looks into the first of these documents. Answers how many, and which are on their way.
    async fn look_into_some(
        &self,
        keys: &[DocumentKey],
        differences: &mut Vec<Difference>,
    ) -> Result<(usize, Vec<DocumentKey>), VerifyError> {
        // What we know, before the states that show it.
        let known = self.open.view()?.state()?;
        let ours = soundness::examine(&self.open, keys, self.order.repair).await?;
        let question = DocumentsRequest {
            protocol: PROTOCOL,
            keys: keys.iter().map(KeyRecord::from).collect(),
            repair: self.order.repair && !self.order.is_automatic,
        };
        let answer: DocumentsResponse = self.ask(DOCUMENTS_PATH, &question).await?;
        let standing = answer.standing.parse()?;
        let their_graves = parse_vector(&answer.graves)?;
        let theirs = Examined { verdicts: answer.verdicts, states: soundness::parse_states(&answer.states)? };
        let done = ours.verdicts.len().min(theirs.verdicts.len()).min(keys.len());
        let (our_states, their_states) = (by_key(ours.states), by_key(theirs.states));
        let mut moving = Vec::new();
        for ((key, our_verdict), their_verdict) in keys.iter().zip(ours.verdicts).zip(theirs.verdicts) {
            let pair =
                Pair { key, ours: (our_verdict, our_states.get(key)), theirs: (their_verdict, their_states.get(key)) };
            if pair.is_moving((&known.vector, &known.graves), (&standing.vector, &their_graves)) {
                moving.push(key.clone());
            } else if let Some(difference) = self.settle(&pair).await? {
                differences.push(difference);
            }
        }
        Ok((done, moving))
    }

    /// Does about a document what is to be done; `None` when it does not differ and never did.
    async fn settle(&self, pair: &Pair<'_>) -> Result<Option<Difference>, VerifyError> {
        let (our_verdict, their_verdict) = (pair.ours.0, pair.theirs.0);
        let is_shown_alike = pair.part(pair.ours.1) == pair.part(pair.theirs.1)
            && our_verdict != Verdict::Damaged
            && their_verdict != Verdict::Damaged;
        if is_shown_alike {
            return Ok(match (our_verdict, their_verdict) {
                (Verdict::Mended, _) => Some(pair.difference("MendedHere")),
                (_, Verdict::Mended) => Some(pair.difference("MendedThere")),
                _ => None,
            });
        }
        if !self.order.repair {
            return Ok(Some(pair.difference("Found")));
        }
        let settlement = match (settle(pair.ours, pair.theirs), self.order.prefer) {
            (Settlement::Ask, Some(Preference::Local)) if pair.ours.1.is_some() => Settlement::GiveOurs,
            (Settlement::Ask, Some(Preference::Peer)) if pair.theirs.1.is_some() => Settlement::TakeTheirs,
            // What replaces a document waits for somebody to ask for it; a union loses nothing.
            (Settlement::TakeTheirs | Settlement::GiveOurs, _) if self.order.is_automatic => Settlement::Ask,
            (settlement, _) => settlement,
        };
        self.carry_out(pair, settlement).await.map(Some)
    }

    async fn carry_out(&self, pair: &Pair<'_>, settlement: Settlement) -> Result<Difference, VerifyError> {
        let owned = |state: Option<&DocumentState>| -> Vec<(DocumentKey, DocumentState)> {
            state.map(|state| (pair.key.clone(), state.clone())).into_iter().collect()
        };
        let (ours, theirs) = (owned(pair.ours.1), owned(pair.theirs.1));
        let outcome = match settlement {
            Settlement::TakeTheirs if !theirs.is_empty() => {
                soundness::take_in(&self.open, theirs, true).await?;
                "TakenFromPeer"
            }
            Settlement::GiveOurs if !ours.is_empty() => {
                self.hand_over(ours, true).await?;
                "GivenToPeer"
            }
            Settlement::Join => {
                if !theirs.is_empty() {
                    soundness::take_in(&self.open, theirs, false).await?;
                }
                if !ours.is_empty() {
                    self.hand_over(ours, false).await?;
                }
                "Joined"
            }
            _ => "NeedsDecision",
        };
        Ok(pair.difference(outcome))
    }

    async fn hand_over(&self, states: Vec<(DocumentKey, DocumentState)>, replace: bool) -> Result<(), VerifyError> {
        let question = MendRequest { protocol: PROTOCOL, states: soundness::states_text(states), replace };
        let _: MendResponse = self.ask(MEND_PATH, &question).await?;
        Ok(())
    }
}

fn by_key(states: Vec<(DocumentKey, DocumentState)>) -> BTreeMap<DocumentKey, DocumentState> {
    states.into_iter().collect()
}

/// A document on both sides.
struct Pair<'a> {
    key: &'a DocumentKey,
    ours: (Verdict, Option<&'a DocumentState>),
    theirs: (Verdict, Option<&'a DocumentState>),
}

impl Pair<'_> {
    /// Whether one side has yet to learn something about the document, given what each knows and which tombstones it
    /// may have removed.
    fn is_moving(&self, ours: (&Vector, &Vector), theirs: (&Vector, &Vector)) -> bool {
        let has_unseen =
            |state: Option<&DocumentState>, known: &Vector| state.is_some_and(|state| !known.covers_all(&state.vector));
        // A document that is gone on one side may have been deleted there, and the other does not know it yet.
        let is_gone = |state: Option<&DocumentState>, graves: &Vector, known: &Vector| {
            state.is_none() && !known.covers_all(graves)
        };
        has_unseen(self.ours.1, theirs.0)
            || has_unseen(self.theirs.1, ours.0)
            || is_gone(self.ours.1, ours.1, theirs.0)
            || is_gone(self.theirs.1, theirs.1, ours.0)
    }

    fn part(&self, state: Option<&DocumentState>) -> Digest {
        state.map(|state| Digest::of_versions(&self.key.0, &self.key.1, state)).unwrap_or_default()
    }

    fn difference(&self, outcome: &'static str) -> Difference {
        let (collection, id) = self.key;
        Difference {
            collection: collection.to_string(),
            id: id.as_str().to_owned(),
            what: self.what(),
            here: format!("{:?}", self.ours.0),
            there: format!("{:?}", self.theirs.0),
            outcome,
        }
    }

    fn what(&self) -> String {
        let text = match (self.ours, self.theirs) {
            ((Verdict::Damaged, None), _) => "the record here cannot be read",
            (_, (Verdict::Damaged, None)) => "the record there cannot be read",
            ((Verdict::Damaged | Verdict::Mended, _), _) => "the record here was not what its log makes of it",
            (_, (Verdict::Damaged | Verdict::Mended, _)) => "the record there was not what its log makes of it",
            ((_, None), _) => "it is missing here",
            (_, (_, None)) => "it is missing there",
            ((_, Some(ours)), (_, Some(theirs))) if ours.is_of_the_same_operations(theirs) => {
                "the same operations, shown differently"
            }
            _ => "each side has operations that the other lacks",
        };
        text.to_owned()
    }
}

/// When a search was made, for people.
pub fn now_text() -> String {
    Millis(clock::now_millis()).to_utc_text()
}
