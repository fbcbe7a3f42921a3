//! A database in memory to ask: filled, queried page by page, written to through the real writer.

use std::cell::Cell;

use holdfast_core::id::{CollectionName, DatabaseName, DocumentId, NodeName};
use holdfast_core::index::definition::{IndexDefinition, IndexName};
use holdfast_core::index::path::IndexPath;
use holdfast_core::json::{JsonText, with_id};
use holdfast_core::time::Millis;
use holdfast_query::budget::{Budget, Limits};
use holdfast_query::failure::Failure;
use holdfast_query::plan::Options;
use holdfast_query::query::{Answer, Page, Query, TaskKind, World};
use holdfast_query::run::select::Views;
use holdfast_storage::commit::Moment;
use holdfast_storage::database::{Opened, Options as StorageOptions};
use holdfast_storage::indexes::IndexLimit;
use holdfast_storage::layout::{Arrival, DataDirectory};
use holdfast_storage::request::{self, Action, Change, Expect, Request};
use serde_json::{Map, Value};
use tempfile::TempDir;

/// Limits that no test meets by accident.
pub(crate) const LIMITS: Limits =
    Limits { examined_max: 10_000_000, bytes_max: 1 << 30, memory_bytes_max: 1 << 30, writes_max: 10_000 };

/// A database and its writer.
pub(crate) struct Shop {
    opened: Opened,
    /// Held, for the files are gone without it.
    #[expect(dead_code)]
    directory: (DataDirectory, TempDir),
    now: u64,
    random: Cell<u128>,
    /// How plans are made.
    pub(crate) options: Options,
    /// What a query may use.
    pub(crate) limits: Limits,
}

/// What a statement gave.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Given {
    /// Its rows.
    pub(crate) rows: Vec<Value>,
    /// What it did to get there.
    pub(crate) plan: String,
    /// Documents that matched.
    pub(crate) matched: u64,
    /// Where the rest is.
    pub(crate) next_cursor: Option<String>,
}

impl Shop {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let arrival = Arrival { incarnation: 1, holder: "a test" };
        let directory = DataDirectory::open(temporary.path(), &NodeName::parse("left").unwrap(), arrival).unwrap();
        let name = DatabaseName::parse("shop").unwrap();
        let opened = directory.create_database(&name, 7, StorageOptions::default()).unwrap();
        let directory = (directory, temporary);
        Self {
            opened,
            directory,
            now: 1_700_000_000_000,
            random: Cell::new(1),
            options: Options::default(),
            limits: LIMITS,
        }
    }

    /// Writes documents, which carry their ids.
    pub(crate) fn put(&mut self, collection: &str, documents: &[Value]) {
        let collection = CollectionName::parse(collection).unwrap();
        for some in documents.chunks(1_000) {
            let changes = some.iter().map(|document| {
                let Value::Object(object) = document else { panic!("{document} is no document") };
                let id = DocumentId::parse(object["Id"].as_str().unwrap()).unwrap();
                let body = JsonText::from_object(&with_id(object.clone(), &id));
                Change { collection: collection.clone(), id, action: Action::Put(body), expect: Expect::Any }
            });
            self.commit(Request::Each(changes.collect()));
        }
    }

    /// Hands one request to the writer.
    pub(crate) fn commit(&mut self, request: Request) -> request::Answer {
        self.now += 1;
        let random = &self.random;
        let mut next = || {
            random.set(random.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
            random.get()
        };
        let mut moment = Moment { now: Millis(self.now), random: &mut next };
        self.opened.writer.commit(&mut moment, vec![request]).unwrap().pop().unwrap()
    }

    /// Makes an index, and builds it.
    pub(crate) fn index(&mut self, name: &str, collection: &str, paths: &[&str], is_case_insensitive: bool) {
        let definition = IndexDefinition {
            name: IndexName::parse(name).unwrap(),
            collection: CollectionName::parse(collection).unwrap(),
            paths: paths.iter().map(|path| IndexPath::parse(path).unwrap()).collect(),
            is_unique: false,
            is_case_insensitive,
        };
        let request::Answer::Index(Ok(_)) = self.commit(Request::DefineIndex(definition)) else {
            panic!("{name} is refused")
        };
        let limit = IndexLimit { documents: 1_000, entries: 1_000 };
        while self.opened.writer.work_on_indexes(Millis(self.now), limit).unwrap().has_more {}
    }

    /// Runs a statement without parameters as a whole.
    pub(crate) fn run(&mut self, text: &str) -> Result<Given, Failure> {
        self.run_with(text, Map::new(), Page::default())
    }

    /// Runs a statement.
    pub(crate) fn run_with(
        &mut self,
        text: &str,
        parameters: Map<String, Value>,
        page: Page<'_>,
    ) -> Result<Given, Failure> {
        let query = Query::prepare(text, parameters)?;
        if query.task().explained.is_some() {
            return self.explain(&query);
        }
        if query.task().kind == TaskKind::Select {
            return self.select(&query, page);
        }
        self.write(&query, page.take)
    }

    /// Runs a `SELECT` with a way to stop it.
    pub(crate) fn select(&self, query: &Query, page: Page<'_>) -> Result<Given, Failure> {
        let mut rows = Vec::new();
        let mut go_on = || None;
        let mut budget = Budget::new(self.limits, &mut go_on);
        let answer = self.in_world(|world| {
            query.rows(world, page, &mut budget, &mut |row| {
                rows.push(serde_json::from_slice(row).unwrap());
                Ok(())
            })
        })?;
        let Answer { returned, matched, next_cursor, plan, .. } = answer;
        assert_eq!(returned, rows.len() as u64);
        Ok(Given { rows, plan, matched, next_cursor })
    }

    fn write(&mut self, query: &Query, take: Option<u64>) -> Result<Given, Failure> {
        let mut go_on = || None;
        let mut budget = Budget::new(self.limits, &mut go_on);
        let writes = self.in_world(|world| query.writes(world, take, &mut budget))?;
        match self.commit(Request::Together(writes.changes.clone())) {
            request::Answer::Together(Ok(written)) => Ok(Given {
                rows: writes.rows(&written),
                plan: writes.verb.name().to_owned(),
                matched: writes.matched,
                next_cursor: None,
            }),
            request::Answer::Together(Err((_, refusal))) => {
                Err(Failure::refused(refusal.code(), refusal.to_string(), "Nothing was written."))
            }
            other => panic!("{other:?}"),
        }
    }

    fn explain(&self, query: &Query) -> Result<Given, Failure> {
        let mut go_on = || None;
        let mut budget = Budget::new(self.limits, &mut go_on);
        let explanation = self.in_world(|world| query.explain(world, &mut budget, || 0))?;
        let rows = explanation.to_text().lines().map(Value::from).collect();
        Ok(Given { rows, plan: "Explain".to_owned(), matched: 0, next_cursor: None })
    }

    /// Looks at the database as it is now.
    pub(crate) fn in_world<T>(&self, look: impl FnOnce(World<'_>) -> T) -> T {
        let view = self.opened.database.view().unwrap();
        let log = self.opened.database.log().unwrap();
        let random = || {
            self.random.set(self.random.get() + 1);
            self.random.get()
        };
        look(World {
            views: Views { data: &view, log: Some(&log) },
            now: Millis(1_700_000_000_000),
            random: &random,
            options: self.options,
        })
    }
}
