//! Which place is meant: flags first, then the node that the settings describe, if it is running.

use std::path::{Path, PathBuf};

use clap::Args;
use holdfast_core::id::DatabaseName;
use tokio::runtime::{self, Runtime};

use super::{NodeClient, PlaceError};
use crate::settings::secret::Secret;
use crate::settings::url::{ListenHost, parse_all};
use crate::settings::{self, CommandLineOverrides, Settings};

/// Flags that say where documents go to or come from.
#[derive(Clone, Default, Args)]
#[command(next_help_heading = "Where")]
pub(crate) struct PlaceArguments {
    /// Address of a running node [default: the one that the settings describe]
    #[arg(long, global = true, value_name = "URL", conflicts_with = "data_dir")]
    pub(crate) url: Option<String>,
    /// API key for the node [default: the settings' root key, for the node that they describe]
    // The value never shows in the help: it is a secret.
    #[arg(long, global = true, value_name = "KEY", env = "HOLDFAST_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Work directly in this data directory, which no node may have open
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Settings file, or the directory that holds appsettings.json [default: the working directory]
    #[arg(long, global = true, value_name = "DIR/FILE")]
    settings: Option<PathBuf>,
    /// Whether the node is asked with the secret of the cluster: then it needs no key.
    #[arg(skip)]
    is_keyless: bool,
}

/// Where documents go to or come from.
pub(crate) enum Place {
    /// A data directory, and the node name for it should it be new.
    Directory {
        /// The directory.
        path: PathBuf,
        /// The node name of the settings.
        node: String,
    },
    /// A running node.
    Node {
        /// For waiting on the network.
        runtime: Runtime,
        /// Speaks to it.
        client: NodeClient,
    },
}

impl PlaceArguments {
    /// A running node.
    pub(crate) fn of_node(url: Option<String>, key: Option<String>, settings: Option<PathBuf>) -> Self {
        Self { url, key, data_dir: None, settings, is_keyless: false }
    }

    /// The same place for whoever may go without a key, having the secret of the cluster.
    pub(crate) fn keyless(&self, is_keyless: bool) -> Self {
        Self { is_keyless, ..self.clone() }
    }

    /// The secret of the cluster: the one that was given, or the settings' for the settings' own node alone.
    pub(crate) fn cluster_secret(&self, given: Option<&str>) -> Result<Secret, PlaceError> {
        match given {
            Some(secret) => Ok(Secret::new(secret)),
            None if self.url.is_none() => Ok(self.load()?.node.replication_api_key),
            None => Ok(Secret::default()),
        }
    }

    /// Finds the place. For a node whose address was not given, it also looks whether it is running.
    pub(crate) fn place(&self, database: Option<&DatabaseName>) -> Result<Place, PlaceError> {
        if let Some(path) = &self.data_dir {
            // The name counts for a new directory alone, so settings with problems are no obstacle here.
            let node = self.load().map_or_else(|_| Settings::default().node.node_id, |settings| settings.node.node_id);
            return Ok(Place::Directory { path: path.clone(), node });
        }
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| PlaceError::new(format!("cannot start: {error}")))?;
        let (url, key) = self.address()?;
        let client = NodeClient::new(&url, key, database.map(DatabaseName::as_str))?;
        if self.url.is_none() && !runtime.block_on(client.is_there()) {
            return Err(nothing_listens(
                &url,
                self.load().ok().map(|settings| settings.node.data_directory).as_deref(),
            ));
        }
        Ok(Place::Node { runtime, client })
    }

    /// The settings that these flags name.
    pub(crate) fn load(&self) -> Result<Settings, PlaceError> {
        let overrides =
            CommandLineOverrides { settings_path: self.settings.clone(), ..CommandLineOverrides::default() };
        settings::load(&overrides).map(|loaded| loaded.settings).map_err(PlaceError::new)
    }

    fn address(&self) -> Result<(String, Secret), PlaceError> {
        if let (Some(url), Some(key)) = (&self.url, &self.key) {
            return Ok((checked(url)?, Secret::new(key)));
        }
        let settings = self.load()?;
        let own = own_urls(&settings);
        let url = match &self.url {
            Some(url) => checked(url)?,
            None => own.first().cloned().ok_or_else(|| {
                PlaceError::new("the settings' Urls names no address; give one with --url http://localhost:1446")
            })?,
        };
        let key = match &self.key {
            Some(key) => Secret::new(key),
            None if self.is_keyless => Secret::default(),
            // The root key is for this machine's node and goes nowhere else.
            None if own.contains(&url) => plain_root_key(&settings)?,
            None => return Err(key_missing(&url)),
        };
        Ok((url, key))
    }
}

/// The addresses at which this machine reaches the node that the settings describe.
fn own_urls(settings: &Settings) -> Vec<String> {
    let mut urls = Vec::new();
    for url in parse_all(&settings.urls).into_iter().flatten() {
        let is_everywhere = match url.host {
            ListenHost::Address(address) => address.is_unspecified(),
            ListenHost::Localhost | ListenHost::Any => true,
        };
        let (scheme, port) = (url.scheme.name(), url.port);
        if is_everywhere {
            urls.extend(["localhost", "127.0.0.1", "[::1]"].map(|host| format!("{scheme}://{host}:{port}")));
        } else {
            urls.push(url.to_string());
        }
    }
    urls
}

fn checked(url: &str) -> Result<String, PlaceError> {
    let url = url.trim().trim_end_matches('/');
    let is_address = url.starts_with("http://") || url.starts_with("https://");
    if is_address {
        return Ok(url.to_owned());
    }
    Err(PlaceError::new(format!("'{url}' is no address of a node; write http://localhost:1446")))
}

fn plain_root_key(settings: &Settings) -> Result<Secret, PlaceError> {
    let key = settings.auth.root_api_key.expose();
    if key.trim().is_empty() || key.starts_with("sha256:") {
        return Err(PlaceError::new(
            "the settings hold no root key that could be sent; give one with --key or in HOLDFAST_KEY",
        ));
    }
    Ok(Secret::new(key))
}

fn key_missing(url: &str) -> PlaceError {
    PlaceError::new(format!("no key for {url}; give it with --key or in HOLDFAST_KEY"))
}

/// Says what can be done where no node runs.
pub(crate) fn nothing_listens(url: &str, directory: Option<&Path>) -> PlaceError {
    let directory = directory.unwrap_or(Path::new("data")).display().to_string();
    PlaceError::new(format!(
        "nothing listens on {url}. Start the node with 'holdfast serve', or name another with --url, \
         or work in its data directory while it is stopped: --data-dir {directory}"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::PathBuf;

    use super::{PlaceArguments, checked};

    #[test]
    fn the_root_key_goes_to_the_node_of_the_settings_and_nowhere_else() {
        let settings = Some(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../appsettings.json")));
        let at = |url: Option<&str>, key: Option<&str>| {
            let (url, key) = (url.map(str::to_owned), key.map(str::to_owned));
            PlaceArguments { url, key, settings: settings.clone(), data_dir: None, is_keyless: false }.address()
        };
        assert_eq!(at(None, None).unwrap().1.expose(), "root");
        assert_eq!(at(Some("http://127.0.0.1:1446/"), None).unwrap().0, "http://127.0.0.1:1446");
        let refused = at(Some("http://shop.example:1446"), None).unwrap_err();
        assert!(refused.to_string().contains("--key"), "{refused}");
        let given = at(Some("http://shop.example:1446"), Some("k")).unwrap();
        assert_eq!((given.0.as_str(), given.1.expose()), ("http://shop.example:1446", "k"));
    }

    #[test]
    fn an_address_needs_its_scheme() {
        assert!(checked("localhost:1446").unwrap_err().to_string().contains("http://localhost:1446"));
    }
}
