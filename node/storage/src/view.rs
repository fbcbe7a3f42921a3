//! Reading documents: one consistent look at a database, which never waits for the writer.

use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use holdfast_core::digest::Digest;
use holdfast_core::document::{DocumentState, DocumentVersion};
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::limits::PAGE_BYTES_TARGET;
use holdfast_core::stamp::Stamp;
use holdfast_core::vector::{Origin, Position};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable};

use crate::error::StorageError;
use crate::indexes::read::IndexCache;
use crate::record::document::{decode, decode_shown, key, parse_key};
use crate::record::progress::{CollectionState, DataState, decode_collection, decode_state};
use crate::tables::{CACHE, COLLECTIONS, DOCUMENTS, STATE, STATE_KEY};

/// One consistent look at a database's documents.
#[derive(Debug)]
pub struct ReadView {
    transaction: ReadTransaction,
    documents: ReadOnlyTable<&'static [u8], &'static [u8]>,
    cache: ReadOnlyTable<&'static [u8], &'static [u8]>,
    origins: Arc<Vec<Origin>>,
    indexes: IndexCache,
    /// Opened when it is first asked.
    collections: OnceLock<ReadOnlyTable<&'static str, &'static [u8]>>,
}

/// A document as it is shown.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its compact JSON text; `None` when it is deleted.
    pub text: Option<Vec<u8>>,
    /// Its version.
    pub version: DocumentVersion,
    /// The latest stamp of what is shown.
    pub stamp: Stamp,
    /// The position of its last change in this node's log.
    pub position: Position,
    /// Whether concurrent versions stand beside the shown one.
    pub is_conflicted: bool,
}

/// Some documents of a collection, in the order of their ids.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The documents, none of them deleted.
    pub documents: Vec<(DocumentId, Document)>,
    /// Continue after this id; `None` at the end of the collection.
    pub next: Option<DocumentId>,
}

impl ReadView {
    pub(crate) fn new(transaction: ReadTransaction, origins: Arc<Vec<Origin>>) -> Result<Self, StorageError> {
        let documents = transaction.open_table(DOCUMENTS)?;
        let cache = transaction.open_table(CACHE)?;
        let (indexes, collections) = (IndexCache::default(), OnceLock::new());
        Ok(Self { transaction, documents, cache, origins, indexes, collections })
    }

    pub(crate) fn transaction(&self) -> &ReadTransaction {
        &self.transaction
    }

    pub(crate) fn documents(&self) -> &ReadOnlyTable<&'static [u8], &'static [u8]> {
        &self.documents
    }

    pub(crate) fn cache(&self) -> &ReadOnlyTable<&'static [u8], &'static [u8]> {
        &self.cache
    }

    pub(crate) fn index_cache(&self) -> &IndexCache {
        &self.indexes
    }

    pub(crate) fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// A document, deleted ones included; `None` when nothing was ever written under the id.
    pub fn document(&self, collection: &CollectionName, id: &DocumentId) -> Result<Option<Document>, StorageError> {
        let key = key(collection, id);
        let row = self.documents.get(key.as_slice())?;
        row.map(|bytes| read_document(bytes.value(), &key)).transpose()
    }

    /// The full state of a document: every concurrent version, every increment.
    pub fn state_of(
        &self,
        collection: &CollectionName,
        id: &DocumentId,
    ) -> Result<Option<(DocumentState, Position)>, StorageError> {
        let key = key(collection, id);
        let row = self.documents.get(key.as_slice())?;
        row.map(|bytes| decode(bytes.value(), &key, &self.origins)).transpose()
    }

    /// Documents after an id (from the first one when `None`), passing over `skip` of them.
    ///
    /// A page also ends once it holds [`PAGE_BYTES_TARGET`] bytes; `next` then says where to go on.
    pub fn page(
        &self,
        collection: &CollectionName,
        after: Option<&DocumentId>,
        skip: usize,
        take: usize,
    ) -> Result<Page, StorageError> {
        let (first, end) = collection_range(collection);
        let start = match after {
            Some(id) => Bound::Excluded(key(collection, id)),
            None => Bound::Included(first),
        };
        let range = (start.as_ref().map(Vec::as_slice), Bound::Excluded(end.as_slice()));
        let mut page = Page::default();
        let (mut skipped, mut bytes_read) = (0, 0);
        for row in self.documents.range::<&[u8]>(range)? {
            let (key, bytes) = row?;
            let shown = decode_shown(bytes.value(), key.value())?;
            let Some(text) = shown.text else { continue };
            if skipped < skip {
                skipped += 1;
                continue;
            }
            if page.documents.len() == take || bytes_read >= PAGE_BYTES_TARGET {
                page.next = page.documents.last().map(|(id, _)| id.clone());
                break;
            }
            bytes_read += text.len();
            let (_, id) = parse_key(key.value())?;
            page.documents.push((id, read_document(bytes.value(), key.value())?));
        }
        Ok(page)
    }

    /// The collections with what they show, by name; empty ones included.
    pub fn collections(&self) -> Result<Vec<(CollectionName, CollectionState)>, StorageError> {
        let table = self.collections_table()?;
        let mut collections = Vec::new();
        for row in table.iter()? {
            let (name, bytes) = row?;
            let name = name.value();
            let parsed = CollectionName::parse_any(name)
                .map_err(|_| StorageError::damaged(format!("collection {name}"), "its name is not valid"))?;
            collections.push((parsed, decode_collection(bytes.value(), name)?));
        }
        Ok(collections)
    }

    /// What one collection shows; zeros when it is not known.
    pub fn collection(&self, collection: &CollectionName) -> Result<CollectionState, StorageError> {
        let row = self.collections_table()?.get(collection.as_str())?;
        row.map_or(Ok(CollectionState::default()), |bytes| decode_collection(bytes.value(), collection.as_str()))
    }

    /// Opening a table costs more than reading a row of it.
    fn collections_table(&self) -> Result<&ReadOnlyTable<&'static str, &'static [u8]>, StorageError> {
        if self.collections.get().is_none() {
            // Somebody else may have been faster; what they opened is the same.
            drop(self.collections.set(self.transaction.open_table(COLLECTIONS)?));
        }
        self.collections.get().ok_or(StorageError::Stopped)
    }

    /// What this look reflects: position, vector and clock.
    pub fn state(&self) -> Result<DataState, StorageError> {
        let table = self.transaction.open_table(STATE)?;
        let row = table.get(STATE_KEY)?;
        row.map_or_else(|| Ok(DataState::default()), |bytes| decode_state(bytes.value(), &self.origins))
    }

    /// The digest of everything that is shown.
    pub fn digest(&self) -> Result<Digest, StorageError> {
        let collections = self.collections()?;
        Ok(collections.iter().fold(Digest::default(), |sum, (_, state)| sum.plus(state.digest)))
    }
}

fn read_document(bytes: &[u8], key: &[u8]) -> Result<Document, StorageError> {
    let shown = decode_shown(bytes, key)?;
    Ok(Document {
        text: shown.text.map(<[u8]>::to_vec),
        version: shown.version,
        stamp: shown.stamp,
        position: shown.position,
        is_conflicted: shown.is_conflicted,
    })
}

/// First key of a collection, and the first key after it.
pub(crate) fn collection_range(collection: &CollectionName) -> (Vec<u8>, Vec<u8>) {
    let mut first = collection.as_str().as_bytes().to_vec();
    let mut end = first.clone();
    first.push(0);
    end.push(1);
    (first, end)
}
