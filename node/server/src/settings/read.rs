//! Turns the merged layers into a tree that has every key exactly once, each of the right type.
//!
//! A value that does not fit becomes a problem and its default takes its place, so that the checks
//! that follow still find everything else.

use std::collections::BTreeMap;

use config::{Value, ValueKind};
use serde_json::{Map, Value as Json};

use super::keys::{self, Initial, KEYS, Key, Kind};
use super::problem::Problem;

/// Where the value of each key comes from; keys at their default are absent.
pub type Origins = BTreeMap<String, String>;

/// What [`read`] returns.
pub(super) struct Tree {
    pub(super) json: Json,
    pub(super) origins: Origins,
}

/// Reads the merged layers; what does not fit is added to `problems`.
pub(super) fn read(merged: &Value, problems: &mut Vec<Problem>) -> Tree {
    let mut reader = Reader { problems, origins: Origins::new() };
    let json = reader.section("", "", Some(merged));
    Tree { json, origins: reader.origins }
}

struct Reader<'a> {
    problems: &'a mut Vec<Problem>,
    origins: Origins,
}

impl Reader<'_> {
    /// Reads what is at a path of the table, given as it is there and as it is in the list at hand.
    fn any(&mut self, schema: &str, path: &str, value: Option<&Value>) -> Json {
        match keys::find(schema) {
            Some(Key { kind: Kind::List, default, .. }) => self.list(schema, path, *default, value),
            Some(key) => self.single(key, path, value),
            None => self.section(schema, path, value),
        }
    }

    fn section(&mut self, schema: &str, path: &str, value: Option<&Value>) -> Json {
        let table = match value.map(|value| &value.kind) {
            Some(ValueKind::Table(table)) => Some(table),
            _ => None,
        };
        let mut members = Map::new();
        for name in children(schema) {
            let value = table.and_then(|table| table.get(name));
            let member = self.any(&joined(schema, name), &joined(path, name), value);
            members.insert(name.to_owned(), member);
        }
        Json::Object(members)
    }

    fn list(&mut self, schema: &str, path: &str, default: Initial, value: Option<&Value>) -> Json {
        let Some(ValueKind::Array(elements)) = value.map(|value| &value.kind) else {
            return initial(default);
        };
        let element_schema = joined(schema, "#");
        let mut out = Vec::with_capacity(elements.len());
        for (index, element) in elements.iter().enumerate() {
            let element_path = joined(path, &index.to_string());
            if let ValueKind::Nil = element.kind {
                self.problems.push(Problem::of_key(
                    element_path,
                    "missing",
                    "is skipped by a later index; number the elements from 0 without gaps",
                ));
            } else {
                out.push(self.any(&element_schema, &element_path, Some(element)));
            }
        }
        Json::Array(out)
    }

    fn single(&mut self, key: &Key, path: &str, value: Option<&Value>) -> Json {
        let Some(value) = value.filter(|value| !matches!(value.kind, ValueKind::Nil)) else {
            return initial(key.default);
        };
        let source = value.origin().unwrap_or("unknown").to_owned();
        match converted(key, &value.kind) {
            Ok(json) => {
                self.origins.insert(path.to_owned(), source);
                json
            }
            Err(message) => {
                let problem = Problem::of_key(path, source, message);
                self.problems.push(match key.kind {
                    Kind::Secret => problem.with_hidden_value(),
                    _ => problem.with_value(&value.kind.to_string()),
                });
                initial(key.default)
            }
        }
    }
}

/// Reads a value as its key wants it, or says what to write.
///
/// Texts are taken for numbers and switches where they read as such, since the environment and the
/// command line have nothing but texts.
fn converted(key: &Key, value: &ValueKind) -> Result<Json, String> {
    let text = value.to_string();
    match key.kind {
        Kind::Text | Kind::Secret => Ok(Json::String(text)),
        Kind::Switch => match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(Json::Bool(true)),
            "false" => Ok(Json::Bool(false)),
            _ => Err("must be true or false".to_owned()),
        },
        Kind::Number { min, max } => {
            let example = match key.default {
                Initial::Number(number) => number,
                _ => min,
            };
            text.trim()
                .parse::<u64>()
                .ok()
                .filter(|number| (min..=max).contains(number))
                .map(Json::from)
                .ok_or_else(|| format!("must be a whole number from {min} to {max}; write for example {example}"))
        }
        Kind::Choice(words) => words
            .iter()
            .find(|word| word.eq_ignore_ascii_case(text.trim()))
            .map(|word| Json::from(*word))
            .ok_or_else(|| format!("must be one of {}", words.join(", "))),
        Kind::List => Err("must be a list".to_owned()),
    }
}

fn initial(default: Initial) -> Json {
    match default {
        Initial::Text(text) => Json::from(text),
        Initial::Switch(switch) => Json::from(switch),
        Initial::Number(number) => Json::from(number),
        Initial::EmptyList => Json::Array(Vec::new()),
        Initial::Absent => Json::Null,
    }
}

/// The names directly below a path of the table, in its order.
fn children(schema: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for key in KEYS {
        let below = if schema.is_empty() {
            Some(key.path)
        } else {
            key.path.strip_prefix(schema).and_then(|rest| rest.strip_prefix(':'))
        };
        let name = below.and_then(|below| below.split(':').next());
        if let Some(name) = name.filter(|name| !names.contains(name)) {
            names.push(name);
        }
    }
    names
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}:{name}") }
}
