//! `INSERT`, `UPDATE` and `DELETE`.

use holdfast_core::limits::QUERY_KEYS_MAX;

use super::super::error::QueryError;
use super::super::expression::{Expression, Kind, PathExpression, PathStep};
use super::super::resolve;
use super::super::statement::{Assignment, At, Changes, Delete, Insert, Name, Update};
use super::super::token::Token;
use super::{Parsed, Parser};

impl Parser {
    /// An `INSERT`, its first word taken.
    pub(super) fn insert(&mut self) -> Parsed<Insert> {
        const FORMAT: &str = "INSERT format must be: INSERT INTO <collection> VALUES <json-object>.";
        if !self.word("INTO") {
            return Err(self.misformed(FORMAT, &["INTO"]));
        }
        let collection = self.collection("INSERT collection name is missing or invalid.")?;
        let columns = if self.symbol("(") { Some(self.columns()?) } else { None };
        if !self.word("VALUES") {
            let error = self.misformed(FORMAT, &["VALUES"]);
            if self.is_word("SELECT") {
                return Err(error.suggesting("Send the SELECT first, and its rows as a parameter: VALUES @rows."));
            }
            return Err(error);
        }
        let documents = match columns {
            Some(columns) => self.list(|parser| parser.tuple(&columns))?,
            None => self.list(Self::document)?,
        };
        self.end_of_write("INSERT", &[])?;
        for document in &documents {
            resolve::without_document(document)?;
        }
        Ok(Insert { collection, documents })
    }

    fn misformed(&self, format: &str, words: &[&str]) -> QueryError {
        let error = self.expected("another word", words);
        QueryError { message: format!("{format} Found {}.", self.peek()), ..error }
    }

    fn columns(&mut self) -> Parsed<Vec<Name>> {
        let columns = self.list_within(QUERY_KEYS_MAX, |parser| match parser.name() {
            Some(name) => Ok(name),
            None => Err(parser.expected("the name of a field", &[])),
        })?;
        self.expect_symbol(")")?;
        Ok(columns)
    }

    /// `(1, 'a')`, as the object that it makes with the names of the fields.
    fn tuple(&mut self, columns: &[Name]) -> Parsed<Expression> {
        let position = self.position();
        self.expect_symbol("(")?;
        let values = self.list(Self::expression)?;
        self.expect_symbol(")")?;
        if values.len() != columns.len() {
            let message = format!("{} fields are named, here are {} values.", columns.len(), values.len());
            return Err(QueryError::syntax(message, position));
        }
        let fields = columns.iter().map(|column| column.text.clone()).zip(values).collect();
        Ok(Expression::new(Kind::Object(fields), position))
    }

    /// `{..}`, `({..})` or a parameter.
    fn document(&mut self) -> Parsed<Expression> {
        let in_brackets = self.symbol("(");
        let document = match self.peek() {
            Token::Symbol("{" | "@" | ":") => self.expression()?,
            Token::End => return Err(QueryError::syntax("JSON payload is required.", self.position())),
            _ => {
                let error = QueryError::syntax("Payload must be a JSON object.", self.position());
                return Err(
                    error.suggesting("Write INSERT INTO c VALUES {\"Id\": \"1\"}, or INSERT INTO c (Id) VALUES ('1').")
                );
            }
        };
        if in_brackets {
            self.expect_symbol(")")?;
        }
        if !matches!(document.kind, Kind::Object(_) | Kind::Parameter(_)) {
            return Err(QueryError::syntax("Payload must be a JSON object.", document.position));
        }
        Ok(document)
    }

    /// An `UPDATE`, its first word taken.
    pub(super) fn update(&mut self) -> Parsed<Update> {
        const FORMAT: &str = "UPDATE format must be: UPDATE <collection> SET <json-object> WHERE Id = <value>.";
        let collection = self.collection("UPDATE collection name is missing or invalid.")?;
        if !self.word("SET") {
            return Err(self.misformed(FORMAT, &["SET"]));
        }
        let mut changes = match self.peek() {
            Token::Symbol("{" | "@" | ":") => Changes::Merge(self.expression()?),
            Token::Word(_) | Token::Name(_) | Token::Dollar(_) => {
                Changes::Assign(self.list_within(QUERY_KEYS_MAX, Self::assignment)?)
            }
            _ => {
                let error = QueryError::syntax("UPDATE requires a JSON object after SET.", self.position());
                return Err(error.suggesting("Write SET {\"stock\": 5}, or SET stock = stock - 1."));
            }
        };
        let mut filter = self.filter()?;
        self.end_of_write("UPDATE", &["WHERE"])?;
        resolve::update(&collection, &mut changes, filter.as_mut())?;
        Ok(Update { collection, changes, filter })
    }

    fn assignment(&mut self) -> Parsed<Assignment> {
        let position = self.position();
        let path = self.path()?;
        if !self.symbol("=") {
            return Err(self.expected("'='", &[]));
        }
        refuse_target(&path, position)?;
        Ok(Assignment { path, at: At(position), value: self.expression()? })
    }

    /// A `DELETE`, its first word taken.
    pub(super) fn delete(&mut self) -> Parsed<Delete> {
        if !self.word("FROM") {
            return Err(
                self.misformed("DELETE format must be: DELETE FROM <collection> WHERE Id = <value>.", &["FROM"])
            );
        }
        let collection = self.collection("DELETE collection name is missing or invalid.")?;
        let mut filter = self.filter()?;
        self.end_of_write("DELETE", &["WHERE"])?;
        if let Some(filter) = &mut filter {
            resolve::of_one_collection(&collection, filter)?;
        }
        Ok(Delete { collection, filter })
    }

    fn filter(&mut self) -> Parsed<Option<Expression>> {
        if self.word("WHERE") { self.expression().map(Some) } else { Ok(None) }
    }

    fn end_of_write(&self, command: &str, words: &[&str]) -> Parsed<()> {
        if matches!(self.peek(), Token::End | Token::Symbol(";")) {
            return Ok(());
        }
        let error = self.expected("the end of the statement", words);
        let clause = if words.is_empty() { "" } else { " Use optional WHERE <filterExpr>." };
        let message = format!("{command} trailing clause is invalid.{clause} Found {}.", self.peek());
        let error = QueryError { message, ..error };
        if ["LIMIT", "TOP", "ORDER", "FETCH"].iter().any(|word| self.is_word(word)) && !words.is_empty() {
            return Err(error.suggesting("To write to a few documents only, send take beside the query: \"take\": 10."));
        }
        Err(error)
    }
}

/// Refuses to assign to what is not one field that may change.
fn refuse_target(path: &PathExpression, position: super::Position) -> Parsed<()> {
    if path.steps.is_empty() || path.names_many() {
        return Err(QueryError::syntax("SET assigns to one field.", position)
            .suggesting("To change many items of an array, assign the whole array."));
    }
    if path.is_document_id() {
        return Err(QueryError::meaning("id-not-writable", "A document keeps its id.", position)
            .suggesting("Insert a document under the other id, and delete this one."));
    }
    if let Some(PathStep::Member(name)) = path.steps.first()
        && holdfast_core::json::is_kept_name(name)
    {
        let message = format!("The node keeps the field {name} for itself.");
        return Err(QueryError::meaning("reserved-key", message, position));
    }
    Ok(())
}
