//! The table of what the tests guard names tests that exist.

use crate::tree::File;
use crate::{Finding, hold, tried};

const TABLE: &str = "tests/README.md";

/// Every `file::test` in backticks is a function of that name, in a file or a folder of that name.
fn guards(files: &[File]) -> Vec<Finding> {
    let Some(table) = files.iter().find(|file| file.path == TABLE) else {
        return vec![Finding::new(TABLE, 0, "the table of what the tests guard is missing. Write it.")];
    };
    let mut findings = Vec::new();
    for (index, line) in table.text.lines().enumerate() {
        let names = line.split('`').skip(1).step_by(2).filter_map(|name| name.split_once("::"));
        for (module, test) in names {
            let is_in = |file: &&File| {
                let path = file.path.trim_end_matches(".rs");
                path.split('/').any(|part| part == module) && file.text.contains(&format!("fn {test}("))
            };
            if !files.iter().any(|file| is_in(&file)) {
                let message = format!("`{module}::{test}` is gone. Name what guards this now, or write it.");
                findings.push(Finding::new(TABLE, index + 1, message));
            }
        }
    }
    findings
}

#[test]
fn the_table_names_tests_that_exist() {
    hold(guards);
    let test = ("tests/api/exchange.rs", "#[test]\nfn it_holds() {}\n");
    assert_eq!(tried(guards, &[(TABLE, "| a | `exchange::it_holds` |\n"), test]), Vec::<String>::new());
    assert_eq!(tried(guards, &[(TABLE, "| a | `exchange::it_held` |\n"), test]), ["tests/README.md:1"]);
    assert_eq!(tried(guards, &[(TABLE, "\n| a | `other::it_holds` |\n"), test]), ["tests/README.md:2"]);
    assert_eq!(tried(guards, &[test]), ["tests/README.md:0"]);
}
