//! What the node is told before it starts: read once, checked as a whole, plain data afterwards.
//!
//! ```text
//! keys (defaults) <- appsettings.json <- appsettings.{Environment}.json <- node.json (--config)
//!                 <- DFDB_X <- HOLDFAST_X <- HOLDFAST__Section__Key <- command line
//! ```
//!
//! Files are looked for in the working directory or where `--settings` says; without any, the
//! defaults stand. The environment's name comes from `HOLDFAST_ENVIRONMENT`, `Production` when
//! unset. Keys are matched without regard to case, and lists are merged by index.
//!
//! What stays true: settings that load have every key, each within its bounds, and do not
//! contradict each other. Settings that do not load list every problem, with its source and what
//! to write instead. An explanation of every key is in [`keys`].
//!
//! What this does not do: open ports, files or databases.

pub mod secret;
pub mod sections;
pub mod keys;
mod problem;
mod layer;
mod json_file;
pub mod shorthand;
mod node_file;
mod read;
pub mod url;
mod replication;
mod check;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use config::{Config, ValueKind};

pub use check::{DEFAULT_REPLICATION_API_KEY, DEFAULT_ROOT_API_KEY};
pub use problem::{Problem, SettingsProblems};
pub use read::Origins;
pub use sections::Settings;

use layer::{Assignment, Layer};

/// The file that is read first.
pub const FILE_NAME: &str = "appsettings.json";

/// The variable that names the environment.
pub const ENVIRONMENT_VARIABLE: &str = "HOLDFAST_ENVIRONMENT";

/// The environment's name when the variable is not set.
pub const ENVIRONMENT_DEFAULT: &str = "Production";

/// What the command line says about settings; kept so that they can be loaded again.
#[derive(Clone, Default)]
pub struct CommandLineOverrides {
    /// A settings file, or the directory that holds `appsettings.json`.
    pub settings_path: Option<PathBuf>,
    /// A file that says in short what a node is, such as `node.json`.
    pub config_path: Option<PathBuf>,
    /// The port of the one address, in place of the one in `Urls`.
    pub port: Option<String>,
    /// Whether that address, and the port for followers, are open to other machines.
    pub binds_all: bool,
    /// Keys with their values, later ones winning.
    pub values: Vec<CommandLineValue>,
}

/// One key set on the command line.
#[derive(Clone)]
pub struct CommandLineValue {
    /// The key, such as `Node:NodeId`.
    pub key: String,
    /// Its value as written.
    pub value: String,
    /// The flag that set it, for problems and `config show`.
    pub flag: String,
}

/// Settings that passed every check, and where they are from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings themselves.
    pub settings: Settings,
    /// The source of every key that is not at its default.
    pub origins: Origins,
    /// The files looked at, in their order.
    pub files: Vec<SettingsFile>,
    /// The environment's name.
    pub environment: String,
}

/// A settings file that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsFile {
    /// Where it was looked for.
    pub path: PathBuf,
    /// Whether it was there.
    pub is_found: bool,
}

/// Everything that settings are read from, so that tests need no real environment.
pub struct Sources<'a> {
    /// Where files are looked for when the command line does not say.
    pub directory: PathBuf,
    /// The process's environment variables.
    pub variables: Vec<(String, String)>,
    /// The command line.
    pub overrides: &'a CommandLineOverrides,
}

/// Reads the settings of this process; may be called again for what can change while running.
pub fn load(overrides: &CommandLineOverrides) -> Result<Loaded, SettingsProblems> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| {
            // A name that is no text cannot be ours; a value that is none is shown as far as it goes.
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        })
        .collect();
    load_from(&Sources { directory: PathBuf::new(), variables, overrides })
}

/// Reads settings from sources given.
pub fn load_from(sources: &Sources<'_>) -> Result<Loaded, SettingsProblems> {
    let mut problems = Vec::new();
    let environment = environment_name(&sources.variables, &mut problems);
    let (mut files, mut layers) = file_layers(sources, &environment, &mut problems);
    if let Some(path) = &sources.overrides.config_path {
        let layer = node_file::read(path, &sources.variables, &layers, &mut problems);
        files.push(SettingsFile { path: path.clone(), is_found: layer.is_some() });
        layers.extend(layer);
    }
    for family in shorthand::FAMILIES {
        let layer = shorthand::of_environment(&sources.variables, family, &layers, &mut problems);
        layers.push(layer);
    }
    layers.push(Layer::matched(layer::of_environment(&sources.variables), false, &mut problems));
    let values = sources.overrides.values.iter();
    let port = sources.overrides.port.iter();
    let binds_all = sources.overrides.binds_all.then_some("true").into_iter();
    let mut command_line = values
        .map(|one| Assignment::of_text(&one.key, &one.value, format!("command line {}", one.flag)))
        .chain(port.map(|port| Assignment::of_text(shorthand::PORT, port, "command line --port")))
        .chain(binds_all.map(|is| Assignment::of_text(shorthand::BIND_ALL, is, "command line --bind-all")))
        .collect();
    shorthand::with_followers_port(&mut command_line, &layers);
    let command_line = shorthand::with_addresses(command_line, &layers, &mut problems);
    layers.push(Layer::matched(command_line, true, &mut problems));

    let (settings, origins) = assembled(layers, &mut problems);
    match settings {
        Some(settings) if problems.is_empty() => Ok(Loaded { settings, origins, files, environment }),
        _ => Err(SettingsProblems { problems }),
    }
}

/// Settings of a program that holds a node itself: what it says, and defaults for the rest. No file and no variable of the
/// environment is read. Problems name the `flag` of each value.
pub fn load_values(values: &[CommandLineValue]) -> Result<Loaded, SettingsProblems> {
    let mut problems = Vec::new();
    let given = values.iter().map(|one| Assignment::of_text(&one.key, &one.value, one.flag.clone())).collect();
    let layer = Layer::matched(given, true, &mut problems);
    match assembled(vec![layer], &mut problems) {
        (Some(settings), origins) if problems.is_empty() => {
            Ok(Loaded { settings, origins, files: Vec::new(), environment: ENVIRONMENT_DEFAULT.to_owned() })
        }
        _ => Err(SettingsProblems { problems }),
    }
}

impl Default for Settings {
    /// Every key at its default.
    fn default() -> Self {
        let mut problems = Vec::new();
        let (settings, _) = assembled(Vec::new(), &mut problems);
        assert!(problems.is_empty(), "the table of keys holds valid defaults: {problems:?}");
        settings.expect("settings without problems are settings")
    }
}

/// Lays the layers over each other and checks the result.
fn assembled(layers: Vec<Layer>, problems: &mut Vec<Problem>) -> (Option<Settings>, Origins) {
    let mut builder = Config::builder();
    for layer in layers {
        builder = builder.add_source(layer);
    }
    let merged = match builder.build() {
        Ok(config) => config.cache,
        Err(error) => {
            problems.push(Problem::of_source("settings", format!("cannot be combined: {error}")));
            config::Value::new(None, ValueKind::Nil)
        }
    };
    let tree = read::read(&merged, problems);
    let settings = match serde_json::from_value::<Settings>(tree.json) {
        Ok(settings) => {
            check::check(&settings, &tree.origins, problems);
            Some(settings)
        }
        Err(error) => {
            problems.push(Problem::of_source("settings", format!("cannot be read: {error}")));
            None
        }
    };
    (settings, tree.origins)
}

fn environment_name(variables: &[(String, String)], problems: &mut Vec<Problem>) -> String {
    let name = variables
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(ENVIRONMENT_VARIABLE))
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
        .unwrap_or(ENVIRONMENT_DEFAULT);
    // The name becomes part of a path, so it must not lead anywhere else.
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return name.to_owned();
    }
    problems.push(
        Problem::of_key(
            ENVIRONMENT_VARIABLE,
            "environment",
            "must be letters, digits, `-` or `_`, such as Production or Development",
        )
        .with_value(name),
    );
    ENVIRONMENT_DEFAULT.to_owned()
}

fn file_layers(
    sources: &Sources<'_>,
    environment: &str,
    problems: &mut Vec<Problem>,
) -> (Vec<SettingsFile>, Vec<Layer>) {
    let given = sources.overrides.settings_path.as_deref();
    let base = match given {
        Some(path) if path.is_dir() => path.join(FILE_NAME),
        Some(path) => path.to_owned(),
        None => sources.directory.join(FILE_NAME),
    };
    let mut files = Vec::new();
    let mut layers = Vec::new();
    for path in [base.clone(), beside(&base, environment)] {
        let is_found = match json_file::read(&path) {
            Ok(Some(assignments)) => {
                layers.push(Layer::matched(assignments, false, problems));
                true
            }
            Ok(None) => false,
            Err(problem) => {
                problems.push(problem);
                true
            }
        };
        files.push(SettingsFile { path, is_found });
    }
    let is_base_found = files.first().is_some_and(|file| file.is_found);
    if let Some(path) = given.filter(|_| !is_base_found) {
        problems.push(Problem::of_source(
            format!("command line --settings {}", path.display()),
            format!("there is no file {}; correct the path or leave --settings out", base.display()),
        ));
    }
    (files, layers)
}

/// `appsettings.json` becomes `appsettings.Production.json` in the same directory.
fn beside(base: &Path, environment: &str) -> PathBuf {
    let stem = base.file_stem().unwrap_or_default().to_string_lossy();
    base.with_file_name(format!("{stem}.{environment}.json"))
}
