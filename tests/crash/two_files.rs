//! The protocol of the two files, in its smallest form: the log commits durably, then the data without a sync.
//!
//! This checks the store underneath, and the idea, apart from the node's own code: whatever a power cut leaves opens, the
//! log holds every acknowledged write, the data holds exactly the writes of the position it names, and replay makes them equal.

use holdfast_tests::disk::{Disk, DiskFile, DiskImage, SyncLoss};
use holdfast_tests::seed::{Seed, worlds};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use std::collections::BTreeMap;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

/// Position -> key and value of one write.
const LOG: TableDefinition<u64, (u64, &[u8])> = TableDefinition::new("log");
const DATA: TableDefinition<u64, &[u8]> = TableDefinition::new("data");
/// The position up to which the data reflects the log, under the key 0.
const POSITION: TableDefinition<u64, u64> = TableDefinition::new("position");

/// One write of a test: a key and its new value.
type Write = (u64, Vec<u8>);

struct Files {
    log: Database,
    data: Database,
}

/// An error means that the store gave up; it must be opened again.
type Outcome<T> = Result<T, Box<dyn Error>>;

impl Files {
    fn open(disk: &Disk) -> Outcome<Files> {
        let mut builder = Database::builder();
        builder.set_cache_size(1 << 20);
        let log = builder.create_with_backend(disk.file("log"))?;
        let data = builder.create_with_backend(disk.file("data"))?;
        Ok(Files { log, data })
    }

    /// Commits a batch: acknowledged if this returns.
    fn commit(&self, position: u64, batch: &[Write], data_durable: bool) -> Outcome<()> {
        let mut data = self.data.begin_write()?;
        fill_data(&data, position, batch)?;
        let log = self.log.begin_write()?;
        {
            let mut rows = log.open_table(LOG)?;
            for (at, (key, value)) in (position..).zip(batch) {
                rows.insert(at, (*key, value.as_slice()))?;
            }
        }
        log.commit()?;
        settle_data(&mut data, data_durable)?;
        // Once the log has it, the write is a success, whatever becomes of the data.
        let _ = data.commit();
        Ok(())
    }

    /// Brings the data up to the log, as opening a database does.
    fn replay(&self) -> Outcome<()> {
        let position = self.data_position()?;
        let rows: Vec<Write> = self.rows()?.split_off(usize::try_from(position).unwrap());
        let mut data = self.data.begin_write()?;
        fill_data(&data, position, &rows)?;
        settle_data(&mut data, true)?;
        data.commit()?;
        Ok(())
    }

    fn data_position(&self) -> Outcome<u64> {
        let read = self.data.begin_read()?;
        match read.open_table(POSITION) {
            Ok(table) => Ok(table.get(0)?.map_or(0, |position| position.value())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// The log in order; its positions must be gapless.
    fn rows(&self) -> Outcome<Vec<Write>> {
        let read = self.log.begin_read()?;
        let Ok(table) = read.open_table(LOG) else {
            return Ok(Vec::new());
        };
        let mut rows = Vec::new();
        for entry in table.iter()? {
            let (position, row) = entry?;
            assert_eq!(position.value(), rows.len() as u64, "the log has a gap");
            let (key, value) = row.value();
            rows.push((key, value.to_vec()));
        }
        Ok(rows)
    }

    fn documents(&self) -> Outcome<BTreeMap<u64, Vec<u8>>> {
        let read = self.data.begin_read()?;
        let Ok(table) = read.open_table(DATA) else {
            return Ok(BTreeMap::new());
        };
        let rows = table.iter()?.map(|entry| entry.map(|(key, value)| (key.value(), value.value().to_vec())));
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn fill_data(data: &redb::WriteTransaction, position: u64, batch: &[Write]) -> Outcome<()> {
    let mut rows = data.open_table(DATA)?;
    for (key, value) in batch {
        if value.is_empty() {
            rows.remove(key)?;
        } else {
            rows.insert(key, value.as_slice())?;
        }
    }
    data.open_table(POSITION)?.insert(0, position + batch.len() as u64)?;
    Ok(())
}

fn settle_data(data: &mut redb::WriteTransaction, durable: bool) -> Outcome<()> {
    if durable {
        data.set_quick_repair(true);
    } else {
        data.set_durability(Durability::None)?;
    }
    Ok(())
}

/// What the documents must be after these writes. An empty value deletes.
fn image_of(writes: &[Write]) -> BTreeMap<u64, Vec<u8>> {
    let mut documents = BTreeMap::new();
    for (key, value) in writes {
        if value.is_empty() {
            documents.remove(key);
        } else {
            documents.insert(*key, value.clone());
        }
    }
    documents
}

fn batch(seed: &mut Seed) -> Vec<Write> {
    let writes = seed.range(1..8);
    (0..writes)
        .map(|_| {
            let len = if seed.chance(5) { seed.range(4000..20_000) } else { seed.range(0..400) };
            let fill = seed.next_u64().to_le_bytes()[0];
            (seed.range(0..60), vec![fill; usize::try_from(len).unwrap()])
        })
        .collect()
}

/// Two empty files, made once: creating them costs more than most worlds.
fn empty_files() -> &'static DiskImage {
    static EMPTY: OnceLock<DiskImage> = OnceLock::new();
    EMPTY.get_or_init(|| {
        let disk = Disk::new();
        drop(Files::open(&disk).unwrap());
        disk.image()
    })
}

/// The writes that were attempted, and how many of them were acknowledged.
#[derive(Default)]
struct History {
    attempted: Vec<Write>,
    acknowledged: usize,
}

/// Commits batches until the disk stops or a number of them is through.
fn work(files: &Files, history: &mut History, seed: &mut Seed) {
    for _ in 0..seed.range(1..40) {
        let batch = batch(seed);
        let position = history.attempted.len() as u64;
        let outcome = files.commit(position, &batch, seed.chance(15));
        history.attempted.extend(batch);
        match outcome {
            Ok(()) => history.acknowledged = history.attempted.len(),
            Err(_) => return,
        }
    }
}

/// Opens what a crash left, cutting the power again during recovery now and then.
fn recover(mut image: DiskImage, seed: &mut Seed) -> (Disk, Files) {
    for _ in 0..3 {
        let disk = Disk::from_image(&image);
        if seed.chance(50) {
            disk.cut_power_after(seed.range(0..40));
        }
        let opened = Files::open(&disk).and_then(|files| files.replay().map(|()| files));
        match opened {
            Ok(files) if !disk.is_without_power() && seed.chance(70) => {
                disk.heal();
                return (disk, files);
            } // Recovery, or what came right after it, is cut off as well.
            _ => image = disk.crash(seed),
        }
    }
    let disk = Disk::from_image(&image);
    let files = Files::open(&disk).unwrap();
    files.replay().unwrap();
    (disk, files)
}

/// Compares the files with the history, and lets the history continue from what they hold.
fn check(files: &mut Files, history: &mut History) -> Result<(), String> {
    let rows = files.rows().unwrap();
    if rows.len() < history.acknowledged {
        return Err(format!("{} writes were acknowledged, {} are there", history.acknowledged, rows.len()));
    }
    if rows.len() != history.acknowledged && rows.len() != history.attempted.len() {
        return Err("a part of a batch is there".to_owned());
    }
    if rows != history.attempted[..rows.len()] {
        return Err("the log holds other writes than were made".to_owned());
    }
    if files.documents().unwrap() != image_of(&rows) {
        return Err("the data is not the image of the log".to_owned());
    }
    if !files.log.check_integrity().unwrap() || !files.data.check_integrity().unwrap() {
        return Err("the store finds its file damaged".to_owned());
    }
    history.attempted.truncate(rows.len());
    history.acknowledged = rows.len();
    Ok(())
}

#[test]
fn a_power_cut_at_any_write_loses_nothing_acknowledged() {
    worlds("a_power_cut_at_any_write_loses_nothing_acknowledged", 150, |mut seed| {
        let mut history = History::default();
        let mut image = empty_files().clone();
        for _ in 0..3 {
            let (disk, mut files) = recover(image, &mut seed);
            check(&mut files, &mut history).unwrap();
            disk.cut_power_after(seed.range(0..400));
            work(&files, &mut history, &mut seed);
            // Closing a store writes to its files; a power cut comes before it.
            image = disk.crash(&mut seed);
        }
        let (_, mut files) = recover(image, &mut seed);
        check(&mut files, &mut history).unwrap();
    });
}

#[test]
fn data_found_after_a_crash_is_the_image_of_the_position_it_names() {
    worlds("data_found_after_a_crash_is_the_image_of_the_position_it_names", 100, |mut seed| {
        let disk = Disk::from_image(empty_files());
        let files = Files::open(&disk).unwrap();
        let mut history = History::default();
        disk.cut_power_after(seed.range(0..400));
        work(&files, &mut history, &mut seed);
        let found = Files::open(&Disk::from_image(&disk.crash(&mut seed))).unwrap();
        let position = usize::try_from(found.data_position().unwrap()).unwrap();
        assert!(position <= found.rows().unwrap().len(), "the data is ahead of the log");
        assert_eq!(found.documents().unwrap(), image_of(&history.attempted[..position]));
    });
}

#[test]
fn a_failed_sync_leaves_the_write_whole_or_absent() {
    worlds("a_failed_sync_leaves_the_write_whole_or_absent", 60, |mut seed| {
        let disk = Disk::from_image(empty_files());
        let mut history = History::default();
        for loss in [SyncLoss::Nothing, SyncLoss::Reverted] {
            let mut files = Files::open(&disk).unwrap();
            files.replay().unwrap();
            check(&mut files, &mut history).unwrap();
            disk.fail_sync_after(seed.range(0..12), loss);
            work(&files, &mut history, &mut seed);
            disk.heal();
        }
        // Its successor, on the same disk or after a power cut.
        let image = if seed.chance(50) { disk.image() } else { disk.crash(&mut seed) };
        let (_, mut files) = recover(image, &mut seed);
        check(&mut files, &mut history).unwrap();
    });
}

/// Writes a file over itself, header last, so that what a failed sync forgot is on its way to the disk again.
///
/// Pages first: the last durable state names none of those that the forgotten commit wrote, so a crash in between harms
/// neither. Only then the header, which may name them.
fn write_again(file: &DiskFile) -> std::io::Result<()> {
    const HEADER_BYTES: u64 = 4096;
    let len = file.len()?;
    let mut page = [0; 4096];
    for offset in (HEADER_BYTES..len).step_by(page.len()) {
        file.read(offset, &mut page)?;
        file.write(offset, &page)?;
    }
    file.sync_data()?;
    file.read(0, &mut page)?;
    file.write(0, &page)?;
    file.sync_data()
}

#[test]
fn a_forgotten_sync_is_survived_by_writing_the_file_again() {
    worlds("a_forgotten_sync_is_survived_by_writing_the_file_again", 60, |mut seed| {
        let disk = Disk::from_image(empty_files());
        let mut history = History::default();
        for _ in 0..2 {
            let mut files = Files::open(&disk).unwrap();
            files.replay().unwrap();
            check(&mut files, &mut history).unwrap();
            disk.fail_sync_after(seed.range(0..12), SyncLoss::Forgotten);
            work(&files, &mut history, &mut seed);
            disk.heal();
            drop(files);
            if seed.chance(30) {
                disk.cut_power_after(seed.range(0..500));
            }
            if write_again(&disk.file("log")).and_then(|()| write_again(&disk.file("data"))).is_err() {
                break;
            }
            disk.heal();
        }
        let image = disk.crash(&mut seed);
        let (_, mut files) = recover(image, &mut seed);
        check(&mut files, &mut history).unwrap();
    });
}

#[test]
fn a_forgotten_sync_does_harm_if_nothing_is_done_about_it() {
    let harmed = (0..60).filter(|number| {
        let mut seed = Seed::new(*number);
        let disk = Disk::from_image(empty_files());
        let mut history = History::default();
        for _ in 0..2 {
            let mut files = Files::open(&disk).unwrap();
            files.replay().unwrap();
            check(&mut files, &mut history).unwrap();
            disk.fail_sync_after(seed.range(0..12), SyncLoss::Forgotten);
            work(&files, &mut history, &mut seed);
            disk.heal();
        }
        let image = disk.crash(&mut seed);
        // The store may even panic on the pages that it finds missing.
        let sound = catch_unwind(AssertUnwindSafe(|| {
            let mut files = Files::open(&Disk::from_image(&image)).map_err(|error| error.to_string())?;
            files.replay().map_err(|error| error.to_string())?;
            check(&mut files, &mut history)
        }));
        !matches!(sound, Ok(Ok(())))
    });
    assert!(harmed.count() > 0, "the cure above must be shown to cure something");
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_found_out() {
    let found_out = (0..40).filter(|number| {
        let mut seed = Seed::new(*number);
        let disk = Disk::from_image(empty_files());
        let files = Files::open(&disk).unwrap();
        let mut history = History::default();
        disk.lie_about_sync();
        work(&files, &mut history, &mut seed);
        let image = disk.crash(&mut seed);
        let Ok(mut files) = Files::open(&Disk::from_image(&image)) else {
            return true;
        };
        files.replay().is_err() || check(&mut files, &mut history).is_err()
    });
    let found_out = found_out.count();
    assert!(found_out > 20, "only {found_out} of 40 crashes of a lying disk were noticed");
}
