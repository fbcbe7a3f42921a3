//! The HTTP door: what every request passes before a handler sees it, the handlers, and the one shape of every
//! error.
//!
//! ```text
//! request ─► request_id ─► edge ─► route ─► access (key, rate_limit, database) ─► extract (path, parameters, body)
//!                ▲                                                                                  │
//!                └── response, or error as problem+json ◄── databases (read at once, write by queue) ◄── handler
//! ```
//!
//! [`routes`] is the one table of routes; the OpenAPI document is collected from it. A handler's signature shows
//! who may call it.

pub mod error;
pub mod rate_limit;
pub mod access;
pub mod slow_body;
pub mod percent;
pub mod extract;
pub mod parameters;
pub mod request_id;
pub mod edge;
pub mod refusal;
mod from_peer;
pub mod app;
pub mod token;
pub mod consistency;
pub mod place;
pub mod preconditions;
pub mod wire;
pub mod documents;
pub mod writes;
pub mod bulk;
pub mod cache;
pub mod transactions;
pub mod history;
pub mod changes;
pub mod conflicts;
pub mod collections;
pub mod databases;
pub mod health;
pub mod metrics;
mod query_metrics;
mod replica_metrics;
mod sync_metrics;
pub mod cluster;
pub mod exchange_shapes;
pub mod replication;
pub mod cache_exchange;
pub mod dead_letters;
pub mod indexes;
pub mod query;
pub mod states;
pub mod turned;
pub mod members;
pub mod survey;
pub mod verify;
pub mod hints;
pub mod replica;
pub mod replica_database;
pub mod replicated;
pub mod forwarding;
pub mod openapi;
pub mod studio;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use utoipa_axum::router::OpenApiRouter;

use crate::http::app::App;
use crate::http::edge::EdgeLayer;
use crate::http::forwarding::ForwardingLayer;
use crate::http::replicated::ReplicatedLayer;
use crate::http::request_id::RequestIdLayer;

/// Every route of the node, ready to be served.
pub fn routes(app: App) -> Router {
    let (router, mut description) = OpenApiRouter::with_openapi(openapi::description())
        .merge(documents::routes())
        .merge(writes::routes())
        .merge(bulk::routes())
        .merge(transactions::routes())
        .merge(cache::routes())
        .merge(history::routes())
        .merge(changes::routes())
        .merge(conflicts::routes())
        .merge(collections::routes())
        .merge(databases::routes())
        .merge(health::routes())
        .merge(metrics::routes())
        .merge(consistency::routes())
        .merge(dead_letters::routes())
        .merge(indexes::routes())
        .merge(query::routes())
        .merge(members::routes())
        .merge(replica::routes())
        .merge(replica_database::routes())
        .split_for_parts();
    openapi::complete(&mut description);
    let edge = EdgeLayer::new(
        Arc::clone(&app.metrics),
        &app.settings.studio.cors_origins,
        Duration::from_secs(app.settings.limits.body_read_timeout_seconds),
    );
    let forwarding = ForwardingLayer::new(
        app.settings.replication.forward_writes,
        &app.group,
        &app.settings.node.node_id,
        app.settings.limits.request_bytes_max,
    );
    router
        .merge(cluster::routes())
        .merge(replication::routes())
        .merge(cache_exchange::routes())
        .merge(states::routes())
        .merge(turned::routes())
        .merge(survey::routes())
        .merge(verify::routes())
        .merge(hints::routes())
        .merge(openapi::routes(&description))
        .merge(studio::routes())
        .fallback(error::unknown_route)
        .method_not_allowed_fallback(error::unknown_method)
        .layer(DefaultBodyLimit::max(app.settings.limits.request_bytes_max))
        .layer((RequestIdLayer, edge, forwarding, ReplicatedLayer::new(Arc::clone(&app.group))))
        .with_state(app)
}
