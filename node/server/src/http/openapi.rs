//! The description of the API, collected from the handlers, and a page to read it.
//!
//! The table of routes is the description: a route that is added with `routes!` is described, and what is
//! described exists.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use utoipa::openapi::path::ParameterBuilder;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, RefOr};
use utoipa::{Modify, OpenApi};

use crate::http::app::App;
use crate::http::{bulk, cluster, replication, states, survey, turned, verify};

/// The reader's page; it loads `/openapi.json` and nothing else.
const PAGE: &str = include_str!("docs.html");
/// The ETag of an answer, quotes included.
const VERSION_EXAMPLE: &str = "\"01JD4XQ8S6M5V3T0A9ZK7W2R1B\"";
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:",
);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Holdfast",
        description = "A local-first database node. Every error is `application/problem+json` with a stable `code` \
                       and a `detail` that says what to do. What cannot be read as HTTP at all is answered before \
                       anything of it is understood, without a body, and the connection is closed: 400 for what is no \
                       HTTP, 414 for an address that is too long, 431 for too many or too long headers."
    ),
    // The routes that do not come through `routes!`.
    paths(
        cluster::list_peers,
        cluster::register_peer,
        cluster::remove_peer,
        replication::push,
        replication::pull,
        replication::databases,
        replication::replication_status,
        states::states,
        states::branch,
        turned::turned,
        survey::survey,
        verify::verify,
        verify::ranges,
        verify::rows,
        verify::documents,
        verify::mend,
        verify::audit
    ),
    modifiers(&Keys),
    security(("ApiKey" = []), ("Bearer" = [])),
    tags(
        (name = "Cache", description = "Values under keys that end by themselves, in the database of the `Database` header"),
        (name = "Documents", description = "One document or many, in the database of the `Database` header"),
        (name = "Collections", description = "Collections as a whole"),
        (name = "Indexes", description = "What finds documents by their values"),
        (name = "Query", description = "SQL over documents"),
        (name = "Changes", description = "What happened, in the order in which this node learnt of it"),
        (name = "Databases", description = "The databases of this node"),
        (name = "Cluster", description = "The peers of this node"),
        (name = "Replication", description = "What peers say to each other"),
        (name = "Node", description = "The node itself")
    ),
    // Named by parameters alone.
    components(schemas(bulk::Told, bulk::Verb))
)]
struct Description;

/// How callers show who they are.
struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        let header =
            |name: &str, text: &str| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(name, text)));
        components.add_security_scheme("ApiKey", header("ApiKey", "A key of Auth:ApiKeys, or Auth:RootApiKey"));
        components.add_security_scheme(
            "Bearer",
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()),
        );
        components.add_security_scheme(
            "ReplicationApiKey",
            header("ReplicationApiKey", "The cluster's secret, Node:ReplicationApiKey"),
        );
    }
}

/// Adds what the format demands: a description of every answer, by default the meaning of its status, and
/// names of operations that differ, which the tag before the handler's name makes them do.
pub fn complete(document: &mut Document) {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            let tag = operation.tags.iter().flatten().next().map(|tag| tag.to_ascii_lowercase());
            if let (Some(tag), Some(id)) = (tag, operation.operation_id.as_mut()) {
                *id = format!("{tag}_{id}");
            }
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter
                    && parameter.name.starts_with("If-")
                {
                    // What is read is written the same way: `invalid-precondition` is the answer to anything else.
                    let shown = ParameterBuilder::from(parameter.clone()).example(Some(VERSION_EXAMPLE.into()));
                    *parameter = shown.build();
                }
            }
            for (status, response) in &mut operation.responses.responses {
                if let RefOr::T(response) = response
                    && response.description.is_empty()
                {
                    meaning(status).clone_into(&mut response.description);
                }
            }
        }
    }
}

fn meaning(status: &str) -> &'static str {
    match status {
        "200" => "Done",
        "204" => "Done; there is nothing to say",
        "304" => "The caller has the current version",
        "400" => "The request cannot be understood; `detail` says what to change",
        "401" => "No key, or one that this node does not know",
        "403" => "The key may not do this",
        "404" => "There is no such thing",
        "409" => "What is there is not what the caller expects",
        "412" => "If-Match or If-None-Match does not hold",
        "413" => "The body is larger than this node takes",
        "415" => "The body is of a kind that this route does not read",
        "503" => "Not now; try again after the seconds of Retry-After",
        _ => "See the code of the answer",
    }
}

/// The description before any route is added.
pub fn description() -> Document {
    Description::openapi()
}

/// The routes that show a finished description.
pub fn routes(document: &Document) -> Router<App> {
    let text = Bytes::from(document.to_json().unwrap_or_default());
    let text = Arc::new(text);
    Router::new()
        .route(
            "/openapi.json",
            get(move || {
                let text = Bytes::clone(&text);
                async move { ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text) }
            }),
        )
        .route("/docs", get(page))
}

async fn page() -> impl IntoResponse {
    let headers = [(CONTENT_SECURITY_POLICY, PAGE_POLICY), (CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    (headers, Html(PAGE))
}
