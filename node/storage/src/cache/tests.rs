//! The cache of one node, and of several that ask each other what changed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use holdfast_core::cache::{
    CacheCommand, CacheKey, CacheMessage, CacheOutcome, CacheReach, CacheRefusal, CacheScope, CacheStretch, Content,
    KeyState, Lifetime, When,
};
use holdfast_core::counter::Amount;
use holdfast_core::id::NodeName;
use holdfast_core::time::Millis;
use holdfast_core::vector::{Origin, Position, Vector};
use redb::backends::{FileBackend, InMemoryBackend};
use redb::{ReadableDatabase, ReadableTableMetadata};

use super::CacheChange;
use crate::commit::{Moment, Writer};
use crate::database::{Database, Opened, Options};
use crate::request::{Answer, Request};
use crate::tables::{CACHE, CACHE_BLOCKS, CACHE_CHANGES, CACHE_DIGESTS, CACHE_ENDS};

struct Node {
    database: Database,
    writer: Writer,
    now: u64,
}

fn key(text: &str) -> CacheKey {
    CacheKey::parse(text).unwrap()
}

fn origin(name: &str) -> Origin {
    Origin { node: NodeName::parse(name).unwrap(), incarnation: 1 }
}

fn set(name: &str, value: &str, ttl: u64) -> CacheChange {
    let content = Content::json(value);
    let command = CacheCommand::Set { content, lifetime: Lifetime::For(Millis(ttl)) };
    change(name, command)
}

fn change(name: &str, command: CacheCommand) -> CacheChange {
    let scope = CacheScope::Shared;
    CacheChange { scope, key: key(name), command, when: When::Always, wants_value: false, is_relaxed: false }
}

impl Node {
    fn new(name: &str) -> Self {
        Self::with(name, Options::default())
    }

    fn with(name: &str, options: Options) -> Self {
        let files = (InMemoryBackend::new(), InMemoryBackend::new());
        Self::of(Database::open("shop", files.0, files.1, origin(name), 7, options).unwrap())
    }

    /// On the files of a directory, as an earlier one has left them.
    fn on(name: &str, directory: &std::path::Path) -> Self {
        let file = |file: &str| {
            let options = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).to_owned();
            FileBackend::new(options.open(directory.join(file)).unwrap()).unwrap()
        };
        Self::of(Database::open("shop", file("log"), file("data"), origin(name), 7, Options::default()).unwrap())
    }

    fn of(opened: Opened) -> Self {
        Self { database: opened.database, writer: opened.writer, now: 1_000 }
    }

    fn commit(&mut self, request: Request) -> Answer {
        let mut moment = Moment { now: Millis(self.now), random: &mut || 7 };
        self.writer.commit(&mut moment, vec![request]).unwrap().pop().unwrap()
    }

    fn act(&mut self, change: CacheChange) -> Result<CacheOutcome, CacheRefusal> {
        match self.commit(Request::Cache(vec![change])) {
            Answer::Cache(mut results) => results.pop().unwrap(),
            answer => panic!("{answer:?}"),
        }
    }

    fn shown(&self, name: &str) -> Option<String> {
        let view = self.database.view().unwrap();
        let shown = view.cache_entry(CacheScope::Shared, &key(name), Millis(self.now)).unwrap()?;
        Some(String::from_utf8(shown.content.bytes.clone()).unwrap())
    }

    /// Takes what changed at another since it was last asked. Answers how many keys came.
    fn pull(&mut self, other: &Self) -> usize {
        let here = self.database.view().unwrap();
        let peer = other.writer.origin().node.clone();
        let checkpoint = here.cache_checkpoint(&peer).unwrap();
        let vector = here.cache_state().unwrap().vector;
        let feed = other.database.view().unwrap();
        let feed = feed.cache_changes(checkpoint.reach.all, &vector, 100, usize::MAX).unwrap();
        let came = feed.states.len();
        let stretch = CacheStretch { after: checkpoint.reach.all, through: feed.through, is_own: false };
        let stretch = Some(stretch);
        let (vector, states, based_on) = (feed.vector, feed.states, vector);
        let message = CacheMessage { source: peer, log_id: 1, stretch, based_on, vector, digest: None, states };
        self.commit(Request::TakeCacheNews(message));
        came
    }

    fn rows(&self) -> [u64; 4] {
        let read = self.database.data().begin_read().unwrap();
        [
            read.open_table(CACHE).unwrap().len().unwrap(),
            read.open_table(CACHE_CHANGES).unwrap().len().unwrap(),
            read.open_table(CACHE_ENDS).unwrap().len().unwrap(),
            read.open_table(CACHE_DIGESTS).unwrap().len().unwrap(),
        ]
    }
}

#[test]
fn whoever_is_written_again_is_looked_at_once_and_ends_at_its_own_time() {
    let mut node = Node::new("a");
    node.act(set("longer", "1", 100)).unwrap();
    node.act(set("shorter", "1", 100)).unwrap();
    for later in 0..50 {
        node.now = 1_000 + later;
        node.act(set("longer", "2", 100)).unwrap();
    }
    node.act(set("shorter", "2", 10)).unwrap();
    assert_eq!(node.rows()[2], 2, "one row for each, however often it is written");
    let mut sweep = |now| {
        node.now = now;
        let swept = node.writer.sweep_cache(Millis(now), 5).unwrap();
        (swept.keys, node.rows()[2], node.shown("longer").is_some(), node.shown("shorter").is_some())
    };
    assert_eq!(sweep(1_058), (0, 2, true, true));
    assert_eq!(
        sweep(1_059).0,
        1,
        "the value of the shorter one, which hides what it overwrote until that would have ended"
    );
    assert_eq!(sweep(1_100), (1, 1, true, false));
    assert_eq!(sweep(1_148), (0, 1, true, false));
    assert_eq!(sweep(1_149), (1, 0, false, false));
}

#[test]
fn what_has_ended_is_invisible_at_once_and_gone_after_a_sweep() {
    let mut node = Node::new("a");
    for number in 0..20 {
        node.act(set(&format!("k{number}"), "1", 100 + number)).unwrap();
    }
    node.act(set("long", "1", 1_000_000)).unwrap();
    node.now += 110;
    assert_eq!((node.shown("k9"), node.shown("k11")), (None, Some("1".to_owned())));
    let swept = node.writer.sweep_cache(Millis(node.now), 5).unwrap();
    assert_eq!((swept.keys, swept.has_more), (5, true));
    assert!(!node.writer.sweep_cache(Millis(node.now), 100).unwrap().has_more);
    node.now += 100;
    node.writer.sweep_cache(Millis(node.now), 100).unwrap();
    assert_eq!(node.rows(), [1, 1, 1, 1]);
    assert_eq!(node.writer.cache_state().keys, 1);
    node.act(change("long", CacheCommand::Delete)).unwrap();
    node.now += 1_000_000;
    node.writer.sweep_cache(Millis(node.now), 100).unwrap();
    assert_eq!(node.rows(), [0, 0, 0, 0]);
    assert_eq!((node.writer.cache_state().keys, node.writer.cache_state().bytes), (0, 0));
}

#[test]
fn a_peer_gets_the_newest_of_each_key_once_and_nothing_that_it_knows() {
    let (mut a, mut b, mut c) = (Node::new("a"), Node::new("b"), Node::new("c"));
    for number in 0..50 {
        a.act(set("hot", &number.to_string(), 10_000)).unwrap();
    }
    a.act(set("cold", "1", 10_000)).unwrap();
    assert_eq!(b.pull(&a), 2, "what was overwritten travelled");
    assert_eq!(b.shown("hot").as_deref(), Some("49"));
    assert_eq!(b.pull(&a), 0);
    assert_eq!(a.pull(&b), 0, "it was sent back to its author");
    assert_eq!((c.pull(&b), c.pull(&a)), (2, 0), "the third got it twice");
    b.act(set("cold", "2", 10_000)).unwrap();
    assert_eq!((a.pull(&b), c.pull(&a)), (1, 1));
    let digest = |node: &Node| node.database.view().unwrap().cache_digest(Millis(0)).unwrap();
    assert_eq!((a.pull(&c), b.pull(&a)), (0, 0));
    assert_eq!((digest(&a), digest(&a)), (digest(&b), digest(&c)));
    assert_eq!(a.writer.cache_state().vector, b.writer.cache_state().vector);
}

#[test]
fn what_keys_left_behind_is_hidden_from_peers_bounded_and_gone_after_a_sweep() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Node::on("a", directory.path());
    let mut node = open();
    let overwrite = |node: &mut Node, writes: u64| {
        for batch in 0..writes / 100 {
            let changes = (0..100).map(|number| set(&format!("k{}", number % 10), &batch.to_string(), 100_000));
            node.commit(Request::Cache(changes.collect()));
        }
    };
    // One page looks at so many rows; the next goes on.
    let pulled = |peer: &mut Node, node: &Node| (0..30).map(|_| peer.pull(node)).sum::<usize>();
    overwrite(&mut node, 3_000);
    assert_eq!(node.rows()[..3], [10, 3_000, 10], "a row was taken out for every write");
    let mut peer = Node::new("b");
    assert_eq!(pulled(&mut peer, &node), 10, "what was overwritten travelled");
    overwrite(&mut node, 30_000);
    assert!(node.rows()[1] <= 10 + 4_096 + 1_024, "{:?}", node.rows());
    assert_eq!(pulled(&mut peer, &node), 10);
    // What this process knew of them is lost with it.
    node.writer.settle().unwrap();
    drop(node);
    let mut node = open();
    assert!(node.rows()[1] > 3_000, "{:?}", node.rows());
    assert_eq!(pulled(&mut peer, &node), 0);
    let mut steps = 0;
    while node.writer.sweep_cache(Millis(node.now), 100).unwrap().has_more {
        steps += 1;
        assert!(steps < 10, "it never ends");
    }
    assert_eq!(node.rows()[..3], [10, 10, 10]);
    overwrite(&mut node, 2_000);
    node.writer.sweep_cache(Millis(node.now), 100).unwrap();
    assert_eq!(node.rows()[..3], [10, 10, 10]);
    assert_eq!(pulled(&mut peer, &node), 10);
}

fn touch(name: &str, ttl: u64) -> CacheChange {
    change(name, CacheCommand::Touch { lifetime: Millis(ttl) })
}

#[test]
fn a_touch_is_logged_without_the_value_and_is_there_after_opening_again() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [mut node, mut peer] =
        [("a", &directories[0]), ("b", &directories[1])].map(|(name, at)| Node::on(name, at.path()));
    let logged = |node: &Node| {
        let log = node.database.log_file().begin_read().unwrap();
        let blocks = log.open_table(CACHE_BLOCKS).unwrap();
        redb::ReadableTable::iter(&blocks).unwrap().map(|row| row.unwrap().1.value().len()).sum::<usize>()
    };
    node.act(set("session", &format!("\"{}\"", "x".repeat(100_000)), 500)).unwrap();
    peer.pull(&node);
    let before = [logged(&node), logged(&peer)];
    for later in 1..=100 {
        node.now = 1_000 + later;
        peer.now = node.now;
        node.act(touch("session", 5_000)).unwrap();
        peer.pull(&node);
    }
    peer.writer.sync_cache().unwrap();
    let after = [logged(&node), logged(&peer)];
    assert!(after[0] - before[0] < 100 * 200, "the value was written again: {before:?}, {after:?}");
    assert!(after[1] < 100_500 + 100 * 200, "the value was written again: {before:?}, {after:?}");
    assert_eq!(node.rows()[2], 1, "a row for every touch");
    // From the log alone, in the order in which it happened.
    let stands =
        |node: &Node| (node.writer.cache_state().clone(), node.database.view().unwrap().cache_digest(Millis(0)));
    for (name, directory, node) in [("a", &directories[0], node), ("b", &directories[1], peer)] {
        let (state, digest) = stands(&node);
        drop(node);
        let mut again = Node::on(name, directory.path());
        let (found, found_digest) = stands(&again);
        assert_eq!((found.position, found.keys, found.bytes), (state.position, state.keys, state.bytes));
        assert_eq!(found_digest.unwrap(), digest.unwrap());
        for (now, is_shown) in [(6_099, true), (6_100, false)] {
            again.now = now;
            assert_eq!(again.shown("session").is_some(), is_shown, "{name} at {now}");
        }
        // What touched a value that is lost with the data file stands for nothing.
        again.writer.settle().unwrap();
        again.now = 2_000;
        again.act(touch("session", 9_000)).unwrap();
        drop(again);
        std::fs::remove_file(directory.path().join("data")).unwrap();
        let mut anew = Node::on(name, directory.path());
        anew.now = 2_001;
        assert_eq!((anew.shown("session"), anew.writer.cache_state().keys), (None, 0));
    }
}

#[test]
fn a_touch_takes_few_bytes_of_a_record_however_often_it_is_repeated() {
    let mut node = Node::new("a");
    node.now = 1_800_000_000_000;
    node.act(set("session", "1", 300_000)).unwrap();
    let before = node.writer.cache_state().bytes;
    for later in 0..50 {
        node.now += later;
        node.act(touch("session", 300_000)).unwrap();
    }
    let after = node.writer.cache_state().bytes;
    assert!(after - before < 40, "{before} bytes, and {after} with a touch");
}

#[test]
fn what_a_touch_keeps_is_told_to_those_who_have_let_go_of_it() {
    let (mut a, mut b, mut c) = (Node::new("a"), Node::new("b"), Node::new("c"));
    let add = CacheCommand::Add { amount: Amount::from_billionths(1_000_000_000), lifetime: Millis(500) };
    a.act(change("n", add.clone())).unwrap();
    b.pull(&a);
    b.act(change("n", add)).unwrap();
    c.pull(&b);
    a.act(touch("n", 5_000)).unwrap();
    c.pull(&a);
    // b has not heard of the touch when the end comes that it knows.
    (a.now, b.now, c.now) = (1_600, 1_600, 1_600);
    b.writer.sweep_cache(Millis(1_600), 10).unwrap();
    b.pull(&a);
    assert_eq!((b.shown("n").as_deref(), c.shown("n").as_deref()), (Some("1"), Some("2")));
    assert_eq!((b.pull(&c), b.pull(&c)), (1, 0));
    a.pull(&b);
    assert_eq!([&a, &b, &c].map(|node| node.shown("n")), [(); 3].map(|()| Some("2".to_owned())));
    let digest = |node: &Node| node.database.view().unwrap().cache_digest(Millis(0)).unwrap();
    assert_eq!((digest(&a), digest(&a)), (digest(&b), digest(&c)));
}

#[test]
fn counts_of_two_nodes_add_up_and_writes_that_met_end_alike() {
    let (mut a, mut b) = (Node::new("a"), Node::new("b"));
    let add = |amount: i128| CacheCommand::Add {
        amount: Amount::from_billionths(amount * 1_000_000_000),
        lifetime: Millis(500),
    };
    for _ in 0..10 {
        a.act(change("n", add(1))).unwrap();
        b.act(change("n", add(2))).unwrap();
    }
    a.act(set("s", "\"a\"", 500)).unwrap();
    b.act(set("s", "\"b\"", 500)).unwrap();
    a.pull(&b);
    b.pull(&a);
    assert_eq!((a.shown("n").as_deref(), b.shown("n").as_deref()), (Some("30"), Some("30")));
    assert_eq!(a.shown("s"), b.shown("s"));
}

#[test]
fn entries_of_this_node_alone_do_not_leave_it() {
    let (mut a, mut b) = (Node::new("a"), Node::new("b"));
    a.act(CacheChange { scope: CacheScope::Local, ..set("k", "1", 500) }).unwrap();
    a.act(set("k", "2", 500)).unwrap();
    assert_eq!(b.pull(&a), 1);
    assert_eq!(b.shown("k").as_deref(), Some("2"));
    let local = a.database.view().unwrap().cache_entry(CacheScope::Local, &key("k"), Millis(a.now)).unwrap();
    assert_eq!(local.unwrap().content.bytes, b"1");
}

#[test]
fn keys_are_listed_by_prefix_page_by_page() {
    let mut node = Node::new("a");
    for number in 0..25 {
        node.act(set(&format!("cart:{number:02}"), "1", 500)).unwrap();
    }
    node.act(set("user:1", "1", 500)).unwrap();
    node.act(set("cart:10", "1", 1)).unwrap();
    node.now += 10;
    let view = node.database.view().unwrap();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = view.cache_page(CacheScope::Shared, "cart:", after.as_ref(), 7, None, Millis(node.now)).unwrap();
        found.extend(page.entries.into_iter().map(|entry| entry.key.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found.len(), 24);
    assert!(!found.contains(&"cart:10".to_owned()) && found.is_sorted());
}

#[test]
fn what_was_synced_is_there_after_opening_again_and_the_log_stays_short() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Node::on("a", directory.path());
    let mut node = open();
    let blocks = |node: &Node| {
        let log = node.database.log_file().begin_read().unwrap();
        log.open_table(CACHE_BLOCKS).unwrap().len().unwrap()
    };
    for number in 0..100 {
        node.act(set(&format!("k{}", number % 10), &number.to_string(), 100_000)).unwrap();
    }
    assert_eq!(blocks(&node), 100);
    node.writer.settle().unwrap();
    assert_eq!(blocks(&node), 0, "the log keeps what the data has synced");
    node.act(set("k1", "\"new\"", 100_000)).unwrap();
    node.act(CacheChange { scope: CacheScope::Local, ..set("here", "7", 100_000) }).unwrap();
    let before = node.writer.cache_state().clone();
    drop(node);
    let mut again = open();
    assert_eq!(again.writer.cache_state(), &before);
    assert_eq!(again.shown("k1").as_deref(), Some("\"new\""));
    assert_eq!(again.shown("k2").as_deref(), Some("92"));
    again.act(set("k2", "1", 100)).unwrap();
    assert_eq!(again.writer.cache_state().position, Position(before.position.0 + 1));
    // A data file that is lost and made anew gives out no name a second time.
    again.writer.settle().unwrap();
    let before = again.writer.cache_state().clone();
    drop(again);
    std::fs::remove_file(directory.path().join("data")).unwrap();
    let anew = open();
    assert_eq!(anew.writer.cache_state().position, before.position);
    assert_eq!(anew.writer.cache_state().vector, before.vector);
    assert_eq!(anew.shown("k1"), None);
}

#[test]
fn what_nobody_waits_for_is_shown_at_once_and_synced_with_the_next_that_somebody_does() {
    let mut node = Node::new("a");
    node.act(CacheChange { is_relaxed: true, ..set("k", "1", 10_000) }).unwrap();
    assert_eq!(node.shown("k").as_deref(), Some("1"));
    assert!(node.writer.has_unsynced_cache());
    assert!(!node.writer.is_cache_sync_due(Millis(node.now + 100)));
    assert!(node.writer.is_cache_sync_due(Millis(node.now + 500)));
    node.act(set("other", "1", 10_000)).unwrap();
    assert!(!node.writer.has_unsynced_cache());
    node.act(CacheChange { is_relaxed: true, ..set("k", "2", 10_000) }).unwrap();
    node.writer.make_data_durable().unwrap();
    assert!(!node.writer.has_unsynced_cache(), "the data ran ahead of the log");
}

#[test]
fn a_full_cache_refuses_and_deleting_makes_room() {
    let mut node = Node::with("a", Options { cache_bytes_max: Some(1_000), ..Options::default() });
    let value = format!("\"{}\"", "x".repeat(400));
    node.act(set("a", &value, 100)).unwrap();
    node.act(set("b", &value, 100)).unwrap();
    assert!(matches!(node.act(set("c", &value, 100)), Err(CacheRefusal::Full { limit: 1_000, .. })));
    node.act(change("a", CacheCommand::Delete)).unwrap();
    node.act(set("c", "1", 100)).unwrap();
    node.now += 200;
    node.writer.sweep_cache(Millis(node.now), 100).unwrap();
    node.act(set("c", &value, 100)).unwrap();
}

#[test]
fn a_full_cache_takes_what_does_not_make_it_larger() {
    let mut node = Node::with("a", Options { cache_bytes_max: Some(2_000), ..Options::default() });
    let value = |length: usize| format!("\"{}\"", "x".repeat(length));
    let add =
        |key: &str| change(key, CacheCommand::Add { amount: Amount::parse("1").unwrap(), lifetime: Millis(10_000) });
    node.act(set("k", &value(700), 10_000)).unwrap();
    node.act(set("n", "1", 10_000)).unwrap();
    // What a peer brings is taken, and more than fits is here then.
    let mut peer = Node::new("b");
    peer.act(set("theirs", &value(3_000), 10_000)).unwrap();
    node.pull(&peer);
    assert!(node.writer.cache_state().bytes > 2_000 && node.writer.is_cache_full());
    for small in [700, 699, 10] {
        node.act(set("k", &value(small), 10_000)).unwrap();
    }
    for _ in 0..300 {
        node.act(add("n")).unwrap();
    }
    for larger in [set("k", &value(11), 10_000), set("new", "1", 10_000), add("other")] {
        assert!(matches!(node.act(larger), Err(CacheRefusal::Full { limit: 2_000, .. })));
    }
    // What a condition refuses is told as that, however full it is.
    let guarded = CacheChange { when: When::Absent, ..set("k", &value(900), 10_000) };
    assert!(matches!(node.act(guarded), Err(CacheRefusal::Present { .. })));
    node.act(change("theirs", CacheCommand::Delete)).unwrap();
    assert!(!node.writer.is_cache_full());
    node.act(set("k", &value(700), 10_000)).unwrap();
}

#[test]
fn a_state_that_is_known_already_changes_nothing() {
    let (mut a, mut b) = (Node::new("a"), Node::new("b"));
    a.act(set("k", "1", 500)).unwrap();
    let feed = a.database.view().unwrap().cache_changes(Position::START, &Vector::new(), 10, 1_000).unwrap();
    let news = |states: Vec<(CacheKey, KeyState)>| CacheMessage {
        source: origin("a").node,
        log_id: 1,
        stretch: None,
        based_on: Vector::new(),
        vector: None,
        digest: None,
        states,
    };
    let taken = |answer| if let Answer::CacheNewsTaken(taken) = answer { taken.changed } else { panic!() };
    assert_eq!(taken(b.commit(Request::TakeCacheNews(news(feed.states.clone())))), 1);
    assert_eq!(taken(b.commit(Request::TakeCacheNews(news(feed.states.clone())))), 0);
    assert_eq!(b.writer.cache_state().vector, Vector::new(), "knowledge was adopted that nobody stated");
    // What has ended on the way is not kept.
    b.now += 600;
    let mut late = Node::new("c");
    late.now = b.now;
    assert_eq!(taken(late.commit(Request::TakeCacheNews(news(feed.states.clone())))), 0);
    assert_eq!(late.rows()[0], 0);
}

#[test]
fn nothing_is_claimed_that_rests_on_what_was_lost_here() {
    let (mut a, mut b) = (Node::new("a"), Node::new("b"));
    a.act(set("k", "1", 500)).unwrap();
    let vector = a.writer.cache_state().vector.clone();
    // Somebody believes that this node knows the write already, as it did before its files were set back.
    let message = CacheMessage {
        source: origin("a").node,
        log_id: 1,
        stretch: Some(CacheStretch { after: Position(0), through: Position(5), is_own: false }),
        based_on: vector.clone(),
        vector: Some(vector),
        digest: None,
        states: Vec::new(),
    };
    let Answer::CacheNewsTaken(taken) = b.commit(Request::TakeCacheNews(message)) else { panic!() };
    assert_eq!((taken.vector, taken.reach), (Vector::new(), CacheReach::default()));
    assert_eq!(b.pull(&a), 1);
}
