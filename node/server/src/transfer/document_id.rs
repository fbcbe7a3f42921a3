//! Which id an imported row gets, so that importing it again writes the same document.
//!
//! | the row | its id |
//! |---|---|
//! | `--id-field F` was given | the value at F: a text, a number or a truth value, as text |
//! | has `Id`, `id`, `_id` or another spelling of `Id` | that value, likewise |
//! | has neither | 32 hexadecimal digits made of its content; equal rows of one file get `-2`, `-3`, … behind it |
//!
//! The last kind needs to know which contents the file has had: 8 bytes and a little for each such row.

use std::collections::{HashMap, HashSet};

use holdfast_core::error::Refusal;
use holdfast_core::id::DocumentId;
use holdfast_core::json::{ID_FIELD, JsonText, refuse_private_keys, with_id};
use holdfast_core::limits::DOCUMENT_BYTES_MAX;
use holdfast_query::path::Path;
use serde_json::{Map, Value};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::read::{BadRow, Row};

/// A document that is ready to be written.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    /// The line of the file that it comes from.
    pub(crate) line: u64,
    /// Its id.
    pub(crate) id: DocumentId,
    /// Its text, which carries the id.
    pub(crate) text: JsonText,
}

/// Gives rows their ids.
#[derive(Debug)]
pub(crate) struct Identifier {
    field: Option<Path>,
    seen: HashSet<u64>,
    /// How often contents were seen that came more than once.
    repeated: HashMap<u64, u32>,
}

impl Identifier {
    /// Ids come from this field, or else from where the table above says.
    pub(crate) fn new(field: Option<Path>) -> Self {
        Self { field, seen: HashSet::new(), repeated: HashMap::new() }
    }

    /// Makes a document of a row.
    pub(crate) fn document(&mut self, row: Row) -> Result<Document, BadRow> {
        let line = row.line;
        self.identified(row).map_err(|reason| BadRow::new(line, reason))
    }

    fn identified(&mut self, row: Row) -> Result<Document, String> {
        let value = Value::Object(row.object);
        let named = match &self.field {
            Some(path) => match path.select(&value) {
                Some(value) => Some(
                    text_of(value)
                        .ok_or_else(|| format!("the value at {path} cannot be an id; use a text or number"))?,
                ),
                None => return Err(format!("it has nothing at {path} to take the id from")),
            },
            None => None,
        };
        let Value::Object(object) = value else { return Err("it is no object".to_owned()) };
        let id = named.or_else(|| id_field(&object));
        let id = id.unwrap_or_else(|| self.id_of_content(&object));
        let id = DocumentId::parse(&id).map_err(|refusal| refusal.to_string())?;
        let object = with_id(object, &id);
        let text = JsonText::from_object(&object);
        // Names of columns have not been through the JSON reader.
        refuse_private_keys(text.as_str().as_bytes()).map_err(|refusal| refusal.to_string())?;
        let bytes = text.as_str().len();
        if bytes > DOCUMENT_BYTES_MAX {
            return Err(Refusal::TooLarge { what: "document", bytes, limit: DOCUMENT_BYTES_MAX }.to_string());
        }
        Ok(Document { line: row.line, id, text })
    }

    fn id_of_content(&mut self, object: &Map<String, Value>) -> String {
        let text = JsonText::from_object(object);
        let content = xxh3_128(text.as_str().as_bytes());
        let mark = xxh3_64(text.as_str().as_bytes());
        if self.seen.insert(mark) {
            return format!("{content:032x}");
        }
        let times = self.repeated.entry(mark).or_insert(1);
        *times = times.saturating_add(1);
        format!("{content:032x}-{times}")
    }
}

/// The id that a row brings along under one of the usual names.
fn id_field(object: &Map<String, Value>) -> Option<String> {
    let exact = ["Id", "id", "_id"].iter().filter_map(|name| object.get(*name));
    let spelled = object.iter().filter(|(name, _)| name.eq_ignore_ascii_case(ID_FIELD)).map(|(_, value)| value);
    exact.chain(spelled).find_map(text_of)
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(switch) => Some(switch.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use holdfast_query::path::Path;
    use serde_json::{Value, json};

    use super::{Identifier, Row};

    fn id(identifier: &mut Identifier, row: Value) -> Result<String, String> {
        let Value::Object(object) = row else { panic!("a row is an object") };
        let document = identifier.document(Row { line: 7, object }).map_err(|bad| bad.to_string())?;
        let text: Value = serde_json::from_str(document.text.as_str()).unwrap();
        let carries = text
            .as_object()
            .unwrap()
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case("id") && value.as_str() == Some(document.id.as_str()));
        assert!(carries, "{text}");
        Ok(document.id.as_str().to_owned())
    }

    #[test]
    fn an_id_comes_from_the_field_that_was_named() {
        let mut identifier = Identifier::new(Some(Path::parse("Customer.Code").unwrap()));
        assert_eq!(id(&mut identifier, json!({"Id": "x", "Customer": {"Code": 12}})).unwrap(), "12");
        assert_eq!(id(&mut identifier, json!({"Customer": {"Code": true}})).unwrap(), "true");
        for wrong in [json!({}), json!({"Customer": {"Code": null}}), json!({"Customer": {"Code": ""}})] {
            assert!(id(&mut identifier, wrong).unwrap_err().starts_with("line 7: "));
        }
        let long = json!({"Customer": {"Code": "x".repeat(513)}});
        assert!(id(&mut identifier, long).unwrap_err().contains("513 bytes"));
    }

    #[test]
    fn a_field_with_a_usual_name_is_the_id() {
        let mut identifier = Identifier::new(None);
        assert_eq!(id(&mut identifier, json!({"_id": "c", "id": "b", "Id": "a"})).unwrap(), "a");
        assert_eq!(id(&mut identifier, json!({"_id": "c", "id": "b"})).unwrap(), "b");
        assert_eq!(id(&mut identifier, json!({"_id": "c", "Id": null})).unwrap(), "c");
        assert_eq!(id(&mut identifier, json!({"ID": 4.50})).unwrap(), "4.5");
    }

    #[test]
    fn a_column_with_a_name_of_the_json_reader_itself_is_refused() {
        let row = json!({"Id": "a", "$serde_json::private::Number": "12"});
        assert!(id(&mut Identifier::new(None), row).unwrap_err().contains("Rename"));
    }

    #[test]
    fn rows_without_an_id_get_the_same_one_in_every_run() {
        let run = || {
            let mut identifier = Identifier::new(None);
            [json!({"a": 1}), json!({"a": 2}), json!({"a": 1}), json!({"a": 1})]
                .map(|row| id(&mut identifier, row).unwrap())
        };
        let [one, other, again, third] = run();
        assert_ne!(one, other);
        assert_eq!((again, third), (format!("{one}-2"), format!("{one}-3")));
        assert_eq!(run()[0], one);
    }
}
