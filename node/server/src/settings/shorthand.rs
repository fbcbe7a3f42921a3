//! Short names for settings that people type: `HOLDFAST_PORT`, `DFDB_LEADER_HOST`, `--port`.
//!
//! ```text
//!   DFDB_X  <-  HOLDFAST_X  <-  HOLDFAST__Section__Key  <-  flags          the right one wins
//! ```
//!
//! What stays true: a short name sets exactly one key, and a problem names the variable or flag that was written. A port
//! alone moves the one address there is; where there are several it is refused, since nobody can know which was meant.
//! A variable without a value sets nothing: that is how containers leave one out.

use super::keys::{self, Initial};
use super::layer::{Assignment, Layer, Scalar};
use super::problem::Problem;
use super::url::{self, ListenHost, ListenUrl, Scheme};

/// Families of short variables, the one that wins last.
pub(super) const FAMILIES: [&str; 2] = ["DFDB_", "HOLDFAST_"];

/// What a short variable continues with, and its key.
const NAMES: &[(&str, &str)] = &[
    ("NODE_NAME", "Node:NodeId"),
    ("DATA_DIR", "Node:DataDirectory"),
    ("PORT", PORT),
    ("API_KEY", "Auth:RootApiKey"),
    ("PUBLIC_BASE_URL", "Replication:PublicBaseUrl"),
    ("REPLICATION_ROLE", "Replication:Role"),
    ("REPLICATION_PORT", "Replication:Port"),
    ("REPLICATION_SECRET", "Replication:Secret"),
    ("LEADER_HOST", "Replication:LeaderHost"),
    ("LEADER_PORT", "Replication:LeaderPort"),
    ("AUTO_FAILOVER_SECONDS", "Replication:AutoFailover:SilenceSeconds"),
    ("AUTO_FAILOVER_NEW_PORT", "Replication:AutoFailover:NewLeaderPort"),
    ("MIN_SYNC_REPLICAS", "Replication:MinSyncReplicas"),
];

/// What other makes continue a variable with, where there is nothing here that does the same, and what to do.
const FOREIGN: &[(&str, &str)] = &[("INSECURE_DEV_MODE", INSECURE_DEV_MODE)];

/// What is said to those who want a node without keys.
pub const INSECURE_DEV_MODE: &str = "has no counterpart here: on this machine alone a node runs with default keys as it is, and on any other \
    address it needs keys of its own (`holdfast keys new`); remove it";

/// Stands for the port of the address that lower layers name. No file can write it.
pub(super) const PORT: &str = "(port)";

/// Stands for opening that address to other machines; `true` or `false`.
pub(super) const BIND_ALL: &str = "(bind all)";

/// The short variables of a family, as one layer over `below`.
pub(super) fn of_environment(
    variables: &[(String, String)],
    family: &str,
    below: &[Layer],
    problems: &mut Vec<Problem>,
) -> Layer {
    let mut assignments = Vec::new();
    for (suffix, key) in NAMES {
        let name = format!("{family}{suffix}");
        // As many spellings as there are: two of them are a problem that names the key.
        for (written, value) in variables.iter().filter(|(written, _)| written.eq_ignore_ascii_case(&name)) {
            if !value.trim().is_empty() {
                assignments.push(Assignment::of_text(key, value, format!("environment {written}")));
            }
        }
    }
    for (suffix, advice) in FOREIGN {
        let name = format!("{family}{suffix}");
        let is_wanted = |value: &str| !["", "0", "false", "no"].contains(&value.trim().to_ascii_lowercase().as_str());
        let found = variables.iter().find(|(written, value)| written.eq_ignore_ascii_case(&name) && is_wanted(value));
        if let Some((written, _)) = found {
            problems.push(Problem::of_key(written.as_str(), "environment", *advice));
        }
    }
    Layer::matched(with_addresses(assignments, below, problems), false, problems)
}

/// Opens the port for followers to other machines too, where the address of HTTP is opened and nobody says otherwise.
pub(super) fn with_followers_port(assignments: &mut Vec<Assignment>, below: &[Layer]) {
    let is = |one: &Assignment, key: &str| one.path.join(":").eq_ignore_ascii_case(key);
    let all = assignments.iter().find(|one| is(one, BIND_ALL) && one.text().trim().eq_ignore_ascii_case("true"));
    let is_said = assignments.iter().any(|one| is(one, FOLLOWERS_ADDRESS))
        || below.iter().any(|layer| layer.text_of(FOLLOWERS_ADDRESS).is_some());
    if let Some(source) = all.filter(|_| !is_said).map(|all| all.source.clone()) {
        assignments.push(Assignment::of_text(FOLLOWERS_ADDRESS, "*", source));
    }
}

/// Replaces what stands for a change of the address by the address itself.
pub(super) fn with_addresses(
    assignments: Vec<Assignment>,
    below: &[Layer],
    problems: &mut Vec<Problem>,
) -> Vec<Assignment> {
    let (changes, mut rest): (Vec<Assignment>, Vec<Assignment>) = assignments
        .into_iter()
        .partition(|one| matches!(one.path.as_slice(), [only] if only == PORT || only == BIND_ALL));
    let mut urls = below.iter().rev().find_map(|layer| layer.text_of("Urls")).or_else(default_urls);
    let mut source = None;
    for change in changes {
        let is_port = change.path.iter().any(|name| name == PORT);
        let value = change.text();
        let changed = if is_port { at_port(urls.as_deref(), &value) } else { bound(urls.as_deref(), &value) };
        match changed {
            Ok(Some(changed)) => {
                urls = Some(changed);
                source = Some(change.source);
            }
            Ok(None) => {}
            Err(message) => problems.push(Problem::of_key("Urls", change.source, message).with_value(&value)),
        }
    }
    if let (Some(urls), Some(source)) = (urls, source) {
        rest.push(Assignment::of_text("Urls", &urls, source));
    }
    rest
}

fn default_urls() -> Option<String> {
    match keys::find("Urls")?.default {
        Initial::Text(text) => Some(text.to_owned()),
        _ => None,
    }
}

/// The address at another port.
fn at_port(urls: Option<&str>, port: &str) -> Result<Option<String>, String> {
    let port = port.trim().parse::<u16>().map_err(|_| "must be a number from 0 to 65535, such as 5000".to_owned())?;
    Ok(Some(ListenUrl { port, ..only_address(urls)? }.to_string()))
}

/// The address as other machines can reach it.
fn bound(urls: Option<&str>, value: &str) -> Result<Option<String>, String> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" => Ok(Some(ListenUrl { host: ListenHost::Any, ..only_address(urls)? }.to_string())),
        "false" => Ok(None),
        _ => Err("must be true or false".to_owned()),
    }
}

fn only_address(urls: Option<&str>) -> Result<ListenUrl, String> {
    let mut parsed = url::parse_all(urls.unwrap_or_default()).into_iter().flatten();
    let first = parsed.next();
    if parsed.next().is_some() {
        return Err("is for one address, and Urls names several; write all of them there instead".to_owned());
    }
    // What cannot be read as an address gives way to one that can.
    Ok(first.unwrap_or(ListenUrl { scheme: Scheme::Http, host: ListenHost::Localhost, port: 0 }))
}

/// Where the port for followers is open.
const FOLLOWERS_ADDRESS: &str = "Replication:BindAddress";

impl Assignment {
    /// The value as it was written.
    fn text(&self) -> String {
        match &self.value {
            Scalar::Text(text) | Scalar::Number(text) => text.clone(),
            Scalar::Switch(switch) => switch.to_string(),
            Scalar::Nothing => String::new(),
        }
    }
}
