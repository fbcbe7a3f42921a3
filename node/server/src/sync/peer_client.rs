//! The one file that sends HTTP requests to peers.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use holdfast_core::error::Refusal;
use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::json::malformed;
use holdfast_core::limits::EXCHANGE_BYTES_MAX;
use holdfast_core::sync::compact::MEDIA_TYPE;
use holdfast_core::sync::message::{PullRequest, PullResponse, PushResponse, StandingRecord};
use holdfast_core::sync::states::{BranchRequest, BranchResponse, StatesRequest};
use holdfast_core::sync::turned::TurnedAnswer;
use holdfast_core::vector::Origin;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::settings::secret::Secret;
use crate::sync::exchange::{self, Checked};
use crate::sync::giver::TURNED_PATH;
use crate::sync::registry::RegistryError;

/// How long a connection to a peer may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a peer may take for one exchange, body included.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Most bytes of an error's text that are kept.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// What a pull is answered in: the compact form by nodes that have it, JSON by others.
const ACCEPTED: &str = "application/x-holdfast-sync, application/json;q=0.5";

/// The problem of a pull that asks for a position which the log does not reach.
pub const POSITION_BEYOND_LOG: &str = "position-beyond-log";

/// The problem of a caller with the name of the node that is called.
pub const SAME_NODE_ID: &str = "same-node-id";
/// The problem of an exchange that the other side's selection of databases leaves out.
pub const DATABASE_NOT_SELECTED: &str = "database-not-selected";
/// The problem of a caller with which sync is switched off.
pub const PEER_INACTIVE: &str = "peer-inactive";
/// Names the node that calls, on every request to a peer.
pub const CALLER_HEADER: &str = "replication-node";
/// The problem of a question about a database that the other side does not have.
pub const DATABASE_NOT_FOUND: &str = "database-not-found";

/// Why a peer gave no useful answer.
#[derive(Debug, Error)]
pub enum PeerError {
    /// It could not be reached, or broke off.
    #[error("not reached: {0}")]
    Unreachable(String),
    /// It refused.
    #[error("answered {status}: {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The stable word of the problem.
        code: String,
        /// Its own words.
        detail: String,
    },
    /// What it said cannot be believed.
    #[error("answered what it must not: {0}")]
    Nonsense(String),
}

/// The databases that a node holds, as it tells its peers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DatabasesResponse {
    /// Who answers.
    #[serde(alias = "nodeId")]
    pub node_id: String,
    /// This process, so that a node recognises itself; absent in older nodes.
    #[serde(alias = "instance", default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Its databases.
    #[serde(alias = "databases")]
    pub databases: Vec<DatabaseStanding>,
}

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DatabaseStanding {
    /// Its name.
    #[serde(alias = "databaseName")]
    pub database_name: String,
    /// How far its log reaches.
    #[serde(alias = "standing")]
    pub standing: StandingRecord,
}

/// Who brings its states, and what it says with them.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// The caller.
    pub caller: &'a NodeName,
    /// The conversation that it goes on with.
    pub conversation: Option<u64>,
    /// The origin of which the called node holds another branch.
    pub branch: Option<&'a Origin>,
}

/// Talks to all peers; keeps connections open between exchanges.
#[derive(Debug, Clone)]
pub struct PeerClient {
    http: reqwest::Client,
    secret: HeaderValue,
    caller: HeaderValue,
}

impl PeerClient {
    /// A client that shows the cluster's secret and says who calls.
    pub fn new(secret: &Secret, local: &NodeName) -> Result<Self, RegistryError> {
        let mut secret = HeaderValue::from_str(secret.expose().trim()).map_err(|_| {
            Refusal::invalid("invalid-key", "Node:ReplicationApiKey holds characters that no HTTP header can carry.")
        })?;
        secret.set_sensitive(true);
        let caller = HeaderValue::from_str(local.as_str()).map_err(|_| {
            Refusal::invalid("invalid-node-id", "Node:NodeId holds characters that no HTTP header can carry.")
        })?;
        let shown = [("replicationapikey", secret.clone()), (CALLER_HEADER, caller.clone())];
        let headers: HeaderMap =
            shown.into_iter().map(|(name, value)| (HeaderName::from_static(name), value)).collect();
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .tcp_nodelay(true)
            // A peer is where its address says; following it elsewhere would carry the secret along.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(RegistryError::Client)?;
        Ok(Self { http, secret, caller })
    }

    /// The cluster's secret, marked as such.
    pub(crate) fn secret(&self) -> &HeaderValue {
        &self.secret
    }

    /// The name under which this node calls.
    pub(crate) fn caller(&self) -> &HeaderValue {
        &self.caller
    }

    /// Offers a stretch of our log, in the form that its media type names.
    pub async fn push(
        &self,
        base_url: &str,
        database: &DatabaseName,
        media_type: &'static str,
        body: Vec<u8>,
    ) -> Result<PushResponse, PeerError> {
        let url = format!("{base_url}/api/replication/push");
        let request = self.http.post(url).header("Database", database.as_str());
        self.answer(request.header(CONTENT_TYPE, media_type).body(body)).await
    }

    /// Asks for what we lack, in the compact form if the peer has it.
    pub async fn pull(
        &self,
        base_url: &str,
        database: &DatabaseName,
        request: &PullRequest,
    ) -> Result<Checked<PullResponse>, PeerError> {
        let url = format!("{base_url}/api/replication/pull");
        let request = self.http.post(url).header("Database", database.as_str()).json(request);
        let (content_type, body) = self.body(request.header(ACCEPT, ACCEPTED)).await?;
        let read = if content_type.as_deref() == Some(MEDIA_TYPE) {
            exchange::work_on_message(&body, || exchange::from_compact(&body))
        } else {
            tokio::task::block_in_place(|| {
                let response = serde_json::from_slice(&body).map_err(|error| malformed(&error))?;
                exchange::pull_from_json(response)
            })
        };
        read.map_err(|refusal| PeerError::Nonsense(refusal.to_string()))
    }

    /// Asks for a page of states; the answer is not looked into.
    pub async fn states(
        &self,
        base_url: &str,
        database: &DatabaseName,
        request: &StatesRequest,
        bytes_max: usize,
    ) -> Result<Vec<u8>, PeerError> {
        let url = format!("{base_url}/api/replication/states");
        let request = self.http.post(url).header("Database", database.as_str()).json(request);
        let response = request.send().await.map_err(|error| PeerError::Unreachable(cause(&error)))?;
        let status = response.status();
        let body = bounded(response, if status.is_success() { bytes_max } else { ERROR_BYTES_MAX }).await?;
        if status.is_success() { Ok(body) } else { Err(refused(status.as_u16(), &body)) }
    }

    /// Asks which operations of an origin the peer holds.
    pub async fn branch(
        &self,
        base_url: &str,
        database: &DatabaseName,
        request: &BranchRequest,
    ) -> Result<BranchResponse, PeerError> {
        let url = format!("{base_url}/api/replication/branch");
        self.answer(self.http.post(url).header("Database", database.as_str()).json(request)).await
    }

    /// Brings the answer to what the peer asked last on a connection that is turned around.
    pub async fn turned(
        &self,
        base_url: &str,
        database: &DatabaseName,
        turn: Turn<'_>,
        answer: Vec<u8>,
    ) -> Result<TurnedAnswer, PeerError> {
        let conversation = turn.conversation.map_or(String::new(), |id| format!("&conversation={id:016x}"));
        let branch = turn.branch.map_or(String::new(), |origin| format!("&branch={origin}"));
        let url = format!("{base_url}{TURNED_PATH}?node={}{conversation}{branch}", turn.caller);
        let request = self.http.post(url);
        let request = request.header("Database", database.as_str()).header(CONTENT_TYPE, "application/octet-stream");
        self.answer(request.body(answer)).await
    }

    /// Asks something about a database, other than for operations.
    pub async fn ask<Question: Serialize, Answer: DeserializeOwned>(
        &self,
        base_url: &str,
        path: &str,
        database: &DatabaseName,
        question: &Question,
    ) -> Result<Answer, PeerError> {
        let request = self.http.post(format!("{base_url}{path}")).header("Database", database.as_str());
        self.answer(request.json(question)).await
    }

    /// Brings bytes of a media type.
    pub async fn send<Answer: DeserializeOwned>(
        &self,
        base_url: &str,
        path: &str,
        database: &DatabaseName,
        media_type: &'static str,
        body: Vec<u8>,
    ) -> Result<Answer, PeerError> {
        let request = self.http.post(format!("{base_url}{path}")).header("Database", database.as_str());
        self.answer(request.header(CONTENT_TYPE, media_type).body(body)).await
    }

    /// Asks something that is answered with bytes.
    pub async fn fetch<Question: Serialize>(
        &self,
        base_url: &str,
        path: &str,
        database: &DatabaseName,
        question: &Question,
    ) -> Result<Vec<u8>, PeerError> {
        let request = self.http.post(format!("{base_url}{path}")).header("Database", database.as_str());
        Ok(self.body(request.json(question)).await?.1)
    }

    /// Asks which databases there are.
    pub async fn databases(&self, base_url: &str) -> Result<DatabasesResponse, PeerError> {
        self.answer(self.http.get(format!("{base_url}/api/replication/databases"))).await
    }

    async fn answer<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, PeerError> {
        let (_, body) = self.body(request).await?;
        serde_json::from_slice(&body).map_err(|error| PeerError::Nonsense(error.to_string()))
    }

    /// The body of a good answer, and what it is.
    async fn body(&self, request: reqwest::RequestBuilder) -> Result<(Option<String>, Vec<u8>), PeerError> {
        let response = request.send().await.map_err(|error| PeerError::Unreachable(cause(&error)))?;
        let status = response.status();
        let limit = if status.is_success() { EXCHANGE_BYTES_MAX } else { ERROR_BYTES_MAX };
        let content_type =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = bounded(response, limit).await?;
        if !status.is_success() {
            return Err(refused(status.as_u16(), &body));
        }
        Ok((content_type, body))
    }
}

/// Reads a body up to a limit.
async fn bounded(mut response: reqwest::Response, limit: usize) -> Result<Vec<u8>, PeerError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| PeerError::Unreachable(cause(&error)))? {
        if body.len() + chunk.len() > limit {
            return Err(PeerError::Nonsense(format!("its answer has more than {limit} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What a problem says, as far as it says anything.
fn refused(status: u16, body: &[u8]) -> PeerError {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| problem.get(name).and_then(serde_json::Value::as_str);
    let words = text("detail").or_else(|| text("Error")).unwrap_or("no reason given");
    PeerError::Refused {
        status,
        code: text("code").unwrap_or_default().chars().take(64).collect(),
        detail: words.chars().take(300).collect(),
    }
}

/// The innermost cause says what happened; the outer layers only say that it did.
pub(crate) fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
