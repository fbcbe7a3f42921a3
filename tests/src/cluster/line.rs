//! A line between two nodes: a TCP proxy that can be cut, slow or deaf, and heals.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Nothing goes through: open connections break, new ones break at once.
    pub is_cut: bool,
    /// What the caller sends is swallowed, as by a firewall that says nothing.
    pub swallows_requests: bool,
    /// Open connections break, and those that are made meanwhile stay open and lead nowhere, for ever: as behind a
    /// router that has forgotten them.
    pub strands: bool,
    /// What comes back is swallowed: the other side has acted, and the caller does not hear of it.
    pub swallows_answers: bool,
    /// How long everything takes, each way.
    pub delay: Duration,
}

/// A line that leads to one node.
#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    weather: watch::Sender<Weather>,
    /// Bytes that came back over it.
    carried_back: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy)]
enum Direction {
    There,
    Back,
}

impl Line {
    /// A line to the node at this address, such as `http://127.0.0.1:1446`, in fine weather.
    pub async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let target = Arc::new(Mutex::new(socket_address(url)));
        let weather = watch::Sender::new(Weather::default());
        let carried_back = Arc::default();
        let task = tokio::spawn(accept(listener, Arc::clone(&target), weather.subscribe(), Arc::clone(&carried_back)));
        Self { address, target, weather, carried_back, task }
    }

    /// The port at which callers find it.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Bytes that the node has sent back over it so far.
    pub fn carried_back(&self) -> u64 {
        self.carried_back.load(Ordering::Relaxed)
    }

    /// Where callers find it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes new connections lead to another address: the node has been started again.
    pub fn lead_to(&self, url: &str) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = socket_address(url);
    }

    /// Changes the weather, for open connections too.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Cuts it.
    pub fn cut(&self) {
        self.set(Weather { is_cut: true, ..Weather::default() });
    }

    /// Makes it good again.
    pub fn heal(&self) {
        self.set(Weather::default());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn socket_address(url: &str) -> SocketAddr {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    address.parse().unwrap_or_else(|error| panic!("{url} is no address of a node: {error}"))
}

async fn accept(
    listener: TcpListener,
    target: Arc<Mutex<SocketAddr>>,
    weather: watch::Receiver<Weather>,
    carried_back: Arc<AtomicU64>,
) {
    while let Ok((caller, _)) = listener.accept().await {
        if weather.borrow().is_cut {
            continue;
        }
        let target = *target.lock().unwrap_or_else(PoisonError::into_inner);
        if weather.borrow().strands {
            tokio::spawn(lead_nowhere(caller));
            continue;
        }
        tokio::spawn(connect(caller, target, weather.clone(), Arc::clone(&carried_back)));
    }
}

/// Swallows everything until the caller has had enough.
async fn lead_nowhere(mut caller: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while matches!(caller.read(&mut buffer).await, Ok(read) if read > 0) {}
}

async fn connect(
    caller: TcpStream,
    target: SocketAddr,
    weather: watch::Receiver<Weather>,
    carried_back: Arc<AtomicU64>,
) {
    // A node that is not there: the caller finds its connection closed.
    let Ok(node) = TcpStream::connect(target).await else { return };
    let (from_caller, to_caller) = caller.into_split();
    let (from_node, to_node) = node.into_split();
    let carried_there = AtomicU64::default();
    tokio::select! {
        () = pump(from_caller, to_node, Direction::There, weather.clone(), &carried_there) => {}
        () = pump(from_node, to_caller, Direction::Back, weather, &carried_back) => {}
    }
}

/// Carries bytes one way until either side closes or the line breaks.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    mut weather: watch::Receiver<Weather>,
    carried: &AtomicU64,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut has_lost_bytes = false;
    loop {
        tokio::select! {
            changed = weather.changed() => {
                let now = *weather.borrow_and_update();
                // What was swallowed cannot be given back, so such a connection ends when the line heals.
                if changed.is_err() || now.is_cut || now.strands || (has_lost_bytes && !swallows(now, direction)) {
                    return;
                }
            }
            read = from.read(&mut buffer) => {
                let bytes = match read {
                    Ok(0) | Err(_) => return,
                    Ok(length) => buffer.get(..length).unwrap_or_default(),
                };
                let now = *weather.borrow();
                if now.is_cut || now.strands {
                    return;
                }
                if swallows(now, direction) {
                    has_lost_bytes = true;
                    continue;
                }
                tokio::time::sleep(now.delay).await;
                if to.write_all(bytes).await.is_err() {
                    return;
                }
                carried.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
        }
    }
}

fn swallows(weather: Weather, direction: Direction) -> bool {
    match direction {
        Direction::There => weather.swallows_requests,
        Direction::Back => weather.swallows_answers,
    }
}
