//! What became of each item, written down as text at once so that a million of them fit.

use std::fmt::Write;

use axum::response::Response;
use holdfast_core::id::DocumentId;
use holdfast_core::vector::Dot;
use holdfast_storage::request::Written;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::items::Item;
use crate::http::error::ApiError;
use crate::http::wire;

/// Bytes of results after which only failures are told, and after which nothing more is.
const SUCCESSES_BYTES_MAX: usize = 64 * 1024 * 1024;
const RESULTS_BYTES_MAX: usize = 96 * 1024 * 1024;

/// Which results are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// One for each item.
    All,
    /// One for each item that failed.
    Errors,
}

/// What became of a bulk write.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[allow(dead_code, reason = "describes what Results writes as text")]
pub struct BulkResult {
    /// Items in the body.
    total: u64,
    /// Items that were carried out.
    succeeded: u64,
    /// Items that were not.
    failed: u64,
    /// Whether results were left out because there were too many; the counts are right all the same.
    results_truncated: bool,
    /// Names the last write for those who want to read it elsewhere; null when nothing was written.
    token: Option<String>,
    /// What became of the items, in their order.
    results: Vec<ItemResult>,
}

/// What became of one item.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[allow(dead_code, reason = "describes what Results writes as text")]
pub struct ItemResult {
    /// The document; null where it could not be read.
    id: Option<String>,
    /// As if the item had been a request of its own.
    status: u16,
    /// The document's version now, where it was carried out.
    version: Option<String>,
    /// Place of the item, from 0, where it failed.
    index: Option<u64>,
    /// Line of the item, from 1, where it failed and the body was lines.
    line: Option<u64>,
    /// What is wrong and what to do, where it failed.
    error: Option<String>,
    /// The stable word for it.
    code: Option<String>,
}

/// The results so far.
#[derive(Debug)]
pub(super) struct Results {
    told: Told,
    succeeded: u64,
    failed: u64,
    is_truncated: bool,
    token: Option<Dot>,
    text: String,
}

impl Results {
    pub(super) fn new(told: Told) -> Self {
        Self { told, succeeded: 0, failed: 0, is_truncated: false, token: None, text: String::new() }
    }

    pub(super) fn succeeded(&mut self, item: &Item, written: &Written) {
        self.succeeded += 1;
        if let Some(last) = written.operations.last() {
            self.token = Some(last.operation.dot.clone());
        }
        if self.told == Told::Errors {
            return;
        }
        if self.text.len() >= SUCCESSES_BYTES_MAX {
            self.is_truncated = true;
            return;
        }
        self.separate();
        let _ = write!(
            self.text,
            "{{\"Id\":{},\"Status\":200,\"Version\":\"{}\"}}",
            json(&item.id.as_ref().map(DocumentId::as_str)),
            written.version
        );
    }

    pub(super) fn failed(&mut self, item: &Item, error: &ApiError) {
        self.failed += 1;
        if self.text.len() >= RESULTS_BYTES_MAX {
            self.is_truncated = true;
            return;
        }
        self.separate();
        let _ = write!(
            self.text,
            "{{\"Index\":{},\"Line\":{},\"Id\":{},\"Status\":{},\"Error\":{},\"Code\":{}}}",
            item.index,
            json(&item.line),
            json(&item.id.as_ref().map(DocumentId::as_str)),
            error.status().as_u16(),
            json(&error.detail()),
            json(&error.code())
        );
    }

    pub(super) fn into_response(self) -> Response {
        let (succeeded, failed) = (self.succeeded, self.failed);
        let token = self.token.map(|dot| dot.to_string());
        let mut text = format!(
            "{{\"Total\":{},\"Succeeded\":{succeeded},\"Failed\":{failed},\"ResultsTruncated\":{},\"Token\":{},\"Results\":[",
            succeeded + failed,
            self.is_truncated,
            json(&token)
        );
        text.push_str(&self.text);
        text.push_str("]}");
        let response = wire::json_text(text.into_bytes());
        match token {
            Some(token) => wire::with_token(response, &token),
            None => response,
        }
    }

    /// Adds how far the request came to the error that ended it.
    pub(super) fn onto(&self, error: ApiError) -> ApiError {
        error
            .with_field("Total", self.succeeded + self.failed)
            .with_field("Succeeded", self.succeeded)
            .with_field("Failed", self.failed)
    }

    fn separate(&mut self) {
        if !self.text.is_empty() {
            self.text.push(',');
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}
