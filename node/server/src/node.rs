//! The node: its parts started in order, stopped in reverse.
//!
//! ```text
//!   start   directory ─► databases ─► keys ─► sync ─► sockets ─► banner ─► serve
//!   stop    sockets stop taking ─► requests end ─► sync ends ─► databases are settled and closed
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use holdfast_core::error::Refusal;
use holdfast_core::id::NodeName;
use holdfast_core::replica::role::Role;
use holdfast_core::time::Millis;
use holdfast_storage::database::Options;
use holdfast_storage::error::StorageError;
use holdfast_storage::layout::{Arrival, DataDirectory};
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::banner::{Banner, GroupNow};
use crate::conflicts::policies::Policies;
use crate::conflicts::resolver::Resolver;
use crate::databases::{Databases, Upkeep};
use crate::http::access::AccessControl;
use crate::http::app::{App, Parts};
use crate::listener::{self, ListenError};
use crate::replica::options::GroupOptions;
use crate::replica::{GroupError, ReplicaGroup};
use crate::settings::sections::{ReplicationRole, StorageSettings};
use crate::settings::url::{ListenHost, ListenUrl};
use crate::settings::{
    self, CommandLineOverrides, DEFAULT_REPLICATION_API_KEY, DEFAULT_ROOT_API_KEY, Loaded, Settings, SettingsProblems,
};
use crate::shutdown::Shutdown;
use crate::sync::Sync;
use crate::sync::registry::RegistryError;
use crate::telemetry::metrics::Metrics;
use crate::{clock, entropy};

/// How often the settings files are looked at for new keys.
const KEYS_LOOKED_AT_EVERY: Duration = Duration::from_secs(2);
/// How often the memory of failed keys is tidied.
const LIMITS_TIDIED_EVERY: Duration = Duration::from_secs(60);

/// Why a node did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The node's name is not acceptable.
    #[error("Node:NodeId: {0}")]
    Name(#[from] Refusal),
    /// The data directory could not be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The keys could not be used.
    #[error(transparent)]
    Keys(#[from] SettingsProblems),
    /// The peers could not be read.
    #[error(transparent)]
    Peers(#[from] RegistryError),
    /// Its part in a group of leader and followers could not be taken.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// A socket could not be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// Runs a node until it is told to stop.
pub async fn run(loaded: Loaded, overrides: CommandLineOverrides) -> Result<(), StartError> {
    let settings = Arc::new(loaded.settings.clone());
    let directory = open_directory(&settings)?;
    // Sockets before databases: a port in use is told at once, not after a long opening.
    let listeners = listener::bind(&settings).await?;
    let shutdown = Shutdown::new(Duration::from_secs(settings.shutdown.deadline_seconds));
    shutdown.listen_for_signals();
    let http_endpoint = listeners.urls().first().map(http_endpoint);
    let node = Running::start(Arc::clone(&settings), directory, http_endpoint, shutdown.clone()).await?;
    tokio::spawn(keep_keys(Arc::clone(&node.app.access), loaded, overrides, shutdown.token()));

    let (urls, role) = (listeners.urls(), role_of(node.app.group.role()));
    Banner { settings: &settings, urls: &urls, role, group: group_now(&node.app.group) }.print();
    info!(node = settings.node.node_id, origin = %node.app.databases.origin(), "started");
    let served = listeners.serve(crate::http::routes(node.app.clone()), shutdown).await;
    if served.cut_off > 0 {
        warn!(connections = served.cut_off, "requests were cut off at Shutdown:DeadlineSeconds");
    }
    node.end().await;
    info!("stopped");
    Ok(())
}

/// A node whose parts run, and that nobody has asked anything yet: sockets are for whoever starts it.
#[derive(Debug)]
pub(crate) struct Running {
    /// What its handlers work with.
    pub(crate) app: App,
    /// Sync goes on while requests end, so that the last writes still travel: it has a stop of its own.
    sync_stop: CancellationToken,
    resolver: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts the parts in their order. `http_endpoint` is where others reach the HTTP API, if they do.
    pub(crate) async fn start(
        settings: Arc<Settings>,
        directory: DataDirectory,
        http_endpoint: Option<String>,
        shutdown: Shutdown,
    ) -> Result<Self, StartError> {
        let options = storage_options(&settings);
        let upkeep = Upkeep::new(&settings.node);
        let queue_writes_max = settings.limits.queue_writes_max;
        let opening =
            tokio::task::spawn_blocking(move || Databases::open(directory, options, upkeep, queue_writes_max));
        let databases = opening.await.map_err(|_| StorageError::Stopped)??;
        let access = Arc::new(AccessControl::from_settings(&settings)?);
        let sync_stop = CancellationToken::new();
        let sync = Sync::start(Arc::clone(&databases), &settings.node, sync_stop.clone())?;
        let options = GroupOptions::from_settings(&settings, http_endpoint);
        let group = ReplicaGroup::start(options, Arc::clone(&databases), Arc::clone(&sync), sync_stop.clone()).await?;
        let policies = Policies::from_settings(&settings.node);
        let resolver = Resolver::start(Arc::clone(&databases), policies, sync_stop.clone());
        let metrics = Arc::new(Metrics::default());
        let started_millis = clock::now_millis();
        let app = App::new(Parts { settings, access, databases, sync, group, metrics, shutdown, started_millis });
        Ok(Self { app, sync_stop, resolver })
    }

    /// Asks what runs beside requests to end, without waiting for it.
    pub(crate) fn begin_to_end(&self) {
        self.sync_stop.cancel();
    }

    /// Ends the parts in reverse order; no request may be running any more.
    pub(crate) async fn end(self) {
        self.begin_to_end();
        self.app.sync.ended().await;
        self.app.group.ended().await;
        if let Some(resolver) = self.resolver {
            drop(resolver.await);
        }
        self.app.databases.close().await;
    }
}

/// What this node is to others when it starts.
fn role_of(role: Role) -> &'static str {
    match role {
        Role::Alone => "peer",
        Role::Leader => "leader",
        Role::Follower => "follower",
    }
}

/// Its part in its group when it starts, which it may have taken while it last ran.
fn group_now(group: &ReplicaGroup) -> GroupNow {
    let role = match group.role() {
        Role::Alone => ReplicationRole::None,
        Role::Leader => ReplicationRole::Leader,
        Role::Follower => ReplicationRole::Follower,
    };
    GroupNow { role, leader: group.leader_endpoint(), port: group.listening_port() }
}

/// Where the HTTP API is reached if nobody says otherwise: on this machine, unless the node listens on an address of its own.
pub(crate) fn http_endpoint(url: &ListenUrl) -> String {
    match url.host {
        ListenHost::Address(address) if !address.is_unspecified() && !address.is_loopback() => url.to_string(),
        _ => ListenUrl { host: ListenHost::Localhost, ..url.clone() }.to_string(),
    }
    .trim_end_matches('/')
    .to_owned()
}

/// Takes hold of the data directory that the settings name.
pub fn open_directory(settings: &Settings) -> Result<DataDirectory, StartError> {
    let node = NodeName::parse(&settings.node.node_id)?;
    let started = Millis(clock::now_millis()).to_utc_text();
    let holder = format!("process {} (node {node}, since {started})", std::process::id());
    let arrival = Arrival { incarnation: entropy::random_u64(), holder: &holder };
    Ok(DataDirectory::open(&settings.node.data_directory, &node, arrival)?)
}

/// How databases use the machine, as the settings say.
pub fn storage_options(settings: &Settings) -> Options {
    const MEGABYTE: usize = 1024 * 1024;
    let StorageSettings { data_cache_megabytes, log_cache_megabytes, durable_data_seconds, durable_data_megabytes } =
        settings.storage;
    Options {
        data_cache_bytes: data_cache_megabytes * MEGABYTE,
        log_cache_bytes: log_cache_megabytes * MEGABYTE,
        undurable_bytes_max: usize::try_from(durable_data_megabytes).unwrap_or(usize::MAX).saturating_mul(MEGABYTE),
        undurable_age_max: Millis(durable_data_seconds * 1_000),
        document_bytes_max: settings.limits.document_bytes_max,
        cache_bytes_max: match settings.node.cache_max_megabytes {
            0 => None,
            megabytes => Some(megabytes.saturating_mul(MEGABYTE as u64)),
        },
        clock_skew_max: Millis(settings.node.max_clock_skew_seconds * 1_000),
        ..Options::default()
    }
}

/// Takes over changed keys from the settings files while the node runs.
pub(crate) async fn keep_keys(
    access: Arc<AccessControl>,
    loaded: Loaded,
    overrides: CommandLineOverrides,
    stop: CancellationToken,
) {
    let files: Vec<PathBuf> = loaded.files.iter().map(|file| file.path.clone()).collect();
    let mut seen = modification_times(&files);
    let mut tidied = clock::monotonic();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(KEYS_LOOKED_AT_EVERY) => {}
        }
        if tidied.elapsed() >= LIMITS_TIDIED_EVERY {
            tidied = clock::monotonic();
            access.shrink();
        }
        let now = modification_times(&files);
        if now == seen {
            continue;
        }
        seen = now;
        let taken_over = settings::load(&overrides).map_err(|problems| problems.to_string()).and_then(|again| {
            refuse_weaker(&loaded, &again)?;
            access.reload_from(&again.settings).map_err(|problems| problems.to_string())
        });
        match taken_over {
            Ok(()) => info!("keys and rate limits were read again"),
            Err(problem) => error!(problem, "the settings changed but cannot be used; the old keys go on"),
        }
    }
}

/// Refuses settings that would open a running node: a file that is gone, perhaps only for the moment in which
/// somebody replaces it, or a default key where the node started with one of its own.
fn refuse_weaker(running: &Loaded, again: &Loaded) -> Result<(), String> {
    let is_still_there = |path: &PathBuf| again.files.iter().any(|file| file.is_found && file.path == *path);
    if let Some(gone) = running.files.iter().find(|file| file.is_found && !is_still_there(&file.path)) {
        return Err(format!("{} is gone; put it back, or stop the node", gone.path.display()));
    }
    let is_default_root = |loaded: &Loaded| loaded.settings.auth.root_api_key.expose().trim() == DEFAULT_ROOT_API_KEY;
    let is_default_secret =
        |loaded: &Loaded| loaded.settings.node.replication_api_key.expose().trim() == DEFAULT_REPLICATION_API_KEY;
    if is_default_root(again) && !is_default_root(running) {
        return Err("Auth:RootApiKey would fall back to the default; name a key, or restart the node".to_owned());
    }
    if is_default_secret(again) && !is_default_secret(running) {
        return Err("Node:ReplicationApiKey would fall back to the default; name one, or restart the node".to_owned());
    }
    Ok(())
}

fn modification_times(files: &[PathBuf]) -> Vec<Option<SystemTime>> {
    files.iter().map(|file| std::fs::metadata(file).and_then(|data| data.modified()).ok()).collect()
}
