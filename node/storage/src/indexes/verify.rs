//! Do the indexes say what the documents say?

use std::collections::BTreeMap;

use holdfast_core::id::CollectionName;
use redb::ReadableTable;

use crate::error::StorageError;
use crate::indexes::catalog::{Catalog, Index};
use crate::indexes::entries::{row_key, row_value};
use crate::record::document::{decode_shown, parse_key};
use crate::record::index::IndexStanding;
use crate::tables::{DOCUMENTS, INDEX_ENTRIES, INDEXES};
use crate::view::ReadView;

/// What was met of one index.
#[derive(Default)]
struct Met {
    /// Entries that documents have and that are there.
    there: u64,
    /// Entries that documents have and that are missing, and a document of one.
    missing: u64,
    example: String,
}

/// Compares every index with the documents; tells each one that does not hold.
pub(crate) fn verify(view: &ReadView, find: &mut dyn FnMut(String)) -> Result<(), StorageError> {
    let catalog = Catalog::load(&view.transaction().open_table(INDEXES)?)?;
    let table = view.transaction().open_table(INDEX_ENTRIES)?;
    let mut met: BTreeMap<u32, Met> = BTreeMap::new();
    if catalog.indexes.iter().any(Index::is_kept) {
        for row in view.transaction().open_table(DOCUMENTS)?.iter()? {
            let (key, bytes) = row?;
            let Some(text) = decode_shown(bytes.value(), key.value())?.text else { continue };
            let (collection, id) = parse_key(key.value())?;
            for index in &catalog.indexes {
                let Some(made) = index.kept_for(&collection) else { continue };
                let met = met.entry(index.number).or_default();
                for key in made.reader.keys(text) {
                    let row = row_key(index.number, &key.bytes, id.as_str().as_bytes());
                    if table.get(row.as_slice())?.is_some_and(|value| value.value() == row_value(&key)) {
                        met.there += 1;
                    } else {
                        met.missing += 1;
                        met.example = name(&collection, id.as_str());
                    }
                }
            }
        }
    }
    for index in &catalog.indexes {
        let (start, end) = (index.number.to_be_bytes(), index.number.saturating_add(1).to_be_bytes());
        let entries = table.range(start.as_slice()..end.as_slice())?.count() as u64;
        let met = met.remove(&index.number).unwrap_or_default();
        let index_name = &index.record.name;
        if index.record.standing == IndexStanding::Ready && met.missing > 0 {
            let (missing, example) = (met.missing, met.example);
            find(format!("index {index_name} lacks {missing} entries, one of them of document {example}"));
        }
        if index.is_kept() && entries != met.there {
            let surplus = entries.saturating_sub(met.there);
            find(format!("index {index_name} has {surplus} entries that no document has"));
        }
        if index.is_kept() && entries != index.record.counts.entries {
            let counted = index.record.counts.entries;
            find(format!("index {index_name} counts {counted} entries and has {entries}"));
        }
    }
    Ok(())
}

fn name(collection: &CollectionName, id: &str) -> String {
    format!("{collection}/{id}")
}
