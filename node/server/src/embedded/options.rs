//! What a node inside a program is told when it is opened: the settings, said by calls.

use std::fmt;
use std::path::Path;

use crate::settings::{self, CommandLineValue, Loaded, SettingsProblems};

/// Stands for no address at all; it is never listened on.
const NOWHERE: &str = "http://127.0.0.1:0";

/// What a node is told when it is opened. What is not said is at its default; no file and no variable is read.
#[derive(Clone)]
pub struct NodeOptions {
    values: Vec<CommandLineValue>,
    serves_http: bool,
}

impl NodeOptions {
    /// A node of this name, unique among those that it meets, with its databases in this directory, which is made if it is
    /// missing. It has no role and serves no HTTP.
    pub fn new(name: &str, data_directory: impl AsRef<Path>) -> Self {
        let options = Self { values: Vec::new(), serves_http: false };
        options
            .set("Node:NodeId", name)
            .set("Node:DataDirectory", data_directory.as_ref().to_string_lossy())
            .set("Urls", NOWHERE)
    }

    /// Serves the HTTP API too, at these addresses, such as `http://127.0.0.1:1446`; several are separated by `;`, and port 0
    /// is one that is free. Whoever calls there needs a key: see [`Self::root_key`].
    #[must_use]
    pub fn http(mut self, urls: &str) -> Self {
        self.serves_http = true;
        self.set("Urls", urls)
    }

    /// The key that may do everything over HTTP (`Auth:RootApiKey`). Other machines are not served with the default one.
    #[must_use]
    pub fn root_key(self, key: &str) -> Self {
        self.set("Auth:RootApiKey", key)
    }

    /// The secret that leader and followers share (`Replication:Secret`).
    #[must_use]
    pub fn replication_secret(self, secret: &str) -> Self {
        self.set("Replication:Secret", secret)
    }

    /// Any setting, by its key and as text: `set("Replication:MinSyncReplicas", "1")`. The last value of a key holds.
    /// [`EmbeddedNode::open`](super::EmbeddedNode::open) refuses a key that is unknown.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        let flag = format!("NodeOptions {key}");
        self.values.retain(|one| !one.key.eq_ignore_ascii_case(key));
        self.values.push(CommandLineValue { key: key.to_owned(), value: value.into(), flag });
        self
    }

    pub(super) fn serves_http(&self) -> bool {
        self.serves_http
    }

    pub(super) fn load(&self) -> Result<Loaded, SettingsProblems> {
        settings::load_values(&self.values)
    }
}

/// Shows which keys are set, and no value: some are secrets.
impl fmt::Debug for NodeOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.values.iter().map(|one| &one.key)).finish()
    }
}
