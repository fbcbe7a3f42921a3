//! Child processes: started, watched, and gone when the benchmark is.
//!
//! What stays true: a [`Program`] that goes out of scope is killed and reaped, on every way out.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take to end after it was asked to.
const STOP_WITHIN: Duration = Duration::from_mins(1);
/// How much of a program's output is shown when it fails.
const LOG_TAIL_BYTES: usize = 1500;

/// A running child process whose output goes to a file.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    name: &'static str,
    log: PathBuf,
}

impl Program {
    /// Starts `command` with its output in `log`.
    pub(super) fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Self, String> {
        let open = || -> io::Result<(File, File)> {
            let file = File::options().create(true).append(true).open(log)?;
            Ok((file.try_clone()?, file))
        };
        let (stdout, stderr) = open().map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        Ok(Self { child, name, log: log.to_path_buf() })
    }

    /// The last lines the program wrote, for an error message.
    pub(super) fn log_tail(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let tail = bytes.get(bytes.len().saturating_sub(LOG_TAIL_BYTES)..);
        String::from_utf8_lossy(tail.unwrap_or_default()).into_owned()
    }

    /// Whether the program still runs.
    pub(super) fn check(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{} ended by itself ({status}):\n{}", self.name, self.log_tail())),
            Err(error) => Err(format!("cannot watch {}: {error}", self.name)),
        }
    }

    /// Ends the program at once, as a power cut would (SIGKILL where there are signals).
    pub(super) fn kill(&mut self) {
        // Both fail only when the program has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the program to end and waits until it has.
    pub(super) fn stop(&mut self) -> Result<(), String> {
        if !cfg!(unix) {
            return Err("a clean stop needs signals, which this system lacks".to_owned());
        }
        // The shell's own `kill` is always there, the program of that name is not.
        let asked = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", self.child.id())).status();
        if !asked.is_ok_and(|status| status.success()) {
            return Err(format!("cannot send SIGTERM to {}", self.name));
        }
        let asked_at = Instant::now();
        while asked_at.elapsed() < STOP_WITHIN {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(format!("{} stopped with {status}:\n{}", self.name, self.log_tail()));
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                Err(error) => return Err(format!("cannot watch {}: {error}", self.name)),
            }
        }
        Err(format!("{} has not stopped within {} s of SIGTERM", self.name, STOP_WITHIN.as_secs()))
    }

    /// The process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// A `/proc/{pid}/status` field in bytes, such as `VmRSS`; `None` where there is no `/proc`.
    pub(super) fn memory_bytes(&self, field: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.split(':').next() == Some(field))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes * 1024)
    }
}

/// The processor time that a process has used; `None` where there is no `/proc`.
pub(super) fn cpu_time(process: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold spaces. After it `utime` and `stime` are the 12th and 13th
    // field, in hundredths of a second on every architecture that Linux runs on today.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks: u64 = ticks.collect::<Result<Vec<_>, _>>().ok()?.iter().sum();
    Some(Duration::from_millis(ticks * 10))
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A loopback address that nobody listened on a moment ago.
pub(super) fn free_address() -> Result<SocketAddr, String> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| format!("cannot find a free port: {error}"))
}
