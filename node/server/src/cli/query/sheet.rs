//! Rows in the form that was asked for, onto a terminal, into a file or a pipe.
//!
//! **What stays true.** Memory does not grow with the number of rows. What a terminal would obey never reaches one; in
//! a file or a pipe every byte is as the node sent it.

use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::Value;
use serde_json::value::RawValue;

use super::cell::screened;
use super::table::Table;
use crate::transfer::format::Format;
use crate::transfer::write::DocumentWriter;

/// How rows are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shown {
    /// A table, or records where a row does not fit
    Table,
    /// An array with a row per line
    Json,
    /// A row per line
    #[value(alias = "jsonl")]
    Ndjson,
    /// A line of names, then a line of values for each row
    Csv,
}

/// Where rows go to.
pub(super) struct Target<'out> {
    /// The stream itself.
    pub(super) out: &'out mut dyn Write,
    /// Whether a terminal shows it.
    pub(super) is_terminal: bool,
    /// Its columns.
    pub(super) room: Option<usize>,
}

/// Rows on their way out.
pub(super) enum Sheet<'out> {
    /// As a table.
    Table(Box<Table<Screen<'out>>>),
    /// The lines of a plan.
    Plan(Screen<'out>),
    /// As an export writes documents.
    Documents(DocumentWriter<Screen<'out>>),
}

/// What was not shown, and where it would be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unshown {
    /// Objects and lists that became text.
    pub(super) nested: u64,
    /// Rows with fields that have no column.
    pub(super) beyond_columns: u64,
}

impl<'out> Sheet<'out> {
    /// Prepares to write the rows of a statement.
    pub(super) fn new(target: Target<'out>, shown: Shown, columns: Option<Vec<String>>, is_plan: bool) -> Self {
        let Target { out, is_terminal, room } = target;
        let out = Screen { out, is_terminal };
        let format = match shown {
            Shown::Table if is_plan => return Self::Plan(out),
            Shown::Table => return Self::Table(Box::new(Table::new(out, room, columns))),
            Shown::Json => Format::Json,
            Shown::Ndjson => Format::Ndjson,
            Shown::Csv => Format::Csv,
        };
        Self::Documents(DocumentWriter::new(out, format, columns, b','))
    }

    /// Writes one row.
    pub(super) fn row(&mut self, row: &RawValue) -> io::Result<()> {
        match self {
            Self::Table(table) => table.row(row),
            Self::Plan(out) => {
                let row: Value = serde_json::from_str(row.get())?;
                let line = row.get("Plan").and_then(Value::as_str).unwrap_or_default();
                writeln!(out, "{}", screened(line))
            }
            Self::Documents(writer) => writer.write(row),
        }
    }

    /// Sends on what was written so far.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            // A table waits until it knows how wide its columns are, and then writes whole lines.
            Self::Table(table) => table.flush(),
            Self::Plan(out) => out.flush(),
            Self::Documents(writer) => writer.flush(),
        }
    }

    /// Writes what must stand at the end. `columns` are those that the answer names.
    pub(super) fn finish(self, columns: Option<&[String]>) -> io::Result<Unshown> {
        match self {
            Self::Table(table) => Ok(Unshown { beyond_columns: table.finish(columns)?, ..Unshown::default() }),
            Self::Plan(mut out) => out.flush().map(|()| Unshown::default()),
            Self::Documents(writer) => {
                let (mut out, losses) = writer.finish()?;
                out.flush()?;
                Ok(Unshown { nested: losses.nested, beyond_columns: losses.beyond_columns })
            }
        }
    }
}

impl Sheet<'_> {
    /// Leaves it where the answer broke off: what came is shown, and JSON stays open, so that no program takes it for all
    /// that there is.
    pub(super) fn break_off(self) -> io::Result<Unshown> {
        match self {
            Self::Documents(mut writer) => writer.flush().map(|()| Unshown::default()),
            whole => whole.finish(None),
        }
    }
}

/// Keeps from a terminal what it would obey.
pub(super) struct Screen<'out> {
    out: &'out mut dyn Write,
    is_terminal: bool,
}

impl Write for Screen<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_terminal {
            return self.out.write(bytes);
        }
        // Whoever writes here writes whole texts, for rows are text.
        self.out.write_all(screened(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use super::{Sheet, Shown, Target, Unshown};

    #[test]
    fn json_that_broke_off_is_not_taken_for_whole() {
        let mut out = Vec::new();
        let target = Target { out: &mut out, is_terminal: false, room: None };
        let mut sheet = Sheet::new(target, Shown::Json, None, false);
        sheet.row(&to_raw_value(&json!({"a": 1})).unwrap()).unwrap();
        sheet.break_off().unwrap();
        assert!(String::from_utf8_lossy(&out).contains(r#"{"a":1}"#));
        assert!(serde_json::from_slice::<Value>(&out).is_err());
    }

    fn sheet(rows: &[Value], shown: Shown, is_terminal: bool, columns: Option<&[&str]>) -> (String, Unshown) {
        let mut out = Vec::new();
        let columns = columns.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let target = Target { out: &mut out, is_terminal, room: is_terminal.then_some(80) };
        let mut sheet = Sheet::new(target, shown, columns, false);
        for row in rows {
            sheet.row(&to_raw_value(row).unwrap()).unwrap();
        }
        let unshown = sheet.finish(None).unwrap();
        (String::from_utf8(out).unwrap(), unshown)
    }

    #[test]
    fn each_form_says_the_same() {
        let rows = [json!({"a": 1, "b": "x, \"y\""}), json!({"a": null})];
        assert_eq!(sheet(&rows, Shown::Ndjson, false, None).0, "{\"a\":1,\"b\":\"x, \\\"y\\\"\"}\n{\"a\":null}\n");
        let json: Value = serde_json::from_str(&sheet(&rows, Shown::Json, false, None).0).unwrap();
        assert_eq!(json, json!(rows));
        assert_eq!(sheet(&rows, Shown::Csv, false, None).0, "a,b\n1,\"x, \"\"y\"\"\"\n,\n");
        assert_eq!(sheet(&[], Shown::Csv, false, Some(&["a", "b"])).0, "a,b\n");
        assert_eq!(sheet(&[json!({"a": [1]})], Shown::Csv, false, None).1, Unshown { nested: 1, beyond_columns: 0 });
    }

    #[test]
    fn a_terminal_gets_no_orders_and_a_file_every_byte() {
        let text = "\u{9b}2J\u{202e}\u{7f}";
        let rows = [json!({ "a": text })];
        for shown in [Shown::Table, Shown::Json, Shown::Ndjson, Shown::Csv] {
            assert!(!sheet(&rows, shown, true, None).0.contains(['\u{9b}', '\u{202e}', '\u{7f}']), "{shown:?}");
        }
        for shown in [Shown::Json, Shown::Ndjson, Shown::Csv] {
            assert!(sheet(&rows, shown, false, None).0.contains(text), "{shown:?}");
        }
    }
}
