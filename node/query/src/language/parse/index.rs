//! `CREATE INDEX` and `DROP INDEX`.

use holdfast_core::limits::INDEX_PATHS_MAX;

use super::super::error::QueryError;
use super::super::expression::PathExpression;
use super::super::resolve;
use super::super::statement::{CreateIndex, DropIndex, Name};
use super::{Parsed, Parser};

impl Parser {
    /// A `CREATE`, its first word taken.
    pub(super) fn create_index(&mut self) -> Parsed<CreateIndex> {
        let unique = self.word("UNIQUE");
        if !self.word("INDEX") {
            return Err(self
                .expected("INDEX", &["INDEX", "UNIQUE"])
                .suggesting("Only indexes are created by query; a collection is there once it has a document."));
        }
        let if_not_exists = self.is_word("IF") && self.is_word_after(1, "NOT") && self.is_word_after(2, "EXISTS");
        self.at += if if_not_exists { 3 } else { 0 };
        let name = self.index_name()?;
        self.expect_word("ON")?;
        let collection = self.collection("The name of the collection is missing or invalid.")?;
        self.expect_symbol("(")?;
        let mut paths = Vec::new();
        loop {
            let position = self.position();
            let mut path = self.path()?;
            if path.steps.is_empty() {
                return Err(QueryError::syntax("An index is made of fields, not of whole documents.", position));
            }
            resolve::path_of_one_collection(&collection, &mut path);
            if paths.contains(&path) {
                return Err(QueryError::syntax(format!("{path} is named twice."), position));
            }
            if paths.len() == INDEX_PATHS_MAX {
                let message = format!("An index has at most {INDEX_PATHS_MAX} paths.");
                return Err(QueryError::syntax(message, position).with_code("query-too-long"));
            }
            paths.push(path);
            self.word("ASC");
            if self.is_word("DESC") {
                return Err(QueryError::syntax("An index is read in both directions.", self.position())
                    .suggesting("Leave DESC out."));
            }
            if !self.symbol(",") {
                break;
            }
        }
        if !self.symbol(")") {
            return Err(self.expected("',' or ')'", &[]));
        }
        if paths.iter().filter(|path: &&PathExpression| path.names_many()).count() > 1 {
            return Err(QueryError::syntax("At most one path of an index may hold [*].", name.position));
        }
        let mut case_insensitive = false;
        if self.word("CASE") {
            if !self.word("INSENSITIVE") {
                return Err(self.expected("INSENSITIVE", &["INSENSITIVE"]));
            }
            case_insensitive = true;
        }
        Ok(CreateIndex { name, collection, paths, unique, case_insensitive, if_not_exists })
    }

    /// A `DROP`, its first word taken.
    pub(super) fn drop_index(&mut self) -> Parsed<DropIndex> {
        if !self.word("INDEX") {
            return Err(self.expected("INDEX", &["INDEX"]).suggesting("Only indexes are dropped by query."));
        }
        let if_exists = self.is_word("IF") && self.is_word_after(1, "EXISTS");
        self.at += if if_exists { 2 } else { 0 };
        let name = self.index_name()?;
        let collection = if self.word("ON") {
            Some(self.collection("The name of the collection is missing or invalid.")?)
        } else {
            None
        };
        Ok(DropIndex { name, collection, if_exists })
    }

    fn index_name(&mut self) -> Parsed<Name> {
        match self.name() {
            Some(name) => Ok(name),
            None => Err(self.expected("the name of the index", &[])),
        }
    }
}
