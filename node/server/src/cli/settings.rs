//! `holdfast config check` and `holdfast config show`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::arguments::SettingsArguments;
use super::{fail, refuse_settings};
use crate::http::access::AccessControl;
use crate::settings::keys::{Initial, KEYS, Key, Kind};
use crate::settings::{self, Loaded};
use crate::tls;

/// Arguments of `holdfast config`.
#[derive(Args)]
pub(super) struct ConfigArguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Read the settings as `serve` would and list every problem.
    Check {
        #[command(flatten)]
        settings: SettingsArguments,
    },
    /// Show the settings in force and where each is from; secrets stay hidden.
    Show {
        #[command(flatten)]
        settings: SettingsArguments,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Explain every key, with its default and bounds, whatever is set
        #[arg(long, conflicts_with = "json")]
        explain: bool,
    },
}

/// Checks the settings or shows them.
pub(super) fn run(arguments: ConfigArguments) -> ExitCode {
    match arguments.action {
        Action::Check { settings } => check(&settings),
        Action::Show { explain: true, .. } => print(&explanations()),
        Action::Show { settings, json, .. } => match settings::load(&settings.overrides()) {
            Ok(loaded) if json => print(&as_json(&loaded)),
            Ok(loaded) => print(&as_text(&loaded)),
            Err(problems) => refuse_settings(&problems),
        },
    }
}

fn check(arguments: &SettingsArguments) -> ExitCode {
    let loaded = match settings::load(&arguments.overrides()) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse_settings(&problems),
    };
    // Settings that pass here must not be refused by `serve`: the keys are built as it builds them.
    if let Err(problems) = AccessControl::from_settings(&loaded.settings) {
        return refuse_settings(&problems);
    }
    match tls::load(&loaded.settings.tls) {
        Ok(_) => print(&format!("OK\n{}", files(&loaded))),
        Err(error) => fail(&error),
    }
}

fn print(text: &str) -> ExitCode {
    // A reader that has seen enough, such as `head`, is no failure.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn files(loaded: &Loaded) -> String {
    let mut out = format!("environment {}\n", loaded.environment);
    for file in &loaded.files {
        let found = if file.is_found { "read" } else { "not there" };
        let _ = writeln!(out, "file {} ({found})", file.path.display());
    }
    out
}

fn as_text(loaded: &Loaded) -> String {
    let mut out = files(loaded);
    for (path, value) in leaves(loaded) {
        let source = loaded.origins.get(&path).map_or("default", String::as_str);
        let _ = writeln!(out, "{path} = {value}  ({source})");
    }
    out
}

fn as_json(loaded: &Loaded) -> String {
    let values: Map<String, Value> = leaves(loaded)
        .into_iter()
        .map(|(path, value)| {
            let source = loaded.origins.get(&path).map_or("default", String::as_str);
            (path, json!({"value": value, "source": source}))
        })
        .collect();
    let files: Vec<Value> = loaded
        .files
        .iter()
        .map(|file| json!({"path": file.path.display().to_string(), "found": file.is_found}))
        .collect();
    let whole = json!({"environment": loaded.environment, "files": files, "settings": values});
    format!("{whole:#}\n")
}

/// Every value with its key, in the order of the table; secrets are replaced as they serialise.
fn leaves(loaded: &Loaded) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    // Settings are plain data with texts for names, so that this cannot fail.
    let whole = serde_json::to_value(&loaded.settings).unwrap_or_default();
    collect("", &whole, &mut out);
    out
}

fn collect(path: &str, value: &Value, out: &mut Vec<(String, Value)>) {
    let below = |name: &str| {
        if path.is_empty() { name.to_owned() } else { format!("{path}:{name}") }
    };
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                collect(&below(name), member, out);
            }
        }
        Value::Array(elements) if !elements.is_empty() => {
            for (index, element) in elements.iter().enumerate() {
                collect(&below(&index.to_string()), element, out);
            }
        }
        single => out.push((path.to_owned(), single.clone())),
    }
}

fn explanations() -> String {
    let mut out = String::new();
    for key in KEYS {
        let _ = writeln!(out, "{}\n    {}\n    {}\n", key.path, bounds(key), key.explanation);
    }
    out
}

fn bounds(key: &Key) -> String {
    let default = match key.default {
        Initial::Text("") => "no default".to_owned(),
        Initial::Text(text) => format!("default {text}"),
        Initial::Switch(switch) => format!("default {switch}"),
        Initial::Number(number) => format!("default {number}"),
        Initial::EmptyList => "default none".to_owned(),
        Initial::Absent => "not set by default".to_owned(),
    };
    match key.kind {
        Kind::Text | Kind::Secret => default,
        Kind::Switch => format!("{default}; true or false"),
        Kind::Number { min, max } => format!("{default}; {min} to {max}"),
        Kind::Choice(words) => format!("{default}; one of {}", words.join(", ")),
        Kind::List => format!("{default}; a list"),
    }
}

#[cfg(test)]
mod tests {
    use super::{as_json, as_text, explanations};
    use crate::settings::keys::KEYS;
    use crate::settings::{CommandLineOverrides, CommandLineValue, Sources, load_from};

    #[test]
    fn shown_settings_name_their_source_and_hide_secrets() {
        let value = |key: &str, value: &str| CommandLineValue {
            key: key.to_owned(),
            value: value.to_owned(),
            flag: format!("--set {key}"),
        };
        let overrides = CommandLineOverrides {
            settings_path: None,
            config_path: None,
            port: None,
            binds_all: false,
            values: vec![
                value("Auth:RootApiKey", "a-certain-word"),
                value("Auth:ApiKeys:0:Name", "till"),
                value("Auth:ApiKeys:0:Key", "another-certain-word"),
                value("Auth:ApiKeys:0:Databases:0", "*"),
                value("Auth:ApiKeys:0:Roles:READ_DOCUMENT", "true"),
            ],
        };
        let sources = Sources { directory: "/nowhere".into(), variables: Vec::new(), overrides: &overrides };
        let Ok(loaded) = load_from(&sources) else { panic!("these settings are valid") };
        for shown in [as_text(&loaded), as_json(&loaded), format!("{loaded:?}")] {
            assert!(!shown.contains("certain-word"), "{shown}");
            assert!(shown.contains("(hidden)"), "{shown}");
        }
        let shown = as_text(&loaded);
        assert!(shown.contains("Auth:ApiKeys:0:Name = \"till\"  (command line --set Auth:ApiKeys:0:Name)"), "{shown}");
        assert!(shown.contains("Node:NodeId = \"node-1\"  (default)"), "{shown}");
    }

    #[test]
    fn every_key_is_explained() {
        let shown = explanations();
        for key in KEYS {
            assert!(shown.contains(key.explanation) && key.explanation.ends_with('.'), "{}", key.path);
        }
    }
}
