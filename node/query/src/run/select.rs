//! A `SELECT` from its sources to its last row.

use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use holdfast_core::id::CollectionName;
use holdfast_core::index::range::KeyRange;
use holdfast_storage::indexes::IndexState;
use holdfast_storage::log::LogView;
use holdfast_storage::scan::Direction;
use holdfast_storage::view::ReadView;

use crate::budget::Budget;
use crate::failure::Failure;
use crate::language::expression::Expression;
use crate::language::statement::JoinKind;
use crate::plan::{Access, Collection, JoinWay, Options, SelectPlan, SourcePlan};
use crate::run::cursor::{PLACE_BYTES_MAX, Place};
use crate::run::group::Groups;
use crate::run::join::{Joined, Table, Way, id_of, key_of};
use crate::run::order::SortTerm;
use crate::run::output::Output;
use crate::run::row::{Body, Loaded, Reader, Readers, Row, Term, holds};
use crate::run::source::{Rows, count_entries};
use crate::run::tail::{Sink, Tail, Window};
use crate::run::test::Test;
use crate::stopwatch::Lap;
use crate::value::Compute;

/// What a query reads: one consistent look at a database.
#[derive(Debug, Clone, Copy)]
pub struct Views<'view> {
    /// Its documents.
    pub data: &'view ReadView,
    /// Its log; without it, `_operations` cannot be read.
    pub log: Option<&'view LogView>,
}

/// How many rows there were at each step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Documents that each source handed out.
    pub read: Vec<u64>,
    /// Documents of each source that its own conditions let through.
    pub passed: Vec<u64>,
    /// Rows that matched.
    pub matched: u64,
    /// Whether all rows were looked at, so that `matched` is all that match.
    pub is_complete: bool,
    /// Groups that were made.
    pub groups: u64,
    /// Rows that were answered.
    pub answered: u64,
}

/// What does not change while rows stream.
struct Machine {
    readers: Vec<Reader>,
    joined: Vec<Joined>,
    /// What is asked of each source's documents and is not asked of their text.
    source_filters: Vec<Vec<Expression>>,
    filter: Vec<Expression>,
}

/// What is done with each document that matches.
pub(crate) type Each<'each> = dyn FnMut(&Loaded, &mut Budget<'_>) -> Result<ControlFlow<()>, Failure> + 'each;

impl Machine {
    fn new(plan: &SelectPlan, options: Options) -> Self {
        let mut readers: Vec<Reader> = plan.sources.iter().map(|_| new_reader(options)).collect();
        let (joined, source_filters) = prepare_sources(plan, &mut readers, options);
        for expression in &plan.filter {
            Term::computed(expression, &mut readers);
        }
        Self { readers, joined, source_filters, filter: plan.filter.clone() }
    }
}

/// Where rows end up.
// There is one for each query.
#[allow(clippy::large_enum_variant)]
enum Stage<'sink> {
    Rows(Tail<'sink>),
    Groups(Groups),
    Each(&'sink mut Each<'sink>),
}

/// Everything that rows pass on their way.
struct Stream<'run, 'sink, 'stop, 'compute> {
    views: Views<'run>,
    machine: Machine,
    stage: Stage<'sink>,
    compute: &'run Compute<'compute>,
    budget: &'run mut Budget<'stop>,
    counts: Counts,
}

/// Carries a plan out. The window says which rows are answered, and then which were.
pub(crate) fn select(
    plan: &SelectPlan,
    views: Views<'_>,
    options: Options,
    compute: &Compute<'_>,
    budget: &mut Budget<'_>,
    window: Window,
    sink: &mut Sink<'_>,
) -> Result<(Counts, Window), Failure> {
    let mut machine = Machine::new(plan, options);
    let after = window.after.clone();
    let resumed = match &after {
        Some(Place::Id(id, _) | Place::Entry(id)) => Some(id.as_slice()),
        _ => None,
    };
    match &plan.grouping {
        None => {
            let tail = tail_of(plan, &mut machine.readers, options, window, sink);
            let mut stream = Stream::new(views, machine, Stage::Rows(tail), compute, budget);
            stream.run(plan, resumed)?;
            stream.finish()
        }
        Some(grouping) => {
            let groups = Groups::new(grouping, &mut machine.readers, options.optimises);
            let mut stream = Stream::new(views, machine, Stage::Groups(groups), compute, budget);
            stream.run(plan, None)?;
            stream.answer_groups(plan, options, window, sink)
        }
    }
}

/// Calls `each` with every document that a plan with one source lets through.
pub(crate) fn each_match<'each>(
    plan: &SelectPlan,
    views: Views<'_>,
    options: Options,
    compute: &Compute<'_>,
    budget: &mut Budget<'_>,
    each: &'each mut Each<'each>,
) -> Result<Counts, Failure> {
    let machine = Machine::new(plan, options);
    let mut stream = Stream::new(views, machine, Stage::Each(each), compute, budget);
    stream.run(plan, None)?;
    Ok(stream.counts)
}

fn new_reader(options: Options) -> Reader {
    if options.optimises { Reader::default() } else { Reader::of_whole_documents() }
}

fn tail_of<'sink>(
    plan: &SelectPlan,
    readers: &mut Readers,
    options: Options,
    window: Window,
    sink: &'sink mut Sink<'_>,
) -> Tail<'sink> {
    let names: Vec<String> = plan.sources.iter().map(|source| source.name.clone()).collect();
    let output = Output::of(&plan.columns, &names, readers, options);
    let order = plan.order.iter().map(|key| SortTerm {
        term: Term::of(&key.expression, readers, options.optimises),
        descending: key.descending,
        nulls: key.nulls,
    });
    let order = order.collect();
    Tail::new(output, order, plan.distinct, plan.is_in_order, window, sink)
}

fn prepare_sources(plan: &SelectPlan, readers: &mut Readers, options: Options) -> (Vec<Joined>, Vec<Vec<Expression>>) {
    let mut joined = Vec::new();
    let mut filters = Vec::new();
    for (number, source) in plan.sources.iter().enumerate() {
        let mut computed = Vec::new();
        let is_answered = |place: usize| match &source.access {
            // The entry says exactly which values the document has, and the stretch that they are right.
            Access::Index(access) => options.optimises && access.is_plain() && access.answered.contains(&place),
            _ => false,
        };
        let asked = source.filter.iter().enumerate().filter(|(place, _)| !is_answered(*place));
        for (_, expression) in asked {
            let test = readers.get_mut(number).filter(|_| options.optimises).and_then(|reader| {
                let test = Test::of(expression, number, reader)?;
                reader.add_test(test);
                Some(())
            });
            if test.is_none() {
                Term::computed(expression, readers);
                computed.push(expression.clone());
            }
        }
        filters.push(computed);
        joined.extend(join_of(source, readers, options));
    }
    (joined, filters)
}

fn join_of(source: &SourcePlan, readers: &mut Readers, options: Options) -> Option<Joined> {
    let plan = source.join.as_ref()?;
    let mut term = |expression: &Expression| Term::of(expression, readers, options.optimises);
    let earlier = plan.on.iter().map(|(earlier, _)| term(earlier)).collect();
    let joined: Vec<Term> = plan.on.iter().map(|(_, joined)| term(joined)).collect();
    let way = match (&plan.way, &source.collection) {
        (JoinWay::ById(number), Collection::Documents(collection)) => {
            Way::ById { collection: collection.clone(), number: *number, joined }
        }
        (JoinWay::ByIndex(index, number), Collection::Documents(collection)) => {
            let (collection, index) = (collection.clone(), Arc::clone(index));
            Way::ByIndex { collection, index, number: *number, joined }
        }
        _ => Way::Table(Table::new(joined)),
    };
    Some(Joined { kind: plan.kind, earlier, way })
}

impl<'run, 'sink, 'stop, 'compute> Stream<'run, 'sink, 'stop, 'compute> {
    fn new(
        views: Views<'run>,
        mut machine: Machine,
        stage: Stage<'sink>,
        compute: &'run Compute<'compute>,
        budget: &'run mut Budget<'stop>,
    ) -> Self {
        machine.readers.iter_mut().for_each(Reader::seal);
        let sources = machine.readers.len();
        let counts = Counts { read: vec![0; sources], passed: vec![0; sources], ..Counts::default() };
        Self { views, machine, stage, compute, budget, counts }
    }

    fn run(&mut self, plan: &SelectPlan, resumed: Option<&[u8]>) -> Result<(), Failure> {
        self.budget.look()?;
        let Some(first) = plan.sources.first() else {
            let flow = self.complete(&[])?;
            self.counts.is_complete = flow.is_continue();
            return Ok(());
        };
        if plan.counts_only
            && let Collection::Documents(collection) = &first.collection
        {
            self.count(collection, &first.access)?;
            self.budget.lap(Lap::Read(0));
            return Ok(());
        }
        self.fill_tables(plan)?;
        let mut rows = open(first, self.views, resumed, self.budget)?;
        let mut row = Vec::with_capacity(plan.sources.len());
        while let Some(body) = rows.next(self.budget)? {
            let Some(loaded) = self.load(0, &[], body)? else { continue };
            row.push(Some(loaded));
            if self.feed(&mut row)?.is_break() {
                self.note_place(&rows);
                return Ok(());
            }
            row.clear();
        }
        self.budget.lap(Lap::Read(0));
        let is_done = self.feed_those_without_partner(plan)?.is_break();
        self.counts.is_complete = !is_done && resumed.is_none();
        Ok(())
    }

    /// The row that did not fit any more is where the next page begins.
    fn note_place(&mut self, rows: &Rows<'_>) {
        if let (Stage::Rows(tail), Some(entry)) = (&mut self.stage, rows.entry())
            && tail.window.has_more
            && !tail.window.is_counted
        {
            let is_short = entry.len() <= PLACE_BYTES_MAX;
            let place = if is_short { Place::Entry(entry.to_vec()) } else { Place::Offset(tail.window.passed - 1) };
            tail.window.last = Some(place);
        }
    }

    /// The number of documents is known without looking at them.
    fn count(&mut self, collection: &CollectionName, access: &Access) -> Result<(), Failure> {
        let alive = match access {
            Access::Index(access) => count_entries(self.views.data, access, self.budget)?,
            _ => self.views.data.collection(collection)?.alive,
        };
        if let Stage::Groups(groups) = &mut self.stage {
            groups.add_counted(alive);
        }
        self.counts.matched = alive;
        self.counts.is_complete = true;
        Ok(())
    }

    /// A source's document, if its own conditions let it through. `before` are the sources before it.
    fn load(&mut self, source: usize, before: &Row, body: Body) -> Result<Option<Rc<Loaded>>, Failure> {
        self.budget.lap(Lap::Read(source));
        let loaded = self.passed(source, before, body);
        self.budget.lap(Lap::Test(source));
        loaded
    }

    fn passed(&mut self, source: usize, before: &Row, body: Body) -> Result<Option<Rc<Loaded>>, Failure> {
        count(&mut self.counts.read, source);
        let Some(reader) = self.machine.readers.get(source) else { return Ok(None) };
        let Some(loaded) = reader.load(body)? else { return Ok(None) };
        let filters = self.machine.source_filters.get(source).map(Vec::as_slice).unwrap_or_default();
        if !filters.is_empty() {
            let mut row = before.to_vec();
            row.resize(source, None);
            row.push(Some(Rc::clone(&loaded)));
            for filter in filters {
                if !holds(filter, &row, &self.machine.readers, self.compute)? {
                    return Ok(None);
                }
            }
        }
        count(&mut self.counts.passed, source);
        Ok(Some(loaded))
    }

    fn fill_tables(&mut self, plan: &SelectPlan) -> Result<(), Failure> {
        for (number, source) in plan.sources.iter().enumerate().skip(1) {
            let is_table = self.joined(number).is_some_and(|joined| matches!(joined.way, Way::Table(_)));
            if !is_table {
                continue;
            }
            let mut rows = open(source, self.views, None, self.budget)?;
            while let Some(body) = rows.next(self.budget)? {
                let Some(loaded) = self.load(number, &[], body)? else { continue };
                let mut row = vec![None; number];
                row.push(Some(Rc::clone(&loaded)));
                let Some(Joined { way: Way::Table(table), .. }) = self.machine.joined.get_mut(number - 1) else {
                    continue;
                };
                let key = key_of(&table.joined, &row, &self.machine.readers, self.compute)?;
                table.put(key, loaded, self.budget)?;
                self.budget.lap(Lap::Join(number));
            }
            self.budget.lap(Lap::Read(number));
        }
        Ok(())
    }

    fn joined(&self, source: usize) -> Option<&Joined> {
        self.machine.joined.get(source.checked_sub(1)?)
    }

    /// Finds the partners of a row in the sources that it lacks, and completes each.
    fn feed(&mut self, row: &mut Vec<Option<Rc<Loaded>>>) -> Result<ControlFlow<()>, Failure> {
        let Some(joined) = self.joined(row.len()) else { return self.complete(row) };
        let kind = joined.kind;
        let partners = self.partners(row)?;
        self.budget.lap(Lap::Join(row.len()));
        let is_alone = partners.is_empty();
        for partner in partners {
            row.push(Some(partner));
            let flow = self.feed(row)?;
            row.pop();
            if flow.is_break() {
                return Ok(flow);
            }
        }
        if is_alone && kind == JoinKind::Left {
            row.push(None);
            let flow = self.feed(row)?;
            row.pop();
            return Ok(flow);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn partners(&mut self, row: &Row) -> Result<Vec<Rc<Loaded>>, Failure> {
        let number = row.len();
        let Some(joined) = self.machine.joined.get(number.wrapping_sub(1)) else { return Ok(Vec::new()) };
        let readers = &self.machine.readers;
        match &joined.way {
            Way::Table(table) if joined.earlier.is_empty() => {
                self.budget.work(table.len() as u64)?;
                Ok(table.all())
            }
            Way::Table(table) => {
                let Some(key) = key_of(&joined.earlier, row, readers, self.compute)? else { return Ok(Vec::new()) };
                let found = table.with(&key);
                self.budget.work(1 + found.len() as u64)?;
                Ok(found)
            }
            Way::ById { collection, number: equality, .. } => {
                let Some(term) = joined.earlier.get(*equality) else { return Ok(Vec::new()) };
                let Some(id) = id_of(term, row, readers, self.compute)? else { return Ok(Vec::new()) };
                self.budget.examine(0)?;
                let Some(document) = self.views.data.scanned(collection, &id)? else { return Ok(Vec::new()) };
                let Some(loaded) = self.load(number, row, Body::Stored(document))? else { return Ok(Vec::new()) };
                self.if_all_are_equal(row, loaded)
            }
            Way::ByIndex { collection, index, number: equality, .. } => {
                let (collection, index) = (collection.clone(), Arc::clone(index));
                let Some(term) = joined.earlier.get(*equality) else { return Ok(Vec::new()) };
                let key = key_of(std::slice::from_ref(term), row, readers, self.compute)?;
                let Some(key) = key else { return Ok(Vec::new()) };
                self.partners_by_index(row, &collection, &index, &key)
            }
        }
    }

    /// The documents that an index has under a key, sorted by id, if all equalities hold.
    fn partners_by_index(
        &mut self,
        row: &Row,
        collection: &CollectionName,
        index: &IndexState,
        key: &[u8],
    ) -> Result<Vec<Rc<Loaded>>, Failure> {
        let mut ids = Vec::new();
        let mut scan = self.views.data.index_scan(index, &KeyRange::starting_with(key), Direction::Forward, None)?;
        while let Some(entry) = scan.next_entry()? {
            self.budget.examine(0)?;
            ids.push(entry.document_id()?);
        }
        ids.sort_unstable();
        ids.dedup();
        let mut partners = Vec::new();
        for id in ids {
            let Some(document) = self.views.data.scanned(collection, &id)? else { continue };
            self.budget.work(1)?;
            let Some(loaded) = self.load(row.len(), row, Body::Stored(document))? else { continue };
            partners.extend(self.if_all_are_equal(row, loaded)?);
        }
        Ok(partners)
    }

    /// A partner that was found by its id, if the other equalities hold as well.
    fn if_all_are_equal(&self, row: &Row, loaded: Rc<Loaded>) -> Result<Vec<Rc<Loaded>>, Failure> {
        let Some(Joined { earlier, way: Way::ById { joined, .. } | Way::ByIndex { joined, .. }, .. }) =
            self.joined(row.len())
        else {
            return Ok(Vec::new());
        };
        let readers = &self.machine.readers;
        let left = key_of(earlier, row, readers, self.compute)?;
        let mut whole = row.to_vec();
        whole.push(Some(Rc::clone(&loaded)));
        let right = key_of(joined, &whole, readers, self.compute)?;
        Ok(if left.is_some() && left == right { vec![loaded] } else { Vec::new() })
    }

    /// The rows of right joins that no row before them met.
    fn feed_those_without_partner(&mut self, plan: &SelectPlan) -> Result<ControlFlow<()>, Failure> {
        for number in 1..plan.sources.len() {
            let Some(Joined { kind: JoinKind::Right, way: Way::Table(table), .. }) = self.joined(number) else {
                continue;
            };
            for partner in table.without_partner() {
                let mut row = vec![None; number];
                row.push(Some(partner));
                if self.feed(&mut row)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// A row with all its sources: it is asked the last conditions, and goes on.
    fn complete(&mut self, row: &Row) -> Result<ControlFlow<()>, Failure> {
        let readers = &self.machine.readers;
        for filter in &self.machine.filter {
            if !holds(filter, row, readers, self.compute)? {
                self.budget.lap(Lap::Filter);
                return Ok(ControlFlow::Continue(()));
            }
        }
        self.budget.lap(Lap::Filter);
        self.counts.matched += 1;
        let flow = match &mut self.stage {
            Stage::Rows(tail) => tail.take(row, None, readers, self.compute, self.budget),
            Stage::Groups(groups) => {
                groups.add(row, readers, self.compute, self.budget)?;
                Ok(ControlFlow::Continue(()))
            }
            Stage::Each(each) => match row {
                [Some(loaded)] => each(loaded, self.budget),
                _ => Ok(ControlFlow::Continue(())),
            },
        };
        self.budget.lap(Lap::Gather);
        flow
    }

    /// Answers the rows that were kept.
    fn finish(mut self) -> Result<(Counts, Window), Failure> {
        let Stage::Rows(mut tail) = self.stage else { return Ok((self.counts, Window::default())) };
        tail.finish(self.budget)?;
        self.budget.lap(Lap::Finish);
        self.counts.answered = tail.window.answered;
        Ok((self.counts, tail.window))
    }

    /// Answers the groups that were made.
    fn answer_groups(
        mut self,
        plan: &SelectPlan,
        options: Options,
        window: Window,
        sink: &mut Sink<'_>,
    ) -> Result<(Counts, Window), Failure> {
        let Stage::Groups(groups) = self.stage else { return Ok((self.counts, window)) };
        let mut readers = vec![new_reader(options)];
        let mut tail = tail_of(plan, &mut readers, options, window, sink);
        if let Some(having) = &plan.having {
            Term::computed(having, &mut readers);
        }
        readers.iter_mut().for_each(Reader::seal);
        for (key, text) in groups.into_documents()? {
            self.counts.groups += 1;
            self.budget.work(1)?;
            let body = Body::Made { id: String::new(), text };
            let row = [readers.first().map(|reader| reader.load(body)).transpose()?.flatten()];
            if let Some(having) = &plan.having
                && !holds(having, &row, &readers, self.compute)?
            {
                continue;
            }
            if tail.take(&row, Some(&key), &readers, self.compute, self.budget)?.is_break() {
                break;
            }
        }
        tail.finish(self.budget)?;
        self.budget.lap(Lap::Finish);
        self.counts.answered = tail.window.answered;
        Ok((self.counts, tail.window))
    }
}

fn count(counts: &mut [u64], source: usize) {
    if let Some(count) = counts.get_mut(source) {
        *count += 1;
    }
}

/// Opens a source.
fn open<'view>(
    source: &SourcePlan,
    views: Views<'view>,
    from: Option<&[u8]>,
    budget: &mut Budget<'_>,
) -> Result<Rows<'view>, Failure> {
    match &source.collection {
        Collection::Documents(collection) => Rows::open(views.data, collection, &source.access, from, budget),
        Collection::System(system) => Rows::open_system(*system, views),
    }
}
