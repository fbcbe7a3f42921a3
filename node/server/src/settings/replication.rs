//! What the `Replication` section cannot say: a follower of nobody or of itself, a port taken twice, a port that is open to
//! others without a secret.
//!
//! Looks at settings alone, as [`super::check`] does. What a node does whose role changed while it ran is not decided here.

use std::net::IpAddr;

use super::check::checked_base_url;
use super::problem::Problem;
use super::read::Origins;
use super::sections::{ReplicationRole, ReplicationSettings, Settings};
use super::url::{self, ListenHost, ListenUrl};

/// Longest name that DNS allows.
const HOST_BYTES_MAX: usize = 253;

/// Finds what contradicts itself.
pub(super) fn check(settings: &Settings, urls: &[ListenUrl], origins: &Origins, problems: &mut Vec<Problem>) {
    let mut checker = Checker { replication: &settings.replication, urls, origins, problems };
    checker.leader();
    checker.own_port();
    checker.addresses();
    checker.tls();
    if !settings.replication.secret.expose().is_empty()
        && settings.replication.secret.expose().trim() != settings.replication.secret.expose()
    {
        checker.refuse("Secret", None, "has blanks around it, which are easily lost on the other node; remove them");
    }
}

struct Checker<'a> {
    replication: &'a ReplicationSettings,
    urls: &'a [ListenUrl],
    origins: &'a Origins,
    problems: &'a mut Vec<Problem>,
}

impl Checker<'_> {
    fn refuse(&mut self, name: &str, value: Option<&str>, message: impl Into<String>) {
        let key = format!("Replication:{name}");
        let source = self.origins.get(&key).map_or("default", String::as_str).to_owned();
        let problem = Problem::of_key(key, source, message);
        self.problems.push(match value {
            Some(value) => problem.with_value(value),
            None => problem,
        });
    }

    fn is_set(&self, name: &str) -> bool {
        self.origins.contains_key(&format!("Replication:{name}"))
    }

    /// Whom this node follows.
    fn leader(&mut self) {
        let (role, host) = (self.replication.role, self.replication.leader_host.trim());
        match role {
            ReplicationRole::Follower if host.is_empty() => {
                self.refuse(
                    "LeaderHost",
                    None,
                    "is needed, since Replication:Role is follower; write the name or address of the leader's machine, such as \
                     leader.internal",
                );
                return;
            }
            ReplicationRole::None if !host.is_empty() => {
                let message = "has no use, since Replication:Role is none; write follower there, or remove the host";
                self.refuse("LeaderHost", Some(host), message);
                return;
            }
            ReplicationRole::None | ReplicationRole::Leader | ReplicationRole::Follower => {}
        }
        if host.is_empty() {
            return;
        }
        if !is_host(host) {
            self.refuse(
                "LeaderHost",
                Some(host),
                "must be a host's name or IP address alone, such as leader.internal or 10.0.0.1; the port goes into \
                 Replication:LeaderPort",
            );
        } else if role == ReplicationRole::Follower {
            self.not_itself(host);
        }
    }

    /// A leader on this machine has other ports than this node.
    fn not_itself(&mut self, host: &str) {
        let port = self.replication.leader_port;
        if !is_this_machine(host) {
            return;
        }
        if self.urls.iter().any(|url| url.port == port) {
            let message = format!("is a port of this node's own Urls; write the leader's Replication:Port, not {port}");
            self.refuse("LeaderPort", Some(&port.to_string()), message);
        } else if self.is_set("Port") && self.replication.port == port {
            let message = format!(
                "is this node's own Replication:Port on this very machine, so that it would follow itself; write where the \
                 leader listens, or give this node another Replication:Port than {port}"
            );
            self.refuse("LeaderPort", Some(&port.to_string()), message);
        }
    }

    /// The port on which others connect to this node: a follower opens the one on which it would lead, too, for votes, for
    /// a handover and for followers of its own.
    fn own_port(&mut self) {
        let (name, port) = self.replication.port_to_lead();
        let listens = self.replication.role != ReplicationRole::None && port != 0;
        if listens && self.urls.iter().any(|url| url.port == port) {
            let message = format!("is a port of Urls too; HTTP and followers need one each: write another than {port}");
            self.refuse(name, Some(&port.to_string()), message);
        }
        let address = self.replication.bind_address.trim();
        match url::parse_host(address) {
            Err(message) => self.refuse("BindAddress", Some(address), message),
            Ok(host) if self.replication.role != ReplicationRole::None && self.is_open_to_all(host) => self.refuse(
                "Secret",
                None,
                format!(
                    "is missing, while Replication:BindAddress is {address}, which other machines can reach: whoever connects \
                     would get every document; make one with `holdfast keys new` and give it to leader and followers, or listen \
                     on 127.0.0.1"
                ),
            ),
            Ok(_) => {}
        }
    }

    fn is_open_to_all(&self, host: ListenHost) -> bool {
        !host.is_loopback() && self.replication.secret.is_blank()
    }

    /// Addresses that others are told, or that are called.
    fn addresses(&mut self) {
        let given = [("Webhook", &self.replication.webhook), ("PublicBaseUrl", &self.replication.public_base_url)];
        for (name, address) in given {
            if !address.trim().is_empty() && checked_base_url(address).is_err() {
                let example = if name == "Webhook" { "https://ops.example.org/leader" } else { "http://10.0.0.2:1446" };
                let message =
                    format!("must be an http:// or https:// address without a user and a query, such as {example}");
                // Such addresses sometimes carry a key.
                self.refuse(name, None, message);
            }
        }
    }

    fn tls(&mut self) {
        let tls = &self.replication.tls;
        let leads = self.replication.role == ReplicationRole::Leader || self.replication.is_auto_failover();
        let files = [("Tls:CertificatePath", &tls.certificate_path), ("Tls:KeyPath", &tls.key_path)];
        let given = files.iter().filter(|(_, path)| path.is_some()).count();
        for (name, path) in files {
            if path.is_none() && tls.enabled && (leads || given > 0) {
                let why = if given > 0 { "the other file is given" } else { "this node feeds followers" };
                self.refuse(name, None, format!("is needed, since Replication:Tls:Enabled is true and {why}"));
            }
        }
        if !tls.enabled && (given > 0 || tls.ca_path.is_some()) {
            let message = "is false, although files for it are given; write true, or remove them";
            self.refuse("Tls:Enabled", None, message);
        }
    }
}

fn is_host(host: &str) -> bool {
    let is_name = |host: &str| {
        host.len() <= HOST_BYTES_MAX
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            && host.bytes().any(|byte| byte.is_ascii_alphanumeric())
    };
    host.parse::<IpAddr>().is_ok() || is_name(host)
}

/// Whether a name or address certainly means this machine.
fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback() || address.is_unspecified())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{is_host, is_this_machine};

    #[test]
    fn a_leaders_host_is_a_name_or_an_address_and_nothing_else() {
        for host in ["leader.internal", "localhost", "10.0.0.1", "::1", "fe80::1", "leader_1"] {
            assert!(is_host(host), "{host}");
        }
        for host in ["http://leader", "leader:5500", "[::1]", "leader/", "a b", "...", "-"] {
            assert!(!is_host(host), "{host}");
        }
        assert!(["LOCALHOST", "127.0.0.9", "::1", "::ffff:127.0.0.1", "0.0.0.0"].into_iter().all(is_this_machine));
        assert!(!is_this_machine("leader.internal") && !is_this_machine("10.0.0.1"));
    }
}
