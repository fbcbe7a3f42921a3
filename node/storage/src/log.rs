//! Reading the log: by position, by what a peer lacks, by document.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_core::chain::Chain;
use holdfast_core::sync::branches::Told;
use holdfast_core::sync::forwarding::{Filter, Verdict};
use holdfast_core::sync::suspicions::Suspicions;
use holdfast_core::sync::waymarks::Waymarks;
use holdfast_core::time::Millis;
use holdfast_core::trail::Trail;
use holdfast_core::vector::{Dot, Origin, Position, Sequence, Vector};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable};

use crate::error::StorageError;
use crate::record::note::{LoggedNote, Note};
use crate::record::operation::{Block, Entry, Logged};
use crate::record::progress::{
    Checkpoint, decode_checkpoint, decode_suspicions, decode_trail, decode_vector, decode_waymarks,
};
use crate::tables::{BLOCKS, CHECKPOINTS, FLOOR_KEY, META, SUSPICIONS_KEY, TRAIL_KEY, WAYMARKS_KEY};

/// One consistent look at a database's log.
#[derive(Debug)]
pub struct LogView {
    transaction: ReadTransaction,
    blocks: ReadOnlyTable<u64, &'static [u8]>,
    origins: Arc<Vec<Origin>>,
    trail: Arc<Mutex<Trail>>,
}

/// How much to read at once. A transaction group is never cut, so a read may go past either bound by one.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimit {
    /// Operations after which the read ends.
    pub operations: usize,
    /// Bytes of payload after which the read ends.
    pub bytes: usize,
}

/// What a peer lacks of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Operations.
    pub operations: u64,
    /// Bytes that they take in the log; from the first of them where there are many.
    pub bytes: u64,
    /// When the oldest of them was written.
    pub oldest: Option<Millis>,
}

/// A stretch of the log.
#[derive(Debug, Clone, Default)]
pub struct Stretch {
    /// The operations that were asked for, in log order.
    pub operations: Vec<Logged>,
    /// The stretch is complete up to here; what is not among the operations was left out because it is known.
    pub through: Position,
    /// Everything up to here was looked at. Between `through` and this, something was left for later.
    pub looked: Position,
    /// Whether the log goes on after `through`.
    pub has_more: bool,
}

/// Blocks that are looked at to measure what a peer lacks.
const BACKLOG_BLOCKS_MAX: usize = 64;

impl LogView {
    pub(crate) fn new(
        transaction: ReadTransaction,
        origins: Arc<Vec<Origin>>,
        trail: Arc<Mutex<Trail>>,
    ) -> Result<Self, StorageError> {
        let blocks = transaction.open_table(BLOCKS)?;
        Ok(Self { transaction, blocks, origins, trail })
    }

    /// The oldest position that is still there; [`Position::START`] when the log is empty.
    pub fn oldest(&self) -> Result<Position, StorageError> {
        Ok(self.blocks.first()?.map_or(Position::START, |(first, _)| Position(first.value())))
    }

    /// The newest position; [`Position::START`] when the log is empty.
    pub fn newest(&self) -> Result<Position, StorageError> {
        let Some((first, bytes)) = self.blocks.last()? else { return Ok(Position::START) };
        Ok(Block::open(bytes.value(), Position(first.value()))?.last())
    }

    /// The floor: the log holds every operation above it. Who knows less needs states instead.
    pub fn floor(&self) -> Result<Vector, StorageError> {
        let table = self.transaction.open_table(META)?;
        let row = table.get(FLOOR_KEY)?;
        row.map_or_else(|| Ok(Vector::new()), |bytes| decode_vector("the floor", bytes.value(), &self.origins))
    }

    /// Operations after a position, without those that `known` covers.
    pub fn read(&self, after: Position, known: &Vector, limit: ReadLimit) -> Result<Stretch, StorageError> {
        self.read_for(after, &Filter::of(known.clone()), limit)
    }

    /// Operations after a position that go to a peer now.
    pub fn read_for(&self, after: Position, filter: &Filter, limit: ReadLimit) -> Result<Stretch, StorageError> {
        let mut stretch = Stretch { through: after, looked: after, ..Stretch::default() };
        let mut bytes_read = 0;
        let mut in_group = false;
        let mut is_complete = true;
        for row in self.blocks.range(self.block_at(after.next())?..)? {
            let (first, bytes) = row?;
            let block = Block::open(bytes.value(), Position(first.value()))?;
            for entry in block.from(after.next(), &self.origins) {
                let entry = entry?;
                let position = entry.position();
                let Some(logged) = entry.into_operation() else {
                    // A note is for nobody, and says nothing of an operation before it that waits.
                    stretch.looked = position;
                    stretch.through = if is_complete { position } else { stretch.through };
                    continue;
                };
                let full = stretch.operations.len() >= limit.operations || bytes_read >= limit.bytes;
                if full && !in_group {
                    stretch.has_more = true;
                    return Ok(stretch);
                }
                in_group = logged.operation.group.is_some_and(|group| group.index + 1 < group.count);
                let verdict = filter.judge(logged.position, &logged.operation.dot);
                is_complete = is_complete && verdict != Verdict::Later;
                stretch.looked = logged.position;
                if is_complete {
                    stretch.through = logged.position;
                }
                if verdict == Verdict::Send {
                    bytes_read += payload_len(&logged);
                    stretch.operations.push(logged);
                }
            }
        }
        Ok(stretch)
    }

    /// Calls `each` with every entry after a position, in order, until it breaks off.
    pub fn scan(
        &self,
        after: Position,
        mut each: impl FnMut(Entry) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        for row in self.blocks.range(self.block_at(after.next())?..)? {
            let (first, bytes) = row?;
            let block = Block::open(bytes.value(), Position(first.value()))?;
            block.from(after.next(), &self.origins).try_for_each(|entry| each(entry?))?;
        }
        Ok(())
    }

    /// Which operations are meant where branches parted: the log itself may not hold those any more.
    pub fn waymarks(&self) -> Result<Waymarks, StorageError> {
        let table = self.transaction.open_table(META)?;
        let row = table.get(WAYMARKS_KEY)?;
        row.map_or_else(|| Ok(Waymarks::default()), |bytes| decode_waymarks(bytes.value(), &self.origins))
    }

    /// What had come to light of branches when the log was last synced.
    pub(crate) fn suspicions(&self) -> Result<Suspicions, StorageError> {
        let table = self.transaction.open_table(META)?;
        let row = table.get(SUSPICIONS_KEY)?;
        row.map_or_else(|| Ok(Suspicions::default()), |bytes| decode_suspicions(bytes.value(), &self.origins))
    }

    /// Which branches were passed, as it was last saved.
    pub(crate) fn saved_trail(&self) -> Result<Trail, StorageError> {
        let table = self.transaction.open_table(META)?;
        let row = table.get(TRAIL_KEY)?;
        row.map_or_else(|| Ok(Trail::default()), |bytes| decode_trail(bytes.value(), &self.origins))
    }

    /// Which branches were passed, as far as is remembered now.
    pub fn trail(&self) -> Trail {
        self.trail.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a peer that looks where branches part is told: the operations of an origin that the log holds, of those asked
    /// for, and what is remembered of where branches of it parted.
    pub fn told_of(&self, origin: &Origin, asked: &[Sequence]) -> Result<BTreeMap<Sequence, Told>, StorageError> {
        let mut told: BTreeMap<Sequence, Told> = self.waymarks()?.of(origin).collect();
        self.scan(Position::START, |entry| {
            if let Entry::Operation(Logged { operation, .. }) = entry
                && operation.dot.origin == *origin
                && asked.contains(&operation.dot.sequence)
            {
                told.insert(operation.dot.sequence, Told { id: operation.id, before: operation.chain });
            }
            Ok(())
        })?;
        Ok(told)
    }

    /// Of these operations, those before which the chain is known: from the log that holds them, or from the trail.
    pub fn chains_before(&self, wanted: &BTreeSet<Dot>) -> Result<BTreeMap<Dot, Chain>, StorageError> {
        let mut chains = BTreeMap::new();
        if wanted.is_empty() {
            return Ok(chains);
        }
        let trail = self.trail();
        for dot in wanted {
            let before = Dot { origin: dot.origin.clone(), sequence: Sequence(dot.sequence.0.saturating_sub(1)) };
            chains.extend(trail.at(&before).map(|chain| (dot.clone(), chain)));
        }
        if chains.len() == wanted.len() {
            return Ok(chains);
        }
        self.scan(Position::START, |entry| {
            if let Entry::Operation(logged) = entry
                && let Some(chain) = logged.operation.chain
                && wanted.contains(&logged.operation.dot)
            {
                chains.insert(logged.operation.dot, chain);
            }
            Ok(())
        })?;
        Ok(chains)
    }

    /// Entries after a position, notes included, and whether the log goes on.
    pub fn entries(&self, after: Position, limit: ReadLimit) -> Result<(Vec<Entry>, bool), StorageError> {
        let (mut entries, mut bytes_read) = (Vec::new(), 0);
        for row in self.blocks.range(self.block_at(after.next())?..)? {
            if entries.len() >= limit.operations || bytes_read >= limit.bytes {
                return Ok((entries, true));
            }
            let (first, bytes) = row?;
            bytes_read += bytes.value().len();
            let block = Block::open(bytes.value(), Position(first.value()))?;
            for entry in block.from(after.next(), &self.origins) {
                entries.push(entry?);
            }
        }
        Ok((entries, false))
    }

    /// What a peer lacks that has confirmed the log up to a position and knows `known`; `ours` is what the log holds.
    pub fn backlog(&self, confirmed: Position, known: &Vector, ours: &Vector) -> Result<Backlog, StorageError> {
        let mut backlog = Backlog { operations: known.missing_from(ours), ..Backlog::default() };
        if backlog.operations == 0 {
            return Ok(backlog);
        }
        let (mut measured, mut bytes_measured) = (0, 0);
        for row in self.blocks.range(self.block_at(confirmed.next())?..)?.take(BACKLOG_BLOCKS_MAX) {
            let (first, bytes) = row?;
            let block = Block::open(bytes.value(), Position(first.value()))?;
            measured += block.last().0.saturating_sub(first.value()) + 1;
            bytes_measured += bytes.value().len() as u64;
            if backlog.oldest.is_none() {
                for entry in block.from(confirmed.next(), &self.origins) {
                    let Some(Logged { operation, .. }) = entry?.into_operation() else { continue };
                    if !known.covers(&operation.dot) {
                        backlog.oldest = Some(operation.stamp.millis());
                        break;
                    }
                }
            }
        }
        let bytes = u128::from(bytes_measured) * u128::from(backlog.operations) / u128::from(measured.max(1));
        backlog.bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Ok(backlog)
    }

    /// What stands at a position, if the log still holds it.
    pub fn at(&self, position: Position) -> Result<Option<Entry>, StorageError> {
        let Some(row) = self.blocks.range(..=position.0)?.next_back() else { return Ok(None) };
        let (first, bytes) = row?;
        let block = Block::open(bytes.value(), Position(first.value()))?;
        block.from(position, &self.origins).next().transpose()
    }

    /// The changes of one document, newest first, starting with the one at `last_change`.
    pub fn history(&self, last_change: Position, limit: usize) -> Result<Vec<Logged>, StorageError> {
        let mut changes = Vec::new();
        let mut next = last_change;
        while next > Position::START && changes.len() < limit {
            let (previous, logged) = match self.at(next)? {
                Some(Entry::Operation(logged)) => (logged.previous, Some(logged)),
                Some(Entry::Note(logged)) => {
                    let LoggedNote { position, previous, note } = logged;
                    let retried = match note {
                        Note::Retried { operation, .. } => Some(Logged { position, previous, operation: *operation }),
                        _ => None,
                    };
                    (previous, retried)
                }
                None => break,
            };
            if previous >= next {
                return Err(StorageError::damaged(format!("log operation {next}"), "its history does not go back"));
            }
            next = previous;
            changes.extend(logged);
        }
        Ok(changes)
    }

    /// What is recorded about a peer.
    pub fn checkpoint(&self, peer: &str) -> Result<Option<Checkpoint>, StorageError> {
        let table = self.transaction.open_table(CHECKPOINTS)?;
        let row = table.get(peer)?;
        row.map(|bytes| decode_checkpoint(bytes.value(), peer)).transpose()
    }

    /// First position of the block that holds a position, or the position itself.
    fn block_at(&self, position: Position) -> Result<u64, StorageError> {
        let before = self.blocks.range(..=position.0)?.next_back().transpose()?;
        Ok(before.map_or(position.0, |(first, _)| first.value()))
    }
}

/// Bytes that an operation adds to a stretch, roughly.
fn payload_len(logged: &Logged) -> usize {
    logged.operation.kind.body_bytes() + 200
}
