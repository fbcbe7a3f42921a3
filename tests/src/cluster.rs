//! Real nodes in real processes, and the lines between them.
//!
//! ```text
//!   Home ──start()──► Node (a process)  ──client()──► Client: asks it over HTTP
//!     ▲ data, settings and log stay         │
//!     └────────── stop(), kill() ◄──────────┘         Line: a TCP proxy that is cut, slow or deaf on request
//! ```
//!
//! What stays true: a process never outlives its [`Node`]; nothing waits a fixed time, [`wait_for`] asks until the
//! answer is right; when a test fails, every node tells its log; no key ever stands in a log, which is checked
//! whenever a process ends.

mod binary;
mod client;
mod line;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use self::binary::holdfast;
pub use self::client::{Answer, Client};
pub use self::line::{Line, Weather};

/// The key that may do everything; told apart from anything that a log might hold by chance.
pub const ROOT_KEY: &str = "Rk-7f3a91-root-of-the-tests";
/// What the nodes of a test share.
pub const CLUSTER_KEY: &str = "Ck-52d0be-cluster-of-the-tests";

/// How long anything may take that is expected to happen. Far more than it takes, for machines that are busy; less than
/// the time between two sweeps, which would hide that something was not noticed when it happened.
pub const SOON: Duration = Duration::from_secs(45);
/// How long a node may take to start or to stop.
const START_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Lines of a node's log that are told when a test fails.
const TOLD_LINES_MAX: usize = 120;

/// Where a node lives: its directory, its settings and its log. Processes come and go in it.
#[derive(Debug)]
pub struct Home {
    name: String,
    directory: tempfile::TempDir,
    data: PathBuf,
    settings: Vec<(String, String)>,
    log: Log,
}

/// A node's process.
#[derive(Debug)]
pub struct Node {
    name: String,
    /// Where it listens.
    pub url: String,
    child: Child,
    log: Log,
}

/// Everything that the processes of a home have written.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Home {
    /// A new home for a node of this name, with the tests' keys.
    pub fn new(name: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("holdfast-").tempdir().expect("a temporary directory");
        let data = directory.path().join("data");
        let home = Self { name: name.to_owned(), directory, data, settings: Vec::new(), log: Log::default() };
        home.with("Auth:RootApiKey", ROOT_KEY).with("Node:ReplicationApiKey", CLUSTER_KEY)
    }

    /// A new home whose node looks at its peers every second and keeps nothing longer than it must.
    pub fn forgetful(name: &str) -> Self {
        Self::new(name)
            .with("Node:SweepIntervalSeconds", "1")
            .with("Node:TombstoneRetentionMinutes", "0")
            .with("Node:OperationLogRetentionDays", "0")
            .with("Node:OperationLogRetainRecentOperations", "0")
    }

    /// Sets a setting, such as `Node:SweepIntervalSeconds`.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Takes a setting back, so that its default or the settings file holds.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.settings.retain(|(known, _)| known != key);
        self
    }

    /// Keeps the data somewhere else than in the home's own directory.
    #[must_use]
    pub fn with_data_in(mut self, directory: &Path) -> Self {
        directory.clone_into(&mut self.data);
        self
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The working directory of its processes.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// `holdfast` with this home's settings, listening on a free port.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(holdfast());
        // Settings of the machine that runs the tests are none of theirs.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().to_ascii_uppercase().starts_with("HOLDFAST") {
                command.env_remove(&name);
            }
        }
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        command.env("NO_COLOR", "1").env("HOLDFAST__Urls", "http://127.0.0.1:0");
        command.env("HOLDFAST__Node__NodeId", &self.name).env("HOLDFAST__Node__DataDirectory", &self.data);
        for (key, value) in &self.settings {
            command.env(format!("HOLDFAST__{}", key.replace(':', "__")), value);
        }
        command
    }

    /// Runs a command to its end, which must come by itself.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("holdfast {arguments:?} cannot be started: {error}"));
        let (out, err) = (read_apart(child.stdout.take()), read_apart(child.stderr.take()));
        let status = ended_within(&mut child, START_WITHIN).unwrap_or_else(|| {
            let _ = child.kill();
            panic!("holdfast {arguments:?} has not ended within {START_WITHIN:?}");
        });
        let all = |thread: std::thread::JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
        Output { status, stdout: all(out), stderr: all(err) }
    }

    /// Starts the node and waits until it serves.
    pub fn start(&self) -> Node {
        self.try_start().unwrap_or_else(|why| panic!("{} does not start: {why}\n{}", self.name, self.log.told()))
    }

    /// Starts the node, or says why it did not start.
    pub fn try_start(&self) -> Result<Node, String> {
        self.log.push(format!("--- {} starts", self.name));
        let mut command = self.command(&["serve"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let (addresses, address) = mpsc::channel();
        self.log.follow(child.stderr.take(), |_| {});
        self.log.follow(child.stdout.take(), move |line| {
            if let Some(url) = line.trim().strip_prefix("address") {
                // Nobody listens after the first address.
                let _ = addresses.send(url.trim().to_owned());
            }
        });
        let mut node = Node { name: self.name.clone(), url: String::new(), child, log: self.log.clone() };
        // The channel breaks when the process ends, which closes its standard output.
        match address.recv_timeout(START_WITHIN) {
            Ok(url) => {
                node.url = url;
                Ok(node)
            }
            Err(_) => match node.child.try_wait() {
                Ok(Some(status)) => Err(format!("it ended with {status}")),
                _ => Err("it told no address".to_owned()),
            },
        }
    }

    /// Starts the node and kills it while it may still be opening its databases.
    pub fn start_and_kill_after(&self, wait: Duration) {
        self.log.push(format!("--- {} starts, to be killed after {wait:?}", self.name));
        let mut command = self.command(&["serve"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("holdfast can be started");
        self.log.follow(child.stderr.take(), |_| {});
        std::thread::sleep(wait);
        child.kill().expect("a process of our own can be killed");
        let status = child.wait().expect("a process of our own can be waited for");
        assert!(status.code().is_none(), "{} had ended by itself: {status}", self.name);
    }

    /// Fails unless `holdfast verify` finds everything sound. No process may run.
    pub fn assert_sound(&self) {
        let output = self.run(&["verify"]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "holdfast verify: {told}");
    }

    /// Lines of the log, of all its processes, that hold this text.
    pub fn log_lines(&self, text: &str) -> Vec<String> {
        self.log.lines().into_iter().filter(|line| line.contains(text)).collect()
    }

    /// Fails if any of these texts stands in the log.
    #[track_caller]
    pub fn assert_log_is_without(&self, secrets: &[&str]) {
        self.log.assert_is_without(secrets);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("\nlog of {}:\n{}", self.name, self.log.told());
        }
    }
}

impl Node {
    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it as root, in this database.
    pub fn client(&self, database: &str) -> Client {
        Client::new(&self.url, database)
    }

    /// Ends it as a power cut ends a process: without any warning.
    pub fn kill(mut self) {
        self.child.kill().expect("a process of our own can be killed");
        let status = self.child.wait().expect("a process of our own can be waited for");
        assert!(!status.success(), "{} had ended by itself: {status}", self.name);
        self.log.assert_is_without(&[ROOT_KEY, CLUSTER_KEY]);
    }

    /// Asks it to end, with SIGTERM, and waits until it has; it must end well.
    #[cfg(unix)]
    pub fn stop(mut self) {
        self.signal("TERM");
        let status = ended_within(&mut self.child, START_WITHIN);
        let status = status.unwrap_or_else(|| panic!("{} has not ended after SIGTERM", self.name));
        assert_eq!(status.code(), Some(0), "{} stopped with {status}", self.name);
        self.log.assert_is_without(&[ROOT_KEY, CLUSTER_KEY]);
    }

    /// Holds it where it is, as a machine that hangs: its sockets stay open and nobody answers.
    #[cfg(unix)]
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    #[cfg(unix)]
    pub fn resume(&self) {
        self.signal("CONT");
    }

    #[cfg(unix)]
    fn signal(&self, name: &str) {
        // The shell's own `kill` is always there, the program of that name is not.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} cannot be sent to {}", self.name);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Fails only when it has ended already. SIGKILL ends a paused process too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Log {
    /// Keeps every line of a stream until it ends, on a thread of its own.
    fn follow(&self, stream: Option<impl Read + Send + 'static>, mut seen: impl FnMut(&str) + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            let lines = stream.into_iter().flat_map(|stream| BufReader::new(stream).lines());
            for line in lines.map_while(Result::ok) {
                seen(&line);
                log.push(line);
            }
        });
    }

    fn push(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The end of it, for a person.
    fn told(&self) -> String {
        let lines = self.lines();
        lines.get(lines.len().saturating_sub(TOLD_LINES_MAX)..).unwrap_or_default().join("\n")
    }

    #[track_caller]
    fn assert_is_without(&self, secrets: &[&str]) {
        for line in self.lines() {
            assert!(!secrets.iter().any(|secret| line.contains(secret)), "a key stands in the log: {line}");
        }
    }
}

/// Asks until the answer is right, and gives it. Fails with what was last wrong.
#[track_caller]
pub fn wait_for<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let begun = Instant::now();
        loop {
            match look().await {
                Ok(found) => return found,
                Err(wrong) if begun.elapsed() > within => {
                    panic!("{caller}: not within {within:?}: {what}: {wrong}");
                }
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }
}

/// Makes two nodes know each other, each under the address that leads to it from the other.
pub async fn introduce(left: (&Node, &str), right: (&Node, &str)) {
    register(left.0, right.0.name(), right.1).await;
    register(right.0, left.0.name(), left.1).await;
}

/// Makes `node` know a peer.
pub async fn register(node: &Node, peer: &str, url: &str) {
    let body = serde_json::json!({"NodeId": peer, "BaseUrl": url, "IsActive": true});
    node.client("none").post("/api/cluster/peers", &body.to_string()).await.expect(200);
}

/// Waits until nodes hold the same in a database: equal digests in their status, and as many conflicts, which digests
/// leave out; then every document compared with its version.
#[track_caller]
pub fn wait_until_equal(nodes: &[&Node], database: &str) -> impl Future<Output = ()> {
    let what = format!("'{database}' is equal on all nodes");
    let caller = std::panic::Location::caller();
    async move {
        let digests = async || {
            let mut digests = Vec::new();
            for node in nodes {
                digests.push(node.client(database).shows().await?);
            }
            let is_equal = digests.windows(2).all(|pair| pair.first() == pair.last());
            if is_equal {
                return Ok(());
            }
            let mut told = vec![format!("digests {digests:?}")];
            for node in nodes {
                told.push(format!("{}: {}", node.name(), node.client(database).status().await?));
            }
            Err(told.join("\n"))
        };
        wait_for(&format!("{what} ({caller})"), SOON, digests).await;
        let mut expected = None;
        for node in nodes {
            let found = node.client(database).everything().await;
            let expected = expected.get_or_insert_with(|| found.clone());
            assert_eq!(*expected, found, "{what}: digests are equal but {} holds other documents", node.name());
        }
    }
}

/// How much more than usual is to be tried, from `HOLDFAST_WORLDS`.
pub fn times(usual: u64) -> u64 {
    let factor = std::env::var("HOLDFAST_WORLDS").ok().and_then(|text| text.trim().parse().ok());
    usual * factor.unwrap_or(1)
}

fn read_apart(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A stream that breaks has told what it could.
        let _ = stream.map(|mut stream| stream.read_to_end(&mut bytes));
        bytes
    })
}

fn ended_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if let Some(status) = child.try_wait().expect("a process of our own can be waited for") {
            return Some(status);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    None
}
