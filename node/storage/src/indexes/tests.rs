//! Indexes follow their documents through everything that changes one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use holdfast_core::collation::{Case, encode};
use holdfast_core::conflict::settle::Settlement;
use holdfast_core::error::Refusal;
use holdfast_core::id::{CollectionName, DocumentId, NodeName};
use holdfast_core::index::INDEXES_COLLECTION;
use holdfast_core::index::definition::{IndexDefinition, IndexName};
use holdfast_core::index::keys::KeyReader;
use holdfast_core::index::path::IndexPath;
use holdfast_core::index::range::KeyRange;
use holdfast_core::vector::Origin;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop};
use proptest::test_runner::RngSeed;
use proptest::{prop_oneof, proptest};
use redb::backends::{FileBackend, InMemoryBackend};
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata};
use serde_json::{Value, json};

use crate::conflicts::Selection;
use crate::database::tests::{Node, change, patch, put};
use crate::database::{Database, Options};
use crate::indexes::{IndexLimit, IndexState, IndexStep};
use crate::integrity::verify;
use crate::record::conflict::{Conflict, Standing};
use crate::record::index::IndexStanding;
use crate::request::{Action, Answer, Change, Request};
use crate::scan::Direction;
use crate::tables::{INDEX_ENTRIES, INDEXES};

const SMALL: IndexLimit = IndexLimit { documents: 3, entries: 2 };

fn orders() -> CollectionName {
    CollectionName::parse("orders").unwrap()
}

fn definition(name: &str, paths: &[&str], is_unique: bool) -> IndexDefinition {
    IndexDefinition {
        name: IndexName::parse(name).unwrap(),
        collection: orders(),
        paths: paths.iter().map(|path| IndexPath::parse(path).unwrap()).collect(),
        is_unique,
        is_case_insensitive: false,
    }
}

impl Node {
    fn define(&mut self, definition: IndexDefinition) -> Result<bool, Refusal> {
        match self.commit(vec![Request::DefineIndex(definition)]).pop() {
            Some(Answer::Index(result)) => result.map(|written| written.is_some()),
            other => panic!("{other:?}"),
        }
    }

    fn drop_index(&mut self, name: &str) -> Result<bool, Refusal> {
        match self.commit(vec![Request::DropIndex(IndexName::parse(name).unwrap())]).pop() {
            Some(Answer::Index(result)) => result.map(|written| written.is_some()),
            other => panic!("{other:?}"),
        }
    }

    fn work_all(&mut self) {
        while self.work(SMALL).has_more {}
    }

    fn index(&self, name: &str) -> Option<Arc<IndexState>> {
        let indexes = self.database.view().unwrap().indexes().unwrap();
        indexes.iter().find(|index| index.name == name).cloned()
    }

    /// The ids that a scan of a stretch gives, in its order.
    fn ids(&self, name: &str, range: &KeyRange, direction: Direction) -> Vec<String> {
        let view = self.database.view().unwrap();
        let mut scan = view.index_scan(&self.index(name).unwrap(), range, direction, None).unwrap();
        let mut ids = Vec::new();
        while let Some(entry) = scan.next_entry().unwrap() {
            ids.push(entry.id().unwrap().to_owned());
        }
        ids
    }

    fn ids_with(&self, name: &str, value: &Value) -> Vec<String> {
        self.ids(name, &KeyRange::of(&encoded(value)), Direction::Forward)
    }

    fn violations(&self, is_settled: bool) -> Vec<Conflict> {
        let selection = Selection { is_settled, ..Selection::default() };
        let page = self.database.view().unwrap().conflicts(&selection, None, 100).unwrap();
        page.conflicts.into_iter().filter(|conflict| conflict.violation.is_some()).collect()
    }

    /// Every index that is ready has exactly the entries that its documents make; the others have none but those.
    fn assert_indexes_hold(&self) {
        let view = self.database.view().unwrap();
        let shown = view.page(&orders(), None, 0, usize::MAX).unwrap().documents;
        for index in view.indexes().unwrap().iter() {
            let Some(definition) = &index.definition else { continue };
            let reader = KeyReader::new(definition);
            let mut expected = BTreeSet::new();
            for (id, document) in &shown {
                for key in reader.keys(document.text.as_ref().unwrap()) {
                    expected.insert((key.bytes, key.marks, id.as_str().to_owned()));
                }
            }
            let mut scan = view.index_scan(index, &KeyRange::all(), Direction::Forward, None).unwrap();
            let mut actual = BTreeSet::new();
            while let Some(entry) = scan.next_entry().unwrap() {
                actual.insert((entry.key().to_vec(), entry.marks(), entry.id().unwrap().to_owned()));
            }
            if index.is_ready() {
                assert_eq!(actual, expected, "{}", index.name);
            }
            assert!(actual.is_subset(&expected), "{} has entries that no document has", index.name);
            let count = |is: fn(&holdfast_core::index::keys::Marks) -> bool| {
                actual.iter().filter(|(_, marks, _)| is(marks)).count() as u64
            };
            let counts = (index.counts.entries, index.counts.inexact, index.counts.spread);
            assert_eq!(counts, (count(|_| true), count(|it| it.is_inexact), count(|it| it.is_spread)));
            self.assert_violations_are_on_record(definition, &actual, index.is_ready());
        }
    }

    fn assert_violations_are_on_record(
        &self,
        definition: &IndexDefinition,
        entries: &BTreeSet<(Vec<u8>, holdfast_core::index::keys::Marks, String)>,
        is_ready: bool,
    ) {
        if !definition.is_unique || !is_ready {
            return;
        }
        let reader = KeyReader::new(definition);
        let mut documents: BTreeMap<&[u8], BTreeSet<&str>> = BTreeMap::new();
        for (key, _, id) in entries {
            let view = self.database.view().unwrap();
            let document = view.document(&orders(), &DocumentId::parse(id).unwrap()).unwrap().unwrap();
            let has_gap = reader.keys(&document.text.unwrap()).iter().any(|one| one.bytes == *key && one.has_gap);
            if !has_gap {
                documents.entry(key).or_default().insert(id);
            }
        }
        let expected: BTreeSet<Vec<&str>> =
            documents.into_values().filter(|ids| ids.len() > 1).map(|ids| ids.into_iter().collect()).collect();
        let open = self.violations(false);
        let of_index =
            open.iter().filter_map(|one| one.violation.as_ref()).filter(|it| it.index == definition.name.as_str());
        let listed: BTreeSet<Vec<&str>> =
            of_index.map(|it| it.documents.iter().map(DocumentId::as_str).collect()).collect();
        assert_eq!(listed, expected, "violations of {}", definition.name);
    }
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(value, Case::Exact, &mut bytes);
    bytes
}

#[test]
fn an_index_is_built_over_what_is_there_while_writes_go_on() {
    let mut node = Node::new("a");
    for n in 0..40 {
        node.write(put(&format!("{n:02}"), json!({"n": n % 7}))).unwrap();
    }
    assert_eq!(node.define(definition("by_n", &["$.n"], false)), Ok(true));
    assert_eq!(node.define(definition("by_n", &["$.n"], false)), Ok(false), "the same again changes nothing");
    let mut steps = 0;
    while node.work(SMALL).has_more {
        steps += 1;
        node.assert_indexes_hold();
        // Before and behind the place where building is; changed, deleted, new.
        node.write(put(&format!("{:02}", steps % 40), json!({"n": 100 + steps}))).unwrap();
        drop(node.write(change(&format!("{:02}", (steps * 7) % 40), Action::Delete)));
        node.write(put(&format!("new{steps}"), json!({"n": 3}))).unwrap();
        node.assert_indexes_hold();
    }
    assert!(steps > 10, "it was built in {steps} steps, too few to tell");
    assert!(node.index("by_n").unwrap().is_ready());
    node.assert_indexes_hold();
    node.assert_sound();
}

#[test]
fn building_that_a_crash_cut_off_goes_on_with_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let open = |log: &str, data: &str| {
        let file = |name: &str| {
            let path = directory.path().join(name);
            let file = std::fs::File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
            FileBackend::new(file).unwrap()
        };
        let origin = Origin { node: NodeName::parse("a").unwrap(), incarnation: 1 };
        Node::with(Database::open("shop", file(log), file(data), origin, 7, Options::default()).unwrap())
    };
    let mut node = open("log", "data");
    for n in 0..60 {
        node.write(put(&format!("{n:02}"), json!({"n": n % 7}))).unwrap();
    }
    node.define(definition("by_n", &["$.n"], false)).unwrap();
    while node.index("by_n").unwrap().counts.entries < 20 {
        node.work(SMALL);
    }
    node.settle_files();
    for name in ["log", "data"] {
        std::fs::copy(directory.path().join(name), directory.path().join(format!("{name}-then"))).unwrap();
    }
    drop(node);
    let mut node = open("log-then", "data-then");
    assert!(!node.index("by_n").unwrap().is_ready() && node.index("by_n").unwrap().counts.entries >= 20);
    for n in 0..30 {
        drop(node.write(change(&format!("{:02}", n * 2), Action::Delete)));
        node.write(put(&format!("{:02}", n * 2 + 1), json!({"n": 100 + n}))).unwrap();
        node.assert_indexes_hold();
        node.work(SMALL);
    }
    node.work_all();
    assert!(node.index("by_n").unwrap().is_ready());
    node.assert_indexes_hold();
    node.assert_sound();
}

#[test]
fn a_file_that_was_written_to_without_its_indexes_has_them_built_anew() {
    let mut node = Node::new("a");
    node.define(definition("by_n", &["$.n"], false)).unwrap();
    node.write(put("1", json!({"n": 1}))).unwrap();
    node.work_all();
    let number = node.index("by_n").unwrap().number;
    // As a node leaves it that knows nothing of indexes: the documents reflect more of the log than the indexes do.
    let transaction = node.database.data().begin_write().unwrap();
    let reflected = crate::record::index::encode_reflected(holdfast_core::vector::Position(1));
    transaction.open_table(INDEXES).unwrap().insert(0, reflected.as_slice()).unwrap();
    transaction.commit().unwrap();
    super::maintain::open_tables(node.database.data(), &node.database.origins().snapshot()).unwrap();
    let index = node.index("by_n").unwrap();
    assert!(!index.is_ready() && index.number != number && index.counts.entries == 0);
}

#[test]
fn entries_that_are_not_what_the_documents_say_are_found() {
    let mut node = Node::new("a");
    node.define(definition("by_n", &["$.n"], false)).unwrap();
    node.write(put("1", json!({"n": 1}))).unwrap();
    node.work_all();
    node.assert_sound();
    let transaction = node.database.data().begin_write().unwrap();
    {
        let mut table = transaction.open_table(INDEX_ENTRIES).unwrap();
        let row = table.first().unwrap().unwrap().0.value().to_vec();
        table.remove(row.as_slice()).unwrap();
        table.insert([&row[..row.len() - 1], b"2"].concat().as_slice(), 2).unwrap();
    }
    transaction.commit().unwrap();
    let findings = verify(&node.database, InMemoryBackend::new()).unwrap().findings;
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings[0].contains("lacks 1 entries") && findings[1].contains("1 entries that no document has"));
}

#[test]
fn a_dropped_index_goes_with_its_entries_and_its_name_is_free() {
    let mut node = Node::new("a");
    for n in 0..10 {
        node.write(put(&n.to_string(), json!({"n": n}))).unwrap();
    }
    node.define(definition("by_n", &["$.n"], false)).unwrap();
    node.work_all();
    let other = node.define(definition("by_n", &["$.m"], false));
    assert!(matches!(other, Err(Refusal::IndexExists { .. })), "{other:?}");
    assert_eq!(node.drop_index("by_n"), Ok(true));
    assert!(node.index("by_n").is_none());
    assert!(matches!(node.drop_index("by_n"), Err(Refusal::NotFound { .. })));
    node.define(definition("by_n", &["$.m"], false)).unwrap();
    node.work_all();
    node.assert_indexes_hold();
    assert_eq!(node.ids_with("by_n", &json!(3)), Vec::<String>::new());
    node.drop_index("by_n").unwrap();
    node.work_all();
    let transaction = node.database.data().begin_read().unwrap();
    assert_eq!(transaction.open_table(INDEX_ENTRIES).unwrap().len().unwrap(), 0);
    assert_eq!(transaction.open_table(INDEXES).unwrap().iter().unwrap().count(), 1, "what they reflect is left");
    node.assert_sound();
}

#[test]
fn a_stretch_is_read_from_either_end_and_gone_on_with() {
    let mut node = Node::new("a");
    node.define(definition("by_n", &["$.n"], false)).unwrap();
    for n in 0..20 {
        node.write(put(&format!("{n:02}"), json!({"n": n / 2}))).unwrap();
    }
    node.write(put("nothing", json!({}))).unwrap();
    node.write(put("text", json!({"n": "5"}))).unwrap();
    node.work_all();
    let (low, high) = (encoded(&json!(3)), encoded(&json!(5)));
    let range = KeyRange::between(&[], Bound::Excluded(&low), Bound::Included(&high));
    assert_eq!(node.ids("by_n", &range, Direction::Forward), ["08", "09", "10", "11"]);
    assert_eq!(node.ids("by_n", &range, Direction::Backward), ["11", "10", "09", "08"]);
    assert_eq!(node.ids_with("by_n", &json!(5.0)), ["10", "11"]);
    let (view, index) = (node.database.view().unwrap(), node.index("by_n").unwrap());
    assert_eq!(view.index_count(&index, &KeyRange::all(), u64::MAX).unwrap(), 22);
    assert_eq!(view.index_count(&index, &KeyRange::all(), 5).unwrap(), 5);
    for direction in [Direction::Forward, Direction::Backward] {
        let (mut ids, mut cursor) = (Vec::new(), None::<Vec<u8>>);
        loop {
            let mut scan = view.index_scan(&index, &range, direction, cursor.as_deref()).unwrap();
            let Some(entry) = scan.next_entry().unwrap() else { break };
            ids.push(entry.id().unwrap().to_owned());
            cursor = Some(entry.cursor().to_vec());
        }
        assert_eq!(ids, node.ids("by_n", &range, direction));
    }
    let backwards = KeyRange::between(&[], Bound::Included(&high), Bound::Included(&low));
    assert_eq!(node.ids("by_n", &backwards, Direction::Forward), Vec::<String>::new());
}

#[test]
fn a_document_with_too_many_values_is_part_of_every_answer() {
    let mut node = Node::new("a");
    node.define(definition("by_tag", &["$.tags"], false)).unwrap();
    node.write(put("few", json!({"tags": ["x", "y"]}))).unwrap();
    node.write(put("many", json!({"tags": (0..2_000).collect::<Vec<_>>()}))).unwrap();
    node.work_all();
    assert_eq!(node.ids_with("by_tag", &json!("x")), ["few", "many"]);
    assert_eq!(node.ids("by_tag", &KeyRange::of(&encoded(&json!(1_500))), Direction::Backward), ["many"]);
    assert!(!node.index("by_tag").unwrap().is_plain());
    node.write(put("many", json!({"tags": []}))).unwrap();
    assert_eq!(node.ids_with("by_tag", &json!("x")), ["few"]);
    node.assert_indexes_hold();
}

#[test]
fn a_second_document_with_a_unique_value_is_refused() {
    let mut node = Node::new("a");
    node.define(definition("mail", &["$.mail"], true)).unwrap();
    node.work_all();
    node.write(put("1", json!({"mail": "a@x"}))).unwrap();
    let refused = node.write(put("2", json!({"mail": "a@x"})));
    assert!(
        matches!(&refused, Err(Refusal::NotUnique { other, index, .. }) if other == "1" && index == "mail"),
        "{refused:?}"
    );
    node.write(put("1", json!({"mail": "a@x", "n": 1}))).unwrap();
    for none in ["3", "4"] {
        node.write(put(none, json!({"mail": null}))).unwrap();
    }
    let together = |changes| Request::Together(changes);
    let swap = vec![put("1", json!({"mail": "b@x"})), put("2", json!({"mail": "a@x"}))];
    assert!(matches!(node.commit(vec![together(swap)]).pop(), Some(Answer::Together(Ok(_)))), "judged together");
    let twins = vec![put("5", json!({"mail": "c@x"})), put("6", json!({"mail": "c@x"}))];
    let Some(Answer::Together(Err((1, Refusal::NotUnique { other, .. })))) = node.commit(vec![together(twins)]).pop()
    else {
        panic!("twins in one transaction were taken");
    };
    assert_eq!(other, "5");
    let patched = node.write(patch("3", json!({"mail": "b@x"}), None));
    assert!(matches!(patched, Err(Refusal::NotUnique { .. })));
    node.write(change("1", Action::Delete)).unwrap();
    node.write(patch("3", json!({"mail": "b@x"}), None)).unwrap();
    node.assert_indexes_hold();
    assert_eq!(node.violations(false), []);
    node.assert_sound();
}

#[test]
fn the_same_unique_value_from_two_nodes_is_a_conflict_until_one_of_them_changes() {
    let (mut a, mut b) = (Node::new("a"), Node::new("b"));
    a.define(definition("mail", &["$.mail"], true)).unwrap();
    a.push_to(&mut b);
    a.work_all();
    b.work_all();
    assert!(b.index("mail").unwrap().is_ready(), "the definition has travelled");
    a.write(put("1", json!({"mail": "x"}))).unwrap();
    b.write(put("2", json!({"mail": "x"}))).unwrap();
    a.push_to(&mut b);
    b.push_to(&mut a);
    for node in [&a, &b] {
        let open = node.violations(false);
        let violation = open[0].violation.as_ref().unwrap();
        assert_eq!((open.len(), violation.index.as_str()), (1, "mail"));
        assert_eq!(violation.documents.iter().map(DocumentId::as_str).collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(node.database.view().unwrap().conflict_counts().unwrap().open, 1);
    }
    assert_eq!(a.violations(false)[0].id, b.violations(false)[0].id, "it has one name everywhere");
    // Another write to one of them is no new violation.
    a.write(put("1", json!({"mail": "x", "n": 1}))).unwrap();
    a.write(put("1", json!({"mail": "y"}))).unwrap();
    a.push_to(&mut b);
    for node in [&a, &b] {
        assert_eq!(node.violations(false), []);
        let settled = node.violations(true);
        assert!(matches!(settled[0].standing, Standing::Closed { .. }));
        node.assert_indexes_hold();
        node.assert_sound();
    }
}

#[test]
fn a_unique_index_over_duplicates_lists_them_as_conflicts() {
    let mut node = Node::new("a");
    for (id, mail) in [("1", "x"), ("2", "y"), ("3", "x"), ("4", "z"), ("5", "x")] {
        node.write(put(id, json!({"mail": mail}))).unwrap();
    }
    node.define(definition("mail", &["$.mail"], true)).unwrap();
    node.work_all();
    node.assert_indexes_hold();
    assert_eq!(node.violations(false)[0].violation.as_ref().unwrap().documents.len(), 3);
    node.drop_index("mail").unwrap();
    node.work_all();
    assert_eq!(node.violations(false), [], "what is no longer asked for is no longer violated");
    assert_eq!(node.database.view().unwrap().conflict_counts().unwrap().open, 0);
}

#[test]
fn a_definition_that_is_not_understood_is_listed_and_not_used() {
    let mut node = Node::new("a");
    let names = CollectionName::parse_any(INDEXES_COLLECTION).unwrap();
    let newer =
        Change { collection: names, ..put("odd", json!({"Collection": "orders", "Paths": ["$.a"], "Where": "$.b"})) };
    node.write(newer).unwrap();
    node.write(put("1", json!({"a": 1}))).unwrap();
    node.work_all();
    let index = node.index("odd").unwrap();
    assert!(matches!(&index.standing, IndexStanding::Refused { reason } if reason.contains("Where")), "{index:?}");
    assert!(node.database.view().unwrap().ready_indexes(&orders()).unwrap().is_empty());
    assert_eq!(node.drop_index("odd"), Ok(true));
}

/// What is done to one of two nodes that share a database.
#[derive(Debug, Clone)]
enum Step {
    Put(String, Value),
    Patch(String, Value),
    Count(String, i64),
    Delete(String),
    Group(Vec<(String, Value)>),
    Define(usize, bool),
    Drop(usize),
    Work(usize),
    Push,
    Settle,
}

fn document() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        4 => (0..4).prop_map(Value::from),
        2 => "[aAb]{0,2}".prop_map(Value::from),
        1 => Just(Value::Null),
        1 => prop::collection::vec((0..3).prop_map(Value::from), 0..4).prop_map(Value::from),
        1 => Just(Value::from("long".repeat(500))),
    ];
    (prop::option::of(value), 0..3).prop_map(|(value, m)| match value {
        Some(value) => json!({"n": value, "m": m, "items": [{"k": m}, {"k": 7}]}),
        None => json!({"m": m}),
    })
}

fn step() -> impl Strategy<Value = Step> {
    let id = || "[a-f]";
    prop_oneof![
        6 => (id(), document()).prop_map(|(id, value)| Step::Put(id, value)),
        2 => (id(), document()).prop_map(|(id, value)| Step::Patch(id, value)),
        2 => (id(), -2_i64..3).prop_map(|(id, by)| Step::Count(id, by)),
        2 => id().prop_map(Step::Delete),
        2 => prop::collection::vec((id(), document()), 1..4).prop_map(Step::Group),
        2 => (0..4_usize, any::<bool>()).prop_map(|(which, is_other)| Step::Define(which, is_other)),
        1 => (0..4_usize).prop_map(Step::Drop),
        4 => (1..6_usize).prop_map(Step::Work),
        3 => Just(Step::Push),
        1 => Just(Step::Settle),
    ]
}

fn carry_out(nodes: &mut [Node; 2], on: usize, step: Step) {
    let names = ["i0", "i1", "i2", "i3"];
    let [first, second] = nodes;
    let (node, other) = if on == 0 { (first, second) } else { (second, first) };
    match step {
        Step::Put(id, value) => drop(node.write(put(&id, value))),
        Step::Patch(id, value) => drop(node.write(patch(&id, value, None))),
        Step::Count(id, by) => drop(node.write(patch(&id, json!({}), Some(json!({"m": by}))))),
        Step::Delete(id) => drop(node.write(change(&id, Action::Delete))),
        Step::Group(group) => {
            let group = group.into_iter().map(|(id, value)| put(&id, value)).collect();
            drop(node.commit(vec![Request::Together(group)]));
        }
        Step::Define(which, is_other) => {
            let paths: [&[&str]; 4] = [&["$.n"], &["$.m", "$.n"], &["$.items[*].k"], &["$.m"]];
            let paths = paths[if is_other { 3 - which } else { which }];
            drop(node.define(definition(names[which], paths, which % 2 == 1)));
        }
        Step::Drop(which) => drop(node.drop_index(names[which])),
        Step::Work(times) => {
            for _ in 0..times {
                let _: IndexStep = node.work(SMALL);
            }
        }
        Step::Push => drop(node.push_to(other)),
        Step::Settle => {
            let selection = Selection::default();
            let page = node.database.view().unwrap().conflicts(&selection, None, 1).unwrap();
            for conflict in page.conflicts.into_iter().filter(|conflict| conflict.violation.is_none()) {
                let action = Action::Resolve(Settlement::Delete);
                drop(
                    node.write(Change {
                        collection: conflict.collection,
                        ..change(conflict.document.as_str(), action)
                    }),
                );
            }
        }
    }
}

proptest! {
    // The same cases in every run, so that the test command is not a lottery.
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), ..ProptestConfig::with_cases(150) })]

    #[test]
    fn whatever_happens_indexes_are_what_the_documents_make_them(
        steps in prop::collection::vec((0..2_usize, step()), 1..60),
    ) {
        let mut nodes = [Node::new("a"), Node::new("b")];
        nodes[1].now.store(1_050, Ordering::Relaxed);
        for (on, step) in steps {
            carry_out(&mut nodes, on, step);
            nodes[0].assert_indexes_hold();
            nodes[1].assert_indexes_hold();
        }
        let [a, b] = &mut nodes;
        a.push_to(b);
        b.push_to(a);
        for node in [a, b] {
            node.work_all();
            node.assert_indexes_hold();
            node.assert_sound();
        }
    }
}
