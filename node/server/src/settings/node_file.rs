//! `holdfast serve --config node.json`: one file that says what a node is, in the words of those who run leaders and
//! followers.
//!
//! ```json
//! {"nodeName": "replica-1", "port": 5010, "dataDir": "/var/lib/holdfast", "bindAllInterfaces": false,
//!  "security": {"apiKey": "env:ROOT_KEY", "replicationSecret": "env:REPLICATION_SECRET"},
//!  "replication": {"role": "follower", "leaderHost": "leader.internal", "leaderPort": 5500,
//!                  "autoFailover": {"silenceSeconds": 10, "newLeaderPort": 5500}},
//!  "network": {"publicBaseUrl": "http://replica-1:5010"}}
//! ```
//!
//! Its names are other names for keys of [`super::keys`]; `replication` holds the keys of that section. It lies over
//! `appsettings.json` and under the environment. A secret may be `env:VARIABLE`, so that the file holds none.
//!
//! What stays true: a name that is not known is a problem with the name that was probably meant, never passed over.

use std::path::Path;

use super::json_file;
use super::layer::{Assignment, Layer, Scalar};
use super::problem::Problem;
use super::shorthand::{BIND_ALL, INSECURE_DEV_MODE, PORT, with_addresses, with_followers_port};

/// Names of the file and their keys.
const NAMES: &[(&str, &str)] = &[
    ("nodeName", "Node:NodeId"),
    ("port", PORT),
    ("bindAllInterfaces", BIND_ALL),
    ("dataDir", "Node:DataDirectory"),
    ("security:apiKey", "Auth:RootApiKey"),
    ("security:replicationSecret", "Replication:Secret"),
    ("security:tls:certificateFile", "Tls:CertificateFile"),
    ("security:tls:privateKeyFile", "Tls:PrivateKeyFile"),
    ("network:publicBaseUrl", "Replication:PublicBaseUrl"),
];

/// Names that other makes know, and what to write here.
const FOREIGN: &[(&str, &str)] = &[
    (
        "security:tls",
        "is not understood: certificates are PEM files here; write security.tls.certificateFile and \
         security.tls.privateKeyFile (`openssl pkcs12 -in node.pfx -nodes` splits a PFX)",
    ),
    (
        "security:scopedKeys",
        "are keys with rights; write them as Auth:ApiKeys into appsettings.json, beside this file: the scope db:shop:read is \
         {\"Name\": \"..\", \"Key\": \"..\", \"Databases\": [\"shop\"], \"Roles\": {\"READ_DOCUMENT\": true}}, db:* names the database \"*\", \
         and * is security.apiKey",
    ),
    ("insecureDevMode", INSECURE_DEV_MODE),
];

/// The section whose keys the file has under their own names.
const REPLICATION: &str = "replication";

/// What a value starts with that stands in an environment variable.
const VARIABLE: &str = "env:";

/// How alike two names must be for one to be suggested for the other.
const LIKENESS_MIN: f64 = 0.6;

/// Reads the file as one layer over `below`; `None` when it cannot be used.
pub(super) fn read(
    path: &Path,
    variables: &[(String, String)],
    below: &[Layer],
    problems: &mut Vec<Problem>,
) -> Option<Layer> {
    let written = match json_file::read(path) {
        Ok(Some(written)) => written,
        Ok(None) => {
            problems.push(Problem::of_source(
                format!("command line --config {}", path.display()),
                "there is no such file; correct the path or leave --config out",
            ));
            return None;
        }
        Err(problem) => {
            problems.push(problem);
            return None;
        }
    };
    let mut assignments = Vec::new();
    for one in written {
        match key_of(&one.path) {
            Ok(_) if one.value == Scalar::Nothing => {}
            Ok(key) => match resolved(one.value, variables) {
                Ok(value) => assignments.push(Assignment {
                    path: key.split(':').map(str::to_owned).collect(),
                    value,
                    source: one.source,
                }),
                Err(message) => problems.push(Problem::of_key(one.path.join("."), one.source, message)),
            },
            Err(_) if asks_for_nothing(&one) => {}
            // A list of what is not understood is told once.
            Err(message) if problems.last().is_some_and(|last| last.message == message) => {}
            Err(message) => problems.push(Problem::of_key(one.path.join("."), one.source, message)),
        }
    }
    with_followers_port(&mut assignments, below);
    Some(Layer::matched(with_addresses(assignments, below, problems), false, problems))
}

/// Whether a name of other makes asks for nothing: it is left out, or switched off.
fn asks_for_nothing(one: &Assignment) -> bool {
    let is_foreign = FOREIGN.iter().any(|(known, _)| known.eq_ignore_ascii_case(&one.path.join(":")));
    is_foreign && matches!(one.value, Scalar::Nothing | Scalar::Switch(false))
}

/// The key that a name of the file stands for, or what to write.
fn key_of(written: &[String]) -> Result<String, String> {
    let name = written.join(":");
    if let Some((_, key)) = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name)) {
        return Ok((*key).to_owned());
    }
    // Whether the section has such a key is for the table of keys to say.
    if written.len() > 1 && written.first().is_some_and(|section| section.eq_ignore_ascii_case(REPLICATION)) {
        return Ok(name);
    }
    let lower = name.to_ascii_lowercase();
    // A section without content says nothing.
    let is_section = |known: &str| known.to_ascii_lowercase().starts_with(&format!("{lower}:"));
    if lower == REPLICATION || NAMES.iter().any(|(known, _)| is_section(known)) {
        return Ok(name);
    }
    let is_foreign = |known: &str| {
        let known = known.to_ascii_lowercase();
        lower == known || lower.starts_with(&format!("{known}:"))
    };
    if let Some((_, advice)) = FOREIGN.iter().find(|(known, _)| is_foreign(known)) {
        return Err((*advice).to_owned());
    }
    let alike = |known: &str| strsim::normalized_damerau_levenshtein(&lower, &known.to_ascii_lowercase());
    let best = NAMES.iter().map(|(known, _)| (*known, alike(known))).reduce(
        |best, next| {
            if next.1 > best.1 { next } else { best }
        },
    );
    Err(match best {
        Some((known, likeness)) if likeness >= LIKENESS_MIN => {
            format!("is unknown; did you mean {}?", known.replace(':', "."))
        }
        _ => "is unknown here; remove it. Keys of appsettings.json belong into that file, beside this one".to_owned(),
    })
}

/// A value that may stand in the environment.
fn resolved(value: Scalar, variables: &[(String, String)]) -> Result<Scalar, String> {
    let Scalar::Text(text) = &value else { return Ok(value) };
    let Some(name) = text.trim().strip_prefix(VARIABLE) else { return Ok(value) };
    let found = variables.iter().find(|(variable, value)| variable == name && !value.trim().is_empty());
    match found {
        Some((_, value)) => Ok(Scalar::Text(value.clone())),
        None => {
            Err(format!("names the environment variable {name}, which is not set; set it, or write the value here"))
        }
    }
}
