//! A data directory that no node has open.
//!
//! What stays true: the directory's lock is held, so that no node writes meanwhile; and the directory keeps the
//! name of the node that it belongs to, whatever the settings of this command say, because another name would
//! begin another incarnation.

use std::collections::HashSet;
use std::path::Path;

use holdfast_core::id::{CollectionName, DatabaseName, DocumentId, NodeName};
use holdfast_core::time::Millis;
use holdfast_storage::commit::{Moment, Writer};
use holdfast_storage::database::{Database, Opened, Options};
use holdfast_storage::layout::{Arrival, DataDirectory};
use holdfast_storage::request::{Action, Answer, Change, Expect, Request};
use holdfast_storage::view::ReadView;
use serde_json::value::RawValue;

use super::{Loaded, PlaceError};
use crate::transfer::document_id::Document;
use crate::transfer::read::BadRow;
use crate::{clock, entropy};

/// Memory for the data file, in bytes. An import touches pages all over it.
const IMPORT_CACHE_BYTES: usize = 256 * 1024 * 1024;
/// How much is written between two syncs of the data file. The log has it all, and nobody waits for the next start.
const IMPORT_UNSYNCED_OPERATIONS: usize = 131_072;
const IMPORT_UNSYNCED_BYTES: usize = 64 * 1024 * 1024;
const IMPORT_UNSYNCED_TIME: Millis = Millis(30_000);

/// Documents in one page of an export.
const PAGE_DOCUMENTS: usize = 1_000;

/// The name of the node that a directory belongs to, or else the one that the settings give.
pub(crate) fn recorded_or(path: &Path, settings: &str) -> Result<NodeName, PlaceError> {
    match DataDirectory::recorded_node(path).map_err(PlaceError::new)? {
        Some(node) => Ok(node),
        None => NodeName::parse(settings).map_err(PlaceError::new),
    }
}

/// Takes hold of a data directory for a command.
pub(crate) fn open_directory(path: &Path, node: &NodeName, command: &str) -> Result<DataDirectory, PlaceError> {
    let holder = format!("'holdfast {command}' (process {})", std::process::id());
    let arrival = Arrival { incarnation: entropy::random_u64(), holder: &holder };
    DataDirectory::open(path, node, arrival).map_err(PlaceError::new)
}

/// Writes into a database of the directory.
pub(crate) struct DirectoryLoader {
    collection: CollectionName,
    writer: Writer,
    database: Database,
    // Last, so that the database is closed before the directory is let go.
    _directory: DataDirectory,
}

impl DirectoryLoader {
    /// Opens the database, creating it when it is not there.
    pub(crate) fn open(
        directory: DataDirectory,
        database: &DatabaseName,
        collection: CollectionName,
    ) -> Result<Self, PlaceError> {
        let options = Options {
            data_cache_bytes: IMPORT_CACHE_BYTES,
            undurable_operations_max: IMPORT_UNSYNCED_OPERATIONS,
            undurable_bytes_max: IMPORT_UNSYNCED_BYTES,
            undurable_age_max: IMPORT_UNSYNCED_TIME,
            ..Options::default()
        };
        let opened = if directory.exists(database) {
            directory.open_database(database, options)
        } else {
            directory.create_database(database, entropy::random_u64(), options)
        };
        let Opened { database, writer, .. } = opened.map_err(PlaceError::new)?;
        Ok(Self { collection, writer, database, _directory: directory })
    }

    /// Writes some documents in one commit; those that are there already stay as they are.
    pub(super) fn write(&mut self, batch: Vec<Document>) -> Result<Loaded, PlaceError> {
        let mut loaded = Loaded::default();
        let view = self.database.view().map_err(PlaceError::new)?;
        let mut ids = HashSet::with_capacity(batch.len());
        let (mut lines, mut changes) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for document in batch {
            // A document that the batch itself changes before must be written again.
            if ids.insert(document.id.clone()) && is_there(&view, &self.collection, &document)? {
                loaded.unchanged += 1;
                continue;
            }
            lines.push(document.line);
            changes.push(Change {
                collection: self.collection.clone(),
                id: document.id,
                action: Action::Put(document.text),
                expect: Expect::Any,
            });
        }
        drop(view);
        if changes.is_empty() {
            return Ok(loaded);
        }
        let mut moment = Moment { now: Millis(clock::now_millis()), random: &mut entropy::random_u128 };
        let answers = self.writer.commit(&mut moment, vec![Request::Each(changes)]).map_err(PlaceError::new)?;
        let results = answers.into_iter().flat_map(|answer| match answer {
            Answer::Each(results) => results,
            _ => Vec::new(),
        });
        for (line, result) in lines.into_iter().zip(results) {
            match result {
                Ok(_) => loaded.written += 1,
                Err(refusal) => loaded.refused.push(BadRow::new(line, refusal.to_string())),
            }
        }
        if self.writer.is_durable_commit_due(Millis(clock::now_millis())) {
            self.writer.make_data_durable().map_err(PlaceError::new)?;
        }
        Ok(loaded)
    }

    /// Leaves both files so that they open at once.
    pub(super) fn finish(&mut self) -> Result<Loaded, PlaceError> {
        self.writer.settle().map_err(PlaceError::new)?;
        Ok(Loaded::default())
    }
}

fn is_there(view: &ReadView, collection: &CollectionName, document: &Document) -> Result<bool, PlaceError> {
    let there = view.document(collection, &document.id).map_err(PlaceError::new)?;
    Ok(there.is_some_and(|there| {
        !there.is_conflicted && there.text.is_some_and(|text| text == document.text.as_str().as_bytes())
    }))
}

/// Reads a collection of the directory, all of it as of one moment.
pub(crate) struct DirectoryPages {
    collection: CollectionName,
    view: ReadView,
    after: Option<DocumentId>,
    has_ended: bool,
    _database: Opened,
    _directory: DataDirectory,
}

impl DirectoryPages {
    /// Opens the database, which must be there.
    pub(crate) fn open(
        directory: DataDirectory,
        database: &DatabaseName,
        collection: CollectionName,
    ) -> Result<Self, PlaceError> {
        if !directory.exists(database) {
            return Err(PlaceError::new(format!(
                "{} has no database '{database}'; 'holdfast verify' lists those that are there",
                directory.path().display()
            )));
        }
        let opened = directory.open_database(database, Options::default()).map_err(PlaceError::new)?;
        let view = opened.database.view().map_err(PlaceError::new)?;
        Ok(Self { collection, view, after: None, has_ended: false, _database: opened, _directory: directory })
    }

    /// The next documents; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Box<RawValue>>>, PlaceError> {
        if self.has_ended {
            return Ok(None);
        }
        let page = self.view.page(&self.collection, self.after.as_ref(), 0, PAGE_DOCUMENTS).map_err(PlaceError::new)?;
        self.has_ended = page.next.is_none();
        self.after = page.next;
        let documents = page.documents.into_iter().filter_map(|(id, document)| Some((id, document.text?)));
        let raw = documents.map(|(id, text)| {
            let damaged = |_| PlaceError::new(format!("document '{id}' is damaged; run 'holdfast verify'"));
            serde_json::from_slice(&text).map_err(damaged)
        });
        raw.collect::<Result<Vec<_>, _>>().map(Some)
    }
}
