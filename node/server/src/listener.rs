//! Listens on every address of `Urls` and runs the routes on each connection.
//!
//! ```text
//! bind ─► accept (one task per socket) ─► [TLS handshake] ─► HTTP/1.1 requests ─► closed
//!                                                     └ upgrade ─► WebSocket, in its handler's hands
//! stop ─► sockets closed ─► idle connections closed, running requests end ─► deadline: cut off
//! ```
//!
//! What stays true: addresses are known before anything is served; the number of connections is
//! bounded, and further ones wait in the operating system's queue; a connection that sends no
//! complete request head is closed; one connection's failure is its own.
//!
//! What this does not do: HTTP/2, bounds on bodies, and ending WebSockets or event streams at a
//! stop. Their handlers watch the same [`Shutdown`].

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::{debug, warn};

use crate::settings::Settings;
use crate::settings::url::{self, ListenUrl, Scheme};
use crate::shutdown::Shutdown;
use crate::sockets;
use crate::tls::{self, TlsError};

/// Longest TLS handshake.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// Pause after the operating system has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// `Urls` holds something else; settings that loaded have passed this check.
    #[error("Urls: {0}")]
    Address(String),
    /// Another program has the port.
    #[error(
        "{url} is in use by another program; stop that one, which may be another holdfast, or choose another port in Urls, as in --urls {example}"
    )]
    InUse {
        /// The address as written.
        url: String,
        /// The same address with the next port.
        example: String,
    },
    /// The operating system refuses for another reason.
    #[error("{url} cannot be listened on: {cause}; {advice}")]
    Refused {
        /// The address as written.
        url: String,
        /// What the operating system says.
        cause: io::Error,
        /// What to do about it.
        advice: &'static str,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Sockets that listen and do not serve yet.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<Socket>,
    connections_max: usize,
    idle_time_max: Duration,
}

struct Socket {
    listener: TcpListener,
    address: SocketAddr,
    url: ListenUrl,
    tls: Option<TlsAcceptor>,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} at {}", self.url, self.address)
    }
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Connections that were cut off at the deadline.
    pub cut_off: usize,
}

/// Opens every address of `Urls`; nothing is accepted before [`Listeners::serve`].
pub async fn bind(settings: &Settings) -> Result<Listeners, ListenError> {
    let acceptor = tls::load(&settings.tls)?;
    let mut sockets = Vec::new();
    for url in url::parse_all(&settings.urls) {
        let url = url.map_err(ListenError::Address)?;
        let tls = match url.scheme {
            Scheme::Http => None,
            Scheme::Https => Some(acceptor.clone().ok_or_else(|| {
                ListenError::Address(format!("{url} needs Tls:CertificateFile and Tls:PrivateKeyFile"))
            })?),
        };
        let opened = sockets::open(url.host, url.port).await.map_err(|cause| explained(&url, cause))?;
        for listener in opened {
            let address = listener.local_addr().map_err(|cause| explained(&url, cause))?;
            let url = ListenUrl { port: address.port(), ..url.clone() };
            sockets.push(Socket { listener, address, url, tls: tls.clone() });
        }
    }
    Ok(Listeners {
        sockets,
        connections_max: settings.limits.connections_max,
        idle_time_max: Duration::from_secs(settings.limits.connection_idle_seconds),
    })
}

impl Listeners {
    /// Returns the addresses as people write them, with the ports that port 0 became.
    pub fn urls(&self) -> Vec<ListenUrl> {
        let mut urls: Vec<ListenUrl> = Vec::new();
        for socket in &self.sockets {
            if !urls.contains(&socket.url) {
                urls.push(socket.url.clone());
            }
        }
        urls
    }

    /// Returns the addresses of the sockets.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|socket| socket.address).collect()
    }

    /// Serves until `shutdown` begins and running requests have ended or its deadline has passed.
    ///
    /// Handlers find the caller's address as `ConnectInfo<SocketAddr>`.
    pub async fn serve(self, routes: Router, shutdown: Shutdown) -> Served {
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        let permits = Arc::new(Semaphore::new(self.connections_max));
        let accepting = TaskTracker::new();
        for socket in self.sockets {
            let serving = Serving {
                routes: routes.clone(),
                connections: connections.clone(),
                permits: Arc::clone(&permits),
                stop: shutdown.token(),
                cut: cut.clone(),
                idle_time_max: self.idle_time_max,
            };
            accepting.spawn(serving.accept(socket));
        }
        accepting.close();
        accepting.wait().await;
        connections.close();
        let cut_off = match shutdown.within_deadline(connections.wait()).await {
            Ok(()) => 0,
            Err(_) => connections.len(),
        };
        cut.cancel();
        connections.wait().await;
        Served { cut_off }
    }
}

/// What every socket's connections share.
struct Serving {
    routes: Router,
    connections: TaskTracker,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
    cut: CancellationToken,
    idle_time_max: Duration,
}

impl Serving {
    async fn accept(self, socket: Socket) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = self.accept_one(&socket) => accepted,
            };
            let Some((stream, caller, permit)) = accepted else {
                continue;
            };
            let connection = Connection {
                routes: self.routes.clone(),
                // A child of its own, since every wake-up of every connection looks at it, and
                // they would all queue for the lock of one.
                stop: self.stop.child_token(),
                cut: self.cut.clone(),
                idle_time_max: self.idle_time_max,
                caller,
            };
            let tls = socket.tls.clone();
            self.connections.spawn(async move {
                let _permit = permit;
                connection.serve(stream, tls).await;
            });
        }
    }

    async fn accept_one(&self, socket: &Socket) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        match socket.listener.accept().await {
            Ok((stream, caller)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(%caller, %error, "connection keeps delaying small answers");
                }
                // Accepted first, so that a socket nobody calls holds no permit. The semaphore is
                // never closed, so that an error cannot come.
                let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
                Some((stream, caller, permit))
            }
            Err(error) if is_of_one_connection(&error) => None,
            Err(error) => {
                warn!(url = %socket.url, %error, "no connection can be accepted for now");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }
}

/// One caller, from the first byte to the last.
struct Connection {
    routes: Router,
    stop: CancellationToken,
    cut: CancellationToken,
    idle_time_max: Duration,
    caller: SocketAddr,
}

impl Connection {
    async fn serve(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let Some(acceptor) = tls else {
            return self.requests(stream).await;
        };
        let caller = self.caller;
        let handshake = tokio::select! {
            biased;
            handshake = tokio::time::timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)) => handshake,
            () = self.stop.cancelled() => return,
        };
        match handshake {
            Ok(Ok(stream)) => self.requests(stream).await,
            Ok(Err(error)) => debug!(%caller, %error, "TLS handshake failed"),
            Err(_) => debug!(%caller, "TLS handshake took too long"),
        }
    }

    async fn requests<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { routes, stop, cut, idle_time_max, caller } = self;
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(caller));
            answer(routes.clone(), request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(idle_time_max)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                // Nothing is cut off before a stop, so that the other token costs nothing till then.
                tokio::select! {
                    biased;
                    ended = connection => ended,
                    () = cut.cancelled() => return,
                }
            }
        };
        if let Err(error) = ended {
            debug!(%caller, %error, "connection ended early");
        }
    }
}

async fn answer(mut routes: Router, request: Request<Incoming>) -> Result<Response, Infallible> {
    routes.call(request).await
}

/// Tells whether an error of `accept` concerns one caller that went away, and not the socket.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

fn explained(url: &ListenUrl, cause: io::Error) -> ListenError {
    match cause.kind() {
        io::ErrorKind::AddrInUse => {
            let next = ListenUrl { port: url.port.checked_add(1).unwrap_or(0), ..url.clone() };
            ListenError::InUse { url: url.to_string(), example: next.to_string() }
        }
        io::ErrorKind::PermissionDenied => ListenError::Refused {
            url: url.to_string(),
            cause,
            advice: "ports below 1024 usually need more rights, so choose a higher one in Urls",
        },
        io::ErrorKind::AddrNotAvailable => ListenError::Refused {
            url: url.to_string(),
            cause,
            advice: "this machine has no such address, so write localhost, one of its own, or * in Urls",
        },
        _ => ListenError::Refused { url: url.to_string(), cause, advice: "check Urls and the machine's network" },
    }
}

#[cfg(test)]
mod tests;
