//! Addresses to listen on, as written in `Urls`.
//!
//! Names other than `localhost` are refused: a name says nothing certain about which of this
//! machine's addresses is meant, and guessing "all of them" would expose a node by accident.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenUrl {
    /// Plain or encrypted.
    pub scheme: Scheme,
    /// Which of this machine's addresses.
    pub host: ListenHost,
    /// The port; 0 takes a free one.
    pub port: u16,
}

/// Plain or encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http://`
    Http,
    /// `https://`
    Https,
}

/// Which of this machine's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenHost {
    /// Both loopback addresses, as far as the machine has them.
    Localhost,
    /// Exactly this address.
    Address(IpAddr),
    /// Every address, written `*` or `+`.
    Any,
}

impl Scheme {
    /// The scheme's name in an address.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl ListenUrl {
    /// Tells whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.host.is_loopback()
    }
}

impl ListenHost {
    /// Tells whether only this machine can reach it.
    pub fn is_loopback(self) -> bool {
        match self {
            Self::Localhost => true,
            Self::Address(address) => address.to_canonical().is_loopback(),
            Self::Any => false,
        }
    }
}

impl fmt::Display for ListenUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://", self.scheme.name())?;
        match self.host {
            ListenHost::Localhost => formatter.write_str("localhost")?,
            ListenHost::Address(IpAddr::V4(address)) => write!(formatter, "{address}")?,
            ListenHost::Address(IpAddr::V6(address)) => write!(formatter, "[{address}]")?,
            ListenHost::Any => formatter.write_str("*")?,
        }
        write!(formatter, ":{}", self.port)
    }
}

/// Reads the text of `Urls`; each address that is wrong comes with what to write.
pub fn parse_all(text: &str) -> Vec<Result<ListenUrl, String>> {
    text.split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| parse(part).map_err(|message| format!("`{part}` {message}")))
        .collect()
}

fn parse(text: &str) -> Result<ListenUrl, String> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
        _ => {
            return Err("must start with http:// or https://, as in http://localhost:1446".to_owned());
        }
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '@']) {
        return Err("must end after the port; a path, query or user is not possible here".to_owned());
    }
    let (host, port) = split_port(authority)?;
    let port = match port {
        Some(digits) => digits
            .parse::<u16>()
            .ok()
            .filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or_else(|| format!("has the port `{digits}`, which must be a number from 0 to 65535"))?,
        None if scheme == Scheme::Http => 80,
        None => 443,
    };
    Ok(ListenUrl { scheme, host: parse_host(host)?, port })
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest
            .split_once(']')
            .ok_or_else(|| "has a `[` without a `]`; write for example http://[::1]:1446".to_owned())?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((address, Some(port))),
            None if after.is_empty() => Ok((address, None)),
            None => Err("must have a `:` and the port after the `]`".to_owned()),
        };
    }
    Ok(match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    })
}

/// Reads which of this machine's addresses is meant, or says what to write.
pub fn parse_host(host: &str) -> Result<ListenHost, String> {
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(ListenHost::Localhost);
    }
    if host == "*" || host == "+" {
        return Ok(ListenHost::Any);
    }
    if let Ok(address) = host.parse::<Ipv6Addr>() {
        return Ok(ListenHost::Address(IpAddr::V6(address)));
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(ListenHost::Address(address));
    }
    Err(format!("names the host `{host}`; write localhost, one of this machine's IP addresses, or * for all of them"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{ListenHost, Scheme, parse_all};

    #[test]
    fn addresses_are_read_as_dotnet_reads_them() {
        let shown: Vec<String> =
            parse_all("http://localhost:1446; HTTPS://0.0.0.0:443/ ;http://[::1]:5;http://*:80;http://+;https://[::]")
                .into_iter()
                .map(|url| url.unwrap().to_string())
                .collect();
        assert_eq!(
            shown,
            [
                "http://localhost:1446",
                "https://0.0.0.0:443",
                "http://[::1]:5",
                "http://*:80",
                "http://*:80",
                "https://[::]:443"
            ]
        );
    }

    #[test]
    fn only_loopback_addresses_count_as_loopback() {
        let is_loopback = |text: &str| {
            let url = parse_all(text).pop().unwrap().unwrap();
            assert_eq!(url.scheme, Scheme::Http);
            url.is_loopback()
        };
        assert!(is_loopback("http://localhost:1"));
        assert!(is_loopback("http://127.9.9.9:1"));
        assert!(is_loopback("http://[::1]:1"));
        assert!(is_loopback("http://[::ffff:127.0.0.1]:1"));
        assert!(!is_loopback("http://0.0.0.0:1"));
        assert!(!is_loopback("http://[::]:1"));
        assert!(!is_loopback("http://*:1"));
        assert!(!is_loopback("http://10.0.0.1:1"));
    }

    #[test]
    fn what_cannot_be_listened_on_says_what_to_write() {
        for (text, expected) in [
            ("localhost:1446", "http://"),
            ("ftp://localhost", "http://"),
            ("http://localhost:99999", "65535"),
            ("http://localhost:+80", "65535"),
            ("http://localhost:", "65535"),
            ("http://localhost/api", "path"),
            ("http://user@localhost", "user"),
            ("http://example.org:80", "IP addresses"),
            ("http://[::1", "]"),
            ("http://[::1]80", ":"),
            ("http://", "localhost"),
        ] {
            let message = parse_all(text).pop().unwrap().unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
        assert!(parse_all(" ; ").is_empty());
        assert_eq!(parse_all("http://*").pop().unwrap().unwrap().host, ListenHost::Any);
    }
}
