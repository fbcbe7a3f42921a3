//! The door for requests of the program: the routes of HTTP, without a socket.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use axum::response::Response;
use tower::ServiceExt;

use super::error::{OpenError, RequestError};
use crate::http;
use crate::http::access::{API_KEY, DATABASE, InProcess};
use crate::http::app::App;

/// The routes, and the mark of those who need no key.
#[derive(Debug)]
pub(super) struct Door {
    routes: Router,
    mark: InProcess,
    /// A leader that a write is passed on to knows nothing of this process: it is shown the key.
    forwarded_key: Option<HeaderValue>,
}

/// What the program asks about a database.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) database: &'a str,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Option<String>,
}

/// What the node answered.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Door {
    pub(super) fn new(app: &App) -> Result<Self, OpenError> {
        let mark = app.access.in_process().ok_or(OpenError::NoRootKey)?;
        let key = || HeaderValue::from_str(app.settings.auth.root_api_key.expose().trim()).ok();
        let forwarded_key = if app.settings.replication.forward_writes { key() } else { None };
        Ok(Self { routes: http::routes(app.clone()), mark, forwarded_key })
    }

    pub(super) fn routes(&self) -> Router {
        self.routes.clone()
    }

    pub(super) async fn answer(&self, mut request: Request<Body>) -> Response {
        request.extensions_mut().insert(self.mark.clone());
        if let Some(key) = &self.forwarded_key {
            let mut key = key.clone();
            key.set_sensitive(true);
            request.headers_mut().insert(API_KEY, key);
        }
        match self.routes.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// Asks, and takes every status from 400 for a refusal.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Told, RequestError> {
        let mut request = Request::builder().method(ask.method).uri(ask.path).header(DATABASE, ask.database);
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        let request = match ask.body {
            Some(body) => request.header(CONTENT_TYPE, "application/json").body(Body::from(body)),
            None => request.body(Body::empty()),
        };
        let request =
            request.map_err(|_| RequestError::malformed("A name or a token holds what no header can carry."))?;
        let (parts, body) = self.answer(request).await.into_parts();
        // What a node answers is bounded by its own limits.
        let body = to_bytes(body, usize::MAX).await;
        let body = body.map_err(|_| RequestError::malformed("The answer broke off. Read it before trying again."))?;
        if parts.status.as_u16() >= StatusCode::BAD_REQUEST.as_u16() {
            let retry_after = parts.headers.get(RETRY_AFTER).and_then(|seconds| seconds.to_str().ok()?.parse().ok());
            return Err(RequestError::of(parts.status.as_u16(), retry_after, &body));
        }
        Ok(Told { status: parts.status, headers: parts.headers, body: body.to_vec() })
    }
}
