//! Pruning: the oldest end of the log goes, and the floor rises.
//!
//! Must stay true: the log keeps what the data file has not synced, and the floor is raised in the very transaction
//! that removes: no reader sees a log that lacks what its floor promises.

use std::sync::PoisonError;

use holdfast_core::id::NodeName;
use holdfast_core::time::Millis;
use holdfast_core::vector::{Position, Vector};
use redb::{Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata};

use crate::commit::Writer;
use crate::error::StorageError;
use crate::record::note::Note;
use crate::record::operation::{Block, Entry};
use crate::record::progress::{encode_trail, encode_vector};
use crate::request::Kept;
use crate::tables::{BLOCKS, FLOOR_KEY, META, TRAIL_KEY, UNSETTLED};

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

/// What may go from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PruneLimit {
    /// Entries up to this position …
    pub through: Position,
    /// … whose operations are older than this, if that counts …
    pub older_than: Option<Millis>,
    /// … and at most so many of them, but one block at least.
    pub entries_max: u64,
}

/// Blocks at either end of the log that its size is judged by.
const SAMPLE_BLOCKS: usize = 16;

impl Writer {
    /// Removes whole blocks from the beginning of the log.
    pub fn prune(&mut self, limit: PruneLimit) -> Result<Pruned, StorageError> {
        if self.has_stopped {
            return Err(StorageError::Stopped);
        }
        if self.undurable.operations > 0 {
            self.make_data_durable()?;
        }
        let result = self.remove_blocks(limit);
        self.has_stopped = self.has_stopped || result.is_err();
        result
    }

    fn remove_blocks(&mut self, mut limit: PruneLimit) -> Result<Pruned, StorageError> {
        // The log alone holds what is parked.
        if let Some(oldest) = self.state.letters.oldest() {
            limit.through = limit.through.min(Position(oldest.0.saturating_sub(1)));
        }
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
                if block.last() > limit.through || block.last() >= self.state.position {
                    break;
                }
                if pruned.entries >= limit.entries_max {
                    pruned.has_more = true;
                    break;
                }
                let entries: Vec<Entry> = block.from(Position(first.value()), &origins).collect::<Result<_, _>>()?;
                if limit.older_than.is_some_and(|age| entries.iter().any(|entry| is_younger(entry, age))) {
                    break;
                }
                for entry in &entries {
                    raise(&mut floor, entry);
                }
                pruned.entries += entries.len() as u64;
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
            let trail = encode_trail(&self.shared.lock_trail().saved(), &self.shared.origins);
            let mut table = transaction.open_table(META)?;
            table.insert(FLOOR_KEY, record.as_slice())?;
            table.insert(TRAIL_KEY, trail.as_slice())?;
        }
        transaction.commit()?;
        self.floor = floor;
        self.is_floor_unsaved = false;
        self.undurable.log_needs_scan = true;
        Ok(pruned)
    }

    /// How many bytes the entries of the log have, judged by those at its two ends.
    pub fn log_bytes(&self) -> Result<u64, StorageError> {
        let transaction = self.shared.log.begin_read()?;
        let blocks = transaction.open_table(BLOCKS)?;
        let Some((oldest, _)) = blocks.first()? else { return Ok(0) };
        let (mut bytes, mut entries) = (0, 0);
        for row in blocks.iter()?.take(SAMPLE_BLOCKS).chain(blocks.iter()?.rev().take(SAMPLE_BLOCKS)) {
            let (first, block) = row?;
            bytes += block.value().len() as u64;
            entries += Block::open(block.value(), Position(first.value()))?.last().0 + 1 - first.value();
        }
        let all = self.state.position.0.saturating_sub(oldest.value()) + 1;
        Ok(u64::try_from(u128::from(bytes) * u128::from(all) / u128::from(entries.max(1))).unwrap_or(u64::MAX))
    }

    /// What all peers have confirmed of this log that have confirmed anything since a time; `None` without such peers.
    /// Nothing is kept for who was counted out: it takes states when it returns.
    pub fn confirmed_since(&self, since: Millis) -> Option<Position> {
        let live = self.checkpoints.iter().filter(|(node, checkpoint)| {
            checkpoint.updated >= since
                && (checkpoint.pushed > Position::START || checkpoint.pulled > Position::START)
                && !self.is_counted_out(node)
        });
        live.map(|(_, checkpoint)| checkpoint.pushed).min()
    }

    fn is_counted_out(&self, node: &NodeName) -> bool {
        let mut lives = self.state.members.iter().filter(|(origin, _)| origin.node == *node).peekable();
        lives.peek().is_some() && lives.all(|(_, membership)| membership.fenced.is_some())
    }

    /// Whether any document has something to give up once all members know it.
    pub fn has_unsettled(&self) -> Result<bool, StorageError> {
        let transaction = self.shared.data.begin_read()?;
        let is_empty = transaction.open_table(UNSETTLED)?.is_empty()?;
        if is_empty {
            *self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
        }
        Ok(!is_empty)
    }

    /// The floor: the log holds every operation above it.
    pub fn floor(&self) -> &Vector {
        &self.floor
    }
}

fn is_younger(entry: &Entry, age: Millis) -> bool {
    match entry {
        Entry::Operation(logged) => logged.operation.stamp.millis() >= age,
        Entry::Note(_) => false,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use holdfast_core::members::FenceReason;
    use holdfast_core::vector::Origin;
    use redb::backends::InMemoryBackend;

    use super::*;
    use crate::commit::Moment;
    use crate::database::{Database, Options};
    use crate::request::Request;

    #[test]
    fn the_log_is_kept_for_who_has_confirmed_part_of_it_until_it_is_counted_out() {
        let named = |name: &str| Origin { node: NodeName::parse(name).unwrap(), incarnation: 1 };
        let (log, data) = (InMemoryBackend::new(), InMemoryBackend::new());
        let mut writer = Database::open("shop", log, data, named("a"), 7, Options::default()).unwrap().writer;
        let commit = |writer: &mut Writer, now, request| {
            let mut moment = Moment { now: Millis(now), random: &mut || 1 };
            writer.commit(&mut moment, vec![request]).unwrap();
        };
        let confirmed = |by: &str, through| Request::Confirmed { by: named(by).node, through: Position(through) };
        for (now, name) in [(10, "b"), (11, "c")] {
            commit(&mut writer, now, Request::Member { member: named(name), fence: None });
        }
        assert_eq!(writer.confirmed_since(Millis(0)), None);
        commit(&mut writer, 20, confirmed("b", 1));
        commit(&mut writer, 21, confirmed("c", 99));
        assert_eq!(writer.confirmed_since(Millis(0)), Some(Position(1)));
        commit(&mut writer, 22, confirmed("b", 2));
        commit(&mut writer, 23, confirmed("b", 1));
        assert_eq!(
            writer.confirmed_since(Millis(0)),
            Some(Position(2)),
            "what is confirmed stays so, and no more than is there"
        );
        commit(&mut writer, 24, Request::Member { member: named("d"), fence: None });
        commit(&mut writer, 25, confirmed("c", 3));
        assert_eq!(writer.confirmed_since(Millis(0)), Some(Position(2)));
        let fence = Some(FenceReason::Forced);
        commit(&mut writer, 26, Request::Member { member: named("b"), fence });
        assert_eq!(writer.confirmed_since(Millis(0)), Some(Position(3)), "nothing is kept for who was counted out");
        assert_eq!(writer.confirmed_since(Millis(26)), None, "nor for who has confirmed nothing for long");
        commit(&mut writer, 27, Request::Member { member: Origin { incarnation: 2, ..named("b") }, fence: None });
        assert_eq!(writer.confirmed_since(Millis(0)), Some(Position(2)), "another life of it is counted with");
    }
}
