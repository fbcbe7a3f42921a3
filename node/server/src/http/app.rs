//! What every handler works with: one per node, cheap to clone.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRef;
use holdfast_core::access::role::Role;
use holdfast_core::id::DatabaseName;
use holdfast_storage::error::StorageError;
use tokio::sync::Semaphore;
use tokio::task;

use crate::databases::{Asker, Databases, OpenDatabase, Unavailable};
use crate::http::access::{Access, AccessControl};
use crate::http::error::ApiError;
use crate::http::query::places::Places;
use crate::http::query::statements::Statements;
use crate::http::refusal::{storage_failed, unavailable};
use crate::replica::ReplicaGroup;
use crate::settings::Settings;
use crate::shutdown::Shutdown;
use crate::sync::Sync;
use crate::telemetry::metrics::Metrics;

/// Reads of many documents that run at once; further ones wait. Each holds at most one page in memory.
const SCANS_MAX: usize = 16;

/// The node as its HTTP handlers see it.
#[derive(Clone, Debug)]
pub struct App(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    parts: Parts,
    scans: Arc<Semaphore>,
    queries: Places,
    statements: Statements,
}

/// What an [`App`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// The settings that the node started with.
    pub settings: Arc<Settings>,
    /// Who may call.
    pub access: Arc<AccessControl>,
    /// The databases.
    pub databases: Arc<Databases>,
    /// Sync with the peers.
    pub sync: Arc<Sync>,
    /// Its part in a group of leader and followers.
    pub group: Arc<ReplicaGroup>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether the node is being stopped.
    pub shutdown: Shutdown,
    /// When the node started, in milliseconds since 1970.
    pub started_millis: u64,
}

impl App {
    /// Puts the parts of a node together.
    pub fn new(parts: Parts) -> Self {
        let queries = Places::new(&parts.settings.query);
        Self(Arc::new(Shared {
            parts,
            scans: Arc::new(Semaphore::new(SCANS_MAX)),
            queries,
            statements: Statements::default(),
        }))
    }

    /// Where queries run.
    pub fn queries(&self) -> &Places {
        &self.0.queries
    }

    /// Statements that were read lately.
    pub fn statements(&self) -> &Statements {
        &self.0.statements
    }

    /// A database that is there; 404 when it is not.
    pub fn existing(&self, name: &DatabaseName) -> Result<Arc<OpenDatabase>, ApiError> {
        self.databases.get(name).map_err(unavailable)
    }

    /// Refuses a client's write early while this node takes none: 421 or 503. The writer's thread has the last word.
    pub fn takes_writes(&self) -> Result<(), ApiError> {
        self.databases.at_gate(Asker::Client).map_err(unavailable)
    }

    /// A database that is there, to write to; 404 when it is not.
    pub fn writable(&self, name: &DatabaseName) -> Result<Arc<OpenDatabase>, ApiError> {
        self.takes_writes()?;
        self.existing(name)
    }

    /// The database that a write is about. It is created if the key may do that, else 403.
    pub async fn for_write(&self, access: &Access) -> Result<Arc<OpenDatabase>, ApiError> {
        self.takes_writes()?;
        match self.databases.get(&access.database) {
            Err(Unavailable::NotFound(_)) => {
                access.require(Role::AddDb)?;
                self.databases.create(&access.database, Asker::Client).await.map_err(unavailable)
            }
            there => there.map_err(unavailable),
        }
    }

    /// Runs a read of many records where it holds up nobody; only so many run at once.
    pub async fn scan<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let permit = Arc::clone(&self.0.scans).acquire_owned().await;
        let read = task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        match read.await {
            Ok(read) => read.map_err(|error| storage_failed(&error)),
            Err(error) => {
                tracing::error!(%error, "a read broke off");
                Err(ApiError::internal())
            }
        }
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

impl FromRef<App> for Arc<AccessControl> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.access)
    }
}

impl FromRef<App> for Arc<Sync> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.sync)
    }
}
