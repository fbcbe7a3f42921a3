//! What must hold of a document before it is changed: `parentVersion`, `If-Match`, `If-None-Match`, and what a
//! key that may only create or only update implies.
//!
//! All of it becomes one [`Expect`], which the writer judges in the very transaction that writes.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use holdfast_core::access::role::Role;
use holdfast_core::error::Refusal;
use holdfast_storage::request::Expect;

use crate::http::access::Access;
use crate::http::error::ApiError;

/// How a version is written where there is no document.
pub(super) const NO_VERSION: &str = "<null>";

/// The most tags that one header may list.
const TAGS_MAX: usize = 64;

/// The entity tags of a header.
#[derive(Debug, PartialEq, Eq)]
pub enum Tags {
    /// `*`.
    Any,
    /// Each tag, and whether it is weak.
    Listed(Vec<(String, bool)>),
}

/// What a write expects, and what it means when that does not hold.
#[derive(Debug, Clone)]
pub struct Guard {
    /// What the writer is to check.
    pub expect: Expect,
    on_failure: OnFailure,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum OnFailure {
    /// The caller asked for it.
    Tell,
    /// The key may only create, and the document is there.
    LacksUpdate,
    /// The key may only update, and the document is not there.
    LacksWrite,
    /// An insert, and the document is there.
    IsThere,
    /// `parentVersion`, checked as a tag so that a deleted document does not match.
    Mismatch(String),
}

/// What the headers and the parameter of a write ask for.
pub fn expected(headers: &HeaderMap, parent_version: Option<String>) -> Result<Expect, ApiError> {
    let matches = tags(headers, &IF_MATCH)?;
    let matches_none = tags(headers, &IF_NONE_MATCH)?;
    match (parent_version, matches, matches_none) {
        (None, None, None) => Ok(Expect::Any),
        (Some(version), None, None) => Ok(Expect::Parent(version)),
        (None, Some(Tags::Any), None) => Ok(Expect::Exists),
        (None, Some(Tags::Listed(tags)), None) => {
            // A weak tag never matches here: it does not promise the very same text.
            Ok(Expect::Match(tags.into_iter().filter(|(_, weak)| !weak).map(|(tag, _)| tag).collect()))
        }
        (None, None, Some(Tags::Any)) => Ok(Expect::Absent),
        (None, None, Some(Tags::Listed(_))) => Err(ApiError::bad_request(
            "unsupported-precondition",
            "A write takes If-None-Match only as '*', which means that the document must not exist.",
        )),
        _ => Err(ApiError::bad_request(
            "contradictory-preconditions",
            "Send one of parentVersion, If-Match and If-None-Match, not several.",
        )),
    }
}

/// The headers that make a request conditional, and no others: most requests carry none of them, and copying
/// all headers for each would cost more than looking.
#[derive(Debug)]
pub struct Conditions(pub HeaderMap);

impl<S: Send + Sync> FromRequestParts<S> for Conditions {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let mut conditions = HeaderMap::new();
        for name in [IF_MATCH, IF_NONE_MATCH] {
            for value in parts.headers.get_all(&name) {
                conditions.append(&name, value.clone());
            }
        }
        Ok(Self(conditions))
    }
}

/// Whether what a write expects can hold only where a document already is.
pub fn needs_document(expect: &Expect) -> bool {
    match expect {
        Expect::Any | Expect::Absent => false,
        Expect::Parent(version) => version != NO_VERSION,
        Expect::Match(_) | Expect::Exists | Expect::Conflict(_) => true,
    }
}

/// Whether a reader already has this version.
pub fn has_version(headers: &HeaderMap, version: &str) -> Result<bool, ApiError> {
    Ok(match tags(headers, &IF_NONE_MATCH)? {
        None => false,
        Some(Tags::Any) => true,
        Some(Tags::Listed(tags)) => tags.iter().any(|(tag, _)| tag == version),
    })
}

impl Guard {
    /// For writes that the key may make whatever is there.
    pub fn plain(expect: Expect) -> Self {
        Self { expect, on_failure: OnFailure::Tell }
    }

    /// For a write that only creates.
    pub fn for_insert(access: &Access) -> Result<Self, ApiError> {
        access.require(Role::WriteDocument)?;
        Ok(Self { expect: Expect::Absent, on_failure: OnFailure::IsThere })
    }

    /// For a write that creates or replaces: a key with one of the two rights gets no further than that.
    pub fn for_put(access: &Access, expect: Expect) -> Result<Self, ApiError> {
        let (may_create, may_update) = (access.holds(Role::WriteDocument), access.holds(Role::UpdateDocument));
        match (may_create, may_update, expect) {
            (true, true, expect) => Ok(Self::plain(expect)),
            (false, false, _) => Err(lacking(access, Role::WriteDocument)),
            (true, false, Expect::Any) => Ok(Self { expect: Expect::Absent, on_failure: OnFailure::LacksUpdate }),
            (true, false, expect) if needs_document(&expect) => Err(lacking(access, Role::UpdateDocument)),
            (false, true, Expect::Any) => Ok(Self { expect: Expect::Exists, on_failure: OnFailure::LacksWrite }),
            (false, true, Expect::Parent(version)) if version != NO_VERSION => {
                Ok(Self { expect: Expect::Match(vec![version.clone()]), on_failure: OnFailure::Mismatch(version) })
            }
            (false, true, expect) if !needs_document(&expect) => Err(lacking(access, Role::WriteDocument)),
            (_, _, expect) => Ok(Self::plain(expect)),
        }
    }

    /// For a patch, which creates only by incrementing: a key without WRITE_DOCUMENT may not do that.
    pub fn for_patch(access: &Access, expect: Expect, is_increment_only: bool) -> Self {
        if is_increment_only && expect == Expect::Any && !access.holds(Role::WriteDocument) {
            return Self { expect: Expect::Exists, on_failure: OnFailure::LacksWrite };
        }
        Self::plain(expect)
    }

    /// What a refusal means to the caller.
    pub fn explain(&self, access: &Access, refusal: Refusal) -> ApiError {
        let Refusal::PreconditionFailed { collection, id, current } = refusal else { return refusal.into() };
        match &self.on_failure {
            OnFailure::Tell => Refusal::PreconditionFailed { collection, id, current }.into(),
            OnFailure::IsThere => {
                let detail = format!("There is a document {collection}/{id} already. To replace it, use put.");
                ApiError::conflict("already-exists", detail).with_field("currentVersion", current)
            }
            OnFailure::LacksUpdate => lacking(access, Role::UpdateDocument),
            OnFailure::LacksWrite => lacking(access, Role::WriteDocument),
            OnFailure::Mismatch(expected) => {
                Refusal::VersionMismatch { collection, id, expected: expected.clone(), current }.into()
            }
        }
    }
}

/// The 403 for a role that the key does not hold.
fn lacking(access: &Access, role: Role) -> ApiError {
    access.require(role).err().unwrap_or_else(|| ApiError::forbidden("role-missing", "The key may not do this."))
}

/// The entity tags of a header; `None` when it is absent.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, ApiError> {
    let mut tags = Vec::new();
    let mut is_present = false;
    for value in headers.get_all(name) {
        is_present = true;
        let text = value.to_str().map_err(|_| invalid(name))?.trim();
        if text == "*" {
            return Ok(Some(Tags::Any));
        }
        parse_list(text, &mut tags).ok_or_else(|| invalid(name))?;
    }
    Ok(is_present.then_some(Tags::Listed(tags)))
}

/// Reads `"a", W/"b"`; `None` when it is anything else.
fn parse_list(mut text: &str, tags: &mut Vec<(String, bool)>) -> Option<()> {
    loop {
        let (weak, rest) = text.strip_prefix("W/").map_or((false, text), |rest| (true, rest));
        let (tag, rest) = rest.strip_prefix('"')?.split_once('"')?;
        if tags.len() == TAGS_MAX {
            return None;
        }
        tags.push((tag.to_owned(), weak));
        let rest = rest.trim_start();
        if rest.is_empty() {
            return Some(());
        }
        text = rest.strip_prefix(',')?.trim_start();
    }
}

fn invalid(name: &HeaderName) -> ApiError {
    let name = if *name == IF_MATCH { "If-Match" } else { "If-None-Match" };
    ApiError::bad_request(
        "invalid-precondition",
        format!(
            "{name} takes '*', or ETags of answers as they are, quotes included, separated by commas, as in {name}: \
             \"v1\", \"v2\"."
        ),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn tags_are_read_as_lists_and_weak_ones_never_match_a_write() {
        let expect = |value| expected(&headers(&[(IF_MATCH, value)]), None).unwrap();
        assert_eq!(expect("*"), Expect::Exists);
        assert_eq!(expect(r#""a""#), Expect::Match(vec!["a".into()]));
        assert_eq!(expect(r#""a",W/"b" ,  "c""#), Expect::Match(vec!["a".into(), "c".into()]));
        assert_eq!(expect(r#"W/"a""#), Expect::Match(Vec::new()));
        for bad in ["a", "\"a", "\"a\" \"b\"", "\"a\",", "w/\"a\"", ""] {
            assert_eq!(
                expected(&headers(&[(IF_MATCH, bad)]), None).unwrap_err().code(),
                "invalid-precondition",
                "{bad}"
            );
        }
    }

    #[test]
    fn several_preconditions_at_once_are_refused() {
        let both = headers(&[(IF_MATCH, "*"), (IF_NONE_MATCH, "*")]);
        assert_eq!(expected(&both, None).unwrap_err().code(), "contradictory-preconditions");
        let one = headers(&[(IF_MATCH, "*")]);
        assert_eq!(expected(&one, Some("v".into())).unwrap_err().code(), "contradictory-preconditions");
    }

    #[test]
    fn a_reader_has_the_version_that_it_names_weakly_or_not() {
        let has = |value| has_version(&headers(&[(IF_NONE_MATCH, value)]), "v1").unwrap();
        assert!(has("*") && has(r#""v0", W/"v1""#) && has(r#""v1""#));
        assert!(!has(r#""v2""#));
        assert!(!has_version(&HeaderMap::new(), "v1").unwrap());
    }
}
