//! The cache for hours under load, by a moved clock: a hundred sets a second that live for five minutes, on a node and,
//! told as they come, on its peer. Real files, and what a node does beside its writes: it syncs, it sweeps.
//!
//! What must stay true: once the first entries have ended nothing grows any more, whatever was set since; and when
//! everything has ended, nothing is left.
//!
//! The usual run is short. `HOLDFAST_SIMULATION_CACHE_MINUTES=1440` makes a day of it, and prints what each hour came to.

use std::time::Instant;

use holdfast_core::cache::{
    CacheCommand, CacheKey, CacheLane, CacheScope, CacheSource, CacheSweep, CacheSweepPlan, Content, Lifetime, When,
};
use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::time::Millis;
use holdfast_storage::cache::CacheChange;
use holdfast_storage::commit::{Moment, Writer};
use holdfast_storage::database::{Database, Options};
use holdfast_storage::layout::{Arrival, DataDirectory};
use holdfast_storage::request::{Answer, Request};
use tempfile::TempDir;

/// Minutes of the moved clock in a usual run.
const MINUTES: u64 = 16;
const SETS_PER_SECOND: u64 = 100;
const TTL: Millis = Millis(5 * 60_000);
/// Keys that are set again while they live; each other set has a key of its own.
const KEYS_SET_AGAIN: u64 = 10_000;
/// What the settings say where nobody says anything.
const SWEEP: CacheSweepPlan = CacheSweepPlan { every: Millis(30_000), keys: 500, steps: 20 };
/// How much larger than before a file may be, in hundredths: a store takes its pages in runs.
const GROWTH_MAX: u64 = 115;
const BEGIN: u64 = 1_700_000_000_000;

struct Node {
    directory: DataDirectory,
    database: Database,
    writer: Writer,
    sweep: CacheSweep,
    _files: TempDir,
}

/// What a node's files and its cache take.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    data: u64,
    log: u64,
    keys: u64,
}

impl Size {
    fn most(self, other: Self) -> Self {
        Self { data: self.data.max(other.data), log: self.log.max(other.log), keys: self.keys.max(other.keys) }
    }
}

fn name() -> DatabaseName {
    DatabaseName::parse("shop").unwrap()
}

impl Node {
    fn new(node: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let arrival = Arrival { incarnation: 1, holder: "a test" };
        let directory = DataDirectory::open(files.path(), &NodeName::parse(node).unwrap(), arrival).unwrap();
        let opened = directory.create_database(&name(), 7, Options::default()).unwrap();
        let sweep = CacheSweep::new(SWEEP, Millis(BEGIN));
        Self { directory, database: opened.database, writer: opened.writer, sweep, _files: files }
    }

    fn commit(&mut self, now: Millis, request: Request) -> Answer {
        let mut moment = Moment { now, random: &mut || 7 };
        let answer = self.writer.commit(&mut moment, vec![request]).unwrap().pop().unwrap();
        if self.writer.is_durable_commit_due(now) {
            self.writer.make_data_durable().unwrap();
        }
        answer
    }

    /// Lets go of what has ended, as far as a sweep is due.
    fn sweep(&mut self, now: Millis) {
        while let Some(keys) = self.sweep.due(now) {
            let swept = self.writer.sweep_cache(now, keys).unwrap();
            self.sweep.swept(now, swept.has_more);
        }
    }

    fn size(&self) -> Size {
        let length = |path: std::path::PathBuf| std::fs::metadata(path).unwrap().len();
        Size {
            data: length(self.directory.data_path(&name())),
            log: length(self.directory.log_path(&name())),
            keys: self.writer.cache_state().keys,
        }
    }
}

/// What a hundred clients set in one second.
fn sets(second: u64) -> Vec<CacheChange> {
    let set = |number: u64| {
        let key = if number.is_multiple_of(2) {
            format!("page-{}", number / 2 % KEYS_SET_AGAIN)
        } else {
            format!("session-{number}")
        };
        let filling = usize::try_from(number * 7 % 400).unwrap();
        CacheChange {
            scope: CacheScope::Shared,
            key: CacheKey::parse(&key).unwrap(),
            command: CacheCommand::Set {
                content: Content::json(format!(r#"{{"n":{number},"t":"{}"}}"#, "x".repeat(filling))),
                lifetime: Lifetime::For(TTL),
            },
            when: When::Always,
            wants_value: false,
            is_relaxed: false,
        }
    };
    (second * SETS_PER_SECOND..(second + 1) * SETS_PER_SECOND).map(set).collect()
}

/// Tells the peer what was set since it was last told.
fn tell(from: &Node, to: &mut Node, lane: &mut CacheLane, now: Millis) {
    let source = CacheSource { origin: from.writer.origin().clone(), log_id: from.database.log_id() };
    let changes = from.database.view().unwrap().cache_changes(lane.reach.own, &lane.vector, 1_000, usize::MAX).unwrap();
    let message = lane.own(&source, changes);
    let sent = lane.after(&message);
    let Answer::CacheNewsTaken(taken) = to.commit(now, Request::TakeCacheNews(message)) else { panic!() };
    assert!(lane.heard(taken.vector, taken.reach, sent), "the peer takes nothing in");
}

fn minutes() -> u64 {
    std::env::var("HOLDFAST_SIMULATION_CACHE_MINUTES").map_or(MINUTES, |minutes| minutes.parse().unwrap())
}

#[test]
fn files_do_not_grow_however_long_entries_are_set_and_end() {
    let (begun, minutes) = (Instant::now(), minutes());
    let mut nodes = [Node::new("author"), Node::new("peer")];
    let mut lane = CacheLane::default();
    // The most that was seen in the first half, once the first entries have ended, and in the second.
    let mut most = [[Size::default(); 2]; 2];
    let mut now = Millis(BEGIN);
    for second in 0..minutes * 60 {
        now = now + Millis(1_000);
        let [author, peer] = &mut nodes;
        author.commit(now, Request::Cache(sets(second)));
        tell(author, peer, &mut lane, now);
        for node in &mut nodes {
            node.sweep(now);
        }
        let minute = second / 60;
        let half = usize::from(minute * 2 >= minutes);
        if minute >= 60.min(minutes / 3) {
            for (most, node) in most[half].iter_mut().zip(&nodes) {
                *most = most.most(node.size());
            }
        }
        if (second + 1) % 3_600 == 0 {
            println!("after {} h: {:?} {:?}", (second + 1) / 3_600, nodes[0].size(), nodes[1].size());
        }
    }
    let live = SETS_PER_SECOND * ((TTL + SWEEP.every).0 / 1_000 + 1);
    for (first, second) in most[0].iter().zip(&most[1]) {
        println!("the most in the first half {first:?}, in the second {second:?}");
        assert!(second.keys <= live, "{} keys are kept of {live} that live or wait for a sweep", second.keys);
        assert!(second.data <= first.data * GROWTH_MAX / 100, "the data grows: {first:?}, {second:?}");
        assert!(second.log <= first.log * GROWTH_MAX / 100, "the log grows: {first:?}, {second:?}");
        // Far less than a tenth of what went through it.
        assert!(second.log < 8 * 1024 * 1024, "the log keeps what is over: {second:?}");
    }
    for node in &mut nodes {
        // However many have ended at once.
        for _ in 0..=TTL.0 / 100 {
            node.sweep(now + TTL);
            now = now + Millis(100);
        }
        let state = node.writer.cache_state();
        assert_eq!((state.keys, state.bytes), (0, 0), "something is left after everything has ended");
    }
    let sets = minutes * 60 * SETS_PER_SECOND;
    println!("{sets} sets in {minutes} minutes of the moved clock, {:.1} s", begun.elapsed().as_secs_f64());
}
