//! The databases of the node, as far as a key reaches: listing them and dropping one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::response::Response;
use holdfast_core::access::role::Role;
use holdfast_core::id::DatabaseName;
use holdfast_storage::error::StorageError;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::databases::{Asker, DatabaseListing, OpenDatabase, Standing};
use crate::http::access::Caller;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extract::PathParts;
use crate::http::refusal::unavailable;
use crate::http::replicated::DatabasesChanged;
use crate::http::wire;

/// The routes of this module.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(drop_one))
}

/// A database and what it holds.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct DatabaseSummary {
    /// Its name.
    #[schema(value_type = String)]
    name: DatabaseName,
    /// `Open`, `Reopening` or `Quarantined`.
    status: &'static str,
    /// Why it is not open; for the root key alone when it is quarantined.
    error: Option<String>,
    /// What it holds; null where the key may not read it, or where it is not open.
    contents: Option<Contents>,
}

/// What a database holds.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Contents {
    /// Collections.
    pub collections: u64,
    /// Documents that are shown.
    pub documents: u64,
    /// Records of deleted documents.
    pub tombstones: u64,
    /// Documents with versions that did not know of each other.
    pub conflicted: u64,
    /// Operations from peers that could not be taken in.
    pub dead_letters: u64,
    /// Keys of which the cache keeps something.
    pub cache_keys: u64,
    /// What they take, in bytes.
    pub cache_bytes: u64,
    /// Whether that is so much that writes which make it more are refused: see `Node:CacheMaxMegabytes`.
    pub cache_is_full: bool,
    /// Oldest position that the log still holds; 0 when it is empty.
    pub oldest_log_sequence: u64,
    /// Newest position of the log.
    pub newest_log_sequence: u64,
    /// The log's id: positions mean nothing in another log.
    pub log_id: String,
    /// A number that is equal on two nodes when what they show is equal, as 32 hexadecimal digits.
    pub digest: String,
    /// Size of the file of documents.
    pub data_bytes: u64,
    /// Size of the file of the log.
    pub log_bytes: u64,
}

/// What was dropped.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Dropped {
    /// The database.
    #[schema(value_type = String)]
    name: DatabaseName,
    /// Always true.
    dropped: bool,
}

/// Lists the databases that the key reaches.
#[utoipa::path(get, path = "/api/databases", tag = "Databases",
    responses((status = 200, body = Vec<DatabaseSummary>)))]
pub async fn list(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    let listings = app.databases.list().into_iter().filter(|listing| caller.grant().reaches(&listing.name));
    let mut summaries = Vec::new();
    for listing in listings {
        let may_read = caller.grant().may(Role::ReadDocument, &listing.name).is_allowed();
        let contents = if may_read { contents(&app, &listing).await? } else { None };
        summaries.push(summary(listing, contents, caller.grant().is_root()));
    }
    Ok(wire::json(&summaries))
}

/// Drops a database of this node, with everything in it.
///
/// Peers keep theirs, and do not bring it back here.
#[utoipa::path(delete, path = "/api/databases/{name}", tag = "Databases", params(
        ("name" = String, Path, description = "The database")),
    responses((status = 200, body = Dropped), (status = 403), (status = 404)))]
pub async fn drop_one(
    State(app): State<App>,
    caller: Caller,
    PathParts(name): PathParts<String>,
) -> Result<Response, ApiError> {
    let name = DatabaseName::parse(&name)?;
    caller.require(Role::DeleteDb, &name)?;
    app.databases.drop_database(&name, Asker::Client).await.map_err(unavailable)?;
    let mut response = wire::json(&Dropped { name, dropped: true });
    // Nothing of it is left that a token could name: followers say which databases they have.
    let edition = *app.databases.changed().borrow();
    response.extensions_mut().insert(DatabasesChanged(edition));
    Ok(response)
}

fn summary(listing: DatabaseListing, contents: Option<Contents>, is_root: bool) -> DatabaseSummary {
    let (status, error) = match listing.standing {
        Standing::Open => ("Open", None),
        Standing::Reopening { is_disk_full: true } => ("Reopening", Some("The disk is full.".to_owned())),
        Standing::Reopening { is_disk_full: false } => ("Reopening", Some("A write failed.".to_owned())),
        Standing::Quarantined { reason } => ("Quarantined", is_root.then_some(reason)),
    };
    DatabaseSummary { name: listing.name, status, error, contents }
}

/// What a database holds; `None` while it is not open.
pub async fn contents(app: &App, listing: &DatabaseListing) -> Result<Option<Contents>, ApiError> {
    let Ok(database) = app.existing(&listing.name) else { return Ok(None) };
    let (data_bytes, log_bytes) = file_bytes(app, &listing.name);
    match app.scan(move || measure(&database)).await {
        Ok(contents) => Ok(Some(Contents { data_bytes, log_bytes, ..contents })),
        // One database that cannot be read does not hide the others.
        Err(_) => Ok(None),
    }
}

fn measure(database: &Arc<OpenDatabase>) -> Result<Contents, StorageError> {
    let view = database.view()?;
    let collections = view.collections()?;
    let state = view.state()?;
    let (log, cache) = (database.log()?, view.cache_state()?);
    Ok(Contents {
        collections: collections.len() as u64,
        documents: collections.iter().map(|(_, state)| state.alive).sum(),
        tombstones: collections.iter().map(|(_, state)| state.tombstones).sum(),
        conflicted: state.conflicted,
        dead_letters: state.letters.len() as u64,
        oldest_log_sequence: log.oldest()?.0,
        cache_keys: cache.keys,
        cache_bytes: cache.bytes,
        cache_is_full: database.counts().is_cache_full.load(Ordering::Relaxed),
        newest_log_sequence: log.newest()?.0,
        log_id: format!("{:016x}", database.log_id()?),
        digest: view.digest()?.to_string(),
        data_bytes: 0,
        log_bytes: 0,
    })
}

/// Sizes of a database's two files; zero for one that is not there.
fn file_bytes(app: &App, name: &DatabaseName) -> (u64, u64) {
    let directory = app.databases.directory();
    let size = |path: std::path::PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    (size(directory.data_path(name)), size(directory.log_path(name)))
}
