//! A disk that does what real disks do at the worst moment, under the store's own code.
//!
//! ```text
//!   write, set_len ─► live bytes ─ sync ─► durable bytes
//!                        │                     │
//!                        │ not yet synced      │
//!                        └──── crash: any part of it, in any order, torn at sectors ──► DiskImage ─► Disk again
//! ```
//!
//! One [`Disk`] holds the files of one machine: a power cut stops all of them at the same operation. A [`DiskFile`] is the
//! backend that the store is given instead of a file; everything above it is the code that runs in production.
//!
//! What must stay true
//! * What was synced survives every crash, unless the disk was told to lie or its media to rot.
//! * What was not synced may survive in any combination, whole or in single sectors of 512 bytes.
//! * The same seed and the same calls give the same image.
//!
//! It does not model directories (a file exists from its first use), nor how long anything takes.

mod image;
mod pages;

pub use self::image::DiskImage;
use self::pages::{PAGE_BYTES, Pages};
use crate::seed::Seed;
use redb::StorageBackend;
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The unit that a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

const _: () = assert!(PAGE_BYTES.is_multiple_of(SECTOR_BYTES), "a page is a whole number of sectors");

/// The files of one machine. Clones are handles to the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

/// One file of a [`Disk`], as the store sees it.
#[derive(Clone, Debug)]
pub struct DiskFile {
    disk: Disk,
    name: String,
}

/// What becomes of unsynced writes when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Only what was synced.
    Synced,
    /// All that was written.
    Everything,
    /// What was synced, and of the rest each write with this chance (in percent), in any order; those that survive are
    /// torn into sectors with the second chance.
    Scattered {
        /// Chance in percent that a write survives.
        kept: u64,
        /// Chance in percent that only some sectors of a surviving write do.
        torn: u64,
    },
}

/// What a failing sync does to the writes it was to make durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncLoss {
    /// Nothing: the writes are still to be synced.
    Nothing,
    /// They are gone, and reading shows it.
    Reverted,
    /// They can still be read but will never become durable, and later syncs succeed: what Linux does.
    Forgotten,
}

/// How much fits on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// As much as anyone wants.
    #[default]
    Endless,
    /// This many bytes, counted when they are written: growing a file is free, as with sparse files.
    Written(u64),
    /// This many bytes, counted when a file grows.
    Reserved(u64),
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, FileState>,
    /// Writes, length changes and syncs so far: the clock by which power is cut.
    operations: u64,
    /// The operation at which the power goes, and stays away.
    power_cut_at: Option<u64>,
    writes: u64,
    failing_write: Option<u64>,
    syncs: u64,
    failing_sync: Option<(u64, SyncLoss)>,
    room: Room,
    lies_about_sync: bool,
}

#[derive(Clone, Debug, Default)]
struct FileState {
    live: Pages,
    durable: Pages,
    /// What happened to the file since its last sync, in order.
    unsynced: Vec<Change>,
    operations: u64,
    cut_off_at: Option<u64>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, data: Arc<[u8]> },
    Length(u64),
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Self {
        Disk::default()
    }

    /// A disk that starts with these files, all of them durable.
    pub fn from_image(image: &DiskImage) -> Self {
        let files = image.files.iter().map(|(name, pages)| {
            let file = FileState { live: pages.clone(), durable: pages.clone(), ..FileState::default() };
            (name.clone(), file)
        });
        let state = State { files: files.collect(), ..State::default() };
        Disk { state: Arc::new(Mutex::new(state)) }
    }

    /// A file, created empty on first use.
    pub fn file(&self, name: &str) -> DiskFile {
        self.lock().files.entry(name.to_owned()).or_default();
        DiskFile { disk: self.clone(), name: name.to_owned() }
    }

    /// Puts a file in the place of another, durably and in one step.
    pub fn replace(&self, file: &str, with: &str) {
        let mut state = self.lock();
        if let Some(moved) = state.files.remove(with) {
            state.files.insert(file.to_owned(), moved);
        }
    }

    /// Takes a file away, durably and in one step.
    pub fn remove(&self, file: &str) {
        self.lock().files.remove(file);
    }

    /// Writes, length changes and syncs so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Syncs so far.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Bytes that the files take up.
    pub fn allocated(&self) -> u64 {
        self.lock().files.values().map(|file| file.live.allocated()).sum()
    }

    /// Cuts the power after this many more operations. The operation under way then may or may not reach the disk, its
    /// caller gets an error, and so does every later one.
    pub fn cut_power_after(&self, operations: u64) {
        let mut state = self.lock();
        state.power_cut_at = Some(state.operations + operations);
    }

    /// Cuts one file off after this many more operations on it, while the others go on until [`Self::crash`].
    ///
    /// For work that uses two files from two threads: which of them is how far when the power goes is then decided by the
    /// test and not by the scheduler.
    pub fn cut_off_after(&self, file: &str, operations: u64) {
        if let Some(file) = self.lock().files.get_mut(file) {
            file.cut_off_at = Some(file.operations + operations);
        }
    }

    /// Whether the power is gone, if only for one of the files.
    pub fn is_without_power(&self) -> bool {
        let state = self.lock();
        state.is_without_power() || state.files.values().any(FileState::is_cut_off)
    }

    /// Lets the write fail that comes after this many more; part of it may have been written.
    pub fn fail_write_after(&self, writes: u64) {
        let mut state = self.lock();
        state.failing_write = Some(state.writes + writes);
    }

    /// Lets the sync fail that comes after this many more.
    pub fn fail_sync_after(&self, syncs: u64, loss: SyncLoss) {
        let mut state = self.lock();
        state.failing_sync = Some((state.syncs + syncs, loss));
    }

    /// Changes how much fits on the disk.
    pub fn set_room(&self, room: Room) {
        self.lock().room = room;
    }

    /// Takes back every planned fault. A power cut that has happened stays, and so do lies and missing room.
    pub fn heal(&self) {
        let mut state = self.lock();
        if !state.is_without_power() {
            state.power_cut_at = None;
        }
        for file in state.files.values_mut().filter(|file| !file.is_cut_off()) {
            file.cut_off_at = None;
        }
        state.failing_write = None;
        state.failing_sync = None;
    }

    /// Makes the disk answer every sync with success and do nothing, as broken ones do. For proving that checkers notice.
    pub fn lie_about_sync(&self) {
        self.lock().lies_about_sync = true;
    }

    /// Cuts the power now and gives one of the states the disk may be found in.
    pub fn crash(&self, seed: &mut Seed) -> DiskImage {
        let survival = match seed.range(0..10) {
            0..2 => Survival::Synced,
            2 => Survival::Everything,
            _ => Survival::Scattered { kept: seed.range(1..100), torn: *seed.pick(&[0, 10, 60]) },
        };
        self.crash_with(survival, seed)
    }

    /// Cuts the power now; of the unsynced writes survives what the caller says.
    pub fn crash_with(&self, survival: Survival, seed: &mut Seed) -> DiskImage {
        let mut state = self.lock();
        state.power_cut_at = Some(state.operations);
        // Each file draws from a stream of its own, so that what one holds does not decide what another loses.
        let files = state.files.iter().map(|(name, file)| (name.clone(), file.survivors(survival, &mut seed.fork())));
        DiskImage { files: files.collect() }
    }

    /// What a reader would see now: the state after the machine is stopped in peace.
    pub fn image(&self) -> DiskImage {
        let files = self.lock().files.iter().map(|(name, file)| (name.clone(), file.live.clone())).collect();
        DiskImage { files }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere must not hide its cause behind a poisoned lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for DiskFile {
    fn len(&self) -> Result<u64, Error> {
        self.with(|state, name| {
            state.powered(name)?;
            Ok(state.file(name)?.live.len())
        })
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        self.with(|state, name| {
            state.powered(name)?;
            if state.file(name)?.live.read(offset, out) {
                Ok(())
            } else {
                Err(Error::new(ErrorKind::UnexpectedEof, "read beyond the end of the file"))
            }
        })
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        self.with(|state, name| {
            state.check_room(|room| match room {
                Room::Reserved(bytes) => {
                    let others: u64 =
                        state.files.iter().filter(|(other, _)| *other != name).map(|(_, file)| file.live.len()).sum();
                    others + len <= bytes
                }
                Room::Endless | Room::Written(_) => true,
            })?;
            let has_power = state.count_operation(name)?;
            state.file_mut(name)?.change(Change::Length(len));
            has_power
        })
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.with(|state, name| {
            state.count_operation(name)??;
            let lies = state.lies_about_sync;
            let failing = state.failing_sync.filter(|(at, _)| *at == state.syncs);
            state.syncs += 1;
            let file = state.file_mut(name)?;
            match failing {
                None if lies => Ok(()),
                None => {
                    file.sync();
                    Ok(())
                }
                Some((_, loss)) => {
                    file.fail_sync(loss);
                    Err(Error::other("the disk failed to sync"))
                }
            }
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.with(|state, name| {
            let wanted = state.file(name)?.live.allocated_by(offset, data.len());
            state.check_room(|room| match room {
                Room::Written(bytes) => {
                    let allocated: u64 = state.files.values().map(|file| file.live.allocated()).sum();
                    wanted == 0 || allocated + wanted <= bytes
                }
                Room::Endless | Room::Reserved(_) => true,
            })?;
            let operation = state.operations;
            let has_power = state.count_operation(name)?;
            let fails = state.failing_write == Some(state.writes);
            state.writes += 1;
            let file = state.file_mut(name)?;
            if fails {
                // As much as the disk got to: any number of sectors, from none to all but one.
                let sectors = data.len().div_ceil(SECTOR_BYTES) as u64;
                let written = usize::try_from(operation % sectors.max(1)).unwrap_or(0) * SECTOR_BYTES;
                if let Some(part) = data.get(..written).filter(|part| !part.is_empty()) {
                    file.change(Change::Write { offset, data: part.into() });
                }
                return Err(Error::other("the disk failed to write"));
            }
            file.change(Change::Write { offset, data: data.into() });
            has_power
        })
    }
}

impl DiskFile {
    fn with<T>(&self, act: impl FnOnce(&mut State, &str) -> T) -> T {
        act(&mut self.disk.lock(), &self.name)
    }
}

impl State {
    fn is_without_power(&self) -> bool {
        self.power_cut_at.is_some_and(|at| self.operations > at)
    }

    fn powered(&self, name: &str) -> Result<(), Error> {
        let is_off = self.is_without_power() || self.files.get(name).is_some_and(FileState::is_cut_off);
        if is_off { Err(Error::other("the power is gone")) } else { Ok(()) }
    }

    /// Counts a change to the disk. The outer error: the power is gone already, nothing happens. The inner one: it goes
    /// while this change is on its way.
    fn count_operation(&mut self, name: &str) -> Result<Result<(), Error>, Error> {
        self.powered(name)?;
        self.operations += 1;
        self.file_mut(name)?.operations += 1;
        Ok(self.powered(name))
    }

    fn check_room(&self, fits: impl FnOnce(Room) -> bool) -> Result<(), Error> {
        if fits(self.room) {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::StorageFull, "no space left on the simulated disk"))
        }
    }

    fn file(&self, name: &str) -> Result<&FileState, Error> {
        self.files.get(name).ok_or_else(|| Error::new(ErrorKind::NotFound, "no such file on the simulated disk"))
    }

    fn file_mut(&mut self, name: &str) -> Result<&mut FileState, Error> {
        self.files.get_mut(name).ok_or_else(|| Error::new(ErrorKind::NotFound, "no such file on the simulated disk"))
    }
}

impl FileState {
    fn is_cut_off(&self) -> bool {
        self.cut_off_at.is_some_and(|at| self.operations > at)
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        // Changes are replayed rather than copied from the live bytes: what a failed sync forgot must stay forgotten.
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    fn fail_sync(&mut self, loss: SyncLoss) {
        match loss {
            SyncLoss::Nothing => {}
            SyncLoss::Reverted => {
                self.live = self.durable.clone();
                self.unsynced.clear();
            }
            SyncLoss::Forgotten => {
                // A journaling file system still keeps the length.
                self.durable.set_len(self.live.len());
                self.unsynced.clear();
            }
        }
    }

    /// The file's bytes after a crash.
    fn survivors(&self, survival: Survival, seed: &mut Seed) -> Pages {
        let mut found = self.durable.clone();
        match survival {
            Survival::Synced => {}
            Survival::Everything => self.unsynced.iter().for_each(|change| change.apply(&mut found)),
            Survival::Scattered { kept, torn } => {
                self.scatter(&mut found, kept, torn, seed);
            }
        }
        found
    }

    fn scatter(&self, found: &mut Pages, kept: u64, torn: u64, seed: &mut Seed) {
        // Lengths go through the file system's journal: a crash keeps the first few of them, in order.
        let lengths: Vec<u64> = self.unsynced.iter().filter_map(Change::length).collect();
        let survivors = seed.index(lengths.len() + 1);
        lengths.iter().take(survivors).for_each(|len| found.set_len(*len));

        let mut writes: Vec<(u64, &Arc<[u8]>)> = self.unsynced.iter().filter_map(Change::write).collect();
        seed.shuffle(&mut writes);
        for (offset, data) in writes {
            if !seed.chance(kept) {
                continue;
            }
            let tears = seed.chance(torn);
            for (at, sector) in sectors(offset, data) {
                // What lies beyond the length that survived is not part of the file.
                if at + sector.len() as u64 <= found.len() && !(tears && seed.chance(50)) {
                    found.write(at, sector);
                }
            }
        }
    }
}

impl Change {
    fn apply(&self, pages: &mut Pages) {
        match self {
            Change::Write { offset, data } => pages.write(*offset, data),
            Change::Length(len) => pages.set_len(*len),
        }
    }

    fn length(&self) -> Option<u64> {
        match self {
            Change::Length(len) => Some(*len),
            Change::Write { .. } => None,
        }
    }

    fn write(&self) -> Option<(u64, &Arc<[u8]>)> {
        match self {
            Change::Write { offset, data } => Some((*offset, data)),
            Change::Length(_) => None,
        }
    }
}

/// Cuts a write at the sectors of the disk.
fn sectors(offset: u64, data: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let into_sector = usize::try_from(offset % SECTOR_BYTES as u64).expect("an offset in a sector");
    let (mut at, mut rest, mut len) = (offset, data, SECTOR_BYTES - into_sector);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (sector, after) = rest.split_at(len.min(rest.len()));
        let found = (at, sector);
        (at, rest, len) = (at + sector.len() as u64, after, SECTOR_BYTES);
        Some(found)
    })
}

#[cfg(test)]
mod tests;
