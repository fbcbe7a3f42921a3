//! The project's files as a fresh clone has them, read once as text.
//!
//! **What stays true.** Paths are relative to the top of the project and use `/` on every system. What `.gitignore`
//! names is left out, so that a node's data or a build beside the sources changes no result.

use std::fs;
use std::path::Path;

use crate::source::Source;

/// One file.
pub(crate) struct File {
    /// Its path from the top of the project, with `/`.
    pub(crate) path: String,
    pub(crate) size_bytes: usize,
    /// Its text; empty where it is no UTF-8.
    pub(crate) text: String,
    /// The views of its text, for Rust files.
    pub(crate) source: Option<Source>,
}

impl File {
    /// A file from its path and text; rules are tried on made-up ones too.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            size_bytes: text.len(),
            text: text.to_owned(),
            source: is_rust(path).then(|| Source::new(text)),
        }
    }

    /// Whether this is code that tests or measures the product and is no part of it.
    pub(crate) fn is_workshop(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.starts_with("xtask/")
            || self.path.contains("/tests/")
            || self.is_tests()
    }

    /// Whether this file is a test module: `tests.rs` or `something_tests.rs`.
    pub(crate) fn is_tests(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.ends_with("_tests.rs")
    }
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|ending| ending == "rs")
}

/// All files.
pub(crate) fn read() -> Vec<File> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the project");
    let ignored = fs::read_to_string(top.join(".gitignore")).expect(".gitignore can be read");
    let ignored: Vec<&str> =
        ignored.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let mut files = Vec::new();
    walk(top, "", &ignored, &mut files);
    files.sort_by(|left, right| left.path.cmp(&right.path));
    assert!(files.len() > 10, "only {} files were found under {}", files.len(), top.display());
    files
}

fn walk(folder: &Path, prefix: &str, ignored: &[&str], files: &mut Vec<File>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let entry = entry.expect("a folder can be listed");
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if path == ".git" || ignored.iter().any(|pattern| is_ignored(pattern, &path)) {
            continue;
        }
        let kind = entry.file_type().expect("a file has a type");
        if kind.is_dir() {
            walk(&entry.path(), &format!("{path}/"), ignored, files);
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).unwrap_or_else(|error| panic!("{path}: {error}"));
            let mut file = File::new(&path, std::str::from_utf8(&bytes).unwrap_or_default());
            file.size_bytes = bytes.len();
            files.push(file);
        }
    }
}

/// The forms of pattern that this project's `.gitignore` uses: `/path`, `*.ending` and a bare name.
fn is_ignored(pattern: &str, path: &str) -> bool {
    let pattern = pattern.trim_end_matches('/');
    if let Some(exact) = pattern.strip_prefix('/') {
        path == exact
    } else if let Some(ending) = pattern.strip_prefix('*') {
        path.ends_with(ending)
    } else {
        path.rsplit('/').next() == Some(pattern)
    }
}

#[test]
fn ignore_patterns_match_as_git_reads_them() {
    assert!(is_ignored("/target", "target"));
    assert!(!is_ignored("/data", "node/data"));
    assert!(is_ignored("*.log", "tests/run.log"));
    assert!(is_ignored("node_modules/", "studio/node_modules"));
}
