//! Holdfast inside a program: a node that is opened, asked and closed by calls, with HTTP or without.
//!
//! ```text
//!   NodeOptions ─► EmbeddedNode::open ─► database("shop") ─► put, get, execute, ...  ─┐
//!                        │                request(..): any route of the HTTP API     ─┼─► the handlers of `http`
//!                        │                http("http://127.0.0.1:1446"): sockets     ─┘
//!                        └─► start_logical_replication_server, ..._follower, promote_to_leader, events, ...
//! ```
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use holdfast::embedded::{EmbeddedNode, NodeOptions};
//!
//! let node = EmbeddedNode::open(NodeOptions::new("till-1", "./data")).await?;
//! let shop = node.database("shop");
//! shop.put("products", "tea", r#"{"Name": "Green tea", "Price": 3.20}"#).await?;
//! let tea = shop.get("products", "tea").await?;
//! assert!(tea.is_some_and(|tea| tea.json.contains("3.20")));
//! node.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! What stays true: what a program asks takes the way of a request that came over the network, short of the socket, so that
//! the same checks, limits, waits and answers hold; one node holds a data directory, whoever started it.
//!
//! What it does not do: handle signals, print, or set up logs. Those are the program's; the node's events go to `tracing`.

pub mod documents;
mod door;
pub mod error;
pub mod options;
pub mod replication;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::documents::{EmbeddedDatabase, Found, QueryAnswer, Replicas, Written};
pub use self::error::{OpenError, RequestError};
pub use self::options::NodeOptions;
pub use crate::replica::GroupError;
pub use crate::replica::events::{GroupEvent, GroupEvents};
pub use crate::replica::handover::HandedOver;
pub use crate::replica::status::GroupStatus;

use self::door::Door;
use crate::listener::{self, Served};
use crate::node::{self, Running};
use crate::replica::ReplicaGroup;
use crate::settings::CommandLineOverrides;
use crate::shutdown::Shutdown;

/// A node that runs inside this program.
///
/// Every method can be called from several tasks at once. The node works on the tokio runtime that it was opened on. Dropping
/// it asks it to end; [`Self::close`] also waits until it has.
pub struct EmbeddedNode {
    name: String,
    door: Arc<Door>,
    group: Arc<ReplicaGroup>,
    running: Option<Running>,
    shutdown: Shutdown,
    serving: Option<JoinHandle<Served>>,
    urls: Vec<String>,
    /// Ends the wait of a callback of [`Self::enable_auto_failover`].
    awaiting_promotion: Mutex<CancellationToken>,
}

impl EmbeddedNode {
    /// Opens the data directory, made if it is missing, and starts the node. It takes up the role in its group that it had
    /// when it was last closed, or that the options name.
    ///
    /// # Errors
    ///
    /// When the options contradict themselves, the directory is in use by another node, a port is taken, or this is not
    /// called on a runtime of tokio with several threads.
    pub async fn open(options: NodeOptions) -> Result<Self, OpenError> {
        let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
        if !matches!(flavor, Ok(flavor) if flavor != RuntimeFlavor::CurrentThread) {
            return Err(OpenError::Runtime);
        }
        // The program may have chosen a provider of cryptography itself, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let loaded = options.load()?;
        let settings = Arc::new(loaded.settings.clone());
        let directory = node::open_directory(&settings)?;
        let listeners = if options.serves_http() {
            Some(listener::bind(&settings).await.map_err(node::StartError::from)?)
        } else {
            None
        };
        let urls = listeners.as_ref().map(listener::Listeners::urls).unwrap_or_default();
        let shutdown = Shutdown::new(Duration::from_secs(settings.shutdown.deadline_seconds));
        let endpoint = urls.first().map(node::http_endpoint);
        let running = Running::start(settings, directory, endpoint, shutdown.clone()).await?;
        let access = Arc::clone(&running.app.access);
        tokio::spawn(node::keep_keys(access, loaded, CommandLineOverrides::default(), shutdown.token()));
        let door = Arc::new(Door::new(&running.app)?);
        let serving = listeners.map(|listeners| tokio::spawn(listeners.serve(door.routes(), shutdown.clone())));
        Ok(Self {
            name: running.app.settings.node.node_id.clone(),
            group: Arc::clone(&running.app.group),
            door,
            running: Some(running),
            shutdown,
            serving,
            urls: urls.iter().map(ToString::to_string).collect(),
            awaiting_promotion: Mutex::default(),
        })
    }

    /// The node's name among others.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Addresses of its HTTP API, with the ports that port 0 became; none without [`NodeOptions::http`].
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// A database of this node; the first write creates it. The handle can be sent to other tasks, and outlive the node: it
    /// then answers with an error.
    pub fn database(&self, name: &str) -> EmbeddedDatabase {
        EmbeddedDatabase::new(Arc::downgrade(&self.door), name)
    }

    /// Asks the HTTP API by call, for what has no method of its own: `/api/cache`, `/api/conflicts`, `/api/cluster/peers`,
    /// `/replication/...` and all else that `/openapi.json` tells of. No key is needed; what is about a database needs the
    /// header `Database`.
    pub async fn request(&self, request: Request<Body>) -> Response {
        self.door.answer(request).await
    }

    /// Ends the node: requests that run are waited for, everything is on disk, and the directory is free for another.
    pub async fn close(mut self) {
        self.begin_to_end();
        if let Some(serving) = self.serving.take() {
            drop(serving.await);
        }
        if let Some(running) = self.running.take() {
            running.end().await;
        }
    }

    fn begin_to_end(&self) {
        self.shutdown.begin();
        self.stop_awaiting_promotion();
    }
}

impl Drop for EmbeddedNode {
    fn drop(&mut self) {
        self.begin_to_end();
        if let Some(running) = &self.running {
            running.begin_to_end();
        }
    }
}

impl fmt::Debug for EmbeddedNode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EmbeddedNode")
            .field("name", &self.name)
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}
