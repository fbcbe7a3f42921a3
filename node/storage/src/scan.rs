//! Walking over the documents of a collection, one after the other, without copying them.
//!
//! A list of documents is for answering with ([`ReadView::page`]); a query looks at many documents and answers with
//! few. So a scan hands out each record where it lies in the store, with its id and its text to be looked at in place.
//!
//! **What stays true.** Documents come in the order of their ids, or exactly the other way round; deleted ones do not
//! come. Everything is of one view, whatever is written meanwhile.
//!
//! **What it does not do.** It has no limit of its own: who scans counts. It keeps the view's pages from being used
//! again for as long as it lives.

use std::fmt;
use std::ops::{Bound, Range};

use holdfast_core::document::DocumentVersion;
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::stamp::Stamp;
use holdfast_core::vector::Position;
use redb::AccessGuard;

use crate::error::StorageError;
use crate::record::document::{decode_shown_at, key};
use crate::view::{ReadView, collection_range};

/// Which way a scan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// By rising ids.
    #[default]
    Forward,
    /// By falling ids.
    Backward,
}

/// Documents of a collection on their way past.
pub struct DocumentScan {
    rows: redb::Range<'static, &'static [u8], &'static [u8]>,
    direction: Direction,
    /// Where in a key the id begins.
    id_start: usize,
    /// Records that were looked at, those of deleted documents included.
    looked_at: u64,
}

/// One document of a scan. It holds on to its page of the store.
pub struct ScannedDocument {
    key: Key,
    record: AccessGuard<'static, &'static [u8]>,
    id_start: usize,
    text: Range<usize>,
    /// Its version.
    pub version: DocumentVersion,
    /// The latest stamp of what is shown.
    pub stamp: Stamp,
    /// The position of its last change in this node's log.
    pub position: Position,
    /// Whether concurrent versions stand beside the shown one.
    pub is_conflicted: bool,
}

/// A document's key, where the scan found it or as it was asked for.
enum Key {
    Stored(AccessGuard<'static, &'static [u8]>),
    Owned(Vec<u8>),
}

impl Key {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Stored(key) => key.value(),
            Self::Owned(key) => key,
        }
    }
}

fn ends_before_it_starts(start: &Bound<Vec<u8>>, end: &Bound<Vec<u8>>) -> bool {
    match (start, end) {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => start >= end,
        _ => false,
    }
}

impl ReadView {
    /// Walks over the documents of a collection whose ids lie within bounds, compared byte by byte. A bound need be
    /// no valid id, nor even text.
    pub fn scan(
        &self,
        collection: &CollectionName,
        ids: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
    ) -> Result<DocumentScan, StorageError> {
        let (first, end) = collection_range(collection);
        let id_start = first.len();
        let place = |id: &[u8]| [first.as_slice(), id].concat();
        let start = match ids.0 {
            Bound::Unbounded => Bound::Included(first.clone()),
            bound => bound.map(place),
        };
        let end = match ids.1 {
            Bound::Unbounded => Bound::Excluded(end),
            bound => bound.map(place),
        };
        // The store has no opinion on a range that ends before it starts, so none is asked for.
        let (start, end) = if ends_before_it_starts(&start, &end) {
            (Bound::Included(first.clone()), Bound::Excluded(first))
        } else {
            (start, end)
        };
        let range = (start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
        let rows = self.documents().range::<&[u8]>(range)?;
        Ok(DocumentScan { rows, direction, id_start, looked_at: 0 })
    }

    /// One document as a scan would hand it out; `None` when nothing is shown under the id.
    pub fn scanned(
        &self,
        collection: &CollectionName,
        id: &DocumentId,
    ) -> Result<Option<ScannedDocument>, StorageError> {
        let key = key(collection, id);
        let Some(record) = self.documents().get(key.as_slice())? else { return Ok(None) };
        let id_start = key.len() - id.as_str().len();
        ScannedDocument::owned(key, record, id_start)
    }
}

impl DocumentScan {
    /// The next document; `None` after the last one.
    pub fn next_document(&mut self) -> Result<Option<ScannedDocument>, StorageError> {
        loop {
            let row = match self.direction {
                Direction::Forward => self.rows.next(),
                Direction::Backward => self.rows.next_back(),
            };
            let Some(row) = row else { return Ok(None) };
            let (key, record) = row?;
            self.looked_at += 1;
            let document = ScannedDocument::at(key, record, self.id_start)?;
            if document.is_some() {
                return Ok(document);
            }
        }
    }

    /// How many records were looked at so far, those of deleted documents included.
    pub fn looked_at(&self) -> u64 {
        self.looked_at
    }
}

impl ScannedDocument {
    /// The document of a record that was met on a walk.
    pub(crate) fn at(
        key: AccessGuard<'static, &'static [u8]>,
        record: AccessGuard<'static, &'static [u8]>,
        id_start: usize,
    ) -> Result<Option<Self>, StorageError> {
        Self::read(Key::Stored(key), record, id_start)
    }

    /// The document of a record that was searched for.
    pub(crate) fn owned(
        key: Vec<u8>,
        record: AccessGuard<'static, &'static [u8]>,
        id_start: usize,
    ) -> Result<Option<Self>, StorageError> {
        Self::read(Key::Owned(key), record, id_start)
    }

    fn read(
        key: Key,
        record: AccessGuard<'static, &'static [u8]>,
        id_start: usize,
    ) -> Result<Option<Self>, StorageError> {
        let (shown, text) = decode_shown_at(record.value(), key.bytes())?;
        if shown.text.is_none() {
            return Ok(None);
        }
        let (version, stamp, position) = (shown.version, shown.stamp, shown.position);
        let is_conflicted = shown.is_conflicted;
        Ok(Some(Self { key, record, id_start, text, version, stamp, position, is_conflicted }))
    }

    /// The id's text.
    pub fn id(&self) -> Result<&str, StorageError> {
        let id = self.key.bytes().get(self.id_start..).unwrap_or_default();
        std::str::from_utf8(id).map_err(|_| StorageError::damaged("a document key", "it is not UTF-8"))
    }

    /// The id.
    pub fn document_id(&self) -> Result<DocumentId, StorageError> {
        DocumentId::parse(self.id()?).map_err(|_| StorageError::damaged("a document key", "its id is not valid"))
    }

    /// The document's compact JSON text.
    pub fn text(&self) -> &[u8] {
        self.record.value().get(self.text.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for DocumentScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DocumentScan")
            .field("direction", &self.direction)
            .field("looked_at", &self.looked_at)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ScannedDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScannedDocument")
            .field("version", &self.version)
            .field("bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
