//! A real Redis for one test, spoken to in its own protocol.
//!
//! It listens on loopback only, keeps nothing, and ends with the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to start, and to answer.
const SOON: Duration = Duration::from_secs(20);

/// A running Redis and a connection to it.
pub(crate) struct Redis {
    process: Child,
    connection: BufReader<TcpStream>,
    _directory: tempfile::TempDir,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// A word such as `OK`.
    Word(String),
    /// A refusal.
    Error(String),
    /// A whole number.
    Number(i64),
    /// Text, or nothing.
    Text(Option<String>),
    /// Several answers.
    Many(Vec<Said>),
}

impl Redis {
    /// Starts one; `None` where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        // A port that was free may be taken before it gets it.
        (0..5).find_map(|_| Self::start_once().transpose())?.ok()
    }

    /// `Err` where it is not installed, `Ok(None)` where it ended at once.
    fn start_once() -> Result<Option<Self>, std::io::Error> {
        let directory = tempfile::tempdir().unwrap();
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).unwrap();
        let mut process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no", "--dir"])
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let from = Instant::now();
        while process.try_wait().unwrap().is_none() {
            if let Some(connection) = connect(address) {
                let mut redis = Self { process, connection, _directory: directory };
                assert_eq!(redis.ask(&["PING"]), Said::Word("PONG".to_owned()));
                return Ok(Some(redis));
            }
            assert!(from.elapsed() < SOON, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(None)
    }

    /// Sends a command and reads the answer.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Said {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command += &["$", &word.len().to_string(), "\r\n", word, "\r\n"].concat();
        }
        self.connection.get_mut().write_all(command.as_bytes()).unwrap();
        self.read()
    }

    fn read(&mut self) -> Said {
        let line = self.line();
        let (kind, rest) = line.split_at(1);
        let length = || rest.parse::<i64>().unwrap();
        match kind {
            "+" => Said::Word(rest.to_owned()),
            "-" => Said::Error(rest.to_owned()),
            ":" => Said::Number(length()),
            "$" => Said::Text(usize::try_from(length()).ok().map(|length| self.text(length))),
            "*" => Said::Many((0..length()).map(|_| self.read()).collect()),
            _ => panic!("Redis says what this client does not know: {line}"),
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.connection.read_line(&mut line).unwrap();
        line.strip_suffix("\r\n").unwrap_or_else(|| panic!("Redis has hung up after '{line}'")).to_owned()
    }

    fn text(&mut self, length: usize) -> String {
        let mut bytes = vec![0; length + 2];
        self.connection.read_exact(&mut bytes).unwrap();
        bytes.truncate(length);
        String::from_utf8(bytes).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn connect(address: SocketAddr) -> Option<BufReader<TcpStream>> {
    let connection = TcpStream::connect(address).ok()?;
    connection.set_nodelay(true).unwrap();
    connection.set_read_timeout(Some(SOON)).unwrap();
    Some(BufReader::new(connection))
}
