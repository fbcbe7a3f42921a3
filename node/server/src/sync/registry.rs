//! The peers of this node: those of `Node:SeedPeers`, and those registered while it runs.
//!
//! Registered ones are kept in `peers.json` of the data directory. A registered peer stands before a seed of
//! the same name; a seed that is taken out of the settings is gone with the next start.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use holdfast_core::error::Refusal;
use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::limits::PEERS_MAX;
use holdfast_core::time::Millis;
use holdfast_storage::error::StorageError;
use holdfast_storage::layout::DataDirectory;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;

use crate::clock;
use crate::settings::sections::SeedPeer;

const FILE_NAME: &str = "peers.json";
const FORMAT: u32 = 1;

/// The longest address of a peer, and the longest name that DNS allows in it.
const BASE_URL_BYTES_MAX: usize = 512;
const HOST_BYTES_MAX: usize = 253;

/// Another master that this node syncs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub node: NodeName,
    /// Where it listens, without a trailing slash.
    pub base_url: String,
    /// Whether it is synced with now.
    pub is_active: bool,
    /// The databases that are synced with it, both ways; `None` for all.
    pub databases: Option<Vec<DatabaseName>>,
    /// The databases that go out to it, in place of `databases`.
    pub push_databases: Option<Vec<DatabaseName>>,
    /// The databases that come in from it, in place of `databases`.
    pub pull_databases: Option<Vec<DatabaseName>>,
    /// When it was last changed.
    pub updated: Millis,
    /// Whether it comes from the settings.
    pub is_seed: bool,
}

impl Peer {
    /// Whether a database is synced with it, one way at least.
    pub fn syncs(&self, database: &DatabaseName) -> bool {
        self.sends(database) || self.accepts(database)
    }

    /// Whether a database goes out to it.
    pub fn sends(&self, database: &DatabaseName) -> bool {
        let names = self.push_databases.as_ref().or(self.databases.as_ref());
        names.is_none_or(|names| names.contains(database))
    }

    /// Whether a database comes in from it.
    pub fn accepts(&self, database: &DatabaseName) -> bool {
        let names = self.pull_databases.as_ref().or(self.databases.as_ref());
        names.is_none_or(|names| names.contains(database))
    }
}

/// The databases that go to and come from a peer, as they are asked for; `None` for all, or as `both` says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selected<'a> {
    /// Both ways.
    pub both: Option<&'a [String]>,
    /// Out to the peer.
    pub push: Option<&'a [String]>,
    /// In from the peer.
    pub pull: Option<&'a [String]>,
}

/// Why peers could not be read or changed.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The request is not acceptable.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such peer.
    #[error("peer '{0}' is not registered")]
    NotFound(String),
    /// The peer is in the settings.
    #[error("peer '{0}' is configured in Node:SeedPeers: remove it there, or register it with IsActive false")]
    Seed(String),
    /// Another peer has that address.
    #[error("peer '{0}' is registered with this BaseUrl: remove it first, or give each peer its own address")]
    SameUrl(String),
    /// The file could not be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The HTTP client could not be set up.
    #[error("the HTTP client for peers could not be set up: {0}")]
    Client(#[source] reqwest::Error),
}

/// The peers, kept in step with their file.
#[derive(Debug)]
pub struct Registry {
    local: NodeName,
    seeds: BTreeMap<NodeName, Peer>,
    registered: Mutex<BTreeMap<NodeName, Peer>>,
    file: PeersFile,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct PeersFile {
    path: std::path::PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredPeers {
    format: u32,
    peers: Vec<StoredPeer>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredPeer {
    node_id: String,
    base_url: String,
    is_active: bool,
    #[serde(default)]
    databases: Option<Vec<String>>,
    #[serde(default)]
    push_databases: Option<Vec<String>>,
    #[serde(default)]
    pull_databases: Option<Vec<String>>,
    #[serde(default)]
    updated_millis: u64,
}

impl Registry {
    /// Reads the peers of the data directory and adds those of the settings.
    pub fn open(directory: &DataDirectory, seeds: &[SeedPeer], local: NodeName) -> Result<Self, RegistryError> {
        let file = PeersFile { path: directory.path().join(FILE_NAME) };
        let mut by_name = BTreeMap::new();
        for seed in seeds {
            let selected = Selected { both: seed.databases.as_deref(), ..Selected::default() };
            let peer = checked(&seed.node_id, &seed.base_url, seed.is_active, selected, true)?;
            if let Some(other) = by_name.values().find(|other: &&Peer| other.base_url == peer.base_url)
                && other.node != peer.node
            {
                return Err(RegistryError::SameUrl(other.node.to_string()));
            }
            // A shared settings file lists every node, this one included.
            if peer.node != local {
                by_name.insert(peer.node.clone(), peer);
            }
        }
        let registered = file.read()?;
        Ok(Self { local, seeds: by_name, registered: Mutex::new(registered), file, changed: watch::Sender::new(0) })
    }

    /// All peers by name.
    pub fn list(&self) -> Vec<Peer> {
        let mut all = self.seeds.clone();
        all.extend(self.registered.lock().unwrap_or_else(PoisonError::into_inner).clone());
        all.into_values().collect()
    }

    /// One peer.
    pub fn get(&self, node: &NodeName) -> Option<Peer> {
        let registered = self.registered.lock().unwrap_or_else(PoisonError::into_inner);
        registered.get(node).or_else(|| self.seeds.get(node)).cloned()
    }

    /// Changes whenever a peer comes, goes or is changed.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Registers a peer or replaces what is known of it. Answers whether it was new.
    pub fn register(
        &self,
        node_id: &str,
        base_url: &str,
        is_active: bool,
        selected: Selected<'_>,
    ) -> Result<bool, RegistryError> {
        let mut peer = checked(node_id, base_url, is_active, selected, false)?;
        peer.updated = Millis(clock::now_millis());
        if peer.node.as_str().eq_ignore_ascii_case(self.local.as_str()) {
            return Err(Refusal::invalid("local-node", "Cannot register local node as a peer.").into());
        }
        let is_new = self.change(|registered| {
            let is_known = registered.contains_key(&peer.node) || self.seeds.contains_key(&peer.node);
            if !is_known && registered.len() + self.seeds.len() >= PEERS_MAX {
                return Err(Refusal::invalid("too-many-peers", format!("A node has at most {PEERS_MAX} peers.")).into());
            }
            let known =
                registered.values().chain(self.seeds.values().filter(|seed| !registered.contains_key(&seed.node)));
            if let Some(other) = known.into_iter().find(|one| one.node != peer.node && one.base_url == peer.base_url) {
                return Err(RegistryError::SameUrl(other.node.to_string()));
            }
            registered.insert(peer.node.clone(), peer.clone());
            Ok(!is_known)
        })?;
        tracing::info!(peer = %peer.node, url = peer.base_url, is_active, "peer registered");
        Ok(is_new)
    }

    /// Forgets a peer.
    pub fn remove(&self, node_id: &str) -> Result<(), RegistryError> {
        let node = NodeName::parse(node_id)?;
        self.change(|registered| match registered.remove(&node) {
            Some(_) => Ok(()),
            None if self.seeds.contains_key(&node) => Err(RegistryError::Seed(node.to_string())),
            None => Err(RegistryError::NotFound(node.to_string())),
        })?;
        tracing::info!(peer = %node, "peer removed");
        Ok(())
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<NodeName, Peer>) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut registered = self.registered.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = registered.clone();
        let answer = change(&mut next)?;
        self.file.write(&next)?;
        *registered = next;
        drop(registered);
        self.changed.send_modify(|version| *version += 1);
        Ok(answer)
    }
}

impl PeersFile {
    fn read(&self) -> Result<BTreeMap<NodeName, Peer>, RegistryError> {
        let damaged = |reason: String| StorageError::damaged(self.path.display().to_string(), reason);
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(source) => {
                return Err(StorageError::File { action: "could not read", path: self.path.clone(), source }.into());
            }
        };
        let stored: StoredPeers = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if stored.format != FORMAT {
            let format = u8::try_from(stored.format).unwrap_or(u8::MAX);
            return Err(StorageError::WrittenByNewerNode { place: FILE_NAME.to_owned(), format }.into());
        }
        let peer = |one: StoredPeer| {
            let selected = Selected {
                both: one.databases.as_deref(),
                push: one.push_databases.as_deref(),
                pull: one.pull_databases.as_deref(),
            };
            let mut peer = checked(&one.node_id, &one.base_url, one.is_active, selected, false)?;
            peer.updated = Millis(one.updated_millis);
            Ok((peer.node.clone(), peer))
        };
        stored.peers.into_iter().map(peer).collect()
    }

    fn write(&self, peers: &BTreeMap<NodeName, Peer>) -> Result<(), RegistryError> {
        let texts = |names: &Option<Vec<DatabaseName>>| {
            names.as_ref().map(|names| names.iter().map(ToString::to_string).collect())
        };
        let stored = |peer: &Peer| StoredPeer {
            node_id: peer.node.to_string(),
            base_url: peer.base_url.clone(),
            is_active: peer.is_active,
            databases: texts(&peer.databases),
            push_databases: texts(&peer.push_databases),
            pull_databases: texts(&peer.pull_databases),
            updated_millis: peer.updated.0,
        };
        let all = StoredPeers { format: FORMAT, peers: peers.values().map(stored).collect() };
        let bytes =
            serde_json::to_vec_pretty(&all).map_err(|error| StorageError::damaged(FILE_NAME, error.to_string()))?;
        holdfast_storage::layout::write_atomically(&self.path, &bytes).map_err(RegistryError::from)
    }
}

/// Checks what describes a peer.
fn checked(
    node_id: &str,
    base_url: &str,
    is_active: bool,
    selected: Selected<'_>,
    is_seed: bool,
) -> Result<Peer, RegistryError> {
    let node = NodeName::parse(node_id)?;
    let refuse = |reason: &str| Refusal::invalid("invalid-base-url", format!("BaseUrl of '{node}' {reason}"));
    if base_url.len() > BASE_URL_BYTES_MAX {
        return Err(refuse(&format!("has {} bytes; at most {BASE_URL_BYTES_MAX} are taken.", base_url.len())).into());
    }
    let url = Url::parse(base_url.trim()).map_err(|_| refuse("must be a URL such as http://branch-2:1446."))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(refuse("must start with http:// or https:// and name a host.").into());
    }
    if url.host_str().is_none_or(|host| host.len() > HOST_BYTES_MAX) {
        return Err(refuse("names a host of more than 253 characters, which no network has.").into());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("must hold no user, password, query or fragment.").into());
    }
    let parse = |names: Option<&[String]>| {
        let parsed =
            names.map(|names| names.iter().map(|name| DatabaseName::parse(name)).collect::<Result<Vec<_>, _>>());
        parsed.transpose()
    };
    Ok(Peer {
        base_url: url.as_str().trim_end_matches('/').to_owned(),
        databases: parse(selected.both)?,
        push_databases: parse(selected.push)?,
        pull_databases: parse(selected.pull)?,
        updated: Millis(clock::now_millis()),
        node,
        is_active,
        is_seed,
    })
}
