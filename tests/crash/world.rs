//! One database on one simulated disk, with a memory of what it was asked and what it answered.
//!
//! ```text
//!   open ─► work: batches committed, each compared with the model ─► stop: fault, power cut, or peace
//!    ▲                                                                  │
//!    └──── recover: opened again, itself cut off now and then ◄─────────┘   then check everything
//! ```

use crate::model::{Asked, Model};
use holdfast_core::id::NodeName;
use holdfast_core::time::Millis;
use holdfast_core::vector::{Origin, Position, Sequence};
use holdfast_storage::commit::{CommitError, Moment};
use holdfast_storage::database::{Database, Opened, Options};
use holdfast_storage::error::StorageError;
use holdfast_storage::integrity::verify;
use holdfast_storage::record::operation::Entry;
use holdfast_storage::request::Answer;
use holdfast_tests::disk::{Disk, DiskImage};
use holdfast_tests::seed::Seed;
use redb::backends::InMemoryBackend;
use std::sync::OnceLock;

pub(crate) const LOG: &str = "shop.db.metadata";
pub(crate) const DATA: &str = "shop.db";

/// A database with its history. Between lives there is only what the disk holds.
pub(crate) struct World {
    pub(crate) disk: Disk,
    /// What every acknowledged request has made of the documents.
    pub(crate) acknowledged: Model,
    /// What they are if the request under way when the database stopped is on disk as well.
    pub(crate) perhaps: Option<Model>,
    pub(crate) seed: Seed,
    /// The database is opened again after an error of the disk, by the same process.
    pub(crate) is_after_failure: bool,
    now: Millis,
}

/// Why work ended.
#[derive(Debug)]
pub(crate) enum Stop {
    /// All that was to be done is done.
    Done,
    /// Nothing of the last batch may be found later.
    NotWritten(StorageError),
    /// The last batch may be found later, whole.
    Unknown(StorageError),
    /// The last batch is a success; something after it failed.
    Later,
}

impl World {
    /// A world on an empty database.
    pub(crate) fn new(seed: Seed) -> World {
        World {
            disk: Disk::from_image(empty_database()),
            acknowledged: Model::default(),
            perhaps: None,
            seed,
            is_after_failure: false,
            now: Millis(1_700_000_000_000),
        }
    }

    /// Opens the database on its disk.
    pub(crate) fn open(&mut self) -> Result<Opened, StorageError> {
        let undurable_operations_max = self.seed.index(60) + 1;
        let is_after_failure = self.is_after_failure;
        open(&self.disk, Options { undurable_operations_max, is_after_failure, ..small_options() })
    }

    /// Commits up to so many batches, comparing each answer with the model's.
    pub(crate) fn work(&mut self, opened: &mut Opened, batches: u64) -> Stop {
        for _ in 0..batches {
            let asked: Vec<Asked> = (0..self.seed.range(1..5)).map(|_| Asked::any(&mut self.seed)).collect();
            let mut after = self.acknowledged.clone();
            let expected: Vec<Vec<bool>> = asked.iter().map(|asked| after.perform(asked)).collect();
            self.now = self.now + Millis(self.seed.range(0..400));
            let mut seed = self.seed.fork();
            let mut random = || u128::from(seed.next_u64()) << 64 | u128::from(seed.next_u64());
            let mut moment = Moment { now: self.now, random: &mut random };
            match opened.writer.commit(&mut moment, asked.iter().map(Asked::request).collect()) {
                Ok(answers) => {
                    let answered: Vec<Vec<bool>> = answers.iter().map(successes).collect();
                    assert_eq!(answered, expected, "for {asked:?}");
                    self.acknowledged = after;
                }
                Err(CommitError::NotWritten(error)) => return Stop::NotWritten(error),
                Err(CommitError::Unknown(error)) => {
                    self.perhaps = Some(after);
                    return Stop::Unknown(error);
                }
            }
            if opened.writer.has_stopped() || self.care(opened).is_err() {
                return Stop::Later;
            }
            assert_eq!(opened.writer.state().position, Position(self.acknowledged.position));
        }
        Stop::Done
    }

    /// What the node does between commits.
    fn care(&mut self, opened: &mut Opened) -> Result<(), StorageError> {
        if opened.writer.is_durable_commit_due(self.now) {
            opened.writer.make_data_durable()?;
        }
        if self.seed.chance(3) {
            opened.writer.settle()?;
            assert!(!opened.writer.is_unsettled());
        }
        if self.seed.chance(10)
            && let Err(difference) = self.check_documents(&opened.database)
        {
            assert!(self.disk.is_without_power(), "{difference}");
        }
        Ok(())
    }

    /// Cuts the power now and puts the database on a disk that holds one of the states it may be found in.
    pub(crate) fn crash(&mut self) {
        let image = self.disk.crash(&mut self.seed);
        self.disk = Disk::from_image(&image);
        self.is_after_failure = false;
    }

    /// Opens the database again, with the power going away during that now and then, and checks everything.
    pub(crate) fn recover(&mut self) -> Result<Opened, String> {
        for _ in 0..3 {
            if self.seed.chance(40) {
                // Both files are opened at once, by a thread each.
                let file = *self.seed.pick(&[LOG, DATA]);
                self.disk.cut_off_after(file, self.seed.range(0..40));
            }
            match self.open() {
                Ok(mut opened) if self.seed.chance(80) && !self.disk.is_without_power() => {
                    self.disk.heal();
                    self.is_after_failure = false;
                    self.check(&mut opened)?;
                    return Ok(opened);
                }
                // What has just been opened, or what has failed to open, is cut off as well.
                _ => self.crash(),
            }
        }
        let mut opened = self.open().map_err(|error| format!("it does not open: {error}"))?;
        self.check(&mut opened)?;
        Ok(opened)
    }

    /// Whether what is there is what was promised. Settles what was uncertain.
    pub(crate) fn check(&mut self, opened: &mut Opened) -> Result<(), String> {
        let text = |error: StorageError| error.to_string();
        let newest = opened.database.log().map_err(text)?.newest().map_err(text)?;
        match self.perhaps.take() {
            Some(perhaps) if newest.0 == perhaps.position => self.acknowledged = perhaps,
            _ if newest.0 == self.acknowledged.position => {}
            perhaps => {
                let perhaps = perhaps.map(|model| model.position);
                return Err(format!(
                    "{} operations were acknowledged and {perhaps:?} attempted, the log holds {newest}",
                    self.acknowledged.position
                ));
            }
        }
        if opened.writer.state().position != newest {
            return Err(format!("the data stays at {} of {newest}", opened.writer.state().position));
        }
        self.check_log(&opened.database)?;
        self.check_documents(&opened.database)?;
        let report = verify(&opened.database, InMemoryBackend::new()).map_err(text)?;
        if report.is_sound() { Ok(()) } else { Err(report.findings.join("; ")) }
    }

    /// The log has every position and every sequence once, and no part of a transaction.
    fn check_log(&self, database: &Database) -> Result<(), String> {
        let (mut position, mut sequence, mut open_group) = (Position::START, Sequence(0), None);
        let mut fault = None;
        let log = database.log().map_err(|error| error.to_string())?;
        let scanned = log.scan(Position::START, |logged| {
            let Entry::Operation(logged) = logged else { return Ok(()) };
            let (operation, group) = (&logged.operation, logged.operation.group);
            let follows = logged.position == position.next() && operation.dot.sequence == sequence.next();
            let index = group.map_or(0, |group| group.index);
            let whole = open_group.unwrap_or(0) == index && !(group.is_none() && open_group.is_some());
            if !(follows && whole) && fault.is_none() {
                fault = Some(format!("operation {} at {} does not follow {position}", operation.dot, logged.position));
            }
            (position, sequence) = (logged.position, operation.dot.sequence);
            open_group = group.filter(|group| group.index + 1 < group.count).map(|group| group.index + 1);
            Ok(())
        });
        scanned.map_err(|error| error.to_string())?;
        match (fault, open_group) {
            (Some(fault), _) => Err(fault),
            (None, Some(_)) => Err("the log ends within a transaction".to_owned()),
            (None, None) if position.0 == self.acknowledged.position => Ok(()),
            (None, None) => Err(format!("the log ends at {position} when read through")),
        }
    }

    /// What is shown is what the model says.
    pub(crate) fn check_documents(&self, database: &Database) -> Result<(), String> {
        let text = |error: StorageError| error.to_string();
        let view = database.view().map_err(text)?;
        let mut shown = Model { position: self.acknowledged.position, ..Model::default() };
        for (collection, state) in view.collections().map_err(text)? {
            let page = view.page(&collection, None, 0, usize::MAX).map_err(text)?;
            if page.documents.len() as u64 != state.alive {
                return Err(format!(
                    "{collection} counts {} documents and lists {}",
                    state.alive,
                    page.documents.len()
                ));
            }
            for (id, document) in page.documents {
                let json = document.text.ok_or("a page lists a deleted document")?;
                let document = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
                shown.documents.insert((collection.to_string(), id.to_string()), document);
            }
            shown.collections.insert(collection.to_string());
        }
        if shown == self.acknowledged { Ok(()) } else { Err(difference(&self.acknowledged, &shown)) }
    }
}

/// Says what differs, briefly.
fn difference(expected: &Model, shown: &Model) -> String {
    for key in expected.documents.keys().chain(shown.documents.keys()) {
        let (expected, shown) = (expected.documents.get(key), shown.documents.get(key));
        if expected != shown {
            let brief = |document: Option<&serde_json::Map<String, serde_json::Value>>| {
                document.map(|document| serde_json::to_string(document).unwrap().chars().take(200).collect::<String>())
            };
            return format!("{key:?} should be {:?} and is {:?}", brief(expected), brief(shown));
        }
    }
    format!("collections should be {:?} and are {:?}", expected.collections, shown.collections)
}

fn successes(answer: &Answer) -> Vec<bool> {
    match answer {
        Answer::Each(results) => results.iter().map(Result::is_ok).collect(),
        Answer::Together(result) => vec![result.is_ok()],
        Answer::Registered => vec![true],
        _ => Vec::new(),
    }
}

pub(crate) fn open(disk: &Disk, options: Options) -> Result<Opened, StorageError> {
    let origin = Origin { node: NodeName::parse("till-1").unwrap(), incarnation: 7 };
    Database::open("shop", disk.file(LOG), disk.file(DATA), origin, 99, options)
}

/// Caches so small that pages are written before they are committed, as under load.
pub(crate) fn small_options() -> Options {
    Options { log_cache_bytes: 64 << 10, data_cache_bytes: 128 << 10, ..Options::default() }
}

/// A database without documents, made once: creating it costs more than most worlds.
pub(crate) fn empty_database() -> &'static DiskImage {
    static EMPTY: OnceLock<DiskImage> = OnceLock::new();
    EMPTY.get_or_init(|| {
        let disk = Disk::new();
        drop(open(&disk, small_options()).unwrap());
        disk.image()
    })
}
