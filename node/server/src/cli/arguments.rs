//! Flags that set settings, for every command that reads them.
//!
//! The form `--Node:NodeId=x`, known from .NET, is rewritten to `--set Node:NodeId=x` before the
//! command line is parsed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::settings::shorthand::INSECURE_DEV_MODE;
use crate::settings::{CommandLineOverrides, CommandLineValue};

/// Flags that set settings; put them into a command with `#[command(flatten)]`.
#[derive(Clone, Default, Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct SettingsArguments {
    /// Settings file, or the directory that holds appsettings.json [default: the working directory]
    #[arg(long, value_name = "DIR/FILE")]
    settings: Option<PathBuf>,
    /// Addresses to listen on, separated by `;` (Urls)
    #[arg(long, value_name = "URLS")]
    urls: Option<String>,
    /// Directory of the databases (Node:DataDirectory)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Name of this node (Node:NodeId)
    #[arg(long, value_name = "NAME", visible_alias = "node-name")]
    node_id: Option<String>,
    /// Port of the one address, in place of the one in Urls
    #[arg(long, value_name = "PORT", conflicts_with = "urls")]
    port: Option<String>,
    /// Open that address to other machines, and the port for followers too
    #[arg(long, visible_alias = "bind-all-interfaces", conflicts_with = "urls")]
    bind_all: bool,
    /// Key that may do everything; others on this machine may see a command line, so better in HOLDFAST_API_KEY
    /// (Auth:RootApiKey)
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// Known from other makes, and refused
    #[arg(long, hide = true, num_args = 0, default_missing_value = "true", value_parser = refuse_insecurity)]
    insecure_dev_mode: Option<bool>,
    /// A file that says in short what this node is, such as node.json: over appsettings.json, under the environment
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any setting; can be repeated. Also as --Node:NodeId=x
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_assignment)]
    values: Vec<(String, String)>,
    #[command(flatten)]
    replication: ReplicationArguments,
}

impl SettingsArguments {
    /// Returns what the flags say, in the form in which settings are loaded.
    pub(crate) fn overrides(&self) -> CommandLineOverrides {
        let generic = self.values.iter().map(|(key, value)| (key.as_str(), value, format!("--set {key}")));
        let named = [
            ("Urls", &self.urls, "--urls"),
            ("Node:DataDirectory", &self.data_dir, "--data-dir"),
            ("Node:NodeId", &self.node_id, "--node-id"),
            ("Auth:RootApiKey", &self.api_key, "--api-key"),
        ];
        let named = named.into_iter().chain(self.replication.named());
        let named = named.filter_map(|(key, value, flag)| Some((key, value.as_ref()?, flag.to_owned())));
        let values = generic
            .chain(named)
            .map(|(key, value, flag)| CommandLineValue { key: key.to_owned(), value: value.clone(), flag })
            .collect();
        CommandLineOverrides {
            settings_path: self.settings.clone(),
            config_path: self.config.clone(),
            port: self.port.clone(),
            binds_all: self.bind_all,
            values,
        }
    }
}

/// Flags for leader and followers.
#[derive(Clone, Default, Args)]
#[command(next_help_heading = "Leader and followers")]
pub(crate) struct ReplicationArguments {
    /// What this node is: none, leader or follower (Replication:Role)
    #[arg(long, value_name = "ROLE")]
    replication_role: Option<String>,
    /// Port on which followers are fed (Replication:Port) [default: 5500]
    #[arg(long, value_name = "PORT")]
    replication_port: Option<String>,
    /// The leader's machine, for a follower (Replication:LeaderHost)
    #[arg(long, value_name = "HOST")]
    leader_host: Option<String>,
    /// The leader's port for followers (Replication:LeaderPort) [default: 5500]
    #[arg(long, value_name = "PORT")]
    leader_port: Option<String>,
    /// Seconds of a leader's silence after which this follower stands for its place; 0: never
    /// (Replication:AutoFailover:SilenceSeconds)
    #[arg(long, value_name = "SECONDS")]
    auto_failover_seconds: Option<String>,
    /// Port on which followers are fed then [default: the leader's] (Replication:AutoFailover:NewLeaderPort)
    #[arg(long, value_name = "PORT")]
    auto_failover_new_port: Option<String>,
    /// Secret that leader and followers share; others on this machine may see a command line, so better in
    /// HOLDFAST_REPLICATION_SECRET (Replication:Secret)
    #[arg(long, value_name = "SECRET")]
    replication_secret: Option<String>,
    /// Followers that must have a write before it is answered as replicated (Replication:MinSyncReplicas)
    #[arg(long, value_name = "COUNT")]
    min_sync_replicas: Option<String>,
    /// Where clients reach this node (Replication:PublicBaseUrl)
    #[arg(long, value_name = "URL")]
    public_base_url: Option<String>,
}

impl ReplicationArguments {
    fn named(&self) -> [(&'static str, &Option<String>, &'static str); 9] {
        [
            ("Replication:Role", &self.replication_role, "--replication-role"),
            ("Replication:Port", &self.replication_port, "--replication-port"),
            ("Replication:LeaderHost", &self.leader_host, "--leader-host"),
            ("Replication:LeaderPort", &self.leader_port, "--leader-port"),
            ("Replication:AutoFailover:SilenceSeconds", &self.auto_failover_seconds, "--auto-failover-seconds"),
            ("Replication:AutoFailover:NewLeaderPort", &self.auto_failover_new_port, "--auto-failover-new-port"),
            ("Replication:Secret", &self.replication_secret, "--replication-secret"),
            ("Replication:MinSyncReplicas", &self.min_sync_replicas, "--min-sync-replicas"),
            ("Replication:PublicBaseUrl", &self.public_base_url, "--public-base-url"),
        ]
    }
}

fn refuse_insecurity(_: &str) -> Result<bool, String> {
    Err(INSECURE_DEV_MODE.to_owned())
}

fn parse_assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE, such as Node:NodeId=node-2".to_owned()),
    }
}

/// Rewrites `--Section:Key=value` and `--Section:Key value` to `--set Section:Key=value`.
pub(super) fn with_dotnet_settings(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut out = Vec::new();
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let Some(assignment) = argument.to_str().and_then(dotnet_setting).map(str::to_owned) else {
            let is_end = argument == "--";
            out.push(argument);
            if is_end {
                out.extend(rest);
                return out;
            }
            continue;
        };
        out.push("--set".into());
        let mut assignment = OsString::from(assignment);
        let is_complete = assignment.to_str().is_some_and(|text| text.contains('='));
        if !is_complete && let Some(value) = rest.next() {
            assignment.push("=");
            assignment.push(value);
        }
        out.push(assignment);
    }
    out
}

fn dotnet_setting(argument: &str) -> Option<&str> {
    let text = argument.strip_prefix("--")?;
    let key = text.split_once('=').map_or(text, |(key, _)| key);
    let is_key = key.contains(':') && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":_".contains(&byte));
    is_key.then_some(text)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::with_dotnet_settings;

    #[test]
    fn settings_in_the_form_of_dotnet_are_understood() {
        let given =
            ["holdfast", "serve", "--Node:NodeId=x", "--urls", "http://a:1", "--Auth:RootApiKey", "k", "--", "--A:B=c"];
        let rewritten = with_dotnet_settings(given.map(OsString::from));
        let expected = [
            "holdfast",
            "serve",
            "--set",
            "Node:NodeId=x",
            "--urls",
            "http://a:1",
            "--set",
            "Auth:RootApiKey=k",
            "--",
            "--A:B=c",
        ];
        assert_eq!(rewritten, expected.map(OsString::from));
    }
}
