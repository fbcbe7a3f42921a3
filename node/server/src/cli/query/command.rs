//! What may be typed besides statements: `\help` and the like.

use std::fmt::Write as _;

use clap::ValueEnum;
use holdfast_query::language::function::FUNCTIONS;
use serde_json::Value;

use super::parse_parameter;
use super::sheet::Shown;

/// What is typed instead of a statement.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    /// Tell what can be typed.
    Help,
    /// List the collections.
    Collections,
    /// List the indexes.
    Indexes,
    /// Ask another database.
    Use(String),
    /// List the functions whose names or explanations hold a word.
    Functions(String),
    /// Show rows otherwise.
    Format(Shown),
    /// Show so many rows at a time; none for all.
    Take(Option<u64>),
    /// Give a parameter a value.
    Set(String, Value),
    /// Show the rows that follow.
    More,
    /// Leave.
    Quit,
}

/// How a command is written.
pub(super) struct Form {
    /// With its sign.
    pub(super) name: &'static str,
    takes: &'static str,
    does: &'static str,
}

/// Every command.
pub(super) const COMMANDS: [Form; 10] = [
    Form { name: "\\help", takes: "", does: "this" },
    Form {
        name: "\\collections",
        takes: "",
        does: "the collections of the database, and how many documents they have",
    },
    Form { name: "\\indexes", takes: "", does: "its indexes" },
    Form { name: "\\functions", takes: "[WORD]", does: "the functions, or those that have to do with a word" },
    Form { name: "\\use", takes: "NAME", does: "ask another database" },
    Form { name: "\\format", takes: "NAME", does: "show rows as table, json, ndjson or csv" },
    Form { name: "\\take", takes: "COUNT|all", does: "show so many rows at a time" },
    Form { name: "\\more", takes: "", does: "the rows that follow those shown last" },
    Form { name: "\\set", takes: "NAME=VALUE", does: "give @NAME a value: JSON, or else text" },
    Form { name: "\\quit", takes: "", does: "leave; so does Ctrl-D" },
];

/// What help says.
pub(super) fn help() -> String {
    let mut text = String::from(
        "A statement ends with ; and may go over several lines. Tab completes, the arrow keys go through what was typed, \
         Ctrl-C\nstops a statement that runs. A line that begins with a blank is not remembered.\n\n",
    );
    for Form { name, takes, does } in &COMMANDS {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:<20} {does}", format!("{name} {takes}"));
    }
    text
}

/// The functions whose names or explanations hold a word, a line each.
pub(super) fn functions(word: &str) -> String {
    let word = word.to_ascii_lowercase();
    let mut text = String::new();
    for known in FUNCTIONS {
        let written = format!("{}({})", known.names.first().unwrap_or(&""), known.arguments);
        let others = known.names.get(1..).unwrap_or_default().join(", ");
        let others = if others.is_empty() { others } else { format!("; also {others}") };
        let line = format!("  {written:<40} {}{others}", known.gives);
        if line.to_ascii_lowercase().contains(&word) {
            let _ = writeln!(text, "{line}");
        }
    }
    if text.is_empty() { "no function has to do with that; \\functions lists all\n".to_owned() } else { text }
}

/// Reads a command; none where the text is none.
pub(super) fn command(text: &str) -> Option<Result<Command, String>> {
    let text = text.trim().trim_end_matches(';').trim_end();
    if ["quit", "exit"].iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Some(Ok(Command::Quit));
    }
    if text.eq_ignore_ascii_case("help") {
        return Some(Ok(Command::Help));
    }
    text.starts_with('\\').then(|| read(text))
}

fn read(text: &str) -> Result<Command, String> {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    // A beginning is enough where it means one thing alone; of several, the first one counts.
    let form = COMMANDS.iter().find(|form| word.len() > 1 && form.name.starts_with(word));
    let form = form.ok_or_else(|| format!("there is no {word}; \\help tells what there is"))?;
    if form.takes.is_empty() != rest.is_empty() && !form.takes.starts_with('[') {
        return Err(format!("write {} {}", form.name, form.takes).trim_end().to_owned());
    }
    Ok(match form.name {
        "\\help" => Command::Help,
        "\\collections" => Command::Collections,
        "\\indexes" => Command::Indexes,
        "\\functions" => Command::Functions(rest.to_owned()),
        "\\use" => Command::Use(rest.to_owned()),
        "\\format" => Command::Format(
            Shown::from_str(rest, true).map_err(|_| "write \\format table, json, ndjson or csv".to_owned())?,
        ),
        "\\take" if rest.eq_ignore_ascii_case("all") => Command::Take(None),
        "\\take" => {
            let rows = rest.parse().ok().filter(|rows| *rows > 0);
            Command::Take(Some(rows.ok_or_else(|| "write \\take 100, or \\take all".to_owned())?))
        }
        "\\more" => Command::More,
        "\\set" => parse_parameter(rest).map(|(name, value)| Command::Set(name, value))?,
        _ => Command::Quit,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{COMMANDS, Command, command, functions, help};
    use crate::cli::query::sheet::Shown;

    #[test]
    fn commands_are_read_whole_or_as_they_begin() {
        for (text, expected) in [
            ("\\help", Command::Help),
            (" \\c ", Command::Collections),
            ("\\use shop;", Command::Use("shop".into())),
            ("\\format CSV", Command::Format(Shown::Csv)),
            ("\\take 7", Command::Take(Some(7))),
            ("\\take all", Command::Take(None)),
            ("\\set store=17", Command::Set("store".into(), json!(17))),
            ("\\functions", Command::Functions(String::new())),
            ("\\functions date", Command::Functions("date".into())),
            ("\\q", Command::Quit),
            ("EXIT;", Command::Quit),
        ] {
            assert_eq!(command(text), Some(Ok(expected)), "{text}");
        }
        assert_eq!(command("SELECT 1"), None);
        assert!(COMMANDS.iter().all(|form| help().contains(form.name)));
    }

    #[test]
    fn functions_are_found_by_what_they_are_for() {
        assert!(functions("").lines().count() > 70);
        let found = functions("substr");
        assert_eq!(found.lines().count(), 1, "{found}");
        assert!(found.contains("SUBSTRING(text, start, length?)") && found.contains("also SUBSTR"), "{found}");
        assert!(functions("no such thing").contains("\\functions"));
    }

    #[test]
    fn what_is_no_command_says_what_to_write() {
        for (text, said) in [
            ("\\nothing", "\\help"),
            ("\\", "\\help"),
            ("\\use", "\\use NAME"),
            ("\\more 7", "write \\more"),
            ("\\format xml", "ndjson"),
            ("\\take 0", "\\take all"),
            ("\\set 17", "NAME=VALUE"),
        ] {
            let refused = command(text).and_then(Result::err).unwrap_or_default();
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }
}
