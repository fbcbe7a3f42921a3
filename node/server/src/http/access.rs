//! Who is asking, and may they: extractors that a handler's signature names.
//!
//! | in a signature     | the caller has shown                                                          |
//! |--------------------|-------------------------------------------------------------------------------|
//! | [`Caller`]         | a known key; no database is looked at                                         |
//! | [`Access`]         | a known key that reaches the database of the `Database` header                |
//! | [`MayRead`] ...    | the same, and the role that the name says                                     |
//! | [`IsRoot`]         | the root key                                                                  |
//! | [`MayReplicate`]   | the cluster's `ReplicationApiKey`                                             |
//! | [`MayOperate`]     | the root key or the cluster's `ReplicationApiKey`                             |
//!
//! What stays true:
//! * The key is looked at before anything else, so that nobody without one learns which databases there are.
//! * A key travels in `ApiKey` or in `Authorization: Bearer`. Two different ones are refused, not chosen from.
//! * [`AccessControl::reload`] takes effect with the next request; no lock is taken on the way of any request.
//!
//! A program that holds the node in its own process needs no key: see `in_process`, whose mark nothing that comes over a
//! connection can carry.
//!
//! A missing or unknown key is 401, a known one that may not is 403, one that asks too often is 429.

mod in_process;
mod reload;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::{ConnectInfo, FromRef, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use holdfast_core::access::grant::{Denial, Grant};
use holdfast_core::access::key_ring::KeyRing;
use holdfast_core::access::replication_key::ReplicationKey;
use holdfast_core::access::role::{Role, Roles};
use holdfast_core::id::DatabaseName;

pub(crate) use in_process::InProcess;
pub use reload::build_key_ring;

use crate::http::error::ApiError;
use crate::http::rate_limit::{FailureLimiter, KeyLimiter, RateLimits, RetryAfter};

/// The header that carries a client's key.
pub const API_KEY: HeaderName = HeaderName::from_static("apikey");
/// The header that carries the cluster's secret.
pub const REPLICATION_API_KEY: HeaderName = HeaderName::from_static("replicationapikey");
/// The header that names the database.
pub const DATABASE: HeaderName = HeaderName::from_static("database");

/// The keys that hold at this moment, and the counting of their use. One per node, shared by all requests.
#[derive(Debug)]
pub struct AccessControl {
    current: ArcSwap<Keys>,
    failures: FailureLimiter,
}

#[derive(Debug)]
struct Keys {
    ring: KeyRing,
    /// One per grant, in the ring's order.
    limiters: Vec<Arc<KeyLimiter>>,
    replication: ReplicationKey,
}

impl AccessControl {
    /// Starts with these keys.
    pub fn new(ring: KeyRing, replication: ReplicationKey, limits: RateLimits) -> AccessControl {
        let limiters = ring.grants().iter().map(|grant| Arc::new(KeyLimiter::new(limits, grant.rate()))).collect();
        AccessControl {
            current: ArcSwap::from_pointee(Keys { ring, limiters, replication }),
            failures: FailureLimiter::default(),
        }
    }

    /// Replaces the keys, for every request from now on. A key whose rate stays the same keeps its bucket, so
    /// that a reload hands nobody a fresh burst.
    pub fn reload(&self, ring: KeyRing, replication: ReplicationKey, limits: RateLimits) {
        let before = self.current.load();
        let limiters = ring
            .grants()
            .iter()
            .map(|grant| {
                before
                    .limiter_of(grant)
                    .filter(|limiter| limiter.follows(limits, grant.rate()))
                    .cloned()
                    .unwrap_or_else(|| Arc::new(KeyLimiter::new(limits, grant.rate())))
            })
            .collect();
        self.current.store(Arc::new(Keys { ring, limiters, replication }));
    }

    /// Finds out who presents a key, for routes that do not get it in a header. `address` is the client's.
    pub fn authenticate(&self, presented: &str, address: Option<IpAddr>) -> Result<Caller, ApiError> {
        let keys = self.current.load();
        let Some(grant) = keys.ring.authenticate(presented) else {
            return Err(self.failed(address, unknown_key()));
        };
        if grant.is_guessable() {
            self.failures.check_guessable(address).map_err(too_many_failures)?;
        }
        if let Some(limiter) = keys.limiters.get(grant.place()) {
            limiter.check().map_err(|RetryAfter(seconds)| {
                ApiError::too_many_requests(
                    seconds,
                    format!("This key is used more often than its rate allows. Try again in {seconds} s."),
                )
            })?;
        }
        Ok(Caller { grant: Arc::clone(grant) })
    }

    /// Checks the cluster's secret as a node presents it.
    pub fn authenticate_node(&self, presented: &str, address: Option<IpAddr>) -> Result<(), ApiError> {
        let keys = self.current.load();
        if !keys.replication.accepts(presented) {
            return Err(self.failed(address, wrong_replication_key()));
        }
        if keys.replication.is_guessable() {
            self.failures.check_guessable(address).map_err(too_many_failures)?;
        }
        Ok(())
    }

    /// Looks a caller up again, for connections that outlive a reload: none if its key is gone, else what the
    /// key grants now.
    pub fn renew(&self, caller: &Caller) -> Option<Caller> {
        let keys = self.current.load();
        keys.ring.find(caller.grant.digest()).map(|grant| Caller { grant: Arc::clone(grant) })
    }

    /// Forgets client addresses that have been quiet; call it every minute or so.
    pub fn shrink(&self) {
        self.failures.shrink();
    }

    fn failed(&self, address: Option<IpAddr>, error: ApiError) -> ApiError {
        match self.failures.count(address) {
            Ok(()) => error,
            Err(wait) => too_many_failures(wait),
        }
    }
}

impl Keys {
    fn limiter_of(&self, grant: &Grant) -> Option<&Arc<KeyLimiter>> {
        let known = self.ring.find(grant.digest())?;
        self.limiters.get(known.place())
    }
}

/// The holder of a known key.
#[derive(Debug, Clone)]
pub struct Caller {
    grant: Arc<Grant>,
}

impl Caller {
    /// Refuses with 403 unless the key holds the role on the database.
    pub fn require(&self, role: Role, database: &DatabaseName) -> Result<(), ApiError> {
        self.grant.may(role, database).into_result().map_err(denied)
    }

    /// Refuses with 403 unless the key holds one of the roles on the database.
    pub fn require_any(&self, roles: Roles, database: &DatabaseName) -> Result<(), ApiError> {
        self.grant.may_any(roles, database).into_result().map_err(denied)
    }

    /// Returns what the key grants.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Arc<AccessControl>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Caller, ApiError> {
        if let Some(caller) = InProcess::of(parts) {
            return Ok(caller);
        }
        let control = Arc::<AccessControl>::from_ref(state);
        match presented_key(&parts.headers)? {
            Some(key) => control.authenticate(key, client_address(parts)),
            None => Err(key_missing()),
        }
    }
}

/// The holder of a known key, at a database that the key reaches.
#[derive(Debug, Clone)]
pub struct Access {
    caller: Caller,
    /// The database that the request is about. It need not exist.
    pub database: DatabaseName,
}

impl Access {
    /// Refuses with 403 unless the key holds the role here.
    pub fn require(&self, role: Role) -> Result<(), ApiError> {
        self.caller.require(role, &self.database)
    }

    /// Says whether the key holds the role here, where a handler has a choice.
    pub fn holds(&self, role: Role) -> bool {
        self.caller.grant.may(role, &self.database).is_allowed()
    }

    /// Returns who is asking.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

impl<S> FromRequestParts<S> for Access
where
    S: Send + Sync,
    Arc<AccessControl>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Access, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let database = database_of(&parts.headers)?;
        if !caller.grant.reaches(&database) {
            return Err(denied(Denial::OutOfScope { database }));
        }
        Ok(Access { caller, database })
    }
}

macro_rules! permission {
    ($(#[$doc:meta])* $name:ident needs $($role:ident)|+) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name(pub Access);

        impl Deref for $name {
            type Target = Access;

            fn deref(&self) -> &Access {
                &self.0
            }
        }

        impl<S> FromRequestParts<S> for $name
        where
            S: Send + Sync,
            Arc<AccessControl>: FromRef<S>,
        {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
                let access = Access::from_request_parts(parts, state).await?;
                let roles = Roles::NONE$(.with(Role::$role))+;
                access.caller.require_any(roles, &access.database)?;
                Ok(Self(access))
            }
        }
    };
}

permission! {
    /// May read documents of the database.
    MayRead needs ReadDocument
}
permission! {
    /// May read or write documents of the database, in any way.
    MayUse needs ReadDocument | WriteDocument | UpdateDocument | DeleteDocument
}
permission! {
    /// May store documents, be they new or known. A handler that can tell new from known asks
    /// [`Access::holds`] or [`Access::require`] for the very role.
    MayWrite needs WriteDocument | UpdateDocument
}
permission! {
    /// May store documents that are not there yet.
    MayCreate needs WriteDocument
}
permission! {
    /// May change documents that are there.
    MayUpdate needs UpdateDocument
}
permission! {
    /// May delete documents.
    MayDelete needs DeleteDocument
}
permission! {
    /// May make and drop indexes of the database.
    MayManageIndexes needs ManageIndex
}
permission! {
    /// May create the database.
    MayAddDatabase needs AddDb
}
permission! {
    /// May drop the database.
    MayDropDatabase needs DeleteDb
}

/// The holder of the root key.
#[derive(Debug, Clone)]
pub struct IsRoot(pub Caller);

impl<S> FromRequestParts<S> for IsRoot
where
    S: Send + Sync,
    Arc<AccessControl>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<IsRoot, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        if caller.grant.is_root() {
            Ok(IsRoot(caller))
        } else {
            Err(ApiError::forbidden(
                "root-key-required",
                "Only the root key may do this. Send the value of Auth:RootApiKey as ApiKey.",
            )
            .with_error("ApiKey is not the root key."))
        }
    }
}

/// A node of this cluster.
#[derive(Debug, Clone, Copy)]
pub struct MayReplicate;

impl<S> FromRequestParts<S> for MayReplicate
where
    S: Send + Sync,
    Arc<AccessControl>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<MayReplicate, ApiError> {
        let control = Arc::<AccessControl>::from_ref(state);
        match sole(&parts.headers, &REPLICATION_API_KEY)? {
            Some(key) => control.authenticate_node(key, client_address(parts)).map(|()| MayReplicate),
            None => Err(wrong_replication_key()),
        }
    }
}

/// Whoever runs the cluster: the holder of the root key, or of the cluster's secret.
#[derive(Debug, Clone, Copy)]
pub struct MayOperate;

impl<S> FromRequestParts<S> for MayOperate
where
    S: Send + Sync,
    Arc<AccessControl>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<MayOperate, ApiError> {
        if InProcess::of(parts).is_some() {
            return Ok(MayOperate);
        }
        if parts.headers.contains_key(REPLICATION_API_KEY) {
            MayReplicate::from_request_parts(parts, state).await?;
        } else if presented_key(&parts.headers)?.is_some() {
            IsRoot::from_request_parts(parts, state).await?;
        } else {
            return Err(ApiError::unauthorized(
                "wrong-replication-key",
                "Send the root key in the ApiKey header, or the cluster's secret, Node:ReplicationApiKey, in the ReplicationApiKey \
                 header.",
            )
            .with_error("ReplicationApiKey is invalid."));
        }
        Ok(MayOperate)
    }
}

/// Reads the database that a request names.
pub fn database_of(headers: &HeaderMap) -> Result<DatabaseName, ApiError> {
    match sole(headers, &DATABASE)? {
        Some(raw) => database_named(raw),
        None => {
            Err(ApiError::bad_request("database-required", "Send the name of the database in the Database header.")
                .with_error("Database header is required. (Parameter 'rawName')"))
        }
    }
}

/// Reads the name of a database, from wherever it comes.
pub fn database_named(raw: &str) -> Result<DatabaseName, ApiError> {
    DatabaseName::parse(raw).map_err(|refusal| {
        ApiError::from(refusal).with_error(
            "Database name contains invalid characters. Use lowercase letters, numbers, '-' or '_' only. (Parameter 'rawName')",
        )
    })
}

/// Returns the client's address, where the listener has told it.
pub fn client_address(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip())
}

/// Finds the key among the headers: in `ApiKey`, in `Authorization: Bearer`, or the same in both.
fn presented_key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let named = sole(headers, &API_KEY)?;
    let bearer = sole(headers, &AUTHORIZATION)?.and_then(bearer_token);
    match (named, bearer) {
        (Some(named), Some(bearer)) if named != bearer => Err(contradiction("key")),
        (named, bearer) => Ok(named.or(bearer)),
    }
}

/// Other schemes are left to whoever stands before this node.
fn bearer_token(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Returns a header's trimmed value, none if it is absent or blank; repeating it is fine, contradicting is not.
fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else {
        return Ok(None);
    };
    if values.any(|other| other != first) {
        return Err(contradiction(name.as_str()));
    }
    let text = first.to_str().map_err(|_| {
        ApiError::bad_request(
            "invalid-header",
            format!("The header '{name}' holds something other than visible ASCII."),
        )
    })?;
    Ok(Some(text.trim()).filter(|text| !text.is_empty()))
}

fn contradiction(what: &str) -> ApiError {
    ApiError::bad_request(
        "contradictory-headers",
        format!("The request carries two different values of '{what}'. Send one."),
    )
}

fn key_missing() -> ApiError {
    ApiError::unauthorized("key-required", "Send a key in the ApiKey header, or as Authorization: Bearer.")
        .with_error("ApiKey header is required. (Parameter 'apiKey')")
}

fn unknown_key() -> ApiError {
    ApiError::unauthorized(
        "unknown-key",
        "This node does not know the key. Check it against Auth:ApiKeys of this node's settings.",
    )
    .with_error("ApiKey is invalid.")
}

fn wrong_replication_key() -> ApiError {
    ApiError::unauthorized(
        "wrong-replication-key",
        "Send the cluster's secret, Node:ReplicationApiKey, in the ReplicationApiKey header.",
    )
    .with_error("ReplicationApiKey is invalid.")
}

fn too_many_failures(RetryAfter(seconds): RetryAfter) -> ApiError {
    ApiError::too_many_requests(
        seconds,
        format!(
            "Too many requests with wrong keys came from this address. Try again in {seconds} s with the right one."
        ),
    )
}

fn denied(denial: Denial) -> ApiError {
    let code = match denial {
        Denial::OutOfScope { .. } => "database-not-allowed",
        Denial::RoleMissing { .. } => "role-missing",
    };
    ApiError::forbidden(code, denial.remedy()).with_error(denial.to_string())
}
