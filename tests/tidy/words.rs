//! Rules about single files: their size, their head, and words that may not stand in them.

use crate::tree::File;
use crate::{Finding, hold, tried};

/// The longest Rust file, in lines, tests included.
const RUST_LINES_MAX: usize = 900;

/// The largest file of any kind, in bytes. Larger things are made when they are needed.
const FILE_BYTES_MAX: usize = 200_000;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "helpers", "common", "misc", "manager"];

/// The only file that may ask the operating system for the time.
const CLOCK: &str = "node/server/src/clock.rs";

/// The only file that may ask for randomness.
const ENTROPY: &str = "node/server/src/entropy.rs";

fn sizes(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let lines = file.text.lines().count();
        if file.source.is_some() && lines > RUST_LINES_MAX {
            findings.push(Finding::new(
                &file.path,
                lines,
                format!("{lines} lines, {RUST_LINES_MAX} at most. Split it along its nouns."),
            ));
        }
        if file.size_bytes > FILE_BYTES_MAX && file.path != "Cargo.lock" {
            findings.push(Finding::new(
                &file.path,
                0,
                format!("{} bytes, {FILE_BYTES_MAX} at most. Make it when it is needed, or fetch it.", file.size_bytes),
            ));
        }
    }
    findings
}

fn heads(files: &[File]) -> Vec<Finding> {
    files
        .iter()
        .filter(|file| file.source.is_some())
        .filter(|file| !file.text.trim_start_matches('\u{feff}').starts_with("//! "))
        .map(|file| {
            Finding::new(
                &file.path,
                1,
                "no module documentation. Begin with `//!`: what it does, what stays true, what it does not do.",
            )
        })
        .collect()
}

fn names(files: &[File]) -> Vec<Finding> {
    files
        .iter()
        .filter_map(|file| {
            let part = file.path.split(['/', '.']).find(|part| EMPTY_NAMES.contains(part))?;
            Some(Finding::new(
                &file.path,
                0,
                format!("`{part}` says nothing. Name the file or folder by the thing it is about."),
            ))
        })
        .collect()
}

fn leftovers(files: &[File]) -> Vec<Finding> {
    let code = ["dbg!", "todo!", "unimplemented!"];
    let comments = ["TODO", "FIXME", "XXX", "HACK"];
    let mut findings = Vec::new();
    for file in files {
        let Some(source) = &file.source else { continue };
        for (index, (code_line, comment)) in source.code.iter().zip(&source.comments).enumerate() {
            let in_code = code.iter().find(|word| has_word(code_line, word));
            let in_comment = comments.iter().find(|word| has_word(comment, word));
            if let Some(word) = in_code.or(in_comment) {
                findings.push(Finding::new(
                    &file.path,
                    index + 1,
                    format!("`{word}` was left behind. Do it now, or say in a sentence why it is as it is."),
                ));
            }
        }
    }
    findings
}

fn glob_imports(files: &[File]) -> Vec<Finding> {
    let is_glob = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("pub ").unwrap_or(line);
        line.starts_with("use ") && line.trim_end().ends_with("*;")
    };
    find_lines(
        files,
        |file, line, is_test| {
            let in_tests = is_test || file.is_tests();
            is_glob(line) && !(in_tests && line.trim() == "use super::*;")
        },
        "a glob import hides where names are from. Name them; test modules may say `use super::*;`.",
    )
}

fn clocks(files: &[File]) -> Vec<Finding> {
    let words = ["SystemTime::now", "Instant::now", "now_utc", "now_local", "Ulid::new"];
    find_lines(
        files,
        |file, line, is_test| {
            file.path != CLOCK && !file.is_workshop() && !is_test && words.iter().any(|word| has_word(line, word))
        },
        "the time enters through node/server/src/clock.rs alone. Ask it there, or take `now` as an argument.",
    )
}

fn randomness(files: &[File]) -> Vec<Finding> {
    let words = ["rand::", "getrandom", "new_v4", "RandomState", "Ulid::new"];
    find_lines(
        files,
        |file, line, is_test| {
            file.path != ENTROPY && !file.is_workshop() && !is_test && words.iter().any(|word| has_word(line, word))
        },
        "randomness enters through node/server/src/entropy.rs alone. Ask it there, or take it as an argument.",
    )
}

/// Every line of code for which the question (file, line, whether in a test) is answered with yes.
fn find_lines(files: &[File], breaks: impl Fn(&File, &str, bool) -> bool, message: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let Some(source) = &file.source else { continue };
        for (index, (line, is_test)) in source.code.iter().zip(&source.is_test).enumerate() {
            if breaks(file, line, *is_test) {
                findings.push(Finding::new(&file.path, index + 1, message));
            }
        }
    }
    findings
}

/// Whether the word stands in the line and is no part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        // A word that ends in a sign, such as `rand::`, is followed by other words.
        let open_ended = !word.ends_with(is_part);
        !before.is_some_and(is_part) && (open_ended || !after.is_some_and(is_part))
    })
}

#[test]
fn no_file_is_larger_than_a_reader_can_hold() {
    hold(sizes);
    let long = format!("//! Long.\n{}", "\n".repeat(RUST_LINES_MAX));
    assert_eq!(tried(sizes, &[("node/a.rs", &long)]), ["node/a.rs:901"]);
    let large = "x".repeat(FILE_BYTES_MAX + 1);
    let files = [("samples/a.csv", &large[..]), ("Cargo.lock", &large)];
    assert_eq!(tried(sizes, &files), ["samples/a.csv:0"]);
}

#[test]
fn every_module_opens_with_a_page_about_itself() {
    hold(heads);
    let files = [("a.rs", "use a::b;\n"), ("b.rs", "//! What it does.\n"), ("c.md", "#")];
    assert_eq!(tried(heads, &files), ["a.rs:1"]);
}

#[test]
fn names_say_what_is_inside() {
    hold(names);
    let files = [("node/utils/a.rs", "//! A."), ("node/common.rs", "//! A."), ("node/commons.rs", "//! A.")];
    assert_eq!(tried(names, &files), ["node/utils/a.rs:0", "node/common.rs:0"]);
}

#[test]
fn nothing_is_left_to_do_in_the_sources() {
    hold(leftovers);
    let text = "//! A.\nfn a() { dbg!(1); }\n// TODO: more\nlet todo = \"TODO\"; // a todo list\ntodo!()\n";
    assert_eq!(tried(leftovers, &[("a.rs", text)]), ["a.rs:2", "a.rs:3", "a.rs:5"]);
}

#[test]
fn imports_say_where_a_name_is_from() {
    hold(glob_imports);
    let text = "use std::fmt::*;\npub use a::*;\nuse super::*;\n#[cfg(test)]\nmod tests {\n    use super::*;\n    use a::*;\n}\n";
    assert_eq!(tried(glob_imports, &[("a.rs", text)]), ["a.rs:1", "a.rs:2", "a.rs:3", "a.rs:7"]);
}

#[test]
fn the_clock_has_one_door() {
    hold(clocks);
    let text = "fn a() { std::time::Instant::now(); } // Instant::now\n#[cfg(test)]\nfn b() { Instant::now(); }\n";
    let files = [("node/core/src/a.rs", text), (CLOCK, text), ("tests/a.rs", text)];
    assert_eq!(tried(clocks, &files), ["node/core/src/a.rs:1"]);
}

#[test]
fn randomness_has_one_door() {
    hold(randomness);
    let text = "let a = rand::random::<u64>();\nlet b = Uuid::new_v4();\nlet c = operand::d();\n";
    let files = [("node/server/src/a.rs", text), (ENTROPY, text), ("xtask/src/a.rs", text)];
    assert_eq!(tried(randomness, &files), ["node/server/src/a.rs:1", "node/server/src/a.rs:2"]);
}
