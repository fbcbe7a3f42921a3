//! What stands between operators: literals, parameters, paths, calls, `CASE`, arrays and objects.

use holdfast_core::path::PATH_STEPS_MAX;
use serde_json::Value;

use super::super::error::QueryError;
use super::super::expression::{Aggregate, Expression, Kind, PathExpression, PathStep, Position};
use super::super::function::{FUNCTIONS, Function, Signature};
use super::super::resolve::BARE;
use super::super::suggest::nearest;
use super::super::token::Token;
use super::super::word::is_reserved;
use super::expression::{no_subqueries, number};
use super::{Parsed, Parser};

/// Words that are part of the language, and functions before a bracket.
const RESERVED_FUNCTIONS: [(&str, Function); 6] = [
    ("LEFT", Function::Left),
    ("RIGHT", Function::Right),
    ("DISTINCT", Function::Distinct),
    ("VALUES", Function::Values),
    ("JOIN", Function::Join),
    ("UNION", Function::Union),
];

/// Functions that need no brackets.
const BARE_FUNCTIONS: [(&str, Function); 2] = [("CURRENT_TIMESTAMP", Function::Now), ("CURRENT_DATE", Function::Today)];

/// What `CAST(x AS type)` calls.
const CASTS: [(&str, Function); 14] = [
    ("INT", Function::ToInteger),
    ("INTEGER", Function::ToInteger),
    ("BIGINT", Function::ToInteger),
    ("NUMBER", Function::ToNumber),
    ("NUMERIC", Function::ToNumber),
    ("DECIMAL", Function::ToNumber),
    ("DOUBLE", Function::ToNumber),
    ("REAL", Function::ToNumber),
    ("TEXT", Function::ToString),
    ("STRING", Function::ToString),
    ("VARCHAR", Function::ToString),
    ("BOOLEAN", Function::ToBoolean),
    ("DATE", Function::Date),
    ("DATETIME", Function::DateTime),
];

/// Units of time that may be written without quotes, as the first argument of a date function.
const UNITS: [&str; 9] = ["YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND", "MILLISECOND"];

impl Parser {
    pub(super) fn primary(&mut self) -> Parsed<Expression> {
        let position = self.position();
        let kind = match self.peek().clone() {
            Token::Number(digits) => self.taken(Kind::Literal(number(&digits))),
            Token::Text { text, is_double } => {
                if is_double {
                    self.double_quoted = Some(position);
                }
                self.taken(Kind::Literal(Value::String(text)))
            }
            Token::Symbol("(") => return self.bracketed(),
            Token::Symbol("[") => self.array()?,
            Token::Symbol("{") => self.object()?,
            Token::Symbol("@") if !self.is_named_after(1) => return self.element(),
            Token::Symbol("@" | ":") => self.parameter()?,
            Token::Dollar(_) | Token::Name(_) => return self.path_value(),
            Token::Word(word) => return self.worded(&word, position),
            Token::Symbol(_) | Token::End => return Err(self.expected("a value", &[])),
        };
        Ok(Expression::new(kind, position))
    }

    fn taken(&mut self, kind: Kind) -> Kind {
        self.at += 1;
        kind
    }

    fn bracketed(&mut self) -> Parsed<Expression> {
        let opened = self.position();
        self.at += 1;
        if self.is_word("SELECT") {
            return Err(no_subqueries(self.position()));
        }
        let inner = self.expression()?;
        if !self.symbol(")") {
            let error = self.expected("')'", &["AND", "OR", "LIKE", "BETWEEN"]);
            return Err(match error.suggestion {
                Some(_) => error,
                None => error.suggesting(format!("The bracket at {opened} is still open.")),
            });
        }
        Ok(inner)
    }

    fn worded(&mut self, word: &str, position: Position) -> Parsed<Expression> {
        let upper = word.to_ascii_uppercase();
        let constant = match upper.as_str() {
            "NULL" => Some(Kind::Literal(Value::Null)),
            "TRUE" => Some(Kind::Literal(Value::Bool(true))),
            "FALSE" => Some(Kind::Literal(Value::Bool(false))),
            "MISSING" => Some(Kind::Missing),
            _ => None,
        };
        if let Some(kind) = constant {
            return Ok(Expression::new(self.taken(kind), position));
        }
        if upper == "CASE" {
            let kind = self.case()?;
            return Ok(Expression::new(kind, position));
        }
        let found = |known: &[(&str, Function)]| known.iter().find(|(name, _)| *name == upper).map(|(_, found)| *found);
        if self.is_symbol_after(1, "(") {
            if let Some(function) = found(&RESERVED_FUNCTIONS) {
                self.at += 2;
                return self.call_of(function.name(), position);
            }
            if !is_reserved(word) {
                self.at += 2;
                return self.call(word, &upper, position);
            }
        }
        if let Some(function) = found(&BARE_FUNCTIONS)
            && !self.is_symbol_after(1, ".")
        {
            let kind = self.taken(Kind::Call { function, arguments: Vec::new() });
            return Ok(Expression::new(kind, position));
        }
        if is_reserved(word) {
            return Err(self.expected("a value", &[]));
        }
        self.path_value()
    }

    /// Whether a name or number follows without space, so that `@` begins a parameter.
    fn is_named_after(&self, skipped: usize) -> bool {
        let next = self.tokens.get(self.at + skipped);
        next.is_some_and(|next| next.is_adjacent && matches!(next.token, Token::Word(_) | Token::Number(_)))
    }

    /// `@`, the item that is looked at, and its fields: `@.Price`.
    fn element(&mut self) -> Parsed<Expression> {
        let position = self.position();
        if self.items == 0 {
            return Err(QueryError::syntax("There is no item here that @ could be.", position)
                .suggesting("Write a parameter's name after it, or @ inside of MAP and FILTER."));
        }
        self.at += 1;
        self.fields_of(Expression::new(Kind::Element, position))
    }

    /// A value with the fields that follow it.
    fn fields_of(&mut self, value: Expression) -> Parsed<Expression> {
        let mut value = value;
        let mut steps = 0;
        loop {
            let position = self.position();
            let place = if self.symbol(".") {
                self.member()?
            } else if self.is_symbol("[") && !self.begins_filter() {
                self.at += 1;
                self.in_brackets()?
            } else {
                return Ok(value);
            };
            let place = match place {
                PathStep::Member(name) => Value::from(&*name),
                PathStep::Index(index) => Value::from(index),
                PathStep::Each => {
                    return Err(QueryError::syntax("[*] cannot stand here.", position)
                        .suggesting("Write MAP inside of MAP, or ANY without it."));
                }
            };
            steps += 1;
            if steps > PATH_STEPS_MAX {
                let message = format!("The path has more than {PATH_STEPS_MAX} steps.");
                return Err(QueryError::syntax(message, position).with_code("query-too-deep"));
            }
            // Each is one level more around what was read.
            self.tallest += 1;
            let arguments = vec![value, Expression::new(Kind::Literal(place), position)];
            value = Expression::new(Kind::Call { function: Function::Field, arguments }, position);
        }
    }

    /// Whether `[@.Price > 10]` comes next, which leaves some items out.
    fn begins_filter(&self) -> bool {
        self.is_symbol("[") && self.is_symbol_after(1, "@") && !self.is_named_after(2)
    }

    /// A path, and items left out by a condition: `$.Items[@.Price > 10].Sku` is
    /// `MAP(FILTER($.Items => @.Price > 10) => @.Sku)`.
    fn path_value(&mut self) -> Parsed<Expression> {
        let position = self.position();
        let mut value = Expression::new(Kind::Path(self.path()?), position);
        let mut filters = 0;
        while self.begins_filter() {
            filters += 1;
            if filters > PATH_STEPS_MAX {
                return Err(super::too_deep(self.position()));
            }
            self.at += 1;
            let condition = self.of_item()?;
            if !self.symbol("]") {
                return Err(self.expected("']'", &["AND", "OR"]));
            }
            let call = |function, arguments| Expression::new(Kind::Call { function, arguments }, position);
            value = call(Function::Filter, vec![value, condition]);
            let field = self.fields_of(Expression::new(Kind::Element, position))?;
            self.tallest += 2;
            if field.kind != Kind::Element {
                value = call(Function::Map, vec![value, field]);
            }
        }
        Ok(value)
    }

    /// An expression in which `@` is an item.
    fn of_item(&mut self) -> Parsed<Expression> {
        self.items += 1;
        let expression = self.expression();
        self.items -= 1;
        expression
    }

    /// `@name` or `:name`, the sign and the name without space between them.
    fn parameter(&mut self) -> Parsed<Kind> {
        self.at += 1;
        match self.peek() {
            Token::Word(name) if self.is_adjacent() => {
                let name = name.as_str().into();
                Ok(self.taken(Kind::Parameter(name)))
            }
            Token::Number(digits) if self.is_adjacent() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let name = digits.as_str().into();
                Ok(self.taken(Kind::Parameter(name)))
            }
            _ => Err(self.expected("the name of a parameter", &[])),
        }
    }

    /// A path, as it is written: which source it begins in is found out when all are known.
    pub(super) fn path(&mut self) -> Parsed<PathExpression> {
        let mut path = PathExpression { source: 0, qualifier: None, steps: Vec::new() };
        match self.peek() {
            Token::Dollar(name) if name.is_empty() => {}
            Token::Dollar(name) => path.steps.push(PathStep::Member(name.as_str().into())),
            Token::Name(name) => {
                path.steps.push(PathStep::Member(name.as_str().into()));
                path.source = BARE;
            }
            Token::Word(word) if !is_reserved(word) => {
                path.steps.push(PathStep::Member(word.as_str().into()));
                path.source = BARE;
            }
            _ => return Err(self.expected("a path, such as Customer.Name", &[])),
        }
        self.at += 1;
        loop {
            if self.is_symbol(".") {
                // The star of `o.*` belongs to the list of what is selected.
                if self.is_symbol_after(1, "*") {
                    return Ok(path);
                }
                self.at += 1;
                let step = self.member()?;
                path.steps.push(step);
            } else if self.is_symbol("[") && !self.begins_filter() {
                self.at += 1;
                let step = self.in_brackets()?;
                path.steps.push(step);
            } else {
                return Ok(path);
            }
            if path.steps.len() > PATH_STEPS_MAX {
                let message = format!("The path has more than {PATH_STEPS_MAX} steps.");
                return Err(QueryError::syntax(message, self.position()).with_code("query-too-deep"));
            }
        }
    }

    fn member(&mut self) -> Parsed<PathStep> {
        let name = match self.peek() {
            Token::Word(name) | Token::Name(name) | Token::Text { text: name, is_double: true } => name.as_str().into(),
            Token::Dollar(name) if !name.is_empty() => format!("${name}").into(),
            Token::Dollar(_) => {
                let error = self.expected("the name of a field", &[]);
                return Err(error.suggesting("The document of a collection o is o, and o.* are its fields."));
            }
            _ => {
                return Err(self.expected("the name of a field", &[]).suggesting(
                    "Write a name with other signs than letters, digits and _ in brackets: $[\"order-id\"].",
                ));
            }
        };
        self.at += 1;
        Ok(PathStep::Member(name))
    }

    /// What stands between the brackets of a path, and the closing one.
    fn in_brackets(&mut self) -> Parsed<PathStep> {
        let step = match self.peek() {
            Token::Symbol("*") => PathStep::Each,
            Token::Text { text, .. } => PathStep::Member(text.as_str().into()),
            Token::Number(digits) => match digits.parse() {
                Ok(index) => PathStep::Index(index),
                Err(_) => return Err(self.expected("a whole number below 2^32", &[])),
            },
            Token::Symbol("-") => {
                return Err(self.expected("an index from 0", &[]).suggesting("Write LAST(array) for the last item."));
            }
            _ => {
                let error = self.expected("an index such as [0], a name such as [\"order-id\"], or [*]", &[]);
                return Err(error.suggesting("To find items by a condition, write ANY $.Items[*].Sku = 'x'."));
            }
        };
        self.at += 1;
        self.expect_symbol("]")?;
        Ok(step)
    }

    fn case(&mut self) -> Parsed<Kind> {
        self.at += 1;
        let operand = if self.is_word("WHEN") { None } else { Some(Box::new(self.expression()?)) };
        let mut branches = Vec::new();
        while self.word("WHEN") {
            let when = self.expression()?;
            self.expect_word("THEN")?;
            branches.push((when, self.expression()?));
        }
        if branches.is_empty() {
            return Err(self.expected("WHEN", &["WHEN"]));
        }
        let otherwise = if self.word("ELSE") { Some(Box::new(self.expression()?)) } else { None };
        if !self.word("END") {
            return Err(self.expected("WHEN, ELSE or END", &["WHEN", "ELSE", "END"]));
        }
        Ok(Kind::Case { operand, branches, otherwise })
    }

    fn array(&mut self) -> Parsed<Kind> {
        self.at += 1;
        if self.symbol("]") {
            return Ok(Kind::Array(Vec::new()));
        }
        let items = self.list(Self::expression)?;
        self.expect_symbol("]")?;
        Ok(Kind::Array(items))
    }

    /// An object, its `{` to come.
    pub(super) fn object(&mut self) -> Parsed<Kind> {
        self.expect_symbol("{")?;
        if self.symbol("}") {
            return Ok(Kind::Object(Vec::new()));
        }
        let fields = self.list(Self::field)?;
        if !self.symbol("}") {
            return Err(self.expected("',' or '}'", &[]));
        }
        Ok(Kind::Object(fields))
    }

    /// `name: value`, or `name` alone for the field of that name.
    fn field(&mut self) -> Parsed<(Box<str>, Expression)> {
        let position = self.position();
        let (name, is_bare): (Box<str>, bool) = match self.peek() {
            Token::Word(name) => (name.as_str().into(), !is_reserved(name)),
            Token::Name(name) => (name.as_str().into(), true),
            Token::Text { text, .. } => (text.as_str().into(), false),
            Token::Dollar(name) => (format!("${name}").into(), false),
            _ => return Err(self.expected("the name of a field", &[])),
        };
        self.at += 1;
        if name.starts_with("$serde_json::private::") {
            let message = "Keys that begin with '$serde_json::private::' cannot be stored.";
            return Err(QueryError::syntax(message, position).with_code("reserved-key"));
        }
        if self.symbol(":") {
            return Ok((name, self.expression()?));
        }
        if is_bare && (self.is_symbol(",") || self.is_symbol("}")) {
            let path = PathExpression { source: BARE, qualifier: None, steps: vec![PathStep::Member(name.clone())] };
            return Ok((name, Expression::new(Kind::Path(path), position)));
        }
        Err(self.expected("':' and a value", &[]))
    }

    /// A call, its name and opening bracket taken.
    fn call(&mut self, name: &str, upper: &str, position: Position) -> Parsed<Expression> {
        match upper {
            "COUNT" => self.aggregate(Aggregate::Count, Function::ArrayCount, position),
            "SUM" => self.aggregate(Aggregate::Sum, Function::ArraySum, position),
            "AVG" => self.aggregate(Aggregate::Avg, Function::ArrayAverage, position),
            "MIN" => self.aggregate(Aggregate::Min, Function::ArrayLeast, position),
            "MAX" => self.aggregate(Aggregate::Max, Function::ArrayGreatest, position),
            "CAST" => self.cast(position),
            _ => self.call_of(name, position),
        }
    }

    /// An aggregate over rows. Of one array, a path with `[*]`, it is a function of that array, and of several values
    /// `MIN` and `MAX` are functions of these.
    fn aggregate(&mut self, aggregate: Aggregate, of_array: Function, position: Position) -> Parsed<Expression> {
        let in_items = self.items > 0;
        let aggregated =
            |argument, distinct| Expression::new(Kind::Aggregate { aggregate, argument, distinct }, position);
        if self.is_symbol("*") && in_items {
            return Err(QueryError::syntax("There are no rows here: MAP and FILTER look at items.", self.position())
                .with_code("misplaced-aggregate"));
        }
        if self.symbol("*") {
            if self.is_symbol(".") {
                // `SUM(*.price)`: of all documents, the price.
                self.at += 1;
                let mut steps = vec![self.member()?];
                while self.symbol(".") {
                    steps.push(self.member()?);
                }
                self.expect_symbol(")")?;
                let path = Kind::Path(PathExpression { source: 0, qualifier: None, steps });
                return Ok(aggregated(Some(Box::new(Expression::new(path, position))), false));
            }
            self.expect_symbol(")")?;
            if aggregate != Aggregate::Count {
                let message = format!("{} needs to know of what.", aggregate.name());
                return Err(QueryError::syntax(message, position).suggesting("Name a field: SUM(price)."));
            }
            return Ok(aggregated(None, false));
        }
        let distinct = self.word("DISTINCT");
        if !distinct && !self.is_symbol_after(1, "(") {
            self.word("ALL");
        }
        let mut arguments = self.list(Self::expression)?;
        self.expect_symbol(")")?;
        let is_array = |argument: &Expression| match &argument.kind {
            Kind::Path(path) => in_items || path.names_many(),
            Kind::Call { function, .. } => in_items || function.gives_array(),
            Kind::Array(_) => true,
            _ => in_items,
        };
        let function = match (arguments.as_slice(), aggregate) {
            ([only], _) if is_array(only) => {
                if distinct {
                    let each_once = Kind::Call { function: Function::Distinct, arguments };
                    arguments = vec![Expression::new(each_once, position)];
                }
                of_array
            }
            ([_], _) => return Ok(aggregated(arguments.pop().map(Box::new), distinct)),
            (_, Aggregate::Min) if !distinct => Function::Least,
            (_, Aggregate::Max) if !distinct => Function::Greatest,
            _ => {
                return Err(QueryError::meaning(
                    "wrong-argument-count",
                    format!("{} takes one value.", aggregate.name()),
                    position,
                ));
            }
        };
        Ok(Expression::new(Kind::Call { function, arguments }, position))
    }

    /// A function's arguments and closing bracket, and whether there is such a function and it takes so many.
    fn call_of(&mut self, name: &str, position: Position) -> Parsed<Expression> {
        if self.is_word("SELECT") {
            return Err(no_subqueries(self.position()));
        }
        let Some(signature) = Function::named(name) else {
            return Err(unknown_function(name, position));
        };
        let mut arguments = match signature.function {
            function if function.looks_at_items() => self.items_and_what_is_asked(signature)?,
            _ if self.is_symbol(")") => Vec::new(),
            _ => self.list(Self::expression)?,
        };
        if !self.symbol(")") {
            return Err(self.expected("',' or ')'", &[]));
        }
        let Signature { function, arguments_min, arguments_max, .. } = *signature;
        if !(arguments_min..=arguments_max).contains(&arguments.len()) {
            return Err(wrong_count(signature, arguments.len(), position));
        }
        if matches!(function, Function::DateTruncate | Function::DateAdd | Function::DateDifference)
            && let Some(unit) = arguments.first_mut()
        {
            name_unit(unit);
        }
        Ok(Expression::new(Kind::Call { function, arguments }, position))
    }

    /// `array => value`; a comma will do as well.
    fn items_and_what_is_asked(&mut self, signature: &Signature) -> Parsed<Vec<Expression>> {
        let array = self.expression()?;
        if !self.symbol("=>") && !self.symbol(",") {
            let error = self.expected("'=>'", &[]);
            return Err(error.suggesting(format!("Write {}({}).", signature.function.name(), signature.arguments)));
        }
        Ok(vec![array, self.of_item()?])
    }

    /// `CAST(value AS type)`.
    fn cast(&mut self, position: Position) -> Parsed<Expression> {
        let value = self.expression()?;
        self.expect_word("AS")?;
        let named = match self.peek() {
            Token::Word(word) => CASTS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)),
            _ => None,
        };
        let Some((_, function)) = named else {
            return Err(self.expected("INTEGER, NUMBER, TEXT, BOOLEAN, DATE or DATETIME", &CASTS.map(|(name, _)| name)));
        };
        self.at += 1;
        self.expect_symbol(")")?;
        Ok(Expression::new(Kind::Call { function: *function, arguments: vec![value] }, position))
    }
}

/// `DATEADD(month, 1, d)` means `DATEADD('month', 1, d)`.
fn name_unit(unit: &mut Expression) {
    let Kind::Path(PathExpression { source: BARE, steps, .. }) = &unit.kind else {
        return;
    };
    if let [PathStep::Member(name)] = steps.as_slice()
        && UNITS.iter().any(|known| known.eq_ignore_ascii_case(name))
    {
        unit.kind = Kind::Literal(Value::String(name.to_ascii_lowercase()));
    }
}

/// What other products have functions for, and what to write for it here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("CHARINDEX", "INSTR(text, part), the text first"),
    ("DATE_FORMAT", "FORMAT(date, 'yyyy-MM')"),
    ("DATE_PART", "YEAR(date), MONTH(date), DAY(date) or HOUR(date)"),
    ("DATEPART", "YEAR(date), MONTH(date), DAY(date) or HOUR(date)"),
    ("EXTRACT", "YEAR(date), MONTH(date), DAY(date) or HOUR(date)"),
    ("GLOB", "text LIKE 'a%'"),
    ("GROUP_CONCAT", "SELECT DISTINCT for the values, or JOIN(path[*], ', ') for those of one document"),
    ("JSON_EXTRACT", "a path: $.Customer.Name"),
    ("JSON_VALUE", "a path: $.Customer.Name"),
    ("REGEXP_LIKE", "LIKE with % and _, or ILIKE where case counts not"),
    ("REGEXP_MATCHES", "LIKE with % and _, or ILIKE where case counts not"),
    ("ROW_NUMBER", "ORDER BY with LIMIT and OFFSET"),
    ("STRFTIME", "FORMAT(date, 'yyyy-MM')"),
    ("STRING_AGG", "SELECT DISTINCT for the values, or JOIN(path[*], ', ') for those of one document"),
    ("TO_CHAR", "FORMAT(date, 'yyyy-MM')"),
    ("UNIXEPOCH", "DATEDIFF(second, '1970-01-01', date)"),
];

fn unknown_function(name: &str, position: Position) -> QueryError {
    let names = FUNCTIONS.iter().flat_map(|known| known.names.iter().copied());
    let error = QueryError::meaning("unknown-function", format!("There is no function {name}."), position);
    if let Some((_, ours)) = ELSEWHERE.iter().find(|(theirs, _)| theirs.eq_ignore_ascii_case(name)) {
        return error.suggesting(format!("Write {ours}."));
    }
    match nearest(name, names.chain(["COUNT", "SUM", "AVG", "MIN", "MAX"])) {
        Some(meant) => error.suggesting(format!("Did you mean {meant}?")),
        None => error,
    }
}

fn wrong_count(signature: &Signature, given: usize, position: Position) -> QueryError {
    let name = signature.function.name();
    let takes = match (signature.arguments_min, signature.arguments_max) {
        (0, 0) => "no value".to_owned(),
        (1, 1) => "one value".to_owned(),
        (least, most) if least == most => format!("{least} values"),
        (least, most) => format!("{least} to {most} values"),
    };
    QueryError::meaning("wrong-argument-count", format!("{name} takes {takes}, here are {given}."), position)
        .suggesting(format!("Write {name}({}).", signature.arguments))
}
