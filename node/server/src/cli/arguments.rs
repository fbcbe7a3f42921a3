//! Flags that set settings, for every command that reads them.
//!
//! The form `--Node:NodeId=x`, known from .NET, is rewritten to `--set Node:NodeId=x` before the
//! command line is parsed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

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
    #[arg(long, value_name = "NAME")]
    node_id: Option<String>,
    /// Any setting; can be repeated. Also as --Node:NodeId=x
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_assignment)]
    values: Vec<(String, String)>,
}

impl SettingsArguments {
    /// Returns what the flags say, in the form in which settings are loaded.
    pub(crate) fn overrides(&self) -> CommandLineOverrides {
        let generic = self.values.iter().map(|(key, value)| (key.as_str(), value, format!("--set {key}")));
        let named = [
            ("Urls", &self.urls, "--urls"),
            ("Node:DataDirectory", &self.data_dir, "--data-dir"),
            ("Node:NodeId", &self.node_id, "--node-id"),
        ];
        let named = named.into_iter().filter_map(|(key, value, flag)| Some((key, value.as_ref()?, flag.to_owned())));
        let values = generic
            .chain(named)
            .map(|(key, value, flag)| CommandLineValue { key: key.to_owned(), value: value.clone(), flag })
            .collect();
        CommandLineOverrides { settings_path: self.settings.clone(), values }
    }
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
