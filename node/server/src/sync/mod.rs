//! Sync with peers: who they are, one session per peer and database, hints.
//!
//! ```text
//!   peers.json + Node:SeedPeers ─► registry ─┐
//!   databases that come and go ──────────────┴─► supervisor ─► a session task per peer and database
//!                                                         └──► a link task per peer: WebSocket, discovery
//! ```
//!
//! Must stay true: a session task decides nothing, it carries out what [`holdfast_core::sync::session`]
//! says; tasks share nothing, so a peer that hangs delays itself alone. While the gate is closed to peers nothing comes
//! from them and nothing is asked of them; they may still ask.

pub mod envelope;
pub mod exchange;
pub mod peer_client;
pub mod registry;
pub mod mailbox;
pub mod driver;
pub mod hints;
pub mod hearing;
pub mod link;
pub mod silence;
pub mod membership;
pub mod namesakes;
pub mod skew;
pub mod states;
pub mod giver;
pub mod survey;
pub mod soundness;
pub mod verify;
pub mod cache_counts;
pub mod cache;
pub mod standing;
pub mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::vector::{Origin, Vector};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::databases::{Asker, Closed, Databases, OpenDatabase, Standing};
use crate::settings::sections::NodeSettings;
use crate::sync::cache::{CacheSyncStatus, CacheTask, CacheTasks};
use crate::sync::cache_counts::CacheCountsByPeer;
use crate::sync::driver::{Driver, SessionHandle};
use crate::sync::giver::Turned;
use crate::sync::hearing::{Heard, Patience};
use crate::sync::hints::Hub;
use crate::sync::link::{Link, LinkStatus};
use crate::sync::membership::Contacts;
use crate::sync::namesakes::Namesakes;
use crate::sync::peer_client::PeerClient;
use crate::sync::registry::{Peer, Registry};
use crate::sync::silence::SilenceFile;
use crate::sync::skew::Skews;
use crate::sync::survey::Surveys;
use crate::{clock, entropy};

/// What sync needs to know of the settings.
#[derive(Debug, Clone, Copy)]
pub struct Tempo {
    /// How often a quiet peer is looked at.
    pub sweep: Duration,
    /// Operations in one push or pull.
    pub batch_operations: usize,
    /// How long a peer may take to acknowledge a hint.
    pub acknowledge_within: Duration,
}

impl Tempo {
    /// How long a peer may be silent before what is known of it is doubted.
    pub fn patience(&self) -> Patience {
        Patience { sweep: self.sweep, answer: self.acknowledge_within }
    }
}

/// The sync of a node with all its peers.
#[derive(Debug)]
pub struct Sync {
    databases: Arc<Databases>,
    registry: Registry,
    client: PeerClient,
    hub: Hub,
    tempo: Tempo,
    sessions: Mutex<BTreeMap<(NodeName, DatabaseName), SessionHandle>>,
    caches: Mutex<CacheTasks>,
    cache_counts: CacheCountsByPeer,
    links: Mutex<BTreeMap<NodeName, Link>>,
    /// Counts up when more becomes known of what a peer knows.
    learned: watch::Sender<u64>,
    contacts: Contacts,
    namesakes: Namesakes,
    skews: Skews,
    /// Names this process, so that it recognises itself.
    instance: String,
    surveys: Surveys,
    turned: Turned,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Sync {
    /// Starts syncing with every active peer.
    pub fn start(
        databases: Arc<Databases>,
        settings: &NodeSettings,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, registry::RegistryError> {
        let registry = Registry::open(databases.directory(), &settings.seed_peers, databases.origin().node.clone())?;
        let tempo = Tempo {
            sweep: Duration::from_secs(settings.sweep_interval_seconds),
            batch_operations: settings.replication_batch_size,
            acknowledge_within: Duration::from_millis(settings.replication_signal_ack_timeout_milliseconds),
        };
        let client = PeerClient::new(&settings.replication_api_key, &databases.origin().node)?;
        let contacts = Contacts::restored(SilenceFile::of(databases.directory()).read());
        let sync = Arc::new(Self {
            databases,
            registry,
            client,
            hub: Hub::default(),
            tempo,
            sessions: Mutex::default(),
            caches: Mutex::default(),
            cache_counts: CacheCountsByPeer::default(),
            links: Mutex::default(),
            learned: watch::Sender::default(),
            contacts,
            namesakes: Namesakes::default(),
            skews: Skews::new(Duration::from_secs(settings.max_clock_skew_seconds)),
            instance: format!("{:032x}", entropy::random_u128()),
            surveys: Surveys::default(),
            turned: Turned::default(),
            stop,
            tasks: TaskTracker::new(),
        });
        let supervised = Arc::clone(&sync);
        sync.tasks.spawn(async move { supervised.supervise().await });
        let (counting, lease) = (Arc::clone(&sync), Duration::from_secs(settings.peer_lease_days * 24 * 60 * 60));
        sync.tasks.spawn(membership::keep_leases(counting, lease));
        Ok(sync)
    }

    /// The peers and who may change them.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The databases that are synced.
    pub fn databases(&self) -> &Arc<Databases> {
        &self.databases
    }

    /// Connections that peers have opened to us.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// What was found by comparing with peers.
    pub fn surveys(&self) -> &Surveys {
        &self.surveys
    }

    /// The name of this process, which no other has.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Callers that bring their states.
    pub fn turned(&self) -> &Turned {
        &self.turned
    }

    /// Who writes on this node.
    pub fn origin(&self) -> &Origin {
        self.databases.origin()
    }

    /// Operations in one push or pull.
    pub fn tempo(&self) -> Tempo {
        self.tempo
    }

    /// When members were last heard.
    pub fn contacts(&self) -> &Contacts {
        &self.contacts
    }

    /// Callers that go by the name of another.
    pub fn namesakes(&self) -> &Namesakes {
        &self.namesakes
    }

    /// Peers whose clock is far from ours.
    pub fn skews(&self) -> &Skews {
        &self.skews
    }

    /// Cancelled when the node stops.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// The session with a peer about a database, if there is one.
    pub fn session(&self, peer: &NodeName, database: &DatabaseName) -> Option<SessionHandle> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(&(peer.clone(), database.clone())).cloned()
    }

    /// How far a database's log reaches, and with whom it is exchanged, for peers.
    pub fn standing(
        &self,
        database: &OpenDatabase,
    ) -> Result<holdfast_core::sync::message::Standing, holdfast_storage::error::StorageError> {
        let mut standing = exchange::standing(database)?;
        standing.neighbours = self.neighbours(database.name());
        Ok(standing)
    }

    /// The nodes that exchange the operations of a database with this one, so that nobody needs to pass theirs on.
    fn neighbours(&self, database: &DatabaseName) -> BTreeSet<NodeName> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let met = sessions.iter().filter(|((_, of), session)| of == database && session.is_in_touch());
        let connected = self.hub.nodes().into_iter().filter(|node| !self.is_switched_off(node));
        met.map(|((peer, _), _)| peer.clone()).chain(connected).collect()
    }

    /// What each peer is known to know of a database.
    pub fn peer_vectors(&self, database: &DatabaseName) -> BTreeMap<NodeName, Vector> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let of_database = sessions.iter().filter(|((_, name), _)| name == database);
        of_database.map(|((peer, _), session)| (peer.clone(), session.status().peer_vector)).collect()
    }

    /// What each peer is known to know of a database's cache.
    pub fn cache_vectors(&self, database: &DatabaseName) -> BTreeMap<NodeName, Vector> {
        let tasks = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        let of_database = tasks.iter().filter(|((_, name), _)| name == database);
        of_database.map(|((peer, _), task)| (peer.clone(), task.status().peer_vector)).collect()
    }

    /// Changes whenever more becomes known of what a peer knows, in any database.
    pub fn learned(&self) -> watch::Receiver<u64> {
        self.learned.subscribe()
    }

    /// Every session: its peer and its database.
    pub fn session_keys(&self) -> Vec<(NodeName, DatabaseName)> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// How the connection to a peer is doing.
    pub fn link_status(&self, peer: &NodeName) -> Option<LinkStatus> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.get(peer).map(Link::status)
    }

    /// When a peer was heard about a database, and whether what is known of it is doubted.
    pub fn heard(&self, peer: &NodeName, database: &DatabaseName) -> Heard {
        let exchanged = self.session(peer, database).and_then(|session| session.status().exchanged);
        let link = self.link_status(peer).unwrap_or_default();
        let exchange = exchanged.max(self.surveys.found(peer, database).heard);
        Heard { exchange, socket: link.heard, doubted: link.doubted }
    }

    /// Whether operations go to and come from a node at all: no node is switched off unless it is registered so.
    pub fn is_switched_off(&self, peer: &NodeName) -> bool {
        self.registry.get(peer).is_some_and(|peer| !peer.is_active)
    }

    /// Why sync with all peers rests, if it does: a follower takes what is written from its leader alone.
    pub fn resting(&self) -> Option<Closed> {
        self.databases.gate().stops(Asker::Peer)
    }

    /// Makes every session with a peer look at once.
    pub fn look_at(&self, peer: &NodeName) {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, session) in sessions.iter().filter(|((of, _), _)| of == peer) {
            session.call();
        }
    }

    /// A peer is reached, on a connection that is made anew. What was asked before that may wait on a connection that
    /// leads nowhere any more: it asks again.
    pub fn reached_again(&self, peer: &NodeName, reached: std::time::Instant) {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, session) in sessions.iter().filter(|((of, _), _)| of == peer) {
            session.reached_again(reached);
        }
    }

    /// A peer has something new: its session looks at once. A database not known here is looked up.
    pub fn called(&self, peer: &NodeName, database: &DatabaseName) {
        match self.session(peer, database) {
            Some(session) => session.call(),
            None => {
                let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(link) = links.get(peer) {
                    link.look_for_databases();
                }
            }
        }
    }

    /// How many keys of the cache went to and came from each peer.
    pub fn cache_counts(&self) -> &CacheCountsByPeer {
        &self.cache_counts
    }

    /// How it stands with a peer and the cache of a database, if they are exchanged.
    pub fn cache_status(&self, peer: &NodeName, database: &DatabaseName) -> Option<CacheSyncStatus> {
        let tasks = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.get(&(peer.clone(), database.clone())).map(CacheTask::status)
    }

    /// A peer has something new in its cache.
    pub fn cache_called(&self, peer: &NodeName, database: &DatabaseName) {
        let tasks = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = tasks.get(&(peer.clone(), database.clone())) {
            task.call();
        }
    }

    /// A peer has called us: its sessions need not wait longer after a failure.
    pub fn contacted(&self, peer: &NodeName) {
        let now = clock::monotonic();
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, session) in sessions.iter().filter(|((of, _), _)| of == peer) {
            session.mailbox().contacted(now);
            // One that calls has switched us on again.
            if session.is_paused() {
                session.call();
            }
        }
        drop(sessions);
        let caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, task) in caches.iter().filter(|((of, _), _)| of == peer) {
            task.contacted();
        }
    }

    /// Waits until every task has ended; [`Self::stop`] must have been cancelled.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Keeps one link per active peer and one session per active peer and open database. One that has ended by itself is
    /// begun anew at the next sweep.
    async fn supervise(self: &Arc<Self>) {
        let mut peers = self.registry.changed();
        let mut databases = self.databases.changed();
        let mut gate = self.databases.gate().changed();
        loop {
            gate.mark_unchanged();
            self.reconcile();
            self.surveys.follow(self);
            tokio::select! {
                () = self.stop.cancelled() => break,
                _ = peers.changed() => {}
                _ = databases.changed() => {}
                _ = gate.changed() => {}
                () = tokio::time::sleep(self.tempo.sweep) => {}
            }
        }
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.caches.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.surveys.follow(self);
        self.links.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn reconcile(self: &Arc<Self>) {
        let is_resting = self.resting().is_some();
        let is_wanted = |peer: &Peer| peer.is_active && !is_resting;
        let active: Vec<Peer> = self.registry.list().into_iter().filter(is_wanted).collect();
        let is_open = |standing: &Standing| !matches!(standing, Standing::Quarantined { .. });
        let databases: Vec<DatabaseName> =
            self.databases.list().into_iter().filter(|one| is_open(&one.standing)).map(|one| one.name).collect();
        self.reconcile_links(&active);
        self.reconcile_caches(&active, &databases);
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |(peer, database): &(NodeName, DatabaseName), session: &SessionHandle| {
            databases.contains(database)
                && active
                    .iter()
                    .any(|one| one.node == *peer && one.syncs(database) && one.base_url == session.base_url())
                && session.is_running()
                && self.databases.get(database).is_ok_and(|open| session.is_of(&open))
        };
        // Dropping a handle ends its task.
        sessions.retain(|key, session| wanted(key, session));
        for peer in &active {
            for database in databases.iter().filter(|database| peer.syncs(database)) {
                let key = (peer.node.clone(), database.clone());
                if sessions.contains_key(&key) {
                    continue;
                }
                if let Ok(open) = self.databases.get(database) {
                    sessions.insert(key, Driver::start(self, peer, open));
                }
            }
        }
    }

    fn reconcile_caches(self: &Arc<Self>, active: &[Peer], databases: &[DatabaseName]) {
        let mut tasks = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|(node, name), task| {
            let peer = active.iter().find(|peer| peer.node == *node && peer.syncs(name));
            peer.is_some_and(|peer| self.databases.get(name).is_ok_and(|open| task.is_of(&open, peer)))
        });
        for peer in active {
            for name in databases.iter().filter(|name| peer.syncs(name)) {
                let key = (peer.node.clone(), name.clone());
                if let (false, Ok(open)) = (tasks.contains_key(&key), self.databases.get(name)) {
                    tasks.insert(key, CacheTask::start(self, peer, open));
                }
            }
        }
    }

    fn reconcile_links(self: &Arc<Self>, active: &[Peer]) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|node, link| active.iter().any(|peer| peer.node == *node && link.is_to(peer)));
        for peer in active {
            if !links.contains_key(&peer.node) {
                links.insert(peer.node.clone(), Link::start(self, peer.clone()));
            }
        }
    }
}
