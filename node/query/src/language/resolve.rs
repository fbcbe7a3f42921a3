//! Which source a path begins in, and what an alias stands for.
//!
//! ```text
//!   one collection    $.a  a  orders.a  o.a      all begin in it; $.o.a is how a field called o is reached
//!   several           o.a  c.a                   a path says which; $.a begins in the first
//!   ORDER BY HAVING GROUP BY                     an alias stands for what it names, a number n for the n-th item
//! ```
//!
//! Names of sources and aliases match in any case, as in every SQL; names of fields match exactly, as in every JSON.
//!
//! **What stays true.** After this no path is left whose source is unknown. What aliases stand for is copied, and the
//! copies are counted against a bound.

use std::collections::HashMap;

use holdfast_core::limits::QUERY_PARTS_MAX;
use serde_json::Value;

use super::check;
use super::error::QueryError;
use super::expression::{Comparison, Expression, Kind, PathExpression, PathStep, Position};
use super::statement::{Changes, Item, Join, JoinEquality, JoinKind, Name, Order, Select, Source};

/// The source of a path that begins with a name, until it is found out whose name that is.
pub(super) const BARE: usize = usize::MAX;

/// A `SELECT` as it was written.
#[derive(Default)]
pub(super) struct WrittenSelect {
    pub(super) distinct: bool,
    pub(super) items: Vec<Item>,
    pub(super) from: Option<Source>,
    pub(super) joins: Vec<WrittenJoin>,
    pub(super) filter: Option<Expression>,
    pub(super) group_by: Vec<Expression>,
    pub(super) having: Option<Expression>,
    pub(super) order_by: Vec<Order>,
    pub(super) limit: Option<Expression>,
    pub(super) offset: Option<Expression>,
}

/// A join as it was written.
pub(super) struct WrittenJoin {
    pub(super) kind: JoinKind,
    pub(super) source: Source,
    pub(super) on: Option<Expression>,
}

type Resolved<T> = Result<T, QueryError>;

/// Finds out what every name in a `SELECT` means, and whether that makes sense.
pub(super) fn select(written: WrittenSelect) -> Resolved<Select> {
    let sources = written.from.iter().chain(written.joins.iter().map(|join| &join.source));
    let mut scope = Scope { names: names(sources)?, aliases: Aliases::default(), parts: 0 };
    let mut select = Select {
        distinct: written.distinct,
        items: written.items,
        from: written.from,
        joins: Vec::new(),
        filter: written.filter,
        group_by: written.group_by,
        having: written.having,
        order_by: written.order_by,
        limit: written.limit,
        offset: written.offset,
    };
    for item in &mut select.items {
        scope.item(item)?;
    }
    for (at, join) in written.joins.into_iter().enumerate() {
        select.joins.push(scope.join(join, at + 1)?);
    }
    if let Some(filter) = &mut select.filter {
        scope.expression(filter, false)?;
    }
    scope.aliases = Aliases::of(&select.items);
    for key in &mut select.group_by {
        scope.key(key, &select.items)?;
    }
    if let Some(having) = &mut select.having {
        scope.expression(having, false)?;
    }
    for order in &mut select.order_by {
        scope.key(&mut order.expression, &select.items)?;
    }
    check::select(&select)?;
    Ok(select)
}

/// Finds out what the names in a filter over one collection mean.
pub(super) fn of_one_collection(collection: &Name, filter: &mut Expression) -> Resolved<()> {
    scope_of(collection).expression(filter, false)?;
    check::without_aggregate(filter, "WHERE")
}

/// Finds out what the names in an expression over one document mean.
pub(super) fn of_one_document(expression: &mut Expression) -> Resolved<()> {
    let name = SourceName { text: "".into(), is_alias: false };
    Scope { names: vec![name], aliases: Aliases::default(), parts: 0 }.expression(expression, false)
}

/// Finds out what the names in an `UPDATE` mean.
pub(super) fn update(collection: &Name, changes: &mut Changes, filter: Option<&mut Expression>) -> Resolved<()> {
    let mut scope = scope_of(collection);
    match changes {
        Changes::Merge(object) => {
            if !matches!(object.kind, Kind::Object(_) | Kind::Parameter(_)) {
                return Err(QueryError::syntax("UPDATE requires a JSON object after SET.", object.position));
            }
            scope.expression(object, false)?;
            check::without_aggregate(object, "SET")?;
        }
        Changes::Assign(assignments) => {
            for assignment in assignments.iter_mut() {
                scope.path(&mut assignment.path, assignment.at.0)?;
                assignment.path.qualifier = None;
                scope.expression(&mut assignment.value, false)?;
                check::without_aggregate(&assignment.value, "SET")?;
            }
            check::assigned_once(assignments)?;
        }
    }
    match filter {
        Some(filter) => of_one_collection(collection, filter),
        None => Ok(()),
    }
}

/// Finds out what a path of an index means: the collection's name before it goes.
pub(super) fn path_of_one_collection(collection: &Name, path: &mut PathExpression) {
    // A single collection's scope refuses nothing.
    let _ = scope_of(collection).path(path, collection.position);
    path.qualifier = None;
}

/// Checks that an expression reads no document.
pub(super) fn without_document(expression: &Expression) -> Resolved<()> {
    if let Kind::Path(_) | Kind::Aggregate { .. } = &expression.kind {
        return Err(no_document(expression.position));
    }
    expression.children().into_iter().try_for_each(without_document)
}

fn no_document(position: Position) -> QueryError {
    QueryError::meaning("no-document", "There is no document here that a field could be read from.", position)
        .suggesting("Put text in quotes: 'text'.")
}

fn scope_of(collection: &Name) -> Scope {
    let name = SourceName { text: collection.text.clone(), is_alias: false };
    Scope { names: vec![name], aliases: Aliases::default(), parts: 0 }
}

fn names<'a>(sources: impl Iterator<Item = &'a Source>) -> Resolved<Vec<SourceName>> {
    let mut names: Vec<SourceName> = Vec::new();
    for source in sources {
        let name = source.alias.as_ref().unwrap_or(&source.collection);
        if names.iter().any(|other| other.text.eq_ignore_ascii_case(&name.text)) {
            let message = format!("{} names two collections.", name.text);
            return Err(QueryError::meaning("ambiguous-name", message, name.position)
                .suggesting(format!("Give one of them another name: {} AS other.", source.collection)));
        }
        names.push(SourceName { text: name.text.clone(), is_alias: source.alias.is_some() });
    }
    Ok(names)
}

/// What paths may call a source.
struct SourceName {
    text: Box<str>,
    /// Whether it was given for this purpose, rather than being the collection's name.
    is_alias: bool,
}

/// What names may mean.
struct Scope {
    names: Vec<SourceName>,
    /// Aliases and what they stand for; none while the items themselves are looked at.
    aliases: Aliases,
    /// Parts that were copied for aliases.
    parts: usize,
}

impl Scope {
    fn item(&self, item: &mut Item) -> Resolved<()> {
        match item {
            Item::Value { expression, .. } => self.paths(expression),
            Item::Everything { at, .. } if self.names.is_empty() => Err(no_from(at.0)),
            Item::Everything { qualifier: None, .. } => Ok(()),
            Item::Everything { source, qualifier: Some(qualifier), at } => {
                let Some(found) = self.source(qualifier) else {
                    return Err(self.unknown_source(qualifier, at.0));
                };
                *source = Some(found);
                Ok(())
            }
        }
    }

    /// A key of `GROUP BY` or `ORDER BY`: a whole number is the item at that place.
    fn key(&mut self, key: &mut Expression, items: &[Item]) -> Resolved<()> {
        if let Kind::Literal(Value::String(text)) = &key.kind {
            return Err(QueryError::syntax("A text is the same for every row.", key.position)
                .suggesting(format!("Write a name in backticks: `{text}`.")));
        }
        let Kind::Literal(Value::Number(number)) = &key.kind else {
            return self.expression(key, false);
        };
        let item = number.as_str().parse::<usize>().ok().and_then(|place| items.get(place.checked_sub(1)?));
        match item {
            Some(Item::Value { expression, .. }) => {
                *key = expression.clone();
                self.count_parts(key)
            }
            _ => Err(QueryError::meaning(
                "no-such-item",
                format!("There is no value at place {number} of what is selected."),
                key.position,
            )),
        }
    }

    fn join(&self, join: WrittenJoin, at: usize) -> Resolved<Join> {
        let mut on = Vec::new();
        if let Some(mut condition) = join.on {
            self.paths(&mut condition)?;
            let parts = match condition.kind {
                Kind::And(parts) => parts,
                kind => vec![Expression::new(kind, condition.position)],
            };
            for part in parts {
                on.push(equality(part, at)?);
            }
        }
        Ok(Join { kind: join.kind, source: join.source, on })
    }

    /// An expression in which names may be aliases.
    fn expression(&mut self, expression: &mut Expression, in_aggregate: bool) -> Resolved<()> {
        if let Kind::Path(path) = &mut expression.kind {
            if let Some(meant) = self.aliases.meant_by(path, in_aggregate) {
                let meant = meant.clone();
                self.count_parts(&meant)?;
                *expression = meant;
                return Ok(());
            }
            return self.path(path, expression.position);
        }
        let in_aggregate = in_aggregate || matches!(expression.kind, Kind::Aggregate { .. });
        expression.children_mut().into_iter().try_for_each(|child| self.expression(child, in_aggregate))
    }

    /// An expression in which names are not aliases.
    fn paths(&self, expression: &mut Expression) -> Resolved<()> {
        if let Kind::Path(path) = &mut expression.kind {
            return self.path(path, expression.position);
        }
        expression.children_mut().into_iter().try_for_each(|child| self.paths(child))
    }

    fn path(&self, path: &mut PathExpression, position: Position) -> Resolved<()> {
        if self.names.is_empty() {
            return Err(no_from(position));
        }
        if path.source != BARE {
            return Ok(());
        }
        let Some(PathStep::Member(first)) = path.steps.first() else {
            path.source = 0;
            return Ok(());
        };
        if let Some(source) = self.source(first)
            && let Some(name) = self.names.get(source)
            && (name.is_alias || matches!(path.steps.get(1), Some(PathStep::Member(_))))
        {
            path.source = source;
            path.qualifier = Some(name.text.clone());
            path.steps.remove(0);
            return Ok(());
        }
        if self.names.len() > 1 {
            let message = format!("{first} does not say which of the collections it is a field of.");
            let whose: Vec<String> = self.names.iter().map(|name| format!("{}.{first}", name.text)).collect();
            return Err(QueryError::meaning("unqualified-path", message, position)
                .suggesting(format!("Write {}.", whose.join(" or "))));
        }
        path.source = 0;
        Ok(())
    }

    fn source(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|source| source.text.eq_ignore_ascii_case(name))
    }

    fn unknown_source(&self, name: &str, position: Position) -> QueryError {
        let error = QueryError::meaning("unknown-source", format!("No collection is called {name} here."), position);
        match self.names.first() {
            Some(known) => error.suggesting(format!("Write {}.*, or * for everything.", known.text)),
            None => error,
        }
    }

    fn count_parts(&mut self, copied: &Expression) -> Resolved<()> {
        self.parts += parts(copied);
        if self.parts > QUERY_PARTS_MAX {
            return Err(QueryError::meaning("query-too-long", "The aliases stand for too much.", copied.position));
        }
        Ok(())
    }
}

/// What aliases stand for.
#[derive(Default)]
struct Aliases {
    /// Each meaning, and whether an aggregate is in it.
    meanings: Vec<(Expression, bool)>,
    exact: HashMap<Box<str>, usize>,
    /// By the name in small letters.
    folded: HashMap<String, usize>,
}

impl Aliases {
    /// The aliases of what is selected; of two that are alike the first counts.
    fn of(items: &[Item]) -> Self {
        let mut aliases = Self::default();
        for item in items {
            if let Item::Value { expression, alias: Some(alias) } = item {
                let place = aliases.meanings.len();
                aliases.meanings.push((expression.clone(), expression.has_aggregate()));
                aliases.exact.entry(alias.text.clone()).or_insert(place);
                aliases.folded.entry(alias.text.to_ascii_lowercase()).or_insert(place);
            }
        }
        aliases
    }

    /// What a path of one name stands for. Inside of an aggregate a name is not another aggregate's alias.
    fn meant_by(&self, path: &PathExpression, in_aggregate: bool) -> Option<&Expression> {
        let [PathStep::Member(name)] = path.steps.as_slice() else {
            return None;
        };
        if path.source != BARE || self.meanings.is_empty() {
            return None;
        }
        let place = self.exact.get(name).or_else(|| self.folded.get(&name.to_ascii_lowercase()))?;
        let (meant, has_aggregate) = self.meanings.get(*place)?;
        (!in_aggregate || !has_aggregate).then_some(meant)
    }
}

fn parts(expression: &Expression) -> usize {
    1 + expression.children().into_iter().map(parts).sum::<usize>()
}

fn no_from(position: Position) -> QueryError {
    QueryError::meaning("no-document", "There is no FROM, so there is no document to read from.", position)
        .suggesting("Write FROM and a collection.")
}

/// `earlier = joined`, whichever way round it is written.
fn equality(condition: Expression, joined: usize) -> Resolved<JoinEquality> {
    let position = condition.position;
    let refused = || {
        QueryError::meaning(
            "join-not-an-equality",
            "ON compares a field of one collection with one of another.",
            position,
        )
        .suggesting("Write ON a.Id = b.CustomerId; other conditions stand in WHERE.")
    };
    let Kind::Compare { comparison: Comparison::Equal, left, right } = condition.kind else {
        return Err(refused());
    };
    check::without_aggregate(&left, "ON")?;
    check::without_aggregate(&right, "ON")?;
    let of_joined = |side: &Expression| {
        let mut sources = Vec::new();
        collect_sources(side, &mut sources);
        (
            sources.iter().all(|source| *source == joined),
            sources.iter().all(|source| *source < joined),
            sources.is_empty(),
        )
    };
    match (of_joined(&left), of_joined(&right)) {
        ((_, true, false), (true, _, false)) => Ok(JoinEquality { earlier: *left, joined: *right }),
        ((true, _, false), (_, true, false)) => Ok(JoinEquality { earlier: *right, joined: *left }),
        _ => Err(refused()),
    }
}

fn collect_sources(expression: &Expression, sources: &mut Vec<usize>) {
    if let Kind::Path(path) = &expression.kind {
        sources.push(path.source);
    }
    expression.children().into_iter().for_each(|child| collect_sources(child, sources));
}
