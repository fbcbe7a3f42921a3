//! Golden scripts: statements with their plans and rows, as text.
//!
//! ```text
//!   > SELECT ...         a statement, up to the next line that does not begin with '>'
//!   plan FullScan+Filter
//!   {"Id":"a"}           its rows, or `error code: message`
//! ```
//!
//! `HOLDFAST_GOLDEN=write` writes down what comes of the statements; whoever does that reads it.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::shop::Shop;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/query/scripts");

fn shop() -> Shop {
    let mut shop = Shop::new();
    let text = std::fs::read_to_string(Path::new(FOLDER).join("shop.json")).unwrap();
    let Value::Object(collections) = serde_json::from_str(&text).unwrap() else { panic!("shop.json is no object") };
    for (name, documents) in collections {
        shop.put(&name, documents.as_array().unwrap());
    }
    shop
}

/// What comes of every statement of a script.
fn played(script: &str) -> String {
    let mut shop = shop();
    let mut out = String::new();
    let mut lines = script.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(first) = line.strip_prefix("> ") else {
            if line.starts_with('#') {
                writeln!(out, "{line}").unwrap();
            }
            continue;
        };
        let mut statement = first.to_owned();
        writeln!(out, "{line}").unwrap();
        while let Some(more) = lines.next_if(|line| line.starts_with("> ")) {
            statement.push('\n');
            statement.push_str(&more[2..]);
            writeln!(out, "{more}").unwrap();
        }
        match shop.run(&statement) {
            Ok(given) => {
                if given.plan != "Explain" {
                    writeln!(out, "plan {}, matched {}", given.plan, given.matched).unwrap();
                }
                for row in given.rows {
                    match row {
                        Value::String(line) => writeln!(out, "{line}").unwrap(),
                        row => writeln!(out, "{row}").unwrap(),
                    }
                }
            }
            Err(failure) => writeln!(out, "error {}: {failure}", failure.code()).unwrap(),
        }
        out.push('\n');
    }
    out
}

#[test]
fn every_script_gives_what_is_written_in_it() {
    let mut scripts = 0;
    for entry in std::fs::read_dir(FOLDER).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "script") {
            continue;
        }
        scripts += 1;
        let script = std::fs::read_to_string(&path).unwrap().replace('\r', "");
        let played = played(&script);
        if std::env::var_os("HOLDFAST_GOLDEN").is_some_and(|word| word == "write") {
            std::fs::write(&path, &played).unwrap();
        } else {
            assert_eq!(played, script, "{}", path.display());
        }
    }
    assert!(scripts > 3, "the scripts are gone");
}
