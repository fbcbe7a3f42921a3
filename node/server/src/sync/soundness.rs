//! A node's own documents, held against its own log: what it tells a peer that looks for differences, and how it puts
//! itself right.
//!
//! Must stay true: what the log proves wrong is made again from the log, and from nowhere else; what is kept of a
//! collection is corrected by one task at a time.

use std::sync::Arc;

use holdfast_core::document::DocumentState;
use holdfast_core::error::Refusal;
use holdfast_core::limits::{EXCHANGE_BYTES_TARGET, VERIFY_DIFFERENCES_MAX, VERIFY_DOCUMENTS_MAX, VERIFY_STATES_MAX};
use holdfast_core::sync::comparison::DocumentKey;
use holdfast_core::sync::message::{StandingRecord, vector_record};
use holdfast_core::sync::ranges::{
    AuditRecord, DocumentsRequest, DocumentsResponse, KeyRecord, MendRequest, MendResponse, RangesRequest,
    RangesResponse, RowRecord, RowsRequest, RowsResponse, Verdict, from_hex, parse_keys, to_hex,
};
use holdfast_core::vector::Position;
use holdfast_storage::error::StorageError;
use holdfast_storage::ranges::Readable;
use holdfast_storage::request::{Answer, Mending, Request};
use holdfast_storage::transfer::page::{StateAt, StatePage, decode_page, encode_page};
use thiserror::Error;

use crate::databases::{OpenDatabase, SubmitError};
use crate::sync::{Sync, exchange};

/// Why a node's own documents could not be looked at or put right.
#[derive(Debug, Error)]
pub enum SoundnessError {
    /// The question is not acceptable.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The writer did not take it.
    #[error(transparent)]
    NotWritten(#[from] SubmitError),
}

/// Documents and how they stand.
pub struct Examined {
    /// The verdict on each, in the order of the question; fewer than asked when they are large.
    pub verdicts: Vec<Verdict>,
    /// The states of those that can be read.
    pub states: Vec<(DocumentKey, DocumentState)>,
}

/// Reads every record of a database; puts right, if told to, what cannot be read and what is kept of collections.
pub async fn audit(sync: &Sync, open: &Arc<OpenDatabase>, repair: bool) -> Result<AuditRecord, SoundnessError> {
    let _turn = sync.surveys().mending.lock().await;
    let view = open.view()?;
    let audit = tokio::task::block_in_place(|| view.audit())?;
    let mut record = AuditRecord {
        records: audit.records,
        unreadable: audit.unreadable.len() as u64,
        wrong_sums: audit.errors.iter().map(|(name, _)| name.to_string()).collect(),
        is_corrected: false,
    };
    if repair {
        let states = tokio::task::block_in_place(|| made_again(open, &audit.unreadable))?;
        let is_needed = !states.is_empty() || !audit.errors.is_empty() || audit.conflicted_error != 0;
        if is_needed {
            let made = states.len();
            let mending = Mending { states, errors: audit.errors, conflicted_error: audit.conflicted_error };
            open.submit_from_peer(Request::Mend(mending)).await?;
            tracing::warn!(
                database = %open.name(), unreadable = record.unreadable, made, collections = ?record.wrong_sums,
                "records or sums did not hold and were made again from the log"
            );
            record.is_corrected = true;
        }
    }
    Ok(record)
}

fn made_again(
    open: &OpenDatabase,
    keys: &[DocumentKey],
) -> Result<Vec<(holdfast_core::id::CollectionName, holdfast_core::id::DocumentId, DocumentState)>, StorageError> {
    let mut states = Vec::new();
    for key in keys.iter().take(VERIFY_DIFFERENCES_MAX) {
        if let (Verdict::Damaged, Some(state)) = open.examine(key)? {
            states.push((key.0.clone(), key.1.clone(), state));
        }
    }
    Ok(states)
}

/// Holds documents against the log; makes those again, if told to, that are not what the log makes of them.
pub async fn examine(open: &Arc<OpenDatabase>, keys: &[DocumentKey], repair: bool) -> Result<Examined, SoundnessError> {
    let mut examined = Examined { verdicts: Vec::new(), states: Vec::new() };
    let mut mending = Mending::default();
    let mut bytes = 0;
    for key in keys {
        let (mut verdict, made) = tokio::task::block_in_place(|| open.examine(key))?;
        let state = match (verdict, made) {
            (Verdict::Damaged, Some(made)) if repair => {
                verdict = Verdict::Mended;
                mending.states.push((key.0.clone(), key.1.clone(), made.clone()));
                Some(made)
            }
            _ => match open.view()?.readable_state(key)? {
                Readable::State(state, _) => Some(*state),
                Readable::Absent | Readable::Damaged => None,
            },
        };
        bytes += state.as_ref().map_or(0, DocumentState::body_bytes);
        examined.verdicts.push(verdict);
        examined.states.extend(state.map(|state| (key.clone(), state)));
        if bytes >= EXCHANGE_BYTES_TARGET {
            break;
        }
    }
    let mended = mending.states.len();
    if mended > 0 {
        open.submit_from_peer(Request::Mend(mending)).await?;
        tracing::warn!(database = %open.name(), documents = mended, "documents were not what the log makes of them, and were made again from it");
    }
    Ok(examined)
}

/// Answers with the digests of stretches.
pub fn answer_ranges(open: &OpenDatabase, request: &RangesRequest) -> Result<RangesResponse, SoundnessError> {
    let view = open.view()?;
    let stretches = request.parse()?;
    let digest = |ends| Ok(view.range_sum(ends, VERIFY_DOCUMENTS_MAX)?.map(|sum| sum.to_string()));
    Ok(RangesResponse { digests: stretches.iter().map(digest).collect::<Result<_, StorageError>>()? })
}

/// Answers with the documents of a stretch.
pub fn answer_rows(open: &OpenDatabase, request: &RowsRequest) -> Result<RowsResponse, SoundnessError> {
    let (rows, next) = open.view()?.rows(&request.range.parse()?, VERIFY_DOCUMENTS_MAX)?;
    let row = |(key, part): &(DocumentKey, Option<holdfast_core::digest::Digest>)| RowRecord {
        key: KeyRecord::from(key),
        part: part.map(|part| part.to_string()),
    };
    Ok(RowsResponse { rows: rows.iter().map(row).collect(), next: next.as_ref().map(KeyRecord::from) })
}

/// Answers with the states of documents.
pub async fn answer_documents(
    open: &Arc<OpenDatabase>,
    request: &DocumentsRequest,
) -> Result<DocumentsResponse, SoundnessError> {
    let keys = parse_keys(&request.keys, VERIFY_STATES_MAX)?;
    // Before the states: what this node knows must not be more than what they show.
    let standing = exchange::standing(open)?;
    let graves = open.view()?.state()?.graves;
    let examined = examine(open, &keys, request.repair).await?;
    Ok(DocumentsResponse {
        standing: StandingRecord::from(&standing),
        verdicts: examined.verdicts,
        states: states_text(examined.states),
        graves: vector_record(&graves),
    })
}

/// Takes in states that a peer hands over.
pub async fn answer_mend(open: &Arc<OpenDatabase>, request: &MendRequest) -> Result<MendResponse, SoundnessError> {
    let states = parse_states(&request.states)?;
    let count = states.len();
    let changed = take_in(open, states, request.replace).await?;
    let how = if request.replace { "replaced" } else { "joined" };
    tracing::warn!(database = %open.name(), documents = count, how, "a peer handed over states that differed");
    Ok(MendResponse { changed })
}

/// Writes states, joined with what is there or instead of it. Answers how many documents changed.
pub async fn take_in(
    open: &Arc<OpenDatabase>,
    states: Vec<(DocumentKey, DocumentState)>,
    replace: bool,
) -> Result<u64, SoundnessError> {
    let states = states.into_iter().map(|((collection, id), state)| (collection, id, state)).collect();
    let request =
        if replace { Request::Mend(Mending { states, ..Mending::default() }) } else { Request::States(states) };
    match open.submit_from_peer(request).await? {
        Answer::StatesTaken(changed) => Ok(changed),
        _ => Ok(0),
    }
}

/// States as they are sent.
pub fn states_text(states: Vec<(DocumentKey, DocumentState)>) -> String {
    let count = states.len() as u64;
    // Positions say nothing here; they number the states.
    let numbered = states.into_iter().zip(1..);
    let state =
        |(((collection, document), state), number)| StateAt { position: Position(number), collection, document, state };
    let page = StatePage {
        letters: Vec::new(),
        digest: None,
        after: Position::START,
        through: Position(count),
        has_more: false,
        states: numbered.map(state).collect(),
    };
    to_hex(&encode_page(&page))
}

/// Checks states that were sent.
pub fn parse_states(text: &str) -> Result<Vec<(DocumentKey, DocumentState)>, Refusal> {
    let page = decode_page(&from_hex(text)?)?;
    Ok(page.states.into_iter().map(|one| ((one.collection, one.document), one.state)).collect())
}
