//! Data files of older formats, brought to the present one when they are opened.
//!
//! Records of every format stay readable, so only what is derived from all documents is made anew: what is shown by
//! increments, what collections show, and which documents have something to give up. One transaction: after a crash it
//! is begun again.

use std::collections::BTreeMap;

use holdfast_core::digest::Digest;
use holdfast_core::vector::Position;
use redb::{Durability, ReadableDatabase, ReadableTable};

use crate::commit::is_unsettled;
use crate::error::StorageError;
use crate::log::LogView;
use crate::origins::Origins;
use crate::record::document::{decode, encode, parse_key};
use crate::record::operation::Entry;
use crate::record::progress::{CollectionState, decode_state, encode_collection, encode_state};
use crate::record::{FORMAT, format_of};
use crate::tables::{COLLECTIONS, DOCUMENTS, STATE, STATE_KEY, UNSETTLED};

/// Brings a data file to the present format, unless it has it.
pub(crate) fn upgrade(data: &redb::Database, log: &LogView, origins: &Origins) -> Result<(), StorageError> {
    let list = origins.snapshot();
    let mut state = {
        let transaction = data.begin_read()?;
        let table = transaction.open_table(STATE)?;
        match table.get(STATE_KEY)? {
            Some(bytes) if format_of(bytes.value()) < FORMAT => decode_state(bytes.value(), &list)?,
            _ => return Ok(()),
        }
    };
    // Operations of kinds that were not known then are parked now.
    log.scan(Position::START, |entry| {
        if let Entry::Operation(logged) = entry
            && logged.position <= state.position
        {
            state.letters.follow(&logged.operation, logged.position);
        }
        Ok(())
    })?;
    tracing::info!("the data file has an older format; bringing it to format {FORMAT}");
    let mut transaction = data.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(true);
    {
        let mut documents = transaction.open_table(DOCUMENTS)?;
        let mut unsettled = transaction.open_table(UNSETTLED)?;
        let mut shown: BTreeMap<String, CollectionState> = BTreeMap::new();
        let mut altered = Vec::new();
        state.conflicted = 0;
        for row in documents.iter()? {
            let (key, bytes) = row?;
            let (document, position) = decode(bytes.value(), key.value(), &list)?;
            let (collection, id) = parse_key(key.value())?;
            let sum = shown.entry(collection.to_string()).or_default();
            sum.alive += u64::from(document.is_alive());
            sum.tombstones += u64::from(!document.is_alive());
            sum.digest = sum.digest.plus(Digest::of(&collection, &id, &document));
            state.conflicted += u64::from(document.is_conflicted());
            if is_unsettled(&document) {
                unsettled.insert(position.0, key.value())?;
            }
            if !document.increments.is_empty() {
                altered.push((key.value().to_vec(), encode(&document, position, origins)));
            }
        }
        for (key, record) in altered {
            documents.insert(key.as_slice(), record.as_slice())?;
        }
        let mut collections = transaction.open_table(COLLECTIONS)?;
        let names =
            collections.iter()?.map(|row| Ok(row?.0.value().to_owned())).collect::<Result<Vec<_>, StorageError>>()?;
        for name in names {
            let sum = shown.remove(&name).unwrap_or_default();
            collections.insert(name.as_str(), encode_collection(&sum).as_slice())?;
        }
        transaction.open_table(STATE)?.insert(STATE_KEY, encode_state(&state, origins).as_slice())?;
    }
    transaction.commit()?;
    Ok(())
}
