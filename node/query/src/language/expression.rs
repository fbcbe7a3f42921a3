//! Expressions: what is computed from a document, or from several that were joined.
//!
//! ```text
//!   Expression ─ kind ──┬─ Literal, Missing, Parameter, Element      values that are there
//!                       ├─ Path                                      a place in a document
//!                       ├─ Compare Like In Between Is Quantified     predicates: true, false or unknown
//!                       ├─ And Or Not                                their combinations
//!                       ├─ Arithmetic Negate Concat Case Call        computed values
//!                       ├─ Array Object                              values built of values
//!                       └─ Aggregate                                 computed over many rows
//! ```
//!
//! **What stays true.** `And` and `Or` hold all their parts in one list, so that a condition of a thousand parts is no
//! deeper than one of two. Depth is bounded by the parser; walking an expression recursively is safe.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde_json::Value;

use super::function::Function;

/// A place in the text of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Position {
    /// The line, from 1. Zero where there was no text.
    pub line: u32,
    /// The character in that line, from 1.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {} column {}", self.line, self.column)
    }
}

/// A part of a statement that has a value for each row. Equal to another if it says the same, wherever it stands.
#[derive(Debug, Clone)]
pub struct Expression {
    /// What it says.
    pub kind: Kind,
    /// Where it begins; for an operator between two values, where the operator stands.
    pub position: Position,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

/// What an expression says.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A null, boolean, number or text, as it was written: a number keeps its digits.
    Literal(Value),
    /// `MISSING`: no value at all.
    Missing,
    /// `@name` or `:name`: a value that comes with the request.
    Parameter(Box<str>),
    /// A place in a document.
    Path(PathExpression),
    /// The array item that the [`Kind::Quantified`], `MAP` or `FILTER` around it looks at: `@`.
    Element,

    /// `left = right` and the like.
    Compare {
        /// How they are compared.
        comparison: Comparison,
        /// The left side.
        left: Box<Expression>,
        /// The right side.
        right: Box<Expression>,
    },
    /// `value [NOT] LIKE pattern [ESCAPE 'c']`, where `%` is any text and `_` any one character.
    Like {
        /// The text.
        value: Box<Expression>,
        /// What it should look like.
        pattern: Box<Expression>,
        /// The character before a `%` or `_` that stands for itself.
        escape: Option<char>,
        /// Whether case counts not: `ILIKE`.
        ignores_case: bool,
        /// Whether `NOT` stands before it.
        negated: bool,
    },
    /// `value [NOT] IN ...`.
    In {
        /// What is looked for.
        value: Box<Expression>,
        /// Where it is looked for.
        among: Among,
        /// Whether `NOT` stands before it.
        negated: bool,
    },
    /// `value [NOT] BETWEEN low AND high`, both ends included.
    Between {
        /// The value.
        value: Box<Expression>,
        /// The least that it may be.
        low: Box<Expression>,
        /// The greatest that it may be.
        high: Box<Expression>,
        /// Whether `NOT` stands before it.
        negated: bool,
    },
    /// `value IS [NOT] NULL` and the like; never unknown.
    Is {
        /// The value.
        value: Box<Expression>,
        /// What it should be.
        state: State,
        /// Whether `NOT` stands before it.
        negated: bool,
    },
    /// `ANY items predicate`, `ALL items predicate`: the predicate is asked of each item as [`Kind::Element`], which
    /// is the left or value side of the [`Kind::Compare`], [`Kind::Like`], [`Kind::In`], [`Kind::Between`] or
    /// [`Kind::Is`] that `predicate` is.
    Quantified {
        /// Whether one item is enough.
        quantifier: Quantifier,
        /// The array: nearly always a path with `[*]`.
        items: Box<Expression>,
        /// What is asked of each item.
        predicate: Box<Expression>,
    },

    /// All of these; two or more, in the order in which they are asked.
    And(Vec<Expression>),
    /// One of these; two or more, in the order in which they are asked.
    Or(Vec<Expression>),
    /// The opposite.
    Not(Box<Expression>),

    /// `left + right` and the like.
    Arithmetic {
        /// What is done.
        operator: Arithmetic,
        /// The left side.
        left: Box<Expression>,
        /// The right side.
        right: Box<Expression>,
    },
    /// `-value`.
    Negate(Box<Expression>),
    /// `left || right || ...`: two or more texts one after the other.
    Concat(Vec<Expression>),
    /// `CASE [operand] WHEN .. THEN .. ELSE .. END`.
    Case {
        /// What each `WHEN` is compared with; without it, each `WHEN` is a condition.
        operand: Option<Box<Expression>>,
        /// Each `WHEN` with its `THEN`; at least one.
        branches: Vec<(Expression, Expression)>,
        /// `ELSE`; null where it is left out.
        otherwise: Option<Box<Expression>>,
    },
    /// A function of values of one row.
    Call {
        /// Which.
        function: Function,
        /// What it is given; the parser has checked how many.
        arguments: Vec<Expression>,
    },
    /// A function of values of many rows: of all, or of each group.
    Aggregate {
        /// Which.
        aggregate: Aggregate,
        /// What it is computed of; `None` is the `*` of `COUNT(*)`.
        argument: Option<Box<Expression>>,
        /// Whether equal values count once.
        distinct: bool,
    },

    /// `[a, b]`.
    Array(Vec<Expression>),
    /// `{name: a, total: price * qty}`. A field whose value is missing is left out.
    Object(Vec<(Box<str>, Expression)>),
}

/// `$.Items[*].Sku`, `Customer.Name`, `o.Customer.Name`: a place in a document, or many. Equal to another if it names
/// the same place, however the source is written.
#[derive(Debug, Clone)]
pub struct PathExpression {
    /// Which of the sources of a `SELECT` it begins in, counted from zero in the order of the text.
    /// Always zero without joins.
    pub source: usize,
    /// The name of the source as the path gives it; `None` if it begins with `$` or with a field.
    pub qualifier: Option<Box<str>>,
    /// From the document inwards; none for the document itself.
    pub steps: Vec<PathStep>,
}

/// One step inwards.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathStep {
    /// Into an object, by the exact name of a field.
    Member(Box<str>),
    /// Into an array, counted from zero.
    Index(u32),
    /// Into every item of an array: `[*]`. What is no array has no items; items that lack what follows are left out.
    Each,
}

impl PartialEq for PathExpression {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.steps == other.steps
    }
}

impl Eq for PathExpression {}

impl Hash for PathExpression {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.source.hash(state);
        self.steps.hash(state);
    }
}

impl PathExpression {
    /// Whether it names many values, and so has an array as its value.
    pub fn names_many(&self) -> bool {
        self.steps.contains(&PathStep::Each)
    }

    /// Whether it names the document's id: `Id` in any case, or `_id`, at the top of the document. A document has
    /// exactly one such field.
    pub fn is_document_id(&self) -> bool {
        match self.steps.as_slice() {
            [PathStep::Member(name)] => name.eq_ignore_ascii_case("Id") || name.eq_ignore_ascii_case("_id"),
            _ => false,
        }
    }

    /// The name that a column gets from it: its last field.
    pub fn last_name(&self) -> Option<&str> {
        self.steps.iter().rev().find_map(|step| match step {
            PathStep::Member(name) => Some(&**name),
            PathStep::Index(_) | PathStep::Each => None,
        })
    }
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>` or `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// The same question with the sides exchanged.
    #[must_use]
    pub fn flipped(self) -> Self {
        match self {
            Self::Equal => Self::Equal,
            Self::NotEqual => Self::NotEqual,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }

    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// Where `IN` looks.
#[derive(Debug, Clone, PartialEq)]
pub enum Among {
    /// Among values that are written out: `IN ('a', 'b')`. None is allowed, and holds nothing.
    Listed(Vec<Expression>),
    /// Among the items of an array: `IN $.Items[*].Sku`, `IN @ids`.
    ItemsOf(Box<Expression>),
}

/// What `IS` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Null, or missing.
    Null,
    /// Missing; a stored null is not.
    Missing,
    /// True: neither false nor unknown.
    True,
    /// False: neither true nor unknown.
    False,
}

/// How many items have to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantifier {
    /// At least one; false for an empty array.
    Any,
    /// Every one; true for an empty array.
    All,
}

/// What is done with two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
}

impl Arithmetic {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

/// A function of values of many rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// How many rows, or how many values that are neither null nor missing.
    Count,
    /// The exact sum.
    Sum,
    /// The sum divided by how many there are.
    Avg,
    /// The least.
    Min,
    /// The greatest.
    Max,
}

impl Aggregate {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "COUNT",
            Self::Sum => "SUM",
            Self::Avg => "AVG",
            Self::Min => "MIN",
            Self::Max => "MAX",
        }
    }
}

impl Expression {
    /// An expression that stood at a place in the text.
    pub fn new(kind: Kind, position: Position) -> Self {
        Self { kind, position }
    }

    /// Its parts, from left to right.
    pub fn children(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::Literal(_) | Kind::Missing | Kind::Parameter(_) | Kind::Path(_) | Kind::Element => Vec::new(),
            Kind::Compare { left, right, .. } | Kind::Arithmetic { left, right, .. } => vec![left, right],
            Kind::Like { value, pattern, .. } => vec![value, pattern],
            Kind::In { value, among: Among::Listed(items), .. } => {
                std::iter::once(&**value).chain(items.iter()).collect()
            }
            Kind::In { value, among: Among::ItemsOf(items), .. } => vec![value, items],
            Kind::Between { value, low, high, .. } => vec![value, low, high],
            Kind::Is { value, .. } | Kind::Not(value) | Kind::Negate(value) => vec![value],
            Kind::Quantified { items, predicate, .. } => vec![items, predicate],
            Kind::And(parts) | Kind::Or(parts) | Kind::Concat(parts) | Kind::Array(parts) => parts.iter().collect(),
            Kind::Case { operand, branches, otherwise } => operand
                .as_deref()
                .into_iter()
                .chain(branches.iter().flat_map(|(when, then)| [when, then]))
                .chain(otherwise.as_deref())
                .collect(),
            Kind::Call { arguments, .. } => arguments.iter().collect(),
            Kind::Aggregate { argument, .. } => argument.as_deref().into_iter().collect(),
            Kind::Object(fields) => fields.iter().map(|(_, value)| value).collect(),
        }
    }

    /// Its parts, from left to right, for changing them.
    pub(super) fn children_mut(&mut self) -> Vec<&mut Self> {
        match &mut self.kind {
            Kind::Literal(_) | Kind::Missing | Kind::Parameter(_) | Kind::Path(_) | Kind::Element => Vec::new(),
            Kind::Compare { left, right, .. } | Kind::Arithmetic { left, right, .. } => vec![left, right],
            Kind::Like { value, pattern, .. } => vec![value, pattern],
            Kind::In { value, among: Among::Listed(items), .. } => {
                std::iter::once(&mut **value).chain(items.iter_mut()).collect()
            }
            Kind::In { value, among: Among::ItemsOf(items), .. } => vec![value, items],
            Kind::Between { value, low, high, .. } => vec![value, low, high],
            Kind::Is { value, .. } | Kind::Not(value) | Kind::Negate(value) => vec![value],
            Kind::Quantified { items, predicate, .. } => vec![items, predicate],
            Kind::And(parts) | Kind::Or(parts) | Kind::Concat(parts) | Kind::Array(parts) => parts.iter_mut().collect(),
            Kind::Case { operand, branches, otherwise } => operand
                .as_deref_mut()
                .into_iter()
                .chain(branches.iter_mut().flat_map(|(when, then)| [when, then]))
                .chain(otherwise.as_deref_mut())
                .collect(),
            Kind::Call { arguments, .. } => arguments.iter_mut().collect(),
            Kind::Aggregate { argument, .. } => argument.as_deref_mut().into_iter().collect(),
            Kind::Object(fields) => fields.iter_mut().map(|(_, value)| value).collect(),
        }
    }

    /// Whether it, or any part of it, is so.
    pub fn any(&self, is_so: &mut dyn FnMut(&Self) -> bool) -> bool {
        is_so(self) || self.children().into_iter().any(|child| child.any(is_so))
    }

    /// Whether its value is the same for every row of a statement: nothing in it comes from a document or a group.
    pub fn is_constant(&self) -> bool {
        !self.any(&mut |part| match &part.kind {
            Kind::Path(_) | Kind::Element | Kind::Aggregate { .. } => true,
            Kind::Call { function, .. } => function.differs_by_row(),
            _ => false,
        })
    }

    /// Whether an aggregate is computed somewhere in it.
    pub fn has_aggregate(&self) -> bool {
        self.any(&mut |part| matches!(part.kind, Kind::Aggregate { .. }))
    }
}
