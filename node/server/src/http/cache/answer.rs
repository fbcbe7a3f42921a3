//! The shapes of answers about cache entries.

use axum::http::header::{CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use holdfast_core::access::role::Role;
use holdfast_core::cache::{CacheKey, Content, Media, Shown};
use holdfast_core::id::CACHE_COLLECTION;
use holdfast_core::time::Millis;
use holdfast_core::vector::Dot;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Durability, Scope, ttl_text};
use crate::http::access::Access;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::token::Token;
use crate::http::wire::{self, Timestamp};

/// When an entry ends, beside a body that is the value itself.
const EXPIRES_AT: HeaderName = HeaderName::from_static("cache-expires-at");
/// How long it still lives.
const REMAINING_TTL: HeaderName = HeaderName::from_static("cache-remaining-ttl");

/// A value inside of an answer: JSON as it is, anything else as base64; null for none.
#[derive(Debug, Default)]
pub(super) struct Shape(Box<RawValue>);

impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Shape {
    /// The value, and the content type where it is not JSON.
    pub(super) fn of(content: Content) -> (Self, Option<String>) {
        let (text, media) = match content.media {
            Media::Json => (String::from_utf8(content.bytes).unwrap_or_default(), None),
            // Base64 needs no escapes.
            Media::Raw(name) => (format!("\"{}\"", BASE64_STANDARD.encode(&content.bytes)), Some(name)),
        };
        let raw = RawValue::from_string(text).or_else(|_| RawValue::from_string("null".to_owned()));
        (Self(raw.unwrap_or_default()), media)
    }
}

/// An entry.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    /// Its key.
    pub(super) key: String,
    /// Its value; base64 where `ContentType` is not null; absent where only keys are listed.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<Shape>,
    /// What the value is; null for JSON.
    pub(super) content_type: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub(super) created_utc: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub(super) updated_utc: Timestamp,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub(super) expires_at_utc: Timestamp,
    /// How long it still lives.
    #[schema(example = "299123ms")]
    pub(super) remaining_ttl: String,
    /// Its version, which is also its ETag.
    pub(super) version: String,
}

impl Entry {
    pub(super) fn of(key: &CacheKey, shown: Shown<'_>, with_value: bool, now: Millis) -> Self {
        let Shown { content, times } = shown;
        let (value, content_type) = match (with_value, content.into_owned()) {
            (true, content) => {
                let (value, content_type) = Shape::of(content);
                (Some(value), content_type)
            }
            (false, Content { media: Media::Raw(name), .. }) => (None, Some(name)),
            (false, Content { media: Media::Json, .. }) => (None, None),
        };
        Self {
            key: key.to_string(),
            value,
            content_type,
            created_utc: Timestamp(times.created),
            updated_utc: Timestamp(times.updated),
            expires_at_utc: Timestamp(times.expires),
            remaining_ttl: ttl_text(times.expires.since(now)),
            version: times.version_text(),
        }
    }
}

/// The answer to a read: JSON about a JSON value, or the bytes of any other.
pub(super) fn read(key: &CacheKey, shown: Shown<'_>, version: &str, as_it_is: bool, now: Millis) -> Response {
    let times = shown.times;
    let is_json = shown.content.media == Media::Json;
    let mut response = if is_json && !as_it_is {
        wire::json_text(entry_text(key, &shown, version, now))
    } else {
        let content = shown.content.into_owned();
        let name = match &content.media {
            Media::Json => HeaderValue::from_static("application/json"),
            Media::Raw(name) => {
                HeaderValue::try_from(name).unwrap_or(HeaderValue::from_static("application/octet-stream"))
            }
        };
        let mut response = (StatusCode::OK, content.bytes).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, name);
        // What somebody stored is never run as a page of this node.
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(
            axum::http::header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("sandbox; default-src 'none'"),
        );
        headers.extend(HeaderValue::try_from(times.expires.to_utc_text()).map(|value| (EXPIRES_AT, value)));
        headers.extend(HeaderValue::try_from(ttl_text(times.expires.since(now))).map(|value| (REMAINING_TTL, value)));
        response
    };
    response.headers_mut().extend(wire::etag(version).map(|tag| (ETAG, tag)));
    response
}

/// The text of [`Entry`] for a JSON value, written without taking the value apart.
fn entry_text(key: &CacheKey, shown: &Shown<'_>, version: &str, now: Millis) -> Vec<u8> {
    let times = &shown.times;
    let value = &shown.content.bytes;
    let mut text = Vec::with_capacity(value.len() + key.as_str().len() + 320);
    text.extend_from_slice(b"{\"Key\":");
    // A vector takes all that is written into it.
    drop(serde_json::to_writer(&mut text, key.as_str()));
    text.extend_from_slice(b",\"Value\":");
    text.extend_from_slice(value);
    let mut rest = String::with_capacity(256);
    let mut part = |before: &str, moment: Millis| {
        rest.push_str(before);
        moment.push_utc_text(&mut rest);
    };
    part(",\"ContentType\":null,\"CreatedUtc\":\"", times.created);
    part("\",\"UpdatedUtc\":\"", times.updated);
    part("\",\"ExpiresAtUtc\":\"", times.expires);
    rest.push_str("\",\"RemainingTtl\":\"");
    rest.push_str(&ttl_text(times.expires.since(now)));
    rest.push_str("\",\"Version\":\"");
    rest.push_str(version);
    rest.push_str("\"}");
    text.extend_from_slice(rest.as_bytes());
    text
}

/// What became of a write.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Written {
    /// The key.
    pub(super) key: String,
    /// After a delete `cache`: older clients read it as that of a document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) collection: Option<&'static str>,
    /// After a delete the key once more, for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) entity_id: Option<String>,
    /// The version now, which is also the ETag; null after a delete.
    pub(super) version: Option<String>,
    /// When this node wrote it.
    #[schema(value_type = String, format = DateTime)]
    pub(super) committed_utc: Timestamp,
    /// When it ends; null after a delete.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) expires_at_utc: Option<Timestamp>,
    /// How long it lives from now on; null after a delete.
    #[schema(example = "300000ms")]
    pub(super) ttl: Option<String>,
    /// Whether there was no entry before.
    pub(super) created: bool,
    /// Whether there is none now.
    pub(super) is_deleted: bool,
    /// Whether it is on disk (`fsync`), or will be within a second (`relaxed`).
    pub(super) durability: Durability,
    /// Who has it.
    pub(super) scope: Scope,
    /// Names the write, for reading it on another node; null where nothing was written, for `scope=local`, and for
    /// `relaxed`: what may still be lost has no name.
    pub(super) token: Option<String>,
    /// The number after an addition; absent for other writes.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<Shape>,
    /// The value before, where `get=true` asked for it: null where there was none, base64 where `PreviousContentType` is
    /// there.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) previous: Option<Shape>,
    /// What the value before was, where it was not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) previous_content_type: Option<String>,
}

/// How a write was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) scope: Scope,
    pub(super) durability: Durability,
    pub(super) wants_value: bool,
}

impl Asked {
    pub(super) fn of(app: &App, scope: Option<Scope>, durability: Option<Durability>) -> Self {
        Self { scope: scope.unwrap_or_default(), durability: Durability::of(durability, app), wants_value: false }
    }

    /// With the value that was there before, for whoever may read it.
    pub(super) fn with_value(self, wants_value: Option<bool>, caller: &Access) -> Result<Self, ApiError> {
        let wants_value = wants_value.unwrap_or(false);
        if wants_value {
            caller.require(Role::ReadDocument)?;
        }
        Ok(Self { wants_value, ..self })
    }

    /// The token of a write: for one that is on disk when it is answered, and every node's.
    pub(super) fn token_of(self, written: Option<Dot>) -> Option<String> {
        let is_lasting = self.scope == Scope::Shared && self.durability == Durability::Fsync;
        written.filter(|_| is_lasting).map(|dot| Token::Cache(dot).to_string())
    }
}

impl Written {
    pub(super) fn of(key: &CacheKey, outcome: holdfast_core::cache::CacheOutcome, asked: Asked) -> Self {
        let (previous, previous_content_type) = match outcome.value_before {
            Some(content) => {
                let (shape, name) = Shape::of(content);
                (Some(shape), name)
            }
            None => (asked.wants_value.then(Shape::default), None),
        };
        Self {
            key: key.to_string(),
            collection: outcome.after.is_none().then_some(CACHE_COLLECTION),
            entity_id: outcome.after.is_none().then(|| key.to_string()),
            version: outcome.after.map(|after| after.version_text()),
            committed_utc: Timestamp(outcome.at),
            expires_at_utc: outcome.after.map(|after| Timestamp(after.expires)),
            ttl: outcome.after.map(|after| ttl_text(after.expires.since(outcome.at))),
            created: outcome.before.is_none() && outcome.after.is_some(),
            is_deleted: outcome.after.is_none(),
            durability: asked.durability,
            scope: asked.scope,
            token: asked.token_of(outcome.written),
            value: outcome.sum.map(|sum| Shape::of(sum).0),
            previous,
            previous_content_type,
        }
    }

    pub(super) fn into_response(self) -> Response {
        let mut response = wire::json(&self);
        if let Some(token) = &self.token {
            response = wire::with_token(response, token);
        }
        match &self.version {
            Some(version) => wire::with_etag(response, version),
            None => response,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::borrow::Cow;

    use holdfast_core::cache::Times;
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
            Just(serde_json::from_str("12345678901234567890123.10").unwrap()),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn an_entry_alone_is_written_as_one_of_several(
            name in any::<String>(),
            value in value(),
            [created, updated, expires, now] in any::<[u32; 4]>(),
            version in any::<u128>(),
        ) {
            let Ok(key) = CacheKey::parse(&name) else { return Ok(()) };
            let millis = |number: u32| Millis(u64::from(number) * 1_000 + u64::from(number % 1_000));
            let times = Times { created: millis(created), updated: millis(updated), expires: millis(expires), version };
            let content = Content::json(serde_json::to_vec(&value).unwrap());
            let shown = Shown { content: Cow::Owned(content), times };
            let alone = String::from_utf8(entry_text(&key, &shown, &shown.times.version_text(), millis(now))).unwrap();
            prop_assert_eq!(alone, serde_json::to_string(&Entry::of(&key, shown, true, millis(now))).unwrap());
        }
    }
}
