//! What single values cannot show: settings that contradict each other or cannot work.
//!
//! Looks at settings alone. Whether a port is free or a certificate readable is found by whoever
//! opens it.

use std::collections::BTreeMap;

use holdfast_core::access::api_key::StoredKey;
use holdfast_core::id::CollectionName;

use super::layer;
use super::problem::Problem;
use super::read::Origins;
use super::replication;
use super::secret::Secret;
use super::sections::{ApiKeySettings, CollectionConflictPolicy, RoleSettings, SeedPeer, Settings};
use super::url::{self, ListenUrl, Scheme};

/// The root key that everybody knows.
pub const DEFAULT_ROOT_API_KEY: &str = "root";

/// The replication key that everybody knows.
pub const DEFAULT_REPLICATION_API_KEY: &str = "I_AM_ONE_OF_YOU";

/// Longest name of a node.
const NODE_ID_BYTES_MAX: usize = 64;

/// Longest name of a database.
const DATABASE_NAME_BYTES_MAX: usize = 63;

/// Finds every contradiction in settings whose values are each of the right type.
pub(super) fn check(settings: &Settings, origins: &Origins, problems: &mut Vec<Problem>) {
    let mut checker = Checker { origins, problems };
    let urls = checker.urls(settings);
    checker.tls(settings, &urls);
    checker.node(settings);
    checker.seed_peers(&settings.node.seed_peers);
    checker.conflict_policies(&settings.node.collection_conflict_policies);
    checker.keys(settings);
    checker.default_keys(settings, &urls);
    checker.rates(settings);
    checker.cors_origins(&settings.studio.cors_origins);
    checker.logging(&settings.logging.level);
    checker.limits(settings);
    replication::check(settings, &urls, origins, problems);
}

struct Checker<'a> {
    origins: &'a Origins,
    problems: &'a mut Vec<Problem>,
}

impl Checker<'_> {
    fn source(&self, key: &str) -> String {
        self.origins.get(key).map_or("default", String::as_str).to_owned()
    }

    fn refuse(&mut self, key: &str, value: Option<&str>, message: impl Into<String>) {
        let problem = Problem::of_key(key, self.source(key), message);
        self.problems.push(match value {
            Some(value) => problem.with_value(value),
            None => problem,
        });
    }

    fn urls(&mut self, settings: &Settings) -> Vec<ListenUrl> {
        let text = &settings.urls;
        let parsed = url::parse_all(text);
        if parsed.is_empty() {
            self.refuse("Urls", Some(text), "names no address; write for example http://localhost:1446");
        }
        let mut urls: Vec<ListenUrl> = Vec::new();
        for one in parsed {
            match one {
                Ok(url) => {
                    let same =
                        urls.iter().any(|other| other.host == url.host && other.port == url.port && url.port != 0);
                    if same {
                        self.refuse(
                            "Urls",
                            Some(text),
                            format!("takes port {} of one address twice; keep one of them", url.port),
                        );
                    }
                    urls.push(url);
                }
                Err(message) => self.refuse("Urls", Some(text), message),
            }
        }
        urls
    }

    fn tls(&mut self, settings: &Settings, urls: &[ListenUrl]) {
        let tls = &settings.tls;
        let is_encrypted = urls.iter().any(|url| url.scheme == Scheme::Https);
        let files = [
            ("Tls:CertificateFile", tls.certificate_file.is_some()),
            ("Tls:PrivateKeyFile", tls.private_key_file.is_some()),
        ];
        let given = files.iter().filter(|(_, is_given)| *is_given).count();
        for (key, is_given) in files {
            if !is_given && (is_encrypted || given > 0) {
                let why = if is_encrypted { "Urls has an https:// address" } else { "the other Tls file is given" };
                self.refuse(key, None, format!("is needed, since {why}; write the path of a PEM file"));
            } else if is_given && !is_encrypted && !urls.is_empty() {
                self.refuse(
                    key,
                    None,
                    "has no use, since Urls has no https:// address; write https:// there or remove the Tls section",
                );
            }
        }
    }

    fn node(&mut self, settings: &Settings) {
        let node = &settings.node;
        if let Err(message) = checked_node_id(&node.node_id) {
            self.refuse("Node:NodeId", Some(&node.node_id), message);
        }
        if node.data_directory.as_os_str().is_empty() {
            self.refuse("Node:DataDirectory", None, "is empty; write a directory such as ./data");
        }
    }

    fn seed_peers(&mut self, peers: &[SeedPeer]) {
        let mut seen = BTreeMap::new();
        for (index, peer) in peers.iter().enumerate() {
            let prefix = format!("Node:SeedPeers:{index}");
            let key = format!("{prefix}:NodeId");
            match checked_node_id(&peer.node_id) {
                Err(message) => self.refuse(&key, Some(&peer.node_id), message),
                Ok(()) => {
                    if let Some(first) = seen.insert(peer.node_id.clone(), index) {
                        self.refuse(
                            &key,
                            Some(&peer.node_id),
                            format!("is already the name of Node:SeedPeers:{first}; every node needs its own"),
                        );
                    }
                }
            }
            if let Err(message) = checked_base_url(&peer.base_url) {
                self.refuse(&format!("{prefix}:BaseUrl"), Some(&peer.base_url), message);
            }
            self.databases(&prefix, peer.databases.as_deref().unwrap_or_default());
        }
    }

    fn conflict_policies(&mut self, policies: &[CollectionConflictPolicy]) {
        let mut seen = BTreeMap::new();
        for (index, CollectionConflictPolicy { collection, database, .. }) in policies.iter().enumerate() {
            let prefix = format!("Node:CollectionConflictPolicies:{index}");
            let key = format!("{prefix}:Collection");
            if collection.is_empty() {
                self.refuse(&key, None, "is missing; write the collection's name");
            } else if let Err(refusal) = CollectionName::parse_any(collection) {
                self.refuse(&key, Some(collection), refusal.to_string());
            }
            let normalised = database.as_ref().map(|name| name.trim().to_ascii_lowercase());
            if let Some(name) = normalised.as_deref().filter(|name| !is_database_name(name)) {
                self.refuse(
                    &format!("{prefix}:Database"),
                    Some(name),
                    "must be a database's name: 1 to 63 letters, digits, `-` or `_`, starting with a letter or digit",
                );
            }
            if let Some(first) = seen.insert((collection.clone(), normalised), index) {
                self.refuse(
                    &key,
                    Some(collection),
                    format!("has a policy already in Node:CollectionConflictPolicies:{first}; keep one of them"),
                );
            }
        }
    }

    fn databases(&mut self, prefix: &str, databases: &[String]) {
        for (index, name) in databases.iter().enumerate() {
            if name != "*" && !is_database_name(&name.trim().to_ascii_lowercase()) {
                self.refuse(
                    &format!("{prefix}:Databases:{index}"),
                    Some(name),
                    "must be `*` or a database's name: 1 to 63 letters, digits, `-` or `_`, starting with a letter or digit",
                );
            }
        }
    }

    fn keys(&mut self, settings: &Settings) {
        let root = ("Auth:RootApiKey".to_owned(), &settings.auth.root_api_key);
        let replication = ("Node:ReplicationApiKey".to_owned(), &settings.node.replication_api_key);
        let mut secrets = vec![root, replication];
        let mut names = BTreeMap::new();
        for (index, ApiKeySettings { name, key, databases, roles, .. }) in settings.auth.api_keys.iter().enumerate() {
            let prefix = format!("Auth:ApiKeys:{index}");
            if name.trim().is_empty() {
                self.refuse(&format!("{prefix}:Name"), None, "is missing; write a name to know the key by in logs");
            } else if let Some(first) = names.insert(name.clone(), index) {
                self.refuse(
                    &format!("{prefix}:Name"),
                    Some(name),
                    format!("is already the name of Auth:ApiKeys:{first}; every key needs its own"),
                );
            }
            self.databases(&prefix, databases);
            if databases.is_empty() {
                self.refuse(
                    &format!("{prefix}:Databases"),
                    None,
                    "is missing; list database names, or `*` for all of them",
                );
            }
            if *roles == RoleSettings::default() {
                self.refuse(
                    &format!("{prefix}:Roles"),
                    None,
                    "grants nothing; set at least one role to true, such as {\"READ_DOCUMENT\": true}, or remove the key",
                );
            }
            secrets.push((format!("{prefix}:Key"), key));
        }
        for (index, (key, secret)) in secrets.iter().enumerate() {
            if let Err(message) = checked_secret(key, secret) {
                self.refuse(key, None, message);
                continue;
            }
            let twin = secrets.iter().take(index).find(|(_, other)| other.expose() == secret.expose());
            if let Some((other, _)) = twin {
                self.refuse(key, None, format!("is the same as {other}; make another with `holdfast keys new`"));
            }
        }
    }

    fn default_keys(&mut self, settings: &Settings, urls: &[ListenUrl]) {
        if settings.auth.allow_insecure_defaults {
            return;
        }
        let Some(exposed) = urls.iter().find(|url| !url.is_loopback()) else {
            return;
        };
        let known = [
            ("Auth:RootApiKey", &settings.auth.root_api_key, DEFAULT_ROOT_API_KEY),
            ("Node:ReplicationApiKey", &settings.node.replication_api_key, DEFAULT_REPLICATION_API_KEY),
        ];
        for (key, secret, default) in known {
            if secret.expose() == default {
                self.refuse(
                    key,
                    None,
                    format!(
                        "is the default that everybody knows, while Urls listens on {exposed}, which other machines can reach; \
                         make a key with `holdfast keys new` and set it as {}, or listen on http://localhost:1446 only, \
                         or set {}=true for a trial",
                        layer::variable_for(key),
                        layer::variable_for("Auth:AllowInsecureDefaults"),
                    ),
                );
            }
        }
    }

    fn rates(&mut self, settings: &Settings) {
        let common = settings.rate_limit;
        if common.burst < common.requests_per_second {
            self.refuse_burst("RateLimit:Burst", common.burst, common.requests_per_second);
        }
        for (index, key) in settings.auth.api_keys.iter().enumerate() {
            let own = key.rate_limit;
            if let (Some(burst), Some(rate)) = (own.burst, own.requests_per_second)
                && burst < rate
            {
                self.refuse_burst(&format!("Auth:ApiKeys:{index}:RateLimit:Burst"), burst, rate);
            }
        }
    }

    fn refuse_burst(&mut self, key: &str, burst: u32, rate: u32) {
        self.refuse(
            key,
            Some(&burst.to_string()),
            format!(
                "is less than RequestsPerSecond ({rate}), which could then never be reached; write at least {rate}"
            ),
        );
    }

    fn cors_origins(&mut self, origins: &[String]) {
        for (index, origin) in origins.iter().enumerate() {
            let is_origin = origin == "*"
                || origin.parse::<axum::http::Uri>().is_ok_and(|uri| {
                    matches!(uri.scheme_str(), Some("http" | "https"))
                        && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                        && matches!(uri.path(), "" | "/")
                        && uri.query().is_none()
                        && !origin.ends_with('/')
                });
            if !is_origin {
                self.refuse(
                    &format!("Studio:CorsOrigins:{index}"),
                    Some(origin),
                    "must be `*` or an origin without a path or final `/`, such as https://studio.example.org",
                );
            }
        }
    }

    fn logging(&mut self, level: &str) {
        if let Err(message) = checked_level(level) {
            self.refuse("Logging:Level", Some(level), message);
        }
    }

    fn limits(&mut self, settings: &Settings) {
        let limits = settings.limits;
        if limits.document_bytes_max > limits.request_bytes_max {
            self.refuse(
                "Limits:DocumentBytesMax",
                Some(&limits.document_bytes_max.to_string()),
                format!(
                    "is more than Limits:RequestBytesMax ({}), so that such a document could never arrive; lower it or raise that",
                    limits.request_bytes_max
                ),
            );
        }
    }
}

fn checked_node_id(name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("is missing; write a name such as node-1".to_owned());
    }
    let is_name = name.len() <= NODE_ID_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if is_name {
        Ok(())
    } else {
        Err(format!(
            "must be 1 to {NODE_ID_BYTES_MAX} letters, digits, `-`, `_` or `.`, starting with a letter or digit; write for example node-1"
        ))
    }
}

fn is_database_name(name: &str) -> bool {
    name.len() <= DATABASE_NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

pub(super) fn checked_base_url(text: &str) -> Result<(), &'static str> {
    if text.trim().is_empty() {
        return Err("is missing; write where the peer answers, such as http://10.0.0.2:1446");
    }
    let uri = text.parse::<axum::http::Uri>().ok();
    let is_base = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && uri.query().is_none()
    });
    if is_base {
        Ok(())
    } else {
        Err("must be an http:// or https:// address without a query, such as http://10.0.0.2:1446")
    }
}

fn checked_secret(key: &str, secret: &Secret) -> Result<(), String> {
    if secret.is_blank() {
        return Err(format!(
            "is missing; make a key with `holdfast keys new` and set it as {}",
            layer::variable_for(key)
        ));
    }
    let text = secret.expose();
    if text.trim() != text {
        return Err("has blanks around it, which are lost in a request's header; remove them".to_owned());
    }
    if !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Err("has characters that a request's header cannot carry; use printable ASCII".to_owned());
    }
    // What follows is what the node itself asks of a key when it starts.
    StoredKey::parse(text).map(drop).map_err(|unusable| unusable.to_string())
}

/// Levels of the log, and how .NET calls them.
const LEVELS: &[(&str, &[&str])] = &[
    ("error", &["critical"]),
    ("warn", &["warning"]),
    ("info", &["information"]),
    ("debug", &[]),
    ("trace", &[]),
    ("off", &["none"]),
];

fn checked_level(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("is empty; write for example info".to_owned());
    }
    for directive in text.split(',').map(str::trim) {
        // A lone word that is no level would be taken for the name of a module, silently.
        let word = directive.rsplit('=').next().unwrap_or_default().to_ascii_lowercase();
        if directive.contains([':', '[']) && !directive.contains('=') {
            continue;
        }
        if !LEVELS.iter().any(|(level, _)| *level == word) {
            let meant = LEVELS.iter().find(|(level, others)| {
                others.contains(&word.as_str()) || strsim::damerau_levenshtein(level, &word) <= 2
            });
            return Err(match meant {
                Some((level, _)) => format!("has the level `{word}`; did you mean {level}?"),
                None => format!(
                    "has the level `{word}`; write error, warn, info, debug, trace or off, or directives such as `info,holdfast=debug`"
                ),
            });
        }
    }
    tracing_subscriber::EnvFilter::try_new(text)
        .map(drop)
        .map_err(|error| format!("cannot be understood: {error}; write for example info or `info,holdfast=debug`"))
}
