//! The three programs that are measured: the floor, the node and Redis.
//!
//! What stays true: each keeps its files in a directory of its own on the same disk, listens on
//! loopback alone, and ends with the value that stands for it.

use super::documents;
use super::http::{self, Template, mark};
use super::load::Server;
use super::process::{Program, free_address};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The key that the measured node is started with.
pub(super) const KEY: &str = "root";
/// The database that documents go to.
pub(super) const DATABASE: &str = "bench";
/// How long a server may take until it answers.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// Headers of every request to the node, and to the floor, which ignores them.
pub(super) const HEADERS: [&str; 2] = ["Database: bench", "ApiKey: root"];
/// The same with a body.
pub(super) const HEADERS_JSON: [&str; 3] = ["Database: bench", "ApiKey: root", "Content-Type: application/json"];
/// Headers of questions that an operator or a peer asks.
pub(super) const HEADERS_PEER: [&str; 5] = [
    "Database: bench",
    "ApiKey: root",
    "ReplicationApiKey: the-secret-of-the-bench-cluster",
    "Content-Type: application/json",
    "Accept: application/x-holdfast-sync, application/json",
];
const HEADERS_NDJSON: [&str; 3] = ["Database: bench", "ApiKey: root", "Content-Type: application/x-ndjson"];

/// The floor program; it ends when its standard input closes.
#[derive(Debug)]
pub(super) struct Floor {
    child: Child,
    /// Where it listens.
    pub(super) server: Server,
}

impl Floor {
    /// Starts this same program as the floor.
    pub(super) fn start(directory: &Path) -> Result<Self, String> {
        make_directory(directory)?;
        let failed = |error: std::io::Error| format!("cannot start the floor program: {error}");
        let mut child = Command::new(std::env::current_exe().map_err(failed)?)
            .args(["bench", "floor", "--directory"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
        }
        match line.trim().parse() {
            Ok(address) => {
                let server = Server { address, process: child.id() };
                Ok(Self { child, server })
            }
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                Err("the floor program has not said where it listens".to_owned())
            }
        }
    }

    /// A document to its path.
    pub(super) fn put() -> Template {
        let path = format!("/ord-{}", mark());
        Template::single("PUT", &path, &HEADERS_JSON, &documents::order())
    }

    /// The constant.
    pub(super) fn get() -> Template {
        Template::single("GET", "/constant", &HEADERS, "")
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // Both fail only when the program has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running node.
#[derive(Debug)]
pub(super) struct Node {
    /// Its process.
    pub(super) program: Program,
    /// Where it listens.
    pub(super) server: Server,
    /// From the start of the process to the first 200 of `/readyz`.
    pub(super) ready_after: Duration,
    started: Instant,
}

impl Node {
    /// Starts the node on a directory, which may hold data, and waits until it is ready.
    pub(super) fn start(binary: &Path, directory: &Path) -> Result<Self, String> {
        Self::start_with(binary, directory, &[])
    }

    /// The same with settings of its own, as environment variables.
    pub(super) fn start_with(binary: &Path, directory: &Path, settings: &[(&str, &str)]) -> Result<Self, String> {
        make_directory(directory)?;
        let address = free_address()?;
        let mut command = Command::new(binary);
        // The working directory has no settings file and no setting is inherited, so the node
        // runs on its defaults and these.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HOLDFAST__") {
                command.env_remove(name);
            }
        }
        command
            .arg("serve")
            .current_dir(directory)
            .env("HOLDFAST__Urls", format!("http://{address}"))
            .env("HOLDFAST__Node__DataDirectory", directory.join("data"))
            .env("HOLDFAST__Auth__RootApiKey", KEY)
            .envs(settings.iter().copied());
        let started = Instant::now();
        let mut program = Program::start("the node", &mut command, &directory.join("node.log"))?;
        let ready = Template::single("GET", "/readyz", &[], "");
        wait_until(&mut program, || answers_ok(address, &ready))?;
        let server = Server { address, process: program.id() };
        Ok(Self { program, server, ready_after: started.elapsed(), started })
    }

    /// From the start of the process until this document was read.
    pub(super) fn first_read_after(&mut self, number: u64) -> Result<Duration, String> {
        let mut template = Self::get();
        template.fill(number);
        wait_until(&mut self.program, || answers_ok(self.server.address, &template))?;
        Ok(self.started.elapsed())
    }

    /// Asks once, as an operator or a peer, and reads the answer as JSON.
    pub(super) fn call(&self, method: &str, path: &str, body: &str) -> Result<Value, String> {
        let question = Template::single(method, path, &HEADERS_PEER, body);
        let (status, answer) = http::ask(self.server.address, &question)?;
        if !(200..300).contains(&status) {
            return Err(format!("{method} {path} was answered {status}: {}", String::from_utf8_lossy(&answer)));
        }
        serde_json::from_slice(&answer).map_err(|error| format!("the answer to {method} {path} is not JSON: {error}"))
    }

    /// A document to its path.
    pub(super) fn put() -> Template {
        Template::single("PUT", &path(), &HEADERS_JSON, &documents::order())
    }

    /// A document by its id.
    pub(super) fn get() -> Template {
        Template::single("GET", &path(), &HEADERS, "")
    }

    /// The end of a document.
    pub(super) fn delete() -> Template {
        Template::single("DELETE", &path(), &HEADERS, "")
    }

    /// Many documents in one request.
    pub(super) fn bulk(documents_per_request: u64) -> Template {
        let line = documents::order() + "\n";
        let path = "/api/documents/orders/bulk";
        Template::bulk("POST", path, &HEADERS_NDJSON, &line, documents_per_request)
    }

    /// The command that imports a file through this node.
    pub(super) fn import(&self, binary: &Path, file: &Path) -> Command {
        let mut command = import(binary, file);
        command.env("HOLDFAST_KEY", KEY).args(["--url", &format!("http://{}", self.server.address)]);
        command
    }
}

/// The command that imports a file into a data directory that no node has open.
pub(super) fn import_directly(binary: &Path, file: &Path, data_directory: &Path) -> Command {
    let mut command = import(binary, file);
    command.arg("--data-dir").arg(data_directory);
    command
}

fn import(binary: &Path, file: &Path) -> Command {
    let mut command = Command::new(binary);
    command.arg("import").arg(file).args(["--database", DATABASE, "--collection", "purchases"]);
    command
}

fn path() -> String {
    format!("/api/documents/orders/ord-{}", mark())
}

/// A running Redis that answers a write after its fsync.
#[derive(Debug)]
pub(super) struct Redis {
    _program: Program,
    address: SocketAddr,
}

/// What `redis-benchmark` said.
#[derive(Clone, Copy, Debug)]
pub(super) struct RedisRun {
    /// SETs a second.
    pub(super) rate: f64,
    /// Median latency in milliseconds.
    pub(super) p50_ms: f64,
    /// Latency that one in a hundred exceeds, in milliseconds.
    pub(super) p99_ms: f64,
}

impl Redis {
    /// Starts Redis with `appendfsync always`; `Ok(None)` where it is not installed.
    pub(super) fn start(directory: &Path) -> Result<Option<Self>, String> {
        let installed = |name: &str| {
            let output = Command::new(name).arg("--version").output();
            output.is_ok_and(|output| output.status.success())
        };
        if !installed("redis-server") || !installed("redis-benchmark") {
            return Ok(None);
        }
        make_directory(directory)?;
        let address = free_address()?;
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--appendonly", "yes", "--appendfsync", "always"])
            .args(["--save", "", "--daemonize", "no", "--dir"])
            .arg(directory);
        let mut program = Program::start("Redis", &mut command, &directory.join("redis.log"))?;
        wait_until(&mut program, || std::net::TcpStream::connect(address).is_ok())?;
        Ok(Some(Self { _program: program, address }))
    }

    /// SETs of the same payload from the same number of connections, without pipelining.
    pub(super) fn set(&self, connections: usize, requests: u64) -> Result<RedisRun, String> {
        let output = Command::new("redis-benchmark")
            .args(["-h", "127.0.0.1", "-p", &self.address.port().to_string()])
            .args(["-t", "set", "--csv", "-P", "1", "-r", "1000000"])
            .args(["-d", &documents::one(1).len().to_string()])
            .args(["-c", &connections.to_string()])
            .args(["-n", &requests.to_string()])
            .output()
            .map_err(|error| format!("cannot run redis-benchmark: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        parse_redis(&text).ok_or_else(|| format!("redis-benchmark answered what this program cannot read: {text}"))
    }
}

/// `"SET","rps","avg","min","p50","p95","p99","max"`.
fn parse_redis(csv: &str) -> Option<RedisRun> {
    let line = csv.lines().find(|line| line.starts_with("\"SET\""))?;
    let number = |column: usize| -> Option<f64> {
        let field = line.split(',').nth(column)?;
        field.trim().trim_matches('"').parse().ok()
    };
    Some(RedisRun { rate: number(1)?, p50_ms: number(4)?, p99_ms: number(6)? })
}

/// The size of an executable file.
pub(super) fn file_bytes(path: &Path) -> Result<u64, String> {
    std::fs::metadata(path)
        .map(|metadata| metadata.len())
        .map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// The size of all files below a directory; what cannot be read counts as nothing.
pub(super) fn directory_bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => directory_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// The purchases file to import, and whether it is the real one.
pub(super) fn purchases(real_data: Option<&Path>, directory: &Path) -> Result<(PathBuf, bool), String> {
    let real = real_data.map(|directory| directory.join("cdnow-purchases.csv"));
    if let Some(path) = real.filter(|path| path.is_file()) {
        return Ok((path, true));
    }
    make_directory(directory)?;
    let path = directory.join("purchases.csv");
    documents::write_purchases(&path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok((path, false))
}

fn answers_ok(address: SocketAddr, template: &Template) -> bool {
    http::ask(address, template).is_ok_and(|(status, _)| status == 200)
}

/// Tries every millisecond, so that the wait adds at most that to what it measures.
fn wait_until(program: &mut Program, mut done: impl FnMut() -> bool) -> Result<(), String> {
    let from = Instant::now();
    while !done() {
        program.check()?;
        if from.elapsed() > READY_WITHIN {
            return Err(format!(
                "no good answer within {} s; its last output:\n{}",
                READY_WITHIN.as_secs(),
                program.log_tail()
            ));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn make_directory(path: &Path) -> Result<(), String> {
    std::fs::create_dir_all(path).map_err(|error| format!("cannot create {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_redis_benchmark_is_read_by_column() {
        let csv = "\"test\",\"rps\",\"avg\",\"min\",\"p50\",\"p95\",\"p99\",\"max\"\n\
                   \"SET\",\"20000.5\",\"1.2\",\"0.3\",\"1.1\",\"2.0\",\"3.5\",\"9.0\"\n";
        let run = parse_redis(csv);
        assert!(run.is_some_and(|run| run.rate > 20000.0 && run.p50_ms < 1.2 && run.p99_ms > 3.4));
        assert!(parse_redis("").is_none());
    }
}
