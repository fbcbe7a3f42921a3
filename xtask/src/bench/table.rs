//! What was measured, as a table for people or JSON for programs.

use serde_json::{Value, json};
use std::io::{self, Write};

/// One line of the result.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// What was measured.
    pub(super) name: String,
    /// What is wanted; empty where the line only informs.
    pub(super) target: String,
    /// What the node did; `None` if this was not measured.
    pub(super) measured: Option<f64>,
    /// What it is compared with: the floor, Redis or a fixed number.
    pub(super) reference: Option<f64>,
    /// Measured by reference, where both exist.
    pub(super) ratio: Option<f64>,
    /// The unit of both.
    pub(super) unit: Unit,
    /// Whether more is better; decides what `ratio` must be.
    pub(super) wanted: Wanted,
    /// Latencies, causes of skipping, first errors.
    pub(super) note: String,
    /// Whether something failed that makes the numbers worthless.
    pub(super) failed: bool,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Requests or documents a second.
    PerSecond,
    /// Seconds, shown as milliseconds below one.
    Seconds,
    /// Bytes, shown as MB of a million.
    Bytes,
}

/// What measured / reference must be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// At least this.
    AtLeast(f64),
    /// Below one.
    Below,
    /// Nothing; the line informs.
    Nothing,
}

impl Row {
    /// A line that has no numbers, and why.
    pub(super) fn skipped(name: &str, why: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            target: String::new(),
            measured: None,
            reference: None,
            ratio: None,
            unit: Unit::PerSecond,
            wanted: Wanted::Nothing,
            note: format!("skipped: {}", why.into()),
            failed: false,
        }
    }

    /// A line for something that should have worked.
    pub(super) fn broken(name: &str, why: impl Into<String>) -> Self {
        Self { note: why.into(), failed: true, ..Self::skipped(name, "") }
    }

    /// Adds a line to the note.
    pub(super) fn add_note(&mut self, text: &str) {
        if !self.note.is_empty() {
            self.note.push('\n');
        }
        self.note.push_str(text);
    }

    /// Whether the target is met; `None` where there is none or nothing was measured.
    pub(super) fn met(&self) -> Option<bool> {
        if self.failed {
            return Some(false);
        }
        match self.wanted {
            Wanted::AtLeast(least) => Some(self.ratio? >= least),
            Wanted::Below => Some(self.ratio? < 1.0),
            Wanted::Nothing => None,
        }
    }

    fn cells(&self) -> [String; 6] {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| self.unit.show(v));
        let met = match self.met() {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "-",
        };
        [
            self.name.clone(),
            self.target.clone(),
            number(self.measured),
            number(self.reference),
            self.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
            met.to_owned(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "target": self.target,
            "measured": self.measured,
            "reference": self.reference,
            "unit": self.unit.name(),
            "ratio": self.ratio,
            "met": self.met(),
            "note": self.note,
        })
    }
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "1/s",
            Self::Seconds => "s",
            Self::Bytes => "bytes",
        }
    }

    /// The number with as many digits as mean something.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond if value >= 1000.0 => format!("{:.1} k/s", value / 1000.0),
            Self::PerSecond => format!("{value:.0} /s"),
            Self::Seconds if value < 0.1 => format!("{:.2} ms", value * 1000.0),
            Self::Seconds if value < 1.0 => format!("{:.0} ms", value * 1000.0),
            Self::Seconds => format!("{value:.2} s"),
            Self::Bytes => format!("{:.1} MB", value / 1e6),
        }
    }
}

const HEADINGS: [&str; 6] = ["case", "target", "measured", "against", "ratio", "met?"];

/// Prints the table with each line's note below it.
pub(super) fn print(heading: &str, rows: &[Row]) -> io::Result<()> {
    let cells: Vec<[String; 6]> =
        std::iter::once(HEADINGS.map(str::to_owned)).chain(rows.iter().map(Row::cells)).collect();
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let width = |line: &[String; 6]| line.get(column).map_or(0, |cell| cell.chars().count());
        cells.iter().map(width).max().unwrap_or(0)
    });
    let mut out = io::stdout().lock();
    writeln!(out, "{heading}\n")?;
    let notes = std::iter::once("").chain(rows.iter().map(|row| row.note.as_str()));
    for (line, note) in cells.iter().zip(notes) {
        for (cell, width) in line.iter().zip(widths) {
            write!(out, "{cell:width$}  ")?;
        }
        writeln!(out)?;
        for text in note.lines() {
            writeln!(out, "    {text}")?;
        }
    }
    Ok(())
}

/// Prints the rows as one JSON document.
pub(super) fn print_json(rows: &[Row], machine: &Value) -> io::Result<()> {
    let rows: Vec<Value> = rows.iter().map(Row::json).collect();
    let document = json!({ "machine": machine, "rows": rows });
    writeln!(io::stdout().lock(), "{document:#}")
}
