//! Studio: the files of the web interface, which the build has put into the binary.
//!
//! **What stays true.** Files alone: nothing here reads data, so nothing here asks for a key. Browsers may load only
//! what this node serves, keep a file named by its content for ever, and ask about any other each time.

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use crate::http::error;

/// The page that loads all others.
const PAGE: &str = "index.html";

/// Files in this folder are named by their content.
const NAMED_BY_CONTENT: &str = "assets/";

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_EACH_TIME: HeaderValue = HeaderValue::from_static("no-cache");

/// One file of the interface.
struct File {
    path: &'static str,
    tag: &'static str,
    bytes: &'static [u8],
}

/// Every file, made by the build script.
static FILES: &[File] = &include!(concat!(env!("OUT_DIR"), "/studio_files.rs"));

/// The routes of this module.
pub fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/", get(page))
        .route("/studio", get(async || Redirect::permanent("/")))
        .route("/studio/", get(page))
        .route("/studio/{*path}", get(file))
}

async fn page(uri: Uri, headers: HeaderMap) -> Response {
    respond(PAGE, uri, &headers).await
}

async fn file(Path(path): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    respond(&path, uri, &headers).await
}

async fn respond(path: &str, uri: Uri, asked: &HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|file| file.path == path) else {
        return error::unknown_route(uri).await.into_response();
    };
    let has_it = asked
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|tags| tags.split(',').any(|tag| tag.trim().strip_prefix("W/").unwrap_or(tag.trim()) == file.tag));
    let mut response =
        if has_it { StatusCode::NOT_MODIFIED.into_response() } else { Bytes::from_static(file.bytes).into_response() };
    let is_lasting = file.path.starts_with(NAMED_BY_CONTENT);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(file.path)));
    headers.insert(ETAG, HeaderValue::from_static(file.tag));
    headers.insert(CACHE_CONTROL, if is_lasting { FOR_EVER } else { ASK_EACH_TIME });
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
