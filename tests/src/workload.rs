//! What clients of a world ask for: few documents and many writers, so that they meet.
//!
//! | collection | what is written | what it proves |
//! |---|---|---|
//! | `orders` | puts, patches, deletes, increments, transactions | conflicts are settled alike everywhere |
//! | `counters` | increments alone | they add up |
//! | `pairs` | transactions that write one value to both documents of a pair | nobody sees half of one |

use holdfast_core::counter::{Amount, Increment};
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::json::JsonText;
use holdfast_storage::request::{Action, Change, Expect, Request};
use serde_json::{Map, Value, json};

use crate::seed::Seed;

/// The pairs of documents in [`pairs`] that always show one value.
pub const PAIRS: [(&str, &str); 2] = [("a-left", "a-right"), ("b-left", "b-right")];

/// Collection of documents that anything may happen to.
pub fn orders() -> CollectionName {
    collection("orders")
}

/// Collection of documents that are only ever incremented.
pub fn counters() -> CollectionName {
    collection("counters")
}

/// Collection of documents that are only written two at a time.
pub fn pairs() -> CollectionName {
    collection("pairs")
}

fn collection(name: &str) -> CollectionName {
    CollectionName::parse(name).expect("a sound name")
}

/// An id of a document.
pub fn document(id: &str) -> DocumentId {
    DocumentId::parse(id).expect("a sound id")
}

/// Draws what clients ask for.
#[derive(Debug)]
pub struct Workload {
    seed: Seed,
    documents: u64,
    written: u64,
}

impl Workload {
    /// A workload over a number of documents that the seed decides.
    pub fn new(mut seed: Seed) -> Self {
        let documents = seed.range(1..5);
        Self { seed, documents, written: 0 }
    }

    /// The next request of some client.
    pub fn draw(&mut self) -> Request {
        self.written += 1;
        match self.seed.range(0..100) {
            0..55 => Request::Each(vec![self.order()]),
            55..65 => {
                let changes = (0..self.seed.range(2..4)).map(|_| self.order()).collect();
                Request::Together(changes)
            }
            65..82 => Request::Each(vec![self.increment_of_a_counter()]),
            82..97 => Request::Together(self.pair()),
            _ => Request::Register(collection(if self.seed.chance(50) { "orders" } else { "empty" })),
        }
    }

    /// Deletes every document in `orders`, those that are not there included: that is refused, as it should be.
    pub fn delete_all(&self) -> Vec<Request> {
        let delete = |number| change(orders(), &format!("order-{number}"), Action::Delete);
        (0..self.documents).map(|number| Request::Each(vec![delete(number)])).collect()
    }

    fn order(&mut self) -> Change {
        let id = format!("order-{}", self.seed.range(0..self.documents));
        let number = self.written;
        let action = match self.seed.range(0..100) {
            0..40 => Action::Put(body(&id, json!({"n": number, "stock": 1}))),
            40..55 => Action::Patch { merge: object(json!({"patched": number})), increment: None },
            55..60 => Action::Patch { merge: object(json!({"stock": number})), increment: None },
            60..75 => Action::Patch { merge: Map::new(), increment: Some(self.amount("stock")) },
            75..80 => Action::Patch { merge: object(json!({"both": number})), increment: Some(self.amount("stock")) },
            _ => Action::Delete,
        };
        change(orders(), &id, action)
    }

    fn increment_of_a_counter(&mut self) -> Change {
        let id = format!("counter-{}", self.seed.range(0..2));
        let increment = Some(self.amount("n"));
        change(counters(), &id, Action::Patch { merge: Map::new(), increment })
    }

    fn pair(&mut self) -> Vec<Change> {
        let (left, right) = *self.seed.pick(&PAIRS);
        let value = self.seed.range(0..1_000_000);
        let put = |id: &str| change(pairs(), id, Action::Put(body(id, json!({ "value": value }))));
        vec![put(left), put(right)]
    }

    fn amount(&mut self, field: &str) -> Increment {
        let units = i128::from(self.seed.range(0..2_000)) - 1_000;
        // Halves, tenths and whole numbers: sums must be exact.
        let billionths = units * *self.seed.pick(&[1_000_000_000, 500_000_000, 100_000_000]);
        Increment(vec![(vec![field.to_owned()], Amount::from_billionths(billionths))])
    }
}

fn change(collection: CollectionName, id: &str, action: Action) -> Change {
    Change { collection, id: document(id), action, expect: Expect::Any }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn body(id: &str, value: Value) -> JsonText {
    let mut fields = Map::new();
    fields.insert("Id".to_owned(), Value::from(id));
    fields.extend(object(value));
    JsonText::from_object(&fields)
}
