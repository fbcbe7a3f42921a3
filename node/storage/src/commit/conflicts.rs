//! Conflicts as they come and go with the documents: written in the transaction that writes the document.
//!
//! Each document in conflict has one open record, found by the position of the document's last change. A conflict whose
//! sides change goes on under the name of its new sides; the old name is kept, without the texts, so that whoever asks
//! by it is told. Settled ones stay as they were, as many and as long as the limits say.
//!
//! Never a reason for a refusal, and no part of what a database's digest or a verification compares: what is on record
//! here depends on when this node heard of what.

use holdfast_core::conflict::{ConflictId, is_counted_while_deleted};
use holdfast_core::counter::Increment;
use holdfast_core::document::DocumentState;
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::limits::{CONFLICTS_CLOSED_BYTES_MAX, CONFLICTS_CLOSED_MAX, CONFLICTS_CLOSED_MILLIS_MAX};
use holdfast_core::stamp::Stamp;
use holdfast_core::time::Millis;
use holdfast_core::vector::Position;
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use crate::error::StorageError;
use crate::origins::Origins;
use crate::record::conflict::{Conflict, Standing, decode, decode_bytes, encode, encode_bytes};
use crate::record::document::{decode as decode_document, decode_shown, parse_key};
use crate::tables::{CONFLICT_BYTES_KEY, CONFLICTS, CONFLICTS_CLOSED, CONFLICTS_OPEN, DOCUMENTS, STATE};

/// Most old records that one settled conflict makes room from, so that a commit stays short.
const REMOVED_AT_ONCE_MAX: usize = 16;

/// By which clock a conflict is noted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Noted {
    /// When.
    pub(crate) now: Millis,
    /// Stamps beyond this are suspect; `None` in replay, which knows no clock.
    pub(crate) trusted_until: Option<Millis>,
}

/// A document whose conflict, if any, is to be noted.
pub(crate) struct Changed<'a> {
    pub(crate) collection: &'a CollectionName,
    pub(crate) id: &'a DocumentId,
    pub(crate) state: &'a DocumentState,
    /// Its last change before this one, if it was in conflict then.
    pub(crate) was_open_at: Option<Position>,
    /// Its last change.
    pub(crate) position: Position,
}

/// Opens, replaces or closes the record of a document that has changed.
pub(crate) fn note(
    transaction: &WriteTransaction,
    origins: &Origins,
    changed: &Changed<'_>,
    noted: Noted,
) -> Result<(), StorageError> {
    let now_in = ConflictId::of(changed.state);
    if changed.was_open_at.is_none() && now_in.is_none() {
        return Ok(());
    }
    let mut open = transaction.open_table(CONFLICTS_OPEN)?;
    let mut records = transaction.open_table(CONFLICTS)?;
    let was_in = match changed.was_open_at {
        Some(position) => open.remove(position.0)?.map(|id| ConflictId(id.value())),
        None => None,
    };
    let was = was_in.map(|id| read(&records, id, origins)).transpose()?.flatten();
    let arose = was.as_ref().map_or(noted.now, |was| was.arose);
    if let Some(id) = now_in {
        open.insert(changed.position.0, id.0)?;
        let conflict = describe(changed, id, arose, noted);
        if was.as_ref() != Some(&conflict) {
            records.insert(id.0, encode(&conflict, origins).as_slice())?;
        }
    }
    let Some(mut was) = was.filter(|was| now_in != Some(was.id)) else { return Ok(()) };
    was.standing = match now_in {
        Some(by) => {
            was.versions.clear();
            Standing::Replaced { at: noted.now, by }
        }
        None => {
            // A document that is taken away whole, with what another node's states lack, is closed as it stood.
            let closer = changed.state.versions.first().or(was.versions.first());
            let Some(by) = closer.map(|version| version.id) else { return Ok(()) };
            Standing::Closed { at: noted.now, by }
        }
    };
    let bytes = encode(&was, origins);
    records.insert(was.id.0, bytes.as_slice())?;
    keep_settled(transaction, &mut records, &was, bytes.len() as u64, noted.now)
}

/// Makes the tables in a data file that has none, with a record for each conflict that it holds.
pub(crate) fn create_tables(data: &redb::Database, origins: &Origins) -> Result<(), StorageError> {
    match data.begin_read()?.open_table(CONFLICTS_OPEN) {
        Ok(_) => return Ok(()),
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let transaction = data.begin_write()?;
    transaction.open_table(CONFLICTS_OPEN)?;
    transaction.open_table(CONFLICTS)?;
    transaction.open_table(CONFLICTS_CLOSED)?;
    {
        let list = origins.snapshot();
        let documents = transaction.open_table(DOCUMENTS)?;
        for row in documents.iter()? {
            let (key, bytes) = row?;
            let shown = decode_shown(bytes.value(), key.value())?;
            if shown.text.is_some() && !shown.is_conflicted {
                continue;
            }
            let (state, position) = decode_document(bytes.value(), key.value(), &list)?;
            let (collection, id) = parse_key(key.value())?;
            let changed = Changed { collection: &collection, id: &id, state: &state, was_open_at: None, position };
            note(&transaction, origins, &changed, Noted { now: state.stamp().millis(), trusted_until: None })?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn describe(changed: &Changed<'_>, id: ConflictId, arose: Millis, noted: Noted) -> Conflict {
    let is_suspect = |stamp: Stamp| noted.trusted_until.is_some_and(|limit| stamp.millis() > limit);
    let mut stamps = changed.state.versions.iter().map(|version| version.stamp);
    let is_shown_suspect = stamps.next().is_some_and(is_suspect);
    let counted = is_counted_while_deleted(changed.state).then(|| changed.state.counted());
    Conflict {
        id,
        collection: changed.collection.clone(),
        document: changed.id.clone(),
        versions: changed.state.versions.clone(),
        counted: counted.unwrap_or_else(Increment::default),
        arose,
        // Where the others' stamps are suspect too, the clock did not decide wrongly between them.
        is_suspect: is_shown_suspect && !stamps.any(is_suspect),
        violation: None,
        standing: Standing::Open,
    }
}

/// Keeps a settled conflict, and lets the oldest go where the limits say so.
pub(crate) fn keep_settled(
    transaction: &WriteTransaction,
    records: &mut Table<'_, u128, &'static [u8]>,
    settled: &Conflict,
    bytes: u64,
    now: Millis,
) -> Result<(), StorageError> {
    let mut closed = transaction.open_table(CONFLICTS_CLOSED)?;
    let mut state = transaction.open_table(STATE)?;
    let total = state.get(CONFLICT_BYTES_KEY)?.map(|row| decode_bytes(row.value())).transpose()?;
    let mut total = total.unwrap_or_default() + bytes;
    closed.insert((now.0, settled.id.0), bytes)?;
    for _ in 0..REMOVED_AT_ONCE_MAX {
        let Some(oldest) = closed.first()?.map(|(key, bytes)| (key.value(), bytes.value())) else { break };
        let ((at, id), bytes) = oldest;
        let is_old = now.0.saturating_sub(at) > CONFLICTS_CLOSED_MILLIS_MAX;
        let is_one_too_many = closed.len()? > CONFLICTS_CLOSED_MAX || total > CONFLICTS_CLOSED_BYTES_MAX;
        // The newest stays whatever its size: it is what somebody may look for next.
        if !(is_old || is_one_too_many) || id == settled.id.0 {
            break;
        }
        closed.remove((at, id))?;
        records.remove(id)?;
        total = total.saturating_sub(bytes);
    }
    state.insert(CONFLICT_BYTES_KEY, encode_bytes(total).as_slice())?;
    Ok(())
}

fn read(
    records: &Table<'_, u128, &'static [u8]>,
    id: ConflictId,
    origins: &Origins,
) -> Result<Option<Conflict>, StorageError> {
    let row = records.get(id.0)?;
    row.map(|bytes| decode(bytes.value(), id, &origins.snapshot())).transpose()
}
