//! Writers that keep books: what they tried, what was acknowledged, and so what a node must hold.
//!
//! ```text
//!   before a request   the document may become this      acknowledged   it is this
//!   no answer          it is either                      refused        it is what it was
//! ```
//!
//! Each document belongs to one writer, who waits for each answer, so at most one attempt per document is open.
//! Counters belong to everybody and must lie between what was acknowledged and what was tried.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_tests::cluster::{Answer, Client};
use holdfast_tests::seed::Seed;
use serde_json::{Value, json};

/// Documents in one bulk request.
const BULK_DOCUMENTS: u64 = 10;

/// What a document's number is; `None` where there is no document.
type Number = Option<u64>;

/// The books of all writers.
#[derive(Default)]
pub(crate) struct Ledger {
    documents: Mutex<BTreeMap<(String, String), Fate>>,
    counters: Mutex<BTreeMap<String, Counter>>,
}

/// What is known of a document.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    acknowledged: Number,
    /// What it may have become instead, by an attempt without an answer.
    perhaps: Option<Number>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    acknowledged: u64,
    attempted: u64,
}

/// Why a writer ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// It was told to.
    Told,
    /// There was no answer.
    Lost,
    /// The node refused for now, with this status and code; nothing was changed.
    Refused(u16, String),
}

/// What became of a request.
enum Outcome {
    Written,
    Nothing(u16, String),
    Unknown,
}

/// One attempt at several documents and counters.
#[derive(Clone, Default)]
struct Attempt {
    documents: Vec<(String, String, Number)>,
    counters: Vec<(&'static str, u64)>,
}

/// One writer.
pub(crate) struct Writer {
    pub(crate) name: String,
    pub(crate) client: Client,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) seed: Seed,
    pub(crate) stop: Arc<AtomicBool>,
}

impl Writer {
    /// Writes until it is told to end or until a request is not a success.
    pub(crate) async fn write(mut self) -> End {
        // Its own names stay unique over several lives of the node.
        let mut next = self.ledger.count() * 1_000_000;
        while !self.stop.load(Ordering::Relaxed) {
            next += 1;
            let outcome = self.step(next).await;
            match outcome {
                Outcome::Written => {}
                Outcome::Nothing(status, code) => return End::Refused(status, code),
                Outcome::Unknown => return End::Lost,
            }
        }
        End::Told
    }

    async fn step(&mut self, next: u64) -> Outcome {
        let name = self.name.clone();
        let number = self.seed.range(1..1_000_000);
        match self.seed.range(0..100) {
            0..30 => self.put("orders", format!("{name}-{next}"), number).await,
            30..50 => self.put("states", name, number).await,
            50..60 if self.ledger.number("states", &name).is_some() => {
                let attempt = Attempt::of("states", &name, Some(number));
                let path = format!("/api/documents/states/{name}");
                self.send(attempt, "PATCH", &path, Some(json!({"N": number, "By": next}).to_string())).await
            }
            50..75 => {
                let attempt = Attempt { documents: Vec::new(), counters: vec![("total", number)] };
                let body = json!({"$inc": {"N": number}}).to_string();
                self.send(attempt, "PATCH", "/api/documents/counters/total", Some(body)).await
            }
            75..87 => self.transact(&name).await,
            87..95 => self.bulk(&name, next).await,
            _ => {
                let id = format!("{name}-{}", next.saturating_sub(self.seed.range(1..20)));
                self.delete_or_put(id, number).await
            }
        }
    }

    async fn put(&self, collection: &str, id: String, number: u64) -> Outcome {
        let path = format!("/api/documents/{collection}/{id}");
        self.send(Attempt::of(collection, &id, Some(number)), "PUT", &path, Some(document(number))).await
    }

    async fn delete_or_put(&self, id: String, number: u64) -> Outcome {
        if self.ledger.number("orders", &id).is_none() {
            return self.put("orders", id, number).await;
        }
        let path = format!("/api/documents/orders/{id}");
        self.send(Attempt::of("orders", &id, None), "DELETE", &path, None).await
    }

    /// Two documents and a counter go up by one together.
    async fn transact(&self, name: &str) -> Outcome {
        let number = self.ledger.number("left", name).unwrap_or(0) + 1;
        let documents = ["left", "right"].map(|side| (side.to_owned(), name.to_owned(), Some(number)));
        let attempt = Attempt { documents: documents.to_vec(), counters: vec![("pairs", 1)] };
        let body = json!({"operations": [
            {"op": "put", "collection": "left", "id": name, "document": {"N": number}},
            {"op": "patch", "collection": "counters", "id": "pairs", "patch": {"$inc": {"N": 1}}},
            {"op": "put", "collection": "right", "id": name, "document": {"N": number}},
        ]});
        self.send(attempt, "POST", "/api/transactions", Some(body.to_string())).await
    }

    async fn bulk(&self, name: &str, next: u64) -> Outcome {
        let mut attempt = Attempt::default();
        let mut body = String::new();
        for index in 0..BULK_DOCUMENTS {
            let id = format!("{name}-{next}-{index}");
            body += &json!({"Id": id, "N": index}).to_string();
            body.push('\n');
            attempt.documents.push(("bulk".to_owned(), id, Some(index)));
        }
        self.send(attempt, "POST", "/api/documents/bulk/bulk", Some(body)).await
    }

    async fn send(&self, attempt: Attempt, method: &str, path: &str, body: Option<String>) -> Outcome {
        self.ledger.begin(&attempt);
        let outcome = outcome(self.client.try_ask(method, path, body.as_deref()).await);
        match outcome {
            Outcome::Written => self.ledger.acknowledge(&attempt),
            Outcome::Nothing(..) => self.ledger.take_back(&attempt),
            Outcome::Unknown => {}
        }
        outcome
    }
}

impl Attempt {
    fn of(collection: &str, id: &str, number: Number) -> Self {
        Self { documents: vec![(collection.to_owned(), id.to_owned(), number)], counters: Vec::new() }
    }
}

fn document(number: u64) -> String {
    // About the size of a shop's order.
    json!({"N": number, "Customer": "Ada Lovelace", "Lines": ["tea".repeat(40), "sugar".repeat(25)]}).to_string()
}

fn outcome(answer: Result<Answer, String>) -> Outcome {
    let Ok(answer) = answer else { return Outcome::Unknown };
    if answer.is_success() {
        let failed = answer.json()["Failed"].as_u64().unwrap_or(0);
        assert_eq!(failed, 0, "{answer:?}");
        return Outcome::Written;
    }
    let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
    assert!(matches!(answer.status.as_u16(), 503 | 507), "{answer:?}");
    if code == "outcome-unknown" { Outcome::Unknown } else { Outcome::Nothing(answer.status.as_u16(), code) }
}

impl Ledger {
    /// Starts writers of these names, all at once.
    pub(crate) fn start_writers(
        self: &Arc<Self>,
        client: &Client,
        count: u64,
        seed: &mut Seed,
        stop: &Arc<AtomicBool>,
    ) -> Vec<tokio::task::JoinHandle<End>> {
        let writer = |number| Writer {
            name: format!("w{number}"),
            client: client.clone(),
            ledger: Arc::clone(self),
            seed: seed.fork(),
            stop: Arc::clone(stop),
        };
        let writers: Vec<Writer> = (0..count).map(writer).collect();
        writers.into_iter().map(|writer| tokio::spawn(writer.write())).collect()
    }

    /// How many documents have been tried.
    pub(crate) fn count(&self) -> u64 {
        self.documents.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// How many documents are known to be there.
    pub(crate) fn alive(&self) -> usize {
        let documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        documents.values().filter(|fate| fate.acknowledged.is_some()).count()
    }

    fn number(&self, collection: &str, id: &str) -> Number {
        let documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        documents.get(&(collection.to_owned(), id.to_owned())).and_then(|fate| fate.acknowledged)
    }

    fn begin(&self, attempt: &Attempt) {
        self.each(attempt, |fate, number| fate.perhaps = Some(number), |counter, amount| counter.attempted += amount);
    }

    fn acknowledge(&self, attempt: &Attempt) {
        let known = |fate: &mut Fate, number| *fate = Fate { acknowledged: number, perhaps: None };
        self.each(attempt, known, |counter, amount| counter.acknowledged += amount);
    }

    fn take_back(&self, attempt: &Attempt) {
        self.each(attempt, |fate, _| fate.perhaps = None, |counter, amount| counter.attempted -= amount);
    }

    fn each(&self, attempt: &Attempt, fate: impl Fn(&mut Fate, Number), count: impl Fn(&mut Counter, u64)) {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        for (collection, id, number) in &attempt.documents {
            fate(documents.entry((collection.clone(), id.clone())).or_default(), *number);
        }
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, amount) in &attempt.counters {
            count(counters.entry((*id).to_owned()).or_default(), *amount);
        }
    }

    /// Holds the books against what a node holds. What was open is settled by what was found.
    pub(crate) async fn check(&self, client: &Client) {
        let everything = client.everything().await;
        let found = |collection: &str, id: &str| -> Number {
            let document = everything.get(collection).and_then(|documents| documents.get(id))?;
            Some(number_of(document))
        };
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        for ((collection, id), fate) in documents.iter_mut() {
            let number = found(collection, id);
            let is_right = number == fate.acknowledged || fate.perhaps == Some(number);
            assert!(is_right, "{collection}/{id} is {number:?}, and must be as in {fate:?}");
            *fate = Fate { acknowledged: number, perhaps: None };
        }
        for (collection, held) in &everything {
            for id in held.keys().filter(|_| collection != "counters") {
                let key = (collection.clone(), id.clone());
                assert!(documents.contains_key(&key), "{collection}/{id} comes from nowhere");
            }
        }
        drop(documents);
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, counter) in counters.iter_mut() {
            let number = found("counters", id).unwrap_or(0);
            let allowed = counter.acknowledged..=counter.attempted;
            assert!(allowed.contains(&number), "counters/{id} is {number}, and must lie in {allowed:?}");
            *counter = Counter { acknowledged: number, attempted: number };
        }
        // A transaction is there whole or not at all.
        let of = |side: &str| everything.get(side).cloned().unwrap_or_default();
        let (left, right) = (of("left"), of("right"));
        let numbers = |side: &BTreeMap<String, Value>| -> BTreeMap<String, u64> {
            side.iter().map(|(id, document)| (id.clone(), number_of(document))).collect()
        };
        assert_eq!(numbers(&left), numbers(&right), "halves of transactions");
        let pairs: u64 = numbers(&left).values().sum();
        assert_eq!(found("counters", "pairs").unwrap_or(0), pairs, "the counter went up with each transaction");
    }
}

fn number_of(document: &Value) -> u64 {
    document["N"].as_u64().unwrap_or_else(|| panic!("no number in {document}"))
}
