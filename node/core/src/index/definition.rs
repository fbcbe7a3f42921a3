//! What an index is made of: a name, a collection, one path or several, and whether values are unique or case counts.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::collation::Case;
use crate::error::Refusal;
use crate::id::{CollectionName, DocumentId};
use crate::index::path::IndexPath;
use crate::json::{ID_FIELD, JsonText, with_id};
use crate::limits::{INDEX_NAME_BYTES_MAX, INDEX_PATHS_MAX};

/// The name of an index: letters, digits, `_`, `-` and `.`; one per database. Case counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexName(Arc<str>);

/// An index, as somebody wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexDefinition {
    /// Its name.
    pub name: IndexName,
    /// The collection whose documents it finds.
    pub collection: CollectionName,
    /// The paths, in the order in which keys are sorted.
    pub paths: Vec<IndexPath>,
    /// Whether no two documents may have the same values.
    pub is_unique: bool,
    /// Whether case does not count in strings.
    pub is_case_insensitive: bool,
}

const COLLECTION: &str = "Collection";
const PATHS: &str = "Paths";
const IS_UNIQUE: &str = "IsUnique";
const IS_CASE_INSENSITIVE: &str = "IsCaseInsensitive";

impl IndexName {
    /// Checks a name.
    pub fn parse(raw: &str) -> Result<Self, Refusal> {
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        if raw.is_empty() || raw.len() > INDEX_NAME_BYTES_MAX || !raw.chars().all(fits) {
            return Err(Refusal::invalid(
                "invalid-index-name",
                format!(
                    "The name of an index is 1 to {INDEX_NAME_BYTES_MAX} bytes of letters, digits, '_', '-' or '.'."
                ),
            ));
        }
        Ok(Self(raw.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the document that defines it.
    pub fn to_document_id(&self) -> Result<DocumentId, Refusal> {
        DocumentId::parse(&self.0)
    }
}

impl fmt::Display for IndexName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl IndexDefinition {
    /// Checks what can be checked without looking at the database.
    pub fn check(self) -> Result<Self, Refusal> {
        let refuse = |reason: String| Refusal::invalid("invalid-index", reason);
        if self.paths.is_empty() {
            return Err(refuse("An index needs a path such as $.Customer.Code.".to_owned()));
        }
        if self.paths.len() > INDEX_PATHS_MAX {
            let count = self.paths.len();
            return Err(refuse(format!("An index has at most {INDEX_PATHS_MAX} paths; this one has {count}.")));
        }
        for (place, path) in self.paths.iter().enumerate() {
            if self.paths.iter().take(place).any(|before| before == path) {
                return Err(refuse(format!("The path {path} stands twice.")));
            }
        }
        Ok(self)
    }

    /// Whether case counts in its strings.
    pub fn case(&self) -> Case {
        if self.is_case_insensitive { Case::Folded } else { Case::Exact }
    }

    /// The document that defines it.
    pub fn to_document(&self) -> JsonText {
        let mut object = Map::new();
        if let Ok(id) = self.name.to_document_id() {
            object = with_id(object, &id);
        }
        object.insert(COLLECTION.to_owned(), Value::String(self.collection.to_string()));
        let paths = self.paths.iter().map(|path| Value::String(path.to_string())).collect();
        object.insert(PATHS.to_owned(), Value::Array(paths));
        object.insert(IS_UNIQUE.to_owned(), Value::Bool(self.is_unique));
        object.insert(IS_CASE_INSENSITIVE.to_owned(), Value::Bool(self.is_case_insensitive));
        JsonText::from_object(&object)
    }

    /// Reads a document that defines an index. It may come from a newer node: a field that is not known here may change
    /// what the index means, so it is refused rather than passed over.
    pub fn from_document(id: &DocumentId, text: &str) -> Result<Self, Refusal> {
        let refuse = |reason: &str| Refusal::invalid("invalid-index", reason);
        let Ok(Value::Object(object)) = serde_json::from_str(text) else {
            return Err(refuse("The definition of an index is a JSON object."));
        };
        let known = [COLLECTION, PATHS, IS_UNIQUE, IS_CASE_INSENSITIVE];
        let is_known = |name: &str| known.contains(&name) || name.eq_ignore_ascii_case(ID_FIELD);
        if let Some((name, _)) = object.iter().find(|(name, _)| !is_known(name)) {
            let reason = format!("The definition has a field '{name}' that this version does not know.");
            return Err(Refusal::invalid("invalid-index", reason));
        }
        let flag = |name: &str| match object.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(refuse("A flag of an index is true or false.")),
        };
        let Some(Value::String(collection)) = object.get(COLLECTION) else {
            return Err(refuse("The definition of an index names its Collection."));
        };
        let Some(Value::Array(paths)) = object.get(PATHS) else {
            return Err(refuse("The definition of an index lists its Paths."));
        };
        let paths = paths.iter().map(|path| match path {
            Value::String(path) => IndexPath::parse(path),
            _ => Err(refuse("A path of an index is a string.")),
        });
        let definition = Self {
            name: IndexName::parse(id.as_str())?,
            collection: CollectionName::parse(collection)?,
            paths: paths.collect::<Result<_, _>>()?,
            is_unique: flag(IS_UNIQUE)?,
            is_case_insensitive: flag(IS_CASE_INSENSITIVE)?,
        };
        definition.check()
    }
}

impl fmt::Display for IndexDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unique = if self.is_unique { "unique index" } else { "index" };
        write!(f, "{unique} {} on {} (", self.name, self.collection)?;
        for (place, path) in self.paths.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{path}")?;
        }
        f.write_str(if self.is_case_insensitive { ") without case" } else { ")" })
    }
}
