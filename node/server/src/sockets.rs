//! Sockets that listen where people say: `localhost` and `*` are one word each, and often two sockets.
//!
//! What stays true: all sockets of a host have the same port, or none is open.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;

use crate::settings::url::ListenHost;

/// Ports tried for `localhost:0`, which needs one that is free on both loopback addresses.
const FREE_PORT_ATTEMPTS: usize = 16;

/// Opens the sockets that a host stands for, all at one port; 0 is one that is free on each of them.
pub async fn open(host: ListenHost, port: u16) -> io::Result<Vec<TcpListener>> {
    match host {
        ListenHost::Address(address) => Ok(vec![bound(address, port).await?]),
        ListenHost::Localhost => open_localhost(port).await,
        ListenHost::Any => open_any(port).await,
    }
}

async fn open_localhost(port: u16) -> io::Result<Vec<TcpListener>> {
    let mut attempts = 1;
    loop {
        let first = match bound(IpAddr::V4(Ipv4Addr::LOCALHOST), port).await {
            Ok(listener) => listener,
            // A machine may have version 6 alone.
            Err(error) if is_absent(&error) => {
                return Ok(vec![bound(IpAddr::V6(Ipv6Addr::LOCALHOST), port).await?]);
            }
            Err(error) => return Err(error),
        };
        let same_port = first.local_addr()?.port();
        match bound(IpAddr::V6(Ipv6Addr::LOCALHOST), same_port).await {
            Ok(second) => return Ok(vec![first, second]),
            Err(error) if is_absent(&error) => return Ok(vec![first]),
            Err(error) if port != 0 || attempts == FREE_PORT_ATTEMPTS => return Err(error),
            Err(_) => attempts += 1,
        }
    }
}

async fn open_any(port: u16) -> io::Result<Vec<TcpListener>> {
    let wide = match bound(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port).await {
        Ok(listener) => listener,
        Err(error) if is_absent(&error) => {
            return Ok(vec![bound(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).await?]);
        }
        Err(error) => return Err(error),
    };
    let same_port = wide.local_addr()?.port();
    match bound(IpAddr::V4(Ipv4Addr::UNSPECIFIED), same_port).await {
        Ok(narrow) => Ok(vec![wide, narrow]),
        // Except on Windows, a socket of version 6 usually serves version 4 too, and then no other
        // program can hold the port there.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && !cfg!(windows) => Ok(vec![wide]),
        Err(error) if is_absent(&error) => Ok(vec![wide]),
        Err(error) => Err(error),
    }
}

async fn bound(address: IpAddr, port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::new(address, port)).await
}

/// Tells whether the machine lacks this address or this version of IP.
fn is_absent(error: &io::Error) -> bool {
    // There is no kind for "address family not supported": 97 on Linux, 47 on BSD and macOS,
    // 10047 on Windows.
    let is_family_absent = match error.raw_os_error() {
        Some(97) => cfg!(target_os = "linux") || cfg!(target_os = "android"),
        Some(47) => cfg!(unix) && !cfg!(target_os = "linux"),
        Some(10047) => cfg!(windows),
        _ => false,
    };
    is_family_absent || matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
}
