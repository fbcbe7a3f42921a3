//! The log file's side of a commit: blocks of operations, new origins, checkpoints, one fsync.

use holdfast_core::vector::Position;
use redb::Durability;

use crate::commit::Writer;
use crate::error::StorageError;
use crate::origins::Origins;
use crate::record::operation::{BLOCK_FRAME_BYTES, LENGTH_BYTES_MAX, encode_block};
use crate::record::progress::{
    encode_checkpoint, encode_life, encode_origin, encode_suspicions, encode_trail, encode_vector, encode_waymarks,
};
use crate::tables::{BLOCKS, CHECKPOINTS, FLOOR_KEY, LIFE_KEY, META, ORIGINS, SUSPICIONS_KEY, TRAIL_KEY, WAYMARKS_KEY};

/// Most bytes of a block that holds more than one operation. The store gives a large value a run of pages whose number
/// is a power of two, fills it with zeros and writes it whole: this one's run is full, and one byte more would double it.
const BLOCK_BYTES_MAX: usize = 32 * 1024 - 256;

impl Writer {
    /// Writes a commit's operations and what is to be kept with them, and syncs the log.
    pub(super) fn commit_log(
        &mut self,
        encoded: &[Vec<u8>],
        first: Position,
        is_quick_to_open: bool,
    ) -> Result<(), StorageError> {
        let suspicions = self.shared.suspicions.unsaved();
        let mut transaction = self.shared.log.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_quick_repair(is_quick_to_open);
        {
            let mut blocks = transaction.open_table(BLOCKS)?;
            let mut position = first.0;
            for operations in split_into_blocks(encoded) {
                blocks.insert(position, encode_block(operations).as_slice())?;
                position += operations.len() as u64;
            }
            self.cache.write_log(&transaction, &self.shared.origins)?;
            save_new_origins(&transaction, &self.shared.origins)?;
            if self.is_floor_unsaved {
                let record = encode_vector(&self.floor, &self.shared.origins);
                transaction.open_table(META)?.insert(FLOOR_KEY, record.as_slice())?;
            }
            if let Some(waymarks) = &self.unsaved_waymarks {
                let record = encode_waymarks(waymarks, &self.shared.origins);
                save_new_origins(&transaction, &self.shared.origins)?;
                transaction.open_table(META)?.insert(WAYMARKS_KEY, record.as_slice())?;
            }
            if let Some(suspicions) = &suspicions {
                let record = encode_suspicions(suspicions, &self.shared.origins);
                save_new_origins(&transaction, &self.shared.origins)?;
                transaction.open_table(META)?.insert(SUSPICIONS_KEY, record.as_slice())?;
            }
            if is_quick_to_open || self.is_trail_unsaved {
                let record = encode_trail(&self.shared.lock_trail().saved(), &self.shared.origins);
                save_new_origins(&transaction, &self.shared.origins)?;
                transaction.open_table(META)?.insert(TRAIL_KEY, record.as_slice())?;
            }
            if let Some(of_node) = self.unsaved_life_beside {
                let record = encode_life(of_node, self.origin.incarnation);
                transaction.open_table(META)?.insert(LIFE_KEY, record.as_slice())?;
            }
            if !self.unsaved_checkpoints.is_empty() {
                let mut table = transaction.open_table(CHECKPOINTS)?;
                for peer in &self.unsaved_checkpoints {
                    if let Some(checkpoint) = self.checkpoints.get(peer) {
                        table.insert(peer.as_str(), encode_checkpoint(checkpoint).as_slice())?;
                    }
                }
            }
        }
        transaction.commit()?;
        self.cache.logged();
        if let Some(suspicions) = suspicions {
            self.shared.suspicions.saved(suspicions);
        }
        self.unsaved_checkpoints.clear();
        self.is_floor_unsaved = false;
        self.unsaved_life_beside = None;
        self.unsaved_waymarks = None;
        self.is_trail_unsaved = false;
        self.undurable.log_needs_scan = !is_quick_to_open;
        Ok(())
    }
}

/// Cuts the operations of a commit into blocks of bounded size. One that is larger by itself has a block by itself.
fn split_into_blocks(encoded: &[Vec<u8>]) -> Vec<&[Vec<u8>]> {
    let mut blocks = Vec::new();
    let mut rest = encoded;
    while !rest.is_empty() {
        let mut bytes = BLOCK_FRAME_BYTES;
        let full = rest.iter().position(|operation| {
            bytes += operation.len() + LENGTH_BYTES_MAX;
            bytes > BLOCK_BYTES_MAX
        });
        let (block, after) = rest.split_at(full.map_or(rest.len(), |index| index.max(1)));
        blocks.push(block);
        rest = after;
    }
    blocks
}

/// Writes the origins that were met since the last commit, before anything that uses their numbers is read.
fn save_new_origins(transaction: &redb::WriteTransaction, origins: &Origins) -> Result<(), StorageError> {
    use redb::ReadableTableMetadata;
    let list = origins.snapshot();
    let mut table = transaction.open_table(ORIGINS)?;
    let saved = usize::try_from(table.len()?).unwrap_or(usize::MAX);
    for (index, origin) in list.iter().enumerate().skip(saved) {
        table.insert(u32::try_from(index).unwrap_or(u32::MAX), encode_origin(origin).as_slice())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_block_fills_its_pages_and_no_operation_is_lost() {
        let sizes = [1, 500, BLOCK_BYTES_MAX, 3, 40_000, 100_000, 16_000, 16_000, 2];
        let encoded: Vec<Vec<u8>> = sizes.iter().cycle().take(300).map(|size| vec![7; *size]).collect();
        let blocks = split_into_blocks(&encoded);
        assert_eq!(blocks.concat(), encoded);
        for block in blocks {
            assert!(block.len() == 1 || encode_block(block).len() <= BLOCK_BYTES_MAX, "{} operations", block.len());
        }
        let many = vec![vec![7; 500]; 1_000];
        let blocks = split_into_blocks(&many);
        let (_, full) = blocks.split_last().unwrap();
        assert!(full.iter().all(|block| encode_block(block).len() > BLOCK_BYTES_MAX * 9 / 10));
    }
}
