//! Rows as a table that fits the terminal.
//!
//! ```text
//!   rows ─► the first ones wait ─► widths ─► columns that fit        name   price
//!                                     │                              ─────  ─────
//!                                     │                              tea     3.50
//!                                     └► too many for a line         ── 1 ───────
//!                                                                    name   tea
//!                                                                    price  3.50
//! ```
//!
//! **What stays true.** Memory does not grow with the number of rows. No line is wider than the terminal; where there is
//! none, nothing is cut. What found no column is counted, and never left out unseen.

use std::io::{self, Write};

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::cell::{Cell, cut, filled, on_one_line, width};

/// How many rows decide columns and widths.
const SAMPLE_ROWS_MAX: usize = 1_000;
const SAMPLE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Columns of a terminal between two values.
const GAP: usize = 2;
/// A text gets at least so much room, and a number so much, or the rows are shown as records.
const TEXT_WIDTH_LEAST: usize = 8;
const NUMBER_WIDTH_LEAST: usize = 12;
/// Where there is no terminal, a column is filled up with blanks no further; longer values stand as they are.
const FILLED_WIDTH_MAX: usize = 100;
/// The name of what stands alone.
const LONE: &str = "value";

/// Writes rows as a table.
pub(super) struct Table<W: Write> {
    out: W,
    /// Columns of the terminal, where there is one.
    room: Option<usize>,
    columns: Vec<String>,
    /// The rows that wait until the layout is known.
    sample: Vec<Map<String, Value>>,
    sample_bytes: usize,
    layout: Option<Layout>,
    rows: u64,
    beyond_columns: u64,
}

impl<W: Write> Table<W> {
    /// Prepares to write. `columns` are those that are known already.
    pub(super) fn new(out: W, room: Option<usize>, columns: Option<Vec<String>>) -> Self {
        let columns = columns.unwrap_or_default();
        Self { out, room, columns, sample: Vec::new(), sample_bytes: 0, layout: None, rows: 0, beyond_columns: 0 }
    }

    /// Writes one row, or keeps it until the layout is known.
    pub(super) fn row(&mut self, row: &RawValue) -> io::Result<()> {
        let object = match serde_json::from_str(row.get())? {
            Value::Object(object) => object,
            lone => Map::from_iter([(LONE.to_owned(), lone)]),
        };
        if self.layout.is_some() {
            return self.write(&object);
        }
        self.sample_bytes += row.get().len();
        self.sample.push(object);
        let is_enough = self.sample.len() >= SAMPLE_ROWS_MAX || self.sample_bytes >= SAMPLE_BYTES_MAX;
        if is_enough { self.begin(None) } else { Ok(()) }
    }

    /// Sends on what was written so far.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes what still waits, and answers with the number of rows that have fields without a column.
    pub(super) fn finish(mut self, columns: Option<&[String]>) -> io::Result<u64> {
        if self.layout.is_none() {
            self.begin(columns)?;
        }
        self.out.flush()?;
        Ok(self.beyond_columns)
    }

    fn begin(&mut self, columns: Option<&[String]>) -> io::Result<()> {
        let sample = std::mem::take(&mut self.sample);
        self.columns = all_columns(std::mem::take(&mut self.columns), columns.unwrap_or_default(), &sample);
        let layout = Layout::of(&self.columns, &sample, self.room);
        if let Layout::Columns(shapes) = &layout
            && !shapes.is_empty()
        {
            let heads = self.columns.iter().zip(shapes);
            let heads = heads.map(|(name, shape)| (on_one_line(name), shape.is_number, shape.width));
            line(&mut self.out, heads.collect(), self.room)?;
            let rules = shapes.iter().map(|shape| ("─".repeat(shape.width), false, shape.width));
            line(&mut self.out, rules.collect(), self.room)?;
        }
        self.layout = Some(layout);
        sample.iter().try_for_each(|object| self.write(object))
    }

    fn write(&mut self, object: &Map<String, Value>) -> io::Result<()> {
        self.rows += 1;
        let known = self.columns.iter().filter(|name| object.contains_key(name.as_str())).count();
        self.beyond_columns += u64::from(known < object.len());
        match &self.layout {
            Some(Layout::Columns(shapes)) => {
                let cells = self.columns.iter().zip(shapes).map(|(name, shape)| {
                    let Cell { text, is_number } = Cell::of(object.get(name));
                    (text, is_number, shape.width)
                });
                line(&mut self.out, cells.collect(), self.room)
            }
            Some(Layout::Records { name_width }) => {
                let title = format!("── {} ", self.rows);
                let rule = format!("{title}{}", "─".repeat((name_width + GAP).saturating_sub(width(&title))));
                line(&mut self.out, vec![(rule, false, self.room.unwrap_or_default())], self.room)?;
                for (name, value) in object {
                    let name = on_one_line(name);
                    line(
                        &mut self.out,
                        vec![(name, false, *name_width), record_value(value, *name_width, self.room)],
                        self.room,
                    )?;
                }
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// A value behind its name, in what is left of the line.
fn record_value(value: &Value, name_width: usize, room: Option<usize>) -> (String, bool, usize) {
    let left = room.map_or(0, |room| room.saturating_sub(name_width + GAP).max(1));
    (Cell::of(Some(value)).text, false, left)
}

/// One line of texts, each at its side of its room.
fn line(out: &mut impl Write, cells: Vec<(String, bool, usize)>, room: Option<usize>) -> io::Result<()> {
    let gap = " ".repeat(GAP);
    let mut text = String::new();
    for (index, (cell, at_right, columns)) in cells.into_iter().enumerate() {
        if index > 0 {
            text.push_str(&gap);
        }
        let cell = if room.is_some() { cut(&cell, columns) } else { cell };
        text.push_str(&filled(&cell, columns, at_right));
    }
    writeln!(out, "{}", text.trim_end_matches(' '))
}

/// The columns that were known, then those that the answer names, then those that rows have besides.
fn all_columns(known: Vec<String>, named: &[String], sample: &[Map<String, Value>]) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let all = known.iter().chain(named).chain(sample.iter().flat_map(Map::keys));
    all.filter(|name| seen.insert(name.as_str())).cloned().collect()
}

/// How rows are laid out.
#[derive(Debug, PartialEq, Eq)]
enum Layout {
    /// Side by side.
    Columns(Vec<Shape>),
    /// Each row over several lines.
    Records {
        /// Room for the names.
        name_width: usize,
    },
}

/// The shape of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    width: usize,
    /// Whether all that is in it are numbers.
    is_number: bool,
}

impl Shape {
    fn of(name: &str, sample: &[Map<String, Value>]) -> Self {
        let mut shape = Self { width: width(&on_one_line(name)).max(1), is_number: false };
        let mut has_other = false;
        for value in sample.iter().filter_map(|row| row.get(name)) {
            let cell = Cell::of(Some(value));
            shape.width = shape.width.max(width(&cell.text));
            shape.is_number |= cell.is_number;
            has_other |= !cell.is_number && !value.is_null();
        }
        shape.is_number &= !has_other;
        shape
    }

    /// The least that it can do with.
    fn least(&self) -> usize {
        self.width.min(if self.is_number { NUMBER_WIDTH_LEAST } else { TEXT_WIDTH_LEAST })
    }
}

impl Layout {
    fn of(names: &[String], sample: &[Map<String, Value>], room: Option<usize>) -> Self {
        let mut shapes: Vec<Shape> = names.iter().map(|name| Shape::of(name, sample)).collect();
        let Some(room) = room else {
            for shape in &mut shapes {
                shape.width = shape.width.min(FILLED_WIDTH_MAX);
            }
            return Self::Columns(shapes);
        };
        let gaps = GAP * shapes.len().saturating_sub(1);
        let total = |shapes: &[Shape]| shapes.iter().map(|shape| shape.width).sum::<usize>() + gaps;
        if shapes.len() > 1 && shapes.iter().map(Shape::least).sum::<usize>() + gaps > room {
            let names = names.iter().map(|name| width(&on_one_line(name)));
            return Self::Records { name_width: names.max().unwrap_or_default().min(room / 2) };
        }
        for shape in &mut shapes {
            shape.width = shape.width.min(room.max(1));
        }
        // The widest give way, one after the other, until a line fits.
        while total(&shapes) > room
            && let Some(widest) =
                shapes.iter_mut().filter(|shape| shape.width > shape.least()).max_by_key(|shape| shape.width)
        {
            widest.width -= 1;
        }
        Self::Columns(shapes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use super::{SAMPLE_ROWS_MAX, Table, width};

    fn table(rows: &[Value], room: Option<usize>, columns: Option<&[&str]>) -> (String, u64) {
        let mut out = Vec::new();
        let columns = columns.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let mut table = Table::new(&mut out, room, columns);
        for row in rows {
            table.row(&to_raw_value(row).unwrap()).unwrap();
        }
        let beyond = table.finish(None).unwrap();
        (String::from_utf8(out).unwrap(), beyond)
    }

    #[test]
    fn numbers_stand_at_the_right_and_text_at_the_left() {
        let rows =
            [json!({"name": "tea", "price": 3.5, "n": 1}), json!({"name": "名前", "price": 12, "n": null}), json!({})];
        let expected = "name  price     n\n────  ─────  ────\ntea     3.5     1\n名前     12  null\n\n";
        assert_eq!(table(&rows, Some(80), None).0, expected);
    }

    #[test]
    fn the_widest_columns_give_way_until_a_line_fits() {
        let rows = [json!({"id": "a", "long": "x".repeat(500), "other": "é".repeat(30), "n": 123_456_789_012_i64})];
        let (text, beyond) = table(&rows, Some(60), None);
        assert!(text.lines().all(|line| width(line) <= 60), "{text}");
        assert!(text.contains("123456789012") && text.matches('…').count() == 2, "{text}");
        assert_eq!(beyond, 0);
        let (text, _) = table(&rows, None, None);
        assert!(text.contains(&"x".repeat(500)) && !text.contains('…'));
        assert!(text.lines().next().unwrap().len() < 250, "{text}");
    }

    #[test]
    fn rows_with_too_many_fields_for_a_line_are_records() {
        let row: Value = (0..20).map(|number| (format!("field{number}"), json!("long enough a text"))).collect();
        let (text, _) = table(&[row.clone(), row], Some(40), None);
        assert!(text.starts_with("── 1 ────\nfield0   long enough a text\n"), "{text}");
        assert!(text.contains("── 2 ") && text.lines().count() == 42, "{text}");
        let (text, _) = table(&[json!({"a".repeat(90): "b".repeat(90), "c": "x".repeat(90)})], Some(12), None);
        assert!(text.lines().all(|line| width(line) <= 12), "{text}");
    }

    #[test]
    fn columns_that_are_known_are_there_without_rows_and_a_lone_value_has_a_name() {
        assert_eq!(table(&[], Some(80), Some(&["a", "b"])).0, "a  b\n─  ─\n");
        assert_eq!(table(&[], Some(80), None).0, "");
        assert_eq!(table(&[json!(7)], Some(80), None).0, "value\n─────\n    7\n");
    }

    #[test]
    fn what_comes_late_and_finds_no_column_is_counted() {
        let mut rows: Vec<Value> = (0..SAMPLE_ROWS_MAX).map(|number| json!({"n": number})).collect();
        rows.push(json!({"n": 1, "late": true}));
        assert_eq!(table(&rows, Some(80), None).1, 1);
    }

    #[test]
    fn nothing_of_a_document_reaches_the_terminal_as_an_order() {
        let hostile = "\u{1b}]0;title\u{7}\u{9b}2J\r\u{202e}";
        for room in [None, Some(30), Some(10)] {
            let (text, _) = table(&[json!({hostile: hostile, "b": {hostile: 1}, "c": 1})], room, None);
            let is_plain = |character: char| character == '\n' || !character.is_control() && character != '\u{202e}';
            assert!(text.chars().all(is_plain), "{text:?}");
        }
    }
}
