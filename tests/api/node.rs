//! A node for one test, and a client that speaks to it.

use std::sync::Arc;
use std::time::Duration;

use holdfast::databases::{Databases, Upkeep};
use holdfast::http::access::AccessControl;
use holdfast::http::app::{App, Parts};
use holdfast::node::storage_options;
use holdfast::replica::ReplicaGroup;
use holdfast::replica::options::GroupOptions;
use holdfast::settings::Settings;
use holdfast::settings::secret::Secret;
use holdfast::settings::sections::{ApiKeySettings, RateLimitOverride, RoleSettings};
use holdfast::shutdown::Shutdown;
use holdfast::sync::Sync;
use holdfast::{http, listener};
use holdfast_core::id::NodeName;
use holdfast_storage::layout::{Arrival, DataDirectory};
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// The key that may do everything.
pub(crate) const ROOT: &str = "root-key-of-the-tests";

/// A running node.
pub(crate) struct Node {
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    pub(crate) databases: Arc<Databases>,
    shutdown: Shutdown,
    _directory: tempfile::TempDir,
}

/// What a node answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

/// A question to a node, put together step by step.
pub(crate) struct Question<'a> {
    request: reqwest::RequestBuilder,
    node: &'a Node,
    has_key: bool,
    has_database: bool,
}

impl Node {
    /// Starts a node with these keys beside the root key.
    pub(crate) async fn start_with(keys: Vec<ApiKeySettings>, change: impl FnOnce(&mut Settings)) -> Self {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let mut settings = Settings { urls: "http://127.0.0.1:0".to_owned(), ..Settings::default() };
        settings.auth.root_api_key = Secret::new(ROOT);
        settings.auth.api_keys = keys;
        change(&mut settings);
        let arrival = Arrival { incarnation: 7, holder: "a test" };
        let name = NodeName::parse(&settings.node.node_id).unwrap();
        let held = DataDirectory::open(directory.path(), &name, arrival).unwrap();
        let databases = Databases::open(
            held,
            storage_options(&settings),
            Upkeep::new(&settings.node),
            settings.limits.queue_writes_max,
        )
        .unwrap();
        let access = Arc::new(AccessControl::from_settings(&settings).unwrap());
        let shutdown = Shutdown::new(Duration::from_secs(2));
        let listeners = listener::bind(&settings).await.unwrap();
        let url = format!("http://{}", listeners.addresses()[0]);
        let sync = Sync::start(Arc::clone(&databases), &settings.node, shutdown.token()).unwrap();
        let held = Arc::clone(&databases);
        let options = GroupOptions::from_settings(&settings, Some(url.clone()));
        let group =
            ReplicaGroup::start(options, Arc::clone(&databases), Arc::clone(&sync), shutdown.token()).await.unwrap();
        let app = App::new(Parts {
            settings: Arc::new(settings),
            access,
            databases,
            sync,
            group,
            metrics: Arc::default(),
            shutdown: shutdown.clone(),
            started_millis: 1_785_405_600_000,
        });
        tokio::spawn(listeners.serve(http::routes(app), shutdown.clone()));
        Self { url, client: reqwest::Client::new(), databases: held, shutdown, _directory: directory }
    }

    pub(crate) async fn start() -> Self {
        Self::start_with(Vec::new(), |_| {}).await
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> Question<'_> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("{}{path}", self.url));
        Question { request, node: self, has_key: false, has_database: false }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).send().await
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<String>) -> Answer {
        self.ask("PUT", path).body(body.into()).send().await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<String>) -> Answer {
        self.ask("POST", path).body(body.into()).send().await
    }

    pub(crate) async fn patch(&self, path: &str, body: impl Into<String>) -> Answer {
        self.ask("PATCH", path).body(body.into()).send().await
    }

    /// Begins to stop the node.
    pub(crate) fn stop(&self) {
        self.shutdown.begin();
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path).send().await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl Question<'_> {
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.has_key |= name.eq_ignore_ascii_case("ApiKey") || name.eq_ignore_ascii_case("Authorization");
        self.has_database |= name.eq_ignore_ascii_case("Database");
        let value = reqwest::header::HeaderValue::from_bytes(value.as_ref()).unwrap();
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("ApiKey", key)
    }

    pub(crate) fn without_key(mut self) -> Self {
        self.has_key = true;
        self
    }

    pub(crate) fn without_database(mut self) -> Self {
        self.has_database = true;
        self
    }

    pub(crate) fn body(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.body(body);
        self
    }

    /// The root key and the database `shop` are added where nothing else was said.
    pub(crate) fn request(mut self) -> reqwest::RequestBuilder {
        if !self.has_key {
            self = self.key(ROOT);
        }
        if !self.has_database {
            self = self.header("Database", "shop");
        }
        let _ = self.node;
        self.request
    }

    pub(crate) async fn send(self) -> Answer {
        let response = self.request().send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts the status and gives the body.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// Asserts a problem of this status and code.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        assert_eq!(body["code"], code, "{}", self.text);
        assert_eq!(body["Error"], body["error"]);
        assert!(
            body["detail"].as_str().is_some_and(|detail| detail.len() > 10 && detail.ends_with(['.', '?'])),
            "{}",
            self.text
        );
        body
    }
}

/// A key that may do nothing, to say what another one may: `RoleSettings { read_document: true, ..NO_ROLES }`.
pub(crate) const NO_ROLES: RoleSettings = RoleSettings {
    add_db: false,
    delete_db: false,
    read_document: false,
    write_document: false,
    update_document: false,
    delete_document: false,
    manage_index: false,
};

/// A key of `name` for some databases.
pub(crate) fn key(name: &str, databases: &[&str], roles: RoleSettings) -> ApiKeySettings {
    ApiKeySettings {
        name: name.to_owned(),
        key: Secret::new(format!("{name}-key-of-the-tests")),
        databases: databases.iter().map(|&database| database.to_owned()).collect(),
        roles,
        rate_limit: RateLimitOverride::default(),
    }
}
