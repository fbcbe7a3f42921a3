//! Operators, by how tightly they hold: `OR`, `AND`, `NOT`, predicates, `||`, `+ -`, `* / %`, a sign.

use holdfast_core::limits::QUERY_DEPTH_MAX;
use serde_json::Value;

use super::super::error::QueryError;
use super::super::expression::{Among, Arithmetic, Comparison, Expression, Kind, Position, Quantifier, State};
use super::super::print::Level;
use super::super::token::Token;
use super::{Parsed, Parser, too_deep};

impl Parser {
    /// Any expression.
    pub(super) fn expression(&mut self) -> Parsed<Expression> {
        self.at_level(Level::Or)
    }

    /// An expression of operators that hold at least so tightly.
    fn at_level(&mut self, least: Level) -> Parsed<Expression> {
        self.depth += 1;
        if self.depth > QUERY_DEPTH_MAX {
            return Err(too_deep(self.position()));
        }
        let siblings = std::mem::take(&mut self.tallest);
        let mut left = self.prefix(least)?;
        self.grow()?;
        while let Some(next) = self.operator()
            && next >= least
        {
            left = self.joined(left, next)?;
            self.grow()?;
        }
        self.tallest = self.tallest.max(siblings);
        self.depth -= 1;
        Ok(left)
    }

    /// Counts one level above the parts that were read. What is read from left to right grows without a bracket.
    fn grow(&mut self) -> Parsed<()> {
        self.tallest += 1;
        if self.tallest > QUERY_DEPTH_MAX { Err(too_deep(self.position())) } else { Ok(()) }
    }

    /// How tightly the operator that comes next holds.
    fn operator(&self) -> Option<Level> {
        match self.peek() {
            Token::Word(_) if self.is_word("OR") => Some(Level::Or),
            Token::Word(_) if self.is_word("AND") => Some(Level::And),
            Token::Word(_) if self.begins_question() => Some(Level::Predicate),
            Token::Symbol("=" | "==" | "<>" | "<" | "<=" | ">" | ">=") => Some(Level::Predicate),
            Token::Symbol("||") => Some(Level::Concat),
            Token::Symbol("+" | "-") => Some(Level::Sum),
            Token::Symbol("*" | "/" | "%") => Some(Level::Product),
            _ => None,
        }
    }

    fn begins_question(&self) -> bool {
        let skipped = usize::from(self.is_word("NOT"));
        let is_any_of = |words: &[&str]| words.iter().any(|word| self.is_word_after(skipped, word));
        is_any_of(&["LIKE", "ILIKE", "IN", "BETWEEN"]) || (skipped == 0 && is_any_of(&["IS", "ANY", "ALL"]))
    }

    /// What an operator makes of what stands before it and what follows it.
    fn joined(&mut self, left: Expression, level: Level) -> Parsed<Expression> {
        let position = self.position();
        match level {
            Level::Or => self.flat(left, "OR", Level::And, position),
            Level::And => self.flat(left, "AND", Level::Not, position),
            Level::Concat => self.flat(left, "||", Level::Sum, position),
            Level::Sum | Level::Product => self.arithmetic(left, position),
            _ => {
                let asked = self.question(left)?;
                if self.operator() == Some(Level::Predicate) {
                    return Err(QueryError::syntax("Comparisons cannot be chained.", self.position())
                        .suggesting("Write a < b AND b < c, or put one of them in brackets."));
                }
                Ok(asked)
            }
        }
    }

    /// Parts with the same operator between them, in one list.
    fn flat(
        &mut self,
        left: Expression,
        operator: &'static str,
        least: Level,
        position: Position,
    ) -> Parsed<Expression> {
        let mut parts = Vec::new();
        let add = |parts: &mut Vec<Expression>, part: Expression| match (operator, part.kind) {
            ("OR", Kind::Or(inner)) | ("AND", Kind::And(inner)) | ("||", Kind::Concat(inner)) => parts.extend(inner),
            (_, kind) => parts.push(Expression::new(kind, part.position)),
        };
        add(&mut parts, left);
        while self.word(operator) || self.symbol(operator) {
            let part = self.at_level(least)?;
            add(&mut parts, part);
        }
        let kind = match operator {
            "OR" => Kind::Or(parts),
            "AND" => Kind::And(parts),
            _ => Kind::Concat(parts),
        };
        Ok(Expression::new(kind, position))
    }

    fn arithmetic(&mut self, left: Expression, position: Position) -> Parsed<Expression> {
        let (operator, tighter) = match self.peek() {
            Token::Symbol("+") => (Arithmetic::Add, Level::Product),
            Token::Symbol("-") => (Arithmetic::Subtract, Level::Product),
            Token::Symbol("*") => (Arithmetic::Multiply, Level::Negation),
            Token::Symbol("/") => (Arithmetic::Divide, Level::Negation),
            _ => (Arithmetic::Remainder, Level::Negation),
        };
        self.at += 1;
        let right = self.at_level(tighter)?;
        let kind = Kind::Arithmetic { operator, left: Box::new(left), right: Box::new(right) };
        Ok(Expression::new(kind, position))
    }

    /// What may stand before a value, and the value.
    fn prefix(&mut self, least: Level) -> Parsed<Expression> {
        let position = self.position();
        if self.is_word("NOT") {
            if least > Level::Not {
                return Err(QueryError::syntax("NOT needs brackets here.", position).suggesting("Write (NOT ...)."));
            }
            self.at += 1;
            let operand = self.at_level(Level::Not)?;
            return Ok(Expression::new(Kind::Not(Box::new(operand)), position));
        }
        if let Some(quantifier) = self.quantifier() {
            if least > Level::Predicate {
                return Err(QueryError::syntax("ANY and ALL need brackets here.", position)
                    .suggesting("Write (ANY $.Items[*].Sku = 'x')."));
            }
            let items = self.at_level(Level::Concat)?;
            if self.operator() != Some(Level::Predicate) {
                return Err(self.expected("a comparison of the items", &["LIKE", "BETWEEN"]));
            }
            return self.quantified(quantifier, items, position);
        }
        if self.symbol("-") {
            if let Token::Number(digits) = self.peek() {
                let value = number(&format!("-{digits}"));
                self.at += 1;
                return Ok(Expression::new(Kind::Literal(value), position));
            }
            let operand = self.at_level(Level::Negation)?;
            return Ok(Expression::new(Kind::Negate(Box::new(operand)), position));
        }
        if self.symbol("+") {
            return self.at_level(Level::Negation);
        }
        self.primary()
    }

    fn quantifier(&mut self) -> Option<Quantifier> {
        if self.word("ANY") {
            return Some(Quantifier::Any);
        }
        self.word("ALL").then_some(Quantifier::All)
    }

    /// `ANY items question`, with the question still to come.
    fn quantified(&mut self, quantifier: Quantifier, items: Expression, position: Position) -> Parsed<Expression> {
        let predicate = self.question(Expression::new(Kind::Element, items.position))?;
        if matches!(predicate.kind, Kind::Quantified { .. }) {
            return Err(QueryError::syntax("ANY and ALL stand once in a comparison.", position));
        }
        let (items, predicate) = (Box::new(items), Box::new(predicate));
        Ok(Expression::new(Kind::Quantified { quantifier, items, predicate }, position))
    }

    /// A predicate of a value: everything from its operator on.
    fn question(&mut self, value: Expression) -> Parsed<Expression> {
        let position = self.position();
        if let Some(quantifier) = self.quantifier() {
            if self.operator() != Some(Level::Predicate) {
                return Err(self.expected("a comparison of the items", &["LIKE", "BETWEEN"]));
            }
            return self.quantified(quantifier, value, position);
        }
        if let Token::Symbol(symbol) = *self.peek() {
            return self.comparison(value, symbol, position);
        }
        let negated = self.word("NOT");
        refuse_many(&value, position)?;
        let kind = if self.word("IS") {
            self.state(value)?
        } else if self.word("IN") {
            let among = self.among()?;
            Kind::In { value: Box::new(value), among, negated }
        } else if self.word("BETWEEN") {
            let low = Box::new(self.at_level(Level::Concat)?);
            self.expect_word("AND")?;
            let high = Box::new(self.at_level(Level::Concat)?);
            Kind::Between { value: Box::new(value), low, high, negated }
        } else {
            let ignores_case = self.word("ILIKE");
            if !ignores_case {
                self.expect_word("LIKE")?;
            }
            let pattern = Box::new(self.at_level(Level::Concat)?);
            let escape = if self.word("ESCAPE") { Some(self.escape()?) } else { None };
            Kind::Like { value: Box::new(value), pattern, escape, ignores_case, negated }
        };
        Ok(Expression::new(kind, position))
    }

    fn comparison(&mut self, left: Expression, symbol: &str, position: Position) -> Parsed<Expression> {
        let comparison = match symbol {
            "=" => Comparison::Equal,
            "<>" => Comparison::NotEqual,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            _ => return Err(self.expected("a comparison", &[])),
        };
        self.at += 1;
        let compare = |comparison, left: Expression, right: Expression| {
            let (left, right) = (Box::new(left), Box::new(right));
            Expression::new(Kind::Compare { comparison, left, right }, position)
        };
        if let Some(quantifier) = self.quantifier() {
            let items = Box::new(self.at_level(Level::Concat)?);
            let element = Expression::new(Kind::Element, items.position);
            if left.kind == Kind::Element {
                return Err(QueryError::syntax("ANY and ALL stand once in a comparison.", position));
            }
            let predicate = Box::new(compare(comparison.flipped(), element, left));
            return Ok(Expression::new(Kind::Quantified { quantifier, items, predicate }, position));
        }
        let right = self.at_level(Level::Concat)?;
        self.refuse_two_texts(&left, &right)?;
        if !may_be_array(&right) {
            refuse_many(&left, position)?;
        }
        if !may_be_array(&left) {
            refuse_many(&right, position)?;
        }
        Ok(compare(comparison, left, right))
    }

    /// Refuses to compare one text with another where one of them was meant as a name: in double quotes.
    fn refuse_two_texts(&self, left: &Expression, right: &Expression) -> Parsed<()> {
        let (Kind::Literal(Value::String(one)), Kind::Literal(Value::String(other))) = (&left.kind, &right.kind) else {
            return Ok(());
        };
        let (name, at) = match self.double_quoted {
            Some(at) if at == left.position => (one, at),
            Some(at) if at == right.position => (other, at),
            _ => return Ok(()),
        };
        Err(QueryError::syntax("Both sides are text, the same for every row.", at)
            .suggesting(format!("Double quotes are around text; write a name in backticks: `{name}`.")))
    }

    fn state(&mut self, value: Expression) -> Parsed<Kind> {
        let negated = self.word("NOT");
        let state = match self.peek() {
            Token::Word(word) => match word.to_ascii_uppercase().as_str() {
                "NULL" | "UNKNOWN" => State::Null,
                "MISSING" => State::Missing,
                "TRUE" => State::True,
                "FALSE" => State::False,
                _ => return Err(self.expected("NULL, MISSING, TRUE or FALSE", &["NULL", "MISSING", "TRUE", "FALSE"])),
            },
            _ => return Err(self.expected("NULL, MISSING, TRUE or FALSE", &[])),
        };
        self.at += 1;
        Ok(Kind::Is { value: Box::new(value), state, negated })
    }

    /// What follows `IN`. A lone path or parameter stands for the items of an array, with and without brackets.
    fn among(&mut self) -> Parsed<Among> {
        if !self.symbol("(") {
            let items = self.primary()?;
            return Ok(match items.kind {
                Kind::Array(items) => Among::Listed(items),
                _ => Among::ItemsOf(Box::new(items)),
            });
        }
        if self.symbol(")") {
            return Ok(Among::Listed(Vec::new()));
        }
        if self.is_word("SELECT") {
            return Err(no_subqueries(self.position()));
        }
        let mut items = self.list(Self::expression)?;
        self.expect_symbol(")")?;
        let is_array = |item: &Expression| match &item.kind {
            Kind::Path(path) => path.names_many(),
            Kind::Parameter(_) => true,
            _ => false,
        };
        match items.pop() {
            Some(only) if items.is_empty() && is_array(&only) => Ok(Among::ItemsOf(Box::new(only))),
            last => Ok(Among::Listed(items.into_iter().chain(last).collect())),
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        if let Token::Text { text, .. } = self.peek() {
            let mut characters = text.chars();
            if let (Some(escape), None) = (characters.next(), characters.next()) {
                self.at += 1;
                return Ok(escape);
            }
        }
        Err(self.expected("one character in quotes", &[]))
    }
}

/// Refuses to ask of an array what is meant to be asked of its items.
fn refuse_many(value: &Expression, position: Position) -> Parsed<()> {
    let names_many = match &value.kind {
        Kind::Path(path) => path.names_many(),
        Kind::Call { function, .. } => function.looks_at_items(),
        _ => false,
    };
    if !names_many {
        return Ok(());
    }
    Err(QueryError::syntax(format!("{value} names many values, which are compared with one."), position)
        .with_code("many-values")
        .suggesting(format!("Write ANY or ALL before it: ANY {value} = ...")))
}

pub(super) fn no_subqueries(position: Position) -> QueryError {
    QueryError::syntax("A query inside a query is not supported.", position)
        .with_code("not-supported")
        .suggesting("Join the collections, or send two queries and hand on values as parameters.")
}

/// A number that the tokenizer has made JSON of.
pub(super) fn number(digits: &str) -> Value {
    digits.parse().map_or(Value::Null, Value::Number)
}

/// Whether a comparison with an array can make sense.
fn may_be_array(side: &Expression) -> bool {
    match &side.kind {
        Kind::Path(path) => path.names_many(),
        Kind::Array(_) | Kind::Parameter(_) | Kind::Call { .. } | Kind::Element => true,
        _ => false,
    }
}
