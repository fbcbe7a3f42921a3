//! Which collection and document a path names.
//!
//! Read from the path itself rather than from axum's match, so that `/api/documents/{c}/register` is the
//! registration for POST and the document `register` for every other method.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use holdfast_core::id::{CollectionName, DocumentId};
use std::borrow::Cow;

use crate::http::error::ApiError;
use crate::http::percent;

/// The collection of a path whose third segment names it, as `/api/documents/{collection}` does.
#[derive(Debug, Clone)]
pub struct CollectionPath(pub CollectionName);

/// The document of a path whose third and fourth segments name it, as `/api/documents/{collection}/{id}` does.
#[derive(Debug, Clone)]
pub struct DocumentPath {
    /// Its collection.
    pub collection: CollectionName,
    /// Its id.
    pub id: DocumentId,
}

impl<S: Send + Sync> FromRequestParts<S> for CollectionPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let (collection, _) = segments(parts.uri.path());
        Ok(Self(CollectionName::parse(&decoded(collection, "collection")?)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DocumentPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let (collection, id) = segments(parts.uri.path());
        Ok(Self {
            collection: CollectionName::parse(&decoded(collection, "collection")?)?,
            id: DocumentId::parse(&decoded(id, "id")?)?,
        })
    }
}

/// The third and fourth segment of a path, empty where there is none.
fn segments(path: &str) -> (&str, &str) {
    let mut segments = path.split('/').skip(3);
    (segments.next().unwrap_or_default(), segments.next().unwrap_or_default())
}

/// What a segment says once its % signs are decoded.
pub(super) fn decoded<'a>(segment: &'a str, part: &str) -> Result<Cow<'a, str>, ApiError> {
    percent::decode(segment)
        .map_err(|wrong| ApiError::bad_request("invalid-path", format!("The part '{part}' of the path {wrong}.")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::http::Request;

    async fn document(path: &str) -> Result<DocumentPath, ApiError> {
        let (mut parts, ()) = Request::builder().uri(path).body(()).unwrap().into_parts();
        DocumentPath::from_request_parts(&mut parts, &()).await
    }

    #[tokio::test]
    async fn ids_are_decoded_once_and_may_hold_any_character() {
        let place = document("/api/documents/or%C3%A4nge/a%2Fb%20%2525?x=/1").await.unwrap();
        assert_eq!((place.collection.as_str(), place.id.as_str()), ("oränge", "a/b %25"));
    }

    #[tokio::test]
    async fn bad_segments_are_told_apart() {
        for (path, code) in [
            ("/api/documents/c/%FF", "invalid-path"),
            ("/api/documents/c/100%", "invalid-path"),
            ("/api/documents/c/", "invalid-id"),
            ("/api/documents/cache/x", "reserved-collection"),
            ("/api/documents/%24dump/x", "reserved-collection"),
            ("/api/documents/a%20b/x", "invalid-collection-name"),
        ] {
            assert_eq!(document(path).await.unwrap_err().code(), code, "{path}");
        }
    }
}
