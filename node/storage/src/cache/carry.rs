//! Taking the cache along when a database is made anew from a peer's documents.

use holdfast_core::time::Millis;
use redb::ReadableTable;

use super::record::{decode_record, parse_row_key};
use super::superseded::Superseded;
use super::write::CacheTables;
use crate::error::StorageError;
use crate::origins::Origins;
use crate::tables::CACHE_PEERS;
use crate::view::ReadView;

/// Copies what lives in the cache of one database into that of another, which has none yet.
///
/// Nothing of it is logged: whoever calls this syncs the data file before it is used.
pub(crate) fn carry(old: &ReadView, new: &redb::Database, origins: &Origins, now: Millis) -> Result<(), StorageError> {
    let mut totals = old.cache_state()?;
    (totals.keys, totals.bytes) = (0, 0);
    let transaction = new.begin_write()?;
    let mut tables = CacheTables::open(&transaction)?;
    for row in old.cache().iter()? {
        let (row, record) = row?;
        let (place, mut state) = decode_record(record.value(), row.value(), old.origins())?;
        state.let_go(now);
        let (scope, key) = parse_row_key(row.value())?;
        let found = tables.load(scope, &key, origins)?;
        if !state.is_empty() {
            tables.store(&found, &state, Some(place.changed), &mut totals, origins)?;
        }
    }
    tables.finish(&totals, &mut Superseded::default(), origins)?;
    {
        let mut peers = transaction.open_table(CACHE_PEERS)?;
        for row in old.transaction().open_table(CACHE_PEERS)?.iter()? {
            let (peer, checkpoint) = row?;
            peers.insert(peer.value(), checkpoint.value())?;
        }
    }
    transaction.commit()?;
    Ok(())
}
