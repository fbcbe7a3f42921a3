//! Why a node did not open, and why a request of the program was refused.

use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use crate::node::StartError;
use crate::settings::SettingsProblems;

/// Why a node did not open. Nothing runs then.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The options contradict themselves; every problem is told.
    #[error(transparent)]
    Settings(#[from] SettingsProblems),
    /// A part of it did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is no runtime to work on.
    #[error(
        "a node needs a runtime of tokio with several threads: open it inside one, such as \
         #[tokio::main(flavor = \"multi_thread\")] makes"
    )]
    Runtime,
    /// There is no root key to act with.
    #[error("Auth:RootApiKey is missing; leave it at its default, or set one")]
    NoRootKey,
}

/// A request was refused, and nothing was changed, unless [`code`](Self::code) is `outcome-unknown`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{detail}")]
pub struct RequestError {
    status: u16,
    code: String,
    detail: String,
    leader: Option<String>,
    retry_after: Option<Duration>,
}

impl RequestError {
    /// A stable word for what went wrong, such as `not-the-leader`, `version-mismatch` or `disk-full`.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What went wrong, and what to do.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The HTTP status that a caller over the network would get.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Where the leader answers HTTP, if this node follows and knows.
    pub fn leader(&self) -> Option<&str> {
        self.leader.as_deref()
    }

    /// After how long the same may succeed, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether this node takes no writes now: it follows, hands over, or was made read-only.
    pub fn is_read_only(&self) -> bool {
        matches!(self.code.as_str(), "not-the-leader" | "read-only" | "handing-over")
    }

    pub(super) fn closed() -> Self {
        Self::of_our_own(503, "node-closed", "The node of this handle was closed. Open one, and ask its handle.")
    }

    pub(super) fn malformed(what: &str) -> Self {
        Self::of_our_own(400, "malformed-request", what)
    }

    fn of_our_own(status: u16, code: &str, detail: &str) -> Self {
        Self { status, code: code.to_owned(), detail: detail.to_owned(), leader: None, retry_after: None }
    }

    /// Reads the problem in an answer.
    pub(super) fn of(status: u16, retry_after_seconds: Option<u64>, body: &[u8]) -> Self {
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            status,
            code: text("code").unwrap_or_else(|| "error".to_owned()),
            detail: text("detail").unwrap_or_else(|| format!("The node answered with status {status}.")),
            leader: text("leader"),
            retry_after: retry_after_seconds.map(Duration::from_secs),
        }
    }
}
