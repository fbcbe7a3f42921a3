//! The house rules that a machine can hold.
//!
//! ```text
//!   tree      the project's files        ─┐
//!   source    code, comments, test lines  ├─► a rule: &[File] ─► findings ─► file:line: what, and what to do instead
//!   rules     words, manifests, papers   ─┘
//! ```
//!
//! **What stays true.** Each rule is a plain function, and each is tried on a snippet that breaks it, so that a rule
//! that can no longer fail fails. A finding says what to do, for whoever meets it has not read this file.
//!
//! **What it does not do.** It judges no style that rustfmt and clippy judge, and asks for no praise: rules that cost
//! more than they give are deleted.

// What a test expects of the project's own files it may insist upon.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod guards;
mod manifests;
mod papers;
mod source;
mod tree;
mod words;

use tree::File;

/// One place that breaks a rule.
#[derive(Debug, PartialEq)]
struct Finding {
    path: String,
    /// Counted from one; zero for the file as a whole.
    line: usize,
    /// What is there, and what to do instead.
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

type Rule = fn(&[File]) -> Vec<Finding>;

/// Holds a rule against the project, and fails with every finding.
fn hold(rule: Rule) {
    let findings = rule(&tree::read());
    let told: Vec<String> =
        findings.iter().map(|finding| format!("{}:{}: {}", finding.path, finding.line, finding.message)).collect();
    assert!(told.is_empty(), "\n{}\n", told.join("\n"));
}

/// Tries a rule on made-up files, and gives `path:line` of what it finds.
fn tried(rule: Rule, files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<File> = files.iter().map(|(path, text)| File::new(path, text)).collect();
    rule(&files).iter().map(|finding| format!("{}:{}", finding.path, finding.line)).collect()
}
