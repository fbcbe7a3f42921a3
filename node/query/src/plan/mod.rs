//! How a `SELECT` is carried out: which rows are looked at, by which way, and what is done with them.
//!
//! ```text
//!   source ─► joined sources ─► filter ─► groups ─► HAVING ─► DISTINCT ─► order ─► OFFSET, LIMIT ─► columns
//!   └ access: everything │ ids │ a stretch of ids │ stretches of an index
//! ```
//!
//! A plan is plain data, made from a statement and from what the database says of its indexes and collections. It holds
//! no row, and can be shown ([`crate::explain`]).
//!
//! **What stays true.** With the optimiser off, every source is read as a whole and every condition is asked of every
//! row. With it on, the rows are the same: what an access leaves out could not have matched, and what it lets through
//! is asked again unless the access answers for it.
//!
//! **What it does not do.** No guessing by samples: the number of rows in a stretch of an index is counted up to a
//! bound, and that decides.

pub mod constants;
pub mod terms;
pub mod groups;
pub mod index;
pub mod select;

use std::sync::Arc;

use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_storage::indexes::IndexState;
use holdfast_storage::scan::Direction;

use crate::language::expression::{Aggregate, Expression};
use crate::language::statement::{JoinKind, Nulls};
use crate::plan::index::IndexAccess;

/// How a `SELECT` is carried out.
#[derive(Debug, Clone)]
pub struct SelectPlan {
    /// What is read, in the order of the text; none for a `SELECT` without `FROM`.
    pub sources: Vec<SourcePlan>,
    /// What is asked of each row once all its sources are there.
    pub filter: Vec<Expression>,
    /// How rows are put together.
    pub grouping: Option<Grouping>,
    /// What is asked of each group, as an expression over the document that the group makes.
    pub having: Option<Expression>,
    /// What each row shows. Over the sources, or over the document of a group.
    pub columns: Vec<ColumnPlan>,
    /// Whether equal rows are shown once.
    pub distinct: bool,
    /// What rows are ordered by.
    pub order: Vec<OrderKey>,
    /// Whether the access hands rows out in that order already.
    pub is_in_order: bool,
    /// The most rows that the statement wants.
    pub limit: Option<u64>,
    /// Rows that are left out at the beginning.
    pub offset: u64,
    /// Whether the number of rows is all that is asked, and the store knows it.
    pub counts_only: bool,
}

/// How one source is read.
#[derive(Debug, Clone)]
pub struct SourcePlan {
    /// What the statement calls it.
    pub name: String,
    /// What it is.
    pub collection: Collection,
    /// How it is read; for a joined source, when its rows are put into a table first.
    pub access: Access,
    /// What is asked of each of its documents, before anything else.
    pub filter: Vec<Expression>,
    /// How it is joined to the sources before it; `None` for the first one.
    pub join: Option<JoinPlan>,
    /// How many rows it is expected to give; `u64::MAX` where that is of no use to anybody.
    pub estimated_rows: u64,
}

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collection {
    /// Documents that people wrote.
    Documents(CollectionName),
    /// What the node tells about itself.
    System(System),
}

/// What the node tells about itself as if it were a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum System {
    /// `_conflicts`
    Conflicts,
    /// `_operations`: the log.
    Operations,
    /// `_collections`
    Collections,
    /// `_indexes`
    Indexes,
}

impl System {
    /// By its name as it is written in a statement.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Conflicts, Self::Operations, Self::Collections, Self::Indexes];
        all.into_iter().find(|system| system.name().eq_ignore_ascii_case(name))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conflicts => "_conflicts",
            Self::Operations => "_operations",
            Self::Collections => "_collections",
            Self::Indexes => "_indexes",
        }
    }
}

/// By which way documents are reached.
#[derive(Debug, Clone)]
pub enum Access {
    /// Each of them, by id.
    Everything(Direction),
    /// Those with these ids, sorted, each once.
    Ids(Vec<DocumentId>, Direction),
    /// Those whose ids lie between bounds.
    IdRange(IdRange, Direction),
    /// Those that an index finds.
    Index(Box<IndexAccess>),
}

impl Access {
    /// The order in which rows come, for a cursor to name.
    pub(crate) fn order(&self) -> String {
        match self {
            Self::Everything(direction) | Self::Ids(_, direction) | Self::IdRange(_, direction) => {
                format!("ids {direction:?}")
            }
            // Documents that have several entries are put in the order of their ids first.
            Self::Index(access) if !access.is_plain() => format!("ids {:?}", Direction::Forward),
            Self::Index(access) => format!("index {} {:?}", access.index.number, access.direction),
        }
    }
}

/// A stretch of ids, compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdRange {
    /// Where it begins.
    pub start: std::ops::Bound<Vec<u8>>,
    /// Where it ends.
    pub end: std::ops::Bound<Vec<u8>>,
}

/// How a source is joined.
#[derive(Debug, Clone)]
pub struct JoinPlan {
    /// What becomes of rows without a partner.
    pub kind: JoinKind,
    /// Expressions over the sources before, and over this one, that have to be equal.
    pub on: Vec<(Expression, Expression)>,
    /// How partners are found.
    pub way: JoinWay,
}

/// How partners are found.
#[derive(Debug, Clone)]
pub enum JoinWay {
    /// The documents are put into a table by what is to be equal, or into a plain list for a cross join.
    Table,
    /// By id: the equality of this number names the document's id.
    ById(usize),
    /// By an index, whose first path the equality of this number names.
    ByIndex(Arc<IndexState>, usize),
}

/// How rows are put together.
#[derive(Debug, Clone, Default)]
pub struct Grouping {
    /// What rows of one group have in common. Without any, all rows are one group, even if there are none.
    pub keys: Vec<Expression>,
    /// What is computed of each group.
    pub aggregates: Vec<AggregateCall>,
}

/// One aggregate.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateCall {
    /// Which.
    pub aggregate: Aggregate,
    /// Of what; `None` counts rows.
    pub argument: Option<Expression>,
    /// Whether equal values count once.
    pub distinct: bool,
}

/// What a row shows.
#[derive(Debug, Clone)]
pub enum ColumnPlan {
    /// Every field of the document of a source.
    Everything(usize),
    /// The documents of all sources, each under its name.
    AllSources,
    /// The fields of an object.
    Fields(Expression),
    /// A value under a name.
    Value {
        /// The name; no other column has it.
        name: String,
        /// The value.
        expression: Expression,
    },
}

/// What rows are ordered by.
#[derive(Debug, Clone)]
pub struct OrderKey {
    /// What is compared.
    pub expression: Expression,
    /// Whether the greatest comes first.
    pub descending: bool,
    /// Where missing and null go.
    pub nulls: Option<Nulls>,
}

/// How a plan is made and carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether indexes, ids and short cuts are used. Without them everything takes longer and is the same.
    pub optimises: bool,
    /// Whether documents that are shown as a whole show `_id`, `_sys_version` and the other fields that the node keeps.
    pub shows_reserved_fields: bool,
    /// Whether rows are counted beforehand where nothing depends on it, so that a plan can tell what it expects.
    pub estimates: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { optimises: true, shows_reserved_fields: false, estimates: false }
    }
}
