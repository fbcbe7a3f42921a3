//! Rules about what people read: the map names what is there, the changelog keeps its form.

use std::collections::BTreeSet;

use crate::tree::File;
use crate::{Finding, hold, tried};

const MAP: &str = "ARCHITECTURE.md";
const CHANGELOG: &str = "CHANGELOG.md";
const README: &str = "README.md";
const SETTINGS: &str = "appsettings.json";

/// The sections that a release may have.
const SECTIONS: [&str; 6] = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];

/// Every folder under `node/*/src` and every folder at the top stands in the map, by its path in backticks; and every
/// path that stands there exists.
fn map(files: &[File]) -> Vec<Finding> {
    let Some(map) = files.iter().find(|file| file.path == MAP) else {
        return vec![Finding::new(MAP, 0, "the map is missing. Write it.")];
    };
    let folders = folders(files);
    let mut findings = Vec::new();
    let mut named = BTreeSet::new();
    for (index, line) in map.text.lines().enumerate() {
        for path in quoted(line) {
            let path = path.trim_end_matches('/');
            named.insert(path);
            let top = path.split('/').next().unwrap_or_default();
            let is_path = path.contains('/') && !path.contains(' ') && folders.contains(top);
            let exists = folders.contains(path) || files.iter().any(|file| file.path == path);
            if is_path && !exists {
                findings.push(Finding::new(
                    MAP,
                    index + 1,
                    format!("`{path}` is gone. Take it out, or name what took its place."),
                ));
            }
        }
    }
    for folder in &folders {
        let is_top = !folder.contains('/');
        let in_crate = folder.starts_with("node/") && folder.contains("/src/");
        if (is_top || in_crate) && !named.contains(folder.as_str()) {
            findings.push(Finding::new(
                MAP,
                0,
                format!("`{folder}` is not on the map. Say in a paragraph what it is for and what stays true in it."),
            ));
        }
    }
    findings
}

/// Every folder that holds a file, at any depth. One that holds only the tests of the module beside it is no place of
/// its own.
fn folders(files: &[File]) -> BTreeSet<String> {
    let mut folders = BTreeSet::new();
    for file in files.iter().filter(|file| !file.is_tests()) {
        for (end, _) in file.path.match_indices('/') {
            folders.insert(file.path[..end].to_owned());
        }
    }
    folders
}

/// `# Changelog`, then `## [Unreleased]`, then releases `## [1.2.3] - 2030-01-31`; inside, sections of known names with
/// entries below them.
fn changelog(files: &[File]) -> Vec<Finding> {
    let Some(file) = files.iter().find(|file| file.path == CHANGELOG) else {
        return vec![Finding::new(CHANGELOG, 0, "the changelog is missing. Write it.")];
    };
    let mut findings = Vec::new();
    let mut releases = 0;
    let mut in_section = false;
    for (index, line) in file.text.lines().enumerate() {
        let message = if index == 0 {
            (line != "# Changelog").then_some("the first line is `# Changelog`.")
        } else if let Some(title) = line.strip_prefix("## ") {
            releases += 1;
            in_section = false;
            let fits = if releases == 1 { title == "[Unreleased]" } else { is_release(title) };
            (!fits).then_some("releases read `## [1.2.3] - 2030-01-31`, below `## [Unreleased]`.")
        } else if let Some(title) = line.strip_prefix("### ") {
            in_section = true;
            (!SECTIONS.contains(&title))
                .then_some("sections are Added, Changed, Deprecated, Removed, Fixed and Security.")
        } else {
            (line.starts_with("- ") && !in_section).then_some("an entry stands in a section, such as `### Added`.")
        };
        if let Some(message) = message {
            findings.push(Finding::new(CHANGELOG, index + 1, message));
        }
    }
    if releases == 0 {
        findings.push(Finding::new(CHANGELOG, 0, "`## [Unreleased]` is missing."));
    }
    findings
}

/// Every setting in the README's table exists, and its default is the one that `appsettings.json` has.
fn settings(files: &[File]) -> Vec<Finding> {
    let text = |path| files.iter().find(|file| file.path == path).map(|file| &file.text);
    let (Some(readme), Some(settings)) = (text(README), text(SETTINGS)) else {
        return vec![Finding::new(SETTINGS, 0, "settings or README are missing. Write them.")];
    };
    let Ok(settings) = serde_json::from_str::<serde_json::Value>(settings) else {
        return vec![Finding::new(SETTINGS, 0, "this is no JSON. Mend it.")];
    };
    let mut findings = Vec::new();
    let rows = readme.lines().enumerate().skip_while(|(_, line)| *line != "## Settings");
    let rows = rows.skip(1).take_while(|(_, line)| !line.starts_with("## "));
    for (index, line) in rows.filter(|(_, line)| line.starts_with("| `")) {
        let mut cells = line.split('|').skip(1).map(str::trim);
        let keys = quoted(cells.next().unwrap_or_default());
        let default = quoted(cells.next().unwrap_or_default());
        for (number, key) in keys.iter().enumerate() {
            let pointer = format!("/{}", key.replace(':', "/"));
            let message = match settings.pointer(&pointer) {
                None => {
                    format!("`{key}` is no setting. Take it out, or write what it is called now.")
                }
                Some(value) if default.get(number).is_some_and(|told| *told != shown(value)) => {
                    format!("the default of `{key}` is `{}`. Write that.", shown(value))
                }
                Some(_) => continue,
            };
            findings.push(Finding::new(README, index + 1, message));
        }
    }
    findings
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn shown(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn is_release(title: &str) -> bool {
    let Some((version, date)) = title.strip_prefix('[').and_then(|rest| rest.split_once("] - ")) else {
        return false;
    };
    let numbers = |text: &str, separator: char| {
        let parts: Vec<&str> = text.split(separator).collect();
        parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    numbers(version, '.') && numbers(date, '-') && date.len() == 10
}

#[test]
fn the_map_names_every_folder_and_none_that_is_gone() {
    hold(map);
    let files = [
        (MAP, "`node/` holds `node/core/src/sync`.\n`node/core/src/gone/` too, and `text/html`.\n"),
        ("node/core/src/sync/mod.rs", "//! A.\n"),
        ("node/core/src/cache/mod.rs", "//! A.\n"),
        ("deploy/Dockerfile", ""),
    ];
    assert_eq!(tried(map, &files), ["ARCHITECTURE.md:2", "ARCHITECTURE.md:0", "ARCHITECTURE.md:0"]);
    assert_eq!(tried(map, &[]), ["ARCHITECTURE.md:0"]);
}

#[test]
fn the_changelog_keeps_its_form() {
    hold(changelog);
    let good = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A.\n\n## [0.1.0] - 2030-01-31\n\n### Fixed\n\n- B.\n";
    assert!(tried(changelog, &[(CHANGELOG, good)]).is_empty());
    let bad = "# Changes\n## 0.1.0\n- A.\n### News\n- B.\n## [0.1] - soon\n";
    let expected = [1, 2, 3, 4, 6].map(|line| format!("{CHANGELOG}:{line}"));
    assert_eq!(tried(changelog, &[(CHANGELOG, bad)]), expected);
    assert_eq!(tried(changelog, &[]), ["CHANGELOG.md:0"]);
}

#[test]
fn the_readme_tells_settings_and_defaults_as_they_are() {
    hold(settings);
    let readme = "## Settings\n| Key | Default |\n| `A:B` | `1` |\n| `A:B`, `A:C` | `2`, `x` |\n| `A:D` | none |\n## API\n| `Z` |\n";
    let files = [(README, readme), (SETTINGS, r#"{"A": {"B": 1, "C": "x"}}"#)];
    assert_eq!(tried(settings, &files), ["README.md:4", "README.md:5"]);
    assert_eq!(tried(settings, &[(README, "")]), ["appsettings.json:0"]);
}
