//! Verifying a database: does everything on disk hold, and is the data what the log makes of it?

use std::cmp::Ordering;
use std::collections::BTreeMap;

use holdfast_core::digest::Digest;
use holdfast_core::document::DocumentState;
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::vector::{Origin, Position};
use redb::{Builder, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend};

use crate::commit::{Replay, create_conflict_tables, is_unsettled};
use crate::database::{Database, create_data_tables, read_data_state};
use crate::error::StorageError;
use crate::indexes::maintain::open_tables as open_index_tables;
use crate::indexes::verify::verify as verify_indexes;
use crate::log::LogView;
use crate::record::document::{decode, parse_key};
use crate::record::note::Note;
use crate::record::operation::Entry;
use crate::record::progress::CollectionState;
use crate::tables::{CHANGES, DOCUMENTS, UNSETTLED};
use crate::view::ReadView;

/// What a verification found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Operations that were read and replayed.
    pub operations: u64,
    /// Records that were compared: documents, and markers of deleted ones.
    pub records: u64,
    /// How many of them are documents.
    pub documents: u64,
    /// What does not hold, one sentence each; empty when all is well.
    pub findings: Vec<String>,
}

/// Most findings that a report lists; the first ones are the telling ones.
const FINDINGS_MAX: usize = 100;

/// Has the store check every page of one file, the log or the data, against its checksums, and see whether it
/// knows which pages are free. Answers whether all was well; what could be put right, was.
///
/// Nothing else may have the file open. An error says that the file cannot be believed.
pub fn check_file(file: impl StorageBackend) -> Result<bool, StorageError> {
    Ok(Builder::new().create_with_backend(file)?.check_integrity()?)
}

/// Replays the whole log into `scratch`, an empty file, and compares the outcome with the data file.
pub fn verify(database: &Database, scratch: impl StorageBackend) -> Result<Report, StorageError> {
    let mut report = Report::default();
    // The data first: it is never ahead of the log that is looked at after it.
    let view = database.view()?;
    let reflected = view.state()?;
    let log = database.log()?;
    verify_indexes(&view, &mut |finding| report.find(finding))?;
    if log.oldest()? > Position(1) {
        // Its beginning was pruned: what came from there is judged by itself.
        verify_by_itself(database, &view, &log, &mut report)?;
        report.documents = alive(&view)?;
        return Ok(report);
    }
    let fresh = Builder::new().create_with_backend(scratch)?;
    create_data_tables(&fresh)?;
    create_conflict_tables(&fresh, database.origins())?;
    open_index_tables(&fresh, &database.origins().snapshot())?;
    let mut transaction = fresh.begin_write()?;
    transaction.set_durability(Durability::None)?;
    let mut replay =
        Replay::begin(&transaction, crate::record::progress::DataState::default(), std::collections::BTreeMap::new())?;
    let mut position = Position::START;
    let limit = crate::log::ReadLimit { operations: 4_096, bytes: 16 * 1024 * 1024 };
    'log: loop {
        let (entries, has_more) = log.entries(position, limit)?;
        for entry in &entries {
            if entry.position() > reflected.position {
                break 'log;
            }
            replay.apply(entry, database.origins())?;
            report.operations += 1;
            position = entry.position();
        }
        if !has_more {
            break;
        }
    }
    replay.finish(&transaction, database.origins())?;
    transaction.commit()?;
    compare(database, &fresh, &view, &mut report)?;
    report.documents = alive(&view)?;
    Ok(report)
}

/// Documents that are shown.
fn alive(view: &ReadView) -> Result<u64, StorageError> {
    Ok(view.collections()?.iter().map(|(_, collection)| collection.alive).sum())
}

fn compare(
    database: &Database,
    fresh: &redb::Database,
    view: &ReadView,
    report: &mut Report,
) -> Result<(), StorageError> {
    let origins = database.origins().snapshot();
    let (expected_state, expected_collections) = read_data_state(fresh, &origins)?;
    let state = view.state()?;
    if state.letters != expected_state.letters {
        let (held, expected) = (state.letters.len(), expected_state.letters.len());
        report.find(format!("the data knows of {held} dead letters but the log makes it {expected}"));
    }
    if (state.position, &state.vector, state.conflicted)
        != (expected_state.position, &expected_state.vector, expected_state.conflicted)
    {
        report.find(format!(
            "the data says it reflects position {} but the log makes it {}",
            state.position, expected_state.position
        ));
    }
    for (name, collection) in view.collections()? {
        let expected = expected_collections.get(name.as_str()).copied().unwrap_or_default();
        if collection != expected {
            report.find(format!(
                "collection {name} shows {} documents with digest {}, the log makes it {} with {}",
                collection.alive, collection.digest, expected.alive, expected.digest
            ));
        }
    }
    let expected = fresh.begin_read()?;
    let expected_documents = expected.open_table(DOCUMENTS)?;
    let documents = view.transaction().open_table(DOCUMENTS)?;
    let (mut left, mut right) = (documents.iter()?, expected_documents.iter()?);
    let (mut actual, mut wanted) = (left.next().transpose()?, right.next().transpose()?);
    loop {
        let name = |key: &[u8]| String::from_utf8_lossy(key).replacen('\0', "/", 1);
        let order = match (&actual, &wanted) {
            (None, None) => return compare_changes(view, documents.len()?, report),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((key, _)), Some((expected, _))) => key.value().cmp(expected.value()),
        };
        match (&actual, &wanted, order) {
            (Some((key, value)), Some((_, expected)), Ordering::Equal) => {
                report.records += 1;
                if !is_same(key.value(), value.value(), expected.value(), &origins) {
                    report.find(format!("document {} is not what the log makes it", name(key.value())));
                }
            }
            (Some((key, _)), _, Ordering::Less) => {
                report.find(format!("document {} is in the data but not in the log", name(key.value())));
            }
            (_, Some((key, _)), _) => {
                report.find(format!("document {} is in the log but not in the data", name(key.value())));
            }
            (_, None, _) => {}
        }
        if order != Ordering::Greater {
            actual = left.next().transpose()?;
        }
        if order != Ordering::Less {
            wanted = right.next().transpose()?;
        }
    }
}

/// Judges data whose log no longer reaches back to the beginning: every record holds, sums are what the documents make
/// them, and whatever the log still has of a document is in its state.
fn verify_by_itself(
    database: &Database,
    view: &ReadView,
    log: &LogView,
    report: &mut Report,
) -> Result<(), StorageError> {
    let origins = database.origins().snapshot();
    let oldest = log.oldest()?;
    let mut sums: BTreeMap<String, CollectionState> = BTreeMap::new();
    let (mut conflicted, mut unsettled) = (0, 0);
    let changes = view.transaction().open_table(CHANGES)?;
    for row in view.transaction().open_table(DOCUMENTS)?.iter()? {
        let (key, bytes) = row?;
        let (state, position) = decode(bytes.value(), key.value(), &origins)?;
        let (collection, id) = parse_key(key.value())?;
        let sum = sums.entry(collection.to_string()).or_default();
        sum.alive += u64::from(state.is_alive());
        sum.tombstones += u64::from(!state.is_alive());
        sum.digest = sum.digest.plus(Digest::of(&collection, &id, &state));
        conflicted += u64::from(state.is_conflicted());
        unsettled += u64::from(is_unsettled(&state));
        report.records += 1;
        if changes.get(position.0)?.is_none_or(|indexed| indexed.value() != key.value()) {
            report.find(format!("document {collection}/{id} is not found by its last change, {position}"));
        }
        if position >= oldest && !is_last_change(log.at(position)?.as_ref(), &collection, &id, &state) {
            report.find(format!("document {collection}/{id} does not have what the log says at {position}"));
        }
    }
    for (name, shown) in view.collections()? {
        let sum = sums.remove(name.as_str()).unwrap_or_default();
        if shown != sum {
            report.find(format!(
                "collection {name} says it shows {} documents with digest {}, and shows {} with {}",
                shown.alive, shown.digest, sum.alive, sum.digest
            ));
        }
    }
    if view.state()?.conflicted != conflicted {
        report.find(format!("the data counts {} conflicts and has {conflicted}", view.state()?.conflicted));
    }
    if view.transaction().open_table(UNSETTLED)?.len()? != unsettled {
        report.find(format!("{unsettled} documents have something to give up, and another number is listed"));
    }
    log.scan(Position::START, |_| {
        report.operations += 1;
        Ok(())
    })?;
    compare_changes(view, report.records, report)
}

/// Whether what the log has at a document's last change is in the document's state.
fn is_last_change(entry: Option<&Entry>, collection: &CollectionName, id: &DocumentId, state: &DocumentState) -> bool {
    match entry {
        Some(Entry::Operation(logged)) => {
            let operation = &logged.operation;
            operation.collection == *collection
                && operation.document.as_ref() == Some(id)
                && state.vector.covers(&operation.dot)
        }
        Some(Entry::Note(logged)) => {
            matches!(&logged.note, Note::State { collection: of, document, state: noted }
                if of == collection && document == id && noted == state)
        }
        None => false,
    }
}

/// Whether two records say the same; those of different formats differ in their bytes. Names of counted increments are no
/// part of that: what an earlier version wrote has none.
fn is_same(key: &[u8], left: &[u8], right: &[u8], origins: &[Origin]) -> bool {
    let is_meant = || {
        let ((left, at), (right, there)) = (decode(left, key, origins).ok()?, decode(right, key, origins).ok()?);
        Some(at == there && left.is_same_but_for_names(&right))
    };
    left == right || is_meant() == Some(true)
}

/// Every document has one entry by its last change.
fn compare_changes(view: &ReadView, documents: u64, report: &mut Report) -> Result<(), StorageError> {
    let changes = view.transaction().open_table(CHANGES)?.len()?;
    if changes != documents {
        report.find(format!("{documents} documents have {changes} entries by last change"));
    }
    Ok(())
}

impl Report {
    /// Whether everything holds.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, finding: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}
