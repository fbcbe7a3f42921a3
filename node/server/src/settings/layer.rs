//! One layer of settings: assignments from a file, the environment or the command line.
//!
//! ```text
//! appsettings.json <- appsettings.{Environment}.json <- node.json
//!                  <- DFDB_X <- HOLDFAST_X <- HOLDFAST__Section__Key <- command line
//! ```
//!
//! Every assignment is matched against [`super::keys`] without regard to case before it joins the
//! others, so that what is layered by the `config` crate has canonical names, and each value
//! remembers where it comes from. Lists are merged by index, as in .NET.

use std::collections::BTreeSet;
use std::fmt;

use config::{ConfigError, Map, Source, Value, ValueKind};

use super::keys::{self, KEYS, Kind, LIST_ELEMENTS_MAX};
use super::problem::Problem;

/// A value as it was written, before its key says what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scalar {
    Text(String),
    Number(String),
    Switch(bool),
    /// An empty section or list, or null: sets nothing, but its name must be known.
    Nothing,
}

/// A value for a key, as one source wrote it.
#[derive(Clone)]
pub(super) struct Assignment {
    pub(super) path: Vec<String>,
    pub(super) value: Scalar,
    pub(super) source: String,
}

impl Assignment {
    pub(super) fn new(path: &[String], value: Scalar, source: &str) -> Self {
        Self { path: path.to_vec(), value, source: source.to_owned() }
    }

    /// An assignment from a text such as `Node:NodeId`.
    pub(super) fn of_text(key: &str, value: &str, source: impl Into<String>) -> Self {
        Self {
            path: key.split(':').map(|part| part.trim().to_owned()).collect(),
            value: Scalar::Text(value.to_owned()),
            source: source.into(),
        }
    }
}

impl fmt::Debug for Assignment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value may be a secret.
        write!(formatter, "{} ({})", self.path.join(":"), self.source)
    }
}

/// What environment variables for settings start with.
pub(super) const VARIABLE_PREFIX: &str = "HOLDFAST__";

/// Picks the settings out of environment variables.
pub(super) fn of_environment(variables: &[(String, String)]) -> Vec<Assignment> {
    let mut chosen: Vec<&(String, String)> = variables
        .iter()
        .filter(|(name, _)| {
            name.get(..VARIABLE_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(VARIABLE_PREFIX))
        })
        .collect();
    // The operating system lists them in no order; problems should come in the same one each time.
    chosen.sort();
    chosen
        .into_iter()
        .map(|(name, value)| Assignment {
            path: name.get(VARIABLE_PREFIX.len()..).unwrap_or_default().split("__").map(str::to_owned).collect(),
            value: Scalar::Text(value.clone()),
            source: format!("environment {name}"),
        })
        .collect()
}

/// The variable that sets a key, for advice.
pub(super) fn variable_for(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.replace(':', "__"))
}

/// A layer whose keys all exist, ready to be laid over others.
#[derive(Clone)]
pub(super) struct Layer {
    entries: Vec<(String, Assignment)>,
}

impl Layer {
    /// Matches assignments with the keys there are; the others become problems.
    ///
    /// `is_last_wins` is for the command line, where giving a key again is how one overrides an alias.
    pub(super) fn matched(assignments: Vec<Assignment>, is_last_wins: bool, problems: &mut Vec<Problem>) -> Self {
        let mut entries: Vec<(String, Assignment)> = Vec::with_capacity(assignments.len());
        let mut seen = BTreeSet::new();
        for assignment in assignments {
            if assignment.value == Scalar::Nothing {
                if let Err(message) = checked_section(&assignment.path) {
                    problems.push(Problem::of_key(assignment.path.join(":"), assignment.source, message));
                }
                continue;
            }
            match canonical_path(&assignment.path) {
                Ok(path) => {
                    if seen.insert(path.clone()) {
                        entries.push((path, assignment));
                    } else if is_last_wins {
                        entries.retain(|(earlier, _)| *earlier != path);
                        entries.push((path, assignment));
                    } else {
                        problems.push(Problem::of_key(
                            path,
                            assignment.source,
                            "is given twice (case does not matter); keep one of them",
                        ));
                    }
                }
                Err(message) => problems.push(Problem::of_key(assignment.path.join(":"), assignment.source, message)),
            }
        }
        Self { entries }
    }

    /// The text of a key, if this layer sets it to one.
    pub(super) fn text_of(&self, key: &str) -> Option<String> {
        let (_, assignment) = self.entries.iter().find(|(path, _)| path == key)?;
        match &assignment.value {
            Scalar::Text(text) => Some(text.clone()),
            Scalar::Number(_) | Scalar::Switch(_) | Scalar::Nothing => None,
        }
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        formatter.debug_list().entries(self.entries.iter().map(|(path, _)| path)).finish()
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let entries = self.entries.iter().map(|(path, assignment)| {
            let kind = match &assignment.value {
                Scalar::Text(text) => ValueKind::String(text.clone()),
                Scalar::Switch(switch) => ValueKind::Boolean(*switch),
                Scalar::Nothing => ValueKind::Nil,
                // A number that is not a whole one stays text, for the problem to show.
                Scalar::Number(text) => {
                    text.parse::<u64>().map_or_else(|_| ValueKind::String(text.clone()), ValueKind::U64)
                }
            };
            (expression(path), Value::new(Some(&assignment.source), kind))
        });
        Ok(entries.collect())
    }
}

/// Writes `Auth:ApiKeys:0:Key` as the `config` crate does: `Auth.ApiKeys[0].Key`.
fn expression(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for part in path.split(':') {
        if is_index(part) {
            out.push('[');
            out.push_str(part);
            out.push(']');
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(part);
        }
    }
    out
}

fn is_index(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

/// Finds the key that was meant, in its own spelling, or says what to write.
fn canonical_path(written: &[String]) -> Result<String, String> {
    for key in KEYS {
        let Some(canonical) = matched_path(key.path, written) else {
            continue;
        };
        if let Kind::List = key.kind {
            return Err(format!(
                "is a list; write a JSON array in a file, or {}__0, __1 and so on in the environment",
                variable_for(&canonical)
            ));
        }
        let too_far = canonical
            .split(':')
            .filter(|part| is_index(part))
            .any(|index| index.parse::<usize>().map_or(true, |index| index >= LIST_ELEMENTS_MAX));
        if too_far {
            return Err(format!("has an index beyond the {LIST_ELEMENTS_MAX} elements a list may have"));
        }
        return Ok(canonical);
    }
    Err(explain_unknown(written))
}

/// Checks that a key, section or list of this name exists.
fn checked_section(written: &[String]) -> Result<(), String> {
    let depth = written.len();
    let mut sections = Vec::new();
    for key in KEYS {
        let parts: Vec<&'static str> = key.path.split(':').collect();
        let Some(start) = parts.get(..depth) else { continue };
        if matched_path(&start.join(":"), written).is_some() {
            return Ok(());
        }
        sections.push(start.join(":"));
    }
    let joined = written.join(":").to_ascii_lowercase();
    let likeness = |section: &str| strsim::normalized_damerau_levenshtein(&joined, &section.to_ascii_lowercase());
    let alike = sections.iter().map(|section| (section, likeness(section)));
    match alike.reduce(|best, next| if next.1 > best.1 { next } else { best }) {
        Some((section, likeness)) if likeness >= LIKENESS_MIN => {
            Err(format!("is unknown; did you mean {}?", with_indices(section, written)))
        }
        _ => Err(explain_unknown(written)),
    }
}

/// Gives `written` in the spelling of `schema`, when it is that path.
fn matched_path(schema: &str, written: &[String]) -> Option<String> {
    let mut parts = Vec::with_capacity(written.len());
    let mut rest = written.iter();
    for expected in schema.split(':') {
        let part = rest.next()?;
        if expected == "#" && is_index(part) {
            // Leading zeros would make two spellings of one place.
            let digits = part.trim_start_matches('0');
            parts.push(if digits.is_empty() { "0" } else { digits });
        } else if expected.eq_ignore_ascii_case(part) && expected != "#" {
            parts.push(expected);
        } else {
            return None;
        }
    }
    rest.next().is_none().then(|| parts.join(":"))
}

/// Keys of other programs that people bring along, and what to do about them.
const FOREIGN: &[(&str, &str)] = &[
    ("Logging:LogLevel", "is not used here; write Logging:Level, such as \"info\""),
    ("AllowedHosts", "is not used here; remove it"),
    ("Kestrel", "is not used here; write Urls, and Tls:CertificateFile and Tls:PrivateKeyFile for https"),
    ("ConnectionStrings", "is not used here; databases are files below Node:DataDirectory"),
];

/// How alike two names must be, from 0 to 1, for one to be suggested for the other.
const LIKENESS_MIN: f64 = 0.6;

/// How alike a name is to a longer one of the same section that begins with it.
const START_LIKENESS: f64 = 0.95;

/// Shortest name that suggests a longer one which begins with it.
const NAME_START_MIN: usize = 3;

/// Shortest name that suggests a longer one which contains it.
const NAME_PART_MIN: usize = 5;

fn explain_unknown(written: &[String]) -> String {
    let joined = written.join(":");
    let lower = joined.to_ascii_lowercase();
    for (name, advice) in FOREIGN {
        let name = name.to_ascii_lowercase();
        if lower == name || lower.starts_with(&format!("{name}:")) {
            return (*advice).to_owned();
        }
    }
    let schema: String = written
        .iter()
        .map(|part| if is_index(part) { "#" } else { part.as_str() })
        .collect::<Vec<_>>()
        .join(":")
        .to_ascii_lowercase();
    if schema.ends_with(":roles:#") {
        return "is part of a list, but Roles is an object of true or false; write for example {\"READ_DOCUMENT\": true}"
            .to_owned();
    }
    for key in KEYS {
        let path = key.path.to_ascii_lowercase();
        if path.starts_with(&format!("{schema}:")) {
            return format!(
                "is a {}, not one value",
                if keys::find(key.path).is_some() && key.path.contains('#') { "list or section" } else { "section" }
            );
        }
        if schema.starts_with(&format!("{path}:")) && !matches!(key.kind, Kind::List) {
            return format!("does not exist, since {} is one value and not a section or list", key.path);
        }
    }
    match suggestion(&schema) {
        Some(path) => format!("is unknown; did you mean {}?", with_indices(path, written)),
        None => "is unknown; remove it".to_owned(),
    }
}

fn suggestion(schema: &str) -> Option<&'static str> {
    let last = |path: &str| path.rsplit(':').next().unwrap_or_default().to_ascii_lowercase();
    let name = last(schema);
    KEYS.iter()
        .map(|key| {
            let path = key.path.to_ascii_lowercase();
            let whole = strsim::normalized_damerau_levenshtein(schema, &path);
            // The right name in the wrong section is as common as a slip of the finger.
            let own = strsim::normalized_damerau_levenshtein(&name, &last(&path)) * 0.9;
            let is_part = name.len() >= NAME_PART_MIN && last(&path).contains(&name);
            let part = if is_part { LIKENESS_MIN } else { 0.0 };
            // The right section and the right beginning: only the rest was left out.
            let is_start = name.len() >= NAME_START_MIN && path.starts_with(schema);
            let start = if is_start { START_LIKENESS } else { 0.0 };
            (key.path, whole.max(own).max(part).max(start))
        })
        .filter(|(_, likeness)| *likeness >= LIKENESS_MIN)
        // Of equals the first of the table wins.
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(path, _)| path)
}

/// Puts the indices that were written into a suggested path.
fn with_indices(path: &str, written: &[String]) -> String {
    let mut indices = written.iter().filter(|part| is_index(part));
    path.split(':')
        .map(|part| if part == "#" { indices.next().map_or("0", String::as_str) } else { part })
        .collect::<Vec<_>>()
        .join(":")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{canonical_path, expression, of_environment};

    fn path(text: &str) -> Result<String, String> {
        let parts: Vec<String> = text.split(':').map(str::to_owned).collect();
        canonical_path(&parts)
    }

    #[test]
    fn keys_are_found_without_regard_to_case() {
        assert_eq!(path("node:nodeid").unwrap(), "Node:NodeId");
        assert_eq!(path("AUTH:APIKEYS:07:roles:read_document").unwrap(), "Auth:ApiKeys:7:Roles:READ_DOCUMENT");
        assert_eq!(expression("Auth:ApiKeys:7:Databases:0"), "Auth.ApiKeys[7].Databases[0]");
    }

    #[test]
    fn an_unknown_key_gets_a_suggestion() {
        assert_eq!(path("Node:NodId").unwrap_err(), "is unknown; did you mean Node:NodeId?");
        assert_eq!(path("DataDirectory").unwrap_err(), "is unknown; did you mean Node:DataDirectory?");
        assert_eq!(path("Sync:BatchSize").unwrap_err(), "is unknown; did you mean Node:ReplicationBatchSize?");
        assert_eq!(path("Auth:ApiKeys:3:Nmae").unwrap_err(), "is unknown; did you mean Auth:ApiKeys:3:Name?");
        assert_eq!(path("Zebra").unwrap_err(), "is unknown; remove it");
        assert_eq!(
            path("Auth:ApiKeys:0:Roles:READ").unwrap_err(),
            "is unknown; did you mean Auth:ApiKeys:0:Roles:READ_DOCUMENT?"
        );
        assert!(path("Auth:ApiKeys:0:Roles:0").unwrap_err().contains("Roles is an object of true or false"));
        assert!(path("Logging:LogLevel:Default").unwrap_err().contains("Logging:Level"));
    }

    #[test]
    fn sections_lists_and_values_are_told_apart() {
        assert!(path("Node").unwrap_err().contains("section"));
        assert!(path("Node:SeedPeers").unwrap_err().contains("is a list"));
        assert!(path("Urls:0").unwrap_err().contains("is one value"));
        assert!(path("Auth:ApiKeys:1000:Key").unwrap_err().contains("index"));
        assert!(path("Auth:ApiKeys:99999999999999999999999:Key").unwrap_err().contains("index"));
    }

    #[test]
    fn variables_are_picked_by_prefix() {
        let variables: Vec<(String, String)> =
            [("holdfast__Node__NodeId", "a"), ("HOLDFAST_ENVIRONMENT", "b"), ("PATH", "c"), ("é", "d")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let found = of_environment(&variables);
        assert_eq!(found.len(), 1);
        assert_eq!(found.first().unwrap().path, ["Node", "NodeId"]);
    }
}
