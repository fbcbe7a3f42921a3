//! Pruning: the oldest end of the log goes, and the floor rises.
//!
//! Must stay true: the log keeps what the data file has not synced, and the floor is raised in the very transaction
//! that removes: no reader sees a log that lacks what its floor promises.

use holdfast_core::vector::{Position, Vector};
use redb::{Durability, ReadableTable};

use crate::commit::Writer;
use crate::error::StorageError;
use crate::record::note::Note;
use crate::record::operation::{Block, Entry};
use crate::record::progress::encode_vector;
use crate::tables::{BLOCKS, FLOOR_KEY, META};

/// What a pruning did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Entries that went.
    pub entries: u64,
    /// The newest position that went; [`Position::START`] when none did.
    pub through: Position,
    /// Whether there is more to go.
    pub has_more: bool,
}

impl Writer {
    /// Removes whole blocks of the log up to a position, at most so many entries (one block at least).
    pub fn prune(&mut self, through: Position, entries_max: u64) -> Result<Pruned, StorageError> {
        if self.has_stopped {
            return Err(StorageError::Stopped);
        }
        if self.undurable.operations > 0 {
            self.make_data_durable()?;
        }
        let result = self.remove_blocks(through.min(self.state.position), entries_max);
        self.has_stopped = self.has_stopped || result.is_err();
        result
    }

    fn remove_blocks(&mut self, through: Position, entries_max: u64) -> Result<Pruned, StorageError> {
        let origins = self.shared.origins.snapshot();
        let mut floor = self.floor.clone();
        let mut pruned = Pruned::default();
        let mut transaction = self.shared.log.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut blocks = transaction.open_table(BLOCKS)?;
            let mut going = Vec::new();
            for row in blocks.iter()? {
                let (first, bytes) = row?;
                let block = Block::open(bytes.value(), Position(first.value()))?;
                // The newest block stays: it says where the log is.
                if block.last() > through || block.last() >= self.state.position {
                    break;
                }
                if pruned.entries >= entries_max {
                    pruned.has_more = true;
                    break;
                }
                for entry in block.from(Position(first.value()), &origins) {
                    raise(&mut floor, &entry?);
                    pruned.entries += 1;
                }
                pruned.through = block.last();
                going.push(first.value());
            }
            if going.is_empty() {
                return Ok(pruned);
            }
            for first in going {
                blocks.remove(first)?;
            }
            let record = encode_vector(&floor, &self.shared.origins);
            transaction.open_table(META)?.insert(FLOOR_KEY, record.as_slice())?;
        }
        transaction.commit()?;
        self.floor = floor;
        self.is_floor_unsaved = false;
        self.undurable.log_needs_scan = true;
        Ok(pruned)
    }

    /// The floor: the log holds every operation above it.
    pub fn floor(&self) -> &Vector {
        &self.floor
    }
}

fn raise(floor: &mut Vector, entry: &Entry) {
    match entry {
        Entry::Operation(logged) => floor.observe(&logged.operation.dot.origin, logged.operation.dot.sequence),
        Entry::Note(logged) => {
            if let Note::Adopt(adoption) = &logged.note {
                floor.merge(&adoption.vector);
            }
        }
    }
}
