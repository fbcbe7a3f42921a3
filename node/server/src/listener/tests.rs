//! Real sockets on free ports of this machine.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{ListenError, Served, bind};
use crate::settings::Settings;
use crate::shutdown::Shutdown;

fn settings(urls: &str) -> Settings {
    Settings { urls: urls.to_owned(), ..Settings::default() }
}

fn routes() -> Router {
    Router::new()
        .route("/caller", get(|ConnectInfo(caller): ConnectInfo<SocketAddr>| async move { caller.ip().to_string() }))
        .route(
            "/slow",
            get(|| async {
                tokio::time::sleep(Duration::from_millis(400)).await;
                "done"
            }),
        )
        .route("/never", get(std::future::pending::<()>))
}

/// Starts serving and returns the addresses, the stop and the end.
async fn start(settings: &Settings, deadline: Duration) -> (Vec<SocketAddr>, Shutdown, JoinHandle<Served>) {
    let listeners = bind(settings).await.unwrap();
    let addresses = listeners.addresses();
    let shutdown = Shutdown::new(deadline);
    let serving = tokio::spawn(listeners.serve(routes(), shutdown.clone()));
    (addresses, shutdown, serving)
}

/// Sends one request and returns everything that comes back until the connection closes.
async fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    // A connection that is cut off may end in an error.
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test]
async fn localhost_answers_on_every_loopback_address_with_one_port() {
    let (addresses, shutdown, serving) = start(&settings("http://localhost:0"), Duration::from_secs(5)).await;
    assert!(addresses.iter().all(|address| address.ip().is_loopback()));
    assert!(addresses.iter().all(|address| address.port() == addresses[0].port() && address.port() != 0));
    for address in addresses {
        assert!(ask(address, "/caller").await.ends_with(&address.ip().to_string()));
    }
    shutdown.begin();
    assert_eq!(serving.await.unwrap(), Served { cut_off: 0 });
}

#[tokio::test]
async fn every_address_of_the_machine_can_be_served() {
    for urls in ["http://*:0", "http://0.0.0.0:0", "http://+:0"] {
        let (addresses, shutdown, serving) = start(&settings(urls), Duration::from_secs(5)).await;
        let address = SocketAddr::from(([127, 0, 0, 1], addresses[0].port()));
        assert!(ask(address, "/caller").await.starts_with("HTTP/1.1 200"), "{urls}");
        shutdown.begin();
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn a_port_in_use_is_named_with_a_way_out() {
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = holder.local_addr().unwrap().port();
    for host in ["127.0.0.1", "localhost", "*"] {
        let error = bind(&settings(&format!("http://{host}:{port}"))).await.unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }), "{host}: {error}");
        let shown = error.to_string();
        assert!(shown.contains(&format!("http://{host}:{port} is in use")), "{shown}");
        assert!(shown.contains("--urls"), "{shown}");
    }
}

#[tokio::test]
async fn an_address_of_another_machine_is_refused_with_advice() {
    let shown = bind(&settings("http://192.0.2.1:0")).await.unwrap_err().to_string();
    assert!(shown.contains("no such address"), "{shown}");
}

#[tokio::test]
async fn a_running_request_ends_and_an_idle_connection_closes_at_a_stop() {
    let (addresses, shutdown, serving) = start(&settings("http://127.0.0.1:0"), Duration::from_secs(5)).await;
    let mut idle = TcpStream::connect(addresses[0]).await.unwrap();
    let slow = tokio::spawn(ask(addresses[0], "/slow"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    shutdown.begin();
    assert!(slow.await.unwrap().ends_with("done"));
    assert_eq!(serving.await.unwrap(), Served { cut_off: 0 });
    assert_eq!(idle.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(addresses[0]).await.is_err(), "nothing is accepted after a stop");
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_at_the_deadline() {
    let (addresses, shutdown, serving) = start(&settings("http://127.0.0.1:0"), Duration::from_millis(200)).await;
    let never = tokio::spawn(ask(addresses[0], "/never"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    shutdown.begin();
    assert_eq!(serving.await.unwrap(), Served { cut_off: 1 });
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_eq!(never.await.unwrap(), "");
}

#[tokio::test]
async fn a_connection_that_sends_no_request_is_closed() {
    let mut settings = settings("http://127.0.0.1:0");
    settings.limits.connection_idle_seconds = 1;
    let (addresses, _shutdown, _serving) = start(&settings, Duration::from_secs(5)).await;
    let mut stream = TcpStream::connect(addresses[0]).await.unwrap();
    stream.write_all(b"GET /caller HT").await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection stays open");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let mut settings = settings("http://127.0.0.1:0");
    settings.limits.connections_max = 1;
    let (addresses, _shutdown, _serving) = start(&settings, Duration::from_secs(5)).await;
    let first = TcpStream::connect(addresses[0]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let second = tokio::spawn(ask(addresses[0], "/caller"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!second.is_finished());
    drop(first);
    assert!(second.await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_encrypted_address_answers_encrypted_and_survives_plain_callers() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let certificate_file = directory.path().join("node.pem");
    let private_key_file = directory.path().join("node.key");
    std::fs::write(&certificate_file, made.cert.pem()).unwrap();
    std::fs::write(&private_key_file, made.signing_key.serialize_pem()).unwrap();
    let mut settings = settings("https://127.0.0.1:0");
    settings.tls.certificate_file = Some(certificate_file);
    settings.tls.private_key_file = Some(private_key_file);
    let (addresses, shutdown, serving) = start(&settings, Duration::from_secs(5)).await;

    assert!(!ask(addresses[0], "/caller").await.contains("200"));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(addresses[0]).await.unwrap();
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    stream.write_all(b"GET /caller HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("127.0.0.1"), "{answer}");
    shutdown.begin();
    serving.await.unwrap();
}
