//! The log file's side of a commit: blocks of operations, new origins, checkpoints, one fsync.

use holdfast_core::vector::Position;
use redb::Durability;

use crate::commit::Writer;
use crate::error::StorageError;
use crate::origins::Origins;
use crate::record::operation::encode_block;
use crate::record::progress::{encode_checkpoint, encode_life, encode_origin, encode_vector};
use crate::tables::{BLOCKS, CHECKPOINTS, FLOOR_KEY, LIFE_KEY, META, ORIGINS};

/// Bytes after which a block is closed and another begun: large values cost the store contiguous pages.
const BLOCK_BYTES_TARGET: usize = 128 * 1024;

impl Writer {
    /// Writes a commit's operations and what is to be kept with them, and syncs the log.
    pub(super) fn commit_log(
        &mut self,
        encoded: &[Vec<u8>],
        first: Position,
        is_quick_to_open: bool,
    ) -> Result<(), StorageError> {
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
            save_new_origins(&transaction, &self.shared.origins)?;
            if self.is_floor_unsaved {
                let record = encode_vector(&self.floor, &self.shared.origins);
                transaction.open_table(META)?.insert(FLOOR_KEY, record.as_slice())?;
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
        self.unsaved_checkpoints.clear();
        self.is_floor_unsaved = false;
        self.unsaved_life_beside = None;
        self.undurable.log_needs_scan = !is_quick_to_open;
        Ok(())
    }
}

/// Cuts the operations of a commit into blocks of bounded size.
fn split_into_blocks(encoded: &[Vec<u8>]) -> Vec<&[Vec<u8>]> {
    let mut blocks = Vec::new();
    let mut rest = encoded;
    while !rest.is_empty() {
        let mut bytes = 0;
        let full = rest.iter().position(|operation| {
            bytes += operation.len();
            bytes >= BLOCK_BYTES_TARGET
        });
        let (block, after) = rest.split_at(full.map_or(rest.len(), |index| index + 1));
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
