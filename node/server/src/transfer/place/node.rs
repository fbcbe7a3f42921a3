//! A running node, through its HTTP API.
//!
//! What stays true: bodies are read up to a limit; the key is sent to the address that was named, and to no
//! other, because redirects are not followed; two requests that write the same document are never under way at
//! once, so that the last row of a file wins as it does in a file read alone.

use std::collections::HashSet;
use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use holdfast_core::limits::{DOCUMENT_BYTES_MAX, PAGE_BYTES_TARGET};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use xxhash_rust::xxh3::xxh3_64;

use super::{Loaded, PlaceError};
use crate::clock;
use crate::settings::secret::Secret;
use crate::transfer::document_id::Document;
use crate::transfer::read::BadRow;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
const ANSWER_TIME_MAX: Duration = Duration::from_mins(2);
/// Reading and comparing all documents of two nodes takes as long as it takes.
const VERIFY_PATH: &str = "/api/replication/verify";
const VERIFY_TIME_MAX: Duration = Duration::from_hours(4);
/// What is read as it comes takes as long as its reader likes; the node has a limit of its own for its part.
const STREAM_TIME_MAX: Duration = Duration::from_hours(24);
/// The largest answer that is read: a page of documents, with room for what stands around them.
const ANSWER_BYTES_MAX: usize = 2 * PAGE_BYTES_TARGET + DOCUMENT_BYTES_MAX;
/// Requests that write at the same time.
const REQUESTS_MAX: usize = 4;
/// How long a request is tried again that the node was too busy for, or that did not reach it.
const TRYING_TIME_MAX: Duration = Duration::from_secs(15);
/// Tries that fail before whoever waits is told why.
const QUIET_TRIES: u32 = 2;
const WAIT_FIRST: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Codes of refusals that do not pass by themselves, although their status says "unavailable".
const LASTING_CODES: [&str; 2] = ["storage-failed", "database-quarantined"];
/// How a key and the cluster's secret are given.
const KEY_FLAGS: &str = "--key or in HOLDFAST_KEY";
const SECRET_FLAGS: &str = "--replication-key or in HOLDFAST_REPLICATION_KEY";
/// Documents in one page of an export.
const PAGE_DOCUMENTS: usize = 1_000;

/// Speaks to one node.
#[derive(Debug, Clone)]
pub(crate) struct NodeClient {
    http: reqwest::Client,
    url: String,
    key: Secret,
    /// The secret of the cluster, in place of a key.
    secret: Secret,
    database: Option<String>,
}

impl NodeClient {
    /// Prepares to speak; nothing is sent yet. `database` goes into the header of every request.
    pub(crate) fn new(url: &str, key: Secret, database: Option<&str>) -> Result<Self, PlaceError> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIME_MAX)
            .timeout(ANSWER_TIME_MAX)
            .redirect(reqwest::redirect::Policy::none())
            // Nodes are reached directly; a proxy of the environment is for the world outside.
            .no_proxy()
            .build()
            .map_err(|error| PlaceError::new(format!("cannot speak HTTP: {error}")))?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { http, url, key, secret: Secret::default(), database: database.map(str::to_owned) })
    }

    /// The node's address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The database that it is asked about.
    pub(crate) fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// Whether anything answers at the address.
    pub(crate) async fn is_there(&self) -> bool {
        self.http.get(format!("{}/healthz", self.url)).timeout(CONNECT_TIME_MAX).send().await.is_ok()
    }

    /// Reads what a route answers.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, PlaceError> {
        let body = self.send(Method::GET, path, None, &[]).await?;
        self.understood(&body)
    }

    /// Sends JSON to a route and reads what it answers.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, PlaceError> {
        let body = (body.to_string().into(), "application/json");
        let body = self.send(Method::POST, path, Some(body), &[]).await?;
        self.understood(&body)
    }

    /// The same for a route that wants the secret of the cluster.
    pub(crate) async fn get_as_node<T: DeserializeOwned>(&self, path: &str, secret: &Secret) -> Result<T, PlaceError> {
        let body = self.send(Method::GET, path, None, &[("ReplicationApiKey", secret)]).await?;
        self.understood(&body)
    }

    /// Tells a route something that wants the secret of the cluster, and reads its answer; null where there is none.
    pub(crate) async fn tell_as_node(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
        secret: &Secret,
    ) -> Result<serde_json::Value, PlaceError> {
        let body = body.map(|body| (bytes::Bytes::from(body.to_string()), "application/json"));
        let answer = self.send(method, path, body, &[("ReplicationApiKey", secret)]).await?;
        if answer.is_empty() { Ok(serde_json::Value::Null) } else { self.understood(&answer) }
    }

    fn understood<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, PlaceError> {
        serde_json::from_slice(body)
            .map_err(|error| PlaceError::new(format!("{} answered something else than a node does: {error}", self.url)))
    }

    /// The same node, asked about another database.
    pub(crate) fn with_database(&self, database: &str) -> Self {
        Self { database: Some(database.to_owned()), ..self.clone() }
    }

    /// The same node, asked as one of the cluster that knows its secret.
    pub(crate) fn as_node(&self, secret: &str) -> Self {
        Self { secret: Secret::new(secret), key: Secret::default(), ..self.clone() }
    }

    /// Sends JSON once, whatever comes of it, and leaves the answer to be read as it comes: for what must not be done
    /// twice, and may take long. `unknown` says what nobody knows when the connection breaks off, and what to do.
    pub(crate) async fn post_once(
        &self,
        path: &str,
        body: &Value,
        accepted: &str,
        unknown: &str,
    ) -> Result<Response, PlaceError> {
        let request = self.request(Method::POST, path).timeout(STREAM_TIME_MAX).header(ACCEPT, accepted);
        let sent = request.header(CONTENT_TYPE, "application/json").body(body.to_string()).send().await;
        match sent {
            Ok(response) if response.status().is_success() => Ok(response),
            Ok(response) => {
                let (status, body) = (response.status(), self.body_of(response).await.unwrap_or_default());
                let (error, _) = self.refused(status, &body, self.key_flags());
                let is_known = status.is_client_error() && status != StatusCode::UNAUTHORIZED;
                Err(if is_known {
                    serde_json::from_slice(&body).ok().and_then(|body| told(&body)).unwrap_or(error)
                } else {
                    error
                })
            }
            Err(error) if error.is_builder() => {
                Err(PlaceError::new(format!("'{}' is no address of a node: {error}", self.url)))
            }
            Err(error) if error.is_connect() => Err(self.unreachable(&error)),
            Err(error) => Err(self.broke_off(&error, unknown)),
        }
    }

    /// The connection ended while the node was at work.
    pub(crate) fn broke_off(&self, error: &reqwest::Error, unknown: &str) -> PlaceError {
        PlaceError::new(format!("the connection to {} broke off: {}. {unknown}", self.url, root_cause(error)))
    }

    fn key_flags(&self) -> &'static str {
        if self.secret.is_blank() { KEY_FLAGS } else { SECRET_FLAGS }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if !self.key.is_blank() {
            request = request.header("ApiKey", self.key.expose());
        }
        if !self.secret.is_blank() {
            request = request.header("ReplicationApiKey", self.secret.expose());
        }
        match &self.database {
            Some(database) => request.header("Database", database),
            None => request,
        }
    }

    /// Sends a request and reads its answer, as often as it takes within reason.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(bytes::Bytes, &'static str)>,
        secrets: &[(&'static str, &Secret)],
    ) -> Result<Vec<u8>, PlaceError> {
        let mut wait = WAIT_FIRST;
        let mut tries = 1;
        let started = clock::monotonic();
        loop {
            let mut request = self.request(method.clone(), path);
            for (name, secret) in secrets.iter().filter(|(_, secret)| !secret.is_blank()) {
                request = request.header(*name, secret.expose());
            }
            if let Some((body, media_type)) = &body {
                request = request.header(CONTENT_TYPE, *media_type).body(body.clone());
            }
            if path == VERIFY_PATH {
                request = request.timeout(VERIFY_TIME_MAX);
            }
            let (error, asked) = match request.send().await {
                Ok(response) if response.status().is_success() => return self.body_of(response).await,
                Ok(response) => {
                    let status = response.status();
                    let is_passing = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
                    let asked = retry_after(&response);
                    let key = if secrets.is_empty() { self.key_flags() } else { SECRET_FLAGS };
                    let (error, is_lasting) = self.refusal(status, response, key).await;
                    if is_lasting || !is_passing {
                        return Err(error);
                    }
                    (error, asked)
                }
                Err(error) if error.is_builder() => {
                    return Err(PlaceError::new(format!("'{}' is no address of a node: {error}", self.url)));
                }
                // Writing a document twice is writing it once, so that trying again does no harm.
                Err(error) if is_of_certificate(&error) => return Err(self.unreachable(&error)),
                Err(error) => (self.unreachable(&error), None),
            };
            let pause = asked.unwrap_or(wait).min(WAIT_MAX);
            if clock::monotonic().duration_since(started) + pause > TRYING_TIME_MAX {
                return Err(error);
            }
            if tries >= QUIET_TRIES {
                // Told without fail to nobody: what matters is the outcome.
                let _ = writeln!(io::stderr(), "holdfast: {}; trying again", error.0.trim_end_matches('.'));
            }
            tries += 1;
            tokio::time::sleep(pause).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> PlaceError {
        let why = root_cause(error).to_string();
        let advice = if is_of_certificate(error) {
            "; this machine does not trust the node's certificate: install the authority that signed it here, and use \
             the name that the certificate is made for"
        } else {
            ""
        };
        PlaceError::new(format!("{} cannot be reached: {why}{advice}", self.url))
    }

    /// What a refusal says, and whether trying again is of no use.
    async fn refusal(&self, status: StatusCode, response: Response, key: &str) -> (PlaceError, bool) {
        let body = self.body_of(response).await.unwrap_or_default();
        self.refused(status, &body, key)
    }

    fn refused(&self, status: StatusCode, body: &[u8], key: &str) -> (PlaceError, bool) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let said = ["detail", "Error", "error", "title"].iter().find_map(|name| body.get(*name)?.as_str());
        let advice = match status {
            StatusCode::UNAUTHORIZED => format!(" Give it with {key}."),
            StatusCode::NOT_FOUND if said.is_none() => " Is it a Holdfast node?".to_owned(),
            _ => String::new(),
        };
        let code = body.get("code").and_then(Value::as_str);
        let said = said.unwrap_or("no reason was given.");
        let error = PlaceError::new(format!("{} answered {status}: {said}{advice}", self.url));
        (error, code.is_some_and(|code| LASTING_CODES.contains(&code)))
    }

    async fn body_of(&self, mut response: Response) -> Result<Vec<u8>, PlaceError> {
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + part.len() > ANSWER_BYTES_MAX {
                return Err(PlaceError::new(format!("{} answered more than {ANSWER_BYTES_MAX} bytes", self.url)));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }
}

/// What a node says is wrong with a request, with a finger on the place; no address before it, for it is not the node's
/// fault. None where it is not a node that speaks.
pub(crate) fn told(problem: &Value) -> Option<PlaceError> {
    let (detail, _) = (problem.get("detail")?.as_str()?, problem.get("code")?);
    let excerpt = problem.get("excerpt").and_then(Value::as_str);
    Some(PlaceError::new(excerpt.map_or_else(|| detail.to_owned(), |excerpt| format!("{detail}\n{excerpt}"))))
}

/// What is at the bottom of an error; what stands above it says little more than that there was one.
fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    std::iter::successors(Some(error), |error| (*error).source()).last().unwrap_or(error)
}

/// Whether the node's certificate was not believed, which no further try changes.
fn is_of_certificate(error: &reqwest::Error) -> bool {
    let mut causes = std::iter::successors(Some(error as &(dyn Error + 'static)), |error| (*error).source());
    causes.any(|cause| cause.to_string().contains("invalid peer certificate"))
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// A text as part of a path or of what follows its `?`.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// What the bulk route answers, as far as an import looks at it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BulkAnswer {
    succeeded: u64,
    failed: u64,
    #[serde(default)]
    results: Vec<BulkResult>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BulkResult {
    index: usize,
    #[serde(default)]
    status: u16,
    #[serde(default)]
    error: Option<String>,
}

impl BulkResult {
    fn is_refused(&self) -> bool {
        self.error.is_some() || self.status >= 400
    }
}

/// A request under way: where its answer goes and which documents it writes.
struct UnderWay {
    number: u64,
    ids: HashSet<u64>,
}

/// Writes through the bulk route, several requests at once.
pub(crate) struct NodeLoader {
    runtime: Runtime,
    client: NodeClient,
    path: String,
    sent: JoinSet<(u64, Result<Loaded, PlaceError>)>,
    under_way: Vec<UnderWay>,
    number: u64,
}

impl NodeLoader {
    /// Prepares to write; nothing is sent yet.
    pub(crate) fn new(runtime: Runtime, client: NodeClient, collection: &str) -> Self {
        let path = format!("/api/documents/{}/bulk?results=errors", encoded(collection));
        Self { runtime, client, path, sent: JoinSet::new(), under_way: Vec::new(), number: 0 }
    }

    /// Sends some documents and answers with what has come back by now.
    pub(super) fn write(&mut self, batch: Vec<Document>) -> Result<Loaded, PlaceError> {
        let mut loaded = Loaded::default();
        let ids: HashSet<u64> = batch.iter().map(|document| xxh3_64(document.id.as_str().as_bytes())).collect();
        let overlaps = self.under_way.iter().any(|sent| !sent.ids.is_disjoint(&ids));
        while !self.sent.is_empty() && (overlaps || self.sent.len() >= REQUESTS_MAX) {
            loaded.add(self.one_back()?);
        }
        self.number += 1;
        let (number, client, path) = (self.number, self.client.clone(), self.path.clone());
        self.under_way.push(UnderWay { number, ids });
        let request = async move { (number, write_batch(&client, &path, batch).await) };
        self.sent.spawn_on(request, self.runtime.handle());
        Ok(loaded)
    }

    /// Waits for every answer.
    pub(super) fn finish(&mut self) -> Result<Loaded, PlaceError> {
        let mut loaded = Loaded::default();
        while !self.sent.is_empty() {
            loaded.add(self.one_back()?);
        }
        Ok(loaded)
    }

    fn one_back(&mut self) -> Result<Loaded, PlaceError> {
        match self.runtime.block_on(self.sent.join_next()) {
            Some(Ok((number, result))) => {
                self.under_way.retain(|sent| sent.number != number);
                result
            }
            Some(Err(error)) => Err(PlaceError::new(format!("a request ended early: {error}"))),
            None => Ok(Loaded::default()),
        }
    }
}

impl Loaded {
    fn add(&mut self, more: Self) {
        self.written += more.written;
        self.unchanged += more.unchanged;
        self.refused.extend(more.refused);
    }
}

async fn write_batch(client: &NodeClient, path: &str, batch: Vec<Document>) -> Result<Loaded, PlaceError> {
    let mut body = Vec::with_capacity(batch.iter().map(|document| document.text.as_str().len() + 1).sum());
    for document in &batch {
        body.extend_from_slice(document.text.as_str().as_bytes());
        body.push(b'\n');
    }
    let answer = client.send(Method::POST, path, Some((body.into(), "application/x-ndjson")), &[]).await?;
    let answer: BulkAnswer = client.understood(&answer)?;
    let line = |index: usize| batch.get(index).map_or(0, |document| document.line);
    let mut refused: Vec<BadRow> = answer
        .results
        .into_iter()
        .filter(BulkResult::is_refused)
        .map(|result| BadRow::new(line(result.index), result.error.unwrap_or_else(|| "it was refused".to_owned())))
        .collect();
    // Counted even if the node did not say which.
    for _ in refused.len() as u64..answer.failed.min(batch.len() as u64) {
        refused.push(BadRow::new(line(0), "the node refused a row of the request that begins here"));
    }
    Ok(Loaded { written: answer.succeeded, unchanged: 0, refused })
}

/// What a page of documents looks like.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PageAnswer {
    documents: Vec<Box<RawValue>>,
    next: Option<String>,
}

/// Reads a collection page by page. Writes that happen meanwhile may be in it or not.
pub(crate) struct NodePages {
    runtime: Runtime,
    client: NodeClient,
    path: String,
    after: Option<String>,
    has_ended: bool,
}

impl NodePages {
    /// Prepares to read; nothing is sent yet.
    pub(crate) fn new(runtime: Runtime, client: NodeClient, collection: &str) -> Self {
        let path = format!("/api/documents/{}?limit={PAGE_DOCUMENTS}", encoded(collection));
        Self { runtime, client, path, after: None, has_ended: false }
    }

    /// The next documents; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Box<RawValue>>>, PlaceError> {
        if self.has_ended {
            return Ok(None);
        }
        let path = match &self.after {
            Some(after) => format!("{}&after={}", self.path, encoded(after)),
            None => self.path.clone(),
        };
        let page: PageAnswer = self.runtime.block_on(self.client.get(&path))?;
        // A node that names the same place again would keep us here for ever.
        self.has_ended = page.next.is_none() || page.next == self.after;
        self.after = page.next;
        Ok(Some(page.documents))
    }
}
