//! `SELECT`, clause by clause.

use holdfast_core::limits::{QUERY_COLUMNS_MAX, QUERY_KEYS_MAX, QUERY_SOURCES_MAX};

use super::super::error::QueryError;
use super::super::expression::{Expression, Kind, PathExpression, PathStep, Position};
use super::super::resolve::{self, WrittenJoin, WrittenSelect};
use super::super::statement::{At, Item, JoinKind, Nulls, Order, Select, Source};
use super::super::token::Token;
use super::super::word::is_reserved;
use super::{Parsed, Parser};

/// The clauses after what is selected, in their order.
const CLAUSES: [&str; 8] = ["FROM", "JOIN", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET"];

/// Words that can go on where a statement is taken to end.
const CONTINUATIONS: [&str; 16] = [
    "FROM", "WHERE", "ORDER", "GROUP", "LIMIT", "OFFSET", "HAVING", "JOIN", "INNER", "LEFT", "AND", "OR", "LIKE",
    "BETWEEN", "IN", "IS",
];

impl Parser {
    /// A `SELECT`, its first word taken.
    pub(super) fn select(&mut self) -> Parsed<Select> {
        let (distinct, top) = self.distinct_and_top()?;
        let items = self.list_within(QUERY_COLUMNS_MAX, Self::item)?;
        if self.is_word("INTO") {
            return Err(QueryError::syntax("SELECT does not write.", self.position())
                .with_code("not-supported")
                .suggesting("Write INSERT INTO collection VALUES ..."));
        }
        let mut select = WrittenSelect { distinct, items, ..WrittenSelect::default() };
        if self.word("FROM") {
            select.from = Some(self.source()?);
            select.joins = self.joins()?;
        }
        if self.is_word("INCLUDE") {
            return Err(QueryError::syntax("INCLUDE is not supported.", self.position())
                .with_code("not-supported")
                .suggesting("Write JOIN collection AS c ON c.Id = ..."));
        }
        if self.word("WHERE") {
            select.filter = Some(self.expression()?);
        }
        if self.word("GROUP") {
            self.expect_word("BY")?;
            select.group_by = self.list_within(QUERY_KEYS_MAX, Self::expression)?;
        }
        if self.word("HAVING") {
            select.having = Some(self.expression()?);
        }
        if self.word("ORDER") {
            self.expect_word("BY")?;
            select.order_by = self.list_within(QUERY_KEYS_MAX, Self::order)?;
        }
        self.limits(&mut select, top)?;
        self.refuse_late_clause()?;
        if !matches!(self.peek(), Token::End | Token::Symbol(";")) {
            return Err(self.expected("the end of the statement", &CONTINUATIONS));
        }
        resolve::select(select)
    }

    fn distinct_and_top(&mut self) -> Parsed<(bool, Option<Expression>)> {
        let mut distinct = false;
        let mut top = None;
        loop {
            if !distinct && self.word("DISTINCT") {
                distinct = true;
            } else if top.is_none() && self.is_word("TOP") && self.is_count_after(1) {
                self.at += 1;
                top = Some(self.count()?);
            } else {
                break;
            }
        }
        if !distinct && self.is_word("ALL") && !self.is_symbol_after(1, "(") && !self.is_symbol_after(1, "$") {
            self.at += 1;
        }
        Ok((distinct, top))
    }

    /// Whether a number of rows stands there, so that a field may be called `Top`.
    fn is_count_after(&self, skipped: usize) -> bool {
        match self.peek_after(skipped) {
            Token::Number(_) | Token::Symbol("@" | ":") => true,
            Token::Symbol("(") => self.is_count_after(skipped + 1),
            _ => false,
        }
    }

    fn item(&mut self) -> Parsed<Item> {
        let position = self.position();
        if self.symbol("*") {
            if self.is_symbol(".") {
                return Err(QueryError::syntax("'*.' stands in aggregates alone.", position)
                    .suggesting("Write the field: price."));
            }
            return Ok(Item::Everything { source: None, qualifier: None, at: At(position) });
        }
        let follows_comma = matches!(
            self.at.checked_sub(1).and_then(|at| self.tokens.get(at)),
            Some(before) if before.token == Token::Symbol(",")
        );
        if follows_comma && self.is_word("FROM") {
            return Err(QueryError::syntax("Nothing follows the last comma.", position).suggesting("Leave it out."));
        }
        if matches!(self.peek(), Token::End) || self.is_word("FROM") {
            return Err(QueryError::syntax("SELECT needs to know what.", position)
                .suggesting("Write SELECT * for whole documents."));
        }
        let expression = self.expression()?;
        if self.is_symbol(".") && self.is_symbol_after(1, "*") {
            return self.everything_of(&expression, position);
        }
        let alias = self.alias()?;
        match &expression.kind {
            Kind::Path(path) if path.steps.is_empty() && alias.is_none() => {
                Ok(Item::Everything { source: None, qualifier: None, at: At(position) })
            }
            _ => Ok(Item::Value { expression, alias }),
        }
    }

    /// `o.*`, with `.*` still to come.
    fn everything_of(&mut self, expression: &Expression, position: Position) -> Parsed<Item> {
        if let Kind::Path(PathExpression { source: resolve::BARE, steps, .. }) = &expression.kind
            && let [PathStep::Member(name)] = steps.as_slice()
        {
            self.at += 2;
            return Ok(Item::Everything { source: None, qualifier: Some(name.clone()), at: At(position) });
        }
        Err(QueryError::syntax("'.*' follows the name of a collection.", self.position())
            .suggesting("Write [*] for every item of an array."))
    }

    /// `AS name`, or a name that simply follows.
    fn alias(&mut self) -> Parsed<Option<super::Name>> {
        if self.word("AS") {
            return match self.name() {
                Some(name) => Ok(Some(name)),
                None => Err(self.expected("a name", &[])),
            };
        }
        Ok(self.name())
    }

    fn source(&mut self) -> Parsed<Source> {
        if self.is_symbol("(") {
            return Err(super::expression::no_subqueries(self.position()));
        }
        let collection = self.collection("The name of a collection is missing or invalid.")?;
        let alias = if self.is_word("INCLUDE") { None } else { self.alias()? };
        Ok(Source { collection, alias })
    }

    fn joins(&mut self) -> Parsed<Vec<WrittenJoin>> {
        let mut joins = Vec::new();
        while let Some(kind) = self.join_kind()? {
            if joins.len() + 2 > QUERY_SOURCES_MAX {
                let message = format!("At most {QUERY_SOURCES_MAX} collections can be joined.");
                return Err(QueryError::syntax(message, self.position()).with_code("query-too-long"));
            }
            let source = self.source()?;
            let on = if kind == JoinKind::Cross {
                None
            } else if self.word("ON") {
                Some(self.expression()?)
            } else {
                return Err(self.expected("ON and what has to be equal", &["ON"]));
            };
            joins.push(WrittenJoin { kind, source, on });
        }
        Ok(joins)
    }

    fn join_kind(&mut self) -> Parsed<Option<JoinKind>> {
        if self.symbol(",") {
            return Ok(Some(JoinKind::Cross));
        }
        let kind = if self.word("INNER") {
            JoinKind::Inner
        } else if self.is_word("LEFT") || self.is_word("RIGHT") {
            let kind = if self.is_word("LEFT") { JoinKind::Left } else { JoinKind::Right };
            self.at += 1;
            self.word("OUTER");
            kind
        } else if self.word("CROSS") {
            JoinKind::Cross
        } else if self.is_word("FULL") {
            return Err(QueryError::syntax("FULL JOIN is not supported.", self.position())
                .with_code("not-supported")
                .suggesting("Write LEFT JOIN."));
        } else if self.is_word("JOIN") {
            JoinKind::Inner
        } else {
            return Ok(None);
        };
        self.expect_word("JOIN")?;
        Ok(Some(kind))
    }

    fn order(&mut self) -> Parsed<Order> {
        let expression = self.expression()?;
        let descending = self.word("DESC");
        if !descending {
            self.word("ASC");
        }
        let nulls = if self.word("NULLS") {
            if self.word("FIRST") {
                Some(Nulls::First)
            } else if self.word("LAST") {
                Some(Nulls::Last)
            } else {
                return Err(self.expected("FIRST or LAST", &["FIRST", "LAST"]));
            }
        } else {
            None
        };
        Ok(Order { expression, descending, nulls })
    }

    /// `LIMIT` and `OFFSET`, in either order.
    fn limits(&mut self, select: &mut WrittenSelect, top: Option<Expression>) -> Parsed<()> {
        select.limit = top;
        loop {
            let position = self.position();
            if self.word("LIMIT") {
                if select.limit.is_some() {
                    return Err(QueryError::syntax("The number of rows is limited twice.", position)
                        .suggesting("Write TOP or LIMIT once."));
                }
                select.limit = Some(self.count()?);
                if self.is_symbol(",") {
                    return Err(QueryError::syntax("LIMIT takes one number.", self.position())
                        .suggesting("Write LIMIT 10 OFFSET 20."));
                }
            } else if self.word("OFFSET") {
                if select.offset.is_some() {
                    return Err(QueryError::syntax("OFFSET stands once.", position));
                }
                select.offset = Some(self.count()?);
            } else {
                return Ok(());
            }
        }
    }

    /// A number of rows: whole, or a parameter.
    fn count(&mut self) -> Parsed<Expression> {
        let in_brackets = self.symbol("(");
        let position = self.position();
        let count = match self.peek() {
            Token::Number(digits) if digits.parse::<u64>().is_ok() => self.primary()?,
            Token::Symbol("@" | ":") => self.primary()?,
            _ => {
                return Err(QueryError::syntax(format!("Expected a number of rows, found {}.", self.peek()), position)
                    .suggesting("Write a whole number from 0, or a parameter: @rows."));
            }
        };
        if in_brackets {
            self.expect_symbol(")")?;
        }
        Ok(count)
    }

    /// Tells of a clause that stands after one that it should stand before.
    fn refuse_late_clause(&self) -> Parsed<()> {
        let Token::Word(word) = self.peek() else {
            return Ok(());
        };
        let is_clause = CLAUSES.iter().any(|clause| clause.eq_ignore_ascii_case(word));
        if is_clause || word.eq_ignore_ascii_case("UNION") {
            debug_assert!(is_reserved(word));
            let error =
                QueryError::syntax(format!("{} cannot stand here.", word.to_ascii_uppercase()), self.position());
            return Err(if is_clause {
                error.suggesting(
                    "The order is SELECT, FROM, JOIN, WHERE, GROUP BY, HAVING, ORDER BY, LIMIT, OFFSET, each once.",
                )
            } else {
                error.with_code("not-supported").suggesting("Send two queries.")
            });
        }
        Ok(())
    }
}
