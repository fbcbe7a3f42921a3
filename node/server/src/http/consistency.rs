//! Reading what was written elsewhere: tokens.
//!
//! ```text
//!   a write's answer        Token: node-1@…:17            see `token`
//!   a read with that token  waits until this node has it  or 503; never an older answer
//!   a read with Max-Staleness: 500ms   or 503, on a follower whose knowledge of its leader is older
//!   /api/replication/wait   waits until so many peers have it
//! ```
//!
//! What stays true:
//! * Who waits is woken by what happens, a commit or a peer's word, and by nothing else.
//! * Every wait ends: with what was asked for, at its timeout, or when the node stops.
//!
//! Not told here: peers of peers. A node knows what those say whom it syncs with itself.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::limits::{PEERS_MAX, TOKEN_WAIT_MILLIS_DEFAULT};
use holdfast_core::replica::freshness::Part;
use holdfast_core::vector::{Sequence, Vector};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock;
use crate::databases::{OpenDatabase, Unavailable};
use crate::http::access::MayUse;
use crate::http::app::App;
use crate::http::error::{ApiError, quoted};
use crate::http::parameters::{self, Parameters};
use crate::http::refusal::{storage_failed, unavailable};
use crate::http::token::Token;
use crate::http::wire::{self, CONSISTENCY_TOKEN, MAX_STALENESS};
use crate::replica::beat::Staleness;

/// Seconds after which a caller may ask again for what is not here yet.
const TRY_AGAIN_SECONDS: u64 = 1;

/// The route of this module.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(wait))
}

/// Parameters of [`wait`].
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct WaitParameters {
    /// The `Token` of a write's answer.
    token: String,
    /// How many peers must have it: 1 if absent.
    peers: Option<u64>,
    /// How long to wait: milliseconds, or `30s`; 5 s if absent, at most one minute.
    timeout: Option<String>,
}

/// Parameters of a read that has no others.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct TokenParameters {
    /// A write's token: wait until this node has it. The header `Consistency-Token` says the same.
    #[serde(default, deserialize_with = "parameters::given")]
    token: Option<String>,
    /// How long to wait for it.
    #[serde(default, deserialize_with = "parameters::given")]
    timeout: Option<String>,
    /// How old what this node shows may be at most, beside its leader: `500ms`, or `30s`. The header `Max-Staleness` says the
    /// same; a node that leads, or is alone, always meets it.
    #[serde(default, deserialize_with = "parameters::given")]
    max_staleness: Option<String>,
}

impl TokenParameters {
    /// What the read must not be older than.
    pub fn wanted(&self, tokens: &Tokens) -> Result<Wanted, ApiError> {
        Wanted::of(tokens, self.token.as_deref(), self.timeout.as_deref())?.no_older_than(self.max_staleness.as_deref())
    }
}

/// Who has a write.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct WaitResult {
    /// The write.
    token: String,
    /// Whether as many peers as were asked for have it.
    reached: bool,
    /// How many were asked for.
    peers_wanted: u64,
    /// How many have it.
    peers_reached: u64,
    /// Whether this node has it.
    is_here: bool,
    /// The peers that have it.
    nodes: Vec<String>,
    /// The peers that are not known to have it.
    missing: Vec<String>,
    /// How long this has waited.
    waited_milliseconds: u64,
}

/// Waits until so many peers have a write.
///
/// The write is safe on this node either way. 200 says that they have it, 202 that not all of them are known to have
/// it yet: `Nodes` and `Missing` tell which. A peer that has a write to the cache shows it, and has it on disk within a
/// second.
#[utoipa::path(get, path = "/api/replication/wait", tag = "Replication", params(WaitParameters),
    responses((status = 200, body = WaitResult, description = "So many peers have it"),
        (status = 202, body = WaitResult, description = "Not so many have it yet"),
        (status = 400), (status = 403), (status = 404),
        (status = 503, description = "Nothing of this token's origin is known here")))]
pub async fn wait(
    State(app): State<App>,
    caller: MayUse,
    Parameters(parameters): Parameters<WaitParameters>,
) -> Result<Response, ApiError> {
    let token = parse_token(&parameters.token)?;
    let wanted = parameters.peers.unwrap_or(1);
    if wanted > PEERS_MAX as u64 {
        return Err(ApiError::bad_request(
            "invalid-parameter",
            format!("The parameter 'peers' must be at most {PEERS_MAX}, the most peers that a node has."),
        ));
    }
    let begun = clock::monotonic();
    let deadline = begun + timeout(parameters.timeout.as_deref())?;
    let database = app.existing(&caller.database)?;
    let mut learned = app.sync.learned();
    loop {
        learned.borrow_and_update();
        let (own, peers) = (known_here(&token, &database)?, token.known_to_peers(&app.sync, &database));
        if !is_known(&token, &own, &peers) {
            return Err(unknown_origin(&token));
        }
        let holders = peers.values().filter(|vector| vector.covers(token.dot())).count() as u64;
        let is_late = clock::monotonic() >= deadline || app.shutdown.is_begun();
        if holders >= wanted || is_late {
            return Ok(answer(&token, wanted, own.covers(token.dot()), &peers, begun.elapsed()));
        }
        tokio::select! {
            // The sender lives as long as the node: this ends when something was learnt.
            _ = learned.changed() => {}
            () = tokio::time::sleep_until(deadline.into()) => {}
            () = app.shutdown.wait() => {}
        }
    }
}

/// What a request's `Consistency-Token` and `Max-Staleness` headers say, and no other header: most requests carry none.
#[derive(Debug)]
pub struct Tokens {
    named: Vec<HeaderValue>,
    bounds: Vec<HeaderValue>,
}

impl<S: Send + Sync> FromRequestParts<S> for Tokens {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let all = |name| parts.headers.get_all(name).iter().cloned().collect();
        Ok(Self { named: all(CONSISTENCY_TOKEN), bounds: all(MAX_STALENESS) })
    }
}

/// What a read must not be older than.
#[derive(Debug, Clone)]
pub struct Wanted {
    token: Option<(Token, Instant)>,
    staleness_max: Option<Duration>,
    part: Part,
}

impl Wanted {
    /// Reads the token and how long to wait for it. The header `Consistency-Token` and the parameter `token` mean
    /// the same.
    pub fn of(tokens: &Tokens, token: Option<&str>, wait: Option<&str>) -> Result<Self, ApiError> {
        let patience = timeout(wait)?;
        let mut named = token.map(parse_token).transpose()?;
        for value in &tokens.named {
            let text = value.to_str().unwrap_or_default().trim();
            let other = parse_token(text)?;
            if named.as_ref().is_some_and(|named| *named != other) {
                return Err(ApiError::bad_request(
                    "invalid-token",
                    "Two different tokens are given. Send the later one, in 'token' or in Consistency-Token.",
                ));
            }
            named = Some(other);
        }
        let token = named.map(|token| (token, clock::monotonic() + patience));
        let bounds = tokens.bounds.iter().map(|value| staleness(value.to_str().unwrap_or_default().trim()));
        let staleness_max = bounds.collect::<Result<Vec<_>, _>>()?.into_iter().min();
        Ok(Self { token, staleness_max, part: Part::Log })
    }

    /// No older than this beside the leader, either: of several bounds the least counts.
    pub fn no_older_than(mut self, max_staleness: Option<&str>) -> Result<Self, ApiError> {
        let bound = max_staleness.map(staleness).transpose()?;
        self.staleness_max = self.staleness_max.into_iter().chain(bound).min();
        Ok(self)
    }

    /// It is the cache that is read.
    #[must_use]
    pub fn of_cache(self) -> Self {
        Self { part: Part::Cache, ..self }
    }

    /// The database once it has what is wanted; at once when nothing is.
    pub async fn database(&self, app: &App, name: &DatabaseName) -> Result<Arc<OpenDatabase>, ApiError> {
        let database = self.with_token(app, name).await;
        // That it is not here may be what is old.
        self.is_fresh_enough(app, name)?;
        database
    }

    fn is_fresh_enough(&self, app: &App, name: &DatabaseName) -> Result<(), ApiError> {
        let Some(most) = self.staleness_max else { return Ok(()) };
        match app.group.staleness(name, self.part) {
            Staleness::None => Ok(()),
            Staleness::AtMost(stale) if stale <= most => Ok(()),
            stale => Err(too_stale(stale, most, app.databases.gate().closed().and_then(|closed| closed.leader_url))),
        }
    }

    async fn with_token(&self, app: &App, name: &DatabaseName) -> Result<Arc<OpenDatabase>, ApiError> {
        let Some((token, deadline)) = &self.token else { return app.existing(name) };
        let mut databases = app.databases.changed();
        loop {
            databases.borrow_and_update();
            match app.databases.get(name) {
                Ok(database) => {
                    if has_come(app, &database, token, *deadline).await? {
                        return Ok(database);
                    }
                }
                // The first write may be on its way here, and the database with it.
                Err(Unavailable::NotFound(_)) => {}
                Err(other) => return Err(unavailable(other)),
            }
            if clock::monotonic() >= *deadline || app.shutdown.is_begun() {
                return Err(not_here(token));
            }
            tokio::select! {
                _ = databases.changed() => {}
                () = tokio::time::sleep_until((*deadline).into()) => {}
                () = app.shutdown.wait() => {}
            }
        }
    }
}

/// Waits until a database has a write. `false` when it is gone, or has not come in time.
async fn has_come(app: &App, database: &OpenDatabase, token: &Token, deadline: Instant) -> Result<bool, ApiError> {
    let mut newest = token.news(database);
    loop {
        newest.borrow_and_update();
        if known_here(token, database)?.covers(token.dot()) {
            return Ok(true);
        }
        tokio::select! {
            changed = newest.changed() => {
                if changed.is_err() {
                    return Ok(false);
                }
            }
            () = tokio::time::sleep_until(deadline.into()) => return Ok(false),
            () = app.shutdown.wait() => return Ok(false),
        }
    }
}

fn known_here(token: &Token, database: &OpenDatabase) -> Result<Vector, ApiError> {
    token.known_here(database).map_err(|error| storage_failed(&error))
}

fn timeout(text: Option<&str>) -> Result<Duration, ApiError> {
    let asked = parameters::timeout("timeout", text)?;
    Ok(asked.unwrap_or(Duration::from_millis(TOKEN_WAIT_MILLIS_DEFAULT)))
}

/// A bound on how old what is read may be.
fn staleness(text: &str) -> Result<Duration, ApiError> {
    parameters::span("maxStaleness", text)
}

fn too_stale(stale: Staleness, most: Duration, leader: Option<String>) -> ApiError {
    let elsewhere = leader.map_or_else(|| "read at the leader".to_owned(), |leader| format!("read at {leader}"));
    let most = most.as_millis();
    let (told, millis) = match stale {
        Staleness::AtMost(stale) => (format!("may be {} ms old", stale.as_millis()), Some(millis_of(stale))),
        _ => ("may be of any age, for its leader was not heard since it started".to_owned(), None),
    };
    let detail = format!(
        "What this follower shows {told}, and Max-Staleness allows {most} ms. Try again in a moment, allow more, or \
         {elsewhere}."
    );
    ApiError::unavailable("too-stale", TRY_AGAIN_SECONDS, detail).with_field("StaleMilliseconds", millis)
}

fn millis_of(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn parse_token(text: &str) -> Result<Token, ApiError> {
    text.parse().map_err(|_| {
        let shown = quoted(text);
        ApiError::bad_request(
            "invalid-token",
            format!("{shown} is no token. Send 'Token' of a write's answer as it is."),
        )
    })
}

/// Whether anything at all is known of the token's origin.
fn is_known(token: &Token, own: &Vector, peers: &BTreeMap<NodeName, Vector>) -> bool {
    peers.values().chain([own]).any(|vector| vector.get(&token.dot().origin) > Sequence(0))
}

fn unknown_origin(token: &Token) -> ApiError {
    let detail = format!(
        "Nothing of '{}' is known here yet: it may be on its way, or the node has gone on under another incarnation. \
         Try again, or ask the node that took the write.",
        token.dot().origin
    );
    ApiError::unavailable("unknown-origin", TRY_AGAIN_SECONDS, detail)
}

fn not_here(token: &Token) -> ApiError {
    let detail = format!("This node does not have write '{token}' yet. Try again, or read where it was written.");
    ApiError::unavailable("not-here-yet", TRY_AGAIN_SECONDS, detail).with_field("Token", token.to_string())
}

fn answer(
    token: &Token,
    peers_wanted: u64,
    is_here: bool,
    peers: &BTreeMap<NodeName, Vector>,
    waited: Duration,
) -> Response {
    let (nodes, missing): (Vec<_>, Vec<_>) = peers.iter().partition(|(_, vector)| vector.covers(token.dot()));
    let names = |of: Vec<(&NodeName, &Vector)>| of.into_iter().map(|(node, _)| node.to_string()).collect();
    let peers_reached = nodes.len() as u64;
    let reached = peers_reached >= peers_wanted;
    let mut response = wire::json(&WaitResult {
        token: token.to_string(),
        reached,
        peers_wanted,
        peers_reached,
        is_here,
        nodes: names(nodes),
        missing: names(missing),
        waited_milliseconds: millis_of(waited),
    });
    if !reached {
        *response.status_mut() = StatusCode::ACCEPTED;
    }
    response
}
