//! What a person sees when the node has started: where it is, what it is, what to try next.
//!
//! Goes to standard output, in colour when that is a terminal and plain otherwise. Shows no
//! secret except a key that everybody knows anyway.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::settings::sections::{ReplicationRole, ReplicationSettings};
use crate::settings::url::{ListenHost, ListenUrl, Scheme};
use crate::settings::{DEFAULT_REPLICATION_API_KEY, DEFAULT_ROOT_API_KEY, Settings};

/// The program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the banner tells.
pub struct Banner<'a> {
    /// The settings in force.
    pub settings: &'a Settings,
    /// The addresses that are open.
    pub urls: &'a [ListenUrl],
    /// What this node is to others, such as `peer`.
    pub role: &'a str,
    /// Whom it feeds or follows.
    pub group: GroupNow,
}

/// A node's part in its group of leader and followers when it starts, which may differ from the settings: a leader that
/// was failed over follows.
#[derive(Debug, Clone)]
pub struct GroupNow {
    /// What it is.
    pub role: ReplicationRole,
    /// Where its leader is, if it follows.
    pub leader: Option<String>,
    /// Where followers are awaited.
    pub port: Option<u16>,
}

impl Banner<'_> {
    /// Prints the banner to standard output.
    ///
    /// A closed standard output is no reason to stop a node, so failures are ignored.
    pub fn print(&self) {
        let mut out = io::stdout().lock();
        let text = self.text(out.is_terminal());
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Writes the banner as text.
    pub fn text(&self, is_coloured: bool) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out, is_coloured);
        out
    }

    fn write(&self, out: &mut String, is_coloured: bool) -> fmt::Result {
        let (bold, dim, plain) = if is_coloured { ("\u{1b}[1m", "\u{1b}[2m", "\u{1b}[0m") } else { ("", "", "") };
        let node = &self.settings.node;
        let data_directory = std::path::absolute(&node.data_directory).unwrap_or_else(|_| node.data_directory.clone());
        writeln!(out, "{bold}holdfast {VERSION}{plain}")?;
        let mut line = |name: &str, value: &str| writeln!(out, "  {dim}{name:<13}{plain}{value}");
        for (index, url) in self.urls.iter().enumerate() {
            line(if index == 0 { "address" } else { "" }, &url.to_string())?;
        }
        line("node", &node.node_id)?;
        line("role", self.role)?;
        line("replication:", &self.replication())?;
        line("data", &data_directory.display().to_string())?;
        for (index, remark) in self.security().iter().enumerate() {
            line(if index == 0 { "security" } else { "" }, remark)?;
        }
        writeln!(out, "\n{dim}try{plain}\n  {}", self.example())
    }

    fn security(&self) -> Vec<String> {
        let auth = &self.settings.auth;
        let is_root_default = auth.root_api_key.expose() == DEFAULT_ROOT_API_KEY;
        let is_replication_default = self.settings.node.replication_api_key.expose() == DEFAULT_REPLICATION_API_KEY;
        let is_exposed = self.urls.iter().any(|url| !url.is_loopback());
        let is_plain = self.urls.iter().any(|url| url.scheme == Scheme::Http);
        let mut remarks = Vec::new();
        let defaults: Vec<&str> =
            [is_root_default.then_some("Auth:RootApiKey"), is_replication_default.then_some("Node:ReplicationApiKey")]
                .into_iter()
                .flatten()
                .collect();
        match (defaults.is_empty(), is_exposed) {
            (true, _) => remarks.push("own root and replication keys".to_owned()),
            (false, false) => remarks.push(format!("default {}: fine on this machine only", defaults.join(" and "))),
            (false, true) => remarks.push(format!(
                "INSECURE: default {} on an address others can reach; make keys with `holdfast keys new`",
                defaults.join(" and ")
            )),
        }
        remarks.push(match auth.api_keys.len() {
            0 => "no further keys".to_owned(),
            1 => "1 further key".to_owned(),
            count => format!("{count} further keys"),
        });
        let has_secret = !self.settings.replication.secret.is_blank();
        remarks.push(format!("replication-secret {}", if has_secret { "ON" } else { "OFF" }));
        remarks.push(
            match (is_plain, is_exposed) {
                (false, _) => "TLS",
                (true, false) => "no TLS, this machine only",
                (true, true) => "no TLS on http:// addresses: keys and data can be read on the way",
            }
            .to_owned(),
        );
        remarks
    }

    /// Whom this node feeds or follows; what the settings say, too, where that was overtaken while the node ran.
    fn replication(&self) -> String {
        let (settings, now) = (&self.settings.replication, &self.group);
        let ReplicationSettings { leader_host: host, leader_port: port, .. } = settings;
        let unmarked = format!("{host}:{port}");
        // An IPv6 address would run into the port.
        let is_bare = host.contains(':') && !host.starts_with('[');
        let configured = if is_bare { format!("[{host}]:{port}") } else { unmarked.clone() };
        let leader = now.leader.as_ref().filter(|leader| **leader != unmarked);
        let text = match now.role {
            ReplicationRole::None => "OFF".to_owned(),
            ReplicationRole::Leader => format!("LEADER listening on :{}", now.port.unwrap_or(settings.port)),
            ReplicationRole::Follower => {
                let failover = match settings.auto_failover.silence_seconds {
                    0 => String::new(),
                    seconds => {
                        format!(" | auto-failover after {seconds}s (new port :{})", settings.port_after_failover())
                    }
                };
                format!("FOLLOWER following {}{failover}", leader.unwrap_or(&configured))
            }
        };
        let as_configured = match settings.role {
            ReplicationRole::None => "none".to_owned(),
            ReplicationRole::Leader => "leader".to_owned(),
            ReplicationRole::Follower => format!("follower of {configured}"),
        };
        let is_other_leader = now.role == ReplicationRole::Follower && leader.is_some();
        if now.role == settings.role && !is_other_leader {
            return text;
        }
        format!("{text} | changed while it ran (settings: {as_configured})")
    }

    /// A command that stores a first document, ready to be copied.
    fn example(&self) -> String {
        let address = self.urls.first().map(reachable).unwrap_or_default();
        let is_root_default = self.settings.auth.root_api_key.expose() == DEFAULT_ROOT_API_KEY;
        let key = if is_root_default { DEFAULT_ROOT_API_KEY } else { "<your key>" };
        let mut out = String::new();
        if self.group.role == ReplicationRole::Follower {
            // Writes are the leader's.
            let _ = write!(out, "curl {address}/replication/status -H \"ApiKey: {key}\"");
            return out;
        }
        let _ = write!(
            out,
            "curl -X PUT {address}/api/documents/products/p-1 -H \"Database: shop\" -H \"ApiKey: {key}\" \
             -H \"Content-Type: application/json\" -d \"{{\\\"name\\\": \\\"Tea\\\", \\\"stock\\\": 12}}\""
        );
        out
    }
}

/// An address to call for one to listen on: nobody can call "every address".
fn reachable(url: &ListenUrl) -> String {
    let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let host = match url.host {
        ListenHost::Any => ListenHost::Localhost,
        ListenHost::Address(address) if any.contains(&address) => ListenHost::Localhost,
        host => host,
    };
    ListenUrl { host, ..url.clone() }.to_string()
}

#[cfg(test)]
mod tests {
    use super::{Banner, GroupNow};
    use crate::settings::Settings;
    use crate::settings::secret::Secret;
    use crate::settings::sections::ReplicationRole;
    use crate::settings::url;

    fn text(settings: &Settings) -> String {
        let urls: Vec<_> = url::parse_all(&settings.urls).into_iter().flatten().collect();
        let group = GroupNow { role: settings.replication.role, leader: None, port: None };
        Banner { settings, urls: &urls, role: "peer", group }.text(false)
    }

    #[test]
    fn the_banner_tells_a_role_that_was_changed_while_the_node_ran() {
        let mut settings = Settings::default();
        settings.replication.role = ReplicationRole::Leader;
        let line = |settings: &Settings, role, leader: Option<&str>| {
            let group = GroupNow { role, leader: leader.map(str::to_owned), port: Some(5501) };
            Banner { settings, urls: &[], role: "", group }.replication()
        };
        let shown = line(&settings, ReplicationRole::Follower, Some("b:5500"));
        assert_eq!(shown, "FOLLOWER following b:5500 | changed while it ran (settings: leader)");
        assert_eq!(line(&settings, ReplicationRole::Leader, None), "LEADER listening on :5501");
        settings.replication.role = ReplicationRole::Follower;
        settings.replication.leader_host = "::1".to_owned();
        let shown = line(&settings, ReplicationRole::Leader, Some("::1:5500"));
        assert_eq!(shown, "LEADER listening on :5501 | changed while it ran (settings: follower of [::1]:5500)");
        assert_eq!(line(&settings, ReplicationRole::Follower, Some("::1:5500")), "FOLLOWER following [::1]:5500");
        let shown = line(&settings, ReplicationRole::None, None);
        assert_eq!(shown, "OFF | changed while it ran (settings: follower of [::1]:5500)");
    }

    #[test]
    fn the_banner_tells_where_what_and_how_to_begin() {
        let shown = text(&Settings::default());
        for expected in [
            "http://localhost:1446",
            "node-1",
            "peer",
            "data",
            "default Auth:RootApiKey and Node:ReplicationApiKey",
            "curl -X PUT http://localhost:1446/api/documents/products/p-1",
            "ApiKey: root",
        ] {
            assert!(shown.contains(expected), "{expected} in {shown}");
        }
        assert!(!shown.contains('\u{1b}'));
    }

    #[test]
    fn the_banner_tells_the_role_as_the_settings_have_it() {
        let mut settings = Settings::default();
        let shown = text(&settings);
        assert!(shown.contains("replication: OFF") && shown.contains("replication-secret OFF"), "{shown}");
        settings.replication.role = ReplicationRole::Leader;
        settings.replication.secret = Secret::new("very-private");
        let shown = text(&settings);
        assert!(shown.contains("replication: LEADER listening on :5500\n"), "{shown}");
        assert!(shown.contains("replication-secret ON") && !shown.contains("very-private"), "{shown}");
        settings.replication.role = ReplicationRole::Follower;
        settings.replication.leader_host = "leader.internal".to_owned();
        let shown = text(&settings);
        assert!(shown.contains("replication: FOLLOWER following leader.internal:5500\n"), "{shown}");
        settings.replication.auto_failover.silence_seconds = 10;
        let failover = "FOLLOWER following leader.internal:5500 | auto-failover after 10s (new port :5500)\n";
        assert!(text(&settings).contains(failover), "{}", text(&settings));
    }

    #[test]
    fn the_banner_keeps_secrets_and_offers_an_address_that_can_be_called() {
        let mut settings = Settings { urls: "https://0.0.0.0:443".to_owned(), ..Settings::default() };
        settings.auth.root_api_key = Secret::new("very-private");
        let shown = text(&settings);
        assert!(!shown.contains("very-private"));
        assert!(shown.contains("INSECURE: default Node:ReplicationApiKey"), "{shown}");
        assert!(shown.contains("curl -X PUT https://localhost:443/"), "{shown}");
    }
}
