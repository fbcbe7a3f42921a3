//! One logical database: its two files, opened, repaired and brought to agree.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast_core::id::{CollectionName, NodeName};
use holdfast_core::limits::{COMMIT_OPERATIONS_MAX, DOCUMENT_BYTES_MAX};
use holdfast_core::members::Acknowledgements;
use holdfast_core::time::Millis;
use holdfast_core::trail::{Stated, Trail};
use holdfast_core::vector::{Origin, Position, Vector};
use redb::{Builder, Durability, ReadableDatabase, ReadableTable, StorageBackend};

use crate::cache::CacheState;
use crate::cache::record::{decode_cache_block, decode_cache_state};
use crate::cache::superseded::Superseded;
use crate::cache::write::{CacheTables, create_cache_tables};
use crate::commit::{Replay, Writer, create_conflict_tables};
use crate::error::StorageError;
use crate::indexes::maintain::open_tables as open_index_tables;
use crate::log::{LogView, ReadLimit};
use crate::mend::{clear_unmade, write_again};
use crate::origins::Origins;
use crate::record::operation::Entry;
use crate::record::progress::{
    Checkpoint, CollectionState, DataState, decode_checkpoint, decode_collection, decode_life, decode_meta,
    decode_origin, decode_state, encode_meta,
};
use crate::request::Kept;
use crate::suspicions::KeptSuspicions;
use crate::tables::{
    BLOCKS, CACHE_BLOCKS, CACHE_FLOOR_KEY, CHANGES, CHECKPOINTS, COLLECTIONS, DESCRIPTION_KEY, DOCUMENTS, LIFE_KEY,
    META, ORIGINS, STATE, STATE_KEY, UNSETTLED,
};
use crate::trail;
use crate::upgrade::upgrade;
use crate::view::ReadView;

/// How a database uses the machine.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Memory for pages of the data file, in bytes.
    pub data_cache_bytes: usize,
    /// Memory for pages of the log file, in bytes. Small is fast: repair touches every page of it.
    pub log_cache_bytes: usize,
    /// Operations after which the data file is synced.
    pub undurable_operations_max: usize,
    /// Bytes of operations after which the data file is synced.
    pub undurable_bytes_max: usize,
    /// Age of the oldest unsynced change after which the data file is synced.
    pub undurable_age_max: Millis,
    /// Bytes of the largest document that is written here; peers may write larger ones.
    pub document_bytes_max: usize,
    /// Bytes that the cache may take; `None` for no bound.
    pub cache_bytes_max: Option<u64>,
    /// How far a stamp may run ahead of our wall clock and still be followed.
    pub clock_skew_max: Millis,
    /// The database was stopped by an error of the disk: what a failed sync may have forgotten is written again
    /// before anything else, which takes about a second per gigabyte. Nobody may still hold the old one.
    pub is_after_failure: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data_cache_bytes: 64 * 1024 * 1024,
            log_cache_bytes: 8 * 1024 * 1024,
            undurable_operations_max: 32_768,
            undurable_bytes_max: 16 * 1024 * 1024,
            undurable_age_max: Millis(2_000),
            document_bytes_max: DOCUMENT_BYTES_MAX,
            cache_bytes_max: None,
            clock_skew_max: Millis(60_000),
            is_after_failure: false,
        }
    }
}

/// What the writer and the readers of a database share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) log: redb::Database,
    pub(crate) data: redb::Database,
    /// What the log file says that it is.
    pub(crate) file_id: u64,
    /// Which life of its database it is: the incarnation that writes to it.
    pub(crate) life: AtomicU64,
    pub(crate) origins: Origins,
    /// What the other members have said that they know.
    pub(crate) acknowledgements: Mutex<Acknowledgements>,
    /// Why tombstones stay, as of the last full look at them.
    pub(crate) kept: Mutex<Kept>,
    /// What has come to light of branches.
    pub(crate) suspicions: KeptSuspicions,
    /// Which branch of each origin was passed where.
    pub(crate) trail: Arc<Mutex<Trail>>,
}

impl Shared {
    pub(crate) fn lock_acknowledgements(&self) -> MutexGuard<'_, Acknowledgements> {
        self.acknowledgements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_trail(&self) -> MutexGuard<'_, Trail> {
        self.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Syncs everything that the data file holds, with what a quick opening needs.
    pub(crate) fn commit_data_durably(&self) -> Result<(), StorageError> {
        let mut transaction = self.data.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_quick_repair(true);
        transaction.commit()?;
        Ok(())
    }
}

/// An open database, for reading; cheap to clone. Its one [`Writer`] comes with it from opening.
#[derive(Debug, Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

/// What opening found.
#[derive(Debug)]
pub struct Opened {
    /// For reading.
    pub database: Database,
    /// For writing; there is no other.
    pub writer: Writer,
    /// Operations that were replayed from the log into the data.
    pub replayed: u64,
}

impl Database {
    /// Opens a database on its two files, or creates it when both are empty.
    ///
    /// `fresh_log_id` names the log if it is created now; `origin` is who writes here from now on.
    pub fn open(
        name: &str,
        log: impl StorageBackend,
        data: impl StorageBackend,
        origin: Origin,
        fresh_log_id: u64,
        options: Options,
    ) -> Result<Opened, StorageError> {
        if options.is_after_failure {
            write_again(&log)?;
            write_again(&data)?;
        }
        // The data is only an image of the log, so a making of it that was cut off is begun again.
        clear_unmade(&data)?;
        // Both files may need a repair after a crash: that is reading and hashing, so they take a core each.
        let (log, data) = std::thread::scope(|scope| {
            let log = scope.spawn(|| Builder::new().set_cache_size(options.log_cache_bytes).create_with_backend(log));
            let data = Builder::new().set_cache_size(options.data_cache_bytes).create_with_backend(data);
            (log.join(), data)
        });
        let log = log.map_err(|_| StorageError::damaged("the log file", "opening it failed beyond repair"))??;
        let data = data?;
        let file_id = create_log_tables(&log, name, fresh_log_id)?;
        let origin = origin_of_database(&log, origin)?;
        create_data_tables(&data)?;
        create_cache_tables(&data, &log)?;
        let origins = Origins::new(load_origins(&log)?);
        create_conflict_tables(&data, &origins)?;
        open_index_tables(&data, &origins.snapshot())?;
        let checkpoints = load_checkpoints(&log)?;
        let life = AtomicU64::new(origin.incarnation);
        let (acknowledgements, kept) = (Mutex::default(), Mutex::default());
        let name = name.to_owned();
        let trail: Arc<Mutex<Trail>> = Arc::default();
        let suspicions = LogView::new(log.begin_read()?, origins.snapshot(), Arc::clone(&trail))?
            .suspicions()
            .map(KeptSuspicions::new)?;
        let shared = Shared { name, log, data, file_id, life, origins, acknowledgements, kept, suspicions, trail };
        let shared = Arc::new(shared);
        let database = Self { shared: Arc::clone(&shared) };
        upgrade(&database.shared.data, &database.log()?, &database.shared.origins)?;
        let (state, collections, replayed) = database.replay()?;
        *database.shared.lock_trail() = trail::trodden(&database.log()?, &state)?;
        let cache = database.replay_cache(&origin)?;
        let floor = database.log()?.floor()?;
        let writer = Writer::new(shared, origin, options, (state, cache), collections, checkpoints, floor);
        Ok(Opened { database, writer, replayed })
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The log's id: positions mean nothing in any other log. A file that was set back to an earlier time goes on under
    /// another incarnation, gives out positions a second time, and is therefore another log.
    pub fn log_id(&self) -> u64 {
        self.shared.file_id ^ self.shared.life.load(Ordering::Relaxed).rotate_left(32)
    }

    /// Which life of its node writes here.
    pub(crate) fn incarnation(&self) -> u64 {
        self.shared.life.load(Ordering::Relaxed)
    }

    /// Notes that a member has said that it knows this. What all members know can be given up.
    pub fn acknowledge(&self, member: &Origin, vector: &Vector) {
        self.shared.lock_acknowledgements().hear(member, vector);
    }

    /// What the other members have said that they know.
    pub fn acknowledgements(&self) -> Acknowledgements {
        self.shared.lock_acknowledgements().clone()
    }

    /// Why tombstones stay, as of the last full look at them: one look takes a second for every thousand.
    pub fn kept(&self) -> Kept {
        *self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A look at the documents.
    pub fn view(&self) -> Result<ReadView, StorageError> {
        // The transaction comes first: origins only grow, so the later list knows all its numbers.
        let transaction = self.shared.data.begin_read()?;
        ReadView::new(transaction, self.shared.origins.snapshot())
    }

    /// A look at the log.
    pub fn log(&self) -> Result<LogView, StorageError> {
        let transaction = self.shared.log.begin_read()?;
        LogView::new(transaction, self.shared.origins.snapshot(), Arc::clone(&self.shared.trail))
    }

    /// Which branches a node that knows `ours` tells one that was heard to know `theirs`.
    pub fn stated(&self, ours: &Vector, theirs: &Vector) -> Stated {
        self.shared.lock_trail().stated(ours, theirs)
    }

    /// Brings the data to the log's end.
    fn replay(&self) -> Result<(DataState, BTreeMap<CollectionName, CollectionState>, u64), StorageError> {
        let view = self.view()?;
        let mut state = view.state()?;
        let mut collections = view.collections()?.into_iter().collect();
        drop(view);
        let log = self.log()?;
        let newest = log.newest()?;
        if state.position > newest {
            return Err(StorageError::LogBehindData { log: newest.0, data: state.position.0 });
        }
        if state.position < newest && log.oldest()? > state.position.next() {
            return Err(StorageError::damaged(
                "the data file",
                format!(
                    "it reflects the log up to {}, and the log was pruned up to {}: restore both files from a backup, or \
                     remove both and let a peer bring the database back",
                    state.position,
                    log.oldest()?
                ),
            ));
        }
        let replayed = newest.0 - state.position.0;
        while state.position < newest {
            let after = state.position;
            let limit = ReadLimit { operations: COMMIT_OPERATIONS_MAX, bytes: usize::MAX };
            let (entries, _) = log.entries(after, limit)?;
            (state, collections) = self.replay_entries(&entries, state, collections)?;
            if state.position <= after {
                return Err(StorageError::damaged(format!("log operation {}", after.next()), "it is missing"));
            }
        }
        Ok((state, collections, replayed))
    }

    fn replay_entries(
        &self,
        entries: &[Entry],
        state: DataState,
        collections: BTreeMap<CollectionName, CollectionState>,
    ) -> Result<(DataState, BTreeMap<CollectionName, CollectionState>), StorageError> {
        let mut transaction = self.shared.data.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_quick_repair(true);
        let mut replay = Replay::begin(&transaction, state, collections)?;
        entries.iter().try_for_each(|entry| replay.apply(entry, &self.shared.origins))?;
        let done = replay.finish(&transaction, &self.shared.origins)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Brings the cache to the end of its part of the log.
    fn replay_cache(&self, origin: &Origin) -> Result<CacheState, StorageError> {
        let before = self.view()?.cache_state()?;
        let mut state = before.clone();
        let log = self.shared.log.begin_read()?;
        if let Some(floor) = log.open_table(META)?.get(CACHE_FLOOR_KEY)? {
            // A data file made anew has lost the cache, and must not give out its names and positions a second time.
            state.go_on_after(&decode_cache_state(floor.value(), &self.shared.origins.snapshot())?, origin);
        }
        let blocks = log.open_table(CACHE_BLOCKS)?;
        let transaction = self.shared.data.begin_write()?;
        let mut tables = CacheTables::open(&transaction)?;
        let origins = &self.shared.origins;
        for row in blocks.iter()? {
            let (first, block) = row?;
            let changes = decode_cache_block(block.value(), &origins.snapshot())?;
            for (position, change) in (first.value()..).zip(&changes) {
                if Position(position) > state.position {
                    tables.replay(change, Position(position), &mut state, origins)?;
                }
            }
        }
        if state == before {
            drop(tables);
            transaction.abort()?;
        } else {
            // What is superseded is found once the database is open.
            tables.finish(&state, &mut Superseded::default(), origins)?;
            transaction.commit()?;
        }
        Ok(state)
    }

    /// The data file, for tests that damage it.
    #[cfg(test)]
    pub(crate) fn data(&self) -> &redb::Database {
        &self.shared.data
    }

    /// The log file, for tests that count its rows.
    #[cfg(test)]
    pub(crate) fn log_file(&self) -> &redb::Database {
        &self.shared.log
    }

    pub(crate) fn suspicions(&self) -> &KeptSuspicions {
        &self.shared.suspicions
    }

    pub(crate) fn origins(&self) -> &Origins {
        &self.shared.origins
    }
}

/// Creates the tables of a new log; gives the log id that the file carries.
fn create_log_tables(log: &redb::Database, name: &str, fresh_log_id: u64) -> Result<u64, StorageError> {
    {
        let transaction = log.begin_read()?;
        match transaction.open_table(META) {
            Ok(table) => {
                let row = table.get(DESCRIPTION_KEY)?;
                let bytes = row.ok_or_else(|| StorageError::damaged("the log file", "it does not say what it is"))?;
                let (log_id, stored_name) = decode_meta(bytes.value())?;
                if stored_name != name {
                    return Err(StorageError::damaged(
                        "the log file",
                        format!("it belongs to database '{stored_name}', not '{name}'; was a file renamed?"),
                    ));
                }
                return Ok(log_id);
            }
            Err(redb::TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let transaction = log.begin_write()?;
    transaction.open_table(BLOCKS)?;
    transaction.open_table(ORIGINS)?;
    transaction.open_table(CHECKPOINTS)?;
    transaction.open_table(META)?.insert(DESCRIPTION_KEY, encode_meta(fresh_log_id, name).as_slice())?;
    transaction.commit()?;
    Ok(fresh_log_id)
}

/// Under which incarnation a database goes on: its node's, unless it has one of its own beside that.
fn origin_of_database(log: &redb::Database, of_node: Origin) -> Result<Origin, StorageError> {
    let transaction = log.begin_read()?;
    let table = transaction.open_table(META)?;
    let Some(bytes) = table.get(LIFE_KEY)? else { return Ok(of_node) };
    let (beside, own) = decode_life(bytes.value())?;
    Ok(if beside == of_node.incarnation { Origin { incarnation: own, ..of_node } } else { of_node })
}

/// Creates the tables of a new data file.
pub(crate) fn create_data_tables(data: &redb::Database) -> Result<(), StorageError> {
    {
        let transaction = data.begin_read()?;
        match transaction.open_table(STATE) {
            Ok(_) => return Ok(()),
            Err(redb::TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let transaction = data.begin_write()?;
    transaction.open_table(DOCUMENTS)?;
    transaction.open_table(CHANGES)?;
    transaction.open_table(UNSETTLED)?;
    transaction.open_table(COLLECTIONS)?;
    transaction.open_table(STATE)?;
    transaction.commit()?;
    Ok(())
}

fn load_origins(log: &redb::Database) -> Result<Vec<Origin>, StorageError> {
    let transaction = log.begin_read()?;
    let table = transaction.open_table(ORIGINS)?;
    let mut origins = Vec::new();
    for row in table.iter()? {
        let (index, bytes) = row?;
        if usize::try_from(index.value()) != Ok(origins.len()) {
            return Err(StorageError::damaged(format!("origin {}", origins.len()), "it is missing"));
        }
        origins.push(decode_origin(bytes.value(), index.value())?);
    }
    Ok(origins)
}

fn load_checkpoints(log: &redb::Database) -> Result<BTreeMap<NodeName, Checkpoint>, StorageError> {
    let transaction = log.begin_read()?;
    let table = transaction.open_table(CHECKPOINTS)?;
    let mut checkpoints = BTreeMap::new();
    for row in table.iter()? {
        let (peer, bytes) = row?;
        let damaged = |_| StorageError::damaged(format!("the checkpoint of {}", peer.value()), "its name is not valid");
        let name = NodeName::parse(peer.value()).map_err(damaged)?;
        checkpoints.insert(name, decode_checkpoint(bytes.value(), peer.value())?);
    }
    Ok(checkpoints)
}

/// Reads what a data file reflects, for comparing it with another.
pub(crate) fn read_data_state(
    data: &redb::Database,
    origins: &[Origin],
) -> Result<(DataState, BTreeMap<String, CollectionState>), StorageError> {
    let transaction = data.begin_read()?;
    let state = match transaction.open_table(STATE)?.get(STATE_KEY)? {
        Some(bytes) => decode_state(bytes.value(), origins)?,
        None => DataState::default(),
    };
    let mut collections = BTreeMap::new();
    for row in transaction.open_table(COLLECTIONS)?.iter()? {
        let (name, bytes) = row?;
        collections.insert(name.value().to_owned(), decode_collection(bytes.value(), name.value())?);
    }
    Ok((state, collections))
}

#[cfg(test)]
pub(crate) mod tests;
