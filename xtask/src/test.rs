//! `cargo xtask test`: every check and every test there is, as CI runs them.
//!
//! ```text
//!   format ─► clippy ─► docs ─► tests ─► doc tests ─► dependencies ─► studio: packages, types, tests
//! ```
//!
//! **What stays true.** A failing step stops no other, so that one run tells everything. The last line is a result in
//! the words of Rust's own test runner, in which each step that is no test counts as one. The exit code is 0 only if
//! nothing failed.
//!
//! **What it does not do.** It installs nothing on the machine and changes no file that is kept: `.ci/run` and the
//! developer do that. Studio's packages go into `studio/node_modules`.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much of a step's output is kept for its summary, in lines. Everything is shown as it comes.
const KEPT_LINES_MAX: usize = 4000;

/// How much of the first failure is told again at the end, in lines.
const FAILURE_LINES_MAX: usize = 40;

/// What `cargo xtask test` takes.
#[derive(clap::Args)]
pub(crate) struct TestArgs {
    /// Runs the tests alone: no formatting, lints, documentation or dependency checks.
    #[arg(long)]
    quick: bool,
}

/// Runs the steps and reports on them.
pub(crate) fn run(args: TestArgs) -> ExitCode {
    let mut reports = Vec::new();
    for step in steps(args.quick) {
        println!("\n── {}: {}", step.name, step.shown());
        let report = match step.missing {
            Some(advice) => {
                println!("   skipped: {advice}");
                Report::skipped(step.name)
            }
            None => step.run(),
        };
        reports.push(report);
    }
    println!("\n{}", summary(&reports));
    if reports.iter().any(|report| report.outcome == Outcome::Failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// One command, and how its success is counted.
struct Step {
    name: &'static str,
    program: Program,
    arguments: Vec<&'static str>,
    environment: Vec<(&'static str, &'static str)>,
    /// Whether the output tells of single tests. Any other step counts as one.
    counts_tests: bool,
    /// Why it cannot run on this machine, and what to install if that is wanted.
    missing: Option<&'static str>,
}

/// Who carries a step out, and where.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Program {
    /// Cargo, at the top of the workspace.
    Cargo,
    /// npm, in `studio/`.
    Npm,
}

/// All steps, the cheapest first.
fn steps(quick: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    if !quick {
        steps.push(Step::check("format", &["fmt", "--all", "--check"]));
        steps.push(Step::check("clippy", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]));
        let mut docs = Step::check("docs", &["doc", "--workspace", "--no-deps"]);
        docs.environment.push(("RUSTDOCFLAGS", "-D warnings"));
        steps.push(docs);
    }
    steps.push(if is_installed("nextest") {
        Step::tests("tests", &["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests=pass"])
    } else {
        // Without `--no-fail-fast` the first failing binary would hide the others.
        Step::tests("tests", &["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"])
    });
    if !quick {
        steps.push(Step::tests("doc tests", &["test", "--workspace", "--doc", "--no-fail-fast"]));
        let mut deny = Step::check(
            "dependencies",
            // Without advisories, which need the network and would fail a commit that has not changed.
            &["deny", "check", "bans", "licenses", "sources"],
        );
        if !is_installed("deny") {
            deny.missing =
                Some("cargo-deny is not here; `cargo install cargo-deny` adds checks of licences and sources.");
        }
        steps.push(deny);
    }
    steps.extend(studio_steps(quick));
    steps
}

/// The steps of the web interface.
fn studio_steps(quick: bool) -> Vec<Step> {
    let packages = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"];
    let mut steps = vec![Step::check("packages", &packages)];
    if !quick {
        steps.push(Step::check("studio types", &["run", "check"]));
    }
    steps.push(Step::tests("studio tests", &["test"]));
    let is_here = Program::Npm.is_installed();
    for step in &mut steps {
        step.program = Program::Npm;
        if !is_here {
            step.missing = Some("npm is not here; Node.js 18 or newer with npm adds the checks of Studio.");
        }
    }
    steps
}

impl Step {
    fn check(name: &'static str, arguments: &[&'static str]) -> Self {
        Self {
            name,
            program: Program::Cargo,
            arguments: arguments.to_vec(),
            environment: Vec::new(),
            counts_tests: false,
            missing: None,
        }
    }

    fn tests(name: &'static str, arguments: &[&'static str]) -> Self {
        Self { counts_tests: true, ..Self::check(name, arguments) }
    }

    /// The command as a person would type it.
    fn shown(&self) -> String {
        let variables = self.environment.iter().map(|(name, value)| format!("{name}=\"{value}\" "));
        let program = match self.program {
            Program::Cargo => "cargo",
            Program::Npm => "npm --prefix studio",
        };
        format!("{}{program} {}", variables.collect::<String>(), self.arguments.join(" "))
    }

    fn run(&self) -> Report {
        let started = Instant::now();
        let output = Output::default();
        let exited_well = match self.program.command(&self.arguments, &self.environment).spawn() {
            Ok(mut child) => {
                let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
                std::thread::scope(|scope| {
                    scope.spawn(|| stdout.map(|out| output.follow(out, |line| println!("{line}"))));
                    scope.spawn(|| stderr.map(|out| output.follow(out, |line| eprintln!("{line}"))));
                });
                child.wait().is_ok_and(|status| status.success())
            }
            Err(error) => {
                output.keep(format!("{} could not be started: {error}", self.shown()));
                false
            }
        };
        let lines = output.lines();
        let mut tests = if self.counts_tests { count_tests(&lines) } else { Tests::default() };
        if !self.counts_tests && exited_well {
            tests.passed = 1;
        }
        // A step that failed without a failing test (it did not compile, say) must still show in the numbers.
        if !exited_well && tests.failed == 0 {
            tests.failed = 1;
        }
        Report {
            name: self.name,
            outcome: if exited_well { Outcome::Passed } else { Outcome::Failed },
            took: started.elapsed(),
            tests,
            lines,
        }
    }
}

/// What a step printed, both streams in the order of arrival; the oldest lines go first when there are too many.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<VecDeque<String>>>);

impl Output {
    /// Shows and keeps every line of a stream until it ends.
    fn follow(&self, stream: impl Read, show: fn(&str)) {
        let mut reader = BufReader::new(stream);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
            // A test may print anything, so what is no UTF-8 is shown as well as it can be.
            let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
            show(&line);
            self.keep(line);
            bytes.clear();
        }
    }

    fn keep(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn lines(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| without_colour(line)).collect()
    }
}

/// How a step went.
struct Report {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
    tests: Tests,
    lines: Vec<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Passed,
    Failed,
    Skipped,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Tests {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Report {
    fn skipped(name: &'static str) -> Self {
        Self {
            name,
            outcome: Outcome::Skipped,
            took: Duration::ZERO,
            tests: Tests { skipped: 1, ..Tests::default() },
            lines: Vec::new(),
        }
    }

    fn line(&self) -> String {
        let outcome = match self.outcome {
            Outcome::Passed => "ok",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "skipped",
        };
        let seconds = self.took.as_secs_f64();
        format!("{:<14}{outcome:<8}{seconds:>8.1} s", self.name)
    }
}

/// A line per step, the first failure, and the result.
fn summary(reports: &[Report]) -> String {
    let mut lines: Vec<String> = reports.iter().map(Report::line).collect();
    let failed = |report: &&Report| report.outcome == Outcome::Failed;
    if let Some(report) = reports.iter().find(failed) {
        lines.push(format!("\nfirst failure: {}", report.name));
        let told = telling_lines(&report.lines);
        lines.extend(told.iter().map(|line| format!("    {line}")));
    }
    let total = reports.iter().fold(Tests::default(), |sum, report| Tests {
        passed: sum.passed + report.tests.passed,
        failed: sum.failed + report.tests.failed,
        skipped: sum.skipped + report.tests.skipped,
    });
    let verdict = if total.failed == 0 { "ok" } else { "FAILED" };
    let took: Duration = reports.iter().map(|report| report.took).sum();
    lines.push(format!(
        "\ntest result: {verdict}. {} passed; {} failed; {} ignored; finished in {:.1}s",
        total.passed,
        total.failed,
        total.skipped,
        took.as_secs_f64()
    ));
    lines.join("\n")
}

/// The part of a failed step's output that a reader wants first: from its first sign of trouble on, else its end.
fn telling_lines(lines: &[String]) -> &[String] {
    let trouble = lines.iter().position(|line| {
        let line = line.trim_start();
        ["error", "FAIL", "warning: unused", "Diff in", "thread '", "failures:"]
            .iter()
            .any(|sign| line.starts_with(sign))
    });
    let start = trouble.unwrap_or_else(|| lines.len().saturating_sub(FAILURE_LINES_MAX));
    let end = lines.len().min(start + FAILURE_LINES_MAX);
    lines.get(start..end).unwrap_or_default()
}

/// Adds up the result lines of nextest (`Summary [0.1s] 5 tests run: 4 passed, 1 failed, 2 skipped`), of Rust's own
/// runner (`test result: ok. 5 passed; 0 failed; 1 ignored; ...`) and of Node's (`# pass 5`).
fn count_tests(lines: &[String]) -> Tests {
    let told = |word: &str| -> u64 {
        let numbers =
            lines.iter().filter_map(|line| line.strip_prefix("# ")?.strip_prefix(word)?.trim().parse::<u64>().ok());
        numbers.sum::<u64>()
    };
    let node = Tests { passed: told("pass "), failed: told("fail "), skipped: told("skipped ") };
    let results = lines.iter().filter(|line| {
        let line = line.trim_start();
        line.starts_with("test result: ") || (line.starts_with("Summary [") && line.contains("run:"))
    });
    results.fold(node, |sum, line| Tests {
        passed: sum.passed + number_before(line, "passed"),
        failed: sum.failed
            + ["failed", "timed out", "exec failed"].iter().map(|word| number_before(line, word)).sum::<u64>(),
        skipped: sum.skipped + number_before(line, "skipped") + number_before(line, "ignored"),
    })
}

/// The number that stands right before a word, or zero.
fn number_before(line: &str, word: &str) -> u64 {
    line.split([',', ';', ':', '.', '('])
        .filter_map(|part| part.trim().split_once(' '))
        .filter(|(_, words)| *words == word || words.starts_with(&format!("{word} ")))
        .find_map(|(number, _)| number.parse().ok())
        .unwrap_or(0)
}

/// Drops terminal escapes (`ESC [ ... letter`), so that words can be found.
fn without_colour(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            let _ = characters.by_ref().skip(1).find(char::is_ascii_alphabetic);
        } else {
            text.push(character);
        }
    }
    text
}

fn is_installed(subcommand: &str) -> bool {
    answers(Program::Cargo.command(&[subcommand, "--version"], &[]))
}

/// Whether a command can be run, and runs well.
fn answers(mut probe: Command) -> bool {
    probe.stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

impl Program {
    fn is_installed(self) -> bool {
        answers(self.command(&["--version"], &[]))
    }

    /// The program in its folder, as if it were called from a plain shell.
    fn command(self, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
        let (program, folder) = match self {
            Program::Cargo => (std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")), "."),
            Program::Npm => (OsString::from(if cfg!(windows) { "npm.cmd" } else { "npm" }), "studio"),
        };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(root) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() {
            command.current_dir(root.join(folder));
        }
        plain(&mut command);
        command.envs(environment.iter().copied());
        let _ = std::io::stdout().flush();
        command
    }
}

/// Takes away what this program's own surroundings would tell a command.
fn plain(command: &mut Command) {
    // What `cargo run` tells this program about itself would make build scripts believe that their surroundings have
    // changed, and rebuild what is built.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        command.env("CARGO_TERM_COLOR", "always");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn report(name: &'static str, outcome: Outcome, tests: Tests, text: &str) -> Report {
        Report { name, outcome, took: Duration::from_millis(1500), tests, lines: lines(text) }
    }

    #[test]
    fn results_of_every_runner_are_counted() {
        let nextest =
            lines("     Summary [   0.012s] 7 tests run: 5 passed (1 slow), 1 failed, 1 timed out, 3 skipped");
        assert_eq!(count_tests(&nextest), Tests { passed: 5, failed: 2, skipped: 3 });
        let single = lines("     Summary [   0.012s] 1 test run: 1 passed, 0 skipped");
        assert_eq!(count_tests(&single), Tests { passed: 1, failed: 0, skipped: 0 });
        let cargo = lines(
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        assert_eq!(count_tests(&cargo), Tests { passed: 7, failed: 1, skipped: 1 });
        let node = lines("# Subtest: pass 9\n# tests 17\n# suites 0\n# pass 15\n# fail 1\n# cancelled 0\n# skipped 1");
        assert_eq!(count_tests(&node), Tests { passed: 15, failed: 1, skipped: 1 });
    }

    #[test]
    fn the_last_line_is_a_result_that_readers_of_test_output_know() {
        let reports = [
            report("clippy", Outcome::Passed, Tests { passed: 1, failed: 0, skipped: 0 }, ""),
            report(
                "tests",
                Outcome::Failed,
                Tests { passed: 4, failed: 1, skipped: 2 },
                "ok\nthread 'x' panicked\nwhy",
            ),
            Report::skipped("dependencies"),
        ];
        let text = summary(&reports);
        assert_eq!(text.lines().last(), Some("test result: FAILED. 5 passed; 1 failed; 3 ignored; finished in 3.0s"));
        assert!(text.contains("first failure: tests\n    thread 'x' panicked\n    why\n"), "{text}");
    }

    #[test]
    fn colours_are_dropped_before_words_are_looked_for() {
        assert_eq!(without_colour("\u{1b}[32;1m Summary\u{1b}[0m [ 1s]"), " Summary [ 1s]");
    }
}
