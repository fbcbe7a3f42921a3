//! Statements: what a request asks for.
//!
//! **What stays true.** A statement touches the collections that it names and nothing else: there is no form of it that
//! names a file, another database or a setting.

use super::expression::{Arithmetic, Expression, Kind, PathExpression, Position};

/// One statement. There is one in a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// Reads.
    Select(Box<Select>),
    /// Writes new documents.
    Insert(Insert),
    /// Changes documents.
    Update(Update),
    /// Deletes documents.
    Delete(Delete),
    /// Defines an index.
    CreateIndex(CreateIndex),
    /// Removes an index.
    DropIndex(DropIndex),
    /// Tells how a statement would be carried out, or was.
    Explain {
        /// Whether it is carried out, so that rows and time can be told.
        analyze: bool,
        /// Any other statement.
        statement: Box<Statement>,
    },
}

impl Statement {
    /// Every expression of the statement that is in no other one.
    pub fn expressions(&self) -> Vec<&Expression> {
        match self {
            Self::Select(select) => select.expressions(),
            Self::Insert(insert) => insert.documents.iter().collect(),
            Self::Update(Update { changes, filter, .. }) => {
                let values: Vec<&Expression> = match changes {
                    Changes::Merge(object) => vec![object],
                    Changes::Assign(assignments) => assignments.iter().map(|assignment| &assignment.value).collect(),
                };
                values.into_iter().chain(filter).collect()
            }
            Self::Delete(delete) => delete.filter.iter().collect(),
            Self::CreateIndex(_) | Self::DropIndex(_) => Vec::new(),
            Self::Explain { statement, .. } => statement.expressions(),
        }
    }
}

impl Select {
    fn expressions(&self) -> Vec<&Expression> {
        let items = self.items.iter().filter_map(|item| match item {
            Item::Value { expression, .. } => Some(expression),
            Item::Everything { .. } => None,
        });
        let joined = self.joins.iter().flat_map(|join| join.on.iter().flat_map(|pair| [&pair.earlier, &pair.joined]));
        items
            .chain(joined)
            .chain(&self.filter)
            .chain(&self.group_by)
            .chain(&self.having)
            .chain(self.order_by.iter().map(|order| &order.expression))
            .chain(&self.limit)
            .chain(&self.offset)
            .collect()
    }
}

/// A name that a statement gives: of a collection, an alias, an index. Equal to another if the text is.
#[derive(Debug, Clone)]
pub struct Name {
    /// The name without quotes. Not checked by the rules of what it names.
    pub text: Box<str>,
    /// Where it stands.
    pub position: Position,
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// `SELECT ... FROM ... WHERE ... GROUP BY ... HAVING ... ORDER BY ... LIMIT ... OFFSET ...`.
#[derive(Debug, Clone, PartialEq)]
pub struct Select {
    /// Whether equal rows are shown once.
    pub distinct: bool,
    /// What each row shows; at least one.
    pub items: Vec<Item>,
    /// The first collection. Without one, there is a single row that holds nothing.
    pub from: Option<Source>,
    /// The collections joined to it, from left to right.
    pub joins: Vec<Join>,
    /// Which rows; before grouping.
    pub filter: Option<Expression>,
    /// What rows are grouped by.
    pub group_by: Vec<Expression>,
    /// Which groups.
    pub having: Option<Expression>,
    /// What rows are ordered by, the most important first. An alias of an item stands here as that item's expression.
    pub order_by: Vec<Order>,
    /// The most rows that are wanted: `LIMIT n`, or `TOP n`. A whole number or a parameter.
    pub limit: Option<Expression>,
    /// Rows that are left out at the beginning. A whole number or a parameter.
    pub offset: Option<Expression>,
}

/// What a row shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// `*`, `$` or `o.*`: every field of a document.
    Everything {
        /// Of which source; `None` is all of them.
        source: Option<usize>,
        /// The source's name as it is written in `o.*`.
        qualifier: Option<Box<str>>,
        /// Where it stands.
        at: At,
    },
    /// A value.
    Value {
        /// The value.
        expression: Expression,
        /// What it is called; [`Item::column`] tells what it is called without.
        alias: Option<Name>,
    },
}

/// A place that does not count when two statements are compared.
#[derive(Debug, Clone, Copy)]
pub struct At(pub Position);

impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Item {
    /// The name of the column: the alias, or the last field of a path, or the text of the expression. `None` for
    /// `*`, and for `{...}` without an alias, whose fields are the row.
    pub fn column(&self) -> Option<String> {
        match self {
            Self::Everything { .. } => None,
            Self::Value { alias: Some(alias), .. } => Some(alias.text.to_string()),
            Self::Value { expression, alias: None } => match &expression.kind {
                Kind::Object(_) => None,
                Kind::Path(path) => path.last_name().map_or_else(|| Some(expression.to_string()), |n| Some(n.into())),
                _ => Some(expression.to_string()),
            },
        }
    }
}

/// A collection to read.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Its name.
    pub collection: Name,
    /// What paths call it.
    pub alias: Option<Name>,
}

/// A collection joined to those before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Join {
    /// What becomes of rows without a partner.
    pub kind: JoinKind,
    /// The collection.
    pub source: Source,
    /// What has to be equal; one or more, none for a cross join.
    pub on: Vec<JoinEquality>,
}

/// What becomes of rows without a partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JoinKind {
    /// They are left out.
    Inner,
    /// Those of the left side stay, with nothing for the right.
    Left,
    /// Those of the right side stay, with nothing for the left.
    Right,
    /// Every row is everybody's partner.
    Cross,
}

/// `earlier = joined`, whichever way round it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinEquality {
    /// Computed from the sources before.
    pub earlier: Expression,
    /// Computed from the source that is joined.
    pub joined: Expression,
}

/// One key of `ORDER BY`.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// What is compared.
    pub expression: Expression,
    /// Whether the greatest comes first.
    pub descending: bool,
    /// Where missing and null go; without a word they are less than everything else.
    pub nulls: Option<Nulls>,
}

/// Where missing and null go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Nulls {
    /// Before everything else.
    First,
    /// After everything else.
    Last,
}

/// `INSERT INTO c VALUES {..}, {..}` or `INSERT INTO c (a, b) VALUES (1, 2)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Insert {
    /// Where to.
    pub collection: Name,
    /// The documents: objects, or parameters that are objects or arrays of objects. They read no document.
    pub documents: Vec<Expression>,
}

/// `UPDATE c SET ... [WHERE ...]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// Where.
    pub collection: Name,
    /// What is changed.
    pub changes: Changes,
    /// Which documents; all without it.
    pub filter: Option<Expression>,
}

/// What an update changes.
#[derive(Debug, Clone, PartialEq)]
pub enum Changes {
    /// `SET {..}`: the top-level fields of an object, or of a parameter that is one, replace those of the document.
    Merge(Expression),
    /// `SET field = value, ...`, each computed from the document as it was.
    Assign(Vec<Assignment>),
}

/// `field = value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The field: a path without `[*]`. Objects on the way to it are made where they are missing.
    pub path: PathExpression,
    /// Where the field stands.
    pub at: At,
    /// Its new value. A missing one removes the field.
    pub value: Expression,
}

impl Assignment {
    /// What is added to the field, if it is `field = field + amount` or `field = field - amount` with an amount that
    /// no document has a say in: whether it is subtracted, and the amount.
    pub fn increment(&self) -> Option<(bool, &Expression)> {
        let Kind::Arithmetic { operator, left, right } = &self.value.kind else {
            return None;
        };
        let is_field = |side: &Expression| matches!(&side.kind, Kind::Path(path) if path.steps == self.path.steps);
        match operator {
            Arithmetic::Add if is_field(left) && right.is_constant() => Some((false, right)),
            Arithmetic::Add if is_field(right) && left.is_constant() => Some((false, left)),
            Arithmetic::Subtract if is_field(left) && right.is_constant() => Some((true, right)),
            _ => None,
        }
    }
}

/// `DELETE FROM c [WHERE ...]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Delete {
    /// Where.
    pub collection: Name,
    /// Which documents; all without it.
    pub filter: Option<Expression>,
}

/// `CREATE [UNIQUE] INDEX [IF NOT EXISTS] n ON c (path, ...) [CASE INSENSITIVE]`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateIndex {
    /// Its name.
    pub name: Name,
    /// The collection.
    pub collection: Name,
    /// The fields, the most important first; at least one, and none twice.
    pub paths: Vec<PathExpression>,
    /// Whether no two documents may agree in them.
    pub unique: bool,
    /// Whether case counts not.
    pub case_insensitive: bool,
    /// Whether an index of that name may be there already.
    pub if_not_exists: bool,
}

/// `DROP INDEX [IF EXISTS] n [ON c]`.
#[derive(Debug, Clone, PartialEq)]
pub struct DropIndex {
    /// Its name.
    pub name: Name,
    /// The collection, where it is given.
    pub collection: Option<Name>,
    /// Whether it may be gone already.
    pub if_exists: bool,
}
