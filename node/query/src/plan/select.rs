//! Planning: from a `SELECT` to the way in which it is carried out.

use std::ops::Bound;
use std::sync::Arc;

use holdfast_core::collation::end_of_prefix;
use holdfast_core::error::Refusal;
use holdfast_core::id::{CACHE_COLLECTION, CollectionName, DocumentId};
use holdfast_storage::indexes::IndexState;
use holdfast_storage::scan::Direction;
use holdfast_storage::view::ReadView;
use serde_json::Value;

use crate::failure::Failure;
use crate::language::error::QueryError;
use crate::language::expression::{Aggregate, Expression, Kind};
use crate::language::statement::{Item, JoinKind, Name, Select, Source};
use crate::plan::constants::folded;
use crate::plan::index::{self, IndexAccess};
use crate::plan::terms::{Restriction, cannot_fail, conjuncts, saying, sources_of};
use crate::plan::{
    Access, Collection, ColumnPlan, Grouping, IdRange, JoinPlan, JoinWay, Options, OrderKey, SelectPlan, SourcePlan,
    System,
};
use crate::value::Compute;

/// Plans a `SELECT` of which so many rows are wanted at most.
pub(crate) fn plan(
    select: &Select,
    view: &ReadView,
    compute: &Compute<'_>,
    options: Options,
    take: Option<u64>,
) -> Result<SelectPlan, Failure> {
    let fold = |expression: &Expression| folded(expression, compute);
    // How many rows there are decides about joins and orders, and is told by who explains.
    let needs_numbers = options.estimates || !select.joins.is_empty() || !select.order_by.is_empty();
    let mut sources = sources(select, view, needs_numbers)?;
    let mut filter = Vec::new();
    if let Some(condition) = &select.filter {
        conjuncts(fold(condition), &mut filter);
    }
    for (number, join) in select.joins.iter().enumerate() {
        let on = join.on.iter().map(|equality| (fold(&equality.earlier), fold(&equality.joined))).collect();
        if let Some(source) = sources.get_mut(number + 1) {
            source.join = Some(JoinPlan { kind: join.kind, on, way: JoinWay::Table });
        }
    }
    if options.optimises {
        filter = pushed_down(filter, &mut sources);
        choose_accesses(&mut sources, view, options)?;
        choose_joins(&mut sources, view)?;
    }
    let mut plan = SelectPlan {
        sources,
        filter,
        grouping: None,
        having: None,
        columns: columns(select),
        distinct: select.distinct,
        order: Vec::new(),
        is_in_order: false,
        limit: number(select.limit.as_ref(), compute, "LIMIT")?,
        offset: number(select.offset.as_ref(), compute, "OFFSET")?.unwrap_or(0),
        counts_only: false,
    };
    group(&mut plan, select, &fold)?;
    plan.is_in_order = plan.order.is_empty() && plan.grouping.is_none() && !plan.distinct;
    if options.optimises {
        order_by_id(&mut plan);
        order_by_index(&mut plan, view, take)?;
        plan.counts_only = counts_only(&plan);
    }
    Ok(plan)
}

/// Puts what is shown, asked of groups and ordered by into the plan.
fn group(plan: &mut SelectPlan, select: &Select, fold: &dyn Fn(&Expression) -> Expression) -> Result<(), Failure> {
    let having = select.having.as_ref().map(fold);
    let is_shown_aggregate = |column: &ColumnPlan| match column {
        ColumnPlan::Value { expression, .. } | ColumnPlan::Fields(expression) => expression.has_aggregate(),
        ColumnPlan::Everything(_) | ColumnPlan::AllSources => false,
    };
    let is_grouped = !select.group_by.is_empty()
        || having.is_some()
        || plan.columns.iter().any(is_shown_aggregate)
        || select.order_by.iter().any(|order| order.expression.has_aggregate());
    let mut grouping = Grouping { keys: select.group_by.iter().map(fold).collect(), aggregates: Vec::new() };
    let mut over = |expression: &Expression| {
        let expression = fold(expression);
        if is_grouped { grouping.over_group(&expression) } else { Ok(expression) }
    };
    for column in &mut plan.columns {
        if let ColumnPlan::Value { expression, .. } | ColumnPlan::Fields(expression) = column {
            *expression = over(expression)?;
        }
    }
    for order in &select.order_by {
        let expression = over(&order.expression)?;
        plan.order.push(OrderKey { expression, descending: order.descending, nulls: order.nulls });
    }
    plan.having = having.as_ref().map(&mut over).transpose()?;
    plan.grouping = is_grouped.then_some(grouping);
    Ok(())
}

fn sources(select: &Select, view: &ReadView, needs_numbers: bool) -> Result<Vec<SourcePlan>, Failure> {
    let named = select.from.iter().chain(select.joins.iter().map(|join| &join.source));
    let plan = |source: &Source| {
        let collection = collection(&source.collection)?;
        let estimated_rows = match &collection {
            Collection::Documents(name) if needs_numbers => view.collection(name)?.alive,
            Collection::Documents(_) => u64::MAX,
            Collection::System(_) => SYSTEM_ROWS_ESTIMATE,
        };
        let name = source.alias.as_ref().unwrap_or(&source.collection).text.to_string();
        let access = Access::Everything(Direction::Forward);
        Ok(SourcePlan { name, collection, access, filter: Vec::new(), join: None, estimated_rows })
    };
    named.map(plan).collect()
}

/// How many rows the node is taken to tell about itself.
const SYSTEM_ROWS_ESTIMATE: u64 = 1_000;

/// The collection of a name that is read.
fn collection(name: &Name) -> Result<Collection, Failure> {
    if let Some(system) = System::named(&name.text) {
        return Ok(Collection::System(system));
    }
    documents_of(name).map(Collection::Documents)
}

/// The collection of a name that holds people's documents.
pub(crate) fn documents_of(name: &Name) -> Result<CollectionName, Failure> {
    CollectionName::parse(&name.text).map_err(|refusal| {
        let (message, suggestion) = match &refusal {
            Refusal::Reserved { name } if name.eq_ignore_ascii_case(CACHE_COLLECTION) => (
                format!("The collection '{name}' is the cache's: its entries expire and are no documents, so no statement sees them"),
                "Use the routes of /api/cache, or name a collection of documents.",
            ),
            Refusal::Reserved { name } => (
                format!("The collection '{name}' is reserved: it is the node's own"),
                "Name a collection of documents; of the node's own, _collections, _conflicts, _indexes and _operations can be read.",
            ),
            _ => (format!("The {refusal}"), "Name a collection of documents."),
        };
        QueryError::meaning(refusal.code(), message, name.position).suggesting(suggestion).into()
    })
}

/// The columns as they are written; names that stand twice get a number.
pub(crate) fn columns(select: &Select) -> Vec<ColumnPlan> {
    let mut names: Vec<String> = Vec::new();
    let mut unique = |name: String| {
        let mut free = name.clone();
        let mut number = 2;
        while names.contains(&free) {
            free = format!("{name}_{number}");
            number += 1;
        }
        names.push(free.clone());
        free
    };
    let column = |item: &Item| match (item, item.column()) {
        (Item::Everything { source: Some(source), .. }, _) => ColumnPlan::Everything(*source),
        (Item::Everything { source: None, .. }, _) if select.joins.is_empty() => ColumnPlan::Everything(0),
        (Item::Everything { .. }, _) => ColumnPlan::AllSources,
        (Item::Value { expression, .. }, None) => ColumnPlan::Fields(expression.clone()),
        (Item::Value { expression, .. }, Some(name)) => {
            ColumnPlan::Value { name: unique(name), expression: expression.clone() }
        }
    };
    select.items.iter().map(column).collect()
}

/// Hands conditions to the sources that they are about; what is left is asked of whole rows.
fn pushed_down(filter: Vec<Expression>, sources: &mut [SourcePlan]) -> Vec<Expression> {
    let kinds: Vec<Option<JoinKind>> =
        sources.iter().map(|source| source.join.as_ref().map(|join| join.kind)).collect();
    let may_push = |source: usize| {
        // An outer join answers rows without a partner: what is asked of them is asked after it.
        let own = kinds.get(source).copied().flatten();
        let later = kinds.get(source + 1..).unwrap_or_default();
        own != Some(JoinKind::Left) && !later.contains(&Some(JoinKind::Right))
    };
    let is_joined = sources.len() > 1;
    let mut left = Vec::new();
    for condition in filter {
        // What can fail is asked of no row that a join leaves out.
        if is_joined && !cannot_fail(&condition) {
            left.push(condition);
            continue;
        }
        match sources_of(&condition).as_slice() {
            [source] if may_push(*source) => match sources.get_mut(*source) {
                Some(plan) => plan.filter.push(condition),
                None => left.push(condition),
            },
            _ => left.push(condition),
        }
    }
    left
}

fn choose_accesses(sources: &mut [SourcePlan], view: &ReadView, options: Options) -> Result<(), Failure> {
    // In which order sources are joined depends on how many rows each gives.
    let needs_numbers = options.estimates || sources.len() > 1;
    for source in sources {
        let Collection::Documents(collection) = &source.collection else { continue };
        let of_id = source.filter.iter().filter_map(saying);
        let of_id = of_id.filter(|saying| saying.path.is_document_id() && !saying.ignores_case);
        // Of two that do not go together, either one holds.
        let both = |left: Restriction, right| left.and(right).0;
        let of_id = of_id.map(|saying| saying.restriction).reduce(both).and_then(by_id);
        if let Some(access @ Access::Ids(..)) = of_id {
            let Access::Ids(ids, _) = &access else { continue };
            source.estimated_rows = source.estimated_rows.min(ids.len() as u64);
            source.access = access;
            continue;
        }
        let indexes = indexes(view, collection)?;
        if let Some((access, estimate)) = index::best(view, &indexes, &source.filter, needs_numbers, options)? {
            source.estimated_rows = source.estimated_rows.min(estimate);
            source.access = Access::Index(Box::new(access));
        } else if let Some(access) = of_id {
            source.estimated_rows = source.estimated_rows.div_ceil(RANGE_ESTIMATE);
            source.access = access;
        }
    }
    Ok(())
}

/// The indexes of a collection that may be used.
fn indexes(view: &ReadView, collection: &CollectionName) -> Result<Vec<Arc<IndexState>>, Failure> {
    Ok(view.ready_indexes(collection)?)
}

/// A stretch of ids is taken to hold one document in so many.
const RANGE_ESTIMATE: u64 = 4;

/// The way to documents whose id is restricted.
fn by_id(restriction: Restriction) -> Option<Access> {
    let text = |bound: Bound<Value>| match bound {
        Bound::Unbounded => Some(Bound::Unbounded),
        Bound::Included(Value::String(text)) => Some(Bound::Included(text.into_bytes())),
        Bound::Excluded(Value::String(text)) => Some(Bound::Excluded(text.into_bytes())),
        // How ids compare to what is no text is not for bytes to tell.
        Bound::Included(_) | Bound::Excluded(_) => None,
    };
    match restriction {
        Restriction::OneOf(values) => {
            // An id is a text: nothing else is equal to one.
            let ids = values.iter().filter_map(Value::as_str).filter_map(|id| DocumentId::parse(id).ok());
            let mut ids: Vec<DocumentId> = ids.collect();
            ids.sort_unstable();
            ids.dedup();
            Some(Access::Ids(ids, Direction::Forward))
        }
        Restriction::Between(low, high) => {
            Some(Access::IdRange(IdRange { start: text(low)?, end: text(high)? }, Direction::Forward))
        }
        Restriction::StartsWith(prefix) => {
            let end = end_of_prefix(prefix.as_bytes()).map_or(Bound::Unbounded, Bound::Excluded);
            Some(Access::IdRange(IdRange { start: Bound::Included(prefix.into_bytes()), end }, Direction::Forward))
        }
    }
}

fn choose_joins(sources: &mut [SourcePlan], view: &ReadView) -> Result<(), Failure> {
    let mut rows = 1_u64;
    for source in sources {
        if let Some(join) = &mut source.join {
            let by_id = join.on.iter().position(|(_, joined)| match &joined.kind {
                Kind::Path(path) => path.is_document_id(),
                _ => false,
            });
            let keeps_all = join.kind == JoinKind::Right;
            if let Collection::Documents(collection) = &source.collection
                && !keeps_all
                && rows < source.estimated_rows
            {
                let joined: Vec<&Expression> = join.on.iter().map(|(_, joined)| joined).collect();
                if let Some(number) = by_id {
                    join.way = JoinWay::ById(number);
                } else if let Some((index, number)) = index::for_join(&indexes(view, collection)?, &joined) {
                    join.way = JoinWay::ByIndex(Arc::clone(index), number);
                }
            }
            rows = if join.on.is_empty() { rows.saturating_mul(source.estimated_rows) } else { rows };
        } else {
            rows = source.estimated_rows;
        }
    }
    Ok(())
}

/// An index may hand rows out in the order that is asked for: the one that finds them, or any if only a few are wanted.
fn order_by_index(plan: &mut SelectPlan, view: &ReadView, take: Option<u64>) -> Result<(), Failure> {
    let wanted = [plan.limit.map(|limit| limit.saturating_add(plan.offset)), take].into_iter().flatten().min();
    let [source] = plan.sources.as_mut_slice() else { return Ok(()) };
    if plan.is_in_order || plan.grouping.is_some() || plan.distinct {
        return Ok(());
    }
    let Collection::Documents(collection) = &source.collection else { return Ok(()) };
    let in_order = match &source.access {
        Access::Index(access) => IndexAccess::clone(access).in_order(&plan.order),
        // An index that leads to every document is a detour, unless it may end early.
        Access::Everything(_) if wanted.is_some_and(|wanted| wanted < source.estimated_rows / DETOUR) => {
            let all = indexes(view, collection)?;
            all.iter().find_map(|index| IndexAccess::whole(index).in_order(&plan.order))
        }
        _ => None,
    };
    if let Some(access) = in_order {
        source.access = Access::Index(Box::new(access));
        plan.is_in_order = true;
    }
    Ok(())
}

/// How much longer it takes to reach a document by an index than on a walk.
const DETOUR: u64 = 4;

/// Documents come in the order of their ids, so whoever asks for that order has it already.
fn order_by_id(plan: &mut SelectPlan) {
    let [SourcePlan { collection: Collection::Documents(_), access, .. }] = plan.sources.as_mut_slice() else { return };
    let Some(OrderKey { expression: Expression { kind: Kind::Path(path), .. }, descending, .. }) = plan.order.first()
    else {
        return;
    };
    if !path.is_document_id() || plan.grouping.is_some() || plan.distinct {
        return;
    }
    let direction = if *descending { Direction::Backward } else { Direction::Forward };
    match access {
        Access::Everything(way) | Access::Ids(_, way) | Access::IdRange(_, way) => *way = direction,
        Access::Index(_) => return,
    }
    plan.is_in_order = true;
}

/// Whether the number of documents is all that is asked.
fn counts_only(plan: &SelectPlan) -> bool {
    let [SourcePlan { collection: Collection::Documents(_), access, filter, .. }] = plan.sources.as_slice() else {
        return false;
    };
    let is_plain = match access {
        Access::Everything(_) => filter.is_empty(),
        // The entries answer every condition, and there is one for each document.
        Access::Index(access) => access.is_plain() && (0..filter.len()).all(|place| access.answered.contains(&place)),
        Access::Ids(..) | Access::IdRange(..) => false,
    };
    let counts_rows = |grouping: &Grouping| {
        grouping.keys.is_empty()
            && grouping.aggregates.iter().all(|call| call.aggregate == Aggregate::Count && call.argument.is_none())
    };
    is_plain && plan.filter.is_empty() && plan.grouping.as_ref().is_some_and(counts_rows)
}

/// The whole number after `LIMIT` or `OFFSET`.
fn number(expression: Option<&Expression>, compute: &Compute<'_>, clause: &str) -> Result<Option<u64>, Failure> {
    let Some(expression) = expression else { return Ok(None) };
    let value = compute.value(expression, &[])?;
    let number = match &value {
        Some(Value::Number(number)) => number.as_u64(),
        _ => None,
    };
    number.map(Some).ok_or_else(|| {
        QueryError::meaning("query-limit-invalid", format!("{clause} needs a whole number"), expression.position)
            .suggesting(format!("Write {clause} 100."))
            .into()
    })
}
