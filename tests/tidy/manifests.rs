//! Rules about `Cargo.toml`: who may depend on whom, and which crate holds which door.
//!
//! ```text
//!   core ◄── storage ◄── query ◄── server          redb: storage    tokio, axum, reqwest, ...: server
//! ```
//!
//! Code cannot name a crate that its manifest does not, so the manifests are all that needs looking at.

use crate::tree::File;
use crate::{Finding, hold, tried};

/// The layers from the bottom up: a manifest and the crate it makes.
const LAYERS: [(&str, &str); 4] = [
    ("node/core/Cargo.toml", "holdfast-core"),
    ("node/storage/Cargo.toml", "holdfast-storage"),
    ("node/query/Cargo.toml", "holdfast-query"),
    ("node/server/Cargo.toml", "holdfast"),
];

/// Crates that open a door, and the only layer that may hold it. Tests and chores may use any.
const DOORS: [(&str, &str); 12] = [
    ("redb", "holdfast-storage"),
    ("sqlparser", "holdfast-query"),
    ("tokio", "holdfast"),
    ("tokio-util", "holdfast"),
    ("tokio-rustls", "holdfast"),
    ("tokio-tungstenite", "holdfast"),
    ("axum", "holdfast"),
    ("hyper", "holdfast"),
    ("reqwest", "holdfast"),
    ("rand", "holdfast"),
    ("config", "holdfast"),
    ("clap", "holdfast"),
];

/// One dependency as a manifest names it.
struct Dependency<'text> {
    line: usize,
    name: &'text str,
    /// Everything behind the name.
    rest: &'text str,
}

fn dependencies(manifest: &str) -> Vec<Dependency<'_>> {
    let mut found = Vec::new();
    let mut in_dependencies = false;
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            in_dependencies = header.trim_end_matches(']').ends_with("dependencies");
        } else if in_dependencies && !line.is_empty() && !line.starts_with('#') {
            let end = line.find(['.', ' ', '=']).unwrap_or(line.len());
            let (name, rest) = line.split_at(end);
            found.push(Dependency { line: index + 1, name, rest });
        }
    }
    found
}

fn layer_of(path: &str) -> Option<usize> {
    LAYERS.iter().position(|(manifest, _)| *manifest == path)
}

fn direction(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let Some(layer) = layer_of(&file.path) else {
            continue;
        };
        for dependency in dependencies(&file.text) {
            let below = LAYERS.iter().position(|(_, name)| *name == dependency.name);
            if below.is_some_and(|below| below >= layer) {
                findings.push(Finding::new(
                    &file.path,
                    dependency.line,
                    format!(
                        "`{}` is no layer below this one. Each layer names only those under it: core, storage, query, server.",
                        dependency.name
                    ),
                ));
            }
        }
    }
    findings
}

fn doors(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let Some(layer) = layer_of(&file.path) else {
            continue;
        };
        for dependency in dependencies(&file.text) {
            let holder = DOORS.iter().find(|(door, _)| *door == dependency.name);
            if let Some((door, holder)) = holder
                && *holder != LAYERS[layer].1
            {
                findings.push(Finding::new(
                    &file.path,
                    dependency.line,
                    format!("`{door}` belongs to `{holder}` alone. Pass plain data in, or move the effect there."),
                ));
            }
        }
    }
    findings
}

fn versions(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let manifests = files.iter().filter(|file| file.path.ends_with("/Cargo.toml"));
    for file in manifests {
        for dependency in dependencies(&file.text) {
            if !dependency.rest.replace(' ', "").contains("workspace=true") {
                findings.push(Finding::new(
                    &file.path,
                    dependency.line,
                    format!(
                        "`{0}` has its own version. Name it in the root manifest and write `{0}.workspace = true`.",
                        dependency.name
                    ),
                ));
            }
        }
    }
    findings
}

#[test]
fn each_layer_names_only_those_below_it() {
    hold(direction);
    let bad = "[dependencies]\nholdfast-core.workspace = true\n[dev-dependencies]\nholdfast.workspace = true\n";
    assert_eq!(tried(direction, &[("node/storage/Cargo.toml", bad)]), ["node/storage/Cargo.toml:4"]);
    assert!(tried(direction, &[("node/server/Cargo.toml", "[dependencies]\nholdfast-query = {}")]).is_empty());
}

#[test]
fn each_door_is_held_by_one_layer() {
    hold(doors);
    let bad = "[package]\nname = \"tokio\"\n[dependencies]\ntokio.workspace = true\nredb.workspace = true\n";
    assert_eq!(tried(doors, &[("node/storage/Cargo.toml", bad)]), ["node/storage/Cargo.toml:4"]);
    assert_eq!(tried(doors, &[("node/server/Cargo.toml", bad)]), ["node/server/Cargo.toml:5"]);
    assert!(tried(doors, &[("tests/Cargo.toml", bad)]).is_empty());
}

#[test]
fn versions_stand_in_the_root_manifest_alone() {
    hold(versions);
    let bad = "[dependencies]\nserde = \"1\"\nulid = { workspace = true }\n";
    assert_eq!(tried(versions, &[("node/core/Cargo.toml", bad)]), ["node/core/Cargo.toml:2"]);
}
