//! What the documents must be: the same requests, answered by a map in memory.
//!
//! It knows nothing of operations, contexts or files, so that it cannot share a mistake with the code that it judges. It
//! does know how many operations a change becomes, because that is what positions count.

use holdfast_core::counter::Increment;
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::json::JsonText;
use holdfast_storage::request::{Action, Change, Expect, Request};
use holdfast_tests::seed::Seed;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Collection and id.
pub(crate) type Key = (String, String);

/// The documents after some requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) documents: BTreeMap<Key, Map<String, Value>>,
    pub(crate) collections: BTreeSet<String>,
    /// Operations so far.
    pub(crate) position: u64,
}

/// A request as the model and the store both understand it.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Each(Vec<Edit>),
    Together(Vec<Edit>),
    Register(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Edit {
    key: Key,
    action: Edited,
}

#[derive(Clone, Debug)]
enum Edited {
    Put(Map<String, Value>),
    Patch { merge: Map<String, Value>, add: Option<i64> },
    Delete,
}

impl Model {
    /// Performs a request. Says for each of its changes whether it is done; a transaction answers once.
    pub(crate) fn perform(&mut self, asked: &Asked) -> Vec<bool> {
        match asked {
            Asked::Each(edits) => edits.iter().map(|edit| self.edit(edit)).collect(),
            Asked::Together(edits) => {
                let mut after = self.clone();
                let done = edits.iter().all(|edit| after.edit(edit));
                if done {
                    *self = after;
                }
                vec![done]
            }
            Asked::Register(collection) => {
                if self.collections.insert(collection.clone()) {
                    self.position += 1;
                }
                vec![true]
            }
        }
    }

    fn edit(&mut self, edit: &Edit) -> bool {
        let shown = self.documents.get(&edit.key).cloned();
        let operations = match (&edit.action, shown) {
            (Edited::Put(document), _) => {
                self.documents.insert(edit.key.clone(), document.clone());
                1
            }
            (Edited::Delete, Some(_)) => {
                self.documents.remove(&edit.key);
                1
            }
            (Edited::Patch { merge, add }, Some(mut document)) => {
                for (field, value) in merge {
                    if value.is_null() {
                        document.remove(field);
                    } else {
                        document.insert(field.clone(), value.clone());
                    }
                }
                add_to(&mut document, *add);
                self.documents.insert(edit.key.clone(), document);
                u64::from(!merge.is_empty() || add.is_none()) + u64::from(add.is_some())
            }
            (Edited::Patch { merge, add: Some(amount) }, None) if merge.is_empty() => {
                let mut document = Map::new();
                document.insert("Id".to_owned(), Value::from(edit.key.1.as_str()));
                add_to(&mut document, Some(*amount));
                self.documents.insert(edit.key.clone(), document);
                2
            }
            (Edited::Delete | Edited::Patch { .. }, None) => return false,
        };
        self.position += operations;
        self.collections.insert(edit.key.0.clone());
        true
    }
}

fn add_to(document: &mut Map<String, Value>, amount: Option<i64>) {
    if let Some(amount) = amount {
        let before = document.get("n").and_then(Value::as_i64).unwrap_or(0);
        document.insert("n".to_owned(), Value::from(before + amount));
    }
}

impl Asked {
    /// Any request. Ids are few, so that requests meet on the same documents.
    pub(crate) fn any(seed: &mut Seed) -> Asked {
        let edits = |seed: &mut Seed, most: u64| (0..seed.range(1..most + 1)).map(|_| Edit::any(seed)).collect();
        match seed.range(0..20) {
            0 => Asked::Register(any_collection(seed)),
            1..7 => Asked::Together(edits(seed, 5)),
            _ => Asked::Each(edits(seed, 3)),
        }
    }

    /// The same for the store.
    pub(crate) fn request(&self) -> Request {
        let changes = |edits: &[Edit]| edits.iter().map(Edit::change).collect();
        match self {
            Asked::Each(edits) => Request::Each(changes(edits)),
            Asked::Together(edits) => Request::Together(changes(edits)),
            Asked::Register(collection) => Request::Register(CollectionName::parse(collection).unwrap()),
        }
    }
}

impl Edit {
    fn any(seed: &mut Seed) -> Edit {
        let key = (any_collection(seed), format!("d{}", seed.range(0..25)));
        let action = match seed.range(0..10) {
            0..4 => {
                let text = any_text(seed);
                let document = json!({"Id": key.1, "n": seed.range(0..100), "text": text});
                Edited::Put(document.as_object().unwrap().clone())
            }
            4..6 => {
                let mut merge = Map::new();
                if seed.chance(60) {
                    merge.insert("text".to_owned(), Value::from(any_text(seed)));
                }
                if seed.chance(30) {
                    let value = if seed.chance(50) { Value::Null } else { Value::from(seed.range(0..100)) };
                    merge.insert("n".to_owned(), value);
                }
                let add = seed.chance(30).then(|| 5 - i64::try_from(seed.range(0..10)).unwrap());
                Edited::Patch { merge, add }
            }
            6..8 => {
                let add = Some(i64::try_from(seed.range(0..10)).unwrap());
                Edited::Patch { merge: Map::new(), add }
            }
            _ => Edited::Delete,
        };
        Edit { key, action }
    }

    fn change(&self) -> Change {
        let action = match &self.action {
            Edited::Put(document) => Action::Put(JsonText::from_object(document)),
            Edited::Patch { merge, add } => {
                let increment = add.map(|amount| Increment::parse(json!({"n": amount}).as_object().unwrap()).unwrap());
                Action::Patch { merge: merge.clone(), increment }
            }
            Edited::Delete => Action::Delete,
        };
        let collection = CollectionName::parse(&self.key.0).unwrap();
        Change { collection, id: DocumentId::parse(&self.key.1).unwrap(), action, expect: Expect::Any }
    }
}

fn any_collection(seed: &mut Seed) -> String {
    (*seed.pick(&["orders", "stock", "Ärzte"])).to_owned()
}

/// Mostly short; now and then longer than several pages of the store.
fn any_text(seed: &mut Seed) -> String {
    let len = if seed.chance(4) { seed.range(4000..30_000) } else { seed.range(0..300) };
    let letter = char::from(b'a' + u8::try_from(seed.range(0..26)).unwrap());
    std::iter::repeat_n(letter, usize::try_from(len).unwrap()).collect()
}
