//! A client of one node and one database, as users write them.

// Indexing into JSON gives null for what is not there.
#![allow(clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{CLUSTER_KEY, ROOT_KEY};

/// How long a node may take for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Documents that are asked for at once.
const PAGE_DOCUMENTS: usize = 1_000;

/// Asks one node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    database: String,
    key: String,
}

/// What a node answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub text: String,
    what: String,
}

impl Client {
    /// A client with the root key.
    pub fn new(url: &str, database: &str) -> Self {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(ANSWER_WITHIN).no_proxy().build().expect("an HTTP client");
        Self { http, url: url.to_owned(), database: database.to_owned(), key: ROOT_KEY.to_owned() }
    }

    /// The same with another key.
    #[must_use]
    pub fn with_key(mut self, key: &str) -> Self {
        key.clone_into(&mut self.key);
        self
    }

    /// Asks, and gives whatever is answered, or why nothing was.
    pub async fn try_ask(&self, method: &str, path: &str, body: Option<&str>) -> Result<Answer, String> {
        let what = format!("{method} {path}");
        let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        request = request.header("ApiKey", &self.key).header("Database", &self.database);
        if path.starts_with("/api/cluster") || path.starts_with("/api/replication") {
            request = request.header("ReplicationApiKey", CLUSTER_KEY);
        }
        if let Some(body) = body {
            let kind = if path.contains("/bulk") { "application/x-ndjson" } else { "application/json" };
            request = request.header("Content-Type", kind).body(body.to_owned());
        }
        let response = request.send().await.map_err(|error| error.to_string())?;
        let status = response.status();
        let text = response.text().await.map_err(|error| error.to_string())?;
        Ok(Answer { status, text, what })
    }

    /// Asks a node that must answer.
    pub async fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let answer = self.try_ask(method, path, body).await;
        answer.unwrap_or_else(|error| panic!("{method} {}{path}: {error}", self.url))
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None).await
    }

    /// Stores.
    pub async fn put(&self, path: &str, body: &str) -> Answer {
        self.ask("PUT", path, Some(body)).await
    }

    /// Sends.
    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, Some(body)).await
    }

    /// Changes.
    pub async fn patch(&self, path: &str, body: &str) -> Answer {
        self.ask("PATCH", path, Some(body)).await
    }

    /// Deletes.
    pub async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, None).await
    }

    /// A document, if there is one.
    pub async fn document(&self, collection: &str, id: &str) -> Option<Value> {
        let answer = self.get(&format!("/api/documents/{collection}/{id}")).await;
        (answer.status != StatusCode::NOT_FOUND).then(|| answer.expect(200))
    }

    /// All documents of a collection by id, read page by page.
    pub async fn collection(&self, collection: &str) -> BTreeMap<String, Value> {
        let mut documents = BTreeMap::new();
        let mut after = String::new();
        loop {
            let path = format!("/api/documents/{collection}?limit={PAGE_DOCUMENTS}&includeReservedFields=true{after}");
            let page = self.get(&path).await.expect(200);
            for document in page["Documents"].as_array().expect("a page holds documents") {
                let id = document["_id"].as_str().expect("a document has its id").to_owned();
                assert!(documents.insert(id.clone(), document.clone()).is_none(), "{collection}/{id} came twice");
            }
            match page["Next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return documents,
            }
        }
    }

    /// Everything in the database: collection, id, document with its version. Nothing where there is no database.
    pub async fn everything(&self) -> BTreeMap<String, BTreeMap<String, Value>> {
        let answer = self.get("/api/documents?includeSystemCollections=true").await;
        if answer.status == StatusCode::NOT_FOUND {
            return BTreeMap::new();
        }
        let names = answer.expect(200);
        let mut all = BTreeMap::new();
        for name in names.as_array().expect("names are a list") {
            let name = name.as_str().expect("a name is text");
            all.insert(name.to_owned(), self.collection(name).await);
        }
        all
    }

    /// What the node's replication status says of this database.
    pub async fn status(&self) -> Result<Value, String> {
        let answer = self.try_ask("GET", "/api/replication/status", None).await?;
        if answer.status != StatusCode::OK {
            return Err(format!("status answers {answer:?}"));
        }
        let status: Value = serde_json::from_str(&answer.text).map_err(|error| error.to_string())?;
        let databases = status["Databases"].as_array().cloned().unwrap_or_default();
        let ours = databases.into_iter().find(|one| one["DatabaseName"] == self.database.as_str());
        ours.ok_or_else(|| format!("{} has no database '{}'", self.url, self.database))
    }

    /// What the status says of a peer in this database.
    pub async fn peer_status(&self, peer: &str) -> Result<Value, String> {
        let status = self.status().await?;
        let peers = status["Peers"].as_array().cloned().unwrap_or_default();
        let found = peers.into_iter().find(|one| one["PeerNodeId"] == peer);
        found.ok_or_else(|| format!("no peer '{peer}' in {status}"))
    }

    /// The digest of this database.
    pub async fn digest(&self) -> Result<String, String> {
        let status = self.status().await?;
        status["Digest"].as_str().map(str::to_owned).ok_or_else(|| format!("no digest in {status}"))
    }

    /// The digest of what is shown, and how many documents have other versions beside what is shown.
    pub async fn shows(&self) -> Result<(String, u64), String> {
        let status = self.status().await?;
        let conflicted = status["ConflictedDocuments"].as_u64();
        let found = status["Digest"].as_str().map(str::to_owned).zip(conflicted);
        found.ok_or_else(|| format!("no digest in {status}"))
    }
}

impl Answer {
    /// The body as JSON; null where there is none.
    pub fn json(&self) -> Value {
        if self.text.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{}: {error}: {}", self.what, self.text))
    }

    /// Asserts the status and gives the body.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}: {}", self.what, self.text);
        self.json()
    }

    /// Asserts a problem of this status and code.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{}: {}", self.what, self.text);
        body
    }

    /// Whether the write or read was a success.
    pub fn is_success(&self) -> bool {
        self.status.is_success()
    }
}
