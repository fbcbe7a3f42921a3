//! Rows of `cache-changes` whose keys have changed again since: they stay for a while, and are taken out many at a time.
//!
//! Taken out one by one, each would have a page of that table written anew, and whoever overwrites keys of a large cache
//! would pay more for it than for the values. Readers tell such a row from its key's record, which names another
//! position.
//!
//! Must stay true: beside those that an earlier process left behind, there are never more of them than keys and
//! [`SUPERSEDED_MIN`]; and those are found, because every row is looked at once after the database has been opened.

use std::collections::BTreeMap;

use holdfast_core::vector::Position;
use redb::{ReadableTable, Table};

use super::record::decode_record;
use crate::error::StorageError;
use crate::origins::Origins;

/// So many may stay however small the cache is.
const SUPERSEDED_MIN: u64 = 4_096;
/// Positions that are noted, and taken out, together.
const BLOCK: u64 = 1_024;
const WORD: u64 = u64::BITS as u64;
/// Rows that one step looks at.
const LOOKED_AT: usize = 1_024;
/// Blocks that one step of a sweep takes out.
const BLOCKS_AT_ONCE: usize = 16;

type Block = [u64; (BLOCK / WORD) as usize];

/// What is known of such rows.
#[derive(Debug, Default)]
pub(crate) struct Superseded {
    /// A bit for each, by blocks of positions.
    blocks: BTreeMap<u64, Block>,
    count: u64,
    /// What an earlier process wrote was looked at up to the first, and is to be up to the second.
    unseen: Option<(Position, Position)>,
}

impl Superseded {
    /// What is known when a database has been opened whose cache has come to `newest`.
    pub(crate) fn at_open(newest: Position) -> Self {
        let unseen = (newest > Position::START).then_some((Position::START, newest));
        Self { unseen, ..Self::default() }
    }

    /// Whether there is something to do in a sweep.
    pub(crate) fn has_work(&self) -> bool {
        self.count > 0 || self.has_unseen()
    }

    /// Whether rows of an earlier process remain to be looked at.
    pub(crate) fn has_unseen(&self) -> bool {
        self.unseen.is_some()
    }

    /// The key of the row at a position has changed again.
    pub(crate) fn note(&mut self, position: Position) {
        let block = self.blocks.entry(position.0 / BLOCK).or_default();
        let bit = 1 << (position.0 % WORD);
        if let Some(word) = block.get_mut(word_of(position.0))
            && *word & bit == 0
        {
            *word |= bit;
            self.count += 1;
        }
    }

    /// Takes out as many as are too many beside so many keys, the oldest first: around those most have changed.
    pub(crate) fn take_out(
        &mut self,
        changes: &mut Table<'_, u64, &'static [u8]>,
        keys: u64,
    ) -> Result<(), StorageError> {
        while self.count > keys + SUPERSEDED_MIN {
            self.take_out_first(changes)?;
        }
        Ok(())
    }

    /// Does one step of what can wait: takes out what is known, and looks for what is not.
    pub(crate) fn tidy(
        &mut self,
        changes: &mut Table<'_, u64, &'static [u8]>,
        records: &impl ReadableTable<&'static [u8], &'static [u8]>,
        origins: &Origins,
    ) -> Result<(), StorageError> {
        if let Some((seen, through)) = self.unseen {
            let origins = origins.snapshot();
            let mut last = through;
            for (looked_at, row) in changes.range(seen.next().0..=through.0)?.enumerate() {
                let (position, key) = row?;
                let position = Position(position.value());
                let record = records.get(key.value())?;
                let known = record.map(|record| decode_record(record.value(), key.value(), &origins));
                // A record that cannot be read is for whoever asks for it to complain of.
                if known.is_none_or(|known| known.is_ok_and(|(place, _)| place.changed != position)) {
                    self.note(position);
                }
                if looked_at + 1 >= LOOKED_AT {
                    last = position;
                    break;
                }
            }
            self.unseen = (last < through).then_some((last, through));
        }
        for _ in 0..BLOCKS_AT_ONCE {
            self.take_out_first(changes)?;
        }
        Ok(())
    }

    fn take_out_first(&mut self, changes: &mut Table<'_, u64, &'static [u8]>) -> Result<(), StorageError> {
        let Some((number, block)) = self.blocks.pop_first() else { return Ok(()) };
        let first = number * BLOCK;
        let is_noted =
            |position: u64| block.get(word_of(position)).is_some_and(|word| word & (1 << (position % WORD)) != 0);
        changes.retain_in(first..=first + (BLOCK - 1), |position, _| !is_noted(position))?;
        self.count -= block.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        Ok(())
    }
}

/// Where in its block the bit of a position is.
fn word_of(position: u64) -> usize {
    // Below 16.
    usize::try_from(position % BLOCK / WORD).unwrap_or_default()
}
